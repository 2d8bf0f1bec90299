"""Parts of a Ponte whose model reads the orders that are not paid, for tests of saved questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from bot.engine import Engine
from bot.health import HealthBoard, PartHealth
from core.base.http import HttpClient
from core.domain.messages import Address, Person
from core.people.policy import Policy
from core.tools.nocodb.source import NocoSource
from tests.dialogues.test_run_again import UNPAID, Planner
from tests.fakes.choices import Choices, EmptyStatusBoard, make_choices
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.schedules import LateScheduleSource

NOVEMBER = {"field": "Due", "op": "between", "value": ["2026-11-01", "2026-11-30"]}


class OrdersBoard(EmptyStatusBoard):
    """The board of a real engine, with two tables."""

    engine: Engine | None = None

    async def saved_names(self, person: Person, address: Address) -> Sequence[str]:
        assert self.engine is not None
        return await HealthBoard(PartHealth([]), self.engine).saved_names(person, address)

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        return ("Orders", "Customers")


@asynccontextmanager
async def orders_choices(
    *filters: Mapping[str, object],
    policy: Policy | None = None,
    schedules: LateScheduleSource | None = None,
) -> AsyncIterator[Choices]:
    """Yield parts over a fake NocoDB with 30 orders that are not paid. `filters` add to that."""
    arguments: dict[str, object] = {"table": "Orders", "filters": [UNPAID, *filters]}
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        model = Planner(("nocodb_query", arguments), words="[table: r1]")
        choices = make_choices(model, [source, *([schedules] if schedules else [])], policy)
        yield replace(choices, board=OrdersBoard())
