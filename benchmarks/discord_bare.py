"""A bare discord.py bot, which the Discord adapter is measured against: it answers every DM."""

from __future__ import annotations

import asyncio
import sys

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route


class Bare(discord.Client):
    async def on_message(self, message: discord.Message) -> None:
        if not message.author.bot:
            await message.reply(f"You said: {message.content}")


async def main(token: str, api_url: str, gateway_url: str) -> None:
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = api_url, yarl.URL(gateway_url)
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
    async with Bare(intents=intents) as client:
        await client.start(token)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
