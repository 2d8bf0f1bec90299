"""Time limits of the product that a slow machine could reach: in tests each is a minute.

They cut off an answer that takes too long, such as Slack's about a name: a turn goes on without it,
or a person is asked to try again. What a test expects must not depend on whether its machine was
quick enough. A test that is about such a limit sets it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import reduce
from inspect import signature
from types import FunctionType
from typing import Any

import pytest

SECONDS = 60.0
LIMITS: dict[str, tuple[str, ...]] = {
    "adapters.discord.intake": ("THREAD_CREATION_SECONDS",),
    "adapters.discord.interactions": (
        "AUTOCOMPLETE_SECONDS",
        "CHANGE_FORM_SECONDS",
        "DISCORD_RIGHTS_SECONDS",
        "DISCORD_STORE_SECONDS",
        "NAME_LOOKUP_SECONDS",
        "QUICK_COMMAND_LOOKUP_SECONDS",
    ),
    "adapters.slack.intake": ("THREAD_SECONDS",),
    "adapters.slack.interactions": ("SLACK_FORM_SECONDS",),
    "adapters.slack.people": ("PEOPLE_SECONDS", "SlackPeople.profiles.seconds"),
    "adapters.web.api.openai_api": ("EARLY_FAILURE_SECONDS",),
    "adapters.web.oidc.client": ("ANSWER_TIMEOUT_SECONDS",),
    "core.domain.ports": ("LABELS_TIMEOUT_SECONDS",),
    "core.journal.turn_runner": ("DECISIONS_FIRST_SECONDS",),
    "core.models.context_size": ("ContextSizes.wait.seconds",),
    "core.models.served_model": ("HEALTH_WAIT_SECONDS",),
    "core.people.policy": ("_CONFIRM_TIMEOUT_SECONDS", "_LOOKUP_TIMEOUT_SECONDS"),
    "core.tools.code.local": ("PROOF_WAIT_SECONDS",),
    "core.tools.code.sandbox.process": ("FOLLOW_SECONDS", "LAST_OUTPUT_SECONDS"),
    "core.tools.mcp.session": ("CONNECT_TIMEOUT_SECONDS", "HANDSHAKE_SECONDS"),
    "core.tools.mcp.source": ("CHECK_TIMEOUT_SECONDS",),
    "core.tools.nocodb.bridge": ("list_table_names.timeout",),
    "core.tools.nocodb.source": ("NOCODB_LOOK_TIMEOUT_SECONDS",),
    "core.turn.manager": ("PLATFORM_SECONDS",),
    "core.turn.origins": ("CONFIRM_SECONDS",),
    "core.webhooks.intake": ("STORE_SECONDS",),
}
"""Module → its constants, and parameters whose default is such a limit."""


def lengthen(patch: pytest.MonkeyPatch) -> None:
    """Set the limits of the modules that the tests have imported."""
    for module, names in LIMITS.items():
        for owner, name in find_owners(module, names) if module in sys.modules else ():
            if not isinstance(owner, FunctionType):
                patch.setattr(owner, name, SECONDS)
            elif owner.__kwdefaults__:
                patch.setitem(owner.__kwdefaults__, name, SECONDS)
            else:
                patch.setattr(owner, "__defaults__", (SECONDS,))


def read(module: str) -> Iterator[float]:
    """Return the present values of a module's limits."""
    for owner, name in find_owners(module, LIMITS[module]):
        is_function = isinstance(owner, FunctionType)
        yield signature(owner).parameters[name].default if is_function else getattr(owner, name)


def find_owners(module: str, names: Iterable[str]) -> Iterator[tuple[Any, str]]:
    for name in names:
        *owners, last = name.split(".")
        yield reduce(getattr, owners, sys.modules[module]), last
