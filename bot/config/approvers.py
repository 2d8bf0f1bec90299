"""Finds approvers named in ponte.toml who cannot read what they decide on. No service is asked."""

from __future__ import annotations

from collections.abc import Iterator

from bot.config.ponte_toml import Config
from bot.integrations import ADMINS, collect_rights
from bot.settings import Settings
from core.base.i18n import say
from core.changes.approval import ASKER
from core.domain.messages import Address, Person
from core.people.policy import Policy
from core.people.rules import OIDC_PLATFORM, OWNER_ID

_BLIND = (
    "{table}: {names} can approve changes but can't read this table. Their cards show only the "
    "changed cells and what identifies the row ({rule})"
)
_HOME = "?"
"""This stands for a person's workspace, and for a person of whom only a group is known."""


def describe_blind_approvers(config: Config, settings: Settings) -> Iterator[str]:
    """Yield a sentence for each table with named approvers who cannot read it in a direct message.
    A group counts as a person who is in no other group."""
    platforms = collect_rights(settings.faces)
    policy = Policy(
        platforms, lambda: config.rule_book, settings.ponte_allow, settings.ponte_admins
    )
    for table, rule in config.tables.items():
        names = {key for name in rule.approvers for key in config.groups.get(name, (name,))}
        blind = []
        for name in sorted(names - {ASKER, "admins"}):
            platform, _, id = (f"{name}:{OWNER_ID}" if name in ADMINS else name).partition(":")
            if platform not in platforms:
                continue
            # The ID may be that of a person or of a group.
            is_group = platform == OIDC_PLATFORM and ":group:" in id
            home = _HOME if platforms[platform].own_workspace else ""
            person = Person(platform, _HOME if is_group else id, home)
            rights = policy.rights_of_member(
                person, Address(platform, "", home), frozenset({f"{platform}:{id}"})
            )
            if rule.access != "hidden" and not rights.may("read", table).allowed:
                blind.append(name)
        if blind:
            location = config.location("tables", table)
            yield say(_BLIND, table=table, names=", ".join(blind), rule=location)
