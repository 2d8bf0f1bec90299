"""What the operator of a bot on NocoDB finds in the log, what people are told of a token that is
taken away, and how many calls a write makes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from core.base.http import HttpClient
from core.domain.messages import Answer
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB


class Revoking(FakeNocoDB):
    """The token ends with the first write."""

    async def count_finished_call(self) -> None:
        if self.calls[-1].method == "PATCH":
            self.world.users.pop(filled.EDITOR, None)
        await super().count_finished_call()


@asynccontextmanager
async def open_bot(bot_home: BotHome, nocodb: FakeNocoDB) -> AsyncIterator[RunningBot]:
    async with nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        async with bot_home.open(EchoModel(), [source], appliers=[source.rows]) as ponte:
            yield ponte


async def calls(ponte: RunningBot, tool: str, **arguments: Any) -> Answer:
    return await ponte.ask(f"call nocodb_{tool} {json.dumps({'table': 'Customers', **arguments})}")


async def test_a_token_that_is_taken_away_while_a_change_is_applied(bot_home: BotHome) -> None:
    changes = [{"id": n, "fields": {"Name": "New"}} for n in range(1, 13)]
    async with open_bot(bot_home, Revoking()) as ponte:
        (card,) = (await calls(ponte, "update", changes=changes)).cards
        text = (await ponte.ask(f"approve {card.id}")).text
        assert "Partly done: 10 of 12 rows." in text
        assert "Saved, but couldn't be verified: ID 1, 2, 3, 4, 5, 6, 7, 8, 9, 10." in text
        assert (
            "Rejected: ID 11, 12. They could not be read again, so nothing was written. NocoDB "
            "rejected the token. Check the NOCODB_TOKEN setting." in text
        )


async def test_the_log_tells_what_happened_and_nothing_of_the_rows(bot_home: BotHome) -> None:
    with capture_logs() as lines:
        async with open_bot(bot_home, nocodb := FakeNocoDB()) as ponte:
            await calls(ponte, "query", filters=[{"field": "Nmae", "op": "eq", "value": "Bea X"}])
            (card,) = (
                await calls(
                    ponte,
                    "update",
                    filters=[{"field": "Name", "op": "contains", "value": "omer 0"}],
                    set={"Name": "Ann Y"},
                )
            ).cards
            nocodb.drop("after", 1)
            await ponte.ask(f"approve {card.id}")
            await ponte.ask(f"undo {card.id}")
            await calls(ponte, "wish")
    log = [json.dumps(line, default=str) for line in lines]
    for secret in ("Bea X", "Ann Y", "Customer 0", "c01@example", filled.EDITOR, "nocodb_wish"):
        assert not [line for line in log if secret in line]
    texts = [(line["event"], line.get("code") or line.get("rows")) for line in lines]
    for expected in (("tool call refused", "unknown_field"), ("change recorded", 9)):
        assert expected in texts
    assert {line["written_rows"] for line in lines if line.get("state") == "done"} == {9}


async def test_an_approved_one_row_write_makes_four_calls(bot_home: BotHome) -> None:
    """The description, the rows, the write, the rows again. It made six: three descriptions."""
    writes: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("update", {"changes": [{"id": 1, "fields": {"Value": 7}}]}, "PATCH"),
        ("create", {"rows": [{"Value": 7}]}, "POST"),
        ("delete", {"ids": ["1"]}, "DELETE"),
    )
    async with open_bot(bot_home, nocodb := FakeNocoDB()) as ponte:
        for tool, arguments, method in writes:
            (card,) = (await calls(ponte, tool, **{"table": "Readings", **arguments})).cards
            nocodb.calls.clear()
            assert "Done." in (await ponte.ask(f"approve {card.id}")).text
            results = [(call.method, "/meta/" in call.path) for call in nocodb.calls]
            assert results == [("GET", True), ("GET", False), (method, False), ("GET", False)]
