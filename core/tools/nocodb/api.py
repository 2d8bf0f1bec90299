"""NocoDB's HTTP API: the calls that the tools need, their retries, rate limit and errors.

v3 has no list of bases and no aggregates: those are v2. Rows go by id as text.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from core.clients.error_table import SERVER_ERRORS, ErrorTable, on, was_sent
from core.clients.http import (
    HttpAnswer,
    HttpClient,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
    RemoteError,
    parse_retry_after,
    withhold_secrets,
)
from core.domain.errors import WriteUnsure
from core.runtime.retry import Sleep, retry, wait_after_each
from core.runtime.tasks import Pacer

READ_PAUSES_SECONDS = (0.3, 1.2)
"""Pauses before the second and third attempt of a read."""

AWAY_STATUSES = (502, 503, 504)
"""Statuses of a proxy while the server behind it is down or starting."""

CLOUD_CALL_INTERVAL_SECONDS = 0.25
"""Seconds between calls. 5 a second are allowed to a user (https://nocodb.com/docs), and calls do
not arrive at the distances at which they leave. A server of one's own has no limit."""

DEFAULT_BUSY_SECONDS = 30.0
"""The wait after a 429 without Retry-After (NocoDB's cloud asks for 30)."""

DRIFT_REASONS = frozenset({"ERR_FIELD_NOT_FOUND", "ERR_TABLE_NOT_FOUND", "ERR_INVALID_FILTER"})
"""NocoDB's codes for a table or field that changed since we read the schema."""

_ROLE = re.compile(r"with the roles?: ([\w -]{1,40})")
_RECORD = re.compile(r"[Rr]ecord '([^']{1,64})' not found")

MAX_PARALLEL_CALLS = 8
"""Calls under way at the same time."""

_NOT_IN_A_NAME = re.compile(r"[^\w:.@-]", re.ASCII)
"""Characters that are removed from the name of the person who asks."""

MAX_ROWS_PER_WRITE = 10
"""Rows in one call that writes: v3 refuses more (ERR_MAX_PAYLOAD_LIMIT_EXCEEDED)."""
MAX_LINKS_PER_WRITE = 100
"""Links in one call. NocoDB 0.301.3 has no limit there; ours keeps a call short."""
MAX_PAGE_ROWS = 1000
"""Rows in one page at most: NocoDB cuts larger ones down to it without a word."""

Json = Mapping[str, Any]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class At:
    """A table, by the ids of its base and its own."""

    base: str
    table: str


@dataclass(frozen=True, slots=True)
class Named:
    """A table as the list of them tells it."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Base:
    """`foreign` are the ids of its databases that NocoDB did not make."""

    id: str
    title: str
    foreign: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Record:
    """A row: `fields` by title. The rows in a link cell are cut at 25: `NocoApi.links` has all."""

    id: str
    fields: Json


@dataclass(frozen=True, slots=True)
class Page:
    """`more`: another page follows. How many rows there are in all, `NocoApi.count` tells."""

    records: tuple[Record, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """`field` is an id or a title."""

    field: str
    direction: Literal["asc", "desc"] = "asc"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`field` is an id (a title gives nothing, without a word); `type` as sum, avg, min, max."""

    field: str
    type: str


def interval_of(url: str) -> float:
    """Return the seconds between two calls of the server at `url`."""
    host = urlsplit(url).hostname or ""
    return (
        CLOUD_CALL_INTERVAL_SECONDS if host == "nocodb.com" or host.endswith(".nocodb.com") else 0.0
    )


class NocoError(RemoteError):
    """`reason` is NocoDB's own code ("" where it told none).

    NocoDB tells errors as `{"error": CODE, "message": TEXT}`, older parts of it `{"msg": TEXT}`
    (https://nocodb.com/docs/apis/errors, and as 0.301.3 answers). Most things that are missing are
    422. Texts are from outside and may hold what stands in cells.

    Codes: nocodb_token, nocodb_forbidden, not_found, unknown_table, unknown_field, renamed,
    bad_filter, bad_value, bad_page, bad_call, wrong_base, no_base, several_bases, nocodb_missing,
    nocodb_busy, nocodb_down, nocodb_silent, nocodb_failed, nocodb_unreadable, too_large.
    """

    reason = ""


_NO_RETRY = "tell the person; trying again is of no use"
_ASK_FOR_LESS = "ask for fewer rows or fields"
_LOOK_AGAIN = "look at nocodb_tables again"


def reason_of(answer: HttpAnswer) -> str:
    """Return NocoDB's own code for the failure; "" where it gives none."""
    return _read_body(answer)[0]


def own_words(answer: HttpAnswer) -> str:
    """Return NocoDB's own words, without addresses and tokens."""
    return withhold_secrets(_read_body(answer)[1])


def seconds_to_wait(answer: HttpAnswer) -> float:
    """Return the seconds that NocoDB asks for; `DEFAULT_BUSY_SECONDS` where it gives none."""
    seconds = parse_retry_after(answer.headers)
    return DEFAULT_BUSY_SECONDS if seconds is None else seconds


def _read_body(answer: HttpAnswer) -> tuple[str, str]:
    body = answer.json if isinstance(answer.json, Mapping) else {}
    given = {name: text for name, text in body.items() if isinstance(text, str)}
    return given.get("error", ""), given.get("message", given.get("msg", ""))


def _has_reason(*reasons: str) -> Callable[[HttpAnswer], bool]:
    return lambda answer: reason_of(answer) in reasons


def _is_not_nocodb(answer: HttpAnswer) -> bool:
    reason, text = _read_body(answer)
    return reason == "NOT_FOUND" or not (reason or text)


def _find_role(answer: HttpAnswer) -> str:
    """Return the role of NocoDB's user for us, where the answer names it."""
    role = _ROLE.search(_read_body(answer)[1])
    return role[1].strip().title() if role else ""


def _missing_row(answer: HttpAnswer) -> str:
    found = _RECORD.search(_read_body(answer)[1])
    return withhold_secrets(found[1]) if found else "of that id"


ERRORS = ErrorTable(
    NocoError,
    on(HttpDown, *AWAY_STATUSES).raises(
        "nocodb_down",
        "NocoDB cannot be reached. Please try again in a minute; "
        "if it goes on, the operator must check NOCODB_URL and that NocoDB runs.",
        retry=True, outcome_unknown=was_sent,
    ),
    on(HttpTimeout).raises(
        "nocodb_silent", "NocoDB did not answer in time. Please try again in a minute.",
        hint=_ASK_FOR_LESS, outcome_unknown=was_sent,
    ),
    on(HttpTooLarge).raises(
        "too_large", "The answer of NocoDB is too large.",
        hint=_ASK_FOR_LESS, outcome_unknown=True,
    ),
    on(401).raises(
        "nocodb_token", "NocoDB does not accept the token. The operator must check NOCODB_TOKEN.",
        hint=_NO_RETRY,
    ),
    on(403, when=lambda answer: bool(_find_role(answer))).raises(
        "nocodb_forbidden",
        "NocoDB's user for me has the role {role}, which may not do that. "
        "The operator can give it the role Editor in NocoDB.",
        hint="tell the person; do not look for another way",
        values=lambda answer: {"role": _find_role(answer)},
    ),
    on(403).raises(
        "nocodb_forbidden",
        "NocoDB's user for me may not see that. The operator must invite that user to the base.",
        hint="tell the person; do not look for another way",
    ),
    on(429).raises(
        "nocodb_busy", "NocoDB has too much to do. Please try again in {seconds} s.",
        retry=True, values=lambda answer: {"seconds": round(seconds_to_wait(answer))},
    ),
    on(SERVER_ERRORS).raises(
        "nocodb_failed",
        "NocoDB failed on its own side (status {status}). Please try again in a minute; "
        "if it goes on, tell the operator.",
        hint=own_words, retry=True, outcome_unknown=True,
        values=lambda answer: {"status": answer.status},
    ),
    on(HttpAnswer, when=_is_not_nocodb).raises(
        "nocodb_missing",
        "There is no NocoDB with the API that I speak (v3) at the address that is set. "
        "The operator must check NOCODB_URL, and that NocoDB is 0.301 or newer.",
    ),
    on(HttpAnswer, when=_has_reason("ERR_RECORD_NOT_FOUND")).raises(
        "not_found", "There is no row {id} in that table.",
        values=lambda answer: {"id": _missing_row(answer)},
    ),
    on(HttpAnswer, when=_has_reason("ERR_TABLE_NOT_FOUND")).raises(
        "unknown_table", "NocoDB has that table no longer.", hint=_LOOK_AGAIN
    ),
    on(HttpAnswer, when=_has_reason("ERR_BASE_NOT_FOUND")).raises(
        "wrong_base",
        "NocoDB has no base with the id that is set. The operator must check NOCODB_BASE_ID.",
        hint=_NO_RETRY,
    ),
    on(HttpAnswer, when=_has_reason("ERR_FIELD_NOT_FOUND")).raises(
        "unknown_field", "NocoDB has that field no longer.", hint=_LOOK_AGAIN
    ),
    on(
        HttpAnswer, when=_has_reason("ERR_INVALID_FILTER", "ERR_FILTER_VERIFICATION_FAILED")
    ).raises("bad_filter", "NocoDB does not accept that filter.", hint=own_words),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_VALUE_FOR_FIELD")).raises(
        "bad_value", "NocoDB does not accept a value.", hint=own_words
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_PK_VALUE")).raises(
        "not_found", "A row of that table cannot have such an id.", hint=own_words
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_OFFSET_VALUE")).raises(
        "bad_page", "There is no such page.", hint="ask for an earlier page"
    ),
    on(HttpAnswer).raises("bad_call", "NocoDB does not accept that call.", hint=own_words),
    on().raises(
        "nocodb_unreadable",
        "NocoDB answered something that I cannot read. "
        "The operator must check that NOCODB_URL is NocoDB's own address.",
        outcome_unknown=True,
    ),
)  # fmt: skip


def explain(error: HttpError) -> NocoError:
    """Return the error of a call in words, without addresses and without what was sent."""
    problem = ERRORS.explain(error)
    if isinstance(error, HttpAnswer) and error.status not in AWAY_STATUSES:
        problem.reason = reason_of(error)
    return problem


def unreadable() -> NocoError:
    return explain(HttpUnreadable("not as documented"))


def wait_of(error: HttpError, pause: float) -> float | None:
    """Return the seconds until a read may be repeated: `pause`, or what NocoDB asks for. None where
    it is not to be repeated."""
    if isinstance(error, HttpAnswer) and error.status == 429:
        return busy_wait(error, pause)
    return pause if ERRORS.find(error).retry else None


def busy_wait(error: HttpError, pause: float) -> float | None:
    """Return the seconds to wait where NocoDB was too busy to do anything, so that a write may be
    sent again. None where it is not to be sent again."""
    if not isinstance(error, HttpAnswer) or error.status != 429:
        return None
    seconds = seconds_to_wait(error)
    return max(pause, seconds) if seconds <= DEFAULT_BUSY_SECONDS else None


def require_object(told: object) -> Json:
    """Return `told` if it is a JSON object. Raises NocoError otherwise."""
    if not isinstance(told, Mapping):
        raise unreadable()
    return told


def read_record(told: object) -> Record:
    """{"id", "fields"}."""
    one = require_object(told)
    fields = one.get("fields")
    if one.get("id") is None:
        raise unreadable()
    return Record(str(one["id"]), fields if isinstance(fields, Mapping) else {})


def read_page(told: object) -> Page:
    """{"records": […], "next": address or null}."""
    answer = require_object(told)
    return Page(
        tuple(map(read_record, _read_list(answer, "records"))), more=bool(answer.get("next"))
    )


class NocoApi:
    """`url` is NocoDB's origin, `token` an API token, which acts as its user.

    What reads raises NocoError; what writes too, when nothing was written, and WriteUnsure when
    it may have been. What reads is asked again where NocoDB is down, busy or failing. What writes
    is sent once, and again only where NocoDB said that it is too busy, and so did nothing. `by`
    names who asked, as "slack:U123": NocoDB keeps it in its own audit of rows.
    """

    def __init__(
        self,
        url: str,
        token: str,
        http: HttpClient,
        *,
        pauses: Sequence[float] = READ_PAUSES_SECONDS,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        """NocoDB's origin, without a slash at its end."""
        self._token = token
        self._http = http
        self._pauses = tuple(pauses)
        self._timeout = timeout
        self._sleep = sleep
        self._pace = Pacer(interval_of(url), clock, sleep)
        self._gate = asyncio.Semaphore(MAX_PARALLEL_CALLS)
        self._drifts: Counter[str] = Counter()

    @property
    def drifts(self) -> int:
        """How often NocoDB said that a table or field that we named is not there."""
        return self._drifts.total()

    def drifted(self, reason: str = "") -> None:
        """`reason` is NocoDB's code, "" where it was seen without NocoDB saying so."""
        self._drifts[reason] += 1

    def patient(self, pauses: Sequence[float]) -> NocoApi:
        """Return a client with the same connections that retries reads after these pauses."""
        other = copy.copy(self)
        other._pauses = tuple(pauses)
        return other

    async def bases(self) -> Sequence[Base]:
        """Return the bases that the token's user sees."""
        found = []
        for one in _read_list(await self._read("/api/v2/meta/bases"), "list"):
            sources = one.get("sources")
            foreign = frozenset(
                str(each.get("id"))
                for each in (sources if isinstance(sources, list) else [])
                if isinstance(each, Mapping) and not (each.get("is_meta") or each.get("is_local"))
            )
            found.append(Base(str(one.get("id") or ""), str(one.get("title") or ""), foreign))
        return found

    async def role(self, base: str) -> str:
        """Of the token's user in that base: owner, creator, editor, commenter, viewer; "" for none.

        v1, because nothing newer tells it.
        """
        me = await self._read("/api/v1/auth/user/me", {"base_id": base})
        roles = me.get("base_roles")
        held = roles if isinstance(roles, Mapping) else {}
        return next((str(role) for role, has in held.items() if has), "")

    async def tables(self, base: str) -> Sequence[Named]:
        told = await self._read(f"/api/v3/meta/bases/{_quote_step(base)}/tables")
        return [
            Named(str(one.get("id") or ""), str(one.get("title") or ""))
            for one in _read_list(told, "list")
        ]

    async def table(self, at: At) -> Json:
        """Return NocoDB's description of a table; `core.tools.nocodb.schema` reads it."""
        return await self._read(
            f"/api/v3/meta/bases/{_quote_step(at.base)}/tables/{_quote_step(at.table)}"
        )

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
        asked = {"page": str(page), "pageSize": str(min(size, MAX_PAGE_ROWS))}
        if fields:
            asked["fields"] = ",".join(fields)
        if where:
            asked["where"] = where
        if sort:
            order = [{"field": each.field, "direction": each.direction} for each in sort]
            asked["sort"] = json.dumps(order)
        return read_page(await self._read(f"{_data_path(at)}/records", asked))

    async def record(self, at: At, id: str, *, fields: Sequence[str] = ()) -> Record:
        """Raises NocoError `not_found`."""
        asked = {"fields": ",".join(fields)} if fields else {}
        return read_record(await self._read(f"{_data_path(at)}/records/{_quote_step(id)}", asked))

    async def count(self, at: At, where: str = "") -> int:
        """Return how many rows match `where`; "" matches all rows."""
        asked = {"where": where} if where else {}
        count = (await self._read(f"{_data_path(at)}/count", asked)).get("count")
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
        return await self._read(f"/api/v2/tables/{_quote_step(at.table)}/aggregate", asked)

    async def links(self, at: At, field: str, row: str) -> Sequence[Record]:
        """All rows that a link field (by id) of a row leads to, to the last page.

        Their `fields` hold their display field alone. Raises NocoError `not_found` for the row.
        """
        found: list[Record] = []
        while True:
            asked = {"page": str(len(found) // MAX_PAGE_ROWS + 1), "pageSize": str(MAX_PAGE_ROWS)}
            answer = await self._read(_links_path(at, field, row), asked)
            if "record" in answer:  # a link to one row at most: the row or null
                return [read_record(answer["record"])] if answer["record"] else []
            page = read_page(answer)
            found.extend(page.records)
            # Behind the last page is an error, and `next` is told after some last ones too.
            if not page.more or len(page.records) < MAX_PAGE_ROWS:
                return found

    async def create(self, at: At, rows: Sequence[Json], *, by: str = "") -> Sequence[Record]:
        """Make up to 10 rows of values by field; gives them back whole, in their order.

        NocoDB ignores fields that it does not know. A link field takes [{"id": …}].
        """
        body = [{"fields": dict(row)} for row in _check_size(rows, MAX_ROWS_PER_WRITE)]
        return await self._rows("POST", at, body, by)

    async def update(self, at: At, rows: Sequence[Record], *, by: str = "") -> Sequence[Record]:
        """Write the `fields` of up to 10 rows; gives them back whole, as they then are.

        One id that is not there refuses all of them. Link fields go by `link` and `unlink`.
        """
        body = [
            {"id": row.id, "fields": dict(row.fields)}
            for row in _check_size(rows, MAX_ROWS_PER_WRITE)
        ]
        return await self._rows("PATCH", at, body, by)

    async def delete(self, at: At, ids: Sequence[str], *, by: str = "") -> None:
        """Up to 10 rows. One id that is not there refuses all of them.

        On SQLite the next new row may get the id of a deleted last one.
        """
        await self._write(
            "DELETE", f"{_data_path(at)}/records", _id_objects(ids, MAX_ROWS_PER_WRITE), by
        )

    async def link(self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = "") -> None:
        """Let a link field (by id) of a row lead to up to 100 more; does no harm twice."""
        await self._write(
            "POST", _links_path(at, field, row), _id_objects(ids, MAX_LINKS_PER_WRITE), by
        )

    async def unlink(
        self, at: At, field: str, row: str, ids: Sequence[str], *, by: str = ""
    ) -> None:
        """Up to 100; those that are not linked are passed over."""
        await self._write(
            "DELETE", _links_path(at, field, row), _id_objects(ids, MAX_LINKS_PER_WRITE), by
        )

    async def attach(self, at: At, row: str, key: str, files: Json, *, by: str = "") -> None:
        """Let attachment fields of a row hold files that NocoDB has, as they were once read.

        `key` is the title of the field with the id. v2: v3 takes no file that the row does not
        hold already (NocoDB 0.301.3, ERR_INVALID_VALUE_FOR_FIELD).
        """
        body = [{key: row, **files}]
        await self._write("PATCH", f"/api/v2/tables/{_quote_step(at.table)}/records", body, by)

    async def _rows(self, method: str, at: At, body: Sequence[Json], by: str) -> Sequence[Record]:
        answer = await self._write(method, f"{_data_path(at)}/records", body, by)
        try:
            rows = read_page(answer).records
        except NocoError:
            rows = ()
        if len(rows) != len(body):
            raise WriteUnsure("NocoDB did not say which rows it wrote.", code="nocodb_unreadable")
        return rows

    async def _read(self, path: str, asked: Mapping[str, str] | None = None) -> Json:
        try:
            return require_object(await retry(
                lambda: self._ask("GET", path, params=asked), HttpError,
                wait_after_each(self._pauses, wait_of), sleep=self._sleep,
            ))  # fmt: skip
        except HttpError as error:
            raise self._explain(error) from None

    async def _write(self, method: str, path: str, body: Sequence[Json], by: str) -> Any:
        try:
            return await retry(
                lambda: self._ask(method, path, body=body, by=by), HttpError,
                wait_after_each(self._pauses, busy_wait), sleep=self._sleep,
            )  # fmt: skip
        except HttpError as error:
            raise self._explain(error).as_write_error() from None

    def _explain(self, error: HttpError) -> NocoError:
        problem = explain(error)
        if problem.reason in DRIFT_REASONS:
            self.drifted(problem.reason)
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
            headers["User-Agent"] = f"ponte-bot ({_NOT_IN_A_NAME.sub('', by)[:100]})"
        async with self._gate:
            await self._pace.wait()
            return await self._http.request_json(
                method, f"{self.url}{path}", body=body, params=params or None, headers=headers,
                timeout=self._timeout,
            )  # fmt: skip


def _read_list(told: Json, name: str) -> Sequence[Json]:
    rows = told.get(name)
    if not isinstance(rows, list):
        raise unreadable()
    return [require_object(one) for one in rows]


def _data_path(at: At) -> str:
    return f"/api/v3/data/{_quote_step(at.base)}/{_quote_step(at.table)}"


def _links_path(at: At, field: str, row: str) -> str:
    return f"{_data_path(at)}/links/{_quote_step(field)}/{_quote_step(row)}"


def _quote_step(id: str) -> str:
    """Return the text as one step of a path, with its dots quoted: clients follow "." and ".."."""
    return quote(id, safe="").replace(".", "%2E") or "%20"


def _id_objects(ids: Sequence[str], most: int) -> Sequence[Json]:
    return [{"id": id} for id in _check_size(ids, most)]


def _check_size(rows: Sequence[T], most: int) -> Sequence[T]:
    """Raises ValueError for too many rows: the caller makes the batches."""
    if not 0 < len(rows) <= most:
        raise ValueError(f"{len(rows)} rows in one call, of 1 to {most}")
    return rows
