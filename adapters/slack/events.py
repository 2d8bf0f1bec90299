"""Slack's message events as what a person said (docs.slack.dev/reference/events/message)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.slack.markup import mentioned
from adapters.slack.source import Source
from core.messages import Address, Attachment, Message, Person, Quote, ReplyTo, turn_id

Json = Mapping[str, Any]

_SPOKEN = frozenset({"", "file_share", "thread_broadcast", "me_message"})
SLACKBOT = "USLACKBOT"


@dataclass(frozen=True, slots=True)
class Said:
    """A message as Slack tells it. `thread` is its root's time stamp ("" at the top level),
    `parent` who wrote that root; `teams` are the author's, where Slack names any."""

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
    teams: tuple[str, ...] = ()
    external: bool = False

    @property
    def event_key(self) -> str:
        """One message has one key, whichever events tell of it."""
        return event_key(self.team, self.channel, self.ts)

    def mentions(self, bot: str) -> bool:
        return bot in mentioned(self.text)


def event_key(team: str, channel: str, ts: str) -> str:
    return f"slack:{team}:{channel}:{ts}"


def said(team: str, event: Json, external: bool, bots: frozenset[str]) -> Said | None:
    """None where nobody spoke: joins, topics, other bots (unless named in `bots`), ourselves."""
    user = str(event.get("user") or "")
    if event.get("subtype", "") not in _SPOKEN or not user or user == SLACKBOT:
        return None
    if event.get("bot_id") and event["bot_id"] not in bots:
        return None
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    thread = str(event.get("thread_ts") or "")
    return Said(
        team=team, channel=channel, ts=ts, user=user, text=str(event.get("text") or ""),
        thread=thread if thread != ts else "", parent=str(event.get("parent_user_id") or ""),
        direct=is_direct(channel, event), files=_files(event), edited=_edited(event),
        teams=tuple(str(event[name]) for name in ("user_team", "team") if event.get(name)),
        external=external,
    )  # fmt: skip


def is_direct(channel: str, event: Json) -> bool:
    """A direct message: app_mention carries no channel_type, but the id's letter tells."""
    kind = event.get("channel_type") or ("im" if channel.startswith("D") else "")
    return bool(kind == "im")


def address(message: Said, belongs_to_dm: bool) -> Address:
    """Where the conversation is: a channel's thread, a direct message's channel, or a thread of
    its own in it (`belongs_to_dm`: it holds our answer to a top-level message)."""
    thread = message.thread if message.direct else message.thread or message.ts
    return Address(
        platform="slack", workspace=message.team, channel=message.channel,
        thread="" if message.direct and belongs_to_dm else thread, shared=not message.direct,
    )  # fmt: skip


def reply_to(where: Address, asker: Person, source: str, key: str, token: str = "",
             expires: float = 0.0) -> ReplyTo:  # fmt: skip
    return ReplyTo(where, asker, source, turn_id(key), token, expires)


def message(
    heard: Said, where: Address, author: Person, text: str, context: tuple[Quote, ...] = (),
    locale: str = "", zone: str = "",
) -> Message:  # fmt: skip
    """`text` as people read it. A reply in a direct message's thread is answered in that thread."""
    source = Source(heard.ts, where.thread or heard.thread or heard.ts)
    return Message(
        event_key=heard.event_key, text=text, author=author, address=where,
        reply_to=reply_to(where, author, str(source), heard.event_key), attachments=heard.files,
        context=context, locale=locale.replace("_", "-"), time_zone=zone,
        sent_at=heard.edited or float(heard.ts),
    )  # fmt: skip


def _files(event: Json) -> tuple[Attachment, ...]:
    """`reference` is the file's id and its private address, which needs our token to be read."""
    return tuple(
        Attachment(
            name=str(file.get("name") or file["id"]), type=str(file.get("mimetype") or ""),
            size=int(file.get("size") or 0),
            reference=f"{file['id']} {_address(file)}".strip(),
        )
        for file in event.get("files") or ()
        if file.get("id") and file.get("mode") not in ("tombstone", "hidden_by_limit")
    )  # fmt: skip


def _address(file: Json) -> str:
    return str(file.get("url_private_download") or file.get("url_private") or "")


def _edited(event: Json) -> float:
    return float((event.get("edited") or {}).get("ts") or 0.0)
