"""An operator lists, shows, pauses, resumes, runs and deletes schedules with `ponte schedules`."""

from __future__ import annotations

import json
import re

import pytest

from tests.bot.conftest import Shell
from tests.fakes.schedules import add_schedule

RULE = "on the last working day (Monday to Friday) of each month at 9:00\u202fAM"
TIME = r"\w+ \d+, \d{4}, \d+:\d\d\s[AP]M"


@pytest.fixture
def schedules(ponte: Shell) -> Shell:
    """A home with one schedule, which no process holds."""
    assert ponte("schedules", "list").out == "There are no schedules.\n"
    add_schedule(ponte.home)
    return ponte


def test_they_are_listed(schedules: Shell) -> None:
    headings, line = schedules("schedules", "list").out.splitlines()
    assert headings.split() == ["ID", "state", "rule", "next", "run", "owner", "place", "text"]
    fields = re.split(r"\s\s+", line)
    assert re.fullmatch(TIME, fields.pop(3))
    assert fields == ["abc234", "active", RULE, "web:bob", "web::main", "<i>Stand-up</i>"]
    (one,) = json.loads(schedules("schedules", "list", "--json").out)
    assert (one["id"], one["what"]) == ("abc234", "<i>Stand-up</i>")


def test_one_is_shown_paused_resumed_run_and_deleted(schedules: Shell) -> None:
    def show() -> dict[str, str]:
        lines = schedules("schedules", "show", "ABC234").out.splitlines()
        return {key: value for key, _, value in (line.partition("  ") for line in lines)}

    shown = show()
    assert shown.pop("") == "  <i>Stand-up</i>"
    assert shown.pop("It has not run yet.") == ""
    assert re.fullmatch(TIME, shown.pop("next run"))
    assert {key: value.strip() for key, value in shown.items()} == {
        "ID": "abc234", "state": "active", "rule": f"{RULE} (Europe/Lisbon)", "owner": "web:bob",
        "place": "web::main",
    }  # fmt: skip
    assert schedules("schedules", "pause", "abc234").out == "Paused abc234.\n"
    paused = show()
    assert paused["state"].strip() == "paused: somebody paused it"
    assert paused["next run"] == "–"
    resumed = schedules("schedules", "resume", "abc234").out
    assert re.fullmatch(rf"Resumed abc234\. Its next run is on {TIME}\.\n", resumed)
    started = schedules("schedules", "run", "abc234").out
    assert started == "Started a run of abc234. It answers in its place.\n"
    assert len(json.loads(schedules("schedules", "show", "abc234", "--json").out)["runs"]) == 1
    runs = schedules("schedules", "show", "abc234").out.splitlines()[-2:]
    assert runs[0].split() == ["due", "result", "reason"]
    assert re.match(TIME, runs[1])


def test_one_is_deleted_after_a_confirmation(schedules: Shell) -> None:
    assert schedules("schedules", "delete", "abc234").code == 2
    assert "Add --yes to confirm." in schedules.err
    assert schedules("schedules", "delete", "abc234", "--yes").out == "Deleted abc234.\n"
    assert schedules("schedules", "show", "abc234").code == 1
    assert schedules.err == "There is no schedule abc234.\n"
