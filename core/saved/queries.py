"""The queries of an answer, and the script that makes them again in the place of a model.

A turn with a script is one like all others: each call passes the same guards, the journal has it
before and after, and a crash repeats none that ended. So rights are those of whoever asks now.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from core.base.errors import Refusal
from core.base.i18n import babel_locale, plural, say
from core.base.markdown import escape_markdown
from core.domain.messages import Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Health, Outcome, Remote, StoredQuery, Turn
from core.domain.rows import RowsResult

MAX_QUERIES = 8
"""As many calls run at once in a turn."""
MAX_LEFT_OUT = 5
"""A round of calls finds one missing column of each query."""
_BESIDE = frozenset({"nocodb_tables", "chart"})
"""Tools beside queries that read nothing else."""
_PLACED = re.compile(r"^[ \t]*\[(?:table|chart): ?(r\d{1,3})\][ \t]*$", re.MULTILINE)
_QUOTED = re.compile("`(.+?)`")
QUESTION_GONE = "This question is no longer stored. Ask it again."
_CHANGED = ("{count} row (on {day}: {before}).", "{count} rows (on {day}: {before}).")
_CHANGED_FIGURE = "{now} (on {day}: {before})."
_NO_ROWS = "No rows match."
_LEFT_OUT = "Left out, because it was deleted or you can't read it here: {names}."
_RENAMED = "{name} is now called {now}."
_NOT_ONE = (
    "An alert watches one table. Ask for its rows or for a figure from it, then press the button."
)
_MISSING = (
    "I can't run this again: {name} was deleted, or you can't read it here. Ask the question again."
)


class NotRunAgain(Refusal):
    """Only the person who asked for it reads why."""


def can_run_again(outcomes: Iterable[tuple[str, Outcome]]) -> bool:
    """Return whether tools of tables alone made what an answer shows, so that code can make it
    again. `outcomes` are those of its calls, each with the tool's name."""
    done = [(name, outcome) for name, outcome in outcomes if outcome.status == "ok"]
    count = sum(outcome.query is not None for _, outcome in done)
    return 0 < count <= MAX_QUERIES and all(
        outcome.query or name in _BESIDE for name, outcome in done
    )


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call that is made again: a query with the text of its former outcome ("" if there is none),
    or a chart of the query with the number `chart_of`."""

    tool: str
    arguments: Mapping[str, Any]
    titles: Mapping[str, str]
    before: str = ""
    figure: str = ""
    """The only figure that it showed, as text; "" for rows."""
    chart_of: int | None = None
    needs: frozenset[tuple[str, ...]] = frozenset()
    """The rights without which nobody may know that it exists."""


def plan_calls(turn: Turn) -> Sequence[StoredCall]:
    """Return the calls whose results the answer of this turn showed; all of its queries if it
    placed none. Raise NotRunAgain if the answer is not stored any more, or is none of tables."""
    outcomes = {call.call_id: call.outcome for call in turn.calls if call.outcome}
    calls = [item for item in turn.items if item.kind == "call"]
    found = [(call, outcomes[call.call_id]) for call in calls if call.call_id in outcomes]
    if not can_run_again((call.name, outcome) for call, outcome in found):
        raise NotRunAgain(QUESTION_GONE)
    text = "\n".join(item.text for item in turn.items if item.role == "assistant")
    numbers = {item.call_id: f"r{number}" for number, item in enumerate(calls, 1)}
    shown = set(_PLACED.findall(text))
    charts = {
        numbers[call.call_id]: json.loads(call.arguments)
        for call, outcome in found
        if call.name == "chart" and outcome.status == "ok"
    }
    drawn = {chart["result"] for id, chart in charts.items() if id in shown}
    queries = [
        (numbers[call.call_id], outcome, outcome.query)
        for call, outcome in found
        if outcome.query and outcome.status == "ok"
    ]
    wanted = [row for row in queries if row[0] in shown | drawn or row[1].files] or queries
    planned = [plan_query(outcome) for _, outcome, _ in wanted]
    places = {id: place for place, (id, *_) in enumerate(wanted)}
    planned += [
        StoredCall("chart", chart, {}, chart_of=places[chart["result"]])
        for id, chart in charts.items()
        if id in shown and chart["result"] in places
    ]
    return planned


def can_be_saved(turn: Turn) -> bool:
    """Return whether the answer is of one query, which a schedule can make without a model."""
    return bool(turn.answer and turn.answer.can_run_again) and len(plan_calls(turn)) == 1


async def find_former(journal: Any, id: str, conversation: str) -> Turn:
    """Return an ended turn of this conversation; without an id, the newest whose answer can run
    again. Raise NotRunAgain."""
    turn: Turn | None = await journal.find_ended_turn(id, conversation)
    if turn is None or turn.message.address.conversation != conversation:
        raise NotRunAgain(QUESTION_GONE)
    return turn


def find_watchable(turn: Turn) -> Outcome:
    """Return the outcome of the only query that the answer shows. Raise NotRunAgain."""
    calls = [call for call in plan_calls(turn) if call.chart_of is None]
    if len(calls) != 1:
        raise NotRunAgain(_NOT_ONE)
    outcomes = {call.outcome.text: call.outcome for call in turn.calls if call.outcome}
    return outcomes[calls[0].before]


def plan_query(outcome: Outcome) -> StoredCall:
    """Return the query that had this outcome as a call that is made again."""
    query = outcome.query or StoredQuery("", "{}", {})
    # The rights to what it shows, in place of those to all linked tables.
    others = frozenset(need for need in outcome.needs if need[0] != "read" or len(need) < 2)
    return StoredCall(
        query.tool,
        json.loads(query.arguments),
        query.titles,
        outcome.text,
        _find_figure(outcome),
        needs=others | query.needs if query.needs else outcome.needs,
    )


_CALLS = TypeAdapter(tuple[StoredCall, ...])
_SIGNS = {"eq": "=", "neq": "≠", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


def dump_calls(calls: Sequence[StoredCall]) -> str:
    return _CALLS.dump_json(tuple(calls)).decode()


def load_calls(text: str) -> tuple[StoredCall, ...]:
    """Return () for a text that is damaged."""
    with suppress(ValueError):
        return _CALLS.validate_json(text)
    return ()


def describe_calls(calls: Sequence[StoredCall]) -> str:
    """Return what the calls read on one line: `Orders: Paid = false, Due = this_month`."""
    parts = list[str]()
    for call in calls:
        named = call.titles.get
        if call.chart_of is None:
            conditions = [
                f"{named(part['field'], '?')} {_SIGNS.get(part['op'], part['op'])} "
                + _write_value(part.get("value", ""))
                for part in call.arguments.get("filters") or ()
            ]
            table = named(call.arguments["table"], "?")
            joined = ", ".join(conditions)
            if call.arguments.get("match") == "any":
                from babel.lists import format_list  # at the first use: a start does not wait

                joined = format_list(conditions, style="or", locale=babel_locale())
            parts.append(": ".join(filter(None, [table, joined])))
    return "; ".join(dict.fromkeys(parts))


def _write_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _find_figure(outcome: Outcome) -> str:
    data = outcome.data
    rows = data.rows if isinstance(data, RowsResult) else ()
    is_figure = outcome.query is not None and outcome.query.tool == "nocodb_summarize"
    # The first column is the number of rows.
    return rows[0][1] if is_figure and len(rows) == 1 and len(rows[0]) == 2 else ""


class QueryScript:
    """Makes planned calls in the place of a model (the port `Model`), without tokens: the queries
    in one round, again without a column that is missing, then the charts.

    What to do next depends on the outcomes alone, so that a resumed turn goes on where it was.
    `former` is the turn whose answer it makes anew, `day` when that was, in words. `is_attended`:
    a person asks, who alone reads why nothing could be read.
    """

    name = ""
    level = "stored"

    def __init__(
        self,
        planned: Sequence[StoredCall],
        day: str = "",
        former: Turn | None = None,
        *,
        is_attended: bool = True,
    ) -> None:
        self._is_attended = is_attended
        self._queries = [call for call in planned if call.chart_of is None]
        self._charts = [call for call in planned if call.chart_of is not None]
        self._day = day
        self.former = former
        self.find_outcomes: Callable[[], Sequence[Outcome]] = lambda: ()
        """Returns the outcomes of the turn's calls so far, in order."""

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        runs, charts = self._replay(self.find_outcomes())
        open_runs = [run for run in runs if run.is_open]
        calls = [(run.call.tool, run.arguments) for run in open_runs]
        if not calls and self._charts and charts is None:
            calls = [
                (chart.tool, {**chart.arguments, "result": f"r{runs[chart.chart_of].number}"})
                for chart in self._charts
                if chart.chart_of is not None and runs[chart.chart_of].has_rows
            ]
        if calls:
            yield RoundCompleted(
                tuple(
                    Item(
                        kind="call",
                        call_id=f"call_{ask.turn}{ask.number:02}{place:02}",
                        name=tool,
                        arguments=json.dumps(arguments),
                    )
                    for place, (tool, arguments) in enumerate(calls)
                )
            )
            return
        text = self._write(runs, charts or [])
        yield TextDelta(text)
        yield RoundCompleted((Item(kind="message", role="assistant", text=text),))

    def _replay(self, outcomes: Sequence[Outcome]) -> tuple[list[QueryRun], list[Outcome] | None]:
        """Return the queries as they stand after these outcomes, and those of the charts; None if
        no chart was drawn yet."""
        runs, at = [QueryRun(call, call.arguments) for call in self._queries], 0
        while at < len(outcomes) and any(run.is_open for run in runs):
            for place, run in enumerate(runs):
                if run.is_open and at < len(outcomes):
                    runs[place] = run.after(outcomes[at], at + 1)
                    at += 1
        return runs, list(outcomes[at:]) or None

    def _write(self, runs: Sequence[QueryRun], charts: Sequence[Outcome]) -> str:
        first_chart = max((run.number for run in runs), default=0) + 1
        lines = [line for run in runs for line in run.describe(self._day)]
        if self._is_attended and not any(run.is_ok for run in runs):
            raise NotRunAgain("{why}", why="\n\n".join(lines))
        lines += [
            f"[chart: r{first_chart + place}]"
            if outcome.status == "ok"
            else f"_{escape_markdown(outcome.problem)}_"
            for place, outcome in enumerate(charts)
        ]
        return "\n\n".join(lines)

    async def health(self) -> Health:
        return Health("model", "on")

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None: ...


class ProposalScript(QueryScript):
    """Makes one call, which proposes a change or is refused."""

    def _write(self, runs: Sequence[QueryRun], charts: Sequence[Outcome]) -> str:
        raise NotRunAgain("{why}", why=runs[0].outcome.problem if runs[0].outcome else "")


@dataclass(frozen=True, slots=True)
class QueryRun:
    """A query after `number` calls of the turn. `left_out`: titles of columns that are missing."""

    call: StoredCall
    arguments: Mapping[str, Any]
    number: int = 0
    outcome: Outcome | None = None
    left_out: tuple[str, ...] = ()
    is_open: bool = True

    @property
    def is_ok(self) -> bool:
        return self.outcome is not None and self.outcome.status == "ok"

    @property
    def has_rows(self) -> bool:
        return self.outcome is not None and self.outcome.data is not None

    def after(self, outcome: Outcome, number: int) -> QueryRun:
        """Return the run after a call; it is open if the call is to be made without a column."""
        done = replace(self, outcome=outcome, number=number, is_open=False)
        path, fields = self._find_missing(outcome), self.arguments.get("fields") or ()
        # Only a column can be left out: without a filter, other rows would be shown.
        if path not in fields or len(fields) == 1 or len(self.left_out) == MAX_LEFT_OUT:
            return done
        rest = [field for field in fields if field != path]
        left_out = (*self.left_out, self.call.titles[path])
        return replace(self, arguments={**self.arguments, "fields": rest}, left_out=left_out)

    def _find_missing(self, outcome: Outcome) -> str:
        """Return the id of the table or field that the failed call did not find; "" for none."""
        error: Any = None
        with suppress(ValueError):
            error = json.loads(outcome.text).get("error")
        if outcome.status != "error" or not isinstance(error, Mapping):
            return ""
        if error.get("code") not in ("unknown_field", "unknown_table", "withheld"):
            return ""
        # It has the id as it was asked for: of a field of linked rows, mostly the part after the
        # dot.
        named = set(_QUOTED.findall(str(error)))
        return next((id for id in self.call.titles if {id, id.rpartition(".")[2]} & named), "")

    def describe(self, day: str) -> list[str]:
        """Return paragraphs of Markdown. `day`: of the former answer; "" without a comparison."""
        if self.outcome is None:
            return []
        if path := self._find_missing(self.outcome):
            return [say(_MISSING, name=f"**{escape_markdown(self.call.titles[path])}**")]
        if self.outcome.status != "ok":
            return [escape_markdown(self.outcome.problem)]
        titles = self.outcome.query.titles if self.outcome.query else {}
        left_out = ", ".join(map(escape_markdown, self.left_out))
        notes = [say(_LEFT_OUT, names=left_out)] if left_out else []
        notes += [
            say(_RENAMED, name=escape_markdown(before), now=escape_markdown(titles[path]))
            for path, before in self.call.titles.items()
            if titles.get(path, before) != before
        ]
        changed = _describe_change(self.call, self.outcome, day) if day else ""
        placed = f"[table: r{self.number}]" if self.outcome.data else ""
        if not placed and not changed:
            changed = say(_NO_ROWS)
        return [*filter(None, [changed, placed]), *(f"_{note}_" for note in notes)]


def _describe_change(call: StoredCall, outcome: Outcome, day: str) -> str:
    if call.figure and (figure := _find_figure(outcome)):
        return say(_CHANGED_FIGURE, now=figure, before=call.figure, day=day)
    now, before = _read_total(outcome.text), _read_total(call.before)
    return "" if now is None or before is None else plural(*_CHANGED, now, before=before, day=day)


def _read_total(text: str) -> int | None:
    with suppress(ValueError, AttributeError):
        total = json.loads(text).get("total")
        return total if isinstance(total, int) else None
    return None
