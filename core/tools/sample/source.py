"""The tools over the sample base, which only the owner of this Ponte is offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.base.i18n import say
from core.changes.approval import NO_TABLE_RULES, TableRulesConfig
from core.domain.changes import SAMPLE_APPLIER
from core.domain.ports import SAMPLE_TABLES_PHRASE, Tool
from core.domain.records import Health, Viewer
from core.tools.nocodb.api import NamedTable
from core.tools.nocodb.driver import RestDriver, TableSchema
from core.tools.nocodb.source import BaseOverview, TableSource
from core.tools.sample import SAMPLE_SENTENCE
from core.tools.sample.base import SampleApi


class SampleDriver(RestDriver):
    """The `TableDriver` of the sample base."""

    name = SAMPLE_APPLIER
    recreated = "If you undo this, the rows get new IDs and keep their links. New values: {names}."
    refilled = "The rows have new IDs and new values for {names}."

    def __init__(self, api: SampleApi) -> None:
        super().__init__(api)
        self._sample = api

    async def describe(self, target: Mapping[str, Any]) -> TableSchema:
        """Return the table of a draft. Raise NocoError `sample_reset` for a draft from before a
        reset."""
        await self._sample.check_base(str(target["base"]))
        return await super().describe(target)


class SampleSource(TableSource):
    """The tools over the sample base. Nobody but the owner sees them, on the page or a terminal."""

    name = "sample"
    description = (
        f"The tables of {SAMPLE_TABLES_PHRASE}: invented data of a small shop, for trying Ponte. "
        "Say that figures from it are sample data. They come"
    )

    def __init__(
        self,
        api: SampleApi,
        title: str,
        tables: Sequence[NamedTable],
        config: TableRulesConfig = NO_TABLE_RULES,
    ) -> None:
        driver = SampleDriver(api)
        super().__init__(api, driver, drafting=driver, config=config)
        # The tables are known, so that a turn that uses none of them does not create the file.
        self._overview = BaseOverview(title, tuple(tables))
        self._until = float("inf")

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """Return the tools for the owner, otherwise none."""
        return await super().tools(viewer) if _is_owner(viewer) else ()

    async def titles(self, viewer: Viewer) -> Sequence[str]:
        """Return the titles of the tables for the owner, otherwise none."""
        return await super().titles(viewer) if _is_owner(viewer) else ()

    async def health(self) -> Health:
        """Return "on", without opening the file."""
        return Health(self.name, "on", say(SAMPLE_SENTENCE))


def _is_owner(viewer: Viewer) -> bool:
    return viewer.rights is None or viewer.rights.is_owner
