"""All writes to other systems: proposed by tools, decided by people, applied, undone and shown.

A write tool only stores a proposal, and its turn ends with a card. A person's decision is an event
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.changes.approval import Approval
from core.changes.decide import Decisions
from core.changes.ledger import SqlLedger
from core.changes.lifecycle import ChangeLifecycle
from core.changes.propose import Proposals
from core.changes.views import ChangeViews


@dataclass(frozen=True, slots=True)
class ChangeService:
    """The parts that deal with changes, by subject."""

    ledger: SqlLedger
    approval: Approval
    views: ChangeViews
    lifecycle: ChangeLifecycle
    proposals: Proposals
    decisions: Decisions
