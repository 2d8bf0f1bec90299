"""How a file's bytes are got from Discord, and how files stand under an answer."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence

import discord

from adapters.discord.client import FilesTooLarge, attempt
from adapters.discord.render import LIMIT, Sheet
from core.domain.errors import NotFound, PonteError, PostRemoved, Undeliverable
from core.domain.messages import Attachment, File
from core.ports.conversations import Files
from core.text import text
from core.text.i18n import format_size as size_of
from core.text.i18n import say

FILE_DOWNLOAD_SECONDS = 120.0
"""Seconds that one file may take."""

DEFAULT_FILE_BYTES = discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
"""Bytes of one file where nobody boosts or pays: reference.mdx#uploading-files."""
MAX_REQUEST_BYTES = 24 * 1024 * 1024
"""Bytes of all files in one message, and so of one. Discord takes 25 MiB for the request with all
that it carries: resources/message.mdx#create-message-limitations."""
MAX_FILES_IN_POST = 10  # code 30015 in topics/opcodes-and-status-codes.mdx#json-json-error-codes
MAX_UPLOAD_TRIES = 3
"""Tries after which an upload that Discord does not take is given up, in words."""

Call = Callable[[list[discord.File], Sequence[str]], Awaitable[discord.Message]]
"""Makes or changes a post, with these files and these notes in its text."""
Put = Callable[[str, list[discord.File]], Awaitable[object]]
"""Gives a post this text and these files, in place of what it had."""


class DiscordFiles:
    def __init__(self, client: Callable[[], Awaitable[discord.Client]]) -> None:
        self._client = client

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes]:
        return attachment, await self._bytes(attachment)

    async def _bytes(self, attachment: Attachment) -> bytes:
        client = await self._client()
        where, _, url = attachment.reference.rpartition(" ")
        try:
            return await self._download(client, url)
        except PonteError:
            if not where or (fresh := await self._address(client, where)) is None:
                raise
            return await self._download(client, fresh)

    async def _download(self, client: discord.Client, url: str) -> bytes:
        """From the CDN of Discord, or whatever a proxy or fake named; without cookies."""
        return await attempt(lambda: client.http.get_from_cdn(url), deadline=FILE_DOWNLOAD_SECONDS)

    async def _address(self, client: discord.Client, where: str) -> str | None:
        """A fresh address: the one in the event ends within a day."""
        channel, message, _ = where.split("/")
        place = client.get_partial_messageable(int(channel))
        found = await attempt(lambda: place.fetch_message(int(message)))
        told = (one.reference for one in files_of(found))
        return next((r.split(" ")[1] for r in told if r.startswith(where + " ")), None)


async def send_with_sheets(call: Call, sheets: Sequence[Sheet], locale: str) -> discord.Message:
    """`call` with an answer's long tables; where Discord refuses them, a line names each."""
    try:
        return await attempt(lambda: call(attachments(sheets), ()))
    except (FilesTooLarge, Undeliverable) as refused:
        notes = explain_refusal(refused, [sheet.name for sheet in sheets], locale)
        return await attempt(lambda: call([], notes))


async def put_files(
    put: Put,
    text: str,
    sheets: Sequence[Sheet],
    files: Sequence[File],
    *,
    store: Files,
    largest: int,
    tries: int,
    locale: str,
) -> None:
    """Under a post that stands; `largest`: bytes of one file that the place takes.

    Whatever does not fit, or failed for the last of `tries`, gets a line of words.
    """
    fits: list[Sheet] = []
    notes: list[str] = []
    limit = min(largest, MAX_REQUEST_BYTES)
    room = MAX_REQUEST_BYTES - sum(len(sheet.data) for sheet in sheets)
    for file in files:
        if file.size > limit or tries > MAX_UPLOAD_TRIES:
            notes.append(explain_too_large(file, limit, locale))
        elif file.size > room or len(fits) + len(sheets) >= MAX_FILES_IN_POST:
            notes.append(explain_no_room(file, locale))
        else:
            try:
                _, data = await store.get(file.id)
            except NotFound:
                notes.append(NotFound(what=f"`{file.name}`").words(locale))
            else:
                fits.append(Sheet(file.name, data))
                room -= file.size
    attached = (*sheets, *fits)
    try:
        await attempt(lambda: put(append_notes(text, notes), attachments(attached)))
    except FilesTooLarge:
        notes = [explain_too_large(file, limit, locale) for file in files]
        await attempt(lambda: put(append_notes(text, notes), attachments(sheets)))
    except Undeliverable as refused:
        notes = explain_refusal(refused, [sheet.name for sheet in attached], locale)
        await attempt(lambda: put(append_notes(text, notes), []))


def attachments(sheets: Sequence[Sheet]) -> list[discord.File]:
    """Fresh each time: the SDK uses a File up."""
    return [discord.File(io.BytesIO(sheet.data), sheet.name) for sheet in sheets]


def append_notes(text: str, notes: Sequence[str]) -> str:
    """The text with its notes; where both do not fit, the notes have the last lines."""
    if not notes:
        return text
    tail = "\n\n" + "\n".join(notes)[: LIMIT // 2]
    return text[: LIMIT - len(tail)] + tail


def explain_refusal(error: PonteError, names: Sequence[str], locale: str) -> list[str]:
    """What stands in place of files that were refused with the request. Raises `error` where it
    was not for them."""
    if isinstance(error, PostRemoved) or (isinstance(error, Undeliverable) and not names):
        raise error
    if not names:
        raise Undeliverable(reason=error.code) from error
    why = error.values.get("reason", error.code)
    return [say("{name} cannot stand here ({why}).", locale, name=f"`{n}`", why=why) for n in names]


def explain_too_large(file: File, limit: int, locale: str) -> str:
    return say(
        "{name} ({size}) does not fit here: Discord takes files of up to {limit}.",
        locale,
        name=f"`{file.name}`",
        size=size_of(file.size),
        limit=size_of(limit),
    )


def explain_no_room(file: File, locale: str) -> str:
    return say(
        "{name} ({size}) does not fit beside the others: a message takes {count} files, and "
        "{limit} in all. Please ask me for it alone.",
        locale,
        name=f"`{file.name}`",
        size=size_of(file.size),
        count=MAX_FILES_IN_POST,
        limit=size_of(MAX_REQUEST_BYTES),
    )


def files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """By reference to the message, and by an address that ends within a day: a message that is
    quoted may be read once only."""
    where = f"{message.channel.id}/{message.id}"
    return tuple(_file(file, f"{where}/{file.id} {file.url}") for file in all_attachments(message))


def given_file(file: discord.Attachment) -> Attachment:
    """One that came with an interaction, which Discord tells once."""
    return _file(file, file.url)


def file_name(file: discord.Attachment) -> str:
    """Discord turns `filename` into ASCII; `title` is what the person called it."""
    if not file.title:
        return text.safe_file_name(file.filename)
    _, dot, extension = file.filename.rpartition(".")
    return text.safe_file_name(file.title + dot + extension)


def all_attachments(message: discord.Message) -> list[discord.Attachment]:
    """Its own files, and those of what it forwards."""
    forwarded = [file for snapshot in message.message_snapshots for file in snapshot.attachments]
    return [*message.attachments, *forwarded]


def _file(file: discord.Attachment, reference: str) -> Attachment:
    kind = (file.content_type or "application/octet-stream").split(";")[0]
    return Attachment(file_name(file), kind, file.size, reference=reference)
