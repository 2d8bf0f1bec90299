"""A bare Bolt bot that keeps one promise, so that the promise's price is known: each message is on
the disk before Slack gets its acknowledgement, and is answered after a crash, too. A post says that
the bot is at work, and becomes the answer."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS messages
    (channel TEXT, ts TEXT, thread TEXT, text TEXT, post TEXT, is_answered INTEGER DEFAULT 0,
     PRIMARY KEY (channel, ts));
"""
STOP_BUTTON = {
    "type": "button",
    "action_id": "stop",
    "text": {"type": "plain_text", "text": "Stop"},
}
"""By this button, the double of Slack tells a post in progress from an answer."""


class HonestBot:
    """Stores messages, and answers those that have no answer yet."""

    def __init__(self, path: Path, slack: AsyncWebClient, model: AsyncOpenAI) -> None:
        self._slack = slack
        self._model = model
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(SCHEMA)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, event: dict[str, Any]) -> None:
        """Store a mention or a direct message once, and start to answer it."""
        is_direct = event["type"] == "message" and event.get("channel_type") == "im"
        if event.get("bot_id") or not (is_direct or event["type"] == "app_mention"):
            return
        ts, channel, text = event["ts"], event["channel"], event["text"].split("> ", 1)[-1]
        thread = event.get("thread_ts") or ts
        stored = self._database.execute(
            "INSERT OR IGNORE INTO messages (channel, ts, thread, text) VALUES (?, ?, ?, ?)",
            (channel, ts, thread, text),
        )
        if stored.rowcount:
            self._start(channel, ts, thread, text, None)

    def resume(self) -> None:
        """Start to answer the messages that an earlier process left."""
        for row in self._database.execute(
            "SELECT channel, ts, thread, text, post FROM messages WHERE is_answered = 0"
        ).fetchall():
            self._start(*row)

    def _start(self, *row: Any) -> None:
        task = asyncio.create_task(self._answer(*row))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, channel: str, ts: str, thread: str, text: str, post: str | None
    ) -> None:
        if not post:
            made = await self._slack.chat_postMessage(
                channel=channel,
                thread_ts=thread,
                text="One moment",
                blocks=[{"type": "actions", "elements": [STOP_BUTTON]}],
            )
            post = str(made["ts"])
            self._record("post = ?", post, channel, ts)
        response = await self._model.responses.create(model="gpt-6-luna", input=text)
        await self._slack.chat_update(
            channel=channel, ts=post, text=response.output_text, blocks=[]
        )
        self._record("is_answered = ?", 1, channel, ts)

    def _record(self, change: str, *values: object) -> None:
        sql = f"UPDATE messages SET {change} WHERE channel = ? AND ts = ?"
        self._database.execute(sql, values)


async def main(api_url: str, bot_token: str, app_token: str, model_url: str) -> None:
    client = AsyncWebClient(bot_token, base_url=api_url)
    app, path = AsyncApp(client=client), Path(os.environ["PONTE_HOME"], "messages.db")
    bot = HonestBot(path, client, AsyncOpenAI(api_key="key", base_url=model_url))

    @app.use
    async def store_first(body: dict[str, Any], next: Any) -> None:
        bot.take(body["event"])
        await next()  # Bolt acknowledges the event after this

    @app.event("app_mention")
    @app.event("message")
    async def acknowledge() -> None:
        """Bolt acknowledges only events that have a listener."""

    bot.resume()
    handler: Any = AsyncSocketModeHandler(app, app_token)
    await handler.start_async()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
