"""`ponte doctor` says where Ponte is installed, and what of its packages is not as it must be."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from bot import __version__
from bot import doctor as installation
from bot.doctor import (
    DISTRIBUTION,
    INSTALL_FOLDER,
    Installation,
    describe,
    inspect_installation,
    is_within_bounds,
)
from core.base.i18n import say
from tests.bot.conftest import Shell
from tests.time_limits import Limits

ANEW = ". Reinstall Ponte in its own environment (docs/guides/install.md)."


class Environment:
    """A folder of distributions, first on the path; each is its metadata and empty files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, version: str, *files: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file in files:  # from Python 3.12 on one that is not there does not count
            (self.folder / file).parent.mkdir(exist_ok=True)
            (self.folder / file).touch()
        importlib.invalidate_caches()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.syspath_prepend(tmp_path)
    # Of all tests only these install something, so the others read the packages once.
    packages_distributions = metadata.packages_distributions
    monkeypatch.setattr(metadata, "packages_distributions", inspect.unwrap(packages_distributions))
    return Environment(tmp_path)


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pyproject.toml` may say, as metadata has it."""
    options = [
        "nh3>=0.3",
        "httpx<0.29,>=0.28",
        "ponte-dreams>=4",
        "ponte-pool<4,>=3; extra == 'big'",
    ]
    monkeypatch.setattr(installation, "_read_requirements", lambda: options)


@pytest.mark.usefixtures("without_a_sandbox")
def test_doctor_names_the_folder_of_a_complete_installation(ponte: Shell) -> None:
    findings = inspect_installation({"postgres"})
    assert findings.is_complete
    text = f"Ponte {__version__} in {INSTALL_FOLDER}, with all {findings.count} required packages"
    assert describe(findings, say) == text
    ponte("doctor")
    assert f"ok    packages: Ponte {__version__} in {INSTALL_FOLDER}, with all " in ponte.out


def test_all_of_pyproject_is_looked_for() -> None:
    project = tomllib.loads((INSTALL_FOLDER / "pyproject.toml").read_text())["project"]
    need, more = project["dependencies"], project["optional-dependencies"]["postgres"]
    assert inspect_installation().count == len(need)
    assert inspect_installation({"postgres"}).count == len(need) + len(more)


@pytest.mark.usefixtures("needs")
def test_missing_and_old_packages_are_named(environment: Environment) -> None:
    environment.install("httpx", "0.27.2")
    findings = inspect_installation()
    assert findings == Installation(
        3, {"ponte-dreams": ">=4"}, {"httpx": ("0.27.2", "<0.29,>=0.28")}, {}
    )
    text = "ponte-dreams>=4 is missing, httpx 0.27.2 doesn't match <0.29,>=0.28"
    assert describe(findings, say) == text + ANEW
    environment.install("ponte-dreams", "4.0")
    assert inspect_installation().missing == {}
    findings = inspect_installation({"big"})
    assert findings.missing == {"ponte-pool": "<4,>=3 (extra big)"}
    assert describe(findings, say).startswith("ponte-pool<4,>=3 (extra big) is missing, ")


def test_another_distribution_with_a_name_of_ours_is_told(environment: Environment) -> None:
    environment.install("corelib", "1.0", "core/__init__.py")
    environment.install(DISTRIBUTION, __version__, "core/__init__.py", "bot/__init__.py")
    assert inspect_installation().foreign == {"core": "corelib"}
    assert describe(inspect_installation(), say) == f"core also belongs to corelib{ANEW}"


def test_another_folder_before_ours_is_told(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder `adapters` in a folder that stands in PYTHONPATH."""
    (environment.folder / "adapters").mkdir()
    (environment.folder / "adapters" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "adapters")
    assert inspect_installation().foreign == {"adapters": str(environment.folder / "adapters")}


@pytest.mark.usefixtures("needs")
def test_a_command_that_cannot_be_imported_says_what_is_missing(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bot.cli.commands", None)  # importing it raises ImportError
    monkeypatch.delattr("bot.cli.commands", raising=False)
    ponte("doctor")
    assert (ponte.code, ponte.out) == (1, "")
    assert ponte.err == f"ponte: ponte-dreams>=4 is missing{ANEW}\n"


def test_advice_needs_no_package() -> None:
    """The module that explains a failed import must not fail in the same way."""
    script = (
        "import sys; sys.modules |= {'pydantic': None, 'structlog': None}\n"
        "from bot.cli.main import main; sys.exit(main(['doctor']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=INSTALL_FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("ponte: ")
    assert len(result.stderr.splitlines()) == 1


def test_it_is_said_in_english_where_core_is_somebody_elses(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = ModuleType("core")
    other.__path__ = [str(tmp_path / "core")]
    monkeypatch.setitem(sys.modules, "core", other)
    for name in [name for name in sys.modules if name.startswith(("core.", "bot.cli.commands"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("bot.cli.commands", raising=False)
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    ponte("usage")
    assert (ponte.code, ponte.err) == (1, f"ponte: core also belongs to {tmp_path}/core{ANEW}\n")


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("2.7.1", ">=2.7.1,<3", True),
        ("2.7", ">=2.7.1,<3", False),
        ("3.0.0", "<3,>=2.7.1", False),
        ("1.30", ">=1.30.0", True),
        ("10.1.post1", ">=9.9", True),
        ("3.2.1", "==3.2.1", True),
        ("3.2.2", "==3.2.1", False),
        ("anything", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, kept: bool) -> None:
    assert is_within_bounds(version, bounds) == kept


def test_a_missing_driver_of_postgres_is_told(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_shared(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name="psycopg_pool")

    monkeypatch.setattr("bot.stores.Stores.open_shared", open_shared)
    monkeypatch.setenv("DATABASE_URL", "postgresql://ponte:hunter22@db.example.com/ponte")
    assert ponte("status").code == 2
    assert ponte.err == (
        "DATABASE_URL needs the psycopg_pool package. Install the `postgres` extra or "
        "`requirements/postgres.txt` (docs/guides/scaling.md).\n"
    )


def test_an_installed_ponte_reads_what_it_needs_from_its_metadata(
    environment: Environment, limits: Limits
) -> None:
    limits(INSTALL_FOLDER=environment.folder)
    environment.install(installation.DISTRIBUTION, "0.1.0")
    info = next(environment.folder.glob("*.dist-info")) / "METADATA"
    info.write_text(info.read_text() + "Requires-Dist: ponte-dreams>=4\n")
    assert inspect_installation().missing == {"ponte-dreams": ">=4"}
