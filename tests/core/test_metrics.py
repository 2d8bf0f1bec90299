"""What is counted can be read by Prometheus."""

from __future__ import annotations

from core import metrics


def test_the_exposition_tells_what_was_counted() -> None:
    before = metrics.turns.labels("test", "done")
    before.inc()
    metrics.turn_seconds.labels("test").observe(0.2)
    lines = metrics.exposition().splitlines()
    assert 'ponte_turns_total{platform="test",status="done"} 1.0' in lines
    assert 'ponte_turn_seconds_bucket{le="0.25",platform="test"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
