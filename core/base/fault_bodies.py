"""Reads what a server sends with an error.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send a text or HTML, a text
as `error` or `detail`, lists of objects (FastAPI, Cloudflare, Gemini), or the error of another
server as JSON in a text (OpenRouter). So the keys count, and not where they stand.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
import urllib.parse
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_PARSED_RETRY_AFTER_SECONDS = 1e9
"""The cap of a parsed Retry-After value."""
_SECONDS_PATTERN = re.compile(r"\d+(\.\d+)?", re.ASCII)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """None if there is no such header. `headers` have lower-case names."""
    return parse_wait(headers.get("retry-after", "").strip())


def parse_wait(value: str) -> float | None:
    """Return the seconds that a text, such as the value of a Retry-After header, asks to wait, or
    None if it is no time.

    The value is a number or a date (RFC 9110, section 10.2.3). A date in the past gives 0. Some
    servers send a time with its unit ("45s"), an ISO 8601 date, or the moment in seconds or
    milliseconds since 1970.
    """
    if _SECONDS_PATTERN.fullmatch(value):
        seconds = float(value)
        # Moments since 1970 have ten digits in seconds and thirteen in milliseconds.
        seconds /= 1000 if seconds >= 1e12 else 1
        seconds -= time.time() if 1e9 <= seconds < 1e10 else 0
        # Some hundred digits are read as infinity, so the number is capped. No date is infinite.
        return min(max(0.0, seconds), MAX_PARSED_RETRY_AFTER_SECONDS)
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError):
            moment = parse(value)
            # The zone "-0000" is UTC, too, but gives a moment without a zone.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())  # a past date gives 0
    # It begins with a number and is no date: perhaps a time with its unit.
    return _as_seconds(value) if _SECONDS_PATTERN.match(value) else None


def parse_reset(headers: Iterable[tuple[str, str]]) -> float | None:
    """Return the seconds until the last of the used-up limits ends, from headers such as
    `x-ratelimit-reset-requests`; None if no limit is used up."""
    values = {name.lower(): value for name, value in headers}
    # Some servers send no `remaining` header: then the limit may be the one that was reached. A
    # negative number means that more was used than the limit allows.
    waits = [
        parse_wait(value.strip())
        for name, value in values.items()
        if "ratelimit" in name and "reset" in name
        if values.get(name.replace("reset", "remaining"), "0").strip() in ("0", "0.0", "-1")
    ]
    return max(filter(None, waits), default=None)


MAX_ERROR_VALUES = 500
MESSAGE_KEYS = frozenset({
    "message", "msg", "error", "errors", "detail", "details", "description", "reason", "raw",
    "title", "error_message", "error_msg", "status_msg", "error_description", "",
})  # fmt: skip
"""Keys of texts for people. "" stands for a body that is a text."""
STATUS_KEYS = frozenset({"code", "status", "status_code", "statusCode", "http_status"})
"""Keys of a status number. Servers use some of them for other codes as well."""
CODE_KEYS = frozenset({"code", "error_code", "status"})
TYPE_KEYS = frozenset({"type", "error_type", "status"})
WAIT_KEYS = frozenset(
    {"retryDelay", "retry_after", "retryAfter", "estimated_time", "retry_after_seconds"}
)
HTML_HEADING = re.compile(r"<(?:title|h1)[^>]*>([^<]*)", re.IGNORECASE)
TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|[smhd])(?![a-z])", re.IGNORECASE)
WAIT_SENTENCE = re.compile(
    r"\b(?:again|retry|wait|resets?|until)\D{0,30}"
    r"(\d{4}-\d\d-\d\d[T ][\d:]+(?:\.\d+)?(?:Z|[+-]\d[\d:]+)?|\d{10,13}\b"
    r"|(?:\d[\d.]* ?(?:ms|[smhd]|sec\w*|min\w*|hour\w*|day\w*)(?![a-z])(?:,|,? and)? ?)+)",
    re.IGNORECASE,
)
"""How servers name a time to wait in words: "try again in 1m12.5s", "retry after 59 seconds",
"resets at 2026-11-29 00:00:00 UTC"."""
PACIFIC_MIDNIGHT_SECONDS = 8 * 3600
"""The time of day (UTC, in winter) at which Gemini's limits of a day end (ai.google.dev, Rate
limits). It names the seconds of a shorter limit beside them."""


@dataclass(frozen=True, slots=True)
class FaultBody:
    """The content of the body of an HTTP error. `status` is an HTTP status (0: none), `param` the
    path of a field, `wait` seconds."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int = 0
    wait: float | None = None


def parse_fault_body(body: object) -> FaultBody:
    """Return what the body of an error response says, in any of the forms that services use. `body`
    is decoded JSON or a text.

    Services put the same facts at different places, so all values are collected with their keys,
    and the keys tell what a value is. Outer values count before inner ones.
    """
    # The texts and numbers with their keys, the outer ones first.
    values, waiting = list[tuple[str, object]](), deque([("", body)])
    # The body is untrusted: it may be nested without end.
    for _ in range(MAX_ERROR_VALUES):
        if not waiting:
            break
        key, value = waiting.popleft()
        # OpenRouter sends the error of another server as JSON in a text.
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, member) for member in value)
        else:
            values.append((key, value))

    def texts(keys: frozenset[str]) -> Iterator[str]:
        return (value for key, value in values if key in keys and isinstance(value, str) and value)

    numbers = (_as_number(value) for key, value in values if key in STATUS_KEYS)
    message = " ".join(dict.fromkeys(texts(MESSAGE_KEYS)))
    if message.startswith("<"):  # a page of a web server or proxy
        message = " ".join(HTML_HEADING.findall(message))
    message = urllib.parse.unquote(message) if "%20" in message else message
    # FastAPI names a field by its path, as in `"loc": ["body", "model"]`.
    path = [str(value) for key, value in values if key == "loc"]
    sentence = WAIT_SENTENCE.search(message)
    waits = (
        *(
            # Google's daily quotas begin anew at midnight in California.
            (PACIFIC_MIDNIGHT_SECONDS - time.time()) % 86_400
            for key, value in values
            if key == "quotaId" and "PerDay" in str(value)
        ),
        *(_as_seconds(value) for key, value in values if key in WAIT_KEYS),
        parse_wait(sentence[1].strip()) if sentence else None,
        parse_reset((key, str(value)) for key, value in values),
    )
    # A status in digits is no error code, and "error" no type of one.
    return FaultBody(
        message,
        code=next((text for text in texts(CODE_KEYS) if not _is_status(_as_number(text))), ""),
        type=next((text for text in texts(TYPE_KEYS) if text not in ("error", "object")), ""),
        param=next(texts(frozenset({"param"})), ".".join(path).removeprefix("body.")),
        status=next((int(number) for number in numbers if _is_status(number)), 0),
        wait=next((seconds for seconds in waits if seconds is not None), None),
    )


def _as_number(value: object) -> float:
    # Python counts a truth value as a number.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) in (int, float) else 0  # type: ignore[return-value]


def _is_status(number: float) -> bool:
    return 400 <= number <= 599


def _as_seconds(value: object) -> float | None:
    """The value is a number, or a text such as "45.8s", "1m12s" or "20 seconds"."""
    if type(value) in (int, float) or (isinstance(value, str) and value.isdigit()):
        return max(0.0, _as_number(value))
    # Each unit that is a word becomes its first letter: "20 seconds" → "20 s".
    text = re.sub(
        r"(sec|min|hour|day)\w*", lambda unit: unit[1][0], str(value), flags=re.IGNORECASE
    )
    amounts = TIME.findall(text)
    return sum(float(n) * TIME_UNITS[unit.lower()] for n, unit in amounts) if amounts else None
