"""Where a test of NocoDB's tools takes place: over the fake, a real one, or the sample
base."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

import pytest

from core.base.errors import ToolError
from core.base.http import HttpClient
from core.tools.nocodb.api import NocoApi, TableApi
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.schema import Schemas
from core.tools.sample.base import SampleApi

without_nocodb = pytest.mark.parametrize("table_place", ["fake", "sample"], indirect=True)
only_fake = pytest.mark.parametrize("place", ["fake"], indirect=True)
"""Both are for tests of Ponte's own part, where no answer of a real NocoDB is new."""


@dataclass(frozen=True, slots=True)
class Place:
    """`base` holds Customers, Orders and Readings; `other` is an empty one. `token` is of who owns
    both, `viewer` of who may read `base` alone."""

    url: str
    token: str
    viewer: str
    base: str
    other: str
    http: HttpClient
    sample: SampleApi | None = None
    """The sample base in place of a NocoDB, with the same tables."""

    @property
    def tables(self) -> TableApi:
        return self.sample or self.api()

    def api(self, token: str = "") -> NocoApi:
        return NocoApi(self.url, token or self.token, self.http, pauses=())

    def schemas(self, base: str = "") -> Schemas:
        return Schemas(self.tables, base or self.base)


async def refusal(asked: Awaitable[object]) -> NocoError:
    error = await catch_error(asked)
    assert isinstance(error, NocoError)
    return error


async def catch_error(asked: Awaitable[object]) -> ToolError:
    """Return the error that is raised, of NocoDB or of a tool itself."""
    with pytest.raises(ToolError) as error:
        await asked
    return error.value
