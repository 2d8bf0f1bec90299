"""The fake Discord as a server on loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.fakes.discord.clock import Clock
from tests.fakes.discord.faults import Fault, Faults
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.interactions import Interactions
from tests.fakes.discord.limits import CODES, DiscordErrorResponse
from tests.fakes.discord.messages import MESSAGE_CONTENT
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.rest import Rest, answer
from tests.fakes.discord.world import FORUM, GROUP, TEXT, Channel, Guild, Payload, World
from tests.fakes.gate import Gate
from tests.fakes.loopback import serve_on_loopback
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS

Handler = Any  # aiohttp's own name for it is private


class FakeDiscord:
    """`token`, `api_url` and `gateway_url` are what the bot is given."""

    def __init__(self, token: str = "fake.discord.token", port: int = 0) -> None:
        self.token = token
        self.clock = Clock()
        self.world = World(self.clock)
        self.gateway = Gateway(self.world, token)
        self.faults = Faults()
        self.rest = Rest(self.world, self.gateway, self.faults)
        self.interactions = Interactions(self.rest)
        self.calls: list[tuple[str, str]] = []
        self.downloads = 0
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a Ponte that uses this Discord."""
        addresses = {"DISCORD_API_URL": self.api_url, "DISCORD_GATEWAY_URL": self.gateway_url}
        return {"DISCORD_TOKEN": self.token, **addresses}

    async def __aenter__(self) -> FakeDiscord:
        app = web.Application(middlewares=[self._meet], client_max_size=64 * 1024 * 1024)
        app.add_routes(self.rest.routes())
        app.add_routes(self.interactions.routes())
        app.add_routes([web.get("/gateway", self.gateway.handle)])
        app.add_routes([web.get("/cdn/attachments/{channel}/{file}/{name}", self._download)])
        self._runner, self.rest.base = await serve_on_loopback(app, self._port)
        self.api_url = f"{self.rest.base}/api/v10"
        self.gateway_url = self.gateway.url = f"ws{self.rest.base.removeprefix('http')}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gateway.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every call passes here: rights, limits, faults before and after its effect."""
        if not request.path.startswith("/api/"):
            response: web.StreamResponse = await handler(request)
            return response
        path = request.path.removeprefix("/api/v10")
        self.calls.append((request.method, path))
        await self.world.notify()
        with_token = path.startswith(("/interactions/", "/webhooks/"))
        if not with_token and request.headers.get("Authorization") != f"Bot {self.token}":
            return answer({"message": "401: Unauthorized", "code": 0}, 401)
        limited = self._limit(request)
        if limited is not None:
            await self.world.notify()
            return limited
        fault = self.faults.take(request, "refuse")
        if fault is not None:
            await self.world.notify()
            words = CODES.get(fault.code, (0, "of which no page tells"))[1]
            return answer({"message": words, "code": fault.code}, fault.status)
        return await self._effect(request, handler)

    async def _effect(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except DiscordErrorResponse as refused:
            await self.world.notify()
            body = {"message": str(refused), "code": refused.code}
            return answer(body, refused.status)
        except web.HTTPNotFound:
            return answer({"message": "404: Not Found", "code": 0}, 404)
        await self.faults.passing()
        fault = self.faults.take(request, "lose", "break", "hold")
        if fault is not None and fault.kind == "hold":
            await fault.gate.wait()
        elif fault is not None and fault.kind == "break":
            return answer({"message": "502: Bad Gateway", "code": 0}, 502)
        elif fault is not None and request.transport is not None:
            request.transport.close()
        bucket = self.faults.window(request)
        if bucket is not None and self.faults.announced:
            response.headers.update(bucket[1].headers(self.clock.now(), bucket[0]))
        return response

    def _limit(self, request: web.Request) -> web.Response | None:
        bucket = self.faults.window(request)
        wait = bucket[1].take(self.clock.now()) if bucket else 0.0
        if bucket is None or not wait:
            return None
        self.faults.refused.append((request.method, request.path))
        limited = answer(
            {"message": "You are being rate limited.", "retry_after": wait, "global": False}, 429
        )
        # Without Via discord.py takes a 429 for a ban by the network in front of Discord.
        limited.headers.update({"Via": "1.1 google", "Retry-After": f"{wait:.3f}"})
        if self.faults.announced:
            limited.headers.update(bucket[1].headers(self.clock.now(), bucket[0]))
        return limited

    async def _download(self, request: web.Request) -> web.Response:
        self.downloads += 1
        fault = self.faults.take(request, "refuse")
        if fault is not None:
            return web.Response(status=fault.status)
        data = self.world.files.get(int(request.match_info["file"]))
        return web.Response(status=404) if data is None else web.Response(body=data)

    def user(self, name: str) -> DiscordPerson:
        return DiscordPerson(self, self.world.user(name))

    def guild(self, name: str, *people: DiscordPerson, with_bot: bool = True, **more: Any) -> Guild:
        guild = Guild(self.clock.snowflake(), name, with_bot=with_bot, **more)
        guild.members = {person.id for person in people}
        guild.own_role = self.clock.snowflake() if with_bot else 0
        guild.permissions &= ~self.world.denied_permissions
        self.world.guilds[guild.id] = guild
        return guild

    def text_channel(self, guild: Guild, name: str) -> Channel:
        return self.world.channel(type=TEXT, name=name, guild=guild)

    def forum(self, guild: Guild, name: str) -> Channel:
        return self.world.channel(type=FORUM, name=name, guild=guild)

    def group_dm(self, *people: DiscordPerson) -> Channel:
        return self.world.channel(type=GROUP, recipients=tuple(person.id for person in people))

    def command(self, name: str) -> Payload:
        return next(command for command in self.rest.commands if command["name"] == name)

    def grant_message_content(self) -> None:
        self.gateway.granted |= MESSAGE_CONTENT

    def refuse(self, method: str, path: str, status: int, code: int = 0, times: int = 1) -> None:
        """With `code` 0: what stands in front of Discord, or the code for "general error"."""
        self.faults.add(Fault("refuse", method, path, times, status, code))

    def lose(self, method: str, path: str, times: int = 1) -> None:
        """The call has its effect, but the connection goes before the answer."""
        self.faults.add(Fault("lose", method, path, times))

    def break_after(self, method: str, path: str, times: int = 1) -> None:
        """The call has its effect, but the answer is a 502."""
        self.faults.add(Fault("break", method, path, times))

    def hold(self, method: str, path: str) -> Gate:
        """The call has its effect, but the answer waits for `release`."""
        return self.faults.add(Fault("hold", method, path)).gate

    def hold_call(self, number: int) -> Gate:
        """The `number`th call from now on has its effect, but its answer waits."""
        return self.faults.hold_call(number)

    async def wait_until(
        self, met: Callable[[], object], timeout: float | None = HANG_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `met()` is true for this world."""
        await self.world.wait_until(met, timeout)
