"""What the settings say of this Ponte's parts, and what these are built and checked with."""

from __future__ import annotations

from typing import Any

from bot.home import Home
from bot.settings import Settings
from bot.stores import name_engine
from core.base.http import HttpClient
from core.base.openai import OPENAI_URL, ModelEndpoint, ModelServerClient
from core.domain.ports import ReadFile, read_no_file
from core.domain.records import Health
from core.integrations import IntegrationDependencies, OperatorConfig, plain_value
from core.journal.jobs import Alone, Peers
from core.models.model_server import ModelOptions

NO_POSTGRES_SENTENCE = (
    "DATABASE_URL needs the {name} package. Install the `postgres` extra or "
    "`requirements/postgres.txt` (docs/guides/scaling.md)."
)

CHECK_FAILED_SENTENCE = "this check failed because of a bug in Ponte ({kind})"


def summaries(settings: Settings) -> tuple[Health, ...]:
    """Return each part as the settings alone tell it (configured or not), in the order of the start
    screen."""
    integration_lines = (integration.summary(settings, settings) for integration in settings.faces)
    shared = (Health("database", "on", name_engine(settings.database_url)), Health("config", "on"))
    return (*shared, *(part for part in integration_lines if part))


def model_client(settings: Settings) -> ModelServerClient:
    """Whoever holds the client must close it."""
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
    """Return what every integration is built and checked with: settings, the live ponte.toml, the
    data folder, HTTP clients, and the function that makes the pseudonyms under which external
    servers know people. Without `peers`, this process works alone."""
    # `Settings` contains the settings of every integration, so it is also the `own` of each.
    return IntegrationDependencies(
        settings,
        settings,
        config,
        home,
        http,
        client,
        # Read at each use: the first one creates a missing key.
        lambda name: ModelOptions(secret=home.pseudonyms()).pseudonym(name),
        peers or Alone(),
        read_file,
    )
