"""A program that is ended before it was fenced: nothing that it began is left."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from core.base.proxies import Proxies
from core.tools.code.environment import PythonEnvironment, _read_version, _run_program
from core.tools.code.sandbox.barriers import _watch_disk
from core.tools.code.sandbox.process import (
    ProgramEnds,
    ProgramPipes,
    RunningProgram,
    launch,
    start_program,
)
from core.tools.code.sandbox.sandbox import SandboxFailed, SandboxLimits
from tests.time_limits import Limits

T = TypeVar("T")

BEGINS = """
import os, sys, time
if os.fork() == 0:  # holds the pipes, as bubblewrap's child does before it watches its parent
    if sys.argv[2] == "own session":
        os.setsid()
    with open(sys.argv[1], "w") as told:
        told.write(str(os.getpid()))
time.sleep(600)
"""


async def start_with_child(folder: Path, session: str) -> tuple[asyncio.Task[Any], int]:
    """Start a program and return its start, and a file descriptor of the child that it made."""
    text = folder / "child"
    os.mkfifo(text)

    def command(ends: ProgramEnds) -> list[str]:
        return [sys.executable, "-c", BEGINS, str(text), session]

    starting = asyncio.create_task(
        launch(command, environment={}, folder=folder, user=None), name="launch"
    )
    return starting, os.pidfd_open(int(await asyncio.to_thread(text.read_text)))


async def check_end(starting: asyncio.Task[Any], child: int) -> None:
    with pytest.raises(asyncio.CancelledError):
        await starting
    # readable once it has ended, which is a moment after it closed its pipes
    end, _, _ = await asyncio.to_thread(select.select, [child], [], [], 60.0)
    os.close(child)
    assert end


@pytest.mark.parametrize("session", ["same session", "own session"])
async def test_children_of_a_program_end_with_it(session: str, tmp_path: Path) -> None:
    starting, child = await start_with_child(tmp_path, session)
    starting.cancel()
    await check_end(starting, child)


async def test_a_start_that_is_cancelled_while_the_process_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[asyncio.subprocess.Process] = []
    going_on = asyncio.Event()

    async def start_slowly(*command: str, **options: Any) -> asyncio.subprocess.Process:
        results.append(await start_program(*command, **options))
        await going_on.wait()
        return results[0]

    monkeypatch.setattr("core.tools.code.sandbox.process.start_program", start_slowly)
    starting, child = await start_with_child(tmp_path, "own session")
    starting.cancel()
    await asyncio.sleep(0)
    going_on.set()
    await check_end(starting, child)
    assert results[0].returncode is not None


class OtherLoop(asyncio.SelectorEventLoop):
    """Refuses what uvloop refuses (`loop.pyx`: "unexpected kwargs"), also where it is None."""

    KNOWN = frozenset(
        {
            "stdin",
            "stdout",
            "stderr",
            "cwd",
            "env",
            "start_new_session",
            "pass_fds",
            "executable",
            "restore_signals",
            "close_fds",
            "preexec_fn",
            "bufsize",
            "universal_newlines",
            "shell",
        }
    )

    async def subprocess_exec(  # type: ignore[override]
        self, factory: Any, *command: Any, **options: Any
    ) -> Any:
        if unknown := options.keys() - self.KNOWN - {"limit"}:
            raise ValueError(f"unexpected kwargs: {', '.join(sorted(unknown))}")
        return await super().subprocess_exec(factory, *command, **options)


def on_another_loop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=OtherLoop) as runner:
        return runner.run(work)


@pytest.mark.slow
def test_another_event_loop_starts_programs_as_our_own_user(tmp_path: Path) -> None:
    async def run_programs() -> tuple[int, bytes]:
        process = await start_program(sys.executable, "-c", "print(7)", stdout=PIPE)
        out, _ = await process.communicate()
        await _run_program(["/bin/sh", "-c", f"umask > {tmp_path}/told"], None)
        return process.returncode or 0, out

    assert on_another_loop(run_programs()) == (0, b"7\n")
    assert (tmp_path / "told").read_text().strip().endswith("022")


def test_another_event_loop_that_cannot_change_the_user_says_so() -> None:
    """Python in the sandbox is not offered then; nothing else fails."""

    async def start_as_nobody() -> None:
        await start_program(sys.executable, "-c", "print(7)", user=65534)

    with pytest.raises(SandboxFailed) as error:
        on_another_loop(start_as_nobody())
    assert "unexpected kwargs: extra_groups, group, user" in error.value.cause


def test_the_python_of_the_sandbox_is_asked_on_another_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.tools.code.environment.os.geteuid", lambda: 1000)
    assert on_another_loop(_read_version(sys.executable)).startswith(f"{sys.version_info[0]}.")


@pytest.mark.usefixtures("searches_for_python")
def test_why_root_has_no_sandbox_on_another_event_loop_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator reads this cause, instead of a sentence that sends people to `status`."""
    monkeypatch.setattr("core.tools.code.environment.os.geteuid", lambda: 0)

    async def python() -> None:
        environment = PythonEnvironment(tmp_path / "python", Proxies())
        try:
            await environment.bare()
        finally:
            await environment.close()

    with pytest.raises(SandboxFailed) as error:
        on_another_loop(python())
    assert "cannot start programs as another user" in error.value.cause


async def test_a_program_that_cannot_be_watched_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE)

    class Program:
        pid = process.pid

        async def kill(self) -> None:
            process.kill()
            await process.wait()

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("core.tools.code.sandbox.barriers.os.pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        await _watch_disk(cast(RunningProgram, Program()), tmp_path, SandboxLimits())
    assert process.returncode is not None


async def test_a_program_that_ends_just_after_its_time_limit_needs_no_kill(
    limits: Limits,
) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()

    class Ended:
        """A busy event loop learns of the exit only after the limit."""

        kill = process.kill

        async def wait(self) -> int:
            return await asyncio.Future()

    with pytest.raises(ProcessLookupError):
        Ended.kill()
    limits(FOLLOW_SECONDS=0)
    pipes = ProgramPipes()
    for end in await pipes.open():
        os.close(end)
    try:
        await RunningProgram(cast(Process, Ended()), pipes)._follow()
    finally:
        pipes.close()
