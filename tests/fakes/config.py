"""A configuration of ponte.toml that a test sets, and may change at any time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bot.config.ponte_toml import ChannelConfig, Config, QuickCommandConfig
from bot.features.mcp_server.feature import McpServerConfig
from bot.features.mcp_tools.feature import McpConfig
from bot.features.sign_in.feature import PageConfig, SignInConfig
from core.changes.approval import TableRules
from core.domain.messages import Address, Person
from core.journal.inbox import SenderLimits
from core.money.allowances import Allowance
from core.money.usage import Prices
from core.people.rules import RuleBook
from core.schedules.schedule import ScheduleLimits
from core.turn.run import Retention, TurnConfig


def with_sections(config: Config | None = None, **sections: Any) -> Config:
    """Return the configuration with other sections, also those of features."""
    return replace(config or Config(), **sections)


async def no_daily_caps(person: Person, address: Address) -> tuple[int, int]:
    return 0, 0


async def means_everybody(person: Person, address: Address, names: frozenset[str]) -> bool:
    return True


def fixed_rules(book: RuleBook | None = None) -> Callable[[], RuleBook]:
    """Return the rules of a policy that always has this book; by default one without rules."""
    book = book or RuleBook()
    return lambda: book


@dataclass
class FixedConfig:
    """`approvers` are those of a channel, by its id."""

    table_rules: TableRules = field(default_factory=TableRules)
    rule_book: RuleBook = field(default_factory=RuleBook)
    turn_allowances: Sequence[Allowance] = ()
    price_list: Prices = field(default_factory=Prices)
    known_agents: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    turn: TurnConfig = field(default_factory=TurnConfig)
    retention: Retention = field(default_factory=Retention)
    sender_limits: SenderLimits = field(default_factory=SenderLimits)
    schedule_limits: ScheduleLimits = field(default_factory=ScheduleLimits)
    alerts: ScheduleLimits = field(default_factory=lambda: ScheduleLimits(5, 20))
    quick_commands: Mapping[str, QuickCommandConfig] = field(default_factory=dict)
    approvers: Mapping[str, Collection[str]] = field(default_factory=dict)
    channels: Mapping[str, ChannelConfig] = field(default_factory=dict)
    sign_in: Mapping[str, SignInConfig] = field(default_factory=dict)
    page: PageConfig = field(default_factory=PageConfig)
    mcp_server: McpServerConfig = field(default_factory=McpServerConfig)
    mcp: Mapping[str, McpConfig] = field(default_factory=dict)

    def note_tables(self, tables: Mapping[str, str]) -> None:
        """Nothing depends on it."""

    async def learn_tables(self) -> None:
        """They are known."""

    def channel(self, address: Address) -> ChannelConfig:
        return ChannelConfig(approvers=tuple(self.approvers.get(address.channel, ())))

    def section(self, name: str) -> Any:
        return self.schedule_limits if name == "schedules" else getattr(self, name, None)
