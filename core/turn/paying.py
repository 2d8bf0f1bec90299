"""Reserves the cost of one turn's model calls, each before its request is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from core.domain.messages import Usage
from core.domain.records import Turn
from core.domain.tool_ports import Tool
from core.money.allowances import AllowanceCount, Grant, Spend
from core.money.budget import Budget
from core.money.usage import NANODOLLARS_PER_DOLLAR

_TOKENS_AROUND_EACH = 100  # tokens of the request's format around each text


class TurnPayment:
    """Reserves and settles the model calls of one turn (the protocol `RequestPayment`).

    `told`: the largest number of input tokens beside the thread. `first`: the reservation that was
    made when the message was recorded; None if the turn is resumed or has no limit.
    """

    def __init__(
        self, budget: Budget, turn: Turn, model: str, told: int, first: Grant | None
    ) -> None:
        self._budget = budget
        self._turn = turn
        self._model = model
        self._told = told
        self._number = 0
        self._grant = first
        self._unused = first is not None
        self._later = False
        self._counts: dict[str, AllowanceCount] = {}

    @property
    def is_lowered(self) -> bool:
        """True if the last answer had to be shorter, because little of an allowance was left."""
        return self._grant is not None and self._grant.is_lowered

    async def begin(self, number: int, *, asked: bool) -> None:
        """Prepare the first request of a round. Raise OverBudget.

        `asked`: the round was requested before a crash. Its response may still exist, so a new
        reservation is made only if the request is sent again.
        """
        self._number, self._later = number, asked
        if asked:
            self._grant, self._unused = None, False
        elif not (self._unused and self._grant and self._grant.part.startswith(f"r{number}.")):
            self._grant = None
            await self._reserve(0)

    async def __call__(self, tokens: int) -> int | None:
        """Reserve a request with at most `tokens` input tokens. Return how many tokens its answer
        may have, None for any number.

        A request that was lost keeps its reservation, and the next request gets its own.
        """
        if self._grant is None and not self._later:
            return None
        if self._unused and self._grant and tokens > self._grant.input:
            await self.give_back()
        if not self._unused:
            await self._reserve(tokens)
        self._unused = self._later = False
        return self._grant.output if self._grant else None

    def on_refused_request(self) -> None:
        """Keep the reservation for the next request: the server rejected the last one
        unprocessed."""
        self._unused = self._grant is not None

    async def give_back(self) -> None:
        """Release a reservation that no request used."""
        if self._grant and self._unused:
            self._unused = False
            await self._budget.release(self._turn, self._grant.part)

    def record_usage(self, usage: Usage) -> None:
        """Replace the reservation by the real usage of the round in this turn's counts. Reasoning
        tokens are added to the input of the next round."""
        self._told += usage.reasoning
        if self._grant is None:
            return
        real = Spend(
            0, usage.input + usage.output, round((usage.cost or 0.0) * NANODOLLARS_PER_DOLLAR)
        )
        if usage.is_estimated:
            real = replace(self._grant.bound, money=max(self._grant.bound.money, real.money))
        for count in self._grant.counts:
            spent = count.spent - self._grant.bound + real
            self._counts[count.scope.key] = replace(count, spent=spent)
        self._unused = False

    def counts(self) -> tuple[AllowanceCount, ...]:
        """Return the state of each allowance, as far as this turn knows it."""
        return tuple(self._counts.values())

    async def _reserve(self, body: int) -> None:
        """Reserve the next request of this round. `body` is the largest number of its input tokens,
        0 if the request is not known yet."""
        call = self._budget.model_call(self._number, self._model, self._told)
        self._grant = await self._budget.reserve_model_call(
            self._turn, replace(call, request_bytes=body)
        )
        self._unused = self._grant is not None


def count_briefing_tokens(instructions: str, preface: str, tools: Sequence[Tool]) -> int:
    """Return an upper bound of the input tokens beside the thread: one token for each byte of the
    instructions, the preface and the descriptions of tools."""
    told = [instructions, preface]
    for tool in tools:
        told += [tool.spec.name, tool.spec.description, json.dumps(dict(tool.spec.parameters))]
    return sum(len(each.encode()) + _TOKENS_AROUND_EACH for each in told)
