"""Reads and checks the requests of `POST /v1/chat/completions`, with their messages and files.

Source: developers.openai.com/api/reference (Chat Completions: "Create chat completion").
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from adapters.web.errors import BadRequest, InvalidDataUrl, UnsupportedParameter
from adapters.web.http_io import MAX_FILE_BYTES, MAX_JSON_BODY_BYTES, UploadedFile, read_json
from core.base.errors import TooLarge
from core.base.i18n import format_size
from core.base.text import clean_text, safe_file_name
from core.domain.messages import Quote

DEFAULT_MODEL_NAME = "ponte"
"""The name under which clients ask for the model that the operator chose."""
MAX_COMPATIBLE_BODY_BYTES = MAX_JSON_BODY_BYTES + 2 * MAX_FILE_BYTES * 4 // 3
"""Bytes of a request with its files in base64."""
INSTRUCTION_ROLES = ("system", "developer")
"""Roles of messages that instruct the model."""
MAX_OBJECT_FIELDS, MAX_MESSAGES = 100, 10_000
"""Fields of one object in a request, and messages in one request. OpenAI's own requests have some
forty fields."""
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
"""Stop sequences in one request (OpenAI's limit), and characters of one."""
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")


def _is_other(*neutral: object) -> Callable[[object], bool]:
    return lambda value: value is not None and value not in neutral


UNSUPPORTED_PARAMETERS: Mapping[str, Callable[[object], bool]] = {
    "tools": bool, "tool_choice": _is_other("none", "auto"),
    "functions": bool, "function_call": _is_other("none", "auto"),
    "response_format": _is_other({"type": "text"}),
    "n": _is_other(1), "logprobs": bool, "top_logprobs": bool, "logit_bias": bool,
    "audio": bool, "modalities": _is_other(["text"]), "web_search_options": bool,
    "previous_response_id": bool,
}  # fmt: skip
"""Parameters that would change the answer, by name, each with a test for values that Ponte does not
support. Other unknown parameters are ignored."""


class LenientBody(BaseModel):
    """A JSON body in which unknown fields are allowed. Clients send many that only tune a model."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, data: object) -> object:
        """Refuse large objects before their values are read."""
        if isinstance(data, dict):
            if len(data) > MAX_OBJECT_FIELDS:
                raise ValueError(f"more than {MAX_OBJECT_FIELDS} fields")
            if any(isinstance(each, list) and len(each) > MAX_MESSAGES for each in data.values()):
                raise ValueError(f"a list of more than {MAX_MESSAGES} entries")
        return data


class RequestMessage(LenientBody):
    """One message of a request. `content` is text, or a list of text, images and files."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(LenientBody):
    """The options of a streamed completion."""

    include_usage: bool | None = None


class CompletionRequest(LenientBody):
    """The body of `POST /v1/chat/completions`."""

    max_bytes: ClassVar[int] = MAX_COMPATIBLE_BODY_BYTES
    model: str = DEFAULT_MODEL_NAME
    messages: list[RequestMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None


@dataclass(slots=True)
class PromptMessage:
    """One message of a request. `files` are tuples of a data: URL or base64 data, a name, and the
    place in the request."""

    role: str
    text: str
    files: list[tuple[str, str, str]] = field(default_factory=list)

    def as_quote(self) -> Quote:
        """Return the message as a quote that names its files, which are sent along with it."""
        names = [f"[{safe_file_name(name or 'file')}]" for _, name, _ in self.files]
        return Quote(self.role, "\n".join(filter(None, [self.text, *names])))


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A checked request. The answer ends before the first of the texts in `stops`."""

    messages: Sequence[PromptMessage]
    model: str
    streams: bool
    includes_usage: bool
    stops: Sequence[str]


async def read_completion(request: Request) -> ModelRequest:
    """Read the request's body. Raise UnsupportedParameter, BadRequest, TooLarge."""
    body = await read_json(request, CompletionRequest)
    for name, is_unsupported in UNSUPPORTED_PARAMETERS.items():
        if is_unsupported((body.model_extra or {}).get(name)):
            raise UnsupportedParameter(param=name)
    return ModelRequest(
        [_read_message(message, f"messages[{n}]") for n, message in enumerate(body.messages)],
        body.model,
        bool(body.stream),
        bool(body.stream_options and body.stream_options.include_usage),
        _check_stops([body.stop] if isinstance(body.stop, str) else body.stop or []),
    )


def _check_stops(stops: Sequence[str]) -> Sequence[str]:
    if len(stops) > MAX_STOPS:
        raise BadRequest(why=f"`stop`: give a text or a list of at most {MAX_STOPS}", param="stop")
    if not all(0 < len(stop) <= MAX_STOP_CHARACTERS for stop in stops):
        why = f"`stop`: each text has 1 to {MAX_STOP_CHARACTERS} characters"
        raise BadRequest(why=why, param="stop")
    return stops


def _read_message(message: RequestMessage, param: str) -> PromptMessage:
    """Return the text and files of a message. Raise UnsupportedParameter."""
    if message.role not in (*INSTRUCTION_ROLES, "user", "assistant"):
        raise UnsupportedParameter(param=f"{param}.role: {clean_text(message.role)[:40]}")
    for name in ("tool_calls", "function_call"):
        if (message.model_extra or {}).get(name):
            raise UnsupportedParameter(param=f"{param}.{name}")
    if not isinstance(message.content, list):
        return PromptMessage(message.role, message.content or "")
    texts: list[str] = []
    files: list[tuple[str, str, str]] = []
    for n, part in enumerate(message.content):
        where = f"{param}.content[{n}]"
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                files.append((url, "", where))
            case {"type": "file", "file": {"file_data": str(data), **more}}:
                files.append((data, str(more.get("filename") or ""), where))
            case _:
                kind = clean_text(str(part.get("type", "")))[:40]
                raise UnsupportedParameter(param=f"{where}: {kind}")
    return PromptMessage(message.role, "\n".join(filter(None, texts)), files)


def decode_file(url: str, name: str, param: str) -> UploadedFile:
    """Return the file in a data: URL or in bare base64. Raise BadRequest for a link to a
    file, InvalidDataUrl, TooLarge."""
    head = _DATA.match(url[:1000])
    if head is None and _SCHEME.match(url[:40]):
        if url[:5].lower() == "data:":
            raise InvalidDataUrl(param=param)
        raise BadRequest(
            "Ponte does not download files from links. Send the file itself as a base64 data: URL.",
            param=param,
        )
    try:
        data = base64.b64decode(url[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidDataUrl(param=param) from None
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(size=format_size(len(data)), limit=format_size(MAX_FILE_BYTES))
    kind = (head[1] if head else mimetypes.guess_type(name)[0] or "").lower()
    kind = kind if _TYPE.fullmatch(kind) else "application/octet-stream"
    return UploadedFile(
        safe_file_name(name or f"file{mimetypes.guess_extension(kind) or ''}"), kind, data
    )
