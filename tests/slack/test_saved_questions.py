"""*Run again* and *Save…* below an answer of rows on Slack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.slack import Json, Post, SlackPerson
from tests.saved.orders import orders_choices
from tests.slack.bot import Setting, Workplace, workplace


@asynccontextmanager
async def orders_office(tmp_path: Path, *filters: Any) -> AsyncIterator[Workplace]:
    async with (
        orders_choices(*filters) as chosen,
        workplace(tmp_path, Setting(chosen=chosen, board=chosen.board)) as w,
    ):
        yield w


NOVEMBER = {"field": "Due", "op": "between", "value": ["2026-11-01", "2026-11-30"]}


async def wait_for_buttons(w: Workplace, post: Post) -> None:
    """Until the answer with this post is stored: a press counts from then on."""
    await w.until(lambda: "Save…" in post.buttons)
    stores = w.bot.engine.conversations
    entry = await stores.journal.history_entry(post.buttons["Save…"]["value"])
    await stores.inbox.wait_for_answer(entry.seq)


async def open_form(w: Workplace, post: Post, who: SlackPerson | None = None) -> Json:
    """Press *Save…* and return the form."""
    await wait_for_buttons(w, post)
    count = len(w.slack.workspace.views)
    await w.slack.click(who or w.alice, post, "Save…").acked.wait()
    await w.until(lambda: len(w.slack.workspace.views) > count)
    return w.slack.workspace.views[-1]


async def save(w: Workplace, view: Json, **values: str) -> str:
    """Send the form; return what Slack shows below its field, or else what the person reads."""
    posts, whispers = len(w.posts()), len(w.whispers())
    submission = w.slack.submit(w.alice, view, values)
    await submission.acked.wait()
    if submission.response:
        return str(submission.response["errors"]["name"])
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
        for person in (w.alice, w.bob):
            w.slack.click(person, post, "Run again")
        await w.until(lambda: len(w.posts()) == 2 and w.whispers())
        fresh, (late,) = w.posts()[-1], w.whispers()
        assert fresh.visible_text.startswith("30 rows (on Nov 30, ")
        assert fresh.thread_ts == post.thread_ts
        assert late.visible_text.startswith(("I ran this again just now (", "Acabei de executar isto"))
        await w.until(lambda: "Run again" in fresh.buttons and "Run again" not in post.buttons)
        post.blocks = fresh.blocks = [*fresh.blocks]
        for block in json.loads(json.dumps(post.blocks)):
            assert block["type"] != "context_actions", "code made it: there is nothing to rate"


async def test_a_form_proposes_a_name_shows_what_is_read_and_saves_it(tmp_path: Path) -> None:
    async with orders_office(tmp_path, NOVEMBER) as w:
        post = await w.ask("Which orders are unpaid in November?")
        view = await open_form(w, post)
        name, share, move = view["blocks"]
        print(json.dumps(view, indent=1))
        assert 0
