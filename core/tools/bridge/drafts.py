"""From a model's call of a writing tool to a draft: which rows, how they are now, what they become.

Nothing is written here. What NocoDB would ignore or refuse is told before a person is asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from core.errors import ToolError
from core.proposal import MOST_ROWS, Draft, RowWrite, WriteKind
from core.tools.bridge.catalogue import BridgeTool
from core.tools.bridge.rows import RECREATED, BridgeRows
from core.tools.bridge.table import ID, BridgeTable, BridgeTables
from core.tools.same import same

Data = Mapping[str, Any]
_KINDS: tuple[WriteKind, ...] = get_args(WriteKind)
_MANY = {"create": "records", "update": "records", "delete": "record_ids"}


class BridgeDrafts:
    def __init__(self, tables: BridgeTables) -> None:
        self._tables = tables

    async def draft(self, tool: BridgeTool, args: Data) -> Draft:
        """Raises ToolError, BridgeError."""
        kind = next(each for each in _KINDS if each in tool.name)
        asked = _asked(tool, kind, args)
        table = await self._tables.table(str(args["table_id"]))
        for data in asked.values() if isinstance(asked, dict) else asked:
            _check_fields(table, data)
        if isinstance(asked, dict):
            rows = await self._existing(table, kind, asked)
        else:
            rows = [RowWrite(after=dict(data)) for data in asked]
        return Draft(
            applier=BridgeRows.name, kind=kind, target=table.target, title=table.title,
            rows=tuple(rows), note=RECREATED if kind == "delete" else "",
        )  # fmt: skip

    async def _existing(
        self, table: BridgeTable, kind: WriteKind, asked: Mapping[str, Data]
    ) -> Sequence[RowWrite]:
        """Each with its image from before; what stands there already is left out."""
        found = await self._tables.rows(table.id, list(asked))
        missing = [id for id, row in zip(asked, found, strict=True) if row is None]
        if missing:
            raise ToolError(
                "There is no row {ids} in that table.", code="not_found", ids=", ".join(missing[:5])
            )
        present = {id: row for id, row in zip(asked, found, strict=True) if row is not None}
        if kind == "delete":
            return [RowWrite(id, before=row) for id, row in present.items()]
        writes = []
        for id, row in present.items():
            after = {name: new for name, new in asked[id].items() if not same(new, row.get(name))}
            if after:
                writes.append(RowWrite(id, {name: row.get(name) for name in after}, after))
        if not writes:
            raise ToolError("Those rows hold these values already.", code="no_change")
        return writes


def _asked(tool: BridgeTool, kind: WriteKind, args: Data) -> dict[str, Data] | list[Data]:
    """Rows by id, or the data of new ones. Raises ToolError with the tool's signature as hint."""
    unknown = args.keys() - set(tool.names)
    if unknown or not all(name in args for name in tool.names):
        raise _misfit(tool, "its arguments do not fit")
    if not ID.fullmatch(str(args["table_id"])):
        raise _misfit(tool, "`table_id` is not an id")
    many = tool.name.startswith("bulk_")
    if kind == "create":
        given = args["records"] if many else args["record_data"]
        rows = given if isinstance(given, list) else [given]
        _check_count(tool, rows)
        return [_data(tool, row) for row in rows]
    if many:
        pairs = [_pair(tool, kind, one) for one in _list(tool, args[_MANY[kind]])]
    else:
        data = _data(tool, args["record_data"]) if kind == "update" else {}
        pairs = [(_id(tool, args["record_id"]), data)]
    _check_count(tool, pairs)
    if len(dict(pairs)) < len(pairs):
        raise _misfit(tool, "a row stands in it twice")
    return dict(pairs)


def _pair(tool: BridgeTool, kind: WriteKind, one: Any) -> tuple[str, Data]:
    if kind == "delete":
        return _id(tool, one.get("id", one.get("Id")) if isinstance(one, dict) else one), {}
    data = _data(tool, one)
    key = "id" if "id" in data else "Id"
    rest = {name: value for name, value in data.items() if name not in ("id", "Id")}
    return _id(tool, data.get(key)), _data(tool, rest)


def _id(tool: BridgeTool, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not ID.fullmatch(text):
        raise _misfit(tool, "a row's id is missing, or is none")
    return text


def _data(tool: BridgeTool, value: Any) -> Data:
    if not isinstance(value, dict) or not value:
        raise _misfit(tool, "a row's data is an object with at least one field")
    return value


def _list(tool: BridgeTool, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _misfit(tool, "several rows are a list")
    return value


def _check_count(tool: BridgeTool, rows: Sequence[Any]) -> None:
    if not rows:
        raise _misfit(tool, "it names no row")
    if len(rows) > MOST_ROWS:
        raise ToolError(
            "That is {count} rows; at most {most} fit in one proposal.",
            code="too_many_rows", hint="propose them in parts", count=len(rows), most=MOST_ROWS,
        )  # fmt: skip


def _check_fields(table: BridgeTable, data: Data) -> None:
    """NocoDB ignores an unknown field without a word; names are case-sensitive."""
    _check_known(table.fields, data)
    if own := sorted(name for name in data if name in table.computed):
        raise ToolError(
            "NocoDB fills these fields itself, or they are links: {names}.",
            code="computed_field", hint="leave them out", names=", ".join(own[:5]),
        )  # fmt: skip


def _check_known(known: frozenset[str], data: Data) -> None:
    unknown = [name for name in data if known and name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, 1) or [
            name for name in known if name.lower() == unknown[0].lower()
        ]
        hint = f"did you mean {near[0]!r}?" if near else ", ".join(sorted(known)[:30])
        raise ToolError(
            "That table has no field {name!r}.", code="unknown_field", hint=hint,
            name=unknown[0][:64],
        )  # fmt: skip


def _misfit(tool: BridgeTool, what: str) -> ToolError:
    return ToolError(
        "The call of {tool} cannot be: {what}.", code="bad_arguments", hint=str(tool),
        tool=tool.name, what=what,
    )  # fmt: skip
