"""A person thinks again: edits before the answer count, deletions are respected."""

from __future__ import annotations

import time
from pathlib import Path

from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, workplace
from tests.slack.doubles import Speaker


async def test_of_what_waits_edits_count_deleted_messages_are_dropped_and_a_preview_is_no_edit(
    tmp_path: Path,
) -> None:
    model = Speaker("First.")
    async with workplace(tmp_path, Setting(model)) as w:
        one = w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        two, three = w.slack.say(w.alice, w.dm, "twoo"), w.slack.say(w.alice, w.dm, "three")
        four = w.slack.say(w.alice, w.dm, "see https://example.com")
        await w.slack.deliveries.wait_for_deliveries()
        w.slack.edit(two, "two")
        w.slack.remove(three)
        text = four.event() | {"attachments": [{"title": "Example"}]}
        w.slack.event(
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": w.dm.id,
                "channel_type": "im",
                "message": text,
                "previous_message": four.event(),
                "ts": w.slack.workspace.clock.ts(),
            }
        )
        await w.slack.deliveries.wait_for_deliveries()
        model.finish()
        await w.slack.wait_for_answer(four)
        assert w.slack.finished_answers(three) == []
        assert len(w.slack.finished_answers(one)) == 1
        texts = [ask.input[-1].text for ask in model.asks]
        assert texts == ["one", "two", "see https://example.com"]


async def test_an_edit_after_the_answer_buys_no_second_one_and_a_deletion_blanks_the_question(
    tmp_path: Path,
) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.dm, "my secret is swordfish")
        await w.slack.wait_for_answer(message)
        w.slack.edit(message, "my secret is the swordfish")
        await w.slack.deliveries.wait_for_deliveries()
        await w.ask("other", w.dm)
        assert len(w.slack.finished_answers(message)) == 1
        assert len(model.asks) == 2
        w.slack.remove(message)
        await w.slack.deliveries.wait_for_deliveries()
        await w.ask("what did I say?", w.dm)
        history = await model.asks[-1].history()
        assert "swordfish" not in "".join(i.text for i in history if i.role == "user")


async def test_an_edit_and_a_follow_up_keep_their_order_while_slack_is_slow(tmp_path: Path) -> None:
    """The first message waits for what Slack tells of its author; what comes after, waits too."""
    model = Speaker("Done.")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.dm, "zero")
        await w.until(lambda: model.asks)
        w.slack.api.faults.add("users.info", "503", 2)
        one = w.slack.say(w.bob, w.dm, "onee")
        w.slack.edit(one, "one")
        w.slack.say(w.alice, w.dm, "two")
        message = w.slack.say(w.alice, w.dm, "three")
        w.slack.remove(message)
        last = w.slack.say(w.alice, w.dm, "four")
        await w.slack.deliveries.wait_for_deliveries()
        model.finish()
        await w.slack.wait_for_answer(last)
        texts = [ask.input[-1].text for ask in model.asks]
        assert texts == ["zero", "one", "two", "four"]


async def test_a_waiting_message_can_be_emptied_and_filled(tmp_path: Path) -> None:
    """A mention that was sent too early has no text of its own."""
    model = Speaker("First.")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        early = w.slack.say(w.alice, w.dm, f"{w.slack.bot}")
        emptied = w.slack.say(w.alice, w.dm, "my secret is swordfish")
        message = w.slack.say(w.alice, w.dm, "my secret is swordfish too")
        await w.slack.deliveries.wait_for_deliveries()
        w.slack.edit(early, f"{w.slack.bot} two")
        w.slack.edit(emptied, "")
        w.slack.edit(message, f"{w.slack.bot}")
        w.slack.edit(message, "three")
        await w.slack.deliveries.wait_for_deliveries()
        model.finish()
        await w.slack.wait_for_answer(message)
        assert [ask.input[-1].text for ask in model.asks] == ["one", "two", "three"]
        (answer,) = w.slack.finished_answers(emptied)
        assert answer.text == "Your message is empty. Type a question, or `help`."


async def test_edits_and_deletions_that_overtake_their_messages_count(tmp_path: Path) -> None:
    """Slack sends an event again up to five minutes later if the process was killed at the first
    attempt. What its author did in the meantime arrives before."""
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        deliveries = w.slack.deliveries
        deliveries.lost = []
        message = w.slack.say(w.alice, w.dm, "my secret is swordfish")
        edit = w.slack.say(w.alice, w.dm, "my secret is swordfish")
        root = w.slack.say(w.alice, w.general, f"{w.slack.bot} my secret is tuna")
        w.slack.say(w.bob, w.general, "no", thread=root)
        late, deliveries.lost = deliveries.lost, None
        w.slack.remove(message)
        w.slack.remove(root)
        w.slack.edit(edit, "helo")
        w.slack.edit(edit, "hello")
        await deliveries.wait_for_deliveries()
        deliveries.lost = late
        deliveries.resend_lost()
        await w.slack.wait_for_answer(edit)
        await w.ask("next", w.dm)
        assert [ask.input[-1].text for ask in model.asks] == ["hello", "next"]
        assert w.slack.finished_answers(message) == []


async def test_a_mention_that_an_edit_adds_is_answered_once(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        message = w.slack.say(w.alice, w.general, "hello")
        await w.slack.deliveries.wait_for_deliveries()
        w.slack.edit(message, f"{w.slack.bot} hello")
        await w.slack.wait_for_answer(message)
        w.slack.edit(message, "hello")
        w.slack.edit(message, f"{w.slack.bot} hello again")
        await w.slack.deliveries.wait_for_deliveries()
        await w.ask("last")
        assert [ask.input[-1].text for ask in model.asks] == ["hello", "last"]


async def test_an_edit_of_an_old_message_is_not_answered(tmp_path: Path) -> None:
    """It may have been answered, and its row deleted since."""
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.clock.seconds_behind = 25 * 3600.0
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.slack.wait_for_answer(message)
        inbox = w.bot.engine.conversations.inbox
        await inbox.wait_for_answer(1)
        assert await inbox.purge(time.time() + 1) == 1
        await w.restart()
        w.slack.edit(message, f"{w.slack.bot} hello again")
        await w.slack.deliveries.wait_for_deliveries()
        await w.ask("last")
        assert [ask.input[-1].text for ask in model.asks] == ["hello", "last"]


async def test_a_stop_that_comes_late_stops_no_newer_message(tmp_path: Path) -> None:
    """Slack sends a message again minutes later if the process was killed at the first attempt."""
    model = Speaker("Done.")
    async with workplace(tmp_path, Setting(model)) as w:
        w.slack.workspace.clock.seconds_behind = 60.0
        w.slack.deliveries.lost = []
        late = w.slack.say(w.alice, w.dm, "stop")
        lost_events, w.slack.deliveries.lost = w.slack.deliveries.lost, None
        w.slack.workspace.clock.seconds_behind = 0.0
        one = w.slack.say(w.alice, w.dm, "one")
        await w.until(lambda: model.asks)
        w.slack.deliveries.lost = lost_events
        w.slack.deliveries.resend_lost()
        assert (await w.slack.wait_for_answer(late)).text == "Nothing is running here."
        model.finish()
        assert (await w.slack.wait_for_answer(one)).text == "Done."
