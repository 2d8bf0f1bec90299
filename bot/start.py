"""What every command that does something begins with: settings, `ponte.toml`, logs, the home."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from bot.config import Config
from bot.config import load as load_config
from bot.home import Home
from bot.settings import Settings, load
from bot.telemetry import set_up


@dataclass(frozen=True, slots=True)
class Start:
    """`home` is not taken yet."""

    settings: Settings
    config: Config
    home: Home


def start(*, quiet: bool = False) -> Start:
    """Raises SettingsError. What is written from now on is for this user alone."""
    os.umask(0o077)
    settings = load()
    set_up(settings, quiet=quiet)
    if settings.env_file.why and quiet:  # `run` says it on its start screen
        sys.stderr.write(f"{settings.env_file.path} is not read: {settings.env_file.why}.\n")
    asked_for = "ponte_config" in settings.model_fields_set
    config = load_config(settings.ponte_config, required=asked_for)
    return Start(settings, config, Home(settings.ponte_home))
