"""The HTTP client. No other module uses the HTTP library directly.

HttpError
├── HttpDown         no connection, or it broke
├── HttpTimeout      the server did not respond in time
├── HttpAnswer       the server responded with a status other than 2xx
├── HttpUnreadable   the body does not have the expected format
└── HttpTooLarge     the body exceeds the size limit

None of these errors contains an address, a request header or a request body, because they may be
secret. `RemoteError` is a tool's version of such an error, in words for a person and a model.
Proxies are passed as arguments: HTTPS_PROXY and NO_PROXY can be set in `.env`, which the library
does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import importlib
import importlib.metadata
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import urlsplit

from core.base.errors import ToolError, WriteUnsure
from core.base.text import make_storable, parse_json

MAX_PARSED_RETRY_AFTER_SECONDS = 1e9
"""The cap of a parsed Retry-After value."""
_SECONDS_PATTERN = re.compile(r"\d+(\.\d+)?", re.ASCII)
CONNECT_TIMEOUT_SECONDS = 5.0
"""Timeout of connecting."""
MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Maximum size of a response after decompression. A larger one raises HttpTooLarge."""
MAX_ERROR_BODY_BYTES = 64 * 1024
"""The number of bytes that are read of an error's body. The rest is ignored."""
_LIBRARY = "httpx"
# The library raises these before it sends the first byte of a request.
_UNSENT = (
    *("ConnectError", "ConnectTimeout", "PoolTimeout"),
    *("ProxyError", "LocalProtocolError", "UnsupportedProtocol"),
)
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, or None if there is none.

    The value is a number or a date (RFC 9110, section 10.2.3). A date in the past gives 0.
    `headers` have lower-case names.
    """
    told = headers.get("retry-after", "").strip()
    if _SECONDS_PATTERN.fullmatch(told):
        return min(float(told), MAX_PARSED_RETRY_AFTER_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(told)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request.

    URLs may contain a password, so `repr` omits them. `no` is NO_PROXY, a comma-separated list of
    hosts that are reached directly. `example.com` includes its subdomains, `host:port` is one port
    only, and `*` is every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no: str = ""

    def for_url(self, url: str) -> str | None:
        """Return the proxy's URL for this request, or None for a direct connection."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = (parts.hostname or "").lower()
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        direct = any(_matches_host(entry.lower(), host, port) for entry in self._direct())
        return None if direct or not proxy else proxy

    def routes(self) -> dict[str, str]:
        """Return proxies by URL pattern, "" for a direct connection.

        The most specific pattern applies.
        """
        direct = self._direct()
        if "*" in direct:
            return {}
        routes = {_route_pattern(host): "" for host in direct}
        for scheme, proxy in (("http://", self.http), ("https://", self.https)):
            if proxy:
                routes[scheme] = proxy if "://" in proxy else f"http://{proxy}"
        return routes

    def _direct(self) -> list[str]:
        return [host.strip() for host in self.no.split(",") if host.strip()]


class HttpError(Exception):
    """A failed request. `sent`: it may have reached the server, so it may have had its effect."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class HttpDown(HttpError):
    """No connection, or it broke.

    `reason` is the kind of failure: ConnectError, ReadError, RemoteProtocolError and others.
    """


class HttpTimeout(HttpError):
    """The server did not respond in time."""


class HttpUnreadable(HttpError):
    """The body of the response does not have the expected format."""


class HttpTooLarge(HttpError):
    """The body of the response exceeds the size limit."""


class HttpAnswer(HttpError):
    """A response with a status other than 2xx.

    `headers` have lower-case names. The body is untrusted and may contain secrets.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.text = body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body parsed as JSON, or None if it is not JSON."""
        try:
            return parse_json(self.text)
        except ValueError:
            return None


class RequestOptions(TypedDict, total=False):
    """Options of `HttpClient.get_json` and `post_json`, as `request_json` describes them."""

    params: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    timeout: float


class HttpClient:
    """A pool of connections for one event loop. It opens itself at the first request.

    `socket` is the path of a Unix socket that receives all requests, whatever their host. Redirects
    are not followed, and the environment is not read. `cap` is the maximum size of a response in
    bytes.
    """

    def __init__(
        self, *, proxies: Proxies | None = None, socket: str = "", cap: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._proxies = proxies or Proxies()
        self._socket = socket
        self._cap = cap
        self._opening = asyncio.Lock()
        self._library: Any = None
        self._client: Any = None

    async def open(self) -> Self:
        """Import the library (some 150 ms) and read the certificates, once, in a thread."""
        async with self._opening:
            if self._client is None:
                self._library, self._client = await asyncio.to_thread(
                    _build_client, self._proxies, self._socket
                )
        return self

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def get_json(self, url: str, **options: Unpack[RequestOptions]) -> Any:
        """Send a GET request and return the JSON of the response. See `request_json`."""
        return await self.request_json("GET", url, **options)

    async def post_json(self, url: str, body: object, **options: Unpack[RequestOptions]) -> Any:
        """Send a POST request with a JSON body and return the JSON of the response.

        See `request_json`.
        """
        return await self.request_json("POST", url, body=body, **options)

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        form: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """Send a request and return the JSON of the response, or None if its body is empty.

        `body` is sent as JSON, `form` as a form. `timeout` is in seconds for the whole response,
        after connecting. Raises HttpError.
        """
        sent = {"json": body, "data": form, "params": params, "headers": headers}
        text = await self._fetch(method, url, sent, timeout)
        try:
            return parse_json(text) if text else None
        except ValueError:
            raise HttpUnreadable("not JSON") from None

    async def get_bytes(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> bytes:
        """Send a GET request and return the body of the response. Raises HttpError."""
        return await self._fetch("GET", url, {"headers": headers}, timeout)

    async def _fetch(self, method: str, url: str, sent: Mapping[str, Any], timeout: float) -> bytes:
        try:
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout),
                self._open_response(method, url, sent, timeout) as answer,
            ):
                return await self._read_body(answer)
        except TimeoutError:
            raise HttpTimeout("deadline") from None

    @contextlib.asynccontextmanager
    async def stream_lines(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        form: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, tuple[str, bytes]]] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = 90.0,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Send a request and yield the lines of the response as they arrive, without line ends.

        `body` is sent as JSON. `form` with `files` (field, then name and bytes) is a multipart
        form. `silence` is the maximum of seconds without a byte. A line longer than the cap raises
        HttpTooLarge. Raises HttpError, also while lines are read.
        """
        sent = {"json": body, "data": form, "files": files, "headers": headers}
        async with self._open_response(method, url, sent, silence) as answer:
            yield _split_lines(answer.aiter_bytes(), self._cap)

    @contextlib.asynccontextmanager
    async def _open_response(
        self, method: str, url: str, sent: Mapping[str, Any], timeout: float
    ) -> AsyncIterator[Any]:
        await self.open()
        # A model's arguments or a command line can contain half of a surrogate pair, which UTF-8
        # cannot encode.
        filled = {name: make_storable(value) for name, value in sent.items() if value is not None}
        limits = self._library.Timeout(timeout, connect=CONNECT_TIMEOUT_SECONDS)
        with self._translate_errors():
            async with self._client.stream(method, url, timeout=limits, **filled) as answer:
                if not answer.is_success:
                    raise HttpAnswer(
                        answer.status_code, dict(answer.headers), await _read_error_body(answer)
                    )
                yield answer

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Convert the library's errors to `HttpError`.

        The original error is not chained, because it contains the request.
        """
        library = self._library
        unsent = tuple(getattr(library, name) for name in _UNSENT)
        try:
            yield
        except library.TimeoutException as error:
            reason = type(error).__name__
            raise HttpTimeout(reason, sent=not isinstance(error, unsent)) from None
        except library.DecodingError:
            raise HttpUnreadable("its compression is broken") from None
        except library.TransportError as error:
            reason = type(error).__name__
            raise HttpDown(reason, sent=not isinstance(error, unsent)) from None
        except library.InvalidURL:
            raise HttpDown("InvalidURL", sent=False) from None

    async def _read_body(self, answer: Any) -> bytes:
        taken = bytearray()
        async for chunk in answer.aiter_bytes():
            taken += chunk
            if len(taken) > self._cap:
                raise HttpTooLarge(f"more than {self._cap:,} bytes")
        return bytes(taken)


def load_library() -> Any:
    """Import the HTTP library and return it.

    Call this in a thread, because another thread may be importing it.
    """
    return importlib.import_module(_LIBRARY)


def _matches_host(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, entry_port = entry.rpartition(":")
    if colon and entry_port.isdecimal() and ":" not in name:
        if int(entry_port) != port:
            return False
        entry = name
    entry = entry.removeprefix("*").removeprefix(".").strip("[]")
    return host == entry or host.endswith("." + entry)


def _route_pattern(host: str) -> str:
    """Return the URL pattern for a NO_PROXY entry.

    A name includes its subdomains. An IP address matches only itself.
    """
    name = host.lstrip(".").strip("[]")
    if name.count(":") > 1:
        return f"all://[{name}]"
    if name.replace(".", "").replace(":", "").isdigit():
        return f"all://{name}"
    return f"all://*{name}"


async def _read_error_body(answer: Any) -> bytes:
    """Return the first `MAX_ERROR_BODY_BYTES` bytes of an error's body."""
    taken = bytearray()
    async for chunk in answer.aiter_bytes():
        taken += chunk
        if len(taken) >= MAX_ERROR_BODY_BYTES:
            break
    return bytes(taken[:MAX_ERROR_BODY_BYTES])


async def _split_lines(chunks: AsyncIterator[bytes], cap: int) -> AsyncIterator[str]:
    """Yield the lines of a stream of bytes. Only LF and CR LF end a line.

    The library's own splitter also breaks at U+2028, which JSON may contain.
    """
    rest = bytearray()
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest += first
        for begun in more:
            yield rest.removesuffix(b"\r").decode(errors="replace")
            rest = bytearray(begun)
        if len(rest) > cap:
            raise HttpTooLarge(f"a line of more than {cap:,} bytes")
    if rest:
        yield rest.decode(errors="replace")


def _build_client(proxies: Proxies, socket: str) -> tuple[Any, Any]:
    """Return the library and a new client. Runs in a thread."""
    library = load_library()
    # The library logs every address at level INFO, and its transport logs more below that.
    for name in (_LIBRARY, _LIBRARY.replace("httpx", "httpcore")):
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"User-Agent": f"ponte-bot/{_version()}"}
    if socket:
        transport = library.AsyncHTTPTransport(uds=socket, verify=False)  # no TLS there
        return library, library.AsyncClient(transport=transport, headers=headers, trust_env=False)
    authorities = load_tls_context()
    mounts = {
        pattern: library.AsyncHTTPTransport(proxy=proxy, verify=authorities) if proxy else None
        for pattern, proxy in proxies.routes().items()
    }
    return library, library.AsyncClient(
        verify=authorities, mounts=mounts, headers=headers, trust_env=False
    )


@functools.cache
def load_tls_context() -> ssl.SSLContext:
    """Return the TLS context of all clients in this process. To read the certificates takes 35 ms
    and a megabyte, so it is done once.

    It trusts the bundled authorities and those of the machine: a company's proxy often uses
    certificates that the company signed.
    """
    context: ssl.SSLContext = load_library().create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _version() -> str:
    try:
        return importlib.metadata.version("ponte-bot")
    except importlib.metadata.PackageNotFoundError:
        return "0"


_ADDRESS = re.compile(r"\b\w+://\S+|host='[^']*'|url: \S+")
# Ids are shorter than 32 characters, and error codes have only capitals, digits and underscores.
# NocoDB's tokens have 40 characters.
_SECRET = re.compile(r"(?<![\w.~+/=-])(?![A-Z0-9_]+(?![\w.~+/=-]))[\w.~+/=-]{32,}")


class RemoteError(ToolError):
    """A failure of an external service, in words for a person and a model.

    `unsure`: the call may have had its effect. `passing`: the same call may succeed a moment later.
    """

    def __init__(
        self,
        sentence: str,
        /,
        *,
        code: str,
        hint: str = "",
        unsure: bool = False,
        passing: bool = False,
        **values: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, **values)
        self.unsure = unsure
        self.passing = passing

    def as_write_error(self) -> ToolError:
        """Return the error that an `Applier` raises: WriteUnsure if the write may have happened."""
        return WriteUnsure(str(self), code=self.code) if self.unsure else self


def withhold_secrets(text: str) -> str:
    """Return a server's message without addresses and tokens, cut to 300 characters.

    It serves as a hint for the model.
    """
    return _SECRET.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]
