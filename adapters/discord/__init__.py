"""The Discord integration. Modules that import the SDK are loaded only when it is built or checked.

In this package, an address such as topics/threads.mdx is a page of Discord's documentation, below
"developers/" (github.com/discord/discord-api-docs). A number such as #20 is an issue there.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import SecretStr

from core.base.i18n import say
from core.chat.incoming import list_answer_all_places
from core.chat.people import Conversations, People
from core.domain.ports import ChatPlatform, StatusBoard
from core.domain.records import Health
from core.integrations import (
    DAILY_TURNS_ADVICE,
    ChatIntegration,
    HomeFolder,
    IntegrationDependencies,
    SafetyFinding,
    SettingsPart,
    SharedSettings,
    SocketUrl,
    Switch,
    Url,
    describe_allowed,
    has_daily_turns,
    plain_value,
    setting,
)
from core.people.rules import EVERYBODY_NAME, DailyTurns, PlatformRights
from core.store.database import Database
from core.store.remembered import rewrite_remembered

DISCORD_API_URL = "https://discord.com/api/v10"
DISCORD_GATEWAY_URL = "wss://gateway.discord.gg/"
DISCORD_STATE_NAME = "discord"
"""The row with the adapter's state across restarts."""
DISCORD_STRANGER_TURNS = DailyTurns(50, 1000)
"""How many turns a day people have who are in no rule: each person, and all together."""


class DiscordSettings(SettingsPart):
    """The settings of Discord, from the environment."""

    discord_token: SecretStr | None = setting(
        None, "Discord's bot token; with it, Ponte connects to Discord"
    )
    discord_api_url: Url = setting(
        DISCORD_API_URL, "base URL of Discord's API; change it for a proxy or a test server"
    )
    discord_gateway_url: SocketUrl = setting(
        DISCORD_GATEWAY_URL, "URL of Discord's gateway; change it for a proxy or a test server"
    )
    discord_message_content: Switch = setting(
        "off",
        "request Discord's message content intent, needed for follow-ups without a "
        "mention, replies and threads: on, off",
    )


class Discord(ChatIntegration[DiscordSettings]):
    """The integration of Discord: settings, rights, checks, and how its adapter is built."""

    name = "discord"
    settings = DiscordSettings
    sent_to: ClassVar = {
        "discord_api_url": ("discord_token",),
        "discord_gateway_url": ("discord_token",),
    }
    ids, workspace_ids = "[0-9]+", "[0-9]{17,20}"  # snowflakes; of servers since 2015
    # An account belongs to no server, and servers are open to strangers.
    rights = PlatformRights(
        frozenset({"chat"}),
        open_workspace=True,
        stranger_cap=DISCORD_STRANGER_TURNS,
        links_names=False,
    )

    def summary(self, own: DiscordSettings, shared: SharedSettings) -> Health:
        if own.discord_token:
            return Health("discord", "on", "receive messages (gateway connection)")
        return Health("discord", "off", "set DISCORD_TOKEN")

    async def prepare_restored(self, database: Database) -> None:
        """Make all messages up to now count as processed. Otherwise those sent since the backup
        would be read back and answered again."""
        state: Any = await asyncio.to_thread(importlib.import_module, "adapters.discord.state")
        await rewrite_remembered(database, DISCORD_STATE_NAME, state.catch_up)

    async def build(
        self,
        deps: IntegrationDependencies[DiscordSettings],
        conversations: Conversations,
        people: People,
        board: StatusBoard,
    ) -> ChatPlatform:
        """Return an adapter that is not started yet. Its module loads the SDK, so it is imported in
        a thread. One of the processes `deps.peers` holds the gateway session."""
        own = deps.own
        discord: Any = await asyncio.to_thread(importlib.import_module, "adapters.discord.adapter")
        adapter: ChatPlatform = discord.DiscordAdapter(
            plain_value(own.discord_token),
            conversations,
            people,
            board,
            deps.peers,
            deps.config,
            discord.DiscordOptions(
                own.discord_api_url,
                own.discord_gateway_url,
                deps.shared.proxies,
                # The content of messages that do not mention Ponte.
                own.discord_message_content == "on",
                deps.shared.ponte_locale,
            ),
        )
        return adapter

    async def check(self, deps: IntegrationDependencies[DiscordSettings]) -> Sequence[Health]:
        """Try the settings against Discord, for `ponte doctor`. The module loads the SDK, so it is
        imported in a thread."""
        own = deps.own
        setup: Any = await asyncio.to_thread(importlib.import_module, "adapters.discord.setup")
        results: Sequence[Health] = await setup.check(
            plain_value(own.discord_token),
            own.discord_api_url,
            own.discord_gateway_url,
            # The content of messages that do not mention Ponte (the intent).
            own.discord_message_content == "on",
            deps.shared.proxies,
            # Places where Ponte answers every message need that intent.
            list_answer_all_places(deps.config, "discord"),
        )
        return results

    def safety(
        self, own: DiscordSettings, shared: SharedSettings, home: HomeFolder
    ) -> Iterator[SafetyFinding]:
        """Yield findings on the rights of strangers, and on the daily cap."""
        if not own.discord_token:
            return
        if EVERYBODY_NAME in shared.ponte_allow:
            words = (
                "discord: everyone has full permissions, strangers included. In PONTE_ALLOW, "
                "name servers or roles instead of *."
            )
            yield SafetyFinding("rights", say(words), "note")
        else:
            people = describe_allowed(shared.ponte_allow, "discord")
            words = "discord: everyone can chat"
            if people:
                words = "discord: everyone can chat; full permissions: {people}"
            yield SafetyFinding("rights", say(words, people=people))
        # A server is open to strangers, so a missing limit is unsafe. True (`is_uncapped`): the
        # finding is left out if ponte.toml has a limit.
        if has_daily_turns(shared):
            return
        # PONTE_DAILY_TURNS is set, and sets no limit. If it is not set, strangers have a limit by
        # default, but the people of PONTE_ALLOW have none.
        if shared.ponte_daily_turns is not None:
            words = "people on Discord have no daily message limit"
            yield SafetyFinding(
                "limits", f"{say(words)}; {say(DAILY_TURNS_ADVICE)}", "unsafe", True
            )
        elif EVERYBODY_NAME in shared.ponte_allow:
            words = (
                "PONTE_ALLOW allows everyone (*), and people on Discord have no daily message limit"
            )
            yield SafetyFinding(
                "limits", f"{say(words)}; {say(DAILY_TURNS_ADVICE)}", "unsafe", True
            )
        else:
            most = f"{DISCORD_STRANGER_TURNS.person}/{DISCORD_STRANGER_TURNS.everybody}"
            words = "people on Discord who aren't in PONTE_ALLOW can send {most} messages a day"
            yield SafetyFinding("limits", say(words, most=most))


DISCORD = Discord()
