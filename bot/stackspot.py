"""StackSpot, as the settings and `ponte.toml` turn it on."""

from __future__ import annotations

from bot.config import Agent, Config, in_language
from bot.quick import Named, Registry
from bot.settings import Settings
from bot.values import plain
from core.change_ports import Applier
from core.http import HttpClient
from core.ports import QuickCommands, ToolSource
from core.tools.stackspot import StackSpot
from core.tools.stackspot import agents as stackspot_agents
from core.tools.stackspot.clock import Clock
from core.tools.stackspot.commands import StackSpotCommands
from core.tools.stackspot.runs import StackSpotRuns
from core.tools.stackspot.source import StackSpotSource


class StackSpotTooling:
    """What StackSpot brings. `source` and `applier` are None where it is not set up."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        named: Named,
        http: HttpClient,
        clock: Clock | None = None,
    ) -> None:
        self._client = client(settings, http, clock) if settings.stackspot else None
        any_name = settings.stackspot_unknown == "allow"
        run = StackSpotCommands(self._client).run if self._client else None
        registry = Registry(config.quick_commands, named, run, any_slug=any_name)
        self.commands: QuickCommands = registry
        self.source: ToolSource | None = None
        self.applier: Applier | None = None
        if self._client:
            self.applier = StackSpotRuns(self._client)
            self.source = StackSpotSource(
                self._client, registry, listed=registry.everybodys, agents=_agents(config),
                any_agent=any_name, asks_first=registry.asks_first,
            )  # fmt: skip

    async def close(self) -> None:
        if self._client:
            await self._client.close()


def client(settings: Settings, http: HttpClient, clock: Clock | None = None) -> StackSpot:
    return StackSpot(
        settings.stackspot_client_id or "",
        plain(settings.stackspot_client_secret),
        realm=settings.stackspot_realm,
        auth_url=settings.stackspot_auth_url,
        api_url=settings.stackspot_api_url,
        agent_url=settings.stackspot_agent_url,
        deadline=settings.stackspot_deadline,
        http=http,
        clock=clock,
    )


def _agents(config: Config) -> dict[str, stackspot_agents.Agent]:
    return {name: _agent(agent) for name, agent in config.agents.items()}


def _agent(agent: Agent) -> stackspot_agents.Agent:
    """A model is told of it in English, or in the one language that there is."""
    return stackspot_agents.Agent(
        agent.id, in_language(agent.title, "en"), in_language(agent.description, "en")
    )
