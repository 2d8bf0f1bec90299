"""Splits text into posts. Cuts fall between characters as people see them. A code block that is
split is closed, and opened again in the next part.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from core.base.text import find_character_boundary

MIN_PART_CHARACTERS = 32
MAX_CHARACTER_SIZE = 5
"""The largest size that a `SizeFunction` may give to one character."""
_MAX_CUT_TRIES = 64
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

SizeFunction = Callable[[str], int]
"""Return the size of a text that counts against a limit.

The size is the sum over its characters, each between 1 and `MAX_CHARACTER_SIZE`. The marks of a
code fence count 1 each.
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """The opening line of a Markdown code block that is not closed yet. `mark` is its run of
    backticks or tildes, `info` the text after it (the language), `indent` the spaces before it."""

    indent: str
    mark: str
    info: str

    @property
    def opening(self) -> str:
        return f"{self.indent}{self.mark}{self.info}"

    @property
    def closing(self) -> str:
        return f"{self.indent}{self.mark}"

    def continuation(self, room: int) -> Fence:
        """Return the fence that opens the block again in the next part of a text that is split into
        posts. It is not indented. The info string is dropped if the line would exceed `room`
        characters."""
        fence = replace(self, indent="")
        return fence if len(fence.opening) <= room else replace(fence, info="")


def fence_after_line(line: str, fence: Fence | None, longest: int) -> Fence | None:
    """`fence` is the code block that is open before `line`; return the one that is open after it.
    Follows CommonMark 0.31, section 4.5, except that any indentation counts: a fence inside a list
    item has the indentation of the item. A mark of more than `longest` characters is treated as
    text, because no post could contain it twice."""
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
    """The fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{info}\n{text}\n{mark}"


def end_code(text: str) -> str:
    return text + "\n```" * (text.count("```") % 2)


def find_code_spans(text: str) -> Iterator[tuple[int, int]]:
    """`text` contains no code blocks. A span goes from a run of backticks to the next run of equal
    length (CommonMark 0.31, section 6.1). A backslash before a run takes its first backtick out of
    it, unless it is inside a span."""
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
    """Apply `change` to each piece outside code spans, and `in_code` to each code span, which by
    default stays as it is."""
    changed, at = "", 0
    for start, end in find_code_spans(line):
        changed += change(line[at:start]) + in_code(line[start:end])
        at = end
    return changed + change(line[at:])


def fence_after_text(text: str, fence: Fence | None, longest: int) -> Fence | None:
    """Return None if no block is open. `fence` is the one that is open before `text`."""
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
    """A quarter of a part, as the language is repeated when the block continues in the next one. A
    character may count as several where `size` measures the text."""
    return limit // 4 if size is len else limit // 4 // MAX_CHARACTER_SIZE


def split_text(text: str, limit: int, size: SizeFunction = len) -> tuple[str, ...]:
    """Return parts of at most `limit` characters, including fences; () for empty text.

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
    # It fits, and no code block may have to be closed, which takes room.
    if text and "```" not in text and "~~~" not in text and size(text) <= limit:
        return (text[start:],)
    while start < len(text):
        part, start, fence = _Part(text, start, fence, limit, size).next_part()
        if part:
            parts.append(part)
    return tuple(parts)


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
        # `head` is the line that opens the block of the part before again, and takes some of the
        # room, and `held` its fence. `room` is how many characters of `text` fit, up to the index
        # `stop`. `longest` limits the length of a fence that several parts repeat.
        # `max_info_length`: each part repeats the fence, so it may take a quarter. `_fits` counts
        # the closing fence at each cut.
        self.text, self.start, self.fence = text, start, fence
        self.longest = max_info_length(limit, size)
        self.held = fence.continuation(self.longest) if fence else None
        self.head = f"{self.held.opening}\n" if self.held else ""
        limit -= size(self.head) if self.head else 0
        self.room = _fitting_length(text, start, limit, size)
        self.stop = min(start + self.room, len(text))

    def next_part(self) -> tuple[str, int, Fence | None]:
        """Return the text of this part, and where the next part begins: the index, and the fence of
        the code block that is open there. The text is "" if only blank lines were left."""
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
        # Possible cuts are at the ends of lines, up to the index `stop`. After the loop, `line` is
        # the start of the first line that does not fit, and `fence` is open before it.
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
        """Return the cut after a line with its rank: 0 for the best places, 2 for the worst.
        `before` and `now` are the fences of the code blocks that are open before the line and after
        it. `headed`: the line is a heading, or blank after one: a part should not end with its
        heading."""
        following = self._line(end + 1)
        # The code block that is open after the next line. A mark over `longest` opens none.
        opens = fence_after_line(following, now, self.longest)
        if now:
            # The next line closes the block: we add a closing fence here, and skip that line up to
            # its newline, which `next_part` skips. The arguments: this part's end, the next one's
            # start, the fence open at each.
            if opens is None:
                return _Cut(end, end + 1 + len(following), now, None, rank=0)
            return _Cut(end, end + 1, now, now, rank=1)
        loose = not line.strip() or not following.strip() or bool(_HEADING.match(following))
        rank = 2 if headed else 0 if before or opens or loose else 1
        return _Cut(end, end + 1, None, None, rank)

    def _cut_within_line(
        self, pattern: re.Pattern[str], line: int, fence: Fence | None, least: int
    ) -> _Cut | None:
        """Return the last cut after a match of `pattern` (the end of a sentence or a word), beyond
        the index `least`, in the line that begins at `line` and does not fit. Cuts inside a code
        span are taken only as a last resort (`least` is then the start)."""
        ends = [match.end() for match in pattern.finditer(self.text, line, self.stop)]
        fitting = [end for end in reversed(ends) if end > least and self._fits(end, fence)]
        cuts = (self._cut_at(end, fence) for end in fitting[:_MAX_CUT_TRIES])
        # Cuts after which neither half of the line opens or closes a code block.
        tame = [cut for cut in cuts if self._keeps_fences(cut, fence)]
        outside_code = (cut for cut in tame if self.text.count("`", line, cut.end) % 2 == 0)
        return next(outside_code, tame[0] if tame and least == self.start else None)

    def _cut_anywhere(self, line: int, fence: Fence | None) -> _Cut:
        """Return the last cut that fits, for a line without spaces that is longer than a part.
        `line` is the index of its beginning, `fence` is open before it. Cuts that create no fence
        are preferred: a run of backticks that comes to the beginning of a part would open a code
        block."""
        fitting = self._possible_cuts()
        last = next(fitting)  # there is one: `split_text` refuses a limit without room for text
        # A cut at the line's beginning or before it does not divide the line.
        if last.end <= line or self._keeps_fences(last, fence):
            return last
        near = (cut for cut in islice(fitting, _MAX_CUT_TRIES) if cut.end > line)
        return next((cut for cut in near if self._keeps_fences(cut, fence)), last)

    def _possible_cuts(self) -> Iterator[_Cut]:
        """Yield the last possible place first. Each leaves room for the line that closes a code
        block which is open at the cut."""
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
        rest = self._line(cut.next)
        return self._open_at(cut.end) == fence == fence_after_line(rest, fence, self.longest)

    def _line(self, start: int) -> str:
        end = self.text.find("\n", start, start + self.room)
        return self.text[start : end if end >= 0 else start + self.room]

    def _open_at(self, end: int) -> Fence | None:
        return fence_after_text(self.text[self.start : end], self.fence, self.longest)

    def _fits(self, end: int, fence: Fence | None) -> bool:
        return end - self.start + len(self._closing(fence)) <= self.room

    def _closing(self, fence: Fence | None) -> str:
        ours = self.held if fence is self.fence else fence
        return f"\n{ours.closing}" if ours else ""


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
