"""The tokens of a model's call, and what they cost by OpenAI's pricing page on `CHECKED`.

Sources: developers.openai.com/api/docs/pricing and the page of each model. Prices change: the
date stands here so that an operator can tell how old a number is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.domain.messages import Usage

PRICES_CHECKED_ON = "2026-11-20"
CONTAINER_SESSION_DOLLARS = 0.03
"""US dollars of a code container with 1 GB for each 20 minutes of its life, by the same page.

Eligible ones are billed by the minute from five minutes on, so this is the most it can be.
"""
CONTAINER_SESSION_SECONDS = 1200.0
"""Seconds that this price is for."""
NANODOLLARS_PER_DOLLAR = 10**9
"""Money is counted in billionths of a dollar, so that sums are exact."""
CONTEXT_WINDOW_TOKENS = {"gpt-6-luna": 922_000}
"""Input tokens that a model takes at most, by its page on `CHECKED`."""
MAX_PICTURE_TOKENS = 50_000
"""Tokens that a picture counts at most: gpt-4o-mini's 2,833 and 5,667 for each of 8 tiles (guide
"Images and vision"); newer models count a tenth of it."""
MAX_PLAUSIBLE_TOKENS = 10**7
"""Tokens of a request or an answer: a server that counts more is wrong. The largest windows of
models take a million, one takes ten (Llama 4 Scout, its model card)."""
LONG_REQUEST_TOKENS = 272_000
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

    def max_cost(self, input: int, output: int) -> int:
        """Billionths of a dollar that so many tokens cost at most, whatever the cache does."""
        heard = input * max(self.input, self.cached, self.written) * self._long_factors(input)[0]
        said = output * self.output * self._long_factors(input)[1]
        return math.ceil(round((heard + said) * NANODOLLARS_PER_DOLLAR / 1_000_000, 6))

    def affordable_output(self, money: int, input: int) -> int:
        """Output tokens that `money` (billionths of a dollar) surely pays for after that input."""
        each = self.output * self._long_factors(input)[1] * NANODOLLARS_PER_DOLLAR / 1_000_000
        left = money - self.max_cost(input, 0) - 1
        return 10**9 if each <= 0 else max(0, math.floor(left / each))

    def _long_factors(self, input: int) -> tuple[float, float]:
        return (self.long_input, self.long_output) if input > LONG_REQUEST_TOKENS else (1.0, 1.0)


def _price_since_gpt_5_6(input: float, output: float) -> Price:
    """From gpt-5.6 on: a tenth for cached, 1.25 for written; long is 2 times in, 1.5 times out."""
    return Price(input, input / 10, input * 1.25, output, 2.0, 1.5)


def _price_before_gpt_5_6(input: float, cached: float, output: float) -> Price:
    """Before gpt-5.6 writing to the cache costs what input costs."""
    return Price(input, cached, input, output)


PRICES = {
    "gpt-6-luna": _price_since_gpt_5_6(0.10, 0.50),
    "gpt-6-sol": _price_since_gpt_5_6(2.00, 10.00),
    "gpt-6-astra": _price_since_gpt_5_6(10.00, 50.00),
    "gpt-5.6-luna": _price_since_gpt_5_6(0.20, 1.20),
    "gpt-5.6-terra": _price_since_gpt_5_6(2.00, 12.00),
    "gpt-5.6-sol": _price_since_gpt_5_6(4.00, 20.00),
    "gpt-5.5": _price_before_gpt_5_6(5.00, 0.50, 30.00),
    "gpt-5.4": _price_before_gpt_5_6(2.50, 0.25, 15.00),
    "gpt-5.4-mini": _price_before_gpt_5_6(0.75, 0.075, 4.50),
    "gpt-5": _price_before_gpt_5_6(1.25, 0.125, 10.00),
    "gpt-5-mini": _price_before_gpt_5_6(0.25, 0.025, 2.00),
    "gpt-5-nano": _price_before_gpt_5_6(0.05, 0.005, 0.40),
    "gpt-4.1": _price_before_gpt_5_6(2.00, 0.50, 8.00),
    "gpt-4.1-mini": _price_before_gpt_5_6(0.40, 0.10, 1.60),
    "gpt-4o": _price_before_gpt_5_6(2.50, 1.25, 10.00),
    "gpt-4o-mini": _price_before_gpt_5_6(0.15, 0.075, 0.60),
    "o3": _price_before_gpt_5_6(2.00, 0.50, 8.00),
}


PaidRunKind = Literal["container", "quick_commands", "agents"]
"""What costs by the run and not by tokens, as ponte.toml calls it."""
ANY_NAME = "*"


@dataclass(frozen=True, slots=True)
class PaidRun:
    """One run of something that has a price: of a quick command or an agent, by its name; with a
    model's tokens beside it, at most, where it asks one."""

    kind: PaidRunKind
    name: str = ""
    model: str = ""
    input: int = 0
    output: int = 0

    @property
    def report_name(self) -> str:
        """As reports name it."""
        kind = {"quick_commands": "quick-command", "agents": "agent"}.get(self.kind, self.kind)
        return f"{kind} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost in US dollars.

    `models` are the operator's own, by name, and hold on any server; `PRICES` hold where the
    server is OpenAI's (`official`). `commands` and `agents` have a price a run by name, `ANY` for
    all others.
    """

    models: Mapping[str, Price] = field(default_factory=dict)
    container: float | None = None
    """The operator's own; None: OpenAI's where the server is OpenAI's, else unknown."""
    commands: Mapping[str, float] = field(default_factory=dict)
    agents: Mapping[str, float] = field(default_factory=dict)
    official: bool = True

    @property
    def container_session(self) -> float | None:
        """US dollars of one session of a code container. None: unknown."""
        own = self.container
        return own if own is not None else CONTAINER_SESSION_DOLLARS if self.official else None

    def find(self, model: str) -> Price | None:
        """By name, also with the date of a snapshot (`gpt-6-luna-2026-09-22`). None: unknown."""
        for name in (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)):
            if price := self.models.get(name) or (PRICES.get(name) if self.official else None):
                return price
        return None

    def highest_cost(self, models: Iterable[str], usage: Usage) -> float | None:
        """US dollars for one call at the dearest of these models: the one that was asked for, and
        the one under whose name the server answers. None where no price is known."""
        costs = (self.cost(model, usage) for model in models)
        return max((cost for cost in costs if cost is not None), default=None)

    def cost(self, model: str, usage: Usage) -> float | None:
        """US dollars for one call. None: unknown."""
        price = self.find(model)
        if price is None:
            return None
        long = usage.input > LONG_REQUEST_TOKENS
        plain = max(0, usage.input - usage.cached - usage.written)
        heard = plain * price.input + usage.cached * price.cached + usage.written * price.written
        heard *= price.long_input if long else 1.0
        said = usage.output * price.output * (price.long_output if long else 1.0)
        return (heard + said) / 1_000_000

    def run_cost(self, paid: PaidRun) -> float | None:
        """US dollars for one run. None: unknown."""
        if paid.kind == "container":
            return self.container_session
        listed = self.commands if paid.kind == "quick_commands" else self.agents
        return listed.get(paid.name, listed.get(ANY_NAME))


def context_window(model: str) -> int | None:
    """Input tokens that it takes at most. None: not known."""
    return CONTEXT_WINDOW_TOKENS.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))


def parse_usage(response: Mapping[str, Any]) -> Usage:
    """Read the tokens of a response as the server counted them, in the names of either API.

    `estimated` and without counts where there are none, or such as cannot be."""
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return Usage(estimated=True)
    heard = _find_details(usage, "input_tokens_details", "prompt_tokens_details")
    spoken = _find_details(usage, "output_tokens_details", "completion_tokens_details")
    counted = {
        "input": _first_present(usage, "input_tokens", "prompt_tokens"),
        "output": _first_present(usage, "output_tokens", "completion_tokens"),
        "cached": heard.get("cached_tokens") or 0,
        "written": heard.get("cache_write_tokens") or 0,
        "reasoning": spoken.get("reasoning_tokens") or 0,
    }
    if not all(
        type(count) is int and 0 <= count <= MAX_PLAUSIBLE_TOKENS for count in counted.values()
    ):
        return Usage(estimated=True)
    read = Usage(**counted)
    possible = read.input > 0 and max(read.cached, read.written) <= read.input
    return read if possible else Usage(estimated=True)


def _first_present(usage: Mapping[str, Any], *names: str) -> Any:
    return next((usage[name] for name in names if usage.get(name) is not None), None)


def _find_details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found = _first_present(usage, *names)
    return found if isinstance(found, Mapping) else {}
