"""Looks up what a message refers to when its turn starts: names, earlier messages and files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from adapters.slack.client import SLACK_PLACE_SECONDS, history, read_history
from adapters.slack.errors import InDoubt, SlackRefused
from adapters.slack.events import SPOKEN, Source, event_key, files_of, forwarded_messages, text_of
from adapters.slack.intake import ThreadParticipants
from adapters.slack.people import check_membership
from adapters.slack.presence import Workspace
from adapters.slack.render import Json, mentioned_ids, to_readable
from core.base.errors import NotFound, PlatformBusy, SettingsError, Undeliverable
from core.base.i18n import say
from core.base.tasks import run_together
from core.base.text import choose_newest, truncate_with_note
from core.chat import incoming
from core.chat.incoming import ConfiguredPlaces
from core.chat.message_links import (
    LINK_PRIVATE,
    LINK_UNCHECKED,
    LINK_UNREAD,
    LinkedMessages,
    MessageLink,
    read_links,
)
from core.domain.messages import Attachment, Message, PlaceMessage, Quote, ReplyTo, turn_id
from core.domain.rights import PlatformMember
from core.journal.journal import Journal

ROOT_CHARACTERS = 4000
"""How much is read of the message that a person refers to, such as a thread's root."""
_CHANNEL_PAGES, _THREAD_PAGES = 2, 25
"""Pages that `read_messages` reads. A channel begins with its newest page, a thread with its oldest
one (docs.slack.dev/reference/methods/conversations.replies), so a thread is read to its end."""
HISTORY_UNREAD = "[what was said before in this thread could not be read]"
"""What the model reads in place of earlier messages that could not be read."""
_LIMITED = (
    "I couldn't read the earlier messages in this thread: Slack lets this app read history "
    "only once a minute. I answered without them."
)
_ONLY_TEXT = "I could read only the text of that message, not its files or the messages before it."
_MORE_FILES = "I only read the newest {count} files in this thread."
_SOMEBODY = re.compile(r"(?<!\w)@([UW][A-Z0-9]{5,})\b")
"""A mention whose name was not known when the message was stored."""
_LINK = re.compile(
    r"https?://(?:(?:[\w-]+\.enterprise\.)?slack\.com|app\.slack\.com/client/E\w+"
    r"|(?P<workspace>[\w-]+\.slack\.com(?:/client/\w+)?))(?:/x-p[\d-]+)?(?:/archives|/messages)?"
    r"/(?P<channel>[CDG][A-Z0-9]+)/(?:p|thread/\w+-)(?P<seconds>\d{10})\.?(?P<rest>\d{6})"
    r"(?:/?\?(?:[^\s<>|)?]*&)?thread_ts=(?P<thread>\d{10}\.\d{6}))?",
    re.IGNORECASE,
)
"""The address that Slack's *Copy link* gives, or that a browser shows for an open thread. That of a
whole organization names no workspace."""
_PERSON = re.compile(r"[UW][A-Z0-9]{5,}")


@dataclass(frozen=True, slots=True)
class ReadMessages:
    """The earlier messages that a turn has read, oldest first.

    `reference` is the time stamp of the one that the person refers to; the conversation already
    contains those of `known_ts`.
    """

    posts: Sequence[Json] = ()
    reference: str = ""
    known_ts: frozenset[str] = frozenset()
    failure: str = ""
    """The English sentence about what could not be read; "" for nothing."""


@dataclass(slots=True)
class SlackContext:
    """Loads the context of a message at the start of its turn, with all lookups at once.

    Names, languages and time zones are optional, so the turn hardly waits for them. Referenced
    messages and files get up to `incoming.CONTEXT_SECONDS`. The answer mentions what could not be
    read.
    """

    workspace: Workspace
    taking_part: ThreadParticipants
    journal: Journal
    places: ConfiguredPlaces

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """Return the message with its context, and sentences about what could not be read. The port
        `LoadContext`.

        `pointed` asks for the messages that it refers to, not only for names: the earlier ones of
        its thread, the one that a form was opened on (`reference`), and linked ones. A person who
        is alone in a thread with Ponte needs no earlier ones: the conversation has them.
        """
        # The bot recognises its posts by its own id, and a turn may run before it is known.
        with suppress(SettingsError, InDoubt, PlatformBusy):
            await self.workspace.identify()
        ids = self._people(message)
        earlier, find_profiles = ReadMessages(), self.workspace.directory.profiles
        reference = next((quote.reference for quote in message.context if quote.reference), "")
        reads_thread = _is_reply(message) and not self.taking_part.is_alone(
            message.address.conversation, message.author.id
        )
        if pointed and (reference or reads_thread):
            earlier, people = await run_together(
                self._read_earlier_messages(message, reference), find_profiles(ids)
            )
        else:
            people = await find_profiles(ids)
        if earlier.posts:
            # Only now are these authors known. Most participants are in memory.
            ids |= {str(post.get("user") or "") for post in earlier.posts}
            ids |= {id for post in earlier.posts for id in mentioned_ids(text_of(post))}
            people = await find_profiles(ids - {"", self.workspace.user})
        author = people.get(message.author.id) or PlatformMember(message.author.id)
        locale = message.locale or author.locale.replace("_", "-")
        linked, unread = list[Quote](), list[str]()
        if pointed and "://" in message.text and (links := find_message_links(message.text)):
            linked, unread = await read_links(links, partial(self._read_link, message), locale)
        names = {id: profile.name for id, profile in people.items() if profile.name}
        names[self.workspace.user] = "Ponte"
        own_quotes = [
            replace(quote, name=names.get(quote.name, quote.name)) for quote in message.context
        ]
        quotes, files = list[Quote](), list[Attachment]()
        notes = [*([say(earlier.failure, locale)] if earlier.failure else []), *unread]
        if earlier.posts:
            is_shared = message.address.is_shared
            quotes, files, total = self._quote_new_messages(earlier, names, is_shared)
            cut_notes, cut_sentences = incoming.describe_cut(len(quotes), total, locale)
            quotes += cut_notes
            notes += cut_sentences
        if earlier.reference and quotes:  # the complete message replaces the stored excerpt
            own_quotes = [quote for quote in own_quotes if not quote.reference]
        # The model must know that something is missing.
        if earlier.failure and not earlier.reference:
            quotes = [Quote("Slack", HISTORY_UNREAD, is_note=True)]
        if len(files) > incoming.MAX_CONTEXT_FILES:
            notes.append(say(_MORE_FILES, locale, count=incoming.MAX_CONTEXT_FILES))
        # A file that the person attached may stand in the thread already.
        own_ids = {_file_id(file) for file in message.attachments}
        newest = files[-incoming.MAX_CONTEXT_FILES :]
        earlier_files = [file for file in newest if _file_id(file) not in own_ids]
        # Names that were unknown when the message was stored replace ids.
        mentions = [
            ("@" + names.get(id, id) if words == f"@{id}" else words, id)
            for words, id in message.mentions
        ]
        complete = replace(
            message,
            text=_SOMEBODY.sub(lambda f: "@" + names.get(f[1], f[1]), message.text),
            author=replace(message.author, name=author.name or message.author.name),
            mentions=tuple(mentions),
            context=(*linked, *quotes, *own_quotes),
            locale=locale,
            time_zone=message.time_zone or author.time_zone,
            attachments=(*message.attachments, *earlier_files),
        )
        return complete, notes

    async def read_messages(
        self, to: ReplyTo, since: float, most: int, after: str
    ) -> tuple[Sequence[PlaceMessage], bool]:
        """Return the newest messages, at most `most`, and whether there are more (the port
        `Messenger`): those of the thread of the message that `to` answers, or of its channel.
        Raises Undeliverable if they cannot be read."""
        source, channel = Source.read(to.source), to.address.channel
        oldest = after or f"{since:.6f}"
        # Only a message has a time of Slack's clock. That of a command is ours, and that of a
        # schedule's run lies before the run (`destination_in`).
        until = source.ts if source.kind == "message" else ""
        # A message that begins a thread was written in the channel, so the channel is read.
        thread = source.thread if source.thread != source.ts else ""
        try:
            posts, has_more = await read_history(
                self.workspace.api,
                channel,
                thread,
                oldest,
                SLACK_PLACE_SECONDS,
                until,
                _THREAD_PAGES if thread else _CHANNEL_PAGES,
            )
        except (SlackRefused, InDoubt) as error:
            raise Undeliverable(reason=str(error)) from error
        if thread and has_more:  # the newest are missing: Slack returns a thread from its beginning
            raise Undeliverable(reason="the thread is too long")
        # Time stamps have the same length, so they are compared as text. Joins and the like, and
        # the message that asks, are left out.
        spoken = [
            post
            for post in posts
            if oldest < (ts := str(post["ts"]))
            and (not until or ts < until)
            and (post.get("subtype") or "") in SPOKEN
            and _content_of(post)
        ]
        return await self._describe(spoken[-most:]), has_more or len(spoken) > most

    async def _read_link(self, message: Message, link: MessageLink) -> LinkedMessages | str:
        """Return the thread of a linked message, or why it is not read (`ReadLink`).

        The bot may be able to read more than the asker. So another channel is read only if the
        asker is its member, direct messages never, and a private channel not where others read the
        answer.
        """
        api, here = self.workspace.api, message.address
        there = replace(here, channel=link.channel, is_shared=True)
        try:
            # A channel that companies share can have one id in several workspaces. Without a
            # workspace in the link, "//" is found in the URL.
            identity = await self.workspace.identify()
            own_urls = f"{identity['url']} /app.slack.com/client/{here.workspace}/"
            if f"/{link.workspace}/" not in own_urls.lower():
                return LINK_UNREAD
            if link.channel != here.channel:
                place = (await api.call("conversations.info", channel=link.channel))["channel"]
                if place.get("is_im"):
                    return LINK_UNREAD
                may_read = await check_membership(api, link.channel, message.author.id)
                if not may_read:
                    return LINK_UNCHECKED if may_read is None else LINK_UNREAD
                # A channel counts as private if Slack does not say.
                if here.is_shared and place.get("is_private", True):
                    return LINK_PRIVATE
            root = link.thread or link.message
            # "0": from the beginning of the thread.
            found = await history(api, link.channel, root, "0", pages=_THREAD_PAGES)
        except SlackRefused:
            return LINK_UNREAD
        except InDoubt:
            return LINK_UNCHECKED
        posts = [post for post in found if _content_of(post)]
        at = next((n for n, post in enumerate(posts) if post["ts"] == link.message), None)
        if at is None:
            return LINK_UNREAD
        texts = [_content_of(post)[:ROOT_CHARACTERS] for post in posts]
        quotes = [
            Quote(one.author, truncate_with_note(one.text, ROOT_CHARACTERS), place=there)
            for one in await self._describe([posts[n] for n in choose_newest(texts, 0, at)])
        ]
        return quotes, len(posts)

    async def _describe(self, posts: Sequence[Json]) -> Sequence[PlaceMessage]:
        """Return posts with names in place of ids, as far as Slack returns them soon."""
        ids = {str(post.get("user") or "") for post in posts}
        ids |= {id for post in posts for id in mentioned_ids(text_of(post))}
        people = await self.workspace.directory.profiles(ids - {"", self.workspace.user})
        names = {id: profile.name for id, profile in people.items() if profile.name}
        names[self.workspace.user] = "Ponte"
        # A program's post may have a name of its own (`username`).
        return [
            PlaceMessage(
                float(post["ts"]),
                names.get(user := str(post.get("user") or "")) or str(post.get("username") or user),
                to_readable(_content_of(post), names, self.workspace.user),
                str(post["ts"]),
                user == self.workspace.user,
            )
            for post in posts
        ]

    def _people(self, message: Message) -> set[str]:
        quoted = {quote.name for quote in message.context if _PERSON.fullmatch(quote.name)}
        return {message.author.id, *_SOMEBODY.findall(message.text), *quoted}

    async def _read_earlier_messages(self, message: Message, reference: str) -> ReadMessages:
        """Return the messages before this one in its thread, or in that of the message to which
        the person refers (`reference`, a time stamp or ""). Also note who takes part in it
        (`learn`). A failure is returned as a sentence, because the turn goes on."""
        where, source = message.address, Source.read(message.reply_to.source)
        channel, thread = where.channel, source.thread or reference
        try:
            async with asyncio.timeout(seconds := incoming.CONTEXT_SECONDS):
                # "0": from the beginning of the thread.
                posts = await history(
                    self.workspace.api, channel, thread, "0", seconds, pages=_THREAD_PAGES
                )
        except PlatformBusy:  # some apps may read history only once a minute
            return ReadMessages(reference=reference, failure=_LIMITED)
        except (SlackRefused, InDoubt, TimeoutError):
            failure = _ONLY_TEXT if reference else incoming.THREAD_UNREAD
            return ReadMessages(reference=reference, failure=failure)
        # The `source.ts` of a question from a form is the time of our clock, which may be behind
        # Slack's. So the post that it refers to (`reference`) counts in any case.
        before = [post for post in posts if str(post["ts"]) < source.ts or post["ts"] == reference]
        # The rest is only for a message that a person wrote in a thread.
        if not _is_reply(message):
            return ReadMessages(before, reference)
        everything = bool(self.places.channel(where).answer_everything)
        # `announce` posts, for a second person, that Ponte now waits for mentions.
        self.taking_part.learn(where, message.author.id, before, announce=not everything)
        known_ts: set[str] = set()  # posts that the caller need not quote again
        # Where everything is answered, the conversation contains messages that do not mention us:
        # those with a turn in the journal. `history_entry` raises NotFound for the others.
        for post in self._list_since_our_post(before, where.is_shared) if everything else ():
            with suppress(NotFound):
                key = event_key(where.workspace, where.channel, str(post["ts"]))
                await self.journal.history_entry(turn_id(key))
                known_ts.add(str(post["ts"]))
        return ReadMessages(before, reference, frozenset(known_ts))

    def _list_since_our_post(self, posts: Sequence[Json], shared: bool) -> Sequence[Json]:
        """In a channel (`shared`), a post of ours at the root of the thread belongs to another
        conversation and does not count."""
        bot = self.workspace.user
        ours = [n for n, post in enumerate(posts) if post.get("user") == bot and (n or not shared)]
        return posts[ours[-1] + 1 :] if ours else posts

    def _quote_new_messages(
        self, earlier: ReadMessages, names: Mapping[str, str], shared: bool
    ) -> tuple[list[Quote], list[Attachment], int]:
        """Return the messages that the conversation does not contain yet as far as they fit, their
        files, and the number of all.

        These are messages of others since our last answer that were not addressed to us. The
        conversation already has those of `known_ts`. In a channel (`shared`), a root post of ours
        is no answer.
        """
        posts, bot = earlier.posts, self.workspace.user
        new_posts = [
            post
            for post in self._list_since_our_post(posts, shared)
            if f"<@{bot}" not in str(post.get("text", "")) and post["ts"] not in earlier.known_ts
        ]
        # `reference`: the time stamp of the message that the person refers to, "" for none. It may
        # be older than our last answer, or ours.
        if earlier.reference:
            new_posts = [
                post for post in posts if post in new_posts or post["ts"] == earlier.reference
            ]
        root = earlier.reference or str(posts[0]["ts"])
        texts = [_content_of(post)[: incoming.EARLIER_MESSAGE_CHARACTERS] for post in new_posts]
        needed = [n for n, post in enumerate(new_posts) if post["ts"] == root]
        quotes: list[Quote] = []
        files: list[Attachment] = []
        forwarded_files: list[Attachment] = []
        for n in choose_newest(texts, *needed):
            post = new_posts[n]
            author = str(post.get("user") or "")
            files += files_of(post)
            for _, _, attachment in forwarded_messages(post):
                forwarded_files += files_of(attachment)
            is_root = str(post["ts"]) == root  # what the thread is about, so more of it is read
            most = ROOT_CHARACTERS if is_root else incoming.EARLIER_MESSAGE_CHARACTERS
            name = names.get(author) or str(post.get("username") or author or "?")
            words = to_readable(_content_of(post), names, bot)
            quotes.append(Quote(name, truncate_with_note(words, most), is_replied_to=is_root))
        # The caller drops files from the beginning, so forwarded ones, at the end, go last.
        return quotes, files + forwarded_files, len(new_posts)


def find_message_links(text: str) -> Sequence[MessageLink]:
    """Return the links to messages in a text."""
    return [
        MessageLink(
            match["channel"].upper(),
            f"{match['seconds']}.{match['rest']}",
            (match["workspace"] or "").lower(),
            match["thread"] or "",
        )
        for match in _LINK.finditer(text)
    ]


def _content_of(post: Json) -> str:
    lines = [text_of(post)]
    lines += [f"[forwarded from {whose}] {text}" for whose, text, _ in forwarded_messages(post)]
    lines += [f"[file: {file.name}]" for file in files_of(post)]
    return "\n".join(filter(None, lines))


def _is_reply(message: Message) -> bool:
    source = Source.read(message.reply_to.source)
    is_spoken = source.kind == "message" and message.origin.is_attended
    return message.address.is_shared and is_spoken and source.thread not in ("", source.ts)


def _file_id(attachment: Attachment) -> str:
    return attachment.reference.partition(" ")[0]
