"""Notifications between the processes of one database, over LISTEN and NOTIFY of Postgres.

A notification is a word and an id, never a person's text. It is only a hint. Any role that may
connect to the database can send one, and a process misses those that are sent while it reconnects.
So a handler acts on what it reads in a row. What must not be missed is also looked up from time to
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from core.base.retry import Backoff, retry
from core.base.tasks import cancel_all
from core.store.database import SqlConnection
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase

if TYPE_CHECKING:
    import psycopg

log = structlog.get_logger("jobs")
NOTIFY_CHANNEL = "ponte"
"""The Postgres channel of all notifications."""
RECONNECT_SECONDS = 1.0
"""Seconds before the first attempt to reconnect."""
RECONNECT_BACKOFF = Backoff(RECONNECT_SECONDS, max_seconds=30.0)
HANDLER_TIMEOUT_SECONDS = 10.0
"""Seconds that one handler may take. After that it is cancelled, and the next notification is
read."""
NotificationHandler = Callable[[str], Awaitable[None] | None]
"""Handles a notification, given by its id. A handler that waits for nothing is a plain function,
which costs no task: each process gets a notification at the end of every turn."""


class Notifications:
    """Sends notifications, and passes each received one to the handlers of its word."""

    def __init__(self, url: str, database: PostgresDatabase) -> None:
        self._url = url
        self._database = database
        self._handlers: dict[str, list[NotificationHandler]] = {}
        self.connected = asyncio.Event()
        self.disconnected_at = time.monotonic()
        """When the connection was lost, by the monotonic clock. Valid while `connected` is not
        set."""

    def on(self, word: str, handler: NotificationHandler) -> None:
        """Call `handler` with the id of every notification that begins with `word`."""
        self._handlers.setdefault(word, []).append(handler)

    async def send(self, word: str, id: str) -> None:
        """Notify every process, this one too. Raise NotStored."""
        await self._database.write(lambda connection: notify(connection, word, id))

    @property
    def seconds_disconnected(self) -> float:
        """Return for how many seconds no notification could arrive, 0 while connected."""
        return 0.0 if self.connected.is_set() else time.monotonic() - self.disconnected_at

    async def run(self, on_connect: Callable[[], None]) -> None:
        """Receive notifications until cancelled, over one connection at a time. After each connect,
        `on_connect` looks up what the process may have missed."""
        while True:
            connection = await retry(self._connect, Exception, reconnect_pause)
            self.connected.set()
            try:
                on_connect()
                await self._receive(connection)
            except Exception as error:
                log.warning("notification connection lost; reconnecting", error=repr(error))
            finally:
                self.connected.clear()
                self.disconnected_at = time.monotonic()
                await connection.close()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """Return a new connection that listens. Raise any error of psycopg."""
        import psycopg

        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, **CONNECTION_OPTIONS
        )
        try:
            await connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _receive(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Pass each notification to its handlers, until the connection breaks."""
        async with contextlib.aclosing(connection.notifies()) as notifications:
            async for notification in notifications:
                word, _, id = notification.payload.partition(" ")
                for handler in self._handlers.get(word, ()):
                    await self._call(handler, word, id)

    async def _call(self, handler: NotificationHandler, word: str, id: str) -> None:
        """Call one handler. If it fails, log that: the rows that it reads are read again later.

        The handler runs in a task of its own, so that a cancellation inside it does not end the
        listener.
        """
        try:
            if (waiting := handler(id)) is None:
                return
        except Exception as error:
            log.warning(
                "could not handle a notification", notification=word[:20], error=repr(error)
            )
            return
        task = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({task}, timeout=HANDLER_TIMEOUT_SECONDS)
        finally:
            if not task.done():
                await cancel_all([task])
        if task.cancelled() or task.exception():
            why = "cancelled" if task.cancelled() else repr(task.exception())
            log.warning("could not handle a notification", notification=word[:20], error=why)


def notify(connection: SqlConnection, word: str, id: str) -> None:
    """Notify every process as soon as the transaction of `connection` commits."""
    connection.execute("SELECT pg_notify(?, ?)", (NOTIFY_CHANNEL, f"{word} {id}")).close()


def reconnect_pause(error: Exception, failed: int) -> float:
    """Log a failed connect, and return the seconds until the next attempt."""
    log.warning(
        "notification connection lost; reconnecting", error=repr(error), failed_attempts=failed
    )
    return RECONNECT_BACKOFF.seconds_after(failed)
