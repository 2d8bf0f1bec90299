"""The adapters, as the composition root sees them, and what a platform with posts can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from core.messages import Answer, Attachment, File, Message, Person, ReplyTo
from core.ports import Posts, Reply
from core.records import Health


class Platform(Protocol):
    """An adapter: connects, turns events into messages, and builds replies."""

    @property
    def name(self) -> str: ...

    def reply(self, to: ReplyTo, posts: Posts) -> Reply: ...

    async def start(self) -> None:
        """Connect; returns when events may come in. Raises SettingsError for a refused token."""

    async def health(self) -> Health: ...

    async def stop_intake(self) -> None: ...

    async def close(self) -> None: ...


class ChatPlatform(Platform, Protocol):
    """One of a company's: its files come as references, and it knows groups of people."""

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` of this platform."""

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` of this platform."""

    async def membership(self, person: Person) -> frozenset[str]:
        """The `Membership` of this platform."""

    async def guest(self, person: Person) -> bool | None:
        """The `Guests` of this platform."""

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request to this platform's route on our server, which it verifies itself."""


class Surface(Protocol):
    """What a platform that keeps posts can do; `core.chat.posting.PostedReply` makes a Reply of it.

    Each call raises PostRemoved when the post was deleted by a person, Undeliverable when the
    place refuses for good, and any other exception when its outcome is in doubt.
    """

    limit: int
    """Characters in one post."""
    interval: float
    """Seconds between two edits of one post."""

    def split(self, text: str) -> tuple[str, ...]: ...

    async def busy(self, doing: str) -> None:
        """A native sign that work goes on (status, typing) until `rest`; best effort. Comes as
        soon as a turn begins, and with each thing that it is `doing`."""

    async def rest(self) -> None:
        """Nothing of the turn goes on in this process: take the signs away."""

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        """Post part `number`; `answer` is set on the final one of a finished answer."""

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        """As `post`; also when cards of an answer that stands have changed: its files stay."""

    async def delete(self, post: str) -> None: ...

    async def find(self, number: int, key: str) -> str | None:
        """Our post with that key, or the one of ours since the source message that must be it."""

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Post an answer's files; the id that `find(0, key)` gives for it."""
