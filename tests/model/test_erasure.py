"""Erasing what a thread left on a server."""

from __future__ import annotations

import pytest
from aiohttp import web

from core.domain.records import Remote
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make
from tests.model.talk import Talk


async def test_a_conversation_goes_with_its_items(make: Make, fake: FakeOpenAI) -> None:
    """Deleting a conversation leaves its items, so they go first: more than a page of them."""
    talk = Talk(await make())
    fake.say(Script(calls=(("tables", "{}"),) * 3, match="message 7"))
    for number in range(55):
        await talk.say(f"message {number}")
    (remote,) = talk.remotes
    assert await talk.model.erase(remote)
    assert fake.conversations == {}
    assert fake.orphans == []


async def test_responses_and_containers(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    fake.containers.new("mine", "cntr_1")
    assert await talk.model.erase(Remote("response", talk.response))
    assert await talk.model.erase(Remote("container", "cntr_1"))
    assert fake.responses == {}
    assert fake.containers.all == {}


async def test_a_container_that_expired_is_erased(make: Make, fake: FakeOpenAI) -> None:
    model = await make()
    fake.containers.new("mine", "cntr_1")
    fake.later += 21 * 60
    assert await model.erase(Remote("container", "cntr_1"))


async def test_what_is_gone_is_erased(make: Make) -> None:
    model = await make()
    assert await model.erase(Remote("conversation", "none"))
    assert await model.erase(Remote("response", "none"))
    assert await model.erase(Remote("container", "none"))
    assert await model.erase(Remote("file", "none"))


async def test_a_server_that_does_not_delete_items_ends_the_erasure(
    make: Make, fake: FakeOpenAI
) -> None:
    """It returns the same page for ever, and an entry of that is no item."""
    talk = Talk(await make())
    await talk.say("hello")
    (remote,) = talk.remotes

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": ["odd", {"id": None}, {"id": "i"}], "has_more": True})

    fake.hostile, fake.hostile_at = answer, {f"/conversations/{remote.id}/items"}
    assert await talk.model.erase(remote)
    assert fake.conversations == {}


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_what_cannot_be_erased_now_is_tried_again(
    make: Make, fake: FakeOpenAI, status: int
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    fake.ill = status
    assert not await talk.model.erase(talk.remotes[0])
    assert not await talk.model.erase(Remote("response", talk.response))
    fake.ill = 0
    assert await talk.model.erase(talk.remotes[0])


async def test_without_a_key_nothing_is_erased(make: Make) -> None:
    model = await make(official=True, key="")
    assert not await model.erase(Remote("response", "resp_1"))
