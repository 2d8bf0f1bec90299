"""Each button in each state of its message: no press ends without its acknowledgement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from core.base.errors import NotStored
from core.chat.buttons import BUTTONS
from core.domain.buttons import TURN_SUBJECT
from core.journal.journal import Journal
from tests.fakes.old_buttons import Board
from tests.fakes.slack import Post
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import WatchedInbox
from tests.slack.test_unknown_interactions import count_failed
from tests.toys.clap import SAVE

SUBJECTS = {
    "choice": "1:{turn}",
    "code": "{turn}",
    "vote": "down:{turn}",
    "stop": "stop",
    "schedule": "schedule abc234 pause",
    "together": "abc234 bcd345",
}


def subject_of(name: str, turn: str) -> str:
    other = "{turn}" if BUTTONS[name].subject == TURN_SUBJECT else "abc234.2"
    return SUBJECTS.get(name, other).format(turn=turn)


@asynccontextmanager
async def as_it_is(w: Workplace, post: Post) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def forget_it(w: Workplace, post: Post) -> AsyncIterator[None]:
    w.slack.say(w.alice, w.dm, "forget yes", thread_ts=post.thread_ts)
    await w.until(lambda: any("Deleted" in one.visible_text for one in w.posts(w.dm)))
    yield


@asynccontextmanager
async def stop_intake(w: Workplace, post: Post) -> AsyncIterator[None]:
    w.bot.slack._handlers.interactions.is_open = False
    yield
    w.bot.slack._handlers.interactions.is_open = True


@asynccontextmanager
async def break_journal(w: Workplace, post: Post) -> AsyncIterator[None]:
    async def fail(*_: object) -> None:
        raise NotStored

    with pytest.MonkeyPatch.context() as patch:
        for name in ("find_answer", "find_ended_turn", "history_entry"):
            patch.setattr(Journal, name, fail)
        yield


@asynccontextmanager
async def fill_disk(w: Workplace, post: Post) -> AsyncIterator[None]:
    """The disk is full."""
    inbox = w.bot.slack._handlers.interactions.conversations.inbox
    assert isinstance(inbox, WatchedInbox)
    inbox.times = len(BUTTONS)
    yield
    inbox.times = 0


STATES = (as_it_is, forget_it, stop_intake, break_journal, fill_disk)


@pytest.mark.parametrize("state", STATES)
async def test_every_press_is_acknowledged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: Callable[[Workplace, Post], AbstractAsyncContextManager[None]],
) -> None:
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    setting = Setting(board=Board(), inbox=WatchedInbox().over)
    async with workplace(tmp_path, setting) as w:
        post = await w.ask("hello", w.dm)
        await w.until(lambda: post.buttons)
        turn = post.buttons["Save…"]["value"]
        failed = count_failed()
        async with state(w, post):
            for name in BUTTONS:
                id = f"ponte_card_{name}" if BUTTONS[name].place == "card" else f"ponte_{name}"
                button = {"type": "button", "action_id": id, "value": subject_of(name, turn)}
                clock = w.slack.workspace.clock
                press = w.slack.interact(
                    w.alice,
                    {
                        "type": "block_actions",
                        "trigger_id": w.slack.workspace.trigger(),
                        "channel": {"id": post.channel},
                        "message": post.event(),
                        "actions": [button | {"block_id": "b", "action_ts": clock.ts()}],
                    },
                )
                await press.acked.wait()
                assert not press.response, name
        assert count_failed() == failed
