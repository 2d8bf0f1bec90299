"""Text utilities for untrusted text: cleaning, comparing, cutting, splitting into posts.

- Cuts fall between characters as people see them. A code block that is split is closed, and opened
  again in the next part.
- Rows become CSV that a spreadsheet does not execute.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
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
"""Maximum length of a file name from `safe_file_name`."""
_NAME_BYTES = 200  # file systems take 255 bytes (NAME_MAX); the rest is for prefixes
MIN_PART_CHARACTERS = 32
"""The smallest limit of a part that `split_text` accepts."""
MAX_CHARACTER_SIZE = 5
"""The largest size that a `SizeFunction` may give to one character."""
_MAX_CUT_TRIES = 64  # places that are tried for a better cut
TRUNCATION_NOTE = "[Truncated: showing {shown} of {total} characters.]"
"""The line after a truncated text."""
_OPENING = re.compile(
    r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)"
    r"(?P<mark>`{3,}|~{3,})"
    r"(?P<info>[^\n]*)"
)
_TICKS = re.compile("`+")
_ESCAPED_TICKS = re.compile(r"(?<!\\)(\\*)(`+)")
_CLOSING = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*")
_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]*_]*(?=[ \t])|[。！？]")
_WORD = re.compile(r"(?<=\S)(?=[ \t])")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")
_ROW = re.compile(r"[ \t]*\|")
_BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")
_SPACES = re.compile(r"[ \t]*")
_PLAIN = re.compile(r"[\n\t -~]*")
"""Printable ASCII with tabs and line breaks."""
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

SizeFunction = Callable[[str], int]
"""Return the size of a text that counts against a limit.

The size is the sum over its characters, each between 1 and `MAX_CHARACTER_SIZE`. The marks of a
code fence count 1 each.
"""


def find_character_boundary(text: str, cut: int, start: int = 0) -> int:
    """Return the last index up to `cut` that lies between two characters as people see them.

    A short form of the rules of Unicode Standard Annex 29: enough for marks, emoji, flags, Hangul
    jamo and surrogates, without its tables.

    `start` is an index that is known to be such a boundary; text before it is ignored. Return `cut`
    if there is no boundary within reach, so that callers always make progress.
    """
    if cut <= start or cut >= len(text):
        return max(start, min(cut, len(text)))
    for place in range(cut, max(start, cut - _LONGEST_CHARACTER), -1):
        if not _is_inside_character(text, place, start):
            return place
    return cut


@dataclass(frozen=True, slots=True)
class Fence:
    """The opening line of a Markdown code block that is not closed yet. `mark` is its run of
    backticks or tildes, `info` the text after it (the language), `indent` the spaces before it."""

    indent: str
    mark: str
    info: str

    @property
    def opening(self) -> str:
        """The line of Markdown that opens the code block, such as "```python"."""
        return f"{self.indent}{self.mark}{self.info}"

    @property
    def closing(self) -> str:
        """The line of Markdown that closes the code block, such as "```"."""
        return f"{self.indent}{self.mark}"

    def continuation(self, room: int) -> Fence:
        """Return the fence that opens the block again in the next part of a text that is split into
        posts. It is not indented. The info string is dropped if the line would exceed `room`
        characters.
        """
        fence = replace(self, indent="")
        return fence if len(fence.opening) <= room else replace(fence, info="")


def fence_after_line(line: str, fence: Fence | None, longest: int) -> Fence | None:
    """Return the fence that is open after `line`, given the one that is open before it.

    Follows CommonMark 0.31, section 4.5, except that any indentation counts: a fence inside a list
    item has the indentation of the item. A mark of more than `longest` characters is treated as
    text, because no post could contain it twice.
    """
    if fence is not None:
        return None if _closes(line, fence) else fence
    # No block is open: does the line open one?
    match = _OPENING.fullmatch(line)
    if match is None or len(match["mark"]) > longest:
        return None
    if match["mark"][0] == "`" and "`" in match["info"]:  # it is a code span on one line
        return None
    indent = " " * len(match["indent"].expandtabs(4))
    return Fence(indent[:longest], match["mark"], match["info"].rstrip())


def make_code_block(text: str, info: str = "") -> str:
    """Return `text` as a code block. The fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{info}\n{text}\n{mark}"


def end_code(text: str) -> str:
    """Return a text that was cut, with the end of its code block."""
    return text + "\n```" * (text.count("```") % 2)


def find_code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each code span of a text that contains no code blocks.

    A span goes from a run of backticks to the next run of equal length (CommonMark 0.31, section
    6.1). A backslash before a run takes its first backtick out of it, unless it is inside a span.
    """
    # `places` has the starts of all runs by their length: to search the text for the end of each
    # run would take quadratic time. Each run has its start, end, and 1 if a backslash escapes it.
    runs = [(run.start(2), run.end(2), len(run[1]) % 2) for run in _ESCAPED_TICKS.finditer(text)]
    places: defaultdict[int, deque[int]] = defaultdict(deque)
    for start, end, _ in runs:
        places[end - start].append(start)
    at = 0  # the end of the last code span
    for start, end, escaped in runs:
        if start < at:  # inside the last span
            continue
        start += escaped  # a span may begin after the escaped backtick
        same = places[end - start]  # the runs of this length, of which the next one ends the span
        while same and same[0] <= start:
            same.popleft()
        if same:
            at = same.popleft() + end - start
            yield start, at


def change_outside_code(
    line: str, change: Callable[[str], str], in_code: Callable[[str], str] = str
) -> str:
    """Return a line of Markdown with `change` applied to each piece outside code spans, and
    `in_code` to each code span (by default they stay as they are)."""
    changed, at = "", 0
    for start, end in find_code_spans(line):
        changed += change(line[at:start]) + in_code(line[start:end])
        at = end
    return changed + change(line[at:])


def fence_after_text(text: str, fence: Fence | None, longest: int) -> Fence | None:
    """Return the fence of the code block that is open after all lines of `text`; None if none is.
    `fence` is the one that is open before."""
    for line in text.split("\n"):
        fence = fence_after_line(line, fence, longest)
    return fence


def dedent_block(text: str, fence: Fence) -> str:
    """Return the rest of an indented code block with the indentation of its fence removed from each
    line, because the block continues without indentation in the next part of the text. Lines after
    the end of the block stay as they are."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        spaces = len(line) - len(line.lstrip(" "))
        lines[number] = line[min(spaces, len(fence.indent)) :]
        if _closes(line, fence):
            break
    return "\n".join(lines)


def max_info_length(limit: int, size: SizeFunction = len) -> int:
    """Return how long a code block's info string (the language) may be to be repeated when the
    block continues in the next part of a text: a quarter of the part. A character may count as
    several where `size` measures the text."""
    return limit // 4 if size is len else limit // 4 // MAX_CHARACTER_SIZE


def split_text(text: str, limit: int, size: SizeFunction = len) -> tuple[str, ...]:
    """Split `text` into parts of at most `limit` characters, including fences. () for empty text.

    `size` measures text for platforms that do not count in characters. Cuts fall between paragraphs
    if possible, else lines (so that table rows stay whole), sentences, words or characters. A code
    block that is cut is closed, and opened again with its info string. Only white space at the cuts
    is lost.

    Raises ValueError for a `limit` under `MIN_PART_CHARACTERS`. With another `size` than `len`,
    that minimum is multiplied by `MAX_CHARACTER_SIZE`.
    """
    # A part needs room for the lines that close and open a code block, and some text.
    smallest = MIN_PART_CHARACTERS if size is len else MIN_PART_CHARACTERS * MAX_CHARACTER_SIZE
    if limit < smallest:
        raise ValueError(f"a limit of {limit} characters is under {smallest}")
    text = text.rstrip()
    parts: list[str] = []
    start, fence = _skip(_BLANK_LINES, text, 0), None
    while start < len(text):
        part, start, fence = _Part(text, start, fence, limit, size).next_part()
        if part:
            parts.append(part)
    return tuple(parts)


async def run_off_loop(work: Callable[[str], T], text: str) -> T:
    """Return `work(text)`. A long text is processed in a thread, so that the event loop is not
    blocked."""
    return await asyncio.to_thread(work, text) if len(text) > LONG_TEXT_CHARACTERS else work(text)


def clean_text(text: str) -> str:
    """Remove invisible characters and control sequences from `text`; newlines become \\n.

    Untrusted text can hide content from a reader. It can contain terminal escapes, or characters
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
        """Create the object for one answer, whose text is still empty."""
        self._source = ""
        """The beginning of the text that is final. `_done` is its cleaned form."""
        self._done = ""
        self._shown = ""
        """The text that was returned last."""
        self._length = 0
        """The length of the text at that time, before it was cleaned."""

    def clean(self, text: str) -> str:
        """Return the cleaned form of `text`, which is the whole text so far.

        If it does not continue the previous text, start again from its beginning.
        """
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
    not change, whatever text follows.

    It ends before the last visible letter, digit, punctuation mark, symbol or space: later marks
    may still join that one. It ends after the last newline if the text holds an escape sequence.
    """
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
    """Return `text`, or, if it is too long, its beginning and a line that says how much of it is
    shown. The result has at most `limit` characters.
    """
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
    """Return the positions of the messages that a model reads, in order: the `needed` ones, and as
    many of the newest as fit into `room` characters. `texts` are all messages, oldest first. `name`
    are the characters that each takes besides, with the name of its author."""
    chosen = set[int]()
    for n in dict.fromkeys((*needed, *reversed(range(len(texts))))):
        room -= len(texts[n]) + name
        if room < 0 and n not in needed:
            break
        chosen.add(n)
    return sorted(chosen)


def truncate(text: str, longest: int) -> str:
    """Return `text`, or its beginning and "…", in at most `longest` characters."""
    return (
        text if len(text) <= longest else text[: find_character_boundary(text, longest - 1)] + "…"
    )


def clip_line(words: str, longest: int = 120) -> str:
    """Return text from users or other systems on one line of at most `longest` characters, without
    invisible characters."""
    return to_one_line(words, longest)


def to_one_line(text: str, longest: int | None = None) -> str:
    """Return the text on one line, without invisible characters. It is truncated to `longest`
    characters if that is given."""
    line = " ".join(clean_text(text).split())
    return line if longest is None else truncate(line, longest)


def safe_file_name(name: str) -> str:
    """Return a base name that is safe on any disk, in an HTTP header and in a chat. Never empty.

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
    """Return a file's media type in lower case without parameters, as it is safe in an HTTP header
    and on a card. An invalid one is `application/octet-stream`."""
    plain = type.split(";")[0].strip().lower()
    return plain if _MEDIA_TYPE.fullmatch(plain) else "application/octet-stream"


def fold_case(text: str) -> str:
    """Return a form of a text for comparisons that ignore case, and how an accent is encoded
    (Unicode has two ways)."""
    return unicodedata.normalize("NFC", compose_letters(text).casefold())


def compose_letters(text: str) -> str:
    """Return the text with each accent encoded together with its letter (Unicode NFC). Names of
    files and texts from a Mac have them apart, and would differ from the same text typed
    elsewhere."""
    return unicodedata.normalize("NFC", limit_combining_marks(text))


def limit_combining_marks(text: str) -> str:
    """Keep at most 30 combining marks on a letter, as in Unicode's stream-safe format (UAX 15).

    Normalization sorts the marks of a letter in time that grows with the square of their number.
    """
    if text.isascii():
        return text
    characters, height = list[str](), 0
    for each in text:
        height = height + 1 if unicodedata.category(each)[0] == "M" else 0
        if height <= 30:
            characters.append(each)
    return "".join(characters)


def fold_to_letters(text: str) -> str:
    """Return a form of the text in which two texts can be compared by their letters: without case,
    accents and invisible characters, on one line with single spaces.
    """
    letters = unicodedata.normalize("NFD", " ".join(fold_case(clean_text(text)).split()))
    if letters.isascii():
        return letters
    return "".join(each for each in letters if unicodedata.category(each) != "Mn")


@dataclass(frozen=True, slots=True)
class _Cut:
    """A place where a long text is cut into two parts: the part before it ends at `end`, with the
    code block `fence` open.

    The next part starts at `next`, inside the code block `goes_on`. `rank` is 0 between paragraphs,
    1 between lines, and 2 at a bad place.
    """

    end: int
    next: int
    fence: Fence | None
    goes_on: Fence | None
    rank: int = 2


class _Part:
    """One part of a long text that is split into posts (`split_text`). It begins at `start`, where
    the code block `fence` is open."""

    def __init__(
        self, text: str, start: int, fence: Fence | None, limit: int, size: SizeFunction
    ) -> None:
        """Measure how much of `text` fits into the part, whose size is at most `limit`. If the part
        before ends inside a code block (`fence`), the first line of this one opens the block again,
        and takes some of the room.

        `head` is that line and `held` its fence. `room` is how many characters of `text` fit, and
        `stop` the index of their end. `longest` limits the length of a fence that several parts
        repeat.
        """
        self.text, self.start, self.fence = text, start, fence
        self.longest = max_info_length(limit, size)
        self.held = fence.continuation(self.longest) if fence else None
        self.head = f"{self.held.opening}\n" if self.held else ""
        limit -= size(self.head) if self.head else 0
        self.room = _fitting_length(text, start, limit, size)
        self.stop = min(start + self.room, len(text))

    def next_part(self) -> tuple[str, int, Fence | None]:
        """Return the text of this part, and where the next part begins: the index, and the fence of
        the code block that is open there (None: none).

        The text is "" if only blank lines were left.
        """
        # All of the rest, if it fits together with the line that closes an open code block.
        end = len(self.text)
        if end <= self.stop and self._fits(end, fence := self._open_at(end)):
            cut = _Cut(end, end, fence, None)
        else:
            cut = self._best_cut()
        body = self.text[self.start : cut.end]
        if self.fence:  # `head` opens its block again without indentation
            body = dedent_block(body, self.fence)
        part = f"{self.head}{body}{self._closing(cut.fence)}" if body.strip() else ""
        # `cut.fence` is open at the end of this part, `cut.goes_on` where the next part begins. The
        # latter is None if the next line closes the block. White space counts inside a block.
        if cut.goes_on:
            return part, cut.next, cut.goes_on
        return part.rstrip(), _skip(_BLANK_LINES, self.text, cut.next), None

    def _best_cut(self) -> _Cut:
        """Return the place where this part of a long text ends best: after a paragraph, else after
        a sentence, else between words.

        Quality and position are traded: a good place counts only beyond a third or half of the
        part.
        """
        # At most `room` characters fit, up to the index `stop`.
        # The possible cuts are at the ends of lines. After the loop, `line` is the start of the
        # first line that does not fit, and `fence` is open before it.
        cuts: list[_Cut] = []
        line, fence, headed = self.start, self.fence, False
        while (end := self.text.find("\n", line, self.stop + 1)) >= 0:
            line_text = self.text[line:end]
            now = fence_after_line(line_text, fence, self.longest)
            headed = bool(_HEADING.match(line_text)) or (headed and not line_text.strip())
            # No cut after the line that opens a code block: this part would end with an empty one.
            if self._fits(end, now) and (now is None or fence is not None):
                cuts.append(self._cut_after(line_text, end, fence, now, headed))
            line, fence = end + 1, now
        # A good place near the beginning would leave most of the part empty. In order: a cut
        # between paragraphs (rank 0), between lines (1), after a sentence or a word of the line
        # that does not fit, any other line's end (2), and at last within a word. `_last_cut` finds
        # the last cut of this rank or a better one beyond an index.
        third, half = self.start + self.room // 3, self.start + self.room // 2
        prose = fence is None and not _ROW.match(self.text, line)  # no code, no row of a table
        return (
            _last_cut(cuts, 0, third)
            or _last_cut(cuts, 1, half)
            or (self._cut_within_line(_SENTENCE, line, fence, half) if prose else None)
            or (self._cut_within_line(_WORD, line, fence, half) if prose else None)
            or _last_cut(cuts, 2, self.start)
            or self._cut_within_line(_WORD, line, fence, self.start)
            or self._cut_anywhere(line, fence)
        )

    def _cut_after(
        self, line: str, end: int, before: Fence | None, now: Fence | None, headed: bool
    ) -> _Cut:
        """Return the cut after a line, which ends at index `end`, with its rank: 0 for the best
        places, 2 for the worst. `before` and `now` are the fences of the code blocks that are open
        before the line and after it. `headed`: the line is a heading, or blank after one: a part
        should not end with its heading."""
        following = self._line(end + 1)
        # The code block that is open after the next line. A mark over `longest` opens none.
        opens = fence_after_line(following, now, self.longest)
        if now:
            # The next line closes the block: we add a closing fence here, and skip that line. The
            # arguments of `_Cut`: this part's end, the next one's start, the fence open at each.
            if opens is None:
                return _Cut(end, end + 1 + len(following), now, None, rank=0)
            return _Cut(end, end + 1, now, now, rank=1)
        loose = not line.strip() or not following.strip() or bool(_HEADING.match(following))
        rank = 2 if headed else 0 if before or opens or loose else 1
        return _Cut(end, end + 1, None, None, rank)

    def _cut_within_line(
        self, pattern: re.Pattern[str], line: int, fence: Fence | None, least: int
    ) -> _Cut | None:
        """Return the last good cut within the line that begins at `line` and does not fit: after a
        match of `pattern` (the end of a sentence or a word), beyond the index `least`. Return None
        if there is none.

        Cuts inside a code span are taken only as a last resort (`least` is then the start).
        """
        ends = [match.end() for match in pattern.finditer(self.text, line, self.stop)]
        fitting = [end for end in reversed(ends) if end > least and self._fits(end, fence)]
        cuts = (self._cut_at(end, fence) for end in fitting[:_MAX_CUT_TRIES])
        # Cuts after which neither half of the line opens or closes a code block.
        tame = [cut for cut in cuts if self._keeps_fences(cut, fence)]
        outside_code = (cut for cut in tame if self.text.count("`", line, cut.end) % 2 == 0)
        return next(outside_code, tame[0] if tame and least == self.start else None)

    def _cut_anywhere(self, line: int, fence: Fence | None) -> _Cut:
        """Return the last cut between two characters that fits, for a line without spaces that is
        longer than a part. `line` is the index of its beginning, `fence` is open before it.

        Cuts that create no fence are preferred: a run of backticks that comes to the beginning of a
        part would open a code block.
        """
        fitting = self._possible_cuts()
        last = next(fitting)  # there is one: `split_text` refuses a limit without room for text
        # A cut at the beginning of the line or before it does not divide the line.
        if last.end <= line or self._keeps_fences(last, fence):
            return last
        near = (cut for cut in islice(fitting, _MAX_CUT_TRIES) if cut.end > line)
        return next((cut for cut in near if self._keeps_fences(cut, fence)), last)

    def _possible_cuts(self) -> Iterator[_Cut]:
        """Yield places to cut a long text for one post, the last possible place first.

        Each leaves room for the line that closes a code block which is open at the cut.
        """
        end = self.stop
        while end > self.start:
            place = find_character_boundary(self.text, end, self.start)
            # If all before `end` is one character (letters and accents), cut within it.
            place = place if place > self.start else end
            now = self._open_at(place)  # the code block that is open there, None if none is
            if self._fits(place, now):
                yield self._cut_at(place, now)
            end = place - 1

    def _cut_at(self, end: int, fence: Fence | None) -> _Cut:
        start = end if fence else _skip(_SPACES, self.text, end)
        return _Cut(end, start, fence, fence)

    def _keeps_fences(self, cut: _Cut, fence: Fence | None) -> bool:
        """Return True if neither half of a line that is cut there would open or close a code block
        (a fence) that the whole line does not. `fence` is the one that is open before the line."""
        rest = self._line(cut.next)
        return self._open_at(cut.end) == fence == fence_after_line(rest, fence, self.longest)

    def _line(self, start: int) -> str:
        """Return the line of the text that starts at this index, as far as it could fit into one
        part."""
        end = self.text.find("\n", start, start + self.room)
        return self.text[start : end if end >= 0 else start + self.room]

    def _open_at(self, end: int) -> Fence | None:
        """Return the fence of the code block that is open at this index, None if none is."""
        return fence_after_text(self.text[self.start : end], self.fence, self.longest)

    def _fits(self, end: int, fence: Fence | None) -> bool:
        return end - self.start + len(self._closing(fence)) <= self.room

    def _closing(self, fence: Fence | None) -> str:
        ours = self.held if fence is self.fence else fence
        return f"\n{ours.closing}" if ours else ""


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
        or unicodedata.category(after) in ("Mn", "Mc", "Me")  # marks, variation selectors
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones of emoji
        or "\U000e0020" <= after <= "\U000e007f"  # tags
        or "\u1160" <= after <= "\u11ff"  # later jamo of a syllable
        # halves of an emoji, which JSON can hold apart
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    ):
        return True
    # A flag is two letters of `_FLAGS`, so the number of them before tells which half this is.
    flags = len(text[start:place]) - len(text[start:place].rstrip(_FLAGS))
    return after in _FLAGS and flags % 2 == 1


def _closes(line: str, fence: Fence) -> bool:
    match = _CLOSING.fullmatch(line)
    return match is not None and match["mark"].startswith(fence.mark)


def _fitting_length(text: str, start: int, limit: int, size: SizeFunction) -> int:
    """Return how many characters of the text from `start` fit into `limit`, as `size` measures
    them. If the whole rest fits, the spare size is added, so that the caller sees whether the line
    that closes a code block fits too: each character of that line has the size 1."""
    if size is len:
        return limit
    rest = len(text) - start
    if rest <= limit and (whole := size(text[start:])) <= limit:
        return rest + limit - whole
    # A binary search: so many characters fit, and so many are too many.
    fits, over = 0, min(limit, rest) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if size(text[start : start + middle]) <= limit:
            fits = middle
        else:
            over = middle
    return fits


def _last_cut(cuts: list[_Cut], rank: int, least: int) -> _Cut | None:
    return next((cut for cut in reversed(cuts) if cut.rank <= rank and cut.end > least), None)


def _skip(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


# A spreadsheet treats a cell that begins with one of these as a formula
# (https://owasp.org/www-community/attacks/CSV_Injection). A number may keep its sign.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d[\d.,\u00a0\u202f ]*(e[+-]?\d+)?%?", re.IGNORECASE)


def escape_formula(cell: str) -> str:
    """Return the text of a cell for a CSV file. If a spreadsheet would execute it as a formula, it
    gets an apostrophe before it, by which spreadsheets mark text."""
    return f"'{cell}" if cell.lstrip(" \n").startswith(_FORMULA) and not is_number(cell) else cell


def is_number(cell: str) -> bool:
    """Return True for digits with an optional sign, separators, exponent or percent sign."""
    return _NUMBER.fullmatch(cell) is not None
