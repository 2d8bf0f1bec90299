"""Each right, of people of every surface, when tools are offered and when one is called; see
`test_rights_restart` for the other moments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.domain.messages import Address, Message, Person, ReplyTo, turn_id
from core.domain.model_rounds import RoundRequest
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, MEMBER, on_slack
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

PEOPLE = {
    "slack": MEMBER,
    "discord": Person("discord", "42", name="Dora"),
    "web": Person("web", "ana", name="Ana"),
    "terminal": Person("terminal", "owner"),
}
FIND = "call table_read {}"
UPDATE = f"call table_update {json.dumps({'rows': {'1': {'Name': 'A'}}})}"
READING = ("read", "tool:table_read")
WRITING = ("propose", "propose:People", "tool:table_update")


def open_to_all() -> Policy:
    return allow_list(
        frozenset({"slack", "discord:42", "web", "terminal"}), frozenset({"slack:U9"})
    )


def without(person: Person, right: str) -> RuleBook:
    """The rules of an operator who took it from that person."""
    return RuleBook(
        (Rule("ponte.toml:1", frozenset({f"{person.platform}:{person.id}"}), deny=(right,)),)
    )


def make_platform_message(person: Person, text: str, key: str) -> Message:
    if person.platform == "slack":
        return on_slack(text, key, person)
    address = Address(person.platform, "C1")
    key = f"{person.platform}:{key}"
    return Message(key, text, person, address, ReplyTo(address, person, key, turn_id(key)))


@asynccontextmanager
async def bot(
    bot_home: BotHome, table: MemoryTable, policy: Policy, model: EchoModel | None = None
) -> AsyncIterator[RunningBot]:
    file = bot_home.open(model or EchoModel(), sources=[table], appliers=[table], policy=policy)
    async with file as ponte:
        yield ponte


async def test_only_permitted_tools_are_offered(bot_home: BotHome) -> None:
    policy, model = open_to_all(), EchoModel()
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy, model) as ponte:

        async def offered_tools(key: str) -> set[str]:
            await ponte.ask_message(on_slack("hello", key))
            return {tool.name for tool in model.asks[-1].tools}

        everything = await offered_tools("k0")
        assert {"table_read", "table_update", "table_delete"} <= everything
        for number, right in enumerate((*READING, *WRITING), 1):
            policy.read_rules = fixed_rules(without(MEMBER, right))
            there = await offered_tools(f"k{number}")
            missing_right = "table_read" if right in READING else "table_update"
            # Of a table alone the tool is still there for others.
            assert (missing_right in there) == (right == "propose:People"), right
            policy.read_rules = fixed_rules(RuleBook())
            assert await offered_tools(f"r{number}") == everything, "after the next reload"


@pytest.mark.parametrize("right", [*READING, *WRITING])
async def test_a_right_is_checked_again_when_a_tool_is_called(
    bot_home: BotHome, right: str
) -> None:
    """It is taken away between the offer and the call, from a person of each platform."""
    policy, text = open_to_all(), FIND if right in READING else UPDATE

    async def taken_away(ask: RoundRequest) -> None:
        policy.read_rules = fixed_rules(without(person, right))

    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy, EchoModel(gate=taken_away)) as ponte:
        for person in PEOPLE.values():
            policy.read_rules = fixed_rules(RuleBook())
            answer = await ponte.ask_message(make_platform_message(person, text, "k1"))
            assert answer.cards == (), person
            assert "You don't have permission to " in answer.text, person
            assert "An admin can change that in `ponte.toml`." in answer.text
            assert "Ada" not in answer.text
