"""`ponte …` at the price of a fork: one process has imported all, and each command is its child.

`python -m tests.commands SOCKET` serves; `python tests/commands.py SOCKET WORD…` is the program: it
hands over its arguments, environment, folder and the three streams, and ends as the command does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def serve(path: str) -> None:
    """Until it is killed."""
    from bot.app import start
    from bot.cli import main

    start(quiet=True)  # what it builds for settings and ponte.toml stays built
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            caller, _ = listening.accept()
            with caller:
                if os.fork():
                    continue
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                asked, streams, *_ = socket.recv_fds(caller, 1 << 17, 3)
                words, environment, folder = json.loads(asked)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.environ.clear()
                os.environ.update(environment)
                os.chdir(folder)
                code = main(words)
                sys.stdout.flush()
                caller.sendall(bytes([code]))
                os._exit(code)


def ask(path: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        asked = json.dumps([words, dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(server, [asked], [0, 1, 2])
        return (server.recv(1) or b"\x01")[0]


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
