"""What servers send that resemble OpenAI's: every kind is read as it was meant, and paid once."""

from __future__ import annotations

import json

import pytest

from core.domain.model_rounds import TextDelta
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script, odd
from tests.model.conftest import Make
from tests.model.fuzz import PYTHON_VALUE, check_turn, check_variants
from tests.model.talk import Talk

CALLS = (("tables", '{"base": "a"}'), ("tables", '{"base": "b", "n": [1, null]}'))
CHAT_ONLY = sorted(odd.CHAT_KINDS)
RESPONSES_ONLY = sorted(odd.RESPONSE_KINDS)


async def ask_with_calls(talk: Talk, fake: FakeOpenAI) -> list[str]:
    """Let the model call two tools and answer. Return the arguments of the calls that ran."""
    ran: list[str] = []

    def run(name: str, arguments: str) -> str:
        ran.append(json.dumps(json.loads(arguments), sort_keys=True))
        return f"result of {ran[-1]}"

    talk.run = run
    fake.say(Script(text="Let me look.", calls=CALLS), "There are two.", "Not at all.")
    count = len(fake.requests)
    assert await talk.say("Which tables?") == "There are two."
    payments = [r for r in fake.requests[count:] if r.path in ("/responses", "/chat/completions")]
    assert len(payments) == 2
    assert await talk.say("Thanks.") == "Not at all."
    return ran


def paired_results(fake: FakeOpenAI) -> list[tuple[str, str]]:
    """Return the calls of the last request with their results, whichever API it was."""
    body = fake.requests[-1].body
    if "input" in body:
        items = body["input"]
        calls = {i["call_id"]: i["arguments"] for i in items if i["type"] == "function_call"}
        outputs = [i for i in items if i["type"] == "function_call_output"]
        return [(calls[i["call_id"]], i["output"]) for i in outputs]
    messages = body["messages"]
    all_calls = [call for m in messages for call in m.get("tool_calls", ())]
    by_id = {call["id"]: call["function"]["arguments"] for call in all_calls}
    assert len(by_id) == len(all_calls)
    tools = [message for message in messages if message["role"] == "tool"]
    return [(by_id[m["tool_call_id"]], m["content"]) for m in tools]


async def check_kinds(make: Make, fake: FakeOpenAI, level: Level, kinds: set[str]) -> None:
    fake.odd = kinds
    talk = Talk(await make(level))
    ran = await ask_with_calls(talk, fake)
    targets = [json.dumps(json.loads(arguments), sort_keys=True) for _, arguments in CALLS]
    assert ran == targets
    matches = [
        (json.dumps(json.loads(a), sort_keys=True), text) for a, text in paired_results(fake)
    ]
    if level != "conversations":
        assert matches == [(arguments, f"result of {arguments}") for arguments in targets]
    body = json.dumps([request.body for request in fake.requests], ensure_ascii=False)
    view = "".join(event.text for event in talk.heard if isinstance(event, TextDelta))
    record = "".join(item.text for _, item in talk.transcript)
    assert not PYTHON_VALUE.search(record)
    assert odd.THOUGHT not in record
    if not kinds & {"unopened_thoughts", "unopened_text"}:
        assert odd.THOUGHT[:20] not in view
        assert not PYTHON_VALUE.search(view)
    if not kinds & {"reasoning_content", "reasoning", "all"}:
        assert "Let me think" not in body


@pytest.mark.parametrize("kind", [*CHAT_ONLY, *odd.BYTE_KINDS, "all"])
async def test_each_kind_of_chat_completions(make: Make, fake: FakeOpenAI, kind: str) -> None:
    await check_kinds(make, fake, "chat", {kind})


@pytest.mark.parametrize("kind", [*RESPONSES_ONLY, "json", "json_list", "json_lines", "all"])
async def test_each_kind_of_responses(make: Make, fake: FakeOpenAI, kind: str) -> None:
    await check_kinds(make, fake, "responses", {kind})


@pytest.mark.parametrize("kind", ["one_call_id", "no_call_ids", "argument_objects", "empty_output"])
async def test_each_kind_of_a_conversation(make: Make, fake: FakeOpenAI, kind: str) -> None:
    """Two outputs for one id cannot be told apart there: a new conversation has Ponte's ids."""
    await check_kinds(make, fake, "conversations", {kind})


async def test_variants_of_answers_are_read_as_they_were_sent() -> None:
    """`make bench` reads many more."""
    counts = await check_variants(range(250))
    assert len(counts) > 60


@pytest.mark.parametrize("seed", range(20))
async def test_a_conversation_with_a_server_of_random_kinds(seed: int) -> None:
    await check_turn(seed)
