"""The tables behind the fake bridge, in memory, with the method names of the public bridge's code.

The class is named as over there, because its name stands in the TypeError text of a call with
wrong arguments. Seen on loopback in November 2026: https://github.com/betofilippi/nocodb_claude_code
(`nocodb_http_server.py`) in front of NocoDB 0.301.3.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

Row = dict[str, Any]

BASE = "p3kx9q2m7base01"
CUSTOMERS = "m1customers0001"
ORDERS = "m2orders0000001"

_FIRST = ("Ada", "Bruno", "Chloé", "Davi", "Élise", "Fatima")
_LAST = ("Almeida", "Bernard", "Costa", "Dubois", "Esteves")
_STATUS = ("Lead", "Active", "Lost")


class NocoDBHttpError(Exception):
    """An error of NocoDB. The bridge answers with the text of requests' HTTPError."""

    def __init__(self, status: int, path: str) -> None:
        reason = {404: "Not Found", 422: "Unprocessable Entity"}[status]
        url = f"https://nocodb.internal/api/v2{path}"
        super().__init__(f"{status}: {status} Client Error: {reason} for url: {url}")


VIEWS = {"vw1customers0001": CUSTOMERS, "vw2orders00000001": ORDERS}
"""A view's id → its table's."""


class NocoDBAPI:
    """`patched` answers as a copy whose paths fit its NocoDB; else as the public code does."""

    def __init__(self, patched: bool = True) -> None:
        self.patched = patched
        self.rows = {CUSTOMERS: _customers(), ORDERS: _orders()}
        self.fields = {table: tuple(rows[0]) for table, rows in self.rows.items()}
        self.ids_by_title: dict[str, str] = {}
        """Titles that a call may name in place of an id, as newer copies of the code allow."""
        self.counts: dict[str, tuple[str, str]] = {}
        """Fields of the type Links, whose cells are numbers of rows → the table of these rows, and
        its link back."""
        self.key = "Id"
        """The field by which NocoDB knows a row."""
        self.breached = False
        """Set when someone reached behind the tools."""

    def _make_request(self, method: str, endpoint: str, **kwargs: Any) -> None:
        self.breached = True

    def list_bases(self) -> Row:
        base = {"id": BASE, "title": "CRM", "type": "database", "password": "shared-base-password"}
        return {"list": [base], "pageInfo": _page(1, 0, 25)}

    def get_base(self, base_id: str) -> Row:
        raise NocoDBHttpError(404, f"/bases/{base_id}")

    def list_tables(self, base_id: str) -> Row:
        path = f"/bases/{base_id}/tables"
        self._need_patch(path)
        if base_id != BASE:
            raise NocoDBHttpError(404, path)
        return {"list": [_table(CUSTOMERS), _table(ORDERS)], "pageInfo": _page(2, 0, 25)}

    def get_table(self, base_id: str, table_id: str) -> Row:
        self._need_patch(f"/tables/{table_id}")
        self._table(table_id, "")
        id = self.ids_by_title.get(table_id, table_id)
        return {**_table(id), "columns": self.list_columns(id)["list"]}

    def list_columns(self, table_id: str) -> Row:
        self._need_patch(f"/tables/{table_id}/columns")
        self._table(table_id, "/columns")
        columns: list[Row] = [
            {"id": f"c{n}", "column_name": f"db_{n}", "title": n, "uidt": _kind(n)}
            for n in self.fields[table_id]
        ]
        return {"list": [{**column, "pk": column["title"] == self.key} for column in columns]}

    def list_records(
        self,
        table_id: str,
        limit: int = 25,
        offset: int = 0,
        fields: list[str] | None = None,
        where: str | None = None,
        sort: list[str] | None = None,
    ) -> Row:
        match = _where(self._table(table_id, "/records"), where, f"/tables/{table_id}/records")
        for name in reversed(sort or []):
            key = re.sub("^(c|db_)(?=[A-Z])", "", name.removeprefix("-"))
            match = sorted(match, key=lambda row: str(row.get(key)), reverse=name != key)
        page = match[offset : offset + limit]
        if fields:
            page = [{name: row[name] for name in row if name in fields} for row in page]
        return {"list": page, "pageInfo": _page(len(match), offset, limit)}

    def get_record(self, table_id: str, record_id: str) -> Row:
        return self._row(table_id, record_id)

    def create_record(self, table_id: str, record_data: Row | list[Row]) -> Row | list[Row]:
        """A list makes several, as in NocoDB itself."""
        if isinstance(record_data, list):
            return [self._insert_row(table_id, data) for data in record_data]
        return self._insert_row(table_id, record_data)

    def update_record(self, table_id: str, record_id: str, record_data: Row) -> Row:
        self._need_patch(f"/tables/{table_id}/records/{record_id}")
        # A copy that sends `{"Id": record_id, **record_data}`: the id in the data wins.
        row = self._row(table_id, str(record_data.get("ID", record_data.get("Id", record_id))))
        # An unknown field is ignored without a word, as NocoDB does.
        row.update({name: value for name, value in record_data.items() if name in row})
        return {"Id": row["Id"]}

    def delete_record(self, table_id: str, record_id: str) -> Row:
        self._need_patch(f"/tables/{table_id}/records/{record_id}")
        row = self._row(table_id, record_id)
        self.rows[table_id].remove(row)
        return {"Id": row["Id"]}

    def bulk_create_records(self, table_id: str, records: list[Row]) -> list[Row]:
        self._need_patch(f"/tables/{table_id}/records/bulk")
        return [self._insert_row(table_id, record) for record in records]

    def bulk_update_records(self, table_id: str, records: list[Row]) -> list[Row]:
        self._need_patch(f"/tables/{table_id}/records/bulk")
        ids = [str(record.get("id", record.get("Id"))) for record in records]
        return [  # row by row: a row that fails leaves those before it written
            self.update_record(table_id, each, record)
            for each, record in zip(ids, records, strict=True)
        ]

    def bulk_delete_records(self, table_id: str, record_ids: list[str]) -> list[Row]:
        self._need_patch(f"/tables/{table_id}/records/bulk")
        return [self.delete_record(table_id, each) for each in record_ids]

    def global_search(self, query: str) -> Row:
        """Rows of every table in which any field contains the text."""
        every = [row for rows in self.rows.values() for row in rows]
        return {"list": [row for row in every if query in str([*row.values()])]}

    def _need_patch(self, path: str) -> None:
        if not self.patched:
            raise NocoDBHttpError(404, path)

    def _table(self, table_id: str, path: str) -> list[Row]:
        table_id = self.ids_by_title.get(table_id, table_id)
        if table_id not in self.rows:
            raise NocoDBHttpError(404, f"/tables/{table_id}{path}")
        return self.rows[table_id]

    def _row(self, table_id: str, record_id: str) -> Row:
        path = f"/records/{record_id}"
        for row in self._table(table_id, path):
            if str(row["Id"]) == str(record_id):
                return row
        raise NocoDBHttpError(404, f"/tables/{table_id}{path}")

    def _insert_row(self, table_id: str, data: Row) -> Row:
        rows = self._table(table_id, "/records")
        number = max((row["Id"] for row in rows), default=0) + 1
        fields = dict.fromkeys(self.fields[table_id])
        rows.append(
            {**fields, **{name: data[name] for name in data if name in fields}, "Id": number}
        )
        for name, (other, back) in self.counts.items():
            if name in fields:
                self._link_rows(number, other, back, data.get(name))
                rows[-1][name] = sum(row[back] == {"Id": number} for row in self.rows[other])
        return {"Id": number}

    def _link_rows(self, number: int, other: str, back: str, value: Any) -> None:
        """Give the new row all rows in a list of ids, or in its JSON text, without a word to the
        rows that had them. Any other value of a field of the type Links is ignored."""
        with contextlib.suppress(ValueError):
            value = json.loads(value) if isinstance(value, str) else value
        for each in value if isinstance(value, list) else []:
            id = each.get("Id") if isinstance(each, dict) else each
            next(row for row in self.rows[other] if str(row["Id"]) == str(id))[back] = {
                "Id": number
            }


class NocoDBAPIWithViews(NocoDBAPI):
    """Of a NocoDB whose views a bridge can read: filters and sorts are asked for by the view
    alone (`GET /api/v2/meta/views/{id}/filters`, `…/sorts`)."""

    def list_views(self, table_id: str) -> Row:
        self._table(table_id, "/views")
        views = [
            {"id": id, "title": "Big ones", "type": 3, "fk_model_id": table, "base_id": BASE}
            for id, table in VIEWS.items()
            if table == table_id
        ]
        return {"list": views, "pageInfo": _page(len(views), 0, 25)}

    def list_filters(self, view_id: str) -> Row:
        self._view(view_id, "filters")
        table = {
            "id": "fi1",
            "fk_view_id": view_id,
            "fk_column_id": "c1",
            "base_id": BASE,
            "comparison_op": "gt",
            "value": "100000",
        }
        return {"list": [table], "pageInfo": _page(1, 0, 25)}

    def list_sorts(self, view_id: str) -> Row:
        self._view(view_id, "sorts")
        table = {
            "id": "so1",
            "fk_view_id": view_id,
            "fk_column_id": "c1",
            "base_id": BASE,
            "direction": "desc",
        }
        return {"list": [table], "pageInfo": _page(1, 0, 25)}

    def _view(self, view_id: str, what: str) -> None:
        if view_id not in VIEWS:
            raise NocoDBHttpError(404, f"/views/{view_id}/{what}")


def _where(rows: list[Row], where: str | None, path: str) -> list[Row]:
    """One `(Field,op,value)`; NocoDB knows more, and refuses what it cannot read."""
    if not where:
        return rows
    where = where.replace(",notblank)", ",notblank,)")
    condition = re.fullmatch(
        r"\((?P<field>[^,]+),(?P<op>eq|neq|like|blank|notblank),(?P<value>.*)\)", where
    )
    field = re.sub("^(c|db_)(?=[A-Z])", "", condition["field"].strip()) if condition else ""
    if not condition or field not in rows[0]:
        raise NocoDBHttpError(422, path)
    value = condition["value"]
    if condition["op"] in ("blank", "notblank"):
        return [row for row in rows if (row[field] is None) == (condition["op"] == "blank")]
    if condition["op"] == "like":
        return [row for row in rows if value.strip("%").lower() in str(row[field]).lower()]
    return [row for row in rows if (str(row[field]) == value) == (condition["op"] == "eq")]


def _page(total: int, offset: int, limit: int) -> Row:
    return {
        "totalRows": total,
        "page": offset // limit + 1,
        "pageSize": limit,
        "isFirstPage": offset == 0,
        "isLastPage": offset + limit >= total,
    }


def _table(table_id: str) -> Row:
    title = {CUSTOMERS: "Customers", ORDERS: "Orders"}[table_id]
    return {"id": table_id, "title": title, "base_id": BASE, "type": "table"}


def _kind(column: str) -> str:
    kinds = {
        "Id": "ID",
        "Value": "Number",
        "Amount": "Number",
        "Status": "SingleSelect",
        "Contract": "Attachment",
        "Customer": "LinkToAnotherRecord",
    }
    return kinds.get(column, "SingleLineText")


def _customers() -> list[Row]:
    names = [f"{first} {last}" for last in _LAST for first in _FIRST]
    rows: list[Row] = [
        {"Id": n, "Name": name, "Status": _STATUS[n % 3], "Value": n * 100, "Contract": None}
        for n, name in enumerate(names, 1)
    ]
    text = "dltemp/signed-by-nocodb/contract.pdf"
    rows[0]["Contract"] = [{"title": "contract.pdf", "size": 2048, "signedPath": text}]
    return rows


def _orders() -> list[Row]:
    return [
        {"Id": n, "Title": f"Order {n}", "Amount": n * 7, "Customer": {"Id": n % 30 + 1}}
        for n in range(1, 41)
    ]
