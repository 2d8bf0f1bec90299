"""chat.* and reactions.*: posting, editing, deleting, as Slack checks it."""

from __future__ import annotations

from .blocks import TEXT, check_message, size
from .records import BOT_USER, Json, Post, SlackErrorResponse
from .workspace import Workspace


def post_message(workspace: Workspace, args: Json) -> Json:
    workspace.writable(args["channel"])
    post = workspace.new_bot_post(args["channel"], args.get("thread_ts", ""))
    _fill(workspace, post, args, "chat.postMessage")
    _hang(workspace, post)
    for flag in ("unfurl_links", "unfurl_media"):
        if args.get(flag) is not False:
            workspace.complaints.append(f"chat.postMessage without {flag}=false")
    workspace.add(post)
    if not workspace.slot.get((post.channel, post.thread_ts), "").startswith("session"):
        workspace.slot[post.channel, post.thread_ts] = ""
    text = post.event() | {"channel": post.channel, "event_ts": post.ts}
    text |= {"subtype": "bot_message"} if not post.bot_id else {}
    workspace.told("events_api", text)
    return {"channel": post.channel, "ts": post.ts, "message": post.event()}


def post_ephemeral(workspace: Workspace, args: Json) -> Json:
    place = workspace.writable(args["channel"])
    if args["user"] not in place.members:
        raise SlackErrorResponse("user_not_in_channel")
    post = workspace.new_bot_post(args["channel"], args.get("thread_ts", ""))
    post.seen_by = args["user"]
    _fill(workspace, post, args, "chat.postEphemeral")
    workspace.add(post)
    return {"message_ts": post.ts}


def update(workspace: Workspace, args: Json) -> Json:
    workspace.writable(args["channel"], "channel_not_found", "is_inactive")
    post = workspace.post(args["channel"], args["ts"])
    if post.user != BOT_USER or post.seen_by:
        raise SlackErrorResponse("cant_update_message")
    if workspace.open_stream(post):
        raise SlackErrorResponse("streaming_state_conflict")
    before = post.event()
    _fill(workspace, post, args, "chat.update")
    post.stream = None  # a person stopped it
    post.edited = workspace.clock.ts()
    workspace.note_shown(post)
    workspace.told(
        "events_api",
        {
            "type": "message",
            "subtype": "message_changed",
            "hidden": True,
            "channel": post.channel,
            "ts": post.edited,
            "event_ts": post.edited,
            "message": post.event(),
            "previous_message": before,
        },
    )
    return {"channel": post.channel, "ts": post.ts, "text": post.text}


def delete(workspace: Workspace, args: Json) -> Json:
    workspace.writable(args["channel"], "channel_not_found", "")
    post = workspace.post(args["channel"], args["ts"])
    if post.user != BOT_USER or post.seen_by:
        raise SlackErrorResponse("cant_delete_message")
    remove(workspace, post)
    return {"channel": post.channel, "ts": post.ts}


def remove(workspace: Workspace, post: Post) -> None:
    """Delete it, whoever did, and tell the app."""
    before = post.event()
    replies = [p for p in workspace.thread(post.channel, post.ts) if p.ts != post.ts]
    post.deleted = True
    at = workspace.clock.ts()
    if replies:  # a root stays as a tombstone, so that its replies hang on something
        stone = {
            "type": "message",
            "subtype": "tombstone",
            "user": "USLACKBOT",
            "ts": post.ts,
            "text": "This message was deleted.",
            "thread_ts": post.ts,
        }
        workspace.told(
            "events_api",
            {
                "type": "message",
                "subtype": "message_changed",
                "hidden": True,
                "channel": post.channel,
                "ts": at,
                "event_ts": at,
                "message": stone,
                "previous_message": before,
            },
        )
        return
    workspace.told(
        "events_api",
        {
            "type": "message",
            "subtype": "message_deleted",
            "hidden": True,
            "channel": post.channel,
            "ts": at,
            "event_ts": at,
            "deleted_ts": post.ts,
            "previous_message": before,
        },
    )


def add_reaction(workspace: Workspace, args: Json) -> Json:
    post = workspace.post(args["channel"], args["timestamp"])
    if args["name"] in post.reactions:
        raise SlackErrorResponse("already_reacted")
    post.reactions.add(args["name"])
    return {}


def remove_reaction(workspace: Workspace, args: Json) -> Json:
    post = workspace.post(args["channel"], args["timestamp"])
    if args["name"] not in post.reactions:
        raise SlackErrorResponse("no_reaction")
    post.reactions.remove(args["name"])
    return {}


def _fill(workspace: Workspace, post: Post, args: Json, method: str) -> None:
    text, blocks = args.get("text", ""), args.get("blocks")
    update = method == "chat.update"
    if not text and not blocks:
        raise SlackErrorResponse("no_text")
    if "markdown_text" in args:
        raise SlackErrorResponse("markdown_text_conflict")
    if size(text) > TEXT:
        raise SlackErrorResponse("msg_too_long")
    check_message(blocks or [], method)
    if metadata := args.get("metadata"):
        post.metadata = check_metadata(metadata)
    post.text = text
    if blocks is not None or not update:
        post.blocks = blocks or []
    elif update:
        post.blocks = []
    post.arguments = dict(args)


def check_metadata(metadata: Json) -> Json:
    if set(metadata) != {"event_type", "event_payload"}:
        raise SlackErrorResponse("invalid_metadata_format")
    if any(isinstance(value, dict | list) for value in metadata["event_payload"].values()):
        raise SlackErrorResponse("invalid_metadata_schema")
    return metadata


def _hang(workspace: Workspace, post: Post) -> None:
    """A reply to a message that is gone is accepted, and stands at the top level
    (slack-go/slack/issues/1571, langchain-ai/open-swe/pull/2753)."""
    if not post.thread_ts:
        return
    root = workspace.posts.get((post.channel, post.thread_ts))
    if root is None or (root.deleted and not workspace.thread(post.channel, post.thread_ts)):
        post.thread_ts = ""
    elif root.thread_ts and root.thread_ts != root.ts:
        workspace.complaints.append("thread_ts of a reply instead of its root")
