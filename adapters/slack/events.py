"""Parses Slack's events into messages (docs.slack.dev/reference/events/message).

These functions read only what an event contains. They do not call Slack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, Self

from adapters.slack.render import mentioned_ids
from core.domain.messages import (
    Address,
    Attachment,
    Message,
    Person,
    ReplyTo,
    mark_recording,
    turn_id,
)

NOT_A_FILE = frozenset({"tombstone", "hidden_by_limit"})
"""The `mode` of a file that is deleted, or older than a free workspace shows."""
SLACKBOT = "USLACKBOT"
SPOKEN = frozenset({"", "file_share", "thread_broadcast", "me_message", "bot_message"})
"""Subtypes of messages with content from a person or a bot (reference/events/message). Others
report joins, topics and the like."""
_LONGEST, _DEEPEST = 20_000, 8
"""How many characters of a message are read, and how deep its blocks may nest."""
_ID = re.compile(r"[A-Z][A-Z0-9]+")
_ENTITIES = {"channel_id": "channel", "canvas_id": "canvas", "list_id": "list"}
"""Kinds of things that a person has open in Slack, and their words for the model."""
Payload = Mapping[str, Any]
Kind = Literal["message", "command", "card", "quiet"]
GROUP_MENTION = "<!subteam^"
"""A user group's mention begins with this."""


@dataclass(frozen=True, slots=True)
class Source:
    """The event that a reply answers, as `ReplyTo.source` stores it.

    - `message`: a message that a person wrote.
    - `command`: a slash command, which leaves no message; `ts` is then only a time.
    - `card`: a click on a card in the bot's post `ts`.
    - `quiet`: a click or Slack's own Stop button. Only that person sees the outcome.

    `thread` is the time stamp of the root of the answer's thread ("" at the top level). The text
    form is `TS`, `THREAD/TS` or `KIND:THREAD/TS`; `/TS` is a message answered at the top level.
    """

    ts: str
    thread: str = ""
    kind: Kind = "message"

    def __str__(self) -> str:
        """The form is KIND:THREAD/TS, which `read` parses."""
        kind = "" if self.kind == "message" else f"{self.kind}:"
        thread = f"{self.thread}/" if self.thread and self.thread != self.ts else ""
        if self.kind == "message" and not self.thread:
            thread = "/"
        return f"{kind}{thread}{self.ts}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse the text form of a source."""
        prefix, _, place = text.rpartition(":")
        thread, slash, ts = place.rpartition("/")
        kinds: dict[str, Kind] = {"command": "command", "card": "card", "quiet": "quiet"}
        kind = kinds.get(prefix, "message")
        # A message is the root of its own thread, unless a slash says that it has none.
        return cls(ts, thread or (ts if kind == "message" and not slash else ""), kind)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message as Slack's event describes it.

    - `team` is our workspace. `home` is the author's, "" if the event contradicts itself.
    - `thread` is the time stamp of the thread's root ("" at the top level), `parent` its author.
    - `edited` is the time of the last edit in Unix seconds, 0.0 for none.
    - `shared` are the messages that it forwards, as pairs of author and text.
    """

    team: str
    channel: str
    ts: str
    user: str
    text: str
    thread: str = ""
    parent: str = ""
    direct: bool = False
    files: tuple[Attachment, ...] = ()
    edited: float = 0.0
    home: str = ""
    shared: tuple[tuple[str, str], ...] = ()
    robot: bool = False
    """Another bot wrote it, one that may talk with Ponte."""
    open_there: str = ""
    """What its author has open in Slack beside a direct message."""

    @property
    def event_key(self) -> str:
        """All events about the message share this key."""
        return event_key(self.team, self.channel, self.ts)

    def mentions(self, bot: str) -> bool:
        return bot in mentioned_ids(self.text)


def text_of(message: Payload) -> str:
    """Return all text of a message in Slack's own mrkdwn (see `render.to_readable`), without link
    previews.

    Messages of other apps mostly have an empty or short `text`. Their content is in `blocks` and
    `attachments` (openclaw/openclaw issue 97727, NousResearch/hermes-agent issue 33469).
    """
    return "\n".join(filter(None, [author_text(message), *attached_texts(message)]))[:_LONGEST]


def author_text(message: Payload) -> str:
    """The message's text without attachments."""
    text = str(message.get("text") or "").strip()
    # For what people write, Slack builds both from one text. An app's `text` may be a summary.
    if not text or message.get("bot_id"):
        block_text = "\n".join(_lines(message.get("blocks"))).strip()
        text = block_text if len(block_text) > len(text) else text
    return text[:_LONGEST]


def attached_texts(message: Payload) -> Sequence[str]:
    """Return the texts of attachments, in which apps put their content. Forwarded messages and link
    previews are attachments too, but are left out."""
    return [
        _attachment_text(one)
        for one in _mappings_in(message.get("attachments"))
        if not (is_forwarded(one) or one.get("from_url") or one.get("original_url"))
    ]


def forwarded_messages(message: Payload) -> Sequence[tuple[str, str, Payload]]:
    """Return forwarded messages as author, text and attachment."""
    return [
        (str(one.get("author_id") or one.get("author_name") or "?"), _attachment_text(one), one)
        for one in _mappings_in(message.get("attachments"))
        if is_forwarded(one)
    ]


def is_forwarded(attachment: Payload) -> bool:
    return bool(attachment.get("is_share") or attachment.get("is_msg_unfurl"))


def files_of(message: Payload) -> tuple[Attachment, ...]:
    """Each `reference` is the file's id and its private address, which needs our token. In channels
    shared with other companies, Slack sends only the id
    (docs.slack.dev/reference/events/message/file_share)."""
    return tuple(
        Attachment(
            name=str(file.get("name") or file["id"]),
            type=str(file.get("mimetype") or ""),
            size=int(file.get("size") or 0),
            reference=f"{file['id']} {private_url(file)}".strip(),
        )
        for file in _mappings_in(message.get("files"))
        if file.get("id") and file.get("mode") not in NOT_A_FILE
    )


def own_files_of(event: Payload) -> tuple[Attachment, ...]:
    """Return the files that the author attached, not those of forwarded messages, with recordings
    marked as voice.

    Slack calls some audio clips video/mp4 (hermes-agent pull request 51176), so the file's subtype
    counts, too.
    """
    files = _mappings_in(event.get("files"))
    clips = {file.get("id"): file for file in files if file.get("subtype") == "slack_audio"}
    marked_files = []
    for file in files_of(event):
        # A reference begins with the file's id.
        clip = clips.get(file.reference.partition(" ")[0])
        # For None, the type decides whether it is a recording.
        seconds = float(clip.get("duration_ms") or 0) / 1000 if clip else None
        marked_files.append(mark_recording(file, seconds))
    return tuple(marked_files)


def private_url(file: Payload) -> str:
    """Return the address at which our token can read a file; "" if the event has none."""
    return str(file.get("url_private_download") or file.get("url_private") or "")


def event_key(team: str, channel: str, ts: str) -> str:
    return f"slack:{team}:{channel}:{ts}"


def home_of(ours: str, of_the_person: Iterable[object], of_the_place: Iterable[object] = ()) -> str:
    """Return the workspace that a person writes from; "" if the values contradict each other.

    It is ours only if no given id names another workspace. Ids of organisations (E…) are ignored.
    `of_the_person` are fields about the person, `of_the_place` those about where it happened.
    """
    homes, places = (
        {str(t) for t in ids if str(t or "").startswith("T")}
        for ids in (of_the_person, of_the_place)
    )
    if len(homes) > 1:
        return ""
    if homes and homes != {ours}:
        return homes.pop()
    # Without any id, nothing says that the person is one of ours.
    return ours if (homes or places) and places <= {ours} else ""


def author_home(ours: str, body: Payload, event: Payload) -> str:
    """Return the workspace of a message's author; "" if the event contradicts itself.

    In a channel shared with other companies, the outer `team_id` may name another workspace. Bolt
    (1.30) trusts `authorizations` there.
    """
    places = [body.get("context_team_id")]
    places += [each.get("team_id") for each in body.get("authorizations") or ()]
    if not body.get("is_ext_shared_channel"):
        places.append(body.get("team_id"))
    return home_of(ours, (event.get(name) for name in ("user_team", "team", "source_team")), places)


def parse_message(
    ours: str, body: Payload, event: Payload, bots: frozenset[str]
) -> ParsedMessage | None:
    """Return None for joins, topics and Slackbot, and for bots that `bots` does not list. `ours` is
    our workspace, `body` the request around the event."""
    user = str(event.get("user") or "")
    if (event.get("subtype") or "") not in SPOKEN or not user or user == SLACKBOT:
        return None
    if event.get("bot_id") and event["bot_id"] not in bots:
        return None
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    thread = str(event.get("thread_ts") or "")
    files = own_files_of(event) if event.get("files") else ()
    shared = list[tuple[str, str]]()
    if event.get("attachments"):
        forwarded = forwarded_messages(event)
        shared += [(who, words) for who, words, _ in forwarded]
        shared += [("Slack", words) for words in attached_texts(event) if words]
        files += tuple(file for _, _, attachment in forwarded for file in files_of(attachment))
    direct = is_direct(channel, event)
    # What the person has open beside a direct message. The kinds of entities are listed in
    # docs.slack.dev/reference/events/app_context_changed.
    entities = (event.get("app_context") or {}).get("entities") or () if direct else ()
    descriptions = []
    # Ids are checked, because the model reads this text. Five entities are enough for it.
    for entity in entities[:5]:
        # A type is an address such as `slack#/types/channel_id`; its last part is the kind.
        kind, value = str(entity.get("type", "")).rpartition("/")[2], entity.get("value")
        if kind == "message_context" and isinstance(value, Mapping):
            its_channel, its_ts = str(value.get("channel_id", "")), str(value.get("message_ts", ""))
            if _ID.fullmatch(its_channel) and re.fullmatch(r"\d+\.\d+", its_ts):
                descriptions.append(f"the message {its_ts} in the channel {its_channel}")
        elif kind in _ENTITIES and _ID.fullmatch(str(value)):
            descriptions.append(f"the {_ENTITIES[kind]} {value}")
    return ParsedMessage(
        team=ours,
        channel=channel,
        ts=ts,
        user=user,
        text=author_text(event),
        # The first message of a thread names itself as the thread.
        thread=thread if thread != ts else "",
        parent=str(event.get("parent_user_id") or ""),
        direct=direct,
        files=files,
        edited=float((event.get("edited") or {}).get("ts") or 0.0),
        home=author_home(ours, body, event),
        robot=bool(event.get("bot_id")),
        shared=tuple(shared),
        open_there=", ".join(descriptions),
    )


def is_direct(channel: str, event: Payload) -> bool:
    """An app_mention event has no channel_type: the id's first letter D decides there."""
    kind = event.get("channel_type") or ("im" if channel.startswith("D") else "")
    return bool(kind == "im")  # a group direct message ("mpim") is shared, like a channel


def reply_to(
    where: Address, asker: Person, source: str, key: str, token: str = "", expires: float = 0.0
) -> ReplyTo:
    """Return all that any process needs to reply later. `token` is a response_url, valid until
    `expires` (Unix seconds)."""
    return ReplyTo(where, asker, source, turn_id(key), token, expires)


def stop_message(where: Address, author: Person, thread: str, at: str, stream: str) -> Message:
    """Return the message `stop` for a press of Slack's own Stop button at the time `at`. "quiet":
    only who pressed it sees the outcome."""
    # `stream` is the time stamp of the post that was streaming, if any. Slack reports a press by an
    # event, and by refusing more text for that post. Both give this key, so the press counts once.
    key = f"slack:{where.workspace}:{where.channel}:stopped:{stream}"
    return Message(
        event_key=key,
        text="stop",
        author=author,
        address=where,
        sent_at=float(at or 0),
        reply_to=reply_to(where, author, str(Source(at, thread, "quiet")), key),
        is_click=True,
    )


def _attachment_text(attachment: Payload) -> str:
    """Return an attachment's text, line by line: its legacy fields
    (docs.slack.dev/reference/messaging/payload, "Legacy fields") and its blocks. An app may use
    either."""
    # `fallback` repeats the other fields in one line, so it counts only where they are empty.
    lines = [str(attachment.get(name) or "") for name in ("pretext", "title", "text")]
    lines += list(_lines(attachment.get("blocks")))
    lines += [
        f"{field.get('title') or ''}: {field.get('value') or ''}".strip(": ")
        for field in _mappings_in(attachment.get("fields"))
    ]
    if not any(lines):
        lines = [str(attachment.get("fallback") or "")]
    return "\n".join(filter(None, lines))


def _lines(blocks: Any, depth: int = 0) -> Iterator[str]:
    """Yield the readable text of blocks, line by line: of an image its title or alternative text,
    of buttons none. `depth` counts the blocks around these."""
    for block in _mappings_in(blocks):
        # Anybody's app can send blocks, nested as deeply as it likes.
        if depth > _DEEPEST:
            return
        kind = block.get("type")
        if kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
            yield "".join(map(_render_inline, _mappings_in(block.get("elements"))))
        elif kind == "image":
            yield _read_text(block.get("title")) or str(block.get("alt_text") or "")
        elif kind == "table":
            for row in block.get("rows") or ():
                yield " | ".join(" ".join(_lines([cell], depth + 1)) for cell in _mappings_in(row))
        elif kind == "actions":
            continue
        else:  # such as a section, a header, a list, a cell of a table, or a block around others
            yield from filter(None, [_read_text(block.get("title")), _read_text(block.get("text"))])
            yield from filter(None, map(_read_text, _mappings_in(block.get("fields"))))
            yield from _lines(block.get("elements"), depth + 1)


def _render_inline(element: Payload) -> str:
    """Return an element of rich text as the mrkdwn that Slack's `text` has for it
    (docs.slack.dev/reference/block-kit/blocks/rich-text-block). All values are escaped, so that
    none can look like a mention, or end a link early."""
    values = {name: escape(str(value or ""), quote=False) for name, value in element.items()}
    match element.get("type"):
        case "user":
            return f"<@{values.get('user_id')}>"
        case "usergroup":
            return f"<!subteam^{values.get('usergroup_id')}>"
        case "channel":
            return f"<#{values.get('channel_id')}>"
        case "broadcast":
            return f"<!{values.get('range')}>"
        case "emoji":
            return f":{values.get('name')}:"
        case "link":
            # A bar would begin the label.
            url, label = values.get("url", "").replace("|", "%7C"), values.get("text")
            return f"<{url}|{label}>" if label else f"<{url}>"
        case _:
            # A date has a `fallback`, a color its `value`.
            texts = (values.get(name) for name in ("text", "fallback", "value"))
            return next(filter(None, texts), "")


def _read_text(value: Any) -> str:
    return str(value.get("text") or "") if isinstance(value, Mapping) else str(value or "")


def _mappings_in(value: Any) -> Sequence[Payload]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [each for each in value if isinstance(each, Mapping)]
