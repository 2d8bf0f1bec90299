"""Posts in another channel, or to another person, after a person has approved the text.

The tool writes the whole text into its draft, and the card shows it. The applier chooses the key
and the start of the search when it begins, and the ledger stores both before the post is made.
After a crash the platform is asked for that post, so it is made once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from core.changes.ports import Batch
from core.chat.platform import Messenger
from core.domain.changes import Change, Draft, RowCheck, RowWrite
from core.domain.errors import PlatformBusy, ToolError, Undeliverable
from core.domain.messages import (
    Address,
    Answer,
    Person,
    Post,
    ReplyTo,
    decode_json,
    encode_json,
    turn_id,
)
from core.ports.conversations import ReplyFactory

POST_APPLIER = "post"
"""The name of the applier in the ledger."""
POST_TIMEOUT_SECONDS = 60.0
"""Seconds that a check or a post may take."""
NO_UNDO = "Posts can't be undone."
NO_MEMBER = "You can only post where you can write yourself, and I must be there too."
NOT_KNOWN = "I couldn't check whether you can write there. Try again later."
TELL_HINT = "tell the person; do not look for another way"

Messengers = Callable[[], Mapping[str, Messenger]]
"""Returns the messengers by platform."""


class _FoundPosts:
    """The post journal of one post (the port `PostJournal`). A post without a known id may exist,
    so the reply looks for it first."""

    is_resumed = True

    def __init__(self, key: str) -> None:
        self.post = Post(1, key)

    def check_ownership(self) -> None:
        """Do nothing: the ledger's claim protects the change."""

    async def list_posts(self) -> Sequence[Post]:
        """Return the post, which may have been made already."""
        return [self.post]

    async def record_posting(self, number: int, key: str) -> None:
        """Do nothing: the ledger has stored the key."""

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Remember the id of the post."""
        self.post = replace(self.post, id=post, state="posted")

    async def record_removed(self, number: int) -> None:
        """Do nothing: a post that was removed is not made again."""


class PlacePosts:
    """The `Applier` of posts. `replies` returns the reply factories by platform."""

    name = POST_APPLIER
    patience = POST_TIMEOUT_SECONDS

    def __init__(
        self, messengers: Messengers, replies: Callable[[], Mapping[str, ReplyFactory]]
    ) -> None:
        self._messengers = messengers
        self._replies = replies

    def batch(self, draft: Draft) -> int:
        """Return 1: each post is a batch."""
        return 1

    def open(self, draft: Draft) -> Batch:
        """Return the batch that posts the draft's text."""
        return _PostBatch(draft, self._messengers(), self._replies())

    def revert(self, change: Change) -> Draft:
        """Raise ToolError: a post cannot be undone."""
        raise ToolError(NO_UNDO)


class _PostBatch:
    """The `Batch` of one post."""

    def __init__(
        self, draft: Draft, messengers: Mapping[str, Messenger], replies: Mapping[str, ReplyFactory]
    ) -> None:
        target = draft.target
        self._asker = decode_json(Person, str(target["asker"]))
        self._address = decode_json(Address, str(target["address"]))
        self._person = decode_json(Person, str(target["person"])) if target["person"] else None
        self._messenger = messengers.get(self._address.platform)
        self._reply = replies.get(self._address.platform)

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return "after" for a row with the id of its post. For a new row, check again that the
        asker may write there, and choose the key of the post. Raise ToolError."""
        (row,) = rows
        if row.id:
            return [RowCheck("after", row, dict(row.after or {}))]
        if not row.mark:
            row = replace(row, mark=encode_json(await self._open_place()))
        return [RowCheck("before", row)]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Make the post, unless it is found. Return its row with the id of the post. Raise
        ToolError if the platform refuses it."""
        (row,) = rows
        if self._reply is None:
            raise ToolError(NOT_KNOWN)
        to = decode_json(ReplyTo, row.mark)
        posts = _FoundPosts(f"{to.turn}:1")
        body = str((row.after or {})["text"])
        try:
            await self._reply(to, posts).finish(Answer(body, parts=(body,)))
        except Undeliverable as error:
            raise ToolError(NO_MEMBER) from error
        return [replace(row, id=posts.post.id)]

    async def _open_place(self) -> ReplyTo:
        """Return the destination of the post with a key of its own. Raise ToolError."""
        if self._messenger is None:
            raise ToolError(NOT_KNOWN, code="drift")
        turn = turn_id(f"post:{secrets.token_hex(16)}")
        try:
            if self._person is not None:
                to, _ = await self._messenger.direct(self._person)
                return replace(to, turn=turn)
            await check_writer(self._messenger, self._asker, self._address)
        except Undeliverable as error:
            raise ToolError(NO_MEMBER, code="drift") from error
        except PlatformBusy as error:
            raise ToolError(NOT_KNOWN, code="drift") from error
        return replace(self._messenger.into(self._address, self._asker), turn=turn)


async def check_writer(messenger: Messenger, person: Person, address: Address) -> None:
    """Check that the person may write at the address. Raise ToolError, with the code "drift", whose
    sentence the card shows as it is."""
    may = await messenger.writes(person, address)
    if may is None:
        raise ToolError(NOT_KNOWN, code="drift")
    if not may:
        raise ToolError(NO_MEMBER, code="drift", hint=TELL_HINT)
