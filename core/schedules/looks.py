"""The looks of alerts: a query with the rights of the alert's owner, asked of its tool directly.
A look is no turn and no message; only its post is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from core.base.errors import NotAllowed, PonteError
from core.base.i18n import LANGUAGE, say, use_locale
from core.base.tasks import BackgroundTasks, SharedAnswers
from core.domain.messages import Message, encode_json
from core.domain.ports import Tool
from core.domain.records import Outcome, Thread, ToolCall, ToolContext, TurnControls
from core.domain.rights import Viewer
from core.domain.rows import RowsResult
from core.observability import metrics
from core.people.policy import Policy
from core.saved.queries import (
    QUESTION_GONE,
    NotRunAgain,
    StoredCall,
    describe_calls,
    dump_calls,
    load_calls,
)
from core.saved.questions import MayKnow
from core.schedules.alerts import (
    AlertCondition,
    Finding,
    decide,
    describe_condition,
    read_condition,
    read_state,
    write_post,
)
from core.schedules.rows import Schedules
from core.schedules.schedule import LATE_SECONDS, BadSchedule, Schedule, ScheduleDraft

log = structlog.get_logger("alerts")
MAX_WATCHED_ROWS, SHOWN_ROWS = 1_000, 10
LOOKS_AT_ONCE, ALERT_LOOK_PAUSE_SECONDS = 4, 0.2
ALERT_LOOK_TIMEOUT_SECONDS = 60.0
_PARTIAL = {"total_at_least", "read", "changed", "linked"}
"""What a tool says of rows that are not all."""
_NO_VALUE = "No row has a number in that field."
FindTool = Callable[[str], Awaitable[Tool]]


@dataclass
class AlertWatch:
    """Looks at alerts that are due, a few at a time, beside the timer of schedules.
    `check_standing` raises NotAllowed if the owner lost their rights or left, and StatusUnknown."""

    schedules: Schedules
    policy: Policy
    find_tool: FindTool
    may_know: MayKnow
    check_standing: Callable[[Schedule], Awaitable[None]]
    tasks: BackgroundTasks
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS_AT_ONCE))
    _open_looks: set[tuple[str, str, str]] = field(default_factory=set)
    _moment: float = 0.0
    _shared: SharedAnswers[object, tuple[Outcome, Viewer]] = field(default_factory=SharedAnswers)

    async def begin(self, alert: Schedule, next_due_at: float, now: float) -> None:
        """A look that is too late is left out, except the last one, and one while an earlier look
        waits for a slow NocoDB. Raise NotStored."""
        if alert.next_due_at != self._moment:
            self._moment = alert.next_due_at
            self._shared.clear()  # answers of an earlier moment
        is_ours = await self.schedules.begin_look(alert, next_due_at)
        is_wanted = now - alert.next_due_at <= LATE_SECONDS or not next_due_at
        if is_ours and is_wanted and _identify_look(alert) not in self._open_looks:
            self._open_looks.add(_identify_look(alert))
            self.tasks.start(self.look(alert))

    async def look(self, alert: Schedule) -> None:
        """Store what is found now, with the post about it. Raise NotStored."""
        with use_locale(alert.locale):
            try:
                async with self._places:
                    if self._places.locked():  # many are due: people's messages go first
                        await asyncio.sleep(ALERT_LOOK_PAUSE_SECONDS)
                    watch, text, result = await self._find_news(alert)
            except NotAllowed:
                watch, text, result = alert.watch, "", "refused"
            finally:
                self._open_looks.discard(_identify_look(alert))
        await self.schedules.end_look(alert, watch, text, may_look=result != "refused")
        metrics.alert_looks.labels(result).inc()

    async def _find_news(self, alert: Schedule) -> tuple[str, str, str]:
        """Return the next state, the text of the post ("" for none), and how the look ended."""
        state, condition = read_state(alert), read_condition(alert.draft)
        owner, address, zone = alert.owner, alert.address, alert.draft.time_zone
        call = next(iter(load_calls(alert.draft.queries)), None)
        # There is no turn: its number is 0.
        message = Message("", "", owner, address, alert.reply_to, time_zone=zone)
        no_call, controls = ToolCall("", "", "", "read"), TurnControls()
        try:
            await self.check_standing(alert)
            if call is None or (condition.value != "row" and condition.number is None):
                raise NotRunAgain(QUESTION_GONE)
            rights = await self.policy.rights(owner, address)
            if not self.may_know(rights, call.needs):
                for need in call.needs:
                    rights.may(*need).raise_if_denied()  # StatusUnknown does not pause it
                raise NotAllowed
            thread, viewer = Thread("", ""), Viewer(rights)
            ctx = ToolContext(message, 0, no_call, thread, controls, zone, viewer)
            found = await self._find(ctx, call, condition, alert.next_due_at)
        except NotAllowed:
            raise
        except PonteError as error:
            found = Finding(why=error.words())
        after, edge, new = decide(condition, state, found, await self.schedules.read_clock())
        if edge and found.ids:
            found = replace(found, rows=_select_rows(found, new or [*found.ids]))
        elif edge and found.value and call:
            moment = alert.next_due_at
            outcome = await self._ask(ctx, call.tool, call.arguments, moment, SHOWN_ROWS)
            found = _add_rows(found, outcome)
        text = write_post(alert, state, found, edge, new) if edge else ""
        return encode_json(after), text, "posted" if text else "quiet" if found.value else "failed"

    async def close(self) -> None:
        await self._shared.close()

    async def draft(
        self, ctx: ToolContext, call: StoredCall, condition: AlertCondition, draft: ScheduleDraft
    ) -> ScheduleDraft:
        """Return the draft with the call, its condition, and what it finds now. Raise BadSchedule,
        NotAllowed and StatusUnknown."""
        found = await self._find(ctx, call, condition)
        if not found.value and found.why != say(_NO_VALUE):
            raise BadSchedule("{why}", why=found.why)
        call = replace(call, titles={**call.titles, **found.titles})
        name = condition.field
        title = call.titles.get(name, name)  # a form has the id
        text = f"{describe_calls([call])} · {describe_condition(condition, title)}"
        field = {title: id for id, title in call.titles.items()}.get(name, name)
        condition = replace(condition, field=field, first=found.value, first_ids=tuple(found.ids))
        queries = dump_calls([call])
        return replace(draft, text=text, queries=queries, condition=encode_json(condition))

    async def _find(
        self, ctx: ToolContext, call: StoredCall, condition: AlertCondition, moment: float = 0.0
    ) -> Finding:
        tool, query, is_row = call.tool, call.arguments, condition.value == "row"
        if not is_row:
            tool = "nocodb_summarize"
            query = {key: query[key] for key in ("table", "filters", "match")}
            if condition.field:
                query["aggregates"] = [{"field": condition.field, "fn": condition.value}]
        most = MAX_WATCHED_ROWS if is_row else 0
        outcome = await self._ask(ctx, tool, query, moment, most)
        if outcome.status != "ok" or outcome.query is None:
            why = outcome.problem
            for id, title in call.titles.items():  # the stored query has ids
                why = why.replace(id, title)
            return Finding(why=why)
        stated, rows, titles = json.loads(outcome.text), outcome.data, outcome.query.titles
        keys = outcome.row_keys or ()
        # NocoDB may be set to send fewer rows than are asked for.
        if stated.keys() & _PARTIAL or (is_row and stated["total"] != len(keys)):
            return Finding(why=say("Too many rows match, or they changed while I read them."))
        if is_row:
            prefix = f"{titles[query['table']]}/"
            ids = {key.removeprefix(prefix): place for place, key in enumerate(keys)}
            total = str(stated["total"])
            return _add_rows(Finding(total, total, ids=ids), outcome)
        if not isinstance(rows, RowsResult) or rows.values[0][-1] is None:
            return Finding(why=say(_NO_VALUE), titles=titles)
        if rows.columns[-1].kind != "number":
            return Finding(why=say("Only numbers can be compared."))
        return Finding(str(rows.values[0][-1]), rows.rows[0][-1], titles=titles)

    async def _ask(
        self,
        ctx: ToolContext,
        tool: str,
        arguments: Mapping[str, Any],
        moment: float = 0.0,
        most: int = 0,
    ) -> Outcome:
        """Equal questions of one `moment` are asked once for all who may read the answer; without
        one, it is asked for `ctx` alone."""
        rights = ctx.viewer.rights
        if rights:
            rights.may("read").raise_if_denied()
            rights.may("tool", tool).raise_if_denied()
        ctx = replace(ctx, viewer=Viewer(rights), result_id="r1", most_rows=most, results={})
        text = json.dumps(arguments)
        key = (moment, tool, text, most, ctx.zone, LANGUAGE.get())
        question = partial(self._call, ctx, tool, text)
        if not moment:
            return (await question())[0]
        outcome, asker = await self._shared.ask(key, question, ALERT_LOOK_TIMEOUT_SECONDS)
        # What another person was refused is asked again with these rights.
        is_readable = outcome.status == "ok" and self.may_know(rights, outcome.needs)
        return outcome if asker is ctx.viewer or is_readable else (await question())[0]

    async def _call(self, ctx: ToolContext, tool: str, text: str) -> tuple[Outcome, Viewer]:
        try:
            async with asyncio.timeout(ALERT_LOOK_TIMEOUT_SECONDS):
                outcome = await (await self.find_tool(tool)).run(ctx, text)
            outcome = replace(outcome, needs=frozenset({*ctx.viewer.needs, ("tool", tool)}))
        except PonteError as error:
            outcome = Outcome("error", "", problem=error.words())
        except Exception:  # also a tool that takes too long
            log.exception("a look failed unexpectedly", tool=tool)
            outcome = Outcome("error", "", problem=say("The table can't be read right now."))
        return outcome, ctx.viewer


def _identify_look(alert: Schedule) -> tuple[str, str, str]:
    return alert.id, alert.revision, alert.watch


def _add_rows(found: Finding, outcome: Outcome) -> Finding:
    rows = outcome.data if isinstance(outcome.data, RowsResult) else None
    return replace(found, rows=rows, source=" ".join(outcome.sources))


def _select_rows(found: Finding, ids: Sequence[str]) -> RowsResult | None:
    places = [found.ids[id] for id in ids[:SHOWN_ROWS]]
    return found.rows and replace(
        found.rows,
        rows=tuple(found.rows.rows[place] for place in places),
        values=tuple(found.rows.values[place] for place in places),
    )
