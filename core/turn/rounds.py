"""The loop of model calls and tool calls of one turn.

The journal stores the items of a round before its tools run, and each tool call before and after
it. A resumed turn continues after the last stored item and repeats no finished work.
"""

from __future__ import annotations

import asyncio
import re
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import structlog

from core.base import markdown, text
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
from core.base.i18n import say, use_locale
from core.base.tasks import run_together
from core.changes.cards import describe_proposals
from core.changes.service import ChangeService
from core.chat.incoming import FILES_NOT_FIT, describe_unread_kinds
from core.chat.people import Conversations, People
from core.domain.changes import Draft
from core.domain.messages import Answer, Card, File, Item, Progress, file_kind
from core.domain.ports import NO_STEP, Tool
from core.domain.records import (
    INTERRUPTED_TEXT,
    RIGHT_OF_EFFECT,
    Effect,
    Outcome,
    Remote,
    RemoteStored,
    ResponseStarted,
    RoundCompleted,
    RoundOutput,
    RoundRequest,
    TextDelta,
    TextWithdrawn,
    ToolCall,
    ToolContext,
    Viewer,
    add_model_instruction,
)
from core.domain.rows import Chart, RowsResult, place_results
from core.journal.journal import Journal
from core.money.usage import PaidRun
from core.observability import metrics, tracing
from core.people.audit import audit_step
from core.tools.tool import cap_text, outcome_of_error, price_of_call
from core.turn.run import Assistant, ModelBriefing, TurnRun, store_thread, until_stored

log = structlog.get_logger("turn")
MAX_ROUNDS = 12
"""The largest number of model calls in one turn."""
CUT_NOTE = "The answer stops here because it got too long. Ask me to continue."
CUT_BY_ALLOWANCE_NOTE = "The answer stops here because the limit is used up."
ENDED_EARLY_NOTE = "I stopped here. {why}"
_OVER_BUDGET = add_model_instruction(
    "error: not run. {why}", "answer now with what you have, and tell the person"
)
MAX_PARALLEL_TOOL_CALLS = 8
"""The largest number of tool calls of one round that run at the same time."""
REPEATABLE_EFFECTS: tuple[Effect, ...] = ("read", "write")
"""Effects of calls that run again after an interruption. A write only proposes, and only once for
each call. Calls with another effect run again only if they just propose something."""
COSTLY_EFFECTS: tuple[Effect, ...] = ("spend", "code")
"""Effects of calls that can cost money; `CallLimits.costly` limits them."""
RESULT_UNKNOWN = add_model_instruction(
    f"error: {INTERRUPTED_TEXT}", "do not repeat it, tell the person"
)
_RESULT_LOST = add_model_instruction(
    "error: this ran, but its result could not be stored and is lost",
    "do not repeat it, tell the person",
)
_CALLS_USED_UP = add_model_instruction(
    "error: not run. This turn has used up its {count} tool calls{costly}; none of {what} runs "
    "any more in it.",
    "answer now with what you have, and tell the person what is still to be done",
)
_EARLIER_PROPOSAL = add_model_instruction(
    "error: not proposed. The proposal {id} of an earlier run of this schedule waits for a "
    "person's decision",
    "do not propose it again, tell the person that it still waits",
)
RAN_ONCE_NOTE = (
    "\n[This call arrived twice in the same form, and ran once. To run it twice, call it again.]"
)
CALLS_USED_UP_NOTE = "I stopped after {count} tool calls, the limit for one answer."
COSTLY_CALLS_USED_UP_NOTE = (
    "I stopped after {count} paid tool calls (quick commands, agents, code), the limit for "
    "one answer."
)
SOURCES = "Sources:"
MAX_SHOWN_SOURCES = 10
_OWN_LINK = re.compile(r"\[\w{1,40}\]\((https?://[^\s()<>]{1,500})\)\Z")


class ToolCalls:
    """Runs the tool calls of one turn and journals each of them before and after it.

    `outcomes` maps the id of a call to its outcome. `make_context` builds the context of a call,
    and `show` displays progress.
    """

    def __init__(
        self,
        run: TurnRun,
        briefing: ModelBriefing,
        journal: Journal,
        people: People,
        make_context: Callable[[ToolCall], ToolContext],
        show: Callable[[str], Awaitable[None]],
    ) -> None:
        self._run = run
        self._journal = journal
        self._people = people
        self._limits = briefing.limits
        self._tools = {tool.spec.name: tool for tool in briefing.tools}
        self._make_context = make_context
        self._show_progress = show
        self._earlier_calls = {call.call_id: call for call in run.turn.calls}
        self._parallel_calls = asyncio.Semaphore(MAX_PARALLEL_TOOL_CALLS)
        self._running_elsewhere: set[str] = set()
        self._codes: dict[str, str] = {}
        """The error codes of failed calls, by call id; used for traces."""
        self._started: set[str] = set()
        """The ids of calls that are journalled as started in the same transaction as their round.
        """
        self._runs: dict[str, str] = {}
        """The rule that allowed a call that can cost money, by the ids of the calls that began."""
        self._is_stopping = False
        self._numbers: dict[str, int] = {}
        self._costly_numbers: dict[str, int] = {}
        for item in run.turn.items:
            if item.kind == "call":
                self._count_call(item)
        self.outcomes = {c.call_id: c.outcome for c in run.turn.calls if c.outcome}

    @property
    def may_finish_elsewhere(self) -> bool:
        """True if a run that a call began in another system may still finish, although nothing
        waits for it."""
        return any(call not in self.outcomes for call in self._running_elsewhere)

    @property
    def used_up(self) -> str:
        """The sentence for the person if the model wanted more calls than the turn may make; else
        ""."""
        if len(self._costly_numbers) > self._limits.costly:
            return say(COSTLY_CALLS_USED_UP_NOTE, count=self._limits.costly)
        if len(self._numbers) > self._limits.total:
            return say(CALLS_USED_UP_NOTE, count=self._limits.total)
        return ""

    async def run(self, calls: Sequence[Item]) -> Sequence[Outcome]:
        """Run all calls of one round at the same time and return their outcomes in the order of the
        calls."""
        for item in calls:
            self._count_call(item)
        return await run_together(*(self._run_until_recorded(call) for call in calls))

    def start(self, item: Item) -> ToolCall:
        """Return the call of an item. The caller journals its start together with the round."""
        self._started.add(item.call_id)
        return self._build_call(item)

    def _build_call(self, item: Item) -> ToolCall:
        """Return the call of an item, with the handle that an earlier attempt recorded."""
        tool, earlier_call = self._tools.get(item.name), self._earlier_calls.get(item.call_id)
        effect = tool.effect_of(item.arguments) if tool else "read"
        handle = earlier_call.handle if earlier_call else ""
        return ToolCall(item.call_id, item.name, item.arguments, effect, handle=handle)

    async def _run_until_recorded(self, item: Item) -> Outcome:
        """Run one call until its outcome is recorded.

        Cancellation does not interrupt a write or a paid call: it runs until its outcome is
        recorded. A call that continues in another system is cancelled once its handle is stored.
        """
        tool = self._tools.get(item.name)
        task = asyncio.create_task(self._run_and_record(item, tool))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_stopping = True
            effect = tool.effect_of(item.arguments) if tool else "read"
            if effect not in ("write", "spend") or item.call_id in self._running_elsewhere:
                task.cancel()
            while not task.done():  # a second cancellation must not interrupt the write either
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    async def _run_and_record(self, item: Item, tool: Tool | None) -> Outcome:
        """Run one call and record its outcome. A call that was interrupted before and must not run
        again gets the outcome "unknown"."""
        turn, earlier_call = self._run.turn, self._earlier_calls.get(item.call_id)
        name = item.name if tool else "unknown"
        # A call that started without an outcome or a handle may or may not have happened.
        interrupted = (
            earlier_call is not None and earlier_call.outcome is None and not earlier_call.handle
        )
        proposes = tool is not None and tool.only_proposes(item.arguments)
        if (
            interrupted
            and earlier_call
            and earlier_call.effect not in REPEATABLE_EFFECTS
            and not proposes
        ):
            outcome = Outcome("unknown", RESULT_UNKNOWN)
            if tool:
                self._runs[item.call_id] = ""
        else:
            call = self._build_call(item)
            async with self._parallel_calls:
                if item.call_id not in self._started:
                    await self._journal.record_call_start(turn, call)
                with tracing.tool_call(name) as span, metrics.tool_seconds.labels(name).time():
                    outcome = await self._check_and_run(tool, call)
                    span.note("ponte.tool.outcome", outcome.status)
                    if outcome.status in ("error", "unknown"):
                        span.fail(self._codes.pop(item.call_id, outcome.status))
        try:
            await self._record_end(item, outcome)
        except Unstorable:
            log.exception("could not store a tool result", tool=item.name)
            outcome = Outcome("unknown", _RESULT_LOST, usage=outcome.usage, paid=outcome.paid)
            await self._record_end(item, outcome)
        self.outcomes[item.call_id] = outcome
        metrics.tool_calls.labels(name, outcome.status).inc()
        log.info("tool call ended", tool=name, status=outcome.status)
        return outcome

    async def _record_end(self, item: Item, outcome: Outcome) -> None:
        """Record the outcome of a call. A run that can cost money is written to the audit log in
        the same transaction."""
        message, line = self._run.turn.message, NO_STEP
        if item.call_id in self._runs and outcome.status != "proposed":
            facts = {"tool": item.name, "outcome": outcome.status, "rule": self._runs[item.call_id]}
            line = audit_step("tool-run", message.author, message.address, **facts)
        await until_stored(
            lambda: self._journal.record_call_end(self._run.turn, item.call_id, outcome, line)
        )

    def _count_call(self, item: Item) -> None:
        """Number a call, in total and among costly calls. Calls are numbered in transcript order,
        so that a resumed turn gives each call the number that it had before the crash."""
        self._numbers.setdefault(item.call_id, len(self._numbers) + 1)
        tool, arguments = self._tools.get(item.name), item.arguments
        if (
            tool
            and tool.effect_of(arguments) in COSTLY_EFFECTS
            and not tool.only_proposes(arguments)
        ):
            self._costly_numbers.setdefault(item.call_id, len(self._costly_numbers) + 1)

    async def _check_and_run(self, tool: Tool | None, call: ToolCall) -> Outcome:
        """Check limits, rights and budget, then run the call. Denials are outcomes that the model
        reads."""
        limits = self._limits
        if self._costly_numbers.get(call.call_id, 0) > limits.costly:
            metrics.limits.labels("costly_calls").inc()
            too_many = _CALLS_USED_UP.format(count=limits.costly, costly=" that cost", what="those")
            return Outcome("error", too_many)
        if self._numbers.get(call.call_id, 0) > limits.total:
            metrics.limits.labels("tool_calls").inc()
            return Outcome(
                "error", _CALLS_USED_UP.format(count=limits.total, costly="", what="them")
            )
        if tool is None:
            return Outcome(
                "error",
                f"error: there is no tool {text.truncate_with_note(call.name, 64)!r} here (to you: "
                "use the tools that you have, or tell the person what is not possible here)",
            )
        rule, message = "", self._run.turn.message
        for need in (
            (RIGHT_OF_EFFECT[call.effect],),
            ("tool", call.name),
        ):  # checked at each call, because rights may change during a turn
            verdict = await self._people.policy.may(message.author, message.address, *need)
            if verdict.is_unknown or not verdict.allowed:
                if not verdict.is_unknown:
                    self._people.note_refusal(message.author, message.address, verdict)
                with use_locale("en"):
                    return Outcome("error", f"error: {verdict.words()}")
            rule = rule or verdict.rule
        if call.effect not in COSTLY_EFFECTS:
            return await self._attempt(tool, call)
        if paid := price_of_call(tool, call.arguments):
            try:
                await self._people.budget.reserve_run(self._run.turn, call.call_id, paid)
            except OverBudget as error:
                metrics.limits.labels(error.limit).inc()
                self._audit("action-refused", reason=error.code, tool=call.name)
                return Outcome("error", _OVER_BUDGET.format(why=error))
        self._runs[call.call_id] = rule
        try:
            outcome = await self._attempt(tool, call)
        except (asyncio.CancelledError, PostRemoved, Superseded):  # the call gets no record
            self._audit("tool-run", tool=call.name, outcome="interrupted", rule=rule)
            raise
        return self._with_cost(call, outcome, paid) if paid else outcome

    def _with_cost(self, call: ToolCall, outcome: Outcome, paid: PaidRun) -> Outcome:
        """Return the outcome with the cost of the run, if it was begun. The cost of a container run
        that timed out or broke is marked as an estimate."""
        if paid.kind == "container" and self._codes.get(call.call_id) in ("timeout", "internal"):
            outcome = replace(outcome, usage=replace(outcome.usage, is_estimated=True))
        has_begun = (
            outcome.status != "error" or call.handle or call.call_id in self._running_elsewhere
        )
        if has_begun and paid.kind != "container":
            cost = self._people.budget.config.price_list.run_cost(paid)
            outcome = replace(outcome, usage=replace(outcome.usage, cost=cost))
        return replace(outcome, paid=paid.report_name)

    async def _attempt(self, tool: Tool, call: ToolCall) -> Outcome:
        """Run the tool, and note in its outcome which rights somebody needs to read that. A write
        only proposes, so that reading is the right."""
        right = RIGHT_OF_EFFECT[call.effect]
        viewer = Viewer(
            self._run.rights, {("tool", call.name), ("read" if right == "propose" else right,)}
        )
        outcome = await self._run_tool(tool, call, viewer)
        return replace(outcome, needs=frozenset(viewer.needs))

    async def _run_tool(self, tool: Tool, call: ToolCall, viewer: Viewer) -> Outcome:
        """Run the tool within its timeout. Turn errors into outcomes, except those that end the
        attempt (Draining, NotStored, PostRemoved, Superseded). A call that begins to run in another
        system is cancelled if the turn is being stopped."""
        if tool.progress_text:
            await self._show_progress(say(tool.progress_text))
        try:
            ctx = self._make_context(call)

            async def record_handle(handle: str) -> None:
                await ctx.turn.record_handle(handle)
                self._running_elsewhere.add(call.call_id)
                if self._is_stopping:
                    raise asyncio.CancelledError

            async with asyncio.timeout(tool.timeout_seconds):
                controls = replace(ctx.turn, record_handle=record_handle)
                own = replace(ctx, turn=controls, viewer=viewer)
                return cap_text(await tool.run(own, call.arguments))
        except TimeoutError:
            # Any call but a read may have taken effect before the timeout.
            status: Literal["error", "unknown"] = "error" if call.effect == "read" else "unknown"
            self._codes[call.call_id] = "timeout"
            return Outcome(status, f"error: no answer within {tool.timeout_seconds:.0f} s")
        except ToolError as error:
            log.info("tool call refused", tool=call.name, code=error.code)
            self._codes[call.call_id] = error.code
            if error.code in REFUSALS:
                self._people.note_refused_turn(self._run.turn.message, error)
            return cap_text(outcome_of_error(error))
        except (Draining, NotStored, PostRemoved, Superseded):
            raise
        except Exception:
            log.exception("tool failed unexpectedly", tool=call.name)
            self._codes[call.call_id] = "internal"
            return Outcome("error", "error: the tool broke; this is a fault of mine")

    def _audit(self, event: str, **facts: str) -> None:
        """Write a line about this turn's message to the audit log."""
        message = self._run.turn.message
        self._people.audit.note(event, message.author, message.address, **facts)


class Rounds:
    """Runs the rounds of one turn. `thread` is the thread's record after the last round."""

    def __init__(
        self,
        run: TurnRun,
        briefing: ModelBriefing,
        conversations: Conversations,
        people: People,
        changes: ChangeService,
        assistant: Assistant,
    ) -> None:
        self._run = run
        self._briefing = briefing
        self._threads = conversations.threads
        self._changes = changes
        self._journal = conversations.journal
        self._model = assistant.model
        self._model_name = briefing.model or assistant.model.name
        self._tool_contexts = assistant.contexts
        self._items = list(run.turn.items)
        self._file_kinds: frozenset[str] | None = None
        self._unseen_files: tuple[str, ...] = ()
        rounds = weakref.proxy(self)  # without a cycle, a turn's objects are freed when it ends
        self._calls = ToolCalls(
            run,
            briefing,
            conversations.journal,
            people,
            lambda call: rounds._tool_context(call),
            lambda doing: rounds._show_progress(doing),
        )
        self.known_thread = briefing.thread
        """The thread's record as it was stored before this turn."""
        self._text = ""
        self._cut = False
        self._broken: ModelError | None = None
        self._over: OverBudget | None = None
        """The error of the allowance that ended the answer early; None if none did."""
        self._files: list[File] = []
        self.thread = briefing.thread
        self.last: RoundOutput | None = None
        """The output of the round that called no tool. The journal stores it together with the
        answer."""
        self._growing, self._cleaning = markdown.GrowingMarkdown(), text.GrowingText()
        self._streamed_text = ""
        self.tokens = 0

    async def answer(self) -> Answer:
        """Run rounds until there is an answer, and return it. A resumed turn continues after its
        last stored item. Raise a ModelError, OverBudget, PostRemoved, Superseded or NotStored."""
        for item in self._items:  # those of an earlier attempt
            if item.role == "assistant":
                self._append_text(item.text)
            elif item.kind == "output" and not item.shows_files:
                self._files.extend(item.files)
        self._streamed_text = self._text
        number = 1 + sum(round_.is_complete for round_ in self._run.turn.rounds)
        # A resumed turn whose last stored round called no tool already has its complete answer.
        if number > 1 and not self._open_calls() and self._items[-1].kind != "output":
            return await self._build_answer()
        while True:
            if calls := self._open_calls():
                await self._run_calls(calls)
            if self._waiting_proposals():
                return await self._build_answer()
            if number > MAX_ROUNDS:
                raise TooManyRounds(rounds=MAX_ROUNDS)
            # Another process may have taken the turn over; the model must not be paid twice.
            self._journal.check_ownership()
            try:
                await self._ask_model(number)
            except OverBudget as error:
                if not self._text:
                    raise
                metrics.limits.labels(error.limit).inc()
                self._over = error
                return await self._build_answer()
            if not self._open_calls():
                return await self._build_answer()
            number += 1

    @property
    def may_finish_elsewhere(self) -> bool:
        """True if a run that a call began in another system may still finish, although nothing
        waits for it."""
        return self._calls.may_finish_elsewhere

    @property
    def visible_text(self) -> str:
        """The text so far, with the rows and charts that it places."""
        return place_results(self._streamed_text, self._placeable(), is_growing=True)[0]

    @property
    def provenance(self) -> tuple[bool, markdown.Trust]:
        """A pair: whether the thread now contains text from outside, and which links are allowed in
        that case. Every output of a tool counts as text from outside, and so does an answer that
        names sources. The addresses that the model's server itself names as sources are allowed:
        it found them, while the model can write any address."""
        sources = self._model_sources
        outside = self._briefing.has_outside_text or bool(sources)
        outside = outside or any(item.kind == "output" for item in self._items)
        trust = self._briefing.trust
        return outside, replace(trust, written=trust.written.union(sources))

    def _waiting_proposals(self) -> set[str]:
        """Return the ids of this turn's proposals that wait for a person."""
        return {o.proposal for o in self._calls.outcomes.values() if o.status == "proposed"}

    async def cards(self) -> tuple[Card, ...]:
        """Return the cards of this turn's proposals in their current state, in the order of its
        calls."""
        ids = [outcome.proposal for outcome in self._outcomes_in_order() if outcome.proposal]
        return tuple(await self._changes.views.cards(ids))

    async def _build_answer(self) -> Answer:
        """Return the answer. If proposals wait for a person, it consists of their cards, and the
        model's text is left out."""
        cards, files = await self.cards(), tuple(self._files)
        waiting = [card for card in cards if card.id in self._waiting_proposals()]
        used_up = [f"_{self._calls.used_up}_"] if self._calls.used_up else []
        if waiting:
            whole_text = "\n\n".join([describe_proposals(len(waiting)), *used_up])
            return Answer(text=whole_text, cards=cards, files=files)
        paying = self._briefing.paying
        short = CUT_BY_ALLOWANCE_NOTE if paying and paying.is_lowered else CUT_NOTE
        cut = [f"_{say(short)}_"] if self._cut else []
        if self._broken is not None:
            cut = [f"_{say(ENDED_EARLY_NOTE, why=self._broken.words())}_"]
        if self._over is not None:
            cut = [f"_{say(ENDED_EARLY_NOTE, why=self._over.words())}_"]
        notes = [*cut, *used_up, *self._source_lines(), *self._model_source_lines()]
        ends_open = bool(cut) and not self._text.endswith("]")
        own_text, placed = place_results(self._text, self._placeable(), ends_open)
        whole_text = "\n\n".join([own_text, *notes]) if own_text or used_up else ""
        return Answer(whole_text, cards=cards, files=files, is_cut=bool(cut), placed=placed)

    def _results(self) -> dict[str, Outcome]:
        """Return the outcomes with data, by id. The id is the number of the call in the transcript,
        which a resumed turn does not change."""
        calls = [item.call_id for item in self._items if item.kind == "call"]
        outcomes = ((f"r{n}", self._calls.outcomes.get(id)) for n, id in enumerate(calls, 1))
        return {id: outcome for id, outcome in outcomes if outcome and outcome.data}

    def _placeable(self) -> dict[str, RowsResult | Chart]:
        """Return the rows and charts that the model can place, by id."""
        return {id: each.data for id, each in self._results().items() if each.data}

    def _source_lines(self) -> list[str]:
        """Return the lines that name the sources of figures, without duplicates, in the order of
        the calls."""
        return list(
            dict.fromkeys(line for one in self._outcomes_in_order() for line in one.sources)
        )

    @property
    def _model_sources(self) -> dict[str, str]:
        """The sources that the model's server named outside the text: their titles by address."""
        titles: dict[str, str] = {}
        for item in self._items:
            for url, title in item.raw.get("sources", ()):
                titles[url] = titles.get(url) or title
        return titles

    def _model_source_lines(self) -> list[str]:
        """Return a list of the sources that the model's server named. Their titles are text from
        outside."""
        trust, sources = self.provenance[1], list(self._model_sources.items())
        lines = [
            trust.sanitize(f"{n}. {title and markdown.escape_markdown(title) + ' '}{url}")
            for n, (url, title) in enumerate(sources[:MAX_SHOWN_SOURCES], 1)
        ]
        return ["\n".join([say(SOURCES), "", *lines])] if lines else []

    @property
    def own_links(self) -> frozenset[str]:
        """The links in the source lines, which Ponte's code wrote. Each source line ends in its
        link."""
        matches = (_OWN_LINK.search(line) for line in self._source_lines())
        return frozenset(link[1] for link in matches if link)

    def _outcomes_in_order(self) -> list[Outcome]:
        """Return the outcomes of this turn's finished calls in the order of the calls."""
        called = [
            self._calls.outcomes.get(item.call_id) for item in self._items if item.kind == "call"
        ]
        return [outcome for outcome in called if outcome]

    def _open_calls(self) -> list[Item]:
        """Return the calls that have no output in the transcript yet."""
        ended = {item.call_id for item in self._items if item.kind == "output"}
        return [i for i in self._items if i.kind == "call" and i.call_id not in ended]

    async def _ask_model(self, number: int) -> None:
        """Ask the model once, record its output and its cost, and append its items."""
        paying, question = self._briefing.paying, self._build_request(number)
        name = self._model_name
        provider = "ponte" if self._model.level == "demo" else "openai"
        if paying:
            await paying.begin(number, is_repeated=bool(question.response))
        try:
            with (
                tracing.model_call(name, provider, number) as span,
                metrics.model_seconds.labels(name).time(),
            ):
                completed = await self._stream_round(number, question, span)
                span.note_usage(completed.usage)
        except ModelError as error:
            metrics.model_calls.labels(error.code).inc()
            if paying:
                await paying.give_back()
            raise
        if paying:
            paying.record_usage(completed.usage)
        self.thread = completed.thread or self.thread
        self._cut, self._broken = completed.is_truncated, completed.broken
        self.tokens += completed.usage.input + completed.usage.output
        items = completed.items
        output = RoundOutput(number, tuple(items), completed.usage, name)
        calls = [item for item in items if item.kind == "call"]
        if calls:
            # The start of a single call is stored with its round, which saves a transaction.
            started = self._calls.start(calls[0]) if len(calls) == 1 else None
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
        self._items.extend(items)
        for item in items:
            if item.role == "assistant":
                self._append_text(item.text)
        self._streamed_text = self._text

    def describe_unread(self) -> list[str]:
        """Return a sentence on the files of the message that neither the model nor code read."""
        kinds = self._file_kinds
        if kinds is None or any(item.name == "run_python" for item in self._items):
            return []
        names = [
            file.name
            for item in self._items
            if item.role == "user"
            for file in item.files
            if file_kind(file.type, file.name) not in kinds
        ]
        unseen = ", ".join(f"`{name}`" for name in self._unseen_files)
        sentences = [say(FILES_NOT_FIT, names=unseen)] if unseen else []
        return [*sentences, describe_unread_kinds(names, kinds)] if names else sentences

    async def _stream_round(
        self, number: int, question: RoundRequest, span: tracing.TraceSpan
    ) -> RoundCompleted:
        """Stream one model response and return its end.

        The id of a remote conversation is journalled before it is used. The ids of responses are
        journalled while the stream goes on, but before any text is shown or a tool runs. Otherwise
        a crash could leave objects on the server that `forget` does not know of.
        """
        journal, turn = self._journal, self._run.turn
        asked_at, spoke = time.perf_counter(), False
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
            async with aclosing(self._model.ask(question)) as events:
                async for event in events:
                    match event:
                        case ResponseStarted(response):
                            self._streamed_text = self._text
                            write = partial(
                                journal.record_response, turn, number, response, tuple(listed)
                            )
                            begin(until_stored(write))
                            listed.clear()
                        case TextWithdrawn():
                            self._streamed_text = self._text
                        case TextDelta(piece):
                            if not spoke:
                                spoke, waited = True, time.perf_counter() - asked_at
                                metrics.first_token_seconds.labels(self._model_name).observe(waited)
                                span.note("gen_ai.response.time_to_first_chunk", waited)
                            await wait_for_writes()
                            self._streamed_text += piece
                            await self._show_progress()
                        case RemoteStored(remote, thread, is_listed):
                            if is_listed:
                                listed.append(remote)
                            else:
                                begin(journal.record_remote(self.thread.id, remote))
                                await wait_for_writes()
                            self.thread = thread or self.thread
                        case RoundCompleted():
                            await wait_for_writes()
                            self._file_kinds = event.file_kinds
                            self._unseen_files += event.unseen_files
                            return event
            raise ModelDown
        finally:
            for remote in listed:
                begin(journal.record_remote(self.thread.id, remote))
            await asyncio.gather(*beside, return_exceptions=True)

    def _build_request(self, number: int) -> RoundRequest:
        """Return the request for a round. Its input is the items that the model has not received
        yet."""
        run, briefing = self._run, self._briefing
        # The item after the model's last output is the first one that it has not received.
        received = (
            n
            for n, item in enumerate(self._items, 1)
            if item.kind in ("call", "opaque") or item.role == "assistant"
        )
        first_unsent = max(received, default=0)
        began = {round_.number: round_.response for round_ in run.turn.rounds}
        return RoundRequest(
            thread=self.thread,
            turn=run.turn.id,
            number=number,
            input=tuple(self._items[first_unsent:]),
            history=lambda: self._load_history(first_unsent),
            instructions=briefing.instructions,
            preface=briefing.preface,
            asker=run.turn.message.author,
            tools=tuple(tool.spec for tool in briefing.tools),
            response=began.get(number, ""),
            seq=run.turn.seq,
            previous_seq=briefing.since,
            model=briefing.model,
            payment=briefing.paying,
        )

    async def _load_history(self, first_unsent: int) -> Sequence[Item]:
        """Return the transcript of the thread before the first unsent item."""
        if not self._briefing.since:
            return self._items[:first_unsent]
        if readable := self._run.readable:
            return [*readable.items, *self._items[:first_unsent]]
        entries = await self._journal.transcript(self.thread.id, before=self._run.turn.seq)
        return [entry.item for entry in entries] + self._items[:first_unsent]

    def _append_text(self, words: str) -> None:
        """Append words to the answer's text as a new paragraph."""
        self._text = f"{self._text}\n\n{words}" if self._text and words else self._text + words

    async def _show_progress(self, doing: str = "") -> None:
        """Show the text so far, with disabled links if the thread contains text from outside, and
        `doing`."""
        outside, trust = self.provenance

        def render(words: str) -> str:
            return self._growing.render(self._cleaning.clean(words), trust)

        work = render if outside else self._cleaning.clean
        rendered = await text.run_off_loop(work, self.visible_text)
        progress = Progress(text=rendered, current_step=doing, trust=trust if outside else None)
        await self._run.reply.show(progress)

    async def _run_calls(self, calls: Sequence[Item]) -> None:
        """Run the calls of one round and append their outputs to the transcript in the order of the
        calls."""
        outcomes = await self._calls.run(calls)
        turn = self._run.turn
        self._run.turn = replace(turn, needs=turn.needs.union(*(each.needs for each in outcomes)))
        for call, outcome in zip(calls, outcomes, strict=True):
            note = RAN_ONCE_NOTE if call.raw.get("may_be_two") else ""
            self._items.append(outcome.to_item(call.call_id, note))
            self._files.extend(() if outcome.shows_files else outcome.files)

    def _tool_context(self, call: ToolCall) -> ToolContext:
        """Return the context of a call, able to propose changes and to record remote objects."""
        turn = self._run.turn
        ctx = self._tool_contexts.make_context(
            turn, self.thread, call, self._show_progress, self._record_remote, self._run.readable
        )

        async def propose(draft: Draft) -> Outcome:
            if earlier := self._run.earlier_proposal:
                return Outcome("error", _EARLIER_PROPOSAL.format(id=earlier))
            return await self._changes.proposals.propose(ctx, draft)

        calls = [item.call_id for item in self._items if item.kind == "call"]
        return replace(
            ctx,
            turn=replace(ctx.turn, propose=propose),
            results=self._results(),
            written_addresses=self._briefing.trust.written,
            result_id=f"r{calls.index(call.call_id) + 1}",
        )

    async def _record_remote(self, remote: Remote) -> None:
        """Journal an object that the model's server now stores. Put a container into the thread's
        record."""
        await self._journal.record_remote(self.thread.id, remote)
        if remote.kind == "container":
            self.thread = replace(self.thread, container=remote.id)
            if not self._run.is_apart:
                await store_thread(self._threads, self.thread)
