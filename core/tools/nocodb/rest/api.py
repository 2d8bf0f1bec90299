"""NocoDB's HTTP: exactly the calls that the tools need, each with what it takes and gives.

v3 has no list of bases and no aggregates: those are v2. Rows go by id as text.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from core.errors import WriteUnsure
from core.http import HttpClient
from core.tools.again import PAUSES, Sleep
from core.tools.nocodb.rest import records
from core.tools.nocodb.rest.error import NocoError, unreadable
from core.tools.nocodb.rest.records import Aggregate, At, Base, Json, Named, Page, Record, Sort
from core.tools.nocodb.rest.wire import Wire

T = TypeVar("T")

BATCH = 10
"""Rows in one call that writes: v3 refuses more (ERR_MAX_PAYLOAD_LIMIT_EXCEEDED)."""
LINKS = 100
"""Links in one call. NocoDB 0.301.3 has no limit there; ours keeps a call short."""
PAGE = 1000
"""Rows in one page at most: NocoDB cuts larger ones down to it without a word."""


class NocoApi:
    """`url` is NocoDB's origin, `token` an API token, which acts as its user.

    What reads raises NocoError; what writes too, when nothing was written, and WriteUnsure when
    it may have been. `core.tools.nocodb.rest.wire` says how often each is asked. `by` names who
    asked, as "slack:U123": NocoDB keeps it in its own audit of rows.
    """

    def __init__(
        self,
        url: str,
        token: str,
        http: HttpClient,
        *,
        pauses: Sequence[float] = PAUSES,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._wire = Wire(
            url, token, http, pauses=pauses, timeout=timeout, clock=clock, sleep=sleep
        )

    @property
    def url(self) -> str:
        """NocoDB's origin, without a slash at its end."""
        return self._wire.url

    @property
    def drifts(self) -> int:
        """How often NocoDB said that a table or field that we named is not there."""
        return self._wire.drifts.count

    def drifted(self) -> None:
        """It was seen without NocoDB saying so."""
        self._wire.drifts.count += 1

    def patient(self, pauses: Sequence[float]) -> NocoApi:
        """The same, which asks again after these seconds where a read fails."""
        other = copy.copy(self)
        other._wire = self._wire.patient(pauses)
        return other

    async def bases(self) -> Sequence[Base]:
        """Those that the token's user sees."""
        return records.bases(await self._wire.read("/api/v2/meta/bases"))

    async def role(self, base: str) -> str:
        """Of the token's user in that base: owner, creator, editor, commenter, viewer; "" for none.

        v1, because nothing newer tells it.
        """
        me = records.json_object(await self._wire.read("/api/v1/auth/user/me", {"base_id": base}))
        roles = me.get("base_roles")
        held = roles if isinstance(roles, Mapping) else {}
        return next((str(role) for role, has in held.items() if has), "")

    async def tables(self, base: str) -> Sequence[Named]:
        return records.named(await self._wire.read(f"/api/v3/meta/bases/{_step(base)}/tables"))

    async def table(self, at: At) -> Json:
        """Its description as NocoDB tells it; `core.tools.nocodb.schema` reads it."""
        path = f"/api/v3/meta/bases/{_step(at.base)}/tables/{_step(at.table)}"
        return records.json_object(await self._wire.read(path))

    async def records(
        self,
        at: At,
        *,
        fields: Sequence[str] = (),
        where: str = "",
        sort: Sequence[Sort] = (),
        page: int = 1,
        size: int = 25,
    ) -> Page:
        """Rows of one page (the first is 1); `fields` by id or title, none for all of them.

        Behind the last page raises NocoError `bad_page`.
        """
        asked = {"page": str(page), "pageSize": str(min(size, PAGE))}
        if fields:
            asked["fields"] = ",".join(fields)
        if where:
            asked["where"] = where
        if sort:
            order = [{"field": each.field, "direction": each.direction} for each in sort]
            asked["sort"] = json.dumps(order)
        return records.page(await self._wire.read(f"{_data(at)}/records", asked))

    async def record(self, at: At, id: str, *, fields: Sequence[str] = ()) -> Record:
        """Raises NocoError `not_found`."""
        asked = {"fields": ",".join(fields)} if fields else {}
        return records.record(await self._wire.read(f"{_data(at)}/records/{_step(id)}", asked))

    async def count(self, at: At, where: str = "") -> int:
        """Rows that fit `where`; all of them for ""."""
        asked = {"where": where} if where else {}
        answer = records.json_object(await self._wire.read(f"{_data(at)}/count", asked))
        count = answer.get("count")
        if not isinstance(count, int | str) or not str(count).isdecimal():
            raise unreadable()
        return int(count)

    async def aggregate(self, at: At, wanted: Sequence[Aggregate], where: str = "") -> Json:
        """By the field's title; a second one of the same field by "<field id>:1", and so on.

        This is v2, which knows no quotes in `where`: with them NocoDB 0.301.3 gives the wrong
        figure without a word (of all rows, or 0), so they raise ValueError here. Fields there are
        ids, values plain: (cxyz,eq,Lead).
        """
        if set(where) & {'"', "'"}:
            raise ValueError("v2 knows no quotes in a filter")
        asked = {"aggregation": json.dumps([{"field": w.field, "type": w.type} for w in wanted])}
        if where:
            asked["where"] = where
        return records.json_object(
            await self._wire.read(f"/api/v2/tables/{_step(at.table)}/aggregate", asked)
        )

    async def links(self, at: At, field: str, row: str) -> Sequence[Record]:
        """All rows that a link field (by id) of a row leads to, to the last page.

        Their `fields` hold their display field alone. Raises NocoError `not_found` for the row.
        """
        found: list[Record] = []
        while True:
            asked = {"page": str(len(found) // PAGE + 1), "pageSize": str(PAGE)}
            page = records.linked(await self._wire.read(_links(at, field, row), asked))
            found.extend(page.records)
            # Behind the last page is an error, and `next` is told after some last ones too.
            if not page.more or len(page.records) < PAGE:
                return found

    async def create(self, at: At, rows: Sequence[Json], *, by: str = "") -> Sequence[Record]:
        """Make up to 10 rows of values by field; gives them back whole, in their order.

        NocoDB ignores fields that it does not know. A link field takes [{"id": …}].
        """
        body = [{"fields": dict(row)} for row in _within(rows, BATCH)]
        return await self._rows("POST", at, body, by)

    async def update(self, at: At, rows: Sequence[Record], *, by: str = "") -> Sequence[Record]:
        """Write the `fields` of up to 10 rows; gives them back whole, as they then are.

        One id that is not there refuses all of them. Link fields go by `link` and `unlink`.
        """
        body = [{"id": row.id, "fields": dict(row.fields)} for row in _within(rows, BATCH)]
        return await self._rows("PATCH", at, body, by)

    async def delete(self, at: At, ids: Sequence[str], *, by: str = "") -> None:
        """Up to 10 rows. One id that is not there refuses all of them.

        On SQLite the next new row may get the id of a deleted last one.
        """
        await self._wire.write("DELETE", f"{_data(at)}/records", _ids(ids, BATCH), by)

    async def link(self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = "") -> None:
        """Let a link field (by id) of a row lead to up to 100 more; does no harm twice."""
        await self._wire.write("POST", _links(at, field, row), _ids(ids, LINKS), by)

    async def unlink(
        self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = ""
    ) -> None:
        """Up to 100; those that are not linked are passed over."""
        await self._wire.write("DELETE", _links(at, field, row), _ids(ids, LINKS), by)

    async def attach(self, at: At, row: str, key: str, files: Json, *, by: str = "") -> None:
        """Let attachment fields of a row hold files that NocoDB has, as they were once read.

        `key` is the title of the field with the id. v2: v3 takes no file that the row does not
        hold already (NocoDB 0.301.3, ERR_INVALID_VALUE_FOR_FIELD).
        """
        body = [{key: row, **files}]
        await self._wire.write("PATCH", f"/api/v2/tables/{_step(at.table)}/records", body, by)

    async def _rows(self, method: str, at: At, body: Sequence[Json], by: str) -> Sequence[Record]:
        answer = await self._wire.write(method, f"{_data(at)}/records", body, by)
        try:
            rows = records.page(answer).records
        except NocoError:
            rows = ()
        if len(rows) != len(body):
            raise WriteUnsure("NocoDB did not say which rows it wrote.", code="nocodb_unreadable")
        return rows


def _data(at: At) -> str:
    return f"/api/v3/data/{_step(at.base)}/{_step(at.table)}"


def _links(at: At, field: str, row: str) -> str:
    return f"{_data(at)}/links/{_step(field)}/{_step(row)}"


def _step(id: str) -> str:
    """One step of a path, whatever the text is; "." and ".." would be walked by any client."""
    return quote(id, safe="").replace(".", "%2E") or "%20"


def _ids(ids: Sequence[str], most: int) -> Sequence[Json]:
    return [{"id": id} for id in _within(ids, most)]


def _within(rows: Sequence[T], most: int) -> Sequence[T]:
    """Raises ValueError: whoever calls makes the batches."""
    if not 0 < len(rows) <= most:
        raise ValueError(f"{len(rows)} rows in one call, of 1 to {most}")
    return rows
