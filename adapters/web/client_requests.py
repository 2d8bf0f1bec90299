"""Reads the requests of OpenAI's two APIs, Chat Completions and Responses, into one form.

The bodies are validated here, their messages and files decoded. `client_options.py` reads the
options of the answer.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from adapters.web.client_options import read_options
from adapters.web.errors import BadRequest, InvalidDataUrl, RemoteFile, UnsupportedParameter
from adapters.web.http_io import MAX_FILE_BYTES, MAX_JSON_BODY_BYTES, UploadedFile, read_json
from core.domain.errors import TooLarge
from core.domain.messages import ClientOptions, Quote
from core.text.i18n import format_size as size_of
from core.text.text import clean_text, safe_file_name, to_one_line

DEFAULT_MODEL_NAME = "ponte"
"""The name under which clients ask for the model that the operator chose."""
MAX_COMPATIBLE_BODY_BYTES = MAX_JSON_BODY_BYTES + 2 * MAX_FILE_BYTES * 4 // 3
"""Bytes of a request with its files in base64."""
INSTRUCTION_ROLES = ("system", "developer")
"""Roles of messages that instruct the model."""
MAX_OBJECT_FIELDS, MAX_MESSAGES = 100, 10_000
"""Fields of one object in a request, and messages in one request. OpenAI's own requests have some
forty fields."""
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_INLINE_DATA = re.compile(r"data:[a-z0-9.+/-]{1,120};base64,[A-Za-z0-9+/=]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
MessageContent = str | list[dict[str, Any]] | None


def _is_other(*plain: object) -> Callable[[object], bool]:
    return lambda value: value is not None and value not in plain


UNSUPPORTED_PARAMETERS: Mapping[str, Callable[[object], bool]] = {
    "functions": bool, "function_call": _is_other("none", "auto"),
    "n": _is_other(1), "best_of": _is_other(1), "logprobs": bool, "top_logprobs": bool,
    "logit_bias": bool, "audio": bool, "modalities": _is_other(["text"]),
    "background": bool, "conversation": bool, "prompt": bool, "web_search_options": bool,
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


class CalledFunction(LenientBody):
    """The function of a call. `arguments` is JSON text."""

    name: str = Field(max_length=200)
    arguments: str


class ToolCallEntry(LenientBody):
    """A call in a message of the assistant."""

    id: str = Field(max_length=200)
    type: str = "function"
    function: CalledFunction


class RequestMessage(LenientBody):
    """One message of a request. `content` is text, or a list of text, images and files."""

    role: str
    content: MessageContent = None
    tool_calls: list[ToolCallEntry] | None = None
    tool_call_id: str | None = None


class StreamOptions(LenientBody):
    """The options of a streamed completion."""

    include_usage: bool | None = None


class CompletionRequest(LenientBody):
    """The body of `POST /v1/chat/completions`."""

    model: str = DEFAULT_MODEL_NAME
    messages: list[RequestMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class InputItem(LenientBody):
    """One item of `input`. Items of type `reasoning` are ignored."""

    type: str = "message"
    role: str = ""
    content: MessageContent = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: MessageContent = None


class ResponseRequest(LenientBody):
    """The body of `POST /v1/responses`."""

    model: str = DEFAULT_MODEL_NAME
    input: str | list[InputItem]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None


@dataclass(slots=True)
class PromptMessage:
    """One message of a request, in the form of both APIs. `files` are tuples of URL or base64 data,
    name, and place in the request. `call` is the id of the call whose result this is (role `tool`).
    """

    role: str
    text: str = ""
    files: list[tuple[str, str, str]] = field(default_factory=list)
    call: str = ""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request of either API. `previous` is the response that it continues, or ""."""

    messages: Sequence[PromptMessage]
    model: str
    streams: bool
    previous: str = ""
    includes_usage: bool = False
    options: ClientOptions | None = None

    @property
    def newest(self) -> Sequence[PromptMessage]:
        """Return the messages after the last one of the assistant."""
        spoken = (n for n, one in enumerate(self.messages, 1) if one.role == "assistant")
        return self.messages[max(spoken, default=0) :]

    @property
    def ends_in_results(self) -> bool:
        """Return whether the last message is the result of a call."""
        return bool(self.messages) and self.messages[-1].role == "tool"


async def read_completion(request: Request) -> ModelRequest:
    """Read a request of Chat Completions. Raise UnsupportedParameter, BadRequest, TooLarge."""
    body = await read_json(request, CompletionRequest, MAX_COMPATIBLE_BODY_BYTES)
    _check_supported(body)
    heard = [_read_message(line, f"messages[{n}]") for n, line in enumerate(body.messages)]
    counts = bool(body.stream_options and body.stream_options.include_usage)
    options = read_options(body.model_extra or {}, "response_format")
    return ModelRequest(
        heard, body.model, bool(body.stream), includes_usage=counts, options=options
    )


async def read_response(request: Request) -> ModelRequest:
    """Read a request of Responses. Raise UnsupportedParameter, BadRequest, TooLarge."""
    body = await read_json(request, ResponseRequest, MAX_COMPATIBLE_BODY_BYTES)
    _check_supported(body)
    wishes = [PromptMessage("system", body.instructions)] if body.instructions else []
    given = body.input
    if isinstance(given, str):
        heard = [PromptMessage("user", given)]
    else:
        items = [(n, item) for n, item in enumerate(given) if item.type != "reasoning"]
        heard = [_read_message(item, f"input[{n}]") for n, item in items]
    previous = body.previous_response_id or ""
    options = read_options(body.model_extra or {}, "text")
    return ModelRequest([*wishes, *heard], body.model, bool(body.stream), previous, options=options)


def _check_supported(body: LenientBody) -> None:
    """Raise UnsupportedParameter for a value that Ponte does not support."""
    for name, differs in UNSUPPORTED_PARAMETERS.items():
        if differs((body.model_extra or {}).get(name)):
            raise UnsupportedParameter(param=name)


def _read_message(line: RequestMessage | InputItem, where: str) -> PromptMessage:
    """Return the message in the form of both APIs. Raise UnsupportedParameter, BadRequest."""
    role, content, call = line.role, line.content, ""
    if isinstance(line, InputItem):
        if line.type == "function_call":
            role, content = "assistant", _describe_call(line.name or "", line.arguments or "")
        elif line.type == "function_call_output":
            role, content, call = "tool", line.output, line.call_id or ""
        elif line.type != "message":
            raise UnsupportedParameter(param=f"{where}: {clean_text(line.type)[:40]}")
        called = []
    else:
        functions = [each.function for each in line.tool_calls or ()]
        called = [_describe_call(function.name, function.arguments) for function in functions]
        call = line.tool_call_id or ""
    if role not in (*INSTRUCTION_ROLES, "user", "assistant", "tool"):
        raise UnsupportedParameter(param=f"{where}.role: {clean_text(role)[:40]}")
    if role == "tool" and not call:
        raise BadRequest(why=f"`{where}` does not say which call it answers", param=where)
    heard, texts = PromptMessage(role, call=call if role == "tool" else ""), list[str]()
    if isinstance(content, str):
        texts.append(content)
    else:
        for n, part in enumerate(content or ()):
            _read_part(part, f"{where}.content[{n}]", texts, heard.files)
    if role == "tool" and heard.files:
        raise UnsupportedParameter(param=f"{where}: files in a result")
    heard.text = "\n".join(filter(None, [*texts, *called]))
    if role == "assistant":  # a picture that Ponte put into its own answer
        heard.text = _INLINE_DATA.sub("data:,", heard.text)
    return heard


def _describe_call(name: str, arguments: str) -> str:
    """Return a call of the client's history in words."""
    return f"[called {to_one_line(name, 64)} with {arguments}]"


def _read_part(
    part: Mapping[str, Any], where: str, texts: list[str], files: list[tuple[str, str, str]]
) -> None:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            texts.append(text)
        case {"type": "refusal", "refusal": str(text)}:
            texts.append(text)
        case {"type": "image_url", "image_url": {"url": str(url)}} | {
            "type": "input_image", "image_url": str(url)
        }:  # fmt: skip
            files.append((url, "", where))
        case {"type": "file", "file": {"file_data": str(data), **more}} | {
            "type": "input_file", "file_data": str(data), **more
        }:  # fmt: skip
            files.append((data, str(more.get("filename") or ""), where))
        case {"type": "input_file", "file_url": str()}:
            raise RemoteFile(param=where)
        case _:
            raise UnsupportedParameter(
                param=f"{where}: {clean_text(str(part.get('type', '')))[:40]}"
            )


def decode_file(url: str, name: str, where: str) -> UploadedFile:
    """Return the file in a data: URL or in bare base64. Raise RemoteFile, InvalidDataUrl,
    TooLarge."""
    found = _DATA.match(url[:1000])
    if found is None and _SCHEME.match(url[:40]):
        held = url[:5].lower() == "data:"
        raise InvalidDataUrl(param=where) if held else RemoteFile(param=where)
    try:
        data = base64.b64decode(url[found.end() if found else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidDataUrl(param=where) from None
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(size=size_of(len(data)), limit=size_of(MAX_FILE_BYTES))
    kind = (found[1] if found else mimetypes.guess_type(name)[0] or "").lower()
    kind = kind if _TYPE.fullmatch(kind) else "application/octet-stream"
    return UploadedFile(
        safe_file_name(name or f"file{mimetypes.guess_extension(kind) or ''}"), kind, data
    )


def quote_of(heard: PromptMessage) -> Quote:
    """Return the message as a quote that names its files, which are sent along with the message."""
    named = [f"[{safe_file_name(name or 'file')}]" for _, name, _ in heard.files]
    return Quote(heard.role, "\n".join(filter(None, [heard.text, *named])))
