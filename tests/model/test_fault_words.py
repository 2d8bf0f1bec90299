"""What people read for errors of servers and gateways: texts of public reports, by kind."""

from __future__ import annotations

import pytest

from core.base.errors import (
    ModelDown,
    ModelError,
    ModelRefused,
    NoQuota,
    RateLimited,
    UnknownModel,
    WrongKey,
)
from core.base.model_faults import ModelServerFault
from core.models.model_server import (
    BAD_CALL,
    MODEL_LOADING,
    MODEL_NOT_LOADED,
    NO_TOOLS,
    REGION_REFUSED,
    REQUEST_REFUSED,
    LimitReached,
    ModelOptions,
    NoEndpoint,
    explain_fault,
)


def e(message: str, code: object = None, type: str | None = None, **more: object) -> object:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


CASES: list[tuple[str, int, object]] = [
    ("model", 403, e("Project does not have access to model `x`", "model_not_found")),
    ("refused", 404, e("No endpoints found matching your data policy", 404)),
    ("key", 400, e("API key expired. Please renew the API key.", 400, status="INVALID_ARGUMENT")),
    ("key", 403, {"error": {"message": "Your API key does not have access"}}),
    ("key", 400, {"error": "Missing Authorization header"}),
    ("key", 400, {"error": {"message": "You didn't provide an API key."}}),
    ("key", 500, e("Authentication Error, Invalid proxy server token passed", 401, "auth_error")),
    ("key", 400, "Invalid Authentication"),
    (
        "region",
        403,
        e(
            "Country, region, or territory not supported",
            "unsupported_country_region_territory",
            "request_forbidden",
        ),
    ),
    ("region", 400, e("User location is not supported for the API use.", 400)),
    ("region", 403, {"error": "This model is not available in your region"}),
    ("region", 403, {"error": "Access from your country is not permitted"}),
    ("region", 403, {"error": "Your country or region is blocked"}),
    ("region", 403, {"error": "The service is unavailable in your location"}),
    ("region", 403, {"error": "Request not allowed from unsupported country"}),
    ("region", 403, {"error": "Requests from XX are forbidden due to export restrictions"}),
    ("region", 403, {"error": "该地区不支持"}),
    ("region", 403, "error code: 1009"),
    ("region", 451, "Unavailable For Legal Reasons"),
    ("key", 403, {"error": "Forbidden"}),
    ("key", 403, {"error": "Permission denied on locations/us-central1/models/x"}),
    ("quota", 403, e("Key limit exceeded. Your account has insufficient credits", 403)),
    (
        "quota",
        429,
        e("Account org-x is suspended due to insufficient balance", "exceeded_current_quota"),
    ),
    ("quota", 400, e("Access denied, make sure your account is in good standing.", "Arrearage")),
    ("quota", 400, {"type": "error", "error": {"type": "billing_error", "message": "x"}}),
    (
        "limit",
        429,
        e("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more.", 429),
    ),
    ("rate", 429, {"message": "Service tier capacity exceeded for this model.", "code": "3505"}),
    ("rate", 498, e("x", "capacity_exceeded")),
    (
        "rate",
        429,
        e("Limit 6000 tokens per minute, Requested 2000. Please try again in 10.2s", "tokens"),
    ),
    ("rate", 429, e("This request would exceed your rate limit of 30,000 input tokens per minute")),
    ("rate", 500, e("Too many tokens, please wait before trying again.")),
    ("rate", 500, e("litellm.RateLimitError: BedrockException: Too many tokens, please wait")),
    ("policy", 400, e("Rejected as a result of our safety system.", "content_policy_violation")),
    (
        "policy",
        400,
        e("Your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"),
    ),
    ("policy", 403, e("Blocked by guardrail", "guardrail_violation")),
    ("policy", 400, [{"error": {"message": "The prompt was blocked due to prohibited content"}}]),
    ("policy", 400, e("The request was rejected because it was considered high risk")),
    ("model", 404, e("model 'llama9' not found", None, "api_error")),
    ("model", 404, e('model "llama9" not found, try pulling it first', None, "api_error")),
    ("model", 400, e("x/y is not a valid model ID", 400)),
    ("model", 404, e("No endpoints found for x/y.", 404)),
    (
        "model",
        404,
        {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
    ),
    ("model", 400, {"message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
    ("model", 400, e("Model Not Exist", None, "invalid_request_error")),
    ("model", 404, e("The model `x` has been decommissioned.", "model_decommissioned")),
    ("model", 404, e("The API deployment for this resource does not exist.", "DeploymentNotFound")),
    ("model", 400, e("Unable to access model x. Please visit our site", "model_not_available")),
    ("model", 404, e("models/x is not found for API version v1main, or is not supported", 404)),
    ("model", 404, e("Unknown model: x")),
    ("endpoint", 404, "404 page not found"),
    ("endpoint", 404, {"detail": "Not Found"}),
    ("endpoint", 404, "<html><title>404 Not Found</title></html>"),
    ("endpoint", 405, {"detail": "Method Not Allowed"}),
    ("endpoint", 404, e("Invalid URL (POST /v1/responses)")),
    ("endpoint", 404, {"error": "Unexpected endpoint or method. (POST /v1/x)"}),
    ("tools", 400, e("This model does not support function calling")),
    ("tools", 400, e("`tools` is not supported by this model")),
    ("tools", 400, {"detail": "Tool use is not supported for x"}),
    ("tools", 500, e("tool calling is not supported by the loaded model", 500)),
    ("tools", 400, e("This model doesn't support tool use.")),
    ("notloaded", 404, {"error": "No model is currently loaded"}),
    ("notloaded", 503, {"error": {"message": "Model not loaded"}}),
    ("loading", 503, {"error": "Model is loading, please wait"}),
    ("loading", 503, {"detail": "Model x is still loading"}),
    ("loading", 503, e("model is being loaded")),
    ("loading", 503, "Service is starting up: loading model weights"),
    (
        "badcall",
        400,
        e("tool call validation failed: attempted to call tool 'x'", "tool_use_failed"),
    ),
    ("badcall", 500, e("Failed to parse input at pos 12: <tool_call>", 500, "server_error")),
    ("badcall", 400, e("The model's output could not be parsed.", "output_parse_failed")),
    ("refused", 400, e("Invalid 'messages[3].tool_calls': array too short")),
    ("refused", 400, e("The `reasoning_content` must be passed back to the API.")),
    ("refused", 400, {"message": "Unexpected role 'user' after role 'tool'"}),
    ("refused", 400, e("Tool call id was call_123 but must be a-z, A-Z, 0-9, with a length of 9.")),
    ("refused", 400, e("Function call is missing a thought_signature in functionCall parts.")),
    ("refused", 400, e("Ensure that function call turn comes immediately after a user turn.")),
    ("refused", 400, e("An assistant message with 'tool_calls' must be followed by tool messages")),
    ("refused", 400, e("Expected last role User or Tool but got assistant")),
    ("down", 500, e("Internal server error", 500)),
    ("down", 500, e("Something went wrong, please try again later")),
    ("down", 502, "Bad Gateway"),
    ("down", 503, "<html><title>503 Service Temporarily Unavailable</title></html>"),
    ("down", 500, {"error": {"message": "CUDA out of memory"}}),
    (
        "down",
        500,
        e("An error occurred while processing your request. You can retry", "server_error"),
    ),
]
ERRORS: dict[str, type[ModelError]] = {
    "key": WrongKey,
    "quota": NoQuota,
    "rate": RateLimited,
    "limit": LimitReached,
    "policy": ModelRefused,
    "model": UnknownModel,
    "endpoint": NoEndpoint,
    "down": ModelDown,
}
SENTENCES = {
    "tools": NO_TOOLS,
    "notloaded": MODEL_NOT_LOADED,
    "loading": MODEL_LOADING,
    "badcall": BAD_CALL,
    "refused": REQUEST_REFUSED,
    "region": REGION_REFUSED,
}


@pytest.mark.parametrize(("kind", "status", "body"), CASES)
def test_an_error_is_worded_by_its_kind(kind: str, status: int, body: object) -> None:
    error = explain_fault(ModelServerFault("refused", status=status, body=body), ModelOptions())
    if kind in ERRORS:
        assert type(error) is ERRORS[kind]
    else:
        assert error.sentence == SENTENCES[kind]
    assert error.words()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, e("Unknown parameter: 'stream_options'.", "unknown_parameter")),
        (400, e("The 'stream_options' parameter is only allowed when 'stream' is enabled.")),
        (400, e("stream options are not supported")),
        (502, e("The upstream is not available")),
        (500, e("upstream error: not found")),
        (400, {"message": "This model only support stream mode, please enable the stream"}),
        (500, e("stream error: stream ID 5; INTERNAL_ERROR; received from peer")),
        (429, e("Streaming is not allowed at this rate", "rate_limit_exceeded")),
        (500, e("Unknown error while streaming")),
    ],
)
def test_another_refusal_is_none_of_streaming(status: int, body: object) -> None:
    assert not ModelServerFault("refused", status=status, body=body).refuses_stream


@pytest.mark.parametrize(
    ("is_refused", "words"),
    [
        (True, 'Tool calling requires reasoning_effort="none" for this model.'),
        (True, "'reasoning_effort' does not support 'low'. Supported values are: 'none'."),
        (True, "Reasoning effort must be 'none' when function tools are used"),
        (True, "Tools are not supported with reasoning enabled (reasoning_effort: none)"),
        (True, "Setting 'reasoning_effort' to 'none' is required with function tools."),
        (True, "tools are not supported when reasoning.effort is 'low'; use 'none'"),
        (False, "'reasoning_effort' does not support 'none' with tools. Use 'low' or 'high'."),
        (False, "'reasoning_effort' does not support 'x'. Supported values are: 'none', 'low'."),
        (False, "Tools are not supported. Reasoning is."),
    ],
)
def test_a_refusal_of_reasoning_beside_tools(is_refused: bool, words: str) -> None:
    fault = ModelServerFault("refused", status=400, body=e(words))
    assert fault.refuses_reasoning is is_refused
    assert not (is_refused and fault.lacks_tools)
