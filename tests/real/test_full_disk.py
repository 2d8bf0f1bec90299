"""A disk that is really full: what cannot be stored is not taken; what was stored is not lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
import httpx
import pytest

from bot.settings import Settings
from tests.bot.test_process import ROOT
from tests.fakes.choices import make_message
from tests.fakes.recorder import Recorder
from tests.fakes.recorder_server import serve
from tests.real.victims import People, Victim

pytestmark = pytest.mark.slow

RUN_EACH = """
import json, sys
from bot.cli import client
from bot.cli.main import main
client.RECONNECT_PAUSES_SECONDS = (0.2, 0.2)  # ask sends its message again
for words in json.loads(sys.argv[1]):
    print("\\0", main(words), sep="", end="\\0")
"""
SCRIPT = (
    'mount -t tmpfs -o size=16m tmpfs {home} && head -c 13m /dev/zero > {home}/filler && exec "$@"'
)


def _within(home: Path) -> list[str]:
    """A mount namespace of its own, in which `home` is a disk of 16 MB."""
    return ["unshare", "-rm", "sh", "-c", SCRIPT.format(home=home), "sh"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder over which a disk can be mounted."""
    home = tmp_path / "home"
    home.mkdir()
    with suppress(FileNotFoundError):
        if subprocess.run([*_within(home), "true"], capture_output=True).returncode == 0:
            return home
    pytest.skip("blocked: this kernel lets nobody mount in a user namespace (unshare -rm)")


async def test_a_full_disk_takes_nothing_and_loses_nothing(home: Path) -> None:
    recorder = Recorder(limit=100_000)
    timeout = aiohttp.ClientTimeout(total=60)
    async with serve(recorder) as platform, aiohttp.ClientSession(timeout=timeout) as session:
        victim = Victim(home, platform, within=_within(home))
        people = People(victim, session)
        await victim.start()
        accepted_messages = []
        for number in range(200):
            one = make_message("x" * 20_000, f"k{number}", f"C{number}")
            if not await people.deliver(one):
                refusal = one
                break
            accepted_messages.append(one)
        assert accepted_messages, "some fitted"

        os.unlink(f"/proc/{victim.pid}/root{home}/filler")
        await people.say(refusal)
        answers = await people.answers([*accepted_messages, refusal])
        await victim.kill()
    assert {answer.status for answer in answers} == {"done"}
    for one, answer in zip((*accepted_messages, refusal), answers, strict=True):
        assert recorder.visible(one.event_key) == list(answer.parts)


class OperatedPonte:
    """A real `ponte run` on a disk of 16 MB, and what its operator sees."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
        options = {"PONTE_HOME": str(home), "PONTE_WEB_PORT": "0", "PONTE_CODE": "off"}
        self._environment = ours | options | {"PYTHONPATH": str(ROOT)}
        self.process = self._start(*_within(home), sys.executable, "-m", "bot", "run")
        assert self.process.stdout is not None
        ready = next(line for line in self.process.stdout if line.startswith("Ponte is ready"))
        self.url = ready.split()[-1]
        token = Path(f"/proc/{self.process.pid}/root{home}/web-token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}"}

    def _start(self, *words: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=self.home.parent,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
        )

    def run_commands(self, *commands: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Run commands where the disk is mounted, in one process. Return the exit code and all
        output of each."""
        inside = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self.process.pid)]
        python = [sys.executable, "-u", "-c", RUN_EACH, json.dumps(commands)]
        with self._start(*inside, *python, stderr=subprocess.STDOUT) as process:
            out, _ = process.communicate()
        *parts, _ = out.split("\0")
        return ((int(code), message) for message, code in zip(parts[::2], parts[1::2], strict=True))

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers, timeout=60)


def test_an_operator_sees_a_full_disk_and_its_end(home: Path) -> None:
    run = OperatedPonte(home)
    inside = Path(f"/proc/{run.process.pid}/root{home}")
    try:
        assert run.get("/readyz").status_code == 200
        with suppress(OSError), (inside / "rest").open("wb", buffering=0) as rest:
            while rest.write(bytes(4096)):
                pass

        question, status, doctor = run.run_commands(["ask", "x" * 100_000], ["status"], ["doctor"])
        code, message = question
        assert (code, "couldn't save your message" in message) == (1, True), message
        assert "is saved" not in message
        ready = run.get("/readyz")
        assert ready.status_code == 503
        assert [reason["name"] for reason in ready.json()["reasons"]] == ["database"]
        assert 'ponte_part_up{part="database"} 0.0' in run.get("/metrics").text
        code, message = status
        assert (code, "failing  database   Can't save messages" in message) == (1, True), message
        code, message = doctor
        assert (code, "FAIL  database: " in message, "FAIL  home: " in message) == (
            1,
            True,
            True,
        ), message

        (inside / "rest").unlink()
        assert run.get("/readyz").status_code == 200, "nobody has written since"
        assert 'ponte_part_up{part="database"} 1.0' in run.get("/metrics").text
        assert [code for code, _ in run.run_commands(["doctor"], ["ask", "hello"])] == [0, 0]
    finally:
        run.process.terminate()
        _, log = run.process.communicate()
    assert run.process.returncode == 0
    assert "could not commit to the database" in log
    assert "the database can be written again" in log
