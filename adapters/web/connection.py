"""One HTTP connection that ends when its client is slow.

uvicorn waits for ever for a request's head, for its body, and for whoever does not read the answer
(its `timeout_keep_alive` runs between two requests only); and it takes any number of connections.
So who has not shown the token may hold some at once, of which the one that has kept us waiting for
longest makes room for a new one. An honest request is whole before that: see `ACCEPTED`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.web.guard import KNOWN

HEAD = 10.0
"""Seconds for the head of a request: from the connection, or from its first byte."""
BODY = 30.0
"""Seconds for a body, and one more for each `RATE` bytes that have come."""
RATE = 8_000
IDLE = 10.0
"""Seconds between two requests, where uvicorn's own deadline does not run: it forgets to set it
after the rest of a body that nobody wanted."""
READING = 60.0
"""Seconds in which a client that reads nothing of its answer is waited for."""
STRANGERS = 256
"""Connections at once whose request has not shown the token."""
ACCEPTED = 64
"""Connections that are accepted before what came on the last ones is read: well under `STRANGERS`,
so that a flood of others cannot push one out whose request has come already."""

_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)
_WORDS = b'{"error":{"code":"too_slow","message":"Your request did not come in time."}}'


class Connection(H11Protocol):
    """What it waits for now is `_phase`; `_since` is when that began."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._phase: Literal["head", "body", "idle", "answer"] = "idle"
        self._since = 0.0
        self._taken = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter("head", HEAD)
        self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._taken += len(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READING, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def _is_stranger(self) -> bool:
        return not (self.scope and self.scope["state"].get(KNOWN))

    def _make_room(self) -> None:
        strangers = [one for one in self.connections if isinstance(one, Connection)]
        strangers = [one for one in strangers if one._is_stranger and not one._is_closing]
        if len(strangers) > STRANGERS:
            waiting = [one for one in strangers if one._phase != "answer"]
            min(waiting or strangers, key=lambda one: one._since).transport.abort()

    @property
    def _is_closing(self) -> bool:
        return self.transport.is_closing()

    def _look(self) -> None:
        """What the client owes us now."""
        if self._is_closing:
            return
        match self.conn.their_state:
            case h11.IDLE if self.cycle is None or self.conn.trailing_data[0]:
                self._enter("head", HEAD)
            case h11.IDLE:
                self._enter("idle", IDLE)
            case h11.SEND_BODY:
                self._enter("body", BODY)
            case _:
                self._enter("answer", None)

    def _enter(
        self, phase: Literal["head", "body", "idle", "answer"], seconds: float | None
    ) -> None:
        if phase == self._phase:
            return
        self._phase, self._since, self._taken = phase, self.loop.time(), 0
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late) if seconds else None

    def _late(self) -> None:
        """Honest slow bodies go on, and those whose rest we ourselves do not take yet."""
        if self._phase == "body":
            left = self._since + BODY + self._taken / RATE - self.loop.time()
            if self.flow.read_paused:
                left = BODY
            if left > 0:
                self._deadline = self.loop.call_later(left, self._late)
                return
        unanswered = self._phase == "body" and not self.cycle.response_started
        if self._phase == "head" or unanswered:
            self.transport.write(_LATE % (len(_WORDS), _WORDS))
        self.transport.close()
