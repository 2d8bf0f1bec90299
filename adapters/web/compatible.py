"""OpenAI's API as far as a chat needs it: `POST /v1/chat/completions`, `POST /v1/responses`, `GET
/v1/models`.

Existing clients can talk to Ponte with it. Each request is a message of a person, with the same
rights, allowances and limits as on the page. A request that names no conversation gets one of its
own (`ONCE`). The messages that it brings reach the model as data of the person, also those with the
role `system`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import dialects, http_io
from adapters.web.adapter import Json, Site
from adapters.web.client_options import cut_at_stop, without_begun_stop
from adapters.web.client_requests import (
    DEFAULT_MODEL_NAME,
    INSTRUCTION_ROLES,
    MAX_COMPATIBLE_BODY_BYTES,
    ModelRequest,
    PromptMessage,
    decode_file,
    quote_of,
    read_completion,
    read_response,
)
from adapters.web.dialects import (
    CALL_ID_PREFIX,
    RESPONSE_ID_PREFIX,
    AnswerHead,
    ApiDialect,
    CompletionDialect,
    FinalAnswer,
)
from adapters.web.errors import (
    STATUS_BY_CODE,
    BadRequest,
    CommandNotForPrograms,
    ConflictingConversations,
    DecisionOnPageOnly,
    LastMessageNotUsers,
    NoSuchModel,
    NotLastResponse,
    TooManyFiles,
    TooManyRequests,
    WrongResults,
    openai_error,
    status_of,
)
from adapters.web.http_io import (
    ID_PATTERN,
    INLINE_IMAGE_TYPES,
    MAX_FILES,
    MAX_TEXT_BYTES,
    EventStream,
    visitor_of,
)
from adapters.web.stream import FRAME_INTERVAL_SECONDS, TurnEvents, stream_events
from core.changes.card_rows import read_rows
from core.commands import grammar
from core.domain.errors import BadInput, Empty, NotFound, PonteError, TooLarge
from core.domain.messages import (
    ONE_REQUEST_PREFIX,
    Answer,
    Card,
    ClientResult,
    File,
    Message,
    Person,
    Progress,
)
from core.domain.records import HistoryEntry, Receipt
from core.text.i18n import format_size as size_of
from core.text.i18n import say
from core.text.markdown import defang_for_discord
from core.text.text import clean_text, is_json, to_one_line

EARLY_FAILURE_SECONDS = 2.0
"""How long a stream waits before it answers 200: a turn that fails until then gets a status."""
DECISION_COMMANDS = ("approve", "deny", "undo", "schedule")
"""Commands that this API refuses: a program may send words that no person has read."""
COMMANDS_NOT_FOR_PROGRAMS = (*DECISION_COMMANDS, "forget", "approvals")
"""Commands that this API refuses where the request comes with an API token."""
PAGE_TOKENS_DEPRECATED, PAGE_TOKENS_UNTIL = (
    datetime(2026, 11, 22, tzinfo=UTC),
    datetime(2027, 6, 1, tzinfo=UTC),
)
"""Since when tokens of the page are deprecated for this API, and until when they are accepted:
versions that are released later refuse them."""
MAX_REQUESTS, MAX_REQUESTS_OF_PERSON = 500, 50
"""Requests that are under way at once: of all people, and of one."""
SMALL_BODY_BYTES = 1_000_000
"""Bodies up to this size do not count for MAX_UNSTORED_BYTES."""
MAX_UNSTORED_BYTES, MAX_UNSTORED_BYTES_OF_PERSON = (
    2 * MAX_COMPATIBLE_BODY_BYTES,
    MAX_COMPATIBLE_BODY_BYTES,
)
"""Bytes of bodies that are read at once: of all people, and of one. Until its text and files are
stored, a body takes about three times its size in memory."""
API_KEY_PREFIX = "v1/"
"""The beginning of the event keys of messages that came over this API."""
MAX_INLINE_FILE_BYTES = 32_768
"""Pictures up to this size stand in the answer itself. Clients send answers back with each request,
so larger ones have an address."""
RETRY_AFTER_SECONDS = 60
"""The Retry-After of a refused request."""
STATUS_OF_FAILED_TURN = {
    "rate_limited": 429, "too_long": 400, "refused": 400, "person_refused": 403, "no_key": 503,
    "wrong_key": 503, "unknown_model": 503, "no_quota": 503, "model_down": 503,
    "model_silent": 503,
}  # fmt: skip
"""HTTP status by the code of a failed turn, besides STATUS_BY_CODE. Other codes are a 500."""
OPENAI_CODES = {"too_long": "context_length_exceeded"}
"""Codes for which OpenAI's clients expect a name of their own."""
log = structlog.get_logger("web")


@dataclass(frozen=True, slots=True)
class AnsweredCalls:
    """The newest messages of a request are the results of the calls that ended `turn`. `key` is the
    same for the same results and wishes."""

    turn: str
    channel: str
    results: tuple[ClientResult, ...]
    key: str


@dataclass(frozen=True, slots=True)
class AcceptedTurn:
    """A stored turn of this API. `on_client_left` is awaited if the client disconnects before the
    end."""

    receipt: Receipt
    message: Message
    model: str
    page: str
    on_client_left: Callable[[], Awaitable[object]]
    previous: str | None = None
    streams: bool = False
    includes_usage: bool = False

    @property
    def head(self) -> AnswerHead:
        """Return the fields that every JSON object about this answer has."""
        message = self.message
        return AnswerHead(
            message.turn, int(message.sent_at), self.model, self.previous, message.client
        )

    @property
    def stops(self) -> Sequence[str]:
        """Return the texts at which the answer ends."""
        return self.message.client.stop if self.message.client else ()

    @property
    def has_format(self) -> bool:
        """Return whether the answer must be JSON."""
        return bool(self.message.client and self.message.client.format)


async def _do_nothing() -> None:
    return None


class CompatibleWriter:
    """Writes one turn as the events of one of OpenAI's two APIs, which is `dialect`.

    Text that was sent cannot be taken back. If the text is replaced, nothing more is sent until the
    answer is complete; then all of it is sent after an empty line.
    """

    interval_seconds = FRAME_INTERVAL_SECONDS

    def __init__(self, site: Site, taken: AcceptedTurn, dialect: ApiDialect) -> None:
        self._site = site
        self._taken = taken
        self._dialect = dialect
        self._text = ""

    async def begin(self) -> AsyncIterator[bytes]:
        # A turn that fails at once is answered with an HTTP status, so nothing may be sent before.
        return
        yield

    async def write_progress(self, progress: Progress) -> AsyncIterator[bytes]:
        # JSON is sent at the end, because only then it is known to be the answer.
        text = "" if self._taken.has_format else progress.text
        text = without_begun_stop(text, self._taken.stops) if self._taken.stops else text
        if text and text != self._text and text.startswith(self._text):
            for event in self._dialect.add_text(text[len(self._text) :]):
                yield event
            self._text = text

    async def write_outcome(self, outcome: Answer | PonteError) -> AsyncIterator[bytes]:
        if isinstance(outcome, PonteError) or _failure_response(outcome):
            for event in self._dialect.fail(_status_and_error(outcome)[1]):
                yield event
            return
        answer = await final_answer(self._site, outcome, self._taken)
        text, sent = answer.text, self._text
        rest = text[len(sent) :] if text.startswith(sent) else f"\n\n{text}"
        for event in self._dialect.add_text(rest) if rest else ():
            yield event
        for event in self._dialect.end(replace(answer, text=sent + rest)):
            yield event


class ConcurrencyLimit:
    """Counts what is under way, in all and for each person, and refuses more than `limit` or
    `limit_of_person`."""

    def __init__(self, limit: int, limit_of_person: int) -> None:
        self._limit = limit
        self._limit_of_person = limit_of_person
        self._count: Counter[str] = Counter()

    @contextmanager
    def hold(self, person: str, count: int = 1) -> Iterator[None]:
        """Count `count` more for the person while the block runs. Raise TooManyRequests."""
        too_many = self._count.total() + count > self._limit
        if too_many or self._count[person] + count > self._limit_of_person:
            raise TooManyRequests
        self._count[person] += count
        try:
            yield
        finally:
            self._count[person] -= count
            if not self._count[person]:
                del self._count[person]


class CompatibleRoutes:
    """The routes of OpenAI's API."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._requests = ConcurrencyLimit(MAX_REQUESTS, MAX_REQUESTS_OF_PERSON)
        self._bytes = ConcurrencyLimit(MAX_UNSTORED_BYTES, MAX_UNSTORED_BYTES_OF_PERSON)
        self._with_page_token: set[str] = set()
        """The keys of people who used this API with a token of the page in this process."""

    @property
    def routes(self) -> list[Route]:
        """Return the routes with their handlers."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/v1/responses", self.respond, methods=["POST"]),
            Route("/v1/responses/{id}", self.response, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        """List the models that the visitor may use."""
        names = await self._model_names(visitor_of(request).person)
        listed = {"object": "list", "data": [_model_json(name) for name in names]}
        return self._mark_page_token(request, JSONResponse(listed))

    async def model(self, request: Request) -> Response:
        """Return one model by name. Raise NoSuchModel."""
        name = str(request.path_params["model"])
        await self._check_model(visitor_of(request).person, name)
        return self._mark_page_token(request, JSONResponse(_model_json(name)))

    async def complete(self, request: Request) -> Response:
        """Answer a request in the format of Chat Completions, streamed or whole."""
        return await self._answer(request, read_completion, _completion)

    async def respond(self, request: Request) -> Response:
        """Answer a request in the format of Responses, streamed or whole."""
        return await self._answer(request, read_response, _response)

    async def response(self, request: Request) -> Response:
        """Return a response of this API by its id. Raise NotFound, also for another person's."""
        person, id = visitor_of(request).person, str(request.path_params["id"])
        entry = await self._find_own_entry(person, id)
        said = entry.message
        if not http_io.is_key_of(person, said.event_key, API_KEY_PREFIX):
            raise NotFound(what="response")
        receipt = Receipt(entry.seq, entry.turn, is_new=False)
        page = self._turn_url(request, said)
        model = said.model or DEFAULT_MODEL_NAME
        taken = AcceptedTurn(receipt, said, model, page, _do_nothing)
        dialect = dialects.ResponseDialect(taken.head)
        if entry.answer is None:
            body = dialect.unfinished_answer()
        elif entry.answer.status == "failed":
            body = dialect.failed_answer(_status_and_error(entry.answer)[1])
        else:
            body = dialect.whole_answer(await final_answer(self._site, entry.answer, taken))
        return self._mark_page_token(request, JSONResponse(body))

    async def _answer(
        self,
        request: Request,
        read: Callable[[Request], Awaitable[ModelRequest]],
        speak: Callable[[AcceptedTurn], ApiDialect],
    ) -> Response:
        """Accept the request and return its answer, whole or as a stream. Raise TooManyRequests."""
        with ExitStack() as held:
            held.enter_context(self._requests.hold(visitor_of(request).person.key))
            taken = await self._read_and_accept(request, read)
            answer = self._answer_stream if taken.streams else self._answer_whole
            response = await answer(request, taken, speak(taken), held)
            response.headers["X-Ponte-Conversation"] = taken.message.address.channel
            return self._mark_page_token(request, response)

    def _mark_page_token(self, request: Request, response: Response) -> Response:
        """Say in headers, and once in the log, that a token of the page is deprecated here.

        The headers are those of RFC 9745 (Deprecation) and RFC 8594 (Sunset).
        """
        visitor = visitor_of(request)
        if visitor.is_program or not self._site.auth.cookie:
            return response
        response.headers["Deprecation"] = f"@{int(PAGE_TOKENS_DEPRECATED.timestamp())}"
        response.headers["Sunset"] = format_datetime(PAGE_TOKENS_UNTIL, usegmt=True)
        if visitor.person.key not in self._with_page_token:
            self._with_page_token.add(visitor.person.key)
            log.warning(
                "page token used for /v1, create an API token", person=visitor.person.key,
                until=f"{PAGE_TOKENS_UNTIL:%Y-%m-%d}",
            )  # fmt: skip
        return response

    async def _read_and_accept(
        self, request: Request, read: Callable[[Request], Awaitable[ModelRequest]]
    ) -> AcceptedTurn:
        """Read the request and store its message. Nothing else of it stays in memory."""
        size = _declared_size(request)
        with self._bytes.hold(
            visitor_of(request).person.key, size if size > SMALL_BODY_BYTES else 0
        ):
            asked = await read(request)
            if asked.streams:
                self._site.hub.check_capacity()
            return await self._accept(request, asked)

    async def _accept(self, request: Request, asked: ModelRequest) -> AcceptedTurn:
        """Store the request as a message of its person. A repeat of an `Idempotency-Key` returns
        the first turn."""
        site, person = self._site, visitor_of(request).person
        await self._check_model(person, asked.model)
        given = http_io.read_idempotency_key(request)
        calls = await self._find_answered_calls(person, asked)
        # A key of a client has no space, so it never is that of results.
        key = f"{API_KEY_PREFIX}{given or (calls.key if calls else uuid.uuid4().hex)}"
        event_key = http_io.make_event_key(person, key)
        first = await http_io.find_accepted_turn(site, event_key) if given or calls else None
        replaces = ""
        if first and calls and not given:
            # Results whose turn failed are asked again; others have their answer.
            while first and first.answer and first.answer.status == "failed":
                replaces, key = first.turn, f"{key} again"
                event_key = http_io.make_event_key(person, key)
                first = await http_io.find_accepted_turn(site, event_key)
        if first is not None:
            receipt, said = Receipt(first.seq, first.turn, is_new=False), first.message
        else:
            if calls and not await self._are_open(person, calls, replaces):
                calls = None
            channel = await self._choose_conversation(request, asked, event_key, calls)
            said = http_io.make_message(site, request, "", channel, key, replaces=replaces)
            receipt, said = await http_io.accept_message(
                site, await self._build_message(request, asked, said, calls)
            )
        once = said.address.channel.startswith(ONE_REQUEST_PREFIX)
        is_repeatable = given or said.results
        left = _do_nothing if is_repeatable or not once else lambda: site.inbox.cancel(receipt.seq)
        page = self._turn_url(request, said)
        return AcceptedTurn(
            receipt, said, asked.model, page, left, asked.previous or None, asked.streams,
            asked.includes_usage,
        )  # fmt: skip

    async def _find_answered_calls(
        self, person: Person, asked: ModelRequest
    ) -> AnsweredCalls | None:
        """Return the calls that the newest messages of the request answer.

        None: there are no results, or they are of calls that are not stored (any more). Raise
        WrongResults if not each call of the turn has exactly one result.
        """
        newest = [one.call for one in asked.newest if one.role == "tool"]
        turn = newest[-1].removeprefix(CALL_ID_PREFIX).rpartition("_")[0] if newest else ""
        if not turn:
            return None
        # Some clients send each result right after its call, so some are before `newest`.
        own = client_call_id(turn, 0).removesuffix("0")
        results = [one for one in asked.messages if one.call.startswith(own)]
        if not set(newest) <= {one.call for one in results}:
            raise WrongResults(ids=", ".join(one.call for one in results))
        try:
            entry = await self._find_own_entry(person, RESPONSE_ID_PREFIX + turn)
        except NotFound:
            return None
        if entry.answer is None or not entry.answer.calls:
            return None
        ids = {client_call_id(turn, n): call for n, call in enumerate(entry.answer.calls)}
        if sorted(one.call for one in results) != sorted(ids):
            raise WrongResults(ids=", ".join(ids))
        texts = {one.call: one.text for one in results}
        read = tuple(ClientResult(call.call_id, texts[id]) for id, call in ids.items())
        said = [one.text for one in asked.newest if one.role != "tool"]
        wishes = repr((read, said, asked.options, asked.model)).encode(errors="replace")
        key = f"results {turn} {hashlib.sha256(wishes).hexdigest()[:32]}"
        return AnsweredCalls(turn, entry.message.address.channel, read, key)

    async def _are_open(self, person: Person, calls: AnsweredCalls, replaces: str) -> bool:
        """Return whether the conversation waits for these results, or for a repeat of `replaces`,
        which failed with them."""
        key = self._site.conversation_key(person, calls.channel)
        return await self._last_turn(key) == (replaces or calls.turn)

    async def _last_turn(self, conversation: str) -> str:
        """Return the last turn of a conversation that is not a click; "" if there is none."""
        said = await self._site.journal.list_entries(conversation)
        return next((one.turn for one in reversed(said) if not one.message.clicked), "")

    async def _choose_conversation(
        self, request: Request, asked: ModelRequest, event_key: str, calls: AnsweredCalls | None
    ) -> str:
        """Return the name of the request's conversation. Raise NotFound, also for another
        person's."""
        site, person = self._site, visitor_of(request).person
        named = request.headers.get("x-ponte-conversation", "")
        if named and not ID_PATTERN.fullmatch(named):
            raise NotFound(what="conversation")
        if calls is not None:
            if named not in ("", calls.channel):
                raise ConflictingConversations
            return calls.channel
        if asked.ends_in_results and (named or asked.previous):
            raise NotLastResponse
        if asked.previous:
            shown = await self._find_answered_message(person, asked.previous)
            channel = shown.address.channel
            if named not in ("", channel):
                raise ConflictingConversations
            if await self._last_turn(shown.address.conversation) != shown.turn:
                raise NotLastResponse
            return channel
        if named.startswith(ONE_REQUEST_PREFIX) and not await site.journal.list_entries(
            site.conversation_key(person, named)
        ):
            raise NotFound(what="conversation")
        return named or ONE_REQUEST_PREFIX + hashlib.sha256(event_key.encode()).hexdigest()[:32]

    async def _find_answered_message(self, person: Person, response: str) -> Message:
        """Return the message that a response answered. Raise NotFound, also for another
        person's."""
        return (await self._find_own_entry(person, response)).message

    async def _find_own_entry(self, person: Person, response: str) -> HistoryEntry:
        """Return the turn of a response by its id. Raise NotFound, also for another person's."""
        try:
            shown = await self._site.journal.history_entry(
                response.removeprefix(RESPONSE_ID_PREFIX)
            )
        except NotFound:
            raise NotFound(what="response") from None
        address = shown.message.address
        if shown.state == "withdrawn" or not self._site.owns(person, address.conversation):
            raise NotFound(what="response")
        return shown

    async def _build_message(
        self, request: Request, asked: ModelRequest, said: Message, calls: AnsweredCalls | None
    ) -> Message:
        """Return the message of the request, with the results of `calls`.

        Its text is the last message, with the files of all messages. The messages before it are
        attached as data. In a conversation that Ponte remembers, only those are attached that came
        after its last answer or that it has not received yet.
        """
        heard, site = list(asked.messages), self._site
        once = said.address.channel.startswith(ONE_REQUEST_PREFIX) and not asked.previous
        if calls or not once or request.headers.get("x-ponte-conversation"):
            heard = await self._unknown_messages(heard, said.address.conversation)
        # The question is the last message, or stands before the results that a client sends.
        if calls and (not heard or heard[-1].role != "user"):
            heard.append(PromptMessage("user"))
        elif asked.ends_in_results and not calls:
            asking = [n for n, one in enumerate(heard) if one.role == "user"][-1:]
            heard += [heard.pop(n) for n in asking]
        if not heard or heard[-1].role != "user":
            raise LastMessageNotUsers
        if sum(len(one.text) for one in heard) >= MAX_TEXT_BYTES:
            raise TooLarge(
                size=size_of(sum(len(one.text) for one in heard)), limit=size_of(MAX_TEXT_BYTES)
            )
        text = await http_io.clean_message_text(heard[-1].text)
        files = [file for one in heard for file in one.files]
        if len(files) > MAX_FILES:
            raise TooManyFiles(limit=MAX_FILES)
        if not text.strip() and not heard[-1].files and not calls:
            raise Empty
        uploads = await asyncio.to_thread(lambda: [decode_file(*file) for file in files])
        said = replace(
            said, text=text, brought=tuple(quote_of(one) for one in heard[:-1]),
            model="" if asked.model == DEFAULT_MODEL_NAME else asked.model,
            client=asked.options, results=calls.results if calls else (),
            # JSON is read by a program, and becomes no link.
            linked=not (asked.options and asked.options.format),
        )  # fmt: skip
        self._check_command(request, said)
        if uploads:
            said = replace(said, attachments=await http_io.store_uploads(site, uploads, said))
        return said

    async def _unknown_messages(
        self, heard: list[PromptMessage], conversation: str
    ) -> list[PromptMessage]:
        shown = await self._site.journal.list_entries(conversation)
        told = {quote for one in shown for quote in one.message.brought}
        last = max((n for n, one in enumerate(heard) if one.role == "assistant"), default=-1)
        return [
            one for n, one in enumerate(heard)
            if (n > last and one.role == "user")
            or (one.role in INSTRUCTION_ROLES and quote_of(one) not in told)
        ]  # fmt: skip

    def _check_command(self, request: Request, said: Message) -> None:
        """Raise DecisionOnPageOnly if the message is a command that decides on a change, and
        CommandNotForPrograms if it is one that an API token may not give."""
        try:
            command = grammar.parse_command(said.text)
        except BadInput:
            return  # its answer says what is wrong
        name = command.name if command else ""
        if command and said.results:
            raise BadRequest(why="a command cannot come with results of tools")
        if command and name in DECISION_COMMANDS:
            raise DecisionOnPageOnly(url=self._turn_url(request, said) or f"/cards/{command.id}")
        if name in COMMANDS_NOT_FOR_PROGRAMS and visitor_of(request).is_program:
            raise CommandNotForPrograms(command=name)

    async def _answer_whole(
        self, request: Request, taken: AcceptedTurn, dialect: ApiDialect, held: ExitStack
    ) -> Response:
        answer = asyncio.ensure_future(self._site.inbox.wait_for_answer(taken.receipt.seq))
        gone = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await taken.on_client_left()
                raise ClientDisconnect
            told = answer.result()
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
        if failure := _failure_response(told):
            return failure
        return JSONResponse(dialect.whole_answer(await final_answer(self._site, told, taken)))

    async def _answer_stream(
        self, request: Request, taken: AcceptedTurn, dialect: ApiDialect, held: ExitStack
    ) -> Response:
        """Stream the turn, or return its failure with an HTTP status if it fails at once.

        The stream takes over what the request holds in `held`.
        """
        key, hub = taken.message.address.conversation, self._site.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key, visitor_of(request)))
            hub.watch(key, taken.receipt.seq, taken.message)
            writer = CompatibleWriter(self._site, taken, dialect)
            turn = TurnEvents(self._site, taken.receipt.turn, writer)
            events = stream_events(follower, turn)
            opening = list(dialect.begin())  # numbered, so they are made before the first event
            first = asyncio.ensure_future(anext(events, b""))
            await asyncio.wait({first}, timeout=EARLY_FAILURE_SECONDS)
            if failure := _failure_response(turn.outcome):
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
                    await taken.on_client_left()

            stack.push(held.pop_all())
            return EventStream(all_events(), stack.pop_all(), on_close)

    def _turn_url(self, request: Request, said: Message) -> str:
        """Return the address of the turn on the page; "" if there is no page."""
        auth = self._site.auth
        if not auth.cookie:
            return ""
        origin = auth.origin or f"http://{request.headers.get('host', '')}"
        return f"{origin}/#{said.address.channel}/{said.turn}"

    async def _model_names(self, person: Person) -> Sequence[str]:
        """Return our name, and the models that a rule of the operator gives this person by name."""
        return [DEFAULT_MODEL_NAME, *await self._site.list_choices(person, "model")]

    async def _check_model(self, person: Person, name: str) -> None:
        """Raise NoSuchModel if the person may not use this model."""
        if name != DEFAULT_MODEL_NAME and name not in await self._model_names(person):
            raise NoSuchModel(model=clean_text(name)[:60], param="model")


async def final_answer(site: Site, answer: Answer, taken: AcceptedTurn) -> FinalAnswer:
    """Return an answer as clients read it: with its cards as text, its files in it or their
    addresses, and its calls under ids that a later request can name."""
    usage = await site.journal.usage_of(taken.receipt.seq)
    turn, is_stopped = taken.message.turn, answer.status == "stopped"
    calls = [replace(call, call_id=client_call_id(turn, n)) for n, call in enumerate(answer.calls)]
    if taken.has_format and (answer.is_cut or is_json(answer.text)):
        return FinalAnswer(answer.text, usage, is_stopped, answer.is_cut, calls)
    files = [await file_line(site, file, taken.page.partition("/#")[0]) for file in answer.files]
    cards = [card_text(card, taken.page) for card in answer.cards]
    text = cut_at_stop(answer.text, taken.stops)
    is_cut = answer.is_cut and text == answer.text
    text = "\n\n".join(filter(None, [text, *cards, "\n".join(files)]))
    if taken.has_format and text and not is_stopped:
        return FinalAnswer("", usage, calls=calls, refusal=text)
    return FinalAnswer(text, usage, is_stopped, is_cut, calls)


def client_call_id(turn: str, number: int) -> str:
    """Return the id under which clients know a call of a turn. It says which turn waits for the
    result."""
    return f"{CALL_ID_PREFIX}{turn}_{number}"


async def file_line(site: Site, file: File, origin: str) -> str:
    """Return a file as a line of Markdown: a small picture itself, else an address."""
    name = to_one_line(file.name)
    if file.type in INLINE_IMAGE_TYPES and file.size <= MAX_INLINE_FILE_BYTES:
        with suppress(NotFound):
            _, data = await site.files.get(file.id)
            label = re.sub(r"[\[\]\\]", "_", name)
            return f"![{label}](data:{file.type};base64,{base64.b64encode(data).decode()})"
    path = site.file_links.path(file.id) if site.file_links else f"/files/{file.id}"
    return f"{name}: {origin}{path}"


def card_text(card: Card, page: str) -> str:
    """Return a card as text: what would be done, and the page on which a person decides."""
    rows = [
        "- " + to_one_line(": ".join(filter(None, [row.name and f"**{row.name}**", row.text])))
        for row in read_rows(card.rows)
    ]
    head = f"**{to_one_line(card.title)}** ({say(card.state)})"
    body = defang_for_discord(
        "\n".join(filter(None, [head, card.text and f"\n{card.text}", "", *rows]))
    )
    if not (card.actions and page):
        return body.rstrip()
    return f"{body.rstrip()}\n\n" + say("Decide on the page: {url}", url=page)


def _completion(taken: AcceptedTurn) -> ApiDialect:
    return CompletionDialect(taken.head, taken.includes_usage)


def _response(taken: AcceptedTurn) -> ApiDialect:
    return dialects.ResponseDialect(taken.head)


def _declared_size(request: Request) -> int:
    """Return the body's size as the client declares it, or the largest one that it may have."""
    declared = request.headers.get("content-length", "")
    return (
        min(int(declared[:18]), MAX_COMPATIBLE_BODY_BYTES)
        if declared.isdecimal()
        else MAX_COMPATIBLE_BODY_BYTES
    )


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _status_and_error(outcome: Answer | PonteError) -> tuple[int, Mapping[str, object]]:
    """Return the HTTP status and the error object of a failed turn."""
    if isinstance(outcome, PonteError):
        status = status_of(outcome)
        return status, openai_error(outcome.code, outcome.words(), status)
    status = STATUS_OF_FAILED_TURN.get(outcome.code) or STATUS_BY_CODE.get(outcome.code, 500)
    code = OPENAI_CODES.get(outcome.code, outcome.code)
    return status, openai_error(code, outcome.text, status)


def _failure_response(outcome: object) -> Response | None:
    """Return the response for a failed turn, or None if it did not fail.

    Clients repeat failed requests by themselves. The turn is over, so a repeat would be another
    turn, and the response tells them not to.
    """
    failed = isinstance(outcome, Answer) and outcome.status == "failed"
    if not isinstance(outcome, PonteError) and not (isinstance(outcome, Answer) and failed):
        return None
    status, error = _status_and_error(outcome)
    headers = {"x-should-retry": "false"}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return JSONResponse({"error": error}, status, headers)


def _model_json(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": DEFAULT_MODEL_NAME}
