"""The features of Ponte: each is a folder here and a line in FEATURES.

Its `feature.py` exports one object, FEATURE, with what it adds (`bot/features/base.py`). Other
modules are loaded only where they are used: `operations.py` by the command line, `commands.py` when
one is typed in a shell, `texts.py` when a result is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

FEATURES = (
    "model",
    "web",
    "terminal",
    "slack",
    "discord",
    "schedules",
    "webhooks",
    "sign_in",
    "mcp_server",
    "nocodb",
    "sample",
    "stackspot",
    "python",
    "voice",
    "mcp_tools",
    "feedback",
    "saved",
    "imports",
    "tracing",
    "backup",
)
"""In the order of the start screen, of `ponte.toml` and of the setup page."""


def load_modules(name: str) -> Sequence[ModuleType]:
    paths = (f"{__name__}.{feature}.{name}" for feature in FEATURES)
    return [import_module(path) for path in paths if find_spec(path)]
