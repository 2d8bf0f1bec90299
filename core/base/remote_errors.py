"""Failures of external services, in words for a person and a model.

ERRORS = ErrorTable(
    StackSpotError,
    on(429, when=is_daily_limit).raises("limit", DAILY_LIMIT),
    on(429).raises("busy", BUSY, retry=True),
    on(502, 504).raises("down", DOWN, retry=True, outcome_unknown=True),
    on(HttpTimeout).raises("silent", SILENT, retry=True, outcome_unknown=was_sent),
    on().raises("unreadable", UNREADABLE, outcome_unknown=True),
)

The first matching row counts, so put special cases above general ones. The last row has no
condition. A failure is an `HttpError`, a `ModelServerFault`, or an error of a platform's SDK that
has a `status`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from core.base.errors import PonteError, ToolError, WriteUnsure
from core.base.http import HttpError

_ADDRESS = re.compile(r"\b\w+://\S+|host='[^']*'|url: \S+")
# Ids are shorter than 32 characters, and error codes have only capitals, digits and underscores.
# NocoDB's tokens have 40 characters.
_SECRET = re.compile(r"(?<![\w.~+/=-])(?![A-Z0-9_]+(?![\w.~+/=-]))[\w.~+/=-]{32,}")


class RemoteError(ToolError):
    """A failure of an external service that a tool uses, in words for a person and a model."""

    def __init__(
        self,
        sentence: str,
        /,
        *,
        code: str,
        hint: str = "",
        unsure: bool = False,
        passing: bool = False,
        **values: object,
    ) -> None:
        # `sentence` with `values` is for a person, `code` and `hint` are for a model.
        super().__init__(sentence, code=code, hint=hint, **values)
        self.unsure = unsure  # the call may have had its effect
        self.passing = passing  # the same call may succeed a moment later

    def as_write_error(self) -> ToolError:
        """Return WriteUnsure if the write may have happened, so that it is not repeated blindly."""
        return WriteUnsure(str(self), code=self.code) if self.unsure else self


def withhold_secrets(text: str) -> str:
    """Addresses and long random texts may be secret. The text is cut to 300 characters, as a hint
    for the model."""
    return _SECRET.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]


SERVER_ERRORS = range(500, 1000)
"""HTTP statuses of a failure of the server (RFC 9110, section 15.6)."""

Kind = int | range | str | type[Exception]
"""What a row matches.

An HTTP status, a range of them, a `ModelServerFault.kind`, or an error class.
"""
Condition = Callable[[Any], bool]
Values = Callable[[Any], Mapping[str, object]]
"""Return values for the placeholders of a sentence or hint, from the failure."""
E = TypeVar("E", bound=PonteError)


def was_sent(failure: HttpError) -> bool:
    """The outcome of a request that was sent is unknown."""
    return failure.sent


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of an `ErrorTable`. It tells which failures of a service it matches (`kinds` and
    `when`), and the error that such a failure becomes."""

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
        """`self` tells only which failures the row matches. `error` is a code for an error of the
        table's class, or another error class, which has its own code and sentence. `hint` is for
        the model. It is a text, which may contain the sentence's placeholders, or a function of the
        failure. `retry`: the same request may succeed a moment later. `outcome_unknown`: the
        request may have had its effect. `values` fills placeholders."""
        return ErrorRow(
            self.kinds, self.when, error, sentence, hint, retry, outcome_unknown, values
        )

    def matches(self, failure: Exception) -> bool:
        """Return True if this row of an `ErrorTable` applies to the failure: one of its kinds fits
        (a class, an HTTP status, a range of them, or the name of a kind), or it has none, and its
        condition holds."""
        status, name = getattr(failure, "status", 0), getattr(failure, "kind", "")
        is_kind = not self.kinds
        for kind in self.kinds:
            if isinstance(kind, type):
                is_kind |= isinstance(failure, kind)
            elif isinstance(kind, range):
                is_kind |= status in kind
            else:
                is_kind |= kind in (status, name)
        return is_kind and (self.when is None or self.when(failure))


def on(*kinds: Kind, when: Condition | None = None) -> ErrorRow:
    """Without kinds, the row matches every failure."""
    return ErrorRow(kinds, when)


class ErrorTable(Generic[E]):
    """A table that turns the failures of one external service into errors. The first row that
    matches decides. `error` is `RemoteError`, or a class with the same arguments."""

    def __init__(self, error: type[E], *rows: ErrorRow) -> None:
        self._error = error
        self._rows = rows

    def find(self, failure: Exception) -> ErrorRow:
        """The last row of each table matches all."""
        return next(row for row in self._rows if row.matches(failure))

    def explain(self, failure: Exception, **values: object) -> E:
        """Return the error that the table has for this failure of the service, in words for a
        person and a model.

        `values` fill the placeholders of the sentence and the hint, as do the values that the row
        reads from the failure. A row names its error by a class, or by a code: then it is an error
        of the table's class.
        """
        row = self.find(failure)
        if row.values:
            values |= row.values(failure)
        if proxy := getattr(failure, "proxy", ""):
            values["proxy"] = proxy
        if not isinstance(row.error, str):
            sentence = (row.sentence,) if row.sentence else ()  # else that of the class
            return cast(E, row.error(*sentence, **values))
        # `unsure`: the request may have had its effect. `passing`: it may succeed a moment later.
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
