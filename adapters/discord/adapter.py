"""The Discord adapter: a `Platform`. Connects, takes events in, builds replies, drains."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import discord

from adapters.discord import commands, registry
from adapters.discord.acks import Acks
from adapters.discord.catchup import Catchup
from adapters.discord.choices import Choices
from adapters.discord.click import ClickSurface
from adapters.discord.client import Client
from adapters.discord.connection import Connection, aim
from adapters.discord.context import Context
from adapters.discord.door import Door
from adapters.discord.fetch import Fetch
from adapters.discord.hints import Hints
from adapters.discord.intake import Intake
from adapters.discord.interaction_token import Token
from adapters.discord.interactions import Interactions
from adapters.discord.lanes import Lanes
from adapters.discord.marks import Marks
from adapters.discord.notes import Notes
from adapters.discord.original import OriginalSurface
from adapters.discord.places import PLATFORM, Places
from adapters.discord.roles import Roles
from adapters.discord.surface import ChannelSurface, Means
from adapters.discord.threads import Threads
from adapters.discord.typing_sign import TypingSign
from core.messages import Attachment, File, Message, Person, ReplyTo
from core.platform_ports import Surface
from core.ports import Files, Inbox, Policy, Posts, Reply, StatusBoard
from core.posting import PostedReply
from core.proxies import Proxies
from core.records import Health
from core.words import nearest

API_URL = "https://discord.com/api/v10"
GATEWAY_URL = "wss://gateway.discord.gg/"
ANSWER_AGE = 3600.0
DRAIN = 5.0
"""Seconds that events under way have to be stored, once intake has stopped."""


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
        self._fetch = Fetch(self.connection.client, files)
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
        return await self._fetch(message, attachment)

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
        self._lanes.aside(lambda: _registered(tree, application, self.notes))

    async def connected(self) -> None:
        client = await self.connection.client()
        self.connection.connected()
        self._catchup.start(client)

    async def message(self, message: discord.Message) -> None:
        client = await self.connection.client()

        async def take() -> None:
            await self._intake.message(client, message)

        self._lanes.put(message.channel.id, take)

    async def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        client = await self.connection.client()
        self._lanes.put(event.channel_id, lambda: self._intake.edited(client, event.message))

    async def deleted(self, channel: int, messages: set[int]) -> None:
        self._lanes.put(channel, lambda: self._intake.deleted(channel, messages))

    async def interaction(self, interaction: discord.Interaction[Any]) -> None:
        try:
            await self._interactions.take(interaction)
        except Exception as error:
            # Whoever clicked is answered too, so that nobody waits for it.
            await commands.broke(interaction, error)


async def _registered(
    tree: discord.app_commands.CommandTree[Any], application: int, notes: Notes
) -> None:
    await registry.sync(tree, application, notes)
