"""The journal's record of one turn's posts, as its Reply sees it."""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Post
from core.ports import Journal
from core.records import Turn


class TurnPosts:
    def __init__(self, journal: Journal, turn: Turn) -> None:
        self._journal = journal
        self._turn = turn

    async def known(self) -> Sequence[Post]:
        return self._turn.posts

    async def posting(self, number: int, key: str) -> None:
        await self._journal.posting(self._turn, number, key)

    async def posted(self, number: int, post: str) -> None:
        await self._journal.posted(self._turn, number, post)

    async def removed(self, number: int) -> None:
        await self._journal.removed(self._turn, number)
