"""Accounts of the web page, each with its own token, and the sessions that people signed out of.

Only the SHA-256 of a token is stored. That suffices because a token is 256 random bits. Passwords
need a slow hash because people choose guessable ones; a random token cannot be guessed.
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
    """An account with this name exists already."""

    sentence = "{name} already exists. `ponte people renew {name}` creates a new link."


def new_token() -> str:
    """Return a random token of 43 characters that are safe in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return the token's SHA-256 in hexadecimal, as it is stored."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class SqlPageAccounts:
    """The accounts of the page, by the key of their person. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, person: str, token: str) -> None:
        """Add an account. `token` is the hash of its token. Raises NameTaken."""
        values = (person, token, time.time())

        def write(connection: SqlConnection) -> int:
            return connection.execute(
                "INSERT INTO people (person, token, added) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            ).rowcount

        if not await self._database.write(write):
            raise NameTaken(name=_name_of(person))

    async def renew(self, person: str, token: str) -> None:
        """Replace the token of an account. `token` is the new token's hash. Raises NotFound."""

        def write(connection: SqlConnection) -> int:
            return connection.execute(
                "UPDATE people SET token = ? WHERE person = ?", (token, person)
            ).rowcount

        if not await self._database.write(write):
            raise NotFound(what=_name_of(person))

    async def remove(self, person: str) -> Sequence[int]:
        """Delete an account and return the `seq` of its unfinished turns, the latest first.

        Raises NotFound.
        """

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
        """Return all accounts, sorted by the key of their person."""

        def read(connection: SqlConnection) -> Sequence[PageAccount]:
            rows = connection.execute("SELECT person, token, added, seen FROM people")
            return [_account_of(row) for row in rows]

        return sorted(await self._database.read(read), key=lambda one: one.person)

    async def find(self, person: str) -> PageAccount | None:
        """Return the account of a person, None if there is none."""

        def read(connection: SqlConnection) -> PageAccount | None:
            row = connection.execute(
                "SELECT person, token, added, seen FROM people WHERE person = ?", (person,)
            ).fetchone()
            return _account_of(row) if row else None

        return await self._database.read(read)

    async def record_visit(self, person: str, day: str) -> None:
        """Record that a person signed in on `day` (UTC, as in 2026-11-21), unless a later day is
        recorded."""
        statement = "UPDATE people SET seen = ? WHERE person = ? AND seen < ?"
        await self._database.write(lambda c: c.execute(statement, (day, person, day)).close())

    async def end_session(self, session: str, until: float) -> None:
        """Record that a person signed out of a session, and delete records of expired sessions.

        `session` is the SHA-256 of the session, `until` the time at which it would have expired
        (seconds since the epoch). Raises NotStored.
        """

        def write(connection: SqlConnection) -> None:
            connection.execute("DELETE FROM ended_sessions WHERE until < ?", (time.time(),)).close()
            connection.execute(
                "INSERT INTO ended_sessions (session, until) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (session, until),
            ).close()

        await self._database.write(write)

    async def is_session_ended(self, session: str) -> bool:
        """Return whether somebody signed out of this session. Raises NotStored."""
        statement = "SELECT 1 FROM ended_sessions WHERE session = ?"
        return await self._database.read(
            lambda c: c.execute(statement, (session,)).fetchone() is not None
        )


def _account_of(row: SqlRow) -> PageAccount:
    return PageAccount(row["person"], row["token"], row["added"], row["seen"])


def _name_of(person: str) -> str:
    return person.rpartition(":")[2]
