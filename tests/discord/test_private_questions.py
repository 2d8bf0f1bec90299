"""`/ask` with `private`: only its asker sees the answer."""

from __future__ import annotations

import asyncio

import pytest

from core.domain.changes import Draft, RowWrite
from core.domain.messages import Address, AskedIn, encode_json
from core.domain.records import Outcome, ToolContext
from core.people.rules import Rule, RuleBook
from core.tools.posting import POST_APPLIER
from core.tools.tool import FixedToolSource, FunctionTool
from tests.discord.discord_ponte import DiscordPonte, bot_messages
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import DEFER, Exchange
from tests.fakes.discord.world import Channel, Payload


def direct_posts(discord: FakeDiscord, person: DiscordPerson) -> list[str]:
    me = discord.world.me.id
    return [post["content"] for post in discord.world.messages_by(me, person.dm.id)]


@pytest.fixture
async def bot(ponte: DiscordPonte) -> DiscordPonte:
    ponte.policy = allow_list(frozenset({"*"}))
    await ponte.open()
    await ponte.ready()
    return ponte


async def test_discord_shows_the_answer_to_the_asker_alone(
    discord: FakeDiscord, bot: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_text("You said: who is late?")
    assert (exchange.kind, exchange.ephemeral) == (DEFER, True)
    assert bot_messages(discord) == []
    public = await ana.slash("ask", channel, prompt="hello")
    await public.wait_for_text("You said: hello")
    assert "late" not in str(bot.model.asks[-1].input)
    assert channel.guild
    journal = bot.engine.conversations.journal
    (entry,) = await journal.list_entries(f"discord:{ana.dm.id}:@{channel.id}")
    assert entry.message.asked_in == AskedIn(
        Address("discord", str(channel.id), str(channel.guild.id), is_shared=True), "#general"
    )


async def test_discord_asks_in_a_form_that_stays_private(
    bot: DiscordPonte, ana: DiscordPerson, channel: Channel, discord: FakeDiscord
) -> None:
    form = await ana.slash("ask", channel, private=True)
    await form.wait_for_ack()
    question = await ana.submit(form, prompt="who is late?")
    await question.wait_for_text("You said: who is late?")
    assert question.ephemeral
    assert bot_messages(discord) == []


@pytest.mark.parametrize("case", ["late", "refused", "unknown"])
async def test_discord_posts_in_the_direct_message_what_the_response_cannot_show(
    discord: FakeDiscord, bot: DiscordPonte, ana: DiscordPerson, channel: Channel, case: str
) -> None:
    bot.model.say_in_steps({"who is late?": ["Ana", " is."]})
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_ack()
    if case == "late":
        discord.clock.advance(15 * 60 + 1)
    else:
        code = {"refused": 50027, "unknown": 10015}[case]
        discord.refuse("PATCH", "/webhooks/*", 401, code, times=99)
    bot.model.go_on()
    await discord.wait_until(lambda: direct_posts(discord, ana))
    await bot.close()
    assert direct_posts(discord, ana) == ["Ana is."]
    assert bot_messages(discord) == ["Ana is."]


async def test_discord_shares_an_answer_that_stands_in_the_direct_message(
    discord: FakeDiscord, bot: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    bot.model.say_in_steps({"who is late?": ["Ana", " is."]})
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_ack()
    discord.clock.advance(15 * 60 + 1)
    bot.model.go_on()
    me = discord.world.me.id
    await discord.wait_until(lambda: "Share in #general" in str(discord.world.messages_by(me)))
    (answer,) = discord.world.messages_by(me, ana.dm.id)
    await (await ana.click(answer, "Share in #general")).wait_for_ack()
    await discord.wait_until(lambda: len(discord.world.messages_by(me, ana.dm.id)) == 2)
    card = discord.world.messages_by(me, ana.dm.id)[-1]
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: discord.world.messages_by(me, channel.id))
    (post,) = discord.world.messages_by(me, channel.id)
    assert post["content"].endswith("Ana is.")


class Reports(FixedToolSource):
    """Its tools read a table and make a file."""

    name = "reports"

    def __init__(self, ponte: DiscordPonte) -> None:
        self._ponte = ponte
        tools = (self.read_orders, self.make_file)
        reading = [FunctionTool(tool, effect="read", doing="…") for tool in tools]
        self._tools = (*reading, FunctionTool(self.propose, effect="write", doing="…"))

    async def read_orders(self, ctx: ToolContext, text: str) -> Outcome:
        """Read orders.

        Args:
            text: what they say
        """
        ctx.viewer.note_need("read", "Orders", "m1")
        return Outcome("ok", text)

    async def make_file(self, ctx: ToolContext) -> Outcome:
        """Make a file."""
        files = self._ponte.engine.conversations.files
        file = await files.put(ctx.message.turn, "a.csv", "text/csv", b"a", ctx.asker, "t")
        return Outcome("ok", "made", (file,))

    async def propose(self, ctx: ToolContext) -> Outcome:
        """Propose a post."""
        target = {
            "asker": encode_json(ctx.asker),
            "address": encode_json(ctx.address),
            "person": "",
            "place": "discord:1:2",
        }
        row = RowWrite(after={"text": "Hello"})
        return await ctx.turn.propose(Draft(POST_APPLIER, "post", target, "#sales", (row,)))


@pytest.fixture
async def reports(ponte: DiscordPonte) -> DiscordPonte:
    ponte.policy = allow_list(frozenset({"*"}))
    ponte.choices = make_choices(ponte.model, [Reports(ponte)], ponte.policy)
    await ponte.open(threads=False)
    await ponte.ready()
    return ponte


async def ask_privately(ana: DiscordPerson, channel: Channel, text: str) -> Exchange:
    exchange = await ana.slash("ask", channel, prompt=text, private=True)
    return await exchange.wait_until(lambda e: "Share in #general" in str(e.buttons))


async def share(discord: FakeDiscord, ana: DiscordPerson, answer: Exchange) -> Payload:
    """Press the button, and return the card, which is in the direct message."""
    assert answer.original
    press = await ana.click(answer.original, "Share in #general")
    await press.wait_until(lambda e: e.followups)
    assert "our direct message" in press.followups[0]["content"]
    return discord.world.messages_by(discord.world.me.id, ana.dm.id)[-1]


async def test_discord_shares_the_answer_with_its_file(
    discord: FakeDiscord, reports: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    answer = await ask_privately(ana, channel, "call make_file {}")
    await answer.wait_until(lambda e: e.original and e.original["attachments"])
    assert bot_messages(discord) == []
    card = await share(discord, ana, answer)
    assert "Files included: `a.csv`" in card["embeds"][0]["description"]
    assert answer.original
    press = await ana.click(answer.original, "Share in #general")
    await press.wait_until(lambda e: e.followups)
    assert "already shared" in press.followups[0]["content"]
    discord.lose("PATCH", f"/channels/{channel.id}/messages/*", times=1)
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: "Posted." in card["embeds"][0]["description"])
    (post,) = discord.world.messages_by(discord.world.me.id, channel.id)
    assert post["content"].startswith("Shared by Ana from a private question:\n\n")
    assert [file["filename"] for file in post["attachments"]] == ["a.csv"]
    assert not post["mentions"]
    assert not post["mention_everyone"]


async def test_discord_posts_cards_in_the_direct_message(
    discord: FakeDiscord, reports: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    """Somebody may decide when the response cannot be edited any more."""
    exchange = await ana.slash("ask", channel, prompt="call propose {}", private=True)
    await exchange.wait_until(lambda e: "our direct message" in e.text)
    (card,) = discord.world.messages_by(discord.world.me.id)
    assert card["channel_id"] == str(ana.dm.id)
    await (await ana.click(card, "Deny")).wait_for_ack()
    await discord.wait_until(lambda: "Denied" in str(card["embeds"]))


async def test_who_takes_no_direct_messages_reads_so(
    discord: FakeDiscord, reports: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    discord.refuse("POST", f"/channels/{ana.dm.id}/messages", 403, 50007, times=9)
    exchange = await ana.slash("ask", channel, prompt="call propose {}", private=True)
    await exchange.wait_until(lambda e: "couldn't open our direct message" in e.text)
    assert bot_messages(discord) == []


async def test_discord_refuses_to_share_what_the_channel_may_not_show(
    discord: FakeDiscord, reports: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    text = 'call read_orders {"text": "@everyone"}'
    answer = await ask_privately(ana, channel, text)
    assert answer.original
    assert channel.guild
    for deny, words in (("read:Orders", "`Orders` can't be shown"), ("chat", "can't chat")):
        rule = Rule("rules 1", where=frozenset({f"discord:{channel.guild.id}"}), deny=(deny,))
        reports.policy.read_rules = fixed_rules(RuleBook((rule,)))
        press = await ana.click(answer.original, "Share in #general")
        await press.wait_until(lambda e: e.followups)
        assert words in press.followups[0]["content"]
    assert bot_messages(discord) == []


class Pauses(asyncio.Queue[None]):
    """`reached`: the model waits."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def get(self) -> None:
        self.reached.set()
        await super().get()


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_restart_answers_a_private_question_once(
    discord: FakeDiscord,
    bot: DiscordPonte,
    ana: DiscordPerson,
    channel: Channel,
    is_over: bool,
) -> None:
    bot.model.say_in_steps({"who is late?": ["Ana", " is."]})
    pauses = bot.model.pauses = Pauses()
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_ack()
    await pauses.reached.wait()
    await bot.close(grace=0.0)
    bot.model.pauses = None
    if is_over:
        discord.clock.advance(15 * 60 + 1)
    await bot.open()
    if is_over:
        await discord.wait_until(lambda: direct_posts(discord, ana))
    else:
        await exchange.wait_for_text("Ana is.")
    await bot.close()
    assert direct_posts(discord, ana) == (["Ana is."] if is_over else [])
    assert bot_messages(discord) == direct_posts(discord, ana)
