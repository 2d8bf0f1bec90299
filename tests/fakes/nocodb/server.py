"""A NocoDB on loopback that keeps to what 0.301.3 does, and fails when it is told to.

What it does not know is a 404 as over there, or is refused: it never guesses. The suite in
`tests/nocodb` runs over it and over a real one. `python -m tests.fakes.nocodb.server --port N` runs
it by itself with the tests' tables, and prints its URL and a token.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from tests.fakes.faulty import FaultyServer, Trouble
from tests.fakes.nocodb import rows
from tests.fakes.nocodb.aggregates import aggregate
from tests.fakes.nocodb.answers import NocoDBErrorResponse
from tests.fakes.nocodb.call import Call, World
from tests.fakes.nocodb.filled import OWNER, make_world
from tests.fakes.nocodb.tables import describe
from tests.fakes.nocodb.values import find_path


@dataclass(frozen=True, slots=True)
class NocoDBCall:
    """A request with a token that is known; `succeeded`: it was answered with 200."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    agent: str
    succeeded: bool


class FakeNocoDB(FaultyServer):
    """`calls` are all of them, in order; `world` is what it holds, there to be changed. `lacks` are
    ends of paths that this version does not have. npm's package tells no `version`."""

    def __init__(
        self, world: World | None = None, lacks: tuple[str, ...] = (), version: str = ""
    ) -> None:
        super().__init__()
        self.version = version
        self.lacks = lacks
        self.world = world or make_world()
        self.calls: list[NocoDBCall] = []
        self.after_pages: list[Callable[[], object]] = []
        """What others do to the tables after the next pages of rows, one after each."""
        self.downloads: list[Mapping[str, str]] = []
        """The headers of each request for a file."""
        self.moved = ""

    @property
    def write_calls(self) -> list[str]:
        """The method and kind of each call that changed something, as "PATCH records"."""
        return [
            f"{call.method} {_kind_of(call.path)}"
            for call in self.calls
            if call.succeeded and call.method != "GET"
        ]

    def fail(self, times: int, status: int, body: object = None, **headers: str) -> None:
        """Answer the next calls with `status` and do nothing. `headers` with _ for -."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.trouble(*[Trouble("status", status, body, names)] * times)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        base, data = "/api/v3/meta/bases/{base}", "/api/v3/data/{base}/{table}"
        each: dict[str, Callable[[Call], object]] = {
            "GET /api/v2/meta/bases": self._list_bases,
            "GET /api/v1/auth/user/me": self._me,
            "GET /api/v1/version": lambda call: {
                **({"currentVersion": self.version} if self.version else {}),
                "releaseVersion": None,
            },
            f"GET {base}/tables": lambda call: {
                "list": [
                    {"id": each.id, "title": each.title, **describe(each.description)}
                    for each in call.base.tables.values()
                ]
            },
            f"GET {base}/tables/{{table}}": lambda call: call.table.to_json(call.base),
            f"GET {data}/count": lambda call: {"count": len(call.matching_ids())},
            f"GET {data}/records": rows.page,
            f"GET {data}/records/{{row}}": lambda call: call.table.row_json(call.row, call.only),
            f"POST {data}/records": rows.create,
            f"PATCH {data}/records": rows.update,
            f"DELETE {data}/records": rows.delete,
            "PATCH /api/v2/tables/{table}/records": rows.attach,
            "POST /api/v2/storage/upload": rows.upload,
            f"GET {data}/links/{{field}}/{{row}}": rows.links,
            "GET /api/v2/tables/{table}/aggregate": aggregate,
            f"POST {data}/links/{{field}}/{{row}}": rows.link,
            f"DELETE {data}/links/{{field}}/{{row}}": rows.unlink,
        }
        for names, answer in each.items():
            method, path = names.split()
            if self.lacks and path.endswith(self.lacks):
                continue
            yield web.route(method, path, self._handler(answer))
        for name in ("dltemp", "download"):
            yield web.get(f"/{name}/{{rest:.*}}", self._download)
        yield web.route("*", "/{rest:.*}", self._unknown)

    def _handler(
        self, answer: Callable[[Call], object]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            # Read first: a call that has arrived has its effect, also if its caller dies.
            is_form = request.content_type == "multipart/form-data"
            files = await _read_files(request) if is_form else ()
            call = Call(self.world, request, "" if is_form else await request.text(), files)
            trouble = await self.take_trouble(
                "upload" if request.path.endswith("/upload") else request.method
            )
            outcome = trouble is None or trouble.kind == "after"
            response = _respond(call, answer) if outcome else web.Response()
            outcome = outcome and response.status == 200
            agent = request.headers.get("User-Agent", "")
            query, text = dict(request.query), call.text
            body = json.loads(text) if text else None
            self.calls.append(NocoDBCall(request.method, request.path, query, body, agent, outcome))
            if request.method == "GET" and request.path.endswith("/records") and self.after_pages:
                self.after_pages.pop(0)()
            await self.count_finished_call()
            return trouble.answer(request) if trouble else response

        return handle

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Need no token, as long as the path is signed. `moved` is where it redirects to."""
        self.downloads.append(dict(request.headers))
        trouble = await self.take_trouble("download")
        if trouble:
            return trouble.answer(request)
        if self.moved:
            raise web.HTTPFound(self.moved)
        data = self.world.files.get(find_path(request.path.lstrip("/")))
        if data is None:
            return web.Response(status=404, text="Not found", content_type="text/html")
        return web.Response(body=data, content_type="application/octet-stream")

    async def _unknown(self, request: web.Request) -> web.Response:
        words = f"Cannot {request.method} {request.path}"
        return NocoDBErrorResponse(404, "NOT_FOUND", words).answer()

    def _list_bases(self, call: Call) -> object:
        return {"list": [base.to_json() for base in call.visible_bases]}

    def _me(self, call: Call) -> object:
        role = call.user.roles.get(call.request.query.get("base_id", ""))
        return {"email": "bot@example.com", "base_roles": {role: True} if role else None}


def _kind_of(path: str) -> str:
    return "links" if "/links/" in path else "upload" if path.endswith("/upload") else "records"


async def _read_files(request: web.Request) -> list[tuple[str, str, bytes]]:
    """Return the name, type and bytes of each file in a multipart form."""
    files = list[tuple[str, str, bytes]]()
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.filename is not None:
            type = part.headers.get("Content-Type", "")
            files.append((part.filename, type, bytes(await part.read())))
    return files


def _respond(call: Call, answer: Callable[[Call], object]) -> web.Response:
    try:
        return web.json_response(answer(call))
    except NocoDBErrorResponse as refused:
        return refused.answer()


async def main(port: int) -> None:
    nocodb = FakeNocoDB()
    await nocodb.start(port)
    print(nocodb.origin, OWNER, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A NocoDB with three tables, to try Ponte on.")
    arguments.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.parse_args().port))
