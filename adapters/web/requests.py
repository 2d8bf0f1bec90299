"""Requests and responses of every route: bodies read within their limits and made a Message, errors
as JSON, event streams; and the guard that authenticates first.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from adapters.web.adapter import Site
from adapters.web.authentication import WINDOW, Visit, Visitor
from adapters.web.errors import (
    BadRequest,
    Stopping,
    TooManyRequests,
    TooManyTries,
    Unauthorized,
    WrongMediaType,
    body_of,
    openai_error,
    status_of,
)
from adapters.web.stream import ViewOptions
from core.domain.errors import NotFound, PonteError, TooLarge
from core.domain.messages import Attachment, Message, Person, ReplyTo, turn_id
from core.domain.records import HistoryEntry, Receipt
from core.rights.policy import OWNER_ID
from core.text.i18n import LANGUAGE, nearest_locale
from core.text.i18n import format_size as size_of
from core.text.text import check_json, clean_text, parse_json, safe_file_name

TEXT = 2_000_000
"""Bytes of one message's text must be fewer."""
FILE = 20 * 1024 * 1024
"""Bytes in one uploaded file."""
FILES = 10
"""Files with one message."""
JSON_BODY = 6 * TEXT + 65_536
"""Bytes: JSON may write one character as six (\\u00e9)."""
LONG = 100_000
"""Bytes of JSON that are read in a thread."""
VALUES, DEPTH = 100_000, 32
"""Values in one body, and how deep they are nested; each becomes an object in memory. Of a model's
answers as many are taken (`core.clients.openai.PARTS`)."""
FORM_BODY = 5 * FILE + TEXT
COMPATIBLE = "/v1/"
"""What is asked as OpenAI's API is begins so."""
KNOWN = "known"
UNLINKED = "links=none"
"""What a client on the home's socket prefers that shows answers where nothing becomes a link."""
"""In a request's state: who asks (`Visitor`), where they have shown it; else None."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response that does not set its own."""
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Of a conversation or a file."""
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
UNLINKED = "links=none"
"""What a client on the home's socket prefers that shows answers where nothing becomes a link."""
_log = structlog.get_logger("web")
M = TypeVar("M", bound=BaseModel)
Conversation = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
EventKey = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(Body):
    """What `POST /chat` takes; `time_zone` is an IANA name."""

    message: str = ""
    conversation: Conversation = "main"
    event_key: EventKey | None = None
    time_zone: str = Field("", pattern=r"^[A-Za-z0-9_+/-]{0,64}$")
    replaces: str = Field("", pattern=r"^[a-z2-7]{0,32}$")
    """The turn that is asked again: the last one of its conversation."""


class AskedAsJson(Asked):
    message: str


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    type: str
    data: bytes


class EventStream(StreamingResponse):
    """A response of server-sent events.

    When the stream has ended or the client has disconnected, `held` is closed, then `on_close` is
    awaited. `on_close` may raise a PonteError, which is ignored: nobody is there to read it.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        held: ExitStack,
        on_close: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        # nginx passes events on at once where it sees X-Accel-Buffering: no.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._held = held
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._held:
                await super().__call__(scope, receive, send)
        finally:
            if self._on_close is not None:
                with suppress(PonteError):
                    await self._on_close()


class Guard:
    """Stands before every route: authenticates, knows the reader's language, and puts `HEADERS` on
    what goes out."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def safely(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(scope=event)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(event)

        visit = visit_of(scope)
        LANGUAGE.set(nearest_locale(asked_locale(visit.headers) or self._site.locale))
        try:
            scope.setdefault("state", {})[KNOWN] = await self._site.auth.admit(visit)
        except PonteError as error:
            await refusal(error, LANGUAGE.get(), visit.path)(scope, receive, safely)
            return
        try:
            await self._app(scope, receive, safely)
        except Exception as error:  # already answered as a 500, or cut off in mid-stream
            _log.error("request failed", path=scope["path"], why=repr(error), exc_info=error)


def visitor_of(request: Request) -> Visitor:
    """Who asks, on every path that is not `OPEN` to strangers."""
    visitor = request.scope["state"][KNOWN]
    if not isinstance(visitor, Visitor):
        raise Unauthorized
    return visitor


async def read_json(request: Request, form: type[M], limit: int = JSON_BODY) -> M:
    """Raises WrongMediaType, TooLarge, BadRequest."""
    if _media_type(request) != "application/json":
        raise WrongMediaType
    body = bytearray()
    async for piece in _capped(request, limit).stream():
        body += piece
    if len(body) < LONG:
        return _parsed(form, body)
    return await asyncio.to_thread(_parsed, form, body)


@asynccontextmanager
async def asked(request: Request) -> AsyncIterator[tuple[Asked, list[Upload]]]:
    """A message as JSON, or with its files as multipart/form-data."""
    if _media_type(request) != "multipart/form-data":
        yield await read_json(request, AskedAsJson), []
        return
    capped = _capped(request, FORM_BODY)
    try:
        form = await capped.form(max_files=FILES, max_fields=8, max_part_size=2 * TEXT)
    except HTTPException as error:
        if "exceeded" in error.detail:
            raise TooLarge(size=size_of(2 * TEXT), limit=size_of(TEXT)) from None
        raise BadRequest(why="its form cannot be read") from None
    try:
        fields: dict[str, str] = {}
        uploads: list[Upload] = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
            elif name == "file":
                uploads.append(await _upload(value))
            else:
                raise BadRequest(
                    why=f"a file must be sent as 'file', not {clean_text(name)[:40]!r}"
                )
        yield _checked(Asked, fields), uploads
    finally:
        await form.close()


async def message_text(text: str) -> str:
    """Cleaned, in a thread where it is long. Raises TooLarge."""
    size = len(text.encode(errors="replace"))
    if size >= TEXT:
        raise TooLarge(size=size_of(size), limit=size_of(TEXT))
    return clean_text(text) if size < 50_000 else await asyncio.to_thread(clean_text, text)


def event_key_of(person: Person, key: str) -> str:
    """The event's key in the inbox: a client's own `key` is one for each person. An owner's may
    hold any sign but a space, so what stands before the others' begins otherwise than theirs."""
    name = "" if person.id == OWNER_ID else f"@{person.id}"
    return f"{person.platform}{name}:{key}"


def message(
    site: Site,
    request: Request,
    text: str,
    conversation: str,
    event_key: str | None = None,
    *,
    time_zone: str = "",
    clicked: bool = False,
    replaces: str = "",
) -> Message:
    """From who was authenticated; `event_key` is the client's own, else one is made."""
    person = visitor_of(request).person
    key = event_key_of(person, event_key or uuid.uuid4().hex)
    address = site.place(person, conversation)
    return Message(
        event_key=key,
        text=text,
        author=person,
        address=address,
        reply_to=ReplyTo(address, person, source=key, turn=turn_id(key)),
        locale=asked_locale(request.headers) or site.locale,
        time_zone=time_zone,
        sent_at=time.time(),
        clicked=clicked,
        replaces=replaces,
        linked=not (person.platform == "terminal" and prefers(request, UNLINKED)),
    )


def prefers(request: Request, preference: str) -> bool:
    """Whether the client asks for that (RFC 7240)."""
    asked = request.headers.get("prefer", "").split(",")
    return preference in [each.partition(";")[0].strip().lower() for each in asked]


async def known(site: Site, event_key: str) -> HistoryEntry | None:
    """The turn of an event that was accepted before."""
    try:
        return await site.journal.history_entry(turn_id(event_key))
    except NotFound:
        return None


async def accept(site: Site, said: Message) -> tuple[Receipt, Message]:
    """Stored, and shown to every tab of its conversation; with the first message of that event,
    where it was accepted before. Raises NotStored."""
    if not site.taking:
        raise Stopping
    receipt = await site.inbox.accept(said)
    site.hub.watch(said.address.conversation, receipt.seq, said)
    await site.hub.tell("asked", said.turn)
    first = None if receipt.is_new else await known(site, said.event_key)
    return receipt, first.message if first else said


async def keep(site: Site, uploads: list[Upload], said: Message) -> tuple[Attachment, ...]:
    """Put the bytes where they stay, before the message is accepted. Raises NotStored."""
    kept = [
        await site.files.put(
            said.event_key, one.name, one.type, one.data, said.author, said.address.conversation
        )
        for one in uploads
    ]
    return tuple(Attachment(file.name, file.type, file.size, file.id) for file in kept)


def asked_locale(headers: Mapping[str, str]) -> str:
    """The first language that a browser asks for, empty where it does not."""
    first = headers.get("accept-language", "").split(",")[0].split(";")[0].strip()
    return first if _LOCALE.fullmatch(first) else ""


def refusal(error: PonteError, locale: str, path: str = "") -> JSONResponse:
    """`path` is what was asked: under `COMPATIBLE` an error has OpenAI's form."""
    status = status_of(error)
    headers = {"Retry-After": "2"} if status == 503 else {}
    if isinstance(error, TooManyTries):
        headers["Retry-After"] = str(round(WINDOW))
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = "1"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: Mapping[str, Any] = body_of(error, locale)
    if path.startswith(COMPATIBLE):
        param = error.values.get("param")
        words = error.words(locale)
        body = {"error": openai_error(error.code, words, status, str(param) if param else None)}
    return JSONResponse(body, status, headers)


def view_options(request: Request, site: Site) -> ViewOptions:
    """Return the options of this client. `?html=1` asks for rendered text next to the plain one."""
    return ViewOptions(request.query_params.get("html") == "1", locale_of(request, site))


def locale_of(request: Request, site: Site) -> str:
    return nearest_locale(asked_locale(request.headers) or site.locale)


def visit_of(scope: Scope) -> Visit:
    """Header names in lower case. Two Host or Origin headers are as good as a foreign one."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")
    return Visit(scope["path"], headers, client[0] if client else "", scope["method"])


def _parsed(form: type[M], body: bytearray) -> M:
    """Raises BadRequest, for too many values and for deep nesting before anything is made of it."""
    match check_json(body, VALUES, DEPTH):
        case "many":
            raise BadRequest(why="it holds too many values")
        case "deep":
            raise BadRequest(why="it is nested too deeply")
    try:
        data = parse_json(body)
    except ValueError:
        raise BadRequest(why="it is not JSON") from None
    return _checked(form, data)


def _checked(form: type[M], data: Any) -> M:
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:60]
        why = f"{clean_text(where)}: {first['msg']}" if where else first["msg"]
        raise BadRequest(why=why) from None


async def _upload(sent: UploadFile) -> Upload:
    size = sent.size or 0
    if size > FILE:
        raise TooLarge(size=size_of(size), limit=size_of(FILE))
    kind = (sent.content_type or "").split(";")[0].strip().lower()
    kind = kind if _TYPE.fullmatch(kind) else "application/octet-stream"
    return Upload(safe_file_name(sent.filename or "file"), kind, await sent.read())


def _capped(request: Request, limit: int) -> Request:
    """The same request, which raises TooLarge instead of reading on."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > limit:
        raise TooLarge(size=size_of(int(declared[:18])), limit=size_of(limit))
    taken = 0

    async def receive() -> Event:
        nonlocal taken
        event = await request.receive()
        taken += len(event.get("body", b""))
        if taken > limit:
            raise TooLarge(size=size_of(taken), limit=size_of(limit))
        return event

    return Request(request.scope, receive)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
