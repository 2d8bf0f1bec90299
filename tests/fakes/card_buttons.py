"""The labels of buttons that are a card's, or stop a turn. An answer may have further ones, which
come and go with features."""

from __future__ import annotations

from collections.abc import Iterable

from core.chat.buttons import BUTTONS

LABELS = {
    button.label for button in BUTTONS.values() if button.place in ("card", "growing", "home")
}


def on_card(labels: Iterable[str]) -> list[str]:
    """Return those of `labels` that are a card's, in their order."""
    return [label for label in labels if label in LABELS]
