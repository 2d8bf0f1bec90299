"""What a typed or clicked command does. Commands never reach the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from core.changes import Changes
from core.code_desk import CodeDesk
from core.commands import RUN_PYTHON, Command
from core.errors import NotAllowed
from core.messages import Answer, CardAction, Progress
from core.ports import Budget, Files, Inbox, Journal, Policy, StatusBoard, ThreadMap
from core.proposal import Decision
from core.quick_desk import QuickDesk
from core.records import Spent, Turn
from core.scenes import Show
from core.words import say

Act = Callable[[Turn, Command, str], Awaitable[str | Answer]]

HELP = """\
Ask me anything in your own words. I also know these words, alone in a message:
- `help`: this; `status`: what is connected; `usage`: what was used today
- `new`: a fresh conversation (the old one stays readable)
- `forget`: erase this conversation everywhere (in shared places: `forget yes`)
- `stop`: stop what I am doing
- `changes`: what was changed; `approve ID`, `deny ID`, `undo ID`: decide on it
- `quick-command SLUG …`: run a quick command"""
_ACTIONS: dict[str, CardAction] = {"approve": "approve", "deny": "deny", "undo": "undo"}
_RESULT_THERE = "Its result is for the conversation that it was proposed in: ask for it there."
STATES = {"on": "on", "off": "off", "failing": "FAILING"}


@dataclass(frozen=True, slots=True)
class Desk:
    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    policy: Policy
    budget: Budget
    board: StatusBoard
    changes: Changes
    quick: QuickDesk
    code: CodeDesk
    forgotten: Callable[[], None] = lambda: None
    """Called after each `forget`: what servers hold can be erased now."""

    async def answer(self, turn: Turn, command: Command, locale: str, show: Show) -> Answer:
        """Raises what the manager words: NotAllowed, NotFound, BadInput and so on."""
        if command.name == "quick-command":
            return await self.quick.run(turn, command, locale, show)
        if command.name == RUN_PYTHON:
            return await self.code.run(turn, command.code, locale, show)
        if command.name in _ACTIONS:
            return await self._decide(turn, command, locale, show)
        acts: dict[str, Act] = {
            "help": self._help,
            "status": self._status,
            "usage": self._usage,
            "new": self._new,
            "forget": self._forget,
            "stop": self._stop,
            "changes": self._changes,
        }
        told = await acts[command.name](turn, command, locale)
        return Answer(told) if isinstance(told, str) else told

    async def _help(self, turn: Turn, command: Command, locale: str) -> str:
        return say(HELP, locale)

    async def _status(self, turn: Turn, command: Command, locale: str) -> str:
        lines = [
            f"- **{health.name}**: {say(STATES[health.state], locale)}"
            + (f" – {health.words}" if health.words else "")
            for health in await self.board.health()
        ]
        return "\n".join([say("What is connected:", locale), *lines])

    async def _usage(self, turn: Turn, command: Command, locale: str) -> str:
        own = await self.budget.usage(turn.message.author.key)
        everybody = await self.budget.usage()
        return "\n".join(
            [
                say("Used today:", locale),
                "- " + say("you: {what}", locale, what=_spent(own, locale)),
                "- " + say("everybody: {what}", locale, what=_spent(everybody, locale)),
            ]
        )

    async def _new(self, turn: Turn, command: Command, locale: str) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.journal.owner(conversation))
        await self.threads.put(await self.journal.new_thread(conversation))
        return say("A fresh conversation: I start without what was said before.", locale)

    async def _forget(self, turn: Turn, command: Command, locale: str) -> str:
        conversation = turn.message.address.conversation
        await self._check_owner(turn, await self.journal.owner(conversation))
        if turn.message.address.shared and not command.confirmed:
            return say(
                "This erases the conversation for everyone here. If you mean it: `forget yes`.",
                locale,
            )
        forgot = await self.forget(conversation)
        return say("Forgotten: {count} messages of this conversation.", locale, count=forgot)

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

    async def _stop(self, turn: Turn, command: Command, locale: str) -> str:
        conversation = turn.message.address.conversation
        seq = self.inbox.running(conversation) or self.changes.applying.waiting(conversation)
        if seq is None:
            return say("Nothing is running here.", locale)
        await self._check_owner(turn, await self.journal.author(seq))
        await self.inbox.cancel(seq)
        return say("Stopped.", locale)

    async def _changes(self, turn: Turn, command: Command, locale: str) -> str:
        address = turn.message.address
        # Whoever sits at the machine's own terminal is its operator, and sees all of them.
        where = "" if address.platform == "terminal" else address.conversation
        cards = await self.changes.latest(where)
        if not cards:
            return say("Nothing was changed here yet.", locale)
        return "\n".join(f"- `{card.id}` {card.title} ({card.state})" for card in cards)

    async def _decide(self, turn: Turn, command: Command, locale: str, show: Show) -> Answer:
        async def doing(words: str) -> None:
            await show(Progress(doing=words))

        message = turn.message
        decision = Decision(
            command.id, turn.seq, message.author, message.address, locale, message.clicked, doing
        )
        answer = await self.changes.decide(_ACTIONS[command.name], decision)
        result, title = await self.changes.result(command.id, turn.seq)
        if not result:
            return answer
        if answer.private:  # decided from where others read along, who may not see it
            return replace(answer, text=f"{answer.text} {say(_RESULT_THERE, locale)}")
        if message.clicked:  # its card is drawn anew where it stands, and this is posted
            answer = replace(answer, cards=())
        answer = replace(answer, aloud=True)
        return await self.quick.with_result(turn, answer, result, title, locale)

    async def _check_owner(self, turn: Turn, owner: str) -> None:
        """In shared places these belong to the asker or an admin."""
        message = turn.message
        if not message.address.shared or owner in ("", message.author.key):
            return
        if not (await self.policy.may(message.author, message.address, "admin")).allowed:
            raise NotAllowed("Only the person who asked, or an admin, may do that here.")


def _spent(spent: Spent, locale: str) -> str:
    words = say("{turns} turns, {tokens} tokens", locale, turns=spent.turns,
                tokens=spent.usage.input + spent.usage.output)  # fmt: skip
    cost = spent.usage.cost
    return words if cost is None else f"{words}, ${cost:.4f}"
