"""A complete Ponte on the fake Discord, in this process: engine, adapter, controlled model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.discord.adapter import DiscordAdapter, DiscordOptions
from bot.engine import Engine
from bot.stores import Stores
from core.chat.incoming import ConfiguredPlaces
from core.domain.messages import Item, Message
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.ports import NO_STEP, Inbox, Tool, TransactionStep
from core.domain.records import Health, Outcome, Receipt, ToolContext
from core.domain.rights import Viewer
from core.tools.tool import FunctionTool
from tests.fakes.choices import Choices, allow_list, make_choices, open_engine
from tests.fakes.discord import FakeDiscord
from tests.fakes.models import EchoModel
from tests.fakes.places import FixedPlaces


class Speaker(EchoModel):
    """Says `script[text]` delta by delta where there is one, else echoes. `pauses` are gates that
    it waits at before each delta after the first."""

    def __init__(self) -> None:
        super().__init__()
        self.script: dict[str, Sequence[str]] = {}
        self.pauses: asyncio.Queue[None] | None = None

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        deltas = self.script.get(ask.input[-1].text)
        if deltas is None:
            async for event in super().ask(ask):
                yield event
            return
        self.asks.append(ask)
        for number, delta in enumerate(deltas):
            if number and self.pauses is not None:
                await self.pauses.get()
            yield TextDelta(delta)
        yield RoundCompleted((Item(kind="message", role="assistant", text="".join(deltas)),))

    def say_in_steps(self, script: dict[str, Sequence[str]]) -> None:
        """Follow `script`, and wait for `go_on` before each delta after the first."""
        self.script, self.pauses = script, asyncio.Queue()

    def go_on(self) -> None:
        assert self.pauses is not None
        self.pauses.put_nowait(None)


class Drawer:
    """A tool source whose one tool, `draw`, makes a file."""

    name = "drawer"

    def __init__(self, ponte: DiscordPonte, name: str, data: bytes) -> None:
        self._ponte, self._name, self._data = ponte, name, data

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        async def draw(ctx: ToolContext) -> Outcome:
            """Draw a plot."""
            files = self._ponte.engine.conversations.files
            file = await files.put(
                ctx.message.turn, self._name, "image/png", self._data, ctx.asker, ctx.thread.id
            )
            return Outcome("ok", "drawn", (file,))

        return [FunctionTool(draw, effect="read", doing="is drawing…")]

    async def health(self) -> Health:
        return Health("drawer", "on")

    async def close(self) -> None:
        return None


def bot_messages(discord: FakeDiscord) -> list[str]:
    """The texts of Ponte's messages, oldest first."""
    return [message["content"] for message in discord.world.messages_by(discord.world.me.id)]


def make_adapter(
    engine: Engine,
    chosen: Choices,
    token: str,
    options: DiscordOptions,
    places: ConfiguredPlaces,
    inbox: Callable[[Inbox], Inbox] = lambda inbox: inbox,
) -> DiscordAdapter:
    """The adapter of this engine, not started. `inbox` may wrap the engine's."""
    return DiscordAdapter(
        token,
        replace(engine.conversations, inbox=inbox(engine.conversations.inbox)),
        engine.people,
        chosen.board,
        engine.stores.peers,
        places,
        options,
    )


class DiscordPonte:
    def __init__(self, discord: FakeDiscord, home: Path) -> None:
        self.discord = discord
        self.home = home
        self.model = Speaker()
        self.policy = allow_list()
        self.is_open = False
        self.inbox: Callable[[Inbox], Inbox] = lambda inbox: inbox
        """What stands between the adapter and the engine's inbox."""
        self.choices: Choices | None = None
        self.postgres = ""
        """The URL of a migrated database that all is kept in; "" is `ponte.db` in the home."""
        self.places: ConfiguredPlaces = FixedPlaces()
        self.options: dict[str, Any] = {"identify_wait": 0.0}
        self.taken: list[str] = []
        """What was said and is stored."""

    def give(self, name: str, data: bytes, allow: str = "*") -> None:
        """A tool that makes this file, for those whom `allow` names."""
        self.policy = allow_list(frozenset({allow}))
        self.choices = make_choices(self.model, [Drawer(self, name, data)], self.policy)

    async def open(self, *, threads: bool = True, **options: Any) -> DiscordPonte:
        """Start it; what `options` say of the adapter holds for later starts too. Without
        `threads`, no server lets it create any."""
        if not threads:
            self.discord.world.forbid_threads()
        self.options |= options
        choices = self.choices or make_choices(self.model, policy=self.policy)
        stores = await Stores.open_shared(self.postgres) if self.postgres else None
        self.engine = await open_engine(self.home, choices, stores)
        accept = self.engine.conversations.inbox.accept

        async def accept_and_record(message: Message, also: TransactionStep = NO_STEP) -> Receipt:
            receipt = await accept(message, also)
            self.taken.append(message.text)
            await self.discord.world.notify()
            return receipt

        self.engine.conversations.inbox.accept = accept_and_record  # type: ignore[method-assign]
        urls = self.discord.api_url, self.discord.gateway_url
        self.adapter = make_adapter(
            self.engine,
            choices,
            self.discord.token,
            DiscordOptions(*urls, **self.options),
            self.places,
            self.inbox,
        )
        self.policy.people.memberships = {"discord": self.adapter.roles.roles_of}
        self.engine.platforms.replies["discord"] = self.adapter.reply
        self.engine.platforms.look_up["discord"] = self.adapter.look_up
        self.engine.platforms.fetch["discord"] = self.adapter.fetch
        self.engine.platforms.messengers["discord"] = self.adapter
        self.engine.start()
        self.is_open = True
        await self.adapter.start()
        return self

    async def close(self, grace: float = 5.0) -> None:
        if not self.is_open:
            return
        self.is_open = False
        await self.adapter.stop_intake()
        await self.engine.drain(grace)
        await self.adapter.close()
        await self.engine.close()

    async def wait_until_stored(self, text: str) -> None:
        """Until a message with this text is in the inbox."""
        await self.discord.wait_until(lambda: text in self.taken)

    async def ready(self) -> None:
        """Until the commands are registered."""
        await self.discord.wait_until(lambda: self.discord.rest.commands)
