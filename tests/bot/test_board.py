"""The board: each part tells for itself, and a slow one holds nobody up."""

from __future__ import annotations

import asyncio

from bot.health import PartHealth
from core.domain.records import Health
from tests.fakes.loop_clock import LoopClock

LINEUP = (Health("model", "on", "demo"), Health("web", "on", "here"), Health("slack", "off", "set"))


async def _well() -> Health:
    return Health("model", "on", "answers")


async def _hangs() -> Health:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_part_that_runs_tells_for_itself() -> None:
    parts = PartHealth(LINEUP)
    parts.live["model"] = _well
    parts.live["slack"] = _hangs  # off: it is not asked
    assert [part.words for part in await parts.list_all()] == ["answers", "here", "set"]


async def test_a_part_that_hangs_is_failing_and_at_start_only_not_answered_yet() -> None:
    parts = PartHealth(LINEUP)
    parts.live["model"] = _hangs
    first = (await parts.list_all(0.01))[0]
    assert (first.state, first.words) == ("on", "demo (no response yet)")
    clock = LoopClock()
    asking = asyncio.create_task(parts.list_all())
    await clock.skip_until_done(asking, 1.0)
    later = (await asking)[0]
    assert (later.state, later.words) == ("failing", "no response within 5 s")


async def test_what_this_process_does_not_serve_is_told_so() -> None:
    parts = PartHealth(LINEUP)
    parts.mark_unserved(("web", "slack"), "configured; handled by `ponte run`")
    texts = {part.name: (part.state, part.words) for part in await parts.list_all()}
    assert texts["web"] == ("off", "configured; handled by `ponte run`")
    assert texts["slack"] == ("off", "set")
