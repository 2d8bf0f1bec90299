"""How tools call other systems: what is asked again, and errors that tell whether a call may have
had its effect."""

from __future__ import annotations

import re

from core.errors import ToolError, WriteUnsure

PAUSES = (0.3, 1.2)
"""Seconds before the second and the third attempt of a read."""

AWAY = (502, 503, 504)
"""A host's own answer while the server behind it is down or starting."""

_ADDRESS = re.compile(r"\b\w+://\S+|host='[^']*'|url: \S+")
# Ids are shorter, and codes are capitals alone. NocoDB's tokens have 40 characters.
_SECRET = re.compile(r"(?<![\w.~+/=-])(?![A-Z0-9_]+(?![\w.~+/=-]))[\w.~+/=-]{32,}")


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

    def of_write(self) -> ToolError:
        """What an `Applier` raises for it: WriteUnsure where the write may have happened."""
        return WriteUnsure(str(self), code=self.code) if self.unsure else self


def cleaned(text: str) -> str:
    """A server's own words as a hint: without addresses and tokens, and not too long."""
    return _SECRET.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]
