"""A complete bot that tests kill: the embedded engine between a recording platform and its tables.

`python -m tests.fakes.victim HOME PLATFORM_URL [--bridge URL | "--nocodb=URL TOKEN BASE"]
[--model URL] [--die-after-accept N] [--die-at-commit N:before|inside|after] [--grace S]
[--counted NAME...] [--uncounted NAME...] [--postgres URL]` prints its own URL. The platform sends
it messages (`POST /events`): 200 is the acknowledgement. `POST /answers` waits for an answer that
was asked for before. SIGTERM drains.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import aiohttp
import structlog
from aiohttp import web

from bot import stores as stores_module
from bot.engine import Engine
from bot.home import Home
from bot.stores import Stores
from core.base.errors import NotStored
from core.base.http import HttpClient
from core.base.openai import ModelEndpoint, ModelServerClient
from core.chat.reply import GrowingReply
from core.domain.messages import File, Message, ReplyTo, decode_json, encode_json
from core.domain.model_rounds import RoundRequest
from core.domain.ports import PostJournal, ReadFile, Reply
from core.domain.records import Remote
from core.models.model_server import ModelOptions
from core.models.served_model import ServedModel
from core.money.allowances import Allowance
from core.money.usage import Price, Prices
from core.store.database import SqlConnection, SqliteDatabase
from core.store.postgres import PostgresDatabase
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from tests.fakes.choices import make_choices, make_spending, open_engine
from tests.fakes.loopback import serve_on_loopback
from tests.fakes.models import EchoModel
from tests.fakes.recorder import RecordingSurface
from tests.fakes.recorder_server import RemoteRecorder
from tests.fakes.stackspot_parts import stackspot_choices

T = TypeVar("T")
ALLOWED = (Allowance("everybody", "month", money=10**15, tokens=10**9),)
PRICES = Prices({"gpt-6-luna": Price(1.0, 0.1, 1.25, 4.0)}, official=False)
"""So that the books are kept."""


UPKEEP = (
    "SqlFiles.sweep",
    "SqlInbox.purge",
    "in_batches",
    "Jobs.",
    "OwnProcess.",
    "delete_leftovers",
)


class Death:
    """The commit at which this process dies, counted from the first event on. Commits of upkeep
    alone, which come when they come, do not count. `counted` and `uncounted` are beginnings of the
    names of transactions."""

    number = 0
    moment = ""
    counted: Sequence[str] = ("",)
    uncounted = UPKEEP
    has_event = False
    commits = 0
    lock = threading.Lock()

    def is_next(self, works: Sequence[Callable[..., Any]]) -> bool:
        """Count a commit of these transactions; return whether this process dies at it."""
        names = [name_work(work) for work in works]
        counted = [one for one in names if one.startswith(tuple(self.counted))]
        if not self.has_event or all(one.startswith(self.uncounted) for one in counted):
            return False
        with self.lock:
            self.commits += 1
            return self.commits == self.number


DEATH = Death()


def name_work(work: Callable[..., Any]) -> str:
    """Return the name of the function that a transaction runs."""
    name = str(getattr(getattr(work, "func", work), "__qualname__", ""))
    if name.startswith("transaction."):  # a method with `@transaction`
        return str(inspect.getclosurevars(work).nonlocals["method"].__qualname__)
    return name


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class FragileSqlite(SqliteDatabase):
    """Dies at the commit of DEATH."""

    def _commit(self, batch: list[Any]) -> None:
        if not DEATH.is_next([job.work for job in batch]):
            return super()._commit(batch)
        if DEATH.moment == "inside":
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_in_savepoint(self._connection, job)
        elif DEATH.moment == "after":
            super()._commit(batch)
        die()


class FragilePostgres(PostgresDatabase):
    """Dies at the commit of DEATH."""

    def _transact_once(self, work: Callable[[SqlConnection], T], reads: bool, single: bool) -> T:
        if reads or not DEATH.is_next([work]):
            return super()._transact_once(work, reads, single)
        if DEATH.moment == "before":
            die()

        def work_and_die(connection: SqlConnection) -> NoReturn:
            work(connection)
            die()

        if DEATH.moment == "inside":
            super()._transact_once(work_and_die, reads, single)
        super()._transact_once(work, reads, single)
        die()


Tables = Callable[[HttpClient, ReadFile], Sequence[BridgeSource | NocoSource]]


class Intake:
    """The platform's endpoint. It stores a message before it acknowledges it, or dies in
    between."""

    def __init__(self, engine: Engine, die_after: int) -> None:
        self._engine = engine
        self._die_after = die_after
        self._accepted = 0

    async def event(self, request: web.Request) -> web.Response:
        DEATH.has_event = True
        try:
            receipt = await self._engine.conversations.inbox.accept(
                decode_json(Message, await request.read())
            )
        except NotStored:
            return web.json_response(None, status=503)
        self._accepted += 1
        if self._accepted == self._die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return web.json_response(receipt.seq)

    async def answer(self, request: web.Request) -> web.Response:
        receipt = await self._engine.conversations.inbox.accept(
            decode_json(Message, await request.read())
        )
        return web.Response(
            text=encode_json(await self._engine.conversations.inbox.wait_for_answer(receipt.seq))
        )


def tables_of(
    bridge: str, nocodb: Sequence[str] | None, http: HttpClient, read_file: ReadFile
) -> Sequence[BridgeSource | NocoSource]:
    if nocodb:
        url, token, base = nocodb
        return [NocoSource(url, token, http, base_id=base, read_file=read_file)]
    return [BridgeSource(bridge, "", http)] if bridge else []


def make_served_model(base_url: str) -> ServedModel:
    async def late(thread: str, remote: Remote) -> None:
        raise AssertionError("nobody stops a turn here")

    return ServedModel(
        ModelServerClient(ModelEndpoint("sk-test", base_url)),
        ModelOptions(),
        record_object_to_erase=late,
    )


async def main(
    home: Path,
    platform: str,
    tables: Tables,
    stackspot: str,
    model_url: str,
    die_after: int,
    grace: float,
    postgres: str,
) -> None:
    end_event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end_event.set)
    timeout = aiohttp.ClientTimeout(total=None)
    with Home(home).take():
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            HttpClient() as http,
            AsyncExitStack() as stack,
        ):
            recorder = RemoteRecorder(platform, session)

            async def gate(ask: RoundRequest) -> None:
                await recorder.gate(ask.turn, ask.number)

            def reply(to: ReplyTo, posts: PostJournal) -> Reply:
                return GrowingReply(RecordingSurface(recorder, to), posts, to.turn)

            async def read_file(id: str) -> tuple[File, bytes]:
                return await engine.conversations.files.get(id)

            sources = tables(http, read_file)
            appliers = [source.rows for source in sources]
            model = make_served_model(model_url) if model_url else EchoModel(gate=gate)
            choices = make_choices(model, sources, None, appliers)
            if stackspot:
                choices = await stack.enter_async_context(stackspot_choices(stackspot, model=model))
            choices = replace(choices, spending=make_spending(allowances=ALLOWED, prices=PRICES))
            stores = await Stores.open_shared(postgres) if postgres else None
            engine = await open_engine(home, choices, stores)
            engine.platforms.replies["web"] = reply
            intake = Intake(engine, die_after)
            engine.start()
            app = web.Application()
            app.router.add_post("/events", intake.event)
            app.router.add_post("/answers", intake.answer)
            runner, origin = await serve_on_loopback(app)
            print(origin, flush=True)
            await end_event.wait()
            await engine.drain(grace)
            await runner.cleanup()
            await engine.close()
            await model.close()


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("platform")
    parser.add_argument("--bridge", default="")
    # One argument: a token of NocoDB's can begin with "-", which would be an option by itself.
    parser.add_argument("--nocodb", type=str.split, metavar="URL TOKEN BASE")
    parser.add_argument("--stackspot", default="", help="a StackSpot, in the bridge's place")
    parser.add_argument("--model", default="", help="a server with OpenAI's API")
    parser.add_argument("--die-after-accept", type=int, default=0)
    parser.add_argument("--die-at-commit", default="0:")
    parser.add_argument("--counted", nargs="*", default=("",))
    parser.add_argument("--uncounted", nargs="*", default=())
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("--postgres", default="", help="instead of the home's own database")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    asked = parse_arguments(sys.argv[1:])
    number, DEATH.moment = asked.die_at_commit.split(":")
    DEATH.number, DEATH.counted = int(number), asked.counted
    DEATH.uncounted += tuple(asked.uncounted)
    vars(stores_module).update(SqliteDatabase=FragileSqlite, PostgresDatabase=FragilePostgres)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(
        main(
            asked.home,
            asked.platform,
            partial(tables_of, asked.bridge, asked.nocodb),
            asked.stackspot,
            asked.model,
            asked.die_after_accept,
            asked.grace,
            asked.postgres,
        )
    )
