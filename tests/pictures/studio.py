"""Where the pictures are taken: one bot on every surface, before a company's tables.

All is real but what stands at the ends of the wires: Slack, Discord, NocoDB and StackSpot are the
tests' doubles, and the model says what its script says. The clock shows the same moment each time.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import time_machine

from bot.compose import compose
from bot.config.ponte_toml import (
    AccessRule,
    ChannelConfig,
    QuickCommandConfig,
    QuickCommandInput,
)
from bot.doctor.checks import check_everything
from bot.features.mcp_server.feature import McpServerConfig
from bot.features.sign_in.feature import SignInConfig
from bot.features.webhooks.feature import HookConfig
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from core.base.tasks import cancel_all
from tests.code import sandboxed
from tests.fakes.config import with_sections
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.world import Channel
from tests.fakes.hook_senders import PLAIN_SECRET
from tests.fakes.nocodb.call import FakeUser, World
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.slack import FakeSlack, SlackChannel, SlackPerson
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET

Json = dict[str, Any]

ZONE = ZoneInfo("Europe/Lisbon")
MOMENT = datetime(2026, 11, 19, 10, 42, 5, tzinfo=ZONE)
"""A Thursday; what is said at :05 has most of a minute before another one is shown."""
TOKEN = "the-token-of-nocodb"
COMMANDS = {
    "release-notes": QuickCommandConfig(
        title={"en": "Release notes", "pt-BR": "Notas da versão", "fr": "Notes de version"},
        description={
            "en": "Reads the merged changes of a version and writes what is new in it",
            "pt-BR": "Lê as mudanças de uma versão e escreve o que há de novo nela",
            "fr": "Lit les changements d'une version et écrit ce qu'elle apporte",
        },
        inputs={
            "version": QuickCommandInput(required=True),
            "readers": QuickCommandInput(
                "choice", choices=("customers", "engineers"), required=True
            ),
            "remarks": QuickCommandInput(),
        },
        effect="read",
    ),
    "translate-contract": QuickCommandConfig(title={"en": "Translate a contract"}),
}
NOTES = """\
**Version 4.2**, for customers

- Invoices can be sent in Portuguese and in French.
- The search finds customers by their city.
- Reports of more than 1,000 rows open twice as fast."""

SALES = b"month,total\nJun,18400\nJul,21900\nAug,17250\nSep,24600\nOct,26100\n"
PLOT = """\
import pandas as pd
import matplotlib.pyplot as plt

sales = pd.read_csv("sales.csv")
figure, axes = plt.subplots(figsize=(6.4, 3.1))
axes.bar(sales["month"], sales["total"] / 1000, color="#2f6f73")
axes.set_title("Sales by month, in thousands of euros")
for side in ("top", "right"):
    axes.spines[side].set_visible(False)
plt.tight_layout()
"""

INVOICES = (
    ("2026-0412", "Casa Verde", "2026-10-05", 2480.00, "Overdue"),
    ("2026-0419", "Horta do Mar", "2026-10-12", 640.50, "Overdue"),
    ("2026-0423", "Padaria Lua", "2026-10-19", 1120.00, "Overdue"),
    ("2026-0431", "Casa Verde", "2026-10-30", 3960.00, "Overdue"),
    ("2026-0437", "Atelier Nord", "2026-11-06", 1850.75, "Overdue"),
    ("2026-0440", "Horta do Mar", "2026-11-27", 2210.00, "Open"),
    ("2026-0442", "Studio Brisa", "2026-12-01", 980.00, "Open"),
    ("2026-0401", "Padaria Lua", "2026-09-21", 1430.00, "Paid"),
    ("2026-0405", "Atelier Nord", "2026-09-28", 760.25, "Paid"),
    ("2026-0409", "Studio Brisa", "2026-10-02", 1990.00, "Paid"),
)
CUSTOMERS = (
    ("Atelier Nord", "Lyon", "Active"),
    ("Casa Verde", "Porto", "Active"),
    ("Horta do Mar", "Faro", "Active"),
    ("Padaria Lua", "Lisbon", "Active"),
    ("Studio Brisa", "Recife", "Lead"),
    ("Café Miragem", "Recife", "Lead"),
)

OVERDUE = "Which invoices over 1,000 are overdue?"
OVERDUE_FOUND = """\
Four invoices over 1,000 are overdue, **€9,410.75** in all. The oldest was due on 5 October.

| Invoice | Customer | Due | Amount |
| --- | --- | --- | ---: |
| 2026-0412 | Casa Verde | 5 Oct | 2,480.00 |
| 2026-0423 | Padaria Lua | 19 Oct | 1,120.00 |
| 2026-0431 | Casa Verde | 30 Oct | 3,960.00 |
| 2026-0437 | Atelier Nord | 6 Nov | 1,850.75 |"""
PAID = "Casa Verde paid both yesterday. Please mark them."
PROPOSED_BY_PROGRAM = {
    "action": "update",
    "table": "Invoices",
    "changes": [{"id": 5, "fields": {"Status": "Paid", "Paid on": "2026-11-20"}}],
}
"""The arguments of `propose_change` in the call of an MCP client."""
BY_STATUS = "Quanto temos em aberto, por status?"
BY_STATUS_FOUND = """\
Há **13.241,25 €** por receber:

| Status | Faturas | Total |
| --- | ---: | ---: |
| Vencidas | 5 | 10.051,25 |
| Em aberto | 2 | 3.190,00 |"""
LEADS = "Quels clients sont encore des prospects ?"
LEADS_FOUND = """\
Deux clients sont encore des prospects :

| Client | Ville |
| --- | --- |
| Studio Brisa | Recife |
| Café Miragem | Recife |"""
TO_ACTIVE = "Studio Brisa a signé. Passez-le en actif."
LATE_ORDERS_QUESTION = "What is overdue, and more than 1,000?"
NARROW_FOUND = """\
Four invoices over 1,000 are overdue:

| Customer | Due | Amount |
| --- | --- | ---: |
| Casa Verde | 5 Oct | 2,480.00 |
| Padaria Lua | 19 Oct | 1,120.00 |
| Casa Verde | 30 Oct | 3,960.00 |
| Atelier Nord | 6 Nov | 1,850.75 |"""
EVERY_MONDAY = "Every Monday at 9, post the overdue invoices here."
PAYMENT = {"id": "pay_71", "payer": "Atelier Nord", "amount": "1850.75", "received": "2026-11-19"}
PAYMENT_CAME = "A payment came in. Say which invoice it pays, and whether it is still open."
PAYMENT_FOUND = """\
**Atelier Nord paid €1,850.75.** That is invoice 2026-0437, which was due on 6 November and is \
still marked as overdue."""
MARK_IT = "Please mark it as paid."
FILE_ISSUE = "The invoice form rejects cents. Please file an issue."
ISSUE = {"title": "Invoice form rejects cents", "text": "Reported by Ana Sousa in #invoices."}
ISSUE_TOOL = {
    "name": "create_issue",
    "description": "Create an issue",
    "inputSchema": {
        "type": "object",
        "properties": {"title": {"type": "string"}, "text": {"type": "string"}},
        "required": ["title", "text"],
    },
}
PLOTTED = "Plot sales by month from this file"
PLOT_FOUND = "Sales grew by 42 % from June to October; only August fell back."
HELLO = "hello, what can you do?"
HELLO_FOUND = """\
Hello Ana! Here in #invoices I can

- look things up in **Invoices** and **Customers**, and say where each figure comes from
- propose changes to them; nothing is written before one of you approves it
- read files that you attach, compute and plot with Python
- run the quick commands **Release notes** and **Translate a contract**"""


@dataclass
class Studio:
    """`clock` is set before each scene, which begins with a conversation of its own."""

    app: Ponte
    clock: time_machine.Traveller
    slack: FakeSlack
    discord: FakeDiscord
    stackspot: FakeStackSpot
    nocodb: FakeNocoDB
    home: Path
    ana: SlackPerson
    rui: SlackPerson
    lea: SlackPerson
    channel: SlackChannel
    maya: DiscordPerson
    server: Channel

    async def redraw(self) -> None:
        """Draw the cards of changes that moved, from the stored answers."""
        await self.app.engine.redraw.once()

    def normalize(self, drawing: Any) -> Any:
        """Without what differs from one run to the next: ids that are drawn by lot, ports."""
        text = json.dumps(drawing, ensure_ascii=False)
        text = text.replace(self.nocodb.origin, "https://nocodb.example.com")
        text = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8080", text)
        text = re.sub(r"\bb\d{6}\b", "b000000", text)  # the fake Slack counts its own blocks
        return json.loads(name_changes(text), strict=False)


def name_changes(text: str) -> str:
    """JSON with the same ids of changes in each run, in the order in which they come."""
    text = text.replace("\\n", "\n").replace("\\t", "\t")  # an escape's letter is no part of an id
    names = dict(zip(dict.fromkeys(CHANGE_ID.findall(text)), CALLED, strict=False))
    return CHANGE_ID.sub(lambda found: names.get(found[0], found[0]), text)


CHANGE_ID = re.compile(r"(?<![#\w])(?=[a-z]*[2-7])[a-z2-7]{6}\b")
"""An id has a digit (`new_change_id`), so no word is one. A colour is none either."""
CALLED = ("k3r7wd", "p5m2xa", "t6h4qe", "b2n7vy", "w4c3jz")


def tables() -> World:
    status = {"choices": [{"title": name} for name in ("Open", "Overdue", "Paid")]}
    stage = {"choices": [{"title": name} for name in ("Lead", "Active", "Lost")]}
    invoices = _table(
        "m4t1q8invoices",
        "Invoices",
        [
            ("Number", "SingleLineText", None),
            ("Customer", "SingleLineText", None),
            ("Due", "Date", None),
            ("Amount", "Decimal", None),
            ("Status", "SingleSelect", status),
            ("Paid on", "Date", None),
        ],
    )
    customers = _table(
        "m4t1q8customer",
        "Customers",
        [
            ("Name", "SingleLineText", None),
            ("City", "SingleLineText", None),
            ("Status", "SingleSelect", stage),
        ],
    )
    for number, customer, due, amount, state in INVOICES:
        invoices.create(
            {"Number": number, "Customer": customer, "Due": due, "Amount": amount, "Status": state}
        )
    for name, city, state in CUSTOMERS:
        customers.create({"Name": name, "City": city, "Status": state})
    base = FakeBase("psales", "Sales", {table.id: table for table in (customers, invoices)})
    return World({base.id: base}, {TOKEN: FakeUser({base.id: "editor"})})


def _table(id: str, title: str, fields: list[tuple[str, str, Json | None]]) -> FakeTable:
    columns = [FakeField(f"c{id[1:]}id", "Id", "ID")]
    columns += [
        FakeField(f"c{id[1:]}{number}", name, kind, options)
        for number, (name, kind, options) in enumerate(fields)
    ]
    return FakeTable(id, title, columns)


def script() -> tuple[Script, ...]:
    """What the model says."""
    overdue = [
        {"field": "Status", "op": "eq", "value": "Overdue"},
        {"field": "Amount", "op": "gt", "value": 1000},
    ]
    unpaid = [{"field": "Status", "op": "in", "value": ["Open", "Overdue"]}]
    leads = [{"field": "Status", "op": "eq", "value": "Lead"}]
    payment = {"Status": "Paid", "Paid on": "2026-11-18"}
    return (
        _calls(
            PAYMENT_CAME,
            "nocodb_query",
            table="Invoices",
            filters=[{"field": "Amount", "op": "eq", "value": 1850.75}],
        ),
        _calls(
            MARK_IT,
            "nocodb_update",
            table="Invoices",
            changes=[{"id": 5, "fields": {"Status": "Paid", "Paid on": PAYMENT["received"]}}],
        ),
        _calls(
            EVERY_MONDAY,
            "schedule_propose",
            kind="ask",
            when="0 9 * * MON",
            zone=ZONE.key,
            what="Post the overdue invoices, with customer and amount",
            ends=None,
            replaces=None,
        ),
        _calls(FILE_ISSUE, "tracker__create_issue", **ISSUE),
        _calls(OVERDUE, "nocodb_query", table="Invoices", filters=overdue),
        _calls(
            PAID,
            "nocodb_update",
            table="Invoices",
            changes=[{"id": 1, "fields": payment}, {"id": 4, "fields": payment}],
        ),
        _calls(
            BY_STATUS,
            "nocodb_summarize",
            table="Invoices",
            group_by="Status",
            filters=unpaid,
            aggregates=[{"field": "Amount", "fn": "sum"}],
        ),
        _calls(LEADS, "nocodb_query", table="Customers", filters=leads, fields=["Name", "City"]),
        _calls(
            TO_ACTIVE,
            "nocodb_update",
            table="Customers",
            changes=[{"id": 5, "fields": {"Status": "Active"}}],
        ),
        _calls(PLOTTED, "run_python", code=PLOT),
        _calls(
            LATE_ORDERS_QUESTION,
            "nocodb_query",
            table="Invoices",
            filters=overdue,
            fields=["Customer", "Due", "Amount"],
        ),
        Script(OVERDUE_FOUND, match="2026-0412", times=0),
        Script(PAYMENT_FOUND, match="2026-0437", times=0),
        Script(NARROW_FOUND, match="Atelier Nord", times=0),
        Script(BY_STATUS_FOUND, match="sum of Amount", times=0),
        Script(LEADS_FOUND, match="Miragem", times=0),
        Script(PLOT_FOUND, match="The person has:", times=0),
        Script(HELLO_FOUND, match=HELLO, times=0),
    )


def _calls(match: str, tool: str, **arguments: Any) -> Script:
    return Script(calls=((tool, json.dumps(arguments)),), match=match, times=0)


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    """`folder` is empty: the bot's home comes to be there."""
    home = await sandboxed.home(folder / "home")
    with (
        time_machine.travel(MOMENT, tick=True) as clock,
        sdk_addresses(),
        patch.dict("os.environ", PAYMENTS_SECRET=PLAIN_SECRET, ACME_SECRET=PLAIN_SECRET),
    ):
        async with (
            FakeOpenAI() as openai,
            FakeNocoDB(tables()) as nocodb,
            FakeStackSpot() as stackspot,
            FakeSlack() as slack,
            FakeDiscord() as discord,
        ):
            openai.say(*script())
            ana = slack.person("Ana Sousa", tz=ZONE.key, locale="en-GB")
            rui = slack.person("Rui Prado", tz=ZONE.key, locale="en-GB")
            lea = slack.person("Léa Martin", tz=ZONE.key, locale="fr-FR")
            channel = slack.channel("invoices", ana, rui, lea)
            maya = discord.user("Maya")
            guild = discord.guild("Horta", maya)
            server = discord.text_channel(guild, "sales")
            settings = Settings.model_validate(
                {
                    "ponte_titles": "off",  # a title comes after the answer, at any time
                    "openai_api_key": "sk-test",
                    "openai_base_url": openai.base_url,
                    "nocodb_url": nocodb.origin,
                    "nocodb_token": TOKEN,
                    "stackspot_client_id": CLIENT,
                    "stackspot_client_secret": SECRET,
                    "stackspot_realm": REALM,
                    "stackspot_auth_url": stackspot.url,
                    "stackspot_api_url": stackspot.url,
                    "stackspot_agent_url": stackspot.url,
                    "slack_bot_token": slack.bot_token,
                    # over HTTP: each move of the clock would end a socket's connection, and Slack
                    # sends a command or a click that it loses no second time
                    "slack_signing_secret": slack.deliveries.signing_secret,
                    "slack_api_url": slack.base_url,
                    "discord_token": discord.token,
                    "discord_api_url": discord.api_url,
                    "discord_gateway_url": discord.gateway_url,
                    "ponte_home": home,
                    "ponte_web_port": 0,
                    "ponte_timezone": ZONE.key,
                    "ponte_grace": 1,
                    "ponte_code": "local",
                    "ponte_mcp": "on",
                    "ponte_allow": [f"slack:{one.id}" for one in (ana, rui, lea)]
                    + [f"discord:{maya.id}"],
                    "ponte_admins": [f"slack:{rui.id}"],
                }
            )
            # people see who asks and who approves: two people
            channel_config = ChannelConfig(approvers=(f"slack:{rui.id}",))
            place = f"slack:{ana.team}:{channel.id}"
            payments = HookConfig(
                "secret", "PAYMENTS_SECRET", place, "billing", instruction=PAYMENT_CAME
            )
            config = with_sections(
                quick_commands=COMMANDS,
                channels={place: channel_config},
                mcp_server=McpServerConfig(place),
                sign_in={
                    "acme": SignInConfig(
                        "https://login.example.com", "ponte", "ACME_SECRET", "Acme", anyone=True
                    )
                },
                hooks={"payments": payments},
                groups={"billing": (f"slack:{rui.id}",)},
                rules=(AccessRule(("billing",), allow=("read:Invoices", "propose:Invoices")),),
            )
            owner = Home(home)
            with owner.take():
                with patch("bot.compose.system_user_name", lambda: "Maya Duarte"):
                    app = await compose(settings, config, owner, check=check_everything)
                await app.start()
                # scenes call `redraw`: beside a click it would come first or last
                await cancel_all([t for t in asyncio.all_tasks() if t.get_name() == "redraw"])
                try:
                    page = app.links()[1].partition("#")[0]
                    slack.deliveries.request_url = f"{page}slack/events"
                    await discord.wait_until(lambda: discord.rest.commands)
                    yield Studio(
                        app,
                        clock,
                        slack,
                        discord,
                        stackspot,
                        nocodb,
                        home,
                        ana,
                        rui,
                        lea,
                        channel,
                        maya,
                        server,
                    )
                finally:
                    await app.stop()
