"""The library by itself: one import, one object, a quick command to its end."""

from __future__ import annotations

import asyncio

import pytest

from core.base.http import HttpClient
from core.tools.stackspot import StackSpot
from core.tools.stackspot.client import RunStatus
from tests.fakes.stackspot import FakeStackSpot, Look, Run, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.fakes.stackspot.state import REALM
from tests.stackspot.command_scene import client, error_of


async def test_a_command_runs_to_its_end(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with client(fake.url, clock) as stackspot:
        result = await stackspot.run("explain-code", {"language": "python", "code": "1 + 1"})
    assert result.text == 'explain-code: {"language": "python", "code": "1 + 1"}'
    assert result.execution in fake.executions
    assert [request.kind for request in fake.requests] == [
        *("token", "create", "status", "status", "status")
    ]
    assert fake.refused == []


async def test_each_step_can_be_done_by_itself(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    await stackspot.check()
    execution = await stackspot.create("daily-summary", "Friday")
    assert (await stackspot.status(execution)).state == "CREATED"
    running = await stackspot.status(execution)
    assert (running.state, running.share, running.step) == ("RUNNING", 0.42, "Summarise")
    assert (await stackspot.wait(execution)).text == "daily-summary: Friday"
    assert fake.count("create") == 1


@pytest.mark.parametrize("bare", [True, False])
async def test_the_id_may_come_bare_or_in_an_object(
    fake: FakeStackSpot, stackspot: StackSpot, bare: bool
) -> None:
    fake.bare = bare
    execution = await stackspot.create("echo", "a")
    assert list(fake.executions) == [execution]


async def test_the_conversation_goes_along(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    conversation = "01JD0000000000000000000000"
    result = await stackspot.run("echo", "a", conversation_id=conversation)
    assert result.conversation == conversation
    assert fake.requests[1].query == {"conversation_id": conversation}
    assert fake.requests[0].path == f"/{REALM}/oidc/oauth/token"


async def test_polling_slows_down(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.go(Run.of(*["RUNNING"] * 8, "COMPLETED"))
    await stackspot.run("echo", "a")
    assert clock.pauses == [1.0, 1.5, 2.25, 3.375, 5.062, 7.594, 8.0, 8.0, 8.0]


async def test_polling_at_equal_pauses(fake: FakeStackSpot, clock: SteppedClock) -> None:
    fake.go(Run.of("RUNNING", "RUNNING", "COMPLETED"))
    async with client(fake.url, clock, poll_seconds=5) as stackspot:
        await stackspot.run("echo", "a")
    assert clock.pauses == [5.0, 5.0, 5.0]


async def test_each_look_asks_for_a_fresh_answer(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    await stackspot.run("echo", "a")
    looks = [request.query["nocache"] for request in fake.requests if request.kind == "status"]
    assert len(set(looks)) == len(looks) == 3


async def test_progress_is_told_when_it_changes(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    texts: list[tuple[str, float | None, str]] = []

    async def on_progress(status: RunStatus) -> None:
        texts.append((status.state, status.share, status.step))

    half = Look("RUNNING", 0.5, "Read")
    fake.go(Run((Look("CREATED"), half, half, Look("RUNNING", 0.8, "Write"), Look("COMPLETED"))))
    await stackspot.run("echo", "a", on_progress=on_progress)
    assert texts == [("CREATED", None, ""), ("RUNNING", 0.5, "Read"), ("RUNNING", 0.8, "Write")]


async def test_words_that_are_not_known_go_on(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    fake.go(Run.of("QUEUED", "", "PAUSED_FOR_SOMETHING", "COMPLETED", result="at last"))
    assert (await stackspot.run("echo", "a")).text == "at last"


async def test_a_failed_execution_raises_an_error(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    for state in ("FAILURE", "FAILED", "CANCELLED"):
        fake.go(Run((Look("RUNNING", 0.3, "Read"), Look(state, 0.3, "Read"))))
        error = await error_of(stackspot.run("echo", "a"))
        assert error.code == "failed"
        assert str(error) == (
            f"StackSpot reports a failure ({state}) in the step “Read”, without a reason."
        )


async def test_a_slow_one_is_left_at_the_deadline(fake: FakeStackSpot, clock: SteppedClock) -> None:
    fake.held = True
    async with client(fake.url, clock, deadline=60) as stackspot:
        error = await error_of(stackspot.run("echo", "a"))
    assert error.code == "deadline"
    assert error.unsure
    assert str(error) == (
        "StackSpot didn't finish within 1 minute, so I stopped waiting. The run was started, and "
        "StackSpot may still finish it."
    )
    assert sum(clock.pauses) == pytest.approx(60)


async def test_a_shared_http_client_stays_open(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with HttpClient() as http:
        async with client(fake.url, clock, http=http) as first:
            await first.run("echo", "a")
        async with client(fake.url, clock, http=http) as second:
            assert (await second.run("echo", "b")).text == "echo: b"


async def test_a_name_or_an_id_that_is_none_is_never_sent(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    odd = ("", "../x", "a/b", "a b", "é", "a" * 129, "a\n")
    for slug in (*odd, "a?b=c", "Capital", "-a", "a" * 101, "a%2fb"):
        assert (await error_of(stackspot.create(slug, "a"))).code == "bad_slug", slug
    for agent in (*odd, "a" * 101):
        assert (await error_of(stackspot.ask_agent(agent, "a"))).code == "bad_agent", agent
    for execution in odd:
        assert (await error_of(stackspot.status(execution))).code == "unknown_run", execution
    assert fake.requests == []


async def test_what_is_no_json_is_told_and_not_sent(
    stackspot: StackSpot, fake: FakeStackSpot
) -> None:
    inputs: list[str | dict[str, object]] = [
        {"a": object()},
        {"a": float("nan")},
        "\ud800",
        {"\udfff": 1},
    ]
    for input in inputs:
        error = await error_of(stackspot.run("echo", input))
        assert (error.code, "can't be sent as JSON" in str(error)) == ("bad_input", True)
    error = await error_of(stackspot.ask_agent("01AGENT", "\ud800"))
    assert error.code == "bad_input"
    assert fake.requests == []


async def test_twenty_commands_outlive_a_revoked_token(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.held = True
    running = [asyncio.create_task(stackspot.run("echo", str(n))) for n in range(20)]
    await fake.wait_for_requests("status", 40)
    fake.revoke()
    fake.held = False
    results = await asyncio.gather(*running)
    assert [result.text for result in results] == [f"echo: {n}" for n in range(20)]
    assert (fake.count("token"), len(fake.executions)) == (2, 20)


async def test_one_that_is_stopped_stops_no_other(fake: FakeStackSpot, clock: SteppedClock) -> None:
    fake.fail("create", *[Trouble("hang")] * 20)
    async with client(fake.url, clock) as stackspot:
        running = [asyncio.create_task(stackspot.run("echo", str(n))) for n in range(20)]
        await fake.wait_for_requests("create", 20)
        running[0].cancel()
        fake.release.set()
        with pytest.raises(asyncio.CancelledError):
            await running[0]
        results = await asyncio.gather(*running[1:])
    assert {result.text for result in results} == {f"echo: {n}" for n in range(1, 20)}
