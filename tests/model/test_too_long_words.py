"""How servers say that a request is too long, and which size they name (from their sources and from
public reports)."""

from __future__ import annotations

import pytest

from core.base.errors import TooLong
from core.base.model_faults import ModelServerFault
from core.models.context_size import told_size
from core.models.model_server import ModelOptions, explain_fault, is_too_long

WORDS = [
    (400, "This model's maximum context length is 128000 tokens. However, your "
     "messages resulted in 140000 tokens.", 128000),
    (400, "Your input exceeds the context window of this model. Please adjust your "
     "input and try again.", 0),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length "
     "of 4096. Make sure that `max_model_len` is no smaller than the number of "
     "text tokens plus multimodal tokens.", 4096),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's "
     "maximum context length is 8192 tokens and your request has 1000 input "
     "tokens (16384 > 8192 - 1000).", 8192),
    (400, "You passed 4097 input tokens and requested 0 output tokens. However, the "
     "model's context length is only 4096 tokens, resulting in a maximum input "
     "length of 4096 tokens.", 4096),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 "
     "tokens).", 4096),
    (400, "Requested token count exceeds the model's maximum context length of 4096 "
     "tokens. You requested a total of 5000 tokens", 4096),
    (422, "Input validation error: `inputs` must have less than 4096 tokens. Given: "
     "5000", 4096),
    (400, "The number of tokens to keep from the initial prompt is greater than the "
     "context length (n_keep: 5000>= n_ctx: 4096). Try to load the model with a "
     "larger context length", 4096),
    (400, "Reached context length of 4096 tokens with model (arch: llama) that does "
     "not currently support mid-generation context overflow.", 4096),
    (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > "
     "200000, decrease input length or `max_tokens` and try again", 190000),
    (400, "prompt is too long: 213462 tokens > 200000 maximum", 200000),
    (400, "The input token count (1196265) exceeds the maximum number of tokens "
     "allowed (1048575).", 1048575),
    (400, "Please reduce the length of the messages or completion.", 0),
    (400, "Please reduce the length of the messages or completion. Current length is "
     "9000 while limit is 8192", 8192),
    (400, "This model's maximum prompt length is 131072 but the request contains "
     "537812 tokens.", 131072),
    (400, "Invalid request: Your request exceeded model token limit: 8192 "
     "(requested: 9000)", 8192),
    (400, "Range of input length should be [1, 30720]", 30720),
    (400, "Prompt exceeds max length", 0),
    (400, "invalid params, context window exceeds limit (2013)", 0),
    (400, "Input is too long for requested model.", 0),
    (400, "The prompt is too long: 9000, model maximum context length: 8192", 8192),
    (400, "prompt token count of 130000 exceeds the limit of 128000", 128000),
    (413, "Request body too large for gpt-4o model. Max size: 8000 tokens.", 8000),
    (400, "too many tokens: size limit exceeded by 100 tokens. Try using shorter or "
     "fewer inputs. The limit for this model is 4096 tokens.", 4096),
    (400, "prompt too long; exceeded max context length by 500 tokens", 0),
    (400, "the input length exceeds the context length", 0),
    (400, "Number of prompt tokens: 5000 exceeds model max length: 4096", 4096),
    (400, "The sum of prompt length (5000.0), query length (0) and max_tokens (100) "
     "should not exceed max_num_tokens (8192)", 8192),
    (500, "Context size has been exceeded.", 0),
    (400, "Prompt length 5000 is greater than max_seq_len 4096", 4096),
    (400, "litellm.ContextWindowExceededError: something", 0),
    (400, "input_ids size (5000) exceeds max length (4096)", 4096),
    (400, "This endpoint's maximum context length is 4096 tokens. However, you "
     "requested about 5000 tokens (4000 of text input, 1000 in the output).", 4096),
    (400, "input is too large to process. increase the physical batch size", 0),
    (500, "input (5000 tokens) is too large to process. increase the physical batch "
     "size (current batch size: 2048)", 0),
    (400, "The input or output tokens must be less than 4096", 4096),
    (400, "max_tokens must be at least 1, got -904.", 0),
    (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages "
     "resulted in 300000 tokens.", 272000),
    (400, "token limit exceeded", 0),
    (400, "Input length 9000 exceeds the maximum allowed token length 8192", 8192),
    (400, "This model's max sequence length is 4096 tokens, got 5000", 4096),
    (400, "too many total text bytes: 40000", 0),
    (400, "Total tokens of image and text exceed max message tokens", 0),
    (400, "prompt length exceeds model's max length", 0),
    (400, "The number of tokens in your prompt (5000) exceeds the 4096 limit", 0),
    (400, "Tokens in prompt exceeds max of 8192", 8192),
    (500, "Input prompt (9000 tokens) is too long and exceeds limit of 8192", 8192),
    (400, "Message too long", 0),
    (400, "request too large", 0),
    (413, "Payload Too Large", 0),
    (400, "上下文长度超过限制", 0),
]  # fmt: skip
"""HTTP status, text, and the size in it; 0 if it names none."""
CODES = [
    "context_length_exceeded",
    "string_above_max_length",
    "tokens_limit_reached",
    "too_many_prompt_tokens",
    "model_max_prompt_tokens_exceeded",
    "exceed_context_size_error",
    "request_too_large",
    "context_window_exceeded",
    "ContextWindowExceededError",
    "input_too_long",
    "prompt_too_long",
]
OTHERS = [
    "Rate limit reached for tokens per minute",
    "You exceeded your current quota",
    "max_tokens must be less than 100",
    "Invalid value for temperature",
    "Unsupported parameter: context_management",
    "The conversation is locked",
]


def fault_of(message: str, status: int = 400, code: str = "") -> ModelServerFault:
    return ModelServerFault(
        "refused", status=status, body={"error": {"message": message, "code": code}}
    )


@pytest.mark.parametrize(("status", "message", "size"), WORDS)
def test_words(status: int, message: str, size: int) -> None:
    fault = fault_of(message, status)
    assert type(explain_fault(fault, ModelOptions())) is TooLong
    assert told_size(fault, 10**9) == size
    assert told_size(fault, 100) == 0, "a request that was smaller was refused for another reason"


@pytest.mark.parametrize("code", CODES)
def test_codes(code: str) -> None:
    assert is_too_long(fault_of("no", code=code))


@pytest.mark.parametrize("message", OTHERS)
def test_other_errors(message: str) -> None:
    assert not is_too_long(fault_of(message))
