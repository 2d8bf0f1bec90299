"""What is counted can be read by Prometheus."""

from __future__ import annotations

from core.observability import metrics


def test_the_exposition_tells_what_was_counted() -> None:
    before = metrics.turns.labels("test", "done")
    before.inc()
    metrics.turn_seconds.labels("test").observe(0.2)
    lines = metrics.render_metrics().splitlines()
    assert 'ponte_turns_total{platform="test",status="done"} 1.0' in lines
    assert 'ponte_turn_duration_seconds_bucket{le="0.25",platform="test"} 1.0' in lines
    assert not any("_created" in line for line in lines)
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_what_is_no_longer_set_up_is_not_told() -> None:
    metrics.set_part_states({"slack": True, "model": False})
    lines = metrics.render_metrics().splitlines()
    assert 'ponte_part_up{part="slack"} 1.0' in lines
    assert 'ponte_part_up{part="model"} 0.0' in lines
    metrics.set_part_states({})
    assert "ponte_part_up{" not in metrics.render_metrics()


def test_what_alerts_count_from_is_there_before_it_happens() -> None:
    metrics.count_turn("somewhere", "done", -1.0)
    lines = metrics.render_metrics().splitlines()
    assert 'ponte_turns_total{platform="somewhere",status="undeliverable"} 0.0' in lines
    assert 'ponte_turn_duration_seconds_sum{platform="somewhere"} 0.0' in lines, "a clock set back"
    for name in ("ponte_duplicate_posts_total", 'ponte_trace_spans_total{outcome="lost"}'):
        assert any(line.startswith(name) for line in lines)


def test_the_queue_s_age_is_asked_when_somebody_reads() -> None:
    ages = iter([3.0, 4.0])
    metrics.set_queue_age(lambda: next(ages))
    assert "ponte_oldest_queued_message_seconds 3.0" in metrics.render_metrics()
    assert "ponte_oldest_queued_message_seconds 4.0" in metrics.render_metrics()
    metrics.set_queue_age(float)
