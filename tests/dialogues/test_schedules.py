"""Schedules in a conversation: the model proposes, a card shows the dates, its owner approves."""

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

import pytest

from core.base.errors import Draining
from core.changes.apply import ChangeRunner
from core.changes.approval import Approvers, TableRules
from core.domain.messages import Answer, Card, Person
from core.schedules.rows import Schedules
from core.schedules.schedule import (
    DuePlan,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleLimits,
    ScheduleRule,
    ScheduleState,
    read_row,
)
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, MEMBER, OTHER, RIGHTS, on_slack, says
from tests.fakes.choices import ANA, allow_list, make_message
from tests.fakes.schedules import LateScheduleSource, put_schedule

WEEKLY = {
    "kind": "post",
    "what": "Post the *report*",
    "when": "0 9 * * MON",
    "zone": "Europe/Paris",
    "ends": None,
    "replaces": None,
}


@asynccontextmanager
async def open_bot(bot_home: BotHome) -> AsyncIterator[RunningBot]:
    source = LateScheduleSource()
    async with bot_home.open(sources=[source], policy=RIGHTS) as ponte:
        source.open(ponte.engine)
        yield ponte


async def propose(ponte: RunningBot, key: str, **values: Any) -> Answer:
    call = f"call schedule_propose {json.dumps(WEEKLY | values)}"
    return await says(ponte, call, key)


async def proposed_card(ponte: RunningBot, key: str, **values: Any) -> Card:
    answer = await propose(ponte, key, **values)
    (card,) = answer.cards
    decisions = {*card.actions} - {"change"}  # a deletion has nothing to change
    assert (card.kind, card.state, decisions) == ("proposal", "open", {"approve", "deny"})
    return card


async def add_schedule(ponte: RunningBot, key: str, **values: Any) -> str:
    """Return the id of a new schedule that its owner has approved."""
    card = await proposed_card(ponte, key, **values)
    await says(ponte, f"approve {card.id}", f"{key}-approve", clicked=True)
    return card.id


async def draft_of(ponte: RunningBot, id: str) -> ScheduleDraft:
    """Return the draft of a proposed change."""
    change = await ponte.engine.changes.ledger.get(id)
    assert change.draft.rows[0].after
    return read_row(change.draft.rows[0].after)


async def set_state(ponte: RunningBot, id: str, state: ScheduleState) -> None:
    """Pause or resume a schedule, or let it end as after its last run."""
    store = ponte.engine.schedules.store
    if state == "ended":
        schedule = await store.resume(id)
        await store.advance(schedule, DuePlan(0.0, 0.0, False, 0.0, 0))
    else:
        await (store.pause(id, "person") if state == "paused" else store.resume(id))


async def test_of_two_reminders_the_one_that_cannot_be_prepared_is_told(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        calls = (WEEKLY, WEEKLY | {"when": "never"})
        answer = await says(
            ponte, "\n".join(f"call schedule_propose {json.dumps(each)}" for each in calls), "k1"
        )
    assert [card.title for card in answer.cards] == ["Reminder: Post the *report*"]
    assert "1 of 2 changes couldn't be prepared: " in answer.text


async def test_only_its_owner_approves_it(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        card = await proposed_card(ponte, "k1")
        store = ponte.engine.schedules.store
        assert card.title == "Reminder: Post the *report*"
        assert "every week on Monday at 9:00" in card.text
        assert card.text.count("Monday,") == 3, "the next three dates with their weekdays"
        for words in ("(Europe/Paris)", "without a model", "Waiting for Mia.", "> Post the"):
            assert words in card.text
        assert "admin" not in card.text
        for person in (OTHER, BOSS):
            press = await says(
                ponte, f"approve {card.id}", person.id, person, clicked=True, thread="tU1"
            )
            assert (press.code, "can approve it" in press.text) == ("forbidden", True)
        reply = await says(ponte, f"deny {card.id}", "k2", OTHER, clicked=True, thread="tU1")
        assert reply.code == "forbidden"
        assert await store.list_matching(ScheduleFilter()) == []
        click = await says(ponte, f"approve {card.id}", "k3", clicked=True)
        (drawing,) = click.cards
        assert (drawing.id, drawing.state, drawing.actions) == (card.id, "done", ("undo",))
        assert f"`schedule {card.id} pause`" in click.text
        (entry,) = await store.list_matching(ScheduleFilter())
        assert (entry.id, entry.state, entry.owner.key) == (card.id, "active", MEMBER.key)
        assert entry.next_due_at


async def test_neither_named_approvers_nor_a_guest_status_change_who_approves(
    bot_home: BotHome,
) -> None:
    async def is_guest(person: Person, max_age: float) -> bool | None:
        return person == MEMBER

    policy = allow_list(frozenset({"slack:U1", "slack:U2"}), frozenset({"slack:U9"}))
    policy.people.guests = {"slack": is_guest}
    approvers = Approvers(frozenset({"slack:U2"}), 2)
    source = LateScheduleSource()
    rules = TableRules(tools={"schedule_propose": approvers})
    async with bot_home.open(sources=[source], policy=policy, rules=rules) as ponte:
        source.open(ponte.engine)
        card = await proposed_card(ponte, "k1")
        for number, person in enumerate((OTHER, BOSS, replace(MEMBER, is_bot=True))):
            word = f"approve {card.id}"
            press = await says(ponte, word, f"p{number}", person, clicked=True, thread="tU1")
            assert press.code == "forbidden", person
            here = on_slack("", "x").address
            assert not await ponte.engine.changes.views.waiting_for(person, here), person
        reply = await says(ponte, f"approve {card.id}", "k2", clicked=True)
        assert [one.state for one in reply.cards] == ["done"]


async def test_the_owner_approves_on_the_page_what_they_asked_for_in_the_terminal(
    bot_home: BotHome,
) -> None:
    owner = Person("terminal", "owner")
    source = LateScheduleSource()
    policy = allow_list(frozenset({"web", "terminal"}))
    async with bot_home.open(sources=[source], policy=policy) as ponte:
        source.open(ponte.engine)
        call = f"call schedule_propose {json.dumps(WEEKLY)}"
        message = make_message(call, "t1", "main", owner, False)
        (card,) = (await ponte.ask_message(message)).cards
        for person in (ANA, replace(owner, platform="web")):
            click = make_message(f"approve {card.id}", person.key, "C1", person, False)
            answer = await ponte.ask_message(replace(click, is_click=True))
            assert (answer.status == "done") == (person.id == "owner"), person
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.id, entry.owner) == (card.id, owner)


async def test_an_admin_can_deny_it_and_it_expires(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        card = await proposed_card(ponte, "k1")
        reply = await says(ponte, f"deny {card.id}", "k2", BOSS)
        assert "Denied by Bea." in reply.text
        again = await says(ponte, f"approve {card.id}", "k3")
        assert "Denied by Bea." in again.text
        card = await proposed_card(ponte, "k4")
        bot_home.clock.now += 25 * 3600
        late = await says(ponte, f"approve {card.id}", "k5", clicked=True)
        assert (late.status, late.code) == ("failed", "expired")
        assert await ponte.engine.schedules.store.list_matching(ScheduleFilter()) == []


async def test_a_time_that_has_passed_or_a_full_list_leaves_the_card_open(
    bot_home: BotHome,
) -> None:
    async with open_bot(bot_home) as ponte:
        at = datetime.fromtimestamp(bot_home.clock.now + 3600, ZoneInfo("Europe/Paris"))
        soon = await proposed_card(ponte, "k1", when=f"{at:%Y-%m-%dT%H:%M}")
        bot_home.clock.now += 2 * 3600
        late = await says(ponte, f"approve {soon.id}", "k2", clicked=True)
        assert (late.code, "has passed" in late.text) == ("bad_schedule", True)
        card = await proposed_card(ponte, "k3")
        schedules = ponte.engine.schedules
        first = await add_schedule(ponte, "k4")
        config: Any = schedules.config
        config.schedule_limits = ScheduleLimits(per_person=1)
        full = await says(ponte, f"approve {card.id}", "k5", clicked=True)
        assert (full.code, "the limit for each person" in full.text) == ("bad_schedule", True)
        for id in (soon.id, card.id):
            assert (await ponte.engine.changes.ledger.get(id)).state == "open"
        await schedules.store.delete(first)
        await says(ponte, f"approve {card.id}", "k6", clicked=True)
        assert (await schedules.store.get(card.id)).state == "active"


async def test_an_edit_waits_beside_the_running_version(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        before = await store.get(id)
        edit = await proposed_card(ponte, "k2", what="EVIL", when="10:00", replaces=id)
        assert edit.title == f"Change schedule {id}: Reminder: EVIL"
        former = (
            "Current schedule, until you approve the change: Reminder: Post the *report* "
            "(every week on Monday at 9:00"
        )
        assert former in edit.text
        stale = await proposed_card(ponte, "k3", what="Other", replaces=id)
        assert await store.get(id) == before
        reply = await says(ponte, f"approve {edit.id}", "k4", clicked=True)
        assert "until you approve" not in reply.cards[0].text
        response = await store.get(id)
        assert (response.draft.text, response.draft.rule.cron) == ("EVIL", "0 10 * * MON")
        late = await says(ponte, f"approve {stale.id}", "k5", clicked=True)
        assert "has since changed" in late.text
        assert await store.get(id) == response
        await says(ponte, f"schedule {id} pause", "k6")
        undone = await says(ponte, f"undo {edit.id}", "k7")
        assert "Undone" in undone.text
        former_again = await store.get(id)
        assert (former_again.draft, former_again.state) == (before.draft, "paused")


async def test_a_new_schedule_and_a_deletion_can_be_undone(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        assert "Undone" in (await says(ponte, f"undo {id}", "k2")).text
        assert await store.list_matching(ScheduleFilter()) == []
        id = await add_schedule(ponte, "k3")
        before = await store.get(id)
        card = await proposed_card(ponte, "k4", kind="delete", what="", replaces=id)
        assert card.title == f"Delete schedule {id}: Reminder: Post the *report*"
        assert await store.get(id) == before
        await says(ponte, f"approve {card.id}", "k5", clicked=True)
        assert await store.list_matching(ScheduleFilter()) == []
        assert "Undone" in (await says(ponte, f"undo {card.id}", "k6")).text
        back = await store.get(id)
        assert (back.draft, back.owner, back.state) == (before.draft, before.owner, "active")
        edit = await proposed_card(ponte, "k7", when="10:00", replaces=id)
        await says(ponte, f"approve {edit.id}", "k8", clicked=True)
        reply = await says(ponte, f"undo {card.id}", "k9")
        assert "already undone" in reply.text


@pytest.mark.parametrize("state", ["active", "paused", "ended"])
async def test_a_change_and_its_undo_keep_the_state_that_holds_when_they_are_made(
    bot_home: BotHome, state: ScheduleState
) -> None:
    """A person pauses the schedule, or it ends, while the card waits."""
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        edit = await proposed_card(ponte, "k2", when="10:00", replaces=id)
        await set_state(ponte, id, state)
        reply = await says(ponte, f"approve {edit.id}", "k3", clicked=True)
        after = "paused" if state == "paused" else "active"
        assert (await store.get(id)).state == after, "an edit lets an ended one run again"
        assert ("resume" in reply.cards[0].text) == (state == "paused")
        assert "Undone" in (await says(ponte, f"undo {edit.id}", "k4")).text
        assert (await store.get(id)).state == state
        deletion = await proposed_card(ponte, "k5", kind="delete", what="", replaces=id)
        if state != "ended":
            await set_state(ponte, id, "active" if state == "paused" else "paused")
            await set_state(ponte, id, state)
        await says(ponte, f"approve {deletion.id}", "k6", clicked=True)
        assert "Undone" in (await says(ponte, f"undo {deletion.id}", "k7")).text
        assert (await store.get(id)).state == state
        if state != "active":
            assert await store.earliest_due() is None


async def test_the_undo_of_an_edit_starts_no_run_of_a_schedule_that_ended_since(
    bot_home: BotHome,
) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        edit = await proposed_card(ponte, "k2", when="10:00", replaces=id)
        await says(ponte, f"approve {edit.id}", "k3", clicked=True)
        await set_state(ponte, id, "ended")
        assert "Undone" in (await says(ponte, f"undo {edit.id}", "k4")).text
        response = await store.get(id)
        assert (response.state, response.next_due_at) == ("ended", 0)
        assert response.draft.rule.cron == "0 9 * * MON"


async def test_an_edited_schedule_is_not_deleted_by_undo(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        edit = await proposed_card(ponte, "k2", when="10:00", replaces=id)
        await says(ponte, f"approve {edit.id}", "k3", clicked=True)
        reply = await says(ponte, f"undo {id}", "k4")
        assert ("Not undone" in reply.text, "has since changed" in reply.text) == (True, True)
        assert (await store.get(id)).draft.rule.cron == "0 10 * * MON"


async def test_a_new_proposal_replaces_an_open_one(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        first = await proposed_card(ponte, "k1")
        second = await proposed_card(ponte, "k2", what="", when="10:00", replaces=first.id)
        assert second.title == first.title
        reply = await says(ponte, f"approve {first.id}", "k3", clicked=True)
        assert [card.state for card in reply.cards] == ["withdrawn"]
        await says(ponte, f"approve {second.id}", "k4", clicked=True)
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.id, entry.draft.rule.cron) == (second.id, "0 10 * * MON")


@pytest.mark.parametrize(
    ("bot_home", "is_written"),
    [("home", True), ("home", False), ("postgres", True)],
    indirect=["bot_home"],
)
async def test_a_crash_before_the_record_makes_one_schedule(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """The process dies after, or before, it writes the schedule."""
    put, event = Schedules.put, asyncio.Event()

    async def die(store: Schedules, *arguments: Any) -> Any:
        if is_written:
            await put(store, *arguments)
        event.set()
        raise Draining

    async def hold(*_: Any, **more: Any) -> Any:
        raise Draining

    async with open_bot(bot_home) as ponte:
        card = await proposed_card(ponte, "k1")
        monkeypatch.setattr(Schedules, "put", die)
        monkeypatch.setattr(ChangeRunner, "_read_back", hold)
        click = on_slack(f"approve {card.id}", "k2", clicked=True)
        receipt = await ponte.engine.conversations.inbox.accept(click)
        await event.wait()
    monkeypatch.undo()
    async with open_bot(bot_home) as ponte:
        answer = await ponte.wait_for_answer(receipt)
        assert [one.state for one in answer.cards] == ["done"]
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.id, entry.revision) == (card.id, card.id)


async def test_commands_manage_it(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:

        async def read(text: str, key: str, **more: Any) -> str:
            return (await says(ponte, text, key, **more)).text

        assert "The demo model can't create any" in await read("schedules", "k0")
        id = await add_schedule(ponte, "k1")
        assert rf"`{id}` Reminder: Post the \*report\*" in await read("schedules", "k3")
        assert "Paused." in await read(f"schedule {id} pause", "k4")
        assert "Started." in await read(f"agendamento {id} resume", "k5")
        assert "The run has started." in await read(f"schedule {id} run", "k7")
        run = (await ponte.engine.schedules.store.list_runs(id))[0]
        answer = await ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert "Post the *report*" in answer.text
        await ponte.engine.schedules.store.settle_runs()
        assert "done" in await read(f"schedule {id} show", "k8")
        assert "Only Mia" in await read(f"schedule {id} delete", "k9", person=OTHER, thread="tU1")
        assert "Deleted." in await read(f"schedule {id} delete", "k10")
        assert f"Schedule {id} not found." in await read(f"schedule {id} show", "k11")
        assert "schedule it" in await read("schedule it for me", "k12"), "a message for the model"


async def test_wrong_values_are_told_to_the_model(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        wrong: list[dict[str, Any]] = [
            {"when": "* * * * *"},
            {"when": "0 9 * *"},
            {"when": ""},
            {"when": "10:00"},
            {"when": "tomorrow"},
            {"when": "2020-01-01T10:00"},
            {"zone": "Mars/Base"},
            {"what": "  "},
            {"kind": "command", "what": "rm -rf"},
            {"ends": "never"},
            {"replaces": "zzzzz7"},
            {"when": "0 9 30 2 *"},
            {"when": "2030-02-30T09:00"},
            {"when": "2030-03-10T02:30", "zone": "America/New_York"},
        ]
        for number, values in enumerate(wrong):
            answer = await propose(ponte, f"k{number}", **values)
            assert answer.cards == (), values
        assert await ponte.engine.schedules.store.list_matching(ScheduleFilter()) == []


async def test_the_card_tells_which_days_and_times_do_not_exist(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        zone = "America/New_York"
        card = await proposed_card(ponte, "k1", when="30 2 29-31 * *", zone=zone)
        assert "no day 30 in February; no day 31 in February, April" in card.text
        card = await proposed_card(ponte, "k2", when="30 2 * * SAT-MON", zone=zone)
        assert "every week on Monday, Saturday, and Sunday" in card.text
        assert "When the clocks change: Sunday, March " in card.text.replace("\u202f", " ")


async def test_an_edit_keeps_what_is_left_empty(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        day = f"{datetime.now(UTC).year + 2}-05-04"
        empty = {"kind": "ask", "what": "", "when": "", "zone": None}
        for number, (first, values, expected) in enumerate((
            ({}, {"when": "10:30"}, ("30 10 * * MON", "Europe/Paris", 0)),
            ({}, {"zone": "UTC", "ends": "5"}, ("0 9 * * MON", "UTC", 5)),
            ({"when": f"{day}T08:00"}, {"when": "9:05"}, (f"{day} 09:05", "Europe/Paris", 0)),
        )):  # fmt: skip
            id = await add_schedule(ponte, f"a{number}", **first)
            edit = await proposed_card(ponte, f"b{number}", **empty | values, replaces=id)
            draft = await draft_of(ponte, edit.id)
            zone = ZoneInfo(draft.time_zone)
            at = datetime.fromtimestamp(draft.rule.run_at, zone).strftime("%Y-%m-%d %H:%M")
            assert (draft.rule.cron or at, draft.time_zone, draft.max_runs) == expected, values
            assert (draft.kind, draft.text) == ("post", WEEKLY["what"]), values


async def test_an_edit_replaces_or_removes_the_end(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        last_day = f"{datetime.now(UTC).year + 1}-05-04"
        id = (await proposed_card(ponte, "k0", ends=last_day)).id
        for number, (ends, expected) in enumerate(
            ((None, (True, 0)), ("5", (False, 5)), (last_day, (True, 0)), ("0", (False, 0)))
        ):
            id = (await proposed_card(ponte, f"k{number + 1}", ends=ends, replaces=id)).id
            draft = await draft_of(ponte, id)
            assert (draft.ends_at > 0, draft.max_runs) == expected, ends


async def test_an_edit_says_which_runs_count(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store

        id = await add_schedule(ponte, "k1", ends="3")
        schedule = await store.get(id)
        await store.advance(schedule, DuePlan(schedule.next_due_at, schedule.next_due_at + 1))
        reply = await says(ponte, f"schedule {id} show", "s1")
        assert "Ends after 3 runs. 1 has already started." in reply.text
        edit = await proposed_card(ponte, "k2", when="10:00", replaces=id)
        assert "Ends after 3 runs. 1 has already started." in edit.text
        (dates,) = re.findall("Next dates: .*", edit.text)
        assert dates.count("Monday") == 2, "the two that are left"
        await says(ponte, f"approve {edit.id}", "k3", clicked=True)
        assert (await store.get(id)).runs == 1
        limit = await proposed_card(ponte, "k4", ends="5", replaces=id)
        assert "Ends after 5 runs.\nEarlier runs don't count." in limit.text
        await says(ponte, f"approve {limit.id}", "k5", clicked=True)
        assert (await store.get(id)).runs == 0
        reply = await says(ponte, f"schedule {id} show", "s2")
        assert "Ends after 5 runs.\n" in reply.text
        await says(ponte, f"undo {limit.id}", "k6")
        deletion = await proposed_card(ponte, "k7", kind="delete", what="", replaces=id)
        await says(ponte, f"approve {deletion.id}", "k8", clicked=True)
        await says(ponte, f"undo {deletion.id}", "k9")
        response = await store.get(id)
        assert (response.draft.max_runs, response.runs) == (3, 1), "both undos restore the count"


async def test_all_schedules_can_be_listed_in_pages(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store, to = ponte.engine.schedules.store, on_slack("", "x").reply_to
        rule = ScheduleRule("0 9 * * *")
        for number in range(45):
            await put_schedule(store, to, ScheduleDraft("post", f"Text {number}", rule, "UTC"))

        first, second, third, fourth = [
            (await says(ponte, text, text)).text
            for text in ("schedules", "agendamentos 2", "planifications 3", "schedules 4")
        ]
        assert "For the next page, type `schedules 2`." in first
        assert [page.count("Text") for page in (first, second, third)] == [20, 20, 5]
        events = {int(matche) for matche in re.findall(r"Text (\d+)", first + second + third)}
        assert events == set(range(45))
        assert "Page 3 of 3." in third
        assert "type" not in third
        assert fourth == "There are only 3 pages of schedules."
        for_model = (await says(ponte, 'call schedule_list {"page": 2}', "m")).text
        assert (for_model.count("Text"), "Page 2 of 3." in for_model) == (20, True)


async def test_a_word_approves_a_long_schedule_only_after_all_of_it(bot_home: BotHome) -> None:
    text = "word " * 200 + "END"
    async with open_bot(bot_home) as ponte:
        id = (await proposed_card(ponte, "k1", what=text)).id
        store = ponte.engine.schedules.store
        for number, name in enumerate((id, f"{id}-1000")):
            reply = await says(ponte, f"approve {name}", f"w{number}")
            assert (reply.status, f"> {text}" in reply.text) == ("failed", True)
        assert await store.list_matching(ScheduleFilter()) == []
        (coded,) = re.findall(r"`(approve \S+)`", reply.text)
        assert (await says(ponte, coded, "k4")).status == "done"
        assert (await store.get(id)).state == "active"


async def test_a_program_changes_no_schedule(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        store = ponte.engine.schedules.store
        id = await add_schedule(ponte, "k1")
        before = await store.get(id)
        program = replace(MEMBER, is_bot=True, api_token="t7")
        for replacements in (id, None):
            values = WEEKLY | {"what": "EVIL", "replaces": replacements}
            call = f"call schedule_propose {json.dumps(values)}"
            answer = await says(ponte, call, f"k3{replacements}", program)
            assert answer.cards == ()
        for action in ("pause", "resume", "run", "delete"):
            word = f"schedule {id} {action}"
            assert (await says(ponte, word, action, program)).text == (f"You said: {word}")
            press = on_slack(word, f"press-{action}", program, clicked=True)
            refusal = await ponte.ask_message(press)
            assert refusal.status == "failed", action
        assert await store.get(id) == before
        lines, _ = await ponte.engine.people.audit.read(event="schedule-refused")
        assert [line["api_token"] for line in lines] == ["t7"] * 5


async def test_the_whole_text_is_on_the_card(bot_home: BotHome) -> None:
    async with open_bot(bot_home) as ponte:
        for number, kind in enumerate(("post", "ask", "command")):
            lines = [f"line {n} of {kind}" for n in range(150)]
            what = "\n".join(["quick-command tidy" if kind == "command" else "Do", *lines])
            card = await proposed_card(ponte, f"k{number}", kind=kind, what=what)
            await says(ponte, f"approve {card.id}", f"a{number}", clicked=True)
            reply = await says(ponte, f"schedule {card.id} show", f"s{number}")
            for text in (card.text, reply.text):
                assert [line for line in lines if f"> {line}" not in text] == []
            assert card.is_whole


@pytest.mark.parametrize(
    "place", [{"channel": "D1", "thread": "", "shared": False}, {"channel": "C2", "thread": "t2"}]
)
async def test_a_schedule_of_another_place_is_not_shown_to_the_readers_of_a_channel(
    bot_home: BotHome, place: dict[str, Any]
) -> None:
    async with open_bot(bot_home) as ponte:
        call = f"call schedule_propose {json.dumps(WEEKLY | {'what': 'PRIVATE'})}"
        (card,) = (await says(ponte, call, "k1", **place)).cards
        replacing = await propose(ponte, "k2", what="", when="10:00", replaces=card.id)
        await says(ponte, f"approve {card.id}", "k3", clicked=True, **place)
        edit = await propose(ponte, "k4", what="", when="10:00", replaces=card.id)
        for answer in (replacing, edit):
            assert ("Other people can read" in answer.text, answer.cards) == (True, ())
        for number, (word, person) in enumerate(
            (("pause", MEMBER), ("resume", MEMBER), ("pause", BOSS), ("delete", BOSS))
        ):
            text = f"schedule {card.id} {word}"
            answer = await says(ponte, text, f"s{number}", person)
            assert ("PRIVATE" in answer.text, answer.is_private) == (True, True), word
        public = await add_schedule(ponte, "k5")
        assert not (await says(ponte, f"schedule {public} pause", "k6")).is_private


async def test_a_new_version_of_an_edit_begins_from_the_schedule_as_it_is_now(
    bot_home: BotHome,
) -> None:
    async with open_bot(bot_home) as ponte:
        id = await add_schedule(ponte, "k1")
        older = await proposed_card(ponte, "k2", what="Older", when="", replaces=id)
        newer = await proposed_card(ponte, "k3", what="Newer", when="", replaces=id)
        await says(ponte, f"approve {newer.id}", "k4", clicked=True)
        again = await proposed_card(ponte, "k5", what="", when="10:00", replaces=older.id)
        assert "Current schedule, until you approve the change: Reminder: Newer" in again.text
        reply = await says(ponte, f"approve {older.id}", "k6", clicked=True)
        assert [card.state for card in reply.cards] == ["withdrawn"]
        await says(ponte, f"approve {again.id}", "k7", clicked=True)
        response = await ponte.engine.schedules.store.get(id)
        assert (response.draft.text, response.draft.rule.cron) == ("Older", "0 10 * * MON")


async def test_lists_show_the_text_of_a_schedule_as_it_is_until_erased(
    bot_home: BotHome,
) -> None:
    async with open_bot(bot_home) as ponte:
        id = await add_schedule(ponte, "k1", what="**Denied by Bea.** ||x|| `")
        words = ("schedules", "changes", f"schedule {id} show", f"schedule {id} delete")
        for number, word in enumerate(words):
            text = (await says(ponte, word, f"s{number}")).text
            assert r"Reminder: \*\*Denied by Bea.\*\* \|\|x\|\| \`" in text, word
        await says(ponte, "forget yes", "k2")
        change = await ponte.engine.changes.ledger.get(id)
        assert ponte.engine.changes.views.builder.build_title(change) == "Schedule"
