"""Bots with a real model client, served by the strict fake OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.messages import File
from core.domain.ports import ToolSource
from core.domain.records import Remote
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel
from core.money.usage import Prices
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.config import FixedConfig

WITHOUT: dict[Level, set[str]] = {
    "conversations": set(),
    "responses": {"conversations"},
    "chat": {"conversations", "responses"},
}
"""What a server lacks that has this level."""


class HasBaseUrl(Protocol):
    """A running server with OpenAI's API: the double, or a proxy before a real one."""

    base_url: str


@asynccontextmanager
async def open_served_bot(
    bot_home: BotHome,
    fake: HasBaseUrl,
    sources: Sequence[ToolSource] = (),
    *,
    model: str = "gpt-6-luna",
    key: str = "sk-test",
    silence: float = 60.0,
    prices: Prices | None = None,
    level: Level | None = None,
    **more: Any,
) -> AsyncIterator[RunningBot]:
    """Wired as the composition root does it: the stores come to be after the model. `more` are
    arguments of `BotHome.open`."""
    bots: list[RunningBot] = []

    async def read(file: str) -> tuple[File, bytes]:
        return await bots[0].engine.conversations.files.get(file)

    async def late(thread: str, remote: Remote) -> None:
        await bots[0].engine.conversations.journal.record_object_to_erase(thread, remote)

    async def no_pause(_: float) -> None:
        return None

    priced = prices or Prices()
    options = ModelOptions(
        model=model,
        secret=b"a secret of the tests",
        silence_seconds=silence,
        config=FixedConfig(price_list=priced),
    )
    client = ModelServerClient(ModelEndpoint(key, fake.base_url), sleep=no_pause)
    served_model = ServedModel(client, options, level=level, read=read, record_object_to_erase=late)
    async with bot_home.open(served_model, sources, prices=priced, **more) as ponte:
        bots.append(ponte)
        try:
            yield ponte
        finally:
            await served_model.close()
