"""Allowances: limits on turns, tokens and money for a person, place or group in a period.

Money is counted in billionths of a US dollar (`core.money.usage.NANODOLLARS_PER_DOLLAR`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Literal, Protocol

from core.base.errors import OverBudget
from core.base.i18n import format_moment, format_money, plural, say
from core.money.usage import MAX_PICTURE_TOKENS, NANODOLLARS_PER_DOLLAR, Price, Prices

CountedBy = Literal[
    "each person", "each channel", "each workspace", "each schedule", "together", "everybody"
]
"""Which usage an allowance adds up: one counter for each person, channel, workspace or group.

"each schedule" counts runs of schedules only. "together" is one counter for the people of `who`;
"everybody" is one for all people.
"""
PeriodLength = Literal["day", "month"]
Unit = Literal["turns", "tokens", "money"]
UNITS: tuple[Unit, ...] = ("turns", "tokens", "money")
MIN_OUTPUT_TOKENS = 1_000
"""Minimum of output tokens for a model call. Ponte makes no call if an allowance has less left."""
MAX_OUTPUT_TOKENS = 16_000
NEARLY_USED_SHARE = 0.8
"""The used share of an allowance at which the person gets a notice, once in a period."""
MAX_DOCUMENT_TOKENS = 1_000_000
"""Tokens that are reserved for a PDF: no model takes more in one request."""
MAX_TEXT_FILE_BYTES = 400_000
_MESSAGE_OVERHEAD_TOKENS, _ITEM_OVERHEAD_TOKENS = 500, 50
"""Tokens added to a user message (for its date, name and language), and to any other item."""
MIN_TURNS_FOR_NOTICE = 5
DAILY_TURNS_SETTING = "PONTE_DAILY_TURNS"

LEFT = {
    "each person": "Your limit is {limit}. What is left ({left}) isn't enough.",
    "each channel": ("This channel's limit is {limit}. What is left ({left}) isn't enough."),
    "each workspace": ("This workspace's limit is {limit}. What is left ({left}) isn't enough."),
    "each schedule": ("This schedule's limit is {limit}. What is left ({left}) isn't enough."),
    "together": ("Your group's limit is {limit}. What is left ({left}) isn't enough."),
    "everybody": ("The shared limit is {limit}. What is left ({left}) isn't enough."),
}
"""`ANEW` follows it."""
REACHED = {
    "each person": "You've reached your limit of {limit}.",
    "each channel": "This channel has reached its limit of {limit}.",
    "each workspace": "This workspace has reached its limit of {limit}.",
    "each schedule": "This schedule has reached its limit of {limit}.",
    "together": "Your group has reached its limit of {limit}.",
    "everybody": "The shared limit of {limit} has been reached.",
}
"""`ANEW` follows it."""
ANEW = "The limit resets on {when}. The person who runs Ponte can raise it."
NEARLY = {
    "each person": "You have used {used} of your limit of {limit}. The limit resets on {when}.",
    "each channel": (
        "This channel has used {used} of its limit of {limit}. The limit resets on {when}."
    ),
    "each workspace": (
        "This workspace has used {used} of its limit of {limit}. The limit resets on {when}."
    ),
    "each schedule": (
        "This schedule has used {used} of its limit of {limit}. The limit resets on {when}."
    ),
    "together": ("Your group has used {used} of its limit of {limit}. The limit resets on {when}."),
    "everybody": (
        "Everyone together has used {used} of the shared limit of {limit}. The limit resets on "
        "{when}."
    ),
}
STANDING = {
    "each person": "you, {limit}: {left} left until {when}",
    "each channel": "this channel, {limit}: {left} left until {when}",
    "each workspace": "this workspace, {limit}: {left} left until {when}",
    "each schedule": "this schedule, {limit}: {left} left until {when}",
    "together": "your group, {limit}: {left} left until {when}",
    "everybody": "everyone in total, {limit}: {left} left until {when}",
}
A_DAY, A_MONTH = "{what} a day", "{what} a month"


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount of usage: turns, tokens (input and output), and billionths of a US dollar."""

    turns: int = 0
    tokens: int = 0
    money: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.turns + other.turns, self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Spend) -> Spend:
        return self + Spend(-other.turns, -other.tokens, -other.money)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A limit on what people may use, from ponte.toml or PONTE_DAILY_TURNS.

    `of` says which usage is counted together, `per` the period after which the count starts again.
    `source` describes where the limit is written. Empty `who` and `where` match everybody and every
    place. A limit of None means no limit. `name` is the key of the count for an allowance that is
    not from ponte.toml; for others it is "", and a hash of their fields is the key.
    """

    of: CountedBy
    per: PeriodLength = "day"
    money: int | None = None
    tokens: int | None = None
    turns: int | None = None
    who: frozenset[str] = frozenset()
    where: frozenset[str] = frozenset()
    source: str = "ponte.toml"
    name: str = ""

    @property
    def key(self) -> str:
        """A stable key of what the allowance counts. It does not depend on the amounts: after a
        change of a limit, the same count continues."""
        units = [unit for unit, _ in self.limits()]
        about = [self.of, self.per, sorted(self.who), sorted(self.where), units]
        return self.name or hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]

    @property
    def bounds_calls(self) -> bool:
        return self.money is not None or self.tokens is not None

    def merge_stricter(self, other: Allowance) -> Allowance:
        """Return the lower limit of each unit. Both allowances count the same thing and so limit
        the same units."""
        lower = {unit: min(limit, getattr(other, unit)) for unit, limit in self.limits()}
        # The message about a reached limit names the allowance that set it.
        source = other.source if lower == dict(other.limits()) else self.source
        return replace(self, source=source, **lower)

    def limits(self) -> Iterator[tuple[Unit, int]]:
        for unit in UNITS:
            if (limit := getattr(self, unit)) is not None:
                yield unit, limit

    def exceeded_unit(self, spent: Spend) -> Unit | None:
        return next((unit for unit, limit in self.limits() if getattr(spent, unit) > limit), None)

    def nearly_used_unit(self, spent: Spend) -> Unit | None:
        """Limits of fewer than `MIN_TURNS_FOR_NOTICE` turns are skipped: they reach that share only
        with their last turn."""
        for unit, limit in self.limits():
            few = unit == "turns" and limit < MIN_TURNS_FOR_NOTICE
            if getattr(spent, unit) >= limit * NEARLY_USED_SHARE and not few:
                return unit
        return None

    def describe_limit(self, unit: Unit) -> str:
        """Return the limit with its period, as in `$5.00 a day`."""
        sentence = A_DAY if self.per == "day" else A_MONTH
        return say(sentence, what=format_amount(unit, getattr(self, unit)))


class SpendingConfig(Protocol):
    """The prices and allowances of the configuration. A reload of ponte.toml can change them at any
    time, so callers read them anew for each turn."""

    @property
    def price_list(self) -> Prices: ...

    @property
    def turn_allowances(self) -> Sequence[Allowance]: ...


class DefaultSpending(SpendingConfig):
    """The configuration of an installation whose operator set no prices and no allowances."""

    price_list = Prices()
    turn_allowances = ()


DEFAULT_SPENDING = DefaultSpending()


@dataclass(frozen=True, slots=True)
class Scope:
    """One counter of an allowance: the allowance, applied to one person, place or group.

    `key` is the key of the counter's row in the table `counters`. `person` is the key of the
    person, if each person has a counter. `place` is the channel or workspace, if each of them has
    one. `counts_past_usage`: usage from before the counter existed counts too.
    """

    key: str
    allowance: Allowance
    person: str = ""
    place: str = ""
    counts_past_usage: bool = True

    def period_of(self, day: str) -> str:
        return day if self.allowance.per == "day" else day[:7]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call before it is made, with the data that bounds its cost.

    `number` is the round of the turn. `prompt_bytes` is the size of the instructions, tools and
    other input besides the thread. `request_bytes` is the size of the whole request, where it is
    known. `window` is the model's maximum of input tokens. `max_output` is the largest number of
    output tokens that is asked for. `has_thread`: the model gets the thread.
    """

    number: int
    model: str
    prompt_bytes: int = 0
    request_bytes: int = 0
    price: Price | None = None
    window: int | None = None
    max_output: int = MAX_OUTPUT_TOKENS
    has_thread: bool = True

    def max_input_tokens(self, thread: int) -> int:
        """The bound is one token for each byte, because no tokenizer makes more, capped by the
        model's `window`. `thread` is the bound for the items of the thread. The whole request
        counts, where its size is known, if it is larger than the prompt and the thread."""
        thread = thread if self.has_thread else 0
        most = max(self.prompt_bytes + thread, self.request_bytes)
        return min(most, self.window) if self.window else most

    def max_spend(self, input: int, output: int) -> Spend:
        return Spend(0, input + output, self.price.max_cost(input, output) if self.price else 0)

    def remaining_output_tokens(self, allowance: Allowance, spent: Spend, input: int) -> int:
        """The result is at most `max_output`. `spent` is the used part of the allowance. The result
        is negative if the input alone exceeds its limit of tokens, and 0 if it exceeds that of
        money. Without a known price, money does not limit."""
        tokens = self.max_output
        if allowance.tokens is not None:
            tokens = min(tokens, allowance.tokens - spent.tokens - input)
        if allowance.money is not None and self.price:
            tokens = min(tokens, self.price.affordable_output(allowance.money - spent.money, input))
        return tokens


@dataclass(frozen=True, slots=True)
class AllowanceCount:
    """The used part of an allowance in one period (a day or a month), as the row of one counter has
    it. `notices` has the bits `PERSON_NOTICE` and `ADMIN_NOTICE` for notices already sent."""

    scope: Scope
    period: str
    spent: Spend
    notices: int = 0


PERSON_NOTICE, ADMIN_NOTICE = 1, 2


@dataclass(frozen=True, slots=True)
class Grant:
    """The reservation for one model call, stored as a row of the table `holds`.

    `part` names the call within its turn. `input` is the upper bound of its input tokens, `output`
    the maximum of output tokens that the model may write, and `bound` the usage that is reserved.
    `is_lowered`: `output` was reduced to what an allowance has left. `counts` are the counters
    after the reservation.
    """

    part: str
    input: int
    output: int
    bound: Spend
    is_lowered: bool = False
    counts: tuple[AllowanceCount, ...] = ()


class OverAllowance(OverBudget):
    """Raised when an allowance has too little left for a message or a call.

    `left` is the rest of the exceeded limit. `zone` is the asker's time zone, in which the message
    tells when the limit resets. `operators` is the time zone in which periods begin.
    """

    def __init__(
        self, count: AllowanceCount, unit: Unit, left: int, zone: tzinfo, operators: tzinfo
    ) -> None:
        # `count` is what is used, `left` the rest.
        allowance = count.scope.allowance
        super().__init__(limit=getattr(allowance, unit))  # for the placeholder in the sentence
        self.allowance = allowance
        self.unit = unit
        # The name of the limit in metrics.
        self.limit = (
            "daily_turns" if allowance.source == DAILY_TURNS_SETTING else f"allowance_{unit}"
        )
        # Periods end in the operators' zone; the message has the asker's.
        self.left = left
        self.resets = period_end(count.period, operators).astimezone(zone)

    def words(self) -> str:
        """Return the message for the person, with the time at which the next period begins.

        `LEFT` and `REACHED` have a sentence for each kind of count (`of`), such as "each person".
        `left` is negative if the limit was lowered after more had been used.
        """
        allowance, remaining = self.allowance, max(0, self.left)
        sentence = say(
            (LEFT if remaining else REACHED)[allowance.of],
            limit=allowance.describe_limit(self.unit),
            left=format_amount(self.unit, remaining),
        )
        # `where`: only the owner's form of the sentence names the place of the limit.
        return f"{sentence} {say(ANEW, when=format_moment(self.resets), where=allowance.source)}"


def format_amount(unit: Unit, count: int) -> str:
    """Return an amount in words, as in `$0.25`, `1,200 tokens` or `3 messages`."""
    if unit == "money":
        # Rounded down to a hundredth of a cent, so that no message promises more than is left.
        return format_money(math.floor(count / NANODOLLARS_PER_DOLLAR * 10_000) / 10_000)
    if unit == "tokens":
        return plural("{count} token", "{count} tokens", count)
    return plural("{count} message", "{count} messages", count)


def describe_nearly_used(count: AllowanceCount, unit: Unit, zone: tzinfo, operators: tzinfo) -> str:
    """Periods begin in the time zone `operators`; the time is written in the person's `zone`."""
    allowance = count.scope.allowance
    when = period_end(count.period, operators).astimezone(zone)
    used = format_amount(unit, getattr(count.spent, unit))
    limit = allowance.describe_limit(unit)
    return say(NEARLY[allowance.of], used=used, limit=limit, when=format_moment(when))


def describe_remaining(count: AllowanceCount, unit: Unit, zone: tzinfo, operators: tzinfo) -> str:
    """Periods end in the time zone `operators`; the time is written in the person's `zone`."""
    allowance = count.scope.allowance
    when = format_moment(period_end(count.period, operators).astimezone(zone))
    remaining = max(0, getattr(allowance, unit) - getattr(count.spent, unit))
    limit = allowance.describe_limit(unit)
    return say(STANDING[allowance.of], limit=limit, left=format_amount(unit, remaining), when=when)


COUNTED_WORDS = {
    "each person": "each person", "each channel": "each channel",
    "each workspace": "each workspace", "each schedule": "each schedule", "together": "a group",
    "everybody": "everyone in total",
}  # fmt: skip


def max_item_tokens(item: str) -> int:
    """Return an upper bound of the tokens of a transcript item, including its files.

    `item` is JSON, as it is stored. It is searched as text first, because most items have no files
    and need not be parsed. Its text counts one token for each byte, plus an overhead. A picture
    counts `MAX_PICTURE_TOKENS`. A PDF counts `MAX_DOCUMENT_TOKENS`, because its number of pages is
    not known. A text file counts its first `MAX_TEXT_FILE_BYTES` bytes, because the rest is not
    sent.
    """
    # A user message is sent with its date and its author's name and language, so it gets more.
    most = len(item.encode()) + (
        _MESSAGE_OVERHEAD_TOKENS if '"role":"user"' in item else _ITEM_OVERHEAD_TOKENS
    )
    files = json.loads(item).get("files", ()) if '"files"' in item else ()
    for file in files:
        kind = str(file.get("type", ""))
        if kind.startswith("image/"):
            most += MAX_PICTURE_TOKENS
        elif kind.startswith("application/pdf"):
            most += MAX_DOCUMENT_TOKENS
        else:
            # The overhead is for the sentence before the text, with the file's id and name.
            most += min(int(file.get("size", 0)), MAX_TEXT_FILE_BYTES) + _MESSAGE_OVERHEAD_TOKENS
    return most


def describe_estimates(count: int) -> str:
    """`count` is the number of calls whose amounts are estimates."""
    return plural(
        "The cost of {count} call is an upper estimate: the model's server didn't report its "
        "usage, or the call was interrupted.",
        "The costs of {count} calls are upper estimates: the model's server didn't report their "
        "usage, or the calls were interrupted.",
        count,
    )


def describe_usage_notes(
    rows: Iterable[Mapping[str, Any]],
    server_costs: Collection[str] = (),
    unpriced: Collection[str] = (),
) -> Iterator[str]:
    """The cost of a model without a price comes from the server (`server_costs`) or is not counted
    (`unpriced`)."""
    if estimated := sum(int(row.get("estimated") or 0) for row in rows):
        yield describe_estimates(estimated)
    if server_costs:
        yield say(SERVER_COSTS_SENTENCE, models=", ".join(server_costs))
    if unpriced:
        yield say(UNPRICED_SENTENCE, models=", ".join(unpriced))


SERVER_COSTS_SENTENCE = (
    "ponte.toml has no price for {models}. The costs are those the model's server reported, or "
    "come from an earlier price."
)
UNPRICED_SENTENCE = (
    "Ponte doesn't know the price of {models}, so its cost doesn't count toward any limit in "
    "money. Set a price in ponte.toml (`[prices]`)."
)


def period_end(period: str, zone: tzinfo) -> datetime:
    """`2026-11-21` is a day, `2026-11` a month."""
    if len(period) == len("2026-11"):
        # 32 days after the first of a month lie in the next one.
        following = (date.fromisoformat(f"{period}-01") + timedelta(days=32)).replace(day=1)
    else:
        following = date.fromisoformat(period) + timedelta(days=1)
    return datetime.combine(following, time(), zone)
