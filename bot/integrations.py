"""The lists of all integrations and of all kinds of change. A new one is its package and a line
here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.discord import DISCORD
from adapters.mcp_server import MCP
from adapters.slack import SLACK
from adapters.terminal import TERMINAL
from adapters.web import WEB
from core.changes.kinds import Kind
from core.integrations import ChatIntegration, Integration, OwnerIntegration
from core.models import MODEL_INTEGRATION
from core.people.rules import OIDC_PLATFORM, OIDC_RIGHTS, OWNER_ID, PlatformRights
from core.schedules.kind import SCHEDULE_CHANGE, SCHEDULE_KIND
from core.tools.code import CODE_INTEGRATION
from core.tools.mcp import MCP_CALL, MCP_CALL_KIND, MCP_TOOLS
from core.tools.nocodb import NOCODB_INTEGRATION, ROW_KINDS
from core.tools.posting import PLACE_POST
from core.tools.sample import SAMPLE_INTEGRATION
from core.tools.stackspot import QUICK_COMMAND_RUN, STACKSPOT

Faces = Sequence[Integration[Any]]
FACES: Faces = (
    MODEL_INTEGRATION,
    WEB,
    TERMINAL,
    SLACK,
    DISCORD,
    MCP,
    NOCODB_INTEGRATION,
    SAMPLE_INTEGRATION,
    STACKSPOT,
    CODE_INTEGRATION,
    MCP_TOOLS,
)

KINDS: dict[str, Kind] = {
    **ROW_KINDS, "run": QUICK_COMMAND_RUN, "post": PLACE_POST, SCHEDULE_KIND: SCHEDULE_CHANGE,
    MCP_CALL_KIND: MCP_CALL,
}  # fmt: skip
"""The kinds of change, by `Draft.kind`."""


def collect_rights(faces: Faces) -> Mapping[str, PlatformRights]:
    """Return the default rights of people by platform, for each integration through which people
    reach Ponte, and for people who sign in with an OIDC provider."""
    return {face.name: face.rights for face in faces if face.rights} | {OIDC_PLATFORM: OIDC_RIGHTS}


def is_place(name: str, faces: Faces) -> bool:
    """Return True if `name` has the form of a workspace or a channel of a chat platform, as in
    `slack:T1`, and not that of a person."""
    platform, _, id = name.partition(":")
    chats = [face for face in faces if isinstance(face, ChatIntegration)]
    forms = (face.place_ids for face in chats if face.name == platform)
    return any(form and re.fullmatch(form, id) for form in forms)


def list_person_forms(faces: Faces) -> tuple[list[str], list[str], list[str]]:
    """Return three lists: the names of chat platforms, the patterns of keys of people and groups on
    all platforms, and the names of the surfaces that belong to the owner (page, terminal)."""
    chats = [face for face in faces if isinstance(face, ChatIntegration)]
    owners = [face for face in faces if isinstance(face, OwnerIntegration)]
    forms = [f"{face.name}:({face.ids})" for face in chats]
    forms += [f"{face.name}:({face.ids})" for face in owners]
    forms.append(rf"{OIDC_PLATFORM}:[a-z0-9_-]+:([^:,\s]+|group:[^,]+)")
    return [face.name for face in chats], forms, [face.name for face in owners]


PLATFORM_RIGHTS = collect_rights(FACES)


def canonical_person(key: str) -> str:
    """Return the key under which a person's usage, notices and approvals are counted. The owner on
    the page and the owner in the terminal are one person, with the key of one of the two. Any other
    key is returned as it is."""
    platform, _, name = key.partition(":")
    return f"{max(ADMINS)}:{OWNER_ID}" if platform in ADMINS and name == OWNER_ID else key


ADMINS = frozenset(name for name, own in PLATFORM_RIGHTS.items() if own.has_one_owner)
"""The admins if PONTE_ADMINS is not set."""
