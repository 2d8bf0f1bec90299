"""The fake Discord as a process: `python -m tests.fakes.discord [--port N]`.

Prints the three settings that point a bot at it. People are driven over HTTP:
`POST /control/dm {"person","text"}`, `GET /control/answers?person=NAME[&until=TEXT]`,
`POST /control/fault {"kind","method","path"}`, `POST /control/gateway {"do": "abort"|"forget"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from aiohttp import web

from tests.fakes.discord.faults import Fault
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord


class Controlled(FakeDiscord):
    """Its people are known by name, and made when they first speak."""

    def extend(self, app: web.Application) -> None:
        app.add_routes(
            [
                web.post("/control/dm", self._dm),
                web.get("/control/answers", self._answers),
                web.post("/control/fault", self._fault),
                web.post("/control/gateway", self._gateway),
            ]
        )

    def _person(self, name: str) -> DiscordPerson:
        known = (user for user in self.world.users.values() if user.name == name)
        found = next(known, None)
        return DiscordPerson(self, found) if found else self.user(name)

    async def _dm(self, request: web.Request) -> web.Response:
        asked = await request.json()
        message = await self._person(asked["person"]).say(asked["text"])
        return web.json_response(message["id"])

    async def _answers(self, request: web.Request) -> web.Response:
        person = self._person(request.query["person"])
        if until := request.query.get("until"):
            await person.wait_for_text(until)
        said = self.world.messages_by(self.world.me.id, person.dm.id)
        return web.json_response([message["content"] for message in said])

    async def _fault(self, request: web.Request) -> web.Response:
        self.faults.add(Fault(**await request.json()))
        return web.json_response(None)

    async def _gateway(self, request: web.Request) -> web.Response:
        asked = await request.json()
        {"abort": self.gateway.abort, "forget": self.gateway.forget}[asked["do"]]()
        return web.json_response(None)


async def main(port: int) -> None:
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    async with Controlled(port=port) as discord:
        print(f"DISCORD_TOKEN={discord.token}")
        print(f"DISCORD_API_URL={discord.api_url}")
        print(f"DISCORD_GATEWAY_URL={discord.gateway_url}", flush=True)
        await done.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
