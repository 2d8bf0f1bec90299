"""Reads what a message refers to, when its turn starts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import discord
import structlog

from adapters.discord.client import IN_DOUBT, attempt, history, own_id
from adapters.discord.events import files_of, has_readable_content, is_speech, mentions_us, quote_of
from adapters.discord.people import can_read_channel, lists_messages
from adapters.discord.state import DiscordState
from core.base.errors import PlatformBusy, PonteError
from core.base.i18n import say
from core.base.text import choose_newest
from core.chat import incoming
from core.chat.message_links import (
    LINK_PRIVATE,
    LINK_UNCHECKED,
    LINK_UNREAD,
    LinkedMessages,
    MessageLink,
    read_links,
)
from core.domain.messages import MAX_ATTACHMENT_BYTES, Address, Attachment, Message, Quote

log = structlog.get_logger("discord")

_LINK = re.compile(
    r"(?:https?://(?:\w+\.)?discord(?:app)?\.com|discord://[^\s/]*)/channels"
    r"/(?:@me|(?P<workspace>\d{1,20}))/(?P<channel>\d{1,20})/(?P<message>\d{1,20})",
    re.IGNORECASE,
)
"""The address of Discord's *Copy Message Link*, or of the same message in its app."""
MAX_THREAD_MESSAGES = 300
"""Newest messages of a thread that are read. One call returns 100
(resources/message.mdx#get-channel-messages-query-string-params)."""
QUOTE_WITHHELD = (
    "Discord doesn't let me read the message that you replied to. To share it, open that "
    "message's menu and choose *Apps → Ask Ponte*. Its text and files are included."
)
FILES_LOST = "I couldn't get that message's files. Choose *Apps → Ask Ponte* in its menu again."
HISTORY_WITHHELD = (
    "[Discord does not show what was said before in this thread. Apps → Ask Ponte shows one.]"
)
"""What the model reads in place of the earlier messages. The model mentions it where it matters."""
Found = tuple[Sequence[Quote], Sequence[Attachment], Sequence[str]]
"""Quotes, files, and sentences for the person on what could not be read."""


@dataclass(frozen=True, slots=True)
class DiscordContext:
    """The port `LoadContext`: reads quotes, earlier messages and files when a turn starts.

    `may_read`: the operator asked for the message content intent. Without it, Discord withholds the
    text and files of messages that do not address Ponte
    (events/gateway.mdx#message-content-intent). The answer then says so.
    """

    client: Callable[[], Awaitable[discord.Client]]
    state: DiscordState
    may_read: bool

    async def __call__(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with its quotes, the earlier messages of its thread and their files,
        and sentences in the person's language on what could not be read.

        Unless `pointed` (the message may refer to others, which most commands do not), it is
        unchanged.
        """
        if not pointed:
            return message, ()
        # `quotes`: what it replies to or forwards. `before`: earlier messages of its thread.
        if message.context:
            (quotes, files, unread), (before, earlier_files, also_unread) = await asyncio.gather(
                self._complete_quotes(message), self._read_earlier_messages(message)
            )
        else:
            quotes, files, unread = (), (), ()
            before, earlier_files, also_unread = await self._read_earlier_messages(message)
        linked, unlinked = list[Quote](), list[str]()
        if links := find_message_links(message.text):
            read = partial(self._read_link, message)
            linked, unlinked = await read_links(links, read, message.locale)
        # A reply is about what it replies to, and not about the root.
        if any(quote.is_replied_to for quote in quotes):
            before = [replace(quote, is_replied_to=False) for quote in before]
        # The person's own files and those of quotes come first; the newest files of earlier
        # messages get the room that is left, each once.
        attached = (*message.attachments, *files)
        own_ids = {_file_id(file) for file in attached}
        earlier_files = [file for file in earlier_files if _file_id(file) not in own_ids]
        room = max(0, incoming.MAX_CONTEXT_FILES - len(attached))
        newest = earlier_files[-room:] if room else ()
        whole = replace(
            message, context=(*linked, *before, *quotes), attachments=(*attached, *newest)
        )
        sentences = [say(sentence, message.locale) for sentence in (*unread, *also_unread)]
        return whole, [*sentences, *unlinked]

    async def _read_link(self, message: Message, link: MessageLink) -> LinkedMessages | str:
        """Return the message of a link with its thread, or why it is not read (`ReadLink`).

        The bot may be able to read more than the asker, and than those who read the answer. So it
        is read only if the asker can read its channel, and here only if all can.
        """
        client, here = await self.client(), message.address
        place = client.get_partial_messageable(int(link.channel))
        is_here, parent = link.channel in (here.channel, here.thread), 0
        there: Address | None = None  # not set for a direct message with Ponte
        try:
            if link.workspace:
                # The gateway lists our servers, but another process may have its session.
                guild = client.get_guild(int(link.workspace))
                if guild is None:
                    guild = await attempt(partial(client.fetch_guild, int(link.workspace)))
                channel = await attempt(partial(guild.fetch_channel, int(link.channel)))
                if isinstance(channel, discord.Thread):
                    # Whether the author is in a private thread is not looked up, so it counts as
                    # no.
                    if channel.is_private() and not is_here:
                        return LINK_UNREAD
                    parent = channel.parent_id
                    channel = await attempt(partial(guild.fetch_channel, parent))
                there = Address(here.platform, str(channel.id), link.workspace)
                may_read = await can_read_channel(client, message.author, there, history=True)
                if not may_read:
                    return LINK_UNCHECKED if may_read is None else LINK_UNREAD
                everyone = channel.permissions_for(guild.default_role)
                is_public = lists_messages(channel, everyone) and link.workspace == here.workspace
                # Others read the answer here, and may not see that channel.
                if here.is_shared and not is_public and not is_here:
                    return LINK_PRIVATE
            # Of direct messages, only this one is known to be the author's.
            elif not is_here:
                return LINK_UNREAD
            original = await attempt(partial(place.fetch_message, int(link.message)))
        except (PlatformBusy, *IN_DOUBT):
            return LINK_UNCHECKED
        except (PonteError, discord.InvalidData) as error:
            log.info("could not load a linked message", error=repr(error)[:200])
            return LINK_UNREAD
        if not has_readable_content(original):
            return LINK_UNREAD
        # If those around it cannot be read, the linked message alone is enough.
        found, total = [original], 0
        with suppress(PonteError, *IN_DOUBT):
            found, total = await self._read_thread_of(original, parent)
        found = list(filter(has_readable_content, found))
        quotes = [
            replace(quote_of(one, own_id(client), are_files_apart=True), place=there)
            for one in found
        ]
        chosen = choose_newest([quote.text for quote in quotes], 0, found.index(original))
        return [quotes[n] for n in chosen], max(total, len(quotes))

    async def _read_thread_of(
        self, original: discord.Message, parent: int
    ) -> tuple[list[discord.Message], int]:
        """Return a message with the first and the newest ones of its thread, or of the thread that
        was created from it, or with the replies to it, and how many there are; 0: these. `parent`
        is the channel of the thread in which it stands, 0 outside threads. Raises as `attempt`
        does."""
        client, place = await self.client(), original.channel
        # A thread has the id of the message that it was created from (topics/threads.mdx).
        thread = place.id if parent else original.id if original.flags.has_thread else 0
        if not thread:
            # In a channel, others come between the replies, so one page is searched.
            later = await history(place, after=original, limit=100)
            found = [m for m in later if m.reference and m.reference.message_id == original.id]
            return [original, *found], 0
        newest = await history(
            client.get_partial_messageable(thread), limit=MAX_THREAD_MESSAGES, oldest_first=False
        )
        root = await self._find_root(parent, thread) if parent else original
        found = sorted({original, *newest, *([root] if root else [])}, key=lambda one: one.id)
        return found, await self._count_messages(thread, newest)

    async def _count_messages(self, thread: int, newest: Sequence[discord.Message]) -> int:
        if len(newest) < MAX_THREAD_MESSAGES:
            return 0  # `newest` is the whole thread
        client = await self.client()
        channel = await attempt(partial(client.fetch_channel, thread))
        # It leaves out the message that the thread was created from.
        return 1 + getattr(channel, "message_count", 0)

    async def _find_root(self, parent: int, thread: int) -> discord.Message | None:
        """Return the first message of a thread: the one in the parent channel that it was created
        from, or, in a forum, one in the thread. Both have the thread's id (topics/threads.mdx).
        None if it was deleted."""
        client = await self.client()
        for channel in (parent, thread):
            place = client.get_partial_messageable(channel)
            with suppress(PonteError):
                return await attempt(partial(place.fetch_message, thread))
        return None

    async def _complete_quotes(self, message: Message) -> Found:
        """Fetch the quotes that the event did not contain. Return all quotes, the files of fetched
        ones, and sentences on what could not be read."""
        own_ids = {_file_id(file) for file in message.attachments}
        quotes: list[Quote] = []
        files: list[Attachment] = []
        unread: list[str] = []
        for quote in message.context:
            if not quote.reference:  # it is complete
                quotes.append(quote)
                continue
            # A quote with text came with the form of *Ask Ponte*, which has the text. Only its
            # files are missing.
            complete, attached = quote, tuple[Attachment, ...]()
            channel, id = (int(part) for part in quote.reference.split("/"))  # CHANNEL/MESSAGE
            client = await self.client()
            place = client.get_partial_messageable(channel)
            try:
                async with asyncio.timeout(incoming.CONTEXT_SECONDS):
                    original = await attempt(lambda: place.fetch_message(id))  # noqa: B023
            except (PonteError, *IN_DOUBT) as error:
                log.info("could not load the quoted message", error=repr(error)[:200])
            else:
                attached = files_of(original)
                if not quote.text:
                    own = quote_of(original, own_id(client))
                    complete = replace(own, is_replied_to=quote.is_replied_to)
            # Empty: only files, or a text that was withheld or not loaded.
            quotes += [complete] if complete.text else []
            files += [file for file in attached if _file_id(file) not in own_ids]
            # If Ponte may read all texts, a message of files alone is complete. Otherwise, Discord
            # may have withheld its text.
            if quote.text and not attached:
                unread.append(FILES_LOST)
            elif not complete.text and not (attached and self.may_read):
                unread.append(QUOTE_WITHHELD)
        return quotes, files, unread

    async def _read_earlier_messages(self, message: Message) -> Found:
        """Return the messages of the thread that are new to the conversation and were not addressed
        to us: only in a thread that the conversation joins now, or in which several people
        write."""
        # Only threads of servers have messages of others. A click or schedule has written nothing.
        address = message.address
        is_spoken = message.origin.is_attended and not message.is_click
        if not (address.thread and address.workspace and is_spoken):
            return (), (), ()
        thread, source = int(address.thread), int(message.reply_to.source)
        thread_state = self.state.threads.get(thread)
        if thread_state is None or thread == source:  # this message begins the thread
            return (), (), ()
        # `hear` notes that the conversation knows the thread up to this message, and returns up to
        # which one it knew it before; 0 if it joins the thread now.
        since = thread_state.hear(source)
        first = not since
        self.state.note_change()
        # Nobody else writes here: the conversation has all messages.
        if thread_state.people == [message.author.id] and not first:
            return (), (), ()
        if not self.may_read:
            return ([Quote("Discord", HISTORY_WITHHELD, is_note=True)] if first else ()), (), ()
        root, left_out = None, 0
        try:
            async with asyncio.timeout(incoming.CONTEXT_SECONDS):
                client = await self.client()
                me, place = own_id(client), client.get_partial_messageable(thread)
                newest = await history(
                    place, before=discord.Object(source), limit=MAX_THREAD_MESSAGES
                )
                earlier = [m for m in reversed(newest) if m.id > since]
                thread_state.join(*(str(m.author.id) for m in earlier if is_speech(m)))
                if first:
                    root = await self._find_root(int(address.channel), thread)
                if len(earlier) == len(newest):  # older ones may be new, too
                    # The count includes the root and the message that asks.
                    left_out = await self._count_messages(thread, newest) - len(newest) - 2
        except (PonteError, *IN_DOUBT) as error:
            log.info("could not load the messages of a thread", error=repr(error)[:200])
            return (), (), (incoming.THREAD_UNREAD,)
        # The transcript has our own messages, and those that mention us.
        unread = [m for m in earlier if m.author.id != me and not mentions_us(m, me)]
        # In a forum, the root is one of these messages; it is quoted once, as the root.
        unread = [m for m in unread if has_readable_content(m) and m != root]
        quotes = [quote_of(m, me, incoming.EARLIER_MESSAGE_CHARACTERS) for m in unread]
        if root is not None and has_readable_content(root):
            unread.insert(0, root)
            quotes.insert(0, replace(quote_of(root, me), is_replied_to=True))
        needed = [0] if first and quotes else []
        chosen = choose_newest([quote.text for quote in quotes], *needed)
        files = [file for n in chosen for file in files_of(unread[n])]
        total = len(quotes) + max(0, left_out)
        notes, sentences = incoming.describe_cut(len(chosen), total, message.locale)
        quotes = [*(quotes[n] for n in chosen), *notes]
        return quotes, [file for file in files if file.size <= MAX_ATTACHMENT_BYTES], sentences


def _file_id(attachment: Attachment) -> str:
    return attachment.reference.split(" ")[0].rpartition("/")[2]


def find_message_links(text: str) -> Sequence[MessageLink]:
    return [MessageLink(**match.groupdict("")) for match in _LINK.finditer(text)]
