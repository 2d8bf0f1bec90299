from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.clients.http import HttpClient
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.nocodb.places import Place
from tests.real.nocodb.seed import Seeded, base_with_rows


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.fixture
async def fake() -> AsyncIterator[FakeNocoDB]:
    async with FakeNocoDB() as server:
        yield server


@pytest.fixture(params=["fake", "real"])
def place(request: pytest.FixtureRequest, http: HttpClient) -> Place:
    """For reading only. The fake is only worth what it shares with the real one."""
    if request.param == "fake":
        server: FakeNocoDB = request.getfixturevalue("fake")
        return Place(server.origin, filled.OWNER, filled.VIEWER, filled.CRM, filled.ARCHIVE, http)
    real: Seeded = request.getfixturevalue("real_nocodb")
    return Place(real.url, real.token, real.viewer, real.crm.id, real.other, http)


@pytest.fixture
def own_place(place: Place) -> Place:
    """A base of the test's own, to write to: without Readings, and the viewer does not see it."""
    if place.token == filled.OWNER:
        return place
    return replace(place, base=base_with_rows(place.url, place.token, "Test").id)
