"""Ponte without what only Linux has, which macOS lacks. It was never tried on macOS itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.imports import reader
from tests.real.test_whole import clean_environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
READER = """
import resource, runpy, sys
def refuse(*_):
    raise ValueError("current limit exceeds maximum limit")
setrlimit = resource.setrlimit
resource.setrlimit = lambda kind, limit: (
    refuse() if kind == resource.RLIMIT_AS else setrlimit(kind, limit)
)
path, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(path, run_name="__main__")
"""


def environment(home: Path) -> dict[str, str]:
    return {**clean_environment(), "PONTE_HOME": str(home), "PONTE_WEB_PORT": "0"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.fakes.macos", *arguments]


async def run(home: Path, *arguments: str, stdin: Path = Path("/dev/null")) -> tuple[int, str]:
    with stdin.open() as file:
        process = await asyncio.create_subprocess_exec(
            *command(*arguments),
            stdin=file,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(home),
            cwd=ROOT,
        )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@asynccontextmanager
async def ponte(home: Path) -> AsyncIterator[list[str]]:
    """Yield the lines of `ponte run`, when it is ready; it ends with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        *command("run"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(home),
        cwd=ROOT,
    )
    assert process.stdout
    lines = list[str]()
    async for line in process.stdout:
        lines.append(line.decode())
        if "Ponte is ready" in lines[-1]:
            break
    assert process.returncode is None, "".join(lines)
    try:
        yield lines
    finally:
        process.terminate()
        rest, _ = await process.communicate()
    lines += rest.decode().splitlines(keepends=True)
    assert process.returncode == 0


async def test_it_starts_and_answers(tmp_path: Path) -> None:
    home, questions = tmp_path / "home", tmp_path / "questions"
    questions.write_text("hello\nrun python 1 + 1\n")
    async with ponte(home) as lines:
        assert not (home / "ponte.sock").stat().st_mode & 0o077
        code, answers = await run(home, "chat", stdin=questions)
        assert code == 0, answers
        assert "demo model" in answers
        assert "run Python here. Either no sandbox is available" in answers
        code, status = await run(home, "status")
        assert code == 0, status
        assert "Traceback" not in answers + status
    assert "Traceback" not in "".join(lines)


async def test_the_doctor_says_that_python_has_no_sandbox(tmp_path: Path) -> None:
    code, report = await run(tmp_path / "home", "doctor")
    assert code == 0, report
    assert "the sandbox needs Linux; this is darwin" in report
    assert "Traceback" not in report


async def test_a_folder_whose_socket_has_too_long_a_path_is_told(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 100)
    code, output = await run(home, "run")
    assert code != 0
    assert "File name too long" in output
    assert "Traceback" not in output


def test_a_spreadsheet_is_read_where_memory_cannot_be_limited() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-c", READER, reader.__file__, "10", "10", "10", "", "", ""],
        input=b"Name,Status\nAda,Lead\n",
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert b'["Ada", "Lead"]' in result.stdout
