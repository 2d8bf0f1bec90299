"""A table as the bridge shows it: its name for people, its fields, and its rows one by one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.together import together
from core.tools.bridge.api import BridgeApi
from core.tools.bridge.error import BridgeError
from core.withheld import unsigned

JsonRow = dict[str, Any]
SAMPLE = 25
"""Rows whose fields tell those of a table that the bridge does not describe."""
LAST = 100
"""The newest rows, among which a created one is looked for."""
AT_ONCE = 4

# The bridge puts ids into NocoDB's path as they are, so they must not be able to leave their step.
ID = re.compile(r"(?!\.{1,2}$)[^/\\?#%\x00-\x1f\x7f]{1,200}")

# NocoDB fills these itself (https://nocodb.com/docs/product-docs/fields), or they are links.
_COMPUTED = {
    *("ID", "AutoNumber", "CreatedTime", "LastModifiedTime", "CreatedBy", "LastModifiedBy"),
    *("Formula", "Rollup", "Lookup", "Count", "QrCode", "Barcode", "Button", "Order"),
    *("Links", "LinkToAnotherRecord", "ForeignKey"),
}
_SYSTEM = ("CreatedAt", "UpdatedAt", "CreatedBy", "UpdatedBy", "nc_order")
_KEYS = ("Id", "id", "ID")


@dataclass(frozen=True, slots=True)
class BridgeTable:
    """`fields` is empty where neither the bridge nor any row tells them."""

    id: str
    title: str
    key: str = "Id"
    fields: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()

    @property
    def target(self) -> Mapping[str, Any]:
        """As a draft keeps it."""
        return {"table_id": self.id, "key": self.key, "computed": sorted(self.computed)}


def id_of(row: Mapping[str, Any], key: str = "Id") -> str:
    """ "" where it cannot be told."""
    for name in (key, *_KEYS):
        if row.get(name) is not None:
            return str(row[name])
    return ""


@dataclass(slots=True)
class BridgeTables:
    """All of it by reading. Raises BridgeError."""

    api: BridgeApi
    base_id: str = ""
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def table(self, id: str) -> BridgeTable:
        """Many a bridge cannot describe tables: then by its rows, and under its id."""
        try:
            told = await self.api.read("get_table", {"base_id": self.base_id, "table_id": id})
        except BridgeError:
            told = None
        columns = told.get("columns") if isinstance(told, dict) else None
        if not isinstance(columns, list) or not columns:
            return await self._by_rows(id)
        named = {str(c.get("title")): c for c in columns if isinstance(c, dict)}
        key = next((name for name, column in named.items() if column.get("pk")), "")
        computed = {name for name, column in named.items() if column.get("uidt") in _COMPUTED}
        return BridgeTable(
            id=id, title=str(told.get("title") or id), key=key or _key(named),
            fields=frozenset(named), computed=frozenset(computed),
        )  # fmt: skip

    async def row(self, table: str, id: str) -> JsonRow | None:
        """As it stands now, without what differs at each reading; None where there is none."""
        async with self._gate:
            try:
                row = await self.api.read("get_record", {"table_id": table, "record_id": id})
            except BridgeError as error:
                if error.code == "not_found":
                    return None
                raise
        return unsigned(row) if isinstance(row, dict) and row else None

    async def rows(self, table: str, ids: Sequence[str]) -> Sequence[JsonRow | None]:
        return await together(*(self.row(table, id) for id in ids))

    async def newest(self, table: str) -> Sequence[JsonRow]:
        """The last rows in the table's own order, in which new ones come last."""
        page = await self.api.read("list_records", {"table_id": table, "limit": 1})
        info = page.get("pageInfo") if isinstance(page, dict) else None
        total = info.get("totalRows") if isinstance(info, dict) else None
        offset = max(0, total - LAST) if isinstance(total, int) else 0
        asked = {"table_id": table, "limit": LAST, "offset": offset}
        return _listed(await self.api.read("list_records", asked))

    async def _by_rows(self, id: str) -> BridgeTable:
        asked = {"table_id": id, "limit": SAMPLE}
        rows = _listed(await self.api.read("list_records", asked))
        names = list(dict.fromkeys(name for row in rows for name in row))
        return BridgeTable(
            id=id, title=id, key=_key(names), fields=frozenset(names),
            computed=frozenset(name for name in names if name in _SYSTEM or name in _KEYS),
        )  # fmt: skip


def _key(names: Mapping[str, Any] | Sequence[str]) -> str:
    return next((name for name in _KEYS if name in names), next(iter(names), "Id"))


def _listed(page: Any) -> Sequence[JsonRow]:
    rows = page.get("list") if isinstance(page, dict) else page
    listed = rows if isinstance(rows, list) else []
    return [unsigned(row) for row in listed if isinstance(row, dict)]
