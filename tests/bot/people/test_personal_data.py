"""An operator types `ponte person …`: on homes that older Pontes left, at rest and running."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.operation_results import ForgottenPerson
from bot.operation_texts import TEXT_LISTS, View
from tests.bot.conftest import RunningPonte, Shell
from tests.bot.test_process import ROOT, Machine

pytestmark = pytest.mark.usefixtures("without_a_sandbox")


def holding(home: Path, word: str) -> list[str]:
    """The files of the home with that in their bytes or their name."""
    matches = [path for path in home.rglob("*") if path.is_file()]
    return [p.name for p in matches if word.encode() in p.read_bytes() or word in p.name]


def has_open_requests(home: Path) -> bool:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return bool(connection.execute("SELECT 1 FROM changes WHERE state = 'open'").fetchall())


def list_people(ponte: Shell) -> dict[str, Mapping[str, Any]]:
    assert ponte("person", "list", "--json").code == 0, ponte.err
    return {one["person"]: one for one in json.loads(ponte.out)}


def said_by(home: Path) -> dict[str, set[str]]:
    """By person, the words of theirs that stand in nobody else's messages."""
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        rows = connection.execute("SELECT person, message FROM inbox").fetchall()
    matches: dict[str, set[str]] = {}
    for person, message in rows:
        text = json.loads(message)["text"]
        if len(text) > 12 and not any(text in messages for who, messages in rows if who != person):
            matches.setdefault(person, set()).add(text)
    return matches


def sums(home: Path) -> list[tuple[Any, ...]]:
    """Return what was used. A reservation counts as the estimate that it ends as."""
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return [
            *connection.execute(
                "SELECT day, sum(is_counted), round(sum(cost), 9) FROM usage GROUP BY day"
            ),
            *connection.execute(
                "SELECT sum(tokens), sum(calls), round(sum(cost), 9) FROM ("
                "SELECT input + output AS tokens, 0 AS calls, 0 AS cost FROM usage"
                " UNION ALL SELECT 0, 1, cost FROM spendings"
                " UNION ALL SELECT tokens, 1, 0 FROM holds)"
            ),
        ]


@pytest.mark.slow
def test_everybody_of_a_recorded_home_can_be_forgotten(ponte_with_home: Shell) -> None:
    ponte = ponte_with_home
    people = list_people(ponte)
    platforms = {one["platform"] for one in people.values()}
    assert platforms >= {"slack", "discord", "web"}
    words, before = said_by(ponte.home), sums(ponte.home)
    for person in sorted(people):
        id = person.rpartition(":")[2]
        assert ponte("person", "forget", person, "--yes").code == 0, ponte.err
        assert ponte.out.startswith(f"Deleted: {person}.")
        if person not in ("web:owner", "terminal:owner"):
            assert holding(ponte.home, id) == []
            assert holding(ponte.home, person) == []
        for text in words.get(person, ()):
            assert holding(ponte.home, text) == [], text
        assert sums(ponte.home) == before
    assert set(list_people(ponte)) <= {"terminal:owner", "web:owner"}, "who typed all of this"


def test_of_a_recorded_home_all_of_one_person_is_exported(
    ponte_with_home: Shell, tmp_path: Path
) -> None:
    ponte = ponte_with_home
    while has_open_requests(ponte.home):  # they are old, and expire while commands run
        list_people(ponte)
    people: dict[str, Any] = {}
    while (listed := list_people(ponte)) != people:  # what a start makes up for is done
        people = listed
    person = max(people, key=lambda key: people[key]["files"])
    assert ponte("person", "export", person).code == 0, ponte.err
    data = json.loads(ponte.out)
    assert (data["person"], data["names"]) == (person, [people[person]["name"]])
    assert len(data["messages"]) == people[person]["messages"]
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        seqs = {
            seq
            for (seq,) in connection.execute("SELECT seq FROM inbox WHERE person = ?", (person,))
        }
    for section in ("messages", "transcript", "tool_calls", "posts", "model_calls"):
        assert {row["seq"] for row in data[section]} <= seqs, section
    assert len(data["files"]) == people[person]["files"] > 0
    folder = tmp_path / "out" / "ana"
    assert ponte("person", "export", person, "--files", str(folder)).code == 0, ponte.err
    assert f"Saved {folder}/person.json and {len(data['files'])} file" in ponte.out
    export = json.loads((folder / "person.json").read_text())
    assert export | {"exported": ""} == data | {"exported": ""}
    sizes = {row["id"][:8]: row["size"] for row in data["files"]}
    files = list((folder / "files").iterdir())
    assert {path.name[:8]: path.stat().st_size for path in files} == sizes
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    readonly = tmp_path / "file"
    readonly.write_text("")
    assert ponte("person", "export", person, "--files", str(readonly / "in")).code == 1
    assert ponte.err.startswith(f"Can't write to the folder {readonly}/in (")


def test_a_wrong_key_is_told(ponte: Shell) -> None:
    for words in (["export"], ["forget", "--yes"], ["forget"]):
        assert ponte("person", words[0], "slack:T1/UNOBODY", *words[1:]).code == 1
        assert (ponte.out, ponte.err) == (
            "",
            "Person `slack:T1/UNOBODY` not found. `ponte person list` shows everyone.\n",
        )


def test_before_it_forgets_it_shows_what_goes_and_asks(
    ponte: Shell, fake_holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"person": "slack:T1:U1", "names": ["Ana"], "counts": {"messages": 12, "files": 1}}
    outcome = {**counts, "shared": ["slack:T1:C1:1.1"], "left": {}, "waiting": 2, "remains": ""}
    fake_holder.results = {"person counts": counts, "person forget": outcome}
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    questions = list[str]()

    def answers(question: str) -> bool:
        questions.append(question)
        return len(questions) > 1

    monkeypatch.setattr("bot.cli.command_line.typer.confirm", answers)
    assert ponte("person", "forget", "slack:T1/U1").code == 1
    assert ponte.err == "Nothing was changed.\n"
    assert ponte.out.splitlines() == ["slack:T1:U1 Ana", "      12  messages", "       1  files"]
    assert [route for route, _ in fake_holder.asked] == ["POST /operator/person/counts"]
    assert ponte("person", "forget", "slack:T1/U1").code == 0
    assert questions == ["Delete all of this permanently?"] * 2
    assert ponte.out.splitlines()[3:] == [
        "Deleted: slack:T1:U1.",
        "      12  messages",
        "       1  files",
        "2 deleted items are still on the model's server. Ponte tries to delete them every hour.",
        "Other people also took part in the conversations below. Their messages and the answers "
        "to them are kept and may mention this person. To delete a whole conversation, run "
        "`ponte threads forget`:",
        "    slack:T1:C1:1.1",
        (
            "Not deleted: posts on the platforms, rows in your tables, runs at StackSpot, earlier "
            "backups, logs, and IDs that you wrote in ponte.toml or .env. Audit log entries and "
            "usage totals are kept but no longer identify the person."
        ),
    ]


async def test_rows_that_arrive_during_a_deletion_make_it_fail(
    running_ponte: RunningPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: object) -> ForgottenPerson:
        return ForgottenPerson("web:ana", {}, [], {"messages": 1}, 0, "")

    monkeypatch.setattr("bot.people.PersonalDataService.forget", forget)
    code, error = await running_ponte.fail("person", "forget", "web:ana", "--yes")
    assert (code, "during the deletion: messages 1. Run the deletion again." in error) == (1, True)


KILLED = """
import os, signal, sys
from core.store.database import SqliteDatabase
async def dies(self, *, whole=False):
    os.kill(os.getpid(), signal.SIGKILL)
SqliteDatabase.scrub = dies
from bot.cli.main import main
main(sys.argv[1:])
"""
"""Right after the rows are gone, before the file is written anew."""


@pytest.mark.slow
def test_killed_in_the_middle_it_is_ended_by_doing_it_again(ponte_with_home: Shell) -> None:
    ponte = ponte_with_home
    people = list_people(ponte)
    person = max(people, key=lambda k: people[k]["messages"] if k.startswith("slack") else 0)
    words, before = said_by(ponte.home)[person], sums(ponte.home)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "person", "forget", person, "--yes"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert ponte("person", "forget", person, "--yes").code == 0, ponte.err
    for word in (*words, person, person.rpartition(":")[2]):
        assert holding(ponte.home, word) == [], word
    assert sums(ponte.home) == before


def test_a_running_ponte_forgets_and_goes_on(tmp_path: Path, commands: str) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    with machine.running() as (process, _), httpx.Client(timeout=None) as ana:
        page, _, token = machine.ponte("people", "add", "ana")[1].strip().partition("/#token=")
        ana.base_url, ana.headers["Authorization"] = httpx.URL(page), f"Bearer {token}"
        for text in ("aubergines for all", "and more of them"):
            assert ana.post("/chat", json={"message": text}).json()["status"] == "done"
        response = ana.post(
            "/chat", data={"message": "mine"}, files={"file": ("a.txt", b"aubergine bytes")}
        )
        assert response.status_code == 200
        assert "aubergines for all" in machine.ponte("person", "export", "web:ana")[1]
        code, out, err = machine.ponte("person", "forget", "web:ana", "--yes")
        assert (code, out.splitlines()[0], err) == (0, "Deleted: web:ana.", "")
        assert ana.get("/me").status_code == 401, "she does not come in any more"
        process.terminate()
        process.communicate()
    for word in ("aubergine", "web:ana", "@ana"):
        assert holding(machine.home, word) == []
    with closing(sqlite3.connect(machine.home / "ponte.db")) as connection:
        usage = "SELECT sum(is_counted) FROM usage WHERE person = 'forgotten'"
        assert connection.execute(usage).fetchone() == (3,)


def test_a_list_for_people(ponte_with_home: Shell) -> None:
    head, *lines = ponte_with_home("person", "list").out.splitlines()
    assert head.split("  ")[0].strip() == "name"
    assert head.split()[-5:] == ["messages", "files", "requests", "decisions", "person"]
    people = list_people(ponte_with_home)
    assert {line.split()[-1] for line in lines} == people.keys()


def test_a_day_on_which_nobody_was_seen_is_a_dash() -> None:
    numbers = {"messages": 1, "files": 0, "changes": 0, "decisions": 0}
    ana = {"name": "Ana", "first": 1e9, "last": 0.0, "person": "slack:T1:U1", **numbers}
    _, line = TEXT_LISTS["person list"]([ana], View(UTC))
    assert re.split(r" {2,}", line.strip())[:3] == ["Ana", "Sep 9, 2001", "–"]


def test_who_is_forgotten_leaves_the_directory_and_does_not_come_back(
    ponte_with_home: Shell,
) -> None:
    """Also somebody who never wrote; a keyed hash of their id is all that is left."""
    ponte = ponte_with_home
    assert ponte("person", "list").code == 0
    row = "INSERT INTO directory VALUES ('slack', '', ?, ?, ?, '', '', 0, 0, 'T1', 1e12, '')"
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        connection.execute(row, ("UZOE99", "slack:T1:UZOE99", "Zoe Dias"))
        connection.commit()
    assert ponte("person", "export", "slack:T1/UZOE99").code == 0, ponte.err
    assert json.loads(ponte.out)["platform_profile"][0]["name"] == "Zoe Dias"
    assert ponte("person", "forget", "slack:T1/UZOE99", "--yes").code == 0, ponte.err
    for word in ("UZOE99", "Zoe Dias"):
        assert holding(ponte.home, word) == [], word
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        erasures = {row[0] for row in connection.execute("SELECT pseudonym FROM erased_people")}
    key = (ponte.home / "pseudonyms.key").read_bytes()
    name = b"directory:slack:UZOE99"
    assert hmac.new(key, name, hashlib.sha256).hexdigest() in erasures
