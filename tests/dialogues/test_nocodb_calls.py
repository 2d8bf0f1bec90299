"""How many NocoDB calls an approved write makes."""

from __future__ import annotations

import json

import pytest

from core.base.http import HttpClient
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB


@pytest.mark.parametrize(
    ("tool", "arguments", "method"),
    [
        ("update", {"changes": [{"id": 1, "fields": {"Value": 7}}]}, "PATCH"),
        ("create", {"rows": [{"Value": 7}]}, "POST"),
        ("delete", {"ids": ["1"]}, "DELETE"),
    ],
)
async def test_an_approved_one_row_write_makes_four_calls(
    bot_home: BotHome, tool: str, arguments: dict[str, object], method: str
) -> None:
    """The description, the rows, the write, the rows again. It made six: three descriptions."""
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        async with bot_home.open(sources=[source], appliers=[source.rows]) as ponte:
            asked = json.dumps({"table": "Readings", **arguments})
            (card,) = (await ponte.ask(f"call nocodb_{tool} {asked}")).cards
            nocodb.calls.clear()
            assert "Done." in (await ponte.ask(f"approve {card.id}")).text
            calls = [(call.method, "/meta/" in call.path) for call in nocodb.calls]
    assert calls == [("GET", True), ("GET", False), (method, False), ("GET", False)]
