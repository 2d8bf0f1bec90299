"""One round over a Conversation: where to ask, what to send, and what to do when it goes wrong.

Before it asks, the round is `trusting` (the conversation holds all that came before), `looking`
(nobody knows: read its tail) or `anew` (make one from the transcript); then it is `ready`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

import structlog

from core.messages import Item
from core.model import conversation, faults
from core.model.pairs import paired
from core.model.reading import Reading
from core.model.responses import PATH, company, question
from core.model.said import Said, said
from core.model.server import Server
from core.model.streams import Streams
from core.model.tail import reconcile
from core.model.window import answered, cut, size, starts
from core.openai import Fault, Json
from core.records import Ask, Completed, Kept, ModelEvent, Remote

log = structlog.get_logger("model")
MENDINGS = 10
"""Times that one round is mended, whatever was broken."""
UNKNOWN = -1
"""`Thread.remote_upto` of a conversation whose tail must be read before it is used."""


class Exchange:
    def __init__(self, server: Server, streams: Streams, ask: Ask) -> None:
        self._server = server
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
        unsure = ask.response or thread.remote_upto < ask.since
        return "looking" if unsure or self._streams.untidy(thread.remote) else "trusting"

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        """Raises a ModelError."""
        if self._ask.response:
            await self._find(self._ask.response, self._server.options.drain)
        while self._found is None:
            body: Json = {}
            reading = Reading()
            try:
                if self._next == "looking":
                    await self._look()
                if self._next == "anew":
                    yield await self._make()
                    await self._fill()
                if self._found is None:
                    body = await self._body()
                    async with aclosing(self._stream(body, reading)) as events:
                        async for event in events:
                            yield event
                    self._found, self._response = reading.finished(), reading.response
            except Fault as fault:
                await self._mend(fault, body, reading)
        yield self._completed(self._found)

    async def _look(self) -> None:
        """Set the conversation's tail beside the transcript; see `core.model.tail`."""
        items, whole = await conversation.tail(self._server, self._thread.remote)
        plan = reconcile(await self._transcript(), items, asked=self._asked, whole=whole)
        if plan and plan.answered:
            self._found, self._clean = Said(plan.answered), False
        self._items = plan.send if plan else ()
        self._next = "ready" if plan and (plan.send or plan.answered) else "anew"
        log.info("conversation looked at", then=self._next, missing=len(self._items))

    async def _make(self) -> Kept:
        made = await conversation.make(self._server)
        log.info("conversation made", was=bool(self._thread.remote))
        self._thread = replace(self._thread, remote=made, remote_upto=UNKNOWN)
        return Kept(Remote("conversation", made), self._thread)

    async def _fill(self) -> None:
        """All but the turn at hand goes in beforehand; that turn is what is asked."""
        kept = cut(await self._transcript(), self._limit)
        turn = (starts(kept) or [0])[-1]
        await conversation.fill(self._server, self._thread.remote, kept[:turn])
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
                if reading.over:
                    return
        finally:
            self._streams.leave(stream, remote)

    async def _late(self, response: str) -> None:
        await self._server.late(self._thread.id, Remote("response", response))

    async def _find(self, response: str, patience: float) -> bool:
        """Take the round from a response that the server still has."""
        try:
            found = await conversation.response(self._server, response, patience)
            if found is None:
                return False
            remote = str((found.get("conversation") or {}).get("id") or self._thread.remote)
            self._thread = replace(self._thread, remote=remote, remote_upto=UNKNOWN)
            self._found, self._clean = said(found), False
        except Fault as fault:
            log.info("response not found", fault=str(fault))
            return False
        return True

    async def _mend(self, fault: Fault, body: Json, reading: Reading) -> None:
        """Returns when the round may go on from `_next`; raises a ModelError otherwise."""
        self._tries["all"] += 1
        patience = 0.0 if fault.kind == "silent" else self._server.options.drain
        broken = fault.kind in ("lost", "broken", "silent")
        if broken and reading.response and await self._find(reading.response, patience):
            return
        hopeless = fault.kind == "silent" or self._tries["all"] > MENDINGS
        if hopeless or not await self._mended(fault, body):
            raise await self._server.worded(fault) from None

    async def _mended(self, fault: Fault, body: Json) -> bool:
        remote = self._thread.remote
        if faults.locked(fault):
            await self._wait_for_lock()
        elif faults.gone(fault, remote) or (self._next == "looking" and fault.status == 404):
            self._next = "anew"
        elif faults.unpaired(fault):
            self._tries["unpaired"] += 1
            self._next = "looking" if self._tries["unpaired"] == 1 else "anew"
        elif faults.too_long(fault):
            return await self._narrow()
        elif faults.policy(fault):
            return await self._leave_out_unanswered()
        elif not self._server.learn(fault, body):
            return await self._again(fault, sent=bool(body))
        return True

    async def _again(self, fault: Fault, sent: bool) -> bool:
        """The server may have done what it did not answer for: look before asking once more."""
        lost = fault.kind in ("lost", "broken") and not fault.code
        self._tries["lost"] += lost
        if not (lost and self._tries["lost"] == 1) and not await self._rest(fault):
            return False
        if sent and (fault.status >= 500 or fault.kind in ("lost", "broken")):
            self._next = "looking"
        return True

    async def _rest(self, fault: Fault) -> bool:
        return await self._server.rest(fault, self._tries)

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
        """1, 2, 4, 8 s, as far as the operator's limit goes; then another conversation."""
        wait = 2.0 ** self._tries["locked"]
        self._tries["locked"] += 1
        if 2 * wait - 1 > self._server.options.lock:
            self._next = "anew"
        else:
            await self._server.client.sleep(wait)

    def _completed(self, found: Said) -> Completed:
        upto = self._ask.since if found.calls else self._ask.seq
        if self._clean and not found.cut:
            self._streams.tidied(self._thread.remote)
        else:
            upto = UNKNOWN
        plain = tuple(item for item in found.items if item.kind != "opaque")
        thread = replace(self._thread, remote_upto=upto)
        return self._server.completed(self._response, replace(found, items=plain), thread)
