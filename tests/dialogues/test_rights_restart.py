"""Each right when a proposal is applied, after a restart, and after a reload."""

from __future__ import annotations

import pytest

from core.people.rules import RuleBook
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import ADA, BOSS, approve_after_reading, on_slack, says
from tests.dialogues.test_rights_moments import (
    PEOPLE,
    UPDATE,
    bot,
    make_platform_message,
    open_to_all,
    without,
)
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable


@pytest.mark.parametrize("name", ["slack", "web"])
async def test_a_right_is_checked_again_when_a_change_is_applied(
    bot_home: BotHome, name: str
) -> None:
    """It is taken away while the proposal waits, and counts after a restart too."""
    person, right = PEOPLE[name], "propose:People"
    policy, table = open_to_all(), MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy) as ponte:
        (card,) = (await ponte.ask_message(make_platform_message(person, UPDATE, "k1"))).cards
        policy.read_rules = fixed_rules(without(person, right))
        reply = await says(ponte, f"approve {card.id}", "k2", BOSS)
        assert (reply.code, table.applied) == ("forbidden", [])
    anew = open_to_all()
    anew.read_rules = fixed_rules(without(person, right))
    async with bot(bot_home, table, anew) as ponte:
        reply = await says(ponte, f"approve {card.id}", "k3", BOSS)
        assert (reply.code, table.applied) == ("forbidden", [])
        anew.read_rules = fixed_rules(RuleBook())
        alone = on_slack(f"approve {card.id}", "k4", BOSS, channel="D9", shared=False)
        outcome = await approve_after_reading(ponte, alone)
        assert "Done." in outcome.text, "it was given back"
    assert table.rows["1"]["Name"] == "A"
