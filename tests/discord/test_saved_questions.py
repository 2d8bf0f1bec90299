"""*Run again*, *Save…* and *Alert…* below an answer of rows on Discord, and `/show`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import time_machine

from core.saved.buttons import MOVED_ON
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list
from tests.fakes.discord import DiscordPerson
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.schedules import LateScheduleSource
from tests.saved.orders import NOVEMBER, OrdersBoard, orders_choices


@pytest.fixture(autouse=True)
def _november() -> Iterator[None]:
    """The questions and answers name days of it."""
    with time_machine.travel(datetime(2026, 11, 30, 12, tzinfo=UTC)):
        yield


@pytest.fixture
async def office(ponte: DiscordPonte) -> AsyncIterator[DiscordPonte]:
    ponte.policy = allow_list(frozenset({"*"}))
    schedules, policy = LateScheduleSource(), ponte.policy
    async with orders_choices(NOVEMBER, policy=policy, schedules=schedules) as ponte.choices:
        await ponte.open()
        schedules.open(ponte.engine)
        board = ponte.choices.board
        assert isinstance(board, OrdersBoard)
        board.engine = ponte.engine
        await ponte.ready()
        yield ponte
        await ponte.close()


SAVED_LABELS = ["Run again", "Save…", "Alert…"]


def list_labels(message: Payload) -> list[str]:
    return [
        str(item.get("label") or item["emoji"]["name"])
        for row in message["components"]
        for item in row["components"]
    ]


def saved_labels(message: Payload) -> list[str]:
    return [label for label in list_labels(message) if label in SAVED_LABELS]


async def wait_for_buttons(ponte: DiscordPonte, person: DiscordPerson, where: Channel) -> Payload:
    """Until the newest answer is stored: a press counts from then on."""

    def has_buttons(seen: list[Payload]) -> bool:
        return bool(seen) and "Save…" in list_labels(seen[-1])

    post = (await person.wait_for_messages(has_buttons, where))[-1]
    turn = post["components"][0]["components"][0]["custom_id"].rpartition(":")[2]
    stores = ponte.engine.conversations
    entry = await stores.journal.history_entry(turn)
    await stores.inbox.wait_for_answer(entry.seq)
    return post


async def complete(person: DiscordPerson, where: Channel, typed: str) -> list[str]:
    choices = await person.autocomplete("show", "question", where, question=typed)
    return [choice["value"] for choice in choices]


async def test_a_press_posts_a_fresh_answer_and_a_second_one_points_to_it(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ana.mention("Which orders are unpaid?", channel)
    post = await wait_for_buttons(office, ana, channel)
    assert saved_labels(post) == SAVED_LABELS
    first, second = [await ana.click(post, "Run again") for _ in range(2)]
    fresh = await ana.wait_for_text("0 rows (on Nov 30, ", channel)
    assert "no longer available" not in fresh["content"]
    await office.discord.wait_until(lambda: first.followups or second.followups)
    (late,) = [*first.followups, *second.followups]
    assert late["content"].startswith("I ran this again just now (")
    await office.discord.wait_until(
        lambda: not saved_labels(post) and saved_labels(fresh) == SAVED_LABELS
    )


async def test_a_form_saves_for_everyone_what_slash_show_then_offers(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ana.mention("Which orders are unpaid?", channel)
    post = await wait_for_buttons(office, ana, channel)
    form = await (await ana.click(post, "Save…")).wait_for_ack()
    name, share, move = form.data["components"]
    assert name["component"]["value"] == "Which orders are unpaid"
    assert name["description"] == "Orders: Paid = false, Due between 2026-11-01, 2026-11-30"
    assert (share["label"], move["label"]) == (
        "Everyone in this channel can use it",
        "this month instead of 2026-11",
    )
    bad = await (await ana.submit(form, title="stop")).wait_for_ack()
    await office.discord.wait_until(lambda: bad.followups)
    assert bad.followups[0]["content"] == "`stop` is a command. Choose another name."
    await ana.submit(form, title="unpaid", share=True)
    saved = await ana.wait_for_text("Saved for everyone here.", channel)
    assert "`show unpaid`" in saved["content"]
    assert await complete(ana, channel, "PAID") == ["unpaid"]
    assert await complete(ana, channel, "invoices") == []
    assert await complete(ana, ana.dm, "") == [], "it is the channel's"
    shown = await ana.slash("show", channel, question="unpaid")
    await office.discord.wait_until(lambda: shown.text.startswith("No rows match."))


async def test_alert_opens_a_form_of_five_fields_and_posts_a_card(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ana.mention("Which orders are unpaid?", channel)
    post = await wait_for_buttons(office, ana, channel)
    form = await (await ana.click(post, "Alert…")).wait_for_ack()
    labels = [item["label"] for item in form.data["components"]]
    assert labels == [
        "What to watch",
        "Condition",
        "Limit",
        "Check every",
        "Post right away if it's already true",
    ], "the title has no room"
    options = form.data["components"][0]["component"]["options"]
    assert [option["label"] for option in options][:2] == ["number of rows", "a row appears"]
    wrong = await (await ana.submit(form, limit="many")).wait_for_ack()
    assert (wrong.ephemeral, wrong.text[:27]) == (True, "Enter a number as the limit")
    await ana.submit(form, value="count", comparison="<", limit="5", every="0 * * * *")
    card = (await ana.wait_for_messages(lambda seen: seen[-1]["embeds"], channel))[-1]
    assert card["embeds"][0]["title"].endswith("number of rows under 5")
    assert "Approve" in list_labels(card)


async def test_a_press_below_a_forgotten_answer_does_nothing(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ana.mention("Which orders are unpaid?", channel)
    post = await wait_for_buttons(office, ana, channel)
    buttons = post["components"]
    await ana.mention("forget yes", channel)
    await ana.wait_for_text("Deleted this conversation", channel)
    post["components"] = buttons
    for label in ("Run again", "Save…", "Alert…"):
        refused = await (await ana.click(post, label)).wait_for_ack()
        assert (refused.ephemeral, refused.text) == (True, MOVED_ON)
