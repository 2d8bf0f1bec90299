"""NocoDB's HTTP: exactly the calls that the tools need, each with what it takes and gives.

v3 has no list of bases and no aggregates: those are v2. Rows go by id as text.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from core.errors import WriteUnsure
from core.http import HttpClient, HttpError
from core.tools.again import PAUSES, Sleep, again
from core.tools.nocodb import records
from core.tools.nocodb.error import NocoError, busy_wait, unreadable, wait_of, worded
from core.tools.nocodb.pace import Pace, interval_of
from core.tools.nocodb.records import Aggregate, At, Base, Json, Named, Page, Record, Sort

T = TypeVar("T")

BATCH = 10
"""Rows in one call that writes: v3 refuses more (ERR_MAX_PAYLOAD_LIMIT_EXCEEDED)."""
AT_ONCE = 8
"""Calls under way at the same time."""
LINKS = 100
"""Links in one call. NocoDB 0.301.3 has no limit there; ours keeps a call short."""
PAGE = 1000
"""Rows in one page at most: NocoDB cuts larger ones down to it without a word."""

_BY = re.compile(r"[^\w:.@-]", re.ASCII)


class NocoApi:
    """`url` is NocoDB's origin, `token` an API token, which acts as its user.

    What reads is asked again where NocoDB is down, busy or failing, and raises NocoError. What
    writes is sent once (again only where NocoDB said that it is too busy, and so did nothing):
    it raises NocoError when nothing was written, WriteUnsure when it may have been. `by` names who
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
        self.url = url.rstrip("/")
        self.drifts = 0
        """How often NocoDB said that a table or field that we named is not there."""
        self._token = token
        self._http = http
        self._pauses = tuple(pauses)
        self._timeout = timeout
        self._sleep = sleep
        self._pace = Pace(interval_of(url), clock, sleep)
        self._gate = asyncio.Semaphore(AT_ONCE)

    def patient(self, pauses: Sequence[float]) -> NocoApi:
        """The same, which asks again after these seconds where a read fails."""
        other = copy.copy(self)
        other._pauses = tuple(pauses)
        return other

    async def bases(self) -> Sequence[Base]:
        """Those that the token's user sees."""
        return records.bases(await self._read("/api/v2/meta/bases"))

    async def role(self, base: str) -> str:
        """Of the token's user in that base: owner, creator, editor, commenter, viewer; "" for none.

        v1, because nothing newer tells it.
        """
        me = records.json_object(await self._read("/api/v1/auth/user/me", {"base_id": base}))
        roles = me.get("base_roles")
        held = roles if isinstance(roles, Mapping) else {}
        return next((str(role) for role, has in held.items() if has), "")

    async def tables(self, base: str) -> Sequence[Named]:
        return records.named(await self._read(f"/api/v3/meta/bases/{base}/tables"))

    async def table(self, at: At) -> Json:
        """Its description as NocoDB tells it; `core.tools.nocodb.schema` reads it."""
        path = f"/api/v3/meta/bases/{at.base}/tables/{at.table}"
        return records.json_object(await self._read(path))

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
        return records.page(await self._read(f"{_data(at)}/records", asked))

    async def record(self, at: At, id: str, *, fields: Sequence[str] = ()) -> Record:
        """Raises NocoError `not_found`."""
        asked = {"fields": ",".join(fields)} if fields else {}
        return records.record(await self._read(f"{_data(at)}/records/{_step(id)}", asked))

    async def count(self, at: At, where: str = "") -> int:
        """Rows that fit `where`; all of them for ""."""
        asked = {"where": where} if where else {}
        answer = records.json_object(await self._read(f"{_data(at)}/count", asked))
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
        return records.json_object(await self._read(f"/api/v2/tables/{at.table}/aggregate", asked))

    async def links(self, at: At, field: str, row: str) -> Sequence[Record]:
        """All rows that a link field (by id) of a row leads to, to the last page.

        Their `fields` hold their display field alone. Raises NocoError `not_found` for the row.
        """
        found: list[Record] = []
        while True:
            asked = {"page": str(len(found) // PAGE + 1), "pageSize": str(PAGE)}
            page = records.linked(await self._read(_links(at, field, row), asked))
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
        await self._write("DELETE", f"{_data(at)}/records", _ids(ids, BATCH), by)

    async def link(self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = "") -> None:
        """Let a link field (by id) of a row lead to up to 100 more; does no harm twice."""
        await self._write("POST", _links(at, field, row), _ids(ids, LINKS), by)

    async def unlink(
        self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = ""
    ) -> None:
        """Up to 100; those that are not linked are passed over."""
        await self._write("DELETE", _links(at, field, row), _ids(ids, LINKS), by)

    async def attach(self, at: At, row: str, key: str, files: Json, *, by: str = "") -> None:
        """Let attachment fields of a row hold files that NocoDB has, as they were once read.

        `key` is the title of the field with the id. v2: v3 takes no file that the row does not
        hold already (NocoDB 0.301.3, ERR_INVALID_VALUE_FOR_FIELD).
        """
        body = [{key: row, **files}]
        await self._write("PATCH", f"/api/v2/tables/{_step(at.table)}/records", body, by)

    async def _rows(self, method: str, at: At, body: Sequence[Json], by: str) -> Sequence[Record]:
        answer = await self._write(method, f"{_data(at)}/records", body, by)
        try:
            rows = records.page(answer).records
        except NocoError:
            rows = ()
        if len(rows) != len(body):
            raise WriteUnsure("NocoDB did not say which rows it wrote.", code="nocodb_unreadable")
        return rows

    async def _read(self, path: str, asked: Mapping[str, str] | None = None) -> Any:
        try:
            return await again(
                lambda: self._ask("GET", path, params=asked), wait_of, self._pauses, self._sleep
            )
        except HttpError as error:
            raise self._worded(error) from None

    async def _write(self, method: str, path: str, body: Sequence[Json], by: str) -> Any:
        try:
            return await again(
                lambda: self._ask(method, path, body=body, by=by),
                busy_wait, self._pauses, self._sleep,
            )  # fmt: skip
        except HttpError as error:
            problem = self._worded(error)
        if problem.unsure:
            raise WriteUnsure(str(problem), code=problem.code)
        raise problem

    def _worded(self, error: HttpError) -> NocoError:
        problem = worded(error)
        self.drifts += problem.drift
        return problem

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Sequence[Json] | None = None,
        by: str = "",
    ) -> Any:
        headers = {"xc-token": self._token}
        if by:
            headers["User-Agent"] = f"ponte-bot ({_BY.sub('', by)[:100]})"
        async with self._gate:
            await self._pace.take()
            return await self._http.request_json(
                method, f"{self.url}{path}", body=body, params=params or None, headers=headers,
                timeout=self._timeout,
            )  # fmt: skip


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
