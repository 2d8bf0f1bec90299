"""Imports of spreadsheets into tables."""

from __future__ import annotations

from bot.features.base import Feature
from core.imports.kind import IMPORT_CHANGE
from core.imports.runs import IMPORT_KIND

FEATURE = Feature(kinds={IMPORT_KIND: IMPORT_CHANGE})
