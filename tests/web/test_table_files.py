"""Tables of answers as files, over HTTP: types of cells, titles, and who may have them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import openpyxl

from adapters.web.page.render import to_html
from core.domain.messages import Answer
from core.domain.rows import Chart, Placed, RowColumn, RowsResult, Series
from tests.web.web_ponte import Client, Turn, WebPonte

INVOICES = RowsResult(
    "Invoices, Status is Overdue: 2 of 2 rows",
    (
        RowColumn("Number"),
        RowColumn("Amount", "number", format="currency BRL 2"),
        RowColumn("Due", format="date"),
        RowColumn("Seen", format="moment"),
        RowColumn("Paid"),
        RowColumn("Rate", "number", format="percent 1"),
        RowColumn("Id", "number"),
    ),
    (
        ("007", "R$ 1.234,50", "20 de nov. de 2026", "20 de nov. 09:30", "Sim", "12,5%", "7"),
        ("=1+1", "", "", "", "Não", "", "12345678901234567"),
    ),
    (
        (None, "1234.5", "2026-11-20", "2026-11-20T09:30:00-03:00", True, 12.5, 7),
        (None, None, None, None, False, None, 12345678901234567),
    ),
)
CHART = Chart("bar", "Sales: all", ("a", "b"), (Series("Sum", (9.0, None), ("9", "–")),))
TYPED = "| *Name* | Size |\n|---|---:|\n| a\\|b `c` [d](https://e.example) | 14.4 |\n| =1 | -3 |"
PORTUGUESE = {"Accept-Language": "pt-BR"}


async def script(turn: Turn) -> Answer:
    places = (Placed(INVOICES.to_markdown(), INVOICES), Placed(CHART.to_markdown(), CHART))
    text = "\n\n".join([TYPED, *(each.text for each in places), "The end."])
    return Answer(text, placed=places)


async def fetch(client: Client, number: int, form: str, **headers: str) -> httpx.Response:
    turn = (await client.post("/chat", json={"message": "Which?"})).json()["turn"]
    answer = await client.get(f"/turns/{turn}/tables/{number}?format={form}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def lines_of(answer: httpx.Response, separator: str) -> Sequence[Sequence[str]]:
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=separator))


async def test_rows_that_a_tool_read_keep_their_types(ponte: WebPonte, client: Client) -> None:
    ponte.script = script
    answer = await fetch(client, 2, "xlsx", **PORTUGUESE)
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")
    assert 'filename="Invoices, Status is Overdue.xlsx"' in answer.headers["content-disposition"]
    sheet: Any = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    assert sheet.title == "Invoices, Status is Overdue"
    number, amount, due, last_visit, payment, rate, id = sheet[2]
    assert (number.value, number.data_type) == ("007", "s")
    assert (amount.value, amount.number_format) == (1234.5, '"R$"\u00a0#,##0.00')
    assert (due.value, due.number_format) == (datetime(2026, 11, 20), "dd/mm/yyyy")  # noqa: DTZ001
    assert last_visit.value == datetime(2026, 11, 20, 9, 30)  # noqa: DTZ001
    assert (payment.value, rate.value, rate.number_format) == (True, 0.125, "#,##0.0%")
    assert id.value == 7
    assert [cell.value for cell in sheet[3]] == [
        "=1+1",
        None,
        None,
        None,
        False,
        None,
        "12345678901234567",
    ]
    assert sheet["A3"].data_type == "s"
    rows = (await fetch(client, 2, "json")).json()
    assert rows[0] == {
        "Number": "007",
        "Amount": 1234.5,
        "Due": "2026-11-20",
        "Seen": "2026-11-20 09:30:00",
        "Paid": True,
        "Rate": 12.5,
        "Id": 7,
    }
    lines = lines_of(await fetch(client, 2, "csv", **PORTUGUESE), ";")
    assert lines[1][1:4] == ["1234,5", "2026-11-20", "2026-11-20 09:30:00"]


async def test_tables_are_counted_as_the_page_shows_them(ponte: WebPonte, client: Client) -> None:
    ponte.script = script
    typed_text = lines_of(await fetch(client, 1, "csv"), ",")
    assert typed_text == [["Name", "Size"], ["a|b c d", "14.4"], ["'=1", "-3"]]
    answer = await fetch(client, 3, "json")
    assert json.loads(answer.text) == [{"": "a", "Sum": 9}, {"": "b", "Sum": None}]
    assert "Sales" in answer.headers["content-disposition"]


async def test_what_is_no_table(ponte: WebPonte, client: Client) -> None:
    ponte.script = script
    turn = (await client.post("/chat", json={"message": "Which?"})).json()["turn"]
    for path, status in (
        ("4?format=csv", 404),
        ("0?format=csv", 404),
        ("-1?format=csv", 404),
        ("٢?format=csv", 404),
        (f"{'9' * 5000}?format=csv", 404),
        ("1?format=pdf", 400),
        ("1", 400),
        ("1?format=CSV", 400),
    ):
        answer = await client.get(f"/turns/{turn}/tables/{path}")
        assert answer.status_code == status, path[:20]


async def test_a_forgotten_or_foreign_table_is_not_there(ponte: WebPonte, client: Client) -> None:
    ponte.script = script
    turn = (await client.post("/chat", json={"message": "Which?"})).json()["turn"]
    path = f"/turns/{turn}/tables/1?format=csv"
    async with ponte.person(ponte.people.add("bia")) as other:
        assert (await other.get(path)).status_code == 404
    await ponte.forget("web:main")
    assert (await client.get(path)).status_code in (404, 410)


def test_days_and_moments_sort_by_time() -> None:
    rows = RowsResult(
        "Due",
        (RowColumn("Due", format="date"), RowColumn("Seen", format="moment")),
        (("Nov 2, 2026", "Nov 2, 2026, 10:00"), ("Dec 1, 2025", "Nov 2, 2026, 9:00"), ("", "soon")),
        (
            ("2026-11-02", "2026-11-02T10:00:00-03:00"),
            ("2025-12-01", "2026-11-02T09:00:00-03:00"),
            (None, None),
        ),
    )
    page = to_html(rows.to_markdown(), (Placed(rows.to_markdown(), rows),))
    first, its_moment, second, moment = map(float, re.findall(r'data-value="([^"]*)"', page))
    assert first == second + 336
    assert its_moment > moment
