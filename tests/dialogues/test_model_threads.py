"""A thread with a real model: its memory, its order, its stops, and what is left on the server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest

from core.domain.messages import Address, Person, Quote
from core.domain.ports import Messenger
from core.domain.records import Remote
from core.models.served_model import Level
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.dialogues.bot_home import BotHome
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.fakes.choices import make_message
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import LONG_ANSWER
from tests.fakes.schedules import put_schedule

levels = pytest.mark.parametrize("level", list(WITHOUT))
BO = Person("web", "bo", name="Bo")


def last_heard(fake: FakeOpenAI) -> str:
    """All that the model heard at last: what it was sent, and what its conversation holds."""
    questions = [r for r in fake.requests if r.path in ("/responses", "/chat/completions")]
    return str(questions[-1].body) + str([c.items for c in fake.conversations.values()])


@levels
async def test_it_remembers_also_after_a_restart(bot_home: BotHome, level: Level) -> None:
    """Two messages at once are answered in order."""
    async with FakeOpenAI(without=WITHOUT[level]) as fake:
        async with open_served_bot(bot_home, fake) as ponte:
            await ponte.ask("My name is Ana and my cat is Tobi.")
        async with open_served_bot(bot_home, fake) as ponte:
            await ponte.ask("What is my cat called?")
            assert "Tobi" in last_heard(fake)
            record = (await ponte.engine.conversations.journal.list_threads())[0]
            response = await ponte.engine.conversations.threads.get(record.conversation)
            assert response is not None
            assert response.level == level
            assert len(fake.conversations) == (level == "conversations")
            fake.most = 0
            receipts = [(await ponte.send(text))[1] for text in ("one", "two")]
            answers = await asyncio.gather(*map(ponte.wait_for_answer, reversed(receipts)))
        assert [answer.text.split()[-1] for answer in answers] == ["two", "one"]
        assert fake.most == 1, "never two answers at once in one conversation"
        assert not [error for kind, error in fake.emitted if kind == "error" and error["code"]]


@levels
async def test_texts_of_others_leave_the_server_before_they_are_a_day_old(
    bot_home: BotHome, level: Level
) -> None:
    place = Address("slack", "C9", "T1", is_shared=True)
    async with (
        FakeOpenAI(without=WITHOUT[level]) as fake,
        open_served_bot(bot_home, fake) as ponte,
    ):
        linked = (Quote("Bo", "Lunch at one?", place=place),)
        slack = AsyncMock(Messenger)
        slack.can_read.return_value = True
        ponte.engine.platforms.messengers["slack"] = slack
        first = replace(make_message("My cat is Tobi.", "k0"), context=linked)
        await ponte.wait_for_answer(await ponte.engine.conversations.inbox.accept(first))
        # At the level that has summaries, one takes the place of all that is older.
        fake.say(Script(text="At one.", compaction=True))
        await ponte.ask("When?")
        assert "Lunch at one?" in last_heard(fake)
        sql = "UPDATE items SET created_at = created_at - 83000"
        await ponte.engine.stores.database.write(lambda c: c.execute(sql).close())
        await ponte.engine.upkeep.once()
        assert "Lunch" not in str([c.items for c in fake.conversations.values()])
        await ponte.ask("And what did I say?")
        heard = last_heard(fake)
        assert "Lunch" not in heard
        assert "other people's messages read (1)" in heard
        assert "Tobi" in heard


async def test_a_run_of_a_schedule_has_a_conversation_of_its_own(bot_home: BotHome) -> None:
    """People's next message brings the run into theirs, and `forget` erases both."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        first, receipt = await ponte.send("My cat is Tobi.")
        await ponte.wait_for_answer(receipt)
        (own,) = fake.conversations
        schedules = ponte.engine.schedules
        draft = ScheduleDraft("ask", "Report on dogs", ScheduleRule("0 9 * * *"), "UTC")
        one = await put_schedule(schedules.store, first.reply_to, draft)
        for number in range(2):
            run = await schedules.store.run_now(one.id, str(number))
            answer = await ponte.engine.conversations.inbox.wait_for_answer(run.seq)
            assert answer.text == "You said: Report on dogs"
            await schedules.store.settle_runs()
        others = [str(c.items) for id, c in fake.conversations.items() if id != own]
        assert [(items.count("Report on dogs"), "Tobi" in items) for items in others] == [
            (2, False)
        ] * 2, others
        await ponte.ask("And why?")
        (question,) = [c for c in fake.conversations.values() if "And why?" in str(c.items)]
        assert str(question.items).count("You said: Report on dogs") == 2
        assert "Tobi" in str(question.items)
        await ponte.ask("forget")
        await ponte.engine.upkeep.once()
        assert (fake.conversations, fake.responses) == ({}, {})


async def test_a_conversation_deleted_by_hand(bot_home: BotHome) -> None:
    """A cut answer says so."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        await ponte.ask("My cat is Tobi.")
        fake.conversations.clear()
        answer = await ponte.ask("What is my cat called?")
        assert answer.text == "You said: What is my cat called?"
        assert "Tobi" in last_heard(fake)
        fake.say(Script(text="The first half", incomplete="max_output_tokens"))
        answer = await ponte.ask("Tell me all.")
        assert answer.text.startswith("The first half\n\n_The answer stops here")


async def test_stop_in_mid_stream_and_the_next_message_at_once(bot_home: BotHome) -> None:
    """The next answer does not wait for the old stream; its conversation is a new one."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        fake.say(Script(text=LONG_ANSWER, fail="hang", after=4, match="long"))
        _, receipt = await ponte.send("Tell me something long.")
        await fake.wait_for_failures()
        await ponte.ask("stop")
        answer = await ponte.wait_for_answer(receipt)
        assert answer.status == "stopped"
        assert (await ponte.ask("thanks")).text == "You said: thanks"
        assert fake.running == 1
        assert len(fake.conversations) == 2
        fake.release.set()
        await fake.wait_until(lambda: fake.running == 0)
        assert (await ponte.ask("and now?")).text == "You said: and now?"
        assert len(fake.conversations) == 2


async def test_forget_erases_what_the_server_has(bot_home: BotHome) -> None:
    """What cannot be erased now is on a list, and in mid-stream what comes late is erased."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        await ponte.ask("My cat is Tobi.")
        fake.locked[next(iter(fake.conversations))] = 5
        await ponte.ask("What is my cat called?")
        assert len(fake.conversations) == 2, "the first was given up"
        journal = ponte.engine.conversations.journal
        conversations = {Remote("conversation", id) for id in fake.conversations}
        responses = {Remote("response", id) for id in fake.responses}
        fake.ill = 503
        await ponte.ask("forget")
        assert set(await journal.list_remotes_to_erase()) == conversations | responses
        fake.ill = 0
        await ponte.engine.upkeep.once()
        assert await journal.list_remotes_to_erase() == []
        assert (fake.conversations, fake.orphans, fake.responses) == ({}, [], {})
        fake.say(Script(text=LONG_ANSWER, fail="hang", match="cat"))
        await ponte.send("My cat is Tobi.")
        await fake.wait_for_failures()
        await ponte.ask("forget")
        erasing = asyncio.create_task(ponte.engine.upkeep.once())
        fake.release.set()
        await erasing
        await ponte.engine.upkeep.once()
        assert (fake.conversations, fake.orphans, fake.responses) == ({}, [], {})


async def test_each_person_is_a_pseudonym_and_named_in_company(bot_home: BotHome) -> None:
    async with (
        FakeOpenAI(without={"conversations"}) as fake,
        open_served_bot(bot_home, fake) as ponte,
    ):
        await ponte.ask("hello", shared=True)
        await ponte.ask("hello too", shared=True, person=BO)
        text = str(fake.request_bodies("/responses")[-1]["input"])
        assert "Bo: hello too" in text
        assert "The asker is 'Bo'" in text
        assert "Ponte" in fake.request_bodies("/responses")[-1]["instructions"]
        assert "Bo" not in fake.request_bodies("/responses")[-1]["instructions"]


@levels
async def test_a_server_that_loses_its_apis_in_mid_thread(bot_home: BotHome, level: Level) -> None:
    """First without conversations, then without responses: the thread goes on."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        await ponte.ask("My cat is Tobi.")
        fake.without = WITHOUT[level]
        answer = await ponte.ask("What is my cat called?")
        assert answer.text.endswith("What is my cat called?")
        assert "Tobi" in last_heard(fake)


async def test_a_broken_stream_keeps_its_text_and_says_so(bot_home: BotHome) -> None:
    """A call that broke off leaves no half sentence."""
    async with (
        FakeOpenAI(without={"conversations"}) as fake,
        open_served_bot(bot_home, fake) as ponte,
    ):
        fake.say(Script(text="Half of it.", fail="drop", piece=20))
        await ponte.ask("Tell me.")
        (view,) = bot_home.recorder.visible("k1")
        assert view.startswith("Half of it.\n\n_I stopped here. The model's server stopped")
        assert len([body for body in fake.request_bodies("/responses") if "input" in body]) == 1
        call = ("tables", '{"a": "long arguments in pieces"}')
        fake.say(Script(text="Look.", calls=(call,), fail="drop", after=2), LONG_ANSWER)
        await ponte.ask("Tell me.")
        assert bot_home.recorder.visible("k2") == [LONG_ANSWER]
