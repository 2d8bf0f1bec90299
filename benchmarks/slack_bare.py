"""A bare Bolt bot, which Ponte in Slack is measured against: it answers every mention and direct
message by one call of the `openai` package and one post."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from openai import AsyncOpenAI
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient


async def main(api_url: str, bot_token: str, app_token: str, model_url: str) -> None:
    app = AsyncApp(client=AsyncWebClient(bot_token, base_url=api_url))
    model = AsyncOpenAI(api_key="key", base_url=model_url)

    async def answer(event: dict[str, Any], say: Any) -> None:
        text = event["text"].split("> ", 1)[-1]
        said = await model.responses.create(model="gpt-6-luna", input=text)
        await say(text=said.output_text, thread_ts=event.get("thread_ts") or event["ts"])

    app.event("app_mention")(answer)

    @app.event("message")
    async def direct(event: dict[str, Any], say: Any) -> None:
        if event.get("channel_type") == "im" and not event.get("bot_id"):
            await answer(event, say)

    handler: Any = AsyncSocketModeHandler(app, app_token)
    await handler.start_async()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
