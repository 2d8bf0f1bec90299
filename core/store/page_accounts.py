"""Accounts of the page, each with its own token, and sessions that people signed out of.

Of a token its SHA-256 is kept. That suffices for 256 random bits: a slow hash, as passwords need,
makes guessing what people think up dear, and these cannot be guessed.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

from core.domain.errors import BadInput, NotFound
from core.domain.records import FINAL_STATES, PageAccount
from core.store.database import Database, SqlConnection, SqlRow

_TOKEN_BYTES = 32
_FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)


class NameTaken(BadInput):
    sentence = "{name} is there already; `ponte people renew {name}` makes a new token."


def new_token() -> str:
    """Return a random token of 43 characters that may stand in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return the token's SHA-256 in hexadecimal, as it is stored."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class SqlPageAccounts:
    """Accounts by the key of their person; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, person: str, token: str) -> None:
        """Add an account. `token` is hashed. Raises NameTaken."""
        values = (person, token, time.time())

        def write(connection: SqlConnection) -> int:
            return connection.execute(
                "INSERT INTO people (person, token, added) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            ).rowcount

        if not await self._database.write(write):
            raise NameTaken(name=_name_of(person))

    async def renew(self, person: str, token: str) -> None:
        """Replace the token of an account. Raises NotFound."""

        def write(connection: SqlConnection) -> int:
            return connection.execute(
                "UPDATE people SET token = ? WHERE person = ?", (token, person)
            ).rowcount

        if not await self._database.write(write):
            raise NotFound(what=_name_of(person))

    async def remove(self, person: str) -> Sequence[int]:
        """Delete an account. Return its person's unfinished turns by `seq`. Raises NotFound."""

        def write(connection: SqlConnection) -> Sequence[int] | None:
            gone = connection.execute("DELETE FROM people WHERE person = ?", (person,)).rowcount
            left = connection.execute(
                "SELECT seq FROM inbox WHERE person = ? AND decision = 0"  # noqa: S608
                f" AND state NOT IN ({_FINAL}) ORDER BY seq DESC",
                (person,),
            )
            return [row["seq"] for row in left] if gone else None

        left = await self._database.write(write)
        if left is None:
            raise NotFound(what=_name_of(person))
        return left

    async def list_all(self) -> Sequence[PageAccount]:
        """Return all accounts by name."""

        def read(connection: SqlConnection) -> Sequence[PageAccount]:
            rows = connection.execute("SELECT person, token, added, seen FROM people")
            return [_account_of(row) for row in rows]

        return sorted(await self._database.read(read), key=lambda one: one.person)

    async def find(self, person: str) -> PageAccount | None:
        def read(connection: SqlConnection) -> PageAccount | None:
            row = connection.execute(
                "SELECT person, token, added, seen FROM people WHERE person = ?", (person,)
            ).fetchone()
            return _account_of(row) if row else None

        return await self._database.read(read)

    async def record_visit(self, person: str, day: str) -> None:
        """Record that they signed in on that day (UTC, as in 2026-11-21)."""
        statement = "UPDATE people SET seen = ? WHERE person = ? AND seen < ?"
        await self._database.write(lambda c: c.execute(statement, (day, person, day)).close())

    async def end_session(self, session: str, until: float) -> None:
        """Record that this session has ended; `until`: when it would have expired.

        Raises NotStored.
        """

        def write(connection: SqlConnection) -> None:
            connection.execute("DELETE FROM ended_sessions WHERE until < ?", (time.time(),)).close()
            connection.execute(
                "INSERT INTO ended_sessions (session, until) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (session, until),
            ).close()

        await self._database.write(write)

    async def is_session_ended(self, session: str) -> bool:
        """Return whether somebody signed out of that session. Raises NotStored."""
        statement = "SELECT 1 FROM ended_sessions WHERE session = ?"
        return await self._database.read(
            lambda c: c.execute(statement, (session,)).fetchone() is not None
        )


def _account_of(row: SqlRow) -> PageAccount:
    return PageAccount(row["person"], row["token"], row["added"], row["seen"])


def _name_of(person: str) -> str:
    return person.rpartition(":")[2]
