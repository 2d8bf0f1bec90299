"""The services of the operator's page over nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.domain.messages import Person

Json = Mapping[str, Any]


class MemoryAdministration:
    """The `Administration` port of a Ponte in which nothing has happened."""

    async def findings(self) -> Sequence[Mapping[str, str]]:
        return []

    async def pending(self) -> Sequence[Json]:
        return []

    async def turns(self) -> Sequence[Json]:
        return []

    async def schedules(self) -> Sequence[Json]:
        return []

    async def change_schedule(self, action: str, id: str, once: str, by: Person) -> Json:
        raise AssertionError("no form of this page is sent")

    async def usage(self, by: str, since: str) -> Json:
        return {"by": by, "since": since or "2026-11-01", "rows": []}

    async def limits(self) -> Sequence[Json]:
        return []

    async def names(self, keys: Collection[str]) -> Mapping[str, str]:
        return {}

    async def audit(self, asked: Mapping[str, str]) -> Json:
        return {"lines": [], "next": ""}

    async def people(self) -> Sequence[Json]:
        return []

    async def add_person(self, name: str, by: Person) -> Json:
        raise AssertionError("no form of this page is sent")

    async def renew_person(self, name: str, by: Person) -> Json:
        raise AssertionError("no form of this page is sent")

    async def remove_person(self, name: str, by: Person) -> None:
        raise AssertionError("no form of this page is sent")

    async def api_tokens(self) -> Sequence[Json]:
        return []

    async def revoke_api_token(self, id: str, by: Person) -> Json:
        raise AssertionError("no form of this page is sent")

    async def check_config(self) -> Sequence[str]:
        return []

    async def reload_config(self, by: Person) -> Json:
        raise AssertionError("no form of this page is sent")
