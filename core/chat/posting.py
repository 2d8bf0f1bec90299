"""The Reply of a platform that keeps posts: one visible answer, whatever happens.

Each post is journalled before the call (with its key) and after it (with its id). When it is not
known whether a post was made, it is looked up before anything is posted. A post that a person
removed is never made again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from core.chat.platform import Surface
from core.domain.errors import NotStored, PlatformBusy, PostRemoved, Superseded, Undeliverable
from core.domain.messages import Answer, Post, Progress
from core.observability import metrics
from core.ports.conversations import PostJournal
from core.runtime.retry import Backoff, retry
from core.text import text

log = structlog.get_logger("posting")
FILES = 0
"""The number under which the upload of an answer's files is journalled; parts count from 1."""
POST_BACKOFF = Backoff(0.5, max_seconds=60.0)
"""Pauses between attempts to post an answer, where the platform asks for none."""
PATIENCE = 3600.0
"""Seconds after which an answer that cannot be posted is left, and told with the next message."""
UNDER_WAY = 60.0
"""Seconds that a post may take which nobody waits for any more, before it is given up."""
PROMPT = 0.5
"""Seconds within which an answer is posted whole: growing would only cost an edit."""


async def _no_pause() -> float:
    return 0.0


class PostedReply:
    """`pause` is asked before growing text is shown: seconds to leave it out for, where too many
    answers grow at once for the platform's limits. `whole` is told when nothing grows any more."""

    def __init__(
        self, surface: Surface, posts: PostJournal, turn: str,
        pause: Callable[[], Awaitable[float]] = _no_pause,
        whole: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._surface = surface
        self._posts = posts
        self._turn = turn
        self._pause = pause
        self._whole = whole
        self._known: dict[int, Post] | None = None
        self._shown: dict[int, str] = {}
        self._made: dict[int, str] = {}
        """Posts that were made here, whether or not their record came about."""
        self._making: dict[int, asyncio.Task[str]] = {}
        """Posts under way; who asked for one may have been cancelled meanwhile."""
        self._latest: Progress | None = None
        self._worker: asyncio.Task[None] | None = None
        self._gone: PostRemoved | None = None
        self._finishing = asyncio.Event()
        self._whole_until = time.monotonic() + min(surface.interval, PROMPT)
        self._next = 0.0
        """When the platform takes the next edit, on the monotonic clock."""

    @property
    def first_key(self) -> str:
        return "" if self._known and 1 in self._known else self._key(1)

    def split(self, text: str) -> tuple[str, ...]:
        return self._surface.split(text)

    async def show(self, progress: Progress) -> None:
        """Put it into the one slot of what is to be shown; the newest wins, none waits."""
        if self._gone:
            raise self._gone
        if self._finishing.is_set():
            return
        self._latest = progress
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._show_latest())

    async def finish(self, answer: Answer) -> None:
        """Bring the answer out, however often it takes. Raises Undeliverable, PostRemoved."""
        await self._show_no_more()
        if self._gone:
            raise self._gone
        self._whole()
        pauses, give_up = iter(POST_BACKOFF), time.monotonic() + PATIENCE

        def wait(error: Exception, failed: int) -> float | None:
            if isinstance(error, (Undeliverable, Superseded, NotStored)):
                return None
            if isinstance(error, PlatformBusy):
                seconds = error.seconds
            else:
                seconds = next(pauses)
                log.warning("post in doubt", turn=self._turn, why=repr(error), wait=seconds)
            return seconds if time.monotonic() + seconds <= give_up else None

        try:
            await retry(lambda: self._finish(answer), Exception, wait)
        except (Undeliverable, Superseded, NotStored):
            raise
        except Exception as error:
            raise Undeliverable(reason=_reason(error)) from error

    async def refresh(self, answer: Answer) -> None:
        """Edit the last post of an answer that stands: cards ride in it. One attempt."""
        number = len(answer.parts)
        post = (await self._load()).get(number)
        if not number or post is None or not post.id or post.state == "removed":
            return
        part = answer.parts[-1]
        self._whole()
        await self._watched(
            post, lambda: self._surface.edit(post.id, part, answer), gone_is_fine=True
        )

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        if self._making:
            await asyncio.wait(self._making.values(), timeout=UNDER_WAY)
        known = {post.number: post.id for post in posts}
        for number, made in self._made.items():
            if known.get(number) != made:
                log.warning("late post taken away", turn=self._turn, number=number)
                metrics.posts.labels("taken away").inc()
                with suppress(PostRemoved):
                    await self._surface.delete(made)
        last = len(answer.parts)
        for number, part in enumerate(answer.parts, 1):
            if number in self._shown and (id := known.get(number)):
                with suppress(PostRemoved):
                    await self._surface.edit(id, part, answer if number == last else None)

    async def wait_for_updates(self) -> None:
        await self._show_no_more()
        await self._surface.wait_for_updates()

    async def _show_no_more(self) -> None:
        """Let a post that is under way come to its record."""
        self._finishing.set()
        if self._worker is not None:
            await asyncio.shield(self._worker)

    async def _show_latest(self) -> None:
        while self._latest is not None and await self._may_edit():
            progress, self._latest = self._latest, None
            try:
                await self._show(progress)
            except PostRemoved as gone:
                self._gone = gone
                return
            except PlatformBusy as busy:
                self._next = time.monotonic() + busy.seconds
                self._latest = self._latest or progress
            except Exception as error:
                log.info("progress not shown", turn=self._turn, why=repr(error))
                return

    async def _show(self, progress: Progress) -> None:
        if not progress.text:
            self._posts.check_ownership()
            await self._surface.busy(progress.doing)
            return
        trust = progress.trust

        def split(said: str) -> Sequence[str]:
            whole = self._surface.split
            return trust.split_sanitized(said, whole)[1] if trust else whole(said)

        seconds = self._whole_until - time.monotonic()
        if seconds > 0 or (seconds := await self._pause()) > 0:
            raise PlatformBusy(seconds)
        for number, part in enumerate(await text.run_off_loop(split, progress.text), 1):
            await self._put(number, part, None)
        self._next = time.monotonic() + self._surface.interval

    async def _may_edit(self) -> bool:
        """Wait until the platform takes an edit; False when the answer came first."""
        if (early := self._next - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(early):
                    await self._finishing.wait()
        return not self._finishing.is_set()

    async def _finish(self, answer: Answer) -> None:
        last = len(answer.parts)
        for number, part in enumerate(answer.parts, 1):
            await self._put(number, part, answer if number == last else None, final=True)
        for post in list((await self._load()).values()):
            if post.number > last and post.state != "removed":
                await self._drop(post)
        if answer.files:
            await self._upload(answer)

    async def _put(
        self, number: int, part: str, answer: Answer | None, final: bool = False
    ) -> None:
        post = (await self._load()).get(number)
        if post is not None and post.state == "removed":
            raise PostRemoved
        if post is None:
            post = await self._intend(number)
        elif not post.id:
            found = await self._made_here(number) or await self._surface.find(number, post.key)
            post = await self._record(post, found) if found else post
        self._posts.check_ownership()
        known, self._shown[number] = self._shown.get(number), part
        if not post.id:
            metrics.posts.labels("post").inc()
            made = await self._make(number, self._surface.post(number, post.key, part, answer))
            ends = answer is not None and not answer.files and number >= max(await self._load())
            await self._record(post, made, ends)
        elif final or known != part:
            metrics.posts.labels("edit").inc()
            await self._watched(post, lambda: self._surface.edit(post.id, part, answer))

    async def _upload(self, answer: Answer) -> None:
        post = (await self._load()).get(FILES)
        if post is None:
            post = await self._intend(FILES)
        elif post.id or post.state == "removed":
            return
        elif found := await self._made_here(FILES) or await self._surface.find(FILES, post.key):
            await self._record(post, found)
            return
        self._posts.check_ownership()
        made = await self._make(FILES, self._surface.upload(post.key, answer.files))
        await self._record(post, made)

    async def _make(self, number: int, call: Coroutine[Any, Any, str]) -> str:
        """Its id, which stands in `_made` also where the wait for it is cancelled."""
        task = self._making[number] = asyncio.create_task(call)

        def made(task: asyncio.Task[str]) -> None:
            del self._making[number]
            if not task.cancelled() and not task.exception():
                self._made[number] = task.result()

        task.add_done_callback(made)
        return await asyncio.shield(task)

    async def _made_here(self, number: int) -> str:
        if under_way := self._making.get(number):
            await asyncio.wait({under_way})
        return self._made.get(number, "")

    async def _drop(self, post: Post) -> None:
        id = post.id or await self._surface.find(post.number, post.key)
        if id:
            await self._watched(post, lambda: self._surface.delete(id), gone_is_fine=True)
        await self._posts.record_removed(post.number)
        (await self._load()).pop(post.number)

    async def _intend(self, number: int) -> Post:
        post = Post(number, self._key(number))
        await self._posts.record_posting(number, post.key)
        (await self._load())[number] = post
        return post

    def _key(self, number: int) -> str:
        return f"{self._turn}:{number}"

    async def _record(self, post: Post, id: str, last: bool = False) -> Post:
        await self._posts.record_posted(post.number, id, last)
        done = Post(post.number, post.key, id, "posted")
        (await self._load())[post.number] = done
        return done

    async def _watched(
        self, post: Post, call: Callable[[], Awaitable[None]], gone_is_fine: bool = False
    ) -> None:
        """Run a call on a post of ours; that a person removed it is recorded."""
        self._posts.check_ownership()
        try:
            await call()
        except PostRemoved:
            await self._posts.record_removed(post.number)
            if not gone_is_fine:
                raise

    async def _load(self) -> dict[int, Post]:
        if self._known is None:
            self._known = {post.number: post for post in await self._posts.list_posts()}
        return self._known


def _reason(error: Exception) -> str:
    """The platform's own word for why it did not take the answer, where it said one."""
    return str(getattr(error, "reason", "")) or type(error).__name__
