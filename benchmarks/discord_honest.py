"""A bare discord.py bot that keeps one promise, so that the promise's price is known: each message
is on the disk before it is answered, and is answered after a crash, too. Discord refuses a second
post with the same nonce."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import discord

from benchmarks.discord_bare import Bare, main

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS messages
    (id INTEGER PRIMARY KEY, channel INTEGER, text TEXT, is_answered INTEGER DEFAULT 0);
"""


class Honest(Bare):
    """Stores messages, and answers those that have no answer yet."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        path = Path(os.environ["PONTE_HOME"], "messages.db")
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(SCHEMA)
        self._tasks: list[asyncio.Task[None]] = []

    async def setup_hook(self) -> None:
        """Answer what an earlier process left."""
        sql = "SELECT id, channel, text FROM messages WHERE is_answered = 0"
        unanswered = self._database.execute(sql).fetchall()
        self._tasks = [asyncio.create_task(self._answer(*row)) for row in unanswered]

    async def on_message(self, message: discord.Message) -> None:
        if message.author.bot:
            return
        row = message.id, message.channel.id, message.content
        sql = "INSERT OR IGNORE INTO messages (id, channel, text) VALUES (?, ?, ?)"
        if self._database.execute(sql, row).rowcount:
            await self._answer(*row)

    async def _answer(self, id: int, channel: int, text: str) -> None:
        answer = await self.ask(text)
        where = self.get_partial_messageable(channel)
        await where.send(answer, reference=where.get_partial_message(id), nonce=str(id))
        self._database.execute("UPDATE messages SET is_answered = 1 WHERE id = ?", (id,))


if __name__ == "__main__":
    asyncio.run(main(Honest, *sys.argv[1:5]))
