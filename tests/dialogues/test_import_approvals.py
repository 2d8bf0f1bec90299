"""Who approves an import, and where: nobody gets a row past the people who decide."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from core.domain.messages import Address, Answer, Person
from core.people.policy import Policy
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import BOSS, MEMBER, OTHER, on_slack, says
from tests.dialogues.imports import PacedNocoDB, importer, new_rows
from tests.dialogues.test_nocodb_web import page
from tests.fakes.choices import allow_list
from tests.fakes.openai import Script

pytestmark = pytest.mark.slow
ROWS = 120
OPERATOR = Person("terminal", "owner", name="Op")
in_private = partial(says, channel="D", shared=False)


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


def rights() -> Policy:
    """Mia and Otto may write, Bea is an admin, and so is whoever runs Ponte in the terminal."""
    admins = frozenset({"slack:U9", "terminal"})
    return allow_list(frozenset({"slack:U1", "slack:U2"}), admins)


def typed_code(reading: Answer) -> str:
    """The id and the digits in the name of the file that was posted to be read."""
    (file,) = reading.files
    assert re.fullmatch(r"[a-z2-7]{6}-\d{4}\.xlsx", file.name)
    return file.name.removesuffix(".xlsx")


def rules(**values: Any) -> TableRules:
    return TableRules({"customers": TableRule(**values)})


async def test_no_rule_approves_an_import_by_itself(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """It has more rows than people approve for themselves, and the copy of its card for an admin
    has no button: the plan is read first."""
    auto = rules(
        access="auto",
        auto_fields=frozenset({"Status"}),
        auto_people=frozenset({"slack:U1"}),
        auto_per_hour=5,
    )
    async with importer(bot_home, nocodb.origin, policy=rights(), rules=auto) as here:
        private = partial(on_slack, channel="D", shared=False)
        changes = [f"Customer {number:02d},Active" for number in range(1, 22)]
        answer = await here.read_file([*changes, *new_rows(ROWS)], private, key="Name")
        (card,) = answer.cards
        assert (card.state, card.actions, len(answer.files)) == ("open", ("deny",), 1)
        own = await in_private(here.bot, f"approve {card.id}", "own")
        assert "an admin must approve it" in own.text
        why = await in_private(here.bot, f"why {card.id}", "why")
        assert "`propose:Customers`: allowed" in why.text
        assert "An admin decides" in why.text
        (listed,) = (await in_private(here.bot, "approvals", "list", BOSS)).cards
        assert listed.actions == ("deny",)
        assert f"type `approve {card.id}` in a direct message" in listed.text
        click = private(f"approve {card.id}", "click", BOSS, clicked=True)
        reading = await here.bot.ask_message(click)
        assert typed_code(reading).startswith(card.id)
        assert nocodb.write_calls == []
        approved = await in_private(here.bot, f"approve {typed_code(reading)}", "code", BOSS)
        assert "Approved by Bea. Written: 134." in approved.text
        change = {"table": "Customers", "changes": [{"id": 25, "fields": {"Status": "Lost"}}]}
        update = await in_private(here.bot, f"call nocodb_update {json.dumps(change)}", "update")
        assert [card.kind for card in update.cards] == ["change"], (
            "the import's rows are not those that the rule approved"
        )
        assert nocodb.customers.rows[25]["Status"] == "Lost"


async def test_two_approvers_each_read_the_plan(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    two = rules(approvers=frozenset({"slack:U2", "slack:U9"}), approvals=2)
    async with importer(bot_home, nocodb.origin, policy=rights(), rules=two) as here:
        (card,) = (await here.read_file(new_rows(ROWS), on_slack)).cards
        click = on_slack(f"approve {card.id}", "click", BOSS, clicked=True, thread="tU1")
        crafted = await here.bot.ask_message(click)
        assert (crafted.status, crafted.is_private, crafted.files) == ("failed", True, ())
        asker = await in_private(here.bot, f"approve {card.id}", "asker")
        assert "The person who requested it can't approve it." in asker.text
        for person in (OTHER, BOSS):
            assert nocodb.write_calls == []
            key = f"read {person.id}"
            reading = await in_private(here.bot, f"approve {card.id}", key, person)
            assert len(reading.files) == 1
            code = f"approve {typed_code(reading)}"
            approved = await in_private(here.bot, code, f"code {person.id}", person)
        assert approved.text.startswith("Approved by Otto, Bea. Written: 120.")
        assert len(nocodb.new_names) == ROWS


async def test_digits_count_for_one_person_and_one_plan(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    async with importer(bot_home, nocodb.origin, policy=rights()) as here:
        first, second = [
            (await here.read_file(new_rows(ROWS, name), on_slack)).cards[0] for name in "AB"
        ]
        reading = await in_private(here.bot, f"approve {first.id}", "read", BOSS)
        digits = typed_code(reading).partition("-")[2]
        for id, person in ((second.id, BOSS), (first.id, MEMBER)):
            guess = f"approve {id}-{digits}"
            assert (await in_private(here.bot, guess, f"{id}", person)).status == "failed"
        both = f"approve {first.id} {second.id}"
        assert (await in_private(here.bot, both, "both", BOSS)).status == "failed"
        other = await in_private(here.bot, f"approve {first.id}.2", "other version", BOSS)
        assert "This version was replaced" in other.text
        denied = await in_private(here.bot, f"deny {second.id} Not ours.", "deny", BOSS)
        assert denied.text.startswith("Denied by Bea.")
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
        late = await in_private(here.bot, f"approve {first.id}-{digits}", "late", BOSS)
        assert late.code == "expired"
        assert nocodb.write_calls == []


async def test_other_rows_than_those_of_the_plan_are_not_written(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    """Somebody changes the stored plan after it was read."""
    async with importer(bot_home, nocodb.origin, policy=rights()) as here:
        (card,) = (await here.read_file(new_rows(ROWS), on_slack)).cards
        reading = await in_private(here.bot, f"approve {card.id}", "read", BOSS)
        id = (await here.get(card.id)).draft.target["plan"]
        (plan,) = (bot_home.home / "files").glob(f"**/{id}*")
        plan.write_bytes(plan.read_bytes().replace(b"New 0000", b"Mine 000"))
        code = f"approve {typed_code(reading)}"
        answer = await in_private(here.bot, code, "code", BOSS)
        assert "Not tried: 120. This isn't the plan that was approved" in answer.text
        assert (await here.get(card.id)).state == "failed"
        assert nocodb.write_calls == []


async def test_whoever_runs_ponte_reads_it_in_the_terminal_first(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    """A card there has room for all rows, but no link to a plan."""
    async with importer(bot_home, nocodb.origin, policy=rights()) as here:
        (card,) = (await here.read_file(new_rows(ROWS), on_slack)).cards
        message = on_slack(f"approve {card.id}", "typed", OPERATOR)
        there = Address("terminal", "local")
        typed = replace(message, address=there, reply_to=replace(message.reply_to, address=there))
        reading = await here.bot.ask_message(typed)
        assert typed_code(reading).startswith(card.id)
        assert nocodb.write_calls == []


async def test_nobody_decides_on_a_part(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """People know the import alone, also from the history of a row."""
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(ROWS))
        await here.bot.ask(f"approve {card.id}")
        (part, _) = await here.parts(card.id)
        for command in ("approve", "deny", "undo", "change", "again"):
            answer = await here.bot.ask(f"{command} {part.id}")
            assert (answer.status, answer.text) == ("failed", f"Request {part.id} not found.")
        assert (await here.bot.ask(f"why {part.id}")).code == "not_found"
        assert part.id not in (await here.bot.ask("changes")).text
        ask = f'call nocodb_history {{"table": "Customers", "id": {part.steps[0].write.id}}}'
        history = (await here.bot.ask(ask)).text
        assert f'"id":"{card.id}"' in history
        assert part.id not in history
        undo = await here.bot.ask(f"undo {card.id}")
        history = (await here.bot.ask(ask)).text
        assert history.count(card.id) > 1
        parts = [id for change in (part, *await here.parts(card.id)) for id in (change.id,)]
        assert not [id for id in parts if id in history]
        assert undo.text.startswith("Undone")
        assert not nocodb.new_names


async def test_the_page_gives_the_plan_as_its_readers_may_see_it(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        columns = {"Name": "Name", "Status": "Status"}
        call = {"file": "new.csv", "table": "Customers", "columns": columns}
        script = Script(calls=(("nocodb_import", json.dumps(call)),), match="Import", times=0)
        here.team.openai.say(script)
        data = "\n".join(["Name,Status", *new_rows(ROWS)]).encode()
        card = await here.card("Import", ("new.csv", data))
        assert (await here.client.get(f"/cards/{card['id']}/plan")).content.startswith(b"PK")
        await here.clicks("approve", card["id"])
        with closing(sqlite3.connect(tmp_path / "ponte.db")) as database:
            ids = database.execute("SELECT id FROM changes WHERE part_of <> ''").fetchall()
            ((plan,),) = database.execute("SELECT id FROM files WHERE type LIKE '%plan'")
        assert (await here.client.get(f"/files/{plan}")).status_code == 404
        assert len(ids) == 2
        for (id,) in ids:
            assert (await here.client.get(f"/cards/{id}/plan")).status_code == 404
            click = {"action": "undo", "conversation": "work"}
            assert (await here.client.post(f"/cards/{id}", json=click)).status_code == 404
