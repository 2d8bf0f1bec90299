"""Reads the messages and files that a message refers to, when its turn starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import discord
import structlog

from adapters.discord.client import IN_DOUBT, attempt, history, own_id
from adapters.discord.events import has_readable_content, is_in_conversation, is_speech, quote_of
from adapters.discord.posts import files_of
from adapters.discord.state import DiscordState, ThreadState
from core.base.errors import PonteError
from core.base.i18n import say
from core.chat import incoming
from core.domain.messages import MAX_ATTACHMENT_BYTES, Attachment, Message, Quote

log = structlog.get_logger("discord")

THREAD_PAGE_SIZE = 100
"""Messages of a thread that are read. One call returns so many
(resources/message.mdx#get-channel-messages-query-string-params)."""
QUOTE_WITHHELD = (
    "Discord doesn't let me read the message that you replied to. To share it, open that "
    "message's menu and choose *Apps → Ask Ponte*. Its text and files are included."
)
FILES_LOST = (
    "I couldn't get the files of the message you asked about. Choose *Apps → Ask Ponte* in "
    "its menu again."
)
HISTORY_WITHHELD = (
    "[Discord does not show what was said before in this thread. Apps → Ask Ponte shows one.]"
)
"""Text for the model, in place of the earlier messages. The model mentions it where it matters."""
Found = tuple[Sequence[Quote], Sequence[Attachment], Sequence[str]]
"""Quotes, files, and sentences for the person on anything that could not be read."""


@dataclass(frozen=True, slots=True)
class DiscordContext:
    """The port `LoadContext`: reads quotes, earlier messages and files when a turn starts.

    `may_read`: whether the operator asked for the message content intent. Without it, Discord
    withholds the text and files of messages that do not address Ponte
    (events/gateway.mdx#message-content-intent). The answer then says that they were withheld.
    """

    client: Callable[[], Awaitable[discord.Client]]
    state: DiscordState
    may_read: bool

    async def __call__(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with its quotes, the earlier messages of its thread and their files.

        Also return sentences in the person's language on anything that could not be read. Unless
        `pointed`, the message is unchanged.
        """
        if not pointed:
            return message, ()
        (quotes, files, untold), (before, more, unread) = await asyncio.gather(
            self._complete_quotes(message), self._read_earlier_messages(message)
        )
        if any(quote.is_replied_to for quote in quotes):
            before = [replace(quote, is_replied_to=False) for quote in before]
        attached = (*message.attachments, *files)
        own_ids = {_file_id(file) for file in attached}
        more = [file for file in more if _file_id(file) not in own_ids]
        room = max(0, incoming.MAX_CONTEXT_FILES - len(attached))
        newest = more[-room:] if room else ()
        whole = replace(message, context=(*before, *quotes), attachments=(*attached, *newest))
        return whole, [say(each, message.locale) for each in (*untold, *unread)]

    async def _complete_quotes(self, message: Message) -> Found:
        """Fetch the quotes that the message event did not contain. Return all quotes, the files of
        fetched ones, and sentences on what could not be read."""
        own_ids = {_file_id(file) for file in message.attachments}
        quotes: list[Quote] = []
        files: list[Attachment] = []
        untold: list[str] = []
        for quote in message.context:
            if not quote.reference:
                quotes.append(quote)
                continue
            full_quote, attached = await self._fetch_quote(quote)
            quotes += [full_quote] if full_quote.text else []
            files += [file for file in attached if _file_id(file) not in own_ids]
            if quote.text and not attached:
                untold.append(FILES_LOST)
            elif not full_quote.text and not (attached and self.may_read):
                untold.append(QUOTE_WITHHELD)
        return quotes, files, untold

    async def _fetch_quote(self, quote: Quote) -> tuple[Quote, Sequence[Attachment]]:
        """Return the quote and files of a referenced message. If it cannot be read, return the
        quote unchanged and no files."""
        client = await self.client()
        me = own_id(client)
        channel, id = (int(part) for part in quote.reference.split("/"))
        location = client.get_partial_messageable(channel)
        try:
            async with asyncio.timeout(incoming.CONTEXT_SECONDS):
                message = await attempt(lambda: location.fetch_message(id))
        except (PonteError, *IN_DOUBT) as error:
            log.info("could not load the quoted message", error=repr(error)[:200])
            return quote, ()
        if quote.text:
            return quote, files_of(message)
        return replace(quote_of(message, me), is_replied_to=quote.is_replied_to), files_of(message)

    async def _read_earlier_messages(self, message: Message) -> Found:
        """Return the messages of the thread that are new to the conversation and were not addressed
        to us. They are read only in a thread that the conversation joins now, or in which several
        people write."""
        address = message.address
        if not address.thread or not address.workspace or message.is_click:
            return (), (), ()
        thread, source = int(address.thread), int(message.reply_to.source)
        thread_state = self.state.threads.get(thread)
        if thread_state is None or thread == source:
            return (), (), ()
        since = thread_state.hear(source)
        first = not since
        self.state.note_change()
        if thread_state.people == [message.author.id] and not first:
            return (), (), ()
        if not self.may_read:
            return ([Quote("Discord", HISTORY_WITHHELD, is_note=True)] if first else ()), (), ()
        try:
            async with asyncio.timeout(incoming.CONTEXT_SECONDS):
                return await self._read_thread(
                    int(address.channel), thread, since, source, thread_state
                )
        except (PonteError, *IN_DOUBT) as error:
            log.info("could not load the messages of a thread", error=repr(error)[:200])
            return (), (), (incoming.THREAD_UNREAD,)

    async def _read_thread(
        self, channel: int, thread: int, since: int, source: int, thread_state: ThreadState
    ) -> Found:
        """Read the messages between the ids `since` and `source` in a thread, and the message that
        it was created from if `since` is 0. Note who takes part in the thread."""
        client = await self.client()
        me = own_id(client)
        location = client.get_partial_messageable(thread)
        newest = await history(location, before=discord.Object(source), limit=THREAD_PAGE_SIZE)
        earlier = [m for m in reversed(newest) if m.id > since]
        thread_state.join(*(str(m.author.id) for m in earlier if is_speech(m)))
        unheard = [m for m in earlier if has_readable_content(m) and not is_in_conversation(m, me)][
            -incoming.MAX_EARLIER_MESSAGES :
        ]
        root = None if since else await self._find_root(client, channel, thread)
        quotes = [
            quote_of(m, me, incoming.EARLIER_MESSAGE_CHARACTERS) for m in unheard if m.id != thread
        ]
        files = [f for m in ([root] if root else []) + unheard for f in files_of(m)]
        if root is not None and has_readable_content(root):
            quotes.insert(0, replace(quote_of(root, me), is_replied_to=True))
        return quotes, [file for file in files if file.size <= MAX_ATTACHMENT_BYTES], ()

    async def _find_root(
        self, client: discord.Client, channel: int, thread: int
    ) -> discord.Message | None:
        """Return the message that the thread was created from, or None. It is in the parent
        channel, or in the thread itself if that is a post in a forum. In both cases it has the
        thread's id (topics/threads.mdx)."""
        for location in (channel, thread):
            where = client.get_partial_messageable(location)
            try:
                return await attempt(lambda: where.fetch_message(thread))  # noqa: B023
            except PonteError:
                continue
        return None


def _file_id(attachment: Attachment) -> str:
    return attachment.reference.split(" ")[0].rpartition("/")[2]
