"""What must not silence an alert, make it speak twice, or make it another one than on its card."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.messages import encode_json
from core.schedules import looks
from core.schedules.alerts import MAX_FAILED_LOOKS, AlertState, read_state
from core.schedules.looks import LOOKS_AT_ONCE
from core.schedules.runs import close_schedules
from core.schedules.schedule import BadSchedule, ScheduleFilter
from tests.dialogues.bot_home import BotHome, also_on_postgres
from tests.dialogues.decisions import RIGHTS, says
from tests.dialogues.test_alerts import (
    DAY,
    INTERVAL,
    OVER_20,
    OrdersWatch,
    stop_timer,
    watch,
)
from tests.dialogues.test_run_again import UNPAID, office
from tests.fakes.gate import Gate
from tests.fakes.nocodb import call
from tests.fakes.schedules import LateScheduleSource

SOON = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"


@pytest.mark.parametrize(
    "values", [{"ends": "0"}, {"ends": "2"}, {"ends": SOON}, {"when": f"{SOON}T10:00"}]
)
async def test_it_ends_with_its_last_look(bot_home: BotHome, values: dict[str, str]) -> None:
    async with watch(bot_home, what="r1 count > 20 now", **values) as w:
        id, scheduling = (await w.approve()).id, w.ponte.engine.schedules
        for _ in range(3):
            alert = await w.store.get(id)
            now = alert.draft.ends_at or alert.next_due_at
            vars(w.store)["_clock"] = lambda now=now + 1: now
            await scheduling.scheduler.start_due_runs()
            await asyncio.gather(*scheduling._tasks._running)
        ended = await w.store.get(id)
        is_endless = values == {"ends": "0"}
        assert (ended.state, bool(ended.next_due_at)) == (
            ("active", True) if is_endless else ("ended", False)
        )
        (run,) = await w.store.list_runs(id)
        answer = await w.ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert "Already true: 30" in answer.text


async def test_a_look_that_takes_longer_than_its_interval_still_counts(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        w.pay(*range(1, 25, 2))
        slow = await w.find()
        for alert in (slow, replace(slow, next_due_at=slow.next_due_at + INTERVAL)):
            assert await w.store.begin_look(alert, alert.next_due_at + INTERVAL)
        await w.ponte.engine.schedules.watch.look(slow)
        (post,) = await w.list_posts()
        assert "No longer true: 18" in post
        await w.ponte.engine.schedules.watch.look(alert)
        assert await w.list_posts() == [post], "a look that began beside it tells nothing again"


async def test_slow_looks_do_not_pile_up(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        watching, alert = w.ponte.engine.schedules.watch, await w.find()
        for _ in range(LOOKS_AT_ONCE):
            await watching._places.acquire()
        waiting = len(watching.tasks._running)
        for _ in range(3):
            alert = await w.find()
            await watching.begin(alert, alert.next_due_at + INTERVAL, alert.next_due_at)
        assert len(watching.tasks._running) == waiting + 1
        for _ in range(LOOKS_AT_ONCE):
            watching._places.release()
        await asyncio.gather(*watching.tasks._running)
        assert read_state(await w.find()).looked_at


async def test_an_edge_after_the_clock_was_set_back_is_posted(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        due = (await w.approve()).next_due_at
        w.pay(*range(1, 25, 2))
        assert len(await w.look()) == 1
        await w.forget_last_post()
        w.pay(*range(1, 25, 2), paid=False)
        w.ponte.engine.schedules.watch._shared.clear()
        await w.store._execute("UPDATE schedules SET next_due_at = ?", due)
        await w.look()
        told = [post.splitlines()[2] for post in await w.list_posts()]
        assert sorted(told) == ["No longer true: 18 (before: 30).", "Now true: 30 (before: 18)."]


async def test_the_card_says_that_one_of_its_conditions_is_enough(bot_home: BotHome) -> None:
    large = {"field": "Amount", "op": "gt", "value": "50"}
    query = ("nocodb_query", {"table": "Orders", "filters": [UNPAID, large], "match": "any"})
    calls, late = (query, ("schedule_propose", OVER_20)), LateScheduleSource()
    async with office(bot_home, *calls, policy=RIGHTS, schedules=late) as crm:
        (card,) = (await says(crm.ponte, "Tell me when", "k1")).cards
        assert card.title == "Alert: Orders: Paid = false or Amount > 50 · number of rows over 20"


async def test_rows_that_nocodb_cuts_are_not_watched(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NocoDB may be set to send fewer rows than are asked for."""
    async with watch(bot_home, what="r1 new") as w:
        await w.approve()
        monkeypatch.setattr(call, "PAGE", 25)
        (post,) = await w.look(times=MAX_FAILED_LOOKS + 1)
        assert "I can't check this: Too many rows match" in post


async def test_a_reminder_that_becomes_an_alert_is_counted(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        draft = replace(alert.draft, kind="post", queries="", condition="")
        reminder = replace(alert, id="rem23", revision="first", draft=draft)
        await w.store.put(reminder, "", [alert.owner.key], 20)
        edit = replace(reminder, revision="second", draft=alert.draft)
        with pytest.raises(BadSchedule, match="You have 1 alerts"):
            await w.store.put(edit, "first", [alert.owner.key], 1)


async def test_another_query_with_an_equal_value_begins_anew(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        await w.look()
        for queries, is_known in ((alert.draft.queries, True), ("[]", False)):
            former = await w.find()
            draft = replace(alert.draft, queries=queries)
            edit = replace(former, draft=draft, revision=f"{former.revision}+")
            await w.store.put(edit, former.revision)
            assert bool((await w.find()).watch) is is_known


async def test_equal_edges_at_one_moment_are_asked_once(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert, watching = await w.approve(), w.ponte.engine.schedules.watch
        w.pay(*range(1, 25, 2))
        await watching.look(alert)
        asked = len(w.crm.nocodb.calls)
        await watching.look(replace(alert, id="twin23"))
        assert len(w.crm.nocodb.calls) == asked


async def test_a_field_that_is_gone_is_named_by_its_title(bot_home: BotHome) -> None:
    async with watch(bot_home, what="r1 sum of Amount > 20") as w:
        await w.approve()
        orders = w.crm.orders
        orders.fields.remove(orders.field("Amount"))
        w.crm.clock[0] += DAY
        (post,) = await w.look(times=MAX_FAILED_LOOKS + 1)
        assert "I can't check this: Field \\`Amount\\` not found in the table Orders." in post


async def test_a_renamed_field_that_the_answer_did_not_show_is_still_read(
    bot_home: BotHome,
) -> None:
    query = ("nocodb_query", {"table": "Orders", "filters": [UNPAID], "fields": ["Title"]})
    proposal = ("schedule_propose", {**OVER_20, "what": "r1 sum of Amount > 20"})
    late = LateScheduleSource()
    async with office(bot_home, query, proposal, policy=RIGHTS, schedules=late) as crm:
        stop_timer(crm.ponte)
        w = OrdersWatch(crm.ponte, crm)
        alert = await w.approve()
        assert "sum of Amount over 20" in alert.draft.text
        amount = crm.orders.field("Amount")
        for row in crm.orders.rows.values():
            row["Sum"] = row.pop("Amount", None)
        object.__setattr__(amount, "title", "Sum")
        crm.clock[0] += DAY
        await w.look()
        assert read_state(await w.find()).value == "1,350"


async def test_a_request_that_is_handled_again_after_a_crash_posts_once(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        for now in (alert.next_due_at, alert.next_due_at + 1):
            vars(w.store)["_clock"] = lambda now=now: now
            await w.store.run_now(alert.id, "slack:run", alert.owner)
            await w.look()
        (post,) = await w.list_posts()
        assert "Now: 30" in post


@also_on_postgres
@pytest.mark.parametrize("what", ["r1 count > 20", "r1 new", "r1 count changes 5"])
async def test_a_post_that_an_allowance_refuses_is_told_later_once(
    bot_home: BotHome, what: str
) -> None:
    async with watch(bot_home, what=what) as w:
        await w.approve()
        w.pay(*range(1, 25, 2))
        w.crm.orders.create({"Title": "New", "Paid": False})
        with w.used_up_allowance():
            assert await w.look(times=3) == [""]
        ((_, run),) = await w.store.list_unreported()
        assert (run.state, run.reason) == ("skipped", "allowance")
        assert await w.look() == [], "an hour has not passed"
        await w.forget_last_post()
        (post,) = await w.look(times=3)
        assert "(before: 30)" in post or "1 new row" in post


async def test_a_post_that_was_refused_before_an_edit_is_told_later(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        w.pay(*range(1, 25, 2))
        paused = Gate()
        with w.used_up_allowance(paused):
            looked = asyncio.ensure_future(w.look())
            await paused.wait_until_reached()
            draft = replace((await w.find()).draft, time_zone="America/Lima")
            edit = replace(await w.find(), draft=draft, revision="second")
            await w.store.put(edit, alert.revision)
            paused.release()
            await looked
        await w.forget_last_post()
        (post,) = await w.look(times=3)
        assert "No longer true: 18 (before: 30)" in post


@also_on_postgres
@pytest.mark.parametrize("what", ["r1 count > 20", "r1 new"])
async def test_what_was_posted_since_the_backup_is_not_posted_again(
    bot_home: BotHome, what: str
) -> None:
    async with watch(bot_home, what=what) as w:
        alert = await w.approve()
        w.pay(*range(1, 25, 2))
        w.crm.orders.create({"Title": "New", "Paid": False})
        await w.ponte.engine.stores.database.write(lambda c: close_schedules(c, alert.created_at))
        await w.store.resume(alert.id)
        assert await w.look(times=2) == []
        w.pay(*range(1, 25, 2), paid=False)
        w.crm.orders.create({"Title": "Newer", "Paid": False})
        (post,) = await w.look()
        assert "Now true: 32 (before: 19)" in post or "13 new rows" in post


@pytest.mark.parametrize(
    "condition", ["", '{"value": "co', '{"value": "count"}', '{"value": "count", "limit": "x"}']
)
async def test_a_damaged_condition_is_told_and_stops_no_other_alert(
    bot_home: BotHome, condition: str
) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        other = replace(alert, id="other2", revision="other2")
        await w.store._execute("UPDATE schedules SET condition = ?, watch = '[{'", condition)
        assert "Last check" not in (await says(w.ponte, "alerts", "k5")).text
        (post,) = await w.look(times=MAX_FAILED_LOOKS + 1)
        assert "I can't check this: This question is no longer stored." in post
        await w.store.put(other, "")
        w.pay(*range(1, 25, 2))
        vars(w.store)["_clock"] = lambda: other.next_due_at + DAY
        for _ in range(2):
            await w.ponte.engine.schedules.scheduler.start_due_runs()
            await asyncio.gather(*w.ponte.engine.schedules._tasks._running)
            due = (await w.store.get("other2")).next_due_at
            vars(w.store)["_clock"] = lambda due=due: due
        (run,) = await w.store.list_runs("other2")
        answer = await w.ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert "No longer true: 18" in answer.text


async def put_alerts(w: OrdersWatch, count: int) -> float:
    """Store alerts like the approved one, and return when they are all due."""
    alert = await w.approve()
    for number in range(count - 1):
        id = f"more{number}"
        await w.store.put(replace(alert, id=id, revision=id), "")
    return alert.next_due_at


async def test_many_alerts_that_are_due_at_once_ask_once_and_all_post(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        due = await put_alerts(w, 60)
        w.pay(*range(1, 25, 2))
        vars(w.store)["_clock"] = lambda: due
        monkeypatch.setattr(looks, "ALERT_LOOK_PAUSE_SECONDS", 0.0)
        asked = len(w.crm.nocodb.calls)
        await w.ponte.engine.schedules.scheduler.start_due_runs()
        await asyncio.gather(*w.ponte.engine.schedules._tasks._running)
        alerts = await w.store.list_matching(ScheduleFilter())
        assert [read_state(alert).value for alert in alerts] == ["18"] * 60
        for alert in alerts:
            (run,) = await w.store.list_runs(alert.id)
            assert run.seq
        calls = len(w.crm.nocodb.calls) - asked
        assert 0 < calls < 10


async def test_no_message_waits_behind_many_looks(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        due = await put_alerts(w, 3 * LOOKS_AT_ONCE)
        vars(w.store)["_clock"] = lambda: due
        monkeypatch.setattr(looks, "ALERT_LOOK_PAUSE_SECONDS", 3600.0)
        await w.ponte.engine.schedules.scheduler.start_due_runs()
        assert len(w.ponte.engine.schedules._tasks._running) > LOOKS_AT_ONCE
        w.crm.model.calls = ()
        assert (await says(w.ponte, "Hello", "k9")).text == "Here."


@pytest.mark.slow
@pytest.mark.parametrize("bot_home", ["postgres"], indirect=True)
async def test_two_processes_that_look_at_one_moment_post_once(bot_home: BotHome) -> None:
    async with watch(bot_home) as w, bot_home.taking().open(policy=RIGHTS) as other:
        alert = await w.approve()
        stores = (w.store, other.engine.schedules.store)
        next_due_at = alert.next_due_at + INTERVAL
        begun = await asyncio.gather(*(store.begin_look(alert, next_due_at) for store in stores))
        assert sorted(begun) == [False, True]
        state = encode_json(AlertState("18", base="18"))
        await asyncio.gather(*(store.end_look(alert, state, "18") for store in stores))
        assert await w.list_posts() == ["18"]
