"""What every command of `ponte` begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.config.ponte_toml import Config
from bot.home import Home
from bot.settings import Settings
from core.base.errors import SettingsError

ModelRequests = Literal["announce", "send"]
"""What `ponte doctor` does about paid requests to the model."""


@dataclass(frozen=True, slots=True)
class Start:
    """The settings, ponte.toml and the home that a command works with. The home's lock is not taken
    yet.

    `fault`: ponte.toml has errors, and `config` is empty. Only a command that another process
    answers continues then; that process has a ponte.toml without errors.
    """

    settings: Settings
    config: Config
    home: Home
    fault: SettingsError | None = None
