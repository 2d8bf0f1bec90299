"""The owner's name in cards and in what the model reads."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.dialogues.office import PAID, office
from tests.fakes.link import parse_page_link


async def test_the_owner_has_a_name_everywhere(tmp_path: Path) -> None:
    async with office(tmp_path / "home") as result:
        async with result.open() as app:
            page, bearer = parse_page_link(app.links()[1])
            async with httpx.AsyncClient(base_url=page, headers=bearer, timeout=20) as web:
                await web.patch("/me", json={"name": "Maya"})
        async with result.open() as app:
            page, bearer = parse_page_link(app.links()[1])
            headers = {**bearer, "Accept-Language": "pt-BR"}
            async with httpx.AsyncClient(base_url=page, headers=headers, timeout=20) as web:
                body = (await web.post("/chat", json={"message": PAID})).json()
        assert "Solicitação sua." in body["cards"][0]["text"]
        assert "The asker is 'Maya'" in result.model_input()
        assert "without a name" not in result.model_input()
