"""Votes on answers: a thumb up or down, and what operators read of them."""

from __future__ import annotations

from bot.features.base import Feature
from core.feedback.votes import VOTES_TABLE

FEATURE = Feature(tables=(VOTES_TABLE,))
