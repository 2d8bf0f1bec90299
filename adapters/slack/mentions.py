"""Disables Slack's control sequences in text that other people or systems wrote."""

from __future__ import annotations

import re

_JOINER = "\u2060"  # word joiner: invisible, allows no line break; it disables control sequences
_CONTROL = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam|date)|@[A-Z]|#[A-Z])", re.I)
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.I)


def neutral(text: str) -> str:
    """Return the text with Slack's control sequences disabled, so that it notifies no person, group
    or channel."""
    return _AT_ALL.sub("@" + _JOINER, _CONTROL.sub("<" + _JOINER, text))
