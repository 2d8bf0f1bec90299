"""kill -9 at each step of a new start with turns under way: each is answered once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bot.home import Home
from bot.setup.stored import StoredSettings
from tests.bot.setup.dying import FILES, STEPS
from tests.bot.setup.test_restart import NEW_MODEL, Owner, address_of
from tests.bot.test_process import Machine, Process

pytestmark = pytest.mark.slow
TURNS = 20


@pytest.mark.parametrize(
    ("when", "name"),
    [
        (when, name)
        for when in ("before", "after")
        for name in (*FILES, *STEPS)
        if (when, name) != ("after", "execute")  # it does not return
    ],
)
def test_turns_and_settings_survive(tmp_path: Path, when: str, name: str) -> None:
    settings = {"PONTE_CODE": "off", "PONTE_GRACE": "0"}
    home = tmp_path / "home"
    killed = settings | {"DIE_AT": f"{when} {name}"}
    with Machine(tmp_path, home, "", killed, "tests.bot.setup.dying").start("run") as process:
        try:
            turns = die_with_turns(process, home)
        finally:
            process.kill()
    before = StoredSettings(Home(home)).read()
    assert before in ({}, {"PONTE_MODEL": NEW_MODEL})
    with Machine(tmp_path, home, "", settings).running() as (_, lines):
        assert StoredSettings(Home(home)).read() in (before, {})
        owner = Owner(address_of(lines), home)
        assert owner.http.get("/admin/setup").status_code == 200
        for number, turn in enumerate(turns):
            answer = ask(owner.http, number)
            assert (answer.status_code, answer.json()["turn"]) == (200, turn)
            shown = owner.http.get(f"/conversations/c{number}").json()
            assert [one["role"] for one in shown["messages"]] == ["user", "assistant"]


def die_with_turns(process: Process, home: Path) -> list[str]:
    """Return the turns that are under way when the process dies."""
    lines: list[str] = []
    assert process.stdout
    while not lines or not lines[-1].startswith("Ponte is ready"):
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    owner = Owner(address_of(lines), home)
    turns = [ask(owner.http, n, "respond-async").json()["turn"] for n in range(TURNS)]
    with suppress(httpx.TransportError):
        owner.save_model()
        owner.send("apply")
        owner.http.get("/healthz")  # waits for the start that dies
    assert process.wait() == -9
    return turns


def ask(http: httpx.Client, number: int, preference: str = "") -> httpx.Response:
    body = {"message": "hello", "conversation": f"c{number}"}
    headers = {"Idempotency-Key": f"key-{number}", "Prefer": preference}
    return http.post("/chat", json=body, headers=headers)
