"""Checks ponte.toml for names that do not exist, and reads it again without interrupting a turn
(`ponte reload` and SIGHUP).

A reload asks NocoDB for the names of tables. At a start they may not be known yet.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from bot.config.ponte_toml import (
    NEWER_FILE_SENTENCE,
    AccessRule,
    ChannelConfig,
    Config,
    LiveConfig,
    read_config,
)
from bot.config.table_names import NOTHING_KNOWN, KnownNames, describe_unknown_tables
from bot.features.base import find_features
from bot.logs import mask_also
from bot.operation_results import FileCheck, Reload
from bot.settings import Settings
from core.base.errors import BadInput, PonteError, SettingsError
from core.base.i18n import say, use_locale
from core.base.text import fold_case, fold_to_letters
from core.domain.messages import Person
from core.domain.records import Health
from core.integrations import ToolIntegration, find_key_fault
from core.journal.jobs import Peers
from core.people.audit import OPERATOR, Audit
from core.people.rules import matches_pattern
from core.schedules import SCHEDULE_TOOLS

_NEAREST = "{fault}. Did you mean {name}?"
_SENTENCES = {
    "tool": "{where}: tool {name} not found, so this line has no effect",
    "command": "{where}: command {name} not found, so this line has no effect",
    "agent": "{where}: agent {name} not found, so this line has no effect",
    "person": "{where}: person {name} not found, so this line has no effect",
    "field": "{where}: field {name} not found in this table, so cards don't show it",
}


@dataclass(frozen=True, slots=True)
class _WrittenName:
    """A name of a tool, quick command or agent (`kind`) in ponte.toml, and its place in the file. A
    name in a rule is a pattern (`is_pattern`): it matches in any case, with `*` for any text."""

    where: str
    kind: str
    name: str
    is_pattern: bool = False

    def exists(self, known: Collection[str]) -> bool:
        if not self.is_pattern:
            return self.name in known
        return any(matches_pattern(fold_case(self.name), fold_case(name)) for name in known)

    def describe(self, known: Collection[str]) -> str:
        words = say(_SENTENCES[self.kind], where=self.where, name=self.name)
        near = difflib.get_close_matches(self.name, known, 1)
        return say(_NEAREST, fault=words, name=near[0]) if near else words


def misspelt_names(
    config: Config, settings: Settings, known: KnownNames = NOTHING_KNOWN
) -> Sequence[str]:
    """Return a line for each name that does not exist, as `find_unknown_names`, and for each
    webhook that cannot work."""
    faults = (fault for f in find_features() for fault in f.find_faults(config, settings))
    return [*find_unknown_names(config, settings, known), *faults]


def list_unchecked_names(config: Config, known: KnownNames) -> Sequence[str]:
    """Return a line with the names that could not be looked up."""
    names = list[str]()
    if known.tables is None:
        names += [written.name for written in config.table_names]
    if known.people is None:
        names += [name for _, name in _list_page_people(config)]
    names += [
        name
        for title, table in config.tables.items()
        if title not in known.fields
        for name in table.card_fields
    ]
    listed = ", ".join(dict.fromkeys(names))
    return [say("Not checked: {names}", names=listed)] if names else []


def find_unknown_names(config: Config, settings: Settings, known: KnownNames) -> Sequence[str]:
    """Return a line for each name of a tool, command, agent, table or person of the page that does
    not exist, with its location and the most similar name."""
    # These names are of all integrations, also of those that are off. The tools named first belong
    # to none.
    known_by_kind: dict[str, frozenset[str]] = dict.fromkeys(_SENTENCES, frozenset())
    known_by_kind["tool"] = frozenset(
        (*SCHEDULE_TOOLS, "ask_person", "post_message", "read_messages", "saved_question")
    )
    for integration in settings.faces:
        if isinstance(integration, ToolIntegration):
            for kind, names in integration.rule_names(settings, config).items():
                known_by_kind[kind] = known_by_kind[kind].union(names)

    written = [_WrittenName(config.location("tools", name), "tool", name) for name in config.tools]
    for number, rule in enumerate(config.rules):
        written += _rights_of(config, ("rules", str(number)), rule)
    for place, channel in config.channels.items():
        written += _rights_of(config, ("channels", place), channel)
    prices = config.prices
    for section, kind, priced in (
        ("quick_commands", "command", prices.quick_commands),
        ("agents", "agent", prices.agents),
    ):
        # "*" is the price of all others.
        at = [(name, config.location("prices", section, name)) for name in priced if name != "*"]
        written += [_WrittenName(location, kind, name) for name, location in at]
    faults = []
    for name in written:
        names = known_by_kind[name.kind]
        # Without a registry, any slug can be run.
        if name.kind == "command" and not config.quick_commands:
            continue
        if not name.exists(names):
            faults.append(name.describe(names))
    if known.people is not None:
        people = [_WrittenName(where, "person", name) for where, name in _list_page_people(config)]
        faults += [name.describe(known.people) for name in people if not name.exists(known.people)]
    faults += describe_unknown_fields(config, known)
    return [*faults, *describe_unknown_tables(config.table_names, known.tables)]


def describe_unknown_fields(config: Config, known: KnownNames) -> Sequence[str]:
    """Return a sentence for each name in `card_fields` that no field of its table has, with the
    nearest."""
    return [
        _WrittenName(config.location("tables", title, "card_fields"), "field", name).describe(
            known.fields[title]
        )
        for title, table in config.tables.items()
        for name in table.card_fields
        if title in known.fields
        and fold_to_letters(name.strip()) not in map(fold_to_letters, known.fields[title])
    ]


def _list_page_people(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the people of the page that rules and groups name, with their places in the file."""
    named: list[tuple[str, Collection[str]]] = [
        *((config.location("groups", name), people) for name, people in config.groups.items()),
        *((config.location("rules", n, "who"), rule.who) for n, rule in enumerate(config.rules)),
    ]
    for section in ("tables", "tools", "channels"):
        for name, part in getattr(config, section).items():
            named.append((config.location(section, name), part.approvers))
    for name, table in config.tables.items():
        named.append((config.location("tables", name), table.auto_people))
    for where, names in named:
        yield from ((where, name) for name in names if name.startswith("web:"))


def check_secrets(config: Config, settings: Settings) -> None:
    """Mask the secrets of all features in logs from now on. ponte.toml has the names of variables,
    which hold them. Raises SettingsError, with a line for each fault."""
    faults, secrets = list[str](), list[str]()
    for feature in find_features():
        # `is_header`: it is sent as a header.
        for variable, is_header in feature.list_secrets(config):
            secrets.append(secret := settings.variable(variable))
            if is_header and (fault := find_key_fault(secret)):
                faults.append(f"{variable}: {fault}.")
        faults += feature.check_secrets(config, settings)
    if faults:  # no secret is masked: the file is refused
        raise SettingsError("{lines}", lines="\n".join(faults))
    for secret in secrets:
        mask_also(secret)


def _rights_of(
    config: Config, path: tuple[str, str], rule: AccessRule | ChannelConfig
) -> Iterator[_WrittenName]:
    for key, rights in (("allow", rule.allow), ("deny", rule.deny)):
        for right in rights:
            kind, _, name = right.partition(":")
            if kind in _SENTENCES:
                yield _WrittenName(config.location(*path, key), kind, name, is_pattern=True)


log = structlog.get_logger("config")


def describe_config_file(config: Config, path: Path) -> Health:
    """Return the state of ponte.toml: which file was read, if any, whether it still exists, and
    whether it was written again since."""
    if config.path is None and path.exists():
        return Health("config", "off", say(NEWER_FILE_SENTENCE, file=path))
    if config.path is None:
        return Health("config", "off", say("no file {path}", path=path))
    if config.path.exists():
        return Health("config", "on", config.describe_newer_file() or str(config.path))
    words = "{path} no longer exists. Its rules apply until Ponte stops. Restore the file."
    return Health("config", "failing", say(words, path=config.path))


class UnknownNames(BadInput):
    """The file names something that does not exist, so that a rule would protect nothing. The rules
    in force stay."""

    code = "unknown_names"
    sentence = (
        "{file} wasn't applied, so the previous rules stay in force. Correct these names, then run "
        "`ponte reload`:\n{lines}"
    )


async def look_up_nothing(config: Config) -> KnownNames:
    """Nothing can be looked up."""
    return KnownNames()


class Reloader:
    """Reads ponte.toml again while Ponte runs and replaces the live configuration, for `ponte
    reload`, SIGHUP and the notification of another process. `look_up` asks for the names that
    rules may have."""

    def __init__(
        self,
        settings: Settings,
        live: LiveConfig,
        audit: Audit,
        peers: Peers,
        look_up: Callable[[Config], Awaitable[KnownNames]] = look_up_nothing,
    ) -> None:
        self._settings = settings
        self._live = live
        self._audit = audit
        self._peers = peers
        self._look_up = look_up
        self._hangup: asyncio.Task[None] | None = None
        self.known = KnownNames()
        """As they were looked up last."""
        live.look_up = self.look_up_names
        peers.on("reload", self._on_peer)

    def reload(self, now: Config | None = None) -> Sequence[str]:
        """Read the file, unless it is given, and use it from now on. Return the changed sections
        that take effect only at the next start: those of integrations.

        Raises SettingsError, also if the file does not exist any more; then the old one stays in
        use.
        """
        settings, before, now = self._settings, self._live.current, now or self._read(required=True)
        self._live.current = now
        names = [integration.name for integration in settings.faces if integration.section]
        later = [name for name in names if before.section(name) != now.section(name)]
        log.info("config reloaded", file=str(now.path))
        if misspelt := misspelt_names(now, settings):
            log.warning("config contains unknown names", problems=misspelt)
        if later:
            log.warning("config changes need a restart", sections=later)
        return later

    async def look_up_names(self, config: Config) -> None:
        """Ask for the names that this file may have."""
        self.known = await self._look_up(config)

    async def _reload_known(self) -> Sequence[str]:
        """Reload if no name in the file is known not to exist. Raises SettingsError,
        UnknownNames."""
        now = self._read(required=True)
        await self.look_up_names(now)
        if unknown := find_unknown_names(now, self._settings, self.known):
            file = self._settings.ponte_config.name
            raise UnknownNames(file=file, lines="\n".join(unknown))
        return self.reload(now)

    def on_hangup(self) -> None:
        """SIGHUP reloads ponte.toml. A wrong file changes nothing, and the log says why."""
        self._hangup = asyncio.create_task(self._reload_on_hangup())

    async def _reload_on_hangup(self) -> None:
        with use_locale("en"):  # the log is in English
            try:
                await self._reload_known()
            except PonteError as error:
                log.error("config is invalid; the previous one stays in use", error=str(error))
                return
        self._note_reload(OPERATOR)

    def check(self) -> FileCheck:
        """Return the faults of the file as it is now, each with its line, and misspelt names."""
        try:
            config = self.read_file()
        except SettingsError as error:
            return FileCheck(error.words().splitlines(), is_in_force=False)
        known = replace(self.known, tables=self._live.tables)
        unchecked = list_unchecked_names(config, known)
        faults = [*misspelt_names(config, self._settings, known), *unchecked]
        return FileCheck(faults, is_in_force=config == self._live.current)

    def read_file(self) -> Config:
        """Return the file as it is on disk now, checked. A missing file is an error if there was
        one or the settings name it. Raises SettingsError."""
        is_chosen = "ponte_config" in self._settings.model_fields_set
        return self._read(required=is_chosen or self._live.current.path is not None)

    def _read(self, *, required: bool) -> Config:
        path = self._settings.ponte_config
        config = read_config(path, required=required, faces=self._settings.faces)
        check_secrets(config, self._settings)
        return config

    async def health(self) -> Health:
        return describe_config_file(self._live.current, self._settings.ponte_config)

    async def reload_everywhere(self, by: Person) -> Reload:
        """Other processes read their own files. Raises SettingsError, UnknownNames."""
        later = await self._reload_known()
        self._note_reload(by)
        await self._peers.notify("reload", "")
        config = self._live.current
        misspelt = misspelt_names(config, self._settings, self.known)
        unchecked = list_unchecked_names(config, self.known)
        return Reload(str(self._settings.ponte_config), later, misspelt, unchecked)

    def _note_reload(self, by: Person) -> None:
        self._audit.note("config-reloaded", by, file=self._settings.ponte_config.name)

    async def _on_peer(self, _: str) -> None:
        self._try_to_reload()

    def _try_to_reload(self) -> bool:
        try:
            with use_locale("en"):  # the log is in English
                self.reload()
        except SettingsError as error:
            log.error("config is invalid; the previous one stays in use", error=str(error))
            return False
        return True
