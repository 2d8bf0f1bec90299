"""What the model's server gets to read."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.dialogues.office import LEADS, LEADS_FOUND, PAID, office
from tests.fakes.link import parse_page_link
from tests.fakes.nocodb import filled


async def test_the_model_is_told_no_secret(tmp_path: Path) -> None:
    """Neither in its instructions nor in what its tools bring: keys, tokens, addresses."""
    async with office(tmp_path) as team, team.open() as app:
        address, bearer = parse_page_link(app.links()[1])
        async with httpx.AsyncClient(base_url=address, headers=bearer, timeout=20) as page:
            response = await page.post("/chat", json={"message": LEADS})
            assert response.json()["response"].startswith(LEADS_FOUND[:20])
            response = await page.post("/chat", json={"message": PAID})
            assert [card["state"] for card in response.json()["cards"]] == ["open"]
        model_input = team.model_input()
        token = app.links()[1].partition("#token=")[2]
        for secret in ("sk-test", filled.EDITOR, token, team.nocodb.origin, str(tmp_path)):
            assert secret not in model_input
        assert "Customer 03" in model_input, "it was told what it needs"
