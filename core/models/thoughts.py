"""Separates the model's thoughts from the text of its answer.

Servers that have no parser for a model send its thoughts as text, between tags such as
`<think>` and `</think>` (Ollama, llama.cpp, vLLM and others). Tags count where models write them:

- An opening tag begins a thought at the start of a line, outside code; one such as `<|think|>`
  anywhere. Without its closing tag it is a thought to the end at the start of an answer, and text
  everywhere else.
- A closing tag without an opening one ends a thought that began with the answer: some templates put
  the opening tag into the prompt. A tag between spaces in the middle of a line is text, and so is
  any tag in code, and a closing tag after the first thought.

Thoughts that no tag opens are shown until their end comes. From then on, the text of that model
is shown only after it.
"""

from __future__ import annotations

import re

from core.models.written_calls import MAX_BARE_CALL_CHARACTERS, OPENINGS, GrowingCode

_NAMES = """\
think
thinking
thought
thoughts
reasoning
seed:think
mm:think
antthinking
thought_process
scratchpad
""".splitlines()
_FINAL = tuple(
    f"{start}<|channel|>final{form}<|message|>"
    for start in ("", "<|start|>assistant")
    for form in ("", " <|constrain|>json", "<|constrain|>json")
)
TAGS: dict[str, tuple[str, ...]] = {
    # Some models open one of these and close another.
    **dict.fromkeys((f"<{name}>" for name in _NAMES), tuple(f"</{name}>" for name in _NAMES)),
    "[think]": ("[/think]",),
    "<|think|>": ("<|/think|>",),
    "◁think▷": ("◁/think▷",),
    "<|begin_of_thought|>": ("<|end_of_thought|>",),
    "<|start_thinking|>": ("<|end_thinking|>",),
    "<|channel>thought": ("<channel|>",),
    "<|channel|>analysis<|message|>": ("<|end|>", *_FINAL),
    "<|start|>assistant<|channel|>analysis<|message|>": ("<|end|>", *_FINAL),
}
_MARKS = (
    *_FINAL,
    *"""\
<|channel|>commentary<|message|>
<|start|>assistant<|channel|>commentary<|message|>
<|end|>
<|return|>
<|call|>
<|im_end|>
<|eot_id|>
<|endoftext|>
<|end_of_text|>
<|end_of_turn|>
<end_of_turn>
<｜end▁of▁sentence｜>
<|begin_of_box|>
<|end_of_box|>
""".splitlines(),
)
"""Marks around a message that servers without a parser for a model leave in the text (gpt-oss,
Qwen, Llama, Gemma, DeepSeek, GLM). They are not shown."""
_ALL_TAGS = {*TAGS, *_MARKS, *OPENINGS, *(tag for closings in TAGS.values() for tag in closings)}
_FIRSTS = re.escape("".join(tag[0] for tag in _ALL_TAGS))
# One look at a character spares the search the list of all tags.
_TAG = re.compile(
    f"(?=[{_FIRSTS}])(?:{'|'.join(map(re.escape, sorted(_ALL_TAGS)))})", re.IGNORECASE
)
# A letter within a word begins no tag.
_TAG_BEGIN = re.compile(rf"[{_FIRSTS}](?<![^\W_][^\W_])", re.IGNORECASE)
_BEGINNINGS = frozenset(tag[:end] for tag in _ALL_TAGS for end in range(1, len(tag)))
_MAX_TAG_CHARACTERS = max(map(len, _BEGINNINGS)) + 1
_SPACE = re.compile(r"\s*")
_MENTION = re.compile(r"[ \xa0\u202f\"'(*_“‘«„‹「][ \xa0\u202f\"').,:;!?*_”’»›」](?![{\[<])")
MAX_BLANK_CHARACTERS = 500
_BARE_CALL = re.compile(
    r'\s*(?:\{\s*"(?:name|type|function|tool_name)"\s*:|\[\s*(?:\{\s*"(?:name|type)"\s*:|[\w.]+\()'
    r'|(?:\{[\s"a-z_]{0,20}|\[[\s\w."{]{0,80})\Z)'
)
"""The beginning of an answer that may be nothing but a call. It is shown once that is known."""


def remove_thoughts(text: str) -> str:
    return read_whole(text)[0]


def read_whole(text: str) -> tuple[str, str]:
    """Return what `remove_thoughts` returns, and the calls that the model wrote into the text."""
    if not _TAG.search(text):
        return text, ""
    growing = GrowingAnswer()
    growing.add(text)
    growing.end()
    return growing.text, growing.calls


class GrowingAnswer:
    """The text of an answer as it streams in, without thoughts, and without tool calls that the
    model wrote as text."""

    def __init__(self) -> None:
        # `has_thoughts`: a thought has ended, so a later closing tag that nothing opened is text.
        # `is_unopened`: the first thought had no opening tag, so what was shown of it is withdrawn.
        self.has_thoughts = self.is_unopened = False
        # The first tool call that the model wrote into its text, with all that follows it.
        self.calls = ""
        # `_parts`, `_last` and `_code` describe what is shown so far, `_closing` and `_thought` the
        # thought that is open.
        self._parts: list[str] = []
        self._held = ""
        """Text of which is not known yet whether it is shown: the beginning of a tag, or spaces at
        the start."""
        self._closing: re.Pattern[str] | None = None
        self._thought: list[str] = []
        self._skips_space = False  # a thought has just ended: the space after it is not shown
        # Tells at a tag whether it is inside code, where it is text. Only there it reads what is
        # shown, which waits in `_unread`.
        self._code, self._unread = GrowingCode(), list[str]()
        self._is_blank = True
        """Nothing but space is shown so far, so the answer may still begin with a thought or be
        nothing but a call."""
        self._last = ""
        """The last character shown. With the characters after a tag, it tells whether a sentence
        only mentions the tag."""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, piece: str, *, is_last: bool = False) -> str:
        """Add a piece of the answer. Return the text that can be shown now, after `text` so far.

        If `is_unopened` becomes true, the text before counts no more. `is_last`: the answer ends
        with this piece, so nothing waits for a next one.

        A piece may end anywhere. `_closing` is the pattern that ends an open thought. `_held` is
        the end of a piece that may be the beginning of a tag, or that is blank so far: it waits for
        the next piece. `_skips_space`: a thought has ended, and the space after it is not shown.
        """
        text, self._held, at = self._held + piece, "", 0
        part_count = len(self._parts)
        # `at` is the index up to which the text has been read. Each pass shows text, skips a
        # thought, or reads one tag.
        while at < len(text):
            if self.calls:
                self.calls += text[at:]
                break
            if self._closing:
                at = self._skip_thought(text, at, self._closing, is_last)
                continue
            # Space after a thought is not shown.
            after_thought = self._skips_space
            if after_thought:
                at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
                self._skips_space = at == len(text)
            # An answer that begins like a bare call waits until it is known to be none.
            may_be_call = self._is_blank and len(text) - at < MAX_BARE_CALL_CHARACTERS
            if may_be_call and not is_last and _BARE_CALL.match(text, at):
                self._held, self._skips_space = text[at:], after_thought
                break
            tag = _TAG.search(text, at)
            # Whether a tag counts is decided with the two characters after it, so a tag at the end
            # of the piece waits for the next one.
            if tag is None or (len(text[tag.end() :].lstrip(" ")) < 2 and not is_last):
                end = tag.start() if tag else len(text) if is_last else _find_tag_begin(text, at)
                # Blank space at the start waits, too: a thought may follow it.
                if self._is_blank and end < MAX_BLANK_CHARACTERS and not text[at:end].strip():
                    end = at
                self._held = text[end:]
                self._skips_space = after_thought and end == at
                self._show(text[at:end])
                break
            # Some models close a thought twice; the second tag is not text either.
            is_second = after_thought and tag.start() == at
            self._show(text[at : tag.start()])
            # What stands in a word is text, but a tag may begin within it.
            if tag[0][0].isalpha() and self._last.isalnum():
                at = tag.start() + 1
                self._show(text[tag.start()])
                continue
            at = tag.end()
            if is_second and tag[0].lower() not in (*TAGS, *OPENINGS):
                self._skips_space = True
                continue
            self._code.add("".join(self._unread))
            self._unread.clear()
            if self._code.ticks:  # a tag in a code span is text, if the span ends
                span_end = self._code.find_span_end(text, at, is_last=is_last)
                if span_end is None:  # the next piece tells
                    self._held = text[tag.start() :]
                    break
                if span_end:
                    self._show(text[tag.start() : span_end])
                    at = span_end
                    continue
                self._code.ticks = 0
            self._read_tag(tag[0], text[at : at + 2])
            # The tag may have withdrawn all parts: what came before it was a thought.
            part_count = min(part_count, len(self._parts))
        return "".join(self._parts[part_count:])

    def end(self) -> None:
        """A thought that is still open counts as text, unless the answer began with it; a call that
        the model wrote into such a thought is read as one."""
        # The last characters, which `add` may hold back (`_held`) as the beginning of a tag, are
        # final now.
        self.add("", is_last=True)
        thought = "".join(self._thought)
        if not self._is_blank:  # text was shown before the tag, and nothing closes it
            self._held = thought or self._held
        elif call := next((m for m in _TAG.finditer(thought) if m[0].lower() in OPENINGS), None):
            self.calls = thought[call.start() :]
        self._parts.append(self._held)
        self._held, self._closing = "", None

    def _skip_thought(self, text: str, at: int, closing: re.Pattern[str], is_last: bool) -> int:
        """Return the index after the open thought, or after the text if it goes on. The last
        characters wait in `_held`, because they may be the beginning of the closing tag."""
        if match := closing.search(text, at):
            self._closing, self._thought = None, []
            self.has_thoughts = self._skips_space = True
            return match.end()
        end = len(text) if is_last else max(at, len(text) - _MAX_TAG_CHARACTERS)
        self._thought.append(text[at:end])
        self._held = text[end:]
        return len(text)

    def _read_tag(self, tag: str, after: str) -> None:
        """Read a tag, which begins or ends a thought, begins a call, is a mark that is not shown,
        or is text. `after` has the next characters.

        In code, or between spaces and quotes, a tag is text that a person reads. A closing tag that
        nothing opened ends a thought that began with the answer, so all that was shown before it is
        withdrawn (`is_unopened`). A mention has spaces, quotes or punctuation on both sides. A tag
        that begins a call, and all that follows it, goes to `calls`.
        """
        name = tag.lower()
        closings = TAGS.get(name, ())
        is_code = self._code.is_block and not self._is_blank
        is_mention = _MENTION.match((self._last or "\n") + after) is not None
        is_mark = name in _MARKS and not (is_code or is_mention)
        # gpt-oss marks its final answer so: what came before it was a thought without a tag.
        ends_thought = name in _FINAL and not (self._is_blank or self.has_thoughts)
        if is_mark and not ends_thought:
            return
        if name in OPENINGS and not (is_code or is_mention):
            self.calls = tag
            return
        # Only a tag like `<|think|>` begins a thought within a line; another one there is text.
        is_special = tag.startswith("<|") and not is_mention
        if closings and (self._code.is_line_blank or is_special) and not is_code:
            # What was shown before is only blank space.
            if self._is_blank:
                self._parts.clear()
            self._closing = re.compile("|".join(map(re.escape, closings)), re.IGNORECASE)
            self._thought = [tag]
        elif closings or is_code or self.has_thoughts or is_mention or name in OPENINGS:
            self._show(tag)
        else:
            self._parts.clear()
            self.is_unopened = self.has_thoughts = self._skips_space = self._is_blank = True
            self._code = GrowingCode()

    def _show(self, text: str) -> None:
        if not text:
            return
        self._parts.append(text)
        self._unread.append(text)
        self._last = text[-1]
        self._is_blank = self._is_blank and not text.strip()


def _find_tag_begin(text: str, start: int) -> int:
    for match in _TAG_BEGIN.finditer(text, max(start, len(text) - _MAX_TAG_CHARACTERS)):
        if text[match.start() :].rstrip().lower() in _BEGINNINGS:
            return match.start()
    return len(text)


def remove_cut_mark(text: str) -> str:
    # A word, or one sign, may be meant so.
    end = _find_tag_begin(text, 0)
    return text[:end] if re.search(r"[^\w\s]\S|\S[^\w\s]|assistant\w", text[end:]) else text
