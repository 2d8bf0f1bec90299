"""A person and a model, without a journal between them.

Each round asks a new model and the thread goes through JSON, so that what a model would keep in
memory is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.base.errors import ToolError
from core.domain.messages import File, Item, Person, decode_json, encode_json
from core.domain.model_rounds import RoundCompleted, RoundRequest, TextDelta
from core.domain.ports import Model, Tool
from core.domain.records import Thread
from core.tools.tool import outcome_of_error
from tests.core.tools.scene import ctx

ANA = Person("web", "ana", name="Ana")
_ROUNDS = 6


class Chat:
    """`asks` and `calls` are those of the last turn, `deltas` the pieces of its last round."""

    def __init__(self, model: Callable[[], Model], tools: Sequence[Tool] = ()) -> None:
        self.thread: list[Item] = []
        self.asks: list[RoundRequest] = []
        self.calls: list[Item] = []
        self.deltas: list[str] = []
        self._model = model
        self._tools = {tool.spec.name: tool for tool in tools}
        self._turns = 0

    async def says(self, text: str, person: Person = ANA, files: tuple[File, ...] = ()) -> str:
        """The answer."""
        self._turns += 1
        self.asks, self.calls = [], []
        new = [Item(kind="message", role="user", text=text, name=person.name, files=files)]
        for number in range(1, _ROUNDS + 1):
            self.asks.append(self._question(number, new, person))
            self.thread += new
            items = await self.complete(self.asks[-1])
            self.thread += items
            calls = [item for item in items if item.kind == "call"]
            if not calls:
                return items[-1].text
            self.calls += calls
            new = [await self._run(call) for call in calls]
        raise AssertionError(f"no answer after {_ROUNDS} rounds")

    async def complete(self, ask: RoundRequest) -> tuple[Item, ...]:
        """The items of one round."""
        self.deltas = []
        async for event in self._model().ask(ask):
            if isinstance(event, TextDelta):
                self.deltas.append(event.text)
            elif isinstance(event, RoundCompleted):
                return event.items
        raise AssertionError("the model did not complete its round")

    def _question(self, number: int, new: Sequence[Item], person: Person) -> RoundRequest:
        before = [decode_json(Item, encode_json(item)) for item in self.thread]

        async def history() -> Sequence[Item]:
            return before

        return RoundRequest(
            thread=Thread("web:1", "t1"),
            turn=f"turn{self._turns}",
            number=number,
            input=tuple(new),
            history=history,
            instructions="",
            preface="",
            asker=person,
            tools=tuple(tool.spec for tool in self._tools.values()),
        )

    async def _run(self, call: Item) -> Item:
        try:
            outcome = await self._tools[call.name].run(ctx(), call.arguments)
        except ToolError as error:
            outcome = outcome_of_error(error)
        return Item(kind="output", call_id=call.call_id, text=outcome.text)
