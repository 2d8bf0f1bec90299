"""What Ponte posts in a conversation: answers as they grow, their cards, their files, and the
native sign that work goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import structlog

from adapters.slack import render
from adapters.slack.client import (
    FAILURES,
    GONE,
    PATIENCE,
    REFUSAL_LINE,
    SHAPE_REFUSED,
    STOPPED,
    STREAM_OVER,
    TOO_LONG,
    Feature,
    InDoubt,
    SlackApi,
    SlackRefused,
    history,
)
from adapters.slack.events import Source
from adapters.slack.files import upload
from adapters.slack.render import (
    CONTAINER,
    PART,
    SHORT,
    STREAM,
    TEXT,
    Json,
    Rotation,
    all_blocks,
    content,
    cut,
    markdown,
    parts,
    plainly,
    settled,
    shorter,
    size,
    smaller,
    weight,
)
from adapters.slack.workspace import Workspace
from core.chat.posting import FILES
from core.chat.presence import SOON
from core.domain import errors
from core.domain.errors import PlatformBusy, PostRemoved, Undeliverable
from core.domain.messages import Answer, Card, File, ReplyTo
from core.ports.conversations import Files
from core.runtime.retry import retry, wait_after_each
from core.text.i18n import nearest_locale, say

log = structlog.get_logger("slack")

LIFE = 240.0
"""Seconds after which a stream is closed and another one begun; Slack's own limit is about 300
(slackapi/node-slack-sdk issue 2702, slackapi/python-slack-sdk issue 1859)."""
CROWDED = 2.0
"""Seconds after which an answer tries again to be shown as it grows."""
PRIVATE = "private:"
"""Begins the id of what was shown to one person alone: it cannot be edited or found again."""
_NO_PLACE = frozenset({"not_in_channel", "channel_not_found"})
"""The bot is no member there (chat.postMessage)."""
_PAGE, _PAGES = 1000, 10
"""Members of a channel that are asked for at once, and how often."""
_LEAVES_CARDS = 2000
"""Bytes of a stream that are left for cards; more of them come by an edit."""
_QUIET = {"unfurl_links": False, "unfurl_media": False}

AGAIN = 90.0
"""Seconds after which the status line is said again: Slack shows it for two minutes."""
UNHEARD = "missing_agent_session_stopped_event_subscription"
"""A warning of agents.sessions.setStatus: there is no Stop, since nobody would hear it
(docs.slack.dev/reference/events/agent_session_stopped)."""
_THINKING = "is thinking…"
_SESSION = "agents.sessions.setStatus"
"""What it shows goes on until it is ended, for up to an hour (NousResearch/hermes-agent issue
90978)."""
_SIGN_TIMES, _SIGN_PATIENCE, _SIGN_PAUSE = 20, 2.0, 5.0
"""How often a sign is tried or said again; seconds that one may take, and between two tries."""


class StoppedByUser(Exception):
    """A person pressed Slack's own Stop: nothing more is taken."""


class Stream:
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
    ) -> Stream:
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
        return time.monotonic() - self.began > LIFE

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
        fits = size(text) + CONTAINER + weight(blocks) <= STREAM
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
            if refused.error in STOPPED:
                raise StoppedByUser from None
            if refused.error in STREAM_OVER or refused.error in TOO_LONG:
                return False
            raise
        except InDoubt:
            return False
        return True


class Lookup:
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

    async def keyed(self, key: str) -> str | None:
        """The time stamp of the post with that key."""
        async for post in self._ours():
            if key_of(post) == key:
                return str(post["ts"])
        return None

    async def keys(self) -> frozenset[str]:
        """Of all our posts."""
        return frozenset([key_of(post) async for post in self._ours()])

    async def keyless(self, key: str) -> str | None:
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


class Posts:
    """Posts of an answer in one thread of one channel (`thread` "": at its top level), made or
    edited in the fullest dress that Slack takes.

    What it finds too long goes out with less beside it, then in sections, then in two or three
    messages; an answer is never lost to its length.
    """

    def __init__(
        self, workspace: Workspace, lookup: Lookup, channel: str, thread: str, turn: str
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

    async def whisper(
        self, user: str, thread: str, body: Json, part: str, *, refusal: bool = False
    ) -> str:
        """To one person alone; the time stamp, "" for none. `refusal`: at the pace of refusals, so
        that no answer waits for one. Raises as `SlackApi.call`."""
        shown: list[Json] = []
        if refusal:
            await self._api.limiter.turn(REFUSAL_LINE, "", PATIENCE)

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
            if grows and refused.error in TOO_LONG:
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
                if error.error not in TOO_LONG | SHAPE_REFUSED:
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


class ChatSurface:
    """The `Surface` of one reply: streams in direct messages, throttled edits in channels. A post's
    id is `CHANNEL:TS`."""

    limit = PART
    interval = 1.0

    def __init__(
        self, workspace: Workspace, files: Files, to: ReplyTo, resumed: bool = False
    ) -> None:
        self._workspace = workspace
        self._api = workspace.api
        self._files = files
        self._to = to
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._presence = Presence(workspace, to, resumed)
        self._rotation = Rotation(lambda text: parts(text, workspace.links, workspace.part))
        self._lookup = Lookup(workspace, self._channel, self._thread, self._source.ts, to.turn)
        self._posts = Posts(workspace, self._lookup, self._channel, self._thread, to.turn)
        self._stream: Stream | None = None
        self._stopped = False
        self._many = 0
        self._whole = False
        self._claims: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._keyless: dict[str, str] = {}
        self._shown: dict[str, Json] = {}

    def split(self, text: str) -> tuple[str, ...]:
        if self._stream is not None and self._stream.old:
            self._rotation.turn(text)
        parts = self._rotation.split(text)
        self._many = len(parts)
        return parts

    async def pause(self) -> float:
        """Before an answer grows, its last call takes a place in Slack's limits; without one it
        is posted whole, when it is there."""
        if self._numbers or self._claims:
            return 0.0
        streams = ("chat.startStream", "chat.stopStream")
        for methods in (streams, ("chat.update",)) if self._may_stream() else (("chat.update",),):
            if await self._api.limiter.claim(*methods):
                self._claims.update(methods)
                return 0.0
        return CROWDED

    def whole(self) -> None:
        """From now on no part grows."""
        self._whole = True

    async def busy(self, doing: str) -> None:
        if self._source.kind != "quiet":
            self._presence.soon(posts=self._source.kind != "card")
        await self._presence.show(doing)

    async def wait_for_updates(self) -> None:
        await self._presence.end()
        await self._presence.tidy()

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        self._presence.hush()
        await self._close_stream()
        try:
            id = await self._new(number, key, part, answer)
        except SlackRefused as refused:
            id = await self._through_hook(refused, part, answer)
        self._numbers[id] = number
        self._workspace.pending.end(self._to.turn)
        await self._after(answer)
        return id

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        if not post.startswith(self._channel + ":"):
            return
        released = False
        try:
            released = await self._streamed(post, part, answer)
            if not released:
                await self._update(post, part, answer)
        except SlackRefused as refused:
            await self._presence.end()
            raise _undelivered(refused) from refused
        await self._after(answer, released)

    async def delete(self, post: str) -> None:
        if not post.startswith(self._channel + ":"):
            return
        try:
            await self._api.call("chat.delete", channel=self._channel, ts=_ts(post))
        except SlackRefused as refused:
            if refused.error in GONE:
                raise PostRemoved from refused
            log.warning("a post too many stays", why=refused.error)

    async def find(self, number: int, key: str) -> str | None:
        if number == FILES:
            found = await self._lookup.with_files()
        else:
            found = await self._lookup.keyed(key)
            if found is None and self._may_stream():
                found = await self._lookup.keyless(key)
        return self._id(found) if found else None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        try:
            return self._id(await upload(self._api, self._files, self._lookup.with_files, files,
                                         self._channel, self._thread))  # fmt: skip
        except SlackRefused as refused:
            raise _undelivered(refused) from refused

    async def _new(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        if answer is not None and (answer.private or self._source.kind == "quiet"):
            return await self._whisper(part, answer)
        if answer is not None and self._source.kind == "card" and await self._in_place(answer):
            return f"{PRIVATE}card"
        grows = self._grows(number, answer)
        if grows and (started := await self._start(key, part)):
            return started
        body = self._content(part, answer, grows)
        cards = answer.cards if answer else ()
        posted = await self._posts.make(key, body, part, cards, not self._whole)
        id = self._id(str(posted["ts"]))
        if self._thread and not (posted.get("message") or {}).get("thread_ts"):
            # Slack takes a reply to a message that was deleted, and puts it at the top level
            # (slack-go/slack issue 1571): an answer to nothing, for all to see.
            await self.delete(id)
            await self._presence.end()
            raise Undeliverable(reason="thread_not_found")
        self._shown[id] = body["blocks"]
        return id

    def _grows(self, number: int, answer: Answer | None) -> bool:
        """Whether it is the last part of an answer that is not whole yet."""
        return answer is None and not self._whole and number == self._many

    def _content(self, part: str, answer: Answer | None, grows: bool) -> Json:
        """`grows`: with a Stop of ours, unless Slack shows its own."""
        stops = grows and not self._presence.native_stop
        cards = answer.cards if answer else ()
        return content(part, self._workspace.links, cards, stops, self._locale)

    async def _start(self, key: str, part: str) -> str | None:
        """Begin a stream; None where this must be an ordinary post."""
        text = self._rendered(part[: settled(part)])
        if not text.strip() or not await self._claimed_stream():
            return None
        try:
            self._stream = await Stream.start(
                self._api, self._to, self._thread, key, text, self._workspace.team
            )
        except PlatformBusy:
            return None
        except SlackRefused as refused:
            if refused.error in STOPPED:
                await self._stop_turn("")
            elif refused.error not in TOO_LONG:
                self._workspace.flags.refused("streams", refused.error)
            return None
        self._workspace.flags.worked("streams")
        self._presence.streams()
        id = self._id(self._stream.ts)
        self._keyless[id] = key
        return id

    async def _claimed_stream(self) -> bool:
        """The first stream's places were taken by `pause`; one that follows it needs its own."""
        if "chat.startStream" in self._claims:
            self._claims.remove("chat.startStream")
            return True
        follows = bool(self._keyless) and self._may_stream()
        if follows and await self._api.limiter.claim("chat.startStream", "chat.stopStream"):
            self._claims.add("chat.stopStream")
            return True
        return False

    async def _streamed(self, post: str, part: str, answer: Answer | None) -> bool:
        """Bring it out through the open stream; False where an edit must."""
        stream = self._stream
        if stream is None or _ts(post) != stream.ts:
            return False
        try:
            if self._grows(self._numbers[post], answer) and not self._rotation.ends(part):
                return await self._append(stream, part)
            self._stream = None
            room = STREAM - size(self._rendered(part))
            cards = all_blocks(answer.cards, self._locale, room) if answer else []
            if answer and answer.cards and room < _LEAVES_CARDS:
                await self._stop_stream(stream, stream.sent, [], goes_on=False)
                return False
            return await self._stop_stream(stream, self._rendered(part), cards, answer is None)
        except StoppedByUser:
            self._stream = None
            await self._stop_turn(stream.ts)
            return answer is None

    async def _append(self, stream: Stream, part: str) -> bool:
        text = self._rendered(part[: settled(part)])
        spare = await self._api.limiter.spare("chat.appendStream")
        if not spare or await stream.append(text):
            return True
        self._stream = None
        await self._stop_stream(stream, stream.sent, [], goes_on=True)
        return False

    async def _stop_stream(
        self, stream: Stream, text: str, cards: list[Json], goes_on: bool
    ) -> bool:
        """`goes_on`: the turn does, in an edit or another message; so does its session."""
        claimed = "chat.stopStream" in self._claims
        self._claims.discard("chat.stopStream")
        session = "processing" if goes_on and self._presence.native_stop else ""
        return await stream.stop(text, cards, session, claimed)

    async def _stop_turn(self, ts: str) -> None:
        """What a person does with Slack's own Stop; the event that tells of it may be lost."""
        if not self._stopped:
            self._stopped = True
            await self._workspace.stopped(self._to, ts)

    async def _update(self, post: str, part: str, answer: Answer | None) -> None:
        grows = self._grows(self._numbers.get(post, 0), answer)
        body = self._content(part, answer, grows)
        if self._shown.get(post) == body["blocks"]:
            return
        if grows and (self._stopped or not await self._api.limiter.spare("chat.update")):
            return
        if post not in self._numbers and self._may_stream():
            await stop_stream(self._api, self._channel, _ts(post))
            self._numbers[post] = 0
        try:
            await self._edited(post, body, part, answer)
        except SlackRefused as refused:
            if refused.error not in STREAM_OVER:
                raise
            await stop_stream(self._api, self._channel, _ts(post))
            await self._edited(post, body, part, answer)
        self._shown[post] = body["blocks"]

    async def _edited(self, post: str, body: Json, part: str, answer: Answer | None) -> None:
        key = self._keyless.get(post)
        metadata = post_metadata(key) if key else None
        claimed = answer is not None and "chat.update" in self._claims
        if claimed:
            self._claims.remove("chat.update")
        await self._posts.edit(
            _ts(post), body, part, answer.cards if answer else (), not self._whole,
            metadata=metadata, claimed=claimed,
        )  # fmt: skip

    async def _whisper(self, part: str, answer: Answer) -> str:
        thread = self._thread if self._thread != self._source.ts else ""
        body = self._content(part, answer, False)
        shown = await self._posts.whisper(
            self._to.asker.id, thread, body, part, refusal=errors.is_refusal(answer.code)
        )
        return PRIVATE + shown

    async def _in_place(self, answer: Answer) -> bool:
        """Render a decided card anew where it stands; False where none stands there."""
        place = self._channel, self._source.ts, self._thread
        done = [await card_in_place(self._api, *place, c, self._locale) for c in answer.cards]
        return any(done)

    async def _through_hook(self, refused: SlackRefused, part: str, answer: Answer | None) -> str:
        """Where the bot is no member, a command's own address still takes a final answer."""
        to = self._to
        alive = to.token and time.time() < to.token_expires
        if refused.error not in _NO_PLACE or not alive:
            await self._presence.end()
            raise _undelivered(refused) from refused
        if answer is None:
            raise Undeliverable(reason=refused.error) from refused
        kind = "ephemeral" if answer.private else "in_channel"
        body = self._content(part, answer, False)
        if not await self._posts.respond(to.token, kind, body, part):
            raise Undeliverable(reason="response_url is used up") from refused
        return f"{PRIVATE}hook"

    async def _close_stream(self) -> None:
        """A further post begins: the one before is as it is, and gets its key."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            await self._stop_stream(stream, stream.sent, [], goes_on=True)
        except StoppedByUser:
            await self._stop_turn(stream.ts)

    async def _after(self, answer: Answer | None, released: bool = False) -> None:
        if answer is not None:
            await self._presence.end(released)

    @property
    def _locale(self) -> str:
        return self._workspace.directory.locale(self._to.asker.id)

    def _may_stream(self) -> bool:
        direct = not self._to.address.shared
        return direct and bool(self._thread) and self._workspace.flags.on("streams")

    def _rendered(self, part: str) -> str:
        return markdown(part, self._workspace.links)

    def _id(self, ts: str) -> str:
        return f"{self._channel}:{ts}"


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
    blocks = render.replaced(post.get("blocks") or [], card, locale)
    if blocks is None:
        return False
    text = str(post.get("text") or render.card_text(card))
    for limit in (TEXT, SHORT):
        try:
            await api.call("chat.update", channel=channel, ts=ts, blocks=blocks,
                           text=cut(text, limit))  # fmt: skip
            return True
        except SlackRefused as refused:
            if refused.error not in TOO_LONG | SHAPE_REFUSED:
                raise
    return False  # the outcome is posted beside it


async def direct_channel(api: SlackApi, user: str) -> str:
    """The direct message with a person, opened where there is none. Raises Undeliverable for who
    cannot be written to, else as `SlackApi.call`."""
    try:
        opened = await api.call("conversations.open", users=user)
    except SlackRefused as refused:
        raise Undeliverable(reason=refused.error) from refused
    return str((opened.get("channel") or {}).get("id", ""))


async def is_member(api: SlackApi, channel: str, user: str) -> bool:
    """False where that is not told, or not within so many pages."""
    cursor = None
    try:
        for _ in range(_PAGES):
            told = await api.call(
                "conversations.members", channel=channel, limit=_PAGE, cursor=cursor, patience=5.0
            )
            if user in told.get("members", []):
                return True
            cursor = told.get("response_metadata", {}).get("next_cursor") or None
            if not cursor:
                break
    except FAILURES as failure:
        log.info("who reads along is not told", why=str(failure))
    return False


async def channel_name(api: SlackApi, channel: str) -> str:
    """With its mark, as in `#general`; "" where that is not told."""
    try:
        told = await api.call("conversations.info", channel=channel, patience=5.0)
    except FAILURES as failure:
        log.info("a channel's name is not told", why=str(failure))
        return ""
    name = str((told.get("channel") or {}).get("name") or "")
    return f"#{name}" if name else ""


class Presence:
    """Of one turn, in one thread; without a thread Slack has no place for them, and the message
    that is answered wears a mark.

    A session that is "processing" is shown with Slack's own Stop (docs.slack.dev/ai/
    agent-sessions). The status line stands for two minutes or until the app posts. Both write one
    place, and the last one wins (agentconnect-md/agentconnect pull 1483).
    """

    def __init__(self, workspace: Workspace, to: ReplyTo, resumed: bool = False) -> None:
        self._workspace = workspace
        self._to = to
        self._resumed = resumed
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._doing = ""
        self._timer: asyncio.TimerHandle | None = None
        self._session: asyncio.Task[object] | None = None
        self._line: asyncio.Task[object] | None = None
        self._posts = True
        self._begun = False
        self._ended = False
        self._released = False
        self._reserved = False
        self.native_stop = False
        """Whether Slack shows its own Stop for this turn."""

    def soon(self, posts: bool = True) -> None:
        """Show them if the turn takes its time. `posts`: its outcome will be a post; that of a
        click may stand in its card alone."""
        if self._begun:
            return
        self._begun, self._posts = True, posts
        if self._is_left_over:
            self._workspace.tasks.start(self._workspace.unmark(self._place))
        self._workspace.marks.clear(self._to.turn)
        if self._shows and not self._ended:
            self._timer = asyncio.get_running_loop().call_later(SOON, self._begin)

    async def show(self, doing: str) -> None:
        """Say what is being done, where there is a line for it; else when there is."""
        if not doing or doing == self._doing:
            return
        self._doing = doing
        if self._line is not None and not self._line.done():
            await self._status(doing)

    def streams(self) -> None:
        """A stream began: it makes the thread's session "processing" by itself."""
        self._workspace.working[self._where] = self._to.turn

    def hush(self) -> None:
        """An answer is there: the status line went with it, the session and its Stop stay."""
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None:
            self._line.cancel()
        self._workspace.marks.clear(self._to.turn)

    async def end(self, released: bool = False) -> None:
        """The turn is over. `released`: its stream ended, and the session with it."""
        self.hush()
        self._workspace.pending.end(self._to.turn)
        if self._ended:
            return
        self._ended = True
        if self._line is not None and not self._posts:  # only a post would take the line away
            await self._status("")
        if self._session is not None:
            await asyncio.wait({self._session}, timeout=_SIGN_PATIENCE)
        self._released = self._workspace.working.get(self._where) == self._to.turn
        if self._released and released:
            del self._workspace.working[self._where]
        elif self._released:
            await self._let_go()

    async def tidy(self) -> None:
        """Take away what a former process left; this one may have shown nothing, where the answer
        was there already."""
        if not self._is_left_over or self._released:
            return
        self._released = True
        if not self._begun:
            self._workspace.tasks.start(self._workspace.unmark(self._place))
        if self._thread:
            await self._let_go()

    @property
    def _there(self) -> dict[str, Any]:
        return {"channel_id": self._channel, "thread_ts": self._thread}

    @property
    def _where(self) -> str:
        return f"{self._channel}:{self._thread}"

    @property
    def _place(self) -> str:
        return f"{self._channel}:{self._source.ts}"

    @property
    def _shows(self) -> bool:
        return bool(self._thread) or self._source.kind == "message"

    @property
    def _is_left_over(self) -> bool:
        """A former process took this message, or another one had it, and may have left signs."""
        early = self._resumed or float(self._source.ts) < self._workspace.started
        return self._source.kind == "message" and early

    def _begin(self) -> None:
        if not self._thread:
            self._workspace.tasks.start(self._mark())
            return
        if not self._workspace.flags.on("sessions"):
            self._line = self._workspace.tasks.start(self._keep_line())
            return
        self._session = self._workspace.tasks.start(self._stand())

    async def _mark(self) -> None:
        spare = await self._workspace.api.limiter.spare("reactions.remove")
        if spare and not self._ended:  # it must come off again
            self._workspace.marks.put(self._to.turn, self._place)

    async def _stand(self) -> None:
        if not await self._workspace.api.limiter.reserve(_SESSION, 2):
            return  # there must be a place left to end it
        self._reserved = True
        self._workspace.working[self._where] = self._to.turn
        title = self._workspace.titles.get(self._to.turn) or None
        told = await self._try("sessions", _SESSION, status="processing", title=title,
                               claimed=True, **self._there)  # fmt: skip
        if told:
            self.native_stop = told.get("warning") != UNHEARD
        elif told is None:
            self._workspace.working.pop(self._where, None)
            if not self._ended:
                self._line = self._workspace.tasks.start(self._keep_line())

    async def _let_go(self) -> None:
        if releasing := self._workspace.tasks.start(self._release()):
            await asyncio.wait({releasing}, timeout=_SIGN_PATIENCE)

    async def _release(self) -> None:
        """Slack itself would show for an hour that work goes on."""
        flags = self._workspace.flags

        async def release() -> None:
            if not flags.on("sessions"):
                return
            if self._workspace.working.get(self._where, self._to.turn) != self._to.turn:
                return  # another turn works in this thread now
            try:
                await self._workspace.api.call(
                    _SESSION, status="active", claimed=self._reserved, **self._there
                )
            except SlackRefused as refused:
                flags.refused("sessions", refused.error)
            except (InDoubt, PlatformBusy):
                self._reserved = False
                raise
            self._workspace.working.pop(self._where, None)

        with suppress(InDoubt, PlatformBusy):
            pauses = [_SIGN_PAUSE] * (_SIGN_TIMES - 1)
            await retry(release, (InDoubt, PlatformBusy), wait_after_each(pauses))

    async def _keep_line(self) -> None:
        for _ in range(_SIGN_TIMES):
            locale = self._workspace.directory.locale(self._to.asker.id)
            await self._status(self._doing or say(_THINKING, nearest_locale(locale)))
            await asyncio.sleep(AGAIN)

    async def _status(self, words: str) -> None:
        method = "assistant.threads.setStatus"
        await self._try("status", method, status=words[:50], **self._there)

    async def _try(self, feature: Feature, method: str, **arguments: Any) -> dict[str, Any] | None:
        """Best effort: an answer never fails for want of a sign. None where it was refused, nothing
        in it where it may or may not have been done."""
        flags = self._workspace.flags
        if not flags.on(feature):
            return None
        try:
            told = await self._workspace.api.call(method, patience=_SIGN_PATIENCE, **arguments)
        except SlackRefused as refused:
            # Where a command was typed, the app need not be a member, and is not authorised either.
            if self._source.kind == "message":
                flags.refused(feature, refused.error)
            return None
        except (InDoubt, PlatformBusy):
            return {}
        flags.worked(feature)
        return told


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


def _ts(post: str) -> str:
    return post.rpartition(":")[2]


def _undelivered(refused: SlackRefused) -> Exception:
    if refused.error in GONE:
        return PostRemoved()
    return Undeliverable(reason=refused.error)
