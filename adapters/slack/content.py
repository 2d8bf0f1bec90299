"""What a post holds: Markdown as a block, cards, a stop button, and plain text beside it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.slack import cards
from adapters.slack.markup import Links, escaped, markdown, neutral, plain
from core.messages import Card
from core.splitting import split

Json = dict[str, Any]

LIMIT = 9000
"""Characters of an answer in one post. Slack takes 12,000 in Markdown and some 13,200 in all
(docs.slack.dev/reference/block-kit/blocks/markdown-block); the rest is left for cards."""
_BLOCKS, _CARDS, _SECTION = 48, 10, 2000


def content(part: str, links: Links, shown: Sequence[Card] = (), stop: bool = False,
            locale: str = "en") -> Json:  # fmt: skip
    """`text` and `blocks` of a post or an edit."""
    words = markdown(part, links)
    blocks: list[Json] = [{"type": "markdown", "text": words}] if words.strip() else []
    blocks += card_blocks(shown, locale)
    if stop:
        blocks.append(cards.stop_button(locale))
    spoken = plain(part) if part.strip() else "\n".join(cards.text(card) for card in shown) or "…"
    return {"text": spoken, "blocks": blocks[:_BLOCKS]}


def card_blocks(shown: Sequence[Card], locale: str = "en") -> list[Json]:
    return [block for card in shown[:_CARDS] for block in cards.blocks(card, locale)]


def plainly(part: str) -> Json:
    """The same for a Slack that refuses the blocks: the Markdown as it is written, in sections."""
    pieces = split(neutral(part), _SECTION) or ("…",)
    words = [escaped(piece)[: _SECTION * 3 // 2] for piece in pieces]
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": w}} for w in words]
    return {"text": plain(part), "blocks": sections[:_BLOCKS]}
