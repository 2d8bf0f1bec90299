"""What `help` says that a person may do, where that differs by table."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.changes.approval import TableRule, TableRules
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import BOSS, MEMBER, says
from tests.dialogues.test_card_readers import HIDDEN, NAMED, orders
from tests.dialogues.test_rights import CLERK


async def read_rights(
    bot_home: BotHome, folder: Path, text: str, tables: TableRules
) -> dict[str, list[str]]:
    """The lines about rights for each person."""
    async with orders(bot_home, folder, text, tables) as (ponte, _, _):
        answers = {
            person.name: (await says(ponte, "help", f"h{person.id}", person)).text
            for person in (MEMBER, CLERK, BOSS)
        }
    return {
        name: [line[2:] for line in answer.split("\n") if line[2:3] in "✅🚫"]
        for name, answer in answers.items()
    }


async def test_help_names_the_tables_where_rights_differ(bot_home: BotHome, tmp_path: Path) -> None:
    rights = await read_rights(bot_home, tmp_path, HIDDEN.format(table="Orders"), NAMED)
    assert "✅ read these tables: Customers, Readings" in rights["Cleo"]
    assert "✅ decide on changes in these tables: Orders" in rights["Cleo"], "as a named approver"
    assert "✅ read these tables: Customers, Orders, Readings" in rights["Mia"]
    assert not any("decide on changes in" in line for line in rights["Mia"])


@pytest.mark.parametrize("is_exclusive", [True, False])
async def test_help_says_where_an_admin_does_not_decide(
    bot_home: BotHome, tmp_path: Path, is_exclusive: bool
) -> None:
    rule = TableRule(approvers=frozenset({"slack:S1"}), approvers_only=is_exclusive)
    rights = await read_rights(bot_home, tmp_path, "", TableRules({"Orders": rule}))
    sign = "🚫" if is_exclusive else "✅"
    assert f"{sign} decide on changes in these tables: Orders" in rights["Bea"]
    assert "✅ read tables" in rights["Bea"], "no rule names a table"


async def test_help_names_no_table_that_its_reader_may_not_read(
    bot_home: BotHome, tmp_path: Path
) -> None:
    rule = TableRule(approvers=frozenset({"slack:S1"}), approvers_only=True)
    text = HIDDEN.format(table="Orders").replace("slack:U5", f"slack:{BOSS.id}")
    rights = await read_rights(bot_home, tmp_path, text, TableRules({"Orders": rule}))
    assert not any("Orders" in line for line in rights["Bea"])


async def test_help_names_only_tables_to_decide_on_that_exist(
    bot_home: BotHome, tmp_path: Path
) -> None:
    named = TableRule(approvers=frozenset({"slack:S1"}))
    closed = TableRule("read", approvers=frozenset({"slack:S1"}))
    rules = TableRules(
        {"m2": named, "Ordres": named, "Customers": closed},
        titles={"m1": "Customers", "m2": "Orders"},
    )
    rights = await read_rights(bot_home, tmp_path, "", rules)
    assert "✅ decide on changes in these tables: Orders" in rights["Cleo"]
