"""What a post of ours carries besides its text: cards, the stop button, files."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import discord

from adapters.discord import cards
from adapters.discord.calls import FilesTooLarge, attempt
from adapters.discord.markup import Sheet
from adapters.discord.pages import LIMIT, pages
from core.errors import NotFound, PonteError, PostRemoved, Undeliverable
from core.messages import Answer, File
from core.ports import Files
from core.text import aside
from core.words import say

FILE_LIMIT = discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
"""Bytes of one file where nobody boosts or pays: reference.mdx#uploading-files."""
REQUEST_LIMIT = 24 * 1024 * 1024
"""Bytes of all files in one message, and so of one. Discord takes 25 MiB for the request with all
that it carries: resources/message.mdx#create-message-limitations."""
MOST_FILES = 10  # code 30015 in topics/opcodes-and-status-codes.mdx#json-json-error-codes
UPLOADS = 3
"""Tries after which an upload that Discord does not take is given up, in words."""


@dataclass(frozen=True, slots=True)
class Dress:
    """The final form of an answer's last post."""

    embeds: list[discord.Embed]
    view: discord.ui.View | None
    sheets: tuple[Sheet, ...]

    @property
    def plain(self) -> bool:
        """Whether it carries text alone."""
        return not (self.embeds or self.view or self.sheets)

    def attachments(self) -> list[discord.File]:
        return attachments(self.sheets)


class Wardrobe:
    """Dresses the answer that is being brought, once; a long one takes time."""

    def __init__(self, locale: str, most: int) -> None:
        self._locale = locale
        self._most = most
        self._made: tuple[Answer, Dress] | None = None

    async def dress(self, answer: Answer) -> Dress:
        """`most`, above, is how many parts it was split into at most: what is over is a file."""
        if self._made is None or self._made[0] is not answer:
            self._made = (answer, await self._make(answer))
        return self._made[1]

    async def _make(self, answer: Answer) -> Dress:
        made = await aside(lambda text: pages(text, self._locale, self._most), answer.text)
        return Dress(
            embeds=cards.embeds(answer.cards, self._locale),
            view=cards.view(answer.cards, self._locale) if answer.cards else None,
            sheets=made.sheets,
        )


def content(part: str, answer: Answer | None, locale: str) -> str:
    """Discord refuses a message of nothing; one that only carries files says so."""
    if answer and len(answer.cards) > cards.MOST:
        part = noted(part, cards.in_words(answer.cards[cards.MOST :], locale)).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(nothing to say)", locale)


Put = Callable[[str, list[discord.File]], Awaitable[object]]
"""Gives a post this text and these files, in place of what it had."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An answer's files, put under a post that stands; `largest`: bytes of one that the place
    takes."""

    store: Files
    largest: int

    async def put(
        self,
        put: Put,
        text: str,
        sheets: Sequence[Sheet],
        files: Sequence[File],
        locale: str,
        tries: int = 1,
    ) -> None:
        """Whatever does not fit, or failed for the last of `tries`, gets a line of words."""
        fits: list[Sheet] = []
        notes: list[str] = []
        limit = min(self.largest, REQUEST_LIMIT)
        room = REQUEST_LIMIT - sum(len(sheet.data) for sheet in sheets)
        for file in files:
            if file.size > limit or tries > UPLOADS:
                notes.append(too_large(file, limit, locale))
            elif file.size > room or len(fits) + len(sheets) >= MOST_FILES:
                notes.append(no_room(file, locale))
            elif (sheet := await self._sheet(file)) is None:
                notes.append(NotFound(what=f"`{file.name}`").words(locale))
            else:
                fits.append(sheet)
                room -= file.size
        attached = (*sheets, *fits)
        try:
            await attempt(lambda: put(noted(text, notes), attachments(attached)))
        except FilesTooLarge:
            notes = [too_large(file, limit, locale) for file in files]
            await attempt(lambda: put(noted(text, notes), attachments(sheets)))
        except Undeliverable as refused:
            notes = refusals(refused, [sheet.name for sheet in attached], locale)
            await attempt(lambda: put(noted(text, notes), []))

    async def _sheet(self, file: File) -> Sheet | None:
        try:
            _, data = await self.store.get(file.id)
        except NotFound:
            return None
        return Sheet(file.name, data)


def attachments(sheets: Sequence[Sheet]) -> list[discord.File]:
    """Fresh each time: the SDK uses a File up."""
    return [discord.File(io.BytesIO(sheet.data), sheet.name) for sheet in sheets]


def noted(text: str, notes: Sequence[str]) -> str:
    """The text with its notes; where both do not fit, the notes have the last lines."""
    if not notes:
        return text
    tail = "\n\n" + "\n".join(notes)[: LIMIT // 2]
    return text[: LIMIT - len(tail)] + tail


def refusals(error: PonteError, names: Sequence[str], locale: str) -> list[str]:
    """What stands in place of files that were refused with the request. Raises `error` where it
    was not for them."""
    if isinstance(error, PostRemoved) or (isinstance(error, Undeliverable) and not names):
        raise error
    if not names:
        raise Undeliverable(reason=error.code) from error
    why = error.values.get("reason", error.code)
    return [say("{name} cannot stand here ({why}).", locale, name=f"`{n}`", why=why) for n in names]


def too_large(file: File, limit: int, locale: str) -> str:
    return say(
        "{name} ({size}) does not fit here: Discord takes files of up to {limit}.",
        locale,
        name=f"`{file.name}`",
        size=mebibytes(file.size),
        limit=mebibytes(limit),
    )


def no_room(file: File, locale: str) -> str:
    return say(
        "{name} ({size}) does not fit beside the others: a message takes {count} files, and "
        "{limit} in all. Please ask me for it alone.",
        locale,
        name=f"`{file.name}`",
        size=mebibytes(file.size),
        count=MOST_FILES,
        limit=mebibytes(REQUEST_LIMIT),
    )


def mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
