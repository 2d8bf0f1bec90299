"""Disables Slack's control sequences in text that other people or systems wrote."""

from __future__ import annotations

import re

from core.base.commonmark import parse_blocks
from core.base.markdown import is_too_complex
from core.base.text import change_outside_code

_JOINER = "\u2060"  # word joiner: invisible, allows no line break; it disables control sequences
_CONTROL = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam|date)|@[A-Z]|#[A-Z])", re.I)
_EXACT = re.compile(
    r"<(?=(?:!(?:channel|here|everyone|group|subteam\^|date\^)[^<>\n]*"
    r"|[@#][A-Z][A-Z0-9]{5,}(?:\|[^<>\n]*)?)>)", re.I,
)  # fmt: skip
"""Exactly a control sequence of Slack, and not `List<@NonNull String>`."""
_UNSURE = re.compile(r"\\`|<[^<>\s`]*`")
"""A backtick that may not begin or end code: an escaped one, and one in an address."""
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.I)


def neutral(text: str) -> str:
    """Return the text with Slack's control sequences disabled, so that it notifies no person, group
    or channel."""
    return _AT_ALL.sub("@" + _JOINER, _CONTROL.sub("<" + _JOINER, text))


def neutral_markdown(text: str) -> str:
    """Return Markdown with Slack's control sequences disabled. People copy code, so nothing
    invisible is put into it: there, a space shows where a control sequence was."""
    if neutral(text) == text or is_too_complex(text):
        return neutral(text)
    blocks = [token.map for token in parse_blocks(text)
              if token.type in ("fence", "code_block") and token.map]  # fmt: skip
    code = {at for start, end in blocks for at in range(start, end)}
    return "\n".join(
        _EXACT.sub("< ", line) if at in code else _neutral_line(line)
        for at, line in enumerate(text.split("\n"))
    )


def _neutral_line(line: str) -> str:
    """Return a line outside code blocks. Code spans that Slack may read in another way count as
    prose."""
    if _UNSURE.search(line):
        return neutral(line)
    return change_outside_code(
        line, neutral, lambda code: neutral(code) if "|" in code else _EXACT.sub("< ", code)
    )
