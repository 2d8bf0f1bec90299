"""Quick commands on Slack: typed, in a modal, on a file, in a thread, and approved on a card."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.slack.surface import SlackSurface
from tests.dialogues.stackspot import asks
from tests.fakes.slack import Post
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot_parts import stackspot_choices
from tests.slack.bot import Setting, Workplace, workplace
from tests.time_limits import Limits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)
    limits(SIGN_AFTER_SECONDS=0.01)


@asynccontextmanager
async def workplace_with_stackspot(home: Path) -> AsyncIterator[tuple[Workplace, FakeStackSpot]]:
    async with FakeStackSpot() as fake, stackspot_choices(fake.url) as choice:
        async with workplace(home, Setting(chosen=choice, board=choice.board)) as w:
            yield w, fake
        assert fake.refused == []


def mention_bot(w: Workplace, text: str, thread: Post | None = None, **more: Any) -> Post:
    post: Post = w.slack.say(w.alice, w.general, f"{w.slack.bot} {text}", thread=thread, **more)
    return post


async def test_progress_shows_as_a_status_and_then_the_result(tmp_path: Path) -> None:
    """Where the app is no agent: a session has no words of its own."""
    async with workplace_with_stackspot(tmp_path) as (w, fake):
        w.slack.workspace.agent = False
        fake.held = True
        fake.go(Run((Look("COMPLETED"),), '{"a": 1}'))
        message = mention_bot(w, "quick-command explain a bridge")
        text = "is running the quick command… 90 % · Waits"
        await w.until(lambda: any(s["status"] == text for s in w.slack.workspace.statuses))
        fake.held = False
        answer = await w.slack.wait_for_answer(message)
        assert answer.visible_text == '```json\n{\n  "a": 1\n}\n```'


async def test_a_file_and_the_threads_root_are_inputs(tmp_path: Path) -> None:
    async with workplace_with_stackspot(tmp_path) as (w, _):
        csv = ("a.csv", "text/csv", b"a;b")
        assert (
            await w.slack.wait_for_answer(mention_bot(w, "quick-command explain", files=[csv]))
        ).visible_text == ("explain: a;b")
        root = w.slack.say(w.bob, w.general, "The build is red")
        w.slack.say(w.bob, w.general, "again", thread=root)
        reply = mention_bot(w, "quick-command explain", root)
        assert (await w.slack.wait_for_answer(reply)).visible_text == "explain: The build is red"


async def test_the_modal_speaks_the_persons_language(tmp_path: Path) -> None:
    async with workplace_with_stackspot(tmp_path) as (w, fake):
        await w.slack.command(w.bob, w.general, "/quick-command", "").acked.wait()
        (modal,) = w.slack.workspace.views
        options = modal["blocks"][0]["element"]["options"]
        assert [option["text"]["text"] for option in options][:2] == ["Explicar", "Resumo diário"]
        submission = w.slack.submit(w.bob, modal, {"slug": "daily-summary"})
        await submission.acked.wait()
        asking = modal | submission.response["view"]
        assert asking["blocks"][0]["text"]["text"] == "O que aconteceu num dia"
        w.slack.submit(w.bob, asking, {"field:day": "20 May", "field:tone": "dry"})
        await w.until(lambda: w.posts())
        assert fake.count_executions({"day": "20 May", "tone": "dry"}) == 1


async def test_what_the_model_wants_to_spend_is_approved_by_a_click(tmp_path: Path) -> None:
    async with workplace_with_stackspot(tmp_path) as (w, fake):
        message = mention_bot(w, asks("translate-all", "all of it"))
        card = await w.slack.wait_for_answer(message)
        assert list(card.buttons) == ["Approve", "Change…", "Deny"]
        assert "Run Translate everything" in card.visible_text
        await w.slack.click(w.alice, card, "Approve").acked.wait()
        result = await w.slack.wait_for_answer(message, 2)
        assert "Done.\n\ntranslate-all: all of it" in result.visible_text
        await w.until(lambda: "Approved by Alice." in card.visible_text)
        assert not card.buttons
        assert fake.count("create") == 1


async def test_an_approved_run_shows_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    async with workplace_with_stackspot(tmp_path) as (w, fake):
        w.slack.workspace.agent = False
        fake.held = True
        message = mention_bot(w, asks("translate-all", "all of it"))
        card = await w.slack.wait_for_answer(message)
        await w.slack.click(w.alice, card, "Approve").acked.wait()
        text = "is running the quick command… 90 % · Waits"
        await w.until(lambda: any(s["status"] == text for s in w.slack.workspace.statuses))
        mention_bot(w, "stop", message)
        await w.until(lambda: "I stopped waiting because you asked me to." in card.visible_text)
        await w.until(lambda: w.slack.workspace.statuses[-1]["status"] == "")
        assert not card.buttons
        assert fake.count("create") == 1
