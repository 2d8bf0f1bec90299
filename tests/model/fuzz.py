"""Thousands of variants of valid answers, as servers that resemble OpenAI's could send them.

`check_variant(seed)` makes one from its seed and reads it as Ponte does. `check_turn(seed)` has a
conversation with such a server. `make test` checks some seeds, and `make bench` many.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.base.model_faults import ModelServerFault
from core.base.openai import ModelEndpoint, ModelServerClient, _read_events
from core.domain.model_rounds import ResponseStarted, TextDelta, TextWithdrawn
from core.domain.records import Remote
from core.models.answer_reader import AnswerReader, ModelAnswer
from core.models.model_server import ModelOptions
from core.models.own_history import ChatCompletionsReader, ResponsesReader
from core.models.served_model import Level, ServedModel
from tests.fakes.openai import FakeOpenAI, Script, chat, events, odd
from tests.model.talk import TABLES, Talk

Json = dict[str, Any]
TEXTS = (
    "",
    "Hello.",
    "The total is 4,2 — não é? 👩‍👩‍👧 ok\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "Use `<think>` in code:\n\n```xml\n<think>\nno thought\n</think>\n```\n\nAll </b> [x](y) <",
    "None of {'these'} are [{'Python'}] values: None, True.",
    'data: {"choices": []}\n\n: a comment\r\nevent: error',
)
ARGUMENTS: tuple[Json, ...] = (
    {"table": "a"},
    {"row": {"Name": "Zoë 👋", "n": 1.5, "tags": ["x", None, True]}},
    {"code": 'print({"a": "}{"})\n\\ "q"'},
    {"deep": [[{"a": {"b": "}"}}]]},
    {},
)
NAMES = ("nocodb_query", "nocodb_create", "tables", "run_python")
CHAT_GROUPS = (
    ("one_id", "number_ids", "no_ids", "empty_ids"),
    ("one_index", "no_index", "null_index"),
    ("name_again", "id_again"),
    ("whole_calls", "object_arguments", "calls_in_one_chunk", "dict_calls"),
    ("think_tags", "unopened_thoughts", "reasoning_content", "reasoning", "thinking_parts"),
    ("no_finish", "finish_with_last_delta", "finish_in_capitals", "empty_finish"),
    ("messages", "whole_message"),
    *((name,) for name in (
        "list_content", "second_choice", "citations", "nulls", "end_again", "usage_first",
        "no_response_ids", "pings", "extra_content",
    )),
)  # fmt: skip
RESPONSE_GROUPS = (
    ("one_call_id", "no_call_ids"),
    ("think_text", "unopened_text"),
    ("empty_output", "null_output", "no_completed"),
    ("no_done_events", "no_delta_events", "only_items"),
    *(
        (name,)
        for name in (
            "argument_objects",
            "text_contents",
            "reasoning_items",
            "last_event_again",
            "null_fields",
            "one_number",
            "no_item_ids",
            "no_numbers",
        )
    ),
)
BYTE_GROUPS = (
    ("crlf", "cr"),
    ("json", "json_list", "json_lines"),
    ("no_done", "done_twice"),
    ("many_lines", "no_blank_lines"),
    *((name,) for name in ("no_space", "comments", "bom", "no_last_newline")),
)
CONFLICTS = (
    # A whole answer has one choice and no pings, and its pieces are not pieces of an answer.
    *(
        ({"json"}, {name})
        for name in ("second_choice", "nulls", "messages", "pings", "null_fields")
    ),
    # A whole answer has each item once.
    ({"json"}, {"last_event_again"}, {"no_completed"}),
    # Nothing is left of the text, or of the calls.
    ({"no_done_events"}, {"empty_output", "null_output", "no_completed"}, {"argument_objects"}),
    ({"json"}, {"no_done_events"}, {"empty_output", "null_output"}),
    # The last event is a piece of text, and nothing tells that it came twice.
    ({"json", "last_event_again"}, {"no_completed"}, {"no_done_events"}),
    # A stream of several responses' objects has no items of its own.
    ({"json_list", "json_lines"}, {"no_done_events"}),
    # Without any number, id and name, calls cannot be told apart.
    ({"no_numbers", "one_number"}, {"no_item_ids"}, {"no_call_ids", "one_call_id"}),
)
PYTHON_VALUE = re.compile(r"\bNone\b|\{'|\[\{'|\bTrue\b")


@dataclass(frozen=True, slots=True)
class Variant:
    """A body with the answer that it stands for. `cut` is "" if the body is whole."""

    is_chat: bool
    kinds: frozenset[str]
    text: str
    calls: tuple[tuple[str, Json], ...]
    body: bytes
    cut: str = ""


def choose_kinds(dice: random.Random, is_chat: bool) -> frozenset[str]:
    """Return kinds that one server can have together."""
    while True:
        groups = (*(CHAT_GROUPS if is_chat else RESPONSE_GROUPS), *BYTE_GROUPS)
        share = dice.choice((0.1, 0.3, 0.6))
        kinds = {dice.choice(group) for group in groups if dice.random() < share}
        if not any(all(kinds & each for each in conflict) for conflict in CONFLICTS):
            return frozenset(kinds)


def make_variant(seed: int) -> Variant:
    """Return the variant of a seed."""
    dice = random.Random(seed)
    is_chat = dice.random() < 0.6
    text = dice.choice(TEXTS)
    several = dice.sample(ARGUMENTS, dice.choice((0, 0, 1, 2, 3)))
    if not text and not several:
        text = TEXTS[1]
    calls = tuple((dice.choice(NAMES), arguments) for arguments in several)
    script = Script(
        text=text,
        piece=dice.choice((2, 5, 9, 50, 1000)),
        calls=tuple((name, json.dumps(arguments)) for name, arguments in calls),
    )
    kinds = choose_kinds(dice, is_chat)
    if is_chat:
        body = {"model": "m", "messages": [], "stream_options": {"include_usage": True}}
        request = odd.change_events(list(chat._chunks(body, script)), kinds)
        whole = odd.completion_of(request) if "json" in kinds else {}
    else:
        response = events.response_of({"model": "m"}, script, 0, events.output_of(script))
        request = odd.change_events(list(events.events_of(response, script.piece)), kinds)
        whole = next((e["response"] for e in reversed(request) if "response" in e), {})
        if not whole.get("output"):
            outcomes = [e for e in request if e["type"] == "response.output_item.done"]
            whole = {**whole, "output": [event["item"] for event in outcomes]}
    raw = odd.write_body(request, kinds, whole)
    cut = dice.choice(("", "", "", "clean", "broken"))
    if cut:
        raw = raw[: dice.randrange(len(raw))]
    return Variant(is_chat, kinds, text, calls, raw, cut)


async def read_variant(variant: Variant, dice: random.Random) -> tuple[ModelAnswer | None, str]:
    """Read a body in random pieces. Return the answer, if there is one, and the shown text."""

    async def pieces() -> AsyncIterator[bytes]:
        at, most = 0, dice.choice((1 if len(variant.body) < 3_000 else 9, 40, 400, 100_000))
        while at < len(variant.body):
            size = dice.randint(1, most)
            yield variant.body[at : at + size]
            at += size
        if variant.cut == "broken":
            raise ModelServerFault("lost")

    reader: AnswerReader = (ChatCompletionsReader if variant.is_chat else ResponsesReader)(
        {name: {} for name in NAMES}
    )
    text = ""
    try:
        try:
            async for event in _read_events(pieces()):
                for each in reader.read_event(event):
                    if isinstance(each, ResponseStarted | TextWithdrawn):
                        text = ""
                    elif isinstance(each, TextDelta):
                        text += each.text
                if reader.has_ended:
                    break
        except ValueError:  # `ModelServerClient` translates it
            raise ModelServerFault("broken", message="not JSON") from None
        return reader.read_answer(), text
    except ModelServerFault as fault:
        return reader.rescue(fault), text


async def check_variant(seed: int, counts: Counter[str] | None = None) -> None:
    """Read the variant of a seed. Raise AssertionError if it is not read as it was sent."""
    variant = make_variant(seed)
    answer, view = await read_variant(variant, random.Random(seed))
    about = (seed, sorted(variant.kinds), variant.cut)
    if counts is not None:
        counts.update([*variant.kinds, f"cut {variant.cut}" if variant.cut else "whole"])
    match = answer.items if answer else ()
    text = "".join(item.text for item in match if item.kind == "message")
    calls = [(i.name, json.loads(i.arguments)) for i in match if i.kind == "call"]
    ids = [item.call_id for item in match if item.kind == "call"]
    assert len(set(ids)) == len(ids), about
    if not variant.cut:
        assert answer is not None, about
        assert answer.fault is None, about
        assert text == variant.text, (about, text)
        assert calls == list(variant.calls), (about, calls)
        assert variant.text.startswith(view), (about, view)
        return
    # Of a cut answer, calls never differ from those that were sent, and the text is its beginning.
    assert all(call in variant.calls for call in calls), (about, calls)
    assert len(calls) <= len(variant.calls), (about, calls)
    is_thought_shown = variant.kinds & {"unopened_thoughts", "unopened_text"}
    assert variant.text.startswith(text) or is_thought_shown, (about, text)


async def check_variants(seeds: Sequence[int]) -> Counter[str]:
    """Check all these variants. Return how often each kind was among them."""
    counts = Counter[str]()
    for seed in seeds:
        await check_variant(seed, counts)
    return counts


async def check_turn(seed: int) -> None:
    """Have a conversation with a server of random kinds. Raise AssertionError if a text, a call or
    a result differs from what was sent, or if an answer is paid twice."""
    dice = random.Random(seed)
    level: Level = dice.choice(("chat", "responses"))
    kinds = choose_kinds(dice, level == "chat") - {"json_list", "json_lines"}
    ran: list[tuple[str, Json]] = []
    async with FakeOpenAI() as fake:
        fake.odd, targets, turns = set(kinds), [], dice.randint(1, 3)
        client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url), sleep=_no_sleep)
        model = ServedModel(
            client, ModelOptions(), level=level, record_object_to_erase=_record_nothing
        )

        def run(name: str, arguments: str) -> str:
            ran.append((name, json.loads(arguments)))
            return f"result {len(ran)}"

        talk, rounds = Talk(model, tuple(replace(TABLES, name=name) for name in NAMES), run), 0
        for turn in range(turns):
            for _ in range(dice.randint(0, 2)):
                several = dice.sample(ARGUMENTS, dice.randint(1, 3))
                calls = [(dice.choice(NAMES), arguments) for arguments in several]
                targets += calls
                dumped = tuple((name, json.dumps(arguments)) for name, arguments in calls)
                fake.say(Script(text=dice.choice(("", "Let me look.")), calls=dumped))
                rounds += 1
            fake.say(f"Answer {turn}.")
            rounds += 1
            assert await talk.say(f"Question {turn}?") == f"Answer {turn}.", (seed, sorted(kinds))
        await model.close()
    about = (seed, level, sorted(kinds))
    assert ran == targets, (about, ran, targets)
    assert len(fake.requests) == rounds, about
    last = fake.requests[-1].body
    items = last.get("input") or last["messages"]
    outputs = [
        i.get("output") or i["content"] for i in items if "output" in i or "tool_call_id" in i
    ]
    assert outputs == [f"result {number}" for number in range(1, len(targets) + 1)], about
    texts = json.dumps([i.get("content") for i in items], ensure_ascii=False)
    assert not PYTHON_VALUE.search(texts), about
    assert "Let me think" not in texts, about


async def _no_sleep(_: float) -> None:
    return None


async def _record_nothing(thread: str, remote: Remote) -> None:
    return None
