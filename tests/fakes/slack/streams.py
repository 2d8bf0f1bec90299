"""chat.startStream, appendStream, stopStream, and the statuses of agents.

A stream ends by itself after five minutes. It takes no metadata before it is stopped
(docs.slack.dev/reference/methods/chat.startStream).
"""

from __future__ import annotations

import time

from .blocks import check_message
from .chat import check_metadata
from .records import Json, Post, Refused, Stream
from .workspace import Workspace

MARKDOWN = 12_000


def start_stream(workspace: Workspace, args: Json) -> Json:
    place = workspace.writable(args["channel"])
    if "metadata" in args:
        raise Refused("invalid_arguments")
    if place.kind == "im" and not args.get("thread_ts"):
        raise Refused("invalid_thread_ts")
    for name in ("recipient_user_id", "recipient_team_id"):
        if place.kind != "im" and not args.get(name):
            raise Refused(f"missing_{name}")
    root = workspace.posts.get((place.id, args.get("thread_ts", "")))
    if args.get("thread_ts") and (root is None or root.deleted):
        raise Refused("thread_not_found")
    post = workspace.new_bot_post(place.id, args.get("thread_ts", ""))
    post.stream, post.streamed = Stream(time.monotonic()), True
    post.arguments = dict(args)
    _append(post, args)
    workspace.add(post)
    workspace.told("events_api", post.event() | {"channel": place.id, "event_ts": post.ts})
    return {"channel": place.id, "ts": post.ts}


def append_stream(workspace: Workspace, args: Json) -> Json:
    post = _open(workspace, args)
    if not _append(post, args):
        raise Refused("no_text")
    workspace.note_shown(post)
    return {"channel": post.channel, "ts": post.ts}


def stop_stream(workspace: Workspace, args: Json) -> Json:
    post = _open(workspace, args)
    _append(post, args)
    blocks = args.get("blocks") or []
    check_message(blocks)
    if metadata := args.get("metadata"):
        post.metadata = check_metadata(metadata)
    post.blocks = post.blocks[:1] + blocks
    post.stream = None
    if status := args.get("session_status"):
        set_session(workspace, post.channel, post.thread_ts, status)
    workspace.note_shown(post)
    return {"channel": post.channel, "ts": post.ts, "message": post.event()}


def set_status(workspace: Workspace, args: Json) -> Json:
    """assistant.threads.setStatus."""
    workspace.writable(args["channel_id"])
    if (args["channel_id"], args["thread_ts"]) not in workspace.posts:
        raise Refused("invalid_thread_ts")
    workspace.statuses.append(dict(args))
    return {}


def set_session_status(workspace: Workspace, args: Json) -> Json:
    """agents.sessions.setStatus."""
    workspace.writable(args["channel_id"])
    if len(args.get("title", "")) > 200:
        raise Refused("invalid_arguments")
    set_session(workspace, args["channel_id"], args.get("thread_ts", ""), args["status"])
    workspace.session_log.append(dict(args))
    return {"status": args["status"]}


def set_session(workspace: Workspace, channel: str, thread: str, status: str) -> None:
    if status not in ("active", "processing", "suspended", "closed"):
        raise Refused("invalid_arguments")
    workspace.sessions[channel, thread] = status


def _open(workspace: Workspace, args: Json) -> Post:
    workspace.writable(args["channel"])
    post = workspace.post(args["channel"], args["ts"])
    if not post.streamed or not workspace.open_stream(post):
        raise Refused("message_not_in_streaming_state")
    return post


def _append(post: Post, args: Json) -> bool:
    text = args.get("markdown_text", "")
    if text and args.get("chunks"):
        raise Refused("invalid_arguments")
    for chunk in args.get("chunks") or []:
        if chunk["type"] not in ("markdown_text", "task_update", "plan_update", "blocks"):
            raise Refused("invalid_chunks")
        text += chunk.get("text", "")
    if len(text) > MARKDOWN:
        raise Refused("msg_too_long")
    if post.stream is not None:
        post.stream.text += text
        post.text = post.stream.text
        post.blocks = [{"type": "markdown", "text": post.text}] if post.text else []
        check_message(post.blocks)
    return bool(text)
