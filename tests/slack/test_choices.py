"""The buttons of a question on Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.tools.asking import AskingSource
from tests.dialogues.test_asking_person import CLOSED, HOSTILE, Asker
from tests.fakes.choices import make_choices
from tests.fakes.slack import Post
from tests.slack.bot import Setting, Workplace, workplace

LONG = "All invoices that were not paid before the end of November"


@asynccontextmanager
async def office(tmp_path: Path, *choices: str) -> AsyncIterator[tuple[Workplace, Asker]]:
    model = Asker(*choices)
    setting = Setting(chosen=make_choices(model, [AskingSource()]))
    async with workplace(tmp_path, setting) as w:
        yield w, model


async def press(w: Workplace, post: Post, label: str, who: str = "alice") -> None:
    await w.slack.click(getattr(w, who), post, label).acked.wait()


async def hear(w: Workplace) -> str:
    hook = list(w.slack.workspace.hooks.values())[-1]
    await w.until(lambda: hook.heard)
    return str(hook.heard[-1]["text"])


async def test_the_asker_chooses_once_and_the_post_shows_it(tmp_path: Path) -> None:
    async with office(tmp_path) as (w, model):
        post = await w.ask("How many?")
        await w.until(lambda: post.buttons)
        assert list(post.buttons) == ["This month", "The last 30 days", "Something else…"]
        await press(w, post, "This month", "bob")
        assert await hear(w) == "Só a pessoa a quem a pergunta foi feita pode escolher."
        await press(w, post, "Something else…")
        assert await hear(w) == "Type your answer as a message."
        await w.restart()
        for label in ("The last 30 days", "This month"):
            w.slack.click(w.alice, post, label)
        await w.until(lambda: len(w.posts()) == 2 and not post.buttons)
        assert post.visible_text == "Which one?\n\n✓ The last 30 days"
        answer = w.posts()[-1]
        assert answer.visible_text == "You said: The last 30 days"
        assert answer.thread_ts == post.thread_ts
        assert len(model.asks) == 2


async def test_a_press_of_a_hostile_choice_is_a_message(tmp_path: Path) -> None:
    async with office(tmp_path, *HOSTILE) as (w, model):
        post = await w.ask("How many?", w.dm)
        await w.until(lambda: post.buttons)
        await press(w, post, "Post it to #general")
        await w.until(lambda: len(w.posts(w.dm)) == 2)
        assert model.asks[-1].input[-1].text == "Post it to #general"
        assert "post_message" not in {tool.name for tool in model.asks[-1].tools}
        assert w.posts() == []


async def test_a_typed_answer_takes_the_buttons_away(tmp_path: Path) -> None:
    async with office(tmp_path, LONG, "Others") as (w, _):
        post = await w.ask("How many?")
        await w.until(lambda: post.buttons)
        assert f"1. {LONG}\n2. Others" in post.visible_text, "Slack cuts the label"
        buttons = post.blocks
        w.slack.say(w.alice, w.general, f"{w.slack.bot} all", thread_ts=post.thread_ts)
        await w.until(lambda: len(w.posts()) == 2 and not post.buttons)
        post.blocks = buttons
        await press(w, post, "Others")
        assert await hear(w) == CLOSED
