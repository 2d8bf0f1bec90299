"""Finds names in ponte.toml of tools, quick commands and agents that do not exist, so that a rule
has no effect.

No service is asked. `ponte doctor` checks the names of tables, for which it asks NocoDB.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.config.ponte_toml import AccessRule, ChannelConfig, Config
from bot.config.webhooks import find_faults
from bot.settings import Settings
from core.base.i18n import say
from core.base.text import fold_case
from core.integrations.integration import ToolIntegration
from core.people.rules import matches_pattern
from core.schedules import SCHEDULE_TOOLS

_NEAREST = ". Did you mean {name}?"
_SENTENCES = {
    "tool": "{where}: tool {name} not found, so this line has no effect",
    "command": "{where}: command {name} not found, so this line has no effect",
    "agent": "{where}: agent {name} not found, so this line has no effect",
}


@dataclass(frozen=True, slots=True)
class _WrittenName:
    """A name in the file and its location. A pattern of a rule matches in any case, with `*` for
    any text."""

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
        return words + say(_NEAREST, name=near[0]) if near else words


def misspelt_names(config: Config, settings: Settings) -> Sequence[str]:
    """Return a line for each name that does not exist, with its location and the nearest name, and
    for each webhook that cannot work."""
    known = _known_names(config, settings)
    found = []
    for written in _written_names(config):
        names = known[written.kind]
        # Without a registry, any slug can be run.
        if written.kind == "command" and not config.quick_commands:
            continue
        if not written.exists(names):
            found.append(written.describe(names))
    return [*found, *find_faults(config, settings)]


def _known_names(config: Config, settings: Settings) -> Mapping[str, frozenset[str]]:
    """Return the names of all integrations by kind, also of those that are off."""
    known: dict[str, frozenset[str]] = dict.fromkeys(_SENTENCES, frozenset())
    known["tool"] = frozenset(SCHEDULE_TOOLS)
    for face in settings.faces:
        if isinstance(face, ToolIntegration):
            for kind, names in face.rule_names(settings, config).items():
                known[kind] = known[kind].union(names)
    return known


def _written_names(config: Config) -> Iterator[_WrittenName]:
    for name in config.tools:
        yield _WrittenName(config.location("tools", name), "tool", name)
    for number, rule in enumerate(config.rules):
        yield from _rights_of(config, ("rules", str(number)), rule)
    for place, channel in config.channels.items():
        yield from _rights_of(config, ("channels", place), channel)
    prices = config.prices
    for section, kind, priced in (
        ("quick_commands", "command", prices.quick_commands), ("agents", "agent", prices.agents)
    ):  # fmt: skip
        for name in priced:
            if name != "*":
                yield _WrittenName(config.location("prices", section, name), kind, name)


def _rights_of(
    config: Config, path: tuple[str, str], rule: AccessRule | ChannelConfig
) -> Iterator[_WrittenName]:
    for key, rights in (("allow", rule.allow), ("deny", rule.deny)):
        for right in rights:
            kind, _, name = right.partition(":")
            if kind in _SENTENCES:
                yield _WrittenName(config.location(*path, key), kind, name, is_pattern=True)
