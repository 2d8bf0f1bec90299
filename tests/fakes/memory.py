"""The ports Inbox, Files, PageAccounts and StatusBoard in memory, for tests of the adapters.

`MemoryInbox.rows` survives a "restart": hand it to the next inbox. `refusing` is the full disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.web.sign_in import PageSecrets
from core.base.errors import Forgotten, NotFound, NotStored, PonteError
from core.changes.cards import MAX_LISTED_CHANGES
from core.commands import grammar
from core.domain.changes import (
    NO_PROPOSAL_SENTENCE,
    Change,
    ChangeForm,
    Overview,
    PendingRequests,
)
from core.domain.messages import (
    ONE_REQUEST_PREFIX,
    Address,
    Answer,
    Card,
    File,
    Message,
    Person,
    Usage,
)
from core.domain.ports import NO_STEP, TransactionStep, TurnHandler
from core.domain.records import (
    ALL_CONVERSATIONS,
    FINAL_STATES,
    AmendResult,
    ApiToken,
    ConversationArea,
    ConversationSummary,
    EndedToken,
    Health,
    HistoryEntry,
    PageAccount,
    QuickCommand,
    Receipt,
    SearchHit,
    Turn,
    TurnState,
)
from core.domain.rights import MemberKey, PlatformMember
from core.journal.threads import find_excerpt
from core.people.directory import SqlDirectory
from core.people.page_accounts import OwnerName, hash_token, new_api_token, new_token
from core.people.sign_ins import Identity, SignedInPerson


@dataclass(slots=True)
class InboxRow:
    seq: int
    message: Message
    state: TurnState = "new"
    answer: Answer | None = None
    at: float = field(default_factory=time.time)

    @property
    def decision(self) -> bool:
        return grammar.is_decision(self.message)

    @property
    def history_entry(self) -> HistoryEntry:
        return HistoryEntry(
            self.seq, self.message.turn, self.state, self.message, self.answer, self.at
        )


class MemoryInbox:
    """Also what is read of a journal (`shown`, `turn_of`), and how a test ends a turn (`end`)."""

    def __init__(self, rows: dict[int, InboxRow] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self.marks: dict[str, tuple[str, bool]] = {}
        self.spent: dict[int, Usage] = {}
        self.forgotten: list[str] = []
        self.refusing = False
        self._handler: TurnHandler | None = None
        self._platforms: Collection[str] = ()
        self._changed = asyncio.Condition()
        self._current: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[int] = set()
        self._draining = asyncio.Event()

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        if self.refusing:
            raise NotStored
        for row in self.rows.values():
            if row.message.event_key == message.event_key:
                return Receipt(row.seq, row.message.turn, is_new=False)
        waiting = len(self._unfinished_rows(message.address.conversation))
        row = InboxRow(max(self.rows, default=0) + 1, message)
        self.rows[row.seq] = row
        self._start_next()
        return Receipt(row.seq, message.turn, True, 0 if row.decision else waiting)

    async def find_times(self, event_keys: Collection[str]) -> Mapping[str, float]:
        messages = (row.message for row in self.rows.values())
        return {m.event_key: m.sent_at for m in messages if m.event_key in event_keys}

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        row = next((r for r in self.rows.values() if r.message.event_key == event_key), None)
        if row is None or (message is not None and message.sent_at < row.message.sent_at):
            return "unknown"
        fresh = row.state in ("new", "withdrawn")
        if message is None:
            row.message = replace(row.message, text="", attachments=(), context=())
            row.state = "withdrawn" if fresh else row.state
        else:
            text, files, at = message.text, message.attachments, message.sent_at
            row.message = replace(row.message, text=text, attachments=files, sent_at=at)
        await self._tell()
        return "unstarted" if fresh else "started"

    async def allow_again(self, event_key: str) -> None:
        raise NotImplementedError

    async def requeue(self, turn: Turn, message: Message) -> bool:
        raise NotImplementedError

    async def wait_for_answer(self, seq: int) -> Answer:
        async with self._changed:
            await self._changed.wait_for(
                lambda: seq not in self.rows or self.rows[seq].state in FINAL_STATES
            )
        row = self.rows.get(seq)
        if row is None or row.answer is None:
            raise Forgotten
        return row.answer

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        self._handler = handler
        self._platforms = platforms
        self._start_next()
        await self._draining.wait()

    async def cancel(self, seq: int) -> bool:
        row = self.rows[seq]
        if task := self._current.get(seq):
            self._stopped.add(seq)
            task.cancel()
        elif row.state == "new":
            row.state = "withdrawn"
            await self._tell()
        else:
            return False
        return True

    def is_stopped(self, seq: int) -> bool:
        return seq in self._stopped

    def is_taken_over(self, seq: int) -> bool:
        return False

    def leave_place(self, seq: int) -> None:
        return None

    async def take_place(self, seq: int) -> None:
        return None

    async def running_turn(self, conversation: str) -> int | None:
        return self._running(conversation)

    def _running(self, conversation: str) -> int | None:
        turns = (seq for seq in self._current if not self.rows[seq].decision)
        return next((seq for seq in turns if self._of(seq) == conversation), None)

    async def drain(self, grace: float) -> None:
        self._draining.set()
        tasks = list(self._current.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        def there(row: InboxRow) -> bool:
            key = f"{row.message.address.conversation}:"
            inside = key.startswith(area.place and f"{area.place}:")
            return inside and not any(key.startswith(f"{place}:") for place in area.excluded)

        old = [
            s
            for s, r in self.rows.items()
            if r.at < before and r.state in FINAL_STATES and there(r)
        ]
        for seq in old:
            del self.rows[seq]
        return len(old)

    async def find_thread_id(self, conversation: str) -> str:
        is_new = not any(self._of(seq) == conversation for seq in self.rows)
        number = self.forgotten.count(conversation)
        return "" if is_new and not number else f"thread{number}"

    async def list_entries(self, conversation: str, thread: str = "") -> Sequence[HistoryEntry]:
        rows = [r for r in self.rows.values() if r.message.address.conversation == conversation]
        replacements = {row.message.replaced_turn for row in rows if row.state != "new"}
        return [
            row.history_entry
            for row in rows
            if row.state != "withdrawn"
            and not row.decision
            and row.message.turn not in replacements
        ]

    async def list_conversations(
        self, platform: str, person: str = ""
    ) -> Sequence[ConversationSummary]:
        matches: dict[str, ConversationSummary] = {}
        for row in self.rows.values():
            key, address = row.message.address.conversation, row.message.address
            theirs = (address.platform, address.person) == (platform, person)
            theirs = theirs and not address.channel.startswith(ONE_REQUEST_PREFIX)
            if not theirs or not (entries := await self.list_entries(key)):
                continue
            title, pinned = self.marks.get(key, ("", False))
            matches[key] = ConversationSummary(key, entries[0].message, title, pinned, row.at)
        return sorted(matches.values(), key=lambda one: (not one.is_pinned, -one.used_at))

    async def search(self, platform: str, words: str, person: str = "") -> Mapping[str, SearchHit]:
        return {
            one.conversation: find_excerpt(entry.turn, entry.message.text, words.casefold())
            for one in await self.list_conversations(platform, person)
            for entry in await self.list_entries(one.conversation)
            if words.casefold() in f"{entry.message.text}\n{entry.answer}".casefold()
        }

    async def set_listing(self, conversation: str, title: str | None, pinned: bool | None) -> None:
        if not await self.list_entries(conversation):
            raise NotFound(what="conversation")
        old = self.marks.get(conversation, ("", False))
        self.marks[conversation] = (
            old[0] if title is None else title,
            old[1] if pinned is None else pinned,
        )

    async def history_entry(self, turn: str) -> HistoryEntry:
        for row in self.rows.values():
            if row.message.turn == turn:
                return row.history_entry
        raise NotFound(what="turn")

    async def usage_of(self, seq: int) -> Usage:
        return self.spent.get(seq, Usage())

    async def end(self, seq: int, answer: Answer) -> None:
        self.rows[seq].answer = answer
        self.rows[seq].state = answer.status
        await self._tell()

    async def forget(self, conversation: str) -> None:
        for seq in [seq for seq in self.rows if self._of(seq) == conversation]:
            del self.rows[seq]
        self.forgotten.append(conversation)
        await self._tell()

    def _start_next(self) -> None:
        """Each decision, and the oldest turn of each conversation where none runs."""
        if self._handler is None or self._draining.is_set():
            return
        for row in list(self.rows.values()):
            foreign = self._platforms and row.message.address.platform not in self._platforms
            if foreign or row.state in FINAL_STATES or row.seq in self._current:
                continue
            if row.decision or self._running(row.message.address.conversation) is None:
                row.state = "running"
                task = asyncio.create_task(self._take(self._handler, row.seq))
                self._current[row.seq] = task

    async def _take(self, handler: TurnHandler, seq: int) -> None:
        try:
            await handler(seq)
        finally:
            del self._current[seq]
            self._start_next()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _of(self, seq: int) -> str:
        return self.rows[seq].message.address.conversation

    def _unfinished_rows(self, conversation: str) -> list[InboxRow]:
        rows = (row for seq, row in self.rows.items() if self._of(seq) == conversation)
        return [row for row in rows if row.state not in FINAL_STATES and not row.decision]


class MemoryFiles:
    def __init__(self) -> None:
        self.kept: dict[str, tuple[File, bytes, str]] = {}
        self.events: dict[str, list[File]] = {}
        self.refusing = False

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        if self.refusing:
            raise NotStored
        digest = hashlib.sha256(data).hexdigest()
        id = hashlib.sha256(f"{event_key}\n{digest}\n{name}".encode()).hexdigest()[:32]
        file = File(id, name, type, len(data))
        if id not in self.kept:
            self.events.setdefault(event_key, []).append(file)
        self.kept.setdefault(id, (file, data, conversation))
        return file

    async def get(self, file: str) -> tuple[File, bytes]:
        file_row, data, _ = self._find(file)
        return file_row, data

    async def delete(self, file: str) -> None:
        self.kept.pop(file, None)

    async def conversation_of(self, file: str) -> str:
        return self._find(file)[2]

    async def list_of_events(self, *event_keys: str) -> Sequence[File]:
        return [file for key in event_keys for file in self.events.get(key, [])]

    async def discard(self, file: str) -> None:
        self.kept.pop(file, None)

    async def sweep(self, before: float) -> int:
        return 0

    def _find(self, file: str) -> tuple[File, bytes, str]:
        try:
            return self.kept[file]
        except KeyError:
            raise NotFound(what="file") from None


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


class MemoryBoard:
    """`parts`, `known` and `cards` (by conversation key) are what a test puts there."""

    def __init__(self) -> None:
        self.parts: list[Health] = []
        self.known: list[QuickCommand] = []
        self.cards: dict[str, list[Card]] = {}
        self.forms: dict[str, ChangeForm | PonteError] = {}
        self.pending: dict[str, list[tuple[Change, Card]]] = {}
        self.listeners: list[Callable[[], None]] = []
        self.titles: list[str] = []
        self.is_demo = True

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        return self.titles

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

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        """Return the form of this card, or raise the error that is stored for it."""
        form = self.forms.get(press_id, NotFound(NO_PROPOSAL_SENTENCE, id=press_id))
        if isinstance(form, PonteError):
            raise form
        return form

    async def requests(self, person: Person, address: Address) -> PendingRequests:
        pending = self.pending.get(person.key, [])
        return PendingRequests(
            [change for change, _ in pending], [card for _, card in pending[:MAX_LISTED_CHANGES]]
        )

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
