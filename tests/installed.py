"""The wheel, built and installed in an environment of its own, which does not see this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.settings import Settings

ROOT = Path(__file__).parents[1]
READY = "Ponte is ready."


def run(*words: object) -> str:
    result = subprocess.run(
        [*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(folder: Path) -> Path:
    """As `make wheel` does: nothing is fetched."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    (wheel,) = folder.glob("ponte_bot-*.whl")
    return wheel


@dataclass
class Installed:
    """`folder/env` has the wheel and sees the packages of this test run, but not its checkout: a
    line of a .pth file puts a folder on the path without reading the .pth files in it. `settings`
    are set for each command."""

    folder: Path
    settings: Mapping[str, str]

    @classmethod
    def of(cls, wheel: Path, folder: Path, settings: Mapping[str, str]) -> Installed:
        run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
        result = cls(folder, settings)
        (result.site / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            result.python,
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--ignore-installed",
            wheel,
        )
        return result

    @property
    def python(self) -> Path:
        return self.folder / "env" / "bin" / "python"

    @property
    def site(self) -> Path:
        (site,) = (self.folder / "env" / "lib").glob("python3*/site-packages")
        return site

    @property
    def environment(self) -> dict[str, str]:
        """Nothing is set but a home and a free port."""
        ours = {*Settings.model_fields, "pythonpath", "virtual_env"}
        records = {name: value for name, value in os.environ.items() if name.lower() not in ours}
        path = f"{self.python.parent}:{records.get('PATH', '')}"
        home = {"PONTE_HOME": str(self.folder / "home"), "PONTE_WEB_PORT": "0", "PATH": path}
        return records | home | dict(self.settings)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`ponte …`, from an empty folder."""
        (self.folder / "here").mkdir(exist_ok=True)
        return subprocess.Popen(
            ["ponte", *words],
            cwd=self.folder / "here",
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            executable=self.python.parent / "ponte",
        )

    def ponte(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    @contextmanager
    def running(self, words: Sequence[str] = ("run",)) -> Iterator[str]:
        """`ponte run` until the block ends; where it is reached."""
        with self.start(*words) as process:
            try:
                assert process.stdout is not None
                lines = iter(process.stdout.readline, "")
                yield next(line for line in lines if line.startswith(READY)).split()[-1]
                process.terminate()
                process.communicate()
                assert process.returncode == 0
            finally:
                process.kill()
