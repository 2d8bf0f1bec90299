"""The parts of a bot that StackSpot brings, as `bot/` wires them, over the fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from bot.config.ponte_toml import (
    AgentConfig,
    Config,
    LiveConfig,
    QuickCommandConfig,
    QuickCommandInput,
)
from bot.config.quick_registry import QuickCommandRegistry
from bot.home import Home
from bot.parts import dependencies, model_client
from bot.settings import Settings
from core.base.http import HttpClient
from core.domain.messages import Address, Person
from core.domain.ports import Model
from core.domain.records import QuickCommand
from core.people.policy import Policy
from core.tools.stackspot import STACKSPOT
from core.tools.stackspot.api import Clock
from tests.fakes.choices import Choices, EmptyStatusBoard, allow_list, make_choices
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET

COMMANDS = {
    "explain": QuickCommandConfig(title={"en": "Explain", "pt-BR": "Explicar"}, effect="read"),
    "daily-summary": QuickCommandConfig(
        title={"en": "Daily summary", "pt-BR": "Resumo diário"},
        description={"en": "What happened on a day", "pt-BR": "O que aconteceu num dia"},
        inputs={
            "day": QuickCommandInput(required=True),
            "tone": QuickCommandInput("choice", choices=("dry", "warm")),
        },
        effect="read",
    ),
    "translate-all": QuickCommandConfig(title={"en": "Translate everything"}),
    "close-month": QuickCommandConfig(title={"en": "Close the month"}, effect="write"),
}
AGENTS = {"reviewer": AgentConfig("01AGENT", {"en": "Code reviewer"})}
CONFIG = Config(quick_commands=COMMANDS, agents=AGENTS)


POLL_SECONDS = 0.01


class QuickCommandBoard(EmptyStatusBoard):
    """A board that lists the quick commands of a registry."""

    def __init__(self, quick: QuickCommandRegistry) -> None:
        self._quick = quick

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self._quick.list_commands(person, address)


class StillClock(Clock):
    """A clock that stands still, so that a held run can be polled without end. It is polled now and
    then: to do so all the time would keep a processor busy."""

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(POLL_SECONDS)

    def jitter(self) -> float:
        return 1.0


def settings(url: str, **more: Any) -> Settings:
    secret = SecretStr(SECRET)
    values: dict[str, Any] = {
        "stackspot_client_id": CLIENT,
        "stackspot_client_secret": secret,
        "stackspot_realm": REALM,
        "stackspot_auth_url": url,
        "stackspot_api_url": url,
        "stackspot_agent_url": url,
    }
    return Settings(**values, **more)


@asynccontextmanager
async def stackspot_choices(
    url: str,
    config: Config = CONFIG,
    model: Model | None = None,
    policy: Policy | None = None,
    **more: Any,
) -> AsyncIterator[Choices]:
    """Yield the parts of an engine with StackSpot; `more` are settings."""
    name = allow_list().is_named
    async with HttpClient() as http:
        choice = settings(url, **more)
        result = dependencies(choice, config, Home(choice.ponte_home), http, model_client(choice))
        quick = QuickCommandRegistry(LiveConfig(config), name, policy=policy)
        tools = STACKSPOT.build(result, quick, StillClock())
        base = make_choices(model, [tools.source], policy, tools.appliers)
        yield replace(base, quick=quick, board=QuickCommandBoard(quick))
        await tools.close()
