from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.render import TextTable, disable_markup
from core.base.i18n import plural, say
from core.base.splitting import end_code
from core.base.text import to_one_line, truncate
from core.base.trust import defang_for_discord
from core.changes.card_rows import INDENT, NO_VALUE, read_rows, tabulate, without_details
from core.chat.approval_notices import describe_state, list_typed, marks_values
from core.chat.buttons import (
    BUTTONS,
    list_offers,
    must_fit,
    offer,
    offer_together,
    without_approval,
)
from core.domain.buttons import ButtonOffer, ButtonPress
from core.domain.messages import SHOWN_RESULT_CHARACTERS, Card

MAX_CARDS = 5
MAX_ROW_BUTTONS = 5
"""Most cards with buttons under one message, because five rows of buttons fit, and buttons in a
row (components/reference.mdx#legacy-message-component-behavior)."""
# resources/message.mdx#embed-object-embed-limits: a title of 256 characters, a description of 4096,
# 6000 in all embeds, including their footers; and up to 10 embeds.
MAX_EMBED_TITLE_CHARACTERS, MAX_EMBED_DESCRIPTION_CHARACTERS = 256, 4096
MAX_EMBEDS_CHARACTERS, MAX_EMBEDS = 5500, 10
DISCORD_CARD_ROWS = 10
"""How many changed rows a card shows. The others are counted."""
_AFTER_ROWS = 120
"""Characters for the lines after a card's rows: the rows not shown, and the expiry."""
DISCORD_CELL_CHARACTERS = 200
"""A longer value is cut."""

MAX_CUSTOM_ID_CHARACTERS = 100
"""The limit of a button's id (docs.discord.com/developers/components/reference)."""
MENU_ID = "ponte:menu"
"""The id of a menu of buttons. The value of an option is the id of one."""
MAX_MENU_BUTTONS, MAX_BUTTON_LABEL_CHARACTERS = 25, 80
_STYLES = {"primary": discord.ButtonStyle.success, "danger": discord.ButtonStyle.danger}
"""The styles of buttons; all others are grey."""
Item = discord.Button | discord.SelectMenu
"""What the rows below a message of ours have."""
_AMBER, _GREEN, _RED, _GREY = 0xE0A030, 0x3BA55D, 0xDA373C, 0x80848E
_COLOURS = {"open": _AMBER, "done": _GREEN} | dict.fromkeys(("denied", "failed", "partial"), _RED)
"""The colours of cards by their state; all others are grey."""


def build_embeds(cards: Sequence[Card]) -> list[discord.Embed]:
    """Return an embed for each of the first MAX_CARDS cards. Together they fit into one message."""
    visible_cards = cards[:MAX_CARDS]
    return [build_embed(card, _divide_characters(len(visible_cards))) for card in visible_cards]


def build_embed(card: Card, room: int = MAX_EMBEDS_CHARACTERS) -> discord.Embed:
    """`room` is in characters: the caller divides a message's limit between its cards."""
    card, most = _fit_card(card, room), _find_description_limit(room)
    lines = _describe_card(card, most)
    # With a button to approve, a card shows all of its rows.
    if len(card.rows) > DISCORD_CARD_ROWS and not must_fit(card):
        hidden_count = len(card.rows) - DISCORD_CARD_ROWS
        lines.append(plural("…and {count} more row.", "…and {count} more rows.", hidden_count))
    if card.expires_at and card.state == "open":
        # Discord shows it in the reader's language and time zone.
        lines.append(say("Expires {when}.", when=f"<t:{int(card.expires_at)}:R>"))
    elif card.decided_at:
        lines.append(f"-# <t:{int(card.decided_at)}:f>")  # "-#" begins small text
    card_embed = discord.Embed(
        title=_make_safe(card.title)[:MAX_EMBED_TITLE_CHARACTERS],
        description="\n".join(lines).strip()[:most],
        colour=_COLOURS.get(card.state, _GREY),
    )
    # `redraw_card` finds a card's embed by the footer.
    return card_embed.set_author(name=describe_state(card.state)).set_footer(text=card.id)


def _describe_card(card: Card, most: int) -> list[str]:
    """Return the lines of a card's text and rows, those of an open proposal uncut: a narrow table,
    or each row's name and changes. The values are other people's data, so Markdown in them is
    escaped. `most`: the characters of all lines."""
    if card.result:
        card = replace(card, text=end_code(card.text[:SHOWN_RESULT_CHARACTERS]))
    lines = [_make_safe(text)] if (text := card.text_with_result) else []
    # None leaves all values uncut, as a card must be that a person may approve.
    longest = None if must_fit(card) else DISCORD_CELL_CHARACTERS
    rows = read_rows(card.rows[:DISCORD_CARD_ROWS] if longest else card.rows)
    row_lines: list[str] = []
    if (table := tabulate(rows)) is not None:
        texts_of_rows = [
            (name, *(cell.value if cell else "" for cell in cells)) for name, cells in table.rows
        ]
        # Markdown has no effect in a code block, but a backtick could end it.
        header, *cells = (
            tuple(
                defang_for_discord(to_one_line(text, longest)).replace("`", "'") for text in texts
            )
            for texts in (table.header, *texts_of_rows)
        )
        text_table = TextTable(header, tuple(cells), ("-",) * len(header))
        # It must fit whole: a cut code block would show the rest of the card as code.
        free_characters = most - sum(len(line) + 1 for line in lines) - _AFTER_ROWS
        if text_table.is_narrow and len(block := text_table.code_block()) <= free_characters:
            row_lines = [block]
    for row in () if row_lines else rows:  # without a table, line by line
        name = f"**{escape_cell(row.name, longest)}**" if row.name else ""
        details = [
            f"{escape_cell(detail.field, longest)}: {escape_cell(detail.value, longest)}"
            for detail in row.details
        ]
        row_lines += [" · ".join(filter(None, [name, *details]))] if name or details else []
        if row.is_new:
            row_lines += [
                f"**{escape_cell(change.field, longest)}**: "
                + INDENT.join(escape_cell(line, None) for line in change.list_lines(longest))
                for change in row.changes
            ]
            continue
        values = []
        for change in row.changes:
            # A deleted row has only the old value.
            sides = [escape_cell(side, longest) for side in (change.before, change.after) if side]
            if change.after == NO_VALUE and marks_values(
                card
            ):  # it is struck only where it goes away
                sides[0] = f"~~{sides[0]}~~"
            values.append(f"{escape_cell(change.field, longest)}: {' → '.join(sides)}")
        row_lines += [" · ".join(values)] if values else []
    if lines and row_lines:
        return [*lines, "", *row_lines, ""]
    return lines + row_lines


def _divide_characters(cards: int) -> int:
    """Discord limits all embeds of a message together."""
    return MAX_EMBEDS_CHARACTERS // max(1, cards)


def _find_description_limit(room: int) -> int:
    return min(MAX_EMBED_DESCRIPTION_CHARACTERS, room - MAX_EMBED_TITLE_CHARACTERS - 40)


def _fit_card(card: Card, room: int) -> Card:
    """Return a card that must be shown whole as it fits into `room` characters: if necessary
    without the fields that only identify its rows, else without the button to approve, because a
    person may approve only what they see in full."""
    most = _find_description_limit(room)
    if not must_fit(card):
        return card
    for candidate in (card, without_details(card)):
        if len("\n".join(_describe_card(candidate, most))) + _AFTER_ROWS <= most:
            return candidate
    return without_approval(card)


def describe_cards(cards: Sequence[Card]) -> list[str]:
    """Return, for each card that does not fit under the message with buttons, the commands to
    type."""
    cards = [without_approval(card) if must_fit(card) else card for card in cards]
    return [
        f"{_make_safe(card.title)}: "
        + ", ".join(f"`{hint}`" for hint in list_typed(card.id, card.actions))
        for card in cards
    ]


def name_press(press: ButtonOffer | ButtonPress) -> str:
    return f"ponte:{press.button.name}:{press.subject.replace(' ', ',')}"


def read_press(id: str) -> tuple[str, str]:
    _, name, subject = f"{id}::".split(":", 2)
    return name, subject.rstrip(":").replace(",", " ")


def build_buttons(cards: Sequence[Card], offers: Sequence[ButtonOffer] = ()) -> discord.ui.View:
    """Return the buttons of the first MAX_CARDS cards, in a row for each card, and those of the
    answer (`offers`) below. Those for which there is no room are in a menu. Beside five cards no
    row is left for one, so the last offers are left out."""
    # The embeds of the cards are cut to this room, too.
    room = _divide_characters(min(len(cards), MAX_CARDS))
    shown = [_fit_card(card, room) for card in cards[:MAX_CARDS]]
    rows = [_build_card_buttons(card, row) for row, card in enumerate(shown)]
    # The button for all needs all cards in this message: nobody may approve what they have not
    # seen.
    together = offer_together(shown) if 1 < len(shown) == len(cards) else None
    others = [offer for offer in (together, *offers) if offer]
    # Discord refuses the whole message if an id is too long.
    others = [offer for offer in others if len(name_press(offer)) <= MAX_CUSTOM_ID_CHARACTERS]
    # Below the cards or, if there is no other row, beside the buttons of the fifth.
    free_rows, row = MAX_CARDS - len(rows), min(len(rows), MAX_CARDS - 1)
    count = MAX_ROW_BUTTONS if free_rows else MAX_ROW_BUTTONS - len(rows[-1])
    if free_rows == 1 and len(others) > count:  # the menu needs the row
        count = 0
    items: list[discord.ui.Item[Any]] = [button for buttons in rows for button in buttons]
    items += [_build_button(offer, row) for offer in others[:count]]
    if free_rows and len(others) == count + 1:
        items.append(_build_button(others[-1], row + (count > 0)))
    elif free_rows and len(others) > count:
        items.append(_build_menu(others[count:][:MAX_MENU_BUTTONS], row + (count > 0)))
    return build_view(items)


def build_stop_view(asker: str) -> discord.ui.View:
    """Return the button that stops the turn of the conversation that `asker` (an id) owns here."""
    return build_view([_build_button(offer("stop", asker), 0)])


def _build_button(offer: ButtonOffer, row: int) -> discord.ui.Button[Any]:
    return discord.ui.Button(
        style=_STYLES.get(offer.style, discord.ButtonStyle.secondary),
        label=None if offer.emoji else offer.label[:MAX_BUTTON_LABEL_CHARACTERS],
        emoji=offer.emoji or None,
        custom_id=name_press(offer),
        row=row,
    )


def _build_menu(offers: Sequence[ButtonOffer], row: int) -> discord.ui.Select[Any]:
    options = [
        discord.SelectOption(
            label=offer.label[:MAX_BUTTON_LABEL_CHARACTERS],
            value=name_press(offer),
            emoji=offer.emoji or None,
        )
        for offer in offers
    ]
    return discord.ui.Select(custom_id=MENU_ID, options=options, placeholder="…", row=row)


def redraw_card(
    message: discord.Message, card: Card
) -> tuple[list[discord.Embed], discord.ui.View]:
    """Return the embeds and buttons of `message` with `card` in its current state. All other cards
    stay unchanged."""
    # An embed's footer ends with the id of its card.
    ids = [(old.footer.text or "").split(" ")[-1] for old in message.embeds]
    mine = [at for at, id in enumerate(ids) if id == card.id]
    card_embeds = list(message.embeds)
    # The cards of a message share its characters.
    card = _fit_card(card, _divide_characters(len(card_embeds)))
    fresh = build_embed(card, _divide_characters(len(card_embeds)))
    for at in mine:
        card_embeds[at] = fresh
    if not mine:
        # Somebody removed the embed; the decision is shown all the same.
        card_embeds.append(fresh)

    def is_own(item: Item) -> bool:
        name, subject = read_press(item.custom_id or "")
        is_on_card = name in BUTTONS and BUTTONS[name].place == "card"
        return is_on_card and subject.partition(".")[0] == card.id

    remaining = ([each for each in row if not is_own(each)] for row in _item_rows(message))
    rows = [row for row in remaining if row]
    # A message has at most five rows, as many as cards (MAX_CARDS). The last one is for the buttons
    # of this card, and for those of no card.
    last = min(len(rows), MAX_CARDS - 1)
    own = _build_card_buttons(card, last)
    rows[last:] = [row[: MAX_ROW_BUTTONS - len(own)] for row in rows[last : last + 1]]
    copies = [_copy_item(item, number) for number, row in enumerate(rows) for item in row]
    view = build_view([*own, *copies])
    return card_embeds[:MAX_EMBEDS], view  # Discord takes no more in a message


def without_button(message: discord.Message, id: str) -> discord.ui.View:
    """An edit replaces all buttons, so the others must be sent again, each in its row."""
    return build_view(
        _copy_item(item, number)
        for number, row in enumerate(_item_rows(message))
        for item in row
        if item.custom_id and item.custom_id != id
    )


def _build_card_buttons(card: Card, row: int) -> list[discord.ui.Button[Any]]:
    return [_build_button(offer, row) for offer in list_offers(card, card.press_id)]


def build_view(items: Iterable[discord.ui.Item[Any]]) -> discord.ui.View:
    """Return a view that the SDK does not track: clicks are handled by the ids of buttons and
    menus, so that they work after a restart."""
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    view.stop()
    return view


def _item_rows(message: discord.Message) -> list[list[Item]]:
    return [
        [item for item in row.children if isinstance(item, Item)]
        for row in message.components
        if isinstance(row, discord.ActionRow)
    ]


def _copy_item(item: Item, row: int) -> discord.ui.Item[Any]:
    if isinstance(item, discord.SelectMenu):
        menu = discord.ui.Select[Any].from_component(item)
        menu.row = row
        return menu
    button = discord.ui.Button[Any].from_component(item)
    button.row = row
    return button


def _make_safe(words: str) -> str:
    return disable_markup(defang_for_discord(words))


def escape_cell(text: str, longest: int | None) -> str:
    text = truncate(text.replace("\n", " "), longest or len(text))
    return disable_markup(discord.utils.escape_markdown(defang_for_discord(text))) or "∅"
