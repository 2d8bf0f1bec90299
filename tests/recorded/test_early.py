"""Homes of every text that a migration had while it was new: opened, and brought through a backup.

`early-N.json.gz` is what `ponte chat` left after two messages, by the first version with schema N
in its first text (commits c0dc7d0, 60e3b76, 0bea3f0, 6a7d636, df07d32). Homes with turns in every
state stand beside.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.store import snapshot
from core.store.schema import MIGRATIONS
from tests.bot.conftest import Shell, logging_as_it_was, nothing_set, ponte
from tests.recorded.recorded_ponte import FOLDER, put_home

__all__ = ["logging_as_it_was", "nothing_set", "ponte"]
SCHEMAS = (1, 2, 3, 4, 5)


def early(schema: int, home: Path) -> None:
    put_home(json.loads(gzip.decompress((FOLDER / f"early-{schema}.json.gz").read_bytes())), home)
    assert snapshot.schema_version(home / "ponte.db") == schema


def talks_on(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_CODE", "off")
    monkeypatch.setenv("PONTE_WEB", "off")
    said = json.loads(ponte("threads", "show", "terminal:main", "--json").out)
    assert "remember that the sky is blue" in [one["text"] for one in said["messages"]]
    assert ponte("usage").code == 0, ponte.err  # a turn of today's, begun and ended
    assert snapshot.schema_version(ponte.home / "ponte.db") == len(MIGRATIONS)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_it_is_opened_and_talked_to(
    ponte: Shell, schema: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    early(schema, ponte.home)
    talks_on(ponte, monkeypatch)
    (kept,) = snapshot.list_snapshots(ponte.home)
    assert kept.name.startswith(f"ponte-{schema}-")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_backup_of_it_is_restored(
    ponte: Shell, schema: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    early(schema, ponte.home)
    assert ponte("backup", str(tmp_path / "kept.tar.gz")).code == 0, ponte.err
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        connection.execute("DROP TABLE inbox")
    assert ponte("restore", "--replace", str(tmp_path / "kept.tar.gz")).code == 0, ponte.err
    talks_on(ponte, monkeypatch)
    assert ponte("backup", str(tmp_path / "upgraded.tar.gz")).code == 0, ponte.err
    assert ponte("restore", "--replace", str(tmp_path / "upgraded.tar.gz")).code == 0, ponte.err
