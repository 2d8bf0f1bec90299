"""A model writes the text of a schedule. Its addresses are links only if its owner wrote them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.models.served_model import Level
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.dialogues.test_links import EVIL, Source
from tests.fakes import linkers
from tests.fakes.choices import allow_list
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.schedules import LateScheduleSource

OWN = "https://wiki.test/plan"


@dataclass
class Place:
    running_bot: RunningBot
    fake: FakeOpenAI
    platform: str
    count: int = 0

    async def say(self, text: str) -> Answer:
        """Answer a message of Ana."""
        self.count += 1
        ana = Person(self.platform, "ana", "T1", "Ana")
        address = Address(self.platform, "C1", "T1", person="ana")
        key = f"{self.platform}:{self.count}"
        to = ReplyTo(address, ana, key, turn_id(key))
        return await self.running_bot.ask_message(Message(key, text, ana, address, to))

    async def schedule(self, kind: str, what: str, said: str = "Do it every day") -> str:
        """Ask for a schedule, approve it, and return its id. The model calls a tool before it."""
        draft = {
            "kind": kind,
            "what": what,
            "when": "0 9 * * *",
            "zone": "UTC",
            "ends": None,
            "replaces": None,
        }
        self.fake.say(
            Script(calls=(("look", "{}"),), match=said),
            Script(calls=(("schedule_propose", json.dumps(draft)),), match="a row"),
        )
        (card,) = (await self.say(said)).cards
        await self.say(f"approve {card.id}")
        return card.id

    async def run(self, id: str) -> Answer:
        """Run a schedule, and return the answer of the run."""
        await self.say(f"schedule {id} run")
        store, inbox = (
            self.running_bot.engine.schedules.store,
            self.running_bot.engine.conversations.inbox,
        )
        return await inbox.wait_for_answer((await store.list_runs(id))[0].seq)

    def links(self) -> set[str]:
        """Return what any version of any post would have linked."""
        posts = self.running_bot.recorder.posts
        return {link for post in posts for text in post.texts for link in linkers.piece(text)}


@asynccontextmanager
async def place(
    bot_home: BotHome, platform: str, level: Level = "conversations"
) -> AsyncIterator[Place]:
    policy, source = allow_list(frozenset({"slack", "discord"})), LateScheduleSource()
    async with (
        FakeOpenAI(without=WITHOUT[level]) as fake,
        open_served_bot(bot_home, fake, [source, Source()], policy=policy) as running_bot,
    ):
        source.open(running_bot.engine)
        yield Place(running_bot, fake, platform)


@pytest.mark.parametrize(
    ("platform", "bot_home"), [("discord", "home"), ("slack", "postgres")], indirect=["bot_home"]
)
async def test_a_run_posts_addresses_of_the_model_as_text(bot_home: BotHome, platform: str) -> None:
    async with place(bot_home, platform) as one:
        id = await one.schedule("post", f"Read {EVIL} now")
        await one.say("new")  # a thread without text from outside
        answer = await one.run(id)
        assert "evil.test" in answer.text
        assert one.links() == set()


@pytest.mark.parametrize(
    ("level", "platform"),
    [("conversations", "slack"), ("responses", "discord"), ("chat", "web")],
)
async def test_a_run_s_addresses_are_not_its_owners(
    bot_home: BotHome, platform: str, level: Level
) -> None:
    async with place(bot_home, platform, level) as one:
        id = await one.schedule("ask", f"Tell me of {EVIL}")
        await one.say("new")
        one.fake.say(Script(f"See {EVIL}", match="Tell me of", times=0))
        one.fake.say(Script(f"Again: {EVIL}", match="And again?"))
        assert "evil.test" in (await one.run(id)).text
        assert "evil.test" in (await one.say("And again?")).text
        assert one.links() == set()


@pytest.mark.parametrize(("kind", "platform"), [("post", "slack"), ("ask", "web")])
async def test_the_owner_s_address_stays_a_link(
    bot_home: BotHome, platform: str, kind: str
) -> None:
    """Also in a new thread, and after an edit."""
    async with place(bot_home, platform) as one:
        what = f"Read {OWN} and {EVIL}"
        id = await one.schedule(kind, what, f"Remind me of {OWN} every day")
        await one.say("new")
        assert OWN in (await one.run(id)).text
        assert one.links() == {OWN}
