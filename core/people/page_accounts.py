"""Accounts of the web page, each with its own token; the sessions that people signed out of; the
tokens of programs that act for people over `/v1`; and the owner's name.

Only the SHA-256 of a token is stored. Passwords need a slow hash because people choose guessable
ones; a random token cannot be guessed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from core.base.errors import BadInput, NotFound, NotStored
from core.base.text import to_one_line
from core.domain.messages import Person
from core.domain.records import FINAL_STATES, ApiToken, EndedToken, PageAccount
from core.people.audit import OPERATOR, audit_step
from core.people.notices import ACCESS_REMOVED, LINK_RENEWED, PersonNotice, put_person_notice
from core.people.rules import OWNER_ID
from core.people.sign_ins import Identity, SignedInPerson, person_by_key
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
from core.store.remembered import read_text, write_text
from core.store.tables import Index, TableDeclaration, real, text

PEOPLE_TABLE = TableDeclaration(
    name="people",
    whose="person",
    section="page_account",
    seen_at="added_at",
    contents="page: name, SHA-256 of the token, when they were added, the last day they came",
    kept="until `ponte people remove`, or they are forgotten",
    columns=(
        text("person"),
        text("token", secret=True),
        real("added_at"),
        text("last_visit", default=""),
    ),
    key=("person",),
    deleted_by=("person",),
)
API_TOKENS_TABLE = TableDeclaration(
    name="api_tokens",
    whose="person",
    section="api_tokens",
    seen_at="added_at",
    contents="page: name, kind and SHA-256 of each token for programs, when it was made and "
    "expires, the last day of use",
    kept="until it is revoked, `ponte people remove`, or they are forgotten",
    columns=(
        text("id"),
        text("person"),
        text("token", secret=True, unique=True),
        text("name"),
        real("added_at"),
        real("expires_at"),
        text("last_use", default=""),
        text("kind", default="api"),
    ),
    key=("id",),
    indexes=(Index("api_tokens_person", "person"),),
    deleted_by=("person",),
)
ENDED_SESSIONS_TABLE = TableDeclaration(
    name="ended_sessions",
    whose="nobody",
    not_exported="hashes of sessions that were signed out of, which lead to nobody",
    contents="page: the SHA-256 of each session that somebody signed out of, and its end",
    kept="until then, at most 30 days",
    columns=(text("session"), real("expires_at")),
    key=("session",),
)

NOT_INVITED_SENTENCE = (
    "No one called {name} is invited to the page. `ponte people list` shows everyone who is."
)


class PageAccounts(Protocol):
    """The stored data about the people who use the web page: accounts of people whom the owner
    invited, their sessions and API tokens, and people who sign in with a provider. The owner of
    this Ponte has no account here."""

    async def list_all(self) -> Sequence[PageAccount]: ...

    async def find(self, person: str) -> PageAccount | None:
        """None if there is none."""

    async def record_visit(self, person: str, day: str) -> None:
        """`day` is in UTC."""

    async def end_session(self, session: str, until: float) -> None:
        """Without this record, the session would last until `until` (Unix seconds). `session` is
        its SHA-256. Raise NotStored."""

    async def is_session_ended(self, session: str) -> bool:
        """`session` is a SHA-256. Raise NotStored."""

    async def find_api_token(self, token_hash: str) -> ApiToken | None:
        """None if there is none. Raise NotStored."""

    async def record_api_token_use(self, id: str, day: str) -> None:
        """`day` is in UTC."""

    async def list_api_tokens(self, person: str = "") -> Sequence[ApiToken]:
        """Return the tokens of a person (a key), or of everybody."""

    async def create_api_token(
        self, person: str, name: str, days: int, *, kind: str = "api"
    ) -> tuple[ApiToken, str]:
        """Create an API token for a person. Return its record and its text, which is stored
        nowhere.

        `days` is how long it is valid; 0 means without end. `kind` is what the token gives access
        to: "api" for `/v1`, "mcp" for `/mcp`, "metrics" for `/metrics`. Raises BadInput and
        NotStored.
        """

    async def revoke_api_token(self, id: str, person: str = "") -> ApiToken:
        """Delete the token, of that person if one is given, and return it. Raise NotFound and
        NotStored."""

    async def find_ended_token(self, token_hash: str) -> EndedToken | None:
        """None unless it was replaced or removed lately: the page tells why it no longer works.
        Raise NotStored."""

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        """Return the sign-in tokens of this person that were replaced or removed lately."""

    async def record_sign_in(
        self, identity: Identity, now: float, *, is_new: bool = True
    ) -> SignedInPerson:
        """With `is_new`, the person signs in; otherwise the provider only confirmed a session that
        exists. Raises NotStored."""

    async def find_sign_in(self, person: str) -> SignedInPerson | None:
        """None if they never signed in with a provider. Raise NotStored."""

    async def confirm_sign_in(self, person: str, now: float) -> None:
        """Raises NotStored."""

    async def end_all_sessions(self, person: Person, now: float) -> None:
        """The sessions end in every process. Raise NotStored."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Access changes when a token is replaced or revoked, or a session is ended, in any
        process."""


MCP_TOKEN_KIND = "mcp"  # noqa: S105 - no secret
"""The kind of a token that opens `/mcp`, and nothing else."""
_TOKEN_BYTES = 32
API_TOKEN_PREFIX = "ponte-api-"  # noqa: S105 - no secret
"""The beginning of every API token. It tells people, and programs that search for leaked secrets,
what the token is."""
MAX_API_TOKENS = 20
_SELECT_API_TOKENS = (
    "SELECT id, person, token, name, added_at, expires_at, last_use, kind FROM api_tokens"
)
_FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)


class NameTaken(BadInput):
    """Raised for a new account with a name that another account has."""

    sentence = "{name} already exists. `ponte people renew {name}` creates a new link."


class TooManyApiTokens(BadInput):
    """Raised for a new API token of a person who has as many as one person may have."""

    sentence = "{name} already has {limit} API tokens. Revoke one first."


def new_api_token() -> str:
    return API_TOKEN_PREFIX + new_token()


def new_token() -> str:
    """The token has 43 characters that are safe in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class SqlPageAccounts(SqlStore):
    """Stores the accounts of people whom the owner invited to the page, their API tokens and ended
    sessions. Each method is one transaction, which also writes the line of the audit log."""

    @transaction
    def add(
        self, connection: SqlConnection, person: str, token: str, by: Person = OPERATOR
    ) -> None:
        """`token` is the hash of its token. Raises NameTaken."""
        sql = "INSERT INTO people (person, token, added_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        if not connection.execute(sql, (person, token, time.time())).rowcount:
            raise NameTaken(name=_name_of(person))
        audit_step("person-added", by, person=person)(connection)

    @transaction
    def renew(
        self, connection: SqlConnection, person: str, token: str, by: Person = OPERATOR
    ) -> None:
        """A notice to its person is stored. `token` is the new token's hash. Raise NotFound."""
        ended = _read_token(connection, person)
        if not ended:
            raise NotFound(NOT_INVITED_SENTENCE, name=_name_of(person))
        connection.execute("UPDATE people SET token = ? WHERE person = ?", (token, person)).close()
        # The notice has the hash of the ended token as its id: a browser that still has that token
        # can read why it no longer works (`find_ended_token`).
        _notify(connection, person, LINK_RENEWED, id=ended)
        audit_step("person-link-renewed", by, person=person)(connection)

    async def remove(self, person: str, by: Person | None = None) -> Sequence[int]:
        """A browser that still has the account's token can read that the access was removed.
        Without `by`, the audit log gets no line. Return the `seq` of the person's unfinished turns,
        the latest first, for the caller to stop.

        Raises NotFound.
        """

        def write(connection: SqlConnection) -> Sequence[int] | None:
            # The hash of the link's token, under which a browser with that link finds the notice;
            # "" if there is no account.
            ended = _read_token(connection, person)
            connection.execute("DELETE FROM people WHERE person = ?", (person,)).close()
            connection.execute("DELETE FROM api_tokens WHERE person = ?", (person,)).close()
            if ended:
                # Notices to the person (the kind 'person') wait for the next visit of the page, to
                # which they have no access any more.
                connection.execute(
                    "DELETE FROM outbox WHERE person = ? AND kind = 'person'", (person,)
                ).close()
                _notify(connection, person, ACCESS_REMOVED, id=ended)
                if by is not None:
                    audit_step("person-removed", by, person=person)(connection)
            # Messages alone: a decision, such as an approval, may be half carried out, so it is not
            # stopped.
            unfinished = (
                "SELECT seq FROM inbox WHERE person = ? AND is_decision = 0"  # noqa: S608
                f" AND state NOT IN ({_FINAL}) ORDER BY seq DESC"
            )
            return select_values(connection, unfinished, person) if ended else None

        if (turns := await self._database.write(write)) is None:
            raise NotFound(NOT_INVITED_SENTENCE, name=_name_of(person))
        return turns

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        """Return as many as notices are stored."""
        return await self._select_ended("person = ?", person)

    async def find_ended_token(self, token: str) -> EndedToken | None:
        return next(iter(await self._select_ended("change = ?", token)), None)

    @query
    def _select_ended(
        self, connection: SqlConnection, where: str, value: str
    ) -> Sequence[EndedToken]:
        """There is no table of ended tokens: such a notice has the hash of the ended token as its
        id, in the column `change`. `where` is an SQL condition with a placeholder for `value`: the
        key of a person, or such a hash."""
        statement = f"SELECT change, text FROM outbox WHERE {where} AND kind = 'person'"  # noqa: S608
        notices = [
            # 0.0: nobody reads the time of these notices.
            PersonNotice.read(row["change"], row["text"], 0.0)
            for row in connection.execute(statement, (value,))
        ]
        return [
            EndedToken(notice.id, notice.kind == ACCESS_REMOVED)
            for notice in notices
            if notice.kind in (LINK_RENEWED, ACCESS_REMOVED)
        ]

    @query
    def list_all(self, connection: SqlConnection) -> Sequence[PageAccount]:
        rows = connection.execute("SELECT person, token, added_at, last_visit FROM people")
        return sorted(map(_account_of, rows), key=lambda account: account.person)

    @query
    def find(self, connection: SqlConnection, person: str) -> PageAccount | None:
        row = connection.execute(
            "SELECT person, token, added_at, last_visit FROM people WHERE person = ?", (person,)
        ).fetchone()
        return _account_of(row) if row else None

    async def record_visit(self, person: str, day: str) -> None:
        """`day` is in UTC, as in 2026-11-21. A later day that is recorded stays."""
        sql = "UPDATE people SET last_visit = ? WHERE person = ? AND last_visit < ?"
        await self._execute(sql, day, person, day)

    @transaction
    def end_session(self, connection: SqlConnection, session: str, until: float) -> None:
        """Records of expired sessions are deleted. `session` is the SHA-256 of the part of its
        cookie that names the session, `until` the time at which it would have expired (seconds
        since the epoch). Raise NotStored."""
        connection.execute(
            "DELETE FROM ended_sessions WHERE expires_at < ?", (time.time(),)
        ).close()
        # A session that was ended before keeps its row.
        connection.execute(
            "INSERT INTO ended_sessions (session, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (session, until),
        ).close()

    async def is_session_ended(self, session: str) -> bool:
        return bool(await self._select("SELECT 1 FROM ended_sessions WHERE session = ?", session))

    @transaction
    def add_api_token(
        self, connection: SqlConnection, token: ApiToken, by: Person | None = None
    ) -> None:
        """Expired tokens of the person are deleted. With `by`, somebody else creates it for the
        person, who gets a notice. Raise TooManyApiTokens."""
        columns = (
            token.id,
            token.person,
            token.token_hash,
            token.name,
            token.added_at,
            token.expires_at,
            token.kind,
        )
        # Two requests at the same time must not both pass the count below.
        connection.lock_key(token.person)
        # An `expires_at` of 0 is that of a token that never expires.
        connection.execute(
            "DELETE FROM api_tokens WHERE person = ? AND expires_at > 0 AND expires_at <= ?",
            (token.person, token.added_at),
        ).close()
        sql = "SELECT count(*) FROM api_tokens WHERE person = ?"
        if select_value(connection, sql, token.person) >= MAX_API_TOKENS:
            raise TooManyApiTokens(name=_name_of(token.person), limit=MAX_API_TOKENS)
        connection.execute(
            "INSERT INTO api_tokens (id, person, token, name, added_at, expires_at, kind)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            columns,
        ).close()
        _record_token_event(connection, "api-token-added", token, by)

    @query
    def list_api_tokens(self, connection: SqlConnection, person: str = "") -> Sequence[ApiToken]:
        rows = connection.execute(f"{_SELECT_API_TOKENS} WHERE ? IN (person, '')", (person,))
        return sorted(
            map(_api_token_of, rows), key=lambda token: (token.person, token.added_at, token.id)
        )

    @query
    def find_api_token(self, connection: SqlConnection, token_hash: str) -> ApiToken | None:
        row = connection.execute(f"{_SELECT_API_TOKENS} WHERE token = ?", (token_hash,)).fetchone()
        return _api_token_of(row) if row else None

    @transaction
    def delete_api_token(
        self, connection: SqlConnection, id: str, person: str = "", by: Person | None = None
    ) -> ApiToken:
        """With `by`, somebody else deletes it, and the person gets a notice. Raises NotFound."""
        # True for a token of the person, and for any token if `person` is "".
        theirs = "id = ? AND ? IN (person, '')"
        select = f"{_SELECT_API_TOKENS} WHERE {theirs}"
        if (row := connection.execute(select, (id, person)).fetchone()) is None:
            raise NotFound(what="API token")
        connection.execute(f"DELETE FROM api_tokens WHERE {theirs}", (id, person)).close()  # noqa: S608
        token = _api_token_of(row)
        _record_token_event(connection, "api-token-revoked", token, by)
        return token

    async def record_api_token_use(self, id: str, day: str) -> None:
        sql = "UPDATE api_tokens SET last_use = ? WHERE id = ? AND last_use < ?"
        await self._execute(sql, day, id, day)


def _read_token(connection: SqlConnection, person: str) -> str:
    return select_value(connection, "SELECT token FROM people WHERE person = ?", person) or ""


def _notify(
    connection: SqlConnection, person: str, kind: str, *, id: str = "", **values: str
) -> None:
    """Store a notice of this kind to the person of an account, with an `id` or a random one. The
    page's owner does what these notices tell, and gets none."""
    # The page's owner does what these notices tell, and gets none.
    to = person_by_key(person)
    if to.id != OWNER_ID:
        notice = PersonNotice.new(id or secrets.token_hex(8), kind, **values)
        put_person_notice(connection, to, notice)


def _record_token_event(
    connection: SqlConnection, event: str, token: ApiToken, by: Person | None
) -> None:
    """Write a line to the audit log, and store a notice to the person if somebody else (`by`)
    created or deleted the token. A token for metrics cannot act for its person, so nobody is
    notified of it."""
    # A token for metrics cannot act for its person, so nobody is notified of it.
    if by is not None and token.kind != "metrics":
        _notify(connection, token.person, event, name=token.name or token.id)
    actor = by or person_by_key(token.person)
    audit_step(event, actor, person=token.person, api_token=token.id)(connection)


def _api_token_of(row: SqlRow) -> ApiToken:
    return ApiToken(
        row["id"],
        row["person"],
        row["token"],
        row["name"],
        row["added_at"],
        row["expires_at"],
        row["last_use"],
        row["kind"],
    )


def _account_of(row: SqlRow) -> PageAccount:
    return PageAccount(row["person"], row["token"], row["added_at"], row["last_visit"])


def _name_of(person: str) -> str:
    return person.rpartition(":")[2]


OWNER_RENAMED_TOPIC = "owner-name"
"""The notification between processes that the owner changed their name."""
MAX_OWNER_NAME_CHARACTERS = 60
_ROW_NAME = "owner"
_KEY = f"web:{OWNER_ID}"
"""The entry of the row. Exports and deletions find personal data by such a key."""


class OwnerName(SqlStore):
    """The name of the owner as people see it: the one that the owner entered on the page, else
    `default`. It is cached in memory.

    `notify` tells the other processes that the name has changed; they call `on_renamed`.
    """

    def __init__(
        self, database: Database, default: str, notify: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(database)
        self._default = _clean_name(default)
        self._notify = notify
        self._stored = ""

    @property
    def current(self) -> str:
        return self._stored or self._default

    async def load(self) -> None:
        self._stored = _clean_name(await self.read())

    async def change(self, name: str) -> None:
        """Store the owner's name; "" returns to the default. Raise NotStored."""
        await self.write(_clean_name(name))
        await self.load()
        with suppress(NotStored):  # the other processes read it at their next start
            await self._notify()

    async def on_renamed(self, _: str) -> None:
        with suppress(NotStored):
            await self.load()

    @query
    def read(self, connection: SqlConnection) -> str:
        """Return "" if no name is stored. Raise NotStored."""
        return str(json.loads(read_text(connection, _ROW_NAME) or "{}").get(_KEY, ""))

    @transaction
    def write(self, connection: SqlConnection, name: str) -> None:
        """The name "" removes it. Raise NotStored."""
        write_text(connection, _ROW_NAME, json.dumps({_KEY: name} if name else {}))


def _clean_name(name: str) -> str:
    return to_one_line(name, MAX_OWNER_NAME_CHARACTERS).strip()
