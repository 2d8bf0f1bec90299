"""The directory of people, over both databases."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence

import pytest

from core.base.errors import NotStored, PlatformBusy
from core.domain.rights import MemberKey, PlatformMember
from core.people.directory import MemberDirectory, SqlDirectory
from tests.contract.engines import Embedded
from tests.fakes.loop_clock import run_ready
from tests.fakes.memory import NoRows


def hash_name(name: str) -> str:
    return hashlib.sha256(f"key {name}".encode()).hexdigest()


@pytest.fixture
def directory(stores: Embedded) -> SqlDirectory:
    return SqlDirectory(stores.database, hash_name)


def member(id: str, at: float = 100.0, scope: str = "", *belongs_to: str) -> PlatformMember:
    return PlatformMember(
        id,
        scope,
        f"chat:T1:{id}",
        f"Person {id}",
        "pt-BR",
        "America/Recife",
        is_guest=True,
        belongs_to=frozenset(belongs_to or ("T1", "T2")),
        confirmed_at=at,
    )


async def find_ids(directory: SqlDirectory, *ids: str, scope: str = "") -> Sequence[str]:
    return [one.id for one in await directory.find("chat", {(scope, id) for id in ids})]


async def test_a_member_comes_back_as_it_was_put_and_what_is_older_changes_nothing(
    directory: SqlDirectory,
) -> None:
    texts = [member("U1", 200.0), member("U1", 100.0, "server", "7"), member("U2", 300.0)]
    assert await directory.put("chat", texts) == frozenset()
    assert await directory.find("chat", {("server", "U1"), ("server", "U2")}) == [texts[1]]
    assert await directory.find("other", {("", "U1")}) == []
    await directory.put("chat", [member("U1", 100.0, "", "T9")])
    assert await directory.find("chat", {("", "U1")}) == [texts[0]]
    newer = member("U1", 300.0, "", "T9")
    await directory.put("chat", [newer])
    assert await directory.find("chat", {("", "U1")}) == [newer]
    assert await directory.purge(200.0) == 1, "what nobody confirms any more goes"
    assert {*await find_ids(directory, "U1", "U2")} == {"U1", "U2"}
    assert await find_ids(directory, "U1", scope="server") == []


async def test_thousands_are_put_and_found_at_once(directory: SqlDirectory) -> None:
    many = [member(f"U{n}", float(n)) for n in range(2000)]
    await directory.put("chat", many)
    assert len(await find_ids(directory, *(f"U{n}" for n in range(0, 4000, 2)))) == 1000
    assert [one.id for one in await directory.list_newest("chat", "", 3)] == [
        "U1997",
        "U1998",
        "U1999",
    ]


async def test_who_left_is_removed_and_may_come_back(directory: SqlDirectory) -> None:
    await directory.put("chat", [member("U1"), member("U1", 100.0, "server"), member("U2")])
    await directory.remove("chat", ["U1"])
    assert await find_ids(directory, "U1", "U2") == ["U2"]
    assert await find_ids(directory, "U1", scope="server") == []
    await directory.put("chat", [member("U1")])
    assert await find_ids(directory, "U1") == ["U1"]


async def test_who_was_forgotten_is_not_brought_back_and_no_id_of_theirs_stays(
    directory: SqlDirectory, stores: Embedded
) -> None:
    await directory.put("chat", [member("UANA77"), member("U2")])
    await directory.forget("chat", ["UANA77"])
    texts = [member("UANA77", 200.0), member("UANA77", 200.0, "server"), member("U2", 200.0)]
    assert await directory.put("chat", texts) == {"UANA77"}
    assert await find_ids(directory, "UANA77", "U2") == ["U2"]
    assert await directory.put("other", [member("UANA77")]) == frozenset(), "somebody else"
    await directory.remove("other", ["UANA77"])
    await stores.database.scrub(whole=True)
    assert not await stores.holds("UANA77")


async def test_who_is_forgotten_while_a_list_is_put_stays_away(directory: SqlDirectory) -> None:
    for at in range(20):
        await asyncio.gather(
            directory.put("chat", [member(f"U{at}", 100.0)]), directory.forget("chat", [f"U{at}"])
        )
    assert await find_ids(directory, *(f"U{at}" for at in range(20))) == []


class SlowRows(NoRows):
    def __init__(self) -> None:
        self.writes, self.may_end = asyncio.Event(), asyncio.Event()

    async def put(self, platform: str, members: Collection[PlatformMember]) -> frozenset[str]:
        self.writes.set()
        await self.may_end.wait()
        return frozenset()


class Answering:
    async def wait_for_place(self) -> None:
        return None

    async def ask(self, place: MemberKey) -> PlatformMember:
        return member(place[1])


async def test_who_waits_for_a_person_does_not_wait_for_the_store() -> None:
    rows = SlowRows()
    members = MemberDirectory("chat", rows, Answering())
    path = await members.resolve("U1", 300.0)
    assert path
    assert path.id == "U1"
    await rows.writes.wait()
    assert not rows.may_end.is_set()
    rows.may_end.set()
    await members.close()


async def test_a_row_that_could_not_be_stored_is_stored_the_next_time(
    directory: SqlDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are written again only after a while, unless the last attempt failed."""
    members = MemberDirectory("chat", directory, Answering(), clock=lambda: 200.0)

    async def fail_to_store(*arguments: object) -> frozenset[str]:
        raise NotStored

    with monkeypatch.context() as patch:
        patch.setattr(directory, "put", fail_to_store)
        await members.take([member("U1")])
    value = members.cached_member("U1")
    assert value is not None, "it is known until the process ends"
    assert await find_ids(directory, "U1") == []
    await members.take([member("U1")])
    assert await find_ids(directory, "U1") == ["U1"]
    await members.close()


class NeverAnswering(Answering):
    def __init__(self) -> None:
        self.asked, self.is_stopped = asyncio.Event(), False

    async def ask(self, place: MemberKey) -> PlatformMember:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_stopped = True
        raise AssertionError


async def test_a_close_stops_the_lookups(directory: SqlDirectory) -> None:
    platform = NeverAnswering()
    members = MemberDirectory("chat", directory, platform)
    waiting = asyncio.create_task(members.resolve("U1", 300.0))
    await platform.asked.wait()
    await members.close()
    assert platform.is_stopped
    waiting.cancel()


class Busy(Answering):
    """A platform that is busy whenever it is asked, once `may_answer` is set."""

    def __init__(self) -> None:
        self.asked, self.times, self.may_answer = asyncio.Event(), 0, asyncio.Event()

    async def ask(self, place: MemberKey) -> PlatformMember:
        self.times += 1
        self.asked.set()
        await self.may_answer.wait()
        raise PlatformBusy(0.0)


async def test_a_lookup_that_nobody_waits_for_any_more_is_not_repeated() -> None:
    platform = Busy()
    members = MemberDirectory("chat", NoRows(), platform)
    waiting = asyncio.create_task(members.resolve("U1", 300.0))
    await platform.asked.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    platform.may_answer.set()
    await run_ready()
    assert (platform.times, members.waiting) == (1, 0)
    await members.close()
