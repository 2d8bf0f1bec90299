"""Conversations that are made ahead: listed before they are used, never in anybody's way."""

from __future__ import annotations

from core.domain.model_rounds import RemoteStored
from core.domain.records import Remote, Thread
from tests.fakes.openai import FakeOpenAI
from tests.model.conftest import Make
from tests.model.talk import Talk

Late = list[tuple[str, Remote]]


def talk_of(model: object, name: str) -> Talk:
    return Talk(model, thread=Thread(f"web:{name}", name))  # type: ignore[arg-type]


async def test_a_first_turn_takes_one_that_is_listed(
    make: Make, fake: FakeOpenAI, late: Late
) -> None:
    model = await make("conversations", spare_conversations=2)
    first, second = talk_of(model, "one"), talk_of(model, "two")
    assert await first.say("hello") == "You said: hello"
    await fake.wait_until(lambda: len(late) == 2)
    assert {thread for thread, _ in late} == {""}, "they belong to no thread yet"
    before = len(fake.conversations)
    assert await second.say("hi") == "You said: hi"
    (record,) = [event for event in second.heard if isinstance(event, RemoteStored)]
    assert record.is_listed
    assert ("", record.remote) in late[:2]
    made_for_the_first = [event for event in first.heard if isinstance(event, RemoteStored)]
    assert not made_for_the_first[0].is_listed
    await fake.wait_until(lambda: len(late) == 3)
    assert len(fake.conversations) == before + 1, "it is made up for, and no more"
    assert await second.say("again") == "You said: again"
    assert len(fake.conversations) == before + 1


async def test_one_that_cannot_be_made_or_is_gone_is_done_without(
    make: Make, fake: FakeOpenAI, late: Late
) -> None:
    model = await make("conversations", spare_conversations=1)
    assert await talk_of(model, "one").say("hello") == "You said: hello"
    await fake.wait_until(lambda: len(late) == 1)
    fake.conversations.clear()
    assert await talk_of(model, "two").say("hi") == "You said: hi"


async def test_none_is_made_where_none_is_wanted(make: Make, fake: FakeOpenAI, late: Late) -> None:
    model = await make("conversations")
    assert await talk_of(model, "one").say("hello") == "You said: hello"
    await model.close()
    assert len(fake.conversations) == 1
    assert late == []
