"""A turn gives the model what its asker may read now, whoever asked before in that thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.domain.model_rounds import RoundRequest
from core.domain.ports import ToolSource
from core.domain.records import Receipt, ToolContext
from core.models.served_model import Level
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.tools.code.port import InputFile, RunResult
from core.tools.code.source import CodeSource
from core.tools.nocodb.source import TableSource
from core.tools.sample import open_sample_base
from core.tools.sample.base import SampleDriver
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import MEMBER, on_slack
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.fakes.choices import allow_list
from tests.fakes.code import FakeBackend
from tests.fakes.config import FixedConfig, fixed_rules
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI, Script

places = pytest.mark.parametrize("platform", ["slack", "web"])
INVOICE = "INV-"
"""How the numbers of invoices begin. Nothing else contains it."""
PRODUCT = "Coffee mug"
ANSWERED = "Most of them are paid."
NOTE = "I left out earlier results in this conversation that you don't have permission to read."
INVOICES = ("nocodb_query", json.dumps({"table": "Invoices", "export": "csv"}))
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

    ponte: RunningBot
    fake: FakeOpenAI
    policy: Policy
    platform: str
    sandbox: Sandbox
    count: int = 0

    async def ask(self, text: str, person: str) -> Answer:
        return await self.ponte.wait_for_answer(await self.send(text, person))

    async def send(self, text: str, person: str) -> Receipt:
        self.count += 1
        key = f"{self.platform}:{self.count}"
        if self.platform == "web":
            author = Person("web", "bo", name="Bo")
            address = Address("web", "C1", person="bo")
            denial = frozenset({"web:bo"} if person == "member" else ())
        else:
            author = Person(self.platform, person, "T1", person)
            address = Address(self.platform, "C1", "T1", "thread", is_shared=True)
            denial = frozenset({f"{self.platform}:member"})
        self.policy.read_rules = fixed_rules(deny_invoices(denial))
        reply_to = ReplyTo(address, author, key, turn_id(key))
        message = Message(key, text, author, address, reply_to)
        return await self.ponte.engine.conversations.inbox.accept(message)

    def last_heard(self) -> str:
        """Return all that the model had for its last answer: the request, and the conversation at
        the server that it names."""
        questions = [r for r in self.fake.requests if r.path in ("/responses", "/chat/completions")]
        if not questions:
            return ""
        body = questions[-1].body
        conversation = self.fake.conversations.get(body.get("conversation", ""))
        return json.dumps(body) + (str(conversation.items) if conversation else "")


def deny_invoices(people: frozenset[str]) -> RuleBook:
    return RuleBook((Rule("1", people, deny=("read:Invoices",)),) if people else ())


@asynccontextmanager
async def thread(
    bot_home: BotHome,
    platform: str,
    level: Level = "conversations",
    fake: FakeOpenAI | None = None,
    book: RuleBook | None = None,
    rules: TableRules | None = None,
) -> AsyncIterator[Thread]:
    """`book` are the rules until somebody asks. A second process has the `fake` of the first."""
    policy = allow_list(frozenset({"slack", "discord"}))
    policy.read_rules = fixed_rules(book or RuleBook())
    bot_home.home.mkdir(exist_ok=True)
    api = open_sample_base(bot_home.home, "UTC")
    driver = SampleDriver(api)
    sandbox = Sandbox()
    code = CodeSource(sandbox)
    sources: list[ToolSource] = [
        Shop(api, driver, drafting=driver, config=FixedConfig(rules or TableRules())),
        code,
    ]
    async with AsyncExitStack() as stack:
        if fake is None:
            fake = await stack.enter_async_context(FakeOpenAI(without=WITHOUT[level]))
            fake.say(
                Script(calls=(INVOICES,), match="Which invoices", reasoning=True, times=0),
                Script(calls=(PRODUCTS,), match="Which products", times=0),
                Script(calls=(TABLES,), match="Which tables", times=0),
                Script(calls=(CODE,), match="Run it", times=0),
                Script(ANSWERED, match='"table":"Invoices"', reasoning=True, times=0),
                Script("Many tables.", match="Paid on:date", times=0),
                Script("All of them.", match='"table":"Products"', times=0),
            )
        bot = open_served_bot(bot_home, fake, sources, policy=policy, code=code.runner, rules=rules)
        ponte = await stack.enter_async_context(bot)
        yield Thread(ponte, fake, policy, platform, sandbox)


@pytest.mark.parametrize(
    ("bot_home", "platform", "level"),
    [
        *(("home", platform, level) for platform in ("slack", "web") for level in WITHOUT),
        ("postgres", "discord", "conversations"),
    ],
    indirect=["bot_home"],
)
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
        last_message = one.last_heard()
        assert INVOICE not in last_message
        assert "encrypted_content" not in last_message
        assert "Which invoices are there?" in last_message
        assert ANSWERED in last_message, "what was posted in the thread"
        assert NOTE in answer.text

        await one.ask("And you?", "boss")
        assert INVOICE in one.last_heard()
        assert "And what do you know?" in one.last_heard()


@places
async def test_rows_that_were_placed_in_an_answer_are_left_out_too(
    bot_home: BotHome, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.ANSWERED", f"{ANSWERED}\n\n[table:r1]\n\nThat is all.")
    async with thread(bot_home, platform) as one:
        view = await one.ask("Which invoices are there?", "boss")
        assert INVOICE in view.text
        assert view.placed
        answer = await one.ask("And what do you know?", "member")
        last_message = one.last_heard()
        assert INVOICE not in last_message
        assert "Most of them are paid." in last_message
        assert "That is all." in last_message
        assert f"{NOTE} Anything already posted here stays visible." in answer.text
        await one.ask("And you?", "boss")
        assert INVOICE in one.last_heard()


@pytest.mark.parametrize(
    ("platform", "level"), [*(("slack", level) for level in WITHOUT), ("web", "conversations")]
)
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
        answer = await one.ask("```python\nrows\n```", "member")
        assert list(one.sandbox.runs.values()) == [3, 1, 1]
        assert "Invoices.csv" not in one.sandbox.files[-1]
        assert NOTE in answer.text
        own = list(one.sandbox.runs)[1:]
        assert one.sandbox.forgotten == own, "its kernel ends with the turn"
        await one.ask("Run it", "boss")
        assert list(one.sandbox.runs.values()) == [4, 1, 1]


async def test_a_turn_that_resumes_gives_what_its_asker_may_read_by_then(bot_home: BotHome) -> None:
    bot_home.home.mkdir(exist_ok=True)
    api = open_sample_base(bot_home.home, "UTC")
    driver = SampleDriver(api)
    shop, policy = Shop(api, driver, drafting=driver), allow_list(frozenset({"slack"}))
    model, event = EchoModel(), asyncio.Event()

    async def wait_after_the_tool(ask: RoundRequest) -> None:
        if ask.number == 2:
            event.set()
            await asyncio.Event().wait()

    model.gate = wait_after_the_tool
    async with bot_home.open(model, [shop], policy) as ponte:
        call = " ".join(("call", *INVOICES))
        receipt = await ponte.engine.conversations.inbox.accept(on_slack(call, "k1", MEMBER))
        await event.wait()
        assert INVOICE in model.asks[-1].input[-1].text
    model.gate = None
    policy.read_rules = fixed_rules(deny_invoices(frozenset({"slack:U1"})))
    async with bot_home.open(model, [shop], policy) as ponte:
        answer = await ponte.wait_for_answer(receipt)
    assert (model.asks[-1].number, model.asks[-1].thread.remote) == (2, "")
    assert INVOICE not in str(model.asks[-1].input)
    assert NOTE in answer.text


async def test_rows_of_a_table_that_was_hidden_meanwhile(bot_home: BotHome) -> None:
    table_rules = TableRules({"invoices": TableRule("hidden")})
    async with FakeOpenAI() as fake:
        fake.say(
            Script(calls=(INVOICES,), match="Which invoices"),
            Script(ANSWERED, match='"table":"Invoices"'),
        )
        async with thread(bot_home, "slack", fake=fake) as one:
            await one.ask("Which invoices are there?", "boss")
        async with thread(bot_home, "slack", fake=fake, rules=table_rules) as one:
            one.count = 1
            await one.ask("And now?", "boss")
            assert ANSWERED in one.last_heard()
            assert INVOICE not in one.last_heard()
