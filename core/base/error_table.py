"""A table that maps failed requests to errors.

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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
