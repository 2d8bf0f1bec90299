"""Slack's events as what a person said (docs.slack.dev/reference/events/message): whom it is for,
stored before it is acknowledged, and what stands around it.

Slack is asked for nothing before the store, but where nothing else tells whether an event is for us
(`ThreadParticipants`). All else is looked up when the turn starts (`Context`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal, Self
from weakref import WeakValueDictionary

from adapters.slack.client import (
    FAILURES,
    InDoubt,
    SlackRefused,
    history,
)
from adapters.slack.render import Json, mentioned, readable
from adapters.slack.workspace import Workspace
from core.chat import participants
from core.chat.files import Downloads
from core.chat.participants import Participants, Ways, as_everywhere
from core.chat.presence import mark_while_unknown
from core.domain.errors import NotFound, NotStored, PlatformBusy, SettingsError
from core.domain.messages import Address, Attachment, Message, Person, Quote, ReplyTo, turn_id
from core.domain.records import PlatformMember
from core.ports.conversations import Inbox, Journal, ThreadMap
from core.ports.rights import Policy
from core.runtime.tasks import BoundedDict, run_together
from core.text import text
from core.text.i18n import nearest_locale, say

NOT_A_FILE = frozenset({"tombstone", "hidden_by_limit"})
"""The `mode` of a file that is gone, or older than a free workspace shows."""
SLACKBOT = "USLACKBOT"
_SPOKEN = frozenset({"", "file_share", "thread_broadcast", "me_message", "bot_message"})
"""Subtypes of messages in which somebody says something (reference/events/message)."""
_LONGEST, _DEEPEST = 20_000, 8
"""Characters of what one message says, and blocks within each other that are read."""
_ID = re.compile(r"[A-Z][A-Z0-9]+")
_ENTITIES = {"channel_id": "channel", "canvas_id": "canvas", "list_id": "list"}

Payload = Mapping[str, Any]
Kind = Literal["message", "command", "card", "quiet"]

ALONE = "There are several of you here now, so I answer only when I am mentioned."
OPEN_THERE = "[While writing this to you, the person has open: {what}]"
_TITLE = 80
"""Of a session's title: 200 (docs.slack.dev/reference/methods/agents.sessions.setStatus)."""

Removed = Callable[[str], Awaitable[None]]
"""Called with the id of a post of ours that a person deleted."""

NOTICE = "ponte_notice"
"""The event type in the metadata of our word that we wait to be mentioned from now on."""
THREAD_PATIENCE = 1.0
"""Seconds that an event may wait for what Slack says of its thread, where nothing else tells
whether it is for us: after a restart, for the first reply in it."""
ROOT = 4000
"""Characters of the message that is meant."""

HISTORY_UNREAD = "[what was said before in this thread could not be read]"
_LIMITED = (
    "I could not read what was said before in this thread: Slack lets this app read history only "
    "once a minute. I answered without it."
)
_ONLY_TEXT = (
    "I could read only the text of that message, neither its files nor what was said before it."
)
_MORE_FILES = "I looked only at the newest {count} files of this thread."
_SOMEBODY = re.compile(r"(?<!\w)@([UW][A-Z0-9]{5,})\b")
"""A mention whose name was not known when it was stored."""
_PERSON = re.compile(r"[UW][A-Z0-9]{5,}")
"""A person's id."""
_GROUP = "<!subteam^"
"""Begins a mention of a user group."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a reply answers, as it is stored in `ReplyTo.source`.

    `message`: one that a person wrote. `command`: a slash command, which leaves no message;
    `ts` is then only a time. `card`: a click on a card in our post `ts`. `quiet`: a click or a
    native stop, whose outcome is for that person alone. `thread` is the root that the answer
    stands under ("" at the top level). Written as `TS`, `THREAD/TS`, or `KIND:THREAD/TS`; a message
    that is answered at the top level as `/TS`.
    """

    ts: str
    thread: str = ""
    kind: Kind = "message"

    def __str__(self) -> str:
        kind = "" if self.kind == "message" else f"{self.kind}:"
        thread = f"{self.thread}/" if self.thread and self.thread != self.ts else ""
        if self.kind == "message" and not self.thread:
            thread = "/"
        return f"{kind}{thread}{self.ts}"

    @classmethod
    def read(cls, text: str) -> Self:
        kind, _, place = text.rpartition(":")
        thread, slash, ts = place.rpartition("/")
        known: dict[str, Kind] = {"command": "command", "card": "card", "quiet": "quiet"}
        kind_ = known.get(kind, "message")
        return cls(ts, thread or (ts if kind_ == "message" and not slash else ""), kind_)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
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
    robot: bool = False
    """Another bot's, which may talk with us."""
    open_there: str = ""
    """What its author has open beside a direct message."""

    @property
    def event_key(self) -> str:
        """One message has one key, whichever events tell of it."""
        return event_key(self.team, self.channel, self.ts)

    def mentions(self, bot: str) -> bool:
        return bot in mentioned(self.text)

    @property
    def names_somebody(self) -> bool:
        """Whether it mentions a person or a user group."""
        return bool(mentioned(self.text)) or _GROUP in self.text


def words_of(message: Payload) -> str:
    """What it says, in Slack's own mrkdwn (`render.readable`), without what is only a preview of a
    link.

    Other apps' messages mostly have an empty or a short `text`; what they say stands in `blocks`
    and `attachments` (openclaw/openclaw issue 97727, NousResearch/hermes-agent issue 33469).
    """
    return "\n".join(filter(None, [own_words(message), *unfurled(message)]))[:_LONGEST]


def own_words(message: Payload) -> str:
    """The same without what hangs on it: what its author wrote."""
    text = str(message.get("text") or "").strip()
    shown = "\n".join(_lines(message.get("blocks"))).strip()
    if not text or (message.get("bot_id") and len(shown) > len(text)):
        text = shown or text
    return text[:_LONGEST]


def unfurled(message: Payload) -> Sequence[str]:
    """What apps hang on a message, without forwarded messages and previews of links."""
    hung = _listed(message.get("attachments"))
    return [_attached(one) for one in hung if not is_forwarded(one) and not _is_preview(one)]


def forwarded(message: Payload) -> Sequence[tuple[str, str, Payload]]:
    """The messages that it shares: (who said it, what, the attachment)."""
    return [
        (str(one.get("author_id") or one.get("author_name") or "?"), _attached(one), one)
        for one in _listed(message.get("attachments"))
        if is_forwarded(one)
    ]  # fmt: skip


def is_forwarded(attachment: Payload) -> bool:
    return bool(attachment.get("is_share") or attachment.get("is_msg_unfurl"))


def files_of(message: Payload) -> tuple[Attachment, ...]:
    """`reference` is the file's id and its private address, which needs our token to be read. Of
    files in channels shared with other companies only the id is told
    (docs.slack.dev/reference/events/message/file_share)."""
    return tuple(
        Attachment(
            name=str(file.get("name") or file["id"]), type=str(file.get("mimetype") or ""),
            size=int(file.get("size") or 0),
            reference=f"{file['id']} {private_url(file)}".strip(),
        )
        for file in _listed(message.get("files"))
        if file.get("id") and file.get("mode") not in NOT_A_FILE
    )  # fmt: skip


def private_url(file: Payload) -> str:
    """Where a file is read with our token; "" where that is not told."""
    return str(file.get("url_private_download") or file.get("url_private") or "")


def event_key(team: str, channel: str, ts: str) -> str:
    return f"slack:{team}:{channel}:{ts}"


def home_of(ours: str, of_the_person: Iterable[object], of_the_place: Iterable[object] = ()) -> str:
    """The workspace that a person writes from: ours only where nothing that is told says another,
    and "" (nobody's) where that contradicts itself. Ids of organisations (E…) say nothing."""
    persons, places = ({str(t) for t in told if str(t or "").startswith("T")}
                       for told in (of_the_person, of_the_place))  # fmt: skip
    if len(persons) > 1:
        return ""
    if persons and persons != {ours}:
        return persons.pop()
    return ours if (persons or places) and places <= {ours} else ""


def author_home(ours: str, body: Payload, event: Payload) -> str:
    """`home` of a message's author. In a channel that is shared with other companies the outer
    `team_id` may be another one's: there Bolt (1.30) trusts `authorizations` instead."""
    places = [body.get("context_team_id")]
    places += [each.get("team_id") for each in body.get("authorizations") or ()]
    if not body.get("is_ext_shared_channel"):
        places.append(body.get("team_id"))
    return home_of(ours, (event.get(name) for name in ("user_team", "team", "source_team")), places)


def spoken(ours: str, body: Payload, event: Payload, bots: frozenset[str]) -> ParsedMessage | None:
    """None where nobody spoke: joins, topics, other bots (unless named in `bots`), ourselves."""
    user = str(event.get("user") or "")
    if event.get("subtype", "") not in _SPOKEN or not user or user == SLACKBOT:
        return None
    if event.get("bot_id") and event["bot_id"] not in bots:
        return None
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    thread = str(event.get("thread_ts") or "")
    shared = forwarded(event)
    there = [file for _, _, attachment in shared for file in files_of(attachment)]
    direct = is_direct(channel, event)
    return ParsedMessage(
        team=ours, channel=channel, ts=ts, user=user, text=own_words(event),
        thread=thread if thread != ts else "", parent=str(event.get("parent_user_id") or ""),
        direct=direct, files=(*files_of(event), *there),
        edited=float((event.get("edited") or {}).get("ts") or 0.0),
        home=author_home(ours, body, event), robot=bool(event.get("bot_id")),
        shared=(*((who, words) for who, words, _ in shared),
                *(("Slack", words) for words in unfurled(event) if words)),
        open_there=_open_there(event) if direct else "",
    )  # fmt: skip


def is_direct(channel: str, event: Payload) -> bool:
    """A direct message: app_mention carries no channel_type, but the id's letter tells."""
    kind = event.get("channel_type") or ("im" if channel.startswith("D") else "")
    return bool(kind == "im")


def address_of(message: ParsedMessage, belongs_to_dm: bool, whole: bool = False) -> Address:
    """Where the conversation is: a channel's thread, a direct message's channel, or a thread of
    its own in it (`belongs_to_dm`: it holds our answer to a top-level message). `whole`: the top
    level of a channel is one conversation."""
    thread = message.thread if message.direct or whole else message.thread or message.ts
    return Address(
        platform="slack", workspace=message.team, channel=message.channel,
        thread="" if message.direct and belongs_to_dm else thread, shared=not message.direct,
    )  # fmt: skip


def reply_to(where: Address, asker: Person, source: str, key: str, token: str = "",
             expires: float = 0.0) -> ReplyTo:  # fmt: skip
    return ReplyTo(where, asker, source, turn_id(key), token, expires)


def to_message(
    heard: ParsedMessage, where: Address, author: Person, text: str,
    context: tuple[Quote, ...] = (), locale: str = "", zone: str = "",
) -> Message:  # fmt: skip
    """`text` as people read it. A reply in a direct message's thread is answered in that thread."""
    root = "" if where.shared else heard.ts
    source = Source(heard.ts, where.thread or heard.thread or root)
    return Message(
        event_key=heard.event_key, text=text, author=author, address=where,
        reply_to=reply_to(where, author, str(source), heard.event_key), attachments=heard.files,
        context=context, locale=locale.replace("_", "-"), time_zone=zone,
        sent_at=heard.edited or float(heard.ts),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose. `way`: how a channel has it; `bots`: ids of other bots (B…) that may
    talk with us; `everything`: the places in which all is for us, as ponte.toml names them."""

    way: Ways = as_everywhere
    bots: frozenset[str] = frozenset()
    everything: Callable[[], Sequence[str]] = tuple

    def is_whole(self, team: str, channel: str) -> bool:
        """Whether the channel's top level is one conversation."""
        where = Address("slack", channel, team, shared=True)
        return not is_direct(channel, {}) and self.way(where).threads is False


class Intake:
    def __init__(
        self, workspace: Workspace, inbox: Inbox, taking_part: ThreadParticipants,
        direct_threads: DirectThreads, downloads: Downloads, options: Options, removed: Removed,
        policy: Policy,
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._inbox = inbox
        self._policy = policy
        self._downloads = downloads
        self._options = options
        self._removed = removed
        self._participants = taking_part
        self._direct_threads = direct_threads
        self._places: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._stored: BoundedDict[str, bool] = BoundedDict()

    async def take(self, body: Payload) -> None:
        """Raises NotStored: then the event must not be acknowledged, and Slack sends it again."""
        event = body.get("event") or {}
        match event.get("type"), event.get("subtype"):
            case "message", "message_changed":
                async with self._in_order(event, event.get("message") or {}):
                    await self._changed(body, event)
            case "message", "message_deleted":
                async with self._in_order(event, event.get("previous_message") or {}):
                    await self._deleted(event, str(event.get("deleted_ts") or ""))
            case (("message" | "app_mention"), _):
                if heard := spoken(self._workspace.team, body, event, self._options.bots):
                    async with self._in_order(event, event):
                        await self._heard(heard)
            case "agent_session_stopped", _:
                await self._stopped(body, event)

    async def stop(self, to: ReplyTo, stream: str) -> None:
        """The reader of a stream pressed Slack's own Stop, and Slack told so to the stream."""
        key = _stop_key(self._workspace.team, to.address.channel, stream or to.turn)
        thread, now = Source.read(to.source).thread, time.time()
        with suppress(NotStored):
            await self._inbox.accept(_stop(key, to.asker, to.address, thread, f"{now:.6f}"))

    def _in_order(self, event: Payload, message: Payload) -> asyncio.Lock:
        """What is said in one place is stored in the order in which it came, though some of it
        waits for Slack to tell more; an edit comes after what it edits."""
        channel = str(event.get("channel", ""))
        root = str(message.get("thread_ts") or message.get("ts") or "")
        whole = is_direct(channel, event) or self._options.is_whole(self._workspace.team, channel)
        place = channel if whole else f"{channel}:{root}"
        return self._places.setdefault(place, asyncio.Lock())

    async def _heard(self, said: ParsedMessage) -> None:
        if said.user == self._workspace.user:
            return
        where = await self._where(said)
        if await self._for_us(said, where):
            await self._accept(said, where)

    async def _where(self, said: ParsedMessage) -> Address:
        whole = self._options.is_whole(said.team, said.channel)
        return address_of(said, await self._direct_threads.belongs_to_dm(said), whole)

    async def _for_us(self, said: ParsedMessage, where: Address) -> bool:
        """What is not is neither stored nor logged."""
        if said.direct:
            return True
        way, mentions = self._options.way(where), said.mentions(self._workspace.user)
        if way.answer_everything:
            return await self._participants.is_ours(said, where, mentions)
        if mentions:
            self._participants.mentioned(said, where)
            return True
        if not said.thread or way.strict_mention:
            return False
        return await self._participants.follows(said, where.conversation)

    async def _accept(self, said: ParsedMessage, where: Address) -> None:
        """Most mentions are told twice, as a message and as a mention: stored once is enough."""
        more = bool(said.files or said.shared)
        if said.event_key in self._stored and not more:
            return
        message = self._message(said, where)
        receipt = await self._inbox.accept(message)
        self._stored[said.event_key] = True
        self._direct_threads.took(said)
        if not receipt.is_new and more:
            # app_mention may have come first, and it need not tell of files.
            await self._inbox.amend(message.event_key, message)
        self._downloads.begin(message)
        self._workspace.titles[receipt.turn] = text.to_one_line(message.text, _TITLE)
        if not receipt.is_new:
            return
        marks, place = self._workspace.marks, f"{said.channel}:{said.ts}"
        if receipt.turns_ahead:
            marks.put(receipt.turn, place)
        elif not self._workspace.directory.is_known(said.user):
            self._workspace.tasks.start(
                mark_while_unknown(marks, self._policy, self._inbox, message, receipt, place)
            )

    def _message(self, said: ParsedMessage, where: Address) -> Message:
        """As far as it is known without asking; the rest is looked up when the turn starts."""
        profile = self._workspace.directory.known(said.user)
        author = Person("slack", said.user, said.home, profile.name, said.robot)
        context = [Quote(who, self._readable(words), replied=True) for who, words in said.shared]
        if said.open_there:
            context.append(Quote("Slack", OPEN_THERE.format(what=said.open_there), ours=True))
        return to_message(said, where, author, self._readable(said.text), tuple(context),
                              profile.locale, profile.zone)  # fmt: skip

    def _readable(self, words: str) -> str:
        directory, us = self._workspace.directory, self._workspace.user
        names = {id: name for id in mentioned(words) if (name := directory.known(id).name)}
        return readable(words, names | {us: "Ponte"}, us)

    async def _changed(self, body: Payload, event: Payload) -> None:
        """A person's edit counts until the turn starts; unfurled links are no edits."""
        now, before = event.get("message") or {}, event.get("previous_message") or {}
        if now.get("subtype") == "tombstone":  # what is left of a thread's deleted root
            await self._deleted(event, str(now.get("ts", "")))
            return
        if now.get("text") == before.get("text") or not now.get("edited"):
            return
        told = {**now, "channel": event.get("channel"), "channel_type": event.get("channel_type")}
        said = spoken(self._workspace.team, body, told, self._options.bots)
        if said is None or said.user == self._workspace.user:
            return
        await self._inbox.amend(said.event_key, self._message(said, await self._where(said)))

    async def _deleted(self, event: Payload, ts: str) -> None:
        channel = str(event.get("channel", ""))
        previous = event.get("previous_message") or {}
        if previous.get("user") == self._workspace.user:
            await self._removed(f"{channel}:{ts}")
        elif ts:
            await self._inbox.amend(event_key(self._workspace.team, channel, ts), None)

    async def _stopped(self, body: Payload, event: Payload) -> None:
        """Slack's own stop button: the word `stop`, said by who pressed it. The session stays
        "processing" until we say otherwise (reference/events/agent_session_stopped)."""
        team, channel = self._workspace.team, str(event.get("channel", ""))
        thread, user = str(event.get("thread_ts") or ""), str(event.get("user", ""))
        at = str(event.get("event_ts", ""))
        stream = next(iter(event.get("streaming_message_ts") or ()), at)
        pressed = ParsedMessage(team, channel, at, user, "stop", thread,
                       direct=is_direct(channel, event))  # fmt: skip
        where = await self._where(pressed)
        author = Person("slack", user, author_home(team, body, event))
        key = _stop_key(team, channel, str(stream))
        await self._inbox.accept(_stop(key, author, where, thread, at))
        works = f"{channel}:{thread}" in self._workspace.working  # its turn will say so
        if not works or not await self._inbox.running_turn(where.conversation):
            self._workspace.tasks.start(self._quietly(
                "agents.sessions.setStatus", channel_id=channel, thread_ts=thread, status="active"
            ))  # fmt: skip

    def say_that_we_wait(self, channel: str, thread: str, user: str) -> None:
        """A second person joined a thread."""
        self._workspace.tasks.start(self._notice(channel, thread, user))

    async def _notice(self, channel: str, thread: str, user: str) -> None:
        directory = self._workspace.directory
        await directory.profiles([user])
        metadata = {"event_type": NOTICE, "event_payload": {"kind": "company"}}
        await self._quietly(
            "chat.postMessage", channel=channel, thread_ts=thread,
            text=say(ALONE, nearest_locale(directory.locale(user))),
            metadata=metadata, unfurl_links=False, unfurl_media=False,
        )  # fmt: skip

    async def _quietly(self, method: str, **arguments: Any) -> None:
        """A courtesy: the answer does not depend on it."""
        try:
            await self._workspace.api.call(method, **arguments)
        except FAILURES:
            return


@dataclass(frozen=True, slots=True)
class Pointed:
    """`posts` are the earlier messages, oldest first; `meant` is the time stamp of one of them,
    `heard` are those that the conversation has already."""

    posts: Sequence[Json] = ()
    meant: str = ""
    heard: frozenset[str] = frozenset()
    failure: str = ""
    """The English sentence for what could not be read, "" where all could."""


class ThreadParticipants:
    """Who is in a thread: Ponte answers unmentioned only while one person talks with it.

    Kept in memory and read again from Slack: nothing of what others say is stored. `join` is
    called with (channel, thread, person) when a second person joins.
    """

    def __init__(
        self, workspace: Workspace, threads: ThreadMap, join: Callable[[str, str, str], None]
    ) -> None:
        self._workspace = workspace
        self._threads = threads
        self._join = join
        self._known: BoundedDict[str, Participants] = BoundedDict()
        self._others: BoundedDict[str, bool] = BoundedDict()
        """Threads that nobody talked with us in: whether they began with a word to others."""

    async def is_ours(self, said: ParsedMessage, where: Address, mentions: bool) -> bool:
        """Whether a message is for us where all is that is not said to others; also what is said in
        a thread is to them that began so, until somebody mentions us there. Nobody is told that we
        wait: we do not."""
        conversation = where.conversation
        ours = mentions or not said.names_somebody
        if not where.thread:
            return ours
        if not said.thread:
            self._others[conversation] = not ours
            if ours and conversation not in self._known:  # it may be told twice
                self._known[conversation] = Participants([said.user])
            return ours
        if mentions:
            self._others[conversation] = False
        if ours and not mentions and await self._to_others(said, conversation):
            return False
        if not ours:
            self._known.pop(conversation, None)  # the next turn there reads what was said
        elif there := self._known.get(conversation):
            there.join(said.user)
        return ours

    async def _to_others(self, said: ParsedMessage, conversation: str) -> bool:
        """By the thread's first message, where Slack tells it in time."""
        if conversation in self._known or await self._threads.get(conversation) is not None:
            return False
        if conversation not in self._others:
            try:
                async with asyncio.timeout(THREAD_PATIENCE):
                    told = await self._workspace.api.call(
                        "conversations.replies", channel=said.channel, ts=said.thread, limit=1,
                        patience=THREAD_PATIENCE,
                    )  # fmt: skip
            except (*FAILURES, TimeoutError):
                return False
            root: Json = next(iter(told.get("messages", [])), {})
            names = mentioned(str(root.get("text", "")))
            others = bool(names) and self._workspace.user not in names
            self._others[conversation] = others and not root.get("bot_id")
        return self._others[conversation]

    async def follows(self, said: ParsedMessage, conversation: str) -> bool:
        """Whether an unmentioned reply in a channel's thread is meant for us."""
        there = self._known.get(conversation) or await self._read(said, conversation)
        if there is None:
            return False
        self._enter(there, said.channel, said.thread, said.user)
        return not there.several

    def mentioned(self, said: ParsedMessage, where: Address) -> None:
        """Take note of who mentioned us; a thread that is not known is read when the turn starts,
        and then `learn`ed of."""
        conversation = where.conversation
        if not where.thread:
            return
        if not said.thread and conversation not in self._known:
            self._known[conversation] = Participants()
        if there := self._known.get(conversation):
            self._enter(there, said.channel, said.thread or said.ts, said.user)

    def alone(self, conversation: str, user: str) -> bool:
        """Whether this person is known to be the only one in the thread."""
        there = self._known.get(conversation)
        return there is not None and there.people == [user]

    def learn(self, where: Address, user: str, posts: Sequence[Json], quiet: bool) -> None:
        """What stands in the thread before a message of `user`. `quiet`: nobody is told of it."""
        conversation = where.conversation
        known = self._known.get(conversation)
        there = known or self._seen(posts)
        takes_part = any(post.get("user") == self._workspace.user for post in posts)
        if known is None and takes_part and not quiet:
            self._enter(there, where.channel, where.thread, user)
        there.join(*self._people(posts), user)
        self._known[conversation] = there

    async def _read(self, said: ParsedMessage, conversation: str) -> Participants | None:
        """None for a thread in which nobody talked with us."""
        record = await self._threads.get(conversation)
        if record is None:
            return None
        try:
            async with asyncio.timeout(THREAD_PATIENCE):
                api = self._workspace.api
                read = history(api, said.channel, said.thread, "0", THREAD_PATIENCE)
                posts = [post async for post in read]
            there = self._seen([post for post in posts if str(post["ts"]) < said.ts])
        except (*FAILURES, TimeoutError):
            there = Participants([key.rpartition(":")[2] for key in record.participants])
        self._known[conversation] = there
        return there

    def _enter(self, there: Participants, channel: str, thread: str, user: str) -> None:
        """A second person in a thread that one had to themselves: say so, once."""
        alone = len(there.people) == 1
        there.join(user)
        if alone and there.to_be_told():
            self._join(channel, thread, user)

    def _seen(self, posts: Sequence[Json]) -> Participants:
        told = any((p.get("metadata") or {}).get("event_type") == NOTICE for p in posts)
        return Participants(list(dict.fromkeys(self._people(posts))), told)

    def _people(self, posts: Sequence[Json]) -> list[str]:
        return [str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")]


class Context:
    """What is known around a message, looked up when its turn starts, all at once.

    Names, languages and zones are courtesies, hardly waited for. What a person points at (the
    thread's earlier messages, one that a shortcut was used on, their files) is waited for up to
    `participants.PATIENCE`, and what could not be had is told in the answer.
    """

    def __init__(
        self,
        workspace: Workspace,
        taking_part: ThreadParticipants,
        journal: Journal,
        options: Options,
    ) -> None:
        self._workspace = workspace
        self._participants = taking_part
        self._journal = journal
        self._options = options

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` port."""
        with suppress(SettingsError, InDoubt, PlatformBusy):
            await self._workspace.identify()
        found, _ = await run_together(
            self._pointed_at(message) if pointed else _nothing(),
            self._workspace.directory.profiles(self._people(message)),
        )
        # Who wrote what was read is known only now; who takes part mostly was known before.
        written = {str(post.get("user") or "") for post in found.posts}
        texts = [words_of(post) for post in found.posts]
        ids = self._people(message) | written | {id for text in texts for id in mentioned(text)}
        people = await self._workspace.directory.profiles(ids - {"", self._workspace.user})
        return self._told(message, found, people)

    def _people(self, message: Message) -> set[str]:
        quoted = {quote.name for quote in message.context if _PERSON.fullmatch(quote.name)}
        return {message.author.id, *_SOMEBODY.findall(message.text), *quoted}

    async def _pointed_at(self, message: Message) -> Pointed:
        """The thread up to the message, where others may have said something there."""
        where, source = message.address, Source.read(message.reply_to.source)
        meant = next((quote.reference for quote in message.context if quote.reference), "")
        said = where.shared and source.kind == "message"
        reply = said and source.thread not in ("", source.ts)
        if not meant and not reply:
            return Pointed()
        if not meant and self._participants.alone(where.conversation, message.author.id):
            return Pointed()
        channel, thread = where.channel, source.thread or meant
        try:
            async with asyncio.timeout(participants.PATIENCE):
                api = self._workspace.api
                posts = [
                    post async for post in history(api, channel, thread, "0", participants.PATIENCE)
                ]
        except PlatformBusy:
            return Pointed(meant=meant, failure=_LIMITED)
        except (SlackRefused, InDoubt, TimeoutError):
            return Pointed(meant=meant, failure=_ONLY_TEXT if meant else participants.UNREAD)
        before = [post for post in posts if str(post["ts"]) < source.ts or post["ts"] == meant]
        if not reply:
            return Pointed(before, meant)
        everything = bool(self._options.way(where).answer_everything)
        self._participants.learn(where, message.author.id, before, everything)
        heard = await self._heard(where, before) if everything else frozenset[str]()
        return Pointed(before, meant, heard)

    async def _heard(self, where: Address, posts: Sequence[Json]) -> frozenset[str]:
        """Of what was said since our last word: what was said to us, though it does not say so."""
        heard: set[str] = set()
        for post in self._since(posts, where.shared):
            with suppress(NotFound):
                key = event_key(where.workspace, where.channel, str(post["ts"]))
                await self._journal.history_entry(turn_id(key))
                heard.add(str(post["ts"]))
        return frozenset(heard)

    def _since(self, posts: Sequence[Json], shared: bool) -> Sequence[Json]:
        """What stands after our last word. A post of ours that a channel's thread hangs under was
        said in another conversation."""
        bot = self._workspace.user
        ours = [n for n, post in enumerate(posts) if post.get("user") == bot and (n or not shared)]
        return posts[ours[-1] + 1 :] if ours else posts

    def _told(
        self, message: Message, found: Pointed, people: Mapping[str, PlatformMember]
    ) -> tuple[Message, Sequence[str]]:
        author = people.get(message.author.id) or PlatformMember(message.author.id)
        names = {id: profile.name for id, profile in people.items() if profile.name}
        names[self._workspace.user] = "Ponte"
        locale = message.locale or author.locale.replace("_", "-")
        kept = [replace(quote, name=names.get(quote.name, quote.name)) for quote in message.context]
        quotes, files = self._quotes(found, names, message.address.shared)
        if found.meant and quotes:  # what was stored of it is told whole now
            kept = [quote for quote in kept if not quote.reference]
        missing = [found.failure] if found.failure else []
        if found.failure and not found.meant:
            quotes = [Quote("Slack", HISTORY_UNREAD, ours=True)]
        notes = [say(sentence, nearest_locale(locale)) for sentence in missing]
        if len(files) > participants.FILES:
            notes.append(say(_MORE_FILES, nearest_locale(locale), count=participants.FILES))
        told = replace(
            message,
            text=_SOMEBODY.sub(lambda f: "@" + names.get(f[1], f[1]), message.text),
            author=replace(message.author, name=author.name or message.author.name),
            context=(*quotes, *kept), locale=locale, time_zone=message.time_zone or author.zone,
            attachments=_joined(message.attachments, files[-participants.FILES:]),
        )  # fmt: skip
        return told, notes

    def _quotes(
        self, found: Pointed, names: Mapping[str, str], shared: bool
    ) -> tuple[list[Quote], list[Attachment]]:
        """What others said since our last answer and was not said to us, and their files."""
        posts, bot = found.posts, self._workspace.user
        unheard = [
            post
            for post in self._since(posts, shared)
            if f"<@{bot}" not in str(post.get("text", "")) and post["ts"] not in found.heard
        ][-participants.QUOTES :]
        if found.meant:
            unheard = [post for post in posts if post in unheard or post["ts"] == found.meant]
        files = [file for post in unheard for file in files_of(post)]
        for post in unheard:
            files += [file for _, _, one in forwarded(post) for file in files_of(one)]
        root = found.meant or str(posts[0]["ts"] if posts else "")
        return [self._quote(post, names, str(post["ts"]) == root) for post in unheard], files

    def _quote(self, post: Json, names: Mapping[str, str], meant: bool) -> Quote:
        """`meant`: the thread's root is what a reply in it replies to."""
        who = str(post.get("user") or "")
        name = names.get(who) or str(post.get("username") or who or "?")
        said = [words_of(post)]
        said += [f"[forwarded from {whose}] {words}" for whose, words, _ in forwarded(post)]
        said += [f"[file: {file.name}]" for file in files_of(post)]
        words = readable("\n".join(filter(None, said)), names, self._workspace.user)
        return Quote(name, words[: ROOT if meant else participants.QUOTED], replied=meant)


class DirectThreads:
    """Threads in direct messages: most hold our answers, some are conversations of their own.

    Our answer to a top-level message stands in a thread under it, and that thread belongs to
    the direct message's conversation: where the journal knows a turn of the thread's root.
    """

    def __init__(self, workspace: Workspace, journal: Journal) -> None:
        self._workspace = workspace
        self._journal = journal
        self._known: BoundedDict[str, bool] = BoundedDict()

    def took(self, said: ParsedMessage) -> None:
        """A top-level message was accepted: its thread will hold our answer."""
        if said.direct and not said.thread:
            self._known[said.event_key] = True

    async def belongs_to_dm(self, said: ParsedMessage) -> bool:
        if not said.direct or not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                await self._journal.history_entry(turn_id(root))
                self._known[root] = True
            except NotFound:
                self._known[root] = False
        return self._known[root]


def _is_preview(attachment: Payload) -> bool:
    return bool(attachment.get("from_url") or attachment.get("original_url"))


def _attached(attachment: Payload) -> str:
    """docs.slack.dev/reference/messaging/payload, "Legacy fields"."""
    said = [str(attachment.get(name) or "") for name in ("pretext", "title", "text")]
    said += list(_lines(attachment.get("blocks")))
    said += [
        f"{field.get('title') or ''}: {field.get('value') or ''}".strip(": ")
        for field in _listed(attachment.get("fields"))
    ]
    if not any(said):
        said = [str(attachment.get("fallback") or "")]
    return "\n".join(filter(None, said))


def _lines(blocks: Any, depth: int = 0) -> Iterator[str]:
    """What a person reads of blocks, a line for each; buttons and pictures by their names."""
    for block in _listed(blocks):
        if depth > _DEEPEST:
            return
        kind = block.get("type")
        if kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
            yield "".join(map(_inline, _listed(block.get("elements"))))
        elif kind == "image":
            yield _text(block.get("title")) or str(block.get("alt_text") or "")
        elif kind == "table":
            for row in block.get("rows") or ():
                yield " | ".join(" ".join(_lines([cell], depth + 1)) for cell in _listed(row))
        elif kind == "actions":
            continue
        else:
            yield from filter(None, [_text(block.get("title")), _text(block.get("text"))])
            yield from filter(None, map(_text, _listed(block.get("fields"))))
            yield from _lines(block.get("elements"), depth + 1)


def _inline(element: Payload) -> str:
    """docs.slack.dev/reference/block-kit/blocks/rich-text-block."""
    match element.get("type"):
        case "user":
            return f"<@{element.get('user_id')}>"
        case "usergroup":
            return f"<!subteam^{element.get('usergroup_id')}>"
        case "channel":
            return f"<#{element.get('channel_id')}>"
        case "broadcast":
            return f"<!{element.get('range')}>"
        case "emoji":
            return f":{element.get('name')}:"
        case "link":
            url, label = str(element.get("url") or ""), escape(str(element.get("text") or ""))
            return f"<{url}|{label}>" if label else f"<{url}>"
        case _:
            return escape(str(element.get("text") or element.get("fallback") or ""), quote=False)


def _text(value: Any) -> str:
    """A text object's words, or a plain string."""
    return str(value.get("text") or "") if isinstance(value, Mapping) else str(value or "")


def _listed(value: Any) -> Sequence[Payload]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [each for each in value if isinstance(each, Mapping)]


def _open_there(event: Payload) -> str:
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


def _stop(key: str, author: Person, where: Address, thread: str, at: str) -> Message:
    source = str(Source(at, thread, "quiet"))
    return Message(
        event_key=key, text="stop", author=author, address=where, sent_at=float(at or 0),
        reply_to=reply_to(where, author, source, key), clicked=True,
    )  # fmt: skip


def _stop_key(team: str, channel: str, ts: str) -> str:
    """One press of the button has one key, whether an event tells of it or its stream does."""
    return f"slack:{team}:{channel}:stopped:{ts}"


async def _nothing() -> Pointed:
    return Pointed()


def _joined(own: Sequence[Attachment], others: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """Each file once, by its id."""
    had = {attachment.reference.partition(" ")[0] for attachment in own}
    return (*own, *(one for one in others if one.reference.partition(" ")[0] not in had))
