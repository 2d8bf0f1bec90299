"""The bridge's HTTP: `POST /execute`, and what stands beside it; its tools by name, and its errors.

From https://github.com/betofilippi/nocodb_claude_code (`nocodb_http_server.py`, May 2025). A copy
that somebody runs may do less, and may have been changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.http import (
    HttpAnswer,
    HttpClient,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    RemoteError,
    cleaned,
)
from core.tasks import retry, stepped
from core.tools.nocodb.api import AWAY, PAUSES

_ROWS = 'table_id, limit=25, offset=0, fields=["Field"], where="(Field,op,value)", sort=["-Field"]'

_STATUS = re.compile(r"(?P<status>\d{3}): ")
_SIGNATURE = re.compile(
    r"\b\w+\(\) ((?:got an unexpected|missing \d+ required|takes \d+ positional).*)"
)

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


class BridgeError(RemoteError):
    """The bridge, or the NocoDB behind it, did not do it.

    It tells every failure of its own as status 500 with `{"detail": text}`, whatever it was: "404:
    404 Client Error: Not Found for url: …", "400: Unknown tool: x", or a Python TypeError's text. A
    malformed body is 422 with a list. Texts are from outside and may hold addresses.
    """


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
            return await retry(
                lambda: self._execute(tool, args, timeout), HttpError,
                stepped(self._pauses, _wait_of),
            )  # fmt: skip
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


def _wait_of(error: HttpError, pause: float) -> float | None:
    away = isinstance(error, HttpAnswer) and error.status in AWAY
    return pause if away or isinstance(error, HttpDown) else None
