"""Schedules in a conversation: the model proposes, a card shows the dates, its owner starts it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.domain.messages import Answer, Card
from core.domain.schedules import (
    BadSchedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleLimits,
    ScheduleRule,
)
from core.tools.schedules.source import ScheduleSource
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import MEMBER, OTHER, RIGHTS, on_slack

WEEKLY = {
    "kind": "post", "what": "Post the *report*", "when": "0 9 * * MON",
    "zone": "Europe/Paris", "ends": None, "replaces": None,
}  # fmt: skip


@asynccontextmanager
async def open_bot(bot_home: BotHome) -> AsyncIterator[RunningBot]:
    async with bot_home.open(sources=[ScheduleSource()], policy=RIGHTS) as running_bot:
        yield running_bot


async def propose(running_bot: RunningBot, key: str, **values: Any) -> Answer:
    call = f"call schedule_propose {json.dumps(WEEKLY | values)}"
    return await running_bot.ask_message(on_slack(call, key))


async def proposed_card(running_bot: RunningBot, key: str, **values: Any) -> Card:
    answer = await propose(running_bot, key, **values)
    (card,) = answer.cards
    assert "It runs only after you start it." in answer.text
    return card


async def test_nothing_runs_before_its_owner_starts_it(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        card = await proposed_card(running_bot, "k1")
        schedules = running_bot.engine.schedules
        (waiting,) = await schedules.service.list_for(MEMBER, on_slack("", "x").address)
        assert (waiting.state, card.id) == ("proposed", f"{waiting.id}-1")
        assert card.title == "Post: Post the *report*"
        assert "every week on Monday at 9:00" in card.text
        assert card.text.count("Monday,") == 3, "the next three dates with their weekdays"
        assert "(Europe/Paris)" in card.text
        assert "calls no model" in card.text
        assert card.actions == ("start", "edit", "cancel")
        assert await schedules.store.earliest_due() is None

        other = on_slack(f"schedule {card.id} start", "k2", OTHER, clicked=True, thread="tU1")
        assert (await running_bot.ask_message(other)).code == "forbidden"
        assert await schedules.store.earliest_due() is None

        click = on_slack(f"schedule {card.id} start", "k3", clicked=True)
        (drawn,) = (await running_bot.ask_message(click)).cards
        assert (drawn.id, drawn.state, drawn.actions) == (card.id, "active", ())
        assert await schedules.store.earliest_due() is not None


async def test_an_edit_needs_a_new_start(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        first = await proposed_card(running_bot, "k1")
        id = first.id.split("-")[0]
        told = await running_bot.ask_message(
            on_slack(f"schedule {first.id} edit", "k2", clicked=True)
        )
        assert (told.is_private, f"change schedule {id} to 10:00" in told.text) == (True, True)
        other = await running_bot.ask_message(
            on_slack(f"schedule {first.id} edit", "k2o", OTHER, clicked=True, thread="tU1")
        )
        assert (other.code, "Only Mia, who owns" in other.text) == ("forbidden", True)
        second = await proposed_card(running_bot, "k3", when="0 10 * * MON", replaces=id)
        assert second.id == f"{id}-2"

        stale = await running_bot.ask_message(
            on_slack(f"schedule {first.id} start", "k4", clicked=True)
        )
        assert (stale.status, stale.code) == ("failed", "bad_schedule")
        store = running_bot.engine.schedules.store
        assert (await store.get(id)).state == "proposed"
        entries = await running_bot.engine.records.journal.list_entries(
            on_slack("", "x").address.conversation
        )
        shown = {card.id: card.state for one in entries if one.answer for card in one.answer.cards}
        assert shown == {first.id: "withdrawn", second.id: "open"}
        await running_bot.ask_message(on_slack(f"schedule {second.id} start", "k5"))
        assert (await store.get(id)).state == "active"


async def test_two_edits_of_one_turn_leave_one_card_to_start(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        id = (await proposed_card(running_bot, "k1")).id[:6]
        edits = [
            f"call schedule_propose {json.dumps(WEEKLY | {'when': when, 'replaces': id})}"
            for when in ("0 10 * * MON", "0 11 * * MON")
        ]
        answer = await running_bot.ask_message(on_slack("\n".join(edits), "k2"))
        assert {card.id: card.state for card in answer.cards} == {
            f"{id}-2": "withdrawn", f"{id}-3": "open",
        }  # fmt: skip


async def test_commands_manage_it(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:

        async def says(text: str, key: str, **more: Any) -> str:
            return (await running_bot.ask_message(on_slack(text, key, **more))).text

        assert "The demo model can't make one" in await says("schedules", "k0")
        card = await proposed_card(running_bot, "k1")
        id = card.id.split("-")[0]
        assert "was started" not in await says(f"schedule {id} start", "k2")
        assert f"`{id}` Post: Post the *report*" in await says("schedules", "k3")
        assert "Paused." in await says(f"schedule {id} pause", "k4")
        assert "Started." in await says(f"agendamento {id} resume", "k5")
        assert "To end it, type" in await says(f"schedule {id} cancel", "k6")
        assert "It runs now." in await says(f"schedule {id} run", "k7")
        run = (await running_bot.engine.schedules.store.list_runs(id))[0]
        answer = await running_bot.engine.records.inbox.wait_for_answer(run.seq)
        assert "Post the *report*" in answer.text
        assert "done" in await says(f"schedule {id} show", "k8")
        assert "Only Mia" in await says(f"schedule {id} delete", "k9", person=OTHER, thread="tU1")
        assert "Deleted." in await says(f"schedule {id} delete", "k10")
        assert f"There is no schedule {id}." in await says(f"schedule {id} show", "k11")
        assert "schedule it" in await says("schedule it for me", "k12"), "a message for the model"


async def test_wrong_values_are_told_to_the_model(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        wrong: list[dict[str, Any]] = [
            {"when": "* * * * *"}, {"when": "0 9 * *"}, {"when": ""}, {"when": "10:00"},
            {"when": "tomorrow"}, {"when": "2020-01-01T10:00"}, {"zone": "Mars/Base"},
            {"what": "  "}, {"kind": "command", "what": "rm -rf"}, {"ends": "never"},
            {"replaces": "zzzzz7"}, {"when": "0 9 30 2 *"}, {"when": "2030-02-30T09:00"},
            {"when": "2030-03-10T02:30", "zone": "America/New_York"},
        ]  # fmt: skip
        for number, values in enumerate(wrong):
            answer = await propose(running_bot, f"k{number}", **values)
            assert answer.cards == (), values
        assert await running_bot.engine.schedules.store.list_matching(ScheduleFilter()) == []


async def test_the_card_tells_which_days_and_times_do_not_exist(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        zone = "America/New_York"
        card = await proposed_card(running_bot, "k1", when="30 2 29-31 * *", zone=zone)
        assert "no day 30 in February; no day 31 in February, April" in card.text
        card = await proposed_card(running_bot, "k2", when="30 2 * * SAT-MON", zone=zone)
        assert "every week on Monday, Saturday, and Sunday" in card.text
        assert "When the clocks change: Sunday, March " in card.text.replace("\u202f", " ")


async def test_an_edit_keeps_what_is_left_empty(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        store = running_bot.engine.schedules.store
        day = f"{datetime.now(UTC).year + 2}-05-04"
        empty = {"kind": "ask", "what": "", "when": "", "zone": None}
        for number, (first, values, expected) in enumerate((
            ({}, {"when": "10:30"}, ("30 10 * * MON", "Europe/Paris", 0)),
            ({}, {"zone": "UTC", "ends": "5"}, ("0 9 * * MON", "UTC", 5)),
            ({"when": f"{day}T08:00"}, {"when": "9:05"}, (f"{day} 09:05", "Europe/Paris", 0)),
        )):  # fmt: skip
            id = (await proposed_card(running_bot, f"a{number}", **first)).id[:6]
            await proposed_card(running_bot, f"b{number}", **empty | values, replaces=id)
            draft = (await store.get(id)).newest.draft
            zone = ZoneInfo(draft.time_zone)
            at = datetime.fromtimestamp(draft.rule.run_at, zone).strftime("%Y-%m-%d %H:%M")
            assert (draft.rule.cron or at, draft.time_zone, draft.max_runs) == expected, values
            assert (draft.kind, draft.text) == ("post", WEEKLY["what"]), values


async def test_an_edit_replaces_or_removes_the_end(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        store = running_bot.engine.schedules.store
        last_day = f"{datetime.now(UTC).year + 1}-05-04"
        id = (await proposed_card(running_bot, "k0", ends=last_day)).id[:6]
        for number, (ends, expected) in enumerate((
            (None, (True, 0)), ("5", (False, 5)), (last_day, (True, 0)), ("0", (False, 0)),
        )):  # fmt: skip
            await proposed_card(running_bot, f"k{number + 1}", ends=ends, replaces=id)
            draft = (await store.get(id)).newest.draft
            assert (draft.ends_at > 0, draft.max_runs) == expected, ends


async def test_all_schedules_can_be_listed_in_pages(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        service, one = running_bot.engine.schedules.service, on_slack("", "x")
        rule = ScheduleRule("0 9 * * *")
        for number in range(45):
            draft = ScheduleDraft("post", f"Text {number}", rule, "UTC")
            await service.propose(f"o{number}", MEMBER, one.reply_to, draft)

        async def says(text: str, key: str) -> str:
            return (await running_bot.ask_message(on_slack(text, key))).text

        first, second, third, fourth = [
            await says(text, text)
            for text in ("schedules", "agendamentos 2", "planifications 3", "schedules 4")
        ]
        assert "For the next one, type `schedules 2`." in first
        assert [page.count("Text") for page in (first, second, third)] == [20, 20, 5]
        seen = {int(found) for found in re.findall(r"Text (\d+)", first + second + third)}
        assert seen == set(range(45))
        assert "Page 3 of 3." in third
        assert "type" not in third
        assert fourth == "There are only 3 pages of schedules."
        for_model = await says('call schedule_list {"page": 2}', "m")
        assert (for_model.count("Text"), "Page 2 of 3." in for_model) == (20, True)


@also_on_postgres
async def test_an_edit_waits_beside_the_running_version(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        store = running_bot.engine.schedules.store
        first = await proposed_card(running_bot, "k1")
        id = first.id.split("-")[0]
        await running_bot.ask_message(on_slack(f"schedule {first.id} start", "k2", clicked=True))
        due = (await store.get(id)).next_due_at
        second = await proposed_card(running_bot, "k3", what="EVIL", replaces=id)
        third = await proposed_card(running_bot, "k4", what="", when="10:00", replaces=id)
        assert ("EVIL" in third.text, "stays as it is" in third.text) == (True, True)
        running = await store.get(id)
        draft = running.draft
        assert (running.state, running.next_due_at, draft.text, draft.rule.cron) == (
            "active", due, WEEKLY["what"], WEEKLY["when"],
        )  # fmt: skip
        listed = await running_bot.ask_message(on_slack("schedules", "k5"))
        assert third.id in listed.text
        for word in (f"schedule {second.id} start", f"schedule {second.id} cancel"):
            stale = await running_bot.ask_message(on_slack(word, word))
            assert (stale.code, third.id in stale.text, "EVIL" in stale.text) == (
                "bad_schedule", True, True,
            )  # fmt: skip
        assert (await store.get(id)).draft.text == WEEKLY["what"]
        await running_bot.ask_message(on_slack(f"schedule {third.id} cancel", "k6", clicked=True))
        stale = await running_bot.ask_message(on_slack(f"schedule {third.id} start", "k7"))
        assert (stale.status, (await store.get(id)).draft.text) == ("failed", WEEKLY["what"])
        fourth = await proposed_card(running_bot, "k8", what="New", replaces=id)
        assert fourth.id not in (second.id, third.id), "a withdrawn version is never another one"
        click = on_slack(f"schedule {fourth.id} start", "k9", clicked=True)
        (drawn,) = (await running_bot.ask_message(click)).cards
        assert (drawn.id, drawn.state) == (fourth.id, "active")
        started = await store.get(id)
        assert (started.state, started.draft.text) == ("active", "New")
        entries = await running_bot.engine.records.journal.list_entries(
            on_slack("", "x").address.conversation
        )
        shown = {card.id: card.state for one in entries if one.answer for card in one.answer.cards}
        assert shown == {
            first.id: "withdrawn", second.id: "withdrawn", third.id: "withdrawn",
            fourth.id: "active",
        }  # fmt: skip


@also_on_postgres
async def test_a_word_starts_the_version_that_it_names(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        first = await proposed_card(running_bot, "k1")
        id = first.id.split("-")[0]
        second = await proposed_card(running_bot, "k2", what="EVIL", replaces=id)
        stale = await running_bot.ask_message(on_slack(f"schedule {id} start", "k3"))
        assert (stale.code, f"schedule {second.id}-" in stale.text) == ("bad_schedule", True)
        assert "> EVIL" in stale.text, "the new version is shown"
        assert await running_bot.engine.schedules.store.earliest_due() is None


async def test_a_word_starts_a_long_schedule_only_after_all_of_it(bot_home: BotHome) -> None:
    text = "word " * 200 + "END"
    async with open_bot(bot_home) as running_bot:
        card = await proposed_card(running_bot, "k1", what=text)
        store, id = running_bot.engine.schedules.store, card.id.split("-")[0]
        for number, name in enumerate((id, card.id, f"{card.id}-1000")):
            read = await running_bot.ask_message(on_slack(f"schedule {name} start", f"w{number}"))
            assert (read.status, f"> {text}" in read.text) == ("failed", True)
        assert (await store.get(id)).state == "proposed"
        (coded,) = re.findall(r"`(schedule \S+ start)`", read.text)
        edited = await proposed_card(running_bot, "k2", what=f"{text} NEW", replaces=id)
        old = await running_bot.ask_message(on_slack(coded, "k3"))
        assert (old.status, "NEW" in old.text) == ("failed", True)
        codes = re.findall(r"`(schedule \S+ start)`", old.text)
        (coded,) = (code for code in codes if edited.id in code)
        assert (await running_bot.ask_message(on_slack(coded, "k4"))).status == "done"
        assert (await store.get(id)).state == "active"


async def test_an_old_button_on_the_page_shows_the_new_version(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        here, receipt = await running_bot.send(f"call schedule_propose {json.dumps(WEEKLY)}")
        (first,) = (await running_bot.wait_for_answer(receipt)).cards
        assert f"> {WEEKLY['what']}" in first.text
        call = (
            f"call schedule_propose {json.dumps(WEEKLY | {'what': 'EVIL', 'replaces': first.id})}"
        )
        (second,) = (await running_bot.ask(call)).cards
        for action in ("start", "cancel"):
            stale = await running_bot.click(f"schedule {first.id} {action}", here)
            assert (stale.code, "> EVIL" in stale.text) == ("bad_schedule", True)
        await running_bot.click(f"schedule {second.id} start", here)
        (started,) = await running_bot.engine.schedules.store.list_matching(ScheduleFilter())
        assert (started.state, started.draft.text) == ("active", "EVIL")


@also_on_postgres
async def test_a_program_changes_no_schedule(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        store = running_bot.engine.schedules.store
        first = await proposed_card(running_bot, "k1")
        id = first.id.split("-")[0]
        await running_bot.ask_message(on_slack(f"schedule {first.id} start", "k2", clicked=True))
        before = await store.get(id)
        call = f"call schedule_propose {json.dumps(WEEKLY | {'what': 'EVIL', 'replaces': id})}"
        program = replace(MEMBER, is_bot=True, api_token="t7")
        answer = await running_bot.ask_message(on_slack(call, "k3", program))
        assert answer.cards == ()
        for action in ("pause", "resume", "run", "delete", "start", "cancel"):
            word = f"schedule {id} {action}"
            assert (await running_bot.ask_message(on_slack(word, action, program))).text == (
                f"You said: {word}"
            )
            press = on_slack(word, f"press-{action}", program, clicked=True)
            refused = await running_bot.ask_message(press)
            assert refused.status == "failed", action
        assert await store.get(id) == before
        lines, _ = await running_bot.engine.records.audit.read(event="schedule-refused")
        assert [line["api_token"] for line in lines] == ["t7"] * 7


async def test_the_whole_text_is_on_the_card(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        for number, kind in enumerate(("post", "ask", "command")):
            lines = [f"line {n} of {kind}" for n in range(150)]
            what = "\n".join(["quick-command tidy" if kind == "command" else "Do", *lines])
            card = await proposed_card(running_bot, f"k{number}", kind=kind, what=what)
            shown = await running_bot.ask_message(
                on_slack(f"schedule {card.id} show", f"s{number}")
            )
            for text in (card.text, shown.text):
                assert [line for line in lines if f"> {line}" not in text] == []
            assert card.is_whole


@also_on_postgres
async def test_starts_at_once_do_not_exceed_the_limit(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as running_bot:
        service, one = running_bot.engine.schedules.service, on_slack("", "x")
        service = replace(service, limits=lambda: ScheduleLimits(per_person=3))
        rule = ScheduleRule("0 9 * * *")
        ids = [
            (
                await service.propose(
                    f"o{n}", MEMBER, one.reply_to, ScheduleDraft("post", f"Text {n}", rule, "UTC")
                )
            ).id
            for n in range(8)
        ]
        starts = (service.start(id, 0, MEMBER, one.address) for id in ids)
        results = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(result, BadSchedule) for result in results) == 5
        assert len(await service.schedules.list_matching(ScheduleFilter(states=("active",)))) == 3
