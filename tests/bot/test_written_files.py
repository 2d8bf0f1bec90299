"""Files that a command writes are for this user alone, whatever others have put in their place.

Somebody else on the machine may own the folder that a file goes to, or share it, as with /tmp.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bot.conftest import Shell
from tests.fakes.forker import fork_server

ROOT = Path(__file__).parents[2]
SOMEBODY_ELSE = 65534
PERSON = "slack:T0PONTE:U000001"
"""Who has files in the recorded home."""


pytestmark = pytest.mark.usefixtures("without_a_sandbox")


@pytest.fixture
def home(ponte_with_home: Shell) -> Shell:
    return ponte_with_home


def run_in_shell(ponte: Shell, line: str) -> subprocess.CompletedProcess[str]:
    """A line as it is typed into a shell whose umask is the usual one."""
    program = f'"{sys.executable}" -I -S {ROOT}/tests/commands.py {fork_server().address}'
    return subprocess.run(
        ["sh", "-c", f'umask 022; ponte() {{ {program} "$@"; }}; {line}'],
        cwd=ponte.home.parent,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.slow
def test_a_backup_goes_only_to_a_file_that_others_cannot_read_or_through_a_pipe(
    home: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "kept.tar.gz"
    result = run_in_shell(home, "ponte backup - > kept.tar.gz")
    assert result.returncode == 1
    assert result.stderr == (
        "Other users can read the file that standard output goes to, and a backup contains the "
        "page's token. Specify a file name instead, for example `ponte backup ponte.tar.gz`.\n"
    )
    assert file.read_bytes() == b""
    file.unlink()
    result = run_in_shell(home, "umask 077; ponte backup - > kept.tar.gz")
    assert result.returncode == 0, result.stderr
    assert (mode(file), file.stat().st_size > 1000) == (0o600, True)
    result = run_in_shell(home, "ponte backup - | cat > kept.tar.gz; wc -c < kept.tar.gz")
    assert int(result.stdout) > 1000, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_backup_is_not_written_into_another_user_s_file(home: Shell, tmp_path: Path) -> None:
    theirs = tmp_path / "kept.tar.gz"
    theirs.touch(mode=0o600)
    os.chown(theirs, SOMEBODY_ELSE, SOMEBODY_ELSE)
    result = run_in_shell(home, "ponte backup - > kept.tar.gz")
    assert result.returncode == 1
    assert theirs.read_bytes() == b""


def _as_their_file(place: Path, target: Path) -> None:
    place.write_text("theirs")
    os.chown(place, SOMEBODY_ELSE, SOMEBODY_ELSE)


PLANTED: list[Callable[[Path, Path], None]] = [
    lambda place, target: place.symlink_to(target),
    lambda place, target: place.symlink_to(target.with_name("made-by-the-link")),
    lambda place, target: place.hardlink_to(target),
    lambda place, target: os.mkfifo(place),
    *([_as_their_file] if os.geteuid() == 0 else []),
]
"""What somebody else may put where a file is going to be written."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of this user's that somebody else would like to have written over."""
    path = tmp_path / "precious" / "file"
    path.parent.mkdir()
    path.write_text("precious")
    path.chmod(0o644)
    return path


def is_untouched(target: Path) -> bool:
    names = [path.name for path in target.parent.iterdir()]
    return (target.read_text(), mode(target), names) == ("precious", 0o644, ["file"])


def test_a_backup_takes_only_the_place_of_a_backup(
    home: Shell, tmp_path: Path, target: Path
) -> None:
    """It writes into nothing that was there, not even before it has its name."""
    file, part = tmp_path / "kept.tar.gz", tmp_path / "kept.tar.gz.part"
    for number, plant in enumerate(PLANTED):
        plant(part, target)
        assert home("backup", str(file)).code == 1, number
        assert "No backup was made." in home.err
        assert not file.exists(), number
        assert is_untouched(target), number
        part.unlink()
        plant(file, target)
        before = file.lstat()[:7]  # without the times: it is read
        assert home("backup", str(file)).code == 1, number
        assert home.err == (
            f"{file} exists and isn't a backup. No backup was made. Choose another name.\n"
        )
        assert (file.lstat()[:7], is_untouched(target)) == (before, True), number
        file.unlink()
    for _ in range(2):
        assert home("backup", str(file)).code == 0, home.err
    assert mode(file) == 0o600


def test_what_a_killed_backup_left_is_not_in_the_way(home: Shell, tmp_path: Path) -> None:
    partial_file = tmp_path / "kept.tar.gz.part"
    partial_file.write_text("half a backup")
    partial_file.chmod(0o644)
    with partial_file.open() as lock_file:
        assert home("backup", str(tmp_path / "kept.tar.gz")).code == 0, home.err
        assert lock_file.read() == "half a backup", "who has it open reads nothing of the new one"
    assert mode(tmp_path / "kept.tar.gz") == 0o600
    assert not partial_file.exists()


def test_an_export_writes_into_nothing_that_was_there(
    home: Shell, tmp_path: Path, target: Path
) -> None:
    """It follows no link to a folder."""
    for number, plant in enumerate(PLANTED):
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        plant(folder / "person.json", target)
        assert home("person", "export", PERSON, "--files", str(folder)).code == 1
        assert home.err == (
            f"{folder}/person.json already exists, and an export doesn't overwrite files. "
            "Choose another folder.\n"
        )
        assert is_untouched(target), number
        assert os.listdir(folder) == ["person.json"]
        (folder / "person.json").unlink()
    (tmp_path / "link").symlink_to(target.parent)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "files").symlink_to(target.parent)
    for folder in (tmp_path / "link", tmp_path / "out"):
        assert home("person", "export", PERSON, "--files", str(folder)).code == 1
        assert str(folder) in home.err
        assert is_untouched(target)


def test_an_export_is_for_this_user_alone(home: Shell, tmp_path: Path) -> None:
    """Also in a folder that is open to others."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    assert home("person", "export", PERSON, "--files", str(folder)).code == 0, home.err
    assert mode(folder / "files") == 0o700
    files = [folder / "person.json", *(folder / "files").iterdir()]
    assert len(files) > 1
    assert {mode(path) for path in files} == {0o600}
    assert home("person", "export", PERSON, "--files", str(folder)).code == 1
    assert "doesn't overwrite files" in home.err
