from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.base.http import HttpClient
from core.tools.nocodb.api import NocoApi
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeBase
from tests.nocodb.places import Place
from tests.nocodb.sample import make_sample_base
from tests.nocodb.write_tools import WriteTools
from tests.real.nocodb.seed import Seeded


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.fixture
async def fake() -> AsyncIterator[FakeNocoDB]:
    async with FakeNocoDB() as server:
        yield server


@pytest.fixture
def base(fake: FakeNocoDB) -> FakeBase:
    """The base of the fake, in which tests change tables."""
    return fake.world.bases[filled.CRM]


@pytest.fixture
def write_tools(fake: FakeNocoDB, http: HttpClient) -> WriteTools:
    return WriteTools(fake.origin, filled.OWNER, filled.CRM, http)


@pytest.fixture
def api(fake: FakeNocoDB, http: HttpClient) -> NocoApi:
    return NocoApi(fake.origin, filled.OWNER, http, pauses=())


@pytest.fixture(params=["fake", "real"])
def place(request: pytest.FixtureRequest, http: HttpClient) -> Place:
    """For reading only. The fake is only worth what it shares with the real one."""
    return make_place(request, request.param, http)


def make_place(request: pytest.FixtureRequest, kind: str, http: HttpClient) -> Place:
    if kind == "fake":
        server: FakeNocoDB = request.getfixturevalue("fake")
        return Place(server.origin, filled.OWNER, filled.VIEWER, filled.CRM, filled.ARCHIVE, http)
    real: Seeded = request.getfixturevalue("real_nocodb")
    return Place(real.url, real.token, real.viewer, real.crm.id, real.other, http)


@pytest.fixture(params=["fake", "real", "sample"])
def table_place(request: pytest.FixtureRequest, http: HttpClient, tmp_path: Path) -> Place:
    """For reading and, except in a real one, for writing, through the calls of `Place.tables`."""
    if request.param == "sample":
        sample = make_sample_base(tmp_path)
        return Place("", "", "", "", "", http, sample)
    return make_place(request, request.param, http)


@pytest.fixture
def own_table_place(table_place: Place, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """`table_place` to write to: only the fake one has Readings. The sample base reads all its rows
    again after each write."""
    if table_place.sample:
        return replace(table_place, sample=make_sample_base(tmp_path, readings=0))
    if table_place.token == filled.OWNER:
        return table_place
    return replace(table_place, base=request.getfixturevalue("reused_base").id)


@pytest.fixture
def own_place(place: Place, request: pytest.FixtureRequest) -> Place:
    """A base of the test's own, to write to: without Readings, and the viewer does not see it."""
    if place.token == filled.OWNER:
        return place
    return replace(place, base=request.getfixturevalue("reused_base").id)
