"""The fake's bases, tables and rows, in memory, with NocoDB's rules for rows and links."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.nocodb.answers import NocoDBErrorResponse, no_record, unprocessable
from tests.fakes.nocodb.values import convert_value

Json = dict[str, Any]

NESTED = 25
"""Rows that a link's cell holds at most, without a sign that there are more."""
_UNSEEN = ("ID", "ForeignKey")
_FILLED = ("CreatedAt", "UpdatedAt", "Id")
_ids = itertools.count(1)


def describe(text: str) -> Json:
    """Return a description as v3 sends it (seen on 0.301.3): in the list of tables, the table and
    its fields; line breaks, invisible characters and 10,000 characters as they were typed."""
    return {"description": text} if text else {}


def fresh(prefix: str) -> str:
    return f"{prefix}{next(_ids):06d}fake"


@dataclass(slots=True)
class FakeField:
    """`options` as v3 tells them. An empty description is not told."""

    id: str
    title: str
    type: str
    options: Json | None = None
    description: str = ""

    @property
    def choices(self) -> list[str]:
        return [str(choice["title"]) for choice in (self.options or {}).get("choices", ())]

    def to_json(self) -> Json:
        options = {"options": self.options} if self.options is not None else {}
        head = {"id": self.id, "title": self.title, "type": self.type}
        return {**head, **describe(self.description), **options}


@dataclass(slots=True)
class Relation:
    """One table's rows to many of another's; `pairs` are (the one, of the many). `is_mm`: a row of
    the many has several, too."""

    one: FakeTable
    many: FakeTable
    down: FakeField
    up: FakeField
    pairs: list[tuple[int, int]] = field(default_factory=list)
    is_mm: bool = False

    def of(self, table: FakeTable, id: int) -> list[int]:
        if table is self.one:
            return sorted(many for one, many in self.pairs if one == id)
        return sorted(one for one, many in self.pairs if many == id)

    def add(self, table: FakeTable, id: int, other: int) -> None:
        """Unless `is_mm`, a row of the many has one at most: it moves."""
        pair = (id, other) if table is self.one else (other, id)
        move = [pair] if self.is_mm else [each for each in self.pairs if each[1] == pair[1]]
        self.pairs = [each for each in self.pairs if each not in move]
        self.pairs.append(pair)

    def remove(self, table: FakeTable, id: int, other: int) -> None:
        pair = (id, other) if table is self.one else (other, id)
        self.pairs = [each for each in self.pairs if each != pair]

    def other(self, table: FakeTable) -> FakeTable:
        return self.many if table is self.one else self.one


@dataclass(slots=True)
class FakeTable:
    id: str
    title: str
    fields: list[FakeField]
    rows: dict[int, Json] = field(default_factory=dict)
    relations: dict[str, Relation] = field(default_factory=dict)
    """By the id of the link field."""
    description: str = ""

    @property
    def display(self) -> FakeField:
        return next(each for each in self.fields if each.type not in _UNSEEN)

    def find(self, name: str) -> FakeField | None:
        """By id or title; names are case-sensitive."""
        return next((each for each in self.fields if name in (each.id, each.title)), None)

    def field(self, name: str) -> FakeField:
        """Return the field that must be there."""
        position = self.find(name)
        assert position
        return position

    def to_json(self, base: FakeBase) -> Json:
        return {
            "id": self.id,
            "title": self.title,
            **describe(self.description),
            "base_id": base.id,
            "source_id": base.source,
            "display_field_id": self.display.id,
            "views": [],
            "fields": [each.to_json() for each in self.fields],
        }

    def row(self, id: object) -> int:
        """The key of a row that is there. Raises NocoDBErrorResponse."""
        if not str(id).isdecimal():
            words = f"Primary key value '{id}' is invalid for column 'Id'"
            raise unprocessable("ERR_INVALID_PK_VALUE", words)
        if int(str(id)) not in self.rows:
            raise no_record(id)
        return int(str(id))

    def create(self, fields: Mapping[str, Any]) -> int:
        values = self._values(fields)
        blank = {each.title: None for each in self.fields if not self._is_computed(each)}
        boxes = {each.title: False for each in self.fields if each.type == "Checkbox"}
        id = max(self.rows, default=0) + 1  # as SQLite: a deleted last row's id is given again
        self.rows[id] = {"CreatedAt": _now(), "UpdatedAt": None, **blank, **boxes, **values}
        for name, rows in fields.items():
            column = self.find(name)
            if column and column.id in self.relations:
                for each in rows:
                    self.link(column, id, each["id"])
        return id

    def update(self, id: int, fields: Mapping[str, Any]) -> None:
        if any(own in fields for own in ("CreatedAt", "UpdatedAt")):
            words = 'Column "CreatedAt" is auto generated and cannot be updated'
            raise NocoDBErrorResponse(400, "", words, key="msg")
        if any((each := self.find(name)) and each.id in self.relations for name in fields):
            raise NocoDBErrorResponse(
                500, "", "Something didn't work as expected. Please try again."
            )
        self.rows[id].update(self._values(fields), UpdatedAt=_now())

    def delete(self, id: int) -> None:
        del self.rows[id]
        for relation in self.relations.values():
            for other in relation.of(self, id):
                relation.remove(self, id, other)

    def link(self, column: FakeField, id: int, other: object) -> None:
        relation = self.relations[column.id]
        relation.add(self, id, relation.other(self).row(other))

    def unlink(self, column: FakeField, id: int, other: object) -> None:
        self.relations[column.id].remove(self, id, int(str(other)))

    def linked_rows(self, column: FakeField, id: int) -> list[Json]:
        relation = self.relations[column.id]
        other = relation.other(self)
        return [other.link_json(each) for each in relation.of(self, id)]

    def link_json(self, id: int) -> Json:
        return {"id": id, "fields": {self.display.title: self.rows[id][self.display.title]}}

    def row_json(self, id: int, only: Sequence[str] = ()) -> Json:
        """{"id", "fields"}, with `only` those fields (by id or title)."""
        row = self.rows[id]
        fields = {"CreatedAt": row["CreatedAt"], "UpdatedAt": row["UpdatedAt"]}
        fields |= {f.title: self.cell(f, id) for f in self.fields if f.type not in _UNSEEN}
        if only:
            titles = {(self.find(name) or FakeField("", name, "")).title for name in only}
            fields = {title: value for title, value in fields.items() if title in titles}
        return {"id": id, "fields": fields}

    def cell(self, column: FakeField, id: int) -> Any:
        if column.id in self.relations:
            rows = self.linked_rows(column, id)
            if (column.options or {}).get("relation_type") == "bt":
                return rows[0] if rows else None
            return len(rows) if column.type == "Links" else rows[:NESTED]
        if column.type == "Rollup":
            return self._sum(column, id)
        if column.type == "Lookup":
            return self._look_up(column, id)
        return id if column.type == "ID" else self.rows[id].get(column.title)

    def _look_up(self, column: FakeField, id: int) -> Any:
        """The value behind a link to one row, else a list that is cut as a link's cell is."""
        options = column.options or {}
        link = self.find(options["related_field_id"])
        assert link is not None
        relation = self.relations[link.id]
        other = relation.other(self)
        position = other.find(options["related_table_lookup_field_id"])
        assert position is not None
        values = [other.cell(position, each) for each in relation.of(self, id)]
        if (link.options or {}).get("relation_type") == "bt":
            return values[0] if values else None
        return values[:NESTED]

    def _sum(self, column: FakeField, id: int) -> float:
        options = column.options or {}
        relation = self.relations[options["related_field_id"]]
        summed = relation.many.find(options["related_table_rollup_field_id"])
        assert summed is not None
        values = [relation.many.rows[each][summed.title] for each in relation.of(self, id)]
        return sum(value or 0 for value in values)

    def _values(self, fields: Mapping[str, Any]) -> Json:
        """By title; what is no field of this table is passed over without a word."""
        table = {}
        for name, value in fields.items():
            column = self.find(name)
            if column and not self._is_computed(column) and name not in _FILLED:
                table[column.title] = convert_value(
                    column.title, column.type, column.choices, value
                )
        return table

    def _is_computed(self, column: FakeField) -> bool:
        return column.id in self.relations or column.type in ("Rollup", "Lookup", *_UNSEEN)


@dataclass(slots=True)
class FakeBase:
    """`foreign`: its tables are of a database that NocoDB did not make."""

    id: str
    title: str
    tables: dict[str, FakeTable] = field(default_factory=dict)
    foreign: bool = False

    @property
    def source(self) -> str:
        return f"b{self.id}"

    def table(self, title: str) -> FakeTable:
        """Return the table of this title."""
        return next(each for each in self.tables.values() if each.title == title)

    def to_json(self) -> Json:
        source = {"id": self.source, "is_meta": int(not self.foreign), "is_local": 0}
        return {"id": self.id, "title": self.title, "sources": [source]}


def link_tables(one: FakeTable, many: FakeTable) -> Relation:
    """A link from each of two tables to the other, titled as that is."""
    down = FakeField(
        fresh("c"),
        many.title,
        "LinkToAnotherRecord",
        {"relation_type": "hm", "related_table_id": many.id},
    )
    up = FakeField(
        fresh("c"),
        one.title,
        "LinkToAnotherRecord",
        {"relation_type": "bt", "related_table_id": one.id},
    )
    relation = Relation(one, many, down, up)
    one.fields.append(down)
    many.fields.extend([FakeField(fresh("c"), f"nc_{one.title}_id", "ForeignKey"), up])
    one.relations[down.id] = many.relations[up.id] = relation
    return relation


def add_links(base: FakeBase, here: str, title: str, there: str, kind: str) -> Relation:
    """Add a link as a person does it in NocoDB: of type Links, with its other end, whose name is
    numbered if it is taken. `kind` is hm or mm."""
    one, many = base.table(here), base.table(there)
    down = FakeField(
        fresh("c"), title, "Links", {"relation_type": kind, "related_table_id": many.id}
    )
    back = f"{one.title}1" if many.find(one.title) else one.title
    up = FakeField(
        fresh("c"),
        back,
        "Links" if kind == "mm" else "LinkToAnotherRecord",
        {"relation_type": "mm" if kind == "mm" else "bt", "related_table_id": one.id},
    )
    relation = Relation(one, many, down, up, is_mm=kind == "mm")
    one.fields.append(down)
    many.fields.append(up)
    one.relations[down.id] = many.relations[up.id] = relation
    return relation


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
