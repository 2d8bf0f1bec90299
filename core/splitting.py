"""A long answer in posts: cut where a reader would, code blocks closed and opened again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from core.fences import Fence, after, after_all, dedent
from core.graphemes import whole

SMALLEST = 32

_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]*_]*(?=[ \t])|[。！？]")
_WORD = re.compile(r"(?<=\S)(?=[ \t])")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")
_ROW = re.compile(r"[ \t]*\|")
_BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")
_SPACES = re.compile(r"[ \t]*")
_REACH = 64


Size = Callable[[str], int]
"""How much a text counts against a limit: the sum of its characters, each of which counts between
one and `HEAVIEST`; a fence's marks count one each."""
HEAVIEST = 5


def longest_info(limit: int, size: Size = len) -> int:
    """Characters of a code block's info string that are repeated in the next part."""
    return limit // 4 if size is len else limit // 4 // HEAVIEST


def split(text: str, limit: int, size: Size = len) -> tuple[str, ...]:
    """`text` in parts of at most `limit` characters, fences included; () when it says nothing.

    Where a platform counts otherwise than in characters, `size` is its measure. Cut between
    paragraphs, else lines (so that table rows stay whole), else sentences, words, characters. A
    code block that is cut is closed, and opened again with its info string. Nothing else is lost
    but white space at the seams. Raises ValueError for a limit under `SMALLEST`, where every
    character counts as much as one can.
    """
    smallest = SMALLEST if size is len else SMALLEST * HEAVIEST
    if limit < smallest:
        raise ValueError(f"a limit of {limit} characters is under {smallest}")
    text = text.rstrip()
    parts: list[str] = []
    start, fence = _skip_blank_lines(text, 0), None
    while start < len(text):
        part, start, fence = _Part(text, start, fence, limit, size).take()
        if part:
            parts.append(part)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The part ends at `end` with `fence` open; the next one starts at `next` within `goes_on`.

    `rank`: 0 between paragraphs, 1 between lines, 2 where it should rather not be.
    """

    end: int
    next: int
    fence: Fence | None
    goes_on: Fence | None
    rank: int = 2


class _Part:
    """One part of `text`, from `start`, which stands within `fence`."""

    def __init__(self, text: str, start: int, fence: Fence | None, limit: int, size: Size) -> None:
        self.text, self.start, self.fence = text, start, fence
        self.longest = longest_info(limit, size)
        self.held = fence.continued(self.longest) if fence else None
        self.head = f"{self.held.opening}\n" if self.held else ""
        self.room = _room(text, start, limit - size(self.head), size)
        self.stop = min(start + self.room, len(text))

    def take(self) -> tuple[str, int, Fence | None]:
        """The part as it is posted ("" for blank lines), and where the next one starts."""
        cut = self._all() or self._best()
        body = self.text[self.start : cut.end]
        if self.fence:
            body = dedent(body, self.fence)
        part = f"{self.head}{body}{self._closing(cut.fence)}" if body.strip() else ""
        if cut.goes_on:
            return part, cut.next, cut.goes_on
        return part.rstrip(), _skip_blank_lines(self.text, cut.next), None

    def _all(self) -> _Cut | None:
        end = len(self.text)
        if end > self.stop or not self._fits(end, fence := self._open_at(end)):
            return None
        return _Cut(end, end, fence, None)

    def _best(self) -> _Cut:
        cuts, line, fence = self._lines()
        third, half = self.start + self.room // 3, self.start + self.room // 2
        prose = fence is None and not _ROW.match(self.text, line)
        return (
            _furthest(cuts, 0, third)
            or _furthest(cuts, 1, half)
            or (self._within(_SENTENCE, line, fence, half) if prose else None)
            or (self._within(_WORD, line, fence, half) if prose else None)
            or _furthest(cuts, 2, self.start)
            or self._within(_WORD, line, fence, self.start)
            or self._anywhere(line, fence)
        )

    def _lines(self) -> tuple[list[_Cut], int, Fence | None]:
        """The cuts at ends of lines, then the line that does not fit and the fence before it."""
        cuts: list[_Cut] = []
        line, fence, headed = self.start, self.fence, False
        while (end := self.text.find("\n", line, self.stop + 1)) >= 0:
            said = self.text[line:end]
            now = after(said, fence, self.longest)
            headed = bool(_HEADING.match(said)) or (headed and not said.strip())
            if self._fits(end, now) and (now is None or fence is not None):
                cuts.append(self._cut_after(said, end, fence, now, headed))
            line, fence = end + 1, now
        return cuts, line, fence

    def _cut_after(
        self, said: str, end: int, before: Fence | None, now: Fence | None, headed: bool
    ) -> _Cut:
        """The cut after the line `said`, which ends at `end`."""
        following = self._line(end + 1)
        opens = after(following, now, self.longest)
        if now:
            if opens is None:  # the closing fence that comes next is the one that we add
                return _Cut(end, end + 1 + len(following), now, None, rank=0)
            return _Cut(end, end + 1, now, now, rank=1)
        loose = not said.strip() or not following.strip() or bool(_HEADING.match(following))
        rank = 2 if headed else 0 if before or opens or loose else 1
        return _Cut(end, end + 1, None, None, rank)

    def _within(
        self, pattern: re.Pattern[str], line: int, fence: Fence | None, least: int
    ) -> _Cut | None:
        """The last cut at `pattern` in the line that does not fit; rather not in a code span."""
        ends = [match.end() for match in pattern.finditer(self.text, line, self.stop)]
        fitting = [end for end in reversed(ends) if end > least and self._fits(end, fence)]
        cuts = (self._cut_at(end, fence) for end in fitting[:_REACH])
        tame = [cut for cut in cuts if self._tame(cut, fence)]
        return next((cut for cut in tame if not self._in_code_span(line, cut.end)), None) or (
            tame[0] if tame else None
        )

    def _anywhere(self, line: int, fence: Fence | None) -> _Cut:
        """The last cut that fits between two characters; one that forges no fence if need be."""
        fitting = self._places()
        last = next(fitting)
        if last.end <= line or self._tame(last, fence):
            return last
        near = (cut for cut in islice(fitting, _REACH) if cut.end > line)
        return next((cut for cut in near if self._tame(cut, fence)), last)

    def _places(self) -> Iterator[_Cut]:
        end = self.stop
        while end > self.start:
            place = whole(self.text, end, self.start)
            place = place if place > self.start else end
            now = self._open_at(place)
            if self._fits(place, now):
                yield self._cut_at(place, now)
                end = place - 1
            else:
                end = min(place - 1, self.start + self.room - len(self._closing(now)))

    def _cut_at(self, end: int, fence: Fence | None) -> _Cut:
        start = end if fence else _skip_spaces(self.text, end)
        return _Cut(end, start, fence, fence)

    def _tame(self, cut: _Cut, fence: Fence | None) -> bool:
        """Neither side of the cut turns into a fence that the whole line was not."""
        rest = self._line(cut.next)
        return self._open_at(cut.end) == fence == after(rest, fence, self.longest)

    def _in_code_span(self, line: int, end: int) -> bool:
        return self.text.count("`", line, end) % 2 == 1

    def _line(self, start: int) -> str:
        """The line that starts there, as far as it could fit into one part."""
        end = self.text.find("\n", start, start + self.room)
        return self.text[start : end if end >= 0 else start + self.room]

    def _open_at(self, end: int) -> Fence | None:
        return after_all(self.text[self.start : end], self.fence, self.longest)

    def _fits(self, end: int, fence: Fence | None) -> bool:
        return end - self.start + len(self._closing(fence)) <= self.room

    def _closing(self, fence: Fence | None) -> str:
        ours = self.held if fence is self.fence else fence
        return f"\n{ours.closing}" if ours else ""


def _room(text: str, start: int, limit: int, size: Size) -> int:
    """How many characters fit that begin at `start`; what is left beyond the text counts singly."""
    if size is len:
        return limit
    fits, over = 0, min(limit, len(text) - start) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if size(text[start : start + middle]) <= limit:
            fits = middle
        else:
            over = middle
    if start + fits < len(text):
        return fits
    return fits + limit - size(text[start:])


def _furthest(cuts: list[_Cut], rank: int, least: int) -> _Cut | None:
    return next((cut for cut in reversed(cuts) if cut.rank <= rank and cut.end > least), None)


def _skip_blank_lines(text: str, start: int) -> int:
    match = _BLANK_LINES.match(text, start)
    return match.end() if match else start


def _skip_spaces(text: str, start: int) -> int:
    match = _SPACES.match(text, start)
    return match.end() if match else start
