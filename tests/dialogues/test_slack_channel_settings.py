"""Settings of a channel on Slack: everything answered there, answers without threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from core.chat.reply import FILES_NUMBER
from core.domain.messages import Address, Answer, Person, Post
from core.domain.model_rounds import RoundRequest
from tests.dialogues.test_slack_cards import ASKED, CARD
from tests.dialogues.test_slack_channels import everything_in
from tests.fakes.models import EchoModel
from tests.fakes.places import FixedAddressingSettings
from tests.fakes.posts import KeptPosts
from tests.fakes.slack import TEAM
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import NoPosts, WatchedInbox
from tests.time_limits import Limits

EVERYTHING = FixedAddressingSettings(answer_everything=True)
FLAT = FixedAddressingSettings(threads=False)
BOTH = FixedAddressingSettings(answer_everything=True, threads=False)


@dataclass
class SettingsByChannel:
    """The settings of #general, which a test may change while the bot runs."""

    now: FixedAddressingSettings
    places: set[str] = field(default_factory=set)

    @property
    def channels(self) -> Mapping[str, FixedAddressingSettings]:
        return {f"slack:{TEAM}:{id}": self.now for id in self.places}

    def channel(self, address: Address) -> FixedAddressingSettings:
        return self.now if address.channel in self.places else FixedAddressingSettings()

    def of(self, w: Workplace) -> None:
        self.places.add(w.general.id)


@asynccontextmanager
async def general_with(
    home: Path, settings: FixedAddressingSettings, **more: Any
) -> AsyncIterator[Workplace]:
    """A workplace in which #general has these settings."""
    places = SettingsByChannel(settings)
    async with workplace(home, Setting(places=places, **more)) as w:
        places.of(w)
        yield w


def top(w: Workplace) -> list[str]:
    """The bot's finished posts at the channel's top level."""
    posts = w.posts()
    return [p.visible_text for p in posts if not p.thread_ts and "Stop" not in p.buttons]


async def reads(w: Workplace, *texts: str) -> None:
    await w.until(lambda: top(w) == list(texts))


async def test_everything_that_people_say_is_answered_in_its_thread(tmp_path: Path) -> None:
    async with general_with(tmp_path, EVERYTHING) as w:
        one = w.slack.say(w.alice, w.general, "how many bolts?")
        await w.slack.wait_for_answers(one, "You said: how many bolts?")
        w.slack.say(w.bob, w.general, "and nuts?", thread=one)
        await w.slack.wait_for_answers(one, "You said: how many bolts?", "You said: and nuts?")
        w.slack.say(w.alice, w.general, f"{w.slack.bot} washers?", thread=one)
        w.slack.say(w.bob, w.general, "thank you", thread=one)
        texts = ["how many bolts?", "and nuts?", "washers?", "thank you"]
        await w.slack.wait_for_answers(one, *(f"You said: {words}" for words in texts))
        await w.slack.deliveries.wait_for_deliveries()
        assert len(w.posts()) == 4, "nobody is told that it waits"
        other = w.slack.channel("other", w.alice)
        w.slack.say(w.alice, other, "just among us")
        await w.slack.deliveries.wait_for_deliveries()
        assert w.posts(other) == []


async def test_what_is_said_to_others_is_not_for_it_and_is_kept_nowhere(tmp_path: Path) -> None:
    model = EchoModel()
    async with general_with(tmp_path, EVERYTHING, model=model) as w:
        message = w.slack.say(w.alice, w.general, f"{w.bob.mention} the swordfish is ready")
        w.slack.say(w.alice, w.general, "<!subteam^S1> have a look at the swordfish")
        w.slack.say(w.bob, w.general, "swordfish? I see", thread=message)
        await w.slack.deliveries.wait_for_deliveries()
        assert w.posts() == []
        assert b"swordfish" not in await asyncio.to_thread(everything_in, tmp_path)
        both = w.slack.say(w.alice, w.general, f"{w.bob.mention} {w.slack.bot} who is first?")
        assert "who is first?" in (await w.slack.wait_for_answer(both)).visible_text
        await w.ask("what is it?", who=w.bob, thread=message)
        assert "swordfish is ready" in model.asks[-1].input[0].text
        more = w.slack.say(w.alice, w.general, "and where?", thread=message)
        assert (await w.slack.wait_for_answer(more)).visible_text == "You said: and where?"


async def test_after_a_restart_a_thread_among_others_is_still_theirs(tmp_path: Path) -> None:
    async with general_with(tmp_path, EVERYTHING) as w:
        theirs = w.slack.say(w.alice, w.general, f"{w.bob.mention} can you?")
        ours = w.slack.say(w.alice, w.general, "can you?")
        await w.slack.wait_for_answer(ours)
        await w.restart()
        w.slack.say(w.bob, w.general, "I can", thread=theirs)
        w.slack.say(w.bob, w.general, "can I?", thread=ours)
        await w.slack.wait_for_answers(ours, "You said: can you?", "You said: can I?")
        assert w.slack.finished_answers(theirs) == []


async def test_a_thread_that_is_older_than_the_setting_is_answered_too(tmp_path: Path) -> None:
    settings = SettingsByChannel(EVERYTHING)
    async with workplace(tmp_path, Setting(places=settings)) as w:
        older = w.slack.say(w.alice, w.general, "who has the key?")
        await w.slack.deliveries.wait_for_deliveries()
        settings.of(w)
        w.slack.say(w.bob, w.general, "which one?", thread=older)
        await w.slack.wait_for_answers(older, "You said: which one?")


async def test_what_it_heard_already_is_not_told_to_the_model_again(tmp_path: Path) -> None:
    model = EchoModel()
    async with general_with(tmp_path, EVERYTHING, model=model) as w:
        alert = w.slack.alert(w.general, attachments=[{"title": "Disk is full"}])
        first = w.slack.say(w.alice, w.general, "what is this?", thread=alert)
        await w.slack.wait_for_answer(first)
        assert "Disk is full" in model.asks[0].input[0].text
        model.delay = 0.05
        w.slack.say(w.alice, w.general, "since when?", thread=alert)
        last = w.slack.say(w.bob, w.general, "who knows?", thread=alert)
        w.slack.alert(w.general, attachments=[{"title": "Disk is fuller"}], thread=alert)
        await w.slack.wait_for_answer(last, 2)
        assert "since when?" not in "".join(i.text for i in model.asks[2].input[:-1])


async def test_what_was_said_to_others_meanwhile_is_told_to_the_model(tmp_path: Path) -> None:
    model = EchoModel()
    async with general_with(tmp_path, EVERYTHING, model=model) as w:
        message = w.slack.say(w.alice, w.general, "how many bolts?")
        await w.slack.wait_for_answer(message)
        w.slack.say(w.alice, w.general, f"{w.bob.mention} they are in the cellar", thread=message)
        w.slack.say(w.alice, w.general, "where are they?", thread=message)
        await w.slack.wait_for_answer(message, 2)
        quotation, question = model.asks[-1].input
        assert "they are in the cellar" in quotation.text
        assert question.text == "where are they?"


async def test_a_reply_is_answered_if_slack_does_not_say_how_its_thread_began(
    tmp_path: Path,
) -> None:
    async with general_with(tmp_path, EVERYTHING) as w:
        theirs = w.slack.say(w.alice, w.general, f"{w.bob.mention} can you?")
        await w.slack.deliveries.wait_for_deliveries()
        await w.restart()
        w.slack.api.faults.add("conversations.replies", "429", 0, retry_after=600)
        message = w.slack.say(w.bob, w.general, "I can", thread=theirs)
        answer = await w.slack.wait_for_answer(message)
        assert answer.visible_text.startswith("You said: I can")


async def test_bots_joins_and_its_own_posts_are_never_for_it(tmp_path: Path) -> None:
    async with general_with(tmp_path, BOTH) as w:
        robot = w.slack.person("Robot", is_bot=True)
        w.slack.say(robot, w.general, "beep")
        w.slack.alert(w.general, text="the disk is full")
        w.slack.say(w.alice, w.general, "Alice has joined", subtype="channel_join")
        w.slack.say(w.alice, w.general, "is it?")
        await reads(w, "You said: is it?")
        await w.slack.deliveries.wait_for_deliveries()
        assert top(w) == ["You said: is it?"], "what it says itself is told it, too"


async def test_a_bot_that_is_named_is_answered(tmp_path: Path) -> None:
    settings = SettingsByChannel(BOTH)
    async with workplace(tmp_path) as w:
        settings.of(w)
        robot = w.slack.person("Robot", is_bot=True)
        await w.restart(Setting(places=settings, bots=frozenset({"B" + robot.id[1:]})))
        w.slack.say(robot, w.general, "beep")
        await reads(w, "You said: beep")


async def test_the_way_can_change_at_any_time(tmp_path: Path) -> None:
    settings = SettingsByChannel(FixedAddressingSettings())
    async with workplace(tmp_path, Setting(places=settings)) as w:
        settings.of(w)
        w.slack.say(w.alice, w.general, "nobody?")
        await w.slack.deliveries.wait_for_deliveries()
        settings.now = EVERYTHING
        message = w.slack.say(w.alice, w.general, "somebody?")
        await w.slack.wait_for_answer(message)
        w.slack.say(w.bob, w.general, "indeed", thread=message)
        await w.slack.wait_for_answer(message, 2)
        settings.now = FixedAddressingSettings()
        w.slack.say(w.alice, w.general, "just to Bob", thread=message)
        w.slack.say(w.alice, w.general, "and to all")
        await w.slack.deliveries.wait_for_deliveries()
        assert len(w.posts()) == 2
        settings.now = BOTH
        w.slack.say(w.alice, w.general, "here?")
        await reads(w, "You said: here?")


async def test_without_threads_the_channel_is_one_conversation(tmp_path: Path) -> None:
    model = EchoModel()
    async with general_with(tmp_path, FLAT, model=model) as w:
        one = w.slack.say(w.alice, w.general, f"{w.slack.bot} one")
        await reads(w, "You said: one")
        w.slack.say(w.bob, w.general, f"{w.slack.bot} two")
        await reads(w, "You said: one", "You said: two")
        w.slack.say(w.alice, w.general, "not for it")
        w.slack.say(w.alice, w.general, f"{w.slack.bot} three", thread=one)
        assert (await w.slack.wait_for_answer(one)).visible_text == "You said: three"
        again = w.slack.say(w.alice, w.general, "four", thread=one)
        await w.slack.wait_for_answer(again)
        await w.slack.deliveries.wait_for_deliveries()
        assert len(top(w)) == 2
        whole = f"slack:T0PONTE:{w.general.id}"
        keys = [ask.thread.conversation for ask in model.asks]
        assert keys == [whole, whole, f"{whole}:{one.ts}", f"{whole}:{one.ts}"]
        threads = {ts for _, ts in w.slack.workspace.sessions}
        assert threads <= {one.ts}, "the channel itself is no thread, so it has no session"


async def test_a_slow_answer_to_a_question_from_the_menu_is_not_called_a_command(
    tmp_path: Path, limits: Limits
) -> None:
    limits(NOTICE_AFTER_SECONDS=0.1)
    async with general_with(tmp_path, FLAT, model=EchoModel()) as w:
        about = w.slack.say(w.bob, w.general, "The build is red")
        await w.slack.shortcut(w.alice, about, "ponte_ask").acked.wait()
        posts = w.slack.api.close("chat.postMessage")
        w.slack.submit(w.alice, w.slack.workspace.views[0], {"question": "What is that?"})
        whisper = await w.first_whisper()
        assert (whisper.seen_by, whisper.visible_text) == (w.alice.id, "Ponte is thinking…")
        posts.release()
        await reads(w, "You said: What is that?")


async def test_a_reply_under_its_answer_brings_that_along(tmp_path: Path) -> None:
    """The answer was said in the channel's conversation, which the thread's does not know."""
    model = EchoModel()
    async with general_with(tmp_path, FLAT, model=model) as w:
        w.slack.say(w.alice, w.general, f"{w.slack.bot} 42 bolts")
        await reads(w, "You said: 42 bolts")
        (answer,) = w.posts()
        await w.ask("why so many?", who=w.bob, thread=answer)
        assert "'Ponte': You said: 42 bolts" in model.asks[1].input[0].text


async def test_messages_of_the_channel_are_answered_in_order(tmp_path: Path) -> None:
    async with general_with(tmp_path, BOTH, model=EchoModel(delay=0.02)) as w:
        for number in range(5):
            w.slack.say((w.alice, w.bob)[number % 2], w.general, str(number))
        await reads(w, *(f"You said: {number}" for number in range(5)))
        assert not any(p.reactions for p in w.slack.workspace.in_channel(w.general.id))


async def test_an_edit_before_its_turn_counts_and_a_deleted_message_has_none(
    tmp_path: Path,
) -> None:
    model, go_on = waiting()
    async with general_with(tmp_path, BOTH, model=model) as w:
        w.slack.say(w.alice, w.general, "first")
        message = w.slack.say(w.alice, w.general, "secnd")
        removal = w.slack.say(w.alice, w.general, "third")
        w.slack.edit(message, "second")
        w.slack.remove(removal)
        await w.slack.deliveries.wait_for_deliveries()
        go_on.set()
        await reads(w, "You said: first", "You said: second")
        await w.slack.deliveries.wait_for_deliveries()
        assert [ask.input[-1].text for ask in model.asks] == ["first", "second"]


def waiting() -> tuple[EchoModel, asyncio.Event]:
    """A model that answers when the event comes."""
    go_on = asyncio.Event()

    async def gate(ask: RoundRequest) -> None:
        await go_on.wait()

    return EchoModel(gate=gate), go_on


async def test_while_it_works_the_message_wears_a_mark_and_a_word_stops_it(tmp_path: Path) -> None:
    """Slack's signs need a thread."""
    model, go_on = waiting()
    async with general_with(tmp_path, FLAT, model=model) as w:
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: message.reactions)
        go_on.set()
        await reads(w, "You said: hello")
        await w.until(lambda: not message.reactions)
        go_on.clear()
        again = w.slack.say(w.alice, w.general, f"{w.slack.bot} again")
        await w.until(lambda: again.reactions)
        w.slack.say(w.alice, w.general, f"{w.slack.bot} stop")
        await w.until(lambda: any("topped" in words for words in top(w)))
        await w.until(lambda: not again.reactions)


async def test_a_command_belongs_to_the_channels_conversation(tmp_path: Path) -> None:
    model = EchoModel()
    async with general_with(tmp_path, FLAT, model=model) as w:
        w.slack.command(w.alice, w.general, "/quick-command", "sum-up these words")
        await w.until(lambda: top(w) or w.whispers())
        entries = await w.bot.engine.conversations.journal.list_entries(
            f"slack:T0PONTE:{w.general.id}"
        )
        assert [each.message.text for each in entries] == ["quick-command sum-up these words"]


async def test_a_card_in_the_channel_is_decided_where_it_stands(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    async with general_with(tmp_path, FLAT, inbox=inbox.over) as w:
        w.slack.say(w.alice, w.general, f"{w.slack.bot} pay order 1")
        await reads(w, "You said: pay order 1")
        await w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts()).finish(ASKED)
        post = w.posts()[-1]
        await w.restart()
        await w.slack.click(w.bob, post, "Approve").acked.wait()
        click = inbox.messages[-1]
        assert click.address.conversation == f"slack:T0PONTE:{w.general.id}"
        variant = replace(CARD, state="Approved by Bob", actions=())
        reply = w.bot.slack.reply(click.reply_to, NoPosts())
        await reply.finish(Answer("Done.", parts=("Done.",), cards=(variant,)))
        assert "Approved by Bob" in post.visible_text
        assert not post.thread_ts
        assert not post.card_buttons


@pytest.mark.slow
@pytest.mark.parametrize("came", [False, True])
async def test_the_files_of_another_turn_are_not_taken_for_its_own(
    tmp_path: Path, came: bool
) -> None:
    """Both stand in the channel. The second was asked before the first one's came, and it is not
    known whether its own did."""
    inbox = WatchedInbox()
    async with general_with(tmp_path, FLAT, inbox=inbox.over) as w:
        for words in ("one", "two"):
            w.slack.say(w.alice, w.general, f"{w.slack.bot} {words}")
        await reads(w, "You said: one", "You said: two")
        answers = [await answer_with_file(w, words) for words in ("one", "two")]
        first, second = (message.reply_to for message in inbox.messages)
        await w.bot.slack.reply(first, KeptPosts()).finish(answers[0])
        kept_posts = KeptPosts()
        text = replace(answers[1], files=())
        await w.bot.slack.reply(second, kept_posts).finish(answers[1] if came else text)
        kept_posts.posts[FILES_NUMBER] = Post(FILES_NUMBER, f"{second.turn}:0")
        await w.bot.slack.reply(second, kept_posts).finish(answers[1])
        file_names = [[f.name for f in p.files] for p in w.posts()]
        assert [names for names in file_names if names] == [["one.csv"], ["two.csv"]]


async def answer_with_file(w: Workplace, words: str) -> Answer:
    files = w.bot.engine.conversations.files
    name, who = f"{words}.csv", Person("slack", w.alice.id, "T0PONTE")
    file = await files.put(words, name, "text/csv", words.encode(), who, "slack:C1")
    return Answer(words, parts=(words,), files=(file,))
