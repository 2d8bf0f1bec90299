"""What differs between turns by where their message comes from, as a table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bot.engine import Engine
from core.changes.approval import TableRule, TableRules
from core.chat.destinations import Destinations
from core.domain.messages import PROGRAM, Address, Answer, Message, Person, Quote, ReplyTo, turn_id
from core.money.allowances import Allowance
from core.people.rules import Rule, RuleBook, StandIns
from core.schedules.runs import ScheduleOrigin
from core.schedules.schedule import ScheduleDraft, ScheduleFilter, ScheduleRule
from core.tools.tool import FunctionTool
from core.turn.preface import NO_TABLES_SENTENCE
from core.webhooks.hook import HOOK_PLATFORM, HOOK_RIGHTS, Hook, WebhookOrigin
from core.webhooks.intake import HookIntake
from tests.core.turn.test_turn import Watched
from tests.fakes.choices import allow_list, make_choices, make_spending, open_engine
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_nocodb
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.schedules import LateScheduleSource, put_schedule

ORIGINS = ("person", "program", "schedule", "webhook")
AUTHORS = {
    "person": Person("web", "ana", name="Ana"),
    "program": Person("web", "bo", name="Bo", is_bot=True, api_token="t1"),
    "schedule": Person("web", "cy", name="Cy"),
    "webhook": Person(HOOK_PLATFORM, "ask"),
}
PEOPLE = frozenset({"web:ana", "web:bo", "web:cy"})
MONDAY = datetime.fromisoformat("2027-06-07T08:00:00+00:00").timestamp()
HOURS = 3600.0
ALL_RIGHTS = ("chat", "read", "propose", "spend", "code", "approve", "administer")
OWN, FOREIGN = "https://own.example/x", "https://other.example/x"
"""An address that a schedule's owner wrote, and one that they did not."""
ADD = f"call table_create {json.dumps({'rows': [{'Name': 'Ada'}]})}"
UPDATE = f"call table_update {json.dumps({'rows': {'1': {'Name': 'A'}}})}"
ALONE = f"call table_update {json.dumps({'rows': {'1': {'Status': 'Won'}}})}"
WEEKLY = {
    "kind": "post",
    "what": "Good morning",
    "when": "0 9 * * MON",
    "zone": "Europe/Paris",
    "ends": None,
    "replaces": None,
}


def make_tool(effect: Any) -> FunctionTool:
    async def use() -> str:
        """Use it."""
        return "used"

    return FunctionTool(use, effect=effect, doing="…", name=effect)


class Posting:
    """The part of a chat platform that says where to post."""

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "since", "")


@dataclass
class Bench:
    """A Ponte to which each origin sends messages in a channel of its own."""

    engine: Engine
    model: EchoModel
    clock: Clock
    config: FixedConfig
    number: int = 0
    references: list[bool] = field(default_factory=list)
    """For each message whose context was looked up: whether with what it refers to."""
    last: Message = field(init=False)
    """The message of the last turn."""

    async def send(
        self, origin: str, text: str, *, late: float = 0.0, quote: str = "", deny: str = ""
    ) -> Answer:
        """Return the answer to a message with this text, `late` seconds after it was sent. The
        right `deny` is taken away from everybody just before it arrives."""
        self.number += 1
        seq = await getattr(self, f"_from_{origin}")(text, late, quote, deny)
        answer = await self.engine.conversations.inbox.wait_for_answer(seq)
        if origin == "schedule":
            await self.engine.schedules.scheduler.start_due_runs()
        (content,) = await self.engine.stores.database.read(
            lambda connection: connection.execute(
                "SELECT turn FROM inbox WHERE seq = ?", (seq,)
            ).fetchall()
        )
        self.last = (await self.engine.conversations.journal.history_entry(content["turn"])).message
        return answer

    def _take(self, right: str) -> None:
        book = self.config.rule_book
        denial = (Rule("2", deny=(right,)),) if right else ()
        self.config.rule_book = replace(book, rules=(book.rules[0], *denial))

    async def _from_person(
        self, text: str, late: float, quote: str, deny: str, name: str = "person", **more: Any
    ) -> int:
        self._take(deny)
        message = replace(self._make(name, text, late, quote), **more)
        return (await self.engine.conversations.inbox.accept(message)).seq

    async def _from_program(self, text: str, late: float, quote: str, deny: str) -> int:
        return await self._from_person(text, late, quote, deny, "program", origin=PROGRAM)

    async def _from_schedule(self, text: str, late: float, quote: str, deny: str) -> int:
        to = self._make("schedule", text, late, quote).reply_to
        draft = ScheduleDraft("ask", text, ScheduleRule("0 9 * * *"), "UTC", addresses=(OWN,))
        store = self.engine.schedules.store
        self._take("")
        for earlier in await store.list_matching(ScheduleFilter()):
            await store.delete(earlier.id)
        schedule = await put_schedule(store, to, draft)
        self._take(deny)
        self.clock.now = (await store.get(schedule.id)).next_due_at + late
        await self.engine.schedules.scheduler.start_due_runs()
        (run,) = await store.list_runs(schedule.id, 1)
        assert run.seq
        return run.seq

    async def _from_webhook(self, text: str, late: float, quote: str, deny: str) -> int:
        self._take(deny)
        platforms: Any = {"web": Posting()}
        hook = Hook(
            "ask",
            "secret",
            PLAIN_SECRET,
            "web::webhook",
            instruction=text,
            header="X-Hook-Secret",
            id_field="id",
        )
        intake = HookIntake(
            {"ask": hook}.get, Destinations(platforms), self.engine.conversations.inbox
        )
        body = encode_body({"id": str(self.number), "quote": quote})
        status, _, texts = await intake.receive("ask", from_nocodb(), body)
        assert status == 202
        return (
            await self.engine.conversations.journal.history_entry(json.loads(texts)["turn"])
        ).seq

    def _make(self, origin: str, text: str, late: float, quote: str) -> Message:
        key, author = f"{origin}-{self.number}", AUTHORS[origin]
        to = ReplyTo(Address("web", origin, is_shared=True), author, key, turn_id(key))
        quotes = (Quote("Eve", quote),) if quote else ()
        return Message(
            key, text, author, to.address, to, context=quotes, sent_at=self.clock.now - late
        )


@asynccontextmanager
async def open_bench(home: Path, allowances: Sequence[Allowance]) -> AsyncIterator[Bench]:
    model, clock = EchoModel(), Clock(MONDAY)
    groups = StandIns(HOOK_RIGHTS, {"ask": "crew"})
    rule = Rule("1", frozenset({"crew"}), allow=("read", "propose", "spend", "code"))
    policy = allow_list(PEOPLE, PEOPLE)
    config = FixedConfig(rule_book=RuleBook((rule,), stand_ins={HOOK_PLATFORM: groups}))
    policy.read_rules = lambda: config.rule_book
    table = MemoryTable({"1": {"Name": "Bea"}})
    table.target = {"choice_fields": ["Status"]}
    table_rule = TableRule("auto", auto_fields=frozenset({"Status"}), auto_people=PEOPLE)
    source = LateScheduleSource()
    effects = FixedTools(*map(make_tool, ("read", "write", "spend", "code", "chat")))
    choices = make_choices(
        model,
        [table, source, effects],
        policy,
        [table],
        rules=TableRules({"people": table_rule}),
        spending=make_spending(allowances=allowances),
    )
    engine = await open_engine(home, replace(choices, clock=clock))
    source.open(engine)
    bench = Bench(engine, model, clock, config)

    async def look_up(message: Message, references: bool) -> tuple[Message, Sequence[str]]:
        bench.references.append(references)
        return message, ()

    engine.platforms.look_up["web"] = look_up
    engine.platforms.replies["web"] = lambda to, posts: Watched()
    engine.start()
    yield bench
    await engine.drain(5)
    await engine.close()


Probe = Callable[[Bench, str], Awaitable[str]]


async def begins(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello")
    answer = await bench.send(origin, "hello")
    assert len([ask for ask in bench.model.asks if ask.asker.key == bench.last.author.key]) == 1
    return "is skipped" if answer.status == "stopped" and not answer.text else "is refused"


async def is_command(bench: Bench, origin: str) -> str:
    answer = await bench.send(origin, "help")
    return "words for the model" if answer.text.startswith("You said: help") else "a command"


async def tools(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello")
    names = {tool.name for tool in bench.model.asks[-1].tools}
    return ", ".join(name for name in ("read", "write", "spend", "code", "chat") if name in names)


async def rights(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello")
    match = await bench.engine.changes.approval.policy.rights(bench.last.author, bench.last.address)
    return ", ".join(right for right in ALL_RIGHTS if match.may(right).allowed)


async def payer(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello")
    rows = await bench.engine.stores.database.read(
        lambda connection: connection.execute("SELECT scope FROM counters").fetchall()
    )
    counts = {row["scope"].partition(":")[2] for row in rows}
    author, id = bench.last.author.key, bench.last.origin.id
    names = {author: "its author", id: "each schedule"}
    return ", ".join(name for key, name in names.items() if key and key in counts)


async def context(bench: Bench, origin: str) -> str:
    bench.references.clear()
    await bench.send(origin, "hello")
    table = {(): "none", (False,): "the profile", (True,): "the profile, quotes, the thread"}
    return table[tuple(bench.references)]


async def history(bench: Bench, origin: str) -> str:
    await bench.send(origin, "first")
    await bench.send(origin, "second")
    ask = bench.model.asks[-1]
    texts = [item.text for item in (*await ask.history(), *ask.input)]
    assert texts[-1] == "second"
    return "are read" if "first" in texts else "are not read"


async def trusted_addresses(bench: Bench, origin: str) -> str:
    answer = await bench.send(origin, f"{OWN} or {FOREIGN}", quote="from outside")
    names = {OWN: "its schedule's", FOREIGN: "others"}
    links = [name for address, name in names.items() if f"`{address}`" not in answer.text]
    return {0: "none", 1: "what its owner wrote", 2: "what its author wrote"}[len(links)]


async def refusal_reader(bench: Bench, origin: str) -> str:
    answer = await bench.send(origin, "hello", deny="chat")
    if not answer.text:
        return "nobody; its owner gets a notice"
    return "its author" if answer.is_private else "the place"


async def audit(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello", deny="chat")
    lines = (await bench.engine.people.audit.read())[0][::-1]
    mine = [line for line in lines if line["asker"] == bench.last.author.key]
    words = ("received", "refused", "skipped")
    events = [line["event"] for line in mine if line["event"].endswith(words)]
    token = " with the token" if mine[-1].get("api_token") else ""
    return ", ".join(f"`{event}`" for event in events) + token


async def notes(bench: Bench, origin: str) -> str:
    answer = await bench.send(origin, "hello", late=2 * HOURS)
    return "that it is late" if "This run is late" in answer.text else "none"


async def preface(bench: Bench, origin: str) -> str:
    await bench.send(origin, "hello")
    sentence = bench.model.asks[-1].preface.partition("language setting is en.")[2]
    sentence = sentence.replace(NO_TABLES_SENTENCE, "").strip()
    return {
        "": "none",
        ScheduleOrigin.preface: "a schedule sent it",
        WebhookOrigin.preface: "a webhook brought it",
    }[sentence]


def proposing(text: str) -> Probe:
    async def propose(bench: Bench, origin: str) -> str:
        (card,) = (await bench.send(origin, text)).cards
        return {"done": "is applied", "open": "waits for a person"}[card.state]

    return propose


async def approver(bench: Bench, origin: str) -> str:
    (card,) = (await bench.send(origin, UPDATE)).cards
    change = await bench.engine.changes.ledger.get(card.id)
    needs_admin = bench.engine.changes.approval.needs_admin(change)
    return "an admin" if needs_admin else "the account or an admin"


async def proposes_schedule(bench: Bench, origin: str) -> str:
    answer = await bench.send(origin, f"call schedule_propose {json.dumps(WEEKLY)}")
    return "yes" if answer.cards else "no"


async def follows(bench: Bench, origin: str) -> str:
    woken: list[str] = []
    vars(bench.engine.schedules.origin)["wake"] = lambda: woken.append(origin)
    await bench.send(origin, "hello")
    return "the scheduler is woken" if woken else "nothing"


EVERY_RIGHT = ", ".join(ALL_RIGHTS)
TABLE: dict[str, tuple[Probe, tuple[str, ...]]] = {
    "without an allowance": (begins, ("is refused", "is refused", "is skipped", "is skipped")),
    "its text `help` is": (is_command, ("a command", *["words for the model"] * 3)),
    "tools by their effect": (tools, (*["read, write, spend, code, chat"] * 3, "read, write")),
    "rights, if rules give all": (
        rights,
        (EVERY_RIGHT, "chat, read, propose, spend, code", EVERY_RIGHT, "chat, read, propose"),
    ),
    "who pays": (payer, ("its author", "its author", "its author, each schedule", "its author")),
    "context": (context, (*["the profile, quotes, the thread"] * 2, "the profile", "none")),
    "earlier messages of the conversation": (history, (*["are read"] * 2, *["are not read"] * 2)),
    "addresses that may be links": (
        trusted_addresses, ("what its author wrote", "none", "what its owner wrote", "none"),
    ),
    "who reads a refusal": (
        refusal_reader,
        ("its author", "its author", "nobody; its owner gets a notice", "the place"),
    ),
    "audit of a refusal": (
        audit,
        ("`action-refused`", "`action-refused` with the token", "`schedule-run-skipped`",
         "`webhook-received`, `action-refused`"),
    ),
    "notes under an answer two hours later": (notes, ("none", "none", "that it is late", "none")),
    "preface": (preface, ("none", "none", "a schedule sent it", "a webhook brought it")),
    "a new row where `access` is `auto`": (
        proposing(ADD), ("is applied", "is applied", "waits for a person", "waits for a person"),
    ),
    "an update that `auto_people` make alone": (
        proposing(ALONE), ("is applied", *["waits for a person"] * 3),
    ),
    "who approves a change of one row": (approver, (*["the account or an admin"] * 3, "an admin")),
    "may propose schedules": (proposes_schedule, ("yes", "no", "no", "no")),
    "what follows its end": (follows, ("nothing", "nothing", "the scheduler is woken", "nothing")),
}  # fmt: skip
"""For each decision: how it is found out, and what holds for each of ORIGINS."""
LIMITS = {
    "without an allowance": (Allowance("each person", turns=1),),
    "who pays": (Allowance("each person", turns=9), Allowance("each schedule", turns=9)),
}


@pytest.mark.parametrize("decision", TABLE)
async def test_what_an_origin_decides(tmp_path: Path, decision: str) -> None:
    probe, expected = TABLE[decision]
    async with open_bench(tmp_path, LIMITS.get(decision, ())) as bench:
        values = tuple([await probe(bench, origin) for origin in ORIGINS])
    assert values == expected
