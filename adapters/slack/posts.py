"""Posts of ours in Slack: made, streamed, edited in a form that Slack takes, and found again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from adapters.slack import render
from adapters.slack.client import (
    MESSAGE_TOO_LONG,
    REFUSAL_LINE,
    SHAPE_REFUSED,
    SLACK_PLACE_SECONDS,
    STREAM_OVER,
    STREAM_STOPPED,
    InDoubt,
    SlackApi,
    SlackRefused,
    history,
)
from adapters.slack.render import (
    BLOCK_BYTES,
    MESSAGE_TEXT_BYTES,
    SHORT_TEXT_BYTES,
    STREAM_BYTES,
    Json,
    content,
    cut,
    plainly,
    shorter,
    size,
    smaller,
    weight,
)
from adapters.slack.workspace import Workspace
from core.domain.messages import Card, ReplyTo

STREAM_SECONDS = 240.0
"""Seconds after which a stream is closed and another one begun; Slack's own limit is about 300
(slackapi/node-slack-sdk issue 2702, slackapi/python-slack-sdk issue 1859)."""
_QUIET = {"unfurl_links": False, "unfurl_media": False}


class StoppedByUser(Exception):
    """A person pressed Slack's own Stop: nothing more is taken."""


class SlackStream:
    """One streamed message while it is open (chat.startStream, appendStream, stopStream).

    It takes only what follows on what was said, so it is left where the text changed behind it.
    What a stream unfurls is not ours to say (slackapi/node-slack-sdk pull 2389).
    """

    def __init__(self, api: SlackApi, channel: str, ts: str, key: str, sent: str) -> None:
        self.ts = ts
        self.sent = sent
        self.began = time.monotonic()
        self._api = api
        self._channel = channel
        self._key = key

    @classmethod
    async def start(
        cls, api: SlackApi, to: ReplyTo, thread: str, key: str, text: str, team: str
    ) -> SlackStream:
        """Raises as `SlackApi.call`. The key cannot be told to Slack before the stop."""
        channel = to.address.channel
        began = await api.call(
            "chat.startStream", channel=channel, thread_ts=thread, chunks=_chunks(text),
            recipient_user_id=to.asker.id, recipient_team_id=to.asker.workspace or team,
            patience=0.0, claimed=True,
        )  # fmt: skip
        return cls(api, channel, str(began["ts"]), key, text)

    @property
    def old(self) -> bool:
        return time.monotonic() - self.began > STREAM_SECONDS

    async def append(self, text: str) -> bool:
        """Let `text` stand there; False where this stream can no longer do that. Raises
        StoppedByUser, and as `SlackApi.call`."""
        if not text.startswith(self.sent):
            return False
        if text == self.sent:
            return True
        done = await self._try("chat.appendStream", chunks=_chunks(text[len(self.sent) :]))
        if done:
            self.sent = text
        return done

    async def stop(
        self, text: str, blocks: list[Json], session: str = "", claimed: bool = False
    ) -> bool:
        """Close it with `text` standing there; False where an edit must bring the text. Raises as
        `append`. `session`: what the thread's session is then; Slack makes it "active"."""
        follows = text.startswith(self.sent)
        fits = size(text) + BLOCK_BYTES + weight(blocks) <= STREAM_BYTES
        rest = text[len(self.sent) :] if follows else ""
        done = await self._try(
            "chat.stopStream", chunks=_chunks(rest), metadata=post_metadata(self._key),
            blocks=blocks if follows and fits and blocks else None,
            session_status=session or None, claimed=claimed,
        )  # fmt: skip
        return done and follows and (fits or not blocks)

    async def _try(self, method: str, **arguments: Any) -> bool:
        """An answer that was lost counts as not done: the edit that follows puts it right."""
        try:
            await self._api.call(method, channel=self._channel, ts=self.ts, **arguments)
        except SlackRefused as refused:
            if refused.error in STREAM_STOPPED:
                raise StoppedByUser from None
            if refused.error in STREAM_OVER or refused.error in MESSAGE_TOO_LONG:
                return False
            raise
        except InDoubt:
            return False
        return True


class PostLookup:
    """Our own posts in one place since a source message: by their key, else as the one that must be
    it."""

    def __init__(
        self, workspace: Workspace, channel: str, thread: str, since: str, turn: str
    ) -> None:
        self._workspace = workspace
        self._channel = channel
        self._thread = thread
        self._since = since
        self._turn = turn

    async def find_by_key(self, key: str) -> str | None:
        """The time stamp of the post with that key."""
        async for post in self._ours():
            if key_of(post) == key:
                return str(post["ts"])
        return None

    async def keys(self) -> frozenset[str]:
        """Of all our posts."""
        return frozenset([key_of(post) async for post in self._ours()])

    async def find_without_key(self, key: str) -> str | None:
        """A stream that was begun and not yet stopped carries no key: ours, then, is the one
        without. It is stopped, so that it can be edited, and marked with `key`."""
        async for post in self._ours():
            if not key_of(post) and not post.get("files") and "metadata" not in post:
                ts = str(post["ts"])
                await stop_stream(self._workspace.api, self._channel, ts, key)
                return ts
        return None

    async def with_files(self, names: frozenset[str] = frozenset()) -> str | None:
        """The post that holds files of the turn (all of `names`, where they are given). It has no
        key: the one before it says whose it is, in a place where one turn follows another."""
        whose, found, answered = "", None, False
        async for post in self._ours():
            whose = key_of(post).partition(":")[0] or whose
            answered = answered or whose == self._turn
            held = {file.get("name") for file in post.get("files", [])}
            if held and names <= held and whose == (self._turn if answered else ""):
                found = str(post["ts"])
                if answered:
                    return found
        return None if answered else found

    async def _ours(self) -> AsyncIterator[Json]:
        """Oldest first; nothing where the place does not let us read."""
        await self._workspace.identify()
        try:
            async for post in history(
                self._workspace.api, self._channel, self._thread, self._since
            ):
                if post.get("user") == self._workspace.user and post["ts"] > self._since:
                    yield post
        except SlackRefused:
            return


class SlackPosts:
    """Posts of an answer in one thread of one channel (`thread` "": at its top level), made or
    edited in the fullest dress that Slack takes.

    What it finds too long goes out with less beside it, then in sections, then in two or three
    messages; an answer is never lost to its length.
    """

    def __init__(
        self, workspace: Workspace, lookup: PostLookup, channel: str, thread: str, turn: str
    ) -> None:
        self._workspace = workspace
        self._api = workspace.api
        self._lookup = lookup
        self._channel = channel
        self._thread = thread
        self._turn = turn

    async def make(
        self, key: str, body: Json, part: str, cards: tuple[Card, ...], grows: bool
    ) -> Json:
        """What chat.postMessage answers. `grows`: more comes, so that what is too long for one
        message is left until then. Raises as `SlackApi.call`."""
        made: Json = {}

        async def post(variant: Json) -> None:
            nonlocal made
            made = await self._new(key, variant)

        rest = await self._in_some_variant(post, body, part, cards, grows)
        await self._follow(str(made["ts"]), rest, cards, frozenset())
        return made

    async def post_privately(
        self, user: str, thread: str, body: Json, part: str, *, refusal: bool = False
    ) -> str:
        """To one person alone; the time stamp, "" for none. `refusal`: at the pace of refusals, so
        that no answer waits for one. Raises as `SlackApi.call`."""
        shown: list[Json] = []
        if refusal:
            await self._api.limiter.turn(REFUSAL_LINE, "", SLACK_PLACE_SECONDS)

        async def post(variant: Json) -> None:
            told = await self._api.call(
                "chat.postEphemeral", channel=self._channel, user=user, thread_ts=thread or None,
                **variant,
            )  # fmt: skip
            shown.append(told)

        for piece in await self._in_some_variant(post, body, part):
            await post(plainly(piece))
        return str(shown[0].get("message_ts", ""))

    async def respond(self, url: str, kind: str, body: Json, part: str) -> bool:
        """At a `response_url`; False where it takes none of the dresses."""
        for variant in _variants(body, part, ()):
            if await self._api.respond(url, variant | {"response_type": kind}):
                return True
        return False

    async def edit(
        self, ts: str, body: Json, part: str, cards: tuple[Card, ...], grows: bool, **arguments: Any
    ) -> None:
        """`grows` as in `make`. Raises as `SlackApi.call`."""

        async def update(variant: Json) -> None:
            await self._api.call(
                "chat.update", channel=self._channel, ts=ts, **arguments, **variant
            )
            arguments.pop("claimed", None)

        try:
            rest = await self._in_some_variant(update, body, part, cards, grows)
        except SlackRefused as refused:
            if grows and refused.error in MESSAGE_TOO_LONG:
                return
            raise
        await self._follow(ts, rest, cards, await self._lookup.keys() if rest else frozenset())

    async def _in_some_variant(
        self, send: Callable[[Json], Awaitable[None]], body: Json, part: str,
        cards: tuple[Card, ...] = (), grows: bool = False,
    ) -> tuple[str, ...]:  # fmt: skip
        """Send it; what must follow in messages of its own is given back."""
        most = self._workspace.part
        attempts: list[tuple[Json, int, tuple[str, ...]]] = []
        if grows or size(part) <= most or not part.strip():
            attempts = [(variant, most, ()) for variant in _variants(body, part, cards)]
        if not grows:
            attempts += [(plainly(first), limit, tuple(rest))
                         for limit, (first, *rest) in smaller(part, most)]  # fmt: skip
        refused: SlackRefused | None = None
        for variant, limit, rest in attempts:
            if refused and refused.error in SHAPE_REFUSED and variant["blocks"] == body["blocks"]:
                continue
            try:
                await send(variant)
                self._workspace.part = min(most, limit)
                return rest
            except SlackRefused as error:
                refused = error
                if error.error not in MESSAGE_TOO_LONG | SHAPE_REFUSED:
                    raise
        raise refused or ValueError("nothing to post")

    async def _follow(
        self, ts: str, rest: tuple[str, ...], cards: tuple[Card, ...], made: frozenset[str]
    ) -> None:
        """Those that follow a message are known by its time stamp, so that none is made twice."""
        for number, piece in enumerate(rest, 1):
            key = f"{self._turn}:{ts}+{number}"
            if key not in made:
                body = plainly(piece)
                if number == len(rest) and cards:
                    body = content(piece, self._workspace.links, cards)
                await self._new(key, body)

    async def _new(self, key: str, body: Json) -> Json:
        return await self._api.call(
            "chat.postMessage", channel=self._channel, thread_ts=self._thread or None,
            metadata=post_metadata(key), **_QUIET, **body,
        )  # fmt: skip


async def stop_stream(api: SlackApi, channel: str, ts: str, key: str = "") -> None:
    """Close a stream that another process left open; one that is closed already is fine."""
    try:
        metadata = post_metadata(key) if key else None
        await api.call("chat.stopStream", channel=channel, ts=ts, metadata=metadata)
    except SlackRefused:
        return


def post_metadata(key: str) -> Json:
    """What a post of ours is found by (docs.slack.dev/messaging/message-metadata)."""
    return {"event_type": "ponte_post", "event_payload": {"key": key}}


def key_of(post: Json) -> str:
    metadata = post.get("metadata") or {}
    return str(metadata.get("event_payload", {}).get("key", ""))


async def card_in_place(
    api: SlackApi, channel: str, ts: str, thread: str, card: Card, locale: str
) -> bool:
    """Render a decided card anew in the post `ts` (of `thread`, "" at the top level); False where
    it is not in it.

    Raises as `SlackApi.call`. Doing it again changes nothing.
    """
    post = await _post_at(api, channel, ts, thread)
    if post is None:
        return False
    blocks = render.replace_card(post.get("blocks") or [], card, locale)
    if blocks is None:
        return False
    text = str(post.get("text") or render.card_text(card))
    for limit in (MESSAGE_TEXT_BYTES, SHORT_TEXT_BYTES):
        try:
            await api.call("chat.update", channel=channel, ts=ts, blocks=blocks,
                           text=cut(text, limit))  # fmt: skip
            return True
        except SlackRefused as refused:
            if refused.error not in MESSAGE_TOO_LONG | SHAPE_REFUSED:
                raise
    return False  # the outcome is posted beside it


async def _post_at(api: SlackApi, channel: str, ts: str, thread: str) -> Json | None:
    method = "conversations.replies" if thread else "conversations.history"
    told = await api.call(
        method, channel=channel, ts=thread or None, oldest=ts, latest=ts, inclusive=True, limit=2
    )
    return next((post for post in told.get("messages", []) if post.get("ts") == ts), None)


def _chunks(text: str) -> list[Json] | None:
    return [{"type": "markdown_text", "text": text}] if text else None


def _variants(body: Json, part: str, cards: tuple[Card, ...]) -> Iterator[Json]:
    """The same text in one message; cards are not given up for it."""
    yield body
    yield shorter(body)
    if part.strip() and not cards:
        yield plainly(part)
