"""A bare discord.py bot, which Ponte on Discord is measured against: it answers every direct
message by one call of the `openai` package and one reply."""

from __future__ import annotations

import asyncio
import sys

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
from openai import AsyncOpenAI


class Bare(discord.Client):
    def __init__(self, model_url: str, *, intents: discord.Intents) -> None:
        super().__init__(intents=intents)
        self._model = AsyncOpenAI(api_key="key", base_url=model_url)

    async def on_message(self, message: discord.Message) -> None:
        if message.author.bot:
            return
        said = await self._model.responses.create(model="gpt-6-luna", input=message.content)
        await message.reply(said.output_text)


async def main(token: str, api_url: str, gateway_url: str, model_url: str) -> None:
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = api_url, yarl.URL(gateway_url)
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
    async with Bare(model_url, intents=intents) as client:
        await client.start(token)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
