"""Converts text between Slack's formats and ours, and builds posts and cards."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from adapters.slack import row_blocks
from adapters.slack.data_blocks import MAX_OF_KIND, build_data_block
from adapters.slack.row_blocks import CARD_BLOCK, neutralize, neutralize_markdown
from core.base.growing_markdown import length_before_open_address
from core.base.i18n import say
from core.base.markdown import BREAK, free_stress, nest_items
from core.base.splitting import (
    MAX_CHARACTER_SIZE,
    MIN_PART_CHARACTERS,
    end_code,
    fence_after_text,
    find_code_spans,
    max_info_length,
    split_text,
)
from core.base.text import find_character_boundary
from core.base.trust import defang
from core.changes.card_rows import MAX_CHANGE_ROWS_SHOWN, read_rows, without_details
from core.chat.approval_notices import describe_state
from core.chat.buttons import list_offers, must_fit, offer_together, without_approval
from core.chat.interactions import REST_OF_CODE
from core.domain.buttons import ButtonOffer
from core.domain.messages import Card
from core.domain.rows import Placed, split_placed

Json = dict[str, Any]

MESSAGE_TEXT_BYTES = 3_900
"""The most bytes of a message's `text`. All limits here count bytes after `&`, `<` and `>` are
escaped.

Slack's pages speak of characters, but measurements found UTF-8 bytes. An edit takes 4,000, also
beside blocks (openclaw/openclaw pull 115027, pymc-labs/daimon pull 106; for posts
seratch/ChatGPT-in-Slack issue 102).
"""
SHORT_TEXT_BYTES = 300
"""The limit of `text` if Slack refuses a longer one. The blocks contain the whole content."""
ANSWER_PART_BYTES = 9_000
"""The limit of an answer's text in one post. Slack allows 12,000 for all Markdown of a message
(docs.slack.dev/reference/block-kit/blocks/markdown-block), and 10,000 in a stream."""
STREAM_BYTES = 9_900
"""The limit of a streamed message, with the blocks added at its end. Measured limits are between
10,600 and 11,300 (openclaw/openclaw pull 143882)."""
ALL_BLOCKS_BYTES = 11_500
"""The limit of all blocks of a message: "12,000 text characters with a buffer for block containers"
(slackapi/bolt-js issues 2509 and 2867)."""
BLOCK_BYTES = 100
"""What each block counts beside its text. Slack counts something, but does not publish how much."""
SECTION_BYTES = 2_900
"""The limit of a section's text. Slack allows 3,000
(docs.slack.dev/reference/block-kit/blocks/section-block)."""

PLAIN_TEXT_CHARACTERS = 3000
"""The limit of the text beside blocks, which notifications and screen readers use."""
_SCHEMES = ("http", "https", "mailto")

_LINK = re.compile(
    r"(?P<image>!?)\[(?P<label>[^\[\]\n]*)\]"
    r"\((?P<url>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?P<title>\s+\"[^\"\n]*\")?\)"
)
_ANGLED = re.compile(r"<(?P<url>(?:https?|ftp|mailto|tel|slack):[^\s<>|]+)(?:\|[^<>\n]*)?>")
"""A link in angle brackets, Markdown's or Slack's with a label."""
_BLOCK = re.compile(
    r"^[ \t]*(?P<mark>`{3,}(?!`)|~{3,}(?!~))[^\n]*\n.*?(?:^[ \t]*(?P=mark)[ \t]*$|\Z)", re.S | re.M
)
_WORD = re.compile(r"\S+")
_ESCAPED = re.compile(r"\\([\\`*_\[\]()#~|>!+-])")
_ESCAPES_BEGIN = 0xF0000
"""The code point of the private letter for NUL. Such letters stand for escaped marks until the
other marks are removed. A letter of an address has none."""
_ESCAPE = re.compile("[\U000f0021-\U000f007e]")
"""These private letters stand for escaped marks."""
_CODES_BEGIN = 0xF1000
"""The code point of the first private letter that stands for code."""
_KEPT_CODE = re.compile(r"(?<![`\\])(`[^`\n]+`)(?!`)|^`{3,}[^`\n]*\n([^`]*)^`{3,}$", re.MULTILINE)
_SPACE, _SET_OFF = re.compile(r"\s*"), re.compile(r"[\s,:]*")
"""Blanks, and what sets off a mention from the text after it."""
_ENTITY = re.compile("&(?:amp|lt|gt|quot|#x27);")  # Slack's, and those of html.escape
_FROM_SLACK = re.compile(r"<(?P<kind>[@#!]?)(?P<id>[^<|>\n]+)(?:\|(?P<label>[^<>\n]*))?>")
_MARKS = re.compile(
    r"\\([!-/:-@[-`{-~])"  # escaped marks, which stay
    r"|(?<!\w)[*_~]{1,3}(?=\S)|(?<=\S)[*_~]{1,3}(?!\w)"  # emphasis
    r"|^[ \t]*#{1,6}[ \t]+|^[ \t]*(?:`{3,}|~{3,})[^\n]*\n?|`"  # headings, code
    r"|^(?=[ \t:|-]*-{3})[ \t:|-]+$\n?",  # rules, the line under a table's head
    re.M,
)

MENU_ACTION = "ponte_menu"
"""The value of an option in a menu of buttons: the action id and value of one."""
_MAX_BUTTONS, _MAX_MENU_BUTTONS = 25, 100
"""Elements of a block of buttons, and options of a menu
(docs.slack.dev/reference/block-kit/blocks/actions-block, block-elements/select-menu-element)."""
APPROVE_ACTION = "ponte_card_approve"
_CARDS = 10
"""How many cards a message can have."""
_TITLE, _TEXT = 300, 1500
"""How many characters a card's title and its text can have."""
_ROOM, _LEAST = 2 * SECTION_BYTES + 800, 850
"""Bytes of a complete card, and of the shortest one that still shows its request."""
_LINE = 500
"""How long a line is where the text of a card needs several sections."""
_NOTE, _FEW = 200, 60
"""The most bytes of the note under a decided card, and the fewest of its text and its rows."""
_SHORT_ROWS = ((1, 30, None), (1, 30, 5), (1, 20, 2), (1, 12, 1))
"""Ever smaller forms of a card's first row: number of rows, characters of a value, and number of
fields (None for all)."""
_HIDDEN = "…and {count} more. Type `changes` to list them."
_HEADER_BYTES = 150
"""The limit of a header (docs.slack.dev/reference/block-kit/blocks/header-block)."""


def safe_markdown(text: str) -> str:
    """Return the model's Markdown in a form that is safe to post: it notifies nobody and hides no
    link.

    Slack renders standard Markdown itself: tables, code, lists and links
    (docs.slack.dev/reference/block-kit/blocks/markdown-block). Only unsafe parts are removed.
    Outside code, a refused link becomes text with its address as code, and an image becomes a link.
    """

    def render_link(match: re.Match[str]) -> str:
        """Return a link, or its label and address where it may not be one. An image becomes a link,
        because its `!` is dropped."""
        label, url = match["label"] or match["url"], match["url"]
        if _may_link(url):
            return f"[{label}]({url})"
        return f"{label} (`{url}`)" if url else label

    def render_angled_link(match: re.Match[str]) -> str:
        url = match["url"]
        return f"<{url}>" if _may_link(url) else f"`{url}`"

    # CommonMark needs both: indents below a numbered item, where models indent too little, and hair
    # spaces around stress beside Chinese, Japanese or Korean letters.
    pieces, text = list[str](), nest_items(text)
    # By line, whether it may be the row of a table; and the line's number at each piece.
    rows, number = ["|" in line for line in text.split("\n")], 0
    for start, end, is_code in _split_code(text):
        piece = text[start:end]
        first, number = number, number + piece.count("\n")
        if not is_code:
            piece = _LINK.sub(render_link, free_stress(piece))
            if "<" in piece:
                piece = _ANGLED.sub(render_angled_link, piece)
                # `<br>` becomes a line break, but a space in a table, whose row is one line.
                piece = "\n".join(
                    BREAK.sub(" " if rows[at] else "\n", line)
                    for at, line in enumerate(piece.split("\n"), first)
                )
        pieces.append(piece)
    # Control sequences of Slack are disabled in the whole text, code included.
    return neutralize_markdown("".join(pieces))


def settled_length(text: str) -> int:
    """Return the length of the part of a growing text that later text cannot change: whole words
    and whole links.

    A stream of Slack can only append. So what may become a link, an image or code waits for its
    end.
    """
    end = max(text.rfind(" "), text.rfind("\n")) + 1
    line = text.rfind("\n", 0, end) + 1  # where the last line begins
    # An open bracket, or one with an open address, may become a link, or an image with "!".
    bracket = text.rfind("[", line, end)
    if bracket >= 0 and not _LINK.match(text, bracket):
        after = text.find("](", bracket, end)
        if after >= 0 or text.find("]", bracket, end) < 0:
            end = bracket - 1 if bracket > line and text[bracket - 1] == "!" else bracket
    fences = re.findall(r"^[ \t]*(?:`{3,}|~{3,})", text[:line] + "\n", re.M)
    # A code block is open. If it never ends, its addresses may be links.
    if len(fences) % 2:
        return length_before_open_address(text[:end])
    # After an odd backtick, the rest of the line may become code.
    return text.rfind("`", line, end) if text.count("`", line, end) % 2 else end


def to_plain_text(text: str, limit: int = PLAIN_TEXT_CHARACTERS) -> str:
    """Return Markdown without its markup, escaped, for notifications and screen readers. Code stays
    as it is, between marks in which Slack links nothing, unless a cut to `limit` bytes could part
    them."""
    codes = dict[int, str]()

    def hide(match: re.Match[str]) -> str:
        codes[letter := _CODES_BEGIN + len(codes)] = match[1] or f"```\n{match[2]}```"
        return chr(letter)

    if 2 * escaped_size(text) < limit:
        text = _KEPT_CODE.sub(hide, text)
    # The marks of other code go, so addresses in it are defanged first.
    text = BREAK.sub(" ", without_links_in_code(text))
    # An escaped mark such as `\*` is text, for which a private letter stands meanwhile.
    text = _ESCAPED.sub(lambda match: chr(_ESCAPES_BEGIN + ord(match[1])), text)
    words = _MARKS.sub(r"\1", _LINK.sub(lambda match: match["label"] or match["url"], text)).strip()
    # Removed markup may join pieces into an address that nobody wrote, as in `evil.*com*`. So a
    # new word is defanged.
    original_words = set(text.split())
    if not original_words.issuperset(words.split()):
        words = _WORD.sub(
            lambda match: match[0] if match[0] in original_words else defang(match[0]), words
        )
    if len(words) > PLAIN_TEXT_CHARACTERS:
        words = words[: PLAIN_TEXT_CHARACTERS - 1] + "…"
    # The private letters become the escaped marks again.
    words = _ESCAPE.sub(lambda match: chr(ord(match[0]) - _ESCAPES_BEGIN), words)
    return escape_text(words.translate(codes)) or "…"  # the text was nothing but markup


def without_links_in_code(text: str) -> str:
    """Defang the addresses inside code, where the code marks are removed or may be cut off."""
    return "".join(
        defang(text[start:end]) if code else text[start:end]
        for start, end, code in _split_code(text)
    )


def escape_text(text: str) -> str:
    """Escape text for mrkdwn and plain text, where `&`, `<` and `>` have a meaning, and disable
    mentions of everybody."""
    literal = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return neutralize(literal)


def mentioned_ids(text: str) -> frozenset[str]:
    return frozenset(f["id"] for f in _FROM_SLACK.finditer(text) if f["kind"] == "@")


def to_readable(text: str, names: Mapping[str, str], bot: str) -> str:
    """Return a message from Slack with names in place of ids. Mentions of the bot at both ends are
    removed, with the punctuation after the first ones."""
    bot_mention = re.compile(rf"<@{re.escape(bot)}(?:\|[^<>]*)?>")
    spans = [mention.span() for mention in bot_mention.finditer(text)]
    # Move `start` behind the mentions at the beginning, and `end` before those at the end. Only
    # blanks may be before the first one; between two, a comma or colon is also allowed.
    start, end = 0, len(text)
    for first, last in spans:
        if (_SET_OFF if start else _SPACE).fullmatch(text, start, first) is None:
            break
        start = last
    for first, last in reversed(spans):
        if first < start or text[last:end].strip():
            break
        end = first
    if start and (marks := _SET_OFF.match(text, start, end)):
        start = marks.end()

    def spell_out(match: re.Match[str]) -> str:
        """Return the text for one piece of Slack's markup, such as `<@U1>` or
        `<https://…|label>`. A piece without one of the marks `@`, `#` and `!` is a link."""
        kind, id, label = match["kind"], match["id"], match["label"]
        if kind == "@":
            # The name that Slack puts into the text may be outdated.
            return "@" + (names.get(id) or label or id)
        if kind == "#":
            return "#" + (label or id)
        if kind == "!":
            # As @here, or a user group (`subteam^S1`), whose label is its name.
            return label or "@" + id.split("^")[0]
        return f"{label} ({id})" if label and label not in id else id.removeprefix("mailto:")

    words = _FROM_SLACK.sub(spell_out, text[start:end])
    return _ENTITY.sub(lambda match: unescape(match[0]), words).strip()


def find_mentions(text: str, names: Mapping[str, str], bot: str) -> tuple[tuple[str, str], ...]:
    """Return the people and channels that a message mentions, without the bot, each once: the words
    that `to_readable` writes for it, and its id."""
    mentions = []
    for mention in _FROM_SLACK.finditer(text):
        id, label = mention["id"], mention["label"]
        if mention["kind"] == "@" and id != bot:
            mentions.append(("@" + (names.get(id) or label or id), id))
        elif mention["kind"] == "#":
            mentions.append(("#" + (label or id), id))
    return tuple(dict.fromkeys(mentions))


def split_answer(text: str, most: int = ANSWER_PART_BYTES) -> tuple[str, ...]:
    """Split `text` into parts that each fit into one post of `most` bytes. `safe_markdown` can make
    a text longer."""
    fitting: list[str] = []
    for part in split_text(text, most, escaped_size):
        # A part whose rendered piece is too long for Slack is divided into smaller ones.
        limit = most
        pieces: tuple[str, ...] = (part,)
        while limit > MIN_PART_CHARACTERS * MAX_CHARACTER_SIZE and any(
            escaped_size(safe_markdown(piece)) > most for piece in pieces
        ):
            limit = max(limit // 2, MIN_PART_CHARACTERS * MAX_CHARACTER_SIZE)
            pieces = split_text(part, limit, escaped_size)
        fitting += pieces
    return tuple(fitting)


@dataclass(frozen=True, slots=True)
class PostContent:
    """The data of one post: Markdown with the rows and charts that are `placed` in it, and the
    buttons (`offers`) and cards under it, below a `mention` in Slack's markup. All forms of a
    message are built from it."""

    text: str
    cards: tuple[Card, ...] = ()
    placed: tuple[Placed, ...] = ()
    offers: tuple[ButtonOffer, ...] = ()
    mention: str = ""

    @property
    def without_rating(self) -> PostContent:
        """The content for a Slack that has no element for a rating."""
        return replace(self, offers=tuple(o for o in self.offers if not o.button.is_rating))

    def build_whole(self, tables: bool = True, data: bool = True) -> Json:
        """Return the `text` and the `blocks` of a post or an edit, with the Markdown as a block.

        `tables`: the rows of a card may be a table. `data`: rows and charts of `placed` become
        blocks of their own, unless there are cards.
        """
        blocks = list[Json]()
        if self.placed and data and not self.cards:
            blocks = _build_data_blocks(self.text, self.placed)
        words = safe_markdown(self.text)
        if not blocks and words.strip():
            blocks = [{"type": "markdown", "text": words}]
        return self._complete(blocks, MESSAGE_TEXT_BYTES, tables)

    def build_plain(self) -> Json:
        """Return the message for a Slack that refuses the whole one: a shorter `text`, sections
        with the Markdown's source, and the rows of cards as lines."""
        source = without_links_in_code(neutralize(self.text))
        pieces = split_text(source, SECTION_BYTES, escaped_size) or (() if self.cards else ("…",))
        blocks = [build_section(escape_text(piece)) for piece in pieces]
        return self.without_rating._complete(blocks, SHORT_TEXT_BYTES, tables=False)

    def build_end(self, room: int, tables: bool) -> list[Json]:
        """Return what stands under the text, in `room` bytes: buttons, then cards."""
        blocks = build_buttons(self.offers)
        if self.cards:
            blocks += cards_blocks(self.cards, room - blocks_size(blocks), tables)
        return blocks

    def _complete(self, blocks: list[Json], text_bytes: int, tables: bool) -> Json:
        room = ALL_BLOCKS_BYTES - blocks_size(blocks) if self.cards else 0
        blocks = [*blocks, *self.build_end(room, tables)]
        cards_text = "\n".join(map(card_text, self.cards))
        # `text` is for notifications.
        spoken = to_plain_text(self.text, text_bytes) if self.text.strip() else cards_text or "…"
        message = {"text": cut_escaped(spoken, text_bytes), "blocks": blocks}
        if self.mention:
            message["text"] = f"{self.mention} {message['text']}"
            blocks.insert(0, build_section(self.mention))
        return message


def _build_data_blocks(part: str, placed: Sequence[Placed]) -> list[Json]:
    """Return a part of an answer as blocks: its rows and charts as Slack's, the text between them
    as Markdown.

    Rows and charts beyond the number that Slack allows in one message stay Markdown. Return [] if
    no block of data came of it, or if all of them are too long: the part is then one Markdown text.
    """
    blocks, counts, words = list[Json](), Counter[str](), ""  # `words`: the text since a block
    for text, data in split_placed(part, placed):
        # None: plain text, or data beyond a limit of Slack.
        block = build_data_block(data)
        if block is None or counts[block["type"]] == MAX_OF_KIND[block["type"]]:
            words = f"{words}\n\n{text}" if words else text
            continue
        counts[block["type"]] += 1
        blocks += [{"type": "markdown", "text": safe_markdown(words)}] if words.strip() else []
        blocks.append(block)
        words = ""
    blocks += [{"type": "markdown", "text": safe_markdown(words)}] if words.strip() else []
    return blocks if counts and blocks_size(blocks) <= ALL_BLOCKS_BYTES else []


def card_blocks(card: Card, room: int = ALL_BLOCKS_BYTES, tables: bool = True) -> list[Json]:
    """Return the blocks of a card in `room` bytes: at most four, or more if it must be whole.

    Each `block_id` begins with the card's id, so that the card can be found and replaced. Content
    that does not fit is cut: rows first, down to half of the bytes for text and rows; at least one
    row is shown. `tables`: the rows may be a table.
    """
    # Slack shows a moment in the reader's time zone
    # (docs.slack.dev/messaging/formatting-message-text).
    moment = card.expires_at if card.state == "open" else card.decided_at
    at = f"<!date^{int(moment)}^{{date_short_pretty}} {{time}}|…>" if moment else ""
    words = cut_escaped(escape_text(describe_state(card.state)), _NOTE - 80)  # 80: time and id
    if at and card.state == "open":
        at = say("Decide by {at}", at=at)
    note = " · ".join(filter(None, [words, at, f"`{card.id}`"]))
    state: Json = {
        "type": "context",
        "block_id": f"{CARD_BLOCK}{card.id}:note",
        "elements": [{"type": "mrkdwn", "text": note}],
    }
    buttons = build_buttons(list_offers(card, card.press_id), f"{CARD_BLOCK}{card.id}:actions")
    if not card.is_whole:  # a cut block of code ends here, before that of the result
        card = replace(card, text=end_code(card.text[:_TEXT]))
    title = escape_text(defang(card.title[:_TITLE]))
    body = escape_text(defang(card.text_with_result))
    words = f"*{title.replace('*', '')}*\n{body}".strip() if title else body or "…"
    # A person may approve only what they see in full. If that does not fit, the card is drawn
    # without an Approve button, and so may be cut.
    if must_fit(card):
        pieces = enumerate(_split_words(words))
        whole = [_build_card_section(card, f"text{n}", piece) for n, piece in pieces]
        if card.rows:
            whole.append(row_blocks.build_rows_block(card, len(card.rows), None, tables=tables))
        whole = [state, *whole, *buttons]
        if blocks_size(whole) <= room:
            return whole
        is_shortest = not any(row.details for row in read_rows(card.rows))
        shorter = without_approval(card) if is_shortest else without_details(card)
        return card_blocks(shorter, room, tables)
    room = min(room, _ROOM)
    free_bytes = room - blocks_size([state, *buttons, _build_card_section(card, "text", "")])
    # The rows get what the text leaves, and at least half. The first row is always shown, if
    # necessary with shorter values and fewer fields.
    room_for_rows = max(_FEW, free_bytes // 2, free_bytes - len(words.encode()))
    most = min(len(card.rows), MAX_CHANGE_ROWS_SHOWN)
    forms = [(count, row_blocks.MAX_ROW_CELL_CHARACTERS, None) for count in range(most, 0, -1)]
    rows: list[Json] = []
    count = row_bytes = 0
    for count, characters, fields in [*forms, *_SHORT_ROWS] if card.rows else ():
        rows = [row_blocks.build_rows_block(card, count, characters, fields, tables)]
        if (row_bytes := blocks_size(rows)) <= room_for_rows:
            break
    if count < len(card.rows):
        words += f"\n… +{len(card.rows) - count}"
    room = max(_FEW, min(SECTION_BYTES, free_bytes - row_bytes) - 4)  # 4: of `end_code`
    text = end_code(cut_escaped(words, room))
    return [state, _build_card_section(card, "text", text), *rows, *buttons]


def cards_blocks(
    cards: Sequence[Card], room: int = ALL_BLOCKS_BYTES, tables: bool = True
) -> list[Json]:
    """Return the blocks of all cards of a message, with a fair share of `room` bytes for each. Only
    one has a table, and none without `tables`.

    Cards that do not fit are counted in a last line. The answer's text names those that wait for a
    person.
    """
    # `_LEAST`: the smallest useful card. `room` is reduced below.
    most, all_room = min(_CARDS, max(1, room // _LEAST)), room
    # First each card as long as it likes; only the first table stays one.
    drawn = list[list[Json]]()
    for card in cards[:most]:
        drawn.append(card_blocks(card, tables=tables))
        tables = tables and not row_blocks.has_table(drawn[-1])
    sizes = list(map(blocks_size, drawn))
    # `share`: the bytes that a card may have. What the smallest ones do not need is divided among
    # the larger ones.
    share = max(sizes, default=0)
    for place, size in enumerate(sorted(sizes)):
        if size > room // (len(sizes) - place):
            share = room // (len(sizes) - place)
            break
        room -= size
    # Cards that are larger than their share are drawn again, cut to it.
    for number, size in enumerate(sizes):
        if size > share:
            drawn[number] = card_blocks(cards[number], share, row_blocks.has_table(drawn[number]))
    blocks = [block for each in drawn for block in each]
    buttons = [each for block in blocks if block["type"] == "actions" for each in block["elements"]]
    pressed = {button["value"] for button in buttons if button["action_id"] == APPROVE_ACTION}
    # One button approves all, but only if each card's own button survived the cut.
    together = offer_together(cards) if len(cards) > 1 else None
    if together and pressed.issuperset(together.subject.split()):  # the cards' ids
        added = build_buttons([together])
        blocks += added if blocks_size([*blocks, *added]) <= all_room else []
    if len(cards) > most:
        hidden = say(_HIDDEN, count=len(cards) - most)
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": hidden}]})
    return blocks


def replace_card(message: Sequence[Json], card: Card, tables: bool = True) -> list[Json] | None:
    """Return a message's blocks with the card's current state; None if they do not contain it.
    `tables`: its rows may be a table, if no other block is one."""
    # All blocks of a card have its id in their `block_id`.
    mine = f"{CARD_BLOCK}{card.id}:"
    places = [n for n, block in enumerate(message) if block.get("block_id", "").startswith(mine)]
    if not places:
        return None
    # The new blocks stand where the first old one was. They may take what the others leave, but at
    # least _LEAST, in which a short card shows its request.
    other_blocks = [block for n, block in enumerate(message) if n not in places]
    room = max(_LEAST, ALL_BLOCKS_BYTES - blocks_size(other_blocks))
    tables = tables and not row_blocks.has_table(other_blocks)
    other_blocks[places[0] : places[0]] = card_blocks(card, room, tables)
    return other_blocks


def card_text(card: Card) -> str:
    return escape_text(defang(f"{card.title}\n{card.text}")[:PLAIN_TEXT_CHARACTERS])


def escaped_size(text: str) -> int:
    marks = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    return len(text.encode(errors="surrogatepass")) + marks


def blocks_size(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Return the bytes that Slack limits: those of texts, and BLOCK_BYTES for each block. Slack
    counts `&`, `<` and `>` in their escaped forms. mrkdwn is already escaped."""
    # Texts may be nested at any depth: no recursion.
    size, parts = BLOCK_BYTES * len(blocks), list[Any](blocks)
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if isinstance(text := part.get("text"), str):
                size += len(text.encode()) if part.get("type") == "mrkdwn" else escaped_size(text)
            parts += [value for value in part.values() if isinstance(value, (dict, list, tuple))]
        elif isinstance(part, (list, tuple)):
            parts += part
    return size


def cut_unescaped(text: str, limit: int) -> str:
    """Cut a text to `limit` bytes after escaping. A cut text ends with "…", and no emoji or letter
    with marks is split."""
    if escaped_size(text) <= limit:
        return text
    # A search by halves: `fits` characters fit, `over` do not. A character has at least one byte.
    fits, over = 0, min(len(text), limit) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if escaped_size(text[:middle] + "…") <= limit:
            fits = middle
        else:
            over = middle
    return text[: find_character_boundary(text, fits)] + "…"


def cut_escaped(escape_text: str, limit: int) -> str:
    """Cut a text to `limit` bytes. It then ends with "…", and no character or entity is split."""
    data = escape_text.encode()
    if len(data) <= limit:
        return escape_text
    # The first cut is by bytes, the second spares characters of several code points, the third an
    # entity such as `&amp;`.
    short = data[: limit - len("…".encode())].decode(errors="ignore")
    short = escape_text[: find_character_boundary(escape_text, len(short))]
    entity = short.rfind("&")
    if entity >= 0 and ";" not in short[entity:]:
        short = short[:entity]
    return short + "…"


_INFO = max_info_length(ANSWER_PART_BYTES, lambda text: escaped_size(text))
"""Characters of a code block's info string that are repeated where the block continues."""


class Rotation:
    """Splits a growing answer into the texts of its posts: with `split`, and also where `end_part`
    ended a part because its stream grew old. Slack ends a stream after some minutes, so the text
    that follows needs a new post.

    A code block that is split there is closed, and opened again in the next part.
    """

    def __init__(self, split: Callable[[str], tuple[str, ...]]) -> None:
        self._split = split
        self._heads: list[str] = []
        """The ended parts, in order."""
        self._ends: set[str] = set()
        """The last post of each ended part, to which nothing is added."""

    def end_part(self, text: str) -> None:
        """End the current part where later text cannot change it. `text` is the whole answer so
        far."""
        cut_length = sum(map(len, self._heads))
        end = max(text.rfind("\n") + 1, settled_length(text))
        # Only if the earlier cuts still hold, and if there is text after the last of them.
        if text.startswith("".join(self._heads)) and text[cut_length:end].strip():
            self._heads.append(text[cut_length:end])

    def split(self, text: str) -> tuple[str, ...]:
        """Return the parts of the text. If the text before a cut has changed, that cut is dropped,
        and the caller edits its posts. `end_part` has ended the `_heads`, because their stream grew
        old; `_split` divides by the length of a post."""
        parts: list[str] = []
        rest, opening = text, ""  # `opening`: the fence of a code block that goes on in `rest`
        # Filled again, for `has_ended`.
        self._ends.clear()
        for head in self._heads:
            if not rest.startswith(head):
                break
            # A code block that the cut divides is closed before it, and opened again after it, with
            # its language unless the line is longer than `_INFO`.
            fence = fence_after_text(opening + head, None, _INFO)
            closing = f"\n{fence.closing}" if fence else ""
            parts += self._split(opening + head.rstrip() + closing)
            self._ends.update(parts[-1:])
            rest = rest[len(head) :]
            opening = f"{fence.continuation(_INFO).opening}\n" if fence else ""
        return (*parts, *self._split(opening + rest)) if rest.strip() else tuple(parts)

    def has_ended(self, part: str) -> bool:
        return part in self._ends


def _split_code(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield prose and code in order, as start, end and whether it is code. Code is a block, or a
    span within a line; spans are looked for between two blocks only."""
    if "`" not in text and "~~~" not in text:
        yield 0, len(text), False
        return
    at = 0
    # An empty block at the end, so that the prose after the last block is divided, too.
    for block in [*(match.span() for match in _BLOCK.finditer(text)), (len(text), len(text))]:
        offset = at
        for start, end in find_code_spans(text[offset : block[0]]):
            yield at, offset + start, False
            yield offset + start, (at := offset + end), True
        yield at, block[0], False
        yield *block, True
        at = block[1]


def _may_link(url: str) -> bool:
    try:
        return urlsplit(url).scheme in _SCHEMES
    except ValueError:
        return False


def _split_words(words: str) -> list[str]:
    """Return escaped text in pieces that each fit into a section. A cut quoted line stays a quote
    in each part, so that no part of it looks like a line of Ponte's own."""
    if len(words.encode()) <= SECTION_BYTES:
        return [words]
    pieces = [""]
    for line in words.split("\n"):
        quote = next(mark for mark in ("&gt; ", "&gt;", "") if line.startswith(mark))
        # 500 characters fit into a section, also if each has five bytes once it is escaped. An
        # escaped mark is not divided, and all blanks stay.
        cuts = textwrap.wrap(
            unescape(line.removeprefix(quote)),
            _LINE,
            drop_whitespace=False,
            replace_whitespace=False,
            expand_tabs=False,
        )
        for part in map(escape_text, cuts or [""]):
            longer = f"{pieces[-1]}\n{quote}{part}"
            if len(longer.encode()) > SECTION_BYTES:
                pieces.append(f"{quote}{part}")
            else:
                pieces[-1] = longer
    return [piece.strip() for piece in pieces]


def build_buttons(offers: Sequence[ButtonOffer], block_id: str = "") -> list[Json]:
    """Return the blocks with these buttons; those beyond the limit of a block are in a menu. The
    value of each says what it is about.

    A rating has a block of its own
    (docs.slack.dev/reference/block-kit/block-elements/feedback-buttons-element).
    """
    elements, ratings, options = list[Json](), list[Json](), list[Json]()
    for offer in offers:
        # "emoji": False shows `:x:` in the title of an option as it is.
        label = escape_text(offer.label)
        button, text = offer.button, {"type": "plain_text", "text": label, "emoji": False}
        id = f"ponte_{'card_' * (button.place == 'card')}{button.name}"
        if button.is_rating:
            name = "negative_button" if ratings else "positive_button"
            ratings = ratings or [{"type": "feedback_buttons", "action_id": id}]
            half = {"text": text, "accessibility_label": offer.label, "value": offer.subject}
            ratings[0][name] = half
            continue
        # Action ids in a block must differ, so the choice is a part of it.
        id += f":{offer.subject.partition(':')[0]}" if ":" in offer.subject else ""
        if len(elements) < _MAX_BUTTONS - 1:
            element = {"type": "button", "action_id": id, "value": offer.subject, "text": text}
            elements.append(element | ({"style": offer.style} if offer.style else {}))
        elif len(options) < _MAX_MENU_BUTTONS:
            options.append({"text": text, "value": f"{id} {offer.subject}"})
    if options:
        elements.append({"type": "static_select", "action_id": MENU_ACTION, "options": options})
    blocks = list[Json]()
    for type, items in (("actions", elements), ("context_actions", ratings)):
        if items:
            name = block_id or items[0]["action_id"]
            blocks.append({"type": type, "block_id": name, "elements": items})
    return blocks


def build_code_blocks(codes: Sequence[str]) -> list[Json]:
    """Return the code of each run, cut where Slack takes no more. Preformatted text has no markup,
    so it mentions nobody and cannot end its block."""
    blocks, room = list[Json](), ANSWER_PART_BYTES  # `room`: the bytes that the message has left
    for code in codes:
        text = cut_unescaped(code.rstrip(), room)
        element = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]}
        blocks.append({"type": "rich_text", "elements": [element]})
        room -= escaped_size(text) + BLOCK_BYTES
        # The next code would hardly show anything.
        if text != code.rstrip() or room < _FEW:
            blocks.append(build_section(say(REST_OF_CODE)))
            break
    return blocks


def _build_card_section(card: Card, name: str, words: str) -> Json:
    return build_section(words) | {"block_id": f"{CARD_BLOCK}{card.id}:{name}"}


def build_header(text: str) -> Json:
    return {"type": "header", "text": make_plain_text(text, _HEADER_BYTES)}


def build_section(mrkdwn: str) -> Json:
    mrkdwn = cut_escaped(mrkdwn, SECTION_BYTES) or "–"
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn}}


def make_plain_text(text: str, limit: int) -> Json:
    """`limit` counts bytes."""
    return {"type": "plain_text", "text": cut_unescaped(text, limit) or "…"}
