"""The embedded engine: one process, files in one home. Opens the stores and runs the turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

from bot.integrations import RIGHTS
from core import commonmark
from core.changes.apply import Applying
from core.changes.approval import Approval, NamedApprovers, TableRules
from core.changes.audit import AuditLog
from core.changes.ports import Applier
from core.changes.service import Changes
from core.chat.cards import Redraw
from core.conversation.commands import CodeCommand, Commands, QuickCommandHandler
from core.conversation.context import ToolContexts
from core.conversation.manager import ConversationManager, Parts, Profile
from core.conversation.upkeep import Upkeep
from core.messages import Answer, Item, Message, prepare
from core.policy import PlatformRights
from core.ports import Fetch, LookUp, Model, Policy, QuickCommands, Replies, StatusBoard
from core.quick_commands import Results
from core.records import Outcome, Thread
from core.store.changes import Caps, CountingBudget, SqliteLedger, uncapped
from core.store.database import Database
from core.store.files import FolderFiles
from core.store.inbox import SqliteInbox
from core.store.schema import MIGRATIONS
from core.store.thread_map import FileThreadMap
from core.store.threads import give_up_spares
from core.store.turns import SqliteJournal
from core.tools.code.source import Runner
from core.tools.tool import Toolbox


@dataclass(frozen=True, slots=True)
class Choices:
    """What the composition root decided, each behind its port."""

    model: Model
    toolbox: Toolbox
    policy: Policy
    board: StatusBoard
    quick: QuickCommands
    caps: Caps = uncapped
    profile: Profile = field(default_factory=Profile)
    retention_days: int = 0
    code: Runner | None = None
    """What runs the Python that a person types; None: it cannot be run."""
    appliers: Sequence[Applier] = ()
    auto_create_rows: int = 0
    """Creates of up to so many rows need no person's click (`ponte.toml`, [changes])."""
    rules: TableRules = field(default_factory=TableRules)
    platforms: Mapping[str, PlatformRights] = field(default_factory=lambda: RIGHTS)
    is_named: NamedApprovers | None = None
    """How the people whom `rules` name are known."""
    clock: Callable[[], float] = time.time
    """By which proposals expire."""


class Engine:
    """`replies`, `fetch` and `look_up` are by platform; adapters add theirs before `start`."""

    def __init__(
        self, database: Database, threads: FileThreadMap, home: Path, choices: Choices
    ) -> None:
        self._database = database
        self.threads = threads
        self.inbox = SqliteInbox(database)
        self.journal = SqliteJournal(database)
        self.files = FolderFiles(home / "files", database)
        self.budget = CountingBudget(database, choices.caps, ZoneInfo(choices.profile.zone))
        self.replies: dict[str, Replies] = {}
        self.fetch: dict[str, Fetch] = {}
        self.look_up: dict[str, LookUp] = {}
        self.audit = AuditLog(home / "audit.log")
        moved = asyncio.Event()
        self.changes = self._changes(choices, moved.set)
        self.redraw = Redraw(moved, self.changes, self.journal, self.replies)
        self.results = Results(choices.profile.hosts)
        self.tool_contexts = ToolContexts(
            self.journal, self.files, threads, self.fetch, choices.profile.zone, self.inbox.stopped
        )
        self.commands = Commands(
            inbox=self.inbox, journal=self.journal, threads=threads, files=self.files,
            policy=choices.policy, budget=self.budget, board=choices.board, changes=self.changes,
            quick=QuickCommandHandler(
                self.journal, choices.policy, self.budget, choices.quick, self.tool_contexts,
                self.results,
            ),
            code=CodeCommand(
                self.journal, choices.policy, self.budget, self.tool_contexts, choices.code
            ),
            forgotten=lambda: self.upkeep.soon(),
        )  # fmt: skip
        self.manager = self._manager(choices)
        self.upkeep = Upkeep(
            self.inbox, self.journal, self.files, choices.model, self.commands.forget,
            choices.retention_days, self.changes.ledger,
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, home: Path, choices: Choices) -> Engine:
        """Raises NotStored, NewerDatabase. The caller holds the home's lock."""
        database, threads, *_ = await asyncio.gather(
            Database.open(home / "ponte.db", MIGRATIONS),
            FileThreadMap.open(home / "threads.db"),
            asyncio.to_thread(prepare, Message, Answer, Item, Outcome, Thread),
            asyncio.to_thread(commonmark.parser),
        )
        await database.write(give_up_spares)
        return cls(database, threads, home, choices)

    def start(self) -> None:
        """Take up what a former process left, and every message from now on."""
        self._tasks = [
            asyncio.create_task(self.inbox.run(self.manager.handle, tuple(self.replies))),
            asyncio.create_task(self.upkeep.run()),
            asyncio.create_task(self.redraw.run()),
        ]

    async def drain(self, grace: float) -> None:
        """Let turns finish for `grace` seconds and put the rest back, unattempted.

        A write under way ends with its record; no further batch begins.
        """
        self.changes.applying.hold()
        await self.inbox.drain(grace)
        await self.changes.applying.rest()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.audit.close()
        await self._database.close()
        await self.threads.close()

    def _changes(self, choices: Choices, moved: Callable[[], None]) -> Changes:
        ledger = SqliteLedger(self._database)
        appliers = {applier.name: applier for applier in choices.appliers}
        return Changes(
            ledger=ledger, applying=Applying(ledger, appliers), appliers=appliers,
            approval=_approval(choices),
            audit=self.audit, moved=moved, clock=choices.clock,
        )  # fmt: skip

    def _manager(self, choices: Choices) -> ConversationManager:
        parts = Parts(
            inbox=self.inbox, journal=self.journal, threads=self.threads, files=self.files,
            model=choices.model, toolbox=choices.toolbox, policy=choices.policy,
            budget=self.budget, commands=self.commands, changes=self.changes,
            tool_contexts=self.tool_contexts,
        )  # fmt: skip
        return ConversationManager(parts, self.replies, choices.profile, self.look_up)


def _approval(choices: Choices) -> Approval:
    approval = Approval(
        choices.policy, choices.auto_create_rows, choices.rules, platforms=choices.platforms
    )
    return replace(approval, is_named=choices.is_named) if choices.is_named else approval
