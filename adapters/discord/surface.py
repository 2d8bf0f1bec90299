"""The `Surface` of Discord in a channel. Those for interactions, in `responses.py`, use it.

The states of a growing answer. What Discord refuses returns None, and the last column shows it.

| state | known by | text that grows | the complete text | if refused |
| --- | --- | --- | --- | --- |
| waiting | no post | `show_activity`: typing, or the text of a step | `post` | no sign |
| in a response | a valid token | `_write_original` | `_write_original` | `ChannelSurface` |
| in a channel | `_post_states` | `edit`, `_offer_stop` | `edit`, `_end_answer` | `_refusal` |
| in doubt | `_doubtful_parts` | `post` edits what exists | the same | a new post |
| complete | `_last` | | `upload` | a sentence for each file |
| for one person | `_is_apart` | nothing | `_write_original` | `_post_directly` |
| after a click | `_card` | | `_show_outcome` | `_whisper` |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import discord

from adapters.discord import card_embeds, posts
from adapters.discord.client import (
    IN_DOUBT,
    MENTION_NOBODY,
    NO_HISTORY,
    FilesTooLarge,
    attempt,
    code_of,
    message_at,
)
from adapters.discord.intake import DiscordThreads
from adapters.discord.presence import DiscordSigns
from adapters.discord.render import LIMIT, MAX_POSTS_OF_ANSWER, DiscordPages, Sheet, paginate
from core.base.errors import NotFound, PlatformBusy, PonteError, Undeliverable
from core.base.i18n import say
from core.base.text import run_off_loop
from core.chat.buttons import list_offers
from core.domain.messages import Answer, File, ReplyTo
from core.domain.ports import AnswerPart, Files, Surface

EDIT_INTERVAL_SECONDS = 1.3
"""The pause between two edits of one post. Discord once allowed 5 messages and edits in 5 s (#20).
Today's limits are only in the response headers, which the SDK obeys (topics/rate-limits.mdx)."""


@dataclass(frozen=True, slots=True)
class ShownPost:
    """The content of a post of ours and whether it has a stop button, as far as this process
    knows."""

    content: str
    stop: bool = False


def post_content(part: str, answer: Answer | None) -> str:
    """Return the text of a post. Cards without buttons become commands to type. Discord refuses an
    empty message, so a post without text names its files or says so."""
    # There is no room for the buttons of the cards after the first ones.
    if answer and len(answer.cards) > card_embeds.MAX_CARDS:
        part = posts.append_notes(
            part, card_embeds.describe_cards(answer.cards[card_embeds.MAX_CARDS :])
        ).strip()
    if part or (answer and answer.cards):
        return part
    names = ", ".join(f"`{file.name}`" for file in answer.files) if answer else ""
    return names or say("(no text)")


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
        self,
        form: dict[str, Any],
        answer: Answer | None,
        call: Callable[[dict[str, Any], list[discord.File]], Awaitable[discord.Message]],
    ) -> discord.Message:
        """Make a call with the final answer's long tables as files. If Discord refuses them, repeat
        it without files and with a line for each."""
        sheets = (await self.rendering(answer)).sheets if answer else ()
        try:
            return await attempt(lambda: call(form, posts.attachments(sheets)))
        except (FilesTooLarge, Undeliverable) as refused:
            notes = posts.explain_refusal(refused, [sheet.name for sheet in sheets])
            noted = form | {"content": posts.append_notes(form["content"], notes)}
            return await attempt(lambda: call(noted, []))


class DiscordSurface(Surface):
    """The base of all surfaces: the limits of a post, and the form of an answer."""

    limit = LIMIT
    interval = EDIT_INTERVAL_SECONDS
    arrival_seconds = 0.0
    has_code_button = True
    max_posts = MAX_POSTS_OF_ANSWER
    """The most posts of an answer. A longer one becomes a file."""

    def __init__(self, to: ReplyTo, signs: DiscordSigns, files: Files) -> None:
        self._to = to
        self.signs = signs
        self.files = files
        self._renderer = Renderer(self.max_posts, to.turn)
        self._last: tuple[str, str, Answer] | None = None
        """The last post of the answer: its id, its text and the answer. An edit that adds files
        needs all three."""
        self._uploads = 0
        """How often an upload of the files was tried."""

    def split(self, text: str) -> tuple[str, ...]:
        """A longer text is cut; the last part names the file that contains all of it."""
        return self._renderer.paginate(text).parts

    async def seconds_until_growth(self) -> float:
        """Growing text is never delayed here, because the SDK obeys the rate limits."""
        return 0.0

    async def end_activity(self) -> None:
        await self.signs.end(self._to.turn)

    async def _put_files(
        self,
        put: Callable[[str, list[discord.File]], Awaitable[object]],
        files: Sequence[File],
        largest: int,
    ) -> str:
        """Add the files to the answer's last post with `put`, and return the post's id.

        `largest` is the largest size of one file in bytes here. A file that does not fit gets a
        sentence instead. After MAX_UPLOAD_TRIES tries, every file does: the caller repeats a try
        without a response, or one that Discord put off, and the turn cannot end before.

        The edit replaces the text and all files, so it also sends the sheets, the long tables that
        are attached there already.
        """
        if self._last is None:
            raise Undeliverable(reason="files before their answer")
        post, part, answer = self._last
        self._uploads += 1
        text = post_content(part, answer)
        sheets = (await self._renderer.rendering(answer)).sheets
        # One file that Discord refuses would cost all of them, so what cannot be attached is left
        # out before the call.
        fits: list[Sheet] = []
        notes: list[str] = []
        limit = min(largest, posts.MAX_REQUEST_BYTES)
        room = posts.MAX_REQUEST_BYTES - sum(len(sheet.data) for sheet in sheets)
        for file in files:
            if file.size > limit:
                notes.append(posts.explain_too_large(file, limit))
            elif self._uploads > posts.MAX_UPLOAD_TRIES:
                notes += posts.explain_refusal(Undeliverable(reason=say("no answer")), [file.name])
            elif file.size > room or len(fits) + len(sheets) >= posts.MAX_FILES_IN_POST:
                notes.append(posts.explain_no_room(file))
            else:
                try:
                    _, data = await self.files.get(file.id)
                except NotFound:
                    notes.append(NotFound(what=f"`{file.name}`").words())
                else:
                    fits.append(Sheet(file.name, data))
                    room -= file.size
        attached = (*sheets, *fits)
        try:
            await attempt(lambda: put(posts.append_notes(text, notes), posts.attachments(attached)))
        # A limit of Discord is lower than we know; the answer's own tables stay.
        except FilesTooLarge:
            notes = [posts.explain_too_large(file, limit) for file in files]
            await attempt(lambda: put(posts.append_notes(text, notes), posts.attachments(sheets)))
        # Refused for good, for example without the permission to attach files: the post goes
        # without.
        except Undeliverable as refused:
            notes = posts.explain_refusal(refused, [sheet.name for sheet in attached])
            await attempt(lambda: put(posts.append_notes(text, notes), []))
        if notes and any(card.has_plan for card in answer.cards):  # nobody may approve it then
            raise Undeliverable(reason="no room for the plan")
        return post


class ChannelSurface(DiscordSurface):
    """Posts an answer in a channel, thread or direct message.

    Each post has a nonce: for some minutes, Discord makes no second post with it. After a crash a
    post is found again by the message that it replies to.

    `source` is the id of the answered message; None if the posts answer no message, as for a
    command.
    """

    def __init__(
        self,
        to: ReplyTo,
        signs: DiscordSigns,
        files: Files,
        threads: DiscordThreads,
        owners: posts.PostOwners,
        source: int | None,
    ) -> None:
        super().__init__(to, signs, files)
        self.client = threads.client
        self._threads = threads
        self._owners = owners
        self._source = source
        self._doubtful_parts: set[int] = set()
        """Numbers of parts that may have been posted, so that `post` looks for them first."""
        self._post_states: dict[str, ShownPost | None] = {}
        """What each post shows, by its id; None if it is unknown whether the last edit took
        effect."""
        self._changing = asyncio.Lock()
        """This lock serializes edits: the answer's growth and its stop button edit the same
        post."""
        self._refusal: Undeliverable | None = None
        """Discord has refused a post of this answer for good."""

    async def show_activity(self, doing: str) -> None:
        """Remove the hourglass, because the turn runs now, and start the typing indicator. It has
        no text for `doing`."""
        self.signs.marks.clear(self._to.turn)
        self.signs.start(self._to.turn, self.type)

    async def type(self) -> None:
        """Trigger the typing indicator in the thread if it exists already, else in the channel."""
        client, address = await self.client(), self._to.address
        thread = int(address.thread or 0)
        is_there = thread in self._threads.locations.state.parents
        await client.get_partial_messageable(thread if is_there else int(address.channel)).typing()

    async def post(self, key: str, part: AnswerPart) -> str:
        """Post a part and return its id as `channel:message`. `key` becomes the nonce, by which
        Discord makes no second post for some minutes.

        If `find` was called for this part, a post with the same text is looked for first, claimed
        and edited. Once Discord has refused a post of this answer for good, `_send` keeps that
        refusal, which is raised again.
        """
        if self._refusal is not None:
            # Discord restricts bots that repeat requests which it refuses.
            raise self._refusal
        channel = await self._channel()
        self.signs.marks.clear(self._to.turn)  # before the answer appears
        # An earlier call for this part ended in doubt: its post may exist, also if `find` cannot
        # tell which one it is.
        if part.number in self._doubtful_parts:
            own = await self._find_own(channel)
            text = self._address(part).text
            same = posts.posts_with_text(own, text, self._source)
            if existing_post := await self._owners.find(same, self._to.turn):
                await self.edit(existing_post, part)
                return existing_post
        answer = part.answer
        if answer is not None:
            # The typing indicator goes before the complete answer appears.
            await self.signs.end(self._to.turn)
        part = self._address(part)
        form = await self._renderer.make_form(part.text, answer)
        try:
            message = await self._send(channel, key, form, answer)
        except (PlatformBusy, *IN_DOUBT):
            # The post is tried again. The typing indicator shows that the turn goes on.
            await self.show_activity("")
            raise
        post = f"{channel.id}:{message.id}"
        # No other turn may take this post for its own.
        self._owners.claim(post, self._to.turn)
        self._post_states[post] = ShownPost(form["content"])
        if answer is None:
            # Text that people see replaces the typing indicator for a while.
            self.signs.note_growth(self._to.turn)
            # A growing post gets its stop button by the next edit, or by this one if none comes
            # soon.
            self.signs.do_later(self._to.turn, EDIT_INTERVAL_SECONDS, self._offer_stop)
        # Only if this is the final part.
        await self._end_answer(post, part)
        return post

    async def _send(
        self,
        channel: discord.PartialMessageable,
        key: str,
        form: dict[str, Any],
        answer: Answer | None,
    ) -> discord.Message:
        """Send a post with the nonce `key`, which makes a repeated call harmless, as a reply to
        `source`. If only the reply is refused, send it without. Any other refusal for good is kept
        in `_refusal`, so that `post` makes no further call for this answer."""
        options: dict[str, Any] = {"allowed_mentions": self._allow_mentions(answer)}
        # A thread made from `source` has its id, but that message is in the parent channel, so the
        # post is no reply.
        if self._source not in (None, channel.id):
            options["reference"] = discord.MessageReference(
                message_id=self._source, channel_id=channel.id, fail_if_not_exists=False
            )

        while True:
            try:
                return await self._renderer.send(
                    form,
                    answer,
                    lambda form, files: channel.send(
                        nonce=key, files=files, mention_author=False, **form, **options
                    ),
                )
            except Undeliverable as refused:
                if "reference" not in options or code_of(refused) != NO_HISTORY:
                    self._refusal = refused
                    raise
                # Without Read Message History Discord refuses replies, so this is a plain post.
                del options["reference"]

    async def edit(self, post: str, part: AnswerPart) -> None:
        """While the answer grows (`part.answer` is None), its last part has a stop button; the
        final one has none, and the typing indicator goes before it appears. `_end_answer` removes
        the stop button from earlier posts."""
        if part.answer is not None:
            await self.end_activity()
        part = self._address(part)
        form = await self._renderer.make_form(part.text, part.answer)
        async with self._changing:
            target = ShownPost(form["content"], part.is_growing)
            await self._change(post, target, form, part.answer, keeps_files=part.is_redrawn)
        await self._end_answer(post, part)

    def _address(self, part: AnswerPart) -> AnswerPart:
        """Begin the last part with the mention of the asker, if there is room."""
        text = f"<@{self._to.asker.id}>\n{part.text}"
        has_mention = part.answer and part.answer.mentions_asker and len(text) <= LIMIT
        return replace(part, text=text) if has_mention else part

    def _allow_mentions(self, answer: Answer | None) -> discord.AllowedMentions:
        if not (answer and answer.mentions_asker):
            return MENTION_NOBODY
        asker = discord.Object(self._to.asker.id)
        return discord.AllowedMentions(
            everyone=False, users=[asker], roles=False, replied_user=False
        )

    async def _offer_stop(self) -> None:
        async with self._changing:
            for post, state in list(self._post_states.items())[-1:]:  # the newest
                if state and not state.stop:
                    await self._change(post, ShownPost(state.content, stop=True), {})

    async def _change(
        self,
        post: str,
        target: ShownPost,
        form: dict[str, Any],
        answer: Answer | None = None,
        keeps_files: bool = False,
    ) -> None:
        """Edit a post, unless it already shows `target`: few edits are allowed
        (EDIT_INTERVAL_SECONDS). A final answer with embeds, buttons or files is always written.

        With `form` {}, only the stop button changes. Discord leaves what an edit does not name, so
        the button is named only where it comes or goes.
        """
        # None until the edit has ended: if it fails or is cancelled, what the post shows is
        # unknown.
        before, self._post_states[post] = self._post_states.get(post), None
        is_plain = answer is None or (await self._renderer.rendering(answer)).is_plain
        # None: this process has not written the post, or does not know how its last edit ended.
        if before != target or not is_plain:
            message = message_at(await self.client(), post)
            if target.stop and not (before and before.stop):
                form = form | {"view": card_embeds.build_stop_view(self._to.asker.id)}
            elif not target.stop and (before is None or before.stop):
                form = {"view": None} | form  # the buttons of the form, if it has some, else none

            # Before the final answer, the edit names no files, and Discord leaves those that are
            # there.
            await self._renderer.send(
                form,
                None if keeps_files else answer,
                lambda form, files: message.edit(
                    **form | ({"attachments": files} if answer and not keeps_files else {}),
                    allowed_mentions=self._allow_mentions(answer),
                ),
            )
            # Only after the edit: text that people see replaces the typing indicator for a while.
            self.signs.note_growth(self._to.turn)
        self._post_states[post] = target

    async def delete(self, post: str) -> None:
        """Delete a post. Raises as `attempt` does, PostRemoved if it is gone already."""
        message = message_at(await self.client(), post)
        self._post_states.pop(post, None)
        await attempt(message.delete)

    async def find(self, number: int, key: str) -> str | None:
        """Return the id of the part `number`: our first post that answers `source` and is recorded
        for no turn, because all earlier parts are recorded. `key` is not used: Discord's history
        does not contain the nonce.

        None without `source`; `post` then looks for a post with the same text.
        """
        # The caller asks only after a call that ended in doubt, so `post` must look first, too.
        self._doubtful_parts.add(number)
        # Numbers below 1 mean the files, whose upload is an edit that can be repeated.
        if number < 1 or self._source is None:
            return None
        channel = await self._channel()
        own = await self._find_own(channel)
        # In a thread that was made from the source, our posts reply to nothing.
        target = None if channel.id == self._source else self._source
        mine = [post for post in own if posts.answered_id(post) == target]
        return await self._owners.find(mine, self._to.turn)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Add the files to the answer's last post. This is an edit, so it can be repeated without a
        second post, and needs no nonce from `key`."""
        if self._last is None:
            raise Undeliverable(reason="files before their answer")
        client, server = await self.client(), int(self._to.address.workspace or 0)
        message = message_at(client, self._last[0])  # [0]: the post's id
        # A server's boosts raise the limit. If it is not known, the limit without boosts counts.
        guild = client.get_guild(server) if server else None
        # Another process may have the gateway's session, which lists servers.
        if server and guild is None:
            with suppress(PonteError, *IN_DOUBT):
                guild = await attempt(lambda: client.fetch_guild(server, with_counts=False))
        largest = guild.filesize_limit if guild else posts.DEFAULT_FILE_BYTES

        async def put(text: str, attachments: list[discord.File]) -> None:
            await message.edit(
                content=text, attachments=attachments, allowed_mentions=MENTION_NOBODY
            )

        return await self._put_files(put, files, largest)

    async def _end_answer(self, post: str, part: AnswerPart) -> None:
        """Remember the final part, and remove the stop button from all earlier ones."""
        if part.answer is None:
            return
        self._last = (post, part.text, part.answer)
        for other, state in list(self._post_states.items()):
            if state is None or state.stop:
                await self._change(other, ShownPost(state.content if state else ""), {})

    async def _channel(self) -> discord.PartialMessageable:
        """Return where to post. A thread that the answer needs is created first."""
        client, address = await self.client(), self._to.address
        guild = int(address.workspace or 0) or None
        where = int(address.channel)
        if address.thread:
            where = await self._threads.answer_channel(self._to)
        return client.get_partial_messageable(where, guild_id=guild)

    async def _find_own(self, channel: discord.PartialMessageable) -> Sequence[discord.Message]:
        since = self._source or int(self._to.source)  # that of a command or click is a time, too
        return await posts.own_posts_since(await self.client(), channel, since)
