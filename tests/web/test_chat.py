"""`POST /chat`: what a script says and is answered."""

from __future__ import annotations

import asyncio

from core.domain.messages import Answer, Card, File
from tests.fakes.card_rows import card_row
from tests.web.web_ponte import Client, Event, Turn, WebPonte, events, until

STREAM = {"Accept": "text/event-stream"}


async def test_a_script_asks_and_is_answered(client: Client) -> None:
    response = await client.post("/chat", json={"message": "hello"})
    assert response.status_code == 200
    body = response.json()
    assert body.pop("turn")
    assert body == {
        "response": "You said: hello",
        "conversation": "main",
        "status": "done",
        "files": [],
        "cards": [],
    }


async def test_the_person_is_the_owner_of_the_page(ponte: WebPonte, client: Client) -> None:
    await client.post(
        "/chat",
        json={"message": "hi", "conversation": "work-1", "time_zone": "Europe/Lisbon"},
        headers={"Accept-Language": "pt-BR,pt;q=0.9"},
    )
    message = ponte.rows[1].message
    assert message.author.key == "web:owner"
    assert message.address.conversation == "web:work-1"
    assert (message.locale, message.time_zone) == ("pt-BR", "Europe/Lisbon")
    assert message.event_key.startswith("web:")


async def test_control_characters_do_not_come_in(ponte: WebPonte, client: Client) -> None:
    body = r'{"message": "a\u0000b\u001b[31mc\ud800\r\nd"}'
    await client.post("/chat", content=body, headers={"Content-Type": "application/json"})
    assert ponte.rows[1].message.text == "abc\ufffd\nd"


async def test_the_same_turn_as_events(ponte: WebPonte, client: Client) -> None:
    card = Card("abc234", "proposal", "Create", "1 row", (card_row({}, {"a": 1}),))
    start_event, view_event = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(doing="is reading the tables…")
        await start_event.wait()
        await turn.show("Hel")
        await view_event.wait()
        await turn.show("Hello")
        return Answer("Hello you", cards=(card,), files=(File("f1", "p.png", "image/png", 3),))

    ponte.script = script
    async with client.stream("POST", "/chat", json={"message": "x"}, headers=STREAM) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = events(response)
        begin = await until(stream, "progress") + await until(stream, "progress")
        start_event.set()
        begin += await until(stream, "delta")
        view_event.set()
        new_event = begin + [event async for event in stream]
    names = [event.name for event in new_event]
    assert names[0] == "progress"
    assert names[-3:] == ["card", "file", "done"]
    turn = new_event[0].data["turn"]
    assert Event("progress", {"turn": turn, "text": "Ponte is reading the tables…"}) in new_event
    text = "".join(event.data["text"] for event in new_event if event.name == "delta")
    assert text == new_event[-1].data["response"] == "Hello you", "the pieces are the whole answer"
    assert new_event[-1].data["turn"] == turn
    assert new_event[-3].data["id"] == "abc234"
    assert new_event[-2].data["url"] == "/files/f1"


async def test_text_that_starts_over_says_so(ponte: WebPonte, client: Client) -> None:
    event, told_again = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show("One")
        await event.wait()
        await turn.show("Two")
        await told_again.wait()
        return Answer("Two")

    ponte.script = script
    async with client.stream("POST", "/chat", json={"message": "x"}, headers=STREAM) as response:
        stream = events(response)
        await until(stream, "delta")
        event.set()
        again = (await until(stream, "delta"))[-1]
        told_again.set()
    assert again.data["reset"] is True
    assert again.data["text"] == "Two"


async def test_html_is_given_to_whom_asks_for_it(client: Client) -> None:
    response = await client.post("/chat?html=1", json={"message": "**x** <b>"})
    assert response.json()["html"].startswith(
        '<p dir="auto">You said: <strong>x</strong> &lt;b&gt;'
    )


async def test_an_answer_can_be_left_for_later(ponte: WebPonte, client: Client) -> None:
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await free.wait()
        return Answer("late")

    ponte.script = script
    response = await client.post(
        "/chat", json={"message": "x"}, headers={"Prefer": "respond-async"}
    )
    assert response.status_code == 202
    assert response.json() == {
        "conversation": "main",
        "turn": ponte.rows[1].message.turn,
        "status": "accepted",
    }
    free.set()


async def test_a_failed_turn_says_so_and_a_refused_one_is_its_status(
    ponte: WebPonte, client: Client
) -> None:
    codes = {"break": "model_down", "too much": "too_many"}

    ponte.answers(lambda turn: Answer("No.", "failed", code=codes[turn.message.text]))
    response = await client.post("/chat", json={"message": "break"})
    assert (response.status_code, response.json()["status"]) == (200, "failed")
    assert response.json()["code"] == "model_down"
    refusal = await client.post("/chat", json={"message": "too much"})
    assert refusal.status_code == 429
    assert refusal.json()["error"] == {"code": "too_many", "message": "No."}


async def test_what_waits_its_turn_is_told_so(ponte: WebPonte, client: Client) -> None:
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await free.wait()
        return Answer(f"did {turn.message.text}")

    ponte.script = script
    await client.post("/chat", json={"message": "one"}, headers={"Prefer": "respond-async"})
    async with client.stream("POST", "/chat", json={"message": "two"}, headers=STREAM) as response:
        stream = events(response)
        first = (await until(stream, "progress"))[0]
        free.set()
        outcome = (await until(stream, "done"))[-1]
    assert first.data["text"] == "Messages queued ahead of this one: 1."
    assert outcome.data["response"] == "did two"


async def test_only_text_that_a_person_typed_may_be_a_command(ponte: WebPonte) -> None:
    """The home's socket is for programs, unless they say that a person typed it."""
    payload = {"message": "approve abc234"}
    questions = [
        (ponte.client(), True),
        (ponte.client(**{"X-Ponte-Typed": "false"}), False),
        (ponte.terminal_client(), False),
    ]
    for one, _ in questions:
        async with one:
            await one.post("/chat", json=payload)
    async with ponte.terminal_client() as terminal:
        await terminal.post("/chat", json=payload, headers={"X-Ponte-Typed": "true"})
        await terminal.post("/cards/abc234", json={"action": "approve"})
    async with ponte.program() as program:
        asked_of_model = [{"role": "user", "content": "quick-command deploy"}]
        body = {"model": "ponte", "messages": asked_of_model}
        await program.post("/v1/chat/completions", json=body)
    matches = [row.message.may_be_command for row in ponte.rows.values()]
    assert matches == [*(is_typed for _, is_typed in questions), True, True, False]
