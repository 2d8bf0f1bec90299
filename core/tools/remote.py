"""Errors of a system that tools write to: they tell whether the write may have happened."""

from __future__ import annotations

from core.errors import ToolError

AWAY = (502, 503, 504)
"""A host's own answer while the server behind it is down or starting."""


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
