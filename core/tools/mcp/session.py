"""The MCP SDK's client: sessions with one server, of all protocol versions, over HTTP.

The SDK takes 0.4 s to import, so this module is imported in a thread with the first server. Each
call has a session of its own. A server cannot make Ponte ask another address: the SDK follows
redirects only within the origin, and nothing that an answer names is fetched.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import httpx2
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map

from core.base.errors import ToolError
from core.base.http import CONNECT_TIMEOUT_SECONDS, MAX_RESPONSE_BYTES, load_tls_context
from core.base.json_text import check_json
from core.base.proxies import Proxies, is_reserved_address, parse_address
from core.base.remote_errors import withhold_secrets
from core.base.tasks import cancel_all
from core.base.text import clean_text, safe_media_type, to_one_line
from core.tools.mcp import MCP_CALL_TIMEOUT_SECONDS, McpServer
from core.tools.mcp.source import Definitions, McpResult, McpServerError
from core.tools.tool import compact_json, decode_json

T = TypeVar("T")
Json = dict[str, Any]
MAX_ANSWER_VALUES, MAX_ANSWER_DEPTH = 50_000, 64
MAX_ANSWER_LINES = 10_000
"""Lines in one answer: the SDK takes 0.2 ms for each event, which has three."""
MAX_OTHER_TOOLS = 10
"""Tools that an operator is told of if ponte.toml names one that the server has not."""
MAX_TOOL_PAGES, MAX_DEFINITION_CHARACTERS = 20, 100_000
"""Pages of a server's list that are read, and characters of one tool's definition."""
RELIST_SECONDS = 30.0
"""Pause between two lists, however often a server says that its tools changed, and between two
streams for notices."""
HANDSHAKE_SECONDS = 10.0
"""Seconds for the begin of a session, and for one list of a server that is watched."""
CLOSE_SECONDS = 2.0
"""Seconds that the end of a session may take."""
_REFUSED_CODES = (mcp_types.METHOD_NOT_FOUND, mcp_types.INVALID_PARAMS)
"""Errors of JSON-RPC with which a server says that it did not call the tool."""
_EVENT_END = re.compile(rb"(?:\r\n?+|\n){2}")
"""The blank line that ends an event of a stream."""
_SEPARATOR = re.compile(r"\\.|[^\w.+-]+|\.(?!\d)")
"""What stands between words in JSON: `\\n` is one character. A number is a word with its sign."""
_SIGNS = {"content", "structuredContent", "isError", "resultType", "_meta"}
"""The fields of a result that contain nothing that the tool has found."""
_DOWN = "The MCP server {name} didn't answer as expected ({why})."
_SILENT = "The MCP server {name} didn't answer within {seconds} s."
_ASKS = "The MCP server {name} asked for more input, which Ponte can't provide."


class _CheckedBackend:
    """Connects, and closes connections to addresses that no MCP server should have: link-local
    ones, where clouds offer their credentials (169.254.169.254), and public ones without TLS, where
    others could read the token. It checks the address that was connected to, because a name can
    lead to another one each time it is looked up."""

    def __init__(self, backend: Any, *, is_plain: bool) -> None:
        self._backend, self._is_plain = backend, is_plain

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        stream = await self._backend.connect_tcp(*args, **options)
        # An IPv6 address can have a zone, as in fe80::1%eth0.
        host = stream.get_extra_info("server_addr")[0].partition("%")[0]
        address = parse_address(host)
        if is_reserved_address(address) or (self._is_plain and address.is_global):
            await stream.aclose()
            raise httpx2.ConnectError("address not allowed")
        return stream


class _CappedStream(httpx2.AsyncByteStream):
    """The body of an answer, within limits. `on_close` is called when it is closed."""

    def __init__(self, stream: Any, on_close: Callable[[], None] | None) -> None:
        self._stream, self._on_close = stream, on_close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raise httpx2.ReadError beyond a limit on its bytes or lines,
        or for JSON with so many or so deeply nested values that reading it would take long
        (`_check_values`)."""
        count = lines = 0
        # The event that is not complete yet. It is checked before its last chunk is passed on,
        # because the SDK parses it then.
        event = bytearray()
        async for chunk in self._stream:
            count += len(chunk)
            lines += chunk.count(b"\n")
            if count > MAX_RESPONSE_BYTES or lines > MAX_ANSWER_LINES:
                raise httpx2.ReadError("too large")
            # The end of an event (two line breaks, at most four bytes) may begin in the last chunk.
            start = max(0, len(event) - 3)
            event += chunk
            while end := _EVENT_END.search(event, start):
                await _check_values(event[: end.end()])
                del event[: end.end()]
                start = 0
            yield chunk
        await _check_values(event)

    async def aclose(self) -> None:
        if self._on_close:
            self._on_close()
        await self._stream.aclose()


async def _check_values(data: bytes | bytearray) -> None:
    if await asyncio.to_thread(check_json, data, MAX_ANSWER_VALUES, MAX_ANSWER_DEPTH):
        raise httpx2.ReadError("too many values")


class GuardedTransport(httpx2.AsyncBaseTransport):
    """The HTTP transport of the MCP SDK, with limits on what a server can send. `status` is the
    last HTTP status of an error, 0 for none. `on_stream_end` is called when a stream for notices
    ends; without it, none is opened."""

    def __init__(
        self, url: str, proxies: Proxies, on_stream_end: Callable[[], None] | None = None
    ) -> None:
        proxy = proxies.for_url(url)
        self._inner = httpx2.AsyncHTTPTransport(verify=load_tls_context(), proxy=proxy)
        if proxy is None:
            # The transport has no argument for a check of addresses. A proxy connects by itself. A
            # connection to a link-local address (where clouds offer credentials) is closed again,
            # and without TLS (`is_plain`) one to a public address, where others could read the
            # token.
            pool: Any = self._inner._pool
            is_plain = url.startswith("http://")
            pool._network_backend = _CheckedBackend(pool._network_backend, is_plain=is_plain)
        # Called when a stream for notices ends; None: none is opened.
        self._on_stream_end = on_stream_end
        self._listened_at = float("-inf")
        # The HTTP status of the last call, if it was no success, and redirects in a row; else 0.
        # The SDK would follow 20 redirects with a call. One is allowed, for example to the address
        # with a slash. The second in a row fails here.
        self.status = self._redirects = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request of the SDK, and check the answer as far as it is read: its size, the
        number of its values, redirects. By the protocol, GET opens a stream for notices, POST makes
        a call, and DELETE ends a session. Raise httpx2's errors, as the SDK expects them."""
        if request.method == "GET":
            # Without `_on_stream_end`, nobody wants notices of the server. 405 is how a server says
            # that it has no stream for them, so the SDK goes on without.
            if self._on_stream_end is None:
                return httpx2.Response(405)
            # A server that ends each stream at once would be asked without a pause.
            await asyncio.sleep(self._listened_at + RELIST_SECONDS - time.monotonic())
            self._listened_at = time.monotonic()
        if request.method == "DELETE":  # the end of a session, also of one that is cancelled
            async with asyncio.timeout(CLOSE_SECONDS):
                await (await self._inner.handle_async_request(request)).aclose()
            return httpx2.Response(200)
        response = await self._inner.handle_async_request(request)
        # 0: no error, and no redirect.
        status = response.status_code if response.status_code >= 300 else 0
        if request.method == "POST":  # calls; that a server refuses streams is no fault of it
            self.status = status  # named in the error if the call fails
            # The SDK follows up to 20 redirects, and sends the call to each of them.
            self._redirects = self._redirects + 1 if 300 <= status < 400 else 0
            if self._redirects > 1:
                raise httpx2.ReadError("redirected twice")
        if "content-encoding" in response.headers:  # a small body may become GBs
            raise httpx2.ReadError("compressed")
        # An answer of JSON is read whole, and checked before the SDK parses it; events are checked
        # one by one as they come.
        response.stream = stream = _CappedStream(
            response.stream, self._on_stream_end if request.method == "GET" and not status else None
        )
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            body = b"".join([chunk async for chunk in stream])
            await stream.aclose()
            await _check_values(body)
            response.stream = httpx2.ByteStream(body)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def _open_session(
    server: McpServer, transport: GuardedTransport, on_message: Any = None
) -> AsyncIterator[Client]:
    """A read has no timeout of its own, because a stream for notices may be silent for hours:
    callers limit their work. Proxies come from the transport, and not from the environment
    (`trust_env`). The SDK's cache of answers is off (`cache`). `on_message` gets the server's
    notices."""
    # "identity": `GuardedTransport` refuses compressed answers.
    headers = {"Accept-Encoding": "identity", "User-Agent": "ponte-bot"}
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    timeout = httpx2.Timeout(MCP_CALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS, read=None)
    info = mcp_types.Implementation(name="ponte", title="Ponte", version="1")
    async with httpx2.AsyncClient(
        transport=transport, headers=headers, timeout=timeout, trust_env=False
    ) as http:
        # `GuardedTransport` limits events and bodies alike.
        streams = streamable_http_client(server.url, http_client=http, max_sse_event_size=None)
        async with Client(
            streams, mode=server.mode, client_info=info, cache=None, message_handler=on_message
        ) as client:
            yield client


async def _guard(
    server: McpServer,
    transport: GuardedTransport,
    seconds: float | None,
    work: Callable[[Client], Awaitable[T]],
    on_message: Any = None,
) -> T:
    """Raise McpServerError.

    `seconds` is the time for opening the session and for `work`, None if the work may take any
    time. Once `work` has a result, that counts, even if the end of the session fails or is late: a
    call that was made must not be reported as failed. `on_message` gets the server's notices.
    """
    results, limit = list[T](), seconds or HANDSHAKE_SECONDS
    timeout = asyncio.timeout(limit)
    try:
        async with timeout, _open_session(server, transport, on_message) as client:
            if seconds is None:
                # The limit was for opening the session only.
                timeout.reschedule(None)
            results.append(await work(client))
    except Exception as error:
        if not results:
            # The SDK may fail with another error when the timeout cancels it.
            error = TimeoutError() if timeout.expired() else error
            raise _explain(server, transport, error, limit) from None
    return results[0]


def _explain(
    server: McpServer, transport: GuardedTransport, error: BaseException, limit: float
) -> Exception:
    """Return the error for a failure of the SDK, in words for operators and without the token. The
    SDK runs its parts as tasks, so its errors may come in groups; the first one counts. `limit` is
    how many seconds the server had. `transport.status` is the HTTP status of the last call, 0 after
    a success."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ToolError):  # Ponte's own, which has its words already
        return error
    if isinstance(error, TimeoutError):
        return McpServerError(_SILENT, code="timeout", name=server.name, seconds=round(limit))
    # Only errors of the protocol (MCPError) and of the connection have words for operators.
    why = type(error).__name__
    is_own = isinstance(error, httpx2.LocalProtocolError)  # its words quote the token as bytes
    if isinstance(error, MCPError | httpx2.TransportError) and str(error) and not is_own:
        why = to_one_line(withhold_secrets(_remove_token(server, str(error))), 200)
    if transport.status:
        why = f"HTTP {transport.status}, {why}"
    if transport.status in (401, 403):
        why += f"; check {server.token_name or '`token` in ponte.toml'}"
    return McpServerError(_DOWN, code="failed", name=server.name, why=why)


def _remove_token(server: McpServer, text: str) -> str:
    # A server may repeat the token that Ponte sent there, for example in an error.
    return text.replace(server.token, "…") if server.token else text


async def _request(client: Client, method: str, params: Json) -> Any:
    # The SDK's own method does this, and then refuses the whole result for one wrong field.
    session: Any = client.session
    options = Json()
    session._stamp({"method": method, "params": params}, options)
    return await session._dispatcher.send_raw_request(method, params, options)


async def _list(server: McpServer, client: Client) -> Definitions:
    """Return the definitions of those tools of the server that ponte.toml names, each as JSON, so
    that equal definitions are equal texts; "" for some of its other tools. A server that lists
    without end is cut off."""
    definitions, cursor, names = dict[str, str](), None, dict(server.effects)
    for _ in range(MAX_TOOL_PAGES):
        # An empty cursor is one, too.
        page = await _request(client, "tools/list", {} if cursor is None else {"cursor": cursor})
        for tool in page.get("tools") or ():
            match tool:
                case {"name": str(name)} if name in names:
                    schema = tool.get("inputSchema")
                    # For the headers that repeat arguments of a call.
                    client.session._x_mcp_header_maps[name] = x_mcp_header_map(schema)
                    own_parts = {"description": tool.get("description") or "", "schema": schema}
                    line = _remove_token(server, compact_json(own_parts))  # a server may repeat it
                    # No model reads the long one: `fit_schema` refuses a schema that is a text.
                    if len(line) > MAX_DEFINITION_CHARACTERS:
                        line = compact_json({"description": name, "schema": "too large"})
                    # Models read no character that the operator did not see. Compact JSON has no
                    # line breaks, so one here was made of another character, and is escaped as in
                    # JSON.
                    definitions[name] = clean_text(line).replace("\n", "\\n")
                case {"name": str(name)}:
                    # For the operator, who may have mistyped a name in ponte.toml. If cutting
                    # a name makes it one of ponte.toml, it must not replace that one's definition.
                    name = to_one_line(name, 64)
                    if name not in names and len(definitions) < len(names) + MAX_OTHER_TOOLS:
                        definitions[name] = ""
        cursor = page.get("nextCursor")
        # The rest of the list is not needed once all tools of ponte.toml are found.
        if cursor is None or names.keys() <= definitions.keys():
            break
    return definitions


async def list_definitions(server: McpServer, proxies: Proxies, seconds: float) -> Definitions:
    """Raise McpServerError."""
    transport = GuardedTransport(server.url, proxies)
    return await _guard(_add_address(server), transport, seconds, partial(_list, server))


def _add_address(server: McpServer) -> McpServer:
    # Its path is left out, because it may contain a secret.
    url = httpx2.URL(server.url)
    return replace(server, name=f"{server.name} ({url.scheme}://{url.netloc.decode()})")


async def watch_definitions(
    server: McpServer, proxies: Proxies, on_listing: Callable[[Definitions], None]
) -> None:
    """Call `on_listing` with the tools of a server, and again after each notice that they changed.

    Return when the server ends its stream for notices. Raise McpServerError if it fails. Servers of
    newer protocol versions send such notices only to clients that subscribe (`listen`), older ones
    to everybody (`on_message`).
    """
    noticed, has_ended = asyncio.Event(), False

    def end() -> None:
        nonlocal has_ended
        has_ended = True
        noticed.set()

    transport = GuardedTransport(server.url, proxies, end)

    async def on_message(message: Any) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            noticed.set()

    async def listen(client: Client) -> None:
        """A server that knows no subscriptions refuses that; its notices come by `on_message`. Any
        other end of it ends the watching (`end`)."""
        try:
            async with client.listen(tools_list_changed=True) as events:
                async for _ in events:
                    noticed.set()
        except ListenNotSupportedError:
            return
        except (MCPError, SubscriptionLost) as error:
            if isinstance(error, MCPError) and error.code in _REFUSED_CODES:
                return
        end()

    async def work(client: Client) -> None:
        listening = asyncio.create_task(listen(client))
        try:
            while True:
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    on_listing(await _list(server, client))
                await noticed.wait()
                if has_ended:
                    return
                noticed.clear()
                await asyncio.sleep(RELIST_SECONDS)
        finally:
            await cancel_all([listening])

    await _guard(_add_address(server), transport, None, work, on_message)


async def call_tool(
    server: McpServer,
    proxies: Proxies,
    tool: str,
    arguments: Mapping[str, Any],
    definition: str | None = None,
) -> tuple[Definitions, McpResult | None]:
    """Return the tools that the server listed before, and the result. With a `definition`, the one
    that an operator accepted, list the tools first. If the tool's definition differs from it, do
    not call it: the result is None then. Raise McpServerError, with `unsure` if the tool may have
    been called."""
    transport = GuardedTransport(server.url, proxies)
    is_called = False

    async def work(client: Client) -> tuple[Definitions, McpResult | None]:
        nonlocal is_called
        listing = await _list(server, client) if definition is not None else {}
        if definition is not None and listing.get(tool) != definition:
            return listing, None
        is_called = True  # an error from here on is unsure: the tool may have run
        # Not the client's `call_tool`: it answers a server that asks for more input, and repeats a
        # call that the server rejects with -32020, while this function calls only once.
        params = {"name": tool, "arguments": dict(arguments)}
        try:
            result = await _request(client, "tools/call", params)
        except MCPError as error:
            # With these codes, a server refuses a call before it runs the tool.
            is_called = error.code not in _REFUSED_CODES
            raise
        # In place of a result, this server asks for more input, and waits with the call for it.
        if result.get("resultType") == "input_required":
            is_called = False
            raise McpServerError(_ASKS, code="asks", hint="tell the person", name=server.name)
        return listing, await asyncio.to_thread(_read_result, server, result)

    try:
        return await _guard(server, transport, MCP_CALL_TIMEOUT_SECONDS, work)
    except McpServerError as error:
        error.unsure = is_called
        raise


def _read_result(server: McpServer, result: Json) -> McpResult:
    """Return the texts and files of a result, without the token that Ponte sent.

    A part counts by its fields, whatever its type. One without a text or a file is returned as
    JSON, and so is structured content with a word that no text has: some servers only count in the
    text what they have found.
    """
    texts, files = list[str](), list[tuple[str, bytes]]()

    def read_part(part: Any) -> None:
        match part:
            case None | {"text": None}:
                pass
            case str(text) | {"text": str(text)}:
                texts.append(text)
            case (
                {"blob": str(data)}
                | {"data": str(data), "mimeType": str()}
                | {"data": str(data), "type": "image" | "audio"}
            ):
                code = "".join(
                    data.rpartition(",")[2].split()
                )  # some send `data:image/png;base64,…`
                type = safe_media_type(str(part.get("mimeType") or ""))
                try:
                    files.append((type, base64.b64decode(code, validate=True)))
                except ValueError:
                    texts.append(compact_json(part))
            case {"resource": dict(resource)}:
                read_part(resource)
            case {"uri": str(uri)}:
                texts.append(f"[A link, not opened: {part.get('name') or ''} {uri}]")
            case _:
                texts.append(compact_json(part))

    content, structured = result.get("content"), result.get("structuredContent")
    for part in content if isinstance(content, list) else [content]:
        read_part(part)
    if structured is None and not (texts or files):
        structured = {key: value for key, value in result.items() if key not in _SIGNS} or None
    if structured is not None and not (
        texts
        # Names for a text that is no object: of the SDK, and of server-filesystem.
        and _find_words(structured)
        <= _find_words(list(map(decode_json, texts))) | {"result", "content"}
    ):
        texts.append(compact_json(structured))
    answer = clean_text(_remove_token(server, "\n".join(texts))).strip()
    return McpResult(answer, files, str(result.get("isError")).lower() in ("true", "1"))


def _find_words(value: Any) -> set[str]:
    return {*_SEPARATOR.split(compact_json(value).casefold())}
