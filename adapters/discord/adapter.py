"""The Discord adapter: builds the parts of this package and connects them to the core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import discord
import structlog

from adapters.discord import DISCORD_API_URL, DISCORD_GATEWAY_URL
from adapters.discord.client import (
    IN_DOUBT,
    PLATFORM,
    ChannelQueues,
    DiscordClient,
    Interaction,
    attempt,
    snowflake,
)
from adapters.discord.commands import Translations, make_tree, register, report_failure
from adapters.discord.connection import MENTIONS_ONLY, GatewayConnection, set_sdk_addresses
from adapters.discord.context import DiscordContext
from adapters.discord.events import Locations
from adapters.discord.files import DiscordFiles
from adapters.discord.intake import CatchUp, DiscordIntake, Notices
from adapters.discord.interactions import DiscordHandlers, InteractionParts
from adapters.discord.people import Roles, can_read_channel, find_labels, find_people
from adapters.discord.presence import TypingSign, waiting_marks
from adapters.discord.state import DiscordState
from adapters.discord.surface import ChannelSurface, ClickSurface, ResponseSurface, SurfaceParts
from adapters.discord.threads import DiscordThreads
from adapters.discord.tokens import Acks, Token
from core.chat.files import FileDownloads
from core.chat.interactions import Interactions
from core.chat.participants import FindAddressingSettings, find_no_settings
from core.chat.platform import Surface
from core.chat.reply import GrowingReply
from core.clients.http import Proxies
from core.domain.messages import Address, Attachment, File, Message, Person, ReplyTo
from core.domain.records import Health
from core.integrations.integration import Alone, ChatPorts
from core.ports.conversations import PostJournal, Reply
from core.text.i18n import nearest_locale, say

log = structlog.get_logger("discord")

MAX_ANSWER_AGE_SECONDS = 3600.0
"""Messages that were missed for longer are not answered."""
DRAIN_SECONDS = 5.0
"""How long events under way may take to be stored, once intake has stopped."""
SINCE = "since:"
"""Begins the source of what answers no message: the moment since when it can have been posted."""


class DiscordAdapter:
    """Discord as a `ChatPlatform`.

    `answer_age`: seconds; what was missed for longer is told of and not answered. `threads`: make
    a thread for each mention in a server's channel, where that has no way of its own (`ways`).
    `everything`: the places in which all is for us, as ponte.toml names them.
    """

    name = PLATFORM

    def __init__(
        self, token: str, ports: ChatPorts, *, api_url: str = DISCORD_API_URL,
        gateway_url: str = DISCORD_GATEWAY_URL, proxies: Proxies | None = None,
        message_content: bool = False, threads: bool = True, locale: str = "en",
        answer_age: float = MAX_ANSWER_AGE_SECONDS, identify_wait: float = 5.0,
        ways: FindAddressingSettings = find_no_settings,
        everything: Callable[[], Sequence[str]] = tuple,
    ) -> None:  # fmt: skip
        self._urls = (api_url, gateway_url)
        self._proxies = proxies or Proxies()
        self._message_content = message_content
        self._identify_wait = identify_wait
        self._locale = locale
        self._everything = everything
        self._tree: discord.app_commands.CommandTree[Any] | None = None
        self._leading: asyncio.Task[None] | None = None
        self.connection = GatewayConnection(token, self.make_client)
        client = self.connection.client
        self._peers = ports.peers
        state = self.state = DiscordState(ports.peers)
        queues = self._queues = ChannelQueues()
        shared = not isinstance(ports.peers, Alone)
        roles = self.roles = Roles(client, ports.directory, shared=shared)
        deps = self._deps = SurfaceParts(
            client, DiscordThreads(client, state, threads, ways), TypingSign(),
            waiting_marks(client, state, queues.tasks), Acks(), ports.files,
        )  # fmt: skip
        fetch = self._fetch = FileDownloads(
            "discord", ports.files, DiscordFiles(client).read, IN_DOUBT,
            lambda error: type(error).__name__,
        )  # fmt: skip
        self._context = DiscordContext(client, state, message_content)
        locations = Locations(state, locale, ways)
        notices = Notices(state, locations)
        self._intake = DiscordIntake(
            inbox=ports.inbox, state=state, locations=locations, roles=roles,
            threads=deps.threads, fetch=fetch, queues=queues, notices=notices,
            sign=deps.sign, marks=deps.marks, removed=ports.on_post_removed, policy=ports.policy,
        )  # fmt: skip
        self._interactions = Interactions(
            ports.inbox, ports.policy, ports.board, ports.on_refused, queues.tasks
        )
        self._handlers = DiscordHandlers(
            self._interactions,
            InteractionParts(locations, roles, deps.acks, fetch, queues.tasks),
            ports.board,
            state,
        )
        self._catchup = CatchUp(
            inbox=ports.inbox, state=state, locations=locations, intake=self._intake,
            queues=queues, notices=notices, age=answer_age,
        )  # fmt: skip

    # The port `Platform`.

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return GrowingReply(self.surface(to), posts, to.turn)

    def surface(self, to: ReplyTo) -> Surface:
        """Built from what was stored alone, in any process."""
        token = Token.read(to)
        known = self.state.language_of(to.asker.id, None, self._locale)
        locale = nearest_locale(token.locale if token else known)
        if token is None and to.source.startswith(SINCE):
            since = to.source.removeprefix(SINCE)
            return ChannelSurface(replace(to, source=since), self._deps, None, locale)
        if token is None:
            return ChannelSurface(to, self._deps, int(to.source), locale)
        if token.kind == "click":
            return ClickSurface(to, token, self._deps, locale)
        return ResponseSurface(to, token, self._deps, locale)

    async def start(self, *, listens: bool = True) -> None:
        """Raises SettingsError where Discord refuses the token or an intent."""
        # At DEBUG the SDK logs the bodies of messages.
        logging.getLogger("discord").setLevel(logging.INFO)
        set_sdk_addresses(*self._urls)
        await self.state.open()
        if isinstance(self._peers, Alone):
            await self.connection.start(listens=listens)
            return
        await self.connection.start(listens=False)
        if listens:
            self._leading = asyncio.create_task(self._peers.lead("discord", self._lead))

    async def health(self) -> Health:
        health = self.connection.health()
        if health.state != "on" or self._message_content or not self._everything():
            return health
        return replace(health, words=f"{health.words}; {say(MENTIONS_ONLY)}")

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        return await self._fetch.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        return await self._context(message, pointed)

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        return await self.roles.roles_of(person, max_age)

    async def forget(self, ids: frozenset[str]) -> None:
        self.roles.forget(ids)
        await self.state.forget(ids)

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """Discord has no guests: who may do what is told by roles."""
        return False

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """The `HasLeft` port: whether they are no member of the server in which they did it."""
        return await self.roles.has_left(person, address)

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Discord speaks through its gateway alone."""
        return 404, {}, b""

    # The port `Messenger`.

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        return await find_people(await self.connection.client(), names)

    async def labels(self, names: Collection[str]) -> Mapping[str, str]:
        return await find_labels(await self.connection.client(), names)

    async def reads(self, person: Person, address: Address) -> bool:
        return await can_read_channel(await self.connection.client(), person, address)

    async def title(self, address: Address) -> str:
        client = await self.connection.client()
        guild = client.get_guild(int(address.workspace or 0))
        channel = guild.get_channel(int(address.channel)) if guild else None
        return f"#{channel.name} ({guild.name})" if guild and channel else ""

    async def direct(self, person: Person) -> tuple[ReplyTo, str]:
        client = await self.connection.client()
        opened = await attempt(lambda: client.create_dm(discord.Object(int(person.id))))
        await self.state.note_channel(opened.id, snowflake(), 0)
        where = Address(PLATFORM, str(opened.id))
        to = ReplyTo(where, person, f"{SINCE}{snowflake()}", "")
        return to, self.state.language_of(person.id, None, "")

    def after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        source = post.rpartition(":")[2] or f"{SINCE}{snowflake()}"
        return replace(to, source=source, token="", token_expires=0.0)

    async def stop_intake(self) -> None:
        """What comes from now on is read back at the next start; commands are told to wait."""
        self._intake.open = self._interactions.is_open = False

    async def close(self) -> None:
        self._intake.open = self._interactions.is_open = False
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        self._deps.marks.close()
        await self._queues.tasks.close(DRAIN_SECONDS)
        await self._fetch.close()
        await self._deps.threads.close()
        await self._deps.sign.close()
        await self.roles.close()
        await self.connection.close()
        await self.state.close()

    async def _lead(self) -> None:
        """The gateway is ours: from where another process left off."""
        await self.state.lead()
        try:
            await self.connection.hold()
        finally:
            self.state.leads = False

    # What the client tells (`client.Events`).

    def make_client(self) -> DiscordClient:
        return DiscordClient(
            self,
            message_content=self._message_content,
            proxy=self._proxies.for_url(self._urls[0]),
            identify_wait=self._identify_wait,
        )

    async def on_login(self, client: DiscordClient) -> None:
        self._tree = make_tree(client, self._handlers)
        await self._tree.set_translator(Translations())
        self.connection.adopt(client)
        application = client.application_id or 0
        tree = self._tree
        self._queues.tasks.start(register(tree, application, self.state))

    async def on_connect(self) -> None:
        client = await self.connection.client()
        self.connection.on_connected()
        self._catchup.start(client)

    async def on_message(self, message: discord.Message) -> None:
        client = await self.connection.client()
        self._queues.put(message.channel.id, lambda: self._intake.on_message(client, message))

    async def on_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        client = await self.connection.client()
        self._queues.put(event.channel_id, lambda: self._intake.on_edit(client, event.message))

    async def on_delete(self, channel: int, messages: set[int]) -> None:
        self._queues.put(channel, lambda: self._intake.on_delete(channel, messages))

    async def on_interaction(self, interaction: Interaction) -> None:
        try:
            await self._handlers.handle(interaction)
        except Exception as error:
            # The person gets an answer too, so that they do not wait for one.
            await report_failure(interaction, error)
