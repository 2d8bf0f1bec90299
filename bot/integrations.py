"""All that Ponte connects, each by its face. A new one is its package and a line here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.discord import DISCORD
from adapters.slack import SLACK
from adapters.terminal import TERMINAL
from adapters.web import WEB
from core.integrations.integration import ChatIntegration, Integration
from core.models import MODEL
from core.rights.policy import PlatformRights
from core.tools.code import CODE
from core.tools.nocodb import NOCODB
from core.tools.stackspot import STACKSPOT

Faces = Sequence[Integration[Any]]
FACES: Faces = (MODEL, WEB, TERMINAL, SLACK, DISCORD, NOCODB, STACKSPOT, CODE)


def collect_rights(faces: Faces) -> Mapping[str, PlatformRights]:
    """Of each that people reach Ponte by."""
    return {face.name: face.rights for face in faces if face.rights}


def is_place(name: str, faces: Faces) -> bool:
    """Whether `platform:ID` is the name of a workspace or a channel, as far as its form tells."""
    platform, _, id = name.partition(":")
    forms = [
        face.place_ids
        for face in faces
        if isinstance(face, ChatIntegration) and face.name == platform
    ]
    return any(form and re.fullmatch(form, id) for form in forms)


PLATFORM_RIGHTS = collect_rights(FACES)
OWNER = "owner"
"""Who has the page's token or sits at the terminal."""


def canonical_person(key: str) -> str:
    """Who owns the page also owns the terminal: what they use is counted under one key."""
    platform, _, name = key.partition(":")
    return f"{max(ADMINS)}:{OWNER}" if platform in ADMINS and name == OWNER else key


ADMINS = frozenset(name for name, own in PLATFORM_RIGHTS.items() if own.one_name)
"""Who approves what needs an admin, where PONTE_ADMINS does not say."""
