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
        await message.reply(await self.ask(message.content))

    async def ask(self, text: str) -> str:
        said = await self._model.responses.create(model="gpt-6-luna", input=text)
        return said.output_text


async def main(bot: type[Bare], token: str, api_url: str, gateway_url: str, model_url: str) -> None:
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = api_url, yarl.URL(gateway_url)
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
    async with bot(model_url, intents=intents) as client:
        await client.start(token)


if __name__ == "__main__":
    asyncio.run(main(Bare, *sys.argv[1:5]))
