"""`/quick-command`, the message shortcuts and their modals, and the App Home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.surface import SlackSurface
from core.base.errors import Undeliverable
from core.domain.messages import Answer, Progress
from core.domain.ports import AnswerPart, Reply
from core.domain.records import QuickCommand
from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.models import EchoModel
from tests.fakes.slack import Json
from tests.fakes.slack.hooks import USES
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import Board, NoPosts, WatchedInbox
from tests.time_limits import Limits

REPORT = QuickCommand("report", "Report", "Writes a report.", {"month": {"required": True}})
KNOWN = Setting(board=Board([REPORT, QuickCommand("joke", "Joke")]))


async def test_a_slash_command_is_answered_in_the_channel(tmp_path: Path) -> None:
    async with workplace(tmp_path, KNOWN) as w:
        command = w.slack.command(w.alice, w.general, "/quick-command", "joke about bridges")
        await command.acked.wait()
        assert command.response == {}
        answer = await w.first_post()
        assert "Quick commands aren't set up" in answer.visible_text
        assert command.attempts == 1
        assert w.whispers() == []


async def test_missing_inputs_are_asked_in_a_modal(tmp_path: Path) -> None:
    async with workplace(tmp_path, KNOWN) as w:
        command = w.slack.command(w.alice, w.general, "/quick-command", "report")
        await command.acked.wait()
        (modal,) = w.slack.workspace.views
        assert [b["block_id"] for b in modal["blocks"] if b["type"] == "input"] == ["field:month"]
        assert modal["blocks"][0]["text"]["text"] == "Writes a report."
        for _ in range(2):  # a repeated click on Run is one command
            submission = w.slack.submit(w.alice, modal, {"field:month": "May 2026"})
            await submission.acked.wait()
            assert submission.response == {}
        await w.until(lambda: w.posts())
        await w.slack.deliveries.wait_for_deliveries()
        assert len(w.posts()) == 1
        turn = await w.bot.engine.conversations.journal.list_entries(
            f"slack:T0PONTE:{w.general.id}:@{w.alice.id}"
        )
        assert turn[0].message.text == 'quick-command report month="May 2026"'


async def test_an_empty_command_offers_the_known_ones(tmp_path: Path) -> None:
    async with workplace(tmp_path, KNOWN) as w:
        command = w.slack.command(w.alice, w.general, "/quick-command", "")
        await command.acked.wait()
        (modal,) = w.slack.workspace.views
        options = modal["blocks"][0]["element"]["options"]
        assert [option["value"] for option in options] == ["report", "joke"]
        wrong = w.slack.submit(w.alice, modal, {"slug": "No Such Thing!"})
        await wrong.acked.wait()
        assert "no such thing!" in wrong.response["errors"]["slug"]
        submission = w.slack.submit(w.alice, modal, {"slug": "report"})
        await submission.acked.wait()
        assert submission.response["response_action"] == "update"
        assert submission.response["view"]["callback_id"] == "ponte_inputs"


async def test_a_rule_for_shared_places_holds_where_the_command_is_typed(tmp_path: Path) -> None:
    policy = allow_list()
    in_direct_messages_only = Rule("ponte.toml:7", where=frozenset({"shared"}), deny=("chat",))
    policy.read_rules = fixed_rules(RuleBook((in_direct_messages_only,)))
    async with workplace(tmp_path, replace(KNOWN, chosen=make_choices(policy=policy))) as w:
        command = w.slack.command(w.alice, w.general, "/quick-command", "")
        await command.acked.wait()
        assert "I can't chat with you here" in command.response["text"]
        assert w.slack.workspace.views == []
        allowed = w.slack.command(w.alice, w.slack.dm(w.alice), "/quick-command", "")
        await allowed.acked.wait()
        assert len(w.slack.workspace.views) == 1


async def test_where_the_bot_is_no_member_the_answer_comes_through_the_command(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path, KNOWN) as w:
        elsewhere = w.slack.channel("elsewhere", w.alice, bot=False)
        w.slack.command(w.alice, elsewhere, "/quick-command", "joke")
        answer = await w.first_post(elsewhere)
        assert "aren't set up" in answer.visible_text
        assert len(w.slack.workspace.hooks) == 1


@asynccontextmanager
async def command_elsewhere(home: Path) -> AsyncIterator[tuple[Workplace, Reply, list[Json]]]:
    """Alice typed a command where the bot is no member. Yields the reply to it, and the bodies that
    its `response_url` gets from now on."""
    inbox = WatchedInbox()
    async with workplace(home, replace(KNOWN, inbox=inbox.over)) as w:
        elsewhere = w.slack.channel("elsewhere", w.alice, bot=False)
        w.slack.command(w.alice, elsewhere, "/quick-command", "joke")
        await w.until(lambda: w.posts(elsewhere))
        (hook,) = w.slack.workspace.hooks.values()
        hook.heard.clear()
        hook.uses = 0
        yield w, w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts()), hook.heard


async def test_an_answer_comes_through_the_command_only_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlackSurface, "interval", 0.0)
    async with command_elsewhere(tmp_path) as (w, reply, messages):
        calls = w.slack.api.calls["chat.postMessage"]
        await reply.show(Progress(text="One two "))
        await w.until(lambda: w.slack.api.calls["chat.postMessage"] > calls)
        await reply.finish(Answer("One two three.", parts=("One two three.",)))
        assert [body["text"] for body in messages if "text" in body] == ["One two three."]


@pytest.mark.parametrize("private", [True, False])
async def test_each_part_of_a_long_answer_comes_through_the_command(
    tmp_path: Path, private: bool
) -> None:
    async with command_elsewhere(tmp_path) as (_, reply, messages):
        await reply.finish(Answer("One. Two.", parts=("One.", "Two."), is_private=private))
        kind = "ephemeral" if private else "in_channel"
        # The sign of the command's own turn may be deleted late.
        posts = [body for body in messages if "text" in body]
        assert [(body["text"], body["response_type"]) for body in posts] == [
            ("One.", kind),
            ("Two.", kind),
        ]


async def test_an_answer_is_undeliverable_once_the_command_takes_no_more(tmp_path: Path) -> None:
    async with command_elsewhere(tmp_path) as (w, reply, _):
        (hook,) = w.slack.workspace.hooks.values()
        hook.uses = USES
        with pytest.raises(Undeliverable) as error:
            await reply.finish(Answer("One.", parts=("One.",)))
        assert "response_url is used up" in error.value.words()


async def test_a_command_that_cannot_be_stored_says_so_and_a_modal_keeps_what_was_typed(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path, replace(KNOWN, inbox=WatchedInbox(2).over)) as w:
        command = w.slack.command(w.alice, w.general, "/quick-command", "joke")
        await command.acked.wait()
        assert "I couldn't save your message" in command.response["text"]
        await w.slack.command(w.alice, w.general, "/quick-command", "report").acked.wait()
        submission = w.slack.submit(w.alice, w.slack.workspace.views[0], {"field:month": "May"})
        await submission.acked.wait()
        assert submission.response["response_action"] == "errors"
        again = w.slack.submit(w.alice, w.slack.workspace.views[0], {"field:month": "May"})
        await again.acked.wait()
        assert again.response == {}


async def test_ask_ponte_on_a_message_answers_in_its_thread(tmp_path: Path) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        post = w.slack.say(w.bob, w.general, "The build is red <again>")
        interaction = w.slack.shortcut(w.alice, post, "ponte_ask")
        await interaction.acked.wait()
        (modal,) = w.slack.workspace.views
        w.slack.submit(w.alice, modal, {"question": "What does that mean?"})
        answer = await w.slack.wait_for_answer(post)
        assert (answer.thread_ts, answer.visible_text) == (
            post.ts,
            "You said: What does that mean?",
        )
        assert "'Bob': The build is red" in model.asks[0].input[0].text


async def test_a_quick_command_on_a_message_takes_its_text(tmp_path: Path) -> None:
    async with workplace(tmp_path, KNOWN) as w:
        root = w.slack.say(w.bob, w.general, "root")
        post = w.slack.say(w.bob, w.general, "Please summarize", thread=root)
        interaction = w.slack.shortcut(w.alice, post, "ponte_quick")
        await interaction.acked.wait()
        (modal,) = w.slack.workspace.views
        assert modal["blocks"][1]["element"]["initial_value"] == "Please summarize"
        values = {"slug": "joke", "input": "Please summarize"}
        w.slack.submit(w.alice, modal, values)
        answer = await w.slack.wait_for_answer(post)
        assert answer.thread_ts == root.ts
        assert "aren't set up" in answer.visible_text


async def test_a_command_that_takes_its_time_says_so_to_who_typed_it(
    tmp_path: Path, limits: Limits
) -> None:
    limits(NOTICE_AFTER_SECONDS=0.1)
    async with workplace(tmp_path, KNOWN) as w:
        posts = w.slack.api.close("chat.postMessage")
        command = w.slack.command(w.alice, w.general, "/quick-command", "joke about bridges")
        await w.until(lambda: w.whispers())
        assert command.response == {}
        (whisper,) = w.whispers()
        assert (whisper.seen_by, "joke about bridges" in whisper.visible_text) == (w.alice.id, True)
        posts.release()
        await w.until(lambda: w.posts())
        (hook,) = w.slack.workspace.hooks.values()
        await w.until(lambda: len(hook.heard) == 2)
        assert hook.heard[-1] == {"delete_original": True}
        assert len(w.posts()) == 1


async def test_the_first_post_of_an_answer_withdraws_the_notice(tmp_path: Path) -> None:
    """It need not be the last: an answer grows, or has many parts."""
    inbox = WatchedInbox()
    async with workplace(tmp_path, replace(KNOWN, inbox=inbox.over)) as w:
        w.slack.command(w.alice, w.general, "/quick-command", "joke")
        await w.until(lambda: w.posts())
        to = replace(inbox.messages[0].reply_to, turn="another")
        notices = w.bot.slack.signs.notices
        notices.begin(to.turn, to.token, "It takes its time.")
        await w.bot.slack.surface(to).post("key", AnswerPart(1, "The first part."))
        LoopClock().skip(60.0)
        await run_ready()
        (hook,) = w.slack.workspace.hooks.values()
        assert "It takes its time." not in [message.get("text") for message in hook.heard]


async def test_a_form_that_takes_its_time_says_so_too(tmp_path: Path, limits: Limits) -> None:
    limits(NOTICE_AFTER_SECONDS=0.1)
    async with workplace(tmp_path, KNOWN) as w:
        await w.slack.command(w.bob, w.general, "/quick-command", "report").acked.wait()
        posts = w.slack.api.close("chat.postMessage")
        w.slack.submit(w.bob, w.slack.workspace.views[0], {"field:month": "May"})
        text = await w.first_whisper()
        assert text.seen_by == w.bob.id
        posts.release()
        await w.until(lambda: w.posts())
        await w.slack.deliveries.wait_for_deliveries()
