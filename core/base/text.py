"""Text utilities for untrusted text: cleaning, comparing, cutting. Rows become CSV that a
spreadsheet does not execute.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeVar

from core.base.i18n import say
from core.base.json_text import in_whole_characters

T = TypeVar("T")
_JOINER = "\u200d"
_FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # regional indicators: two are one flag
# Real characters are shorter. A longer stack of marks is cut inside.
_LONGEST_CHARACTER = 64
LONG_TEXT_CHARACTERS = 20_000
"""Length from which text is processed in a thread: 2 MB take up to a second."""
_MAX_RECLEANED_CHARACTERS = 1_000
"""Characters of a growing text that may be cleaned again for each new piece."""
MAX_FILE_NAME_CHARACTERS = 100
_NAME_BYTES = 200  # file systems take 255 bytes (NAME_MAX); the rest is for prefixes
TRUNCATION_NOTE = "[Truncated: showing {shown} of {total} characters.]"
_PLAIN = re.compile(r"[\n\t -~]*")
_NEWLINE = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
# ECMA-48: CSI sequences, strings (OSC, DCS, SOS, PM, APC) up to their end, two-character escapes.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c|(?=\n)|$)"
    r"|\x1b[ -/]*[0-~]"
)
_INTRODUCER = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f]")
# C0 and C1 controls except tab and newline; bidi embeddings, overrides and isolates; soft hyphen,
# zero-width space, word joiner, invisible operators, byte order mark, annotation marks, invisible
# fillers, noncharacters.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u202a-\u202e\u2066-\u2069"
    r"\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\u3164\uffa0"
    r"\ufdd0-\ufdef\ufffe\uffff]"
)
# After a black flag, tags spell the flags of England, Scotland and Wales. Elsewhere they can hide
# text.
_TAGS = re.compile(r"(\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f)|[\U000e0000-\U000e007f]")
# A character can have one variation selector; a sequence of them can hide bytes. Those of the
# supplement (U+E0100..) apply only to ideographs.
_SELECTORS = re.compile(
    r"((?<=[^\s\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef])[\ufe00-\ufe0f]"
    r"|(?<=[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef])"
    r"|[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Joiners shape Arabic and Indic letters and combine emoji. After Latin letters they have no use
# and can only hide content.
_JOINERS = re.compile(
    r"((?<=[\u0590-\u1fff\u203c-\U0003ffff])[\u200c\u200d])[\u200c\u200d]*|[\u200c\u200d]+"
)
_MEDIA_TYPE = re.compile(r"[a-z0-9_.+-]{1,127}/[a-z0-9_.+-]{1,127}")
"""A media type and the lengths of its parts (RFC 6838, section 4.2)."""
_UNSAFE_IN_NAMES = re.compile(r"[\n\t\"<>:|?*]")


def find_character_boundary(text: str, cut: int, start: int = 0) -> int:
    """Return the last index up to `cut` between two characters as people see them. A short form of
    the rules of Unicode Standard Annex 29: enough for marks, emoji, flags, Hangul jamo and
    surrogates, without its tables.

    `start` is an index that is known to be such a boundary; text before it is ignored. Return `cut`
    if there is no boundary within reach, so that callers always make progress.
    """
    if cut <= start or cut >= len(text):
        return max(start, min(cut, len(text)))
    for place in range(cut, max(start, cut - _LONGEST_CHARACTER), -1):
        if not _is_inside_character(text, place, start):
            return place
    return cut


async def run_off_loop(work: Callable[[str], T], text: str) -> T:
    """A long text is processed in a thread, so that the event loop is not blocked."""
    return await asyncio.to_thread(work, text) if len(text) > LONG_TEXT_CHARACTERS else work(text)


def clean_text(text: str) -> str:
    """Untrusted text can hide content from a reader. It can contain terminal escapes, or characters
    that change the direction of the text ("Trojan Source", CVE-2021-42574). Invisible letters can
    contain instructions for a model.

    Joiners in emoji, marks of right-to-left text and letters of every language remain. Half of a
    surrogate pair becomes U+FFFD. The function is idempotent.
    """
    if _PLAIN.fullmatch(text):  # ASCII without control characters
        return text
    # Escape sequences first: without its first character, the rest of one would stay as text.
    text = _ESCAPE.sub("", _NEWLINE.sub("\n", in_whole_characters(text)))
    # Group 1 of each pattern is what stays: a flag, one variation selector, one joiner.
    text = _TAGS.sub(r"\1", _HIDDEN.sub("", text))
    return _JOINERS.sub(r"\1", _SELECTORS.sub(r"\1", text))


class GrowingText:
    """Removes invisible characters from an answer while it grows (`clean_text`), without processing
    its finished part again."""

    def __init__(self) -> None:
        self._source = ""
        """The final part of the text. `_done` is its cleaned form."""
        self._done = ""
        self._shown = ""
        self._length = 0

    def clean(self, text: str) -> str:
        """Return the cleaned form of `text`, which is the whole text so far. If it does not
        continue the previous text, start again from its beginning."""
        if not text.startswith(self._source):
            self._source = self._done = self._shown = ""
            self._length = 0
        # `_source` is the final part of the text and `_done` its cleaned form, so only what follows
        # is cleaned again. `_length` is the length of the text when it was last cleaned.
        tail = text[len(self._source) :]
        if cut := _settled_length(tail):
            self._done += clean_text(tail[:cut])
            self._source, tail = text[: len(self._source) + cut], tail[cut:]
        elif (
            0 < len(text) - self._length < len(tail) // 20 and len(tail) > _MAX_RECLEANED_CHARACTERS
        ):
            # No new final part: a tail that grew is cleaned again only after 5 % more. One that
            # did not grow may have changed.
            return self._shown
        self._shown, self._length = self._done + clean_text(tail), len(text)
        return self._shown


def _settled_length(text: str) -> int:
    """Return the length of the beginning of a growing text whose cleaned form (`clean_text`) does
    not change, whatever text follows. It ends before the last visible letter, digit, punctuation
    mark, symbol or space: later marks may still join that one. It ends after the last newline if
    the text holds an escape sequence."""
    # `_INTRODUCER` begins an escape sequence of a terminal, which `clean_text` removes. None goes
    # on after a newline (`_ESCAPE`).
    if _INTRODUCER.search(text):
        return text.rfind("\n") + 1
    # No real character is as long as `_LONGEST_CHARACTER` code points, so the search ends there. A
    # result of 0 is never wrong: nothing counts as final, and the whole text is cleaned again.
    for place in range(len(text) - 1, max(0, len(text) - _LONGEST_CHARACTER), -1):
        # `_HIDDEN` characters are removed, so they separate nothing.
        if unicodedata.category(text[place])[0] in "LNPSZ" and not _HIDDEN.match(text[place]):
            return place
    return 0


def truncate_with_note(text: str, limit: int) -> str:
    """The beginning of a text that is too long, and a line that says how much of it is shown, have
    at most `limit` characters."""
    total = len(text)
    if total <= limit:
        return text
    # The length of the line is needed before it is known how much is shown. That number has no more
    # digits than `total`.
    longest = len(say(TRUNCATION_NOTE, shown=total, total=total)) + 1
    end = find_character_boundary(text, max(0, limit - longest))
    line = say(TRUNCATION_NOTE, shown=end, total=total)
    return f"{text[:end]}\n{line}" if end else line[:limit]


def choose_newest(
    texts: Sequence[str], *needed: int, room: int = 16_000, name: int = 30
) -> Sequence[int]:
    """Return the positions of messages for a model: the `needed` ones, and as many of the newest as
    fit into `room` characters. `texts` are all messages, oldest first. `name` are the characters
    that each takes besides, with the name of its author."""
    chosen = set[int]()
    for n in dict.fromkeys((*needed, *reversed(range(len(texts))))):
        room -= len(texts[n]) + name
        if room < 0 and n not in needed:
            break
        chosen.add(n)
    return sorted(chosen)


def truncate(text: str, longest: int) -> str:
    return (
        text if len(text) <= longest else text[: find_character_boundary(text, longest - 1)] + "…"
    )


def clip_line(text: str, longest: int = 120) -> str:
    return to_one_line(text, longest)


def to_one_line(text: str, longest: int | None = None) -> str:
    line = " ".join(clean_text(text).split())
    return line if longest is None else truncate(line, longest)


def safe_file_name(name: str) -> str:
    """Return a name that is safe on any disk, in an HTTP header and in a chat; never empty.

    It has no separators, control characters or leading dots. It has at most 100 characters and
    keeps its extension.
    """
    # Names from a Mac have accents apart from their letters: they are joined, as in other names.
    base = re.split(r"[/\\]", compose_letters(clean_text(name)).rstrip("/\\ \n\t"))[-1]
    # No leading dot (a hidden file) and no leading hyphen (an option of a command).
    base = _UNSAFE_IN_NAMES.sub("_", base).strip(". ").lstrip(".- ")
    stem, dot, extension = base.rpartition(".")
    # The end of a sentence, as in "Report. Final version of March", is no extension.
    if not stem or len(extension) > 16:
        stem, dot, extension = base, "", ""
    room = MAX_FILE_NAME_CHARACTERS - len(dot + extension)
    stem = stem[: find_character_boundary(stem, room)]
    # Disks limit the bytes of a name, and a character may have several.
    while len(f"{stem}{dot}{extension}".encode()) > _NAME_BYTES:
        stem = stem[: find_character_boundary(stem, len(stem) - 1)]
    return f"{stem.rstrip()}{dot}{extension}" or "file"


def safe_media_type(type: str) -> str:
    """Return the type in lower case without parameters. An invalid one is
    `application/octet-stream`."""
    plain = type.split(";")[0].strip().lower()
    return plain if _MEDIA_TYPE.fullmatch(plain) else "application/octet-stream"


def fold_case(text: str) -> str:
    """Comparisons of folded texts ignore case, and how an accent is encoded (Unicode has two
    ways)."""
    return unicodedata.normalize("NFC", compose_letters(text).casefold())


def compose_letters(text: str) -> str:
    """Return the text with each accent encoded together with its letter (Unicode NFC). Names of
    files and texts from a Mac have them apart, and would differ from the same text typed
    elsewhere."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", limit_combining_marks(text))


def limit_combining_marks(text: str) -> str:
    """Keep at most 30 marks on a letter, as in Unicode's stream-safe format (UAX 15). Normalization
    sorts the marks of a letter in time that grows with the square of their number."""
    if text.isascii():
        return text
    characters, height = list[str](), 0
    for character in text:
        height = height + 1 if unicodedata.category(character)[0] == "M" else 0
        if height <= 30:
            characters.append(character)
    return "".join(characters)


def fold_to_letters(text: str) -> str:
    """Return a text for comparisons: without case, accents and invisible characters, on one line
    with single spaces."""
    letters = unicodedata.normalize("NFD", " ".join(fold_case(clean_text(text)).split()))
    if letters.isascii():
        return letters
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")


def _is_inside_character(text: str, place: int, start: int) -> bool:
    """Return whether a cut at index `place` would separate what a person sees as one character:
    letters and their accents, emoji with skin tones, flags of two letters, signs after a backslash.
    `start` is an index that is known to lie between two characters."""
    before, after = text[place - 1], text[place]
    # No character below the first combining mark continues another one, except an escaped one.
    if after < "\u0300":
        return before == "\\" or (before == "\r" and after == "\n")
    if (
        before == _JOINER
        or after == _JOINER
        or unicodedata.category(after) in ("Mn", "Mc", "Me")  # accents, variation selectors
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones of emoji
        or "\U000e0020" <= after <= "\U000e007f"  # tags, as in regional flags
        or "\u1160" <= after <= "\u11ff"  # later jamo of a syllable
        # Halves of an emoji, which JSON can hold apart.
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    ):
        return True
    # A flag is two letters of `_FLAGS`, so the number of them before tells which half this is.
    flags = len(text[start:place]) - len(text[start:place].rstrip(_FLAGS))
    return after in _FLAGS and flags % 2 == 1


# A spreadsheet treats a cell that begins with one of these as a formula
# (https://owasp.org/www-community/attacks/CSV_Injection). A number may keep its sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d[\d.,\u00a0\u202f ]*(e[+-]?\d+)?%?", re.IGNORECASE)


def escape_formula(cell: str) -> str:
    """A cell that begins like a formula gets an apostrophe, by which spreadsheets mark text. So
    does one with an apostrophe of its own there, because an import takes one off."""
    return f"'{cell}" if cell.lstrip(" \n'").startswith(_FORMULA) and not is_number(cell) else cell


def is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
