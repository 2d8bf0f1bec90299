"""The folder of a bot's sandboxes: what is left of a killed one goes, a living one's stays."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from core.tools.code.sandbox.sandbox import (
    FIRST_UID,
    RUNTIME_PREFIX,
    UID_COUNT,
    RuntimeFolder,
    SandboxFailed,
    Users,
    remove,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    kernel = tmp_path / "some.py"
    kernel.write_text("kernel")
    kernel.chmod(0o600)
    return kernel


def test_a_program_is_there_for_all_to_read(kernel: Path) -> None:
    runtime = RuntimeFolder()
    program = runtime.program(kernel)
    assert (program / "kernel.py").read_text() == "kernel"
    assert (program / "inside" / "enter.py").stat().st_mode & 0o777 == 0o644
    assert program.parent.stat().st_mode & 0o777 == 0o711
    assert runtime.program(kernel) == program
    runtime.close()
    assert not program.parent.exists()


def test_what_a_killed_bot_left_is_removed_and_a_living_ones_stays(
    folder: Path, kernel: Path
) -> None:
    living = RuntimeFolder()
    living.program(kernel)
    leftover_folder = folder / f"{RUNTIME_PREFIX}left"
    (leftover_folder / "session-x" / "work").mkdir(parents=True)
    (folder / f"{RUNTIME_PREFIX}link").symlink_to("/")
    another = RuntimeFolder()
    another.program(kernel)
    assert not leftover_folder.exists()
    assert len(list(folder.glob(f"{RUNTIME_PREFIX}*"))) == 3
    living.close()
    another.close()
    assert [each.name for each in folder.glob(f"{RUNTIME_PREFIX}*")] == [f"{RUNTIME_PREFIX}link"]


def test_a_session_is_for_one_alone(kernel: Path) -> None:
    runtime = RuntimeFolder()
    session = runtime.session(None)
    assert [each.stat().st_mode & 0o777 for each in (session, session / "work")] == [0o700] * 2
    assert runtime.sessions() == [session.name]
    remove(session)
    assert runtime.sessions() == []
    runtime.close()


def test_however_deep_it_is_removed(folder: Path) -> None:
    top = folder / "top"
    top.mkdir()
    here = os.getcwd()
    os.chdir(top)
    for _ in range(1100):
        os.mkdir("deep")
        os.chdir("deep")
        os.symlink("/", "root")
    os.chdir(here)
    remove(top)
    assert not top.exists()
    assert Path("/").exists()


def test_every_kernel_of_a_root_bot_is_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users(first=UID_COUNT - 1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ids = [users.take() for _ in range(UID_COUNT)]
    assert ids[:2] == [FIRST_UID + UID_COUNT - 1, FIRST_UID]
    assert sorted(filter(None, ids)) == list(range(FIRST_UID, FIRST_UID + UID_COUNT))
    with pytest.raises(SandboxFailed):
        users.take()
    users.give_back(FIRST_UID + 3)
    assert users.take() == FIRST_UID + 3
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Users().take() is None
