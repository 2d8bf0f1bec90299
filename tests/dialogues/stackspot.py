"""A bot with StackSpot behind it, opened again as often as asked, and what makes its model call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from bot.config.ponte_toml import Config
from core.domain.ports import Model
from core.people.policy import Policy
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot_parts import CONFIG, stackspot_choices


@dataclass
class Bot:
    """Opens a bot on its home again, after a restart."""

    bot_home: BotHome
    stackspot: FakeStackSpot
    config: Config = CONFIG

    @asynccontextmanager
    async def open(
        self, model: Model | None = None, policy: Policy | None = None, **more: Any
    ) -> AsyncIterator[RunningBot]:
        async with (
            stackspot_choices(self.stackspot.url, self.config, model, policy) as choice,
            self.bot_home.play(replace(choice, **more)) as ponte,
        ):
            yield ponte


def asks(slug: str, input: str | dict[str, Any] = "") -> str:
    """What makes the echo model run a quick command."""
    return f"call stackspot_quick_command {json.dumps({'slug': slug, 'input': input})}"
