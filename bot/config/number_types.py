"""Numbers in ponte.toml, and the options by which its sections are validated."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt

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


def _parse_duration(value: object) -> float:
    """Return the seconds of `4h`, `30m` or `0`."""
    found = re.fullmatch(r"(\d{1,4})([mh])|0", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write minutes or hours in quotes, as in "30m" or "4h"; "0" turns it off')
    return float(found[1] or 0) * {"m": 60, "h": 3600}.get(found[2], 0)


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
Duration = Annotated[float, BeforeValidator(_parse_duration)]
"""Minutes or hours, as in `"30m"` or `"4h"`; `"0"` turns it off."""
