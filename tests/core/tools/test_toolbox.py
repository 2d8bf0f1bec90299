"""The toolbox: what a turn may use, of whom, and how well each source is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.base.errors import SettingsError, ToolError
from core.domain.ports import Tool
from core.domain.records import Health
from core.domain.rights import Effect, Verdict, Viewer
from core.tools.tool import FunctionTool, Toolbox
from tests.time_limits import Limits


class Held:
    """The rights to do these things, with whatever tool `but` does not name."""

    def __init__(self, *rights: str, but: str = "") -> None:
        self._rights = rights
        self._but = but

    def may(self, right: str, *names: str) -> Verdict:
        there = right in ("tool", *self._rights)
        return Verdict(there and f"{right}:{''.join(names)}" != self._but)

    def may_know(self, right: str, *names: str) -> bool:
        return self.may(right, *names).allowed

    def depends_on_name(self, right: str) -> bool:
        return bool(self._but)

    @property
    def is_owner(self) -> bool:
        return False

    @property
    def is_invited(self) -> bool:
        return False


class Shelf:
    def __init__(self, name: str, *tools: Tool, breaks: bool = False, hangs: bool = False) -> None:
        self.name = name
        self.offered: Sequence[Tool] = tools
        self.breaks = breaks
        self.hangs = hangs
        self.closed = False

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return self.offered

    async def health(self) -> Health:
        if self.breaks:
            raise ConnectionError("https://secret.example/execute")
        if self.hangs:
            await asyncio.Event().wait()
        return Health(self.name, "on")

    async def close(self) -> None:
        self.closed = True


def a_tool(name: str, effect: Effect = "read") -> Tool:
    async def nothing() -> None:
        """Do nothing."""

    return FunctionTool(nothing, effect=effect, doing="…", name=name)


async def test_a_turn_is_offered_what_its_asker_may_use_and_the_sources_have_now() -> None:
    shelf = Shelf("a", a_tool("look"), a_tool("change", "write"))
    box = Toolbox([shelf, Shelf("b", a_tool("see"))])
    for rights, names in (
        (Held("chat", "read"), ["look", "see"]),
        (Held("propose"), ["change"]),
        (Held("chat"), []),
        (Held("read", but="tool:look"), ["see"]),
    ):
        assert [tool.spec.name for tool in await box.tools(rights)] == names
    shelf.offered = (a_tool("search"),)
    assert (await box.find("search")).spec.name == "search"


async def test_an_unknown_name_is_told_the_nearest_one() -> None:
    box = Toolbox([Shelf("a", a_tool("nocodb_query"))])
    with pytest.raises(ToolError, match="Tool not found") as error:
        await box.find("nocodb_querry")
    assert error.value.hint == "did you mean `nocodb_query`?"


async def test_two_tools_with_one_name_are_a_settings_error() -> None:
    box = Toolbox([Shelf("a", a_tool("look")), Shelf("b", a_tool("look"))])
    with pytest.raises(SettingsError, match="`look`"):
        await box.tools(Held("read"))


async def test_a_source_that_breaks_or_hangs_does_not_hide_the_others_nor_tell_its_address(
    limits: Limits,
) -> None:
    limits(SOURCE_HEALTH_TIMEOUT_SECONDS=0.02)
    shelves = [Shelf("a", breaks=True), Shelf("b"), Shelf("c", hangs=True)]
    box = Toolbox(shelves)
    first, second, third = await box.health()
    assert (first, second) == (Health("a", "failing", "ConnectionError"), Health("b", "on"))
    assert third.state == "failing"
    await box.close()
    assert all(shelf.closed for shelf in shelves)
