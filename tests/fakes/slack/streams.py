"""chat.startStream, appendStream, stopStream, and the statuses of agents.

A stream ends by itself after five minutes, takes no metadata before it is stopped and nothing about
unfurling (docs.slack.dev/reference/methods/chat.startStream, slackapi/node-slack-sdk/pull/2389).
"""

from __future__ import annotations

import time

from .blocks import MARKDOWN, STREAM, check_message, size, weight
from .chat import check_metadata
from .records import Json, Post, SlackErrorResponse, Stream
from .workspace import Workspace

_NOT_THERE = ("metadata", "unfurl_links", "unfurl_media")
STATUSES = ("active", "processing", "suspended", "closed")
PROMPTS = 4
TITLE = 200
"""Characters of a session's (docs.slack.dev/reference/methods/agents.sessions.setStatus)."""


def start_stream(workspace: Workspace, args: Json) -> Json:
    """It creates the thread's session and sets it `processing`
    (agentconnect-md/agentconnect/pull/1483)."""
    place = workspace.writable(args["channel"])
    if any(name in args for name in _NOT_THERE):
        raise SlackErrorResponse("invalid_arguments")
    for name in ("recipient_user_id", "recipient_team_id"):
        if place.kind != "im" and not args.get(name):
            raise SlackErrorResponse(f"missing_{name}")
    post = workspace.new_bot_post(place.id, args.get("thread_ts", ""))
    post.stream, post.streamed = Stream(time.monotonic()), True
    post.arguments = dict(args)
    _append(post, args, "chat.startStream")
    workspace.add(post)
    if workspace.agent and post.thread_ts:
        workspace.show_session(place.id, post.thread_ts, "processing")
    workspace.told("events_api", post.event() | {"channel": place.id, "event_ts": post.ts})
    return {"channel": place.id, "ts": post.ts}


def append_stream(workspace: Workspace, args: Json) -> Json:
    post = _open(workspace, args, "chat.appendStream")
    if not _append(post, args, "chat.appendStream"):
        raise SlackErrorResponse("no_text")
    workspace.note_shown(post)
    return {"channel": post.channel, "ts": post.ts}


def stop_stream(workspace: Workspace, args: Json) -> Json:
    """It releases the session: to `active`, where no `session_status` says otherwise
    (slackapi/python-slack-sdk/pull/1945)."""
    post = _open(workspace, args, "chat.stopStream")
    status = args.get("session_status", "active")
    if status not in STATUSES:
        raise SlackErrorResponse("invalid_arguments")
    blocks = args.get("blocks") or []
    _append(post, args, "chat.stopStream", blocks)
    if metadata := args.get("metadata"):
        post.metadata = check_metadata(metadata)
    post.blocks = post.blocks[:1] + blocks
    post.stream = None
    if workspace.agent and post.thread_ts:
        workspace.show_session(post.channel, post.thread_ts, status)
    workspace.note_shown(post)
    return {"channel": post.channel, "ts": post.ts, "message": post.event()}


def set_status(workspace: Workspace, args: Json) -> Json:
    """assistant.threads.setStatus."""
    workspace.writable(args["channel_id"], "channel_not_found", "")
    if (args["channel_id"], args["thread_ts"]) not in workspace.posts:
        raise SlackErrorResponse("invalid_thread_ts")
    workspace.statuses.append(dict(args))
    workspace.show_status(args["channel_id"], args["thread_ts"], args["status"])
    return {}


def set_suggested_prompts(workspace: Workspace, args: Json) -> Json:
    """assistant.threads.setSuggestedPrompts. In an app with an agent view it shows nothing if
    `thread_ts` is sent, and reports no error."""
    workspace.writable(args["channel_id"], "channel_not_found", "")
    prompts = args["prompts"]
    if not 1 <= len(prompts) <= PROMPTS or not all(
        set(each) == {"title", "message"} and all(each.values()) for each in prompts
    ):
        raise SlackErrorResponse("invalid_arguments")
    if not args.get("thread_ts"):
        workspace.prompts[args["channel_id"]] = prompts
    return {}


def set_session_status(workspace: Workspace, args: Json) -> Json:
    """agents.sessions.setStatus. An app that is declared no agent is told `not_authorized`
    (kirodotdev/KiroCrew/issues/9822)."""
    workspace.writable(args["channel_id"], "not_authorized", "")
    if not workspace.agent:
        raise SlackErrorResponse("not_authorized")
    if args["status"] not in STATUSES or len(args.get("title", "")) > TITLE:
        raise SlackErrorResponse("invalid_arguments")
    if not args.get("thread_ts"):
        raise SlackErrorResponse("thread_ts_required")
    workspace.show_session(args["channel_id"], args["thread_ts"], args["status"])
    workspace.session_log.append(dict(args))
    fixtures = {"status": args["status"], "title": args.get("title", "")}
    if not workspace.stop_subscribed:
        fixtures["warning"] = "missing_agent_session_stopped_event_subscription"
    return fixtures


def _open(workspace: Workspace, args: Json, method: str) -> Post:
    workspace.writable(args["channel"])
    post = workspace.post(args["channel"], args["ts"])
    if post.stream and post.stream.stopped and method == "chat.appendStream":
        raise SlackErrorResponse("stopped_by_user")
    if not post.streamed or not workspace.open_stream(post):
        raise SlackErrorResponse("message_not_in_streaming_state")
    return post


def _append(post: Post, args: Json, method: str, blocks: list[Json] | None = None) -> bool:
    """Nothing is done to a message that would become too long, by its text or by `blocks`."""
    text = args.get("markdown_text", "")
    if text and args.get("chunks"):
        raise SlackErrorResponse("invalid_arguments")
    for chunk in args.get("chunks") or []:
        if chunk["type"] not in ("markdown_text", "task_update", "plan_update", "blocks"):
            raise SlackErrorResponse("invalid_chunks")
        if size(chunk.get("text", "")) > MARKDOWN:
            raise SlackErrorResponse("msg_too_long")
        text += chunk.get("text", "")
    if post.stream is None:
        return bool(text)
    whole = post.stream.text + text
    view = [{"type": "markdown", "text": whole}] if whole else []
    if weight([*view, *(blocks or [])]) > STREAM:
        raise SlackErrorResponse("msg_too_long")
    check_message([*view, *(blocks or [])], method)
    post.stream.text = post.text = whole
    post.blocks = view
    return bool(text)
