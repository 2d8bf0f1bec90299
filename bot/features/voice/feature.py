"""Voice messages: a model of the same server writes down what people say."""

from __future__ import annotations

from typing import Any

from bot.features.base import Feature
from core.base.openai import ModelServerClient
from core.money.budget import Budget
from core.turn.preparation import Transcribe
from core.voice import Transcriber


class VoiceFeature(Feature):
    def build_transcriber(
        self, settings: Any, client: ModelServerClient, budget: Budget
    ) -> Transcribe | None:
        model = settings.transcribe_model
        return Transcriber(client, model, budget).transcribe if model else None


FEATURE = VoiceFeature()
