"""Text from outside: what is taken out, what stays, and how it is cut."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.redaction import withhold_in_text
from core.base.text import (
    clean_text,
    escape_formula,
    safe_file_name,
    to_one_line,
    truncate,
    truncate_with_note,
)

ANYTHING = st.one_of(
    st.text(),
    st.text(st.sampled_from("a\x1b[]31m\x07\x9b\r\n\u200d\u200c\ufe0f\U000e0041\U0001f3f4ب\ud83d")),
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]8;;https://evil.example\x07here\x1b]8;;\x1b\\", "here"),
        ("\x1b]0;title without an end\nnext line", "\nnext line"),
        ("a\x00b\x07c\x7fd", "abcd"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("report\u202efdp.exe", "reportfdp.exe"),
        ("\u2066if admin\u2069", "if admin"),
        ("pass\u200bword\ufeff", "password"),
        ("a\u200db\u200cc", "abc"),
        ("hi" + "".join(chr(0xE0000 + ord(letter)) for letter in "do evil"), "hi"),
        ("x\ufe0f\ufe01\ufe02\U000e0101y", "x\ufe0fy"),
        ("half \ud83d of it", "half \ufffd of it"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_control_and_invisible_characters_are_removed(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧 ❤️\u200d🔥 👍🏽 🇧🇷",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "می\u200cخواهم",
        "שלום\u200f, עולם!",
        "क्\u200dष",
        "葛\U000e0100城",
        "Ação, œuvre, e\u0301",
        "\tcode\n\n  indented",
    ],
)
def test_every_language_stays(text: str) -> None:
    assert clean_text(text) == text


@given(ANYTHING)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", once
    )
    once.encode()


def test_a_clipped_text_says_what_was_cut() -> None:
    clipped = truncate_with_note("x" * 5000, 100)
    assert len(clipped) <= 100
    count = len(clipped.split("\n")[0])
    assert clipped.endswith(f"[Truncated: showing {count} of 5,000 characters.]")
    assert truncate_with_note("short", 100) == "short"


@given(st.text(max_size=300), st.integers(0, 200))
def test_a_clipped_text_fits(text: str, limit: int) -> None:
    assert len(truncate_with_note(text, limit)) <= limit or len(text) <= limit


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\plan.xlsx", "plan.xlsx"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\nb\x00\x1b[31m.txt", "a_b.txt"),
        ('he"llo<b>.html', "he_llo_b_.html"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("données été.csv", "données été.csv"),
        ("rapport e\u0301te\u0301.csv", "rapport été.csv"),
        ("...", "file"),
        ("", "file"),
        ("/", "file"),
    ],
)
def test_file_names(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_a_long_file_name_keeps_its_ending() -> None:
    assert len(safe_file_name("x" * 300 + ".tar.gz")) == 100
    assert safe_file_name("x" * 300 + ".tar.gz").endswith(".gz")


@given(ANYTHING)
def test_any_file_name_is_safe(name: str) -> None:
    safe = safe_file_name(name)
    assert 0 < len(safe) <= 100
    assert len(safe.encode()) <= 200
    assert not safe.startswith(".")
    assert not re.search(r"[/\\\x00-\x1f]", safe)
    assert safe_file_name(safe) == safe


def test_words_on_one_line_are_clean_and_end_in_a_dot_where_they_are_cut() -> None:
    assert to_one_line(" a\n\u202e b\tc ") == "a b c"
    assert to_one_line("abcdef", 4) == "abc…"
    assert truncate("abcd", 4) == "abcd"
    assert truncate("ab👩‍🚀cd", 4) == "ab…", "an emoji is not torn"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        (" =1", "' =1"),
        ("\t=1", "'\t=1"),
        ("-5.20", "-5.20"),
        ("+33", "+33"),
        ("-1,200%", "-1,200%"),
        ("a=b", "a=b"),
    ],
)
def test_a_spreadsheet_computes_nothing_of_it(cell: str, written: str) -> None:
    assert escape_formula(cell) == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('Made: {"token": "sk-1", "id": "7"}', 'Made: {"token": "[withheld]", "id": "7"}'),
        ('{"id":"7"}\n{"API key":"sk-1"}', '{"id":"7"}\n{"API key":"[withheld]"}'),
        ('{"token":"sk-1\\"sk-1","id":"7"}', '{"token":"[withheld]","id":"7"}'),
        ("{'password': 'sk-1', 'id': 7}", "{'password': '[withheld]', 'id': 7}"),
        ('```\n{"secret":"sk-1"}\n```', '```\n{"secret":"[withheld]"}\n```'),
        ('{"token":"","id":"token"} said "token": 5', '{"token":"","id":"token"} said "token": 5'),
    ],
)
def test_a_secret_in_json_inside_a_text_is_not_shown(text: str, shown: str) -> None:
    assert withhold_in_text(text) == shown
    for _ in range(4):  # JSON in a text in JSON
        text, shown = json.dumps({"body": text}), json.dumps({"body": shown})
        assert withhold_in_text(text) == shown
