"""A workplace with a whole bot in it: the embedded engine, the adapter, the fake Slack, people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.slack.adapter import Credentials, SlackAdapter, SlackOptions
from bot.engine import Engine
from bot.stores import Stores
from core.chat.incoming import ConfiguredPlaces
from core.domain.ports import Inbox, Model, StatusBoard
from core.people.policy import Policy
from tests.fakes.choices import Choices, make_choices, open_engine
from tests.fakes.places import FixedPlaces
from tests.fakes.slack import FakeSlack, Json, Post, SlackChannel, SlackPerson
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS


@dataclass(frozen=True)
class Setting:
    """What differs from a plain bot over Socket Mode. `inbox` may wrap the engine's."""

    model: Model | None = None
    http: bool = False
    places: ConfiguredPlaces = field(default_factory=FixedPlaces)
    bots: frozenset[str] = frozenset()
    chosen: Choices | None = None
    board: StatusBoard | None = None
    inbox: Callable[[Inbox], Inbox] = lambda inbox: inbox
    grace: float = 1.0
    listed: bool = True
    """Whether Slack lists the workspace's people; else each is asked for."""
    postgres: str = ""
    """The URL of a migrated database that all is kept in; "" is `ponte.db` in the home."""


@dataclass
class Bot:
    engine: Engine
    slack: SlackAdapter


@dataclass
class Workplace:
    """Alice and Bob are in #general with the bot; Alice has a direct message with it."""

    slack: FakeSlack
    bot: Bot
    alice: SlackPerson
    bob: SlackPerson
    general: SlackChannel
    dm: SlackChannel
    home: Path
    setting: Setting
    stack: AsyncExitStack

    async def restart(self, setting: Setting | None = None) -> None:
        """Drain and close the bot, and start another one on the same home."""
        await self.stack.aclose()
        self.setting = setting or self.setting
        entered = running(self.slack, self.home, self.setting)
        self.bot = await self.stack.enter_async_context(entered)

    async def ask(
        self,
        text: str,
        place: SlackChannel | None = None,
        who: SlackPerson | None = None,
        **more: Any,
    ) -> Post:
        """Ask as Alice, or `who`, in #general, or `place`: by a mention unless it is direct."""
        place = place or self.general
        words = text if place.kind == "im" else f"{self.slack.bot} {text}"
        return await self.slack.wait_for_answer(
            self.slack.say(who or self.alice, place, words, **more)
        )

    def posts(self, place: SlackChannel | None = None) -> list[Post]:
        """The bot's posts in #general, or `place`."""
        return self.slack.workspace.by_bot((place or self.general).id)

    def whispers(self, place: SlackChannel | None = None) -> list[Post]:
        """The posts there that only one person sees."""
        return self.slack.ephemeral_posts((place or self.general).id)

    async def first_post(self, place: SlackChannel | None = None) -> Post:
        """Wait for the only post of the bot there."""
        await self.until(lambda: self.posts(place))
        (post,) = self.posts(place)
        return post

    async def first_whisper(self, place: SlackChannel | None = None) -> Post:
        await self.until(lambda: self.whispers(place))
        (post,) = self.whispers(place)
        return post

    async def until(
        self, true: Callable[[], object], seconds: float | None = HANG_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `true()` is true; it is called again after each request."""
        await self.slack.wait_until(true, seconds)

    def calls(self, method: str) -> list[Json]:
        """The arguments of every call of a method, in order."""
        return [arguments for name, arguments in self.slack.api.log if name == method]


@asynccontextmanager
async def workplace(home: Path, setting: Setting | None = None) -> AsyncIterator[Workplace]:
    """At the end nobody was notified by the bot, and no reviewer would object to it."""
    async with FakeSlack() as slack:
        alice, bob = slack.person("Alice"), slack.person("Bob", locale="pt-BR")
        general, dm = slack.channel("general", alice, bob), slack.dm(alice)
        async with AsyncExitStack() as stack:
            setting = setting or Setting()
            if not setting.listed:
                slack.api.faults.add("users.list", "missing_scope", 0)
            bot = await stack.enter_async_context(running(slack, home, setting))
            yield Workplace(slack, bot, alice, bob, general, dm, home, setting, stack)
        assert slack.workspace.pings == []
        assert not slack.workspace.complaints, repr(slack.workspace.complaints)


@asynccontextmanager
async def running(slack: FakeSlack, home: Path, setting: Setting) -> AsyncIterator[Bot]:
    """A bot that is connected and runs turns; drained and closed at the end."""
    choice = setting.chosen or make_choices(setting.model)
    if setting.board is not None:
        choice = replace(choice, board=setting.board)
    stores = await Stores.open_shared(setting.postgres) if setting.postgres else None
    engine = await open_engine(home, choice, stores)
    options = SlackOptions(slack.base_url, bots=setting.bots, home=home)
    adapter = make_adapter(
        engine, choice, credentials(slack, setting.http), options, setting.places, setting.inbox
    )
    connect_adapter(engine, choice, adapter)
    engine.start()
    try:
        await adapter.start()
        if not setting.http:
            await slack.deliveries.wait_until_connected()
        yield Bot(engine, adapter)
    finally:
        await adapter.stop_intake()
        await engine.drain(setting.grace)
        await adapter.close()
        await engine.close()


def connect_adapter(engine: Engine, chosen: Choices, adapter: SlackAdapter) -> None:
    """As the composition root does it: rights are asked of Slack."""
    engine.platforms.replies["slack"] = adapter.reply
    engine.platforms.fetch["slack"] = adapter.fetch
    engine.platforms.look_up["slack"] = adapter.look_up
    engine.platforms.messengers["slack"] = adapter
    if isinstance(chosen.policy, Policy):
        chosen.policy.people.guests = {"slack": adapter.guest}
        chosen.policy.people.memberships = {"slack": adapter.membership}


def credentials(slack: FakeSlack, http: bool = False) -> Credentials:
    if http:
        return Credentials(slack.bot_token, signing_secret=slack.deliveries.signing_secret)
    return Credentials(slack.bot_token, slack.app_token)


def make_adapter(
    engine: Engine,
    chosen: Choices,
    credentials: Credentials,
    options: SlackOptions,
    places: ConfiguredPlaces | None = None,
    inbox: Callable[[Inbox], Inbox] = lambda inbox: inbox,
) -> SlackAdapter:
    """The adapter of this engine, not started. `inbox` may wrap the engine's."""
    return SlackAdapter(
        credentials,
        replace(engine.conversations, inbox=inbox(engine.conversations.inbox)),
        engine.people,
        chosen.board,
        engine.stores.peers,
        places or FixedPlaces(),
        options,
    )
