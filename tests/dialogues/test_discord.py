"""Discord, as people see it, on SimCord: somebody else's idea of what Discord takes and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import discord
import pytest
import simcord

from adapters.discord import DISCORD_API_URL, DISCORD_GATEWAY_URL
from adapters.discord.adapter import DiscordAdapter, DiscordOptions
from core.chat.people import Conversations, People
from core.commands import grammar
from core.domain.messages import Answer, Card
from core.journal.inbox import SqlInbox
from core.journal.jobs import Alone
from core.journal.journal import Journal
from core.store.files import SqlFiles
from tests.fakes.choices import EmptyStatusBoard, allow_list
from tests.fakes.memory import MemoryBytes, MemoryDatabase, NoRows
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.fakes.posts import KeptPosts

CARD = Card("abcde2", "proposal", "Change 2 customers", "", (), ("approve", "deny"))
DONE = Card("abcde2", "change", "Changed 2 customers", "", (), ("undo",), "done")


class SimcordSetup:
    """The adapter between SimCord and an inbox whose turns echo."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self.inbox, self.journal = SqlInbox(database), Journal(database)
        self.heard: list[str] = []
        self.around: list[str] = []
        self.files: list[str] = []
        self.long = ""

    async def client(
        self, places: FixedPlaces | None = None, *, message_content: bool = False
    ) -> discord.Client:
        """A new start of Ponte."""
        unused: Any = None
        self.adapter = DiscordAdapter(
            "simulated",
            Conversations(
                self.inbox,
                self.journal,
                unused,
                SqlFiles(self.database, MemoryBytes()),
                unused,
                unused,
                unused,
                unused,
            ),
            People(allow_list(frozenset({"*"})), unused, unused, NoRows(), unused, unused),
            EmptyStatusBoard(),
            Alone(self.database),
            places or FixedPlaces(),
            DiscordOptions(DISCORD_API_URL, DISCORD_GATEWAY_URL, message_content=message_content),
        )
        await self.adapter.state.open()
        return self.adapter.make_client()

    async def turn(self, seq: int) -> None:
        turn = await self.journal.begin(seq)
        assert turn is not None
        message, untold = await self.adapter.look_up(turn.message, True)
        self.heard.append(message.text)
        self.around = [quote.text for quote in message.context]
        self.files = [file.name for file in message.attachments]
        reply = self.adapter.reply(message.reply_to, KeptPosts())
        answer = self._answer(message.text)
        answer = replace(answer, text="\n\n".join([answer.text, *untold]))
        parts = reply.split(answer.text)
        answer = replace(answer, parts=parts)
        await self.journal.record_answer(turn, answer)
        await reply.finish(answer)
        await self.journal.end_turn(turn, "done")

    def _answer(self, text: str) -> Answer:
        command = grammar.parse_command(text)
        if text == "change them":
            return Answer("", cards=(CARD,))
        if command and command.name == "approve":
            return Answer("", cards=(DONE,))
        if text == "tell me":
            return Answer(self.long)
        return Answer(f"You said: {text}")


@pytest.fixture
async def setup() -> AsyncIterator[SimcordSetup]:
    database = MemoryDatabase()
    setup = SimcordSetup(database)
    running = asyncio.create_task(setup.inbox.run(setup.turn))
    yield setup
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()


NO_THREADS = FixedPlaces(FixedAddressingSettings(threads=False))


def bot_messages(env: simcord.Env, channel: Any) -> list[str]:
    return [message.content for message in channel.history() if message.author == env.bot.user]


@pytest.mark.slow
async def test_a_direct_message_is_answered(setup: SimcordSetup) -> None:
    """It can be edited and deleted, and a long answer comes in parts that Discord takes. The slash
    command and autocomplete are answered. A card is decided after a restart."""
    async with simcord.run(await setup.client()) as env:
        ana = env.create_user("ana")
        message = await ana.send_dm("hello")
        assert bot_messages(env, ana.dm_channel) == ["You said: hello"]
        await ana.edit(message, "hello again")
        (row,) = setup.database.entries().values()
        assert row.message.text == "hello again"
        await ana.delete(message)
        assert not setup.database.entries()[row.seq].message.text

        before = len(bot_messages(env, ana.dm_channel))
        await ana.send_dm("\n\n".join("x" * 640 for _ in range(3)))
        (part,) = bot_messages(env, ana.dm_channel)[before:]
        assert len(part) <= 2000
        setup.long = "\n\n".join("y" * 1500 for _ in range(3))
        await ana.send_dm("tell me")
        parts = bot_messages(env, ana.dm_channel)[before + 1 :]
        assert [part[:2] for part in parts] == ["yy", "yy", "yy"]

        result = await ana.slash("ask", prompt="hello")
        assert result.acknowledged
        assert result.response is not None
        assert result.response.content == "You said: hello"
        assert await ana.autocomplete("quick-command", "slug", "su") == []

        setup.heard.clear()
        await ana.send_dm("change them")
        last_message = ana.dm_channel.last_message
        await env.restart_bot(await setup.client())
        result = await ana.click(last_message, label="Approve")
        assert result.acknowledged
        assert setup.heard == ["change them", "approve abcde2"]
        redrawn = ana.dm_channel.last_message
        assert redrawn is not None
        assert redrawn.embeds[0].title == "Changed 2 customers"


@pytest.mark.slow
async def test_a_mention_gets_a_thread_and_other_talk_is_left_alone(setup: SimcordSetup) -> None:
    """A reply that mentions Ponte, a modal and the menu of a message are answered."""
    async with simcord.run(await setup.client()) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("general")
        ana, bob = (guild.add_member(env.create_user(name)) for name in ("ana", "bob"))
        await ana.send(channel, "just among us")
        await ana.send(channel, f"{at(env)} how many bolts?")
        (thread,) = [thread for guild in env.bot.guilds for thread in guild.threads]
        assert thread.name == "how many bolts?"
        await ana.send(channel, f"{at(env)} and nuts?", reply_to=channel.last_message)
        assert setup.heard == ["how many bolts?", "and nuts?"]

        interaction = await ana.slash(channel, "ask")
        assert interaction.modal is not None
        result = await ana.submit_modal(interaction, {"prompt": "several\nlines"})
        assert result.response is not None
        assert result.response.content == "You said: several\nlines"

        late = await bob.send(channel, "the bolts are late")
        interaction = await ana.context_menu(channel, "Ask Ponte", late)
        await ana.submit_modal(interaction, {"prompt": "why?", "quote": "the bolts are late"})
        *_, row = setup.database.entries().values()
        assert [quote.text for quote in row.message.context] == ["the bolts are late"]


@pytest.mark.slow
async def test_a_reply_to_what_is_withheld_says_how_to_show_it(setup: SimcordSetup) -> None:
    client = await setup.client(NO_THREADS)
    async with simcord.run(client, approved_intents=discord.Intents.default()) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("general")
        ana = guild.add_member(env.create_user("ana"))
        bob = guild.add_member(env.create_user("bob"))
        late = await bob.send(channel, "the bolts are late", attachments=[("plot.png", b"png")])
        await ana.send(channel, f"{at(env)} is that so?", reply_to=late)
        assert setup.around == []
        assert "Apps → Ask Ponte" in bot_messages(env, channel)[-1]
        interaction = await ana.context_menu(channel, "Ask Ponte", late)
        text = "the bolts are late\n[with the files plot.png]"
        await ana.submit_modal(interaction, {"prompt": "why?", "quote": text})
        assert (setup.around, setup.files) == ([text], ["plot.png"])


async def test_with_the_intent_a_reply_and_a_thread_are_read(setup: SimcordSetup) -> None:
    client = await setup.client(NO_THREADS, message_content=True)
    async with simcord.run(client) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("general")
        ana = guild.add_member(env.create_user("ana"))
        bob = guild.add_member(env.create_user("bob"))
        late = await bob.send(channel, "the bolts are late", attachments=[("plot.png", b"png")])
        await ana.send(channel, f"{at(env)} is that so?", reply_to=late)
        assert setup.around == ["the bolts are late\n[with the files plot.png]"]
        assert setup.files == ["plot.png"]
        assert bot_messages(env, channel) == ["You said: is that so?"]


def at(env: simcord.Env) -> str:
    assert env.bot.user is not None
    return env.bot.user.mention
