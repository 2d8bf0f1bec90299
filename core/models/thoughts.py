"""Removes a model's thoughts from the text of its answer, also while the text streams in.

Servers that have no parser for a model send its thoughts as text, between tags such as
`<think>` and `</think>` (Ollama, llama.cpp, vLLM and others). Tags count where models write them:

- An opening tag begins a thought at the start of a line, outside code. Without its closing tag it
  is a thought to the end at the start of an answer, and text everywhere else.
- A closing tag without an opening one ends a thought that began with the answer: some templates put
  the opening tag into the prompt. A tag between spaces in the middle of a line is text, and so is
  any tag in code, and a closing tag after the first thought.
"""

from __future__ import annotations

import re

from core.base.text import Fence, fence_after_line

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
TAGS = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel>thought": "<channel|>",
    "<|channel|>analysis<|message|>": "<|start|>assistant<|channel|>final<|message|>",
}
"""The closing tag of each opening tag, in lower case."""
_TAG = re.compile("|".join(map(re.escape, [*TAGS, *TAGS.values()])), re.IGNORECASE)
_TAG_BEGIN = re.compile(r"[<\[◁]")
_BEGINNINGS = frozenset(tag[:end] for tag in (*TAGS, *TAGS.values()) for end in range(1, len(tag)))
_MAX_TAG_CHARACTERS = max(map(len, _BEGINNINGS)) + 1
_SPACE = re.compile(r"\s*")
MAX_BLANK_CHARACTERS = 500
"""Spaces at the start of an answer that wait for what follows them."""
_MAX_FENCE_LINE_CHARACTERS = 200
"""Characters of a line in which the mark of a code block is looked for."""


def remove_thoughts(text: str) -> str:
    """Return the text of an answer without the model's thoughts."""
    if not _TAG.search(text):
        return text
    growing = GrowingAnswer()
    growing.add(text)
    growing.end()
    return growing.text


class GrowingAnswer:
    """The text of an answer as it streams in, without thoughts.

    `has_thoughts`: a thought has ended. `is_unopened`: the first one was not opened by a tag.
    """

    def __init__(self) -> None:
        self.has_thoughts = self.is_unopened = False
        self._parts: list[str] = []
        self._held = ""
        """Text of which is not known yet whether it is shown: the beginning of a tag, or spaces at
        the start."""
        self._closing: re.Pattern[str] | None = None
        self._thought: list[str] = []
        """The parts of the open thought, with its tag."""
        self._skips_space = False
        self._fence: Fence | None = None
        self._line = ""
        self._is_line_blank = True
        self._ticks = 0
        self._is_blank = True
        self._last = ""
        """The last character of the text."""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def add(self, piece: str, *, is_last: bool = False) -> str:
        """Add a piece of the answer. Return the text that can be shown now, after `text` so far.

        If `is_unopened` becomes true, the text before counts no more.
        """
        text, self._held, at = self._held + piece, "", 0
        shown = len(self._parts)
        while at < len(text):
            if self._closing:
                at = self._skip_thought(text, at, self._closing, is_last)
                continue
            after_thought = self._skips_space
            if after_thought:
                at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
                self._skips_space = at == len(text)
            tag = _TAG.search(text, at)
            # What follows a closing tag tells whether it is one.
            if tag is None or (tag.end() == len(text) and not is_last):
                end = tag.start() if tag else len(text) if is_last else _find_tag_begin(text, at)
                if self._is_blank and end < MAX_BLANK_CHARACTERS and not text[at:end].strip():
                    end = at
                self._held = text[end:]
                self._show(text[at:end])
                break
            is_closed_twice = after_thought and tag.start() == at and tag[0].lower() not in TAGS
            self._show(text[at : tag.start()])
            at = tag.end()
            if is_closed_twice:
                self._skips_space = True
                continue
            self._read_tag(tag[0], text[at : at + 1])
            shown = min(shown, len(self._parts))
        return "".join(self._parts[shown:])

    def end(self) -> None:
        """Add the rest of the text, once the answer has ended."""
        self.add("", is_last=True)
        if self._closing and not self._is_blank:  # nothing closes the tag
            self._held = "".join(self._thought)
        self._parts.append(self._held)
        self._held, self._closing = "", None

    def _skip_thought(self, text: str, at: int, closing: re.Pattern[str], is_last: bool) -> int:
        """Return the index after the open thought, or after the text if it goes on."""
        if found := closing.search(text, at):
            self._closing, self._thought = None, []
            self.has_thoughts = self._skips_space = True
            return found.end()
        end = len(text) if is_last else max(at, len(text) - _MAX_TAG_CHARACTERS)
        self._thought.append(text[at:end])
        self._held = text[end:]
        return len(text)

    def _read_tag(self, tag: str, after: str) -> None:
        """Read a tag, which begins or ends a thought or is text. `after` is the next character."""
        closing = TAGS.get(tag.lower())
        is_code = self._fence is not None or self._ticks % 2 == 1
        # A sentence that mentions the tag.
        is_mention = self._last in tuple(" \"'(") and after in tuple(" \"').,")
        if closing and self._is_line_blank and not is_code:
            if self._is_blank:
                self._parts.clear()
            self._closing, self._thought = re.compile(re.escape(closing), re.I), [tag]
        elif closing or is_code or self.has_thoughts or is_mention:
            self._show(tag)
        else:
            self._parts.clear()
            self.is_unopened = self.has_thoughts = self._skips_space = True
            self._line, self._is_line_blank, self._is_blank = "", True, True

    def _show(self, text: str) -> None:
        if not text:
            return
        self._parts.append(text)
        self._last = text[-1]
        self._is_blank = self._is_blank and not text.strip()
        for number, line in enumerate(text.split("\n")):
            if number:
                self._fence = fence_after_line(self._line, self._fence, _MAX_FENCE_LINE_CHARACTERS)
                self._line, self._is_line_blank, self._ticks = "", True, 0
            self._line = (self._line + line)[:_MAX_FENCE_LINE_CHARACTERS]
            self._is_line_blank = self._is_line_blank and not line.strip()
            self._ticks += line.count("`")


def _find_tag_begin(text: str, start: int) -> int:
    """Return the index at which a tag begins that the text ends in; its length if none does."""
    for found in _TAG_BEGIN.finditer(text, max(start, len(text) - _MAX_TAG_CHARACTERS)):
        if text[found.start() :].lower() in _BEGINNINGS:
            return found.start()
    return len(text)
