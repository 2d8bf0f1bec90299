"""A recording platform: keeps posts as a chat server would, and fails in the ways they do.

`Recorder` is the server's side; `RecordingSurface` is what an adapter would write on top of it.
The server outlives the bot: kill tests serve it over HTTP (`recorder_server.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.base.errors import PlatformBusy, PostRemoved, Undeliverable
from core.base.splitting import split_text
from core.domain.messages import Answer, File, ReplyTo
from core.domain.ports import AnswerPart

LIMIT = 200
CARDS = "\n⟦"
"""Between a post's text and its cards."""


class AnswerLost(Exception):
    """The connection broke; whether the call had its effect is not known."""


@dataclass
class RecordedPost:
    """A post as people see it, oldest text first."""

    id: str
    channel: str
    source: str
    key: str
    texts: list[str] = field(default_factory=list)
    removed: bool = False
    deleted: bool = False

    @property
    def text(self) -> str:
        return self.texts[-1]

    @property
    def visible(self) -> bool:
        return not (self.removed or self.deleted)


@dataclass
class Faults:
    """How many of the next calls fail, and how."""

    lose_before: int = 0
    lose_after: int = 0
    busy: int = 0
    refuse: str = ""


class Posting(Protocol):
    async def post(self, channel: str, source: str, key: str, text: str) -> str: ...
    async def edit(self, post: str, text: str) -> None: ...
    async def delete(self, post: str) -> None: ...
    async def find(self, source: str, key: str) -> str | None: ...


class Recorder:
    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.posts: list[RecordedPost] = []
        self.calls: list[str] = []
        self.called = asyncio.Condition()
        self.faults = Faults()
        self.after_effect: asyncio.Event | None = None
        """When set, the next post has its effect, sets this, and never answers."""

    async def wait_for_calls(self, calls: int) -> None:
        """Wait until that many calls have arrived."""
        async with self.called:
            await self.called.wait_for(lambda: len(self.calls) >= calls)

    async def post(self, channel: str, source: str, key: str, text: str) -> str:
        await self._before("post")
        self._check(text)
        id = f"p{len(self.posts) + 1}"
        self.posts.append(RecordedPost(id, channel, source, key, [text]))
        await self._after()
        return id

    async def edit(self, post: str, text: str) -> None:
        await self._before("edit")
        match = self._of(post)
        self._check(text)
        if not match.visible:
            raise PostRemoved
        match.texts.append(text)
        await self._after()

    async def delete(self, post: str) -> None:
        await self._before("delete")
        self._of(post).deleted = True
        await self._after()

    async def find(self, source: str, key: str) -> str | None:
        self.calls.append("find")
        return next((p.id for p in self.posts if (p.source, p.key) == (source, key)), None)

    def remove(self, post: str) -> None:
        """Delete it as a person would."""
        self._of(post).removed = True

    def visible(self, source: str) -> list[str]:
        """The answer to one message as people see it."""
        return [p.text for p in self.posts if p.source == source and p.visible]

    def _check(self, text: str) -> None:
        """Cards stand beside a post's text, as everywhere."""
        length = len(text.split(CARDS)[0])
        if length > self.limit:
            raise ValueError(f"a post of {length} characters, over {self.limit}")

    def _of(self, post: str) -> RecordedPost:
        return next(p for p in self.posts if p.id == post)

    async def _before(self, call: str) -> None:
        async with self.called:
            self.calls.append(call)
            self.called.notify_all()
        if self.faults.refuse:
            raise Undeliverable(reason=self.faults.refuse)
        if self.faults.busy:
            self.faults.busy -= 1
            raise PlatformBusy(0.01)
        if self.faults.lose_before:
            self.faults.lose_before -= 1
            raise AnswerLost

    async def _after(self) -> None:
        async with self.called:
            self.called.notify_all()
        if self.after_effect is not None:
            event, self.after_effect = self.after_effect, None
            event.set()
            await asyncio.Event().wait()
        if self.faults.lose_after:
            self.faults.lose_after -= 1
            raise AnswerLost


def render_post(part: str, answer: Answer | None) -> str:
    """Return a post as people see it: its text, then its cards."""
    cards = answer.cards if answer else ()
    lines = [f"{CARDS}{card.id} {card.state} {'/'.join(card.actions)}⟧" for card in cards]
    return "".join([part, *lines])


class RecordingSurface:
    """The `Surface` of one reply on a `Recorder`."""

    interval = 0.0
    arrival_seconds = 0.0
    has_code_button = False

    def __init__(self, platform: Posting, to: ReplyTo, limit: int = LIMIT) -> None:
        self._platform = platform
        self._to = to
        self.limit = limit
        self.doing: list[str] = []

    def split(self, text: str) -> tuple[str, ...]:
        return split_text(text, self.limit)

    async def seconds_until_growth(self) -> float:
        return 0.0

    async def show_activity(self, doing: str) -> None:
        self.doing.append(doing)

    async def end_activity(self) -> None:
        self.doing.clear()

    async def post(self, key: str, part: AnswerPart) -> str:
        text = render_post(part.text, part.answer)
        return await self._platform.post(self._to.address.channel, self._to.source, key, text)

    async def edit(self, post: str, part: AnswerPart) -> None:
        await self._platform.edit(post, render_post(part.text, part.answer))

    async def delete(self, post: str) -> None:
        await self._platform.delete(post)

    async def find(self, number: int, key: str) -> str | None:
        return await self._platform.find(self._to.source, key)

    async def upload(self, key: str, files: Sequence[File]) -> str:
        names = ", ".join(file.name for file in files)
        return await self._platform.post(self._to.address.channel, self._to.source, key, names)
