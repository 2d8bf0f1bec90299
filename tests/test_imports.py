"""Who may import whom: packages point one way, and each library is known in one place."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement

from tests.sources import ROOT, list_sources, parse, walk_nodes

PACKAGES = ("bot", "adapters", "core")

PLACES: dict[str, str | tuple[str, ...]] = {
    "httpx": "core/base/http.py",
    "openai": "core/base/openai.py",
    "sqlitedict": "core/journal/thread_map.py",
    "cronsim": "core/schedules/schedule.py",
    "psycopg": "core/store/",
    "psycopg_pool": "core/store/postgres.py",
    "procrastinate": ("core/store/", "core/journal/"),
    "prometheus_client": "core/observability/metrics.py",
    "requests": "bot/features/tracing/export.py",
    "slack_bolt": "adapters/slack/",
    "slack_sdk": "adapters/slack/",
    "discord": "adapters/discord/",
    "starlette": "adapters/web/",
    "uvicorn": "adapters/web/",
    "mcp": ("adapters/mcp_server/protocol.py", "core/tools/mcp/session.py"),
    "mcp_types": ("adapters/mcp_server/protocol.py", "core/tools/mcp/session.py"),
    "jsonschema": "core/tools/mcp/schema.py",
    "httpx2": ("core/base/openai.py", "core/tools/mcp/session.py"),
    "opentelemetry": "bot/features/tracing/export.py",
    "typer": ("bot/cli/command_line.py", "bot/features/backup/commands.py"),
    "pydantic_settings": "bot/settings.py",
    "platformdirs": "bot/settings.py",
}
FOLDERS = (
    "base",
    "domain",
    "figures",
    "observability",
    "store",
    "people",
    "commands",
    "money",
    "voice",
    "changes",
    "feedback",
    "saved",
    "journal",
    "chat",
    "integrations",
    "models",
    "tools",
    "imports",
    "turn",
    "schedules",
    "webhooks",
    "erasure",
)
"""The folders of `core/`, from the one that imports no other to the one that nothing imports."""
HEAVY = (
    "mcp",
    "mcp_types",
    "jsonschema",
    "openai",
    "slack_bolt",
    "slack_sdk",
    "discord",
    "starlette",
    "uvicorn",
    "httpx",
    "aiohttp",
    "psycopg",
    "procrastinate",
    "opentelemetry",
    "requests",
    "cronsim",
)


@functools.cache
def sources() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): parse(path) for path in list_sources()}


@functools.cache
def imports(tree: ast.Module) -> Sequence[str]:
    """Every module that is named: by `import`, by `from … import`, by `import_module("…")`."""
    return list(_imports(tree))


def _imports(tree: ast.Module) -> Iterator[str]:
    texts = {
        target.id: str(each.value.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    for node in walk_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))
            yield from (
                texts[a.id] for a in node.args[:1] if isinstance(a, ast.Name) and a.id in texts
            )


def importers(*modules: str, below: str = "") -> list[str]:
    """Files under `below` that import one of `modules` or something in it."""
    return sorted(
        path
        for path, tree in sources().items()
        if path.startswith(below)
        and any(f"{name}.".startswith(f"{module}.") for name in imports(tree) for module in modules)
    )


def test_packages_point_one_way() -> None:
    assert {"bot/settings.py", "core/domain/ports.py"} <= set(sources())
    assert importers("bot", "adapters", below="core/") == []
    assert importers("bot", below="adapters/") == []


def test_the_bot_names_its_integrations_in_one_list() -> None:
    """Beside their features, code reads some settings by name, and a command is Slack's own."""
    new_names = ("adapters.slack", "adapters.discord", "core.tools.nocodb", "core.tools.stackspot")
    assert importers(*new_names, below="bot/") == [
        "bot/cli/commands.py",
        "bot/features/discord/feature.py",
        "bot/features/nocodb/feature.py",
        "bot/features/slack/feature.py",
        "bot/features/stackspot/feature.py",
        "bot/settings.py",
    ]
    faces = (
        "app",
        "doctor/checks",
        "doctor/safety",
        "engine",
        "config/quick_registry",
        "config/ponte_toml",
    )
    names = {"slack", "discord", "web", "terminal", "nocodb", "stackspot", "model", "code"}
    for path in (f"bot/{name}.py" for name in faces):
        texts = {n.value for n in walk_nodes(sources()[path]) if isinstance(n, ast.Constant)}
        assert texts & names == set(), path


def test_folders_of_the_core_point_one_way() -> None:
    """Each imports only folders that stand before it in the list."""
    assert sorted(FOLDERS) == sorted(p.name for p in (ROOT / "core").iterdir() if _is_package(p))
    assert [path for path in sources() if path.count("/") == 1 and path.startswith("core/")] == [
        "core/__init__.py"
    ]
    against = {
        (path, folder)
        for path, tree in sources().items()
        if path.startswith("core/") and path != "core/__init__.py"
        for folder in FOLDERS[FOLDERS.index(path.split("/")[1]) + 1 :]
        if any(f"{name}.".startswith(f"core.{folder}.") for name in imports(tree))
    }
    assert against == set()
    assert importers("core.models", below="core/tools/") == []


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").exists()


@pytest.mark.parametrize("library", PLACES)
def test_a_library_is_known_in_one_place(library: str) -> None:
    place = PLACES[library]
    assert [path for path in importers(library) if not path.startswith(place)] == []


def _distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_distributions() -> set[str]:
    """Every distribution that pyproject.toml names for the product, also by an extra of another one
    (`psycopg[pool]` is psycopg-pool)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    more = project["optional-dependencies"]
    name = [Requirement(one) for one in project["dependencies"]]
    name += [Requirement(one) for extra in ("postgres", "otel", "mcp") for one in more[extra]]
    names = {_distribution(one.name) for one in name}
    for one in name:
        for need in map(Requirement, metadata.requires(one.name) or ()):
            if any(need.marker and need.marker.evaluate({"extra": e}) for e in one.extras):
                names.add(_distribution(need.name))
    return names


def test_every_import_belongs_to_a_declared_dependency() -> None:
    """Those of `INSIDE` are in core/tools/code/requirements-sandbox.txt; `ALONE` imports its
    neighbours, and no package."""
    own, distributions = {*PACKAGES, *sys.stdlib_module_names}, declared_distributions()
    homes = metadata.packages_distributions()
    missing = {
        (path, name.partition(".")[0])
        for path, tree in sources().items()
        if not path.startswith((INSIDE, ALONE))
        for name in imports(tree)
        if name.partition(".")[0] not in own
        and not distributions & set(map(_distribution, homes.get(name.partition(".")[0], ())))
    }
    assert missing == set()


def test_who_subclasses_a_librarys_internals_bounds_its_version() -> None:
    """`adapters/web/server.py` subclasses uvicorn's HTTP protocol, which no promise covers: the
    bound is the first release that nobody has tried."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (uvicorn,) = [one for one in map(Requirement, project["dependencies"]) if one.name == "uvicorn"]
    assert importers("uvicorn.protocols") == ["adapters/web/server.py"]
    installation = metadata.version("uvicorn")
    major, minor, *_ = map(int, installation.split("."))
    assert uvicorn.specifier.contains(installation)
    assert not uvicorn.specifier.contains(f"{major}.{minor + 1}.0")


MAX_CIRCLES = 3
MAX_FILES_IN_CIRCLES = 7
MAX_FILES_IN_CIRCLE = 3


def test_few_files_import_each_other_in_a_circle() -> None:
    """Imports for types and inside functions count too: who reads one file of a circle has to know
    the others."""
    circles = find_circles(read_arrows())
    listing = "\n".join(", ".join(circle) for circle in circles)
    assert len(circles) <= MAX_CIRCLES, listing
    assert sum(map(len, circles)) <= MAX_FILES_IN_CIRCLES, listing
    assert max(map(len, circles), default=0) <= MAX_FILES_IN_CIRCLE, listing


def read_arrows() -> dict[str, set[str]]:
    """Return each module of the product with those that it imports, wherever it does."""
    modules = {
        path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path
        for path in sources()
    }
    return {
        module: {
            target
            for name in imports(sources()[path])
            if (target := name if name in modules else name.rpartition(".")[0]) in modules
        }
        - {module}
        for module, path in modules.items()
    }


def find_circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules of which each reaches each other one, the smallest first."""
    reach = {module: _reach(module, arrows) for module in arrows}
    circles = {
        tuple(other for other in sorted(reach[module]) if module in reach[other])
        for module in arrows
        if module in reach[module]
    }
    return sorted(map(list, circles), key=len)


def _reach(module: str, arrows: Mapping[str, set[str]]) -> set[str]:
    reach, found = set[str](), {module}
    while found:
        found = set().union(*(arrows[name] for name in found)) - reach
        reach |= found
    return reach


def test_a_circle_is_found_with_all_its_files() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert find_circles(arrows) == [["d", "e"], ["a", "b", "c"]]


ALONE = "core/tools/code/sandbox/inside/"
"""Started by its path, before the sandbox stands."""
INSIDE = "core/tools/code/kernel/"
"""Runs in the sandbox, where the environment is the sandbox's."""


def test_only_the_settings_read_the_environment() -> None:
    reading = [
        path
        for path, tree in sources().items()
        if not path.startswith(INSIDE)
        for node in walk_nodes(tree)
        if (isinstance(node, ast.Attribute | ast.Name) and _name(node) in ("environ", "environb"))
        or (isinstance(node, ast.Attribute | ast.Name) and _name(node) in ("getenv", "getenvb"))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and "env" in ast.unparse(node))
    ]
    # `ponte --help` speaks the reader's language, before there are settings, and the terminal sends
    # the zone of the person's shell, which is not the server's. A new start by the setup page has
    # the environment of the first one, with the page's socket.
    assert set(reading) <= {
        "bot/settings.py",
        "bot/cli/main.py",
        "adapters/terminal/screen.py",
        "bot/setup/restart.py",
        "adapters/web/server.py",
    }


def _name(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh process has after `statement`."""
    return {name.split(".")[0] for name in modules_loaded_by(statement)}


def modules_loaded_by(statement: str) -> set[str]:
    """All modules that a fresh process has after `statement`."""
    script = f"{statement}\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_version_imports_nothing_heavy() -> None:
    data = loaded_by("from bot.cli.main import main; main(['version'])")
    assert "typer" in data
    # typer 0.29 itself takes pydantic to check arguments with: 30 ms that stay.
    heavy = {*HEAVY, "pydantic_settings", "structlog", "rich", "asyncio", "sqlite3", "core"}
    assert data & heavy == set()


def test_heavy_libraries_are_imported_only_when_used() -> None:
    """Importing one takes up to half a second, which `ponte run` cannot wait for."""
    data = loaded_by("import bot.app, bot.cli.commands, bot.doctor.checks")
    assert data & set(HEAVY) == set()


def test_parts_that_are_not_set_up_are_not_loaded() -> None:
    parts = {
        "adapters.mcp_server.tools",
        "bot.operation_texts",
        "bot.setup.service",
        "core.erasure",
        "core.models.demo_model",
        "core.tools.nocodb.read",
    }
    data = modules_loaded_by("import bot.app, bot.compose")
    assert data & parts == set()


@pytest.mark.slow
def test_a_process_that_runs_loads_no_terminal() -> None:
    """A running process keeps what it loaded: 15 MB, if these were among it."""
    start = "import os; os.environ['OPENAI_BASE_URL'] = 'wrong'; from bot.cli.main import main"
    data = loaded_by(f"{start}; main(['run'])")
    assert "structlog" in data
    assert data & {"prompt_toolkit", "rich", "typer", "uvicorn", "starlette"} == set()


def test_the_kernel_program_and_ponte_know_nothing_of_each_other() -> None:
    assert importers("core", "adapters", "bot", below=INSIDE) == []
    assert importers("core.tools.code.kernel") == []


def test_core_knows_no_platform_by_name() -> None:
    """Rights and forms of ids are handed in; what a platform's test words hold is no name."""
    names = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if path.startswith("core/")
        for node in walk_nodes(tree)
        if isinstance(node, ast.Constant) and node.value in ("slack", "discord", "web", "terminal")
    ]
    assert names == []


def drawn_picture() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "docs/dev/architecture.svg").getroot()


def test_the_picture_has_each_folder_in_its_order() -> None:
    folders = {
        group.attrib["data-folder"]: float(rectangle.attrib["y"])
        for group in drawn_picture().iter()
        if "data-folder" in group.attrib and (rectangle := group.find("{*}rect")) is not None
    }
    assert list(folders) == ["bot", "adapters", *FOLDERS]
    heights = [folders[name] for name in FOLDERS]
    assert heights == sorted(heights, reverse=True)


def test_the_picture_s_arrows_are_the_imports() -> None:
    """Each arrow is an import, and each import has a way of arrows."""
    arrows = [
        (each.attrib["data-from"], each.attrib["data-to"])
        for each in drawn_picture().iter()
        if "data-from" in each.attrib
    ]
    usages = {
        (here, there)
        for path, tree in sources().items()
        if (here := _read_picture(path.removesuffix(".py").replace("/", ".")))
        for there in map(_read_picture, imports(tree))
        if there and there != here
    }
    outer = {("bot", "adapters"), ("bot", "core"), ("adapters", "core")}
    inner = {(one, two) for one, two in usages if one in FOLDERS}
    assert outer == {pair for pair in arrows if pair[0] not in FOLDERS}
    assert outer == {(one, "core" if two in FOLDERS else two) for one, two in usages - inner}
    assert set(arrows) - outer <= inner
    ways = {name: {name} for name in FOLDERS}
    for name in FOLDERS:
        ways[name].update(*(ways[two] for one, two in arrows if one == name))
    assert [pair for pair in sorted(inner) if pair[1] not in ways[pair[0]]] == []


def _read_picture(module: str) -> str:
    """Return the folder of the picture that a module is in, "" for none."""
    package, _, rest = module.partition(".")
    folder = rest.partition(".")[0]
    if package == "core":
        return folder if folder in FOLDERS else ""
    return package if package in PACKAGES else ""
