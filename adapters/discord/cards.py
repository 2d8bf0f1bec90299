"""Cards as embeds with buttons, redrawn in place from what stands under the message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import discord

from adapters.discord.markup import inert
from core.links import unlinked
from core.messages import Card, CardAction
from core.words import say

MOST = 5
"""Cards with buttons under one message: five rows of buttons fit
(components/reference.mdx#legacy-message-component-behavior)."""
# resources/message.mdx#embed-object-embed-limits: a title of 256 characters, a description of 4096,
# 6000 in all embeds, from which the footers take their part; and up to 10 embeds.
TITLE, DESCRIPTION, IN_ALL, MOST_EMBEDS = 256, 4096, 5500, 10
MOST_ROWS = 10
LONGEST_VALUE = 200
ID = re.compile(r"ponte:(?P<action>approve|deny|undo):(?P<card>[a-z2-7]{6})")
STOP = re.compile(r"ponte:stop:(?P<asker>\d+)")

LABELS: Mapping[CardAction, str] = {"approve": "Approve", "deny": "Deny", "undo": "Undo"}
_STYLES = {
    "approve": discord.ButtonStyle.success,
    "deny": discord.ButtonStyle.danger,
    "undo": discord.ButtonStyle.secondary,
}
_AMBER, _GREEN, _GREY = 0xE0A030, 0x3BA55D, 0x80848E
_COLOURS = {"open": _AMBER, "done": _GREEN, "approved": _GREEN}


def embeds(cards: Sequence[Card], locale: str) -> list[discord.Embed]:
    shown = cards[:MOST]
    room = IN_ALL // max(1, len(shown))
    return [embed(card, locale, room) for card in shown]


def in_words(cards: Sequence[Card], locale: str) -> list[str]:
    """Cards that no more fit under the message are decided by typing."""
    return [
        f"{_told(card.title)}: " + ", ".join(f"`{action} {card.id}`" for action in card.actions)
        for card in cards
    ]


def embed(card: Card, locale: str, room: int = IN_ALL) -> discord.Embed:
    """`room`: characters for this card, so that all cards of a message fit into its limit."""
    lines = [_told(card.text)] if card.text else []
    lines += [_row(row) for row in card.rows[:MOST_ROWS]]
    if len(card.rows) > MOST_ROWS:
        lines.append(say("…and {more} more rows.", locale, more=len(card.rows) - MOST_ROWS))
    if card.expires_at and card.state == "open":
        # Discord words the moment in the reader's own language and time zone.
        when = f"<t:{int(card.expires_at)}:R>"
        lines.append(say("Expires {when}.", locale, when=when))
    made = discord.Embed(
        title=_told(card.title)[:TITLE],
        description="\n".join(lines)[: min(DESCRIPTION, room - TITLE - 40)],
        colour=_COLOURS.get(card.state, _GREY),
    )
    return made.set_footer(text=f"{card.id} · {say(card.state, locale)}")


def view(cards: Sequence[Card], locale: str) -> discord.ui.View:
    """A row of buttons for each card. The SDK must not keep it: clicks are found by their id."""
    view = discord.ui.View(timeout=None)
    for row, card in enumerate(cards[:MOST]):
        for button in buttons(card, locale, row):
            view.add_item(button)
    view.stop()
    return view


def buttons(card: Card, locale: str, row: int) -> list[discord.ui.Button[Any]]:
    return [
        discord.ui.Button(
            style=_STYLES[action],
            label=say(LABELS[action], locale),
            custom_id=f"ponte:{action}:{card.id}",
            row=row,
        )
        for action in card.actions
    ]


def stop_view(asker: str, locale: str) -> discord.ui.View:
    """The button that stops the turn of `asker`'s conversation here."""
    view = discord.ui.View(timeout=None)
    label = say("Stop", locale)
    view.add_item(discord.ui.Button(label=label, custom_id=f"ponte:stop:{asker}"))
    view.stop()
    return view


def redrawn(
    message: discord.Message, card: Card, locale: str
) -> tuple[list[discord.Embed], discord.ui.View]:
    """The embeds and buttons of `message` with `card` as it stands now, all others as they were."""
    mine = [at for at, old in enumerate(message.embeds) if _card_of(old) == card.id]
    shown = list(message.embeds)
    fresh = embed(card, locale, IN_ALL // max(1, len(shown)))
    for at in mine:
        shown[at] = fresh
    if not mine:
        shown.append(fresh)
    return shown[:MOST_EMBEDS], _view_with(message, card, locale)


def without_stop(message: discord.Message) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for row, kept in enumerate(_rows(message)):
        for button in kept:
            if button.custom_id and not STOP.fullmatch(button.custom_id):
                view.add_item(_copy(button, row))
    view.stop()
    return view


def _view_with(message: discord.Message, card: Card, locale: str) -> discord.ui.View:
    """The rows of other cards stay; this card's row holds what may be done with it now."""
    view = discord.ui.View(timeout=None)
    rows = [row for row in _rows(message) if card.id not in {_button_card(b) for b in row}]
    rows = rows[: MOST - 1] if card.actions else rows[:MOST]
    for number, row in enumerate(rows):
        for button in row:
            view.add_item(_copy(button, number))
    for fresh in buttons(card, locale, len(rows)):
        view.add_item(fresh)
    view.stop()
    return view


def _rows(message: discord.Message) -> list[list[discord.Button]]:
    return [
        [item for item in row.children if isinstance(item, discord.Button)]
        for row in message.components
        if isinstance(row, discord.ActionRow)
    ]


def _copy(button: discord.Button, row: int) -> discord.ui.Button[Any]:
    return discord.ui.Button(
        style=button.style, label=button.label, custom_id=button.custom_id, row=row
    )


def _button_card(button: discord.Button) -> str:
    found = ID.fullmatch(button.custom_id or "")
    return found["card"] if found else ""


def _card_of(embed: discord.Embed) -> str:
    return (embed.footer.text or "").split(" ")[0]


def _row(row: Mapping[str, Any]) -> str:
    """What changes in one row; values are other people's data, so nothing in them is markup."""
    before, after = row.get("before"), row.get("after")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return "• " + ", ".join(
            f"{_safe(key)}: ~~{_safe(before.get(key))}~~ → {_safe(after.get(key))}"
            for key in changed
        )
    values, sign = (after, "+") if after is not None else (before, "−")
    if isinstance(values, Mapping):
        return f"{sign} " + ", ".join(f"{_safe(k)}: {_safe(v)}" for k, v in values.items())
    return f"{sign} {_safe(values)}"


def _told(words: str) -> str:
    return inert(unlinked(words))


def _safe(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST_VALUE:
        text = text[: LONGEST_VALUE - 1] + "…"
    return inert(discord.utils.escape_markdown(unlinked(text.replace("\n", " ")))) or "∅"
