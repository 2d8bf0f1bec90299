"""Level 1: Conversations + Responses. The server keeps the history; our transcript stays the truth.

A conversation that lacks the transcript's end is told the rest; one with calls that nobody will
answer gets them answered as interrupted; with anything else in it that our transcript does not
have, it is given up and a new one is made.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from core.clients.openai import Json, ModelServerFault
from core.domain.errors import PonteError
from core.domain.messages import Item
from core.domain.records import (
    ModelEvent,
    Remote,
    RemoteStored,
    ResponseStarted,
    RoundCompleted,
    RoundRequest,
)
from core.models.input import answered, cut, lost, paired, size, starts, weight, words
from core.models.responses import BEGINNINGS, ENDS, MOST, PATH, Reading, company, question
from core.models.server import (
    Said,
    Server,
    has_unpaired_call,
    is_against_policy,
    is_conversation_gone,
    is_locked,
    is_too_long,
    items_of,
    listen,
    read_response,
)
from core.runtime.retry import Backoff

log = structlog.get_logger("model")
LOCK_BACKOFF = Backoff(1.0)
"""Pauses while a conversation is locked: 1, 2, 4, 8 s."""
RESPONSE_BACKOFF = Backoff(0.5, max_seconds=5.0)
"""Pauses between requests for a response that is still being made."""
LATER = 0.05
"""Seconds after an answer began until conversations are made ahead: most of its work is done."""
Told = Callable[[str], Awaitable[None]]
"""Hears a response's id."""

BATCH = 20
"""Items that one call may add (conversations.items.create in the openai package)."""
TAIL = 100
"""Items that are read from the end; the most that one page may have."""
UNFINISHED = ("in_progress", "queued")
"""Status of a response that still runs."""
MOST_UNHEARD = 4
"""Events that wait for the listener; then the server waits too."""
MENDINGS = 10
"""Times that one round is mended, whatever was broken."""
UNKNOWN = -1
"""`Thread.remote_upto` of a conversation whose tail must be read before it is used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`send` is what the conversation must still be told; or it was `answered` already."""

    send: tuple[Item, ...] = ()
    answered: tuple[Item, ...] = ()


async def fill(server: Server, conversation: str, items: Sequence[Item]) -> None:
    for batch in batches(await server.input.items(items)):
        await server.client.post(f"/conversations/{conversation}/items", {"items": batch})


def batches(items: Sequence[Json]) -> list[list[Json]]:
    """At most 20 items each; a call stays with its output where that is possible."""
    rows: list[list[Json]] = []
    start = 0
    while start < len(items):
        end = min(start + BATCH, len(items))
        whole = next((e for e in range(end, start, -1) if _settled(items[start:e])), end)
        rows.append(list(items[start:whole]))
        start = whole
    return rows


async def tail(server: Server, conversation: str) -> tuple[list[Json], bool]:
    """The newest items, oldest first, and whether these are all."""
    page = await server.client.get(
        f"/conversations/{conversation}/items", {"limit": TAIL, "order": "desc"}
    )
    return list(reversed(page.get("data") or ())), not page.get("has_more")


async def fetch_response(server: Server, id: str, patience: float) -> Json | None:
    """A response from before; None when the server has it no more.

    One that still runs is waited for, for `patience` seconds.
    """
    waited = 0.0
    pauses = iter(RESPONSE_BACKOFF)
    while True:
        try:
            found = await server.client.get(f"/responses/{id}")
        except ModelServerFault as fault:
            if fault.status in (400, 404, 405, 501):
                return None
            raise
        if found.get("status") not in UNFINISHED:
            return found
        if waited >= patience:
            return None
        pause = next(pauses)
        await server.client.sleep(pause)
        waited += pause


def reconcile(
    transcript: Sequence[Item], tail: Sequence[Json], *, asked: bool, whole: bool
) -> Plan | None:
    """What a conversation lacks of our transcript, and whether it will do.

    `tail` is the conversation's newest items, oldest first; `whole`: it has no others.

    `asked`: this very question was sent before, so what stands after it may be its answer.
    None: make a new conversation.
    """
    wanted = [item for item in transcript if item.kind != "opaque" and (item.text or item.call_id
              or item.role == "user")]  # fmt: skip
    held = [item for item in tail if _counts(item)]
    for end in range(len(held), -1, -1):
        for upto in _meetings(wanted, held[:end], whole):
            plan = _plan(wanted[upto:], held[end:], asked)
            if plan is not None:
                return plan
    return None


class OwnedStream:
    """One stream, iterated once, and read to its end by a task of its own.

    One that is cut after a call was streamed can leave a response that its conversation does not
    have (openai-python issue 3561). So whoever stops listening only stops listening; `late` hears
    the response's id if its listener was gone.
    """

    def __init__(
        self, source: AsyncIterator[Json], silence: float, grace: float, late: Told
    ) -> None:
        self._source = source
        self._silence = silence
        self._grace = grace
        self._late = late
        self._heard: asyncio.Queue[Json | Exception | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._left = False
        self._untold = ""
        self.over = False
        """The server said its last word, or the stream broke."""
        self.task = asyncio.create_task(self._read())

    def __aiter__(self) -> AsyncIterator[Json]:
        return self

    async def __anext__(self) -> Json:
        heard = await self._heard.get()
        self._room.set()
        if heard is None:
            raise StopAsyncIteration
        if isinstance(heard, Exception):
            raise heard
        if heard.get("type") in BEGINNINGS:
            self._untold = ""
        return heard

    def leave(self) -> None:
        """Nobody listens from here on; what is left is read for at most `grace` seconds."""
        self._left = True
        self._room.set()
        while not self._heard.empty():
            self._heard.get_nowait()
        asyncio.get_running_loop().call_later(self._grace, self.task.cancel)

    async def tell_late(self) -> None:
        if self._left and self._untold:
            response, self._untold = self._untold, ""
            await self._late(response)

    async def _read(self) -> None:
        end: Exception | None = None
        named = False
        try:
            async for event in listen(self._source, self._silence):
                kind = event.get("type")
                self.over = self.over or kind in ENDS
                if not self._left:
                    self._heard.put_nowait(event)
                if kind in BEGINNINGS and not named:
                    named = True
                    self._untold = str((event.get("response") or {}).get("id", ""))
                    await self.tell_late()
                while self._heard.qsize() >= MOST_UNHEARD and not self._left:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            # Raised again where the stream is listened to; drained streams have no use for it.
            end = error
        finally:
            self.over = True
            self._heard.put_nowait(end)


class Streams:
    """All streams of the process that are still open, by conversation."""

    def __init__(self, silence: float, grace: float) -> None:
        self._silence = silence
        self._grace = grace
        self._open: dict[str, set[OwnedStream]] = {}
        self._untidy: set[str] = set()
        self._late: set[asyncio.Task[None]] = set()

    def open(self, source: AsyncIterator[Json], conversation: str, late: Told) -> OwnedStream:
        stream = OwnedStream(source, self._silence, self._grace, late)
        self._open.setdefault(conversation, set()).add(stream)
        stream.task.add_done_callback(lambda _: self._closed(stream, conversation))
        return stream

    def draining(self, conversation: str) -> bool:
        """Whether something is still being said there."""
        return any(not stream.over for stream in self._open.get(conversation, ()))

    def untidy(self, conversation: str) -> bool:
        """Whether a stream there was left before its end: nobody knows what it holds now."""
        return conversation in self._untidy

    def tidied(self, conversation: str) -> None:
        self._untidy.discard(conversation)

    def leave(self, stream: OwnedStream, conversation: str) -> None:
        """Its listener is gone, before the end or after it."""
        if stream.task.done():
            return
        stream.leave()
        if not stream.over:
            self._untidy.add(conversation)
            task = asyncio.create_task(stream.tell_late())
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def settled(self, conversation: str) -> None:
        """Wait until nothing is being said there any more."""
        if tasks := {stream.task for stream in self._open.get(conversation, ())}:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cut what is open; the ids are journalled, so the next process finds the responses."""
        tasks = {stream.task for streams in self._open.values() for stream in streams}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._late, return_exceptions=True)

    def _closed(self, stream: OwnedStream, conversation: str) -> None:
        streams = self._open[conversation]
        streams.discard(stream)
        if not streams:
            del self._open[conversation]


class Spares:
    """Empty conversations made ahead, so that a thread's first turn does not wait for one.

    Each is listed without a thread before it is used, to be found and erased after a crash. They
    are made once one was needed; those that are left when the process ends are erased by the next.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: deque[str] = deque()
        self._making: asyncio.Task[None] | None = None
        self._wanted = False

    def take(self) -> str:
        """One's id; "" where there is none now."""
        self._wanted = bool(self._server.options.spare)
        return self._made.popleft() if self._made else ""

    def refill(self) -> None:
        """Once an answer has begun, so that no question waits for it."""
        if self._wanted and (self._making is None or self._making.done()):
            self._wanted = False
            self._making = asyncio.create_task(self._make())

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)

    async def _make(self) -> None:
        await asyncio.sleep(LATER)
        try:
            while len(self._made) < self._server.options.spare:
                id = str((await self._server.client.post("/conversations", {}))["id"])
                await self._server.late("", Remote("conversation", id))
                self._made.append(id)
        except (ModelServerFault, PonteError) as error:  # whoever needs one makes it then
            log.info("no spare conversation", why=str(error))


class Exchange:
    """One round: where to ask, what to send, and what to do when it goes wrong.

    Before it asks, it is `trusting` (the conversation holds all that came before), `looking`
    (nobody knows: read its tail) or `anew` (make one from the transcript); then it is `ready`.
    """

    def __init__(self, server: Server, streams: Streams, spares: Spares, ask: RoundRequest) -> None:
        self._server = server
        self._spares = spares
        self._streams = streams
        self._ask = ask
        self._thread = ask.thread
        self._next = self._first()
        self._items: Sequence[Item] = ask.input
        self._limit = min(server.window, server.options.compact)
        self._tries = Counter[str]()
        self._asked = bool(ask.response)
        self._found: Said | None = None
        self._response = ask.response
        self._clean = True

    def _first(self) -> Literal["trusting", "looking", "anew", "ready"]:
        thread, ask = self._ask.thread, self._ask
        if not thread.remote or self._streams.draining(thread.remote):
            return "anew"
        unsure = ask.response or thread.remote_upto < ask.previous_seq
        return "looking" if unsure or self._streams.untidy(thread.remote) else "trusting"

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        """Raises a ModelError."""
        paying = self._ask.payment
        body: Json = {}
        if self._ask.response:
            await self._find(self._ask.response, self._server.options.drain)
        while self._found is None:
            body = {}
            reading = Reading()
            try:
                if self._next == "looking":
                    await self._look()
                if self._next == "anew":
                    yield await self._make()
                    await self._fill()
                if self._found is None:
                    body = await self._body()
                    if paying and (most := await paying(weight(body))) is not None:
                        body[MOST] = most
                    async with aclosing(self._stream(body, reading)) as events:
                        async for event in events:
                            yield event
                    self._found, self._response = reading.finished(), reading.response
            except ModelServerFault as fault:
                if paying and body and fault.is_undone:
                    paying.on_refused_request()
                await self._mend(fault, body, reading)
        yield self._completed(self._found, body)

    async def _look(self) -> None:
        """Set the conversation's tail beside the transcript; see `reconcile`."""
        items, whole = await tail(self._server, self._thread.remote)
        plan = reconcile(await self._transcript(), items, asked=self._asked, whole=whole)
        if plan and plan.answered:
            self._found, self._clean = Said(plan.answered), False
        self._items = plan.send if plan else ()
        self._next = "ready" if plan and (plan.send or plan.answered) else "anew"
        log.info("conversation looked at", then=self._next, missing=len(self._items))

    async def _make(self) -> RemoteStored:
        """A new one, empty, so that an id which gets lost on its way to us holds nothing."""
        spare = self._spares.take()
        made = spare or str((await self._server.client.post("/conversations", {}))["id"])
        log.info("conversation made", was=bool(self._thread.remote), ahead=bool(spare))
        self._thread = replace(self._thread, remote=made, remote_upto=UNKNOWN)
        return RemoteStored(Remote("conversation", made), self._thread, is_listed=bool(spare))

    async def _fill(self) -> None:
        """All but the turn at hand goes in beforehand; that turn is what is asked."""
        kept = cut(await self._transcript(), self._limit)
        turn = (starts(kept) or [0])[-1]
        await fill(self._server, self._thread.remote, kept[:turn])
        self._items, self._next = kept[turn:], "ready"

    async def _transcript(self) -> Sequence[Item]:
        """All that was said. Reasoning stays out: a conversation has its own."""
        items = [*await self._ask.history(), *self._ask.input]
        told = paired([item for item in items if item.kind != "opaque"])
        return answered(told) if self._tries["policy"] else told

    async def _body(self) -> Json:
        ask, server = self._ask, self._server
        input = await server.input.items(self._items, preface=ask.preface, company=company(ask))
        body = {**question(server, ask, input), "conversation": self._thread.remote}
        return server.fitting(body)

    async def _stream(self, body: Json, reading: Reading) -> AsyncGenerator[ModelEvent, None]:
        remote, client = self._thread.remote, self._server.client
        self._asked = True
        stream = self._streams.open(client.stream(PATH, body), remote, self._late)
        try:
            async for event in stream:
                for told in reading.take(event):
                    yield told
                    if isinstance(told, ResponseStarted):
                        self._spares.refill()
                if reading.over:
                    return
        finally:
            self._streams.leave(stream, remote)

    async def _late(self, response: str) -> None:
        await self._server.late(self._thread.id, Remote("response", response))

    async def _find(self, response: str, patience: float) -> bool:
        """Take the round from a response that the server still has."""
        try:
            found = await fetch_response(self._server, response, patience)
            if found is None:
                return False
            remote = str((found.get("conversation") or {}).get("id") or self._thread.remote)
            self._thread = replace(self._thread, remote=remote, remote_upto=UNKNOWN)
            self._found, self._clean = read_response(found), False
        except ModelServerFault as fault:
            log.info("response not found", fault=str(fault))
            return False
        return True

    async def _mend(self, fault: ModelServerFault, body: Json, reading: Reading) -> None:
        """Returns when the round may go on from `_next`; raises a ModelError otherwise."""
        self._tries["all"] += 1
        patience = 0.0 if fault.kind == "silent" else self._server.options.drain
        broken = fault.kind in ("lost", "broken", "silent")
        if broken and reading.response and await self._find(reading.response, patience):
            return
        hopeless = fault.kind == "silent" or self._tries["all"] > MENDINGS
        if hopeless or not await self._mended(fault, body):
            raise await self._server.explain(fault) from None

    async def _mended(self, fault: ModelServerFault, body: Json) -> bool:
        remote = self._thread.remote
        if is_locked(fault):
            await self._wait_for_lock()
        elif is_conversation_gone(fault, remote) or (
            self._next == "looking" and fault.status == 404
        ):
            self._next = "anew"
        elif has_unpaired_call(fault):
            self._tries["unpaired"] += 1
            self._next = "looking" if self._tries["unpaired"] == 1 else "anew"
        elif is_too_long(fault):
            return await self._narrow()
        elif is_against_policy(fault):
            return await self._leave_out_unanswered()
        elif not self._server.learn(fault, body):
            return await self._again(fault, sent=bool(body))
        return True

    async def _again(self, fault: ModelServerFault, sent: bool) -> bool:
        """The server may have done what it did not answer for: look before asking once more."""
        lost = fault.kind in ("lost", "broken") and not fault.code
        self._tries["lost"] += lost
        first = lost and self._tries["lost"] == 1
        if not first and not await self._server.rest(fault, self._tries):
            return False
        if sent and (fault.status >= 500 or fault.kind in ("lost", "broken")):
            self._next = "looking"
        return True

    async def _narrow(self) -> bool:
        kept = cut(await self._transcript(), self._limit)
        self._limit, self._next = min(self._limit, size(kept)) // 2, "anew"
        return len(starts(kept)) > 1

    async def _leave_out_unanswered(self) -> bool:
        """What was refused before may be why; without it, once."""
        before = await self._transcript()
        self._tries["policy"] += 1
        self._next = "looking"
        return self._tries["policy"] == 1 and len(await self._transcript()) < len(before)

    async def _wait_for_lock(self) -> None:
        """Wait for as long as the operator's limit allows; then take another conversation."""
        self._tries["locked"] += 1
        wait = LOCK_BACKOFF.seconds_after(self._tries["locked"])
        if 2 * wait - 1 > self._server.options.lock:
            self._next = "anew"
        else:
            await self._server.client.sleep(wait)

    def _completed(self, found: Said, body: Json) -> RoundCompleted:
        upto = self._ask.previous_seq if found.calls else self._ask.seq
        if self._clean and not found.cut:
            self._streams.tidied(self._thread.remote)
        else:
            upto = UNKNOWN
        plain = tuple(item for item in found.items if item.kind != "opaque")
        thread = replace(self._thread, remote_upto=upto)
        found = replace(found, items=plain)
        return self._server.completed(self._ask, body, self._response, found, thread)


class Conversations:
    """One turn at a time in each conversation is the caller's care (the inbox keeps order)."""

    level = "conversations"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._streams = Streams(server.options.silence, server.options.drain)
        self._spares = Spares(server)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        return Exchange(self._server, self._streams, self._spares, ask).events()

    async def given_up(self, conversation: str) -> None:
        """It is to be erased: wait until a stream that was left there has ended."""
        await self._streams.settled(conversation)
        self._streams.tidied(conversation)

    async def close(self) -> None:
        await self._spares.close()
        await self._streams.close()


def _settled(items: Sequence[Json]) -> bool:
    calls = {item["call_id"] for item in items if item["type"] == "function_call"}
    return calls <= {i["call_id"] for i in items if i["type"] == "function_call_output"}


def _meetings(wanted: Sequence[Item], held: Sequence[Json], whole: bool) -> Iterator[int]:
    """Where in `wanted` the last of `held` may stand; the likeliest place first."""
    if not held:
        if whole:
            yield 0
        return
    likely = [len(held)] if whole and len(held) <= len(wanted) else []
    for upto in likely + list(range(len(wanted), 0, -1)):
        pairs = zip(reversed(wanted[:upto]), reversed(held), strict=False)
        if len(held) <= upto and all(_same(item, known) for item, known in pairs):
            yield upto


def _plan(missing: Sequence[Item], extra: Sequence[Json], asked: bool) -> Plan | None:
    if not extra:
        return Plan(send=tuple(missing)) if missing else None
    if not missing:
        return Plan(answered=items_of(extra)) if asked else None
    if all(item["type"] == "function_call" for item in extra):
        return Plan(send=(*lost(str(item["call_id"]) for item in extra), *missing))
    return None


def _counts(item: Json) -> bool:
    kind = item.get("type", "message")
    if kind == "message":
        return item.get("role") in ("user", "assistant")
    return kind in ("function_call", "function_call_output")


def _same(item: Item, known: Json) -> bool:
    kind = known.get("type", "message")
    if kind == "function_call":
        return item.kind == "call" and item.call_id == known.get("call_id")
    if kind == "function_call_output":
        return item.kind == "output" and item.call_id == known.get("call_id")
    if item.kind != "message" or item.role != known.get("role"):
        return False
    if item.role == "assistant":
        return item.text == "".join(_texts(known))
    return (_texts(known) or [""])[-1] in (words(item, False), words(item, True))


def _texts(known: Json) -> list[str]:
    """What a person said is the last part: what comes before it is the turn's preface and files."""
    content = known.get("content")
    if isinstance(content, str):
        return [content]
    return [str(p.get("text") or p.get("refusal") or "") for p in content or ()
            if p.get("type") in ("input_text", "output_text", "text", "refusal")]  # fmt: skip
