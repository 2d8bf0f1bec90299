"""The model: OpenAI's API or another server with it, or the demo that needs none."""

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

SPARE = 2
"""Empty conversations that are made ahead at the model's server."""


REFUSED = "the server refuses OPENAI_API_KEY (HTTP {s})"
NOWHERE = (
    "the server answers, but has no OpenAI API there (HTTP {s}): check OPENAI_BASE_URL, which "
    "ends in /v1 as a rule"
)
ANSWERED = {401: REFUSED, 403: REFUSED, 404: NOWHERE, 405: NOWHERE}
ILL = "the server answers with HTTP {s}"


class ModelSettings(SettingsPart):
    openai_api_key: SecretStr | None = setting(
        None, "the key of the model's server; without it and a base URL: the demo model"
    )
    openai_base_url: BaseUrl | None = setting(
        None, "another server with OpenAI's API (Ollama, llama.cpp, vLLM, OpenRouter, …)"
    )
    ponte_model: str = setting("gpt-6-luna", "the model's name", "a model's name", min_length=1)
    ponte_model_effort: str | None = setting(None, "how hard the model thinks: low, medium, high")
    ponte_model_api: Literal["auto", "conversations", "responses", "chat", "demo"] = setting(
        "auto", "how to speak with it: auto, conversations, responses, chat, demo"
    )
    ponte_instructions: Instructions | None = setting(
        None, "the assistant's instructions: a text, or @file", "a text, or @ and a file's name"
    )

    @property
    def demo(self) -> bool:
        """Whether the demo answers: it was asked for, or neither a key nor a server is set."""
        api = self.ponte_model_api
        unset = not plain_value(self.openai_api_key) and not self.openai_base_url
        return api == "demo" or (api == "auto" and unset)


class ServedOrDemo(ModelIntegration[ModelSettings]):
    name = "model"
    settings = ModelSettings
    sent_to: ClassVar = {"openai_base_url": ("openai_api_key",)}

    def summary(self, own: ModelSettings, shared: SharedSettings) -> Health:
        if own.ponte_model_api == "demo":
            return Health("model", "on", "the demo model, as PONTE_MODEL_API says")
        if not (own.openai_api_key or own.openai_base_url):
            return Health("model", "on", "the demo model; set OPENAI_API_KEY for a real one")
        return Health("model", "on", own.ponte_model)

    def build(
        self, deps: IntegrationDependencies[ModelSettings], read: ReadFile, late: RecordLateRemote
    ) -> tuple[Model, Callable[[], None]]:
        own = deps.own
        if own.demo:
            from core.models.demo import DemoModel

            return DemoModel(), start_nothing
        from core.models.served import ServedModel
        from core.models.server import Options

        options = Options(
            model=own.ponte_model,
            effort=own.ponte_model_effort or "",
            secret=deps.home.pseudonyms(),
            spare=SPARE,
            prices=lambda: deps.config.price_list,
        )
        api = own.ponte_model_api
        level = None if api == "auto" or api == "demo" else api
        model = ServedModel(deps.client, options, level=level, read=read, late=late)
        return model, model.start

    async def check(self, deps: IntegrationDependencies[ModelSettings]) -> Sequence[Health]:
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
            raise PonteError(ANSWERED.get(error.status, ILL), s=error.status) from None
        data = listed.get("data") if isinstance(listed, Mapping) else None
        models = data if isinstance(data, list) else []
        names = {str(one.get("id")) for one in models if isinstance(one, Mapping)}
        if names and not {own.ponte_model, f"{own.ponte_model}:latest"} & names:
            raise PonteError(
                "the server does not know PONTE_MODEL={name}; it has {some}",
                name=own.ponte_model,
                some=", ".join(sorted(names)[:5]),
            )
        return [Health("model", "on", say("{model} is there", model=own.ponte_model))]


MODEL = ServedOrDemo()
