"""Everything around a message that its turn looks up when it starts: names, the thread, files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from adapters.slack.client import (
    InDoubt,
    SlackRefused,
    history,
)
from adapters.slack.events import Source, event_key, files_of, forwarded_messages, text_of
from adapters.slack.intake import SlackOptions
from adapters.slack.render import Json, mentioned_ids, readable
from adapters.slack.threads import ThreadParticipants
from adapters.slack.workspace import Workspace
from core.chat import participants
from core.domain.errors import NotFound, PlatformBusy, SettingsError
from core.domain.messages import Address, Attachment, Message, Quote, turn_id
from core.domain.records import PlatformMember
from core.ports.conversations import Journal
from core.runtime.tasks import run_together
from core.text.i18n import nearest_locale, say

ROOT_CHARACTERS = 4000
"""Characters of the message that is meant."""
HISTORY_UNREAD = "[what was said before in this thread could not be read]"
_LIMITED = (
    "I could not read what was said before in this thread: Slack lets this app read history only "
    "once a minute. I answered without it."
)
_ONLY_TEXT = (
    "I could read only the text of that message, neither its files nor what was said before it."
)
_MORE_FILES = "I looked only at the newest {count} files of this thread."
_SOMEBODY = re.compile(r"(?<!\w)@([UW][A-Z0-9]{5,})\b")
"""A mention whose name was not known when it was stored."""
_PERSON = re.compile(r"[UW][A-Z0-9]{5,}")
"""A person's id."""


@dataclass(frozen=True, slots=True)
class ReadMessages:
    """`posts` are the earlier messages, oldest first; `meant` is the time stamp of one of them,
    `heard` are those that the conversation has already."""

    posts: Sequence[Json] = ()
    meant: str = ""
    heard: frozenset[str] = frozenset()
    failure: str = ""
    """The English sentence for what could not be read, "" where all could."""


class SlackContext:
    """What is known around a message, looked up when its turn starts, all at once.

    Names, languages and zones are courtesies, hardly waited for. What a person points at (the
    thread's earlier messages, one that a shortcut was used on, their files) is waited for up to
    `participants.SLACK_PLACE_SECONDS`, and what could not be had is told in the answer.
    """

    def __init__(
        self,
        workspace: Workspace,
        taking_part: ThreadParticipants,
        journal: Journal,
        options: SlackOptions,
    ) -> None:
        self._workspace = workspace
        self._participants = taking_part
        self._journal = journal
        self._options = options

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` port."""
        with suppress(SettingsError, InDoubt, PlatformBusy):
            await self._workspace.identify()
        found, _ = await run_together(
            self._read_pointed_at(message) if pointed else _nothing(),
            self._workspace.directory.profiles(self._people(message)),
        )
        # Who wrote what was read is known only now; who takes part mostly was known before.
        written = {str(post.get("user") or "") for post in found.posts}
        texts = [text_of(post) for post in found.posts]
        ids = self._people(message) | written | {id for text in texts for id in mentioned_ids(text)}
        people = await self._workspace.directory.profiles(ids - {"", self._workspace.user})
        return self._apply(message, found, people)

    def _people(self, message: Message) -> set[str]:
        quoted = {quote.name for quote in message.context if _PERSON.fullmatch(quote.name)}
        return {message.author.id, *_SOMEBODY.findall(message.text), *quoted}

    async def _read_pointed_at(self, message: Message) -> ReadMessages:
        """The thread up to the message, where others may have said something there."""
        where, source = message.address, Source.read(message.reply_to.source)
        meant = next((quote.reference for quote in message.context if quote.reference), "")
        said = where.shared and source.kind == "message"
        reply = said and source.thread not in ("", source.ts)
        if not meant and not reply:
            return ReadMessages()
        if not meant and self._participants.is_alone(where.conversation, message.author.id):
            return ReadMessages()
        channel, thread = where.channel, source.thread or meant
        try:
            async with asyncio.timeout(participants.CONTEXT_SECONDS):
                api = self._workspace.api
                posts = [
                    post
                    async for post in history(
                        api, channel, thread, "0", participants.CONTEXT_SECONDS
                    )
                ]
        except PlatformBusy:
            return ReadMessages(meant=meant, failure=_LIMITED)
        except (SlackRefused, InDoubt, TimeoutError):
            return ReadMessages(
                meant=meant, failure=_ONLY_TEXT if meant else participants.THREAD_UNREAD
            )
        before = [post for post in posts if str(post["ts"]) < source.ts or post["ts"] == meant]
        if not reply:
            return ReadMessages(before, meant)
        everything = bool(self._options.way(where).answer_everything)
        self._participants.learn(where, message.author.id, before, everything)
        heard = await self._find_in_conversation(where, before) if everything else frozenset[str]()
        return ReadMessages(before, meant, heard)

    async def _find_in_conversation(self, where: Address, posts: Sequence[Json]) -> frozenset[str]:
        """Of what was said since our last word: what was said to us, though it does not say so."""
        heard: set[str] = set()
        for post in self._since(posts, where.shared):
            with suppress(NotFound):
                key = event_key(where.workspace, where.channel, str(post["ts"]))
                await self._journal.history_entry(turn_id(key))
                heard.add(str(post["ts"]))
        return frozenset(heard)

    def _since(self, posts: Sequence[Json], shared: bool) -> Sequence[Json]:
        """What stands after our last word. A post of ours that a channel's thread hangs under was
        said in another conversation."""
        bot = self._workspace.user
        ours = [n for n, post in enumerate(posts) if post.get("user") == bot and (n or not shared)]
        return posts[ours[-1] + 1 :] if ours else posts

    def _apply(
        self, message: Message, found: ReadMessages, people: Mapping[str, PlatformMember]
    ) -> tuple[Message, Sequence[str]]:
        author = people.get(message.author.id) or PlatformMember(message.author.id)
        names = {id: profile.name for id, profile in people.items() if profile.name}
        names[self._workspace.user] = "Ponte"
        locale = message.locale or author.locale.replace("_", "-")
        kept = [replace(quote, name=names.get(quote.name, quote.name)) for quote in message.context]
        quotes, files = self._quotes(found, names, message.address.shared)
        if found.meant and quotes:  # what was stored of it is told whole now
            kept = [quote for quote in kept if not quote.reference]
        missing = [found.failure] if found.failure else []
        if found.failure and not found.meant:
            quotes = [Quote("Slack", HISTORY_UNREAD, ours=True)]
        notes = [say(sentence, nearest_locale(locale)) for sentence in missing]
        if len(files) > participants.MAX_CONTEXT_FILES:
            notes.append(
                say(_MORE_FILES, nearest_locale(locale), count=participants.MAX_CONTEXT_FILES)
            )
        told = replace(
            message,
            text=_SOMEBODY.sub(lambda f: "@" + names.get(f[1], f[1]), message.text),
            author=replace(message.author, name=author.name or message.author.name),
            context=(*quotes, *kept), locale=locale, time_zone=message.time_zone or author.zone,
            attachments=_merge_files(message.attachments, files[-participants.MAX_CONTEXT_FILES:]),
        )  # fmt: skip
        return told, notes

    def _quotes(
        self, found: ReadMessages, names: Mapping[str, str], shared: bool
    ) -> tuple[list[Quote], list[Attachment]]:
        """What others said since our last answer and was not said to us, and their files."""
        posts, bot = found.posts, self._workspace.user
        unheard = [
            post
            for post in self._since(posts, shared)
            if f"<@{bot}" not in str(post.get("text", "")) and post["ts"] not in found.heard
        ][-participants.MAX_EARLIER_MESSAGES :]
        if found.meant:
            unheard = [post for post in posts if post in unheard or post["ts"] == found.meant]
        files = [file for post in unheard for file in files_of(post)]
        for post in unheard:
            files += [file for _, _, one in forwarded_messages(post) for file in files_of(one)]
        root = found.meant or str(posts[0]["ts"] if posts else "")
        return [self._quote(post, names, str(post["ts"]) == root) for post in unheard], files

    def _quote(self, post: Json, names: Mapping[str, str], meant: bool) -> Quote:
        """`meant`: the thread's root is what a reply in it replies to."""
        who = str(post.get("user") or "")
        name = names.get(who) or str(post.get("username") or who or "?")
        said = [text_of(post)]
        said += [
            f"[forwarded from {whose}] {words}" for whose, words, _ in forwarded_messages(post)
        ]
        said += [f"[file: {file.name}]" for file in files_of(post)]
        words = readable("\n".join(filter(None, said)), names, self._workspace.user)
        return Quote(
            name,
            words[: ROOT_CHARACTERS if meant else participants.EARLIER_MESSAGE_CHARACTERS],
            replied=meant,
        )


async def _nothing() -> ReadMessages:
    return ReadMessages()


def _merge_files(own: Sequence[Attachment], others: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """Each file once, by its id."""
    had = {attachment.reference.partition(" ")[0] for attachment in own}
    return (*own, *(one for one in others if one.reference.partition(" ")[0] not in had))
