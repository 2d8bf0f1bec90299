"""Protocols of a conversation: its messages, its record, its files and the replies to it.

Each protocol has one contract suite in `tests/contract`. Their arguments and results are in
`core.domain.messages` (what people see) and `core.domain.records` (the rest). The protocols of
platforms are in `core.chat.platform`, those of changes in `core.changes.ports`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from core.domain.changes import PendingRequest
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
    RecordedMessage,
    Remote,
    RoundOutput,
    SearchHit,
    Thread,
    ToolCall,
    TranscriptEntry,
    Turn,
    TurnState,
)

TransactionStep = Callable[[Any], None]
"""Runs on a connection, as part of another store's transaction."""

TurnHandler = Callable[[int], Coroutine[Any, Any, None]]
"""Handles a stored message, given by its `seq`.

If it raises, the message is handled again later.
"""


class Inbox(Protocol):
    """A durable queue of messages, ordered within each conversation. Each event is stored once.

    Decisions (`core.commands.grammar.is_decision`) run as soon as they are stored. All other
    messages wait for their turn.
    """

    async def accept(self, message: Message) -> Receipt:
        """Store the message; it is durable on return. Raise NotStored if nothing was stored."""

    async def find_times(self, event_keys: Collection[str]) -> Mapping[str, float]:
        """Return when the messages with these event keys were stored, without unknown ones."""

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        """Apply an edit of a message, or its deletion (None).

        A deletion withdraws the message and blanks it in the transcript. "unstarted": the turn will
        use the new text, or never run. "started": too late for this turn. "unknown": no such event,
        or an older version than the stored one.
        """

    async def wait_for_answer(self, seq: int) -> Answer:
        """Wait for the answer and return it.

        Raise Forgotten if the message was withdrawn or erased.
        """

    async def run(self, handler: TurnHandler, platforms: Collection[str] = ()) -> None:
        """Handle the messages that a former process left, then all others in their turn.

        Runs until `drain`. Only left messages of `platforms` are handled; the others wait for
        another process. An empty collection means all platforms.
        """

    async def cancel(self, seq: int) -> bool:
        """Cancel the handler of a running turn, or withdraw a waiting one.

        Return whether it was stopped.
        """

    def is_stopped(self, seq: int) -> bool:
        """Return True if a person's `cancel` cancelled the turn's handler.

        A drain does not count.
        """

    def is_taken_over(self, seq: int) -> bool:
        """Return True if the handler was cancelled because another process took the turn over."""

    def leave_place(self, seq: int) -> None:
        """Release the turn's place among the running turns.

        Called when the turn only waits for its platform, or posts.
        """

    async def take_place(self, seq: int) -> None:
        """Wait for a place among the running turns again, after `leave_place`."""

    async def running_turn(self, conversation: str) -> int | None:
        """Return the `seq` of the turn that now runs in that conversation, or None."""

    async def drain(self, grace: float) -> None:
        """Start no more turns, and let running turns finish for `grace` seconds.

        Put the remaining turns back into the queue.
        """

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Delete finished rows of the area that are older than `before` (Unix seconds).

        Return how many.
        """


class Journal(Protocol):
    """The durable record of turns and threads. Each method is one transaction, durable on return;
    but a power failure may undo `begin` and `end_turn`, which the next start then repeats.

    A Turn with an outdated attempt or generation raises Superseded. TakenOver means that the turn
    belongs to another process now. A full disk raises NotStored.
    """

    def check_ownership(self) -> None:
        """Raise TakenOver if another process may have taken over the turns of this one.

        That can happen after this process did not run for a while. Call this before an external
        call that no write to the journal precedes.
        """

    async def begin(self, seq: int) -> Turn | None:
        """Count an attempt and return all that is stored of the turn.

        None: the row is already final.
        """

    async def record_response(
        self, turn: Turn, number: int, response: str, others: Sequence[Remote] = ()
    ) -> None:
        """Record the id of the round's response, and other objects that it uses.

        The ids are stored for later erasure even if this raises Superseded.
        """

    async def record_round(
        self, turn: Turn, said: RoundOutput, started: ToolCall | None = None
    ) -> None:
        """Record the model's output of a round, before any of its tools runs.

        `started`: the call that begins now, if the round has only one.
        """

    async def record_user_message(
        self, turn: Turn, items: Sequence[Item], reserve: TransactionStep | None = None
    ) -> RecordedMessage:
        """Add the user's items to the transcript, once. Raises Superseded.

        Changes that the thread has not been informed of come before them. Return all added items,
        and the origin of the thread's texts. `reserve` runs in the same transaction; if it raises,
        nothing is added.
        """

    async def record_call_start(self, turn: Turn, call: ToolCall) -> None:
        """Record that a tool call begins. After a crash, its outcome is unknown without an end."""

    async def record_call_handle(self, turn: Turn, call_id: str, handle: str) -> None:
        """Record the handle of the call in another system, to look up its state after a crash."""

    async def record_call_end(self, turn: Turn, call_id: str, outcome: Outcome) -> None:
        """Record the outcome of a tool call."""

    async def record_answer(
        self,
        turn: Turn,
        answer: Answer,
        last: RoundOutput | None = None,
        key: str = "",
        also: TransactionStep | None = None,
    ) -> None:
        """Record the final answer, split into `answer.parts`.

        After this, a crash repeats only the posting. A second answer changes nothing. `last` is the
        output of the last round, and `key` the key of the first post. Both are stored in this
        transaction instead of by `record_round` and `record_posting`. `also` runs in it too.
        """

    async def record_posting(self, turn: Turn, number: int, key: str) -> None:
        """Record, before the platform is called, that post `number` is about to be sent under
        `key`."""

    async def record_posted(self, turn: Turn, number: int, post: str) -> None:
        """Record the id of a post.

        An outdated generation may do so too, because the id of a post must not be lost.
        """

    async def record_removed(self, turn: Turn, number: int) -> None:
        """Record that a person deleted the post. An outdated generation may do so too."""

    async def end_turn(
        self, turn: Turn, state: TurnState, reason: str = "", posted: Post | None = None
    ) -> None:
        """Make the turn final and erase the `reply_to` token.

        `posted` is stored even if this raises Superseded.
        """

    async def abandon(self, seq: int, reason: str) -> None:
        """End a turn that can be neither read nor answered as undeliverable."""

    async def put_back(self, turn: Turn) -> None:
        """Return the turn to the queue with all its records, and do not count this attempt."""

    async def record_remote(self, thread: str, remote: Remote) -> None:
        """Record an object on the model's server that must be erased with the thread."""

    async def current_thread(self, conversation: str) -> Thread:
        """Return the current thread of a conversation; create one if there is none."""

    async def list_threads(self) -> Sequence[Thread]:
        """Return the current thread of every conversation, the last used first."""

    async def new_thread(self, conversation: str) -> Thread:
        """Begin a new thread of the conversation and return it. The old one stays readable."""

    async def transcript(self, thread: str, before: int | None = None) -> Sequence[TranscriptEntry]:
        """Return the items of a thread, oldest first.

        With `before`, return only those of earlier turns.
        """

    async def provenance(self, thread: str, person: str, before: int) -> Provenance:
        """Return the origin of the texts in a thread, as seen by `person` (a key).

        Only turns before `before` count.
        """

    async def list_entries(self, conversation: str, thread: str = "") -> Sequence[HistoryEntry]:
        """Return the messages and answers of the current thread (or of `thread`), oldest first."""

    async def list_conversations(
        self, platform: str, person: str = ""
    ) -> Sequence[ConversationSummary]:
        """Return the conversations of a platform that have messages.

        Pinned ones come first, then the last used ones. The list includes conversations of `person`
        (`Address.person`) and those that belong to no single person.
        """

    async def search(self, platform: str, words: str, person: str = "") -> Mapping[str, SearchHit]:
        """Return, by conversation, its newest turn that contains these words, ignoring case."""

    async def set_listing(self, conversation: str, title: str | None, pinned: bool | None) -> None:
        """Set the title of a conversation, and pin or unpin it.

        None keeps a value. Raises NotFound.
        """

    async def claim_title(self, thread: str) -> bool:
        """Return whether the caller must make the title of a thread. It is True only once."""

    async def set_title(self, thread: str, title: str) -> None:
        """Store the title that the model made."""

    async def author(self, seq: int) -> str:
        """Return the key of the person who sent the message of that turn."""

    async def owner(self, conversation: str) -> str:
        """Return the key of the person who began the current thread, "" if it is empty."""

    async def seq_of_post(self, post: str) -> int | None:
        """Return the `seq` of the turn that a post (the platform's id) belongs to."""

    async def record_post_removal(self, post: str) -> None:
        """Record that a person deleted the post."""

    async def history_entry(self, turn: str) -> HistoryEntry:
        """Return the message and answer of a turn, by its id. Raises NotFound."""

    async def usage_of(self, seq: int) -> Usage:
        """Return the usage of the turn's model calls so far. It is empty if there were none."""

    async def replace_cards(self, seq: int, cards: Sequence[Card] = ()) -> Turn | None:
        """Replace the cards with the same ids in the turn's answer.

        None: the turn no longer exists.
        """

    async def forget(self, conversation: str) -> ForgetResult:
        """Raise the generation and blank all content.

        List the objects that servers still store, for later erasure.
        """

    async def forget_idle(self, conversation: str, since: float) -> ForgetResult | None:
        """Forget the conversation, unless somebody used it after `since` (Unix seconds).

        In that case do nothing and return None.
        """

    async def list_idle_conversations(
        self, idle_since: float, area: ConversationArea = ALL_CONVERSATIONS
    ) -> Sequence[str]:
        """Return the conversations of the area that nobody has used since then (Unix seconds)."""

    async def list_conversations_of(self, person: str) -> Sequence[str]:
        """Return the conversations in which a person (a key) wrote something."""

    async def list_remotes_to_erase(self) -> Sequence[Remote]:
        """Return the objects of forgotten threads that servers still store."""

    async def list_unerasable_remotes(self) -> Sequence[Remote]:
        """Return the objects that could not be erased after many attempts, for the operator."""

    async def record_erasure(self, remote: Remote, done: bool) -> None:
        """Record an attempt to erase an object on the model's server. `done`: it succeeded."""


class ThreadMap(Protocol):
    """A map from conversation key to Thread. It is a cache that can be rebuilt from the journal."""

    async def get(self, conversation: str) -> Thread | None:
        """Return the thread of a conversation, or None."""

    async def put(self, thread: Thread) -> None:
        """Store the thread under its conversation."""

    def put_step(self, thread: Thread) -> TransactionStep | None:
        """Return the write of `put` as a step of the journal's transactions.

        None if the map is stored elsewhere.
        """

    async def delete(self, conversation: str) -> None:
        """Remove the conversation. A missing one is ignored."""

    async def items(self) -> Sequence[Thread]:
        """Return all stored threads."""


class Files(Protocol):
    """Stored files, each with the person and conversation that it belongs to."""

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        """Store a file. The same bytes for the same event are stored once. Raises NotStored."""

    async def get(self, file: str) -> tuple[File, bytes]:
        """Return a file and its bytes. Raises NotFound."""

    async def delete(self, file: str) -> None:
        """Delete a file with its record. A missing one is ignored."""

    async def conversation_of(self, file: str) -> str:
        """Return the key of the file's conversation. Raise NotFound."""

    async def list_of_event(self, event_key: str) -> Sequence[File]:
        """Return the files that were stored for an event."""

    async def discard(self, file: str) -> None:
        """Remove the bytes only. The record has already been deleted."""

    async def sweep(self, before: float) -> int:
        """Remove files older than `before` (Unix seconds) that no accepted event refers to.

        Return how many.
        """


class PostJournal(Protocol):
    """The journal's record of the posts of one turn, as a `Reply` uses it."""

    @property
    def is_resumed(self) -> bool:
        """True if an earlier attempt may have posted something already."""

    def check_ownership(self) -> None:
        """Call `Journal.check_ownership`; required before each call of a platform.

        Raises TakenOver.
        """

    async def list_posts(self) -> Sequence[Post]:
        """Return the recorded posts of the turn, in order."""

    async def record_posting(self, number: int, key: str) -> None:
        """Record that post `number` is about to be sent under `key`."""

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Record the id of a post.

        `last`: it is the last post of the answer, so it may be stored together with the turn's end.
        """

    async def record_removed(self, number: int) -> None:
        """Record that a person deleted the post."""


class Reply(Protocol):
    """Posts the answer of one turn where the message was sent."""

    @property
    def first_key(self) -> str:
        """The key under which the first part will be journalled.

        "" if it is journalled already, or if nothing will be posted.
        """

    def split(self, text: str) -> tuple[str, ...]:
        """Return `text` in parts that each fit into one post of this platform."""

    async def show(self, progress: Progress) -> None:
        """Show the progress of the turn, throttled and without a guarantee.

        May raise PostRemoved, which stops the turn. The first progress of a turn is empty and only
        shows that work has begun.
        """

    async def wait_for_updates(self) -> None:
        """Wait until all updates that `show` started have ended."""

    async def finish(self, answer: Answer) -> None:
        """Post the answer durably. Calling it again posts nothing twice.

        Raises Undeliverable if the platform refuses for good; other failures are retried.
        """

    async def refresh(self, answer: Answer) -> None:
        """Redraw the changed cards of a posted answer, once, in place.

        Raises Undeliverable if the platform refuses for good, and other errors if a later retry can
        help.
        """

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        """Remove or correct posts that this process made after another one took over the turn.

        `answer` and `posts` are what the other process posted while this one did not run.
        """


ReplyFactory = Callable[[ReplyTo, PostJournal], Reply]
"""Build the `Reply` of one platform from stored data, in any process."""


FetchAttachment = Callable[[Message, Attachment], Awaitable[File | None]]
"""Download an attachment from its platform into `Files`. None: it could not be downloaded."""


LoadContext = Callable[[Message, bool], Awaitable[tuple[Message, Sequence[str]]]]
"""Load the context of a stored message from its platform, when its turn starts.

The result has the author's name, language and time zone. If the flag is set, it also has the
messages that it refers to (earlier messages of the thread, quotes, their files). The second result
are sentences for the person about what could not be loaded. Raises nothing. Each adapter sets its
own short deadlines.
"""


class StatusBoard(Protocol):
    """Status information that adapters show."""

    async def health(self) -> Sequence[Health]:
        """Return the state of each part."""

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        """Return the quick commands that the person may run at the address."""

    async def tables(self, person: Person, address: Address) -> Sequence[str]:
        """Return the names of the known tables that the person may read at the address."""

    @property
    def is_demo(self) -> bool:
        """True if the demo model answers, which understands only a few forms of messages."""

    async def changes(self, conversation: str) -> Sequence[Card]:
        """Return the cards of proposals and changes, newest first.

        `conversation` is a conversation key, or "" for all.
        """


class RequestBoard(Protocol):
    """The requests for approval, as a platform lists them that is not a chat (the page)."""

    async def requests(self, person: Person, address: Address) -> Sequence[PendingRequest]:
        """Return the requests that wait for this person's decision, oldest first, as the person
        sees them at the address."""

    def on_requests_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the requests of anybody may have changed."""
