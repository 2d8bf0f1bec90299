"""Quick commands: how inputs are read, from words and files, and what a person gets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import BadInput
from core.base.i18n import use_locale
from core.commands import quick_commands
from core.commands.quick_commands import (
    MAX_RESULT_CHARACTERS,
    Inputs,
    check_inputs,
    parse_input,
    render_result,
)
from core.domain.messages import File, Quote
from core.domain.records import QuickCommand
from tests.fakes.choices import make_message

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
        ('{"a": NaN}', "isn't valid (line 1, column 1)"),
        ('{"a": 1e999}', "isn't valid (line 1, column 1)"),
        ('{"a": 1, "a": 2}', "a appears twice"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "isn't valid (line 1, column 1)"),
        ('{"a": ' + "[" * 33 + "]" * 33 + "}", "isn't valid (line 1, column 1)"),
        ('{"a": ' + "9" * 5000 + "}", "isn't valid (line 1, column 1)"),
        ('a="two words', "quote after a= isn't closed"),
        ("a='tis", "quote after a= isn't closed"),
        ('a="x"y', "= isn't closed, or has text right after it"),
        ("a=two words", "`words` isn't in the form key=value"),
        ("a=1 a=2", "a appears twice"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, words: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_input(text)
    assert words in error.value.words()


@pytest.mark.parametrize(
    ("given_input", "checked"),
    [
        ("monday", {"day": "monday"}),
        ({"day": "monday"}, {"day": "monday"}),
        ({"day": "m", "rows": "12", "full": "Yes"}, {"day": "m", "rows": 12, "full": True}),
        (
            {"day": "m", "rows": "-1.5e2", "tone": "dry"},
            {"day": "m", "rows": -150.0, "tone": "dry"},
        ),
        ({"day": "m", "full": False}, {"day": "m", "full": False}),
        ({"day": "m", "rows": 7}, {"day": "m", "rows": 7}),
        ({"day": "m", "rows": "0"}, {"day": "m", "rows": 0}),
    ],
)
def test_valid_inputs_are_accepted(given_input: Any, checked: Any) -> None:
    assert check_inputs(REPORT, given_input) == checked


@pytest.mark.parametrize(
    ("command", "given_input", "words"),
    [
        (REPORT, "", '`report` also needs day. Example: `quick-command report day="…"`.'),
        (REPORT, {"day": ""}, "also needs day"),
        (REPORT, {"day": "m", "daye": "x"}, "no input `daye`. Its inputs are: day, rows, full"),
        (REPORT, {"day": 5}, "day must be text"),
        (REPORT, {"day": "m", "rows": "many"}, "rows must be a number, for example rows=12.5."),
        (REPORT, {"day": "m", "rows": True}, "rows must be a number"),
        (REPORT, {"day": "m", "rows": "9" * 5000}, "rows must be a number"),
        (REPORT, {"day": "m", "full": "maybe"}, "full must be true or false"),
        (REPORT, {"day": "m", "tone": "loud"}, "tone must have one of these values: dry, warm."),
        (REPORT, {"day": "m", "tone": ["dry"]}, "tone must have one of these values: dry, warm."),
        (PAIR, "words", '`quick-command pair a="…" b="…"`'),
        (PAIR, {"a": "1"}, "`pair` also needs b"),
    ],
)
def test_invalid_inputs_are_refused_with_a_hint(
    command: QuickCommand, given_input: Any, words: str
) -> None:
    with pytest.raises(BadInput) as error:
        check_inputs(command, given_input)
    assert words in error.value.words()


@pytest.mark.parametrize(
    ("locale", "text", "rows"),
    [("pt-BR", "1.234", 1234), ("pt-BR", "1.234,5", 1234.5), ("fr", "1 234,5", 1234.5),
     ("en", "1,234", 1234), ("fr", "1.234", None), ("en", "1.234", 1.234), ("fr", "0", 0)],
)  # fmt: skip
def test_a_number_that_a_person_typed_is_in_the_form_of_their_language(
    locale: str, text: str, rows: float | None
) -> None:
    with use_locale(locale):
        given_input = {"day": "m", "full": "oui", "rows": text}
        if rows is None:
            with pytest.raises(BadInput) as error:
                check_inputs(REPORT, given_input, is_typed=True)
            assert error.value.words().endswith("rows=12,5.")
        else:
            finding = check_inputs(REPORT, given_input, is_typed=True)
            assert finding == {"day": "m", "full": True, "rows": rows}
        assert check_inputs(REPORT, {"day": "m", "rows": "1.234"}) == {"day": "m", "rows": 1.234}
        assert check_inputs(REPORT, {"day": "m", "rows": 1.234}, is_typed=True)["rows"] == 1.234  # type: ignore[index]


def test_a_command_without_declared_inputs_takes_anything() -> None:
    bare = QuickCommand("bare", "")
    assert check_inputs(bare, "words") == "words"
    assert check_inputs(bare, {"any": 1}) == {"any": 1}


@given(
    st.dictionaries(
        st.sampled_from(["day", "rows", "full", "tone", "x"]),
        st.one_of(
            st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())
        ),
    )
)
def test_any_input_fits_or_is_told(given_input: dict[str, Any]) -> None:
    try:
        finding = check_inputs(REPORT, given_input)
    except BadInput as error:
        error.words()
    else:
        assert check_inputs(REPORT, finding) == finding


PLAIN = QuickCommand("plain", "Plain")
SAID = make_message("quick-command x", "k1")


async def fill_inputs(command: QuickCommand, typed: Inputs, *files: bytes) -> Inputs:
    files_by_id = {f"f{n}": data for n, data in enumerate(files)}
    attachments = [
        File(name, f"{name}.txt", "text/plain", len(files_by_id[name])) for name in files_by_id
    ]

    async def read(file: File) -> bytes:
        return files_by_id[file.id]

    return await quick_commands.collect_inputs(command, typed, SAID, (attachments, ()), read)


async def nothing(file: File) -> bytes:
    raise AssertionError("there is no file to read")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
async def test_any_bytes_are_an_input_or_told(data: bytes) -> None:
    text = ""
    try:
        whole = await fill_inputs(PLAIN, "", data)
    except BadInput as error:
        whole, text = "", str(error)
    assert "\0" not in json.dumps(whole)
    assert not text or "f0.txt" in text


@given(st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), max_size=3))
async def test_json_is_inputs_where_their_names_are_the_commands(named: dict[str, str]) -> None:
    text = json.dumps(named)
    whole = await fill_inputs(PAIR, "", text.encode())
    assert isinstance(whole, str) == bool(named.keys() - PAIR.inputs.keys())


async def test_the_one_that_is_missing_is_the_file() -> None:
    assert await fill_inputs(PAIR, {"b": "1"}, b"text") == {"b": "1", "a": "text"}
    for inputs in ({"c": "3"}, {"a": "1", "b": "2"}, "words"):
        with pytest.raises(BadInput, match=r"file `f0\.txt`, so I can't tell which is the input"):
            await fill_inputs(PAIR, inputs, b"text")


async def test_two_files_and_one_that_could_not_be_fetched() -> None:
    with pytest.raises(BadInput, match="you sent 2"):
        await fill_inputs(PLAIN, "", b"a", b"b")
    with pytest.raises(BadInput, match=r"couldn't download the file `gone\.txt`"):
        await quick_commands.collect_inputs(PLAIN, "", SAID, ((), ("gone.txt",)), nothing)


async def test_a_reply_without_words_takes_what_it_replies_to() -> None:
    variant = replace(
        SAID, context=(Quote("Bob", "around"), Quote("Bob", "this", is_replied_to=True))
    )
    assert await quick_commands.collect_inputs(PLAIN, "", variant, ((), ()), nothing) == "this"
    own = await quick_commands.collect_inputs(PLAIN, "own words", variant, ((), ()), nothing)
    assert own == "own words"


class Kept:
    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    async def keep(self, name: str, type: str, data: bytes) -> File:
        self.data[name] = data
        return File("f1", name, type, len(data))


async def shown_text(result: str) -> str:
    view, files = await render_result(result, "x", Kept().keep)
    assert files == ()
    return view


async def test_json_is_laid_out_as_code_and_words_are_words() -> None:
    assert await shown_text('[1, "é"]') == '```json\n[\n  1,\n  "é"\n]\n```'
    assert await shown_text("12") == "12"
    assert await shown_text('"a"') == '"a"'
    assert await shown_text("{not json") == "{not json"
    assert await shown_text("```python\nprint()\n```") == "```python\nprint()\n```"
    assert "without a result" in await shown_text(" \n")


async def test_fences_within_json_stay_within() -> None:
    view = await shown_text(json.dumps({"md": "```\nx\n```"}))
    assert view.startswith("````json\n")


async def test_words_stay_as_they_are_until_their_surface_is_known() -> None:
    for words in ("see report.csv and c01@example.com", "[a](https://evil.example/x)"):
        assert await shown_text(words) == words


async def test_a_long_one_is_a_file_with_its_beginning_shown() -> None:
    files_by_id = Kept()
    words = "word " * MAX_RESULT_CHARACTERS
    view, (file,) = await render_result(words, "Report: 1/2", files_by_id.keep)
    assert files_by_id.data[file.name] == words.encode()
    assert f"{len(words):,} characters" in view
    assert len(view) < 2000
    many = json.dumps({"rows": list(range(4000))})
    view, _ = await render_result(many, "x", files_by_id.keep)
    assert json.loads(files_by_id.data["x.json"]) == {"rows": list(range(4000))}
    assert view.count("```") == 2
