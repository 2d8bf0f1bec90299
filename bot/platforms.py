"""The chat platforms that the settings turn on, each built from what it asks for by name.

An adapter's module brings its SDK, so it is imported in a thread, and only where it is on.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

from adapters import PLATFORMS
from bot.board import Board
from bot.config import Config
from bot.engine import Engine
from bot.home import Home
from bot.settings import Settings
from bot.values import plain
from core.platform_ports import ChatPlatform
from core.ports import Policy


async def platforms(
    settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy, board: Board
) -> Sequence[ChatPlatform]:
    """Not started yet."""
    built: list[ChatPlatform] = []
    if settings.slack != "off":
        slack = await _imported("slack")
        built.append(_slack(slack, settings, config, home, engine, policy, board))
    if settings.discord_token:
        discord = await _imported("discord")
        built.append(_discord(discord, settings, config, home, engine, policy, board))
    return built


async def _imported(name: str) -> Any:
    return await asyncio.to_thread(importlib.import_module, PLATFORMS[name])


def _slack(
    slack: Any, settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy,
    board: Board,
) -> ChatPlatform:  # fmt: skip
    credentials = slack.Credentials(
        plain(settings.slack_bot_token),
        plain(settings.slack_app_token),
        plain(settings.slack_signing_secret),
    )
    ports = slack.Ports(
        inbox=engine.inbox, journal=engine.journal, threads=engine.threads, files=engine.files,
        board=board, policy=policy, removed=engine.manager.removed,
    )  # fmt: skip
    customs = slack.Customs(
        strict_mention=lambda place: config.channel(place).strict_mention,
        bots=frozenset(config.slack.bots),
    )
    adapter: ChatPlatform = slack.SlackAdapter(
        credentials, ports, api_url=settings.slack_api_url, proxies=settings.proxies,
        customs=customs, home=home.path,
    )  # fmt: skip
    return adapter


def _discord(
    discord: Any, settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy,
    board: Board,
) -> ChatPlatform:  # fmt: skip
    adapter: ChatPlatform = discord.DiscordAdapter(
        token=plain(settings.discord_token),
        inbox=engine.inbox,
        files=engine.files,
        board=board,
        policy=policy,
        home=home.path,
        removed=engine.manager.removed,
        api_url=settings.discord_api_url,
        gateway_url=settings.discord_gateway_url,
        proxies=settings.proxies,
        threads=config.discord.threads,
        message_content=settings.discord_message_content == "on",
        locale=settings.ponte_locale,
    )
    return adapter
