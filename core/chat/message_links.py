"""Links to messages of a chat platform: what they point at is quoted for the model, if both the
author of the link and the bot may read it at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from core.base.errors import PlatformBusy
from core.base.i18n import say
from core.chat.incoming import CONTEXT_SECONDS, describe_cut
from core.domain.messages import Quote

MAX_LINKS = 5
LINK_UNREAD = (
    "I couldn't read the linked message: one of us has no access to it, or it was deleted."
)
LINK_UNCHECKED = "I couldn't check whether you can read the linked message, so I didn't read it."
LINK_PRIVATE = (
    "The linked message is private, and other people can read this conversation. Send me the "
    "link in a direct message."
)
LINKS_LEFT_OUT = "I only read the first {count} linked messages."


@dataclass(frozen=True, slots=True)
class MessageLink:
    """A link to a message, by the platform's ids. `workspace` and `thread` are "" if the link does
    not name them."""

    channel: str
    message: str
    workspace: str = ""
    thread: str = ""


LinkedMessages = tuple[Sequence[Quote], int]
"""A thread's messages as far as they fit, and the number of all."""
ReadLink = Callable[[MessageLink], Awaitable[LinkedMessages | str]]
"""Returns the message of a link with those of its thread, or the English sentence that says why it
was not read. Raises PlatformBusy if the platform does not answer now."""


async def read_links(
    links: Sequence[MessageLink], read: ReadLink, locale: str
) -> tuple[list[Quote], list[str]]:
    """Read what the first MAX_LINKS links lead to, all at the same time. Return quotes for the
    model, and sentences about what was not read, each once, in the language `locale`."""
    links = list(dict.fromkeys(links))

    async def read_one(link: MessageLink) -> LinkedMessages | str:
        try:
            async with asyncio.timeout(CONTEXT_SECONDS):
                return await read(link)
        except (PlatformBusy, TimeoutError):
            return LINK_UNCHECKED

    quotes, sentences = list[Quote](), list[str]()
    for found in await asyncio.gather(*map(read_one, links[:MAX_LINKS])):
        if isinstance(found, str):
            sentences.append(say(found, locale))
        else:
            messages, total = found
            notes, told = describe_cut(len(messages), total, locale)
            quotes += [*messages, *notes]
            sentences += told
    if len(links) > MAX_LINKS:
        sentences.append(say(LINKS_LEFT_OUT, locale, count=MAX_LINKS))
    return quotes, list(dict.fromkeys(sentences))
