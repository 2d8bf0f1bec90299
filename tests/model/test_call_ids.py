"""Ids of calls: each server gets back the ids that it gave, over several rounds and turns."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

from core.domain.messages import Item
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.call_ids import LONGEST, CallIds, Form, sent_calls
from tests.model.conftest import Make, every_level
from tests.model.talk import Talk

FORMS: tuple[Form, ...] = get_args(Form)
MODELS = {"kimi": "moonshotai/Kimi-K2", "kimi, from 0": "kimi-k2.5", "mistral": "mistral-large"}
OWN_ROUNDS: tuple[Level, ...] = ("responses", "chat")


def calls_of(*numbers: int) -> Script:
    return Script(calls=tuple(("tables", json.dumps({"base": number})) for number in numbers))


async def have_rounds(talk: Talk, fake: FakeOpenAI, first: int = 0) -> None:
    """Have two turns: one call, two calls at once, an answer; two calls, an answer. Each result is
    the number in its call."""
    talk.run = lambda name, arguments: f"result {json.loads(arguments)['base']}"
    fake.say(calls_of(first), calls_of(first + 1, first + 2), "Two tables.")
    assert await talk.say("Which tables?") == "Two tables."
    fake.say(calls_of(first + 3, first + 4), calls_of(first + 5), "Three.")
    assert await talk.say("And now?") == "Three."
    assert await talk.say("Thanks.") == "You said: Thanks."


def sent_results(body: dict[str, object]) -> dict[str, str]:
    """Return the results in a request by the ids of their calls."""
    items = body.get("messages") or body["input"]
    assert isinstance(items, list)
    return {
        item.get("tool_call_id") or item["call_id"]: item.get("output") or item["content"]
        for item in items
        if item.get("role") == "tool" or item.get("type") == "function_call_output"
    }


@pytest.mark.parametrize("form", FORMS)
@every_level
async def test_a_server_gets_its_own_ids_back(
    make: Make, fake: FakeOpenAI, level: Level, form: Form
) -> None:
    """After a restart, too. The fake refuses other ids, and a Kimi would write markup."""
    fake.models = [model := MODELS.get(form, "gpt-6-luna")]
    ids = fake.call_ids = CallIds(form)
    talk = Talk(await make(level, model=model), preface="")
    await have_rounds(talk, fake)
    talk = talk.restart(await make(level, model=model))
    await have_rounds(talk, fake, 10)
    texts = [item.text for _, item in talk.transcript if item.role == "assistant"]
    assert not any("tool_call" in text for text in texts)
    if level == "conversations":
        return
    body = fake.requests[-1].body
    calls, results = sent_calls(body), sent_results(body)
    assert [json.loads(arguments)["base"] for _, _, arguments in calls] == [
        *range(6),
        *range(10, 16),
    ]
    for id, _, arguments in calls:
        assert results[id] == f"result {json.loads(arguments)['base']}"
    if form in ("kimi", "mistral", "call", "vllm"):
        assert [id for id, _, _ in calls] == [id for _, id in ids.given]
    else:
        assert calls[0][0] == ids.given[0][1] or form in ("none", "long", "signature")


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("moonshotai/Kimi-K2", r"functions\.tables:\d+"),
        ("mistral-large", "[a-zA-Z0-9]{9}"),
        ("codestral", "[a-zA-Z0-9]{9}"),
        ("llama-4", r"call_\w+"),
        ("gpt-6-luna", r"call_\w+"),
    ],
)
@pytest.mark.parametrize("form", ["none", "long"])
@pytest.mark.parametrize("level", OWN_ROUNDS)
async def test_ids_of_ponte_have_the_form_of_the_server(
    make: Make, fake: FakeOpenAI, level: Level, form: Form, model: str, pattern: str
) -> None:
    """An empty id, and one that is too long, are replaced."""
    fake.models, fake.call_ids = [model], CallIds(form)
    await have_rounds(Talk(await make(level, model=model), preface=""), fake)
    ids = [id for id, _, _ in sent_calls(fake.requests[-1].body)]
    assert len(set(ids)) == 6
    assert all(re.fullmatch(pattern, id) and len(id) <= 40 for id in ids)


@pytest.mark.parametrize("level", OWN_ROUNDS)
async def test_the_index_of_kimi_counts_through_the_conversation(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    fake.models, fake.call_ids = ["k"], CallIds("kimi, from 0")
    await have_rounds(Talk(await make(level, model="k"), preface=""), fake)
    ids = [id for id, _, _ in sent_calls(fake.requests[-1].body)]
    assert ids == [f"functions.tables:{number}" for number in (0, 2, 1, 3, 4, 5)]


@pytest.mark.parametrize("after", [f for f in FORMS if f not in ("long", "signature")])
@pytest.mark.parametrize("before", ["kimi", "mistral", "call", "long"])
@pytest.mark.parametrize("level", OWN_ROUNDS)
async def test_another_server_takes_the_thread(
    make: Make, fake: FakeOpenAI, level: Level, before: Form, after: Form
) -> None:
    """Calls that another server made get ids in the form of this one."""
    fake.models, fake.call_ids = ["gpt-6-luna"], CallIds(before)
    talk = Talk(await make(level), preface="")
    await have_rounds(talk, fake)
    async with FakeOpenAI() as elsewhere:
        elsewhere.models = [model := MODELS.get(after, "gpt-6-luna")]
        elsewhere.call_ids = CallIds(after)
        host = elsewhere.base_url.replace("127.0.0.1", "localhost")
        talk = talk.restart(await make(level, model=model, base_url=host))
        await have_rounds(talk, elsewhere, 10)
        calls = sent_calls(elsewhere.requests[-1].body)
    assert len(calls) == 12
    assert len({id for id, _, _ in calls}) == 12
    if after[:4] != before[:4]:
        assert not {id for _, id in fake.call_ids.given} & {id for id, _, _ in calls}
    texts = [item.text for _, item in talk.transcript if item.role == "assistant"]
    assert not any("tool_call" in text for text in texts)


async def test_a_server_whose_form_no_name_tells_says_it(make: Make, fake: FakeOpenAI) -> None:
    """A deployment of a Mistral model under another name refuses once, with a sentence."""
    fake.call_ids = CallIds("call")
    talk = Talk(await make("chat"), preface="")
    await have_rounds(talk, fake)
    async with FakeOpenAI() as elsewhere:
        elsewhere.call_ids = CallIds("mistral")
        host = elsewhere.base_url.replace("127.0.0.1", "localhost")
        talk = talk.restart(await make("chat", base_url=host))
        await have_rounds(talk, elsewhere, 10)
        refusals = [r for r in elsewhere.requests if r.path == "/chat/completions"]
        assert len(refusals) == 8, "one of them was refused"
        assert len(sent_calls(refusals[-1].body)) == 12


@pytest.mark.parametrize("level", ["conversations", *OWN_ROUNDS])
async def test_calls_that_an_earlier_version_stored(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    """Their ids were Ponte's, and the server's stood beside them; the demo model's are longer than
    a server takes."""
    talk = Talk(await make(level), preface="")
    talk.begin("Which tables?")
    raw = {"id": "call_a", "host": "127.0.0.1"}
    demo = f"demo-{'0' * 36}-1-1"
    for id, fields in (("ABCDEFGHI", raw), ("JKLMNOPQR", {}), (demo, {})):
        talk.keep(
            Item("call", call_id=id, name="tables", arguments="{}", raw=fields),
            Item("output", call_id=id, text=f"result of {id}"),
        )
    talk.keep(Item("message", "assistant", "Two tables."))
    assert await talk.say("Thanks.") == "You said: Thanks."
    bodies = [request.body for request in fake.requests]
    ids = [
        id
        for body in bodies
        if "items" in body or "messages" in body or "input" in body
        for id, _, _ in sent_calls({"input": body["items"]} if "items" in body else body)
    ]
    assert ids[0] == "call_a"
    assert len(set(ids)) == 3
    assert all(len(id) <= LONGEST for id in ids)
