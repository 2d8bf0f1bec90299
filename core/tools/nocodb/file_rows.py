"""What a card says of the file whose rows it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.base.i18n import format_number, plural, say
from core.base.text import to_one_line
from core.domain.changes import FILE_KEY, Change, Draft

_COUNTS = {
    "new": "{count} new",
    "changed": "{count} changed",
    "unchanged": "{count} unchanged",
    "refused": "{count} rejected",
}
_MAX_LINE_CHARACTERS = 200


def describe_file_rows(summary: Mapping[str, Any]) -> list[str]:
    """`summary` has the numbers of rows by kind (`counts`), why some are rejected (`reasons`, each
    with its number of rows and the first of them), and what was decided about the file (`notes`).
    Reasons and notes are untrusted text."""
    counts = {kind: count for kind in _COUNTS if (count := summary["counts"].get(kind))}
    listed = ", ".join(say(_COUNTS[kind], count=format_number(n)) for kind, n in counts.items())
    lines = [
        plural(
            "{count} row in the file: {counts}.",
            "{count} rows in the file: {counts}.",
            sum(counts.values()),
            counts=listed,
        )
    ]
    for reason, count, rows in summary["reasons"]:
        numbers = ", ".join(map(str, rows)) + (", …" if count > len(rows) else "")
        where = plural("row {rows}", "rows {rows}", count, rows=numbers)
        line = say("Rejected: {count} ({where}). {reason}", count=count, where=where, reason=reason)
        lines.append(f"- {quote_text(line)}")
    hidden = counts.get("refused", 0) - summary["named"]
    if hidden > 0:
        lines.append(f"- {say('Rejected for other reasons: {count}.', count=hidden)}")
    return [*lines, *(f"- {quote_text(note)}" for note in summary.get("notes", ()))]


def quote_text(text: str, most: int = _MAX_LINE_CHARACTERS) -> str:
    return to_one_line(text, most).replace("`", "'")


def describe_file_of(change: Change) -> str:
    """Return "" for a change that comes from no file, and for an undo."""
    summary = change.draft.target.get(FILE_KEY)
    return (
        ""
        if not summary or change.proposal.undone_change
        else "\n".join(describe_file_rows(summary))
    )


def keep_file(former: Draft, draft: Draft) -> Draft:
    """Return `draft`, whose rows are those of `former` with other values."""
    summary = former.target.get(FILE_KEY)
    return replace(draft, target={**draft.target, FILE_KEY: summary}) if summary else draft
