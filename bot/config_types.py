"""Numbers in ponte.toml, and the options by which its sections are validated."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StrictInt

MAX_CALLS_OF_TURN = 1000
"""Largest limit of tool calls in a turn."""
MAX_DAYS = 36_500
MAX_AMOUNT = 10**9
"""Largest number of dollars, tokens or turns."""
STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
"""Unknown keys are errors, and errors do not repeat values."""


def _check_positive(value: int) -> int:
    if value < 1:
        raise ValueError("write a number that is at least 1")
    return value


Dollars = Annotated[float, Field(strict=True, ge=0, le=MAX_AMOUNT, allow_inf_nan=False)]
"""US dollars, a number that is not negative."""
Count = Annotated[StrictInt, Field(ge=0, le=MAX_CALLS_OF_TURN)]
"""A whole number, 0 to 1,000."""
Many = Annotated[StrictInt, Field(ge=0, le=MAX_AMOUNT)]
"""A whole number that is not negative."""
Positive = Annotated[StrictInt, AfterValidator(_check_positive), Field(le=MAX_CALLS_OF_TURN)]
"""A whole number, 1 to 1,000."""
Days = Annotated[StrictInt, Field(ge=0, le=MAX_DAYS)]
"""A whole number of days."""
