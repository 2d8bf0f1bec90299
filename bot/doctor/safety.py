"""The safety of a setup: who can access what, with a remedy; and the state of the installation.

No service is asked, and nothing is changed.

Ponte's three top-level packages have common names, so it needs a virtual environment of its own:
another distribution with one of these names would overwrite it, or be overwritten. Only the
standard library is imported here, since this module explains why other imports fail.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from bot import __version__
from bot.config.ponte_toml import Config
from bot.config.reload import misspelt_names
from bot.home import PSEUDONYMS_FILE, WEB_TOKEN_FILE, Home
from bot.integrations import is_place
from bot.settings import Settings
from core.base.i18n import plural, say
from core.integrations import SafetyFinding, has_daily_turns

_SECRET_FILES = (WEB_TOKEN_FILE, PSEUDONYMS_FILE)
_TOPICS = ("home", "settings", "token", "page", "rights", "caps")


EVERYBODY_IN_RULES = "everybody"
"""The word for everybody in the rules of ponte.toml."""
UNKNOWN_PEOPLE = frozenset({EVERYBODY_IN_RULES, "guests", "outsiders"})
"""Words in rules that include people whom the operator does not know one by one."""
PEOPLE_WORDS = {EVERYBODY_IN_RULES: "everyone", "guests": "guests", "outsiders": "outsiders"}
"""The names of these people in sentences."""
NO_ADMINS = "admins: none, so no one can approve deletions"


def list_findings(settings: Settings, config: Config, home: Home) -> list[SafetyFinding]:
    """Return the findings by topic, each with its fix."""
    findings = [*_check_home(home), *_check_files(settings)]
    findings += _check_rights_and_caps(settings, config)
    for face in settings.faces:
        findings += face.safety(settings, settings, home)
    misspelt = misspelt_names(config, settings)
    findings += [
        *(SafetyFinding("rights", words, "unsafe") for words in misspelt),
        *_check_rules(config),
    ]
    return sorted(findings, key=lambda one: _TOPICS.index(one.topic))


def _check_rights_and_caps(settings: Settings, config: Config) -> Iterator[SafetyFinding]:
    admins = ", ".join(sorted(settings.ponte_admins))
    who = say("admins: {names}", names=admins) if admins else say(NO_ADMINS)
    yield SafetyFinding("rights", who)
    if places := sorted(n for n in settings.ponte_admins if is_place(n, settings.faces)):
        words = "PONTE_ADMINS: {names} are workspaces or channels and make no one an admin"
        yield SafetyFinding("rights", say(words, names=", ".join(places)), "note")
    if rules := len(config.rule_book.rules) + len(config.rule_book.channels):
        words = plural(
            "{count} rule in ponte.toml applies first; `ponte policy check` shows who can do what",
            "{count} rules in ponte.toml apply first; `ponte policy check` shows who can do what",
            rules,
        )
        yield SafetyFinding("rights", words)
    limits, chosen = config.limits, settings.ponte_daily_turns
    words = (
        "each message can make at most {costly} paid tool calls, and {total} tool calls in total"
    )
    yield SafetyFinding("caps", say(words, costly=limits.costly_calls, total=limits.tool_calls))
    if any(each.money is not None for each in config.allowances):
        words = plural("{count} limit", "{count} limits", len(config.allowances))
        yield SafetyFinding("caps", words)
    elif settings.openai_api_key:  # without a key, the model's server takes no money
        words = "spending has no limit; set one with [[allowances]] in ponte.toml"
        yield SafetyFinding("caps", say(words), "note")
    if chosen is not None and has_daily_turns(settings):
        each, all = (cap or say("no limit") for cap in (chosen.person, chosen.everybody))
        words = "messages per day: {each} per person, {all} in total"
        yield SafetyFinding("caps", say(words, each=each, all=all))


def _check_rules(config: Config) -> Iterator[SafetyFinding]:
    """Report rules of ponte.toml that give more, or leave fewer people to decide, than one may
    expect."""
    # Rights of people whom the operator does not know one by one.
    for rule in config.rule_book.rules:
        who = sorted(rule.who & UNKNOWN_PEOPLE) if rule.who else [EVERYBODY_IN_RULES]
        if who and (rights := [right for right in rule.allow if right != "chat"]):
            text = "{rule} gives {who} these permissions: {rights}"
            sentence = say(
                text,
                who=", ".join(say(PEOPLE_WORDS[one]) for one in who),
                rights=", ".join(rights),
                rule=rule.source,
            )
            yield SafetyFinding("rights", sentence, "note")
    # Places where changes can be proposed but nobody can decide on them.
    for place, place_rule in config.rule_book.channels.items():
        allowed = {right.partition(":")[0] for right in place_rule.allow}
        if "propose" in allowed and "approve" not in allowed:
            words = (
                "{place}: people can request changes but not decide on them, because `allow` "
                "has no approve ({rule})"
            )
            yield SafetyFinding("rights", say(words, place=place, rule=place_rule.source), "note")
    open_tables = [name for name, table in config.tables.items() if table.access == "auto"]
    if open_tables:
        words = "creating one row at a time needs no approval in {tables}"
        yield SafetyFinding("rights", say(words, tables=", ".join(open_tables)), "note")
    # Tables on which admins do not decide.
    for name, table in config.tables.items():
        if table.approvers_only:
            text = "{table}: only {names} can decide on changes, and no other admins ({rule})"
            names, location = ", ".join(sorted(table.approvers)), config.location("tables", name)
            yield SafetyFinding("rights", say(text, table=name, names=names, rule=location))


def _check_home(home: Home) -> Iterator[SafetyFinding]:
    try:
        status = home.path.stat()
    except FileNotFoundError:
        yield SafetyFinding(
            "home", say("{path} will be created for this user only", path=home.path)
        )
        return
    except OSError as error:
        words = say("cannot check {path} ({why})", path=home.path, why=error.strerror)
        yield SafetyFinding("home", words, "note")
        return
    if status.st_uid != os.geteuid():
        words = (
            "{path} belongs to another user (uid {uid}). Run Ponte as that user, or set "
            "PONTE_HOME to a folder of your own"
        )
        yield SafetyFinding("home", say(words, path=home.path, uid=status.st_uid), "unsafe")
        return
    open_paths = [home.path] if status.st_mode & 0o077 else []
    open_paths += [path for name in _SECRET_FILES if _read_mode(path := home.path / name) & 0o077]
    for path in open_paths:
        mode = "700" if path == home.path else "600"
        words = say("other users can open {path}. Run chmod {mode} {path}", path=path, mode=mode)
        yield SafetyFinding("home", words, "unsafe")
    if not open_paths:
        yield SafetyFinding("home", say("other users cannot open {path}", path=home.path))


def _check_files(settings: Settings) -> Iterator[SafetyFinding]:
    """Report settings files that others can write or read. Whoever can write them controls
    Ponte."""
    env = settings.env_file
    for words in settings.notes:
        yield SafetyFinding("settings", words, "note")
    if env.path is not None and env.why:
        words = say("{path} is not used ({why})", path=env.path, why=env.why)
        yield SafetyFinding("settings", words, "note")
    setting_files = [env.path] if env.path is not None and not env.why else []
    for path in (*setting_files, settings.ponte_config):
        mode = _read_mode(path) if _is_reachable(path) else 0
        if mode & 0o002:
            words = say("other users can change {path}. Run chmod o-w {path}", path=path)
            yield SafetyFinding("settings", words, "unsafe")
        elif mode & 0o004 and path == env.path and env.secret:
            words = "{path} contains secrets and other users can read it. Run chmod 600 {path}"
            yield SafetyFinding("settings", say(words, path=path), "unsafe")
        elif _read_mode(path):
            yield SafetyFinding("settings", say("other users cannot read {path}", path=path))


def _read_mode(path: Path) -> int:
    """Return the file's permission bits; 0 if there is no file."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


def _is_reachable(path: Path) -> bool:
    """Return whether others can reach the file: a closed folder above it protects it."""
    return all(_read_mode(folder) & 0o001 for folder in path.parents)


DISTRIBUTION = "ponte-bot"
TOP_LEVEL_PACKAGES = ("adapters", "bot", "core")
INSTALL_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that contains the three packages."""
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*\(?(?P<bounds>[^;()]*)\)?\s*(?:;\s*(?P<when>.*))?"
)
"""The part of PEP 508 that `pyproject.toml` and hatchling's metadata use."""
_EXTRA = re.compile(r"""extra\s*==\s*["']([a-z-]+)["']""")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*(\d+(?:\.\d+)*)")
Say = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Installation:
    """The packages that Ponte needs.

    `missing` maps a package to the wanted versions, `wrong` to the installed and the wanted
    versions. `foreign` maps a top-level name to the folder or distribution that also has it.
    """

    count: int
    missing: Mapping[str, str]
    wrong: Mapping[str, tuple[str, str]]
    foreign: Mapping[str, str]

    @property
    def is_complete(self) -> bool:
        """Return True if every package has a wanted version and nothing else replaces it."""
        return not (self.missing or self.wrong or self.foreign)


def inspect_installation(extras: Collection[str] = ()) -> Installation:
    """Check all dependencies, and the optional ones of `extras`. It takes about 0.1 s."""
    required_versions = {}
    for requirement in _read_requirements():
        match = _REQUIREMENT.fullmatch(requirement.strip())
        if match is None:
            continue
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
    # Our top-level names that another distribution or folder has, too.
    foreign, owners = {}, metadata.packages_distributions()

    for name in TOP_LEVEL_PACKAGES:
        # The folder from which the package was imported, or would be.
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
    """Return a line with the result, and what to do if something is wrong."""
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
        say("{name} {version} does not match {bounds}", name=name, version=version, bounds=bounds)
        for name, (version, bounds) in found.wrong.items()
    ]
    sentence = "{faults}. Reinstall Ponte in its own environment (docs/guides/install.md)"
    return say(sentence, faults=", ".join(faults))


def is_within_bounds(version: str, bounds: str) -> bool:
    """Return whether a version keeps to bounds such as `>=2.7.1,<3`. Only numbers are compared."""
    has = _version_numbers(version)
    for sign, bound in _BOUND.findall(bounds):
        than = _version_numbers(bound)
        comparisons = {
            ">=": has >= than, "<=": has <= than, "==": has == than, "<": has < than,
            ">": has > than,
        }  # fmt: skip
        if not comparisons[sign]:
            return False
    return True


def _read_requirements() -> list[str]:
    """Return the requirements of this checkout, or of the installed distribution, with extras as in
    metadata."""
    file = INSTALL_FOLDER / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            optional = project.get("optional-dependencies", {})
            more = (
                f"{one}; extra == '{extra}'" for extra, each in optional.items() for one in each
            )
            return [*project["dependencies"], *more]
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # the folder alone, on the path
        return []


def _version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version without zeros at its end, so that `1.30` equals `1.30.0`."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(one) for one in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
