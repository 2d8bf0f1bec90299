"""What the bridge's public code can do: its tools by name, their arguments, what each one touches.

From https://github.com/betofilippi/nocodb_claude_code (`nocodb_http_server.py`, May 2025). A copy
that somebody runs may do less, and may have been changed.

What went wrong at the bridge, worded for who must act.

The bridge tells every failure of its own as status 500 with `{"detail": text}`, whatever it was:
"404: 404 Client Error: Not Found for url: …", "400: Unknown tool: x", or a Python TypeError's text.
A malformed body is 422 with a list. Texts are from outside and may hold addresses.

The bridge's HTTP: `POST /execute`, and what stands beside it.

A table as the bridge shows it: its name for people, its fields, and its rows one by one.

Tables that the operator hides, kept out of what the bridge is asked and what it answers.

A bridge often cannot tell a table's title, so a rule by id is the sure one.

Writes rows through the bridge, once a person has decided; reads back what then stands there.

The public bridge updates and deletes nothing (its paths are 404 in NocoDB): that is tried, and
told. Unknown fields are ignored by NocoDB without a word, so every field is read back.

From a model's call of a writing tool to a draft: which rows, how they are now, what they become.

Nothing is written here. What NocoDB would ignore or refuse is told before a person is asked.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from core.changes.approval import TableRules
from core.changes.model import MOST_ROWS, Change, Draft, Row, RowWrite, Seen, WriteKind
from core.errors import ToolError, WriteUnsure
from core.http import HttpAnswer, HttpClient, HttpDown, HttpError, HttpTimeout, HttpTooLarge
from core.redaction import unsigned
from core.tasks import together
from core.tools.nocodb.fieldtypes import TYPES, same
from core.tools.nocodb.rows import differing
from core.tools.remote import AWAY, PAUSES, RemoteError, again, cleaned

Touch = Literal["read", "write", "comment", "schema", "private"]
"""`write` changes rows; `comment` says something beside one; `schema` changes tables, bases, views,
or who can see them; `private` would show or take what is not a table's: webhooks hold addresses
with secrets, an upload reads a file of the bridge's own machine."""


@dataclass(frozen=True, slots=True)
class BridgeTool:
    """`arguments` as a signature's text, optional ones with their default."""

    name: str
    touch: Touch
    arguments: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments."""
        return tuple(each.partition("=")[0] for each in self.arguments.split(", ") if each)

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


_ROWS = 'table_id, limit=25, offset=0, fields=["Field"], where="(Field,op,value)", sort=["-Field"]'

_ALL = (
    BridgeTool("list_bases", "read"),
    BridgeTool("get_base", "read", "base_id"),
    BridgeTool("create_base", "schema", "name, description=None"),
    BridgeTool("update_base", "schema", "base_id, name=None, description=None"),
    BridgeTool("delete_base", "schema", "base_id"),
    BridgeTool("list_tables", "read", "base_id"),
    BridgeTool("get_table", "read", "base_id, table_id"),
    BridgeTool("create_table", "schema", "base_id, name, columns"),
    BridgeTool("update_table", "schema", "table_id, name=None"),
    BridgeTool("delete_table", "schema", "table_id"),
    BridgeTool("list_columns", "read", "table_id"),
    BridgeTool("create_column", "schema", "table_id, column_data"),
    BridgeTool("update_column", "schema", "column_id, column_data"),
    BridgeTool("delete_column", "schema", "column_id"),
    BridgeTool("list_records", "read", _ROWS),
    BridgeTool("get_record", "read", "table_id, record_id"),
    BridgeTool("create_record", "write", "table_id, record_data"),
    BridgeTool("update_record", "write", "table_id, record_id, record_data"),
    BridgeTool("delete_record", "write", "table_id, record_id"),
    BridgeTool("bulk_create_records", "write", "table_id, records"),
    BridgeTool("bulk_update_records", "write", "table_id, records"),
    BridgeTool("bulk_delete_records", "write", "table_id, record_ids"),
    BridgeTool("list_views", "read", "table_id"),
    BridgeTool("create_view", "schema", "table_id, title, view_type=grid"),
    BridgeTool("update_view", "schema", "view_id, title=None"),
    BridgeTool("delete_view", "schema", "view_id"),
    BridgeTool("list_filters", "read", "view_id"),
    BridgeTool("create_filter", "schema", "view_id, filter_data"),
    BridgeTool("update_filter", "schema", "filter_id, filter_data"),
    BridgeTool("delete_filter", "schema", "filter_id"),
    BridgeTool("list_sorts", "read", "view_id"),
    BridgeTool("create_sort", "schema", "view_id, field, direction=asc"),
    BridgeTool("update_sort", "schema", "sort_id, field=None, direction=None"),
    BridgeTool("delete_sort", "schema", "sort_id"),
    BridgeTool("create_shared_view", "schema", "view_id, password=None"),
    BridgeTool("update_shared_view", "schema", "view_id, password=None"),
    BridgeTool("delete_shared_view", "schema", "view_id"),
    BridgeTool("list_webhooks", "private", "table_id"),
    BridgeTool("create_webhook", "private", "table_id, title, url, event, condition=None"),
    BridgeTool("update_webhook", "private", "hook_id, webhook_data"),
    BridgeTool("delete_webhook", "private", "hook_id"),
    BridgeTool("global_search", "read", "query"),
    BridgeTool("list_comments", "read", "table_id, record_id"),
    BridgeTool("create_comment", "comment", "table_id, record_id, comment"),
    BridgeTool("update_comment", "comment", "comment_id, comment"),
    BridgeTool("delete_comment", "comment", "comment_id"),
    BridgeTool("upload_file", "private", "storage, file_path"),
)

CATALOGUE = {each.name: each for each in _ALL}
READING = tuple(each.name for each in _ALL if each.touch == "read")
WRITING = tuple(each.name for each in _ALL if each.touch == "write")


_STATUS = re.compile(r"(?P<status>\d{3}): ")
_SIGNATURE = re.compile(
    r"\w+\(\) ((?:got an unexpected|missing \d+ required|takes \d+ positional).*)"
)


class BridgeError(RemoteError):
    """The bridge, or the NocoDB behind it, did not do it."""


def worded(error: HttpError, tool: str) -> BridgeError:
    """The error of a call of `tool`, in words and without addresses."""
    if isinstance(error, HttpAnswer):
        return _refused(error, tool)
    if isinstance(error, HttpDown):
        return BridgeError(
            "The NocoDB bridge cannot be reached. Please try again in a minute; "
            "if it goes on, the operator must check NOCODB_URL and that the bridge runs.",
            code="bridge_down",
            unsure=error.sent,
        )
    if isinstance(error, HttpTimeout):
        return BridgeError(
            "The NocoDB bridge did not answer in time. Please try again in a minute.",
            code="bridge_silent",
            hint="ask for fewer rows or fields",
            unsure=error.sent,
        )
    if isinstance(error, HttpTooLarge):
        return BridgeError(
            "The answer of the NocoDB bridge is too large.",
            code="too_large",
            hint="ask for fewer rows or fields",
            unsure=True,
        )
    return BridgeError(
        "The NocoDB bridge answered something that I cannot read. "
        "The operator must check that NOCODB_URL is a bridge's address.",
        code="bridge_unreadable",
        unsure=True,
    )


def _refused(answer: HttpAnswer, tool: str) -> BridgeError:
    if answer.status in (401, 403):
        return BridgeError(
            "The NocoDB bridge refuses us (status {status}). The operator must check NOCODB_TOKEN.",
            code="bridge_refused",
            status=answer.status,
        )
    if answer.status in (301, 302, 307, 308, 404, 405):
        return BridgeError(
            "There is no NocoDB bridge at the address that is set. "
            "The operator must check NOCODB_URL: it ends in /execute.",
            code="bridge_missing",
        )
    if answer.status == 429:
        return BridgeError(
            "The NocoDB bridge has too much to do. Please try again in a minute.",
            code="bridge_busy",
        )
    if answer.status in AWAY:
        return worded(HttpDown("status"), tool)
    body = answer.json
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if answer.status == 422:
        return _malformed(detail, tool)
    return _failed(detail if isinstance(detail, str) else "", tool)


def _malformed(detail: Any, tool: str) -> BridgeError:
    """FastAPI's list of {"loc", "msg"}."""
    told = detail if isinstance(detail, list) else []
    lines = [f"{each.get('loc')}: {each.get('msg')}" for each in told if isinstance(each, Mapping)]
    return BridgeError(
        "The NocoDB bridge found the call of {tool} malformed.",
        code="malformed",
        hint=cleaned("; ".join(lines)),
        tool=tool,
    )


def _failed(detail: str, tool: str) -> BridgeError:
    if signature := _SIGNATURE.search(detail):
        return BridgeError(
            "The arguments do not fit {tool}.",
            code="bad_arguments",
            hint=f"{CATALOGUE.get(tool, tool)}: {cleaned(signature[1])}",
            tool=tool,
        )
    if "Unknown tool" in detail:
        return BridgeError("This bridge does not know {tool}.", code="unknown_tool", tool=tool)
    if "Max retries exceeded" in detail or "ConnectionPool" in detail:
        return BridgeError(
            "The bridge does not reach its NocoDB. Please try again in a minute; "
            "if it goes on, tell the operator.",
            code="nocodb_down",
            unsure=True,
        )
    status = _STATUS.match(detail)
    return _by_nocodb(int(status["status"]) if status else 0, detail, tool)


def _by_nocodb(status: int, detail: str, tool: str) -> BridgeError:
    """NocoDB answered the bridge with `status`, 0 where the text does not tell."""
    if status == 404:
        return BridgeError(
            "This bridge cannot do {tool}: its NocoDB answers 404 (not found).",
            code="not_found",
            hint=f"check the ids; if they are right, this copy of the bridge lacks {tool}: "
            "use another tool, or say that the operator can set NOCODB_URL to NocoDB itself",
            tool=tool,
        )
    if status in (401, 403):
        return BridgeError(
            "NocoDB does not let the bridge do {tool} (status {status}). "
            "The operator must check the bridge's own token.",
            code="nocodb_refused",
            tool=tool,
            status=status,
        )
    if status in (400, 422):
        return BridgeError(
            "NocoDB does not accept the arguments of {tool}.",
            code="bad_arguments",
            hint=f"{CATALOGUE.get(tool, tool)}: {cleaned(detail)}",
            tool=tool,
        )
    if status == 429:
        return BridgeError(
            "NocoDB has too much to do. Please try again in half a minute.", code="nocodb_busy"
        )
    return BridgeError(
        "The bridge could not do {tool}.",
        code="bridge_failed",
        hint=cleaned(detail),
        unsure=True,
        tool=tool,
    )


class BridgeApi:
    """`url` ends in /execute and is a secret: the public code asks nobody who they are.

    `token` is sent as a bearer, for copies that do ask.
    """

    def __init__(
        self, url: str, token: str, http: HttpClient, *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._url = url.rstrip("/")
        self._beside = self._url.removesuffix("/execute")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http
        self._pauses = tuple(pauses)

    async def read(self, tool: str, args: Mapping[str, Any], *, timeout: float = 30.0) -> Any:
        """The result of a tool that changes nothing. Raises BridgeError.

        A connection that breaks, or a host that says the bridge is away, is tried twice more.
        """
        try:
            return await again(lambda: self._execute(tool, args, timeout), _wait_of, self._pauses)
        except HttpError as error:
            raise worded(error, tool) from None

    async def once(self, tool: str, args: Mapping[str, Any], *, timeout: float = 30.0) -> Any:
        """The result of a single attempt, as a write needs it. Raises BridgeError."""
        try:
            return await self._execute(tool, args, timeout)
        except HttpError as error:
            raise worded(error, tool) from None

    async def tools(self, *, timeout: float = 3.0) -> frozenset[str] | None:
        """The names that the bridge says it has; None where it does not say. Raises BridgeError."""
        try:
            body = await self._beside_json("/tools", timeout)
        except HttpAnswer as error:
            if error.status not in (404, 405):
                raise worded(error, "tools") from None
            return None
        except HttpError as error:
            raise worded(error, "tools") from None
        listed = body.get("tools") if isinstance(body, Mapping) else None
        if not isinstance(listed, list):
            return None
        names = [each.get("name") if isinstance(each, Mapping) else each for each in listed]
        return frozenset(name for name in names if isinstance(name, str))

    async def alive(self, *, timeout: float = 3.0) -> None:
        """Raises BridgeError when the bridge does not answer its own health check."""
        try:
            await self._beside_json("/health", timeout)
        except HttpError as error:
            raise worded(error, "health") from None

    async def _execute(self, tool: str, args: Mapping[str, Any], timeout: float) -> Any:
        call = {"tool": tool, "args": dict(args)}
        answer = await self._http.post_json(self._url, call, headers=self._headers, timeout=timeout)
        if not isinstance(answer, Mapping) or "result" not in answer:
            raise BridgeError(
                "The NocoDB bridge answered {tool} without a result.",
                code="bridge_unreadable",
                unsure=True,
                tool=tool,
            )
        return answer["result"]

    async def _beside_json(self, path: str, timeout: float) -> Any:
        return await self._http.get_json(
            f"{self._beside}{path}", headers=self._headers, timeout=timeout
        )


def _wait_of(error: HttpError, pause: float) -> float | None:
    away = isinstance(error, HttpAnswer) and error.status in AWAY
    return pause if away or isinstance(error, HttpDown) else None


JsonRow = dict[str, Any]
SAMPLE = 25
"""Rows whose fields tell those of a table that the bridge does not describe."""
LAST = 100
"""The newest rows, among which a created one is looked for."""
AT_ONCE = 4

# The bridge puts ids into NocoDB's path as they are, so they must not be able to leave their step.
ID = re.compile(r"(?!\.{1,2}$)[^/\\?#%\x00-\x1f\x7f]{1,200}")

# Those that NocoDB fills itself, and links.
_COMPUTED = {name for name, type in TYPES.items() if type.computed or type.link}
_SYSTEM = ("CreatedAt", "UpdatedAt", "CreatedBy", "UpdatedBy", "nc_order")
_KEYS = ("Id", "id", "ID")


@dataclass(frozen=True, slots=True)
class BridgeTable:
    """`fields` is empty where neither the bridge nor any row tells them."""

    id: str
    title: str
    key: str = "Id"
    fields: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()

    @property
    def target(self) -> Mapping[str, Any]:
        """As a draft keeps it."""
        return {"table_id": self.id, "key": self.key, "computed": sorted(self.computed)}


def id_of(row: Mapping[str, Any], key: str = "Id") -> str:
    """ "" where it cannot be told."""
    for name in (key, *_KEYS):
        if row.get(name) is not None:
            return str(row[name])
    return ""


@dataclass(slots=True)
class BridgeTables:
    """All of it by reading. Raises BridgeError."""

    api: BridgeApi
    base_id: str = ""
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def table(self, id: str) -> BridgeTable:
        """Many a bridge cannot describe tables: then by its rows, and under its id."""
        try:
            told = await self.api.read("get_table", {"base_id": self.base_id, "table_id": id})
        except BridgeError:
            told = None
        columns = told.get("columns") if isinstance(told, dict) else None
        if not isinstance(columns, list) or not columns:
            return await self._by_rows(id)
        named = {str(c.get("title")): c for c in columns if isinstance(c, dict)}
        key = next((name for name, column in named.items() if column.get("pk")), "")
        computed = {name for name, column in named.items() if column.get("uidt") in _COMPUTED}
        return BridgeTable(
            id=id, title=str(told.get("title") or id), key=key or _key(named),
            fields=frozenset(named), computed=frozenset(computed),
        )  # fmt: skip

    async def row(self, table: str, id: str) -> JsonRow | None:
        """As it stands now, without what differs at each reading; None where there is none."""
        async with self._gate:
            try:
                row = await self.api.read("get_record", {"table_id": table, "record_id": id})
            except BridgeError as error:
                if error.code == "not_found":
                    return None
                raise
        return unsigned(row) if isinstance(row, dict) and row else None

    async def rows(self, table: str, ids: Sequence[str]) -> Sequence[JsonRow | None]:
        return await together(*(self.row(table, id) for id in ids))

    async def newest(self, table: str) -> Sequence[JsonRow]:
        """The last rows in the table's own order, in which new ones come last."""
        page = await self.api.read("list_records", {"table_id": table, "limit": 1})
        info = page.get("pageInfo") if isinstance(page, dict) else None
        total = info.get("totalRows") if isinstance(info, dict) else None
        offset = max(0, total - LAST) if isinstance(total, int) else 0
        asked = {"table_id": table, "limit": LAST, "offset": offset}
        return _listed(await self.api.read("list_records", asked))

    async def _by_rows(self, id: str) -> BridgeTable:
        asked = {"table_id": id, "limit": SAMPLE}
        rows = _listed(await self.api.read("list_records", asked))
        names = list(dict.fromkeys(name for row in rows for name in row))
        return BridgeTable(
            id=id, title=id, key=_key(names), fields=frozenset(names),
            computed=frozenset(name for name in names if name in _SYSTEM or name in _KEYS),
        )  # fmt: skip


def _key(names: Mapping[str, Any] | Sequence[str]) -> str:
    return next((name for name in _KEYS if name in names), next(iter(names), "Id"))


def _listed(page: Any) -> Sequence[JsonRow]:
    rows = page.get("list") if isinstance(page, dict) else page
    listed = rows if isinstance(rows, list) else []
    return [unsigned(row) for row in listed if isinstance(row, dict)]


@dataclass(slots=True)
class BridgeHiding:
    rules: TableRules
    tables: BridgeTables
    _titles: dict[str, str] = field(default_factory=dict)

    async def check(self, tool: str, args: Mapping[str, Any]) -> None:
        """Raises ToolError, which does not tell whether there is such a table, and BridgeError."""
        if not any(rule.access == "hidden" for rule in self.rules.tables.values()):
            return
        if table := str(args.get("table_id", "")):
            if table not in self._titles:
                self._titles[table] = (await self.tables.table(table)).title
            if self.rules.hides(table, self._titles[table]):
                raise _hidden()
        if tool == "global_search":
            raise ToolError(
                "Searching all tables at once is off here.",
                code="not_offered",
                hint="ask one table at a time with list_records",
            )

    def shown(self, tool: str, result: Any) -> Any:
        """`result` without hidden tables. Raises ToolError where it is one."""
        if tool == "get_table" and isinstance(result, dict) and self._hides(result):
            raise _hidden()
        if tool != "list_tables":
            return result
        tables = result.get("list") if isinstance(result, dict) else result
        if not isinstance(tables, list):
            return result
        kept = [table for table in tables if not self._hides(table)]
        return {**result, "list": kept} if isinstance(result, dict) else kept

    def _hides(self, table: Any) -> bool:
        if not isinstance(table, dict):
            return False
        id, title = str(table.get("id", "")), str(table.get("title", ""))
        self._titles[id] = title
        return self.rules.hides(id, title)


def _hidden() -> ToolError:
    return ToolError(
        "There is no such table.", code="not_found", hint="find tables with list_tables"
    )


BATCH = 10
"""Rows in one call, as NocoDB 0.301 takes them in its newest API."""
RECREATED = (
    "When this is undone the rows come back with new ids, and without their links to other rows."
)
_NOTHING = "What was in those rows is not known, so they cannot be brought back."
_NO_IDS = "The bridge did not say which rows it made."
_ROWS_ALONE = "The bridge writes rows; it runs no commands."


class BridgeRows:
    """The `Applier` port. `offered` are the names of the bridge's tools, as far as is known."""

    name = "nocodb-bridge"
    patience = 120.0

    def __init__(
        self, api: BridgeApi, tables: BridgeTables, offered: Callable[[], Collection[str]]
    ) -> None:
        self._api = api
        self._tables = tables
        self._offered = offered

    def batch(self, draft: Draft) -> int:
        bulk = draft.kind == "create" or f"bulk_{draft.kind}_records" in self._offered()
        return BATCH if bulk else 1

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        table = str(draft.target["table_id"])
        if draft.kind == "create" and not all(row.id for row in rows):
            newest = await self._tables.newest(table)
            return _looked_for(newest, rows, str(draft.target.get("key", "Id")))
        now = await self._tables.rows(table, [row.id for row in rows])
        return [_seen(draft, row, one) for row, one in zip(rows, now, strict=True)]

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        tool, args = _call(draft, rows)
        try:
            result = await self._api.once(tool, args)
        except BridgeError as error:
            raise error.of_write() from None
        if draft.kind != "create":
            return rows
        made = result if isinstance(result, list) else [result]
        key = str(draft.target.get("key", "Id"))
        ids = [id_of(one, key) for one in made if isinstance(one, dict)]
        if len(ids) != len(rows) or not all(ids):
            raise WriteUnsure(_NO_IDS)
        return [replace(row, id=id) for row, id in zip(rows, ids, strict=True)]

    def revert(self, change: Change) -> Draft:
        draft = change.draft
        writes = [(step.write, step.now) for step in change.written]
        match draft.kind:
            case "create":
                rows = [RowWrite(write.id, before=now or write.after) for write, now in writes]
                return replace(draft, kind="delete", rows=tuple(rows), note=RECREATED)
            case "update":
                rows = [_given_back(write, now) for write, now in writes]
                return replace(draft, rows=tuple(rows), note="")
            case "delete":
                computed = frozenset(draft.target.get("computed", ()))
                rows = [RowWrite(after=_restorable(write.before, computed)) for write, _ in writes]
                rows = [row for row in rows if row.after]
                if not rows:
                    raise ToolError(_NOTHING)
                return replace(draft, kind="create", rows=tuple(rows), note="")
            case "run":
                raise ToolError(_ROWS_ALONE)


def _call(draft: Draft, rows: Sequence[RowWrite]) -> tuple[str, dict[str, Any]]:
    """The bridge's tool and its arguments for these rows."""
    table = draft.target["table_id"]
    several = len(rows) > 1
    match draft.kind:
        case "create":
            # The public bridge makes several rows of a list here; its bulk path is a 404.
            data = [dict(row.after or {}) for row in rows]
            return "create_record", {"table_id": table, "record_data": data if several else data[0]}
        case "update" if several:
            key = str(draft.target.get("key", "Id"))
            records = [
                {"id": _native(row.id), key: _native(row.id), **(row.after or {})} for row in rows
            ]
            return "bulk_update_records", {"table_id": table, "records": records}
        case "update":
            write = {"record_id": _native(rows[0].id), "record_data": dict(rows[0].after or {})}
            return "update_record", {"table_id": table, **write}
        case "delete" if several:
            ids = [_native(row.id) for row in rows]
            return "bulk_delete_records", {"table_id": table, "record_ids": ids}
        case "delete":
            return "delete_record", {"table_id": table, "record_id": _native(rows[0].id)}
        case "run":
            raise ToolError(_ROWS_ALONE)


def _seen(draft: Draft, write: RowWrite, now: JsonRow | None) -> Seen:
    if now is None:
        return Seen("after" if draft.kind == "delete" else "other", write)
    before, after = dict(write.before or {}), dict(write.after or {})
    drifted = tuple(name for name, value in before.items() if now.get(name) != unsigned(value))
    if draft.kind == "delete":
        return Seen("other" if drifted else "before", write, now, drifted)
    missing = differing(after, now)
    if not missing:
        return Seen("after", write, now)
    if draft.kind == "update" and not drifted:
        return Seen("before", write, now, missing)
    return Seen("other", write, now, missing)


def _looked_for(newest: Sequence[JsonRow], rows: Sequence[RowWrite], key: str) -> Sequence[Seen]:
    """Each row's mark holds the ids of the rows that were like it before it was written; one that
    has come since is it."""
    seen: list[Seen] = []
    taken = {row.id for row in rows if row.id}
    for row in rows:
        alike = [one for one in newest if not differing(dict(row.after or {}), one)]
        if not row.mark:
            ids = json.dumps([id_of(one, key) for one in alike])
            seen.append(Seen("before", replace(row, mark=ids)))
            continue
        known = {*json.loads(row.mark), *taken}
        found = next((one for one in alike if id_of(one, key) not in known), None)
        if found is None:
            seen.append(Seen("before", row))
        else:
            taken.add(id_of(found, key))
            seen.append(Seen("after", replace(row, id=id_of(found, key)), found))
    return seen


def _given_back(write: RowWrite, now: Row | None) -> RowWrite:
    """The old values, where what we wrote still stands."""
    stands = now or write.after or {}
    after = {name: value for name, value in (write.before or {}).items() if name in stands}
    return RowWrite(write.id, before={name: stands[name] for name in after}, after=after)


def _restorable(row: Row | None, computed: frozenset[str]) -> Row:
    """What of a deleted row can be written again: no links, nothing that NocoDB fills in."""
    return {
        name: value
        for name, value in (row or {}).items()
        if name not in computed and value not in (None, [], "") and not _is_link(value)
    }


def _is_link(value: Any) -> bool:
    """An attachment has a path or a url; any other object is a row of another table."""
    each = value if isinstance(value, list) else [value]
    return any(isinstance(one, dict) and not {"path", "url"} & one.keys() for one in each)


def _native(id: str) -> int | str:
    return int(id) if id.isdecimal() and (id == "0" or id[0] != "0") else id


Data = Mapping[str, Any]
_KINDS: tuple[WriteKind, ...] = get_args(WriteKind)
_MANY = {"create": "records", "update": "records", "delete": "record_ids"}


class BridgeDrafts:
    def __init__(self, tables: BridgeTables) -> None:
        self._tables = tables

    async def draft(self, tool: BridgeTool, args: Data) -> Draft:
        """Raises ToolError, BridgeError."""
        kind = next(each for each in _KINDS if each in tool.name)
        asked = _asked(tool, kind, args)
        table = await self._tables.table(str(args["table_id"]))
        for data in asked.values() if isinstance(asked, dict) else asked:
            _check_fields(table, data)
        if isinstance(asked, dict):
            rows = await self._existing(table, kind, asked)
        else:
            rows = [RowWrite(after=dict(data)) for data in asked]
        return Draft(
            applier=BridgeRows.name, kind=kind, target=table.target, title=table.title,
            rows=tuple(rows), note=RECREATED if kind == "delete" else "",
        )  # fmt: skip

    async def _existing(
        self, table: BridgeTable, kind: WriteKind, asked: Mapping[str, Data]
    ) -> Sequence[RowWrite]:
        """Each with its image from before; what stands there already is left out."""
        found = await self._tables.rows(table.id, list(asked))
        missing = [id for id, row in zip(asked, found, strict=True) if row is None]
        if missing:
            raise ToolError(
                "There is no row {ids} in that table.", code="not_found", ids=", ".join(missing[:5])
            )
        present = {id: row for id, row in zip(asked, found, strict=True) if row is not None}
        if kind == "delete":
            return [RowWrite(id, before=row) for id, row in present.items()]
        writes = []
        for id, row in present.items():
            after = {name: new for name, new in asked[id].items() if not same(new, row.get(name))}
            if after:
                writes.append(RowWrite(id, {name: row.get(name) for name in after}, after))
        if not writes:
            raise ToolError("Those rows hold these values already.", code="no_change")
        return writes


def _asked(tool: BridgeTool, kind: WriteKind, args: Data) -> dict[str, Data] | list[Data]:
    """Rows by id, or the data of new ones. Raises ToolError with the tool's signature as hint."""
    unknown = args.keys() - set(tool.names)
    if unknown or not all(name in args for name in tool.names):
        raise _misfit(tool, "its arguments do not fit")
    if not ID.fullmatch(str(args["table_id"])):
        raise _misfit(tool, "`table_id` is not an id")
    many = tool.name.startswith("bulk_")
    if kind == "create":
        given = args["records"] if many else args["record_data"]
        rows = given if isinstance(given, list) else [given]
        _check_count(tool, rows)
        return [_data(tool, row) for row in rows]
    if many:
        pairs = [_pair(tool, kind, one) for one in _list(tool, args[_MANY[kind]])]
    else:
        data = _data(tool, args["record_data"]) if kind == "update" else {}
        pairs = [(_id(tool, args["record_id"]), data)]
    _check_count(tool, pairs)
    if len(dict(pairs)) < len(pairs):
        raise _misfit(tool, "a row stands in it twice")
    return dict(pairs)


def _pair(tool: BridgeTool, kind: WriteKind, one: Any) -> tuple[str, Data]:
    if kind == "delete":
        return _id(tool, one.get("id", one.get("Id")) if isinstance(one, dict) else one), {}
    data = _data(tool, one)
    key = "id" if "id" in data else "Id"
    rest = {name: value for name, value in data.items() if name not in ("id", "Id")}
    return _id(tool, data.get(key)), _data(tool, rest)


def _id(tool: BridgeTool, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not ID.fullmatch(text):
        raise _misfit(tool, "a row's id is missing, or is none")
    return text


def _data(tool: BridgeTool, value: Any) -> Data:
    if not isinstance(value, dict) or not value:
        raise _misfit(tool, "a row's data is an object with at least one field")
    return value


def _list(tool: BridgeTool, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _misfit(tool, "several rows are a list")
    return value


def _check_count(tool: BridgeTool, rows: Sequence[Any]) -> None:
    if not rows:
        raise _misfit(tool, "it names no row")
    if len(rows) > MOST_ROWS:
        raise ToolError(
            "That is {count} rows; at most {most} fit in one proposal.",
            code="too_many_rows", hint="propose them in parts", count=len(rows), most=MOST_ROWS,
        )  # fmt: skip


def _check_fields(table: BridgeTable, data: Data) -> None:
    """NocoDB ignores an unknown field without a word; names are case-sensitive."""
    _check_known(table.fields, data)
    if own := sorted(name for name in data if name in table.computed):
        raise ToolError(
            "NocoDB fills these fields itself, or they are links: {names}.",
            code="computed_field", hint="leave them out", names=", ".join(own[:5]),
        )  # fmt: skip


def _check_known(known: frozenset[str], data: Data) -> None:
    unknown = [name for name in data if known and name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, 1) or [
            name for name in known if name.lower() == unknown[0].lower()
        ]
        hint = f"did you mean {near[0]!r}?" if near else ", ".join(sorted(known)[:30])
        raise ToolError(
            "That table has no field {name!r}.", code="unknown_field", hint=hint,
            name=unknown[0][:64],
        )  # fmt: skip


def _misfit(tool: BridgeTool, what: str) -> ToolError:
    return ToolError(
        "The call of {tool} cannot be: {what}.", code="bad_arguments", hint=str(tool),
        tool=tool.name, what=what,
    )  # fmt: skip
