"""Prometheus metrics. Labels contain fixed names only, never texts of people.

A tool's name in a label is one that Ponte offers. Calls of any other name count as "unknown".
docs/reference/metrics.md has a row for each metric (`python -m tests.watching.tables`).
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from core.domain.messages import Usage

disable_created_metrics()  # type: ignore[no-untyped-call]  # they are a second series that nothing reads
TOKEN_KINDS = ("input", "cached", "output", "reasoning")
_TURN_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)
_STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
histogram = partial(Histogram, registry=registry, buckets=_TURN_SECONDS)

build = Info(
    "ponte_build", "Version of Ponte and of Python, and the storage engine", registry=registry
)
parts = gauge(
    "ponte_part_up",
    "1 if a configured part works, else 0: platforms, model, tools, database",
    ["part"],
)
turns = counter("ponte_turns", "Ended turns", ["platform", "status"])
turn_seconds = histogram(
    "ponte_turn_duration_seconds",
    "Seconds from accepting a message to the last post of its answer",
    ["platform"],
)
queue_wait_seconds = histogram(
    "ponte_queue_wait_seconds",
    "Seconds from accepting a message to the start of its turn",
    ["platform"],
)
posting_seconds = histogram(
    "ponte_posting_duration_seconds",
    "Seconds from the finished answer until all of it is posted",
    ["platform"],
)
store_seconds = histogram(
    "ponte_message_store_duration_seconds",
    "Seconds to store a message, before Ponte acknowledges it",
    ["platform"],
    buckets=_STORE_SECONDS,
)
store_failures = counter(
    "ponte_message_store_failures", "Messages that could not be stored and were not accepted"
)
alert_looks = counter(
    "ponte_alert_looks", "Looks of alerts: quiet, posted, failed or refused", ["result"]
)
free_disk = gauge("ponte_disk_free_ratio", "Free share of the data folder's disk, 0 to 1")
failed_events = counter(
    "ponte_failed_events",
    "Events of a platform that caused an exception, and were given up",
    ["platform"],
)
queued = gauge("ponte_queued_messages", "Stored messages that wait for their turn")
oldest = gauge(
    "ponte_oldest_queued_message_seconds", "Age in seconds of the message that waits longest"
)
processes = gauge(
    "ponte_processes", "Running processes, by task: receive_messages, run_turns", ["task"]
)
leader = gauge(
    "ponte_leader", "1 if this process has a role that only one process has (Postgres)", ["role"]
)
running = gauge("ponte_running_turns", "Turns that run in this process")
tool_calls = counter(
    "ponte_tool_calls", "Ended tool calls of models and people", ["tool", "outcome"]
)
mcp_calls = counter("ponte_mcp_calls", "Calls of tools by programs over MCP", ["tool", "outcome"])
tool_seconds = histogram("ponte_tool_call_duration_seconds", "Seconds for one tool call", ["tool"])
first_token_seconds = histogram(
    "ponte_model_first_token_seconds",
    "Seconds from a model call to the first text of its answer",
    ["model"],
)
model_seconds = histogram(
    "ponte_model_call_duration_seconds",
    "Seconds from a model call to its end or failure",
    ["model"],
)
model_calls = counter(
    "ponte_model_calls", "Model calls, by outcome (ok, or the code of the error)", ["outcome"]
)
model_tokens = counter(
    "ponte_model_tokens",
    "Tokens as the server counted them (input, cached, output, reasoning)",
    ["model", "kind"],
)
model_cost = counter(
    "ponte_model_cost_dollars", "US dollars for model calls, if the price is known", ["model"]
)
limits = counter("ponte_limit_refusals", "Messages, turns and calls refused by a limit", ["limit"])
allowance_warnings = counter(
    "ponte_allowance_warnings", "Times that an allowance of everybody reached 80 %"
)
changes = counter(
    "ponte_change_events",
    "Events of proposals and changes, by event (proposed, denied, done …)",
    ["event", "kind"],
)
proposals = gauge(
    "ponte_proposals",
    "Proposals that wait for a decision (open) or are being written (applying)",
    ["state"],
)
feedback = counter("ponte_feedback", "Votes on answers (up, down, removed)", ["vote", "platform"])
duplicate_posts = counter(
    "ponte_duplicate_posts", "Answers that a suspended process posted again, and removed (Postgres)"
)
errors = counter("ponte_errors", "Errors shown to users, by code", ["code"])
spans = counter("ponte_trace_spans", "Spans of traces, by outcome (exported, lost)", ["outcome"])
spans.labels("lost")  # begins this series at 0, so that the first increase is seen


def count_turn(platform: str, status: str, seconds: float) -> None:
    """`seconds` is its duration since the acceptance of the message."""
    # Begins this series at 0: Prometheus sees no increase in a series that begins at 1.
    turns.labels(platform, "undeliverable")
    turns.labels(platform, status).inc()
    turn_seconds.labels(platform).observe(max(0.0, seconds))


def set_build_info(version: str, store: str) -> None:
    """`store` is "sqlite" or "postgres"."""
    python = ".".join(map(str, sys.version_info[:3]))
    build.info({"version": version, "python": python, "store": store})


def set_part_states(working: Mapping[str, bool]) -> None:
    """Parts that are not in `working` are removed."""
    parts.clear()
    for name, works in working.items():
        parts.labels(name).set(works)


def set_proposal_counts(counts: Mapping[str, int]) -> None:
    for state, count in counts.items():
        proposals.labels(state).set(count)


def set_queue_age(age: Callable[[], float]) -> None:
    """Every scrape calls it."""
    oldest.set_function(age)


def watch_disk(folder: Path) -> None:
    """Each scrape of the metrics reads the free share again; NaN if it cannot be read."""

    def free_share() -> float:
        try:
            disk = shutil.disk_usage(folder)
        except OSError:
            return math.nan
        return disk.free / disk.total

    free_disk.set_function(free_share)


def count_model_call(usage: Usage, model: str) -> None:
    """`model` is the configured name of the model."""
    model_calls.labels("ok").inc()
    count_usage(usage, model)


def count_usage(usage: Usage, model: str) -> None:
    for kind in TOKEN_KINDS:
        if count := getattr(usage, kind):
            model_tokens.labels(model, kind).inc(count)
    model_cost.labels(model).inc(usage.cost or 0.0)


def render_metrics() -> str:
    return generate_latest(registry).decode()
