"""Methods that only read: people, groups, history."""

from __future__ import annotations

from .records import (
    APP_ID,
    BOT_ID,
    BOT_USER,
    TEAM,
    Json,
    Post,
    SlackChannel,
    SlackErrorResponse,
    SlackPerson,
    file_json,
    new_id,
    redact_file,
)
from .workspace import Workspace

UNLIMITED_LIST, LARGEST_PAGE = 500, 999
"""People whom users.list tells of without a limit (ours: Slack names no number), and the largest
limit that it takes."""
_CURSOR = "user:"


def auth_test(workspace: Workspace, args: Json) -> Json:
    return {
        "url": "https://acme.slack.com/",
        "team": "Ponte",
        "team_id": TEAM,
        "user": "ponte",
        "user_id": BOT_USER,
        "bot_id": BOT_ID,
    }


def bots_info(workspace: Workspace, args: Json) -> Json:
    if args["bot"] != BOT_ID:
        raise SlackErrorResponse("bot_not_found")
    if workspace.odd_bot is not None:
        return workspace.odd_bot
    return {"bot": {"id": BOT_ID, "deleted": False, "name": "ponte", "app_id": APP_ID}}


def users_info(workspace: Workspace, args: Json) -> Json:
    someone = workspace.people.get(args["user"])
    if someone is None:
        raise SlackErrorResponse("user_not_found")
    return {"user": user_json(someone, _is_true(args.get("include_locale")))}


def users_list(workspace: Workspace, args: Json) -> Json:
    """A page of everyone, deactivated people and bots among them.

    The largest `limit` is 999 (docs.slack.dev, node-slack-sdk, `UsersListArguments`). Without one,
    large workspaces say `limit_required`; so does a page that Slack finds too large.
    """
    limit, everyone = args.get("limit"), list(workspace.people.values())
    if limit is None and len(everyone) > UNLIMITED_LIST:
        raise SlackErrorResponse("limit_required")
    size = int(limit or len(everyone))
    if not 1 <= size <= LARGEST_PAGE:
        raise SlackErrorResponse("invalid_arguments")
    if size > workspace.largest_page:
        raise SlackErrorResponse("limit_required")
    start = _list_start(workspace, str(args.get("cursor") or ""))
    page, rest = everyone[start : start + size], everyone[start + size :]
    cursor = f"{_CURSOR}{rest[0].id}" if rest else ""
    texts = [user_json(someone, _is_true(args.get("include_locale"))) for someone in page]
    return {"members": texts, "cache_ts": 0, "response_metadata": {"next_cursor": cursor}}


def _list_start(workspace: Workspace, cursor: str) -> int:
    if not cursor:
        return 0
    ids = list(workspace.people)
    if not cursor.startswith(_CURSOR) or cursor.removeprefix(_CURSOR) not in ids:
        raise SlackErrorResponse("invalid_cursor")
    return ids.index(cursor.removeprefix(_CURSOR))


RIGHTS_FIELDS = ("tz", "is_restricted", "is_ultra_restricted", "is_stranger", "locale")
"""What a user object lacks once the account is deactivated."""


def user_json(someone: SlackPerson, locale: bool = True) -> Json:
    """A user object as methods and events carry it (docs.slack.dev/reference/objects/user-object).

    A single-channel guest is marked as restricted too (zulip/zulip/pull/13349). `is_stranger` is
    only set for people of other workspaces with whom the bot shares no channel.
    """
    user: Json = {
        "id": someone.id,
        "team_id": someone.team,
        "name": someone.handle or someone.name.lower(),
        "is_bot": someone.is_bot,
        "deleted": someone.deactivated,
        "is_stranger": someone.team != TEAM,
        "tz": someone.tz,
        "is_restricted": bool(someone.guest),
        "is_ultra_restricted": someone.guest == "single",
        "real_name": someone.full_name or someone.name,
        "updated": 0,
        "profile": {
            "display_name": someone.name,
            "real_name": someone.full_name or someone.name,
            "status_text": someone.status,
            "team": someone.team,
        },
    }
    if locale:
        user["locale"] = someone.locale
    if someone.deactivated:  # an account without rights has no fields about them
        user = {key: user[key] for key in user if key not in RIGHTS_FIELDS}
    return user


def _is_true(value: object) -> bool:
    return value in ("1", "true", True)


def usergroups_list(workspace: Workspace, args: Json) -> Json:
    return {
        "usergroups": [
            {"id": id, "handle": id.lower(), "users": sorted(members)}
            for id, members in workspace.groups.items()
        ]
    }


def replies(workspace: Workspace, args: Json) -> Json:
    """What is said where the bot is no member is withheld."""
    place = workspace.writable(args["channel"], "channel_not_found", "")
    posts = workspace.thread(args["channel"], args["ts"])
    if not posts:
        raise SlackErrorResponse("thread_not_found")
    root = [post for post in posts if post.ts == args["ts"]]
    rest = _window([post for post in posts if post.ts != args["ts"]], args)
    return _page(workspace, place, root + rest, args)


def history(workspace: Workspace, args: Json) -> Json:
    place = workspace.writable(args["channel"], "not_in_channel", "")
    posts = [p for p in workspace.in_channel(args["channel"]) if p.thread_ts in ("", p.ts)]
    latest = str(args.get("latest"))
    if workspace.absences.get(latest):
        workspace.absences[latest] -= 1
        posts = []
    values = sorted(_window(posts, args), key=lambda post: post.ts, reverse=True)
    return _page(workspace, place, values, args)


def open_direct(workspace: Workspace, args: Json) -> Json:
    """The same one each time; with one person here."""
    users = str(args.get("users") or "").split(",")
    if users == [""]:
        raise SlackErrorResponse("users_list_not_supplied")
    if len(users) > 1:
        raise SlackErrorResponse("too_many_users")
    someone = workspace.people.get(users[0])
    if someone is None:
        raise SlackErrorResponse("user_not_found")
    if someone.deactivated:
        raise SlackErrorResponse("user_disabled")
    for place in workspace.places.values():
        if place.kind == "im" and someone.id in place.members:
            return {"no_op": True, "already_open": True, "channel": {"id": place.id}}
    place = SlackChannel(new_id("D"), someone.name, "im", {someone.id, BOT_USER})
    workspace.places[place.id] = place
    return {"channel": {"id": place.id}}


def channel_info(workspace: Workspace, args: Json) -> Json:
    place = workspace.place(args["channel"])
    text: Json = {
        "id": place.id,
        "is_im": place.kind == "im",
        "is_mpim": place.kind == "mpim",
        "is_private": place.kind != "channel",
        "is_ext_shared": False,
    }
    return {"channel": text if place.kind == "im" else text | {"name": place.name}}


def members(workspace: Workspace, args: Json) -> Json:
    """Slack names 999 as the largest limit (node-slack-sdk, `ConversationsMembersArguments`)."""
    place = workspace.place(args["channel"])
    if place.kind == "group" and BOT_USER not in place.members:
        raise SlackErrorResponse("channel_not_found")
    page, metadata = _cut_page(sorted(place.members), args)
    return {"members": page, "response_metadata": metadata}


def users_conversations(workspace: Workspace, args: Json) -> Json:
    """Channels of a person: "Non-public channels are restricted to those where the calling user
    shares membership" (the method's page)."""
    kinds = {"public_channel": "channel", "private_channel": "group", "mpim": "mpim", "im": "im"}
    types = str(args.get("types") or "public_channel").split(",")
    if not kinds.keys() >= set(types):
        raise SlackErrorResponse("invalid_types")
    user = args.get("user") or BOT_USER
    ids = [
        place.id
        for place in workspace.places.values()
        if user in place.members and place.kind in {kinds[type] for type in types}
        if place.kind == "channel" or BOT_USER in place.members
    ]
    page, metadata = _cut_page(ids, args)
    return {"channels": [{"id": id} for id in page], "response_metadata": metadata}


def _cut_page(ids: list[str], args: Json) -> tuple[list[str], Json]:
    limit, start = int(args.get("limit", 100)), int(args.get("cursor") or 0)
    if not 1 <= limit <= 999:
        raise SlackErrorResponse("invalid_limit")
    more = str(start + limit) if start + limit < len(ids) else ""
    return ids[start : start + limit], {"next_cursor": more}


def files_info(workspace: Workspace, args: Json) -> Json:
    if args["file"] not in workspace.files:
        raise SlackErrorResponse("file_not_found")
    return {"file": file_json(workspace.files[args["file"]], workspace.origin)}


def _window(posts: list[Post], args: Json) -> list[Post]:
    oldest, latest = args.get("oldest", "0"), args.get("latest", "9")
    inclusive = args.get("inclusive") in ("1", "true", True)
    return [p for p in posts if oldest < p.ts < latest or (inclusive and p.ts in (oldest, latest))]


def _page(workspace: Workspace, place: SlackChannel, posts: list[Post], args: Json) -> Json:
    limit, start = int(args.get("limit", 100)), int(args.get("cursor") or 0)
    if not 1 <= limit <= 1000:
        raise SlackErrorResponse("invalid_arguments")
    metadata = args.get("include_all_metadata") in ("1", "true", True)
    messages = []
    for post in posts[start : start + limit]:
        text = post.event()
        if text.get("files"):
            shared_with_strangers = place.shared_with_strangers
            text["files"] = [
                redact_file(file) if shared_with_strangers else file_json(file, workspace.origin)
                for file in post.files
            ]
        if metadata and post.metadata:
            text["metadata"] = post.metadata
        if workspace.open_stream(post):
            text["streaming_state"] = "in_progress"
        messages.append(text | post.odd_fields)
    more = start + limit < len(posts)
    return {
        "messages": messages,
        "has_more": more,
        "response_metadata": {"next_cursor": str(start + limit)} if more else None,
    }
