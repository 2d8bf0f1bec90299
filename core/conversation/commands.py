"""What a typed or clicked command does, also a quick command or a block of Python.

Commands never reach the model: each checks the rights, and before it costs anything the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core import quick_commands, text
from core.changes.model import Decision
from core.changes.service import Changes
from core.conversation import grammar
from core.conversation.context import Show, ToolContexts, TurnFiles
from core.conversation.grammar import Command
from core.errors import NotAllowed, NotFound, PonteError
from core.i18n import LANGUAGE, say
from core.messages import Answer, CardAction, Progress
from core.ports import Budget, Files, Inbox, Journal, Policy, QuickCommands, StatusBoard, ThreadMap
from core.quick_commands import Results, check_inputs
from core.records import Action, Call, Outcome, Spent, ToolContext, Turn
from core.tools.code.source import DOING, NAME, Runner, for_person
from core.tools.tool import compact

HELP = """\
Ask me anything in your own words. I also know these words, alone in a message:
- `help`: this; `status`: what is connected; `usage`: what was used today
- `new`: a fresh conversation (the old one stays readable)
- `forget`: erase this conversation everywhere (in shared places: `forget yes`)
- `stop`: stop what I am doing
- `changes`: what was changed; `approve ID`, `deny ID`, `undo ID`: decide on it
- `quick-command SLUG …`: run a quick command"""
STATES = {"on": "on", "off": "off", "failing": "FAILING"}
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

    journal: Journal
    policy: Policy
    budget: Budget
    tool_contexts: ToolContexts
    runner: Runner | None = None

    async def run(self, turn: Turn, code: str, show: Show) -> Answer:
        """Raises NotAllowed, NotFound, OverBudget, ToolError."""
        await _check_right(self.policy, turn, "code")
        call = turn.calls[0] if turn.calls else Call(NAME, NAME, compact({"code": code}), "code")
        outcome = call.outcome
        if outcome is None:
            if turn.calls and not call.handle:
                return Answer(say(_CODE_LOST), status="failed", code="unknown")
            if self.runner is None or not await self.runner.backend.offered():
                raise NotFound(_NO_SANDBOX)
            await self.budget.reserve(turn)
            await self.journal.call_started(turn, call)
            ctx = await self.tool_contexts.for_command(turn, call, show)
            await ctx.doing(say(DOING))
            run = await self.runner.run(ctx, code)
            told = await text.aside(
                lambda _: for_person(run.ran, run.files, ctx.locale), run.ran.printed
            )
            failed = run.ran.error or run.ran.fault
            files = (*run.files, run.code) if run.ran.changed and run.code else run.files
            outcome = Outcome("error" if failed else "ok", told, files, usage=run.ran.usage)
            await self.journal.call_ended(turn, call.call_id, outcome)
        return Answer(outcome.text, files=outcome.files)

    async def forget(self, thread: str) -> None:
        """Drop the state and the files of a thread, by its id."""
        if self.runner:
            await self.runner.backend.forget(thread)


@dataclass(frozen=True, slots=True)
class QuickCommandHandler:
    """Runs a quick command that a person typed, in the system that knows it."""

    journal: Journal
    policy: Policy
    budget: Budget
    known: QuickCommands
    tool_contexts: ToolContexts
    results: Results = field(default_factory=Results)

    async def run(self, turn: Turn, command: Command, show: Show) -> Answer:
        """Raises NotAllowed, UnknownCommand, BadInput, OverBudget, QuickCommandFailed.

        One that is marked as changing data needs that right too.
        """
        message = turn.message
        found = await self.known.find(message.author, message.address, command.slug)
        needed: tuple[Action, ...] = ("spend", "write") if found.effect == "write" else ("spend",)
        await _check_right(self.policy, turn, *needed)
        call = Call("quick-command", found.slug, grammar.typed(command), "spend")
        if turn.calls:
            call = turn.calls[0]
            if not call.handle:
                return Answer(say(_QUICK_LOST), status="failed", code="unknown")
        ctx = await self.tool_contexts.for_command(turn, call, show)
        inputs = command.input
        if not ctx.handle and ctx.files is not None:  # with a handle, it has begun with its own
            attached = await self.tool_contexts.attached(message)
            whole = await quick_commands.given(found, inputs, message, attached, ctx.files.read)
            inputs = check_inputs(found, whole)
        await self.budget.reserve(turn)
        await self.journal.call_started(turn, call)
        await ctx.doing(say(_RUNNING))
        begun = asyncio.Event()
        if ctx.handle:
            begun.set()
        try:
            outcome = await self.known.run(_noting(ctx, begun), found.slug, inputs)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not ctx.stopped() or task is None:
                raise
            task.uncancel()
            left = _LEFT if begun.is_set() else _PERHAPS
            return Answer(say(left, slug=found.slug), status="stopped")
        if outcome.status != "ok":
            raise QuickCommandFailed(slug=found.slug, words=outcome.text)
        answer = Answer("", files=outcome.files)
        return await self.with_result(turn, answer, outcome.text, found.slug)

    async def with_result(self, turn: Turn, answer: Answer, result: str, name: str) -> Answer:
        """`answer` and under it what a command gave; a long result is a file called `name`."""
        keep = TurnFiles(turn, turn.thread, self.tool_contexts).keep
        shown = await self.results.shown(result, name, LANGUAGE.get(), keep)
        text = f"{answer.text}\n\n{shown.text}".strip()
        return replace(answer, text=text, files=(*answer.files, *shown.files))


@dataclass(frozen=True, slots=True)
class Commands:
    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    policy: Policy
    budget: Budget
    board: StatusBoard
    changes: Changes
    quick: QuickCommandHandler
    code: CodeCommand
    forgotten: Callable[[], None] = lambda: None
    """Called after each `forget`: what servers hold can be erased now."""

    async def answer(self, turn: Turn, command: Command, show: Show) -> Answer:
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
                return Answer(await self._status())
            case "usage":
                return Answer(await self._usage(turn))
            case "new":
                return Answer(await self._new(turn))
            case "forget":
                return Answer(await self._forget(turn, command))
            case "stop":
                return Answer(await self._stop(turn))
            case _:
                return Answer(await self._changes(turn))

    async def _status(self) -> str:
        lines = [
            f"- **{health.name}**: {say(STATES[health.state])}"
            + (f" – {health.words}" if health.words else "")
            for health in await self.board.health()
        ]
        return "\n".join([say("What is connected:"), *lines])

    async def _usage(self, turn: Turn) -> str:
        own = await self.budget.usage(turn.message.author.key)
        everybody = await self.budget.usage()
        lines = [
            say("Used today:"),
            "- " + say("you: {what}", what=_spent(own)),
            "- " + say("everybody: {what}", what=_spent(everybody)),
        ]
        return "\n".join(lines)

    async def _new(self, turn: Turn) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.journal.owner(conversation))
        await self.threads.put(await self.journal.new_thread(conversation))
        return say("A fresh conversation: I start without what was said before.")

    async def _forget(self, turn: Turn, command: Command) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.journal.owner(conversation))
        if turn.message.address.shared and not command.confirmed:
            return say(
                "This erases the conversation for everyone here. If you mean it: `forget yes`."
            )
        forgot = await self.forget(conversation)
        return say("Forgotten: {count} messages of this conversation.", count=forgot)

    async def forget(self, conversation: str) -> int:
        """Erase a conversation; returns how many messages it had."""
        forgot = await self.journal.forget(conversation)
        for seq in forgot.running:
            await self.inbox.cancel(seq)
        for file in forgot.files:
            await self.files.discard(file)
        for thread in forgot.threads:
            await self.code.forget(thread)
        await self.threads.delete(conversation)
        self.forgotten()
        return forgot.messages

    async def _stop(self, turn: Turn) -> str:
        conversation = turn.message.address.conversation
        seq = self.inbox.running(conversation) or self.changes.applying.waiting(conversation)
        if seq is None:
            return say("Nothing is running here.")
        await self._check_owner(turn, await self.journal.author(seq))
        await self.inbox.cancel(seq)
        return say("Stopped.")

    async def _changes(self, turn: Turn) -> str:
        address = turn.message.address
        where = "" if self.changes.approval.sees_all(address) else address.conversation
        cards = await self.changes.latest(where)
        if not cards:
            return say("Nothing was changed here yet.")
        return "\n".join(f"- `{card.id}` {card.title} ({card.state})" for card in cards)

    async def _decide(self, turn: Turn, command: Command, show: Show) -> Answer:
        async def doing(words: str) -> None:
            await show(Progress(doing=words))

        message = turn.message
        decision = Decision(
            command.id, turn.seq, message.author, message.address, LANGUAGE.get(),
            message.clicked, doing,
        )  # fmt: skip
        answer = await self.changes.decide(_ACTIONS[command.name], decision)
        result, title = await self.changes.result(command.id, turn.seq)
        if not result:
            return answer
        if answer.private:  # decided from where others read along, who may not see it
            return replace(answer, text=f"{answer.text} {say(_RESULT_THERE)}")
        if message.clicked:  # its card is drawn anew where it stands, and this is posted
            answer = replace(answer, cards=())
        return await self.quick.with_result(turn, replace(answer, aloud=True), result, title)

    async def _check_owner(self, turn: Turn, owner: str) -> None:
        """In shared places these belong to the asker or an admin."""
        message = turn.message
        if not message.address.shared or owner in ("", message.author.key):
            return
        if not (await self.policy.may(message.author, message.address, "admin")).allowed:
            raise NotAllowed("Only the person who asked, or an admin, may do that here.")


def _noting(ctx: ToolContext, begun: asyncio.Event) -> ToolContext:
    """The same context; `begun` is set once the other system has named the run."""

    async def known_as(handle: str) -> None:
        await ctx.known_as(handle)
        begun.set()

    return replace(ctx, known_as=known_as)


async def _check_right(policy: Policy, turn: Turn, *actions: Action) -> None:
    """That who asked may do all of these there. Raises NotAllowed."""
    for action in actions:
        verdict = await policy.may(turn.message.author, turn.message.address, action)
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)


def _spent(spent: Spent) -> str:
    words = say(
        "{turns} turns, {tokens} tokens",
        turns=spent.turns,
        tokens=spent.usage.input + spent.usage.output,
    )
    cost = spent.usage.cost
    return words if cost is None else f"{words}, ${cost:.4f}"
