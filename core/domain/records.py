"""What passes between the ports: plain frozen data.

Times are seconds since the epoch, sizes bytes, unless a name says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from core.domain.changes import Draft
from core.domain.errors import NotAllowed, StatusUnknown, ToolError
from core.domain.messages import Address, Answer, File, Item, Message, Person, Post, Usage
from core.text.i18n import say

FINAL_STATES = ("done", "stopped", "failed", "undeliverable", "removed", "withdrawn")
CRASHED = "crashed"
"""Why a turn is given up: its process died again and again while it ran alone."""

State = Literal[
    "new", "running", "answered", "posting",
    "done", "stopped", "failed", "undeliverable", "removed", "withdrawn",
]  # fmt: skip

Amended = Literal["unstarted", "started", "unknown"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `accept` answers. `fresh` is False for a key that was seen before."""

    seq: int
    turn: str
    fresh: bool
    waiting: int = 0
    """Turns of the same conversation that stand before this one."""
    refused: str = ""
    """Why it was one too many for its sender, as in `fast:20`: it is answered with that at once."""


@dataclass(frozen=True, slots=True)
class Round:
    """One model call of a turn: `complete` once its items are journalled."""

    number: int
    response: str = ""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the model said in one round, whole; `model` is its name."""

    number: int
    items: tuple[Item, ...]
    usage: Usage
    model: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of a turn; `outcome` is None while it is not known to have ended.

    `handle` is what the system that runs it calls it there, once that is known.
    """

    call_id: str
    name: str
    arguments: str
    effect: Effect
    outcome: Outcome | None = None
    handle: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One attempt to take a stored message to its answer, with all that is journalled of it.

    (`seq`, `attempt`, `generation`) guards each write: an old attempt gets Superseded.
    """

    seq: int
    attempt: int
    generation: int
    thread: str
    state: State
    message: Message
    rounds: tuple[Round, ...] = ()
    items: tuple[Item, ...] = ()
    calls: tuple[Call, ...] = ()
    posts: tuple[Post, ...] = ()
    answer: Answer | None = None
    accepted_at: float = 0.0
    refused: str = ""
    """Why it is not taken up: "fast" or "waiting", and the `limit` that says so; or CRASHED, and in
    `limit` how often."""
    limit: int = 0
    undelivered: str = ""
    """Why an earlier answer there could not be posted, until an answer has told it."""

    @property
    def id(self) -> str:
        return self.message.turn

    @property
    def fresh(self) -> bool:
        """Whether nothing of it was done yet, by any process."""
        return self.attempt == 1 and not (self.items or self.calls or self.answer)


@dataclass(frozen=True, slots=True)
class Entry:
    """A transcript line: `seq` is its turn's, `person` the key of who said it ("" for ours)."""

    seq: int
    item: Item
    person: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Thread:
    """The assistant's memory of one conversation; small, kept in the thread map.

    `remote` is the current OpenAI Conversation, `remote_upto` the last transcript turn (`seq`)
    that it is known to hold whole; -1: not known, so its tail is read before it is used. Both
    can be lost without harm.
    """

    conversation: str
    id: str
    generation: int = 0
    remote: str = ""
    remote_upto: int = 0
    container: str = ""
    level: str = ""
    participants: tuple[str, ...] = ()
    used_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the words of a thread are from. `outside`: some are a tool's, a file's, a quote's, or
    of another person than the one who asks now. `written` is what that one wrote. `since` is the
    last turn before this one with anything in the transcript, 0 where none has."""

    outside: bool
    written: tuple[str, ...] = ()
    since: int = 0


@dataclass(frozen=True, slots=True)
class Remote:
    """Something that a server keeps for a thread: an OpenAI conversation, response, container."""

    kind: Literal["conversation", "response", "container", "file"]
    id: str


@dataclass(frozen=True, slots=True)
class Account:
    """Who comes in by a token of their own: `person` by key, `token` its SHA-256 in hexadecimal,
    `added` in seconds since the epoch, `seen` the last day that they came (UTC; "" for never)."""

    person: str
    token: str
    added: float
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in its people's list. `first` is what began its current thread; `title` what
    a person named it, "" for none; `used_at` in seconds since the epoch."""

    conversation: str
    first: Message
    title: str = ""
    pinned: bool = False
    used_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Forgot:
    """What `forget` did. `running` are the turns that must be cancelled now."""

    generation: int
    messages: int
    running: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    """The ids of every thread that the conversation had."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the model is told of a tool. `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = True


class Paying(Protocol):
    """What is reserved for the requests of a round before each of them is sent."""

    async def __call__(self, tokens: int) -> int | None:
        """Awaited right before a request that costs; `tokens` is what it has at most. Gives the
        tokens that the answer may have, None for any number. Raises OverBudget."""

    def on_refused(self) -> None:
        """The server did nothing of the last one: what was reserved is for the next."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One round's question. `input` is what the thread has not heard yet.

    `history` gives the transcript before `input`, for servers that keep none and for repairs.
    `response` is the id of this round's response from before a crash, if one was journalled.
    `preface` belongs to the turn's input (date, zone, name, language), never to the cached prefix.
    `seq` is the turn's; `since` that of the last turn before it with anything in the transcript:
    a remote conversation whose `remote_upto` is smaller lacks something, or holds too much.
    `model` and `effort` are those of its place; "" for the operator's own. `paying` None: nothing
    bounds what it may cost.
    """

    thread: Thread
    turn: str
    number: int
    input: tuple[Item, ...]
    history: Callable[[], Awaitable[Sequence[Item]]]
    instructions: str
    preface: str
    asker: Person
    tools: tuple[ToolSpec, ...] = ()
    response: str = ""
    locale: str = "en"
    seq: int = 0
    since: int = 0
    model: str = ""
    effort: str = ""
    paying: Paying | None = None


@dataclass(frozen=True, slots=True)
class Began:
    """The server named its response; journalled at once so that a crash can find it.

    A second one in the same round says that the first was lost: its text so far is void.
    """

    response: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The server now keeps something for this thread (`Remote`), to be journalled at once.

    `thread` is the record as it stands after this, when the remote is its current one; `listed`:
    the id is known to whoever erases already, as a spare one.
    """

    remote: Remote
    thread: Thread | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """The round is over: `items` are complete; calls in them may now run."""

    items: tuple[Item, ...]
    usage: Usage = field(default_factory=Usage)
    thread: Thread | None = None
    """The thread record as it stands after this round, where the model changed it."""
    cut: bool = False
    """The words end where the model had to stop: its answer is longer than it may be."""


ModelEvent = Began | Delta | Kept | Completed

Effect = Literal["read", "write", "spend", "code"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tool call ended. `text` is what the model reads, capped by the turn.

    `unknown`: it was interrupted and may have happened. `proposed`: nothing was done yet,
    `proposal` waits for a person. An `ok` with a `proposal` was done by the operator's policy.
    `sources` are lines of Markdown, rendered by code, that say where figures come from.
    """

    status: Literal["ok", "error", "unknown", "proposed"]
    text: str
    files: tuple[File, ...] = ()
    proposal: str = ""
    sources: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    """What the call itself cost, where another model, a container or a run was paid for."""
    paid: str = ""
    """What was paid for, as reports name it; "" for the tool."""


class ContextFiles(Protocol):
    """The files of a conversation, as its tools may use them."""

    async def list_files(self) -> Sequence[File]:
        """What was attached or made in this thread, oldest first; this message's own last."""

    async def read(self, file: File) -> bytes:
        """Raises NotFound."""

    async def keep(self, name: str, type: str, data: bytes) -> File:
        """One that the tool made, to be put into its outcome. Raises NotStored."""


async def _unheard(_: object) -> None:
    return None


async def _no_proposals(_: Draft) -> Outcome:
    raise ToolError(
        "Nothing can be proposed here.",
        code="not_offered",
        hint="tell the person; do not look for another way",
    )


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom and where a tool runs. `doing` shows the person a few words of progress.

    `zone` is the asker's IANA time zone. `handle` is what `known_as` was told before a crash: the
    tool goes on with that and begins nothing anew.
    """

    asker: Person
    address: Address
    turn: str
    seq: int
    call_id: str
    thread: Thread
    locale: str
    doing: Callable[[str], Awaitable[None]]
    propose: Callable[[Draft], Awaitable[Outcome]] = _no_proposals
    """How a write tool brings what it would do. Raises ToolError."""
    zone: str = "UTC"
    said: str = ""
    """The text of the person's message."""
    files: ContextFiles | None = None
    handle: str = ""
    known_as: Callable[[str], Awaitable[None]] = _unheard
    """Told what another system calls this run, before it is waited for; durable on return."""
    kept: Callable[[Remote], Awaitable[None]] = _unheard
    """Told what a server now keeps for the thread, to be erased with it."""
    again: bool = False
    """Whether the person asks what they asked before."""
    stopped: Callable[[], bool] = lambda: False
    """Whether a person's stop, and not the end of this process, is why the run is cancelled."""
    tool: str = ""
    """Its name, as the model calls it."""


INTERRUPTED = "interrupted, it is unknown whether this happened"
"""How the outcome of a call begins whose end nobody knows."""
_TO_MODEL = re.compile(r"\s*\(to you: [^()]*\)\Z")
FROM_PONTE = "[A note from Ponte itself, not from a person. {words}]"
"""What a model is told of changes. A change that a rule allowed ends its call in such a note."""
_FROM_PONTE = re.compile(r"\[A note from Ponte itself, not from a person\. (.*)\]\Z", re.DOTALL)


def tell_model(words: str, order: str) -> str:
    """The text of an outcome with what the model is to do about it; no person reads the second."""
    return f"{words} (to you: {order})"


def tell_person(text: str) -> str:
    """Return the text of an outcome without what only a model is to read."""
    note = _FROM_PONTE.match(text)
    return _TO_MODEL.sub("", note[1] if note else text)


Action = Literal["chat", "read", "propose", "spend", "code", "approve", "administer"]
"""What a person may do, as ponte.toml calls it."""

NEEDS: Mapping[Effect, Action] = {
    "read": "read", "write": "propose", "spend": "spend", "code": "code"
}  # fmt: skip
"""The right that a call with this effect needs."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a platform says of one of its people.

    `scope` is "" for the person as such, else where it holds (a server, the platform's groups).
    `belongs_to`: ids of the workspaces, groups or roles that are theirs in that scope.
    `confirmed_at`: when the platform said so, in seconds since 1970.
    """

    id: str
    scope: str = ""
    person: str = ""
    """The person's key (`core.domain.messages.Person.key`)."""
    name: str = ""
    locale: str = ""
    zone: str = ""
    is_guest: bool = False
    is_robot: bool = False
    belongs_to: frozenset[str] = frozenset()
    confirmed_at: float = 0.0

    @property
    def place(self) -> MemberPlace:
        return self.scope, self.id


MemberPlace = tuple[str, str]
"""A member's scope and id, by which a platform's members are told apart."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is the English source of the refusal's words, in which `{right}` stands for the
    right that was asked for; `rule` says which rule decided, "" where none did. `unknown`: it is no
    refusal, since the platform has not told who the person is."""

    allowed: bool
    reason: str = ""
    rule: str = ""
    right: str = ""
    unknown: bool = False

    def words(self, locale: str | None = None) -> str:
        """What the person reads."""
        return say(self.reason, locale, right=self.right)

    def check(self) -> None:
        """Raises NotAllowed, StatusUnknown."""
        if self.unknown:
            raise StatusUnknown
        if not self.allowed:
            raise NotAllowed(self.reason, right=self.right, rule=self.rule)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used in a day: turns and money. `estimates`: calls whose amounts are the most that
    they can have been, because nobody counted them."""

    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    estimates: int = 0


@dataclass(frozen=True, slots=True)
class QuickCommand:
    """A named command of the registry. `inputs`: name → {"type", "required", "choices"}.

    `title` and `description` are in English, or in the one language that there is; `translations`
    has both in others, by locale. `effect` "write": it needs the right to change data as well; a
    model that wants to run one marked "spend" or "write" asks a person first.
    """

    slug: str
    title: str
    description: str = ""
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    translations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    effect: Literal["read", "spend", "write"] = "spend"

    def told(self, locale: str) -> tuple[str, str]:
        """Title and description for a person; `locale` is one of ours."""
        return self.translations.get(locale, (self.title, self.description))


@dataclass(frozen=True, slots=True)
class Health:
    """`state`: on, off (not configured), or failing; `words` say why, for the operator."""

    name: str
    state: Literal["on", "off", "failing"]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One exchange as a person reads it again: what was said, and the answer if there is one."""

    seq: int
    turn: str
    state: State
    message: Message
    answer: Answer | None = None
    at: float = 0.0
    refused: str = ""
    """As in `Receipt`."""


@dataclass(frozen=True, slots=True)
class Area:
    """The conversations of a place (`platform`, `platform:WORKSPACE:CHANNEL`; "": all), threads and
    all, without those of the places `but` within it; `once`: those of one request alone."""

    place: str = ""
    but: tuple[str, ...] = ()
    once: bool = False


ALL_OVER = Area()
