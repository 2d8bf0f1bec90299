"""`/readyz` of a whole Ponte: it can answer people while a tool is away, not without its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dialogues.office import office
from tests.fakes.link import parse_page_link

NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nothing listens."""


async def read_health(home: Path, **settings: Any) -> tuple[int, list[str], dict[str, str]]:
    """Return the status of `/readyz`, the parts that it names, and the state of every part."""
    async with office(home) as team, team.open(**settings) as app:
        page, bearer = parse_page_link(app.links()[1])
        async with httpx.AsyncClient(base_url=page, headers=bearer) as client:
            while ": checking" in (ready := await client.get("/readyz")).text:
                pass  # the first check has not ended
            parts = (await client.get("/status")).json()["parts"]
    reasons = [reason["name"] for reason in ready.json()["reasons"]]
    return ready.status_code, reasons, {part["name"]: part["state"] for part in parts}


@pytest.mark.slow
async def test_ponte_is_ready_while_nocodb_is_away(tmp_path: Path) -> None:
    status, reasons, states = await read_health(tmp_path, nocodb_url=NOWHERE)
    assert states["nocodb"] == "failing"
    assert (status, reasons) == (200, [])


async def test_ponte_is_not_ready_while_the_model_is_away(tmp_path: Path) -> None:
    status, reasons, states = await read_health(tmp_path, openai_base_url=f"{NOWHERE}/v1")
    assert states["model"] == "failing"
    assert (status, reasons) == (503, ["model"])
