"""The language model: OpenAI's API, another server with that API, or the demo model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.base.errors import NoKey, PonteError
from core.base.http import HttpAnswer, HttpClient, HttpUnreadable, RequestOptions
from core.base.i18n import say
from core.base.openai import (
    KEY_REFUSED,
    OPENAI_URL,
    ModelEndpoint,
    ask_for_models,
    list_models,
    read_models,
)
from core.domain.ports import ListTools, Model
from core.domain.records import DoctorFinding, Health, Remote
from core.integrations import (
    BaseUrl,
    Instructions,
    IntegrationDependencies,
    ModelIntegration,
    RecordLateRemote,
    SettingsPart,
    SharedSettings,
    plain_value,
    setting,
    start_nothing,
)

if TYPE_CHECKING:
    from core.models.model_server import ModelOptions
    from core.models.served_model import ServedModel

SPARE_CONVERSATION_COUNT = 2


NO_OPENAI_API = (
    "The server responds, but has no OpenAI API at this URL (HTTP {status}). Check "
    "OPENAI_BASE_URL, which usually ends in `/v1`."
)
MESSAGE_BY_STATUS = {401: KEY_REFUSED, 403: KEY_REFUSED, 404: NO_OPENAI_API, 405: NO_OPENAI_API}
REQUESTS_SENTENCE = (
    "Ponte will send three short requests to {model} at {host}: a test question, a question with "
    "a test tool, and the tool's result. They contain none of your data. Your provider charges "
    "for them: about 1,000 tokens in all."
)
CONTEXT_SENTENCE = (
    "A fourth request of up to 7,000 tokens will also be sent, to test the model's context size."
)
NOTHING_TO_CHECK = (
    "Nothing to check: the demo model is in use. Set OPENAI_API_KEY or OPENAI_BASE_URL."
)
NO_SUCH_MODEL = "The server doesn't have the model {name} (PONTE_MODEL). Available models: {some}"
NOT_LISTED = (
    "the server responds but doesn't list {model}, so Ponte can't tell if it's available; to try "
    "it, run `ponte doctor --model`, which costs money"
)
AZURE_DOMAINS = (".azure.com", ".azure.us", ".azure.cn")
"""Azure lists models. PONTE_MODEL is the name of a deployment, and no list has those."""
EMPTY_REQUEST_STATUSES = (200, 400, 422)
"""How Chat Completions responds to a request without messages."""
UNEXPECTED_STATUS = (
    "The model's server failed (HTTP {status}). Try again in a minute. If the problem continues, "
    "check OPENAI_BASE_URL and the server."
)


class ModelSettings(SettingsPart):
    """The settings of the language model and its server, read from the environment."""

    openai_api_key: SecretStr | None = setting(
        None, "API key of the model's server; without a key and a base URL, the demo model answers"
    )
    openai_base_url: BaseUrl | None = setting(
        None,
        "base URL of another server with OpenAI's API (Ollama, llama.cpp, vLLM, OpenRouter, …)",
    )
    ponte_model: str = setting(
        "gpt-6-luna", "name of the model", "write the model's name", min_length=1
    )
    ponte_model_effort: str | None = setting(
        None, "reasoning effort of the model: low, medium, high"
    )
    ponte_model_context: int | None = setting(
        None,
        "tokens of the model's context; without it, Ponte asks the server",
        "write a whole number of tokens, at least 1024",
        ge=1_024,
    )
    ponte_model_api: Literal["auto", "conversations", "responses", "chat", "demo"] = setting(
        "auto", "API of the model's server: auto, conversations, responses, chat, demo"
    )
    ponte_instructions: Instructions | None = setting(
        None,
        "instructions for the model, in place of most of Ponte's own: a text, or @file",
        "write text, or @ followed by a file's name",
    )

    ponte_transcribe_model: str | None = setting(
        None,
        "model that writes down voice messages; without it, nobody reads them",
    )
    ponte_transcribe_base_url: BaseUrl | None = setting(
        None, "base URL of another server for that model, such as a Whisper server"
    )
    ponte_transcribe_api_key: SecretStr | None = setting(
        None, "API key of that server; without the base URL, of OpenAI's"
    )

    ponte_titles: Literal["on", "off"] = setting(
        "on", "the model names each conversation of the page after its first answer: on, off"
    )

    @property
    def demo(self) -> bool:
        api = self.ponte_model_api
        unset = not plain_value(self.openai_api_key) and not self.openai_base_url
        return api == "demo" or (api == "auto" and unset)

    @property
    def voice_server(self) -> tuple[str, str]:
        """Address and key of a server for voice alone; both "" if there is none."""
        return self.ponte_transcribe_base_url or "", plain_value(self.ponte_transcribe_api_key)

    @property
    def transcribe_model(self) -> str:
        is_heard = any(self.voice_server) or not self.demo
        return self.ponte_transcribe_model or "" if is_heard else ""


class ServedOrDemoIntegration(ModelIntegration[ModelSettings]):
    """Builds the language model that the settings choose (behind a server, or the demo model), and
    checks it for `ponte doctor`."""

    name = "model"
    settings = ModelSettings
    sent_to: ClassVar = {"openai_base_url": ("openai_api_key",)}

    def summary(self, settings: ModelSettings, shared: SharedSettings) -> Health:
        """Return the line about the model on the start screen, from the settings alone: no server
        is asked."""
        if settings.ponte_model_api == "demo":
            return Health("model", "on", "the demo model, set by PONTE_MODEL_API")
        if settings.demo:
            return Health("model", "on", "the demo model; set OPENAI_API_KEY to use a real one")
        if not (plain_value(settings.openai_api_key) or settings.openai_base_url):
            return Health("model", "failing", NoKey().words())
        return Health("model", "on", settings.ponte_model)

    def build(
        self,
        deps: IntegrationDependencies[ModelSettings],
        late: RecordLateRemote,
        list_tools: ListTools,
    ) -> tuple[Model, Callable[[], None]]:
        """Return the model that the settings choose, and the function that starts its background
        work; the demo model has none."""
        settings = deps.own
        if settings.demo:
            from core.models.demo_model import DemoModel

            return DemoModel(), start_nothing
        # Not at the top: commands that only read the settings load this module, too.
        from core.models.model_server import ModelOptions

        # The key of the pseudonyms under which the server knows people.
        secret = deps.home.pseudonyms()
        options = ModelOptions(secret=secret, spare_conversations=SPARE_CONVERSATION_COUNT)
        model = _serve_model(deps, options, late, list_tools)
        return model, model.start

    async def check(self, deps: IntegrationDependencies[ModelSettings]) -> Sequence[Health]:
        """Return the state of the model for `ponte doctor`: ask its server for the list of models,
        which costs nothing. Raise PonteError if the server refuses or lacks PONTE_MODEL.

        A server without such a list may still be right: then only its Chat Completions are tried,
        and the line says that the model could not be looked up."""
        from core.models.context_size import (
            CONTEXT_ASK_SECONDS,
            ContextSizes,
            describe_size,
        )
        from core.models.model_server import REDIRECTED

        settings, key = deps.own, plain_value(deps.own.openai_api_key)
        if settings.demo:
            return [self.summary(settings, deps.shared)]
        if not (key or settings.openai_base_url):
            raise NoKey
        url, options = _model_list_request(settings)
        try:
            listed = await deps.http.get_json(f"{url}/models", **options)
        except HttpAnswer as error:
            status = error.status
            if MESSAGE_BY_STATUS.get(status) == NO_OPENAI_API:
                # Some servers have Chat Completions and no list of models.
                status = await _find_chat_status(deps.http, url, options) or status
            # An answer to an empty request with these tells that the address is right.
            if status not in EMPTY_REQUEST_STATUSES:
                other = REDIRECTED if 300 <= status < 400 else UNEXPECTED_STATUS
                sentence = MESSAGE_BY_STATUS.get(status, other)
                raise PonteError(sentence, setting="OPENAI_API_KEY", status=status) from None
            listed = {}
        # No JSON, such as a web page: there is no API at this address.
        except HttpUnreadable:
            listed = None
        # Some servers send the list alone.
        listed = {"data": listed} if isinstance(listed, list) else listed
        if not isinstance(listed, Mapping):
            raise PonteError(NO_OPENAI_API, status=200)
        models = read_models({**listed})
        names = {model["id"] for model in models}
        # llama.cpp's server answers with its only model, whatever name a request has. Ollama lists
        # a model without a tag as ":latest".
        takes_any_name = [model.get("owned_by") for model in models] == ["llamacpp"]
        is_listed = (
            takes_any_name or {settings.ponte_model, f"{settings.ponte_model}:latest"} & names
        )
        # Azure lists models that it could offer, and not the names of deployments.
        is_complete = names and not (urlsplit(url).hostname or "").endswith(AZURE_DOMAINS)
        if is_complete and not is_listed:
            some = ", ".join(sorted(names)[:5])
            raise PonteError(NO_SUCH_MODEL, name=settings.ponte_model, some=some)
        sizes = ContextSizes(deps.client, settings.ponte_model, settings.ponte_model_context or 0)
        sizes.model_list = {**listed}
        await sizes.wait(settings.ponte_model, CONTEXT_ASK_SECONDS)
        await sizes.close()
        sentence = say(
            "{model} is available" if is_listed else NOT_LISTED, model=settings.ponte_model
        )
        note = describe_size(sizes.of(settings.ponte_model))
        return [Health("model", "on", f"{sentence}; {note}" if note else sentence)]

    async def list_choices(
        self, deps: IntegrationDependencies[ModelSettings]
    ) -> Mapping[str, Sequence[str]]:
        if deps.own.demo:
            return {}
        url, options = _model_list_request(deps.own)
        return {"ponte_model": await list_models(deps.http, url, options)}

    def describe_requests(self, deps: IntegrationDependencies[ModelSettings]) -> str:
        """Return the words with which `ponte doctor --model` asks before `send_requests`: what is
        sent, and that it costs money; "" if the demo model answers. A context whose size is in the
        table of OpenAI's models is not tested."""
        if deps.own.demo:
            return ""
        from core.models.context_size import ContextSizes

        settings = deps.own
        sentence = say(REQUESTS_SENTENCE, model=settings.ponte_model, host=deps.client.place.host)
        sizes = ContextSizes(deps.client, settings.ponte_model, settings.ponte_model_context or 0)
        is_tested = sizes.of(settings.ponte_model).source != "table"
        return f"{sentence} {say(CONTEXT_SENTENCE)}" if is_tested else sentence

    async def send_requests(
        self, deps: IntegrationDependencies[ModelSettings]
    ) -> AsyncIterator[DoctorFinding]:
        """Send the model up to four paid requests. Yield what works and what does not. What the
        server stores for them is erased at the end."""
        if deps.own.demo:
            yield DoctorFinding("model requests", "off", say(NOTHING_TO_CHECK))
            return
        from core.models.model_server import ModelOptions
        from core.models.served_model import Trial

        # `erase` deletes what is in `remotes`. Only called while the trial below asks its
        # questions.
        async def record_object_to_erase(thread: str, remote: Remote) -> None:
            trial.remotes.append(remote)

        trial = Trial(_serve_model(deps, ModelOptions(), record_object_to_erase))
        try:
            async for finding in trial.check():
                yield finding
        finally:
            await trial.erase()
            await trial.model.close()


def _model_list_request(settings: ModelSettings) -> tuple[str, RequestOptions]:
    url = settings.openai_base_url or OPENAI_URL
    return ask_for_models(ModelEndpoint(plain_value(settings.openai_api_key), url))


async def _find_chat_status(http: HttpClient, url: str, options: RequestOptions) -> int:
    """Return the HTTP status; 0 if no API answered. The request is empty, so it costs nothing, and
    a server that has this API refuses it with a status of its own (`EMPTY_REQUEST_STATUSES`)."""
    try:
        await http.post_json(f"{url}/chat/completions", {}, **options)
    except HttpAnswer as error:
        return error.status
    except HttpUnreadable:
        return 0
    return 200


def _serve_model(
    deps: IntegrationDependencies[ModelSettings],
    options: ModelOptions,
    late: RecordLateRemote,
    list_tools: ListTools | None = None,
) -> ServedModel:
    """Return a model behind the server that the settings name, with the API that they name; with
    "auto", the model finds out which one the server has."""
    # Not at the top: commands that only read the settings load this module, too.
    from core.models.served_model import ServedModel

    settings = deps.own
    options = replace(
        options,
        model=settings.ponte_model,
        effort=settings.ponte_model_effort or "",
        config=deps.config,
        context=settings.ponte_model_context or 0,
    )
    api = settings.ponte_model_api
    # The level is the API to use: "conversations", "responses" or "chat". None: the model finds out
    # which one the server has. With "demo" no caller comes here.
    return ServedModel(
        deps.client,
        options,
        level=None if api == "auto" or api == "demo" else api,
        read=deps.read_file,
        record_object_to_erase=late,
        list_tools=list_tools,
    )


MODEL_INTEGRATION = ServedOrDemoIntegration()
