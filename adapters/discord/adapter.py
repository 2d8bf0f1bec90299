"""The Discord adapter: builds the parts of this package and connects them to the core."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import discord
import structlog
from discord.http import Route

from adapters.discord import interactions
from adapters.discord import people as discord_people
from adapters.discord.client import (
    IN_DOUBT,
    PLATFORM,
    Interaction,
    RefusedForNow,
    attempt,
    history,
    message_at,
    own_id,
    snowflake,
)
from adapters.discord.connection import (
    MENTIONS_ONLY,
    DiscordClient,
    GatewayConnection,
    set_sdk_addresses,
)
from adapters.discord.context import DiscordContext
from adapters.discord.events import SPEECH, Locations, is_withheld, quote_of
from adapters.discord.intake import CatchUp, ChannelQueues, DiscordIntake, DiscordThreads
from adapters.discord.interactions import DiscordHandlers
from adapters.discord.people import Roles
from adapters.discord.posts import DiscordFiles, PostOwners, own_posts_since, posts_with_text
from adapters.discord.presence import DiscordSigns
from adapters.discord.responses import ClickSurface, ResponseSurface
from adapters.discord.state import Acks, DiscordState, Token
from adapters.discord.surface import ChannelSurface
from core.base.errors import Undeliverable
from core.base.i18n import say
from core.base.proxies import Proxies
from core.chat import incoming
from core.chat.file_downloads import FileDownloads
from core.chat.interactions import Interactions
from core.chat.people import Conversations, People
from core.chat.reply import GrowingReply
from core.domain.changes import DisplayName
from core.domain.messages import Address, Attachment, File, Message, Person, PlaceMessage, ReplyTo
from core.domain.ports import ChatPlatform, PostJournal, Reply, StatusBoard, Surface
from core.domain.records import Health
from core.journal.jobs import Peers

log = structlog.get_logger("discord")
MAX_ANSWER_AGE_SECONDS = 3600.0
"""Missed messages that are older than this are not answered."""
DRAIN_SECONDS = 5.0
"""How long events under way may take after intake has stopped."""
SINCE = "since:"
"""Prefix of the `source` of a post that answers no message. A snowflake follows: the post cannot be
older."""


@dataclass(frozen=True, slots=True)
class DiscordOptions:
    """`message_content` requests that intent. `locale` is the default language. Missed messages
    older than `answer_age` seconds are counted in a notice and not answered."""

    api_url: str
    gateway_url: str
    proxies: Proxies = field(default_factory=Proxies)
    message_content: bool = False
    locale: str = "en"
    answer_age: float = MAX_ANSWER_AGE_SECONDS
    identify_wait: float = 5.0


class DiscordAdapter(ChatPlatform):
    """Connects Ponte with Discord: receives its events and builds replies."""

    name = PLATFORM
    guest = None
    """Discord has no guest accounts. Roles decide what people may do."""
    find_workspace = None

    def __init__(
        self,
        token: str,
        conversations: Conversations,
        people: People,
        board: StatusBoard,
        peers: Peers,
        places: incoming.ConfiguredPlaces,
        options: DiscordOptions,
    ) -> None:
        self._peers = peers
        self._places = places
        self._options = options
        self._tree: discord.app_commands.CommandTree[Any] | None = None
        """The slash commands of the present client. Each client needs its own."""
        self._leading: asyncio.Task[None] | None = None
        """The task that holds the gateway's session while this process may: events come to one
        process only."""
        proxy = options.proxies.name_for(options.api_url)
        self.connection = GatewayConnection(token, self.make_client, self.on_failure, proxy)
        client = self.connection.client
        state = self.state = DiscordState(peers)
        self.failures = incoming.FailedEvents(PLATFORM)
        queues = ChannelQueues(lambda error: self.failures.note(error, "channel event"))
        self._queues = queues
        self.roles = Roles(client, people.directory, shared=peers.is_shared)
        self._files = conversations.files
        self._downloads = FileDownloads(
            "discord",
            conversations.files,
            DiscordFiles(client).read,
            IN_DOUBT,
            lambda error: type(error).__name__,
        )
        self._context = DiscordContext(client, state, options.message_content)
        locations = self._locations = Locations(state, options.locale, places)
        self._threads = DiscordThreads(client, locations)
        self._signs = DiscordSigns(client, state, queues.tasks)
        self._acks = Acks()
        self._owners = PostOwners(conversations.journal)
        self.intake = DiscordIntake(
            conversations,
            people,
            locations,
            self.roles,
            self._threads,
            self._downloads,
            queues,
            self._signs,
            self.failures,
        )
        self._interactions = Interactions(conversations, people, board, queues.tasks)
        self._handlers = DiscordHandlers(
            self._interactions,
            board,
            locations,
            self.roles,
            self._acks,
            self._downloads,
            queues.tasks,
        )
        self._catchup = CatchUp(self.intake, options.answer_age)
        """Reads messages back that were sent while nobody was connected."""
        self._session_began_at = time.time()
        """When the present gateway session began, in Unix seconds. An older message may have been
        edited or deleted unseen, so it is read again before its turn."""

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        """`posts` is the journal of the answer's posts, by which no post is made twice."""
        return GrowingReply(self.surface(to), posts, to.turn)

    def surface(self, to: ReplyTo) -> Surface:
        """Return the surface on which `to` is answered. `to` is stored with the message, so any
        process can build it, also after a restart. After SINCE, `to.source` is no message but an id
        not newer than the post: `find_post` reads from there on."""
        since = to.source.startswith(SINCE)
        to = replace(to, source=to.source.removeprefix(SINCE))
        # An interaction has no message to reply to, and neither has a post after `since`.
        replied_to = None if to.token or since else int(to.source)
        channel = ChannelSurface(
            to, self._signs, self._files, self._threads, self._owners, replied_to
        )
        if not to.token:
            return channel
        token = Token.read(to.token)
        # The answer waits until the interaction was acknowledged.
        surface = ClickSurface if token.kind == "click" else ResponseSurface
        return surface(to, token, self._acks, channel)

    async def start(self, *, listens: bool = True) -> None:
        """Connect to Discord, and to the gateway if the process `listens` and, of several that
        share the bot, leads. Raises SettingsError if Discord refuses the token or an intent."""
        # At DEBUG the SDK logs the bodies of messages.
        logging.getLogger("discord").setLevel(logging.INFO)
        set_sdk_addresses(self._options.api_url, self._options.gateway_url)
        await self.state.open()
        if not self._peers.is_shared:
            await self.connection.start(listens=listens)
            return
        # Discord allows one gateway session, so each process begins without it. `lead` runs
        # `_hold_gateway` in one of them, and in another one after that has gone. Until this one
        # leads, its state sends its changes to the leader.
        self.state.leads = False
        await self.connection.start(listens=False)
        if listens:
            self._leading = asyncio.create_task(self._peers.lead("discord", self._hold_gateway))

    async def health(self) -> Health:
        """Return the connection's state, and how many events failed. It also says if settings
        require the content of all messages but the intent is off."""
        health = self.failures.describe(self.connection.health())
        if health.state != "on" or self._options.message_content:
            return health
        if not incoming.list_answer_all_places(self._places, PLATFORM):
            return health
        return replace(health, words=f"{health.words}; {say(MENTIONS_ONLY)}")

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Return None if the file is too large, refused or deleted."""
        return await self._downloads.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with its quotes, earlier messages and files, and sentences on what
        could not be read. Raises PostRemoved if it was deleted before this session began."""
        if message.sent_at < self._session_began_at:
            message = await self.intake.refresh(await self.connection.client(), message)
        return await self._context(message, pointed)

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of the person's roles on all servers of the bot, confirmed within
        `max_age` seconds; None if a server refuses to report them."""
        return await self.roles.roles_of(person, max_age)

    async def forget(self, ids: frozenset[str]) -> None:
        self.roles.forget(ids)
        await self.state.forget(ids)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the person has left the server of `address`. `since` is not used."""
        return await self.roles.has_left(person, address)

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Discord sends events only through its gateway, never to our HTTP server."""
        return 404, {}, b""

    # The port `Messenger`.

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        """Return the people `discord:ID`, without bots and unknown ids. Raises PlatformBusy if
        Discord does not answer now."""
        return await discord_people.find_people(await self.connection.client(), names)

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return the display names of people and roles (`discord:ID`)."""
        return await discord_people.find_labels(await self.connection.client(), names)

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str = ""
    ) -> tuple[Sequence[PlaceMessage], bool]:
        """Return the newest messages of a channel or thread, and whether there are more. Raises as
        `attempt` does, and Undeliverable if the bot may not read its history."""
        # Without the permission, Discord returns no messages instead of an error.
        client = await self.connection.client()
        if not discord_people.may_read_history(client, to.address):
            raise Undeliverable(reason="no permission Read Message History")
        # The bot may be able to read more than the asker. None, Discord does not tell, is enough:
        # the asker has written in this place.
        me, where = own_id(client), to.address
        asker_may_read = await discord_people.can_read_channel(
            client, to.asker, where, history=True
        )
        if asker_may_read is False:
            raise Undeliverable(reason="the asker may not read its history")
        # A message that begins a thread stands in the channel, and the thread has its id.
        place = where.thread if where.thread not in ("", to.source) else where.channel
        newest = await history(
            client.get_partial_messageable(int(place)),
            after=discord.Object(int(after)) if after else datetime.fromtimestamp(since, UTC),
            limit=most + 2,  # one more than is returned, and the message that asks
            oldest_first=False,
        )
        earlier = [m for m in reversed(newest) if str(m.id) != to.source]
        others = [m for m in earlier if m.type in SPEECH][-most:]
        # Without the intent, Discord sends the messages of others without their text.
        if any(map(is_withheld, others)):
            raise Undeliverable(reason="the intent Message Content is off")
        quotes = [(m, quote_of(m, me, are_files_apart=True)) for m in others]
        messages = [
            PlaceMessage(
                m.created_at.timestamp(), quote.name, quote.text, str(m.id), m.author.id == me
            )
            for m, quote in quotes
        ]
        return messages, len(earlier) > most

    async def can_read(self, person: Person, address: Address) -> bool | None:
        """Return whether the person can see the channel; None if Discord does not tell. Raises
        PlatformBusy if it does not answer now."""
        client = await self.connection.client()
        return await discord_people.can_read_channel(client, person, address)

    async def can_write(
        self, person: Person | None, address: Address, *, afresh: bool = False
    ) -> bool | None:
        """Return whether the person, or the bot (None), can read the channel and post there. False
        for a person in a direct message, which has no server."""
        if person is None:
            return await discord_people.can_post(await self.connection.client(), address)
        # An id that somebody wrote need not be a number.
        if not (address.workspace and address.channel.isdecimal()):
            return False
        client = await self.connection.client()
        return await discord_people.can_read_channel(client, person, address, posts=True)

    async def can_write_to(self, person: Person, other: Person, address: Address) -> bool | None:
        """Return whether the other person is a member of the server where the person writes. False
        in a direct message, which has no server."""
        if not address.workspace:
            return False
        if (has_left := await self.roles.has_left(other, address)) is None:
            raise RefusedForNow(reason="no answer")
        return not has_left

    async def find_post(self, to: ReplyTo, key: str, text: str) -> str | None:
        """Return the id of our post with this text, made for `to` in a channel; None if there is
        certainly none. Raises as `attempt` does, and Undeliverable if we may not read the channel's
        history."""
        client = await self.connection.client()
        channel = client.get_partial_messageable(int(to.address.channel))
        since = int(to.source.removeprefix(SINCE))  # a smaller id than that of the post
        # By its text, because Discord's history does not contain keys. The post replies to nothing
        # (None). `_owners` leaves out posts of another turn with the same text. `is_certain` raises
        # if the history may not be read.
        own = await own_posts_since(client, channel, since, is_certain=True)
        post = await self._owners.find(posts_with_text(own, text, None), to.turn)
        # Without that permission Discord lists no messages: no proof.
        if post is None and not discord_people.may_read_history(client, to.address):
            raise Undeliverable(reason="no permission Read Message History")
        return post

    async def title(self, address: Address) -> str:
        """Return channel and server, as in `#general (Acme)`; "" if not cached."""
        client = await self.connection.client()
        guild = client.get_guild(int(address.workspace or 0))
        channel = guild.get_channel(int(address.channel)) if guild else None
        return f"#{channel.name} ({guild.name})" if guild and channel else ""

    async def link_to(self, address: Address, post: str) -> str:
        server = address.workspace or "@me"
        return f"https://discord.com/channels/{server}/{post.replace(':', '/')}"

    async def is_public(self, address: Address) -> bool | None:
        """Return whether everyone in the server can read the channel and the thread; False if the
        gateway does not list it."""
        client = await self.connection.client()
        return discord_people.is_public(client, address)

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        """Return where to post in a direct message with the person, and their locale ("" if
        unknown). Raises as `attempt` does."""
        client = await self.connection.client()
        channel = await self._locations.find_direct(client, int(person.id))
        to = self.destination_in(Address(PLATFORM, str(channel)), person)
        return to, self.state.languages.get(person.id, "")

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        """Return the `ReplyTo` of a new post that answers no message."""
        return ReplyTo(address, person, f"{SINCE}{snowflake()}", "")

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        """Return where to post something that replies to no message, or to our post `post`."""
        source = post.rpartition(":")[2] or f"{SINCE}{snowflake()}"
        return replace(to, source=source, token="", token_expires_at=0.0)

    async def stop_intake(self) -> None:
        """Later messages are read back at the next start; people who use commands are asked to
        wait."""
        self.intake.open = self._interactions.is_open = False

    async def close(self) -> None:
        """Finish the work in progress and end the connection. Events under way need the connection,
        and all of them the state."""
        await self.stop_intake()
        # The task that holds the gateway while this process may, if several share the bot.
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        # No hourglass is set on a waiting message any more. Those that are set are remembered.
        self._signs.marks.close()
        await self._queues.tasks.close(DRAIN_SECONDS)
        await self._downloads.close()
        await self._threads.close()
        # The typing indicators stop after all that can still start one.
        await self._signs.close()
        await self.roles.close()
        await self.connection.close()
        await self.state.close()

    async def _hold_gateway(self) -> None:
        await self.state.lead()
        try:
            await self.connection.hold()
        finally:
            self.state.leads = False

    def make_client(self) -> DiscordClient:
        """Return a new client that sends its events to this adapter."""
        return DiscordClient(
            self,
            message_content=self._options.message_content,
            proxy=self._options.proxies.for_url(self._options.api_url),
            identify_wait=self._options.identify_wait,
        )

    async def on_login(self, client: DiscordClient) -> None:
        """Use the logged-in client from now on, and register the slash commands in a task, because
        calls must not wait for that."""
        self._tree = interactions.make_tree(client, self._handlers, self._on_command_error)
        await self._tree.set_translator(interactions.Translations())
        self.connection.adopt(client)
        application = client.application_id or 0
        self._queues.tasks.start(interactions.register(self._tree, application, self.state))

    async def on_connect(self) -> None:
        """Start to read missed messages back: a new session replays nothing."""
        self._session_began_at = time.time()
        client = await self.connection.client()
        self.connection.on_connected()
        self._catchup.start(client)

    async def on_interaction(self, interaction: Interaction) -> None:
        try:
            await self._handlers.handle(interaction)
        except Exception as error:
            await self._on_command_error(interaction, error)

    async def _on_command_error(self, interaction: Interaction, error: Exception) -> None:
        """Note the exception of a command, click or form, and tell the person, who would wait for
        an answer."""
        # The SDK wraps the exception of a command in one of its own.
        self.failures.note(getattr(error, "original", error), "interaction")
        # Discord takes only one response. After one, the person is not left waiting.
        if not interaction.response.is_done():
            words = say("Something went wrong. Try again.", str(interaction.locale))
            with suppress(discord.DiscordException, *IN_DOUBT):
                await interaction.response.send_message(words, ephemeral=True)

    def on_failure(self, error: Exception, event: str, data: Any = None) -> None:
        """Note an event that failed. If the SDK could not read a person's message or interaction,
        whose JSON is `data`, tell the person."""
        self.failures.note(error, event)
        if event in ("MESSAGE_CREATE", "INTERACTION_CREATE") and isinstance(data, dict):
            self._queues.tasks.start(self._report_failed_event(event, data))

    async def _report_failed_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell the author of an unreadable event. In `data`, its JSON, every field may be missing
        or of another type. Raises nothing."""
        try:
            client = await self.connection.client()
            if event == "INTERACTION_CREATE":
                # 2 is a command, 3 a click, 5 a form; an autocomplete (4) shows no text. The SDK
                # could not build its object, so the response is JSON: type 4 is a message, flag 64
                # means that only the person sees it.
                if data["type"] in (2, 3, 5):
                    route = Route(
                        "POST",
                        "/interactions/{id}/{token}/callback",
                        id=data["id"],
                        token=data["token"],
                    )
                    words = say(incoming.EVENT_FAILED, str(data["locale"]))
                    reply = {"content": words, "flags": 64, "allowed_mentions": {"parse": []}}
                    body = {"type": 4, "data": reply}
                    # Not repeated: after an error of IN_DOUBT, Discord may have it already.
                    await attempt(lambda: client.http.request(route, json=body), repeat=False)
                return
            me, author = str(own_id(client)), data["author"]
            # In a server, only a message that names us was written to us.
            is_ours = not data.get("guild_id") or me in str(data.get("mentions"))
            if is_ours and not author.get("bot") and author["id"] != me:
                language = self.state.languages.get(author["id"], self._options.locale)
                message = message_at(client, f"{data['channel_id']}:{data['id']}")
                words = say(incoming.EVENT_FAILED, language)
                await self.intake.notices.post(message, words, "failed")
        except Exception as error:
            log.info("could not report a failed event", error=type(error).__name__)
