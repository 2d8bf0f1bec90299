"""The sandbox's own Python: made once, whole or not at all, tried again when it failed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from core.base.errors import PonteError
from core.base.proxies import Proxies
from core.tools.code import CODE_INTEGRATION, environment
from core.tools.code.environment import (
    INSTALL_RETRY_SECONDS,
    OLD_FOLDER_SECONDS,
    SETTING_UP,
    SHARED_FOLDER,
    STILL_INSTALLING,
    InstallationFailed,
    PythonEnvironment,
    environments_folder,
)
from core.tools.code.sandbox.sandbox import SandboxFailed
from tests.fakes.clock import Clock
from tests.time_limits import Limits


class Shop:
    """Stands for pip: `trouble` is what it says, `gate` what it waits for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.clock = Clock()
        self.environment = PythonEnvironment(folder, Proxies(), self.clock)
        self.folder = folder
        self.trouble = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()
        self.asked = 0
        self.told: list[str] = []
        monkeypatch.setattr(environment, "install_libraries", self._fill)

    async def python(self) -> tuple[Path, str]:
        match = await self.environment.python(self._tell)
        assert match.path.exists()
        return match.path, match.lacks

    async def _fill(self, folder: Path, proxies: Proxies) -> None:
        self.asked += 1
        self.busy.set()
        await self.gate.wait()
        if self.trouble:
            raise InstallationFailed(self.trouble)
        (folder / "filled").touch()

    async def _tell(self, words: str) -> None:
        self.told.append(words)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shop:
    return Shop(monkeypatch, tmp_path / "python")


def is_whole(python: Path) -> bool:
    return (python.parent.parent / "filled").exists()


@pytest.mark.slow
async def test_it_is_made_with_the_first_run_and_the_person_is_told(shop: Shop) -> None:
    (one, lacks), (two, _) = await asyncio.gather(shop.python(), shop.python())
    assert (one, lacks, shop.asked) == (two, "", 1)
    assert is_whole(one)
    assert set(shop.told) == {SETTING_UP}
    shop.told.clear()
    assert await shop.python() == (one, "")
    assert (shop.told, shop.asked) == ([], 1)
    assert [each.name for each in shop.folder.iterdir()] == [one.parent.parent.name]


@pytest.mark.slow
async def test_a_home_that_cannot_hold_it_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").touch()
    monkeypatch.setattr(environment, "environments_folder", lambda home: home / "python")
    with pytest.raises(PonteError, match="File exists") as error:
        await CODE_INTEGRATION.prepare(tmp_path, Proxies(), print)
    assert type(error.value) is PonteError


@pytest.mark.slow
async def test_without_a_network_plain_python_runs_and_it_is_tried_again_later(shop: Shop) -> None:
    shop.trouble = "the package index can't be reached"
    python, lacks = await shop.python()
    assert not is_whole(python)
    assert lacks == "the packages couldn't be installed: the package index can't be reached"
    shop.trouble = ""
    assert (await shop.python())[0] == python
    assert shop.asked == 1
    shop.clock.now += INSTALL_RETRY_SECONDS
    again, lacks = await shop.python()
    assert (is_whole(again), lacks, shop.environment.lacks) == (True, "", "")


@pytest.mark.slow
async def test_a_slow_installation_is_not_waited_for_for_ever(shop: Shop, limits: Limits) -> None:
    limits(INSTALL_WAIT_SECONDS=0.01)
    shop.gate.clear()
    python, lacks = await shop.python()
    assert (is_whole(python), lacks) == (False, STILL_INSTALLING)
    shop.gate.set()
    limits(INSTALL_WAIT_SECONDS=600)
    python, lacks = await shop.python()
    assert (is_whole(python), lacks, shop.asked) == (True, "", 1)


@pytest.mark.slow
async def test_cancelling_a_waiter_does_not_cancel_the_installation(shop: Shop) -> None:
    shop.gate.clear()
    waiting = asyncio.create_task(shop.python())
    await shop.busy.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    shop.gate.set()
    python, _ = await shop.python()
    assert (is_whole(python), shop.asked) == (True, 1)


@pytest.mark.slow
async def test_a_stop_of_ponte_leaves_nothing_half_made(shop: Shop) -> None:
    shop.gate.clear()
    waiting = asyncio.create_task(shop.python())
    await shop.busy.wait()
    await shop.environment.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert list(shop.folder.iterdir()) == []


@pytest.mark.slow
async def test_another_version_makes_its_own_and_old_ones_go(
    shop: Shop, limits: Limits, tmp_path: Path
) -> None:
    old, _ = await shop.python()
    os.utime(old.parent.parent, (0, 0))
    lock = tmp_path / "lock.txt"
    lock.write_text("numpy==9")
    limits(REQUIREMENTS_FILE=lock)
    new, _ = await shop.python()
    assert old.parent != new.parent
    assert not old.exists()
    assert OLD_FOLDER_SECONDS > 0


@pytest.mark.slow
async def test_it_is_open_to_other_users_whatever_our_mask_is(shop: Shop) -> None:
    before = os.umask(0o077)
    try:
        python, _ = await shop.python()
    finally:
        os.umask(before)
    for each in (python.parent.parent, python.parent, shop.folder):
        assert each.stat().st_mode & 0o005 == 0o005


@pytest.mark.slow
async def test_a_folder_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    shop = Shop(monkeypatch, tmp_path / "file" / "python")
    with pytest.raises(SandboxFailed) as error:
        await shop.python()
    assert error.value.cause
    assert shop.asked == 0


def test_its_place_is_open_to_kernels_where_the_bot_is_root(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    root = os.geteuid() == 0
    assert environments_folder(home) == (SHARED_FOLDER if root else home) / "python"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        ("Temporary failure in name resolution", "the package index can't be reached"),
        ("HTTPSConnectionPool(host='x'): Max retries", "the package index can't be reached"),
        ("/usr/bin/python3: No module named pip", "pip is missing from Ponte's environment"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
            "a package doesn't match its pinned hash",
        ),
        ("first\nlast words", "last words"),
        ("", "pip ended without a word"),
    ],
)
def test_what_pip_says_is_worded(said: str, cause: str) -> None:
    assert environment.find_cause(said).startswith(cause)


@pytest.mark.slow
async def test_a_cancelled_version_check_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()

    async def start_sleep(*command: str, **options: object) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            "sleep", "600", stdout=asyncio.subprocess.PIPE
        )
        queue.put_nowait(process)
        return process

    monkeypatch.setattr(environment, "start_program", start_sleep)
    check = asyncio.create_task(environment._read_version("python3"))
    process = await queue.get()
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert process.returncode is not None
