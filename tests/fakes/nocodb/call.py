"""One request to the fake NocoDB, read bit by bit: who asks, for which table, rows and page."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.nocodb.answers import NocoDBErrorResponse, forbidden, no_token, unprocessable
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable
from tests.fakes.nocodb.where import parse_filter

PAGE, DEFAULT = 1000, 25
_MAY = {
    "POST records": "insert new data",
    "PATCH records": "update data",
    "DELETE records": "delete data",
    "POST links": 'perform the action "nestedDataLink"',
    "DELETE links": 'perform the action "nestedDataUnlink"',
}
Rows = list[dict[str, Any]]


@dataclass(slots=True)
class FakeUser:
    """`roles` by base id."""

    roles: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """`users` by token, the bytes of uploaded `files` by path."""

    bases: dict[str, FakeBase] = field(default_factory=dict)
    users: dict[str, FakeUser] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class Call:
    """One request, parsed step by step as its handler needs it.

    Invalid parts raise NocoDBErrorResponse.
    """

    def __init__(
        self,
        world: World,
        request: web.Request,
        text: str,
        files: Sequence[tuple[str, str, bytes]] = (),
    ) -> None:
        self.request = request
        self.text = text
        self.world = world
        self.files = files
        """The name, type and bytes of each file in a multipart form."""

    @property
    def user(self) -> FakeUser:
        user = self.world.users.get(self.request.headers.get("xc-token", ""))
        if user is None:
            raise no_token()
        return user

    @property
    def visible_bases(self) -> list[FakeBase]:
        return [base for base in self.world.bases.values() if base.id in self.user.roles]

    @property
    def base(self) -> FakeBase:
        user, id = self.user, self.request.match_info["base"]
        base = self.world.bases.get(id)
        if base is None:
            raise unprocessable("ERR_BASE_NOT_FOUND", f"Base '{id}' not found")
        role = user.roles.get(id, "")
        kind = "links" if "/links/" in self.request.path else "records"
        what = _MAY.get(f"{self.request.method} {kind}", "")
        if not role or (what and role == "viewer"):
            raise forbidden(what, role)
        return base

    @property
    def table(self) -> FakeTable:
        base, id = self.base, self.request.match_info["table"]
        if id not in base.tables:
            raise unprocessable("ERR_TABLE_NOT_FOUND", f"Table '{id}' not found")
        return base.tables[id]

    @property
    def table_alone(self) -> FakeTable:
        """v2 has no base in its paths."""
        id = self.request.match_info["table"]
        for base in self.visible_bases:
            if id in base.tables:
                return base.tables[id]
        raise NocoDBErrorResponse(404, "ERR_TABLE_NOT_FOUND", f"Table '{id}' not found")

    @property
    def row(self) -> int:
        return self.table.row(self.request.match_info["row"])

    @property
    def column(self) -> FakeField:
        """The link field by its id."""
        table, id = self.table, self.request.match_info["field"]
        column = next((each for each in table.fields if each.id == id), None)
        if column is None:
            raise unprocessable("ERR_FIELD_NOT_FOUND", f"Field '{id}' not found")
        if id not in table.relations:
            raise NocoDBErrorResponse(400, "", "Column is not LTAR", key="msg")
        return column

    @property
    def only(self) -> list[str]:
        names = [name for name in self.request.query.get("fields", "").split(",") if name]
        self._check(names, "fields")
        return names

    def rows(self, *, most: int | None = None) -> Rows:
        """The body: one row or a list of them."""
        data = json.loads(self.text)
        rows: Rows = data if isinstance(data, list) else [data]
        if most and len(rows) > most:
            words = f"Maximum {most} entities are allowed per request"
            raise unprocessable("ERR_MAX_PAYLOAD_LIMIT_EXCEEDED", words)
        return rows

    def matching_ids(self) -> list[int]:
        where = self.request.query.get("where", "")
        ids = list(self.table.rows)
        return list(filter(parse_filter(where, self.table), ids)) if where else ids

    def sort_ids(self, ids: list[int]) -> list[int]:
        if not (value := self.request.query.get("sort")):
            return ids
        try:
            order = [(each["field"], each["direction"] == "desc") for each in json.loads(value)]
        except (ValueError, TypeError, KeyError):
            words = "Query parameter 'sort' needs to a JSON string"
            raise NocoDBErrorResponse(400, "ERR_INVALID_REQUEST_BODY", words) from None
        self._check([name for name, _ in order], "sort")
        for name, down in reversed(order):
            ids = sorted(ids, key=functools.partial(self._key, name), reverse=down)
        return ids

    def page(self, rows: list[Any]) -> tuple[list[Any], bool]:
        """Those of the page that is asked for, and whether more follow."""
        size = min(int(self.request.query.get("pageSize", DEFAULT)), PAGE)
        start = (int(self.request.query.get("page", 1)) - 1) * size
        if start and start >= len(rows):
            words = f"Offset value '{start}' is invalid"
            raise unprocessable("ERR_INVALID_OFFSET_VALUE", words)
        return rows[start : start + size], start + size < len(rows)

    def _key(self, name: str, id: int) -> tuple[bool, Any]:
        column = self.table.find(name)
        cell = self.table.cell(column, id) if column else self.table.rows[id][name]
        return cell is not None, cell if isinstance(cell, int | float) else str(cell)

    def _check(self, names: list[str], parameter: str) -> None:
        for name in names:
            if not self.table.find(name) and name not in ("CreatedAt", "UpdatedAt"):
                words = f"Field '{name}' on '{parameter}' query parameter not found"
                raise unprocessable("ERR_FIELD_NOT_FOUND", words)
