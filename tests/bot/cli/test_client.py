"""A quick command from the shell, while Ponte restarts or refuses."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import pytest

from adapters.terminal.screen import Screen
from bot.cli import client
from core.base.http import HttpAnswer, HttpClient, HttpError

DONE = ("done", {"response": "Done."})


Event = tuple[str, Any]
PROGRESS: Event = ("progress", {"turn": "t1", "text": "Running…"})


class Server:
    """Answers each request with the next status, or with a stream of events that then ends; 200 is
    the end of the turn."""

    def __init__(self, *answers: int | list[Event]) -> None:
        self._answers = list(answers)
        self.keys: list[object] = []

    async def stream(
        self, _http: object, asked: Mapping[str, object], *_: object
    ) -> AsyncGenerator[Event]:
        self.keys.append(asked["event_key"])
        answer = self._answers.pop(0)
        if isinstance(answer, list):
            for event in answer:
                yield event
        elif answer != 200:
            raise HttpAnswer(answer, {}, b"")
        else:
            yield DONE


def run_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> client.SingleTurn:
    monkeypatch.setattr(client, "turn_stream", server.stream)
    monkeypatch.setattr(client, "RECONNECT_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    return client.SingleTurn(None, Screen(io.StringIO()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "requests"),
    [((503, 503, 200), 3), (([PROGRESS], 503, 200), 3)],
    ids=["a restart", "a stream that breaks off"],
)
async def test_an_interrupted_answer_is_followed_with_the_same_key(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[int | list[Event], ...], requests: int
) -> None:
    server = Server(*answers)
    answer = await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert answer["response"] == "Done."
    assert len(server.keys) == requests
    assert len(set(server.keys)) == 1, "it runs once"


@pytest.mark.parametrize(
    ("answers", "error", "words", "requests"),
    [
        ((403,), HttpAnswer, None, 1),
        (([PROGRESS], 503, 503, 503), client.HolderLost, None, 4),
        (([], 200), HttpError, "the stream ended early", 1),
        (([PROGRESS, ("error", {"message": "Stopping."})],), client.TurnRefused, "Stopping", 1),
    ],
    ids=["a refusal", "a restart without end", "broken off before a turn is known", "an error"],
)
async def test_what_is_given_up_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[int | list[Event], ...],
    error: type[Exception],
    words: str | None,
    requests: int,
) -> None:
    server = Server(*answers)
    with pytest.raises(error, match=words):
        await run_over(server, monkeypatch).run("quick-command a", [], "command")
    assert len(server.keys) == requests, "one attempt after each pause of a restart"


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
