"""The few protocols that everything else meets at. Each has one contract suite in `tests/contract`.

Adapters hand messages to an `Inbox` and build `Reply`s; the conversation manager takes one row at
a time, writes what happens to the `Journal`, asks a `Model`, runs `Tool`s and lets the Reply speak.
What passes between them stands in `core.messages` (what people see) and `core.records` (the rest).
Those of platforms stand in `core.chat.platform`, of proposals and changes in `core.changes.ports`.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from datetime import tzinfo
from typing import Any, Literal, Protocol

from core.allowances import Count, Grant, ModelCall
from core.changes.model import Change
from core.messages import (
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
from core.records import (
    ALL_OVER,
    Account,
    Action,
    Amended,
    Area,
    Ask,
    Call,
    Effect,
    Entry,
    Forgot,
    Health,
    Listed,
    Member,
    MemberPlace,
    ModelEvent,
    Outcome,
    Provenance,
    QuickCommand,
    Receipt,
    Remote,
    Shown,
    Spent,
    Spoken,
    State,
    Thread,
    ToolContext,
    ToolSpec,
    Turn,
    Verdict,
)
from core.usage import Paid

Handler = Callable[[int], Coroutine[Any, Any, None]]
"""Takes a stored message, by its `seq`, to its end. An exception puts it off, never drops it."""


class Inbox(Protocol):
    """Durable, ordered by conversation, each event once.

    Decisions (`core.conversation.grammar.is_decision`) run as soon as they are stored; all else
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

    async def items(self, turn: Turn, said: Spoken) -> None:
        """What the model said in a round, complete, before any of its tools runs."""

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

    async def shown(self, conversation: str, thread: str = "") -> Sequence[Shown]:
        """What was said in the current thread (or an older one), oldest first."""

    async def listed(self, platform: str, person: str = "") -> Sequence[Listed]:
        """The conversations there in which something is said, the pinned ones and then the last
        used first: those that are that person's own (`Address.person`), or no one person's."""

    async def found(self, platform: str, words: str, person: str = "") -> Mapping[str, str]:
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

    async def used(self, seq: int) -> Usage:
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


class Model(Protocol):
    """Answers one round as a stream. Raises a ModelError; `Completed` is always the last event."""

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> str:
        """`conversations`, `responses`, `chat` or `demo`."""

    def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]: ...

    async def health(self) -> Health: ...

    async def erase(self, remote: Remote) -> bool:
        """Erase it on the server; False when it could not be, and must be tried again."""

    async def close(self) -> None: ...


class Tool(Protocol):
    @property
    def spec(self) -> ToolSpec: ...

    @property
    def effect(self) -> Effect:
        """The least that a call of it does."""

    def effect_of(self, arguments: str) -> Effect:
        """What this call would do."""

    def only_proposes(self, arguments: str) -> bool:
        """Whether this call does nothing before a person approves it: it may be run again."""

    def within(self, allowed: Collection[Action]) -> Tool | None:
        """As it is offered to who may do these things; None for not at all."""

    @property
    def doing(self) -> str:
        """English source of what a person sees while it runs: "is looking at the tables…"."""

    @property
    def patience(self) -> float:
        """Seconds that one call may take."""

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """`arguments` is JSON text as the model wrote it. Raises ToolError."""


class ToolSource(Protocol):
    """A system that brings tools: what it offers may change while Ponte runs."""

    @property
    def name(self) -> str: ...

    async def tools(self) -> Sequence[Tool]: ...

    async def health(self) -> Health: ...

    async def close(self) -> None: ...


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


Work = Callable[[Any], None]
"""What a store does on its connection, as a part of another one's transaction."""

Replies = Callable[[ReplyTo, Posts], Reply]
"""Builds the Reply of one platform from what was stored, in any process."""

Fetch = Callable[[Message, Attachment], Awaitable[File | None]]
"""Gets an attachment's bytes from its platform into `Files`; None where it cannot."""


class Holds(Protocol):
    """What one person may do in one place, once all that it depends on was asked."""

    def may(self, right: str, *names: str) -> Verdict:
        """`names`: of the thing that it is about; of a table its title and its id."""

    def depends(self, right: str) -> bool:
        """Whether it may be given for one thing and not for another."""


class People(Protocol):
    """Who has a name on a surface of the owner's beside them, and may come in as that."""

    async def all(self) -> Sequence[Account]: ...

    async def find(self, person: str) -> Account | None:
        """By the person's key."""

    async def saw(self, person: str, day: str) -> None:
        """They were there on that day."""

    async def end_session(self, session: str, until: float) -> None:
        """Have a session end that would last `until` then, at every process. Raises NotStored."""

    async def is_session_ended(self, session: str) -> bool:
        """Whether it was ended. Raises NotStored."""

    def on_change(self, heard: Callable[[], None]) -> None:
        """Have `heard` called when somebody may no longer come in as before, at any process: their
        token was changed, or a session was ended."""


class Directory(Protocol):
    """What platforms say of their people, over restarts: a row for each person and scope."""

    async def newest(self, platform: str, scope: str, most: int) -> Sequence[Member]:
        """Return the members that were confirmed last, the oldest of them first."""

    async def find(self, platform: str, places: Collection[MemberPlace]) -> Sequence[Member]:
        """Return the members at these places, without those of whom there is no row."""

    async def put(self, platform: str, members: Sequence[Member]) -> frozenset[str]:
        """Keep them, but for people who were forgotten. Return the ids of those people."""

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, who left the platform."""

    async def forget(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, and let no later `put` bring them back."""

    async def purge(self, before: float) -> int:
        """Delete the rows that no platform confirmed since then. Return how many there were."""


class Policy(Protocol):
    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict: ...

    async def rights(self, person: Person, address: Address) -> Holds: ...

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait up to `seconds` until the platform has told what their rights there depend on, or
        refuses to tell. Return False where it has done neither yet. `confirmed`: what it said
        before is not enough, but for a few minutes."""

    def named(self, right: str) -> Sequence[str]:
        """What rules give by its name of that right, as in `model:NAME`; no pattern."""

    async def is_guest(self, person: Person) -> bool | None:
        """Whether they are only a guest where they write; None: their platform does not tell."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Whether a person who did something there `since` then has been removed; None: their
        platform does not tell."""


Membership = Callable[[Person, float], Awaitable[frozenset[str] | None]]
"""A platform's groups and roles of a person, as it told them within so many seconds; None: it
refuses to tell. Waits for the platform, however long that takes; raises nothing."""

Guests = Callable[[Person, float], Awaitable[bool | None]]
"""Whether a person is a guest where they write, as their platform told within so many seconds;
None: it refuses to tell. Waits for the platform, however long that takes; raises nothing."""

HasLeft = Callable[[Person, Address, float], Awaitable[bool | None]]
"""Whether a person who did something there at that time (Unix seconds) has been removed since: from
the workspace, the server or the page. None: their platform does not tell. Raises nothing."""

LookUp = Callable[[Message, bool], Awaitable[tuple[Message, Sequence[str]]]]
"""What a platform knows around a stored message, asked when its turn starts: its author's name,
language and zone, and where the flag says so also what it points at (the earlier messages of its
thread, quoted ones, their files). What could not be had is told beside it, in sentences for the
person. Raises nothing, and is never long: each platform's deadlines stand in its adapter."""


By = Literal["person", "channel", "model", "tool", "day"]
"""What a report of usage has rows of."""


class Reservation(Protocol):
    """A step of a transaction; `grant` is what it reserved, once that is done."""

    @property
    def grant(self) -> Grant | None: ...
    @property
    def counts(self) -> Sequence[Count]:
        """Of each allowance with this turn in it; none where it was counted before."""

    def __call__(self, connection: Any, /) -> None: ...


class Budget(Protocol):
    """What is reserved before it is spent. The journal settles it, where it keeps what came."""

    @property
    def bounds_calls(self) -> bool:
        """Whether there is any allowance of money or tokens."""

    async def reserve(self, turn: Turn) -> None:
        """Before anything that costs; once per turn. Raises OverBudget."""

    async def reserving(self, turn: Turn, call: ModelCall | None = None) -> Reservation:
        """The same as a step of the transaction in which the journal keeps what was heard, with
        the first call of the model."""

    def model_call(self, number: int, model: str, told: int) -> ModelCall:
        """That round's, with what the model costs; `told`: see `ModelCall`."""

    async def pay(self, turn: Turn, call: ModelCall) -> Grant | None:
        """Reserve one more call of the model. None where no allowance bounds it. Raises
        OverBudget where not even a short answer fits."""

    async def pay_run(self, turn: Turn, call_id: str, paid: Paid) -> None:
        """Reserve one run of something that has a price, once for each call. Raises OverBudget."""

    async def settle_run(self, seq: int, call_id: str, paid: Paid, begun: bool) -> None:
        """What a run cost that no call of a model stands for: its price, where it was begun."""

    def price(self, paid: Paid) -> float | None:
        """US dollars for one run; None where it is not known."""

    async def give_back(self, turn: Turn, part: str) -> None:
        """What was reserved for something of which surely nothing was done."""

    async def claim_notice(self, count: Count, bit: int) -> bool:
        """Whether this is to be told now: once for each period, whoever asks."""

    async def usage(self, person: str | None = None, place: str = "") -> Spent:
        """Today's, of one person key or of all; `place`: there alone."""

    async def standing(self, person: Person, address: Address) -> Sequence[Count]:
        """What is used or held now of each allowance that applies to them there."""

    async def report(self, by: By, since: str = "", place: str = "") -> Sequence[Mapping[str, Any]]:
        """Rows of `name`, `turns`, `calls`, tokens and `cost` since that day (ISO; "": today)."""

    @property
    def zone(self) -> tzinfo:
        """Where days begin."""

    def zone_of(self, message: Message) -> tzinfo:
        """The asker's, where their platform tells it."""

    async def settle_left(self) -> int:
        """End what is held for turns that are over: it counts as its bound. How many."""


class Audit(Protocol):
    """Who did what, by which rule, and who approved it: never a cell's value, never a text."""

    async def write(
        self, event: str, change: Change, rule: str = "", by: Person | None = None
    ) -> None:
        """A line for what happened to a change: `proposed`, `consented` (one of several approvals),
        `approved`, `done` … `rule` is the one that allowed it, `by` who wants it, where that is
        neither asker nor decider. Durable on return. Raises AuditRefused."""

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """A line for all else: `run`, `refused`, `reload` … It is written beside, after all that
        was told before it. `person` is the key of whom it is about; `facts` name no people."""


class QuickCommands(Protocol):
    async def known(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        """Those that this person may run here."""

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        """Raises UnknownCommand with the nearest slug, NotAllowed for who or where it is not."""

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome: ...


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
