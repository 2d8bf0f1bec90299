"""When NocoDB is down, busy, slow or broken: what is asked again, what is told, what is unsure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from core.base.errors import WriteUnsure
from core.base.http import HttpClient
from core.base.tasks import Pacer
from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoApi, NocoRecord, TableId, seconds_between_calls
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.schema import Schemas
from tests.fakes.loop_clock import LoopClock
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.nocodb.places import catch_error, refusal

Write = Callable[[NocoApi, TableId], Awaitable[object]]

WRITES: list[Write] = [
    lambda api, at: api.create_rows(at, [{"Name": "New"}], by="slack:U1"),
    lambda api, at: api.update_rows(at, [NocoRecord("1", {"Value": 1})]),
    lambda api, at: api.delete_rows(at, ["1"]),
]


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def api(fake: FakeNocoDB, http: HttpClient, sleeper: Sleeper) -> NocoApi:
    return NocoApi(fake.origin, filled.OWNER, http, timeout=5, sleep=sleeper)


@pytest.fixture
def at(fake: FakeNocoDB) -> TableId:
    base = fake.world.bases[filled.CRM]
    return TableId(base.id, next(iter(base.tables)))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_read_is_asked_three_times(
    fake: FakeNocoDB, api: NocoApi, at: TableId, sleeper: Sleeper, status: int
) -> None:
    fake.fail(2, status)
    assert await api.count_rows(at) == 30
    assert (len(fake.calls), sleeper.slept) == (3, [0.3, 1.2])


async def test_a_read_whose_connection_breaks_is_asked_again(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    fake.drop("after", 2)
    assert await api.count_rows(at) == 30


async def test_a_repeated_failure_is_reported_without_secrets(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    fake.fail(3, 500, {"message": f"Something failed at https://db.internal/x {'t' * 40}"})
    error = await refusal(api.count_rows(at))
    assert error.code == "nocodb_failed"
    assert error.hint == "Something failed at (address) (withheld)"
    fake.drop("before", 3)
    with pytest.raises(NocoError, match="Can't reach NocoDB"):
        await api.count_rows(at)


async def test_busy_is_waited_out_for_as_long_as_nocodb_says(
    fake: FakeNocoDB, api: NocoApi, at: TableId, sleeper: Sleeper
) -> None:
    fake.fail(1, 429, {"error": "ERR_RATE_LIMITED"}, Retry_After="7")
    assert await api.count_rows(at) == 30
    assert sleeper.slept == [7]


async def test_busy_for_longer_is_told(
    fake: FakeNocoDB, api: NocoApi, at: TableId, sleeper: Sleeper
) -> None:
    fake.fail(1, 429, None, Retry_After="90")
    with pytest.raises(NocoError, match="Try again in 2 minutes"):
        await api.count_rows(at)
    assert (len(fake.calls), sleeper.slept) == (1, [])


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_was_put_off_is_sent_again(
    fake: FakeNocoDB, api: NocoApi, at: TableId, sleeper: Sleeper, write: Write
) -> None:
    """429: nothing was done, so that it cannot be done twice."""
    fake.fail(1, 429)
    await write(api, at)
    assert (len(fake.calls), len(fake.write_calls), sleeper.slept) == (2, 1, [30])


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_whose_answer_was_lost_is_never_sent_again(
    fake: FakeNocoDB, api: NocoApi, at: TableId, write: Write
) -> None:
    fake.drop("after")
    with pytest.raises(WriteUnsure):
        await write(api, at)
    assert len(fake.write_calls) == 1
    for status in (500, 502, 503, 504):
        fake.fail(1, status)
        with pytest.raises(WriteUnsure):
            await write(api, at)
    assert (len(fake.calls), len(fake.write_calls)) == (5, 1)


async def test_a_write_that_was_refused_is_sure(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    error = await refusal(api.update_rows(at, [NocoRecord("1", {"Status": "Nope"})]))
    assert not error.unsure


async def test_a_write_that_never_left_is_sure(http: HttpClient, at: TableId) -> None:
    nowhere = NocoApi("http://127.0.0.1:1", "token", http, pauses=())
    error = await refusal(nowhere.delete_rows(at, ["1"]))
    assert (error.code, error.unsure) == ("nocodb_down", False)


async def test_a_create_that_tells_no_rows_is_unsure(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    fake.fail(1, 200, {"records": []})
    with pytest.raises(WriteUnsure, match="which rows"):
        await api.create_rows(at, [{"Name": "New"}])


async def test_a_nocodb_that_hangs_is_not_waited_for(
    fake: FakeNocoDB, http: HttpClient, at: TableId
) -> None:
    clock, api = LoopClock(), NocoApi(fake.origin, filled.OWNER, http, pauses=())
    calls: dict[type[Exception], Callable[[], Coroutine[Any, Any, object]]] = {
        NocoError: lambda: api.count_rows(at),
        WriteUnsure: lambda: api.delete_rows(at, ["1"]),
    }
    for error, call in calls.items():
        fake.hang()
        calling = asyncio.create_task(call())
        await fake.wait_for_held_call()
        clock.skip(60.0)
        with pytest.raises(error, match="didn't respond in time"):
            await calling


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda api, at: api.list_tables(at.base), {"list": {}}),
        (lambda api, at: api.fetch_record(at, "1"), {"fields": {"Name": "Ana"}}),
        (lambda api, at: api.count_rows(at), {}),
        (lambda api, at: api.count_rows(at), {"count": "many"}),
    ],
)
async def test_an_answer_without_its_content_is_unreadable(
    fake: FakeNocoDB, api: NocoApi, at: TableId, call: Write, answer: object
) -> None:
    fake.fail(1, 200, answer)
    assert (await refusal(call(api, at))).code == "nocodb_unreadable"


@pytest.mark.parametrize("answer", [{"fields": []}, {"id": "m1", "fields": None}])
async def test_a_description_without_its_fields_is_unreadable(
    fake: FakeNocoDB, api: NocoApi, answer: object
) -> None:
    schemas = Schemas(api, filled.CRM)
    await schemas.visible_tables(Viewer())
    fake.fail(1, 200, answer)
    error = await refusal(schemas.describe_table(Viewer(), "Customers"))
    assert error.code == "nocodb_unreadable"
    assert (await schemas.describe_table(Viewer(), "Customers")).title == "Customers"


@pytest.mark.parametrize("answer", [(302, None), (404, None), (200, ["no", "object"])])
async def test_an_address_that_is_no_nocodb(
    fake: FakeNocoDB, api: NocoApi, at: TableId, answer: tuple[int, object]
) -> None:
    fake.fail(1, *answer)
    with pytest.raises(NocoError, match="NOCODB_URL"):
        await api.list_tables(at.base)


async def test_an_api_of_another_version(fake: FakeNocoDB, api: NocoApi, at: TableId) -> None:
    fake.fail(1, 404, {"error": "NOT_FOUND", "message": "Cannot GET /api/v3/meta"})
    with pytest.raises(NocoError, match=r"NocoDB is version 0\.301, 2026\.04 or newer"):
        await api.list_tables(at.base)


async def test_who_asked_stands_in_the_user_agent(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    """NocoDB keeps it beside each change of a row."""
    await api.create_rows(at, [{"Name": "New"}], by="slack:T1:U123")
    await api.create_rows(at, [{"Name": "New"}], by="web:\r\nx-evil: Ünï (1)")
    await api.create_rows(at, [{"Name": "New"}])
    assert [call.agent for call in fake.calls][:2] == [
        "ponte-bot (slack:T1:U123)",
        "ponte-bot (web:x-evil:n1)",
    ]
    assert fake.calls[2].agent.startswith("ponte-bot/")
    await api.create_rows(at, [{"Name": "New"}], by="slack:" + "U" * 200)
    assert fake.calls[3].agent == f"ponte-bot (slack:{'U' * 94})"


async def test_no_error_holds_the_token_or_the_address(
    fake: FakeNocoDB, api: NocoApi, at: TableId
) -> None:
    for status in (400, 401, 403, 404, 422, 429, 500, 503):
        fake.fail(3, status, {"message": f"at {fake.origin} with {filled.OWNER * 3}"})
        error = await catch_error(api.fetch_record(at, "1"))
        text = f"{error!r} {error} {error.hint}"
        assert filled.OWNER not in text
        assert fake.origin not in text
        fake.clear_troubles()


@pytest.mark.parametrize(
    ("url", "seconds"),
    [
        ("https://app.nocodb.com", 0.25),
        ("https://nocodb.com:443/", 0.25),
        ("https://nocodb.com.example.org", 0),
        ("https://mynocodb.com", 0),
        ("http://localhost:8080", 0),
    ],
)
def test_only_nocodbs_own_cloud_is_asked_slowly(url: str, seconds: float) -> None:
    assert seconds_between_calls(url) == seconds


async def test_calls_leave_at_four_a_second(
    sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.base.tasks.time", SimpleNamespace(monotonic=lambda: 100.0))
    pace = Pacer(0.25, sleeper)
    await asyncio.gather(*(pace.wait() for _ in range(4)))
    assert sleeper.slept == [0.25, 0.5, 0.75]
