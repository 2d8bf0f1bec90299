"""Cards as blocks, whatever stands in them."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import pytest
from discord import ButtonStyle
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.discord.card_embeds import build_buttons, build_embed
from adapters.slack.render import (
    ANSWER_PART_BYTES,
    PostContent,
    card_blocks,
    cards_blocks,
    escape_text,
    replace_card,
    split_answer,
)
from core.base.i18n import LOCALES, plural, use_locale
from core.base.splitting import make_code_block
from core.changes.cards import describe_whole, is_short
from core.changes.kinds import is_deed_title
from core.domain.messages import Card
from tests.fakes.card_rows import card_row
from tests.fakes.slack.blocks import check_message
from tests.fakes.slack.records import block_text

WORDS = st.text(max_size=400)
CELLS = st.dictionaries(
    WORDS, st.one_of(WORDS, st.integers(), st.none(), st.lists(WORDS)), max_size=12
)
ROWS = st.lists(st.builds(card_row, st.none() | CELLS, st.none() | CELLS), max_size=8)
CARD = Card(
    "abc234", "proposal", "Update 1 row", "Requested by Alice.", actions=("approve", "deny")
)


@settings(max_examples=40)
@given(WORDS, WORDS, ROWS, WORDS)
def test_slack_takes_every_card(
    title: str, text: str, rows: list[dict[str, Any]], state: str
) -> None:
    card = Card("abc234", "proposal", title, text, rows=tuple(rows), state=state)
    both = [*card_blocks(card), *card_blocks(replace(card, id="bcd345", state="open"))]
    check_message(cards_blocks([card, replace(card, id="bcd345", state="open")]), "chat.update")
    assert len({block["block_id"] for block in both}) == len(both)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.builds(Card, st.uuids().map(str), st.just("proposal"), WORDS, WORDS, ROWS.map(tuple)),
        max_size=14,
    ),
    WORDS,
)
def test_slack_takes_as_many_as_there_are_beside_any_text(shown: list[Card], text: str) -> None:
    for part in (text, (text or "漢字 <b>& ") * (20_000 // (len(text) or 9))):
        for piece in split_answer(part)[-1:] or ("",):
            content = PostContent(piece, tuple(shown))
            for body in (
                content.build_whole(),
                content.build_whole(tables=False),
                content.build_plain(),
            ):
                check_message(body["blocks"], "chat.postMessage")


def test_the_longest_answer_with_cards_fits_one_post() -> None:
    cards = [replace(CARD, id=f"abc23{n}", text="x" * 5000) for n in range(2, 4)]
    body = PostContent("word " * (ANSWER_PART_BYTES // 5), tuple(cards)).build_whole()
    check_message(body["blocks"], "chat.postMessage")
    assert len(body["text"].encode()) <= 4000
    assert all(f"abc23{n}" in str(body["blocks"]) for n in range(2, 4))


def test_one_card_is_shown_however_little_room_is_left() -> None:
    cards = [replace(CARD, id=f"abc23{n}") for n in range(2, 5)]
    blocks = cards_blocks(cards, room=100)
    assert [f"abc23{n}" in str(blocks) for n in range(2, 5)] == [True, False, False]
    assert "2 " in str(blocks[-1]), "the others are counted"


def test_an_approver_sees_every_row_that_would_change_and_what_in_it() -> None:
    before = {"Id": 1, "Status": "Overdue", "Paid on": None}
    row = card_row(before, before | {"Status": "Paid", "Paid on": "2026-11-18"})
    for count in (1, 2):
        blocks = cards_blocks([replace(CARD, rows=(row,) * count)])
        assert blocks[2]["type"] == "rich_text"
        lines = block_text(blocks[2]).split("\n")
        assert lines == ["1", "Status: Overdue → Paid · Paid on: – → Nov 18, 2026"] * count
    blocks = cards_blocks([replace(CARD, rows=(row,) * 10)])
    assert blocks[2]["type"] == "table"
    assert block_text(blocks[2]).split("\n") == [
        "Id | Status | Paid on",
        *["1 | Overdue → Paid | – → Nov 18, 2026"] * 10,
    ]
    long = dict.fromkeys("abcdef", "漢" * 80)
    blocks = cards_blocks([replace(CARD, rows=(card_row(None, long),) * 10)])
    assert "… +" in str(blocks[1])


@pytest.mark.parametrize("length", [1, 1_400, 5_000])
@pytest.mark.parametrize("sign", ["x", "<", "`", "漢", "\n> "])
def test_what_a_call_returned_is_code_however_it_is_cut(sign: str, length: int) -> None:
    text = make_code_block("x" * length)
    card = Card("abc234", "change", "desk: file", text, state="done", result=f"7 {sign * 20_000}")
    for blocks in (card_blocks(card), cards_blocks([card] * 6)):
        check_message(blocks[:2], "chat.update")
        section = blocks[1]["text"]["text"]
        assert section.count("```") % 2 == 0
    assert "7 " in card_blocks(card)[1]["text"]["text"].split("```")[3]
    description = build_embed(card).description or ""
    assert description.count("```") == 4
    assert "7 " in description.split("```")[3]


def test_a_decided_card_takes_the_place_of_the_open_one() -> None:
    others = card_blocks(replace(CARD, id="zzz222"))
    message = [{"type": "markdown", "text": "Shall I?"}, *card_blocks(CARD), *others]
    variant = replace(CARD, state="Approved by Bob", actions=())
    now = replace_card(message, variant) or []
    assert now[0]["text"] == "Shall I?"
    assert "Approved by Bob" in str(now)
    assert now[-len(others) :] == others
    assert replace_card(others, variant) is None


def test_a_card_that_must_be_whole_is_whole_or_cannot_be_approved() -> None:
    """The longest post, in messages with more and more cards."""
    text = "> " + "&é" * 280 + "x" * 100 + "END\n\n"
    text += "Requested by Alice. " + "Waiting for Ana. " * 20
    shown_whole = 0
    for count in (1, 2, 4, 5, 12):
        cards = [
            replace(CARD, id=f"abc23{n}", text=text, is_whole=True) for n in range(2, 2 + count)
        ]
        for blocks in (cards_blocks(cards), replace_card(cards_blocks(cards), cards[0]) or []):
            check_message(blocks, "chat.postMessage")
            for card in cards:
                own = [b for b in blocks if card.id in b.get("block_id", "")]
                words = "".join(map(block_text, own))
                can_approve = "ponte_card_approve" in str(own)
                assert can_approve <= ("END" in words), (count, card.id)
                assert can_approve or not own or "fit here" in words, (count, card.id)
                shown_whole += can_approve
    assert shown_whole > 10, "a few cards are whole"


@pytest.mark.parametrize("letter", ["x", "&", "*", "漢"])
@pytest.mark.parametrize("count", [1, 2])
def test_cards_that_count_as_short_are_whole_beside_the_longest_answer(
    count: int, letter: str
) -> None:
    """A word approves them without showing them again."""
    longest = 0
    for length in range(1, 700, 30):
        row = card_row(None, {"F": letter * length})
        card = replace(CARD, rows=(row,), is_whole=True, expires_at=1_800_000_000.0)
        cards = [replace(card, id=f"abc23{n}") for n in range(2, 2 + count)]
        if not is_short([describe_whole(card) for card in cards]):
            break
        longest = length
        blocks = PostContent("word " * (ANSWER_PART_BYTES // 5), tuple(cards)).build_whole()[
            "blocks"
        ]
        assert str(blocks).count("ponte_card_approve") == count, length
    assert longest > 1


ROWS_OF_EACH_SIZE = [
    [(None, {f"F{n}": f"{'v' * size}E{n}" for n in range(fields)})] * rows
    for rows, fields, size in (
        (1, 1, 10),
        (1, 1, 3_000),
        (1, 13, 20),
        (11, 2, 20),
        (99, 2, 10),
        (100, 2, 10),
        (30, 7, 20),
        (1, 1, 9_000),
        (1, 1, 12_000),
        (50, 10, 100),
    )
]


@pytest.mark.parametrize("writes", ROWS_OF_EACH_SIZE)
@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_whole_or_cannot_be_approved(writes: list[Any], count: int) -> None:
    rows = tuple(card_row(before, after) for before, after in writes)
    cards = [replace(CARD, id=f"abc23{n}", rows=rows, is_whole=True) for n in range(2, 2 + count)]
    size = len(str(rows))
    for tables in (True, False):
        views = cards_blocks(cards, tables=tables)
        for blocks in (views, replace_card(views, cards[0], tables) or []):
            check_message(blocks, "chat.postMessage")
            for card in cards:
                own = [block for block in blocks if card.id in block.get("block_id", "")]
                words = "\n".join(map(block_text, own))
                is_whole = all(
                    words.count(change["after"]) >= len(rows) for change in rows[0]["changes"]
                )
                can_approve = "ponte_card_approve" in str(own)
                assert can_approve <= is_whole
                assert can_approve or f"type `approve {card.id}`" in words
                assert can_approve or (size > 2_000), "a small card has its button"
                assert not can_approve or size < 40_000


def flatten(words: str) -> str:
    """The words without marks of quotes and white space."""
    return "".join(words.replace("&gt; ", "").split())


def test_a_long_text_is_whole_in_several_sections_or_cannot_be_approved() -> None:
    words = ["\n> ".join(f"line {n} & <more>" for n in range(200)), "word& " * 660, "x" * 4000]
    for text in (*words, "漢" * 4000):
        card = Card(
            "abc234",
            "proposal",
            "Ask",
            f"> {text}\n\nEND",
            actions=("approve", "deny"),
            is_whole=True,
        )
        blocks = cards_blocks([card])
        check_message(blocks, "chat.postMessage")
        for views in (blocks, replace_card(blocks, card) or []):
            message = "\n".join(map(block_text, views))
            is_whole = flatten(escape_text(text)) in flatten(message)
            assert is_whole == ("ponte_card_approve" in str(views)) == ("漢" not in text)
            assert is_whole or "fit here" in message
            if is_whole:
                parts = message[message.index("&gt;") : message.index("END")].split("\n")
                assert {line[:5] for line in parts if line} == {"&gt; "}, "no line leaves it"


EDIT = card_row({"Name": "Ann", "City": "Faro"}, {"Name": "Ann", "City": "Porto"})


@pytest.mark.parametrize(
    ("deed", "row", "label", "style", "colour"),
    [
        ("Mark 3 as R&D :x:", EDIT, "Mark 3 as R&amp;D :x:", "primary", "success"),
        ("Delete 2 rows", card_row({"Name": "Ann"}, None), "Delete 2 rows", "danger", "danger"),
        ("Mark 1 as <!here>", EDIT, "Mark 1 as &lt;!here&gt;", "primary", "success"),
        ("", None, "Approve", "primary", "success"),  # a call of another server
    ],
)
def test_the_button_names_the_deed_on_slack_and_discord(
    deed: str, row: Any, label: str, style: str, colour: str
) -> None:
    card = replace(CARD, label=deed, rows=(row,) if row else ())
    approve, deny = card_blocks(card)[-1]["elements"]
    # "emoji": False keeps `:x:` from becoming a picture.
    assert approve["text"] == {"type": "plain_text", "text": label, "emoji": False}
    assert (approve["value"], approve["style"]) == ("abc234", style)
    assert "style" not in deny
    approve, deny = build_buttons([card]).to_components()[0]["components"]
    assert (approve["label"], approve["custom_id"]) == (deed or "Approve", "ponte:approve:abc234")
    assert approve["style"] == ButtonStyle[colour].value
    assert (deny["label"], deny["style"]) == ("Deny", ButtonStyle.secondary.value)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("title", ["é" * 15, "x" * 30, "&" * 6, "漢" * 10, "@here" * 6])
def test_slack_takes_the_longest_label(title: str, locale: str) -> None:
    assert is_deed_title(title)
    sentence = "Uncheck {field} in {count} row", "Uncheck {field} in {count} rows"
    with use_locale(locale):
        card = replace(CARD, label=plural(*sentence, 100, field=title))
        check_message(cards_blocks([card]), "chat.postMessage")


def test_a_long_text_is_cut_beside_its_escaped_marks_and_quotes_keep_their_form() -> None:
    text = f">no blank\n> {'a&' * 500}\n\n{'b&' * 500}"
    card = Card("abc234", "proposal", "Ask", text, actions=("approve", "deny"), is_whole=True)
    blocks = cards_blocks([card])
    check_message(blocks, "chat.postMessage")
    lines = "\n".join(map(block_text, blocks[1:-1])).split("\n")
    assert lines[1] == "&gt;no blank"
    shown = "".join(html.unescape(line.removeprefix("&gt;")).strip() for line in lines[2:])
    assert shown == "a&" * 500 + "b&" * 500


def test_a_value_is_struck_only_where_it_goes_away() -> None:
    rows = (
        card_row(
            {"Name": "Ann", "City": "Lisbon", "Due": "1"},
            {"Name": "Ann", "City": "Porto", "Due": None},
        ),
    )
    states = [
        ("open", "● waiting for approval", True),
        ("applying", "… in progress", True),
        ("done", "✓ done", True),
        ("partial", "! partly done", True),
        ("failed", "! failed", False),
        ("denied", "✕ denied", False),
        ("expired", "– expired", False),
        ("withdrawn", "– withdrawn", False),
        ("undone", "↶ undone", False),
    ]
    for state, words, is_marked in states:
        card = Card("abc234", "proposal", "Change a row", "", rows, state=state)
        blocks = card_blocks(card)
        elements = [
            (element["text"], element.get("style"))
            for block in blocks
            if block["type"] == "rich_text"
            for element in block["elements"][0]["elements"]
        ]
        assert ("Lisbon", None) in elements
        assert ("Porto", {"bold": True} if is_marked else None) in elements, state
        assert ("1", {"strike": True} if is_marked else None) in elements, state
        assert blocks[0]["elements"][0]["text"].startswith(f"{words} · ")
        embed = build_embed(card)
        assert ("~~1~~" in (embed.description or "")) == is_marked, state
        assert (embed.author.name, embed.footer.text) == (words, "abc234")


def test_a_new_row_has_a_line_for_each_field() -> None:
    """Line breaks stay, and no line of a value looks like a field."""
    row = card_row(None, {"Name": "Ann", "Note": "first\n\nStatus: Paid", "Status": "Open"})
    blocks = card_blocks(replace(CARD, rows=(row,)))
    elements = blocks[2]["elements"][0]["elements"]
    expected = "Ann\nNote: first\n\u2003Status: Paid\nStatus: Open"
    assert "".join(each["text"] for each in elements) == expected
    bold = [each["text"] for each in elements if each.get("style")]
    assert bold == ["Ann", "Note:", "Status:"]
