"""A whole Ponte for one dialogue: doubles, people, steps, crashes and the clock."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import time_machine
from pydantic import SecretStr

from bot.config.ponte_toml import read_config
from bot.ponte import Ponte
from core.base.tasks import Backoff
from core.journal.journal import Journal
from core.observability import metrics
from tests.dialogues.office import Office, office
from tests.fakes import uvicorn_pauses
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_nocodb
from tests.fakes.openai import Script
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET
from tests.guard.services import (
    Json,
    NotedRequest,
    NotingDiscord,
    NotingSlack,
    Services,
    note_bodies,
)
from tests.guard.surfaces import NAMES, DiscordSurface, PageSurface, SlackSurface, cards_of

BEGIN = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
PAGE_TOKEN = "the-token-of-the-page-of-the-guard-0123456789"
QUIET_POLLS, POLL_SECONDS = 8, 0.02
"""So many looks without a change end a step. A busy machine looks less often."""
STEP_SECONDS = 60.0
OPEN_TURNS = """
SELECT count(*) FROM inbox WHERE state IN ('new', 'running', 'answered', 'posting')
"""
OPEN_RUNS = """
SELECT (SELECT count(*) FROM schedule_runs WHERE state = 'queued')
 + (SELECT count(*) FROM schedules WHERE state = 'active' AND next_due_at <= ?)
"""
"""Runs that have not ended, and schedules that are due."""
IDS = {"inbox": ("turn", "thread"), "changes": ("id",), "schedules": ("id",), "files": ("id",),
       "threads": ("id",), "items": ("thread",), "calls": ("call_id",),
       "api_tokens": ("id",)}  # fmt: skip
"""Columns with ids that no pattern tells from a word."""
TOML = """
[quick_commands.explain]
effect = "read"
[quick_commands.translate-all]
[quick_commands.close-month]
effect = "write"
"""


@dataclass
class Step:
    """What Ponte did until nothing moved any more."""

    title: str
    made: list[NotedRequest]


@dataclass
class Stage:
    """One dialogue on one surface. Methods that act end once nothing moves any more."""

    surface: SlackSurface | DiscordSurface | PageSurface
    services: Services
    office: Office
    toml: str
    settings: Json
    clock: Any
    steps: list[Step] = field(default_factory=list)
    app: Ponte = field(init=False)
    page: httpx.AsyncClient = field(init=False)
    """The owner's client of the page."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _others: list[NotedRequest] = field(default_factory=list)
    _noted: dict[str, int] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    """Ids that Ponte had given at the end of a step. A call in small letters is a command."""

    @property
    def home(self) -> Path:
        return self.office.home

    async def open(self, *, is_first: bool = True) -> None:
        """Start Ponte on the home as it is now. Its first turn is over then, so that no step has
        the first look at the servers."""
        path = self.home.with_name(f"{self.home.name}.toml")
        keys = {who: self.surface.key(who) for who in NAMES}
        text = self.toml.replace("PLACE", self.surface.place)
        for who, key in keys.items():
            text = text.replace(who.upper(), key)
        path.write_text(TOML + text, encoding="utf-8")
        admin = "web" if isinstance(self.surface, PageSurface) else keys["bea"]
        given: Json = {
            "stackspot_client_id": CLIENT, "stackspot_client_secret": SecretStr(SECRET),
            "stackspot_realm": REALM, "stackspot_auth_url": self.services.stackspot.url,
            "stackspot_api_url": self.services.stackspot.url,
            "stackspot_agent_url": self.services.stackspot.url,
            "ponte_code": "hosted", "ponte_web_token": SecretStr(PAGE_TOKEN), "ponte_grace": 0,
            "ponte_allow": frozenset({keys["alice"], keys["bob"]}),
            "ponte_admins": frozenset({admin}), **self.surface.settings(), **self.settings,
        }  # fmt: skip
        enter = self._stack.enter_async_context
        self.app = await enter(self.office.open(read_config(path), **given))
        await self.surface.wait_until_connected()
        transport = httpx.AsyncHTTPTransport(uds=str(self.home / "ponte.sock"))
        self.terminal = await enter(
            httpx.AsyncClient(base_url="http://ponte", transport=transport, timeout=STEP_SECONDS)
        )
        self.page = await enter(self._client(PAGE_TOKEN))
        if isinstance(self.surface, PageSurface):
            self.surface.cards = self._cards
            await self._add_accounts(self.surface, enter)
        if is_first:
            warm_up = {"message": "Warm up", "conversation": "warm-up"}
            (await self.terminal.post("/chat", json=warm_up)).raise_for_status()
        await self.settle()
        self._collect_requests()

    async def _add_accounts(self, surface: PageSurface, enter: Any) -> None:
        accounts = "people/renew" if surface.clients else "people/add"
        surface.clients["bea"] = self.page
        for who in ("alice", "bob", "stan"):
            body = {"arguments": {"name": who}}
            added = await self.terminal.post(f"/operator/{accounts}", json=body)
            added.raise_for_status()
            surface.clients[who] = await enter(self._client(added.json()["token"]))

    def _client(self, token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            base_url=self.app.links()[0], headers=headers, timeout=STEP_SECONDS
        )

    async def close(self) -> None:
        """Stop Ponte. What it does meanwhile is in no step."""
        await self._stack.aclose()
        self._collect_requests()

    # What people and programs do

    async def say(self, who: str, text: str, *, settles: bool = True, **more: Any) -> None:
        """Write to Ponte (`SlackSurface.say`). `settles`: wait until all is done."""
        await self.surface.say(who, text, waits=settles, **more)
        if settles:
            await self.step(f"{who}: {text}")

    async def press(self, who: str, label: str) -> None:
        await self.surface.press(who, label)
        await self.step(f"{who} presses {label}")

    async def edit(self, text: str) -> None:
        await self.surface.edit(text)
        await self.surface.wait_for_acknowledgements()

    async def hook(self, name: str, body: Any, secret: str = PLAIN_SECRET) -> None:
        """Another program sends a delivery to a webhook."""
        headers = {**from_nocodb(), "x-hook-secret": secret}
        async with httpx.AsyncClient(base_url=self.app.links()[0], timeout=STEP_SECONDS) as program:
            answer = await program.post(f"/hooks/{name}", content=encode_body(body),
                                        headers=headers)  # fmt: skip
        self.note("hook", f"POST /hooks/{name}: {answer.status_code}", answer.json())
        await self.step(f"webhook {name}: {body}")

    async def program(self, path: str, body: Json, who: str = "bea", **headers: str) -> None:
        """A program with an API token of that person sends a request."""
        own = self.page
        if isinstance(self.surface, PageSurface):
            own = self.surface.clients[who]
        token = (await own.post("/me/tokens", json={})).json()["token"]
        async with self._client(token) as client:
            answer = await client.post(path, json=body, headers=headers)
        self.note("program", f"POST {path}: {answer.status_code}", answer.json())
        await self.step(f"program of {who}: {path} {body}")

    async def complete(self, *texts: str, who: str = "bea", **headers: str) -> None:
        """A program asks as OpenAI's clients do. The roles alternate; the last one is `user`."""
        roles = ["user" if (len(texts) - n) % 2 else "assistant" for n in range(len(texts))]
        messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
        body = {"model": "ponte", "messages": messages}
        await self.program("/v1/chat/completions", body, who, **headers)

    async def pipe(self, text: str, *, typed: bool = False, conversation: str = "pipe") -> None:
        """`ponte ask` on this machine; `typed`: `ponte chat` instead."""
        headers = {"X-Ponte-Typed": str(typed).lower()}
        body = {"message": text, "conversation": conversation}
        answer = await self.terminal.post("/chat", json=body, headers=headers)
        self.note("terminal", f"POST /chat: {answer.status_code}", answer.json())
        await self.step(f"{'terminal' if typed else 'pipe'}: {text}")

    async def operate(self, act: str, **arguments: Any) -> None:
        """The operator uses the command line."""
        answer = await self.terminal.post(f"/operator/{act}", json={"arguments": arguments})
        self.note("operator", f"{act}: {answer.status_code}", answer.json())
        await self.step(f"operator: {act} {arguments}")

    async def wait_time(self, seconds: float) -> None:
        """Let time pass, and what is due run."""
        self.clock.shift(seconds)
        self.app.engine.schedules.wake()
        await self.step(f"{seconds:.0f} s later")

    def model(self, match: str, tool: str = "", then: str = "", **arguments: Any) -> None:
        """The model calls `tool` where it reads `match`. Without a tool, it answers `then`."""
        calls = ((tool, encode_body(arguments).decode()),) if tool else ()
        self.office.openai.say(Script(then, calls=calls, match=match))

    # Crashes

    @contextmanager
    def hold(self, method: str, *, after: bool, times: int = 1) -> Iterator[asyncio.Event]:
        """Let the journal's `method` never return, the `times`th time. Yield an event that is set
        then. `after`: its effect is stored."""
        held, original, count = asyncio.Event(), getattr(Journal, method), 0

        async def hang(journal: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count != times:
                return await original(journal, *arguments, **more)
            if after:
                await original(journal, *arguments, **more)
            held.set()
            return await asyncio.Event().wait()

        with mock.patch.object(Journal, method, hang):
            yield held

    async def crash(
        self, method: str, act: Callable[[], Any], *, after: bool = True, times: int = 1
    ) -> None:
        """`act`, lose the power at that step of the journal, and start again."""
        with self.hold(method, after=after, times=times) as held:
            doing = asyncio.create_task(act())
            async with asyncio.timeout(STEP_SECONDS):
                await held.wait()
            moment = "after" if after else "before"
            await self.step(f"crash {moment} {method} {times}", open_turns=9)
            await self.lose_power()
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
        await self.open_again()

    async def lose_power(self) -> None:
        """Stop Ponte and put the home back as it is at this moment."""
        kept = self.home.with_name("kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.home, kept, ignore=shutil.ignore_patterns("*.sock", "*.db*"))
        for path in self.home.glob("*.db"):
            with (
                closing(sqlite3.connect(path)) as one,
                closing(sqlite3.connect(kept / path.name)) as other,
            ):
                one.backup(other)
        await self.close()
        shutil.rmtree(self.home)
        kept.rename(self.home)

    async def open_again(self) -> None:
        """Start Ponte on its home, and finish what was left."""
        await self.open(is_first=False)
        self.steps[-1:] = [*self.steps[-1:], Step("restarted", self._new_requests)]

    # Looking

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "ponte.db")) as connection:
            return list(connection.execute(statement))

    def newest(self, table: str) -> str:
        """Return the id of the newest change or schedule."""
        return str(self.rows(f"SELECT id FROM {table} ORDER BY rowid")[-1][0])

    def _cards(self) -> Sequence[tuple[str, Sequence[str]]]:
        answers = self.rows("SELECT answer FROM inbox WHERE answer IS NOT NULL ORDER BY seq")
        return list(cards_of([answer for (answer,) in answers]))

    def note(self, service: str, what: str, body: Any) -> None:
        self._others.append(NotedRequest(service, what, body))

    async def until(self, met: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(STEP_SECONDS):
            while not met():  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    async def until_asked(self, text: str) -> None:
        """Wait until the model's server has got this text."""
        await self.until(lambda: text in self.office.model_input())

    async def step(self, title: str, open_turns: int = 0) -> None:
        """Wait until nothing moves any more, and keep what Ponte did under this title."""
        await self.settle(open_turns)
        self._collect_requests()
        self.steps.append(Step(title, self._new_requests))

    async def settle(self, open_turns: int = 0) -> None:
        quiet, before = 0, None
        async with asyncio.timeout(STEP_SECONDS):
            await self.surface.wait_for_acknowledgements()
            with closing(sqlite3.connect(self.home / "ponte.db")) as connection:
                while quiet < QUIET_POLLS:
                    await asyncio.sleep(POLL_SECONDS)
                    (version,) = connection.execute("PRAGMA data_version").fetchone()
                    (turns,) = connection.execute(OPEN_TURNS).fetchone()
                    (runs,) = connection.execute(OPEN_RUNS, (time.time(),)).fetchone()
                    now = (version, len(self._list_all_requests()))
                    is_over = turns <= open_turns and runs <= open_turns
                    quiet = quiet + 1 if now == before and is_over else 0
                    before = now
                for table, columns in IDS.items():
                    for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                        is_name = table == "calls" and row[0].islower()
                        self.ids.update(id for id in row if id and not is_name)

    def _list_all_requests(self) -> list[NotedRequest]:
        return [*self.services.list_requests(), *self.surface.list_requests(), *self._others]

    def _collect_requests(self) -> None:
        """Set `_new_requests` to what was noted since the last call."""
        by_service: dict[str, list[NotedRequest]] = {}
        for made in self._list_all_requests():
            by_service.setdefault(made.service, []).append(made)
        self._new_requests: list[NotedRequest] = []
        for service, all_made in by_service.items():
            self._new_requests += all_made[self._noted.get(service, 0) :]
            self._noted[service] = len(all_made)


def count_metrics() -> dict[str, float]:
    """Return all counters, and how often each duration was measured."""
    return {
        f"{sample.name}{dict(sorted(sample.labels.items()))}": sample.value
        for family in metrics.registry.collect() for sample in family.samples
        if family.type in ("counter", "histogram") and sample.name.endswith(("_total", "_count"))
        and not sample.name.startswith(("process_", "python_"))
    }  # fmt: skip


@contextmanager
def steady() -> Iterator[None]:
    """Pauses that depend on the machine are so long or so short that they do not matter."""
    long_pause = mock.patch("core.chat.reply.WHOLE_ANSWER_SECONDS", 1000.0)
    with (
        uvicorn_pauses.short_pauses(), long_pause, note_bodies(), sdk_addresses(),
        mock.patch("adapters.slack.surface.SlackSurface.interval", 1000.0),
        mock.patch("adapters.discord.surface.ChannelSurface.interval", 1000.0),
        mock.patch("adapters.discord.surface.ResponseSurface.interval", 1000.0),
        mock.patch("adapters.discord.surface.ClickSurface.interval", 1000.0),
        mock.patch("adapters.discord.surface.EDIT_INTERVAL_SECONDS", 1000.0),
        mock.patch("adapters.slack.presence.SIGN_AFTER_SECONDS", 1000.0),
        mock.patch("adapters.discord.presence.SIGN_AFTER_SECONDS", 1000.0),
        mock.patch("adapters.discord.presence.HOURGLASS_AFTER_SECONDS", 1000.0),
        mock.patch("core.chat.reply.POST_BACKOFF", Backoff(0.01, max_seconds=60.0)),
        mock.patch("core.turn.origins.WAIT_SECONDS", 0.2),
        mock.patch("core.turn.origins.CONFIRM_SECONDS", 0.1),
        mock.patch("core.schedules.runs.UNKNOWN_OWNER_SECONDS", 0.2),
        mock.patch("core.schedules.runs.MAX_STATUS_WAIT_SECONDS", 0.1),
        mock.patch.dict(os.environ, {"GUARD_SECRET": PLAIN_SECRET, "LOGNAME": "owner"}),
    ):  # fmt: skip
        yield


@asynccontextmanager
async def open_stage(surface: str, folder: Path, toml: str, settings: Json) -> AsyncIterator[Stage]:
    """A stage whose Ponte is connected."""
    with steady(), time_machine.travel(BEGIN) as clock:
        async with AsyncExitStack() as stack:
            team = await stack.enter_async_context(office(folder / "home"))
            services = Services(team.openai, team.nocodb,
                                await stack.enter_async_context(FakeStackSpot()))  # fmt: skip
            there: SlackSurface | DiscordSurface | PageSurface
            if surface == "slack":
                services.slack = await stack.enter_async_context(NotingSlack())
                there = SlackSurface(services.slack)
            elif surface == "discord":
                services.discord = discord = NotingDiscord()
                await stack.enter_async_context(discord)
                there = DiscordSurface(discord)
            else:
                there = PageSurface()
            stage = Stage(there, services, team, toml, settings, clock)
            before = count_metrics()
            await stage.open()
            try:
                yield stage
            finally:
                await stage.close()
                after = count_metrics()
                stage.counts = {
                    name: value - before.get(name, 0.0) for name, value in after.items()
                    if value != before.get(name, 0.0)
                }  # fmt: skip
