"""The `Surface` implementations of Discord: in a channel, in a command's response, and for a click.

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
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import discord

from adapters.discord import card_embeds, posts
from adapters.discord.client import (
    IN_DOUBT,
    MENTION_NOBODY,
    NO_HISTORY,
    FilesTooLarge,
    TokenOver,
    attempt,
    code_of,
    history,
    message_at,
)
from adapters.discord.intake import DiscordThreads
from adapters.discord.presence import DiscordSigns
from adapters.discord.render import LIMIT, MAX_POSTS_OF_ANSWER, Sheet, disable_markup
from adapters.discord.state import TOKEN_SECONDS, Acks, OriginalResponse, Token
from core.base.errors import NotFound, PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.base.i18n import say
from core.chat.interactions import ANSWERED_DIRECTLY, NO_DIRECT_MESSAGE
from core.domain.messages import Answer, Card, File, ReplyTo
from core.domain.ports import AnswerPart, Files, Surface

EDIT_INTERVAL_SECONDS = 1.3
"""The pause between two edits of one post. Discord once allowed 5 messages and edits in 5 s (#20).
Today's limits are only in the response headers, which the SDK obeys (topics/rate-limits.mdx)."""
ORIGINAL_PARTS = 1
"""The answer to a command has only the original response."""
_redrawing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
"""Message id → a lock for redraws of its cards. A redraw reads all cards, changes one, and writes
all back; two at once would lose a change."""


@dataclass(frozen=True, slots=True)
class ShownPost:
    """The content of a post of ours and whether it has a stop button, as far as this process
    knows."""

    content: str
    stop: bool = False


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
        self._renderer = posts.Renderer(self.max_posts, to.turn)
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

    async def _put_files(self, put: posts.Put, files: Sequence[File], largest: int) -> str:
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
        text = posts.post_content(part, answer)
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
        self.signs.marks.clear(self._to.turn)  # before the answer appears
        channel = await self._channel()
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
            await self.end_activity()
        part = self._address(part)
        form = await self._renderer.make_form(part.text, answer)
        try:
            message = await self._send(channel, key, form, answer)
        except (PlatformBusy, *IN_DOUBT):
            # The post is tried again. The typing indicator shows that the turn goes on.
            await self.show_activity("")
            raise
        # Text that people see replaces the typing indicator for a while.
        self.signs.note_growth(self._to.turn)
        post = f"{channel.id}:{message.id}"
        # No other turn may take this post for its own.
        self._owners.claim(post, self._to.turn)
        self._post_states[post] = ShownPost(form["content"])
        # A growing post gets its stop button by the next edit, or by this one if none comes soon.
        if answer is None:
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
        client = await self.client()
        guild = int(self._to.address.workspace or 0) or None
        where = await self._threads.answer_channel(self._to)
        return client.get_partial_messageable(where, guild_id=guild)

    async def _find_own(self, channel: discord.PartialMessageable) -> Sequence[discord.Message]:
        since = self._source or int(self._to.source)  # that of a command or click is a time, too
        return await posts.own_posts_since(await self.client(), channel, since)


def _say_where(post: str) -> str:
    link = f"https://discord.com/channels/@me/{post.replace(':', '/')}"
    return say(ANSWERED_DIRECTLY, url=link)


class TokenSurface(DiscordSurface):
    """The base of the surfaces for an interaction (a command or a click): posts are made through
    its token while that is valid, else as messages of the channel (`_channel`)."""

    def __init__(self, to: ReplyTo, token: Token, acks: Acks, channel: ChannelSurface) -> None:
        super().__init__(to, channel.signs, channel.files)
        self.client = channel.client
        self._token = token
        self._acks = acks
        self._channel = channel

    @property
    def _is_apart(self) -> bool:
        """Only the asker sees the original response, and no channel has it. The channel of the
        address is their direct message."""
        return self._token.is_private and not self._to.address.is_shared

    @property
    def _where(self) -> int:
        return int(self._to.address.thread or self._to.address.channel)

    async def _open_original(self) -> OriginalResponse:
        return OriginalResponse(await self.client(), self._token, self._to.token_expires_at)


class ResponseSurface(TokenSurface):
    """Shows the whole answer to a command in its original response, by edits. Text that does not
    fit is attached as a file. If the token expires before the answer is complete, a post in the
    channel replaces it."""

    max_posts = ORIGINAL_PARTS
    _is_token_lost = False
    """The token is known to be unusable."""

    async def seconds_until_growth(self) -> float:
        """A private answer is posted once: its token may end before the text is complete."""
        return TOKEN_SECONDS if self._is_apart else 0.0

    async def show_activity(self, doing: str) -> None:
        """Write what is being done into the original response, which shows "thinking…" from the
        acknowledgement on. Once the token has expired, a public answer shows the typing indicator
        instead."""
        self.signs.start(self._to.turn, self._type_later)
        if doing and not await self._is_over():
            await self._edit(f"*{discord.utils.escape_markdown(disable_markup(doing))}*", None)

    async def _type_later(self) -> None:
        if not self._token.is_private and await self._is_over():
            await self._channel.type()

    async def post(self, key: str, part: AnswerPart) -> str:
        """Write the part into the original response, or post it in the channel if the token has
        expired. Return the post's id as `channel:message`.

        Raises Undeliverable if the token has expired and others could read a private answer in the
        channel.
        """
        # The cards of a private answer change later than the token lets it be edited.
        is_lasting = self._is_apart and part.answer is not None and bool(part.answer.cards)
        if not is_lasting and (post := await self._write_original(part)):
            return post
        if self._is_apart:
            return await self._post_directly(key, part)
        # Only the token is over: the bot's own right edits the response.
        if original := await self._find_original():
            await self._channel.edit(original, part)
            return original
        return await self._channel.post(key, part)

    async def _post_directly(self, key: str, part: AnswerPart) -> str:
        """Post a private answer in the direct message, once, and say so in the response if the
        token is still valid."""
        await self._channel.find(part.number, key)  # so that `post` looks for an earlier try's
        try:
            post = await self._channel.post(key, part)
        except Undeliverable:
            await self._replace_response(say(NO_DIRECT_MESSAGE))
            raise
        self._last = None
        await self._replace_response(_say_where(post))
        return post

    async def _replace_response(self, words: str) -> None:
        if not await self._is_over():
            with suppress(PonteError, TokenOver, *IN_DOUBT):
                original = await self._open_original()
                await attempt(lambda: original.edit(content=words, view=None, attachments=[]))

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change the answer, through the token or, once that has expired, as a message of the
        channel. Raises Undeliverable as `post` does."""
        has_cards = part.answer is not None and part.answer.cards
        if (self._is_apart and has_cards) or not await self._write_original(part):
            try:
                await self._channel.edit(post, part)
            except PostRemoved:
                if not self._is_apart:
                    raise
                # The response was the post, and its token is over.
                await self._post_directly(f"{self._to.turn}:{part.number}", part)

    async def delete(self, post: str) -> None:
        """Delete a post, as any message of the channel."""
        await self._channel.delete(post)

    async def find(self, number: int, key: str) -> str | None:
        """Return None while the token is valid, because writing the original response can be
        repeated. Later, look for it in the channel's history; else `post` looks for a post with the
        same text. None for the files: attaching them can be repeated too."""
        if number < 1 or not await self._is_over():
            return None
        return await self._find_original() or await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Add the files to the original response, or to the post in the channel that replaced it.
        `key` is not used: files are added by an edit, which can be repeated."""
        # `_last`: the post, text and answer that were written into the original response. If
        # `over`, the token to edit it has expired.
        over = await self._is_over()
        if over and self._last is not None:
            # The token expired after the answer was complete. An upload of the channel's surface
            # goes to the post that it edited last, and it does not know this one yet. Without the
            # token, `edit` passes the edit on to that surface, which then knows the post. The part
            # is the last one: a response has only one (ORIGINAL_PARTS).
            post, part, answer = self._last
            await self.edit(post, AnswerPart(ORIGINAL_PARTS, part, answer, is_final=True))
        if over or self._last is None:  # None: the answer was posted in the channel
            return await self._channel.upload(key, files)
        original = await self._open_original()
        return await self._put_files(
            lambda text, attachments: original.edit(content=text, attachments=attachments),
            files,
            self._token.max_file_bytes,
        )

    async def _is_over(self) -> bool:
        """The token cannot be used: it has expired, or Discord refused the acknowledgement. Waits
        for one that is under way."""
        if self._is_token_lost or time.time() > self._to.token_expires_at:
            return True
        # None: of a former process. The first edit shows whether the acknowledgement counted.
        self._is_token_lost = await self._acks.wait_for(self._to.turn) is False
        return self._is_token_lost

    async def _write_original(self, part: AnswerPart) -> str | None:
        """Write the part into the original response and return the post's id, None if the token has
        expired. Raises Undeliverable if it has, and others could read a private answer in the
        channel."""
        if not await self._is_over():
            try:
                return await self._edit(part.text, part.answer, keeps_files=part.is_redrawn)
            except TokenOver:
                self._is_token_lost = True
        # Only the token can make or edit a message that one person alone sees.
        if self._token.is_private and self._to.address.is_shared:
            raise Undeliverable(reason="the command's token is over")
        return None

    async def _edit(self, part: str, answer: Answer | None, *, keeps_files: bool = False) -> str:
        """Write a part into the original response and return its id as `channel:message`. While the
        answer grows (`answer` is None), the response has a stop button. The whole answer has its
        sheets, files with long tables or a long text. Raises TokenOver."""
        original = await self._open_original()
        form = await self._renderer.make_form(part, answer)
        if answer is None:
            form["view"] = card_embeds.build_stop_view(self._to.asker.id)
        message = await self._renderer.send(
            form,
            None if keeps_files else answer,
            lambda form, files: original.edit(
                **form, **({} if keeps_files else {"attachments": files})
            ),
        )
        post = f"{self._where}:{message.id}"
        if answer is not None:
            # `upload` adds files by an edit, which replaces all of it.
            self._last = (post, part, answer)
        return post

    async def _find_original(self) -> str | None:
        """Return the id of the original response: the channel's message that names the interaction.
        None if it is not among the 100 messages after the command, or if history cannot be read."""
        client = await self.client()
        channel = client.get_partial_messageable(self._where)
        # The interaction's id. Ids grow with time, and the response came later.
        after = discord.Object(int(self._to.source))
        try:
            messages = await history(channel, after=after, limit=100, oldest_first=True)
        except Undeliverable:
            return None
        for message in messages:
            made_by = message.interaction_metadata
            if made_by is not None and made_by.id == int(self._to.source):
                return f"{self._where}:{message.id}"
        return None


class ClickSurface(TokenSurface):
    """Shows the outcome of a click: on the card, in an ephemeral message (only the person who
    clicked sees it), or, if the answer is `has_own_post`, in a post for everybody. `to.source` is
    the id of the message that contains the card."""

    _has_own_post = False
    """The outcome has a post of its own."""

    async def show_activity(self, doing: str) -> None:
        """After the acknowledgement of a click the Discord client itself shows no progress."""
        await self._channel.show_activity(doing)

    async def post(self, key: str, part: AnswerPart) -> str:
        """Redraw the card, post an answer in the channel if it has a post of its own or grows, or
        send a part of a private answer as an ephemeral message. Return the id of the card's message
        or of the new post, as `channel:message`."""
        # The redrawn card tells the outcome.
        if part.answer is not None and not part.answer.has_own_post:
            await self._show_outcome(part.text, part.answer)
            return self._card
        # An ephemeral message cannot be found or edited later, so the card's id stands for it.
        if part.is_private:
            await self._whisper(part.text)
            return self._card
        try:
            post = await self._channel.post(key, part)
        except Undeliverable:
            # May not post there, but the token is valid. A card alone has no text.
            await self._whisper(part.text or say(NO_DIRECT_MESSAGE))
            return self._card
        self._has_own_post = True  # so `upload` adds the answer's files there
        if self._is_apart and part.is_final:
            with suppress(PonteError, *IN_DOUBT):
                await self._whisper(_say_where(post))
        return post

    async def _show_outcome(self, part: str, answer: Answer) -> None:
        """Redraw the answer's cards. The text is an ephemeral message if it is private, reports a
        failure, or comes without a card. Otherwise the card says enough."""
        # Before the acknowledgement, there is no original response to edit.
        await self._acks.wait_for(self._to.turn)
        for card in answer.cards:
            await self._redraw(card)
        if part and (answer.is_private or answer.status == "failed" or not answer.cards):
            await self._whisper(part)

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Redraw the card if `post` is its message."""
        if post != self._card:
            await self._channel.edit(post, part)
        elif part.answer is not None and not part.answer.has_own_post:
            await self._show_outcome(part.text, part.answer)

    async def delete(self, post: str) -> None:
        """The message with the card is not deleted."""

    async def find(self, number: int, key: str) -> str | None:
        """Return None: `post` then looks in the channel for a post with the same text."""
        return await self._channel.find(number, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Only the answer's own post has a place for files."""
        return await self._channel.upload(key, files) if self._has_own_post else self._card

    @property
    def _card(self) -> str:
        return f"{self._where}:{self._to.source}"

    async def _redraw(self, card: Card) -> None:
        """Redraw one card, through the token or, once that has expired, as a message of the
        channel. If somebody deleted the message, nothing is redrawn: the decision is stored."""
        # Two decisions at once would each put back the other's old card. So each message with cards
        # has a lock in `_redrawing`; `source` is the message's id.
        lock = _redrawing.setdefault(int(self._to.source), asyncio.Lock())
        with suppress(PostRemoved):
            async with lock:
                try:
                    original = await self._open_original()
                    message: discord.Message = await attempt(original.read)
                    embeds, view = card_embeds.redraw_card(message, card)
                    await attempt(lambda: original.edit(embeds=embeds, view=view))
                except TokenOver:
                    client = await self.client()
                    channel = client.get_partial_messageable(self._where)
                    message = await attempt(lambda: channel.fetch_message(int(self._to.source)))
                    embeds, view = card_embeds.redraw_card(message, card)
                    form: dict[str, Any] = {"embeds": embeds, "view": view}
                    await attempt(lambda: message.edit(**form, allowed_mentions=MENTION_NOBODY))

    async def _whisper(self, part: str) -> None:
        """Send an ephemeral message. It is not repeated: it has no nonce and could appear twice.
        Only the click's token, which `original` holds, can send it."""
        original = await self._open_original()
        try:
            await attempt(lambda: original.whisper(part), repeat=False)
        except TokenOver:
            raise Undeliverable(reason="the click's token is over") from None
