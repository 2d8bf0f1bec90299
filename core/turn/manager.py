"""Runs one turn, from the stored message to the last post of its answer. The methods of
`ConversationManager` stand in the order in which a turn uses them, from `handle` to `_finish`; what
ends a turn early stands below them.

| step | methods | stored by it | if the process dies after it |
| --- | --- | --- | --- |
| begin | `handle` | the attempt | another attempt begins; two crashes and the turn runs alone |
| check | `Origin.check_start` | nothing; a skipped turn ends here | the check is repeated |
| context | `_look_up_context` | nothing | it is loaded again |
| answer | `_answer_message`, `Rounds` | the items, each round, each call | it goes on from there |
| prepare | `_disarm_and_split` | nothing | the stored rounds give the same answer |
| store | `_store_answer` | the answer, the key of its first post | only posting is repeated |
| deliver | `_deliver`, `_finish` | the id of each post | a post that may exist is looked for |
| end | `_deliver` | the final state | nothing is left to do |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from core.base import text
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
from core.base.i18n import say
from core.base.markdown import Trust, find_addresses
from core.base.tasks import BackgroundTasks, BoundedDict
from core.base.text import make_storable
from core.changes.service import ChangeService
from core.chat.incoming import describe_unread
from core.chat.people import Conversations, People
from core.chat.reply import TurnPosts
from core.commands import grammar
from core.domain.messages import Answer, Message, Progress
from core.domain.ports import Platforms, TransactionStep
from core.domain.records import (
    CRASHED_REASON,
    FINAL_STATES,
    Need,
    PlaceRights,
    Provenance,
    RoundOutput,
    Thread,
    Turn,
    TurnState,
)
from core.money.allowances import (
    ADMIN_NOTICE,
    PERSON_NOTICE,
    AllowanceCount,
    Grant,
    describe_nearly_used,
)
from core.observability import metrics, tracing
from core.tools.tool import offered_tools
from core.turn import context as prompt
from core.turn.commands import CommandService
from core.turn.context import LEFT_OUT
from core.turn.origins import PEOPLE, Origin, RunSkipped
from core.turn.rounds import Rounds
from core.turn.run import (
    Assistant,
    ModelBriefing,
    TurnConfigs,
    TurnPayment,
    TurnRun,
    count_briefing_tokens,
    store_thread,
    until_stored,
)
from core.turn.titles import TitleMaker

log = structlog.get_logger("conversation")
T = TypeVar("T")
MAX_FAILED_ATTEMPTS = 3
"""The number of attempts at a turn that end with an unexpected error. After that, an apology is the
answer, without a check of its start. If that fails as well, the turn ends without one."""
TAKEOVER_POLL_SECONDS = 1.0
"""Seconds between two checks whether the process that took the turn over has finished it."""
PLATFORM_SECONDS = 0.5
"""Seconds to wait for a platform's reply before the turn gives up its place to another turn.
Without a rate limit, platforms reply sooner."""
PRIVATE_ERRORS = (NotAllowed, PersonRefused, StatusUnknown)
"""Errors with a message that only the asker may read."""
_STOPPED_HERE = "_Stopped. Work that I had started in another system may still finish there._"


class TooFast(OverBudget):
    """The sender exceeded the number of messages per minute."""

    limit = "messages_per_minute"
    sentence = (
        "You can send {limit} messages a minute, so I didn't process this one. Send it again "
        "in a minute. The limit is set in ponte.toml (limits)."
    )


class TooManyWaiting(OverBudget):
    """The sender has too many messages that wait for their turn."""

    limit = "waiting_per_person"
    sentence = (
        "{limit} of your messages are already queued, so I didn't process this one. Send it "
        "again later, or type `stop`. The limit is set in ponte.toml (limits)."
    )


TOO_MANY: Mapping[str, type[OverBudget]] = {"fast": TooFast, "waiting": TooManyWaiting}
"""Maps the refusal that the inbox stored with a message (`core.journal.inbox`) to its error."""


class _Requeued(Exception):
    """Ends an attempt whose message waits for another turn."""


class ConversationManager:
    """Answers stored messages, one turn per call of `handle`, which is the handler of the inbox.

    `origins` maps the name of an origin to a function that returns it, each time the same one; its
    modules are loaded with its first turn.
    """

    def __init__(
        self,
        conversations: Conversations,
        people: People,
        changes: ChangeService,
        assistant: Assistant,
        commands: CommandService,
        platforms: Platforms,
        config: TurnConfigs,
        origins: Mapping[str, Callable[[], Origin]],
    ) -> None:
        self._stores = conversations
        self._inbox = conversations.inbox
        self._journal = conversations.journal
        self._people = people
        self._changes = changes
        self._assistant = assistant
        self._titles = TitleMaker(conversations.journal, people.budget, assistant.model)
        self._commands = commands
        self._platforms = platforms
        self._config = config
        self._origins = origins
        self.background_tasks = BackgroundTasks("conversation")
        self._failures: BoundedDict[int, int] = BoundedDict(1000)
        """Number of attempts that failed unexpectedly, by the turn's `seq`."""

    async def handle(self, seq: int) -> None:
        """Run the turn with this `seq` until the last post of its answer is recorded. Return at
        once if the journal has nothing left to do for it. Unexpected errors are raised, so that the
        turn runs again, at most MAX_FAILED_ATTEMPTS times."""
        try:
            if self._failures.get(seq, 0) > MAX_FAILED_ATTEMPTS:
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
        turn = await self._journal.begin(seq)
        if turn is None:
            return
        platform = turn.message.address.platform
        if turn.is_untouched:
            waited = time.time() - turn.accepted_at
            metrics.queue_wait_seconds.labels(platform).observe(max(0.0, waited))
        with structlog.contextvars.bound_contextvars(turn=turn.id), tracing.TurnTrace(turn):
            posts = TurnPosts(self._journal, turn)
            reply = self._platforms.replies[platform](turn.message.reply_to, posts)
            config = self._config.turn
            settings = config.channel(turn.message.address)
            is_given_up = self._failures.get(seq, 0) >= MAX_FAILED_ATTEMPTS
            # The origin may be what fails.
            origin = PEOPLE if is_given_up else self._origins[turn.message.origin.name]()
            run = TurnRun(turn, reply, posts, config, settings, origin)
            try:
                await run.set_message(turn.message)
                try:
                    run.earlier_proposal = await self._without_place(seq, origin.check_start(turn))
                except asyncio.CancelledError:
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
            except _Requeued:
                log.info("an edit while Ponte was offline made a message a decision, or reverse")
            except Superseded:
                log.info("conversation forgotten while the turn ran")
                await self._withdraw_posts(run)
                tracing.note_turn_end("forgotten")
            finally:
                run.rounds = None  # they refer to each other
                await reply.wait_for_updates()

    async def _answer(self, run: TurnRun) -> Answer:
        """Return the answer as it is stored: from the model, a command, or an apology. If this is
        interrupted, store the output of the last round, because it is already paid for."""
        try:
            answer = await self._find_answer(run)
            if undelivered := run.turn.undelivered_reason:
                is_back = undelivered == RESTORED_REASON
                error = Restored() if is_back else Undeliverable(reason=undelivered)
                answer = replace(answer, text=f"_{error.words()}_\n\n{answer.text}")
            answer = await self._disarm_and_split(run, answer)
            key = run.reply.first_key if answer.parts else ""
            last = run.rounds.last if run.rounds else None
            # The thread's record is only a cache, so both can be stored at the same time.
            record = self._changed_record(run)
            threads = self._stores.threads
            step = threads.put_step(record) if record else None
            saving = None
            if record and step is None:
                saving = self.background_tasks.start(store_thread(threads, record))
            answer = await self._store_answer(run.turn, answer, last, key, step)
            if saving is not None:
                await saving
        except BaseException:
            await self._store_last_round(run)
            raise
        run.posts.key = key
        return answer

    async def _give_up(self, run: TurnRun) -> Answer:
        """Store an apology as the answer and return it."""
        log.error("gave up a turn that failed again and again")
        run.posts.key = run.reply.first_key
        apology = _plain_apology(PonteError(turn=run.turn.id))
        return await self._store_answer(run.turn, apology, None, run.posts.key, None)

    async def _find_answer(self, run: TurnRun) -> Answer:
        """Return the answer, or an apology for the error that prevents it. A person's stop produces
        a short answer about it. If the process drains, the turn goes back to the queue."""
        turn = run.turn
        try:
            if self._inbox.is_stopped(turn.seq):  # stopped before this task began
                raise asyncio.CancelledError
            rights, message, missing = await self._without_place(
                turn.seq, self._look_up_rights_and_context(run)
            )
            await run.set_message(message)
            run.rights = rights
            if turn.refusal == CRASHED_REASON:
                raise Interrupted(times=turn.limit)
            if turn.refusal:
                raise TOO_MANY[turn.refusal](limit=turn.limit)
            rights.may("chat").raise_if_denied()
            notes = [*missing, *run.origin.notes(message)]
            return _with_notes(await self._answer_message(run), notes)
        except asyncio.CancelledError:
            await self._store_last_round(run)
            await self._put_back_unless_stopped(run)
            elsewhere = run.rounds is not None and run.rounds.may_finish_elsewhere
            notice = say(_STOPPED_HERE if elsewhere else "_Stopped._")
            cards = await run.rounds.cards() if run.rounds else ()
            return Answer(f"{run.visible_text}\n\n{notice}".strip(), status="stopped", cards=cards)
        except Draining:
            await self._put_back(run)
            raise asyncio.CancelledError from None
        except (PostRemoved, Superseded, NotStored, _Requeued):
            raise
        except PonteError as error:
            if isinstance(error, (NotAllowed, OverBudget)):
                self._people.note_refused_turn(run.turn.message, error)
            return self._apologise(run, error)
        except Exception:
            log.exception("turn failed unexpectedly")
            return self._apologise(run, PonteError(turn=turn.id))

    async def _look_up_rights_and_context(
        self, run: TurnRun
    ) -> tuple[PlaceRights, Message, Sequence[str]]:
        """Return the rights of the turn's author, and what `_look_up_context` returns."""
        message = run.turn.message
        rights = await self._people.policy.rights(message.author, message.address)
        return rights, *await self._look_up_context(run)

    async def _look_up_context(self, run: TurnRun) -> tuple[Message, Sequence[str]]:
        """Return the message with its context (quoted messages, the thread before it, their files),
        and sentences about context that could not be loaded.

        Context is loaded for messages to the model. It is also loaded for quick commands, because
        their input may be the message that they reply to. A resumed turn with recorded items loads
        none, because the transcript has it.
        """
        look_up = self._platforms.look_up.get(run.turn.message.address.platform)
        if look_up is None or not run.origin.has_profile:
            return run.turn.message, ()
        is_quick = run.command is not None and run.command.name == "quick-command"
        may_refer = run.origin.refers_to_others and not run.turn.items
        has_references = may_refer and (run.is_for_model or is_quick)
        turn, before = run.turn, run.turn.message
        missing: Sequence[str] = ()
        # An edit is too late for a turn that has done something, a deletion for a decision, too.
        decides = grammar.is_decision(before)
        is_late_decision = decides and not turn.is_untouched
        try:
            message, missing = await look_up(before, has_references)
        except PostRemoved:
            if not is_late_decision:
                raise
            message = before
        if is_late_decision or turn.items or turn.calls:
            message = replace(message, text=before.text)
        elif decides != grammar.is_decision(message) and not grammar.is_stop(message):
            raise _Requeued if await self._inbox.requeue(turn, message) else PostRemoved
        return (message if message is before else make_storable(message)), missing

    async def _answer_message(self, run: TurnRun) -> Answer:
        """Return the answer of a command or of the model. Raise Empty for a message without
        content."""
        message = run.turn.message
        if not (message.text.strip() or message.attachments or message.context):
            # What was deleted since an earlier attempt is empty, too.
            raise Empty if run.turn.is_untouched else PostRemoved
        if run.command_error:
            raise run.command_error
        if answer := run.origin.answer_directly(message, run.command):
            return answer
        if run.command:
            return await self._commands.answer(run.turn, run.command, run.reply.show, run.rights)
        return await self._answer_with_model(run)

    async def _answer_with_model(self, run: TurnRun) -> Answer:
        """Record the message and its files, reserve the cost of the answer, and ask the model."""
        message, config, settings = run.turn.message, run.config, run.settings
        assistant, budget = self._assistant, self._people.budget
        tools = await assistant.toolbox.tools(run.rights) if run.rights else ()
        tables = prompt.has_tables(tools)
        tools = run.origin.offer(offered_tools(tools, message))
        chosen = message.model or settings.model
        model = chosen or assistant.model.name
        if run.rights and model:
            run.rights.may("model", model).raise_if_denied()
        preface = prompt.build_preface(
            message, config.now(), config.zone, run.origin.preface, tables=tables
        )
        own, channel = config.instructions, settings.instructions
        instructions = f"{own}\n\n{channel}" if channel else own
        # The demo model costs nothing.
        pays = budget.bounds_calls and assistant.model.level != "demo"
        most_told = count_briefing_tokens(instructions, preface, tools) if pays else 0
        first: Grant | None = None
        counts: Sequence[AllowanceCount] = ()
        unread_notes: Sequence[str] = ()
        provenance: Provenance | None = None
        # A refused message does not wait for the download of its files.
        if run.turn.items or message.attachments:
            await budget.reserve(run.turn)
        if not run.turn.items:  # no attempt has recorded the message yet
            cleaned_text = await text.run_off_loop(text.clean_text, message.text)
            files, missing = await assistant.contexts.fetch_attachments(message)
            if message.attachments:
                unread_notes = await describe_unread(message, files, missing, self._stores.files)
            call = budget.model_call(1, model, most_told) if pays else None
            reserve = await budget.make_reservation(run.turn, call)
            cleaned_message = replace(message, text=cleaned_text)
            items = prompt.build_items(cleaned_message, files, missing)
            recorded = await self._journal.record_user_message(run.turn, items, reserve, pays=pays)
            run.turn = replace(run.turn, items=recorded.items)
            provenance = recorded.provenance
            first, counts = reserve.grant, reserve.counts
        provenance = provenance or await self._journal.provenance(
            run.turn.thread, message.author.key, run.turn.seq
        )
        outside, trust = await self._find_trust(run, provenance)
        since = provenance.previous_seq
        await self._find_readable_part(run, provenance)
        if not message.origin.reads_history:
            # The cost does not grow with each turn. The items stand in the conversation's thread,
            # so later messages of people read them.
            since = 0
        # For a message that is asked again, a new thread record makes the model's server start
        # without the earlier version of the message.
        is_new = not since or bool(message.replaced_turn)
        thread = await self._assistant.contexts.load_thread(
            run.turn, new=run.is_apart or (is_new and run.turn.attempt == 1)
        )
        paying = TurnPayment(budget, run.turn, model, most_told, first) if pays else None
        briefing = ModelBriefing(
            thread,
            instructions,
            preface,
            tools,
            chosen,
            since,
            trust,
            outside,
            config.limits,
            paying,
            counts,
        )
        run.needs_title = config.titles and message.has_conversation_title and not since
        run.rounds = rounds = Rounds(
            run, briefing, self._stores, self._people, self._changes, assistant
        )
        try:
            answer = await rounds.answer()
        finally:
            if run.readable:
                await assistant.forget(run.readable.memory)
        if not (answer.text or answer.cards or answer.files):
            return Answer(say("The model returned an empty answer. Ask again."))
        left_out = [say(LEFT_OUT)] if run.readable and message.origin.reads_history else []
        notes = [
            *unread_notes,
            *rounds.describe_unread(),
            *left_out,
            *await self._claim_notices(run, briefing),
        ]
        return _with_notes(answer, notes)

    async def _find_readable_part(self, run: TurnRun, provenance: Provenance) -> None:
        """Find what the asker may read of the thread now. Leave out results of this turn's own
        earlier attempts that they may not read any more."""
        contexts, turn = self._assistant.contexts, run.turn
        may_know = partial(contexts.may_know, run.rights)
        run.readable = await contexts.find_readable_part(turn, provenance, run.rights)
        unreadable = {c.call_id for c in turn.calls if c.outcome and not may_know(c.outcome.needs)}
        items = []
        for item in turn.items:
            if item.kind == "output" and item.call_id in unreadable:
                items.append(replace(item, text=LEFT_OUT, files=()))
            elif item.kind != "opaque" or not unreadable:
                items.append(item)
        needs = frozenset[Need]().union(*filter(may_know, provenance.needs))
        calls = tuple(
            replace(call, outcome=replace(call.outcome, data=None, sources=()))
            if call.outcome and call.call_id in unreadable
            else call
            for call in turn.calls
        )
        run.turn = replace(turn, items=tuple(items), calls=calls, needs=needs)

    async def _claim_notices(self, run: TurnRun, briefing: ModelBriefing) -> Sequence[str]:
        """Return sentences about allowances that are nearly used up, each of them only once. The
        person of the turn is notified of their own allowances, and the first admin of allowances
        that everybody shares."""
        counts = {count.scope.key: count for count in briefing.counts}
        counts |= {c.scope.key: c for c in briefing.paying.counts()} if briefing.paying else {}
        budget, message = self._people.budget, run.turn.message
        zone, sentences = budget.zone_of(message), list[str]()
        for count in counts.values():
            unit = count.scope.allowance.nearly_used_unit(count.spent)
            if unit is None:
                continue
            everybody = count.scope.allowance.of == "everybody"
            if not count.notices & PERSON_NOTICE and await budget.claim_notice(
                count, PERSON_NOTICE
            ):
                if everybody:
                    log.warning("allowance nearly used up", allowance=count.scope.allowance.source)
                    metrics.allowance_warnings.inc()
                else:
                    sentences.append(describe_nearly_used(count, unit, zone, budget.zone))
            if not everybody or count.notices & ADMIN_NOTICE:
                continue
            is_admin = run.rights is not None and run.rights.may("administer").allowed
            if is_admin and await budget.claim_notice(count, ADMIN_NOTICE):
                sentences.append(describe_nearly_used(count, unit, zone, budget.zone))
        return sentences

    async def _disarm_and_split(self, run: TurnRun, answer: Answer) -> Answer:
        """Return the answer with its text split into posts. Links are restricted if the thread
        contains text from outside, or if a command made the text. Links that Ponte's own code wrote
        always work."""
        cleaned = await text.run_off_loop(text.clean_text, answer.text)
        split, rounds = run.reply.split, run.rounds
        if rounds:
            outside, trust = rounds.provenance
            trust = replace(trust, written=trust.written | rounds.own_links)
        else:
            turn = run.turn
            outside, trust = await self._find_trust(
                run, await self._journal.provenance(turn.thread, turn.message.author.key, turn.seq)
            )
        if not outside and run.is_for_model:
            return replace(answer, text=cleaned, parts=await text.run_off_loop(split, cleaned))
        safe, parts = await text.run_off_loop(lambda t: trust.split_sanitized(t, split), cleaned)
        placed = tuple(replace(each, text=trust.sanitize(each.text)) for each in answer.placed)
        return replace(answer, text=safe, parts=parts, placed=placed)

    async def _find_trust(self, run: TurnRun, provenance: Provenance) -> tuple[bool, Trust]:
        """Return whether the turn's thread contains text from outside, and which links are allowed
        in that case: the configured hosts, Ponte's own addresses, and those that the asker wrote.
        """
        message, config = run.turn.message, run.config
        is_authored = message.origin.is_authored
        texts = [*provenance.asker_texts, *([message.text] if is_authored else ())]
        addresses = await text.run_off_loop(find_addresses, "\n".join(texts))
        addresses = addresses | config.own_addresses | run.origin.addresses(message)
        platform = message.address.platform
        # Terminals and other platforms differ in what they make a link of; see `Trust`.
        trust = Trust(
            config.link_hosts,
            addresses,
            coded=platform not in config.links_code,
            bare=platform not in config.links_schemes,
            linked=message.is_answer_linkified,
        )
        return provenance.has_outside_text or not is_authored, trust

    async def _store_answer(
        self,
        turn: Turn,
        answer: Answer,
        last: RoundOutput | None,
        key: str,
        also: TransactionStep | None,
    ) -> Answer:
        """Record the answer and return it; `also` runs in the same transaction. If it cannot be
        stored, record and return an apology instead. The cost of the model's last round is recorded
        in both cases."""
        try:
            await until_stored(lambda: self._journal.record_answer(turn, answer, last, key, also))
        except Exception as error:
            if isinstance(error, PonteError) and not isinstance(error, Unstorable):
                raise
            log.exception("could not store an answer")
            apology = _plain_apology(Unstorable())
            cost = replace(last, items=()) if last else None
            await until_stored(lambda: self._journal.record_answer(turn, apology, cost, key))
            return apology
        return answer

    def _changed_record(self, run: TurnRun) -> Thread | None:
        """Return the thread's record as it is now; None if only its time of last use changed, or
        if the turn has a remote conversation of its own."""
        if run.rounds is None or run.is_apart:
            return None
        before, after = run.rounds.known_thread, run.rounds.thread
        people = tuple(dict.fromkeys((*after.participants, run.turn.message.author.key)))
        level = self._assistant.model.level
        record = replace(after, participants=people, level=level, used_at=before.used_at)
        return replace(record, used_at=time.time()) if record != before else None

    async def _deliver(self, run: TurnRun, answer: Answer) -> None:
        """Post the answer, then end the turn as done, removed or undeliverable."""
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
        if run.needs_title and state == "done":
            model = run.turn.message.model or run.settings.model
            self.background_tasks.start(self._titles.make_title(run.turn, answer, model))
        if answer.code:
            metrics.errors.labels(answer.code).inc()
        if answer.cards or state == "failed":
            # Cards of changes that were decided during the turn can be redrawn now.
            self._changes.lifecycle.on_change()

    async def _finish(self, run: TurnRun, answer: Answer) -> None:
        """Post the answer until it is complete. A person's stop has no effect any more. If the
        process drains, record the held post and return the turn to the queue."""
        while True:
            try:
                await run.reply.finish(answer)
                # Remove the signs of activity before the turn ends. If the process dies here,
                # another one still resumes the turn.
                await run.reply.wait_for_updates()
                return
            except asyncio.CancelledError:
                # The held post would be saved with the turn's end, which does not come now.
                await run.posts.keep()
                await self._put_back_unless_stopped(run)

    def _count_end(self, run: TurnRun, state: TurnState, code: str = "", **facts: str) -> None:
        """Record the end of a turn in the log, in metrics and in its trace. The log also gets
        `facts`."""
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

    def _apologise(self, run: TurnRun, error: PonteError) -> Answer:
        """Return an answer with the text shown so far and the error's sentence. Count exceeded
        limits."""
        if isinstance(error, OverBudget):
            metrics.limits.labels(error.limit).inc()
        elif isinstance(error, TooManyRounds):
            metrics.limits.labels("rounds").inc()
        words = f"{run.visible_text}\n\n{error.words()}".strip()
        private = isinstance(error, PRIVATE_ERRORS) and run.origin.is_refusal_private
        return Answer(words, status="failed", code=error.code, is_private=private)

    async def _store_last_round(self, run: TurnRun) -> None:
        """Record the model's last output, because it is paid for. The resumed turn then does not
        ask again."""
        if run.rounds and (last := run.rounds.last):
            with suppress(Superseded, NotStored, Unstorable):
                await self._journal.record_round(run.turn, last)

    async def _put_back(self, run: TurnRun) -> None:
        """Return the turn to the queue, once nothing more is posted here."""
        await run.reply.settle_posts()
        await self._journal.put_back(run.turn)

    async def _put_back_unless_stopped(self, run: TurnRun) -> None:
        """Return the turn to the queue and raise CancelledError, unless a person stopped it. In
        that case, undo the cancellation of this task, so that it can still post the answer."""
        if not self._inbox.is_stopped(run.turn.seq):
            await self._put_back(run)
            raise asyncio.CancelledError
        if task := asyncio.current_task():
            task.uncancel()

    async def _without_place(self, seq: int, request: Coroutine[Any, Any, T]) -> T:
        """Await a request to the platform. If it takes longer than `PLATFORM_SECONDS`, give up the
        turn's place, so that another turn can run meanwhile, and take a place again afterwards."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(PLATFORM_SECONDS, self._inbox.leave_place, seq)
        try:
            result = await request
        finally:
            timer.cancel()
        await self._inbox.take_place(seq)  # returns at once if the turn has its place
        return result

    async def _give_way(self, run: TurnRun) -> None:
        """Wait until the process that took the turn over has finished it. Then correct the posts
        that this process made too late."""
        await run.reply.wait_for_updates()
        while True:
            with suppress(NotStored):
                stands = await self._journal.replace_cards(run.turn.seq)
                if stands is None or stands.state in FINAL_STATES:
                    break
            await asyncio.sleep(TAKEOVER_POLL_SECONDS)
        answer = stands.answer if stands and stands.answer else Answer("")
        await run.reply.correct_late_posts(answer, stands.posts if stands else ())

    async def _withdraw_posts(self, run: TurnRun) -> None:
        """Replace the posts of this turn, because its conversation was forgotten while it ran."""
        words = say("_Stopped: this conversation was deleted._")
        try:
            await run.reply.finish(Answer(words, status="stopped", parts=(words,)))
        except (PonteError, asyncio.CancelledError):
            log.info("could not replace the posts of a forgotten turn")


def _plain_apology(error: PonteError) -> Answer:
    """Return an answer of one post that contains only the error's translated sentence, so that
    preparing or storing it cannot fail."""
    words = error.words()
    return Answer(words, status="failed", code=error.code, parts=(words,))


def _with_notes(answer: Answer, sentences: Sequence[str]) -> Answer:
    """Return the answer with notes under it, one paragraph for each sentence."""
    notes = [f"_{sentence}_" for sentence in sentences]
    return replace(answer, text="\n\n".join(filter(None, [answer.text, *notes])))
