"""Slack over Socket Mode, or over signed HTTP behind the web adapter's server, through Bolt; and
what people press and type there.

Commands, shortcuts, modals and clicks become messages, stored before they are answered. Slack sends
them once, and shows the person an error where no answer comes within three seconds; so what could
not be stored is told in the answer itself. Nothing is asked of Slack before the store, but for
opening a form, which is the answer then: it is shown to nobody who may not talk with us.

Imported in a thread, since Bolt takes a third of a second.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack import events, render
from adapters.slack.client import (
    FAILURES,
    HISTORY,
    InDoubt,
    RateLimiter,
    SlackApi,
    SlackRefused,
    sdk_log,
)
from adapters.slack.events import (
    Context,
    DirectThreads,
    Intake,
    Options,
    ParsedMessage,
    Payload,
    Source,
    ThreadParticipants,
    author_home,
    is_direct,
    reply_to,
)
from adapters.slack.files import SlackFiles
from adapters.slack.render import Links, mentioned, readable
from adapters.slack.setup import EVENTS_MARK, MEMBER_EVENTS, ONLY_MENTIONS, socket_url
from adapters.slack.surface import ChatSurface, channel_name, direct_channel, is_member
from adapters.slack.workspace import Directory, Workspace
from core.chat.files import Downloads
from core.chat.posting import PostedReply
from core.clients.http import Proxies
from core.commands.grammar import Command, parse, typed
from core.commands.quick_commands import check_inputs
from core.domain.errors import BadInput, NotStored, PlatformBusy, SettingsError, UnknownCommand
from core.domain.messages import Address, Attachment, File, Message, Person, Quote, ReplyTo
from core.domain.records import Health, QuickCommand
from core.integrations.integration import ChatPorts, Refused
from core.ports.conversations import Inbox, Posts, StatusBoard
from core.ports.rights import Policy
from core.runtime.retry import Backoff, retry
from core.runtime.tasks import together
from core.text.i18n import nearest, say

log = structlog.get_logger("slack")
CONNECT_BACKOFF = Backoff(1.0, longest=30.0)
"""Pauses between attempts to reach Slack at the start."""

QUICK_COMMAND = "/quick-command"
_STAMP, _SEAL = re.compile("[0-9]{1,12}"), re.compile("v0=[0-9a-f]{64}")
"""A request's time and its signature."""
PING = 3.0
"""Seconds between two pings: a connection that died without a word is replaced after some three
of them (slack_sdk 3.47 waits one interval after a break, four for a silence)."""
SILENCE = 90.0
"""Seconds without a frame of any kind after which a connection counts as deaf."""
PATIENCE = 15.0
"""Seconds that the start of everything else waits for Slack."""

T = TypeVar("T")
Take = Callable[[Payload], Awaitable[None]]
"""Stores an event; raises NotStored."""

HOOK_SECONDS = 1700.0
"""A response_url lives for 30 minutes (docs.slack.dev/interactivity/handling-user-interaction,
"response_url"); the last ones are not counted on."""
PROMPT = 1.0
"""Seconds that a form waits for who may see it and for what can be chosen in it: its trigger lives
for three (docs.slack.dev/interactivity, "trigger_id")."""
_EARLIER = 300.0
"""Seconds that our clock may be ahead of Slack's."""
_TYPE_IT = "Write `/quick-command SLUG` and its text or key=value."
_ON_IT = "I am on it: `/quick-command {given}`"


@dataclass(frozen=True, slots=True)
class Credentials:
    """`app_token` for Socket Mode; without it `signing_secret` for HTTP."""

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)


class SlackAdapter:
    """Slack as a `ChatPlatform`."""

    name = "slack"

    def __init__(
        self, credentials: Credentials, ports: ChatPorts, *, api_url: str = "https://slack.com/api/",
        proxies: Proxies | None = None, options: Options | None = None, links: Links | None = None,
        home: Path | None = None,
    ) -> None:  # fmt: skip
        """Raises SettingsError where neither a socket nor HTTP is possible."""
        if not credentials.app_token and not credentials.signing_secret:
            raise SettingsError("Slack needs SLACK_APP_TOKEN (Socket Mode) or "
                                "SLACK_SIGNING_SECRET (HTTP).")  # fmt: skip
        self._credentials = credentials
        self._ports = ports
        self._proxies = proxies or Proxies()
        self._home = home
        api = SlackApi(credentials.bot_token, api_url, self._proxies, ports.peers.pace)
        directory = Directory(api, ports.directory, peers=ports.peers)
        workspace = self._workspace = Workspace(api, directory, links or Links())
        self._downloads = Downloads(
            "slack", ports.files, SlackFiles(workspace).read, (InDoubt, SlackRefused)
        )
        direct_threads = DirectThreads(workspace, ports.journal)
        taking_part = ThreadParticipants(
            workspace, ports.threads, lambda *said: self._intake.say_that_we_wait(*said)
        )
        options = self._options = options or Options()
        self._context_of = Context(workspace, taking_part, ports.journal, options)
        self._intake = Intake(
            workspace, ports.inbox, taking_part, direct_threads, self._downloads, options,
            ports.removed, ports.policy,
        )  # fmt: skip
        workspace.stopped = self._intake.stop
        self._interactions = Interactions(
            workspace,
            direct_threads,
            ports.inbox,
            ports.board,
            ports.policy,
            options,
            ports.refused,
        )
        self._app: AsyncApp | None = None
        self._socket: Socket | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._open = False

    @property
    def directory(self) -> Directory:
        return self._workspace.directory

    @property
    def limiter(self) -> RateLimiter:
        return self._workspace.api.limiter

    @property
    def opened(self) -> bool:
        """Whether events may come in."""
        return self._open

    def reply(self, to: ReplyTo, posts: Posts) -> PostedReply:
        surface = ChatSurface(self._workspace, self._ports.files, to, posts.resumed)
        return PostedReply(surface, posts, to.turn, surface.pause, surface.whole)

    async def start(self, *, listens: bool = True) -> None:
        """Raises SettingsError for a refused token. Where Slack does not answer, the rest of
        Ponte starts, and this goes on trying."""
        self._listens = listens
        await asyncio.gather(self._workspace.api.open(), self._workspace.directory.open())
        connecting = asyncio.create_task(self._connect())
        await asyncio.wait({connecting}, timeout=PATIENCE)
        if connecting.done():
            await connecting
        else:
            self._connecting = connecting

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """`POST /slack/events`: status, headers and body of the answer to a signed request.

        Without a signing secret there is no such route: 404. Before the start and while the
        intake is stopped it is 503, and Slack tries again.
        """
        if not self._credentials.signing_secret:
            return 404, {}, b""
        if self._app is None or not self._open:
            return 503, {}, b""
        return await dispatch(self._app, self._credentials.signing_secret, headers, body)

    async def health(self) -> Health:
        off = "; ".join(filter(None, [self._deaf, self._workspace.flags.words]))
        if word := self._workspace.api.refused:
            words = say("Slack refuses the token ({error}): answers wait", error=word)
            return Health("slack", "failing", words)
        if word := self._workspace.directory.trouble:
            words = say("users.info: {error}, so that nobody is known to be a member", error=word)
            return Health("slack", "failing", words)
        if not self._listens:
            words = say("posts; other processes take in")
            return Health("slack", "on", "; ".join(filter(None, [words, off])))
        if self._socket is None and self._credentials.app_token:
            return Health("slack", "failing", say("Socket Mode, which is being opened"))
        if self._socket is None:
            state: Literal["on", "failing"] = "on" if self._open else "failing"
            return Health("slack", state, "; ".join(filter(None, ["HTTP, /slack/events", off])))
        silent = time.time() - self._socket.heard_at
        if not self._socket.connected:
            return Health(
                "slack",
                "failing",
                say("Socket Mode, whose socket is down; it is being opened again"),
            )
        if silent > SILENCE:
            words = say("connected, but no frame came for {seconds} s", seconds=round(silent))
            return Health("slack", "failing", words)
        return Health("slack", "on", "; ".join(filter(None, ["Socket Mode", off])))

    @property
    def _deaf(self) -> str:
        """Why it hears mentions alone where everything is for it; "" where it hears all."""
        missing = [scope for scope in HISTORY if scope not in self._workspace.scopes]
        if not missing or not self._workspace.scopes or not self._options.everything():
            return ""
        return say(ONLY_MENTIONS, scopes=", ".join(missing))

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` port."""
        return await self._downloads.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` port."""
        return await self._context_of.look_up(message, pointed)

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """The `Membership` port: user groups."""
        return await self._workspace.directory.membership(person, max_age)

    async def forget(self, ids: frozenset[str]) -> None:
        self._workspace.directory.forget(ids)

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """The `Guests` port."""
        return await self._workspace.directory.guest(person, max_age)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """The `HasLeft` port."""
        return await self._workspace.directory.has_left(person)

    # The port `Messenger`.

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        await self._workspace.identify()
        return await self._workspace.directory.people(names)

    async def labels(self, names: Collection[str]) -> Mapping[str, str]:
        return await self._workspace.directory.labels(names)

    async def reads(self, person: Person, address: Address) -> bool:
        """A direct message is read by whoever writes there."""
        if not address.shared:
            return False
        return await is_member(self._workspace.api, address.channel, person.id)

    async def title(self, address: Address) -> str:
        return await channel_name(self._workspace.api, address.channel) if address.shared else ""

    async def direct(self, person: Person) -> tuple[ReplyTo, str]:
        await self._workspace.identify()
        channel = await direct_channel(self._workspace.api, person.id)
        where = Address("slack", channel, self._workspace.team)
        source = Source(f"{time.time() - _EARLIER:.6f}", "", "command")
        locale = self._workspace.directory.known(person.id).locale
        return ReplyTo(where, person, str(source), ""), locale

    def after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        source = Source.read(to.source)
        if post:
            ts = post.rpartition(":")[2]
            source = Source(ts, ts)
        elif source.kind in ("card", "quiet"):
            source = Source(source.ts, source.thread, "command")
        return replace(to, source=str(source), token="", token_expires=0.0)

    async def stop_intake(self) -> None:
        self._open = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._socket is not None:
            await self._socket.stop()

    async def close(self) -> None:
        await self._workspace.tasks.close()
        await self._downloads.close()
        await self._workspace.directory.close()
        await self._workspace.api.close()

    async def _connect(self) -> None:
        told = await _until_answered(self._workspace.identify)
        self._workspace.directory.start()
        if not self._listens:
            return
        self._app = build(
            await self._workspace.api.open(),
            authorized(told, self._credentials.bot_token),
            self._credentials.signing_secret, self._take, self._interactions,
        )  # fmt: skip
        if token := self._credentials.app_token:
            app_api = SlackApi(token, self._workspace.api.base_url, self._proxies)
            try:
                url = await _until_answered(lambda: socket_url(app_api))
            finally:
                await app_api.close()
            self._socket = Socket(self._app, token, self._proxies.for_url(url))
            await self._socket.open(url)
        self._open = True

    async def _take(self, body: Payload) -> None:
        event = body.get("event") or {}
        if event.get("type") == "app_home_opened":
            if event.get("tab") == "home":
                self._workspace.tasks.start(self._show_home(body, event))
            return
        if event.get("type") in MEMBER_EVENTS:
            await self._note_events()
            await self._workspace.directory.hear(event.get("user"))
            return
        await self._intake.take(body)

    async def _note_events(self) -> None:
        """For `ponte doctor`."""
        if self._home is not None:
            mark, self._home = self._home / EVENTS_MARK, None
            with suppress(OSError):
                await asyncio.to_thread(mark.touch, mode=0o600)

    async def _show_home(self, body: Payload, event: Payload) -> None:
        user, team = str(event["user"]), self._workspace.team
        profile = (await self._workspace.directory.profiles([user]))[user]
        person = Person("slack", user, author_home(team, body, event), profile.name)
        where = Address("slack", str(event.get("channel", "")), team)
        shown = await render.home_view(
            self._ports.board, self._ports.policy, person, where, nearest(profile.locale)
        )
        try:
            await self._workspace.api.call("views.publish", user_id=user, view=shown)
        except FAILURES as error:
            log.warning("home not shown", why=str(error))


class Ready(AsyncAuthorize):
    """The one installation, known since the start: Bolt's own way asks auth.test before acks."""

    def __init__(self, result: AuthorizeResult) -> None:
        self._result = result

    async def __call__(
        self, *, context: AsyncBoltContext, enterprise_id: str | None, team_id: str | None,
        user_id: str | None, **_: Any,
    ) -> AuthorizeResult:  # fmt: skip
        return self._result


class StoreFirst(AsyncMiddleware):
    """Every event is stored here; only then does it get its acknowledgement. Bolt acknowledges an
    event before its listeners run, and none of a type that nobody listens to."""

    def __init__(self, take: Take) -> None:
        self._take = take

    async def async_process(
        self, *, req: AsyncBoltRequest, resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],
    ) -> BoltResponse | None:  # fmt: skip
        if req.body.get("type") != "event_callback":
            return await next()
        try:
            await self._take(req.body)
        except NotStored:
            log.error("event not stored")
            return BoltResponse(status=503, body="")
        return BoltResponse(status=200, body="")


class Listeners:
    """What people press and type, with their acknowledgements."""

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions

    def register(self, app: AsyncApp) -> None:
        app.command(QUICK_COMMAND)(self._command)
        app.shortcut(render.ASK)(self._shortcut)
        app.shortcut(render.QUICK)(self._shortcut)
        app.view(re.compile("^ponte_"))(self._view)
        app.action(re.compile(f"^(?:{render.ACTION}|{render.STOP}$)"))(self._action)
        app.action(re.compile(".*"))(self._ignore)
        app.view_closed(re.compile(".*"))(self._ignore)

    async def _command(self, ack: AsyncAck, command: dict[str, Any]) -> None:
        await ack(**await self._interactions.command(command))

    async def _shortcut(self, ack: AsyncAck, shortcut: dict[str, Any]) -> None:
        await self._interactions.shortcut(shortcut)
        await ack()

    async def _view(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack(**(await self._interactions.submitted(body) or {}))

    async def _action(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        try:
            await self._interactions.clicked(body, action)
        except NotStored:
            log.error("click not stored")
            return
        await ack()

    async def _ignore(self, ack: AsyncAck) -> None:
        await ack()


class Socket(AsyncSocketModeHandler):
    """One Socket Mode connection, which knows what it still has in hand."""

    client: SocketModeClient

    def __init__(self, app: AsyncApp, app_token: str, proxy: str | None) -> None:
        super().__init__(app, app_token, sdk_log(), ping_interval=PING)
        self.client.proxy = proxy  # and not what the SDK found in the environment
        self.client.on_message_listeners.append(self._hear)
        self._heard_at = time.time()
        self._in_hand: set[asyncio.Task[Any] | None] = set()
        self._taking = True

    async def handle(self, client: Any, req: SocketModeRequest) -> None:
        """What comes after `stop` is left unacknowledged: Slack brings it to the next process."""
        if not self._taking:
            return
        task = asyncio.current_task()
        self._in_hand.add(task)
        try:
            await super().handle(client, req)
        finally:
            self._in_hand.discard(task)

    async def open(self, url: str) -> None:
        self.client.wss_uri = url
        untyped: Any = self.client
        await untyped.connect()

    async def stop(self, seconds: float = 2.0) -> None:
        """Take nothing more; what was taken is stored and acknowledged before the close."""
        self._taking = False
        if tasks := {task for task in self._in_hand if task}:
            await asyncio.wait(tasks, timeout=seconds)
        untyped: Any = self.client
        await untyped.close()

    @property
    def connected(self) -> bool:
        session = self.client.current_session
        return session is not None and not session.closed

    @property
    def heard_at(self) -> float:
        """When the last frame came (the answer to a ping too), in seconds since the epoch."""
        return max(self._heard_at, self.client.last_ping_pong_time or 0.0)

    async def _hear(self, frame: object) -> None:
        self._heard_at = time.time()


def build(
    client: AsyncWebClient, result: AuthorizeResult, signing_secret: str, take: Take,
    interactions: Interactions,
) -> AsyncApp:  # fmt: skip
    """Raises nothing that depends on the environment: SLACK_CLIENT_ID there would switch Bolt to
    OAuth, were it not for `authorize`. Without a signing secret only a socket may speak to it."""
    bolt_log = sdk_log()
    bolt_log.disabled = True  # it warns that the token in the environment is not used
    app = AsyncApp(
        # Without a name, Bolt walks the whole stack for one and reads the source of each frame.
        name="ponte",
        logger=bolt_log, client=client, authorize=Ready(result), signing_secret=signing_secret,
        ssl_check_enabled=False, ignoring_self_events_enabled=False,
        attaching_function_token_enabled=False,
        url_verification_enabled=bool(signing_secret),
        request_verification_enabled=bool(signing_secret),
        attaching_conversation_kwargs_enabled=False,
    )  # fmt: skip
    bolt_log.disabled = False
    app.use(StoreFirst(take))
    Listeners(interactions).register(app)
    return app


async def dispatch(
    app: AsyncApp, secret: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes]:
    """Answer one signed request. Its signature and age are checked before anything is made of its
    body: Bolt reads the body first."""
    given = {name.lower(): value for name, value in headers.items()}
    # slack_sdk's verifier takes int() of the one and compares the other as ASCII: both may raise.
    if not (_STAMP.fullmatch(given.get("x-slack-request-timestamp", ""))
            and _SEAL.fullmatch(given.get("x-slack-signature", ""))):  # fmt: skip
        return 401, {"content-type": "text/plain"}, b"not signed"
    try:
        if not SignatureVerifier(secret).is_valid_request(body, given):
            return 401, {"content-type": "text/plain"}, b"not signed"
        request = AsyncBoltRequest(body=body.decode(), headers=dict(headers))
    except (ValueError, RecursionError):
        return 400, {"content-type": "text/plain"}, b"not a request of Slack's"
    answer = await app.async_dispatch(request)
    told = {name: values[0] for name, values in answer.headers.items() if values}
    return answer.status, told, str(answer.body or "").encode()


def authorized(told: Mapping[str, Any], token: str) -> AuthorizeResult:
    """auth.test's answer as Bolt's result."""
    return AuthorizeResult(
        enterprise_id=told.get("enterprise_id"), team_id=told.get("team_id"),
        bot_user_id=told.get("user_id"), bot_id=told.get("bot_id"), bot_token=token,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Location:
    """Where somebody acted: `thread` "" is the top level; `url` is the response_url, if any;
    `home` the workspace that the person writes from, "" where Slack contradicts itself."""

    user: str
    home: str
    channel: str
    thread: str = ""
    url: str = ""


class Interactions:
    """Each method takes Slack's payload and gives the body of the acknowledgement, or None for
    an empty one."""

    def __init__(
        self, workspace: Workspace, direct_threads: DirectThreads, inbox: Inbox, board: StatusBoard,
        policy: Policy, options: Options, note_refused: Refused,
    ) -> None:  # fmt: skip
        self._note_refused = note_refused
        self._workspace = workspace
        self._direct_threads = direct_threads
        self._inbox = inbox
        self._board = board
        self._policy = policy
        self._options = options

    async def command(self, payload: Payload) -> Payload:
        """`/quick-command SLUG …`; a modal asks for what is missing."""
        home = events.home_of(self._workspace.team, [payload.get("team_id")])
        location = Location(
            payload["user_id"], home, payload["channel_id"], "", payload["response_url"]
        )
        locale = self._locale(location)
        given = self._readable(payload.get("text", ""))
        wanted = self._read(given)
        known = {command.slug: command for command in await self._known(location)}
        lacks = wanted and self._missing(known.get(wanted.slug), wanted, locale)
        if lacks or (wanted is None and not given):
            told = await self._refused(location)
            locale = self._locale(location)
            if wanted:
                lacks = self._missing(known[wanted.slug], wanted, locale) if wanted.input else ""
                form = render.inputs(known[wanted.slug], _memory(location), locale, lacks)
            else:
                form = render.quick(list(known.values()), "", _memory(location), locale)
            told = told or await self._opened(payload["trigger_id"], form, locale)
            return {"text": told} if told else {}
        key = f"slack:{self._workspace.team}:{location.channel}:command:{payload['trigger_id']}"
        try:
            await self._accept(location, key, f"quick-command {given}", on_it=given)
        except NotStored as error:
            return {"text": error.words(locale)}
        return {}

    async def shortcut(self, payload: Payload) -> None:
        """A message shortcut: opens its modal."""
        about = payload.get("message") or {}
        thread = str(about.get("thread_ts") or "")
        if not self._is_whole(payload["channel"]["id"]):
            thread = thread or str(about.get("ts") or payload.get("message_ts", ""))
        location = Location(payload["user"]["id"], self._home(payload), payload["channel"]["id"],
                            thread, payload.get("response_url", ""))  # fmt: skip
        if refused := await self._refused(location):
            await self._tell(location, refused)
            return
        locale = self._locale(location)
        text = self._readable(events.words_of(about))
        kept = _memory(location) | {
            "by": str(about.get("user") or about.get("username") or ""), "about": text,
            "ts": str(about.get("ts") or ""), "files": _remembered(events.files_of(about)),
        }  # fmt: skip
        if payload["callback_id"] == render.ASK:
            view = render.ask(kept, locale)
        else:
            view = render.quick(await self._known(location), text, kept | {"about": ""}, locale)
        if told := await self._opened(payload["trigger_id"], view, locale):
            await self._tell(location, told)

    async def submitted(self, payload: Payload) -> Payload | None:
        """A modal was filled."""
        view, filled = payload["view"], render.filled(payload["view"])
        kept = render.memory(view)
        location = Location(payload["user"]["id"], self._home(payload), kept["channel"],
                            kept["thread"], kept["url"])  # fmt: skip
        locale = self._locale(location)
        key = f"slack:{self._workspace.team}:{location.channel}:view:{view['id']}"
        context: tuple[Quote, ...] = ()
        files: tuple[Attachment, ...] = ()
        if view["callback_id"] == render.ASK:
            text, block = filled.get(render.QUESTION, ""), render.QUESTION
            by = str(kept.get("by") or "?")
            about = str(kept.get("about", ""))
            context = (Quote(self._name(by) or by, about, replied=True,
                             reference=str(kept.get("ts", ""))),)  # fmt: skip
            files = _recalled(kept.get("files"))
        else:
            command, update, block = await self._wanted(location, view, filled, locale)
            if update is not None:
                return update
            text = typed(command)
        try:
            await self._accept(location, key, text, context, files, on_it=text)
        except NotStored as error:
            return _errors(block, error.words(locale))
        return None

    async def clicked(self, payload: Payload, action: Payload) -> None:
        """A button under a post of ours. Raises NotStored, after having told the person."""
        channel, post = payload["channel"]["id"], payload.get("message") or {}
        ts = str(post.get("ts", ""))
        thread = str(post.get("thread_ts") or "")
        location = Location(payload["user"]["id"], self._home(payload), channel, thread,
                    payload.get("response_url", ""))  # fmt: skip
        team = self._workspace.team
        pressed = f"{action['action_id']}:{action['action_ts']}"
        key = f"slack:{team}:{channel}:{ts}:{pressed}:{location.user}"
        stop = action["action_id"] == render.STOP
        word = "stop" if stop else action["action_id"].removeprefix(render.ACTION)
        text = word if stop else f"{word} {action.get('value', '')}"
        source = Source(ts, thread, "quiet" if stop else "card")
        try:
            await self._accept(location, key, text, source=source)
        except NotStored as error:
            await self._tell(location, error.words(self._locale(location)))
            raise

    async def _wanted(
        self, location: Location, view: Payload, filled: Mapping[str, str], locale: str
    ) -> tuple[Command, Payload | None, str]:
        """The quick command that a modal stands for; or the modal that asks on; or an error."""
        kept = render.memory(view)
        known = {command.slug: command for command in await self._known(location)}
        slug = str(kept.get("slug") or filled.get(render.SLUG, "")).strip().lower()
        if view["callback_id"] == render.INPUTS:
            given: Any = {name.removeprefix(render.FIELD): value for name, value in filled.items()}
            block = next(iter(filled), render.FIELD)
        else:
            given, block = filled.get(render.INPUT, ""), render.INPUT
        wanted = self._read(typed(Command("quick-command", slug=slug, input=given)), whole=True)
        if wanted is None or wanted.slug != slug:
            wrong = UnknownCommand("There is no quick command {slug!r}.", slug=slug).words(locale)
            return Command("quick-command"), _errors(render.SLUG, wrong), render.SLUG
        command = known.get(wanted.slug)
        if missing := self._missing(command, wanted, locale):
            if command is None or view["callback_id"] == render.INPUTS:
                return wanted, _errors(block, missing), block
            asks = render.inputs(command, kept, locale, "" if not given else missing)
            return wanted, {"response_action": "update", "view": asks}, block
        return wanted, None, block

    def _read(self, given: str, whole: bool = False) -> Command | None:
        """The command in these words; None where they are none yet."""
        try:
            return parse(given if whole else f"quick-command {given}")
        except BadInput:
            return None

    def _missing(self, known: QuickCommand | None, wanted: Command, locale: str) -> str:
        """What the registry wants and was not given, in words; "" where all is there."""
        if known is None:
            return ""
        try:
            check_inputs(known, wanted.input)
        except BadInput as error:
            return error.words(locale)
        return ""

    async def _accept(
        self, location: Location, key: str, text: str, context: tuple[Quote, ...] = (),
        files: tuple[Attachment, ...] = (), source: Source | None = None, on_it: str = "",
    ) -> None:  # fmt: skip
        """`on_it`: what the person is told to be under way, where it leaves no other sign."""
        message = await self._message(location, key, text, context, files, source)
        receipt = await self._inbox.accept(message)
        if receipt.fresh and on_it and not location.thread:
            words = say(
                _ON_IT, self._locale(location), given=on_it.removeprefix("quick-command ")[:200]
            )
            self._workspace.pending.begin(receipt.turn, location.url, words)

    async def _message(
        self, location: Location, key: str, text: str, context: tuple[Quote, ...],
        files: tuple[Attachment, ...], source: Source | None,
    ) -> Message:  # fmt: skip
        """As far as it is known without asking; the rest is looked up when the turn starts."""
        profile = self._workspace.directory.known(location.user)
        author = Person("slack", location.user, location.home, profile.name)
        now = f"{time.time():.6f}"
        where = await self._address(location, now)
        at = source or Source(now, location.thread, "command")
        expires = time.time() + HOOK_SECONDS if location.url else 0.0
        return Message(
            event_key=key, text=text, author=author, address=where,
            reply_to=reply_to(where, author, str(at), key, location.url, expires), context=context,
            attachments=files, locale=profile.locale.replace("_", "-"), time_zone=profile.zone,
            sent_at=float(now), clicked=True,
        )  # fmt: skip

    def _is_whole(self, channel: str) -> bool:
        return self._options.is_whole(self._workspace.team, channel)

    async def _address(self, location: Location, now: str) -> Address:
        """A thread's conversation; without one, a channel's is the person's own in it, where not
        the whole channel is one."""
        team, direct = self._workspace.team, is_direct(location.channel, {})
        if not location.thread:
            person = "" if direct or self._is_whole(location.channel) else location.user
            return Address("slack", location.channel, team, person=person, shared=not direct)
        said = ParsedMessage(
            team, location.channel, now, location.user, "", location.thread, direct=direct
        )
        return events.address_of(said, await self._direct_threads.belongs_to_dm(said))

    async def _known(self, location: Location) -> list[QuickCommand]:
        """Those that can be chosen; none where that is not known at once."""
        try:
            async with asyncio.timeout(PROMPT):
                return list(await self._board.commands(*self._who_and_where(location)))
        except TimeoutError:
            return []

    async def _refused(self, location: Location) -> str:
        """Why this person sees no form; "" where they do. Their language is known then, if it is
        told in time."""
        who, where = self._who_and_where(location)
        try:
            async with asyncio.timeout(PROMPT):
                verdict, _ = await together(
                    self._policy.may(who, where, "chat"),
                    self._workspace.directory.profiles([location.user]),
                )
        except TimeoutError:
            return say(_TYPE_IT, self._locale(location))
        if verdict.unknown:
            return say(_TYPE_IT, self._locale(location))
        if verdict.allowed:
            return ""
        self._note_refused(who, where, verdict)
        return verdict.words(self._locale(location))

    def _who_and_where(self, location: Location) -> tuple[Person, Address]:
        where = Address("slack", location.channel, self._workspace.team, location.thread,
                        shared=not is_direct(location.channel, {}))  # fmt: skip
        return Person("slack", location.user, location.home), where

    async def _opened(self, trigger: str, view: Payload, locale: str) -> str:
        """A trigger lives for three seconds; where it was too late, what to type."""
        try:
            await self._workspace.api.call("views.open", trigger_id=trigger, view=view, patience=1)
        except FAILURES as error:
            log.warning("modal not opened", why=str(error))
            return say(_TYPE_IT, locale)
        return ""

    async def _tell(self, location: Location, words: str) -> None:
        if not location.url:
            return
        body = {"text": words, "response_type": "ephemeral", "replace_original": False}
        try:
            await self._workspace.api.respond(location.url, body)
        except InDoubt:
            return

    def _home(self, payload: Payload) -> str:
        """Of who filled a form or pressed a button: their own workspace and the place's."""
        places = [(payload.get("team") or {}).get("id"), (payload.get("view") or {}).get("team_id")]
        return events.home_of(self._workspace.team, [payload["user"].get("team_id")], places)

    def _name(self, user: str) -> str:
        return self._workspace.directory.known(user).name

    def _readable(self, text: str) -> str:
        names = {id: name for id in mentioned(text) if (name := self._name(id))}
        return readable(text, names, self._workspace.user)

    def _locale(self, location: Location) -> str:
        return nearest(self._workspace.directory.locale(location.user))


async def _until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Call `ask` until Slack answers. A refusal is raised."""

    def wait(error: Exception, failed: int) -> float:
        seconds = CONNECT_BACKOFF.after(failed)
        tell = log.warning if failed == 1 else log.debug  # once: `status` says it from then on
        tell("slack does not answer", why=str(error), wait=seconds)
        return seconds

    return await retry(ask, (InDoubt, PlatformBusy), wait)


def _memory(location: Location) -> dict[str, Any]:
    return {"channel": location.channel, "thread": location.thread, "url": location.url}


def _remembered(files: tuple[Attachment, ...]) -> list[list[Any]]:
    """Files by their ids alone, since a modal keeps few words."""
    return [[f.reference.partition(" ")[0], f.name[:60], f.type, f.size] for f in files[:5]]


def _recalled(kept: Any) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(name=str(name), type=str(type), size=int(size), reference=str(id))
        for id, name, type, size in kept or ()
    )


def _errors(block: str, words: str) -> Payload:
    return {"response_action": "errors", "errors": {block: words}}
