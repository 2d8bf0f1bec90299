"""The directory: what platforms report about their people, in one row for each person and scope.

A change of a person's data writes one row. A keyed hash of the id recognises people who were
forgotten, so that no platform's list brings their rows back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from core.domain.messages import Message, decode_json
from core.domain.records import MemberKey, PlatformMember
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)

_LOCK_KEY = "directory"
"""The key of a lock that `put` and `forget` share, so that no row is stored after its person was
forgotten."""
_IDS_PER_STATEMENT = 500
"""Ids in one statement. Before version 3.32, SQLite allowed 999 values
(https://sqlite.org/limits.html)."""
_COLUMNS = "scope, id, person, name, locale, time_zone, is_guest, is_bot, belongs_to, confirmed_at"
_UPSERT = (
    f"INSERT INTO directory (platform, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (platform, scope, id) DO UPDATE SET person = excluded.person,"
    " name = excluded.name, locale = excluded.locale, time_zone = excluded.time_zone,"
    " is_guest = excluded.is_guest, is_bot = excluded.is_bot, belongs_to = excluded.belongs_to,"
    " confirmed_at = excluded.confirmed_at"
    " WHERE directory.confirmed_at <= excluded.confirmed_at"
)


class SqlDirectory(SqlStore):
    """The `MemberStore` port. `pseudonym` returns the keyed hash of a name."""

    def __init__(self, database: Database, pseudonym: Callable[[str], str]) -> None:
        super().__init__(database)
        self._pseudonym = pseudonym

    @query
    def list_newest(
        self, connection: SqlConnection, platform: str, scope: str, most: int
    ) -> Sequence[PlatformMember]:
        """Return the `most` members of that scope that were confirmed last, the oldest confirmation
        first."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM directory WHERE platform = ? AND scope = ?"  # noqa: S608
            " ORDER BY confirmed_at DESC LIMIT ?",
            (platform, scope, most),
        ).fetchall()
        return [_member(row) for row in reversed(rows)]

    @query
    def find(
        self, connection: SqlConnection, platform: str, places: Collection[MemberKey]
    ) -> Sequence[PlatformMember]:
        """Return the members with these keys. Members without a row are left out."""
        ids = sorted({id for _, id in places})
        found = list[PlatformMember]()
        for begin in range(0, len(ids), _IDS_PER_STATEMENT):
            some = ids[begin : begin + _IDS_PER_STATEMENT]
            marks = ", ".join("?" * len(some))
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM directory WHERE platform = ? AND id IN ({marks})",  # noqa: S608
                (platform, *some),
            )
            found += map(_member, rows)
        return [member for member in found if member.key in places]

    @query
    def find_names(self, connection: SqlConnection, keys: Collection[str]) -> Mapping[str, str]:
        """Return the names of people by key, as their latest message or the platform's list of
        members has them. People without a known name are left out."""
        found = {}
        for key in sorted(set(keys)):
            row = connection.execute(
                "SELECT message FROM inbox WHERE person = ? ORDER BY seq DESC LIMIT 1", (key,)
            ).fetchone()
            name = decode_json(Message, row["message"]).author.name if row else ""
            if not name:
                name = select_value(connection, "SELECT name FROM directory WHERE person = ?", key)
            if name:
                found[key] = name
        return found

    @transaction
    def put(
        self, connection: SqlConnection, platform: str, members: Sequence[PlatformMember]
    ) -> frozenset[str]:
        """Store these members, except people who were forgotten. Return the ids of the forgotten
        people. A row that was confirmed later than the member is not changed."""
        connection.lock_key(_LOCK_KEY)
        erased = self._find_erased(connection, platform, {member.id for member in members})
        rows = [_row(platform, each) for each in members if each.id not in erased]
        if rows:
            connection.executemany(_UPSERT, rows)
        return erased

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, who left the platform."""
        await self._database.write(lambda c: _delete(c, platform, ids))

    @transaction
    def forget(self, connection: SqlConnection, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, and let no later `put` bring them back."""
        connection.lock_key(_LOCK_KEY)
        for id in ids:
            connection.execute(
                "INSERT INTO erased_people (pseudonym) VALUES (?) ON CONFLICT DO NOTHING",
                (self._pseudonym_of(platform, id),),
            ).close()
        _delete(connection, platform, ids)

    async def purge(self, before: float) -> int:
        """Delete the rows that no platform has confirmed since `before`. Return how many there
        were."""
        return await self._execute("DELETE FROM directory WHERE confirmed_at < ?", before)

    def _find_erased(
        self, connection: SqlConnection, platform: str, ids: Collection[str]
    ) -> frozenset[str]:
        """Return those of the ids that belong to forgotten people."""
        known = set(select_values(connection, "SELECT pseudonym FROM erased_people"))
        return frozenset(id for id in ids if known and self._pseudonym_of(platform, id) in known)

    def _pseudonym_of(self, platform: str, id: str) -> str:
        return self._pseudonym(f"directory:{platform}:{id}")


def _delete(connection: SqlConnection, platform: str, ids: Collection[str]) -> None:
    connection.executemany(
        "DELETE FROM directory WHERE platform = ? AND id = ?", [(platform, id) for id in ids]
    )


def _row(platform: str, member: PlatformMember) -> tuple[str | int | float, ...]:
    return (
        platform, member.scope, member.id, member.person, member.name, member.locale,
        member.time_zone, member.is_guest, member.is_bot, " ".join(sorted(member.belongs_to)),
        member.confirmed_at,
    )  # fmt: skip


def _member(row: SqlRow) -> PlatformMember:
    return PlatformMember(
        id=row["id"], scope=row["scope"], person=row["person"], name=row["name"],
        locale=row["locale"], time_zone=row["time_zone"], is_guest=bool(row["is_guest"]),
        is_bot=bool(row["is_bot"]), belongs_to=frozenset(row["belongs_to"].split()),
        confirmed_at=row["confirmed_at"],
    )  # fmt: skip
