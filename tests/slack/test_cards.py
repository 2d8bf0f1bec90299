"""Cards as blocks, whatever stands in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.slack.cards import blocks, replaced
from adapters.slack.content import LIMIT, content
from adapters.slack.markup import Links
from core.messages import Card
from tests.fakes.slack.blocks import check_message

WORDS = st.text(max_size=400)
CELLS = st.dictionaries(WORDS, st.one_of(WORDS, st.integers(), st.none(), st.lists(WORDS)),
                        max_size=12)  # fmt: skip
ROWS = st.lists(st.fixed_dictionaries({"before": st.none() | CELLS, "after": st.none() | CELLS}),
                max_size=8)  # fmt: skip
CARD = Card("abc234", "proposal", "Update 1 row", "Asked by Alice.", actions=("approve", "deny"))


@given(WORDS, WORDS, ROWS, WORDS)
def test_slack_takes_every_card(
    title: str, text: str, rows: list[dict[str, Any]], state: str
) -> None:
    card = Card("abc234", "proposal", title, text, rows=tuple(rows), state=state)
    check_message([*blocks(card), *blocks(replace(card, id="bcd345", state="open"))])


def test_the_longest_answer_with_cards_fits_one_post() -> None:
    cards = [replace(CARD, id=f"abc23{n}", text="x" * 5000) for n in range(2, 4)]
    body = content("word " * (LIMIT // 5), Links(), cards)
    check_message(body["blocks"])
    assert body["text"]


def test_a_decided_card_takes_the_place_of_the_open_one() -> None:
    others = blocks(replace(CARD, id="zzz222"))
    message = [{"type": "markdown", "text": "Shall I?"}, *blocks(CARD), *others]
    decided = replace(CARD, state="Approved by Bob", actions=())
    now = replaced(message, decided) or []
    assert now[0]["text"] == "Shall I?"
    assert "Approved by Bob" in str(now)
    assert now[-len(others) :] == others
    assert replaced(others, decided) is None
