"""Reads the bodies of errors, which servers and gateways send in many shapes.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send a text or HTML, a text
as `error` or `detail`, lists of objects (FastAPI, Cloudflare, Gemini), or the error of another
server as JSON in a text (OpenRouter). So the keys count, and not where they stand.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

MAX_ERROR_VALUES = 500
"""Values that are read of one body."""
MESSAGE_KEYS = frozenset({
    "message", "msg", "error", "errors", "detail", "details", "description", "reason", "raw",
    "title", "error_message", "error_msg", "status_msg", "error_description", "",
})  # fmt: skip
"""Keys of texts for people. "" stands for a body that is a text."""
STATUS_KEYS = frozenset({"code", "status", "status_code", "statusCode", "http_status"})
CODE_KEYS = frozenset({"code", "error_code", "status"})
TYPE_KEYS = frozenset({"type", "error_type", "status"})
WAIT_KEYS = frozenset({"retryDelay", "retry_after", "retry_after_seconds", "estimated_time"})
HTML_HEADING = re.compile(r"<(?:title|h1)[^>]*>([^<]*)", re.IGNORECASE)
TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h)(?![a-z])", re.IGNORECASE)
WAIT_SENTENCE = re.compile(
    r"\b(?:again|retry|wait)\D{0,30}((?:\d[\d.]* ?(?:ms|[smh]|sec\w*|min\w*|hour\w*)(?![a-z]) ?)+)",
    re.IGNORECASE,
)  # fmt: skip
"""How servers name a time to wait in words: "try again in 1m12.5s", "retry after 59 seconds"."""


@dataclass(frozen=True, slots=True)
class FaultBody:
    """The content of the body of an error.

    `status` is an HTTP status (0: none), `param` the path of a field, `wait` seconds.
    """

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int = 0
    wait: float | None = None


def parse_fault_body(body: object) -> FaultBody:
    """Return what the body of an error says. `body` is decoded JSON or a text."""
    values = list(_list_values(body))

    def texts(keys: frozenset[str]) -> Iterator[str]:
        return (value for key, value in values if key in keys and isinstance(value, str) and value)

    numbers = (_as_number(value) for key, value in values if key in STATUS_KEYS)
    waits = (_as_seconds(value) for key, value in values if key in WAIT_KEYS)
    message = " ".join(dict.fromkeys(texts(MESSAGE_KEYS)))
    if message.startswith("<"):
        message = " ".join(HTML_HEADING.findall(message))
    message = urllib.parse.unquote(message) if "%20" in message else message
    path = [str(value) for key, value in values if key == "loc"]
    sentence = WAIT_SENTENCE.search(message)
    return FaultBody(
        message,
        code=next((text for text in texts(CODE_KEYS) if not _is_status(_as_number(text))), ""),
        type=next((text for text in texts(TYPE_KEYS) if text not in ("error", "object")), ""),
        param=next(texts(frozenset({"param"})), ".".join(path).removeprefix("body.")),
        status=next((int(number) for number in numbers if _is_status(number)), 0),
        wait=next((seconds for seconds in waits if seconds is not None),
                  _as_seconds(sentence[1]) if sentence else None),
    )  # fmt: skip


def _list_values(body: object) -> Iterator[tuple[str, object]]:
    """Yield the texts and numbers in a body with their keys, the outer ones first. JSON in a text
    counts, too."""
    waiting = deque([("", body)])
    for _ in range(MAX_ERROR_VALUES):
        if not waiting:
            return
        key, value = waiting.popleft()
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, each) for each in value)
        else:
            yield key, value


def _as_number(value: object) -> float:
    """Return a number, or the number that a text is, else 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) in (int, float) else 0  # type: ignore[return-value]


def _is_status(number: float) -> bool:
    return 400 <= number <= 599


def _as_seconds(value: object) -> float | None:
    """Return a time in seconds: a number, or a text such as "45.8s", "1m12s" or "20 seconds"."""
    if type(value) in (int, float) or (isinstance(value, str) and value.isdigit()):
        return max(0.0, _as_number(value))
    words = re.sub(r"(sec|min|hour)\w*", lambda unit: unit[1][0], str(value), flags=re.IGNORECASE)
    found = TIME.findall(words)
    return sum(float(n) * TIME_UNITS[unit.lower()] for n, unit in found) if found else None
