"""The journal's record of one turn's posts, for the reply that sends them."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.messages import Post
from core.domain.records import Turn
from core.ports.conversations import Journal


class TurnPosts:
    """The `Posts` port of one turn.

    `key`: the key of the post that the journal saved together with the answer. `held`: the last
    post, which the journal saves in the transaction that ends the turn.
    """

    def __init__(self, journal: Journal, turn: Turn) -> None:
        self._journal = journal
        self._turn = turn
        self.key = ""
        self.held: Post | None = None

    @property
    def resumed(self) -> bool:
        return self._turn.attempt > 1

    def check(self) -> None:
        self._journal.check()

    async def known(self) -> Sequence[Post]:
        return self._turn.posts

    async def posting(self, number: int, key: str) -> None:
        if key != self.key:
            await self._journal.posting(self._turn, number, key)

    async def posted(self, number: int, post: str, last: bool = False) -> None:
        if last:
            self.held = Post(number, "", post, "posted")
        else:
            await self._journal.posted(self._turn, number, post)

    async def keep(self) -> None:
        """Keep what is held now: the turn does not end."""
        if self.held:
            await self._journal.posted(self._turn, self.held.number, self.held.id)
            self.held = None

    async def removed(self, number: int) -> None:
        await self._journal.removed(self._turn, number)
