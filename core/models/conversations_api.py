"""Level 1: Conversations and Responses. The server stores the history; Ponte's transcript decides.

If a conversation lacks the end of the transcript, Ponte sends the missing items. If it holds calls
without outputs, they are answered as interrupted. If it holds anything else that the transcript
lacks, Ponte abandons it and creates a new one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from core.base.errors import PonteError
from core.base.model_faults import ModelServerFault
from core.base.openai import Json, read_id, read_object
from core.base.tasks import Backoff, cancel_all
from core.domain.messages import Item
from core.domain.model_rounds import (
    ModelEvent,
    RemoteStored,
    ResponseStarted,
    RoundRequest,
    TextWithdrawn,
)
from core.domain.records import Remote
from core.models.answer_reader import ModelAnswer
from core.models.model_input import (
    TOOL_FILES_NOTE,
    estimate_max_tokens,
    find_turn_starts,
    interrupted_outputs,
    pair_calls,
    user_text,
)
from core.models.model_server import (
    COMPACT_TOKENS,
    NO_CONVERSATIONS,
    ModelServer,
    NoEndpoint,
    has_unpaired_call,
    is_conversation_gone,
    is_locked,
    read_events,
    refuses_conversations,
)
from core.models.own_history import (
    END_EVENTS,
    MAX_OUTPUT_FIELD,
    RESPONSES_PATH,
    START_EVENTS,
    ResponsesReader,
    RoundHistory,
    build_response_body,
    has_other_speakers,
    read_response,
)
from core.models.thoughts import remove_thoughts

log = structlog.get_logger("model")
LOCK_BACKOFF = Backoff(1.0)
CONVERSATION_LOCK_SECONDS = 15.0
RESPONSE_BACKOFF = Backoff(0.5, max_seconds=5.0)
SPARE_DELAY_SECONDS = 0.05
OnResponseId = Callable[[str], Awaitable[None]]

MAX_ITEMS_PER_CALL = 20
"""Items that one call may add (conversations.items.create in the openai package)."""
TAIL_ITEMS = 100
"""Items that are read from a conversation's end: the largest page that the server allows."""
UNFINISHED_STATUSES = ("in_progress", "queued")
MAX_WAITING_EVENTS = 16
"""Beyond that the stream is not read further."""
MAX_RECOVERIES = 10
MAX_GONE_CONVERSATIONS = 3
"""Conversations of one round that the server may not know, among them spare ones."""
UNKNOWN_POSITION = -1
"""`Thread.remote_upto` of a conversation whose end must be read before its next use."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The difference between a conversation on the server and the transcript. `missing_items` must
    still be sent. If `answer_items` is set instead, the conversation already holds the answer."""

    missing_items: tuple[Item, ...] = ()
    answer_items: tuple[Item, ...] = ()


async def add_items(server: ModelServer, conversation: str, items: Sequence[Item]) -> None:
    """A batch ends with the output of a call rather than between both. Raise ModelServerFault."""
    rest = await server.input.build_items(items)
    # Each batch ends where no call lacks its output, if there is such a place within 20 items.
    while rest:
        end = min(MAX_ITEMS_PER_CALL, len(rest))
        cut = next((at for at in range(end, 0, -1) if _has_all_outputs(rest[:at])), end)
        await server.client.post(f"/conversations/{conversation}/items", {"items": rest[:cut]})
        rest = rest[cut:]


async def fetch_response(server: ModelServer, id: str, wait_seconds: float) -> Json | None:
    """Raise ModelServerFault.

    A response that is still running is waited for, up to `wait_seconds`; after that the result is
    None. So it is if the server no longer has it.
    """
    waited = 0.0
    pauses = iter(RESPONSE_BACKOFF)  # without end: `wait_seconds` ends the loop
    while True:
        try:
            response = await server.client.get(f"/responses/{id}")
        except ModelServerFault as fault:
            # Some servers have no such route, or have deleted the response.
            if fault.status in (400, 404, 405, 501):
                return None
            raise
        if response.get("status") not in UNFINISHED_STATUSES:
            return response
        if waited >= wait_seconds:
            return None
        pause = next(pauses)
        await server.client.sleep(pause)
        waited += pause


def reconcile(
    transcript: Sequence[Item], tail: Sequence[Json], *, was_asked: bool, is_complete: bool
) -> Reconciliation | None:
    """Compare a conversation on the server with the transcript and return what it lacks, or None to
    create a new one.

    `tail` holds the conversation's newest items, oldest first; `is_complete`: it has no others.
    `was_asked`: this question was sent before, so items after it may be its answer. Both are cut
    into a part that they have in common, and the items that each has after it.
    """
    # The items that can be compared: no encrypted reasoning, and no answers without text.
    own_items = [
        item
        for item in transcript
        if item.kind != "opaque" and (item.text or item.call_id or item.role == "user")
    ]
    server_items = [item for item in tail if _is_transcript_item(item)]
    # `end`: how many of the server's items belong to the common part; the longest is tried first,
    # so that as little as possible is sent again. `upto`: where it ends in the transcript; there
    # may be several such places. The first pair is taken after which the rest can be mended.
    for end in range(len(server_items), -1, -1):
        for upto in _find_overlaps(own_items, server_items[:end], is_complete):
            plan = _reconcile_rest(own_items[upto:], server_items[end:], was_asked)
            if plan is not None:
                return plan
    return None


class BackgroundStream:
    """A stream that a task of its own reads to its end.

    If a stream is closed after a call was streamed, the conversation can lack that response
    (openai-python issue 3561). So a caller that stops listening does not close the stream.
    """

    def __init__(
        self, source: AsyncIterator[Json], silence: float, grace: float, late: OnResponseId
    ) -> None:
        self._source = source
        # Seconds without a byte that end the stream, and seconds for which it is read on after its
        # listener has left.
        self._silence = silence
        self._grace = grace
        # Gets the response's id if nobody listened when it came, to erase it later.
        self._on_late_id = late
        self._events: asyncio.Queue[Json | Exception | None] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._is_abandoned = False
        self._unreported_id = ""
        """The response's id, until a listener or `late` has got it."""
        self.has_ended = False
        self.task = asyncio.create_task(self._read())

    async def events(self) -> AsyncGenerator[Json, None]:
        """`_read` puts the end of the stream into the queue as None, or as an error. A listener who
        has got the response's id records it, so it need not be reported."""
        while (event := await self._events.get()) is not None:
            self._has_room.set()
            if isinstance(event, Exception):
                raise event
            if not event.get("type") or event["type"] in START_EVENTS:
                self._unreported_id = ""
            yield event

    def stop_listening(self) -> None:
        """The caller has left. The stream is read on for at most `grace` seconds, so that the
        server completes the answer."""
        self._is_abandoned = True
        self._has_room.set()
        while not self._events.empty():
            self._events.get_nowait()
        asyncio.get_running_loop().call_later(self._grace, self.task.cancel)

    async def report_late_id(self) -> None:
        """The response must be found again to be erased."""
        if self._is_abandoned and self._unreported_id:
            response, self._unreported_id = self._unreported_id, ""
            await self._on_late_id(response)

    async def _read(self) -> None:
        """Read the stream to its end, whether or not anybody still listens.

        While nobody takes events, reading pauses after MAX_WAITING_EVENTS, so that memory is
        bounded. The response's id is reported (`report_late_id`) if the listener has left without
        it. At the end, the queue gets None, or the error that broke the stream.
        """
        end: Exception | None = None
        named = False
        try:
            async for event in read_events(self._source, self._silence):
                kind = event.get("type")
                self.has_ended = self.has_ended or kind in END_EVENTS
                if not self._is_abandoned:
                    self._events.put_nowait(event)
                # An answer that is not streamed is one object without a type.
                if (not kind or kind in START_EVENTS) and not named:
                    named = True
                    self._unreported_id = read_id(read_object(event.get("response")) or event)
                    await self.report_late_id()
                while self._events.qsize() >= MAX_WAITING_EVENTS and not self._is_abandoned:
                    self._has_room.clear()
                    await self._has_room.wait()
        except Exception as error:
            end = error
        finally:
            # Raised again by `events`, for a listener. Nobody else needs it.
            self.has_ended = True
            self._events.put_nowait(end)


class OpenStreams:
    """The answers that the model's server still streams to this process, by the conversation on the
    server to which they belong."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._open: dict[str, set[BackgroundStream]] = {}
        self.uncertain: set[str] = set()
        """Conversations whose content is unknown, because a stream was left early."""
        self._late_reports: set[asyncio.Task[None]] = set()

    def open(
        self, source: AsyncIterator[Json], conversation: str, silence: float, late: OnResponseId
    ) -> BackgroundStream:
        """The stream is removed from the open ones when its task ends. `silence`: seconds without a
        byte that end it; `late` gets the response's id if nobody listens any more."""
        stream = BackgroundStream(source, silence, self._grace, late)
        self._open.setdefault(conversation, set()).add(stream)
        stream.task.add_done_callback(lambda _: self._remove(stream, conversation))
        return stream

    def is_draining(self, conversation: str) -> bool:
        return any(not stream.has_ended for stream in self._open.get(conversation, ()))

    def stop_listening(self, stream: BackgroundStream, conversation: str) -> None:
        """Before the stream's end, the conversation's content counts as uncertain: the server may
        add the answer or not. The next round compares it with the transcript."""
        if stream.task.done():
            return
        stream.stop_listening()
        # The task can still run after the server's last event (`has_ended`). Before that event, the
        # response's id may not have reached the caller, who records it to erase the response later.
        if not stream.has_ended:
            self.uncertain.add(conversation)
            task = asyncio.create_task(stream.report_late_id())
            self._late_reports.add(task)
            task.add_done_callback(self._late_reports.discard)

    async def wait_until_closed(self, conversation: str) -> None:
        if tasks := {stream.task for stream in self._open.get(conversation, ())}:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """The ids of the streams' responses are journalled, so the next process finds them."""
        await cancel_all([s.task for streams in self._open.values() for s in streams])
        await asyncio.gather(*self._late_reports, return_exceptions=True)

    def _remove(self, stream: BackgroundStream, conversation: str) -> None:
        streams = self._open[conversation]
        streams.discard(stream)
        if not streams:
            del self._open[conversation]


class SpareConversations:
    """Empty conversations created ahead, so that a thread's first turn does not wait for one.

    Each is recorded without a thread before it is used, so that a crash leaves none behind. They
    are created only after one was needed. The next process erases those that are left over.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._conversation_ids: deque[str] = deque()
        self._refill_task: asyncio.Task[None] | None = None
        self._is_refill_due = False

    def take(self) -> str:
        self._is_refill_due = bool(self._server.options.spare_conversations)
        return self._conversation_ids.popleft() if self._conversation_ids else ""

    def refill(self) -> None:
        """Call this once an answer has begun, so that the answer does not wait."""
        if self._is_refill_due and (self._refill_task is None or self._refill_task.done()):
            self._is_refill_due = False
            self._refill_task = asyncio.create_task(self._create_spares())

    async def close(self) -> None:
        await cancel_all([self._refill_task])

    async def _create_spares(self) -> None:
        """A new thread then need not wait for one. Each is recorded for erasure before it is used.
        This waits first, so that it does not delay an answer."""
        await asyncio.sleep(SPARE_DELAY_SECONDS)
        try:
            while len(self._conversation_ids) < self._server.options.spare_conversations:
                id = str((await self._server.client.post("/conversations", {}))["id"])
                # "": it belongs to no thread yet.
                await self._server.record_object_to_erase("", Remote("conversation", id))
                self._conversation_ids.append(id)
        except (ModelServerFault, PonteError) as error:  # whoever needs one makes it then
            log.info("could not create a spare conversation", error=str(error))


class ConversationRound:
    """Decides where to ask, what to send, and how to recover from faults. `_step` is "trusting"
    (the conversation holds everything before this round), "looking" (unknown: read its end) or
    "anew" (create one from the transcript), and then "ready"."""

    def __init__(self, api: ConversationsApi, ask: RoundRequest) -> None:
        server, streams = api.server, api.streams
        self._server, self._streams, self._spares = server, streams, api.spares
        self._ask = ask
        self._thread = ask.thread
        # OpenAI would compact a longer history.
        self._history = RoundHistory(server, ask, COMPACT_TOKENS)
        remote = ask.thread.remote
        # The first step: the conversation on the server can be trusted, must be read first, or made
        # anew.
        self._step: Literal["trusting", "looking", "anew", "ready"] = "trusting"
        # `remote_upto` is the last turn that the conversation surely holds, `previous_seq` the last
        # one of the transcript before this one. Behind that, something is missing, or unknown.
        is_behind = ask.thread.remote_upto < ask.previous_seq
        # "anew": there is no conversation, or it holds what the server refuses (`omission`), or an
        # earlier answer is still being written into it.
        if not remote or self._history.omission or streams.is_draining(remote):
            self._step = "anew"
        # "looking": this round was asked before a crash (`response`), or what the conversation
        # holds is not known, as after a stream that was left early (`uncertain`).
        elif ask.response or is_behind or remote in streams.uncertain:
            self._step = "looking"
        self._items: Sequence[Item] = ask.input
        self._tries = Counter[str]()
        self._was_asked = bool(ask.response)
        """The server may have this round's question already, because an attempt was sent."""
        self._answer: ModelAnswer | None = None
        self._response_id = ask.response
        self._is_certain = True
        """The conversation on the server holds exactly what the transcript holds. After a broken
        stream that is not known, so the next round reads the conversation's end."""

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        """Raise ModelError.

        Each pass of the loop does what `_step` demands, then sends the request. After a fault,
        `_recover_or_raise` sets the next step, or finds the answer. `paying` reserves the cost of
        each request, and says how many tokens its answer may have (None: no limit).
        """
        paying = self._ask.payment
        body: Json = {}
        if self._ask.response:  # asked before a crash: the server may still have the answer
            await self._adopt_response(self._ask.response, self._server.options.drain_seconds)
        while self._answer is None:
            body = {}
            reader = ResponsesReader({tool.name: tool.parameters for tool in self._ask.tools})
            try:
                if self._step == "looking":
                    await self._compare_with_transcript()
                if self._step == "anew":
                    yield await self._create_conversation()
                    await self._add_transcript()
                # The comparison may have found the answer on the server.
                if self._answer is None:
                    body = await self._build_body()
                    # `_build_body` found outputs whose calls the server does not name: begin anew.
                    if self._step == "anew":
                        continue
                    if paying and (most := await paying(estimate_max_tokens(body))) is not None:
                        size = self._server.sizes.of(self._history.model)
                        # The part of the context that is kept free for the answer.
                        room = size.tokens - size.room
                        self._server.limit_output(body, MAX_OUTPUT_FIELD, min(most, room))
                    async with aclosing(self._stream_response(body, reader)) as events:
                        async for event in events:
                            yield event
                    self._answer, self._response_id = reader.read_answer(), reader.response
                    self._is_certain = reader.has_ended
            except ModelServerFault as fault:
                if paying and body and self._server.is_unpaid(fault, bool(reader.parts)):
                    paying.on_refused_request()
                await self._recover_or_raise(fault, body, reader)
                if self._answer is None and reader.has_shown:
                    yield TextWithdrawn()  # the next attempt streams the answer from its beginning
        self._history.on_answer()
        answer = self._answer
        # A turn whose tools still run is not complete in the conversation.
        upto = self._ask.previous_seq if answer.has_calls else self._ask.seq
        # Otherwise the next round must read the conversation's end before it sends anything.
        if self._is_certain and not answer.cut_reason:
            self._streams.uncertain.discard(self._thread.remote)
        else:
            upto = UNKNOWN_POSITION
        thread = replace(self._thread, remote_upto=upto)
        # Without encrypted reasoning: the conversation on the server has it.
        plain = tuple(item for item in answer.items if item.kind != "opaque")
        answer = replace(answer, items=plain)
        unseen = self._history.unseen_files
        yield self._server.complete_round(
            self._ask, body, self._response_id, answer, unseen, thread
        )

    async def _compare_with_transcript(self) -> None:
        """The server may have stored less or more than this process knows, because a stream broke
        or the process ended. If it holds the answer already, take it: asking again would pay twice.
        If its end does not fit the transcript, or holds nothing to continue from, a new
        conversation is created (the step "anew")."""
        path = f"/conversations/{self._thread.remote}/items"
        page = await self._server.client.get(path, {"limit": TAIL_ITEMS, "order": "desc"})
        items = list(reversed(page.get("data") or ()))
        # With the ids by which the server knows the calls, so that both can be compared. If it gave
        # none, `name_calls` makes one in the form that the server or the model uses.
        transcript = self._server.input.name_calls(await self._transcript(), self._history.model)
        # A plan of None: nothing in the transcript fits the conversation's end. `was_asked`: the
        # server may have this round's question already.
        is_complete = not page.get("has_more")
        plan = reconcile(transcript, items, was_asked=self._was_asked, is_complete=is_complete)
        if plan and plan.answer_items:
            # Perhaps not all of it (`_is_certain`), so the next round compares once more.
            self._answer, self._is_certain = ModelAnswer(plan.answer_items), False
        self._items = plan.missing_items if plan else ()
        self._step = "ready" if plan and (plan.missing_items or plan.answer_items) else "anew"
        log.info(
            "compared a remote conversation", next_step=self._step, missing_items=len(self._items)
        )

    async def _create_conversation(self) -> RemoteStored:
        """Use a new conversation from now on, a spare one if there is one, and return the event
        that records its id. It is created empty, so that an id that is lost in a crash leaves
        nothing of the thread behind. Until the round ends, what it holds counts as unknown: after a
        crash, it is read before it is used. `is_listed`: a spare one is recorded for erasure
        already."""
        spare = self._spares.take()
        id = spare or str((await self._server.client.post("/conversations", {}))["id"])
        log.info(
            "created a remote conversation",
            is_replacement=bool(self._thread.remote),
            is_spare_used=bool(spare),
        )
        self._thread = replace(self._thread, remote=id, remote_upto=UNKNOWN_POSITION)
        return RemoteStored(Remote("conversation", id), self._thread, is_listed=bool(spare))

    async def _add_transcript(self) -> None:
        items = self._history.choose(await self._transcript())
        turn = (find_turn_starts(items) or [0])[-1]
        await add_items(self._server, self._thread.remote, items[:turn])
        self._items, self._step = items[turn:], "ready"

    async def _transcript(self) -> Sequence[Item]:
        items = [*await self._ask.history(), *self._ask.input]
        return pair_calls([item for item in items if item.kind != "opaque"])

    async def _build_body(self) -> Json:
        """If the conversation cannot take the request, set `_step` to "anew" as well; the caller
        then creates a new conversation and builds the body again."""
        # `fit` leaves out what is too long for the model, and sets `request` to what is sent.
        server, items = self._server, self._history.fit(self._items)
        ask = self._history.request
        input = await server.input.build_items(
            items, preface=ask.preface, with_names=has_other_speakers(ask)
        )
        # The transcript has Ponte's ids of calls. The server knows the calls that it made itself by
        # its own ids, so their outputs must name these. Calls that Ponte sent keep Ponte's ids.
        outputs = [item for item in input if item["type"] == "function_call_output"]
        server_ids = server.input.server_call_ids(await self._transcript()) if outputs else {}
        outputs = [item for item in outputs if item["call_id"] in server_ids]
        for item in outputs:
            item["call_id"] = server_ids[item["call_id"]]
        if len({item["call_id"] for item in outputs} - {""}) < len(outputs):
            # Some servers give no id ("") or one id twice. Then outputs cannot be matched with
            # their calls: a new conversation gets Ponte's ids.
            self._step = "anew"
        body = {**build_response_body(server, ask, input), "conversation": self._thread.remote}
        return server.without_refused_fields(body)

    async def _stream_response(
        self, body: Json, reader: ResponsesReader
    ) -> AsyncGenerator[ModelEvent, None]:
        """If the caller stops, the stream is read on in the background: if it were closed, the
        conversation could lack the response."""
        remote, client = self._thread.remote, self._server.client
        # Set first: after a failure, the server may have items of this round, which are looked for.
        self._was_asked = True
        stream = self._streams.open(
            client.stream(RESPONSES_PATH, body),
            remote,
            self._server.silence_seconds(body),
            lambda id: self._server.record_object_to_erase(self._thread.id, Remote("response", id)),
        )
        try:
            async with aclosing(stream.events()) as events:
                async for event in events:
                    for model_event in reader.read_event(event):
                        yield model_event
                        if isinstance(model_event, ResponseStarted):
                            # Creates empty conversations for later threads: only now, so that this
                            # answer does not wait for them.
                            self._spares.refill()
                    if reader.has_ended:
                        return
        finally:
            self._streams.stop_listening(stream, remote)

    async def _adopt_response(self, response: str, patience: float) -> bool:
        """Take the answer from a response that was paid for already. Return whether the server
        still had it. `patience`: seconds to wait for a response that is still being written.
        Whether the conversation holds exactly the transcript is not known then (`_is_certain`), so
        its end is read before its next use (`UNKNOWN_POSITION`)."""
        try:
            answer = await fetch_response(self._server, response, patience)
            if answer is None:
                return False
            # The response names its conversation: the attempt before a crash may have created a
            # newer one than the thread's.
            remote = str((answer.get("conversation") or {}).get("id") or self._thread.remote)
            self._thread = replace(self._thread, remote=remote, remote_upto=UNKNOWN_POSITION)
            self._answer, self._is_certain = read_response(answer), False
        except ModelServerFault as fault:
            log.info("model response not found", error=str(fault))
            return False
        return True

    async def _recover_or_raise(
        self, fault: ModelServerFault, body: Json, reader: ResponsesReader
    ) -> None:
        """Return if the round can continue: with an answer (`_answer`), or with another attempt,
        before which `_prepare_retry` has set the next step (`_step`). Raise ModelError otherwise.

        An answer that the server has is fetched (`_adopt_response`), and what came of a broken one
        is kept (`rescue`), because to ask again would pay twice. `_is_certain` False: the next
        round first reads what the server has stored. `_tries` counts the faults of this round."""
        self._tries["all"] += 1
        # A server that was silent for long is not waited for once more.
        patience = 0.0 if fault.kind == "silent" else self._server.options.drain_seconds
        broken = fault.kind in ("lost", "broken", "silent")
        if broken and reader.response and await self._adopt_response(reader.response, patience):
            return
        if rescued := reader.rescue(fault):
            self._answer, self._response_id = rescued, reader.response
            self._is_certain = False
            return
        hopeless = fault.kind == "silent" or self._tries["all"] > MAX_RECOVERIES
        if hopeless or not await self._prepare_retry(fault, body):
            raise await self._server.explain_fault(fault) from None

    async def _prepare_retry(self, fault: ModelServerFault, body: Json) -> bool:
        """Set `_step` to what may help against this fault, after a pause where that may help, and
        return True. Return False if nothing does. The caller then asks again by `_step`: "looking"
        compares the conversation on the server with the transcript first, "anew" creates a new one.

        In this order: a conversation that another request uses, one that is gone, one with a call
        without output, something in the request that the server refuses, and a fault that may
        pass. `_tries` counts the attempts against each, so that they end."""
        remote = self._thread.remote
        is_gone = is_conversation_gone(fault, remote)
        self._tries["gone"] += is_gone
        if refuses_conversations(fault) or self._tries["gone"] > MAX_GONE_CONVERSATIONS:
            raise NoEndpoint(NO_CONVERSATIONS)
        if is_locked(fault):
            # After `CONVERSATION_LOCK_SECONDS`, a new one is used.
            self._tries["locked"] += 1
            wait = LOCK_BACKOFF.seconds_after(self._tries["locked"])
            # The pauses double from 1 s on, so all of them until now take `2 * wait - 1` seconds.
            if 2 * wait - 1 > CONVERSATION_LOCK_SECONDS:
                self._step = "anew"
            else:
                await self._server.client.sleep(wait)
        elif is_gone or (self._step == "looking" and fault.status == 404):
            self._step = "anew"
        elif has_unpaired_call(fault):
            self._tries["unpaired"] += 1
            # First only compare; if that did not help, begin a new conversation.
            self._step = "looking" if self._tries["unpaired"] == 1 else "anew"
        elif not await self._leave_out_refused(fault, body):
            if not await self._server.wait_before_retry(fault, self._tries):
                return False
            # The server may have added the answer to the conversation, so its end is read before
            # asking again.
            if body and (fault.status >= 500 or fault.kind in ("lost", "broken")):
                self._step = "looking"
        return True

    async def _leave_out_refused(self, fault: ModelServerFault, body: Json) -> bool:
        """Leave out what the server refused, here or in the items of a new conversation. Return
        whether there is something. `body` is {} if the refusal came while items were added to a new
        conversation; then these items are looked at. A new conversation follows ("anew") if items
        of the transcript are left out: the present one still holds them."""
        transcript = await self._transcript()
        # `status` is 0 if the server named none, as when no answer arrived: that is no refusal.
        if not body and fault.status:
            items = self._history.choose(transcript)
            body = {"input": await self._server.input.build_items(items)}
        if self._server.adapt_to_refusal(fault, body):
            return True
        is_changed = self._history.leave_out(fault, transcript, body)
        self._step = "anew" if is_changed else self._step
        return is_changed


class ConversationsApi:
    """Asks the model over OpenAI's Conversations and Responses, where the server keeps the history.
    The caller must run one turn at a time in each conversation; the inbox does."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.streams = OpenStreams(server.options.drain_seconds)
        self.spares = SpareConversations(server)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Raise ModelError."""
        return ConversationRound(self, ask).events()

    async def prepare_erasure(self, conversation: str) -> None:
        """A stream that ends later would add items to it."""
        await self.streams.wait_until_closed(conversation)
        self.streams.uncertain.discard(conversation)

    async def close(self) -> None:
        await self.spares.close()
        await self.streams.close()


def _has_all_outputs(items: Sequence[Json]) -> bool:
    calls = {item["call_id"] for item in items if item["type"] == "function_call"}
    return calls <= {i["call_id"] for i in items if i["type"] == "function_call_output"}


def _find_overlaps(
    own_items: Sequence[Item], server_items: Sequence[Json], whole: bool
) -> Iterator[int]:
    """Yield the positions in the transcript (`own_items`) where `server_items` may end, the
    likeliest first. The server's items are compared from their end, because the beginning of a
    conversation may be missing in them; `whole` says that it is not. Even a whole conversation may
    begin later than the transcript: a new one gets only the turns that fit."""
    if not server_items:
        if whole:
            yield 0
        return
    # A whole conversation that begins with the transcript ends after as many items.
    likely = [len(server_items)] if whole and len(server_items) <= len(own_items) else []
    for upto in likely + list(range(len(own_items), 0, -1)):
        pairs = zip(reversed(own_items[:upto]), reversed(server_items), strict=False)
        if len(server_items) <= upto and all(_is_same_item(*pair) for pair in pairs):
            yield upto


def _reconcile_rest(
    missing: Sequence[Item], extra: Sequence[Json], was_asked: bool
) -> Reconciliation | None:
    """Return what to do with the items that follow the common part: `missing` items of the
    transcript that the server lacks, and `extra` items of the server that the transcript lacks.
    None: create a new conversation.

    Extra items alone are the answer, if the question was sent before (`was_asked`). Calls
    without outputs, of an answer that was lost, must be answered before anything else can be sent.
    """
    # The server has nothing more. What it lacks is sent. If it has the question already, but no
    # answer, there would be nothing to send.
    if not extra:
        return Reconciliation(missing_items=tuple(missing)) if missing else None
    if not missing:
        answer = read_response({"output": list(extra)})
        return Reconciliation(answer_items=answer.items) if was_asked else None
    if all(item["type"] == "function_call" for item in extra):
        outputs = interrupted_outputs(str(item["call_id"]) for item in extra)
        return Reconciliation(missing_items=(*outputs, *missing))
    return None


def _is_transcript_item(item: Json) -> bool:
    kind = item.get("type", "message")
    if kind == "message":
        # An assistant's message without text is no item of the transcript.
        is_answer = item.get("role") == "assistant" and bool(_assistant_text(item).strip())
        is_of_tool = _message_texts(item)[-1:] == [TOOL_FILES_NOTE]
        return is_answer or (item.get("role") == "user" and not is_of_tool)
    return kind in ("function_call", "function_call_output")


def _is_same_item(item: Item, raw: Json) -> bool:
    """Return whether an item of the transcript and one of the server are the same. Calls and
    outputs are compared by the call's id. The server has no ids of Ponte's messages, so these are
    compared by their text, with or without the speaker's name before it."""
    kind = raw.get("type", "message")
    if kind in ("function_call", "function_call_output"):
        is_same_kind = item.kind == ("call" if kind == "function_call" else "output")
        return is_same_kind and raw.get("call_id") == item.call_id
    if item.kind != "message" or item.role != raw.get("role"):
        return False
    if item.role == "assistant":
        return item.text == _assistant_text(raw)
    # The last text of a user message is what the person wrote; Ponte's preface may come before it.
    return (_message_texts(raw) or [""])[-1] in (user_text(item, False), user_text(item, True))


def _assistant_text(raw: Json) -> str:
    return remove_thoughts("".join(_message_texts(raw)))


def _message_texts(raw: Json) -> list[str]:
    """In a user message, the last one is what the person wrote."""
    content = raw.get("content")
    if isinstance(content, str):
        return [content]
    return [
        str(p.get("text") or p.get("refusal") or "")
        for p in content or ()
        if p.get("type") in ("input_text", "output_text", "text", "refusal")
    ]
