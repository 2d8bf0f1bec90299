"""How platforms draw the fields that only identify a row, and when they leave them out."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from adapters.discord.card_embeds import build_buttons, build_embed
from adapters.slack.render import card_blocks
from adapters.terminal.screen import Screen
from adapters.web.api.openai_api import card_text
from adapters.web.api.stream import card_json
from bot.integrations import KINDS
from core.base.i18n import use_locale
from core.changes.cards import CardBuilder, describe_whole
from core.domain.changes import Change, Draft, Proposal, RowWrite
from core.domain.messages import Address, Card, Person
from tests.fakes.slack.records import block_text

TARGET: dict[str, Any] = {
    "card_fields": {"Customer": ["Customers", "m2"], "Total": [], "Due": []},
    "formats": {"Total": "currency BRL 2", "Due": "date", "Customer": "", "Number": "", "Note": ""},
    "display_field": "Number",
    "link_fields": ["Customer"],
}


def build(count: int, note: str = "paid") -> Card:
    """The card of an update of invoices whose readers may see all."""
    rows = tuple(
        RowWrite(
            str(n),
            {
                "Number": f"No. {n}",
                "Customer": [{"id": "9", "title": "Padaria *B*"}],
                "Total": 1234.5,
                "Due": "2026-12-24",
                "Note": "old",
            },
            {"Note": note},
        )
        for n in range(1, count + 1)
    )
    draft = Draft("nocodb", "update", TARGET, "Invoices", rows)
    ana, here = Person("slack", "U1", "T1", "Ana"), Address("slack", "C1", "T1")
    proposal = Proposal("abcde2", draft, ana, here, 1, "c", "t", 0, "en", 0.0, 9.0)
    change = Change(proposal, steps=draft.steps)
    return CardBuilder(KINDS).build(
        change, ("approve", "deny"), card_fields=list(TARGET["card_fields"])
    )


def draw(card: Card) -> dict[str, str]:
    """What each platform shows of the card."""
    stream = io.StringIO()
    Screen(stream)._card(card_json(card))
    return {
        "slack": "\n".join(map(block_text, card_blocks(card))),
        "discord": (build_embed(card).description or "").replace("\\", ""),
        "terminal": stream.getvalue(),
        "program": card_text(card, ""),
        "whole": describe_whole(card),
    }


@pytest.mark.parametrize(
    ("locale", "total", "due"),
    [
        ("en", "R$1,234.50", "Dec 24, 2026"),
        ("pt-BR", "R$ 1.234,50", "24 de dez. de 2026"),
        ("fr", "1 234,50 R$", "24 déc. 2026"),
    ],
)
def test_each_platform_shows_them_beside_the_name(locale: str, total: str, due: str) -> None:
    with use_locale(locale):
        for count in (1, 4):
            for platform, drawing in draw(build(count)).items():
                text = " ".join(drawing.replace("\u202f", " ").split())
                for piece in ("No. 1", "Padaria *B*", total, due, "old → paid"):
                    assert text.count(piece) >= 1, (platform, count, piece)
                assert text.index("Padaria *B*") < text.index("old → paid")


@pytest.mark.parametrize("length", [2_600, 3_400])
def test_they_are_left_out_before_a_card_counts_as_cut(length: int) -> None:
    """Without them the card would have a button to approve, so with them it has one, too."""
    for room in range(200):
        card = build(1, "x" * (length + 5 * room))
        bare = replace(card, rows=tuple({**row, "details": ()} for row in card.rows))
        slack, discord = (
            ["ponte_card_approve" in str(card_blocks(one, 4_000)) for one in (card, bare)],
            [len(build_buttons([one]).children) == 2 for one in (card, bare)],
        )
        assert slack[0] == slack[1]
        assert discord[0] == discord[1]


def test_a_card_of_an_earlier_version_has_none() -> None:
    card = build(1)
    old = {name: value for name, value in card.rows[0].items() if name != "details"}
    assert "Padaria" not in "".join(draw(replace(card, rows=(old,))).values())
