"""How servers count the tokens of a request, tell the size of their context, and exceed it.

`State.kind` is whose server the fake is. Ollama drops the beginning of what does not fit, without a
word (docs.ollama.com/context-length): the model then knows neither instructions nor tools. Others
refuse, each in its own words, and tell their context in a place of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from tests.fakes.openai.errors import GatewayError
from tests.fakes.openai.items import length

Json = dict[str, Any]
LOST = "I don't know what you mean."
"""What the model says that read neither instructions nor tools."""


class Refused(Exception):
    """An answer in the words of another server."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.status)
        self.error = error


def _error(message: str, **more: object) -> object:
    return {"error": {"message": message, **more}}


EXCEEDED: Mapping[str, Callable[[int, int], GatewayError]] = {
    "llama.cpp": lambda count, size: GatewayError(400, _error(
        f"request ({count} tokens) exceeds the available context size ({size} tokens), try "
        "increasing it", code=400, type="exceed_context_size_error", n_prompt_tokens=count,
        n_ctx=size)),
    "vLLM": lambda count, size: GatewayError(400, _error(
        f"This model's maximum context length is {size} tokens. However, your request has {count} "
        "input tokens. Please reduce the length of the input messages.",
        type="BadRequestError", code=400)),
    "LM Studio": lambda count, size: GatewayError(400, {"error":
        f"Trying to keep the first {count} tokens when context the overflows. However, the model "
        f"is loaded with context length of only {size} tokens, which is not enough."}),
    "OpenRouter": lambda count, size: GatewayError(400, _error(
        f"This endpoint's maximum context length is {size} tokens. However, you requested about "
        f"{count} tokens ({count} of text input). Please reduce the length of either one.",
        code=400)),
    "LiteLLM": lambda count, size: GatewayError(400, _error(
        f"litellm.ContextWindowExceededError: the prompt has {count} tokens, {size} fit",
        type=None, code="400")),
    "MiniMax, event": lambda count, size: GatewayError(200, _error(
        "invalid params, context window exceeds limit (2013)", http_code="400"), is_event=True),
    "silent": lambda count, size: GatewayError(400, _error("prompt is too long", code=400)),
}  # fmt: skip
"""How each kind of server refuses `count` tokens where `size` fit."""


def count_tokens(value: object, characters: float) -> int:
    """Return the tokens of a request, with so many characters in each."""
    return int(length(value, write_json) / characters)


def write_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def model_entry(kind: str, name: str, context: int) -> Json:
    """Return a model as `/v1/models` lists it."""
    entry: Json = {"id": name, "object": "model", "created": 1790000000, "owned_by": "system"}
    own: Mapping[str, Json] = {
        "vLLM": {"owned_by": "vllm", "max_model_len": context},
        "OpenRouter": {
            "context_length": 4 * context,
            "top_provider": {"context_length": context, "max_completion_tokens": 1024},
        },
        "llama.cpp": {"owned_by": "llamacpp", "meta": {"n_ctx_train": 16 * context}},
    }
    return {**entry, **own.get(kind, {})}


def answer_native(kind: str, path: str, models: list[str], context: int, loads: bool) -> Json:
    """Return the answer of a path that only servers of this kind have. `loads`: the model is in
    memory. Raise KeyError for any other path."""
    latest = [f"{name}:latest" for name in models]
    running = [{"name": name, "model": name, "context_length": context} for name in latest]
    is_loaded = {"state": "loaded", "loaded_context_length": context}
    answers: Mapping[tuple[str, str], Json] = {
        ("llama.cpp", "/props"): {
            "default_generation_settings": {"n_ctx": context, "params": {}},
            "total_slots": 1,
        },
        ("Ollama", "/api/ps"): {"models": running if loads else []},
        ("Ollama", "/api/show"): {
            "parameters": 'stop                           "<|end|>"',
            "details": {"family": "llama"},
            "model_info": {"llama.context_length": 131_072},
        },
        ("Ollama, num_ctx", "/api/show"): {
            "parameters": f'stop "<|end|>"\nnum_ctx                        {context}',
            "model_info": {"llama.context_length": 131_072},
        },
        ("LM Studio", "/api/v0/models"): {
            "object": "list",
            "data": [
                {"id": name, "max_context_length": 131_072, **(is_loaded if loads else {})}
                for name in models
            ],
        },
        ("LiteLLM", "/v1/model/info"): {
            "data": [
                {
                    "model_name": name,
                    "litellm_params": {"model": name},
                    "model_info": {"max_tokens": 2 * context, "max_input_tokens": context},
                }
                for name in models
            ]
        },
    }
    return answers[kind, path]


def native_answer(
    kind: str, path: str, models: list[str], context: int, loads: bool
) -> web.Response:
    """Return the HTTP response at a path that only servers of this kind have."""
    try:
        return web.json_response(answer_native(kind, path, models, context, loads))
    except KeyError:
        return web.Response(status=404, text="404 page not found")
