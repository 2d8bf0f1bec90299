"""The stored conversations: their messages, turns, threads and files."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.ports import Files, Inbox, ThreadMap
from core.journal.journal import Journal
from core.people.notices import Outbox


@dataclass(frozen=True, slots=True)
class Conversations:
    """The stores of conversations over one database. `outbox` stores notices to people."""

    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    outbox: Outbox

    async def withdraw_post(self, post: str) -> None:
        """Record that a person deleted a post of Ponte (an id), so that it is not posted again.
        Cancel the turn that made the post."""
        if (seq := await self.journal.seq_of_post(post)) is not None:
            await self.journal.record_post_removal(post)
            await self.inbox.cancel(seq)
