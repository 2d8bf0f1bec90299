"""The tokens of a model's call, and what they cost by OpenAI's pricing page on `CHECKED`.

Sources: developers.openai.com/api/docs/pricing and the page of each model. Prices change: the
date stands here so that an operator can tell how old a number is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.messages import Usage

CHECKED = "2026-11-20"
CONTAINER = 0.03
"""US dollars of a code container with 1 GB for each 20 minutes of its life, by the same page.

Eligible ones are billed by the minute from five minutes on, so this is the most it can be.
"""
CONTAINER_SESSION = 1200.0
"""Seconds that this price is for."""
LONG = 272_000
"""Input tokens over which a whole request is priced as long (model pages of gpt-5.6 and gpt-6)."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens: input, input read from the cache, input written to it,
    output (reasoning is output). Beyond `LONG` input tokens, input and output are multiplied."""

    input: float
    cached: float
    written: float
    output: float
    long_input: float = 1.0
    long_output: float = 1.0


def _new(input: float, output: float) -> Price:
    """From gpt-5.6 on: a tenth for cached, 1.25 for written; long is 2 times in, 1.5 times out."""
    return Price(input, input / 10, input * 1.25, output, 2.0, 1.5)


def _old(input: float, cached: float, output: float) -> Price:
    """Before gpt-5.6 writing to the cache costs what input costs."""
    return Price(input, cached, input, output)


PRICES = {
    "gpt-6-luna": _new(0.10, 0.50),
    "gpt-6-sol": _new(2.00, 10.00),
    "gpt-6-astra": _new(10.00, 50.00),
    "gpt-5.6-luna": _new(0.20, 1.20),
    "gpt-5.6-terra": _new(2.00, 12.00),
    "gpt-5.6-sol": _new(4.00, 20.00),
    "gpt-5.5": _old(5.00, 0.50, 30.00),
    "gpt-5.4": _old(2.50, 0.25, 15.00),
    "gpt-5.4-mini": _old(0.75, 0.075, 4.50),
    "gpt-5": _old(1.25, 0.125, 10.00),
    "gpt-5-mini": _old(0.25, 0.025, 2.00),
    "gpt-5-nano": _old(0.05, 0.005, 0.40),
    "gpt-4.1": _old(2.00, 0.50, 8.00),
    "gpt-4.1-mini": _old(0.40, 0.10, 1.60),
    "gpt-4o": _old(2.50, 1.25, 10.00),
    "gpt-4o-mini": _old(0.15, 0.075, 0.60),
    "o3": _old(2.00, 0.50, 8.00),
}


def price_of(model: str) -> Price | None:
    """By name, also with the date of a snapshot (`gpt-6-luna-2026-09-22`). None: unknown."""
    return PRICES.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))


def cost(model: str, *, input: int, cached: int, written: int, output: int) -> float | None:
    """US dollars for one call; `cached` and `written` are parts of `input`. None: unknown."""
    price = price_of(model)
    if price is None:
        return None
    long = input > LONG
    plain = max(0, input - cached - written)
    heard = plain * price.input + cached * price.cached + written * price.written
    heard *= price.long_input if long else 1.0
    said = output * price.output * (price.long_output if long else 1.0)
    return (heard + said) / 1_000_000


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
