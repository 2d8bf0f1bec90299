"""One post of an answer, made or edited, in the fullest dress that Slack takes.

What it finds too long goes out with less beside it, then in sections, then in two or three
messages; an answer is never lost to its length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from adapters.slack.api import Json
from adapters.slack.content import content, plainly, shorter, smaller
from adapters.slack.lengths import size
from adapters.slack.lookup import Lookup
from adapters.slack.refusals import SHAPE_REFUSED, TOO_LONG, SlackRefused
from adapters.slack.stream import post_metadata
from adapters.slack.workspace import Workspace
from core.messages import Card

_QUIET = {"unfurl_links": False, "unfurl_media": False}


class Posts:
    """In one thread of one channel (`thread` "": at its top level)."""

    def __init__(
        self, workspace: Workspace, lookup: Lookup, channel: str, thread: str, turn: str
    ) -> None:  # fmt: skip
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

        async def post(dress: Json) -> None:
            nonlocal made
            made = await self._new(key, dress)

        rest = await self._in_some_dress(post, body, part, cards, grows)
        await self._follow(str(made["ts"]), rest, cards, frozenset())
        return made

    async def whisper(self, user: str, thread: str, body: Json, part: str) -> str:
        """To one person alone; the time stamp, "" for none. Raises as `SlackApi.call`."""
        shown: list[Json] = []

        async def post(dress: Json) -> None:
            told = await self._api.call(
                "chat.postEphemeral", channel=self._channel, user=user, thread_ts=thread or None,
                **dress,
            )  # fmt: skip
            shown.append(told)

        for piece in await self._in_some_dress(post, body, part):
            await post(plainly(piece))
        return str(shown[0].get("message_ts", ""))

    async def respond(self, url: str, kind: str, body: Json, part: str) -> bool:
        """At a `response_url`; False where it takes none of the dresses."""
        for dress in _dresses(body, part, ()):
            if await self._api.respond(url, dress | {"response_type": kind}):
                return True
        return False

    async def edit(
        self, ts: str, body: Json, part: str, cards: tuple[Card, ...], grows: bool, **arguments: Any
    ) -> None:
        """`grows` as in `make`. Raises as `SlackApi.call`."""

        async def update(dress: Json) -> None:
            await self._api.call(
                "chat.update", channel=self._channel, ts=ts, **arguments, **dress
            )  # fmt: skip
            arguments.pop("claimed", None)

        try:
            rest = await self._in_some_dress(update, body, part, cards, grows)
        except SlackRefused as refused:
            if grows and refused.error in TOO_LONG:
                return
            raise
        await self._follow(ts, rest, cards, await self._lookup.keys() if rest else frozenset())

    async def _in_some_dress(
        self, send: Callable[[Json], Awaitable[None]], body: Json, part: str,
        cards: tuple[Card, ...] = (), grows: bool = False,
    ) -> tuple[str, ...]:  # fmt: skip
        """Send it; what must follow in messages of its own is given back."""
        most = self._workspace.part
        attempts: list[tuple[Json, int, tuple[str, ...]]] = []
        if grows or size(part) <= most or not part.strip():
            attempts = [(dress, most, ()) for dress in _dresses(body, part, cards)]
        if not grows:
            attempts += [(plainly(first), limit, tuple(rest))
                         for limit, (first, *rest) in smaller(part, most)]  # fmt: skip
        refused: SlackRefused | None = None
        for dress, limit, rest in attempts:
            if refused and refused.error in SHAPE_REFUSED and dress["blocks"] == body["blocks"]:
                continue
            try:
                await send(dress)
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


def _dresses(body: Json, part: str, cards: tuple[Card, ...]) -> Iterator[Json]:
    """The same text in one message; cards are not given up for it."""
    yield body
    yield shorter(body)
    if part.strip() and not cards:
        yield plainly(part)
