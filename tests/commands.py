"""Run `ponte …` at the price of a fork, in a test or in a shell script.

`Command` starts one in a test and resembles `subprocess.Popen`. For scripts, `python -I -S
tests/commands.py SOCKET WORD…` behaves like `ponte WORD…`; it starts fast, since it imports little.
Both ask the process behind the socket (`tests.fakes.forker`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

NUMBER = struct.Struct("i")
"""What the answers consist of: the process id, and later the exit code."""
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def send_request(
    address: str,
    module: str,
    arguments: Sequence[str],
    streams: Sequence[int],
    env: Mapping[str, str],
    cwd: str,
) -> socket.socket:
    """Start `python -m MODULE ARGUMENTS` with three streams; return the connection that brings its
    process id and its exit code."""
    sys.audit("tests.start_process", module)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    request = {"module": module, "arguments": arguments, "env": dict(env), "cwd": cwd}
    socket.send_fds(connection, [json.dumps(request).encode()], streams)
    return connection


def receive_number(connection: socket.socket) -> int:
    number: int = NUMBER.unpack(connection.recv(NUMBER.size))[0]
    return number


def run_program(address: str, words: Sequence[str]) -> int:
    connection = send_request(address, "bot", words, [0, 1, 2], os.environ, os.getcwd())
    pid = receive_number(connection)
    for number in FORWARDED_SIGNALS:
        signal.signal(number, lambda given, _: os.kill(pid, given))
    code = receive_number(connection)
    return code if code >= 0 else 128 - code


class Command:
    """A command that runs. `stdout` is where its output goes; None for a pipe that is read here.
    `module` runs it: `bot`, or one that calls it in a special way."""

    def __init__(
        self,
        address: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        stdout: int | None = None,
        module: str = "bot",
    ) -> None:
        self.returncode: int | None = None
        input, stdin = os.pipe()
        output, lines = (None, stdout) if stdout is not None else os.pipe()
        errors, error = os.pipe()
        assert lines is not None
        self._connection = send_request(
            address, module, words, [input, lines, error], environment, str(folder)
        )
        for ours in (input, error, *([lines] if output is not None else [])):
            os.close(ours)
        self.pid = receive_number(self._connection)
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(output, encoding="utf-8") if output is not None else None
        self.stderr = os.fdopen(errors, encoding="utf-8")

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.wait()
        self._connection.close()
        self.stderr.close()
        if self.stdout:
            self.stdout.close()

    def wait(self) -> int:
        """Return its exit code, or the negated number of the signal that killed it."""
        if self.returncode is None:
            self.returncode = receive_number(self._connection)
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


if __name__ == "__main__":
    sys.exit(run_program(sys.argv[1], sys.argv[2:]))
