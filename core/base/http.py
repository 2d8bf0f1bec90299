"""The HTTP client. No other module uses the HTTP library directly.

ERRORS = ErrorTable(
    StackSpotError,
    on(429, when=is_daily_limit).raises("limit", DAILY_LIMIT),
    on(429).raises("busy", BUSY, retry=True),
    on(502, 504).raises("down", DOWN, retry=True, outcome_unknown=True),
    on(HttpTimeout).raises("silent", SILENT, retry=True, outcome_unknown=was_sent),
    on().raises("unreadable", UNREADABLE, outcome_unknown=True),
)

The first matching row counts, so put special cases above general ones. The last row has no
condition. A failure is an `HttpError`, a `ModelServerFault` of `core/base/openai.py`, or an
error of a platform's SDK that has a `status`.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send a text or HTML, a text
as `error` or `detail`, lists of objects (FastAPI, Cloudflare, Gemini), or the error of another
server as JSON in a text (OpenRouter). So the keys count, and not where they stand.

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
import ipaddress
import json
import logging
import re
import ssl
import time
import urllib.parse
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack, cast
from urllib.parse import urlsplit

from core.base.errors import PonteError, ToolError, WriteUnsure
from core.base.json_text import make_storable, parse_json

MAX_PARSED_RETRY_AFTER_SECONDS = 1e9
"""The cap of a parsed Retry-After value."""
_SECONDS_PATTERN = re.compile(r"\d+(\.\d+)?", re.ASCII)
CONNECT_TIMEOUT_SECONDS = 5.0
"""Timeout of connecting."""
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's reason for a certificate that nobody known has signed."""
MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Maximum size of a response after decompression. A larger one raises HttpTooLarge."""
MAX_ERROR_BODY_BYTES = 64 * 1024
"""The number of bytes that are read of an error's body. The rest is ignored."""
_LIBRARY = "httpx"
# The library raises these before it sends the first byte of a request.
_UNSENT = (
    *("ConnectError", "ConnectTimeout", "PoolTimeout"),
    *("ProxyError", "LocalProtocolError", "UnsupportedProtocol", "InvalidURL"),
)
PROXY_STATUSES = (403, 407, 502, 503, 504)
"""HTTP statuses that a proxy sends if it refuses a request or does not reach the server."""
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait in its Retry-After header, or None if it sends
    no such header. `headers` have lower-case names."""
    return parse_wait(headers.get("retry-after", "").strip())


def parse_wait(value: str) -> float | None:
    """Return the seconds that a text, such as the value of a Retry-After header, asks to wait, or
    None if it is no time.

    The value is a number or a date (RFC 9110, section 10.2.3). A date in the past gives 0. Some
    servers send a time with its unit ("45s"), an ISO 8601 date, or the moment in seconds or
    milliseconds since 1970.
    """
    if _SECONDS_PATTERN.fullmatch(value):
        seconds = float(value)
        # Moments since 1970 have ten digits in seconds and thirteen in milliseconds.
        seconds /= 1000 if seconds >= 1e12 else 1
        seconds -= time.time() if 1e9 <= seconds < 1e10 else 0
        # Some hundred digits are read as infinity, so the number is capped. No date is infinite.
        return min(max(0.0, seconds), MAX_PARSED_RETRY_AFTER_SECONDS)
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError):
            moment = parse(value)
            # The zone "-0000" is UTC, too, but gives a moment without a zone.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())  # a past date gives 0
    # It begins with a number and is no date: perhaps a time with its unit.
    return _as_seconds(value) if _SECONDS_PATTERN.match(value) else None


def parse_reset(headers: Iterable[tuple[str, str]]) -> float | None:
    """Return the seconds until the rate limits that a response names in headers such as
    `x-ratelimit-reset-requests` end, the latest one. A limit that is not used up does not count.
    None if no limit counts."""
    values = {name.lower(): value for name, value in headers}
    # Some servers send no `remaining` header: then the limit may be the one that was reached. A
    # negative number means that more was used than the limit allows.
    waits = [
        parse_wait(value.strip())
        for name, value in values.items()
        if "ratelimit" in name and "reset" in name
        if values.get(name.replace("reset", "remaining"), "0").strip() in ("0", "0.0", "-1")
    ]
    return max(filter(None, waits), default=None)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by the scheme of the request.

    URLs may contain a password, so `repr` omits them. `no` is NO_PROXY, a comma-separated list of
    hosts that are reached directly. `example.com` includes its subdomains, `10.0.0.0/8` is a range
    of addresses, `host:port` is one port only, and `*` is every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no: str = ""

    def for_url(self, url: str) -> str | None:
        """Return the URL of the proxy for a request to this address, or None for a direct
        connection: no proxy is set for its scheme, or NO_PROXY includes the host."""
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:  # it is no address
            return None
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = (parts.hostname or "").lower().rstrip(".")
        entries = re.split(r"[,;\s]+", self.no.lower())  # hosts that are reached directly
        if not proxy or any(_includes(entry, host, port) for entry in entries):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"  # people leave the scheme out

    def name_for(self, url: str) -> str:
        """Return the host and port of the proxy through which a request to this address goes,
        without its password; "" for a direct connection."""
        address = (self.for_url(url) or "").partition("://")[2]
        return address.rpartition("@")[2].partition("/")[0]


def add_proxy(reason: str, proxy: str) -> str:
    """Return why a request failed, with the name of the proxy that it went through, if any."""
    return f"{reason}, proxy {proxy}" if proxy else reason


def _includes(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY includes this host and port, so that no proxy is used. No
    standard defines its form, so all usual ones count: a domain with or without a dot or `*.`
    before it, an address, a range, `192.168.*`, a URL, and a port behind each."""
    entry = re.sub(r"^https?://|/$", "", entry)
    name, colon, entry_port = entry.rpartition(":")
    # An IPv6 address has colons, too.
    if colon and entry_port.isdecimal() and (":" not in name or name.endswith("]")):
        if int(entry_port) != port:
            return False
        entry = name
    name = re.sub(r"[\[\]]", "", entry.removeprefix("*").strip("."))
    if name.endswith(".*"):  # 192.168.*
        return host.startswith(name[:-1])
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    return entry == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


class HttpError(Exception):
    """A failed HTTP request. `sent`: it may have reached the server, so it may have had its effect.

    `proxy` is the host and port of the proxy that may have caused the failure.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.proxy = ""

    def name_proxy(self, proxy: str) -> None:
        """Add the proxy (host and port) that the request went through to the reason of the failure,
        because it may be the cause. "" is none."""
        self.proxy = proxy
        self.reason = add_proxy(self.reason, proxy)
        self.args = (self.reason,)


class HttpDown(HttpError):
    """There was no connection to the server, or it broke.

    `reason` is the kind of failure: ConnectError, ReadError, RemoteProtocolError and others.
    """


class HttpTimeout(HttpError):
    """The HTTP server did not respond in time, or not to the end."""


class HttpUnreadable(HttpError):
    """The body of an HTTP response does not have the expected format, such as JSON."""


class HttpTooLarge(HttpError):
    """The body of an HTTP response exceeds the size limit."""


class HttpAnswer(HttpError):
    """Raised for a response with a status other than 2xx. It holds that response.

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

    def name_proxy(self, proxy: str) -> None:
        if self.status in PROXY_STATUSES and self.json is None:
            super().name_proxy(proxy)


class RequestOptions(TypedDict, total=False):
    """The optional arguments that `HttpClient.get_json` and `post_json` pass on to `request_json`,
    which describes them."""

    params: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    timeout: float


class HttpClient:
    """An HTTP client: a pool of connections for one event loop. It opens itself at the first
    request. Every failure is an `HttpError` without secrets.

    `socket` is the path of a Unix socket that receives all requests, whatever their host. Redirects
    are not followed, and the environment is not read. `cap` is the maximum size of a response in
    bytes.
    """

    def __init__(
        self, *, proxies: Proxies | None = None, socket: str = "", cap: int = MAX_RESPONSE_BYTES
    ) -> None:
        """Prepare the client. `socket` is the path of a Unix socket that receives all requests, ""
        for none. `cap` is the maximum size of a response in bytes. The HTTP library is imported
        later, by `open`, because that is slow."""
        self._proxies = proxies or Proxies()
        self._socket = socket
        self._cap = cap
        self._opening = asyncio.Lock()
        self._library: Any = None
        self._client: Any = None

    async def open(self) -> Self:
        """Open the client, if it is not open, and return it. The first call imports the HTTP
        library (some 150 ms) and reads the certificates, in a thread, so that nothing else
        waits."""
        async with self._opening:
            if self._client is None:
                self._library, self._client = await asyncio.to_thread(
                    _build_client, self._proxies, self._socket
                )
        return self

    async def close(self) -> None:
        """Close all connections of the client."""
        if self._client is not None:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def get_json(self, url: str, **options: Unpack[RequestOptions]) -> Any:
        """Send a GET request and return the JSON of the response; None if its body is empty.
        `options` are those of `request_json`. Raises HttpError."""
        return await self.request_json("GET", url, **options)

    async def post_json(self, url: str, body: object, **options: Unpack[RequestOptions]) -> Any:
        """Send a POST request with `body` as JSON, and return the JSON of the response; None if its
        body is empty. `options` are those of `request_json`. Raises HttpError."""
        return await self.request_json("POST", url, body=body, **options)

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        cap: int = 0,
    ) -> Any:
        """Send a request and return the JSON of the response, or None if its body is empty.

        `body` is sent as JSON, `form` as a form, `files` (a name, bytes and a type by field) as a
        multipart form. `timeout` is in seconds for the whole response, after connecting. `cap` is
        the response's maximum size in bytes, if it is not the client's. Raises HttpError.
        """
        options = {"json": body, "data": form, "files": files, "params": params, "headers": headers}
        text = await self._fetch(method, url, options, timeout, cap)
        try:
            return parse_json(text) if text else None
        except ValueError:
            raise HttpUnreadable("not JSON") from None

    async def get_bytes(
        self, url: str, headers: Mapping[str, str] | None = None, cap: int = 0
    ) -> bytes:
        """Send a GET request and return the body of the response, of at most `cap` bytes. Raises
        HttpError."""
        return await self._fetch("GET", url, {"headers": headers}, 60.0, cap)

    async def _fetch(
        self, method: str, url: str, sent: Mapping[str, Any], timeout: float, cap: int = 0
    ) -> bytes:
        """Return the body of a successful response. It is read piece by piece, so that one of more
        than `cap` bytes (0: the client's own limit) raises HttpTooLarge early. The timeout is for
        all of it: a server may send slowly without end."""
        # Errors of this block name the proxy, and a TimeoutError becomes an HttpTimeout.
        with self._name_proxy(url):
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout),
                self._open_response(method, url, sent, timeout) as answer,
            ):
                data = bytearray()
                async for chunk in answer.aiter_bytes():
                    data += chunk
                    if len(data) > (cap or self._cap):
                        raise HttpTooLarge(f"more than {cap or self._cap:,} bytes")
                return bytes(data)

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
        options = {"json": body, "data": form, "files": files, "headers": headers}
        with self._name_proxy(url):  # adds the proxy to errors
            async with self._open_response(method, url, options, silence) as answer:
                yield _split_lines(answer.aiter_bytes(), self._cap)

    @contextlib.contextmanager
    def _name_proxy(self, url: str) -> Iterator[None]:
        """Add the proxy for this address to an error of the block, and make a timeout of the whole
        request an HttpTimeout."""
        try:
            yield
        except (HttpError, TimeoutError) as error:
            failure = error if isinstance(error, HttpError) else HttpTimeout("deadline")
            failure.name_proxy("" if self._socket else self._proxies.name_for(url))
            raise failure from None

    @contextlib.asynccontextmanager
    async def _open_response(
        self, method: str, url: str, sent: Mapping[str, Any], timeout: float
    ) -> AsyncIterator[Any]:
        """Send a request and yield the response if its status is a success. Otherwise raise
        HttpAnswer with the beginning of its body, which explains the error."""
        await self.open()
        # Half of a surrogate pair, which a model's arguments can contain, is replaced, because
        # UTF-8 cannot encode it. None is left out: the library would send it as an empty value.
        filled = make_storable({n: value for n, value in sent.items() if value is not None})
        limits = self._library.Timeout(timeout, connect=CONNECT_TIMEOUT_SECONDS)
        with self._translate_errors():
            async with self._client.stream(method, url, timeout=limits, **filled) as answer:
                # The library unpacks a piece at once: packed twice, it could become gigabytes.
                if "," in answer.headers.get("content-encoding", ""):
                    raise HttpUnreadable("compressed more than once")
                if answer.is_success:
                    yield answer
                    return
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) >= MAX_ERROR_BODY_BYTES:
                        break
                beginning = bytes(body[:MAX_ERROR_BODY_BYTES])
                raise HttpAnswer(answer.status_code, dict(answer.headers), beginning)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Convert the HTTP library's errors in the block to `HttpError`, and tell by `sent` whether
        the request may have reached the server.

        The original error is not chained (`from None`), because it contains the request, which may
        hold secrets.
        """
        library = self._library
        # UnicodeError: a host name or a header that cannot be encoded.
        unsent = (UnicodeError, *(getattr(library, name) for name in _UNSENT))
        try:
            yield
        except library.TimeoutException as error:
            raise HttpTimeout(type(error).__name__, sent=not isinstance(error, unsent)) from None
        except library.DecodingError:
            raise HttpUnreadable("its compression is broken") from None
        except (library.TransportError, library.InvalidURL, UnicodeError) as error:
            # The libraries pack OpenSSL's errors into their own, so only the text tells that nobody
            # known signed the certificate. This reason is told, because a person can mend it.
            reason = UNTRUSTED if UNTRUSTED in str(error) else type(error).__name__
            raise HttpDown(reason, sent=not isinstance(error, unsent)) from None


def is_loopback(host: str) -> bool:
    """Return whether `host` surely means this machine only: an address of the loopback, with or
    without brackets, or `localhost`. A name below `localhost` depends on the resolver."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(host: str) -> IpAddress:
    """Return the address in `host`, an IPv4 address inside an IPv6 one (::ffff:192.0.2.1) as such.
    Raise ValueError."""
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def is_reserved_address(address: IpAddress) -> bool:
    """Return whether no server of ours can have this address: link-local, where clouds offer their
    credentials (169.254.169.254), multicast, or unspecified (0.0.0.0)."""
    return address.is_link_local or address.is_multicast or address.is_unspecified


def is_local_host(host: str) -> bool:
    """Return whether `host` is in a network that is not public, as far as its name says: an address
    of such a network, a name without dots, or one below `internal` or `local`."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or host.lower().endswith((".internal", ".local"))


def load_library() -> Any:
    """Import the HTTP library and return it.

    Call this in a thread, because another thread may be importing it.
    """
    return importlib.import_module(_LIBRARY)


async def _split_lines(chunks: AsyncIterator[bytes], cap: int) -> AsyncIterator[str]:
    """Yield the lines of a stream of bytes. Only LF and CR LF end a line. Raise HttpTooLarge for a
    line of more than `cap` bytes, which would fill the memory.

    The library's own splitter also breaks at U+2028, which JSON may contain.
    """
    rest = bytearray()
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest += first
        for line_start in more:
            yield rest.removesuffix(b"\r").decode(errors="replace")
            rest = bytearray(line_start)
        if len(rest) > cap:
            raise HttpTooLarge(f"a line of more than {cap:,} bytes")
    if rest:
        yield rest.decode(errors="replace")


def _build_client(proxies: Proxies, socket: str) -> tuple[Any, Any]:
    """Return the HTTP library and a new client of it. With `socket`, all requests go to that Unix
    socket. Runs in a thread, because the import and the certificates take a moment."""
    library = load_library()
    # The library (httpx) logs every address at level INFO, and its transport (httpcore) logs more
    # below that.
    for name in (_LIBRARY, _LIBRARY.replace("httpx", "httpcore")):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        version = importlib.metadata.version("ponte-bot")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        version = "0"
    headers = {"User-Agent": f"ponte-bot/{version}"}
    if socket:
        transport = library.AsyncHTTPTransport(uds=socket, verify=False)  # no TLS there
        return library, library.AsyncClient(transport=transport, headers=headers, trust_env=False)
    authorities = load_tls_context()
    transports: dict[str | None, Any] = {}

    class ProxyTransport(library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Sends each request through the proxy that NO_PROXY and the other settings give for its
        address. The library itself knows no ranges of addresses in NO_PROXY."""

        async def handle_async_request(self, request: Any) -> Any:
            proxy = proxies.for_url(str(request.url))
            if proxy not in transports:
                transports[proxy] = library.AsyncHTTPTransport(proxy=proxy, verify=authorities)
            return await transports[proxy].handle_async_request(request)

        async def aclose(self) -> None:
            for transport in transports.values():
                await transport.aclose()

    # `trust_env`: the library would read the settings of the proxy from the environment itself.
    return library, library.AsyncClient(
        transport=ProxyTransport(), headers=headers, trust_env=False
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


_ADDRESS = re.compile(r"\b\w+://\S+|host='[^']*'|url: \S+")
# Ids are shorter than 32 characters, and error codes have only capitals, digits and underscores.
# NocoDB's tokens have 40 characters.
_SECRET = re.compile(r"(?<![\w.~+/=-])(?![A-Z0-9_]+(?![\w.~+/=-]))[\w.~+/=-]{32,}")


class RemoteError(ToolError):
    """A failure of an external service that a tool uses, in words for a person and a model.

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
        """`sentence` with `values` is for a person, `code` and `hint` are for a model. `unsure`:
        the call may have had its effect. `passing`: the same call may succeed a moment later."""
        super().__init__(sentence, code=code, hint=hint, **values)
        self.unsure = unsure
        self.passing = passing

    def as_write_error(self) -> ToolError:
        """Return the error for a failed write, as an `Applier` (which makes approved changes)
        raises it: WriteUnsure if the write may have happened, so that it is not repeated blindly;
        else this error."""
        return WriteUnsure(str(self), code=self.code) if self.unsure else self


def withhold_secrets(text: str) -> str:
    """Return a server's error message without what may be secret: addresses become "(address)" and
    long random texts "(withheld)". It is cut to 300 characters, and serves as a hint for the
    model."""
    return _SECRET.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]


SERVER_ERRORS = range(500, 1000)
"""HTTP statuses of a failure of the server (RFC 9110, section 15.6)."""

Kind = int | range | str | type[Exception]
"""What a row matches.

An HTTP status, a range of them, a `ModelServerFault.kind`, or an error class.
"""
Condition = Callable[[Any], bool]
"""Return True if the row applies to the failure."""
Values = Callable[[Any], Mapping[str, object]]
"""Return values for the placeholders of a sentence or hint, from the failure."""
E = TypeVar("E", bound=PonteError)


def was_sent(failure: HttpError) -> bool:
    """Return True if the request that failed may have reached the server, so that its outcome is
    unknown. It serves as a condition in an `ErrorTable`."""
    return failure.sent


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of an `ErrorTable`. It tells which failures of a service it matches (`kinds` and
    `when`), and the error that such a failure becomes."""

    kinds: tuple[Kind, ...]
    when: Condition | None
    error: str | type[PonteError] = PonteError
    sentence: str = ""
    hint: str | Callable[[Any], str] = ""
    retry: bool = False
    outcome_unknown: bool | Condition = False
    values: Values | None = None

    def raises(
        self,
        error: str | type[PonteError],
        sentence: str = "",
        *,
        hint: str | Callable[[Any], str] = "",
        retry: bool = False,
        outcome_unknown: bool | Condition = False,
        values: Values | None = None,
    ) -> ErrorRow:
        """Return a row with the error that it makes of a failure. `self`, as `on` returns it, tells
        only which failures the row matches.

        `error` is a code for an error of the table's class, or another error class, which has its
        own code and sentence. `hint` is for the model. It is a text, which may contain the
        sentence's placeholders, or a function of the failure. `retry`: the same request may succeed
        a moment later. `outcome_unknown`: the request may have had its effect. `values` fills
        placeholders.
        """
        return ErrorRow(
            self.kinds, self.when, error, sentence, hint, retry, outcome_unknown, values
        )

    def matches(self, failure: Exception) -> bool:
        """Return True if this row of an `ErrorTable` applies to the failure: one of its kinds fits
        (a class, an HTTP status, a range of them, or the name of a kind), or it has none, and its
        condition holds."""
        status, name = getattr(failure, "status", 0), getattr(failure, "kind", "")
        is_kind = not self.kinds
        for kind in self.kinds:
            if isinstance(kind, type):
                is_kind |= isinstance(failure, kind)
            elif isinstance(kind, range):
                is_kind |= status in kind
            else:
                is_kind |= kind in (status, name)
        return is_kind and (self.when is None or self.when(failure))


def on(*kinds: Kind, when: Condition | None = None) -> ErrorRow:
    """Begin a row of an `ErrorTable`, for failures of any of these kinds for which `when` returns
    True. Without kinds, the row matches every failure. `raises` completes it."""
    return ErrorRow(kinds, when)


class ErrorTable(Generic[E]):
    """A table that turns the failures of one external service into errors. The first row that
    matches decides. A row with a code becomes an error of the class `error`: a `RemoteError`, or a
    class with the same arguments."""

    def __init__(self, error: type[E], *rows: ErrorRow) -> None:
        self._error = error
        self._rows = rows

    def find(self, failure: Exception) -> ErrorRow:
        """Return the first row of the table that matches the failure. The last row of each table
        matches all."""
        return next(row for row in self._rows if row.matches(failure))

    def explain(self, failure: Exception, **values: object) -> E:
        """Return the error that the table has for this failure of the service, in words for a
        person and a model.

        `values` fill the placeholders of the sentence and the hint, as do the values that the row
        reads from the failure. A row names its error by a class, or by a code: then it is an error
        of the table's class.
        """
        row = self.find(failure)
        if row.values:
            values |= row.values(failure)
        if proxy := getattr(failure, "proxy", ""):
            values["proxy"] = proxy
        if not isinstance(row.error, str):
            sentence = (row.sentence,) if row.sentence else ()  # else that of the class
            return cast(E, row.error(*sentence, **values))
        # `unsure`: the request may have had its effect. `passing`: it may succeed a moment later.
        unknown = row.outcome_unknown
        make: Callable[..., E] = self._error
        return make(
            row.sentence,
            code=row.error,
            hint=row.hint(failure) if callable(row.hint) else row.hint.format(**values),
            unsure=unknown(failure) if callable(unknown) else unknown,
            passing=row.retry,
            **values,
        )


MAX_ERROR_VALUES = 500
"""Values that are read of one body."""
MESSAGE_KEYS = frozenset({
    "message", "msg", "error", "errors", "detail", "details", "description", "reason", "raw",
    "title", "error_message", "error_msg", "status_msg", "error_description", "",
})  # fmt: skip
"""Keys of texts for people. "" stands for a body that is a text."""
STATUS_KEYS = frozenset({"code", "status", "status_code", "statusCode", "http_status"})
"""Keys of a status number. Servers use some of them for other codes as well."""
CODE_KEYS = frozenset({"code", "error_code", "status"})
"""Keys of an error's code."""
TYPE_KEYS = frozenset({"type", "error_type", "status"})
"""Keys of an error's type."""
WAIT_KEYS = frozenset(
    {"retryDelay", "retry_after", "retryAfter", "estimated_time", "retry_after_seconds"}
)
"""Keys of the time to wait until the next request."""
HTML_HEADING = re.compile(r"<(?:title|h1)[^>]*>([^<]*)", re.IGNORECASE)
TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|[smhd])(?![a-z])", re.IGNORECASE)
WAIT_SENTENCE = re.compile(
    r"\b(?:again|retry|wait|resets?|until)\D{0,30}"
    r"(\d{4}-\d\d-\d\d[T ][\d:]+(?:\.\d+)?(?:Z|[+-]\d[\d:]+)?|\d{10,13}\b"
    r"|(?:\d[\d.]* ?(?:ms|[smhd]|sec\w*|min\w*|hour\w*|day\w*)(?![a-z])(?:,|,? and)? ?)+)",
    re.IGNORECASE,
)
"""How servers name a time to wait in words: "try again in 1m12.5s", "retry after 59 seconds",
"resets at 2026-11-29 00:00:00 UTC"."""
PACIFIC_MIDNIGHT_SECONDS = 8 * 3600
"""The time of day (UTC, in winter) at which Gemini's limits of a day end (ai.google.dev, Rate
limits). It names the seconds of a shorter limit beside them."""


@dataclass(frozen=True, slots=True)
class FaultBody:
    """The content of the body of an HTTP error response. `status` is an HTTP status (0: none),
    `param` the path of a field, `wait` seconds."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int = 0
    wait: float | None = None


def parse_fault_body(body: object) -> FaultBody:
    """Return what the body of an error response says, in any of the forms that services use. `body`
    is decoded JSON or a text.

    Services put the same facts at different places, so all values are collected with their keys,
    and the keys tell what a value is. Outer values count before inner ones.
    """
    # The texts and numbers with their keys, the outer ones first.
    values, waiting = list[tuple[str, object]](), deque([("", body)])
    # The body is untrusted: it may be nested without end.
    for _ in range(MAX_ERROR_VALUES):
        if not waiting:
            break
        key, value = waiting.popleft()
        # OpenRouter sends the error of another server as JSON in a text.
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, each) for each in value)
        else:
            values.append((key, value))

    def texts(keys: frozenset[str]) -> Iterator[str]:
        return (value for key, value in values if key in keys and isinstance(value, str) and value)

    numbers = (_as_number(value) for key, value in values if key in STATUS_KEYS)
    message = " ".join(dict.fromkeys(texts(MESSAGE_KEYS)))
    if message.startswith("<"):  # a page of a web server or proxy
        message = " ".join(HTML_HEADING.findall(message))
    message = urllib.parse.unquote(message) if "%20" in message else message
    # FastAPI names a field by its path, as in `"loc": ["body", "model"]`.
    path = [str(value) for key, value in values if key == "loc"]
    sentence = WAIT_SENTENCE.search(message)
    waits = (
        *(
            # Google's daily quotas begin anew at midnight in California.
            (PACIFIC_MIDNIGHT_SECONDS - time.time()) % 86_400
            for key, value in values
            if key == "quotaId" and "PerDay" in str(value)
        ),
        *(_as_seconds(value) for key, value in values if key in WAIT_KEYS),
        parse_wait(sentence[1].strip()) if sentence else None,
        parse_reset((key, str(value)) for key, value in values),
    )
    # A status in digits is no error code, and "error" no type of one.
    return FaultBody(
        message,
        code=next((text for text in texts(CODE_KEYS) if not _is_status(_as_number(text))), ""),
        type=next((text for text in texts(TYPE_KEYS) if text not in ("error", "object")), ""),
        param=next(texts(frozenset({"param"})), ".".join(path).removeprefix("body.")),
        status=next((int(number) for number in numbers if _is_status(number)), 0),
        wait=next((seconds for seconds in waits if seconds is not None), None),
    )


def _as_number(value: object) -> float:
    """Return a number as it is, or the number that a text of digits stands for. Return 0 for all
    else, also for a truth value, which Python counts as a number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) in (int, float) else 0  # type: ignore[return-value]


def _is_status(number: float) -> bool:
    return 400 <= number <= 599


def _as_seconds(value: object) -> float | None:
    """Return a time in seconds: a number, or a text such as "45.8s", "1m12s" or "20 seconds"."""
    if type(value) in (int, float) or (isinstance(value, str) and value.isdigit()):
        return max(0.0, _as_number(value))
    # Each unit that is a word becomes its first letter: "20 seconds" → "20 s".
    words = re.sub(
        r"(sec|min|hour|day)\w*", lambda unit: unit[1][0], str(value), flags=re.IGNORECASE
    )
    amounts = TIME.findall(words)
    return sum(float(n) * TIME_UNITS[unit.lower()] for n, unit in amounts) if amounts else None
