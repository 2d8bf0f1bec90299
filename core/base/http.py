"""The HTTP client. No other module uses the HTTP library directly.

HttpError
├── HttpDown         no connection, or it broke
├── HttpTimeout      the server did not respond in time
├── HttpAnswer       the server responded with a status other than 2xx
├── HttpUnreadable   the body does not have the expected format
└── HttpTooLarge     the body exceeds the size limit

None of these errors contains an address, a request header or a request body, because they may be
secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.metadata
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self, TypedDict, Unpack

from core.base.json_text import make_storable, parse_json
from core.base.proxies import Proxies, add_proxy

CONNECT_TIMEOUT_SECONDS = 5.0
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Maximum size of a response after decompression. A larger one raises HttpTooLarge."""
MAX_ERROR_BODY_BYTES = 64 * 1024
_LIBRARY = "httpx"
# The library raises these before it sends the first byte of a request.
_UNSENT = (
    *("ConnectError", "ConnectTimeout", "PoolTimeout"),
    *("ProxyError", "LocalProtocolError", "UnsupportedProtocol", "InvalidURL"),
)
PROXY_STATUSES = (403, 407, 502, 503, 504)


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
        """The proxy (host and port) may be the cause. "" is none."""
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
        try:
            return parse_json(self.text)
        except ValueError:
            return None

    def name_proxy(self, proxy: str) -> None:
        if self.status in PROXY_STATUSES and self.json is None:
            super().name_proxy(proxy)


class RequestOptions(TypedDict, total=False):
    """Optional arguments of `HttpClient.request_json`, which describes them."""

    params: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    timeout: float


class HttpClient:
    """An HTTP client: a pool of connections for one event loop. It opens itself at the first
    request. Every failure is an `HttpError` without secrets.

    Redirects are not followed, and the environment is not read.
    """

    def __init__(
        self, *, proxies: Proxies | None = None, socket: str = "", cap: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._proxies = proxies or Proxies()
        # Path of a Unix socket that receives all requests; "" for none.
        self._socket = socket
        # Maximum size of a response in bytes.
        self._cap = cap
        self._opening = asyncio.Lock()
        # `open` sets both, because the import is slow.
        self._library: Any = None
        self._client: Any = None

    async def open(self) -> Self:
        """The first call imports the HTTP library (some 150 ms) and reads the certificates, in a
        thread, so that nothing else waits."""
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

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def get_json(self, url: str, **options: Unpack[RequestOptions]) -> Any:
        """Return None if the body is empty. Raise HttpError."""
        return await self.request_json("GET", url, **options)

    async def post_json(self, url: str, body: object, **options: Unpack[RequestOptions]) -> Any:
        """Return None if the body is empty. Raise HttpError."""
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
        """`body` is sent as JSON, `form` as a form, `files` (a name, bytes and a type by field) as
        a multipart form. `timeout` is in seconds for the whole response, after connecting. `cap` is
        the response's maximum size in bytes, if it is not the client's. Raises HttpError."""
        options = {"json": body, "data": form, "files": files, "params": params, "headers": headers}
        text = await self._fetch(method, url, options, timeout, cap)
        try:
            return parse_json(text) if text else None
        except ValueError:
            raise HttpUnreadable("not JSON") from None

    async def get_bytes(
        self, url: str, headers: Mapping[str, str] | None = None, cap: int = 0
    ) -> bytes:
        """Raise HttpError."""
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
        """`form` with `files` (field, then name and bytes) is a multipart form. `silence` is the
        maximum of seconds without a byte. A line longer than the cap raises HttpTooLarge. Raises
        HttpError, also while lines are read."""
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
        """`sent` tells whether the request may have reached the server. The original error is not
        chained (`from None`), because it contains the request, which may hold secrets."""
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


def load_library() -> Any:
    """Call this in a thread, because another thread may be importing the library."""
    return importlib.import_module(_LIBRARY)


async def _split_lines(chunks: AsyncIterator[bytes], cap: int) -> AsyncIterator[str]:
    """Only LF and CR LF end a line. Raise HttpTooLarge for a line of more than `cap` bytes, which
    would fill the memory.

    The library's own splitter also breaks at U+2028, which JSON may contain.
    """
    rest = bytearray()
    async for chunk in chunks:
        first, *line_starts = chunk.split(b"\n")
        rest += first
        for line_start in line_starts:
            yield rest.removesuffix(b"\r").decode(errors="replace")
            rest = bytearray(line_start)
        if len(rest) > cap:
            raise HttpTooLarge(f"a line of more than {cap:,} bytes")
    if rest:
        yield rest.decode(errors="replace")


def _build_client(proxies: Proxies, socket: str) -> tuple[Any, Any]:
    """Call this in a thread, because the import and the certificates take a moment."""
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
    # `trust_env`: the library would read the settings of the proxy from the environment itself.
    build = functools.partial(library.AsyncClient, headers=headers, trust_env=False)
    if socket:
        transport = library.AsyncHTTPTransport(uds=socket, verify=False)  # no TLS there
        return library, build(transport=transport)
    authorities = load_tls_context()
    if not (proxies.http or proxies.https):
        return library, build(verify=authorities)
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

    return library, build(transport=ProxyTransport())


@functools.cache
def load_tls_context() -> ssl.SSLContext:
    """To read the certificates takes 35 ms and a megabyte, so it is done once.

    It trusts the bundled authorities and those of the machine: a company's proxy often uses
    certificates that the company signed.
    """
    context: ssl.SSLContext = load_library().create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
