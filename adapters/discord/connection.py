"""The Discord adapter, a `Platform`, and its gateway connection.

One session is held; how it is, and why it ended, is told in words.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord import API_URL, GATEWAY_URL, commands
from adapters.discord.client import IN_DOUBT, Client, Interaction, Lanes
from adapters.discord.events import PLATFORM, Places
from adapters.discord.files import DiscordFiles
from adapters.discord.intake import Catchup, Intake
from adapters.discord.interactions import Acks, Choices, Door, Interactions, Token
from adapters.discord.participants import Context, Roles, Threads
from adapters.discord.presence import Hints, Marks, TypingSign
from adapters.discord.state import Notes
from adapters.discord.surface import ChannelSurface, ClickSurface, Means, OriginalSurface
from core.chat.files import Downloads
from core.chat.platform import Surface
from core.chat.posting import PostedReply
from core.errors import SettingsError
from core.http import Proxies
from core.i18n import nearest, say
from core.messages import Attachment, File, Message, Person, ReplyTo
from core.ports import Files, Inbox, Policy, Posts, Reply, StatusBoard
from core.records import Health

log = structlog.get_logger("discord")

PATIENCE = 10.0
"""Seconds that `start` waits for Discord before it goes on trying in the background."""
SILENCE = 90.0
"""Seconds without a frame of any kind after which a socket counts as deaf."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds between two tries to connect; they double."""
ANSWER_AGE = 3600.0
"""Seconds; what was missed for longer is not answered."""
DRAIN = 5.0
"""Seconds that events under way have to be stored, once intake has stopped."""

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
            return Health("discord", "failing", self._trouble or say("not connected yet", "en"))
        if client.is_closed():
            return Health("discord", "failing", say("the connection is closed", "en"))
        silent = time.monotonic() - client.last_frame
        if silent > SILENCE:
            words = say("connected, but no frame came for {seconds} s", "en", seconds=int(silent))
            return Health("discord", "failing", words)
        name = client.user.name if client.user else "?"
        return Health("discord", "on", say("connected as {name}", "en", name=name))

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
                self._trouble = say(UNREACHABLE, "en", why=type(error).__name__)
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


async def _ignore(post: str) -> None:
    """Nobody asked to be told of removed posts."""


class DiscordAdapter:
    """`removed` is told the id of a post of ours that a person deleted.

    `answer_age`: seconds; what was missed for longer is told of and not answered. `threads`: make
    a thread for each mention in a server's channel. `home`: a folder for a small file of notes.
    """

    name = PLATFORM

    def __init__(
        self,
        *,
        token: str,
        inbox: Inbox,
        files: Files,
        board: StatusBoard,
        policy: Policy,
        home: Path,
        removed: Callable[[str], Awaitable[None]] = _ignore,
        api_url: str = API_URL,
        gateway_url: str = GATEWAY_URL,
        proxies: Proxies | None = None,
        message_content: bool = False,
        threads: bool = True,
        locale: str = "en",
        answer_age: float = ANSWER_AGE,
        identify_wait: float = 5.0,
    ) -> None:
        self._urls = (api_url, gateway_url)
        self._proxies = proxies or Proxies()
        self._message_content = message_content
        self._identify_wait = identify_wait
        self._locale = locale
        self._tree: discord.app_commands.CommandTree[Any] | None = None
        self.notes = Notes(home / "discord.json")
        self.connection = Connection(token, self.make_client)
        self._lanes = Lanes()
        self._means = Means(
            client=self.connection.client,
            threads=Threads(self.connection.client, self.notes, threads),
            sign=TypingSign(),
            marks=Marks(self.connection.client, self.notes),
            acks=Acks(),
            files=files,
        )
        self.roles = Roles(self.connection.client)
        self._fetch = Downloads(
            "discord", files, DiscordFiles(self.connection.client).read, IN_DOUBT,
            lambda error: type(error).__name__,
        )  # fmt: skip
        self._context = Context(self.connection.client, self.notes, message_content, locale)
        self._build(inbox, policy, board, removed, answer_age)

    def _build(
        self,
        inbox: Inbox,
        policy: Policy,
        board: StatusBoard,
        removed: Callable[[str], Awaitable[None]],
        answer_age: float,
    ) -> None:
        places, hints = Places(self.notes), Hints(self.notes, self._locale)
        self._intake = Intake(
            inbox=inbox, notes=self.notes, places=places, roles=self.roles,
            threads=self._means.threads, fetch=self._fetch, lanes=self._lanes, hints=hints,
            sign=self._means.sign, marks=self._means.marks, removed=removed,
        )  # fmt: skip
        self._door = Door(
            inbox=inbox, policy=policy, places=places, roles=self.roles,
            acks=self._means.acks, fetch=self._fetch, lanes=self._lanes,
        )  # fmt: skip
        self._interactions = Interactions(self._door, Choices(board, self._door), self.notes)
        self._catchup = Catchup(
            inbox=inbox, notes=self.notes, places=places, intake=self._intake,
            lanes=self._lanes, hints=hints, age=answer_age,
        )  # fmt: skip

    # The port `Platform`.

    def reply(self, to: ReplyTo, posts: Posts) -> Reply:
        return PostedReply(self.surface(to), posts, to.turn)

    def surface(self, to: ReplyTo) -> Surface:
        """Built from what was stored alone, in any process."""
        token = Token.read(to)
        locale = nearest(token.locale) if token else self._locale
        if token is None:
            return ChannelSurface(to, self._means, int(to.source), locale)
        if token.kind == "click":
            return ClickSurface(to, token, self._means, locale)
        return OriginalSurface(to, token, self._means, locale)

    async def start(self) -> None:
        """Raises SettingsError where Discord refuses the token or an intent."""
        # At DEBUG the SDK logs the bodies of messages.
        logging.getLogger("discord").setLevel(logging.INFO)
        aim(*self._urls)
        await self.notes.open()
        await self.connection.start()

    async def health(self) -> Health:
        return self.connection.health()

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        return await self._fetch.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        return await self._context(message, pointed)

    async def membership(self, person: Person) -> frozenset[str]:
        return await self.roles.of(person)

    async def guest(self, person: Person) -> bool | None:
        """Discord has no guests: who may do what is told by roles."""
        return False

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Discord speaks through its gateway alone."""
        return 404, {}, b""

    async def stop_intake(self) -> None:
        """What comes from now on is read back at the next start; commands are told to wait."""
        self._intake.open = self._door.open = False

    async def close(self) -> None:
        self._intake.open = self._door.open = False
        await self._lanes.close(DRAIN)
        await self._fetch.close()
        await self._means.threads.close()
        await self._means.sign.close()
        await self._means.marks.close()
        await self.connection.close()
        await self.notes.close()

    # What the client tells (`client.Events`).

    def make_client(self) -> Client:
        return Client(
            self,
            message_content=self._message_content,
            proxy=self._proxies.for_url(self._urls[0]),
            identify_wait=self._identify_wait,
        )

    async def logged_in(self, client: Client) -> None:
        self._tree = commands.tree(client, self._interactions)
        await self._tree.set_translator(commands.Words())
        self.connection.adopt(client)
        application = client.application_id or 0
        tree = self._tree
        self._lanes.aside(lambda: commands.sync(tree, application, self.notes))

    async def connected(self) -> None:
        client = await self.connection.client()
        self.connection.connected()
        self._catchup.start(client)

    async def message(self, message: discord.Message) -> None:
        client = await self.connection.client()
        self._lanes.put(message.channel.id, lambda: self._intake.message(client, message))

    async def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        client = await self.connection.client()
        self._lanes.put(event.channel_id, lambda: self._intake.edited(client, event.message))

    async def deleted(self, channel: int, messages: set[int]) -> None:
        self._lanes.put(channel, lambda: self._intake.deleted(channel, messages))

    async def interaction(self, interaction: Interaction) -> None:
        try:
            await self._interactions.take(interaction)
        except Exception as error:
            # Whoever clicked is answered too, so that nobody waits for it.
            await commands.broke(interaction, error)


def aim(api_url: str, gateway_url: str) -> None:
    """Send the SDK to these bases; it has one of each for the whole process."""
    Route.BASE = api_url.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
