"""The tools of all sources, as one turn may use them, and what a model reads of their outcomes."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Collection, Sequence
from typing import Any

import pydantic_core

from core.errors import SettingsError, ToolError
from core.ports import Tool, ToolSource
from core.records import Action, Health, Outcome
from core.text import in_whole_characters

CAP = 16_000
"""Characters of one outcome, some 4,000 tokens of English."""

PATIENCE = 10.0
"""Seconds that a source's health check may take."""


def outcome_of(value: object) -> Outcome:
    """An Outcome as it is, text as text, all else as compact JSON."""
    if isinstance(value, Outcome):
        return value
    if value is None:
        return Outcome("ok", "Done.")
    return Outcome("ok", value if isinstance(value, str) else compact(value))


def outcome_of_error(error: ToolError) -> Outcome:
    """The one line that the model is told when a tool could not do it."""
    told = {"code": error.code, "message": str(error), "hint": error.hint}
    return Outcome("error", compact({"error": {key: text for key, text in told.items() if text}}))


def capped(outcome: Outcome, cap: int = CAP) -> Outcome:
    """`outcome` with at most `cap` characters of text, all of which can be stored."""
    outcome = dataclasses.replace(outcome, text=in_whole_characters(outcome.text))
    if len(outcome.text) <= cap:
        return outcome
    cut = (
        f"\n[Cut: this is the beginning, {cap:,} of {len(outcome.text):,} characters. "
        "Ask for less at a time.]"
    )
    return dataclasses.replace(outcome, text=outcome.text[: max(0, cap - len(cut))] + cut)


def fitting(rows: list[Any], cap: int) -> list[Any]:
    """As many of the first rows as fit whole into `cap` characters of JSON."""
    room = cap - len("[]")
    for number, row in enumerate(rows):
        room -= len(compact(row)) + len(",")
        if room < 0:
            return rows[:number]
    return rows


def compact(value: object) -> str:
    """JSON without blanks; takes whatever pydantic knows (dates, dataclasses, models)."""
    return pydantic_core.to_json(value, inf_nan_mode="null").decode()


class Toolbox:
    """Sources may change what they offer, so tools are gathered anew for each turn."""

    def __init__(self, sources: Sequence[ToolSource] = ()) -> None:
        self._sources = tuple(sources)

    async def tools(self, allowed: Collection[Action]) -> Sequence[Tool]:
        """Those that may be used with the `allowed` actions, as they then are, ordered by source.

        Raises SettingsError where two sources bring one name.
        """
        offered = (tool.within(allowed) for tool in (await self._all()).values())
        return [tool for tool in offered if tool is not None]

    async def find(self, name: str) -> Tool:
        """The tool of that name, whoever may use it. Raises ToolError with the nearest name."""
        tools = await self._all()
        if name in tools:
            return tools[name]
        near = difflib.get_close_matches(name, tools, 1)
        raise ToolError(
            "There is no tool of that name.",
            code="unknown_tool",
            hint=f"did you mean `{near[0]}`?" if near else "",
        )

    async def health(self) -> Sequence[Health]:
        """One for each source; one that breaks or hangs is failing, the others still tell."""
        return await asyncio.gather(*(_health(source) for source in self._sources))

    async def close(self) -> None:
        await asyncio.gather(*(source.close() for source in self._sources))

    async def _all(self) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for offered in await asyncio.gather(*(source.tools() for source in self._sources)):
            for tool in offered:
                if found.setdefault(tool.spec.name, tool) is not tool:
                    raise SettingsError("Two tools have the name {name!r}.", name=tool.spec.name)
        return found


async def _health(source: ToolSource) -> Health:
    try:
        async with asyncio.timeout(PATIENCE):
            return await source.health()
    except TimeoutError:
        return Health(source.name, "failing", f"no answer within {PATIENCE:.0f} s")
    except Exception as error:
        # Its text may hold an address or a key, so only its kind is told.
        return Health(source.name, "failing", type(error).__name__)
