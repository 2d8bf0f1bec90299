"""Runs of schedules in a whole engine: their kinds, rights, allowances, failures and reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, get_args

import pytest

from bot.config.ponte_toml import QuickCommandConfig
from bot.engine import Engine
from core.base.errors import ModelDown, NotAllowed, NotFound, NotStored, PlatformBusy
from core.base.tasks import Backoff
from core.changes.approval import TableRule, TableRules
from core.domain.changes import Draft, RowWrite
from core.domain.messages import Address, Answer, Item, Message, Person, ReplyTo, turn_id
from core.domain.model_rounds import RoundCompleted, RoundRequest
from core.domain.records import Outcome, ToolContext
from core.domain.rights import Effect
from core.money.allowances import Allowance
from core.money.usage import Price, Prices
from core.people.policy import DepartureLookup, PlatformPeople
from core.people.rules import Rule, RuleBook
from core.schedules.runs import UNKNOWN_OWNER_SECONDS, Scheduler
from core.schedules.schedule import (
    BadSchedule,
    ReadableSchedule,
    Schedule,
    ScheduleDraft,
    ScheduleLimits,
    ScheduleRule,
    ScheduleRun,
)
from core.schedules.words import describe_schedule, describe_whole
from core.tools.tool import FunctionTool
from core.turn.origins import PauseReason
from tests.core.turn.test_turn import Scripted, Watched
from tests.fakes.choices import allow_list, make_choices, make_spending, open_engine
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.gate import Gate
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.schedules import put_schedule
from tests.time_limits import Limits

ANA, BO = Person("web", "owner", name="Ana"), Person("web", "bo", name="Bo")
PLACE = Address("web", "C1", is_shared=True)
TO = ReplyTo(PLACE, ANA, "source", "")
MONDAY = datetime.fromisoformat("2027-06-07T08:00:00+00:00").timestamp()
DAILY = ScheduleDraft("post", "Good **morning**!", ScheduleRule("0 9 * * *"), "UTC")
HOUR = 3600.0


@dataclass
class Bot:
    engine: Engine
    clock: Clock
    config: FixedConfig
    reply: Watched

    @property
    def store(self) -> Any:
        return self.engine.schedules.store

    async def start(self, draft: ScheduleDraft = DAILY, by: Person = ANA) -> Schedule:
        return await put_schedule(self.store, replace(TO, asker=by), draft)

    async def run(self, one: Schedule, late: float = 0.0) -> tuple[ScheduleRun, Answer]:
        """Go to its due time and return its run as it ended, with the answer."""
        self.clock.now = (await self.store.get(one.id)).next_due_at + late
        await self.engine.schedules.scheduler.start_due_runs()
        (run,) = await self.store.list_runs(one.id, 1)
        assert run.seq, run
        answer = await self.answer(run.seq)
        await self.engine.schedules.scheduler.start_due_runs()
        return (await self.store.list_runs(one.id, 1))[0], answer

    async def say(self, text: str) -> int:
        """Send a message of Ana in the place; return its number."""
        message = Message(text, text, ANA, PLACE, replace(TO, turn=turn_id(text)))
        return (await self.engine.conversations.inbox.accept(message)).seq

    async def answer(self, seq: int) -> Answer:
        return await self.engine.conversations.inbox.wait_for_answer(seq)

    async def only_run(self, one: Schedule) -> ScheduleRun:
        """Return the only run of a schedule when it has its answer."""
        (run,) = await self.store.list_runs(one.id)
        await self.answer(run.seq)
        return (await self.store.list_runs(one.id))[0]  # type: ignore[no-any-return]

    async def update(self, one: Schedule, column: str, value: str) -> None:
        """Change the stored schedule, past all checks."""

        def write(connection: Any) -> None:
            connection.execute(f"UPDATE schedules SET {column} = ? WHERE id = ?", (value, one.id))

        await vars(self.store)["_database"].write(write)

    async def notices(self, person: Person = ANA) -> list[str]:
        return [one.kind for one in await self.engine.notices.list_waiting(person)]


def fail_to_answer(ask: RoundRequest) -> Any:
    raise ModelDown


def make_writer(told: list[str], before: dict[str, object] | None) -> tuple[Scripted, FunctionTool]:
    """Return a tool that proposes a row, and a model that calls it once in each turn and adds to
    `told` what it is told."""

    async def write(ctx: ToolContext) -> Outcome:
        """Write."""
        row = RowWrite("1" if before else "", before, {"Value": 2})
        kind = "update" if before else "create"
        return await ctx.turn.propose(Draft("memory", kind, {}, "People", (row,)))

    def script(ask: RoundRequest) -> Any:
        outputs = [item.text for item in ask.input if item.kind == "output"]
        told.extend(outputs)
        call = Item("call", call_id="c1", name="write", arguments="{}")
        outcome = Item("message", role="assistant", text="ok")
        return [RoundCompleted((outcome,) if outputs else (call,))]

    return Scripted(script), FunctionTool(write, effect="write", doing="", name="write")


@asynccontextmanager
async def open_bot(
    home: Path,
    model: EchoModel | None = None,
    *tools: FunctionTool,
    limits: ScheduleLimits | None = None,
    allowances: tuple[Allowance, ...] = (),
    tables: TableRules | None = None,
    departures: Mapping[str, DepartureLookup] = MappingProxyType({}),
) -> AsyncIterator[Bot]:
    clock, config, reply = Clock(MONDAY), FixedConfig(), Watched()
    policy = replace(
        allow_list(),
        read_rules=lambda: config.rule_book,
        people=PlatformPeople(departures=dict(departures)),
    )
    spending = make_spending(
        allowances=allowances, prices=Prices({"echo": Price(1.0, 1.0, 1.0, 1.0)})
    )
    parts = [FixedTools(*tools)], policy, [MemoryTable()]
    choices = make_choices(model or EchoModel(), *parts, spending=spending, rules=tables)
    match = limits or ScheduleLimits()
    engine = await open_engine(home, replace(choices, clock=clock, schedule_limits=match))
    engine.platforms.replies["web"] = lambda to, posts: reply
    engine.start()
    yield Bot(engine, clock, config, reply)
    await engine.drain(5)
    await engine.close()


async def test_each_kind_of_run_answers_in_its_place(tmp_path: Path) -> None:
    """A text and a quick command ask no model, and what a run asks is never a command."""
    model = EchoModel()
    async with open_bot(tmp_path, model) as bot:
        post = await bot.start()
        run, answer = await bot.run(post)
        assert (run.state, answer.text) == ("done", "Good **morning**!")
        assert model.asks == []
        run, answer = await bot.run(post, late=2 * HOUR)
        assert run.is_late
        assert answer.text.endswith("it was due on Tuesday, June 8, 2027, 9:00\u202fAM._")
        ask = await bot.start(replace(DAILY, kind="ask", text="forget yes"))
        run, answer = await bot.run(ask)
        assert (run.state, answer.text) == ("done", "You said: forget yes")
        (question,) = model.asks
        assert "A schedule of the asker sent this message now" in question.preface
        await bot.store.delete(ask.id)
        command = await bot.start(replace(DAILY, kind="command", text="quick-command nothing"))
        run, answer = await bot.run(command)
        assert (run.state, answer.code) == ("failed", "not_configured")
        assert len(model.asks) == 1
        with pytest.raises(BadSchedule):
            await bot.engine.schedules.service.check(
                replace(DAILY, kind="command", text="forget yes"), ANA, PLACE, is_new=True
            )


async def test_a_run_reads_its_own_message_and_people_read_the_run(tmp_path: Path) -> None:
    """Its cost does not grow with each run, and who asks about its answer is understood."""
    model = EchoModel()
    async with open_bot(tmp_path, model) as bot:
        threads = bot.engine.conversations.threads

        async def read(number: int) -> list[str]:
            ask = model.asks[number]
            return [item.text for item in (*await ask.history(), *ask.input)]

        await bot.answer(await bot.say("hello"))
        own = await threads.get(PLACE.conversation)
        ask = await bot.start(replace(DAILY, kind="ask", text="report"))
        for _ in range(2):
            await bot.run(ask)
        assert await threads.get(PLACE.conversation) == own, "people continue their own memory"
        await bot.answer(await bot.say("and why?"))
        assert await read(1) == await read(2) == ["report"]
        assert await read(3) == [
            "hello",
            "You said: hello",
            "report",
            "You said: report",
            "report",
            "You said: report",
            "and why?",
        ]
        assert {one.thread.id for one in model.asks} == {model.asks[0].thread.id}


async def test_a_schedule_never_runs_another_command_than_a_quick_command(tmp_path: Path) -> None:
    """Not even if its stored text is another one, as after a change by hand."""
    async with open_bot(tmp_path) as bot:
        journal = bot.engine.conversations.journal
        await bot.answer(await bot.say("hello"))
        one = await bot.start(replace(DAILY, kind="command", text="quick-command nothing"))
        for what in ("forget yes", "hello"):
            await bot.update(one, "text", what)
            run, answer = await bot.run(one)
            assert (run.state, answer.text) == (
                "failed",
                "This schedule has no quick command. Edit it.",
            )
        texts = [entry.message.text for entry in await journal.list_entries(PLACE.conversation)]
        assert "hello" in texts, "nothing was forgotten"


async def test_lost_rights_pause_and_a_used_up_allowance_skips(tmp_path: Path) -> None:
    """Nothing is posted then, and the owner is notified; a later run goes on."""
    model = EchoModel()
    async with open_bot(tmp_path, model, allowances=(Allowance("each person", turns=1),)) as bot:
        ask = await bot.start(replace(DAILY, kind="ask"))
        assert (await bot.run(ask))[0].state == "done"
        run, answer = await bot.run(ask)
        assert (run.state, run.reason, answer.text) == ("skipped", "allowance", "")
        assert (await bot.store.get(ask.id)).state == "active"
        assert await bot.notices() == ["schedule-allowance"]
        post = await bot.start()
        bot.config.rule_book = RuleBook((Rule("rule", deny=("chat",)),))
        run, answer = await bot.run(post)
        assert (run.state, run.reason, answer.text) == ("skipped", "rights", "")
        response = await bot.store.get(post.id)
        assert (response.state, response.reason) == ("paused", "rights")
        assert "schedule-rights" in await bot.notices()
        bot.config.rule_book = RuleBook()
        await bot.engine.schedules.store.resume(post.id, ANA)
        assert (await bot.run(post))[0].reason == "allowance", "posts count, too"
        assert len(model.asks) == 1


@pytest.mark.parametrize("denied", ["spend", "command:report", "propose"])
async def test_a_command_pauses_when_its_owner_may_not_run_it_any_more(
    tmp_path: Path, denied: str
) -> None:
    daily = replace(DAILY, kind="command", text="quick-command report")
    async with open_bot(tmp_path) as bot:
        command = await bot.start(daily)
        config: Any = bot.engine.schedules.config
        config.quick_commands = {"report": QuickCommandConfig(effect="write")}
        bot.config.rule_book = RuleBook((Rule("rule", deny=(denied,)),))
        run, _ = await bot.run(command)
        assert (run.state, run.reason) == ("skipped", "rights")
        assert (await bot.store.get(command.id)).state == "paused"
        assert (await bot.run(await bot.start()))[0].state == "done"
        with pytest.raises(NotAllowed):
            await bot.engine.schedules.service.check(daily, ANA, PLACE, is_new=True)


async def test_a_schedule_that_runs_often_is_reported_once_a_day_for_each_reason(
    tmp_path: Path,
) -> None:
    async with open_bot(tmp_path, allowances=(Allowance("each person", turns=1),)) as bot:
        often = await bot.start(replace(DAILY, rule=ScheduleRule("0 * * * *")))
        assert (await bot.run(often))[0].state == "done"
        for _ in range(20):
            assert (await bot.run(often))[0].reason == "allowance"
        assert await bot.notices() == ["schedule-allowance"] * 2, "MONDAY begins at 8:00"


async def test_an_allowance_of_each_schedule_counts_its_runs_alone(tmp_path: Path) -> None:
    one_dollar = Allowance("each schedule", turns=1)
    async with open_bot(tmp_path, allowances=(one_dollar,)) as bot:
        first = await bot.start(replace(DAILY, kind="ask"))
        second = await bot.start(replace(DAILY, kind="ask", text="the other"))
        assert (await bot.run(first))[0].state == "done"
        (other,) = await bot.store.list_runs(second.id)
        answer = await bot.answer(other.seq)
        assert answer.text == "You said: the other", "it has its own count"
        assert (await bot.run(first))[0].reason == "allowance"


async def test_three_failures_in_a_row_pause_and_are_reported(tmp_path: Path) -> None:
    async with open_bot(tmp_path, Scripted(fail_to_answer)) as bot:
        ask = await bot.start(replace(DAILY, kind="ask"))
        for _ in range(3):
            assert (await bot.run(ask))[0].state == "failed"
        assert (await bot.store.get(ask.id)).reason == "failures"
        assert await bot.notices() == ["schedule-failed", "schedule-failed", "schedule-failures"]


async def test_a_run_changes_no_table_without_a_person(tmp_path: Path) -> None:
    model, tool = make_writer([], None)
    tables = TableRules({"people": TableRule("auto")})
    async with open_bot(tmp_path, model, tool, tables=tables) as bot:
        _, answer = await bot.run(await bot.start(replace(DAILY, kind="ask")))
        assert [card.state for card in answer.cards] == ["open"], answer


@pytest.mark.parametrize("effect", ["write", "read"])
async def test_a_run_with_an_undecided_card_of_an_earlier_run_proposes_nothing(
    tmp_path: Path, effect: Effect
) -> None:
    """Nor by a tool that reads and sees only while it runs that its call needs a card."""
    text = list[str]()
    model, tool = make_writer(text, {"Value": 1})
    tool.effect = effect
    async with open_bot(tmp_path, model, tool) as bot:
        # Hourly: a day later the card would have expired.
        hourly = replace(DAILY, kind="ask", rule=ScheduleRule("0 * * * *"))
        ask = await bot.start(hourly)
        run, answer = await bot.run(ask)
        assert len(answer.cards) == 1, answer
        run, answer = await bot.run(ask)
        assert (run.state, answer.cards) == ("done", ())
        assert "of an earlier run of this schedule waits" in text[-1]


async def test_its_owner_and_admins_manage_a_schedule(tmp_path: Path) -> None:
    admin = Person("terminal", "owner", name="Ana")
    bo_here = Address("web", "C2", person="bo")
    async with open_bot(tmp_path, limits=ScheduleLimits(per_person=1)) as bot:
        service, to = bot.engine.schedules.service, replace(TO, address=bo_here)
        one, two = [await put_schedule(bot.store, replace(to, asker=BO), DAILY) for _ in range(2)]
        with pytest.raises(NotAllowed):
            await service.find_base(one.id, ANA, PLACE)
        with pytest.raises(BadSchedule, match="limit"):
            await service.check(DAILY, BO, bo_here, is_new=True)
        assert (await service.get_managed(one.id, admin, PLACE)).id == one.id
        cy = Person("web", "cy")
        for secrets in (service.get(one.id, cy, PLACE), service.get_managed(one.id, cy, PLACE)):
            with pytest.raises(NotFound):
                await secrets
        assert await service.list_page(BO, PLACE, 1) == ([], 0), "others read this place"
        assert len((await service.list_page(BO, bo_here, 1))[0]) == 2
        await bot.store.delete(one.id, by=admin)
        assert [schedule.id for schedule in (await service.list_page(BO, bo_here, 1))[0]] == [
            two.id
        ]


class Room:
    """A messenger that knows who reads a place, and an admin."""

    is_reader: bool | None = True
    is_busy = False

    async def can_read(self, person: Person, address: Address) -> bool | None:
        if self.is_busy:
            raise PlatformBusy(5.0)
        return self.is_reader

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        return [Person("web", name.partition(":")[2]) for name in names]

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        return replace(to, source="since:1")

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "since:1", "")


async def test_who_left_the_place_has_no_runs_there_and_admins_are_notified(
    tmp_path: Path, limits: Limits
) -> None:
    """Where the platform never lists all members, the run takes place."""
    limits(MAX_STATUS_WAIT_SECONDS=0.0)
    async with open_bot(tmp_path) as bot:
        room: Any = Room()
        bot.engine.platforms.messengers["web"] = room
        bot.engine.people.policy.admins = frozenset(["web:bo"])
        for is_reader, is_busy, state in (
            (None, False, "done"),
            (True, True, "unknown"),
            (True, False, "done"),
            (False, False, "rights"),
        ):
            room.is_reader, room.is_busy = is_reader, is_busy
            one = await bot.start()
            run, _ = await bot.run(one)
            expected = ("done", "") if state == "done" else ("skipped", state)
            assert (run.state, run.reason) == expected, is_reader
            entries = await bot.engine.conversations.journal.list_entries(PLACE.conversation)
            (view,) = [entry for entry in entries if entry.seq == run.seq]
            assert view.message.reply_to.source == "since:1", "it answers no message"
            if state == "unknown":
                assert await bot.notices() == ["schedule-unknown"]
            if state != "rights":
                await bot.store.delete(one.id)
        assert await bot.notices(BO) == ["schedule-rights"]
        (notice,) = await bot.engine.notices.list_waiting(ANA)
        assert "`" + one.id + "`" in notice.words()
        assert "2027-06-10 09:00 (UTC)" in notice.words()


async def test_a_run_waits_while_the_platform_does_not_report_its_owner(
    tmp_path: Path, limits: Limits
) -> None:
    limits(UNKNOWN_STATUS_BACKOFF=Backoff(0.0))
    reports = [None, None, False]

    async def has_left(person: Person, address: Address, since: float) -> bool | None:
        return reports.pop(0)

    async with open_bot(tmp_path, departures={"web": has_left}) as bot:
        run, _ = await bot.run(await bot.start())
        assert (run.state, reports) == ("done", [])


async def test_strangers_own_no_schedules_unless_a_rule_names_them(tmp_path: Path) -> None:
    there = Address("discord", "7", "8", is_shared=True)
    stranger = Person("discord", "9", "8", "Zoe")
    to = replace(TO, address=there, asker=stranger)
    async with open_bot(tmp_path) as bot:
        service = bot.engine.schedules.service
        one = await put_schedule(bot.store, to, DAILY)
        with pytest.raises(NotAllowed):
            await service.check(DAILY, stranger, there, is_new=True)
        bot.engine.platforms.replies["discord"] = lambda to, posts: bot.reply
        run, answer = await bot.run(one)
        assert (run.state, run.reason, answer.text) == ("skipped", "rights", "")
        bot.config.rule_book = RuleBook(
            (Rule("rule", who=frozenset({"discord:9"}), allow=("chat",)),)
        )
        await bot.store.resume(one.id)
        assert (await bot.run(one))[0].state == "done"


async def test_the_owner_of_page_and_terminal_is_one_person(tmp_path: Path) -> None:
    owner = Person("terminal", "owner")
    async with open_bot(tmp_path) as bot:
        room: Any = Room()
        room.is_reader = False
        bot.engine.platforms.messengers["web"] = room
        bot.engine.people.policy.admins = frozenset(["terminal:owner"])
        run, _ = await bot.run(await bot.start(by=owner))
        assert (run.state, run.reason) == ("skipped", "rights")
        for person in (owner, Person("web", "owner")):
            assert await bot.notices(person) == ["schedule-rights"]


@pytest.fixture
def stops_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own loop starts no run, so a test chooses each moment."""
    monkeypatch.setattr(Scheduler, "run", lambda scheduler: asyncio.Event().wait())


@pytest.mark.usefixtures("stops_scheduler")
async def test_the_owner_is_notified_of_missed_runs_and_of_one_that_an_earlier_run_blocked(
    tmp_path: Path,
) -> None:
    gate = Gate()
    model = EchoModel(gate=lambda ask: gate.wait())
    async with open_bot(tmp_path, model) as bot:
        scheduler = bot.engine.schedules.scheduler
        missed = await bot.start()
        bot.clock.now = missed.next_due_at + 7 * HOUR
        await scheduler.start_due_runs()
        assert await bot.notices() == ["schedule-missed"]
        await bot.store.delete(missed.id)

        slow = await bot.start(replace(DAILY, kind="ask"))
        for _ in range(2):
            bot.clock.now = (await bot.store.get(slow.id)).next_due_at
            await scheduler.start_due_runs()
            await gate.wait_until_reached()
        skip, current_run = await bot.store.list_runs(slow.id)
        assert (skip.state, skip.reason, skip.seq) == ("skipped", "busy", 0)
        assert await bot.notices() == ["schedule-busy"]
        gate.release()
        await bot.answer(current_run.seq)
        assert len(model.asks) == 1


@pytest.mark.usefixtures("stops_scheduler")
async def test_a_run_that_waits_does_not_begin_after_its_schedule_was_paused(
    tmp_path: Path,
) -> None:
    gate = Gate()
    model = EchoModel(gate=lambda ask: gate.wait())
    async with open_bot(tmp_path, model) as bot:
        first = await bot.say("hello")
        await gate.wait_until_reached()
        one = await bot.start()
        bot.clock.now = one.next_due_at
        await bot.engine.schedules.scheduler.start_due_runs()
        await bot.engine.schedules.store.pause(one.id, "person", ANA)
        gate.release()
        await bot.answer(first)
        run = await bot.only_run(one)
        assert (run.state, run.reason) == ("skipped", "changed")
        assert (await bot.answer(run.seq)).text == ""


@pytest.mark.usefixtures("stops_scheduler")
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_schedule_whose_time_zone_is_unknown_now_pauses_and_others_run(
    tmp_path: Path, is_restarted: bool
) -> None:
    """An update of the operating system can remove a time zone."""
    async with open_bot(tmp_path) as bot:
        schedules = bot.engine.schedules
        first, second = await bot.start(), await bot.start()
        if not is_restarted:
            await schedules.scheduler.start_due_runs()
        await bot.update(first, "time_zone", "Mars/Base")
        bot.clock.now = first.next_due_at - (1.0 if is_restarted else 0.0)
        await schedules.scheduler.start_due_runs()
        bot.clock.now = first.next_due_at
        await schedules.scheduler.start_due_runs()
        paused = await bot.store.get(first.id)
        assert (paused.state, paused.reason) == ("paused", "failures")
        assert (await bot.answer((await bot.only_run(second)).seq)).status == "done"


@pytest.mark.usefixtures("stops_scheduler")
async def test_a_run_that_ended_is_reported_in_utc_once_its_time_zone_is_unknown(
    tmp_path: Path,
) -> None:
    async with open_bot(tmp_path, Scripted(fail_to_answer)) as bot:
        one = await bot.start(replace(DAILY, kind="ask"))
        scheduler = bot.engine.schedules.scheduler
        bot.clock.now = one.next_due_at
        await scheduler.start_due_runs()
        await bot.only_run(one)
        await bot.update(one, "time_zone", "Mars/Base")
        await scheduler.start_due_runs()
        (notice,) = await bot.engine.notices.list_waiting(ANA)
        assert "2027-06-07 09:00 (UTC)" in notice.words()
        schedule = describe_schedule(await bot.store.get(one.id))
        assert schedule.startswith(f"`{one.id}` ")


async def test_a_paused_schedule_says_why(tmp_path: Path) -> None:
    async with open_bot(tmp_path) as bot:
        one = replace(await bot.start(), state="paused")
        reasons = [reason for reason in get_args(PauseReason) if reason]
        words = {
            describe_whole(ReadableSchedule(replace(one, reason=each)), bot.clock.now)
            for each in reasons
        }
        assert len(words) == len(reasons) == 4


@pytest.mark.usefixtures("stops_scheduler")
async def test_a_due_schedule_runs_once_its_store_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bot(tmp_path) as bot:
        one, scheduler = await bot.start(), bot.engine.schedules.scheduler

        async def fail_to_store(*arguments: object) -> None:
            raise NotStored

        bot.clock.now = one.next_due_at
        with monkeypatch.context() as patch:
            patch.setattr(bot.store, "advance", fail_to_store)
            with pytest.raises(NotStored):
                await scheduler.start_due_runs()
        assert (await bot.store.get(one.id)).state == "active", "it was not paused"
        await scheduler.start_due_runs()
        assert (await bot.answer((await bot.only_run(one)).seq)).status == "done"


@pytest.mark.usefixtures("stops_scheduler")
async def test_a_run_waits_until_its_owner_is_known_and_nothing_is_looked_up_without_schedules(
    tmp_path: Path,
) -> None:
    async with open_bot(tmp_path) as bot:
        assert "scheduler" not in vars(bot.engine.schedules), "nothing is loaded yet"
        one = await bot.start()
        is_known = False

        async def prepare(*arguments: object, **options: object) -> bool:
            return is_known

        scheduler = bot.engine.schedules.scheduler
        vars(scheduler)["policy"] = SimpleNamespace(prepare=prepare)
        bot.clock.now = one.next_due_at
        assert await scheduler.start_due_runs() == UNKNOWN_OWNER_SECONDS
        assert await bot.store.list_runs(one.id) == []
        is_known = True
        bot.clock.now += HOUR
        await scheduler.start_due_runs()
        run = await bot.only_run(one)
        assert (run.due_at, run.is_late) == (one.next_due_at, True)
        await bot.engine.schedules.store.pause(one.id, "person", ANA)
        await scheduler.start_due_runs()
        assert await scheduler.start_due_runs() > 22 * HOUR, "it waits to be woken"


@pytest.mark.usefixtures("stops_scheduler")
async def test_schedules_that_ended_are_deleted_after_30_days_without_a_restart(
    tmp_path: Path,
) -> None:
    async with open_bot(tmp_path) as bot:
        one = await bot.start(replace(DAILY, max_runs=1))
        await bot.run(one)
        for days in (29, 2):
            bot.clock.now += days * 24 * HOUR
            assert (await bot.store.get(one.id)).state == "ended"
            assert await bot.engine.schedules.scheduler.start_due_runs() > 22 * HOUR
        with pytest.raises(NotFound):
            await bot.store.get(one.id)
