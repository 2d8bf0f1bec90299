"""Cards as embeds with buttons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.render import TextTable, disable_markup
from core.base.i18n import plural, say
from core.base.splitting import end_code
from core.base.text import to_one_line, truncate
from core.base.trust import defang_for_discord
from core.changes.card_rows import INDENT, NO_VALUE, read_rows, tabulate
from core.chat.approval_notices import (
    APPROVE_ALL,
    LABELS,
    describe_state,
    list_typed,
    marks_values,
    must_fit,
    together_id,
    without_approval,
)
from core.chat.interactions import SHOW_CODE
from core.domain.messages import SHOWN_RESULT_CHARACTERS, Card, ChangeAction

MAX_CARDS = 5
MAX_ROW_BUTTONS = 5
"""Largest number of cards with buttons under one message, because five rows of buttons fit, and of
buttons in a row (components/reference.mdx#legacy-message-component-behavior)."""
# resources/message.mdx#embed-object-embed-limits: a title of 256 characters, a description of 4096,
# 6000 in all embeds, including their footers; and up to 10 embeds.
MAX_EMBED_TITLE_CHARACTERS, MAX_EMBED_DESCRIPTION_CHARACTERS = 256, 4096
MAX_EMBEDS_CHARACTERS, MAX_EMBEDS = 5500, 10
DISCORD_CARD_ROWS = 10
"""Changed rows that a card shows. The others are counted."""
_AFTER_ROWS = 120
"""Characters of a card kept for the lines after its rows: the rows not shown, and the expiry."""
DISCORD_CELL_CHARACTERS = 200
"""Characters of one cell on a card. A longer value is cut."""

CARD_BUTTON_ID = re.compile(
    rf"ponte:(?P<action>{'|'.join(LABELS)}):(?P<card>[a-z2-7]{{6}})(?P<revision>\.\d{{1,4}})?"
)
APPROVE_ALL_BUTTON_ID = re.compile(r"ponte:together:(?P<ids>[a-z2-7.,0-9]{13,})")
"""The button that approves several cards. Its ids are separated by commas."""
MAX_CUSTOM_ID_CHARACTERS = 100
"""Characters of a button's id (docs.discord.com/developers/components/reference)."""
CODE_BUTTON_ID = re.compile(r"ponte:code:(?P<turn>[a-z2-7]{16})")
VOTE_BUTTON_ID = re.compile(r"ponte:vote:(?P<vote>up|down):(?P<turn>[a-z2-7]{16})")
STOP_BUTTON_ID = re.compile(r"ponte:stop:(?P<asker>\d+)")

_STYLES: Mapping[ChangeAction, discord.ButtonStyle] = {
    "approve": discord.ButtonStyle.success,
    "deny": discord.ButtonStyle.danger,
}
"""The styles of buttons; all others are grey."""
_AMBER, _GREEN, _RED, _GREY = 0xE0A030, 0x3BA55D, 0xDA373C, 0x80848E
_COLOURS = {"open": _AMBER, "done": _GREEN} | dict.fromkeys(("denied", "failed", "partial"), _RED)
"""The colours of cards by state; all others are grey."""


def build_embeds(cards: Sequence[Card]) -> list[discord.Embed]:
    """Return an embed for each of the first MAX_CARDS cards. Together they fit into one message."""
    visible_cards = cards[:MAX_CARDS]
    return [build_embed(card, _divide_characters(len(visible_cards))) for card in visible_cards]


def build_embed(card: Card, room: int = MAX_EMBEDS_CHARACTERS) -> discord.Embed:
    """Return a card as an embed of at most `room` characters. The caller divides the limit of a
    message between its cards."""
    # A person may approve only what they see in full, so a card that is cut has no such button.
    card, most = _drop_unfit_approval(card, room), _find_description_limit(room)
    lines = _describe_card(card, most)
    # A card must fit while it has a button to approve: it shows all of its rows.
    if len(card.rows) > DISCORD_CARD_ROWS and not must_fit(card):
        more = len(card.rows) - DISCORD_CARD_ROWS
        lines.append(plural("…and {count} more row.", "…and {count} more rows.", more))
    if card.expires_at and card.state == "open":
        # Discord shows the moment in the reader's own language and time zone.
        lines.append(say("Expires {when}.", when=f"<t:{int(card.expires_at)}:R>"))
    elif card.decided_at:
        lines.append(f"-# <t:{int(card.decided_at)}:f>")  # "-#" begins small text
    card_embed = discord.Embed(
        title=_make_safe(card.title)[:MAX_EMBED_TITLE_CHARACTERS],
        description="\n".join(lines).strip()[:most],
        colour=_COLOURS.get(card.state, _GREY),
    )
    # By the footer, `redraw_card` finds the embed of a card.
    return card_embed.set_author(name=describe_state(card.state)).set_footer(text=card.id)


def _describe_card(card: Card, most: int) -> list[str]:
    """Return the lines with a card's text and rows, those of an open proposal uncut: a narrow
    table, or each row's name and its changes. The values are other people's data, so Markdown in
    them is escaped. `most`: the characters of all lines."""
    if card.result:
        card = replace(card, text=end_code(card.text[:SHOWN_RESULT_CHARACTERS]))
    lines = [_make_safe(text)] if (text := card.text_with_result) else []
    # The longest value; None leaves all uncut, as a card must be that a person may approve.
    longest = None if must_fit(card) else DISCORD_CELL_CHARACTERS
    rows = read_rows(card.rows[:DISCORD_CARD_ROWS] if longest else card.rows)
    row_lines: list[str] = []
    if (table := tabulate(rows)) is not None:
        texts_of_rows = [
            (name, *(cell.value if cell else "" for cell in cells)) for name, cells in table.rows
        ]
        # In a code block Markdown has no effect, but a backtick could end the block.
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
        row_lines += [f"**{escape_cell(row.name, longest)}**"] if row.name else []
        if row.is_new:
            row_lines += [
                f"**{escape_cell(change.field, longest)}**: "
                + INDENT.join(escape_cell(line, None) for line in change.list_lines(longest))
                for change in row.changes
            ]
            continue
        values = []
        for change in row.changes:
            # The old value and the new one; a deleted row has only the old one.
            sides = [escape_cell(side, longest) for side in (change.before, change.after) if side]
            if change.after == NO_VALUE and marks_values(
                card
            ):  # it is struck only where it goes away
                sides[0] = f"~~{sides[0]}~~"
            values.append(f"{escape_cell(change.field, longest)}: {' → '.join(sides)}")
        row_lines += [" · ".join(values)] if values else []
    if lines and row_lines:
        return [*lines, "", *row_lines, ""]  # set off by blank lines
    return lines + row_lines


def _divide_characters(cards: int) -> int:
    """Return the characters that each of so many cards of one message may have. Discord limits all
    embeds of a message together."""
    return MAX_EMBEDS_CHARACTERS // max(1, cards)


def _find_description_limit(room: int) -> int:
    return min(MAX_EMBED_DESCRIPTION_CHARACTERS, room - MAX_EMBED_TITLE_CHARACTERS - 40)


def _drop_unfit_approval(card: Card, room: int) -> Card:
    """Return the card; without its button to approve if that button requires that all of the card
    is shown, and not all fits into `room` characters."""
    most = _find_description_limit(room)
    fits = not must_fit(card) or len("\n".join(_describe_card(card, most))) + _AFTER_ROWS <= most
    return card if fits else without_approval(card)


def describe_cards(cards: Sequence[Card]) -> list[str]:
    """Return a line for each card that lists the commands to type. It is for cards that do not fit
    under the message with buttons."""
    cards = [without_approval(card) if must_fit(card) else card for card in cards]
    return [
        f"{_make_safe(card.title)}: "
        + ", ".join(f"`{hint}`" for hint in list_typed(card.id, card.actions))
        for card in cards
    ]


def build_buttons(
    cards: Sequence[Card], code_turn: str = "", rated_turn: str = ""
) -> discord.ui.View:
    """Return the buttons of the first MAX_CARDS cards, in a row for each card; the button that
    shows the code of the turn `code_turn`, and the thumbs for that of `rated_turn`, if set."""
    # The embeds of the cards are cut to this room, too. A cut card that must be shown whole has no
    # button to approve.
    room = _divide_characters(min(len(cards), MAX_CARDS))
    shown = [_drop_unfit_approval(card, room) for card in cards[:MAX_CARDS]]
    # The other buttons get the row below the cards, or share the fifth one, which is the last. All
    # fit: a card has three at most, and an answer with cards has no thumbs (`is_rateable`).
    rows, last_row = enumerate(shown), min(len(shown), MAX_CARDS - 1)
    buttons = [button for row, card in rows for button in _build_card_buttons(card, row)]
    # The ids of open cards that one press approves, "" if not all of them can be. The button needs
    # all cards in this message: nobody may approve what they have not seen.
    if (ids := together_id(shown)) and len(shown) == len(cards):
        label = say(APPROVE_ALL, count=len(ids.split()))
        id = f"ponte:together:{ids.replace(' ', ',')}"
        # Discord refuses the whole message if an id is too long.
        if len(id) <= MAX_CUSTOM_ID_CHARACTERS:
            buttons.append(discord.ui.Button(label=label, custom_id=id, row=last_row))
    if code_turn:
        id = f"ponte:code:{code_turn}"
        buttons.append(discord.ui.Button(label=say(SHOW_CODE), custom_id=id, row=last_row))
    for vote, emoji in (("up", "👍"), ("down", "👎")) if rated_turn else ():
        id = f"ponte:vote:{vote}:{rated_turn}"
        buttons.append(discord.ui.Button(emoji=emoji, custom_id=id, row=last_row))
    return build_view(buttons)


def build_stop_view(asker: str) -> discord.ui.View:
    """Return the button that stops the turn of the conversation that the user `asker` (an id) owns
    here."""
    return build_view([discord.ui.Button(label=say("Stop"), custom_id=f"ponte:stop:{asker}")])


def redraw_card(
    message: discord.Message, card: Card
) -> tuple[list[discord.Embed], discord.ui.View]:
    """Return the embeds and buttons of `message` with `card` in its current state. All other cards
    stay unchanged."""
    # The footer of an embed ends with the id of its card.
    ids = [(old.footer.text or "").split(" ")[-1] for old in message.embeds]
    mine = [at for at, id in enumerate(ids) if id == card.id]
    card_embeds = list(message.embeds)
    # The cards of a message share its characters. One that does not fit whole has no button to
    # approve.
    card = _drop_unfit_approval(card, _divide_characters(len(card_embeds)))
    fresh = build_embed(card, _divide_characters(len(card_embeds)))
    for at in mine:
        card_embeds[at] = fresh
    if not mine:
        # Somebody removed the embed; the decision is shown all the same.
        card_embeds.append(fresh)

    def is_own(button: discord.Button) -> bool:
        press = CARD_BUTTON_ID.fullmatch(button.custom_id or "")
        return press is not None and press["card"] == card.id

    remaining = ([each for each in row if not is_own(each)] for row in _button_rows(message))
    rows = [row for row in remaining if row]
    # A message has at most five rows, as many as cards (MAX_CARDS). The last one is for the buttons
    # of this card, and for those that belong to no card.
    last = min(len(rows), MAX_CARDS - 1)
    own = _build_card_buttons(card, last)
    rows[last:] = [row[: MAX_ROW_BUTTONS - len(own)] for row in rows[last : last + 1]]
    copies = [_copy_button(button, number) for number, row in enumerate(rows) for button in row]
    view = build_view([*own, *copies])
    return card_embeds[:MAX_EMBEDS], view  # Discord takes no more in a message


def without_stop(message: discord.Message) -> discord.ui.View:
    """Return the buttons of `message` without the stop button, each in its row. An edit replaces
    all buttons, so the others must be sent again."""
    return build_view(
        _copy_button(button, number)
        for number, row in enumerate(_button_rows(message))
        for button in row
        if button.custom_id and not STOP_BUTTON_ID.fullmatch(button.custom_id)
    )


def _build_card_buttons(card: Card, row: int) -> list[discord.ui.Button[Any]]:
    """Return the buttons of a card. The id of each says what a click does, and names the card with
    its revision."""
    return [
        discord.ui.Button(
            style=_STYLES.get(action, discord.ButtonStyle.secondary),
            label=say(LABELS[action]),
            custom_id=f"ponte:{action}:{card.press_id}",
            row=row,
        )
        for action in card.actions
    ]


def build_view(items: Iterable[discord.ui.Item[Any]]) -> discord.ui.View:
    """Return a view that the SDK does not track: clicks are handled by the ids of their buttons and
    menus, so that they work after a restart."""
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    view.stop()
    return view


def _button_rows(message: discord.Message) -> list[list[discord.Button]]:
    return [
        [item for item in row.children if isinstance(item, discord.Button)]
        for row in message.components
        if isinstance(row, discord.ActionRow)
    ]


def _copy_button(button: discord.Button, row: int) -> discord.ui.Button[Any]:
    return discord.ui.Button(
        style=button.style, label=button.label, custom_id=button.custom_id, row=row
    )


def _make_safe(words: str) -> str:
    return disable_markup(defang_for_discord(words))


def escape_cell(text: str, longest: int | None) -> str:
    text = truncate(text.replace("\n", " "), longest or len(text))
    return disable_markup(discord.utils.escape_markdown(defang_for_discord(text))) or "∅"
