"""The client of the model's server, and the only user of the `openai` package: JSON in, JSON out.

Requests and responses stay JSON objects. Servers that only resemble OpenAI leave fields out, and
the SDK would build its typed events again for each delta. Every failure is a `ModelServerFault`.
Ponte does its own retries. The SDK would repeat a request after `insufficient_quota`, and a create
request after a lost response.

The server is not trusted. Redirects are not followed, because 307 and 308 send the request body to
another host. The size of each piece and of a whole response is limited.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import structlog

from core.clients import http
from core.clients.http import (
    MAX_ERROR_BODY_BYTES,
    MAX_PARSED_RETRY_AFTER_SECONDS,
    Proxies,
    parse_retry_after,
)
from core.domain.errors import NoKey
from core.runtime.retry import Backoff, retry
from core.text.text import in_whole_characters, make_storable

if TYPE_CHECKING:
    import openai

log = structlog.get_logger("openai")
Json = dict[str, Any]
T = TypeVar("T")
OPENAI_URL = "https://api.openai.com/v1"
"""The base URL of OpenAI's own API."""
MAX_ATTEMPTS = 3
"""Maximum attempts of a call that may be repeated."""
REQUEST_TIMEOUT_SECONDS = 30.0
"""Timeout of such a call, and the longest Retry-After for which Ponte waits."""
REQUEST_BACKOFF = Backoff(0.5, max_seconds=8.0)
"""Pauses between attempts if the server sends no Retry-After."""
ANSWER_DEADLINE_SECONDS, FILE_DEADLINE_SECONDS = 60.0, 300.0
"""The maximum total time of such a call, and of a file transfer.

Unlike the timeout, it also ends a response that arrives slowly without a pause.
"""
MEBIBYTE = 2**20
MAX_EVENT_BYTES, MAX_STREAM_BYTES, MAX_ANSWER_BYTES = (
    4 * MEBIBYTE,
    64 * MEBIBYTE,
    16 * MEBIBYTE,
)
"""Maximum sizes: one event, a stream of events, and a response that is not a stream.

A stream has about 400 bytes for each token. The items of a conversation may contain pictures.
"""
MAX_PARTS = 100_000
"""Maximum of commas and brackets in one event or response: each may become an object in memory."""
MAX_ID_CHARACTERS = 512
"""Maximum length of an id. OpenAI's ids have at most 64 characters."""
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_UNKNOWN_MODEL = re.compile(r"not (be )?found|not exist|no such|unknown|not supported")
_CONTAINER_GONE = re.compile(
    r"container.*(expired|not found|not exist|deleted|no longer)", re.I | re.S
)
_POLICY = re.compile(r"policy|moderation|content_filter|invalid_prompt|safety")
_QUOTA = re.compile(r"quota|credit|spend|billing|insufficient_funds", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """The address of the model's server. `key` is a secret; "" for a server that needs none."""

    key: str = field(default="", repr=False)
    base_url: str = OPENAI_URL
    proxies: Proxies = field(default_factory=Proxies)

    @property
    def host(self) -> str:
        """The host name of the server."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_official(self) -> bool:
        """True for OpenAI's own server, the only one that knows all fields of its API."""
        return self.host == "openai.com" or self.host.endswith(".openai.com")


class ModelServerFault(Exception):
    """A failed request to the model's server.

    - `unsent`: the request never left.
    - `lost`: the response is missing, and the request may have had its effect.
    - `refused`: the server responded with an HTTP error status.
    - `broken`: an error inside a stream.
    - `silent`: no data arrived in time.
    - `excess`: the response exceeds a limit, which `message` names.

    `wait` is Retry-After in seconds, or None. `message` is the server's text. It may quote a
    person, so it is only parsed, never shown or logged.
    """

    def __init__(
        self,
        kind: Literal["unsent", "lost", "refused", "broken", "silent", "excess"],
        *,
        status: int = 0,
        body: Mapping[str, Any] | None = None,
        message: str = "",
        request: str = "",
        wait: float | None = None,
    ) -> None:
        body = body or {}
        self.kind, self.status, self.request, self.wait = kind, status, request, wait
        self.code = str(body.get("code") or "")
        self.param = str(body.get("param") or "")
        self.type = str(body.get("type") or "")
        self.message = str(body.get("message") or message)
        super().__init__(f"{kind} {status or ''} {self.code or self.type} {request}".strip())

    @property
    def is_quota_exhausted(self) -> bool:
        """True if the account has no credit, so that a retry cannot help."""
        words = (self.code, self.type)
        return self.status == 402 or (
            self.status in (0, 403, 429) and any(_QUOTA.search(word) for word in words)
        )

    @property
    def is_unknown_model(self) -> bool:
        """True if the model does not exist, or not for this key."""
        words = self.message.lower()
        return self.code == "model_not_found" or (
            self.status in (400, 404)
            and "model" in words
            and _UNKNOWN_MODEL.search(words) is not None
            and self.param in ("", "model")
        )

    @property
    def is_rate_limited(self) -> bool:
        """True if the server receives too many requests now."""
        return self.status == 429 or self.code == "rate_limit_exceeded"

    @property
    def is_container_gone(self) -> bool:
        """True if the container expired or was deleted (text: community.openai.com/t/1321773)."""
        return (
            self.status in (0, 400, 404, 410) and _CONTAINER_GONE.search(self.message) is not None
        )

    @property
    def is_policy_refusal(self) -> bool:
        """True if the request violates the server's usage policies, or this person is blocked."""
        return _POLICY.search(self.code) is not None

    @property
    def is_undone(self) -> bool:
        """True if the server did not process the request, so that it costs nothing."""
        return self.kind == "unsent" or (self.kind == "refused" and self.status < 500)

    @property
    def may_pass(self) -> bool:
        """True if the request had no effect and may succeed a little later."""
        if self.is_quota_exhausted:
            return False
        if self.kind == "refused":
            return self.status in (408, 409, 429) or self.status >= 500
        return self.kind == "unsent" or self.code in ("server_error", "rate_limit_exceeded")


class ModelServerClient:
    """The client of the model's server, one for each process. `sleep` waits between attempts."""

    def __init__(
        self, place: ModelEndpoint, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.place = place
        self.sleep = sleep
        self._sdk: openai.AsyncOpenAI | None = None
        self._loading = asyncio.Lock()

    async def load_sdk(self) -> openai.AsyncOpenAI:
        """Return the SDK's own client, for calls without a method here. Raises NoKey."""
        if not self.place.key and self.place.is_official:
            raise NoKey
        async with self._loading:
            if self._sdk is None:
                # In a thread: the import takes 0.4 to 7 s, and the TLS context some more.
                self._sdk = await asyncio.to_thread(_make_sdk_client, self.place)
        return self._sdk

    async def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        """Send a GET request, with retries. Raises ModelServerFault."""
        return await self.call_with_retries(
            lambda: self._request("get", path, query=query), lost=True
        )

    async def delete(self, path: str) -> Json:
        """Send a DELETE request, with retries. Raises ModelServerFault."""
        return await self.call_with_retries(lambda: self._request("delete", path), lost=True)

    async def post(self, path: str, body: Json) -> Json:
        """Send a POST request, without retries. Raises ModelServerFault.

        The caller decides how to treat a lost response, because the request may have had its
        effect.
        """
        return await self._request("post", path, body=body)

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """Send a POST request and yield the server's events, one JSON object each, as they arrive.

        Raises ModelServerFault.
        """
        sdk = await self.load_sdk()
        module = importlib.import_module("openai")
        with _translate_errors():
            async with await sdk.post(
                path, cast_to=object, body=body, stream=True, stream_cls=module.AsyncStream[object]
            ) as events:
                async for event in events:
                    if isinstance(event, dict):
                        yield event

    async def upload(self, container: str, name: str, type: str, data: bytes) -> Json:
        """Upload a file into a code container, under /mnt/data. Raises ModelServerFault."""
        sdk = await self.load_sdk()
        with _translate_errors():
            async with asyncio.timeout(FILE_DEADLINE_SECONDS):
                made = await sdk.containers.files.create(
                    container, file=(name, data, type), timeout=REQUEST_TIMEOUT_SECONDS
                )
        return made.to_dict()

    async def download(self, container: str, file: str, most: int) -> bytes | None:
        """Return the bytes of a container's file. None: it has more than `most` bytes.

        Raises ModelServerFault.
        """
        sdk = await self.load_sdk()
        content = sdk.containers.files.content.with_streaming_response
        found = bytearray()
        with _translate_errors():
            async with (
                asyncio.timeout(FILE_DEADLINE_SECONDS),
                content.retrieve(
                    file, container_id=container, timeout=REQUEST_TIMEOUT_SECONDS
                ) as answer,
            ):
                async for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > most:
                        return None
        return bytes(found)

    async def close(self) -> None:
        """Close the SDK's client."""
        if self._sdk is not None:
            await self._sdk.close()

    async def call_with_retries(self, act: Callable[[], Awaitable[T]], *, lost: bool = False) -> T:
        """Return the result of `act`, which is repeated after a fault that may pass.

        `lost`: repeat it after a lost response too. Only for calls that may run twice.
        """

        def wait(fault: ModelServerFault, failed: int) -> float | None:
            may_pass = fault.may_pass or (lost and fault.kind == "lost")
            if (
                failed == MAX_ATTEMPTS
                or not may_pass
                or (fault.wait or 0) > REQUEST_TIMEOUT_SECONDS
            ):
                return None
            return seconds_before_retry(failed, fault)

        return await retry(act, ModelServerFault, wait, sleep=self.sleep)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Json:
        sdk = await self.load_sdk()
        options: Json = {"timeout": REQUEST_TIMEOUT_SECONDS, "params": dict(query or {})}
        sent = {} if body is None else {"body": body}
        with _translate_errors():
            async with asyncio.timeout(ANSWER_DEADLINE_SECONDS):
                answer = await getattr(sdk, method)(path, cast_to=object, options=options, **sent)
            return make_storable(answer) if isinstance(answer, dict) else {}


def read_id(held: Json, field: str = "id") -> str:
    """Return the id in a JSON object of the server; "" if it has none.

    Raises ModelServerFault if the id is too long to be stored in an index.
    """
    id = in_whole_characters(str(held.get(field) or ""))
    if len(id) > MAX_ID_CHARACTERS:
        raise ModelServerFault("excess", message=f"{MAX_ID_CHARACTERS} characters in an id")
    return id


def seconds_before_retry(failed: int, fault: ModelServerFault) -> float:
    """Return the seconds before the next attempt: Retry-After, or a growing pause with jitter."""
    if fault.wait is not None:
        return fault.wait
    return REQUEST_BACKOFF.seconds_after(failed) * random.SystemRandom().uniform(1.0, 1.25)


def _make_sdk_client(place: ModelEndpoint) -> openai.AsyncOpenAI:
    module = importlib.import_module("openai")
    # Import httpx completely before the SDK's first request. The SDK accesses httpx if it is
    # imported; a half-imported httpx raises AttributeError (openai 2, openai/_httpx2.py).
    http.load_library()
    proxy = place.proxies.for_url(place.base_url)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    # Without a proxy, use aiohttp, which does not scan its pool for every request. With a proxy,
    # the SDK's aiohttp transport signs in by a call that aiohttp has deprecated
    # (openai 3.51, _vendor/httpx_aiohttp/transport.py).
    web = (module.DefaultAsyncHttpxClient if proxy else module.DefaultAioHttpClient)(
        proxy=proxy,
        trust_env=False,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},  # a few compressed bytes could become gigabytes
        event_hooks={"response": [_log_response, _limit_body]},
    )
    client: openai.AsyncOpenAI = module.AsyncOpenAI(
        api_key=place.key or "none", base_url=place.base_url, http_client=web, max_retries=0
    )
    return client


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert errors of the SDK, and of the HTTP libraries that it uses, to `ModelServerFault`."""
    try:
        yield
    except importlib.import_module("openai").APIError as error:
        raise _fault_of(error) from None
    except (
        importlib.import_module("httpx2").HTTPError,
        importlib.import_module("aiohttp").ClientError,
        TimeoutError,
    ):
        raise ModelServerFault("lost") from None
    except RecursionError:
        raise ModelServerFault("excess", message="an answer that is not nested so deeply") from None
    except ValueError:
        raise ModelServerFault("broken", message="not JSON") from None


async def _log_response(response: Any) -> None:
    log.debug(
        "model server",
        method=response.request.method,
        path=response.request.url.path,
        status=response.status_code,
        request=response.headers.get("x-request-id", ""),
    )


async def _limit_body(response: Any) -> None:
    """Limit the size of the response body.

    Raises ModelServerFault for a compressed response: Ponte requests none, and its size is unknown.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ModelServerFault("excess", message="an answer that is not compressed")
    response.stream = _limited_stream(response)


@functools.cache
def _stream_class() -> Any:
    """Return a stream class of the HTTP library, which is imported at the first response."""
    library = importlib.import_module("httpx2")

    class LimitedStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any, read_limited: Callable[[], AsyncIterator[bytes]]) -> None:
            self._inner = inner
            self._read_limited = read_limited

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._read_limited()

        async def aclose(self) -> None:
            await self._inner.aclose()

    return LimitedStream


def _limited_stream(response: Any) -> Any:
    """Return the body of the response with size limits.

    Reading raises ModelServerFault if the body exceeds a limit. The body of an error is cut
    instead.
    """
    inner, failed = response.stream, response.status_code >= 300
    events = response.headers.get("content-type", "").startswith("text/event-stream")
    file = response.request.url.path.endswith("/content")  # `download` has its own limit
    most = MAX_EVENT_BYTES if events else MAX_ANSWER_BYTES

    async def read_limited() -> AsyncIterator[bytes]:
        total = size = parts = 0
        end = b""
        async for chunk in inner:
            total += len(chunk)
            if failed and total >= MAX_ERROR_BODY_BYTES:
                yield chunk[: len(chunk) - (total - MAX_ERROR_BODY_BYTES)]
                return
            begun = _find_open_event(end, chunk) if events else -1
            size, parts = (
                (size + len(chunk), parts + _count_parts(chunk))
                if begun < 0
                else (len(chunk) - begun, _count_parts(chunk[begun:]))
            )
            end = (end + chunk)[-3:]
            if not file and (size > most or parts > MAX_PARTS):
                raise ModelServerFault("excess", message=f"{most // MEBIBYTE} MiB in one piece")
            if events and total > MAX_STREAM_BYTES:
                raise ModelServerFault(
                    "excess", message=f"{MAX_STREAM_BYTES // MEBIBYTE} MiB in one answer"
                )
            yield chunk

    return _stream_class()(inner, read_limited)


def _find_open_event(end: bytes, chunk: bytes) -> int:
    """Return the index in `chunk` at which the last, incomplete event begins.

    -1: no event ended in this chunk. `end` are the bytes before the chunk.
    """
    if chunk.endswith(b"\n\n"):  # the usual case
        return len(chunk)
    ends = [gap.end() - len(end) for gap in _EVENT_END.finditer(end + chunk)]
    return ends[-1] if ends and ends[-1] > 0 else -1


def _count_parts(chunk: bytes) -> int:
    return chunk.count(b",") + chunk.count(b"[") + chunk.count(b"{")


def _fault_of(error: openai.APIError) -> ModelServerFault:
    """Return the fault for an error of the SDK.

    Status errors contain their response. Other errors are classified by their cause.
    """
    module = importlib.import_module("openai")
    body = error.body if isinstance(error.body, dict) else {}
    if isinstance(error, module.APIStatusError):
        headers = error.response.headers
        fault = ModelServerFault(
            "refused",
            status=error.status_code,
            body=body,
            message=error.message,
            request=error.request_id or "",
            wait=_retry_after(headers),
        )
        log.info(
            "model server refused", status=fault.status, code=fault.code, request=fault.request
        )
        return fault
    if isinstance(error.__cause__, ModelServerFault):
        return error.__cause__
    if isinstance(error, module.APIConnectionError):
        return ModelServerFault("unsent" if _is_unsent(error.__cause__) else "lost")
    return ModelServerFault("broken", body=body, message=error.message)


def _is_unsent(cause: BaseException | None) -> bool:
    """Return True if no connection was made, so that the request never left.

    The decision uses aiohttp's own error. Over aiohttp, the SDK reports a ConnectTimeout even for a
    connection that broke during a request.
    """
    root, library = cause.__cause__ if cause else None, importlib.import_module("aiohttp")
    if isinstance(root, library.ClientError):
        return isinstance(root, (library.ClientConnectorError, library.ConnectionTimeoutError))
    return type(cause).__name__ in ("ConnectError", "ConnectTimeout")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds. OpenAI also sends it in milliseconds, as `retry-after-ms`."""
    try:
        return min(
            max(0.0, float(headers["retry-after-ms"]) / 1000), MAX_PARSED_RETRY_AFTER_SECONDS
        )
    except (KeyError, ValueError):
        return parse_retry_after(headers)
