"""What an auditor finds of it, whoever writes and wherever the lines are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from bot.operations import forget_thread
from bot.ponte import Ponte
from core.base.errors import NotFound
from core.domain.model_rounds import ModelEvent, RoundRequest
from core.domain.records import Outcome
from core.domain.rights import Effect
from core.people.audit import OPERATOR
from core.people.rules import Rule, RuleBook
from core.tools.tool import FunctionTool
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    bot,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.dialogues.decisions import RIGHTS as ALLOWED
from tests.dialogues.decisions import STRANGER as STAN
from tests.fakes.choices import allow_list, fixed_caps
from tests.fakes.config import fixed_rules
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.quick_commands import RegisteredCommands
from tests.time_limits import Limits


class Machine(FixedTools):
    """A source with one tool, `work`, of this effect. Where it `holds`, it does not end."""

    def __init__(self, effect: Effect, *, holds: bool = False) -> None:
        self.begun = asyncio.Event()

        async def work(secret: str) -> str:
            """Works.

            Args:
                secret: a word
            """
            self.begun.set()
            if holds:
                await asyncio.Event().wait()
            return f"worked on {secret}"

        super().__init__(FunctionTool(work, effect=effect, doing="works…"))


WORK = 'call work {"secret": "hunter2"}'


async def lines(ponte: RunningBot, **wanted: str) -> list[Mapping[str, Any]]:
    match, following = await ponte.engine.people.audit.read(**wanted)
    assert not following
    assert not [line for line in match if "hunter2" in str(line)], "nothing that was said"
    return [*match[::-1]]


def audit_values(line: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line.get(name, "") for name in ("event", "asker", *names))


@pytest.mark.parametrize(("effect", "runs"), [("spend", 1), ("code", 1), ("read", 0)])
async def test_a_tool_that_costs_is_a_run(bot_home: BotHome, effect: Effect, runs: int) -> None:
    async with bot_home.open(sources=[Machine(effect)], policy=ALLOWED) as ponte:
        await says(ponte, WORK, "k1")
        names = ("tool", "outcome", "rule", "place")
        matches = [audit_values(line, *names) for line in await lines(ponte)]
    expected = ("tool-run", MEMBER.key, "work", "ok", "PONTE_ALLOW", "slack:T1:C1:tU1")
    assert matches == [expected] * runs


async def test_a_run_that_was_stopped_is_told(bot_home: BotHome) -> None:
    machine = Machine("code", holds=True)
    async with bot_home.open(sources=[machine], policy=ALLOWED) as ponte:
        receipt = await ponte.engine.conversations.inbox.accept(on_slack(WORK, "k1"))
        await machine.begun.wait()
        await says(ponte, "stop", "k2")
        await ponte.wait_for_answer(receipt)
        (line,) = await lines(ponte)
        text = audit_values(line, "tool", "outcome")
        assert text == ("tool-run", MEMBER.key, "work", "interrupted")


async def test_what_was_cut_off_is_told_when_it_is_known(bot_home: BotHome, limits: Limits) -> None:
    limits(CANCELLED_TURN_SECONDS=0.1)
    machine = Machine("spend", holds=True)
    async with bot_home.open(sources=[machine], policy=ALLOWED) as ponte:
        receipt = await ponte.engine.conversations.inbox.accept(on_slack(WORK, "k1"))
        await machine.begun.wait()
        ponte.engine.people.audit.note = lambda *_, **__: None  # type: ignore[method-assign]  # kill -9
        for task in asyncio.all_tasks():
            if getattr(task.get_coro(), "__name__", "") == "_recorded":
                task.cancel()
    async with bot_home.open(sources=[Machine("spend")], policy=ALLOWED) as ponte:
        await ponte.wait_for_answer(receipt)
        (line,) = await lines(ponte)
        assert audit_values(line, "tool", "outcome") == ("tool-run", MEMBER.key, "work", "unknown")


async def test_a_typed_command_is_a_run(bot_home: BotHome) -> None:
    quick = RegisteredCommands()
    async with bot_home.open(quick=quick, policy=ALLOWED) as ponte:
        await says(ponte, "quick-command echo hunter2", "k1")
        quick.outcome = Outcome("error", "no, hunter2")
        await says(ponte, "quick-command echo hunter2", "k2")
        await says(ponte, "quick-command nothing-such", "k3")
        match = await lines(ponte)
        assert [audit_values(line, "tool", "outcome", "rule") for line in match] == [
            ("tool-run", MEMBER.key, "command:echo", "ok", "PONTE_ALLOW"),
            ("tool-run", MEMBER.key, "command:echo", "error", "PONTE_ALLOW"),
        ]


async def test_each_refusal_says_which_right_and_which_rule(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"slack:U1", "slack:U2"}), frozenset({"slack:U9"}))
    no_spending = Rule("ponte.toml:7", frozenset({"slack:U1"}), deny=("spend",))
    silent = Rule("ponte.toml:9", frozenset({"slack:U2"}), deny=("chat",))
    policy.read_rules = fixed_rules(RuleBook((no_spending, silent)))
    table = MemoryTable()
    async with bot(bot_home, table, policy=policy, quick=RegisteredCommands()) as ponte:
        await says(ponte, "quick-command echo hi", "k1")
        await says(ponte, "hello", "k2", OTHER)
        card = await proposed_on_slack(ponte, "k3", "table_create", rows=[ADA])
        await says(ponte, f"approve {card.id}", "k4", STAN, thread="tU1")
        match = await lines(ponte, event="action-refused")
    assert [audit_values(line, "right", "rule", "change") for line in match] == [
        ("action-refused", MEMBER.key, "spend", "ponte.toml:7", ""),
        ("action-refused", OTHER.key, "chat", "ponte.toml:9", ""),
        ("action-refused", STAN.key, "propose:People", "", card.id),
    ]


async def test_whose_card_it_is_not_is_refused_by_the_right_to_decide(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable(), policy=ALLOWED) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        await says(ponte, f"approve {card.id}", "k2", OTHER, thread="tU1")
        await says(ponte, f"approve {card.id}", "k3", BOSS)
        match = await lines(ponte)
        assert [audit_values(line, "right", "rule", "change", "decider") for line in match] == [
            ("change-proposed", MEMBER.key, "", "PONTE_ALLOW", card.id, ""),
            ("action-refused", OTHER.key, "approve", "", card.id, ""),
            ("change-approved", MEMBER.key, "", "PONTE_ADMINS", card.id, BOSS.key),
            ("change-done", MEMBER.key, "", "", card.id, BOSS.key),
        ]


async def test_a_right_that_went_meanwhile_is_refused_at_the_call(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"slack:U1"}))

    class Slow(EchoModel):
        async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent]:
            rule = Rule("ponte.toml:3", frozenset({"slack:U1"}), deny=("tool:work",))
            policy.read_rules = fixed_rules(RuleBook((rule,)))
            async for event in super().ask(ask):
                yield event

    async with bot_home.open(Slow(), [Machine("spend")], policy=policy) as ponte:
        await says(ponte, WORK, "k1")
        (line,) = await lines(ponte)
        assert audit_values(line, "right", "rule") == (
            "action-refused",
            MEMBER.key,
            "tool:work",
            "ponte.toml:3",
        )


async def test_a_model_that_may_not_propose_leaves_a_line(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"slack:U1"}))
    rule = Rule("ponte.toml:3", frozenset({"slack:U1"}), deny=("propose:People",))
    policy.read_rules = fixed_rules(RuleBook((rule,)))
    async with bot(bot_home, MemoryTable(), policy=policy) as ponte:
        await says(ponte, 'call table_create {"rows": [{"Name": "hunter2"}]}', "k1")
        (line,) = await lines(ponte)
        assert audit_values(line, "right", "rule") == (
            "action-refused",
            MEMBER.key,
            "propose:People",
            "ponte.toml:3",
        )


async def test_who_is_over_an_allowance_is_refused(bot_home: BotHome) -> None:
    async with bot_home.open(policy=ALLOWED, caps=fixed_caps(1)) as ponte:
        for key in ("k1", "k2"):
            await says(ponte, "hello", key)
        (line,) = await lines(ponte)
        assert audit_values(line, "reason") == ("action-refused", MEMBER.key, "too_many")


async def test_the_operator_forgets_a_conversation(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable(), policy=ALLOWED) as running_bot:
        parts: list[Any] = [None] * 14
        parts[3] = running_bot.engine
        ponte = Ponte(*parts)
        card = await proposed_on_slack(running_bot, "k1", "table_create", rows=[ADA])
        await says(running_bot, f"approve {card.id}", "k2", BOSS)
        await forget_thread(ponte, "slack:T1:C1:tU1", OPERATOR)
        last = (await lines(running_bot))[-1]
        expected = ("conversation-forgotten", "operator", "slack:T1:C1:tU1")
        assert audit_values(last, "place") == expected
        assert (await lines(running_bot, person="slack:U1"))[0]["asker"] == MEMBER.key
        with pytest.raises(NotFound):
            await forget_thread(ponte, "slack:T1:C1:tU1", OPERATOR)


async def test_what_is_forgotten_by_a_person_is_told(bot_home: BotHome) -> None:
    """What was noted last is there after a stop."""
    async with bot_home.open(policy=ALLOWED) as ponte:
        await says(ponte, "hello", "k1")
        await says(ponte, "forget yes", "k2")
        (line,) = await lines(ponte)
        expected = ("conversation-forgotten", MEMBER.key, "slack:T1:C1:tU1")
        assert audit_values(line, "place") == expected
        for number in range(20):
            ponte.engine.people.audit.note("tool-run", MEMBER, tool=f"t{number}")
    async with bot_home.open(policy=ALLOWED) as ponte:
        _, *note = await lines(ponte)
        assert [line["tool"] for line in note] == [f"t{n}" for n in range(20)]
