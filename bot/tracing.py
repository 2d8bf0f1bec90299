"""Exports spans of turns to an OTLP collector: the only file that imports OpenTelemetry's SDK.

It is on if OTEL_EXPORTER_OTLP_ENDPOINT is set; the package's extra `otel` must then be installed.
The SDK itself reads its other variables from the environment (OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER, OTEL_BSP_…).
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from bot import __version__
from bot.settings import Settings
from core.base.errors import SettingsError
from core.integrations import plain_value
from core.observability import metrics
from core.observability.tracing import Recording, SpanValue, root_span_id_of, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

log = structlog.get_logger("traces")
MIN_EXPORT_SECONDS, MAX_EXPORT_SECONDS = 0.5, 5.0
"""Bounds of the time for the last export, whatever is left of the grace period."""


class Traces:
    """The `Recorder` of one process, with a provider of spans and its exporter."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        self.provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("ponte", __version__)
        self._api = trace
        self._nowhere = Context()
        self._kinds = (trace.SpanKind.INTERNAL, trace.SpanKind.CLIENT)

    @classmethod
    def from_settings(cls, settings: Settings) -> Traces | None:
        """Return a recorder, or None if traces are off. Raise SettingsError if the packages are
        missing."""
        if settings.otel_exporter_otlp_endpoint is None:
            return None
        try:
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            exporter = _logging_exporter(settings)
            return cls.with_exporter(exporter, BatchSpanProcessor(exporter))
        except ModuleNotFoundError as missing:
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_ENDPOINT needs the package {name}. Install "
                "requirements-otel.txt (docs/guides/watching.md).",
                name=missing.name or "opentelemetry",
            ) from None

    @classmethod
    def with_exporter(cls, exporter: SpanExporter, processor: SpanProcessor) -> Traces:
        """Return a recorder whose `processor` passes ended spans to `exporter`."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class TurnIds(IdGenerator):
            """Generates ids: for the root span of `turn` those that any process gives it, else
            random ones."""

            turn = ""

            def generate_trace_id(self) -> int:
                return trace_id_of(self.turn)

            def generate_span_id(self) -> int:
                return root_span_id_of(self.turn) if self.turn else random.getrandbits(64) or 1

            def is_trace_id_random(self) -> bool:
                return True  # a digest is, as far as samplers need it

        resource = Resource.create()
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "ponte"}))
        resource = Resource({"service.version": __version__}).merge(resource)
        provider = TracerProvider(resource=resource, id_generator=TurnIds(), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return cls(provider, exporter)

    def root(self, turn: str, name: str, began: float) -> Recording:
        ids: Any = self.provider.id_generator
        ids.turn = turn  # read before anything else can run
        span = self._tracer.start_span(name, self._nowhere, start_time=int(began * 1e9))
        ids.turn = ""
        return _Recording(span, self._api)

    def child(
        self, parent: Recording, name: str, began: float, *, leaves: bool = False
    ) -> Recording:
        if not isinstance(parent, _Recording):
            raise TypeError("a span's parent is one of the same recorder")
        context = self._api.set_span_in_context(parent.span, self._nowhere)
        span = self._tracer.start_span(
            name, context, kind=self._kinds[leaves], start_time=int(began * 1e9)
        )
        return _Recording(span, self._api)

    async def close(self, patience: float) -> None:
        """Export ended spans within `patience` seconds. Later ones are lost."""
        loop, closed_event = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self.provider.shutdown()
            with suppress(RuntimeError):  # nobody waited so long
                loop.call_soon_threadsafe(closed_event.set)

        # Not in the loop's own threads: their end is waited for when the process ends.
        thread = threading.Thread(target=shut, name="traces", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(min(MAX_EXPORT_SECONDS, max(MIN_EXPORT_SECONDS, patience))):
                await closed_event.wait()
        except TimeoutError:
            log.warning("could not export the last spans")
            self._exporter.shutdown()


@dataclass(frozen=True, slots=True)
class _Recording:
    span: Span
    _api: Any

    def note(self, name: str, value: SpanValue) -> None:
        self.span.set_attribute(name, value)

    def fail(self, code: str) -> None:
        self.span.set_attribute("error.type", code)
        self.span.set_status(self._api.Status(self._api.StatusCode.ERROR, code))

    def end(self) -> None:
        self.span.end()


def _logging_exporter(settings: Settings) -> SpanExporter:
    """Return an exporter that logs once when it fails, and once when it works again."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.util.re import parse_env_headers

    class LoggingExporter(OTLPSpanExporter):
        failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            failed = result is not SpanExportResult.SUCCESS
            metrics.spans.labels("lost" if failed else "exported").inc(len(spans))
            if failed and not self.failing:
                log.warning("could not export spans", spans=len(spans))
            elif self.failing and not failed:
                log.info("span export works again")
            self.failing = failed
            return result

    headers = plain_value(settings.otel_exporter_otlp_headers)
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0  # it would be sent on with its headers
    if proxy := settings.proxies.for_url(str(settings.otel_exporter_otlp_endpoint)):
        session.proxies = {"http": proxy, "https": proxy}
    return LoggingExporter(
        endpoint=settings.traces_url,
        headers=parse_env_headers(headers, liberal=True) if headers else None,
        session=session,
    )
