"""The errors of the API, worded as the real one words them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web


class OpenAIErrorResponse(Exception):
    """An error answer: HTTP status and the error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}
        self.headers = dict(headers or {})

    def answer(self) -> web.Response:
        return web.Response(
            status=self.status,
            text=json.dumps(self.body),
            content_type="application/json",
            headers=self.headers,
        )


def no_endpoint() -> web.Response:
    return web.Response(status=404, text="404 page not found")


def wrong_key() -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        401,
        "Incorrect API key provided: sk-****. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def unknown_model(model: str) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def unknown_parameter(name: str) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name
    )


def missing_output(call_id: str) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400, f"No tool output found for function call {call_id}.", param="input"
    )


def no_call(call_id: str) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        f"No tool call found for function call output with call_id {call_id}.",
        param="input",
    )


def conversation_locked() -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        "Another process is currently operating on this conversation. Please retry in a few "
        "seconds.",
        code="conversation_locked",
        param="conversation",
    )


def unknown_conversation(id: str, status: int) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        status, f"Conversation with id '{id}' not found.", param="conversation"
    )


def too_long() -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try "
        "again.",
        code="context_length_exceeded",
        param="input",
    )


def bad_schema(name: str, why: str, index: int) -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        f"Invalid schema for function '{name}': {why}",
        code="invalid_function_parameters",
        param=f"tools[{index}].parameters",
    )
