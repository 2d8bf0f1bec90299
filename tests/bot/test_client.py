"""A quick command from the shell, while Ponte restarts or refuses."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from adapters.terminal.screen import Screen
from bot import client
from core.clients.http import HttpAnswer

DONE = ("done", {"response": "Done."})


class Server:
    """Answers each request with the next status; 200 is the end of the turn."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.keys: list[object] = []

    async def stream(
        self, _http: object, asked: Mapping[str, object], *_: object
    ) -> AsyncGenerator[tuple[str, Any]]:
        self.keys.append(asked["event_key"])
        status = self._statuses.pop(0)
        if status != 200:
            raise HttpAnswer(status, {}, b"")
        yield DONE


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
