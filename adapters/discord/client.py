"""The SDK's client as this adapter uses it, each call's outcome in our words, and what the adapter
remembers of channels and people.

Few intents, no pings, every frame counted. The SDK starts a task of its own for each event, so
order is the adapter's to keep: what happens in one channel is taken in one at a time, in a queue;
channels go side by side. The state is a small JSON file in the home: losing its last second costs a
second reading of some history, never a message or an answer.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

import aiohttp
import discord
import structlog
from discord.utils import DEFAULT_FILE_SIZE_LIMIT_BYTES

from adapters.discord import REMEMBERED
from core.chat.directory import ASK_AGAIN_SECONDS, MemberDirectory, NoMember, NoRows
from core.chat.participants import Participants
from core.clients.error_table import ErrorTable, on
from core.domain.errors import PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.domain.messages import Address, Person, ReplyTo
from core.domain.records import MemberKey, PlatformMember
from core.integrations.integration import Alone, Peers
from core.ports.rights import MemberStore
from core.rights.policy import MAX_CONFIRMED_AGE_SECONDS
from core.runtime.retry import retry, wait_after_each
from core.runtime.tasks import BackgroundTasks
from core.store.remembered import remove_ids

log = structlog.get_logger("discord")
# Ponte has no voice, and the SDK warns at each start that the libraries for it are missing.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False

CALL_PAUSES_SECONDS = (0.2, 1.0)
"""Pauses before a call whose outcome is unknown is repeated."""
DEADLINE = 60.0
"""Seconds that one try may take."""
AGAIN = 60.0
"""Seconds before what Discord refuses only for now is tried again; an answer has an hour."""
LONGEST_LIMIT = 60.0
"""Seconds of a rate limit that the SDK waits for; longer ones it raises."""
NOBODY = discord.AllowedMentions.none()
"""Goes with every request that makes or changes a message: the SDK leaves it out of an edit that
has no content, and Discord mentions by its own defaults then (resources/message.mdx#edit-message).
"""

# discord.py 2.7.1 repeats a call after 500, 502, 504 and 524, but after a dropped connection only
# for the error numbers of macOS and Windows (http.py): on Linux the drop reaches the caller.
IN_DOUBT = (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordServerError)

# All codes: topics/opcodes-and-status-codes.mdx#json-json-error-codes. A code that is not named
# here refuses for good.
UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK = 10008, 10062, 10015
INVALID_WEBHOOK_TOKEN, ALREADY_ACKNOWLEDGED = 50027, 40060
NO_HISTORY, THREAD_EXISTS = 160002, 160004
"""A reply needs Read Message History; a message has one thread at most."""
NOBODY_THERE = (10007, 10013)
"""Unknown member, unknown user: they have no roles there."""
OVER = (UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN)
TOO_LARGE = (40005, 50045)
"""The request, or a file in it, exceeds a limit."""
PASSING = frozenset(
    {
        20016,  # slow mode
        20028,  # the channel's write rate
        20029,  # the server's write rate
        30046,  # edits of a message that is older than an hour
        40001,  # the token is not valid: it was reset, and the new one is on its way
        40003,  # direct messages opened too fast
        40004,  # sending is switched off for a while
        40006,  # this feature is
        40062,  # rate limited
        40333,  # Cloudflare, in front of Discord
        50014,  # as 40001
        130000,  # overloaded
    }
)
IN_FRONT = (401, 403, 429)
"""Statuses that come without a code from what stands in front of Discord, and for a token that it
does not know: 401 and 429 as in #http-http-response-codes, 403 as Cloudflare's."""

PLATFORM = "discord"

T = TypeVar("T")
Interaction = discord.Interaction[Any]
Work = Callable[[], Awaitable[object]]

K = TypeVar("K")
V = TypeVar("V")
MOST_NOTES, MOST_FORMS = 2000, 100
ALIAS_LIFE = 24 * 3600.0
"""Seconds that a conversation goes on under the thread that could not be made."""

MOST_ACKS = 1000
"""Turns whose acks are remembered."""
TOKEN_LIFE = 14.5 * 60
"""Seconds; Discord takes a token for 15 minutes
(interactions/receiving-and-responding.mdx#followup-messages)."""

EARLIER = datetime.timedelta(minutes=5)
MOST_SERVERS = 10
"""Servers that are asked for a person's roles."""
MOST_LOOKUPS = 10
"""Members who are asked for at once."""
EVENT_WRITE_SECONDS = 3600.0
"""Roles that an event carries and that did not change are written again after so long."""


@dataclass(frozen=True, slots=True)
class Location:
    """`channel` is the parent where `thread` is set; `guild` is 0 in a DM or a group DM."""

    channel: int
    guild: int = 0
    thread: int = 0
    shared: bool = False

    def address(self, person: int | str = "", thread: int = 0) -> Address:
        """`person` counts in a shared channel without a thread: conversations there are theirs."""
        thread = self.thread or thread
        return Address(
            platform=PLATFORM,
            channel=str(self.channel),
            workspace=str(self.guild or ""),
            thread=str(thread or ""),
            person="" if thread or not self.shared else str(person),
            shared=self.shared,
        )


class TokenOver(PonteError):
    """The interaction's token answers no more: 15 minutes are over, or it was never acked."""

    code = "token_over"


class Later(PlatformBusy):
    """Refused only for now, in Discord's own words."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(AGAIN)
        self.reason = reason


class FilesTooLarge(PonteError):
    """Discord took none of the request: a file in it is over the limit of this place."""

    code = "files_too_large"


class Events(Protocol):
    """Who is told what happens on Discord."""

    async def logged_in(self, client: Client) -> None: ...

    async def connected(self) -> None:
        """A new session began: what happened before it is not told."""

    async def message(self, message: discord.Message) -> None: ...

    async def edited(self, event: discord.RawMessageUpdateEvent) -> None: ...

    async def deleted(self, channel: int, messages: set[int]) -> None: ...

    async def interaction(self, interaction: Interaction) -> None: ...


async def attempt(
    call: Callable[[], Awaitable[T]], *, repeat: bool = True, deadline: float = DEADLINE
) -> T:
    """The call's outcome. `call` must be safe to repeat (a nonce, an edit), or `repeat` False.

    Raises PostRemoved, Undeliverable, PlatformBusy, TokenOver or FilesTooLarge when Discord
    refused, and one of IN_DOUBT when it is not known whether it took the call.
    """

    async def once() -> T:
        try:
            async with asyncio.timeout(deadline):
                return await call()
        except discord.RateLimited as limited:
            raise PlatformBusy(limited.retry_after) from limited
        except IN_DOUBT:
            raise
        except discord.HTTPException as refused:
            raise DISCORD_ERRORS.explain(refused) from refused

    return await retry(once, IN_DOUBT, wait_after_each(CALL_PAUSES_SECONDS if repeat else ()))


def code_of(error: Exception) -> int:
    """Discord's code behind one of our errors; 0 where there is none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


async def history(location: discord.abc.Messageable, **which: Any) -> list[discord.Message]:
    """`place.history(**which)`, as one call. Raises as `attempt` does."""

    async def read() -> list[discord.Message]:
        return [message async for message in location.history(**which)]

    return await attempt(read)


def snowflake() -> int:
    """Smaller than any id that Discord gives from this moment on, if our clock is not that far
    ahead of its own."""
    return discord.utils.time_snowflake(discord.utils.utcnow() - EARLIER)


def own_id(client: discord.Client) -> int:
    """Our user's; 0 before the login."""
    return client.user.id if client.user else 0


def message_at(client: discord.Client, where: str) -> discord.PartialMessage:
    """`where`: channel:message."""
    channel, _, message = where.partition(":")
    return client.get_partial_messageable(int(channel)).get_partial_message(int(message))


def has_code(*codes: int) -> Callable[[discord.HTTPException], bool]:
    """Return a condition on a refusal: Discord's code is one of these; 0 means that it has none."""
    return lambda refused: refused.code in codes


def _reason_values(refused: discord.HTTPException) -> Mapping[str, object]:
    return {"reason": f"Discord {refused.status}/{refused.code}: {refused.text}"[:200]}


DISCORD_ERRORS = ErrorTable(
    PonteError,
    on(when=has_code(UNKNOWN_MESSAGE)).raises(PostRemoved),
    on(when=has_code(*OVER)).raises(TokenOver),
    on(when=has_code(*TOO_LARGE)).raises(FilesTooLarge),
    on(413).raises(FilesTooLarge),
    on(when=has_code(*PASSING)).raises(Later, values=_reason_values),
    on(*IN_FRONT, when=has_code(0)).raises(Later, values=_reason_values),
    on().raises(Undeliverable, values=_reason_values),
)
"""What a refused call means for the post: it is gone, it must wait, or it can never be made."""


def intents(message_content: bool) -> discord.Intents:
    """What the adapter needs; only the content of unaddressed messages is privileged."""
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=message_content
    )


class Client(discord.Client):
    def __init__(
        self,
        events: Events,
        *,
        message_content: bool = False,
        proxy: str | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        identify_wait: float = 5.0,
    ) -> None:
        super().__init__(
            intents=intents(message_content),
            allowed_mentions=NOBODY,
            max_messages=None,  # nothing is read from the SDK's cache of them
            max_ratelimit_timeout=LONGEST_LIMIT,
            chunk_guilds_at_startup=False,
            proxy=proxy,
            proxy_auth=proxy_auth,
            enable_debug_events=True,
        )
        self._events = events
        self._identify_wait = identify_wait
        self.last_frame = 0.0
        """`time.monotonic` of the last frame of any kind; 0.0 before the first."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        if event == "socket_raw_receive":
            self.last_frame = time.monotonic()
        elif event != "socket_raw_send":
            super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """One identify in 5 s is allowed: events/gateway.mdx#rate-limiting."""
        if not initial:
            await asyncio.sleep(self._identify_wait)

    async def setup_hook(self) -> None:
        await self._events.logged_in(self)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        log.exception("event not handled", on=event_method)

    async def on_connect(self) -> None:
        await self._events.connected()

    async def on_message(self, message: discord.Message) -> None:
        await self._events.message(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        await self._events.edited(payload)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._events.deleted(payload.channel_id, {payload.message_id})

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._events.deleted(payload.channel_id, payload.message_ids)

    async def on_interaction(self, interaction: Interaction) -> None:
        await self._events.interaction(interaction)


class ChannelQueues:
    """Work in order for each channel, channels side by side."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Work]] = {}
        self.tasks = BackgroundTasks("discord")

    def put(self, channel: int, work: Work) -> None:
        """Do `work` after all that was put into this channel's lane before."""
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(work)
            return
        self._waiting[channel] = deque([work])
        self.tasks.start(self._run(channel))

    async def _run(self, channel: int) -> None:
        queue = self._waiting[channel]
        try:
            while queue:
                await _quietly(queue.popleft())
        finally:
            del self._waiting[channel]


@dataclass(slots=True)
class Seen:
    """A channel that Ponte was addressed in, and the last message there that it took in."""

    last: int
    guild: int = 0
    at: float = 0.0


@dataclass(slots=True)
class Heard(Participants):
    """`heard` is the last message that the conversation knows the thread up to, `before` the one
    that it knew it up to then."""

    heard: int = 0
    before: int = 0

    def hear(self, message: int) -> int:
        """The message up to which the thread was known; the same again for one that comes twice,
        since a turn may begin anew."""
        if message > self.heard:
            self.before, self.heard = self.heard, message
        return self.before


SOON = 0.2
"""Seconds in which what is added for the leading process is gathered."""


class State:
    """Where several processes share it, the one that `leads` Discord reads what the others add."""

    def __init__(self, peers: Peers | None = None) -> None:
        self._peers = peers or Alone()
        self._row = self._peers.remembered_state(REMEMBERED, self._data)
        self.leads = isinstance(self._peers, Alone)
        self._telling: asyncio.Task[None] | None = None
        self._peers.on("remembered", self._added)
        self.commands = ""
        """Hash of the commands that Discord knows of us."""
        self.seen: dict[int, Seen] = {}
        self.parents: dict[int, int] = {}
        """The channel that a thread hangs under."""
        self.threads: dict[int, Heard] = {}
        self.aliases: dict[str, tuple[int, float]] = {}
        self.hinted: dict[str, float] = {}
        self.asked: dict[str, list[dict[str, Any]]] = {}
        """Message → its files, while a form about it is being filled in: the form has no room."""
        self.waiting: dict[str, str] = {}
        """Turn → the message that wears an hourglass, as channel:message."""
        self.languages: dict[str, str] = {}
        """Person → their language, which interactions alone tell."""

    async def open(self) -> None:
        self._take(await self._row.read())

    async def forget(self, ids: frozenset[str]) -> None:
        """Of a thread stays how many people there are."""
        self._take(remove_ids(json.loads(json.dumps(self._data())), ids))
        await self.flush()

    def _take(self, data: Mapping[str, Any]) -> None:
        self.commands = str(data.get("commands", ""))
        self.seen = {int(k): Seen(**v) for k, v in data.get("seen", {}).items()}
        self.parents = {int(k): int(v) for k, v in data.get("parents", {}).items()}
        self.threads = {int(k): Heard(**v) for k, v in data.get("company", {}).items()}
        self.aliases = {k: (int(v[0]), float(v[1])) for k, v in data.get("aliases", {}).items()}
        self.hinted = {k: float(v) for k, v in data.get("hinted", {}).items()}
        self.waiting = {k: str(v) for k, v in data.get("waiting", {}).items()}
        self.asked = {str(k): list(v) for k, v in data.get("asked", {}).items()}
        self.languages = {str(k): str(v) for k, v in data.get("languages", {}).items()}

    async def lead(self) -> None:
        await self.flush()
        await self.open()
        self.leads = True

    async def close(self) -> None:
        await self._row.close()

    async def _added(self, name: str) -> None:
        if self.leads and name == REMEMBERED:
            await self._row.flush()
            await self.open()

    def took(self, channel: int, message: int, guild: int = 0, *, known_only: bool = False) -> None:
        """Everything in `channel` up to `message` is taken in."""
        seen = self.seen.get(channel)
        if seen is None:
            if known_only:
                return
            seen = self.seen[channel] = Seen(message, guild)
        if message > seen.last or not seen.at:
            seen.last, seen.at = max(seen.last, message), time.time()
            self.changed()

    async def meets(self, channel: int, message: int, guild: int) -> None:
        """Before the first message of a channel is stored the channel is known for good: a bot
        cannot list its direct messages, and none of them could be read back."""
        if channel not in self.seen:
            self.took(channel, message - 1, guild)
            await self.flush()

    def alias(self, channel: int, person: str) -> int | None:
        """The thread id under which (channel, person) goes on where no thread could be made."""
        thread, at = self.aliases.get(f"{channel}:{person}", (None, 0.0))
        return thread if time.time() - at < ALIAS_LIFE else None

    def is_alias(self, thread: int) -> bool:
        return any(known == thread for known, _ in self.aliases.values())

    def speaks(self, person: int, language: str) -> None:
        if self.languages.get(str(person)) != language:
            self.languages[str(person)] = language
            self.changed()

    def language(self, person: str, guild: discord.Guild | None, otherwise: str) -> str:
        """Their own, else that of a community server, which alone chooses one."""
        if known := self.languages.get(person):
            return known
        chosen = guild is not None and "COMMUNITY" in guild.features
        return str(guild.preferred_locale) if guild and chosen else otherwise

    async def set_alias(self, channel: int, person: str, thread: int) -> None:
        self.aliases[f"{channel}:{person}"] = (thread, time.time())
        await self.flush()

    def first_notice(self, key: str, every: float) -> bool:
        """Whether a hint was not given under `key` for `every` seconds; it counts as given now."""
        if time.time() - self.hinted.get(key, 0.0) < every:
            return False
        self.hinted[key] = time.time()
        self.changed()
        return True

    def changed(self) -> None:
        self._row.mark_changed()
        if not self.leads and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def flush(self) -> None:
        await self._row.flush()
        if not self.leads:
            await self._peers.notify("remembered", REMEMBERED)

    async def _tell(self) -> None:
        await asyncio.sleep(SOON)
        await self.flush()

    def _data(self) -> object:
        self._trim()
        return {
            "commands": self.commands,
            "seen": {str(k): asdict(v) for k, v in self.seen.items()},
            "parents": {str(k): v for k, v in self.parents.items()},
            "company": {str(k): asdict(v) for k, v in self.threads.items()},
            "aliases": {k: list(v) for k, v in self.aliases.items()},
            "hinted": self.hinted,
            "waiting": self.waiting,
            "asked": self.asked,
            "languages": self.languages,
        }

    def _trim(self) -> None:
        """Keep the newest of each kind."""
        if len(self.seen) > MOST_NOTES:
            newest = sorted(self.seen.items(), key=lambda item: item[1].at)[-MOST_NOTES:]
            self.seen = dict(newest)
        self.parents = _newest(self.parents)
        self.threads = _newest(self.threads)
        self.aliases = _newest(self.aliases)
        self.hinted = _newest(self.hinted)
        self.waiting = _newest(self.waiting)
        self.asked = _newest(self.asked, MOST_FORMS)
        self.languages = _newest(self.languages)


def catch_up(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a `State` remembers, with all that was said until now taken in."""
    now = discord.utils.time_snowflake(discord.utils.utcnow())
    seen = {
        channel: {**one, "last": max(one["last"], now)}
        for channel, one in data.get("seen", {}).items()
    }
    return {**data, "seen": seen}


@dataclass(frozen=True, slots=True)
class Token:
    """Answers an interaction while it lives. A secret, erased with the turn's end: whoever has it
    can write in the app's name.

    `kind`: a command's answer is the original response, a click's stands where the card is.
    `private`: the asker alone sees the original response, which the first ack has fixed.
    """

    value: str
    app: int
    kind: Literal["command", "click"]
    locale: str = "en"
    private: bool = False
    largest: int = DEFAULT_FILE_SIZE_LIMIT_BYTES
    """Bytes of one file in the answer: the interaction's `attachment_size_limit`."""

    @classmethod
    def of(
        cls,
        interaction: Interaction,
        kind: Literal["command", "click"],
        private: bool = False,
    ) -> Token:
        locale = str(interaction.locale)
        app, largest = interaction.application_id, interaction.filesize_limit
        return cls(interaction.token, app, kind, locale, private, largest)

    @classmethod
    def read(cls, to: ReplyTo) -> Token | None:
        return cls(**json.loads(to.token)) if to.token else None

    def text(self) -> str:
        return json.dumps(asdict(self))


class Acks:
    """Whether each turn's interaction was acked: the answer waits for that, since there is nothing
    to edit before. None for a turn that this process knows nothing of: a restart came between."""

    def __init__(self) -> None:
        self._acked: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()

    def expect(self, turn: str) -> None:
        if turn in self._acked:
            return
        self._acked[turn] = asyncio.get_running_loop().create_future()
        while len(self._acked) > MOST_ACKS:
            self.settle(next(iter(self._acked)), False)
            self._acked.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        future = self._acked.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def of(self, turn: str) -> bool | None:
        future = self._acked.get(turn)
        return None if future is None else await asyncio.shield(future)


class OriginalResponse:
    """The original response, through its token. Raises TokenOver once that has ended."""

    def __init__(self, client: discord.Client, token: Token, expires: float) -> None:
        self._expires = expires
        self._hook = discord.Webhook.partial(token.app, token.value, client=client)
        # A partial one passes for an incoming webhook, which may not whisper.
        self._hook.type = discord.WebhookType.application

    async def edit(self, **form: Any) -> discord.WebhookMessage:
        self._check()
        return await self._hook.edit_message(_ORIGINAL, **form)

    async def read(self) -> discord.WebhookMessage:
        self._check()
        return await self._hook.fetch_message(_ORIGINAL)

    async def whisper(self, text: str) -> None:
        """A follow-up that the person alone sees. It has no nonce: repeated, it stands twice."""
        self._check()
        await self._hook.send(text, ephemeral=True, wait=True)

    def _check(self) -> None:
        if time.time() > self._expires:
            raise TokenOver


async def people(client: discord.Client, names: Collection[str]) -> Sequence[Person]:
    """Who is named by id. Who has a role is not told without a privileged intent (resources/
    guild.mdx#list-guild-members), so a role names nobody here. Raises PlatformBusy."""
    found = []
    for id in sorted({name.removeprefix(f"{PLATFORM}:") for name in names}):
        if not id.isdecimal() or any(guild.get_role(int(id)) for guild in client.guilds):
            continue
        try:
            user = await attempt(lambda id=int(id): client.fetch_user(id))  # type: ignore[misc]
        except Undeliverable as nobody:
            log.info("an approver is not known", user=id, why=str(nobody))
            continue
        except IN_DOUBT as doubt:
            raise Later(reason=type(doubt).__name__) from doubt
        if not user.bot:
            found.append(Person(PLATFORM, id, name=user.display_name))
    return found


async def labels_of(client: discord.Client, names: Collection[str]) -> Mapping[str, str]:
    """What people and roles (`discord:ID`) are called, as far as Discord tells soon."""
    found: dict[str, str] = {}
    for name in names:
        id = name.removeprefix(f"{PLATFORM}:")
        roles = (guild.get_role(int(id)) for guild in client.guilds) if id.isdecimal() else ()
        if role := next(filter(None, roles), None):
            found[name] = role.name
    try:
        unknown = [name for name in names if name not in found]
        found |= {one.key: one.name for one in await people(client, unknown)}
    except (PonteError, *IN_DOUBT) as error:
        log.info("what somebody is called is not told", why=type(error).__name__)
    return found


async def reads_along(client: discord.Client, person: Person, address: Address) -> bool:
    """Whether a member sees the server's channel; False where that is not told."""
    guild = client.get_guild(int(address.workspace or 0))
    channel = guild.get_channel(int(address.channel)) if guild else None
    if guild is None or channel is None:
        return False
    try:
        member = await attempt(lambda: guild.fetch_member(int(person.id)))
    except (PonteError, *IN_DOUBT) as error:
        log.info("who reads along is not told", why=type(error).__name__)
        return False
    return channel.permissions_for(member).view_channel


class ServersNotTold(Exception):
    """Discord does not answer at present."""


class Roles:
    """Those of a person on the servers where Ponte is: what PONTE_ALLOW may name.

    A message or command from a server carries its author's roles there; where it does not (in a
    direct message), and of other servers, Discord is asked. What it told is kept over restarts.
    """

    def __init__(
        self, client: Callable[[], Awaitable[discord.Client]], rows: MemberStore | None = None, *,
        shared: bool = False, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._client = client
        self._members = MemberDirectory(
            PLATFORM, rows or NoRows(), self, shared=shared, clock=clock
        )
        self._places = asyncio.Semaphore(MOST_LOOKUPS)
        self._asked: tuple[float, Sequence[int]] = (0.0, ())

    async def close(self) -> None:
        await self._members.close()

    def forget(self, ids: Collection[str]) -> None:
        self._members.forget(ids)

    async def saw(self, user: discord.abc.User) -> None:
        """Take the roles that an event carries of its author, so that nothing needs to be asked."""
        if isinstance(user, discord.Member) and user.guild:
            # Every role but the server's own, which everybody has.
            roles = (str(role.id) for role in user.roles[1:])
            member = _member(str(user.guild.id), str(user.id), roles)
            await self._members.take([member], write_again=EVENT_WRITE_SECONDS)

    async def of(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of a person's roles, as Discord told them within `max_age` seconds; None
        where a server refuses to tell. Waits as long as Discord takes."""
        client = await self._client()
        guilds = await retry(
            lambda: self._guilds(client, max_age), ServersNotTold, lambda *_: ASK_AGAIN_SECONDS
        )
        found = await asyncio.gather(
            *(self._members.resolve(person.id, max_age, str(guild)) for guild in guilds)
        )
        known = [member.belongs_to for member in found if member is not None]
        return frozenset[str]().union(*known) if len(known) == len(found) else None

    async def has_left(self, person: Person, address: Address) -> bool | None:
        """Return whether they are no member of that server any more, where Ponte is a member
        itself; None where Discord does not tell."""
        if not address.workspace:
            return False
        guild, user = int(address.workspace), int(person.id)
        client = await self._client()
        try:
            if guild not in await self._guilds(client, MAX_CONFIRMED_AGE_SECONDS):
                return False
            await attempt(lambda: client.http.get_member(guild, user), repeat=False)
        except (ServersNotTold, PonteError, *IN_DOUBT) as error:
            return True if code_of(error) in NOBODY_THERE else None
        return False

    # The port `core.chat.directory.Lookup`.

    async def wait_for_place(self) -> None:
        """The SDK keeps Discord's pace."""

    async def ask(self, place: MemberKey) -> PlatformMember:
        guild, user = place
        async with self._places:
            client = await self._client()
            try:
                told = await attempt(
                    lambda: client.http.get_member(int(guild), int(user)), repeat=False
                )
            except Undeliverable as refused:
                if code_of(refused) in NOBODY_THERE:
                    return _member(guild, user, ())
                log.warning("a member is not told of", guild=guild, why=str(refused))
                raise NoMember from None
        return _member(guild, user, map(str, told["roles"]))

    async def _guilds(self, client: discord.Client, max_age: float) -> Sequence[int]:
        """The servers, as the session tells them; where it is another process's, or has just begun,
        Discord is asked (resources/user.mdx#get-current-user-guilds). Raises ServersNotTold."""
        if client.is_ready():
            return sorted(guild.id for guild in client.guilds)[:MOST_SERVERS]
        if not self._asked[0] or time.monotonic() - self._asked[0] > max_age:
            try:
                told = await attempt(lambda: client.http.get_guilds(200), repeat=False)
            except (PonteError, *IN_DOUBT) as error:
                log.info("servers are not told", why=type(error).__name__)
                raise ServersNotTold from error
            self._asked = time.monotonic(), sorted(int(guild["id"]) for guild in told)
        return self._asked[1][:MOST_SERVERS]


def _member(guild: str, user: str, roles: Iterable[str]) -> PlatformMember:
    return PlatformMember(user, guild, Person(PLATFORM, user).key, belongs_to=frozenset(roles))


async def _quietly(work: Work) -> None:
    """One event that breaks must not take the channel's later ones with it."""
    try:
        await work()
    except Exception:
        log.exception("event not handled")


def _newest(kept: dict[K, V], most: int = MOST_NOTES) -> dict[K, V]:
    """A dictionary's order is the order of first use."""
    return dict(list(kept.items())[-most:]) if len(kept) > most else kept


class _AtOriginal:
    """Where an id stands in the path; the SDK would quote the @ of a text there."""

    def __str__(self) -> str:
        return "@original"


_ORIGINAL = cast(int, _AtOriginal())
