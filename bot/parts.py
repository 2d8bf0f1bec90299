"""What the settings say of the parts of this Ponte, and what these are built and checked with."""

from __future__ import annotations

from typing import Any

from bot import __version__
from bot.home import Home
from bot.settings import Settings
from bot.stores import name_engine
from core.base.errors import SettingsError
from core.base.http import HttpClient
from core.base.openai import OPENAI_URL, ModelEndpoint, ModelServerClient
from core.domain.ports import ReadFile, read_no_file
from core.domain.records import Health
from core.integrations import IntegrationDependencies, OperatorConfig, plain_value
from core.journal.jobs import Alone, Peers
from core.models.model_server import ModelOptions
from core.observability.tracing import Traces

NO_POSTGRES_SENTENCE = (
    "DATABASE_URL needs the {name} package. Install the `postgres` extra or "
    "`requirements/postgres.txt` (docs/guides/scaling.md)."
)


def summaries(settings: Settings) -> tuple[Health, ...]:
    """Return the state of each part as the settings alone tell it (configured or not), in the order
    of the start screen. No service is asked."""
    integration_lines = (face.summary(settings, settings) for face in settings.faces)
    shared = [Health("database", "on", name_engine(settings.database_url)), Health("config", "on")]
    if settings.transcribe_model:
        shared.append(Health("voice", "on", settings.transcribe_model))
    return (*shared, *(part for part in integration_lines if part))


def model_client(settings: Settings) -> ModelServerClient:
    """Return the client of the model's server. Whoever holds it must close it."""
    key, url = plain_value(settings.openai_api_key), settings.openai_base_url or OPENAI_URL
    return ModelServerClient(ModelEndpoint(key, url, settings.proxies))


def dependencies(
    settings: Settings,
    config: OperatorConfig,
    home: Home,
    http: HttpClient,
    client: ModelServerClient,
    peers: Peers | None = None,
    read_file: ReadFile = read_no_file,
) -> IntegrationDependencies[Any]:
    """Return the objects with which every integration is built and checked: settings, the live
    ponte.toml, the data folder, HTTP clients, and the function that makes the pseudonyms under
    which external servers know people. Without `peers`, this process works alone."""
    # `Settings` contains the settings of every integration, so it is also the `own` of each.
    return IntegrationDependencies(
        settings,
        settings,
        config,
        home,
        http,
        client,
        # Read at each use: the first one creates the key if the data folder has none.
        lambda name: ModelOptions(secret=home.pseudonyms()).pseudonym(name),
        peers or Alone(),
        read_file,
    )


def open_traces(settings: Settings) -> Traces | None:
    """Return a recorder of spans that exports to OTEL_EXPORTER_OTLP_ENDPOINT, None if that is not
    set. OpenTelemetry's packages are optional: raise SettingsError if they are missing."""
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    headers = plain_value(settings.otel_exporter_otlp_headers)
    proxy = settings.proxies.for_url(str(settings.otel_exporter_otlp_endpoint))
    try:
        return Traces.open(settings.traces_url, headers, proxy, __version__)
    except ModuleNotFoundError as missing:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the {name} package. Install "
            "`requirements/otel.txt` (docs/guides/watching.md).",
            name=missing.name or "opentelemetry",
        ) from None
