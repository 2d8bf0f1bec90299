"""`GET /conversations/{id}/events`: every tab sees the same, also after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
import pytest

from adapters.web import hub
from adapters.web.api.stream import ConversationEvents
from core.domain.changes import PendingRequests
from core.domain.messages import Address, Answer, Card, Person
from tests.fakes.link import parse_page_link
from tests.time_limits import Limits
from tests.web.web_ponte import (
    Client,
    Event,
    MemoryPeers,
    NoPosts,
    Turn,
    WebPonte,
    events,
    following,
    until,
)

RESPOND_LATER_HEADERS = {"Prefer": "respond-async"}


async def test_another_conversation_hears_nothing(client: Client) -> None:
    async with following(client, "other") as other:
        await until(other, "ready")
        await client.post("/chat", json={"message": "secret", "conversation": "main"})
        await client.post("/chat", json={"message": "mine", "conversation": "other"})
        new_events = await until(other, "done")
    assert [event.data.get("text") for event in new_events if event.name == "message"] == ["mine"]


async def test_a_tab_that_comes_late_sees_the_text_so_far(ponte: WebPonte, client: Client) -> None:
    view_event, free = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show("So far")
        view_event.set()
        await free.wait()
        return Answer("So far, so good.")

    ponte.script = script
    await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
    await view_event.wait()
    async with following(client) as tab:
        event = await until(tab, "delta")
        free.set()
        event += await until(tab, "done")
    assert [e.data["text"] for e in event if e.name in {"message", "delta"}] == ["go", "So far"]


async def test_a_restart_in_mid_answer_shows_the_answer_once(ponte: WebPonte) -> None:
    async def stuck(turn: Turn) -> Answer:
        await turn.show("Half of")
        await asyncio.Event().wait()
        raise AssertionError

    ponte.script = stuck
    async with ponte.client() as client, following(client) as tab:
        last = (await until(tab, "ready"))[-1].id
        await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        await until(tab, "delta")

        ponte.answers(Answer("Half of it, and the rest."))
        await ponte.restart()
    async with ponte.client() as client:
        async with following(client, last=last) as tab:
            outcome = (await until(tab, "done"))[-1]
        assert outcome.data["response"] == "Half of it, and the rest."
        async with following(client, last=outcome.id) as tab:
            await client.post("/chat", json={"message": "next"}, headers=RESPOND_LATER_HEADERS)
            later = await until(tab, "done")
    assert [e.data["text"] for e in later if e.name == "message"] == ["next"]


async def test_a_tab_that_opens_after_a_restart_sees_what_waits_and_how_it_ends(
    ponte: WebPonte,
) -> None:
    start_event, free = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        start_event.set()
        await free.wait()
        return Answer("Done.")

    ponte.script = script
    async with ponte.client() as client:
        for text in ("go", "and then"):
            await client.post("/chat", json={"message": text}, headers=RESPOND_LATER_HEADERS)
        await start_event.wait()
        await ponte.restart()
    async with ponte.client() as client, following(client) as tab:
        event = await until(tab, "message")
        event += await until(tab, "message")
        free.set()
        outcome = (await until(tab, "done"))[-1]
    assert [e.data["text"] for e in event if e.name == "message"] == ["go", "and then"]
    assert outcome.data["response"] == "Done."


async def test_what_ended_while_a_tab_was_away_is_told(client: Client) -> None:
    async with following(client) as tab:
        last = (await until(tab, "ready"))[-1].id
    for text in ("one", "two"):
        await client.post("/chat", json={"message": text})
    async with following(client, last=last) as tab:
        event = await until(tab, "ready")
    assert [e.name for e in event] == ["message", "done", "message", "done", "ready"]
    async with following(client, query=f"?after={event[-1].id}") as tab:
        assert [e.name for e in await until(tab, "ready")] == ["ready"]
    async with following(client, last="'; DROP TABLE") as tab:  # no cursor: it starts now
        assert [e.name for e in await until(tab, "ready")] == ["ready"]


async def test_a_tab_that_was_away_sees_what_became_of_its_cards(
    ponte: WebPonte, client: Client
) -> None:
    """An approver may decide while the asker's tab is hidden or has no network."""
    card = Card("abc234", "proposal", "Update 1 row", "", (), ("approve",))
    ponte.answers(Answer("Shall I?", cards=(card,)))
    async with following(client) as tab:
        await until(tab, "ready")
        await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        last = (await until(tab, "done"))[-1].id
    await ponte.journal.replace_cards(1, [replace(card, kind="change", actions=(), state="done")])
    async with following(client, last=last) as tab:
        missed = await until(tab, "ready")
    assert [(e.data["id"], e.data["state"]) for e in missed if e.name == "card"] == [
        ("abc234", "done")
    ]


async def test_a_tab_that_comes_back_gets_the_newest_version_of_a_card(
    ponte: WebPonte, client: Client
) -> None:
    """The stored answer has the one that its turn proposed."""
    card = Card("abc234", "proposal", "Update 1 row", "", (), ("approve",), revision=1)
    ponte.answers(Answer("Shall I?", cards=(card,)))
    async with following(client) as tab:
        await until(tab, "ready")
        await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        last = (await until(tab, "done"))[-1].id
    ponte.board.cards["web:main"] = [replace(card, revision=2)]
    async with following(client, last=last) as tab:
        missed = await until(tab, "ready")
    assert [event.data["revision"] for event in missed if event.name == "card"] == [2]


async def test_a_decision_overtakes_and_nothing_is_told_twice(
    ponte: WebPonte, client: Client
) -> None:
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "help":
            return Answer("You can type …")
        await free.wait()
        return Answer("slow")

    ponte.script = script
    async with following(client) as tab:
        await until(tab, "ready")
        await client.post("/chat", json={"message": "work"}, headers=RESPOND_LATER_HEADERS)
        await client.post("/chat", json={"message": "help"})
        helped = (await until(tab, "done"))[-1]
    assert helped.data["response"] == "You can type …"
    async with following(client, last=helped.id) as tab:
        await until(tab, "message")
        free.set()
        slow = (await until(tab, "done"))[-1]
    assert slow.data["response"] == "slow"
    async with following(client, last=slow.id) as tab:
        assert [e.name for e in await until(tab, "ready")] == ["ready"]


async def test_a_page_that_is_read_while_a_turn_runs_is_told_how_it_ends(
    ponte: WebPonte, client: Client
) -> None:
    """Also if a later turn has already ended, as a decision on a card does."""
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.seq == 2:
            return Answer("quick")
        await free.wait()
        return Answer("slow")

    ponte.script = script
    await client.post("/chat", json={"message": "work"}, headers=RESPOND_LATER_HEADERS)
    await client.post("/chat", json={"message": "approve abc234"})
    cursor = (await client.get("/conversations/main")).json()["cursor"]
    free.set()
    await ponte.inbox.wait_for_answer(1)
    async with following(client, last=cursor) as tab:
        event = await until(tab, "ready")
    assert [e.data["response"] for e in event if e.name == "done"] == ["slow"]


async def test_a_malformed_command_neither_ends_the_stream_nor_resets_the_page(
    client: Client,
) -> None:
    async with following(client) as tab:
        await until(tab, "ready")
        for text in ("quick-command ?", "hello"):
            await client.post("/chat", json={"message": text})
            new_events = await until(tab, "done")
            assert [event.name for event in new_events] == ["message", "done"]
            assert new_events[-1].data["response"] == f"You said: {text}"


async def test_a_slow_tab_holds_nobody_up(ponte: WebPonte, client: Client) -> None:
    """It reads nothing while 20 MB of text go by, and then gets the end alone."""

    async def script(turn: Turn) -> Answer:
        for step in range(1, 201):
            await turn.show("x" * 1000 * step)
            await asyncio.sleep(0)
        return Answer("all 200")

    ponte.script = script
    async with following(client) as slow:
        await until(slow, "ready")
        for text in ("one", "two", "three"):  # each ends before the slow tab reads anything
            await client.post("/chat", json={"message": text})
        outcomes: list[Event] = []
        while len(outcomes) < 3:
            outcomes.append((await until(slow, "done"))[-1])
    assert [event.data["response"] for event in outcomes] == ["all 200"] * 3


async def test_a_tab_that_slept_through_many_turns_hears_of_each_once(
    ponte: WebPonte, client: Client
) -> None:
    async with following(client) as slow:
        await until(slow, "ready")
        follower = next(iter(ponte.channels["web:main"].followers))
        follower.pause = lambda seconds: asyncio.sleep(0)
        follower.wake = lambda urgent: None
        for number in range(70):
            await client.post("/chat", json={"message": str(number)})
        type(follower).wake(follower, urgent=True)
        texts = [(await until(slow, "done"))[-1].data["response"] for _ in range(70)]
    assert sorted(texts) == sorted(f"You said: {number}" for number in range(70))


async def test_the_journal_is_read_once_for_missed_turns_also_if_nothing_happens_then(
    ponte: WebPonte, client: Client, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(KEEP_ALIVE_SECONDS=0.0)
    calls: list[bool] = []
    on_changes = ConversationEvents.on_changes
    was_quiet = asyncio.Event()

    def note(
        self: ConversationEvents, turns: Sequence[hub.LiveTurn], missed: bool
    ) -> AsyncIterator[bytes]:
        calls.append(missed)
        if True in calls[:-2]:
            was_quiet.set()
        return on_changes(self, turns, missed)

    monkeypatch.setattr(ConversationEvents, "on_changes", note)
    async with following(client) as tab:
        await until(tab, "ready")
        channel = ponte.channels["web:main"]
        channel.version = channel.evicted = 1
        next(iter(channel.followers)).wake(urgent=True)
        await was_quiet.wait()
    assert calls.count(True) == 1


async def test_a_turn_that_nobody_follows_is_not_kept_in_memory(
    ponte: WebPonte, client: Client
) -> None:
    card = Card("abcde2", "change", "Customers", "3 rows")

    async def script(turn: Turn) -> Answer:
        await turn.show("Good")
        ponte.web.hub.redraw_cards("web:main", "an earlier turn", [card])
        turns.extend(ponte.channels["web:main"].turns)
        return Answer("Good morning.")

    ponte.script, turns = script, list[str]()
    await client.post("/chat", json={"message": "hello"})
    assert turns == [ponte.rows[1].message.turn], "its own, which hasn't ended"
    assert ponte.channels == {}


async def test_new_and_forget_tell_tabs_to_read_again(client: Client) -> None:
    async with following(client) as tab:
        await until(tab, "ready")
        await client.post("/chat", json={"message": "forget"})
        assert [e.name for e in await until(tab, "reset")][-2:] == ["done", "reset"]


async def test_a_tab_that_was_away_reads_again_what_was_replaced(client: Client) -> None:
    first = (await client.post("/chat", json={"message": "one"})).json()["turn"]
    cursor = (await client.get("/conversations/main")).json()["cursor"]
    async with following(client, last=cursor) as tab:
        assert [e.name for e in await until(tab, "ready")] == ["ready"]
    await client.post("/chat", json={"message": "two", "replaces": first})
    async with following(client, last=cursor) as tab:
        names = [e.name for e in await until(tab, "ready")]
    assert names == ["message", "done", "reset", "ready"]


@pytest.mark.parametrize("is_new", [False, True])
async def test_a_tab_that_was_away_reads_again_what_was_deleted(
    ponte: WebPonte, client: Client, is_new: bool
) -> None:
    """Also if the tab saw the first message live, and if the conversation has gone on since."""
    if not is_new:
        await client.post("/chat", json={"message": "one"})
    cursor = (await client.get("/conversations/main")).json()["cursor"]
    async with following(client, last=cursor) as tab:
        await until(tab, "ready")
        if is_new:
            await client.post("/chat", json={"message": "one"})
            cursor = (await until(tab, "done"))[-1].id
    await client.post("/chat", json={"message": "elsewhere", "conversation": "other"})
    await ponte.forget("web:main")
    for names in (["reset", "ready"], ["message", "done", "reset", "ready"]):
        async with following(client, last=cursor) as tab:
            assert [e.name for e in await until(tab, "ready")] == names
        await client.post("/chat", json={"message": "two"})
    cursor = (await client.get("/conversations/main")).json()["cursor"]
    async with following(client, last=cursor) as tab:
        assert [e.name for e in await until(tab, "ready")] == ["ready"]


async def test_a_hundred_tabs_at_once_see_the_same(ponte: WebPonte) -> None:
    start_event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show("On it")
        await start_event.wait()
        return Answer("Done.")

    ponte.script = script
    headers, limits = parse_page_link(ponte.link)[1], httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(
            base_url=ponte.web.address, limits=limits, timeout=30, headers=headers
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        here, grown = asyncio.Barrier(101), asyncio.Barrier(101)

        async def tab() -> list[Event]:
            async with following(client) as stream:
                await until(stream, "ready")
                await here.wait()
                new_events = await until(stream, "delta")
                await grown.wait()
                return new_events + await until(stream, "done")

        tabs = [group.create_task(tab()) for _ in range(100)]
        await here.wait()
        await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        await grown.wait()
        start_event.set()
    first, *others = (task.result() for task in tabs)
    assert all(new_events == first for new_events in others)
    assert [event.name for event in first] == ["message", "delta", "done"]
    assert (first[0].data["text"], first[-1].data["response"]) == ("go", "Done.")


async def test_a_tab_at_another_process_sees_a_turn_as_it_happens(ponte: WebPonte) -> None:
    start_event, free = asyncio.Event(), asyncio.Event()
    card = Card("abc234", "proposal", "Create 1 row", "In Customers.", (), ("approve", "deny"))

    async def script(turn: Turn) -> Answer:
        await start_event.wait()
        await turn.show("So far")
        await free.wait()
        return Answer("So far, so good.", cards=(card,))

    ponte.script, ponte.peers = script, MemoryPeers()
    await ponte.restart()
    async with ponte.client() as here, ponte.second_process() as there, following(there) as tab:
        await until(tab, "ready")
        await here.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        new_events = await until(tab, "message")
        start_event.set()
        new_events += await until(tab, "delta")
        free.set()
        new_events += await until(tab, "done")
        turn = await ponte.journal.replace_cards(1, [replace(card, state="denied")])
        assert turn is not None
        assert turn.answer is not None
        await ponte.web.reply(turn.message.reply_to, NoPosts()).refresh(turn.answer)
        redrawn = (await until(tab, "card"))[-1]
    assert [event.name for event in new_events] == ["message", "delta", "card", "done"]
    assert (new_events[0].data["text"], new_events[1].data["text"]) == ("go", "So far")
    assert (redrawn.data["id"], redrawn.data["state"]) == ("abc234", "denied")
    await ponte.peers.wait_for_handlers()


async def test_the_answer_of_a_process_that_took_the_turn_over_is_the_one_that_tabs_see(
    ponte: WebPonte, client: Client
) -> None:
    async def script(turn: Turn) -> Answer:
        await turn.reply.correct_late_posts(Answer("Of the other process."), ())
        return Answer("Too late.")

    ponte.script = script
    async with following(client) as tab:
        await until(tab, "ready")
        await client.post("/chat", json={"message": "go"}, headers=RESPOND_LATER_HEADERS)
        assert (await until(tab, "done"))[-1].data["response"] == "Of the other process."


async def test_one_stream_follows_several_conversations_from_their_cursors(
    ponte: WebPonte, client: Client
) -> None:
    """Also one of them twice, as two tabs do."""
    free = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "slow":
            await turn.show("So far")
            await free.wait()
        return Answer(f"Answer to {turn.message.text}")

    ponte.script = script
    await client.post("/chat", json={"message": "one", "conversation": "a"})
    cursor = (await client.get("/conversations/a")).json()["cursor"]
    await client.post("/chat", json={"message": "two", "conversation": "a"})
    params = {"html": "1", "follow": [f"a:{cursor}", "b:", "a"]}
    async with client.stream("GET", "/events", params=params) as response:
        stream = events(response)
        new_events = [event for _ in range(3) for event in await until_ready(stream)]
        for conversation in ("b", "a"):
            body = {"message": "slow", "conversation": conversation}
            await client.post("/chat", json=body, headers=RESPOND_LATER_HEADERS)
        while sum(event.name.endswith(".delta") for event in new_events) < 3:
            new_events.append(await anext(stream))
        free.set()
        while sum(event.name.endswith(".done") for event in new_events) < 4:
            new_events.append(await anext(stream))
        follower_count = ponte.open_streams
    by_number = {
        number: [
            (event.name.partition(".")[2], event.data.get("text") or event.data.get("response"))
            for event in new_events
            if event.name.startswith(f"{number}.")
        ]
        for number in range(3)
    }
    slow = [("message", "slow"), ("delta", "So far"), ("done", "Answer to slow")]
    missed = [("message", "two"), ("done", "Answer to two"), ("ready", None)]
    assert by_number == {
        0: [*missed, *slow],
        1: [("ready", None), *slow],
        2: [("ready", None), *slow],
    }
    assert all(event.id for event in new_events if event.name.endswith((".done", ".ready")))
    assert follower_count == 3
    while ponte.open_streams:  # until the server has noticed the end
        await client.get("/healthz")


async def until_ready(stream: AsyncIterator[Event]) -> list[Event]:
    """Return the events up to the next `ready` of any followed conversation."""
    event: list[Event] = []
    while not event or not event[-1].name.endswith(".ready"):
        event.append(await anext(stream))
    return event


async def test_a_stream_of_several_is_refused_as_a_whole(
    ponte: WebPonte, client: Client, limits: Limits
) -> None:
    limits(MAX_OPEN_STREAMS=1)
    for second, status in (("no/name", 404), ("b", 429)):
        assert (await client.get(f"/events?follow=a:&follow={second}:")).status_code == status
        assert ponte.open_streams == 0
    assert (await client.head("/events?follow=a:")).status_code == 200
    assert (await client.get("/events")).content == b""


async def test_one_stream_too_many_is_refused_and_its_message_is_not_stored(
    ponte: WebPonte, client: Client, limits: Limits
) -> None:
    limits(MAX_OPEN_STREAMS=2)
    headers = {"Accept": "text/event-stream"}
    async with following(client) as one, following(client, "other") as two:
        await until(one, "ready"), await until(two, "ready")
        for method, path, body in (
            ("GET", "/conversations/main/events", None),
            ("POST", "/chat", {"message": "x"}),
        ):
            async with client.stream(method, path, json=body, headers=headers) as stream:
                assert stream.status_code == 429
                error = json.loads(await stream.aread())["error"]
            assert error["message"] == "Too many pages are open. Close one and try again."
        assert not ponte.rows


async def test_a_server_that_stops_opens_no_stream(ponte: WebPonte, client: Client) -> None:
    await ponte.web.hub.close()  # the server itself still accepts connections for a moment
    async with client.stream("GET", "/conversations/main/events") as stream:
        assert stream.status_code == 503
        assert json.loads(await stream.aread())["error"]["code"] == "not_stored"


async def test_a_count_of_requests_that_still_runs_ends_when_the_server_stops(
    ponte: WebPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, event = asyncio.Event(), asyncio.Event()

    async def requests(person: Person, address: Address) -> PendingRequests:
        counting.set()
        try:
            await asyncio.Event().wait()
        finally:
            event.set()
        return PendingRequests()

    monkeypatch.setattr(ponte.board, "requests", requests)
    async with ponte.client() as client, following(client):
        await counting.wait()
        async with asyncio.timeout(60):
            await ponte.stop()
    assert event.is_set()
    await ponte.open()


async def test_a_stream_ends_when_the_server_stops(ponte: WebPonte, limits: Limits) -> None:
    # The server would wait as long for a stream.
    limits(SHUTDOWN_GRACE_SECONDS=600)
    await ponte.restart()
    async with ponte.client() as client, following(client) as tab:
        await until(tab, "ready")
        await ponte.stop()
        assert [event async for event in tab] == []
        await ponte.open()


async def test_the_conversation_so_far(client: Client) -> None:
    await client.post("/chat", json={"message": "**one**"})
    await client.post("/chat", json={"message": "elsewhere", "conversation": "other"})
    body = (await client.get("/conversations/main?html=1")).json()
    assert [(m["role"], m["text"]) for m in body["messages"]] == [
        ("user", "**one**"),
        ("assistant", "You said: **one**"),
    ]
    assert "<strong>" in body["messages"][1]["html"]
    assert body["cursor"].startswith("1@")
    empty = (await client.get("/conversations/never")).json()
    assert empty == {"conversation": "never", "messages": [], "cards": [], "cursor": "0"}
