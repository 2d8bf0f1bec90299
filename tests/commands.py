"""Run `ponte …` at the price of a fork: one process imports everything, each command is its child.

`python -m tests.commands SOCKET` serves. `python tests/commands.py SOCKET WORD…` is a program that
behaves like `ponte WORD…`. `Command` starts one in a test and resembles `subprocess.Popen`. Both
send their arguments, environment, folder and three streams to the server. It answers with the
process id of the child, and with the exit code when the child has ended.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

REQUEST_MAX_BYTES = 1 << 17
NUMBER = struct.Struct("i")
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LATE_IMPORTS = (
    "adapters.terminal.chat", "adapters.web.server", "anyio._backends._asyncio", "bot.app",
    "bot.cli_commands", "bot.client", "core.models.demo_model", "core.tools.code.local",
    "core.tools.nocodb.source", "core.tools.stackspot.source", "httpcore", "httpx", "sqlitedict",
    "typer._adapters", "uvicorn.lifespan.off", "uvicorn.protocols.http.h11_impl",
)  # fmt: skip
"""Modules that the product imports when it needs them; here, before it forks."""


def serve(path: str) -> None:
    """Serve until standard input ends, which it does when the tests end; then end every command."""
    from bot.cli import main
    from tests.fakes import forker

    for module in LATE_IMPORTS:
        import_module(module)
    forker.build_once()
    forker.read_once()
    gc.freeze()  # a child's collector leaves alone, and does not copy, what it inherits
    if (words := accept_commands(path)) is None:
        return
    code = main(words)
    sys.stdout.flush()
    os._exit(code)  # tearing all modules down takes three times as long as a command


def accept_commands(path: str) -> list[str] | None:
    """Return a command's words in its process, and None in the server when it is to end."""
    with selectors.DefaultSelector() as events, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        events.register(listener, selectors.EVENT_READ)
        events.register(sys.stdin, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for key, _ in events.select():
                if key.fileobj is sys.stdin:
                    for child in filter(None, (each.data for each in events.get_map().values())):
                        os.kill(child[0], signal.SIGKILL)
                    return None
                if key.fileobj is listener:
                    caller, _ = listener.accept()
                    words, streams, environment, folder = receive_request(caller)
                    if not (pid := os.fork()):
                        caller.close()
                        take_over(streams, environment, folder)
                        return words
                    for stream in streams:
                        os.close(stream)
                    caller.sendall(NUMBER.pack(pid))
                    events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, caller))
                else:
                    pid, caller = key.data
                    send_exit_code(pid, caller)
                    events.unregister(key.fileobj)
                    os.close(key.fd)


def receive_request(caller: socket.socket) -> tuple[list[str], list[int], dict[str, str], str]:
    request, streams, *_ = socket.recv_fds(caller, REQUEST_MAX_BYTES, 3)
    words, environment, folder = json.loads(request)
    return words, streams, environment, folder


def take_over(streams: Sequence[int], environment: Mapping[str, str], folder: str) -> None:
    """Become a process of the caller."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


def send_exit_code(pid: int, caller: socket.socket) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with caller, suppress(BrokenPipeError):
        caller.sendall(NUMBER.pack(code))


def send_request(
    path: str, words: Sequence[str], streams: Sequence[int], environment: Mapping[str, str],
    folder: str,
) -> tuple[socket.socket, int]:  # fmt: skip
    """Start a command; return the connection that brings its exit code, and its process id."""
    sys.audit("tests.start_process", "ponte")
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    request = json.dumps([words, dict(environment), folder]).encode()
    socket.send_fds(server, [request], streams)
    return server, NUMBER.unpack(server.recv(NUMBER.size))[0]


def run_program(path: str, words: list[str]) -> int:
    server, pid = send_request(path, words, [0, 1, 2], os.environ, os.getcwd())
    for number in FORWARDED_SIGNALS:
        signal.signal(number, lambda given, _: os.kill(pid, given))
    code: int = NUMBER.unpack(server.recv(NUMBER.size))[0]
    return code if code >= 0 else 128 - code


class Command:
    """A command that runs. `stdout` is where its output goes; None for a pipe that is read here."""

    def __init__(
        self, path: str, words: Sequence[str], environment: Mapping[str, str], folder: Path,
        stdout: int | None = None,
    ) -> None:  # fmt: skip
        self.returncode: int | None = None
        input, stdin = os.pipe()
        output, written = (None, stdout) if stdout is not None else os.pipe()
        errors, error = os.pipe()
        assert written is not None
        self._server, self.pid = send_request(
            path, words, [input, written, error], environment, str(folder)
        )
        for ours in (input, error, *([written] if output is not None else [])):
            os.close(ours)
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(output, encoding="utf-8") if output is not None else None
        self.stderr = os.fdopen(errors, encoding="utf-8")

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.wait()
        self._server.close()
        self.stderr.close()
        if self.stdout:
            self.stdout.close()

    def wait(self) -> int:
        """Return its exit code, or the negated number of the signal that killed it."""
        if self.returncode is None:
            self.returncode = NUMBER.unpack(self._server.recv(NUMBER.size))[0]
        return self.returncode

    def communicate(self, input: str = "") -> tuple[str, str]:
        """Type `input`; return the rest of its output and of its errors when it has ended."""
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        with suppress(BrokenPipeError):
            self.stdin.write(input)
            self.stdin.close()
        output = self.stdout.read() if self.stdout else ""
        reader.join()
        self.wait()
        return output, errors[0]

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def command_server(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Start a server in `folder`; the path of its socket."""
    path = str(folder / "commands")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.commands", path], cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield path  # leaving closes its standard input


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        sys.exit(run_program(sys.argv[1], sys.argv[2:]))
