"""The database in memory, and the ports PageAccounts and StatusBoard, for tests of the adapters."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from adapters.web.sign_in import PageSecrets
from bot.stores import SCHEMA
from core.base.errors import NotFound, NotStored, PonteError
from core.changes.cards import MAX_LISTED_CHANGES
from core.domain.changes import (
    NO_PROPOSAL_SENTENCE,
    Change,
    ChangeForm,
    Draft,
    Overview,
    PendingRequests,
    Proposal,
)
from core.domain.messages import Address, Card, Person
from core.domain.records import (
    ApiToken,
    EndedToken,
    Health,
    HistoryEntry,
    PageAccount,
    QuickCommand,
)
from core.domain.rights import MemberKey, PlatformMember
from core.journal.threads import _history_entry_of
from core.people.directory import SqlDirectory
from core.people.page_accounts import OwnerName, hash_token, new_api_token, new_token
from core.people.sign_ins import Identity, SignedInPerson
from core.store.database import (
    SqlConnection,
    SqliteDatabase,
    SqliteStatements,
    _settle_all,
    _Write,
)
from core.store.files import FolderBytes

T = TypeVar("T")


@functools.cache
def _empty_database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA.script)
        return connection.serialize()


class MemoryDatabase(SqliteDatabase):
    """The product's database in memory, on the event loop's thread instead of its own two: a test
    does not wait for a disk or for a change of threads."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"), SCHEMA)
        self._connection = self._connect()
        self._connection.deserialize(_empty_database())
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._writing = self._reading = SqliteStatements(self._connection)

    async def write(
        self,
        work: Callable[[SqlConnection], T],
        then: Callable[[T], None] | None = None,
        *,
        single: bool = False,
        repeatable: bool = False,
        alone: bool = False,
    ) -> T:
        await asyncio.sleep(0)
        job: _Write[T] = _Write(work, self._loop.create_future(), then, alone, repeatable)
        self._commit([job])
        _settle_all([job])
        return await job.future

    async def read(self, work: Callable[[SqlConnection], T], *, single: bool = False) -> T:
        await asyncio.sleep(0)
        return self._read(work)

    async def close(self) -> None:
        self._connection.close()

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """Read or change what is stored, as no Ponte does."""
        return self._connection.execute(statement, values).fetchall()

    def entries(self) -> dict[int, HistoryEntry]:
        """Return what is stored of each message, by its number."""
        rows = self.execute("SELECT * FROM inbox ORDER BY seq")
        return {row["seq"]: _history_entry_of(row) for row in rows}


class MemoryBytes(FolderBytes):
    """The bytes of files."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    async def put(self, file: str, data: bytes) -> None:
        self._files[file] = data

    async def get(self, file: str) -> bytes:
        return self._files[file]

    async def discard(self, file: str) -> None:
        self._files.pop(file, None)

    async def sweep(self, before: float, known: Callable[[], Awaitable[set[str]]]) -> int:
        return 0


class MemoryOwnerName(OwnerName):
    """The owner's name in memory."""

    def __init__(self, name: str = "") -> None:
        self._default = self._stored = name

    async def change(self, name: str) -> None:
        self._stored = name


def page_secrets(token: str, *, is_generated: bool = False) -> PageSecrets:
    """Return the secrets of a page, whose key differs from that of pages with other tokens."""
    return PageSecrets(token, hashlib.sha256(token.encode()).digest(), is_generated=is_generated)


class MemoryPageAccounts:
    """The port `PageAccounts`. `quiet`: a change is told to nobody; `away`: the database is."""

    def __init__(self) -> None:
        self.accounts: dict[str, PageAccount] = {}
        self.tokens: dict[str, ApiToken] = {}
        self.ended: dict[str, float] = {}
        """The sessions that were ended, and until when they would have lasted."""
        self.lost: list[tuple[str, EndedToken]] = []
        """The tokens that were replaced or removed, with their person."""
        self.signed_in: dict[str, SignedInPerson] = {}
        self.quiet = self.away = False
        self.read = 0
        self._heard: list[Callable[[], None]] = []

    def add(self, name: str) -> str:
        """Also anew; gives their token."""
        token = new_token()
        if former := self.accounts.get(f"web:{name}"):
            self.lost.append((former.person, EndedToken(former.token_hash, was_removed=False)))
        self.accounts[f"web:{name}"] = PageAccount(f"web:{name}", hash_token(token), time.time())
        self._tell()
        return token

    def remove(self, name: str) -> None:
        former = self.accounts.pop(f"web:{name}")
        self.lost.append((former.person, EndedToken(former.token_hash, was_removed=True)))
        self.tokens = {k: one for k, one in self.tokens.items() if one.person != f"web:{name}"}
        self._tell()

    def add_api_token(self, name: str, days: float = 0, kind: str = "api") -> str:
        """Of somebody with an account, or of `owner`; negative days for one that has expired."""
        return self._make_token(name if ":" in name else f"web:{name}", "", days, kind)[1]

    def _make_token(
        self, person: str, name: str, days: float, kind: str = "api"
    ) -> tuple[ApiToken, str]:
        text, id, now = new_api_token(), f"t{len(self.tokens)}", time.time()
        until = now + 86_400 * days if days else 0.0
        token = ApiToken(id, person, hash_token(text), name, now, until, kind=kind)
        self.tokens[id] = token
        return token, text

    async def find_ended_token(self, token_hash: str) -> EndedToken | None:
        self._look()
        return next((one for _, one in self.lost if one.token_hash == token_hash), None)

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        self._look()
        return [one for name, one in self.lost if name == person]

    async def find_api_token(self, token_hash: str) -> ApiToken | None:
        self._look()
        return next((one for one in self.tokens.values() if one.token_hash == token_hash), None)

    async def record_api_token_use(self, id: str, day: str) -> None:
        self._look()
        self.tokens[id] = replace(self.tokens[id], last_use=day)

    async def list_api_tokens(self, person: str = "") -> Sequence[ApiToken]:
        self._look()
        return [one for one in self.tokens.values() if person in ("", one.person)]

    async def create_api_token(
        self, person: str, name: str, days: int, *, kind: str = "api"
    ) -> tuple[ApiToken, str]:
        self._look()
        return self._make_token(person, name, days, kind)

    async def revoke_api_token(self, id: str, person: str = "") -> ApiToken:
        self._look()
        token = self.tokens.get(id)
        if token is None or person not in ("", token.person):
            raise NotFound(what="API token")
        del self.tokens[id]
        self._tell()
        return token

    async def list_all(self) -> Sequence[PageAccount]:
        self._look()
        return list(self.accounts.values())

    async def find(self, person: str) -> PageAccount | None:
        self._look()
        return self.accounts.get(person)

    async def record_visit(self, person: str, day: str) -> None:
        self._look()
        self.accounts[person] = replace(self.accounts[person], last_visit=day)

    async def end_session(self, session: str, until: float) -> None:
        self._look()
        self.ended[session] = until
        self._tell()

    async def is_session_ended(self, session: str) -> bool:
        self._look()
        return session in self.ended

    async def record_sign_in(
        self, identity: Identity, now: float, *, is_new: bool = True
    ) -> SignedInPerson:
        self._look()
        key = identity.person.key
        person = SignedInPerson(
            identity.person, identity.provider, identity.groups, new_token(), now, now, now
        )
        if former := self.signed_in.get(key):
            last_at = now if is_new else former.last_at
            person = replace(
                person, session_key=former.session_key, first_at=former.first_at, last_at=last_at
            )
            person = former if former.removed_at else person
        self.signed_in[key] = person
        return person

    async def find_sign_in(self, person: str) -> SignedInPerson | None:
        self._look()
        return self.signed_in.get(person)

    async def confirm_sign_in(self, person: str, now: float) -> None:
        self._look()
        self.signed_in[person] = replace(self.signed_in[person], confirmed_at=now)

    async def end_all_sessions(self, person: Person, now: float = 0.0) -> None:
        self._look()
        former = self.signed_in[person.key]
        self.signed_in[person.key] = replace(former, session_key=new_token())
        self._tell()

    def remove_sign_in(self, person: str) -> None:
        self.signed_in[person] = replace(self.signed_in[person], removed_at=1.0)
        self._tell()

    def on_change(self, heard: Callable[[], None]) -> None:
        self._heard.append(heard)

    def _look(self) -> None:
        self.read += 1
        if self.away:
            raise NotStored

    def _tell(self) -> None:
        for listener in () if self.quiet else self._heard:
            listener()


def make_change(card: Card) -> Change:
    """A change of the owner's on the page that has this card."""
    draft = Draft("memory", "update", {}, "Customers", ())
    owner, place = Person("web", "owner"), Address("web", "main")
    return Change(Proposal(card.id, draft, owner, place, 1, "c", "t", 1, "en", 0, 2e9))


class MemoryBoard:
    """`parts`, `known` and `cards` (by conversation key) are what a test puts there."""

    def __init__(self) -> None:
        self.parts: list[Health] = []
        self.known: list[QuickCommand] = []
        self.cards: dict[str, list[Card]] = {}
        self.forms: dict[str, ChangeForm | PonteError] = {}
        self.plans: dict[str, bytes] = {}
        self.decided: list[Card] = []
        """Cards that wait for nobody any more."""
        self.pending: dict[str, list[tuple[Change, Card]]] = {}
        self.listeners: list[Callable[[], None]] = []
        self.titles: list[str] = []
        self.saved: list[str] = []
        self.is_demo = True

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        return self.titles

    async def saved_names(self, person: Person, address: Address) -> Sequence[str]:
        return self.saved

    async def health(self) -> Sequence[Health]:
        return self.parts

    async def readiness(self) -> Sequence[Health]:
        return self.parts

    async def metrics(self) -> str:
        return "ponte_up 1\n"

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return self.known

    async def overview(self, person: Person, address: Address, time_zone: str) -> Overview:
        return Overview()

    async def changes(self, conversation: str) -> Sequence[Card]:
        return self.cards.get(conversation, [])

    async def open_plan(self, id: str, person: Person, address: Address) -> bytes:
        try:
            return self.plans[id]
        except KeyError:
            raise NotFound(what="card") from None

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        """Return the form of this card, or raise the error that is stored for it."""
        form = self.forms.get(press_id, NotFound(NO_PROPOSAL_SENTENCE, id=press_id))
        if isinstance(form, PonteError):
            raise form
        return form

    async def requests(self, person: Person, address: Address, id: str = "") -> PendingRequests:
        pending = self.pending.get(person.key, [])
        if id:
            known = [*pending, *((make_change(card), card) for card in self.decided)]
            pending = [(change, card) for change, card in known if card.id == id]
            if not pending:
                raise NotFound(NO_PROPOSAL_SENTENCE, id=id)
        changes, listed = [change for change, _ in pending], pending[:MAX_LISTED_CHANGES]
        askers = [change.proposal.asker.name for change, _ in listed]
        return PendingRequests(changes, [card for _, card in listed], askers)

    def on_requests_change(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)

    def announce_requests(self) -> None:
        for listener in self.listeners:
            listener()


class NoRows(SqlDirectory):
    """The rows of people where nothing is stored."""

    def __init__(self) -> None:
        pass

    async def list_newest(self, platform: str, scope: str, most: int) -> Sequence[PlatformMember]:
        return ()

    async def find(self, platform: str, places: Collection[MemberKey]) -> Sequence[PlatformMember]:
        return ()

    async def put(self, platform: str, members: Collection[PlatformMember]) -> frozenset[str]:
        return frozenset()

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        return None

    async def forget(self, platform: str, ids: Collection[str]) -> None:
        return None
