"""Posts in another channel, or to another person, after a person has approved the text.

The tool writes the whole text into its draft, and the card shows it. The applier chooses the key of
the post and the start of the search when it begins, and the ledger stores both before the post is
made. After a crash the platform is asked for that post, twice, because the dead process's request
may still take effect. Only a post that is not there then is made again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from core.base.errors import (
    NotAllowed,
    PlatformBusy,
    PonteError,
    ToolError,
    Undeliverable,
    WriteUnsure,
)
from core.base.retry import retry
from core.changes.ports import Batch
from core.domain.changes import Change, Draft, RowCheck, RowWrite
from core.domain.messages import Address, Answer, Person, ReplyTo, decode_json, encode_json, turn_id
from core.domain.platform import ARRIVAL_SECONDS, AnswerPart, Messenger

log = structlog.get_logger("posting")
POST_APPLIER = "post"
"""The name of the applier in the ledger."""
PLACE_CHECK_SECONDS = 10.0
"""Seconds that the platform may take to report who can write in a place."""
BUSY_POST_SECONDS = 30.0
"""Seconds for which a post is tried again while the platform's rate limit delays it."""
POST_TIMEOUT_SECONDS = 60.0
"""Seconds that a check or a post may take."""
NO_UNDO = "Posts can't be undone."
NO_MEMBER = "You can only post where you can write yourself, and I must be there too."
NOT_KNOWN = "I couldn't check whether you can write there. Try again later."
_BUSY = "The platform takes no posts at the moment. Ask again later."
_UNREAD = "I couldn't read the messages there."
_UNFINISHED = "The platform did not answer."
TELL_HINT = "tell the person; do not look for another way"

Messengers = Mapping[str, Messenger]
"""The messengers by platform."""


class PlacePosts:
    """The `Applier` of posts (the port `CheckedApplier`)."""

    name = POST_APPLIER
    patience = POST_TIMEOUT_SECONDS

    def __init__(self, messengers: Messengers) -> None:
        self._messengers = messengers

    def batch(self, draft: Draft) -> int:
        """Return 1: each post is a batch."""
        return 1

    def open(self, draft: Draft) -> Batch:
        """Return the batch that posts the draft's text."""
        return _PostBatch(draft, self._messengers)

    async def check_asker(self, draft: Draft) -> None:
        """Check that the asker can write in the place now. Raise NotAllowed, also if that is not
        known."""
        try:
            await _PostBatch(draft, self._messengers).check_asker()
        except ToolError as error:
            raise NotAllowed(error.sentence) from error

    def revert(self, change: Change) -> Draft:
        """Raise ToolError: a post cannot be undone."""
        raise ToolError(NO_UNDO)


class _PostBatch:
    """The `Batch` of one post."""

    def __init__(self, draft: Draft, messengers: Mapping[str, Messenger]) -> None:
        target = draft.target
        self._asker = decode_json(Person, str(target["asker"]))
        self._address = decode_json(Address, str(target["address"]))
        self._person = decode_json(Person, str(target["person"])) if target["person"] else None
        self._platform = messengers.get(self._address.platform)
        self._may_arrive = False
        """True if this process began the post and got no answer, so it may be made later."""

    @property
    def _messenger(self) -> Messenger:
        if self._platform is None:
            raise ToolError(NOT_KNOWN, code="drift")
        return self._platform

    async def check_asker(self) -> None:
        """Check that the asker can write in the place. Raise ToolError, also if that is not
        known."""
        may = await may_write(self._messenger, self._asker, self._address, self._person)
        if not may:
            raise ToolError(NOT_KNOWN if may is None else NO_MEMBER)

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return "after" for a row whose post was made, else "before", with the key of the post.
        Raise ToolError if that is not known."""
        (row,) = rows
        if not row.applier_data:
            return [
                RowCheck(
                    "before", replace(row, applier_data=encode_json(await self._choose_place()))
                )
            ]
        id = row.id or await self._find(row)
        if not id and self._may_arrive:
            raise ToolError(_UNFINISHED)
        if not id:
            await asyncio.sleep(ARRIVAL_SECONDS)
            id = await self._find(row)
        if not id:
            return [RowCheck("before", row)]
        return [RowCheck("after", replace(row, id=id), dict(row.after or {}))]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Make the post. Return its row with the id of the post. Raise ToolError if nothing was
        posted, WriteUnsure if that is not known."""
        (row,) = rows
        await self.check_asker()
        to, text = self._read(row)
        part = AnswerPart(1, text, Answer(text, parts=(text,)), is_final=True)
        surface = self._messenger.surface(to)
        self._may_arrive = True
        try:
            post = await retry(
                lambda: surface.post(_key(to), part), PlatformBusy,
                lambda busy, failed: busy.seconds, max_wait_seconds=BUSY_POST_SECONDS,
            )  # fmt: skip
        except (PlatformBusy, Undeliverable) as refused:
            self._may_arrive = False
            log.info("platform refused a post", error=str(refused))
            raise ToolError(_BUSY if isinstance(refused, PlatformBusy) else NO_MEMBER) from refused
        except Exception as error:
            raise WriteUnsure(_UNFINISHED) from error
        return [replace(row, id=post)]

    async def _find(self, row: RowWrite) -> str:
        """Return the id of the row's post; "" if there is certainly none. Raise ToolError if that
        is not known."""
        to, text = self._read(row)
        try:
            return await self._messenger.find_post(to, _key(to), text) or ""
        except Exception as error:
            log.info("could not search for an earlier post", error=repr(error))
            raise ToolError(_UNREAD) from error

    def _read(self, row: RowWrite) -> tuple[ReplyTo, str]:
        """Return the destination of the row's post, and its text as the platform posts it."""
        to = decode_json(ReplyTo, row.applier_data)
        return to, self._messenger.surface(to).split(str((row.after or {})["text"]))[0]

    async def _choose_place(self) -> ReplyTo:
        """Return the destination of the post with a key of its own. Raise ToolError."""
        turn = turn_id(f"post:{secrets.token_hex(16)}")
        if self._person is None:
            return replace(self._messenger.into(self._address, self._asker), turn=turn)
        try:
            to, _ = await self._messenger.direct(self._person)
        except PonteError as error:
            is_refused = isinstance(error, Undeliverable)
            raise ToolError(NO_MEMBER if is_refused else NOT_KNOWN, code="drift") from error
        return replace(to, turn=turn)


def _key(to: ReplyTo) -> str:
    """Return the key of the post."""
    return f"{to.turn}:1"


async def may_write(
    messenger: Messenger, person: Person, address: Address, other: Person | None
) -> bool | None:
    """Return whether the person can write at the address, or to the `other` person if there is one;
    None if that is not known soon."""
    try:
        async with asyncio.timeout(PLACE_CHECK_SECONDS):
            if other is not None:
                return await messenger.writes_to(person, other, address)
            return await messenger.writes(person, address)
    except (PlatformBusy, TimeoutError):
        return None
