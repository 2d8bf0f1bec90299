"""A model's server as we know it: the operator's options, what it takes (learned as we go), what
its responses say, and what its faults mean: what can be mended, and the words for what cannot.

Codes and texts are OpenAI's; other servers share the HTTP status and word the rest as they like,
so texts are only looked at for the few things that have no code.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import structlog

from core.clients.error_table import ErrorTable, on
from core.clients.openai import (
    REQUEST_TIMEOUT_SECONDS,
    Json,
    ModelServerClient,
    ModelServerFault,
    read_id,
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
from core.domain.messages import Item, Usage
from core.domain.records import Remote, RoundCompleted, RoundRequest, Thread, ToolSpec
from core.models.input import Input, Read, weight
from core.rights.usage import Prices, parse_usage
from core.text.text import make_storable

log = structlog.get_logger("model")
Cut = Literal["", "length", "filter"]
Late = Callable[[str, Remote], Awaitable[None]]
"""Takes a thread's id and what a server keeps for it, when no turn listens any more."""

DEFAULT_MODEL = "gpt-6-luna"
MAX_ROUND_ATTEMPTS = 3
"""Times that one round is asked when what stood in the way may pass."""
DEFAULT_BUSY_SECONDS = 20.0
"""Seconds that a person is told to wait where the server names none."""
MAX_ROUND_SECONDS = 1800.0
"""Seconds that one round may take, however much is said in it."""
MAX_ANSWER_CHARACTERS = 1_000_000
"""Characters of one answer, its tools' arguments too: some eight times what models can say."""
MAX_CALLS = 256
"""Calls in one answer."""
OPTIONAL_FIELDS = (
    "context_management", "include", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "reasoning_effort", "safety_identifier", "store", "stream_options", "truncation",
)  # fmt: skip
"""Fields that an answer can do without."""
TOO_LONG_PATTERN = re.compile(
    r"context.{0,3}(length|window|size)|maximum context|too many tokens|prompt is too long", re.I
)
"""How servers say that there is too much to read, where no code does."""

NEAREST = (
    "The model {model!r} is not known to the server. The operator must set PONTE_MODEL, "
    "perhaps to {nearest!r}."
)
REFUSED = "The model's server refused the request ({reason}). Please tell the operator."
MOVED = (
    "The model's server sends us to another address (HTTP {status}), where Ponte does not go by "
    "itself. The operator must set OPENAI_BASE_URL to the right address."
)
EXCESS = (
    "The model's server sent more than Ponte takes ({limit}), so I stopped it. "
    "Please ask again, or for less at once."
)
PICTURE = "The model could not read the picture that you sent. Please send it as PNG or JPEG."
NOTHING = "The model gave an empty answer. Please ask again."
NO_ROOM = "The model used up its room before it came to an answer. Please ask for less at once."


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose about the model, and our own limits with it.

    `effort` "" is "low" at OpenAI and the server's own default elsewhere.

    `secret` keys the names under which a server knows persons and threads. Seconds: `silence`
    that a stream may keep, `drain` for a stream that nobody listens to any more, `lock` to wait
    for a locked conversation. Tokens: `window` of history that is sent, `compact` from which
    OpenAI compacts by itself. Over 272,000 tokens gpt-6-luna doubles its price, which `window`
    stays under; servers elsewhere tell when less fits, and then less is sent. `spare`: how many
    empty conversations are made ahead.
    """

    model: str = DEFAULT_MODEL
    effort: str = ""
    secret: bytes = field(default=b"", repr=False)
    silence: float = 120.0
    drain: float = 60.0
    lock: float = 15.0
    window: int = 200_000
    compact: int = 100_000
    spare: int = 0
    prices: Callable[[], Prices] = Prices

    def pseudonym(self, name: str) -> str:
        """A stable name that tells nothing: HMAC-SHA256, 64 characters (OpenAI takes 64 to 128)."""
        return hmac.new(self.secret, name.encode(), hashlib.sha256).hexdigest()


class NoEndpoint(ModelDown):
    """The server lacks the API of this level; a lower one may do."""

    sentence = (
        "The model's server answers, but has no OpenAI API at the address that is set. "
        "The operator must check OPENAI_BASE_URL: it ends in /v1 as a rule."
    )


@dataclass(slots=True)
class Weight:
    """What one answer weighs so far."""

    characters: int = 0
    calls: int = 0

    def add(self, characters: int, calls: int = 0) -> None:
        """Raises Fault where it is more than we take."""
        self.characters += characters
        self.calls += calls
        if self.characters > MAX_ANSWER_CHARACTERS:
            raise ModelServerFault("excess", message=f"{MAX_ANSWER_CHARACTERS:,} characters")
        if self.calls > MAX_CALLS:
            raise ModelServerFault("excess", message=f"{MAX_CALLS} calls")


@dataclass(frozen=True, slots=True)
class Said:
    """What a finished response says: items, tokens, and why it ends early where it does.

    `items` may hold opaque ones: a server's encrypted reasoning or compaction, in `raw`.
    """

    items: tuple[Item, ...]
    usage: Usage = field(default_factory=Usage)
    cut: Cut = ""
    model: str = ""

    @property
    def calls(self) -> bool:
        return any(item.kind == "call" for item in self.items)


def lacks_endpoint(fault: ModelServerFault) -> bool:
    """Return whether the server does not have this path at all."""
    return (
        fault.status in (404, 405, 501)
        and not fault.is_unknown_model
        and "conversation" not in (fault.param + fault.message).lower()
    )


def is_too_long(fault: ModelServerFault) -> bool:
    return (
        fault.status == 413
        or fault.code in ("context_length_exceeded", "string_above_max_length")
        or (
            fault.status in (400, 422, 500)
            and TOO_LONG_PATTERN.search(fault.type + fault.message) is not None
        )
    )


def is_locked(fault: ModelServerFault) -> bool:
    """Issue 379 of paulgmiller/careme has the text: another process operates on it."""
    return fault.code == "conversation_locked"


def is_conversation_gone(fault: ModelServerFault, conversation: str) -> bool:
    """The conversation was deleted, or never was: no source tells the text, so any will do."""
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


ERRORS = ErrorTable(
    ModelError,
    on("silent").raises(ModelSilent),
    on("excess").raises(ModelError, EXCESS, values=lambda fault: {"limit": fault.message}),
    on(range(300, 400)).raises(ModelError, MOVED, values=lambda fault: {"status": fault.status}),
    on(when=lambda fault: fault.is_quota_exhausted).raises(NoQuota),
    on(when=lacks_endpoint).raises(NoEndpoint),
    on(when=is_person_blocked).raises(PersonRefused),
    on(when=lambda fault: fault.is_unknown_model).raises(UnknownModel),
    on(401, 403).raises(WrongKey),
    on(when=lambda fault: fault.is_rate_limited).raises(
        RateLimited, values=lambda fault: {"seconds": math.ceil(fault.wait or DEFAULT_BUSY_SECONDS)}
    ),
    on(when=is_too_long).raises(TooLong),
    on(when=is_against_policy).raises(ModelRefused),
    on(when=refuses_pictures).raises(ModelError, PICTURE),
    on(when=is_broken_picture).raises(ModelError, PICTURE),
    on("refused", when=lambda fault: fault.status < 500).raises(
        ModelError, REFUSED,
        values=lambda fault: {"reason": fault.code or f"HTTP {fault.status}"},
    ),
    on().raises(ModelDown),
)  # fmt: skip


def explain(fault: ModelServerFault, options: Options, models: Sequence[str] = ()) -> ModelError:
    """Return the error that a person reads. `models` are those that the server lists."""
    error = ERRORS.explain(fault, model=options.model, seconds=round(options.silence))
    return unknown_model(options.model, models) if isinstance(error, UnknownModel) else error


def unknown_model(model: str, models: Sequence[str]) -> UnknownModel:
    near = difflib.get_close_matches(model, models, n=1, cutoff=0.4)
    if not near:
        return UnknownModel(model=model)
    return UnknownModel(NEAREST, model=model, nearest=near[0])


def read_response(response: Mapping[str, Any]) -> Said:
    """Raises Fault for a response that failed or was cancelled."""
    status = response.get("status")
    if status in ("failed", "cancelled"):
        raise ModelServerFault("broken", body=response.get("error") or {"code": str(status)})
    reason = (response.get("incomplete_details") or {}).get("reason")
    cut: Cut = ""
    if status == "incomplete":
        cut = "filter" if reason == "content_filter" else "length"
    items = items_of(response.get("output") or (), whole=not cut)
    return Said(items, parse_usage(response), cut, str(response.get("model") or ""))


def items_of(output: Sequence[Json], *, whole: bool = True) -> tuple[Item, ...]:
    """Our items for a server's; calls of an answer that was cut are not `whole` and left out."""
    found = (_item(item) for item in output)
    return tuple(item for item in found if item and (whole or item.kind == "message"))


class Server:
    """What every level shares: the client, the options, and what this server was found to take."""

    def __init__(
        self, client: ModelServerClient, options: Options, read: Read | None, late: Late
    ) -> None:
        self.client = client
        self.options = options
        self.late = late
        self.official = client.place.is_official
        self.input = Input(read, client.place.host, self.official)
        self.window = options.window
        self._unfit: set[str] = set()
        self._loose: set[str] = set()

    def fitting(self, body: Json) -> Json:
        """`body` without the fields that this server refused before."""
        return {k: v for k, v in body.items() if k not in self._unfit}

    def names(self, ask: RoundRequest) -> Json:
        """Who asks, as OpenAI may know it: a pseudonym of the person, one of the thread."""
        if not self.official:
            return {}
        pseudonym = self.options.pseudonym
        return {
            "safety_identifier": pseudonym(f"person {ask.asker.key}"),
            "prompt_cache_key": pseudonym(f"thread {ask.thread.id}"),
        }

    def strict(self, tool: ToolSpec) -> bool:
        return tool.strict and tool.name not in self._loose

    def learn(self, fault: ModelServerFault, body: Json) -> bool:
        """Whether the same question, asked a little differently now, may be taken."""
        if is_person_blocked(fault) or is_too_long(fault):
            return False
        if name := find_refused_field(fault, list(body)):
            log.info("field refused by the model's server", field=name)
            self._unfit.add(name)
            return True
        if fault.code == "invalid_encrypted_content" and self.input.opaque:
            self.input.opaque = False
            return True
        if fault.code == "invalid_function_parameters":
            return self._loosen(fault, body)
        if not refuses_pictures(fault) and not is_broken_picture(fault):
            return False
        if self.official or is_broken_picture(fault):
            return self.input.refuse(body)
        return self.input.blind()

    async def rest(self, fault: ModelServerFault, tries: Counter[str]) -> bool:
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

    async def explain(self, fault: ModelServerFault) -> ModelError:
        """Return the error for a person. For an unknown model, it names the most similar one."""
        log.warning("model call failed", fault=str(fault), request=fault.request)
        models: Sequence[str] = ()
        if fault.is_unknown_model:
            with suppress(ModelServerFault):
                models = await self.models()
        return explain(fault, self.options, models)

    async def models(self) -> Sequence[str]:
        """The names that the server lists. Raises Fault."""
        listed = (await self.client.get("/models")).get("data") or ()
        return [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one]

    def completed(
        self, ask: RoundRequest, body: Json, response: str, said: Said, thread: Thread | None = None
    ) -> RoundCompleted:
        """The end of a round that was asked for with `body`. Raises a ModelError where nothing was
        said that may be shown."""
        log.info("model answered", response=response, input=said.usage.input,
                 output=said.usage.output, calls=said.calls, cut=said.cut)  # fmt: skip
        if said.cut == "filter":
            raise ModelRefused
        if not said.items:
            raise TooLong(NO_ROOM) if said.cut else ModelError(NOTHING)
        items = tuple(self.input.own(i) if i.kind == "opaque" else i for i in said.items)
        items = make_storable(items)
        usage = said.usage
        if usage.estimated:
            log.warning("tokens not counted", host=self.client.place.host)
            spoken = sum(len(f"{i.text}{i.name}{i.arguments}".encode()) for i in items)
            usage = replace(usage, input=weight(body), output=spoken)
        models = (ask.model or self.options.model, said.model)
        usage = replace(usage, cost=self._prices.highest_cost(models, usage))
        return RoundCompleted(items, usage, thread, is_truncated=said.cut == "length")

    @property
    def _prices(self) -> Prices:
        """Only OpenAI's own prices are known; the same name may cost anything elsewhere."""
        prices = self.options.prices()
        return prices if self.official else Prices(prices.models, official=False)

    def _loosen(self, fault: ModelServerFault, body: Json) -> bool:
        """A strict schema was refused: that tool goes out as an ordinary one from now on."""
        for tool in body.get("tools", ()):
            function = tool.get("function", tool)
            if f"'{function['name']}'" in fault.message and function.get("strict"):
                log.warning("tool schema is not strict", tool=function["name"])
                self._loose.add(function["name"])
                return True
        return False


async def listen(source: AsyncIterator[Json], silence: float) -> AsyncGenerator[Json, None]:
    """The events of `source`; raises Fault when none comes for `silence` seconds, or no end."""
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


def _item(item: Json) -> Item | None:
    kind = item.get("type")
    if kind == "message":
        text = "".join(
            str(part.get("text") or part.get("refusal") or "")
            for part in item.get("content") or ()
            if isinstance(part, dict)
        )
        raw = {"phase": item["phase"]} if item.get("phase") else {}
        return Item(kind="message", role="assistant", text=text, raw=raw) if text else None
    if kind == "function_call":
        return Item(
            kind="call",
            call_id=read_id(item, "call_id") or read_id(item),
            name=str(item.get("name", "")),
            arguments=str(item.get("arguments") or "{}"),
        )
    if kind in ("reasoning", "compaction") and item.get("encrypted_content"):
        return Item(kind="opaque", raw={"item": item})
    return None
