"""A feature is one folder and one line: few lines outside its folders name it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import ignore_patterns

import pytest

from bot.config.ponte_toml import Config, _FirstSections
from bot.features import base
from bot.operations import list_parts, operation
from bot.stores import OWN_TABLES
from tests.sources import PRODUCT, ROOT, list_sources, parse, walk_nodes
from tests.test_imports import importers
from tests.test_size import list_text_lines


@dataclass(frozen=True)
class Feature:
    """How code names a feature (`pattern`), the folders and files that are its own, and at most how
    many lines of code elsewhere may name it."""

    pattern: str
    folders: tuple[str, ...]
    most_lines: int


FEATURES = {
    "feedback": Feature(
        r"[Ff]eedback|FEEDBACK|VOTES|Votes\b|\bvotes\b",
        ("bot/features/feedback", "core/feedback", "adapters/web/page/feedback.js"),
        75,
    ),
    "MCP tools": Feature(
        r"core\.tools\.mcp|mcp_tool|McpTool(?!s\b)|MCP_(TOOLS|CALL|STATE)|McpServer(s|Name|\b)"
        r"|\.mcp\b(?!_server)|McpConfig|mcp (show|accept)|mcp-tools|\(\"mcp\",|STDIO_HINT"
        r"|_check_mcp|NO_MCP_EXTRA|MCP servers?",
        ("bot/features/mcp_", "core/tools/mcp", "adapters/mcp_server"),
        5,
    ),
    "MCP server": Feature(
        r"adapters\.mcp_server|[Mm]cp_server\b|McpServerConfig|McpSettings|McpEndpoint|McpOrigin"
        r"|McpTools\b|MCP_(PATH|ORIGIN|TOKEN_KIND)|\bMCP\b|ponte_mcp|mcp-request|ChangeRequests"
        r"|kind.*\bmcp\b|\bmcp\b.*token|mcp_calls|mcpServers|mcp\.md|create_mcp|/mcp\b",
        ("bot/features/mcp_", "adapters/mcp_server", "core/tools/mcp"),
        25,
    ),
    "webhooks": Feature(
        r"[Ww]ebhook|WEBHOOK|\bhooks?\b|HOOKS?_|Hook[A-Z]|Hooks\b|_hook\b",
        # Discord and NocoDB have webhooks of their own.
        ("bot/features/webhooks", "core/webhooks", "adapters/discord", "core/tools/nocodb"),
        40,
    ),
    "voice": Feature(
        r"(?<![Ii]n)[Vv]oice|[Tt]ranscrib|[Tt]ranscription\b",
        # Discord's library has channels for voices.
        ("bot/features/voice", "core/voice", "adapters/web/page/record.js", "adapters/discord"),
        46,
    ),
    "schedules": Feature(
        r"[Ss]chedul|SCHEDUL",
        # Jobs are scheduled, and so is the page's next connection.
        (
            "bot/features/schedules",
            "core/schedules",
            "core/journal",
            "adapters/web/page/connection.js",
        ),
        120,
    ),
    "sign-in": Feature(
        r"OIDC|oidc|sign_in\b|SignIn|SIGN_IN",
        (
            "bot/features/sign_in",
            "core/people/sign_ins.py",
            "adapters/web/oidc",
            "adapters/web/sign_in.py",
        ),
        80,
    ),
    "Python": Feature(
        r"[Ss]andbox|[Kk]ernel|[Cc]ode_?[Rr]un|CODE_INTEGRATION|CodeSettings|core\.tools\.code"
        r"|ponte_code|[Ii]nterpreter|[Pp]ython\b",
        ("bot/features/python", "core/tools/code"),
        97,
    ),
    "StackSpot": Feature(
        r"[Ss]tack[Ss]pot|STACKSPOT", ("bot/features/stackspot", "core/tools/stackspot"), 20
    ),
    "sample tables": Feature(
        r"core\.tools\.sample|SAMPLE|_sample|sample_|Sample[A-Z]|\bsample (reset|tables)",
        ("bot/features/sample", "core/tools/sample"),
        55,
    ),
    "tracing": Feature(
        r"[Tt]racing|TRACING|[Tt]races\b|otel_|OTEL_|TraceSpan",
        ("bot/features/tracing", "core/observability/tracing.py"),
        25,
    ),
    "backup": Feature(
        r"[Bb]ackup|[Rr]estore[ds]?\b(?! the sample)",
        ("bot/features/backup",),
        40,
    ),
}


@pytest.mark.parametrize("name", FEATURES)
def test_few_lines_outside_its_folders_name_a_feature(name: str) -> None:
    feature = FEATURES[name]
    named = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in read_code_lines()
        if not path.startswith(feature.folders) and re.search(feature.pattern, line)
    ]
    listing = "\n".join(named)
    assert len(named) <= feature.most_lines, f"{len(named)} lines:\n{listing}"


@cache
def read_code_lines() -> Sequence[tuple[str, int, str]]:
    """Return each line of code of the product and the page's scripts: path, number and text."""
    return list(_read_code_lines())


def _read_code_lines() -> Iterator[tuple[str, int, str]]:
    scripts = sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.js"))
    for path in (*list_sources(), *scripts):
        texts = set() if path.suffix == ".js" else _list_texts(path)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if number not in texts and not re.match(r"\s*(#|//|/?\*|$)", line):
                yield str(path.relative_to(ROOT)), number, line


def _list_texts(path: Path) -> set[int]:
    return set(list_text_lines(walk_nodes(parse(path))))


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
