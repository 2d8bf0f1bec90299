"""Slack's implementation of the `Surface` port: answers that grow, their cards and their files.

The methods of `SlackSurface` stand in the order of the states of a growing answer. A method whose
way Slack refuses returns None or False, and the last column shows the text.

| state | known by | text that grows | the complete text | if refused |
| --- | --- | --- | --- | --- |
| waiting | nothing | `seconds_until_growth` | `post` | one post of the complete text |
| reserved | `_claims` | `_start_stream` | `_make_post` | an ordinary post, then `_update` |
| streamed | `_stream` | `_show_in_stream` | `_show_in_stream` | `_close_stream`, `_update` |
| edited | `_own_posts` | `_update`, with a call to spare | `_update` | the text is divided |
| stopped by a person | `_stopped` | nothing | `_update` | |
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from adapters.slack import posts, render
from adapters.slack.data_blocks import has_data
from adapters.slack.errors import GONE, MESSAGE_TOO_LONG, STREAM_OVER, STREAM_STOPPED, SlackRefused
from adapters.slack.events import Source, stop_message
from adapters.slack.posts import PostLookup, SlackPosts, SlackStream, StoppedByUser, upload
from adapters.slack.presence import Presence, SlackSigns, Workspace
from adapters.slack.render import Json, PostContent
from core.base import errors
from core.base.errors import NotStored, PlatformBusy, PostRemoved, Undeliverable
from core.chat.buttons import list_offers, offer
from core.chat.people import Conversations
from core.chat.reply import FILES_NUMBER
from core.domain.buttons import ButtonOffer
from core.domain.messages import Answer, File, ReplyTo
from core.domain.ports import ARRIVAL_SECONDS, AnswerPart, Surface

log = structlog.get_logger("slack")

GROWTH_RETRY_SECONDS = 2.0
"""The pause before Ponte checks again if the rate limits allow a growing answer."""
PRIVATE_PREFIX = "private:"
"""The id of a post that Ponte cannot edit or find again begins with this, such as that of a message
to one person alone."""
NOT_A_MEMBER = frozenset({"not_in_channel", "channel_not_found"})
"""The bot is not a member of the channel (chat.postMessage)."""
_BYTES_FOR_CARDS = 2000
"""With less room left in a stream, an edit adds the cards."""


class SlackSurface(Surface):
    """The posts of one reply: streams in direct messages, throttled edits in channels.

    A post's id is `CHANNEL:TS`, or begins with PRIVATE_PREFIX. `resumed`: a former process may have
    begun the answer.
    """

    limit = render.ANSWER_PART_BYTES
    interval = 1.0
    arrival_seconds = ARRIVAL_SECONDS
    has_code_button = True

    def __init__(
        self,
        workspace: Workspace,
        signs: SlackSigns,
        conversations: Conversations,
        to: ReplyTo,
        resumed: bool = False,
    ) -> None:
        self._workspace = workspace
        self._signs = signs
        self._api = workspace.api
        self._conversations = conversations
        self._to = to
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._presence = Presence(workspace, signs, to, self._source, resumed)
        self._rotation = render.Rotation(lambda text: render.split_answer(text, workspace.part))
        """Divides the answer also where a stream is too old to go on."""
        self._lookup = PostLookup(workspace, self._channel, self._thread, self._source.ts, to.turn)
        self._posts = SlackPosts(self._lookup)
        self._stream: SlackStream | None = None
        """The open stream of the newest post."""
        self._stopped = False
        """A person pressed Slack's own Stop button."""
        self._claims: set[str] = set()
        """Methods with one call reserved under the rate limit, so that an answer that has begun to
        grow can always be completed."""
        self._own_posts: set[str] = set()
        """Posts that this process made, or whose stream it has closed."""
        self._keyless: dict[str, str] = {}
        """The keys of streamed posts. Slack takes them only at the end of the stream."""
        self._contents: dict[str, PostContent] = {}
        """What each post shows, as far as this process knows. An edit that changes nothing is left
        out."""

    def split(self, text: str) -> tuple[str, ...]:
        """Return the text in parts that each fit into one post. If the open stream is too old, its
        part ends at the text so far.

        Slack closes a stream after about five minutes, so a part does not grow for longer than
        four. The text that follows goes into a new post, with a stream of its own. `_rotation`
        remembers where parts were ended, so that later calls cut the longer text there, too.
        """
        if self._stream is not None and self._stream.is_old:
            self._rotation.end_part(text)
        return self._rotation.split(text)

    async def seconds_until_growth(self) -> float:
        """Reserve the calls that a growing answer needs, and return 0.0; else the seconds to wait.

        The last call is reserved in advance, so that the answer can always be completed: the one
        that stops its stream or, without a stream, the last edit. Without a reservation, the answer
        is posted once, when it is complete.
        """
        if self._own_posts or self._claims:
            return 0.0  # reserved before, or this answer is visible already
        streams = ("chat.startStream", "chat.stopStream")
        # Edits also if no place for a stream is free.
        for methods in (streams, ("chat.update",)) if self._may_stream() else (("chat.update",),):
            if await self._api.limiter.claim(*methods):
                self._claims.update(methods)
                return 0.0
        return GROWTH_RETRY_SECONDS

    async def show_activity(self, doing: str) -> None:
        """A "quiet" click, such as "stop", shows nothing; one on a card ends without a post."""
        if self._source.kind != "quiet":
            self._presence.show_soon(posts=self._source.kind != "card")
        await self._presence.show(doing)

    async def end_activity(self) -> None:
        """Remove the signs of a turn in progress, also those that a former process left."""
        await self._presence.end()
        await self._presence.remove_old_signs()

    async def post(self, key: str, part: AnswerPart) -> str:
        """Post a part of the answer, and return the post's id. `key` stands in the post's metadata,
        by which it is found again. If the bot is not a member of the channel, a command's
        `response_url` is used.

        Raises PostRemoved or Undeliverable if Slack refuses the post and there is no such address.
        """
        await self._presence.clear_waiting_signs()
        if self._stream is not None:  # of the part before, whose text stays
            await self._close_stream(self._stream)
        try:
            id = await self._make_post(key, part)
        except SlackRefused as refused:
            if refused.error not in NOT_A_MEMBER or not await self._respond(part):
                raise _as_delivery_error(refused) from refused
            # Slack returns no id for it. It is never edited, so all can share one.
            id = f"{PRIVATE_PREFIX}hook"
        self._own_posts.add(id)
        # The answer is visible now, so the notice of a slash command goes away. The other signs
        # stay until the last part.
        if part.answer is None:
            self._signs.notices.end(self._to.turn)
        else:
            await self._presence.end(has_cards=bool(part.answer.cards))
        return id

    async def _make_post(self, key: str, part: AnswerPart) -> str:
        """Post a part privately, in its card, as a stream or as an ordinary post."""
        answer = part.answer  # None before the last part
        # "quiet": what the asker clicked concerns only them, as "stop" does.
        if part.is_private or (part.is_final and self._source.kind == "quiet"):
            # A message at the top level has no thread yet, so the post appears beside it.
            thread = self._thread if self._thread != self._source.ts else ""
            # Refusals of requests have a rate limit of their own, so that no answer waits for one.
            refusal = errors.is_refusal(answer.code if answer else "")
            ts = await self._posts.post_privately(
                self._to.asker.id, thread, self._build_content(part), refusal=refusal
            )
            return PRIVATE_PREFIX + ts
        if answer is not None and self._source.kind == "card":  # the turn answers a click on a card
            # The decided cards are replaced in place. If none is there, a post follows.
            async with self._workspace.post_lock(self._channel, self._source.ts):
                replacements = [
                    await posts.replace_card_in_post(
                        self._workspace, self._channel, self._source.ts, self._thread, card
                    )
                    for card in answer.cards
                ]
            if any(replacements):
                return f"{PRIVATE_PREFIX}card"
        if part.is_growing and (started := await self._start_stream(key, part.text)):
            return started
        content = self._build_content(part)
        # While more text follows, text that is too long for one message waits.
        posted = await self._posts.make(key, content, not part.is_final)
        id = self._build_id(str(posted["ts"]))
        # It was to be a reply, but Slack names no thread.
        if self._thread and not (posted.get("message") or {}).get("thread_ts"):
            # Slack accepts a reply to a deleted message and posts it at the top level
            # (slack-go/slack issue 1571), where everybody would see an answer without a question.
            await self.delete(id)
            raise Undeliverable(reason="thread_not_found")
        self._contents[id] = content
        return id

    async def _start_stream(self, key: str, part: str) -> str | None:
        """Start a stream, and return the id of its post. None if Slack refuses streams, or the rate
        limit has no place for one. After a failed start, the place claimed for `chat.stopStream`
        passes unused, because the limiter takes no place back."""
        # `settled_length`: later text cannot change what comes before it.
        text = render.safe_markdown(part[: render.settled_length(part)])
        # All of it may still change, and a stream cannot take text back.
        if not text.strip():
            return None
        # A stream needs two calls: one that starts it, used now, and one that stops it, which stays
        # reserved so that the stream can always be completed. `seconds_until_growth` has reserved
        # those of the first stream.
        if "chat.startStream" in self._claims:
            self._claims.remove("chat.startStream")
        else:
            # Only a streamed post has no key, so one of them means that this answer streams.
            follows = bool(self._keyless) and self._may_stream()
            limiter = self._api.limiter
            if not follows or not await limiter.claim("chat.startStream", "chat.stopStream"):
                return None
            self._claims.add("chat.stopStream")
        try:
            api, to, team = self._api, self._to, self._workspace.team
            self._stream = await SlackStream.start(api, to, self._thread, key, text, team)
        except PlatformBusy:
            return None
        except SlackRefused as refused:
            # A person pressed Slack's own Stop button before there was a stream. The ordinary post
            # then shows the text until the end of the stopped turn edits it.
            if refused.error in STREAM_STOPPED:
                await self._stop_turn("")  # "": there is no post of a stream
            elif refused.error not in MESSAGE_TOO_LONG:  # which says nothing about streams
                self._workspace.flags.note_refusal("streams", refused.error)
            return None
        self._workspace.flags.note_success("streams")
        # Slack now shows the session as "processing".
        self._presence.note_stream()
        id = self._build_id(self._stream.ts)
        # Slack takes the post's key only when the stream stops; until then it is kept here.
        self._keyless[id] = key
        return id

    async def _respond(self, part: AnswerPart) -> bool:
        """Post a part to a command's `response_url`, which works also where the bot is no member.
        False without such an address. Raises Undeliverable if Slack refuses it."""
        to = self._to
        # Such a post cannot be edited, so only a whole part is sent.
        if not (part.is_final and to.token and time.time() < to.token_expires_at):
            return False
        kind = "ephemeral" if part.is_private else "in_channel"
        # Without an id, a press of a button on it could not be checked.
        content = replace(self._build_content(part), offers=())
        if not await self._posts.respond(to.token, kind, content):
            raise Undeliverable(reason="response_url is used up")
        return True

    async def edit(self, post: str, part: AnswerPart) -> None:
        """Change a post through its open stream or by an edit. Posts with PRIVATE_PREFIX, such as
        those for one person alone, cannot be edited, and stay."""
        if not post.startswith(self._channel + ":"):
            return
        try:
            is_shown = await self._show_in_stream(post, part)
            if not is_shown:
                # A click on a card edits the same post; each edit sends all of its cards.
                async with self._workspace.post_lock(self._channel, _read_ts(post)):
                    await self._update(post, part)
        except SlackRefused as refused:
            raise _as_delivery_error(refused) from refused
        # The end of a stream has also ended the session, Slack's record of the work in the thread.
        # Its cards may leave it "suspended".
        if part.answer is not None:
            await self._presence.end(is_shown, bool(part.answer.cards))

    async def _show_in_stream(self, post: str, part: AnswerPart) -> bool:
        """Append a growing part to its open stream; a complete one also ends it. False if an edit
        must show the part."""
        stream = self._stream
        if stream is None or _read_ts(post) != stream.ts:
            return False
        # A part that `split` has ended because its stream is old does not grow any more.
        if part.is_growing and not self._rotation.has_ended(part.text):
            # A stream can only append, so text that may still change waits.
            text = render.safe_markdown(part.text[: render.settled_length(part.text)])
            try:
                # Without a call to spare, the text comes with a later part.
                spare = await self._api.limiter.has_spare("chat.appendStream")
                if not spare or await stream.append(text):
                    return True
            except StoppedByUser:
                self._stream = None
                await self._stop_turn(stream.ts)
                return False
            # Earlier text has changed, or the stream refused it: an edit shows all of it.
            await self._close_stream(stream)
            return False
        text, content = render.safe_markdown(part.text), self._build_content(part)
        room = render.STREAM_BYTES - render.escaped_size(text)
        goes_on = part.answer is None
        # A stream shows rows and charts as Markdown; an edit replaces them by their blocks.
        has_blocks = self._workspace.flags.is_on("data") and has_data(
            content.build_whole()["blocks"]
        )
        if has_blocks or (content.cards and room < _BYTES_FOR_CARDS):
            await self._close_stream(stream, goes_on=goes_on)
            return False
        # The end of a stream is tried in one form only, without a table, which Slack may refuse.
        end = content.build_end(room, tables=False)
        return await self._close_stream(stream, text, end, goes_on=goes_on)

    async def _close_stream(
        self,
        stream: SlackStream,
        text: str | None = None,
        blocks: Sequence[Json] = (),
        *,
        goes_on: bool = True,
    ) -> bool:
        """Close a stream, and return whether it shows `text` (None: what was sent) and `blocks`.

        `goes_on`: the turn continues in an edit or another message, so its session (Slack's record
        of the work in the thread) stays "processing" and keeps Slack's Stop button, if it has one.
        """
        self._stream = None
        # Reserved when the stream began, the call waits for no rate limit.
        claimed = "chat.stopStream" in self._claims
        self._claims.discard("chat.stopStream")
        if goes_on and self._presence.native_stop:
            session = "processing"
        else:
            session = await self._signs.resting_status(self._to.address, self._thread)
        text = stream.sent_text if text is None else text
        try:
            return await stream.stop(text, [*blocks], session, claimed)
        except StoppedByUser:
            await self._stop_turn(stream.ts)
            return False

    async def _update(self, post: str, part: AnswerPart) -> None:
        """Edit a post, unless it already shows this content. Growing text is left out if the rate
        limit has no call to spare, or once a person has pressed Slack's own Stop button."""
        content = self._build_content(part)
        if self._contents.get(post) == content or (self._stopped and not part.is_final):
            return
        if part.is_growing and not await self._api.limiter.has_spare("chat.update"):
            return
        # A former process may have left the post streaming; Slack then refuses edits. This process
        # made those of `_own_posts`, or closed their stream.
        if post not in self._own_posts and self._may_stream():
            await posts.stop_stream(self._api, self._channel, _read_ts(post))
            self._own_posts.add(post)
        try:
            await self._send_edit(post, content, part)
        except SlackRefused as refused:
            if refused.error not in STREAM_OVER:
                raise
            # The post still streams: the call that stopped it may have been lost.
            await posts.stop_stream(self._api, self._channel, _read_ts(post))
            await self._send_edit(post, content, part)
        self._contents[post] = content

    async def _send_edit(self, post: str, content: PostContent, part: AnswerPart) -> None:
        """The last edit of an answer uses the call reserved for it under the rate limit
        (`_claims`). A streamed post may have no key yet, so the edit brings it."""
        key = self._keyless.get(post)
        metadata = posts.post_metadata(key) if key else None
        claimed = part.answer is not None and "chat.update" in self._claims
        if claimed:
            self._claims.remove("chat.update")
        await self._posts.edit(
            _read_ts(post),
            content,
            not part.is_final,  # more text follows: an edit that is too long is skipped
            metadata=metadata,
            claimed=claimed,
        )

    async def _stop_turn(self, ts: str) -> None:
        """Stop the turn because a person pressed Slack's own Stop button. Its event may be lost, so
        the stream's report counts too. `ts` is the stream's post, "" if it was never made. By it,
        the stored message has the key of the event's, so that both count once."""
        if not self._stopped:
            self._stopped = True
            to, now = self._to, f"{time.time():.6f}"
            message = stop_message(to.address, to.asker, self._thread, now, ts or to.turn)
            with suppress(NotStored):
                await self._conversations.inbox.accept(message)

    async def delete(self, post: str) -> None:
        """Delete a post. Raises PostRemoved if somebody has deleted it already; other refusals are
        only logged. Posts with PRIVATE_PREFIX cannot be deleted, and stay."""
        if not post.startswith(self._channel + ":"):
            return
        try:
            await self._api.call("chat.delete", channel=self._channel, ts=_read_ts(post))
        except SlackRefused as refused:
            if refused.error in GONE:
                raise PostRemoved from refused
            log.warning("could not delete a surplus post", error=refused.error)

    async def find(self, number: int, key: str) -> str | None:
        """Return the id of the post with `key`, or of the post that holds the files; None if there
        is none. `number` is the part's, or FILES_NUMBER for the files.

        A streamed post that was never stopped has no key. It is found too, where the answer may
        have been streamed: in a thread of a direct message, unless Slack refuses streams.
        """
        if number == FILES_NUMBER:
            ts = await self._lookup.with_files()
        else:
            ts = await self._lookup.find_by_key(key)
            if ts is None and self._may_stream():
                ts = await self._lookup.find_without_key(key)
        return self._build_id(ts) if ts else None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        """Upload an answer's files in one post. `key` is not used, because an upload takes no
        metadata: after a crash, `with_files` finds the post by its files."""
        try:
            post = await upload(
                self._api,
                self._conversations.files,
                self._lookup.with_files,
                files,
                self._channel,
                self._thread,
            )
            return self._build_id(post)
        except SlackRefused as refused:
            raise _as_delivery_error(refused) from refused

    def _build_content(self, part: AnswerPart) -> PostContent:
        """Return the content of a post. A growing post has a Stop button, unless Slack shows its
        own. Only the last part has the answer's cards and buttons. A private post has no buttons:
        Ponte does not know its id, so a press could not be checked."""
        answer, offers = part.answer or Answer(""), tuple[ButtonOffer, ...]()
        if part.is_growing and not self._presence.native_stop:
            offers = (offer("stop", "stop"),)
        elif part.answer and not part.is_private:
            offers = list_offers(answer, self._to.turn)
        mention = f"<@{self._to.asker.id}>" if answer.mentions_asker else ""
        content = PostContent(part.text, answer.cards, part.placed, offers, mention)
        return content if self._workspace.flags.is_on("ratings") else content.without_rating

    def _may_stream(self) -> bool:
        """Stream only in a thread of a direct message: in a channel only the asker would see it
        grow."""
        direct = not self._to.address.is_shared
        return direct and bool(self._thread) and self._workspace.flags.is_on("streams")

    def _build_id(self, ts: str) -> str:
        return f"{self._channel}:{ts}"


def _read_ts(post: str) -> str:
    return post.rpartition(":")[2]


def _as_delivery_error(refusal: SlackRefused) -> Exception:
    if refusal.error in GONE:
        return PostRemoved()
    return Undeliverable(reason=refusal.error)
