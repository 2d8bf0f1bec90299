"""Runs dialogues in several processes and returns their lines in a fixed order."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import structlog

from tests.guard import (  # noqa: F401
    scenes_changes,
    scenes_crashes,
    scenes_hooks,
    scenes_people,
    scenes_programs,
    scenes_schedules,
)
from tests.guard.compare import HEAD
from tests.guard.dump import dump_metrics, dump_stage
from tests.guard.scenes import SCENES
from tests.guard.stage import open_stage

FAILED = "== failed: "
"""Begins the only line of a dialogue that could not be played."""


def list_dialogues() -> list[str]:
    """Return the names of all dialogues, each on each of its surfaces."""
    return [f"{name} on {surface}" for name, one in SCENES.items() for surface in one.surfaces]


def run_dialogue(dialogue: str) -> str:
    """Return the dump of one dialogue. One that fails ends with the error."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        try:
            lines = asyncio.run(_play(dialogue, Path(folder)))
        except Exception as error:
            sys.stderr.write(f"{dialogue}\n{traceback.format_exc()}\n")
            lines = [f"{FAILED}{error!r}"]
    return "\n".join([f"{HEAD}{dialogue}", *lines, ""])


async def _play(dialogue: str, folder: Path) -> Sequence[str]:
    name, _, surface = dialogue.partition(" on ")
    scene = SCENES[name]
    async with open_stage(surface, folder, scene.toml, dict(scene.settings)) as stage:
        await scene.play(stage)
        lines = await dump_stage(stage)
    return [*lines, *dump_metrics(stage)]


def run_dialogues(dialogues: Sequence[str], processes: int) -> Iterator[str]:
    """Yield the dump of each of these dialogues, in their order."""
    if processes == 1:
        yield from map(run_dialogue, dialogues)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(run_dialogue, dialogues)
