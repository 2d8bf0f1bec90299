"""The tables of files, of the processes on one database, and of what they remember."""

from __future__ import annotations

from core.store.tables import Index, TableDeclaration, blob, integer, real, text

FILES = TableDeclaration(
    name="files", whose="person", section="files", seen_at="created_at",
    contents="names, sizes and hashes of files; the bytes are in `files/` of the data "
             "folder, or in `pieces`",
    kept="as `inbox`",
    columns=(
        text("id"), text("event_key"), text("sha256"), text("name"), text("type"),
        integer("size"), text("person"), text("conversation"), real("created_at"),
    ),
    key=("id",),
    indexes=(
        Index("files_event", "event_key"), Index("files_conversation", "conversation"),
        Index("files_person", "person"),
    ),
    deleted_by=("person",),
)  # fmt: skip
PIECES = TableDeclaration(
    name="pieces", whose="person", shared=True,
    not_exported="the bytes of the files: `--files`",
    contents="Postgres: the bytes of files", kept="as `files`",
    columns=(text("file"), integer("number"), real("created_at"), blob("data")),
    key=("file", "number"), deleted_by=("file",),
)  # fmt: skip
REMEMBERED = TableDeclaration(
    name="remembered", whose="person",
    not_exported="the section `remembered` has it", erased="the person's entries are removed",
    contents="what is remembered of Discord: a person's language, threads that they take part "
             "in, direct channels, by ids; the name that the owner wrote on the page",
    kept="the newest 2,000 of each; the owner's name until they change it",
    columns=(text("name"), text("data")), key=("name",),
)  # fmt: skip
PROCESSES = TableDeclaration(
    name="processes", whose="nobody", shared=True, not_exported="which processes there are",
    contents="–", kept="–",
    columns=(
        text("id"), text("name"), integer("has_intake"), integer("has_workers"),
        real("started_at"), real("seen_at"),
    ),
    key=("id",),
)  # fmt: skip
LEASES = TableDeclaration(
    name="leases", whose="nobody", shared=True, not_exported="who leads a role",
    contents="–", kept="–",
    columns=(text("role"), text("process"), real("expires_at")), key=("role",),
)  # fmt: skip
PACES = TableDeclaration(
    name="paces", whose="nobody", shared=True, unlogged=True,
    not_exported="when calls of a kind are due",
    contents="Postgres: ids of Slack channels in which much was posted", kept="an hour",
    columns=(text("name"), real("due_at")), key=("name",),
)  # fmt: skip
SECRETS = TableDeclaration(
    name="secrets", whose="nobody", shared=True, not_exported="keys of the Ponte itself",
    contents="–", kept="–",
    columns=(text("name"), blob("value")), key=("name",),
)  # fmt: skip
