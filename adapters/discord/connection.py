"""The Discord adapter, a `ChatPlatform`: its gateway connection, and commands, clicks and modals.

One session is held; how it is, and why it ended, is told in words. Each interaction goes through
rights, store and ack, in this order, before any work is done on it; what is stored of one lets any
process answer it while its token lives. Discord is told of the commands when they have changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import discord
import structlog
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord import API_URL, GATEWAY_URL, events, render
from adapters.discord.client import (
    ALREADY_ACKNOWLEDGED,
    IN_DOUBT,
    PLATFORM,
    TOKEN_LIFE,
    UNKNOWN_INTERACTION,
    Acks,
    ChannelQueues,
    Client,
    Interaction,
    Roles,
    State,
    Token,
    attempt,
    labels_of,
    people,
    reads_along,
    snowflake,
)
from adapters.discord.events import Catchup, Context, Intake, Locations, Notices, person_of
from adapters.discord.files import DiscordFiles, files_of, given_file
from adapters.discord.render import (
    ABOUT_ID,
    ASK_ID,
    INPUT_FIELD,
    PROMPT_FIELD,
    QUICK_ID,
    QUOTE_FIELD,
    about_form,
    ask_form,
    filled_in,
    quick_form,
)
from adapters.discord.surface import (
    ChannelSurface,
    ClickSurface,
    Dependencies,
    ResponseSurface,
    Threads,
    TypingSign,
    waiting_marks,
)
from core.chat.files import Downloads
from core.chat.participants import Ways, as_everywhere
from core.chat.platform import Surface
from core.chat.posting import PostedReply
from core.clients.http import Proxies
from core.commands import grammar
from core.commands.grammar import Command
from core.domain.errors import NotStored, SettingsError
from core.domain.messages import Address, Attachment, File, Message, Person, Quote, ReplyTo
from core.domain.records import Action, Health, QuickCommand
from core.integrations.integration import Alone, ChatPorts, Refused
from core.ports.conversations import Inbox, Posts, Reply, StatusBoard
from core.ports.rights import Policy
from core.runtime.retry import Backoff, retry
from core.text.i18n import LOCALES, nearest, say

log = structlog.get_logger("discord")

PATIENCE = 10.0
"""Seconds that `start` waits for Discord before it goes on trying in the background."""
SILENCE = 90.0
"""Seconds without a frame of any kind after which a socket counts as deaf."""
CONNECT_BACKOFF = Backoff(1.0, longest=60.0)
"""Pauses between attempts to connect."""
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
DEAF = "answer_everything: only mentions are heard, since DISCORD_MESSAGE_CONTENT is off"
CLOSED = "Discord closed the connection for good (code {code}). Check the bot's settings there."
UNREACHABLE = "Discord cannot be reached ({why}); trying on."
LOGIN_CODES = frozenset({4004})
"""topics/opcodes-and-status-codes.mdx#gateway-gateway-close-event-codes: authentication failed."""

# interactions/application-commands.mdx: #autocomplete, and of a name or value
# #application-command-object-application-command-option-choice-structure.
MOST_CHOICES, LONGEST_NAME = 25, 100
CHOICES_PATIENCE = 2.0
"""Seconds for an autocomplete's choices, of the 3 that every interaction has
(interactions/receiving-and-responding.mdx#responding-to-an-interaction)."""

ASK = "Ask Ponte something"
ASK_MENU = "Ask Ponte"
PROMPT = "What do you want to know? Leave it out to write several lines."
FILE = "A file to go with it"
QUICK = "Run a quick command"
SLUG = "Which quick command"
INPUT = "Its text, or key=value …; leave it out to write several lines"
UNDO = "Undo a change"
CHANGE = "Which change"
WORDS = {
    "new": "Start a fresh conversation",
    "status": "What is connected, and how it is",
    "stop": "Stop what Ponte is doing here",
    "usage": "What was used today",
}
"""Commands of one word, which take nothing."""

Offer = Callable[[Interaction, str], Awaitable[Sequence[tuple[str, str]]]]
"""(shown, value) for what was typed so far."""

RIGHTS, STORED = 0.5, 1.8
"""Seconds from an interaction's coming until its rights are known, and until it is stored. Of the 3
until the ack must be there (receiving-and-responding.mdx#responding-to-an-interaction) more than
one is left for the way."""
LOOKUP_PATIENCE = 0.5
"""Seconds to look a command up before the modal that asks for its inputs."""

RESTARTING = "I am about to restart. Please try again in a minute."
WHISPERED = frozenset({"new", "status", "stop", "usage"})
"""Words whose answer is for the asker alone."""

Sent = discord.Attachment | None
SINCE = "since:"
"""Begins the source of what answers no message: the moment since when it can have been posted."""


class Connection:
    """One process at a time may hold the gateway; the others are logged in, and post."""

    def __init__(self, token: str, make: Callable[[], Client]) -> None:
        self._token = token
        self._make = make
        self._listens = True
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed: SettingsError | None = None
        self._trouble = ""

    async def start(self, *, listens: bool = True) -> None:
        """Returns when events may come in, or when Discord does not answer for long.

        Raises SettingsError for what only the operator can mend.
        """
        self._listens = listens
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.create_task(self._connected.wait())
        await asyncio.wait(
            {self._task, waiting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self._failed is not None:
            raise self._failed

    async def hold(self) -> None:
        """The gateway is this process's until it is cancelled, or closed."""
        await self._restart(listens=True)
        try:
            await self.ended()
        finally:
            await self._restart(listens=False)

    async def _restart(self, *, listens: bool) -> None:
        self._client = asyncio.get_running_loop().create_future()  # who posts waits for the new one
        self._connected.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.start(listens=listens)
        except SettingsError as error:
            self._fail(error)

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
            return Health("discord", "failing", self._failed.words())
        client = self._client.result() if self._client.done() else None
        if client is None or not self._connected.is_set():
            return Health("discord", "failing", self._trouble or say("not connected yet"))
        if client.is_closed():
            return Health("discord", "failing", say("the connection is closed"))
        if not self._listens:
            return Health("discord", "on", say("posts; another process holds the gateway"))
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
        """Stay connected until closed, or until Discord refuses the connection for good."""

        def wait(error: Exception, failed: int) -> float:
            seconds = CONNECT_BACKOFF.after(failed)
            self._trouble = say(UNREACHABLE, "en", why=type(error).__name__)
            log.warning("not connected", why=repr(error), again_in=seconds)
            return seconds

        errors = (discord.HTTPException, discord.GatewayNotFound, *IN_DOUBT)
        await retry(self._stay_connected, errors, wait)

    async def _stay_connected(self) -> None:
        client = self._make()
        try:
            if self._listens:
                await client.start(self._token)
                return
            await client.login(self._token)
            self.connected()
            await asyncio.get_running_loop().create_future()
        except discord.LoginFailure:
            self._fail(SettingsError(LOGIN_REFUSED))
        except discord.PrivilegedIntentsRequired:
            self._fail(SettingsError(INTENT_REFUSED))
        except discord.ConnectionClosed as closed:
            words = LOGIN_REFUSED if closed.code in LOGIN_CODES else CLOSED
            self._fail(SettingsError(words, code=closed.code))
        finally:
            # A client that was refused still holds its HTTP session.
            await client.close()

    def _fail(self, error: SettingsError) -> None:
        """This adapter stops, with words; the rest of Ponte goes on."""
        self._failed = error
        log.error("stopped", why=str(error))


class DiscordAdapter:
    """Discord as a `ChatPlatform`.

    `answer_age`: seconds; what was missed for longer is told of and not answered. `threads`: make
    a thread for each mention in a server's channel, where that has no way of its own (`ways`).
    `everything`: the places in which all is for us, as ponte.toml names them.
    """

    name = PLATFORM

    def __init__(
        self, token: str, ports: ChatPorts, *, api_url: str = API_URL,
        gateway_url: str = GATEWAY_URL, proxies: Proxies | None = None,
        message_content: bool = False, threads: bool = True, locale: str = "en",
        answer_age: float = ANSWER_AGE, identify_wait: float = 5.0, ways: Ways = as_everywhere,
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
        self.connection = Connection(token, self.make_client)
        client = self.connection.client
        self._peers = ports.peers
        state = self.state = State(ports.peers)
        queues = self._queues = ChannelQueues()
        shared = not isinstance(ports.peers, Alone)
        roles = self.roles = Roles(client, ports.directory, shared=shared)
        deps = self._deps = Dependencies(
            client, Threads(client, state, threads, ways), TypingSign(),
            waiting_marks(client, state, queues.tasks), Acks(), ports.files,
        )  # fmt: skip
        fetch = self._fetch = Downloads(
            "discord", ports.files, DiscordFiles(client).read, IN_DOUBT,
            lambda error: type(error).__name__,
        )  # fmt: skip
        self._context = Context(client, state, message_content)
        locations = Locations(state, locale, ways)
        notices = Notices(state, locations)
        self._intake = Intake(
            inbox=ports.inbox, state=state, locations=locations, roles=roles,
            threads=deps.threads, fetch=fetch, queues=queues, notices=notices,
            sign=deps.sign, marks=deps.marks, removed=ports.removed, policy=ports.policy,
        )  # fmt: skip
        self._receiver = Receiver(
            inbox=ports.inbox, policy=ports.policy, locations=locations, roles=roles,
            acks=deps.acks, fetch=fetch, queues=queues, refused=ports.refused,
        )  # fmt: skip
        autocomplete = Autocomplete(ports.board, self._receiver)
        self._interactions = Interactions(self._receiver, autocomplete, state)
        self._catchup = Catchup(
            inbox=ports.inbox, state=state, locations=locations, intake=self._intake,
            queues=queues, notices=notices, age=answer_age,
        )  # fmt: skip

    # The port `Platform`.

    def reply(self, to: ReplyTo, posts: Posts) -> Reply:
        return PostedReply(self.surface(to), posts, to.turn)

    def surface(self, to: ReplyTo) -> Surface:
        """Built from what was stored alone, in any process."""
        token = Token.read(to)
        known = self.state.language(to.asker.id, None, self._locale)
        locale = nearest(token.locale if token else known)
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
        aim(*self._urls)
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
        return replace(health, words=f"{health.words}; {say(DEAF)}")

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        return await self._fetch.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        return await self._context(message, pointed)

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        return await self.roles.of(person, max_age)

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
        return await people(await self.connection.client(), names)

    async def labels(self, names: Collection[str]) -> Mapping[str, str]:
        return await labels_of(await self.connection.client(), names)

    async def reads(self, person: Person, address: Address) -> bool:
        return await reads_along(await self.connection.client(), person, address)

    async def title(self, address: Address) -> str:
        client = await self.connection.client()
        guild = client.get_guild(int(address.workspace or 0))
        channel = guild.get_channel(int(address.channel)) if guild else None
        return f"#{channel.name} ({guild.name})" if guild and channel else ""

    async def direct(self, person: Person) -> tuple[ReplyTo, str]:
        client = await self.connection.client()
        opened = await attempt(lambda: client.create_dm(discord.Object(int(person.id))))
        await self.state.meets(opened.id, snowflake(), 0)
        where = Address(PLATFORM, str(opened.id))
        to = ReplyTo(where, person, f"{SINCE}{snowflake()}", "")
        return to, self.state.language(person.id, None, "")

    def after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        source = post.rpartition(":")[2] or f"{SINCE}{snowflake()}"
        return replace(to, source=source, token="", token_expires=0.0)

    async def stop_intake(self) -> None:
        """What comes from now on is read back at the next start; commands are told to wait."""
        self._intake.open = self._receiver.open = False

    async def close(self) -> None:
        self._intake.open = self._receiver.open = False
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        self._deps.marks.close()
        await self._queues.tasks.close(DRAIN)
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

    def make_client(self) -> Client:
        return Client(
            self,
            message_content=self._message_content,
            proxy=self._proxies.for_url(self._urls[0]),
            identify_wait=self._identify_wait,
        )

    async def logged_in(self, client: Client) -> None:
        self._tree = make_tree(client, self._interactions)
        await self._tree.set_translator(Translations())
        self.connection.adopt(client)
        application = client.application_id or 0
        tree = self._tree
        self._queues.tasks.start(register(tree, application, self.state))

    async def connected(self) -> None:
        client = await self.connection.client()
        self.connection.connected()
        self._catchup.start(client)

    async def message(self, message: discord.Message) -> None:
        client = await self.connection.client()
        self._queues.put(message.channel.id, lambda: self._intake.message(client, message))

    async def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        client = await self.connection.client()
        self._queues.put(event.channel_id, lambda: self._intake.edited(client, event.message))

    async def deleted(self, channel: int, messages: set[int]) -> None:
        self._queues.put(channel, lambda: self._intake.deleted(channel, messages))

    async def interaction(self, interaction: Interaction) -> None:
        try:
            await self._interactions.take(interaction)
        except Exception as error:
            # Whoever clicked is answered too, so that nobody waits for it.
            await broke(interaction, error)


def aim(api_url: str, gateway_url: str) -> None:
    """Send the SDK to these bases; it has one of each for the whole process."""
    Route.BASE = api_url.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class Translations(app_commands.Translator):
    """Descriptions come from the one catalogue; names stay, since people write about them."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        # Discord knows pt-BR and fr; en is what the commands say themselves.
        if locale.value not in LOCALES or string.message.islower():
            return None
        translated = say(string.message, nearest(locale.value))
        return translated if translated != string.message else None


def make_tree(client: discord.Client, handlers: Interactions) -> app_commands.CommandTree[Any]:
    """All commands, for servers and for people who installed the app for themselves."""
    made: app_commands.CommandTree[Any] = app_commands.CommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    made.error(broke)
    words = (_word(handlers, word, description) for word, description in WORDS.items())
    for command in (_ask(handlers), _quick(handlers), _undo(handlers), *words):
        made.add_command(command)
    made.add_command(_menu(handlers))
    return made


async def broke(interaction: Interaction, error: Exception) -> None:
    """A command or click that breaks is answered too, so that nobody waits for it."""
    cause = getattr(error, "original", error)
    log.error("command broke", why=type(cause).__name__, exc_info=cause)
    words = say("Something went wrong on my side. Please try again.", str(interaction.locale))
    if not interaction.response.is_done():
        with suppress(discord.DiscordException, *IN_DOUBT):
            await interaction.response.send_message(words, ephemeral=True)


async def command_payload(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    """What would be sent, translations included; the same at every start."""
    translator = tree.translator
    if translator is None:
        return [command.to_dict(tree) for command in tree.get_commands()]
    return [
        await command.get_translated_payload(tree, translator) for command in tree.get_commands()
    ]


async def register(tree: app_commands.CommandTree[Any], application: int, state: State) -> bool:
    """One PUT for all where something changed. A refusal is logged, and tried at the next start:
    200 new commands a day are allowed (interactions/application-commands.mdx#registering).
    """
    body = json.dumps(await command_payload(tree), sort_keys=True)
    digest = hashlib.sha256(f"{application}\n{body}".encode()).hexdigest()
    if digest == state.commands:
        return False
    try:
        await tree.sync()
    except (discord.DiscordException, *IN_DOUBT) as error:
        log.warning("commands not registered", why=str(error)[:300])
        return False
    state.commands = digest
    await state.flush()
    log.info("commands registered", count=len(tree.get_commands()))
    return True


@dataclass(frozen=True, slots=True)
class Request:
    """What a command or click stands for; `action` is the right that it needs at least."""

    text: str
    action: Action = "chat"
    private: bool = False
    context: tuple[Quote, ...] = ()
    files: tuple[Attachment, ...] = ()


class Receiver:
    """Discord waits 3 seconds for the ack. So rights are looked up locally, rights and storing have
    deadlines, and where storing fails the person is told at once that nothing was taken."""

    def __init__(
        self,
        inbox: Inbox,
        policy: Policy,
        locations: Locations,
        roles: Roles,
        acks: Acks,
        fetch: Downloads,
        queues: ChannelQueues,
        refused: Refused,
    ) -> None:
        self._inbox = inbox
        self._policy = policy
        self._refused = refused
        self._locations = locations
        self._roles = roles
        self._acks = acks
        self._fetch = fetch
        self._queues = queues
        self.open = True
        """False once intake has stopped."""

    async def command(self, interaction: Interaction, said: Request) -> None:
        """Its whole answer will stand in the original response."""
        came = asyncio.get_running_loop().time()
        if not await self.may(interaction, said.action):
            return
        token = Token.of(interaction, "command", said.private)
        message = self._message(interaction, said, token)
        if not await self._stored(interaction, message, came):
            return
        await self._ack(interaction, message.turn, thinking=True, ephemeral=said.private)
        if message.attachments:
            self._queues.tasks.start(self._fetch.all_of(message))

    async def click(self, interaction: Interaction, said: Request, asker: int = 0) -> bool:
        """Whether it was taken and acked. Its outcome will stand where the button is.

        `asker`: whose conversation the click is about, where it is not the clicker's own.
        """
        came = asyncio.get_running_loop().time()
        if interaction.message is None or not await self.may(interaction, said.action):
            return False
        token = Token.of(interaction, "click")
        message = self._message(interaction, said, token, asker)
        if not await self._stored(interaction, message, came):
            return False
        return await self._ack(interaction, message.turn, thinking=False, ephemeral=False)

    async def modal(self, interaction: Interaction, modal: discord.ui.Modal) -> None:
        """Shown at once: a modal can only be the first answer, and nothing was said yet."""
        if await self.may(interaction, "chat"):
            await interaction.response.send_modal(modal)

    async def may(self, interaction: Interaction, action: Action) -> bool:
        """The first right; the turn checks each again. A refusal is the asker's alone to see."""
        if not self.open:
            await self._whisper(interaction, say(RESTARTING, locale(interaction)))
            return False
        await self._roles.saw(interaction.user)
        try:
            async with asyncio.timeout(RIGHTS):
                who, where = person_of(interaction.user), self.address(interaction)
                verdict = await self._policy.may(who, where, action)
        except TimeoutError:
            return True
        if verdict.unknown:
            return True  # it waits with its message
        if not verdict.allowed:
            self._refused(who, where, verdict)
            await self._whisper(interaction, verdict.words(locale(interaction)))
        return verdict.allowed

    def address(self, interaction: Interaction) -> Address:
        location = self._locations.of_interaction(interaction)
        return self._locations.aliased(location, interaction.user.id)

    def _message(
        self, interaction: Interaction, said: Request, token: Token, asker: int = 0
    ) -> Message:
        clicked = token.kind == "click" and interaction.message is not None
        return events.from_interaction(
            interaction,
            self._locations.of_interaction(interaction),
            self._locations,
            said.text,
            token.text(),
            time.time() + TOKEN_LIFE,
            source=str(interaction.message.id) if clicked and interaction.message else "",
            asker=asker,
            clicked=clicked,
            context=said.context,
            files=said.files,
        )

    async def _stored(self, interaction: Interaction, message: Message, came: float) -> bool:
        """Durable; False where that failed, and the person was told, or where it is a repeat."""
        self._acks.expect(message.turn)
        try:
            async with asyncio.timeout_at(came + STORED):
                receipt = await self._inbox.accept(message)
        except (NotStored, TimeoutError) as error:
            self._acks.settle(message.turn, False)
            if isinstance(error, TimeoutError):
                # It may come to be stored yet, and then it must not be answered.
                self._queues.tasks.start(self._inbox.amend(message.event_key, None))
            await self._whisper(interaction, NotStored().words(locale(interaction)))
            return False
        return receipt.fresh

    async def _ack(
        self, interaction: Interaction, turn: str, *, thinking: bool, ephemeral: bool
    ) -> bool:
        """Whether Discord took the ack in time; a late one's answer goes to the channel."""
        acked = True
        try:
            await interaction.response.defer(thinking=thinking, ephemeral=ephemeral)
        except discord.HTTPException as refused:
            acked = refused.code == ALREADY_ACKNOWLEDGED
            if refused.code != UNKNOWN_INTERACTION:
                log.warning("not acked", why=f"{refused.status}/{refused.code}")
        except IN_DOUBT as error:
            # It may have come through: the first edit will tell.
            log.info("ack in doubt", why=type(error).__name__)
        self._acks.settle(turn, acked)
        return acked

    async def _whisper(self, interaction: Interaction, words: str) -> None:
        try:
            await interaction.response.send_message(words, ephemeral=True)
        except (discord.DiscordException, *IN_DOUBT) as error:
            log.info("not told", why=type(error).__name__)


class Autocomplete:
    """What autocomplete offers: the registry's quick commands, and changes that can be undone."""

    def __init__(self, board: StatusBoard, receiver: Receiver) -> None:
        self._board = board
        self._receiver = receiver

    async def slugs(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        """(shown, value) of each that holds what was typed."""
        typed = typed.lower()
        known = [
            (one.slug, one.told(locale(interaction))[0]) for one in await self._known(interaction)
        ]
        return [
            (f"{slug} – {title}" if title else slug, slug)
            for slug, title in known
            if typed in slug or typed in title.lower()
        ]

    async def undoable(self, interaction: Interaction, typed: str) -> Sequence[tuple[str, str]]:
        typed = typed.lower()
        conversation = self._receiver.address(interaction).conversation
        return [
            (f"{card.id} – {card.title}", card.id)
            for card in await self._board.changes(conversation)
            if "undo" in card.actions and (typed in card.id or typed in card.title.lower())
        ]

    async def command(self, interaction: Interaction, slug: str) -> QuickCommand | None:
        """The one of that name; None too where the registry does not answer in time."""
        try:
            async with asyncio.timeout(LOOKUP_PATIENCE):
                known = await self._known(interaction)
        except TimeoutError:
            return None
        return next((command for command in known if command.slug == slug), None)

    async def _known(self, interaction: Interaction) -> Sequence[QuickCommand]:
        who, where = person_of(interaction.user), self._receiver.address(interaction)
        return await self._board.commands(who, where)


class Interactions:
    """What each command, click and filled-in modal stands for."""

    def __init__(self, receiver: Receiver, choices: Autocomplete, state: State) -> None:
        self._receiver = receiver
        self.autocomplete = choices
        self._state = state

    async def take(self, interaction: Interaction) -> None:
        """Clicks and modals; commands come through the SDK's tree."""
        data: Mapping[str, Any] = interaction.data or {}
        id = str(data.get("custom_id", ""))
        if interaction.type is discord.InteractionType.component:
            await self._clicked(interaction, id)
        elif interaction.type is discord.InteractionType.modal_submit:
            await self._submitted(interaction, id)

    async def ask(self, interaction: Interaction, prompt: str, file: Sent) -> None:
        if not prompt and file is None:
            await self._receiver.modal(interaction, ask_form(locale(interaction)))
        else:
            await self._receiver.command(interaction, Request(prompt, files=_files(file)))

    async def ask_about(self, interaction: Interaction, message: discord.Message) -> None:
        """This interaction alone tells all of the message, its files too: they are kept until the
        form comes back, and none of it is said to anybody before."""
        me = interaction.client.user.id if interaction.client.user else 0
        files = files_of(message)
        if files:
            self._state.asked[str(message.id)] = [asdict(file) for file in files]
            await self._state.flush()
        text = events.quote_of(message, me).text
        about = message.id if files else 0
        names = [file.name for file in files]
        await self._receiver.modal(interaction, about_form(text, about, names, locale(interaction)))

    async def quick(self, interaction: Interaction, slug: str, input: str, file: Sent) -> None:
        if not input and file is None and QUICK_ID.fullmatch(f"ponte:quick:{slug}"):
            known = await self.autocomplete.command(interaction, slug)
            if known is None or known.inputs:
                modal = quick_form(slug, known, locale(interaction))
                await self._receiver.modal(interaction, modal)
                return
        said = Request(_quick_words(slug, input), "spend", files=_files(file))
        await self._receiver.command(interaction, said)

    async def word(self, interaction: Interaction, word: str) -> None:
        await self._receiver.command(interaction, Request(word, private=word in WHISPERED))

    async def undo(self, interaction: Interaction, change: str) -> None:
        await self._receiver.command(interaction, Request(f"undo {change.lower()}"))

    async def _submitted(self, interaction: Interaction, id: str) -> None:
        given = filled_in(interaction)
        prompt = given.get(PROMPT_FIELD, "")
        if id == ASK_ID:
            await self._receiver.command(interaction, Request(prompt))
        elif found := ABOUT_ID.fullmatch(id):
            files, lost = self._asked_about(interaction, found["message"])
            quoted = given.get(QUOTE_FIELD, "") or ("[no words, but files]" if lost else "")
            context = (Quote("the message asked about", quoted, reference=lost),) if quoted else ()
            await self._receiver.command(interaction, Request(prompt, context=context, files=files))
        elif found := QUICK_ID.fullmatch(id):
            said = _quick_words(found["slug"], given.get(INPUT_FIELD, ""))
            if found["named"]:
                filled = {name: value for name, value in given.items() if value}
                said = grammar.typed(Command("quick-command", slug=found["slug"], input=filled))
            await self._receiver.command(interaction, Request(said, "spend"))

    def _asked_about(
        self, interaction: Interaction, message: str | None
    ) -> tuple[tuple[Attachment, ...], str]:
        """The files of the message that a form is about, else where they may be found again."""
        if not message:
            return (), ""
        kept = self._state.asked.get(message)
        if kept is None:
            return (), f"{interaction.channel_id}/{message}"
        return tuple(Attachment(**each) for each in kept), ""

    async def _clicked(self, interaction: Interaction, id: str) -> None:
        if found := render.ID.fullmatch(id):
            await self._receiver.click(interaction, Request(f"{found['action']} {found['card']}"))
        elif found := render.STOP.fullmatch(id):
            await self._stop(interaction, int(found["asker"]))

    async def _stop(self, interaction: Interaction, asker: int) -> None:
        """The button goes with the first click on it: what it stands under may grow no more."""
        taken = await self._receiver.click(interaction, Request("stop"), asker)
        if taken and interaction.message is not None:
            view = render.without_stop(interaction.message)
            with suppress(discord.HTTPException, *IN_DOUBT):
                await interaction.edit_original_response(view=view)


def locale(interaction: Interaction) -> str:
    return nearest(str(interaction.locale))


def _ask(handlers: Interactions) -> app_commands.Command[Any, Any, None]:
    async def ask(
        interaction: Interaction, prompt: str = "", file: discord.Attachment | None = None
    ) -> None:
        await handlers.ask(interaction, prompt, file)

    app_commands.describe(prompt=PROMPT, file=FILE)(ask)
    return app_commands.Command(name="ask", description=ASK, callback=ask)


def _quick(handlers: Interactions) -> app_commands.Command[Any, Any, None]:
    async def quick(
        interaction: Interaction,
        slug: app_commands.Range[str, 1, 100],
        input: str = "",
        file: discord.Attachment | None = None,
    ) -> None:
        await handlers.quick(interaction, slug, input, file)

    app_commands.describe(slug=SLUG, input=INPUT, file=FILE)(quick)
    command: app_commands.Command[Any, Any, None]
    command = app_commands.Command(name="quick-command", description=QUICK, callback=quick)
    command.autocomplete("slug")(_completion(handlers.autocomplete.slugs))
    return command


def _undo(handlers: Interactions) -> app_commands.Command[Any, Any, None]:
    async def undo(interaction: Interaction, change: app_commands.Range[str, 6, 6]) -> None:
        await handlers.undo(interaction, change)

    app_commands.describe(change=CHANGE)(undo)
    command: app_commands.Command[Any, Any, None]
    command = app_commands.Command(name="undo", description=UNDO, callback=undo)
    command.autocomplete("change")(_completion(handlers.autocomplete.undoable))
    return command


def _word(
    handlers: Interactions, word: str, description: str
) -> app_commands.Command[Any, Any, None]:
    async def callback(interaction: Interaction) -> None:
        await handlers.word(interaction, word)

    return app_commands.Command(name=word, description=description, callback=callback)


def _menu(handlers: Interactions) -> app_commands.ContextMenu:
    async def ask_about(interaction: Interaction, message: discord.Message) -> None:
        await handlers.ask_about(interaction, message)

    return app_commands.ContextMenu(name=ASK_MENU, callback=ask_about)


def _completion(
    choices: Offer,
) -> Callable[[Interaction, str], Coroutine[Any, Any, list[app_commands.Choice[str]]]]:
    async def complete(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        try:
            async with asyncio.timeout(CHOICES_PATIENCE):
                found = await choices(interaction, typed)
        except Exception as error:
            # An empty list is an answer; a late or broken one shows as a failure of the app.
            log.warning("no choices", why=type(error).__name__)
            return []
        return [
            app_commands.Choice(name=name[:LONGEST_NAME] or value, value=value)
            for name, value in found[:MOST_CHOICES]
            if value and len(value) <= LONGEST_NAME
        ]

    return complete


def _files(file: Sent) -> tuple[Attachment, ...]:
    return () if file is None else (given_file(file),)


def _quick_words(slug: str, input: str) -> str:
    return f"quick-command {slug} {input}".strip()
