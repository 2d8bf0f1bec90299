"""What `ponte.toml` says of people and places, in what they ask and are answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from core.base.http import HttpClient
from core.domain.messages import Answer, Person
from core.domain.model_rounds import ToolSpec
from core.people.policy import Policy
from core.people.rules import RuleBook
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    approve_after_reading,
    bot,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import BASE, CUSTOMERS, ORDERS
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.quick_commands import RegisteredCommands

CLERK = Person("slack", "U5", "T1", "Cleo")


async def _groups(person: Person, max_age: float) -> frozenset[str]:
    return frozenset({"S1"} if person == CLERK else ())


def policy() -> Policy:
    """Mia and Otto may write, Bea is an admin; Cleo is in a user group."""
    return allow_list(
        frozenset({"slack:U1", "slack:U2"}), frozenset({"slack:U9"}), {"slack": _groups}
    )


def book(text: str, folder: Path) -> RuleBook:
    path = folder / "ponte.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path).rule_book


@asynccontextmanager
async def office(
    bot_home: BotHome, folder: Path, text: str
) -> AsyncIterator[tuple[RunningBot, Policy, EchoModel]]:
    """A bot over the fake NocoDB."""
    choice, model = policy(), EchoModel()
    choice.read_rules = fixed_rules(book(text, folder))
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        file = bot_home.open(model, sources=[source], appliers=[source.rows], policy=choice)
        async with file as ponte:
            yield ponte, choice, model


async def calls(
    ponte: RunningBot,
    key: str,
    tool: str,
    person: Person = BOSS,
    channel: str = "C1",
    **asked: object,
) -> Answer:
    text = f"call {tool} {json.dumps(asked)}"
    return await says(ponte, text, key, person, channel=channel)


def tool_descriptions(tools: tuple[ToolSpec, ...]) -> str:
    return "\n".join(tool.description for tool in tools)


CLOSED = """
[channels."slack:T1:C1"]
deny = ["read:Orders"]
"""


async def test_a_table_is_not_read_into_a_channel_because_an_admin_asks(
    bot_home: BotHome, tmp_path: Path
) -> None:
    async with office(bot_home, tmp_path, CLOSED) as (ponte, _, model):
        refusal = await calls(ponte, "k1", "nocodb_get", table="Orders", id="12")
        assert "not found." in refusal.text
        link = await calls(ponte, "k2", "nocodb_get", table="Customers", id="1")
        assert "Customer 01" in link.text
        assert "Order" not in link.text
        assert "Tables: Customers, Readings." in tool_descriptions(model.asks[-1].tools)
        elsewhere = await calls(ponte, "k3", "nocodb_get", channel="C2", table="Orders", id="12")
        assert "Order 12" in elsewhere.text
        assert "Tables: Customers, Orders, Readings." in tool_descriptions(model.asks[-1].tools)


async def test_the_bridge_hides_it_too(bot_home: BotHome, tmp_path: Path) -> None:
    choice = policy()
    async with FakeBridge() as bridge, HttpClient() as http:
        source = BridgeSource(bridge.url, "", http, pauses=())
        async with bot_home.open(EchoModel(), sources=[source], policy=choice) as ponte:

            async def executes(key: str, tool: str, **args: object) -> str:
                text = f"call nocodb_execute {json.dumps({'tool': tool, 'args': args})}"
                return (await says(ponte, text, key, BOSS)).text

            assert "Orders" in await executes("k1", "list_tables", base_id=BASE)
            assert "pageInfo" in await executes("k2", "list_records", table_id=ORDERS)
            choice.read_rules = fixed_rules(
                book('[channels.slack]\ndeny = ["read:Orders"]\n', tmp_path)
            )
            assert "Orders" not in await executes("k3", "list_tables", base_id=BASE)
            assert "pageInfo" not in await executes("k4", "list_records", table_id=ORDERS)
            assert "pageInfo" in await executes("k5", "list_records", table_id=CUSTOMERS)


ONE_TABLE = """
[[rules]]
who = ["slack:U1"]
allow = ["read:Customers", "propose:Customers"]

[[rules]]
who = ["slack:U1"]
deny = ["read", "propose"]
"""


async def test_who_may_see_one_table_sees_no_other(bot_home: BotHome, tmp_path: Path) -> None:
    async with office(bot_home, tmp_path, ONE_TABLE) as (ponte, _, model):
        event = await calls(ponte, "k1", "nocodb_tables", MEMBER)
        assert "Customers" in event.text
        assert "Orders" not in event.text
        row = {"Name": "Ada", "Status": "Lead"}
        result = await calls(ponte, "k2", "nocodb_create", MEMBER, table="Customers", rows=[row])
        assert [card.state for card in result.cards] == ["open"]
        no = await calls(ponte, "k3", "nocodb_create", MEMBER, table="Orders", rows=[row])
        assert "not found." in no.text
        assert "Tables: Customers." in tool_descriptions(model.asks[-1].tools)


TOOLS = """
[[rules]]
who = ["members"]
where = ["shared"]
deny = ["tool:table_d*"]
"""


async def test_the_model_is_offered_only_the_tools_that_the_asker_may_use(
    bot_home: BotHome, tmp_path: Path
) -> None:
    choice, model = policy(), EchoModel()
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, model=model, policy=choice) as ponte:
        choice.read_rules = fixed_rules(book(TOOLS, tmp_path))
        await says(ponte, "hello", "k1")
        assert "table_delete" not in {tool.name for tool in model.asks[-1].tools}
        assert "table_update" in {tool.name for tool in model.asks[-1].tools}
        refusal = await calls(ponte, "k2", "table_delete", MEMBER, ids=["1"])
        assert "there is no tool 'table_delete' here" in refusal.text


PROPOSES = """
[[rules]]
who = ["slack:U1"]
deny = ["propose:people"]
"""


async def test_rights_that_were_taken_away_meanwhile_count(
    bot_home: BotHome, tmp_path: Path
) -> None:
    choice = policy()
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=choice) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        choice.read_rules = fixed_rules(book(PROPOSES, tmp_path))
        reply = await says(ponte, f"approve {card.id}", "k2", BOSS)
        assert reply.code == "forbidden"
        assert (
            "the person who requested it has lost the permission there (`propose:People`)"
            in reply.text
        )
        again = await calls(ponte, "k3", "table_update", MEMBER, rows={"1": {"Name": "B"}})
        assert again.cards == ()
        assert "(`propose:People`). An admin can change that in `ponte.toml`." in again.text
        assert table.applied == []


APPROVES = """
[groups]
clerks = ["slack:S1"]

[[rules]]
who = ["clerks"]
allow = ["approve:people", "chat"]

[[rules]]
who = ["slack:U1"]
deny = ["approve"]
"""


async def test_a_group_decides_for_others_and_one_not_even_their_own(
    bot_home: BotHome, tmp_path: Path
) -> None:
    choice = policy()
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=choice) as ponte:
        choice.read_rules = fixed_rules(book(APPROVES, tmp_path))
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        own = await says(ponte, f"approve {card.id}", "k2", MEMBER)
        assert (own.code, own.is_private) == ("forbidden", True)
        assert "permission to decide on that here (`approve:People`)" in own.text
        other = await says(ponte, f"approve {card.id}", "k3", OTHER, thread="tU1")
        assert other.code == "forbidden"
        reply = await says(ponte, f"approve {card.id}", "k4", CLERK)
        assert "Approved by Cleo" in reply.text
        why = await says(ponte, f"why {card.id}", "k5", MEMBER)
        assert why.is_private
        assert "`propose:People`: allowed, because PONTE_ALLOW names" in why.text
        assert "`approve:People`: allowed by the rule `ponte.toml:5`." in why.text


NO_DECISIONS = """
[channels."slack:T1:C1"]
allow = ["chat", "propose", "read"]
"""


async def test_nobody_decides_in_a_channel_that_does_not_allow_it(
    bot_home: BotHome, tmp_path: Path
) -> None:
    """Not even an admin, or who asked on their own small change."""
    choice = policy()
    table = MemoryTable({"1": dict(ADA), "2": dict(ADA)})
    async with bot(bot_home, table, policy=choice) as ponte:
        choice.read_rules = fixed_rules(book(NO_DECISIONS, tmp_path))
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        for number, person in enumerate((MEMBER, BOSS)):
            message = on_slack(f"approve {card.id}", f"a{number}", person, thread="tU1")
            answer = await ponte.ask_message(message)
            assert answer.code == "forbidden"
            assert "permission to decide on that here (`approve:People`)" in answer.text
        assert table.applied == []
        direct = on_slack(f"approve {card.id}", "k2", BOSS, channel="D9", shared=False)
        assert "Done." in (await approve_after_reading(ponte, direct)).text
        own = await proposed_on_slack(ponte, "k3", "table_update", rows={"2": {"Name": "B"}})
        assert (await says(ponte, f"deny {own.id}", "k4")).text == "Denied by Mia."
        own = await proposed_on_slack(ponte, "k5", "table_update", rows={"2": {"Name": "C"}})
        allowed = NO_DECISIONS.replace('"read"', '"read", "approve:People"')
        choice.read_rules = fixed_rules(book(allowed, tmp_path))
        assert "Done." in (await says(ponte, f"approve {own.id}", "k6")).text


PLATFORM = """
[[rules]]
who = ["slack"]
allow = ["chat", "read:Orders"]
"""


@pytest.mark.parametrize("workspace", ["T1", "T9"], ids=["a guest", "of another workspace"])
async def test_a_rule_for_a_platform_lets_no_guest_read_a_table(
    bot_home: BotHome, tmp_path: Path, workspace: str
) -> None:
    async def is_guest(person: Person, max_age: float) -> bool | None:
        return person.id == "U7" and person.workspace == "T1"

    visitor = Person("slack", "U7", workspace, "Gus")
    async with office(bot_home, tmp_path, PLATFORM) as (ponte, choice, model):
        choice.people.guests = {"slack": is_guest}
        refusal = await calls(ponte, "k1", "nocodb_get", visitor, table="Orders", id="12")
        assert (refusal.code, "Order 12" in refusal.text, model.asks) == ("forbidden", False, [])
        member = await calls(ponte, "k2", "nocodb_get", MEMBER, table="Orders", id="12")
        assert "Order 12" in member.text


async def test_the_command_why_names_the_rule(bot_home: BotHome, tmp_path: Path) -> None:
    cases = [
        ("approve", "`approve`: denied by the rule `ponte.toml:9`."),
        ("read", "`read`: allowed, because PONTE_ALLOW names"),
        ("administer", "`administer`: denied. Only an admin"),
        ("tool:table_find", "`tool:table_find`: allowed by default here."),
        ("table_update", "- `propose`: allowed, because PONTE_ALLOW names"),
        ("nothing_such", "Not found. Specify the ID of a change, the name of a tool, or"),
        ("abcde2", "Not found. Specify the ID of a change, the name of a tool, or"),
    ]
    choice = policy()
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=choice) as ponte:
        choice.read_rules = fixed_rules(book(APPROVES, tmp_path))
        for question, words in cases:
            assert words in (await says(ponte, f"why {question}", question)).text


async def test_why_names_what_the_registry_says(bot_home: BotHome) -> None:
    quick = RegisteredCommands(elsewhere=frozenset({"echo"}))
    async with bot_home.open(quick=quick, policy=policy()) as ponte:
        reply = await says(ponte, "why command:echo", "k1")
        assert reply.text.startswith("`command:echo`: denied. `echo` can't be run in this channel")
        assert "allowed" in (await says(ponte, "why command:sum", "k2")).text


async def test_why_of_a_name_that_is_too_long(bot_home: BotHome, tmp_path: Path) -> None:
    """It used to hold up every other conversation for seconds, and came back whole."""
    choice = policy()
    choice.read_rules = fixed_rules(book('[[rules]]\ndeny = ["read:*hr*2025"]\n', tmp_path))
    async with bot_home.open(policy=choice) as ponte:
        reply = await says(ponte, f"why read:{'hr' * 60_000}", "k1")
        assert reply.text.startswith("`read`: denied. That name is too long")
        assert len(reply.text) < 100


async def test_a_question_that_begins_with_why_is_for_the_model(bot_home: BotHome) -> None:
    async with bot_home.open() as ponte:
        for text in ("why is that so", "why me", "why?"):
            assert (await ponte.ask(text)).text == f"You said: {text}"


async def test_the_model_of_a_place_may_be_denied(bot_home: BotHome, tmp_path: Path) -> None:
    choice, model = policy(), EchoModel()
    choice.read_rules = fixed_rules(book('[channels.slack]\ndeny = ["model:*"]\n', tmp_path))
    async with bot_home.open(model, policy=choice) as ponte:
        reply = await says(ponte, "hello", "k1")
        assert (reply.is_private, model.asks) == (True, [])
        assert "`model:" in reply.text


async def test_what_somebody_proposed_who_is_gone_waits_for_nobody(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=policy()) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        other = await proposed_on_slack(
            ponte, "k2", "table_update", OTHER, rows={"1": {"Name": "B"}}
        )
        await ponte.engine.changes.proposals.withdraw_of(MEMBER.key)
        reply = await says(ponte, f"approve {card.id}", "k3", BOSS)
        assert "Denied by Ponte." in reply.text
        assert "Done." in (await says(ponte, f"approve {other.id}", "k4", BOSS)).text
    assert table.rows["1"]["Name"] == "B"
