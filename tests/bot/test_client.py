"""A quick command from the shell, while Ponte restarts or refuses."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import pytest

from adapters.terminal.screen import Screen
from bot import client
from core.clients.http import HttpAnswer, HttpClient

DONE = ("done", {"response": "Done."})


class Server:
    """Answers each request with the next status; 200 is the end of the turn, by the event `end`."""

    def __init__(self, *statuses: int, end: tuple[str, Any] = DONE) -> None:
        self._statuses = list(statuses)
        self._end = end
        self.keys: list[object] = []

    async def stream(
        self, _http: object, asked: Mapping[str, object], *_: object
    ) -> AsyncGenerator[tuple[str, Any]]:
        self.keys.append(asked["event_key"])
        status = self._statuses.pop(0)
        if status != 200:
            raise HttpAnswer(status, {}, b"")
        yield self._end


def run_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> client.SingleTurn:
    monkeypatch.setattr(client, "turn_stream", server.stream)
    monkeypatch.setattr(client, "RECONNECT_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    return client.SingleTurn(None, Screen(io.StringIO()))  # type: ignore[arg-type]


async def test_a_restart_is_waited_out_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(503, 503, 200)
    answer = await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert answer["response"] == "Done."
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1, "it runs once"


async def test_a_refusal_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(403)
    with pytest.raises(HttpAnswer):
        await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert len(server.keys) == 1


async def test_a_restart_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(503, 503, 503, 503)
    with pytest.raises(client.HolderLost):
        await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert len(server.keys) == 4, "one attempt after each pause"


async def test_an_error_of_the_turn_is_raised_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(200, end=("error", {"message": "Ponte is stopping."}))
    with pytest.raises(client.TurnRefused, match=r"^Ponte is stopping\.$"):
        await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert len(server.keys) == 1


class WaitingServer:
    """A turn that never ends. The person presses Ctrl-C when it begins, and when it is stopped."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    async def stream(self, *_: object) -> AsyncGenerator[tuple[str, Any]]:
        yield "progress", {"turn": "t1", "text": "Working…"}
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    async def post_json(self, url: str, body: object, *, headers: object) -> None:
        self.stopped.append(url.partition("/turns/")[2])
        signal.raise_signal(signal.SIGINT)


async def test_the_second_ctrl_c_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    server, screen = WaitingServer(), io.StringIO()
    monkeypatch.setattr(client, "turn_stream", server.stream)
    turn = client.SingleTurn(cast("HttpClient", server), Screen(screen))
    with pytest.raises(KeyboardInterrupt):
        await turn.run("quick-command a", [], "command")
    assert server.stopped == ["t1/stop"]
