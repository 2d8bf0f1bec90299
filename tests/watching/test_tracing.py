"""A turn as a trace: what stands in it, what never does, and that it is one whoever goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.features.tracing import export
from core.base.errors import ModelDown
from core.domain.messages import Usage
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.observability import tracing
from tests.dialogues.bot_home import BotHome
from tests.fakes.models import EchoModel

trace = pytest.importorskip(
    "opentelemetry.trace", reason="needs OpenTelemetry (make .venv/ready-to-test)"
)
from opentelemetry.sdk.trace import ReadableSpan  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

from bot.features.tracing.export import Traces  # noqa: E402

SECRET = "the margin of Aldeia is 41 percent"


@pytest.fixture
def span_exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.set_recorder(Traces.with_exporter(exporter, SimpleSpanProcessor(exporter)))
    yield exporter
    tracing.set_recorder(None)


@pytest.fixture
def bot_home(tmp_path: Path) -> BotHome:
    return BotHome(tmp_path / "home")


class PricedModel(EchoModel):
    level = "responses"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        async for event in super().ask(ask):
            if isinstance(event, RoundCompleted):
                usage = Usage(input=100, cached=40, output=7, reasoning=2, cost=0.25)
                event = RoundCompleted(event.items, usage)
            yield event


class BrokenModel(EchoModel):
    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        raise ModelDown
        yield TextDelta("")


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def trace_of(span: ReadableSpan) -> int:
    assert span.context
    return int(span.context.trace_id)


def lasts(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time
    assert span.end_time
    return span.start_time, span.end_time


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_queue_model_tool_and_posting_are_told_apart(
    bot_home: BotHome, span_exporter: InMemorySpanExporter
) -> None:
    async with bot_home.open(PricedModel()) as running_bot:
        one, receipt = await running_bot.send(f'call nope {{"what": "{SECRET}"}}')
        await running_bot.wait_for_answer(receipt)
    spans = span_exporter.get_finished_spans()
    names = [span.name for span in spans]
    questions = [span for span in spans if span.name == "chat echo"]
    assert sorted(names) == [
        "chat echo",
        "chat echo",
        "execute_tool unknown",
        "invoke_agent Ponte",
        "post",
        "queue",
    ]
    root = by_name(span_exporter)["invoke_agent Ponte"]
    assert root.parent is None
    assert {trace_of(span) for span in spans} == {export.trace_id_of(one.turn)}
    began, over = lasts(root)
    for span in spans:
        if span is not root:
            assert span.parent
            assert span.parent.span_id == export.root_span_id_of(one.turn)
        assert began <= lasts(span)[0] <= lasts(span)[1] <= over
    assert facts(root)["ponte.turn.id"] == one.turn
    assert facts(root)["ponte.turn.status"] == "done"
    assert facts(root)["gen_ai.operation.name"] == "invoke_agent"
    call = facts(questions[0])
    assert call["gen_ai.operation.name"] == "chat"
    assert call["gen_ai.provider.name"] == "openai"
    assert call["gen_ai.request.model"] == "echo"
    assert call["gen_ai.usage.input_tokens"] == 100
    assert call["gen_ai.usage.cache_read.input_tokens"] == 40
    assert call["ponte.cost.dollars"] == 0.25
    assert questions[0].kind is trace.SpanKind.CLIENT
    assert "gen_ai.response.time_to_first_chunk" not in call  # it called a tool without a word
    assert facts(questions[1])["gen_ai.response.time_to_first_chunk"] >= 0
    tool = by_name(span_exporter)["execute_tool unknown"]
    assert facts(tool)["ponte.tool.outcome"] == "error"
    assert tool.status.status_code is trace.StatusCode.ERROR
    assert call["gen_ai.conversation.id"] == facts(root)["gen_ai.conversation.id"]


async def test_nobody_s_words_or_names_stand_in_it(
    bot_home: BotHome, span_exporter: InMemorySpanExporter
) -> None:
    async with bot_home.open(EchoModel()) as running_bot:
        await running_bot.ask(SECRET)
        await running_bot.ask(f'call {SECRET.replace(" ", "_")} {{"what": "{SECRET}"}}')
    body = json.dumps([json.loads(span.to_json()) for span in span_exporter.get_finished_spans()])
    assert body.count("invoke_agent Ponte") == 2
    for word in ("Aldeia", "margin", "Ana", "owner", "C1", "k1"):
        assert word not in body, word


async def test_a_failure_is_its_code(
    bot_home: BotHome, span_exporter: InMemorySpanExporter
) -> None:
    async with bot_home.open(BrokenModel()) as running_bot:
        await running_bot.ask("hello")
    for name in ("chat echo", "invoke_agent Ponte"):
        span = by_name(span_exporter)[name]
        assert facts(span)["error.type"] == "model_down"
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == "model_down"
        assert not span.events  # an exception's words would stand there
    assert facts(by_name(span_exporter)["invoke_agent Ponte"])["ponte.turn.status"] == "failed"
    assert by_name(span_exporter)["post"].status.status_code is trace.StatusCode.UNSET


async def test_what_goes_on_in_another_process_is_the_same_trace(
    bot_home: BotHome, span_exporter: InMemorySpanExporter
) -> None:
    """The first process is asked to end while the model thinks; the next one answers."""

    async def never(ask: RoundRequest) -> None:
        await asyncio.Event().wait()

    slow = EchoModel(gate=never)
    async with bot_home.open(slow) as running_bot:
        one, receipt = await running_bot.send("hello")
        await slow.until(1)
    first = [span.name for span in span_exporter.get_finished_spans()]
    assert sorted(first) == ["chat echo", "queue"]  # its root is for whoever ends it
    async with bot_home.open(EchoModel()) as running_bot:
        assert (await running_bot.wait_for_answer(receipt)).status == "done"
    spans = span_exporter.get_finished_spans()
    assert [span.name for span in spans].count("invoke_agent Ponte") == 1
    assert [span.name for span in spans].count("queue") == 1
    assert {span.context.trace_id for span in spans if span.context} == {
        export.trace_id_of(one.turn)
    }
    parents = {span.parent.span_id for span in spans if span.parent}
    assert parents == {export.root_span_id_of(one.turn)}
    stopped_span = next(span for span in spans if span.name == "chat echo")
    assert facts(stopped_span)["error.type"] == "cancelled"


async def test_turns_beside_each_other_do_not_mix(
    bot_home: BotHome, span_exporter: InMemorySpanExporter
) -> None:
    async with bot_home.open(EchoModel(delay=0.01)) as running_bot:
        messages = [await running_bot.send("hello", channel=f"C{n}") for n in range(5)]
        for _, receipt in messages:
            await running_bot.wait_for_answer(receipt)
    for one, _ in messages:
        all = span_exporter.get_finished_spans()
        own = [span for span in all if trace_of(span) == export.trace_id_of(one.turn)]
        assert sorted(span.name for span in own) == [
            "chat echo",
            "invoke_agent Ponte",
            "post",
            "queue",
        ]


async def test_without_a_recorder_there_is_nothing(bot_home: BotHome) -> None:
    async with bot_home.open(EchoModel()) as running_bot:
        assert (await running_bot.ask("hello")).status == "done"
    with tracing.TraceSpan("queue") as span:
        span.note("a", 1)
        span.fail("b")
        span.note_usage(Usage())
    tracing.note_turn_end("done")
