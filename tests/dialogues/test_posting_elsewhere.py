"""A model proposes a post in another place: a person sees the whole text, and it is posted once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.chat.platform import Messenger
from core.domain.messages import Answer, ReplyTo
from core.ports.conversations import PostJournal, Reply
from core.rights.policy import Rule, RuleBook
from core.tools.posting.source import PlacePostSource
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices, supplier
from tests.fakes.discord import FakeDiscord
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, workplace


class LosingReply:
    """A reply that posts, and then breaks as a process that dies before it records the post."""

    def __init__(self, reply: Any, lost: list[str]) -> None:
        self._reply, self._lost = reply, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reply, name)

    async def finish(self, answer: Answer) -> None:
        await self._reply.finish(answer)
        self._lost.append("lost")
        raise RuntimeError("the process died")


WILFUL = "@everyone <!channel> @here see https://evil.example/x **now**"


async def test_a_post_elsewhere_on_slack(tmp_path: Path) -> None:
    policy = allow_list(frozenset({"*"}))
    messengers: dict[str, Messenger] = {}
    source = PlacePostSource(lambda: messengers)
    chosen = make_choices(EchoModel(), [source], policy)
    async with workplace(tmp_path, Setting(chosen=chosen)) as w:
        slack, bot = w.slack, w.slack.bot
        messengers["slack"] = w.bot.slack
        sales = slack.channel("sales", w.alice)
        secret = slack.channel("secret", w.bob)

        async def ask(to: str, text: str) -> Any:
            call = f"call post_message {json.dumps({'to': to, 'text': text})}"
            return await slack.wait_for_answer(slack.say(w.alice, w.general, f"{bot} {call}"))

        def posts(channel: Any) -> list[Any]:
            return slack.workspace.by_bot(channel.id)

        card = await ask(sales.id, WILFUL)
        assert "Post to #sales" in card.visible_text.replace("\\", ""), card.visible_text
        assert "**now**" in card.visible_text, "the card shows the whole text"
        assert not posts(sales), "nothing is posted before a person approves"
        await slack.click(w.alice, card, "Approve").acked.wait()
        await slack.wait_until(lambda: "Posted." in card.visible_text)
        (made,) = posts(sales)
        assert "Requested by Alice." in made.visible_text
        assert not [one for one in ("<!", "@everyone", "@here") if one in made.visible_text]
        assert "https://evil.example/x" not in made.visible_text

        for case, to, text, words in (
            ("no member", secret.id, "Hi", "write yourself"),
            ("no place", "C0NOWHERE", "Hi", "write"),
            ("too long", sales.id, "x" * 900, "too long"),
            ("here", w.general.id, "Hi", "current conversation"),
        ):
            said = await ask(to, text)
            assert words in said.visible_text, (case, said.visible_text)
            assert not said.buttons, case

        card = await ask(w.bob.id, "Call Ana.")
        await slack.click(w.alice, card, "Approve").acked.wait()
        await slack.wait_until(lambda: "Posted." in card.visible_text)

        # Alice leaves the channel before the post is approved.
        card = await ask(sales.id, "Second")
        slack.workspace.places[sales.id].members.remove(w.alice.id)
        await slack.click(w.alice, card, "Approve").acked.wait()
        await slack.wait_until(lambda: "Not posted." in card.visible_text)
        assert len(posts(sales)) == 1

        # The answer to the post is lost: it is found, and not posted again.
        slack.workspace.places[sales.id].members.add(w.alice.id)
        card = await ask(sales.id, "Third")
        real = w.bot.slack.reply

        def losing(to: ReplyTo, posts: PostJournal) -> Reply:
            reply = real(to, posts)
            if to.address.channel != sales.id or lost:
                return reply
            return LosingReply(reply, lost)

        lost: list[str] = []
        w.bot.engine.platforms.replies["slack"] = losing
        await slack.click(w.alice, card, "Approve").acked.wait()
        await slack.wait_until(lambda: "Posted." in card.visible_text)
        assert lost == ["lost"]
        assert len(posts(sales)) == 2, "one post for each approved card"

        book = RuleBook((Rule("rules 1", deny=(f"post:slack:*:{sales.id}",)),))
        policy.rule_book = supplier(book)
        assert "You don't have permission to post there" in (await ask(sales.id, "No")).visible_text


async def test_a_post_elsewhere_on_discord_is_found_after_a_lost_answer(
    discord: FakeDiscord, tmp_path: Path
) -> None:
    ponte = DiscordPonte(discord, tmp_path)
    ana = discord.user("Ana")
    guild = discord.guild("Bolts", ana)
    here, sales = discord.text_channel(guild, "general"), discord.text_channel(guild, "sales")
    ponte.policy = allow_list(frozenset({"*"}), frozenset())
    messengers: dict[str, Messenger] = {}
    source = PlacePostSource(lambda: messengers)
    ponte.choices = make_choices(ponte.model, [source], ponte.policy)
    await ponte.open(threads=False)
    messengers["discord"] = ponte.adapter

    def own(place: Any) -> list[Any]:
        return discord.world.messages_by(discord.world.me.id, place.id)

    def cards() -> list[Any]:
        return [message for message in own(here) if message["embeds"]]

    call = f"call post_message {json.dumps({'to': str(sales.id), 'text': WILFUL})}"
    await ana.mention(call, here)
    await discord.wait_until(lambda: cards())
    (card,) = cards()
    assert "Requested by Ana" in card["embeds"][0]["description"]
    assert own(sales) == []
    discord.lose("POST", f"/channels/{sales.id}/messages", times=1)
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: "Posted." in card["embeds"][0]["description"])
    (made,) = own(sales)
    assert "@everyone" not in made["content"]
    assert "Requested by Ana" in made["content"]
    await ponte.close()
