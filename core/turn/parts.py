"""Describes the connected parts for people who are not administrators.

Addresses, causes of failures and names of packages are for administrators only.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.base.i18n import say
from core.domain.records import Health

PART_NAMES = {
    "model": "Answers",
    "nocodb": "Tables",
    "stackspot": "Quick commands and agents",
    "code": "Code",
}
"""The parts that a member uses, in the order of the list, and their names for members."""


def describe_parts(parts: Sequence[Health]) -> list[str]:
    """Return a line for each part that a member uses, as in `Code: available`."""
    states = {part.name: part.state for part in parts}
    return [
        say("{name}: available" if states[name] == "on" else "{name}: not available",
            name=say(PART_NAMES[name]))
        for name in PART_NAMES
        if name in states
    ]  # fmt: skip
