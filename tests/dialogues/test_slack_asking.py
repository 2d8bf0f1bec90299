"""Stored first, asked later: a slow Slack delays no acknowledgement, and a courtesy no answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.domain.records import QuickCommand
from tests import time_limits
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.loop_clock import LoopClock
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import Board, WatchedInbox
from tests.time_limits import Limits

READS = (
    "users.info",
    "usergroups.list",
    "conversations.replies",
    "conversations.history",
    "files.info",
    "auth.test",
)
CSV = ("orders.csv", "text/csv", b"id,paid\n1,no\n")


@pytest.mark.parametrize("where", ["thread", "dm thread", "with a file"])
async def test_nothing_is_asked_before_the_acknowledgement(tmp_path: Path, where: str) -> None:
    async with workplace(tmp_path) as w:
        new = w.slack.person("Newcomer")
        w.general.members.add(new.id)
        place, thread = (w.slack.dm(new), None) if "dm" in where else (w.general, None)
        if where == "thread":
            thread = w.slack.say(w.bob, place, "The build is red")
        elif where == "dm thread":
            thread = w.slack.say(new, place, "The build is red")
            await w.slack.wait_for_answer(thread)
            await w.restart()
        await w.slack.deliveries.wait_for_deliveries()
        reads = w.slack.api.close(*READS)
        files = [CSV] if "file" in where else []
        message = w.slack.say(
            new, place, f"{w.slack.bot} why, {w.bob.mention}?", thread=thread, files=files
        )
        await w.slack.deliveries.wait_for_deliveries()
        reads.release()
        answer = await w.slack.wait_for_answer(message)
        assert answer.visible_text.startswith("You said: why, @")


async def test_what_is_typed_and_pressed_is_acknowledged_at_once(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(board=Board([QuickCommand("joke", "Joke")]))) as w:
        await w.ask("hello")
        reads = w.slack.api.close(*READS)
        new = w.slack.person("Newcomer")
        w.general.members.add(new.id)
        command = w.slack.command(new, w.general, "/quick-command", "joke")
        await command.acked.wait()
        reads.release()


async def test_a_name_that_comes_late_is_gone_without(tmp_path: Path) -> None:
    model, inbox = EchoModel(), WatchedInbox()
    async with workplace(tmp_path, Setting(model, inbox=inbox.over, listed=False)) as w:
        reads = w.slack.api.close("users.info")
        message = w.slack.say(w.bob, w.general, f"{w.slack.bot} hello, {w.alice.mention}")
        await w.until(lambda: w.slack.api.waiting["users.info"])
        reads.release()
        await w.slack.wait_for_answer(message)
        assert "The asker is 'Bob'" in model.asks[0].preface
        assert "Europe/Paris" in model.asks[0].preface
        assert model.asks[0].input[-1].text == "hello, @Alice"
        assert inbox.messages[0].author.name == ""


EVERYBODY = allow_list(frozenset({"*"}))
"""Nobody's rights are asked for: only the name would be waited for."""


async def test_a_courtesy_is_waited_for_no_longer_than_a_blink(tmp_path: Path) -> None:
    model = EchoModel()
    setting = Setting(chosen=make_choices(model, policy=EVERYBODY), listed=False)
    async with workplace(tmp_path, setting) as w:
        reads = w.slack.api.close("users.info")
        clock, answering = LoopClock(), w.slack.say(w.bob, w.dm, "hello")
        await w.until(lambda: w.slack.api.waiting["users.info"])
        assert not model.asks
        clock.skip(time_limits.SECONDS)
        await w.slack.wait_for_answer(answering)
        assert "The asker's language setting is en." in model.asks[0].preface
        reads.release()


async def test_a_name_is_kept_over_a_restart(tmp_path: Path) -> None:
    model = EchoModel()
    setting = Setting(chosen=make_choices(model, policy=EVERYBODY))
    async with workplace(tmp_path, setting) as w:
        await w.slack.wait_for_answer(w.slack.say(w.bob, w.general, f"{w.slack.bot} hello"))
        await w.restart()
        w.slack.api.faults.add("users.info", "503", 0)
        await w.slack.wait_for_answer(w.slack.say(w.bob, w.general, f"{w.slack.bot} again"))
        assert "The asker is 'Bob'; their language setting is pt" in model.asks[1].preface


async def test_a_forgotten_person_who_writes_again_is_asked_for(tmp_path: Path) -> None:
    model = EchoModel()
    setting = Setting(chosen=make_choices(model, policy=EVERYBODY))
    async with workplace(tmp_path, setting) as w:
        await w.slack.wait_for_answer(w.slack.say(w.bob, w.general, f"{w.slack.bot} hello"))
        await w.bot.engine.people.directory.forget("slack", [w.bob.id])
        await w.bot.slack.forget(frozenset({w.bob.id}))
        assert w.slack.api.calls["users.info"] == 0
        w.slack.change_person(w.bob, name="Roberto")
        await w.slack.wait_for_answer(w.slack.say(w.bob, w.general, f"{w.slack.bot} again"))
        assert w.slack.api.calls["users.info"] == 1
        assert "The asker is 'Roberto'" in model.asks[1].preface


async def test_a_turn_of_a_listed_person_asks_for_the_thread_alone(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        root = w.slack.say(w.bob, w.general, "The build is red")
        await w.slack.deliveries.wait_for_deliveries()
        await w.until(lambda: w.bot.slack.workspace.directory.is_complete)
        reads = w.slack.api.close(*READS)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} why?", thread=root)
        await w.until(lambda: w.slack.api.waiting["conversations.replies"])
        assert not w.slack.api.waiting["users.info"]
        reads.release()
        await w.slack.wait_for_answer(message)
        assert "The build is red" in model.asks[0].input[0].text


async def test_history_that_does_not_come_is_told_in_the_answer(
    tmp_path: Path, limits: Limits
) -> None:
    limits(CONTEXT_SECONDS=0.2)
    async with workplace(tmp_path) as w:
        root = w.slack.say(w.bob, w.general, "The build is red")
        reads = w.slack.api.close("conversations.replies")
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} why?", thread=root)
        answer = await w.slack.wait_for_answer(message)
        assert answer.visible_text == (
            "You said: why?\n\n_I couldn't read the earlier messages in this thread, so I "
            "answered without them._"
        )
        reads.release()


@pytest.mark.parametrize("trouble", ["slow", "500"])
async def test_a_file_that_does_not_come_is_told_in_the_answer(
    tmp_path: Path, limits: Limits, trouble: str
) -> None:
    limits(FETCH_TIMEOUT_SECONDS=0.2)
    async with workplace(tmp_path) as w:
        downloads = w.slack.api.close("download") if trouble == "slow" else None
        if trouble != "slow":
            w.slack.api.faults.add("download", trouble, 0)
        answer = await w.ask("look", w.dm, files=[CSV])
        assert (
            "I couldn't read `orders.csv`, so I answered without this file." in answer.visible_text
        )
        if downloads:
            downloads.release()


async def test_only_what_decides_whether_it_is_for_us_is_asked_first(tmp_path: Path) -> None:
    """After a restart, for a reply without a mention: memory does not know who is in the thread."""
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        await w.slack.wait_for_answer(message)
        await w.restart()
        before = w.slack.api.calls["conversations.replies"]
        more = w.slack.say(w.alice, w.general, "and two", thread=message)
        assert (await w.slack.wait_for_answer(more)).visible_text == "You said: and two"
        again = w.slack.say(w.alice, w.general, "and three", thread=message)
        assert (await w.slack.wait_for_answer(again)).visible_text == "You said: and three"
        assert w.slack.api.calls["conversations.replies"] == before + 1
