"""Declarations of all tables: columns, indexes, the people they are about, export and erasure.

Each table is declared once. The declarations generate:

- the schema of a new database (`core/store/schema.py`),
- the export and erasure of a person (`core/erasure/__init__.py`),
- the deletion of old rows, and the tables that `ponte migrate` copies,
- the list of tables that Postgres vacuums after an erasure,
- the table in `docs/explanation/privacy.md` (`make reference`).

After a release, a change of a declaration also needs a migration (`core/store/schema.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

Whose = Literal["person", "turn", "change", "conversation", "money", "nobody"]
"""The owner of a table's rows.

- person: the person in the column `person`.
- turn: the author of the turn.
- change: the person who asked for the change.
- conversation: everyone in the conversation.
- money: the person in the column `person`, for whom usage is counted. Forgetting them keeps the row
  without their name, so that sums stay right.
- nobody: the row says nothing about a person.
"""
Link = Literal["person", "seq", "turn", "change", "file", "thread", "conversation"]
"""A column by which forgetting a person finds rows to delete.

- person: the person's key.
- seq, turn: the number or the id of one of their turns.
- change, file: the id of one of their changes or files.
- thread, conversation: the thread id or key of a conversation in which nobody else took part.
"""


@dataclass(frozen=True, slots=True)
class Column:
    """The declaration of a column. `type` is SQLite's; `core/store/postgres.py` translates it.

    `json`: an export parses the value. `secret`: an export only says whether a value is set.
    `shared`: the column exists only on Postgres.
    """

    name: str
    type: Literal["TEXT", "INTEGER", "REAL", "BLOB"]
    default: str | int | None = None
    null: bool = False
    unique: bool = False
    json: bool = False
    secret: bool = False
    shared: bool = False

    @property
    def definition(self) -> str:
        """The SQL lacks PRIMARY KEY, which depends on the table (`create_statements`)."""
        default = f"'{self.default}'" if isinstance(self.default, str) else self.default
        parts = (
            self.name,
            self.type,
            "" if self.null else "NOT NULL",
            "UNIQUE" if self.unique else "",
            "" if default is None else f"DEFAULT {default}",
        )
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Index:
    """The declaration of an index.

    `columns` is a comma-separated list of columns or expressions. `where` makes it a partial index:
    a query uses it only if its own condition implies that one. `shared` is as in `Column`.
    """

    name: str
    columns: str
    where: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDeclaration:
    """The declaration of a table. `key` names the columns of the primary key.

    Privacy:

    - `contents` and `kept` form the table's row in `docs/explanation/privacy.md`: the data about
      a person, and how long Ponte keeps it.
    - `section` is the table's name in an export. A table without one gives the reason in
      `not_exported`.
    - `rows` is an SQL condition that finds a person's rows where `whose` does not suffice.
      `:person` is the person's key, `:one` the key under which their usage is counted.
    - `deleted_by` lists the links by which forgetting a person deletes rows. A table of personal
      data without links describes in `erased` how its rows are erased.
    - `names_nobody`: no row leads to a person once other tables are erased, so an erasure need
      not rewrite the table.
    - `seen_at` is the column with the time of the person's action.

    Storage:

    - `purged_with`: deleting old rows of that table deletes the matching rows of this one.
    - `generates_key`: the database generates the key. `never_reuses_keys`: it never generates a
      number twice, not even one of a deleted row.
    - `shared`: the table exists only on Postgres.
    - `unlogged`: Postgres does not write the table to its log, and empties it after a crash.
    - `copied`: `ponte migrate` copies the rows to Postgres.
    """

    name: str
    whose: Whose
    contents: str
    kept: str
    columns: Sequence[Column]
    key: Sequence[str] = ()
    indexes: Sequence[Index] = ()
    unique: Sequence[str] = ()
    section: str = ""
    not_exported: str = ""
    rows: str = ""
    deleted_by: Sequence[Link] = ()
    erased: str = ""
    seen_at: str = ""
    names_nobody: bool = False
    purged_with: Literal["", "inbox", "changes"] = ""
    generates_key: bool = False
    never_reuses_keys: bool = False
    shared: bool = False
    unlogged: bool = False
    copied: bool = True

    @property
    def has_person(self) -> bool:
        return any(column.name == "person" for column in self.columns)


text = partial(Column, type="TEXT")
integer = partial(Column, type="INTEGER")
real = partial(Column, type="REAL")
blob = partial(Column, type="BLOB")
count = partial(Column, type="INTEGER", default=0)


def create_statements(tables: Sequence[TableDeclaration], *, shared: bool) -> Iterator[str]:
    """Yield the CREATE statements of tables and indexes, in SQLite's SQL (`translate_schema` makes
    Postgres' of it). With `shared`, yield only what Postgres has in addition to what both databases
    have: whole tables, columns and indexes of the other tables."""
    for table in tables:
        if table.shared == shared:
            # SQLite numbers rows itself only if the key is declared at its column.
            single = table.key[0] if len(table.key) == 1 else ""
            # those are added to the table below, for Postgres alone
            parts = [
                f"{column.name} {column.type} PRIMARY KEY"
                if column.name == single
                else column.definition
                for column in table.columns
                if not column.shared
            ]
            if table.never_reuses_keys:  # the key is the first column of such tables
                parts[0] += " AUTOINCREMENT"
            if table.unique:
                parts.append(f"UNIQUE ({', '.join(table.unique)})")
            if not single:
                parts.append(f"PRIMARY KEY ({', '.join(table.key)})")
            # WITHOUT ROWID makes SQLite store a table with a composite key in the order of that
            # key. Postgres has no such clause; `translate_schema` removes it.
            end = ")" if single else ") WITHOUT ROWID"
            kind = "UNLOGGED TABLE" if table.unlogged else "TABLE"
            yield f"CREATE {kind} {table.name} (\n    " + ",\n    ".join(parts) + f"\n{end}"
        for column in table.columns:
            if column.shared and shared and not table.shared:
                yield f"ALTER TABLE {table.name} ADD COLUMN {column.definition}"
        for index in table.indexes:
            if shared == (table.shared or index.shared):
                where = f" WHERE {index.where}" if index.where else ""
                yield f"CREATE INDEX {index.name} ON {table.name} ({index.columns}){where}"


FILES_TABLE = TableDeclaration(
    name="files",
    whose="person",
    section="files",
    seen_at="created_at",
    contents="names, sizes and hashes of files; their bytes are in `files/` or `pieces`",
    kept="as `inbox`",
    columns=(
        text("id"),
        text("event_key"),
        text("sha256"),
        text("name"),
        text("type"),
        integer("size"),
        text("person"),
        text("conversation"),
        real("created_at"),
    ),
    key=("id",),
    indexes=(
        Index("files_event", "event_key"),
        Index("files_conversation", "conversation"),
        Index("files_person", "person"),
    ),
    deleted_by=("person",),
)
PIECES_TABLE = TableDeclaration(
    name="pieces",
    whose="person",
    shared=True,
    not_exported="the bytes of the files: `--files`",
    contents="Postgres: the bytes of files",
    kept="as `files`",
    columns=(text("file"), integer("number"), real("created_at"), blob("data")),
    key=("file", "number"),
    deleted_by=("file",),
)
REMEMBERED_TABLE = TableDeclaration(
    name="remembered",
    whose="person",
    not_exported="the section `remembered` has it",
    erased="the person's entries are removed",
    contents="Discord: a person's language, threads and direct channels, by ids; the name "
    "that the owner wrote on the page",
    kept="the newest 2,000 of each; the owner's name until they change it",
    columns=(text("name"), text("data")),
    key=("name",),
)
PROCESSES_TABLE = TableDeclaration(
    name="processes",
    whose="nobody",
    shared=True,
    not_exported="which processes there are",
    contents="–",
    kept="–",
    columns=(
        text("id"),
        text("name"),
        integer("has_intake"),
        integer("has_workers"),
        real("started_at"),
        real("seen_at"),
    ),
    key=("id",),
)
LEASES_TABLE = TableDeclaration(
    name="leases",
    whose="nobody",
    shared=True,
    not_exported="who leads a role",
    contents="–",
    kept="–",
    columns=(text("role"), text("process"), real("expires_at")),
    key=("role",),
)
PACES_TABLE = TableDeclaration(
    name="paces",
    whose="nobody",
    shared=True,
    unlogged=True,
    not_exported="when calls of a kind are due",
    contents="Postgres: ids of Slack channels in which much was posted",
    kept="an hour",
    columns=(text("name"), real("due_at")),
    key=("name",),
)
SECRETS_TABLE = TableDeclaration(
    name="secrets",
    whose="nobody",
    shared=True,
    not_exported="keys of the Ponte itself",
    contents="–",
    kept="–",
    columns=(text("name"), blob("value")),
    key=("name",),
)
