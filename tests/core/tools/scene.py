"""A scene for tools to run in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from core.domain.messages import Address, Message, Person, ReplyTo
from core.domain.records import Thread, ToolCall, ToolContext, TurnControls

ADA = Person("terminal", "ada", name="Ada")


class Seen:
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def doing(self, text: str) -> None:
        self.texts.append(text)


def ctx(seen: Seen | None = None) -> ToolContext:
    return make_tool_context(ADA, Address("terminal", "c1"), (seen or Seen()).doing)


def make_tool_context(
    asker: Person, address: Address, doing: Callable[[str], Awaitable[None]], zone: str = "UTC"
) -> ToolContext:
    message = Message("key1", "", asker, address, ReplyTo(address, asker, "", "turn1"))
    call, thread = ToolCall("call1", "", "{}", "read"), Thread(address.conversation, "t1")
    return ToolContext(message, 1, call, thread, TurnControls(doing), zone)


def with_controls(ctx: ToolContext, **controls: Any) -> ToolContext:
    return replace(ctx, turn=replace(ctx.turn, **controls))
