"""The whole program before a real NocoDB: a person without a key reads, changes and takes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from core.base.http import HttpClient
from tests.real.nocodb.seed import Base, Seeded, base_with_rows, call
from tests.real.test_cards import Page
from tests.real.test_whole import bearer_of, doctor, ponte


def settings(home: Path, nocodb: Seeded, base: Base) -> Mapping[str, str]:
    ours = {"PONTE_HOME": str(home), "PONTE_WEB_PORT": "0"}
    table = {"NOCODB_TOKEN": nocodb.token, "NOCODB_BASE_ID": base.id}
    return {**ours, **table, "NOCODB_URL": nocodb.url}


@asynccontextmanager
async def page(given: Mapping[str, str]) -> AsyncIterator[Page]:
    async with ponte(given) as (_, lines), HttpClient() as http:
        yield Page(http, lines[-1].split()[-1], bearer_of(Path(given["PONTE_HOME"])))


def order(nocodb: Seeded, base: Base, id: int) -> dict[str, Any]:
    path = f"/api/v3/data/{base.id}/{base.tables['Orders']}/records/{id}"
    fields: dict[str, Any] = call(nocodb.url + path, xc_token=nocodb.token)["fields"]
    return fields


def audit(nocodb: Seeded, base: Base, id: int) -> list[tuple[str, str]]:
    """What NocoDB itself wrote down of an order's changes, the newest first: kind, User-Agent."""
    about = call(f"{nocodb.url}/api/v2/meta/bases/{base.id}", xc_token=nocodb.token)
    table = base.tables["Orders"]
    request = {"operation": "recordAuditList", "fk_model_id": table, "row_id": str(id)}
    path = f"/api/v2/internal/{about['fk_workspace_id']}/{base.id}?{urlencode(request)}"
    result = call(nocodb.url + path, xc_token=nocodb.token)["list"]
    return [(one["op_type"], one["user_agent"]) for one in result]


MARK = (
    '/nocodb nocodb_update {"table": "Orders", "changes": [{"id": 12, "fields": {"Paid": false}}]}'
)


async def test_a_person_reads_changes_and_undoes_on_the_page(
    tmp_path: Path, real_nocodb: Seeded
) -> None:
    base = base_with_rows(real_nocodb.url, real_nocodb.token, "Shop")  # its audit log is empty
    async with page(settings(tmp_path / "home", real_nocodb, base)) as here:
        assert "base Shop: 2 tables; role owner" in (await here.says("status"))["response"]
        assert "Customers" in (await here.says("list tables"))["response"]
        leads = [
            {"field": "Status", "op": "eq", "value": "Lead"},
            {"field": "Value", "op": "gt", "value": "200"},
        ]
        query = json.dumps({"table": "Customers", "filters": leads})
        reply = (await here.says(f"/nocodb query {query}"))["response"]
        assert reply.startswith("**query**: showing 4 of 4 rows.")
        text = 'Source: Customers, Status is "Lead" and Value is more than 200: 4 of 4 rows'
        assert text in reply
        assert real_nocodb.token not in reply

        (card,) = (await here.says(MARK))["cards"]
        row = card["rows"][0]
        assert (row["id"], row["name"]) == ("12", "Order 12")
        assert row["before"] == {"Title": "Order 12", "Paid": True}
        assert order(real_nocodb, base, 12)["Paid"] is True
        _, outcome = await here.clicks(card["id"], "approve")
        assert (outcome["state"], order(real_nocodb, base, 12)["Paid"]) == ("done", False)
        assert await here.clicks(card["id"], "approve") == (200, outcome)
        await here.clicks(card["id"], "undo")
        assert order(real_nocodb, base, 12)["Paid"] is True
    updates = [agent for kind, agent in audit(real_nocodb, base, 12) if kind == "DATA_UPDATE"]
    assert len(updates) == 2
    assert all(agent.endswith("(web:owner)") for agent in updates), updates


async def test_the_operators_file(tmp_path: Path, real_nocodb: Seeded, reused_base: Base) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text('[tables.Orders]\naccess = "hidden"\n[tables.Customers]\naccess = "auto"\n')
    environment = {
        **settings(tmp_path / "home", real_nocodb, reused_base),
        "PONTE_CONFIG": str(file),
    }
    async with page(environment) as here:
        assert "Order" not in (await here.says("list tables"))["response"]
        assert "Order" not in (await here.says("show customers where Id is 1"))["response"]
        assert r"Table \`orders\` not found." in (await here.says("show orders"))["response"]
        row = '{"table": "Customers", "rows": [{"Name": "Ada"}]}'
        (card,) = (await here.says(f"/nocodb nocodb_create {row}"))["cards"]
        assert (card["state"], card["rows"][0]["name"]) == ("done", "Ada")
        assert card["state"] == "done"
    file.write_text('[tables.Ordres]\naccess = "hidden"\n')
    code, text = await doctor(environment)
    assert code == 1
    assert "tables that don't exist: Ordres" in text


async def test_doctor(tmp_path: Path, real_nocodb: Seeded) -> None:
    environment = settings(tmp_path / "home", real_nocodb, real_nocodb.crm)
    code, text = await doctor(environment)
    assert code == 0, text
    assert "ok    nocodb: NocoDB responds; base CRM: 3 tables; role owner" in text
    code, text = await doctor(
        {**environment, "NOCODB_BASE_ID": "", "NOCODB_TOKEN": real_nocodb.viewer}
    )
    assert "role viewer; read-only" in text
    code, text = await doctor({**environment, "NOCODB_BASE_ID": ""})
    assert code == 1
    assert f"NOCODB_BASE_ID to one of: {real_nocodb.crm.id} (CRM)" in text
