"""Tells Discord our commands, only when they are not what it was told last."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import discord
import structlog
from discord import app_commands

from adapters.discord.calls import IN_DOUBT
from adapters.discord.notes import Notes

log = structlog.get_logger("discord")


async def payload(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    """What would be sent, translations included; the same at every start."""
    translator = tree.translator
    if translator is None:
        return [command.to_dict(tree) for command in tree.get_commands()]
    return [await command.get_translated_payload(tree, translator) for command in _all(tree)]


async def sync(tree: app_commands.CommandTree[Any], application: int, notes: Notes) -> bool:
    """One PUT for all where something changed. A refusal is logged, and tried at the next start:
    200 new commands a day are allowed (interactions/application-commands.mdx#registering).
    """
    body = json.dumps(await payload(tree), sort_keys=True)
    digest = hashlib.sha256(f"{application}\n{body}".encode()).hexdigest()
    if digest == notes.commands:
        return False
    try:
        await tree.sync()
    except (discord.DiscordException, *IN_DOUBT) as error:
        log.warning("commands not registered", why=str(error)[:300])
        return False
    notes.commands = digest
    await notes.flush()
    log.info("commands registered", count=len(_all(tree)))
    return True


def _all(tree: app_commands.CommandTree[Any]) -> list[Any]:
    return list(tree.get_commands())
