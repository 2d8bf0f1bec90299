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
    ALL_CONVERSATIONS,
    AmendResult,
    ConversationArea,
    ConversationSummary,
    ForgetResult,
    Health,
    HistoryEntry,
    Outcome,
    Provenance,
    QuickCommand,
    Receipt,
    Remote,
    RoundOutput,
    Thread,
    ToolCall,
    TranscriptEntry,
    Turn,
    TurnState,
)

TransactionStep = Callable[[Any], None]
"""Runs on a connection, as part of another store's transaction."""

TurnHandler = Callable[[int], Coroutine[Any, Any, None]]
"""Handles a stored message, given by its `seq`. If it raises, the message is handled again
later."""


class Inbox(Protocol):
    """Durable, ordered by conversation, each event once.

    Decisions (`core.commands.grammar.is_decision`) run as soon as they are stored; all else
    waits its turn.
    """

    async def accept(self, message: Message) -> Receipt:
        """Store the message; it is durable on return. Raise NotStored if nothing was stored."""

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        """The platform's message was edited, or deleted (None: withdraw it, blank the transcript).

        "unstarted": the turn will see the new text, or never run. "started": too late for this
        turn. "unknown": no such event, or an older version than what is stored.
        """

    async def wait_for_answer(self, seq: int) -> Answer:
        """Wait for the answer and return it. Raise Forgotten if the message was withdrawn or
        erased."""

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        """Take up what a former process left, then each message in its turn, until `drain`.

        What is left of platforms not among `platforms` (none named: all) waits for another process.
        """

    async def cancel(self, seq: int) -> bool:
        """Cancel the turn's handler if it runs, or withdraw the turn if it waits. Return whether
        it was
        stopped."""

    def is_stopped(self, seq: int) -> bool:
        """Return whether a person's `cancel`, not a drain, cancelled the turn's handler."""

    def is_taken_over(self, seq: int) -> bool:
        """Return whether the handler was cancelled because another process took the turn over."""

    def leave_place(self, seq: int) -> None:
        """Give up the turn's place: from now on it only waits for its platform, or posts."""

    async def take_place(self, seq: int) -> None:
        """Wait for a place again after `leave_place`."""

    async def running_turn(self, conversation: str) -> int | None:
        """Return the `seq` of the turn that runs in that conversation now, None if none runs."""

    async def drain(self, grace: float) -> None:
        """Start nothing more, let turns finish for `grace` seconds, put the rest back."""

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Delete finished rows of the area that are older than `before`. Return how many."""


class Journal(Protocol):
    """Each method is one transaction, durable on return.

    A Turn that is not the current (attempt, generation) raises Superseded, or TakenOver where it
    is another process's; a full disk NotStored.
    """

    def check_ownership(self) -> None:
        """Before a call to the outside that no record stands before. Raises TakenOver where this
        process stood still, so that another one may have its turns."""

    async def begin(self, seq: int) -> Turn | None:
        """Count an attempt and hand out all that is known. None when the row is already final."""

    async def record_response(self, turn: Turn, number: int, response: str) -> None:
        """Record the id of the round's response.

        The id is stored for later erasure even if this raises Superseded.
        """

    async def record_round(
        self, turn: Turn, said: RoundOutput, started: ToolCall | None = None
    ) -> None:
        """Record all that the model said in a round, before any of its tools runs. `started`: the
        call that begins now, where the round has only one."""

    async def record_user_message(
        self, turn: Turn, items: Sequence[Item], reserve: TransactionStep | None = None
    ) -> Sequence[Item]:
        """Put what the person said into the transcript, once; raises Superseded.

        What the thread was not told yet of its changes comes before it; gives back all of it.
        `reserve` is done in the same transaction: what it raises leaves nothing heard.
        """

    async def record_call_start(self, turn: Turn, call: ToolCall) -> None: ...

    async def record_call_handle(self, turn: Turn, call_id: str, handle: str) -> None:
        """Record the handle by which another system knows the call, to ask for it after a crash."""

    async def record_call_end(self, turn: Turn, call_id: str, outcome: Outcome) -> None: ...

    async def record_answer(
        self, turn: Turn, answer: Answer, last: RoundOutput | None = None, key: str = ""
    ) -> None:
        """From here on a crash can only repeat the posting. `answer.parts` is final. `last` is the
        round that brought it, `key` the first part's: what `items` and `posting` would keep."""

    async def record_posting(self, turn: Turn, number: int, key: str) -> None: ...

    async def record_posted(self, turn: Turn, number: int, post: str) -> None:
        """Record the id of a post. An old generation may do so too: a remote id must not be
        lost."""

    async def record_removed(self, turn: Turn, number: int) -> None:
        """Record that a person deleted the post. An old generation may do so too."""

    async def end_turn(
        self, turn: Turn, state: TurnState, reason: str = "", posted: Post | None = None
    ) -> None:
        """Final. Erases the `reply_to` token; `posted` is kept even where it raises Superseded."""

    async def put_back(self, turn: Turn) -> None:
        """Return the turn to the queue with all its records, and do not count this attempt."""

    async def record_remote(self, thread: str, remote: Remote) -> None:
        """Record an object on the model's server that must be erased with the thread."""

    async def current_thread(self, conversation: str) -> Thread:
        """Return the current thread of a conversation; create one if there is none."""

    async def list_threads(self) -> Sequence[Thread]:
        """Return the current thread of every conversation, the last used first."""

    async def new_thread(self, conversation: str) -> Thread: ...

    async def transcript(self, thread: str, before: int | None = None) -> Sequence[TranscriptEntry]:
        """Return the items of a thread, oldest first; with `before`, only those of earlier
        turns."""

    async def provenance(self, thread: str, person: str, before: int) -> Provenance:
        """Return the origin of the thread's texts, as seen by `person` (a key)."""

    async def list_entries(self, conversation: str, thread: str = "") -> Sequence[HistoryEntry]:
        """What was said in the current thread (or an older one), oldest first."""

    async def list_conversations(
        self, platform: str, person: str = ""
    ) -> Sequence[ConversationSummary]:
        """The conversations there in which something is said, the pinned ones and then the last
        used first: those that are that person's own (`Address.person`), or no one person's."""

    async def search(self, platform: str, words: str, person: str = "") -> Mapping[str, str]:
        """Conversation there → its newest turn that says these words, in whatever case."""

    async def set_listing(self, conversation: str, title: str | None, pinned: bool | None) -> None:
        """Name and pin it in the list; None stays as it was. Raises NotFound."""

    async def author(self, seq: int) -> str:
        """Return the key of the person who sent the message of that turn."""

    async def owner(self, conversation: str) -> str:
        """Return the key of the person who began the current thread, "" if it is empty."""

    async def seq_of_post(self, post: str) -> int | None:
        """Return the turn that a post belongs to, by the platform's id of the post."""

    async def record_post_removal(self, post: str) -> None:
        """A person deleted it."""

    async def history_entry(self, turn: str) -> HistoryEntry:
        """One exchange by its turn id. Raises NotFound."""

    async def usage_of(self, seq: int) -> Usage:
        """What that turn's calls took, as it was counted so far; nothing where none was made."""

    async def replace_cards(self, seq: int, cards: Sequence[Card] = ()) -> Turn | None:
        """The turn, with `cards` for those of the same ids in its answer; None when it is gone."""

    async def forget(self, conversation: str) -> ForgetResult:
        """Raise the generation, blank everything, list what servers still hold for `erasing`."""

    async def forget_idle(self, conversation: str, since: float) -> ForgetResult | None:
        """Forget it, unless somebody has used it since then (seconds since the epoch): None, and
        nothing is done."""

    async def list_idle_conversations(
        self, idle_since: float, area: ConversationArea = ALL_CONVERSATIONS
    ) -> Sequence[str]:
        """Return the conversations of the area that nobody has used since then."""

    async def list_conversations_of(self, person: str) -> Sequence[str]:
        """Return the conversations in which a person (a key) wrote something."""

    async def list_remotes_to_erase(self) -> Sequence[Remote]:
        """Return what servers still store of forgotten threads."""

    async def list_unerasable_remotes(self) -> Sequence[Remote]:
        """Return what could not be erased after many attempts, for the operator."""

    async def record_erasure(self, remote: Remote, done: bool) -> None: ...


class ThreadMap(Protocol):
    """Conversation key → Thread. A cache that can be rebuilt from the journal."""

    async def get(self, conversation: str) -> Thread | None: ...

    async def put(self, thread: Thread) -> None: ...

    async def delete(self, conversation: str) -> None: ...

    async def items(self) -> Sequence[Thread]: ...


class Files(Protocol):
    """Stored files, each with the person and conversation that it belongs to."""

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        """The same bytes for the same event are one file. Raises NotStored."""

    async def get(self, file: str) -> tuple[File, bytes]:
        """Raises NotFound."""

    async def delete(self, file: str) -> None: ...

    async def conversation_of(self, file: str) -> str:
        """Return the key of the file's conversation. Raise NotFound."""

    async def list_of_event(self, event_key: str) -> Sequence[File]: ...

    async def discard(self, file: str) -> None:
        """Remove the bytes only; the record is gone already."""

    async def sweep(self, before: float) -> int:
        """Remove files older than `before` whose event was never accepted. Return how many."""


class PostJournal(Protocol):
    """The journal's record of one turn's posts, as a Reply sees it."""

    @property
    def is_resumed(self) -> bool:
        """Return whether an earlier attempt may have posted something already."""

    def check_ownership(self) -> None:
        """As the journal's: before each call of a platform."""

    async def list_posts(self) -> Sequence[Post]: ...

    async def record_posting(self, number: int, key: str) -> None: ...

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """`last`: nothing of the answer follows, so that it may be kept with the turn's end."""

    async def record_removed(self, number: int) -> None: ...


class Reply(Protocol):
    """Posts the answer of one turn where it was asked."""

    @property
    def first_key(self) -> str:
        """The key under which the first part will be journalled; "" where it is already, or where
        nothing is posted."""

    def split(self, text: str) -> tuple[str, ...]:
        """Return `text` in parts that fit into one post of this platform each."""

    async def show(self, progress: Progress) -> None:
        """Best effort and throttled; may raise PostRemoved, which stops the turn. A turn begins
        with an empty one: there is nothing to tell yet but that work goes on."""

    async def wait_for_updates(self) -> None:
        """Wait until no update that `show` started is under way any more."""

    async def finish(self, answer: Answer) -> None:
        """Durable and idempotent. Raises Undeliverable when refused for good, else retries."""

    async def refresh(self, answer: Answer) -> None:
        """The cards of an answer that stands have changed: show them, once, in place.

        Raises Undeliverable, or anything else where it should be tried again later.
        """

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        """Another process brought this answer out, in these posts, while this one stood still:
        whatever came from here too late is taken away, or as it should be again."""


ReplyFactory = Callable[[ReplyTo, PostJournal], Reply]
"""Builds the Reply of one platform from what was stored, in any process."""


FetchAttachment = Callable[[Message, Attachment], Awaitable[File | None]]
"""Gets an attachment's bytes from its platform into `Files`; None where it cannot."""


LoadContext = Callable[[Message, bool], Awaitable[tuple[Message, Sequence[str]]]]
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
    def is_demo(self) -> bool:
        """Whether the demo model answers, which understands a few forms alone."""

    async def changes(self, conversation: str) -> Sequence[Card]:
        """Proposals and changes of a conversation ("" of all), the newest first."""
