"""Requests for changes that programs send over MCP: how each becomes a message with a turn of its
own, and where its card is posted.

The program's call makes the draft, and the turn stores it as a proposal, without a model. A request
is therefore durable before it is answered, and all else is as for other proposals.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from core.base.errors import Forgotten, OverBudget, PonteError, ToolError, TooManyDeliveries
from core.base.i18n import say
from core.base.text import compose_letters
from core.changes.cards import describe_proposals
from core.changes.service import ChangeService
from core.chat.destinations import Destinations
from core.chat.people import People
from core.domain.changes import Change, Draft
from core.domain.messages import (
    Address,
    Answer,
    Message,
    MessageOrigin,
    Person,
    Progress,
    ReplyTo,
    decode_json,
    encode_json,
    turn_id,
)
from core.domain.ports import Inbox
from core.domain.records import ToolCall, Turn
from core.domain.rights import PlaceRights
from core.integrations import OperatorConfig
from core.observability import metrics
from core.people.audit import audit_step
from core.turn.context import ToolContexts
from core.turn.origins import Origin, RunSkipped

log = structlog.get_logger("mcp")
MCP_ORIGIN = "mcp"
"""The name of the origin of these messages, and of the conversation that shows them on the page."""
MAX_MCP_PROPOSALS_PER_MINUTE = 30
MAX_CLIENT_CHARACTERS = 40
PROPOSAL_SECONDS = 10.0
"""How long a call waits for its card. Clients give up after a minute, some after less."""
MAX_SEARCHED_CHANGES, MAX_SEARCHED_FOR_REPEAT = 100, 1000
"""The newest changes of a person among which an earlier request with the same arguments is found;
and if its message is known already."""
_NO_NAME = re.compile(r"(?:[^\w ()+-]|_)+")


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a tool over MCP: the person whose token the request has (marked as a program),
    the address of their own conversation on the page, and the name that the program gives
    itself."""

    person: Person
    own_address: Address
    client: str

    @property
    def token(self) -> str:
        return self.person.api_token


def clean_client_name(name: str) -> str:
    """Return the name that a program gives itself, cut and without anything that a platform could
    take for markup, a link or a mention."""
    clean_name = " ".join(_NO_NAME.sub(" ", compose_letters(name[:1000])).split())
    return clean_name[:MAX_CLIENT_CHARACTERS].strip()


def refuse(code: str, why: str, hint: str = "") -> ToolError:
    """A person reads it only if the program shows it."""
    return ToolError("{why}", code=code, hint=hint, why=why)


@dataclass(slots=True)
class ChangeRequests:
    """Stores the changes that programs request over MCP, and finds them again. Each becomes a
    message in the inbox, whose turn makes the proposal; so a crash loses no request."""

    inbox: Inbox
    changes: ChangeService
    destinations: Destinations
    config: OperatorConfig

    async def find_destination(self, caller: Caller, turn: str = "") -> ReplyTo:
        """Return where the card is posted: where the operator says (`post_to` of ponte.toml), else
        in the asker's direct message or on the page. Raise ToolError if it cannot be posted there.

        `turn` is the turn that will post it; without one, only the place is of interest.
        """
        person, post_to = caller.person, self.config.section("mcp_server").post_to
        # A person with an account of the page has no direct message.
        if not post_to and person.platform not in self.destinations.messengers:
            return ReplyTo(caller.own_address, person, source="", turn=turn)  # answers no message
        try:
            place = post_to or f"{person.platform}:{person.id}"
            return await self.destinations.find(place, person, turn, MCP_ORIGIN)
        except PonteError as error:
            log.warning("no place for the card of a request", reason=str(error))
            why = "the card cannot be posted now, so nothing was proposed"
            raise refuse("no_place", why, "tell the person; `ponte doctor` says more") from error

    async def find_latest(self, caller: Caller, digest: str) -> Change | None:
        # `digest` is the hash of a request's content.
        changes = await self.changes.ledger.list_of_person(caller.person.key, MAX_SEARCHED_CHANGES)
        same = (
            change for change in changes if change.proposal.origin.id == f"{caller.token}:{digest}"
        )
        return next(same, None)

    async def propose(self, caller: Caller, digest: str, tool: str, draft: Draft) -> Change | None:
        """Store a request and return its proposal; None if an allowance is used up or the request
        was withdrawn. `digest` is the hash of what the `draft` would write. Raise ToolError.

        The inbox stores a message of each key once. So two calls with the same arguments at the
        same moment have the same key, and make one proposal.
        """
        latest = await self.find_latest(caller, digest)
        if latest and latest.state == "open":  # another call has just stored it
            return latest
        # The key names the latest decided request, so that a new one can follow it.
        key = f"mcp:{caller.token}:{digest}:{latest.id if latest else ''}"
        change = await self._store(caller, key, digest, tool, draft)
        # The message of this key was stored before, and its turn failed, or its change was decided
        # just now. So the request needs another key. It has the minute in it, and so is equal for
        # clients that repeat at once.
        if change is None or change.state != "open":
            key = f"{key}.{time.time() // 60:.0f}"
            change = await self._store(caller, key, digest, tool, draft)
        return change

    async def _store(
        self, caller: Caller, key: str, digest: str, tool: str, draft: Draft
    ) -> Change | None:
        """Store the message of a request under `key`, wait for its turn, and return its proposal;
        None if it ended without one. Raise ToolError, also if the turn takes longer than
        PROPOSAL_SECONDS.

        The message carries the draft in its origin, from which the turn makes the proposal.
        `digest` is the hash of its content, by which an equal request finds it.
        """
        to = await self.find_destination(caller, turn_id(key))
        origin = MessageOrigin(
            MCP_ORIGIN,
            f"{caller.token}:{digest}",
            may_be_command=False,
            is_authored=False,
            reads_history=False,
            is_attended=False,
            per_minute=MAX_MCP_PROPOSALS_PER_MINUTE,
            client=caller.client,
            data={"tool": tool, "draft": encode_json(draft)},
        )
        text = say("Request from {client}", client=caller.client)
        message = Message(key, text, caller.person, to.address, to, origin=origin)
        line = audit_step("mcp-request", caller.person, to.address, turn=message.turn, tool=tool)
        try:
            receipt = await self.inbox.accept(message, line)
        except TooManyDeliveries:
            metrics.limits.labels("mcp").inc()
            why = f"{MAX_MCP_PROPOSALS_PER_MINUTE} requests a minute are the limit for one person"
            raise refuse("too_many", why, "wait a minute") from None
        is_late = False
        try:
            # Forgotten: the conversation was erased meanwhile; a proposal of it may remain.
            async with asyncio.timeout(PROPOSAL_SECONDS):
                with suppress(Forgotten):
                    await self.inbox.wait_for_answer(receipt.seq)
        except TimeoutError:
            is_late = True
        # The proposal has the number (`seq`) of its message. A message that was stored before can
        # belong to an older change.
        count = MAX_SEARCHED_CHANGES if receipt.is_new else MAX_SEARCHED_FOR_REPEAT
        changes = await self.changes.ledger.list_of_person(caller.person.key, count)
        change = next(
            (candidate for candidate in changes if candidate.proposal.seq == receipt.seq), None
        )
        if change is None and is_late:
            hint = "make the same call again later: it returns this request"
            raise refuse("not_ready", "the request is stored, and its card is not ready yet", hint)
        return change


@dataclass(frozen=True, slots=True)
class McpOrigin(Origin):
    """The origin of requests that programs send over MCP. The turn stores the draft that the
    program's call has made as a proposal. No model is asked."""

    people: People
    changes: ChangeService
    contexts: ToolContexts
    has_profile = False

    async def check_start(self, turn: Turn) -> str:
        """Raise RunSkipped if an allowance is used up. Return "": no earlier proposal has to be
        decided before the turn."""
        if turn.answer is None:
            try:
                await self.people.budget.reserve(turn)
            except OverBudget as error:
                self.people.note_refused_turn(turn.message, error)
                metrics.limits.labels(error.limit).inc()
                raise RunSkipped("allowance") from None
        return ""

    async def make_answer(
        self, turn: Turn, show: Callable[[Progress], Awaitable[None]], rights: PlaceRights
    ) -> Answer:
        """A turn that runs again finds its first proposal."""
        data = turn.message.origin.data
        call = ToolCall(MCP_ORIGIN, data["tool"], "{}", "write")
        ctx = await self.contexts.make_command_context(turn, call, show, rights)
        outcome = await self.changes.proposals.propose(ctx, decode_json(Draft, data["draft"]))
        change = await self.changes.ledger.get(outcome.proposal)
        card = await self.changes.views.card(change)
        return Answer("", cards=(card,), card_sentence=describe_proposals(1))
