"""The client of the model's server, and the only user of the `openai` package: JSON in, JSON out.

Requests and responses stay JSON objects, because servers that only resemble OpenAI leave fields
out. Every failure is a `ModelServerFault`. They go over aiohttp, with the SDK's headers: its layers
double the processor time of a streamed answer. Files of containers go through the SDK.
Ponte does its own retries. The SDK would repeat a request after `insufficient_quota`, and a create
request after a lost response.

The server is not trusted. Redirects are not followed, because 307 and 308 send the request body to
another host. The size of each piece and of a whole response is limited.
"""

from __future__ import annotations

import asyncio
import codecs
import importlib
import json
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog

from core.base import http
from core.base.errors import NoKey, PonteError
from core.base.fault_bodies import parse_fault_body, parse_reset, parse_retry_after
from core.base.http import (
    CONNECT_TIMEOUT_SECONDS,
    MAX_ERROR_BODY_BYTES,
    HttpAnswer,
    HttpClient,
    HttpUnreadable,
    RequestOptions,
)
from core.base.json_text import in_whole_characters, make_storable
from core.base.model_faults import IDENTIFIER, ModelServerFault
from core.base.proxies import Proxies
from core.base.tasks import Backoff, retry

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import openai

log = structlog.get_logger("openai")
Json = dict[str, Any]
T = TypeVar("T")
OPENAI_URL = "https://api.openai.com/v1"
MAX_ATTEMPTS = 3
REQUEST_TIMEOUT_SECONDS = 30.0
"""Timeout of such a call, and the longest Retry-After for which Ponte waits."""
REQUEST_BACKOFF = Backoff(0.5, max_seconds=8.0)
MODEL_PAUSE_TIMEOUT_SECONDS = 1800.0
MAX_CONNECTIONS, IDLE_CONNECTION_SECONDS = 1000, 5.0
"""Connections to the server at once, and how long an unused one stays open."""
ANSWER_DEADLINE_SECONDS, FILE_DEADLINE_SECONDS = 60.0, 300.0
"""The maximum total time of such a call, and of a file transfer.

Unlike the timeout, it also ends a response that arrives slowly without a pause.
"""
MEBIBYTE = 2**20
MAX_EVENT_BYTES, MAX_STREAM_BYTES, MAX_ANSWER_BYTES = (4 * MEBIBYTE, 64 * MEBIBYTE, 16 * MEBIBYTE)
"""Maximum sizes: one event or an answer in place of a stream, a stream of events, and another
response.

A stream has about 400 bytes for each token. The items of a conversation may contain pictures.
"""
MAX_PARTS = 100_000
"""Maximum of commas and brackets in one event or response: each may become an object in memory."""
MAX_ID_CHARACTERS = 512
"""Maximum length of an id. OpenAI's ids have at most 64 characters."""
IDENTITY_HEADERS = {"Accept-Encoding": "identity"}
"""Ponte asks for no compression: a few compressed bytes could become gigabytes."""
END_EVENT: Json = {"type": "[DONE]"}
SIGN_OF_LIFE: Json = {}
"""The event for bytes that complete no event: llama.cpp sends only comments while it reads a long
prompt."""
EVENT_FIELDS = (b"data", b"event", b"id", b"retry", b"")
"""The fields of a stream of events. A comment has the empty name."""
ANSWER_KEYS = {"choices", "output", "type", "id", "usage"}
MODEL_NAME_FIELDS = ("id", "name", "model", "model_name")
MODEL_LIST_TIMEOUT_SECONDS = 10.0
KEY_REFUSED = "the server rejected {setting} (HTTP {status})"


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """The address of the model's server, with the key and the proxies for it. `key` is a secret; ""
    for a server that needs none."""

    key: str = field(default="", repr=False)
    base_url: str = OPENAI_URL
    proxies: Proxies = field(default_factory=Proxies)

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_official(self) -> bool:
        """True for OpenAI's own server, the only one that knows all fields of its API."""
        return self.host == "openai.com" or self.host.endswith(".openai.com")


class ModelServerClient:
    """Sends all requests of a process to the model's server, and returns JSON. Every failure is a
    `ModelServerFault`."""

    def __init__(
        self, place: ModelEndpoint, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.place = place
        self.sleep = sleep
        self._proxy = place.proxies.for_url(place.base_url)
        # Nothing is imported or connected before the first request.
        self._sdk: openai.AsyncOpenAI | None = None
        self._tls: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loading = asyncio.Lock()
        self._others: list[ModelServerClient] = []
        self.containers = self
        """The client of the server that has the code containers."""

    def of_server(self, base_url: str, key: str) -> ModelServerClient:
        """Return the client of another server, which never gets this one's key; this client if
        there is neither an address nor a key. It is closed with this one."""
        if not base_url and not key:
            return self
        place = ModelEndpoint(key, base_url or OPENAI_URL, self.place.proxies)
        self._others.append(ModelServerClient(place, self.sleep))
        return self._others[-1]

    async def load_sdk(self) -> openai.AsyncOpenAI:
        """The package is imported at the first call. Raise NoKey if OpenAI's own server would be
        asked without a key."""
        if not self.place.key and self.place.is_official:
            raise NoKey
        async with self._loading:
            if self._sdk is None:
                # In a thread: the import takes 0.4 to 7 s, and the TLS context some more.
                tls_and_sdk = await asyncio.to_thread(_make_sdk_client, self.place, self._proxy)
                self._tls, self._sdk = tls_and_sdk
        return self._sdk

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """The request is repeated after a fault that may pass. Raise ModelServerFault."""
        return await self.call_with_retries(
            lambda: self._request("GET", path, query=query), lost=True
        )

    async def delete(self, path: str) -> None:
        """The request is repeated after a fault that may pass. Raise ModelServerFault."""

        async def delete() -> None:
            async with self._send("DELETE", path):
                pass

        await self.call_with_retries(delete, lost=True)

    async def post(self, path: str, body: Json) -> Json:
        """There are no retries: the caller decides how to treat a lost response, because the
        request may have had its effect. Raise ModelServerFault."""
        return await self._request("POST", path, body=body)

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """Yield one JSON object for each of the server's events as it arrives, and `SIGN_OF_LIFE`
        for bytes that complete no event. Raise ModelServerFault."""
        pause = MODEL_PAUSE_TIMEOUT_SECONDS
        async with self._send("POST", path, body=body, pause=pause, deadline=None) as response:
            async for event in _read_events(_read_chunks(response.content)):
                yield event

    async def upload(self, container: str, name: str, type: str, data: bytes) -> Json:
        """Upload a file into a code container, where code finds it under /mnt/data. Return the
        server's JSON about the file. Raise ModelServerFault."""
        files = (await self.load_sdk()).containers.files.with_streaming_response
        upload, pause = (name, data, type), REQUEST_TIMEOUT_SECONDS
        with self._translate_errors():
            request = files.create(container, file=upload, timeout=pause)
            return dict(_parse(await _read_transfer(request)))

    async def transcribe(self, model: str, name: str, data: bytes) -> str:
        """Return the words of a recording as the server's JSON or text. The extension of `name`
        tells the format to the server. Raise ModelServerFault."""
        audio = (await self.load_sdk()).audio.transcriptions.with_streaming_response
        with self._translate_errors():
            create = audio.create(file=(name, data), model=model, timeout=FILE_DEADLINE_SECONDS)
            return (await _read_transfer(create)).decode(errors="replace")

    async def download(self, container: str, file: str, most: int) -> bytes | None:
        """None for more than `most` bytes. Raise ModelServerFault."""
        content = (await self.load_sdk()).containers.files.content.with_streaming_response
        request = content.retrieve(file, container_id=container, timeout=REQUEST_TIMEOUT_SECONDS)
        with self._translate_errors():
            data = await _read_transfer(request, most)
        return data if len(data) <= most else None

    async def close(self) -> None:
        """Also closes the clients of other servers."""
        for other in self._others:
            await other.close()
        if self._session is not None:
            await self._session.close()
        if self._sdk is not None:
            await self._sdk.close()

    async def call_with_retries(self, act: Callable[[], Awaitable[T]], *, lost: bool = False) -> T:
        """`act` is repeated after a fault that may pass, up to MAX_ATTEMPTS times in all. `lost`:
        also after a lost response; only for requests that may run twice."""

        def wait(fault: ModelServerFault, failed: int) -> float | None:
            """None also if the server asks for a longer wait than a person would accept."""
            may_pass = fault.may_pass or (lost and fault.kind == "lost")
            is_wait_too_long = (fault.wait or 0) > REQUEST_TIMEOUT_SECONDS
            if failed == MAX_ATTEMPTS or not may_pass or is_wait_too_long:
                return None
            return seconds_before_retry(failed, fault)

        return await retry(act, ModelServerFault, wait, sleep=self.sleep)

    async def _request(self, method: str, path: str, **options: Any) -> Json:
        """Return {} if the body is empty. Raise ModelServerFault, also if it is no JSON
        object or names an error."""
        data = bytearray()
        async with self._send(method, path, **options) as response:
            async for chunk in response.content.iter_any():
                data += chunk
                _check_size(len(data), MAX_ANSWER_BYTES)
            try:
                answer = _parse(data) if data.strip() else {}
            except ValueError:  # no JSON, such as the web page of a proxy
                raise ModelServerFault("foreign") from None
            if isinstance(answer, list) and method == "GET":  # Together AI lists its models so
                answer = {"data": answer}
            if not isinstance(answer, dict):
                raise ModelServerFault("foreign")
            # A stored response has an `error` too, and is no refusal.
            if answer.get("error") and not {"id", "object"} & answer.keys():
                raise _refusal(0, response.headers, answer)  # 0: the status in the body, or 400
            # Half of a surrogate pair, which UTF-8 cannot encode, becomes U+FFFD.
            return make_storable(answer)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Convert errors of the block to `ModelServerFault`, with the name of the proxy. The
        original error is dropped (`from None`): it may hold the request."""
        try:
            yield
        except Exception as error:
            if (fault := _as_fault(error)) is None:
                raise
            fault.name_proxy(self.place.proxies.name_for(self.place.base_url))
            raise fault from None

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        pause: float = REQUEST_TIMEOUT_SECONDS,
        deadline: float | None = ANSWER_DEADLINE_SECONDS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield the response, whose body is not read yet. The first request
        opens the session, which keeps connections for later ones.

        `pause` is the longest pause within the response, `deadline` the longest time of all, in
        seconds. No redirect is followed: it would send the body to another host. Raises
        ModelServerFault, also for errors inside the block, and for a status other than 2xx.
        """
        sdk = await self.load_sdk()
        library = importlib.import_module("aiohttp")
        base = urlsplit(self.place.base_url)
        if self._session is None:
            headers = {**sdk.auth_headers, **sdk.default_headers, **IDENTITY_HEADERS}
            if "@" in base.netloc:  # aiohttp sends the user name of the address in this header
                del headers["Authorization"]
            self._session = library.ClientSession(
                connector=library.TCPConnector(
                    ssl=self._tls, limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_CONNECTION_SECONDS
                ),
                # The SDK marks a header that is not sent by an object of its own.
                headers={name: value for name, value in headers.items() if isinstance(value, str)},
                cookie_jar=library.DummyCookieJar(),
                auto_decompress=False,  # a small body can decompress to any size
            )
        url = base._replace(path=base.path.rstrip("/") + path).geturl()
        timeout = library.ClientTimeout(
            connect=pause, sock_connect=min(pause, CONNECT_TIMEOUT_SECONDS), sock_read=pause
        )
        data = None
        if body is not None:
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            data = text.encode(errors="replace")  # halves of surrogate pairs become "?"
        with self._translate_errors():
            async with (
                asyncio.timeout(deadline),
                self._session.request(
                    method,
                    url,
                    allow_redirects=False,
                    proxy=self._proxy,
                    timeout=timeout,
                    data=data,
                    params=query,
                ) as response,
            ):
                log.debug(
                    "model server responded",
                    method=method,
                    path=response.url.path,
                    http_status=response.status,
                    request_id=response.headers.get("x-request-id", ""),
                )
                if response.status >= 300:
                    # A request with no more than the model's name only finds out what the server
                    # supports, so that its refusal is normal, and logged as debug.
                    asks = not {*(body or {})} <= {"model"}
                    raise await _read_refusal(
                        response.status, response.headers, response.content.iter_any(), asks
                    )
                _refuse_compression(response.headers)
                yield response


async def _read_transfer(request: Any, most: int = 0) -> bytes:
    """`request` is a call of the SDK that sends or gets a file. With `most`, reading ends soon
    after so many bytes, and nothing is raised: the caller sees by the length that the file is too
    large. Without it, a body of more than MAX_ANSWER_BYTES raises ModelServerFault."""
    data = bytearray()
    async with asyncio.timeout(FILE_DEADLINE_SECONDS), request as answer:
        async for piece in answer.iter_bytes():
            data += piece
            if most and len(data) > most:
                break
            _check_size(len(data), most or MAX_ANSWER_BYTES)
        return bytes(data)


def read_id(held: Json) -> str:
    """Return "" if there is no id. Raise ModelServerFault if it is too long to be stored in an
    index."""
    value = held.get("id") or ""
    id = in_whole_characters(str(value) if type(value) in (str, int) else "")
    if len(id) > MAX_ID_CHARACTERS:
        raise ModelServerFault("excess", message=f"{MAX_ID_CHARACTERS} characters in an id")
    return id


def read_word(value: object) -> str:
    """Some servers send a number, which becomes its text; any other type becomes ""."""
    return str(value) if type(value) in (str, int, float) else ""


def read_list(value: object) -> Sequence[Any]:
    """Some servers send a single object without the list around it; any other type becomes an empty
    list."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else ()


def read_objects(value: object) -> Sequence[Json]:
    return [member for member in read_list(value) if isinstance(member, dict)]


def read_object(value: object) -> Json:
    """Return {} for any other type, such as null, so that its fields can be read without a check of
    each one."""
    return value if isinstance(value, dict) else {}


def seconds_before_retry(failed: int, fault: ModelServerFault) -> float:
    """The server's own wait counts, else a pause that is a little random, so that clients do not
    all come back at once."""
    if fault.wait is not None:
        return fault.wait
    return REQUEST_BACKOFF.seconds_after(failed) * random.SystemRandom().uniform(1.0, 1.25)


def _make_sdk_client(
    place: ModelEndpoint, proxy: str | None
) -> tuple[ssl.SSLContext, openai.AsyncOpenAI]:
    """Call this in a thread, because the imports take seconds."""
    module = importlib.import_module("openai")
    # Import httpx completely before the SDK's first request. The SDK accesses httpx if it is
    # imported; a half-imported httpx raises AttributeError (openai 2, openai/_httpx2.py).
    http.load_library()
    importlib.import_module("aiohttp")  # its import is slow, too; other requests use it
    tls = http.load_tls_context()
    web = module.DefaultAsyncHttpxClient(
        proxy=proxy,
        verify=tls,
        trust_env=False,  # `proxy` is what Ponte read from the environment
        follow_redirects=False,  # 307 and 308 would send the body to another host
        headers=IDENTITY_HEADERS,
        # It raises for a refusal or a compressed body.
        event_hooks={"response": [_check_response]},
    )
    # The SDK requires a key; a local server may need none. Ponte repeats requests itself: the SDK
    # would repeat those whose response was lost.
    client: openai.AsyncOpenAI = module.AsyncOpenAI(
        api_key=place.key or "none", base_url=place.base_url, http_client=web, max_retries=0
    )
    return tls, client


async def _check_response(response: Any) -> None:
    # The SDK calls this for each response, before it reads the body.
    if response.status_code >= 300:
        raise await _read_refusal(response.status_code, response.headers, response.aiter_raw())
    _refuse_compression(response.headers)


def _refuse_compression(headers: Mapping[str, str]) -> None:
    # A few compressed bytes could become gigabytes.
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ModelServerFault("excess", message="an answer that is not compressed")


def _as_fault(error: Exception) -> ModelServerFault | None:
    """Return the fault that an error of the HTTP libraries, the SDK or JSON is, or None. Its kind
    tells whether the request may have had an effect: "unsent" if there was no connection, "lost" if
    the response is missing.

    The libraries are imported here, and not above, because that is slow.
    """
    if isinstance(error, ModelServerFault):
        return error
    library = importlib.import_module("aiohttp")
    if isinstance(error, library.ClientError):
        unsent = (
            library.ClientConnectorError,
            library.ConnectionTimeoutError,
            library.ClientHttpProxyError,
        )
        return ModelServerFault("unsent" if isinstance(error, unsent) else "lost")
    if isinstance(error, importlib.import_module("openai").APIError):
        # The SDK wraps errors of its hooks, also the fault that `_check_response` raises.
        fault = error.__cause__
        return fault if isinstance(fault, ModelServerFault) else ModelServerFault("lost")
    # httpx2: of the SDK
    if isinstance(error, (importlib.import_module("httpx2").HTTPError, TimeoutError)):
        return ModelServerFault("lost")
    if isinstance(error, RecursionError):  # the message is the `limit` in ANSWER_TOO_LARGE
        return ModelServerFault("excess", message="an answer that is not nested so deeply")
    return ModelServerFault("broken", message="not JSON") if isinstance(error, ValueError) else None


async def _read_chunks(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Raise what aiohttp raises for a broken end, after the bytes that arrived with it: aiohttp
    itself would drop these."""
    try:
        async for chunk in content.iter_any():
            yield chunk
    except Exception:
        yield b"".join(content._buffer)
        raise


async def _read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Json, None]:
    """Yield the events of a stream (html.spec.whatwg.org/multipage/server-sent-events.html),
    `END_EVENT` for `[DONE]`, and `SIGN_OF_LIFE` for a chunk without any. Each `data:` line that is
    JSON by itself is an event, because some servers leave out the empty line after it. A body that
    begins with a bracket is JSON in place of a stream. What follows `[DONE]` is read and dropped,
    so that the connection can be used again. Raise ModelServerFault for an object with an error,
    for a body of another server, such as a web page, and for too much data. Raise ValueError for
    JSON that cannot be parsed, such as an event that is cut off."""
    waiting, parser, total = bytearray(), _EventParser(), 0
    async for chunk in chunks:
        total += len(chunk)
        _check_size(total, MAX_STREAM_BYTES)
        if parser.is_done:
            continue
        waiting += chunk  # bytes of lines that have not ended
        # Only the new bytes are searched. A "\r" at the end may be half of "\r\n".
        searched = max(0, len(waiting) - len(chunk) - 1)
        # The end of the last complete line.
        end = 1 + max(waiting.rfind(b"\n", searched), waiting.rfind(b"\r", searched, -1))
        event = SIGN_OF_LIFE
        for event in parser.read_lines(waiting[:end].splitlines()):
            yield event
        if event is SIGN_OF_LIFE:  # the chunk completed no event, but the server is not silent
            yield event
        del waiting[:end]
        # `parser.data` has the complete lines of an event, or of a JSON body, that has not ended.
        _check_size(len(waiting) + len(parser.data), MAX_EVENT_BYTES)
    # Some servers leave out the empty line after the last event, so one is added.
    for event in parser.read_lines([*waiting.splitlines(), bytearray()]):
        yield event
    # Yields nothing for a stream, and the objects of a JSON body in its place.
    for event in parser.read_body():
        yield event


class _EventParser:
    """Parses the lines of one stream of server-sent events, or of a body of JSON in its place.

    `is_done`: the line `[DONE]` came, the end of a stream. `data` is what has come of the next
    event, or of the body.
    """

    def __init__(self) -> None:
        self.is_done, self.data = False, bytearray()
        self._is_json: bool | None = None
        """None: no line yet says what the body is."""
        self._is_foreign = False
        """Lines that belong to no stream came, and no event after them: at the end, that is a
        fault."""
        self._name = ""

    def read_lines(self, lines: list[bytearray]) -> Iterator[Json]:
        """Take in these lines of the stream, and yield the events that they complete, up to
        `[DONE]`.

        An event has `data:` lines and perhaps a name, and ends with an empty line. Servers deviate
        from that in many ways. For a body of JSON in place of a stream, the lines are only
        collected. EVENT_FIELDS are all names that a line of a stream can begin with. `_read_value`
        yields the events in one JSON value, and raises ModelServerFault for an error in it.
        """
        for line in lines:
            if self.is_done:
                return
            # The first line with text tells whether this is a stream or a body of JSON.
            if self._is_json is None and (line := line.removeprefix(codecs.BOM_UTF8).lstrip()):
                self._is_json = line.startswith((b"{", b"["))
            # A body in place of a stream; `read_body` reads it at its end.
            if self._is_json:
                self.data += line + b"\n"
                continue
            name, _, value = bytes(line).partition(b":")
            # Some proxies write the name in capitals, or twice.
            name, value = name.strip().lower(), value.strip().removeprefix(b"data:").strip()
            if name == b"event":
                self._name = value.decode(errors="replace")
            # The end is `data: [DONE]`. Some servers put it in quotes, or leave out `data:`.
            elif (value.strip(b'"') if name == b"data" else line).startswith(b"[DONE]"):
                self.is_done = True
                yield END_EVENT
            # The line may be an event by itself: not all servers send the empty line after it.
            elif name == b"data" and not self.data and value.endswith(b"}"):
                try:
                    yield from self._read_value(_parse(value))
                except ValueError:  # its JSON has several lines
                    self.data += value + b"\n"
            elif name == b"data":
                self.data += value + b"\n"
            elif not line:  # the empty line ends an event
                data, self.data = self.data.strip(), bytearray()
                # Other data than JSON, such as a word that keeps the connection open, is no part of
                # an answer. After `event: error` it is the error's text, which must not be lost.
                if data.startswith((b"{", b"[")) or self._name == "error":
                    yield from self._read_value(_parse(data))
                self._name = ""
            elif name not in EVENT_FIELDS:
                # A line of no stream, such as a web page. `read_body` raises the error for it.
                self._is_foreign = True

    def read_body(self) -> Iterator[Json]:
        """Yield the objects of a JSON body: one object, a list of them, or one on each line.
        Afterwards raise ModelServerFault if the body was sent by another server, such as the web
        page of a proxy."""
        # `read_lines` has yielded the events of any other body already.
        try:
            values = [_parse(self.data)] if self._is_json else []
        except ValueError:
            values = [_parse(line) for line in self.data.splitlines() if line.strip()]
        # JSON in place of a stream is foreign unless one of its objects belongs to the API. That is
        # certain only after the last one. `_is_foreign`: lines came that belong to no stream, and
        # no event after them. `_is_json` is None if no text came.
        is_foreign = self._is_foreign or bool(self._is_json)
        for event in (event for value in values for event in self._read_value(value)):
            is_foreign = is_foreign and not ANSWER_KEYS & event.keys()
            yield event
        if is_foreign:
            raise ModelServerFault("foreign")

    def _read_value(self, value: Any) -> Iterator[Json]:
        """Raise ModelServerFault for an error.

        Servers and gateways send errors in many forms, also with the status 200. So everything that
        names an error, and everything that has words but no part of an answer, counts as one.
        """
        if isinstance(value, list):
            for member in value:
                yield from self._read_value(member)
        if not isinstance(value, dict):
            return
        error, status = value.get("error"), value.get("base_resp")
        error = error or (value.get("error_message") and value)
        if isinstance(status, dict) and status.get("status_code"):  # MiniMax
            error = status
        # Some servers send an empty error with each event.
        if isinstance(error, dict) and not any(error.values()):
            error = None
        is_error = self._name == "error" or "error" in (value.get("type"), value.get("object"))
        has_words = {"message", "msg", "detail", "errors", "error_msg"} & value.keys()
        if error or is_error or (has_words and not ANSWER_KEYS & value.keys()):
            body = error if isinstance(error, dict) else value
            # Within a stream the answer has begun, so the error does not refuse the request.
            # `_is_json`: the body is JSON in place of a stream.
            if not self._is_json:
                raise ModelServerFault("broken", body=body)
            if error or is_error:
                raise _refusal(0, {}, body)  # 0: no HTTP status tells of this error
            raise ModelServerFault("foreign", body=body)  # words of another server, as of a proxy
        self._is_foreign = False  # an event came, so foreign lines before it do not matter
        # Some gateways name the type of an event only in its `event:` line (`_name`).
        yield {"type": self._name, **value} if self._name.startswith("response.") else value


def _parse(data: bytes | bytearray) -> Any:
    if sum(map(data.count, b",[{")) > MAX_PARTS:
        raise ModelServerFault("excess", message=f"{MAX_PARTS:,} parts in one answer")
    return json.loads(data.decode("utf-8-sig", errors="replace"))


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ModelServerFault("excess", message=f"{most // MEBIBYTE} MiB")


async def _read_refusal(
    status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes], asks: bool = True
) -> ModelServerFault:
    """Return the fault for a response with an error status. Only the first MAX_ERROR_BODY_BYTES of
    its body are read. `asks` is False for a request that only finds out what the server supports:
    then a refusal is expected, and logged as debug."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk[: MAX_ERROR_BODY_BYTES - len(data)]
        if len(data) >= MAX_ERROR_BODY_BYTES:
            break
    return _refusal(status, headers, data.decode(errors="replace").strip(), asks)


def _refusal(
    status: int, headers: Mapping[str, str], body: object, asks: bool = True
) -> ModelServerFault:
    """`status` is 0 for an error that a server sends in place of an answer with the status 200:
    then the status in the body counts, or 400. `asks` is False for a request that only finds out
    what the server supports: then a refusal for that reason is expected, and logged as debug."""
    request = headers.get("x-request-id", "")
    # OpenAI also sends the time in milliseconds, which is more exact. Without that header, the text
    # is only "ms", which is no time.
    wait = parse_retry_after({"retry-after": f"{headers.get('retry-after-ms', '')}ms"})
    wait = parse_retry_after(headers) if wait is None else wait
    status = status or parse_fault_body(body).status or 400
    fault = ModelServerFault("refused", status=status, body=body, request=request, wait=wait)
    if fault.wait is None and fault.is_rate_limited:
        fault.wait = parse_reset(headers.items())
    code = fault.code if IDENTIFIER.fullmatch(fault.code) else ""  # a sentence may quote a person
    write = log.debug if status in (400, 404, 405, 422, 501) and not asks else log.info
    write(
        "model server rejected a request", http_status=fault.status, code=code, request_id=request
    )
    return fault


async def check_server(http: HttpClient, place: ModelEndpoint, setting: str) -> Sequence[str]:
    """Return the names of the models of a server for one purpose; [] if it lists none. `setting` is
    the name of its key's. Raise PonteError for a key that it rejects, HttpError if it fails."""
    try:
        return await list_models(http, *ask_for_models(place))
    except HttpAnswer as error:
        if error.status in (401, 403):
            raise PonteError(KEY_REFUSED, setting=setting, status=error.status) from None
        return []
    except HttpUnreadable:
        return []


async def list_models(http: HttpClient, url: str, options: RequestOptions) -> Sequence[str]:
    listed = await http.get_json(f"{url}/models", **options)
    # Some servers send the list alone.
    listed = {"data": listed} if isinstance(listed, list) else listed
    models = read_models({**listed}) if isinstance(listed, Mapping) else []
    return sorted(str(model["id"]) for model in models)


def ask_for_models(place: ModelEndpoint) -> tuple[str, RequestOptions]:
    headers = {"Authorization": f"Bearer {place.key}"} if place.key else {}
    options = RequestOptions(headers=headers, timeout=MODEL_LIST_TIMEOUT_SECONDS)
    return place.base_url.rstrip("/"), options


def read_models(listed: Json) -> list[Json]:
    """Lists differ: in the key of the list, in the field of the name, and some have only names."""
    values = (listed[key] for key in ("data", "models", "result", "results") if listed.get(key))
    models = [read_object(model) or {"id": model} for model in read_list(next(values, ()))]
    names = [next(filter(None, map(model.get, MODEL_NAME_FIELDS)), None) for model in models]
    return [
        {**model, "id": read_word(name)} for model, name in zip(models, names, strict=True) if name
    ]
