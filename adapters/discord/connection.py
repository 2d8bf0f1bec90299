"""The gateway connection: logs in, holds one session, tells how it is, ends with words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.calls import IN_DOUBT
from adapters.discord.client import Client
from core.errors import SettingsError
from core.records import Health
from core.words import say

log = structlog.get_logger("discord")
PATIENCE = 10.0
"""Seconds that `start` waits for Discord before it goes on trying in the background."""
SILENCE = 90.0
"""Seconds without a frame of any kind after which a socket counts as deaf."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0

LOGIN_REFUSED = (
    "Discord refuses the bot's token. Copy a new one from the Developer Portal (Bot, Reset Token) "
    "into DISCORD_TOKEN."
)
INTENT_REFUSED = (
    "Discord refuses the message content intent. Switch it on in the Developer Portal (Bot, "
    "Privileged Gateway Intents), or set DISCORD_MESSAGE_CONTENT=off."
)
CLOSED = "Discord closed the connection for good (code {code}). Check the bot's settings there."
UNREACHABLE = "Discord cannot be reached ({why}); trying on."
LOGIN_CODES = frozenset({4004})
"""topics/opcodes-and-status-codes.mdx#gateway-gateway-close-event-codes: authentication failed."""


class Connection:
    """One process at a time may hold the gateway: the engine's lock stands around `start`."""

    def __init__(self, token: str, make: Callable[[], Client]) -> None:
        self._token = token
        self._make = make
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed: SettingsError | None = None
        self._trouble = ""

    async def start(self) -> None:
        """Returns when events may come in, or when Discord does not answer for long.

        Raises SettingsError for what only the operator can mend.
        """
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.create_task(self._connected.wait())
        await asyncio.wait(
            {self._task, waiting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self._failed is not None:
            raise self._failed

    async def client(self) -> Client:
        """The client, once it is logged in: REST works then, whether events come or not."""
        return await asyncio.shield(self._client)

    def adopt(self, client: Client) -> None:
        """This client is logged in."""
        if self._client.done():
            self._client = asyncio.get_running_loop().create_future()
        self._client.set_result(client)

    def connected(self) -> None:
        self._trouble = ""
        self._connected.set()

    def health(self) -> Health:
        if self._failed is not None:
            return Health("discord", "failing", str(self._failed))
        client = self._client.result() if self._client.done() else None
        if client is None or not self._connected.is_set():
            return Health("discord", "failing", self._trouble or say("not connected yet"))
        if client.is_closed():
            return Health("discord", "failing", say("the connection is closed"))
        silent = time.monotonic() - client.last_frame
        if silent > SILENCE:
            words = say("connected, but no frame came for {seconds} s", seconds=int(silent))
            return Health("discord", "failing", words)
        name = client.user.name if client.user else "?"
        return Health("discord", "on", say("connected as {name}", name=name))

    async def ended(self) -> None:
        """Until it is closed, or Discord has refused it for good."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        if self._client.done():
            await self._client.result().close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._client.cancel()

    async def _run(self) -> None:
        """Until closed, or until Discord says that this cannot work."""
        wait = FIRST_WAIT
        while True:
            client = self._make()
            try:
                await client.start(self._token)
                return
            except discord.LoginFailure:
                self._fail(SettingsError(LOGIN_REFUSED))
            except discord.PrivilegedIntentsRequired:
                self._fail(SettingsError(INTENT_REFUSED))
            except discord.ConnectionClosed as closed:
                words = LOGIN_REFUSED if closed.code in LOGIN_CODES else CLOSED
                self._fail(SettingsError(words, code=closed.code))
            except (discord.HTTPException, discord.GatewayNotFound, *IN_DOUBT) as error:
                self._trouble = say(UNREACHABLE, why=type(error).__name__)
                log.warning("not connected", why=repr(error), again_in=wait)
            finally:
                # A client that was refused still holds its HTTP session.
                await client.close()
            if self._failed is not None:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def _fail(self, error: SettingsError) -> None:
        """This adapter stops, with words; the rest of Ponte goes on."""
        self._failed = error
        log.error("stopped", why=str(error))


def aim(api_url: str, gateway_url: str) -> None:
    """Send the SDK to these bases; it has one of each for the whole process."""
    Route.BASE = api_url.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
