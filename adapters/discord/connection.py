"""The connection to Discord's gateway: logging in, reconnecting, and the health of the session.

Discord allows one gateway session for each bot token. Processes that do not hold it are logged in
over HTTP only; they can post, and receive no events. The SDK's client requests few intents,
mentions nobody, and notes the time of every frame.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.client import (
    IN_DOUBT,
    MENTION_NOBODY,
    NO_ACCESS,
    PASSING,
    SWITCHED_OFF,
    Interaction,
)
from core.base.errors import SettingsError
from core.base.i18n import say
from core.base.proxies import add_proxy
from core.base.tasks import Backoff, BoundedDict, retry
from core.domain.records import Health

if TYPE_CHECKING:
    from adapters.discord.adapter import DiscordAdapter

log = structlog.get_logger("discord")

DISCORD_START_SECONDS = 10.0
"""`start` waits this long for Discord. After that, connecting continues in the background."""
DISCORD_SILENCE_SECONDS = 90.0
"""After this time without any frame, the session counts as broken."""
DISCORD_CONNECT_BACKOFF = Backoff(1.0, max_seconds=60.0)

LOGIN_REFUSED = (
    "Discord rejected the bot's token. Copy a new one from the Developer Portal (Bot, Reset "
    "Token) into DISCORD_TOKEN."
)
INTENT_REFUSED = (
    "Discord rejected the Message Content intent. Turn it on in the Developer Portal (Bot, "
    "Privileged Gateway Intents), or set DISCORD_MESSAGE_CONTENT=off."
)
CLOSED = (
    "Discord closed the connection and won't accept a new one (code {code}). Check the bot's "
    "settings in the Developer Portal."
)
UNREACHABLE = "Can't reach Discord ({why}). Retrying."
MENTIONS_ONLY = (
    "answer_everything: Ponte only sees messages that mention it, because "
    "DISCORD_MESSAGE_CONTENT is off"
)
INVALID_TOKEN_CODES = frozenset({4004})
"""The close codes of the gateway that mean that authentication failed
(topics/opcodes-and-status-codes.mdx#gateway-gateway-close-event-codes)."""
MAX_RATE_LIMIT_SECONDS = 60.0
"""For a longer rate limit the SDK raises an error instead of waiting."""
DISCORD_REFUSAL_SECONDS = 300.0
"""An optional call that Discord refused is not made again in the same place before."""
_NEEDED = re.compile(
    r"(?:POST|PATCH) /channels/\{channel_id\}/messages(?:/\{message_id\})?"
    r"|POST /users/@me/channels|\w+ (?:/interactions|/webhooks|/gateway|/users/@me$|/oauth2).*"
)
"""There is no answer without these calls. They are made even if Discord just refused them."""
# 0: no code, from a proxy in front of Discord; then access, verification level and permission.
_MISSING = frozenset({0, NO_ACCESS, 50009, 50013})
"""Refusals that are about the place, not one message."""
_PLAIN_FIELDS = frozenset({
    "id", "channel_id", "type", "content", "author", "timestamp", "edited_timestamp", "attachments",
    "mentions", "mention_roles", "guild_id", "member", "message_reference", "flags",
})  # fmt: skip
"""What is read of a message if the SDK cannot read all of it."""
SESSION_EVENTS = ("READY", "RESUMED")
"""Without these events a session is of no use. If one cannot be read, Ponte connects again."""


class GatewayConnection:
    """The bot's login, and the gateway session if this process `listens`.

    `make_client` builds a new SDK client for each attempt, because a closed one cannot be used
    again. `on_failure` is called with an unexpected exception and "connection", before Ponte
    connects again. `proxy` is its host and port, or "".
    """

    def __init__(
        self,
        token: str,
        make_client: Callable[[], DiscordClient],
        on_failure: Callable[[Exception, str], None],
        proxy: str = "",
    ) -> None:
        self._on_failure = on_failure
        self._proxy = proxy
        self._token = token
        self._make_client = make_client
        self._listens = True
        """This process receives events, and does not only make calls."""
        self._client: asyncio.Future[DiscordClient] = asyncio.get_running_loop().create_future()
        """The client of the present connection. Calls wait for it."""
        self._connected = asyncio.Event()
        """Events may arrive or, in a process that does not listen, calls can be made."""
        self._task: asyncio.Task[None] | None = None
        """This task connects, and connects again after each failure."""
        self._failed: SettingsError | None = None
        """Why Discord refuses the token or an intent. No further attempt is made then."""
        self._trouble = ""
        """Why the last attempt to connect failed; "" after a success."""

    async def start(self, *, listens: bool = True) -> None:
        """Connect. Return when events may arrive, or after `DISCORD_START_SECONDS`: `_run` goes on
        trying in the background. Raises SettingsError if Discord refuses the token or an intent;
        `_run` then ends and leaves the error in `_failed`."""
        self._listens = listens
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.create_task(self._connected.wait())
        await asyncio.wait(
            {self._task, waiting},
            timeout=DISCORD_START_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        waiting.cancel()
        if self._failed is not None:
            raise self._failed

    async def hold(self) -> None:
        """Hold the gateway session until the caller is cancelled or the connection is closed. After
        that, stay logged in, so that this process can still post while another one holds the
        session."""
        await self._restart_session(listens=True)
        try:
            await self.wait_until_ended()
        finally:
            await self._restart_session(listens=False)

    async def _restart_session(self, *, listens: bool) -> None:
        """Begin a new connection, with a gateway session if it `listens`."""
        # Calls that need a client wait for the new one.
        self._client = asyncio.get_running_loop().create_future()
        self._connected.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(SettingsError):  # `health` reports it
            await self.start(listens=listens)

    async def client(self) -> DiscordClient:
        """Wait for the login. REST calls work from then on, also without a session."""
        # A caller that is cancelled must not end the wait of the others.
        return await asyncio.shield(self._client)

    def adopt(self, client: DiscordClient) -> None:
        """All calls use `client`, which is logged in, from now on."""
        if self._client.done():
            self._client = asyncio.get_running_loop().create_future()
        self._client.set_result(client)

    def on_connected(self) -> None:
        self._trouble = ""
        self._connected.set()

    def health(self) -> Health:
        """Return the state of the connection, for `ponte status`. `_failed` is why Discord refuses
        for good, `_trouble` why the last attempt to connect failed."""
        if self._failed is not None:
            return Health("discord", "failing", self._failed.words())
        # `_client` is a future, done once there is a client.
        client = self._client.result() if self._client.done() else None
        words = say(UNREACHABLE, why=self._trouble) if self._trouble else ""
        if client is None or not self._connected.is_set():
            return Health("discord", "failing", words or say("not connected yet"))
        if client.is_closed():
            return Health("discord", "failing", words or say("the connection is closed"))
        if not self._listens:
            return Health("discord", "on", say("sends replies; another process receives messages"))
        # The gateway sends a frame at least with each heartbeat: silence means a broken session.
        silent = time.monotonic() - client.last_frame
        if silent > DISCORD_SILENCE_SECONDS:
            words = say("connected, but nothing received for {seconds} s", seconds=int(silent))
            return Health("discord", "failing", words)
        name = client.user.name if client.user else "?"
        return Health("discord", "on", say("connected as {name}", name=name))

    async def wait_until_ended(self) -> None:
        """The connection is closed, or Discord has refused it for good."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Close the client and end the connection."""
        if self._client.done():
            await self._client.result().close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._client.cancel()

    async def _run(self) -> None:
        """Connect again after each failure, until closed or until Discord refuses for good:
        `_stay_connected` then returns, and raises only errors that may pass."""
        # Refusals of Discord, and (IN_DOUBT) errors of the network and of Discord's servers.
        errors = (discord.HTTPException, discord.GatewayNotFound, *IN_DOUBT)

        def wait(error: Exception, failed: int) -> float:
            seconds = DISCORD_CONNECT_BACKOFF.seconds_after(failed)
            self._trouble = add_proxy(type(error).__name__, self._proxy)
            if not isinstance(error, errors):  # a fault of the SDK or of Ponte
                self._on_failure(error, "connection")
            log.warning(
                "could not connect to Discord; retrying", error=repr(error), delay_seconds=seconds
            )
            return seconds

        await retry(self._stay_connected, Exception, wait)

    async def _stay_connected(self) -> None:
        """Log in with a new client, and hold the gateway session if this process listens. Return if
        Discord refuses for good. Errors that may pass are raised, so that `_run` tries again.

        The SDK connects again by itself after a lost connection and after close codes that allow
        it. So each ConnectionClosed that it raises is a refusal for good.
        """
        client = self._make_client()
        try:
            if self._listens:
                await client.start(self._token)  # returns when the client is closed
                return
            await client.login(self._token)
            self.on_connected()
            await asyncio.get_running_loop().create_future()  # until `close` cancels it
        except discord.LoginFailure:
            self._note_refusal(SettingsError(LOGIN_REFUSED))
        except discord.PrivilegedIntentsRequired:
            self._note_refusal(SettingsError(INTENT_REFUSED))
        except discord.ConnectionClosed as closed:
            words = LOGIN_REFUSED if closed.code in INVALID_TOKEN_CODES else CLOSED
            self._note_refusal(SettingsError(words, code=closed.code))
        finally:
            # A refused client still holds its HTTP session.
            await client.close()

    def _note_refusal(self, error: SettingsError) -> None:
        self._failed = error
        log.error("Discord rejected Ponte permanently", error=str(error))


def set_sdk_addresses(api_url: str, gateway_url: str) -> None:
    """The SDK has one address of each for the process."""
    Route.BASE = api_url.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


def intents(message_content: bool) -> discord.Intents:
    """Return the intents that the adapter requests. Only `message_content`, for messages that do
    not address Ponte, is privileged."""
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=message_content
    )


class DiscordClient(discord.Client):
    """The SDK's client with our settings, which passes events on to `events`. It serves one
    connection. `identify_wait` is the pause in seconds before each new identify after the first."""

    def __init__(
        self,
        events: DiscordAdapter,
        *,
        message_content: bool = False,
        proxy: str | None = None,
        identify_wait: float = 5.0,
    ) -> None:
        """Besides the settings, replace three parts of the SDK, which has no setting for these: the
        request, the building of a message from a response, and the parsers of events."""
        super().__init__(
            intents=intents(message_content),
            allowed_mentions=MENTION_NOBODY,
            max_messages=None,  # no code reads the SDK's cache of messages
            max_ratelimit_timeout=MAX_RATE_LIMIT_SECONDS,
            chunk_guilds_at_startup=False,  # members are looked up one by one
            proxy=proxy,
            enable_debug_events=True,  # `dispatch` then gets each raw frame
        )
        self._events = events
        self._identify_wait = identify_wait
        """The pause between two identifications, which Discord limits, in seconds."""
        self._refusals = BoundedDict[tuple[str, str], tuple[float, discord.HTTPException]]()
        """By route and channel: until when (monotonic seconds) a call is not made again, and the
        error that it got."""
        # All calls of the API, also the SDK's own, go through here.
        self._request = self.http.request
        self.http.request = self._request_unless_refused  # type: ignore[method-assign]
        # One message that the SDK cannot read must not cost the page that it is on.
        state = self._connection
        state.create_message = self._create_message  # type: ignore[method-assign]
        # An exception in a parser would end the connection, so `_parse` catches it. Without READY
        # or RESUMED there is no session, so there it must end.
        for event, parse in state.parsers.items():
            if event not in SESSION_EVENTS:
                state.parsers[event] = functools.partial(self._parse, event, parse)
        self.last_frame = 0.0
        """`time.monotonic` of the last frame of any kind; 0.0 before the first."""

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Pass an SDK event on. By `last_frame`, `health` finds a silent connection. Frames that
        this client sends (`socket_raw_send`) are ignored.

        New messages, edits and deletions are queued right here, because the SDK would start a task
        for each and lose their order. Raw events come for every message, cached by the SDK or not.
        """
        if event == "socket_raw_receive":
            self.last_frame = time.monotonic()
        elif event == "message":
            self._events.intake.queue_message(*args)
        elif event == "raw_message_edit":
            self._events.intake.queue_edit(*args)
        elif event == "raw_message_delete":
            self._events.intake.queue_deletion(args[0].channel_id, {args[0].message_id})
        elif event == "raw_bulk_message_delete":
            self._events.intake.queue_deletion(args[0].channel_id, args[0].message_ids)
        elif event != "socket_raw_send":
            super().dispatch(event, *args, **kwargs)

    def _parse(self, event: str, parse: Callable[[Any], None], data: Any) -> None:
        """Read one event of the gateway with the SDK's `parse`. An exception would end the SDK's
        connection, so it is noted and costs this event only."""
        try:
            # Events with messages may contain polls.
            if event.startswith(("MESSAGE_", "INTERACTION_")):
                complete_polls(data)
            try:
                parse(data)
            except Exception as error:
                if event not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
                    raise
                parse(keep_plain_fields(data))
                self._events.on_failure(error, event)
        except Exception as error:
            self._events.on_failure(error, event, data)

    def _create_message(self, *, channel: Any, data: Any) -> discord.Message:
        """Return a message of a response. If the SDK cannot read it, return it with its plain
        fields only: an error would lose the other messages of the same response, too."""
        try:
            complete_polls(data)
            return discord.Message(state=self._connection, channel=channel, data=data)
        except Exception as error:
            self._events.on_failure(error, "response")
            plain = keep_plain_fields(data)
            return discord.Message(state=self._connection, channel=channel, data=plain)

    async def _request_unless_refused(self, route: Route, **options: Any) -> Any:
        """Make a call, unless it is optional and Discord refused it in this place a short time ago.
        Such a refusal is permanent for its caller."""
        place = route.key, route.major_parameters
        until, refusal = self._refusals.get(place, (0.0, None))
        if refusal is not None and time.monotonic() < until:
            raise refusal.with_traceback(None)  # it is raised many times; tracebacks would add up
        try:
            return await self._request(route, **options)
        except discord.HTTPException as refused:
            # The refusal is about the place (`_MISSING`), or the feature is switched off for a
            # while. `_NEEDED` are the calls without which there is no answer.
            is_missing = refused.status in (403, 404, 405) and refused.code in _MISSING
            if (is_missing or refused.code == SWITCHED_OFF) and not _NEEDED.fullmatch(route.key):
                # With a code of PASSING (refused only for now) or none, the caller would wait and
                # try again, but the call is optional.
                if refused.code in PASSING or not refused.code:
                    refused.code = NO_ACCESS
                self._refusals[place] = time.monotonic() + DISCORD_REFUSAL_SECONDS, refused
            raise

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Discord allows one identify in 5 s (events/gateway.mdx#rate-limiting)."""
        if not initial:
            await asyncio.sleep(self._identify_wait)

    async def setup_hook(self) -> None:
        """The SDK calls this after each login."""
        await self._events.on_login(self)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """The SDK calls this while it handles the exception of an event handler."""
        if isinstance(error := sys.exception(), Exception):
            self._events.on_failure(error, event_method)

    async def on_connect(self) -> None:
        await self._events.on_connect()

    async def on_interaction(self, interaction: Interaction) -> None:
        await self._events.on_interaction(interaction)


def keep_plain_fields(data: Mapping[str, Any]) -> Any:
    """Return what Ponte needs of the JSON of a message that the SDK could not read. The SDK would
    leave the attribute of a missing list unset."""
    plain = {name: data[name] for name in _PLAIN_FIELDS & data.keys()}
    for name in ("attachments", "mentions", "mention_roles"):
        plain[name] = [entry for entry in plain.get(name) or () if entry]
    # The waveform of a voice message need not be valid base64.
    files = [{**file, "waveform": None} for file in plain["attachments"]]
    return {**plain, "attachments": files, "components": []}


def complete_polls(value: Any) -> None:
    """Give each poll in the JSON of messages, at any depth, the fields that discord.py 2.7.1 needs:
    an expiry, results and a text for each option. Discord may leave them out or send null. The JSON
    itself is changed."""
    inner_values = value
    if isinstance(value, dict):
        if isinstance(poll := value.get("poll"), dict):
            # The SDK reads a time, which Ponte does not use, so that of the message will do.
            poll["expiry"] = poll.get("expiry") or value.get("timestamp")
            poll["results"] = poll.get("results") or {}
        elif poll is None:
            value.pop("poll", None)  # for the SDK, null is a poll too
        if isinstance(option := value.get("poll_media"), dict):
            option.setdefault("text", "")  # the SDK accepts null as a text
        inner_values = value.values()
    for inner in inner_values:
        if isinstance(inner, (dict, list)):
            complete_polls(inner)
