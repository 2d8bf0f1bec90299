"""How an execution stands, and what a quick command said: a text, JSON, code, a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.base.splitting import make_code_block
from core.tools.stackspot import StackSpot
from core.tools.stackspot.client import (
    Result,
    RunStep,
    build_document,
    parse_json_text,
    parse_status,
)
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.stackspot.command_scene import error_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": 1}', {"a": 1}),
        (" [1, 2]\n", [1, 2]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```JSON\n{"a": 1}\n```\n', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('~~~ json\n{"a": 1}\n~~~', {"a": 1}),
        ('```json\n{"a": 1}', {"a": 1}),
        ('````json\n{"a": "```"}\n````', {"a": "```"}),
        ('Here it is:\n```json\n{"a": 1}\n```', None),
        ('```json\n{"a": 1}\n```\nand\n```json\n{"b": 2}\n```', None),
        ("```python\n[1]\n```", None),
        ("```json\n{broken\n```", None),
        ("NaN", None),
        ("plain words", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_found_where_the_whole_text_is_one(text: str, data: Any) -> None:
    assert parse_json_text(text) == data
    assert Result(text).data == data


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('{"a": 1}', '{"a": 1}'),
        ("```python\nprint(1)\n```", "```python\nprint(1)\n```"),
        ("```json\n{broken\n```", "```json\n{broken\n```"),
        ("two\n\nparagraphs", "two\n\nparagraphs"),
    ],
)
def test_a_fence_around_json_is_taken_off_and_code_keeps_its_own(text: str, bare: str) -> None:
    assert Result(text).without_fence == bare


@pytest.mark.parametrize(
    ("text", "name", "type", "data"),
    [
        ('```json\n{"a":1}\n```', "x.json", "application/json", '{\n  "a": 1\n}'),
        ('["é"]', "x.json", "application/json", '[\n  "é"\n]'),
        ("```python\nprint(1)\n```", "x.py", "text/plain", "print(1)"),
        ("```weird\na\n```", "x.txt", "text/plain", "a"),
        ("# Title\n\x1b[2Jtext", "x.md", "text/markdown", "# Title\ntext"),
        ("12.5", "x.md", "text/markdown", "12.5"),
        ("\ud800", "x.md", "text/markdown", "\ufffd"),
        ('["\\ud800"]', "x.json", "application/json", '[\n  "\ufffd"\n]'),
    ],
)
def test_a_file_is_of_the_kind_that_the_text_is(text: str, name: str, type: str, data: str) -> None:
    document = build_document(text, "x")
    assert (document.name, document.type, document.data.decode()) == (name, type, data)


@given(
    VALUES.filter(lambda value: value is not None),
    st.sampled_from(["", "json", "JSON"]),
    st.booleans(),
)
def test_any_json_comes_through_a_fence(value: Any, info: str, laid_out: bool) -> None:
    text = json.dumps(value, indent=2 if laid_out else None, ensure_ascii=False)
    block = make_code_block(text, info)
    assert parse_json_text(block) == parse_json_text(text) == value
    assert json.loads(Result(block).without_fence) == value


@given(st.text())
def test_any_text_can_be_read_and_kept(text: str) -> None:
    result = Result(text)
    assert result.without_fence.strip() in text
    assert result.data is None or json.dumps(result.data)
    assert build_document(text, "x").name.startswith("x.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("progress", "steps", "result", "conversation_id", "quick_command_slug")
STEP = {"step_name", "step_result", "execution_order"}


def read(**answer: Any) -> Any:
    return parse_status("01J", answer)


def test_a_whole_answer() -> None:
    status = read(
        progress={"status": "RUNNING", "execution_percentage": 0.5, "start": "…"},
        steps=[
            {"step_name": "Second", "execution_order": 2, "step_result": None},
            {"step_name": "First", "execution_order": 1, "step_result": {"answer": "one"}},
        ],
        quick_command_slug="echo",
        conversation_id="01C",
        result=None,
    )
    assert (status.state, status.share, status.slug, status.conversation) == (
        *("RUNNING", 0.5, "echo", "01C"),
    )
    assert status.steps == (RunStep("First", "one"), RunStep("Second"))
    assert status.step == "Second"


@pytest.mark.parametrize(
    ("told", "share"),
    [(0, 0.0), (0.42, 0.42), (1, 1.0), (42, 0.42), (100, 1.0), (101, None), (-1, None),
     (True, None), ("0.5", None), (None, None), (float("inf"), None)],
)  # fmt: skip
def test_progress_is_read_as_a_share(told: object, share: float | None) -> None:
    assert read(progress={"execution_percentage": told}).share == share


@pytest.mark.parametrize(
    ("result", "steps", "answer"),
    [
        ("said", [{"step_result": {"answer": "step"}}], "said"),
        ("", [{"step_result": {"answer": "step"}}], "step"),
        (" \n", [{"step_result": {"answer": "one"}}, {"step_result": {"answer": "two"}}], "two"),
        (None, [{"step_result": {"answer": "one"}}, {"step_result": {"answer": ""}}], "one"),
        (None, [{"step_result": {"status_code": 200, "json_data": {"a": "é"}}}], '{"a": "é"}'),
        (None, [{"step_result": {"status_code": 200, "data": "plain"}}], "plain"),
        (None, [{"step_result": "bare"}], "bare"),
        ({"a": 1}, [], '{"a": 1}'),
        (None, [], ""),
        (None, "odd", ""),
        (None, ["odd", None, 3], ""),
    ],
)
def test_the_answer_is_the_result_or_the_last_step_s(
    result: object, steps: object, answer: str
) -> None:
    assert read(result=result, steps=steps).answer == answer


def test_a_step_s_name_is_one_short_line() -> None:
    steps = [{"step_name": "a\n\x1b[2Jb\u202e" + "c" * 500}]
    assert read(steps=steps).step == "a b" + "c" * 56 + "…"


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_status_answer_can_be_read(answer: dict[str, Any]) -> None:
    status = parse_status("01J", answer)
    assert isinstance(status.answer, str)
    assert status.share is None or 0 <= status.share <= 1
    assert len(status.step) <= 60


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(STEP)), JSON), max_size=4))
def test_whatever_steps_come_can_be_read(steps: list[dict[str, Any]]) -> None:
    status = read(steps=steps, progress={"status": "COMPLETED"})
    assert status.state == "COMPLETED"
    assert len(status.steps) == len(steps)


async def test_an_object_as_the_result_is_json(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    fake.answer("status", 200, body={"progress": {"status": "completed"}, "result": {"sum": 3}})
    result = await stackspot.run("echo", "a")
    assert json.loads(result.text) == result.data == {"sum": 3}


async def test_a_state_that_cannot_be_read_is_asked_for_again(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    bodies: list[Any] = [["COMPLETED"], "COMPLETED", 1]
    for body in bodies:
        before = fake.count("status")
        fake.go(Run((Look("COMPLETED"),), result="done"))
        fake.answer("status", 200, 200, body=body)
        execution = await stackspot.create("echo", "a")
        assert (await error_of(stackspot.status(execution))).code == "unreadable"
        assert (await stackspot.wait(execution)).text == "done"
        assert fake.count("status") == before + 3


def test_halves_of_characters_do_not_come_through() -> None:
    fixtures = {
        "progress": {"status": "COMPLETED"},
        "result": "a\ud83d b",
        "steps": [{"step_name": "\udc00", "step_result": {"json_data": {"a": "\ud800"}}}],
    }
    status = parse_status("01A", fixtures)
    assert status.answer == "a\ufffd b"
    assert status.steps[0].answer == '{"a": "\ufffd"}'
    assert parse_status("01A", {"result": "\ud83d\ude00"}).answer == "\U0001f600", "a whole pair"
