"""Requests that arrive while Ponte starts again: they wait, and none of them fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bot.setup.test_restart import Owner, address_of, next_start
from tests.bot.test_process import Machine

pytestmark = pytest.mark.slow
CLIENTS = 6


async def test_requests_during_a_new_start_wait(tmp_path: Path) -> None:
    """Each on a connection of its own, one after the other from six clients."""
    settings = {"PONTE_CODE": "off", "PONTE_GRACE": "10"}
    machine = Machine(tmp_path, tmp_path / "home", "", settings)
    with machine.running() as (process, lines):
        owner = await asyncio.to_thread(Owner, address_of(lines), machine.home)
        token = (machine.home / "web-token").read_text().strip()
        await asyncio.to_thread(owner.save_model)
        is_done = asyncio.Event()
        answers: list[tuple[str, int]] = []
        options: dict[str, Any] = {
            "base_url": str(owner.http.base_url),
            "timeout": 120,
            "headers": {"Authorization": f"Bearer {token}"},
        }

        async def send(client: int) -> None:
            number = 0
            while not is_done.is_set():
                number += 1
                async with httpx.AsyncClient(**options) as http:
                    page = await http.get("/admin")
                    answers.append(("/admin", page.status_code))
                async with httpx.AsyncClient(**options) as http:
                    body = {"message": "hello", "conversation": f"c{client}"}
                    key = {"Idempotency-Key": f"{client}-{number}"}
                    page = await http.post("/chat", json=body, headers=key)
                    answers.append(("/chat", page.status_code))

        sending = [asyncio.create_task(send(client)) for client in range(CLIENTS)]
        page = await asyncio.to_thread(owner.send, "apply")
        assert page.headers["refresh"]
        await asyncio.to_thread(next_start, process)
        is_done.set()
        await asyncio.gather(*sending)
    assert [one for one in answers if one[1] != 200] == []
