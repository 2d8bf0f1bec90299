"""Deliver an answer from another process, which gets a home, a platform's URL and a turn's number.

`python -m tests.fakes.poster HOME URL SEQ`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from bot.stores import SCHEMA
from core.chat.reply import GrowingReply, TurnPosts
from core.journal.journal import Journal
from core.store.database import SqliteDatabase
from tests.fakes.recorder import RecordingSurface
from tests.fakes.recorder_server import RemoteRecorder


async def main(home: Path, url: str, seq: int) -> None:
    database = await SqliteDatabase.open(home / "ponte.db", SCHEMA)
    journal = Journal(database)
    turn = await journal.begin(seq)
    if turn is None or turn.answer is None:
        raise SystemExit(f"turn {seq} has no answer to bring out")
    async with aiohttp.ClientSession() as session:
        surface = RecordingSurface(RemoteRecorder(url, session), turn.message.reply_to)
        await GrowingReply(surface, TurnPosts(journal, turn), turn.id).finish(turn.answer)
    await journal.end_turn(turn, turn.answer.status)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
