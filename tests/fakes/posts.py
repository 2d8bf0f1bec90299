"""The journal's record of one turn's posts, in memory: it outlives the Reply that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.base.errors import NotStored
from core.domain.messages import Post


class KeptPosts:
    """`refusing`: how many of the next records the disk refuses."""

    is_resumed = False

    def __init__(self) -> None:
        self.posts: dict[int, Post] = {}
        self.refusing = 0

    def check_ownership(self) -> None:
        return None

    async def list_posts(self) -> Sequence[Post]:
        return list(self.posts.values())

    async def record_posting(self, number: int, key: str) -> None:
        self._refuse()
        self.posts.setdefault(number, Post(number, key))

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        self._refuse()
        if self.posts[number].state != "removed":
            self.posts[number] = replace(self.posts[number], id=post, state="posted")

    async def record_removed(self, number: int) -> None:
        self._refuse()
        self.posts[number] = replace(self.posts[number], state="removed")

    def _refuse(self) -> None:
        if self.refusing:
            self.refusing -= 1
            raise NotStored
