"""The sample tables."""

from __future__ import annotations

from bot.features.base import Feature
from core.tools.sample import SAMPLE_INTEGRATION


class SampleFeature(Feature):
    integration = SAMPLE_INTEGRATION


FEATURE = SampleFeature()
