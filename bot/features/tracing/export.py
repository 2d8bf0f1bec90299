"""Exports the spans of turns to an OTLP collector.

It is the only place that imports OpenTelemetry's SDK, which reads its other variables from the
environment (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_…).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from core.observability import metrics
from core.observability.tracing import SpanValue

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span


def trace_id_of(turn: str) -> int:
    """All processes that work on the turn have the same trace id."""
    return int.from_bytes(_digest(turn)[:16], "big")


def root_span_id_of(turn: str) -> int:
    return int.from_bytes(_digest(turn)[16:24], "big")


def _digest(turn: str) -> bytes:
    return hashlib.sha256(f"trace of {turn}".encode()).digest()


log = structlog.get_logger("traces")
MIN_EXPORT_SECONDS, MAX_EXPORT_SECONDS = 0.5, 5.0
"""The bounds of the time for the last export, whatever is left of the grace period."""


class Traces:
    """Makes the spans of one process. Times are in Unix seconds."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter, version: str) -> None:
        # OpenTelemetry is imported here, because its packages are optional.
        from opentelemetry import trace
        from opentelemetry.context import Context

        self.provider = provider
        self._exporter = exporter  # only `close` uses it
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
        """The ids of the trace and of its root span are derived from the turn, so that all
        processes that work on it contribute to one trace. The service is named "ponte" unless
        OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name it. `processor` passes ended spans to
        `exporter`."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class TurnIds(IdGenerator):
            """While `turn` is set (`Traces.root`), span ids are those of its root span; otherwise
            random ones."""

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
        ids: Any = self.provider.id_generator  # makes the root span's ids from `turn`
        ids.turn = turn  # `start_span` reads it before any other code of this thread can run
        span = self._tracer.start_span(name, self._nowhere, start_time=int(began * 1e9))
        ids.turn = ""
        return Recording(span, self._api)

    def child(
        self, parent: Recording, name: str, began: float, *, leaves: bool = False
    ) -> Recording:
        # `leaves`: a call to another system.
        context = self._api.set_span_in_context(parent.span, self._nowhere)
        span = self._tracer.start_span(
            name, context, kind=self._kinds[leaves], start_time=int(began * 1e9)
        )
        return Recording(span, self._api)

    async def close(self, patience: float) -> None:
        """Spans that are not exported within `patience` seconds are lost.

        `provider.shutdown` blocks while the collector does not answer, so it runs in a thread.
        """
        loop, closed_event = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self.provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waited so long
                loop.call_soon_threadsafe(closed_event.set)

        # A daemon thread, because the end of the process would wait for a thread of the loop.
        thread = threading.Thread(target=shut, name="traces", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(min(MAX_EXPORT_SECONDS, max(MIN_EXPORT_SECONDS, patience))):
                await closed_event.wait()
        except TimeoutError:
            log.warning("could not export the last spans")
            self._exporter.shutdown()  # ends the retries of the export under way


@dataclass(frozen=True, slots=True)
class Recording:
    """An open span. Only an ended one is exported. `_api` is the module `opentelemetry.trace`,
    imported only if traces are on."""

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
    """Without `url`, the SDK reads it from the environment. `headers` is a text as in
    OTEL_EXPORTER_OTLP_HEADERS."""
    # These packages are optional: they are there only if traces are exported.
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.util.re import parse_env_headers

    class LoggingExporter(OTLPSpanExporter):
        failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            """Log when the export begins to fail and when it works again, and nothing in
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
