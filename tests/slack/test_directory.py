"""Who the people of a workspace are: listed, asked for, told of by events, kept over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from adapters.slack import people
from adapters.slack.client import REFUSAL_SECONDS, SlackApi
from adapters.slack.context import find_message_links
from adapters.slack.people import GROUPS, SlackPeople
from bot.stores import SCHEMA
from core.base.errors import PlatformBusy
from core.base.proxies import Proxies
from core.domain.changes import DisplayName
from core.domain.messages import Address, Person
from core.domain.rights import PlatformMember
from core.journal.jobs import Alone
from core.people import directory as members
from core.people.directory import SqlDirectory
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS, MAX_STALE_SECONDS
from core.store.database import SqliteDatabase
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.memory import NoRows
from tests.fakes.slack import TEAM, FakeSlack, SlackPerson
from tests.fakes.slack.reads import user_json
from tests.slack.bot import workplace
from tests.time_limits import Limits

T = TypeVar("T")
OTHER = "T0OTHER"
MINUTES, DAY = MAX_CONFIRMED_AGE_SECONDS, MAX_STALE_SECONDS


class DirectorySetup:
    """A directory over the fake Slack, and its clock."""

    def __init__(self, slack: FakeSlack, database: SqliteDatabase) -> None:
        self.slack, self.now = slack, 1_000_000.0
        self.alice = slack.person("Alice")
        self.rows = SqlDirectory(database, lambda name: f"hash of {name}"[::-1])
        self.make_directory()

    def make_directory(self) -> SlackPeople:
        """Another process, which knows what is in the rows."""
        self.api = SlackApi(
            self.slack.bot_token, self.slack.base_url, Proxies(), clock=lambda: self.now
        )
        self.directory = SlackPeople(self.api, self.rows, clock=lambda: self.now)
        self.directory.team = TEAM
        return self.directory

    async def close(self) -> None:
        await self.directory.close()
        await self.api.close()

    async def restart(self) -> None:
        await self.close()
        await self.make_directory().open()

    async def list(self) -> None:
        await self.directory._list_everybody()

    async def guest(
        self, who: SlackPerson, workspace: str = TEAM, max_age: float = MINUTES
    ) -> bool | None:
        return await self.directory.guest(Person("slack", who.id, workspace), max_age)

    async def groups(self, who: SlackPerson, max_age: float = MINUTES) -> frozenset[str] | None:
        return await self.directory.membership(Person("slack", who.id, TEAM), max_age)

    @property
    def calls(self) -> tuple[int, int]:
        """Of users.info and users.list."""
        return self.slack.api.calls["users.info"], self.slack.api.calls["users.list"]

    async def row(self, who: SlackPerson, scope: str = "") -> PlatformMember | None:
        return next(iter(await self.rows.find("slack", {(scope, who.id)})), None)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[DirectorySetup]:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    async with FakeSlack() as slack:
        town = DirectorySetup(slack, database)
        await town.directory.open()
        yield town
        await town.close()
    await database.close()


class Neighbours(Alone):
    """Two processes: what one sends comes to the `other`."""

    other: Neighbours

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, Callable[[str], Awaitable[None]]] = {}

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        self._handlers[word] = handler

    async def notify(self, word: str, id: str) -> None:
        await self.other._handlers[word](id)


async def waits(question: Awaitable[T]) -> asyncio.Future[T]:
    """The question, under way, and not answered yet."""
    task = asyncio.ensure_future(question)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_member_a_guest_and_a_stranger(town: DirectorySetup) -> None:
    assert await town.guest(town.alice) is False
    for kind in ("multi", "single"):
        assert await town.guest(town.slack.person("Eve", guest=kind)) is True
    stranger = town.slack.person("Eve", team=OTHER)
    assert await town.guest(stranger) is True
    assert await town.guest(stranger, OTHER) is False


async def test_who_was_listed_is_not_asked_for(town: DirectorySetup) -> None:
    eve, zoe = town.slack.person("Eve", guest="multi"), town.slack.person("Zoe", locale="pt-BR")
    await town.list()
    assert (await town.guest(town.alice), await town.guest(eve)) == (False, True)
    assert town.directory.locale(zoe.id) == "pt-BR"
    assert town.calls == (0, 1)
    assert town.directory.is_complete


async def test_a_row_that_did_not_change_is_written_again_after_a_minute(
    town: DirectorySetup,
) -> None:
    await town.list()
    first = await town.row(town.alice)
    town.now += members.WRITE_AGAIN_SECONDS
    await town.list()
    assert await town.row(town.alice) == first
    town.now += 1
    await town.list()
    again = await town.row(town.alice)
    assert again is not None
    assert again.confirmed_at == town.now


async def test_many_who_ask_at_once_are_one_question(town: DirectorySetup) -> None:
    results = await asyncio.gather(*(town.guest(town.alice) for _ in range(20)))
    assert set(results) == {False}
    assert town.calls == (1, 0)


async def test_what_is_known_comes_through_a_restart_and_names_only_what_is_needed(
    town: DirectorySetup,
) -> None:
    town.slack.workspace.groups["S1"] = {town.alice.id}
    await town.list()
    await town.groups(town.alice)
    await town.restart()
    for method in ("users.info", "users.list", "usergroups.list"):
        town.slack.api.faults.add(method, "503", 0)
    assert town.directory.cached_member(town.alice.id).name == "Alice"
    assert await town.guest(town.alice) is False
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    assert await town.row(town.alice) == PlatformMember(
        town.alice.id,
        "",
        f"slack:{TEAM}:{town.alice.id}",
        "Alice",
        "en-US",
        "Europe/Paris",
        belongs_to=frozenset({TEAM}),
        confirmed_at=town.now,
        aliases="@alice",
    )
    row = await town.row(town.alice, GROUPS)
    assert row
    assert row.belongs_to == {"S1"}


async def test_a_right_is_confirmed_within_minutes_or_known_for_a_day(town: DirectorySetup) -> None:
    town.slack.workspace.groups["S1"] = {town.alice.id}
    assert await town.guest(town.alice) is False
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    for method in ("users.info", "usergroups.list"):
        town.slack.api.faults.add(method, "missing_scope", 0)
    town.now += 239
    assert await town.guest(town.alice) is False
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    town.now += 2
    assert await town.guest(town.alice) is None
    assert await town.groups(town.alice) is None, "not known, which is not the same as none"
    assert town.directory.trouble == "missing_scope"
    town.now += 86_000
    assert await town.guest(town.alice, max_age=DAY) is False
    assert await town.groups(town.alice, max_age=DAY) == frozenset({"slack:S1"})
    town.now += 200
    assert await town.guest(town.alice, max_age=DAY) is None
    assert await town.groups(town.alice, max_age=DAY) is None


async def test_whose_account_is_deactivated_or_gone_has_left(town: DirectorySetup) -> None:
    async def has_left(user: str) -> bool | None:
        return await town.directory.has_left(Person("slack", user, TEAM))

    assert await has_left(town.alice.id) is False
    assert await has_left("U0NOBODY") is True
    town.alice.deactivated = True
    town.now += 241
    assert await has_left(town.alice.id) is True
    assert await town.directory.people([f"slack:{town.alice.id}"]) == []
    town.alice.deactivated = False
    assert await has_left(town.alice.id) is False
    town.alice.team, home = "T9", town.alice.team  # a Grid organisation moved them
    town.now += 241
    assert await has_left(town.alice.id) is True
    town.alice.team = home
    town.now += 241
    assert await has_left(town.alice.id) is False
    town.slack.api.faults.add("users.info", "missing_scope", 0)
    town.now += 241
    assert await has_left(town.alice.id) is None


@pytest.mark.parametrize("how", ["503", "429", "service_unavailable"])
async def test_where_slack_does_not_answer_the_question_waits(
    town: DirectorySetup, how: str, limits: Limits
) -> None:
    limits(ASK_AGAIN_SECONDS=0.0)
    limits(_TRIES=0)
    town.slack.api.faults.add("users.info", how, 2)
    assert await town.guest(town.alice) is False
    assert town.calls[0] == 3


async def test_a_method_without_a_known_limit_is_left_to_its_caller(town: DirectorySetup) -> None:
    """A pause would hold up what waits for the call: the answer, for the status line."""
    town.slack.api.faults.add("auth.test", "429", 1)
    with pytest.raises(PlatformBusy):
        await town.api.call("auth.test")
    assert (town.slack.api.calls["auth.test"], town.slack.api.early["auth.test"]) == (1, 0)


async def test_people_and_groups_have_names_for_cards(town: DirectorySetup) -> None:
    town.slack.workspace.groups["S1"] = {town.alice.id}
    questions = [f"slack:{town.alice.id}", "slack:S1", "slack:S9", "slack:U0NOBODY"]
    assert await town.directory.labels(questions) == {
        f"slack:{town.alice.id}": DisplayName("Alice"),
        "slack:S1": DisplayName("s1", is_group=True),
    }
    for method in ("users.info", "usergroups.list"):
        town.slack.api.faults.add(method, "missing_scope", 0)
    other = SlackPeople(town.api, NoRows(), clock=lambda: town.now)
    assert await other.labels(questions) == {}
    await other.close()


@pytest.mark.parametrize("method", ["users.info", "usergroups.list"])
async def test_nobody_is_written_to_before_slack_says_who_they_are(
    town: DirectorySetup, method: str
) -> None:
    town.slack.workspace.groups["S1"] = {town.alice.id}
    names = [f"slack:{town.alice.id}", "slack:S1"]
    town.slack.api.faults.add(method, "missing_scope", 0)
    with pytest.raises(PlatformBusy):
        await town.directory.people(names)
    town.slack.api.faults.end(method)
    town.now += REFUSAL_SECONDS
    gate = town.slack.api.close(method)
    task = asyncio.ensure_future(town.directory.people(names))
    await LoopClock().skip_until_done(task, people.PEOPLE_SECONDS)
    with pytest.raises(PlatformBusy):
        await task
    gate.release()
    assert [person.id for person in await town.directory.people(names)] == [town.alice.id]


async def test_who_waits_is_told_by_a_list_and_by_an_event(town: DirectorySetup) -> None:
    gate = town.slack.api.hold("users.info")
    alice = await waits(town.guest(town.alice))
    await town.list()
    assert await alice is False
    bob = town.slack.person("Bob", guest="single")
    town.slack.api.faults.add("users.info", "429", 0, retry_after=60)
    question = await waits(town.guest(bob))
    user = town.slack.api.workspace.people[bob.id]
    assert user is bob
    await town.directory.take_event(told_of(bob))
    assert await question is True
    gate.release()


async def test_a_retry_after_of_a_minute_shuts_nobody_out(town: DirectorySetup) -> None:
    """The question waits for its pace, and everybody is listed instead."""
    crowd = [town.slack.person(f"Person {n}") for n in range(80)]
    town.slack.api.faults.add("users.info", "429", 1, retry_after=60)
    town.directory.start()
    results = await asyncio.gather(*(town.guest(someone) for someone in crowd))
    assert set(results) == {False}
    assert town.calls[0] <= 34
    assert town.calls[1] <= 3


async def test_a_list_that_failed_is_repeated_after_a_pause(
    town: DirectorySetup, limits: Limits
) -> None:
    limits(_TRIES=0)
    failures = len(people.PAGE_SIZES)
    town.slack.api.faults.add("users.list", "503", failures)
    town.directory.start()
    await town.slack.wait_until(lambda: town.calls[1] == failures)
    await run_ready()
    assert town.calls[1] == failures
    task = asyncio.ensure_future(town.slack.wait_until(lambda: town.calls[1] > failures, None))
    await LoopClock().skip_until_done(task, people.LIST_RETRY_SECONDS)
    assert await town.guest(town.alice) is False


async def test_user_groups_that_slack_does_not_list_are_asked_for_after_a_pause(
    town: DirectorySetup, limits: Limits
) -> None:
    limits(_TRIES=0)
    calls = town.slack.api.calls
    town.slack.workspace.groups["S1"] = {town.alice.id}
    town.slack.api.faults.add("usergroups.list", "503", 1)
    task = asyncio.ensure_future(town.groups(town.alice))
    await town.slack.wait_until(lambda: calls["usergroups.list"])
    await run_ready()
    assert (task.done(), calls["usergroups.list"]) == (False, 1)
    await LoopClock().skip_until_done(task, people.GROUPS_RETRY_SECONDS)
    assert await task == frozenset({"slack:S1"})


async def test_after_the_end_user_groups_are_not_known(town: DirectorySetup) -> None:
    await town.directory.close()
    assert await town.groups(town.alice) is None


async def test_a_list_is_asked_for_in_the_pages_that_slack_gives(town: DirectorySetup) -> None:
    for n in range(450):
        town.slack.person(f"Person {n}")
    town.slack.workspace.largest_page = 200
    await town.list()
    questions = [arguments for method, arguments in town.slack.api.log if method == "users.list"]
    assert [int(each["limit"]) for each in questions] == [999, 500, 200, 200, 200]
    people = [someone.id for someone in town.slack.workspace.people.values()]
    rows = await town.rows.find("slack", {("", id) for id in people})
    assert {row.id for row in rows} == set(people)


async def test_a_process_that_waits_for_people_asks_the_one_that_lists_them(
    town: DirectorySetup, limits: Limits
) -> None:
    limits(LIST_AGAIN_SECONDS=0.0)
    two = Neighbours(), Neighbours()
    for one, other in (two, two[::-1]):
        one.other = other
    leader, follower = (
        SlackPeople(town.api, NoRows(), clock=lambda: town.now, peers=one) for one in two
    )
    leader.team = follower.team = TEAM
    try:
        leader.start()
        await town.slack.wait_until(lambda: leader.is_complete)
        await town.api.limiter.hold("users.info", "", 60)
        calls = town.calls[1]
        task = asyncio.ensure_future(follower.is_stranger(town.alice.id))
        await town.slack.wait_until(lambda: town.calls[1] > calls)
        assert not task.done()
        task.cancel()
    finally:
        await follower.close()
        await leader.close()


async def test_a_long_list_leaves_calls_of_the_minute_to_others(
    town: DirectorySetup, limits: Limits
) -> None:
    """The next list begins only after a time that grows with the pages of the last one."""
    limits(PAGE_SIZES=(10,))
    for n in range(48):
        town.slack.person(f"Person {n}")
    await town.list()
    pages = town.slack.api.calls["users.list"]
    assert pages == 5
    assert town.directory._list_pause == people.LIST_PAGE_SECONDS * (pages - 1)


async def test_a_list_goes_on_where_it_was_after_a_limit_and_anew_where_its_place_is_lost(
    town: DirectorySetup, limits: Limits
) -> None:
    limits(PAGE_SIZES=(50,))
    for n in range(120):
        town.slack.person(f"Person {n}")
    faults = iter(["429", "", "invalid_cursor"])

    def next_fault() -> None:
        if how := next(faults, ""):
            town.slack.api.faults.add("users.list", how, 1, retry_after=1)

    town.slack.after["users.list"] = next_fault
    listing = asyncio.ensure_future(town.list())
    await LoopClock().skip_until_done(listing, 1.0)  # the pace of tier 2
    await listing
    cursors = [a.get("cursor") for method, a in town.slack.api.log if method == "users.list"]
    assert [cursor is None for cursor in cursors] == [True, False, True, False, False]
    assert town.directory.is_complete


async def test_who_left_is_forgotten_and_strangers_and_the_erased_are_not_listed(
    town: DirectorySetup,
) -> None:
    eve, zoe = town.slack.person("Eve", team=OTHER), town.slack.person("Zoe")
    town.slack.workspace.groups["S1"] = {town.alice.id, zoe.id}
    await town.list()
    assert await town.row(eve) is None
    assert await town.row(zoe)
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    zoe.deactivated = True
    await town.rows.forget("slack", [town.alice.id])
    town.directory.forget(frozenset({town.alice.id}))
    assert await town.groups(town.alice) == frozenset()
    assert await town.groups(zoe) == frozenset({"slack:S1"})
    await town.list()
    assert (await town.row(zoe), await town.row(town.alice)) == (None, None)
    assert town.directory.cached_member(town.alice.id).name == ""
    town.slack.change_person(town.alice, name="Alice Again")
    await town.directory.take_event(told_of(town.alice))
    assert town.directory.cached_member(town.alice.id).name == ""
    assert town.calls[0] == 0
    assert await town.guest(town.alice) is False, "who writes again is asked for"
    assert town.calls[0] == 1
    assert await town.row(town.alice) is None, "and not kept"


def told_of(who: SlackPerson, **more: object) -> dict[str, object]:
    """As an event tells of somebody: without their language."""
    return {**user_json(who, locale=False), **more}


async def test_whose_account_is_deactivated_has_left_with_the_event(town: DirectorySetup) -> None:
    await town.list()
    town.alice.deactivated = True
    await town.directory.take_event(told_of(town.alice))
    assert await town.row(town.alice) is None


async def test_an_event_changes_what_is_known_and_a_status_writes_nothing(
    town: DirectorySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.list()
    writes = list[int]()
    put = town.rows.put

    async def put_and_count(platform: str, told: list[PlatformMember]) -> frozenset[str]:
        writes.append(len(told))
        return await put(platform, told)

    monkeypatch.setattr(town.rows, "put", put_and_count)
    for n in range(50):
        town.now += 10
        town.alice.status = f"in a meeting {n}"
        await town.directory.take_event(told_of(town.alice))
    assert writes == []
    town.now += MINUTES - 1
    assert await town.guest(town.alice) is False, "each event confirms them"
    town.alice.guest, town.alice.name = "single", "Alicia"
    await town.directory.take_event(told_of(town.alice))
    assert writes == [1]
    assert await town.guest(town.alice) is True
    member = town.directory.cached_member(town.alice.id)
    assert (member.name, member.locale) == ("Alicia", "en-US")
    assert town.calls == (0, 1)


async def test_an_event_that_does_not_tell_who_is_a_guest_tells_nothing(
    town: DirectorySetup,
) -> None:
    """docs.slack.dev/reference/events/user_status_changed has an example of such a user."""
    eve = town.slack.person("Eve", guest="single")
    bare = {"id": eve.id, "team_id": TEAM, "name": "eve", "profile": {"display_name": "Eve"}}
    await town.directory.take_event(bare)
    nothings: list[Any] = [{}, None, eve.id, [eve.id]]
    for nothing in nothings:
        await town.directory.take_event(nothing)
    assert town.directory.cached_member(eve.id).name == ""
    assert await town.guest(eve) is True


async def test_a_stranger_who_never_wrote_is_not_kept_and_one_who_left_goes(
    town: DirectorySetup,
) -> None:
    eve = town.slack.person("Eve", team=OTHER)
    await town.directory.take_event(told_of(eve))
    assert await town.row(eve) is None
    await town.guest(town.alice)
    town.alice.deactivated = True
    await town.directory.take_event(told_of(town.alice))
    assert await town.row(town.alice) is None


async def test_the_names_of_many_leave_room_for_a_right(town: DirectorySetup) -> None:
    crowd = [town.slack.person(f"Person {n}") for n in range(60)]
    name = await town.directory.profiles((someone.id for someone in crowd), seconds=60.0)
    assert sum(bool(profile.name) for profile in name.values()) == people.COURTESIES_AT_ONCE
    assert await town.guest(town.slack.person("Newcomer")) is False
    assert town.calls == (people.COURTESIES_AT_ONCE + 1, 0), "nobody else is asked for before"


async def test_memory_is_bounded_whoever_is_listed(town: DirectorySetup, limits: Limits) -> None:
    limits(MAX_MEMBERS_IN_MEMORY=100)
    await town.restart()
    crowd = [town.slack.person(f"Person {n}") for n in range(300)]
    await town.guest(crowd[-1])
    await town.list()
    assert len(town.directory._members._known) == 100
    assert town.directory.cached_member(crowd[-1].id).name, "who talks with us stays"
    assert await town.guest(crowd[-2]) is False
    assert town.calls == (1, 1), "the others are found in their rows"


async def test_without_the_scope_nobody_is_known_and_it_is_said(town: DirectorySetup) -> None:
    town.slack.api.without.add("users:read")
    assert await town.guest(town.alice) is None
    assert town.directory.trouble == "missing_scope"


async def test_questions_about_one_channel_share_one_call(tmp_path: Path) -> None:
    """As many threads as votes are listed ask at once whether they are public."""
    async with workplace(tmp_path) as w:
        places = [Address("slack", w.general.id, thread=str(n)) for n in range(200)]
        asked = len(w.calls("conversations.info"))
        assert all(await asyncio.gather(*map(w.bot.slack.is_public, places)))
        assert len(w.calls("conversations.info")) == asked + 1
        assert not await w.bot.slack.is_public(Address("slack", w.dm.id))
        w.general.kind = "group"
        assert not await w.bot.slack.is_public(places[0]), "it is asked again"


async def test_the_link_to_a_post_is_one_that_ponte_reads(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        post = f"{w.general.id}:1700000000.000100"
        for thread in ("", "1600000000.000200"):
            place = Address("slack", w.general.id, TEAM, thread, is_shared=True)
            link = await w.bot.slack.link_to(place, post)
            (found,) = find_message_links(f"<{link.replace('&', '&amp;')}>")
            assert (found.channel, found.message) == (w.general.id, "1700000000.000100")
            assert (found.workspace, found.thread) == ("acme.slack.com", thread)


async def test_slack_is_not_asked_for_a_channel_with_the_id_of_a_person(tmp_path: Path) -> None:
    """The key of a person on Slack looks like that of a channel, so lists ask for its title."""
    async with workplace(tmp_path) as w:
        ids = (w.alice.id, "W0ENTERPRISE", w.general.id)
        asked = len(w.calls("conversations.info"))
        places = [Address("slack", id, "T0PONTE", is_shared=True) for id in ids]
        assert [await w.bot.slack.title(place) for place in places] == ["", "", "#general"]
        assert len(w.calls("conversations.info")) == asked + 1
