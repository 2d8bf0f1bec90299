"""Links to messages: read for the model where the asker and the bot may read, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from discord import Client, Intents

from adapters.discord.context import DiscordContext
from adapters.discord.state import DiscordState
from core.chat.message_links import LINK_PRIVATE, LINK_UNCHECKED, LINK_UNREAD, LINKS_LEFT_OUT
from core.domain.messages import Address, Message, Person, ReplyTo
from core.domain.records import RoundRequest
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.world import CONNECT, READ_HISTORY, TEXT, VIEW, VOICE
from tests.fakes.models import EchoModel
from tests.fakes.slack import Post, SlackChannel
from tests.slack.bot import Setting, Workplace, workplace


def link(post: Post, channel: str = "") -> str:
    thread = f"?thread_ts={post.thread_ts}&cid={post.channel}" if post.thread_ts else ""
    place = channel or post.channel
    return f"<https://acme.slack.com/archives/{place}/p{post.ts.replace('.', '')}{thread}>"


def input_of(ask: RoundRequest) -> str:
    return "\n".join(item.text for item in ask.input)


async def ask(
    w: Workplace, model: EchoModel, words: str, place: SlackChannel | None = None
) -> tuple[str, str]:
    """Return what the model read, and the answer."""
    answer = await w.ask(f"sum up {words}", place)
    return input_of(model.asks[-1]), answer.visible_text


async def test_a_message_and_its_thread_are_read(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        sales = w.slack.channel("sales", w.alice, w.bob)
        root = w.slack.say(w.bob, sales, f"<@{w.alice.id}> the offer is 900")
        reply = w.slack.say(w.bob, sales, "make it 800", thread=root)
        w.slack.say(w.bob, sales, "unrelated")
        for post in (root, reply):
            read, answer = await ask(w, model, link(post))
            assert "@Alice the offer is 900" in read
            assert "make it 800" in read
            assert "unrelated" not in read
            assert LINK_UNREAD not in answer


async def test_what_the_asker_or_the_bot_may_not_read_is_not_read(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        board = w.slack.channel("board", w.bob)
        theirs = w.slack.say(w.bob, board, "the salary is 900")
        absent = w.slack.channel("absent", w.alice, bot=False)
        without_bot = w.slack.say(w.alice, absent, "only people are here")
        bobs = w.slack.say(w.bob, w.slack.dm(w.bob), "hello, Ponte")
        gone = w.slack.say(w.bob, w.general, "never mind")
        w.slack.remove(gone)
        elsewhere = link(gone, "C0OTHER")
        for words in (link(theirs), link(without_bot), link(bobs), link(gone), elsewhere):
            for place in (w.general, w.dm):
                read, answer = await ask(w, model, words, place)
                assert "salary" not in read, words
                assert "only people" not in read, words
                assert "hello, Ponte" not in read, words
                assert "never mind" not in read, words
                assert LINK_UNREAD in answer, words


async def test_a_private_place_is_read_in_direct_messages_alone(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        secret = w.slack.group_dm(w.alice)
        post = w.slack.say(w.alice, secret, "we buy Globex")
        read, answer = await ask(w, model, link(post))
        assert "Globex" not in read
        assert LINK_PRIVATE in answer
        read, answer = await ask(w, model, link(post), w.dm)
        assert "we buy Globex" in read
        read, answer = await ask(w, model, link(post), secret)
        assert "we buy Globex" in read


async def test_five_links_are_read_and_no_link_in_them(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        deep = w.slack.say(w.bob, w.general, "deep below")
        posts = [w.slack.say(w.bob, w.general, f"post {n} {link(deep)}") for n in range(6)]
        read, answer = await ask(w, model, " ".join([link(posts[0]), *map(link, posts)]))
        assert [n for n in range(6) if f"post {n}" in read] == [0, 1, 2, 3, 4]
        assert "deep below" not in read
        assert LINKS_LEFT_OUT.format(count=5) in answer


async def test_a_slack_that_does_not_answer_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.chat.message_links.CONTEXT_SECONDS", 0.2)
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        post = w.slack.say(w.bob, w.slack.channel("sales", w.alice), "the offer is 900")
        members = w.slack.api.close("conversations.members")
        read, answer = await ask(w, model, link(post))
        assert "900" not in read
        assert LINK_UNCHECKED in answer
        members.release()


async def test_links_on_discord(discord: FakeDiscord, tmp_path: Path) -> None:
    discord.grant_message_content()
    ponte = DiscordPonte(discord, tmp_path)
    model = EchoModel()
    ponte.choices = make_choices(model, policy=allow_list(frozenset({"*"}), frozenset()))
    ana, rui, zoe = (discord.user(name) for name in ("Ana", "Rui", "Zoe"))
    guild, other = discord.guild("Bolts", ana, rui), discord.guild("Others", zoe)
    here, sales = discord.text_channel(guild, "general"), discord.text_channel(guild, "sales")
    theirs = discord.text_channel(other, "plans")
    await ponte.open(threads=False)
    offer, plan = await rui.say("the offer is 900", sales), await zoe.say("we buy Globex", theirs)
    answers: list[Any] = []

    def is_answered() -> bool:
        own = discord.world.messages_by(discord.world.me.id, here.id)
        is_new = len(own) > len(answers)
        answers[:] = own
        return is_new

    for guild_id, post, may_read in ((guild.id, offer, True), (other.id, plan, False)):
        url = f"https://discord.com/channels/{guild_id}/{post['channel_id']}/{post['id']}"
        await ana.mention(f"sum up {url}", here)
        await discord.wait_until(is_answered)
        assert (post["content"] in input_of(model.asks[-1])) == may_read
        assert (LINK_UNREAD in answers[-1]["content"]) != may_read
    await ponte.close()


@pytest.mark.parametrize("listens", [True, False])
async def test_who_reads_a_link_on_discord(
    discord: FakeDiscord, tmp_path: Path, listens: bool
) -> None:
    """Also in a process without the gateway's session, which knows no roles of a server. Who sees a
    channel may still not read what was written there earlier."""
    discord.grant_message_content()
    ponte = DiscordPonte(discord, tmp_path)
    ana, rui = discord.user("Ana"), discord.user("Rui")
    guild = discord.guild("Bolts", ana, rui)
    here = discord.text_channel(guild, "general")
    denials: list[tuple[int, int, int, str]] = [
        (TEXT, 0, 0, ""),
        (VOICE, 0, 0, ""),
        (TEXT, ana.id, VIEW, LINK_UNREAD),
        (TEXT, ana.id, READ_HISTORY, LINK_UNREAD),
        (VOICE, ana.id, CONNECT, LINK_UNREAD),
        (TEXT, guild.id, VIEW, LINK_UNREAD),
        (TEXT, rui.id, VIEW, ""),
    ]
    places = [
        discord.world.channel(type=type, name="sales", guild=guild, denied={who: denied})
        for type, who, denied, _ in denials
    ]
    posts = [await rui.say("the offer is 900", place) for place in places]
    await ponte.open(threads=False)
    client = await ponte.adapter.connection.client()
    async with Client(intents=Intents.none()) as other:
        await other.login(discord.token)

        async def session() -> Client:
            return client if listens else other

        context = DiscordContext(session, DiscordState(), may_read=True)
        author = Person("discord", str(ana.id))
        address = Address("discord", str(here.id), str(guild.id), is_shared=True)
        for place, post, (*denied, sentence) in zip(places, posts, denials, strict=True):
            url = f"https://discord.com/channels/{guild.id}/{place.id}/{post['id']}"
            to = ReplyTo(address, author, "1", "turn")
            message = Message("discord:1:1", f"sum up {url}", author, address, to)
            whole, unread = await context(message, True)
            assert list(unread) == [sentence] * bool(sentence), denied
            assert bool(whole.context) == (not sentence)
    await ponte.close()
