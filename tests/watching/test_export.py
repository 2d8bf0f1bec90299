"""Where spans go: to a collector over HTTP; and what happens while there is none."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bot.features.tracing import export
from bot.features.tracing.export import Traces
from bot.features.tracing.feature import open_traces
from bot.settings import Settings, load
from core.base.errors import SettingsError
from core.observability import metrics

if TYPE_CHECKING:
    from tests.watching.collector import Collector

pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry (make .venv/ready-to-test)")


@pytest.fixture(autouse=True)
def no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "HEADERS", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def settings(url: str, **more: str) -> Settings:
    return Settings.model_validate({"otel_exporter_otlp_endpoint": url, **more})


def record_turn(traces: Traces, turn: str) -> None:
    traces.root(turn, "invoke_agent Ponte", time.time()).end()


async def send_turn(traces: Traces | None) -> None:
    assert traces
    record_turn(traces, "turn1")
    await traces.close(5.0)


async def test_spans_arrive_when_the_process_ends(collector: Collector) -> None:
    headers = "authorization=Bearer%20abc,x-team=ponte"
    traces = open_traces(settings(collector.url, otel_exporter_otlp_headers=headers))
    await send_turn(traces)
    ((path, requests, request),) = collector.asked
    assert path == "/v1/traces"
    assert (requests["authorization"], requests["x-team"]) == ("Bearer abc", "ponte")
    (span,) = collector.spans()
    assert int.from_bytes(span.trace_id, "big") == export.trace_id_of("turn1")
    assert int.from_bytes(span.span_id, "big") == export.root_span_id_of("turn1")
    about = {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}
    assert about["service.name"] == "ponte"
    assert about["service.version"]


async def test_the_sdk_s_own_variables_count(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/own/path")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    monkeypatch.chdir(tmp_path)
    traces = open_traces(load())
    await send_turn(traces)
    ((path, _, request),) = collector.asked
    assert path == "/own/path"
    about = {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}
    assert about["service.name"] == "ours"


async def test_what_is_sampled_out_is_not_sent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traces = open_traces(settings(collector.url))
    await send_turn(traces)
    assert collector.asked == []


def count_lost_spans() -> float:
    return metrics.registry.get_sample_value("ponte_trace_spans_total", {"outcome": "lost"}) or 0.0


async def test_a_collector_that_refuses_is_told_once(collector: Collector) -> None:
    collector.status = 400
    before = count_lost_spans()
    with capture_logs() as logs:
        traces = open_traces(settings(collector.url))
        assert traces
        for number in range(3):
            record_turn(traces, f"turn{number}")
            await asyncio.to_thread(traces.provider.force_flush)
        collector.status = 200
        record_turn(traces, "turn3")
        await traces.close(5.0)
    texts = [(line["log_level"], line["event"]) for line in logs]
    assert texts == [("warning", "could not export spans"), ("info", "span export works again")]
    assert count_lost_spans() == before + 3


async def test_one_that_says_nothing_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for its answer would wait for ever."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100000")
    with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
        traces = open_traces(settings(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert traces
        for number in range(1000):
            record_turn(traces, f"turn{number}")
        await traces.close(0.0)
    assert [line["event"] for line in logs] == ["could not export the last spans"]


async def test_a_redirect_is_not_followed(collector: Collector) -> None:
    """It would take the headers, which are secrets, wherever it leads."""
    collector.status = 302
    traces = open_traces(settings(collector.url, otel_exporter_otlp_headers="x-key=secret"))
    await send_turn(traces)
    assert {path for path, *_ in collector.asked} == {"/v1/traces"}


def test_none_where_none_are_asked_for_and_its_secret_is_one() -> None:
    assert open_traces(Settings()) is None
    environment = settings("https://traces.example", otel_exporter_otlp_headers="x-key=hunter2")
    assert "x-key=hunter2" in environment.secrets
    assert "hunter2" not in repr(environment)


def test_a_secret_of_the_environment_goes_to_no_address_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("OTEL_EXPORTER_OTLP_ENDPOINT=https://traces.example\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        load()


def test_without_the_packages_the_setting_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    assert open_traces(Settings()) is None
    with pytest.raises(SettingsError) as error:
        open_traces(settings("http://localhost:4318"))
    assert str(error.value).startswith("OTEL_EXPORTER_OTLP_ENDPOINT needs the")
    assert "requirements/otel.txt" in str(error.value)
