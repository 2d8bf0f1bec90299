"""Imports as a kind of change: what the card says of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.base.i18n import plural, say
from core.base.text import clip_line, to_one_line
from core.base.value_formats import format_value
from core.changes.kinds import ADMIN_ROWS_SENTENCE, Kind
from core.domain.changes import OWN_ROWS, SAMPLE_APPLIER, Change, ChangeStep, Draft, RowWrite
from core.imports.plan import FieldTotals
from core.imports.runs import count_planned, describe_progress
from core.tools.nocodb import RowsKind, name_update_tools
from core.tools.nocodb.file_rows import describe_file_rows, quote_text

_RESULTS = {
    "done": "Written: {count}",
    "differs": "Saved with other values: {count}",
    "changed": "Skipped because they changed after the request: {count}",
    "failed": "Rejected: {count}",
    "unknown": "Result unknown: {count}",
    "left": "Not tried: {count}",
}
_PLAN = "Plan `{digest}` of `{file}`. The rows shown are samples; an approval covers every row."
_FIELD = "{field}: {rows}, {distinct}{values}"


class ImportChange(RowsKind):
    """An import has one step: its plan in numbers and samples, later the numbers of what was
    written."""

    has_end = True
    has_plan = True
    build_note = Kind.build_note

    def needs_admin(self, draft: Draft) -> str:
        return ADMIN_ROWS_SENTENCE if count_planned(draft) > OWN_ROWS else ""

    def tool_names(self, draft: Draft) -> tuple[str, ...]:
        summary: Mapping[str, Any] = draft.rows[0].after or {}
        counts, tools = summary.get("counts", {}), ["nocodb_import"]
        if counts.get("new"):
            tools.append("nocodb_create")
        if counts.get("changed"):
            tools += name_update_tools(draft, {field["title"] for field in summary["fields"]})
        return tuple(tools)

    def build_title(self, change: Change) -> str:
        """A sample table is named as one."""
        table, count = clip_line(change.draft.title), count_planned(change.draft)
        if change.draft.target.get("applier") == SAMPLE_APPLIER:
            table = say("{table} (sample)", table=table)
        return plural(
            "Import {count} row into {table}",
            "Import {count} rows into {table}",
            count,
            table=table,
        )

    def name_deed(self, change: Change) -> str:
        return plural("Approve {count} row", "Approve {count} rows", count_planned(change.draft))

    def select_shown(self, change: Change) -> Change:
        """The samples of the plan stand for its rows on the card."""
        samples = (change.steps[0].write.after or {}).get("samples", ())
        steps = (ChangeStep(n, RowWrite(*sample)) for n, sample in enumerate(samples, 1))
        return replace(change, steps=tuple(steps))

    def describe(self, change: Change) -> str:
        summary: Mapping[str, Any] = change.steps[0].write.after or {}
        if "counts" not in summary:  # an undo
            return ""
        head, *about_rows = describe_file_rows(summary)
        file, digest = quote_text(summary["file"], 100), change.draft.target["sha256"][:12]
        lines = [head, say(_PLAN, digest=digest, file=file)]
        totals, formats = (FieldTotals(**f) for f in summary["fields"]), change.draft.view.formats
        lines += [f"- {_describe_totals(field, formats)}" for field in totals]
        return "\n".join([*lines, *about_rows])

    def describe_outcome(self, change: Change, *, shows_names: bool) -> list[str]:
        (step,), total = change.steps, count_planned(change.draft)
        current = step.current or {}
        if change.is_erased:  # its numbers, too
            return [say("Done.")] if change.state == "done" else []
        if change.state == "applying":
            return [describe_progress(current, total) if current else say("In progress.")]
        if change.state == "undone":
            return [say("Done, then undone by {undo}.", undo=change.undone_by)]
        rows = {state: count for state, count in current.items() if state in _RESULTS}
        rows["left"] = total - sum(rows.values())
        counts = " · ".join(say(_RESULTS[k], count=rows[k]) for k in _RESULTS if rows.get(k, 0) > 0)
        explanation = to_one_line(step.explanation)
        return [f"{counts}.", *([say(explanation)] if explanation else [])]


def _describe_totals(totals: FieldTotals, formats: Mapping[str, str]) -> str:
    format = formats.get(totals.title, "")

    def word(values: Sequence[str]) -> str:
        least, greatest, total = (format_value(v, format) if v else "" for v in values)
        text = f"{least} – {greatest}" if least != greatest else least
        return f"{text} (Σ {total})" if total else text

    sides = [word(side) for side in (totals.before, totals.after) if any(side)]
    values = quote_text(" → ".join(sides), 120)
    return say(
        _FIELD,
        field=quote_text(totals.title, 60),
        rows=plural("{count} row", "{count} rows", totals.rows),
        distinct=plural("{count} value", "{count} different values", totals.distinct),
        values=f", {values}" if values else "",
    )


IMPORT_CHANGE = ImportChange()
