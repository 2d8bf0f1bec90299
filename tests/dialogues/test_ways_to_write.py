"""What writes or posts has one list of rights, whatever begins it: a rule that names a tool holds
for each other way to the same write, too."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bot.integrations import KINDS
from core.changes.approval import Approvers, TableRules
from core.changes.kinds import Kind
from core.domain.changes import Draft, RowWrite
from core.domain.messages import PROGRAM, Address, Answer, Message, Person, ReplyTo, turn_id
from core.people.rules import Rule, RuleBook
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from core.webhooks.hook import HOOK_PLATFORM
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, PacedNocoDB, importer
from tests.dialogues.stackspot import Bot, asks
from tests.dialogues.test_run_again import office
from tests.fakes.choices import allow_list, hook_rules
from tests.fakes.config import fixed_rules
from tests.fakes.models import EchoModel
from tests.fakes.schedules import LateScheduleSource, put_schedule
from tests.fakes.stackspot import FakeStackSpot

pytestmark = pytest.mark.slow
ASKER = Person("slack", "U1", "T1", "Mia")
HOOK = Person(HOOK_PLATFORM, "ask")
HERE = Address("slack", "D1", "T1")
LINK = {"id": 1, "fields": {"Customers": [2]}}
NEW, KNOWN = "Ada,Lead", "Customer 01,Lost"
KEYED = {"key": "Name"}
WAYS: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "nocodb_create": {
        "its tool": ("nocodb_create", {"table": "Customers", "rows": [{"Name": "Ada"}]}),
        "an import": ("nocodb_import", {"rows": [NEW]}),
        "a plan": ("nocodb_import", {"rows": [NEW, KNOWN], **KEYED}),
    },
    "nocodb_update": {
        "its tool": (
            "nocodb_update",
            {"table": "Customers", "changes": [{"id": 1, "fields": {"Status": "Lost"}}]},
        ),
        "an import": ("nocodb_import", {"rows": [KNOWN], **KEYED}),
        "a plan": ("nocodb_import", {"rows": [NEW, KNOWN], **KEYED}),
    },
    "nocodb_link": {
        "its tool": (
            "nocodb_link",
            {"table": "Orders", "id": 1, "link_field": "Customers", "add": [2]},
        ),
        "another tool": ("nocodb_update", {"table": "Orders", "changes": [LINK]}),
    },
    "nocodb_delete": {"its tool": ("nocodb_delete", {"table": "Customers", "ids": [1]})},
    "nocodb_import": {"its tool": ("nocodb_import", {"rows": [NEW]})},
}
CASES = [
    pytest.param(tool, *call, id=f"{tool} by {way}")
    for tool, ways in WAYS.items()
    for way, call in ways.items()
]
_numbers = itertools.count()
Make = Callable[..., Message]


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


def make(text: str, key: str, author: Person = ASKER, **more: Any) -> Message:
    reply_to = ReplyTo(HERE, author, key, turn_id(key))
    return Message(key, text, author, HERE, reply_to, **more)


PEOPLE: Mapping[str, Make] = {
    "a person": make,
    "a program with their token": partial(make, author=replace(ASKER, is_bot=True), origin=PROGRAM),
    "a webhook": partial(make, author=HOOK),
}


async def ask(here: Importer, tool: str, arguments: Mapping[str, Any], who: Make) -> Answer:
    if tool == "nocodb_import":
        return await here.read_file(arguments["rows"], who, key=arguments.get("key", ""))
    text = f"call {tool} {json.dumps(arguments)}"
    return await here.bot.ask_message(who(text, f"k{next(_numbers)}"))


async def ask_by_schedule(here: Importer, tool: str, arguments: Mapping[str, Any]) -> Answer:
    store = here.bot.engine.schedules.store
    text = f"call {tool} {json.dumps(arguments)}"
    draft = ScheduleDraft("ask", text, ScheduleRule("0 9 * * *"), "UTC")
    schedule = await put_schedule(store, ReplyTo(HERE, ASKER, "s", ""), draft)
    run = await store.run_now(schedule.id, f"k{next(_numbers)}")
    return await here.bot.engine.conversations.inbox.wait_for_answer(run.seq)


@pytest.mark.parametrize(("tool", "called", "arguments"), CASES)
async def test_who_is_denied_the_tool_writes_by_no_other_way(
    bot_home: BotHome, nocodb: PacedNocoDB, tool: str, called: str, arguments: Mapping[str, Any]
) -> None:
    policy = allow_list(frozenset({"slack:U1"}))
    book = hook_rules({"ask": "programs"})
    allow = Rule("rules 2", frozenset({"programs"}), allow=("read", "propose"))
    denied = Rule("rules 1", deny=(f"tool:{tool}",))
    async with importer(bot_home, nocodb.origin, policy=policy) as here:
        for rules, is_open in (((denied, allow), False), ((allow,), True)):
            policy.read_rules = fixed_rules(replace(book, rules=rules))
            for name, who in PEOPLE.items():
                answer = await ask(here, called, arguments, who)
                assert bool(answer.cards) is is_open, (name, answer.text)
            if called != "nocodb_import":  # its file comes with a message
                answer = await ask_by_schedule(here, called, arguments)
                assert bool(answer.cards) is is_open, answer.text
        # The right is asked for again at the decision, and at the form of a card.
        (card,) = (await ask(here, called, arguments, make)).cards
        policy.read_rules = fixed_rules(RuleBook((denied,)))
        for command in ("approve", "change"):
            text = f"{command} {card.id}" + " Name = Bob" * (command == "change")
            await here.bot.ask_message(make(text, command))
        change = await here.get(card.id)
        assert (change.state, change.proposal.revision) == ("open", 1)


@pytest.mark.parametrize(("tool", "called", "arguments"), CASES)
async def test_the_approvers_of_the_tool_decide_on_each_way(
    bot_home: BotHome, nocodb: PacedNocoDB, tool: str, called: str, arguments: Mapping[str, Any]
) -> None:
    policy = allow_list(frozenset({"slack:U1"}))
    rules = TableRules(tools={tool: Approvers(frozenset({"slack:UBOB"}), 2)})
    async with importer(bot_home, nocodb.origin, policy=policy, rules=rules) as here:
        (card,) = (await ask(here, called, arguments, make)).cards
        await here.bot.ask_message(make(f"approve {card.id}", "approve"))
        change = await here.get(card.id)
        assert (change.state, change.consents) == ("open", ())
        standing = await here.bot.engine.changes.approval.find_standing(change, ASKER, HERE)
        assert (standing.named_rule, standing.needed_approvals) == (f"tools.{tool}.approvers", 2)


async def test_a_form_for_an_alert_has_the_rights_of_the_tool(bot_home: BotHome) -> None:
    policy, late = allow_list(), LateScheduleSource()
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, policy=policy, schedules=late) as crm:
        await crm.ask()
        policy.read_rules = fixed_rules(RuleBook((Rule("r", deny=("tool:schedule_propose",)),)))
        text = f"watch {crm.turns[0]} count|>|0 * * * *|false|1|"
        answer = await crm.ponte.ask(text, "C5")
        assert not answer.cards
        policy.read_rules = fixed_rules()
        (card,) = (await crm.ponte.ask(text, "C5")).cards
        policy.read_rules = fixed_rules(RuleBook((Rule("r", deny=("tool:schedule_propose",)),)))
        await crm.ponte.ask(f"approve {card.id}", "C5")
        assert (await crm.ponte.engine.changes.ledger.get(card.id)).state == "open"


@pytest.mark.parametrize("way", [asks("translate-all", "it"), "quick-command translate-all it"])
async def test_quick_commands_that_are_typed_have_the_rights_of_the_tool(
    bot_home: BotHome, way: str
) -> None:
    policy = allow_list(frozenset({"slack:U1"}))
    async with (
        FakeStackSpot() as stackspot,
        Bot(bot_home, stackspot).open(EchoModel(), policy) as ponte,
    ):
        for name in ("spend", "command:translate-all", "tool:stackspot_quick_command"):
            policy.read_rules = fixed_rules(RuleBook((Rule("r", deny=(name,)),)))
            answer = await ponte.ask_message(make(way, f"k{next(_numbers)}"))
            assert not answer.cards
        policy.read_rules = fixed_rules()
        tools = {"stackspot_quick_command": Approvers(frozenset({"slack:UBOB"}))}
        config: Any = ponte.engine.changes.approval.config
        config.table_rules = TableRules(tools=tools)
        (card,) = (await ponte.ask_message(make(way, f"k{next(_numbers)}"))).cards
        await ponte.ask_message(make(f"approve {card.id}", f"k{next(_numbers)}"))
        assert (await ponte.engine.changes.ledger.get(card.id)).state == "open"
        assert stackspot.count("create") == 0


async def test_typed_python_has_the_rights_of_the_tool(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"slack:U1"}))
    policy.read_rules = fixed_rules(RuleBook((Rule("r", deny=("tool:run_python",)),)))
    async with bot_home.open(policy=policy) as ponte:
        answer = await ponte.ask_message(make("```python\nprint(1)\n```", "k"))
        assert (answer.code, "tool:run_python" in answer.text) == ("forbidden", True)


def test_each_kind_of_change_names_its_tools() -> None:
    """A new kind without a name here would be free of the rules for its tool."""
    row = RowWrite("1", {"Name": "A"}, {"Name": "B"})
    target = {"slug": "desk__file", "effect": "write", "place": "slack:T1:C1"}
    unnamed = set()
    for name, kind in KINDS.items():
        assert isinstance(kind, Kind)
        draft = Draft("nocodb", name, target, "Orders", (row,))
        rights = [
            right for right in kind.rights_to_propose(draft) if right[0] in ("tool", "command")
        ]
        if not (kind.tool_names(draft) or rights):
            unnamed.add(name)
    assert not unnamed
