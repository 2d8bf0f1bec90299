"""The wheel carries all that the code opens, and runs where there is no checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from bot import __version__
from tests.installed import ROOT, Installed, build

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = ("adapters", "bot", "core")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def healthy(home: Path) -> subprocess.CompletedProcess[str]:
    """What the image's HEALTHCHECK runs, on that home."""
    (line,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *words = json.loads(line.replace("/home/ponte/home", str(home)))
    assert program == "python"
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_it_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    there = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "core/tools/code/requirements-sandbox.txt",
        "adapters/web/page/index.html",
        "core/locale/fr/LC_MESSAGES/ponte.po",
    } < there
    info = f"ponte_bot-{__version__}.dist-info"
    ours = {name for name in names(wheel) if not name.startswith(f"{info}/")}
    assert ours == there
    assert f"{info}/licenses/LICENSE" in names(wheel)


def test_it_is_for_any_machine_and_says_what_it_needs(wheel: Path) -> None:
    assert wheel.name == f"ponte_bot-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        info = f"ponte_bot-{__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert "ponte = bot.cli.main:main" in scripts
    assert "Requires-Dist: starlette>=1.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Provides-Extra: postgres" in metadata


def test_two_builds_are_the_same(wheel: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    ponte = Installed.of(wheel, tmp_path, {"PONTE_CODE": "off"})  # its sandbox has tests of its own
    assert ponte.ponte("--version") == (0, f"{__version__}\n", "")
    code, out, err = ponte.ponte("doctor")
    assert (code, err) == (0, "")
    assert f"ok    packages: Ponte {__version__} in {ponte.site}, with all " in out
    with ponte.running() as url:
        token = (tmp_path / "home" / "web-token").read_text().strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as page:
            response = page.post(
                "/chat", json={"message": "ajuda"}, headers={"Accept-Language": "pt"}
            )
            assert response.json()["status"] == "done"
            assert "aprovar" in response.json()["response"]
            assert "<title>Ponte</title>" in page.get("/").text
            assert page.get("/page/ponte.js").headers["content-type"].startswith("text/javascript")
        assert healthy(tmp_path / "home").returncode == 0
    assert healthy(tmp_path / "home").returncode != 0
    assert list((tmp_path / "here").iterdir()) == []
