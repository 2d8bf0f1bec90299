"""A disk that is really full: what cannot be stored is not taken; what was stored is not lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import aiohttp
import pytest

from core.domain.errors import NotStored
from tests.fakes.choices import make_message
from tests.fakes.recorder import Recorder
from tests.fakes.recorder_server import serve
from tests.real.victims import People, Victim

SCRIPT = (
    'mount -t tmpfs -o size=16m tmpfs {home} && head -c 13m /dev/zero > {home}/filler && exec "$@"'
)


def _within(home: Path) -> list[str]:
    """A mount namespace of its own, in which `home` is a disk of 16 MB."""
    return ["unshare", "-rm", "sh", "-c", SCRIPT.format(home=home), "sh"]


def _possible(home: Path) -> bool:
    try:
        return subprocess.run([*_within(home), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


async def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if not _possible(home):
        pytest.skip("blocked: this kernel lets nobody mount in a user namespace (unshare -rm)")
    recorder = Recorder(limit=100_000)
    timeout = aiohttp.ClientTimeout(total=60)
    async with serve(recorder) as platform, aiohttp.ClientSession(timeout=timeout) as session:
        victim = Victim(home, platform, within=_within(home))
        people = People(victim, session)
        await victim.start()
        taken = []
        for number in range(200):
            one = make_message("x" * 20_000, f"k{number}", f"C{number}")
            if not await people.deliver(one):
                refused = one
                break
            taken.append(one)
        assert taken, "some fitted"

        os.unlink(f"/proc/{victim.pid}/root{home}/filler")
        await people.say(refused)
        answers = await people.answers([*taken, refused])
        await victim.kill()
    assert {answer.status for answer in answers} == {"done"}
    for one, answer in zip((*taken, refused), answers, strict=True):
        assert recorder.visible(one.event_key) == list(answer.parts)


async def test_the_refusal_tells_that_it_was_not_taken() -> None:
    assert "I couldn't save your message" in NotStored().words()
