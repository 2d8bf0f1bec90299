"""A quick command in its scene: named before it is waited for, and never begun twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tools.stackspot import StackSpot
from core.tools.stackspot.api import derive_ulid
from core.tools.stackspot.client import RunStatus, RunStep
from core.tools.stackspot.source import StackSpotCommands, conversation_ulid, describe_progress
from tests.fakes.stackspot import FakeStackSpot, Look, Run, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.fakes.stackspot.ids import is_ulid
from tests.stackspot.command_scene import CommandScene, client
from tests.time_limits import Limits


async def test_the_execution_id_is_journalled_before_the_first_poll(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    scene, looks = CommandScene(), []

    async def known_as(handle: str) -> None:
        looks.append((handle, fake.count("status")))

    ctx = scene.ctx(known_as=known_as)
    outcome = await StackSpotCommands(stackspot).run(ctx, "echo", "a")
    assert (outcome.status, outcome.text) == ("ok", "echo: a")
    assert looks == [(next(iter(fake.executions)), 0)]


async def test_a_run_that_has_a_name_goes_on_and_is_not_begun_again(
    fake: FakeStackSpot, stackspot: StackSpot, clock: SteppedClock
) -> None:
    fake.held = True
    scene, commands = CommandScene(), StackSpotCommands(stackspot)
    running = asyncio.create_task(commands.run(scene.ctx(), "echo", "a"))
    await fake.wait_for_requests("status")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    fake.held = False
    (handle,) = scene.handles
    async with client(fake.url, clock) as next_process:
        outcome = await StackSpotCommands(next_process).run(scene.ctx(handle), "echo", "a")
    assert outcome.text == "echo: a"
    assert (fake.count_executions("a"), scene.handles) == (1, [handle])


async def test_a_stop_while_it_begins_waits_until_it_is_named(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.fail("create", Trouble("hang", after=True))
    scene = CommandScene()
    running = asyncio.create_task(StackSpotCommands(stackspot).run(scene.ctx(), "echo", "a"))
    await fake.wait_for_requests("create")
    running.cancel()
    fake.release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.handles == list(fake.executions)
    assert fake.count("status") == 0


async def test_a_stop_does_not_wait_for_ever(
    fake: FakeStackSpot, stackspot: StackSpot, limits: Limits
) -> None:
    limits(NAMING_TIMEOUT_SECONDS=0.01)
    fake.fail("create", Trouble("hang"))
    scene = CommandScene()
    running = asyncio.create_task(StackSpotCommands(stackspot).run(scene.ctx(), "echo", "a"))
    await fake.wait_for_requests("create")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (scene.handles, fake.executions) == ([], {})


async def test_a_name_that_could_not_be_kept_is_an_end(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    async def known_as(handle: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await StackSpotCommands(stackspot).run(CommandScene().ctx(known_as=known_as), "echo", "a")
    assert fake.count("status") == 0


async def test_the_person_sees_how_far_it_is(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    scene = CommandScene()
    fake.go(Run((Look("CREATED"), Look("RUNNING", 0.42, "Summarise"), Look("COMPLETED"))))
    await StackSpotCommands(stackspot).run(scene.ctx(), "echo", "a")
    assert scene.seen.texts == [
        "is waiting for StackSpot to start…",
        "is running the quick command… 42 % · Summarise",
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (RunStatus("x", "RUNNING"), "is running the quick command…"),
        (RunStatus("x", "RUNNING", 0.999), "is running the quick command… 100 %"),
        (RunStatus("x", "ODD", None, (RunStep("A"),)), "is running the quick command… A"),
        (
            RunStatus("x", "RUNNING", None, (RunStep("@everyone <@1> https://evil.test/x"),)),
            "is running the quick command… ＠everyone ‹@1> https[:]//evil[.]test/x",
        ),
    ],
)
def test_progress_says_what_is_known(status: RunStatus, words: str) -> None:
    assert describe_progress(status) == words


async def test_a_thread_has_one_conversation(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    commands, scene = StackSpotCommands(stackspot), CommandScene()
    for thread in ("here", "here", "there"):
        await commands.run(scene.ctx(thread=thread), "echo", "a")
    first, second, third = (value.conversation for value in fake.executions.values())
    assert first == second == conversation_ulid(scene.ctx(thread="here"))
    assert third != first


async def test_json_comes_out_of_its_fence_and_nothing_is_told_in_words(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    commands, ctx = StackSpotCommands(stackspot), CommandScene().ctx()
    fake.go(Run.of("COMPLETED", result='```json\n{"a": 1}\n```'))
    fake.go(Run.of("COMPLETED", result=" \n"))
    assert (await commands.run(ctx, "echo", "a")).text == '{"a": 1}'
    outcome = await commands.run(ctx, "echo", "a")
    assert outcome.text == "StackSpot finished `echo` without a result."


KEYS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=3
)


@given(KEYS)
def test_each_is_a_ulid_of_new_year_2026(key: list[str]) -> None:
    ulid = derive_ulid(*key)
    assert is_ulid(ulid)
    assert ulid.startswith("01KDVDNA00")
    assert ulid == derive_ulid(*key)


@given(KEYS, KEYS)
def test_different_keys_have_different_ulids(one: list[str], other: list[str]) -> None:
    assert (derive_ulid(*one) == derive_ulid(*other)) == (one == other)


def test_a_thread_keeps_its_name_over_versions() -> None:
    assert derive_ulid("stackspot", "t1", "") == "01KDVDNA00R353F3J2HP2ECTWY"
