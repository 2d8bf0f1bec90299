"""What is sent again, when, and what never is: a quick command costs money each time."""

from __future__ import annotations

import asyncio

import pytest

from core.base.http import (
    HttpAnswer,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.tools.stackspot import StackSpot
from core.tools.stackspot.api import (
    BUSY_PAUSES_SECONDS,
    RETRY_PAUSES_SECONDS,
    seconds_before_retry,
    seconds_to_wait,
)
from tests.fakes.loop_clock import LoopClock
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.fakes.stackspot.state import DAILY, How
from tests.stackspot.command_scene import error_of

MINUTE = {**DAILY, "details": "Your limit is 20 requests in the last 1 minutes"}


def answer(status: int, **headers: str) -> HttpAnswer:
    return HttpAnswer(status, {n.replace("_", "-"): v for n, v in headers.items()}, b"{}")


@pytest.mark.parametrize(
    ("error", "repeatable", "otherwise"),
    [
        (HttpDown("ConnectError", sent=False), True, True),
        (HttpDown("ReadError"), True, False),
        (HttpTimeout("ConnectTimeout", sent=False), True, True),
        (HttpTimeout("ReadTimeout"), True, False),
        (HttpUnreadable("not JSON"), True, False),
        (HttpTooLarge("more"), False, False),
        *((answer(status), True, True) for status in (408, 429, 500, 503)),
        *((answer(status), True, False) for status in (502, 504)),
        *((answer(status), False, False) for status in (302, 400, 401, 403, 404, 422, 501)),
    ],
)
def test_which_requests_are_sent_again(error: HttpError, repeatable: bool, otherwise: bool) -> None:
    assert (seconds_before_retry(error, 1, "status") is not None) is repeatable
    assert (seconds_before_retry(error, 1, "create") is not None) is otherwise


def test_the_attempts_come_to_an_end() -> None:
    assert (
        seconds_before_retry(answer(503), len(RETRY_PAUSES_SECONDS), "status")
        == RETRY_PAUSES_SECONDS[-1]
    )
    assert seconds_before_retry(answer(503), len(RETRY_PAUSES_SECONDS) + 1, "status") is None
    assert seconds_before_retry(answer(429), len(BUSY_PAUSES_SECONDS) + 1, "status") is None
    assert sum(BUSY_PAUSES_SECONDS) > 60


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("3600", 60), ("9" * 400, 60), ("-5", 0), ("soon", 0), ("", 0), ("²", 0)],
)
def test_a_retry_after_is_kept_to_for_a_minute_at_most(value: str, seconds: float) -> None:
    assert seconds_to_wait(answer(429, retry_after=value)) == seconds


async def test_a_busy_service_is_waited_for(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("create", 429, body=MINUTE, Retry_After="17")
    fake.answer("create", 503, 408)
    await stackspot.create("echo", "a")
    assert clock.pauses == [17.0, 2.0, 5.0]
    assert fake.count_executions("a") == 1


async def test_nobody_is_kept_waiting_for_minutes(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("create", 429, 429, 429, Retry_After="3600")
    error = await error_of(stackspot.create("echo", "a"))
    assert (error.code, error.unsure) == ("busy", False)
    assert clock.pauses == [60.0]


async def test_the_daily_limit_is_told_and_not_tried_again(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("create", 429, body=DAILY)
    error = await error_of(stackspot.create("echo", "a"))
    assert error.code == "limit"
    assert "Your limit is 100 requests in the last 1440 minutes" in str(error)
    assert DAILY["code"] in str(error)
    assert (clock.pauses, fake.count("create")) == ([], 1)


async def test_a_limit_that_does_not_say_its_time_is_not_tried_again_either(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.answer("create", 429, body={"code": DAILY["code"]})
    assert (await error_of(stackspot.create("echo", "a"))).code == "limit"
    assert fake.count("create") == 1


LOST_ANSWERS = [
    Trouble("reset", after=True),
    Trouble("truncated", after=True),
    Trouble("html", after=True),
    Trouble("malformed", after=True),
    Trouble("status", 200, {"id": "?"}, after=True),
    Trouble("status", 200, {"execution_id": "../../x"}, after=True),
    Trouble("status", 502, after=True),
    Trouble("status", 504, after=True),
]


async def test_after_a_lost_answer_nothing_is_started_or_asked_twice(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    for number, trouble in enumerate(LOST_ANSWERS, 1):
        fake.fail("create", trouble)
        error = await error_of(stackspot.create("echo", str(number)))
        assert (error.code, error.unsure) == ("unknown", True), trouble
        assert str(error) == (
            "StackSpot's response was lost, so I don't know whether `echo` started. I didn't "
            "start it again. Check in StackSpot, then ask again if you need it."
        )
        assert (fake.count_executions(str(number)), fake.count("create")) == (1, number), trouble
        fake.fail("agent", trouble)
        error = await error_of(stackspot.ask_agent("01AGENT", "Who are you?"))
        assert (error.code, error.unsure) == ("unknown", True), trouble
        assert fake.count("agent") == number, trouble


async def test_a_broken_look_is_looked_at_again(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    hows: tuple[How, ...] = ("reset", "truncated", "html", "malformed")
    for how in hows:
        fake.fail("status", *[Trouble(how, after=True)] * 2)
        assert (await stackspot.run("echo", how)).text == f"echo: {how}"
        assert fake.count_executions(how) == 1


async def test_a_look_that_hangs_is_given_up_and_looked_at_again(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.fail("status", Trouble("hang"))
    running = asyncio.create_task(stackspot.run("echo", "a"))
    await fake.wait_for_requests("status")
    LoopClock().skip(60.0)
    assert (await running).text == "echo: a"
    assert fake.count("status") == 4


async def test_looks_that_fail_for_a_minute_are_given_up(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("status", *[503] * 20)
    error = await error_of(stackspot.run("echo", "a"))
    assert (error.code, error.unsure, len(clock.pauses)) == ("down", True, 11)
    assert 40 < sum(clock.pauses) < 90
    assert "may still finish" in str(error)


async def test_a_look_waits_as_long_as_it_is_told_to(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.answer("status", 429, Retry_After="30")
    await stackspot.run("echo", "a")
    assert clock.pauses[:2] == [1.0, 30.0]


async def test_a_look_that_is_refused_is_final(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    for number, status in enumerate((400, 403, 404, 422), 1):
        fake.answer("status", status)
        assert (await error_of(stackspot.run("echo", "a"))).unsure, status
        assert fake.count("status") == number
