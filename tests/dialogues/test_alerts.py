"""Alerts in a conversation: the model proposes, the owner approves, code looks and posts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from bot.features.schedules.operations import (
    delete_schedule,
    pause_schedule,
    resume_schedule,
    run_schedule,
)
from bot.health import HealthBoard, PartHealth
from bot.reports import describe_changes, report_pending
from core.base.errors import OverBudget
from core.base.i18n import use_locale
from core.changes.approval import TableRule, TableRules
from core.domain.messages import Card, Person, encode_json
from core.domain.rights import Verdict
from core.domain.rows import Chart
from core.people.rules import Rule, RuleBook
from core.schedules import alerts, looks
from core.schedules.alerts import MAX_FAILED_LOOKS, read_state
from core.schedules.rows import Schedules
from core.schedules.runs import ScheduleReports
from core.schedules.schedule import LATE_SECONDS, Schedule, ScheduleFilter, ScheduleLimits
from tests.core.tools.scene import make_tool_context
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import BOSS, OTHER, RIGHTS, says
from tests.dialogues.test_run_again import UNPAID, Office, office
from tests.fakes.config import fixed_rules
from tests.fakes.gate import Gate
from tests.fakes.schedules import LateScheduleSource

QUERY = ("nocodb_query", {"table": "Orders", "filters": [UNPAID], "fields": ["Title", "Amount"]})
OVER_20 = {
    "kind": "alert",
    "what": "r1 count > 20",
    "when": "*/5 * * * *",
    "zone": "UTC",
    "ends": None,
    "replaces": None,
}
INTERVAL, DAY = 300.0, 86_400.0


@dataclass(frozen=True)
class Watch:
    ponte: RunningBot

    @property
    def store(self) -> Schedules:
        return self.ponte.engine.schedules.store

    async def propose(self) -> Card:
        answer = await says(self.ponte, "Tell me when", "k1")
        assert answer.cards, answer.text
        return answer.cards[0]

    async def approve(self) -> Schedule:
        card = await self.propose()
        await says(self.ponte, f"approve {card.id}", "k2", clicked=True)
        return await self.find()

    async def find(self) -> Schedule:
        states = ScheduleFilter(states=("active", "paused"))
        (alert,) = await self.store.list_matching(states)
        return alert

    async def look(self, *, times: int = 1) -> list[str]:
        """Look as the timer does, at the time that is due. Return the texts of new posts."""
        posts = await self.list_posts()
        for _ in range(times):
            await self.ponte.engine.schedules.watch.look(await self.begin())
        return (await self.list_posts())[len(posts) :]

    async def begin(self) -> Schedule:
        alert = await self.find()
        # On Postgres, a post that ends now may have the row.
        while not await self.store.begin_look(alert, alert.next_due_at + INTERVAL):
            alert = await self.find()
        return alert

    async def list_posts(self) -> list[str]:
        runs = await self.store.list_runs((await self.find()).id, 50)
        inbox = self.ponte.engine.conversations.inbox
        return [(await inbox.wait_for_answer(run.seq)).text for run in reversed(runs) if run.seq]

    async def forget_last_post(self) -> None:
        """As after an hour."""
        alert = await self.begin()
        state = replace(read_state(alert), posted_at=0.0, failed_at=0.0, refused_at=0.0)
        await self.store.end_look(alert, encode_json(state))

    @contextmanager
    def used_up_allowance(self, gate: Gate | None = None) -> Iterator[None]:
        """At the gate, the post waits before it is refused."""

        async def refuse(_: object) -> None:
            if gate:
                await gate.wait()
            raise OverBudget

        budget = vars(self.ponte.engine.people.budget)
        budget["reserve"] = refuse
        yield
        del budget["reserve"]

    def hide_orders(self) -> None:
        config = self.ponte.engine.assistant.contexts.approval.config
        vars(config)["table_rules"] = TableRules({"Orders": TableRule(access="hidden")})


@dataclass(frozen=True)
class OrdersWatch(Watch):
    crm: Office

    def pay(self, *orders: int, paid: bool = True) -> None:
        for order in orders:
            self.crm.orders.update(order, {"Paid": paid})


def stop_timer(ponte: RunningBot) -> None:
    """From now on, only the test looks, whatever the time is."""
    (timer,) = [task for task in ponte.engine._tasks if task.get_name() == "schedules"]
    timer.cancel()


@asynccontextmanager
async def watch(bot_home: BotHome, **values: object) -> AsyncIterator[OrdersWatch]:
    calls = (QUERY, ("schedule_propose", OVER_20 | values))
    async with office(bot_home, *calls, policy=RIGHTS, schedules=LateScheduleSource()) as crm:
        stop_timer(crm.ponte)
        yield OrdersWatch(crm.ponte, crm)


@also_on_postgres
async def test_it_speaks_once_at_each_edge(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        card = await w.propose()
        assert card.title == "Alert: Orders: Paid = false · number of rows over 20"
        for words in ("> Orders: Paid = false", "every 5 minutes", "uses no tokens", "Now: 30. "):
            assert words in card.text
        press = await says(w.ponte, f"approve {card.id}", "k3", OTHER, thread="tU1", clicked=True)
        assert press.code == "forbidden"
        await says(w.ponte, f"approve {card.id}", "k4", clicked=True)
        rounds = len(w.crm.model.asks)
        assert await w.look(times=3) == [], "it was true on the card"
        w.pay(*range(1, 25, 2))
        (post,) = await w.look(times=2)
        assert post.startswith(
            "**Orders: Paid = false · number of rows over 20**\n\nNo longer true: 18 (before: 30)."
        )
        assert post.count("\n| ") == 12, "a heading, its line and ten rows"
        assert "Source: Orders, Paid isn't checked: 10 of 18 rows" in post
        assert len(w.crm.model.asks) == rounds


async def test_a_dance_is_told_once_an_hour(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        w.pay(*range(1, 25, 2))
        await w.look()
        for paid in (False, True, False):
            w.pay(*range(1, 25, 2), paid=paid)
            assert await w.look() == [], "an hour has not passed"
        await w.forget_last_post()
        (post,) = await w.look(times=2)
        assert "Now true: 30 (before: 18)." in post
        assert "The value has crossed the limit 3 times since my last post." in post


@pytest.mark.parametrize(("now", "count"), [("", 0), (" now", 1)])
async def test_a_condition_that_is_true_already_is_posted_if_asked(
    bot_home: BotHome, now: str, count: int
) -> None:
    async with watch(bot_home, what=f"r1 count > 20{now}") as w:
        await w.approve()
        is_due_now = (await w.find()).next_due_at <= time.time()
        assert is_due_now is bool(count)
        posts = await w.look(times=2)
        assert len(posts) == count
        assert all("Already true: 30." in post for post in posts)


async def test_a_number_of_the_model_stands_on_the_card_as_it_counts(bot_home: BotHome) -> None:
    """1.000 is one for a program, and a thousand for people who write in Portuguese."""
    async with watch(bot_home, what="r1 count > 1.000") as w:
        assert (await w.propose()).title.endswith("number of rows over 1")


@also_on_postgres
async def test_new_rows_are_shown_once(bot_home: BotHome) -> None:
    async with watch(bot_home, what="r1 new") as w:
        await w.approve()
        w.pay(1, 3)
        assert await w.look() == []
        w.pay(1, paid=False)
        assert await w.look() == [], "it comes back within a day"
        for number in range(12):
            w.crm.orders.create({"Title": f"[New](http://evil.test) {number}", "Paid": False})
        (post,) = await w.look(times=2)
        assert "12 new rows." in post
        assert post.count("evil") == 10
        assert "Order 05" not in post
        assert "http://evil" not in post.replace("`http://evil.test`", "")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"what": "r1 count > many"}, "Unknown alert"),
        ({"what": "r1 count > 10%"}, "Unknown alert"),
        ({"what": "r1 count changes -1"}, "Unknown alert"),
        ({"what": "r1 sum > 20"}, "Unknown alert"),
        ({"what": "r1 max of Due > 20"}, "Only numbers can be compared"),
        ({"what": "r7 count > 20"}, "Unknown alert"),
        ({"what": "r1 sum Title > 2"}, "be computed for the field"),
        ({"what": "r1 sum Nothing > 2"}, "Nothing"),
        ({"when": "* * * * *"}, "The minimum is 5"),
    ],
)
async def test_what_is_refused(bot_home: BotHome, values: dict[str, Any], why: str) -> None:
    async with watch(bot_home, **values) as w:
        assert not (await says(w.ponte, "Tell me", "k1")).cards
        assert why in str(w.crm.model.asks[-1].input)


async def test_an_average_of_nothing_is_no_value(bot_home: BotHome) -> None:
    async with watch(bot_home, what="r1 avg of Amount > 0") as w:
        await w.approve()
        w.pay(*range(1, 61))
        assert await w.look(times=MAX_FAILED_LOOKS - 1) == []
        (post,) = await w.look(times=MAX_FAILED_LOOKS)
        assert "I can't check this: No row has a number in that field." in post
        w.pay(*range(1, 61), paid=False)
        assert await w.look(times=2) == [], "it is true, as before"


async def test_it_waits_for_a_nocodb_that_is_away(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        w.crm.nocodb.fail(1000, 503)
        (post,) = await w.look(times=MAX_FAILED_LOOKS + 3)
        assert "I can't check this: Can't reach NocoDB." in post
        w.crm.nocodb.clear_troubles()
        w.pay(*range(1, 25, 2))
        (post,) = await w.look()
        assert "No longer true: 18" in post


async def test_a_damaged_copy_and_a_tool_that_fails_are_told(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        with monkeypatch.context() as broken:
            tool = await w.ponte.engine.schedules.find_tool("nocodb_summarize")
            broken.setattr(tool, "_function", None)
            (post,) = await w.look(times=MAX_FAILED_LOOKS + 1)
        assert "I can't check this: The table can't be read right now." in post
        assert await w.look() == []
        await w.forget_last_post()
        monkeypatch.setattr(looks, "load_calls", lambda _: ())
        (post,) = await w.look(times=MAX_FAILED_LOOKS + 1)
        assert "This question is no longer stored." in post


async def test_a_table_that_was_hidden_pauses_it_and_shows_nothing(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        assert await w.look() == []
        w.hide_orders()
        listed = await says(w.ponte, "alerts", "k5")
        assert alert.id in listed.text
        assert "Last check" not in listed.text
        assert await w.look() == []
        paused = await w.find()
        assert (paused.state, paused.reason) == ("paused", "rights")
        ((_, run),) = await w.store.list_unreported()
        assert (run.state, run.reason) == ("skipped", "rights")


async def show(_: str) -> None: ...


def forbid_orders(monkeypatch: pytest.MonkeyPatch, person: Person) -> None:
    """In the channel, not in a direct message."""
    channel = frozenset({"slack:T1:C1"})
    rule = Rule("1", frozenset({f"slack:{person.id}"}), channel, deny=("read:Orders",))
    monkeypatch.setattr(RIGHTS, "read_rules", fixed_rules(RuleBook((rule,))))


async def test_who_may_not_read_the_table_there_sees_neither_condition_nor_value(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        await w.look()
        forbid_orders(monkeypatch, OTHER)
        texts = [
            (await says(w.ponte, command, f"k{number}", OTHER, thread="tU1")).text
            for number, command in enumerate(("alerts", f"alert {alert.id} show"), 5)
        ]
        listed = await w.ponte.engine.schedules.list_all(OTHER)
        source = LateScheduleSource()
        source.open(w.ponte.engine)
        texts.append(await source.schedule_list(make_tool_context(OTHER, alert.address, show), 1))
        assert "Alert: a table you can't read here (every 5 minutes)" in texts[0]
        for text in (*texts, str(listed)):
            assert "Paid" not in text
            assert "Last check" not in text
        assert [row["value"] for row in listed] == [""]
        assert ": 30." in (await says(w.ponte, "alerts", "k9")).text


async def test_no_notice_and_no_operation_tells_what_its_reader_may_not_read(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin, and the owner who lost the right: both read that it is paused, and not of what."""

    async def find_admins(names: object) -> list[Person]:
        return [BOSS]

    async with watch(bot_home) as w:
        alert, schedules = await w.approve(), w.ponte.engine.schedules
        assert "Paid" in str(await schedules.show(alert.id, BOSS))
        rule = Rule("1", deny=("read:Orders",))
        monkeypatch.setattr(RIGHTS, "read_rules", fixed_rules(RuleBook((rule,))))
        await w.look()
        ((paused, run),) = await w.store.list_unreported()
        messengers: Any = {"slack": SimpleNamespace(members=find_admins)}
        approval = w.ponte.engine.changes.approval
        reports = ScheduleReports(w.store, messengers, approval, schedules.withhold, show_nothing)
        await reports.report(paused, run)
        for reader in (alert.owner, BOSS):
            (notice,) = await w.ponte.engine.notices.list_waiting(reader)
            with use_locale("fr"):
                words = notice.words()
            assert alert.id in words
            assert words.endswith("une table que vous ne pouvez pas lire ici"), words
            seen = str([words, notice, await schedules.show(alert.id, reader)])
            fake_ponte: Any = w.ponte
            for operate in (resume_schedule, run_schedule, pause_schedule, delete_schedule):
                if operate is delete_schedule and reader != BOSS:
                    continue
                seen += str(await operate(fake_ponte, alert.id, reader))
            assert "Paid" not in seen
            assert "Orders" not in seen


def show_nothing() -> None: ...


async def test_lists_of_operators_name_no_table_that_their_reader_may_not_read(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that wait, and lines of the audit log."""

    async def list_titles(w: Watch, id: str) -> str:
        changes, schedules = w.ponte.engine.changes, w.ponte.engine.schedules
        rows = await report_pending(changes, schedules, BOSS)
        return f"{rows} {await describe_changes(changes, schedules, [id], BOSS)}"

    async with watch(bot_home) as w:
        card = await w.propose()
        assert (await list_titles(w, card.id)).count("Alert: Orders: Paid") == 2
        rule = Rule("1", frozenset({"slack:U9"}), deny=("read:Orders",))
        monkeypatch.setattr(RIGHTS, "read_rules", fixed_rules(RuleBook((rule,))))
        titles = await list_titles(w, card.id)
        assert titles.count("Alert: a table you can't read here") == 2
        assert "Orders" not in titles


async def test_the_home_tab_shows_an_alert_as_its_owner_may_read_it_there(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        board = HealthBoard(PartHealth(()), w.ponte.engine)
        (line,) = (await board.overview(alert.owner, alert.address, "UTC")).schedules
        assert "Orders: Paid = false" in line.text
        forbid_orders(monkeypatch, alert.owner)
        (line,) = (await board.overview(alert.owner, alert.address, "UTC")).schedules
        assert "Orders" not in line.text


async def test_it_looks_with_the_rights_that_its_owner_has_in_its_place(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        forbid_orders(monkeypatch, alert.owner)
        w.pay(*range(1, 25, 2))
        assert await w.look() == []
        paused = await w.find()
        assert (paused.state, paused.reason) == ("paused", "rights")


async def test_rights_that_are_not_known_now_pause_nothing(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        unknown = Verdict(allowed=False, is_unknown=True)
        rights = SimpleNamespace(may=lambda *_: unknown, may_know=lambda *_: False)

        async def find_rights(*_: object) -> object:
            return rights

        policy = SimpleNamespace(rights=find_rights)
        monkeypatch.setattr(w.ponte.engine.schedules.watch, "policy", policy)
        assert await w.look() == []
        alert = await w.find()
        assert (alert.state, read_state(alert).failures) == ("active", 1)


async def test_show_draws_the_last_values_for_those_who_may_read_them(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MAX_STORED_VALUES", 3)
    async with watch(bot_home) as w:
        alert = await w.approve()
        await w.look()
        assert "The last" not in (await says(w.ponte, f"alert {alert.id} show", "k3")).text
        w.pay(*range(1, 25, 2))
        await w.look(times=3)
        shown = await says(w.ponte, f"alert {alert.id} show", "k4")
        assert "\nThe last 3 values: 18 to 18.\n" in shown.text
        w.pay(1, paid=False)
        await w.look()
        (drawing,) = (await says(w.ponte, f"alert {alert.id} show", "k5")).placed
        assert drawing.text == "The last 3 values: 18 to 19."
        assert isinstance(drawing.data, Chart)
        assert drawing.data.series[0].values == (18.0, 18.0, 19.0)
        w.hide_orders()
        assert not (await says(w.ponte, f"alert {alert.id} show", "k6")).placed


async def test_commands(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        ponte, alert = w.ponte, await w.approve()
        assert "No schedules yet." in (await says(ponte, "schedules", "k3")).text
        await w.look()
        assert "Last check (" in (await says(ponte, "alertas", "k4")).text
        assert ": 30." in (await says(ponte, f"alert {alert.id} show", "k5")).text
        reply = await says(ponte, f"alert {alert.id} run", "k6")
        assert reply.text == "I'll post the result there."
        (post,) = await w.look(times=2)
        assert "Now: 30 (before: 30)." in post
        await says(ponte, f"alerta {alert.id} pausar", "k7")
        reply = await says(ponte, f"alert {alert.id} run", "k8")
        assert reply.text == "This alert is paused. Resume it first."
        await says(ponte, f"alert {alert.id} delete", "k9")
        assert not await w.store.list_matching(ScheduleFilter())


@also_on_postgres
async def test_what_a_look_found_and_its_post_are_one(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies between both: neither is stored. Two that look at once post once."""
    async with watch(bot_home) as w:
        await w.approve()
        w.pay(*range(1, 25, 2))
        with monkeypatch.context() as dying:

            def die(*_: object) -> None:
                raise RuntimeError("killed")

            dying.setattr(Schedules, "_queue_run", die)
            with pytest.raises(RuntimeError):
                await w.look()
        assert not (await w.find()).watch
        alert = await w.find()
        begun = [w.store.begin_look(alert, alert.next_due_at + INTERVAL) for _ in range(2)]
        assert sorted(await asyncio.gather(*begun)) == [False, True]
        both = [w.ponte.engine.schedules.watch.look(alert) for _ in range(2)]
        await asyncio.gather(*both)
        assert len(await w.list_posts()) == 1
        await w.ponte.engine.schedules.watch.look(alert)
        assert len(await w.list_posts()) == 1


async def test_equal_looks_at_one_moment_are_asked_once(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        alert = await w.approve()
        twin = replace(alert, id="twin23", owner=OTHER)
        watching = w.ponte.engine.schedules.watch
        before = len(w.crm.nocodb.calls)
        await watching.look(alert)
        asked = len(w.crm.nocodb.calls) - before
        await watching.look(twin)
        assert asked
        assert len(w.crm.nocodb.calls) - before == asked


async def test_alerts_have_a_limit_of_their_own(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        vars(w.ponte.engine.schedules.config)["alerts"] = ScheduleLimits(5, 1)
        await w.approve()
        assert not (await says(w.ponte, "Another one", "k5")).cards
        assert "You have 1 alerts" in str(w.crm.model.asks[-1].input)


async def test_the_timer_looks_when_it_is_due_and_makes_up_no_look(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        scheduling, looked_at = w.ponte.engine.schedules, 0.0
        for late, is_made in ((1.0, True), (LATE_SECONDS + 1, False), (DAY, False), (0.0, True)):
            now = (await w.find()).next_due_at + late
            vars(w.store)["_clock"] = lambda now=now: now
            await scheduling.scheduler.start_due_runs()
            await asyncio.gather(*scheduling._tasks._running)
            alert = await w.find()
            looked_at = now if is_made else looked_at
            assert read_state(alert).looked_at == looked_at
            assert now < alert.next_due_at <= now + INTERVAL
            assert not await w.store.list_unreported(), "nobody is told of a missed look"
