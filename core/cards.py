"""What a person sees of a proposal or a change, rendered from the ledger and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import card_rows, runs
from core.approval import needs_admin
from core.card_rows import ROWS, plain, rows_of
from core.markdown import markless
from core.messages import Card, CardAction
from core.proposal import POLICY, UNDO_LIFETIME, WRITTEN, Change, Step, WriteKind
from core.words import say

IDS = 20

_TITLES: dict[tuple[WriteKind, bool], str] = {
    ("create", False): "Create a row in {table}",
    ("create", True): "Create {count} rows in {table}",
    ("update", False): "Change a row in {table}",
    ("update", True): "Change {count} rows in {table}",
    ("delete", False): "Delete a row in {table}",
    ("delete", True): "Delete {count} rows in {table}",
    ("run", False): "Run {table}",
}
_UNDO = "Undo {id}: {what}"
_ERASED = "Its rows were erased by `forget`, so it can no longer be undone."
_LAPSED = "It was kept for {days} days to be undone; that time is over."
_CLOSED = {
    "open": "It waits for somebody to approve it.",
    "denied": "Denied by {name}.",
    "expired": "Expired: nobody approved it within 24 hours.",
    "withdrawn": "Withdrawn: its conversation was forgotten.",
}
_APPROVED = "Approved by {name}."
_ALLOWED = "Allowed by the operator's policy."
_UNDO_BY = "Asked for by {name}."
_DONE = {
    "applying": "It is being done now.",
    "done": "Done.",
    "partial": "Partly done: {done} of {count} rows.",
    "failed": "Nothing was written.",
    "undone": "Done, and taken back by {undo}.",
}
_FAULTS = {
    "done": "Written, but could not be read back: {rows}. Please look whether it stands there.",
    "changed": "Left alone, because they are no longer as they were proposed on: {rows}.",
    "failed": "Refused: {rows}. {words}",
    "differs": "Written, but what was written to {words} does not stand there: {rows}.",
    "unknown": "Not known whether it happened: {rows}. Please look before you ask again. {words}",
    "waiting": "Not begun: {rows}.",
}


def card_of(change: Change, locale: str) -> Card:
    return Card(
        id=change.id,
        kind=change.kind,
        title=title(change, locale),
        text=" ".join(_sentences(change, locale)),
        rows=() if change.forgotten or change.lapsed else card_rows.shown(change),
        actions=_actions(change),
        state=change.state,
        expires_at=change.proposal.expires if change.state == "open" else None,
    )


def title(change: Change, locale: str) -> str:
    draft = change.draft
    count = len(rows_of(change))
    what = say(_TITLES[draft.kind, count != 1], locale, count=count, table=plain(draft.title))
    undoes = change.proposal.undoes
    return say(_UNDO, locale, id=undoes, what=what) if undoes else what


def outcome(change: Change, locale: str) -> str:
    """What was decided and done, in sentences."""
    return " ".join(_outcome(change, locale))


def answer(cards: Sequence[Card], locale: str) -> str:
    """The text above cards that were just proposed; it stays true when they are decided."""
    lines = [f"- `{card.id}` {markless(card.title)}" for card in cards]
    head = say(
        "This waits for a person; nothing is changed before somebody approves it "
        "(`approve ID` or `deny ID`, within 24 hours):",
        locale,
    )
    return "\n".join([head, *lines])


def note(change: Change) -> str:
    """For the model's next turn: ids and counts, and of a run its result; nothing else out of
    the rows."""
    if change.draft.kind == "run":
        return runs.note(change, outcome(change, "en"))
    what = f"{change.draft.kind} {len(rows_of(change))} row(s) in {plain(change.draft.title)!r}"
    ids = _ids(change.written) if change.draft.kind == "create" else ""
    lines = [f"Proposal {change.id} ({what}): {outcome(change, 'en')}"]
    lines += [f"Row ids: {ids}."] if ids else []
    return f"[A note from Ponte itself, not from a person. {' '.join(lines)}]"


def _sentences(change: Change, locale: str) -> list[str]:
    if change.state != "open":
        return _outcome(change, locale)
    asker = change.proposal.asker
    said = [say("Asked by {name}.", locale, name=plain(asker.name or asker.id))]
    if ids := _ids(change.steps):
        said.append(say("Rows: {ids}.", locale, ids=ids))
    if len(rows_of(change)) > ROWS:
        said.append(say("The first {count} are shown.", locale, count=ROWS))
    said += _note(change, locale)
    if change.proposal.named:
        said.append(say("Somebody whom the operator named for this table must approve it.", locale))
    elif needs_admin(change):
        said.append(say("An admin of this bot must approve it.", locale))
    return said


def _outcome(change: Change, locale: str) -> list[str]:
    values: dict[str, Any] = {
        "name": _decider(change), "done": done(change), "count": len(rows_of(change)),
        "undo": change.undone_by,
    }  # fmt: skip
    if change.kind == "proposal":
        return [say(_CLOSED[change.state], locale, **values)]
    who = _UNDO_BY if change.proposal.undoes else _APPROVED
    said = [say(_ALLOWED if change.decider == POLICY else who, locale, **values)]
    if change.draft.kind == "run":
        return [*said, runs.outcome(change, locale)]
    said.append(say(_DONE[change.state], locale, **values))
    if change.state == "applying":
        return said
    if change.draft.kind == "create" and (ids := _ids(change.written)):
        said.append(say("New rows: {ids}.", locale, ids=ids))
    said += _faults(change, locale)
    if change.proposal.undoes and change.written:
        said += _note(change, locale)
    if change.undone_by and change.state != "undone":
        said.append(say("See {undo}, which was to take it back.", locale, **values))
    return said + _erased(change, locale)


def _note(change: Change, locale: str) -> list[str]:
    """What the tool wants known; `{names}` in it are the fields that NocoDB fills in itself."""
    names = ", ".join(plain(str(name), 80) for name in change.draft.target.get("anew", ()))
    return [say(change.draft.note, locale, names=names)] if change.draft.note else []


def _erased(change: Change, locale: str) -> list[str]:
    """Why it cannot be undone, where that would be asked."""
    if change.forgotten and change.written:
        return [say(_ERASED, locale)]
    if change.lapsed and change.written and not change.undone_by:
        return [lapsed(locale)]
    return []


def lapsed(locale: str) -> str:
    return say(_LAPSED, locale, days=round(UNDO_LIFETIME / 86_400))


def _faults(change: Change, locale: str) -> list[str]:
    """One sentence for each way in which rows went wrong, with the first words of it."""
    said = []
    for state, sentence in _FAULTS.items():
        steps = [step for step in change.steps if step.state == state]
        if state == "done":
            steps = [step for step in steps if step.words]
        if steps:
            rows = _ids(steps) or say("{count} of the new rows", locale, count=len(steps))
            words = next((step.words for step in steps if step.words), "")
            said.append(say(sentence, locale, rows=rows, words=plain(words, 300)).strip())
    return said


def _actions(change: Change) -> tuple[CardAction, ...]:
    if change.state == "open":
        return ("approve", "deny")
    return ("undo",) if undoable(change) else ()


def undoable(change: Change) -> bool:
    ended = change.state in ("done", "partial") and change.draft.kind != "run"
    erased = change.forgotten or change.lapsed
    return ended and bool(change.written) and not change.undone_by and not erased


def done(change: Change) -> int:
    """How many rows were written, all that was meant for them."""
    return sum(all(step.state in WRITTEN for step in steps) for steps in rows_of(change))


def _decider(change: Change) -> str:
    return plain(change.decider.name or change.decider.id) if change.decider else "?"


def _ids(steps: Sequence[Step]) -> str:
    ids = list(dict.fromkeys(plain(step.write.id, 40) for step in steps if step.write.id))
    more = f" … (+{len(ids) - IDS})" if len(ids) > IDS else ""
    return ", ".join(ids[:IDS]) + more
