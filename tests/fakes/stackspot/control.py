"""How a test talks to a fake that runs as a process of its own: JSON under `/_fake/`."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from tests.fakes.stackspot.script import run_from_json
from tests.fakes.stackspot.state import State, Trouble


def add_routes(app: web.Application, state: State) -> None:
    """`go` takes scripts, `fail` [kind, trouble] pairs, `set` fields; `seen` waits for requests."""

    async def go(request: web.Request) -> web.Response:
        state.go(*(run_from_json(row) for row in await request.json()))
        return web.json_response({})

    async def fail(request: web.Request) -> web.Response:
        for kind, trouble in await request.json():
            state.fail(kind, Trouble(**trouble))
        return web.json_response({})

    async def switch(request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(state, name, set(value) if isinstance(getattr(state, name), set) else value)
        return web.json_response({})

    async def report_state(request: web.Request) -> web.Response:
        if kind := request.query.get("kind"):
            await state.wait_for_requests(kind, int(request.query.get("times", 1)))
        executions = [asdict(each) for each in state.executions.values()]
        requests = [asdict(each) for each in state.requests]
        return web.json_response(
            {"requests": requests, "executions": executions, "refused": state.refused}
        )

    app.router.add_post("/_fake/go", go)
    app.router.add_post("/_fake/fail", fail)
    app.router.add_post("/_fake/set", switch)
    app.router.add_get("/_fake/seen", report_state)
