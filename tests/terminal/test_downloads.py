"""Files that answers bring are saved in a folder that somebody else may have prepared."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from adapters.terminal.chat import DownloadFolder
from core.base.http import HttpClient


class Plots:
    """Answers each request with the same bytes."""

    async def get_bytes(self, url: str, _: object) -> bytes:
        return b"a plot"


def save(folder: Path) -> str:
    """Return the path that a plot was saved under; "" where the file couldn't be saved."""
    downloads = DownloadFolder(cast(HttpClient, Plots()), folder)
    file = {"name": "plot.png", "size": 6, "url": "/files/1", "type": "image/png"}
    return asyncio.run(downloads.fetch(file, {})).path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "precious" / "file"
    path.parent.mkdir()
    path.write_text("precious")
    return path


def test_a_file_is_for_this_user_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        path = Path(save(tmp_path / "saved"))
    finally:
        os.umask(mask)
    assert path.read_bytes() == b"a plot"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_is_saved_behind_a_link(tmp_path: Path, target: Path) -> None:
    (tmp_path / "saved").symlink_to(target.parent)
    assert save(tmp_path / "saved") == ""
    assert os.listdir(target.parent) == ["file"]


def _as_link(place: Path, target: Path) -> None:
    place.symlink_to(target)


def _as_link_to_the_same(place: Path, target: Path) -> None:
    target.write_bytes(b"a plot")
    place.symlink_to(target)


def _as_dangling_link(place: Path, target: Path) -> None:
    place.symlink_to(target.with_name("made-by-the-link"))


def _as_pipe(place: Path, target: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(place)


def _as_folder(place: Path, target: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize(
    "plant", [_as_link, _as_link_to_the_same, _as_dangling_link, _as_pipe, _as_folder]
)
def test_an_existing_entry_of_that_name_is_not_changed(
    tmp_path: Path, target: Path, plant: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    plant(folder / "plot.png", target)
    before = target.read_bytes()
    assert save(folder) == str(folder / "plot-1.png")
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == ["file"]


def test_the_same_file_is_saved_once(tmp_path: Path) -> None:
    assert save(tmp_path) == save(tmp_path) == str(tmp_path / "plot.png")
