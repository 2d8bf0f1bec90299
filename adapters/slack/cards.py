"""Cards as blocks: what a person decides on, with its buttons, and later what was decided."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.slack.lengths import MESSAGE, SECTION, cut, weight
from adapters.slack.markup import escaped, plain
from core.links import broken
from core.messages import Card, CardAction
from core.words import say

Json = dict[str, Any]

ACTION = "ponte_card_"
"""Prefix of the buttons' action ids; what follows is the card action, the value is the card."""
STOP = "ponte_stop"
_BLOCK = "ponte_card:"
_MOST, _ROWS, _TEXT, _CELL = 10, 5, 1500, 80
_ROOM, _LEAST = 2 * SECTION + 800, 850
"""Bytes of a card that says all it has, and of the shortest that still tells what is asked."""
_NOTE, _FEW = 200, 60
_HIDDEN = "…and {count} more: `changes` lists them."
_LABELS: Mapping[CardAction, str] = {"approve": "Approve", "deny": "Deny", "undo": "Undo"}
_STYLES: Mapping[CardAction, str] = {"approve": "primary", "deny": "danger"}


def blocks(card: Card, locale: str = "en", room: int = _ROOM) -> list[Json]:
    """At most four blocks in `room` bytes; `block_id`s begin with the card's id, so that they are
    found again. What does not fit is cut: rows first, down to half of what is there for both."""
    under: list[Json] = []
    if note := _note(card, locale):
        under.append({"type": "context", "block_id": f"{_BLOCK}{card.id}:note",
                      "elements": [{"type": "mrkdwn", "text": note}]})  # fmt: skip
    if card.actions:
        under.append(_buttons(card, locale))
    words = _words(card, locale)
    left = room - weight([*under, _section(card, "text", ""), _section(card, "rows", "")])
    least = max(_FEW, left // 2, left - len(words.encode()))
    rows = _rows(card.rows, min(SECTION, least)) if card.rows else ""
    text = cut(words, max(_FEW, min(SECTION, left - len(rows.encode()))))
    shown = [_section(card, "text", text)]
    return [*shown, *([_section(card, "rows", rows)] if rows else []), *under]


def all_blocks(shown: Sequence[Card], locale: str = "en", room: int = MESSAGE) -> list[Json]:
    """The cards of one message: each has its fair part of `room`. Those that do not fit are
    counted; the answer's text names those that wait for a person."""
    most = min(_MOST, max(1, room // _LEAST))
    level = _level([weight(blocks(card, locale)) for card in shown[:most]], room)
    told = [block for card in shown[:most] for block in blocks(card, locale, level)]
    if len(shown) > most:
        hidden = say(_HIDDEN, locale, count=len(shown) - most)
        told.append({"type": "context", "elements": [{"type": "mrkdwn", "text": hidden}]})
    return told


def _level(wanted: Sequence[int], room: int) -> int:
    """What each may have at most, so that together they have no more than `room`."""
    for place, want in enumerate(sorted(wanted)):
        share = room // (len(wanted) - place)
        if want > share:
            return share
        room -= want
    return max(wanted, default=0)


def replaced(message: Sequence[Json], card: Card, locale: str = "en") -> list[Json] | None:
    """A message's blocks with the card as it is now; None where it does not stand there."""
    mine = f"{_BLOCK}{card.id}:"
    places = [n for n, block in enumerate(message) if block.get("block_id", "").startswith(mine)]
    if not places:
        return None
    kept = [block for n, block in enumerate(message) if n not in places]
    room = max(_LEAST, min(_ROOM, MESSAGE - weight(kept)))
    return [*kept[: places[0]], *blocks(card, locale, room), *kept[places[0] :]]


def text(card: Card) -> str:
    """The card in words, for push and screen readers."""
    return plain(broken(f"{card.title}\n{card.text}"))


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
            "text": {"type": "mrkdwn", "text": words}}  # fmt: skip


def _words(card: Card, locale: str) -> str:
    title, body = escaped(broken(card.title[:300])), escaped(broken(card.text[:_TEXT]))
    return f"*{title.replace('*', '')}*\n{body}".strip() if title else body or "…"


def _rows(rows: Sequence[Mapping[str, Any]], limit: int) -> str:
    """The first rows, as many as fit; the rest is counted."""
    lines: list[str] = []
    for row in rows[:_ROWS]:
        sides = [_cells(row.get("before")), _cells(row.get("after"))]
        line = cut("• " + " → ".join(side for side in sides if side), limit - _FEW // 2)
        if lines and sum(len(each.encode()) + 1 for each in [*lines, line]) > limit - _FEW // 2:
            break
        lines.append(line)
    more = [f"… +{len(rows) - len(lines)}"] if len(rows) > len(lines) else []
    return "\n".join([*lines, *more])


def _cells(row: Any) -> str:
    if not isinstance(row, Mapping):
        return "" if row is None else _code(row)
    return ", ".join(
        f"{escaped(broken(str(name)[:_CELL]))}: {_code(row[name])}" for name in list(row)[:8]
    )


def _code(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"`{escaped(words[:_CELL].replace('`', 'ˋ').replace(chr(10), ' ')) or ' '}`"


def _note(card: Card, locale: str) -> str:
    if card.state != "open":
        return cut(escaped(card.state), _NOTE)
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
