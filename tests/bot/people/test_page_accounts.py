"""`ponte people …`, by the process that holds the home and by the command itself."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import ANY

import httpx
import pytest

from core.people.page_accounts import hash_token
from tests.bot.conftest import Shell
from tests.bot.test_process import Machine
from tests.fakes.holder import FakeHolder

pytestmark = pytest.mark.usefixtures("without_a_sandbox")

LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/#token=([A-Za-z0-9_-]{43})\n")


def token_of(link: str) -> str:
    match = LINK.fullmatch(link)
    assert match, link
    return match[2]


def stored_tokens(home: Path) -> dict[str, str]:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return dict(connection.execute("SELECT person, token FROM people"))


def test_people_come_and_go(ponte: Shell) -> None:
    """Nobody serves the home: the command takes it for a moment."""
    assert (ponte("people", "list").code, ponte.out) == (
        0,
        "No one besides the owner has a sign-in link. To invite someone, run `ponte people add "
        "NAME`.\n",
    )
    first = token_of(ponte("people", "add", "ana").out)
    assert "Send this link to ana privately" in ponte.err
    assert first not in ponte.err
    assert stored_tokens(ponte.home) == {"web:ana": hash_token(first)}
    assert first.encode() not in b"".join(
        path.read_bytes() for path in ponte.home.rglob("*") if path.is_file()
    )
    assert (ponte("people", "add", "ana").code, ponte.out) == (1, "")
    assert ponte.err == "ana already exists. `ponte people renew ana` creates a new link.\n"
    text = json.loads(ponte("people", "renew", "ana", "--json").out)
    assert (text["name"], token_of(text["link"] + "\n")) == ("ana", text["token"])
    assert stored_tokens(ponte.home) == {"web:ana": hash_token(text["token"])}
    table = (
        r"name  sign-in  added +last visit\n"
        r"ana   link     \w{3} \d+, \d{4}, \d+:\d\d\u202f[AP]M  never\n"
    )
    assert re.fullmatch(table, ponte("people", "list").out)
    (data,) = json.loads(ponte("people", "list", "--json").out)
    assert (data["name"], data["seen"], data["state"]) == ("ana", "", "link")
    ponte("audit", "--person", "web:ana", "--json")
    events = [json.loads(line)["event"] for line in ponte.out.splitlines()]
    assert events == ["person-link-renewed", "person-added"]
    assert ponte("people", "remove", "ana").code == 2
    assert stored_tokens(ponte.home) != {}
    assert "Add `--yes`" in ponte.err
    assert ponte("people", "remove", "ana", "--yes").out == (
        "ana can no longer sign in. Their messages are kept. To delete them, run `ponte "
        "person forget web:ana`.\n"
    )
    assert stored_tokens(ponte.home) == {}
    for act in (["renew"], ["remove", "--yes"], ["token"]):
        assert ponte("people", act[0], "ana", *act[1:]).code == 1
        words = (
            "No one called ana is invited to the page. `ponte people list` shows everyone who is.\n"
        )
        assert ponte.err == words


def sign_in(home: Path, key: str, provider: str, name: str) -> None:
    """Store that somebody has signed in with a provider."""
    values = (key, provider, name, "[]", "s", 1.0, 1.8e9, 1.8e9)
    with closing(sqlite3.connect(home / "ponte.db")) as connection, connection:
        connection.execute(
            "INSERT INTO sign_ins (person, provider, name, group_names, session_key, first_at,"
            " last_at, confirmed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )


def test_people_of_providers_are_listed_removed_and_let_in_again(ponte: Shell) -> None:
    ponte("people", "add", "ana")
    sign_in(ponte.home, "oidc:corp:42", "corp", "Ana\nB.")
    sign_in(ponte.home, "slack:T1:U1", "slack", "Bia")
    lines = ponte("people", "list").out.splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [
        ["ana", "link", ANY],
        ["oidc:corp:42", "corp:", "Ana"],
        ["slack:T1:U1", "Slack:", "Bia"],
    ]
    assert lines[1].endswith("2027")
    for key in ("oidc:corp:42", "slack:T1:U1"):
        assert ponte("people", "remove", key, "--yes").out.startswith(f"{key} can no longer")
        assert "(removed)" in ponte("people", "list").out
        assert ponte("people", "readmit", key).out == f"{key} can sign in again.\n"
        assert "(removed)" not in ponte("people", "list").out
    for command in (["remove", "--yes"], ["readmit"]):
        assert ponte("people", command[0], "oidc:corp:43", *command[1:]).code == 1
        assert ponte.err == (
            "No one called oidc:corp:43 has signed in with Slack or a provider. To add someone with"
            " a sign-in link, run `ponte people add`.\n"
        )
    for key in ("oidc:corp:42", "slack:T1:U1"):
        data = json.loads(ponte("people", "token", key, "--mcp", "--json").out)
        assert (data["name"], data["kind"]) == (key, "mcp")
        assert key in ponte("people", "tokens", key).out
    assert ponte("people", "token", "oidc:corp:43").code == 1
    assert ponte.err.startswith("No one called oidc:corp:43 is invited to the page.")


def test_without_links_nobody_gets_one(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ponte("people", "add", "ana")
    (ponte.home / "ponte.toml").write_text("[page]\nlinks = false\n", "utf-8")
    monkeypatch.setenv("PONTE_CONFIG", str(ponte.home / "ponte.toml"))
    for command, name in (("add", "bia"), ("renew", "ana")):
        assert (ponte("people", command, name).code, ponte.out) == (1, "")
        assert ponte.err.startswith("Sign-in links are turned off in ponte.toml")
    assert ponte("people", "token", "ana").code == 0


def test_a_token_for_metrics_is_the_owner_s(ponte: Shell) -> None:
    data = json.loads(ponte("people", "token", "--metrics", "--json").out)
    assert (data["name"], data["kind"]) == ("owner", "metrics")
    assert data["url"].endswith("/metrics")
    assert "can read `/metrics` and nothing else" in ponte.err
    assert "metrics" in ponte("people", "tokens").out


def test_api_tokens_are_made_listed_and_revoked(ponte: Shell) -> None:
    assert ponte("people", "tokens").out == ("No API tokens yet. Run `ponte people token NAME`.\n")
    data = json.loads(ponte("people", "token", "owner", "--name", "script", "--json").out)
    assert data["token"].startswith("ponte-api-")
    assert data["url"].endswith("/v1")
    assert "acts as owner over `/v1`" in ponte.err
    assert data["token"] not in ponte.err
    assert data["token"].encode() not in b"".join(
        path.read_bytes() for path in ponte.home.rglob("*") if path.is_file()
    )
    assert re.fullmatch(r"ponte-api-[\w-]{43}\n", ponte("people", "token", "owner").out)
    lines = ponte("people", "tokens", "owner").out.splitlines()
    assert lines[0].split("  ")[0] == "ID"
    assert (len(lines), data["id"] in lines[1], "script" in lines[1]) == (3, True, True)
    assert ponte("people", "revoke", data["id"]).out == (
        f"Revoked API token {data['id']} (owner).\n"
    )
    assert (ponte("people", "revoke", data["id"]).code, ponte.err) == (1, "Not found: API token.\n")
    ponte("audit", "--json")
    events = [json.loads(line)["event"] for line in ponte.out.splitlines()]
    assert events == ["api-token-revoked", "api-token-added", "api-token-added"]


@pytest.mark.parametrize(
    ("name", "why"), [("Ana", "isn't a valid name"), ("owner", "`ponte link`")]
)
def test_reserved_and_invalid_account_names_are_refused(ponte: Shell, name: str, why: str) -> None:
    assert (ponte("people", "add", name).code, ponte.out) == (1, "")
    assert why in ponte.err


def test_without_a_page_nobody_is_let_in(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_WEB", "off")
    for command in ("add", "token"):
        assert ponte("people", command, "ana").code == 1
        assert ponte.err.startswith("The page is turned off"), command
    assert ponte("people", "list").code == 0


def test_the_address_is_the_one_that_others_use(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONTE_WEB_URL", "https://ponte.example")
    monkeypatch.setenv("PONTE_WEB_TOKEN", "a-long-random-text-2")
    link = ponte("people", "add", "ana").out
    assert re.fullmatch(r"https://ponte\.example/#token=[\w-]{43}\n", link)
    monkeypatch.delenv("PONTE_WEB_URL")
    monkeypatch.setenv("PONTE_WEB_PORT", "0")
    link = ponte("people", "renew", "ana").out
    assert re.fullmatch(r"[\w-]{43}\n", link), "where it will be isn't known"


def test_a_warning_tells_that_somebody_had_the_name_before(
    ponte: Shell, fake_holder: FakeHolder
) -> None:
    link = {"name": "ana", "token": "t", "link": "http://ponte/#token=t"}
    fake_holder.results["people add"] = link | {"conversations": 2}
    assert json.loads(ponte("people", "add", "ana", "--json").out) == link
    assert json.loads(fake_holder.asked[-1][1])["arguments"] == {"name": "ana"}
    assert "To delete them first, run `ponte person forget web:ana` and add ana" in ponte.err


def test_a_running_ponte_lets_them_in_and_out(tmp_path: Path, commands: str) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    with machine.running() as (running, _):
        code, link, _ = machine.ponte("people", "add", "ana")
        token = token_of(link)
        page = LINK.fullmatch(link)
        assert (code, bool(page)) == (0, True)
        with httpx.Client(
            base_url=page[1] if page else "",
            headers={"Authorization": f"Bearer {token}"},
            timeout=None,
        ) as ana:
            response = ana.post("/chat", json={"message": "remember the apples"})
            assert response.status_code == 200
            assert ana.get("/status").status_code == 403
            with ana.stream("GET", "/conversations/main/events") as stream:
                lines = stream.iter_lines()
                assert any(line == "event: ready" for line in lines)
                assert machine.ponte("people", "remove", "ana", "--yes")[0] == 0
                assert "event: done" not in list(lines), "and it ends"
            assert ana.get("/me").status_code == 401
        assert "web:main:@ana" in machine.ponte("threads", "list")[1]
        assert machine.ponte("person", "forget", "web:ana", "--yes")[0] == 0
        assert "web:main:@ana" not in machine.ponte("threads", "list")[1]
        running.terminate()
        out, err = running.communicate()
        assert token not in out + err
