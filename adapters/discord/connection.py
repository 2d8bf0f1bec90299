"""The connection to Discord's gateway: logging in, reconnecting, and the health of the session.

Discord allows one gateway session for each bot token. Processes that do not hold it are logged in
over HTTP only; they can post, and receive no events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.client import IN_DOUBT, DiscordClient
from core.base.errors import SettingsError
from core.base.http import add_proxy
from core.base.i18n import say
from core.base.tasks import Backoff, retry
from core.domain.records import Health

log = structlog.get_logger("discord")

DISCORD_START_SECONDS = 10.0
"""Seconds that `start` waits for Discord. After that, connecting continues in the background."""
DISCORD_SILENCE_SECONDS = 90.0
"""If no frame of any kind comes for so many seconds, the session counts as broken."""
DISCORD_CONNECT_BACKOFF = Backoff(1.0, max_seconds=60.0)
"""Pauses between attempts to connect."""

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
"""Close codes of the gateway that mean that authentication failed
(topics/opcodes-and-status-codes.mdx#gateway-gateway-close-event-codes)."""


class GatewayConnection:
    """The bot's login, and the gateway session if this process `listens`.

    `make_client` builds a new SDK client for each attempt to connect, because a closed client
    cannot be used again. `on_failure` is called with an exception that nobody expected, before
    Ponte connects again. `proxy` is the name of the proxy that is used.
    """

    def __init__(
        self,
        token: str,
        make_client: Callable[[], DiscordClient],
        on_failure: Callable[[Exception, str], None],
        proxy: str = "",
    ) -> None:
        """Prepare the connection. `start` makes it. `hold` replaces it by one with a gateway
        session, on which events arrive.

        `on_failure` also gets the word "connection". `proxy` is the host and port of the proxy (""
        for none), which sentences about failures name."""
        self._on_failure = on_failure
        self._proxy = proxy
        self._token = token
        self._make_client = make_client
        self._listens = True
        """Whether this process receives events, or only makes calls."""
        self._client: asyncio.Future[DiscordClient] = asyncio.get_running_loop().create_future()
        """The client of the present connection. Calls wait for it."""
        self._connected = asyncio.Event()
        """Set while events may arrive or, in a process that does not listen, calls can be made."""
        self._task: asyncio.Task[None] | None = None
        """Connects, and connects again after each failure."""
        self._failed: SettingsError | None = None
        """Why Discord refuses the token or an intent. No further attempt is made then."""
        self._trouble = ""
        """Why the last attempt to connect failed; "" after a success."""

    async def start(self, *, listens: bool = True) -> None:
        """Connect. Return when events may arrive, or after `DISCORD_START_SECONDS` without an
        answer: `_run` goes on trying in the background. Raise SettingsError if Discord refuses the
        token or an intent; `_run` then ends and leaves the error in `_failed`."""
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
        that, stay logged in without it, so that this process can still post while another one
        holds the session."""
        await self._restart_session(listens=True)
        try:
            await self.wait_until_ended()
        finally:
            await self._restart_session(listens=False)

    async def _restart_session(self, *, listens: bool) -> None:
        """End the present connection and begin a new one, with a gateway session if it
        `listens`."""
        # Calls that need a client wait for the new one.
        self._client = asyncio.get_running_loop().create_future()
        self._connected.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(SettingsError):  # `health` reports it
            await self.start(listens=listens)

    async def client(self) -> DiscordClient:
        """Wait for the login and return the client. REST calls work from then on, also without a
        session."""
        # A caller that is cancelled must not end the wait of the others.
        return await asyncio.shield(self._client)

    def adopt(self, client: DiscordClient) -> None:
        """Let all calls use `client` from now on. It is logged in."""
        if self._client.done():
            self._client = asyncio.get_running_loop().create_future()
        self._client.set_result(client)

    def on_connected(self) -> None:
        """Note that a connection was made, which ends the wait of `start`."""
        self._trouble = ""
        self._connected.set()

    def health(self) -> Health:
        """Return the state of the connection, for `ponte status`. `_failed` is why Discord refuses
        the token or an intent for good, `_trouble` why the last attempt to connect failed.
        `_client` is a future, done once there is a client."""
        if self._failed is not None:
            return Health("discord", "failing", self._failed.words())
        client = self._client.result() if self._client.done() else None
        words = say(UNREACHABLE, why=self._trouble) if self._trouble else ""
        if client is None or not self._connected.is_set():
            return Health("discord", "failing", words or say("not connected yet"))
        if client.is_closed():
            return Health("discord", "failing", words or say("the connection is closed"))
        if not self._listens:
            return Health("discord", "on", say("sends replies; another process receives messages"))
        # The gateway sends a frame at least with each heartbeat, so silence means a broken session.
        silent = time.monotonic() - client.last_frame
        if silent > DISCORD_SILENCE_SECONDS:
            words = say("connected, but nothing received for {seconds} s", seconds=int(silent))
            return Health("discord", "failing", words)
        name = client.user.name if client.user else "?"
        return Health("discord", "on", say("connected as {name}", name=name))

    async def wait_until_ended(self) -> None:
        """Wait until the connection is closed, or Discord has refused it for good."""
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
            """Note why the connection failed, for the health line, and return the seconds until the
            next attempt."""
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
            # A client that was refused still holds its HTTP session.
            await client.close()

    def _note_refusal(self, error: SettingsError) -> None:
        """Mark this adapter as failed. `health` reports the reason; the rest of Ponte continues."""
        self._failed = error
        log.error("Discord rejected Ponte permanently", error=str(error))


def set_sdk_addresses(api_url: str, gateway_url: str) -> None:
    """Make the SDK use these addresses. They are global to the process, because the SDK has one of
    each."""
    Route.BASE = api_url.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
