"""OpenAI's API as far as a chat needs it: `POST /v1/chat/completions`, `POST /v1/responses` and
`GET /v1/models`, so that clients which people have can talk to Ponte.

Each request is a person's message like any other: what they may, their allowances and their limits
are those of the page. Without a named conversation a request has one of its own (`ONCE`), made of
the messages that it brings; those are told as the asker's data, also `system` ones.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import dialects, requests
from adapters.web.adapter import Json, Site
from adapters.web.dialects import RESPONSE, Completion, Dialect, Head
from adapters.web.errors import (
    STATUS,
    BadRequest,
    DecidedElsewhere,
    FromElsewhere,
    NoFile,
    NoSuchModel,
    NotTaken,
    NotTheirTurn,
    NotTheLast,
    OtherConversation,
    TooManyFiles,
    TooManyRequests,
    openai_error,
    status_of,
)
from adapters.web.requests import (
    FILE,
    FILES,
    ID,
    JSON_BODY,
    TEXT,
    EventStream,
    Upload,
    read_json,
    visitor_of,
)
from adapters.web.stream import FRAME_INTERVAL_SECONDS, TurnEvents, stream_events
from core.changes.cards import describe_differences
from core.commands import grammar
from core.domain.errors import BadInput, Empty, NotFound, PonteError, TooLarge
from core.domain.messages import ONCE, Answer, Card, Message, Person, Progress, Quote
from core.domain.records import Receipt
from core.rights.policy import DEFAULT_RULE
from core.text.i18n import say
from core.text.i18n import size as size_of
from core.text.markdown import unlinked
from core.text.text import clean, file_name, one_line

MODEL = "ponte"
"""What is asked where no other model may be chosen."""
BODY = JSON_BODY + 2 * FILE * 4 // 3
"""Bytes of a request, its files in base64."""
EARLY_FAILURE_SECONDS = 2.0
"""How long a stream waits before it answers 200: a turn that fails until then gets a status."""
DECIDING = ("approve", "deny", "undo")
"""Commands that are for the page: a program may write words that nobody has read."""
WISHES = ("system", "developer")
FIELDS, MESSAGES = 100, 10_000
"""Fields of one object of a request, and its messages. OpenAI's own requests know some forty."""
IN_FLIGHT, OF_ONE = 500, 50
"""Requests that are under way at once, and of one person."""
SMALL = 1_000_000
READING, READING_OF_ONE = 2 * BODY, BODY
"""Bytes of bodies larger than `SMALL` that are read at once, and of one person's: until its text
and files are stored, each takes some three times its size in memory."""
MINUTE = 60
"""Seconds after which somebody who asked too much may ask again, at the soonest."""
FAILED = {
    "rate_limited": 429, "too_long": 400, "refused": 400, "person_refused": 403, "no_key": 503,
    "wrong_key": 503, "unknown_model": 503, "no_quota": 503, "model_down": 503,
    "model_silent": 503,
}  # fmt: skip
"""The status of a turn that failed, by its code; beside `STATUS`. All else is a 500."""
THEIRS = {"too_long": "context_length_exceeded"}
"""OpenAI's own word for a code, where its clients go by it."""
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_KEY = re.compile(r"[!-~]{1,190}")
Parts = str | list[dict[str, Any]] | None


def _is_other(*plain: object) -> Callable[[object], bool]:
    return lambda value: value is not None and value not in plain


def _is_format(value: object) -> bool:
    """Whether it asks for another form than text."""
    told = value.get("format", value) if isinstance(value, Mapping) else value
    return bool(told) and not (isinstance(told, Mapping) and told.get("type", "text") == "text")


NOT_TAKEN: Mapping[str, Callable[[object], bool]] = {
    "tools": bool, "functions": bool, "tool_choice": _is_other("none", "auto"),
    "function_call": _is_other("none", "auto"), "response_format": _is_format, "text": _is_format,
    "n": _is_other(1), "best_of": _is_other(1), "logprobs": bool, "top_logprobs": bool,
    "logit_bias": bool, "audio": bool, "modalities": _is_other(["text"]), "stop": bool,
    "background": bool, "conversation": bool, "prompt": bool, "web_search_options": bool,
}  # fmt: skip
"""What would make another answer than a client expects, where it were passed over: by name, whether
this value does. All else that is not known changes nothing."""


class Form(BaseModel):
    """Unknown fields are let pass: clients send many, which only tune a model."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, data: object) -> object:
        """Before anything is made of what it holds."""
        if isinstance(data, dict):
            if len(data) > FIELDS:
                raise ValueError(f"more than {FIELDS} fields")
            if any(isinstance(each, list) and len(each) > MESSAGES for each in data.values()):
                raise ValueError(f"a list of more than {MESSAGES} entries")
        return data


class Line(Form):
    """One message: `content` is text, or parts of text, images and files."""

    role: str
    content: Parts = None


class StreamOptions(Form):
    include_usage: bool | None = None


class CompletionRequest(Form):
    """Of `POST /v1/chat/completions`."""

    model: str = MODEL
    messages: list[Line] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class InputItem(Form):
    """One item of `input`; `reasoning` items are passed over."""

    type: str = "message"
    role: str = ""
    content: Parts = None


class ResponseRequest(Form):
    """Of `POST /v1/responses`."""

    model: str = MODEL
    input: str | list[InputItem]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None


@dataclass(slots=True)
class Heard:
    """One message of a request. `files`: address and name of each, with where it stands."""

    role: str
    text: str = ""
    files: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """What either API was asked. `previous` is the response to go on from, "" for none."""

    heard: Sequence[Heard]
    model: str
    streams: bool
    previous: str = ""
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that was asked for. `left` is what is to be done where its client does not wait."""

    receipt: Receipt
    said: Message
    model: str
    page: str
    left: Callable[[], Awaitable[object]]
    previous: str | None = None
    streams: bool = False
    counts: bool = False

    @property
    def head(self) -> Head:
        return Head(self.said.turn, int(self.said.sent_at), self.model, self.previous)


async def _nothing() -> None:
    return None


class CompatibleWriter:
    """Writes one turn as the events of one of OpenAI's two APIs, which is `dialect`.

    Text that was sent cannot be taken back. If the text is replaced, nothing more is sent until the
    answer is complete; then all of it is sent after an empty line.
    """

    interval_seconds = FRAME_INTERVAL_SECONDS

    def __init__(self, site: Site, taken: Taken, dialect: Dialect) -> None:
        self._site = site
        self._taken = taken
        self._dialect = dialect
        self._text = ""

    async def begin(self) -> AsyncIterator[bytes]:
        # A turn that fails at once is answered with an HTTP status, so nothing may be sent before.
        return
        yield

    async def write_progress(self, progress: Progress) -> AsyncIterator[bytes]:
        text = progress.text
        if text and text != self._text and text.startswith(self._text):
            for event in self._dialect.grows(text[len(self._text) :]):
                yield event
            self._text = text

    async def write_outcome(self, outcome: Answer | PonteError) -> AsyncIterator[bytes]:
        if isinstance(outcome, PonteError) or _failure(outcome):
            for event in self._dialect.fails(_error(outcome)[1]):
                yield event
            return
        text, sent = text_with_links(outcome, self._taken), self._text
        rest = text[len(sent) :] if text.startswith(sent) else f"\n\n{text}"
        for event in self._dialect.grows(rest) if rest else ():
            yield event
        usage = await self._site.journal.used(self._taken.receipt.seq)
        for event in self._dialect.ends(sent + rest, usage, outcome.status == "stopped"):
            yield event


class InFlight:
    """Counts something of all people and of each, and refuses what would be more than `most` or
    `of_one`."""

    def __init__(self, most: int, of_one: int) -> None:
        self._most = most
        self._of_one = of_one
        self._count: Counter[str] = Counter()

    @contextmanager
    def hold(self, person: str, count: int = 1) -> Iterator[None]:
        """Raises TooManyRequests."""
        too_many = self._count.total() + count > self._most
        if too_many or self._count[person] + count > self._of_one:
            raise TooManyRequests
        self._count[person] += count
        try:
            yield
        finally:
            self._count[person] -= count
            if not self._count[person]:
                del self._count[person]


class Compatible:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._requests = InFlight(IN_FLIGHT, OF_ONE)
        self._bytes = InFlight(READING, READING_OF_ONE)

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/v1/responses", self.respond, methods=["POST"]),
        ]

    async def models(self, request: Request) -> Response:
        names = await self._models(visitor_of(request).person)
        return JSONResponse({"object": "list", "data": [_model_json(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """Raises NoSuchModel."""
        name = str(request.path_params["model"])
        await self._check_model(visitor_of(request).person, name)
        return JSONResponse(_model_json(name))

    async def complete(self, request: Request) -> Response:
        return await self._answered(request, self._read_completion, _completion)

    async def respond(self, request: Request) -> Response:
        return await self._answered(request, self._read_response, _response)

    async def _read_completion(self, request: Request) -> Asked:
        body = await read_json(request, CompletionRequest, BODY)
        _check(body)
        heard = [_heard(line, f"messages[{n}]") for n, line in enumerate(body.messages)]
        counts = bool(body.stream_options and body.stream_options.include_usage)
        return Asked(heard, body.model, bool(body.stream), counts=counts)

    async def _read_response(self, request: Request) -> Asked:
        body = await read_json(request, ResponseRequest, BODY)
        _check(body)
        wishes = [Heard("system", body.instructions)] if body.instructions else []
        given = body.input
        if isinstance(given, str):
            heard = [Heard("user", given)]
        else:
            items = [(n, item) for n, item in enumerate(given) if item.type != "reasoning"]
            heard = [_heard(item, f"input[{n}]") for n, item in items]
        previous = body.previous_response_id or ""
        return Asked([*wishes, *heard], body.model, bool(body.stream), previous)

    async def _answered(
        self,
        request: Request,
        read: Callable[[Request], Awaitable[Asked]],
        speak: Callable[[Taken], Dialect],
    ) -> Response:
        """Raises TooManyRequests."""
        with ExitStack() as held:
            held.enter_context(self._requests.hold(visitor_of(request).person.key))
            taken = await self._taken(request, read)
            answer = self._stream if taken.streams else self._whole
            response = await answer(request, taken, speak(taken), held)
            response.headers["X-Ponte-Conversation"] = taken.said.address.channel
            return response

    async def _taken(self, request: Request, read: Callable[[Request], Awaitable[Asked]]) -> Taken:
        """Read the request and store its message; nothing else of it stays in memory."""
        size = _size_of(request)
        with self._bytes.hold(visitor_of(request).person.key, size if size > SMALL else 0):
            asked = await read(request)
            if asked.streams:
                self._site.hub.check_room()
            return await self._take(request, asked)

    async def _take(self, request: Request, asked: Asked) -> Taken:
        """Stored as a person's message. A repeat of an `Idempotency-Key` gets the first turn."""
        site, person = self._site, visitor_of(request).person
        await self._check_model(person, asked.model)
        given = request.headers.get("idempotency-key", "")
        if given and not _KEY.fullmatch(given):
            raise BadRequest(why="its Idempotency-Key has other signs, or more, than it may have")
        key = f"v1/{given or uuid.uuid4().hex}"
        event_key = requests.event_key_of(person, key)
        first = await requests.known(site, event_key) if given else None
        if first is not None:
            receipt, said = Receipt(first.seq, first.turn, fresh=False), first.message
        else:
            channel = await self._conversation(request, asked, event_key)
            said = requests.message(site, request, "", channel, key)
            receipt, said = await requests.accept(site, await self._said(request, asked, said))
        once = said.address.channel.startswith(ONCE)
        left = (lambda: site.inbox.cancel(receipt.seq)) if once and not given else _nothing
        page = self._page(request, said)
        return Taken(
            receipt, said, asked.model, page, left, asked.previous or None, asked.streams,
            asked.counts,
        )  # fmt: skip

    async def _conversation(self, request: Request, asked: Asked, event_key: str) -> str:
        """The name of where it is said. Raises NotFound, also for what is another person's."""
        site, person = self._site, visitor_of(request).person
        named = request.headers.get("x-ponte-conversation", "")
        if named and not ID.fullmatch(named):
            raise NotFound(what="conversation")
        if asked.previous:
            shown = await self._previous(person, asked.previous)
            channel = shown.address.channel
            if named not in ("", channel):
                raise OtherConversation
            said = await site.journal.shown(shown.address.conversation)
            asking = [one.turn for one in said if not one.message.clicked]
            if not asking or asking[-1] != shown.turn:
                raise NotTheLast
            return channel
        if named.startswith(ONCE) and not await site.journal.shown(site.key(person, named)):
            raise NotFound(what="conversation")
        return named or ONCE + hashlib.sha256(event_key.encode()).hexdigest()[:32]

    async def _previous(self, person: Person, response: str) -> Message:
        """What a response of theirs answered. Raises NotFound."""
        try:
            shown = await self._site.journal.turn_of(response.removeprefix(RESPONSE))
        except NotFound:
            raise NotFound(what="response") from None
        address = shown.message.address
        if shown.state == "withdrawn" or not self._site.owns(person, address.conversation):
            raise NotFound(what="response")
        return shown.message

    async def _said(self, request: Request, asked: Asked, said: Message) -> Message:
        """The message that the request stands for: what its last one says, with the files of all
        that are told, and the rest as data of the asker's. Where the conversation is remembered
        here, that is what came after its last answer, and what it was not told yet."""
        heard, site = list(asked.heard), self._site
        if not heard or heard[-1].role != "user":
            raise NotTheirTurn
        once = said.address.channel.startswith(ONCE) and not asked.previous
        if not once or request.headers.get("x-ponte-conversation"):
            heard = await self._untold(heard, said.address.conversation)
        if sum(len(one.text) for one in heard) >= TEXT:
            raise TooLarge(size=size_of(sum(len(one.text) for one in heard)), limit=size_of(TEXT))
        text = await requests.message_text(heard[-1].text)
        files = [file for one in heard for file in one.files]
        if len(files) > FILES:
            raise TooManyFiles(limit=FILES)
        if not text.strip() and not heard[-1].files:
            raise Empty
        uploads = await asyncio.to_thread(lambda: [_upload(*file) for file in files])
        said = replace(
            said, text=text, brought=tuple(_quote(one) for one in heard[:-1]),
            model="" if asked.model == MODEL else asked.model,
        )  # fmt: skip
        self._check_words(request, said)
        if uploads:
            said = replace(said, attachments=await requests.keep(site, uploads, said))
        return said

    async def _untold(self, heard: list[Heard], conversation: str) -> list[Heard]:
        shown = await self._site.journal.shown(conversation)
        told = {quote for one in shown for quote in one.message.brought}
        last = max((n for n, one in enumerate(heard) if one.role == "assistant"), default=-1)
        return [
            one for n, one in enumerate(heard)
            if (n > last and one.role == "user") or (one.role in WISHES and _quote(one) not in told)
        ]  # fmt: skip

    def _check_words(self, request: Request, said: Message) -> None:
        """Raises DecidedElsewhere."""
        try:
            command = grammar.parse_command(said.text, said.locale)
        except BadInput:
            return  # its answer says what is wrong
        if command is not None and command.name in DECIDING:
            raise DecidedElsewhere(url=self._page(request, said) or f"/cards/{command.id}")

    async def _whole(
        self, request: Request, taken: Taken, dialect: Dialect, held: ExitStack
    ) -> Response:
        answer = asyncio.ensure_future(self._site.inbox.answer_of(taken.receipt.seq))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await taken.left()
                raise ClientDisconnect
            told = answer.result()
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
        if failure := _failure(told):
            return failure
        usage = await self._site.journal.used(taken.receipt.seq)
        text = text_with_links(told, taken)
        return JSONResponse(dialect.whole(text, usage, told.status == "stopped"))

    async def _stream(
        self, request: Request, taken: Taken, dialect: Dialect, held: ExitStack
    ) -> Response:
        """Stream the turn, or return its failure with an HTTP status if it fails at once.

        The stream takes over what the request holds in `held`.
        """
        key, hub = taken.said.address.conversation, self._site.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key, visitor_of(request)))
            hub.watch(key, taken.receipt.seq, taken.said)
            writer = CompatibleWriter(self._site, taken, dialect)
            turn = TurnEvents(self._site, taken.receipt.turn, writer)
            events = stream_events(follower, turn)
            opening = list(dialect.begins())  # numbered, so they are made before the first event
            first = asyncio.ensure_future(anext(events, b""))
            await asyncio.wait({first}, timeout=EARLY_FAILURE_SECONDS)
            if failure := _failure(turn.outcome):
                return failure

            async def all_events() -> AsyncIterator[bytes]:
                for event in opening:
                    yield event
                if event := await first:
                    yield event
                async for event in events:
                    yield event

            async def on_close() -> None:
                first.cancel()
                # A client that disconnects early does not want the answer any more.
                if not (turn.has_ended or follower.closed):
                    await taken.left()

            stack.push(held.pop_all())
            return EventStream(all_events(), stack.pop_all(), on_close)

    def _page(self, request: Request, said: Message) -> str:
        """Where a person reads that turn; "" where there is no page."""
        auth = self._site.auth
        if not auth.cookie:
            return ""
        origin = auth.origin or f"http://{request.headers.get('host', '')}"
        return f"{origin}/#{said.address.channel}/{said.turn}"

    async def _models(self, person: Person) -> Sequence[str]:
        """Ours, and those that a rule of the operator's gives this person by name."""
        policy, place = self._site.policy, self._site.place(person, "main")
        found = [MODEL]
        for name in policy.named("model") if policy else ():
            verdict = await policy.may(person, place, "model", name) if policy else None
            if verdict and verdict.allowed and verdict.rule != DEFAULT_RULE:
                found.append(name)
        return found

    async def _check_model(self, person: Person, name: str) -> None:
        """Raises NoSuchModel."""
        if name != MODEL and name not in await self._models(person):
            raise NoSuchModel(model=clean(name)[:60], param="model")


def text_with_links(answer: Answer, taken: Taken) -> str:
    """Return the answer as text, with its cards as text and the addresses of its files."""
    origin = taken.page.partition("/#")[0]
    lines = [f"{one_line(file.name)}: {origin}/files/{file.id}" for file in answer.files]
    cards = [card_text(card, taken.page, taken.said.locale) for card in answer.cards]
    return "\n\n".join(filter(None, [answer.text, *cards, "\n".join(lines)]))


def card_text(card: Card, page: str, locale: str) -> str:
    """Return a card as text: what would be done, and the page on which a person decides."""
    rows = [f"- {each}" for row in card.rows for each in describe_differences(row)]
    head = f"**{one_line(card.title)}** ({say(card.state, locale)})"
    body = unlinked("\n".join(filter(None, [head, card.text and f"\n{card.text}", "", *rows])))
    if not (card.actions and page):
        return body.rstrip()
    return f"{body.rstrip()}\n\n" + say("Decide on it on the page: {url}", locale, url=page)


def _heard(line: Line | InputItem, where: str) -> Heard:
    """Raises NotTaken, BadRequest."""
    if isinstance(line, InputItem) and line.type != "message":
        raise NotTaken(param=f"{where}: {clean(line.type)[:40]}")
    if line.role not in (*WISHES, "user", "assistant"):
        raise NotTaken(param=f"{where}.role: {clean(line.role)[:40]}")
    if (line.model_extra or {}).get("tool_calls"):
        raise NotTaken(param=f"{where}.tool_calls")
    if line.content is None or isinstance(line.content, str):
        return Heard(line.role, line.content or "")
    heard, texts = Heard(line.role), list[str]()
    for n, part in enumerate(line.content):
        _read_part(part, f"{where}.content[{n}]", texts, heard.files)
    heard.text = "\n".join(texts)
    return heard


def _read_part(
    part: Mapping[str, Any], where: str, texts: list[str], files: list[tuple[str, str, str]]
) -> None:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            texts.append(text)
        case {"type": "refusal", "refusal": str(text)}:
            texts.append(text)
        case {"type": "image_url", "image_url": {"url": str(url)}} | {
            "type": "input_image", "image_url": str(url)
        }:  # fmt: skip
            files.append((url, "", where))
        case {"type": "file", "file": {"file_data": str(data), **more}} | {
            "type": "input_file", "file_data": str(data), **more
        }:  # fmt: skip
            files.append((data, str(more.get("filename") or ""), where))
        case {"type": "input_file", "file_url": str()}:
            raise FromElsewhere(param=where)
        case _:
            raise NotTaken(param=f"{where}: {clean(str(part.get('type', '')))[:40]}")


def _upload(url: str, name: str, where: str) -> Upload:
    """The file that a data: URL holds, or bare base64. Raises FromElsewhere, NoFile, TooLarge."""
    found = _DATA.match(url[:1000])
    if found is None and _SCHEME.match(url[:40]):
        held = url[:5].lower() == "data:"
        raise NoFile(param=where) if held else FromElsewhere(param=where)
    try:
        data = base64.b64decode(url[found.end() if found else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise NoFile(param=where) from None
    if len(data) > FILE:
        raise TooLarge(size=size_of(len(data)), limit=size_of(FILE))
    kind = (found[1] if found else mimetypes.guess_type(name)[0] or "").lower()
    kind = kind if _TYPE.fullmatch(kind) else "application/octet-stream"
    return Upload(file_name(name or f"file{mimetypes.guess_extension(kind) or ''}"), kind, data)


def _quote(heard: Heard) -> Quote:
    """With a word for each of its files, which go along with the message."""
    named = [f"[{file_name(name or 'file')}]" for _, name, _ in heard.files]
    return Quote(heard.role, "\n".join(filter(None, [heard.text, *named])))


def _completion(taken: Taken) -> Dialect:
    return Completion(taken.head, taken.counts)


def _response(taken: Taken) -> Dialect:
    return dialects.Response(taken.head)


def _size_of(request: Request) -> int:
    """Bytes of the body as the client declares it; where it does not, as many as it may have."""
    declared = request.headers.get("content-length", "")
    return min(int(declared[:18]), BODY) if declared.isdecimal() else BODY


def _check(body: Form) -> None:
    """Raises NotTaken."""
    for name, differs in NOT_TAKEN.items():
        if differs((body.model_extra or {}).get(name)):
            raise NotTaken(param=name)


async def _gone(request: Request) -> None:
    """When the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _error(outcome: Answer | PonteError) -> tuple[int, Mapping[str, object]]:
    """The status of what a turn failed with, and the error."""
    if isinstance(outcome, PonteError):
        status = status_of(outcome)
        return status, openai_error(outcome.code, outcome.words(), status)
    status = FAILED.get(outcome.code) or STATUS.get(outcome.code, 500)
    code = THEIRS.get(outcome.code, outcome.code)
    return status, openai_error(code, outcome.text, status)


def _failure(outcome: object) -> Response | None:
    """The response for a turn that failed. It is over: to ask the same again of oneself, as
    clients do, would be another turn."""
    failed = isinstance(outcome, Answer) and outcome.status == "failed"
    if not isinstance(outcome, PonteError) and not (isinstance(outcome, Answer) and failed):
        return None
    status, error = _error(outcome)
    headers = {"x-should-retry": "false"}
    if status in (429, 503):
        headers["Retry-After"] = str(MINUTE)
    return JSONResponse({"error": error}, status, headers)


def _model_json(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": MODEL}
