"""The sample tables: asked, changed and restored by the owner, and kept from everybody else."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.compose import compose
from bot.config.ponte_toml import Config, read_config
from bot.features.backup.backup import backup, restore
from bot.home import Home, Start
from bot.settings import Settings
from core.base.errors import PonteError
from core.tools.sample import SAMPLE_FILE, open_sample_base
from core.tools.sample.shop import SHOP_TABLES, make_shop
from tests.fakes.link import parse_page_link
from tests.languages.sentences import sentences

PAY = (
    '/nocodb nocodb_update {"table": "Invoices",'
    ' "changes": [{"id": 3, "fields": {"Status": "Paid"}}]}'
)
ALONE = {"ponte_code": "off", "ponte_web_port": 0, "ponte_grace": 0.5, "ponte_timezone": "UTC"}


@dataclass
class Owner:
    """The owner's page."""

    web: httpx.AsyncClient
    home: Path

    async def ask(self, text: str, locale: str = "en") -> dict[str, Any]:
        request = {"message": text, "conversation": "work"}
        answer = await self.web.post("/chat", json=request, headers={"Accept-Language": locale})
        answer.raise_for_status()
        return dict(answer.json())

    async def send(self, text: str, name: str, data: bytes, locale: str = "en") -> dict[str, Any]:
        answer = await self.web.post(
            "/chat",
            data={"message": text, "conversation": "work"},
            files={"file": (name, data, "text/csv")},
            headers={"Accept-Language": locale},
        )
        answer.raise_for_status()
        return dict(answer.json())

    async def card(self, text: str, locale: str = "en") -> dict[str, Any]:
        (card,) = (await self.ask(text, locale))["cards"]
        return dict(card)

    async def click(self, action: str, id: str) -> dict[str, Any]:
        response = await self.web.post(
            f"/cards/{id}", json={"action": action, "conversation": "work"}
        )
        return dict(response.json())

    def status(self, id: int) -> str:
        with closing(sqlite3.connect(self.home / SAMPLE_FILE)) as connection:
            (cells,) = connection.execute(
                "SELECT cells FROM table_rows WHERE table_id = 'minvoices' AND id = ?", (id,)
            ).fetchone()
        return str(json.loads(cells)["Status"])


@asynccontextmanager
async def owner(
    home: Path, config: Config | None = None, locale: str = "en"
) -> AsyncIterator[Owner]:
    """A Ponte without any settings of its own, as `make run` starts it: the demo model answers."""
    values = {**ALONE, "ponte_home": home, "ponte_locale": locale}
    settings = Settings.model_validate(values)
    home_of_ponte = Home(settings.ponte_home)
    with home_of_ponte.take():
        app = await compose(settings, config or Config(), home_of_ponte)
        await app.start()
        try:
            page, bearer = parse_page_link(app.links()[1])
            async with httpx.AsyncClient(base_url=page, headers=bearer, timeout=20) as web:
                yield Owner(web, home)
        finally:
            await app.stop()


async def test_a_question_a_change_and_its_undo(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        assert not (tmp_path / SAMPLE_FILE).exists(), "it is made at its first use"
        text = await here.ask("Show me the overdue invoices")
        assert text["response"].startswith("**Invoices**: showing 10 of 10 rows.")
        assert 'Source: Invoices, Status is "Overdue": 10 of 10 rows, ' in text["response"]
        assert text["response"].endswith(" Sample data.")
        assert re.search(
            r"\| INV-2003 \| .* \| €\d+\.\d\d \| Overdue \| \w{3} \d+ ", text["response"]
        )
        answer = await here.ask('/nocodb query {"table": "Orders", "fields": ["Total"]}')
        assert re.search(r"\| €\d+\.\d\d \|", answer["response"]), "a rollup of amounts"
        assert stat.S_IMODE((tmp_path / SAMPLE_FILE).stat().st_mode) == 0o600
        titles = {"en": "(sample)", "pt-BR": "(exemplo)", "fr": "(exemple)"}
        for locale, label in titles.items():
            card = await here.card(PAY, locale)
            assert card["title"].endswith(f"Invoices {label}"), card["title"]
        assert here.status(3) == "Overdue"
        click = await here.click("approve", card["id"])
        assert (click["state"], here.status(3)) == ("done", "Paid")
        await here.click("undo", card["id"])
        assert here.status(3) == "Overdue"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("Add these customers", b"Name,City,Newsletter\nAda,Lyon,yes\nBob,Natal,maybe\n"),
        ("Please import them.", b"City;Name\nLyon;Ada\n"),
    ],
)
async def test_a_file_becomes_a_request(tmp_path: Path, text: str, data: bytes) -> None:
    async with owner(tmp_path) as here:
        (card,) = (await here.send(text, "new.csv", data))["cards"]
        assert card["title"] == "Create a row in Customers (sample)"
        assert "in the file: 1 new" in card["text"]
        assert ("1 rejected" in card["text"]) == (b"maybe" in data)
        await here.click("approve", card["id"])
        named = '{"filters": [{"field": "Name", "op": "eq", "value": "Ada"}], "table": "Customers"}'
        assert "Lyon" in (await here.ask(f"/nocodb nocodb_query {named}"))["response"]


async def test_a_file_of_other_columns_is_told(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        answer = await here.send("Add these customers", "new.csv", b"A;B\n1;2\n")
        assert "too few columns of the sample tables" in answer["response"]
        answer = await here.send("Add these customers", "new.csv", b"%PDF-1.4")
        assert "a file of type PDF" in answer["response"]
        assert "I can't read" not in answer["response"]


async def test_months_and_averages_of_money_are_as_people_write_them(tmp_path: Path) -> None:
    figures = [{"field": "Amount", "fn": fn} for fn in ("avg", "sum")]
    call = {"table": "Invoices", "aggregates": figures, "group_by": "Issued", "bucket": "month"}
    async with owner(tmp_path) as here:
        for locale, (month, money) in {
            "en": (r"[A-Z][a-z]{2} 20\d\d", r"€[\d,]+\.\d\d"),
            "pt-BR": (r"[a-z]{3}\. 20\d\d", r"€\s[\d.]+,\d\d"),
        }.items():
            text = (await here.ask(f"/nocodb summarize {json.dumps(call)}", locale))["response"]
            row = rf"\| {month} \| \d+ \| {money} \| {money} \|"
            assert len(re.findall(row, text)) > 3, text


async def test_a_row_that_changed_since_the_card_is_left_alone(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        first, second = await here.card(PAY), await here.card(PAY.replace("Paid", "Cancelled"))
        await here.click("approve", first["id"])
        click = await here.click("approve", second["id"])
        assert "Skipped because it changed after the request: ID 3." in click["text"]
        assert here.status(3) == "Paid"


async def test_a_reset_restores_the_rows_and_ends_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with owner(tmp_path) as here:
        outcome, waiting = await here.card(PAY), await here.card(PAY.replace("3", "10"))
        await here.click("approve", outcome["id"])
        open_sample_base(tmp_path, "UTC").reset()
        assert here.status(3) == "Overdue"
        click = await here.click("approve", waiting["id"])
        assert click["state"] == "failed"
        assert "The sample tables have been reset since you asked for this." in click["text"]
        waiting = await here.card(PAY.replace("3", "10"))
        await asyncio.to_thread(reset_by_command, monkeypatch, tmp_path)
        while True:
            value = (await here.web.get("/conversations/work")).json()["cards"]
            (card,) = [one for one in value if one["id"] == waiting["id"]]
            if card["state"] != "open":
                break
        assert (card["state"], card["actions"]) == ("withdrawn", [])
        assert "Withdrawn. Ask again if you still want this change." in card["text"]
        await here.click("undo", outcome["id"])
        assert here.status(3) == "Overdue"
        again = await here.card(PAY)
        assert (await here.click("approve", again["id"]))["state"] == "done", "nothing is stale"


TABLES = {
    "en": ["Customers", "Products", "Orders", "Order lines", "Invoices"],
    "pt-BR": ["Clientes", "Produtos", "Pedidos", "Itens do pedido", "Faturas"],
    "fr": ["Clients", "Produits", "Commandes", "Lignes de commande", "Factures"],
}
PAID = {
    "pt-BR": {"Situação": "Paga", "Paga em": "data"},
    "fr": {"Statut": "Payée", "Payée le": "date"},
}


@pytest.mark.parametrize("locale", PAID)
async def test_the_first_start_decides_the_language_of_the_tables(
    tmp_path: Path, locale: str
) -> None:
    """All that is suggested works in it, also for a reader of another language."""
    async with owner(tmp_path, locale=locale) as here:
        headers = {"Accept-Language": locale}
        welcome = (await here.web.get("/welcome", headers=headers)).json()
        assert welcome["tables"] == TABLES[locale]
        ask, change, chart = (one["text"] for one in welcome["suggestions"])
        assert "| INV-2003 | Davi Oliveira | " in (await here.ask(ask, locale))["response"]
        (row,) = (await here.card(change, locale))["rows"]
        assert [each["field"] for each in row["changes"]] == [*PAID[locale]]
        assert row["after"][next(iter(PAID[locale]))] == next(iter(PAID[locale].values()))
        bars = [
            line for line in (await here.ask(chart, locale))["response"].splitlines() if "█" in line
        ]
        assert len(bars) > 3
        assert "| INV-2003 | " in (await here.ask("Which invoices are overdue?"))["response"]
    async with owner(tmp_path) as here:
        assert (await here.web.get("/welcome")).json()["tables"] == TABLES[locale], "as they are"


async def test_sales_without_invoices_are_not_drawn(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        chart = (await here.web.get("/welcome")).json()["suggestions"][2]["text"]
        assert "█" in (await here.ask(chart))["response"]
        with closing(sqlite3.connect(tmp_path / SAMPLE_FILE)) as connection, connection:
            connection.execute("DELETE FROM table_rows WHERE table_id = 'minvoices'")
        assert "**Invoices** has no rows." in (await here.ask(chart))["response"]


async def test_a_reset_can_change_the_language_while_ponte_runs(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        operator = httpx.AsyncHTTPTransport(uds=str(tmp_path / "ponte.sock"))
        async with httpx.AsyncClient(transport=operator, base_url="http://ponte") as socket:

            async def reset(**arguments: str) -> int:
                body = {"arguments": arguments}
                return (await socket.post("/operator/sample/reset", json=body)).status_code

            card = await here.card(PAY)
            for language, expected in (("fr", "fr"), ("", "fr"), ("pt-BR", "pt-BR"), ("en", "en")):
                assert await reset(language=language) == 200
                assert (await here.web.get("/welcome")).json()["tables"] == TABLES[expected]
                text = (await here.ask(f"show {TABLES[expected][1]}"))["response"]
                assert text.startswith(f"**{TABLES[expected][1]}**: showing 16 of 16 rows."), text
            assert await reset(language="de") >= 400
            assert "withdrawn" in (await here.click("approve", card["id"]))["state"]


def test_each_word_of_the_shop_has_a_translation() -> None:
    words = {table.title for table in SHOP_TABLES}
    for table in SHOP_TABLES:
        words |= {each["title"] for each in table.fields}
        for field in table.fields:
            words |= {one["title"] for one in field.get("options", {}).get("choices", ())}
    for row in make_shop("UTC")["mproducts"]:
        words |= {row.cells["Name"], row.cells["Category"]}
    assert words - {key for key in sentences() if isinstance(key, str)} == set()


async def test_a_damaged_file_is_told_and_can_be_restored(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        for content in (b"not a database" * 100, None):
            (tmp_path / SAMPLE_FILE).unlink(missing_ok=True)
            if content:
                (tmp_path / SAMPLE_FILE).write_bytes(content)
            else:
                with closing(sqlite3.connect(tmp_path / SAMPLE_FILE)) as connection:
                    connection.execute("CREATE TABLE somebody_elses (x)")
            text = (await here.ask("show Customers"))["response"]
            assert "The sample tables in " in text
            assert "ponte sample reset" in text
            open_sample_base(tmp_path, "UTC").reset()
            assert "28 rows" in (await here.ask("show Customers"))["response"]


async def test_a_full_disk_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with owner(tmp_path) as here:
        card = await here.card(PAY)
        monkeypatch.setattr("core.tools.sample.base._save_row", fail)
        click = await here.click("approve", card["id"])
        assert click["state"] == "failed"
        assert "(database or disk is full). Check the disk" in click["text"]
        assert here.status(3) == "Overdue"


async def test_rules_for_single_tables_hold(tmp_path: Path) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text("[tables.Customers]\naccess = 'hidden'\n[tables.Invoices]\naccess = 'read'\n")
    async with owner(tmp_path, read_config(file)) as here:
        assert "Customers" not in (await here.ask("list tables"))["response"]
        assert "not found. (there are Products" in (await here.ask("show Customers"))["response"]
        assert "read-only here" in (await here.ask(PAY))["response"]
        suggestions = (await here.web.get("/welcome")).json()["suggestions"]
        assert [each["kind"] for each in suggestions] == ["ask", "chart", "help"]


async def test_only_the_owner_is_offered_them(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        welcome = (await here.web.get("/welcome")).json()
        assert welcome["tables"] == ["Customers", "Products", "Orders", "Order lines", "Invoices"]
        assert ("sample", "on") in [(part["name"], part["state"]) for part in welcome["parts"]]
        operator = httpx.AsyncHTTPTransport(uds=str(tmp_path / "ponte.sock"))
        async with httpx.AsyncClient(transport=operator, base_url="http://ponte") as socket:
            body = {"arguments": {"name": "bia"}}
            addition = (await socket.post("/operator/people/add", json=body)).json()
        token = addition["token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=here.web.base_url, headers=headers) as guest:
            request = {"message": "show Customers", "conversation": "own"}
            value = (await guest.post("/chat", json=request)).json()["response"]
            assert value.startswith("No tables are available here.")
            assert (await guest.get("/welcome")).json()["tables"] == []
        assert not (tmp_path / SAMPLE_FILE).exists()


async def test_a_backup_holds_them(tmp_path: Path) -> None:
    home, other, file = tmp_path / "home", tmp_path / "other", tmp_path / "ponte.tar.gz"
    async with owner(home) as here:
        card = await here.card(PAY)
        await here.click("approve", card["id"])
    results = [_start(folder) for folder in (home, other)]
    backup(results[0], str(file))
    await asyncio.to_thread(restore, results[1], str(file), replace=False, resume=False)
    async with owner(other) as here:
        assert here.status(3) == "Paid"
        assert (await here.click("undo", card["id"]))["state"] == "undone"
        assert here.status(3) == "Overdue"


def _start(home: Path) -> Start:
    settings = Settings.model_validate({**ALONE, "ponte_home": home})
    return Start(settings, Config(), Home(settings.ponte_home))


def reset_by_command(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from bot.cli import commands as cli_commands

    monkeypatch.setattr(cli_commands, "start", lambda **_: _start(home))
    assert cli_commands.run_operation("sample reset", {}, as_json=False) == 0


def test_the_command_restores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.cli import commands as cli_commands

    reset_by_command(monkeypatch, tmp_path / "home")
    assert (tmp_path / "home" / SAMPLE_FILE).exists()
    start = Start(
        Settings.model_validate({**ALONE, "slack_bot_token": "xoxb-1"}), Config(), Home(tmp_path)
    )
    monkeypatch.setattr(cli_commands, "start", lambda **_: start)
    with pytest.raises(PonteError, match="no sample tables"):
        cli_commands.run_operation("sample reset", {}, as_json=False)
