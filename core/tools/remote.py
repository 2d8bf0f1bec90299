"""Errors of a system that tools write to: they tell whether the write may have happened."""

from __future__ import annotations

import re

from core.errors import ToolError

AWAY = (502, 503, 504)
"""A host's own answer while the server behind it is down or starting."""

_ADDRESS = re.compile(r"\w+://\S+|host='[^']*'|url: \S+")
_TOKEN = re.compile(r"[\w-]{32,}")  # ids of NocoDB are shorter, its tokens have 40


class RemoteError(ToolError):
    """`unsure`: the call may have had its effect."""

    def __init__(
        self,
        sentence: str,
        /,
        *,
        code: str,
        hint: str = "",
        unsure: bool = False,
        **values: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, **values)
        self.unsure = unsure


def cleaned(text: str) -> str:
    """A server's own words as a hint: without addresses and tokens, and not too long."""
    return _TOKEN.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]
