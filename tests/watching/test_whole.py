"""The real `ponte run`, watched: a turn's trace leaves before the process ends, and `/metrics`
tells its parts."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from bot.features.tracing import export
from bot.settings import Settings
from tests.commands import Command

if TYPE_CHECKING:
    from tests.watching.collector import Collector


@contextmanager
def ponte(address: str, home: Path, url: str) -> Iterator[tuple[Command, httpx.Client]]:
    """One that is ready, and a client at its home's socket."""
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    options = {"PONTE_HOME": str(home), "PONTE_WEB_PORT": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    with Command(address, ["run"], ours | options, home.parent) as process:
        assert process.stdout
        try:
            assert any("ready" in line for line in iter(process.stdout.readline, ""))
            transport = httpx.HTTPTransport(uds=str(home / "ponte.sock"))
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                yield process, client
        finally:
            process.kill()


def test_a_turn_s_trace_leaves_before_the_end_and_metrics_tell_the_parts(
    tmp_path: Path, collector: Collector, commands: str
) -> None:
    with ponte(commands, tmp_path / "home", collector.url) as (process, client):
        body = client.post("/chat", json={"message": "hello"}).json()
        assert body["status"] == "done"
        text = client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert "trace" not in process.stderr.read()
    lines = text.splitlines()
    for line in (
        'ponte_part_up{part="web"} 1.0',
        'ponte_part_up{part="model"} 1.0',
        'ponte_proposals{state="open"} 0.0',
        "ponte_oldest_queued_message_seconds 0.0",
        'ponte_turns_total{platform="terminal",status="done"} 1.0',
        'ponte_queue_wait_seconds_count{platform="terminal"} 1.0',
        'ponte_posting_duration_seconds_count{platform="terminal"} 1.0',
    ):
        assert line in lines
    assert any(line.startswith("ponte_model_first_token_seconds_count{model=") for line in lines)
    assert any(line.startswith("ponte_build_info{") for line in lines)
    assert re.search(r"^ponte_disk_free_ratio 0\.\d+$", text, re.MULTILINE)
    assert 'part="slack"' not in text  # it is not set up
    spans = collector.spans()
    assert {"invoke_agent Ponte", "queue", "post"} <= {span.name for span in spans}
    assert {int.from_bytes(span.trace_id, "big") for span in spans} == {
        export.trace_id_of(body["turn"])
    }
