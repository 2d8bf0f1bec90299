"""The terminal."""

from __future__ import annotations

from adapters.terminal import TERMINAL
from bot.features.base import Feature


class TerminalFeature(Feature):
    integration = TERMINAL


FEATURE = TerminalFeature()
