"""Starts Python programs for tests in milliseconds, by forking a process that imported them before.

A program that imports the product needs most of a second before its first line runs, and the kill
tests start hundreds of them. One process for each worker imports a program's module once, and then
forks itself for every start. A forked program is a process of its own: it has its own id,
environment, arguments and standard streams, runs its module as `__main__`, and dies of SIGKILL.

Tests of how a program starts (what it imports, how the interpreter is set up) need a new
interpreter instead.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import importlib
import json
import os
import platform
import runpy
import selectors
import signal
import socket
import ssl
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MAX_REQUEST_BYTES = 200_000
_HTTP = ("anyio._backends._asyncio", "httpcore", "httpcore2", "httpx", "truststore")
_WEB_SERVER = ("uvicorn.lifespan.off", "uvicorn.protocols.http.h11_impl")
_OPENAI = ("openai.resources", "openai.types")
_PROGRAM = (
    *_HTTP, *_OPENAI, *_WEB_SERVER, "adapters.discord.adapter", "adapters.slack.adapter",
    "adapters.terminal.chat", "adapters.web.adapter", "adapters.web.server", "bot.app", "bot.cli",
    "bot.cli_commands", "bot.doctor", "core.models.chat_completions_api",
    "core.models.conversations_api", "core.models.demo_model", "core.models.responses_api",
    "core.models.served_model", "core.tools.code.local", "core.tools.nocodb.bridge",
    "core.tools.nocodb.source", "core.tools.stackspot.source", "discord", "markdown_it",
    "procrastinate", "psycopg_pool", "slack_bolt.adapter.socket_mode.aiohttp",
    "slack_bolt.async_app", "slack_bolt.listener_matcher.async_builtins", "sqlitedict",
    "typer._adapters",
)  # fmt: skip
LATE_IMPORTS = {
    "bot": _PROGRAM,
    "tests.discord.victim": ("sqlitedict",),
    "tests.fakes.victim": (*_HTTP, *_OPENAI, *_WEB_SERVER, "nh3", "sqlitedict"),
    "tests.model.victim": (*_HTTP, *_OPENAI),
    "tests.real.machine": _PROGRAM,
    "tests.real.schedule_machine": ("babel.dates", "core.conversation.scheduled_turns",
                                    "core.conversation.schedule_reports", "core.store.schedules",
                                    "cronsim", "markdown_it", "nh3", "procrastinate",
                                    "psycopg_pool", "sqlitedict"),
    "tests.slack.victim": ("slack_bolt.async_app", "slack_bolt.listener_matcher.async_builtins",
                           "sqlitedict"),
    "tests.terminal.talk": (*_HTTP, "adapters.terminal.line_editor", "concurrent.futures.thread",
                            "prompt_toolkit.input.vt100", "rich.markdown"),
}  # fmt: skip
"""Modules that a program imports when it first needs them. Importing them takes longer than the
rest of its start."""


def build_once() -> None:
    """Build what each start of Ponte would build: what checks the settings and ponte.toml, the
    parser of the command line, and the translations."""
    import typer.main

    from bot import config, settings
    from bot.cli import cli
    from bot.integrations import FACES
    from core.text.i18n import LOCALES, catalogue

    settings._environment_class(FACES)
    config._file_adapter(FACES)
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(cli)
    for locale in LOCALES:
        catalogue(locale)


def read_once() -> None:
    """Read what each client of a server would read: the certificates, and the machine's name."""
    from core.clients.http import load_tls_context

    load_tls_context()
    ssl.create_default_context = functools.cache(  # type: ignore[assignment]
        ssl.create_default_context
    )
    ssl.create_default_context()
    platform.platform()  # starts `uname`


class Process:
    """A forked program, with the interface of `asyncio.subprocess.Process`.

    `stdout` and `stderr` are None where they are not pipes of their own.
    """

    def __init__(
        self,
        reports: Reports,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.pid = reports.pid.result()
        self.stdout = stdout
        self.stderr = stderr
        self._exit_code = reports.exit_code
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it has ended already
            self._pidfd = -1
        else:
            self._exit_code.add_done_callback(lambda _: os.close(self._pidfd))

    @property
    def returncode(self) -> int | None:
        return self._exit_code.result() if self._exit_code.done() else None

    def send_signal(self, number: int) -> None:
        if self.returncode is None and self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read the rest of stdout and stderr, and wait for the end."""
        pipes = (self.stdout, self.stderr)
        out, err = await asyncio.gather(*(pipe.read() if pipe else _nothing() for pipe in pipes))
        await self.wait()
        return out, err


async def _nothing() -> bytes:
    return b""


class Reports(asyncio.Protocol):
    """What the forking process reports of one program: its id, and later its exit code."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        self.exit_code: asyncio.Future[int] = loop.create_future()
        self._code = -signal.SIGKILL
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            if not self.pid.done():
                self.pid.set_result(int(line))
            else:
                self._code = int(line)
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.pid.done():
            self.pid.set_exception(AssertionError("the program could not be forked"))
        self.exit_code.set_result(self._code)


class Forker:
    """The client's side: starts the forking process, and asks it for programs."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.forker", str(theirs.fileno())],
                cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    async def start(
        self, request: Mapping[str, Any], stdin: int, stdout: int, stderr: int
    ) -> Process:
        """A stream is DEVNULL or a descriptor. `stdout` and `stderr` may be PIPE, too."""
        readers: list[int] = []
        ours: list[int] = []

        def writer(stream: int) -> int:
            if stream >= 0:
                return stream
            if stream == PIPE:
                reading, writing = os.pipe()
                readers.append(reading)
            else:
                writing = os.open(os.devnull, os.O_RDWR)
            ours.append(writing)
            return writing

        given, out = writer(stdin), writer(stdout)
        err = out if stderr == STDOUT else writer(stderr)
        reports, reporting = os.pipe()
        data = json.dumps(request).encode()
        socket.send_fds(self._connection, [data], [given, out, err, reporting])
        for fd in (*ours, reporting):
            os.close(fd)
        pipes = [await _reader(fd) for fd in readers]
        loop = asyncio.get_running_loop()
        _, reported = await loop.connect_read_pipe(Reports, os.fdopen(reports, "rb", 0))
        await reported.pid
        output = pipes.pop(0) if stdout == PIPE else None
        return Process(reported, output, pipes.pop() if pipes else None)

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = os.fdopen(fd, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return reader


_forker: Forker | None = None


async def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = DEVNULL,
) -> Process:
    """Run `python -m MODULE ARGUMENTS`."""
    sys.audit("tests.start_process", module)
    global _forker
    if _forker is None:
        _forker = Forker()
        atexit.register(_forker.close)
    request = {
        "module": module, "arguments": arguments, "env": dict(os.environ if env is None else env),
        "cwd": str(cwd),
    }  # fmt: skip
    return await _forker.start(request, stdin, stdout, stderr)


@dataclass(frozen=True, slots=True)
class Program:
    """What a forked process is to run."""

    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    cwd: str

    def load(self) -> None:
        """Import it ahead, without running it."""
        if self.module not in sys.modules:
            for name in (self.module, *LATE_IMPORTS.get(self.module, ())):
                importlib.import_module(name)
            if LATE_IMPORTS.get(self.module) is _PROGRAM:
                build_once()
            read_once()
            gc.collect()
            gc.freeze()  # else a program that ends looks through everything that was imported here

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.cwd)
        sys.path[0] = self.cwd
        sys.argv[1:] = self.arguments
        if not hasattr(sys.modules[self.module], "__path__"):
            del sys.modules[self.module]  # else runpy warns
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def serve(connection: socket.socket) -> Program | None:
    """Fork for each request until the tests end. Returns the program in the forked process."""
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    reporting: dict[int, tuple[int, int]] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is not connection:
                pid, report = reporting.pop(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(BrokenPipeError):
                    os.write(report, b"%d\n" % code)
                selector.unregister(key.fd)
                os.close(key.fd)
                os.close(report)
                continue
            data, fds, *_ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 4)
            if not data:
                for pid, _ in reporting.values():
                    os.kill(pid, signal.SIGKILL)
                return None
            program = Program(**json.loads(data))
            program.load()
            if not (pid := os.fork()):
                for number, fd in enumerate(fds[:3]):
                    os.dup2(fd, number)
                for fd in (*fds, *reporting, *(report for _, report in reporting.values())):
                    os.close(fd)
                selector.close()
                connection.close()
                return program
            for fd in fds[:3]:
                os.close(fd)
            with suppress(BrokenPipeError):
                os.write(fds[3], b"%d\n" % pid)
            pidfd = os.pidfd_open(pid)
            reporting[pidfd] = pid, fds[3]
            selector.register(pidfd, selectors.EVENT_READ)


if __name__ == "__main__":
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    if program is not None:
        program.run()
