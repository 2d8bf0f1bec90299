"""One process holds the home; others are told who, and speak to it over its socket."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.home import REPLACE_PLAN_FILE, Home, HomeUnusable
from core.base.errors import HomeTaken, SettingsError
from tests.time_limits import Limits

HOLD = """
import sys
from pathlib import Path
from bot.home import Home
home = Home(Path(sys.argv[1]))
with home.take():
    listening = home.listen()
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_new_secret_is_kept_by_its_folder_when_the_power_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's entry is written to the disk after the file is renamed."""
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(
        "bot.home.sync_folder",
        lambda folder: synced.append((folder, (folder / "web-token").exists())),
    )
    with Home(tmp_path).take():
        Home(tmp_path).web_token()
    assert synced[-1:] == [(tmp_path, True)]


def test_a_new_home_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    with home.take():
        assert home.path.stat().st_mode & 0o777 == 0o700
        assert (home.path / "ponte.lock").stat().st_mode & 0o777 == 0o600


def test_a_plan_of_a_restore_that_was_cut_off_while_it_was_written_is_removed(
    tmp_path: Path,
) -> None:
    unfinished = tmp_path / f"{REPLACE_PLAN_FILE}.new"
    unfinished.write_text('{"old": [')
    with Home(tmp_path).take():
        assert not unfinished.exists()


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o770])
def test_one_that_was_there_is_closed_to_others(tmp_path: Path, mode: int) -> None:
    """Also a volume that is mounted for it, with whatever lies in there already."""
    (tmp_path / "notes").write_text("")
    tmp_path.chmod(mode)
    with Home(tmp_path).take():
        assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_use_is_not_taken_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    def assert_refused() -> None:
        tmp_path.chmod(0o1777)
        with pytest.raises(HomeUnusable, match="it's shared with other users"):
            Home(tmp_path).take().__enter__()
        assert tmp_path.stat().st_mode & 0o7777 == 0o1777
        assert not (tmp_path / "ponte.lock").exists()

    limits(_SYSTEM_FOLDERS={str(tmp_path)})
    assert_refused()
    monkeypatch.undo()
    (tmp_path / "theirs").write_text("")
    look = Path.lstat

    def stat_of_other_user(path: Path) -> os.stat_result:
        match = look(path)
        return os.stat_result((*match[:4], match.st_uid + 1, *match[5:10]))

    monkeypatch.setattr(Path, "lstat", stat_of_other_user)
    assert_refused()


def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(HomeUnusable, match=r"belongs to another user.* Set PONTE_HOME to a folder"):
        Home(tmp_path).take().__enter__()
    assert not (tmp_path / "ponte.lock").exists()


def test_the_page_s_token_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.kept_web_token() == ""
    with home.take():
        token = home.web_token()
        token_file = home.path / "web-token"
        assert len(token) >= 40
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert home.web_token() == home.kept_web_token() == token == token_file.read_text().strip()
        token_file.chmod(0o644)
        assert home.web_token() == token
        assert token_file.stat().st_mode & 0o777 == 0o600
    other = Home(tmp_path / "other")
    with other.take():
        assert other.web_token() != token


def test_a_token_that_a_person_wrote_is_taken_unless_it_is_short(tmp_path: Path) -> None:
    home = Home(tmp_path)
    token_file = tmp_path / "web-token"
    with home.take():
        token_file.write_text("a-token-of-my-own-making\n")
        assert home.web_token() == "a-token-of-my-own-making"
        for wrong in ("", "too-short", "x" * 19):
            token_file.write_text(wrong)
            with pytest.raises(SettingsError, match="web-token: write at least 20 random"):
                home.web_token()
        token_file.unlink()
        token_file.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").write_text("x" * 30)
        with pytest.raises(HomeUnusable):
            home.web_token()


def test_a_home_that_has_gone_is_reported_when_a_backup_begins(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        shutil.rmtree(home.path)
        with pytest.raises(HomeUnusable, match="No such file"), home.staging("backup"):
            pass


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(HomeTaken) as error, Home(tmp_path).take():
            pass
        assert str(error.value) == (
            f"Another Ponte (process {process.pid}) is using {tmp_path}. "
            "Stop it, or set PONTE_HOME to another folder."
        )
        process.communicate("")
    with Home(tmp_path).take():
        assert Home(tmp_path).holder() == str(os.getpid())


def test_the_lock_dies_with_its_process_and_its_socket_file_is_replaced(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "ponte.sock").exists()
    home = Home(tmp_path)
    with home.take(), home.listen() as listening, home.address() as address:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
        assert listening.fileno() >= 0
    assert not (tmp_path / "ponte.sock").exists()


@pytest.mark.slow
def test_programs_that_we_start_do_not_keep_the_lock(tmp_path: Path) -> None:
    with Home(tmp_path).take():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with child, Home(tmp_path).take():
        child.communicate()


@pytest.mark.parametrize("folder", ["home", "a" * 200])
def test_the_socket_is_private_and_reached_however_long_its_path(
    tmp_path: Path, folder: str
) -> None:
    home = Home(tmp_path / folder)
    with home.take(), home.listen() as listening, home.address() as address:
        assert (home.path / "ponte.sock").stat().st_mode & 0o777 == 0o600
        assert len(os.fsencode(address)) <= 107
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
            client.sendall(b"hello")
            listening.setblocking(True)
            service, _ = listening.accept()
            with service:
                assert service.recv(5) == b"hello"


@pytest.mark.parametrize(
    "cause", ["Not a directory", "Permission denied|Operation not permitted|Read-only file system"]
)
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, cause: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "home" if cause.startswith("Not") else Path("/sys/ponte")
    with pytest.raises(HomeUnusable, match=rf"Can't use .* \(({cause})\)"):
        Home(path).take().__enter__()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(HomeUnusable, match="No space left"), Home(tmp_path).take():
        pass
    monkeypatch.undo()
    with Home(tmp_path).take():
        pass


def fail_with(number: int) -> Callable[..., None]:
    """Return a function that fails as the system call does."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails


def test_a_lock_file_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    (home / "ponte.lock").symlink_to(elsewhere)
    with pytest.raises(HomeUnusable, match="Too many levels"), Home(home).take():
        pass
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("call", "number"),
    [("fchmod", errno.EROFS), ("flock", errno.ENOLCK)],
    ids=["a read-only volume", "a volume without locks"],
)
def test_a_volume_that_cannot_hold_a_home_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os if call == "fchmod" else fcntl, call, fail_with(number))
    with pytest.raises(HomeUnusable, match=os.strerror(number)), Home(tmp_path).take():
        pass


def test_a_restore_that_cannot_move_the_data_is_told_and_finished_later(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "ponte.db").write_text("former")
    obstacle = tmp_path / "replaced-then"
    obstacle.write_text("")
    with home.take(), home.staging("restore") as staged:
        (staged / "ponte.db").write_text("new")
        with pytest.raises(HomeUnusable, match="File exists"):
            home.replace(staged, obstacle.name)
    with pytest.raises(HomeUnusable, match="File exists"), home.take():
        pass
    assert (tmp_path / "ponte.db").read_text() == "former"
    obstacle.unlink()
    with home.take():
        assert (tmp_path / "ponte.db").read_text() == "new"
        assert (obstacle / "ponte.db").read_text() == "former"


def test_the_next_backup_removes_the_folder_of_one_that_was_killed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "backup-k1lled_0").mkdir()
    with home.staging("backup") as first, home.staging("backup") as second:
        assert set(tmp_path.iterdir()) == {first, second}


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    for name in ("web-token", "ponte.sock"):
        (tmp_path / name).mkdir()
    with pytest.raises(HomeUnusable, match="Is a directory"):
        Home(tmp_path).kept_web_token()
    words = r"\(ponte.sock: Is a directory\)"
    with pytest.raises(HomeUnusable, match=words), Home(tmp_path).take():
        Home(tmp_path).listen()


def test_a_socket_that_cannot_be_made_is_told_and_closed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        shutil.rmtree(home.path)
        with pytest.raises(HomeUnusable, match="No such file") as error:
            home.listen()
    del error
    gc.collect()  # a socket that was left open would be a warning, and so an error


def test_a_shared_secret_is_stored_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with home.take():
        home.share("pseudonyms.key", b"first")
        monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
        with pytest.raises(HomeUnusable, match="No space left"):
            home.share("pseudonyms.key", b"second")
        assert home.pseudonyms() == b"first"


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "", "/"])
def test_a_data_folder_suffices_for_a_user_whom_the_system_does_not_know(
    home: str | None, tmp_path: Path
) -> None:
    """As in a container that runs with any user ID."""
    environment = {"PATH": os.environ["PATH"]} | ({} if home is None else {"HOME": home})

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = (
            "unshare",
            "--user",
            "--map-user=12345",
            "--map-group=12345",
            sys.executable,
            "-m",
            "bot",
            "people",
            "list",
        )
        return subprocess.run(
            command,
            env={**environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    if "unshare:" in (result := run(PONTE_HOME=str(tmp_path / "home"))).stderr:
        pytest.skip("blocked: this kernel gives no user namespaces")
    assert (result.returncode, result.stderr) == (0, "")
    if home != "/":
        assert run().stderr.startswith("PONTE_HOME: this user has no home folder.")
