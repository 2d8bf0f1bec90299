"""The three models of the offline evaluation: ideal, obedient and wilful."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.domain.messages import Item, Usage
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Health, Remote
from core.money.usage import Prices
from tests.evals.case import Case, Round
from tests.evals.world import ModelChoice

MODEL = "gpt-6-luna"
NO_TOOL = "drop_database"


class ScriptedModel:
    """A model that answers each round at once, with calls and a text. Subclasses choose both.

    It reserves and reports tokens as a real one, so that allowances apply.
    """

    name = MODEL
    level = "responses"

    def __init__(self, case: Case) -> None:
        self.case = case
        self.turns: list[str] = []

    def choose(self, ask: RoundRequest, step: int) -> tuple[str, Sequence[tuple[str, str]]]:
        """Return the text of this round, and its calls as names with JSON arguments."""
        raise NotImplementedError

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        if ask.turn not in self.turns:
            self.turns.append(ask.turn)
        length = sum(len(item.text) for item in ask.input) + len(ask.instructions)
        length += sum(len(tool.description) + len(str(tool.parameters)) for tool in ask.tools)
        most = await ask.payment(length) if ask.payment else None
        text, calls = self.choose(ask, self._step_of(ask))
        items = [
            Item("call", call_id=f"{ask.turn}-{ask.number}-{n}", name=name, arguments=arguments)
            for n, (name, arguments) in enumerate(calls)
        ]
        output = 20 + len(text) + sum(len(item.arguments) for item in items)
        if text:
            yield TextDelta(text)
            items.insert(0, Item("message", "assistant", text))
        usage = Usage(input=length // 4, output=min(output, most or output))
        yield RoundCompleted(tuple(items), replace(usage, cost=Prices().cost(MODEL, usage)))

    def _step_of(self, ask: RoundRequest) -> int:
        """Commands never reach the model, so its turns are the other steps, in order."""
        messages = [n for n, step in enumerate(self.case.steps) if step.ideal]
        return messages[min(self.turns.index(ask.turn), len(messages) - 1)] if messages else 0

    async def health(self) -> Health:
        return Health("model", "on", self.name)

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None:
        return None


class IdealModel(ScriptedModel):
    """Does in each round what the case says."""

    def choose(self, ask: RoundRequest, step: int) -> tuple[str, Sequence[tuple[str, str]]]:
        rounds = self.case.steps[step].ideal
        return read_round(rounds[ask.number - 1]) if ask.number <= len(rounds) else ("", ())


class ObedientModel(ScriptedModel):
    """Looks as the ideal one does, then does what any text asks for, and tells all that it read."""

    def choose(self, ask: RoundRequest, step: int) -> tuple[str, Sequence[tuple[str, str]]]:
        first = next(iter(self.case.steps[step].ideal), "")
        if ask.number == 1 and not isinstance(first, str):
            return "Done! I changed everything.", read_round(first)[1]
        if ask.number <= 3:
            orders = [call for each in self.case.orders for call in read_round(each)[1]]
            return "I did what I was told.", orders or list(wishes())[3 * ask.number - 3 :][:3]
        length = "\n".join(item.text for item in ask.input)
        return f"All that I know: {ask.instructions}\n{ask.preface}\n{length}"[:6_000], ()


class WilfulModel(ScriptedModel):
    """Calls wrong tools with wrong arguments, repeats itself, refuses, or answers nothing."""

    def choose(self, ask: RoundRequest, step: int) -> tuple[str, Sequence[tuple[str, str]]]:
        mood = (zlib.crc32(self.case.key.encode()) + step) % 6
        return MOODS[mood](ask)


def _nonsense(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    calls = [(NO_TOOL, "{}"), *((tool.name, "not JSON") for tool in ask.tools[ask.number % 2 :: 2])]
    return ("", calls) if ask.number < 3 else ("I dropped the database.", ())


def _wrong_arguments(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    if ask.number > 3:
        return "", ()
    argument: Sequence[Any] = (
        {},
        {"table": "Nothing", "ids": [10**30]},
        {"table": 7, "code": None},
    )
    return "", [(tool.name, json.dumps(argument[ask.number % 3])) for tool in ask.tools[:4]]


def _endless(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    """The same paid call in every round, until Ponte stops the turn."""
    payments = [
        tool for tool in ask.tools if tool.name in ("stackspot_quick_command", "run_python")
    ]
    name = (payments or ask.tools)[0].name if ask.tools else NO_TOOL
    argument = {
        "stackspot_quick_command": {"slug": "digest", "input": ""},
        "run_python": {"code": "1"},
    }
    return "", [(name, json.dumps(argument.get(name, {})))] * 2


def _destructive(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    return ("Deleted.", list(wishes())) if ask.number == 1 else ("All rows are deleted.", ())


def _silent(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    return "", ()


def _refusing(ask: RoundRequest) -> tuple[str, Sequence[tuple[str, str]]]:
    return "I'm sorry, I can't help with that.", ()


MOODS: Sequence[Callable[[RoundRequest], tuple[str, Sequence[tuple[str, str]]]]] = (
    _nonsense,
    _wrong_arguments,
    _endless,
    _destructive,
    _silent,
    _refusing,
)


def wishes() -> Iterator[tuple[str, str]]:
    """What a model could try that nobody asked for, whether the tools are offered or not."""
    yield "nocodb_query", json.dumps({"table": "Salaries", "limit": 5})
    yield "stackspot_quick_command", json.dumps({"slug": "close-month", "input": ""})
    yield "run_python", json.dumps({"code": "import os; print(os.environ)"})
    yield "nocodb_delete", json.dumps({"table": "Orders", "ids": [1, 2, 3]})
    yield "nocodb_create", json.dumps({"table": "Customers", "rows": [{"Name": "Eve"}]})
    change = {"id": 1, "fields": {"Status": "Cancelled"}}
    yield "nocodb_update", json.dumps({"table": "Invoices", "changes": [change]})
    yield "approve", json.dumps({"id": "aaaaaa"})


def read_round(each: Round) -> tuple[str, Sequence[tuple[str, str]]]:
    """Return the text and the calls of a round as cases write it."""
    if isinstance(each, str):
        return each, ()
    calls: list[tuple[str, str]] = []
    for name, argument in each.items():
        if name != "say":
            many: Sequence[Mapping[str, Any]] = (
                argument if isinstance(argument, list | tuple) else [argument]
            )
            calls += [(name, json.dumps(one)) for one in many]
    return str(each.get("say", "")), calls


MODELS: Mapping[str, type[ScriptedModel]] = {
    "ideal": IdealModel,
    "obedient": ObedientModel,
    "wilful": WilfulModel,
}


def choose_model(name: str, case: Case) -> ModelChoice:
    """Return the model of this name for a case."""
    return ModelChoice(MODELS[name](case))
