"""Buttons: decisions on cards and the end of a turn, each stored like what a person says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from core.domain.messages import Answer, Card
from tests.web.web_ponte import Client, NoPosts, Turn, WebPonte, events, following, until

RESPOND_LATER_HEADERS = {"Prefer": "respond-async"}
OPEN = Card("abc234", "proposal", "Create a row", "1 row", actions=("approve", "deny"))
MADE = Card("abc234", "change", "Created a row", "by the owner", actions=("undo",), state="done")


async def test_a_click_is_a_message_of_its_own(ponte: WebPonte, client: Client) -> None:
    ponte.answers(Answer("Created 1 row.", cards=(MADE,)))
    async with following(client, "work") as tab:
        await until(tab, "ready")
        response = await client.post(
            "/cards/abc234", json={"action": "approve", "conversation": "work"}
        )
        card = (await until(tab, "card"))[-1]
    assert (card.data["state"], card.data["text"]) == ("done", "by the owner"), "every tab sees it"
    assert response.status_code == 200
    body = response.json()
    assert body.pop("card")["actions"] == ["undo"]
    assert body == {
        "id": "abc234",
        "state": "done",
        "status": "done",
        "text": "Created 1 row.",
        "change": "abc234",
    }
    message = ponte.rows[1].message
    assert (message.text, message.is_click) == ("approve abc234", True)
    assert message.address.conversation == "web:work"


async def test_one_click_approves_several_cards(ponte: WebPonte, client: Client) -> None:
    """Each with the revision that is on the page."""
    others = ["abc235", "abc236.2"]
    body: dict[str, object] = {"action": "approve", "revision": 3, "others": others}
    assert (await client.post("/cards/abc234", json=body)).status_code == 200
    assert ponte.rows[1].message.text == "approve abc234.3 abc235 abc236.2"
    await client.post("/cards/abc234", json=body | {"action": "deny"})
    assert ponte.rows[2].message.text == "deny abc234.3"
    for wrong in ("abc235 yes", "ABC235", "abc235-1234"):
        response = await client.post("/cards/abc234", json=body | {"others": [wrong]})
        assert response.status_code == 400


async def test_a_card_that_was_decided_elsewhere_is_redrawn_in_every_tab(
    ponte: WebPonte, client: Client
) -> None:
    """In words, on another surface, by the clock: no click of this page tells of it."""

    ponte.answers(Answer("Shall I?", cards=(OPEN,)))
    async with following(client) as one, following(client) as two:
        await until(one, "ready"), await until(two, "ready")
        turn = (await client.post("/chat", json={"message": "go"})).json()["turn"]
        for tab in (one, two):
            await until(tab, "done")
        reply = ponte.web.reply(ponte.rows[1].message.reply_to, NoPosts())
        await reply.refresh(Answer("Shall I?", cards=(MADE,)))
        for tab in (one, two):
            (card,) = await until(tab, "card")
            assert (card.data["state"], card.data["turn"]) == ("done", turn)


async def test_again_returns_the_card_of_the_new_request(ponte: WebPonte, client: Client) -> None:
    ponte.answers(Answer("Proposed.", cards=(replace(OPEN, id="new222"),), has_own_post=True))
    body = (await client.post("/cards/abc234", json={"action": "again"})).json()
    assert (body["id"], body["state"], body["card"]["id"]) == ("abc234", "open", "new222")


async def test_two_clicks_are_two_events_but_one_key_is_one(
    ponte: WebPonte, client: Client
) -> None:
    for _ in range(2):
        await client.post("/cards/abc234", json={"action": "deny"})
    assert len(ponte.rows) == 2
    for _ in range(2):
        await client.post("/cards/abc234", json={"action": "deny", "event_key": "click-1"})
    assert len(ponte.rows) == 3


async def test_a_decision_that_was_refused(ponte: WebPonte, client: Client) -> None:
    codes = {"forbidden": 403, "not_found": 404, "expired": 410, "nocodb_down": 409, "": 409}
    for code, status in codes.items():
        ponte.answers(Answer("No.", "failed", code=code))
        response = await client.post("/cards/abc234", json={"action": "undo"})
        assert response.status_code == status, code
        assert response.json()["error"] == {"code": code, "message": "No."}


async def test_a_click_that_means_nothing(ponte: WebPonte, client: Client) -> None:
    for id, body, status in (
        ("ABC234", {"action": "approve"}, 404), ("abc2345", {"action": "approve"}, 404),
        ("abc234", {"action": "explode"}, 400), ("abc234", {}, 400),
        ("abc234", {"action": "deny", "by": "me"}, 400),
        ("abc234", {"action": "approve", "revision": 0}, 400),
    ):  # fmt: skip
        response = await client.post(f"/cards/{id}", json=body)
        assert response.status_code == status, (id, body)
    assert not ponte.rows


async def test_cards_are_shown_as_they_stand_now(ponte: WebPonte, client: Client) -> None:
    ponte.answers(Answer("Shall I?", cards=(OPEN,)))
    await client.post("/chat", json={"message": "create"})
    assert (await client.get("/conversations/main")).json()["cards"][0]["state"] == "open"
    ponte.board.cards["web:main"] = [MADE]
    body = (await client.get("/conversations/main")).json()
    assert [card["state"] for card in body["cards"]] == ["done"]
    assert body["messages"][-1]["cards"][0]["actions"] == ["undo"]


async def test_stop_goes_to_the_turn_s_own_conversation(ponte: WebPonte, client: Client) -> None:
    start_event, event = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "stop":
            event.set()
            return Answer("Stopped.")
        start_event.set()
        await event.wait()
        return Answer("Half", "stopped")

    ponte.script = script
    message = await client.post(
        "/chat", json={"message": "work", "conversation": "work"}, headers=RESPOND_LATER_HEADERS
    )
    turn = message.json()["turn"]
    await start_event.wait()
    response = await client.post(f"/turns/{turn}/stop")
    assert response.status_code == 200
    assert response.json() == {"turn": turn, "status": "stopped", "text": "Stopped."}
    stop = ponte.rows[2].message
    assert (stop.text, stop.is_click, stop.address.conversation) == ("stop", True, "web:work")
    once_more = await client.post(f"/turns/{turn}/stop")
    assert (once_more.status_code, once_more.json()["status"]) == (200, "stopped")
    assert len(ponte.rows) == 2


async def test_a_turn_that_waits_is_withdrawn_and_the_one_before_it_goes_on(
    ponte: WebPonte, client: Client
) -> None:
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await free.wait()
        return Answer(f"did {turn.message.text}")

    ponte.script = script
    await client.post(
        "/chat", json={"message": "one", "event_key": "1"}, headers=RESPOND_LATER_HEADERS
    )
    stream = {"Accept": "text/event-stream"}
    async with client.stream("POST", "/chat", json={"message": "two"}, headers=stream) as second:
        text = events(second)
        turn = (await until(text, "progress"))[-1].data["turn"]
        assert (await client.post(f"/turns/{turn}/stop")).json()["status"] == "stopped"
        assert (await until(text, "done"))[-1].data["status"] == "stopped"
    free.set()
    first = await client.post("/chat", json={"message": "", "event_key": "1"})
    assert first.json()["response"] == "did one"


async def test_turns_of_others_cannot_be_stopped(ponte: WebPonte, client: Client) -> None:
    async with ponte.terminal_client() as terminal:
        turn = (await terminal.post("/chat", json={"message": "x"})).json()["turn"]
    for unknown in (turn, "nothing"):
        response = await client.post(f"/turns/{unknown}/stop")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
