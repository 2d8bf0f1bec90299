"""Owns one uvicorn server on a socket of our own.

uvicorn takes SIGTERM and SIGINT for itself and raises them again when it ends (`capture_signals`),
calls `sys.exit` where it cannot listen, and opens a Unix socket to every user (0o666). So: no
signals, and sockets that are bound before.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from adapters.web.connection import ACCEPTED, Connection
from core.errors import SettingsError

BACKLOG = 512
GRACE = 2
"""Seconds that requests have after every event stream was ended."""


class _Server(uvicorn.Server):
    """Wakes once a second (for the Date header) and not ten times, and at once to leave."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio took `ACCEPTED` for the kernel's queue as well (create_server's `backlog`).
            listener.listen(BACKLOG)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 1.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Listens from `start` on; `stop` returns when the last connection is closed."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=ACCEPTED,
            timeout_graceful_shutdown=GRACE,
        )
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self._server.config.load)
        self._task = asyncio.create_task(self._server.serve([self._listener]), name="uvicorn")

    async def stop(self) -> None:
        self._server.should_exit = True
        self._server.leaving.set()
        if self._task is not None:
            await self._task
        self._listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sets TCP_NODELAY only where the socket says that it is TCP; without it an answer
        # waits up to 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(
            "Cannot listen on {host}:{port} ({why}). Set PONTE_WEB_HOST and PONTE_WEB_PORT.",
            host=host, port=port, why=error.strerror or str(error),
        ) from None  # fmt: skip
    listener.listen(BACKLOG)
    return listener
