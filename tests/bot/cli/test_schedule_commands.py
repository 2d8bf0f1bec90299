"""An operator types `ponte schedules …` while Ponte runs: with its real engine and store."""

from __future__ import annotations

import json
import re

import pytest

from core.domain.messages import encode_json
from core.saved.queries import StoredCall, dump_calls
from core.schedules.alerts import AlertCondition, AlertState
from tests.bot.conftest import RunningPonte
from tests.fakes.schedules import add_schedule

RULE = "on the last working day (Monday to Friday) of each month at 9:00\u202fAM (Europe/Lisbon)"
DUE = "Oct 2, 2096, 7:06\u202fAM"
"""The `next_due_at` of the schedule that `add_schedule` stores, in UTC."""


async def test_schedules_are_listed_and_shown(running_ponte: RunningPonte) -> None:
    """For people with names, as JSON with keys. No text of a person forges a line."""
    assert await running_ponte.run("schedules", "list") == ["No schedules yet."]
    assert await running_ponte.run("schedules", "list", "--json") == ["[]"]
    add_schedule(running_ponte.home)
    text = "First \x1b[31mline\nand a second line that is long"
    running_ponte.write("UPDATE schedules SET text = ?", text)
    listings = [re.split("  +", line) for line in await running_ponte.run("schedules", "list")]
    assert listings == [
        ["ID", "state", "rule", "next run", "owner", "channel", "text"],
        [
            "abc234",
            "active",
            RULE,
            DUE,
            "web:bob",
            "web:main",
            "First line and a second line that is lon",
        ],
    ]
    facts = [
        "ID        abc234",
        "state     active",
        f"rule      {RULE}",
        f"next run  {DUE}",
        "owner     Bob Reis",
        "channel   web:main",
        "    First line",
        "    and a second line that is long",
    ]
    row = (
        "INSERT INTO directory VALUES ('web', '', 'bob', 'web:bob', ?, '', '', 0, 0, '', 1e12, '')"
    )
    running_ponte.write(row, "Bob\nReis")
    assert await running_ponte.run("schedules", "show", "ABC234") == [
        *facts,
        ("This schedule hasn't run yet."),
    ]
    assert "  Bob Reis  web:main  " in (await running_ponte.run("schedules", "list"))[1]
    runs = (("r1", 86_400.0, "missed", "", 0, 3), ("r2", 172_800.0, "failed", "loop", 1, 1))
    for key, due, state, reason, late, missed in runs:
        running_ponte.write(
            "INSERT INTO schedule_runs (event_key, schedule, person, due_at, seq, state, reason,"
            " is_late, missed_count, started_at, ended_at, is_notified)"
            " VALUES (?, 'abc234', 'web:bob', ?, 0, ?, ?, ?, ?, 1, 2, 1)",
            key,
            due,
            state,
            reason,
            late,
            missed,
        )
    running_ponte.write(
        "UPDATE schedules SET state = 'paused', reason = 'failures', next_due_at = 0"
    )
    result = await running_ponte.run("schedules", "show", "abc234")
    assert result == [
        facts[0],
        "state     paused: several of its runs failed",
        facts[2],
        "next run  –",
        *facts[4:],
        f"{'due':21}  {'result':13}  reason",
        "Jan 3, 1970, 12:00\u202fAM  failed, late   loop",
        "Jan 2, 1970, 12:00\u202fAM  missed 3 runs",
    ]
    (line,) = await running_ponte.run("schedules", "show", "abc234", "--json")
    data = json.loads(line)
    assert [one["owner"] for one in data["schedules"]] == ["web:bob"]
    assert [run["event_key"] for run in data["runs"]] == ["r2", "r1"]
    (line,) = await running_ponte.run("schedules", "list", "--json")
    assert [(one["id"], one["text"]) for one in json.loads(line)] == [("abc234", text)]


async def test_schedules_are_paused_resumed_run_and_deleted(
    running_ponte: RunningPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_schedule(running_ponte.home)
    assert await running_ponte.run("schedules", "pause", "ABC234") == ["Paused abc234."]
    (view,) = await running_ponte.run("schedules", "list", "--json")
    (one,) = json.loads(view)
    assert (one["state"], one["reason"]) == ("paused", "person")
    (result,) = await running_ponte.run("schedules", "resume", "abc234")
    assert result.startswith("Resumed abc234. Its next run is on ")
    assert result.endswith("AM.")
    words = ["Started a run of abc234. The answer will be posted in its own conversation."]
    assert await running_ponte.run("schedules", "run", "abc234") == words
    (view,) = await running_ponte.run("schedules", "show", "abc234", "--json")
    assert len(json.loads(view)["runs"]) == 1

    delete = ("schedules", "delete", "abc234")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    questions = list[str]()

    def decline(question: str) -> bool:
        questions.append(question)
        return False

    monkeypatch.setattr("bot.cli.command_line.typer.confirm", decline)
    assert await running_ponte.fail(*delete) == (1, "Nothing was changed.\n")
    assert questions == ["Delete abc234?"]
    assert (await running_ponte.run("schedules", "list"))[1].startswith("abc234  ")
    assert await running_ponte.run(*delete, "--yes") == ["Deleted abc234."]
    assert await running_ponte.run("schedules", "list") == ["No schedules yet."]
    for action in (["show"], ["pause"], ["delete", "--yes"]):
        _, error = await running_ponte.fail("schedules", action[0], "abc234", *action[1:])
        assert error == "Schedule abc234 not found.\n", action


async def test_an_alert_is_a_schedule_with_a_last_value(running_ponte: RunningPonte) -> None:
    add_schedule(running_ponte.home)
    condition, state = AlertCondition("count", limit="20"), AlertState("18", 86_400.0)
    running_ponte.write(
        "UPDATE schedules SET kind = 'alert', cron = '*/5 * * * *', condition = ?, watch = ?",
        encode_json(condition),
        encode_json(state),
    )
    assert "every 5 minutes" in (await running_ponte.run("schedules", "list"))[1]
    shown = await running_ponte.run("schedules", "show", "abc234")
    assert "last check  Jan 2, 1970, 12:00\u202fAM: 18" in shown
    await running_ponte.run("schedules", "run", "abc234")
    (line,) = await running_ponte.run("schedules", "list", "--json")
    assert json.loads(line)[0]["next_due_at"] < 4e9, "it looks now"
    await running_ponte.run("schedules", "pause", "abc234")
    assert "paused" in (await running_ponte.run("schedules", "list"))[1]


async def test_alerts_have_commands_of_their_own(running_ponte: RunningPonte) -> None:
    add_schedule(running_ponte.home)
    assert await running_ponte.run("alerts", "list") == ["No alerts yet."]
    needs = frozenset({("read", "Orders", "m1")})
    call = StoredCall("nocodb_query", {"table": "m1"}, {"m1": "Orders"}, needs=needs)
    running_ponte.write(
        "UPDATE schedules SET kind = 'alert', text = 'Orders', queries = ?, watch = ?,"
        " condition = ?",
        dump_calls([call]),
        encode_json(AlertState("30", 4e9 - 300)),
        encode_json(AlertCondition("count", limit="20")),
    )
    headings, alert = [re.split("  +", line) for line in await running_ponte.run("alerts", "list")]
    assert headings[-3:] == ["text", "last check", "value"]
    assert (alert[0], alert[-3], alert[-1]) == ("abc234", "Orders", "30")
    assert await running_ponte.run("alerts", "pause", "ABC234") == ["Paused abc234."]
    (line, *_) = await running_ponte.run("alerts", "resume", "abc234")
    assert line.startswith("Resumed abc234.")
    assert "last check" in str(await running_ponte.run("alerts", "show", "abc234"))
    assert await running_ponte.run("alerts", "delete", "abc234", "--yes") == ["Deleted abc234."]
    assert await running_ponte.run("alerts", "list") == ["No alerts yet."]
