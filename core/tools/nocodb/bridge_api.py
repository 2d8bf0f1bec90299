"""The bridge's HTTP API: `POST /execute`, its tools by name, and a table of its errors.

From https://github.com/betofilippi/nocodb_claude_code (`nocodb_http_server.py`, May 2025). A copy
that somebody runs may do less, and may have been changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from core.base.errors import ToolError
from core.base.http import HttpAnswer, HttpClient, HttpDown, HttpError, HttpTimeout, HttpTooLarge
from core.base.remote_errors import ErrorTable, RemoteError, on, was_sent, withhold_secrets
from core.base.tasks import retry, wait_after_each
from core.tools.nocodb.api import READ_PAUSES_SECONDS
from core.tools.nocodb.api_errors import AWAY_STATUSES
from core.tools.nocodb.draft import check_most_rows

Data = Mapping[str, Any]
_LIST_ARGUMENTS = (
    'table_id, limit=25, offset=0, fields=["Field"], where="(Field,op,value)", sort=["-Field"]'
)

BRIDGE_CALL_TIMEOUT_SECONDS = 30.0

# The bridge puts ids into NocoDB's path as they are, so they must not be able to leave their step.
BRIDGE_ID_PATTERN = re.compile(r"(?!\.{1,2}$)[^/\\?#%\x00-\x1f\x7f]{1,200}")
_LEADING_STATUS = re.compile(r"(?P<status>\d{3}): ")
_UNREACHABLE = re.compile("Max retries exceeded|ConnectionPool")
_PYTHON_SIGNATURE = re.compile(
    r"\b\w+\(\) ((?:got an unexpected|missing \d+ required|takes \d+ positional).*)"
)

BridgeEffect = Literal["read", "write", "forbidden"]
"""What a tool of the bridge does: `write` changes rows.

`forbidden` changes tables, bases, views or comments, or exposes more than tables: webhooks contain
addresses with secrets, an upload reads a file of the bridge's machine, and a search over everything
also finds rows by their secret fields.
"""


@dataclass(frozen=True, slots=True)
class BridgeTool:
    """A tool of the bridge: what it may do (`effect`), and its arguments as a signature, in which
    optional ones have a default.

    A forbidden tool is never called, so it has no signature here.
    """

    name: str
    effect: BridgeEffect
    arguments: str = ""

    @property
    def argument_names(self) -> tuple[str, ...]:
        return tuple(
            argument.partition("=")[0] for argument in self.arguments.split(", ") if argument
        )

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


_FORBIDDEN_TOOLS = (
    "create_base update_base delete_base create_table update_table delete_table create_column "
    "update_column delete_column create_view update_view delete_view create_filter "
    "update_filter delete_filter create_sort update_sort delete_sort create_shared_view "
    "update_shared_view delete_shared_view list_webhooks create_webhook update_webhook "
    "delete_webhook create_comment update_comment delete_comment upload_file global_search"
)
_TOOLS = (
    BridgeTool("list_bases", "read"),
    BridgeTool("get_base", "read", "base_id"),
    BridgeTool("list_tables", "read", "base_id"),
    BridgeTool("get_table", "read", "base_id, table_id"),
    BridgeTool("list_columns", "read", "table_id"),
    BridgeTool("list_records", "read", _LIST_ARGUMENTS),
    BridgeTool("get_record", "read", "table_id, record_id"),
    BridgeTool("create_record", "write", "table_id, record_data"),
    BridgeTool("update_record", "write", "table_id, record_id, record_data"),
    BridgeTool("delete_record", "write", "table_id, record_id"),
    BridgeTool("bulk_create_records", "write", "table_id, records"),
    BridgeTool("bulk_update_records", "write", "table_id, records"),
    BridgeTool("bulk_delete_records", "write", "table_id, record_ids"),
    BridgeTool("list_views", "read", "table_id"),
    BridgeTool("list_filters", "read", "view_id"),
    BridgeTool("list_sorts", "read", "view_id"),
    BridgeTool("list_comments", "read", "table_id, record_id"),
    *(BridgeTool(name, "forbidden") for name in _FORBIDDEN_TOOLS.split()),
)

BRIDGE_TOOLS = {tool.name: tool for tool in _TOOLS}
BRIDGE_READ_TOOLS = tuple(tool.name for tool in _TOOLS if tool.effect == "read")
BRIDGE_WRITE_TOOLS = tuple(tool.name for tool in _TOOLS if tool.effect == "write")


class BridgeError(RemoteError):
    """A failure of the bridge or of the NocoDB behind it.

    The bridge answers every failure with status 500 and `{"detail": text}`: "404: 404 Client Error:
    Not Found for url: …", "400: Unknown tool: x", or the text of a Python TypeError. A malformed
    body is 422 with a list. These texts are untrusted and can contain addresses.
    """


def _error_detail(answer: HttpAnswer) -> str:
    # It may begin with the status of NocoDB's answer, as in "404: …".
    body = answer.json
    detail = body.get("detail") or body.get("error") if isinstance(body, Mapping) else None
    return detail if isinstance(detail, str) else ""


def _malformed_fields(answer: HttpAnswer) -> str:
    # FastAPI's list of {"loc", "msg"}.
    detail = answer.json.get("detail") if isinstance(answer.json, Mapping) else None
    listed = detail if isinstance(detail, list) else []
    problems = [fault for fault in listed if isinstance(fault, Mapping)]
    return withhold_secrets(
        "; ".join(f"{problem.get('loc')}: {problem.get('msg')}" for problem in problems)
    )


def _nocodb_status(answer: HttpAnswer) -> int:
    match = _LEADING_STATUS.match(_error_detail(answer))
    return int(match["status"]) if match else 0


def _nocodb_answered(*statuses: int) -> Callable[[HttpAnswer], bool]:
    return lambda answer: _nocodb_status(answer) in statuses


def _wrong_arguments(answer: HttpAnswer) -> str:
    # The bridge calls its tools as Python functions.
    match = _PYTHON_SIGNATURE.search(_error_detail(answer))
    return withhold_secrets(match[1]) if match else ""


BRIDGE_ERRORS = ErrorTable(
    BridgeError,
    on(HttpDown, *AWAY_STATUSES).raises(
        "bridge_down",
        "Can't reach the NocoDB bridge. Try again in a minute. If the problem continues, check "
        "NOCODB_URL and whether the bridge is running.",
        retry=True,
        outcome_unknown=was_sent,
    ),
    on(HttpTimeout).raises(
        "bridge_silent",
        "The NocoDB bridge didn't respond in time. Try again in a minute.",
        hint="ask for fewer rows or fields",
        outcome_unknown=was_sent,
    ),
    on(HttpTooLarge).raises(
        "too_large",
        "The NocoDB bridge's response is too large.",
        hint="ask for fewer rows or fields",
        outcome_unknown=True,
    ),
    on(422).raises(
        "malformed",
        "The NocoDB bridge rejected the call to {tool} as malformed.",
        hint=_malformed_fields,
    ),
    on(401, 403).raises(
        "bridge_refused",
        "The NocoDB bridge rejected the token (status {status}). Check the NOCODB_TOKEN setting.",
        values=lambda answer: {"status": answer.status},
    ),
    on(301, 302, 307, 308, 404, 405).raises(
        "bridge_missing",
        "No NocoDB bridge was found at this URL. Check NOCODB_URL, which ends in `/execute`.",
    ),
    on(429).raises("bridge_busy", "The NocoDB bridge is busy. Try again in a minute."),
    on(HttpAnswer, when=lambda answer: bool(_wrong_arguments(answer))).raises(
        "bad_arguments", "Invalid arguments for {tool}.", hint=_wrong_arguments
    ),
    on(HttpAnswer, when=lambda answer: "Unknown tool" in _error_detail(answer)).raises(
        "unknown_tool", "This bridge doesn't have the tool {tool}."
    ),
    on(HttpAnswer, when=lambda answer: bool(_UNREACHABLE.search(_error_detail(answer)))).raises(
        "nocodb_down",
        "The bridge can't reach NocoDB. Try again in a minute. If the problem continues, contact "
        "the person who runs Ponte.",
        outcome_unknown=True,
    ),
    on(HttpAnswer, when=_nocodb_answered(404)).raises(
        "not_found",
        "The bridge can't use {tool}: NocoDB responded with 404 (not found).",
        hint="check the IDs; if they are correct, this bridge does not support {tool}: use "
        "another tool, or tell the person that NOCODB_URL can be set to NocoDB itself",
    ),
    on(HttpAnswer, when=_nocodb_answered(401, 403)).raises(
        "nocodb_refused",
        "NocoDB doesn't allow the bridge to use {tool} (status {status}). Check the bridge's own "
        "token.",
        values=lambda answer: {"status": _nocodb_status(answer)},
    ),
    on(HttpAnswer, when=_nocodb_answered(400, 422)).raises(
        "bad_arguments",
        "NocoDB rejected the arguments of {tool}.",
        hint=lambda answer: withhold_secrets(_error_detail(answer)),
    ),
    on(HttpAnswer, when=_nocodb_answered(429)).raises(
        "nocodb_busy", "NocoDB is busy. Try again in half a minute."
    ),
    on(HttpAnswer).raises(
        "bridge_failed",
        "The bridge couldn't run {tool}.",
        hint=lambda answer: withhold_secrets(_error_detail(answer)),
        outcome_unknown=True,
    ),
    on().raises(
        "bridge_unreadable",
        "The NocoDB bridge sent an unreadable response. Check that NOCODB_URL is a bridge's URL.",
        outcome_unknown=True,
    ),
)


def explain_bridge_error(error: HttpError, tool: str) -> BridgeError:
    problem = BRIDGE_ERRORS.explain(error, tool=tool)
    # With the tool's signature, so that the model can correct its call.
    if problem.code == "bad_arguments":
        problem.hint = f"{BRIDGE_TOOLS.get(tool, tool)}: {problem.hint}"
    return problem


@contextmanager
def _as_bridge_error(tool: str) -> Iterator[None]:
    try:
        yield
    except HttpError as error:
        raise explain_bridge_error(error, tool) from None


def seconds_before_bridge_retry(error: HttpError, pause: float) -> float | None:
    return pause if BRIDGE_ERRORS.find(error).retry else None


class BridgeApi:
    """A client of a bridge. `url` ends in /execute and is a secret, because the public code has no
    login.

    `token` is sent as a bearer token, for copies of the bridge that check one.
    """

    def __init__(
        self, url: str, token: str, http: HttpClient, pauses: Sequence[float] = READ_PAUSES_SECONDS
    ) -> None:
        self._url = url.rstrip("/")
        self._base_url = self._url.removesuffix("/execute")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http
        self._pauses = tuple(pauses)

    async def call_with_retries(
        self, tool: str, args: Mapping[str, Any], *, timeout: float = BRIDGE_CALL_TIMEOUT_SECONDS
    ) -> Any:
        """Raise BridgeError. The tool must change nothing: the call is repeated twice after a
        broken connection or an answer that the bridge is down."""
        waits = wait_after_each(self._pauses, seconds_before_bridge_retry)
        with _as_bridge_error(tool):
            return await retry(lambda: self._execute(tool, args, timeout), HttpError, waits)

    async def call_once(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Writes need a single attempt: a second one might write twice. Raise BridgeError."""
        with _as_bridge_error(tool):
            return await self._execute(tool, args, BRIDGE_CALL_TIMEOUT_SECONDS)

    async def list_tools(self, *, timeout: float = 3.0) -> frozenset[str] | None:
        """None if the bridge has no list of its tools. Raise BridgeError."""
        with _as_bridge_error("tools"):
            try:
                body = await self._get_json("/tools", timeout)
            except HttpAnswer as error:
                # These statuses mean that the bridge has no such list.
                if error.status not in (404, 405):
                    raise
                return None
        listed = body.get("tools") if isinstance(body, Mapping) else None
        if not isinstance(listed, list):
            return None
        names = [tool.get("name") if isinstance(tool, Mapping) else tool for tool in listed]
        return frozenset(name for name in names if isinstance(name, str))

    async def check_health(self, *, timeout: float = 3.0) -> None:
        """Raise BridgeError if the bridge does not answer."""
        with _as_bridge_error("health"):
            await self._get_json("/health", timeout)

    async def _execute(self, tool: str, args: Mapping[str, Any], timeout: float) -> Any:
        """The public bridge wraps a result in `result`. Others return it as it is, and name an
        `error` with status 200."""
        call = {"tool": tool, "args": dict(args)}
        answer = await self._http.post_json(self._url, call, headers=self._headers, timeout=timeout)
        if not isinstance(answer, Mapping):
            return answer
        if answer.get("error") and "Id" not in answer:  # a row may have a field of that name
            raise HttpAnswer(200, {}, json.dumps(answer).encode())
        return answer.get("result", answer)

    async def _get_json(self, path: str, timeout: float) -> Any:
        return await self._http.get_json(
            f"{self._base_url}{path}", headers=self._headers, timeout=timeout
        )


def read_bridge_id(value: object) -> str:
    """A number is accepted too; "" for anything else."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def parse_write(tool: BridgeTool, kind: str, args: Data) -> dict[str, Data] | list[Data]:
    """Return the rows that a call of a write tool names: for `kind` "create" the values of new
    rows, else new values by the row's id (none for "delete"). Raise ToolError with the tool's
    signature as hint.

    Tools named bulk_… take a list of rows, whose ids are in "id" or "Id"; the others take one. A
    create takes a list, too, as the public bridge does."""
    unknown = args.keys() - set(tool.argument_names)
    if unknown or not all(name in args for name in tool.argument_names):
        raise _bad_call(tool, "an argument is missing or unknown")
    if not BRIDGE_ID_PATTERN.fullmatch(str(args["table_id"])):
        raise _bad_call(tool, "`table_id` isn't a valid ID")
    # The signature says how the tool takes rows: one, or a list of them.
    many = tool.name.startswith("bulk_")
    if kind == "create":
        records = args["records"] if many else args["record_data"]
        rows = records if isinstance(records, list) else [records]
        _check_count(tool, rows)
        return [_parse_row_data(tool, row) for row in rows]
    if many:
        listed = args["records" if kind == "update" else "record_ids"]
        if not isinstance(listed, list):
            raise _bad_call(tool, "the rows must be a list")
        pairs: list[tuple[str, Data]] = []
        for row in listed:
            rest: Data = {}
            if kind == "delete":
                id = row.get("id", row.get("Id")) if isinstance(row, dict) else row
            else:
                data = _parse_row_data(tool, row)
                id = data.get("id", data.get("Id"))
                rest = {name: value for name, value in data.items() if name not in ("id", "Id")}
                # Checked again without the id: an update without any field is refused.
                _parse_row_data(tool, rest)
            pairs.append((_parse_row_id(tool, id), rest))
    else:
        data = _parse_row_data(tool, args["record_data"]) if kind == "update" else {}
        pairs = [(_parse_row_id(tool, args["record_id"]), data)]
    _check_count(tool, pairs)
    if len(dict(pairs)) < len(pairs):
        raise _bad_call(tool, "a row is listed twice")
    return dict(pairs)


def _parse_row_id(tool: BridgeTool, value: Any) -> str:
    text = read_bridge_id(value)
    if not BRIDGE_ID_PATTERN.fullmatch(text):
        raise _bad_call(tool, "a row has no valid ID")
    return text


def _parse_row_data(tool: BridgeTool, value: Any) -> Data:
    if not isinstance(value, dict) or not value:
        raise _bad_call(tool, "a row's data must be an object with at least one field")
    return value


def _check_count(tool: BridgeTool, rows: Sequence[Any]) -> None:
    if not rows:
        raise _bad_call(tool, "no row is given")
    check_most_rows(len(rows), hint="propose them in parts")


def _bad_call(tool: BridgeTool, what: str) -> ToolError:
    return ToolError(
        "Invalid call to {tool}: {what}.",
        code="bad_arguments",
        hint=str(tool),
        tool=tool.name,
        what=what,
    )
