"""Token counts of model calls, and their prices from OpenAI's pricing page on `PRICES_CHECKED_ON`.

Sources: developers.openai.com/api/docs/pricing and the page of each model. The date shows an
operator how old a number is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from core.domain.messages import Usage

PRICES_CHECKED_ON = "2026-11-20"
CONTAINER_SESSION_DOLLARS = 0.03
"""US dollars for a code container with 1 GB, for each 20 minutes of its life.

Source: OpenAI's pricing page. Eligible containers are billed by the minute from five minutes on, so
this is an upper bound.
"""
CONTAINER_SESSION_SECONDS = 1200.0
MINUTE_DOLLARS = {
    "gpt-transcribe": 0.0045,
    "gpt-4o-transcribe": 0.006,
    "gpt-4o-mini-transcribe": 0.003,
    "whisper-1": 0.006,
}
NANODOLLARS_PER_DOLLAR = 10**9
"""Money is counted in billionths of a dollar, so that sums are exact."""
CONTEXT_WINDOW_TOKENS = {"gpt-6-luna": 922_000}
"""A model's maximum of input tokens, from its page on `PRICES_CHECKED_ON`."""
MAX_PICTURE_TOKENS = 50_000
"""An upper bound of the tokens of a picture.

gpt-4o-mini counts 2,833, and 5,667 for each of 8 tiles (guide "Images and vision"). Newer models
count a tenth of that.
"""
MAX_PLAUSIBLE_TOKENS = 10**7
"""The largest plausible token count of a request or an answer; a larger count is a server's error.

The largest windows of models take a million tokens; one takes ten million (Llama 4 Scout, its model
card).
"""
MAX_PLAUSIBLE_DOLLARS = 1_000.0
"""The largest plausible cost of one answer that a server names: ten million tokens of the dearest
model."""
_NUMBER = re.compile(r"\d{1,20}(\.\d{1,20})?(e-?\d{1,2})?", re.ASCII | re.IGNORECASE)
LONG_REQUEST_TOKENS = 272_000
"""Input tokens above which the whole request costs the long-request price.

Source: model pages of gpt-5.6 and gpt-6.
"""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens: input, cached input, input written to the cache, and output.

    Above `LONG_REQUEST_TOKENS` of input, input is multiplied by `long_input` and output by
    `long_output`.
    """

    input: float
    cached: float
    written: float
    output: float
    long_input: float = 1.0
    long_output: float = 1.0

    def max_cost(self, input: int, output: int) -> int:
        """The cost is in billionths of a dollar. The most expensive kind of input counts, because
        nobody knows before the call which part of the input the server's cache has."""
        # Some models cost more for each token if the input is very long.
        input_factor, output_factor = self.long_factors(input)
        input_cost = input * max(self.input, self.cached, self.written) * input_factor
        output_cost = output * self.output * output_factor
        # Prices are for a million tokens. `round` removes the error of floating point, which
        # `ceil` would turn into one billionth more.
        return math.ceil(round((input_cost + output_cost) * NANODOLLARS_PER_DOLLAR / 1_000_000, 6))

    def affordable_output(self, money: int, input: int) -> int:
        """Return the output tokens that `money`, in billionths of a dollar, surely pays for after
        `input`."""
        token_price = self.output * self.long_factors(input)[1] * NANODOLLARS_PER_DOLLAR / 1_000_000
        # `max_cost` rounds up, so one billionth of a dollar stays unspent.
        remaining = money - self.max_cost(input, 0) - 1
        # Where output costs nothing, any amount is affordable.
        return 10**9 if token_price <= 0 else max(0, math.floor(remaining / token_price))

    def long_factors(self, input: int) -> tuple[float, float]:
        return (self.long_input, self.long_output) if input > LONG_REQUEST_TOKENS else (1.0, 1.0)


def _price_since_gpt_5_6(input: float, output: float) -> Price:
    return Price(input, input / 10, input * 1.25, output, 2.0, 1.5)


def _price_before_gpt_5_6(input: float, cached: float, output: float) -> Price:
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


PaidRunKind = Literal["container", "quick_commands", "agents", "mcp", "transcription"]
"""Runs with a price of their own, as ponte.toml names them."""
ANY_NAME = "*"


@dataclass(frozen=True, slots=True)
class PaidRun:
    """One run of something with a price: a container, a quick command, an agent, an MCP tool or a
    transcription.

    `name` is the name of the command, agent or tool, or of the model that transcribes `seconds` of
    speech. If the run calls a model that answers, `model`, `input` and `output` are its name and
    its maximum of tokens.
    """

    kind: PaidRunKind
    name: str = ""
    model: str = ""
    input: int = 0
    output: int = 0
    seconds: float = 0.0
    official: bool | None = None
    """Its server is OpenAI's. None: the server of the model that answers."""

    @property
    def report_name(self) -> str:
        kind = {"quick_commands": "quick-command", "agents": "agent"}.get(self.kind, self.kind)
        return f"{kind} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices in US dollars.

    `models` are the operator's prices by model, valid on any server. `PRICES` apply only if the
    server is OpenAI's (`official`). `commands`, `agents` and `mcp` have a price per run by name;
    `ANY_NAME` applies to all others.
    """

    models: Mapping[str, Price] = field(default_factory=dict)
    container: float | None = None
    """The operator's price of a container session.

    None: OpenAI's price on OpenAI's server, else unknown.
    """
    commands: Mapping[str, float] = field(default_factory=dict)
    agents: Mapping[str, float] = field(default_factory=dict)
    official: bool = True
    mcp: Mapping[str, float] = field(default_factory=dict)
    transcription: float | None = None

    @property
    def container_session(self) -> float | None:
        """None: unknown."""
        price = self.container
        return price if price is not None else CONTAINER_SESSION_DOLLARS if self.official else None

    def find(self, model: str) -> Price | None:
        """None: unknown.

        The date of a snapshot (`gpt-6-luna-2026-09-22`) is ignored if the full name has no price.
        """
        for name in (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)):
            if price := self.models.get(name) or (PRICES.get(name) if self.official else None):
                return price
        return None

    def highest_cost(self, models: Iterable[str], usage: Usage) -> float | None:
        """The models are the one that was requested and the one that the server names in its
        answer. None: no price is known."""
        costs = [cost for model in models if (cost := self.cost(model, usage)) is not None]
        return max(costs, default=None)

    def cost(self, model: str, usage: Usage) -> float | None:
        """Return the cost of one call in US dollars. None: unknown.

        Input that the server read from its cache or wrote to it has prices of its own. Some models
        cost more for each token if the input is very long (`long_factors`).
        """
        price = self.find(model)
        if price is None:
            return None
        input_factor, output_factor = price.long_factors(usage.input)
        # `usage.input` includes both parts. `max`: the counts of a server may contradict.
        plain = max(0, usage.input - usage.cached - usage.cache_writes)
        input_cost = (
            plain * price.input + usage.cached * price.cached + usage.cache_writes * price.written
        )
        return (input_cost * input_factor + usage.output * price.output * output_factor) / 1_000_000

    def of_server(self, paid: PaidRun) -> Prices:
        return self if paid.official is None else replace(self, official=paid.official)

    def run_cost(self, paid: PaidRun) -> float | None:
        """Return the cost of one run in US dollars, without its model call. None: unknown.

        The operator's price comes first. OpenAI's list applies only if the server is OpenAI's
        (`official`). A transcription costs its minutes, and `paid.name` is its model. A container
        costs one session. Any other run has the price of its name, or else that of `ANY_NAME`.
        """
        if paid.kind == "container":
            return self.of_server(paid).container_session
        if paid.kind == "transcription":
            official = self.of_server(paid).official
            listed_price = MINUTE_DOLLARS.get(paid.name) if official else None
            minute = listed_price if self.transcription is None else self.transcription
            return None if minute is None else minute * paid.seconds / 60
        tables = {"quick_commands": self.commands, "agents": self.agents, "mcp": self.mcp}
        listed = tables[paid.kind]
        return listed.get(paid.name, listed.get(ANY_NAME))


def context_window(model: str) -> int | None:
    return CONTEXT_WINDOW_TOKENS.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))


CACHE_READS = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
"""Fields with the input from the server's cache (OpenAI and Moonshot, DeepSeek, Anthropic)."""
CACHE_WRITES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


def parse_usage(response: Mapping[str, Any]) -> Usage:
    """Servers with OpenAI's API name and add up their counts in different ways, so each count is
    judged for itself, and the dearer reading counts. Without a plausible count of input or of
    output, `is_estimated` is set, and that count is 0. `cost` is what the server says that it
    charges, None if it says nothing."""
    usage = _find_details(response, "usage")
    input = _find_count(usage, "input_tokens", "prompt_tokens")
    output = _find_count(usage, "output_tokens", "completion_tokens")
    details = _find_details(usage, "input_tokens_details", "prompt_tokens_details")
    cached = _find_largest((usage, details), *CACHE_READS)
    cache_writes = _find_largest((usage, details), *CACHE_WRITES)
    spoken = _find_details(usage, "output_tokens_details", "completion_tokens_details")
    # Most servers count reasoning among the details, some beside them.
    reasoning = _find_count({**usage, **spoken}, "reasoning_tokens") or 0
    total = _find_count(usage, "total_tokens") or 0  # 0: not told
    if output and reasoning > output:  # it is not part of the output (xAI)
        output += reasoning
    if input is None:  # DeepSeek names both parts of it, and gateways drop the sum
        misses = _find_count(usage, "prompt_cache_miss_tokens")
        input = None if misses is None else misses + cached
    # By OpenAI's API, `input` includes the cached tokens. Some servers count them beside it: then
    # the total, if there is one, has room for them beside input and output.
    from_cache, known = cached + cache_writes, input or 0
    is_counted = not total or total - known - (output or 0) >= from_cache
    if CACHE_READS[-1] in usage or CACHE_WRITES[-1] in usage:
        # Anthropic's fields, which gateways pass on, count what its input lacks. LiteLLM adds them
        # to the input, as its total or its details show.
        is_included = not total and _find_largest([details], *CACHE_READS) > 0
        lacks_cache = (is_counted and not is_included) or from_cache > known
    else:
        # More cached tokens than input: believed if a total confirms it, or if the count stands
        # beside the input. In the details it would be a part of the input, so it is an error.
        lacks_cache = (
            cached > known and is_counted and bool(total or _find_count(usage, *CACHE_READS))
        )
    if input is not None and lacks_cache:
        input += from_cache
    if input:
        # Some servers count thoughts in the total alone (xAI, Gemini, Mistral). `or output` keeps
        # None, an output that the server did not count, apart from 0.
        output = max(output or 0, total - input) or output
    elif output is not None and total > output:  # the server did not count the input itself
        input = total - output
    # The cost in US dollars that a server names: OpenRouter and Vercel as `cost`, Perplexity as
    # `cost.total_cost`, DeepInfra as `estimated_cost`.
    nested = _find_details(usage, "cost")
    named = [usage.get(name) for name in ("cost", "total_cost", "estimated_cost", "cost_usd")]
    costs = [_as_number(cost) for cost in [*named, nested.get("total_cost"), nested.get("total")]]
    if usage.get("is_byok") is True:
        # With one's own key of a model's maker, OpenRouter names only its fee as `cost`, the first
        # of the list, and beside it what that maker charges.
        upstream = _find_details(usage, "cost_details").get("upstream_inference_cost")
        costs = [(cost or 0.0) + (_as_number(upstream) or 0.0) for cost in costs[:1]]
    plausible_costs = (cost for cost in costs if cost is not None and cost <= MAX_PLAUSIBLE_DOLLARS)
    return Usage(
        input or 0,
        # An impossible count of cached tokens would make the input cheaper.
        cached=cached if cached <= (input or 0) else 0,
        output=output or 0,
        reasoning=min(reasoning, output or 0),
        cache_writes=min(cache_writes, input or 0),
        cost=max(plausible_costs, default=None),
        # No call is without input, so 0 means that the server did not count it.
        is_estimated=not input or output is None,
    )


def _find_largest(places: Iterable[Mapping[str, Any]], *names: str) -> int:
    return max(_find_count(place, *names) or 0 for place in places)


def _find_count(counts: Mapping[str, Any], *names: str) -> int | None:
    numbers = (_as_number(counts[name]) for name in names if name in counts)
    whole = (n for n in numbers if n is not None and n <= MAX_PLAUSIBLE_TOKENS and n == int(n))
    return max((int(number) for number in whole), default=None)


def _as_number(value: object) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < math.inf else None


def _find_details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    details = next((usage[name] for name in names if usage.get(name) is not None), None)
    return details if isinstance(details, Mapping) else {}
