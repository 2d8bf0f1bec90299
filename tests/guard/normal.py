"""Text and data without ids, times and ports, so that two runs give the same lines.

An id is replaced by `id-N` in the order of first appearance. Equal ids get equal labels, so a dump
still shows which thread, turn or change a line refers to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_NUMBERED = r"(?:[A-Z][A-Za-z]{0,2}|hook-|trigger\.|envelope-|msg-)\d{6}"
_PATTERNS = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"(?<![\d.])1\d{9}\.\d{6}(?!\d)",  # Slack's time stamps
    r"(?<![0-9a-f])\d{17,20}(?![0-9a-f])",  # Discord's ids; a digest can begin like one
    r"[a-z]{1,5}_(?:\d{24}|[0-9a-f]{12,64})",  # the ids of OpenAI's double
    rf"(?<![A-Za-z0-9]){_NUMBERED}(?![0-9A-Za-z])",
    r"(?<![0-9A-Za-z])[0-9A-HJKMNP-TV-Z]{26}(?![0-9A-Za-z])",
    r"(?<![0-9A-Za-z])(?=[a-f]*\d)[0-9a-f]{12,64}(?![0-9A-Za-z])",
    r"(?<![0-9A-Za-z])[a-z2-7]{16}(?![0-9A-Za-z])",  # ids of turns, and words that look alike
    r"(?<![0-9A-Za-z_-])(?=[\w-]*\d)(?=[\w-]*[A-Z])[A-Za-z0-9_-]{22,64}(?![0-9A-Za-z_-])",
    r"(?<![0-9A-Za-z_-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{43}(?![0-9A-Za-z_-])",
)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:(?!00(?![.\d]))\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|(?<!\d)1[67]\d{8}(?!\d)(?:\.\d+)?|(?<![\d.])\d+\.\d{3,}(?!\d)"
)
_CODE = re.compile(r"(?<=approve )(id-\d+|#)-\d{4}(?!\d)")
"""What is typed to approve exactly what was shown; its digits are random."""
_SINCE = re.compile(r"(?<=since:)\d{17,20}(?!\d)")
"""An id of Discord that is a moment: two of them are equal if they were made in one millisecond."""
_BLOCK = re.compile(r"(?<![A-Za-z0-9])b1\d{5}(?![0-9A-Za-z])")
"""The id that Slack's double gives to a block when somebody reads it. How often that happens
depends on how fast a card is redrawn."""
EPOCH_SECONDS = range(1_600_000_000, 2_000_000_000)


class Normal:
    """Replaces ids and times. `known` are exact ids of this dialogue, as of changes and turns;
    `names` maps other texts (addresses, folders) to what stands in their place."""

    def __init__(self, known: Iterable[str], names: Mapping[str, str]) -> None:
        exact = [
            rf"(?<![A-Za-z0-9]){re.escape(id)}(?![A-Za-z0-9])"
            for id in sorted(set(known), key=lambda id: (-len(id), id)) if id
        ]  # fmt: skip
        self._names = sorted(names.items(), key=lambda pair: -len(pair[0]))
        self._ids = re.compile("|".join([*exact, *_PATTERNS]))
        self._labels: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return the text with labels."""
        return self._replace(text, self._label)

    def line(self, value: Any) -> str:
        """Return a value as one line of JSON with labels."""
        return json.dumps(self._walk(value, self._label), ensure_ascii=False, sort_keys=True)

    def key(self, value: Any) -> str:
        """Return the line without any label, by which lines of no fixed order are sorted."""
        return json.dumps(self._walk(value, lambda id: "#"), ensure_ascii=False, sort_keys=True)

    def find_ids(self, value: Any) -> list[str]:
        """Return the ids of a value."""
        found: list[str] = []

        def note(id: str) -> str:
            found.append(id)
            return "#"

        self._walk(value, note)
        return found

    def known_label(self, id: str) -> str:
        """Return the label that an id has already, "" for none."""
        return self._labels.get(id, "")

    def _label(self, id: str) -> str:
        return self._labels.setdefault(id, f"id-{len(self._labels) + 1}")

    def _replace(self, text: str, label: Any) -> str:
        for found, name in self._names:
            text = text.replace(found, name)
        text = _BLOCK.sub("block", _SINCE.sub("time", text))
        text = self._ids.sub(lambda match: label(match[0]), text)
        return _TIME.sub("time", _CODE.sub(r"\1-code", text))

    def _walk(self, value: Any, label: Any) -> Any:
        match value:
            case bool() | None:
                return value
            case int() if value > 10**16:  # an id of Discord
                return self._replace(str(value), label)
            case int() | float():
                return _number(value)
            case str():
                return self._text_or_json(value, label)
            case bytes():
                return f"{len(value)} bytes"
            case dict():
                pairs = sorted(value.items(), key=lambda pair: self._replace(str(pair[0]), _mask))
                return {
                    self._replace(str(k), label): self._walk(_sort_needs(k, v), label)
                    for k, v in pairs
                }
            case _:
                return [self._walk(each, label) for each in value]

    def _text_or_json(self, text: str, label: Any) -> Any:
        if text[:1] in ("{", "["):
            try:
                return self._walk(json.loads(text), label)
            except ValueError:
                pass
        return self._replace(text, label)


def _sort_needs(name: Any, value: Any) -> Any:
    """Return the value; the rights that an outcome needs are a set, so they are sorted."""
    return sorted(value) if name == "needs" and isinstance(value, list) else value


def _mask(_: str) -> str:
    return "#"


def _number(value: float) -> Any:
    """A moment of this run is `time`. One that a rule names is a whole minute and stays."""
    if int(value) in EPOCH_SECONDS and value % 60:
        return "time"
    if isinstance(value, float) and value != round(value, 2):
        return "number"
    return value
