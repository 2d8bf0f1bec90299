"""What Ponte knows of a model's server: options, accepted fields, responses and faults.

Error codes and texts are OpenAI's. Other servers share the HTTP status and choose their own texts,
so texts are matched only where no code exists.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from core.clients.error_table import ErrorTable, on
from core.clients.openai import (
    REQUEST_TIMEOUT_SECONDS,
    Json,
    ModelServerClient,
    ModelServerFault,
    seconds_before_retry,
)
from core.domain.errors import (
    ModelDown,
    ModelError,
    ModelRefused,
    ModelSilent,
    NoQuota,
    PersonRefused,
    RateLimited,
    TooLong,
    UnknownModel,
    WrongKey,
)
from core.domain.records import Remote, RoundCompleted, RoundRequest, Thread, ToolSpec
from core.models.answer_reader import ModelAnswer
from core.models.model_input import ModelInput, ReadFile, estimate_max_tokens
from core.rights.usage import Prices
from core.text.text import make_storable

log = structlog.get_logger("model")
RecordRemote = Callable[[str, Remote], Awaitable[None]]
"""Records what a server stores for a thread (by its id) when no turn is listening any more."""

DEFAULT_MODEL = "gpt-6-luna"
MAX_ROUND_ATTEMPTS = 3
"""Attempts of one round after faults that may pass."""
DEFAULT_MODEL_WAIT_SECONDS = 20.0
"""Seconds that a person is asked to wait if the server names no time."""
MAX_ROUND_SECONDS = 1800.0
"""Seconds that one round may take, however much the model writes."""
OPTIONAL_FIELDS = (
    "context_management", "include", "prompt_cache_key", "reasoning",
    "reasoning_effort", "safety_identifier", "store", "stream_options", "truncation",
)  # fmt: skip
"""Request fields that can be left out if the server refuses them."""
TOO_LONG_PATTERN = re.compile(
    r"context.{0,3}(length|window|size)|maximum context|too many tokens|prompt is too long", re.I
)
"""How servers say that the input is too long, if they send no code."""

NEAREST_MODEL = (
    "The model's server does not have the model {model!r}. Check the setting PONTE_MODEL; "
    "the nearest name is {nearest!r}."
)
REQUEST_REFUSED = (
    "The model's server rejected the request ({reason}). Contact the person who runs Ponte."
)
REDIRECTED = (
    "The model's server redirects to another URL (HTTP {status}), and Ponte does not follow "
    "redirects. Set OPENAI_BASE_URL to the final URL."
)
ANSWER_TOO_LARGE = (
    "The model's server sent more than the limit ({limit}), so I stopped it. Ask again, or "
    "ask for less at a time."
)
UNREADABLE_PICTURE = "The model couldn't read your picture. Send it as PNG or JPEG."
STOPPED_EARLY = "The model's server stopped before the end. Ask me to continue."
EMPTY_ANSWER = "The model returned an empty answer. Ask again."
OUTPUT_LIMIT_REACHED = "The model ran out of space before it could answer. Ask for less at a time."


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The operator's choices about the model, and Ponte's limits for it.

    - `effort`: "" means "low" at OpenAI, and the server's own default elsewhere.
    - `secret`: the key for the pseudonyms of persons and threads.
    - `silence_seconds`: how long a stream may send nothing.
    - `drain_seconds`: how long a stream without a listener is read.
    - `lock_seconds`: how long a locked conversation is waited for.
    - `window_tokens`: history that is sent. Over 272,000 tokens gpt-6-luna doubles its price. Other
      servers refuse what does not fit; then less is sent.
    - `compact_tokens`: from here on OpenAI compacts the history itself.
    - `spare_conversations`: empty conversations that are created ahead.
    """

    model: str = DEFAULT_MODEL
    effort: str = ""
    secret: bytes = field(default=b"", repr=False)
    silence_seconds: float = 120.0
    drain_seconds: float = 60.0
    lock_seconds: float = 15.0
    window_tokens: int = 200_000
    compact_tokens: int = 100_000
    spare_conversations: int = 0
    prices: Callable[[], Prices] = Prices

    def pseudonym(self, name: str) -> str:
        """Return a stable pseudonym: HMAC-SHA256, 64 characters (OpenAI accepts 64 to 128)."""
        return hmac.new(self.secret, name.encode(), hashlib.sha256).hexdigest()


class NoEndpoint(ModelDown):
    """The server lacks the API of this level; a lower level may work."""

    sentence = (
        "The model's server responds, but has no OpenAI API at this URL. Check the setting "
        "OPENAI_BASE_URL; it usually ends in /v1."
    )


def lacks_endpoint(fault: ModelServerFault) -> bool:
    """Return whether the server does not have this path at all."""
    return (
        fault.status in (404, 405, 501)
        and not fault.is_unknown_model
        and "conversation" not in (fault.param + fault.message).lower()
    )


def is_too_long(fault: ModelServerFault) -> bool:
    """Return whether the input is longer than the model accepts."""
    return (
        fault.status == 413
        or fault.code in ("context_length_exceeded", "string_above_max_length")
        or (
            fault.status in (400, 422, 500)
            and TOO_LONG_PATTERN.search(fault.type + fault.message) is not None
        )
    )


def is_locked(fault: ModelServerFault) -> bool:
    """Return whether another process is using the conversation (paulgmiller/careme issue 379)."""
    return fault.code == "conversation_locked"


def is_conversation_gone(fault: ModelServerFault, conversation: str) -> bool:
    """Return whether the conversation does not exist.

    No source documents the text of this error, so any error that names the conversation counts.
    """
    named = fault.param.startswith("conversation") or conversation in fault.message
    return fault.status in (400, 404, 410) and named and not is_locked(fault)


def has_unpaired_call(fault: ModelServerFault) -> bool:
    """Return whether a call lacks its output, or an output its call (openai-python issue 3561)."""
    return fault.status == 400 and "function call" in fault.message and "No tool" in fault.message


def is_against_policy(fault: ModelServerFault) -> bool:
    """Return whether the request is against the server's usage policies."""
    return fault.is_policy_refusal and not is_person_blocked(fault)


def is_person_blocked(fault: ModelServerFault) -> bool:
    """Return whether the server refuses this person's safety identifier."""
    words = f"{fault.code} {fault.message}".lower()
    return fault.status in (400, 403) and "identifier" in words and "block" in words


def refuses_pictures(fault: ModelServerFault) -> bool:
    """Return whether the server cannot take a picture or a document."""
    return fault.status in (400, 415, 422, 500) and (
        re.search(r"input_image|image_url|input_file|image input|multimodal", fault.message)
        is not None
    )


def is_broken_picture(fault: ModelServerFault) -> bool:
    """Return whether one file is broken, so that others may be taken (ResponseError.code)."""
    return "image" in fault.code or "file" in fault.code


def find_refused_field(fault: ModelServerFault, sent: Sequence[str]) -> str:
    """Return the optional field that the server does not take, or ""."""
    if fault.status not in (400, 422):
        return ""
    root = re.split(r"[.\[]", fault.param)[0]
    candidates = [name for name in OPTIONAL_FIELDS if name in sent]
    if root in candidates:
        return root
    named = re.findall(r"\w+", fault.message)
    return next((name for name in candidates if name in named), "")


MODEL_ERRORS = ErrorTable(
    ModelError,
    on("silent").raises(ModelSilent),
    on("excess").raises(
        ModelError, ANSWER_TOO_LARGE, values=lambda fault: {"limit": fault.message}
    ),
    on(range(300, 400)).raises(
        ModelError, REDIRECTED, values=lambda fault: {"status": fault.status}
    ),
    on(when=lambda fault: fault.is_quota_exhausted).raises(NoQuota),
    on(when=lacks_endpoint).raises(NoEndpoint),
    on(when=is_person_blocked).raises(PersonRefused),
    on(when=lambda fault: fault.is_unknown_model).raises(UnknownModel),
    on(401, 403).raises(WrongKey),
    on(when=lambda fault: fault.is_rate_limited).raises(
        RateLimited,
        values=lambda fault: {"seconds": math.ceil(fault.wait or DEFAULT_MODEL_WAIT_SECONDS)},
    ),
    on(when=is_too_long).raises(TooLong),
    on(when=is_against_policy).raises(ModelRefused),
    on(when=refuses_pictures).raises(ModelError, UNREADABLE_PICTURE),
    on(when=is_broken_picture).raises(ModelError, UNREADABLE_PICTURE),
    on("refused", when=lambda fault: fault.status < 500).raises(
        ModelError, REQUEST_REFUSED,
        values=lambda fault: {"reason": fault.code or f"HTTP {fault.status}"},
    ),
    on().raises(ModelDown),
)  # fmt: skip


def explain_fault(
    fault: ModelServerFault, options: ModelOptions, models: Sequence[str] = ()
) -> ModelError:
    """Return the error for a person. `models` are those that the server lists."""
    error = MODEL_ERRORS.explain(fault, model=options.model, seconds=round(options.silence_seconds))
    return unknown_model_error(options.model, models) if isinstance(error, UnknownModel) else error


def explain_broken_answer(fault: ModelServerFault, options: ModelOptions) -> ModelError:
    """Return the reason, for a person, why an answer ends in the middle."""
    error = explain_fault(fault, options)
    return ModelDown(STOPPED_EARLY) if isinstance(error, ModelDown | ModelSilent) else error


def unknown_model_error(model: str, models: Sequence[str]) -> UnknownModel:
    """Return the error for an unknown model. It names the most similar one in `models`."""
    near = difflib.get_close_matches(model, models, n=1, cutoff=0.4)
    if not near:
        return UnknownModel(model=model)
    return UnknownModel(NEAREST_MODEL, model=model, nearest=near[0])


class ModelServer:
    """The base of all API levels: client, options, and the input that this server accepts."""

    def __init__(
        self,
        client: ModelServerClient,
        options: ModelOptions,
        read: ReadFile | None,
        record_remote: RecordRemote,
    ) -> None:
        self.client = client
        self.options = options
        self.record_remote = record_remote
        self.official = client.place.is_official
        self.input = ModelInput(read, client.place.host, self.official)
        self.window_tokens = options.window_tokens
        self.thinking_models: set[str] = set()
        """Models whose last answer began with a thought that no tag opened."""
        self._refused_fields: set[str] = set()
        self._loose_tools: set[str] = set()

    def without_refused_fields(self, body: Json) -> Json:
        """Return `body` without the fields that this server refused before."""
        return {k: v for k, v in body.items() if k not in self._refused_fields}

    def user_pseudonyms(self, ask: RoundRequest) -> Json:
        """Return pseudonyms of the person and the thread, for OpenAI; {} for other servers."""
        if not self.official:
            return {}
        pseudonym = self.options.pseudonym
        return {
            "safety_identifier": pseudonym(f"person {ask.asker.key}"),
            "prompt_cache_key": pseudonym(f"thread {ask.thread.id}"),
        }

    def reasoning_effort(self, ask: RoundRequest) -> str:
        """Return the reasoning effort to send, or "" for the server's default."""
        if ask.for_title:
            # A title needs no reasoning. Not every model can do without (gpt-6's model page).
            is_gpt_6 = (ask.model or self.options.model).startswith("gpt-6")
            return ("none" if is_gpt_6 else "low") if self.official else ""
        return self.options.effort or ("low" if self.official else "")

    def is_strict(self, tool: ToolSpec) -> bool:
        """Return whether a tool's schema is sent as strict."""
        return tool.strict and tool.name not in self._loose_tools

    def adapt_to_refusal(self, fault: ModelServerFault, body: Json) -> bool:
        """Change future requests after a refusal. Return whether the same question may work now."""
        if is_person_blocked(fault) or is_too_long(fault):
            return False
        if name := find_refused_field(fault, list(body)):
            # Learned once per process: other servers lack some of OpenAI's optional fields.
            log.info("model server rejected a request field", field=name)
            self._refused_fields.add(name)
            return True
        if fault.code == "invalid_encrypted_content" and self.input.takes_opaque_items:
            self.input.takes_opaque_items = False
            return True
        if fault.code == "invalid_function_parameters":
            return self._loosen_schema(fault, body)
        if not refuses_pictures(fault) and not is_broken_picture(fault):
            return False
        if self.official or is_broken_picture(fault):
            return self.input.refuse_last_files(body)
        return self.input.stop_sending_files()

    async def wait_before_retry(self, fault: ModelServerFault, tries: Counter[str]) -> bool:
        """Wait before another attempt, and return whether there may be one."""
        tries["passing"] += 1
        if (
            not fault.may_pass
            or tries["passing"] >= MAX_ROUND_ATTEMPTS
            or (fault.wait or 0) > REQUEST_TIMEOUT_SECONDS
        ):
            return False
        await self.client.sleep(seconds_before_retry(tries["passing"], fault))
        return True

    async def explain_fault(self, fault: ModelServerFault) -> ModelError:
        """Return the error for a person. For an unknown model, it names the most similar one."""
        log.warning("model call failed", error=str(fault), request_id=fault.request)
        models: Sequence[str] = ()
        if fault.is_unknown_model:
            with suppress(ModelServerFault):
                models = await self.list_models()
        return explain_fault(fault, self.options, models)

    async def list_models(self) -> Sequence[str]:
        """Return the names of the models that the server lists. Raise Fault."""
        listed = (await self.client.get("/models")).get("data") or ()
        return [str(each["id"]) for each in listed if isinstance(each, dict) and "id" in each]

    def complete_round(
        self,
        ask: RoundRequest,
        body: Json,
        response: str,
        said: ModelAnswer,
        thread: Thread | None = None,
    ) -> RoundCompleted:
        """Return the end of a round that was asked with `body`.

        Raise ModelError if the answer is empty, or if the server's content filter cut it.
        """
        log.info(
            "model call ended", response_id=response, input_tokens=said.usage.input,
            output_tokens=said.usage.output, has_tool_calls=said.has_calls,
            truncation_reason=said.cut_reason,
        )  # fmt: skip
        if said.cut_reason == "filter":
            raise ModelRefused
        if not said.items:
            raise TooLong(OUTPUT_LIMIT_REACHED) if said.cut_reason else ModelError(EMPTY_ANSWER)
        items = make_storable(tuple(map(self.input.mark_host, said.items)))
        usage = said.usage
        if usage.estimated:
            log.warning("model server reported no token counts", host=self.client.place.host)
            output_size = sum(len(f"{i.text}{i.name}{i.arguments}".encode()) for i in items)
            usage = replace(usage, input=estimate_max_tokens(body), output=output_size)
        models = (ask.model or self.options.model, said.model)
        usage = replace(usage, cost=self._prices.highest_cost(models, usage))
        broken = explain_broken_answer(said.fault, self.options) if said.fault else None
        is_truncated = said.cut_reason == "length"
        return RoundCompleted(items, usage, thread, is_truncated=is_truncated, broken=broken)

    @property
    def _prices(self) -> Prices:
        """The price list; only OpenAI's prices are known. Another server may ask anything for the
        same name."""
        prices = self.options.prices()
        return prices if self.official else Prices(prices.models, official=False)

    def _loosen_schema(self, fault: ModelServerFault, body: Json) -> bool:
        """Send a tool without a strict schema from now on, if the server refused the schema."""
        for tool in body.get("tools", ()):
            function = tool.get("function", tool)
            if f"'{function['name']}'" in fault.message and function.get("strict"):
                log.warning("model server rejected a strict tool schema", tool=function["name"])
                self._loose_tools.add(function["name"])
                return True
        return False


async def read_events(source: AsyncIterator[Json], silence: float) -> AsyncGenerator[Json, None]:
    """Yield the events of `source`. Raise Fault after `silence` seconds without one, or if there is
    no end."""
    # The clock of the event loop, so that tests can advance it.
    until = asyncio.get_running_loop().time() + MAX_ROUND_SECONDS
    while True:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(silence, left)):
                event = await anext(source)
        except TimeoutError:
            if left <= silence:
                raise ModelServerFault(
                    "excess", message=f"{MAX_ROUND_SECONDS / 60:.0f} minutes"
                ) from None
            raise ModelServerFault("silent") from None
        except StopAsyncIteration:
            return
        yield event
