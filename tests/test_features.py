"""A feature is one folder and one line: few lines outside its folders name it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import ignore_patterns

import pytest

from bot.config.ponte_toml import Config, _FirstSections
from bot.features import base
from bot.operations import list_parts, operation
from bot.stores import OWN_TABLES
from tests.sources import PRODUCT, ROOT
from tests.test_imports import importers

REMOVABLE = {
    "mcp_tools": ("core/tools/mcp",),
    "mcp_server": ("adapters/mcp_server",),
    "webhooks": ("core/webhooks",),
    "voice": ("core/voice",),
    "stackspot": ("core/tools/stackspot",),
    "tracing": (),
    "backup": (),
}
"""Features that can be removed, by their folder in bot/features → their other folders.

Feedback is not: the page and the table of buttons know it."""
START = """
import importlib, pathlib, sys
from bot.cli.main import main
for path in sorted(pathlib.Path().rglob("*.py")):
    if not str(path).startswith("core/tools/code/"):  # its programs start when they are imported
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        name.endswith("__main__") or importlib.import_module(name)
assert main(["--help"]) == 0
assert main(["ask", "hello"]) == 0
"""


def name_integration(feature: base.Feature) -> Iterable[str]:
    return [feature.integration.name] if feature.integration else []


def list_sections(feature: base.Feature) -> Iterable[str]:
    integration = feature.integration
    return [*feature.sections, *([integration.name] if integration and integration.section else [])]


DECLARED: Mapping[str, tuple[Iterable[str], Callable[[base.Feature], Iterable[str]]]] = {
    "kind of change": (["post"], lambda feature: feature.kinds),
    "origin": (["person", "program"], lambda feature: feature.origins),
    "table": (
        [table.name for table in OWN_TABLES],
        lambda feature: [table.name for table in feature.tables],
    ),
    "section of ponte.toml": ([*_FirstSections.__annotations__, *vars(Config)], list_sections),
    "integration": ([], name_integration),
    "card": ([], lambda feature: [feature.card.name] if feature.card else []),
    "event of the audit log": ([], lambda feature: feature.audit_sentences),
}
"""Names that the core has, and that each feature adds."""


@pytest.mark.parametrize("kind", DECLARED)
def test_no_two_features_declare_one_name(kind: str) -> None:
    core, list_names = DECLARED[kind]
    names = Counter([*core, *(name for own in base.find_features() for name in list_names(own))])
    assert [name for name, count in names.items() if count > 1] == []


def test_a_second_operation_of_one_name_is_refused() -> None:
    with pytest.raises(ValueError, match="status: there is another operation"):
        operation("status")(list_parts)


def list_folders(name: str) -> Sequence[str]:
    return [f"bot/features/{name}", *REMOVABLE[name]]


@pytest.mark.parametrize("name", REMOVABLE)
def test_nothing_outside_its_folders_imports_a_removable_feature(name: str) -> None:
    folders = list_folders(name)
    found = importers(*(folder.replace("/", ".") for folder in folders))
    assert [path for path in found if not path.startswith(tuple(folders))] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", REMOVABLE)
def test_without_a_removable_feature_the_rest_starts_and_answers(tmp_path: Path, name: str) -> None:
    """Its folders and its line are gone."""
    for folder in PRODUCT:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore_patterns("__pycache__"))
    for folder in list_folders(name):
        shutil.rmtree(tmp_path / folder)
    features = tmp_path / "bot/features/__init__.py"
    text = features.read_text("utf-8")
    assert text.count(f'    "{name}",\n') == 1
    features.write_text(text.replace(f'    "{name}",\n', ""), "utf-8")
    result = subprocess.run(
        [sys.executable, "-c", START],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PONTE_HOME": str(tmp_path / "home"), "PONTE_CODE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "ponte" in result.stdout.lower()
