"""An operation of one file is in the shell, on the socket, in completion and on the operator's
page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.operations import OPERATIONS, Operation, operation
from tests.web.test_admin import open_desk

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _bells() -> Iterator[None]:
    """Put the bells into the table of this process for one test."""
    before = dict(OPERATIONS)
    sys.modules.pop("tests.toys.bell", None)
    import tests.toys.bell  # noqa: F401

    yield
    OPERATIONS.clear()
    OPERATIONS.update(before)


SHELL = """
import contextlib, io, json, os, sys, tests.toys.bell
from bot.cli.main import main
for line, more in json.loads(sys.argv[1]):
    os.environ.update(more)
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main(line.split())
        except SystemExit as end:  # of a completion
            code = end.code
    print(json.dumps([code, out.getvalue(), error.getvalue()]))
"""
"""Runs commands of `ponte` with the bells, in a process of its own, whose table keeps them."""


def run(home: Path, *lines: tuple[str, Mapping[str, str]]) -> Iterator[Any]:
    """Run commands, each with what is set for it and the next ones. Yield the exit code, output and
    errors of each."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PONTE_HOME": str(home),
        "PONTE_CODE": "off",
        "LANG": "C.UTF-8",
    }
    result = subprocess.run(
        [sys.executable, "-c", SHELL, json.dumps(lines)],
        env=env,
        cwd=home.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    yield from map(json.loads, result.stdout.splitlines())


@pytest.mark.slow
def test_it_is_a_command_with_help_and_json(tmp_path: Path) -> None:
    ring = "bell ring front"
    results = run(
        tmp_path / "home",
        ("--help", {}),
        ("bell ring --help", {}),
        ("bell list", {}),
        (f"{ring} --yes --times 2", {}),
        (f"{ring} --yes --json", {}),
        (ring, {}),
        ("audit --event bell-rung", {}),
        *(("bell ring", {"PONTE_LOCALE": locale}) for locale in ("", "fr", "pt-BR")),
    )
    code, text, _ = next(results)
    assert (code, len(re.findall(r"^  bell\b", text, re.M))) == (0, 1)
    _, text, _ = next(results)
    for words in (
        "Ring a bell.",
        "Which bell.",
        "--times",
        "--yes",
        "--json",
        "Example: ponte bell ring front --times 2",
    ):
        assert words in text, words
    assert next(results)[1].splitlines() == ["bell   tone", "front  440", "back   220"]
    assert next(results) == [0, "bell: front\nsound: ding ding\nby: operator\n", ""]
    assert json.loads(next(results)[1])["sound"] == "ding "
    assert next(results)[0] == 2, "nobody confirmed it"
    assert "event" in next(results)[1]
    for words in (
        "ponte bell ring: Missing argument 'bell'. Run `ponte bell ring --help` for help.",
        "ponte bell ring: Argument manquant\u00a0: 'bell'. Exécutez `ponte bell ring --help`",
        "ponte bell ring: Falta o argumento 'bell'. Execute `ponte bell ring --help`",
    ):
        code, _, error = next(results)
        assert (code, error.startswith(words)) == (2, True), error


@pytest.mark.slow
@pytest.mark.usefixtures("_bells")
async def test_it_is_on_the_socket_and_the_page_and_completes_names(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "home") as desk:
        assert (await desk.act("bell/list"))[0]["bell"] == "front"
        missing = await desk.act("bell/ring")
        assert missing["error"]["message"] == "Invalid request: `bell` is missing."
        wrong = await desk["socket"].post(
            "/operator/bell/ring",
            headers={"Accept-Language": "fr"},
            json={"arguments": {"bell": "front", "times": "x"}},
        )
        assert (wrong.status_code, "`times`" in wrong.json()["error"]["message"]) == (400, True)
        assert "Invalid" not in wrong.text
        assert (await desk.act("bell/secret")) == {"key": "under the mat"}
        page = await desk["ana"].get("/admin/operations")
        assert "Ring a bell." in page.text
        assert "bell secret" not in page.text
        answer = await desk.send("ana", "bell ring", "operations", bell="<b>", times="3")
        assert "bell: &lt;b&gt;\nsound: ding ding ding\nby: web:ana" in answer.text
        assert "The bell" not in answer.text
        for do, status in (("bell secret", 404), ("people add", 403), ("bell none", 404)):
            assert (await desk.send("ana", do, "operations")).status_code == status, do
        lines = (await desk.act("audit", event="bell-rung"))["lines"]
        assert [line["asker"] for line in lines] == ["web:ana"]
        typed_text = {
            "_PONTE_COMPLETE": "complete_bash",
            "COMP_WORDS": "ponte bell ring fr",
            "COMP_CWORD": "3",
        }
        (result,) = await asyncio.to_thread(lambda: [*run(tmp_path / "home", ("", typed_text))])
        assert result[1].split() == ["front"]


def test_a_secret_is_never_on_the_page() -> None:
    secret = {name for name, one in OPERATIONS.items() if one.is_secret}
    assert secret == {"link", "people token"}
    assert not any(OPERATIONS[name].admin_page for name in secret)
    with pytest.raises(ValueError, match="must not show a secret"):
        operation("x", is_secret=True, admin_page=True)(_nothing)


async def _nothing(ponte: object) -> None: ...


REACHED_OVER_TCP = {
    *("status", "turns", "reload", "config check", "doctor", "names", "pending", "usage"),
    *("limits", "audit", "tables", "hooks test", "people add", "people list", "people renew"),
    *("people tokens", "people revoke", "people remove", "people readmit", "schedules list"),
    *("schedules pause",),
    *("schedules resume", "schedules run", "schedules delete"),
    "feedback",  # with no text that its people did not share or that is not public anyway
    "setup step",  # of the owner's own session, as adapters/web/setup/gate.py says
}
"""A new entry needs a reason: the page is reached from other machines."""
OWNERS_ALONE = {
    *("people add", "people renew", "people remove", "people revoke", "people token"),
    *(
        "people readmit",
        "people move-provider",
        "setup show",
        "setup undo",
        "setup step",
        "mcp accept",
    ),
}


async def test_what_tcp_reaches_is_listed_here(tmp_path: Path) -> None:
    def names(kind: str) -> set[str]:
        return {one.name for one in OPERATIONS.values() if getattr(one, kind)}

    assert names("admin_page") == REACHED_OVER_TCP
    assert {one.name for one in OPERATIONS.values() if one.right == "own"} == OWNERS_ALONE
    async with open_desk(tmp_path / "home") as desk:
        for one in OPERATIONS.values():
            for who in ("owner", "ana", "stranger"):
                status = await _post(desk[who], one)
                assert status in (401, 404), (one.name, who)


async def _post(client: httpx.AsyncClient, one: Operation) -> int:
    return (await client.post(f"/operator/{one.path}", json={})).status_code
