"""Lookups and rollups are written as the field whose values they show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from core.base.i18n import use_locale
from core.domain.rights import Viewer
from core.tools.nocodb.api import NamedTable, NocoBase, NocoRecord, TableId
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.read import build_table
from core.tools.nocodb.schema import Schemas

AMOUNT = {
    "id": "amount",
    "title": "Amount",
    "type": "Currency",
    "options": {"currency_code": "BRL"},
}
TO_ORDERS = {
    "id": "orders",
    "title": "Orders",
    "type": "Links",
    "options": {"related_table_id": "morders", "relation_type": "hm"},
}
TO_CUSTOMER = {
    "id": "customer",
    "title": "Customer",
    "type": "LinkToAnotherRecord",
    "options": {"related_table_id": "mcustomers", "relation_type": "bt"},
}


def rollup(source: str, function: str = "sum", link: str = "orders", **more: Any) -> dict[str, Any]:
    options = {"related_field_id": link, "related_table_rollup_field_id": source}
    return {
        "id": f"rollup-{source}",
        "title": "Shown",
        "type": "Rollup",
        "options": {**options, "rollup_function": function, **more},
    }


def lookup(source: str, link: str = "orders") -> dict[str, Any]:
    options = {"related_field_id": link, "related_table_lookup_field_id": source}
    return {"id": f"lookup-{source}", "title": "Shown", "type": "Lookup", "options": options}


class Api:
    """The tables of one base. A table whose fields are None cannot be described."""

    drift_count = 0

    def __init__(self, tables: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> None:
        self.tables = tables
        self.described = list[str]()

    async def list_bases(self) -> Sequence[NocoBase]:
        return [NocoBase("p1", "Base")]

    async def list_tables(self, base: str) -> Sequence[NamedTable]:
        return [NamedTable(id, id.removeprefix("m")) for id in self.tables]

    async def describe_table(self, at: TableId) -> Mapping[str, Any]:
        self.described.append(at.table)
        fields = self.tables[at.table]
        if fields is None:
            raise NocoError("Refused.", code="refused")
        return {"id": at.table, "title": at.table.removeprefix("m"), "fields": fields}


async def format_shown(
    customers: Sequence[Mapping[str, Any]], orders: Sequence[Mapping[str, Any]] | None, cell: object
) -> tuple[str, Sequence[str]]:
    """Return how the field `Shown` of a customer is written in Portuguese, and the tables that were
    described."""
    api: Any = Api({"mcustomers": customers, "morders": orders})
    schemas = Schemas(api, clock=time.monotonic)
    table = await schemas.describe_table(Viewer(), "customers")
    fields = await schemas.fill_formats(Viewer(), table, [table.field("Shown")])
    with use_locale("pt-BR"):
        rows = build_table(
            [NocoRecord("1", {"Shown": cell})],
            fields,
            datetime(2027, 1, 5, tzinfo=UTC),
            "Customers",
        )
    return rows.rows[0][0], api.described


DAY = {"id": "day", "title": "Day", "type": "Date"}
MOMENT = {"id": "moment", "title": "Moment", "type": "DateTime"}
EXACT = {"id": "exact", "title": "Exact", "type": "Decimal", "options": {"precision": 3}}


@pytest.mark.parametrize(
    ("field", "cell", "text"),
    [
        (rollup("amount"), 1234.5, "R$\u00a01.234,50"),
        (rollup("amount", "avgDistinct"), "12.345", "R$\u00a012,345"),
        (rollup("amount", "count"), 1234, "1.234"),
        (rollup("amount", "countDistinct"), 3, "3"),
        (rollup("exact"), 1.5, "1,500"),
        (rollup("missing", precision=1), 2, "2,0"),
        (lookup("amount"), [1234.5], "R$\u00a01.234,50"),
        (lookup("amount"), [1.0, None, 2], "R$\u00a01,00, , R$\u00a02,00"),
        (lookup("amount"), 7, "R$\u00a07,00"),
        (lookup("amount"), [], ""),
        (lookup("day"), ["2026-11-20"], "20 nov. 2026"),
        (lookup("day"), ["2026-11-20", "soon"], "20 de nov. de 2026, soon"),
        (lookup("moment"), "2026-11-20 09:30:00+00:00", "20 nov. 2026, 09:30"),
    ],
)  # fmt: skip
async def test_the_field_behind_decides(field: dict[str, Any], cell: object, text: str) -> None:
    orders: list[Mapping[str, Any]] = [AMOUNT, DAY, MOMENT, EXACT]
    output, _ = await format_shown([TO_ORDERS, field], orders, cell)
    assert output == text


async def test_a_chain_of_lookups_is_followed_and_a_circle_ends() -> None:
    totals = rollup("price")
    lines = [{**rollup("amount", link="customer"), "id": "price"}, TO_CUSTOMER]
    text, description = await format_shown([TO_ORDERS, totals, AMOUNT], lines, 5)
    assert (text, description) == ("R$\u00a05,00", ["mcustomers", "morders"])
    circle = {**lookup("lookup-back", link="customer"), "id": "back"}
    back = {**lookup("back"), "id": "lookup-back"}
    text, _ = await format_shown([TO_ORDERS, back], [TO_CUSTOMER, circle], [5])
    assert text == "5"


async def test_a_field_is_not_shown_while_nobody_knows_whether_it_shows_a_secret() -> None:
    with pytest.raises(NocoError, match="Refused"):
        await format_shown([TO_ORDERS, rollup("amount")], None, 1234.5)


async def test_a_rollup_of_linked_rows_has_its_format_there_too() -> None:
    """Customer.Shown as a column of orders."""
    customers = [TO_ORDERS, rollup("amount")]
    api: Any = Api({"mcustomers": customers, "morders": [TO_CUSTOMER, AMOUNT]})
    schemas = Schemas(api, clock=time.monotonic)
    table = await schemas.describe_with_links(Viewer(), "orders", ["Customer.Shown"])
    view, own = (table.field(name) for name in ("Customer.Shown", "Amount"))
    form, amount = await schemas.fill_formats(Viewer(), table, [view, own])
    assert form.format == amount.format == "currency BRL 2"
