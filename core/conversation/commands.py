"""What a typed or clicked command does, also a quick command or a block of Python.

Commands never reach the model: each checks the rights, and before it costs anything the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from core.changes import cards
from core.changes.service import MAX_LISTED_CHANGES
from core.commands import grammar, quick_commands
from core.commands.grammar import TypedCommand
from core.commands.quick_commands import QuickCommandResults, check_inputs
from core.conversation.context import Show, ToolContexts, TurnFiles
from core.conversation.services import TurnServices
from core.conversation.why import Why
from core.domain.changes import DecisionRequest
from core.domain.errors import NotAllowed, NotFound, PonteError
from core.domain.messages import Address, Answer, CardAction, Progress, Usage
from core.domain.records import (
    Action,
    ForgetResult,
    Outcome,
    ToolCall,
    ToolContext,
    Turn,
    UsageTotal,
)
from core.observability import metrics, tracing
from core.ports.conversations import StatusBoard
from core.ports.rights import Audit, Policy
from core.ports.tools import QuickCommands
from core.rights.allowances import describe_estimates, describe_remaining
from core.rights.policy import place_names
from core.rights.usage import PaidRun
from core.text import text
from core.text.i18n import LANGUAGE, format_money, plural, say
from core.text.markdown import escape_markdown
from core.tools.code.source import (
    RUN_PYTHON_TOOL,
    RUNNING_PYTHON,
    CodeRun,
    CodeRunner,
    format_for_person,
)
from core.tools.tool import compact_json

T = TypeVar("T")
HELP = """\
Ask me anything in your own words. I also know these words, alone in a message:
- `help`: this; `status`: what is connected; `usage`: what was used today
- `new`: a fresh conversation (the old one stays readable)
- `forget`: erase this conversation everywhere (in shared places: `forget yes`)
- `stop`: stop what I am doing
- `changes`: what was changed; `approve ID`, `deny ID`, `undo ID`: decide on it
- `approvals`: what waits for you to decide on it
- `quick-command SLUG …`: run a quick command
- `why ID`: which rule decides on a change; it takes the name of a tool or a right, too"""
HEALTH_WORDS = {"on": "on", "off": "off", "failing": "FAILING"}
QUICK_COMMAND_TOOL = "quick-command"
"""One that a person typed, among the tools that are called."""
_ACTIONS: dict[str, CardAction] = {"approve": "approve", "deny": "deny", "undo": "undo"}
_RESULT_THERE = "Its result is for the conversation that it was proposed in: ask for it there."
_NO_SANDBOX = (
    "I cannot run code here: no sandbox is ready. `status` says why, and what the operator can "
    "do about it."
)
_CODE_LOST = (
    "I was interrupted while this ran, so it is not known what it did. It is not run again by "
    "itself; send it once more if it is needed."
)
_NO_PRICE = (
    "No price of the model is known, so its money is not counted; the operator can write it into "
    "ponte.toml, under prices."
)
_RUNNING = "is running the quick command…"
_QUICK_LOST = (
    "I was interrupted while this ran, so it is not known whether it came to its end. "
    "It is not run again by itself; look first, then ask again if it is needed."
)
_LEFT = "_Stopped: I no longer wait for `{slug}`. StackSpot has begun it, and may still finish it._"
_PERHAPS = "_Stopped, while `{slug}` was being begun: StackSpot may run it all the same._"


class QuickCommandFailed(PonteError):
    """`words` are the system's own; they are not translated."""

    code = "tool"
    sentence = "The quick command `{slug}` failed: {words}"


@dataclass(frozen=True, slots=True)
class CodeCommand:
    """Runs Python that a person typed. `runner` is None where no backend is set up."""

    services: TurnServices
    tool_contexts: ToolContexts
    runner: CodeRunner | None = None

    async def run(self, turn: Turn, code: str, show: Show) -> Answer:
        """Raises NotAllowed, NotFound, OverBudget, ToolError."""
        rule = await _check_right(self.services.policy, turn, "code")
        call = (
            turn.calls[0]
            if turn.calls
            else ToolCall(RUN_PYTHON_TOOL, RUN_PYTHON_TOOL, compact_json({"code": code}), "code")
        )
        outcome = call.outcome
        if outcome is None:
            if turn.calls and not call.handle:
                _audit_run(self.services.audit, turn, RUN_PYTHON_TOOL, rule, "unknown")
                return Answer(say(_CODE_LOST), status="failed", code="unknown")
            if self.runner is None or not await self.runner.backend.is_available():
                raise NotFound(_NO_SANDBOX)
            await self.services.budget.reserve(turn)
            await self.services.journal.record_call_start(turn, call)
            if costs := getattr(self.runner.backend, "costs", None):
                await self.services.budget.reserve_run(turn, call.call_id, costs(call.arguments))
            ctx = await self.tool_contexts.make_command_context(turn, call, show)
            await ctx.show_progress(say(RUNNING_PYTHON))
            note = partial(_audit_run, self.services.audit, turn, RUN_PYTHON_TOOL, rule)
            run = await _run_and_audit(
                RUN_PYTHON_TOOL, note, self.runner.run(ctx, code), _outcome_word
            )
            told = await text.run_off_loop(
                lambda _: format_for_person(run.ran, run.files, ctx.locale), run.ran.printed
            )
            failed = run.ran.error or run.ran.fault
            files = (*run.files, run.code) if run.ran.changed_code and run.code else run.files
            outcome = Outcome("error" if failed else "ok", told, files, usage=run.ran.usage)
            await self.services.journal.record_call_end(turn, call.call_id, outcome)
        return Answer(outcome.text, files=outcome.files)

    async def forget(self, thread: str) -> None:
        """Drop the state and the files of a thread, by its id."""
        if self.runner:
            await self.runner.backend.forget(thread)


@dataclass(frozen=True, slots=True)
class QuickCommandHandler:
    """Runs a quick command that a person typed, in the system that knows it."""

    services: TurnServices
    known: QuickCommands
    tool_contexts: ToolContexts
    results: QuickCommandResults = field(default_factory=QuickCommandResults)

    async def run(self, turn: Turn, command: TypedCommand, show: Show) -> Answer:
        """Raises NotAllowed, UnknownCommand, BadInput, OverBudget, QuickCommandFailed.

        One that is marked as changing data needs that right too.
        """
        message = turn.message
        found = await self.known.find(message.author, message.address, command.slug)
        needed: tuple[Action, ...] = ("spend", "propose") if found.effect == "write" else ("spend",)
        rule = await _check_right(self.services.policy, turn, *needed)
        note = partial(_audit_run, self.services.audit, turn, f"command:{found.slug}", rule)
        call = ToolCall(QUICK_COMMAND_TOOL, found.slug, grammar.render_command(command), "spend")
        if turn.calls:
            call = turn.calls[0]
            if not call.handle:
                note("unknown")
                return Answer(say(_QUICK_LOST), status="failed", code="unknown")
        ctx = await self.tool_contexts.make_command_context(turn, call, show)
        inputs = command.input
        if not ctx.handle and ctx.files is not None:  # with a handle, it has begun with its own
            attached = await self.tool_contexts.fetch_attachments(message)
            whole = await quick_commands.collect_inputs(
                found, inputs, message, attached, ctx.files.read
            )
            inputs = check_inputs(found, whole)
        await self.services.budget.reserve(turn)
        await self.services.journal.record_call_start(turn, call)
        paid = PaidRun("quick_commands", found.slug)
        await self.services.budget.reserve_run(turn, call.call_id, paid)
        await ctx.show_progress(say(_RUNNING))
        begun = asyncio.Event()
        if ctx.handle:
            begun.set()
        try:
            run = self.known.run(_set_when_begun(ctx, begun), found.slug, inputs)
            outcome = await _run_and_audit(
                QUICK_COMMAND_TOOL, note, run, lambda outcome: outcome.status
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not ctx.is_stopped() or task is None:
                raise
            task.uncancel()
            left = _LEFT if begun.is_set() else _PERHAPS
            return Answer(say(left, slug=found.slug), status="stopped")
        except PonteError:
            if not begun.is_set():
                await self.services.budget.settle_run(turn.seq, call.call_id, paid, begun=False)
            raise
        await self.services.budget.settle_run(turn.seq, call.call_id, paid, begun=True)
        if outcome.status != "ok":
            raise QuickCommandFailed(slug=found.slug, words=outcome.text)
        answer = Answer("", files=outcome.files)
        return await self.add_result(turn, answer, outcome.text, found.slug)

    async def add_result(self, turn: Turn, answer: Answer, result: str, name: str) -> Answer:
        """`answer` and under it what a command gave; a long result is a file called `name`."""
        keep = TurnFiles(turn, turn.thread, self.tool_contexts).save
        shown = await self.results.render_result(result, name, LANGUAGE.get(), keep)
        text = f"{answer.text}\n\n{shown.text}".strip()
        return replace(answer, text=text, files=(*answer.files, *shown.files))


async def _tell_nobody() -> None:
    return None


@dataclass(frozen=True, slots=True)
class CommandService:
    services: TurnServices
    board: StatusBoard
    quick: QuickCommandHandler
    code: CodeCommand
    why: Why
    forgotten: Callable[[], Awaitable[None]] = _tell_nobody
    """Called after each `forget`: what servers hold can be erased now."""
    kept_days: Callable[[Address], int] = lambda address: 0
    """After how many days without use a place's conversations are forgotten; 0 is never."""
    remains: Callable[[], str] = str
    """Where what was forgotten may still stand, in words."""

    async def answer(self, turn: Turn, command: TypedCommand, show: Show) -> Answer:
        """Raises what the manager words: NotAllowed, NotFound, BadInput and so on."""
        match command.name:
            case "quick-command":
                return await self.quick.run(turn, command, show)
            case grammar.RUN_PYTHON:
                return await self.code.run(turn, command.code, show)
            case "approve" | "deny" | "undo":
                return await self._decide(turn, command, show)
            case "help":
                return Answer(say(HELP))
            case "status":
                return Answer(await self._describe_status(turn))
            case "usage" if command.slug:
                return Answer(await self._describe_channel_usage(turn), private=True)
            case "usage":
                return Answer(await self._describe_usage(turn))
            case "approvals":
                return await self._list_approvals(turn)
            case "why":
                return Answer(await self.why.answer(turn, command.id), private=True)
            case "new":
                return Answer(await self._start_new_thread(turn))
            case "forget":
                return Answer(await self._forget_conversation(turn, command))
            case "stop":
                return Answer(await self._stop_turn(turn))
            case _:
                return Answer(await self._list_changes(turn))

    async def _describe_status(self, turn: Turn) -> str:
        lines = [
            f"- **{health.name}**: {say(HEALTH_WORDS[health.state])}"
            + (f" – {health.words}" if health.words else "")
            for health in await self.board.health()
        ]
        if days := self.kept_days(turn.message.address):
            kept = plural(
                "What nobody here uses for {count} day is forgotten.",
                "What nobody here uses for {count} days is forgotten.",
                days,
            )
            lines += ["", kept]
        return "\n".join([say("What is connected:"), *lines])

    async def _describe_usage(self, turn: Turn) -> str:
        """Their own, and what is left of each allowance that applies; all of it for an admin."""
        message, budget = turn.message, self.services.budget
        own = await budget.usage_today(message.author.key)
        lines = [say("Used today:"), "- " + say("you: {what}", what=_describe_spending(own))]
        all_ = own
        if (await self.services.policy.may(message.author, message.address, "administer")).allowed:
            all_ = await budget.usage_today()
            lines.append("- " + say("everybody: {what}", what=_describe_spending(all_)))
        zone = budget.zone_of(message)
        left = [
            "- " + describe_remaining(count, unit, zone, budget.zone)
            for count in await budget.list_counts(message.author, message.address)
            for unit, _ in count.scope.allowance.limits()
        ]
        lines += ["", say("What is left:"), *left] if left else []
        if all_.usage.cost is None and all_.usage.input:
            lines += ["", say(_NO_PRICE)]
        if all_.estimates:
            lines += ["", describe_estimates(all_.estimates)]
        return "\n".join(lines)

    async def _describe_channel_usage(self, turn: Turn) -> str:
        """Today's there, by person; for admins."""
        await _check_right(self.services.policy, turn, "administer")
        place = place_names(turn.message.address)[-1]
        spent = await self.services.budget.usage_today(place=place)
        lines = [say("Used today in this channel: {what}", what=_describe_spending(spent))]
        for row in await self.services.budget.report("person", place=place):
            tokens = Usage(row["input"], output=row["output"], cost=row["cost"])
            what = _describe_spending(UsageTotal(row["turns"], tokens))
            lines.append(f"- `{row['name']}`: {what}")
        if spent.estimates:
            lines += ["", describe_estimates(spent.estimates)]
        return "\n".join(lines)

    async def _start_new_thread(self, turn: Turn) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.services.journal.owner(conversation))
        await self.services.threads.put(await self.services.journal.new_thread(conversation))
        return say("A fresh conversation: I start without what was said before.")

    async def _forget_conversation(self, turn: Turn, command: TypedCommand) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.services.journal.owner(conversation))
        if turn.message.address.shared and not command.confirmed:
            return say(
                "This erases the conversation for everyone here. If you mean it: `forget yes`."
            )
        forgot = await self.forget(conversation)
        self.services.changes.audit.note("forgotten", turn.message.author, turn.message.address)
        told = [
            plural(
                "Forgotten: {count} message of this conversation.",
                "Forgotten: {count} messages of this conversation.",
                forgot,
            )
        ]
        remains = self.remains()
        return " ".join([*told, *([say(remains)] if remains else [])])

    async def forget(self, conversation: str) -> int:
        """Erase a conversation. Return how many messages it had."""
        return await self._clean_up(conversation, await self.services.journal.forget(conversation))

    async def forget_idle(self, conversation: str, since: float) -> int:
        """Erase a conversation unless somebody has used it since then (seconds since the epoch).
        Return how many messages it had."""
        forgot = await self.services.journal.forget_idle(conversation, since)
        return await self._clean_up(conversation, forgot) if forgot else 0

    async def _clean_up(self, conversation: str, forgot: ForgetResult) -> int:
        for seq in forgot.running:
            await self.services.inbox.cancel(seq)
        for file in forgot.files:
            await self.services.files.discard(file)
        for thread in forgot.threads:
            await self.code.forget(thread)
        await self.services.threads.delete(conversation)
        await self.forgotten()
        return forgot.messages

    async def _stop_turn(self, turn: Turn) -> str:
        conversation = turn.message.address.conversation
        seq = await self.services.inbox.running_turn(conversation)
        if seq is None:
            waiting = await self.services.changes.ledger.list_waiting_runs(conversation)
            seq = next((each for each in waiting if not self.services.inbox.is_stopped(each)), None)
        if seq is None:
            return say("Nothing is running here.")
        await self._check_owner(turn, await self.services.journal.author(seq))
        await self.services.inbox.cancel(seq)
        return say("Stopped.")

    async def _list_changes(self, turn: Turn) -> str:
        message = turn.message
        all = self.services.changes.approval.sees_all(message.author)
        where = "" if all else message.address.conversation
        cards = await self.services.changes.find_latest(where)
        if not cards:
            return say("Nothing was changed here yet.")
        return "\n".join(f"- `{card.id}` {card.title} ({say(card.state)})" for card in cards)

    async def _list_approvals(self, turn: Turn) -> Answer:
        """Where others read along, only what was asked there is told; the rest is counted."""
        person, here = turn.message.author, turn.message.address
        found = await self.services.changes.waiting_for(person, here)
        now = self.services.changes.clock()
        told = [
            one for one in found if not here.shared or one.proposal.address.is_same_channel(here)
        ]
        lines = [
            say(
                "`{id}` {title}: asked for by {name}, expires in {left}.",
                id=change.id, title=escape_markdown(cards.build_title(change, LANGUAGE.get())),
                name=escape_markdown(cards.clip_line(change.proposal.asker.name or "?")),
                left=cards.format_time_left(change.proposal.expires - now),
            )
            for change in told[:MAX_LISTED_CHANGES]
        ]  # fmt: skip
        said = "\n".join(f"- {line}" for line in lines)
        if more := len(found) - len(lines):
            said += "\n" + plural(
                "{count} more waits for you: ask me in a direct message.",
                "{count} more wait for you: ask me in a direct message.",
                more,
            )
        return Answer(said.strip() or say("Nothing waits for you."), private=here.shared)

    async def _decide(self, turn: Turn, command: TypedCommand, show: Show) -> Answer:
        async def doing(words: str) -> None:
            await show(Progress(doing=words))

        message = turn.message
        decision = DecisionRequest(
            command.id, turn.seq, message.author, message.address, LANGUAGE.get(),
            message.clicked, doing,
        )  # fmt: skip
        answer = await self.services.changes.decide(_ACTIONS[command.name], decision)
        result, title = await self.services.changes.result(command.id, turn.seq)
        if not result:
            return answer
        if answer.private:  # decided from where others read along, who may not see it
            return replace(answer, text=f"{answer.text} {say(_RESULT_THERE)}")
        if message.clicked:  # its card is drawn anew where it stands, and this is posted
            answer = replace(answer, cards=())
        return await self.quick.add_result(turn, replace(answer, aloud=True), result, title)

    async def _check_owner(self, turn: Turn, owner: str) -> None:
        """In shared places these belong to the asker or an admin."""
        message = turn.message
        if not message.address.shared or owner in ("", message.author.key):
            return
        if not (
            await self.services.policy.may(message.author, message.address, "administer")
        ).allowed:
            raise NotAllowed(
                "Only the person who asked, or an admin, may do that here.", right="administer"
            )


def _set_when_begun(ctx: ToolContext, begun: asyncio.Event) -> ToolContext:
    """The same context; `begun` is set once the other system has named the run."""

    async def known_as(handle: str) -> None:
        await ctx.record_handle(handle)
        begun.set()

    return replace(ctx, record_handle=known_as)


async def _check_right(policy: Policy, turn: Turn, *actions: Action) -> str:
    """That who asked may do all of these there, and which rule allows the first of them. Raises
    NotAllowed."""
    message = turn.message
    verdicts = [await policy.may(message.author, message.address, action) for action in actions]
    for verdict in verdicts:
        verdict.raise_if_denied()
    return verdicts[0].rule


def _audit_run(audit: Audit, turn: Turn, name: str, rule: str, outcome: str) -> None:
    message = turn.message
    audit.note("run", message.author, message.address, tool=name, rule=rule, outcome=outcome)


async def _run_and_audit(
    name: str, note: Callable[[str], None], run: Awaitable[T], how: Callable[[T], str]
) -> T:
    """What the run gives; `note` is told how it ended. It is counted as a call of that tool."""
    outcome = "interrupted"
    with tracing.tool_call(name) as span, metrics.tool_seconds.labels(name).time():
        try:
            ended = await run
            outcome = how(ended)
            return ended
        except PonteError:
            outcome = "error"
            raise
        finally:
            note(outcome)
            metrics.tool_calls.labels(name, outcome).inc()
            span.note("ponte.tool.outcome", outcome)
            if outcome == "error":
                span.fail(outcome)


def _outcome_word(run: CodeRun) -> str:
    return "error" if run.ran.error or run.ran.fault else "ok"


def _describe_spending(spent: UsageTotal) -> str:
    words = [plural("{count} turn", "{count} turns", spent.turns)]
    words.append(plural("{count} token", "{count} tokens", spent.usage.input + spent.usage.output))
    cost = spent.usage.cost
    return ", ".join(words if cost is None else [*words, format_money(cost)])
