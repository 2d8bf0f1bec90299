"""Chat platforms as the core calls them: the platform itself, its direct messages and its posts,
and the functions of each that turns use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from core.base.errors import PonteError
from core.domain.changes import DisplayName
from core.domain.messages import Address, Answer, Attachment, File, Message, Person, ReplyTo
from core.domain.ports import FetchAttachment, LoadContext, PostJournal, Reply, ReplyFactory
from core.domain.records import Health

ARRIVAL_SECONDS = 5.0
"""Seconds that a post may take to appear after the process that requested it has died."""


class Platform(Protocol):
    """A platform: it connects, turns events into messages, and builds replies."""

    @property
    def name(self) -> str:
        """Return the name of the platform, for example "slack"."""

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        """Build the reply of one turn from stored data. `posts` records its posts."""

    async def start(self) -> None:
        """Connect. Return when events can arrive. Raise SettingsError for a rejected token."""

    async def health(self) -> Health:
        """Return the present state of the platform."""

    async def stop_intake(self) -> None:
        """Stop accepting events. Running turns can still post."""

    async def close(self) -> None:
        """Disconnect and release all resources."""


class Messenger(Protocol):
    """A platform that can write to people who have not just asked something. Posts go through its
    `Reply`, which looks a post up if it is not known whether it was made."""

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        """Return the people behind these names (`platform:ID`): named people and the members of
        groups, as far as the platform reports them. Programs are left out. Raise PlatformBusy if
        they are not known now."""

    async def reads(self, person: Person, address: Address) -> bool | None:
        """Return whether the person can read the messages of that place; None if that is not
        known."""

    async def writes(self, person: Person, address: Address) -> bool | None:
        """Return whether the person can post in that shared place; None if that is not known."""

    async def writes_to(self, person: Person, other: Person, address: Address) -> bool | None:
        """Return whether the person can write to the other one, as a member of the workspace of
        `address`; None if that is not known."""

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return the display names of these people, groups and roles (`platform:ID`). Names that
        are not known soon are left out. Raise nothing."""

    async def title(self, address: Address) -> str:
        """Return the display name of a shared place; "" if the platform reports none."""

    async def direct(self, person: Person) -> tuple[ReplyTo, str]:
        """Return the destination of a direct message to the person, and their locale ("" if
        unknown). Raise Undeliverable, PlatformBusy, or another error if the outcome is unknown."""

    def into(self, address: Address, person: Person) -> ReplyTo:
        """Return the destination of a new post at `address` that answers no message. `person` is
        who asked for it."""

    def after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        """Return the destination of a post that does not answer a message: the place where `to` is
        answered, or below Ponte's own post `post` there."""

    def surface(self, to: ReplyTo) -> Surface:
        """Return the surface that posts to `to`."""

    async def find_post(self, to: ReplyTo, key: str, text: str) -> str | None:
        """Return the id of Ponte's post with this key, made for `to`. A platform that stores no
        keys looks for `text`. Return None if there is certainly none; raise an error if that is not
        known."""


class ChatPlatform(Platform, Messenger, Protocol):
    """A company's chat platform. Files come as references, and the platform knows groups of
    people."""

    async def start(self, *, listens: bool = True) -> None:
        """Connect as `Platform.start` does. With `listens` False, the platform can post and look
        things up, but no events arrive."""

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Download an attachment and return the stored file; None if it is too large, refused or
        deleted."""

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with facts about it, and sentences about facts that could not be
        loaded (`LoadContext`). The facts are its author's name, language and time zone. With
        `pointed`, they include the messages that it refers to and their files."""

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of the person's groups or roles, confirmed within `max_age` seconds. Wait
        for the platform, however long that takes; None if it does not reveal them."""

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """Return whether the person is a guest, confirmed within `max_age` seconds. Wait for the
        platform, however long that takes; None if it does not reveal that."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the person has been removed from this place since that time (seconds since
        the epoch); None if that is not known."""

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
    """

    number: int
    text: str
    answer: Answer | None = None
    is_growing: bool = False
    is_final: bool = False
    is_private: bool = False


class Surface(Protocol):
    """The calls of a platform with posts; `core.chat.reply.GrowingReply` makes a Reply of them.

    Each call raises one of these:

    - PostRemoved if a person deleted the post;
    - Undeliverable if the platform refuses for good;
    - PlatformBusy if the call must be repeated later;
    - any other exception if the outcome of the call is unknown.
    """

    limit: int
    """Characters in one post."""
    interval: float
    """Seconds between two edits of one post."""
    arrival_seconds: float
    """Seconds after which a request of a process that died has taken effect or never will; 0.0 if
    the platform makes one post of two with the same key."""

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
        """Remove these signs, because this process does nothing more for the turn."""

    async def post(self, key: str, part: AnswerPart) -> str:
        """Make a post and return its id."""

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change a post; its files stay. Also called when only the cards have changed."""

    async def delete(self, post: str) -> None:
        """Delete one of Ponte's posts."""

    async def find(self, number: int, key: str) -> str | None:
        """Return the id of Ponte's post with that key, or of its only post since the message that
        can be the one; None if there is none."""

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Post an answer's files. Return the id that `find(0, key)` would return for them."""


LABELS_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Platforms:
    """The functions of each platform, by its name. All are added before turns run."""

    replies: dict[str, ReplyFactory] = field(default_factory=dict)
    fetch: dict[str, FetchAttachment] = field(default_factory=dict)
    look_up: dict[str, LoadContext] = field(default_factory=dict)
    messengers: dict[str, Messenger] = field(default_factory=dict)

    def add(self, chat: ChatPlatform) -> None:
        """Fetch files, look up context and send cards through this platform."""
        self.fetch[chat.name] = chat.fetch
        self.look_up[chat.name] = chat.look_up
        self.messengers[chat.name] = chat

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return display names for cards. A platform that does not answer in time delays
        no card."""
        found: dict[str, DisplayName] = {}
        for platform, messenger in self.messengers.items():
            if own := [name for name in names if name.startswith(f"{platform}:")]:
                with suppress(TimeoutError, PonteError):
                    async with asyncio.timeout(LABELS_TIMEOUT_SECONDS):
                        found |= await messenger.labels(own)
        return found
