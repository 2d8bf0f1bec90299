"""The sample tables."""

from __future__ import annotations

from bot.features.base import Feature
from core.tools.sample import SAMPLE_INTEGRATION

FEATURE = Feature(
    integration=SAMPLE_INTEGRATION,
    audit_sentences={"sample-reset": "{asker} restored the sample tables"},
)
