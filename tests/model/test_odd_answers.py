"""Single answers of real servers, piece by piece, with the text and the calls that they mean.

Each is sent once; the reader must not ask a second time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from aiohttp import web

from core.base.errors import ModelError
from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.messages import Item
from core.domain.model_rounds import RoundCompleted, TextDelta, TextWithdrawn
from core.models.answer_reader import MAX_SOURCES
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel
from tests.fakes.openai import FakeOpenAI
from tests.model import more_odd_answers
from tests.model.conftest import Make
from tests.model.odd_shapes import (
    BOTH,
    COMPLETED,
    CREATED,
    HELLO,
    ONE,
    TWO,
    Calls,
    Json,
    calls,
    chunk,
    delta,
    function_call,
    message,
    response,
    sse,
    tc,
    text,
    whole,
)
from tests.model.talk import TABLES, Talk

TOOLS = tuple(
    type(TABLES)(
        name, "A tool.", {"type": "object", "properties": {}, "additionalProperties": True}
    )
    for name in ("query", "create", "tables")
)


CHAT: dict[str, tuple[object, str, Calls]] = {
    # Pieces of calls
    "one index, two ids": (calls(tc(0, "a", "query", ONE), tc(0, "b", "query", TWO)), "", BOTH),
    "one index, two ids, in pieces": (
        calls(tc(0, "a", "query", ""), tc(0, ..., ..., '{"row"'), tc(0, ..., ..., ": 1}"),
              tc(0, "b", "query", ""), tc(0, ..., ..., TWO)), "", BOTH),
    "one index, no ids": (calls(tc(0, ..., "query", ONE), tc(0, ..., "query", TWO)), "", BOTH),
    "one index, no ids, other tools without arguments": (
        calls(tc(0, "", "tables", ""), tc(0, "", "query", "")), "",
        [("tables", {}), ("query", {})]),
    "no index, one call in each chunk": (
        calls(tc(..., "a", "query", ONE), tc(..., "b", "query", TWO)), "", BOTH),
    "no index and no ids": (
        calls(tc(..., ..., "query", ONE), tc(..., ..., "query", TWO)), "", BOTH),
    "no index and no ids, in pieces": (
        calls(tc(..., ..., "query", '{"row"'), tc(..., ..., ..., ": 1}"),
              tc(..., ..., "query", '{"row"'), tc(..., ..., ..., ": 2}")), "", BOTH),
    "null index in later pieces": (
        calls(tc(0, "a", "query", '{"row"'), tc(None, None, None, ": 1}")), "", BOTH[:1]),
    "an index for each piece": (
        calls(tc(0, "a", "query", '{"row"'), tc(1, "", "", ": 1}")), "", BOTH[:1]),
    "the name in every chunk": (
        calls(*(tc(0, "a", "query", piece) for piece in ('{"', 'row"', ": 1", "}", ""))), "",
        BOTH[:1]),
    "the name in every chunk, without id": (
        calls(*(tc(..., ..., "query", piece) for piece in ("", '{"', 'row"', ": 1}"))), "",
        BOTH[:1]),
    "a growing name": (
        calls(tc(0, "a", "qu", ""), tc(0, ..., "query", ""), tc(0, ..., ..., ONE)), "", BOTH[:1]),
    "a name in pieces": (
        calls(tc(0, "a", "qu", ""), tc(0, ..., "ery", ""), tc(0, ..., ..., ONE)), "", BOTH[:1]),
    "a constant id": (calls(tc(0, "q:0", "query", ONE), tc(1, "q:0", "query", TWO)), "", BOTH),
    "a constant id and index": (
        calls(tc(0, "q:0", "query", ONE), tc(0, "q:0", "query", TWO)), "", BOTH),
    "a constant id and index, in pieces": (
        calls(tc(0, "q:0", "query", ""), tc(0, ..., ..., ONE), tc(0, "q:0", "query", ""),
              tc(0, ..., ..., TWO)), "", BOTH),
    "a constant id, alternating": (
        calls(tc(0, "q:0", "query", '{"row"'), tc(1, "q:0", "query", '{"row"'),
              tc(0, ..., ..., ": 1}"), tc(1, ..., ..., ": 2}")), "", BOTH),
    "a number as index in text, and numbers as ids": (
        calls(tc("0", 7, "query", ONE), tc("1", 8, "query", TWO)), "", BOTH),
    "a call that came twice": (
        calls(tc(0, "a", "query", ONE), tc(0, "a", "query", ONE)), "", BOTH[:1]),
    "a last piece that is empty": (
        calls(tc(0, "a", "query", ONE), tc(0, "a", "query", "")), "", BOTH[:1]),
    "calls in one list": (
        [chunk({"tool_calls": [tc(..., "", "query", ONE), tc(..., "", "query", TWO)]}, "stop")],
        "", BOTH),
    "equal calls in one list": (
        [chunk({"tool_calls": [tc(..., "", "query", ONE), tc(..., "", "query", ONE)]}, "stop")],
        "", [BOTH[0], BOTH[0]]),
    "one call in place of a list": (
        [chunk({"tool_calls": tc(0, "a", "query", ONE)}, "tool_calls")], "", BOTH[:1]),
    "calls by their numbers": (
        [chunk({"tool_calls": {"0": tc(..., "a", "query", ONE), "1": tc(..., "b", "query", TWO)}}),
         chunk({}, "tool_calls")], "", BOTH),
    "nulls among the calls": (
        [chunk({"tool_calls": [None, tc(0, "a", "query", ONE), "odd"]}), chunk({}, "stop")], "",
        BOTH[:1]),
    "a call without function": (
        [chunk({"tool_calls": [{"id": "a", "name": "query", "arguments": ONE}]}, "stop")], "",
        BOTH[:1]),
    "the older function call": (
        [chunk({"function_call": {"name": "query", "arguments": ""}}),
         chunk({"function_call": {"arguments": ONE}}), chunk({}, "function_call")], "", BOTH[:1]),
    # Types
    "arguments as object": (calls(tc(0, "a", "query", {"row": 1})), "", BOTH[:1]),
    "arguments as empty object": (calls(tc(0, "a", "tables", {})), "", [("tables", {})]),
    "arguments null": (calls(tc(0, "a", "tables", None)), "", [("tables", {})]),
    "two objects of arguments with one id": (
        calls(tc(0, "", "query", {"row": 1}), tc(0, "", "query", {"row": 2})), "", BOTH),
    "content as list": (
        text([{"type": "text", "text": "Hel"}], [{"type": "text", "text": "lo"}]), "Hello", []),
    "content as list with odd parts": (
        text([None, 7, "a", {"type": "text", "text": None}, {"type": "x", "y": {"z": 1}},
              {"type": "text", "text": {"value": "b"}}]), "7ab", []),
    "content as one part": (text({"type": "text", "text": "Hello"}), "Hello", []),
    "content as other types": (text({"a": {"b": [1]}}, True, None, [], "Hello"), "Hello", []),
    "a number as content": (text("It is ", 4), "It is 4", []),
    "a reference part": (
        text([{"type": "text", "text": "Hi"}, {"type": "reference", "reference_ids": [1]}]),
        "Hi", []),
    "deltas and choices of null": (
        [{"choices": None}, {"choices": []}, {"choices": [None]}, chunk(None), chunk("odd"),
         *text("Hello")], "Hello", []),
    "a choice that is no list": (
        [{"choices": {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}}],
        "Hi", []),
    "other fields of other types": (
        [chunk({"content": "Hi"}, usage="none", model=None, id=None, citations="x"),
         chunk({"annotations": 4}, "stop", usage=[], model={"a": 1}, search_results={"b": 2})],
        "Hi", []),
    "text in the choice": (
        [{"choices": [{"index": 0, "text": "Hel"}]},
         {"choices": [{"index": 0, "text": "lo", "finish_reason": "stop"}]}], "Hello", []),
    # The end
    "no finish reason": (text("Hello", finish=None), "Hello", []),
    "calls without finish reason": (calls(tc(0, "a", "query", ONE), finish=None), "", BOTH[:1]),
    "no [DONE]": (sse(text("Hello"), done=False), "Hello", []),
    "no sign at all": (sse(text("Hello")[:1], done=False), "Hello", []),
    "calls without any sign": (sse(calls(tc(0, "a", "query", ONE))[:1], done=False), "", BOTH[:1]),
    "usage, no finish reason, no [DONE]": (
        sse([chunk({"content": "Hello"}),
         {"choices": [], "usage": {"prompt_tokens": 3}}], done=False),
        "Hello", []),
    "finish reasons of others": (text("Hello", finish="COMPLETE"), "Hello", []),
    "calls with stop": (calls(tc(0, "a", "query", ONE), finish="stop"), "", BOTH[:1]),
    "empty finish reason in every chunk": (
        [chunk({"content": "Hel"}, ""), chunk({"content": "lo"}, ""), chunk({}, "stop")],
        "Hello", []),
    "null as a word": ([chunk({"content": "Hello"}, "null"), chunk({}, "stop")], "Hello", []),
    "the whole message at the end": (
        [*text("Hel", "lo")[:2],
         {"choices": [{"index": 0, "finish_reason": "stop", "delta": {},
                       "message": {"role": "assistant", "content": "Hello"}}]}], "Hello", []),
    "the whole message with its calls at the end": (
        [*calls(tc(0, "a", "query", ONE))[:1],
         {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
             "content": None, "tool_calls": [tc(..., "a", "query", ONE)]}}]}], "", BOTH[:1]),
    "messages in place of deltas": (
        [{"choices": [{"index": 0, "message": {"content": "Hel"}}]},
         {"choices": [{"index": 0, "message": {"content": "lo"}, "finish_reason": "stop"}]}],
        "Hello", []),
    "a last completion object": (
        [*text("Hel", "lo")[:2],
         {"object": "chat.completion",
          "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}],
        "Hello", []),
    "the message so far with each delta": (
        [{"object": "chat.completion", "choices": [
            {"index": 0, "delta": {"content": piece}, "message": {"content": so_far},
             "finish_reason": finish}]}
         for piece, so_far, finish in (
             ("", "", None), ("Hel", "Hel", None), ("lo", "Hello", None), ("", "Hello", "stop"))],
        "Hello", []),
    "one object of calls in pieces": (
        [chunk({"tool_calls": tc(0, "", "query", '{"row"')}),
         chunk({"tool_calls": tc(0, "", None, ": 1}")}), chunk({"content": ""}, "eos_token")],
        "", BOTH[:1]),
    "an empty older field beside the text": (
        [{"choices": [{"index": 0, "message": {"content": "Hello", "function_call": {
            "arguments": "", "name": ""}, "tool_calls": [{"function": {"name": ""}}, None]}}]}],
        "Hello", []),
    "an empty older field in each piece": (
        [chunk({"content": piece, "function_call": {"arguments": "", "name": ""}})
         for piece in ("Hel", "lo")], "Hello", []),
    "empty names and ids in later pieces": (
        calls(tc(0, "a", "query", ""), tc(0, "", "", '{"row"'), tc(0, "", None, ": 1}")), "",
        BOTH[:1]),
    "two choices": (
        [{"choices": [{"index": 0, "delta": {"content": "One"}},
         {"index": 1, "delta": {"content": "T"}}]},
         chunk({}, "stop")], "One", []),
    # Bytes
    "JSON in place of a stream": (
        json.dumps({"id": "c1", "object": "chat.completion", "choices": [
            {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode(),
        "Hello", []),
    "JSON with calls": (
        json.dumps({"choices": [{"message": {"content": None, "tool_calls": [
            {"id": "", "type": "function", "function": {"name": "query", "arguments": {"row": 1}}},
            {"id": "", "type": "function", "function": {"name": "query", "arguments": TWO}},
        ]}}]}).encode(), "", BOTH),
    "JSON with a list": (json.dumps(text("Hel", "lo")).encode(), "Hello", []),
    "JSON lines": ("\n".join(map(json.dumps, text("Hel", "lo"))).encode(), "Hello", []),
    "JSON after spaces and a mark": (
        b"\xef\xbb\xbf \n" + json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode(),
        "Hi", []),
    "comments, ids and events": (
        b": hi\n\nevent: message\nid: 1\nretry: 5\n" + sse(text("Hello")), "Hello", []),
    "pings": (sse([{"type": "ping"}, *text("Hello"), {"type": "ping"}]), "Hello", []),
    "no empty lines": (sse(text("Hel", "lo")).replace(b"\n\n", b"\n"), "Hello", []),
    "no last newline": (sse(text("Hello")).rstrip(), "Hello", []),
    "[DONE] in quotes, twice": (
        sse([*text("Hello"), '"[DONE]"', "[DONE]", {"choices": "x"}]), "Hello", []),
    # Thoughts
    "thoughts in tags": (text("<th", "ink>I th", "ink</thi", "nk>Hel", "lo"), "Hello", []),
    "thoughts in tags before calls": (
        [*text("<think>\nhm\n</think>\n\n")[:1], *calls(tc(0, "a", "query", ONE))], "", BOTH[:1]),
    "empty thoughts": (text("<think>\n\n</think>\n\n", "Hello"), "Hello", []),
    "thoughts without an opening tag": (text("I think", "\n</think>\n\n", "Hello"), "Hello", []),
    "two thoughts": (text("<think>a</think>\n<think>b</think>\nHello"), "Hello", []),
    "a thought between paragraphs": (text("One.\n\n<think>a</think>\n\nTwo."), "One.\n\nTwo.", []),
    "other tags": (
        text("<thinking>a</thinking>\n", "[THINK]b[/THINK]", "<seed:think>c</seed:think>Hi"),
        "Hi", []),
    "tags of Gemini": (text("<thought>a", "</thought>", "Hello"), "Hello", []),
    "tags of gpt-oss": (
        text("<|channel|>analysis<|message|>a<|end|>",
             "<|start|>assistant<|channel|>final<|message|>Hello"), "Hello", []),
    "a tag in code": (
        text("Use `<think>`:\n```\n<think>\na\n</think>\n```\n"),
        "Use `<think>`:\n```\n<think>\na\n</think>\n```\n", []),
    "a tag in a sentence": (
        text("The tag <think> opens it, </think> closes it."),
        "The tag <think> opens it, </think> closes it.", []),
    "reasoning fields": (
        [chunk({"reasoning_content": "a", "reasoning": "a", "thinking": "a"}), *text("Hello")],
        "Hello", []),
    "thinking parts": (
        text([{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
              {"type": "reasoning", "text": "b"}, {"type": "text", "text": "Hello"}]), "Hello", []),
}  # fmt: skip


RESPONSES: dict[str, tuple[object, str, Calls]] = {
    "no output at the end": ([CREATED, delta("Hel"), delta("lo"), COMPLETED], "Hello", []),
    "no last event": ([CREATED, delta("Hello"), whole(HELLO, output_index=0)], "Hello", []),
    "deltas alone": ([delta("Hel"), delta("lo")], "Hello", []),
    "no last event, and a call without arguments": (
        [{"type": "response.output_item.added", "output_index": 0,
          "item": {**function_call("a", ""), "name": "tables"}}], "", [("tables", {})]),
    "items alone": ([whole(HELLO), whole(function_call("a", ONE))], "Hello", BOTH[:1]),
    "the last event alone": (
        [{"type": "response.completed", "response": response(HELLO)}], "Hello", []),
    "another last event": ([CREATED, {"type": "response.done", "response": response(HELLO)}],
                           "Hello", []),
    "text without deltas": (
        [{"type": "response.output_text.done", "text": "Hello"}, COMPLETED], "Hello", []),
    "a part without deltas": (
        [{"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hello"}},
         COMPLETED], "Hello", []),
    "all of them": (
        [delta("Hello", output_index=0, item_id="m1", content_index=0),
         {"type": "response.output_text.done", "text": "Hello", "output_index": 0},
         {"type": "response.content_part.done", "part": HELLO["content"][0], "output_index": 0},
         whole(HELLO, output_index=0), {"type": "response.completed", "response": response(HELLO)}],
        "Hello", []),
    "text as content": ([whole(message("Hello")), COMPLETED], "Hello", []),
    "odd contents": (
        [whole(message([None, 3, {"type": "reasoning_text", "text": "a"},
                       {"type": "text", "text": "Hello"}]))], "3Hello", []),
    "one call id twice": (
        [whole(function_call("a", ONE, "1")), whole(function_call("a", TWO, "2")), COMPLETED],
        "", BOTH),
    "one call id and one item id": (
        [whole(function_call("a", ONE),
         output_index=0), whole(function_call("a", TWO), output_index=0),
         COMPLETED], "", BOTH),
    "arguments as object": ([whole(function_call("a", {"row": 1})), COMPLETED], "", BOTH[:1]),
    "numbers as ids": (
        [whole(function_call(1, ONE, 1)), whole(function_call(2, TWO, 2))], "", BOTH),
    "calls in deltas alone": (
        [{"type": "response.output_item.added", "output_index": 0, "item": function_call("a", "")},
         {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"row"'},
         {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": ": 1}"},
         COMPLETED], "", BOTH[:1]),
    "calls in deltas without numbers": (
        [{"type": "response.output_item.added", "item": function_call("a", "", "x")},
         {"type": "response.function_call_arguments.delta", "delta": ONE},
         {"type": "response.output_item.added", "item": function_call("b", "", "y")},
         {"type": "response.function_call_arguments.delta", "delta": TWO}, COMPLETED], "", BOTH),
    "the call at the end alone": (
        [delta("Hi"),
         {"type": "response.completed", "response": response(function_call("a", ONE))}],
        "Hi", BOTH[:1]),
    "arguments in other spaces at the end": (
        [whole(function_call("a", ONE)),
         {"type": "response.completed", "response": response(function_call("a", '{"row":1}'))}],
        "", BOTH[:1]),
    "JSON in place of a stream": (json.dumps(response(HELLO)).encode(), "Hello", []),
    "JSON with calls": (
        json.dumps(response(function_call("a", ONE), function_call("a", TWO))).encode(), "", BOTH),
    "JSON without status": (
        json.dumps({"id": "r1", "output": [HELLO]}).encode(), "Hello", []),
    "thoughts in the text": (
        [delta("<thi"), delta("nk>a</think>\n\nHel"), delta("lo"), COMPLETED], "Hello", []),
    "thoughts in the whole text": ([whole(message("<think>a</think>Hello"))], "Hello", []),
    "nulls": (
        [CREATED, {"type": None}, {"type": "response.output_item.done", "item": None},
         delta(None), delta("Hello"), {"type": "response.completed", "response": response(
             usage=None, error=None, incomplete_details=None)}], "Hello", []),
    "null output": (
        [delta("Hello"), {"type": "response.completed", "response": {"output": None}}],
        "Hello", []),
}  # fmt: skip


assert not CHAT.keys() & more_odd_answers.CHAT.keys()
CHAT |= more_odd_answers.CHAT
RESPONSES |= more_odd_answers.RESPONSES


def serve(fake: FakeOpenAI, body: object) -> None:
    """Answer every question with these events, or bytes."""
    raw = body if isinstance(body, bytes) else sse(body)  # type: ignore[arg-type]
    kind = "application/json" if raw[:1] in b"{[" else "text/event-stream"

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=raw, content_type=kind)

    fake.hostile = answer


async def ask(
    make: Make, fake: FakeOpenAI, level: Level, body: object
) -> tuple[Talk, RoundCompleted]:
    serve(fake, body)
    talk = Talk(await make(level), tools=TOOLS)
    talk.begin("hello")
    completion = await talk.round()
    assert len(fake.requests) == 1
    return talk, completion


def read_items(items: Sequence[Item]) -> tuple[str, Calls]:
    texts = [item.text for item in items if item.kind == "message"]
    return "".join(texts), [(i.name, json.loads(i.arguments)) for i in items if i.kind == "call"]


async def test_an_equal_call_that_came_twice_is_marked(make: Make, fake: FakeOpenAI) -> None:
    """It runs once, and its output says so. Calls at two places are two."""
    twice = tc(0, "", "query", ONE)
    for level, body, marks in (
        ("chat", calls(twice, twice), [True]),
        ("chat", [chunk({"tool_calls": [twice, {**twice, "index": 1}]}, "stop")], [None, None]),
        ("responses", [whole(function_call("a", ONE))] * 2, [True]),
        ("responses", [whole(function_call("", ONE), output_index=n) for n in (0, 1)], [None] * 2),
    ):
        fake.requests.clear()
        _, completion = await ask(make, fake, level, body)  # type: ignore[arg-type]
        assert [item.raw.get("may_be_two") for item in completion.items] == marks


class Paying:
    """A person whose money pays for 300 tokens of the answer."""

    async def __call__(self, tokens: int) -> int | None:
        return 300

    def on_refused_request(self) -> None:
        raise AssertionError("it was not refused")


@pytest.mark.parametrize(("tokens", "is_cut"), [(299, False), (300, True)])
async def test_an_answer_that_reaches_its_limit_is_cut_whatever_the_server_says(
    make: Make, fake: FakeOpenAI, tokens: int, is_cut: bool
) -> None:
    """llama.cpp calls such a response completed."""
    usage = {"input_tokens": 5, "output_tokens": tokens}
    chat_used = {"prompt_tokens": 5, "completion_tokens": tokens}
    for level, body in (
        ("responses", [delta("Hello"), {"type": "response.completed",
                                        "response": response(HELLO, usage=usage)}]),
        ("conversations", [CREATED, delta("Hello"), {"type": "response.completed",
                                                     "response": response(HELLO, usage=usage)}]),
        ("chat", [*text("Hello"), {"choices": [], "usage": chat_used}]),
    ):  # fmt: skip
        serve(fake, body)
        talk = Talk(await make(level), payment=Paying())
        talk.begin("hello")
        assert (await talk.round()).is_truncated is is_cut


@pytest.mark.parametrize(
    ("word", "is_cut", "fault"),
    [
        ("model_context_window_exceeded", True, ""), ("MAX_TOKENS", True, ""),
        ("token_limit", True, ""), ("pause_turn", True, ""), ("something_new", True, ""),
        ("ThrottlingException", False, "broken"), ("upstream_timeout", False, "broken"),
        ("internal_server_error", False, "broken"), ("rate_limit_exceeded", False, "broken"),
        ("connection_reset", False, "broken"), ("out_of_memory", False, "broken"),
        ("repetition", True, ""), ("normal", False, ""),
        ("end_turn", False, ""), ("stop_sequence", False, ""), ("eos_token", False, ""),
        ("COMPLETE", False, ""), ("finish_reason_unspecified", False, ""),
    ],
)  # fmt: skip
async def test_a_word_for_the_end_that_is_not_openais(
    make: Make, fake: FakeOpenAI, word: str, is_cut: bool, fault: str
) -> None:
    """An unknown one after text may mean that half of it is missing."""
    serve(fake, [chunk({"content": "Half a sen"}), chunk({}, word)])
    talk = Talk(await make("chat"), tools=TOOLS)
    talk.begin("hello")
    completion = await talk.round()
    assert [item.text for item in completion.items] == ["Half a sen"]
    assert (completion.is_truncated, bool(completion.broken)) == (is_cut, bool(fault))
    serve(fake, [*calls(tc(0, "a", "query", ONE), finish=None), chunk({}, word)])
    if not fault and word in ("pause_turn", "something_new", "COMPLETE"):
        talk.begin("and now?")
        assert [item.name for item in (await talk.round()).items] == ["query"], "whole calls run"


@pytest.mark.parametrize(
    "later",
    [
        [{"prompt_tokens": 5, "completion_tokens": 300}, {"prompt_tokens": 0, "total_tokens": 0}],
        [{"prompt_tokens": 5}, {"completion_tokens": 300}],
        [{"prompt_tokens": 5, "completion_tokens": 1}, {"completion_tokens": 300}, None],
        [{"prompt_tokens": 5, "completion_tokens": 0}, {"prompt_tokens": 5, "total_tokens": 305}],
    ],
)  # fmt: skip
async def test_token_counts_of_several_chunks_are_put_together(
    make: Make, fake: FakeOpenAI, later: list[object]
) -> None:
    """Some servers end with zeros, others tell input first and output last."""
    serve(fake, [*text("Hello"), *({"choices": [], "usage": usage} for usage in later)])
    talk = Talk(await make("chat"), tools=TOOLS)
    talk.begin("hello")
    usage = (await talk.round()).usage
    assert (usage.input, usage.output, usage.is_estimated) == (5, 300, False)


async def test_whole_calls_without_end_are_cut_off(make: Make, fake: FakeOpenAI) -> None:
    items = [function_call(f"c{n}", json.dumps({"row": f"{n}" * 400_000})) for n in range(4)]
    serve(fake, [whole(item, output_index=n) for n, item in enumerate(items)])
    talk = Talk(await make("responses"), tools=TOOLS)
    talk.begin("hello")
    with pytest.raises(ModelError, match="more than the limit"):
        await talk.round()


INCOMPLETE: dict[str, object] = {
    "a call cut in its arguments": calls(tc(0, "a", "query", '{"row"'), finish=None),
    "a call cut before its arguments": sse(calls(tc(0, "a", "query", ""))[:1], done=False),
    "a call without a name": calls(tc(0, "a", "", ONE)),
    "text and a call that is cut": [chunk({"content": "Look."}), *calls(
        tc(0, "a", "query", ONE), tc(1, "b", "query", '{"row'), finish=None)],
    "nothing": b"",
    "spaces": b"\n\n \n",
    "no choices": sse([{"id": "c1", "choices": []}], done=False),
    "a failed call": calls(tc(0, "a", "query", ONE), finish="malformed_function_call"),
}  # fmt: skip


@pytest.mark.parametrize("name", INCOMPLETE)
async def test_an_incomplete_answer_is_asked_for_once_more(
    make: Make, fake: FakeOpenAI, name: str
) -> None:
    serve(fake, INCOMPLETE[name])
    talk = Talk(await make("chat"), tools=TOOLS)
    talk.begin("hello")
    with pytest.raises(ModelError):
        await talk.round()
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        text("Hello", finish="error"),
        sse([chunk({"content": "Hello"}), {"error": {"message": "overloaded"}}]),
        sse([chunk({"content": "Hello"}), {"error": "overloaded"}]),
        sse([chunk({"content": "Hello"})]) + b'event: error\ndata: {"message": "x"}\n\n',
        sse([chunk({"content": "Hello"})], done=False) + b'data: {"id": "c1", "choi',
    ],
)
async def test_text_before_an_error_is_kept(make: Make, fake: FakeOpenAI, body: object) -> None:
    if isinstance(body, bytes) and b"event: error" in body:
        body = body.replace(b"data: [DONE]\n\n", b"")
    _, completion = await ask(make, fake, "chat", body)
    assert read_items(completion.items) == ("Hello", [])
    assert completion.broken is not None


async def test_a_finished_answer_is_whole_whatever_comes_after_it(
    make: Make, fake: FakeOpenAI
) -> None:
    body = sse([*calls(tc(0, "a", "query", ONE)), {"error": {"message": "late"}}])
    _, completion = await ask(make, fake, "chat", body)
    assert read_items(completion.items) == ("", BOTH[:1])
    assert completion.broken is None


async def test_thoughts_that_nothing_opens_are_shown_once_at_most(
    make: Make, fake: FakeOpenAI
) -> None:
    """From then on, the text of that model waits for the end of its thoughts."""
    body = text("I think", " so.\n</think>\n\n", "Hel", "lo")
    talk, _ = await ask(make, fake, "chat", body)
    views = [event.text for event in talk.heard if isinstance(event, TextDelta)]
    assert views == ["I think", "Hel", "lo"]
    assert any(isinstance(event, TextWithdrawn) for event in talk.heard)
    for pieces, target in (
        (("I think", "</think>", "Hel", "lo"), ["Hel", "lo"]),
        (("<think>", "I think", "</think>", "Hel", "lo"), ["Hel", "lo"]),
        (("I think", "\n</think>Hel", "lo"), ["I think", "Hel", "lo"]),
        (("Hel", "lo"), []),  # it waited for an end that did not come, and does not wait again
        (("Hel", "lo"), ["Hel", "lo"]),
    ):
        serve(fake, text(*pieces))
        count = len(talk.heard)
        assert await talk.say("And now?") == "Hello"
        deltas = [each.text for each in talk.heard[count:] if isinstance(each, TextDelta)]
        assert [each.strip() for each in deltas if each.strip()] == target


async def test_thoughts_go_back_with_calls_alone(make: Make, fake: FakeOpenAI) -> None:
    """With each message of a turn that called tools (DeepSeek's guide "Thinking mode")."""
    fake.odd = {"reasoning_content"}
    thought = chunk(
        {
            "reasoning_content": "Hm.",
            "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "H"}],
        }
    )
    more = chunk(
        {
            "reasoning_content": " Ok.",
            "reasoning_details": [
                {"type": "reasoning.text", "index": 0, "text": "m", "signature": "s"}
            ],
        }
    )
    signature = {
        **tc(0, "a", "query", ONE),
        "extra_content": {"google": {"thought_signature": "x"}},
    }
    talk, _ = await ask(make, fake, "chat", [thought, more, *calls(signature)])
    (call,) = [item for _, item in talk.transcript if item.kind == "call"]
    talk.keep(Item(kind="output", call_id=call.call_id, text="ran"))
    serve(fake, [thought, *text("Done.")])
    await talk.round()
    assert "Hm" not in "".join(item.text for _, item in talk.transcript)
    serve(fake, [thought, *text("Hello.")])
    await talk.say("Hi.")
    await talk.say("Hi again.")
    messages = fake.requests[-1].body["messages"]
    question, end, hello = (each for each in messages if each["role"] == "assistant")
    assert question["reasoning_content"] == "Hm. Ok."
    parts = [part["choices"][0]["delta"]["reasoning_details"][0] for part in (thought, more)]
    assert question["reasoning_details"] == parts
    assert question["tool_calls"][0]["extra_content"] == signature["extra_content"]
    assert end["reasoning_content"] == "Hm."
    assert hello == {"role": "assistant", "content": "Hello."}
    assert not any(item.raw for _, item in talk.transcript if item.text == "Hello.")
    async with FakeOpenAI() as elsewhere:
        elsewhere.say("Here.")
        host = elsewhere.base_url.replace("127.0.0.1", "localhost")
        await talk.restart(await make("chat", base_url=host)).say("Who are you?")
        body = json.dumps(elsewhere.requests[-1].body)
        assert "Hm" not in body
        assert "thought_signature" not in body


@pytest.mark.parametrize(
    "events",
    [
        [chunk({"content": "Two [1]."}, citations=["https://a.example/1", 4, "javascript:x"]),
         chunk({}, "stop", search_results=[{"title": "One", "url": "https://a.example/1"}])],
        [chunk({"content": "Two [1]."}), chunk({"annotations": [
            {"type": "url_citation",
             "url_citation": {"url": "https://a.example/1", "title": "One"}}]}, "stop")],
        *([chunk({"content": "Two [1]."}), chunk({}, "stop", **fields)] for fields in (
            {"search_results": [{"title": "One", "link": "https://a.example/1"}]},
            {"web_search": [{"title": "One", "link": "https://a.example/1"}]},
            {"search_info": {"search_results": [{"title": "One", "url": "https://a.example/1"}]}})),
        [chunk({"content": "Two.", "context": {"citations": [
            {"title": "One", "url": "https://a.example/1"}]}}), chunk({}, "stop")],
    ],
)  # fmt: skip
async def test_sources_are_kept_with_the_text(
    make: Make, fake: FakeOpenAI, events: list[Json]
) -> None:
    _, completion = await ask(make, fake, "chat", events)
    assert completion.items[-1].raw["sources"] == [["https://a.example/1", "One"]]


async def test_the_address_of_a_source_may_have_balanced_brackets(
    make: Make, fake: FakeOpenAI
) -> None:
    urls = ["https://a.example/A_(b)_(c)", "https://a.example/A_(b", "https://a.example/A_b)"]
    events = [chunk({"content": "Two [1]."}, citations=urls), chunk({}, "stop")]
    _, completion = await ask(make, fake, "chat", events)
    assert completion.items[-1].raw["sources"] == [[urls[0], ""]]


async def test_an_answer_has_so_many_sources_at_most(make: Make, fake: FakeOpenAI) -> None:
    """A title that comes later is added all the same."""
    urls = [f"https://a.example/{number}" for number in range(MAX_SOURCES + 1)]
    last = chunk({}, "stop", search_results=[{"title": "One", "url": urls[0]}])
    events = [chunk({"content": "Many [1]."}, citations=urls), last]
    _, completion = await ask(make, fake, "chat", events)
    targets = [[urls[0], "One"], *([url, ""] for url in urls[1:MAX_SOURCES])]
    assert completion.items[-1].raw["sources"] == targets


async def test_sources_of_a_response(make: Make, fake: FakeOpenAI) -> None:
    note = {"type": "url_citation", "url": "https://a.example/1", "title": "One"}
    part = {"type": "output_text", "text": "Two.", "annotations": [note]}
    _, completion = await ask(make, fake, "responses", [whole(message([part])), COMPLETED])
    assert completion.items[-1].raw["sources"] == [["https://a.example/1", "One"]]


async def test_each_answer_is_read_as_it_was_meant(fake: FakeOpenAI) -> None:
    """A new model reads each of them, since a model's later answers depend on its earlier ones."""
    client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url))
    both: tuple[tuple[Level, dict[str, tuple[object, str, Calls]]], ...]
    both = ("chat", CHAT), ("responses", RESPONSES)
    targets: dict[str, object] = {}
    matches: dict[str, object] = {}
    for level, name in ((level, name) for level, cases in both for name in cases):
        body, words, question = dict(both)[level][name]
        serve(fake, body)
        fake.requests.clear()
        model = ServedModel(client, ModelOptions(), level=level, record_object_to_erase=AsyncMock())
        talk, answer = Talk(model, tools=TOOLS), f"{level}: {name}"
        targets[answer] = (words, question, None, False, 1)
        talk.begin("hello")
        try:
            completion = await talk.round()
        except ModelError as error:
            matches[answer] = error.words()
            continue
        ends = completion.broken, completion.is_truncated, len(fake.requests)
        matches[answer] = (*read_items(completion.items), *ends)
        if not words.startswith(talk.text):
            matches[answer] = f"showed {talk.text!r}"
    await client.close()
    assert matches == targets
