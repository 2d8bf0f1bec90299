"""The language model: OpenAI's API, another server with that API, or the demo model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import SecretStr

from core.clients.http import HttpAnswer
from core.domain.errors import PonteError
from core.domain.records import Health
from core.integrations.integration import (
    CHECK_TIMEOUT_SECONDS,
    IntegrationDependencies,
    ModelIntegration,
    ReadFile,
    RecordLateRemote,
    SharedSettings,
    start_nothing,
)
from core.integrations.settings import BaseUrl, Instructions, SettingsPart, plain_value, setting
from core.ports.tools import Model
from core.text.i18n import say

SPARE_CONVERSATION_COUNT = 2
"""Empty conversations that are created ahead of time at the model's server."""


KEY_REFUSED = "the server rejected OPENAI_API_KEY (HTTP {s})"
NO_OPENAI_API = (
    "the server responds, but has no OpenAI API at this URL (HTTP {s}). Check "
    "OPENAI_BASE_URL; it usually ends in /v1"
)
MESSAGE_BY_STATUS = {401: KEY_REFUSED, 403: KEY_REFUSED, 404: NO_OPENAI_API, 405: NO_OPENAI_API}
UNEXPECTED_STATUS = "the server responded with HTTP {s}"


class ModelSettings(SettingsPart):
    """The settings of the model, read from the environment."""

    openai_api_key: SecretStr | None = setting(
        None, "API key of the model's server; without a key and a base URL, the demo model answers"
    )
    openai_base_url: BaseUrl | None = setting(
        None,
        "base URL of another server with OpenAI's API (Ollama, llama.cpp, vLLM, OpenRouter, …)",
    )
    ponte_model: str = setting("gpt-6-luna", "name of the model", "a model's name", min_length=1)
    ponte_model_effort: str | None = setting(
        None, "reasoning effort of the model: low, medium, high"
    )
    ponte_model_api: Literal["auto", "conversations", "responses", "chat", "demo"] = setting(
        "auto", "API of the model's server: auto, conversations, responses, chat, demo"
    )
    ponte_instructions: Instructions | None = setting(
        None, "instructions for the model: a text, or @file", "a text, or @ and a file's name"
    )

    ponte_titles: Literal["on", "off"] = setting(
        "on", "the model names each conversation of the page after its first answer: on, off"
    )

    @property
    def demo(self) -> bool:
        """Return whether the demo model answers: it was chosen, or no key and no server is set."""
        api = self.ponte_model_api
        unset = not plain_value(self.openai_api_key) and not self.openai_base_url
        return api == "demo" or (api == "auto" and unset)


class ServedOrDemoIntegration(ModelIntegration[ModelSettings]):
    """Builds and checks the model that the settings choose."""

    name = "model"
    settings = ModelSettings
    sent_to: ClassVar = {"openai_base_url": ("openai_api_key",)}

    def summary(self, own: ModelSettings, shared: SharedSettings) -> Health:
        """Return the line about the model on the start screen. Asks no server."""
        if own.ponte_model_api == "demo":
            return Health("model", "on", "the demo model, set by PONTE_MODEL_API")
        if not (own.openai_api_key or own.openai_base_url):
            return Health("model", "on", "the demo model; set OPENAI_API_KEY to use a real one")
        return Health("model", "on", own.ponte_model)

    def build(
        self, deps: IntegrationDependencies[ModelSettings], read: ReadFile, late: RecordLateRemote
    ) -> tuple[Model, Callable[[], None]]:
        """Return the model, and the function that starts its background work."""
        own = deps.own
        if own.demo:
            from core.models.demo_model import DemoModel

            return DemoModel(), start_nothing
        from core.models.model_server import ModelOptions
        from core.models.served_model import ServedModel

        options = ModelOptions(
            model=own.ponte_model,
            effort=own.ponte_model_effort or "",
            secret=deps.home.pseudonyms(),
            spare_conversations=SPARE_CONVERSATION_COUNT,
            prices=lambda: deps.config.price_list,
        )
        api = own.ponte_model_api
        level = None if api == "auto" or api == "demo" else api
        model = ServedModel(deps.client, options, level=level, read=read, record_remote=late)
        return model, model.start

    async def check(self, deps: IntegrationDependencies[ModelSettings]) -> Sequence[Health]:
        """Ask the server for its models. Raise PonteError if it refuses or lacks PONTE_MODEL."""
        own, key = deps.own, plain_value(deps.own.openai_api_key)
        if own.ponte_model_api == "demo" or not (key or own.openai_base_url):
            return [self.summary(own, deps.shared)]
        base = (own.openai_base_url or "https://api.openai.com/v1").rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            listed = await deps.http.get_json(
                f"{base}/models", headers=headers, timeout=CHECK_TIMEOUT_SECONDS
            )
        except HttpAnswer as error:
            raise PonteError(
                MESSAGE_BY_STATUS.get(error.status, UNEXPECTED_STATUS), s=error.status
            ) from None
        data = listed.get("data") if isinstance(listed, Mapping) else None
        models = data if isinstance(data, list) else []
        names = {str(one.get("id")) for one in models if isinstance(one, Mapping)}
        if names and not {own.ponte_model, f"{own.ponte_model}:latest"} & names:
            raise PonteError(
                "the server does not have PONTE_MODEL={name}. It has: {some}",
                name=own.ponte_model,
                some=", ".join(sorted(names)[:5]),
            )
        return [Health("model", "on", say("{model} is available", model=own.ponte_model))]


MODEL_INTEGRATION = ServedOrDemoIntegration()
