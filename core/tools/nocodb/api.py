"""NocoDB's HTTP API: the calls that the tools need, their retries, rate limit and errors.

v3 has no list of bases and no aggregates: those are v2. Rows go by id as text.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from core.base.errors import WriteUnsure
from core.base.http import HttpAnswer, HttpClient, HttpError
from core.base.tasks import Pacer, Sleep, retry, wait_after_each
from core.base.text import to_one_line
from core.domain.messages import MAX_ATTACHMENT_BYTES
from core.tools.nocodb.api_errors import (
    FILE_GONE,
    NO_RETRY,
    STORED_ELSEWHERE,
    NocoError,
    explain_nocodb_error,
    seconds_before_read_retry,
    seconds_before_write_retry,
    unreadable_answer,
)

READ_PAUSES_SECONDS = (0.3, 1.2)

CLOUD_CALL_INTERVAL_SECONDS = 0.25
"""Seconds between calls. 5 a second are allowed to a user (https://nocodb.com/docs), and calls do
not arrive at the distances at which they leave. A server of one's own has no limit."""

DRIFT_REASONS = frozenset({"ERR_FIELD_NOT_FOUND", "ERR_TABLE_NOT_FOUND", "ERR_INVALID_FILTER"})
"""NocoDB's codes for a table or field that changed since we read the schema."""

MAX_PARALLEL_NOCODB_CALLS = 8

_NOT_IN_A_NAME = re.compile(r"[^\w:.@-]", re.ASCII)

MAX_VERSION_CHARACTERS = 40
MAX_ROWS_PER_WRITE = 10
"""Rows in one call that writes: v3 refuses more (ERR_MAX_PAYLOAD_LIMIT_EXCEEDED)."""
MAX_LINKS_PER_WRITE = 100
"""Links in one call. NocoDB 0.301.3 has no limit there; ours keeps a call short."""
UPLOAD_TIMEOUT_SECONDS = 80.0
"""Seconds for one file. With the write of its row, it fits `TableWriter.patience`."""
MAX_PAGE_ROWS = 1000
"""Rows in one page at most: NocoDB cuts larger ones down to it without a word."""

Json = Mapping[str, Any]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableId:
    """The id of a table and that of its base."""

    base: str
    table: str


@dataclass(frozen=True, slots=True)
class NamedTable:
    """The id and the title of a table, which are all that NocoDB's list of tables tells."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class NocoBase:
    """A base of NocoDB. `foreign_sources` holds the ids of its databases that NocoDB did not
    create."""

    id: str
    title: str
    foreign_sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NocoRecord:
    """A row, with `fields` by title.

    NocoDB cuts the rows in a link cell at 25. `NocoApi.fetch_linked_rows` returns all of them.
    """

    id: str
    fields: Json


Records = Sequence[NocoRecord]
Ids = Sequence[str]


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A page of rows. The number of all rows is not in it (`NocoApi.count_rows`)."""

    records: tuple[NocoRecord, ...]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class SortField:
    """`field` is an id or a title."""

    field: str
    direction: Literal["asc", "desc"] = "asc"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A request for one page of rows; `page` counts from 1. `fields` holds ids or titles; none
    means all."""

    fields: Sequence[str] = ()
    where: str = ""
    sort: Sequence[SortField] = ()
    page: int = 1
    size: int = 25


@dataclass(frozen=True, slots=True)
class FieldAggregate:
    """An aggregate that NocoDB computes: sum, avg, min, max and the like.

    `field` must be an id: for a title, NocoDB returns nothing and reports no error.
    """

    field: str
    type: str


Aggregates = Sequence[FieldAggregate]


def seconds_between_calls(url: str) -> float:
    """Only NocoDB's cloud limits calls; 0 for other servers."""
    host = urlsplit(url).hostname or ""
    is_cloud = host == "nocodb.com" or host.endswith(".nocodb.com")
    return CLOUD_CALL_INTERVAL_SECONDS if is_cloud else 0.0


def require_object(answer: object) -> Json:
    """Raise NocoError if the answer is no JSON object."""
    if not isinstance(answer, Mapping):
        raise unreadable_answer()
    return answer


def parse_record(answer: object) -> NocoRecord:
    """Raise NocoError for anything but a JSON object {"id", "fields"}; without fields, the row has
    none."""
    row = require_object(answer)
    fields = row.get("fields")
    if row.get("id") is None:
        raise unreadable_answer()
    return NocoRecord(str(row["id"]), fields if isinstance(fields, Mapping) else {})


def parse_page(answer: object) -> RecordPage:
    """Raise NocoError for anything but a JSON object {"records": […], "next": address or null}."""
    answer = require_object(answer)
    records = tuple(map(parse_record, _object_list(answer, "records")))
    return RecordPage(records, has_more=bool(answer.get("next")))


class TableApi(Protocol):
    """The calls that the tools and the REST driver make: of NocoDB's HTTP API, or of the sample
    base.

    Reads raise NocoError. Writes raise NocoError if nothing was written, and WriteUnsure if
    something may have been.
    """

    filters_rows: bool
    """The calls accept a `where`. False: Ponte checks each row itself."""
    drift_count: int
    """How often a table or field turned out to have changed. Cached descriptions are then
    dropped."""

    def format_source_link(self, at: TableId, row: str = "") -> str:
        """Return the end of the line that names the source of an answer: a link in Markdown to the
        table, or to the row `row`, or a sentence if there is no page."""

    async def list_bases(self) -> Sequence[NocoBase]: ...

    async def fetch_role(self, base: str) -> str:
        """Return the role that our token has in that base, "" if the server does not tell it.

        The role decides which rows and fields Ponte can read and write there.
        """

    async def list_tables(self, base: str) -> Sequence[NamedTable]: ...

    async def describe_table(self, at: TableId) -> Json: ...

    async def fetch_page(self, at: TableId, query: PageQuery) -> RecordPage: ...

    async def fetch_record(self, at: TableId, id: str, *, fields: Sequence[str] = ()) -> NocoRecord:
        """Return one row. Raise NocoError `not_found`."""

    async def count_rows(self, at: TableId, where: str = "") -> int:
        """Return how many rows of the table match `where`; "" matches all."""

    async def fetch_aggregates(self, at: TableId, figures: Aggregates, where: str = "") -> Json:
        """Return figures of all matching rows, such as sums, by the field's title. Called only for
        a system that filters rows itself (`filters_rows`)."""

    async def fetch_linked_rows(self, at: TableId, field: str, row: str) -> Records:
        """Return all rows that a link field (by id) of a row links to."""

    async def create_rows(self, at: TableId, rows: Sequence[Json], *, by: str = "") -> Records:
        """Create up to 10 rows and return them whole, in their order."""

    async def update_rows(self, at: TableId, rows: Records, *, by: str = "") -> Records:
        """Write the `fields` of up to 10 rows and return the rows whole."""

    async def delete_rows(self, at: TableId, ids: Ids, *, by: str = "") -> None: ...

    async def write_links(
        self, at: TableId, field: str, row: str, ids: Ids, *, remove: bool, by: str = ""
    ) -> None:
        """Add rows to a link field (by id) of a row, or remove them from it."""

    async def set_attachments(
        self, at: TableId, row: str, key: str, files: Json, *, by: str = ""
    ) -> None:
        """Set attachment fields of the row `row` to files that `upload_file` has stored. `key` is
        the title of the id field."""

    async def upload_file(self, name: str, type: str, data: bytes, *, by: str = "") -> Json:
        """Store a file that no row has yet, and return it as `set_attachments` takes it."""

    async def fetch_file(self, file: Json) -> bytes:
        """Return the bytes of a file in a cell, of at most MAX_ATTACHMENT_BYTES."""


class NocoApi:
    """A client of NocoDB's HTTP API. `token` is an API token, which acts as its user.

    Reads raise NocoError, and are repeated if NocoDB is down, busy or failing. Writes raise
    NocoError if nothing was written, and WriteUnsure if something may have been. They are repeated
    only after a 429. `by` names who asked, as "slack:U123": NocoDB stores it in its own audit of
    rows.
    """

    filters_rows = True

    def __init__(
        self,
        url: str,
        token: str,
        http: HttpClient,
        *,
        pauses: Sequence[float] = READ_PAUSES_SECONDS,
        timeout: float = 30.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._http = http
        # Seconds before each repetition of a read that failed.
        self._pauses = tuple(pauses)
        self._timeout = timeout
        self._sleep = sleep
        # Both keep within NocoDB's limits: the time between two calls, which only its cloud limits
        # (so the `url` decides), and calls at the same time.
        self._pace = Pacer(seconds_between_calls(url), sleep=sleep)
        self._gate = asyncio.Semaphore(MAX_PARALLEL_NOCODB_CALLS)
        self.drift_count = 0
        """How often NocoDB said that a known table or field is missing, so that descriptions are
        outdated."""

    def format_source_link(self, at: TableId, row: str = "") -> str:
        """Return a Markdown link to the table or the row on NocoDB's page. "nc" stands for the
        workspace in the address (NocoDB's router, 0.301.3)."""
        step = "/".join(quote(part, safe="") for part in ("nc", at.base, at.table))
        row_query = f"?rowId={quote(row, safe='')}" if row else ""
        return f"[NocoDB]({self.url}/dashboard/#/{step}{row_query})"

    def with_pauses(self, pauses: Sequence[float]) -> NocoApi:
        """The client shares this one's connections and limits."""
        other = copy.copy(self)
        other._pauses = tuple(pauses)
        return other

    async def list_bases(self) -> Sequence[NocoBase]:
        """Foreign databases are those that are neither `is_meta` nor `is_local`, as NocoDB marks
        its own. Raise NocoError."""
        bases = []
        for base in _object_list(await self._read("/api/v2/meta/bases"), "list"):
            # The databases of the base; an answer without them is read as one without any.
            sources = base.get("sources")
            listed = sources if isinstance(sources, list) else []
            databases = [source for source in listed if isinstance(source, Mapping)]
            foreign = frozenset(
                str(d.get("id")) for d in databases if not (d.get("is_meta") or d.get("is_local"))
            )
            bases.append(NocoBase(str(base.get("id") or ""), str(base.get("title") or ""), foreign))
        return bases

    async def fetch_role(self, base: str) -> str:
        """Return the role of the token's user in that base, or "" if this NocoDB version does not
        tell it. Raise NocoError.

        Roles are owner, creator, editor, commenter and viewer. Only v1 of the API returns them.
        """
        try:
            me = await self._read("/api/v1/auth/user/me", {"base_id": base})
        except NocoError as error:
            # A version that has no such route, or refuses it. The role then stays unknown.
            if error.code in ("nocodb_missing", "bad_call", "nocodb_forbidden"):
                return ""
            raise
        roles = me.get("base_roles")
        by_name = roles if isinstance(roles, Mapping) else {}
        return next((str(role) for role, has in by_name.items() if has), "")

    async def fetch_version(self) -> str:
        """Raise NocoError. A server without internet access can take five seconds."""
        version = (await self._read("/api/v1/version")).get("currentVersion")
        return to_one_line(version, MAX_VERSION_CHARACTERS) if isinstance(version, str) else ""

    async def list_tables(self, base: str) -> Sequence[NamedTable]:
        body = await self._read(f"/api/v3/meta/bases/{_quote_step(base)}/tables")
        return [
            NamedTable(str(table.get("id") or ""), str(table.get("title") or ""))
            for table in _object_list(body, "list")
        ]

    async def describe_table(self, at: TableId) -> Json:
        """Raise NocoError, also if it has no id or no fields, so that no such description is
        cached."""
        path = f"/api/v3/meta/bases/{_quote_step(at.base)}/tables/{_quote_step(at.table)}"
        description = await self._read(path)
        if not isinstance(description.get("fields"), list) or not description.get("id"):
            raise unreadable_answer()
        return description

    async def fetch_page(self, at: TableId, query: PageQuery) -> RecordPage:
        """Raise NocoError `bad_page` for a page after the last one."""
        parameters = {"page": str(query.page), "pageSize": str(min(query.size, MAX_PAGE_ROWS))}
        if query.fields:
            parameters["fields"] = ",".join(query.fields)
        if query.where:
            parameters["where"] = query.where
        if query.sort:
            order = [{"field": key.field, "direction": key.direction} for key in query.sort]
            parameters["sort"] = json.dumps(order)
        return parse_page(await self._read(f"{_data_path(at)}/records", parameters))

    async def fetch_record(self, at: TableId, id: str, *, fields: Sequence[str] = ()) -> NocoRecord:
        query = {"fields": ",".join(fields)} if fields else {}
        return parse_record(await self._read(f"{_data_path(at)}/records/{_quote_step(id)}", query))

    async def count_rows(self, at: TableId, where: str = "") -> int:
        """NocoDB may send the number as a text."""
        query = {"where": where} if where else {}
        count = (await self._read(f"{_data_path(at)}/count", query)).get("count")
        if not isinstance(count, int | str) or not str(count).isdecimal():
            raise unreadable_answer()
        return int(count)

    async def fetch_aggregates(self, at: TableId, figures: Aggregates, where: str = "") -> Json:
        """A second aggregate of one field has the key "<field id>:1", and so on. This is v2,
        whose filters know no quotes: with quotes, NocoDB 0.301.3 computes a wrong figure and
        reports no error, so they raise ValueError here. Fields are ids and values are plain:
        (cxyz,eq,Lead)."""
        if set(where) & {'"', "'"}:
            raise ValueError("v2 knows no quotes in a filter")
        query = {"aggregation": json.dumps([{"field": w.field, "type": w.type} for w in figures])}
        if where:
            query["where"] = where
        return await self._read(f"/api/v2/tables/{_quote_step(at.table)}/aggregate", query)

    async def fetch_linked_rows(self, at: TableId, field: str, row: str) -> Records:
        """Raise NocoError. Their `fields` hold only their display field. A missing row raises
        NocoError `not_found`."""
        rows: dict[str, NocoRecord] = {}
        for number in itertools.count(1):
            query = {"page": str(number), "pageSize": str(MAX_PAGE_ROWS)}
            answer = await self._read(_links_path(at, field, row), query)
            if "record" in answer:  # a link to one row at most: the row or null
                return [parse_record(answer["record"])] if answer["record"] else []
            page = parse_page(answer)
            # A server or proxy that ignores the number returns the first page for ever.
            is_new = any(record.id not in rows for record in page.records)
            rows |= {record.id: record for record in page.records}
            # To ask for a page after the last one is an error. `next` is no proof of another page,
            # because some last pages have it too; only a full page can have one.
            if not (page.has_more and is_new) or len(page.records) < MAX_PAGE_ROWS:
                break
        return list(rows.values())

    async def create_rows(self, at: TableId, rows: Sequence[Json], *, by: str = "") -> Records:
        """NocoDB ignores unknown fields. A link field takes [{"id": …}]."""
        body = [{"fields": dict(row)} for row in _require_batch(rows, MAX_ROWS_PER_WRITE)]
        return await self._write_rows("POST", at, body, by)

    async def update_rows(self, at: TableId, rows: Records, *, by: str = "") -> Records:
        """One missing id fails the whole call."""
        batch = _require_batch(rows, MAX_ROWS_PER_WRITE)
        body = [{"id": row.id, "fields": dict(row.fields)} for row in batch]
        return await self._write_rows("PATCH", at, body, by)

    async def delete_rows(self, at: TableId, ids: Ids, *, by: str = "") -> None:
        """One missing id fails the whole call. On SQLite the next new row can get the id of a
        deleted last row."""
        body = [{"id": id} for id in _require_batch(ids, MAX_ROWS_PER_WRITE)]
        await self._write("DELETE", f"{_data_path(at)}/records", body, by)

    async def write_links(
        self, at: TableId, field: str, row: str, ids: Ids, *, remove: bool, by: str = ""
    ) -> None:
        """Adding a row twice does no harm. Removed rows that are not linked are ignored."""
        body = [{"id": id} for id in _require_batch(ids, MAX_LINKS_PER_WRITE)]
        await self._write("DELETE" if remove else "POST", _links_path(at, field, row), body, by)

    async def set_attachments(
        self, at: TableId, row: str, key: str, files: Json, *, by: str = ""
    ) -> None:
        """NocoDB already stores the files. `by` is the asker, for NocoDB's audit; "" names nobody.
        `key` is the title of the id field. This is v2, because v3 accepts only files that the row
        already holds (NocoDB 0.301.3, ERR_INVALID_VALUE_FOR_FIELD)."""
        body = [{key: row, **files}]
        await self._write("PATCH", f"/api/v2/tables/{_quote_step(at.table)}/records", body, by)

    async def upload_file(self, name: str, type: str, data: bytes, *, by: str = "") -> Json:
        """Store a file that no row has yet, and return it. Raise NocoError.

        The title of the result is the name, but its path is another one. This is v2: v3 uploads
        into a row, where a second attempt would attach the file twice, and it changes the title. A
        failure is never WriteUnsure, because no row has changed. Only a 429, by which NocoDB
        refuses a call, is followed by another attempt.
        """
        try:
            answer = await retry(
                lambda: self._send(
                    "POST",
                    "/api/v2/storage/upload",
                    files={"file": (name, data, type)},
                    by=by,
                    timeout=UPLOAD_TIMEOUT_SECONDS,
                ),
                HttpError,
                wait_after_each(self._pauses, seconds_before_write_retry),
                sleep=self._sleep,
            )
        except HttpError as error:
            raise self._explain(error) from None
        file = answer[0] if isinstance(answer, list) and len(answer) == 1 else None
        if not (isinstance(file, Mapping) and (file.get("path") or file.get("url"))):
            raise unreadable_answer()
        return file

    async def fetch_file(self, file: Json) -> bytes:
        """Raise NocoError.

        NocoDB passes on whatever paths and addresses somebody wrote into the cell. So only paths on
        its own server are read, without the token, and no redirect is followed.
        """
        path = str(file.get("signedPath") or file.get("path") or "")
        # NocoDB stores files under these two. A step "", "." or ".." could lead elsewhere.
        steps = path.split("/")
        if steps[0] not in ("dltemp", "download") or not all(step.strip(".") for step in steps):
            raise NocoError(STORED_ELSEWHERE, code="file_elsewhere", hint=NO_RETRY)
        url = f"{self.url}/{quote(path)}"
        try:
            async with self._gate:
                await self._pace.wait()
                return await self._http.get_bytes(url, cap=MAX_ATTACHMENT_BYTES)
        except HttpError as error:
            # A refusal of this file, and not of a server that is busy or broken.
            if isinstance(error, HttpAnswer) and error.status < 500 and error.status != 429:
                raise NocoError(FILE_GONE, code="file_gone", hint=NO_RETRY) from None
            raise self._explain(error) from None

    async def _write_rows(self, method: str, at: TableId, body: Sequence[Json], by: str) -> Records:
        """Raise WriteUnsure if NocoDB's answer cannot be read or does not have all of them: it
        accepted the write, so some may be saved."""
        answer = await self._write(method, f"{_data_path(at)}/records", body, by)
        try:
            rows = parse_page(answer).records
        except NocoError:
            rows = ()
        if len(rows) == len(body):
            return rows
        raise WriteUnsure("NocoDB didn't report which rows it saved.", code="nocodb_unreadable")

    async def _read(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """A read changes nothing, so it is repeated after a failure that may pass, such as a busy
        server: after NocoDB's Retry-After, or after each of `_pauses`."""
        try:
            return require_object(
                await retry(
                    lambda: self._send("GET", path, params=query),
                    HttpError,
                    wait_after_each(self._pauses, seconds_before_read_retry),
                    sleep=self._sleep,
                )
            )
        except HttpError as error:
            raise self._explain(error) from None

    async def _write(self, method: str, path: str, body: Sequence[Json], by: str) -> Any:
        """The write is repeated only after failures that show that NocoDB did nothing. Raise
        NocoError if nothing was written, WriteUnsure if something may have been. `by`: who asked,
        for NocoDB's record of changes."""
        try:
            return await retry(
                lambda: self._send(method, path, body=body, by=by),
                HttpError,
                wait_after_each(self._pauses, seconds_before_write_retry),
                sleep=self._sleep,
            )
        except HttpError as error:
            raise self._explain(error).as_write_error() from None

    def _explain(self, error: HttpError) -> NocoError:
        problem = explain_nocodb_error(error)
        if problem.reason in DRIFT_REASONS:
            self.drift_count += 1
        return problem

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Sequence[Json] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        by: str = "",
        timeout: float = 0.0,
    ) -> Any:
        """Send one request, not faster (`_pace`) and not more at once (`_gate`) than NocoDB allows.
        NocoDB's audit of rows shows `by`, the person who asked, as a part of the user agent."""
        headers = {"xc-token": self._token}
        if by:
            # Only ASCII letters, digits and `_:.@-` of it are sent, at most 100.
            headers["User-Agent"] = f"ponte-bot ({_NOT_IN_A_NAME.sub('', by)[:100]})"
        async with self._gate:
            await self._pace.wait()
            return await self._http.request_json(
                method,
                f"{self.url}{path}",
                body=body,
                files=files,
                params=params or None,
                headers=headers,
                timeout=timeout or self._timeout,
            )


def _object_list(body: Json, name: str) -> Sequence[Json]:
    rows = body.get(name)
    if not isinstance(rows, list):
        raise unreadable_answer()
    return [require_object(row) for row in rows]


def _data_path(at: TableId) -> str:
    return f"/api/v3/data/{_quote_step(at.base)}/{_quote_step(at.table)}"


def _links_path(at: TableId, field: str, row: str) -> str:
    return f"{_data_path(at)}/links/{_quote_step(field)}/{_quote_step(row)}"


def _quote_step(id: str) -> str:
    # Dots are quoted, because clients resolve "." and "..". An empty step would lead to another
    # path.
    return quote(id, safe="").replace(".", "%2E") or "%20"


def _require_batch(rows: Sequence[T], most: int) -> Sequence[T]:
    if not 0 < len(rows) <= most:
        raise ValueError(f"{len(rows)} rows in one call, of 1 to {most}")
    return rows
