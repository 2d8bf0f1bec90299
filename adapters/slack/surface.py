"""Posts in a conversation: streams in direct messages, throttled edits in channels."""

from __future__ import annotations

import time
from collections.abc import Sequence

from adapters.slack.api import Json
from adapters.slack.clicks import card_in_place
from adapters.slack.content import LIMIT, card_blocks, content, plainly
from adapters.slack.lookup import Lookup, stop
from adapters.slack.markup import markdown, settled
from adapters.slack.refusals import (
    GONE,
    PLACE_REFUSES,
    SHAPE_REFUSED,
    STREAM_OVER,
    SlackRefused,
)
from adapters.slack.rotation import Rotation
from adapters.slack.signs import Signs
from adapters.slack.source import Source
from adapters.slack.stream import Stream, post_metadata
from adapters.slack.uploads import upload
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy, PostRemoved, Undeliverable
from core.messages import Answer, File, ReplyTo
from core.ports import Files
from core.posting import FILES

PRIVATE = "private:"
"""Begins the id of what was shown to one person alone: it cannot be edited or found again."""
CROWDED = 2.0
"""Seconds after which an answer tries again to be shown as it grows."""
_NO_PLACE = frozenset({"not_in_channel", "channel_not_found"})


class ChatSurface:
    """The `Surface` of one reply. A post's id is `CHANNEL:TS`."""

    limit = LIMIT
    interval = 1.0

    def __init__(self, workspace: Workspace, files: Files, to: ReplyTo) -> None:
        self._workspace = workspace
        self._api = workspace.api
        self._files = files
        self._to = to
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._locale = workspace.directory.locale(to.asker.id)
        self._signs = Signs(workspace, self._channel, self._thread, self._source.ts, self._locale)
        self._rotation = Rotation(LIMIT)
        self._stream: Stream | None = None
        self._claim = ""
        self._numbers: dict[str, int] = {}
        self._keyless: dict[str, str] = {}
        self._shown: dict[str, Json] = {}
        if self._source.kind in ("message", "command"):
            self._signs.soon()

    def split(self, text: str) -> tuple[str, ...]:
        if self._stream is not None and self._stream.old:
            self._rotation.turn(text)
        return self._rotation.split(text)

    def pause(self) -> float:
        """Before an answer grows, its last call takes a place in Slack's limits; without one it
        is posted whole, when it is there."""
        if self._numbers or self._claim:
            return 0.0
        wanted = ["chat.startStream"] if self._may_stream() else []
        for method in (*wanted, "chat.update"):
            if self._api.pace.claim(method):
                self._claim = method
                return 0.0
        return CROWDED

    async def busy(self, doing: str) -> None:
        if self._source.kind == "card":
            self._signs.late()
        await self._signs.show(doing)

    async def post(self, number: int, key: str, part: str, answer: Answer | None) -> str:
        self._signs.hush()
        await self._close_stream()
        try:
            id = await self._new(key, part, answer)
        except SlackRefused as refused:
            id = await self._through_hook(refused, part, answer)
        self._numbers[id] = number
        await self._after(answer)
        return id

    async def edit(self, post: str, part: str, answer: Answer | None) -> None:
        if not post.startswith(self._channel + ":"):
            return
        try:
            if not await self._streamed(post, part, answer):
                await self._update(post, part, answer)
        except SlackRefused as refused:
            await self._signs.end()
            raise _meaning(refused) from refused
        await self._after(answer)

    async def delete(self, post: str) -> None:
        if not post.startswith(self._channel + ":"):
            return
        try:
            await self._api.call("chat.delete", channel=self._channel, ts=_ts(post))
        except SlackRefused as refused:
            raise _meaning(refused) from refused

    async def find(self, number: int, key: str) -> str | None:
        lookup = Lookup(self._workspace, self._channel, self._thread, self._source.ts)
        if number == FILES:
            found = await lookup.with_files()
        else:
            found = await lookup.keyed(key)
            if found is None and self._may_stream():
                found = await lookup.keyless(key)
        return self._id(found) if found else None

    async def upload(self, key: str, files: Sequence[File]) -> str:
        lookup = Lookup(self._workspace, self._channel, self._thread, self._source.ts)
        try:
            return self._id(await upload(self._api, self._files, lookup, files,
                                         self._channel, self._thread))  # fmt: skip
        except SlackRefused as refused:
            raise _meaning(refused) from refused

    async def _new(self, key: str, part: str, answer: Answer | None) -> str:
        if answer is not None and (answer.private or self._source.kind == "quiet"):
            return await self._whisper(part, answer)
        if answer is not None and self._source.kind == "card" and await self._in_place(answer):
            return f"{PRIVATE}card"
        if answer is None and (started := await self._start(key, part)):
            return started
        body = content(part, self._workspace.links, answer.cards if answer else (),
                       answer is None, self._locale)  # fmt: skip
        body |= {
            "channel": self._channel,
            "thread_ts": self._thread or None,
            "metadata": post_metadata(key),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        try:
            posted = await self._api.call("chat.postMessage", **body)
        except SlackRefused as refused:
            if refused.error not in SHAPE_REFUSED:
                raise
            posted = await self._api.call("chat.postMessage", **{**body, **plainly(part)})
        id = self._id(str(posted["ts"]))
        self._shown[id] = body["blocks"]
        return id

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
            if refused.error in PLACE_REFUSES:
                raise
            self._workspace.latches.refused("streams", refused.error)
            return None
        id = self._id(self._stream.ts)
        self._keyless[id] = key
        return id

    def _claimed_stream(self) -> bool:
        """The first stream's place was taken by `pause`; one that follows it needs its own."""
        if self._claim == "chat.startStream":
            self._claim = ""
            return True
        return (
            bool(self._keyless) and self._may_stream() and self._api.pace.claim("chat.startStream")
        )

    async def _streamed(self, post: str, part: str, answer: Answer | None) -> bool:
        """Bring it out through the open stream; False where an edit must."""
        stream = self._stream
        if stream is None or _ts(post) != stream.ts:
            return False
        if answer is None and not self._rotation.ends(part):
            text = self._rendered(part[: settled(part)])
            if not self._api.pace.spare("chat.appendStream") or await stream.append(text):
                return True
            self._stream = None
            await stream.stop(stream.sent, [])
            return False
        self._stream = None
        cards = card_blocks(answer.cards, self._locale) if answer else []
        return await stream.stop(self._rendered(part), cards)

    async def _update(self, post: str, part: str, answer: Answer | None) -> None:
        last = self._numbers.get(post) == max(self._numbers.values(), default=0)
        body = content(part, self._workspace.links, answer.cards if answer else (),
                       answer is None and last, self._locale)  # fmt: skip
        if self._shown.get(post) == body["blocks"]:
            return
        if answer is None and last and not self._api.pace.spare("chat.update"):
            return
        if post not in self._numbers and self._may_stream():
            await stop(self._api, self._channel, _ts(post))
            self._numbers[post] = 0
        try:
            await self._edited(post, body, answer is not None)
        except SlackRefused as refused:
            if refused.error in SHAPE_REFUSED:
                await self._edited(post, plainly(part), answer is not None)
            elif refused.error in STREAM_OVER:
                await stop(self._api, self._channel, _ts(post))
                await self._edited(post, body, answer is not None)
            else:
                raise
        self._shown[post] = body["blocks"]

    async def _edited(self, post: str, body: Json, answered: bool) -> None:
        key = self._keyless.get(post)
        metadata = post_metadata(key) if key else None
        claimed = answered and self._claim == "chat.update"
        self._claim = "" if claimed else self._claim
        await self._api.call(
            "chat.update", channel=self._channel, ts=_ts(post), metadata=metadata,
            claimed=claimed, **body,
        )  # fmt: skip

    async def _whisper(self, part: str, answer: Answer) -> str:
        body = content(part, self._workspace.links, answer.cards, locale=self._locale)
        shown = await self._api.call(
            "chat.postEphemeral", channel=self._channel, user=self._to.asker.id,
            thread_ts=self._thread if self._thread != self._source.ts else None, **body,
        )  # fmt: skip
        return f"{PRIVATE}{shown.get('message_ts', '')}"

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
        body = content(part, self._workspace.links, answer.cards, locale=self._locale)
        if not await self._api.respond(to.token, body | {"response_type": kind}):
            raise Undeliverable(reason="response_url is used up") from refused
        return f"{PRIVATE}hook"

    async def _close_stream(self) -> None:
        """A further post begins: the one before is as it is, and gets its key."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.stop(stream.sent, [])

    async def _after(self, answer: Answer | None) -> None:
        if answer is not None:
            await self._signs.end()

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
