"""What a post holds: Markdown as a block, cards, a stop button, and plain text beside it all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adapters.slack import cards
from adapters.slack.lengths import MESSAGE, PART, SECTION, SHORT, TEXT, cut, size, weight
from adapters.slack.markup import Links, escaped, markdown, neutral, plain, without_links_in_code
from core.messages import Card
from core.splitting import HEAVIEST, SMALLEST, split

Json = dict[str, Any]


def parts(text: str, links: Links, most: int = PART) -> tuple[str, ...]:
    """`text` in parts that Slack takes as posts of their own, also once they are rendered: what is
    taken out of Markdown can make it longer."""
    fitting: list[str] = []
    for part in split(text, most, size):
        limit = most
        pieces: tuple[str, ...] = (part,)
        while limit > SMALLEST * HEAVIEST and any(
            size(markdown(piece, links)) > most for piece in pieces
        ):
            limit = max(limit // 2, SMALLEST * HEAVIEST)
            pieces = split(part, limit, size)
        fitting += pieces
    return tuple(fitting)


def content(part: str, links: Links, shown: Sequence[Card] = (), stop: bool = False,
            locale: str = "en") -> Json:  # fmt: skip
    """`text` and `blocks` of a post or an edit."""
    words = markdown(part, links)
    blocks: list[Json] = [{"type": "markdown", "text": words}] if words.strip() else []
    blocks += cards.all_blocks(shown, locale, MESSAGE - weight(blocks)) if shown else []
    if stop:
        blocks.append(cards.stop_button(locale))
    spoken = plain(part) if part.strip() else "\n".join(cards.text(card) for card in shown) or "…"
    return {"text": cut(spoken, TEXT), "blocks": blocks}


def shorter(body: Json) -> Json:
    """The same, with so little beside the blocks that no limit of `text` is meant."""
    return body | {"text": cut(str(body["text"]), SHORT)}


def plainly(part: str) -> Json:
    """The same for a Slack that refuses the blocks: the Markdown as it is written, in sections."""
    pieces = split(without_links_in_code(neutral(part)), SECTION, size) or ("…",)
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": escaped(piece)}}
                for piece in pieces]  # fmt: skip
    return {"text": cut(plain(part), SHORT), "blocks": sections}


def smaller(part: str, most: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """A part that Slack finds too long in every dress: in halves, in quarters, and so on, with the
    bytes that each piece has at most. `most`: what it was last found to take."""
    limit = min(size(part) // 2, most)
    while limit >= SMALLEST * HEAVIEST:
        yield limit, split(without_links_in_code(part), limit, size)
        limit //= 2
