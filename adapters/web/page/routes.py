"""The routes for reading conversations and files, the page itself, sign-in and accounts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from adapters.web import http_io
from adapters.web.api import answers, stream
from adapters.web.api.answers import Json
from adapters.web.api.stream import ConversationEvents, ReadCursor
from adapters.web.errors import UnknownPath, plain_page
from adapters.web.http_io import MessageRoutes, RequestBody, RouteGroup, endpoint, visitor_of
from adapters.web.page.render import document_to_html, to_html
from adapters.web.sign_in import Visitors
from adapters.web.visitor import SESSION_SECONDS
from core.base.errors import NotAllowed, NotFound, NotStored
from core.base.i18n import LANGUAGE, LOCALES, format_moment, say, use_locale
from core.base.splitting import Fence, fence_after_line
from core.base.text import clean_text, fold_case, to_one_line
from core.chat.approval_notices import CARD_STATES, PersonNoticeService
from core.domain.messages import Address
from core.domain.ports import StatusBoard
from core.domain.records import ApiToken, ConversationSummary
from core.imports.plan import PLAN_TYPE
from core.people.notices import PersonNotice
from core.people.page_accounts import OwnerName, PageAccounts
from core.people.rules import OWNER_ID
from core.turn.suggestions import find_starting_points
from core.turn.titles import MAX_CONVERSATION_TITLE_CHARACTERS, first_words, shorten_title

PAGE_FOLDER = Path(__file__).parent
"""Files whose suffix is in PAGE_MEDIA_TYPES are served under their names."""
PAGE_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
PAGE_SENTENCES: Mapping[str, str] = json.loads((PAGE_FOLDER / "sentences.json").read_text("utf-8"))
SERVICE_WORKER_FILE = "worker.js"
PAGE_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
BYTES_TYPE = "application/octet-stream"


SETUP_CARDS = ("model", "slack", "discord", "nocodb", "stackspot", "code")
MAX_SEARCH_CHARS = 200
MAX_WELCOME_TABLES = 12


class ConversationMarks(RequestBody):
    """The body of `PATCH /conversations/{id}`. A title of "" restores the one that the model made,
    or else the one made from the first message."""

    title: str | None = Field(None, max_length=1000)
    pinned: bool | None = None


class LoginRequest(RequestBody):
    """The body of `POST /login`. Its sender is not authenticated yet, so it is small."""

    max_bytes: ClassVar[int] = 4096

    token: str = Field(max_length=1000)


class OwnerNameRequest(RequestBody):
    """The body of `PATCH /me`."""

    name: str = Field(max_length=1000)


@dataclass(frozen=True)
class ConversationRoutes(MessageRoutes):
    """The HTTP routes for a person's conversations, their events, and their files."""

    board: StatusBoard

    @endpoint("GET", "/conversations", query={"search": "only conversations with these words"})
    async def list_all(self, request: Request) -> answers.ConversationList:
        """Conversations that have a message, the pinned ones and then the last used first.
        `?search=` returns those with all these words in a turn, each with the newest such `turn`
        and an excerpt of it, and those with all of them in the title."""
        platform, journal = self.visitors.auth.platform, self.conversations.journal
        # The person in the addresses of the visitor's conversations, "" for the owner.
        person = self.visitors.address_person(visitor_of(request).person)
        search_text = clean_text(request.query_params.get("search", "")).strip()[:MAX_SEARCH_CHARS]
        # Conversations in which a turn has the words, by key. Titles are compared below. Without
        # words, every title fits.
        hits = await journal.search(platform, search_text, person) if search_text else {}
        folded_words = fold_case(search_text).split()
        conversations: list[answers.ListedConversation] = []
        for conversation in await self._list_own(request):
            entry: answers.ListedConversation = {
                "id": conversation.first.address.channel,
                "title": conversation_title(conversation),
                "pinned": conversation.is_pinned,
                "at": conversation.used_at,
            }
            if hit := hits.get(conversation.conversation):
                entry["turn"] = hit.turn
                entry["excerpt"] = {"before": hit.before, "match": hit.match, "after": hit.after}
            title = fold_case(entry["title"])
            if hit or all(word in title for word in folded_words):
                conversations.append(entry)
        return {"conversations": conversations}

    @endpoint("PATCH", "/conversations/{id}", refuses=(404,))
    async def mark(self, request: Request, body: ConversationMarks) -> answers.StatusAnswer:
        """Rename, pin or unpin a conversation."""
        title = body.title
        if title is not None:
            title = to_one_line(title, MAX_CONVERSATION_TITLE_CHARACTERS)
        key = self._find_address(request).conversation
        if title is not None or body.pinned is not None:
            await self.conversations.journal.set_listing(key, title, body.pinned)
        return {"status": "marked"}

    @endpoint("DELETE", "/conversations/{id}", refuses=(404, 503))
    async def forget(self, request: Request) -> answers.StatusAnswer:
        """Delete a conversation. The deletion is stored as a `forget` command before it runs."""
        address = self._find_address(request)
        if not await self.conversations.journal.list_entries(address.conversation):
            raise NotFound(what="conversation")
        # "yes" answers the question that the command would ask first.
        answer = await self.send_click(request, "forget yes", address.channel)
        return {"status": "forgotten", "text": answer.text}

    @endpoint("GET", "/conversations/{id}/export", media=("text/markdown",), refuses=(404,))
    async def export(self, request: Request) -> Response:
        """Export a conversation as a Markdown file with the title that `list_all` gives it."""
        key = self._find_address(request).conversation
        entries = await self.conversations.journal.list_entries(key)
        # The list has the title. It leaves out conversations of a single request over `/v1`.
        listed = {
            conversation.conversation: conversation
            for conversation in await self._list_own(request)
        }
        if not entries or key not in listed:
            raise NotFound(what="conversation")
        title = conversation_title(listed[key])
        parts = [f"# {title}"]
        for record in entries:
            at = format_moment(datetime.fromtimestamp(record.created_at, UTC))
            author = record.message.author.name or say("You")
            # An open code block would take in the headings that follow.
            paragraphs = [f"## {author} · {at} UTC", _close_code_block(record.message.text)]
            paragraphs += [f"- {attached.name}" for attached in record.message.attachments]
            if record.answer is not None:
                paragraphs += ["## Ponte", _close_code_block(record.answer.text)]
                paragraphs += [
                    f"- {card.id}: {card.title} ({say(CARD_STATES.get(card.state, card.state))})"
                    for card in record.answer.cards
                ]
                paragraphs += [f"- {file.name}" for file in record.answer.files]
            parts.append("\n\n".join(["", *filter(None, paragraphs)]))
        text = "\n".join(parts)
        headers = {
            "Content-Type": "text/markdown; charset=utf-8",
            "Content-Disposition": http_io.format_disposition("attachment", f"{title}.md"),
            "Cache-Control": "no-store",
        }
        # Half of a surrogate pair, which UTF-8 cannot encode, becomes "?".
        return Response(f"{text}\n".encode(errors="replace"), headers=headers)

    @endpoint("GET", "/conversations/{id}", query=http_io.HTML_QUERY, refuses=(404,))
    async def show(self, request: Request) -> answers.Transcript:
        """Messages and cards so far, oldest first. `events` continues from `cursor`."""
        # The thread is read before its entries: if it is replaced in between, the tab's cursor
        # names the old one, and the stream of events tells the tab to read everything again.
        address = self._find_address(request)
        key = address.conversation
        thread = await self.conversations.journal.find_thread_id(key)
        entries = await self.conversations.journal.list_entries(key)
        # The cards as they are now. A stored answer has them as they were when it was given.
        changed = {card.id: card for card in await self.board.changes(key)}
        answers_by_turn = {
            record.turn: record.answer for record in entries if record.answer is not None
        }
        rendered: dict[str, str] = {}
        if http_io.wants_html(request):  # a long conversation takes seconds
            rendered = await asyncio.to_thread(
                lambda: {
                    turn: to_html(record.text, record.placed)
                    for turn, record in answers_by_turn.items()
                }
            )
        # The reader's own votes, by turn.
        votes: Mapping[str, str] = {}
        if any(answer.is_rateable for answer in answers_by_turn.values()):
            person = visitor_of(request).person
            votes = await self.conversations.votes.list_own(person.key, key)
        messages: list[Json] = []
        for record in entries:
            messages.append(
                stream.message_json(record.message, record.seq, record.created_at, record.state)
            )
            if record.answer is not None:
                answer, html = (
                    stream.replace_cards(record.answer, changed),
                    rendered.get(record.turn),
                )
                # The fields of an answer are those of the event `done`, but `response` is `text`
                # here, and the conversation is named once for all messages.
                body: Json = dict(stream.answer_json(answer, address.channel, record.turn, html))
                body["text"] = body.pop("response")
                del body["conversation"]
                if record.turn in votes:
                    body["vote"] = votes[record.turn]
                answer_fields = {"role": "assistant", "seq": record.seq}
                messages.append(answer_fields | {"at": record.created_at} | body)
        # A card can be in several answers; the page draws it once, as it is now.
        cards = {card["id"]: card for message in messages for card in message.get("cards", [])}
        cards |= {id: stream.card_json(card) for id, card in changed.items()}
        return {
            "conversation": address.channel,
            "messages": messages,
            "cards": list(cards.values()),
            "cursor": str(ReadCursor.after(entries, thread)),
        }

    @endpoint(
        "GET",
        "/conversations/{id}/events",
        media=(http_io.EVENT_STREAM_TYPE,),
        refuses=(404, 429, 503),
        query={"after": "a cursor; default: now", **http_io.HTML_QUERY},
        headers={"Last-Event-ID": "a cursor; default: now"},
    )
    async def events(self, request: Request) -> Response:
        """Stream the events of the conversation after `Last-Event-ID`. Browsers that cannot send
        that header use `?after=`."""
        last = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
        id = str(request.path_params["id"])
        # `pop_all` hands what was opened over to the response, which closes it at its end.
        with ExitStack() as stack:
            events = self._follow(request, id, last, stack)
            return http_io.EventStream(events, stack.pop_all())

    @endpoint(
        "GET",
        "/events",
        media=(http_io.EVENT_STREAM_TYPE,),
        refuses=(404, 429, 503),
        query={
            "follow": "a conversation, a colon and a cursor (default: now); can be repeated",
            **http_io.HTML_QUERY,
        },
    )
    async def events_of_several(self, request: Request) -> Response:
        """Stream the events of several conversations. The name of an event begins with the number
        of its `follow`, as in `0.delta`."""
        # If one stream cannot be opened, `stack` closes the others. Else the response closes all.
        with ExitStack() as stack:
            streams = []
            for followed in request.query_params.getlist("follow"):
                id, _, cursor = followed.partition(":")
                streams.append(self._follow(request, id, cursor, stack))
            return http_io.EventStream(stream.merge_streams(streams), stack.pop_all())

    @endpoint("GET", "/approvals", refuses=(503,))
    async def approvals(self, request: Request) -> answers.RequestList:
        """The oldest requests that wait for the reader's decision, from every platform, and how
        many `more` wait. `conversation` is set if the request was made in a conversation that the
        reader can open. `POST /cards/{id}` decides on a card."""
        person = visitor_of(request).person
        approvals = list[answers.WaitingCard]()
        requests = await self.hub.requests.list_requests(person)
        listed = zip(requests.changes, requests.cards, requests.askers, strict=False)
        for change, card, asker in listed:
            address = change.proposal.address
            approval: answers.WaitingCard = {
                **stream.card_json(card),
                "platform": address.platform,
                "table": change.draft.title,
                "asker": asker,
                "asked_at": change.proposal.created_at,
            }
            if self.visitors.owns(person, address.conversation):
                approval["conversation"] = address.channel
            approvals.append(approval)
        return {"approvals": approvals, "more": len(requests.changes) - len(approvals)}

    @endpoint("GET", "/files/{id}", media=(BYTES_TYPE,), refuses=(404,))
    async def file(self, request: Request) -> Response:
        """Return the bytes of a file."""
        id = str(request.path_params["id"])
        if not http_io.ID_PATTERN.fullmatch(id):
            raise NotFound(what="file")
        # A file of another person is answered as an unknown one. Files of Slack and Discord are in
        # no conversation of the reader's.
        conversation = await self.conversations.files.conversation_of(id)
        if not self.visitors.owns(visitor_of(request).person, conversation):
            raise NotFound(what="file")
        # The bytes of a file never change, so its id is the tag of its content. A browser that has
        # them asks each time all the same (`no-cache`), because the reader may have lost access.
        tag = f'"{id}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        file, data = await self.conversations.files.get(id)
        if file.type == PLAN_TYPE:
            raise NotFound(what="file")
        # Only pictures are shown in place. Anything else could run scripts on this site, so it is a
        # download of unknown type, and a sandbox keeps a browser that opens it from running them.
        is_picture = file.type in http_io.INLINE_IMAGE_TYPES
        how = "inline" if is_picture else "attachment"
        headers |= {
            "Content-Type": file.type if is_picture else BYTES_TYPE,
            "Content-Disposition": http_io.format_disposition(how, file.name),
            "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        }
        return Response(data, headers=headers)

    async def _list_own(self, request: Request) -> Sequence[ConversationSummary]:
        person = self.visitors.address_person(visitor_of(request).person)
        return await self.conversations.journal.list_conversations(
            self.visitors.auth.platform, person
        )

    def _follow(
        self, request: Request, id: str, cursor: str, stack: ExitStack
    ) -> AsyncIterator[bytes]:
        """Return the stream of a conversation's events after `cursor`, the position up to which the
        client has read. What the stream holds is closed with `stack`."""
        address, visitor = self._find_address(request, id), visitor_of(request)
        if request.method == "HEAD":  # only the headers are wanted, so nothing is followed
            return stream.merge_streams([])
        events = ConversationEvents(
            self.hub, address, ReadCursor.parse(cursor), http_io.wants_html(request), visitor.person
        )
        follower = stack.enter_context(self.hub.follow(address.conversation, visitor))
        return stream.stream_events(follower, events)

    def _find_address(self, request: Request, id: str | None = None) -> Address:
        id = str(request.path_params["id"]) if id is None else id
        if not http_io.ID_PATTERN.fullmatch(id):
            raise NotFound(what="conversation")
        return self.visitors.address_of(visitor_of(request).person, id)


@dataclass(frozen=True)
class PageRoutes(RouteGroup):
    """The routes of the page itself, and of what it shows before the first message."""

    visitors: Visitors
    board: StatusBoard

    @endpoint("GET", "/", media=("text/html",), is_static=True)
    async def page(self, request: Request) -> Response:
        """The page."""
        return self._serve_file(request, "index.html")

    def serve_sign_in(self, request: Request, sentence: str) -> Response:
        """The response is not cached, because its address has the values of one sign-in."""
        place = b'<p id="trouble" role="alert" hidden>'
        page = self._files[1]["index.html"]  # the second item has the files by name
        body = page.replace(place, place + escape(sentence).encode())
        return HTMLResponse(body, headers={"Content-Security-Policy": PAGE_SECURITY_POLICY})

    @endpoint(
        "GET",
        "/guide",
        media=("text/html",),
        query={
            "locale": ", ".join(LOCALES),
            "page": "privacy",
            "conversation": "where to go back to",
        },
    )
    async def guide(self, request: Request) -> Response:
        """The guide for people who chat, in the locale asked for or the browser's, or Ponte's
        document about privacy. It needs no token."""
        is_privacy = request.query_params.get("page") == "privacy"
        # The document about privacy exists in English only.
        locale = "en" if is_privacy else request.query_params.get("locale", "")
        # "" keeps the browser's language.
        with use_locale(locale if locale in LOCALES else ""):
            name = "privacy" if is_privacy else LANGUAGE.get()
            text = (PAGE_FOLDER / f"guide.{name}.md").read_text("utf-8")
            # Links between the documents become those of this route.
            text = text.replace("](../explanation/privacy.md)", "](/guide?page=privacy)")
            text = re.sub(rf"\]\(({'|'.join(LOCALES)})\.md\)", r"](/guide?locale=\1)", text)
            text = re.sub(r"!\[.*\)\n\n", "", text)  # pictures are not served here
            text = re.sub(r"\[([^]]+)\]\((?!/guide)\S+\)", r"\1", text)  # pages not served here
            id = request.query_params.get("conversation")  # "": the last one used
            if id == "" or (id and http_io.ID_PATTERN.fullmatch(id)):
                text = text.replace("](/guide?", f"](/guide?conversation={id}&")
                text = f"[{say('Back to the conversation')}](/#{id})\n\n{text}"
            page = plain_page("guide", document_to_html(text))
        return HTMLResponse(page, headers={"Content-Security-Policy": http_io.HTML_SECURITY_POLICY})

    @endpoint("GET", "/page/words.json", query={"locale": ", ".join(LOCALES)}, is_static=True)
    async def words(self, request: Request) -> answers.PageWords:
        """The page's sentences by key, in the locale that the browser asks for."""
        locale = request.query_params.get("locale", "")
        with use_locale(locale if locale in LOCALES else ""):
            sentences = {key: say(sentence) for key, sentence in PAGE_SENTENCES.items()}
            return {"locale": LANGUAGE.get(), "words": sentences}

    @endpoint("GET", "/page/{name}", media=(BYTES_TYPE,), refuses=(404,), is_static=True)
    @endpoint("GET", "/page/{version}/{name}", media=(BYTES_TYPE,), refuses=(404,), is_static=True)
    async def asset(self, request: Request) -> Response:
        """A script, style or picture of the page. Browsers keep one with the present `version`."""
        return self._serve_file(request, str(request.path_params["name"]))

    @endpoint("GET", "/welcome")
    async def welcome(self, request: Request) -> answers.Welcome:
        """Return suggestions for the first message, in the visitor's language.

        The state of the parts is included for the owner and admins only.
        """
        visitor, gate = visitor_of(request), self.visitors.setup
        person, connect = visitor.person, list[str]()
        # The page's default conversation: what a person may do depends on the place.
        here = self.visitors.address_of(person, "main")
        start = await find_starting_points(self.board, self.visitors.policy, person, here)
        parts = start.parts if await self.visitors.is_operator(person) else ()
        # Only a visitor who may use the setup page is offered to connect something. Without a
        # gate, nobody may use it.
        if gate and not gate.why_closed(http_io.read_visit(request.scope), visitor):
            connect = [
                part.name
                for part in start.parts
                if part.name in SETUP_CARDS
                and (part.state == "off" or (start.is_demo and part.name == "model"))
            ]
        return {
            "suggestions": [
                {"kind": suggestion.kind, "text": suggestion.text}
                for suggestion in start.suggestions
            ],
            "sample": start.is_sample,
            "tables": list(start.tables[:MAX_WELCOME_TABLES]),
            "parts": [{"name": p.name, "state": p.state, "words": p.words} for p in parts],
            "demo": start.is_demo,
            "connect": connect,
        }

    def _serve_file(self, request: Request, name: str) -> Response:
        """Under an address with the files' version it never changes, so browsers keep it for a
        year; else they ask each time."""
        version, files = self._files
        if name not in files:
            raise UnknownPath
        tag, is_kept = f'"{version}"', request.path_params.get("version") == version
        headers = {
            "Content-Type": PAGE_MEDIA_TYPES[Path(name).suffix],
            "ETag": tag,
            "Cache-Control": "public, max-age=31536000, immutable" if is_kept else "no-cache",
            "Content-Security-Policy": PAGE_SECURITY_POLICY,
        }
        if name == SERVICE_WORKER_FILE:
            headers["Service-Worker-Allowed"] = "/"  # else it serves /page/ alone
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(files[name], headers=headers)

    @cached_property
    def _files(self) -> tuple[str, dict[str, bytes]]:
        # About 250 kB in all. The page loads files of its own version.
        paths = sorted(PAGE_FOLDER.iterdir())
        files = {path.name: path.read_bytes() for path in paths if path.suffix in PAGE_MEDIA_TYPES}
        version = hashlib.sha256(b"".join(files.values())).hexdigest()[:16]
        page = files["index.html"].replace(b'"/page/', f'"/page/{version}/'.encode())
        return version, files | {"index.html": page}


@dataclass(frozen=True)
class SessionRoutes(RouteGroup):
    """The HTTP routes for the visitor's sign-in, permissions and notices."""

    visitors: Visitors
    notices: PersonNoticeService

    @endpoint("POST", "/login", refuses=(413, 429))
    async def login(self, request: Request, body: LoginRequest) -> answers.StatusAnswer | Response:
        """Sign in with a token: sets the session's cookie. Raises WrongToken, TooManyTries,
        TooLarge."""
        session = await self.visitors.auth.sign_in(body.token, http_io.read_visit(request.scope))
        return self._with_session({"status": "signed in"}, session, SESSION_SECONDS)

    @endpoint("POST", "/logout")
    async def logout(self, request: Request) -> answers.StatusAnswer | Response:
        """End the session and delete its cookie. Raises NotStored."""
        await self.visitors.auth.sign_out(http_io.read_visit(request.scope))
        return self._with_session({"status": "signed out"}, "", 0)

    @endpoint("DELETE", "/me/sessions", refuses=(503,))
    async def sign_out_everywhere(self, request: Request) -> answers.StatusAnswer | Response:
        """End all sessions of a person who signed in with Slack or their company's account. Raises
        NotAllowed, NotStored."""
        await self.visitors.auth.sign_out_everywhere(visitor_of(request))
        return self._with_session({"status": "signed out"}, "", 0)

    @endpoint("GET", "/me")
    async def me(self, request: Request) -> answers.Me:
        """Return the visitor's key (as in ponte.toml and `ponte usage`), name and permissions.

        `operates` is true for the owner and admins, who see the state of all parts and everybody's
        usage. `models` are those that the visitor can name in `POST /chat`. `voice`: the words of
        recordings are answered. `notices` are sentences
        that the visitor has not closed yet, such as that the owner replaced their sign-in link.
        `provider` is the one that they signed in with, "" for a token.
        """
        visitor = visitor_of(request)
        person, owner = visitor.person, visitor.person.id == OWNER_ID
        # Without the database, the page opens without notices.
        notices: Sequence[PersonNotice] = ()
        with suppress(NotStored):
            notices = await self.notices.list_waiting(person)
        return {
            "person": person.key,
            "name": person.label,
            "provider": visitor.provider,
            "owner": owner,
            "operates": await self.visitors.is_operator(person),
            "voice": self.visitors.voice,
            "models": list(await self.visitors.list_models(person)),
            "notices": [
                {"id": notice.id, "text": notice.words(), "at": notice.created_at}
                for notice in notices
            ],
        }

    @endpoint("DELETE", "/me/notices/{id}", refuses=(404, 503))
    async def dismiss(self, request: Request) -> answers.StatusAnswer:
        """Close a notice for good. Raises NotFound, NotStored."""
        person, id = visitor_of(request).person, str(request.path_params["id"])
        if not await self.notices.dismiss(person, id):
            raise NotFound(what="notice")
        return {"status": "dismissed"}

    def _with_session(self, body: answers.StatusAnswer, session: str, age: int) -> Response:
        response = JSONResponse(body)
        http_io.set_session(response, self.visitors.auth, session, age)
        return response


def conversation_title(conversation: ConversationSummary) -> str:
    """Return the title of a conversation, else the first words of its first message without
    Markdown, else the name of that message's first file."""
    files = conversation.first.attachments
    return (
        conversation.title
        or first_words(conversation.first.text)
        or shorten_title(files[0].name if files else "")
    )


def _close_code_block(text: str) -> str:
    fence: Fence | None = None
    for line in text.split("\n"):
        fence = fence_after_line(line, fence, len(line))
    return f"{text}\n{fence.closing}" if fence else text


class ApiTokenRequest(RequestBody):
    """The body of `POST /me/tokens`. `days` is how long the token is valid; 0 means without end.
    `kind` is what it opens: `/v1` or `/mcp`."""

    name: str = Field("", max_length=1000)
    days: int = Field(0, ge=0, le=3660)
    kind: Literal["api", "mcp"] = "api"


@dataclass(frozen=True)
class AccountRoutes(RouteGroup):
    """The owner's name and the visitor's own API tokens. An API token itself opens none of these
    routes."""

    accounts: PageAccounts
    owner: OwnerName

    @endpoint("PATCH", "/me", refuses=(503,))
    async def rename(self, request: Request, body: OwnerNameRequest) -> answers.StatusAnswer:
        """Change the owner's name. "" returns to the system user's name. Raises
        NotAllowed, NotStored."""
        if visitor_of(request).person.id != OWNER_ID:
            raise NotAllowed("Only Ponte's owner can change that name.")
        await self.owner.change(body.name)
        return {"status": "renamed", "text": self.owner.current}

    @endpoint("GET", "/me/tokens")
    async def list_all(self, request: Request) -> answers.ApiTokenList:
        """List the visitor's API tokens, the oldest first."""
        tokens = await self.accounts.list_api_tokens(visitor_of(request).person.key)
        return {"tokens": [_token_json(token) for token in tokens]}

    @endpoint("POST", "/me/tokens", status=201, refuses=(503,))
    async def create(self, request: Request, body: ApiTokenRequest) -> answers.ApiTokenEntry:
        """Create an API token. Only this answer contains its text."""
        key = visitor_of(request).person.key
        token, text = await self.accounts.create_api_token(
            key, body.name, body.days, kind=body.kind
        )
        return {**_token_json(token), "token": text}

    @endpoint("DELETE", "/me/tokens/{id}", refuses=(404, 503))
    async def revoke(self, request: Request) -> answers.StatusAnswer:
        """Revoke one of the visitor's API tokens. Raise NotFound, also for another person's."""
        key = visitor_of(request).person.key
        await self.accounts.revoke_api_token(str(request.path_params["id"]), key)
        return {"status": "revoked"}


def _token_json(token: ApiToken) -> answers.ApiTokenEntry:
    """Return what people may see of a token. Times are in seconds since the epoch; `expires` is 0
    for never."""
    is_expired = token.is_expired(datetime.now(UTC).timestamp())
    return {
        "id": token.id,
        "kind": token.kind,
        "name": token.name,
        "added": token.added_at,
        "expires": token.expires_at,
        "seen": token.last_use,
        "expired": is_expired,
    }
