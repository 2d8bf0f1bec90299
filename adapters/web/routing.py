"""Declares each route once, on its handler. The application's routes, `GET /openapi.json` and the
table in docs/reference/http.md are made from the declaration, the handler's docstring and its
annotations. `MessageRoutes` is the base of groups whose handlers send messages."""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import http_io
from adapters.web.errors import ServerStopping
from adapters.web.hub import Hub
from adapters.web.sign_in import Visitors
from core.base.errors import NotFound
from core.chat.people import Conversations
from core.domain.messages import PERSON, PROGRAM, Answer, Attachment, Message, ReplyTo, turn_id
from core.domain.records import HistoryEntry, Receipt

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The declaration of a route.

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


def endpoint(method: str, path: str, **more: Any) -> Callable[[H], H]:
    """Return a decorator that declares a handler's route. `more` are fields of `Endpoint`."""

    def declare(handler: H) -> H:
        own = Endpoint(method, path, **more)
        vars(handler)["endpoints"] = (own, *vars(handler).get("endpoints", ()))
        return handler

    return declare


class DeclaredRoute(Route):
    """A route of Starlette with its declaration and its handler."""

    def __init__(self, declaration: Endpoint, handler: Handler) -> None:
        self.declaration = declaration
        self.handler = handler
        self.body_model: type[BaseModel] | None = declaration.reads
        reads_body = "body" in inspect.signature(handler).parameters
        if reads_body:
            self.body_model = get_type_hints(handler)["body"]

        async def serve(request: Request) -> Response:
            if reads_body and self.body_model:
                answer = await handler(request, await http_io.read_json(request, self.body_model))
            else:
                answer = await handler(request)
            if isinstance(answer, Response):
                return answer
            return JSONResponse(answer, declaration.status)

        super().__init__(declaration.path, serve, methods=[declaration.method])
        self.app = GZipMiddleware(self.app, compresslevel=6) if declaration.is_static else self.app


class RouteGroup:
    """Handlers of one subject, whose routes are declared with `endpoint`."""

    @property
    def routes(self) -> list[DeclaredRoute]:
        """Return the routes in the order of their handlers."""
        return [
            DeclaredRoute(declaration, getattr(self, name))
            for name, handler in vars(type(self)).items()
            for declaration in getattr(handler, "endpoints", ())
        ]


@dataclass(frozen=True)
class MessageRoutes(RouteGroup):
    """A group whose handlers send messages. `hub` shows them to the tabs of their conversations."""

    visitors: Visitors
    conversations: Conversations
    hub: Hub

    def make_message(
        self, request: Request, text: str, conversation: str, event_key: str | None = None, *,
        time_zone: str = "", clicked: bool = False, replaces: str = "",
    ) -> Message:  # fmt: skip
        """Return the message of the authenticated person. Without the client's `event_key`, a
        random one is made."""
        visitor = http_io.visitor_of(request)
        person = visitor.person
        typed_default = "" if person.platform == "terminal" else "true"
        is_typed = request.headers.get(http_io.TYPED_HEADER, typed_default) == "true"
        is_link_free = http_io.prefers(request, http_io.NO_LINKS_PREFERENCE)
        key = http_io.make_event_key(person, event_key or uuid.uuid4().hex)
        address = self.visitors.address_of(person, conversation)
        return Message(
            event_key=key,
            text=text,
            author=person,
            address=address,
            reply_to=ReplyTo(address, person, source=key, turn=turn_id(key)),
            locale=http_io.requested_locale(request.headers) or self.visitors.locale,
            time_zone=time_zone,
            sent_at=time.time(),
            is_click=clicked,
            replaced_turn=replaces,
            origin=PERSON if is_typed and not visitor.is_program else PROGRAM,
            is_answer_linkified=not (person.platform == "terminal" and is_link_free),
        )

    async def find_accepted_turn(self, event_key: str) -> HistoryEntry | None:
        """Return the turn of an event that was accepted before, or None."""
        with suppress(NotFound):
            return await self.conversations.journal.history_entry(turn_id(event_key))
        return None

    async def accept(self, message: Message) -> tuple[Receipt, Message]:
        """Store the message and show it to every tab of its conversation.

        If the event was accepted before, return its first message. Raise NotStored.
        """
        if not self.hub.is_accepting:
            raise ServerStopping
        receipt = await self.conversations.inbox.accept(message)
        self.hub.watch(message.address.conversation, receipt.seq, message)
        await self.hub.notify_peers("asked", message.turn)
        first = None if receipt.is_new else await self.find_accepted_turn(message.event_key)
        return receipt, first.message if first else message

    async def send_click(
        self, request: Request, words: str, conversation: str, event_key: str | None = None
    ) -> Answer:
        """Send the words of a button as a message and return the answer."""
        message = self.make_message(request, words, conversation, event_key, clicked=True)
        receipt, _ = await self.accept(message)
        return await self.conversations.inbox.wait_for_answer(receipt.seq)

    async def store_uploads(
        self, uploads: list[http_io.UploadedFile], message: Message
    ) -> tuple[Attachment, ...]:
        """Store the bytes of files before their message is accepted. Raise NotStored."""
        key, author, conversation = message.event_key, message.author, message.address.conversation
        files = [
            await self.conversations.files.put(
                key, one.name, one.type, one.data, author, conversation
            )
            for one in uploads
        ]
        return tuple(Attachment(file.name, file.type, file.size, file.id) for file in files)
