"""A new schedule, its edit and its deletion as a kind of change."""

from __future__ import annotations

from collections.abc import Sequence

from core.base.i18n import say
from core.base.trust import quote_inert
from core.changes.kinds import TEXT_KEY, Kind
from core.domain.changes import Change, Draft, FormField
from core.domain.messages import ReplyTo, decode_json
from core.saved.queries import describe_calls, load_calls
from core.schedules.alerts import describe_now
from core.schedules.schedule import SCHEDULE_CHANGED, read_progress, read_row
from core.schedules.words import (
    build_schedule_title,
    describe_cost,
    describe_place,
    describe_rule,
    describe_state,
    describe_times,
    local_time,
)

SCHEDULE_KIND = "schedule"
SCHEDULE_APPLIER = SCHEDULE_KIND
WHEN_KEY = "When"
ZONE_KEY = "Time zone"
_EDIT = "Change schedule {id}: {what}"
_DELETION = "Delete schedule {id}: {what}"


class ScheduleChange(Kind):
    """The kind of change that creates, edits or deletes one schedule.

    A change of this kind has one row: the schedule's draft before the change (None for a new one)
    and after it (None for a deletion).
    """

    has_rows = False
    can_be_undone = True
    is_personal = True  # its owner alone can approve it
    needs_attended_turn = True  # a run that nobody attends cannot propose it

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        """Only to chat, which each run needs too."""
        return [("chat",)]

    def tool_names(self, draft: Draft) -> tuple[str, ...]:
        return ("schedule_propose",)

    def build_title(self, change: Change) -> str:
        """Return one line for the card: what the schedule does, and for an existing one whether it
        is changed or deleted."""
        write = change.steps[0].write
        row = write.after or write.before
        if row is None:  # its text was erased
            return say("Schedule")
        what = build_schedule_title(read_row(row))
        if write.before is None:
            return what
        return say(_EDIT if write.after is not None else _DELETION, id=write.id, what=what)

    def describe(self, change: Change) -> str:
        """For an edit, also say which schedule is in force until the edit is approved.

        `applier_data` is the JSON of the `ReplyTo` to which runs are answered, with the progress of
        the schedule (`add_progress`) among its keys.
        """
        write = change.steps[0].write
        before, after = (read_row(row) if row else None for row in (write.before, write.after))
        draft = after or before
        if draft is None:  # its text was erased
            return ""
        _, runs = read_progress(write.applier_data)
        # With another number of runs, the schedule begins to count them from 0.
        is_recount = before and after and before.max_runs != after.max_runs
        lines = describe_times(draft, change.proposal.created_at, 0 if is_recount else runs)
        if is_recount and runs and draft.max_runs:
            lines.append(say("Earlier runs don't count."))
        if after is None:
            lines.append(say("The schedule and its list of runs will be deleted."))
        else:
            address = decode_json(ReplyTo, write.applier_data).address
            lines += [describe_place(address), describe_cost(draft)]
        if after and before and change.state == "open":
            lines.append(
                say(
                    "Current schedule, until you approve the change: {title} ({rule}).",
                    title=build_schedule_title(before),
                    rule=f"{describe_rule(before)}, {before.time_zone}",
                )
            )
        is_saved = draft.kind == "saved"
        shown = describe_calls(load_calls(draft.queries)) if is_saved else draft.text
        if draft.kind == "alert" and write.before is None:
            lines.insert(0, describe_now(draft))
        return f"{quote_inert(shown)}\n\n" + "\n".join(lines)

    def form_fields(self, change: Change) -> Sequence[FormField]:
        """Return the fields of the card's form, in which people can edit the proposed schedule: the
        text, the time and its zone; () for a deletion. The change has one step, for its one row."""
        if (row := change.steps[0].write.after) is None:
            return ()
        draft = read_row(row)
        # A repeated schedule has a cron rule, another one a single time.
        when = draft.rule.cron or f"{local_time(draft.rule.run_at, draft.time_zone):%Y-%m-%dT%H:%M}"
        # A saved question is shown by its own copy of the query, which no form changes.
        return [
            *([] if draft.queries else [FormField(TEXT_KEY, say("Text"), "lines", draft.text)]),
            FormField(WHEN_KEY, say("When"), "text", when),
            FormField(ZONE_KEY, say("Time zone"), "text", draft.time_zone),
        ]

    def describe_outcome(self, change: Change, *, shows_names: bool) -> list[str]:
        """After a creation or an edit, the line says whether the schedule runs or is paused, and
        how to manage it."""
        step = change.steps[0]
        # Somebody changed the schedule after the request, so nothing was written.
        if step.state == "changed":
            return [say(SCHEDULE_CHANGED)]
        # After an undo, the general text says what was restored.
        is_undo = bool(change.proposal.undone_change)
        if change.state == "done" and step.write.after is not None and not is_undo:
            state, _ = read_progress(step.write.applier_data)
            return [describe_state(step.write.id, "paused" if state == "paused" else "active")]
        return super().describe_outcome(change, shows_names=shows_names)


SCHEDULE_CHANGE = ScheduleChange()
