"""Protocols of a conversation: its messages, its record, its files and the replies to it.

Each protocol has one contract suite in `tests/contract`. What passes between them is in
`core.domain.messages` (what people see) and `core.domain.records` (the rest). The protocols of
platforms are in `core.chat.platform`, those of changes in `core.changes.ports`.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from typing import Any, Protocol

from core.domain.messages import (
    Address,
    Answer,
    Attachment,
    Card,
    File,
    Item,
    Message,
    Person,
    Post,
    Progress,
    ReplyTo,
    Usage,
)
from core.domain.records import (
    ALL_OVER,
    Amended,
    Area,
    Call,
    Entry,
    Forgot,
    Health,
    Listed,
    Outcome,
    Provenance,
    QuickCommand,
    Receipt,
    Remote,
    Shown,
    Spoken,
    State,
    Thread,
    Turn,
)

Work = Callable[[Any], None]
"""What a store does on its connection, as a part of another one's transaction."""

Handler = Callable[[int], Coroutine[Any, Any, None]]
"""Takes a stored message, by its `seq`, to its end. An exception puts it off, never drops it."""


class Inbox(Protocol):
    """Durable, ordered by conversation, each event once.

    Decisions (`core.commands.grammar.is_decision`) run as soon as they are stored; all else
    waits its turn.
    """

    async def accept(self, message: Message) -> Receipt:
        """Store it; durable on return. Raises NotStored, and then nothing was taken."""

    async def amend(self, event_key: str, message: Message | None) -> Amended:
        """The platform's message was edited, or deleted (None: withdraw it, blank the transcript).

        "unstarted": the turn will see the new text, or never run. "started": too late for this
        turn. "unknown": no such event, or an older version than what is stored.
        """

    async def answer_of(self, seq: int) -> Answer:
        """Wait for the answer. Raises Forgotten when it was withdrawn or erased."""

    async def run(self, handler: Handler, platforms: Collection[str] = ()) -> None:
        """Take up what a former process left, then each message in its turn, until `drain`.

        What is left of platforms not among `platforms` (none named: all) waits for another process.
        """

    async def cancel(self, seq: int) -> bool:
        """Stop that turn if it runs now (its handler is cancelled), or withdraw it if queued."""

    def stopped(self, seq: int) -> bool:
        """Whether a person's `cancel` (and not a drain) is why its handler was cancelled."""

    def lost(self, seq: int) -> bool:
        """Whether its handler was cancelled because another process has it."""

    def leave_place(self, seq: int) -> None:
        """Let another turn work in the place of this one, which only waits or posts from now on."""

    async def take_place(self, seq: int) -> None:
        """Wait until that turn may work again, after `leave_place`."""

    async def running(self, conversation: str) -> int | None:
        """The `seq` of the turn that runs in that conversation now."""

    async def drain(self, grace: float) -> None:
        """Start nothing more, let turns finish for `grace` seconds, put the rest back."""

    async def purge(self, before: float, area: Area = ALL_OVER) -> int:
        """Drop finished rows there that are older than `before`; returns how many."""


class Journal(Protocol):
    """Each method is one transaction, durable on return.

    A Turn that is not the current (attempt, generation) raises Superseded, or TakenOver where it
    is another process's; a full disk NotStored.
    """

    def check(self) -> None:
        """Before a call to the outside that no record stands before. Raises TakenOver where this
        process stood still, so that another one may have its turns."""

    async def begin(self, seq: int) -> Turn | None:
        """Count an attempt and hand out all that is known. None when the row is already final."""

    async def round_began(self, turn: Turn, number: int, response: str) -> None:
        """The response's id is kept, to be erased, even where this raises Superseded."""

    async def items(self, turn: Turn, said: Spoken, started: Call | None = None) -> None:
        """Record all that the model said in a round, before any of its tools runs. `started`: the
        call that begins now, where the round has only one."""

    async def heard(
        self, turn: Turn, items: Sequence[Item], reserve: Work | None = None
    ) -> Sequence[Item]:
        """Put what the person said into the transcript, once; raises Superseded.

        What the thread was not told yet of its changes comes before it; gives back all of it.
        `reserve` is done in the same transaction: what it raises leaves nothing heard.
        """

    async def call_started(self, turn: Turn, call: Call) -> None: ...

    async def call_known(self, turn: Turn, call_id: str, handle: str) -> None:
        """What the system that runs the call names it: after a crash it is asked for by that."""

    async def call_ended(self, turn: Turn, call_id: str, outcome: Outcome) -> None: ...

    async def answered(
        self, turn: Turn, answer: Answer, last: Spoken | None = None, key: str = ""
    ) -> None:
        """From here on a crash can only repeat the posting. `answer.parts` is final. `last` is the
        round that brought it, `key` the first part's: what `items` and `posting` would keep."""

    async def posting(self, turn: Turn, number: int, key: str) -> None: ...

    async def posted(self, turn: Turn, number: int, post: str) -> None:
        """Allowed to an old generation too: a remote id must never be lost."""

    async def removed(self, turn: Turn, number: int) -> None:
        """Allowed to an old generation too."""

    async def ended(
        self, turn: Turn, state: State, reason: str = "", posted: Post | None = None
    ) -> None:
        """Final. Erases the `reply_to` token; `posted` is kept even where it raises Superseded."""

    async def put_back(self, turn: Turn) -> None:
        """Unattempted again, with all that is journalled, for the next process."""

    async def remote(self, thread: str, remote: Remote) -> None:
        """Put a server's id on the thread's list of what must one day be erased."""

    async def thread(self, conversation: str) -> Thread:
        """The current thread of a conversation, made if there is none."""

    async def threads(self) -> Sequence[Thread]:
        """Every conversation's current thread, newest use first."""

    async def new_thread(self, conversation: str) -> Thread: ...

    async def transcript(self, thread: str, before: int | None = None) -> Sequence[Entry]:
        """Oldest first; with `before`, only turns whose seq is smaller."""

    async def provenance(self, thread: str, person: str, before: int) -> Provenance:
        """Whose words are in the thread, as far as `person` (by key) is concerned."""

    async def list_entries(self, conversation: str, thread: str = "") -> Sequence[Shown]:
        """What was said in the current thread (or an older one), oldest first."""

    async def list_conversations(self, platform: str, person: str = "") -> Sequence[Listed]:
        """The conversations there in which something is said, the pinned ones and then the last
        used first: those that are that person's own (`Address.person`), or no one person's."""

    async def search(self, platform: str, words: str, person: str = "") -> Mapping[str, str]:
        """Conversation there → its newest turn that says these words, in whatever case."""

    async def mark(self, conversation: str, title: str | None, pinned: bool | None) -> None:
        """Name and pin it in the list; None stays as it was. Raises NotFound."""

    async def author(self, seq: int) -> str:
        """The key of the person who asked that turn."""

    async def owner(self, conversation: str) -> str:
        """The key of the person who began the current thread ("" for an empty one)."""

    async def seq_of_post(self, post: str) -> int | None:
        """Which turn a post of ours belongs to, by the platform's id of it."""

    async def post_removed(self, post: str) -> None:
        """A person deleted it."""

    async def turn_of(self, turn: str) -> Shown:
        """One exchange by its turn id. Raises NotFound."""

    async def usage_of(self, seq: int) -> Usage:
        """What that turn's calls took, as it was counted so far; nothing where none was made."""

    async def stands(self, seq: int, cards: Sequence[Card] = ()) -> Turn | None:
        """The turn, with `cards` for those of the same ids in its answer; None when it is gone."""

    async def forget(self, conversation: str) -> Forgot:
        """Raise the generation, blank everything, list what servers still hold for `erasing`."""

    async def forget_idle(self, conversation: str, since: float) -> Forgot | None:
        """Forget it, unless somebody has used it since then (seconds since the epoch): None, and
        nothing is done."""

    async def forgettable(self, idle_since: float, area: Area = ALL_OVER) -> Sequence[str]:
        """Conversations there that nobody used since then."""

    async def of_person(self, person: str) -> Sequence[str]:
        """The conversations in which a person (by key) said something."""

    async def to_erase(self) -> Sequence[Remote]:
        """What servers still hold of forgotten threads."""

    async def unerasable(self) -> Sequence[Remote]:
        """What could not be erased after many tries, for the operator to see."""

    async def erased(self, remote: Remote, done: bool) -> None: ...


class ThreadMap(Protocol):
    """Conversation key → Thread. A cache that can be rebuilt from the journal."""

    async def get(self, conversation: str) -> Thread | None: ...

    async def put(self, thread: Thread) -> None: ...

    async def delete(self, conversation: str) -> None: ...

    async def items(self) -> Sequence[Thread]: ...


class Files(Protocol):
    """Blobs, each with the person and conversation that it belongs to."""

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        """The same bytes for the same event are one file. Raises NotStored."""

    async def get(self, file: str) -> tuple[File, bytes]:
        """Raises NotFound."""

    async def delete(self, file: str) -> None: ...

    async def conversation_of(self, file: str) -> str:
        """Whose it is: raises NotFound."""

    async def of_event(self, event_key: str) -> Sequence[File]: ...

    async def discard(self, file: str) -> None:
        """Remove the bytes alone, where the record is gone already."""

    async def sweep(self, before: float) -> int:
        """Remove files older than `before` whose event was never accepted."""


class Posts(Protocol):
    """The journal's record of one turn's posts, as a Reply sees it."""

    @property
    def resumed(self) -> bool:
        """Whether an earlier attempt may have left signs on the platform."""

    def check(self) -> None:
        """As the journal's: before each call of a platform."""

    async def known(self) -> Sequence[Post]: ...

    async def posting(self, number: int, key: str) -> None: ...

    async def posted(self, number: int, post: str, last: bool = False) -> None:
        """`last`: nothing of the answer follows, so that it may be kept with the turn's end."""

    async def removed(self, number: int) -> None: ...


class Reply(Protocol):
    """Brings one turn's answer to where it was asked."""

    @property
    def first_key(self) -> str:
        """The key under which the first part will be journalled; "" where it is already, or where
        nothing is posted."""

    def split(self, text: str) -> tuple[str, ...]:
        """`text` in parts that fit this platform, each a post."""

    async def show(self, progress: Progress) -> None:
        """Best effort and throttled; may raise PostRemoved, which stops the turn. A turn begins
        with an empty one: there is nothing to tell yet but that work goes on."""

    async def rest(self) -> None:
        """Wait for what `show` set going; nothing of this reply is under way afterwards."""

    async def finish(self, answer: Answer) -> None:
        """Durable and idempotent. Raises Undeliverable when refused for good, else retries."""

    async def refresh(self, answer: Answer) -> None:
        """The cards of an answer that stands have changed: show them, once, in place.

        Raises Undeliverable, or anything else where it should be tried again later.
        """

    async def set_right(self, answer: Answer, posts: Sequence[Post]) -> None:
        """Another process brought this answer out, in these posts, while this one stood still:
        whatever came from here too late is taken away, or as it should be again."""


Replies = Callable[[ReplyTo, Posts], Reply]
"""Builds the Reply of one platform from what was stored, in any process."""


Fetch = Callable[[Message, Attachment], Awaitable[File | None]]
"""Gets an attachment's bytes from its platform into `Files`; None where it cannot."""


LookUp = Callable[[Message, bool], Awaitable[tuple[Message, Sequence[str]]]]
"""What a platform knows around a stored message, asked when its turn starts: its author's name,
language and zone, and where the flag says so also what it points at (the earlier messages of its
thread, quoted ones, their files). What could not be had is told beside it, in sentences for the
person. Raises nothing, and is never long: each platform's deadlines stand in its adapter."""


class StatusBoard(Protocol):
    """What adapters show of the rest."""

    async def health(self) -> Sequence[Health]: ...

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]: ...

    async def tables(self, person: Person, address: Address) -> Sequence[str]:
        """The names of the tables that they may read there, as far as they are known."""

    @property
    def demo(self) -> bool:
        """Whether the demo model answers, which understands a few forms alone."""

    async def changes(self, conversation: str) -> Sequence[Card]:
        """Proposals and changes of a conversation ("" of all), the newest first."""
