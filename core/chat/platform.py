"""The adapters, as the composition root sees them, and what a platform with posts can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.messages import Address, Answer, Attachment, File, Message, Person, ReplyTo
from core.domain.records import Health
from core.ports.conversations import PostJournal, Reply


class Platform(Protocol):
    """An adapter: connects, turns events into messages, and builds replies."""

    @property
    def name(self) -> str: ...

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply: ...

    async def start(self) -> None:
        """Connect; returns when events may come in. Raises SettingsError for a refused token."""

    async def health(self) -> Health: ...

    async def stop_intake(self) -> None: ...

    async def close(self) -> None: ...


class Messenger(Protocol):
    """A platform that can write to people who did not ask just now. What is posted goes through
    its `Reply`, so that it is looked up where it is not known whether it was made."""

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        """The people of these names (`platform:ID`): who is named, and who is in a group, as far
        as the platform tells. None of them is a program. Raises PlatformBusy where it cannot be
        told now."""

    async def reads(self, person: Person, address: Address) -> bool:
        """Whether they read along there; False where that is not told."""

    async def labels(self, names: Collection[str]) -> Mapping[str, str]:
        """What people call these people, groups and roles (`platform:ID`); those that are not known
        soon are left out. Raises nothing."""

    async def title(self, address: Address) -> str:
        """A shared place as people know it, in their words; "" where that is not told."""

    async def direct(self, person: Person) -> tuple[ReplyTo, str]:
        """Where something is posted into a direct message with them, and their locale ("" where
        that is not known). Raises Undeliverable, PlatformBusy, and others where in doubt."""

    def after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        """Where something is posted that answers nothing: where `to` is answered, or under `post`
        there, which is ours."""


class ChatPlatform(Platform, Messenger, Protocol):
    """One of a company's: its files come as references, and it knows groups of people."""

    async def start(self, *, listens: bool = True) -> None:
        """As a Platform; where it does not listen, it can post and ask, and no event comes in."""

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` of this platform."""

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` of this platform."""

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """The `Membership` of this platform."""

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """The `Guests` of this platform."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """The `HasLeft` of this platform."""

    async def forget(self, ids: frozenset[str]) -> None:
        """Remember nothing more of who goes by these ids, or of these places."""

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request to this platform's route on our server, which it verifies itself."""


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """The text of one post of an answer; parts count from 1.

    `answer`: the finished answer, on its last part only. `is_growing`: more text may follow in this
    part. `is_final`: the whole answer is known.
    """

    number: int
    text: str
    answer: Answer | None = None
    is_growing: bool = False
    is_final: bool = False


class Surface(Protocol):
    """The calls of a platform that keeps posts; `core.chat.reply.GrowingReply` makes a Reply of
    them.

    Each call raises PostRemoved if a person deleted the post, Undeliverable if the platform refuses
    for good, PlatformBusy to be called again later, and any other exception if its outcome is
    unknown.
    """

    limit: int
    """Characters in one post."""
    interval: float
    """Seconds between two edits of one post."""

    def split(self, text: str) -> tuple[str, ...]:
        """Return the text in parts that each fit into one post."""

    async def seconds_until_growth(self) -> float:
        """Return how long to wait before text is shown while it grows; 0.0 for now. A platform that
        has few edits left reserves those that the whole answer needs."""

    async def show_activity(self, doing: str) -> None:
        """Show that the turn is under way (status, typing) until `end_activity`; best effort.

        Called when a turn begins, and with each thing that it is `doing`.
        """

    async def end_activity(self) -> None:
        """Take these signs away: this process does nothing more for the turn."""

    async def post(self, key: str, part: AnswerPart) -> str:
        """Make a post and return its id."""

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change a post; its files stay. Also called when only the cards have changed."""

    async def delete(self, post: str) -> None:
        """Delete a post of ours."""

    async def find(self, number: int, key: str) -> str | None:
        """Return the id of our post with that key, or of the only post of ours since the message
        that can be it; None if there is none."""

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Post an answer's files and return the id that `find(0, key)` gives for them."""
