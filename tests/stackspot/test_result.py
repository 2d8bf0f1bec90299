"""What a quick command said: a text, JSON with or without a fence, code, a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.text import make_code_block
from core.tools.stackspot.client import Result, build_document, parse_json_text

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
