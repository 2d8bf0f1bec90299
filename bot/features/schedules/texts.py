"""The texts of schedules."""

from __future__ import annotations

from collections.abc import Iterator

from bot.operation_texts import (
    TEXT_LISTS,
    TEXTS,
    ListColumn,
    ResultText,
    Row,
    TextList,
    View,
    format_name,
    format_place,
    format_reason,
    format_time,
)
from core.base.i18n import say
from core.base.text import clean_text, to_one_line
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from core.schedules.words import REASON_SENTENCES, STATE_SENTENCES, describe_result, describe_rule

MAX_LISTED_TEXT_CHARACTERS = 40
"""The limit of a schedule's text in the list."""


def format_schedule(result: Row, view: View) -> Iterator[str]:
    """Yield all facts of a schedule, its whole text, and a line for each of its last runs.
    `schedules show` has a list of one schedule, as `schedules list`."""
    (one,), runs = result["schedules"], result["runs"]
    facts = [
        (say("ID"), one["id"]),
        (say("state"), _describe_schedule_state(one, view)),
        (say("rule"), _describe_schedule(one, view)),
        (say("next run"), format_time(one["next_due_at"], view)),
        (say("owner"), format_name(one["owner"], view)),
        (say("channel"), to_one_line(one["place"])),
    ]
    if one["looked_at"]:  # an alert
        facts.append((say("last check"), f"{format_time(one['looked_at'], view)}: {one['value']}"))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"{name:<{width}}  {value}".rstrip()
    for line in clean_text(one["text"]).splitlines():
        yield f"    {line}"
    yield from _RUNS(runs, view)


_RUNS = TextList(
    "This schedule hasn't run yet.",
    ListColumn("due", "due_at", format_time),
    ListColumn(
        "result",
        "",
        lambda run, view: describe_result(
            run["state"], run["missed_count"], is_late=run["is_late"]
        ),
    ),
    ListColumn("reason", "reason"),
)


def _describe_schedule(one: Row, view: View) -> str:
    rule = ScheduleRule(one["cron"], one["run_at"])
    zone = one["time_zone"]
    return f"{describe_rule(ScheduleDraft(one['kind'], one['text'], rule, zone))} ({zone})"


def _describe_schedule_state(one: Row, view: View) -> str:
    state, reason = say(STATE_SENTENCES[one["state"]]), REASON_SENTENCES.get(one["reason"])
    return f"{state}: {say(reason)}" if reason else state


def _describe_run(run: Row | None, view: View) -> str:
    if run is None:
        return "–"
    result = describe_result(run["state"], run["missed_count"], is_late=run["is_late"])
    code = f" ({format_reason(run['reason'], view)})" if run["reason"] else ""
    return f"{format_time(run['due_at'], view)}: {result}{code}"


def _schedule_text(text: str, view: View) -> str:
    return to_one_line(text)[: None if view.is_page else MAX_LISTED_TEXT_CHARACTERS]


def describe_resumed(result: Row, view: View) -> Iterator[str]:
    when = format_time(result["next_due_at"], view)
    yield say("Resumed {id}. Its next run is on {when}.", id=result["id"], when=when)


_COLUMNS = (
    ListColumn("ID", "id"),
    ListColumn("state", "", _describe_schedule_state),
    ListColumn("rule", "", _describe_schedule),
    ListColumn("next run", "next_due_at", format_time),
    ListColumn("last run", "last_run", _describe_run, wide=True),
    ListColumn("owner", "owner", format_name),
    ListColumn("channel", "place", format_place),
    ListColumn("text", "text", _schedule_text),
)
_LOOKS = ListColumn("last check", "looked_at", format_time), ListColumn("value", "value")
_LIST = TextList("No schedules yet.", *_COLUMNS)
_ALERTS = TextList("No alerts yet.", *_COLUMNS, *_LOOKS)
TEXT_LISTS.update({"schedules list": _LIST, "alerts list": _ALERTS})
for _group in ("schedules", "alerts"):
    _show = ResultText(format_schedule, people=("owner",))
    TEXTS.update({f"{_group} show": _show, f"{_group} resume": ResultText(describe_resumed)})
