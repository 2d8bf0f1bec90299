"""Redraws cards in their posts whenever the state of their change differs, also after a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from core.base.errors import PlatformBusy, PonteError, Undeliverable
from core.base.i18n import say, use_locale
from core.base.retry import retry
from core.changes.service import ChangeService
from core.chat.approval_notices import ApprovalNotices
from core.chat.turn_posts import TurnPosts
from core.domain.changes import ApprovalNotice, Change
from core.domain.conversation_ports import ReplyFactory
from core.domain.messages import Answer, Card, ChangeAction
from core.domain.records import FINAL_STATES, Turn
from core.journal.journal import Journal
from core.people.outbox import Outbox

log = structlog.get_logger("cards")
CARD_STATES = ("open", "approved", "applying", "done", "partial", "failed", "denied", "expired",
          "withdrawn", "undone")  # fmt: skip
"""The states that a card can show. `done` and `failed` can also be states of a post."""
LABELS: Mapping[ChangeAction, str] = {
    "approve": "Approve", "deny": "Deny", "undo": "Undo",
}  # fmt: skip
"""The English labels of the buttons under a card; `say` translates them."""
_NOT_WHOLE = "There is no room here for all of it. To read it and to confirm it, type `{hint}`."
REDRAW_RETRY_SECONDS = 20.0
"""Seconds before a failed redraw is retried."""
REDRAW_PERIOD_SECONDS = 60.0
"""Seconds between two checks for expired proposals."""
MAX_REDRAW_TRIES = 20
"""The number of failed redraws of a card after which Ponte gives up."""
_POSTED_STATES = ("done", "stopped", "failed")
"""States of a turn that has ended with a posted answer. Only then can its cards be edited."""


def must_fit(card: Card) -> bool:
    """Return whether the card has a button that may only be shown beside all of its text."""
    return card.is_whole and "approve" in card.actions


def without_approval(card: Card) -> Card:
    """Return a card of which not everything fits: it says so and has no button to approve."""
    actions = tuple(action for action in card.actions if action != "approve")
    words = say(_NOT_WHOLE, hint=f"approve {card.id}")
    return replace(card, text=f"{words}\n\n{card.text}", actions=actions)


@dataclass(slots=True)
class CardRedraw:
    """Redraws outdated cards. `due` is set when a change has a new state. `replies` are by
    platform. `requests` sends the notices about proposals; `outbox` knows the lists of requests."""

    due: asyncio.Event
    changes: ChangeService
    journal: Journal
    replies: Mapping[str, ReplyFactory]
    requests: ApprovalNotices | None = None
    outbox: Outbox | None = None
    _tries: Counter[str] = field(default_factory=Counter, init=False)

    async def run(self) -> None:
        """Redraw cards until cancelled: when `due` is set, and periodically."""
        while True:
            self.due.clear()
            wait = REDRAW_RETRY_SECONDS
            try:
                wait = REDRAW_RETRY_SECONDS if await self.once() else REDRAW_PERIOD_SECONDS
            except PonteError as error:
                log.warning("could not load cards; retrying", error=str(error))
            except Exception:
                log.exception("updating cards failed unexpectedly")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.due.wait()

    async def once(self) -> int:
        """Redraw all outdated cards and send due notices. Return how many failed for now. Raise
        NotStored."""
        await self.changes.lifecycle.end_overdue()
        left = 0
        for change in await self.changes.ledger.list_undrawn():
            left += not await self._draw(change)
        if self.outbox:
            for listed in await self.outbox.list_outdated("list"):
                left += not await self._draw_listed(self.outbox, listed)
        return left + (await self.requests.once() if self.requests else 0)

    async def _draw(self, change: Change) -> bool:
        """Redraw the card of one change. Return False if it must be retried."""
        if change.proposal.address.platform not in self.replies:
            return True  # only a process with this platform can post there
        with use_locale(change.proposal.locale):
            card = await self.changes.views.card(change)
        turn = await self.journal.replace_cards(change.proposal.seq, [card])
        if turn is not None and turn.state not in FINAL_STATES:
            return True  # the end of the turn posts the card
        if turn is None or turn.answer is None or turn.state not in _POSTED_STATES:
            await self.changes.ledger.record_drawn(change)
            return True
        if any(shown.id == change.id for shown in turn.answer.cards):
            try:
                await self._refresh(turn, turn.answer)
            except Exception as error:
                return await self._note_failure(change, error)
        await self.changes.ledger.record_drawn(change)
        return True

    async def _draw_listed(self, outbox: Outbox, listed: ApprovalNotice) -> bool:
        """Redraw a card in an answer to the command `approvals`. Return False if it must be
        retried."""
        if listed.person.platform not in self.replies:
            return True
        turn = None
        change = await self.changes.ledger.get(listed.change)
        if listed.text and listed.reply_to is not None:  # not forgotten
            with use_locale(listed.locale):
                card = await self.changes.views.card(change, listed.person, listed.reply_to.address)
            turn = await self.journal.replace_cards(int(listed.text), [card])
        if turn is not None and turn.state not in FINAL_STATES:
            return True
        if turn is not None and turn.answer is not None and turn.state in _POSTED_STATES:
            try:
                await self._refresh(turn, turn.answer)
            except Exception as error:
                if not self._give_up(f"{listed.text} {change.id}", error):
                    return False
        await outbox.put(replace(listed, drawn_version=change.version))
        return True

    async def _refresh(self, turn: Turn, answer: Answer) -> None:
        """Edit the post with the cards. If the platform is busy, wait once and retry."""
        build = self.replies.get(turn.message.address.platform)
        if build is None:
            return
        reply = build(turn.message.reply_to, TurnPosts(self.journal, turn))

        def wait(busy: PlatformBusy, failed: int) -> float | None:
            return busy.seconds if failed == 1 else None

        try:
            with use_locale(turn.message.locale):
                await retry(lambda: reply.refresh(answer), PlatformBusy, wait)
        except Undeliverable as gone:
            log.info("card cannot be updated any more", turn=turn.id, error=str(gone))

    async def _note_failure(self, change: Change, error: Exception) -> bool:
        """Count a failed redraw. Return True if the card is given up."""
        if not self._give_up(change.id, error):
            return False
        await self.changes.ledger.record_drawn(change)
        return True

    def _give_up(self, key: str, error: Exception) -> bool:
        """Count a failed redraw of a card. Return True after too many."""
        self._tries[key] += 1
        log.warning("could not update a card", change=key.rpartition(" ")[2], error=repr(error))
        return self._tries[key] >= MAX_REDRAW_TRIES
