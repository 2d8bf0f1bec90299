"""Slack as a `Platform`: over Socket Mode, or over signed HTTP behind the web adapter's server."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from adapters.slack import home
from adapters.slack.api import SlackApi
from adapters.slack.around import Around
from adapters.slack.check import socket_url
from adapters.slack.company import Company
from adapters.slack.directory import Directory
from adapters.slack.directs import Directs
from adapters.slack.downloads import Downloads
from adapters.slack.events import author_home
from adapters.slack.intake import Customs, Intake
from adapters.slack.interactions import Interactions
from adapters.slack.markup import Links
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.surface import ChatSurface
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy, SettingsError
from core.messages import Address, Attachment, File, Message, Person, ReplyTo
from core.ports import Files, Inbox, Journal, Policy, Posts, StatusBoard, ThreadMap
from core.posting import PostedReply
from core.proxies import Proxies
from core.records import Health
from core.words import nearest

if TYPE_CHECKING:
    from slack_bolt.app.async_app import AsyncApp

    from adapters.slack.bolt import Socket

log = structlog.get_logger("slack")
T = TypeVar("T")
SILENCE = 90.0
"""Seconds without a frame of any kind after which a connection counts as deaf."""
PATIENCE = 15.0
"""Seconds that the start of everything else waits for Slack."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`app_token` for Socket Mode; without it `signing_secret` for HTTP."""

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Ports:
    """What the adapter works with. `removed` is told the id of a post that a person deleted."""

    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    board: StatusBoard
    policy: Policy
    removed: Callable[[str], Awaitable[None]]


class SlackAdapter:
    name = "slack"

    def __init__(
        self, credentials: Credentials, ports: Ports, *, api_url: str = "https://slack.com/api/",
        proxies: Proxies | None = None, customs: Customs | None = None, links: Links | None = None,
        home: Path | None = None,
    ) -> None:  # fmt: skip
        """`home`: where people's names are kept over restarts. Raises SettingsError where neither a
        socket nor HTTP is possible."""
        if not credentials.app_token and not credentials.signing_secret:
            raise SettingsError("Slack needs SLACK_APP_TOKEN (Socket Mode) or "
                                "SLACK_SIGNING_SECRET (HTTP).")  # fmt: skip
        self._credentials = credentials
        self._ports = ports
        self._proxies = proxies or Proxies()
        api = SlackApi(credentials.bot_token, api_url, self._proxies)
        directory = Directory(api, home / "slack-people.json" if home else None)
        workspace = self._workspace = Workspace(api, directory, links or Links())
        self._downloads = Downloads(workspace, ports.files)
        directs = Directs(workspace, ports.journal)
        company = Company(
            workspace, ports.threads, lambda *said: self._intake.say_that_we_wait(*said)
        )
        self._around = Around(workspace, company)
        self._intake = Intake(
            workspace, ports.inbox, company, directs, self._downloads, customs or Customs(),
            ports.removed,
        )  # fmt: skip
        workspace.stopped = self._intake.stop
        self._interactions = Interactions(
            workspace, directs, ports.inbox, ports.board, ports.policy
        )
        self._bolt: Any = None
        self._app: AsyncApp | None = None
        self._socket: Socket | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._open = False

    @property
    def opened(self) -> bool:
        """Whether events may come in."""
        return self._open

    def reply(self, to: ReplyTo, posts: Posts) -> PostedReply:
        surface = ChatSurface(self._workspace, self._ports.files, to)
        return PostedReply(surface, posts, to.turn, surface.pause, surface.whole)

    async def start(self) -> None:
        """Raises SettingsError for a refused token. Where Slack does not answer, the rest of
        Ponte starts, and this goes on trying."""
        await asyncio.gather(self._workspace.api.open(), self._workspace.directory.open())
        self._bolt = await asyncio.to_thread(importlib.import_module, "adapters.slack.bolt")
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
        answer: tuple[int, Mapping[str, str], bytes] = await self._bolt.dispatch(
            self._app, headers, body
        )
        return answer

    async def health(self) -> Health:
        off = self._workspace.latches.words
        if word := self._workspace.api.refused:
            return Health("slack", "failing", f"Slack refuses the token ({word}): answers wait")
        if word := self._workspace.directory.trouble:
            words = f"users.info: {word}, so that nobody is known to be a member"
            return Health("slack", "failing", words)
        if self._socket is None:
            state: Literal["on", "failing"] = "on" if self._open else "failing"
            return Health("slack", state, "; ".join(filter(None, ["HTTP, /slack/events", off])))
        silent = time.time() - self._socket.heard_at
        if not self._socket.connected:
            return Health("slack", "failing", "the socket is down; it is being opened again")
        if silent > SILENCE:
            return Health("slack", "failing", f"connected, but deaf for {silent:.0f} s")
        return Health("slack", "on", "; ".join(filter(None, ["Socket Mode", off])))

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` port."""
        return await self._downloads.fetch(message, attachment)

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` port."""
        return await self._around.look_up(message, pointed)

    async def membership(self, person: Person) -> frozenset[str]:
        """The `Membership` port: user groups."""
        return await self._workspace.directory.membership(person)

    async def guest(self, person: Person) -> bool | None:
        """The `Guests` port."""
        return await self._workspace.directory.guest(person, self._workspace.team)

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
        told = await _patiently(self._workspace.identify)
        self._app = self._bolt.build(
            await self._workspace.api.open(),
            self._bolt.authorized(told, self._credentials.bot_token),
            self._credentials.signing_secret, self._take, self._interactions,
        )  # fmt: skip
        if token := self._credentials.app_token:
            app_api = SlackApi(token, self._workspace.api.base_url, self._proxies)
            try:
                url = await _patiently(lambda: socket_url(app_api))
            finally:
                await app_api.close()
            self._socket = self._bolt.Socket(self._app, token, self._proxies.for_url(url))
            await self._socket.open(url)
        self._open = True

    async def _take(self, body: Mapping[str, Any]) -> None:
        event = body.get("event") or {}
        if event.get("type") == "app_home_opened":
            if event.get("tab") == "home":
                self._workspace.tasks.start(self._show_home(body, event))
            return
        await self._intake.take(body)

    async def _show_home(self, body: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        user, team = str(event["user"]), self._workspace.team
        profile = (await self._workspace.directory.profiles([user]))[user]
        person = Person("slack", user, author_home(team, body, event), profile.name)
        where = Address("slack", str(event.get("channel", "")), team)
        shown = await home.view(
            self._ports.board, self._ports.policy, person, where, nearest(profile.locale)
        )
        try:
            await self._workspace.api.call("views.publish", user_id=user, view=shown)
        except (SlackRefused, InDoubt, PlatformBusy) as error:
            log.warning("home not shown", why=str(error))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Again until Slack answers; what it refuses comes through."""
    wait = 1.0
    while True:
        try:
            return await ask()
        except (InDoubt, PlatformBusy) as error:
            log.warning("slack does not answer", why=str(error), wait=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 30.0)
