"""One process holds the home; others are told who, and speak to it over its socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bot.home import Home, HomeUnusable
from core.errors import HomeTaken

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


def test_it_is_made_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    with home.take():
        assert home.path.stat().st_mode & 0o777 == 0o700
        assert (home.path / "ponte.lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Home(tmp_path).take():
        assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(HomeTaken) as told, Home(tmp_path).take():
            pass
        assert str(told.value) == (
            f"Another Ponte (process {process.pid}) already uses {tmp_path}. "
            "Stop it, or set PONTE_HOME."
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
            served, _ = listening.accept()
            with served:
                assert served.recv(5) == b"hello"


@pytest.mark.parametrize(
    "cause", ["Not a directory", "Permission denied|Operation not permitted|Read-only file system"]
)
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, cause: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "home" if cause.startswith("Not") else Path("/sys/ponte")
    with pytest.raises(HomeUnusable, match=rf"The folder .* cannot be used \(({cause})\)"):
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
