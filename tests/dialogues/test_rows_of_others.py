"""A turn gives the model what its asker may read now, whoever asked before in that thread."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from core.changes.approval import TableRules
from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.domain.records import ToolContext
from core.models.served_model import Level
from core.ports.tools import ToolSource
from core.rights.policy import AccessPolicy
from core.rights.rules import Rule, RuleBook
from core.tools.code.port import InputFile, RunResult
from core.tools.code.source import CodeSource
from core.tools.nocodb.source import TableSource
from core.tools.sample import open_sample_base
from core.tools.sample.source import SampleDriver
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.fakes.choices import allow_list, supplier
from tests.fakes.code import FakeBackend
from tests.fakes.openai import FakeOpenAI, Script

on_each_engine = pytest.mark.parametrize("bot_home", ["home", "postgres"], indirect=True)
levels = pytest.mark.parametrize("level", list(WITHOUT))
places = pytest.mark.parametrize("platform", ["slack", "discord", "web"])
INVOICE = "INV-"
"""How the numbers of invoices begin. Nothing else contains it."""
PRODUCT = "Coffee mug"
ANSWERED = "Most of them are paid."
NOTE = "I left out earlier results in this conversation that you can't read."
INVOICES = ("nocodb_query", json.dumps({"table": "Invoices", "export": True}))
PRODUCTS = ("nocodb_query", json.dumps({"table": "Products"}))
TABLES = ("nocodb_tables", "{}")
CODE = ("run_python", json.dumps({"code": "rows = 1"}))


class Sandbox(FakeBackend):
    """Counts the runs of each kernel, and records the files of each run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, int] = {}
        self.files: list[list[str]] = []

    async def run(self, ctx: ToolContext, code: str, given: Sequence[InputFile]) -> RunResult:
        kernel = ctx.memory_id
        self.runs[kernel] = self.runs.get(kernel, 0) + 1
        self.files.append([each.name for each in given])
        return RunResult(value=f"run {self.runs[kernel]}")


class Shop(TableSource):
    name = "shop"
    description = "The tables of {base}"


@dataclass
class Thread:
    """A thread of `platform`: the boss may read invoices, and the member may not. On the page both
    are one person, who may read them until they lose that right."""

    running_bot: RunningBot
    fake: FakeOpenAI
    policy: AccessPolicy
    platform: str
    sandbox: Sandbox
    count: int = 0

    async def ask(self, text: str, person: str) -> Answer:
        self.count += 1
        key = f"{self.platform}:{self.count}"
        if self.platform == "web":
            author = Person("web", "bo", name="Bo")
            address = Address("web", "C1", person="bo")
            denied = frozenset({"web:bo"} if person == "member" else ())
        else:
            author = Person(self.platform, person, "T1", person)
            address = Address(self.platform, "C1", "T1", "thread", shared=True)
            denied = frozenset({f"{self.platform}:member"})
        rules = [Rule("1", denied, deny=("read:Invoices",))] if denied else []
        self.policy.rule_book = supplier(RuleBook(tuple(rules)))
        reply_to = ReplyTo(address, author, key, turn_id(key))
        return await self.running_bot.ask_message(Message(key, text, author, address, reply_to))

    def last_heard(self) -> str:
        """Return all that the model had for its last answer: the request, and the conversation at
        the server that it names."""
        asked = [r for r in self.fake.requests if r.path in ("/responses", "/chat/completions")]
        body = asked[-1].body
        held = self.fake.conversations.get(body.get("conversation", ""))
        return json.dumps(body) + (str(held.items) if held else "")


@asynccontextmanager
async def thread(
    bot_home: BotHome,
    platform: str,
    level: Level = "conversations",
    rules: TableRules | None = None,
) -> AsyncIterator[Thread]:
    everybody = frozenset({"slack", "discord"})
    policy = allow_list(everybody)
    bot_home.home.mkdir(exist_ok=True)
    api = open_sample_base(bot_home.home, "UTC")
    sandbox = Sandbox()
    held = [rules or TableRules()]
    driver = SampleDriver(api)
    shop = Shop(api, driver, drafting=driver, rules=lambda: held[0])
    code = CodeSource(sandbox)
    sources: list[ToolSource] = [shop, code]
    async with FakeOpenAI(without=WITHOUT[level]) as fake:
        fake.say(
            Script(calls=(INVOICES,), match="Which invoices", reasoning=True, times=0),
            Script(calls=(PRODUCTS,), match="Which products", times=0),
            Script(calls=(TABLES,), match="Which tables", times=0),
            Script(calls=(CODE,), match="Run it", times=0),
            Script(ANSWERED, match='"table":"Invoices"', reasoning=True, times=0),
            Script("Many tables.", match="Paid on:date", times=0),
            Script("All of them.", match='"table":"Products"', times=0),
        )
        async with open_served_bot(
            bot_home, fake, sources, policy=policy, code=code.runner
        ) as running_bot:
            yield Thread(running_bot, fake, policy, platform, sandbox)


@on_each_engine
@places
@levels
async def test_rows_of_a_table_stay_with_those_who_may_read_it(
    bot_home: BotHome, platform: str, level: Level
) -> None:
    async with thread(bot_home, platform, level) as one:
        await one.ask("Which invoices are there?", "boss")
        assert INVOICE in one.last_heard()
        await one.ask("Which products are there?", "boss")
        await one.ask("And now?", "boss")
        assert INVOICE in one.last_heard()

        answer = await one.ask("And what do you know?", "member")
        heard = one.last_heard()
        assert INVOICE not in heard
        assert "encrypted_content" not in heard
        assert "Which invoices are there?" in heard
        assert ANSWERED in heard, "what was posted in the thread"
        assert NOTE in answer.text

        await one.ask("And you?", "boss")
        assert INVOICE in one.last_heard()
        assert "And what do you know?" in one.last_heard()


@places
@levels
async def test_what_they_may_read_themselves_stays(
    bot_home: BotHome, platform: str, level: Level
) -> None:
    async with thread(bot_home, platform, level) as one:
        await one.ask("Which products are there?", "member")
        answer = await one.ask("And now?", "member")
        assert PRODUCT in one.last_heard()
        assert NOTE not in answer.text
        await one.ask("Which invoices are there?", "boss")
        await one.ask("And now?", "member")
        assert PRODUCT in one.last_heard()
        assert INVOICE not in one.last_heard()
        await one.ask("Which products are there?", "member")
        await one.ask("And now?", "member")
        assert one.last_heard().count(PRODUCT) == 2


@places
async def test_what_was_worked_out_from_such_rows_stays_away_too(
    bot_home: BotHome, platform: str
) -> None:
    """The model can copy rows into the arguments of its next call."""
    async with thread(bot_home, platform) as one:
        await one.ask("Which invoices are there?", "boss")
        await one.ask("Run it", "boss")
        assert "rows = 1" in one.last_heard()
        await one.ask("And now?", "member")
        assert "rows = 1" not in one.last_heard()


@places
async def test_a_list_of_tables_is_not_for_who_must_not_know_of_one(
    bot_home: BotHome, platform: str
) -> None:
    async with thread(bot_home, platform) as one:
        await one.ask("Which tables are there?", "boss")
        assert "Issued" in one.last_heard()
        await one.ask("And now?", "member")
        assert "Issued" not in one.last_heard()


@places
async def test_code_has_variables_and_files_of_its_own(bot_home: BotHome, platform: str) -> None:
    async with thread(bot_home, platform) as one:
        await one.ask("Run it", "boss")
        await one.ask("Run it", "member")
        assert list(one.sandbox.runs.values()) == [2], "one kernel while everybody may read all"
        await one.ask("Which invoices are there?", "boss")
        await one.ask("Run it", "boss")
        assert "Invoices.csv" in one.sandbox.files[-1]
        await one.ask("Run it", "member")
        assert list(one.sandbox.runs.values()) == [3, 1]
        assert "Invoices.csv" not in one.sandbox.files[-1]
        typed = await one.ask("```python\nrows\n```", "member")
        assert list(one.sandbox.runs.values()) == [3, 1, 1]
        assert "Invoices.csv" not in one.sandbox.files[-1]
        assert NOTE in typed.text
        own = list(one.sandbox.runs)[1:]
        assert one.sandbox.forgotten == own, "its kernel ends with the turn"
        await one.ask("Run it", "boss")
        assert list(one.sandbox.runs.values()) == [4, 1, 1]
