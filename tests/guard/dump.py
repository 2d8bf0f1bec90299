"""Writes what a dialogue left behind as lines of text without ids and times."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

from bot.stores import SCHEMA
from core.turn import context as prompt
from tests.guard.normal import Normal
from tests.guard.services import NotedRequest
from tests.guard.stage import Stage

LEFT_OUT = frozenset({
    "audit", "audit_keys", "processes", "leases", "paces", "secrets", "directory", "remembered",
    "pieces", "progress", "erased_people", "ended_sessions",
})  # fmt: skip
"""Tables without a decision of a turn or a change; the audit log has a section of its own."""
UNSTEADY_COLUMNS = frozenset({
    "owner", "updated_at", "job", "position", "token", "attempts", "drawn_version",
})  # fmt: skip
UNSTEADY_METRICS = ("ponte_http", "ponte_commits", "ponte_loop", "ponte_message_store")
"""After a restart, Discord's messages can arrive twice: as events and from the catch-up."""


async def dump_stage(stage: Stage) -> Sequence[str]:
    """Return the lines of a dialogue. Ponte still runs."""
    seen = await stage.surface.list_visible()
    audit, _ = await stage.app.engine.people.audit.read()
    lines = [dict(line) for line in audit]
    with closing(sqlite3.connect(stage.home / "ponte.db")) as connection:
        connection.row_factory = sqlite3.Row
        normal = Normal(stage.ids, _names(stage) | {prompt.INSTRUCTIONS: "INSTRUCTIONS"})
        found = [line for step in stage.steps for line in _dump_step(step.title, step.made, normal)]
        found.append("== audit")
        for line in lines:
            line.pop("at", None)
            found.append(normal.line(line))
        for table in sorted(each.name for each in SCHEMA.declarations if not each.shared):
            if table not in LEFT_OUT:
                found += _dump_table(connection, table, normal)
    return [*found, "== seen", *map(normal.line, _sort_posts(seen, normal))]


def dump_metrics(stage: Stage) -> Sequence[str]:
    """Return what the dialogue counted. Ponte has stopped."""
    counts = sorted(stage.counts.items())
    return ["== metrics", *(f"{name} {value:g}" for name, value in counts
                            if not name.startswith(UNSTEADY_METRICS))]  # fmt: skip


def _names(stage: Stage) -> dict[str, str]:
    names = stage.services.addresses() | {str(stage.home): "HOME", stage.app.links()[0]: "PAGE"}
    bare = {address.partition("//")[2]: name for address, name in names.items() if "//" in address}
    return {name: label for name, label in (names | bare).items() if name}


def _dump_step(title: str, made: Sequence[NotedRequest], normal: Normal) -> Iterator[str]:
    """The services work side by side, and so do some calls of one. So the lines of a service are
    sorted by all that is no id, then by where else in the step their ids are. A card is drawn as
    in progress only if its change takes a while, so that is left out."""
    yield f"== {normal.text(title)}"
    steady = (one for one in made if "In progress." not in str(one.body))
    lines = [(one, one.service, normal.key([one.what, one.body])) for one in steady]
    uses: dict[str, list[tuple[str, str]]] = {}
    for one, *key in sorted(lines, key=lambda line: line[1:]):
        for id in normal.find_ids([one.what, one.body]):
            uses.setdefault(id, []).append((key[0], key[1]))

    def order(line: tuple[NotedRequest, str, str]) -> Any:
        one, *key = line
        ids = normal.find_ids([one.what, one.body])
        return key, [(normal.known_label(id), uses[id]) for id in ids]

    for one, *_ in sorted(lines, key=order):
        yield f"{one.service}: {normal.text(one.what)} {normal.line(one.body)}"


def _sort_posts(seen: Sequence[Any], normal: Normal) -> Iterator[Any]:
    """Yield what is visible. Turns and notices post side by side, so posts of Ponte with nothing
    of a person between them are sorted by all that is no id. Their ids show which turn made them.
    """
    for is_own, group in groupby(seen, lambda one: one.get("by") == "ponte"):
        posts = list(group)
        yield from sorted(posts, key=normal.key) if is_own else posts


def _dump_table(connection: sqlite3.Connection, table: str, normal: Normal) -> Iterator[str]:
    try:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
        rows = [_row(row) for row in found]
    except sqlite3.OperationalError:  # a table WITHOUT ROWID
        rows = [_row(row) for row in connection.execute(f"SELECT * FROM {table}")]
        rows.sort(key=lambda row: (normal.key(row), row.get("created_at", 0)))
    if table == "posts":  # turns post side by side
        rows.sort(key=lambda row: (row["seq"], row.get("number", 0)))
    if table == "remotes":  # without those of conversations that were made in advance
        rows = [row for row in rows if "thread" in row]
    if rows:
        yield f"== table {table}"
        yield from map(normal.line, rows)


def _row(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()  # noqa: SIM118
            if name not in UNSTEADY_COLUMNS and row[name] not in ("", None, 0)}  # fmt: skip
