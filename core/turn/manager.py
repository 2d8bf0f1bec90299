"""Runs one turn, from the stored message to the last post of its answer. The methods of
`ConversationManager` stand in the order in which a turn uses them, from `handle` to `_finish`; what
ends a turn early stands below them.

| step | methods | stored by it | if the process dies after it |
| --- | --- | --- | --- |
| begin | `handle` | the attempt | another attempt begins; two crashes and the turn runs alone |
| check | `Origin.check_start` | nothing; a skipped turn ends here | the check is repeated |
| prepare | `Preparation` | the items of the message | they are not stored twice |
| run | `_make_answer`, `Rounds` | each round, each call | it goes on from there |
| disarm | `Preparation.disarm_and_split` | nothing | the stored rounds give the same answer |
| store | `_store_answer` | the answer, the key of its first post | only posting is repeated |
| deliver | `_deliver`, `_finish` | the id of each post | a post that may exist is looked for |
| end | `_deliver` | the final state | nothing is left to do |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import Any, TypeVar

import structlog

from core.base.errors import (
    RESTORED_REASON,
    Draining,
    Empty,
    Interrupted,
    NotAllowed,
    NotStored,
    OverBudget,
    PersonRefused,
    PonteError,
    PostRemoved,
    Restored,
    StatusUnknown,
    Superseded,
    TakenOver,
    TooManyRounds,
    Undeliverable,
    Unstorable,
)
from core.base.i18n import say, use_locale
from core.base.tasks import BackgroundTasks, BoundedDict
from core.base.text import clip_line
from core.changes.service import ChangeService
from core.chat.buttons import CHOICE_SECONDS
from core.chat.people import People
from core.chat.reply import TurnPosts
from core.commands.grammar import NEAR_DECISION
from core.domain.messages import Answer, Progress
from core.domain.ports import Platforms
from core.domain.records import CRASHED_REASON, FINAL_STATES, Thread, Turn, TurnState
from core.observability import metrics, tracing
from core.saved.queries import NotRunAgain, QueryScript
from core.saved.questions import NotSaved
from core.tools.posting import POST_TOOL
from core.turn.commands import CommandService
from core.turn.context import LEFT_OUT
from core.turn.origins import PEOPLE, Origin, RunSkipped
from core.turn.preparation import Assistant, Preparation, Requeued
from core.turn.rounds import Rounds
from core.turn.run import TurnConfigs, TurnRun, claim_notices, until_stored
from core.turn.titles import TitleMaker

log = structlog.get_logger("conversation")
T = TypeVar("T")
MAX_FAILED_ATTEMPTS = 3
"""The number of attempts at a turn that end with an unexpected error. After that, an apology is the
answer, without a check of its start. If that fails as well, the turn ends without one."""
TAKEOVER_POLL_SECONDS = 1.0
PLATFORM_SECONDS = 0.5
"""Seconds to wait for a platform's reply before the turn gives up its place to another turn.
Without a rate limit, platforms reply sooner."""
PRIVATE_ERRORS = (NotAllowed, PersonRefused, StatusUnknown, NotRunAgain, NotSaved)
"""Errors with a message that only the asker may read."""
_STOPPED_HERE = "_Stopped. Work that I had started in another system may still finish there._"


class TooFast(OverBudget):
    """Refuses a message of a person who sent more in a minute than one person may."""

    limit = "messages_per_minute"
    sentence = (
        "You can send {limit} messages a minute, so I didn't process this one. Send it again "
        "in a minute. The limit is set in ponte.toml (`[limits]`)."
    )


class TooManyWaiting(OverBudget):
    """Refuses a message of a person who has too many others that wait for their turn."""

    limit = "waiting_per_person"
    sentence = (
        "{limit} of your messages are already queued, so I didn't process this one. Send it "
        "again later, or type `stop` to end the answer in progress. The limit is set in "
        "ponte.toml (`[limits]`)."
    )


TOO_MANY: Mapping[str, type[OverBudget]] = {"fast": TooFast, "waiting": TooManyWaiting}


@dataclass(slots=True)
class ManagedRun(TurnRun):
    """An attempt at a turn with the model's side of it: None until the model is asked."""

    rounds: Rounds | None = None
    script: QueryScript | None = None
    """What answers in the place of the model."""

    @property
    def visible_text(self) -> str:
        return self.rounds.transcript.visible_text if self.rounds else ""


class ConversationManager:
    """Answers stored messages, one turn for each call of `handle`, which the queue of messages
    calls. `origins` maps the name of an origin (person, schedule, webhook …) to a function that
    returns it, each time the same one; its modules are loaded with its first turn."""

    def __init__(
        self,
        people: People,
        changes: ChangeService,
        assistant: Assistant,
        commands: CommandService,
        platforms: Platforms,
        config: TurnConfigs,
        origins: Mapping[str, Callable[[], Origin]],
    ) -> None:
        stores = assistant.contexts.stores
        self._threads, self._inbox, self._journal = stores.threads, stores.inbox, stores.journal
        self._people = people
        self._changes = changes
        self._assistant = assistant
        self._preparation = Preparation(assistant, people, platforms)
        self._titles = TitleMaker(stores.journal, people.budget, assistant.model)
        self._commands = commands
        self._platforms = platforms
        self._config = config
        # By the name of a message's origin: what decides about its turn.
        self._origins = origins
        self.background_tasks = BackgroundTasks("conversation")
        # Failed attempts of a turn in this process, by its `seq`. Of very many, the oldest are
        # dropped, and such a turn gets more attempts.
        self._failures: BoundedDict[int, int] = BoundedDict(1000)

    async def handle(self, seq: int) -> None:
        """Run the turn with this `seq` until the last post of its answer is recorded. Return at
        once if the journal has nothing left to do for it. Unexpected errors are raised, so that the
        turn runs again, at most MAX_FAILED_ATTEMPTS times. The next attempt posts an apology. If
        that fails too, the turn ends without an answer.

        NotStored and Superseded (the conversation was forgotten) are no fault of the turn, so they
        are not counted."""
        try:
            if self._failures.get(seq, 0) > MAX_FAILED_ATTEMPTS:  # the apology failed too
                await self._journal.abandon(seq, PonteError.code)
            else:
                await self._run_attempt(seq)
        except (NotStored, Superseded):
            raise
        except Exception:
            self._failures[seq] = self._failures.get(seq, 0) + 1
            raise
        self._failures.pop(seq, None)

    async def _run_attempt(self, seq: int) -> None:
        """Run a turn from its beginning, or from where an earlier attempt ended, to the end of its
        posts.

        The `except` clauses are the ways in which a turn ends without an answer. After an
        unexpected error the runner calls this again; after MAX_FAILED_ATTEMPTS the person gets an
        apology instead.
        """
        turn = await self._journal.begin(seq)
        if turn is None:  # the turn has ended
            return
        platform = turn.message.address.platform
        if turn.is_untouched:  # only the first attempt comes from the queue
            waited = time.time() - turn.accepted_at
            metrics.queue_wait_seconds.labels(platform).observe(max(0.0, waited))
        with structlog.contextvars.bound_contextvars(turn=turn.id), tracing.TurnTrace(turn):
            posts = TurnPosts(self._journal, turn)
            reply = self._platforms.replies[platform](turn.message.reply_to, posts)
            config = self._config.turn
            settings = config.channel(turn.message.address)
            is_given_up = self._failures.get(seq, 0) >= MAX_FAILED_ATTEMPTS
            # The origin's own checks may be what fails, so an apology goes without them.
            origin = PEOPLE if is_given_up else self._origins[turn.message.origin.name]()
            run = ManagedRun(turn, reply, posts, config, settings, origin)
            try:
                await run.set_message(turn.message)
                try:
                    run.earlier_proposal = await self._without_place(seq, origin.check_start(turn))
                except asyncio.CancelledError:
                    # The process ends: this raises. Or a person stopped a run before it began.
                    await self._put_back_unless_stopped(run)
                    raise RunSkipped("changed") from None
                await reply.show(Progress())
                try:
                    answer = turn.answer or await (
                        self._give_up(run) if is_given_up else self._answer(run)
                    )
                    # The answer is stored: posting needs no place, so another turn can begin.
                    self._inbox.leave_place(seq)
                except PostRemoved:
                    # A deleted message leaves no unfinished answer. A deleted post ends this, too.
                    with suppress(PonteError):
                        await reply.finish(Answer(""))
                    await self._journal.end_turn(run.turn, "removed")
                    self._count_end(run, "removed")
                else:
                    await self._deliver(run, answer)
            except RunSkipped as skipped:
                await origin.on_skip(turn, skipped)
                await self._journal.end_turn(run.turn, "stopped", f"skipped:{skipped.reason}")
                self._count_end(run, "stopped", skipped=skipped.reason)
            except Unstorable:  # no retry, so that the model is not paid twice
                log.exception("turn ended without an answer")
                await self._journal.end_turn(run.turn, "failed", Unstorable.code)
                self._count_end(run, "failed", Unstorable.code)
            except TakenOver:
                log.info("another process took over the turn")
                self.background_tasks.start(self._give_way(run))
            except asyncio.CancelledError:
                if self._inbox.is_taken_over(seq):
                    self.background_tasks.start(self._give_way(run))
                raise
            except Requeued:
                log.info("an edit while Ponte was offline made a message a decision, or reverse")
            except Superseded:
                log.info("conversation forgotten while the turn ran")
                await self._withdraw_posts(run)
                tracing.note_turn_end("forgotten")
            finally:
                run.rounds = None  # they refer to each other: only so is their memory free at once
                await reply.wait_for_updates()

    async def _answer(self, run: ManagedRun) -> Answer:
        """Return the answer of the model or a command, or an apology. If this is interrupted, store
        the output of the last round, because it is already paid for."""
        try:
            answer = await self._find_answer(run)
            # An earlier answer of this conversation could not be posted, or may be missing because
            # a backup from before it was restored (RESTORED_REASON): this answer says so first.
            if undelivered := run.turn.undelivered_reason:
                is_back = undelivered == RESTORED_REASON
                error = Restored() if is_back else Undeliverable(reason=undelivered)
                answer = replace(answer, text=f"_{error.words()}_\n\n{answer.text}")
            # Links that could carry data of the thread to an outsider are made harmless.
            provenance = run.rounds.transcript.answer_provenance if run.rounds else None
            answer = await self._preparation.disarm_and_split(run, answer, provenance)
            return await self._store_answer(run, answer)
        except BaseException:
            await self._store_last_round(run)
            raise

    async def _give_up(self, run: ManagedRun) -> Answer:
        log.error("gave up a turn that failed again and again")
        return await self._store_answer(run, _plain_apology(PonteError(turn=run.turn.id)))

    async def _find_answer(self, run: ManagedRun) -> Answer:
        """Return the answer, or an apology for the error that prevents it. A person's stop produces
        a short answer with the text so far. If the process drains (it is being stopped and lets
        turns end), the turn goes back to the queue."""
        try:
            return await self._make_answer(run)
        except asyncio.CancelledError:  # a person's stop, or the end of the process
            await self._store_last_round(run)
            await self._put_back_unless_stopped(run)  # raises unless a person stopped the turn
            # A run that a tool call began in another system may still finish there.
            elsewhere = run.rounds is not None and run.rounds.calls.may_finish_elsewhere
            notice = say(_STOPPED_HERE if elsewhere else "_Stopped._")
            cards = await run.rounds.cards() if run.rounds else ()
            # Beside a card that waits, no words stand.
            waits = run.rounds is not None and run.rounds.transcript.waiting_proposals()
            shown_text = "" if waits else run.visible_text
            return Answer(f"{shown_text}\n\n{notice}".strip(), status="stopped", cards=cards)
        except Draining:
            await self._put_back(run)
            # Ends the attempt as the runner's own cancellation does when the process stops.
            raise asyncio.CancelledError from None
        # No answer can follow: its post was deleted, another attempt has the turn, nothing can be
        # stored, or the message is to be answered as one of another kind.
        except (PostRemoved, Superseded, NotStored, Requeued):
            raise
        except PonteError as error:
            # The audit log has each refusal by a right or an allowance.
            if isinstance(error, (NotAllowed, OverBudget)):
                self._people.note_refused_turn(run.turn.message, error)
            return self._apologise(run, error)
        except Exception:
            log.exception("turn failed unexpectedly")
            return self._apologise(run, PonteError(turn=run.turn.id))

    async def _make_answer(self, run: ManagedRun) -> Answer:
        """Return the answer of a command or of the model, with notes under it. Raise the error that
        prevents it, such as NotAllowed, OverBudget and Empty.

        First comes what may refuse the message, then who may answer it: its origin (the text of a
        schedule or a webhook), a command, and else the model. `readable` of the briefing is set if
        the asker may not read all of the thread; the sandbox state of this turn is then its own,
        and is deleted after it."""
        turn, prepare = run.turn, self._preparation
        # Only so many turns run at once, each in a "place". While a slow platform is asked for the
        # asker's rights and the context, `_without_place` lets another turn have this one's place.
        # `missing`: sentences about context that could not be loaded.
        rights, missing = await self._without_place(turn.seq, prepare.look_up(run))
        message = run.turn.message
        # Several processes died while they ran this turn, so it is not tried again.
        if turn.refusal == CRASHED_REASON:
            raise Interrupted(times=turn.limit)
        # Stored over the sender's rate limit: the turn only tells them so.
        if turn.refusal:
            raise TOO_MANY[turn.refusal](limit=turn.limit)
        rights.may("chat").raise_if_denied()
        notes = [*missing, *run.origin.notes(message)]
        if not (message.text.strip() or message.attachments or message.context):
            # A message that was deleted since an earlier attempt is empty, too.
            raise Empty if turn.is_untouched else PostRemoved
        command = run.parsed.command
        if run.parsed.error:
            raise run.parsed.error
        answer = run.origin.answer_directly(message, command)
        answer = answer or await run.origin.make_answer(run.turn, run.reply.show, rights)
        if not answer:
            run.script = await self._commands.saved.find_script(turn, command, rights)
        if command and not (answer or run.script):
            answer = await self._commands.answer(run.turn, command, run.reply.show, rights)
        if not (command or answer or run.script) and NEAR_DECISION.fullmatch(message.text):
            answer = await self._commands.suggest_decision(message)
        if answer:
            return answer.with_notes(notes)
        assistant = self._assistant
        if run.script:
            assistant = replace(assistant, model=run.script)
        briefing = await replace(prepare, assistant=assistant).make_briefing(run)
        if briefing.question and briefing.question[1].is_open:
            await self._close_question(briefing.question[0], message.text)
        run.rounds = rounds = Rounds(run, briefing, assistant, self._people, self._changes)
        if run.script:
            run.script.find_outcomes = rounds.transcript.outcomes_in_order
        try:
            answer = await rounds.answer()
        finally:
            if briefing.readable:
                await self._assistant.forget(briefing.readable.memory)
        opening = rounds.transcript.opening
        if not (answer.text or answer.cards or answer.files):
            empty = say("The model returned an empty answer. Ask again.")
            return Answer(opening + empty).with_notes(notes)
        answer = replace(answer, text=opening + answer.text)
        if run.script:  # on Discord, others see the answer to a press only in a post of its own
            answer = replace(answer, is_rateable=False, has_own_post=True)
        may_share = rights.may("propose").allowed and rights.may("tool", POST_TOOL).allowed
        if message.asked_in and may_share and answer.status == "done" and not answer.cards:
            place = clip_line(message.asked_in.name, 40) or say("the channel")
            answer = replace(answer, share_place=place)
        left_out = [say(LEFT_OUT)] if briefing.readable and message.origin.reads_history else []
        unread = rounds.describe_unread()
        due = await claim_notices(self._people.budget, run, briefing.counts, briefing.payment)
        return answer.with_notes([*unread, *left_out, *due, *notes])

    async def _store_answer(self, run: ManagedRun, answer: Answer) -> Answer:
        """Record the answer with the key of its first post, and return it. After a crash, a process
        finds a post that exists already by that key. The record of the thread is written in the
        same transaction. If the answer cannot be stored, record and return an apology instead. The
        cost of the model's last round is recorded in both cases."""
        if record := self._changed_record(run):
            # Stores which thread is the conversation's current one, if that is kept in a file.
            await self._threads.link(record)
        key = run.reply.first_key if answer.parts else ""  # an answer without parts has no post
        last = run.rounds.last if run.rounds else None
        write = self._journal.record_answer
        try:
            await until_stored(partial(write, run.turn, answer, last, key, record))
        except Exception as error:
            # The turn is over or of another process, or the database is away: an apology could not
            # be stored either.
            if isinstance(error, PonteError) and not isinstance(error, Unstorable):
                raise
            log.exception("could not store an answer")
            answer = _plain_apology(Unstorable())
            # Without its items and without `record`: they may be what cannot be stored.
            cost = replace(last, items=()) if last else None
            await until_stored(partial(write, run.turn, answer, cost, key))
        run.posts.key = key  # so that it is not recorded a second time
        return answer

    def _changed_record(self, run: ManagedRun) -> Thread | None:
        """Return the thread's record (its objects on the model's server, its participants) as it is
        now; None if only its time of last use changed, or if the turn has a remote conversation of
        its own, which no later turn continues (`is_apart`)."""
        if run.rounds is None or run.rounds.briefing.is_apart:
            return None
        before, after = run.rounds.briefing.request.thread, run.rounds.transcript.thread
        people = tuple(dict.fromkeys((*after.participants, run.turn.message.author.key)))
        level = self._assistant.model.level
        record = replace(after, participants=people, level=level, used_at=before.used_at)
        return replace(record, used_at=time.time()) if record != before else None

    async def _deliver(self, run: ManagedRun, answer: Answer) -> None:
        """Post the answer, then end the turn as done, removed (its post was deleted) or
        undeliverable (the platform refuses it). After that, start what follows: a title, and the
        redrawing of cards.

        `posts.held` is the answer's last post, whose id is stored in the transaction that ends the
        turn. `rounds` is None if the turn asked no model, as for a command."""
        state: TurnState = answer.status
        reason = ""
        platform = run.turn.message.address.platform
        with tracing.TraceSpan("post") as span, metrics.posting_seconds.labels(platform).time():
            try:
                await self._finish(run, answer)
            except PostRemoved:
                state = "removed"
            except Undeliverable as error:
                state, reason = "undeliverable", str(error.values.get("reason", error))
                log.warning("could not deliver an answer", reason=reason)
                span.fail(error.code)
        await self._journal.end_turn(run.turn, state, reason, run.posts.held)
        self._count_end(run, state, answer.code or ("undeliverable" if reason else ""))
        is_listed = run.config.titles and run.turn.message.has_conversation_title
        # Only after an answer of the model; titles are shown on the page alone.
        if answer.question:
            loop = asyncio.get_running_loop()
            loop.call_later(CHOICE_SECONDS, self._begin_closing, run.turn.seq)
        if run.script and run.script.former and answer.can_run_again and state == "done":
            self.background_tasks.start(self._retire(run.script.former))
        elif run.rounds and not run.script and is_listed and state == "done":
            request = run.rounds.briefing.request
            if not request.previous_seq:  # the first exchange of the conversation
                title = self._titles.make_title(run.turn, answer, request.model)
                self.background_tasks.start(title)
        if answer.code:
            metrics.errors.labels(answer.code).inc()
        if answer.cards or state == "failed":
            # Cards of changes that were decided during the turn can be redrawn now. An apology
            # ("failed") has no cards, but the turn may have proposed changes before its error.
            self._changes.lifecycle.on_change()
            # Another process may be the one that draws them.
            self.background_tasks.start(self._commands.upkeep.peers.notify("moved", ""))

    async def _retire(self, former: Turn) -> None:
        """Take the button away below an answer that ran again: the newest result has it."""
        change = partial(replace, can_run_again=False)
        await self._redraw(await self._journal.change_answer(former.seq, change))

    def _begin_closing(self, seq: int) -> None:
        self.background_tasks.start(self._close_question(seq))

    async def _close_question(self, seq: int, reply: str = "") -> None:
        """Its buttons go, and a reply that is one of its choices is shown."""
        turn = await self._journal.change_answer(seq, methodcaller("close_question", reply))
        self.background_tasks.start(self._redraw(turn))

    async def _redraw(self, turn: Turn | None) -> None:
        if turn is None or turn.answer is None:
            return
        to = turn.message.reply_to
        reply = self._platforms.replies[to.address.platform](to, TurnPosts(self._journal, turn))
        with suppress(PonteError), use_locale(turn.message.locale):
            await reply.refresh(turn.answer)

    async def _finish(self, run: ManagedRun, answer: Answer) -> None:
        """Post the answer until it is complete; a person's stop has no effect any more. If the
        process drains, record the held post (the answer's last one, which is else recorded together
        with the turn's end) and return the turn to the queue."""
        while True:
            try:
                # Repeated, this posts nothing twice: it goes on after the recorded posts.
                await run.reply.finish(answer)
                # Remove the signs of activity before the turn ends. If the process dies here,
                # another one still resumes the turn.
                await run.reply.wait_for_updates()
                return
            except asyncio.CancelledError:
                # The turn's end, which would save the last post's id, may not come now.
                await run.posts.keep()
                # It returns if a person stopped the turn: then the loop posts what is missing.
                await self._put_back_unless_stopped(run)

    def _count_end(self, run: ManagedRun, state: TurnState, code: str = "", **facts: str) -> None:
        """Record the end of a turn in the log, in metrics and in its trace. The log also gets
        `facts`. `code` is an error's code, "" without one. `rounds` is None if no model was asked,
        as for a command."""
        # What sent the message, such as the scheduler, may wait for the end of its turn.
        run.origin.on_end()
        address, seconds = run.turn.message.address, time.time() - run.turn.accepted_at
        if code:
            facts["code"] = code
        log.info(
            "turn answered" if state == "done" else f"turn {state}",
            platform=address.platform,
            place=address.channel_key,
            person=run.turn.message.author.key,
            seconds=round(seconds, 1),
            tokens=run.rounds.tokens if run.rounds else 0,
            **facts,
        )
        metrics.count_turn(address.platform, state, seconds)
        tracing.note_turn_end(state, code)

    def _apologise(self, run: ManagedRun, error: PonteError) -> Answer:
        if isinstance(error, (OverBudget, TooManyRounds)):
            metrics.limits.labels(error.limit).inc()
        apology = f"{run.visible_text}\n\n{error.words()}".strip()
        private = isinstance(error, PRIVATE_ERRORS) and run.origin.is_refusal_private
        return Answer(apology, status="failed", code=error.code, is_private=private)

    async def _store_last_round(self, run: ManagedRun) -> None:
        # If it cannot be stored, the resumed turn asks again.
        if run.rounds and (last := run.rounds.last):
            with suppress(Superseded, NotStored, Unstorable):
                await self._journal.record_round(run.turn, last)

    async def _put_back(self, run: ManagedRun) -> None:
        await run.reply.settle_posts()
        await self._journal.put_back(run.turn)

    async def _put_back_unless_stopped(self, run: ManagedRun) -> None:
        if not self._inbox.is_stopped(run.turn.seq):
            await self._put_back(run)  # the process ends
            raise asyncio.CancelledError
        # A person stopped the turn: the task goes on, so that it can still post an answer.
        if task := asyncio.current_task():
            task.uncancel()

    async def _without_place(self, seq: int, request: Coroutine[Any, Any, T]) -> T:
        """Await a request to the platform. Only so many turns run at the same time, each in a
        place. If the request takes longer than `PLATFORM_SECONDS`, give up the turn's place, so
        that another turn can run meanwhile, and take a place again afterwards."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(PLATFORM_SECONDS, self._inbox.leave_place, seq)
        try:
            result = await request
        finally:
            timer.cancel()
        # After an error the turn only apologizes or ends, which needs no place.
        await self._inbox.take_place(seq)  # returns at once if the turn has its place
        return result

    async def _give_way(self, run: ManagedRun) -> None:
        """Wait until the process that took the turn over has finished it. Then correct the posts
        that this process made too late: it was suspended, and did not know that another one had
        taken over."""
        await run.reply.wait_for_updates()
        while True:
            with suppress(NotStored):
                # Without cards, this only reads the turn as it is now; None: it was withdrawn.
                stands = await self._journal.replace_cards(run.turn.seq)
                if stands is None or stands.state in FINAL_STATES:
                    break
            await asyncio.sleep(TAKEOVER_POLL_SECONDS)
        # Without an answer and posts, all posts of this process are deleted.
        answer = stands.answer if stands and stands.answer else Answer("")
        await run.reply.correct_late_posts(answer, stands.posts if stands else ())

    async def _withdraw_posts(self, run: ManagedRun) -> None:
        notice = say("_Stopped: this conversation was deleted._")
        try:
            await run.reply.finish(Answer(notice, status="stopped", parts=(notice,)))
        except (PonteError, asyncio.CancelledError):
            log.info("could not replace the posts of a forgotten turn")


def _plain_apology(error: PonteError) -> Answer:
    # Nothing is left to prepare, so that neither that nor storing it can fail.
    apology = error.words()
    return Answer(apology, status="failed", code=error.code, parts=(apology,))
