"""The guard is steady: two dumps are equal. `python -m tests.guard` runs all its dialogues."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guard.compare import compare
from tests.guard.dialogues import FAILED, list_dialogues
from tests.guard.normal import Normal

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "a_webhook_proposes on slack",
    "a_schedule_asks on discord",
    "crash_after_a_round on page",  # a restarted Discord reads earlier messages when it gets to it
)


def _dump(seed: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.guard", "--processes", "1", *CHOSEN]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def test_two_dumps_are_equal() -> None:
    running = [_dump(seed) for seed in ("1", "2")]
    one, other = (process.communicate()[0] for process in running)
    assert compare(one, other) == ""
    assert one == other
    assert one.count("#### ") == len(CHOSEN)
    assert FAILED not in one
    for word in (
        "== table changes", "== table schedule_runs", '"event": "webhook-received"',
        "openai: POST /responses", "nocodb: PATCH", "== metrics", "== restarted",
    ):  # fmt: skip
        assert word in one, word


def test_every_surface_has_sixty_dialogues() -> None:
    for surface in ("slack", "discord", "page"):
        assert sum(one.endswith(f" on {surface}") for one in list_dialogues()) >= 60, surface


@pytest.mark.parametrize(
    "id",
    [
        "123456789012345678" + "e9" * 23,
        "b142330f5e1465db",
        "JY085361ZC5MGPR6MVDJAFV7DK",
        "KxzYGimGIPgmxhMPVKtCfmQXEjJAAFn_NhbyOWOZdjk",
    ],
)
def test_an_id_may_begin_like_another_kind_of_id(id: str) -> None:
    assert Normal([], {}).text(f"{id} <@123456789012345678>") == "id-1 <@id-2>"


def test_a_difference_is_told_by_dialogue() -> None:
    old = "#### one\n== a\nx\n#### two\ny\n"
    assert compare(old, old) == ""
    told = compare(old, old.replace("y", "z"))
    assert told.startswith("#### two\n"), told
    assert "-y\n+z" in told
    assert "#### one" not in told
    assert compare(old, old + "#### three\nn\n").startswith("#### three\n")
    assert compare(old, "", only=["one"]).startswith("#### one\n")
