"""Where a long-running answer goes on in another message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.slack.render import Rotation
from core.base.splitting import split_text


def fresh(limit: int = 1000) -> Rotation:
    return Rotation(lambda text: split_text(text, limit))


CODE = "Look:\n\n```python\nx = 1\n"


def test_without_a_turn_it_is_one_part() -> None:
    assert fresh().split("a\n\nb") == ("a\n\nb",)
    assert fresh().split("") == ()


def test_a_code_block_is_closed_and_opened_again() -> None:
    rotation = fresh()
    rotation.end_part(CODE)
    assert rotation.split(CODE) == ("Look:\n\n```python\nx = 1\n```",)
    assert rotation.has_ended(rotation.split(CODE)[0])
    first, second = rotation.split(CODE + "y = 2\n```\nDone.")
    assert (first, second) == ("Look:\n\n```python\nx = 1\n```", "```python\ny = 2\n```\nDone.")
    assert not rotation.has_ended(second)


def test_a_text_that_changed_before_the_cut_is_one_part_again() -> None:
    rotation = fresh()
    rotation.end_part("one\n")
    assert rotation.split("one\ntwo") == ("one", "two")
    assert rotation.split("one!\ntwo") == ("one!\ntwo",)


@given(
    st.lists(st.sampled_from(["word ", "line\n", "\n\n", "```\n", "x" * 40]), max_size=40),
    st.sets(st.integers(0, 40)),
)
def test_no_word_is_lost_wherever_it_turns(pieces: list[str], turns: set[int]) -> None:
    rotation, text = fresh(200), ""
    for number, piece in enumerate(pieces):
        text += piece
        if number in turns:
            rotation.end_part(text)
    parts = rotation.split(text)
    assert all(len(part) <= 200 for part in parts)
    texts = "".join(parts).replace("```", "")
    assert "".join(texts.split()) == "".join(text.replace("```", "").split())
