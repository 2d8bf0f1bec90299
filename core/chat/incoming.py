"""Messages that arrive: which messages of a thread are for Ponte, the marks that show that one was
received, and the events that could not be handled.

While only one person writes in a thread with Ponte, every message there is for Ponte. Once a second
person writes, only mentions are, and Ponte announces that once. A channel can have other settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from core.base.errors import Forgotten, NotStored
from core.base.i18n import plural, say
from core.base.tasks import BackgroundTasks
from core.domain.messages import Address, Message, Quote
from core.domain.ports import Inbox
from core.domain.records import Health, Receipt
from core.observability import metrics
from core.people.policy import Policy

EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 500, 10
"""The limits of a turn's context: characters of an earlier message, and the newest files."""
CONTEXT_SECONDS = 10.0
"""How long a turn waits for the messages that its own quotes, and for earlier ones."""
MAX_EDITED_MESSAGE_AGE_SECONDS = 24 * 3600.0
"""Up to this age, a message is answered because an edit adds a mention. An older one may have been
answered, and its row deleted since."""
WAITS_FOR_MENTION = "Several people are here now, so I only answer when you mention me."
THREAD_CUT = (
    "I read only {count} of {total} messages in the thread: its beginning and the newest ones."
)
THREAD_UNREAD = "I couldn't read the earlier messages in this thread, so I answered without them."


def describe_cut(count: int, total: int, locale: str) -> tuple[list[Quote], list[str]]:
    """Return what the model and the person read about a thread of which only `count` of `total`
    messages were read."""
    if count >= total:
        return [], []
    values = {"count": count, "total": total}
    note = Quote("Ponte", f"[{THREAD_CUT.format(**values)}]", is_note=True)
    return [note], [say(THREAD_CUT, locale, **values)]


class AddressingSettings(Protocol):
    """The operator's settings on which messages of a channel Ponte answers, and where. None is the
    default."""

    @property
    def strict_mention(self) -> bool | None:
        """Ponte answers only messages of this channel that mention it."""

    @property
    def answer_everything(self) -> bool | None:
        """Ponte answers every message, except those that mention others and not Ponte."""

    @property
    def threads(self) -> bool | None:
        """An answer opens a thread. False: the channel itself is one conversation, and each thread
        that people open there is another one."""


@dataclass(frozen=True, slots=True)
class Addressing:
    """Facts that decide whether a message is for Ponte. Platforms find out only what matters.

    `is_late_edit`: the message was old when it was edited. `is_withheld`: the platform withholds
    its text. `answers_us`: it replies to a post of ours. `is_thread_of_others`: its thread began
    with a mention of others, and nobody has mentioned us there. `is_our_thread`: Ponte takes part
    in its thread. `has_several_people`: several people write there.
    """

    is_direct: bool = False
    is_late_edit: bool = False
    is_withheld: bool = False
    mentions_us: bool = False
    names_others: bool = False
    answers_us: bool = False
    is_thread_of_others: bool = False
    is_our_thread: bool = False
    has_several_people: bool = False


def is_for_ponte(facts: Addressing, settings: AddressingSettings) -> bool:
    """Return whether a message is for Ponte. A mention counts more than the channel's settings; a
    direct message always is for Ponte.

    By default, replies to Ponte's posts are, too, and all messages of a thread with Ponte in which
    only one person writes. A message without its text, or one that got a mention by a late edit,
    is not.
    """
    if facts.is_direct:
        return True
    # Late: the message may have been answered, and the record of that deleted.
    if facts.is_late_edit or facts.is_withheld:
        return False
    if facts.mentions_us:
        return True
    # What people write to each other: a mention of others, or a reply in a thread that began with
    # one.
    if settings.answer_everything:
        return not (facts.names_others or facts.is_thread_of_others)
    if settings.strict_mention:  # without a mention, no message is
        return False
    return facts.answers_us or (facts.is_our_thread and not facts.has_several_people)


class ConfiguredPlaces(Protocol):
    """The settings of single channels. They are read for each message, because the operator can
    reload the configuration while Ponte runs."""

    @property
    def channels(self) -> Mapping[str, AddressingSettings]:
        """The settings of single channels, by the channels' names in ponte.toml."""

    def channel(self, address: Address) -> AddressingSettings:
        """Return the settings that apply in the address's channel."""


def list_answer_all_places(places: ConfiguredPlaces, platform: str) -> Sequence[str]:
    """Return the platform's channels in which Ponte answers every message, as named in ponte.toml:
    worth a note to the operator."""
    return [
        place
        for place, channel in places.channels.items()
        if channel.answer_everything and place.partition(":")[0] == platform
    ]


@dataclass(slots=True)
class Participants:
    """The people who write in a thread with Ponte, by id: once there are several, Ponte answers
    only mentions. `is_announced`: Ponte has announced that."""

    people: list[str] = field(default_factory=list)
    is_announced: bool = False

    @property
    def several(self) -> bool:
        """More than one person writes in the thread."""
        return len(self.people) > 1

    def join(self, *people: str) -> bool:
        """Add people (ids), and return whether one of them is new."""
        new = [person for person in dict.fromkeys(people) if person not in self.people]
        self.people += new
        return bool(new)

    def note_notice_due(self) -> bool:
        """Return True once, as soon as several people write: Ponte must then announce that it
        answers only mentions."""
        due = self.several and not self.is_announced
        self.is_announced = self.is_announced or due
        return due


UNKNOWN_MARK_SECONDS = 1.0
"""How long a message's author may be unknown before it is marked as waiting."""
SIGN_AFTER_SECONDS = 1.2
"""The pause before a turn shows that it is under way. An answer that takes about a second needs no
sign: it would be another request beside each answer."""

Mark = Callable[[str], Coroutine[Any, Any, None]]
"""Sets or removes the mark of the message at a place. Raises nothing."""


@dataclass(slots=True)
class WaitingMarks:
    """Marks the messages that wait for their turn.

    `worn` maps each turn to its marked message. It is shared state, so that another process can
    remove the mark; `on_change` is called after each change. `patience`: seconds before a message
    is marked; most turns begin earlier.
    """

    tasks: BackgroundTasks
    put_on: Mark
    take_off: Mark
    worn: MutableMapping[str, str]
    on_change: Callable[[], None] = lambda: None
    patience: float = 0.0
    _due: dict[str, asyncio.Task[object]] = field(default_factory=dict, init=False)
    """The task that will mark a turn's message, by turn."""

    def put(self, turn: str, place: str) -> None:
        """Mark the message at `place` as waiting, after `patience` seconds."""
        if task := self.tasks.start(self._mark(turn, place)):
            self._due[turn] = task
            task.add_done_callback(lambda _: self._due.pop(turn, None))

    def mark_stored(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a stored message if it waits for other turns of its conversation, or as long as the
        platform has not told who its author is. Any other turn begins at once. `place` is where the
        platform has the message."""
        if receipt.turns_ahead:
            self.put(receipt.turn, place)
        elif not policy.is_prepared(message.author, message.address):
            self.tasks.start(self._mark_while_unknown(policy, inbox, message, receipt, place))

    def clear(self, turn: str) -> None:
        """The turn begins: remove its message's mark, or do not set it."""
        if waiting := self._due.pop(turn, None):
            waiting.cancel()
        if place := self.worn.pop(turn, ""):
            self.on_change()
            self.tasks.start(self.take_off(place))

    def close(self) -> None:
        """This process stops, so it sets no further marks."""
        for waiting in self._due.values():
            waiting.cancel()

    async def _mark(self, turn: str, place: str) -> None:
        """The mark is noted before it is set, so that it is removed even if this process dies."""
        await asyncio.sleep(self.patience)
        self.worn[turn] = place
        self.on_change()
        await self.put_on(place)

    async def _mark_while_unknown(
        self, policy: Policy, inbox: Inbox, message: Message, receipt: Receipt, place: str
    ) -> None:
        """Mark a message if the platform has not told within UNKNOWN_MARK_SECONDS who its author
        is, because its turn must wait for that. Remove the mark once the message is answered or
        withdrawn (Forgotten), or the database fails. `confirmed=False`: the platform's data of the
        last day is enough to chat."""
        is_known = await policy.prepare(
            message.author, message.address, confirmed=False, seconds=UNKNOWN_MARK_SECONDS
        )
        if not is_known:
            self.put(receipt.turn, place)
            with suppress(Forgotten, NotStored):
                await inbox.wait_for_answer(receipt.seq)
            self.clear(receipt.turn)


EVENT_FAILED = (
    "Something went wrong, and I couldn't handle this message. Try again, or send it as plain text."
)
_COUNT = (
    "{count} event failed (last: {error}). See the log.",
    "{count} events failed (last: {error}). See the log.",
)


class FailedEvents:
    """Counts the events of one platform (messages, clicks) that raised an exception since the
    process started. The platform's status shows the number."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._log = structlog.get_logger(platform)
        self._count = 0
        self._last = ""
        """The type of the last error."""

    def note(self, error: BaseException, event: object) -> None:
        """Log and count an event that raised `error`. `event` is its type."""
        self._count, self._last = self._count + 1, type(error).__name__
        metrics.failed_events.labels(self._platform).inc()
        self._log.error(
            "event failed", event_type=str(event)[:100], error=self._last, exc_info=error
        )

    def describe(self, health: Health) -> Health:
        """Add the number of failed events to the platform's words."""
        if not self._count:
            return health
        words = plural(*_COUNT, self._count, error=self._last)
        return replace(health, words=f"{health.words}; {words}")
