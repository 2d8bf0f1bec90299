"""Somebody who has a model call the reading tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from core.domain.ports import Tool
from core.domain.records import Outcome, ToolContext
from core.tools.nocodb.api import TableApi
from core.tools.nocodb.schema import Schemas
from core.tools.nocodb.summarize import build_read_tools
from tests.core.tools.scene import ctx
from tests.fakes.scene_folder import MemoryContextFiles
from tests.nocodb.tables import NOW


class Reader:
    def __init__(self, api: TableApi, schemas: Schemas, now: datetime = NOW, most: int = 5_000):
        self.schemas = schemas
        reading, history = build_read_tools(api, schemas, clock=now.timestamp, most=most)
        self._tools: Mapping[str, Tool] = {tool.spec.name: tool for tool in (*reading, history)}
        self._ctx: ToolContext = replace(ctx(), zone=str(now.tzinfo), files=MemoryContextFiles())
        self.last = Outcome("ok", "")

    @property
    def files(self) -> dict[str, bytes]:
        assert isinstance(self._ctx.files, MemoryContextFiles)
        return self._ctx.files.made

    async def call(self, tool: str, **args: object) -> dict[str, Any]:
        self.last = await self._tools[tool].run(self._ctx, json.dumps(args))
        data: dict[str, Any] = json.loads(self.last.text)
        return data

    async def query(self, table: str, *filters: tuple[str, str, object], **args: object) -> Any:
        return await self.call(
            "nocodb_query", table=table, filters=_filter_arguments(filters), **args
        )

    async def ids(self, table: str, *filters: tuple[str, str, object], **args: object) -> list[int]:
        """Of all rows that fit, up to 50, by id."""
        result = await self.query(table, *filters, limit=50, fields=["Id"], **args)
        matches = [int(row["id"]) for row in result["rows"]]
        assert result["total"] == len(matches)
        return sorted(matches)

    async def summary(
        self,
        table: str,
        *aggregates: tuple[str, str],
        where: tuple[tuple[str, str, object], ...] = (),
        **args: object,
    ) -> Any:
        questions = [{"field": name, "fn": fn} for name, fn in aggregates]
        return await self.call(
            "nocodb_summarize",
            table=table,
            filters=_filter_arguments(where),
            aggregates=questions,
            **args,
        )


def _filter_arguments(filters: tuple[tuple[str, str, object], ...]) -> list[dict[str, object]]:
    return [{"field": name, "op": op, "value": value} for name, op, value in filters]
