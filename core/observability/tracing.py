"""Traces of turns as spans (queue, model, tools, posting), by OpenTelemetry's GenAI conventions.

A turn is one trace. Its root span lasts from the acceptance of the message to the end of the turn,
in whichever processes it runs. The ids of the trace and its root span are derived from the turn's
id. Spans contain fixed names, numbers and codes. They never contain texts of people, models or
tools, or names of people: `gen_ai.conversation.id` is the random id of the thread. Nothing is
recorded before `set_recorder`.

`Traces` exports the spans to an OTLP collector. It is the only place that imports OpenTelemetry's
SDK, which reads its other variables from the environment (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER,
OTEL_BSP_…).

Names: github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai, of 2026-11.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from core.base.errors import PonteError
from core.domain.messages import Usage
from core.domain.records import Turn
from core.observability import metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

SpanValue = str | int | float | bool
AGENT_NAME = "Ponte"
OPERATION_ATTRIBUTE = "gen_ai.operation.name"
PROVIDER_ATTRIBUTE = "gen_ai.provider.name"
CONVERSATION_ATTRIBUTE = "gen_ai.conversation.id"


def trace_id_of(turn: str) -> int:
    """Derived from the turn's id, so that all processes that work on the turn have the same trace
    id."""
    return int.from_bytes(_digest(turn)[:16], "big")


def root_span_id_of(turn: str) -> int:
    return int.from_bytes(_digest(turn)[16:24], "big")


def _digest(turn: str) -> bytes:
    return hashlib.sha256(f"trace of {turn}".encode()).digest()


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
        began: float = 0.0,
        leaves: bool = False,
    ) -> None:
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

    def __init__(self, recorder: Traces, root: Recording, thread: str) -> None:
        self.recorder = recorder
        self.root = root
        self.thread = thread
        self.ended = False


_TRACE: ContextVar[_Trace | None] = ContextVar("trace", default=None)
"""None: not recorded."""
_recorder: Traces | None = None


def set_recorder(recorder: Traces | None) -> None:
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
        """The root span begins when the message was accepted, not now. It stays open, and it is
        exported only by the process that ends the turn (`__exit__`)."""
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


log = structlog.get_logger("traces")
MIN_EXPORT_SECONDS, MAX_EXPORT_SECONDS = 0.5, 5.0
"""Bounds of the time for the last export, whatever is left of the grace period."""


class Traces:
    """Times are in Unix seconds."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter, version: str) -> None:
        # OpenTelemetry is imported here, because its packages are optional.
        from opentelemetry import trace
        from opentelemetry.context import Context

        self.provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("ponte", version)
        self._api = trace
        self._nowhere = Context()
        """An empty context: a root span must not become a child of another library's."""
        self._kinds = (trace.SpanKind.INTERNAL, trace.SpanKind.CLIENT)
        """The kind of a span by its flag `leaves` (False, True): a step of Ponte, or a call to
        another system."""

    @classmethod
    def open(cls, url: str | None, headers: str | None, proxy: str | None, version: str) -> Traces:
        """Raise ModuleNotFoundError if the packages are missing."""
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _logging_exporter(url, headers, proxy)
        return cls.with_exporter(exporter, BatchSpanProcessor(exporter), version)

    @classmethod
    def with_exporter(
        cls, exporter: SpanExporter, processor: SpanProcessor, version: str = ""
    ) -> Traces:
        """The trace id and the id of the root span are derived from the turn, so that each process
        that works on the turn gives them to its spans, and all of these form one trace. The service
        is named "ponte" unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name it."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class TurnIds(IdGenerator):
            """Generates the ids of spans: while `turn` is set (`Traces.root`), those of its root
            span, which any process derives from the turn; otherwise random ones."""

            turn = ""

            def generate_trace_id(self) -> int:
                # Only a root span gets a new trace id, so `turn` is set.
                return trace_id_of(self.turn)

            def generate_span_id(self) -> int:
                # 0 is no valid id (W3C Trace Context).
                return root_span_id_of(self.turn) if self.turn else random.getrandbits(64) or 1

            def is_trace_id_random(self) -> bool:
                return True  # the id is a digest, whose bits samplers can use as random ones

        # It reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; without a name there, the SDK's
        # is "unknown_service".
        resource = Resource.create()
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "ponte"}))
        # Values of `resource` win, so OTEL_RESOURCE_ATTRIBUTES can set another version.
        resource = Resource({"service.version": version}).merge(resource)
        # `close` shuts it down, within a time limit.
        provider = TracerProvider(resource=resource, id_generator=TurnIds(), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return cls(provider, exporter, version)

    def root(self, turn: str, name: str, began: float) -> Recording:
        ids: Any = self.provider.id_generator
        ids.turn = turn  # `start_span` reads it before any other code of this thread can run
        span = self._tracer.start_span(name, self._nowhere, start_time=int(began * 1e9))
        ids.turn = ""
        return Recording(span, self._api)

    def child(
        self, parent: Recording, name: str, began: float, *, leaves: bool = False
    ) -> Recording:
        context = self._api.set_span_in_context(parent.span, self._nowhere)
        span = self._tracer.start_span(
            name, context, kind=self._kinds[leaves], start_time=int(began * 1e9)
        )
        return Recording(span, self._api)

    async def close(self, patience: float) -> None:
        """Spans that are not exported by then are lost.

        `provider.shutdown` blocks while the collector does not answer, so it runs in a thread.
        """
        loop, closed_event = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self.provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed already: nobody waited so long
                loop.call_soon_threadsafe(closed_event.set)

        # A daemon thread, because the end of the process would wait for a thread of the loop.
        thread = threading.Thread(target=shut, name="traces", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(min(MAX_EXPORT_SECONDS, max(MIN_EXPORT_SECONDS, patience))):
                await closed_event.wait()
        except TimeoutError:
            log.warning("could not export the last spans")
            self._exporter.shutdown()  # ends the retries of the export that is under way


@dataclass(frozen=True, slots=True)
class Recording:
    """An open span of OpenTelemetry, to which attributes can be added. Only a span that is ended is
    exported. `_api` is the module `opentelemetry.trace`, imported only if traces are on."""

    span: Span
    _api: Any

    def note(self, name: str, value: SpanValue) -> None:
        self.span.set_attribute(name, value)

    def fail(self, code: str) -> None:
        self.span.set_attribute("error.type", code)
        self.span.set_status(self._api.Status(self._api.StatusCode.ERROR, code))

    def end(self) -> None:
        self.span.end()


def _logging_exporter(url: str | None, headers: str | None, proxy: str | None) -> SpanExporter:
    """`headers` is a text as in OTEL_EXPORTER_OTLP_HEADERS."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.util.re import parse_env_headers

    class LoggingExporter(OTLPSpanExporter):
        failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            """Log a warning when it begins to fail and a line when it works again, and nothing in
            between."""
            result = super().export(spans)
            failed = result is not SpanExportResult.SUCCESS
            metrics.spans.labels("lost" if failed else "exported").inc(len(spans))
            if failed and not self.failing:
                log.warning("could not export spans", spans=len(spans))
            elif self.failing and not failed:
                log.info("span export works again")
            self.failing = failed
            return result

    session = requests.Session()
    # The proxy is one of our settings; `requests` would also read the environment and .netrc.
    session.trust_env = False
    # A redirect would send the headers, which can hold a key, to another server.
    session.max_redirects = 0
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    return LoggingExporter(
        endpoint=url,
        # `liberal` accepts values that are not URL-encoded, such as those with a space.
        headers=parse_env_headers(headers, liberal=True) if headers else None,
        session=session,
    )
