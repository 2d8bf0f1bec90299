"""Starts Python programs for tests in milliseconds, by forking a process that imported them before.

A program that imports the product needs most of a second before its first line runs, and the tests
start hundreds of them. One process for each worker imports a program's module once, and then forks
itself for every start. A forked program is a process of its own: it has its own id, environment,
arguments and standard streams, runs its module as `__main__`, and dies of SIGKILL.

`start` starts one on a test's event loop. A test without a loop uses `tests.commands`. Tests of how
a program starts (what it imports, how the interpreter is set up) need a new interpreter instead.
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
import tempfile
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.commands import NUMBER, send_request

ROOT = Path(__file__).parents[2]
MAX_REQUEST_BYTES = 200_000
_HTTP = ("anyio._backends._asyncio", "httpcore", "httpcore2", "httpx", "truststore")
_WEB_SERVER = ("uvicorn.lifespan.off", "uvicorn.protocols.http.h11_impl")
_OPENAI = ("openai.resources", "openai.types")
_PROGRAM = (
    *_HTTP, *_OPENAI, *_WEB_SERVER, "adapters.discord.adapter", "adapters.slack.adapter",
    "adapters.terminal.chat", "adapters.web.hub", "adapters.web.server", "bot.app",
    "bot.cli.main", "bot.cli.command_line", "bot.cli.commands", "bot.cli.doctor",
    "bot.doctor.checks", "core.models.conversations_api", "core.models.demo_model",
    "core.models.own_history", "core.models.served_model", "core.tools.code.local",
    "core.tools.nocodb.bridge", "core.tools.nocodb.source", "core.tools.stackspot.source",
    "discord", "markdown_it", "procrastinate", "psycopg_pool",
    "slack_bolt.adapter.socket_mode.aiohttp",
    "slack_bolt.async_app", "slack_bolt.listener_matcher.async_builtins", "sqlitedict",
    "typer._adapters",
)  # fmt: skip
LATE_IMPORTS = {
    "bot": _PROGRAM,
    "tests.dialogues.quick_polls": _PROGRAM,
    "tests.discord.victim": ("sqlitedict",),
    "tests.fakes.victim": (*_HTTP, *_OPENAI, *_WEB_SERVER, "nh3", "sqlitedict"),
    "tests.model.victim": (*_HTTP, *_OPENAI),
    "tests.real.machine": _PROGRAM,
    "tests.real.schedule_machine": ("babel.dates", "core.schedules.runs",
                                    "core.schedules.runs", "core.schedules.rows",
                                    "cronsim", "markdown_it", "nh3", "procrastinate",
                                    "psycopg_pool", "sqlitedict"),
    "tests.slack.victim": ("slack_bolt.async_app", "slack_bolt.listener_matcher.async_builtins",
                           "sqlitedict"),
    "tests.terminal.talk": (*_HTTP, "adapters.terminal.screen", "concurrent.futures.thread",
                            "prompt_toolkit.input.vt100", "rich.markdown"),
}  # fmt: skip
"""Modules that a program imports when it first needs them. Importing them takes longer than the
rest of its start."""


def build_once() -> None:
    """Build what each start of Ponte would build: what checks the settings and ponte.toml, the
    parser of the command line, and the translations."""
    import typer.main

    from bot import settings
    from bot.cli.command_line import cli
    from bot.config import ponte_toml as config
    from bot.integrations import FACES
    from core.base.i18n import LOCALES, catalogue

    settings._environment_class(FACES)
    config._file_adapter(config._list_sections(FACES))
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(cli)
    for locale in LOCALES:
        catalogue(locale)


def read_once() -> None:
    """Read what each client of a server would read: the certificates, and the machine's name."""
    from core.base.http import load_tls_context

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for (number,) in NUMBER.iter_unpack(data):
            if not self.pid.done():
                self.pid.set_result(number)
            else:
                self._code = number
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.pid.done():
            self.pid.set_exception(AssertionError("the program could not be forked"))
        self.exit_code.set_result(self._code)


class ForkServer:
    """The forking process, seen from the tests. It ends when they close it, or have died.

    `environment` is what it imports the product with: the place of the home folder depends on HOME
    and is found out then.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.address = str(folder / "forker")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.forker", str(listener.fileno())],
                cwd=ROOT,
                env=environment,
                pass_fds=[listener.fileno()],
                stdin=PIPE,
            )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and every program that still runs."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@functools.cache
def fork_server() -> ForkServer:
    """Return the one of this test process. The developer's home folder is not its own."""
    folder = tempfile.TemporaryDirectory(prefix="ponte-forker-")
    server = ForkServer(Path(folder.name), {**os.environ, "HOME": folder.name})
    atexit.register(folder.cleanup)
    atexit.register(server.close)
    return server


async def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = DEVNULL,
) -> Process:
    """Run `python -m MODULE ARGUMENTS`. A stream is DEVNULL or a file descriptor. `stdout` may be
    PIPE, too, and `stderr` PIPE or STDOUT."""
    readers: list[int] = []
    ours: list[int] = []

    def open_stream(stream: int) -> int:
        if stream >= 0:
            return stream
        if stream == PIPE:
            reading, writing = os.pipe()
            readers.append(reading)
        else:
            writing = os.open(os.devnull, os.O_RDWR)
        ours.append(writing)
        return writing

    streams = [open_stream(stdin), open_stream(stdout)]
    streams.append(streams[1] if stderr == STDOUT else open_stream(stderr))
    connection = send_request(
        fork_server().address,
        module,
        arguments,
        streams,
        os.environ if env is None else env,
        str(cwd),
    )
    for fd in ours:
        os.close(fd)
    pipes = [await _reader(fd) for fd in readers]
    _, reports = await asyncio.get_running_loop().connect_read_pipe(Reports, connection)
    await reports.pid
    output = pipes.pop(0) if stdout == PIPE else None
    return Process(reports, output, pipes.pop() if pipes else None)


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = os.fdopen(fd, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return reader


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

    def run(self, streams: Sequence[int]) -> NoReturn:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        # A new object, because the old one remembers whether its stream could seek.
        sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, encoding="utf-8", closefd=False)
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.cwd)
        sys.path[0] = self.cwd
        sys.argv[1:] = self.arguments
        if not hasattr(sys.modules[self.module], "__path__"):
            del sys.modules[self.module]  # else runpy warns
        code: str | int | None = 0
        try:
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        _leave(code)


def _leave(code: str | int | None) -> NoReturn:
    """End as an interpreter does, but without tearing all modules down: that takes three times as
    long as a short command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    if isinstance(code, int):
        os._exit(code)
    sys.exit(code)


def serve(listener: socket.socket) -> None:
    """Fork for each request, until standard input ends: the tests have ended then."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as events:
        events.register(listener, selectors.EVENT_READ)
        events.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fd == 0:
                    for pid, _ in running.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                if key.fd in running:
                    events.unregister(key.fd)
                    report_end(key.fd, *running.pop(key.fd))
                    continue
                caller, _ = listener.accept()
                request, streams, *_ = socket.recv_fds(caller, MAX_REQUEST_BYTES, 3)
                program = Program(**json.loads(request))
                program.load()
                if not (pid := os.fork()):
                    events.close()
                    for pidfd, (_, other) in running.items():
                        os.close(pidfd)
                        other.close()
                    caller.close()
                    listener.close()
                    program.run(streams)
                for stream in streams:
                    os.close(stream)
                with suppress(BrokenPipeError):
                    caller.send(NUMBER.pack(pid))
                pidfd = os.pidfd_open(pid)
                running[pidfd] = pid, caller
                events.register(pidfd, selectors.EVENT_READ)


def report_end(pidfd: int, pid: int, caller: socket.socket) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(pidfd)
    with caller, suppress(BrokenPipeError):
        caller.send(NUMBER.pack(code))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
