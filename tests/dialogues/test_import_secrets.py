"""No import tells whether a value that somebody gives stands in a secret field."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest

from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, PacedNocoDB, importer
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.tables import FakeField, FakeTable

STORED, OTHER = 500, 501
COLUMNS = {"Name": "Name", "Senha": "Senha"}


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        server.customers.fields.append(FakeField("csecret", "Senha", "Number"))
        yield server


def store(customers: FakeTable, secret: int) -> None:
    for row in customers.rows.values():
        row.update(Senha=secret, UpdatedAt=None)


async def outcome_of(here: Importer, rows: list[str]) -> tuple[str, ...]:
    """Return all that people see of an import of these rows, and of its end."""
    card = await here.propose(rows, columns=COLUMNS, key="Name")
    if not card.has_plan:
        await here.bot.ask(f"approve {card.id}")
    end = await here.bot.engine.changes.views.describe_outcome(await here.get(card.id))
    shown = card.text, *map(repr, card.rows)
    return card.title, end, *(re.sub(r"Plan `\w+` of `import-\d", "", text) for text in shown)


@pytest.mark.parametrize("new", [[], [f"New {number},1" for number in range(3)]])
async def test_a_right_guess_counts_as_a_wrong_one(
    bot_home: BotHome, nocodb: PacedNocoDB, new: list[str]
) -> None:
    """Rows of one kind are a card of their own; of two, a plan with numbers and samples."""
    guesses = [f"Customer {number:02},{STORED}" for number in range(1, 6)]
    async with importer(bot_home, nocodb.origin) as here:
        seen = []
        for secret in (STORED, OTHER):
            store(nocodb.customers, secret)
            seen.append(await outcome_of(here, [*guesses, *new]))
            times = [nocodb.customers.rows[number]["UpdatedAt"] for number in range(1, 6)]
            assert all(times) or new
        assert seen[0] == seen[1]
        assert str(OTHER) not in str(seen)
        assert str(STORED) not in str(seen)


async def test_two_plans_over_the_same_values_have_different_digests(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    """Otherwise the digest on the card would tell which value makes it."""
    store(nocodb.customers, STORED)
    async with importer(bot_home, nocodb.origin) as here:
        digests = set()
        for _ in range(2):
            card = await here.propose(["Customer 01,1", "New,1"], columns=COLUMNS, key="Name")
            digests.add((await here.get(card.id)).draft.target["sha256"])
        assert len(digests) == 2


def reason(here: Importer, answer: Answer) -> str:
    assert not answer.cards
    return here.model.asks[-1].input[-1].text


async def test_a_secret_field_is_no_key(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        for guess in (STORED, OTHER):
            answer = await here.read_file([f"x,{guess}"], columns=COLUMNS, key="Senha")
            assert '"code":"withheld"' in reason(here, answer)


async def test_rows_are_not_linked_by_a_secret_name(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    tables = nocodb.world.bases[filled.CRM].tables.values()
    next(table for table in tables if table.title == "Customers").display.title = "Token"
    async with importer(bot_home, nocodb.origin) as here:
        for guess in ("Customer 01", "Customer 99"):
            columns = {"Title": "Title", "Customers": "Customers"}
            answer = await here.read_file([f"x,{guess}"], columns=columns, table="Orders")
            assert '"code":"withheld"' in reason(here, answer)


async def test_a_guess_is_as_stale_as_any_other_if_the_secret_has_changed(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    """Somebody sets another secret between request and approval: whether it is the proposed one is
    told neither by the card's end nor by what is written, whatever else stands in the row."""
    async with importer(bot_home, nocodb.origin) as here:
        for more in ({}, {"Status": "Lost"}):
            ends = []
            for guess in (OTHER, 777):
                store(nocodb.customers, STORED)
                nocodb.customers.rows[1].update(Status="Lead")
                changes = [{"id": 1, "fields": {"Senha": guess, **more}}]
                arguments = json.dumps({"table": "Customers", "changes": changes})
                (card,) = (await here.bot.ask(f"call nocodb_update {arguments}")).cards
                nocodb.customers.rows[1].update(Senha=OTHER)
                await here.bot.ask(f"approve {card.id}")
                change = await here.get(card.id)
                ends.append((change.state, nocodb.customers.rows[1]["UpdatedAt"]))
                assert nocodb.customers.rows[1]["Senha"] == OTHER
            assert ends[0] == ends[1], more


@pytest.mark.parametrize("guess", [0, 7])
async def test_a_guess_of_zero_is_a_guess(
    bot_home: BotHome, nocodb: PacedNocoDB, guess: int
) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        store(nocodb.customers, 0)
        changes = [{"id": 1, "fields": {"Senha": guess}}]
        arguments = json.dumps({"table": "Customers", "changes": changes})
        (card,) = (await here.bot.ask(f"call nocodb_update {arguments}")).cards
        (row,) = card.rows
        assert str(row["before"]["Senha"]) == "[withheld]"
        assert [change["field"] for change in row["changes"]] == ["Senha"]
        await here.bot.ask(f"approve {card.id}")
        assert (await here.get(card.id)).state == "done"
        assert nocodb.customers.rows[1]["UpdatedAt"]
