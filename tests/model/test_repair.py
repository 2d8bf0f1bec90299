"""Conversations that are stuck, locked, lost, deleted or behind: mended from our transcript."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.base.errors import ModelDown
from core.domain.messages import Item
from core.models.model_input import INTERRUPTED_OUTPUT
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.items import stored_items, text_of
from tests.model.conftest import Make
from tests.model.talk import Talk


def conversation_texts(fake: FakeOpenAI, conversation: str) -> list[str]:
    """The words of a conversation; calls and outputs by their kind."""
    return [
        text_of(item) if item["type"] == "message" else item["type"]
        for item in fake.conversations[conversation].items
    ]


def count_conversations(fake: FakeOpenAI) -> int:
    return len(fake.request_bodies("/conversations"))


async def test_a_turn_that_died_between_call_and_output(make: Make, fake: FakeOpenAI) -> None:
    """The stuck conversation: the call is answered as interrupted in the next create."""
    talk = Talk(await make())
    fake.say(Script(calls=(("tables", "{}"),)), Script(text="No idea, it broke.", match="What"))
    talk.begin("Which tables?")
    await talk.round()
    # The process died here, and the tool's outcome with it.
    assert await talk.say("What happened?") == "No idea, it broke."
    assert count_conversations(fake) == 1
    body = fake.request_bodies("/responses")[-1]["input"]
    assert [item["type"] for item in body] == ["function_call_output", "message"]
    assert body[0]["output"] == INTERRUPTED_OUTPUT


async def test_an_output_whose_call_the_conversation_lost(make: Make, fake: FakeOpenAI) -> None:
    """The opposite 400: response completed, but the conversation has nothing of that turn."""
    talk = Talk(await make())
    fake.say(Script(calls=(("tables", "{}"),), fail="drop", on_disconnect="response"))
    fake.say(Script(text="Two tables.", match="tables done"))
    assert await talk.say("Which tables?") == "Two tables."
    assert count_conversations(fake) == 1
    assert conversation_texts(fake, talk.thread.remote) == [
        "Which tables?",
        "function_call",
        "function_call_output",
        "Two tables.",
    ]


async def test_a_call_that_nobody_knows_of(make: Make, fake: FakeOpenAI) -> None:
    """It stands in the conversation, not in the transcript: answered as interrupted too."""
    talk = Talk(await make())
    await talk.say("hello")
    foreign = {"type": "function_call", "call_id": "c9", "name": "tables", "arguments": "{}"}
    fake.conversations[talk.thread.remote].items += stored_items([foreign])
    assert await talk.say("and now?") == "You said: and now?"
    assert count_conversations(fake) == 1


async def test_words_that_nobody_knows_of_make_a_new_conversation(
    make: Make, fake: FakeOpenAI
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    old = talk.thread.remote
    stray = {"type": "message", "role": "assistant", "content": "Who said that?"}
    fake.conversations[old].items += stored_items([stray])
    talk.thread = replace(talk.thread, remote_upto=-1)
    assert await talk.say("and now?") == "You said: and now?"
    assert talk.thread.remote != old
    assert conversation_texts(fake, talk.thread.remote) == [
        "hello",
        "You said: hello",
        "and now?",
        "You said: and now?",
    ]
    assert [remote.id for remote in talk.remotes] == [old, talk.thread.remote]


async def test_a_locked_conversation_is_waited_for(
    make: Make, fake: FakeOpenAI, waits: list[float]
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    fake.locked[talk.thread.remote] = 3
    assert await talk.say("still there?") == "You said: still there?"
    assert waits == [1, 2, 4]
    assert count_conversations(fake) == 1


async def test_a_conversation_locked_for_good_is_rebuilt(
    make: Make, fake: FakeOpenAI, waits: list[float]
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    old = talk.thread.remote
    fake.locked[old] = 1000
    assert await talk.say("still there?") == "You said: still there?"
    assert sum(waits) == 15
    assert talk.thread.remote != old
    assert conversation_texts(fake, talk.thread.remote)[:2] == ["hello", "You said: hello"]


@pytest.mark.parametrize("status", [404, 400])
async def test_a_conversation_deleted_by_hand_is_rebuilt_in_batches(
    make: Make, fake: FakeOpenAI, status: int
) -> None:
    fake.gone = status
    talk = Talk(await make())
    for number in range(23):
        await talk.say(f"message {number}")
    fake.conversations.clear()
    assert await talk.say("do you remember?") == "You said: do you remember?"
    assert len(conversation_texts(fake, talk.thread.remote)) == 48
    path = f"/conversations/{talk.thread.remote}/items"
    assert [len(body["items"]) for body in fake.request_bodies(path)] == [20, 20, 6]


async def test_a_lost_thread_record_costs_nothing_but_a_new_conversation(
    make: Make, fake: FakeOpenAI
) -> None:
    talk = Talk(await make())
    fake.say(Script(calls=(("tables", "{}"),)), "Two tables.")
    await talk.say("Which tables?")
    talk.thread = replace(talk.thread, remote="", remote_upto=0)
    await talk.say("thanks")
    assert conversation_texts(fake, talk.thread.remote)[:4] == [
        "Which tables?",
        "function_call",
        "function_call_output",
        "Two tables.",
    ]


async def test_what_was_said_elsewhere_in_between_is_told(make: Make, fake: FakeOpenAI) -> None:
    """A turn that another level (or a command) answered: the conversation hears of it."""
    talk = Talk(await make())
    await talk.say("hello")
    remote = talk.thread.remote
    talk.begin("/quick-command report")
    talk.keep(Item(kind="message", role="assistant", text="The report is done."))
    await talk.say("what did it say?")
    assert talk.thread.remote == remote
    assert conversation_texts(fake, remote)[2:5] == [
        "/quick-command report",
        "The report is done.",
        "what did it say?",
    ]


async def test_a_batch_never_parts_a_call_from_its_output(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make())
    talk.begin("warm up")
    talk.keep(Item(kind="message", role="assistant", text="ready"))
    for number in range(6):
        talk.begin(f"question {number}")
        call = f"c{number}"
        talk.keep(
            Item(kind="call", call_id=call, name="tables", arguments="{}"),
            Item(kind="output", call_id=call, text="two"),
            Item(kind="message", role="assistant", text=f"answer {number}"),
        )
    await talk.say("thanks")
    for batch in fake.request_bodies(f"/conversations/{talk.thread.remote}/items"):
        kinds = [item["type"] for item in batch["items"]]
        assert kinds.count("function_call") == kinds.count("function_call_output")


async def test_a_conversation_that_cannot_be_mended_ends(make: Make, fake: FakeOpenAI) -> None:
    """Every create is refused as unpaired: looked at once, rebuilt once or twice, then told."""
    talk = Talk(await make())
    refusal = Script(status=400, message="No tool output found for function call call_1.", times=0)
    fake.say(refusal)
    with pytest.raises(Exception, match="rejected the request"):
        await talk.say("hello")
    assert count_conversations(fake) <= 12


async def test_a_server_that_is_down_while_it_is_asked(
    make: Make, fake: FakeOpenAI, waits: list[float]
) -> None:
    talk = Talk(await make())
    await talk.say("hello")
    fake.say(Script(status=503, times=2), "Back again.")
    assert await talk.say("are you there?") == "Back again."
    assert len(waits) == 2
    fake.say(Script(status=503, times=0))
    with pytest.raises(ModelDown):
        await talk.say("and now?")
    assert conversation_texts(fake, talk.thread.remote)[-2:] == ["are you there?", "Back again."]
