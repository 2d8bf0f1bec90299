"""Files of messages. A download begins when its message is stored, or when the turn needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from core.base.errors import PonteError
from core.base.i18n import plural, say
from core.base.tasks import cancel_all
from core.domain.messages import (
    MAX_ATTACHMENT_BYTES,
    MAX_FILE_TEXT_CHARACTERS,
    UNSURE_ENCODING,
    Attachment,
    File,
    Message,
    decode_file_text,
    file_kind,
    find_encoding,
    too_large,
)
from core.domain.ports import Files

FILES_NOT_READ = (
    "I couldn't read {names}, so I answered without this file.",
    "I couldn't read {names}, so I answered without these files.",
)
FILE_CUT = "`{name}` is long. I read only the first {count} characters."
ENCODING_UNSURE = (
    "`{name}` isn't UTF-8. I read it as Windows-1252. If letters are wrong, send it as UTF-8."
)
FILES_NOT_FIT = (
    "I answered without reading {names}. Send fewer files in one message, or files of another type."
)
KIND_NOT_READ = "I can't read {names}. I can read {kinds}."
FILE_KINDS = {
    "text": "text (such as CSV, JSON, Markdown, code)",
    "picture": "pictures (PNG, JPEG, WebP, GIF)",
    "pdf": "PDF",
}
"""What a model can read, by kind (`core.domain.messages.file_kind`)."""

Read = Callable[[Attachment], Awaitable[tuple[Attachment, bytes] | None]]
"""Returns the description and the bytes of a file; None if its platform refuses it."""


class FileDownloads:
    """Downloads the files of messages from one platform and stores them, each once: callers that
    ask during a download wait for its result."""

    def __init__(
        self,
        platform: str,
        files: Files,
        download: Read,
        failures: tuple[type[Exception], ...] = (),
        why: Callable[[Exception], str] = repr,
    ) -> None:
        """If `download` raises an error of a type in `failures`, the turn goes on without the file,
        and the log has what `why` returns of the error. Other errors are raised."""
        self._log = structlog.get_logger(platform)
        self._files = files
        self._read = download
        # A file cannot be stored (NotStored), or the platform refuses or is busy.
        self._failures: tuple[type[Exception], ...] = (PonteError, *failures)
        self._why = why
        self._under_way: dict[tuple[str, str], asyncio.Task[File | None]] = {}
        """Downloads that several callers may wait for, by message and file."""

    def begin(self, message: Message) -> None:
        """Start to download all files, without waiting for them."""
        for attachment in message.attachments:
            self._task(message, attachment)

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """Download a file, if no download of it is under way, and return it as stored. None if it
        is too large, refused or deleted. This is the `FetchAttachment` of a platform."""
        # Other callers may wait for this download when one is cancelled.
        return await asyncio.shield(self._task(message, attachment))

    async def fetch_all(self, message: Message) -> None:
        """Fetch one file after the other."""
        for attachment in message.attachments:
            await self.fetch(message, attachment)

    async def close(self) -> None:
        await cancel_all(self._under_way.values())

    def _task(self, message: Message, attachment: Attachment) -> asyncio.Task[File | None]:
        """Return the task that downloads the file, for several callers. Start it if none runs."""
        key = (message.event_key, attachment.reference)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._download(message, attachment))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _download(self, message: Message, attachment: Attachment) -> File | None:
        """Return None if the file is too large, refused, or the download fails: the turn goes on
        without it, and says so to the person."""
        if attachment.size > MAX_ATTACHMENT_BYTES:
            self._log.info("file too large to download", file_bytes=attachment.size)
            return None
        try:
            # The size of the data is checked, too: a platform may report a wrong one.
            result = await self._read(attachment)
            if result is None or len(result[1]) > MAX_ATTACHMENT_BYTES:
                return None
            description, data = result
            return await self._files.put(
                message.event_key,
                description.name,
                description.type,
                data,
                message.author,
                message.address.conversation,
            )
        except self._failures as error:
            self._log.warning(
                "could not download a file", turn=message.turn, error=self._why(error)
            )
            return None


async def describe_unread(
    message: Message, files: Sequence[File], missing: Sequence[str], store: Files
) -> list[str]:
    """Return the sentences that tell a person which files of their message the model does not read,
    or not to the end, and which text may be decoded wrongly.

    `missing` are the names of files that were not downloaded. `store` has the bytes of `files`.
    Raises NotFound.
    """
    # Those that are too large were not downloaded either, but have sentences of their own.
    too_large_files = [
        large for attachment in message.attachments if (large := too_large(attachment))
    ]
    unread_names = [
        name for name in missing if name not in {large.values["name"] for large in too_large_files}
    ]
    sentences = [large.words() for large in too_large_files]
    for file in files:
        # Only text can be cut, or be in an unknown encoding.
        if file_kind(file.type, file.name) == "text":
            _, data = await store.get(file.id)
            encoding = find_encoding(data)
            if not encoding:  # it is no text, whatever its name says
                unread_names.append(file.name)
            elif encoding == UNSURE_ENCODING:
                sentences.append(say(ENCODING_UNSURE, name=file.name))
            is_read = bool(file.outline) or not encoding
            if not is_read and len(decode_file_text(data)) > MAX_FILE_TEXT_CHARACTERS:
                sentences.append(say(FILE_CUT, name=file.name, count=MAX_FILE_TEXT_CHARACTERS))
    if unread_names:
        names = ", ".join(f"`{name}`" for name in unread_names)
        sentences.append(plural(*FILES_NOT_READ, len(unread_names), names=names))
    return sentences


def describe_unread_kinds(names: Sequence[str], kinds: Collection[str]) -> str:
    """Tell a person that the model cannot read the files with these names, and which `kinds` it
    can."""
    readable_kinds = ", ".join(say(words) for kind, words in FILE_KINDS.items() if kind in kinds)
    return say(KIND_NOT_READ, names=", ".join(f"`{name}`" for name in names), kinds=readable_kinds)
