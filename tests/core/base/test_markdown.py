"""Names that somebody else gave, in Markdown of ours."""

from __future__ import annotations

import pytest

from core.base.markdown import MAX_BRACKETS, ended_blocks_length, escape_markdown


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Deals", "Deals"),
        ("a\nb", "a b"),
        ("[x](y) <b> *c* # d", r"\[x\](y) \<b\> \*c\* \# d"),
        ("see https://evil.example/?q=a_b now", "see `https://evil.example/?q=a_b` now"),
    ],
)
def test_a_foreign_name_is_escaped_in_markdown(name: str, written: str) -> None:
    assert escape_markdown(name) == written


def test_of_a_text_that_is_shown_unformatted_no_block_has_ended() -> None:
    text = "One.\n\nTwo.\n\n"
    assert ended_blocks_length(text) == len("One.\n\n")
    assert ended_blocks_length("[" * MAX_BRACKETS + "]\n\n" + text) == 0
