"""Declares routes, reads their requests and writes their responses.

Each route is declared once, on its handler. The application's routes, `GET /openapi.json` and the
list in docs/reference/http.md are made from the declaration, the handler's docstring and its
annotations.

Bodies are read within limits and become a Message, errors become JSON, streams become event
streams. `Guard` authenticates every request first.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints
from urllib.parse import parse_qs, quote

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from adapters.web import errors, sign_in
from adapters.web.errors import BadRequest
from adapters.web.hub import Hub
from adapters.web.sign_in import Authentication, Visitors
from adapters.web.visitor import COMPATIBLE_PREFIX, PROVIDER_SESSION_SECONDS, Visit, Visitor
from core.base.errors import NotFound, PonteError, Refusal, TooLarge
from core.base.i18n import LANGUAGE, READER_IS_OWNER, nearest_locale
from core.base.i18n import format_size as size_of
from core.base.json_text import check_json, parse_json
from core.base.text import clean_text, safe_file_name, safe_media_type
from core.chat.people import Conversations
from core.domain.messages import (
    PERSON,
    PROGRAM,
    Answer,
    Attachment,
    Message,
    ReplyTo,
    mark_recording,
    turn_id,
)
from core.domain.records import HistoryEntry, Receipt
from core.people.rules import OWNER_ID

MAX_TEXT_BYTES = 2_000_000
"""The text of one message must have fewer bytes."""
MAX_FILE_BYTES = 20 * 1024 * 1024
MAX_FILES = 10
MAX_JSON_BODY_BYTES = 6 * MAX_TEXT_BYTES + 65_536
"""JSON may write one character as six bytes (\\u00e9)."""
THREADED_JSON_BYTES = 100_000
MAX_JSON_VALUES, MAX_JSON_DEPTH = 100_000, 32
"""Each becomes an object in memory. The limit for a model's answer is as large
(`core.base.openai.MAX_PARTS`)."""
MAX_FORM_BYTES = 10_000
MAX_FORM_BODY_BYTES = 5 * MAX_FILE_BYTES + MAX_TEXT_BYTES
SLOW_BODY_SECONDS = 1.0
"""When the body arrives later than this, its sender may have lost access meanwhile."""
EVENT_STREAM_TYPE = "text/event-stream"
HTML_QUERY = {"html": "1: add sanitized HTML to each text"}
"""The parameter that `wants_html` reads, for the declaration of a route."""
VISITOR_KEY = "known"
"""The key in a request's state under which `Guard` stores the `Visitor`, or None for a stranger."""
NO_LINKS_PREFERENCE = "links=none"
"""The preference (RFC 7240) of a client on the home's socket that shows answers where addresses do
not become links."""
TYPED_HEADER = "X-Ponte-Typed"
"""Says whether a person typed the message: "true" or "false". Other text is never a command.
Without it, messages with a session or token of the page count as typed. Those on the home's socket
do not, since programs use it."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HTML_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
INLINE_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types that browsers may show in place: they contain pictures only. SVG and HTML may contain
scripts, so they are downloads."""
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
IDEMPOTENCY_KEY_PATTERN = re.compile(r"[!-~]{1,190}")
_LANGUAGE_COOKIE = re.compile(r"(?:^|; ?)ponte-language=([\w-]*)")
"""The cookie that adapters/web/page/person.js sets."""
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
_log = structlog.get_logger("web")
M = TypeVar("M", bound=BaseModel)
Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)
ConversationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
EventKey = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The declaration of an HTTP route: its method, its path, and what its handler does not say.

    The handler's annotations say the rest: its parameter `body` is the JSON that it reads, and what
    it returns is the JSON of the answer, unless it is a Response.
    """

    method: str
    path: str
    status: int = 200
    """The HTTP status of a success."""
    refuses: Sequence[int] = ()
    """HTTP statuses of refusals besides those that any request may get."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The meanings of the parameters in the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The meanings of the request's headers."""
    media: Sequence[str] = ()
    """Media types of the answer besides JSON."""
    reads: type[BaseModel] | None = None
    """The body, if the handler reads it from the request itself."""
    has_files: bool = False
    """True if the body may be a form with files."""
    is_static: bool = False
    """True if the answer has nothing of a person or a conversation. Only such answers are
    compressed: the size of another one could reveal a secret next to a guess of it (BREACH)."""


def endpoint(method: str, path: str, **options: Any) -> Callable[[H], H]:
    """`options` are fields of `Endpoint`. A handler may have several declarations, for several
    routes."""

    def declare(handler: H) -> H:
        """Decorators run from the last to the first, so each is put in front."""
        declaration = Endpoint(method, path, **options)
        vars(handler)["endpoints"] = (declaration, *vars(handler).get("endpoints", ()))
        return handler

    return declare


def format_disposition(how: str, name: str) -> str:
    """`how` is `inline` or `attachment`. Old clients read the first name, in ASCII, others the
    second (RFC 6266)."""
    name = safe_file_name(name)
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


class DeclaredRoute(Route):
    """A route of Starlette with its declaration, its handler, and the form of the body that the
    handler reads (None for none)."""

    def __init__(self, declaration: Endpoint, handler: Handler) -> None:
        # A handler without the parameter `body` may read the request itself; `body_model` then only
        # describes that body for the OpenAPI document.
        self.declaration = declaration
        self.handler = handler
        self.body_model: type[BaseModel] | None = declaration.reads
        reads_body = "body" in inspect.signature(handler).parameters
        if reads_body:
            self.body_model = get_type_hints(handler)["body"]

        async def serve(request: Request) -> Response:
            if reads_body and self.body_model:
                answer = await handler(request, await read_json(request, self.body_model))
            else:
                answer = await handler(request)
            if isinstance(answer, Response):
                return answer
            return JSONResponse(answer, declaration.status)

        super().__init__(declaration.path, serve, methods=[declaration.method])
        # Only static answers: the size of another one could reveal a secret in it (BREACH).
        self.app = GZipMiddleware(self.app, compresslevel=6) if declaration.is_static else self.app


class RouteGroup:
    """The base of classes whose methods handle the HTTP requests of one subject. `endpoint`
    declares the route of each method."""

    @property
    def routes(self) -> list[DeclaredRoute]:
        return [
            DeclaredRoute(declaration, getattr(self, name))
            for name, handler in vars(type(self)).items()
            for declaration in getattr(handler, "endpoints", ())
        ]


@dataclass(frozen=True)
class MessageRoutes(RouteGroup):
    """The base of groups of routes whose handlers send messages. `hub` shows a message to the tabs
    of its conversation."""

    visitors: Visitors
    conversations: Conversations
    hub: Hub

    def make_message(
        self,
        request: Request,
        text: str,
        conversation: str,
        event_key: str | None = None,
        *,
        time_zone: str = "",
        clicked: bool = False,
        replaces: str = "",
    ) -> Message:
        """`event_key` is the client's key by which a repeated request counts once; without one, a
        random one is made. `clicked`: `text` stands for a click. `replaces`: the turn whose message
        is sent again."""
        visitor = visitor_of(request)
        person = visitor.person
        # On the Unix socket ("terminal"), a script may send the text, so the header must say that
        # a person typed it. With a page or a token, a person did unless the header denies it.
        typed_default = "" if person.platform == "terminal" else "true"
        is_typed = request.headers.get(TYPED_HEADER, typed_default) == "true"
        # A preference may have parameters after a semicolon (RFC 7240).
        preferences = request.headers.get("prefer", "").lower().split(",")
        names = [preference.partition(";")[0].strip() for preference in preferences]
        key = self.visitors.make_event_key(person, event_key or uuid.uuid4().hex)
        address = self.visitors.address_of(person, conversation)
        return Message(
            event_key=key,
            text=text,
            author=person,
            address=address,
            # The event key stands for the id of a platform's message, which there is not here.
            reply_to=ReplyTo(address, person, source=key, turn=turn_id(key)),
            locale=requested_locale(request.headers) or self.visitors.locale,
            time_zone=time_zone,
            sent_at=time.time(),
            is_click=clicked,
            replaced_turn=replaces,
            # The text of a program is never a command.
            origin=PERSON if is_typed and not visitor.program else PROGRAM,
            # A terminal turns addresses into links, a pipe or a file does not.
            is_answer_linkified=person.platform != "terminal" or NO_LINKS_PREFERENCE not in names,
        )

    async def find_accepted_turn(self, event_key: str) -> HistoryEntry | None:
        with suppress(NotFound):
            return await self.conversations.journal.history_entry(turn_id(event_key))
        return None

    async def accept(self, message: Message) -> tuple[Receipt, Message]:
        """Return the receipt with its turn, and the message.

        If the event was accepted before, they are those of the first time. Raise NotStored.
        """
        if not self.hub.is_accepting:
            raise errors.ServerStopping
        receipt = await self.conversations.inbox.accept(message)
        # Tabs of this process, then those that another process serves: the event "asked" tells it
        # that the turn exists.
        self.hub.watch(message.address.conversation, receipt.seq, message)
        await self.hub.notify_peers("asked", message.turn)
        first = None if receipt.is_new else await self.find_accepted_turn(message.event_key)
        return receipt, first.message if first else message

    async def send_click(
        self, request: Request, command_text: str, conversation: str, event_key: str | None = None
    ) -> Answer:
        message = self.make_message(request, command_text, conversation, event_key, clicked=True)
        receipt, _ = await self.accept(message)
        return await self.conversations.inbox.wait_for_answer(receipt.seq)

    async def store_uploads(
        self, uploads: list[UploadedFile], message: Message
    ) -> tuple[Attachment, ...]:
        """The files are stored before the message. Raise NotStored. Audio is marked as a recording,
        so that a model's server writes down its words."""
        key, author, conversation = message.event_key, message.author, message.address.conversation
        files = [
            await self.conversations.files.put(
                key, upload.name, upload.type, upload.data, author, conversation
            )
            for upload in uploads
        ]
        attachments = (Attachment(file.name, file.type, file.size, file.id) for file in files)
        return tuple(map(mark_recording, attachments))


class RequestBody(BaseModel):
    """The JSON body of a request. Unknown fields are refused."""

    max_bytes: ClassVar[int] = MAX_JSON_BODY_BYTES

    model_config = ConfigDict(extra="forbid", strict=True)


class ChatRequest(RequestBody):
    """The body of `POST /chat`. `time_zone` is an IANA name."""

    message: str = ""
    conversation: ConversationId = "main"
    event_key: EventKey | None = None
    time_zone: str = Field("", pattern=r"^[A-Za-z0-9_+/-]{0,64}$")
    model: str = Field("", max_length=200)
    """One of the models of `GET /me`; "" for the model of the place."""
    replaces: str = Field("", pattern=r"^[a-z2-7]{0,32}$")
    """The turn whose message is sent again, changed or not. It must be the last one of its
    conversation."""
    keep_files: str | None = Field(None, max_length=1000)
    """The ids of that message's files, separated by spaces, that stay; None for all of them."""
    choice: str = Field("", pattern=r"^([1-5]:[a-z2-7]{16})?$")
    """The number of one of the `choices` of an answer and its turn: `message` is not read."""


class JsonChatRequest(ChatRequest):
    """The JSON body of `POST /chat`. Without files the message is required."""

    message: str


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a request, with its bytes."""

    name: str
    type: str
    data: bytes


class EventStream(StreamingResponse):
    """A response of server-sent events.

    When the stream has ended or the client has disconnected, `resources` (such as the stream's
    follower) is closed, then `on_close` is awaited. `on_close` may raise a PonteError, which is
    ignored: nobody is there to read it.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        resources: ExitStack,
        on_close: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        # nginx passes events on at once where it sees X-Accel-Buffering: no.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type=EVENT_STREAM_TYPE)
        self._resources = resources  # closed at the end of the stream, or when the client leaves
        self._on_close = on_close  # awaited after that

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._resources:
                await super().__call__(scope, receive, send)
        finally:
            if self._on_close is not None:
                with suppress(PonteError):
                    await self._on_close()


class Guard:
    """ASGI middleware before every route. Authenticates each request, sets the reader's language,
    and adds SECURITY_HEADERS to responses."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate a request, then pass it on. An error before that is answered here.

        The answer gets the security headers and a renewed cookie. A body that arrives slowly is
        checked once more at its end: the session may have been ended meanwhile.
        """
        if scope["type"] != "http":
            return

        async def safely(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(scope=event)
                # `visitor.cookie` replaces the cookie of a provider's session, which ends unless it
                # is used. A response that signs in or out sets its own.
                if visitor and visitor.cookie and "set-cookie" not in headers:
                    response = Response()
                    age = PROVIDER_SESSION_SECONDS
                    set_session(response, self._visitors.auth, visitor.cookie, age)
                    headers.append("set-cookie", response.headers["set-cookie"])
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(event)

        async def receive_in_time() -> Event:
            """Raise SessionEnded at its end if the visitor lost access while it arrived."""
            event = await receive()
            is_whole = event["type"] == "http.request" and not event.get("more_body")
            is_late = is_whole and time.monotonic() - began > SLOW_BODY_SECONDS
            if is_late and visitor and not await self._visitors.auth.is_still_allowed(visitor):
                raise errors.SessionEnded
            return event

        visit, visitor, began = read_visit(scope), None, time.monotonic()
        # Before authentication, because its errors are in the reader's language, too.
        LANGUAGE.set(nearest_locale(requested_locale(visit.headers) or self._visitors.locale))
        try:
            visitor = await self._visitors.auth.admit(visit)
            scope.setdefault("state", {})[VISITOR_KEY] = visitor
            READER_IS_OWNER.set(visitor is not None and visitor.person.id == OWNER_ID)
        except PonteError as error:
            await error_response(error, visit)(scope, receive, safely)
            return
        try:
            await self._app(scope, receive_in_time, safely)
        except Exception as error:  # already answered as a 500, or cut off in mid-stream
            _log.error("HTTP request failed unexpectedly", path=scope["path"], exc_info=error)


def visitor_of(request: Request) -> Visitor:
    """Raise Unauthorized for a stranger on an open path."""
    visitor = request.scope["state"][VISITOR_KEY]
    if not isinstance(visitor, Visitor):
        raise errors.Unauthorized
    return visitor


async def read_json(request: Request, form: type[M]) -> M:
    """Raise WrongMediaType, TooLarge, BadRequest."""
    if _media_type(request) != "application/json":
        raise errors.WrongMediaType
    body = bytearray()
    limit = getattr(form, "max_bytes", MAX_JSON_BODY_BYTES)
    async for piece in limit_body(request, limit).stream():
        body += piece
    # A large body is parsed in a thread, so that other requests do not wait for it.
    if len(body) < THREADED_JSON_BYTES:
        return _parse_json(form, body)
    return await asyncio.to_thread(_parse_json, form, body)


@asynccontextmanager
async def read_chat_request(
    request: Request,
) -> AsyncIterator[tuple[ChatRequest, list[UploadedFile]]]:
    """The files that Starlette has stored for a form are deleted after the `with` block. Raise
    WrongMediaType, TooLarge, BadRequest."""
    if _media_type(request) != "multipart/form-data":
        yield await read_json(request, JsonChatRequest), []
        return
    capped = limit_body(request, MAX_FORM_BODY_BYTES)
    # `ChatRequest` has eight fields. A ninth passes here, so that `validate` refuses it by name.
    # A text between MAX_TEXT_BYTES and twice that is refused later, with its true size
    # (`clean_message_text`).
    try:
        form = await capped.form(
            max_files=MAX_FILES, max_fields=9, max_part_size=2 * MAX_TEXT_BYTES
        )
    except HTTPException as error:
        # Starlette tells only by this word that a text field was too long.
        if "exceeded" in error.detail:
            size, limit = size_of(2 * MAX_TEXT_BYTES), size_of(MAX_TEXT_BYTES)
            raise TooLarge(size=size, limit=limit) from None
        raise BadRequest(why="the form data isn't valid") from None
    try:
        fields: dict[str, str] = {}
        uploads: list[UploadedFile] = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
            elif name == "file":
                if (value.size or 0) > MAX_FILE_BYTES:
                    size, limit = size_of(value.size or 0), size_of(MAX_FILE_BYTES)
                    raise TooLarge(size=size, limit=limit)
                kind = safe_media_type(value.content_type or "")
                file_name = safe_file_name(value.filename or "file")
                uploads.append(UploadedFile(file_name, kind, await value.read()))
            else:
                why = f"a file must be sent as 'file', not {clean_text(name)[:40]!r}"
                raise BadRequest(why=why)
        yield validate(ChatRequest, fields), uploads
    finally:
        await form.close()


async def clean_message_text(text: str) -> str:
    """Long text is cleaned in a thread, so that other requests do not wait. Raise TooLarge."""
    size = len(text.encode(errors="replace"))
    if size >= MAX_TEXT_BYTES:
        raise TooLarge(size=size_of(size), limit=size_of(MAX_TEXT_BYTES))
    return clean_text(text) if size < 50_000 else await asyncio.to_thread(clean_text, text)


def read_idempotency_key(request: Request) -> str:
    """Raise BadRequest for an invalid key."""
    key = request.headers.get("idempotency-key", "")
    if key and not IDEMPOTENCY_KEY_PATTERN.fullmatch(key):
        raise BadRequest(
            why=("the Idempotency-Key header is too long or contains invalid characters")
        )
    return key


def requested_locale(headers: Mapping[str, str]) -> str:
    """Return the language that the reader chose on the page, else the first one of
    Accept-Language, or ""."""
    chosen = _LANGUAGE_COOKIE.search(headers.get("cookie", ""))
    first = headers.get("accept-language", "").split(",")[0].split(";")[0].strip()
    # The page names no country, so the browser's locale for the same language says more.
    first = chosen[1] if chosen and chosen[1] != nearest_locale(first) else first
    return first if _LOCALE.fullmatch(first) else ""


def error_response(error: PonteError, visit: Visit) -> Response:
    """Return an error as JSON, or as a page to a browser that opens an address. Under
    COMPATIBLE_PREFIX it is JSON in the form of OpenAI's errors. Retry-After says after how many
    seconds a client may try again."""
    status, accepted = errors.status_of(error), visit.headers.get("accept", "")
    # 503: Ponte stops, or the database or a platform did not answer.
    headers = {"Vary": "Accept"} | ({"Retry-After": "2"} if status == 503 else {})
    if isinstance(error, errors.TooManyTries):
        headers["Retry-After"] = str(round(sign_in.WRONG_TOKEN_WINDOW_SECONDS))
    if isinstance(error, errors.TooManyRequests):
        headers["Retry-After"] = "1"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: Mapping[str, Any] = errors.error_body(error)
    if visit.path.startswith(COMPATIBLE_PREFIX):
        param = str(error.values.get("param") or "") or None
        body = {"error": errors.openai_error(error.code, error.words(), status, param)}
    # A browser that opens an address does not ask for JSON; a script may accept both.
    elif "text/html" in accepted and "application/json" not in accepted:
        headers["Content-Security-Policy"] = HTML_SECURITY_POLICY
        return HTMLResponse(errors.error_page(error), status, headers)
    return JSONResponse(body, status, headers)


def set_session(response: Response, auth: Authentication, session: str, age: int) -> None:
    """An `age` of 0 seconds deletes the cookie. The terminal's visitors have none ("")."""
    if auth.cookie:
        response.set_cookie(
            auth.cookie, session, max_age=age, httponly=True, samesite="strict", secure=auth.secure
        )


def wants_html(request: Request) -> bool:
    return request.query_params.get("html") == "1"


INVALID_FIELD = "Invalid request: `{field}` has an invalid value or the wrong type."
INVALID_FIELDS = {
    "missing": "Invalid request: `{field}` is missing.",
    "too_short": "Invalid request: `{field}` is empty.",
    "extra_forbidden": "Invalid request: `{field}` is unknown.",
}


def read_visit(scope: Scope) -> Visit:
    """Names of headers are in lower case.

    Two Host or Origin headers are joined, so that they match none of ours.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        join = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{join}{value}" if name in headers else value
    client = scope.get("client")
    return Visit(scope["path"], headers, client[0] if client else "", scope["method"])


def _parse_json(form: type[M], body: bytearray) -> M:
    """Too many values and too deep nesting are refused before any object is made."""
    match check_json(body, MAX_JSON_VALUES, MAX_JSON_DEPTH):
        case "many":
            raise BadRequest(why="it contains too many values")
        case "deep":
            raise BadRequest(why="it's nested too deeply")
    try:
        data = parse_json(body)
    except ValueError:
        raise BadRequest(why="it isn't JSON") from None
    return validate(form, data)


def validate(form: type[M], data: Any) -> M:
    """Raise BadRequest, which names the first invalid field."""
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "value_error":  # a validator of our own raised it
            raise BadRequest(why=str(first["ctx"]["error"])) from None
        # Where several types are possible, pydantic adds the tried one, as `str` or `list[…]`.
        names = [part for part in first["loc"] if not re.fullmatch(r"str|\w+\[.*", str(part))]
        if not names:  # the error is about the whole body
            raise BadRequest(why="it isn't a JSON object") from None
        parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in names]
        where = clean_text("".join(parts).lstrip("."))[:60]
        sentence = INVALID_FIELDS.get(first["type"], INVALID_FIELD)
        raise BadRequest(sentence, field=where, param=where) from None


async def read_form(request: Request, token: str) -> dict[str, str]:
    """`token` is the form token of the visitor's session. Raise Refusal for a form that is not of
    this session, TooLarge, BadRequest."""
    body = await limit_body(request, MAX_FORM_BYTES).body()
    try:
        fields = parse_qs(body.decode(errors="replace"), max_num_fields=20)
    except ValueError:
        raise BadRequest(why="it has too many fields") from None
    form = {name: values[-1].strip() for name, values in fields.items()}
    # Another site could send this form in the visitor's name, but cannot read the token (CSRF).
    if not hmac.compare_digest(form.get("form", "").encode(), token.encode()):
        raise Refusal("This form is no longer valid. Open the page again and repeat the step.")
    return form


def limit_body(request: Request, limit: int) -> Request:
    """Raise TooLarge at once if the request declares a larger body. A request need not declare its
    length, or the true one."""
    declared = request.headers.get("content-length", "")
    # `int` raises ValueError for thousands of digits. 18 suffice, since a longer number is above
    # every limit.
    if declared.isdecimal() and int(declared[:18]) > limit:
        raise TooLarge(size=size_of(int(declared[:18])), limit=size_of(limit))
    byte_count = 0

    async def receive() -> Event:
        nonlocal byte_count
        event = await request.receive()
        byte_count += len(event.get("body", b""))
        if byte_count > limit:
            raise TooLarge(size=size_of(byte_count), limit=size_of(limit))
        return event

    return Request(request.scope, receive)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
