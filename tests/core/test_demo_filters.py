"""A person without a key asks for some of a table's rows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from core.clients.http import HttpClient
from core.models.demo_model import DemoModel
from core.models.demo_tables import parse_table_request
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from tests.fakes.bridge import FakeBridge
from tests.fakes.chat import Chat
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        yield Chat(DemoModel, await source.tools())


@pytest.mark.parametrize(
    ("said", "table", "filters"),
    [
        ("Orders", "Orders", []),
        ("Orders where Paid is true", "Orders", [("Paid", "eq", "true")]),
        ('"Our orders" where "Due date" = \'2026-11\'', "Our orders",
         [("Due date", "eq", "2026-11")]),
        ("Orders where Amount >= 10.5 and Title is not Chair", "Orders",
         [("Amount", "gte", "10.5"), ("Title", "neq", "Chair")]),
        ("Orders WHERE Amount<5 and Title contains a > b", "Orders",
         [("Amount", "lt", "5"), ("Title", "contains", "a > b")]),
        ("Orders where Notes is empty and Due is not empty", "Orders",
         [("Notes", "blank", None), ("Due", "notblank", None)]),
        ("Orders where Amount neq 3", "Orders", [("Amount", "neq", "3")]),
    ],
)  # fmt: skip
def test_filters_are_read(
    said: str, table: str, filters: list[tuple[str, str, str | None]]
) -> None:
    asked = parse_table_request(said)
    assert asked.table == table
    assert [tuple(each.values()) for each in asked.filters or ()] == filters


@pytest.mark.parametrize("said", ["Orders where", "Orders where Amount", "Orders where = 3 and x"])
def test_what_is_not_understood_is_no_filter(said: str) -> None:
    asked = parse_table_request(said)
    assert asked.filters is None or asked.table == said


async def test_the_rows_that_fit_are_shown(chat: Chat) -> None:
    shown = await chat.says("show orders where Paid is true and Amount > 86")
    assert shown.startswith("**Orders**: 2 of 2 rows.\n\n| id | Title |")
    assert "| 58 | Order 58 | 87 | ✓ |" in shown
    (call,) = chat.calls
    assert json.loads(call.arguments)["filters"] == [
        {"field": "Paid", "op": "eq", "value": "true"},
        {"field": "Amount", "op": "gt", "value": "86"},
    ]
    assert await chat.says("how many?") == "Orders had 2 rows when I checked."


async def test_where_none_fit_and_where_a_name_is_wrong(chat: Chat) -> None:
    assert await chat.says("show Orders where Title is none") == (
        "**Orders** has no matching rows."
    )
    wrong = await chat.says("show Customers where Status is Leed")
    assert wrong.endswith("Status has no option 'Leed'. (did you mean 'Lead'?)")
    assert "Use filters such as `Status is Lead`" in await chat.says("show Orders where it rains")


async def test_the_bridge_cannot_filter() -> None:
    async with FakeBridge() as bridge, HttpClient() as http:
        chat = Chat(DemoModel, await BridgeSource(bridge.url, "", http, pauses=()).tools())
        told = await chat.says("show Customers where Name is Ana")
        assert told.startswith("I can filter rows only when NocoDB is connected directly")
