"""The whole of Ponte with a team's tables: a model that follows a script, and a fake NocoDB."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from bot.config.ponte_toml import Config
from bot.doctor.checks import check_everything
from bot.ponte import Ponte
from bot.settings import Settings
from tests.dialogues.whole import run_composed
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeField, FakeTable, Json
from tests.fakes.openai import FakeOpenAI, Script

ZONE = ZoneInfo("America/Sao_Paulo")
LEADS = "Which customers became leads this month?"
SALES = "Quanto vendemos por status?"
PAID = "Mark order 12 as paid"
BOTH = "Order 12 was paid. And show me customer 5"
DUPLICATES = "Delete the duplicates"
ATTACHED = "Add these three from the file I attached"
EVERYTHING = "Give me all readings as a file"
CSV = b"Name,Status\nAda,Lead\nBruno,Lead\nCarla,Lost\n"
NEW = [
    {"Name": "Ada", "Status": "Lead"},
    {"Name": "Bruno", "Status": "Lead"},
    {"Name": "Carla", "Status": "Lost"},
]

LEADS_FOUND = "**One** customer became a lead this month:\n\n| Name |\n| --- |\n| Customer 03 |"
SALES_FOUND = "Vendemos 4.882,50 ao todo, a maior parte a leads."
EXPORTED = "Here are all of them."


@dataclass
class Office:
    """`rows` are what stands in NocoDB."""

    openai: FakeOpenAI
    nocodb: FakeNocoDB
    home: Path
    settings: Settings | None = None

    @asynccontextmanager
    async def open(self, config: Config | None = None, **settings: Any) -> AsyncIterator[Ponte]:
        """As `ponte run` starts it, with these settings beside those of the two servers."""
        option = Settings(
            **{
                "openai_api_key": SecretStr("sk-test"),
                "openai_base_url": self.openai.base_url,
                "nocodb_url": self.nocodb.origin,
                "nocodb_token": SecretStr(filled.EDITOR),
                "ponte_home": self.home,
                "ponte_web_port": 0,
                "ponte_timezone": ZONE.key,
                "ponte_grace": 1,
                "ponte_code": "off",
                "ponte_titles": "off",
                **settings,
            }
        )
        self.settings = option
        async with run_composed(option, config, check=check_everything) as app:
            yield app

    def table(self, title: str) -> FakeTable:
        tables = self.nocodb.world.bases[filled.CRM].tables.values()
        return next(table for table in tables if table.title == title)

    def rows(self, title: str) -> dict[int, Json]:
        return self.table(title).rows

    def writes(self) -> list[str]:
        """The methods of the calls that wrote to NocoDB."""
        return [call.method for call in self.nocodb.calls if call.method != "GET"]

    def model_input(self) -> str:
        """All that the model was ever sent."""
        return json.dumps([request.body for request in self.openai.requests], ensure_ascii=False)


@asynccontextmanager
async def office(home: Path) -> AsyncIterator[Office]:
    """Order 12 is not paid, customers 29 and 30 are called as 28, and two became leads: one just
    after this month began in São Paulo, one just before, when it had begun in London."""
    async with FakeOpenAI() as openai, FakeNocoDB() as nocodb:
        result = Office(openai, nocodb, home)
        customers = result.table("Customers")
        customers.fields.append(FakeField("cleadsince", "Lead since", "DateTime"))
        month = datetime.now(ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for id, moment in ((3, month), (6, month - timedelta(hours=1))):
            text = moment.astimezone(ZoneInfo("UTC")).isoformat(" ")
            customers.update(id, {"Lead since": text, "Status": "Lead"})
        for id in (29, 30):
            customers.update(id, {"Name": "Customer 28"})
        result.table("Orders").update(12, {"Paid": False})
        openai.say(*_scripts())
        yield result


def this_month() -> str:
    return datetime.now(ZONE).strftime("%Y-%m")


_BOTH_CALLS = tuple(
    (f"nocodb_{tool}", json.dumps(arguments))
    for tool, arguments in (
        ("update", {"table": "Orders", "changes": [{"id": 12, "fields": {"Paid": True}}]}),
        (
            "query",
            {
                "table": "Customers",
                "filters": [{"field": "Name", "op": "eq", "value": "Customer 05"}],
                "fields": ["Name", "Value"],
            },
        ),
    )
)


def _scripts() -> tuple[Script, ...]:
    lead = [
        {"field": "Status", "op": "eq", "value": "Lead"},
        {"field": "Lead since", "op": "eq", "value": "this_month"},
    ]
    twins = [{"field": "Name", "op": "eq", "value": "Customer 28"}]
    value = [{"field": "Value", "fn": "sum"}]
    return (
        _calls(LEADS, "query", table="Customers", filters=lead, fields=["Name"]),
        Script(LEADS_FOUND, match='[{"id":"3","Name":"Customer 03"}]', times=0),
        _calls(SALES, "summarize", table="Customers", aggregates=value, group_by="Status"),
        Script(SALES_FOUND, match='"sum of Value":"4882.5"'),
        _calls(PAID, "update", table="Orders", changes=[{"id": 12, "fields": {"Paid": True}}]),
        Script(calls=_BOTH_CALLS, match=BOTH, times=0),
        _calls(DUPLICATES, "query", table="Customers", filters=twins, fields=["Name"]),
        _calls('"Name":"Customer 28"', "delete", table="Customers", ids=[29, 30]),
        _calls(ATTACHED, "create", table="Customers", rows=NEW),
        _calls(EVERYTHING, "query", table="Readings", export="csv", limit=5),
        Script(EXPORTED, match="Readings.csv is sent"),
    )


def _calls(match: str, tool: str, **arguments: Any) -> Script:
    return Script(calls=((f"nocodb_{tool}", json.dumps(arguments)),), match=match, times=0)
