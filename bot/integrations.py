"""All integrations, kinds of change and cards of the setup page, as the features have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.features.base import SetupCard, find_features
from core.changes.kinds import Kind
from core.integrations import Integration
from core.people.rules import OWNER_ID, PlatformRights
from core.tools.posting import PLACE_POST

Faces = Sequence[Integration[Any]]
FACES: Faces = tuple(feature.integration for feature in find_features() if feature.integration)

KINDS: dict[str, Kind] = {"post": PLACE_POST}
"""The kinds of change, by `Draft.kind`."""
for _feature in find_features():
    KINDS |= _feature.kinds


CARDS: Mapping[str, SetupCard] = {
    feature.card.name: feature.card for feature in find_features() if feature.card
}
"""The cards by the name of their integration, in the order of the page."""
PEOPLE_SETTINGS = ("ponte_allow", "ponte_admins", "ponte_sample")
"""The page writes them when a person of a chat platform is chosen."""
SETUP_NAMES = frozenset(
    [*(field.setting for card in CARDS.values() for field in card.fields), *PEOPLE_SETTINGS]
)
"""The settings that the page may store. None names a folder, a database, a proxy or the page
itself."""


def collect_rights(faces: Faces) -> Mapping[str, PlatformRights]:
    """Return the default rights of people by platform, for each integration that has people."""
    return {integration.name: integration.rights for integration in faces if integration.rights}


PLATFORM_RIGHTS = collect_rights(FACES)


def canonical_person(key: str) -> str:
    """Return the key under which a person's usage, notices and approvals are counted. The owner on
    the page and in the terminal is one person, with one of the two keys. Any other key stays."""
    platform, _, name = key.partition(":")
    return f"{max(ADMINS)}:{OWNER_ID}" if platform in ADMINS and name == OWNER_ID else key


ADMINS = frozenset(name for name, own in PLATFORM_RIGHTS.items() if own.has_one_owner)
"""The admins if PONTE_ADMINS is not set."""
