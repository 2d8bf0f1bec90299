"""A sample base with the tables and rows that the fake and a real NocoDB have in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.tools.sample.base import Content, NewRow, SampleApi, SampleTable
from tests.real.nocodb.seed import FIELDS, READINGS, customer, order, reading

_CREATED = datetime(2026, 11, 1, tzinfo=UTC)
_FILE = {
    "title": "contract.txt",
    "mimetype": "text/plain",
    "size": 23,
    "path": "download/contract.txt",
}


def make_sample_base(folder: Path, readings: int = READINGS) -> SampleApi:
    tables = [
        SampleTable(
            f"m{title.lower()}",
            title,
            (
                _field(title, "Id", "ID"),
                *(_field(title, f["title"], f["type"], f.get("options")) for f in fields),
                *_LINKS.get(title, ()),
            ),
        )
        for title, fields in FIELDS.items()
    ]
    return SampleApi(folder / "sample.db", "CRM", tables, lambda: _content(readings))


def _field(table: str, title: str, type: str, options: Any = None) -> dict[str, Any]:
    more = {"options": options} if options else {}
    return {"id": f"c{table}{title}".lower(), "title": title, "type": type, **more}


_LINKS = {
    "Customers": (
        _field(
            "Customers",
            "Orders",
            "LinkToAnotherRecord",
            {
                "relation_type": "hm",
                "related_table_id": "morders",
                "inverse_field_id": "corderscustomers",
            },
        ),
        _field(
            "Customers",
            "Total",
            "Rollup",
            {
                "related_field_id": "ccustomersorders",
                "related_table_rollup_field_id": "cordersamount",
                "rollup_function": "sum",
            },
        ),
    ),
    "Orders": (
        _field(
            "Orders",
            "Customers",
            "LinkToAnotherRecord",
            {"relation_type": "bt", "related_table_id": "mcustomers"},
        ),
    ),
}


def _content(readings: int) -> Content:
    customers, orders = (
        {n: make(n) for n in range(1, most + 1)} for make, most in ((customer, 30), (order, 60))
    )
    for row in customers.values():
        row["Tags"] = row["Tags"] and row["Tags"].split(",")
    customers[1]["Contract"] = [_FILE]
    for number in (1, 2):
        orders[number]["Customers"] = 1
    rows = {
        "mcustomers": customers.values(),
        "morders": orders.values(),
        "mreadings": [reading(number) for number in range(1, readings + 1)],
    }
    return {table: [NewRow(row, _CREATED) for row in each] for table, each in rows.items()}
