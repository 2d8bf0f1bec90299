"""The team's tables on the web page: questions, cards with buttons, files both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bot.config.ponte_toml import Config, TableConfig
from bot.ponte import Ponte
from tests.dialogues import office
from tests.fakes.link import parse_page_link


class Page:
    """What the page asks of Ponte; the browser tells the reader's time zone."""

    def __init__(self, client: httpx.AsyncClient, team: office.Office) -> None:
        self.client = client
        self.team = team

    async def asks(self, text: str, *files: tuple[str, bytes]) -> dict[str, Any]:
        request = {"message": text, "conversation": "work", "time_zone": "America/Sao_Paulo"}
        if files:
            requests = [("file", (name, data, "text/csv")) for name, data in files]
            response = await self.client.post("/chat?html=1", data=request, files=requests)
        else:
            response = await self.client.post("/chat?html=1", json=request)
        body: dict[str, Any] = response.json()
        assert body["status"] == "done", body
        return body

    async def card(self, text: str, *files: tuple[str, bytes]) -> dict[str, Any]:
        (card,) = (await self.asks(text, *files))["cards"]
        decisions = [action for action in card["actions"] if action != "change"]
        assert (card["state"], decisions) == ("open", ["approve", "deny"])
        assert card["expires_at"]
        return dict(card)

    async def clicks(self, action: str, id: str) -> dict[str, Any]:
        click = {"action": action, "conversation": "work"}
        response = await self.client.post(f"/cards/{id}", json=click)
        assert response.status_code == 200
        return dict(response.json())

    async def reopened_card(self, id: str) -> dict[str, Any]:
        """The card as the page draws it when it is opened anew."""
        cards = (await self.client.get("/conversations/work")).json()["cards"]
        return next(dict(card) for card in cards if card["id"] == id)


@asynccontextmanager
async def open_page(app: Ponte, team: office.Office) -> AsyncIterator[Page]:
    address, bearer = parse_page_link(app.links()[1])
    async with httpx.AsyncClient(base_url=address, headers=bearer, timeout=20) as client:
        yield Page(client, team)


@asynccontextmanager
async def page(home: Path) -> AsyncIterator[Page]:
    async with (
        office.office(home) as team,
        team.open(ponte_timezone="UTC") as app,
        open_page(app, team) as here,
    ):
        yield here


async def test_questions_and_changes(tmp_path: Path) -> None:
    """Answers say where the figures come from. A change waits for a click and can be taken back.
    Whoever is at the page may delete and deny. Rows come from a file and as a file."""
    async with page(tmp_path) as here:
        html = (await here.asks(office.LEADS))["html"]
        assert "Customer 03</td>" in html
        filtered = f'Status is "Lead" and Lead since is {office.this_month()}'
        assert f">Source: Customers, {filtered}: 1 of 1 row, " in html
        assert "(America/Sao_Paulo)." in html
        assert "/dashboard/#/nc/pcrmfake/m" in html
        assert (await here.asks(office.SALES))["response"].startswith(
            f"{office.SALES_FOUND}\n\nSource: "
        )

        both = await here.asks(office.BOTH)
        assert "Customer 05</td>" in both["html"]
        assert "Source: Customers, Name is " in both["response"]
        assert [card["title"] for card in both["cards"]] == ["Change a row in Orders"]

        orders, customers = here.team.rows("Orders"), here.team.rows("Customers")
        card = await here.card(office.PAID)
        row = {"Title": "Order 12", "Paid": False}
        assert card["title"] == "Change a row in Orders"
        assert card["rows"] == [
            {
                "id": "12",
                "name": "Order 12",
                "name_field": "Title",
                "before": row,
                "after": {**row, "Paid": True},
                "changes": [{"field": "Paid", "before": "No", "after": "Yes"}],
                "details": [
                    {"field": "Amount", "before": None, "after": "18"},
                    {"field": "Due", "before": None, "after": "Jan 15, 2026"},
                ],
            }
        ]
        assert orders[12]["Paid"] is False
        first = await here.clicks("approve", card["id"])
        assert (first["state"], orders[12]["Paid"]) == ("done", True)
        assert "Done." in first["text"]
        assert await here.clicks("approve", card["id"]) == first
        assert here.team.writes() == ["PATCH"], "the second click wrote nothing"
        assert (await here.reopened_card(card["id"]))["actions"] == ["undo"]
        undone = await here.clicks("undo", card["id"])
        assert "Undone (`" in undone["text"]
        assert orders[12]["Paid"] is False
        assert (await here.reopened_card(card["id"]))["state"] == "undone"

        card = await here.card(office.ATTACHED, ("new.csv", office.CSV))
        assert "Bruno,Lead" in here.team.model_input()
        assert [row["after"]["Name"] for row in card["rows"]] == ["Ada", "Bruno", "Carla"]
        assert [row["name"] for row in card["rows"]] == ["Ada", "Bruno", "Carla"]
        assert "Done." in (await here.clicks("approve", card["id"]))["text"]
        assert {31, 32, 33} <= customers.keys()
        answer = await here.asks(office.EVERYTHING)
        source = "Source: Readings: 5 of 1,200 rows, "
        assert answer["response"].startswith(f"{office.EXPORTED}\n\n{source}")
        (file,) = answer["files"]
        assert file["name"] == "Readings.csv"
        lines = (await here.client.get(file["url"])).text.splitlines()
        assert (len(lines), lines[-1]) == (1_201, "1200,r1200,1200")

        card = await here.card(office.DUPLICATES)
        assert [row["after"] for row in card["rows"]] == [None, None]
        assert "Undo creates the rows again" in card["text"]
        assert (await here.clicks("deny", card["id"]))["state"] == "denied"
        assert {29, 30} <= customers.keys()
        card = await here.card(office.DUPLICATES)
        decision = await here.clicks("approve", card["id"])
        assert decision["state"] == "done"
        assert "They get new IDs" in decision["card"]["text"], "beside Undo, too"
        assert not {29, 30} & customers.keys()


async def test_a_decision_that_comes_first_after_a_start_asks_for_the_names_of_tables(
    tmp_path: Path,
) -> None:
    """A misspelt rule protects its table before anybody asks a question of the tables."""
    rules = Config(tables={"Ordrs": TableConfig(approvers=("slack:U8",), approvers_only=True)})
    async with office.office(tmp_path) as team:
        async with team.open() as app, open_page(app, team) as here:
            card = await here.card(office.PAID)
        async with team.open(rules) as app, open_page(app, team) as here:
            click = {"action": "approve", "conversation": "work"}
            response = await here.client.post(f"/cards/{card['id']}", json=click)
            assert "designated approver" in response.text
            assert team.rows("Orders")[12]["Paid"] is False
