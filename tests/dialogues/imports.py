"""A bot that imports spreadsheets into the Customers of a NocoDB."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from core.base.http import HttpClient
from core.domain.changes import Change
from core.domain.messages import Answer, Attachment, Card, Message
from core.domain.ports import ToolSource
from core.imports.tools import ImportSource
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.choices import make_message
from tests.fakes.faulty import Trouble
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeTable

SEEDED_ROWS = 30
COLUMNS = {"Name": "Name", "Status": "Status"}


class PacedNocoDB(FakeNocoDB):
    """Lets only so many calls that write pass."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Condition()
        self.arrived = 0
        self.allowed = 1_000_000

    async def take_trouble(self, name: str) -> Trouble | None:
        if name != "GET":
            async with self.came:
                self.arrived += 1
                number = self.arrived
                self.came.notify_all()
                await self.came.wait_for(lambda: number <= self.allowed)
        return await super().take_trouble(name)

    def hold_writes(self, after: int) -> None:
        """Hold the calls that write after so many more."""
        self.allowed = self.arrived + after

    async def wait_for_held_write(self) -> None:
        async with self.came:
            await self.came.wait_for(lambda: self.arrived > self.allowed)

    async def let_writes_pass(self) -> None:
        async with self.came:
            self.allowed = 1_000_000
            self.came.notify_all()

    @property
    def customers(self) -> FakeTable:
        tables = self.world.bases[filled.CRM].tables.values()
        return next(table for table in tables if table.title == "Customers")

    @property
    def new_names(self) -> Counter[str]:
        rows = self.customers.rows.items()
        return Counter(row["Name"] for id, row in rows if id > SEEDED_ROWS)


@dataclass
class Importer:
    bot: RunningBot
    model: EchoModel
    source: NocoSource
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def read_file(
        self, rows: Sequence[str], make: Callable[..., Message] = make_message, **arguments: Any
    ) -> Answer:
        """Ask for an import of a CSV file with these lines below its head. `make` makes the
        message."""
        columns = arguments.pop("columns", COLUMNS)
        data = "\n".join([",".join(columns.values()), *rows]).encode()
        name = f"import-{next(self._numbers)}.csv"
        return await self.send_file(name, data, columns, make, **arguments)

    async def send_file(
        self,
        name: str,
        data: bytes,
        columns: Mapping[str, str],
        make: Callable[..., Message] = make_message,
        type: str = "text/csv",
        **arguments: Any,
    ) -> Answer:
        """Ask for an import of this file. `columns` are the file's columns by field."""
        key = f"file-{next(self._numbers)}"
        call = {"file": name, "table": "Customers", "columns": columns, **arguments}
        message = make(f"call nocodb_import {json.dumps(call)}", key)
        stored = await self.bot.engine.conversations.files.put(
            key, name, type, data, message.author, message.address.conversation
        )
        attachment = Attachment(name, type, len(data), stored.id)
        return await self.bot.ask_message(replace(message, attachments=(attachment,)))

    async def propose(self, rows: Sequence[str], **arguments: Any) -> Card:
        answer = await self.read_file(rows, **arguments)
        (card,) = answer.cards
        assert card.state == "open"
        return card

    async def get(self, id: str) -> Change:
        return await self.bot.engine.changes.ledger.get(id)

    async def parts(self, id: str) -> list[Change]:
        ledger = self.bot.engine.changes.ledger
        return [await ledger.get(part, id) for part in await ledger.list_parts(id)]


@asynccontextmanager
async def importer(
    home: BotHome,
    url: str,
    token: str = filled.OWNER,
    base: str = filled.CRM,
    **choices: Any,
) -> AsyncIterator[Importer]:
    async with HttpClient() as http:
        source = NocoSource(url, token, http, base_id=base, pauses=(0.01, 0.01))
        model = EchoModel()
        sources: list[ToolSource] = [source, ImportSource(source)]
        async with home.open(model, sources, appliers=[source.rows], **choices) as bot:
            yield Importer(bot, model, source)


def new_rows(count: int, name: str = "New", status: str = "Lead") -> list[str]:
    return [f"{name} {number:04d},{status}" for number in range(count)]
