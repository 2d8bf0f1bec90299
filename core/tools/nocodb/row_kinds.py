"""The kinds of change that write rows of a table: create, update and delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.base.i18n import plural, say
from core.base.text import clip_line, to_one_line
from core.changes.card_rows import group_steps, name_rows
from core.changes.kinds import Kind
from core.domain.changes import SAMPLE_APPLIER, WRITTEN_STATES, Change, ChangeStep, Draft
from core.domain.records import NOTE_TEMPLATE

MAX_LISTED_ROWS = 20
"""Rows named in one sentence."""
_OUTCOMES = {
    "applying": "In progress.",
    "done": "Done.",
    "partial": "Partly done: {done} of {count} rows.",
    "failed": "Nothing was changed.",
    "undone": "Done, then undone by {undo}.",
}
_FAULTS = {
    "done": "Saved, but could not be verified: {rows}. Check these rows in the table.",
    "changed": "Skipped because they changed after the request: {rows}.",
    "failed": "Rejected: {rows}. {words}",
    "differs": "Saved, but the table shows other values for {words}: {rows}.",
    "unknown": "Result unknown: {rows}. Check the data before you ask again. {words}",
    "waiting": "Not started: {rows}.",
}
_ADMIN_DELETE = "{id} deletes rows, so an admin must approve it."


class RowsKind(Kind):
    """The base of all writes to rows. `titles`: the titles of the card for one row, and for
    several."""

    titles: tuple[str, str]
    can_be_undone = True

    def rule_names(self, draft: Draft) -> tuple[str, ...]:
        """Return the table's title and id."""
        return tuple(filter(None, (draft.title, draft.view.table_id)))

    def build_title(self, change: Change) -> str:
        """Return what happens to how many rows of which table."""
        count, table = len(group_steps(change)), clip_line(change.draft.title)
        if change.draft.applier == SAMPLE_APPLIER:
            table = say("{table} (sample)", table=table)
        return say(self.titles[count != 1], count=count, table=table)

    def describe_outcome(self, change: Change, *, shows_names: bool) -> list[str]:
        """Return whether all rows were written, and a sentence for each kind of failure."""
        groups = group_steps(change)
        whole = sum(all(step.state in WRITTEN_STATES for step in steps) for steps in groups)
        outcome = say(_OUTCOMES[change.state], done=whole, count=len(groups), undo=change.undone_by)
        if change.state == "applying":
            return [outcome]
        return [outcome, *_describe_faults(change, _list_names if shows_names else _list_ids)]

    def build_note(self, change: Change, outcome: str) -> str:
        """Return the outcome, with the number of rows and the ids of new ones."""
        draft, ids = change.draft, _list_ids(change, change.written_steps)
        what = f"{draft.kind} {len(group_steps(change))} row(s) in {clip_line(draft.title)!r}"
        lines = [f"Proposal {change.id} ({what}): {outcome}"]
        lines += [f"Row ids: {ids}."] if ids and self is CREATE_ROWS else []
        return NOTE_TEMPLATE.format(words=" ".join(lines))


class CreateRows(RowsKind):
    """The kind of change that creates rows."""

    titles = ("Create a row in {table}", "Create {count} rows in {table}")
    is_repeatable = False

    def may_be_automatic(self, draft: Draft) -> bool:
        """Return whether it is one row."""
        return len(draft.rows) <= 1


class UpdateRows(RowsKind):
    """The kind of change that writes values, links and files of existing rows."""

    titles = ("Change a row in {table}", "Change {count} rows in {table}")


class DeleteRows(RowsKind):
    """The kind of change that deletes rows."""

    titles = ("Delete a row in {table}", "Delete {count} rows in {table}")

    def needs_admin(self, draft: Draft) -> str:
        """Return that an admin must approve each deletion."""
        return _ADMIN_DELETE


CREATE_ROWS = CreateRows()
ROW_KINDS: Mapping[str, Kind] = {
    "create": CREATE_ROWS, "update": UpdateRows(), "delete": DeleteRows()
}  # fmt: skip
"""The kinds by the name that drafts of all tables have."""


def _describe_faults(
    change: Change, list_rows: Callable[[Change, Sequence[ChangeStep]], str]
) -> list[str]:
    """Return one sentence for each kind of failure among the rows, with the first explanation of
    it. Rows are given by their names, or by their ids where not everybody may see the names."""
    sentences = []
    for state, sentence in _FAULTS.items():
        steps = [step for step in change.steps if step.state == state]
        if state == "done":
            steps = [step for step in steps if step.explanation]
        if steps:
            rows = list_rows(change, steps) or plural(
                "{count} of the new rows", "{count} of the new rows", len(steps)
            )
            words = next((step.explanation for step in steps if step.explanation), "")
            sentences.append(say(sentence, rows=rows, words=to_one_line(words, 300)).strip())
    return sentences


def _list_names(change: Change, steps: Sequence[ChangeStep]) -> str:
    """Return the names of the rows of these steps as text, at most `MAX_LISTED_ROWS` of them."""
    return _join(name_rows(change, steps))


def _list_ids(change: Change, steps: Sequence[ChangeStep]) -> str:
    """Return the ids of these rows as text, at most `MAX_LISTED_ROWS` of them."""
    return _join(list(dict.fromkeys(to_one_line(s.write.id, 40) for s in steps if s.write.id)))


def _join(names: Sequence[str]) -> str:
    more = f" … (+{len(names) - MAX_LISTED_ROWS})" if len(names) > MAX_LISTED_ROWS else ""
    return ", ".join(names[:MAX_LISTED_ROWS]) + more
