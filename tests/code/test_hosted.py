"""Python at OpenAI: one container for a thread, which is reused, healed, stopped and forgotten."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from core.base.errors import ToolError
from core.domain.records import Remote
from tests.code.conftest import Make
from tests.code.hosted import Bench
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run
from tests.time_limits import Limits


async def test_code_runs_as_it_stands_in_one_forced_call(bench: Bench) -> None:
    ran = await bench.run("print(6 * 7)")
    assert (ran.printed, ran.error, ran.changed_code, ran.reset) == ("42\n", "", "", False)
    (body,) = bench.fake.request_bodies("/responses")
    assert body["input"] == "print(6 * 7)"
    assert body["tools"] == [{"type": "code_interpreter", "container": bench.containers[0]}]
    assert body["tool_choice"] == {"type": "code_interpreter"}
    assert body["include"] == ["code_interpreter_call.outputs"]
    assert body["max_tool_calls"] == 1


async def test_a_container_reaches_no_network_and_names_nobody(bench: Bench) -> None:
    await bench.run("1")
    (body,) = bench.fake.request_bodies("/containers")
    assert body["network_policy"] == {"type": "disabled"}
    assert body["name"] == "ponte"


async def test_a_container_is_used_again_below_nineteen_idle_minutes(bench: Bench) -> None:
    for idle in (0, 18.9, 18.9):
        bench.fake.later += idle * 60
        assert not (await bench.run("1")).reset
    assert bench.fake.containers.created == 1
    bench.fake.later += 19 * 60
    ran = await bench.run("1")
    assert (ran.reset, ran.why_reset) == (True, "it was idle for 20 minutes")
    assert bench.fake.containers.created == 2
    assert not (await bench.run("1")).reset, "it is said once"


async def test_an_expired_container_is_healed_with_its_files(bench: Bench) -> None:
    """Expired earlier than it should: seen from the refusal, `Container is expired.`"""
    sales = bench.file("sales.csv", b"a,b\n1,2\n")
    await bench.run("x = 1", [sales])
    bench.fake.containers.all[bench.containers[0]].minutes = 0
    bench.fake.later += 1
    ran = await bench.run("open('sales.csv').read()", [sales])
    assert ran.printed == "'a,b\\n1,2\\n'\n"
    assert ran.reset
    assert bench.uploads == ["sales.csv", "sales.csv"]
    assert len(bench.containers) == 2


async def test_a_container_that_was_deleted_is_healed(bench: Bench) -> None:
    await bench.run("x = 1")
    del bench.fake.containers.all[bench.containers[0]]
    assert (await bench.run("1")).reset


async def test_a_server_whose_containers_never_live_is_given_up(bench: Bench) -> None:
    bench.fake.runs(Script(status=400, message="Container is expired.", times=0))
    with pytest.raises(Exception, match="OpenAI refused to run the code"):
        await bench.run("1")
    assert bench.fake.containers.created == 3


async def test_two_threads_run_side_by_side_and_apart(bench: Bench) -> None:
    hanging = Script(runs=(Run(),), fail="hang", match="slow")
    bench.fake.runs(hanging)
    slow = asyncio.create_task(bench.run("x = 'slow'", thread="t1"))
    await bench.fake.wait_for_failures()
    ran = await bench.run("try: print(x)\nexcept NameError: print('mine')", thread="t2")
    assert ran.printed == "mine\n"
    assert not slow.done()
    bench.fake.release.set()
    await slow
    assert len(set(bench.containers)) == 2


async def test_runs_of_one_thread_wait_for_each_other(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(),), fail="hang", match="first"))
    first = asyncio.create_task(bench.run("said = ['first']"))
    await bench.fake.wait_for_failures()
    second = asyncio.create_task(bench.run("said.append('second'); print(said)"))
    while (
        not second.done() and len(bench.fake.request_bodies("/responses")) < 2 and not first.done()
    ):
        assert len(bench.fake.request_bodies("/responses")) == 1
        bench.fake.release.set()
        await asyncio.sleep(0)
    await first
    assert (await second).printed == "['first', 'second']\n"
    assert bench.fake.containers.created == 1


async def test_a_stop_ends_what_runs_and_the_next_run_says_so(bench: Bench) -> None:
    await bench.run("x = 1")
    bench.fake.runs(Script(runs=(Run(),), fail="hang"))
    running = asyncio.create_task(bench.run("while True: pass".replace("True", "False")))
    await bench.fake.wait_for_failures()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await bench.backend.close()
    assert bench.fake.containers.all == {}, "nothing of it goes on"
    ran = await bench.run("1")
    assert (ran.reset, ran.why_reset) == (True, "the last run was stopped")


async def test_a_run_that_takes_too_long_is_ended(make: Make) -> None:
    bench = make(seconds=60.0)
    bench.fake.runs(Script(runs=(Run(),), fail="hang"))
    running = asyncio.create_task(bench.run("1"))
    await bench.fake.wait_for_failures()
    LoopClock().skip(60.0)
    ran = await running
    assert (ran.fault, ran.is_state_lost) == ("timeout", True)
    await bench.backend.close()
    assert bench.fake.containers.all == {}
    assert not (await bench.run("1")).reset, "it was said already"


async def test_the_next_process_goes_on_with_the_container(make: Make) -> None:
    before = make()
    file = before.file("a.txt", b"abc")
    await before.run("x = 5; open('made.txt', 'w').write('m')", [file])
    after = make()
    ctx = after.ctx(container=before.containers[0])
    ran = await after.backend.run(ctx, "x", [file])
    assert (ran.printed, ran.reset) == ("5\n", False)
    assert ran.output_files == (), "what an earlier run left is not this one's"
    assert after.containers == []
    assert before.uploads == ["a.txt", "a.txt"], "once for a process: nobody knows what lies there"


async def test_the_next_process_heals_what_expired_meanwhile(make: Make) -> None:
    before = make()
    await before.run("x = 5")
    before.fake.later += 21 * 60
    after = make()
    ran = await after.backend.run(after.ctx(container=before.containers[0]), "1", [])
    assert (ran.reset, ran.why_reset) == (True, "it was idle for 20 minutes")


async def test_a_container_that_could_not_be_looked_up_is_not_given_up(make: Make) -> None:
    before = make()
    await before.run("x = 5")
    after = make()
    ctx = after.ctx(container=before.containers[0])
    fake = before.fake
    fake.hostile, fake.hostile_at = refuse, {f"/containers/{before.containers[0]}"}
    with pytest.raises(ToolError, match="OpenAI can't run code right now"):
        await after.backend.run(ctx, "x", [])
    fake.hostile = None
    ran = await after.backend.run(ctx, "x", [])
    assert (ran.printed, ran.reset, fake.containers.created) == ("5\n", False, 1)


async def test_a_run_that_is_taken_up_is_waited_for(make: Make) -> None:
    before = make()
    await before.run("x = 5")
    responses = before.fake.responses[before.handles[-1]]
    before.fake.responses[responses["id"]] = {**responses, "status": "in_progress"}
    after = make()

    async def finish(seconds: float) -> None:
        after.waits.append(seconds)
        before.fake.responses[responses["id"]] = responses

    after.client.sleep = finish
    ctx = after.ctx(container=before.containers[0], handle=responses["id"])
    ran = await after.backend.run(ctx, "x = 5", [])
    assert (ran.error, len(after.waits)) == ("", 1)


async def test_a_run_that_could_not_be_looked_up_is_reported(make: Make) -> None:
    before = make()
    await before.run("x = 5")
    after, fake = make(), before.fake
    ctx = after.ctx(container=before.containers[0], handle=before.handles[-1])
    fake.hostile, fake.hostile_at = refuse, {f"/responses/{before.handles[-1]}"}
    with pytest.raises(ToolError) as error:
        await after.backend.run(ctx, "x = 5", [])
    assert error.value.code == "model_down"
    fake.hostile = None
    assert (await after.backend.run(ctx, "x = 5", [])).error == ""
    assert len(fake.request_bodies("/responses")) == 1, "it never runs twice"


async def refuse(_: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": "No."}}, status=503)


async def test_a_run_is_known_before_it_is_waited_for(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(),), fail="hang"))
    running = asyncio.create_task(bench.run("x = 1"))
    await bench.wait_for_handles(1)
    assert len(bench.handles) == 1
    assert bench.kept[-1] == Remote("response", bench.handles[0])
    bench.fake.release.set()
    await running


async def test_a_run_is_taken_up_after_a_crash_and_not_begun_anew(make: Make) -> None:
    """The process ends while the code runs; the server goes on; the next one takes the outcome."""
    before = make()
    await before.run("count = 0; open('old.txt', 'w').write('o')")
    before.fake.later += 5
    before.fake.runs(Script(runs=(Run(),), fail="hang"))
    code = "count += 1\nopen('n.txt', 'w').write('n')\ncount"
    running = asyncio.create_task(before.run(code))
    await before.wait_for_handles(2)
    before.stopped = False
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await before.close()
    after = make()
    ctx = after.ctx(container=before.containers[0], handle=before.handles[-1])
    ran = await after.backend.run(ctx, code, [])
    assert (ran.printed, ran.changed_code) == ("1\n", "")
    assert [(file.name, file.data) for file in ran.output_files] == [("n.txt", b"n")]
    assert (await after.run("count")).printed == "1\n"
    assert len(before.fake.request_bodies("/responses")) == 3


async def test_a_stream_that_breaks_is_looked_up(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(),), fail="drop", after=1))
    assert (await bench.run("n = 1\nn")).printed == "1\n"
    assert len(bench.fake.request_bodies("/responses")) == 1


async def test_forgetting_deletes_the_container(bench: Bench) -> None:
    await bench.run("x = 1", thread="t1")
    await bench.run("x = 2", thread="t2")
    await bench.backend.forget("t1")
    assert list(bench.fake.containers.all) == [bench.containers[1]]
    await bench.backend.forget("unknown")
    ran = await bench.run("x", thread="t1")
    assert "NameError" in ran.error
    assert not ran.reset, "a forgotten thread has nothing to have lost"


async def test_forgetting_does_not_wait_for_a_server_that_is_silent(
    bench: Bench, limits: Limits
) -> None:
    limits(CONTAINER_FORGET_TIMEOUT_SECONDS=0.01)
    await bench.run("x = 1")
    bench.fake.slow = True
    await bench.backend.forget("t1")
    assert len(bench.fake.containers.all) == 1
    bench.fake.slow = False
    bench.fake.release.set()
    await bench.backend.close()
    assert bench.fake.containers.all == {}


async def test_a_private_choice_leaves_nothing_but_the_container(make: Make) -> None:
    bench = make(store=False)
    await bench.run("1")
    assert [remote.kind for remote in bench.kept] == ["container"]
    assert bench.fake.responses == {}
    assert bench.handles == []
