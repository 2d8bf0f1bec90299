"""Protocols between the rooms of the core: the inbox, files and replies of a conversation, the
model, the tools that it calls, quick commands, and chat platforms.

Each protocol has one contract suite in `tests/contract`. Their arguments and results are in
`core.domain.messages` (what people see) and `core.domain.records` (the rest). The protocols of
changes are in `core.changes.kinds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.base.errors import NotAllowed, NotFound, PonteError
from core.domain.changes import ChangeForm, DisplayName, Overview
from core.domain.messages import (
    Address,
    Answer,
    Attachment,
    Card,
    File,
    Message,
    Person,
    PlaceMessage,
    Post,
    Progress,
    ReplyTo,
)
from core.domain.model_rounds import ModelEvent, RoundRequest, ToolSpec
from core.domain.records import (
    ALL_CONVERSATIONS,
    AmendResult,
    ConversationArea,
    Health,
    Outcome,
    QuickCommand,
    Receipt,
    Remote,
    ToolContext,
    Turn,
)
from core.domain.rights import Action, Effect, Viewer
from core.domain.rows import Placed

TransactionStep = Callable[[Any], None]
"""Runs on a connection, as part of another store's transaction."""
NO_STEP: TransactionStep = lambda connection: None  # noqa: E731

TurnHandler = Callable[[int], Coroutine[Any, Any, None]]
"""Handles a stored message, given by its `seq`.

If it raises, the message is handled again later.
"""


class Inbox(Protocol):
    """A durable queue of messages, ordered within each conversation. Each event is stored once.

    Decisions (`core.commands.grammar.is_decision`) run as soon as they are stored. All other
    messages wait for their turn.
    """

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        """Store the message and queue it; it is durable on return. `also` runs in the same
        transaction. Raise NotStored if nothing was stored."""

    async def find_times(self, event_keys: Collection[str]) -> Mapping[str, float]:
        """Return when the messages with these event keys were stored, without unknown ones."""

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        """Apply an edit of a message, or its deletion (None).

        A deletion withdraws the message and blanks it in the transcript. "unstarted": the turn will
        use the new text, or never run. "started": too late for this turn. "unknown": no such event,
        or an older version than the stored one.
        """

    async def allow_again(self, event_key: str) -> None:
        """Delete a message that was withdrawn and not answered, so that it is accepted if it comes
        again: an edit can restore a mention of Ponte that an earlier edit had removed."""

    async def requeue(self, turn: Turn, message: Message) -> bool:
        """Replace a turn that has begun and done nothing yet: its message gets the text of
        `message`, and waits in the queue as if it was typed now. Return False if the message was
        deleted meanwhile."""

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
        """Return True if the turn's handler was cancelled because a person stopped the turn
        (`cancel`), and not because the process ends (`drain`).
        """

    def is_taken_over(self, seq: int) -> bool:
        """Return True if the handler was cancelled because another process took the turn over."""

    def leave_place(self, seq: int) -> None:
        """Release the turn's place among the limited number of working turns.

        Called when the turn only waits for its platform, or posts: then another one can work.
        """

    async def take_place(self, seq: int) -> None:
        """Wait for a place among the limited number of working turns again, after `leave_place`."""

    async def running_turn(self, conversation: str) -> int | None: ...

    async def drain(self, grace: float) -> None:
        """Stop this process: start no more turns, let running turns finish for `grace` seconds, and
        put the remaining ones back into the queue."""

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Delete the messages of the area whose turns ended before `before` (Unix seconds), with
        all that belongs to them. Return how many."""


class Files(Protocol):
    """Stores files: those that people attach and those that tools make, each with the person and
    the conversation that it belongs to."""

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        """Files with the same bytes and name for the same event are stored once. Raises
        NotStored."""

    async def get(self, file: str) -> tuple[File, bytes]: ...

    async def delete(self, file: str) -> None: ...

    async def conversation_of(self, file: str) -> str: ...

    async def list_of_events(self, *event_keys: str) -> Sequence[File]: ...

    async def discard(self, file: str) -> None:
        """Delete the bytes of a file whose record is deleted already."""

    async def sweep(self, before: float) -> int:
        """Remove files that were stored before `before` (Unix seconds) for a message that was never
        accepted. Return how many."""


class PostJournal(Protocol):
    """Records the posts of one turn's answer, so that a `Reply` makes none twice after a crash."""

    @property
    def is_resumed(self) -> bool:
        """True if an earlier attempt at the turn may have posted something already, so that the
        platform must be searched for it before a post is made."""

    def check_ownership(self) -> None:
        """Raise TakenOver if another process may have the turn by now. It is called before each
        request to a platform, so that two processes do not post the same answer.
        """

    async def list_posts(self) -> Sequence[Post]: ...

    async def record_posting(self, number: int, key: str) -> None: ...

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Record the id of a post.

        `last`: it is the last post of the answer, so it may be stored together with the turn's end.
        """

    async def record_removed(self, number: int) -> None:
        """Record that a person deleted the post `number` of the answer, so that it is not made
        again."""


RenderProgress = Callable[[], Awaitable[Progress]]
"""Returns what people may see of the growing text. It takes time, so only what is shown is
rendered."""


class Reply(Protocol):
    """Posts the answer of one turn where the message was sent."""

    @property
    def first_key(self) -> str:
        """The key under which the first part of the answer will be posted, to be stored together
        with the answer; "" if it is stored already, or if nothing will be posted."""

    def split(self, text: str) -> tuple[str, ...]:
        """Return `text` in parts that each fit into one post of this platform."""

    async def show(self, progress: Progress, render: RenderProgress | None = None) -> None:
        """Show the progress of the turn, throttled and without a guarantee. With `render`, the text
        is the model's own: what `render` returns is shown in its place.

        May raise PostRemoved, which stops the turn. The first progress of a turn is empty and only
        shows that work has begun.
        """

    async def wait_for_updates(self) -> None:
        """Wait until all requests to the platform that `show` started have ended."""

    async def settle_posts(self) -> None:
        """Finish or cancel the posts under way, and record them, so that nothing is posted from now
        on: this process stops, and another one continues the turn. Afterwards, only
        `wait_for_updates` may be called."""

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


ListTools = Callable[[], Awaitable[Sequence[ToolSpec]]]
ReadFile = Callable[[str], Awaitable[tuple[File, bytes]]]
"""`Files.get`: returns a file and its bytes by its id. Raises NotFound."""


async def read_no_file(id: str) -> tuple[File, bytes]:
    raise NotFound(what="file")


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
    """Reads what a platform's adapter shows besides answers, such as on the page: the state of
    Ponte's parts, the known tables, quick commands, and cards."""

    async def health(self) -> Sequence[Health]: ...

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]: ...

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        """Return the names of the known tables that the person may read at the address, or with
        `to_change` those in which they may ask for changes."""

    async def saved_names(self, person: Person, address: Address) -> Sequence[str]:
        """Return the names of the saved questions that the person may use at the address."""

    @property
    def is_demo(self) -> bool:
        """True if the demo model answers, which understands only a few forms of messages."""

    async def changes(self, conversation: str) -> Sequence[Card]:
        """Return the cards of a conversation's proposals and changes, newest first. `conversation`
        is its key, or "" for all."""

    async def overview(self, person: Person, address: Address, time_zone: str) -> Overview:
        """Return the requests that wait for the person or that they made, their schedules and their
        remaining allowances. Times are in `time_zone`, theirs; "" if it is not known."""

    async def open_plan(self, id: str, person: Person, address: Address) -> bytes:
        """Raise NotFound, also if the person may not see the card, and ToolError."""

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        """Return the form by which the person changes the proposal under whose card they pressed.
        Raise what `ChangeViews.find_form` raises."""


SAMPLE_TABLES_PHRASE = "Ponte's sample base"
"""Part of the description of the tools over the sample tables. The demo model knows them by it."""


FREE_LEVELS = ("demo", "stored")
"""The levels of models that ask no server."""


class Model(Protocol):
    """Asks a language model: it answers one round (a request with the conversation so far) as a
    stream of events.

    Raises a ModelError. `RoundCompleted` is always the last event.
    """

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> str:
        """The API by which the model is asked: `conversations`, `responses`, `chat`, `demo` for the
        built-in demo, or `stored` for calls that are made again."""

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Send the request of one round to the model's server, and yield the events of its answer
        as they arrive."""

    async def health(self) -> Health: ...

    async def erase(self, remote: Remote) -> bool:
        """Erase an object, such as a stored response, on the model's server. Return False if that
        failed and must be tried again."""

    async def close(self) -> None: ...


class Tool(Protocol):
    """A function that the model can call."""

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def effect(self) -> Effect:
        """The least harmful effect that a call of the tool can have: "read" for a tool that reads
        or, with other arguments, writes."""

    def effect_of(self, arguments: str) -> Effect:
        """Return the effect, such as "read" or "write", that a call with these arguments (JSON
        text) would have."""

    def only_proposes(self, arguments: str) -> bool:
        """Return True if a call with these arguments changes nothing before a person approves it.
        Such a call may run again after a crash."""

    def restrict_to(self, allowed: Collection[Action]) -> Tool | None:
        """Return the tool as it is offered to people with these rights, for example without its
        actions that write. None: it is not offered to them."""

    @property
    def progress_text(self) -> str:
        """English source of what a person sees while it runs: "is looking at the tables…"."""

    @property
    def timeout_seconds(self) -> float: ...

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """Run the tool. `arguments` is JSON text as the model wrote it. Raises ToolError."""


class ToolSource(Protocol):
    """A system that provides tools for the model, such as NocoDB. Its tools may change while Ponte
    runs."""

    @property
    def name(self) -> str: ...

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """Return the tools that can be offered to this person now."""

    async def health(self) -> Health: ...

    async def close(self) -> None: ...


class QuickCommands(Protocol):
    """Lists and runs the quick commands of an installation, with the rights of a person at a
    place."""

    async def list_commands(self, person: Person, address: Address) -> Sequence[QuickCommand]: ...

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        """Return the command with this slug.

        Raises UnknownCommand with the nearest slug, and NotAllowed if the person or place has no
        right to it.
        """

    async def refuse(self, person: Person, address: Address, slug: str) -> NotAllowed | None:
        """Return why this person may not run the command there, by the rules of the registry.
        Return None if they may, or if there is no such command. Raises StatusUnknown."""

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        """Run the command with this slug and return its outcome. Raises ToolError."""

    @property
    def everybodys(self) -> Sequence[QuickCommand]:
        """Return the quick commands that everybody may run everywhere, as far as the registry is
        concerned."""

    def asks_first(self, slug: str) -> bool:
        """Return True if a model's call of this quick command needs a person's approval before it
        runs."""

    def connect(
        self, run: Callable[[ToolContext, str, str | Mapping[str, Any]], Awaitable[Outcome]] | None
    ) -> None:
        """Set the function that runs quick commands: the registry itself only knows them."""


ARRIVAL_SECONDS = 5.0
"""Seconds that a post may take to appear after its process has died or its response was lost."""


class Platform(Protocol):
    """Connects a platform such as Slack or the page: it makes messages of the platform's events,
    and replies to them."""

    @property
    def name(self) -> str: ...

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        """Return the `Reply` that posts the answer of one turn. It is built from stored data, so
        that any process can do it. `posts` records the posts."""

    async def start(self) -> None:
        """Connect to the platform, and return when its events can arrive. Raise SettingsError if
        the platform rejects the token."""

    async def health(self) -> Health: ...

    async def stop_intake(self) -> None:
        """Stop accepting events. Running turns can still post."""

    async def close(self) -> None: ...


class Messenger(Protocol):
    """A platform that can write to people who have not just asked something. Posts go through its
    `Reply`, which looks a post up if it is not known whether it was made."""

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        """Return the people behind these names (`platform:ID`): named people and the members of
        groups, as far as the platform reports them. Programs are left out. Raise PlatformBusy if
        they are not known now."""

    async def can_read(self, person: Person, address: Address) -> bool | None:
        """Return whether the person can read the messages of that place; None if the platform can
        never tell. Raise PlatformBusy if it does not answer now: the caller asks again."""

    async def can_write(
        self, person: Person | None, address: Address, *, afresh: bool = False
    ) -> bool | None:
        """Return whether the person can post in that shared place; with None for the person,
        whether Ponte can post in the place. `afresh`: by what the platform tells now, and not by
        what it told a minute ago. Return None if the platform can never tell. Raise
        PlatformBusy if it does not answer now."""

    async def can_write_to(self, person: Person, other: Person, address: Address) -> bool | None:
        """Return whether the person can write to the other one, as a member of the workspace of
        `address`. Return None if the platform can never tell. Raise PlatformBusy if it does not
        answer now."""

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str = ""
    ) -> tuple[Sequence[PlaceMessage], bool]:
        """Return the newest messages, at most `most` and oldest first, that stand in the thread or
        channel of the message that `to` answers, and whether there are older ones. They begin
        after the message `after` (an id), or at `since` (Unix seconds) if that is "", and end
        before the message that `to` answers, if there is one. Raise PonteError if they cannot be
        read."""

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return the display names of these people, groups and roles (`platform:ID`), by these
        names. Those that the platform does not tell soon are left out. Raise nothing."""

    async def link_to(self, address: Address, post: str) -> str:
        """Return the address at which people open Ponte's post `post` (an id). Raise
        PlatformBusy."""

    async def is_public(self, address: Address) -> bool | None:
        """Return whether every member of the workspace can read that shared place, such as a public
        channel; None if the platform does not tell now. The call is optional: it leaves room in the
        platform's rate limit for what people wait for. Raise PlatformBusy."""

    async def may_have_outsiders(self, address: Address) -> bool:
        """Return False only if no guest and nobody of another organization can read there."""
        return False

    async def title(self, address: Address) -> str:
        """Return the name of a shared place, such as a channel, as people see it; "" if the
        platform reports none."""

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        """Return the destination of a direct message to the person, and their locale ("" if
        unknown). Raise Undeliverable, PlatformBusy, or another error if the outcome is unknown."""

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        """Return the destination of a new post at `address` that is no answer to a message.
        `person` is who asked for it."""

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        """Return the destination of a post that does not answer a message: the place where the
        answer of `to` goes. With `post`, the id of one of Ponte's posts there, it is below it."""

    def surface(self, to: ReplyTo) -> Surface:
        """Return the surface by which posts are made, edited and deleted at the destination
        `to`."""

    async def find_post(self, to: ReplyTo, key: str, text: str) -> str | None:
        """Return the id of Ponte's post with this key, made for `to`. A platform that stores no
        keys looks for `text`. Return None if there is certainly none; raise an error if that is not
        known."""


class ChatPlatform(Platform, Messenger, Protocol):
    """A chat platform such as Slack or Discord, where many people write. Files of its messages must
    be downloaded, and it knows groups of people."""

    async def start(self, *, listens: bool = True) -> None:
        """Connect as `Platform.start` does. With `listens` False, the platform can post and look
        things up, but no events arrive."""

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Download an attached file and return it as it is stored; None if it is too large, refused
        or deleted."""

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with facts about it, and sentences about facts that could not be
        loaded (`LoadContext`). The facts are its author's name, language and time zone. With
        `pointed`, they include the messages that it refers to and their files."""

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of the person's groups or roles, confirmed within `max_age` seconds. Wait
        for the platform, however long that takes; None if it does not reveal them."""

    @property
    def guest(self) -> Callable[[Person, float], Awaitable[bool | None]] | None:
        """Return the lookup of guests, None if the platform has none. The lookup returns whether
        the person is a guest, confirmed within so many seconds. It waits for the platform, however
        long that takes, and returns None if it does not reveal that."""

    @property
    def find_workspace(self) -> Callable[[], Awaitable[str]] | None:
        """Return the lookup of the only workspace that the platform serves, None if it may serve
        several. The lookup returns the workspace's id, "" while it is not known, and raises
        nothing."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether a person who was a member of this place at the time `since` (seconds since
        the epoch) is a member no longer; None if that is not known. An account of the same name
        that was added after `since` is somebody else."""

    async def forget(self, ids: frozenset[str]) -> None:
        """Remove everything that this platform remembers about the people or places with these
        ids."""

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Handle a request to this platform's route on Ponte's server, and return status, headers
        and body. The platform verifies the request itself."""


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """The text of one post of an answer; parts count from 1.

    `answer`: the finished answer, on its last part only. `is_growing`: more text may follow in this
    part. `is_final`: the whole answer is known. `is_private`: only the asker may see the answer.
    `is_redrawn`: only its cards are new, and the post may have files.
    """

    number: int
    text: str
    answer: Answer | None = None
    is_growing: bool = False
    is_final: bool = False
    is_private: bool = False
    placed: tuple[Placed, ...] = ()
    """The rows and charts of the answer, once it is known."""
    is_redrawn: bool = False


class Surface(Protocol):
    """The calls of a platform with posts; `core.chat.reply.GrowingReply` makes a Reply of them.

    Each call raises one of these:

    - PostRemoved if a person deleted the post;
    - Undeliverable if the platform refuses for good;
    - PlatformBusy if the call must be repeated later, or NotSent, which had no effect either;
    - any other exception if the outcome of the call is unknown.
    """

    limit: int
    """Characters in one post."""
    interval: float
    arrival_seconds: float
    """Seconds after which a request with an unknown outcome has taken effect or never will; 0.0 if
    the platform makes one post of two with the same key."""
    has_code_button: bool
    """True if the last post has a button that shows the code of runs, which is then not
    uploaded."""

    def split(self, text: str) -> tuple[str, ...]: ...

    async def seconds_until_growth(self) -> float:
        """Return how long to wait before text is shown while it grows; 0.0 for now. A platform that
        has few edits left reserves those that the whole answer needs."""

    async def show_activity(self, doing: str) -> None:
        """Show that the turn is under way (a status, or "is typing") until `end_activity`. A
        failure is ignored.

        Called with "" when a turn begins, and then with the words for each step that the turn is
        `doing`. The turn waits for the first call, which therefore sends no request itself.
        """

    async def end_activity(self) -> None:
        """Remove what `show_activity` shows (a status, "is typing"), because this process does
        nothing more for the turn."""

    async def post(self, key: str, part: AnswerPart) -> str:
        """Make a post of Ponte with this text, under `key`, and return the platform's id of it."""

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change the text and the cards of a post; its files stay. Also called when only the cards
        have changed."""

    async def delete(self, post: str) -> None: ...

    async def find(self, number: int, key: str) -> str | None:
        """Return the id of the post that Ponte made as part `number` of the answer under `key`;
        None if there is none. On a platform that stores no keys, it is the only post since the
        message that can be the one."""

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Post an answer's files. Return the id that `find(0, key)` would return for them."""


LABELS_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Platforms:
    """The functions by which turns use each platform, by the platform's name: to reply, to download
    files, to look up context, and to write to people. All are added before turns run."""

    replies: dict[str, ReplyFactory] = field(default_factory=dict)
    fetch: dict[str, FetchAttachment] = field(default_factory=dict)
    look_up: dict[str, LoadContext] = field(default_factory=dict)
    messengers: dict[str, Messenger] = field(default_factory=dict)

    def add(self, platform: Platform) -> None:
        self.replies[platform.name] = platform.reply

    def add_chat(self, chat: ChatPlatform) -> None:
        self.add(chat)
        self.fetch[chat.name] = chat.fetch
        self.look_up[chat.name] = chat.look_up
        self.messengers[chat.name] = chat

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """A card is not delayed by a platform that does not answer in LABELS_TIMEOUT_SECONDS, or
        fails: its names are left out."""
        labels: dict[str, DisplayName] = {}
        for platform, messenger in self.messengers.items():
            if platform_names := [name for name in names if name.startswith(f"{platform}:")]:
                with suppress(TimeoutError, PonteError):
                    async with asyncio.timeout(LABELS_TIMEOUT_SECONDS):
                        labels |= await messenger.labels(platform_names)
        return labels
