"""Files that a command writes are for this user alone, whatever others have put in their place.

Somebody else on the machine may own the folder that a file goes to, or share it, as with /tmp.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.settings import Settings
from tests.bot.conftest import Shell
from tests.recorded.recorded_ponte import Json, put_home

ROOT = Path(__file__).parents[2]
SOMEBODY_ELSE = 65534
PERSON = "slack:T0PONTE:U000001"
"""Who has files in the recorded home."""


@pytest.fixture(autouse=True)
def usual_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_CODE", "off")


@pytest.fixture(scope="module")
def recorded_home(tmp_path_factory: pytest.TempPathFactory, recorded_today: Json) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "home"
    put_home(recorded_today["home"], folder)
    return folder


@pytest.fixture
def home(ponte: Shell, recorded_home: Path) -> Shell:
    shutil.copytree(recorded_home, ponte.home)
    return ponte


def run_in_shell(ponte: Shell, line: str) -> subprocess.CompletedProcess[str]:
    """A line as it is typed into a shell whose umask is the usual one."""
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    return subprocess.run(
        ["sh", "-c", f'umask 022; ponte() {{ "{sys.executable}" -m bot "$@"; }}; {line}'],
        cwd=ponte.home.parent, capture_output=True, text=True, check=False,
        env=ours | {"PYTHONPATH": str(ROOT), "PONTE_HOME": str(ponte.home), "LC_ALL": "C"},
    )  # fmt: skip


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_backup_is_not_written_into_a_file_that_others_can_read(
    home: Shell, tmp_path: Path
) -> None:
    done = run_in_shell(home, "ponte backup - > kept.tar.gz")
    assert done.returncode == 1
    assert done.stderr == (
        "Other users can read the file that standard output goes to, and a backup contains the "
        "page's token. Specify a file name instead, for example `ponte backup ponte.tar.gz`.\n"
    )
    assert (tmp_path / "kept.tar.gz").read_bytes() == b""


def test_a_backup_is_written_into_a_file_that_is_closed_to_others(
    home: Shell, tmp_path: Path
) -> None:
    done = run_in_shell(home, "umask 077; ponte backup - > kept.tar.gz")
    assert done.returncode == 0, done.stderr
    assert mode(tmp_path / "kept.tar.gz") == 0o600
    assert (tmp_path / "kept.tar.gz").stat().st_size > 1000


def test_a_backup_goes_through_a_pipe(home: Shell) -> None:
    done = run_in_shell(home, "ponte backup - | cat > kept.tar.gz; wc -c < kept.tar.gz")
    assert int(done.stdout) > 1000, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_backup_is_not_written_into_another_user_s_file(home: Shell, tmp_path: Path) -> None:
    theirs = tmp_path / "kept.tar.gz"
    theirs.touch(mode=0o600)
    os.chown(theirs, SOMEBODY_ELSE, SOMEBODY_ELSE)
    done = run_in_shell(home, "ponte backup - > kept.tar.gz")
    assert done.returncode == 1
    assert theirs.read_bytes() == b""


def _as_their_file(place: Path, target: Path) -> None:
    place.write_text("theirs")
    os.chown(place, SOMEBODY_ELSE, SOMEBODY_ELSE)


Plant = Callable[[Path, Path], None]
LINKS: list[Plant] = [
    lambda place, target: place.symlink_to(target),
    lambda place, target: place.symlink_to(target.with_name("made-by-the-link")),
    lambda place, target: place.hardlink_to(target),
]
PLANTED = [
    *LINKS, lambda place, target: os.mkfifo(place),
    pytest.param(_as_their_file, marks=pytest.mark.skipif(os.geteuid() != 0, reason="not root")),
]  # fmt: skip


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


@pytest.mark.parametrize("plant", PLANTED)
def test_a_backup_writes_into_nothing_that_was_there(
    home: Shell, tmp_path: Path, target: Path, plant: Plant
) -> None:
    file = tmp_path / "kept.tar.gz"
    plant(tmp_path / "kept.tar.gz.part", target)
    assert home("backup", str(file)).code == 1
    assert "No backup was made." in home.err
    assert not file.exists()
    assert is_untouched(target)


@pytest.mark.parametrize("plant", PLANTED)
def test_a_backup_takes_only_the_place_of_a_backup(
    home: Shell, tmp_path: Path, target: Path, plant: Plant
) -> None:
    file = tmp_path / "kept.tar.gz"
    plant(file, target)
    before = file.lstat()[:7]  # without the times: it is read
    assert home("backup", str(file)).code == 1
    assert home.err == (
        f"{file} exists and is not a backup. No backup was made. Choose another name.\n"
    )
    assert (file.lstat()[:7], is_untouched(target)) == (before, True)
    file.unlink()
    for _ in range(2):
        assert home("backup", str(file)).code == 0, home.err
    assert mode(file) == 0o600


def test_what_a_killed_backup_left_is_not_in_the_way(home: Shell, tmp_path: Path) -> None:
    left = tmp_path / "kept.tar.gz.part"
    left.write_text("half a backup")
    left.chmod(0o644)
    with left.open() as held:
        assert home("backup", str(tmp_path / "kept.tar.gz")).code == 0, home.err
        assert held.read() == "half a backup", "who has it open reads nothing of the new one"
    assert mode(tmp_path / "kept.tar.gz") == 0o600
    assert not left.exists()


@pytest.mark.parametrize("plant", PLANTED)
def test_an_export_writes_into_nothing_that_was_there(
    home: Shell, tmp_path: Path, target: Path, plant: Plant
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    plant(folder / "person.json", target)
    assert home("person", "export", PERSON, "--files", str(folder)).code == 1
    assert home.err == (
        f"{folder}/person.json already exists, and an export does not overwrite files. "
        "Choose another folder.\n"
    )
    assert is_untouched(target)
    assert os.listdir(folder) == ["person.json"]


@pytest.mark.parametrize("name", ["", "files"])
def test_an_export_follows_no_link_to_a_folder(
    home: Shell, tmp_path: Path, target: Path, name: str
) -> None:
    folder = tmp_path / "out"
    if name:
        folder.mkdir()
    (folder / name if name else folder).symlink_to(target.parent)
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
    assert "does not overwrite files" in home.err
