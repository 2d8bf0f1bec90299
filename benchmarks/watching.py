"""What watching costs a turn: counting alone, spans that nobody wants, spans that are exported.

`python -m benchmarks.watching`. Each figure is CPU for a turn (instant model, null reply), beside
the turn's own in the same run; the last one wants the extra `otel`, and is left out without.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from benchmarks.engine import engine
from core.domain.messages import Usage
from core.domain.records import Turn
from core.observability import metrics, tracing
from tests.fakes.choices import make_message

if TYPE_CHECKING:
    from bot.features.tracing.export import Traces

TURNS, ROUNDS, CALLS = 1000, 5, 20_000
EXPORTED_TURNS = 400
"""Turns whose spans the queue of the SDK holds (2048)."""
TURN = Turn(1, 1, 0, "thread", "running", make_message("hello", "k"))


async def _turns() -> float:
    """Seconds of CPU for each of them."""
    async with engine() as opened:
        opened.start()
        messages = [make_message("hello", f"k{n}", f"C{n % 200}") for n in range(TURNS)]
        began = time.process_time()
        receipts = await asyncio.gather(
            *(opened.conversations.inbox.accept(one) for one in messages)
        )
        await asyncio.gather(
            *(opened.conversations.inbox.wait_for_answer(one.seq) for one in receipts)
        )
        return (time.process_time() - began) / TURNS


def _record_turn_metrics() -> None:
    """All that a turn with one call of the model counts."""
    with metrics.store_seconds.labels("web").time():
        metrics.queued.inc()
    metrics.queued.dec()
    metrics.running.inc()
    metrics.queue_wait_seconds.labels("web").observe(0.1)
    with metrics.model_seconds.labels("echo").time():
        metrics.first_token_seconds.labels("echo").observe(0.1)
    metrics.count_model_call(Usage(), "echo")
    metrics.posting_seconds.labels("web").observe(0.1)
    metrics.count_turn("web", "done", 0.1)
    metrics.running.dec()


def _spans() -> None:
    """Those of such a turn."""
    with tracing.TurnTrace(TURN):
        with tracing.model_call("echo", "ponte", 1) as span:
            span.note_usage(Usage())
        with tracing.TraceSpan("post"):
            pass
        tracing.note_turn_end("done")


def _alone(calls: Callable[[], None], times: int = CALLS) -> float:
    began = time.process_time()
    for _ in range(times):
        calls()
    return (time.process_time() - began) / times


def _measure_export() -> float:
    traces = _traces()
    tracing.set_recorder(traces)
    try:
        began = time.process_time()
        _alone(_spans, EXPORTED_TURNS)
        traces.provider.force_flush()
        return (time.process_time() - began) / EXPORTED_TURNS
    finally:
        tracing.set_recorder(None)
        traces.provider.shutdown()


def _traces() -> Traces:
    """To an exporter that writes all for nobody, behind the queue of the real one."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from bot.features.tracing.export import Traces

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            return SpanExportResult.SUCCESS

    exporter = Nowhere()
    return Traces.with_exporter(exporter, BatchSpanProcessor(exporter))


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    turn = statistics.median([await _turns() for _ in range(ROUNDS)])
    figures = {"counting": _alone(_record_turn_metrics), "spans that nobody wants": _alone(_spans)}
    if importlib.util.find_spec("opentelemetry"):
        figures["spans that are exported"] = statistics.median(
            _measure_export() for _ in range(ROUNDS)
        )
    sys.stdout.write(f"a turn's CPU {turn * 1e6:.0f} µs\n")
    for what, cost in figures.items():
        sys.stdout.write(f"{what:<28} {cost * 1e6:>7.1f} µs  ratio {cost / turn:>7.4f}\n")


if __name__ == "__main__":
    asyncio.run(main())
