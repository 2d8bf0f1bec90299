"""The page, its HTTP API and /admin."""

from __future__ import annotations

from adapters.web import WEB
from bot.features.base import Feature

FEATURE = Feature(integration=WEB)
