"""Power cuts at the steps of a turn and of a change, and what the next process does."""

from __future__ import annotations

from typing import Any

from tests.dialogues.office import LEADS, PAID
from tests.guard.scenes import ALL, CHATS, SCENES, Play, Scene, scene
from tests.guard.scenes_hooks import ask, tell
from tests.guard.scenes_schedules import TO_NINE, start
from tests.guard.stage import Stage


def _ask(s: Stage, text: str) -> Any:
    async def act() -> None:
        await s.say("alice", text, settles=False)

    return act


CRASHES = {
    "after_it_began": ("begin", True, LEADS),
    "after_the_message_was_recorded": ("record_user_message", True, LEADS),
    "after_a_round": ("record_round", True, LEADS),
    "after_a_call": ("record_call_end", True, LEADS),
    "before_the_answer_is_stored": ("record_answer", False, LEADS),
    "after_the_answer_is_stored": ("record_answer", True, LEADS),
    "before_the_end": ("end_turn", False, LEADS),
    "of_a_quick_command": ("record_call_start", True, "quick-command explain a bridge"),
    "of_a_command": ("record_answer", False, "usage"),
}
"""Dialogue → the step of the journal at which the power is lost, whether after it, and the text."""


def _play_crash(method: str, after: bool, text: str) -> Play:
    async def play(s: Stage) -> None:
        await s.crash(method, _ask(s, text), after=after)
        await s.say("alice", "Did it work?")

    return play


SCENES.update({f"crash_{name}": Scene(_play_crash(*each), ALL) for name, each in CRASHES.items()})


@scene()
async def crash_of_a_proposal(s: Stage) -> None:
    await s.crash("record_call_end", _ask(s, PAID))
    await s.press("alice", "Approve")


@scene()
async def crash_of_an_approval(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.crash("record_answer", _ask(s, f"approve {id}"), after=False)
    await s.say("alice", "changes")


def _later(s: Stage) -> Any:
    async def act() -> None:
        s.clock.shift(TO_NINE)
        s.app.engine.schedules.wake()

    return act


@scene()
async def crash_of_a_scheduled_post(s: Stage) -> None:
    await start(s)
    await s.crash("record_answer", _later(s))


@scene()
async def crash_of_a_scheduled_question(s: Stage) -> None:
    await start(s, kind="ask", what=LEADS)
    await s.crash("record_round", _later(s))


@scene()
async def crash_before_a_scheduled_run_is_checked(s: Stage) -> None:
    await start(s, kind="ask", what=LEADS)
    await s.crash("begin", _later(s))


def _hook(s: Stage, name: str) -> Any:
    async def act() -> None:
        await s.hook(name, {"id": "1", "text": "Order 12"})

    return act


@scene(CHATS, toml=tell("New: {text}"))
async def crash_of_a_webhook_that_posts(s: Stage) -> None:
    await s.crash("record_answer", _hook(s, "tell"))


@scene(CHATS, toml=ask(LEADS))
async def crash_of_a_webhook_that_asks(s: Stage) -> None:
    await s.crash("record_round", _hook(s, "ask"))


@scene(("page",))
async def crash_of_a_program(s: Stage) -> None:
    async def act() -> None:
        await s.complete(LEADS, who="alice")

    await s.crash("record_round", act)


@scene(("page",))
async def crash_of_a_pipe(s: Stage) -> None:
    async def act() -> None:
        await s.pipe("approve abcde2")

    await s.crash("record_user_message", act)
