"""HTTP for everything that speaks it: the only file that knows the library.

HttpError
├── HttpDown         no connection, or it broke
├── HttpTimeout      the server was silent for too long
├── HttpAnswer       it answered, with a status other than 2xx
├── HttpUnreadable   its body is not what was asked for
└── HttpTooLarge     its body is larger than we take

None of them holds an address, a header that we sent or a body that we sent: they may be secrets.
`RemoteError` is what a tool makes of one, in words for a person and a model.
Proxies are handed in, since HTTPS_PROXY and NO_PROXY may stand in `.env`, which no client reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import importlib
import importlib.metadata
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from core.domain.errors import ToolError, WriteUnsure
from core.text.text import make_storable, parse_json

MAX_PARSED_RETRY_AFTER_SECONDS = 1e9
"""A longer Retry-After counts as this."""
_SECONDS_PATTERN = re.compile(r"\d+(\.\d+)?", re.ASCII)
CONNECT_TIMEOUT_SECONDS = 5.0
"""The time to connect within."""
MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""The size of an answer after decompression; a larger one raises HttpTooLarge."""
MAX_ERROR_BODY_BYTES = 64 * 1024
"""How much of an error's body is read; the rest is ignored."""
_LIBRARY = "httpx"
# These are raised before the first byte of a request leaves.
_UNSENT = (
    *("ConnectError", "ConnectTimeout", "PoolTimeout"),
    *("ProxyError", "LocalProtocolError", "UnsupportedProtocol"),
)
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After (RFC 9110, section 10.2.3: a number or a date), None
    without one.

    `headers` have lower-case names. A moment that has passed is 0.
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
    """Proxy URLs by the scheme of the request; they may hold a password, so they are not shown.

    `no` is NO_PROXY: comma-separated hosts that are reached directly; `example.com` also
    stands for its subdomains, `host:port` for one port only, `*` for every host.
    """

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no: str = ""

    def for_url(self, url: str) -> str | None:
        """The proxy's URL for this request, or None to connect directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme in ("https", "wss") else self.http
        host = (parts.hostname or "").lower()
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        direct = any(_matches_host(entry.lower(), host, port) for entry in self._direct())
        return None if direct or not proxy else proxy

    def routes(self) -> dict[str, str]:
        """URL pattern → proxy, "" for a direct way; the more exact pattern wins."""
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
    """`sent`: the request may have reached the server, so its effect may have happened."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class HttpDown(HttpError):
    """`reason` is the kind of trouble: ConnectError, ReadError, RemoteProtocolError …"""


class HttpTimeout(HttpError):
    pass


class HttpUnreadable(HttpError):
    pass


class HttpTooLarge(HttpError):
    pass


class HttpAnswer(HttpError):
    """`headers` have lower-case names. The body is from outside: untrusted, maybe with secrets."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.text = body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body read as JSON, None where it is none."""
        try:
            return parse_json(self.text)
        except ValueError:
            return None


class HttpClient:
    """One pool of connections, for one event loop; opens itself at the first request.

    `socket` is the path of a Unix socket that every request goes to, whatever its host. Redirects
    are not followed and the environment is not read.
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
        """Import the library (some 150 ms) and read the certificates, both in a thread, once."""
        async with self._opening:
            if self._client is None:
                self._library, self._client = await asyncio.to_thread(
                    _build_client, self._proxies, self._socket
                )
        return self

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def get_json(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        return await self.request_json("GET", url, params=params, headers=headers, timeout=timeout)

    async def post_json(
        self,
        url: str,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        return await self.request_json("POST", url, body=body, headers=headers, timeout=timeout)

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """Return the answer's JSON; None where its body is empty. Raises HttpError.

        `body` is sent as JSON, `form` as a form, with `files` (field → name, bytes) as one in
        several parts. `timeout` is for the whole answer, in seconds
        after connecting.
        """
        sent = {"json": body, "data": form, "files": files, "params": params, "headers": headers}
        try:
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout),
                self._open_response(method, url, sent, timeout) as answer,
            ):
                text = await self._read_body(answer)
        except TimeoutError:
            raise HttpTimeout("deadline") from None
        try:
            return parse_json(text) if text else None
        except ValueError:
            raise HttpUnreadable("not JSON") from None

    async def get_bytes(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> bytes:
        """Return the answer's body. Raises HttpError."""
        try:
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout),
                self._open_response("GET", url, {"headers": headers}, timeout) as answer,
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
        """Give the answer's lines as they arrive, without their ends. Raises HttpError, also while
        they are read.

        `body` is sent as JSON; `form` with `files` (field, then name and bytes) in several parts.
        `silence` is how many seconds may pass without a byte. A line longer than the cap raises
        HttpTooLarge.
        """
        sent = {"json": body, "data": form, "files": files, "headers": headers}
        async with self._open_response(method, url, sent, silence) as answer:
            yield _split_lines(answer.aiter_bytes(), self._cap)

    @contextlib.asynccontextmanager
    async def _open_response(
        self, method: str, url: str, sent: Mapping[str, Any], timeout: float
    ) -> AsyncIterator[Any]:
        await self.open()
        # A model's arguments or a command line may hold half of a surrogate pair.
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
        """Raise the library's errors as ours, without the chain: theirs hold the request."""
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
    """Import the library and return it. Call this in a thread: another one may be importing it."""
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
    """A NO_PROXY entry: a name stands for its subdomains too, an address for itself."""
    name = host.lstrip(".").strip("[]")
    if name.count(":") > 1:
        return f"all://[{name}]"
    if name.replace(".", "").replace(":", "").isdigit():
        return f"all://{name}"
    return f"all://*{name}"


async def _read_error_body(answer: Any) -> bytes:
    """Return the first bytes of an error's body."""
    taken = bytearray()
    async for chunk in answer.aiter_bytes():
        taken += chunk
        if len(taken) >= MAX_ERROR_BODY_BYTES:
            break
    return bytes(taken[:MAX_ERROR_BODY_BYTES])


async def _split_lines(chunks: AsyncIterator[bytes], cap: int) -> AsyncIterator[str]:
    """Only LF and CR LF end a line: the library's own splitter also breaks JSON at U+2028."""
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
    """Return the library and a client of it. Runs in a thread."""
    library = load_library()
    # It logs every address at level INFO, and its transport more below that.
    for name in (_LIBRARY, _LIBRARY.replace("httpx", "httpcore")):
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"User-Agent": f"ponte-bot/{_version()}"}
    if socket:
        transport = library.AsyncHTTPTransport(uds=socket, verify=False)  # no TLS there
        return library, library.AsyncClient(transport=transport, headers=headers, trust_env=False)
    # The bundled authorities, and those of the machine: a company's proxy often signs its own.
    authorities = library.create_ssl_context(trust_env=False)
    authorities.load_default_certs()
    mounts = {
        pattern: library.AsyncHTTPTransport(proxy=proxy, verify=authorities) if proxy else None
        for pattern, proxy in proxies.routes().items()
    }
    return library, library.AsyncClient(
        verify=authorities, mounts=mounts, headers=headers, trust_env=False
    )


def _version() -> str:
    try:
        return importlib.metadata.version("ponte-bot")
    except importlib.metadata.PackageNotFoundError:
        return "0"


_ADDRESS = re.compile(r"\b\w+://\S+|host='[^']*'|url: \S+")
# Ids are shorter, and codes are capitals alone. NocoDB's tokens have 40 characters.
_SECRET = re.compile(r"(?<![\w.~+/=-])(?![A-Z0-9_]+(?![\w.~+/=-]))[\w.~+/=-]{32,}")


class RemoteError(ToolError):
    """A service's failure in words. `unsure`: the call may have had its effect. `passing`: the same
    call may succeed a moment later."""

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
        """Return the error that an `Applier` raises: WriteUnsure where the write may have
        happened."""
        return WriteUnsure(str(self), code=self.code) if self.unsure else self


def withhold_secrets(text: str) -> str:
    """Return a server's own words as a hint: without addresses and tokens, and not too long."""
    return _SECRET.sub("(withheld)", _ADDRESS.sub("(address)", text))[:300]
