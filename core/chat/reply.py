"""The reply of every platform with posts: one visible answer that grows, also after a crash.

Each post is journalled before the call (with its key) and after it (with its id). If it is not
known whether a post was made, the platform is asked before anything is posted again. A post that a
person removed is never made again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from core.base import text
from core.base.errors import (
    NotSent,
    NotStored,
    PlatformBusy,
    PonteError,
    PostRemoved,
    Superseded,
    Undeliverable,
)
from core.base.tasks import Backoff, cancel_all, retry
from core.chat.buttons import must_fit, without_approval
from core.domain.messages import Answer, File, Post, Progress
from core.domain.ports import AnswerPart, PostJournal, RenderProgress, Surface
from core.domain.records import Turn
from core.journal.journal import Journal
from core.observability import metrics


class TurnPosts:
    """Records the posts of one turn's answer in the journal (the port `PostJournal`), so that no
    post is made twice.

    `key`: of the post that the journal saved together with the answer. `held`: the last post, which
    the journal saves in the transaction that ends the turn.
    """

    def __init__(self, journal: Journal, turn: Turn) -> None:
        self._journal = journal
        self._turn = turn  # with the posts of earlier attempts
        self.key = ""
        self.held: Post | None = None
        self.check_ownership = journal.check_ownership

    @property
    def is_resumed(self) -> bool:
        """An earlier attempt at the turn may have posted something."""
        return self._turn.attempt > 1

    async def list_posts(self) -> Sequence[Post]:
        """Return the posts recorded before this attempt at the turn."""
        return self._turn.posts

    async def record_posting(self, number: int, key: str) -> None:
        """Record a post's key before it is made, unless it was stored with the answer."""
        if key != self.key:
            await self._journal.record_posting(self._turn, number, key)

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        """Record a post's id. That of the last post is held back for the transaction of the turn's
        end."""
        if last:
            self.held = Post(number, "", post, "posted")
        else:
            await self._journal.record_posted(self._turn, number, post)

    async def keep(self) -> None:
        """Record the answer's last post now, because the turn does not end."""
        if self.held:
            await self._journal.record_posted(self._turn, self.held.number, self.held.id)
            self.held = None

    async def record_removed(self, number: int) -> None:
        await self._journal.record_removed(self._turn, number)


log = structlog.get_logger("posting")
FILES_NUMBER = 0
"""The upload of an answer's files is journalled under this number; parts count from 1."""
POST_BACKOFF = Backoff(0.5, max_seconds=60.0)
"""The pauses between attempts to post an answer, unless the platform asks for a certain pause."""
MAX_DELIVERY_SECONDS = 3600.0
"""After this time, an answer that cannot be posted is undeliverable. The next answer in the
conversation mentions it."""
LATE_POST_SECONDS = 60.0
"""How long `correct_late_posts` waits for posts under way."""
SETTLE_SECONDS = 2.0
"""How long posts under way have to end before another process continues the turn."""
WHOLE_ANSWER_SECONDS = 0.5
"""An answer that is complete within this time is posted once. Growth would cost another edit."""


class GrowingReply:
    """Posts the answer of one turn on a platform while it grows (the port `Reply`). It records
    posts, limits the rate of edits, retries, and makes no post twice. The platform's `Surface` only
    formats posts and sends the requests."""

    def __init__(self, surface: Surface, posts: PostJournal, turn: str) -> None:
        self._surface = surface
        self._posts = posts
        self._turn = turn
        self.split = surface.split
        self._known: dict[int, Post] = {}
        """The recorded posts by number, once `_load_posts` has read them."""
        self._is_loaded = False
        self._arrivals: dict[int, float] = {}
        """By number of a post with an unknown outcome that was not found yet: when its request must
        have arrived, on the monotonic clock."""
        self._shown: dict[int, str] = {}
        """What this process posted last in each part."""
        self._made: dict[int, str] = {}
        """Ids of the posts that this process made, by number. One may not be recorded yet, because
        the caller was cancelled."""
        self._making: dict[int, asyncio.Task[str]] = {}
        """Posts under way, by number. The caller that began one may have been cancelled since."""
        self._latest: tuple[Progress, RenderProgress | None] | None = None
        self._worker: asyncio.Task[None] | None = None
        """The task that shows the newest progress, while there is newer one."""
        self._pause: asyncio.TimerHandle | None = None
        """Starts the worker when the platform takes the next edit."""
        self._gone: PostRemoved | None = None
        """A person has removed a post: nothing more is shown."""
        self._is_finishing = False
        """The answer is complete, or another process continues: no progress is shown."""
        self._is_quiet = False
        """The signs of the turn are removed, and none was set since."""
        self._whole_until = time.monotonic() + min(surface.interval, WHOLE_ANSWER_SECONDS)
        """Until this time (monotonic clock), no growing text is posted: the answer may be complete
        earlier."""
        self._next = 0.0
        """When the next edit may come, on the monotonic clock."""

    @property
    def first_key(self) -> str:
        """The key of the answer's first post, to be stored together with the answer; "" if that
        post is recorded already."""
        return "" if 1 in self._known else self._make_key(1)

    async def show(self, progress: Progress, render: RenderProgress | None = None) -> None:
        """Show progress when the platform takes the next edit. Newer progress replaces what still
        waits, and no caller waits. Raises PostRemoved if a person has deleted a post of the answer,
        which stops the turn."""
        if self._gone:
            raise self._gone
        if self._is_finishing:
            return
        self._latest = progress, render
        if progress.text:
            # No text before `_whole_until`: an answer complete very soon is posted only once.
            self._next = max(self._next, self._whole_until)
        # Otherwise a timer or the worker will show the newest progress.
        if self._pause is None and (self._worker is None or self._worker.done()):
            if progress.text or progress.current_step:
                self._show_soon()
            else:
                await self._show_latest()  # at the turn's beginning; this sends no request

    async def finish(self, answer: Answer) -> None:
        """Post the whole answer in place of its progress; retry for `MAX_DELIVERY_SECONDS`. A call
        after a crash posts nothing twice. Raises Undeliverable if the platform refuses for good or
        all that time, and PostRemoved if a person deleted a post of it."""
        self._is_quiet = False
        # The answer edits a post of progress that is under way.
        await self._show_no_more()
        if self._gone:
            raise self._gone
        pauses, give_up = iter(POST_BACKOFF), time.monotonic() + MAX_DELIVERY_SECONDS

        def wait(error: Exception, failed: int) -> float | None:
            """Return the seconds until the next attempt, None to give up. The platform says how
            long it is busy; after an unknown outcome the endless `pauses` grow. After `give_up`, no
            attempt follows."""
            # The platform refuses for good, another process has the turn, or the database fails: a
            # repetition helps against none of these.
            if isinstance(error, (Undeliverable, Superseded, NotStored)):
                return None
            if isinstance(error, PlatformBusy):
                seconds = error.seconds
            else:
                seconds = next(pauses)
                log.warning(
                    "outcome of a post unknown; retrying",
                    turn=self._turn,
                    error=repr(error),
                    delay_seconds=seconds,
                )
            return seconds if time.monotonic() + seconds <= give_up else None

        try:
            await retry(lambda: self._finish(answer), Exception, wait)
        except (Undeliverable, Superseded, NotStored):
            raise
        except Exception as error:  # the time is over
            reason = str(getattr(error, "reason", "")) or type(error).__name__
            raise Undeliverable(reason=reason) from error

    async def refresh(self, answer: Answer) -> None:
        """Redraw the cards of a posted answer by editing its last post, which has them. Do nothing
        if that post was removed or never made."""
        number = len(answer.parts)
        post = (await self._load_posts()).get(number)
        if not number or post is None or not post.id or post.state == "removed":
            return
        part = self._build_final_part(answer, number, is_redrawn=True)
        await self._call(post, lambda: self._surface.edit(post.id, part), ignore_removed=True)

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        """Correct what this process posted after another process took the turn over and posted
        `answer` as `posts`. Delete posts that were made too late, and restore the text of the
        others."""
        # Posts under way may still arrive.
        if self._making:
            await asyncio.wait(self._making.values(), timeout=LATE_POST_SECONDS)
        ids = {post.number: post.id for post in posts}
        for number, own_id in self._made.items():
            if ids.get(number) != own_id:
                log.warning("removed a duplicate post", turn=self._turn, post_number=number)
                metrics.duplicate_posts.inc()
                with suppress(PostRemoved):
                    await self._surface.delete(own_id)
        # An edit of this process may have arrived last and put an older text back. So each post
        # whose text it has set gets the text of the answer again.
        for number in range(1, len(answer.parts) + 1):
            if number in self._shown and (id := ids.get(number)):
                with suppress(PostRemoved):
                    await self._surface.edit(id, self._build_final_part(answer, number))

    async def settle_posts(self) -> None:
        """Wait SETTLE_SECONDS for the posts under way, then cancel them, because another process
        continues the turn. Record those that were made, so that it finds them."""
        self._is_finishing = True
        # The worker may be waiting for one of the posts.
        tasks = [*self._making.values(), *filter(None, [self._worker])]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
        finally:
            # A post under way may wait for a rate limit, and would be made after the other process
            # has looked for it.
            await cancel_all(tasks)
        # Recorded without an id: the caller was cancelled.
        for number, id in self._made.items():
            if (post := self._known.get(number)) and not post.id:
                await self._record_post(post, id)

    async def wait_for_updates(self) -> None:
        """Wait for requests that show progress, then remove the signs of the turn (a status, "is
        typing")."""
        if not self._is_quiet:
            await self._show_no_more()
            await self._surface.end_activity()
            self._is_quiet = True

    async def _show_no_more(self) -> None:
        """Show no further progress. Wait until a post of progress is made and recorded, because the
        whole answer edits it."""
        self._is_finishing = True
        if self._worker is not None and not self._worker.done():
            # A cancellation of the turn must not interrupt a post before its id is recorded.
            await asyncio.shield(self._worker)
        if self._pause is not None:
            self._pause.cancel()

    def _show_soon(self) -> None:
        """Show the latest progress as soon as the platform takes the next edit."""
        if (seconds := self._next - time.monotonic()) > 0:
            self._pause = asyncio.get_running_loop().call_later(seconds, self._start_worker)
        else:
            self._start_worker()

    def _start_worker(self) -> None:
        self._pause = None
        self._worker = asyncio.create_task(self._show_latest())

    async def _show_latest(self) -> None:
        """Show the newest progress, and again while newer one came meanwhile. End when none is
        left, when the platform takes no edit yet (then start again later), or when the answer is
        being finished. Errors are only logged: progress can be missed, the answer cannot."""
        while self._latest is not None and not self._is_finishing:
            latest, self._latest = self._latest, None
            try:
                await self._show(*latest)
            except PostRemoved as gone:
                self._gone = gone
                return
            except PlatformBusy as busy:
                # Shown later, unless newer progress came meanwhile.
                self._next = time.monotonic() + busy.seconds
                self._latest = self._latest or latest
            except Exception as error:
                log.info("could not show progress", turn=self._turn, error=repr(error))
                return
            if self._latest is not None and self._next > time.monotonic():
                self._show_soon()
                return

    async def _show(self, progress: Progress, render: RenderProgress | None) -> None:
        """Show one progress: without text a status such as "is typing", otherwise the text so far
        in posts. Raises PlatformBusy if it is too early for another edit.

        The text may contain links that the model made up, so they are disabled unless
        `progress.trust` allows them. Without a `trust`, no link needs a check.
        """
        if progress.text:
            # Before `_whole_until`, the whole answer may still need only one post. Later, a
            # platform with few edits left says how long growing text must wait.
            seconds = self._whole_until - time.monotonic()
            if seconds > 0 or (seconds := await self._surface.seconds_until_growth()) > 0:
                raise PlatformBusy(seconds)
            progress = await render() if render else progress
        if not progress.text:
            self._posts.check_ownership()
            await self._surface.show_activity(progress.current_step)
            return
        trust, into_posts = progress.trust, self._surface.split

        def split(answer: str) -> Sequence[str]:
            return trust.split_sanitized(answer, into_posts)[1] if trust else into_posts(answer)

        parts = await text.run_off_loop(split, progress.text)
        # If the text became shorter, the other posts keep nothing of it.
        emptied = ["…"] * (max(self._shown, default=0) - len(parts))
        for number, part in enumerate([*parts, *emptied], 1):
            await self._put_part(AnswerPart(number, part, is_growing=number == len(parts)))
        self._next = time.monotonic() + self._surface.interval

    async def _finish(self, answer: Answer) -> None:
        """Post or edit all parts, delete posts beyond the last part, and upload the files. It may
        run again after any error: what is recorded as done is not done again. `_known` are the
        recorded posts by number. `_made_here` returns the id of a post that this process made and
        has not recorded yet. `_find_post` looks for one on the platform. The upload has the number
        FILES_NUMBER."""
        last = len(answer.parts)
        await self._load_posts()
        for number in range(1, last + 1):
            await self._put_part(self._build_final_part(answer, number))
        # While it grew, the text may have had more parts.
        for post in list(self._known.values()):
            if post.number > last and post.state != "removed":
                # Without an id, a process may have made it that crashed before it knew.
                id = post.id or await self._find_post(post)
                if id:
                    await self._call(post, partial(self._surface.delete, id), ignore_removed=True)
                await self._posts.record_removed(post.number)
                del self._known[post.number]
        files = self._list_uploads(answer)
        if not files:
            return
        upload = self._known.get(FILES_NUMBER)
        if upload is None:
            upload = await self._record_intent(FILES_NUMBER)
        # An earlier attempt uploaded the files, or a person deleted them since.
        elif upload.id or upload.state == "removed":
            return
        # An upload was begun, and perhaps it succeeded.
        elif id := await self._made_here(FILES_NUMBER) or await self._find_post(upload):
            await self._record_post(upload, id)
            return
        self._posts.check_ownership()
        has_plan = any(card.has_plan for card in answer.cards)
        try:
            id = await self._make_post(FILES_NUMBER, self._surface.upload(upload.key, files))
        except Undeliverable as error:
            if not has_plan:
                raise
            log.warning("a plan was not uploaded", turn=self._turn, error=repr(error))
            return
        await self._record_post(upload, id)
        if has_plan:
            await self._put_part(self._build_final_part(answer, last, is_redrawn=True))

    def _list_uploads(self, answer: Answer) -> Sequence[File]:
        has_button = self._surface.has_code_button
        return [file for file in answer.files if not (has_button and file.is_run_code)]

    async def _put_part(self, part: AnswerPart) -> None:
        """Post the part, or edit its post if it has one. A growing part that has not changed sends
        nothing. Raises PostRemoved if a person deleted the post.

        The post's key is recorded before the request and its id after it, so that a post whose
        outcome is unknown is looked for before it is made again.
        """
        number = part.number
        post = (await self._load_posts()).get(number)
        if post is not None and post.state == "removed":
            raise PostRemoved  # it is never posted again
        if post is None:
            post = await self._record_intent(number)
        elif not post.id:
            # An earlier request may have made the post.
            id = await self._made_here(number) or await self._find_post(post)
            post = await self._record_post(post, id) if id else post
        self._posts.check_ownership()
        # Noted before the call: if its outcome is lost, the post may show this text.
        last_text, self._shown[number] = self._shown.get(number), part.text
        if not post.id:
            id = await self._make_post(number, self._surface.post(post.key, part))
            answer = part.answer  # None: not the last part of a finished answer
            # Only if no upload and no deletion follows can the id be saved with the turn's end.
            uploads = answer is None or self._list_uploads(answer)
            ends = not uploads and number >= max(self._known)
            await self._record_post(post, id, ends)
        # The edit for a finished answer also sets cards and buttons, though the text may be equal.
        elif part.is_final or last_text != part.text:
            await self._call(post, lambda: self._surface.edit(post.id, part))

    async def _make_post(self, number: int, call: Coroutine[Any, Any, str]) -> str:
        """Run `call`, which makes the post `number`. If the caller is cancelled, the call continues
        and its id is stored in `_made`, so that the post is never made twice."""
        task = self._making[number] = asyncio.create_task(call)

        def note_outcome(task: asyncio.Task[str]) -> None:
            del self._making[number]
            error = None if task.cancelled() else task.exception()
            if not task.cancelled() and not error:
                self._made[number] = task.result()
            elif not isinstance(error, (PonteError, NotSent)):  # with these, nothing was posted
                self._expect_arrival(number)  # the platform may still make it

        task.add_done_callback(note_outcome)
        return await asyncio.shield(task)

    async def _made_here(self, number: int) -> str:
        """Return the id of the post that this process made for part `number`, after a request under
        way has ended; "" if it made none."""
        if under_way := self._making.get(number):
            await asyncio.wait({under_way})
        return self._made.get(number, "")

    async def _find_post(self, post: Post) -> str | None:
        """Return the id of a post that may have been made; None if it was not.

        The request of an earlier process, or one whose response was lost, may still be under way.
        So a post that is not there is looked for again once its request must have arrived. Only
        such posts have a time in `_arrivals`.
        """
        id = await self._surface.find(post.number, post.key)
        if id is None and post.number in self._arrivals:
            await asyncio.sleep(self._arrivals[post.number] - time.monotonic())
            id = await self._surface.find(post.number, post.key)
        self._arrivals.pop(post.number, None)
        return id

    def _expect_arrival(self, number: int) -> None:
        """The request of a post may still be under way, so that its post can appear up to
        `arrival_seconds` later; 0 for a platform that makes one post of two requests with the same
        key."""
        if self._surface.arrival_seconds:
            self._arrivals[number] = time.monotonic() + self._surface.arrival_seconds

    async def _record_intent(self, number: int) -> Post:
        """Record the key of a post before it is made, so that it can be found after a crash."""
        post = Post(number, self._make_key(number))
        await self._posts.record_posting(number, post.key)
        self._known[number] = post
        return post

    def _make_key(self, number: int) -> str:
        return f"{self._turn}:{number}"

    async def _record_post(self, post: Post, id: str, last: bool = False) -> Post:
        """Record the id of a post. `last`: nothing of the answer follows, so the id is stored with
        the turn's end."""
        await self._posts.record_posted(post.number, id, last)
        self._known[post.number] = Post(post.number, post.key, id, "posted")
        return self._known[post.number]

    async def _call(
        self, post: Post, call: Callable[[], Awaitable[None]], ignore_removed: bool = False
    ) -> None:
        """Send a request about one of our posts. If a person has deleted it, record that, and raise
        PostRemoved unless `ignore_removed`."""
        self._posts.check_ownership()
        try:
            await call()
        except PostRemoved:
            await self._posts.record_removed(post.number)
            if not ignore_removed:
                raise

    async def _load_posts(self) -> dict[int, Post]:
        """Return the recorded posts by number, read once. An earlier process may have begun a post
        without an id, whose request may still be under way."""
        if not self._is_loaded:
            self._known = {post.number: post for post in await self._posts.list_posts()}
            self._is_loaded = True
            for post in self._known.values():
                if not post.id:
                    self._expect_arrival(post.number)
        return self._known

    def _build_final_part(
        self, answer: Answer, number: int, is_redrawn: bool = False
    ) -> AnswerPart:
        """Cards and buttons stand at the last part. That of a plan has no approval without its
        file, which may be refused."""
        is_last, upload = number == len(answer.parts), self._known.get(FILES_NUMBER)
        for n, card in enumerate(answer.cards if is_last and not (upload and upload.id) else ()):
            if card.has_plan and must_fit(card):
                cards = (*answer.cards[:n], without_approval(card), *answer.cards[n + 1 :])
                answer = replace(answer, cards=cards)
        return AnswerPart(
            number,
            answer.parts[number - 1],
            answer if is_last else None,
            is_final=True,
            is_private=answer.is_private,
            placed=answer.placed,
            is_redrawn=is_redrawn,
        )
