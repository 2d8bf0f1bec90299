"""The columns of a change and of its steps, from the objects and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from core.domain.changes import Change, ChangeStep, Consent, Draft, Proposal, RowWrite
from core.domain.messages import Address, MessageOrigin, Person, decode_json, encode_json
from core.people import notices as outbox
from core.store.database import SqlConnection, select_value

FORGOTTEN, LAPSED = 1, 2
"""A person forgot the conversation, or the contents became too old."""
_PROPOSAL_COLUMNS = (
    *("seq", "call_id", "thread", "generation", "locale", "created_at", "expires_at"),
    *("undone_change", "tool", "revision", "revision_seqs", "part_of"),
)
_DRAFT_COLUMNS = ("applier", "kind", "title", "note")
_CHANGE_COLUMNS = (
    *("state", "decided_at", "decision_seq", "undone_by", "version", "denial_reason"),
    "repeated_by",
)


def to_columns(change: Change, last_notice: str) -> dict[str, Any]:
    """`last_notice` is the last one that counts as sent."""
    proposal, draft = change.proposal, change.draft
    return {
        **{name: getattr(proposal, name) for name in _PROPOSAL_COLUMNS},
        **{name: getattr(draft, name) for name in _DRAFT_COLUMNS},
        "id": proposal.id,
        "person": proposal.asker.key,
        "asker": encode_json(proposal.asker),
        "conversation": proposal.address.conversation,
        "address": encode_json(proposal.address),
        "target": json.dumps(dict(draft.target)),
        "state": change.state,
        "decision_seq": change.decision_seq,
        "has_named_approvers": proposal.has_named_approvers,
        "last_notice": last_notice,
        # Only the turn needs `data`, as a schedule's or webhook's own notes about its run.
        "origin": encode_json(replace(proposal.origin, data={})),
        **decision_columns(change.decider, change.decided_at),
    }


def decision_columns(decider: Person | None, at: float) -> dict[str, str | int | float]:
    return {
        "decider": decider.key if decider else "",
        "decided_by": encode_json(decider) if decider else "",
        "decided_at": at,
    }


def select_changes(connection: SqlConnection, statement: str, values: object) -> list[Change]:
    """`statement` selects whole rows of `changes`. Each change has its steps and consents."""
    changes = []
    for row in connection.execute(statement, values).fetchall():
        id, steps = row["id"], list[ChangeStep]()
        for step_row in connection.execute(
            "SELECT * FROM steps WHERE change = ? ORDER BY number", (id,)
        ):
            before, after, current = (
                None if step_row[name] is None else json.loads(step_row[name])
                for name in ("before", "after", "current")
            )
            write = RowWrite(step_row["row"], before, after, step_row["applier_data"])
            steps.append(
                ChangeStep(
                    step_row["number"], write, step_row["state"], current, step_row["explanation"]
                )
            )
        consents = tuple(
            Consent(
                decode_json(Person, consent_row["approver"]),
                decode_json(Address, consent_row["address"]),
                consent_row["approved_at"],
            )
            for consent_row in connection.execute(
                "SELECT * FROM consents WHERE change = ? ORDER BY approved_at, person", (id,)
            )
        )
        first_asker = ""
        # The asker of a revision is whoever changed the values. Who asked first is the author of
        # the message whose turn proposed the change.
        if row["revision"] > 1:
            first_asker = (
                select_value(connection, "SELECT person FROM inbox WHERE seq = ?", row["seq"]) or ""
            )
        proposal = Proposal(
            id=id,
            draft=Draft(
                target=json.loads(row["target"]),
                rows=tuple(step.write for step in steps),
                **{name: row[name] for name in _DRAFT_COLUMNS},
            ),
            asker=decode_json(Person, row["asker"]),
            address=decode_json(Address, row["address"]),
            has_named_approvers=bool(row["has_named_approvers"]),
            is_decided_by_policy=row["last_notice"] == "never",  # nobody gets a notice of it
            origin=decode_json(MessageOrigin, row["origin"]),
            first_asker=first_asker,
            **{name: row[name] for name in _PROPOSAL_COLUMNS},
        )
        changes.append(
            Change(
                proposal=proposal,
                steps=tuple(steps),
                decider=decode_json(Person, row["decided_by"]) if row["decided_by"] else None,
                is_forgotten=row["erasure_reason"] == FORGOTTEN,
                has_lapsed=row["erasure_reason"] == LAPSED,
                consents=consents,
                copy_recipients=outbox.find_copy_recipients(connection, id),
                **{name: row[name] for name in _CHANGE_COLUMNS},
            )
        )
    return changes
