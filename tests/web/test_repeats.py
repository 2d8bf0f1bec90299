"""One `event_key` is one turn: at once, later, and after a restart."""

from __future__ import annotations

import asyncio

from core.domain.messages import Answer
from tests.web.web_ponte import Client, Turn, WebPonte, events


async def test_a_repeat_gets_the_first_answer(ponte: WebPonte, client: Client) -> None:
    """Two at once are one turn. Later ones get its answer, whatever they say, also as a stream."""
    payload = {"message": "one", "event_key": "k", "conversation": "a"}
    both = await asyncio.gather(
        client.post("/chat", json=payload), client.post("/chat", json=payload)
    )
    first = both[0].json()
    assert (both[1].json(), first["conversation"]) == (first, "a")
    for text in ("two", ""):
        body = payload | {"message": text, "conversation": "b"}
        assert (await client.post("/chat", json=body)).json() == first
    headers = {"Accept": "text/event-stream"}
    async with client.stream("POST", "/chat", json=body, headers=headers) as response:
        new_events = [event async for event in events(response)]
    assert [event.name for event in new_events] == ["progress", "delta", "done"]
    assert new_events[-1].data == first
    assert [row.message.event_key for row in ponte.rows.values()] == ["web:k"]


async def test_a_repeat_after_a_restart_waits_for_the_same_turn(ponte: WebPonte) -> None:
    start_event = asyncio.Event()

    async def cut_off(turn: Turn) -> Answer:
        start_event.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def goes_on(turn: Turn) -> Answer:
        return Answer("at last")

    ponte.script = cut_off
    payload = {"message": "one", "event_key": "k"}
    async with ponte.client(Prefer="respond-async") as client:
        turn = (await client.post("/chat", json=payload)).json()["turn"]
    await start_event.wait()
    ponte.script = goes_on
    await ponte.restart()
    async with ponte.client() as client:
        again = (await client.post("/chat", json=payload)).json()
    assert (again["turn"], again["response"]) == (turn, "at last")


async def test_a_repeated_upload_adds_no_file(ponte: WebPonte, client: Client) -> None:
    form = {"message": "see", "event_key": "k"}
    await client.post("/chat", data=form, files={"file": ("a.txt", b"one")})
    await client.post("/chat", data=form, files={"file": ("b.txt", b"two")})
    assert [file.name for file in await ponte.files.list_of_events("web:k")] == ["a.txt"]


async def test_the_terminal_has_keys_of_its_own(ponte: WebPonte, client: Client) -> None:
    await client.post("/chat", json={"message": "one", "event_key": "k"})
    async with ponte.terminal_client() as terminal:
        response = await terminal.post("/chat", json={"message": "two", "event_key": "k"})
    assert response.json()["response"] == "You said: two"


async def test_a_key_in_the_header_counts_as_the_event_key(ponte: WebPonte, client: Client) -> None:
    header = {"Idempotency-Key": "order-66"}
    first = await client.post("/chat", json={"message": "one"}, headers=header)
    again = await client.post("/chat", json={"message": "two"}, headers=header)
    response = await client.post("/chat", json={"message": "three", "event_key": "order-66"})
    assert again.json() == response.json() == first.json()
    other = await client.post("/chat", json={"message": "four", "event_key": "k"}, headers=header)
    assert other.json()["response"] == "You said: four", "the body's counts"
    wrong = await client.post("/chat", json={"message": "x"}, headers={"Idempotency-Key": "a b"})
    assert wrong.status_code == 400
    assert len(ponte.rows) == 2
