"""A person's thread with a model, as the turn's loop keeps it: transcript, thread, remote ids.

It plays the part of `core.turn.rounds` and the journal as far as a model can see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from core.domain.messages import File, Item, Person
from core.domain.model_rounds import (
    ModelEvent,
    RemoteStored,
    ResponseStarted,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    TextWithdrawn,
    ToolSpec,
)
from core.domain.ports import Model
from core.domain.records import Remote, Thread

ANA = Person(platform="web", id="ana", name="Ana")
TABLES = ToolSpec(
    "tables",
    "Lists the tables.",
    {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
)


@dataclass
class Talk:
    """`run` answers a tool call; `heard` are all events of all rounds."""

    model: Model
    tools: tuple[ToolSpec, ...] = (TABLES,)
    run: Callable[[str, str], str] = lambda name, arguments: f"{name} done"
    asker: Person = ANA
    instructions: str = "You are Ponte."
    preface: str = "It is Friday."
    payment: Any = None
    thread: Thread = field(default_factory=lambda: Thread("web:c", "T1"))
    transcript: list[tuple[int, Item]] = field(default_factory=list)
    remotes: list[Remote] = field(default_factory=list)
    heard: list[ModelEvent] = field(default_factory=list)
    response: str = ""
    seq: int = 0
    since: int = 0

    async def say(self, text: str, files: Sequence[File] = ()) -> str:
        """One whole turn: rounds with tools, until the model answers."""
        self.begin(text, files)
        while True:
            completion = await self.round()
            calls = [item for item in completion.items if item.kind == "call"]
            for call in calls:
                self.keep(
                    Item(
                        kind="output",
                        call_id=call.call_id,
                        text=self.run(call.name, call.arguments),
                    )
                )
            if not calls:
                return "".join(item.text for item in completion.items)

    def begin(self, text: str, files: Sequence[File] = ()) -> None:
        self.since, self.seq = self.last(), self.seq + 1
        self.keep(Item(kind="message", role="user", text=text, name="Ana", files=tuple(files)))

    def keep(self, *items: Item) -> None:
        self.transcript += [(self.seq, item) for item in items]

    def last(self) -> int:
        return self.transcript[-1][0] if self.transcript else 0

    async def round(self, response: str = "") -> RoundCompleted:
        async with aclosing(self.events(response)) as events:
            async for event in events:
                self.take(event)
                if isinstance(event, RoundCompleted):
                    return event
        raise AssertionError("no end")

    def events(self, response: str = "") -> Any:
        return self.model.ask(self.question(response))

    def take(self, event: ModelEvent) -> None:
        self.heard.append(event)
        if isinstance(event, ResponseStarted):
            self.response = event.response
        elif isinstance(event, RemoteStored):
            self.remotes.append(event.remote)
            self.thread = event.thread or self.thread
        elif isinstance(event, RoundCompleted):
            self.keep(*event.items)
            self.thread = event.thread or self.thread

    def question(self, response: str = "") -> RoundRequest:
        own = [i for i, (seq, _) in enumerate(self.transcript) if seq == self.seq]
        speeches = [
            i + 1
            for i in own
            if self.transcript[i][1].kind in ("call", "opaque")
            or self.transcript[i][1].role == "assistant"
        ]
        last_item = max(speeches, default=own[0])
        items = [item for _, item in self.transcript]

        async def history() -> Sequence[Item]:
            return items[:last_item]

        return RoundRequest(
            thread=self.thread,
            turn=f"turn{self.seq}",
            number=len(speeches) + 1,
            input=tuple(items[last_item:]),
            history=history,
            instructions=self.instructions,
            preface=self.preface,
            asker=self.asker,
            tools=self.tools,
            response=response,
            seq=self.seq,
            previous_seq=self.since,
            payment=self.payment,
        )

    @property
    def text(self) -> str:
        """What was shown since the last beginning."""
        words = ""
        for event in self.heard:
            if isinstance(event, ResponseStarted | TextWithdrawn):
                words = ""
            elif isinstance(event, TextDelta):
                words += event.text
        return words

    def restart(self, model: Model) -> Talk:
        """The same thread in another process."""
        return replace(self, model=model, heard=[], remotes=list(self.remotes))
