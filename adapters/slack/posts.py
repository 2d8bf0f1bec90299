"""Creates, streams, edits and finds the bot's own posts in Slack, and transfers files."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from adapters.slack import client, errors, rate_limits, render
from adapters.slack.client import SlackApi
from adapters.slack.data_blocks import has_data
from adapters.slack.errors import InDoubt, SlackRefused
from adapters.slack.events import private_url
from adapters.slack.presence import Workspace
from adapters.slack.render import Json, PostContent
from adapters.slack.row_blocks import has_table
from core.base.splitting import MAX_CHARACTER_SIZE, MIN_PART_CHARACTERS, split_text
from core.domain.messages import MAX_ATTACHMENT_BYTES, Attachment, Card, File, ReplyTo
from core.domain.ports import Files

STREAM_SECONDS = 240.0
"""The age at which Ponte closes a stream and starts another one. Slack's own limit is about 300
seconds (slackapi/node-slack-sdk issue 2702, slackapi/python-slack-sdk issue 1859)."""
_QUIET = {"unfurl_links": False, "unfurl_media": False}
"""These arguments prevent previews of links under a post."""


class StoppedByUser(Exception):
    """A person pressed Slack's own Stop button. Slack accepts no more text for this stream."""


@dataclass
class SlackStream:
    """One open streamed message (chat.startStream, chat.appendStream, chat.stopStream).

    A stream can only append. If earlier text has changed, the caller edits the message instead.
    Ponte cannot control which links Slack previews under a stream (slackapi/node-slack-sdk pull
    2389). `ts` is the message's time stamp, `key` the one by which Ponte finds it again, and
    `sent_text` all text that the stream has taken.
    """

    api: SlackApi
    channel: str
    ts: str
    key: str
    sent_text: str
    began: float = field(default_factory=time.monotonic, init=False)

    @classmethod
    async def start(
        cls, api: SlackApi, to: ReplyTo, thread: str, key: str, text: str, team: str
    ) -> SlackStream:
        """Start a stream with `text`. Raises the errors of `SlackApi.call`.

        The caller has claimed a place under the rate limit, so the call waits for none. `key` goes
        into the post's metadata, by which Ponte finds it after a restart; Slack takes metadata only
        when the stream stops.
        """
        channel = to.address.channel
        # Slack must know who reads the stream. A person of unknown workspace counts as ours.
        began = await api.call(
            "chat.startStream",
            channel=channel,
            thread_ts=thread,
            chunks=_build_chunks(text),
            recipient_user_id=to.asker.id,
            recipient_team_id=to.asker.workspace or team,
            patience=0.0,
            claimed=True,
        )
        return cls(api, channel, str(began["ts"]), key, text)

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.began > STREAM_SECONDS

    async def append(self, text: str) -> bool:
        """Append what `text` adds to the text sent so far. False if the caller must edit the post
        instead: earlier text has changed (a stream only appends), the stream is over or full, or
        Slack's response was lost.

        Raises StoppedByUser and the errors of `SlackApi.call`.
        """
        if not text.startswith(self.sent_text):
            return False
        if text == self.sent_text:
            return True
        is_accepted = await self._try_call(
            "chat.appendStream", chunks=_build_chunks(text[len(self.sent_text) :])
        )
        if is_accepted:
            self.sent_text = text
        return is_accepted

    async def stop(
        self, text: str, blocks: list[Json], session: str, claimed: bool = False
    ) -> bool:
        """Close the stream with the final `text` and `blocks`. False if an edit must still bring
        them into the post.

        `session` is the status of the thread's session afterwards ("processing", "active" or
        "suspended"). `claimed`: the call's place under the rate limit is reserved. Raises
        StoppedByUser and the errors of `SlackApi.call`.
        """
        # Changed text and blocks that do not fit are left to an edit. The stream is closed in any
        # case, because Slack accepts no edit while it is open.
        follows = text.startswith(self.sent_text)
        # BLOCK_BYTES: the streamed text counts as one more block.
        fits = (
            render.escaped_size(text) + render.BLOCK_BYTES + render.blocks_size(blocks)
            <= render.STREAM_BYTES
        )
        rest = text[len(self.sent_text) :] if follows else ""
        is_accepted = await self._try_call(
            "chat.stopStream",
            chunks=_build_chunks(rest),
            metadata=post_metadata(self.key),
            blocks=blocks if follows and fits and blocks else None,
            session_status=session,
            claimed=claimed,
        )
        return is_accepted and follows and (fits or not blocks)

    async def _try_call(self, method: str, **arguments: Any) -> bool:
        """Return False if the stream is over, or the text is too long for it, or its blocks are
        refused: an edit can still show them. A lost response counts as failed, because the edit
        that follows replaces the whole text. Raises StoppedByUser, and SlackRefused for any other
        refusal."""
        try:
            await self.api.call(method, channel=self.channel, ts=self.ts, **arguments)
        except SlackRefused as refused:
            if refused.error in errors.STREAM_STOPPED:
                raise StoppedByUser from None
            if refused.error in errors.STREAM_OVER | errors.MESSAGE_TOO_LONG | errors.SHAPE_REFUSED:
                return False
            raise
        except InDoubt:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PostLookup:
    """Finds the bot's posts of one turn in a thread or channel, after the message that it answers,
    whose time stamp is `since`.

    A post without a key is identified by its position. `thread` is "" at a channel's top level.
    """

    workspace: Workspace
    channel: str
    thread: str
    since: str
    turn: str

    async def find_by_key(self, key: str, until: str = "") -> str | None:
        """Return the time stamp of the post with that key. With `until`, a time stamp, later posts
        are not read, and a refusal is raised: the caller must be certain. Without it, a refusal
        counts as no post, because the answer must still be posted."""
        for post in await self._own_posts(until):
            if key_of(post) == key:
                return str(post["ts"])
        return None

    async def keys(self) -> frozenset[str]:
        """Return the keys of the bot's posts since the source message; "" for one without."""
        return frozenset(map(key_of, await self._own_posts()))

    async def find_without_key(self, key: str) -> str | None:
        """Return the time stamp of a streamed post that was never stopped; None if there is none.

        It has no key yet. Ponte stops its stream, which allows edits, and writes `key` into its
        metadata.
        """
        for post in await self._own_posts():
            # Uploaded files and notices have no key either, notices other metadata.
            if not key_of(post) and not post.get("files") and "metadata" not in post:
                ts = str(post["ts"])
                await stop_stream(self.workspace.api, self.channel, ts, key)
                return ts
        return None

    async def with_files(self, names: frozenset[str] = frozenset()) -> str | None:
        """Return the time stamp of the post that holds the turn's files, all of `names` if given;
        None if there is none.

        A post with files has no key. If several turns follow one another, it belongs to the turn of
        the nearest keyed post before it. Posts are read from the oldest on.
        """
        # `owner`: the turn of the nearest keyed post so far, "" before the first one. `candidate`:
        # the newest post with files before it. `has_key`: a keyed post of this turn was passed.
        owner, candidate, has_key = "", None, False
        for post in await self._own_posts():
            owner = key_of(post).partition(":")[0] or owner  # a key is TURN:NUMBER
            has_key = has_key or owner == self.turn
            file_names = {file.get("name") for file in post.get("files", [])}
            # The turn's own post has no key if its stream was never stopped. Then a post with files
            # counts if no keyed post comes before it.
            if file_names and names <= file_names and owner == (self.turn if has_key else ""):
                candidate = str(post["ts"])
                if has_key:
                    return candidate
        # Files before this turn's first keyed post belong to another turn.
        return None if has_key else candidate

    async def _own_posts(self, until: str = "") -> Sequence[Json]:
        """Return the bot's posts since the source message, oldest first.

        If Slack refuses to list them, for example because a scope is missing, there are none: an
        answer must still be posted. With `until`, the last time stamp to read, SlackRefused is
        raised: that caller must know for certain whether its post exists.
        """
        await self.workspace.identify()  # `workspace.user` is known only after it
        try:
            posts = await client.history(
                self.workspace.api, self.channel, self.thread, self.since, until=until
            )
        except SlackRefused:
            if until:
                raise
            return ()
        # Slack returns the root with each thread, even one older than `since`.
        return [p for p in posts if p.get("user") == self.workspace.user and p["ts"] > self.since]


class SlackPosts:
    """Posts and edits the parts of an answer in one thread (`thread` "" for a channel's top level).

    If Slack refuses the whole message, Ponte sends it without tables and charts, then as plain
    sections, and then as several messages. No answer is dropped because of its length.
    """

    def __init__(self, lookup: PostLookup) -> None:
        self._lookup = lookup
        self._workspace = lookup.workspace
        self._api = lookup.workspace.api

    async def make(self, key: str, content: PostContent, grows: bool) -> Json:
        """Post a part of an answer, and return the response of chat.postMessage.

        `key`: a later process finds the post by it. `grows`: more text follows. Text too long for
        one message is then not divided: Slack's refusal is raised, and the text waits until the
        part is complete. Raises the errors of `SlackApi.call`.
        """
        response, rest = await self._send(partial(self._post_one, key), content, grows)
        # The rest of a divided text needs further messages. None of them can exist yet, because
        # their keys contain the time stamp of the new post.
        if rest:
            await self._post_rest(str(response["ts"]), rest, content.cards, frozenset())
        return response

    async def post_privately(
        self, user: str, thread: str, content: PostContent, *, refusal: bool = False
    ) -> str:
        """Post a message that only `user` sees. Return its time stamp, or "" if Slack gave none.


        A `refusal` uses a separate rate limit, so that no answer has to wait for it. Raises the
        errors of `SlackApi.call`.
        """
        # Refusals wait in a queue for all channels (""), each at most SLACK_PLACE_SECONDS. The call
        # below also waits in the queue of its method.
        if refusal:
            await self._api.limiter.turn(rate_limits.REFUSAL_LINE, "", client.SLACK_PLACE_SECONDS)

        post = partial(
            self._api.call,
            "chat.postEphemeral",
            channel=self._lookup.channel,
            user=user,
            thread_ts=thread or None,
        )
        response, rest = await self._send(lambda body: post(**body), content)
        # The other pieces of a divided text follow the first one.
        for piece in rest:
            await post(**PostContent(piece).build_plain())
        return str(response.get("message_ts", ""))

    async def respond(self, url: str, kind: str, content: PostContent) -> bool:
        """Post to a `response_url`, and return whether Slack accepted any form of the message.
        Raises InDoubt."""
        for body in _list_forms(content, self._workspace.flags):
            if await self._api.respond(url, body | {"response_type": kind}):
                return True
        return False

    async def edit(self, ts: str, content: PostContent, grows: bool, **arguments: Any) -> None:
        """Replace the content of the post `ts`. If its text is too long and more text follows
        (`grows`), the edit is skipped.

        Further arguments go to chat.update. `claimed`: a place under the rate limit is reserved.
        Raises the errors of `SlackApi.call`.
        """

        async def update(body: Json) -> Json:
            response = await self._api.call(
                "chat.update", channel=self._lookup.channel, ts=ts, **arguments, **body
            )
            arguments.pop("claimed", None)  # the first form has used the place up
            return response

        try:
            _, rest = await self._send(update, content, grows)
        except SlackRefused as refused:
            if grows and refused.error in errors.MESSAGE_TOO_LONG:
                return
            raise
        # An earlier attempt may have posted some further messages of a divided text already.
        if rest:
            await self._post_rest(ts, rest, content.cards, await self._lookup.keys())

    async def _send(
        self, send: Callable[[Json], Awaitable[Json]], content: PostContent, grows: bool = False
    ) -> tuple[Json, tuple[str, ...]]:
        """Send the message in the first form that Slack accepts. Return its response, and the rest
        of the text, which must follow in further messages. `grows`: the text is not complete, so it
        is not divided.

        Another form helps only if Slack finds the message too long or refuses its blocks. Any
        other refusal is raised at once, and so is the last one if Slack accepts no form. Refusals
        and successes are noted for each optional feature that the blocks use.
        """
        # `part` is the most bytes of text in one message that Slack has accepted, or has refused
        # none yet. The attempts are of the whole text, then of halves, quarters and so on, each
        # with its most bytes (`limit`) and the text that it leaves out (`rest`).
        flags, most = self._workspace.flags, self._workspace.part
        last_refusal: SlackRefused | None = None
        for body, limit, rest in _list_attempts(content, flags, grows, most):
            features = _list_features(body["blocks"])
            try:
                response = await send(body)
            except SlackRefused as refused:
                last_refusal = refused
                if refused.error in errors.SHAPE_REFUSED:
                    for feature in features:
                        flags.note_refusal(feature, refused.error)
                elif refused.error not in errors.MESSAGE_TOO_LONG:
                    raise
            else:
                for feature in features:
                    flags.note_success(feature)
                self._workspace.part = min(most, limit)  # later answers begin with this size
                return response, rest
        raise last_refusal or ValueError("nothing to post")

    async def _post_rest(
        self, ts: str, rest: tuple[str, ...], cards: tuple[Card, ...], existing_keys: frozenset[str]
    ) -> None:
        """Post the rest of a text in further messages, with the cards below all of it. Their keys
        contain the first message's time stamp, so that a retry posts none of them twice.

        Each is in the plain form (sections in place of a block of Markdown), as the first message
        of a divided text is.
        """
        for number, piece in enumerate(rest, 1):
            key = f"{self._lookup.turn}:{ts}+{number}"
            if key not in existing_keys:
                content = PostContent(piece, cards if number == len(rest) else ())
                await self._post_one(key, content.build_plain())

    async def _post_one(self, key: str, body: Json) -> Json:
        return await self._api.call(
            "chat.postMessage",
            channel=self._lookup.channel,
            thread_ts=self._lookup.thread or None,
            metadata=post_metadata(key),
            **_QUIET,
            **body,
        )


async def stop_stream(api: SlackApi, channel: str, ts: str, key: str = "") -> None:
    """Close a stream that another process left open, so that its post can be edited. A closed one
    causes no error. `key` goes into the post's metadata."""
    try:
        metadata = post_metadata(key) if key else None
        await api.call("chat.stopStream", channel=channel, ts=ts, metadata=metadata)
    except SlackRefused:
        return


def post_metadata(key: str) -> Json:
    """Return the metadata by which Ponte finds a post of its own
    (docs.slack.dev/messaging/message-metadata)."""
    return {"event_type": "ponte_post", "event_payload": {"key": key}}


def key_of(post: Json) -> str:
    metadata = post.get("metadata") or {}
    return str(metadata.get("event_payload", {}).get("key", ""))


async def fetch_post(workspace: Workspace, channel: str, ts: str, thread: str) -> Json:
    """Return the message `ts` (in `thread`, "" at the top level); {} if there is none. Raises the
    errors of `SlackApi.call`."""
    response = await workspace.api.call(
        "conversations.replies" if thread else "conversations.history",
        channel=channel,
        ts=thread or None,
        oldest=ts,
        latest=ts,
        inclusive=True,
        limit=2,  # of a thread, Slack also returns the root
    )
    return next((each for each in response.get("messages", []) if each.get("ts") == ts), {})


async def replace_card_in_post(
    workspace: Workspace, channel: str, ts: str, thread: str, card: Card
) -> bool:
    """Replace a decided card in the post `ts` (in `thread`, "" at the top level). False if the card
    is not in that post, or Slack refuses the edit also without tables.

    Raises the errors of `SlackApi.call`. Repeating it has no further effect.
    """
    # An edit sends all blocks of the post, so it needs those of the other cards.
    post, flags = await fetch_post(workspace, channel, ts, thread), workspace.flags
    text = str(post.get("text") or render.card_text(card))
    for tables, text_bytes in (
        (flags.is_on("tables"), render.MESSAGE_TEXT_BYTES),
        (False, render.SHORT_TEXT_BYTES),
    ):
        blocks = render.replace_card(post.get("blocks") or [], card, tables)
        if blocks is None:
            return False
        try:
            await workspace.api.call(
                "chat.update",
                channel=channel,
                ts=ts,
                blocks=blocks,
                text=render.cut_escaped(text, text_bytes),
            )
            return True
        except SlackRefused as refused:
            # Some workspaces refuse tables; the second attempt has none and a shorter text.
            if refused.error in errors.SHAPE_REFUSED and tables and has_table(blocks):
                flags.note_refusal("tables", refused.error)
            elif refused.error not in errors.MESSAGE_TOO_LONG | errors.SHAPE_REFUSED:
                raise
    return False  # the caller then posts the outcome as a message


def _build_chunks(text: str) -> list[Json] | None:
    return [{"type": "markdown_text", "text": text}] if text else None


def _list_attempts(
    content: PostContent, flags: client.FeatureFlags, grows: bool, most: int
) -> Iterator[tuple[Json, int, tuple[str, ...]]]:
    """Yield forms of a message with the maximum bytes of their text, and the rest of the text:
    first of the whole text, then of its halves, its quarters and so on. Once Slack accepts a form,
    its maximum holds for later answers in place of `most`.

    Text that grows is never divided here: it would be divided in another way a moment later.
    `most`: Slack has accepted it, or has refused none yet.
    """
    size = render.escaped_size(content.text)
    if grows or size <= most:
        for body in _list_forms(content, flags):
            yield body, most, ()
    limit = 0 if grows else min(size // 2, most)  # 0: no divided form
    # `split_text` works with no smaller limit.
    while limit >= MIN_PART_CHARACTERS * MAX_CHARACTER_SIZE:
        # A cut may divide a code block, and what was code would then be read as links.
        source = render.without_links_in_code(content.text)
        first, *rest = split_text(source, limit, render.escaped_size)
        # The first piece keeps the answer's buttons.
        yield PostContent(first, offers=content.offers).build_plain(), limit, tuple(rest)
        limit //= 2


def _list_forms(content: PostContent, flags: client.FeatureFlags) -> Iterator[Json]:
    """Yield forms of one message: whole, without a rating, without tables and charts, and plain.

    Each leaves out what Slack may have refused in the one before it. None equals the one before.
    """
    whole = content.build_whole(flags.is_on("tables"), flags.is_on("data"))
    yield whole
    features = _list_features(whole["blocks"])
    if "ratings" in features:
        content = content.without_rating
        yield content.build_whole(flags.is_on("tables"), flags.is_on("data"))
    if {"tables", "data"} & {*features}:
        yield content.build_whole(tables=False, data=False)
    yield content.build_plain()


def _list_features(blocks: Sequence[Json]) -> list[client.Feature]:
    """Return the optional features of these blocks. A workspace may lack any, and refuses the post
    then."""
    uses: list[tuple[client.Feature, bool]] = [
        ("tables", has_table(blocks)),
        ("data", has_data(blocks)),
        ("ratings", any(block["type"] == "context_actions" for block in blocks)),
    ]
    return [feature for feature, is_used in uses if is_used]


log = structlog.get_logger("slack")
Find = Callable[[frozenset[str]], Awaitable[str | None]]
"""Returns the time stamp of a post of the bot with files of these names."""
_HOSTS = ("slack.com", "slack-edge.com", "slack-files.com")
"""The domains that may receive our token."""


@dataclass(frozen=True, slots=True)
class SlackFiles:
    """Downloads the files that people attach."""

    api: SlackApi

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes] | None:
        """Return a file's description and bytes; None if it is larger than MAX_ATTACHMENT_BYTES,
        not on one of Slack's hosts, or refused. Raises the errors of `SlackApi.call`."""
        # A reference is the file's id, or the id and its private address.
        id, _, url = attachment.reference.partition(" ")
        if not url:
            # Forms, and events from channels shared with other companies, contain only the id.
            info = (await self.api.call("files.info", file=id)).get("file", {})
            url = private_url(info)
            attachment = replace(
                attachment,
                name=str(info.get("name") or attachment.name),
                type=str(info.get("mimetype") or attachment.type),
                size=int(info.get("size") or attachment.size),
            )
        # Whatever address an event contains, only Slack's hosts and the configured API get our
        # token.
        parts, api = urlsplit(url), urlsplit(self.api.base_url)
        if (parts.scheme, parts.netloc) != (api.scheme, api.netloc):
            host = parts.hostname or ""
            is_of_slack = any(host == name or host.endswith("." + name) for name in _HOSTS)
            if parts.scheme != "https" or not is_of_slack:
                return None
        if attachment.size > MAX_ATTACHMENT_BYTES:
            return None
        async with self.api.download(url) as answer:
            page = answer.content_type == "text/html" and attachment.type != "text/html"
            if answer.status != 200 or page:  # without files:read Slack sends a login page
                log.warning(
                    "Slack refused a file download", http_status=answer.status, is_login_page=page
                )
                return None
            data = bytearray()
            # The size in the event may be wrong, so the bytes are counted.
            async for chunk in answer.content.iter_chunked(65_536):
                data += chunk
                if len(data) > MAX_ATTACHMENT_BYTES:
                    return None
        # Only its length distinguishes a login page from an attached HTML file.
        html = attachment.type == "text/html"
        return None if html and len(data) != attachment.size else (attachment, bytes(data))


async def upload(
    api: SlackApi, stored_files: Files, find: Find, files: Sequence[File], channel: str, thread: str
) -> str:
    """Upload all files of an answer in one post, and return its time stamp; "0" if the post was
    made and is not found.

    Raises the errors of `SlackApi.call`. The SDK's files_upload_v2 does it in one call. Separate
    steps let Ponte look for the post if the last response was lost, instead of posting twice. Only
    the last step makes the post; before it, nobody sees what was uploaded.
    """
    names = frozenset(file.name for file in files)
    entries: list[Json] = []
    for file in files:
        _, data = await stored_files.get(file.id)
        to = await api.call("files.getUploadURLExternal", filename=file.name, length=len(data))
        await api.send_file(str(to["upload_url"]), data)
        entries.append({"id": to["file_id"], "title": file.name})
    try:
        await api.call(
            "files.completeUploadExternal",
            files=entries,
            channel_id=channel,
            thread_ts=thread or None,
        )
    # The post may exist.
    except InDoubt:
        if post_ts := await find(names):
            return post_ts
        raise
    # The response does not contain the time stamp of the post.
    return await find(names) or "0"
