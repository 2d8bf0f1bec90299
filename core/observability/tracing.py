"""Where a turn's time goes, as spans: queue, model, tools, posting; by OpenTelemetry's GenAI names.

A turn is one trace, and its root one span, from the message's acceptance to its end, whichever
processes are at it: both ids come from the turn's own. A span holds names of ours, numbers and
codes, never what people, models or tools said, and nobody's name: `gen_ai.conversation.id` is the
random id of the thread. Nothing is recorded, and nothing imported, until `record_with`.

Names: github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai, of 2026-11.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

from core.domain.errors import PonteError
from core.domain.messages import Usage
from core.domain.records import Turn

SpanValue = str | int | float | bool
AGENT_NAME = "Ponte"
OPERATION_ATTRIBUTE = "gen_ai.operation.name"
PROVIDER_ATTRIBUTE = "gen_ai.provider.name"
CONVERSATION_ATTRIBUTE = "gen_ai.conversation.id"


class Recording(Protocol):
    """A span under way, at whoever exports it. One that is not ended is not exported."""

    def note(self, name: str, value: SpanValue) -> None: ...
    def fail(self, code: str) -> None: ...
    def end(self) -> None: ...


class Recorder(Protocol):
    """Moments are seconds since 1970."""

    def root(self, turn: str, name: str, began: float) -> Recording:
        """The span of a whole turn; `trace_of` and `root_of` are its ids."""

    def child(
        self, parent: Recording, name: str, began: float, *, leaves: bool = False
    ) -> Recording:
        """A piece of it; `leaves`: another system is asked."""


def trace_id_of(turn: str) -> int:
    """The trace's id: 128 bits."""
    return int.from_bytes(_digest(turn)[:16], "big")


def root_span_id_of(turn: str) -> int:
    """The id of its root: 64 bits."""
    return int.from_bytes(_digest(turn)[16:24], "big")


def _digest(turn: str) -> bytes:
    return hashlib.sha256(f"trace of {turn}".encode()).digest()


class TraceSpan:
    """A piece of the turn that runs here, while the block runs. What leaves the block is its
    failure, by its code. Without a recorder it is nothing."""

    __slots__ = ("_began", "_facts", "_leaves", "_name", "_recording")

    def __init__(
        self, name: str, facts: dict[str, SpanValue] | None = None, *, began: float = 0.0,
        leaves: bool = False,
    ) -> None:  # fmt: skip
        self._name = name
        self._facts = facts
        self._began = began
        self._leaves = leaves
        self._recording: Recording | None = None

    def __enter__(self) -> TraceSpan:
        if (trace := _TRACE.get()) is not None:
            began = self._began or time.time()
            self._recording = trace.recorder.child(
                trace.root, self._name, began, leaves=self._leaves
            )
            for name, value in (self._facts or {}).items():
                self._recording.note(name, value)
            if trace.thread:
                self._recording.note(CONVERSATION_ATTRIBUTE, trace.thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        at: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._recording is not None:
            if error is not None:
                self._recording.fail(_code_of(error))
            self._recording.end()

    def note(self, name: str, value: SpanValue) -> None:
        if self._recording is not None:
            self._recording.note(name, value)

    def fail(self, code: str) -> None:
        if self._recording is not None:
            self._recording.fail(code)

    def note_usage(self, usage: Usage) -> None:
        """Tokens, and US dollars where they are known."""
        if self._recording is None:
            return
        for name, count in (
            ("gen_ai.usage.input_tokens", usage.input),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached),
            ("gen_ai.usage.output_tokens", usage.output),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
        ):
            self._recording.note(name, count)
        if usage.cost is not None:
            self._recording.note("ponte.cost.dollars", usage.cost)


def model_call(model: str, provider: str, number: int) -> TraceSpan:
    """One call of the model, in the turn's round of that number."""
    facts: dict[str, SpanValue] = {
        OPERATION_ATTRIBUTE: "chat", PROVIDER_ATTRIBUTE: provider, "gen_ai.request.model": model,
        "gen_ai.request.stream": True, "ponte.round": number,
    }  # fmt: skip
    return TraceSpan(f"chat {model}", facts, leaves=provider != AGENT_NAME.lower())


def tool_call(name: str) -> TraceSpan:
    """One call of a tool that we offer, by a model or a person."""
    facts: dict[str, SpanValue] = {
        OPERATION_ATTRIBUTE: "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
    }
    return TraceSpan(f"execute_tool {name}", facts)


class _Trace:
    """What runs here of a turn; `ended` once the turn is over, for all processes."""

    __slots__ = ("ended", "recorder", "root", "thread")

    def __init__(self, recorder: Recorder, root: Recording, thread: str) -> None:
        self.recorder = recorder
        self.root = root
        self.thread = thread
        self.ended = False


_TRACE: ContextVar[_Trace | None] = ContextVar("trace", default=None)
_recorder: Recorder | None = None


def set_recorder(recorder: Recorder | None) -> None:
    """Turns that begin from now on are recorded; None: no more."""
    global _recorder
    _recorder = recorder


class TurnTrace:
    """The turn's trace, while the block runs. Its root is exported by whoever ends the turn: where
    it is put back or taken over, another process does."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        if _recorder is None:
            _TRACE.set(None)
            return
        turn = self._turn
        root = _recorder.root(turn.id, f"invoke_agent {AGENT_NAME}", turn.accepted_at)
        for name, value in (
            (OPERATION_ATTRIBUTE, "invoke_agent"), (PROVIDER_ATTRIBUTE, AGENT_NAME.lower()),
            ("gen_ai.agent.name", AGENT_NAME),
            (CONVERSATION_ATTRIBUTE, turn.thread), ("ponte.turn.id", turn.id),
            ("ponte.turn.attempt", turn.attempt),
            ("ponte.platform", turn.message.address.platform),
        ):  # fmt: skip
            root.note(name, value)
        _TRACE.set(_Trace(_recorder, root, turn.thread))
        if turn.is_untouched:  # how long it lay after a crash, the gap in its trace tells
            with TraceSpan("queue", began=turn.accepted_at):
                pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        at: TracebackType | None,
    ) -> None:  # fmt: skip
        trace = _TRACE.get()
        _TRACE.set(None)
        if trace is not None and trace.ended:
            trace.root.end()


def note_turn_end(status: str, code: str = "") -> None:
    """The turn is over: done, stopped, failed, …; `code` says why it failed."""
    if (trace := _TRACE.get()) is not None:
        trace.ended = True
        trace.root.note("ponte.turn.status", status)
        if code:
            trace.root.fail(code)


def _code_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.code if isinstance(error, PonteError) else type(error).__name__
