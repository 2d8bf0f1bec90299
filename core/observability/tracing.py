"""Traces of turns as spans (queue, model, tools, posting), by OpenTelemetry's GenAI conventions.

A turn is one trace. Its root span lasts from the acceptance of the message to the end of the turn,
in whichever processes it runs. The ids of the trace and its root span are derived from the turn's
id. Spans contain fixed names, numbers and codes. They never contain texts of people, models or
tools, or names of people: `gen_ai.conversation.id` is the random id of the thread. Nothing is
recorded before `set_recorder`.

Names: github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai, of 2026-11.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import Any, Protocol

from core.base.errors import PonteError
from core.domain.messages import Usage
from core.domain.records import Turn

SpanValue = str | int | float | bool
AGENT_NAME = "Ponte"
OPERATION_ATTRIBUTE = "gen_ai.operation.name"
PROVIDER_ATTRIBUTE = "gen_ai.provider.name"
CONVERSATION_ATTRIBUTE = "gen_ai.conversation.id"


class OpenSpan(Protocol):
    """A span that has begun. Only one that is ended is exported."""

    def note(self, name: str, value: SpanValue) -> None:
        """Set an attribute."""

    def fail(self, code: str) -> None:
        """Mark it as failed, with the code of the error."""

    def end(self) -> None:
        """End it now."""


class SpanRecorder(Protocol):
    """Records spans. Times are in Unix seconds."""

    def root(self, turn: str, name: str, began: float) -> OpenSpan:
        """Begin the root span of a turn."""

    def child(self, parent: Any, name: str, began: float, *, leaves: bool = False) -> OpenSpan:
        """Begin a span within another one. `leaves`: it is a call to another system."""


class TraceSpan:
    """A context manager that records a span (one timed step) of the current turn. An error that
    leaves the block marks the span as failed, with the error's code. If the turn is not traced, it
    does nothing. `facts` are the span's attributes. `began` is the start in Unix seconds; 0 means
    now. `leaves`: the span is a call to another system."""

    __slots__ = ("_began", "_facts", "_leaves", "_name", "_recording")

    def __init__(
        self,
        name: str,
        facts: dict[str, SpanValue] | None = None,
        *,
        began: float = 0.0,  # Unix seconds; 0.0: when `with` begins
        leaves: bool = False,  # a call to another system
    ) -> None:
        self._name = name
        self._facts = facts
        self._began = began
        self._leaves = leaves
        self._recording: OpenSpan | None = None

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

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        if self._recording is not None:
            if error is not None:
                code = error.code if isinstance(error, PonteError) else type(error).__name__
                is_cancelled = isinstance(error, asyncio.CancelledError)
                self._recording.fail("cancelled" if is_cancelled else code)
            self._recording.end()

    def note(self, name: str, value: SpanValue) -> None:
        if self._recording is not None:
            self._recording.note(name, value)

    def fail(self, code: str) -> None:
        if self._recording is not None:
            self._recording.fail(code)

    def note_usage(self, usage: Usage) -> None:
        """Record the tokens of a model call, and its cost in US dollars if it is known, under the
        names of OpenTelemetry's conventions."""
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
    """`number` is the round of the turn."""
    facts: dict[str, SpanValue] = {
        OPERATION_ATTRIBUTE: "chat",
        PROVIDER_ATTRIBUTE: provider,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": True,
        "ponte.round": number,
    }
    # The demo model is Ponte's own, so calling it is no call to another system.
    return TraceSpan(f"chat {model}", facts, leaves=provider != AGENT_NAME.lower())


def tool_call(name: str) -> TraceSpan:
    """The span of one call of a tool, by a model or a person."""
    facts: dict[str, SpanValue] = {
        OPERATION_ATTRIBUTE: "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
    }
    return TraceSpan(f"execute_tool {name}", facts)


class _Trace:
    """`root` is its open root span, `thread` the random id of the conversation's thread. `ended`:
    the turn is over, and no other process will go on with it, so this process exports the root
    span."""

    __slots__ = ("ended", "recorder", "root", "thread")

    def __init__(self, recorder: SpanRecorder, root: OpenSpan, thread: str) -> None:
        self.recorder = recorder
        self.root = root
        self.thread = thread
        self.ended = False


_TRACE: ContextVar[_Trace | None] = ContextVar("trace", default=None)
"""None: not recorded."""
_recorder: SpanRecorder | None = None


def set_recorder(recorder: SpanRecorder | None) -> None:
    """None: stop recording new turns."""
    global _recorder
    _recorder = recorder


class TurnTrace:
    """A context manager that records the trace of a turn while this process works on it. The
    process that ends the turn exports its root span. If the turn goes back into the queue or
    another process takes it over, that is another process."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        """Begin the trace of a turn, with its wait in the queue as the first span. The names of the
        values are those of OpenTelemetry's conventions for generative AI.

        The root span begins when the message was accepted, not now. It stays open, and it is
        exported only by the process that ends the turn (`__exit__`)."""
        if _recorder is None:  # tracing is off
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
        # Only the first attempt waits in the queue; waiting after a crash shows as a gap instead.
        if turn.is_untouched:
            with TraceSpan("queue", began=turn.accepted_at):
                pass

    def __exit__(self, *error: object) -> None:
        trace = _TRACE.get()
        _TRACE.set(None)
        if trace is not None and trace.ended:
            trace.root.end()


def note_turn_end(status: str, code: str = "") -> None:
    """Record in the current trace that the turn is over, so that this process exports the root span
    (`TurnTrace`).

    `status` is done, stopped, failed and so on; `code` is the error code.
    """
    if (trace := _TRACE.get()) is not None:
        trace.ended = True
        trace.root.note("ponte.turn.status", status)
        if code:
            trace.root.fail(code)
