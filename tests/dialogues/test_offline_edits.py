"""People edit and delete messages that wait, while no Ponte runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.domain.model_rounds import RoundRequest
from core.journal import inbox as inbox_module
from core.journal.inbox import SenderLimits
from tests.fakes.choices import make_choices, make_spending
from tests.fakes.models import EchoModel
from tests.fakes.slack import Post
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import Speaker


class Held(EchoModel):
    """Answers no text of `held`."""

    def __init__(self, *held: str) -> None:
        super().__init__(gate=self._hold)
        self.held = set(held)

    async def _hold(self, ask: RoundRequest) -> None:
        if ask.input[-1].text in self.held:
            await asyncio.Event().wait()

    @property
    def texts(self) -> list[str]:
        return [ask.input[-1].text for ask in self.asks]


async def restart_after_edit(w: Workplace, post: Post, text: str) -> None:
    """Restart Ponte, which never hears of this edit, or deletion ("")."""
    await w.stack.aclose()
    w.slack.deliveries.lost = []
    if text:
        w.slack.edit(post, text)
    else:
        w.slack.remove(post)
    w.slack.deliveries.lost = None
    await w.restart()


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("stop", "Nothing is running here."),
        ("approve abc234", "Request abc234 not found."),
        ("forget", "Deleted this conversation (1 message)."),
        ("new", "New conversation started. I no longer see the earlier messages."),
    ],
)
async def test_a_waiting_message_that_became_a_command_is_carried_out_in_its_turn(
    tmp_path: Path, word: str, answer: str
) -> None:
    model = Held("one")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        two = w.slack.say(w.alice, w.dm, "two")
        await w.slack.deliveries.wait_for_deliveries()
        model.held.clear()
        await restart_after_edit(w, two, word)
        await w.slack.wait_for_answer(two)
        await w.ask("three", w.dm)
        (match,) = w.slack.finished_answers(two)
        assert match.text.startswith(answer)
        assert model.texts == ["one", "one", "three"]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_decision_that_became_a_message_waits_for_its_turn(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    model = Held("one")
    database = "" if engine == "sqlite" else request.getfixturevalue("migrated_postgres")
    async with workplace(tmp_path, Setting(model, postgres=database)) as w:
        one = w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        await w.bot.engine.drain(0)  # what comes now is stored, and begins after the restart
        help = w.slack.say(w.alice, w.dm, "help")
        await w.slack.deliveries.wait_for_deliveries()
        await restart_after_edit(w, help, "two")
        await w.until(lambda: len(model.asks) == 2)
        w.slack.say(w.alice, w.dm, "stop")
        await w.slack.wait_for_answer(help)
        assert [post.text for post in w.slack.finished_answers(help)] == ["You said: two"]
        assert [post.text for post in w.slack.finished_answers(one)] == ["Stopped."]
        assert model.texts == ["one", "one", "two"]


async def test_a_decision_that_became_a_message_counts_against_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(inbox_module, "time", SimpleNamespace(time=lambda: now))
    model = Held("one")
    choices = make_choices(model, spending=make_spending(intake=SenderLimits(per_minute=1)))
    async with workplace(tmp_path, Setting(chosen=choices)) as w:
        w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        await w.bot.engine.drain(0)
        help = w.slack.say(w.alice, w.dm, "help")
        await w.slack.deliveries.wait_for_deliveries()
        await restart_after_edit(w, help, "two")
        answer = await w.slack.wait_for_answer(help)
        assert answer.text.startswith("You can send 1 messages a minute")
        assert "two" not in model.texts


@pytest.mark.parametrize("is_direct", [False, True])
async def test_a_deleted_message_leaves_no_unfinished_answer(
    tmp_path: Path, is_direct: bool
) -> None:
    model = Speaker("Half of it", " and the rest.")
    async with workplace(tmp_path, Setting(model)) as w:
        place = w.dm if is_direct else w.general
        message = w.slack.say(w.alice, place, f"{w.slack.bot} hello")
        await w.until(lambda: model.asks)
        model.go()
        await w.until(lambda: w.posts(place))
        await w.stack.aclose()
        model.finish()
        await restart_after_edit(w, message, "")
        await w.ask("bye", place)
        await w.until(lambda: len(w.posts(place)) == 1)  # the deleted turn may end after the other
        assert w.posts(place)[0].text == "Half of it and the rest."
        assert len(model.asks) == 2
