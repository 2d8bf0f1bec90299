"""What people may do on each platform where nobody named them, and how its names are read."""

from __future__ import annotations

from collections.abc import Mapping

from core.policy import DailyTurns, PlatformRights
from core.records import Action

_EVERYTHING: frozenset[Action] = frozenset({"chat", "read", "write", "spend", "code"})

RIGHTS: Mapping[str, PlatformRights] = {
    "web": PlatformRights(_EVERYTHING, one_name=True),
    "terminal": PlatformRights(_EVERYTHING, one_name=True, operator=True),
    # Slack Connect brings people of other workspaces into a shared channel.
    "slack": PlatformRights(frozenset({"chat", "read", "code", "spend"}), own_workspace=True),
    # An account belongs to no server, and servers are open to strangers.
    "discord": PlatformRights(
        frozenset({"chat"}), open_workspace=True, unnamed=DailyTurns(50, 1000)
    ),
}
ADMINS = frozenset(name for name, rights in RIGHTS.items() if rights.one_name)
"""Who approves what needs an admin, where PONTE_ADMINS does not say."""
