"""A question to a table beside the bare call of NocoDB's API, and what tables cost in the prompt.

`python -m benchmarks.nocodb`, over a real NocoDB where one is installed, else over the fake in a
process of its own. Each side asks for the same 20 of 30 rows; ours also for how many there
are. The machine is shared: so ratios, and the median of many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from benchmarks.engine import engine
from core.base.http import HttpClient
from core.domain.rights import Viewer
from core.tools.nocodb.schema import TableDescription, format_outline
from core.tools.nocodb.source import NocoSource
from core.tools.tool import Toolbox
from tests.core.tools.scene import ctx
from tests.fakes.choices import make_message
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.real.nocodb import server
from tests.real.nocodb.seed import seed_server

Call = Callable[[], Awaitable[object]]

TIMES = 100
QUERY = '{"table":"Orders","filters":[{"field":"Paid","op":"eq","value":true}]}'
MAX_PROMPT_CHARACTERS = 200
"""Characters of a table in the prompt, at most."""


@dataclass(frozen=True, slots=True)
class Place:
    kind: str
    url: str
    token: str
    base: str


@contextlib.asynccontextmanager
async def nocodb() -> AsyncIterator[Place]:
    if not server.missing():
        with tempfile.TemporaryDirectory() as folder, server.nocodb(Path(folder)) as url:
            real = await asyncio.to_thread(seed_server, url, Path(folder))
            yield Place("a real NocoDB", url, real.editor, real.crm.id)
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.nocodb.server", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        url, token = (await process.stdout.readline()).decode().split()
        yield Place("the fake", url, token, filled.CRM)
    finally:
        process.kill()
        await process.communicate()


def bare(place: Place, http: HttpClient, table: TableDescription) -> Call:
    """The rows alone, as one asks for them by hand."""
    url = f"{place.url}/api/v3/data/{table.base}/{table.id}/records"
    params = {"where": "(Paid,checked)", "pageSize": "20"}
    headers = {"xc-token": place.token}
    return lambda: http.get_json(url, params=params, headers=headers)


async def medians(*calls: Call) -> list[float]:
    """Milliseconds of each; they take turns, so that whatever else runs slows all of them."""
    took: list[list[float]] = [[] for _ in calls]
    for number in range(TIMES + 10):
        for call, times in zip(calls, took, strict=True):
            begun = time.perf_counter()
            await call()
            if number >= 10:
                times.append((time.perf_counter() - begun) * 1000)
    return [statistics.median(times) for times in took]


async def times(place: Place, http: HttpClient, source: NocoSource) -> None:
    tool = await Toolbox([source]).find("nocodb_query")
    by_hand = bare(place, http, await source.schemas.describe_table(Viewer(), "Orders"))
    async with engine(EchoModel(), [source]) as opened:
        opened.start()
        number = 0

        async def turn() -> None:
            nonlocal number
            number += 1
            asked = make_message(f"call nocodb_query {QUERY}", f"k{number}", f"C{number}")
            answer = await opened.conversations.inbox.wait_for_answer(
                (await opened.conversations.inbox.accept(asked)).seq
            )
            assert "Source: Orders" in answer.text

        floor, *ours = await medians(by_hand, lambda: tool.run(ctx(), QUERY), turn)
    sys.stdout.write(f"{'20 rows, over ' + place.kind:44}{floor:8.2f} ms\n")
    for name, took in zip(
        (tool.spec.name, "a whole turn with an instant model"), ours, strict=True
    ):
        sys.stdout.write(f"{name:44}{took:8.2f} ms   {took / floor:5.2f} times\n")


async def prompt(source: NocoSource) -> None:
    tables = await source.schemas.describe_all(Viewer())
    lengths = [len(format_outline(table)) for table in tables]
    assert max(lengths) <= MAX_PROMPT_CHARACTERS
    sys.stdout.write(f"{'characters of a table, on demand':44}{statistics.mean(lengths):8.0f}\n")
    titles = statistics.mean(len(table.title) + len(", ") for table in tables)
    sys.stdout.write(f"{'characters of a table in every prompt':44}{titles:8.0f}\n")
    for tool in await source.tools(Viewer()):
        spec = tool.spec
        length = len(spec.description) + len(json.dumps(dict(spec.parameters)))
        sys.stdout.write(f"{'characters of ' + spec.name:44}{length:8}\n")


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with nocodb() as place, HttpClient() as http:
        source = NocoSource(place.url, place.token, http, base_id=place.base)
        await times(place, http, source)
        await prompt(source)


if __name__ == "__main__":
    asyncio.run(main())
