"""Slack's message events as what a person said (docs.slack.dev/reference/events/message)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.slack import reading
from adapters.slack.markup import mentioned
from adapters.slack.source import Source
from core.messages import Address, Attachment, Message, Person, Quote, ReplyTo, turn_id

Json = Mapping[str, Any]

_SPOKEN = frozenset({"", "file_share", "thread_broadcast", "me_message", "bot_message"})
"""Subtypes of messages in which somebody says something (reference/events/message)."""
SLACKBOT = "USLACKBOT"
_ID = re.compile(r"[A-Z][A-Z0-9]+")
_ENTITIES = {"channel_id": "channel", "canvas_id": "canvas", "list_id": "list"}


@dataclass(frozen=True, slots=True)
class Said:
    """A message as Slack tells it. `team` is our workspace, `home` the author's ("" where Slack
    contradicts itself); `thread` is its root's time stamp ("" at the top level), `parent` who wrote
    that root; `shared` are messages that it forwards: (who, what)."""

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
    open_there: str = ""
    """What its author has open beside a direct message."""

    @property
    def event_key(self) -> str:
        """One message has one key, whichever events tell of it."""
        return event_key(self.team, self.channel, self.ts)

    def mentions(self, bot: str) -> bool:
        return bot in mentioned(self.text)


def event_key(team: str, channel: str, ts: str) -> str:
    return f"slack:{team}:{channel}:{ts}"


def home(ours: str, of_the_person: Iterable[object], of_the_place: Iterable[object] = ()) -> str:
    """The workspace that a person writes from: ours only where nothing that is told says another,
    and "" (nobody's) where that contradicts itself. Ids of organisations (E…) say nothing."""
    persons, places = ({str(t) for t in told if str(t or "").startswith("T")}
                       for told in (of_the_person, of_the_place))  # fmt: skip
    if len(persons) > 1:
        return ""
    if persons and persons != {ours}:
        return persons.pop()
    return ours if (persons or places) and places <= {ours} else ""


def author_home(ours: str, body: Json, event: Json) -> str:
    """`home` of a message's author. In a channel that is shared with other companies the outer
    `team_id` may be another one's: there Bolt (1.30) trusts `authorizations` instead."""
    places = [body.get("context_team_id")]
    places += [each.get("team_id") for each in body.get("authorizations") or ()]
    if not body.get("is_ext_shared_channel"):
        places.append(body.get("team_id"))
    return home(ours, (event.get(name) for name in ("user_team", "team", "source_team")), places)


def said(ours: str, body: Json, event: Json, bots: frozenset[str]) -> Said | None:
    """None where nobody spoke: joins, topics, other bots (unless named in `bots`), ourselves."""
    user = str(event.get("user") or "")
    if event.get("subtype", "") not in _SPOKEN or not user or user == SLACKBOT:
        return None
    if event.get("bot_id") and event["bot_id"] not in bots:
        return None
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    thread = str(event.get("thread_ts") or "")
    shared = reading.forwarded(event)
    there = [file for _, _, attachment in shared for file in reading.files(attachment)]
    direct = is_direct(channel, event)
    return Said(
        team=ours, channel=channel, ts=ts, user=user, text=reading.own(event),
        thread=thread if thread != ts else "", parent=str(event.get("parent_user_id") or ""),
        direct=direct, files=(*reading.files(event), *there), edited=_edited(event),
        home=author_home(ours, body, event),
        shared=(*((who, words) for who, words, _ in shared),
                *(("Slack", words) for words in reading.unfurled(event) if words)),
        open_there=_open_there(event) if direct else "",
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


def _edited(event: Json) -> float:
    return float((event.get("edited") or {}).get("ts") or 0.0)


def _open_there(event: Json) -> str:
    """`app_context` of a direct message, in words (docs.slack.dev/reference/events/
    app_context_changed has the kinds of entities)."""
    told = []
    for entity in ((event.get("app_context") or {}).get("entities") or ())[:5]:
        kind, value = str(entity.get("type", "")).rpartition("/")[2], entity.get("value")
        if kind == "message_context" and isinstance(value, Mapping):
            channel, ts = str(value.get("channel_id", "")), str(value.get("message_ts", ""))
            if _ID.fullmatch(channel) and re.fullmatch(r"\d+\.\d+", ts):
                told.append(f"the message {ts} in the channel {channel}")
        elif kind in _ENTITIES and _ID.fullmatch(str(value)):
            told.append(f"the {_ENTITIES[kind]} {value}")
    return ", ".join(told)
