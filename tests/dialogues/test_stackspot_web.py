"""Quick commands over the web: what a page or a script of somebody's asks and gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.dialogues.stackspot import asks
from tests.fakes.choices import open_engine
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot_parts import stackspot_choices
from tests.fakes.web_surfaces import make_page
from tests.web.web_ponte import TOKEN, events


@pytest.fixture
async def client(stackspot: FakeStackSpot, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(stackspot_choices(stackspot.url))
        engine = await open_engine(tmp_path, context)
        web = make_page(engine, TOKEN)
        engine.start()
        await web.start()
        yield await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=web.address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
            )
        )
        await web.stop_intake()
        await engine.drain(1)
        await web.close()
        await engine.close()


async def test_the_form_is_made_of_the_registry(client: httpx.AsyncClient) -> None:
    headers = {"Accept-Language": "pt-BR"}
    value = (await client.get("/quick-commands", headers=headers)).json()["commands"]
    assert [command["slug"] for command in value] == [
        "explain",
        "daily-summary",
        "translate-all",
        "close-month",
    ]
    assert (value[1]["title"], value[1]["description"]) == (
        "Resumo diário",
        "O que aconteceu num dia",
    )
    day, tone = value[1]["inputs"]
    assert (day["required"], tone["type"], tone["choices"]) == (True, "choice", ["dry", "warm"])
    assert (await client.get("/quick-commands?conversation=../x")).status_code == 404


async def test_approval_by_a_click(client: httpx.AsyncClient, stackspot: FakeStackSpot) -> None:
    card = (await client.post("/chat", json={"message": asks("close-month")})).json()["cards"][0]
    assert card["title"] == "Run Close the month"
    body = (await client.post(f"/cards/{card['id']}", json={"action": "approve"})).json()
    assert body["text"] == "Approved by owner. Done.\n\nclose-month:"
    view = (await client.get("/conversations/main")).json()
    assert view["cards"][0]["state"] == "done"
    assert view["messages"][-1]["aloud"] is True
    assert stackspot.count("create") == 1


async def test_a_typed_and_an_approved_run_stream_their_progress_and_result(
    client: httpx.AsyncClient, stackspot: FakeStackSpot
) -> None:
    card = (await client.post("/chat", json={"message": asks("close-month")})).json()["cards"][0]
    for message, result in {
        "quick-command explain a bridge": "explain: a bridge",
        f"approve {card['id']}": "Approved by owner. Done.\n\nclose-month:",
    }.items():
        stackspot.held = True
        views: list[str] = []
        headers = {"Accept": "text/event-stream"}
        async with client.stream(
            "POST", "/chat", json={"message": message}, headers=headers
        ) as answer:
            async for event in events(answer):
                views.append(event.data.get("text") or event.data.get("response", ""))
                stackspot.held = "90 %" not in "".join(views)
        assert "Ponte is running the quick command… 90 % · Waits" in views
        assert views[-1] == result
