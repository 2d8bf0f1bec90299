"""Lists and reports of `ponte` have headings, names, readable dates and aligned columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from bot.operation_texts import TEXT_LISTS, View, format_table, format_usage
from core.base.i18n import use_locale
from tests.bot.conftest import Shell
from tests.fakes.holder import FakeHolder

USAGE = [
    {"name": "web:owner", "turns": 1200, "calls": None, "input": 9000, "output": 1000, "cost": 1.5},
    {"name": "slack:T1:U1", "turns": 3, "calls": None, "input": 10, "output": 2, "cost": None},
]
NAMES = {"web:owner": "Maya"}
REPORT = {
    "en": [
        "Usage since Nov 1, 2026:",
        "person       messages  tokens  US dollars",
        "Maya            1,200  10,000       $1.50",
        "slack:T1:U1         3      12           –",
    ],
    "pt-BR": [
        "Uso desde 1 de nov. de 2026:",
        "pessoa       mensagens  tokens  dólares americanos",
        "Maya             1.200  10.000            US$\u00a01,50",
        "slack:T1:U1          3      12                   –",
    ],
    "fr": [
        "Utilisation depuis le 1er nov. 2026\u00a0:",
        "personne     messages  jetons  dollars américains",
        "Maya            1\u202f200  10\u202f000            1,50\u00a0$US",
        "slack:T1:U1         3      12                   –",
    ],
}


def usage_lines(rows: Sequence[Any], by: str, names: Mapping[str, str] = {}) -> list[str]:
    report = {"by": by, "since": "2026-11-01", "rows": rows}
    return list(format_usage(report, View(UTC, names)))


@pytest.mark.parametrize("locale", REPORT)
def test_usage_has_headings_and_names_in_each_language(locale: str) -> None:
    with use_locale(locale):
        assert usage_lines(USAGE, "person", NAMES) == REPORT[locale]


def test_two_people_of_one_name_are_told_apart() -> None:
    lines = usage_lines(USAGE, "person", dict.fromkeys(("web:owner", "slack:T1:U1"), "A"))
    assert [line.split("  ")[0] for line in lines[2:]] == ["A (web:owner)", "A (slack:T1:U1)"]


def test_days_are_written_as_dates() -> None:
    day = [{"name": "2026-11-18", "turns": 1, "calls": None, "input": 1, "output": 0, "cost": 0}]
    with use_locale("fr"):
        assert usage_lines(day, "day")[2].startswith("18 nov. 2026  ")


@pytest.mark.parametrize(
    ("locale", "people", "threads"),
    [
        ("en", "name  sign-in  added", "last used"),
        ("pt-BR", "nome  acesso", "último uso"),
        ("fr", "nom  connexion", "dernière utilisation"),
    ],
)
def test_people_and_threads_have_headings(locale: str, people: str, threads: str) -> None:
    with use_locale(locale):
        account: Mapping[str, Any] = {"name": "ana", "provider": "", "person": "", "state": "link"}
        account = {**account, "added": 1795000000.0, "seen": "2027-01-23"}
        head, line = TEXT_LISTS["people list"]([account], View(UTC))
        assert head.startswith(people)
        assert "2026" in line
        assert re.search("23.*2027$", line)
        thread = {"conversation": "web:main", "messages": 2, "used_at": 1795000000.0}
        head, line = TEXT_LISTS["threads list"]([thread], View(UTC))
        assert head.startswith(threads)
        assert line.endswith("web:main")


def test_columns_are_aligned_also_with_wide_and_combining_characters() -> None:
    lines = list(format_table(("a", "n"), [("日本", "1"), ("e\u0301", "22")], right={1}))
    assert lines == ["a      n", "日本   1", "e\u0301     22"]


def test_json_keeps_the_keys(ponte: Shell, fake_holder: FakeHolder, tmp_path: Path) -> None:
    report = {"by": "person", "since": "2026-11-01", "rows": USAGE}
    fake_holder.results["usage"], fake_holder.names = report, NAMES
    assert "Maya" in ponte("usage", "--by", "person").out
    assert json.loads(ponte("usage", "--by", "person", "--json").out) == report


def test_turns_that_run_or_failed_are_listed(ponte: Shell, fake_holder: FakeHolder) -> None:
    def summary(state: str, reason: str, person: str) -> dict[str, Any]:
        return {
            "turn": f"t-{state}",
            "person": person,
            "conversation": f"web:main\n{state}",
            "state": state,
            "reason": reason,
            "created_at": 1795000000.0,
            "updated_at": 1795000000.0,
            "failed": bool(reason),
        }

    turns = [summary("running", "", "web:owner"), summary("failed", "model", "slack:T1:U1")]
    turns.append(summary("failed", "too_many", "slack:T1:U1"))
    fake_holder.results["turns"] = turns
    fake_holder.names["web:owner"] = "Maya\nReis"
    split = re.compile("  +").split
    head, *lines = map(split, ponte("turns").out.splitlines())
    assert head == ["time", "state", "reason", "person", "conversation"]
    failure = ["failed", "model", "slack:T1:U1", "web:main failed"]
    refusal = ["refused by a limit", "too_many", "slack:T1:U1", "web:main failed"]
    running = ["running", "Maya Reis", "web:main running"]
    assert [line[1:] for line in lines] == [running, failure, refusal]
    assert all("2026" in line[0] for line in lines)
    assert json.loads(ponte("turns", "--json").out) == turns
    ponte("turns", "--failed")
    assert json.loads(fake_holder.asked[-1][1])["arguments"] == {"failed": True}
    fake_holder.results["turns"] = []
    assert (ponte("turns", "--failed").code, ponte.out) == (
        0,
        "No messages are in progress, and none have failed.\n",
    )


def test_feedback_shows_texts_that_may_be_read(ponte: Shell, fake_holder: FakeHolder) -> None:
    """Nothing that a person wrote reaches the terminal as an escape."""
    facts: dict[str, Any] = {
        "at": 1795000000.0,
        "vote": "down",
        "person": "slack:T1:U1",
        "place": "slack:T1:C1",
        "platform": "slack",
        "turn": "abcd",
        "reason": "wrong\x1b[31m sum\nof May",
        "shared": False,
        "is_public": False,
        "models": ["gpt-5"],
        "tools": ["nocodb_query"],
        "errors": ["nocodb_query: no_table"],
        "seconds": 3.2,
        "tokens": 1234,
        "question": None,
        "answer": None,
    }
    fake_holder.names["slack:T1:U1"] = "Ana\x1b]0;x\x07"
    shared = {
        **facts,
        "vote": "up",
        "reason": "",
        "question": "how much?",
        "answer": "# 42\n\x9b1m",
    }
    fake_holder.results["feedback"] = [facts, shared]
    assert ponte("feedback", "--down", "--since", "yesterday").code == 0, ponte.err
    assert not {"\x1b", "\x9b", "\x07"} & set(ponte.out)
    first, details, *texts = ponte.out.splitlines()
    assert "Bad answer  Ana" in first
    assert first.endswith("slack:T1:C1  abcd")
    words = "gpt-5 · nocodb_query · 3.2 s · 1,234 tokens · nocodb_query: no_table"
    assert details.strip() == words
    assert texts[:2] == ["    reason     wrong sum", "               of May"]
    assert "Good answer" in texts[2]
    assert texts[4:] == ["    question   how much?", "    response   # 42"]
    asked = json.loads(fake_holder.asked[-1][1])["arguments"]
    assert asked == {"down": True, "since": "yesterday"}
    assert ponte("feedback", "--json").code == 0
    assert [json.loads(line) for line in ponte.out.splitlines()] == [facts, shared]
    fake_holder.results["feedback"] = []
    assert (ponte("feedback").code, ponte.out) == (0, "No feedback yet.\n")


def test_setup_show_says_where_a_value_is_set(ponte: Shell, fake_holder: FakeHolder) -> None:
    """The end of a secret of the environment is not shown."""
    empty = {"name": "openai_api_key", "value": "", "ending": "", "source": "environment"}
    model = {"name": "ponte_model", "value": "tiny", "ending": "", "source": "file"}
    card = {"title": "Model", "state": "on", "fields": [empty, model]}
    fake_holder.results["setup show"] = {"cards": [card], "trial": None}
    _, key, name = ponte("setup", "show").out.splitlines()
    assert key.endswith("OPENAI_API_KEY  set in the environment")
    assert name.endswith("PONTE_MODEL     tiny (set in .env)")
