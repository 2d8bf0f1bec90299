"""What a fault means: what can be mended, and the words for what cannot.

Codes and texts are OpenAI's; other servers share the HTTP status and word the rest as they like,
so texts are only looked at for the few things that have no code.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence

from core.errors import (
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
from core.model.options import Options
from core.openai import Fault

OPTIONAL = (
    "context_management", "include", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "reasoning_effort", "safety_identifier", "store", "stream_options", "truncation",
)  # fmt: skip
"""Fields that an answer can do without."""
BUSY = 20.0
"""Seconds that a person is told to wait where the server names none."""
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
LONG = re.compile(
    r"context.{0,3}(length|window|size)|maximum context|too many tokens|prompt is too long", re.I
)


class NoEndpoint(ModelDown):
    """The server lacks the API of this level; a lower one may do."""


def no_endpoint(fault: Fault) -> bool:
    """The server does not have this path at all."""
    return (
        fault.status in (404, 405, 501)
        and not fault.no_model
        and "conversation" not in (fault.param + fault.message).lower()
    )


def too_long(fault: Fault) -> bool:
    return (
        fault.status == 413
        or fault.code in ("context_length_exceeded", "string_above_max_length")
        or (fault.status in (400, 422, 500) and LONG.search(fault.type + fault.message) is not None)
    )


def locked(fault: Fault) -> bool:
    """Issue 379 of paulgmiller/careme has the text: another process operates on it."""
    return fault.code == "conversation_locked"


def gone(fault: Fault, conversation: str) -> bool:
    """The conversation was deleted, or never was: no source tells the text, so any will do."""
    named = fault.param.startswith("conversation") or conversation in fault.message
    return fault.status in (400, 404, 410) and named and not locked(fault)


def unpaired(fault: Fault) -> bool:
    """A call without its output, or the other way round (openai-python issue 3561)."""
    return fault.status == 400 and "function call" in fault.message and "No tool" in fault.message


def policy(fault: Fault) -> bool:
    """What was asked is against the server's usage policies."""
    return fault.policy and not blocked(fault)


def blocked(fault: Fault) -> bool:
    """The server refuses this person's safety identifier."""
    words = f"{fault.code} {fault.message}".lower()
    return fault.status in (400, 403) and "identifier" in words and "block" in words


def picture(fault: Fault) -> bool:
    """It cannot take a picture or a document."""
    return fault.status in (400, 415, 422, 500) and (
        re.search(r"input_image|image_url|input_file|image input|multimodal", fault.message)
        is not None
    )


def bad_picture(fault: Fault) -> bool:
    """That one file is broken, and not the server blind (ResponseError.code of the package)."""
    return "image" in fault.code or "file" in fault.code


def misfit(fault: Fault, sent: Sequence[str]) -> str:
    """The optional field that the server does not take, or ""."""
    if fault.status not in (400, 422):
        return ""
    root = re.split(r"[.\[]", fault.param)[0]
    candidates = [name for name in OPTIONAL if name in sent]
    if root in candidates:
        return root
    named = re.findall(r"\w+", fault.message)
    return next((name for name in candidates if name in named), "")


def worded(fault: Fault, options: Options, models: Sequence[str] = ()) -> ModelError:
    """The error that a person reads. `models` are those that the server lists."""
    if fault.kind == "silent":
        return ModelSilent(seconds=round(options.silence))
    if fault.kind == "excess":
        return ModelError(EXCESS, limit=fault.message)
    if 300 <= fault.status < 400:
        return ModelError(MOVED, status=fault.status)
    if fault.quota:
        return NoQuota()
    if no_endpoint(fault):
        return NoEndpoint()
    if blocked(fault):
        return PersonRefused()
    if fault.no_model:
        return unknown_model(options.model, models)
    if fault.status in (401, 403):
        return WrongKey()
    if fault.status == 429 or fault.code == "rate_limit_exceeded":
        return RateLimited(seconds=math.ceil(fault.wait or BUSY))
    if too_long(fault):
        return TooLong()
    if policy(fault):
        return ModelRefused()
    if picture(fault) or bad_picture(fault):
        return ModelError(PICTURE)
    if fault.kind == "refused" and fault.status < 500:
        return ModelError(REFUSED, reason=fault.code or f"HTTP {fault.status}")
    return ModelDown()


def unknown_model(model: str, models: Sequence[str]) -> UnknownModel:
    near = difflib.get_close_matches(model, models, n=1, cutoff=0.4)
    if not near:
        return UnknownModel(model=model)
    return UnknownModel(NEAREST, model=model, nearest=near[0])
