"""Markdown that grows while a model writes it: what of it can be shown already."""

from __future__ import annotations

import re

from core.base import commonmark
from core.base.markdown import is_too_complex
from core.base.trust import HOT, Trust

_FENCE = re.compile(r"^(?:[ \t>]|[-*+] |\d{1,9}[.)] ){0,99}```", re.MULTILINE)


class GrowingMarkdown:
    """Sanitizes the text of an answer while it grows, so that no half of a link is shown.

    The end of the text is held back while it could still become another link.
    """

    def __init__(self) -> None:
        self._trust = Trust()
        """What the last `render` was called with. This first one allows no address."""
        self._source = ""
        """The ended blocks. `_done` is their sanitized form, so that they are parsed only once."""
        self._done = ""
        self._stray_ticks: commonmark.StrayTicks = 0
        self._shown = ""
        """The part that was returned last. It is returned again while the text has hardly grown."""
        self._length = 0

    def render(self, text: str, trust: Trust) -> str:
        """`text` is the whole text so far. Return the part that later text cannot change.

        If it does not continue the text of the call before, or `trust` has changed, start again
        from its beginning.
        """
        if not trust.links_anything:  # as in a pipe or a file, which links nothing
            return text
        # A file or a source that came meanwhile changes which links are allowed.
        if trust != self._trust or not text.startswith(self._source):
            self._trust, self._source, self._done, self._stray_ticks = trust, "", "", 0
            self._shown, self._length = "", 0
        tail = text[len(self._source) :]
        # A block that has not ended is parsed again only after it grew by 5 %: to parse it for each
        # piece would take time that grows with the square of its length.
        if self._length and abs(len(text) - self._length) < len(tail) // 20:
            return self._shown
        self._length = len(text)
        # What is finished goes from `tail` to `_source`, and its safe form to `_done`, so that it
        # is not parsed again.
        if end := ended_blocks_length(tail) or self._last_line_start(tail):
            block = tail[:end]
            self._done += trust.sanitize(block, self._stray_ticks)
            self._stray_ticks = commonmark.find_code_lines(
                block, block.split("\n"), self._stray_ticks
            ).stray_ticks
            self._source += block
            tail = tail[end:]
        self._shown = self._done + trust.sanitize(tail[: settled_length(tail)], self._stray_ticks)
        return self._shown

    def _last_line_start(self, text: str) -> int:
        """Return the index of the last line that begins something of its own, such as an item of a
        long list; 0 if it may still belong together with what follows. The text before it is
        finished, and need not be parsed again."""
        # `- 1`: a line break at the very end belongs to the last line.
        end = text.rfind("\n", 0, max(0, len(text) - 1)) + 1
        # An indented line belongs to the item before it.
        while end and text[end : end + 1].isspace():
            end = text.rfind("\n", 0, end - 1) + 1
        before = text[:end]
        if not before or is_too_complex(before) or settled_length(before) < end:
            return 0
        # Unpaired backticks (`stray_ticks`) change what Discord reads as code later, and on lines
        # in `disputed` platforms disagree about that.
        code = commonmark.find_code_lines(before, before.split("\n"), self._stray_ticks)
        return 0 if code.stray_ticks or code.disputed else end


def settled_length(text: str) -> int:
    """Only whole words and whole links count, because later text does not change what they mean. In
    an open code block the length ends before the first address, because the block may turn out to
    be no code."""
    end = max(text.rfind(" "), text.rfind("\n")) + 1
    # A bracket or a backtick has its partner in the same paragraph, so only the last one matters.
    block = text.rfind("\n\n", 0, end) + 1
    # An odd number of fences: a code block is open. Only whole lines of it count.
    if len(_FENCE.findall(text, 0, end)) % 2:
        return length_before_open_address(text[: text.rfind("\n", 0, end) + 1])
    bracket = text.rfind("[", block, end)
    if bracket >= 0:
        close = text.find("]", bracket, end)
        # The label `[…]` or the target `(…)` of a link has not ended.
        if close < 0 or (text[close + 1 : close + 2] == "(" and text.find(")", close, end) < 0):
            end = bracket
    # A code span that has not ended: what follows decides whether it is one.
    if text.count("`", block, end) % 2:
        end = text.rfind("`", block, end)
    return end


def length_before_open_address(text: str) -> int:
    """Return the length up to the line with the first address in an open code block: without an
    end, the block may turn out to be no code."""
    fences = [match.start() for match in _FENCE.finditer(text)]
    # With an odd number of fences, the last one opens a block.
    hot = HOT.search(text, fences[-1]) if len(fences) % 2 else None
    return text.rfind("\n", 0, hot.start()) + 1 if hot else len(text)


def ended_blocks_length(text: str) -> int:
    """Return the index at which the last top-level block of a growing Markdown text starts; 0 if
    there is only one. Later text does not change the blocks before it, so they are finished.

    An incomplete last line is ignored, because it can still change the structure.
    """
    text = text[: text.rfind("\n") + 1]
    if is_too_complex(text):  # it is not parsed, so nothing counts as finished
        return 0
    # A token that closes a block has the nesting -1.
    starts = [
        t.map[0] for t in commonmark.parse_blocks(text) if t.map and t.level == 0 and t.nesting >= 0
    ]
    if len(starts) < 2:
        return 0
    return sum(len(line) + 1 for line in text.split("\n")[: starts[-1]])
