"""Checking an answer while it grows costs as much as the part that is new, however long it is.

Counted are the characters that are handed to whatever reads text, whatever the machine does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.base import commonmark, growing_markdown, text
from core.base.growing_markdown import GrowingMarkdown
from core.base.text import GrowingText, clean_text
from core.base.trust import Trust
from tests.fakes import linkers

TRUST = Trust(frozenset({"example.com"}))
STEP = 9
LINES = {
    "paragraphs": "Well, see x.yz or `a.bc` é now.\n\n",
    "one paragraph of many lines": "Well, see x.yz or `a.bc` é now.\n",
    "a list": "- item with a.bc and `code`, é\n",
    "a numbered list": "1. item [x](https://example.com/a) é\n",
    "a list with more under each": "- item\n  more of https://evil.test\n",
    "a table": "| a.bc | é | `c.de` | https://evil.test/x |\n",
    "a quote": "> line with a.bc é\n",
    "headings": "# a.bc é\nText https://example.com.\n",
}
WHOLE = {
    "one long line": "Well, see x.yz or `a.bc` é now. ",
    "no space at all": "漢字仮名交じり文",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f",
    "a block of code": "print('é') # a comment\n",
    "escapes without an end": "\x1b]0;title é",
}


class Counter:
    """Counts what is read. `steps`: by each call of `grow`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read = 0
        self.steps: list[int] = []
        for module, name in (
            (commonmark, "parse_blocks"),
            (commonmark, "find_targets"),
            (commonmark, "find_code_lines"),
            (growing_markdown, "settled_length"),
            (text, "clean_text"),
        ):
            patch.setattr(module, name, self._count_reads(getattr(module, name)))

    def _count_reads(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_work(said: str, *rest: Any) -> Any:
            self.read += len(said)
            return work(said, *rest)

        return count_and_work

    def grow(self, whole: str) -> None:
        growing, cleaning = GrowingMarkdown(), GrowingText()
        for end in range(STEP, len(whole) + STEP, STEP):
            before = self.read
            growing.render(cleaning.clean(whole[:end]), TRUST)
            self.steps.append(self.read - before)


def steps(whole: str) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        counter = Counter(patch)
        counter.grow(whole)
        return counter.steps


@pytest.mark.parametrize("unit", LINES.values(), ids=LINES.keys())
def test_no_step_costs_more_the_longer_the_text_is(unit: str) -> None:
    head = "| a | b | c | d |\n|-|-|-|-|\n" if unit.startswith("|") else ""
    short, long = (max(steps(head + unit * many)) for many in (12, 60))
    assert long <= short


@pytest.mark.parametrize("unit", WHOLE.values(), ids=WHOLE.keys())
def test_what_cannot_be_cut_costs_in_proportion_in_all(unit: str) -> None:
    head = "```py\n" if unit.startswith("print") else ""
    short, long = (sum(steps(head + unit * (size // len(unit)))) for size in (2000, 4000))
    assert long < 2.4 * short


PIECES = st.sampled_from(
    ["a", " ", "\n", "\r", "\r\n", "\x1b", "\x1b[31m", "\x1b]0;t", "\x07", "\x9b", "\x9d", "\\",
     "\u200d", "\ufe0f", "\U0001f468", "\U0001f3f4", "\U000e0067", "\U000e007f", "\ud83d", "\udc68",
     "é", "漢", "\u3164", "\u200b", "ا", "\u0301", "m", ";", "\U000e0100", "\x85", "\u2028", "0"]
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES, max_size=30), st.integers(1, 5))
@example(["\r", "\n"], 1)
@example(["a", "\u3164", "\ufe0f"], 1)
@example(["\x1b", "]", "0", ";", " ", "a", "\x07"], 1)
def test_what_is_cleaned_as_it_grows_is_what_is_cleaned_whole(pieces: list[str], step: int) -> None:
    """But for text with escapes, of which a little may be missing for a moment."""
    whole, growing = "".join(pieces), GrowingText()
    for end in range(0, len(whole) + step, step):
        message = growing.clean(whole[:end])
        assert message == clean_text(whole[:end])


def test_a_text_that_does_not_go_on_begins_anew() -> None:
    growing = GrowingText()
    assert growing.clean("one two thr") == "one two thr"
    assert growing.clean("four\x1b[31m") == "four"
    assert growing.clean("") == ""


def test_nothing_is_changed_where_nothing_is_linked() -> None:
    growing = GrowingMarkdown()
    for end in range(40):
        message = "see https://evil.test/x and [a](https://evil.test)"[:end]
        assert growing.render(message, Trust(links_anything=False)) == message


@pytest.mark.parametrize("unit", LINES.values(), ids=LINES.keys())
def test_what_is_shown_is_what_the_whole_becomes(unit: str) -> None:
    whole, growing = unit * 8, GrowingMarkdown()
    becomes, message = TRUST.sanitize(whole), ""
    for end in range(1, len(whole) + 1, 3):
        message = growing.render(whole[:end], TRUST)
        assert becomes.startswith(message)
        links = [link for link in linkers.piece(message) if "example.com" not in link]
        assert links == []
    assert len(message) > len(whole) * 0.9
