"""The context of tools and typed commands: the asker, the place, the files and the journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.domain.messages import Attachment, File, Message, Progress
from core.domain.records import Remote, Thread, ToolCall, ToolContext, Turn
from core.ports.conversations import FetchAttachment, Files, Journal, ThreadMap
from core.runtime.tasks import run_together
from core.text import text
from core.text.i18n import LANGUAGE

Show = Callable[[Progress], Awaitable[None]]
FETCH_TIMEOUT_SECONDS = 10.0
"""Seconds that a turn waits for one of its files; all are fetched at once."""


@dataclass(frozen=True, slots=True)
class ToolContexts:
    """Makes the context of tools and commands.

    `fetch` is by platform, `zone` the asker's where their platform does not tell it.
    """

    journal: Journal
    files: Files
    threads: ThreadMap
    fetch: Mapping[str, FetchAttachment]
    zone: str = "UTC"
    stopped: Callable[[int], bool] = lambda seq: False
    """`Inbox.stopped`."""

    def make_context(
        self,
        turn: Turn,
        thread: Thread,
        call: ToolCall,
        locale: str,
        doing: Callable[[str], Awaitable[None]],
    ) -> ToolContext:
        """The context of one call; what it tells of itself is journalled."""
        message = turn.message

        async def record_handle(handle: str) -> None:
            await self.journal.record_call_handle(turn, call.call_id, handle)

        async def record_remote(remote: Remote) -> None:
            await self.journal.record_remote(thread.id, remote)

        return ToolContext(
            asker=message.author,
            address=message.address,
            turn=turn.id,
            seq=turn.seq,
            call_id=call.call_id,
            thread=thread,
            locale=locale,
            show_progress=doing,
            tool=call.name,
            zone=zone_of(message, self.zone),
            message_text=message.text,
            files=TurnFiles(turn, thread.id, self),
            handle=call.handle,
            record_handle=record_handle,
            record_remote=record_remote,
            is_repeat=bool(message.replaces),
            is_stopped=lambda: self.stopped(turn.seq),
        )

    async def make_command_context(self, turn: Turn, call: ToolCall, show: Show) -> ToolContext:
        """The context of what a person typed or clicked, without a model."""

        async def show_words(words: str) -> None:
            await show(Progress(doing=words))

        thread = await self.load_thread(turn)
        ctx = self.make_context(turn, thread, call, LANGUAGE.get(), show_words)

        async def record_remote(remote: Remote) -> None:
            await self.journal.record_remote(thread.id, remote)
            if remote.kind == "container":
                await self.threads.put(replace(thread, container=remote.id))

        return replace(ctx, record_remote=record_remote)

    async def load_thread(self, turn: Turn, new: bool = False) -> Thread:
        """The thread map's record; a lost or older one is made anew. `new`: there is none yet."""
        conversation = turn.message.address.conversation
        known = None if new else await self.threads.get(conversation)
        if known and (known.id, known.generation) == (turn.thread, turn.generation):
            return known
        return Thread(conversation, turn.thread, turn.generation, used_at=time.time())

    async def fetch_attachments(self, message: Message) -> tuple[Sequence[File], Sequence[str]]:
        """The message's files, fetched now where that was not done yet; and what is missing."""
        if not message.attachments:
            return (), ()
        kept = {(f.name, f.size): f for f in await self.files.list_of_event(message.event_key)}
        had = await run_together(
            *(self._fetch_attachment(message, one, kept) for one in message.attachments)
        )
        found = [file for file in had if file is not None]
        pairs = zip(message.attachments, had, strict=True)
        return found, [text.safe_file_name(one.name) for one, file in pairs if file is None]

    async def _fetch_attachment(
        self, message: Message, attachment: Attachment, kept: Mapping[tuple[str, int], File]
    ) -> File | None:
        name = text.safe_file_name(attachment.name)
        if attachment.file:
            return File(attachment.file, name, attachment.type, attachment.size)
        known = kept.get((name, attachment.size))
        fetch = self.fetch.get(message.address.platform)
        if known is not None or fetch is None:
            return known
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                return await fetch(message, attachment)
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True)
class TurnFiles:
    """The `ContextFiles` of one turn."""

    turn: Turn
    thread: str
    tool_contexts: ToolContexts

    async def list_files(self) -> Sequence[File]:
        message, files = self.turn.message, self.tool_contexts.files
        found: list[File] = []
        for shown in await self.tool_contexts.journal.list_entries(
            message.address.conversation, self.thread
        ):
            answer, had = shown.answer, shown.message
            # In shared places a message may have brought the files of others before it.
            some = bool(had.attachments or had.address.shared or (answer and answer.files))
            if some and shown.seq < self.turn.seq:
                found.extend(await files.list_of_event(shown.message.event_key))
        attached, _ = await self.tool_contexts.fetch_attachments(message)
        found.extend([*await files.list_of_event(message.event_key), *attached])
        return tuple({file.id: file for file in found}.values())

    async def read(self, file: File) -> bytes:
        _, data = await self.tool_contexts.files.get(file.id)
        return data

    async def save(self, name: str, type: str, data: bytes) -> File:
        message = self.turn.message
        return await self.tool_contexts.files.put(
            message.event_key, name, type, data, message.author, message.address.conversation
        )


def zone_of(message: Message, zone: str) -> str:
    """The asker's time zone where it is one, else `zone`, else UTC."""
    for name in filter(None, (message.time_zone, zone)):
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError):
            continue
    return "UTC"
