"""How a test talks to a fake that runs as a process of its own: JSON under `/_fake/`."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from tests.fakes.openai.script import script_from_json
from tests.fakes.openai.state import State


def add_routes(app: web.Application, state: State) -> None:
    """`script` takes a list of scripts, `set` fields of the state, `release` ends what hangs."""

    async def script(request: web.Request) -> web.Response:
        state.say(*(script_from_json(row) for row in await request.json()))
        return web.json_response({})

    async def switch(request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(state, name, set(value) if isinstance(getattr(state, name), set) else value)
        return web.json_response({})

    async def release(_: web.Request) -> web.Response:
        state.release.set()
        return web.json_response({})

    async def wait_for_failures(request: web.Request) -> web.Response:
        await state.wait_for_failures(int(request.query.get("times", 1)))
        return web.json_response({})

    async def report_state(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": [asdict(asked) for asked in state.requests],
                "conversations": {c.id: c.items for c in state.conversations.values()},
                "responses": state.responses,
                "most": state.most,
            }
        )

    app.router.add_post("/_fake/script", script)
    app.router.add_post("/_fake/set", switch)
    app.router.add_post("/_fake/release", release)
    app.router.add_get("/_fake/failed", wait_for_failures)
    app.router.add_get("/_fake/seen", report_state)
