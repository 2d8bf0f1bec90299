"""The terminal."""

from __future__ import annotations

from adapters.terminal import TERMINAL
from bot.features.base import Feature

FEATURE = Feature(integration=TERMINAL)
