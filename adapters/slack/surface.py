"""Posts in a conversation: streams in direct messages, throttled edits in channels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from adapters.slack.api import Json
from adapters.slack.cards import all_blocks
from adapters.slack.clicks import card_in_place
from adapters.slack.content import content, parts
from adapters.slack.lengths import PART, STREAM, size
from adapters.slack.lookup import Lookup, stop
from adapters.slack.markup import markdown, settled
from adapters.slack.posts import Posts
from adapters.slack.refusals import GONE, STOPPED, STREAM_OVER, TOO_LONG, SlackRefused
from adapters.slack.rotation import Rotation
from adapters.slack.signs import Signs
from adapters.slack.source import Source
from adapters.slack.stream import StoppedByUser, Stream, post_metadata
from adapters.slack.uploads import upload
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy, PostRemoved, Undeliverable
from core.messages import Answer, File, ReplyTo
from core.ports import Files
from core.posting import FILES

log = structlog.get_logger("slack")
PRIVATE = "private:"
"""Begins the id of what was shown to one person alone: it cannot be edited or found again."""
CROWDED = 2.0
"""Seconds after which an answer tries again to be shown as it grows."""
_NO_PLACE = frozenset({"not_in_channel", "channel_not_found"})
"""The bot is no member there (chat.postMessage)."""
_LEAVES_CARDS = 2000
"""Bytes of a stream that are left for cards; more of them come by an edit."""


class ChatSurface:
    """The `Surface` of one reply. A post's id is `CHANNEL:TS`."""

    limit = PART
    interval = 1.0

    def __init__(self, workspace: Workspace, files: Files, to: ReplyTo) -> None:
        self._workspace = workspace
        self._api = workspace.api
        self._files = files
        self._to = to
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._signs = Signs(workspace, to)
        self._rotation = Rotation(lambda text: parts(text, workspace.links, workspace.part))
        self._lookup = Lookup(workspace, self._channel, self._thread, self._source.ts)
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

    def pause(self) -> float:
        """Before an answer grows, its last call takes a place in Slack's limits; without one it
        is posted whole, when it is there."""
        if self._numbers or self._claims:
            return 0.0
        streams = ("chat.startStream", "chat.stopStream")
        for methods in (streams, ("chat.update",)) if self._may_stream() else (("chat.update",),):
            if self._api.pace.claim(*methods):
                self._claims.update(methods)
                return 0.0
        return CROWDED

    def whole(self) -> None:
        """From now on no part grows."""
        self._whole = True

    async def busy(self, doing: str) -> None:
        if self._source.kind != "quiet":
            self._signs.soon(posts=self._source.kind != "card")
        await self._signs.show(doing)

    async def rest(self) -> None:
        await self._signs.end()

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        self._signs.hush()
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
            await self._signs.end()
            raise _meaning(refused) from refused
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
            return self._id(await upload(self._api, self._files, self._lookup, files,
                                         self._channel, self._thread))  # fmt: skip
        except SlackRefused as refused:
            raise _meaning(refused) from refused

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
            await self._signs.end()
            raise Undeliverable(reason="thread_not_found")
        self._shown[id] = body["blocks"]
        return id

    def _grows(self, number: int, answer: Answer | None) -> bool:
        """Whether it is the last part of an answer that is not whole yet."""
        return answer is None and not self._whole and number == self._many

    def _content(self, part: str, answer: Answer | None, grows: bool) -> Json:
        """`grows`: with a Stop of ours, unless Slack shows its own."""
        stops = grows and not self._signs.native_stop
        cards = answer.cards if answer else ()
        return content(part, self._workspace.links, cards, stops, self._locale)

    async def _start(self, key: str, part: str) -> str | None:
        """Begin a stream; None where this must be an ordinary post."""
        text = self._rendered(part[: settled(part)])
        if not text.strip() or not self._claimed_stream():
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
                self._workspace.latches.refused("streams", refused.error)
            return None
        self._workspace.latches.worked("streams")
        self._signs.streams()
        id = self._id(self._stream.ts)
        self._keyless[id] = key
        return id

    def _claimed_stream(self) -> bool:
        """The first stream's places were taken by `pause`; one that follows it needs its own."""
        if "chat.startStream" in self._claims:
            self._claims.remove("chat.startStream")
            return True
        follows = bool(self._keyless) and self._may_stream()
        if follows and self._api.pace.claim("chat.startStream", "chat.stopStream"):
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
        if not self._api.pace.spare("chat.appendStream") or await stream.append(text):
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
        session = "processing" if goes_on and self._signs.native_stop else ""
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
        if grows and (self._stopped or not self._api.pace.spare("chat.update")):
            return
        if post not in self._numbers and self._may_stream():
            await stop(self._api, self._channel, _ts(post))
            self._numbers[post] = 0
        try:
            await self._edited(post, body, part, answer)
        except SlackRefused as refused:
            if refused.error not in STREAM_OVER:
                raise
            await stop(self._api, self._channel, _ts(post))
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
        return PRIVATE + await self._posts.whisper(self._to.asker.id, thread, body, part)

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
            await self._signs.end()
            raise _meaning(refused) from refused
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
            await self._signs.end(released)

    @property
    def _locale(self) -> str:
        return self._workspace.directory.locale(self._to.asker.id)

    def _may_stream(self) -> bool:
        direct = not self._to.address.shared
        return direct and bool(self._thread) and self._workspace.latches.on("streams")

    def _rendered(self, part: str) -> str:
        return markdown(part, self._workspace.links)

    def _id(self, ts: str) -> str:
        return f"{self._channel}:{ts}"


def _ts(post: str) -> str:
    return post.rpartition(":")[2]


def _meaning(refused: SlackRefused) -> Exception:
    if refused.error in GONE:
        return PostRemoved()
    return Undeliverable(reason=refused.error)
