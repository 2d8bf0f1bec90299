"""Whether what is sent and what the fake emits is what the openai package's own types say.

The package's types allow unknown fields; here an unknown field is an error too.
"""

from __future__ import annotations

import functools
import json
import typing
from typing import Any

from openai import BaseModel
from openai.types import ContainerRetrieveResponse, responses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.container_create_params import ContainerCreateParams
from openai.types.containers import FileListResponse
from openai.types.conversations import (
    Conversation,
    ConversationDeletedResource,
    ConversationItemList,
    item_create_params,
)
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from openai.types.responses.response_stream_event import ResponseStreamEvent
from pydantic import TypeAdapter

KINDS: dict[str, type[BaseModel]] = {
    "response": responses.Response,
    "conversation": Conversation,
    "conversation_deleted": ConversationDeletedResource,
    "items": ConversationItemList,
    "completion": ChatCompletion,
    "chunk": ChatCompletionChunk,
    "container": ContainerRetrieveResponse,
    "container_file": FileListResponse,
}


ADDED_FIELDS = {"cost"}
"""Fields that other servers add (OpenRouter, Perplexity)."""


def check(kind: str, value: dict[str, Any]) -> None:
    """Raises ValidationError or AssertionError."""
    if kind == "error":
        assert set(value) == {"message", "type", "param", "code"}
        return
    model = _events()[value["type"]] if kind == "event" else KINDS[kind]
    item = model.model_validate_json(json.dumps(value), strict=True)
    _check_known_fields(item)


def fits(path: str, body: dict[str, Any]) -> None:
    """A question, or items for a conversation: every field known and well typed.

    Raises ValidationError or AssertionError.
    """
    if path == "/responses" and body.get("stream"):
        assert _plain(_adapter(ResponseCreateParamsStreaming).validate_python(body)) == body
    elif path == "/chat/completions":
        kind: Any = CompletionCreateParamsNonStreaming
        kind = CompletionCreateParamsStreaming if body.get("stream") else kind
        assert _plain(_adapter(kind).validate_python(body)) == body
    elif path == "/containers":
        assert _plain(_adapter(ContainerCreateParams).validate_python(body)) == body
    elif path.endswith("/items") and body:
        assert _plain(_adapter(item_create_params.ItemCreateParams).validate_python(body)) == body


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    """The package's types say Iterable, which pydantic hands out as one-way iterators."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return [_plain(inner) for inner in value]


@functools.cache
def _events() -> dict[str, type[BaseModel]]:
    union = typing.get_args(ResponseStreamEvent)[0]
    return {
        typing.get_args(member.model_fields["type"].annotation)[0]: member
        for member in typing.get_args(union)
    }


def _check_known_fields(value: object) -> None:
    if isinstance(value, BaseModel):
        extra = set(value.model_extra or ()) - ADDED_FIELDS
        assert not extra, (type(value).__name__, extra)
        for field in value.model_fields_set:
            _check_known_fields(getattr(value, field))
    elif isinstance(value, list):
        for one in value:
            _check_known_fields(one)
