"""Offices: a whole Ponte on Slack, Discord, the page or the terminal, with two people. Its process
can be lost after any stored step."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from adapters.terminal.chat import chat
from bot.engine import Engine
from core.domain.messages import Address, Person, ReplyTo
from tests.dialogues.bot_home import BotHome
from tests.dialogues.test_page_approvals import page
from tests.discord.discord_ponte import DiscordPonte, Speaker
from tests.fakes.choices import Choices, allow_list
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.world import Payload
from tests.fakes.keyboard import Keyboard
from tests.fakes.slack import FakeSlack
from tests.fakes.web_surfaces import make_terminal
from tests.slack.bot import Setting, running
from tests.web.web_ponte import unix_socket


@dataclass
class Process:
    """The process that runs turns. It can be lost: from then on it stores nothing."""

    steps: list[str] = field(default_factory=list)
    ends_after: int = -1
    """The number of stored steps after which the process is lost; -1 for never."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the tasks of a lost process end."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the end of a turn is stored, which may be after its answer is read."""

    def restart(self, ends_after: int = -1) -> None:
        self.steps.clear()
        self.lost.clear()
        self.gone.clear()
        self.ended.clear()
        self.ends_after = ends_after

    def watch(self, store: type, name: str) -> Callable[..., Awaitable[Any]]:
        """Return the store's method of that name, as this process calls it."""
        method = getattr(store, name)

        async def step(self_of_store: Any, *given: Any, **more: Any) -> Any:
            await self._end_here()
            record = await method(self_of_store, *given, **more)
            self.steps.append(name)
            await self._end_here()
            if name == "end_turn":
                self.ended.set()
            return record

        return step

    async def _end_here(self) -> None:
        if self.ends_after == len(self.steps):
            self.lost.set()
        if self.lost.is_set():
            await self.gone.wait()
            raise asyncio.CancelledError


class Office:
    """A Ponte on one platform with two people, the second of whom is an admin. `choices` has to be
    set before it is opened."""

    engine: Engine
    choices: Choices

    def __init__(self, home: Path, first: str, second: str) -> None:
        self.home, self.first, self.second = home, first, second
        self.model = Speaker()
        self.policy = allow_list(frozenset({first, second}), frozenset({second}))
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        """Start Ponte in its home."""
        raise NotImplementedError

    async def close(self) -> None:
        await self.stack.aclose()

    async def find_place(self) -> ReplyTo:
        """Return where a new post to the first person goes."""
        raise NotImplementedError

    async def write(self, text: str) -> None:
        """The first person writes this where nobody else reads, and reads the answer."""
        count, seq = len(await self.posts()), await self.last_seq()
        await self.say(text)
        while await self.last_seq() == seq:  # the answer to an earlier message may be posted first
            await self.wait_for_posts(count)
            count = len(await self.posts())
        await self.wait_for_end()

    async def say(self, text: str) -> None:
        """The first person writes this to Ponte alone."""
        raise NotImplementedError

    async def wait_for_posts(self, count: int) -> None:
        """Wait until Ponte has posted more than that to the first person."""
        raise NotImplementedError

    async def posts(self) -> list[str]:
        """Return all that Ponte posted to the first person."""
        raise NotImplementedError

    async def last_seq(self) -> int:
        """Return the number of the newest message."""
        rows = await self.engine.stores.database.read(
            lambda connection: connection.execute("SELECT MAX(seq) AS seq FROM inbox").fetchall()
        )
        return int(rows[0]["seq"] or 0)

    async def wait_for_end(self) -> None:
        """Wait until the answer to the newest message is whole: a post may still grow."""
        await self.engine.conversations.inbox.wait_for_answer(await self.last_seq())

    async def ask(self, text: str, *, second: bool = False) -> str:
        """One of the two writes this where both read, if there is such a place. Return all that
        they see of the answer."""
        raise NotImplementedError


class SlackOffice(Office):
    def __init__(self, home: Path, slack: FakeSlack) -> None:
        self.slack, self.alice, self.bob = slack, slack.person("Alice"), slack.person("Bob")
        self.general, self.dm = slack.channel("general", self.alice, self.bob), slack.dm(self.alice)
        super().__init__(home, f"slack:{self.alice.id}", f"slack:{self.bob.id}")
        home.mkdir()

    async def open(self) -> None:
        setting = Setting(chosen=self.choices, grace=0)
        bot = await self.stack.enter_async_context(running(self.slack, self.home, setting))
        self.engine, self.adapter = bot.engine, bot.slack

    async def find_place(self) -> ReplyTo:
        return (await self.adapter.open_direct_message(Person("slack", self.alice.id)))[0]

    async def say(self, text: str) -> None:
        self.slack.say(self.alice, self.dm, text)

    async def wait_for_posts(self, count: int) -> None:
        await self.slack.wait_until(lambda: len(self.slack.workspace.by_bot(self.dm.id)) > count)

    async def posts(self) -> list[str]:
        return [post.visible_text for post in self.slack.workspace.by_bot(self.dm.id)]

    async def ask(self, text: str, *, second: bool = False) -> str:
        person = self.bob if second else self.alice
        message = self.slack.say(person, self.general, f"{self.slack.bot} {text}")
        return (await self.slack.wait_for_answer(message)).visible_text


class DiscordOffice(Office):
    def __init__(self, home: Path, discord: FakeDiscord) -> None:
        self.discord, self.ana, self.bia = discord, discord.user("Ana"), discord.user("Bia")
        guild = discord.guild("Bolts", self.ana, self.bia)
        self.channel = discord.text_channel(guild, "general")
        super().__init__(home, f"discord:{self.ana.id}", f"discord:{self.bia.id}")
        home.mkdir()
        self.ponte = DiscordPonte(discord, home)

    async def open(self) -> None:
        self.ponte.policy, self.ponte.choices = self.policy, self.choices
        await self.ponte.open(threads=False)
        self.stack.push_async_callback(self.ponte.close, 0)
        self.engine = self.ponte.engine

    async def find_place(self) -> ReplyTo:
        return (await self.ponte.adapter.open_direct_message(Person("discord", str(self.ana.id))))[
            0
        ]

    async def say(self, text: str) -> None:
        await self.ana.say(text)

    async def wait_for_posts(self, count: int) -> None:
        await self.ana.wait_for_messages(lambda posts: len(posts) > count)

    async def posts(self) -> list[str]:
        world = self.discord.world
        return [post["content"] for post in world.messages_by(world.me.id, self.ana.dm.id)]

    async def ask(self, text: str, *, second: bool = False) -> str:
        person, world = self.bia if second else self.ana, self.discord.world
        message = await person.mention(text, self.channel)

        def answers() -> list[Payload]:
            messages = world.messages_by(world.me.id, self.channel.id)
            return [post for post in messages if int(post["id"]) > int(message["id"])]

        await self.discord.wait_until(answers)
        await self.wait_for_end()
        return str([(post["content"], post["embeds"]) for post in answers()])


class PageOffice(Office):
    """The owner and Ana, who each have conversations of their own."""

    first = "web:owner"

    def __init__(self, home: Path, database: str = "") -> None:
        super().__init__(home, self.first, "web:ana")
        self.bot_home = BotHome(home, database)

    async def open(self) -> None:
        running_bot = await self.stack.enter_async_context(self.bot_home.play(self.choices))
        self.browser, self.ana, _ = await self.stack.enter_async_context(page(running_bot))
        self.engine = running_bot.engine

    async def find_place(self) -> ReplyTo:
        address = Address("web", "main")
        return ReplyTo(address, Person("web", "owner"), "mail", "")

    async def write(self, text: str) -> None:
        await self.ask(text)

    async def posts(self) -> list[str]:
        body = (await self.browser.get("/conversations/main")).json()
        return [one["text"] for one in body["messages"] if one["role"] == "assistant"]

    async def ask(self, text: str, *, second: bool = False) -> str:
        client: httpx.AsyncClient = self.ana if second else self.browser
        answer = await client.post("/chat", json={"message": text})
        answer.raise_for_status()
        return answer.text


class TerminalOffice(PageOffice):
    """The owner at the terminal, and Ana on the page."""

    first = "terminal:owner"

    async def open(self) -> None:
        await super().open()
        self.socket = self.home / "ponte.sock"
        web = make_terminal(self.engine, unix_socket(self.socket))
        await web.start()
        self.stack.push_async_callback(web.close)

    async def ask(self, text: str, *, second: bool = False) -> str:
        if second:
            return await super().ask(text, second=True)
        screen = io.StringIO()
        await chat(self.socket, Keyboard(f"{text}\n"), screen)
        return screen.getvalue()


@asynccontextmanager
async def make_office(name: str, home: Path, database: str = "") -> AsyncIterator[Office]:
    """Yield the office of that name: slack, discord, page, terminal, or postgres, which is a page
    whose engine keeps all in `database`. It is closed at the end."""
    async with AsyncExitStack() as stack:
        if name == "slack":
            office: Office = SlackOffice(home, await stack.enter_async_context(FakeSlack()))
        elif name == "discord":
            stack.enter_context(sdk_addresses())
            office = DiscordOffice(home, await stack.enter_async_context(FakeDiscord()))
        else:
            office = TerminalOffice(home) if name == "terminal" else PageOffice(home, database)
        stack.push_async_callback(office.close)
        yield office
