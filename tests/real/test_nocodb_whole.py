"""The whole program before a real NocoDB: a person without a key reads, changes and takes back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.http import HttpClient
from tests.real.nocodb.seed import Base, Seeded, base_with_rows, call
from tests.real.test_whole import doctor, ponte


def settings(home: Path, nocodb: Seeded, base: Base) -> Mapping[str, str]:
    return {
        "PONTE_HOME": str(home),
        "PONTE_WEB_PORT": "0",
        "NOCODB_URL": nocodb.url,
        "NOCODB_TOKEN": nocodb.token,
        "NOCODB_BASE_ID": base.id,
    }


def order(nocodb: Seeded, base: Base, id: int) -> dict[str, Any]:
    path = f"/api/v3/data/{base.id}/{base.tables['Orders']}/records/{id}"
    fields: dict[str, Any] = call(nocodb.url + path, xc_token=nocodb.token)["fields"]
    return fields


async def test_on_the_page(tmp_path: Path, real_nocodb: Seeded) -> None:
    base = base_with_rows(real_nocodb.url, real_nocodb.token, "Shop")
    given = settings(tmp_path / "home", real_nocodb, base)
    async with ponte(given) as (_, lines), HttpClient() as http:
        page = lines[-1].split()[-1]
        assert any("base Shop: 2 tables; role owner" in line for line in lines)

        async def says(text: str) -> Any:
            return await http.post_json(f"{page}/chat", {"message": text, "conversation": "c1"})

        shown = (await says("show customers"))["response"]
        assert shown.startswith("**Customers**: 20 of 30 rows.")
        assert "Source: Customers: 20 of 30 rows" in shown
        assert real_nocodb.token not in shown

        asked = '{"table": "Orders", "changes": [{"id": 12, "fields": {"Paid": false}}]}'
        (card,) = (await says(f"/nocodb update {asked}"))["cards"]
        assert order(real_nocodb, base, 12)["Paid"] is True
        done = await http.post_json(f"{page}/cards/{card['id']}", {"action": "approve"})
        assert (done["state"], order(real_nocodb, base, 12)["Paid"]) == ("done", False)
        await http.post_json(f"{page}/cards/{card['id']}", {"action": "undo"})
        assert order(real_nocodb, base, 12)["Paid"] is True


async def test_doctor(tmp_path: Path, real_nocodb: Seeded) -> None:
    given = settings(tmp_path / "home", real_nocodb, real_nocodb.crm)
    code, told = await doctor(given)
    assert code == 0, told
    assert "ok    nocodb: NocoDB answers; base CRM: 3 tables; role owner" in told
    code, told = await doctor({**given, "NOCODB_BASE_ID": "", "NOCODB_TOKEN": real_nocodb.viewer})
    assert "role viewer; it can change nothing" in told
    code, told = await doctor({**given, "NOCODB_BASE_ID": ""})
    assert code == 1
    assert f"NOCODB_BASE_ID to one of: {real_nocodb.crm.id} (CRM)" in told
