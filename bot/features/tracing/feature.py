"""Traces of turns, which OpenTelemetry exports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bot import __version__
from bot.features.base import EndFeature, Feature
from core.base.errors import SettingsError
from core.integrations import plain_value
from core.observability import tracing

if TYPE_CHECKING:
    from bot.features.tracing.export import Traces


def open_traces(settings: Any) -> Traces | None:
    """Return a recorder of spans that exports to OTEL_EXPORTER_OTLP_ENDPOINT, None if that is not
    set. Raises SettingsError if OpenTelemetry's optional packages are missing."""
    if (endpoint := settings.otel_exporter_otlp_endpoint) is None:
        return None
    from bot.features.tracing.export import Traces

    # None: the SDK reads the URL from the environment (not from `.env`), where more specific
    # variables may be set, too.
    is_in_environment = settings.source("otel_exporter_otlp_endpoint") == "environment"
    url = None if is_in_environment else f"{endpoint.rstrip('/')}/v1/traces"
    headers = plain_value(settings.otel_exporter_otlp_headers)
    try:
        return Traces.open(url, headers, settings.proxies.for_url(endpoint), __version__)
    except ModuleNotFoundError as missing:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the {name} package. Install "
            "`requirements/otel.txt` (docs/guides/watching.md).",
            name=missing.name or "opentelemetry",
        ) from None


class TracingFeature(Feature):
    """Exports the spans of turns if a collector is set."""

    def list_extras(self, config: Any, settings: Any) -> Iterable[str]:
        return ["otel"] if settings.otel_exporter_otlp_endpoint else ()

    def begin(self, settings: Any) -> EndFeature | None:
        traces = open_traces(settings)
        tracing.set_recorder(traces)
        if traces is None:
            return None

        async def close(seconds: float) -> None:
            tracing.set_recorder(None)
            await traces.close(seconds)

        return close


FEATURE = TracingFeature()
