"""The API for programs under `/v1`, in the form of OpenAI's Chat Completions: models, requests and
answers.

Source: developers.openai.com/api/reference (Chat Completions: "Create chat completion").

Existing clients can talk to Ponte with it. Each request is a message of a person, with the same
rights, allowances and limits as on the page. A request that names no conversation gets one of its
own (`ONE_REQUEST_PREFIX`). The messages that it brings reach the model as data of the person, also
those with the role `system`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import mimetypes
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from adapters.web import errors, http_io
from adapters.web.api import answers
from adapters.web.api.answers import Json
from adapters.web.api.stream import FRAME_INTERVAL_SECONDS, TurnEvents, stream_events
from adapters.web.errors import BadRequest
from adapters.web.http_io import MessageRoutes, UploadedFile, endpoint, visitor_of
from core.base.errors import BadInput, Empty, NotFound, PonteError, TooLarge
from core.base.i18n import format_size, say
from core.base.tasks import cancel_all
from core.base.text import clean_text, safe_file_name, safe_media_type, to_one_line
from core.base.trust import defang_for_discord
from core.changes.card_rows import read_rows
from core.chat.approval_notices import CARD_STATES
from core.commands import grammar
from core.domain.messages import (
    ONE_REQUEST_PREFIX,
    Answer,
    Card,
    File,
    Message,
    Person,
    Progress,
    Quote,
    Usage,
)
from core.domain.records import Receipt
from core.journal.journal import Journal

DEFAULT_MODEL_NAME = "ponte"
MAX_COMPATIBLE_BODY_BYTES = http_io.MAX_JSON_BODY_BYTES + 2 * http_io.MAX_FILE_BYTES * 4 // 3
INSTRUCTION_ROLES = ("system", "developer")
MAX_OBJECT_FIELDS, MAX_MESSAGES = 100, 10_000
"""OpenAI's own requests have some forty fields."""
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
"""Stop sequences in one request (OpenAI's limit), and characters of one."""
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def _is_other(*neutral: object) -> Callable[[object], bool]:
    return lambda value: value is not None and value not in neutral


UNSUPPORTED_PARAMETERS: Mapping[str, Callable[[object], bool]] = {
    "tools": bool, "tool_choice": _is_other("none", "auto"),
    "functions": bool, "function_call": _is_other("none", "auto"),
    "response_format": _is_other({"type": "text"}),
    "n": _is_other(1), "logprobs": bool, "top_logprobs": bool, "logit_bias": bool,
    "audio": bool, "modalities": _is_other(["text"]), "web_search_options": bool,
    "previous_response_id": bool,
}  # fmt: skip
"""Parameters that would change the answer, by name, each with a test for values that Ponte does not
support. Other unknown parameters are ignored."""


class LenientBody(BaseModel):
    """A JSON body in which unknown fields are allowed. Clients send many that only tune a model."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, data: object) -> object:
        if isinstance(data, dict):
            if len(data) > MAX_OBJECT_FIELDS:
                raise ValueError(f"more than {MAX_OBJECT_FIELDS} fields")
            if any(
                isinstance(value, list) and len(value) > MAX_MESSAGES for value in data.values()
            ):
                raise ValueError(f"a list of more than {MAX_MESSAGES} entries")
        return data


class RequestMessage(LenientBody):
    """One message of a request. `content` is text, or a list of text, images and files."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(LenientBody):
    """The options of a streamed completion."""

    include_usage: bool | None = None


class CompletionRequest(LenientBody):
    """The body of `POST /v1/chat/completions`."""

    max_bytes: ClassVar[int] = MAX_COMPATIBLE_BODY_BYTES
    model: str = DEFAULT_MODEL_NAME
    messages: list[RequestMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None


@dataclass(slots=True)
class PromptMessage:
    """One message of a request, read but not decoded. `files` are tuples of a data: URL or base64
    data, the file's name ("" for none), and its place in the request, which errors name."""

    role: str
    text: str
    files: list[tuple[str, str, str]] = field(default_factory=list)

    def as_quote(self) -> Quote:
        """Return the message as a quote that names its files, which are sent along with it."""
        names = [f"[{safe_file_name(name or 'file')}]" for _, name, _ in self.files]
        return Quote(self.role, "\n".join(filter(None, [self.text, *names])))


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A checked request for a completion. `streams`: the answer comes in pieces.
    `includes_usage`: these end with the numbers of tokens. The answer ends before the first of
    the texts in `stops`."""

    messages: Sequence[PromptMessage]
    model: str
    streams: bool
    includes_usage: bool
    stops: Sequence[str]


async def read_completion_request(request: Request) -> ModelRequest:
    """Raise UnsupportedParameter, BadRequest, TooLarge."""
    body = await http_io.read_json(request, CompletionRequest)
    for name, is_unsupported in UNSUPPORTED_PARAMETERS.items():
        if is_unsupported((body.model_extra or {}).get(name)):
            raise errors.UnsupportedParameter(param=name)
    messages = [_read_message(message, f"messages[{n}]") for n, message in enumerate(body.messages)]
    includes_usage = bool(body.stream_options and body.stream_options.include_usage)
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > MAX_STOPS:
        raise BadRequest(why=f"`stop`: give a text or a list of at most {MAX_STOPS}", param="stop")
    if not all(0 < len(stop) <= MAX_STOP_CHARACTERS for stop in stops):
        why = f"`stop`: each text has 1 to {MAX_STOP_CHARACTERS} characters"
        raise BadRequest(why=why, param="stop")
    return ModelRequest(messages, body.model, bool(body.stream), includes_usage, stops)


def _read_message(message: RequestMessage, param: str) -> PromptMessage:
    """Raise UnsupportedParameter for what Ponte cannot honor, such as the result of a client's own
    tool."""
    if message.role not in (*INSTRUCTION_ROLES, "user", "assistant"):
        raise errors.UnsupportedParameter(param=f"{param}.role: {clean_text(message.role)[:40]}")
    for name in ("tool_calls", "function_call"):
        if (message.model_extra or {}).get(name):
            raise errors.UnsupportedParameter(param=f"{param}.{name}")
    if not isinstance(message.content, list):
        return PromptMessage(message.role, message.content or "")
    texts: list[str] = []
    # Each as a data: URL or base64, its name ("" for none), and its place, which errors name.
    files: list[tuple[str, str, str]] = []
    for n, part in enumerate(message.content):
        where = f"{param}.content[{n}]"
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                files.append((url, "", where))
            case {"type": "file", "file": {"file_data": str(data), **more}}:
                files.append((data, str(more.get("filename") or ""), where))
            case _:
                kind = clean_text(str(part.get("type", "")))[:40]
                raise errors.UnsupportedParameter(param=f"{where}: {kind}")
    return PromptMessage(message.role, "\n".join(filter(None, texts)), files)


def decode_file(url: str, name: str, param: str) -> UploadedFile:
    """Raise BadRequest for a link to a file, InvalidDataUrl, TooLarge."""
    # Only the beginning: the whole text can have many megabytes.
    head = _DATA.match(url[:1000])
    if head is None and _SCHEME.match(url[:40]):
        if url[:5].lower() == "data:":
            raise errors.InvalidDataUrl(param=param)
        raise BadRequest(
            "Ponte doesn't download files from links. Send the file as a base64-encoded "
            "`data:` URL.",
            param=param,
        )
    try:
        data = base64.b64decode(url[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise errors.InvalidDataUrl(param=param) from None
    if len(data) > http_io.MAX_FILE_BYTES:
        raise TooLarge(size=format_size(len(data)), limit=format_size(http_io.MAX_FILE_BYTES))
    kind = safe_media_type(head[1] if head else mimetypes.guess_type(name)[0] or "")
    name = name or f"file{mimetypes.guess_extension(kind) or ''}"
    return UploadedFile(safe_file_name(name), kind, data)


EARLY_FAILURE_SECONDS = 2.0
"""How long a stream waits before it answers 200: a turn that fails until then gets a status."""
DECISION_COMMANDS = ("approve", "change", "deny", "undo", "again", "schedule")
"""Commands that this API refuses: a program may send words that no person has read."""
COMMANDS_NOT_FOR_PROGRAMS = ("forget", "approvals")
MAX_REQUESTS, MAX_REQUESTS_OF_PERSON = 500, 50
SMALL_BODY_BYTES = 1_000_000
MAX_UNSTORED_BYTES_OF_PERSON = MAX_COMPATIBLE_BODY_BYTES
MAX_UNSTORED_BYTES = 2 * MAX_UNSTORED_BYTES_OF_PERSON
"""Until its text and files are stored, a body takes about three times its size in memory."""
API_KEY_PREFIX = "v1/"
RETRY_AFTER_SECONDS = 60
STATUS_OF_FAILED_TURN = {
    "rate_limited": 429, "too_long": 400, "refused": 400, "person_refused": 403, "no_key": 503,
    "wrong_key": 503, "unknown_model": 503, "no_quota": 503, "model_down": 503,
    "model_silent": 503, "model": 502,
}  # fmt: skip
OPENAI_CODES = {"too_long": "context_length_exceeded"}
"""Codes for which OpenAI's clients expect a name of their own."""
DONE_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class AcceptedTurn:
    """A stored turn of this API, and the request that asked for it. `page_url` is the address of
    the turn on the page, "" without a page. `on_client_left` is awaited if the client disconnects
    before the end."""

    receipt: Receipt
    message: Message
    request: ModelRequest
    page_url: str
    on_client_left: Callable[[], Awaitable[object]]

    def head(self) -> answers.CompletionHead:
        """The fields that OpenAI's clients expect in an answer and in each piece of it."""
        return {
            "id": f"chatcmpl-{self.message.turn}",
            "created": int(self.message.sent_at),
            "model": self.request.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def chunk(self, delta: Json, finish_reason: str | None = None) -> bytes:
        """`delta` has what is new; `finish_reason` is set in the last piece only."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.request.includes_usage else {}
        return self.format_chunk([choice], usage)

    def format_chunk(self, choices: Sequence[Json], usage: Json) -> bytes:
        kind = {"object": "chat.completion.chunk", "choices": choices}
        return _format_event({**self.head(), **kind, **usage})

    def visible_text(self, answer: Answer) -> str:
        parts = [cut_at_stop(answer.text, self.request.stops)]
        parts += [card_text(card, self.page_url) for card in answer.cards]
        parts.append(files_text(answer.files, self.page_url))
        return "\n\n".join(filter(None, parts))

    def finish_reason(self, answer: Answer) -> Literal["stop", "length"]:
        is_stopped = cut_at_stop(answer.text, self.request.stops) != answer.text
        return "length" if answer.is_cut and not is_stopped else "stop"


async def _do_nothing() -> None:
    return None


class CompletionWriter:
    """Writes one turn as a stream of Chat Completions. Text that was sent cannot be taken back. If
    the text is replaced, nothing more is sent until the answer is complete; then all of it is sent
    after an empty line."""

    interval_seconds = FRAME_INTERVAL_SECONDS

    def __init__(self, journal: Journal, accepted: AcceptedTurn) -> None:
        self._journal = journal
        self._accepted = accepted
        self._text = ""

    async def begin(self) -> AsyncIterator[bytes]:
        # A turn that fails at once is answered with an HTTP status, so nothing may be sent before.
        return
        yield  # makes this an iterator

    async def write_progress(self, progress: Progress) -> AsyncIterator[bytes]:
        text = without_begun_stop(progress.text, self._accepted.request.stops)
        if text != self._text and text.startswith(self._text):
            yield self._accepted.chunk({"content": text[len(self._text) :]})
            self._text = text

    async def write_outcome(self, outcome: Answer | PonteError) -> AsyncIterator[bytes]:
        """Yield the last events of a streamed completion: the rest of the text, the reason of its
        end, the usage if it was asked for.

        A client cannot take text back. So if the final text does not continue what was streamed,
        the whole of it follows as a new paragraph.
        """
        accepted = self._accepted
        # The HTTP status was sent already, so the error is an event.
        if isinstance(outcome, PonteError) or outcome.status == "failed":
            yield _format_event({"error": _status_and_error(outcome)[1]})
            yield DONE_EVENT
            return
        text, earlier_text = accepted.visible_text(outcome), self._text
        if rest := text[len(earlier_text) :] if text.startswith(earlier_text) else f"\n\n{text}":
            yield accepted.chunk({"content": rest})
        yield accepted.chunk({}, accepted.finish_reason(outcome))
        if accepted.request.includes_usage:
            usage = usage_json(await self._journal.usage_of(accepted.receipt.seq))
            yield accepted.format_chunk([], {"usage": usage})
        yield DONE_EVENT


class ConcurrencyLimit:
    """Counts what is under way (requests, or bytes of their bodies), in all and for each person,
    and refuses more than `limit` in all or `limit_of_person` for one."""

    def __init__(self, limit: int, limit_of_person: int) -> None:
        self._limit = limit
        self._limit_of_person = limit_of_person
        self._count: Counter[str] = Counter()

    @contextmanager
    def hold(self, person: str, count: int = 1) -> Iterator[None]:
        """Count `count` more for the person (their key). Raise TooManyRequests if that is above a
        limit."""
        too_many = self._count.total() + count > self._limit
        if too_many or self._count[person] + count > self._limit_of_person:
            raise errors.TooManyRequests
        self._count[person] += count
        try:
            yield
        finally:
            self._count[person] -= count
            if not self._count[person]:
                del self._count[person]


@dataclass(frozen=True)
class OpenAiRoutes(MessageRoutes):
    """The HTTP routes under `/v1`, in the form of OpenAI's API, for programs."""

    _requests: ConcurrencyLimit = field(
        default_factory=lambda: ConcurrencyLimit(MAX_REQUESTS, MAX_REQUESTS_OF_PERSON)
    )
    _bytes: ConcurrencyLimit = field(
        default_factory=lambda: ConcurrencyLimit(MAX_UNSTORED_BYTES, MAX_UNSTORED_BYTES_OF_PERSON)
    )

    @endpoint("GET", "/v1/models")
    async def models(self, request: Request) -> answers.ModelList:
        """List the models that the visitor may use."""
        names = await self._model_names(visitor_of(request).person)
        return {"object": "list", "data": [_model_json(name) for name in names]}

    @endpoint("GET", "/v1/models/{model:path}", refuses=(404,))
    async def model(self, request: Request) -> answers.ModelEntry:
        """Return one model by name. Raise NoSuchModel."""
        name = str(request.path_params["model"])
        await self._check_model(visitor_of(request).person, name)
        return _model_json(name)

    @endpoint(
        "POST",
        "/v1/chat/completions",
        reads=CompletionRequest,
        media=(http_io.EVENT_STREAM_TYPE,),
        refuses=(404, 413, 415, 422, 429, 500, 502, 503),
        headers={
            "X-Ponte-Conversation": "the id of one of your conversations. Without it, the request "
            "starts a conversation that is deleted after a day",
            "Idempotency-Key": "a repeated request with this key returns the answer of the first",
        },
    )
    async def complete(self, request: Request) -> answers.Completion | Response:
        """Send a message in the format of OpenAI's Chat Completions. The answer is streamed or
        whole."""
        # The request counts until its answer is sent: a stream takes `resources` over.
        with ExitStack() as resources:
            resources.enter_context(self._requests.hold(visitor_of(request).person.key))
            accepted = await self._read_and_accept(request)
            answer = self._answer_stream if accepted.request.streams else self._answer_whole
            response = await answer(request, accepted, resources)
            response.headers["X-Ponte-Conversation"] = accepted.message.address.channel
            return response

    async def _read_and_accept(self, request: Request) -> AcceptedTurn:
        """The text and files of the request do not stay in memory while the caller waits for the
        answer. Bodies that are read at the same time are limited in all and for each person, by the
        length that the client declares."""
        declared, size = request.headers.get("content-length", ""), MAX_COMPATIBLE_BODY_BYTES
        if declared.isdecimal():
            size = min(int(declared[:18]), size)  # more digits are above any limit
        person = visitor_of(request).person.key
        # Small bodies are not counted: they need little memory.
        with self._bytes.hold(person, size if size > SMALL_BODY_BYTES else 0):
            model_request = await read_completion_request(request)
            # Only the body tells whether the answer is streamed. The check comes before the message
            # is stored: whoever cannot follow the answer should not cause one.
            if model_request.streams:
                self.hub.check_capacity()
            receipt, message = await self._accept(request, model_request)
        # A client that leaves gives up its answer, unless it can ask for it again: in a
        # conversation, or by its idempotency key.
        is_once = message.address.channel.startswith(ONE_REQUEST_PREFIX)
        stops = is_once and not http_io.read_idempotency_key(request)
        return AcceptedTurn(
            receipt,
            message,
            replace(model_request, messages=()),  # stored by now; their memory is freed
            self._turn_url(request, message),
            (lambda: self.conversations.inbox.cancel(receipt.seq)) if stops else _do_nothing,
        )

    async def _accept(
        self, request: Request, model_request: ModelRequest
    ) -> tuple[Receipt, Message]:
        """A repeat of an `Idempotency-Key` returns receipt and message of the first. Raise
        NoSuchModel, and NotFound for an invalid name of a conversation. Whatever the name, the
        conversation is one of this person's."""
        person = visitor_of(request).person
        await self._check_model(person, model_request.model)
        own_key = http_io.read_idempotency_key(request)
        # The prefix keeps these keys apart from those of messages that came by other routes.
        key = API_KEY_PREFIX + (own_key or uuid.uuid4().hex)
        event_key = self.visitors.make_event_key(person, key)
        first = await self.find_accepted_turn(event_key) if own_key else None
        if first is not None:
            return Receipt(first.seq, first.turn, is_new=False), first.message
        # A request that names no conversation gets one of its own, which is deleted after a day.
        channel = request.headers.get("x-ponte-conversation", "")
        if not channel:
            channel = ONE_REQUEST_PREFIX + hashlib.sha256(event_key.encode()).hexdigest()[:32]
        # A name with that prefix is Ponte's own: it can only go on with a conversation that exists.
        elif not http_io.ID_PATTERN.fullmatch(channel) or (
            channel.startswith(ONE_REQUEST_PREFIX)
            and not await self.conversations.journal.list_entries(
                self.visitors.address_of(person, channel).conversation
            )
        ):
            raise NotFound(what="conversation")
        # Without a text: `_build_message` takes it from the request's messages.
        message = self.make_message(request, "", channel, key)
        return await self.accept(await self._build_message(request, model_request, message))

    async def _build_message(
        self, request: Request, model_request: ModelRequest, message: Message
    ) -> Message:
        """Return `message` with the content of the request.

        Its text is the last message, with the files of all messages. The messages before it are
        attached as data. In a conversation that Ponte remembers, only those are attached that came
        after its last answer or that it has not received yet.
        """
        # A client sends the whole conversation with each request. What Ponte remembers of it is
        # left out: earlier questions and answers, and instructions that it has received.
        messages = list(model_request.messages)
        if request.headers.get("x-ponte-conversation"):
            journal = self.conversations.journal
            entries = await journal.list_entries(message.address.conversation)
            known_quotes = {quote for entry in entries for quote in entry.message.program_context}
            last = max(
                (n for n, chat_message in enumerate(messages) if chat_message.role == "assistant"),
                default=-1,
            )
            messages = [
                chat_message
                for n, chat_message in enumerate(messages)
                if (n > last and chat_message.role == "user")
                or (
                    chat_message.role in INSTRUCTION_ROLES
                    and chat_message.as_quote() not in known_quotes
                )
            ]
        if not messages or messages[-1].role != "user":
            raise BadRequest("The last message must have the `user` role.")
        if (
            size := sum(len(chat_message.text) for chat_message in messages)
        ) >= http_io.MAX_TEXT_BYTES:
            raise TooLarge(size=format_size(size), limit=format_size(http_io.MAX_TEXT_BYTES))
        text = await http_io.clean_message_text(messages[-1].text)
        files = [file for chat_message in messages for file in chat_message.files]
        if len(files) > http_io.MAX_FILES:
            raise BadRequest("A request can have at most {limit} files.", limit=http_io.MAX_FILES)
        if not text.strip() and not messages[-1].files:
            raise Empty
        uploads = await asyncio.to_thread(lambda: [decode_file(*file) for file in files])
        message = replace(
            message,
            text=text,
            program_context=tuple(chat_message.as_quote() for chat_message in messages[:-1]),
            model="" if model_request.model == DEFAULT_MODEL_NAME else model_request.model,
        )
        # Nobody may have read what a program sends, so it decides and deletes nothing.
        command = None
        with suppress(BadInput):  # a faulty command; its answer says what is wrong
            command = grammar.parse_command(message.text)
        if command and command.name in DECISION_COMMANDS:
            url = self._turn_url(request, message) or f"/cards/{command.id}"
            raise errors.DecisionOnPageOnly(url=url)
        if command and command.name in COMMANDS_NOT_FOR_PROGRAMS:
            raise errors.CommandNotForPrograms(command=command.name)
        if uploads:
            attachments = await self.store_uploads(uploads, message)
            message = replace(message, attachments=attachments)
        return message

    async def _answer_whole(
        self, request: Request, accepted: AcceptedTurn, resources: ExitStack
    ) -> Response:
        """If the client disconnects meanwhile, a turn whose answer nobody else could read is
        stopped (`on_client_left`). `resources` is not used here: the caller closes it after
        this."""
        wait = self.conversations.inbox.wait_for_answer(accepted.receipt.seq)
        waiting = asyncio.ensure_future(wait)
        leaving = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await accepted.on_client_left()
                raise ClientDisconnect
            answer = waiting.result()
        finally:
            await cancel_all((waiting, leaving))
        if failure := _failure_response(answer):
            return failure
        text = accepted.visible_text(answer)
        choice: answers.CompletionChoice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": accepted.finish_reason(answer),
        }
        usage = usage_json(await self.conversations.journal.usage_of(accepted.receipt.seq))
        completion: answers.Completion = {
            **accepted.head(),
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage,
        }
        return JSONResponse(completion)

    async def _answer_stream(
        self, request: Request, accepted: AcceptedTurn, resources: ExitStack
    ) -> Response:
        """Stream the turn, or return its failure with an HTTP status if it fails at once. The
        stream takes over what the request holds in `resources`."""
        key, hub = accepted.message.address.conversation, self.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key, visitor_of(request)))
            hub.watch(key, accepted.receipt.seq, accepted.message)  # tells the follower
            writer = CompletionWriter(self.conversations.journal, accepted)
            turn = TurnEvents(self.conversations.journal, accepted.receipt.turn, writer)
            events = stream_events(follower, turn)
            first = asyncio.ensure_future(anext(events, b""))
            # A stream begins with the status 200, so an early failure is waited for a moment.
            await asyncio.wait({first}, timeout=EARLY_FAILURE_SECONDS)
            if failure := _failure_response(turn.outcome):
                return failure

            async def all_events() -> AsyncIterator[bytes]:
                yield accepted.chunk({"role": "assistant", "content": "", "refusal": None})
                if event := await first:
                    yield event
                async for event in events:
                    yield event

            async def on_close() -> None:
                first.cancel()
                # A client that disconnects early does not want the answer any more: the turn is
                # stopped, if nobody else could read its answer. A closed follower is no such case:
                # its visitor lost access, or the server stops.
                if not (turn.has_ended or follower.closed):
                    await accepted.on_client_left()

            # From here on the response closes the follower, and then what the request holds.
            stack.push(resources.pop_all())
            return http_io.EventStream(all_events(), stack.pop_all(), on_close)

    def _turn_url(self, request: Request, message: Message) -> str:
        auth = self.visitors.auth
        if not auth.cookie:
            return ""
        origin = auth.origin or f"http://{request.headers.get('host', '')}"
        return f"{origin}/#{message.address.channel}/{message.turn}"

    async def _model_names(self, person: Person) -> Sequence[str]:
        return [DEFAULT_MODEL_NAME, *await self.visitors.list_models(person)]

    async def _check_model(self, person: Person, name: str) -> None:
        if name != DEFAULT_MODEL_NAME and name not in await self._model_names(person):
            raise errors.NoSuchModel(model=clean_text(name)[:60], param="model")


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def without_begun_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text that can be shown while it grows: without an end that may become a stop
    sequence."""
    cut = cut_at_stop(text, stops)
    # At most all but the last character of a stop sequence can be there.
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(cut)), 0, -1):
        if any(stop.startswith(cut[-size:]) for stop in stops):
            return cut[:-size]
    return cut


def files_text(files: Sequence[File], page_url: str) -> str:
    """Return a text with the names of an answer's files and the address of the page, or their paths
    on this server if there is no page (`page_url` is ""); "" if there are no files.

    A link to the file itself would fail, because browsers do not send the page's cookie with links
    of other sites.
    """
    names = ", ".join(to_one_line(file.name) for file in files)
    if names and page_url:
        return say(
            "Files: {names}. Sign in to the page to open them: {url}", names=names, url=page_url
        )
    # The server's Unix socket has no page. Its clients fetch a file there by its path.
    return "\n".join(f"{to_one_line(file.name)}: /files/{file.id}" for file in files)


def card_text(card: Card, page_url: str) -> str:
    """Return a card as text for a client of OpenAI's API, which has no buttons: what would be done,
    and the page on which a person decides. Addresses in it are defanged, because they come from
    other people's data and clients link them."""
    rows = []
    for row in read_rows(card.rows):
        details = f"({row.details_text})" if row.details else ""
        name = " ".join(filter(None, [row.name and f"**{row.name}**", details]))
        rows.append("- " + to_one_line(": ".join(filter(None, [name, row.text]))))
    head = f"**{to_one_line(card.title)}** ({say(CARD_STATES.get(card.state, card.state))})"
    # This leaves e-mail addresses and host names without a scheme as they are.
    body = defang_for_discord(
        "\n".join(filter(None, [head, card.text and f"\n{card.text_with_result}", *rows]))
    )
    if not (card.actions and page_url):
        return body.rstrip()
    return f"{body.rstrip()}\n\n" + say("Decide on the page: {url}", url=page_url)


def usage_json(usage: Usage) -> answers.CompletionUsage:
    """In the format of Chat Completions."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _status_and_error(outcome: Answer | PonteError) -> tuple[int, Mapping[str, object]]:
    if isinstance(outcome, PonteError):
        status = errors.status_of(outcome)
        return status, errors.openai_error(outcome.code, outcome.words(), status)
    status = STATUS_OF_FAILED_TURN.get(outcome.code) or errors.STATUS_BY_CODE.get(outcome.code, 500)
    code = OPENAI_CODES.get(outcome.code, outcome.code)
    return status, errors.openai_error(code, outcome.text, status)


def _failure_response(outcome: Answer | PonteError | None) -> Response | None:
    """Return the response for a failed turn, or None if it did not fail. `outcome` is None while
    the turn runs.

    Clients repeat failed requests by themselves. The turn is over, so a repeat would be another
    turn, and the response tells them not to.
    """
    if outcome is None or (isinstance(outcome, Answer) and outcome.status != "failed"):
        return None
    status, error = _status_and_error(outcome)
    headers = {"x-should-retry": "false"}
    # For a later request: `x-should-retry` only keeps the client from repeating this one.
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return JSONResponse({"error": error}, status, headers)


def _model_json(name: str) -> answers.ModelEntry:
    return {"id": name, "object": "model", "created": 0, "owned_by": DEFAULT_MODEL_NAME}


def _format_event(data: Mapping[str, Any]) -> bytes:
    """JSON contains no line break, so one line is enough."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode(errors="replace")
