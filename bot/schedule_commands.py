"""The commands `ponte schedules …`: they ask the process that holds the home, and print its
answer."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from bot.app import start
from bot.cli_commands import ask_holder
from bot.client import LocalClient
from bot.text_table import format_table
from core.domain.schedule_words import (
    REASON_SENTENCES,
    STATE_SENTENCES,
    describe_result,
    describe_rule,
)
from core.domain.schedules import ScheduleDraft, ScheduleRule
from core.text.i18n import format_moment, say
from core.text.text import clean_text, to_one_line

Json = Mapping[str, Any]
MAX_LISTED_TEXT_CHARACTERS = 40
"""Characters of a schedule's text in the list."""


def list_schedules(*, as_json: bool = False) -> int:
    """Print all schedules. Return the exit code."""
    found, names, zone = _ask_with_names("list", "")
    lines = [json.dumps(found["schedules"], ensure_ascii=False)] if as_json else []
    _print_all(lines or format_schedules(found["schedules"], zone, names))
    return 0


def show_schedule(id: str, *, as_json: bool = False) -> int:
    """Print a schedule with its last runs. Return the exit code."""
    found, names, zone = _ask_with_names("show", id)
    lines = [json.dumps(found, ensure_ascii=False)] if as_json else []
    _print_all(lines or format_schedule(found["schedules"][0], found["runs"], zone, names))
    return 0


def change_schedule(action: str, id: str) -> int:
    """Pause, resume, run or delete a schedule, and print what was done. Return the exit code."""
    found, _, zone = _ask_with_names(action, id)
    one = found["schedules"][0]
    match action:
        case "pause":
            words = say("Paused {id}.", id=one["id"])
        case "resume":
            when = _format_time(one["next_due_at"], zone)
            words = say("Resumed {id}. Its next run is on {when}.", id=one["id"], when=when)
        case "run":
            words = say("Started a run of {id}. It answers in its place.", id=one["id"])
        case _:
            words = say("Deleted {id}.", id=one["id"])
    _print_all([words])
    return 0


def _ask_with_names(action: str, id: str) -> tuple[Json, Mapping[str, str], datetime.tzinfo]:
    """Return the holder's answer, the names of the owners, and the zone of times."""
    begun = start(quiet=True, asks_holder=True)

    async def ask(one: LocalClient) -> tuple[Json, Mapping[str, str]]:
        found = await one.act("schedules", action=action, id=id)
        keys = sorted({each["owner"] for each in found["schedules"]})
        return found, (await one.act("names", keys=keys))["names"] if keys else {}

    found, names = ask_holder(ask, begun)
    return found, names, ZoneInfo(begun.settings.ponte_timezone)


def format_schedules(
    schedules: Sequence[Json], zone: datetime.tzinfo, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield headings and a line for each schedule: its id, state, rule, next run, owner, place and
    text. `names` replace the keys of people."""
    if not schedules:
        yield say("There are no schedules.")
        return
    rows = [
        (
            str(one["id"]), say(STATE_SENTENCES[one["state"]]), _describe_rule(one),
            _format_time(one["next_due_at"], zone),
            to_one_line(names.get(one["owner"], one["owner"])), to_one_line(one["place"]),
            to_one_line(one["text"])[:MAX_LISTED_TEXT_CHARACTERS],
        )
        for one in schedules
    ]  # fmt: skip
    headings = (
        say("ID"), say("state"), say("rule"), say("next run"), say("owner"), say("place"),
        say("text"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def format_schedule(
    one: Json, runs: Sequence[Json], zone: datetime.tzinfo, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield all facts of a schedule, its whole text, and a line for each of its last runs."""
    reason = REASON_SENTENCES.get(one["reason"], "")
    facts = (
        (say("ID"), one["id"]),
        (say("state"), say(STATE_SENTENCES[one["state"]]) + (f": {say(reason)}" if reason else "")),
        (say("rule"), f"{_describe_rule(one)} ({one['time_zone']})"),
        (say("next run"), _format_time(one["next_due_at"], zone)),
        (say("owner"), to_one_line(names.get(one["owner"], one["owner"]))),
        (say("place"), to_one_line(one["place"])),
    )
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"{name:<{width}}  {value}".rstrip()
    for line in clean_text(one["text"]).splitlines():
        yield f"    {line}"
    if not runs:
        yield say("It has not run yet.")
        return
    rows = [
        (
            _format_time(run["due_at"], zone),
            describe_result(run["state"], run["missed_count"], is_late=run["is_late"]),
            str(run["reason"]),
        )
        for run in runs
    ]
    yield from format_table((say("due"), say("result"), say("reason")), rows)


def _describe_rule(one: Json) -> str:
    rule = ScheduleRule(one["cron"], one["run_at"])
    return describe_rule(ScheduleDraft(one["kind"], one["text"], rule, one["time_zone"]))


def _format_time(at: float, zone: datetime.tzinfo) -> str:
    """Return a time in the zone, "–" for none."""
    return format_moment(datetime.datetime.fromtimestamp(at, zone)) if at else "–"


def _print_all(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
