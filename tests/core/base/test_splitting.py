"""Long answers in posts: what a reader gets, and properties over any text."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.base.splitting import split_text

WORDS = st.text("abcdefgh.,!? é漢", min_size=1, max_size=60)
PROSE = st.lists(WORDS, min_size=1, max_size=6).map("\n".join)
CODE = st.builds(
    lambda mark, info, indent, lines: "\n".join(
        f"{indent}{line}" for line in (f"{mark}{info}", *lines, mark)
    ),
    st.sampled_from(["```", "~~~", "````", "~~~~~"]),
    st.sampled_from(["", "python", "sql title=x"]),
    st.sampled_from(["", "   ", "      "]),
    st.lists(st.text("xyz =(){}|-", max_size=70), max_size=12),
)
TABLE = st.lists(st.integers(0, 10**6), min_size=1, max_size=30).map(
    lambda rows: "\n".join(["| a | b |", "|---|---|", *(f"| {row} | {row} |" for row in rows)])
)
DOCUMENTS = st.lists(st.one_of(PROSE, CODE, TABLE), max_size=8).map("\n\n".join)
ANYTHING = st.text(st.sampled_from("ab `~-1. \t\n|é́👩\u200d🇧🇷\ud83d"), max_size=600)
LIMITS = st.integers(32, 300)


def fence_left_open(part: str) -> str:
    """An own reading of CommonMark's rule, to check the one in `core`."""
    mark = ""
    for line in part.split("\n"):
        run = re.match(r"[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,})(.*)$", line)
        if mark:
            closing = line.strip()
            if len(closing) >= len(mark) and set(closing) == {mark[0]}:
                mark = ""
        elif run and not (run[1][0] == "`" and "`" in run[2]):
            mark = run[1]
    return mark


def visible_characters(text: str) -> str:
    return re.sub(r"[\s`~]", "", text)


def without_fences(text: str) -> str:
    return re.sub(r"\s", "", re.sub(r"(?m)^[ \t]*(`{3,}|~{3,}).*$", "", text))


def within(small: str, large: str) -> bool:
    """All characters of `small` stand in `large`, in order."""
    letters = iter(large)
    return all(letter in letters for letter in small)


@given(st.one_of(DOCUMENTS, ANYTHING), LIMITS)
@example("```python " + "x" * 400 + "\ncode\n```", 40)
@example("a ``` b " * 30, 32)
@example("- ```\n  " + "code " * 40 + "\n  ```", 33)
def test_every_part_fits_and_closes_what_it_opens(text: str, limit: int) -> None:
    for part in split_text(text, limit):
        assert 0 < len(part) <= limit
        assert part.strip()
        assert not re.match(r"[ \t]*\n", part)
        if "`" * 8 not in part and "~" * 8 not in part:
            assert not fence_left_open(part)


def escaped_bytes(text: str) -> int:
    """As a platform may count: what is written as an entity, and bytes."""
    return len(html.escape(text, quote=False).encode(errors="surrogatepass"))


@given(st.one_of(DOCUMENTS, ANYTHING, st.text("<>&漢👩a \n`", max_size=600)), st.integers(160, 400))
@example("```python " + "&" * 400 + "\ncode\n```", 160)
@example("漢" * 3000, 160)
@example("- ```\n  " + "List<A> & " * 40 + "\n  ```", 170)
def test_every_part_fits_by_another_measure(text: str, limit: int) -> None:
    parts = split_text(text, limit, escaped_bytes)
    for part in parts:
        assert 0 < escaped_bytes(part) <= limit
        if "`" * 8 not in part and "~" * 8 not in part:
            assert not fence_left_open(part)
    assert within(visible_characters(text), visible_characters("".join(parts)))
    assert all(split_text(part, limit, escaped_bytes) == (part,) for part in parts)
    if parts[1:] and "```" not in text and "~~~" not in text:
        assert max(map(escaped_bytes, parts)) > limit // 4


@given(DOCUMENTS, st.integers(64, 300))
def test_nothing_but_fences_and_white_space_is_added_or_lost(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert "".join(map(without_fences, parts)) == without_fences(text)


@given(ANYTHING, LIMITS)
def test_nothing_is_lost_of_any_text(text: str, limit: int) -> None:
    assert within(visible_characters(text), visible_characters("".join(split_text(text, limit))))


@given(st.one_of(DOCUMENTS, ANYTHING), LIMITS)
def test_parts_are_the_same_each_time_and_stay_as_they_are(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert split_text(text, limit) == parts
    assert all(split_text(part, limit) == (part,) for part in parts)


@given(TABLE, LIMITS)
def test_a_table_row_is_never_cut(table: str, limit: int) -> None:
    rows = [line for part in split_text(table, limit) for line in part.split("\n")]
    assert rows == table.split("\n")


@pytest.mark.parametrize(
    "seen_as_one",
    ["👩\u200d👩\u200d👧", "e\u0301\u0323", "🇧🇷", "👍🏽", "❤\ufe0f", "각", "\ud83d\ude00"],
)
def test_what_is_seen_as_one_character_stays_whole(seen_as_one: str) -> None:
    parts = split_text(seen_as_one * 50, 33)
    assert len(parts) > 1
    assert all(part.replace(seen_as_one, "") == "" for part in parts)


def test_a_tower_of_marks_is_cut_all_the_same() -> None:
    assert split_text("e" + "\u0301" * 300, 100) != ()


@pytest.mark.parametrize("text", ["", "  ", "\n\n \t\n"])
def test_blank_text_has_no_parts(text: str) -> None:
    assert split_text(text, 100) == ()


def test_a_limit_that_no_platform_has_is_refused() -> None:
    with pytest.raises(ValueError, match="31"):
        split_text("text", 31)


def test_paragraphs_before_lines_before_sentences_before_words() -> None:
    for first, mark, second in (
        ("One two.\nThree four five.", "\n\n", "Six seven eight nine ten."),
        ("One two three four five.", "\n", "Six seven eight nine ten."),
        ("One two three four five.", " ", "Six seven eight nine ten."),
        ("One two three four five six seven eight", " ", "nine ten"),
    ):
        assert split_text(f"{first}{mark}{second}", 40) == (first, second)


def test_a_cut_code_block_goes_on_in_its_language() -> None:
    code = "\n".join(f"    step({number})" for number in range(8))
    first, *more = split_text(f"Run this:\n\n```python\n{code}\n```\n\nThat is all.", 80)
    assert first.startswith("Run this:\n\n```python\n    step(0)\n")
    assert first.endswith("\n```")
    assert all(part.startswith("```python\n    step(") for part in more)
    assert more[-1].endswith("\n```\n\nThat is all.")


def test_a_longer_fence_holds_a_shorter_one() -> None:
    code = "\n".join(["```", "inner", "```"] * 8)
    parts = split_text(f"````md\n{code}\n````", 60)
    assert len(parts) > 1
    assert all(part.startswith("````md\n") and part.endswith("\n````") for part in parts)


def test_a_block_in_a_list_goes_on_at_the_margin() -> None:
    code = "\n".join(f"       step({number})" for number in range(8))
    first, second, *_ = split_text(f"1. Do:\n     ```sh\n{code}\n     ```\n2. Rest.", 70)
    assert first.endswith("\n     ```")
    assert second.startswith("```sh\n  step(")


def test_a_block_that_ends_at_the_seam_is_not_opened_again_for_nothing() -> None:
    code = "first line of it\nsecond"
    assert split_text(f"```py\n{code}\n```{' ' * 40}\nAfter it come more words.", 36) == (
        f"```py\n{code}\n```",
        "After it come more words.",
    )


def test_an_unclosed_block_is_closed() -> None:
    assert split_text("Look:\n```\nhalf", 100) == ("Look:\n```\nhalf\n```",)


def test_a_heading_stays_with_its_text() -> None:
    parts = split_text("Intro words, as many.\n\n## Title\n\nText that goes under the title.", 50)
    assert parts == ("Intro words, as many.", "## Title\n\nText that goes under the title.")


def test_a_code_span_is_not_torn() -> None:
    parts = split_text("Write now the words `new or forget yes` to it", 32)
    assert parts == ("Write now the words", "`new or forget yes` to it")
