"""The Slack adapter: builds the parts of this package and connects them to the core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult

from adapters.slack import connection
from adapters.slack.client import HISTORY, SlackApi
from adapters.slack.connection import SlackSocket
from adapters.slack.context import SlackContext
from adapters.slack.errors import FAILURES, InDoubt, SlackRefused
from adapters.slack.events import Payload, Source, is_direct
from adapters.slack.home import SlackHome
from adapters.slack.intake import SlackIntake, SlackLocations, ThreadParticipants
from adapters.slack.interactions import SlackHandlers
from adapters.slack.people import MEMBERS_SECONDS, SlackPeople, check_membership
from adapters.slack.posts import PostLookup, SlackFiles
from adapters.slack.presence import SlackSigns, Workspace
from adapters.slack.setup import (
    DEPARTURE_EVENT,
    DEPARTURE_TOPIC,
    EVENTS_MARK,
    MEMBER_EVENTS,
    ONLY_MENTIONS,
    describe_missing,
    find_app,
    socket_url,
)
from adapters.slack.surface import NOT_A_MEMBER, SlackSurface
from core.base.errors import NotStored, PlatformBusy, SettingsError, Undeliverable
from core.base.i18n import say
from core.base.proxies import Proxies
from core.base.tasks import BackgroundTasks, BoundedDict, OncePerMinute, cancel_all
from core.chat import incoming
from core.chat.file_downloads import FileDownloads
from core.chat.interactions import Interactions
from core.chat.people import Conversations, People
from core.chat.reply import GrowingReply
from core.domain.changes import DisplayName
from core.domain.messages import Address, Attachment, File, Message, Person, PlaceMessage, ReplyTo
from core.domain.ports import ChatPlatform, PostJournal, StatusBoard
from core.domain.records import Health
from core.journal.jobs import Peers
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS

log = structlog.get_logger("slack")
SLACK_SILENCE_SECONDS = 90.0
"""Seconds without a frame of any kind after which `health` reports the connection as broken."""
SLACK_START_SECONDS = 15.0
"""Seconds that the rest of Ponte's start waits for Slack."""
_CLOCK_DIFFERENCE_SECONDS = 300.0
"""Our clock may be this far ahead of Slack's. A search for our posts starts that much earlier."""
_POSTED_WITHIN_SECONDS = 900.0
"""A post is made within this time after its place is chosen. A search ends there, so that it reads
few messages of a busy channel."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The Slack app's tokens: Socket Mode needs `app_token`, HTTP needs `signing_secret`."""

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SlackOptions:
    """`bots` are the ids (B…) of other bots that may talk with Ponte. `home` is the folder where a
    file notes that events about members arrive."""

    api_url: str
    proxies: Proxies = field(default_factory=Proxies)
    bots: frozenset[str] = frozenset()
    home: Path | None = None


class SlackAdapter(ChatPlatform):
    """Connects Ponte with one Slack workspace: receives its events and builds replies."""

    name = "slack"

    def __init__(
        self,
        credentials: Credentials,
        conversations: Conversations,
        people: People,
        board: StatusBoard,
        peers: Peers,
        places: incoming.ConfiguredPlaces,
        options: SlackOptions,
    ) -> None:
        """Raises SettingsError without an app token and a signing secret: no event could arrive."""
        if not credentials.app_token and not credentials.signing_secret:
            raise SettingsError(
                "Slack needs SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP)."
            )
        self._credentials = credentials
        self._peers = peers
        peers.on(DEPARTURE_TOPIC, self._forget_members)
        self._conversations = conversations
        self._people = people
        self._places = places
        self._proxies = options.proxies
        self._home = options.home
        tasks = self._tasks = BackgroundTasks("slack")
        api = SlackApi(credentials.bot_token, options.api_url, self._proxies, peers.pace)
        directory = SlackPeople(api, people.directory, peers=peers)
        workspace = self.workspace = Workspace(api, directory, options.bots)
        self.signs = SlackSigns(workspace, tasks, conversations.ledger.has_open)
        self._downloads = FileDownloads(
            "slack", conversations.files, SlackFiles(api).read, (InDoubt, SlackRefused)
        )
        locations = SlackLocations(workspace, conversations.journal, places)
        taking_part = ThreadParticipants(workspace, conversations.threads, tasks)
        self._context_of = SlackContext(workspace, taking_part, conversations.journal, places)
        self._intake = SlackIntake(
            workspace, self.signs, conversations, people, taking_part, locations, self._downloads
        )
        self._app_home = SlackHome(self.signs, people.policy, board, conversations.inbox)
        self._handlers = SlackHandlers(
            Interactions(conversations, people, board, tasks),
            workspace,
            locations,
            self.signs.notices,
            self._app_home,
        )
        self._started_at = time.time()
        self._app: AsyncApp | None = None
        """None until Slack has identified the bot, and in a process that does not listen."""
        self._socket: SlackSocket | None = None
        self._connecting: asyncio.Task[None] | None = None
        """The connection attempt that `start` did not wait for."""
        self.is_open = False
        self._warnings = OncePerMinute()
        """Limits how often the log warns of requests with a wrong signature."""
        self._names = BoundedDict[str, str](1000)
        """Maps a channel to the name that Slack told last."""
        self._refreshes = OncePerMinute()
        self.failures = incoming.FailedEvents(self.name)

    def reply(self, to: ReplyTo, posts: PostJournal) -> GrowingReply:
        """`posts` is the journal of the answer's posts, by which no post is made twice."""
        return GrowingReply(self.surface(to, posts.is_resumed), posts, to.turn)

    def surface(self, to: ReplyTo, resumed: bool = False) -> SlackSurface:
        """`resumed`: a former process may have begun the answer to `to`."""
        return SlackSurface(self.workspace, self.signs, self._conversations, to, resumed)

    async def start(self, *, listens: bool = True) -> None:
        """Connect to Slack. Without `listens`, this process posts but receives no events.

        Raises SettingsError if Slack refuses a token. If Slack does not answer within 15 seconds,
        the connection is retried in the background.
        """
        self._listens = listens
        await asyncio.gather(self.workspace.api.open(), self.workspace.directory.open())
        connecting = asyncio.create_task(self._connect())
        # An outage of Slack must not keep the page and the terminal from starting.
        await asyncio.wait({connecting}, timeout=SLACK_START_SECONDS)
        if connecting.done():
            await connecting  # raises its error, such as a refused token
        else:
            self._connecting = connecting

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Answer a signed request to `POST /slack/events` with status, headers and body.

        404 without a signing secret; 503 before the start and while the intake is stopped, so that
        Slack tries again. `dispatch` checks the signature and gives events to `_take`, which stores
        them.
        """
        if not self._credentials.signing_secret:
            return 404, {}, b""
        if self._app is None or not self.is_open:
            return 503, {}, b""
        try:
            answer = await connection.dispatch(
                self._app, self._take, self._credentials.signing_secret, headers, body
            )
        # Bolt, Slack's library, failed. The same request would fail again, so it gets 200.
        except Exception as error:
            self.on_failure(error, {})
            return 200, {}, b""
        # With a wrong secret or clock, nothing else would tell why Ponte does not answer. Requests
        # without a signature are not Slack's. `_warnings` admits one such line in a minute.
        is_signed = "x-slack-signature" in map(str.lower, headers)
        if answer[0] == 401 and is_signed and self._warnings.admits("signature", time.time()):
            log.warning("request has no valid signature")
        return answer

    async def health(self) -> Health:
        """Return the connection's state, missing features and scopes, and how many events
        failed."""
        api, directory, socket = self.workspace.api, self.workspace.directory, self._socket
        # What Slack refuses to this app is told only while the connection works.
        scopes, limits = self.workspace.scopes, [self.workspace.flags.words]
        # Without these scopes Slack sends only mentions, which matters where Ponte answers
        # everything. No scopes at all: Slack did not return them.
        missing = [scope for scope in HISTORY if scope not in scopes]
        if scopes and missing and incoming.list_answer_all_places(self._places, self.name):
            limits.insert(0, say(ONLY_MENTIONS, scopes=", ".join(missing)))
        if scopes:
            workspace = self.workspace
            limits.append(describe_missing(scopes, workspace.team, workspace.app))
        silence = 0.0 if socket is None else time.time() - socket.last_frame_at
        state: Literal["on", "failing"] = "failing"
        # The first of these that applies: what stops all answers comes before a lost connection.
        if api.refused:
            words = say(
                "Slack rejected the token ({error}). Replies will be sent once this is fixed.",
                error=api.refused,
            )
        elif directory.trouble:
            words = say(
                "users.info failed ({error}), so Ponte can't tell members from guests",
                error=directory.trouble,
            )
        elif socket is None and self._listens and self._credentials.app_token:
            words = say("Socket Mode: connecting")
        elif socket is not None and not socket.is_connected:
            words = say("Socket Mode: connection lost, reconnecting")
        # Slack sends a ping every few seconds, so silence means a dead connection.
        elif silence > SLACK_SILENCE_SECONDS:
            words = say("connected, but nothing received for {seconds} s", seconds=round(silence))
        else:
            state, words = "on", "Socket Mode"
            if not self._listens:
                words = say("sends replies; other processes receive messages")
            # No app token: Slack sends HTTP requests. Until `is_open`, they get status 503.
            elif socket is None:
                state, words = "on" if self.is_open else "failing", "HTTP, /slack/events"
            words = "; ".join(filter(None, [words, *limits]))
        return self.failures.describe(Health("slack", state, words))

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Return None if the file is too large, refused or deleted. The port `FetchAttachment`."""
        return await self._downloads.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with its context, and sentences about what could not be read. Raises
        PostRemoved if it was deleted before this process started. The port `LoadContext`."""
        # While no process ran, an edit or a deletion may have been missed.
        if message.sent_at < self._started_at:
            message = await self._intake.refresh(message)
        return await self._context_of.look_up(message, pointed)

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return None if Slack does not tell. The port `GroupLookup`."""
        return await self.workspace.directory.membership(person, max_age)

    async def forget(self, ids: frozenset[str]) -> None:
        self.workspace.directory.forget(ids)

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """Return None if Slack does not tell. The port `GuestLookup`."""
        return await self.workspace.directory.guest(person, max_age)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the account is deactivated or gone; None if Slack does not tell. The port
        `DepartureLookup`."""
        return await self.workspace.directory.has_left(person)

    async def find_workspace(self) -> str:
        """Return the id of the workspace; "" while Slack does not tell."""
        with suppress(SettingsError, PlatformBusy, InDoubt):
            await self.workspace.identify()
        return self.workspace.team

    # Methods of the port `Messenger`.

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        """Return the named people and the members of the named user groups. Raises PlatformBusy if
        Slack does not tell."""
        await self.workspace.identify()
        return await self.workspace.directory.people(names)

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str = ""
    ) -> tuple[Sequence[PlaceMessage], bool]:
        """Return the newest messages of a thread or channel, and whether there are more. Raises
        Undeliverable."""
        return await self._context_of.read_messages(to, since, most, after)

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return display names of people and user groups, as far as Slack returns them soon."""
        return await self.workspace.directory.labels(names)

    async def can_read(self, person: Person, address: Address) -> bool | None:
        """Return whether a person is a member of a shared channel; None if Slack refuses to tell.
        Raises PlatformBusy if it does not tell now. False for a direct message, so that an approver
        gets a card of their own."""
        if not address.is_shared:
            return False
        try:
            return await check_membership(self.workspace.api, address.channel, person.id)
        except SlackRefused as refused:
            log.info("could not check membership of a channel", error=str(refused))
        return None

    async def can_write(
        self, person: Person | None, address: Address, *, afresh: bool = False
    ) -> bool | None:
        """Return whether a person, or the bot (None), can post in a channel; None if Slack does not
        tell. If the channel is too large to be listed, the members of our workspace can."""
        if person is None and address.channel in self.workspace.direct_messages:
            return True
        id = person.id if person else self.workspace.user
        try:
            max_age = 0.0 if afresh else MEMBERS_SECONDS
            is_member = await check_membership(self.workspace.api, address.channel, id, max_age)
        except SlackRefused as refused:
            # The bot is no member itself, so Ponte cannot post there for anybody.
            return False if refused.error in NOT_A_MEMBER else None
        # None: too large, and the person's own channels could not be listed either.
        if is_member is None and person:
            guest = await self.guest(person, MAX_CONFIRMED_AGE_SECONDS)
            return None if guest is None else not guest
        return is_member

    async def can_write_to(self, person: Person, other: Person, address: Address) -> bool | None:
        """Return whether both are members of our workspace and the person is no guest; None if
        unknown. Guests can write to few people, which Slack does not list."""
        if person.workspace != self.workspace.team:
            return False
        # One True forbids it, whatever is not known of the other.
        outside = [await self.guest(person, MAX_CONFIRMED_AGE_SECONDS)]
        outside.append(await self.workspace.directory.is_stranger(other.id))
        return False if True in outside else None if None in outside else True

    async def find_post(self, to: ReplyTo, key: str, text: str) -> str | None:
        """Return the id of our post with this key, made for `to`. `text` is not used, because Slack
        stores the key. Raises the errors of `SlackApi.call`."""
        # `destination_in` put the time at which it chose the place into the source, less a margin
        # for our clock. The post was made soon after, so later messages are not read.
        source, channel = Source.read(to.source), to.address.channel
        lookup = PostLookup(self.workspace, channel, source.thread, source.ts, to.turn)
        until = f"{float(source.ts) + _CLOCK_DIFFERENCE_SECONDS + _POSTED_WITHIN_SECONDS:.6f}"
        ts = await lookup.find_by_key(key, until)
        return f"{channel}:{ts}" if ts else None

    async def title(self, address: Address) -> str:
        """Return a channel's name, as in `#general`; "" for a direct message, a person's id, or if
        Slack does not tell."""
        # Ids of people begin with U or W, those of channels with other letters.
        if not address.is_shared or address.channel.startswith(("U", "W")):
            return ""
        if address.channel not in self._names:
            await self._look_up(address)
        elif self._refreshes.admits(address.channel, time.time()):
            self._tasks.start(self._look_up(address))  # it may have another name the next time
        return self._names.get(address.channel, "")

    async def link_to(self, address: Address, post: str) -> str:
        channel, ts = post.split(":")
        url = (await self.workspace.identify())["url"]
        thread = f"?thread_ts={address.thread}&cid={channel}" if address.thread else ""
        return f"{url}archives/{channel}/p{ts.replace('.', '')}{thread}"

    async def is_public(self, address: Address) -> bool | None:
        """Return whether it is a public channel. None if Slack does not tell now, or if the call
        would leave less than half of its rate limit to people's links."""

        async def find_optionally() -> Payload:
            if not await self.workspace.api.limiter.claim("conversations.info"):
                return {}
            return await self._find_channel(address, claimed=True)

        # Questions at the same time share one call.
        shared, key = self.workspace.api.shared_answers, ("is_public", address.channel)
        channel: Payload = await shared.ask(key, find_optionally, 0.0)
        return not channel.get("is_private", True) if channel else None

    async def may_have_outsiders(self, address: Address) -> bool:
        if (await self._look_up(address)).get("is_ext_shared", True):
            return True
        call = self.workspace.api.call
        try:
            page = await call("conversations.members", channel=address.channel, limit=999)
        except FAILURES:
            return True
        is_cut = bool((page.get("response_metadata") or {}).get("next_cursor"))
        find = self.workspace.directory.cached_member
        return is_cut or any(find(id).is_guest for id in page["members"])

    async def _look_up(self, address: Address) -> Payload:
        # Questions at the same time share one call.
        shared = self.workspace.api.shared_answers
        channel: Payload = await shared.ask(
            (address.channel,), lambda: self._find_channel(address), 0.0
        )
        return channel

    async def _find_channel(self, address: Address, *, claimed: bool = False) -> Payload:
        """Return {} if Slack does not tell now, so that the channel's name is left out. A channel
        of which it refuses to tell counts as private. `claimed` as for `SlackApi.call`."""
        try:
            response = await self.workspace.api.call(
                "conversations.info", channel=address.channel, patience=5.0, claimed=claimed
            )
        except FAILURES as failure:
            log.info("could not look up a channel name", error=str(failure))
            is_refused = isinstance(failure, SlackRefused)
            return {"is_private": True} if is_refused else {}
        channel: Payload = response.get("channel") or {}
        if name := channel.get("name"):
            self._names[address.channel] = f"#{name}"
        return channel

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        """Return where to post into a direct message with a person, and their locale ("" if
        unknown). Slack opens the direct message if there is none.

        Raises SettingsError, Undeliverable, and the errors of `SlackApi.call`.
        """
        await self.workspace.identify()  # sets `team`, which the address below contains
        try:
            response = await self.workspace.api.call("conversations.open", users=person.id)
        except SlackRefused as refused:
            raise Undeliverable(reason=refused.error) from refused
        channel = str((response.get("channel") or {}).get("id", ""))
        where = Address("slack", channel, self.workspace.team)
        profiles = await self.workspace.directory.profiles([person.id])
        return self.destination_in(where, person), profiles[person.id].locale

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        """Return the `ReplyTo` of a new top-level post, which answers no message."""
        # The time is where `find_post` begins to look for the post; our clock may be ahead of
        # Slack's. "command": there is no message that a reaction could mark.
        source = Source(f"{time.time() - _CLOCK_DIFFERENCE_SECONDS:.6f}", "", "command")
        return ReplyTo(address, person, str(source), "")

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        """Return where to post what answers no message: beside the answer to `to`, or in a thread
        under our `post`."""
        source = Source.read(to.source)
        if post:
            ts = post.rpartition(":")[2]
            source = Source(ts, ts)  # our post is the root of the thread
        elif source.thread != source.ts:  # it marks no message, redraws no card and is not private
            source = Source(source.ts, source.thread, "command")
        # The token, a response_url, is for the answer to the command alone.
        return replace(to, source=str(source), token="", token_expires_at=0.0)

    async def stop_intake(self) -> None:
        """Accept no further events. Events in progress are stored and acknowledged first."""
        self.is_open = False
        await cancel_all([self._connecting])
        if self._socket is not None:
            await self._socket.stop()

    async def close(self) -> None:
        await self._tasks.close()
        await self._downloads.close()
        await self.workspace.directory.close()
        await self.workspace.api.close()

    async def _connect(self) -> None:
        """Identify the workspace, start the directory and, if this process listens, accept events:
        by WebSocket with an app token, else through `http`. Each step is retried until Slack
        answers. Raises SettingsError if it refuses a token.

        An app token of another app would connect and receive nothing, so it is checked first.
        """
        identity = await connection.retry_until_answered(self.workspace.identify)
        self.workspace.directory.start()
        if not self._listens:
            return
        self._app = connection.build_app(
            await self.workspace.api.open(),
            AuthorizeResult(
                enterprise_id=identity.get("enterprise_id"),
                team_id=identity.get("team_id"),
                bot_user_id=identity.get("user_id"),
                bot_id=identity.get("bot_id"),
                bot_token=self._credentials.bot_token,
            ),
            self._credentials.signing_secret,
            self._handlers,
            self.on_failure,
        )
        if token := self._credentials.app_token:
            self.workspace.app = await connection.retry_until_answered(
                lambda: find_app(self.workspace.api, identity, token)
            )
            # Slack gives the WebSocket's address for the app token, so another client asks.
            app_api = SlackApi(token, self.workspace.api.base_url, self._proxies)
            try:
                url = await connection.retry_until_answered(lambda: socket_url(app_api))
            finally:
                await app_api.close()
            proxy = self._proxies.for_url(url)
            self._socket = SlackSocket(self._app, token, proxy, self._take, self.on_failure)
            await self._socket.open(url)
        self.is_open = True  # requests to `http` are accepted from now on

    async def _take(self, body: Payload) -> None:
        """Handle one event. Raises NotStored; another exception costs only this event, and its
        author is told."""
        event = body.get("event") or {}
        try:
            if event.get("type") == "app_home_opened":
                self._tasks.start(self._app_home.on_opened(body, event))
            elif event.get("type") == DEPARTURE_EVENT:
                await self._forget_members("")
                await self._peers.notify(DEPARTURE_TOPIC, "")
            elif event.get("type") in MEMBER_EVENTS:
                # `ponte doctor` sees by this file that these events arrive. It is made once, so
                # `_home` is then None.
                if self._home is not None:
                    mark, self._home = self._home / EVENTS_MARK, None
                    with suppress(OSError):
                        await asyncio.to_thread(mark.touch, mode=0o600)
                await self.workspace.directory.take_event(event.get("user"))
            else:
                await self._intake.take(body)
        except NotStored:
            raise
        except Exception as error:
            self.on_failure(error, body)

    async def _forget_members(self, _: str) -> None:
        self.workspace.api.shared_answers.clear()

    def on_failure(self, error: Exception, body: Payload) -> None:
        """Note an event or interaction that failed, and tell its person. Every field of `body` may
        be missing or of another type, which may be the cause."""
        event = body.get("event") or body  # an interaction has its fields at the top
        kind = event.get("type") if isinstance(event, Mapping) else "?"
        self.failures.note(error, kind or body.get("command"))
        self._tasks.start(self._report_failed_event(body))

    async def _report_failed_event(self, body: Payload) -> None:
        """Tell a person, and nobody else, that what they sent could not be handled."""
        try:
            # Commands and clicks have such an address; events do not.
            if url := body.get("response_url"):
                # False keeps the message with the clicked button.
                words = {"text": say(incoming.EVENT_FAILED), "replace_original": False}
                await self.workspace.api.respond(str(url), words)
                return
            event = body["event"]  # any error below means that there is nobody to tell
            channel, user = str(event["channel"]), str(event["user"])
            # Only the author of a message to Ponte expects an answer.
            is_ours = is_direct(channel, event) or self.workspace.user in str(event.get("text"))
            if is_ours and not event.get("bot_id") and user != self.workspace.user:
                thread = event.get("thread_ts")
                await self.workspace.api.call(
                    "chat.postEphemeral",
                    channel=channel,
                    user=user,
                    thread_ts=str(thread) if thread else None,
                    text=say(incoming.EVENT_FAILED, self.workspace.directory.locale(user)),
                )
        except Exception as error:
            log.info("could not report a failed event", error=type(error).__name__)
