"""The final content of our posts on Discord, how our posts are found again, and files in both
directions.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from adapters.discord import card_embeds
from adapters.discord.client import FilesTooLarge, attempt, history, own_id
from adapters.discord.render import LIMIT, DiscordPages, Sheet, paginate
from core.base import text
from core.base.errors import PonteError, PostRemoved, Undeliverable
from core.base.i18n import format_size, say
from core.base.tasks import BoundedDict
from core.base.text import run_off_loop
from core.chat.buttons import list_offers
from core.domain.messages import Answer, Attachment, File, mark_recording
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

Call = Callable[[dict[str, Any], list[discord.File]], Awaitable[discord.Message]]
"""Creates or changes a post."""
Put = Callable[[str, list[discord.File]], Awaitable[object]]


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


def files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """Return the files of a message, and of messages that it forwards.

    Each reference has the message and the file's id, and the file's address, which expires within a
    day but is needed: a quoted message may be readable only once.
    """
    where = f"{message.channel.id}/{message.id}"
    return tuple(_file(file, f"{where}/{file.id} {file.url}") for file in all_attachments(message))


def own_files_of(message: discord.Message) -> tuple[Attachment, ...]:
    """Return files as `files_of` does, with voice messages marked as the author's recordings.
    Forwarded files, which come last, are of somebody else."""
    files = files_of(message)
    pairs = zip(files, message.attachments, strict=False)
    recordings = [mark_recording(file, pair.duration) for file, pair in pairs]
    return (*recordings, *files[len(recordings) :])


def given_file(file: discord.Attachment) -> Attachment:
    """Discord sends an interaction's file only there, so its reference is the address alone."""
    return _file(file, file.url)


def file_name(file: discord.Attachment) -> str:
    """Return the name as the person wrote it. Discord converts `filename` to ASCII and puts the
    original in `title`."""
    if not file.title:
        return text.safe_file_name(file.filename)
    _, dot, extension = file.filename.rpartition(".")
    return text.safe_file_name(file.title + dot + extension)


def all_attachments(message: discord.Message) -> list[discord.Attachment]:
    forwarded = [file for snapshot in message.message_snapshots for file in snapshot.attachments]
    return [*message.attachments, *forwarded]


def _file(file: discord.Attachment, reference: str) -> Attachment:
    kind = (file.content_type or "application/octet-stream").split(";")[0]
    return Attachment(file_name(file), kind, file.size, reference=reference)


log = structlog.get_logger("discord")

MAX_POSTS_SEARCHED = 200
"""How many messages are searched for a post of ours."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The embeds, buttons and files of an answer's last post."""

    embeds: list[discord.Embed]
    view: discord.ui.View | None
    sheets: tuple[Sheet, ...]

    @property
    def is_plain(self) -> bool:
        return not (self.embeds or self.view or self.sheets)


class Renderer:
    """Renders the final form of an answer once and keeps it, because a long answer takes time.
    `most` is the largest number of posts of the answer of `turn`. Text that does not fit becomes a
    file."""

    def __init__(self, most: int, turn: str) -> None:
        self._most = most
        self._turn = turn
        self._last_pages: tuple[str, DiscordPages] | None = None
        self._last_rendering: tuple[Answer, Rendering] | None = None

    def paginate(self, text: str) -> DiscordPages:
        """The pages are kept for a next call with the same text, because a long text takes time."""
        last = self._last_pages
        if last is None or last[0] != text:
            last = self._last_pages = text, paginate(text, self._most)
        return last[1]

    async def rendering(self, answer: Answer) -> Rendering:
        """Return what an answer's last post has beside its text. It is kept for later calls with
        the same answer."""
        if self._last_rendering is None or self._last_rendering[0] is not answer:
            pages = await run_off_loop(self.paginate, answer.text)
            offers = list_offers(answer, self._turn)
            has_buttons = answer.cards or offers
            view = card_embeds.build_buttons(answer.cards, offers) if has_buttons else None
            embeds = card_embeds.build_embeds(answer.cards)
            self._last_rendering = answer, Rendering(embeds, view, pages.sheets)
        return self._last_rendering[1]

    async def make_form(self, part: str, answer: Answer | None) -> dict[str, Any]:
        """Return the arguments of a post or an edit, without its files. `answer` is None while it
        grows."""
        form: dict[str, Any] = {"content": post_content(part, answer)}
        if answer is not None:
            rendering = await self.rendering(answer)
            form |= {"embeds": rendering.embeds, "view": rendering.view}
        return form

    async def send(
        self, form: dict[str, Any], answer: Answer | None, call: Call
    ) -> discord.Message:
        """Make a call with the final answer's long tables as files. If Discord refuses them, repeat
        it without files and with a line for each."""
        sheets = (await self.rendering(answer)).sheets if answer else ()
        try:
            return await attempt(lambda: call(form, attachments(sheets)))
        except (FilesTooLarge, Undeliverable) as refused:
            notes = explain_refusal(refused, [sheet.name for sheet in sheets])
            noted = form | {"content": append_notes(form["content"], notes)}
            return await attempt(lambda: call(noted, []))


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


def post_content(part: str, answer: Answer | None) -> str:
    """Return the text of a post. Cards without buttons become commands to type. Discord refuses an
    empty message, so a post without text names its files or says so."""
    # There is no room for the buttons of the cards after the first ones.
    if answer and len(answer.cards) > card_embeds.MAX_CARDS:
        part = append_notes(
            part, card_embeds.describe_cards(answer.cards[card_embeds.MAX_CARDS :])
        ).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(no text)")
