"""The tokens of one call of a model, as its server counted them, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.messages import Usage
from core.prices import cost


def usage_of(response: Mapping[str, Any]) -> Usage:
    """Tokens as the server counted them; both dialects' names are understood."""
    usage = response.get("usage")
    if not usage:
        return Usage()
    heard = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
    spoken = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
    input = int(usage.get("input_tokens") or usage.get("prompt_tokens") or 0)
    output = int(usage.get("output_tokens") or usage.get("completion_tokens") or 0)
    cached = int(heard.get("cached_tokens") or 0)
    written = int(heard.get("cache_write_tokens") or 0)
    return Usage(
        input=input,
        cached=cached,
        output=output,
        reasoning=int(spoken.get("reasoning_tokens") or 0),
        cost=cost(
            str(response.get("model", "")),
            input=input,
            cached=cached,
            written=written,
            output=output,
        ),
    )
