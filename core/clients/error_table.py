"""A table that says which error a failed request becomes.

ERRORS = ErrorTable(
    StackSpotError,
    on(429, when=is_daily_limit).raises("limit", DAILY_LIMIT),
    on(429).raises("busy", BUSY, retry=True),
    on(502, 504).raises("down", DOWN, retry=True, outcome_unknown=True),
    on(HttpTimeout).raises("silent", SILENT, retry=True, outcome_unknown=was_sent),
    on().raises("unreadable", UNREADABLE, outcome_unknown=True),
)

The first row that matches counts, so that a special case stands above the general one. The last row
has no condition. A failure is an `HttpError`, a `ModelServerFault` of `core/clients/openai.py`,
or an error of a platform's SDK that has a `status`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from core.clients.http import HttpError
from core.domain.errors import PonteError

SERVER_ERRORS = range(500, 1000)
"""HTTP statuses with which a server says that it failed (RFC 9110, section 15.6)."""

Kind = int | range | str | type[Exception]
"""What a row matches: an HTTP status, several statuses, a kind of `Fault`, or a class of errors."""
Condition = Callable[[Any], bool]
Values = Callable[[Any], Mapping[str, object]]
E = TypeVar("E", bound=PonteError)


def was_sent(failure: HttpError) -> bool:
    """Return whether the request may have reached the server."""
    return failure.sent


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Which failures it is for, and which error they become."""

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

        `error` is the code of an error of the table's class, or another class of errors, which has
        a code and a sentence of its own. `hint` is for the model: a text, which may have the
        sentence's placeholders, or a function of the failure. `retry`: the same request may succeed
        a moment later. `outcome_unknown`: the request may have had its effect. `values` fill
        placeholders.
        """
        return ErrorRow(
            self.kinds, self.when, error, sentence, hint, retry, outcome_unknown, values
        )

    def matches(self, failure: Exception) -> bool:
        is_kind = not self.kinds or any(_is_kind(failure, kind) for kind in self.kinds)
        return is_kind and (self.when is None or self.when(failure))


def on(*kinds: Kind, when: Condition | None = None) -> ErrorRow:
    """Begin a row for failures of any of these kinds for which `when` is true."""
    return ErrorRow(kinds, when)


class ErrorTable(Generic[E]):
    """The rows of one service. A row that gives a code becomes an error of the class `error`: a
    `RemoteError`, or one that takes the same arguments."""

    def __init__(self, error: type[E], *rows: ErrorRow) -> None:
        self._error = error
        self._rows = rows

    def find(self, failure: Exception) -> ErrorRow:
        """Return the first row that matches."""
        return next(row for row in self._rows if row.matches(failure))

    def explain(self, failure: Exception, **values: object) -> E:
        """Return the error for this failure. `values` fill placeholders, as those of its row do."""
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
