"""The errors of the API, worded as the real one words them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

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
        400, f"No tool call found for function call output with call_id {call_id}.", param="input"
    )


def conversation_locked() -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        "Another process is currently operating on this conversation. Please retry in a few "
        "seconds.",
        code="conversation_locked",
        param="conversation",
    )


def zero_retention() -> OpenAIErrorResponse:
    return OpenAIErrorResponse(
        400,
        "Conversation cannot be used for this organization due to Zero Data Retention.",
        code="zero_data_retention",
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


@dataclass(frozen=True)
class GatewayError:
    """An error as servers and gateways other than OpenAI send it.

    `body` is JSON, or a text that is sent as it is. `is_event`: it is the first event of a stream
    that began with 200.
    """

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)
    is_event: bool = False

    def answer(self) -> web.Response:
        if self.is_event:
            return web.Response(
                text=f"data: {json.dumps(self.body)}\n\n", content_type="text/event-stream"
            )
        is_text = isinstance(self.body, str)
        text = str(self.body) if is_text else json.dumps(self.body)
        return web.Response(
            status=self.status,
            text=text,
            content_type="application/json"
            if not is_text
            else "text/html"
            if text.startswith("<")
            else "text/plain",
            headers=self.headers,
        )


def _detail(*path: object, words: str = "Extra inputs are not permitted") -> Mapping[str, object]:
    """The body of FastAPI for one field."""
    return {"detail": [{"type": "extra_forbidden", "loc": list(path), "msg": words, "input": {}}]}


def _error(message: str, code: object = None, type: str | None = None, **more: object) -> object:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


_NGINX = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_KEY_WORDS = "Incorrect API key provided: xa***AB. You can obtain one from https://console.x.ai."

WRONG_KEY = {
    "xAI": GatewayError(400, {"code": "Client specified an invalid argument", "error": _KEY_WORDS}),
    "xAI, quoted": GatewayError(
        400, {"code": "x", "error": "Incorrect%20API%20key%20provided:%20ba***na."}
    ),
    "Gemini": GatewayError(400, [{"error": {
        "code": 400, "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]),
    "DeepSeek": GatewayError(401, _error("Authentication Fails, Your api key: ****3f is invalid")),
    "HTML 403": GatewayError(403, _NGINX.format("403 Forbidden")),
    "text 401": GatewayError(401, "Unauthorized"),
    "detail": GatewayError(422, {"detail": "Invalid API key"}),
    "Cloudflare": GatewayError(
        400, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}
    ),
    "event": GatewayError(200, _error("Invalid API key", 401), is_event=True),
    "event, text": GatewayError(200, {"error": "Incorrect API key provided"}, is_event=True),
    "MiniMax": GatewayError(200, {"base_resp": {
        "status_code": 1004, "status_msg": "login fail: Please carry the API secret key"}},
        is_event=True),
}  # fmt: skip
NO_CREDIT = {
    "DeepSeek": GatewayError(402, _error("Insufficient Balance", "invalid_request_error")),
    "Anthropic": GatewayError(400, {"type": "error", "error": {
        "type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API."}}),
    "Fireworks": GatewayError(412, {"error": "Account x is suspended: spending limit reached"}),
    "xAI": GatewayError(403, {"code": "y", "error": "Your team ran out of credits."}),
    "event": GatewayError(200, _error("This request requires more credits", 402), is_event=True),
    "text": GatewayError(402, "Payment Required"),
    "Zhipu": GatewayError(429, _error("余额不足或无可用资源包,请充值。", "1113")),
    "LiteLLM": GatewayError(400, _error("Budget has been exceeded! Max budget: 5", "400", "x")),
    "MiniMax": GatewayError(200, {"base_resp": {
        "status_code": 1008, "status_msg": "insufficient balance"}}, is_event=True),
}  # fmt: skip
BUSY = {
    "seconds": (GatewayError(429, "slow down", {"retry-after": "90"}), 90),
    "body": (GatewayError(429, [{"error": {
        "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota.",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo",
                     "retryDelay": "45.837906927s"}]}}]), 46),
    "words": (GatewayError(429, _error("Rate limit reached. Please try again in 1m12.5s.")), 73),
    "Azure": (GatewayError(429, _error("Rate limited. Please retry after 59 seconds.", "429")), 59),
    "number": (GatewayError(429, {"detail": "Too many", "retry_after": 33}), 33),
    "camel case": (GatewayError(429, {"error": "slow", "retryAfter": 34}), 34),
    "unit": (GatewayError(429, "slow down", {"retry-after": "1m12s"}), 72),
    "event": (GatewayError(200, _error("Upstream is busy, retry in 40 seconds", 429),
                           is_event=True), 40),
}  # fmt: skip
"""Answers, and the seconds that they ask to wait."""
OVERLOADED = {
    "529": GatewayError(529, {"type": "error", "error": {"type": "overloaded_error",
                                                         "message": "Overloaded"}}),
    "no time": GatewayError(429, "Too Many Requests"),
    "503": GatewayError(503, _error("The engine is currently overloaded", 503)),
    "event": GatewayError(200, _error("Overloaded", "overloaded_error"), is_event=True),
    "MiniMax": GatewayError(200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
                            is_event=True),
    "DashScope": GatewayError(429, {"code": "Throttling.RateQuota", "message": "No."}),
}  # fmt: skip
THROTTLED = {
    "Bedrock": GatewayError(
        200, _error("Too many tokens, please wait before trying again."), is_event=True
    ),
    "Bedrock, 400": GatewayError(400, _error("Too many tokens, please wait before trying again.")),
    "per minute": GatewayError(
        400, _error("The limit of 30000 input tokens per minute is exceeded. Slow down.")
    ),
    "later": GatewayError(
        422, _error("Request exceeds the token limit of your tier, try again later")
    ),
    "Zhipu": GatewayError(400, _error("您的账户已达到速率限制，请稍后再试", 1302)),
}
"""Too many requests in the words of a request that is too long. Such a server takes the same
request a little later."""
MINUTE_LIMITS: Mapping[str, Callable[[int, int], GatewayError]] = {
    "OpenAI": lambda limit, asked: GatewayError(429, _error(
        f"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit "
        f"{limit}, Requested {asked}. The input or output tokens must be reduced in order to run "
        "successfully.", "rate_limit_exceeded", "tokens"), {"retry-after-ms": "500"}),
    "Groq": lambda limit, asked: GatewayError(413, _error(
        "Request too large for model `x` in organization `y` service tier `on_demand` on tokens "
        f"per minute (TPM): Limit {limit}, Requested {asked}, please reduce your message "
        "size and try again.", "rate_limit_exceeded", "tokens")),
    "gateway": lambda limit, asked: GatewayError(400, _error(
        f"Rate limit: Limit: {limit:,} tokens, Used: 0, Requested: {asked:,}. Slow down.")),
    "Anthropic": lambda limit, asked: GatewayError(429, {"type": "error", "error": {
        "type": "rate_limit_error", "message": "This request would exceed your organization's rate "
        f"limit of {limit:,} input tokens per minute."}}, {"retry-after": "7"}),
    "Gemini, event": lambda limit, asked: GatewayError(200, _error(
        f"Quota exceeded for metric: x/generate_content_free_tier_input_token_count, limit: "
        f"{limit}, model: gemini-3-flash. Please retry in 7.5s.", 429, "RESOURCE_EXHAUSTED"),
        is_event=True),
}  # fmt: skip
"""How servers say that a minute's allowance of `limit` tokens is smaller than the request."""
_GROQ_DAY = (
    "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 99000, Requested "
    "3000. Please try again in 28m48s."
)
_OPENROUTER_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests"
_CEREBRAS_DAY = _error("Requests per day limit exceeded", "request_quota_exceeded", "too_many")


def day_limits(now: float) -> Mapping[str, tuple[GatewayError, float]]:
    """Return refusals for a limit that lasts long, and its seconds from `now` (seconds since
    1970)."""
    iso = datetime.fromtimestamp(now + 20_000, UTC)
    gemini = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}
            ],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "40s"},
    ]
    return {
        "words": (GatewayError(429, _error("Please try again in 7h12m.", "rate_limit_exceeded")),
                  25_920),
        "days": (GatewayError(429, _error("Limit reached, retry in 2 days and 3 hours.")),
                 183_600),
        "ISO": (GatewayError(429, _error(f"Limit resets at {iso:%Y-%m-%dT%H:%M:%SZ}.")), 20_000),
        "LiteLLM": (GatewayError(429, _error(
            f"Limit type: tokens. Limit resets at: {iso:%Y-%m-%d %H:%M:%S} UTC")), 20_000),
        "header": (GatewayError(429, "slow down", {"retry-after": "25000"}), 25_000),
        "OpenAI": (GatewayError(429, _error("Limit 200, Used 200, Requested 1 requests per day."),
                                {"x-ratelimit-reset-requests": "6h3m", "x-ratelimit-reset-tokens":
                                 "9h", "x-ratelimit-remaining-tokens": "149984"}), 21_780),
        "Anthropic": (GatewayError(429, _error("No."), {
            "anthropic-ratelimit-requests-reset": f"{iso:%Y-%m-%dT%H:%M:%SZ}"}), 20_000),
        "OpenRouter": (GatewayError(429, _error(_OPENROUTER_DAY, 429, metadata={"headers": {
            "X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(now + 30_000) * 1000)}})), 30_000),
        "Gemini": (GatewayError(429, [{"error": {
            "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current "
            "quota. Please retry in 40.1s.", "details": gemini}}]), (8 * 3600 - now) % 86_400),
        "Groq": (GatewayError(429, _error(_GROQ_DAY, "rate_limit_exceeded", "tokens")), 1_728),
        "Cerebras": (GatewayError(429, _CEREBRAS_DAY,
                                  {"x-ratelimit-reset-requests-day": "33011.38"}), 33_012),
        "no time": (GatewayError(429, _error("Daily limit reached", "rate_limit_exceeded")), 3_600),
        "event": (GatewayError(200, _error("Retry after 5 hours", 429), is_event=True), 18_000),
    }  # fmt: skip


TOO_LONG = {
    "llama.cpp": GatewayError(400, _error(
        "the request exceeds the available context size. try increasing the context size", 400,
        "exceed_context_size_error", n_prompt_tokens=14429, n_ctx=8192)),
    "llama.cpp, 500": GatewayError(500, _error(
        "request (14429 tokens) exceeds the available context size (8192 tokens)", 500,
        "exceed_context_size_error")),
    "llama.cpp, event": GatewayError(200, _error(
        "the request exceeds the available context size, try increasing it", 400,
        "exceed_context_size_error"), is_event=True),
    "Perplexity": GatewayError(400, _error(
        "Prompt is 140000 tokens and the model supports at most 127072", 400,
        "too_many_prompt_tokens")),
    "vLLM": GatewayError(400, {
        "object": "error", "type": "BadRequestError", "code": 400, "param": None, "message":
        "This model's maximum context length is 4096 tokens. Please reduce the length."}),
    "Anthropic": GatewayError(400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "prompt is too long: 219898 tokens > 200000"}}),
    "Bedrock": GatewayError(400, {"message": "Input is too long for requested model."}),
    "Gemini": GatewayError(400, [{"error": {
        "code": 400, "status": "INVALID_ARGUMENT", "message":
        "The input token count (134123) exceeds the maximum number of tokens allowed (131072)."}}]),
    "Mistral": GatewayError(400, {"object": "error", "code": "3051", "message":
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"}),
    "TGI": GatewayError(422, {"error": "Input validation error: `inputs` tokens + "
        "`max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens", "error_type": "x"}),
    "LM Studio": GatewayError(400, {"error": "Trying to keep the first 10136 tokens when context "
        "the overflows. However, the model is loaded with context length of only 7866 tokens"}),
    "llama-cpp-python": GatewayError(
        500, _error("Requested tokens (2285) exceed context window of 2048")),
    "oMLX": GatewayError(400, {"detail": "Prompt too long: 41911 tokens exceeds max of 32768"}),
    "Groq": GatewayError(413, _error(
        "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7200",
        "rate_limit_exceeded", "tokens")),
    "nginx": GatewayError(413, _NGINX.format("413 Request Entity Too Large")),
    "OpenRouter": GatewayError(400, _error("Provider returned error", 400, metadata={
        "raw": json.dumps({"error": {"message": "maximum context length exceeded"}})})),
    "vLLM, fields of an event": GatewayError(200, {
        "id": "c1", "choices": None, "error_type": "BadRequestError", "error_message":
        "This model's maximum context length is 4096 tokens."}, is_event=True),
}  # fmt: skip
FIELDS = {
    "OpenAI": lambda name: GatewayError(400, _error(f"Unknown parameter: '{name}'.")),
    "old OpenAI": lambda name: GatewayError(
        400, _error(f"Unrecognized request argument supplied: {name}")),
    "param": lambda name: GatewayError(400, {"error": {"param": f"{name}.x", "message": "No."}}),
    "FastAPI": lambda name: GatewayError(422, _detail("body", name)),
    "Mistral": lambda name: GatewayError(
        422, {"object": "error", "message": _detail("body", name), "code": 3001}),
    "Python": lambda name: GatewayError(400, {
        "error": f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}')}}]"}),
    "Fireworks": lambda name: GatewayError(
        400, {"error": {"message": f"Extra inputs are not permitted, field: '{name}'"}}),
    "serde": lambda name: GatewayError(
        422, f"Failed to deserialize the JSON body: unknown field `{name}`, expected `model`"),
    "Gemini": lambda name: GatewayError(400, [{"error": {"code": 400, "message":
        f"Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."}}]),
    "Groq": lambda name: GatewayError(400, _error(f"property '{name}' is unsupported")),
    "NIM": lambda name: GatewayError(
        400, {"message": f"Validation: Unsupported parameter(s): `{name}`", "code": 400}),
    "Azure": lambda name: GatewayError(400, {"error": {
        "message": f"Validation error at #/{name}: Extra inputs are not permitted"}}),
    "no name": lambda name: GatewayError(422, _detail("body")),
    "event": lambda name: GatewayError(
        200, _error(f"Unsupported parameter: {name}", 400), is_event=True),
}  # fmt: skip
"""Functions of a field's name."""
PICTURES = {
    "DeepSeek": GatewayError(400, _error(
        "Failed to deserialize the JSON body into the target type: messages[1]: unknown variant "
        "`image_url`, expected `text` at line 1 column 114708", "invalid_request_error")),
    "llama.cpp": GatewayError(400, _error("Failed to load image or audio file", 400)),
    "llama.cpp, 500": GatewayError(500, _error(
        "image input is not supported - hint: if this is unexpected, you may need to provide the "
        "mmproj", 500, "server_error")),
    "OpenRouter": GatewayError(404, _error("No endpoints found that support image input", 404)),
    "vLLM": GatewayError(400, {"object": "error", "message": "At most 0 image(s) may be provided "
                               "in one prompt.", "code": 400}),
    "Thinking Machines": GatewayError(422, {"detail": "Validation Error", "errors": [
        {"loc": "body -> messages -> 1 -> content -> list[TextContentPart] -> 0 -> type",
         "msg": "Input should be 'text'", "type": "literal_error"}]}),
    "unnamed": GatewayError(400, {"error": "invalid request"}),
    "413": GatewayError(413, _NGINX.format("413 Request Entity Too Large")),
    "not a string": GatewayError(400, {"detail": "content must be a string"}),
}  # fmt: skip
TOO_MANY_PICTURES = (
    "At most 2 image(s) may be provided in one prompt.",
    "Too many images provided. This model supports up to 2 images",
    "messages.0.content: too many images: 3 > 2",
    "Too many images in request. Maximum is 2.",
    "The number of images (3) exceeds the maximum of 2 images",
)
"""How servers say that they take two pictures in one request (vLLM, Groq, Anthropic, OpenAI)."""
NO_TOOLS = {
    "llama.cpp": GatewayError(500, _error("tools param requires --jinja flag", 500, "server")),
    "vLLM": GatewayError(400, {"object": "error", "code": 400, "message":
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'}),
    "Ollama": GatewayError(
        400, _error("registry.ollama.ai/library/gemma3:4b does not support tools", None, "api")),
    "OpenRouter": GatewayError(404, _error("No endpoints found that support tool use.", 404)),
    "text": GatewayError(400, {"detail": "Function calling is not supported by this model"}),
}  # fmt: skip
NOT_LOADED = {
    "LM Studio": GatewayError(400, {"error": {
        "message": "No models loaded. Please load a model in the developer page.",
        "type": "invalid_request_error", "param": "model"}}),
    "LM Studio, failed": GatewayError(400, {"error": 'Failed to load model "gpt-oss-20b". Error: '
                                            "Error loading model."}),
    "LM Studio, unloaded": GatewayError(400, {"error": "Model is unloaded."}),
    "Ollama": GatewayError(500, _error("model requires more system memory (8 GiB) than is "
                                       "available (4 GiB)", None, "api_error")),
}  # fmt: skip
LOADING = {
    "llama.cpp": GatewayError(503, _error("Loading model", 503, "unavailable_error")),
    "Hugging Face": GatewayError(
        503, {"error": "Model x/y is currently loading", "estimated_time": 12.0}
    ),
}
_FAILED_CALL = "Failed to call a function. Please adjust your prompt."
_FAILED_KIND = ("tool_use_failed", "invalid_request_error")
_SEE = " See 'failed_generation' for more details."
_GROQ_CALL = _error(_FAILED_CALL + _SEE, *_FAILED_KIND, failed_generation="<function=q>")
_GROQ_EVENT = _error(_FAILED_CALL, *_FAILED_KIND, failed_generation="x", status_code=400)
BAD_CALL = {
    "Groq": GatewayError(400, _GROQ_CALL),
    "Groq, event": GatewayError(200, _GROQ_EVENT, is_event=True),
    "llama.cpp": GatewayError(500, _error("Failed to parse tool call arguments as JSON", 500)),
}
ANSWERED_BADLY = {
    "HTML 502": GatewayError(502, _NGINX.format("502 Bad Gateway")),
    "text 500": GatewayError(500, "Internal Server Error"),
    "empty": GatewayError(500, ""),
    "number": GatewayError(500, {"error": 7}),
    "event": GatewayError(200, _error("Provider returned error", 502), is_event=True),
}
REFUSED = {
    "text": GatewayError(400, "No."),
    "error": GatewayError(400, {"error": "something odd"}),
    "number": GatewayError(400, _error("something odd", 400)),
    "detail": GatewayError(422, {"detail": "something odd"}),
    "list": GatewayError(422, {"detail": [{"loc": ["body", "messages", 0], "msg": "odd"}]}),
    "message": GatewayError(400, {"message": "something odd"}),
    "errors": GatewayError(400, {"errors": ["something odd", {"x": [None, 1.5]}]}),
    "list at the top": GatewayError(400, [{"error": {"code": 400, "message": "odd"}}]),
    "sentence as code": GatewayError(400, {"code": "Some sentence.", "error": "odd"}),
    "HTML": GatewayError(400, _NGINX.format("400 Bad Request")),
    "event": GatewayError(200, {"error": {"code": 400, "message": "odd"}}, is_event=True),
}
_NO_SYSTEM = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
_ALTERNATE = (
    "After the (optional) system message(s), user and assistant roles should be alternating."
)
ROLES = {
    "OpenAI": GatewayError(400, _error(_NO_SYSTEM, "unsupported_value")),
    "Gemma": GatewayError(500, _error("System role not supported", 500)),
    "Mixtral": GatewayError(424, {"error": "Conversation roles must alternate user/assistant/..."}),
    "LM Studio": GatewayError(400, {"error": "Only user and assistant roles are supported!"}),
    "Perplexity": GatewayError(400, _error(_ALTERNATE, 400, "invalid_message")),
}
NO_STREAM = {
    "OpenAI": GatewayError(400, {"error": {
        "message": "Your organization must be verified to stream this model. Please go to: "
        "https://platform.openai.com/settings/organization/general and click on Verify.",
        "type": "invalid_request_error", "param": "stream", "code": "unsupported_value"}}),
    "OpenAI, o1": GatewayError(400, _error(
        "Unsupported value: 'stream' does not support true with this model. Only the default "
        "(false) value is supported.", "unsupported_value")),
    "model": GatewayError(400, _error("Streaming is not supported for this model")),
    "Bedrock": GatewayError(400, {"message":
                                  "This model doesn't support tool use in streaming mode."}),
    "llama.cpp": GatewayError(500, _error("Cannot use tools with stream", 500, "server_error")),
    "FastAPI": GatewayError(422, {"detail": [{
        "loc": ["body", "stream"], "msg": "Input should be False", "type": "literal_error"}]}),
    "422": GatewayError(422, {"detail": "Only non-streaming requests are supported"}),
    "501": GatewayError(501, "Streaming responses are not implemented"),
    "403": GatewayError(403, _error("You are not allowed to stream with this key", 403)),
    "404": GatewayError(404, _error("Please retry without streaming.", "stream_disabled")),
    "code": GatewayError(400, _error("No.", "streaming_not_supported")),
    "DashScope": GatewayError(400, _error("该模型不支持流式输出", "InvalidParameter")),
    "JSON in a 200": GatewayError(200, _error("Streaming is disabled for your account")),
    "event": GatewayError(200, _error("This deployment does not support streaming", 400),
                          is_event=True),
    "event without a status": GatewayError(200, _error("stream must be set to false"),
                                           is_event=True),
}  # fmt: skip
STRICT = {
    "mixed": GatewayError(400, {
        "message": "Tools with mixed values for 'strict' are not allowed. Please set all tools to "
        "'strict: true' or 'strict: false'", "type": "invalid_request_error", "param": "tools",
        "code": "wrong_api_format"}),
    "none": GatewayError(400, {"message": "Tools with strict=True are not supported by this model",
                               "code": "wrong_api_format"}),
    "unknown": GatewayError(422, _detail("body", "tools", 0, "function", "strict")),
    "unknown name": GatewayError(400, [{"error": {"code": 400, "message":
        "Unknown name \"strict\" at 'tools[0].function': Cannot find field."}}]),
}  # fmt: skip
_FLAGGED = 'The chosen model requires moderation and your input was flagged for "x"'
_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management "
    "policy."
)
_IMPROPER = "Input data may contain inappropriate content."
POLICY = {
    "OpenRouter": GatewayError(403, _error(_FLAGGED, 403)),
    "Azure": GatewayError(400, _error(_FILTERED, "content_filter")),
    "Alibaba": GatewayError(400, _error(_IMPROPER, "data_inspection_failed")),
    "DeepSeek": GatewayError(400, _error("Content Exists Risk", "invalid_request_error")),
    "Zhipu": GatewayError(400, _error("系统检测到输入内容可能包含不安全或敏感内容", "1301")),
}
