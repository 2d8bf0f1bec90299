"""The cards of schedules on Slack and Discord: each button, pressed by the owner and by others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.domain.messages import Address, Person
from core.schedules.schedule import ScheduleFilter
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Payload
from tests.fakes.models import EchoModel
from tests.fakes.schedules import LateScheduleSource
from tests.fakes.slack import BOT_USER, Post, SlackPerson
from tests.slack.bot import Setting, Workplace, workplace

DAILY = {
    "kind": "post",
    "what": "Stand-up",
    "when": "0 9 * * *",
    "zone": "UTC",
    "ends": None,
    "replaces": None,
}


def proposal(**values: Any) -> str:
    return f"call schedule_propose {json.dumps(DAILY | values)}"


@asynccontextmanager
async def schedule_workplace(tmp_path: Path) -> AsyncIterator[Workplace]:
    """A workplace in which everybody may make schedules."""
    source = LateScheduleSource()
    choices = make_choices(EchoModel(), [source], allow_list(frozenset({"*"})))
    async with workplace(tmp_path, Setting(chosen=choices)) as work:
        source.open(work.bot.engine)
        yield work


async def test_the_buttons_on_slack(tmp_path: Path) -> None:
    async with schedule_workplace(tmp_path) as work:
        slack, alice, bob = work.slack, work.alice, work.bob

        async def ask(words: str) -> Post:
            """Return the answer in a channel of its own: Slack takes one post a second in each."""
            place = slack.channel("plans", alice, bob)
            return await slack.wait_for_answer(slack.say(alice, place, f"{slack.bot} {words}"))

        async def press(who: SlackPerson, card: Post, label: str, words: str) -> None:
            """Press the button, and wait until a post of this channel has `words`."""
            await slack.click(who, card, label).acked.wait()

            def is_there() -> bool:
                posts = slack.workspace.posts.values()
                return any(words in p.visible_text for p in posts if p.channel == card.channel)

            await slack.wait_until(is_there)

        card = await ask(proposal())
        assert list(card.buttons) == ["Approve", "Change…", "Deny"]
        id = card.buttons["Approve"]["value"]
        await press(bob, card, "Approve", "Só a pessoa que fez a solicitação")
        assert list(card.buttons) == ["Approve", "Change…", "Deny"], "nobody else approves it"
        await press(alice, card, "Approve", "Started")
        assert list(card.buttons) == ["Undo"]
        # Not in a third channel, whose members may not read of the schedule.
        change = slack.say(alice, work.dm, proposal(replaces=id, when="10:00"))
        answer = await slack.wait_for_answer(change)
        await press(alice, answer, "Approve", "Started")
        other = await ask(proposal(what="Lunch"))
        await press(alice, other, "Deny", "Denied")
        assert list(other.buttons) == ["Say why…", "Propose again"]
        (entry,) = await work.bot.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.id, entry.state, entry.draft.rule.cron) == (id, "active", "0 10 * * *")


async def test_runs_post_on_slack_where_the_schedule_was_asked_for(tmp_path: Path) -> None:
    """In the channel, or in the thread in which somebody asked."""
    async with schedule_workplace(tmp_path) as work:
        slack, alice = work.slack, work.alice
        store = work.bot.engine.schedules.store
        for place in ("channel", "thread"):
            plans = slack.channel(place, alice)
            root = slack.say(alice, plans, "What a day") if place == "thread" else None
            message = slack.say(alice, plans, f"{slack.bot} {proposal(what=place)}", thread=root)
            card = await slack.wait_for_answer(message)
            assert f"Posts in this {place}." in str(card.blocks)
            await slack.click(alice, card, "Approve").acked.wait()

            def is_done(card: Post = card) -> bool:
                return "Undo" in card.buttons

            await slack.wait_until(is_done)
            entries = await store.list_matching(ScheduleFilter())
            id = next(one.id for one in entries if one.draft.text == place)
            await store.run_now(id, "once")

            def runs(place: str = place, plans: Any = plans) -> list[Post]:
                posts = slack.workspace.posts.values()
                return [p for p in posts if p.channel == plans.id and p.visible_text == place]

            await slack.wait_until(runs)
            assert [post.thread_ts for post in runs()] == [root.ts if root else ""]
            other = Address("slack", plans.id, "T0PONTE", "1.2", is_shared=True)
            bob = Person("slack", work.bob.id, "T0PONTE")
            here, _ = await work.bot.engine.schedules.service.list_page(bob, other, 1)
            assert [one.id for one in here] == ([] if root else [id]), "from all of the channel"


NO_MEMBER = "Ponte can't post here later."


async def test_slack_starts_no_schedule_where_ponte_is_no_member(tmp_path: Path) -> None:
    async with schedule_workplace(tmp_path) as work:
        slack, alice = work.slack, work.alice
        plans = slack.channel("plans", alice)
        message = slack.say(alice, plans, f"{slack.bot} {proposal()}")
        card = await slack.wait_for_answer(message)
        await slack.leave(BOT_USER, plans).acked.wait()
        await slack.click(alice, card, "Approve").acked.wait()
        await slack.wait_until(
            lambda: any(NO_MEMBER in p.visible_text for p in slack.ephemeral_posts(plans.id))
        )
        assert not await work.bot.engine.schedules.store.list_matching(ScheduleFilter())


@pytest.mark.parametrize("place", ["server", "group"])
async def test_discord_runs_no_schedule_where_ponte_is_no_member(
    discord: FakeDiscord, tmp_path: Path, place: str
) -> None:
    """Who has installed the app uses its commands everywhere."""
    ponte, ana = DiscordPonte(discord, tmp_path), discord.user("Ana")
    source = LateScheduleSource()
    ponte.choices = make_choices(ponte.model, [source], allow_list(frozenset({"*"}), frozenset()))
    here = discord.group_dm(ana, discord.user("Bob"))
    if place == "server":
        here = discord.text_channel(discord.guild("Nuts", ana, with_bot=False), "general")
    await ponte.open()
    source.open(ponte.engine)
    exchange = await ana.slash("ask", here, prompt=proposal())
    await exchange.wait_until(lambda e: NO_MEMBER in e.text)
    await ponte.close()


async def test_the_buttons_on_discord(discord: FakeDiscord, tmp_path: Path) -> None:
    ponte = DiscordPonte(discord, tmp_path)
    ana, rui = discord.user("Ana"), discord.user("Rui")
    guild = discord.guild("Bolts", ana, rui)
    here = discord.text_channel(guild, "general")
    policy = allow_list(frozenset({"*"}), frozenset())
    source = LateScheduleSource()
    ponte.choices = make_choices(ponte.model, [source], policy)
    await ponte.open(threads=False)
    source.open(ponte.engine)

    def own() -> list[Payload]:
        return discord.world.messages_by(discord.world.me.id, here.id)

    async def ask(words: str) -> Payload:
        before = len(own())
        await ana.mention(words, here)
        await discord.wait_until(lambda: len(own()) > before and own()[-1]["components"])
        return own()[-1]

    def labels(card: Payload) -> list[str]:
        return [b["label"] for row in card["components"] for b in row["components"]]

    async def press(who: DiscordPerson, card: Payload, label: str, words: str) -> None:
        """Press the button, and wait until the card has `words`."""
        await (await who.click(card, label)).wait_for_ack()
        await discord.wait_until(lambda: words in str(card["embeds"]))

    async def press_in_vain(who: DiscordPerson, card: Payload, label: str, words: str) -> None:
        """Press the button, and wait until this person alone reads `words`."""
        exchange = await who.click(card, label)
        await exchange.wait_until(lambda e: words in str(e.followups))

    card = await ask(proposal())
    assert labels(card) == ["Approve", "Change…", "Deny"]
    await press_in_vain(rui, card, "Approve", "can approve it")
    assert labels(card) == ["Approve", "Change…", "Deny"], "nobody else approves it"
    await press(ana, card, "Approve", "Started")
    (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
    answer = await ask(proposal(replaces=entry.id, when="10:00"))
    await press(ana, answer, "Approve", "Started")
    other = await ask(proposal(what="Lunch"))
    await press(ana, other, "Deny", "Denied")
    (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
    assert (entry.state, entry.draft.rule.cron) == ("active", "0 10 * * *")
    await ponte.close()


@pytest.mark.parametrize("place", ["channel", "thread"])
async def test_runs_post_on_discord_in_the_channel(
    discord: FakeDiscord, tmp_path: Path, place: str
) -> None:
    """The thread under the message that asked holds the card alone. A post of a forum is a thread
    that contains this message, and nobody can write in the forum itself."""
    ponte, ana = DiscordPonte(discord, tmp_path), discord.user("Ana")
    guild = discord.guild("Bolts", ana)
    here = discord.text_channel(guild, "general")
    source = LateScheduleSource()
    ponte.choices = make_choices(ponte.model, [source], allow_list(frozenset({"*"}), frozenset()))
    await ponte.open()
    source.open(ponte.engine)

    def own(channel: int) -> list[Payload]:
        """Return our messages there, none if the thread is not there yet."""
        if channel not in discord.world.channels:
            return []
        return discord.world.messages_by(discord.world.me.id, channel)

    if place == "thread":
        here = await ana.post_in_forum(proposal(), discord.forum(guild, "plans"))
        thread = here.id
    else:
        thread = int((await ana.mention(proposal(), here))["id"])
    await discord.wait_until(lambda: own(thread) and own(thread)[-1]["components"])
    card = own(thread)[-1]
    assert f"Posts in this {place}." in str(card["embeds"])
    await (await ana.click(card, "Approve")).wait_for_ack()
    await discord.wait_until(lambda: "Started" in str(card["embeds"]))
    (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
    await ponte.engine.schedules.store.run_now(entry.id, "once")
    await discord.wait_until(lambda: own(here.id)[-1:] not in ([], [card]))
    assert own(here.id)[-1]["content"] == "Stand-up"
    await ponte.close()


async def test_a_person_reads_that_their_place_could_not_be_checked(tmp_path: Path) -> None:
    async with schedule_workplace(tmp_path) as work:
        work.slack.api.faults.add("conversations.members", "fetch_members_failed", 0)
        answer = await work.ask(proposal())
        assert answer.text.partition("}\n\n")[2].startswith("I couldn't check in time whether")
