"""What an operator allows to be spent: by whom, where, in which period; and what a refusal says.

Money is counted in billionths of a US dollar (`core.rights.usage.NANODOLLARS_PER_DOLLAR`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Literal

from core.domain.errors import OverBudget
from core.rights.usage import MAX_PICTURE_TOKENS, NANODOLLARS_PER_DOLLAR, Price
from core.text.i18n import LANGUAGE, format_moment, format_money, plural, say

CountedBy = Literal["each person", "each channel", "each workspace", "together", "everybody"]
PeriodLength = Literal["day", "month"]
Unit = Literal["turns", "tokens", "money"]
UNITS: tuple[Unit, ...] = ("turns", "tokens", "money")
MIN_OUTPUT_TOKENS = 1_000
"""Tokens that an answer is worth beginning for; with less left it is not asked for."""
MAX_OUTPUT_TOKENS = 16_000
"""Tokens of one answer, its reasoning too, where an allowance counts money or tokens."""
NEARLY_USED_SHARE = 0.8
"""The share of an allowance from which a person is told, once in a period."""
MAX_DOCUMENT_TOKENS = 1_000_000
"""Tokens that are held for a PDF: no model takes more at once."""
MAX_TEXT_FILE_BYTES = 400_000
"""Bytes of a text file that a model is given (`core.models.input`)."""
_MESSAGE_OVERHEAD_TOKENS, _ITEM_OVERHEAD_TOKENS = 500, 50
"""Of a person's message (date, name, language are told with it), and of anything else."""
MIN_TURNS_FOR_NOTICE = 5
DAILY_TURNS_SETTING = "PONTE_DAILY_TURNS"

LEFT = {
    "each person": "Your allowance is {limit}; what is left of it, {left}, is not enough. ",
    "each channel": (
        "The allowance of this channel is {limit}; what is left of it, {left}, is not enough. "
    ),
    "each workspace": (
        "The allowance of this workspace is {limit}; what is left of it, {left}, is not enough. "
    ),
    "together": (
        "The allowance that your group shares is {limit}; what is left of it, {left}, is not "
        "enough. "
    ),
    "everybody": (
        "The allowance of everybody together is {limit}; what is left of it, {left}, is not "
        "enough. "
    ),
}
ANEW = "It begins anew on {when}. The operator can raise it ({where})."
ALL_CAPPED = "That is all for today: the cap of turns a day for everybody together is {limit}. "
NEARLY = {
    "each person": "You have used {used} of your allowance of {limit}; it begins anew on {when}.",
    "each channel": (
        "Of the allowance of this channel, {limit}, {used} used so far; it begins anew on {when}."
    ),
    "each workspace": (
        "Of the allowance of this workspace, {limit}, {used} used so far; it begins anew on {when}."
    ),
    "together": (
        "Of the allowance that your group shares, {limit}, {used} used so far; it begins anew on "
        "{when}."
    ),
    "everybody": (
        "Of the allowance of everybody together, {limit}, {used} used so far; it begins anew on "
        "{when}."
    ),
}
STANDING = {
    "each person": "your allowance of {limit}: {left} left until {when}",
    "each channel": "the allowance of this channel, {limit}: {left} left until {when}",
    "each workspace": "the allowance of this workspace, {limit}: {left} left until {when}",
    "together": "the allowance that your group shares, {limit}: {left} left until {when}",
    "everybody": "the allowance of everybody together, {limit}: {left} left until {when}",
}
A_DAY, A_MONTH = "{what} a day", "{what} a month"


@dataclass(frozen=True, slots=True)
class Spend:
    """Turns, tokens (in and out), billionths of a dollar."""

    turns: int = 0
    tokens: int = 0
    money: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.turns + other.turns, self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Spend) -> Spend:
        return self + Spend(-other.turns, -other.tokens, -other.money)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One of ponte.toml's. `told` says where it stands; `who` and `where` empty: everybody,
    everywhere; None is no limit. `name` is its own where it is none of the file's."""

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
        """Of what it counts: another limit of the same unit goes on with the same count."""
        units = [unit for unit, _ in self.limits()]
        about = [self.of, self.per, sorted(self.who), sorted(self.where), units]
        return self.name or hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]

    @property
    def bounds_calls(self) -> bool:
        """Whether a model's call must be bounded for it."""
        return self.money is not None or self.tokens is not None

    def merge_stricter(self, other: Allowance) -> Allowance:
        """Of two that count the same thing, the lower limits."""
        lower = {unit: min(limit, getattr(other, unit)) for unit, limit in self.limits()}
        told = other.source if lower == dict(other.limits()) else self.source
        return replace(self, source=told, **lower)

    def limits(self) -> Iterator[tuple[Unit, int]]:
        for unit in UNITS:
            if (limit := getattr(self, unit)) is not None:
                yield unit, limit

    def exceeded_unit(self, spent: Spend) -> Unit | None:
        """The first limit that so much is beyond."""
        return next((unit for unit, limit in self.limits() if getattr(spent, unit) > limit), None)

    def nearly_used_unit(self, spent: Spend) -> Unit | None:
        """The first limit of which so much is at least `NEAR`; of a few turns none."""
        for unit, limit in self.limits():
            few = unit == "turns" and limit < MIN_TURNS_FOR_NOTICE
            if getattr(spent, unit) >= limit * NEARLY_USED_SHARE and not few:
                return unit
        return None

    def describe_limit(self, unit: Unit, locale: str | None = None) -> str:
        """The limit, as in `$5.00 a day`."""
        sentence = A_DAY if self.per == "day" else A_MONTH
        return say(sentence, locale, what=format_amount(unit, getattr(self, unit), locale))


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose count of an allowance: `key` is its row's; `person` (a key) where it is one's own;
    `place` is the channel or workspace of whom it counts. `past`: what was spent before it was
    first counted counts too."""

    key: str
    allowance: Allowance
    person: str = ""
    place: str = ""
    counts_past_usage: bool = True

    def period_of(self, day: str) -> str:
        """Of an ISO date: the day, or its month."""
        return day if self.allowance.per == "day" else day[:7]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of the model, before it is made: the turn's round, bytes of what it is told beside
    the thread, bytes of the request where it is known, tokens of pictures."""

    number: int
    model: str
    prompt_bytes: int = 0
    request_bytes: int = 0
    price: Price | None = None
    window: int | None = None

    def max_input_tokens(self, thread: int) -> int:
        """Tokens that it hears at most: one for each byte, and what the model takes at most."""
        most = max(self.prompt_bytes + thread, self.request_bytes)
        return min(most, self.window) if self.window else most

    def max_spend(self, input: int, output: int) -> Spend:
        return Spend(0, input + output, self.price.max_cost(input, output) if self.price else 0)

    def remaining_output_tokens(self, allowance: Allowance, spent: Spend, input: int) -> int:
        """Output tokens that are left of an allowance of which `spent` is gone already."""
        left = MAX_OUTPUT_TOKENS
        if allowance.tokens is not None:
            left = min(left, allowance.tokens - spent.tokens - input)
        if allowance.money is not None and self.price:
            left = min(left, self.price.affordable_output(allowance.money - spent.money, input))
        return left


@dataclass(frozen=True, slots=True)
class AllowanceCount:
    """What stands in an allowance's row; `told` bits: `TOLD`, `TOLD_ADMIN`."""

    scope: Scope
    period: str
    spent: Spend
    notices: int = 0


PERSON_NOTICE, ADMIN_NOTICE = 1, 2


@dataclass(frozen=True, slots=True)
class Grant:
    """What was reserved for a call of the model: a row of holds. `output`: tokens that it may say;
    `lowered` to what was left; `counts` as they stood with it."""

    part: str
    input: int
    output: int
    bound: Spend
    is_lowered: bool = False
    counts: tuple[AllowanceCount, ...] = ()


class OverAllowance(OverBudget):
    """`left` is of the limit that is in the way; `zone` is the asker's, `operators` the one in
    which periods begin."""

    def __init__(
        self, count: AllowanceCount, unit: Unit, left: int, zone: tzinfo, operators: tzinfo
    ) -> None:
        allowance = count.scope.allowance
        super().__init__(limit=getattr(allowance, unit))
        self.allowance = allowance
        self.unit = unit
        self.limit = (
            "daily_turns" if allowance.source == DAILY_TURNS_SETTING else f"allowance_{unit}"
        )
        self.left = left
        self.resets = period_end(count.period, operators).astimezone(zone)

    def words(self, locale: str | None = None) -> str:
        allowance = self.allowance
        anew = say(ANEW, locale, when=format_moment(self.resets, locale), where=allowance.source)
        if allowance.source == DAILY_TURNS_SETTING:
            capped = OverBudget.sentence if allowance.of == "each person" else ALL_CAPPED
            return say(capped, locale, limit=allowance.turns) + anew
        left = format_amount(self.unit, max(0, self.left), locale)
        limit = allowance.describe_limit(self.unit, locale)
        return say(LEFT[allowance.of], locale, limit=limit, left=left) + anew


def format_amount(unit: Unit, count: int, locale: str | None = None) -> str:
    """As in `$0.25`, `1,200 tokens`, `3 turns`."""
    if unit == "money":
        return format_money(math.floor(count / NANODOLLARS_PER_DOLLAR * 10_000) / 10_000, locale)
    if unit == "tokens":
        return plural("{count} token", "{count} tokens", count, locale)
    return plural("{count} turn", "{count} turns", count, locale)


def describe_nearly_used(count: AllowanceCount, unit: Unit, zone: tzinfo, operators: tzinfo) -> str:
    """That most of it is used, for the person."""
    allowance = count.scope.allowance
    when = period_end(count.period, operators).astimezone(zone)
    used = format_amount(unit, getattr(count.spent, unit))
    limit = allowance.describe_limit(unit)
    return say(
        NEARLY[allowance.of], used=used, limit=limit, when=format_moment(when, LANGUAGE.get())
    )


def describe_remaining(count: AllowanceCount, unit: Unit, zone: tzinfo, operators: tzinfo) -> str:
    """What is left of one limit, for the person."""
    allowance = count.scope.allowance
    when = format_moment(period_end(count.period, operators).astimezone(zone), LANGUAGE.get())
    left = max(0, getattr(allowance, unit) - getattr(count.spent, unit))
    limit = allowance.describe_limit(unit)
    return say(STANDING[allowance.of], limit=limit, left=format_amount(unit, left), when=when)


def max_item_tokens(item: str) -> int:
    """Tokens that an item of a transcript (as JSON) is at most: one for each byte, with what is
    told around it, and its files. A picture is as dear as one can be; of a document's pages nobody
    knows how many there are; of a text's only the beginning is sent."""
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
            most += min(int(file.get("size", 0)), MAX_TEXT_FILE_BYTES) + _MESSAGE_OVERHEAD_TOKENS
    return most


def describe_estimates(count: int) -> str:
    """Say that the amounts of so many calls are estimates."""
    return plural(
        "The amounts of {count} call are an estimate, the most that it can have cost: the model's "
        "server did not report what it used, or the call was interrupted.",
        "The amounts of {count} calls are an estimate, the most that they can have cost: the "
        "model's server did not report what they used, or they were interrupted.",
        count,
    )


def period_end(period: str, zone: tzinfo) -> datetime:
    """When a day (`2026-11-21`) or a month (`2026-11`) is over there."""
    if len(period) == len("2026-11"):
        first = date.fromisoformat(f"{period}-01")
        following = (first + timedelta(days=32)).replace(day=1)
    else:
        following = date.fromisoformat(period) + timedelta(days=1)
    return datetime.combine(following, time(), zone)
