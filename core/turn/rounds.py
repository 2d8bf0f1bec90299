"""The journal stores the items of a round before its tools run, and each tool call before and after
it. A resumed turn continues after the last stored item and repeats no finished work."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from core.base.errors import (
    REFUSALS,
    Draining,
    ModelDown,
    ModelError,
    NotStored,
    OverBudget,
    PostRemoved,
    Superseded,
    ToolError,
    TooManyRounds,
    Unstorable,
)
from core.base.i18n import say
from core.base.json_text import parse_arguments
from core.base.tasks import run_together
from core.base.text import fold_case, run_off_loop
from core.changes.cards import describe_proposals
from core.changes.service import ChangeService, Proposals
from core.chat.file_downloads import FILES_NOT_FIT, describe_unread_kinds
from core.chat.people import People
from core.domain.changes import Draft
from core.domain.messages import Answer, Card, File, Item, file_kind
from core.domain.model_rounds import (
    RemoteStored,
    ResponseStarted,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    TextWithdrawn,
)
from core.domain.ports import FREE_LEVELS, NO_STEP, Tool
from core.domain.records import (
    INTERRUPTED_TEXT,
    Outcome,
    Remote,
    RoundOutput,
    ToolCall,
    ToolContext,
)
from core.domain.rights import RIGHT_OF_EFFECT, Effect, Viewer
from core.domain.rows import place_results
from core.imports.outlines import CODE_TOOL_NAME, IMPORT_TOOL_NAME
from core.observability import metrics, tracing
from core.people.audit import audit_step
from core.saved.queries import can_run_again
from core.tools.tool import cap_text, mark_posing, outcome_of_error, price_of_call
from core.turn.beside_cards import (
    NO_OUTCOME,
    MadeCall,
    can_be_repaired,
    describe_calls,
    is_repeated,
)
from core.turn.context import ToolContexts
from core.turn.guards import COSTLY_EFFECTS, Guards
from core.turn.preparation import Assistant, ModelBriefing
from core.turn.run import TurnRun, until_stored
from core.turn.transcript import OWN_LINK, TurnTranscript, prepare_text

log = structlog.get_logger("turn")
MAX_ROUNDS = 12
CUT_NOTE = "The answer stops here because it got too long. Ask me to continue."
CUT_BY_ALLOWANCE_NOTE = "The answer stops here because the limit has been reached."
ENDED_EARLY_NOTE = "I stopped here. {why}"
MAX_PARALLEL_TOOL_CALLS = 8
REPEATABLE_EFFECTS: tuple[Effect, ...] = ("read", "write")
"""Effects of calls that run again after an interruption. A write only proposes, and only once for
each call. Calls with another effect run again only if they just propose something."""
RESULT_UNKNOWN = ToolError(
    "{why}", code="interrupted", hint="do not repeat it, tell the person", why=INTERRUPTED_TEXT
)
"""The outcome of a call that an interruption may have cut."""
RESULT_LOST = ToolError(
    "{why}",
    code="lost",
    hint="do not repeat it, tell the person",
    why="This ran, but its result could not be stored and is lost.",
)
"""The outcome of a call whose result the database refuses."""
TOOL_BROKE = ToolError("{why}", code="internal", why="The tool broke; this is a fault of mine.")
RAN_BEFORE = ToolError("{why}", code="ran_before", why="Not run again: it ran a moment ago.")
RAN_ONCE_NOTE = (
    "\n[This call arrived twice in the same form, and ran once. To run it twice, call it again.]"
)


class Rounds:
    """Runs the rounds of one turn: ask the model, run the tools that it calls, ask again, until it
    answers."""

    def __init__(
        self,
        run: TurnRun,
        briefing: ModelBriefing,
        assistant: Assistant,
        people: People,
        changes: ChangeService,
    ) -> None:
        self._run = run
        # The model's input beside the transcript, and the tools that it may call.
        self.briefing = briefing
        self._assistant = assistant
        self._changes = changes
        self._journal = assistant.contexts.stores.journal
        self.transcript = TurnTranscript(run, briefing)
        tools = {tool.spec.name: tool for tool in briefing.tools}
        self.calls = ToolCalls(
            # Guards read the transcript while it grows.
            Guards(run, tools, people, self.transcript.items),
            self.transcript,
            assistant.contexts,
            changes.proposals,
        )
        self._ends: list[RoundCompleted] = []
        self.tokens = 0
        self._over: OverBudget | None = None
        self.last: RoundOutput | None = None
        """The output of the round that called no tool. The journal stores it together with the
        answer."""

    async def answer(self) -> Answer:
        """Run rounds until there is an answer, and return it. A resumed turn continues after its
        last stored item. Raise a ModelError, OverBudget, PostRemoved, Superseded or NotStored.

        A round is one request to the model; `open_calls` are the tool calls that it asked for and
        that have no outcome yet."""
        transcript = self.transcript
        # What was understood of voice messages, which the person sees before the model answers.
        if transcript.opening:
            await transcript.show()
        number = 1 + sum(round_.is_complete for round_ in self._run.turn.rounds)
        # A resumed turn whose last stored round called no tool already has its complete answer.
        # With the output of a tool at the end, the model has not read that output yet.
        is_complete = (
            number > 1 and not transcript.open_calls() and transcript.items[-1].kind != "output"
        )
        while not is_complete:
            if calls := transcript.open_calls():
                await self._run_calls(calls)
            # A tool proposed a change: a person decides first, and the model reads the decision in
            # the next turn. Before that, it gets one round to repair other calls that failed.
            has_card = bool(transcript.waiting_proposals())
            is_last = number > MAX_ROUNDS or self.calls.guards.used_up
            if has_card and (is_last or not can_be_repaired(self.calls.list_made())):
                break
            if transcript.question:
                break
            if number > MAX_ROUNDS:
                raise TooManyRounds(rounds=MAX_ROUNDS)
            # Another process may have taken the turn over; the model must not be paid twice.
            self._journal.check_ownership()
            try:
                await self._ask_model(number)
            except (ModelError, Unstorable):
                if not has_card:
                    raise
                break
            except OverBudget as error:
                # With a part of the answer, the person gets that part and the reason why it ends.
                if not (transcript.text or has_card):
                    raise
                metrics.limits.labels(error.limit).inc()
                self._over = error
                break
            is_complete = not transcript.open_calls()
            number += 1
        return await self._build_answer()

    async def _build_answer(self) -> Answer:
        """Return the answer. If proposals wait for a person, it consists of results and
        their cards, and the model's text is left out. Otherwise it is the model's
        text, with notes on why it ends early, and with its sources."""
        transcript, paying = self.transcript, self.briefing.payment
        cards, used_up = await self.cards(), self.calls.guards.used_up
        files = transcript.files()
        waiting = [card for card in cards if card.id in transcript.waiting_proposals()]
        if waiting:
            notes = [*describe_calls(self.calls.list_made()), used_up and f"_{used_up}_"]
            answer_text, placed = place_results(
                "\n\n".join(filter(None, notes)), transcript.placeable
            )
            sentence = describe_proposals(len(waiting))
            return Answer(
                answer_text, cards=cards, files=files, placed=placed, card_sentence=sentence
            )
        end = self._ends[-1] if self._ends else None
        # `_over`: the error of the allowance that ended the answer. `broken`: the model's error in
        # the middle of it. `used_up`: the model wanted more calls than it may make. `is_lowered`:
        # the limit of the model's output was reduced to what an allowance had left.
        cut = ""
        if why := self._over or (end and end.broken):
            cut = say(ENDED_EARLY_NOTE, why=why.words())
        elif end and end.is_truncated:
            cut = say(CUT_BY_ALLOWANCE_NOTE if paying and paying.is_lowered else CUT_NOTE)
        notes = [f"_{note}_" for note in (cut, used_up) if note]
        sources = transcript.source_lines()
        # The end of a cut text may be half a figure. A stored query has no words of a model.
        if (
            not cut
            and self._assistant.model.level != "stored"
            and (sentence := await transcript.describe_figures(lambda: self._load_history(0)))
        ):
            # The link stays at the end of its line.
            line = sources.pop() if sources else ""
            at = match.start() if (match := OWN_LINK.search(line)) else len(line)
            sources.append(f"{line[:at].rstrip()} {sentence} {line[at:]}".strip())
        notes += [*sources, *transcript.model_source_lines()]
        written_text = await run_off_loop(prepare_text, transcript.text)
        # A cut text can end within a line that names a table.
        ends_open = bool(cut) and not written_text.endswith("]")
        # Lines such as `[table: r1]` become the rows and charts that tools returned.
        own_text, placed = place_results(written_text, transcript.placeable, ends_open)
        # Notes alone are no answer: the caller then says that the model returned none. `used_up` is
        # the exception, because it tells the person why there is no text.
        whole_text = "\n\n".join([own_text, *notes]) if own_text or used_up else ""
        # Nobody rates a card, or an answer that nobody waited for.
        question, origin = transcript.question, self._run.turn.message.origin
        rateable = bool(own_text) and not (cards or question) and origin.is_attended
        return Answer(
            whole_text,
            cards=cards,
            files=files,
            is_cut=bool(cut),
            placed=placed,
            is_rateable=rateable,
            can_run_again=not cut and can_run_again(transcript.named_outcomes()),
            question=question,
        )

    async def _ask_model(self, number: int) -> None:
        """An output that calls tools is stored now; the journal stores one without calls together
        with the answer (`self.last`)."""
        # `paying` is None if no allowance limits the cost.
        paying, question = self.briefing.payment, self._build_request(number)
        model = self._assistant.model
        name = question.model or model.name
        provider = "ponte" if model.level in FREE_LEVELS else "openai"
        if paying:
            # With a response's id, an earlier attempt asked this already: the server may have the
            # answer, which costs nothing more.
            await paying.begin(number, is_repeated=bool(question.response))
        try:
            with (
                tracing.model_call(name, provider, number) as span,
                metrics.model_seconds.labels(name).time(),
            ):
                completed = await self._stream_round(question, span)
                span.note_usage(completed.usage)
        except ModelError as error:
            metrics.model_calls.labels(error.code).inc()
            if paying:
                await paying.give_back()  # releases the reservation if no request was sent
            raise
        if paying:
            paying.record_usage(completed.usage)
        self.transcript.thread = completed.thread or self.transcript.thread
        self._ends.append(completed)
        self.tokens += completed.usage.input + completed.usage.output
        items = completed.items
        output = RoundOutput(number, tuple(items), completed.usage, name)
        calls = [item for item in items if item.kind == "call"]
        if calls:
            # The start of a single call is stored with its round, which saves a transaction.
            started = self.calls.start(calls[0]) if len(calls) == 1 else None
            try:
                await until_stored(
                    lambda: self._journal.record_round(self._run.turn, output, started)
                )
            except Unstorable:
                # The output cannot be stored, but its cost must be.
                self.last = replace(output, items=())
                raise
        else:
            self.last = output
        metrics.count_model_call(completed.usage, name)
        self.transcript.items.extend(items)
        self.transcript.streamed_text = self.transcript.text

    def describe_unread(self) -> list[str]:
        """Return sentences on the files of the message that neither the model nor a tool read
        whole: their kind is one that the model's server does not take, they are too long, or they
        did not fit into the request."""
        items = self.transcript.items
        files = [file for item in items if item.role == "user" for file in item.files]
        read = _list_read_files(items, files)
        notes = [
            note
            for note in self.briefing.notes
            if not (named := set(re.findall("`([^`]+)`", note))) or not named <= read
        ]
        # `kinds`: the kinds of files that the server takes as of the last round. None: the model
        # does not say.
        kinds = self._ends[-1].file_kinds if self._ends else None
        if kinds is None:
            return notes
        names = [
            file.name
            for file in files
            if file_kind(file.type, file.name) not in kinds
            and file.name not in read
            and not any(f"`{file.name}`" in note for note in notes)
        ]
        unseen_names = [name for end in self._ends for name in end.unseen_files if name not in read]
        unseen = ", ".join(f"`{name}`" for name in unseen_names)
        sentences = [*notes, *([say(FILES_NOT_FIT, names=unseen)] if unseen else [])]
        return [*sentences, describe_unread_kinds(names, kinds)] if names else sentences

    async def _stream_round(
        self, question: RoundRequest, span: tracing.TraceSpan
    ) -> RoundCompleted:
        """The id of a remote conversation is journalled before it is used. The ids of responses are
        journalled while the stream goes on, but before any text is shown or a tool runs. Otherwise
        a crash could leave objects on the server that `forget` does not know of."""
        journal, turn, transcript = self._journal, self._run.turn, self.transcript
        name = question.model or self._assistant.model.name
        asked_at, spoke = time.perf_counter(), False
        # Writes to the journal under way, in order, while the stream is read.
        beside: list[asyncio.Task[None]] = []
        # Conversations that were recorded before they had a thread. They get it together with the
        # response's id. If a crash comes before that, they are erased like unused ones.
        listed: list[Remote] = []

        async def wait_for_writes() -> None:
            while beside:
                # A cancellation must not interrupt the write; `finally` below still awaits it.
                await asyncio.shield(beside[0])
                beside.pop(0)

        def begin(write: Coroutine[Any, Any, None]) -> None:
            beside.append(asyncio.create_task(write))

        try:
            async with aclosing(self._assistant.model.ask(question)) as events:
                async for event in events:
                    match event:
                        case ResponseStarted(response):
                            # The server may begin the response once more after a fault: then the
                            # text shown before is replaced.
                            transcript.streamed_text = transcript.text
                            write = partial(
                                journal.record_response,
                                turn,
                                question.number,
                                response,
                                tuple(listed),
                            )
                            begin(until_stored(write))
                            listed.clear()
                        case TextWithdrawn():  # the streamed text is no part of the answer
                            transcript.streamed_text = transcript.text
                        case TextDelta(piece):
                            if not spoke:
                                spoke, waited = True, time.perf_counter() - asked_at
                                metrics.first_token_seconds.labels(name).observe(waited)
                                span.note("gen_ai.response.time_to_first_chunk", waited)
                            await wait_for_writes()
                            transcript.streamed_text += piece
                            await transcript.show()
                        case RemoteStored(remote, thread, is_listed):
                            if is_listed:
                                listed.append(remote)
                            else:
                                begin(journal.record_object_to_erase(transcript.thread.id, remote))
                                await wait_for_writes()
                            transcript.thread = thread or transcript.thread
                        case RoundCompleted():
                            await wait_for_writes()
                            return event
            # The stream ended without its last event.
            raise ModelDown
        finally:
            # No response took these over, so they are noted as objects to erase.
            for remote in listed:
                begin(journal.record_object_to_erase(transcript.thread.id, remote))
            await asyncio.gather(*beside, return_exceptions=True)

    def _build_request(self, number: int) -> RoundRequest:
        """Return the request for a round to the model. Its input is the items that the model has
        not received yet; a server that stores no conversation also gets the `history` before them.
        `response` is the id of the response to this round if an earlier attempt asked before a
        crash."""
        items = self.transcript.items
        # The item after the model's last output is the first one that it has not received. Only the
        # server can read `opaque` items.
        received = (
            n
            for n, item in enumerate(items, 1)
            if item.kind in ("call", "opaque") or item.role == "assistant"
        )
        first_unsent = max(received, default=0)
        # `response`: the server may still have the answer of that earlier attempt.
        began = {round_.number: round_.response for round_ in self._run.turn.rounds}
        return replace(
            self.briefing.request,
            thread=self.transcript.thread,
            number=number,
            input=tuple(items[first_unsent:]),
            history=lambda: self._load_history(first_unsent),
            response=began.get(number, ""),
        )

    async def _load_history(self, first_unsent: int) -> Sequence[Item]:
        """Return the transcript of the thread before the first unsent item, for servers that store
        no conversation and get all of it with each request. If the asker may not read all of it,
        return the part that they may read (`readable`)."""
        own_items, briefing = self.transcript.items[:first_unsent], self.briefing
        if not briefing.request.previous_seq:  # this turn is the first of its thread
            return own_items
        if briefing.readable:
            return [*briefing.readable.items, *own_items]
        thread = self.transcript.thread.id
        entries = await self._journal.transcript(thread, before=self._run.turn.seq)
        return [entry.item for entry in entries] + own_items

    async def _run_calls(self, calls: Sequence[Item]) -> None:
        """Run the calls of one round and append their outputs to the transcript in the order of the
        calls."""
        outcomes = await self.calls.run(calls)
        turn = self._run.turn
        # The rights that a person needs to read these outputs.
        self._run.turn = replace(
            turn, needs=turn.needs.union(*(outcome.needs for outcome in outcomes))
        )
        for call, outcome in zip(calls, outcomes, strict=True):
            note = RAN_ONCE_NOTE if call.raw.get("may_be_two") else ""
            self.transcript.items.append(outcome.to_item(call.call_id, note))

    async def cards(self) -> tuple[Card, ...]:
        outcomes = self.transcript.outcomes_in_order()
        proposals = [outcome.proposal for outcome in outcomes if outcome.proposal]
        return tuple(await self._changes.views.cards(proposals)) if proposals else ()


class ToolCalls:
    """Each call is stored in the journal before and after it, so that a resumed turn knows which
    ones ran."""

    def __init__(
        self,
        guards: Guards,
        transcript: TurnTranscript,
        contexts: ToolContexts,
        proposals: Proposals,
    ) -> None:
        # `guards` may stop a call, `contexts` builds what a tool gets, `proposals` stores changes.
        self.guards = guards
        self._transcript = transcript
        self._contexts = contexts
        self._proposals = proposals
        # The calls of an attempt before a crash.
        self._earlier_calls = {call.call_id: call for call in guards.run.turn.calls}
        self._parallel_calls = asyncio.Semaphore(MAX_PARALLEL_TOOL_CALLS)
        self._running_elsewhere: set[str] = set()
        """The ids of calls that run in another system (a quick command), which gave a handle."""
        self._codes: dict[str, str] = {}
        """The error codes of failed calls, by call id, go into traces; after some of them the cost
        of a call is only an estimate."""
        self._started: set[str] = set()
        self._is_stopping = False

    @property
    def may_finish_elsewhere(self) -> bool:
        return not self._running_elsewhere <= self._transcript.outcomes.keys()

    async def run(self, calls: Sequence[Item]) -> Sequence[Outcome]:
        return await run_together(*map(self._run_until_recorded, map(self._build_call, calls)))

    def list_made(self) -> Sequence[MadeCall]:
        """Rounds are counted from the turn's first card. The outputs of a round stand between its
        calls and those of the next one."""
        made, number, was_output = list[MadeCall](), 0, False
        for item in self._transcript.items:
            number += was_output and item.kind != "output"
            was_output = item.kind == "output"
            if item.kind == "call":
                outcome = self._transcript.outcomes.get(item.call_id, NO_OUTCOME)
                tool = self.guards.tools.get(item.name)
                made.append(MadeCall(number, f"r{len(made) + 1}", item, tool, outcome))
        start = min((c.round for c in made if c.outcome.status == "proposed"), default=number)
        return [replace(call, round=call.round - start) for call in made]

    def start(self, item: Item) -> ToolCall:
        """The caller stores its start in the transaction that stores the round."""
        self._started.add(item.call_id)
        return self._build_call(item)

    def _build_call(self, item: Item) -> ToolCall:
        tool, earlier_call = self.guards.tools.get(item.name), self._earlier_calls.get(item.call_id)
        effect = tool.effect_of(item.arguments) if tool else "read"
        handle = earlier_call.handle if earlier_call else ""
        return ToolCall(item.call_id, item.name, item.arguments, effect, handle=handle)

    async def _run_until_recorded(self, call: ToolCall) -> Outcome:
        """Cancellation does not interrupt a write or a paid call: it runs until its outcome is
        recorded, so that nothing happens without a record. A call that continues in another system
        (a quick command) is cancelled once its handle is stored: the handle leads to its result."""
        task = asyncio.create_task(self._run_and_record(call))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_stopping = True
            if call.effect not in ("write", "spend") or call.call_id in self._running_elsewhere:
                task.cancel()
            while not task.done():  # a second cancellation must not interrupt the write either
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    async def _run_and_record(self, call: ToolCall) -> Outcome:
        """A call that an earlier attempt began and that must not run twice gets the outcome
        "unknown". An outcome that the database refuses (Unstorable) is recorded as lost, with its
        cost."""
        tool = self.guards.tools.get(call.name)
        name = call.name if tool else "unknown"
        if self._may_have_happened(call, tool):
            outcome = outcome_of_error(RESULT_UNKNOWN, "unknown")
            if tool:
                # The call may have cost money, so its end is written to the audit log. The rule
                # that allowed it is no longer known.
                self.guards.rules[call.call_id] = ""
        else:
            async with self._parallel_calls:
                # `_started` has the calls whose start was recorded together with their round.
                if call.call_id not in self._started:
                    await self._contexts.stores.journal.record_call_start(
                        self.guards.run.turn, call
                    )
                with tracing.tool_call(name) as span, metrics.tool_seconds.labels(name).time():
                    outcome = await self._check_and_run(call)
                    span.note("ponte.tool.outcome", outcome.status)
                    if outcome.status in ("error", "unknown"):
                        # `_codes` has the error code that `_run_tool` noted. The cost, for which it
                        # is read too, is known by now, so the entry can go.
                        span.fail(self._codes.pop(call.call_id, outcome.status))
        try:
            await self._record_end(call, outcome)
        except Unstorable:
            log.exception("could not store a tool result", tool=call.name)
            lost = outcome_of_error(RESULT_LOST, "unknown")
            outcome = replace(lost, usage=outcome.usage, paid=outcome.paid)
            await self._record_end(call, outcome)
        self._transcript.outcomes[call.call_id] = outcome
        self._transcript.question = self._transcript.question or outcome.question
        if outcome.status == "proposed" and self._transcript.streamed_text:
            await self._transcript.show()  # other calls of the round may run for long
        metrics.tool_calls.labels(name, outcome.status).inc()
        log.info("tool call ended", tool=name, status=outcome.status)
        return outcome

    def _may_have_happened(self, call: ToolCall, tool: Tool | None) -> bool:
        earlier_call = self._earlier_calls.get(call.call_id)
        # A run in another system is continued by its handle.
        if earlier_call is None or earlier_call.outcome or earlier_call.handle:
            return False
        proposes = tool is not None and tool.only_proposes(call.arguments)
        return earlier_call.effect not in REPEATABLE_EFFECTS and not proposes

    async def _record_end(self, call: ToolCall, outcome: Outcome) -> None:
        """Record the outcome of a call. A run that can cost money is written to the audit log in
        the same transaction."""
        journal, line = self._contexts.stores.journal, NO_STEP
        if call.call_id in self.guards.rules and outcome.status != "proposed":
            line = audit_step(**self._describe_run(call, outcome.status))
        await until_stored(
            lambda: journal.record_call_end(self.guards.run.turn, call.call_id, outcome, line)
        )

    def _describe_run(self, call: ToolCall, outcome: str) -> dict[str, Any]:
        message, rule = self.guards.run.turn.message, self.guards.rules[call.call_id]
        whose = {"asker": message.author, "address": message.address}
        return {"event": "tool-run", **whose, "tool": call.name, "outcome": outcome, "rule": rule}

    async def _check_and_run(self, call: ToolCall) -> Outcome:
        """Run the call unless a guard stops it. Return its outcome with the cost of the run, if it
        was begun. `_codes` is read here: `_run_tool` stores in it the error code of a call that
        failed, by the call's id."""
        if self._transcript.waiting_proposals() and is_repeated(call.call_id, self.list_made()):
            return outcome_of_error(RAN_BEFORE)
        if refusal := await self.guards.stop(call):
            return refusal
        tool = self.guards.tools[call.name]
        try:
            outcome = await self._run_tool(tool, call)
        except (asyncio.CancelledError, PostRemoved, Superseded):  # the call gets no record
            # `_record_end` writes this line for calls that end; this one does not end.
            if call.effect in COSTLY_EFFECTS:
                self.guards.people.audit.note(**self._describe_run(call, "interrupted"))
            raise
        paid = price_of_call(tool, call.arguments)
        if paid is None or call.effect not in COSTLY_EFFECTS:
            return outcome
        usage = outcome.usage
        if paid.kind == "container":
            # The tool itself has added the price of the container's session to `usage`. What
            # it cost is not known if the call timed out or broke.
            if self._codes.get(call.call_id) in ("timeout", "internal"):
                usage = replace(usage, is_estimated=True)
        # A failed call costs nothing if it never began a run in the other system: it has no handle
        # of one.
        elif outcome.status != "error" or call.handle or call.call_id in self._running_elsewhere:
            price_list = self.guards.people.budget.config.price_list
            usage = replace(usage, cost=price_list.run_cost(paid))
        return replace(outcome, usage=usage, paid=paid.report_name)

    async def _run_tool(self, tool: Tool, call: ToolCall) -> Outcome:
        """Run the tool within its timeout. Turn errors into outcomes, which the model reads, except
        those that end the attempt at the turn (Draining, NotStored, PostRemoved, Superseded). Note
        in the outcome which rights somebody needs to read it. A write only proposes, so the right
        to read is needed. `_codes` gets the error code, for the trace and for the cost."""
        right = RIGHT_OF_EFFECT[call.effect]
        needs = {("tool", call.name), ("read" if right == "propose" else right,)}
        viewer = Viewer(self.guards.run.rights, needs)
        if tool.progress_text:
            await self._transcript.show(say(tool.progress_text))
        try:
            async with asyncio.timeout(tool.timeout_seconds):
                outcome = await tool.run(self._make_context(call, viewer), call.arguments)
            # Text from another system that begins like an error or note of Ponte gets a heading, so
            # that the model does not take it for one.
            outcome = mark_posing(cap_text(outcome), call.effect)
        except TimeoutError:
            # Any call but a read may have taken effect before the timeout.
            self._codes[call.call_id] = "timeout"
            why = f"No answer within {tool.timeout_seconds:.0f} s."
            late = ToolError("{why}", code="timeout", why=why)
            outcome = outcome_of_error(late, "error" if call.effect == "read" else "unknown")
        except ToolError as error:
            log.info("tool call refused", tool=call.name, code=error.code)
            self._codes[call.call_id] = error.code
            if error.code in REFUSALS:  # a right or an allowance: the audit log gets a line
                self.guards.people.note_refused_turn(self.guards.run.turn.message, error)
            outcome = cap_text(outcome_of_error(error))
        except (Draining, NotStored, PostRemoved, Superseded):
            raise
        except Exception:
            log.exception("tool failed unexpectedly", tool=call.name)
            self._codes[call.call_id] = "internal"
            outcome = outcome_of_error(TOOL_BROKE)
        return replace(outcome, needs=frozenset(viewer.needs))

    def _make_context(self, call: ToolCall, viewer: Viewer) -> ToolContext:
        """Return the context that a tool gets with a call: by it the tool proposes changes, reads
        earlier results, and records objects that it creates in other systems. A call that begins to
        run in another system (`record_handle`) is cancelled if the turn is being stopped."""
        transcript, briefing = self._transcript, self._transcript.briefing
        # what the asker may read of the thread; None for all of it
        ctx = self._contexts.make_context(
            self.guards.run.turn,
            transcript.thread,
            call,
            self._transcript.show,
            self._record_object_to_erase,
            briefing.readable,
        )

        async def record_handle(handle: str) -> None:
            await ctx.turn.record_handle(handle)
            self._running_elsewhere.add(call.call_id)
            if self._is_stopping:
                raise asyncio.CancelledError

        async def propose(draft: Draft) -> Outcome:
            return self.guards.refuse_proposal(call) or await self._proposals.propose(ctx, draft)

        needs = self.guards.run.turn.needs
        return replace(
            ctx,
            turn=replace(ctx.turn, propose=propose, record_handle=record_handle),
            viewer=viewer,
            results=transcript.results(),
            written_addresses=briefing.trust.written,
            # Each tool that reads needs the right to read; one of a table names that table.
            has_read_rows=any(right == "read" and names for right, *names in needs),
            # The model writes `[table: r1]` to place the result of the first call in its answer.
            result_id=f"r{transcript.call_ids.index(call.call_id) + 1}",
            question=briefing.question[1] if briefing.question else None,
        )

    async def _record_object_to_erase(self, remote: Remote) -> None:
        """Store in the journal that an object now exists on a server, so that it is erased when the
        conversation is forgotten. A container is also stored in the thread's record, so that later
        turns use it."""
        stores, transcript = self._contexts.stores, self._transcript
        await stores.journal.record_object_to_erase(transcript.thread.id, remote)
        if remote.kind == "container":
            # Later turns of the thread use the container, too.
            transcript.thread = replace(transcript.thread, container=remote.id)
            if not transcript.briefing.is_apart:
                await stores.threads.put(transcript.thread)


def _list_read_files(items: Sequence[Item], files: Sequence[File]) -> set[str]:
    """Return the names of the files that tools read whole. Code can read every kind of file."""
    if any(item.name == CODE_TOOL_NAME for item in items):
        return {file.name for file in files}
    named = set[str]()
    for item in items:
        if item.kind == "call" and item.name == IMPORT_TOOL_NAME:
            with suppress(ValueError):
                arguments = parse_arguments(item.arguments)
                named |= {fold_case(str(arguments["file"]))} if "file" in arguments else set()
    return {file.name for file in files if {file.id, fold_case(file.name)} & named}
