"""The board: each part tells for itself, and a slow one holds nobody up."""

from __future__ import annotations

import ast
import asyncio

import pytest

from bot.compose import list_parts
from bot.health import PartHealth
from bot.settings import Settings
from core.domain.records import Health
from tests.fakes.loop_clock import LoopClock
from tests.sources import ROOT, parse, walk_nodes

LINEUP = (Health("model", "on", "demo"), Health("web", "on", "here"), Health("slack", "off", "set"))


async def _well() -> Health:
    return Health("model", "on", "answers")


async def _hangs() -> Health:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_part_that_runs_tells_for_itself() -> None:
    parts = PartHealth(LINEUP, {"model": _well, "slack": _hangs})  # slack is off: it is not asked
    assert [part.words for part in await parts.list_all()] == ["answers", "here", "set"]


async def test_a_part_that_hangs_is_failing_and_at_start_only_not_answered_yet() -> None:
    parts = PartHealth(LINEUP, {"model": _hangs})
    first = (await parts.list_all(0.01))[0]
    assert (first.state, first.words) == ("on", "demo (no response yet)")
    clock = LoopClock()
    asking = asyncio.create_task(parts.list_all())
    await clock.skip_until_done(asking, 1.0)
    later = (await asking)[0]
    assert (later.state, later.words) == ("failing", "no response within 5 s")


async def _breaks() -> Health:
    raise OSError("/secret/place")


async def test_a_part_whose_report_breaks_is_failing_and_the_others_tell() -> None:
    parts = PartHealth(LINEUP, {"model": _breaks})
    broken, web, _ = await parts.list_all()
    assert (broken.state, broken.words) == (
        "failing",
        "this check failed because of a bug in Ponte (OSError)",
    )
    assert web.words == "here"


@pytest.mark.parametrize(
    ("surfaces", "slack", "words"),
    [
        (False, "off", "configured; handled by `ponte run`"),
        (True, "on", "handled by `ponte serve`"),
    ],
)
def test_what_this_process_does_not_serve_is_told_so(
    surfaces: bool, slack: str, words: str
) -> None:
    tokens = {"slack_bot_token": "xoxb-1", "slack_app_token": "xapp-1"}
    settings = Settings.model_validate(tokens)
    parts = {part.name: part for part in list_parts(settings, accepts=False, surfaces=surfaces)}
    assert (parts["slack"].state, parts["web"].state) == (slack, "off")
    assert parts["web"].words == words
    assert parts["discord"].words not in ("", words), "it is off anyway"


def test_composition_changes_no_part_that_is_built() -> None:
    nodes = walk_nodes(parse(ROOT / "bot/compose.py"))
    targets = [node for node in nodes if isinstance(node, ast.Attribute | ast.Subscript)]
    assert [ast.unparse(one) for one in targets if isinstance(one.ctx, ast.Store)] == []
