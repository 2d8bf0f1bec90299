"""What of a message's files was not taken, or not read whole, told to the person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core import text
from core.errors import TooLarge
from core.i18n import say
from core.messages import Attachment, File, Message
from core.models.input import CHARACTERS, is_cut

LARGEST = 20 * 1024 * 1024
"""Bytes of one file that is taken: a request to a model holds no more (`core.models.input`)."""
TOO_LARGE = "`{name}` ({size}) is more than I take: files of up to {limit} each."
MISSING = "I could not read {names}, so I answered without."
CUT = "`{name}` is long: I read its first {count} characters."


def too_large(attachment: Attachment) -> TooLarge | None:
    """The refusal of a file, which names the limit; None for one that is taken."""
    if attachment.size <= LARGEST or attachment.file:
        return None
    name = text.file_name(attachment.name)
    return TooLarge(TOO_LARGE, name=name, size=_mib(attachment.size), limit=_mib(LARGEST))


async def unread(
    message: Message,
    files: Sequence[File],
    missing: Sequence[str],
    read: Callable[[File], Awaitable[bytes]],
    locale: str,
) -> list[str]:
    """A sentence for each thing; `files` are those that were taken, `missing` names those that
    were not. Raises NotFound."""
    refused = [large for one in message.attachments if (large := too_large(one))]
    left = [name for name in missing if name not in {large.values["name"] for large in refused}]
    told = [large.words(locale) for large in refused]
    if left:
        told.append(say(MISSING, locale, names=", ".join(f"`{name}`" for name in left)))
    cut = [file.name for file in files if await is_cut(file, read)]
    return told + [say(CUT, locale, name=name, count=f"{CHARACTERS:,}") for name in cut]


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
