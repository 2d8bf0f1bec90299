"""Files that people attach: their download, and the sentences on those that could not be used.

A download begins when its message is stored, or when the turn needs the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from core.base.errors import PonteError
from core.base.i18n import say
from core.domain.conversation_ports import Files
from core.domain.file_text import (
    MAX_ATTACHMENT_BYTES,
    MAX_FILE_TEXT_CHARACTERS,
    UNSURE_ENCODING,
    decode_file_text,
    file_kind,
    find_encoding,
    too_large,
)
from core.domain.messages import Attachment, File, Message

FILES_NOT_READ = "I couldn't read {names}, so I answered without it."
FILE_CUT = "`{name}` is long. I read its first {count} characters."
ENCODING_UNSURE = (
    "`{name}` isn't UTF-8. I read it as Windows-1252. If letters are wrong, send it as UTF-8."
)
KIND_NOT_READ = "I can't read {names}. I read {kinds}."
FILE_KINDS = {
    "text": "text (such as CSV, JSON, Markdown, code)",
    "picture": "pictures (PNG, JPEG, WebP, GIF)",
    "pdf": "PDF",
}
"""What a model can read, by kind (`core.domain.file_text.file_kind`)."""

Read = Callable[[Attachment], Awaitable[tuple[Attachment, bytes] | None]]
"""Downloads a file from its platform. Returns its description and its bytes; None if it is
refused."""


class FileDownloads:
    """Downloads files, each of them once: callers that ask during a download wait for its result.

    An error of a type in `failures` is logged with the text that `why` returns.
    """

    def __init__(
        self, platform: str, files: Files, read: Read, failures: tuple[type[Exception], ...] = (),
        why: Callable[[Exception], str] = repr,
    ) -> None:  # fmt: skip
        self._log = structlog.get_logger(platform)
        self._files = files
        self._read = read
        self._failures: tuple[type[Exception], ...] = (PonteError, *failures)
        self._why = why
        self._under_way: dict[tuple[str, str], asyncio.Task[File | None]] = {}

    def begin(self, message: Message) -> None:
        """Start to download all files of a message at once."""
        for attachment in message.attachments:
            self._task(message, attachment)

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Return a file; None if it is too large, refused or deleted. Implements the port
        `FetchAttachment`."""
        return await asyncio.shield(self._task(message, attachment))

    async def fetch_all(self, message: Message) -> None:
        """Download all files of a message, one after the other."""
        for attachment in message.attachments:
            await self.fetch(message, attachment)

    async def close(self) -> None:
        """Cancel all downloads."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, message: Message, attachment: Attachment) -> asyncio.Task[File | None]:
        """Return the task that downloads the file. Start it if the file is not being downloaded."""
        key = (message.event_key, attachment.reference)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._get(message, attachment))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _get(self, message: Message, attachment: Attachment) -> File | None:
        """Download one file and store it. Return None if it is too large, refused, or the download
        fails."""
        if attachment.size > MAX_ATTACHMENT_BYTES:
            self._log.info("file too large to download", file_bytes=attachment.size)
            return None
        try:
            found = await self._read(attachment)
            if found is None or len(found[1]) > MAX_ATTACHMENT_BYTES:
                return None
            known, data = found
            return await self._files.put(
                message.event_key, known.name, known.type, data, message.author,
                message.address.conversation,
            )  # fmt: skip
        except self._failures as error:
            self._log.warning(
                "could not download a file", turn=message.turn, error=self._why(error)
            )
            return None


async def describe_unread(
    message: Message,
    files: Sequence[File],
    missing: Sequence[str],
    stored: Files,
) -> list[str]:
    """Return a sentence for each file that was not read, or not to its end.

    `files` are those that were downloaded, `missing` the names of the others. Raises NotFound.
    """
    refused = [large for one in message.attachments if (large := too_large(one))]
    left = [name for name in missing if name not in {large.values["name"] for large in refused}]
    told = [large.words() for large in refused]
    for file in files:
        if file_kind(file.type, file.name) == "text":
            _, data = await stored.get(file.id)
            encoding = find_encoding(data)
            if not encoding:
                left.append(file.name)
            elif encoding == UNSURE_ENCODING:
                told.append(say(ENCODING_UNSURE, name=file.name))
            if encoding and len(decode_file_text(data)) > MAX_FILE_TEXT_CHARACTERS:
                told.append(say(FILE_CUT, name=file.name, count=MAX_FILE_TEXT_CHARACTERS))
    if left:
        told.append(say(FILES_NOT_READ, names=", ".join(f"`{name}`" for name in left)))
    return told


def describe_unread_kinds(names: Sequence[str], kinds: Collection[str]) -> str:
    """Return the sentence on files of other kinds than the `kinds` that the model reads."""
    read = ", ".join(say(words) for kind, words in FILE_KINDS.items() if kind in kinds)
    return say(KIND_NOT_READ, names=", ".join(f"`{name}`" for name in names), kinds=read)
