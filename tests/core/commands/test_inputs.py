"""What stands after a slug: how it is read, and what is said when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import BadInput
from core.commands.quick_commands import check_inputs, parse_input
from core.domain.records import QuickCommand

REPORT = QuickCommand(
    "report",
    "A report",
    inputs={
        "day": {"type": "text", "required": True},
        "rows": {"type": "number"},
        "full": {"type": "boolean"},
        "tone": {"type": "choice", "choices": ("dry", "warm")},
    },
)
PAIR = QuickCommand("pair", "", inputs={"a": {"required": True}, "b": {"required": True}})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ""),
        ("plain words", "plain words"),
        ("two\nlines", "two\nlines"),
        ("total = 5", "total = 5"),
        ("https://example.org/?a=b", "https://example.org/?a=b"),
        ('he said "hi', 'he said "hi'),
        ('"x=1, solve it"', "x=1, solve it"),
        ('"a" and "b"', '"a" and "b"'),
        ("a=1 b=2", {"a": "1", "b": "2"}),
        ("a=\n  b=x=y", {"a": "", "b": "x=y"}),
        ("a='it is' b=“two words”", {"a": "it is", "b": "two words"}),
        (r'path="C:\new" said="a \"b\" \\"', {"path": r"C:\new", "said": 'a "b" \\'}),
        ("descrição=sim", {"descrição": "sim"}),
        ("{}", {}),
        ('{"a": "\\u202ex", "n": 1}', {"a": "x", "n": 1}),
    ],
)
def test_an_input_is_parsed(text: str, read: Any) -> None:
    assert parse_input(text) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1', "(line 1, column 8)"),
        ("{'a': 1}", "Fix it, use key=value"),
        ('{"a": NaN}', "is not valid (line 1, column 1)"),
        ('{"a": 1e999}', "is not valid (line 1, column 1)"),
        ('{"a": 1, "a": 2}', "a appears twice"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "is not valid (line 1, column 1)"),
        ('{"a": ' + "[" * 33 + "]" * 33 + "}", "is not valid (line 1, column 1)"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid (line 1, column 1)"),
        ('a="two words', "quote after a= is not closed"),
        ("a='tis", "quote after a= is not closed"),
        ('a="x"y', "= is not closed, or has text right after it"),
        ("a=two words", "'words' is not in the form key=value"),
        ("a=1 a=2", "a appears twice"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, words: str) -> None:
    with pytest.raises(BadInput) as told:
        parse_input(text)
    assert words in told.value.words()


@pytest.mark.parametrize(
    ("given_input", "checked"),
    [
        ("monday", {"day": "monday"}),
        ({"day": "monday"}, {"day": "monday"}),
        (
            {"day": "m", "rows": "12", "full": "Yes", "tone": "dry"},
            {"day": "m", "rows": 12, "full": True, "tone": "dry"},
        ),
        (
            {"day": "m", "rows": "-1.5e2", "full": False},
            {"day": "m", "rows": -150.0, "full": False},
        ),
        ({"day": "m", "rows": 7}, {"day": "m", "rows": 7}),
    ],
)
def test_valid_inputs_are_accepted(given_input: Any, checked: Any) -> None:
    assert check_inputs(REPORT, given_input) == checked


@pytest.mark.parametrize(
    ("command", "given_input", "words"),
    [
        (REPORT, "", '`report` also needs day. Example: `quick-command report day="…"`.'),
        (REPORT, {"day": ""}, "also needs day"),
        (REPORT, {"day": "m", "daye": "x"}, "no input 'daye'. Its inputs are: day, rows, full"),
        (REPORT, {"day": 5}, "day must be text"),
        (REPORT, {"day": "m", "rows": "many"}, "rows must be a number, for example rows=12.5."),
        (REPORT, {"day": "m", "rows": True}, "rows must be a number"),
        (REPORT, {"day": "m", "rows": "9" * 5000}, "rows must be a number"),
        (REPORT, {"day": "m", "full": "maybe"}, "full must be true or false"),
        (REPORT, {"day": "m", "tone": "loud"}, "tone must be one of: dry, warm."),
        (REPORT, {"day": "m", "tone": ["dry"]}, "tone must be one of: dry, warm."),
        (PAIR, "words", '`quick-command pair a="…" b="…"`'),
        (PAIR, {"a": "1"}, "`pair` also needs b"),
    ],
)
def test_invalid_inputs_are_refused_with_a_hint(
    command: QuickCommand, given_input: Any, words: str
) -> None:
    with pytest.raises(BadInput) as told:
        check_inputs(command, given_input)
    assert words in told.value.words()


def test_a_command_without_declared_inputs_takes_anything() -> None:
    bare = QuickCommand("bare", "")
    assert check_inputs(bare, "words") == "words"
    assert check_inputs(bare, {"any": 1}) == {"any": 1}


@given(st.dictionaries(st.sampled_from(["day", "rows", "full", "tone", "x"]), st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())
)))  # fmt: skip
def test_any_input_fits_or_is_told(given_input: dict[str, Any]) -> None:
    try:
        checked = check_inputs(REPORT, given_input)
    except BadInput as error:
        error.words()
    else:
        assert check_inputs(REPORT, checked) == checked
