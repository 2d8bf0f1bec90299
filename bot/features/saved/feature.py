"""Questions of tables that run again, and saved ones."""

from __future__ import annotations

from bot.features.base import Feature
from core.saved.questions import SAVED_QUESTIONS_TABLE

FEATURE = Feature(tables=(SAVED_QUESTIONS_TABLE,))
