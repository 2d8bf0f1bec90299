"""The port that a platform with posts offers: what `core.posting` makes a Reply on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.messages import Answer, File


class Surface(Protocol):
    """What a platform that keeps posts can do; `core.posting.PostedReply` makes a Reply of it.

    Each call raises PostRemoved when the post was deleted by a person, Undeliverable when the
    place refuses for good, and any other exception when its outcome is in doubt.
    """

    limit: int
    """Characters in one post."""
    interval: float
    """Seconds between two edits of one post."""

    def split(self, text: str) -> tuple[str, ...]: ...

    async def busy(self, doing: str) -> None:
        """A native sign that work goes on (status, typing); best effort."""

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        """Post part `number`; `answer` is set on the final one of a finished answer."""

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        """As `post`; also when cards of an answer that stands have changed: its files stay."""

    async def delete(self, post: str) -> None: ...

    async def find(self, number: int, key: str) -> str | None:
        """Our post with that key, or the one of ours since the source message that must be it."""

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Post an answer's files; the id that `find(0, key)` gives for it."""
