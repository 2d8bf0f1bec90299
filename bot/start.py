"""What every command of `ponte` begins with."""

from __future__ import annotations

from dataclasses import dataclass

from bot.config import Config
from bot.home import Home
from bot.settings import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """The settings, ponte.toml and the home that a command works with. The home's lock is not taken
    yet."""

    settings: Settings
    config: Config
    home: Home
