"""kill -9 around the transactions of a look: its edge and its post are one, told once."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from core.domain.messages import Address, ReplyTo, encode_json
from core.schedules.alerts import MAX_FAILED_LOOKS, AlertCondition, AlertState, read_state
from core.schedules.schedule import ScheduleDraft, ScheduleFilter, ScheduleRule
from tests.fakes import forker
from tests.fakes.schedules import put_schedule
from tests.real.schedule_machine import BEGIN, HOUR, OWNER, FilePosts, Machine, open_machine


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize("dies", ["before-look", "after-look", "inside", "after"])
async def test_a_kill_within_a_look_posts_its_edge_once(
    engine: str, dies: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("migrated_postgres") if engine == "postgres" else ""
    machine = Machine(str(tmp_path), BEGIN, url)
    draft = ScheduleDraft("alert", "Orders", ScheduleRule("0 * * * *"), "UTC")
    draft = replace(draft, queries="[]", condition=encode_json(AlertCondition("count", limit="1")))
    async with open_machine(machine) as ponte:
        store, to = ponte.schedules.store, ReplyTo(Address("web", "C1"), OWNER, "s1", "")
        await put_schedule(store, to, draft)
        # Its next look is the one that tells that nothing can be read.
        watch = encode_json(AlertState(failures=MAX_FAILED_LOOKS - 1))
        await store._execute("UPDATE schedules SET watch = ?", watch)
    for hour, moment in ((1, f"1:{dies}"), (1, ""), (2, ""), (3, "")):
        later = replace(machine, until=BEGIN + hour * HOUR, dies=moment).arguments()
        process = await forker.start("tests.real.schedule_machine", later)
        assert await process.wait() == (-signal.SIGKILL if moment else 0), moment
    (post,) = FilePosts(tmp_path / "posts").read()
    assert "I can't check this" in post["text"]
    async with open_machine(machine) as ponte:
        (alert,) = await ponte.schedules.store.list_matching(ScheduleFilter())
        assert read_state(alert).failures >= MAX_FAILED_LOOKS
