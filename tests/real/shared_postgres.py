"""One Postgres for all test processes of a run.

`python -m tests.real.shared_postgres` prints its folder, and runs until its standard input ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.postgres import SPEED, Postgres, memory_folder, postgres
from tests.real.shared import share_server, start_detached

MAX_CONNECTIONS = {"max_connections": "400"}
"""Each test process has up to 50."""


@contextmanager
def shared_postgres(folder: Path) -> Iterator[Postgres]:
    """Yield the server of all processes that pass the same `folder`."""
    with share_server(folder, "postgres", _start) as description:
        server = Postgres(Path(description), {})
        yield server
        server.disconnect()


def _start(pipe: int) -> str:
    return start_detached("tests.real.shared_postgres", pipe)


def main() -> None:
    with postgres({**SPEED, **MAX_CONNECTIONS}, memory_folder()) as server:
        print(server.folder, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
