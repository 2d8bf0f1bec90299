"""`ponte doctor`, and the state of the installation.

Ponte's three top-level packages have common names, so it needs a virtual environment of its own:
another distribution with one of these names would overwrite it, or be overwritten. Only the
standard library is imported here, since this module explains why other imports fail.
"""

from __future__ import annotations

import operator
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from bot import __version__

DISTRIBUTION = "ponte-bot"
TOP_LEVEL_PACKAGES = ("adapters", "bot", "core")
INSTALL_FOLDER = Path(__file__).resolve().parents[2]
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*\(?(?P<bounds>[^;()]*)\)?\s*(?:;\s*(?P<when>.*))?"
)
"""The part of PEP 508 that `pyproject.toml` and hatchling's metadata use."""
_EXTRA = re.compile(r"""extra\s*==\s*["']([a-z-]+)["']""")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*(\d+(?:\.\d+)*)")
_COMPARISONS = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
Say = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Installation:
    """The state of the Python packages that Ponte needs, as `ponte doctor` reports it.

    `missing` maps a package to the wanted versions, `wrong` to the installed and the wanted
    versions. `foreign` maps a top-level name to the folder or distribution that also has it.
    """

    count: int
    missing: Mapping[str, str]
    wrong: Mapping[str, tuple[str, str]]
    foreign: Mapping[str, str]

    @property
    def is_complete(self) -> bool:
        """Every package has a wanted version, and none of Ponte's own is replaced."""
        return not (self.missing or self.wrong or self.foreign)


def inspect_installation(extras: Collection[str] = ()) -> Installation:
    """Compare the installed packages with all dependencies, and the optional ones of `extras`, and
    find others that have the names of Ponte's. It takes about 0.1 s."""
    required_versions = {}
    for requirement in _read_requirements():
        match = _REQUIREMENT.fullmatch(requirement.strip())
        if match is None:  # Ponte's own files do not use such a form
            continue
        # `extra == "dev"`: needed only if that extra is installed.
        extra_match = _EXTRA.search(match["when"] or "")
        if extra_match is None or extra_match[1] in extras:
            extra = extra_match[1] if extra_match else ""
            required_versions[match["name"]] = (match["bounds"].strip(), extra)
    missing, wrong = {}, {}
    for name, (bounds, extra) in required_versions.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing[name] = f"{bounds} (extra {extra})" if extra else bounds
            continue
        if not is_within_bounds(version, bounds):
            wrong[name] = version, bounds
    # Another distribution or folder may have the name of one of Ponte's packages (`core`), and be
    # imported instead. `owners` are the distributions by package.
    foreign, owners = {}, metadata.packages_distributions()

    for name in TOP_LEVEL_PACKAGES:
        # From where the package was imported, or would be.
        module = sys.modules.get(name)
        if module is not None:
            paths = list(module.__path__)
        else:
            spec = PathFinder.find_spec(name)
            paths = list(spec.submodule_search_locations or ()) if spec else []
        folder = Path(paths[0]).resolve() if paths else None
        if folder and folder != INSTALL_FOLDER / name:
            foreign[name] = str(folder)
        elif others := sorted({*owners.get(name, ())} - {DISTRIBUTION}):
            foreign[name] = ", ".join(others)
    return Installation(len(required_versions), missing, wrong, foreign)


def describe(found: Installation, say: Say) -> str:
    """Return a line with the result, and what to do if something is wrong. `say` translates; it is
    given, because this module imports nothing of Ponte that may be missing."""
    if found.is_complete:
        whole = "Ponte {version} in {folder}, with all {count} required packages"
        return say(whole, version=__version__, folder=INSTALL_FOLDER, count=found.count)
    faults = [
        say("{name} also belongs to {other}", name=name, other=other)
        for name, other in found.foreign.items()
    ]
    faults += [
        say("{name} is missing", name=f"{name}{bounds}") for name, bounds in found.missing.items()
    ]
    faults += [
        say("{name} {version} doesn't match {bounds}", name=name, version=version, bounds=bounds)
        for name, (version, bounds) in found.wrong.items()
    ]
    sentence = "{faults}. Reinstall Ponte in its own environment (docs/guides/install.md)."
    return say(sentence, faults=", ".join(faults))


def is_within_bounds(version: str, bounds: str) -> bool:
    """The bounds are as in `>=2.7.1,<3`. Only numbers are compared."""
    has = _version_numbers(version)
    return all(
        _COMPARISONS[sign](has, _version_numbers(bound)) for sign, bound in _BOUND.findall(bounds)
    )


def _read_requirements() -> list[str]:
    """Return the requirements of this checkout (its `pyproject.toml`), or else of the installed
    distribution (its metadata). Optional ones end as in metadata, with `; extra == 'NAME'`."""
    file = INSTALL_FOLDER / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:  # a checkout of Ponte
            optional = project.get("optional-dependencies", {})
            sections = (
                f"{one}; extra == '{extra}'" for extra, each in optional.items() for one in each
            )
            return [*project["dependencies"], *sections]
    try:
        return metadata.requires(DISTRIBUTION) or []  # None: it requires nothing
    except metadata.PackageNotFoundError:  # the folder alone, on the path
        return []


def _version_numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(one) for one in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:  # `1.30` equals `1.30.0`
        numbers.pop()
    return tuple(numbers)
