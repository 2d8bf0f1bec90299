"""Backups that an earlier version wrote are still restored.

`backup-7.tar.gz` was written by `ponte backup` of version 0.1.0 at schema 7 (commit 9bb4dd6). Its
home had answered two messages in the terminal, had served the page, and had added a person.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.store import snapshot
from core.store.schema import MIGRATIONS
from tests.bot.conftest import Shell, logging_as_it_was, nothing_set, ponte
from tests.recorded.recorded_ponte import FOLDER
from tests.recorded.test_early import talks_on

__all__ = ["logging_as_it_was", "nothing_set", "ponte"]


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_recorded_backup_is_restored(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...]
) -> None:
    file = str(shutil.copy(FOLDER / "backup-7.tar.gz", tmp_path))
    assert ponte("restore", *options, file).code == 0, ponte.err
    assert "schema 7, messages: 2" in ponte.out
    assert snapshot.schema_version(ponte.home / "ponte.db") == len(MIGRATIONS)
    talks_on(ponte, monkeypatch)
    assert "\nana " in ponte("people", "list").out
