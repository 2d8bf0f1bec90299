"""*Run again*, *Save…* and *Alert…* below an answer of rows on Slack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine

from core.chat.interactions import FORM_UNREADABLE
from core.domain.messages import Address
from core.people.policy import Policy
from core.saved.buttons import MOVED_ON
from core.schedules.schedule import ScheduleFilter
from tests.fakes.choices import allow_list
from tests.fakes.schedules import LateScheduleSource
from tests.fakes.slack import Json, Post
from tests.saved.orders import NOVEMBER, orders_choices
from tests.slack.bot import Setting, Workplace, workplace


@pytest.fixture(autouse=True)
def _november() -> Iterator[None]:
    """The questions and answers name days of it."""
    with time_machine.travel(datetime(2026, 11, 30, 12, tzinfo=UTC)):
        yield


@asynccontextmanager
async def orders_office(
    tmp_path: Path, *filters: Any, policy: Policy | None = None
) -> AsyncIterator[Workplace]:
    schedules = LateScheduleSource()
    async with (
        orders_choices(*filters, policy=policy, schedules=schedules) as chosen,
        workplace(tmp_path, Setting(chosen=chosen, board=chosen.board)) as w,
    ):
        schedules.open(w.bot.engine)
        yield w


async def wait_for_buttons(w: Workplace, post: Post) -> None:
    """Until the answer with this post is stored: a press counts from then on."""
    await w.until(lambda: "Save…" in post.buttons)
    stores = w.bot.engine.conversations
    entry = await stores.journal.history_entry(post.buttons["Save…"]["value"])
    await stores.inbox.wait_for_answer(entry.seq)


async def open_form(w: Workplace, post: Post, button: str = "Save…") -> Json:
    """Press the button and return the form."""
    await wait_for_buttons(w, post)
    count = len(w.slack.workspace.views)
    await w.slack.click(w.alice, post, button).acked.wait()
    await w.until(lambda: len(w.slack.workspace.views) > count)
    return w.slack.workspace.views[-1]


async def save(w: Workplace, view: Json, **values: str) -> str:
    """Send the form; return what Slack shows below its field, or else what the person reads."""
    posts, whispers = len(w.posts()), len(w.whispers())
    submission = w.slack.submit(w.alice, view, values)
    await submission.acked.wait()
    if submission.response:
        return str(submission.response["errors"]["title"])
    await w.until(lambda: len(w.posts()) + len(w.whispers()) > posts + whispers)
    return [*w.posts()[posts:], *w.whispers()[whispers:]][0].visible_text


async def hear(w: Workplace) -> str:
    hook = list(w.slack.workspace.hooks.values())[-1]
    await w.until(lambda: hook.heard)
    return str(hook.heard[-1]["text"])


async def test_two_people_press_at_once_and_one_fresh_answer_follows(tmp_path: Path) -> None:
    async with orders_office(tmp_path) as w:
        post = await w.ask("Which orders are unpaid?")
        await wait_for_buttons(w, post)
        for _ in range(2):
            w.slack.click(w.alice, post, "Run again")
        await w.until(lambda: len(w.posts()) == 2 and w.whispers())
        fresh, (late,) = w.posts()[-1], w.whispers()
        assert fresh.visible_text.startswith("30 rows (on Nov 30, ")
        assert fresh.thread_ts == post.thread_ts
        assert late.visible_text.startswith("I ran this again just now (")
        await w.until(lambda: "Run again" in fresh.buttons and "Run again" not in post.buttons)
        blocks = [block["type"] for block in fresh.blocks]
        assert "context_actions" not in blocks, "code made it: there is nothing to rate"


async def test_a_form_says_what_it_reads_and_saves_it_under_the_question(tmp_path: Path) -> None:
    async with orders_office(tmp_path, NOVEMBER) as w:
        post = await w.ask("Which orders are *unpaid* in November?")
        view = await open_form(w, post)
        name, share, move = view["blocks"]
        assert name["element"]["initial_value"] == "Which orders are unpaid in November"
        assert name["hint"]["text"] == ("Orders: Paid = false, Due between 2026-11-01, 2026-11-30")
        assert share["label"]["text"] == "Everyone in this channel can use it"
        assert move["label"]["text"] == "this month instead of 2026-11"
        saved = "Saved. To see it again, type `show Which orders are unpaid in November`."
        assert (await save(w, view)).startswith(saved)
        (question,) = await w.bot.engine.conversations.saved.list_for(
            f"slack:T0PONTE:{w.alice.id}", Address("slack", w.general.id, "T0PONTE")
        )
        filters = question.calls[0].arguments["filters"]
        assert (filters[1]["value"], question.is_shared) == (["this_month"] * 2, False)


async def test_a_name_that_cannot_be_is_told_to_the_person_alone(tmp_path: Path) -> None:
    async with orders_office(tmp_path) as w:
        view = await open_form(w, await w.ask("Which orders are unpaid?"))
        assert len(view["blocks"]) == 2, "no day can move"
        assert await save(w, view, title=" ") == FORM_UNREADABLE
        for name, words in (
            ("stop", "`stop` is a command. Choose another name."),
            ("the órders", "There is already a question or a table called `the órders` here."),
            ("customers", "There is already a question or a table called `customers` here."),
            ("<@U000001>", "A name has 1 to 60 letters"),
        ):
            posts = len(w.posts())
            view = await open_form(w, w.posts()[0])
            assert (await save(w, view, title=name)).startswith(words)
            assert len(w.posts()) == posts, "nobody else reads it"
        view = await open_form(w, w.posts()[0])
        saved = await save(w, view, title="unpaid", share="true")
        assert saved.startswith("Saved for everyone here. To see it again, type `show unpaid`.")
        shown = await w.ask("show unpaid", who=w.bob)
        assert "20 de 30 linhas" in shown.visible_text


async def test_alert_opens_a_form_and_its_card_stands_below_the_answer(tmp_path: Path) -> None:
    policy = allow_list(frozenset({"*"}))
    async with orders_office(tmp_path, policy=policy) as w:
        post = await w.ask("Which orders are unpaid?")
        view = await open_form(w, post, "Alert…")
        value, comparison, limit, every, now, title = view["blocks"]
        labels = [option["text"]["text"] for option in value["element"]["options"]]
        assert labels[:3] == ["number of rows", "a row appears", "sum of Amount"]
        assert value["hint"]["text"] == "Orders: Paid = false"
        assert comparison["element"]["initial_option"]["text"]["text"] == "is over"
        assert every["element"]["initial_option"]["text"]["text"] == "60 minutes"
        assert [block["optional"] for block in (value, limit, now, title)] == [
            False,
            True,
            True,
            True,
        ]
        wrong = w.slack.submit(w.alice, view, {"limit": "many"})
        await wrong.acked.wait()
        assert wrong.response["errors"] == {
            "value": "Enter a number as the limit. Only a change can be in %."
        }
        for _ in range(2):
            w.slack.submit(w.alice, view, {"limit": "20", "title": "Late"})
        await w.until(lambda: len(w.posts()) == 2)
        card = w.posts()[1]
        assert card.thread_ts == post.thread_ts
        assert "Alert: Late · Orders: Paid = false · number of rows over 20" in card.visible_text
        await w.until(lambda: "Approve" in card.buttons)
        await w.slack.click(w.alice, card, "Approve").acked.wait()
        store = w.bot.engine.schedules.store
        await w.until(lambda: "Started." in card.visible_text)
        (alert,) = await store.list_matching(ScheduleFilter())
        assert alert.address.thread == post.thread_ts


async def test_a_fresh_answer_is_saved_under_the_question_and_not_its_command(
    tmp_path: Path,
) -> None:
    async with orders_office(tmp_path) as w:
        post = await w.ask("Unpaid?")
        await wait_for_buttons(w, post)
        await w.slack.click(w.alice, post, "Run again").acked.wait()
        await w.until(lambda: len(w.posts()) == 2)
        view = await open_form(w, w.posts()[-1])
        assert view["blocks"][0]["element"]["initial_value"] == "Unpaid"


async def test_nothing_runs_below_an_older_or_a_forgotten_answer(tmp_path: Path) -> None:
    async with orders_office(tmp_path) as w:
        post = await w.ask("Which orders are unpaid?")
        await wait_for_buttons(w, post)
        buttons = post.blocks
        view = await open_form(w, post)
        w.slack.say(w.alice, w.general, f"{w.slack.bot} forget yes", thread_ts=post.thread_ts)
        await w.until(lambda: any("Deleted" in post.visible_text for post in w.posts()))
        post.blocks = buttons
        for label in ("Run again", "Save…", "Alert…"):
            await w.slack.click(w.alice, post, label).acked.wait()
            assert await hear(w) == MOVED_ON
        assert (await save(w, view)).startswith("This question is no longer stored.")
        older = await w.ask("help")  # as posts of an older version, it has no such buttons
        older.blocks = json.loads(
            json.dumps(buttons).replace(post_turn(buttons), "abcdefghijklmno2")
        )
        await w.slack.click(w.alice, older, "Run again").acked.wait()
        assert await hear(w) == MOVED_ON


def post_turn(blocks: list[Json]) -> str:
    return str(next(b for b in blocks if b["type"] == "actions")["elements"][0]["value"])
