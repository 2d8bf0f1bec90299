"""Many new people at once, on every chat platform: everybody is answered, and nobody is refused.

The doubles hold the platforms' own rates. What the platform does not tell at once is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from core.people.rules import Rule, RuleBook
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.world import Channel
from tests.fakes.slack import Post
from tests.slack.bot import Setting, Workplace, running, workplace

pytestmark = pytest.mark.slow

CROWD_TIMEOUT_SECONDS = 100.0
"""A busy machine is given so long; nothing is measured here."""
ROLE = 77


class Crowd(Protocol):
    async def write(self, people: int) -> None:
        """So many people who were here before Ponte write at once, each in a channel of theirs."""

    async def write_directly(self, people: int) -> None:
        """The same in direct messages."""

    async def all_answered(self) -> None:
        """Wait until every message has its answer, and check that none is a refusal."""

    def check(self) -> None:
        """Nobody was refused, and each message has exactly one answer."""

    async def restart(self) -> None: ...


class SlackCrowd:
    def __init__(self, w: Workplace) -> None:
        self._w = w
        self._said: list[Post] = []

    async def write(self, people: int) -> None:
        slack, count = self._w.slack, len(self._w.slack.workspace.people)
        new = [slack.person(f"Person {count + n}") for n in range(people)]
        places = [slack.channel(f"c{someone.id}", someone) for someone in new]
        for someone, place in zip(new, places, strict=True):
            self._said.append(slack.say(someone, place, f"{slack.bot} hello"))

    async def write_directly(self, people: int) -> None:
        slack, count = self._w.slack, len(self._w.slack.workspace.people)
        new = [slack.person(f"Person {count + n}") for n in range(people)]
        for someone in new:
            self._said.append(slack.say(someone, slack.dm(someone), "hello"))

    async def all_answered(self) -> None:
        workspace = self._w.slack.workspace

        def has_all_answers() -> bool:
            ours = [post for post in workspace.posts.values() if post.bot_id]
            outcomes = {post.channel for post in ours if post.stream is None}
            return {post.channel for post in self._said} <= outcomes

        await self._w.slack.wait_until(has_all_answers, CROWD_TIMEOUT_SECONDS)
        self.check()

    def check(self) -> None:
        posts = self._w.slack.workspace.posts.values()
        ours = [post for post in posts if post.bot_id and post.visible_text]
        assert {post.visible_text for post in ours} == {"You said: hello"}
        assert Counter(p.channel for p in ours) == Counter(p.channel for p in self._said)

    async def restart(self) -> None:
        await self._w.restart()


class DiscordCrowd:
    """Who may chat is said by a role, so that each person's roles must be known."""

    def __init__(self, discord: FakeDiscord, ponte: DiscordPonte) -> None:
        self._discord, self._ponte = discord, ponte
        self._guild = discord.guild("Bolts", roles={ROLE: "staff"})
        self._said: list[Channel] = []

    def _person(self) -> DiscordPerson:
        someone = self._discord.user("Person")
        someone.user.roles.add(ROLE)
        self._guild.members.add(someone.id)
        return someone

    async def write(self, people: int) -> None:
        for _ in range(people):
            channel = self._discord.text_channel(self._guild, "general")
            self._said.append(channel)
            await self._person().mention("hello", channel)

    async def write_directly(self, people: int) -> None:
        for _ in range(people):
            someone = self._person()
            self._said.append(someone.dm)
            await someone.say("hello")

    async def all_answered(self) -> None:
        messages = {channel.id for channel in self._said}
        await self._discord.wait_until(
            lambda: {id for id, _ in self._answers()} == messages, CROWD_TIMEOUT_SECONDS
        )
        self.check()

    def _answers(self) -> list[tuple[int, str]]:
        """Ours, each with the channel that it stands in."""
        me = str(self._discord.world.me.id)
        return [
            (channel.id, message["content"])
            for channel in self._said
            for message in channel.messages.values()
            if message["author"]["id"] == me
        ]

    def check(self) -> None:
        assert {text for _, text in self._answers()} == {"You said: hello"}
        assert len(self._answers()) == len(self._said)

    async def restart(self) -> None:
        """Once all is stored: Discord tells nobody again of a first direct message."""
        await self._discord.wait_until(
            lambda: len(self._ponte.taken) == len(self._said), CROWD_TIMEOUT_SECONDS
        )
        await self._ponte.close()
        await self._ponte.open()
        await self._discord.wait_until(
            lambda: self._discord.gateway.is_connected, CROWD_TIMEOUT_SECONDS
        )


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a Postgres if the test asks for one, or "" for the embedded engine."""
    return request.getfixturevalue("migrated_postgres") if getattr(request, "param", "") else ""


@pytest.fixture(params=["slack", "discord"])
async def crowd(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> AsyncIterator[Crowd]:
    open_crowd = on_slack if request.param == "slack" else on_discord
    async with open_crowd(tmp_path, database) as result:
        yield result
    result.check()


@asynccontextmanager
async def on_slack(home: Path, database: str) -> AsyncIterator[Crowd]:
    setting = Setting(chosen=make_choices(policy=allow_list()), postgres=database)
    async with workplace(home, setting) as result:
        yield SlackCrowd(result)


@asynccontextmanager
async def on_discord(home: Path, database: str) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:
        stack.enter_context(sdk_addresses())
        discord = await stack.enter_async_context(FakeDiscord())
        discord.faults.limit_members(30, 1.0)
        ponte = DiscordPonte(discord, home)
        ponte.postgres = database
        ponte.policy.read_rules = fixed_rules(
            RuleBook(
                (
                    Rule("1", frozenset({f"discord:{ROLE}"}), allow=("chat",)),
                    Rule("2", deny=("chat",)),
                )
            )
        )
        discord_crowd = DiscordCrowd(discord, ponte)
        stack.push_async_callback(ponte.close)
        await ponte.open(threads=False)
        await discord.wait_until(lambda: discord.gateway.is_connected, CROWD_TIMEOUT_SECONDS)
        yield discord_crowd


async def test_a_crowd_of_new_people_is_answered(crowd: Crowd) -> None:
    """More people than Slack describes in a minute (100) or Discord in some seconds (30 each)."""
    await crowd.write(60)
    await crowd.write_directly(60)
    await crowd.all_answered()


@pytest.mark.parametrize("database", [pytest.param("", id="embedded"), "postgres"], indirect=True)
async def test_a_restart_in_the_middle_of_a_crowd_loses_and_refuses_nobody(crowd: Crowd) -> None:
    """A few more people than Slack lets begin a stream in a minute (20): some wait."""
    await crowd.write_directly(22)
    await crowd.restart()
    await crowd.write(3)
    await crowd.all_answered()


async def test_two_processes_answer_one_slack_channel_at_its_pace(
    migrated_postgres: str, tmp_path: Path
) -> None:
    """Slack allows one post a second in a channel, whichever process posts."""
    async with AsyncExitStack() as stack:
        setting = Setting(chosen=make_choices(policy=allow_list()), postgres=migrated_postgres)
        context = await stack.enter_async_context(workplace(tmp_path / "one", setting))
        await stack.enter_async_context(running(context.slack, tmp_path / "two", setting))
        slack, people = context.slack, [context.slack.person(f"Person {n}") for n in range(9)]
        place = slack.channel("crowded", *people)
        messages = [slack.say(someone, place, f"{slack.bot} hello") for someone in people]
        for post in messages:
            assert (await slack.wait_for_answer(post)).visible_text == "You said: hello"
        ours = [p for p in slack.workspace.posts.values() if p.bot_id and p.channel == place.id]
        assert len(ours) == len(messages)
        assert slack.api.refusals["chat.postMessage"] <= 2, "calls may bunch on their way"
