"""The bot's own modules are not there, even where they lie in a tree that the sandbox needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.home import Home
from bot.setup.stored import StoredSettings
from core.tools.code.sandbox import sandbox as runtime
from core.tools.code.sandbox.process import Sandbox
from tests.real.sandbox.pythons import sandbox_python
from tests.real.sandbox.test_honest import run, sandbox

__all__ = ["sandbox"]

CODE = """
import os
try:
    found = open({file!r}).read()
except OSError:
    found = ''
import json, sqlite3, xml.dom.minidom
found, {other!r} in os.listdir({folder!r}), open({other_file!r}).read()
"""


READ_FILES = """
def is_readable(path):
    try:
        return bool(open(path, 'rb'))
    except OSError:
        return False
[is_readable(path) for path in {}]
"""


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The bot's modules, in the tree of the sandbox's interpreter."""
    folder = sandbox_python().parent.parent / "lib"
    packages = folder / "bot-packages"
    packages.mkdir()
    (packages / "settings.py").write_text("token")
    (folder / "other.txt").write_text("other")
    monkeypatch.syspath_prepend(packages)
    yield packages
    (packages / "settings.py").unlink()
    (folder / "other.txt").unlink()
    packages.rmdir()


@pytest.mark.slow
async def test_the_modules_of_the_bot_cannot_be_read(sandbox: Sandbox, packages: Path) -> None:
    other = packages.parent / "other.txt"
    code = CODE.format(
        file=str(packages / "settings.py"),
        folder=str(packages.parent),
        other=other.name,
        other_file=str(other),
    )
    (ran,) = await run(sandbox, sandbox_python(), code)
    assert (ran.error, ran.value) == ("", "('', True, 'other')")


@pytest.mark.slow
async def test_what_was_typed_on_the_set_up_page_cannot_be_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        StoredSettings(home).write({"NOCODB_TOKEN": "typed-on-the-page"})
    names = ("settings.env", "settings.env.last", "settings.env.trial")
    (ran,) = await run(
        sandbox, sandbox_python(), READ_FILES.format([str(home.path / one) for one in names])
    )
    assert ran.error == ""
    assert ran.value == "[False, False, False]"


def test_hidden_folders_are_left_out_of_a_tree(tmp_path: Path) -> None:
    for name in ("a/b/hidden/x", "a/c/x", "d/x", "hidden/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("/etc")
    secrets = (tmp_path / "a/b/hidden", tmp_path / "hidden", Path("/elsewhere"))
    assert list(runtime.split_around(tmp_path, secrets)) == [
        (tmp_path, False),
        (tmp_path / "a", False),
        (tmp_path / "a/b", False),
        (tmp_path / "a/c", True),
        (tmp_path / "d", True),
    ]
    assert list(runtime.split_around(tmp_path / "d", secrets)) == [(tmp_path / "d", True)]


def test_the_standard_library_is_not_the_bots(monkeypatch: pytest.MonkeyPatch) -> None:
    standard = Path(sys.modules["json"].__file__ or "").parent.parent
    packages = standard / "site-packages"
    monkeypatch.setattr(sys, "path", [str(standard), str(packages), "/usr/share", "/nowhere"])
    assert runtime.find_hidden([standard.parent]) == ((packages,) if packages.is_dir() else ())
    assert runtime.find_hidden([Path("/usr")]) == (Path("/usr/share"),)
