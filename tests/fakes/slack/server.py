"""The fake Slack as a server on loopback: Web API, Socket Mode, files, response URLs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from aiohttp import web

from tests.fakes.faulty import drop_connection
from tests.fakes.loopback import serve_on_loopback
from tests.fakes.oidc import FakeProvider
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS

from .api import WebApi
from .delivery import Deliveries
from .hooks import respond
from .people import PeopleActions
from .records import APP_TOKEN, BOT_TOKEN, MENTION, Json, Post
from .workspace import Workspace

POLL_SECONDS = 0.01


class FakeSlack(PeopleActions):
    """`async with FakeSlack() as slack`: people act on it, tests look at what they see.

    `base_url` is for the bot; `api` holds limits, faults and counts, `deliveries` sockets and
    redelivery, `workspace` the channels and posts, `sign_in` who signs in with Slack.
    """

    bot = MENTION
    bot_token, app_token = BOT_TOKEN, APP_TOKEN

    def __init__(self, port: int = 0) -> None:
        workspace = Workspace(told=self._deliver_event)
        super().__init__(workspace, Deliveries())
        self.api = WebApi(workspace)
        self.api.connect = self._connect
        self.sign_in = FakeProvider(is_slack=True)
        self.echo = True
        self.after: dict[str, Callable[[], None]] = {}
        self.socket_opened = 0
        self._port = port
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._origin = ""

    @property
    def base_url(self) -> str:
        return f"{self._origin}/api/"

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a Ponte in this workspace."""
        tokens = {"SLACK_BOT_TOKEN": self.bot_token, "SLACK_APP_TOKEN": self.app_token}
        return {"SLACK_API_URL": self.base_url, **tokens}

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/api/{method}", self._api)
        app.router.add_get("/api/{method}", self._api)
        app.router.add_get("/link", self.deliveries.socket)
        app.router.add_post("/upload/{id}", self._upload)
        app.router.add_get("/files-pri/{id}/{name:.*}", self._download)
        app.router.add_post("/response/{id}", self._response)
        self.sign_in.add_routes(app)
        self._runner, self._origin = await serve_on_loopback(app, self._port)
        self.sign_in.origin = self._origin
        self.workspace.origin = self._origin
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deliveries.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def finished_answers(self, said: Post) -> list[Post]:
        """Return the bot's finished posts in the thread of `said`, after it."""
        root = said.thread_ts or said.ts
        since = [p for p in self.workspace.by_bot(said.channel, root) if p.ts > said.ts]
        return [p for p in since if not self.is_in_progress(p)]

    def is_in_progress(self, post: Post) -> bool:
        """Tell whether people see that the post is still in progress."""
        working = self.workspace.sessions.get((post.channel, post.thread_ts)) == "processing"
        return working or post.stream is not None or "Stop" in post.buttons

    async def wait_for_answer(
        self, said: Post, number: int = 1, seconds: float | None = HANG_TIMEOUT_SECONDS
    ) -> Post:
        """Wait for the bot's finished post number `number`."""
        await self.wait_until(lambda: len(self.finished_answers(said)) >= number, seconds)
        return self.finished_answers(said)[number - 1]

    async def wait_for_answers(
        self, said: Post, *texts: str, seconds: float | None = HANG_TIMEOUT_SECONDS
    ) -> None:
        """Wait until the finished answers to `said` have exactly these texts."""
        await self.wait_until(
            lambda: [p.visible_text for p in self.finished_answers(said)] == list(texts), seconds
        )

    async def wait_until(
        self, true: Callable[[], object], seconds: float | None = HANG_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `true()` is true; it is called again after each request."""
        async with asyncio.timeout(seconds):
            while not true():
                self._changed.clear()
                # Not asyncio.wait_for: in Python 3.11 it swallows a timeout around it if the event
                # is set at that moment (github.com/python/cpython/issues/86296).
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._changed.wait()

    def ephemeral_posts(self, channel: str) -> list[Post]:
        """Return the ephemeral posts of a channel, oldest first."""
        posts = self.workspace.posts.values()
        return [post for post in posts if post.channel == channel and post.seen_by]

    def _deliver_event(self, kind: str, event: Json) -> None:
        if self.echo and (self.deliveries.sockets or self.deliveries.request_url):
            self.event(event)

    def _connect(self) -> str:
        self.socket_opened += 1
        return f"ws{self._origin.removeprefix('http')}/link?ticket=secret-ticket"

    async def _api(self, request: web.Request) -> web.StreamResponse:
        response = await self.api.handle(request)
        if act := self.after.get(request.match_info["method"]):
            act()
        self._changed.set()
        return response

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        file = self.workspace.files.get(request.match_info["id"])
        fault = self.api.faults.take("upload")
        if file is None or fault:
            # Slack returns 200 only for an upload that succeeded
            # (docs.slack.dev/reference/methods/files.getUploadURLExternal).
            return web.Response(status=int(fault.how) if fault else 404)
        body = await request.post() if request.content_type.startswith("multipart") else {}
        part = next(iter(body.values()), None)
        file.data = part.file.read() if isinstance(part, web.FileField) else await request.read()
        return web.Response(text=f"OK - {len(file.data)}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self.api.calls["download"] += 1
        await self.api.pass_gate("download")
        file = self.workspace.files.get(request.match_info["id"])
        fault = self.api.faults.take("download")
        if fault and fault.how == "html":
            return web.Response(text="<html>Sign in to Slack</html>", content_type="text/html")
        if fault and fault.how == "cut":
            return drop_connection(request)
        if request.headers.get("Authorization") != f"Bearer {self.api.token}":
            return web.Response(status=302, headers={"Location": f"{self._origin}/login"})
        if file is None or fault:
            return web.Response(status=500 if fault else 404)
        return web.Response(body=file.data, content_type=file.mimetype)

    async def _response(self, request: web.Request) -> web.StreamResponse:
        hook = self.workspace.hooks.get(request.match_info["id"])
        if hook is None:
            return web.Response(status=404)
        answer = respond(self.workspace, hook, await request.json())
        self._changed.set()
        return answer
