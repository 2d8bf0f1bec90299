"""What Ponte knows of a model's server: options, accepted fields, responses and faults.

Error codes and texts are OpenAI's. Other servers share the HTTP status and choose their own texts,
so texts are matched only where no code exists.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import hmac
import json
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from core.base.errors import (
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
from core.base.i18n import format_number, say
from core.base.json_text import make_storable
from core.base.model_faults import ModelServerFault
from core.base.openai import (
    REQUEST_TIMEOUT_SECONDS,
    SIGN_OF_LIFE,
    Json,
    ModelServerClient,
    read_models,
    seconds_before_retry,
)
from core.base.remote_errors import ErrorTable, on
from core.base.tasks import Backoff, BoundedDict
from core.domain.model_rounds import RoundCompleted, RoundRequest, ToolSpec
from core.domain.ports import ReadFile
from core.domain.records import Health, Remote, Thread
from core.models.answer_reader import ModelAnswer
from core.models.context_size import OUTPUT_LIMIT_REACHED, ContextSizes, told_limit
from core.models.model_input import SHORT_CALL_ID, ModelInput, estimate_max_tokens, find_data_urls
from core.money.allowances import DEFAULT_SPENDING, MAX_OUTPUT_TOKENS, SpendingConfig

log = structlog.get_logger("model")
RecordObjectToErase = Callable[[str, Remote], Awaitable[None]]
"""Records what a server stores for a thread (by its id) when no turn is listening any more."""

DEFAULT_MODEL = "gpt-6-luna"
MAX_ROUND_ATTEMPTS = 3
DEFAULT_MODEL_WAIT_SECONDS = 20.0
UNKNOWN_DAILY_WAIT_SECONDS = 3600.0
LONG_LIMIT_SECONDS = 120.0
"""A rate limit that lasts longer is one of an hour or a day. The server is not asked before."""
LAST_EVENTS_SECONDS = 5.0
"""Seconds after which the stream of a complete answer is left if no further event comes."""
MAX_ROUND_SECONDS = 1800.0
OPTIONAL_FIELDS = """\
context_management
include
prompt_cache_key
reasoning
reasoning_effort
safety_identifier
store
stream_options
truncation
""".splitlines()
MAX_BAD_CALLS = 2
LOADING_BACKOFF = Backoff(2.0, max_seconds=20.0)
"""Pauses while a server loads the model. A small model takes seconds, a large one minutes."""
MAX_LOADING_ATTEMPTS = 6
SCHEMA_KEYS = """\
strict
additionalProperties
$schema
default
examples
pattern
format
minimum
maximum
minLength
maxLength
minItems
maxItems
title
""".splitlines()
OUTPUT_LIMIT_FIELDS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
MIN_OUTPUT_LIMIT = 256
UNKNOWN_FIELD_PATTERN = re.compile(
    r"(?i)extra (input|field|forbidden)|(unknown|unrecogni[sz]ed|unsupported|unexpected) "
    r"(request )?(field|param|argument|name|property|key)|extra_forbidden|additional properties"
)
ROLE_PATTERN = re.compile(
    r"(?i)(system|developer)\W{0,2} ?(role|message|prompt).{0,40}not|role\W{1,3}.{0,20}not support"
    r"|roles? .{0,60}alternat|only user and assistant|role 'system' is not"
)
"""How servers say that they want one message of the person and one of the model in turn."""
DAILY_PATTERN = re.compile(r"(?i)per[ _-]?day|\bdaily\b|\b[RT]PD\b")
CALL_ID_PATTERN = re.compile(
    r"(?i)tool call id was|(call_|tool_calls\[\d+\]\.)id\W.{0,9}string too long"
)
"""Some refuse those that they gave."""
PICTURE_PATTERN = re.compile(
    r"(?i)input_image|image_url|input_file|file_data|multimodal|mmproj|TextContentPart"
    r"|\b(image|picture|vision|pdf)s?\b"
)
BROKEN_PICTURE_PATTERN = re.compile(
    r"(?i)(failed|unable|could not|couldn't|cannot) (to )?(load|decode|process|read|open|download)"
    r"|invalid (image|base64)|corrupt|unsupported (image|format)|at most|too (large|many|small)"
)
TOO_LONG_PATTERN = re.compile(
    r"(?is)context.{0,3}(length|window|size|limit)|too_many_(prompt_)?tokens|context the overflows"
    r"|(prompt|input|request|message)s?\b.{0,20} too (long|large)|too many (\w+ ){0,3}(token|byte)s"
    r"|tokens?\b.{0,60}exceed|exceed.{0,60}(tokens?\b|max\w* length)|max_new_tokens. must be"
    r"|max\w* (sequence|prompt|model|input) length|range of input length|max_seq_len"
    r"|reduce the length|(prompt|input|request|tokens)_(too_l|limit)|prompt_tokens_exceeded"
    r"|(?<!max_)tokens? must be less|have less than \d+ tokens|max_tokens must be at least"
    r"|上下文|超长"
)

VOICE_MODEL_NOT_LISTED = (
    "The server doesn't list the model {name}, so voice messages may fail. Check "
    "PONTE_TRANSCRIBE_MODEL."
)
NEAREST_MODEL = (
    "The model's server doesn't have the model `{model}`. Check the PONTE_MODEL setting. Did you "
    "mean `{nearest}`?"
)
REQUEST_REFUSED = (
    "The model's server rejected the request ({reason}). Contact the person who runs Ponte."
)
NO_API = (
    "The model's server responds, but has no OpenAI API at this URL. Check the OPENAI_BASE_URL "
    "setting, which usually ends in `/v1`."
)
NO_CONVERSATIONS = (
    "The model's server doesn't let this account use stored conversations. Set PONTE_MODEL_API to "
    "`responses`, or remove it."
)
REDIRECTED = (
    "The model's server redirects to another URL (HTTP {status}), and Ponte doesn't follow "
    "redirects. Set OPENAI_BASE_URL to the final URL."
)
ANSWER_TOO_LARGE = (
    "The model's server sent more than the limit ({limit}), so I stopped it. Ask again, or "
    "ask for less at a time."
)
TOOLS_NEED_OPTION = (
    "The model's server runs without tool support, which Ponte needs. Restart it with {option}."
)
NO_TOOLS = (
    "The model `{model}` can't call tools on this server, and Ponte needs tools. Set PONTE_MODEL "
    "to a model that can call tools."
)
STREAM_REFUSED = (
    "The model's server refuses to answer with the model `{model}`, with or without streaming. "
    "Check your account there, or set PONTE_MODEL to another model."
)
REGION_REFUSED = (
    "The model's server doesn't serve the country or region that Ponte's requests come from. Set "
    "OPENAI_BASE_URL to another server, or HTTPS_PROXY to a proxy in another region."
)
MODEL_NOT_LOADED = (
    "The model's server hasn't loaded the model `{model}`. Load it there, then ask again."
)
MODEL_LOADING = "The model's server is still loading the model. Try again in a minute."
LIMIT_EXCEEDED = (
    "The account at the model's provider can use at most {limit} tokens at a time, and this "
    "request needs more. Ask for less at a time, or have the limit raised."
)
BAD_CALL = "The model wrote a tool call that its server couldn't read. Ask again."
UNREADABLE_PICTURE = "The model couldn't read your picture. Send it as PNG or JPEG."
STOPPED_EARLY = "The model's server stopped before the answer was complete. Ask me to continue."
EMPTY_ANSWER = "The model returned an empty answer. Ask again."

COMPACT_TOKENS = 100_000
"""Tokens of history from which on OpenAI compacts it itself, if the context is large enough."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The operator's choices about the model, and Ponte's limits for it.

    - `effort`: "" means "low" at OpenAI, and the server's own default elsewhere.
    - `context`: PONTE_MODEL_CONTEXT; 0 if it is not set.
    - `secret`: the key for the pseudonyms of persons and threads.
    - `silence_seconds`: how long a stream may send nothing.
    - `drain_seconds`: how long a stream without a listener is read.
    - `spare_conversations`: empty conversations that are created ahead.
    """

    model: str = DEFAULT_MODEL
    effort: str = ""
    context: int = 0
    secret: bytes = field(default=b"", repr=False)
    silence_seconds: float = 120.0
    drain_seconds: float = 60.0
    spare_conversations: int = 0
    config: SpendingConfig = DEFAULT_SPENDING

    def pseudonym(self, name: str) -> str:
        """A pseudonym is always the same, and nobody without the secret can find out whose it is
        (HMAC-SHA256; OpenAI accepts 64 to 128 characters)."""
        return hmac.new(self.secret, name.encode(), hashlib.sha256).hexdigest()


class LimitReached(RateLimited):
    """A limit of the model account is used up for a long time, such as a day, so that asking again
    soon is of no use."""

    sentence = "The account at the model's provider has reached its limit. Try again in {time}."


class NoEndpoint(ModelDown):
    """The server has no API of the level that was asked (conversations, or responses). Another API,
    of a lower level, may work."""

    sentence = NO_API


def lacks_endpoint(fault: ModelServerFault) -> bool:
    """The server does not have this path at all, so another API is to be tried. Servers also answer
    404 for an unknown model, a model without tools or pictures, a conversation that is gone, and
    OpenRouter for a model without a provider ("endpoints found")."""
    return (
        (fault.status in (404, 405, 501) or "unexpected endpoint" in fault.message.lower())
        and not (fault.is_unknown_model or fault.lacks_tools or fault.is_not_loaded)
        and not refuses_pictures(fault)
        and re.search("conversation|endpoints found", fault.param + fault.message, re.I) is None
    )


def is_too_long(fault: ModelServerFault) -> bool:
    """True if the input is longer than the model accepts: by the status or code, else by the
    server's words."""
    # These are refusals of another kind, whatever words their texts contain.
    if fault.lacks_tools or fault.is_policy_refusal:
        return False
    is_named = fault.code in ("context_length_exceeded", "string_above_max_length")
    if fault.status == 413 or is_named:
        return True
    # "Too many tokens, please wait before trying again." (Bedrock)
    fault_text = "" if fault.is_rate_limited else f"{fault.code} {fault.type} {fault.message}"
    # 0: the server named no status, as for an error within a stream. Some servers answer 500.
    return fault.status in (0, 400, 422, 500) and TOO_LONG_PATTERN.search(fault_text) is not None


def is_locked(fault: ModelServerFault) -> bool:
    """Return whether the conversation on the server is being used by another request, so that this
    one must wait (paulgmiller/careme issue 379)."""
    return fault.code == "conversation_locked"


def is_conversation_gone(fault: ModelServerFault, conversation: str) -> bool:
    """No source documents the text of this error, so any error that names the conversation
    counts."""
    named = fault.param.startswith("conversation") or conversation in fault.message
    return fault.status in (400, 404, 410) and named and not is_locked(fault)


def refuses_conversations(fault: ModelServerFault) -> bool:
    """Return whether the account may use no conversation, although it could create one
    (openai/codex issue 106)."""
    fault_text = f"{fault.code} {fault.message}"
    return re.search("(?i)zero.data.retention", fault_text) is not None


def has_unpaired_call(fault: ModelServerFault) -> bool:
    """Return whether the server refused the request because a call in the conversation lacks its
    output, or an output its call (openai-python issue 3561)."""
    return fault.status == 400 and "function call" in fault.message and "No tool" in fault.message


def is_against_policy(fault: ModelServerFault) -> bool:
    """A person whom it has blocked is another case."""
    return fault.is_policy_refusal and not is_person_blocked(fault)


def is_person_blocked(fault: ModelServerFault) -> bool:
    """The server refuses the safety identifier of this person, that is, all requests of theirs."""
    fault_text = f"{fault.code} {fault.message}".lower()
    return fault.status in (400, 403) and "identifier" in fault_text and "block" in fault_text


def refuses_pictures(fault: ModelServerFault) -> bool:
    in_words = PICTURE_PATTERN.search(fault.message) is not None
    return in_words and fault.status in (400, 404, 415, 422, 500)


def is_broken_picture(fault: ModelServerFault) -> bool:
    """The server refuses one file because it is broken, and may take others
    (ResponseError.code)."""
    in_words = refuses_pictures(fault) and BROKEN_PICTURE_PATTERN.search(fault.message) is not None
    return in_words or "image" in fault.code or "file" in fault.code


def find_refused_fields(fault: ModelServerFault, body: Json) -> set[str]:
    """Return the fields of a request that the server does not take and that may be left out: one
    optional field that the refusal names, or keys of the tools' schemas. If the server says that it
    does not know a field, and names none, all optional fields are returned. Empty: the refusal is
    about something else."""
    if fault.status not in (400, 422):
        return set()
    optional_fields = {name for name in OPTIONAL_FIELDS if name in body}
    # `param` names a field, such as "reasoning.effort" or "tools[0].type".
    root = re.split(r"[.\[]", fault.param)[0]
    fault_words = set(re.findall(r"[\w$]+", f"{fault.param} {fault.message}"))
    named = {root} & optional_fields or fault_words & optional_fields
    tools = json.dumps(body.get("tools", ()))
    keys = {key for key in SCHEMA_KEYS if key in fault_words and f'"{key}":' in tools}
    if named or keys:
        # One field at a time: the next request shows whether the server takes the others. A schema
        # without these keys may not be valid as a strict one, so `strict` goes with them.
        return {min(named, key=OPTIONAL_FIELDS.index)} if named else {*keys, "strict"}
    # A refusal of a field that the request must have, or of a picture, is not cured by leaving
    # other fields out.
    is_unnamed = root not in body and not refuses_pictures(fault)
    is_unknown = UNKNOWN_FIELD_PATTERN.search(f"{fault.type} {fault.message}")
    return optional_fields if is_unnamed and is_unknown else set()


def is_unexplained(fault: ModelServerFault) -> bool:
    """Leaving parts of the conversation out may help."""
    is_known = MODEL_ERRORS.find(fault).sentence not in (REQUEST_REFUSED, UNREADABLE_PICTURE)
    return fault.status in (400, 413, 415, 422, 424, 500) and not (is_known or fault.may_pass)


def limit_seconds(fault: ModelServerFault) -> float:
    is_daily = DAILY_PATTERN.search(f"{fault.code} {fault.message}")
    return fault.wait or (UNKNOWN_DAILY_WAIT_SECONDS if is_daily else DEFAULT_MODEL_WAIT_SECONDS)


MODEL_ERRORS = ErrorTable(
    ModelError,
    on("silent").raises(ModelSilent),
    on("excess").raises(
        ModelError, ANSWER_TOO_LARGE, values=lambda fault: {"limit": fault.message}
    ),
    on(range(300, 400)).raises(
        ModelError, REDIRECTED, values=lambda fault: {"status": fault.status}
    ),
    on(when=lambda fault: fault.refuses_stream).raises(ModelError, STREAM_REFUSED),
    on(when=lambda fault: fault.lacks_tools and "--jinja" in fault.message).raises(
        ModelError, TOOLS_NEED_OPTION, values=lambda fault: {"option": "--jinja"}
    ),
    on(when=lambda fault: fault.lacks_tools and "--" in fault.message).raises(
        ModelError,
        TOOLS_NEED_OPTION,
        values=lambda fault: {"option": "--enable-auto-tool-choice --tool-call-parser"},
    ),
    on(when=lambda fault: fault.lacks_tools).raises(ModelError, NO_TOOLS),
    on(when=is_person_blocked).raises(PersonRefused),
    on(when=lambda fault: fault.is_quota_exhausted).raises(NoQuota),
    on(when=is_against_policy).raises(ModelRefused),
    on(when=lambda fault: fault.is_bad_call).raises(ModelError, BAD_CALL),
    on(when=lambda fault: fault.is_region_refused).raises(ModelError, REGION_REFUSED),
    on(when=lambda fault: told_limit(fault) > 0).raises(
        TooLong, LIMIT_EXCEEDED, values=lambda fault: {"limit": format_number(told_limit(fault))}
    ),
    on(when=is_too_long).raises(TooLong),
    on(when=lambda fault: fault.is_wrong_key).raises(WrongKey),
    on(when=lambda fault: fault.is_loading).raises(ModelError, MODEL_LOADING),
    on(when=lambda fault: fault.is_not_loaded).raises(ModelError, MODEL_NOT_LOADED),
    on(when=lambda fault: fault.is_unknown_model).raises(UnknownModel),
    on(when=lacks_endpoint).raises(NoEndpoint),
    on(when=lambda f: f.is_rate_limited and limit_seconds(f) > LONG_LIMIT_SECONDS).raises(
        LimitReached, values=lambda fault: {"seconds": math.ceil(limit_seconds(fault))}
    ),
    on(when=lambda fault: fault.is_rate_limited).raises(
        RateLimited, values=lambda fault: {"seconds": math.ceil(limit_seconds(fault))}
    ),
    on(when=lambda fault: refuses_pictures(fault) or is_broken_picture(fault)).raises(
        ModelError, UNREADABLE_PICTURE
    ),
    on("foreign").raises(ModelDown, NO_API),
    on(range(400, 500)).raises(
        ModelError, REQUEST_REFUSED, values=lambda fault: {"reason": fault.reason}
    ),
    on().raises(ModelDown),
)


def explain_fault(
    fault: ModelServerFault, options: ModelOptions, models: Sequence[str] = ()
) -> ModelError:
    error = MODEL_ERRORS.explain(fault, model=options.model, seconds=round(options.silence_seconds))
    return unknown_model_error(options.model, models) if isinstance(error, UnknownModel) else error


def judge_voice(voice: str, model: str, listed: Collection[str]) -> Health:
    """`listed` are the models that the server lists; if the one that answers is not among them, the
    list says nothing."""
    if model in listed and voice not in listed:
        return Health("voice", "failing", say(VOICE_MODEL_NOT_LISTED, name=voice))
    return Health("voice", "on", voice)


def unknown_model_error(model: str, models: Sequence[str]) -> UnknownModel:
    near = difflib.get_close_matches(model, models, n=1, cutoff=0.4)
    if not near:
        return UnknownModel(model=model)
    return UnknownModel(NEAREST_MODEL, model=model, nearest=near[0])


class ModelServer:
    """The state that all API levels share about one server: the client, the options, and what this
    process has learned from refusals."""

    def __init__(
        self,
        client: ModelServerClient,
        options: ModelOptions,
        read: ReadFile | None,
        record_object_to_erase: RecordObjectToErase,
    ) -> None:
        self.client = client
        self.options = options
        # Records what the server stores when no turn listens any more.
        self.record_object_to_erase = record_object_to_erase
        # Only OpenAI's own server knows all fields of its API.
        self.official = client.place.is_official
        # From here on: what this process learns about the server from its answers and refusals.
        # `input`: which kinds of input it takes. `read` returns the bytes of a file; without it,
        # the model gets a line about the file. `sizes`: the tokens that its models take.
        self.input = ModelInput(read, client.place.host, self.official)
        self.sizes = ContextSizes(client, options.model, options.context)
        self.model_names: Sequence[str] = ()
        self.thinking_models: set[str] = set()
        """Models whose last answer began with a thought that no tag opened."""
        self.models_without_reasoning: set[str] = set()
        """Models that call tools only with the reasoning effort "none"."""
        self.unstreamed_models: set[str] = set()
        self.takes_roles = True
        self.max_output_tokens = MAX_OUTPUT_TOKENS
        self.output_limit_field = ""
        """The name of that limit, if the server refused the usual one."""
        self.omissions = BoundedDict[str, int]()
        """How much of a thread's transcript is left out, by the thread's id; see `RoundHistory`."""
        self._refused_fields: set[str] = set()
        self._loose_tools: set[str] = set()

    def without_refused_fields(self, body: Json) -> Json:
        """Leave out the fields that this server refused before, in the request itself and in the
        schemas of its tools, and streaming for a model that refused it."""
        refused = set(self._refused_fields)
        if body["model"] in self.unstreamed_models:
            refused |= {"stream", "stream_options"}
        body = {k: v for k, v in body.items() if k not in refused}
        # In a request of the Responses API (`input`), `strict` stays, with the value False:
        # `define_tools` makes no tool strict once the server has refused `strict`.
        keys = self._refused_fields.intersection(SCHEMA_KEYS)
        keys -= {"strict"} if "input" in body else set()
        if keys and "tools" in body:
            body["tools"] = [_without_keys(tool, keys) for tool in body["tools"]]
        return body

    def limit_output(self, body: Json, field: str, most: int) -> None:
        body[self.output_limit_field or field] = min(most, self.max_output_tokens)

    def silence_seconds(self, body: Json) -> float:
        """An answer that is not streamed comes only at its end, so it may take the whole time of a
        round."""
        return self.options.silence_seconds if "stream" in body else MAX_ROUND_SECONDS

    def is_unpaid(self, fault: ModelServerFault, has_begun: bool) -> bool:
        """Some servers refuse a request by the first event of a stream."""
        is_refusal = fault.kind == "broken" and 400 <= fault.status < 500
        is_refusal = is_refusal or fault.refuses_stream
        return fault.is_undone or (is_refusal and not has_begun and not fault.is_bad_call)

    def user_pseudonyms(self, ask: RoundRequest) -> Json:
        """Pseudonyms for OpenAI; {} for other servers, which may refuse the fields."""
        if not self.official:
            return {}
        pseudonym = self.options.pseudonym
        return {
            "safety_identifier": pseudonym(f"person {ask.asker.key}"),
            "prompt_cache_key": pseudonym(f"thread {ask.thread.id}"),
        }

    def reasoning_effort(self, ask: RoundRequest) -> str:
        """Return the reasoning effort to send for this round, or "" to leave the field out, so that
        the server's default counts. OpenAI gets "low" if the operator chose none."""
        if (ask.model or self.options.model) in self.models_without_reasoning:
            return "none"
        if ask.for_title:
            # A title needs no reasoning. Not every model can do without (gpt-6's model page).
            is_gpt_6 = (ask.model or self.options.model).startswith("gpt-6")
            return ("none" if is_gpt_6 else "low") if self.official else ""
        return self.options.effort or ("low" if self.official else "")

    def define_tools(self, tools: Sequence[ToolSpec]) -> list[Json]:
        """Return the tools' names, descriptions and schemas, with `strict` only where it is true.

        Other servers than OpenAI's get it for all tools or for none: Cerebras refuses a mixture
        (RooCodeInc/Roo-Code issue 10334). `_loose_tools`: the tools whose strict schema this server
        has refused.
        """
        strict = {tool.name for tool in tools if tool.strict} - self._loose_tools
        if "strict" in self._refused_fields or not (self.official or len(strict) == len(tools)):
            strict.clear()
        definitions = list[Json]()
        for tool in tools:
            schema = {"parameters": dict(tool.parameters)}
            definition: Json = {"name": tool.name, "description": tool.description, **schema}
            if tool.name in strict:
                definition["strict"] = True
            definitions.append(definition)
        return definitions

    def adapt_to_refusal(self, fault: ModelServerFault, body: Json) -> bool:
        """Fields that this server does not take are left out of all further requests. Return
        whether the same question may work now.

        The clearest reasons come first: streaming, the answer's limit, the form of calls' ids, a
        tool's schema, reasoning, fields, roles, encrypted items. Pictures come last, because
        servers refuse them with the vaguest words.
        """
        if fault.refuses_stream and "stream" in body:
            log.info("model server rejected a request field", field="stream")
            self.unstreamed_models.add(body["model"])
            return True
        if self._adapt_output_limit(fault, body):
            return True
        if self.input.call_id is not SHORT_CALL_ID and CALL_ID_PATTERN.search(fault.message):
            self.input.call_id = SHORT_CALL_ID
            return True
        # Neither is cured by leaving out a field; the caller shortens, or the turn ends.
        if is_too_long(fault) or fault.is_policy_refusal:
            return False
        if fault.code == "invalid_function_parameters":
            # The tool is sent without a strict schema from now on.
            for function in (tool.get("function", tool) for tool in body.get("tools", ())):
                if f"'{function['name']}'" in fault.message and function.get("strict"):
                    log.warning("model server rejected a strict tool schema", tool=function["name"])
                    self._loose_tools.add(function["name"])
                    return True
            return False
        if fault.refuses_reasoning:
            model, is_new = body["model"], body["model"] not in self.models_without_reasoning
            self.models_without_reasoning.add(model)
            # Refused again without reasoning: another attempt would not help.
            return is_new
        if names := find_refused_fields(fault, body) - self._refused_fields:
            # Learned once per process: other servers lack some of OpenAI's optional fields.
            log.info("model server rejected a request field", field=", ".join(sorted(names)))
            self._refused_fields |= names
            return True
        if self.takes_roles and "messages" in body and ROLE_PATTERN.search(fault.message):
            self.takes_roles = False
            return True
        if fault.code == "invalid_encrypted_content" and self.input.takes_opaque_items:
            self.input.takes_opaque_items = False
            return True
        # From here on, pictures: without one in the request nothing is left to change.
        if not find_data_urls(body) or not (refuses_pictures(fault) or is_broken_picture(fault)):
            return False
        if self.input.limit_pictures(fault.message, body):
            return True
        # OpenAI reads pictures, so this one is at fault. Another server may read none at all.
        if self.official or is_broken_picture(fault):
            return bool(self.input.refuse_files(body, only_last=True))
        return self.input.stop_sending_files()

    async def wait_before_retry(self, fault: ModelServerFault, tries: Counter[str]) -> bool:
        """`tries` counts the attempts of this round by the kind of fault, each with a limit of its
        own: a call that the server could not read, a model that is being loaded, an answer that
        ended early, and other faults that may pass."""
        if fault.is_bad_call:
            # The model may write a better call at once, so there is no pause.
            tries["bad call"] += 1
            return tries["bad call"] < MAX_BAD_CALLS
        if fault.is_loading:
            tries["loading"] += 1
            if tries["loading"] == MAX_LOADING_ATTEMPTS:
                return False
            pause = LOADING_BACKOFF.seconds_after(tries["loading"])
            await self.client.sleep(max(pause, min(fault.wait or 0, LOADING_BACKOFF.max_seconds)))
            return True
        # The table of errors has only the general sentence for it.
        is_unexplained = MODEL_ERRORS.find(fault).error is ModelDown
        if (
            fault.kind in ("lost", "broken")
            and is_unexplained
            and not (fault.code or fault.status or fault.may_pass)
        ):
            # The answer ended early, and the server does not say why.
            tries["lost"] += 1
            return tries["lost"] == 1
        # All other faults: only those that pass by themselves are worth another attempt.
        tries["passing"] += 1
        # Longer than a person waits: they read when to ask again. `told_limit`: a request that the
        # server's rate limit can never pass, however long one waits.
        is_wait_too_long = limit_seconds(fault) > REQUEST_TIMEOUT_SECONDS or told_limit(fault)
        if not fault.may_pass or is_wait_too_long or tries["passing"] >= MAX_ROUND_ATTEMPTS:
            return False
        await self.client.sleep(seconds_before_retry(tries["passing"], fault))
        return True

    async def explain_fault(self, fault: ModelServerFault) -> ModelError:
        """For an unknown model, it names the most similar one that the server lists; if that list
        fails too, it names none."""
        log.warning("model call failed", error=str(fault), request_id=fault.request)
        models: Sequence[str] = ()
        if fault.is_unknown_model:
            with suppress(ModelServerFault):
                models = await self.list_models()
        return explain_fault(fault, self.options, models)

    async def list_models(self) -> Sequence[str]:
        """Raise ModelServerFault."""
        self.sizes.model_list = listed = await self.client.get("/models")
        self.model_names = [model["id"] for model in read_models(listed)]
        return self.model_names

    def complete_round(
        self,
        ask: RoundRequest,
        body: Json,
        response: str,
        answer: ModelAnswer,
        unseen_files: tuple[str, ...],
        thread: Thread | None = None,
    ) -> RoundCompleted:
        """Return the end of a round that was asked with `body`: the items of the answer, its cost,
        and whether it is cut off. `thread` has the conversation on the server, if there is one.

        Raise ModelError if the answer is empty, or if the server's content filter cut it. Token
        counts that the server does not report are replaced by upper estimates, so that limits on
        spending hold.
        """
        log.info(
            "model call ended",
            response_id=response,
            input_tokens=answer.usage.input,
            output_tokens=answer.usage.output,
            has_tool_calls=answer.has_calls,
            truncation_reason=answer.cut_reason,
        )
        if answer.cut_reason == "filter":
            raise ModelRefused
        # Cut before its first word: the model has used its limit for thoughts.
        if not answer.items:
            raise TooLong(OUTPUT_LIMIT_REACHED) if answer.cut_reason else ModelError(EMPTY_ANSWER)
        items = make_storable(tuple(map(self.input.mark_host, answer.items)))
        usage = answer.usage
        if usage.is_estimated or not usage.output:  # an answer without tokens is impossible
            log.warning("model server reported no token counts", host=self.client.place.host)
            output_size = sum(len(f"{i.text}{i.name}{i.arguments}".encode()) for i in items)
            input = usage.input or estimate_max_tokens(body)
            output = usage.output or output_size
            usage = replace(usage, input=input, output=output, is_estimated=True)
        models = (ask.model or self.options.model, answer.model)
        # Only OpenAI's prices are known: another server may ask anything for the same name.
        prices = replace(self.options.config.price_list, official=self.official)
        costs = (prices.highest_cost(models, usage), usage.cost)
        # The dearer of the price list and what the server says, so that no limit is exceeded.
        cost = max((cost for cost in costs if cost is not None), default=None)
        usage = replace(usage, cost=cost)
        broken = explain_fault(answer.fault, self.options) if answer.fault else None
        # The person has a part of the answer, so the sentence says that it ended early.
        if isinstance(broken, ModelDown | ModelSilent):
            broken = ModelDown(STOPPED_EARLY)
        limit = next((body[name] for name in OUTPUT_LIMIT_FIELDS if name in body), math.inf)
        # llama.cpp calls a response completed that its limit cut.
        has_reached_limit = usage.output >= limit and not (usage.is_estimated or answer.has_calls)
        return RoundCompleted(
            items,
            usage,
            thread,
            is_truncated=answer.cut_reason == "length" or has_reached_limit,
            broken=broken,
            file_kinds=self.input.kinds,
            unseen_files=unseen_files,
        )

    def _adapt_output_limit(self, fault: ModelServerFault, body: Json) -> bool:
        """Send another limit of the answer's tokens from now on, if the server refused it: a lower
        one that the server names, or the present one in the other field of Chat Completions. Return
        whether that changes the request."""
        field = next((name for name in OUTPUT_LIMIT_FIELDS if name in body), "")
        fault_text = f"{fault.param} {fault.message}"
        if (
            not field
            or fault.status not in (400, 422)
            or not re.search(rf"\b{field}\b", fault_text)
        ):
            return False
        numbers = (
            int(number.replace(",", "")) for number in re.findall(r"\d[\d,]{2,8}", fault_text)
        )
        limits = [number for number in numbers if MIN_OUTPUT_LIMIT <= number < body[field]]
        if limits:  # a message may name smaller numbers too, such as those of the request
            self.max_output_tokens = max(limits)
        # The first field is that of the Responses API, the others are the two of Chat Completions.
        # `output_limit_field` is set once one of these two was refused.
        elif field != OUTPUT_LIMIT_FIELDS[0] and not self.output_limit_field:
            self.output_limit_field = next(n for n in OUTPUT_LIMIT_FIELDS[1:] if n != field)
        else:
            return False
        return True


async def read_events(
    source: AsyncIterator[Json], silence: float, is_over: Callable[[], bool] | None = None
) -> AsyncGenerator[Json, None]:
    """Raise ModelServerFault after `silence` seconds without a byte, or after MAX_ROUND_SECONDS
    without an end.

    `is_over`: the answer is complete. Some servers then leave the connection open, so that what may
    still come, such as token counts, is waited for only shortly.
    """
    # The clock of the event loop, so that tests can advance it.
    clock = asyncio.get_running_loop().time
    limit, until = clock() + MAX_ROUND_SECONDS, math.inf
    while True:
        remaining = min(limit, until) - clock()
        try:
            async with asyncio.timeout(min(silence, remaining)):
                event = await anext(source)
        except TimeoutError:
            # The answer is complete; only what may come after it is missing.
            if until < math.inf:
                return
            # Which of the two limits ended the wait?
            if remaining > silence:
                raise ModelServerFault("silent") from None
            minutes = f"{MAX_ROUND_SECONDS / 60:.0f} minutes"
            raise ModelServerFault("excess", message=minutes) from None
        except StopAsyncIteration:
            return
        # SIGN_OF_LIFE: bytes without an event, such as a comment, end only the silence.
        if event is not SIGN_OF_LIFE:
            yield event
            until = clock() + LAST_EVENTS_SECONDS if is_over and is_over() else math.inf


def _without_keys(schema: Any, keys: Collection[str]) -> Any:
    """`keys` of JSON Schema are those that the server has refused. A property that has the name of
    such a key stays."""
    if isinstance(schema, list):
        return [_without_keys(element, keys) for element in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_keys(subschema, keys) for name, subschema in value.items()}
        if key == "properties" and isinstance(value, dict)
        else _without_keys(value, keys)
        for key, value in schema.items()
        if key not in keys
    }
