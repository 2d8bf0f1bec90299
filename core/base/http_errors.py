"""Failed HTTP requests: a table that maps them to errors, and the bodies that servers and gateways
send.

ERRORS = ErrorTable(
    StackSpotError,
    on(429, when=is_daily_limit).raises("limit", DAILY_LIMIT),
    on(429).raises("busy", BUSY, retry=True),
    on(502, 504).raises("down", DOWN, retry=True, outcome_unknown=True),
    on(HttpTimeout).raises("silent", SILENT, retry=True, outcome_unknown=was_sent),
    on().raises("unreadable", UNREADABLE, outcome_unknown=True),
)

The first matching row counts, so put special cases above general ones. The last row has no
condition. A failure is an `HttpError`, a `ModelServerFault` of `core/base/openai.py`, or an
error of a platform's SDK that has a `status`.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send a text or HTML, a text
as `error` or `detail`, lists of objects (FastAPI, Cloudflare, Gemini), or the error of another
server as JSON in a text (OpenRouter). So the keys count, and not where they stand.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from core.base.errors import PonteError
from core.base.http import HttpError

SERVER_ERRORS = range(500, 1000)
"""HTTP statuses of a failure of the server (RFC 9110, section 15.6)."""

Kind = int | range | str | type[Exception]
"""What a row matches.

An HTTP status, a range of them, a `ModelServerFault.kind`, or an error class.
"""
Condition = Callable[[Any], bool]
"""Return True if the row applies to the failure."""
Values = Callable[[Any], Mapping[str, object]]
"""Return values for the placeholders of a sentence or hint, from the failure."""
E = TypeVar("E", bound=PonteError)


def was_sent(failure: HttpError) -> bool:
    """Return True if the request may have reached the server."""
    return failure.sent


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of the table: which failures it matches, and the error that they become."""

    kinds: tuple[Kind, ...]
    when: Condition | None
    error: str | type[PonteError] = PonteError
    sentence: str = ""
    hint: str | Callable[[Any], str] = ""
    retry: bool = False
    outcome_unknown: bool | Condition = False
    values: Values | None = None

    def raises(
        self,
        error: str | type[PonteError],
        sentence: str = "",
        *,
        hint: str | Callable[[Any], str] = "",
        retry: bool = False,
        outcome_unknown: bool | Condition = False,
        values: Values | None = None,
    ) -> ErrorRow:
        """Return the row with its error.

        `error` is a code for an error of the table's class, or another error class, which has its
        own code and sentence. `hint` is for the model. It is a text, which may contain the
        sentence's placeholders, or a function of the failure. `retry`: the same request may succeed
        a moment later. `outcome_unknown`: the request may have had its effect. `values` fills
        placeholders.
        """
        return ErrorRow(
            self.kinds, self.when, error, sentence, hint, retry, outcome_unknown, values
        )

    def matches(self, failure: Exception) -> bool:
        """Return True if the row applies to this failure."""
        is_kind = not self.kinds or any(_is_kind(failure, kind) for kind in self.kinds)
        return is_kind and (self.when is None or self.when(failure))


def on(*kinds: Kind, when: Condition | None = None) -> ErrorRow:
    """Begin a row for failures of any of these kinds for which `when` returns True.

    No kinds match every failure.
    """
    return ErrorRow(kinds, when)


class ErrorTable(Generic[E]):
    """The error rows of one service.

    A row with a code becomes an error of the class `error`: a `RemoteError`, or a class with the
    same arguments.
    """

    def __init__(self, error: type[E], *rows: ErrorRow) -> None:
        self._error = error
        self._rows = rows

    def find(self, failure: Exception) -> ErrorRow:
        """Return the first row that matches."""
        return next(row for row in self._rows if row.matches(failure))

    def explain(self, failure: Exception, **values: object) -> E:
        """Return the error for this failure.

        `values` fill placeholders, as do the values of its row.
        """
        row = self.find(failure)
        if row.values:
            values |= row.values(failure)
        if not isinstance(row.error, str):
            sentence = (row.sentence,) if row.sentence else ()
            return cast(E, row.error(*sentence, **values))
        unknown = row.outcome_unknown
        make: Callable[..., E] = self._error
        return make(
            row.sentence,
            code=row.error,
            hint=row.hint(failure) if callable(row.hint) else row.hint.format(**values),
            unsure=unknown(failure) if callable(unknown) else unknown,
            passing=row.retry,
            **values,
        )


def _is_kind(failure: Exception, kind: Kind) -> bool:
    match kind:
        case int():
            return getattr(failure, "status", 0) == kind
        case range():
            return getattr(failure, "status", 0) in kind
        case str():
            return getattr(failure, "kind", "") == kind
        case _:
            return isinstance(failure, kind)


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
