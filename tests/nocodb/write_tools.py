"""Drafts from tool calls, applied as `core.changes.apply` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from core.base.errors import NotFound, ToolError
from core.base.http import HttpClient
from core.changes.approval import TableRules
from core.domain.changes import Change, ChangeStep, Draft, Proposal, Row, RowWrite, StepState
from core.domain.messages import Address, File, Person
from core.domain.records import Outcome
from core.domain.rights import Viewer
from core.tools.nocodb import draft
from core.tools.nocodb.api import NocoApi, TableApi
from core.tools.nocodb.driver import RestDriver, TableSchema
from core.tools.nocodb.schema import Schemas
from core.tools.nocodb.write import TableWriter
from core.tools.sample.base import SampleApi, SampleDriver
from tests.core.tools.scene import make_tool_context, with_controls
from tests.fakes.config import FixedConfig
from tests.nocodb.places import Place

ANA = Person("slack", "U1", "T1", "Ana")
HERE = Address("slack", "C1", "T1")
ZONE = "America/Sao_Paulo"


class MemoryFiles:
    """The files of a conversation, by id. `get` reads them as `Files` does."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[File, bytes]] = {}

    def add(self, name: str, type: str, data: bytes) -> File:
        file = File(f"f{len(self.stored) + 1}", name, type, len(data))
        self.stored[file.id] = file, data
        return file

    async def list_files(self) -> Sequence[File]:
        return [file for file, _ in self.stored.values()]

    async def read(self, file: File) -> bytes:
        return (await self.get(file.id))[1]

    async def save(self, name: str, type: str, data: bytes) -> File:
        return self.add(name, type, data)

    async def get(self, id: str) -> tuple[File, bytes]:
        if id not in self.stored:
            raise NotFound(what="file")
        return self.stored[id]


class WriteTools:
    """The write tools of a model, over one base. `url` may be a proxy before the NocoDB."""

    def __init__(
        self,
        url: str,
        token: str,
        base: str,
        http: HttpClient,
        rules: TableRules | None = None,
        sample: SampleApi | None = None,
    ) -> None:
        self.files = MemoryFiles()
        self.api: TableApi = sample or NocoApi(url, token, http, pauses=())
        self.schemas = Schemas(self.api, base, config=FixedConfig(rules or TableRules()))
        driver = RestDriver(self.api, self.files.get)
        self.rows = TableWriter(SampleDriver(sample) if sample else driver)
        self.drafts: list[Draft] = []
        writing = draft.WriteTools(self.api, self.schemas, self.rows.driver)
        self.rows.revise_draft = writing.revise
        self._tools = {tool.spec.name: tool for tool in writing.tools()}

    @classmethod
    def of(cls, place: Place) -> WriteTools:
        return cls(place.url, place.token, place.base, place.http, sample=place.sample)

    async def call_tool(self, tool: str, table: str = "Customers", **arguments: Any) -> str:
        """What the model reads of its call."""
        scene = make_tool_context(ANA, HERE, AsyncMock(), ZONE)
        ctx = replace(with_controls(scene, propose=self._propose), files=self.files)
        return (await self._tools[tool].run(ctx, json.dumps({"table": table, **arguments}))).text

    async def draft(self, tool: str, **arguments: Any) -> Draft:
        await self.call_tool(tool, **arguments)
        return self.drafts[-1]

    async def error_of_call(self, tool: str, **arguments: Any) -> ToolError:
        count = len(self.drafts)
        with pytest.raises(ToolError) as error:
            await self.call_tool(tool, **arguments)
        assert len(self.drafts) == count
        return error.value

    async def apply_draft(self, draft: Draft) -> Change:
        """One batch after the other, each read before and after; what is not as before is left.

        The steps hold the rows of the draft, as the ledger stores them.
        """
        steps: list[ChangeStep] = []
        size = self.rows.batch(draft)
        for start in range(0, len(draft.rows), size):
            batch, rows = self.rows.open(draft), draft.rows[start : start + size]
            pairs = list(zip(rows, await batch.check(rows), strict=True))
            ready = [(row, one.write) for row, one in pairs if one.state == "before"]
            unrestored = [(row, one) for row, one in pairs if one.state != "before"]
            writes = await batch.write([write for _, write in ready]) if ready else ()
            steps += [ChangeStep(0, row, "changed", one.current) for row, one in unrestored]
            for (row, _), one in zip(ready, await batch.check(writes), strict=True):
                state: StepState = "done" if one.state == "after" else "differs"
                differing = "" if state == "done" else ", ".join(one.differing_fields)
                variant = replace(row, id=one.write.id)
                steps.append(ChangeStep(0, variant, state, one.current, differing))
        numbered = [replace(step, number=number) for number, step in enumerate(steps, 1)]
        proposal = Proposal("abcde2", draft, ANA, HERE, 1, "c1", "t1", 0, "en", 0.0, 1.0)
        return Change(proposal, "done", tuple(numbered), ANA)

    async def all_done(self, draft: Draft) -> Change:
        change = await self.apply_draft(draft)
        assert [step.state for step in change.steps] == ["done"] * len(draft.rows), change.steps
        return change

    async def write(self, tool: str, **arguments: Any) -> Change:
        return await self.all_done(await self.draft(tool, **arguments))

    async def undone(self, change: Change) -> Change:
        return await self.apply_draft(self.rows.revert(change))

    async def standing(self, draft: Draft, rows: Sequence[RowWrite] = ()) -> list[str]:
        return [one.state for one in await self.rows.open(draft).check(rows or draft.rows)]

    async def image(self, table: str, id: str) -> Row | None:
        """A row whole, as it stands."""
        schema = TableSchema.of(await self.schemas.describe_table(Viewer(), table))
        return (await self.rows.driver.rows(schema, [id])).get(id)

    async def links(self, table: str, id: str, field: str) -> list[str]:
        return [one["id"] for one in await self.cell(table, id, field)]

    async def cell(self, table: str, id: str, field: str) -> Any:
        image = await self.image(table, id)
        assert image is not None
        return image[field]

    async def _propose(self, draft: Draft) -> Outcome:
        self.drafts.append(replace(draft, asker_key="slack:U1"))
        return Outcome("proposed", "Proposed.")
