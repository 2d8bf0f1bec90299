"""A question for its asker alone: `/ponte` on Slack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, workplace
from tests.time_limits import Limits


async def test_slack_answers_in_the_direct_message_and_says_so_where_it_was_typed(
    tmp_path: Path,
) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        elsewhere = w.slack.channel("elsewhere", w.alice, bot=False)
        command = w.slack.command(w.alice, elsewhere, "/ponte", "who is late?")
        await command.acked.wait()
        link = f"archives/{w.dm.id}|our direct message>"
        assert link in command.response["text"]
        assert command.response.get("response_type", "ephemeral") == "ephemeral"
        answer = await w.first_post(w.dm)
        assert answer.visible_text == "You said: who is late?"
        assert w.posts(elsewhere) == w.whispers(elsewhere) == []
        assert not any(hook.heard for hook in w.slack.workspace.hooks.values())

        await w.ask("hello", w.general)
        assert "late" not in str(model.asks[-1].input), "nothing of it reaches a public turn"
        await w.ask("and now?", w.dm)
        journal = w.bot.engine.conversations.journal
        asked = [
            entry.message.text for entry in await journal.list_entries(f"slack:T0PONTE:{w.dm.id}")
        ]
        assert asked == ["who is late?", "and now?"], "the direct message goes on"


async def test_slack_says_what_a_command_needs(tmp_path: Path, limits: Limits) -> None:
    limits(SLACK_OPEN_SECONDS=0.1)
    async with workplace(tmp_path) as w:
        empty = w.slack.command(w.alice, w.general, "/ponte", "  ")
        await empty.acked.wait()
        assert "Type a question after the command" in empty.response["text"]
        w.slack.api.faults.add("conversations.open", "internal_error", 9)
        failed = w.slack.command(w.alice, w.general, "/ponte", "hello")
        await failed.acked.wait()
        assert "couldn't open our direct message" in failed.response["text"]
        assert w.posts(w.dm) == w.posts() == []


async def test_slack_tells_a_guest_of_one_channel_to_ask_there(tmp_path: Path) -> None:
    policy = allow_list(frozenset())
    async with workplace(tmp_path, Setting(chosen=make_choices(policy=policy))) as w:
        guest = w.slack.person("Gus", guest="multi")
        w.slack.workspace.places[w.general.id].members.add(guest.id)
        here = Rule("rules 1", frozenset({"guests"}), frozenset({f"slack:T0PONTE:{w.general.id}"}))
        policy.read_rules = fixed_rules(RuleBook((replace(here, allow=("chat",)),)))
        command = w.slack.command(guest, w.general, "/ponte", "hello")
        await command.acked.wait()
        assert "I can answer you in this channel, but not privately" in command.response["text"]
        assert w.posts(w.slack.dm(guest)) == []
