"""What `why` answers about tables that `[tables]` closes, sample tables and decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from core.changes.approval import TableRule, TableRules
from core.domain.messages import Person
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import ADA, BOSS, MEMBER, bot, proposed_on_slack, says
from tests.dialogues.test_rights import CLERK, policy
from tests.dialogues.test_sample import PAY, owner
from tests.fakes.memory_table import MemoryTable

DECISION = "Rule for the decision:"


async def test_the_right_to_the_sample_tables_is_not_told_where_it_is_there(
    tmp_path: Path,
) -> None:
    async with owner(tmp_path) as here:
        card = await here.card(PAY)
        why = (await here.ask(f"why {card['id']}"))["response"]
        assert "`propose:Invoices`: allowed" in why
        assert "source:sample" not in why
        await here.click("approve", card["id"])
        why = (await here.ask(f"why {card['id']}"))["response"]
        assert "denied" not in why


async def test_access_of_a_table_decides_and_is_told(bot_home: BotHome, tmp_path: Path) -> None:
    (tmp_path / "ponte.toml").write_text(
        '[tables.Products]\naccess = "hidden"\n[tables.Customers]\naccess = "read"\n'
    )
    rules = read_config(tmp_path / "ponte.toml").table_rules
    async with bot(bot_home, MemoryTable(), policy=policy(), rules=rules) as ponte:
        for right, access in (
            ("read:Products", "hidden"),
            ("propose:Products", "hidden"),
            ("propose:Customers", "read"),
        ):
            assert (await says(ponte, f"why {right}", right)).text == (
                f'`{right}`: denied. `[tables]` in `ponte.toml` sets `access = "{access}"` for '
                "this table."
            )
        assert "allowed" in (await says(ponte, "why read:Customers", "k")).text


@pytest.mark.parametrize(
    ("person", "approvers", "decision"),
    [
        (CLERK, {"slack:S1"}, "- `approve:People`: allowed by the rule `tables.People.approvers`."),
        (MEMBER, {"asker"}, "- `approve:People`: allowed by the rule `tables.People.approvers`."),
        (BOSS, {"slack:S1"}, "- `approve:People`: allowed, because the person is an admin"),
        (MEMBER, (), ""),
    ],
    ids=["a named approver", "the asker, by name", "an admin", "the asker"],
)
async def test_the_rule_for_the_decision_is_that_by_which_it_was_decided(
    bot_home: BotHome, person: Person, approvers: set[str], decision: str
) -> None:
    rules = TableRules({"People": TableRule("ask", frozenset(approvers))})
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=policy(), rules=rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        assert "Done." in (await says(ponte, f"approve {card.id}", "k2", person)).text
        why = (await says(ponte, f"why {card.id}", "k3", person)).text
        assert decision in why
        assert (DECISION in why) == bool(decision)
        assert "denied" not in why
