"""Cards as blocks: what a person decides on, with its buttons, and later what was decided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.slack.markup import escaped, plain
from core.messages import Card, CardAction
from core.words import say

Json = dict[str, Any]

ACTION = "ponte_card_"
"""Prefix of the buttons' action ids; what follows is the card action, the value is the card."""
STOP = "ponte_stop"
_BLOCK = "ponte_card:"
_ROWS, _TEXT, _CELL = 5, 1500, 80
_LABELS: Mapping[CardAction, str] = {"approve": "Approve", "deny": "Deny", "undo": "Undo"}
_STYLES: Mapping[CardAction, str] = {"approve": "primary", "deny": "danger"}


def blocks(card: Card, locale: str = "en") -> list[Json]:
    """At most four blocks; `block_id`s begin with the card's id, so that they are found again."""
    shown = [_section(card, "text", _words(card, locale))]
    if card.rows:
        shown.append(_section(card, "rows", "\n".join(_rows(card.rows))))
    if note := _note(card, locale):
        shown.append({"type": "context", "block_id": f"{_BLOCK}{card.id}:note",
                      "elements": [{"type": "mrkdwn", "text": note}]})  # fmt: skip
    if card.actions:
        shown.append(_buttons(card, locale))
    return shown


def replaced(message: Sequence[Json], card: Card, locale: str = "en") -> list[Json] | None:
    """A message's blocks with the card as it is now; None where it does not stand there."""
    mine = f"{_BLOCK}{card.id}:"
    places = [n for n, block in enumerate(message) if block.get("block_id", "").startswith(mine)]
    if not places:
        return None
    kept = [block for n, block in enumerate(message) if n not in places]
    return [*kept[: places[0]], *blocks(card, locale), *kept[places[0] :]]


def text(card: Card) -> str:
    """The card in words, for push and screen readers."""
    return plain(f"{card.title}\n{card.text}")


def stop_button(locale: str = "en") -> Json:
    """Ends the turn whose message it stands under."""
    return {
        "type": "actions",
        "block_id": STOP,
        "elements": [{"type": "button", "action_id": STOP, "value": "stop",
                      "text": {"type": "plain_text", "text": say("Stop", locale)}}],
    }  # fmt: skip


def _section(card: Card, name: str, words: str) -> Json:
    return {"type": "section", "block_id": f"{_BLOCK}{card.id}:{name}",
            "text": {"type": "mrkdwn", "text": words[:3000]}}  # fmt: skip


def _words(card: Card, locale: str) -> str:
    title, body = escaped(card.title[:300]), escaped(card.text[:_TEXT])
    return f"*{title.replace('*', '')}*\n{body}".strip() if title else body or "…"


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows[:_ROWS]:
        before, after = _cells(row.get("before")), _cells(row.get("after"))
        yield "• " + " → ".join(side for side in (before, after) if side)
    if len(rows) > _ROWS:
        yield f"… +{len(rows) - _ROWS}"


def _cells(row: Any) -> str:
    if not isinstance(row, Mapping):
        return "" if row is None else _code(row)
    return ", ".join(f"{escaped(str(name)[:_CELL])}: {_code(row[name])}" for name in list(row)[:8])


def _code(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"`{escaped(words[:_CELL].replace('`', 'ˋ').replace(chr(10), ' ')) or ' '}`"


def _note(card: Card, locale: str) -> str:
    if card.state != "open":
        return escaped(card.state[:300])
    if card.expires_at is None:
        return f"`{card.id}`"
    # Slack shows the time where the reader is (docs.slack.dev/messaging/formatting-message-text).
    at = f"<!date^{int(card.expires_at)}^{{date_short_pretty}} {{time}}|…>"
    return say("{id} · open until {at}", locale, id=f"`{card.id}`", at=at)


def _buttons(card: Card, locale: str) -> Json:
    elements = []
    for action in card.actions:
        label = {"type": "plain_text", "text": say(_LABELS[action], locale)}
        button = {"type": "button", "action_id": ACTION + action, "value": card.id, "text": label}
        if style := _STYLES.get(action):
            button["style"] = style
        elements.append(button)
    return {"type": "actions", "block_id": f"{_BLOCK}{card.id}:actions", "elements": elements}
