"""docs/explanation/privacy.md: its lists match the code and a data folder; its commands run."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing

import pytest

from bot.stores import SCHEMA
from tests.bot.conftest import Shell
from tests.bot.test_process import ROOT
from tests.docs.privacy import with_tables

pytestmark = pytest.mark.usefixtures("without_a_sandbox")

TEXT = (ROOT / "docs" / "explanation" / "privacy.md").read_text("utf-8")


def names(before: str) -> set[str]:
    """Return what the list after this text names."""
    items = TEXT.partition(before)[2].partition("\n## ")[0].lstrip("\n").partition("\n\n")[0]
    heads = re.findall(r"^- (`.*?`):", items, re.MULTILINE)
    return {name for head in heads for name in re.findall(r"`([^`]+)`", head)}


def test_it_has_the_declared_tables() -> None:
    """`make reference` writes them anew."""
    assert with_tables(TEXT) == TEXT
    personal = {table.name for table in SCHEMA.declarations if table.whose != "nobody"}
    assert personal <= names("<!-- tables -->")


def test_the_document_lists_every_file_of_a_home(
    ponte_with_home: Shell,
) -> None:
    ponte = ponte_with_home
    assert ponte("status").code in (0, 1)
    matches = {re.sub(r"-(wal|shm)$|\.\d$", "", path.name) for path in ponte.home.iterdir()}
    text = names("Files of the data folder, which only its user can open (mode 0700):")
    assert matches - text == set()
    assert {"ponte.db", "files"} <= text


def commands() -> list[str]:
    matches = re.findall(
        r"`ponte ((?:person|threads|people|policy|audit|changes|status)\b[^`]*)`", TEXT
    )
    return sorted(set(matches))


WORDS = {
    "KEY": "",
    "FOLDER": "out",
    "NAME": "ana",
    "DAY": "2026-11-01",
    "CONVERSATION": "",
    "ID": "",
}


def test_each_command_in_it_runs(ponte_with_home: Shell) -> None:
    """On a recorded home, those that erase last; where it shows a command without what it takes,
    its help is asked for."""
    ponte = ponte_with_home
    assert ponte("people", "add", "ana").code == 0, ponte.err
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        (key, conversation) = connection.execute(
            "SELECT person, conversation FROM changes WHERE person LIKE 'slack:%' LIMIT 1"
        ).fetchone()
        (change,) = connection.execute("SELECT id FROM changes LIMIT 1").fetchone()
    words = WORDS | {"KEY": key, "CONVERSATION": conversation, "ID": change}
    match = commands()
    assert len(match) > 12
    for command in sorted(
        match,
        key=lambda c: ("forget" in c or "remove" in c, c.startswith("person"), "--person" in c),
    ):
        options = [words.get(word, word) for word in shlex.split(command)]
        asks = {"forget", "remove"} & set(options[:2])
        if options[:2] in (["person", "export"], ["person", "forget"]):
            options += [key] if len(options) == 2 else []
        if options == ["threads", "show"]:
            options += [conversation]
        if options == ["threads", "forget"] or (options == ["people", "remove"]):
            options += ["--help"]
        elif asks:
            options += ["--yes"]
        code = ponte(*options).code
        undone = options[:2] == ["changes", "undo"]  # no tables are connected here
        failing = options == ["status"]
        unknown = "`ponte person list` shows everyone" in ponte.err
        assert code == 0 or undone or failing or unknown, (options, ponte.err)
        assert "No such" not in ponte.err
