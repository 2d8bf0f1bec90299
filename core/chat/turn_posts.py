"""The journal of one turn's posts, for the reply that sends them."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.messages import Post
from core.domain.records import Turn
from core.journal.journal import Journal


class TurnPosts:
    """The post journal of one turn (the port `PostJournal`).

    `key`: the key of the post that the journal saved together with the answer. `held`: the last
    post, which the journal saves in the transaction that ends the turn.
    """

    def __init__(self, journal: Journal, turn: Turn) -> None:
        self._journal = journal
        self._turn = turn
        self.key = ""
        self.held: Post | None = None
        self.check_ownership = journal.check_ownership

    @property
    def is_resumed(self) -> bool:
        """True if an earlier attempt may have posted something."""
        return self._turn.attempt > 1

    async def list_posts(self) -> Sequence[Post]:
        """Return the posts that were journalled before this attempt."""
        return self._turn.posts

    async def record_posting(self, number: int, key: str) -> None:
        """Journal the key of a post before it is made, unless it was saved with the answer."""
        if key != self.key:
            await self._journal.record_posting(self._turn, number, key)

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Journal the id of a post. The last one is held back, to save it when the turn ends."""
        if last:
            self.held = Post(number, "", post, "posted")
        else:
            await self._journal.record_posted(self._turn, number, post)

    async def keep(self) -> None:
        """Journal the held post now, because the turn does not end."""
        if self.held:
            await self._journal.record_posted(self._turn, self.held.number, self.held.id)
            self.held = None

    async def record_removed(self, number: int) -> None:
        """Journal that a person removed the post."""
        await self._journal.record_removed(self._turn, number)
