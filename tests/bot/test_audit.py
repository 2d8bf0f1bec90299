"""An operator reads `ponte audit`."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.operation_texts import TEXT_LISTS, View
from bot.reports import parse_moment
from bot.stores import Stores
from core.domain.messages import Address, Person
from tests.bot.conftest import Shell
from tests.fakes.holder import FakeHolder

pytestmark = pytest.mark.usefixtures("without_a_sandbox")

ROOT = Path(__file__).parents[2]
ANA = Person("slack", "U1", "T1", "Ana")
PAGE: dict[str, Any] = {
    "lines": [
        {
            "at": "2026-11-20T23:30:00.000+00:00",
            "event": "change-done",
            "change": "abcde2",
            "asker": "slack:T1:U1",
            "decider": "p-abc",
            "rule": "ponte.toml:3",
            "row_count": 2,
            "written_row_ids": ["1", "-"],
        },
        {
            "at": "2026-11-20T23:31:00.000+00:00",
            "event": "action-refused",
            "asker": "slack:T1:U1",
            "right": "read:Pay\nroll",
        },
    ],
    "next": "",
}


def test_a_line_is_when_what_and_by_whom(
    ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_holder.results["audit"] = PAGE
    fake_holder.names["slack:T1:U1"] = "Ana Lima"
    monkeypatch.setenv("PONTE_TIMEZONE", "Europe/Paris")
    assert ponte("audit").out.splitlines() == [
        "time                       event           details",
        "Nov 21, 2026, 12:30:00\u202fAM  change-done     change=abcde2  asker=Ana Lima"
        '  decider=p-abc  rule=ponte.toml:3  row_count=2  written_row_ids=["1", "-"]',
        "Nov 21, 2026, 12:31:00\u202fAM  action-refused  asker=Ana Lima  right=read:Pay roll",
    ]
    lines = ponte("audit", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == PAGE["lines"]


def test_a_line_of_json_is_one_line_for_every_reader(ponte: Shell, fake_holder: FakeHolder) -> None:
    line = {**PAGE["lines"][1], "right": "read:Pay\u2028r\x85o\u202el\ud800lã"}
    fake_holder.results["audit"] = {"lines": [line], "next": ""}
    (shown,) = ponte("audit", "--json").out.splitlines()
    assert shown.endswith('"read:Pay\\u2028r\\u0085o\\u202el\\ud800lã"}')
    assert json.loads(shown) == line


@pytest.mark.parametrize(
    ("written", "is_end", "moment"),
    [
        ("", False, ""),
        ("2026-11-01", False, "2026-11-01T03:00:00.000+00:00"),
        ("2026-11-01", True, "2026-11-02T03:00:00.000+00:00"),
        ("2026-11-01T14:30", True, "2026-11-01T17:30:00.000+00:00"),
        ("2026-11-01T14:30+00:00", False, "2026-11-01T14:30:00.000+00:00"),
    ],
)
def test_days_are_those_of_the_operator(written: str, is_end: bool, moment: str) -> None:
    assert parse_moment(written, ZoneInfo("America/Sao_Paulo"), end=is_end) == moment


@pytest.mark.parametrize("word", ["yesterday", "Ontem", "hier"])
def test_yesterday_is_a_day(word: str) -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    since = parse_moment(word, zone)
    today = datetime.now(zone).date()
    first = datetime.fromisoformat(since).astimezone(zone).date()
    days = {first + timedelta(days=n) for n in (1, 2)}
    assert today in days, "midnight may pass while the test runs"


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("audit", "tomorrow"),
        ("audit", "2026-13-01"),
        ("feedback", "0001-01-01T00:00+14:00"),
        ("usage", "tomorrow"),
    ],
)
def test_what_is_no_day_is_wrong_usage(ponte: Shell, command: str, written: str) -> None:
    ponte(command, "--since", written)
    assert (ponte.code, ponte.out) == (2, "")
    assert ponte.err.startswith(f"`{written}` isn't a date. Enter a date such as 2026-11-01")


def test_what_was_done_at_the_machine_is_in_it(ponte: Shell) -> None:
    async def before() -> None:
        ponte.home.mkdir(mode=0o700)
        stores = await Stores.open_in_home(ponte.home)
        for number in range(520):
            stores.audit.note("tool-run", ANA, Address("slack", "D1", "T1"), tool=f"t{number}")
        await stores.audit.read()  # waits for lines that are being written
        await stores.close()

    asyncio.run(before())
    assert ponte("people", "add", "bob").code == 0
    ponte("audit", "--json")
    matches = [json.loads(line) for line in ponte.out.splitlines()]
    assert [line["event"] for line in matches] == ["person-added"] + ["tool-run"] * 520, (
        "of all pages"
    )
    assert matches[1]["asker"] == "slack:T1:U1"
    assert (matches[0]["asker"], matches[0]["person"]) == ("operator", "web:bob")
    assert ponte("person", "forget", "slack:T1/U1", "--yes").code == 0, ponte.err
    ponte("audit", "--json", "--person", "slack:U1")
    assert (ponte.code, ponte.out) == (0, "")
    last = ponte("audit", "--event", "person-forgotten", "--json").out
    assert (
        json.loads(last)["person"]
        == json.loads(ponte("audit", "--json").out.splitlines()[-1])["asker"]
    )
    assert ponte("person", "forget", "slack:T1/U1", "--yes").code == 1


def test_a_reload_that_changes_nothing_is_no_act(ponte: Shell) -> None:
    (ponte.home.parent / "ponte.toml").write_text("")
    assert ponte("usage").code == 0
    (ponte.home.parent / "ponte.toml").write_text("what = 1")
    assert ponte("reload").code != 0
    (ponte.home.parent / "ponte.toml").unlink()
    assert ponte("audit").out == ""


def test_each_event_of_the_reference_has_a_sentence() -> None:
    """No event stands on the page as its facts, also if a line lacks some of them."""
    page = (ROOT / "docs" / "reference" / "audit.md").read_text("utf-8")
    begin, end = page.index("- `change-proposed`"), page.index("What to know:")
    events, prefix = [], ""
    for line in re.findall(r"^- (.*?)(?:: `|\n  )", page[begin:end], re.MULTILINE):
        for name in re.findall(r"`([a-z-]+)`", line):
            prefix = prefix if name.startswith("-") else name.partition("-")[0]
            events.append(f"{prefix}{name}" if name.startswith("-") else name)
    assert len(events) > 30
    rows = [{"at": "2026-11-20T23:30:00.000+00:00", "event": event} for event in events]
    table = TEXT_LISTS["audit"].table(rows, View(ZoneInfo("UTC"), is_page=True))
    sentences = [row[1] for row in table.rows]
    assert all(sentences), dict(zip(events, sentences, strict=True))
    assert len({*sentences}) == len(events)
