"""Where a test of NocoDB's tools takes place: over the fake, or over a real one."""

from __future__ import annotations

from dataclasses import dataclass

from core.clients.http import HttpClient
from core.tools.nocodb.api import NocoApi
from core.tools.nocodb.schema import Schemas


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

    def api(self, token: str = "") -> NocoApi:
        return NocoApi(self.url, token or self.token, self.http, pauses=())

    def schemas(self, base: str = "") -> Schemas:
        return Schemas(self.api(), base or self.base)
