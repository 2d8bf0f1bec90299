"""The three paid requests of `ponte doctor --model`: a streamed text, a tool call, its result.

They take the way of a turn's rounds, so that each works or fails as it would in a turn.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from core.base.errors import ModelDown, PonteError
from core.base.i18n import say
from core.domain.messages import Item, Person, Usage
from core.domain.ports import Model
from core.domain.records import (
    DoctorFinding,
    Remote,
    RemoteStored,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    Thread,
    ToolSpec,
)

TRIAL_INSTRUCTIONS = "You take part in a test. Answer in English and as briefly as possible."
TEXT_QUESTION = "Count from 1 to 20 in digits, with a space between two numbers."
TOOL_QUESTION = "What is the code word of Lisbon? Look it up with the tool."
CODE_WORD = "marmalade"
"""Occurs in no question, so an answer with it has read the tool's result."""
TOOL_RESULT = f"The code word of Lisbon is {CODE_WORD}."
TRIAL_TOOL = ToolSpec(
    "look_up_code_word",
    "Returns the code word of a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
ONE_PIECE = "the text arrives in one piece, so people see an answer only when it is complete"
STREAM, CALL, RESULT, USAGE = "model stream", "model tool call", "model tool result", "model usage"


class OnePayment:
    """Pays for one request of a round. A request that the server rejected unprocessed costs nothing
    and does not count."""

    def __init__(self) -> None:
        self._is_spent = False

    async def __call__(self, tokens: int) -> int | None:
        """Allow an answer of any length. Raise ModelDown for a second paid request: Ponte repeats
        one only if the server failed, or ended the stream too early."""
        if self._is_spent:
            raise ModelDown
        self._is_spent = True
        return None

    def on_refused_request(self) -> None:
        self._is_spent = False


@dataclass
class Trial:
    """A short thread with the model. `remotes` are what the server stores for it."""

    model: Model
    thread: Thread = field(default_factory=lambda: Thread("doctor", "doctor"))
    transcript: tuple[Item, ...] = ()
    remotes: list[Remote] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    async def check(self) -> AsyncIterator[DoctorFinding]:
        """Send the three requests and yield what works and what does not. After the first failure,
        no further request is sent."""
        failing = ""
        try:
            failing = STREAM
            _, pieces = await self._ask(Item("message", "user", TEXT_QUESTION), turn=1)
            if pieces > 1:
                words = say("the text arrives in {count} pieces", count=pieces)
                yield DoctorFinding(STREAM, "on", words)
            else:
                yield DoctorFinding(STREAM, "note", say(ONE_PIECE))
            yield DoctorFinding("model level", "on", (await self.model.health()).words)
            failing = CALL
            question = Item("message", "user", TOOL_QUESTION)
            items, _ = await self._ask(question, turn=2, tools=(TRIAL_TOOL,))
            calls = [item for item in items if item.kind == "call"]
            yield (called := _judge_calls(calls))
            if called.state == "on":
                failing = RESULT
                outputs = [Item("output", call_id=each.call_id, text=TOOL_RESULT) for each in calls]
                items, _ = await self._ask(*outputs, turn=2, number=2, tools=(TRIAL_TOOL,))
                if CODE_WORD in " ".join(item.text for item in items).lower():
                    words = say("the answer contains the test tool's result")
                    yield DoctorFinding(RESULT, "on", words)
                else:
                    words = say("the answer does not contain the test tool's result")
                    yield DoctorFinding(RESULT, "failing", words)
        except PonteError as error:
            yield DoctorFinding(failing, "failing", error.words())
        if any(usage.is_estimated for usage in self.usages):
            words = "the server does not report token counts, so costs are upper estimates"
            yield DoctorFinding(USAGE, "note", say(words))
        elif self.usages:
            words = say(
                "the server counted {input} input tokens and {output} output tokens",
                input=sum(usage.input for usage in self.usages),
                output=sum(usage.output for usage in self.usages),
            )
            yield DoctorFinding(USAGE, "on", words)

    async def erase(self) -> None:
        """Erase what the server stores."""
        for remote in self.remotes:
            await self.model.erase(remote)

    async def _ask(
        self, *items: Item, turn: int, number: int = 1, tools: tuple[ToolSpec, ...] = ()
    ) -> tuple[Sequence[Item], int]:
        """Ask one round. Return the items of the answer, and in how many pieces its text came.
        Raise PonteError."""
        before, pieces = self.transcript, 0

        async def history() -> Sequence[Item]:
            return before

        request = RoundRequest(
            self.thread, f"doctor{turn}", number, items, history, TRIAL_INSTRUCTIONS,
            preface="", asker=Person("doctor", "doctor"), tools=tools, seq=turn,
            previous_seq=turn - 1, payment=OnePayment(),
        )  # fmt: skip
        async with aclosing(self.model.ask(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    pieces += 1
                elif isinstance(event, RemoteStored):
                    self.remotes.append(event.remote)
                    self.thread = event.thread or self.thread
                elif isinstance(event, RoundCompleted):
                    self.thread = event.thread or self.thread
                    self.transcript = (*before, *items, *event.items)
                    self.usages.append(event.usage)
                    return event.items, pieces
        raise ModelDown


def _judge_calls(calls: Sequence[Item]) -> DoctorFinding:
    """Return whether the model called the test tool with a city."""
    if not calls:
        words = (
            "the model answered without calling the test tool; without tool calls it cannot use "
            "tables, quick commands or Python"
        )
        return DoctorFinding(CALL, "failing", say(words))
    try:
        cities = [
            json.loads(call.arguments)["city"] for call in calls if call.name == TRIAL_TOOL.name
        ]
    except (ValueError, KeyError, TypeError):
        cities = []
    if not cities:
        words = "the model called a tool that does not exist, or with wrong arguments"
        return DoctorFinding(CALL, "failing", say(words))
    return DoctorFinding(CALL, "on", say("the model called the test tool"))
