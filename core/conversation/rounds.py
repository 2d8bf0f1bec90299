"""The rounds between model and tools, until there is an answer.

Everything is journalled before it can matter: a round's items before its tools run, each call
before and after. A turn that resumes goes on after the last item; what is done is not repeated.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import structlog

from core.conversation.context import ToolContexts
from core.conversation.run import ModelBriefing, TurnRun
from core.conversation.services import TurnServices
from core.conversation.storing import until_stored
from core.domain.errors import (
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
from core.domain.messages import Answer, Card, File, Item, Progress
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
    ToolCall,
    ToolContext,
    add_model_instruction,
)
from core.observability import metrics, tracing
from core.ports.tools import Tool
from core.rights.usage import PaidRun
from core.runtime.tasks import run_together
from core.text import markdown, text
from core.text.i18n import LANGUAGE, say
from core.tools.tool import cap_text, outcome_of_error, price_of_call

log = structlog.get_logger("turn")
MAX_ROUNDS = 12
"""Model calls in one turn, at most."""
CUT_NOTE = "The answer ends here because it became too long. Ask me to go on."
CUT_BY_ALLOWANCE_NOTE = "The answer ends here because no more of the allowance is left."
ENDED_BY_ALLOWANCE_NOTE = "I stopped here. {why}"
_OVER_BUDGET = add_model_instruction(
    "error: not run. {why}", "answer now with what you have, and tell the person"
)
MAX_PARALLEL_TOOL_CALLS = 8
"""Tool calls of one round that run side by side, at most."""
REPEATABLE_EFFECTS: tuple[Effect, ...] = ("read", "write")
"""Effects whose interrupted call may simply run again: a write only proposes, once for a call.
So may any other call that only proposes."""
COSTLY_EFFECTS: tuple[Effect, ...] = ("spend", "code")
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
CALLS_USED_UP_NOTE = "I stopped here after {count} tool calls, which is what one answer may use."
COSTLY_CALLS_USED_UP_NOTE = (
    "I stopped here after {count} tool calls that cost (quick commands, agents, code), which is "
    "what one answer may use."
)
_OWN_LINK = re.compile(r"\[\w{1,40}\]\((https?://[^\s()<>]{1,500})\)\Z")


class ToolCalls:
    """The tool calls of one turn, each journalled before and after it runs; `outcomes` by call id.
    `make_context` makes the context of a call, `show` tells what it does."""

    def __init__(
        self,
        run: TurnRun,
        briefing: ModelBriefing,
        services: TurnServices,
        make_context: Callable[[ToolCall], ToolContext],
        show: Callable[[str], Awaitable[None]],
    ) -> None:
        self._run = run
        self._services = services
        self._journal = services.journal
        self._limits = briefing.limits
        self._tools = {tool.spec.name: tool for tool in briefing.tools}
        self._make_context = make_context
        self._show_progress = show
        self._earlier_calls = {call.call_id: call for call in run.turn.calls}
        self._parallel_calls = asyncio.Semaphore(MAX_PARALLEL_TOOL_CALLS)
        self._running_elsewhere: set[str] = set()
        self._codes: dict[str, str] = {}
        """Why a call failed, in one word, by its id."""
        self._started: set[str] = set()
        """Calls that are recorded as started together with the round that made them."""
        self._is_stopping = False
        self._numbers: dict[str, int] = {}
        self._costly_numbers: dict[str, int] = {}
        for item in run.turn.items:
            if item.kind == "call":
                self._count_call(item)
        self.outcomes = {c.call_id: c.outcome for c in run.turn.calls if c.outcome}

    @property
    def may_finish_elsewhere(self) -> bool:
        """Whether another system may still finish what was called here, though nobody waits."""
        return any(call not in self.outcomes for call in self._running_elsewhere)

    @property
    def used_up(self) -> str:
        """What the person is told where this turn wanted more calls than it may make; else ""."""
        if len(self._costly_numbers) > self._limits.costly:
            return say(COSTLY_CALLS_USED_UP_NOTE, count=self._limits.costly)
        if len(self._numbers) > self._limits.total:
            return say(CALLS_USED_UP_NOTE, count=self._limits.total)
        return ""

    async def run(self, calls: Sequence[Item]) -> Sequence[Outcome]:
        """All calls of one round, side by side; their outcomes in the calls' order."""
        for item in calls:
            self._count_call(item)
        return await run_together(*(self._run_until_recorded(call) for call in calls))

    def start(self, item: Item) -> ToolCall:
        """Return the call of an item, which the caller records as started."""
        self._started.add(item.call_id)
        return self._build_call(item)

    def _build_call(self, item: Item) -> ToolCall:
        tool, known = self._tools.get(item.name), self._earlier_calls.get(item.call_id)
        effect = tool.effect_of(item.arguments) if tool else "read"
        handle = known.handle if known else ""
        return ToolCall(item.call_id, item.name, item.arguments, effect, handle=handle)

    async def _run_until_recorded(self, item: Item) -> Outcome:
        """A write or a spend runs to its record, even when the turn is stopped; one that goes on
        elsewhere has its record as soon as its handle is kept."""
        tool = self._tools.get(item.name)
        task = asyncio.create_task(self._run_and_record(item, tool))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_stopping = True
            effect = tool.effect_of(item.arguments) if tool else "read"
            if effect not in ("write", "spend") or item.call_id in self._running_elsewhere:
                task.cancel()
            while not task.done():  # whoever cancels us again waits for it too
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    async def _run_and_record(self, item: Item, tool: Tool | None) -> Outcome:
        turn, known = self._run.turn, self._earlier_calls.get(item.call_id)
        interrupted = known is not None and known.outcome is None and not known.handle
        proposes = tool is not None and tool.only_proposes(item.arguments)
        if interrupted and known and known.effect not in REPEATABLE_EFFECTS and not proposes:
            outcome = Outcome("unknown", RESULT_UNKNOWN)
            if tool:
                self._audit("run", tool=item.name, outcome=outcome.status)
        else:
            call = self._build_call(item)
            async with self._parallel_calls:
                if item.call_id not in self._started:
                    await self._journal.record_call_start(turn, call)
                outcome = await self._measure(tool, call)
        try:
            await until_stored(lambda: self._journal.record_call_end(turn, item.call_id, outcome))
        except Unstorable:
            log.exception("outcome not stored", tool=item.name)
            outcome = Outcome("unknown", _RESULT_LOST, usage=outcome.usage, paid=outcome.paid)
            await until_stored(lambda: self._journal.record_call_end(turn, item.call_id, outcome))
        self.outcomes[item.call_id] = outcome
        name = item.name if tool else "unknown"
        metrics.tool_calls.labels(name, outcome.status).inc()
        log.info("tool call", tool=name, status=outcome.status)
        return outcome

    async def _measure(self, tool: Tool | None, call: ToolCall) -> Outcome:
        name = call.name if tool else "unknown"
        with tracing.tool_call(name) as span, metrics.tool_seconds.labels(name).time():
            outcome = await self._check_and_run(tool, call)
            span.note("ponte.tool.outcome", outcome.status)
            if outcome.status in ("error", "unknown"):
                span.fail(self._codes.pop(call.call_id, outcome.status))
            return outcome

    def _count_call(self, item: Item) -> None:
        """In the order of the calls, so that after a crash each is counted as before."""
        self._numbers.setdefault(item.call_id, len(self._numbers) + 1)
        tool, asked = self._tools.get(item.name), item.arguments
        if tool and tool.effect_of(asked) in COSTLY_EFFECTS and not tool.only_proposes(asked):
            self._costly_numbers.setdefault(item.call_id, len(self._costly_numbers) + 1)

    async def _check_and_run(self, tool: Tool | None, call: ToolCall) -> Outcome:
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
                "error", f"error: there is no tool {text.truncate_with_note(call.name, 64)!r} here"
            )
        rule, message = "", self._run.message
        for asked in (
            (RIGHT_OF_EFFECT[call.effect],),
            ("tool", call.name),
        ):  # asked again: rights may change
            verdict = await self._services.policy.may(message.author, message.address, *asked)
            if verdict.is_unknown:
                return Outcome("error", f"error: {verdict.words('en')}")
            if not verdict.allowed:
                self._audit("refused", right=verdict.right, rule=verdict.rule)
                return Outcome("error", f"error: {verdict.words('en')}")
            rule = rule or verdict.rule
        if call.effect not in COSTLY_EFFECTS:
            return await self._attempt(tool, call)
        paid = price_of_call(tool, call.arguments)
        if paid and (refusal := await self._reserve_cost(call, paid)):
            return refusal
        ended = "interrupted"
        try:
            outcome = await self._attempt(tool, call)
            ended = outcome.status
            return self._with_cost(call, outcome, paid) if paid else outcome
        finally:
            if ended != "proposed":
                self._audit("run", tool=call.name, outcome=ended, rule=rule)

    async def _reserve_cost(self, call: ToolCall, paid: PaidRun) -> Outcome | None:
        """What has a price by the run is reserved before it is begun, as everything is; how the
        model reads that it does not fit."""
        try:
            await self._services.budget.reserve_run(self._run.turn, call.call_id, paid)
        except OverBudget as error:
            metrics.refusals.labels("tool").inc()
            metrics.limits.labels(error.limit).inc()
            self._audit("refused", right=error.code, tool=call.name)
            return Outcome("error", _OVER_BUDGET.format(why=error.words("en")))
        return None

    def _with_cost(self, call: ToolCall, outcome: Outcome, paid: PaidRun) -> Outcome:
        """With its price, where it was begun. A container's run says what it cost, unless it came
        to no end."""
        if paid.kind == "container" and self._codes.get(call.call_id) in ("timeout", "internal"):
            outcome = replace(outcome, usage=replace(outcome.usage, estimated=True))
        begun = outcome.status != "error" or call.handle or call.call_id in self._running_elsewhere
        if begun and paid.kind != "container":
            cost = self._services.budget.run_price(paid)
            outcome = replace(outcome, usage=replace(outcome.usage, cost=cost))
        return replace(outcome, paid=paid.report_name)

    async def _attempt(self, tool: Tool, call: ToolCall) -> Outcome:
        if tool.progress_text:
            await self._show_progress(say(tool.progress_text))
        try:
            async with asyncio.timeout(tool.timeout_seconds):
                return cap_text(await tool.run(self._context_for(call), call.arguments))
        except TimeoutError:
            status: Literal["error", "unknown"] = "error" if call.effect == "read" else "unknown"
            self._codes[call.call_id] = "timeout"
            return Outcome(status, f"error: no answer within {tool.timeout_seconds:.0f} s")
        except ToolError as error:
            log.info("tool refused", tool=call.name, code=error.code)
            self._codes[call.call_id] = error.code
            if error.code in REFUSALS:
                right, rule = (str(error.values.get(name, "")) for name in ("right", "rule"))
                self._audit("refused", right=right or error.code, rule=rule)
            return cap_text(outcome_of_error(error))
        except (Draining, NotStored, PostRemoved, Superseded):
            raise
        except Exception:
            log.exception("tool broke", tool=call.name)
            self._codes[call.call_id] = "internal"
            return Outcome("error", "error: the tool broke; this is a fault of mine")

    def _audit(self, event: str, **facts: str) -> None:
        message = self._run.message
        self._services.audit.note(event, message.author, message.address, **facts)

    def _context_for(self, call: ToolCall) -> ToolContext:
        ctx = self._make_context(call)

        async def known_as(handle: str) -> None:
            await ctx.record_handle(handle)
            self._running_elsewhere.add(call.call_id)
            if self._is_stopping:
                raise asyncio.CancelledError

        return replace(ctx, record_handle=known_as)


class Rounds:
    """One turn's rounds. `thread` is the record as the last round left it."""

    def __init__(
        self,
        run: TurnRun,
        briefing: ModelBriefing,
        services: TurnServices,
        tool_contexts: ToolContexts,
    ) -> None:
        self._run = run
        self._briefing = briefing
        self._services = services
        self._journal = services.journal
        self._model = services.model
        self._tool_contexts = tool_contexts
        self._items = list(run.turn.items)
        self._calls = ToolCalls(run, briefing, services, self._tool_context, self._show_progress)
        self.known_thread = briefing.thread
        """As it was recorded before this turn."""
        self._text = ""
        self._cut = False
        self._over: OverBudget | None = None
        """Why it ended before its end, where no more of an allowance was left."""
        self._files: list[File] = []
        self.thread = briefing.thread
        self.last: RoundOutput | None = None
        """The round that called no tool: it is kept with the answer."""
        self._growing, self._cleaning = markdown.GrowingMarkdown(), text.GrowingText()
        self.visible_text = ""

    async def answer(self) -> Answer:
        """Raises a ModelError, OverBudget, PostRemoved, Superseded or NotStored."""
        try:
            return await self._answer()
        finally:
            if self._briefing.paying:
                self._briefing.paying.close()

    async def _answer(self) -> Answer:
        self._restore_progress()
        number = 1 + sum(round_.complete for round_ in self._run.turn.rounds)
        if number > 1 and not self._open_calls() and self._items[-1].kind != "output":
            return await self._build_answer()
        while True:
            if calls := self._open_calls():
                await self._run_calls(calls)
            if self._waiting_proposals():
                return await self._build_answer()
            if number > MAX_ROUNDS:
                raise TooManyRounds(rounds=MAX_ROUNDS)
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
        """Whether another system may still finish what was called here, though nobody waits."""
        return self._calls.may_finish_elsewhere

    @property
    def provenance(self) -> tuple[bool, markdown.Trust]:
        """Whether something from outside is in the thread by now, and where links may lead then."""
        outside = self._briefing.has_outside_text or any(
            item.kind == "output" for item in self._items
        )
        return outside, self._briefing.trust

    @property
    def _trust(self) -> markdown.Trust | None:
        outside, trust = self.provenance
        return trust if outside else None

    @property
    def _model_name(self) -> str:
        return self._briefing.model or self._model.name

    def _waiting_proposals(self) -> set[str]:
        """The proposals of this turn that wait for a person."""
        return {o.proposal for o in self._calls.outcomes.values() if o.status == "proposed"}

    async def cards(self) -> tuple[Card, ...]:
        """What this turn proposed, as it stands now, in the order of its calls."""
        ids = [outcome.proposal for outcome in self._outcomes_in_order() if outcome.proposal]
        return tuple(await self._services.changes.cards(ids, LANGUAGE.get())) if ids else ()

    async def _build_answer(self) -> Answer:
        """Where something waits for a person, its cards are the answer, not the model's words."""
        locale = LANGUAGE.get()
        cards, files = await self.cards(), tuple(self._files)
        waiting = [card for card in cards if card.id in self._waiting_proposals()]
        used_up = [f"_{self._calls.used_up}_"] if self._calls.used_up else []
        if waiting:
            told = "\n\n".join(
                [self._services.changes.describe_proposals(waiting, locale), *used_up]
            )
            return Answer(text=told, cards=cards, files=files)
        said = self._text
        paying = self._briefing.paying
        short = CUT_BY_ALLOWANCE_NOTE if paying and paying.is_lowered else CUT_NOTE
        cut = [f"_{say(short)}_"] if self._cut else []
        if self._over is not None:
            cut = [f"_{say(ENDED_BY_ALLOWANCE_NOTE, why=self._over.words(locale))}_"]
        told = "\n\n".join([said, *cut, *used_up, *self._source_lines()]) if said or used_up else ""
        return Answer(text=told, cards=cards, files=files)

    def _source_lines(self) -> list[str]:
        """Where figures are from, as the tools tell it, in the order of their calls."""
        return list(
            dict.fromkeys(line for one in self._outcomes_in_order() for line in one.sources)
        )

    @property
    def own_links(self) -> frozenset[str]:
        """Where the lines lead that code wrote under the answer: each ends in its link."""
        found = (_OWN_LINK.search(line) for line in self._source_lines())
        return frozenset(link[1] for link in found if link)

    def _outcomes_in_order(self) -> list[Outcome]:
        """What came of this turn's calls, in their order."""
        called = [
            self._calls.outcomes.get(item.call_id) for item in self._items if item.kind == "call"
        ]
        return [outcome for outcome in called if outcome]

    def _restore_progress(self) -> None:
        """What a former attempt left: the text already said, the files already made."""
        for item in self._items:
            if item.role == "assistant":
                self._append_text(item.text)
            elif item.kind == "output":
                self._files.extend(item.files)
        self.visible_text = self._text

    def _open_calls(self) -> list[Item]:
        ended = {item.call_id for item in self._items if item.kind == "output"}
        return [i for i in self._items if i.kind == "call" and i.call_id not in ended]

    async def _ask_model(self, number: int) -> None:
        paying, question = self._briefing.paying, self._build_request(number)
        name = self._model_name
        provider = "ponte" if self._model.level == "demo" else "openai"
        if paying:
            await paying.begin(number, asked=bool(question.response))
        try:
            with (
                tracing.model_call(name, provider, number) as span,
                metrics.model_seconds.labels(name).time(),
            ):
                completed = await self._stream_round(number, question, span)
                span.note_usage(completed.usage)
        except ModelError as error:
            metrics.model_rounds.labels(error.code).inc()
            if paying:
                await paying.give_back()
            raise
        if paying:
            paying.record_usage(completed.usage)
        self.thread = completed.thread or self.thread
        self._cut = completed.is_truncated
        items = completed.items
        said = RoundOutput(number, tuple(items), completed.usage, name)
        calls = [item for item in items if item.kind == "call"]
        if calls:
            started = self._calls.start(calls[0]) if len(calls) == 1 else None
            try:
                await until_stored(
                    lambda: self._journal.record_round(self._run.turn, said, started)
                )
            except Unstorable:
                self.last = replace(said, items=())  # it was paid for all the same
                raise
        else:
            self.last = said
        metrics.count_round(completed.usage, name)
        self._items.extend(items)
        for item in items:
            if item.role == "assistant":
                self._append_text(item.text)
        self.visible_text = self._text

    async def _stream_round(
        self, number: int, question: RoundRequest, span: tracing.TraceSpan
    ) -> RoundCompleted:
        """A conversation's id is listed before anything is said in it. Whose it is, and a
        response's id, are written beside the stream, and kept before any of its text shows or a
        tool runs: else `forget` would miss them."""
        journal, turn = self._journal, self._run.turn
        asked_at, spoke = time.perf_counter(), False
        beside: list[asyncio.Task[None]] = []

        async def wait_for_writes() -> None:
            while beside:
                await asyncio.shield(beside[0])
                beside.pop(0)

        async def began(response: str) -> None:
            await journal.record_response(turn, number, response)

        def begin(write: Coroutine[Any, Any, None]) -> None:
            beside.append(asyncio.create_task(write))

        try:
            async with aclosing(self._model.ask(question)) as events:
                async for event in events:
                    match event:
                        case ResponseStarted(response):
                            self.visible_text = self._text
                            begin(until_stored(partial(began, response)))
                        case TextDelta(piece):
                            if not spoke:
                                spoke, waited = True, time.perf_counter() - asked_at
                                metrics.first_token_seconds.labels(self._model_name).observe(waited)
                                span.note("gen_ai.response.time_to_first_chunk", waited)
                            await wait_for_writes()
                            self.visible_text += piece
                            await self._show_progress()
                        case RemoteStored(remote, thread, listed):
                            begin(journal.record_remote(self.thread.id, remote))
                            self.thread = thread or self.thread
                            if not listed:
                                await wait_for_writes()
                            begin(self._store_thread())
                        case RoundCompleted():
                            await wait_for_writes()
                            return event
            raise ModelDown
        finally:
            await asyncio.gather(*beside, return_exceptions=True)

    async def _store_thread(self) -> None:
        """Which conversation goes on; without the record a crash would only begin another one."""
        try:
            await self._services.threads.put(self.thread)
        except NotStored as error:
            log.warning("thread not remembered", why=str(error))

    def _build_request(self, number: int) -> RoundRequest:
        run, briefing, heard = self._run, self._briefing, self._first_unsent_index()
        began = {round_.number: round_.response for round_ in run.turn.rounds}
        return RoundRequest(
            thread=self.thread,
            turn=run.turn.id,
            number=number,
            input=tuple(self._items[heard:]),
            history=lambda: self._load_history(heard),
            instructions=briefing.instructions,
            preface=briefing.preface,
            asker=run.message.author,
            tools=tuple(tool.spec for tool in briefing.tools),
            response=began.get(number, ""),
            locale=LANGUAGE.get(),
            seq=run.turn.seq,
            previous_seq=briefing.since,
            model=briefing.model,
            effort=briefing.effort,
            payment=briefing.paying,
        )

    def _first_unsent_index(self) -> int:
        """Where the items begin that the model has not heard: after the last that it said."""
        spoken = (n for n, item in enumerate(self._items, 1) if item.kind in ("call", "opaque")
                  or item.role == "assistant")  # fmt: skip
        return max(spoken, default=0)

    async def _load_history(self, heard: int) -> Sequence[Item]:
        if not self._briefing.since:
            return self._items[:heard]
        entries = await self._journal.transcript(self.thread.id, before=self._run.turn.seq)
        return [entry.item for entry in entries] + self._items[:heard]

    def _append_text(self, words: str) -> None:
        self._text = f"{self._text}\n\n{words}" if self._text and words else self._text + words

    async def _show_progress(self, doing: str = "") -> None:
        trust = self._trust

        def readable(said: str) -> str:
            cleaned = self._cleaning.clean(said)
            return self._growing.render(cleaned, trust) if trust else cleaned

        shown = await text.run_off_loop(readable, self.visible_text)
        await self._run.reply.show(Progress(text=shown, doing=doing, trust=trust))

    async def _run_calls(self, calls: Sequence[Item]) -> None:
        """The calls of one round; in the transcript their outcomes keep the calls' order."""
        for call, outcome in zip(calls, await self._calls.run(calls), strict=True):
            self._items.append(
                Item(kind="output", call_id=call.call_id, text=outcome.text, files=outcome.files)
            )
            self._files.extend(outcome.files)

    def _tool_context(self, call: ToolCall) -> ToolContext:
        turn = self._run.turn
        ctx = self._tool_contexts.make_context(
            turn, self.thread, call, LANGUAGE.get(), self._show_progress
        )
        ctx = replace(ctx, record_remote=self._record_remote)
        return replace(ctx, propose=lambda draft: self._services.changes.propose(ctx, draft))

    async def _record_remote(self, remote: Remote) -> None:
        await self._journal.record_remote(self.thread.id, remote)
        if remote.kind == "container":
            self.thread = replace(self.thread, container=remote.id)
            await self._store_thread()
