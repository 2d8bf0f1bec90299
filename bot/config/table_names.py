"""Names of tables in ponte.toml: which no table has, and which table is surely meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from core.base.i18n import say
from core.base.text import fold_case
from core.changes.approval import Names, find_near_table

_NO_TABLE = "{where}: table {name} not found, so this line has no effect"
_HELD = "{where}: table {name} not found. Its restrictions apply to {near}. Did you mean that?"
_MEANT = "{fault}. Did you mean {name}?"


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The titles of tables by id, the keys of people of the page, and the ids and titles of the
    fields of those tables whose `card_fields` are set, by the table's name in ponte.toml. None:
    they could not be looked up now. The same holds for a table that `fields` lacks."""

    tables: Mapping[str, str] | None = None
    people: Collection[str] | None = None
    fields: Mapping[str, Collection[str]] = field(default_factory=dict)


NOTHING_KNOWN = KnownNames()


@dataclass(frozen=True, slots=True)
class TableName:
    """A name of a table in ponte.toml, by title or id, and where it is written. `restricts`: it is
    that of a section of `[tables]` or of a denial, and not of a right that a rule allows."""

    where: str
    name: str
    restricts: bool


def find_near_tables(
    names: Sequence[TableName], tables: Mapping[str, str] | None
) -> Mapping[str, Names]:
    """Return, for each name in a restriction that no table has, the id and the title of the table
    that is surely meant (`find_near_table`), if there is one. `tables` None: not known."""
    near: dict[str, Names] = {}
    known = {fold_case(name) for pair in (tables or {}).items() for name in pair}
    for written in names:
        is_unknown = written.restricts and fold_case(written.name) not in known
        if is_unknown and (found := find_near_table(written.name, tables or {})):
            near[written.name] = found
    return near


def describe_unknown_tables(
    names: Sequence[TableName], tables: Mapping[str, str] | None
) -> Sequence[str]:
    """Return a sentence for each name of a table in the file that no table has, with the nearest
    title. `tables` None: not known, so there is none."""
    if tables is None:
        return []
    known = {fold_case(name) for pair in tables.items() for name in pair}
    near, faults = find_near_tables(names, tables), list[str]()
    for written in names:
        where, name = written.where, written.name
        if fold_case(name) in known:
            continue
        if written.restricts and name in near:
            faults.append(say(_HELD, where=where, name=name, near=near[name][1]))
            continue
        fault = say(_NO_TABLE, where=where, name=name)
        titles = difflib.get_close_matches(name, tables.values(), 1)
        faults.append(say(_MEANT, fault=fault, name=titles[0]) if titles else fault)
    return faults
