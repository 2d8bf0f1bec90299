"""The language model."""

from __future__ import annotations

from bot.features.base import Feature, SetupCard, SetupField
from core.models import MODEL_INTEGRATION

FEATURE = Feature(
    integration=MODEL_INTEGRATION,
    card=SetupCard(
        "model",
        "Model",
        "M12 3l2 7 7 2-7 2-2 7-2-7-7-2 7-2z",
        "Answers questions and uses your tables, quick commands and Python.",
        (
            "An [OpenAI API key](https://platform.openai.com/api-keys), or the address of "
            "another server with an OpenAI-compatible API, such as Ollama, llama.cpp, vLLM or "
            "LM Studio. OpenAI charges for each answer.",
        ),
        (
            SetupField("openai_base_url", words="Address", example="http://127.0.0.1:11434/v1"),
            SetupField("openai_api_key", words="API key", is_secret=True, example="sk-…"),
            SetupField("ponte_model", words="Name of the model"),
        ),
    ),
)
