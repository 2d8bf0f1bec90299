"""When an alert speaks: edges, dances, emptiness, rows that come and go."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest

from core.domain.messages import Address, Person, ReplyTo, encode_json
from core.schedules.alerts import (
    MAX_LEFT_ROWS,
    AlertCondition,
    AlertState,
    Comparison,
    Finding,
    decide,
    read_state,
)
from core.schedules.schedule import Schedule, ScheduleDraft, ScheduleRule, plan_due
from core.schedules.words import describe_times

HOUR, DAY = 3600.0, 86_400.0
START = 1_800_000_000.0
Looks = Sequence[tuple[float, str]]
"""Hours after the start, and the value; "" for none."""


def condition(
    comparison: Comparison = "over", limit: str = "20", first: str = "10", tells_now: bool = False
) -> AlertCondition:
    return AlertCondition("count", "", comparison, limit, tells_now, first)


def begin(asked: AlertCondition) -> AlertState:
    draft = ScheduleDraft(
        "alert", "", ScheduleRule("*/5 * * * *"), "UTC", condition=encode_json(asked)
    )
    owner = Person("web", "owner")
    return read_state(Schedule("id", owner, ReplyTo(Address("web", "C1"), owner, "", ""), draft))


def hear(asked: AlertCondition, looks: Looks) -> list[str]:
    state, edges = begin(asked), list[str]()
    for hours, value in looks:
        found = Finding(value, value, "" if value else "away")
        state, edge, _ = decide(asked, state, found, START + round(hours * HOUR))
        edges.append(edge)
    return edges


@pytest.mark.parametrize(
    ("asked", "looks", "edges"),
    [
        (condition(), [(0, "20"), (1, "21"), (2, "22"), (3, "20")], ["", "true", "", "ended"]),
        (condition("under"), [(0, "20"), (1, "19.99")], ["ended", "true"]),
        (condition(first="25"), [(0, "25"), (1, "1"), (3, "30")], ["", "ended", "true"]),
        (condition(first="25", tells_now=True), [(0, "25"), (2, "25")], ["true", ""]),
        (condition(first=""), [(0, ""), (1, "25"), (2, "25")], ["", "true", ""]),
        # A dance: within an hour of a post nothing, then how it stands.
        (
            condition(),
            [(0, "21"), (0.3, "1"), (0.6, "21"), (0.9, "21"), (1, "21"), (3, "21")],
            ["true", "", "", "", "true", ""],
        ),
        (condition(), [(0, "21"), (0.5, "1"), (1.2, "1"), (5, "1")], ["true", "", "ended", ""]),
        # No value is no edge; of many, one is told.
        (
            condition(),
            [(0, "21"), (1, ""), (2, ""), (3, ""), (4, ""), (5, "22"), (6, ""), (7, "1")],
            ["true", "", "", "unknown", "", "", "", "ended"],
        ),
        # Slow steps add up against the last post.
        (
            condition("changes", "5"),
            [(0, "13"), (2, "15"), (4, "16"), (6, "18"), (8, "10")],
            ["", "", "changed", "", "changed"],
        ),
        (condition("changes", "10%"), [(0, "11"), (2, "12"), (4, "13.2")], ["", "changed", ""]),
        (condition("changes", "10%", "0"), [(0, "0"), (2, "1")], ["", "changed"]),
        (condition("changes", "5"), [(0, "16"), (0.5, "30"), (2, "16")], ["changed", "", ""]),
        (condition("changes", "5", ""), [(0, "100"), (2, "106")], ["", "changed"]),
    ],
)
def test_when_it_speaks(asked: AlertCondition, looks: Looks, edges: list[str]) -> None:
    assert hear(asked, looks) == edges


def list_expected(was_true: bool, looks: Looks) -> Iterator[str]:
    """The promise in plain words, over a limit of 20."""
    posted_at, failed_at, crossings, failures, is_known = -HOUR, -HOUR, 0, 0, True
    for hours, value in looks:
        failures = 0 if value else failures + 1
        is_known = is_known or bool(value)
        if not value:
            is_told = failures >= 3 and is_known and round(hours * HOUR) - failed_at >= HOUR
            if is_told:
                failed_at, is_known = round(hours * HOUR), False
            yield "unknown" if is_told else ""
            continue
        is_true = float(value) > 20
        crossings += is_true != was_true
        was_true = is_true
        if crossings and round(hours * HOUR) - posted_at >= HOUR:
            posted_at, crossings = round(hours * HOUR), 0
            yield "true" if is_true else "ended"
        else:
            yield ""


@pytest.mark.parametrize("seed", range(300))
def test_random_looks_keep_the_promise(seed: int) -> None:
    chance = random.Random(seed)
    hours, looks = 0.0, list[tuple[float, str]]()
    for _ in range(40):
        hours += chance.choice((1 / 12, 1 / 4, 1 / 2, 2))
        looks.append((hours, chance.choice(("", "19", "20", "21", "400", "-3.5"))))
    asked = condition(first=chance.choice(("10", "30")))
    edges = hear(asked, looks)
    assert edges == list(list_expected(asked.first == "30", looks))
    spoken = zip(looks, edges, strict=True)
    posts = [round(hours * HOUR) for (hours, _), edge in spoken if edge in ("true", "ended")]
    assert all(later - at >= HOUR for at, later in pairwise(posts))


@pytest.mark.parametrize("seed", range(30))
def test_a_row_is_new_unless_it_was_there_within_a_day(seed: int) -> None:
    chance = random.Random(seed)
    asked = AlertCondition("row", first_ids=("0", "1"))
    state, at, past = begin(asked), START, [(START, {"0", "1"})]
    for _ in range(60):
        at += chance.choice((HOUR, 5 * HOUR, 13 * HOUR))
        rows = {str(number) for number in range(6) if chance.random() < 0.4}
        ids = {id: place for place, id in enumerate(sorted(rows))}
        state, edge, new = decide(asked, state, Finding(str(len(rows)), ids=ids), at)
        known = set[str]()
        for place, (_, earlier) in enumerate(past):
            # When the next look missed it; the last rows are there until now.
            gone_at = past[place + 1][0] if place + 1 < len(past) else at
            known |= earlier if at - gone_at < DAY else set()
        assert {*new} == rows - known
        assert bool(edge) == bool(new)
        past.append((at, rows))


def test_what_it_remembers_of_rows_is_bounded() -> None:
    asked, state = AlertCondition("row"), AlertState()
    for turn in range(12):
        ids = {f"{turn}-{number}": number for number in range(1_000)}
        state, _, new = decide(asked, state, Finding("1000", ids=ids), START + turn * HOUR)
        assert len(new) == 1_000
    assert len(state.rows) == MAX_LEFT_ROWS + 1_000


def test_a_clock_that_was_far_ahead_silences_nothing() -> None:
    asked, ahead = condition(), START + 400 * DAY
    state, edge, _ = decide(asked, begin(asked), Finding("21", "21"), ahead)
    assert edge == "true"
    assert decide(asked, state, Finding("1", "1"), START)[1] == "ended"
    rows = AlertState(rows={"1": ahead})
    assert decide(AlertCondition("row"), rows, Finding("1", ids={"1": 0}), START)[1] == "row"


def test_an_outage_that_comes_and_goes_is_told_once_an_hour() -> None:
    looks = [(number / 12, "" if number % 4 else "10") for number in range(36)]
    assert hear(condition(), looks).count("unknown") == 3


def make_alert(watch: str, asked: AlertCondition | None = None) -> Schedule:
    draft = ScheduleDraft(
        "alert", "", ScheduleRule("*/5 * * * *"), "UTC", condition=encode_json(asked or condition())
    )
    owner = Person("web", "owner")
    to = ReplyTo(Address("web", "C1"), owner, "", "")
    return Schedule("id", owner, to, draft, watch=watch)


@pytest.mark.parametrize(
    "watch",
    [
        '{"value": "10", "is_tr',
        "[]",
        '{"rows": {"7": null}}',
        '{"base": 3}',
        encode_json(AlertState(is_forgotten=True)),
    ],
)
def test_a_state_that_was_lost_begins_with_the_next_look_without_a_post(watch: str) -> None:
    state = read_state(make_alert(watch))
    state, edge, new = decide(condition(), state, Finding("30", "30", ids={"7": 0}), START)
    assert (edge, [*new], state.is_true, state.rows) == ("", [], True, {"7": 0.0})
    assert decide(condition(), state, Finding("10", "10"), START + 300)[1] == "ended"


def test_a_state_of_another_version_is_read_as_far_as_it_is_known() -> None:
    state = read_state(make_alert('{"is_true": true, "base": "x", "later": [1]}'))
    assert decide(condition(), state, Finding("10", "10"), START)[1] == "ended"
    changes = condition("changes", "5")
    state, edge, _ = decide(changes, state, Finding("30", "30"), START)
    assert edge == ""
    assert decide(changes, state, Finding("40", "40"), START + 2 * HOUR)[1] == "changed"


def test_after_a_refused_post_it_speaks_again_an_hour_later() -> None:
    state = AlertState(base="10", rows={"7": 0.0}, refused_at=START)
    found = Finding("30", "30", ids={"7": 0, "8": 1})
    state, edge, _ = decide(condition(), state, found, START + HOUR - 1)
    assert (edge, state.value, state.base, [*state.rows]) == ("", "30", "10", ["7"])
    _, edge, new = decide(condition(), state, found, START + HOUR)
    assert (edge, new) == ("true", ["8"])


def test_the_card_counts_looks() -> None:
    draft = replace(make_alert("").draft, max_runs=2)
    assert "Ends after 2 checks. 1 has already started." in describe_times(draft, START, 1)
    assert "Ends after 2 runs." in describe_times(replace(draft, kind="post"), START, 0)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/Sao_Paulo", "2018-11-04"),  # midnight is skipped
        ("America/Sao_Paulo", "2018-02-18"),  # an hour before midnight comes twice
        ("Europe/Paris", "2026-03-29"),
        ("Europe/Paris", "2026-10-25"),
    ],
)
def test_looks_go_on_evenly_while_the_clocks_change(zone: str, day: str) -> None:
    draft = replace(make_alert("").draft, rule=ScheduleRule("*/15 * * * *"), time_zone=zone)
    due = datetime.fromisoformat(f"{day}T00:00+00:00").timestamp() - HOUR
    for _ in range(4 * 30):
        plan = plan_due(draft, due, due + 1)
        assert (plan.due_at, plan.next_due_at, plan.missed_count) == (due, due + 900, 0)
        due = plan.next_due_at
