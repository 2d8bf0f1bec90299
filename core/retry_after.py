"""How long a server asks us to wait before we ask again."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST = 1e9
"""Seconds: a larger number is this one."""
_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of its Retry-After (RFC 9110, section 10.2.3: a number or a date), None without one.

    `headers` have lower-case names. A moment that has passed is 0.
    """
    told = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(told):
        return min(float(told), LONGEST)
    try:
        moment = email.utils.parsedate_to_datetime(told)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
