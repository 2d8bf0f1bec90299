"""The context objects of tools and typed commands: asker, place, files and journal."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from core.base import text
from core.base.errors import PlatformBusy
from core.base.tasks import run_together
from core.changes.approval import Approval
from core.changes.cards import ChangeViews
from core.chat.people import Conversations
from core.domain.messages import Address, Answer, Attachment, File, Item, Message, Person, Progress
from core.domain.ports import FetchAttachment, Messenger
from core.domain.records import (
    Provenance,
    Remote,
    Thread,
    ToolCall,
    ToolContext,
    Turn,
    TurnControls,
)
from core.domain.rights import Need, PlaceRights, Viewer
from core.imports.plan import PLAN_TYPE
from core.people.policy import ANY_TABLE
from core.turn.preface import zone_of

Show = Callable[[Progress], Awaitable[None]]
LEFT_OUT = (
    "I left out earlier results in this conversation that you don't have permission to read. "
    "Anything already posted here stays visible."
)
FETCH_TIMEOUT_SECONDS = 10.0
"""All files of a turn are downloaded at the same time."""


@dataclass(frozen=True, slots=True)
class ReadableThread:
    """The earlier part of a thread that the asker of a turn may read, if that is not all of it: the
    rest came from results, such as rows of a table, that the asker has no right to.

    `files` are the ids of the files in it. `memory` is the id of a sandbox state that only this
    turn uses, because the thread's own may hold what the asker must not read.
    """

    items: Sequence[Item]
    files: frozenset[str]
    memory: str


def _remove_placed(answer: Answer) -> str:
    text = answer.text
    for piece in answer.placed:
        text = text.replace(piece.text, f"[{LEFT_OUT}]")
    return text


@dataclass(frozen=True, slots=True)
class ToolContexts:
    """Builds the objects that tools and commands get with each call: the asker, the place, the
    files, the journal.

    `zone` is the time zone to use if the asker's platform reports none.
    """

    stores: Conversations
    fetch: Mapping[str, FetchAttachment]
    approval: Approval
    zone: str = "UTC"
    changes: ChangeViews | None = None
    messengers: Mapping[str, Messenger] = field(default_factory=dict)

    def may_know(self, rights: PlaceRights | None, needs: Collection[Need]) -> bool:
        """Without `rights`, only the rules for hidden tables apply."""
        rules = self.approval.config.table_rules
        return all(
            (rights is None or rights.may_know(*need))
            and not (need[0] == "read" and rules.is_hidden(*need[1:]))
            and not (ANY_TABLE in need and rules.hides_some(rights))
            for need in needs
        )

    async def find_hidden(self, person: Person, address: Address, needs: Collection[Need]) -> str:
        """Return the name of something that the person may not read at the address, "" for nothing.
        Raise StatusUnknown, and NotAllowed for a right that has no name."""
        rights = await self.approval.policy.rights(person, address)
        for need in sorted(needs):
            if not self.may_know(rights, [need]):
                verdict = rights.may(*need)
                if len(need) < 2 or need[0] == "post" or verdict.is_unknown:
                    verdict.raise_if_denied()
                return need[:2][-1]
        return ""

    async def find_readable_part(
        self, turn: Turn, provenance: Provenance, rights: PlaceRights | None
    ) -> ReadableThread | None:
        """Return what the asker may read of the turn's thread; None if they may read all of it. It
        names a sandbox state for this turn alone, because the thread's own may hold the rest.

        Messages of a place that the asker may not read now are left out. From there on, the asker
        gets only what people wrote and the answers as they were posted.

        Of an earlier turn, the asker gets the items to which they have the rights. If that is not
        all of the turn, the model's own text is replaced by the answer as it was posted, without
        the rows and charts that were placed in it. Items that only the model's server can read
        (reasoning, summaries: the kind "opaque") may hold anything and are all left out.
        """
        hidden = await self._find_hidden_places(turn, provenance.places)
        if not hidden and all(self.may_know(rights, needs) for needs in provenance.needs):
            return None
        message, items = turn.message, list[Item]()
        history = await self.stores.journal.list_entries(message.address.conversation, turn.thread)
        answers = {
            record.seq: _remove_placed(record.answer)
            for record in history
            if record.state in ("done", "stopped") and record.answer
        }
        entries = await self.stores.journal.transcript(turn.thread, before=turn.seq)
        read_hidden = False
        for seq, group in itertools.groupby(entries, key=lambda entry: entry.seq):
            of_turn = list(group)
            readable = [entry.item for entry in of_turn if self.may_know(rights, entry.needs)]
            read_hidden |= any(item.reading and item.reading.place in hidden for item in readable)
            if read_hidden:
                readable = [item for item in readable if item.role == "user" and not item.reading]
            is_whole = len(readable) == len(of_turn) and not read_hidden
            # Calls without their output are left out, because model servers refuse them.
            ended = {item.call_id for item in readable if item.kind == "output"}
            items += [
                item
                for item in readable
                if not (
                    item.kind == "opaque"
                    or (item.kind == "call" and item.call_id not in ended)
                    or (item.role == "assistant" and not is_whole)
                )
            ]
            if not is_whole and answers.get(seq):
                items.append(Item(kind="message", role="assistant", text=answers[seq]))
        files = frozenset(file.id for item in items for file in item.files)
        return ReadableThread(items, files, f"{turn.thread}.{turn.id}")

    async def _find_hidden_places(
        self, turn: Turn, places: Collection[Address]
    ) -> frozenset[Address]:
        """Return those shared places whose messages the asker may not read now, or of which the
        platform does not tell that now."""
        message, hidden = turn.message, set[Address]()
        for place in places:
            if not place.is_shared or place.is_same_channel(message.address):
                continue
            messenger = self.messengers.get(place.platform)
            try:
                if messenger is None or await messenger.can_read(message.author, place) is False:
                    hidden.add(place)
            except PlatformBusy:
                hidden.add(place)
        return frozenset(hidden)

    def without_unreadable(
        self, turn: Turn, provenance: Provenance, rights: PlaceRights | None
    ) -> Turn:
        """Return a resumed turn without results of its own earlier attempts that the asker may not
        read any more: their rights, or the rules, may have changed since the process ended.
        Reasoning of the model (items of the kind "opaque") could repeat them, so it is left out,
        too. The turn's `needs`, the rights that readers of its answer need, shrink with them.
        `provenance.needs` are those of all items of the thread. Without `rights`, only tables that
        rules hide are left out."""
        may_know = partial(self.may_know, rights)
        unreadable = {c.call_id for c in turn.calls if c.outcome and not may_know(c.outcome.needs)}
        items = tuple(
            replace(item, text=LEFT_OUT, files=())
            if item.kind == "output" and item.call_id in unreadable
            else item
            for item in turn.items
            if item.kind != "opaque" or not unreadable
        )
        needs = frozenset[Need]().union(*filter(may_know, provenance.needs))
        calls = tuple(
            replace(
                call,
                outcome=replace(call.outcome, text=LEFT_OUT, data=None, sources=(), problem=""),
            )
            if call.outcome and call.call_id in unreadable
            else call
            for call in turn.calls
        )
        return replace(turn, items=items, calls=calls, needs=needs)

    def make_context(
        self,
        turn: Turn,
        thread: Thread,
        call: ToolCall,
        doing: Callable[[str], Awaitable[None]],
        record_object_to_erase: Callable[[Remote], Awaitable[None]],
        readable: ReadableThread | None,
    ) -> ToolContext:
        """The journal stores what the tool reports: the handle of a run in another system, and by
        `record_object_to_erase` objects that it created on servers. `doing` shows the person what
        the tool does now. `readable` is the part of the thread that the asker may read, None for
        all."""
        journal = self.stores.journal
        controls = TurnControls(
            doing,
            record_object_to_erase=record_object_to_erase,
            record_handle=lambda handle: journal.record_call_handle(turn, call.call_id, handle),
            is_stopped=lambda: self.stores.inbox.is_stopped(turn.seq),
        )
        return ToolContext(
            turn.message,
            turn.seq,
            call,
            thread,
            controls,
            zone_of(turn.message, self.zone),
            files=TurnFiles(turn, thread.id, self, readable.files if readable else None),
            # The key of what tools remember, such as Python's variables; "" for that of the thread.
            own_memory=readable.memory if readable else "",
            changes=self.changes,
        )

    async def make_command_context(
        self, turn: Turn, call: ToolCall, show: Show, rights: PlaceRights | None
    ) -> ToolContext:
        """A container that this creates is stored in the thread's record, so that later turns use
        it too, unless the asker may read only a part of the thread."""
        provenance = await self.stores.journal.provenance(
            turn.thread, turn.message.author.key, turn.seq
        )
        readable = await self.find_readable_part(turn, provenance, rights)
        thread = self.load_thread(turn, new=readable is not None)

        async def record_object_to_erase(remote: Remote) -> None:
            await self.stores.journal.record_object_to_erase(thread.id, remote)
            if remote.kind == "container" and readable is None:
                await self.stores.threads.put(replace(thread, container=remote.id))

        ctx = self.make_context(
            turn,
            thread,
            call,
            lambda step: show(Progress(current_step=step)),
            record_object_to_erase,
            readable,
        )
        # What the command reads is limited to what exists for the person in this place.
        return replace(ctx, viewer=Viewer(rights))

    def load_thread(self, turn: Turn, new: bool = False) -> Thread:
        if turn.thread_record and not new:
            return turn.thread_record
        conversation = turn.message.address.conversation
        return Thread(conversation, turn.thread, turn.generation, used_at=time.time())

    async def fetch_attachments(self, message: Message) -> tuple[Sequence[File], Sequence[str]]:
        """Return the files, and the names of those that are missing. Files that are not stored yet,
        by this or an earlier attempt, are downloaded from the platform now."""
        if not message.attachments:
            return (), ()
        stored_files = {
            (f.name, f.size): f for f in await self.stores.files.list_of_events(message.event_key)
        }
        downloads = await run_together(
            *(
                self._fetch_attachment(message, attachment, stored_files)
                for attachment in message.attachments
            )
        )
        files = [file for file in downloads if file is not None]
        pairs = zip(message.attachments, downloads, strict=True)
        return files, [
            text.safe_file_name(attachment.name) for attachment, file in pairs if file is None
        ]

    async def _fetch_attachment(
        self, message: Message, attachment: Attachment, stored_files: Mapping[tuple[str, int], File]
    ) -> File | None:
        """Return one file, stored or downloaded; None if it cannot be had in time, or the platform
        has no files to download."""
        name = text.safe_file_name(attachment.name)
        if attachment.file:  # stored with the message, as by the page
            return File(attachment.file, name, attachment.type, attachment.size)
        stored_file = stored_files.get((name, attachment.size))
        fetch = self.fetch.get(message.address.platform)
        if stored_file is not None or fetch is None:
            return stored_file
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                return await fetch(message, attachment)
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True)
class TurnFiles:
    """The files that the tools and commands of one turn may use (the port `ContextFiles`)."""

    turn: Turn
    thread: str
    tool_contexts: ToolContexts
    readable: frozenset[str] | None = None
    """The ids of the files of earlier turns that the asker may have; None for all."""

    async def list_files(self) -> Sequence[File]:
        """The oldest comes first, and each once; of earlier turns only those that the asker may
        have (`readable`)."""
        message, stores = self.turn.message, self.tool_contexts.stores
        files = stores.files
        entries = await stores.journal.list_entries(message.address.conversation, self.thread)
        earlier = [entry.message.event_key for entry in entries if entry.seq < self.turn.seq]
        files_by_age = list(await files.list_of_events(*earlier))
        # Files that are stored for this message: its attachments, and what tools have made.
        own_files = await files.list_of_events(message.event_key)
        if self.readable is not None:
            files_by_age = [file for file in files_by_age if file.id in self.readable]
            if self.turn.attempt > 1:  # an earlier attempt may have read more
                own_files = ()
        attached, _ = await self.tool_contexts.fetch_attachments(message)
        files_by_age.extend([*own_files, *attached])
        # A plan has values of its table that not everybody here may see.
        return tuple({f.id: f for f in files_by_age if f.type != PLAN_TYPE}.values())

    async def read(self, file: File) -> bytes:
        _, data = await self.tool_contexts.stores.files.get(file.id)
        return data

    async def save(self, name: str, type: str, data: bytes) -> File:
        message = self.turn.message
        return await self.tool_contexts.stores.files.put(
            message.event_key, name, type, data, message.author, message.address.conversation
        )
