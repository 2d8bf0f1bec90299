"""How our posts are found again, attached files, and sentences on files that cannot be posted."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import discord
import structlog

from adapters.discord.client import attempt, history, own_id
from adapters.discord.events import files_of
from adapters.discord.render import LIMIT, Sheet
from core.base.errors import PonteError, PostRemoved, Undeliverable
from core.base.i18n import format_size, say
from core.base.tasks import BoundedDict
from core.domain.messages import Attachment, File
from core.journal.journal import Journal

FILE_DOWNLOAD_SECONDS = 120.0

DEFAULT_FILE_BYTES = discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
"""The limit of one file, without the boosts of a server or a subscription:
reference.mdx#uploading-files."""
MAX_REQUEST_BYTES = 24 * 1024 * 1024
"""The limit of all files in one message, and so of one. Discord accepts 25 MiB for the whole
request: resources/message.mdx#create-message-limitations."""
MAX_FILES_IN_POST = 10  # code 30015 in topics/opcodes-and-status-codes.mdx#json-json-error-codes
MAX_UPLOAD_TRIES = 3
"""After these, a sentence takes the place of the files."""


@dataclass(frozen=True, slots=True)
class DiscordFiles:
    """Downloads attached files from Discord's servers."""

    client: Callable[[], Awaitable[discord.Client]]

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes]:
        """If the file's address has expired, its message has a new one. Raises as `attempt`
        does."""
        client = await self.client()
        # A reference is `CHANNEL/MESSAGE/FILE ADDRESS`, or the address alone.
        where, _, url = attachment.reference.rpartition(" ")
        try:
            return attachment, await self._download_file(client, url)
        except PonteError:
            if not where:  # it came with an interaction: no message has it
                raise
            # The address in an event expires within a day. The message has a fresh one.
            channel, id, _ = where.split("/")
            place = client.get_partial_messageable(int(channel))
            message = await attempt(lambda: place.fetch_message(int(id)))
            references = (file.reference for file in files_of(message))
            fresh = next((r.split(" ")[1] for r in references if r.startswith(where + " ")), None)
            if fresh is None:
                raise
            return attachment, await self._download_file(client, fresh)

    async def _download_file(self, client: discord.Client, url: str) -> bytes:
        """`url` is of Discord's CDN (or of a proxy or test double). No cookies are sent."""
        return await attempt(lambda: client.http.get_from_cdn(url), deadline=FILE_DOWNLOAD_SECONDS)


def attachments(sheets: Sequence[Sheet]) -> list[discord.File]:
    """The attachments are made again for each call, because the SDK reads a File only once."""
    return [discord.File(io.BytesIO(sheet.data), sheet.name) for sheet in sheets]


def append_notes(text: str, notes: Sequence[str]) -> str:
    """Put notes below the text. If both do not fit into one message, the text is cut; notes take at
    most half."""
    if not notes:
        return text
    tail = "\n\n" + "\n".join(notes)[: LIMIT // 2]
    return text[: LIMIT - len(tail)] + tail


def explain_refusal(error: PonteError, names: Sequence[str]) -> list[str]:
    """Return a sentence for each file that Discord refused. Raises `error`, or an Undeliverable, if
    the refusal was not about the files."""
    if isinstance(error, PostRemoved) or (isinstance(error, Undeliverable) and not names):
        raise error
    why = error.values["reason"]
    # Too large without a file: no other try would succeed.
    if not names:
        raise Undeliverable(reason=why) from error
    return [say("I couldn't post {name} ({why}).", name=f"`{n}`", why=why) for n in names]


def explain_too_large(file: File, limit: int) -> str:
    """`limit` is in bytes."""
    return say(
        "{name} ({size}) is too large for Discord, which accepts files of up to {limit} here.",
        name=f"`{file.name}`",
        size=format_size(file.size),
        limit=format_size(limit),
    )


def explain_no_room(file: File) -> str:
    """A message has no room for the file beside its others."""
    return say(
        "{name} ({size}) doesn't fit in this message. A message can have up to {count} files, "
        "{limit} in total. Ask me for this file separately.",
        name=f"`{file.name}`",
        size=format_size(file.size),
        count=MAX_FILES_IN_POST,
        limit=format_size(MAX_REQUEST_BYTES),
    )


log = structlog.get_logger("discord")

MAX_POSTS_SEARCHED = 200
"""How many messages are searched for a post of ours."""


async def own_posts_since(
    client: discord.Client,
    channel: discord.PartialMessageable,
    since: int,
    *,
    is_certain: bool = False,
) -> Sequence[discord.Message]:
    """Return our posts after the message id `since`, oldest first, without answers to commands.

    They are needed if it is not known whether a post was made: Discord forgets a nonce after
    minutes, and history does not contain it. Answers to commands are found in another way. If
    history may not be read, return none, or with `is_certain` raise Undeliverable.
    """
    after = discord.Object(since)
    try:
        messages = await history(channel, after=after, limit=MAX_POSTS_SEARCHED, oldest_first=True)
    except Undeliverable as refused:
        if is_certain:
            raise
        log.info("could not read the channel history", error=str(refused))
        return []
    me = own_id(client)
    return [m for m in messages if m.author.id == me and m.interaction_metadata is None]


def posts_with_text(
    posts: Sequence[discord.Message], text: str, source: int | None
) -> Sequence[discord.Message]:
    """Return the posts with this text that reply to `source`, or to nothing, because the source may
    have been deleted."""
    mine = (post for post in posts if answered_id(post) in (None, source))
    return [post for post in mine if text and post.content == text]


class PostOwners:
    """Finds the turn of each of our posts, so that no turn takes over another's."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turns = BoundedDict[str, str]()
        """The turns of posts that this process made or found, recorded or not."""

    def claim(self, post: str, turn: str) -> bool:
        """Return False if the post belongs to another turn."""
        return self._turns.setdefault(post, turn) == turn

    async def find(self, posts: Sequence[discord.Message], turn: str) -> str | None:
        """Claim for `turn` the first post that belongs to no other turn, neither in the journal nor
        in this process. Return its id (`channel:message`)."""
        for post in posts:
            id = f"{post.channel.id}:{post.id}"
            if await self._journal.seq_of_post(id) is None and self.claim(id, turn):
                return id
        return None


def answered_id(message: discord.Message) -> int | None:
    return message.reference.message_id if message.reference else None
