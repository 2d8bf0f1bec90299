"""All integrations and all kinds of change, as the features have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.features.base import find_features
from core.changes.kinds import Kind
from core.integrations import Integration
from core.people.rules import OWNER_ID, PlatformRights
from core.tools.posting import PLACE_POST

Faces = Sequence[Integration[Any]]
FACES: Faces = tuple(each.integration for each in find_features() if each.integration)

KINDS: dict[str, Kind] = {"post": PLACE_POST}
"""The kinds of change, by `Draft.kind`."""
for _feature in find_features():
    KINDS |= _feature.kinds


def collect_rights(faces: Faces) -> Mapping[str, PlatformRights]:
    """Return the default rights of people by platform, for each integration that has people."""
    return {face.name: face.rights for face in faces if face.rights}


PLATFORM_RIGHTS = collect_rights(FACES)


def canonical_person(key: str) -> str:
    """Return the key under which a person's usage, notices and approvals are counted. The owner on
    the page and the owner in the terminal are one person, with the key of one of the two. Any other
    key is returned as it is."""
    platform, _, name = key.partition(":")
    return f"{max(ADMINS)}:{OWNER_ID}" if platform in ADMINS and name == OWNER_ID else key


ADMINS = frozenset(name for name, own in PLATFORM_RIGHTS.items() if own.has_one_owner)
"""The admins if PONTE_ADMINS is not set."""
