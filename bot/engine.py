"""Runs the turns of one process, over its opened stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Protocol

from bot.features.base import find_features
from bot.stores import Stores
from core.base import commonmark
from core.changes.apply import ChangeLifecycle, ChangeRunner
from core.changes.approval import Approval
from core.changes.cards import CardBuilder, ChangeViews
from core.changes.kinds import Applier
from core.changes.ledger import SqlLedger
from core.changes.service import ChangeService, Decisions, Proposals
from core.chat.approval_notices import ApprovalNotices, CardRedraw, PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.messages import CHOICE, Answer, Item, Message, prepare_codecs
from core.domain.ports import Platforms, StatusBoard
from core.domain.records import Outcome, Thread
from core.feedback.votes import Votes
from core.imports.runs import ImportRuns
from core.journal.inbox import SenderConfig, SqlInbox
from core.people.notices import Outbox
from core.saved.questions import SavedQuestions
from core.schedules.schedule import ScheduleConfig
from core.schedules.service import ScheduleApplier, Scheduling
from core.tools.posting import PlacePosts
from core.turn.commands import CommandService
from core.turn.context import ToolContexts
from core.turn.manager import ConversationManager
from core.turn.origins import PEOPLE, Admission, Origin
from core.turn.preparation import Assistant
from core.turn.run import TurnConfigs
from core.turn.saved_answers import SavedAnswers
from core.turn.upkeep import Upkeep


class EngineConfig(TurnConfigs, ScheduleConfig, SenderConfig, Protocol):
    """The configuration of turns, which can be reloaded."""


class Engine:
    """Everything that runs the turns of one process: the queue of messages, the conversation
    manager, changes with their cards, schedules and periodic duties, over open stores. Platforms
    are added to `platforms` later, and `find_board` returns the board that is built later.
    Proposals expire by `clock`."""

    def __init__(
        self,
        stores: Stores,
        people: People,
        approval: Approval,
        build_assistant: Callable[[ToolContexts], Assistant],
        appliers: Sequence[Applier],  # these write approved changes
        find_board: Callable[[], StatusBoard],  # built after the engine
        config: EngineConfig,  # can be reloaded
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Each service is built from those before it, and none is started.
        self.stores = stores
        self.people = people
        database, peers = stores.database, stores.peers
        inbox, journal = SqlInbox(database, peers.runner, config), stores.journal
        outbox = Outbox(database)
        inbox.set_admission(Admission(inbox.find_unstarted, people.policy).admit)
        ledger = SqlLedger(database, *peers.claims)
        self.conversations = Conversations(
            inbox,
            journal,
            stores.threads,
            stores.files,
            outbox,
            ledger,
            Votes(database),
            SavedQuestions(database, people.list_keys),
            lambda: config.section("alerts").shortest_minutes,
        )
        self.platforms = platforms = Platforms()  # these are added later

        self._redraw_due = asyncio.Event()
        """This event is set when cards or notices may be outdated, so that they are drawn again."""
        self.card_listeners: list[Callable[[], None]] = []
        """These are called when a card no longer shows the state of its change."""
        self.notices = PersonNoticeService(outbox, approval.canonical_person, self._redraw_due.set)
        self.schedules = schedules = Scheduling(
            database,
            self.conversations,
            people,
            platforms,
            approval,
            self.notices,
            peers,
            config,
            lambda name: self.assistant.toolbox.find(name),
            lambda rights, needs: self.assistant.contexts.may_know(rights, needs),
            clock,
        )
        posts = PlacePosts(
            platforms.messengers, lambda *asked: self.assistant.contexts.find_hidden(*asked)
        )
        own_appliers = (posts, ScheduleApplier(schedules))
        appliers_by_name = {applier.name: applier for applier in (*appliers, *own_appliers)}
        builder = CardBuilder(approval.kinds)
        runner = ChangeRunner(ledger, appliers_by_name, builder, clock)
        imports = ImportRuns(ledger, runner, appliers_by_name.copy(), stores.files)
        appliers_by_name[imports.name] = imports
        lifecycle = ChangeLifecycle(
            ledger,
            runner,
            builder,
            self._note_card_change,
            clock,
            people.budget,
        )
        views = ChangeViews(ledger, approval, builder, clock, platforms, people.owner)
        self.changes = changes = ChangeService(
            ledger,
            approval,
            views,
            lifecycle,
            Proposals(approval, lifecycle),
            Decisions(ledger, approval, views, lifecycle, appliers_by_name),
        )
        requests = ApprovalNotices(
            outbox, changes, journal, platforms.replies, platforms.messengers, config.turn.locale
        )
        self.redraw = CardRedraw(
            self._redraw_due, changes, journal, platforms.replies, requests, outbox
        )

        contexts = ToolContexts(
            self.conversations,
            platforms.fetch,
            approval,
            config.turn.zone,
            views,
            platforms.messengers,
        )
        self.assistant = assistant = build_assistant(contexts)
        self.upkeep = Upkeep(
            self.conversations, people, changes, assistant, database, peers, config
        )
        self.commands = CommandService(
            self.conversations,
            people,
            changes,
            assistant,
            find_board,
            schedules,
            self.upkeep,
            SavedAnswers(people, contexts, find_board),
            posts,
        )
        # Made once, when the first message of its kind comes.
        origins = {name: cache(partial(find, self)) for name, find in ORIGINS.items()}
        self.manager = ConversationManager(
            people, changes, assistant, self.commands, platforms, config, origins
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, logs_audit: bool = False) -> None:
        """Resume turns that an earlier process left, and run every message from now on: the inbox
        calls `handle` for the turn of each message of a connected platform (`replies`).

        `logs_audit`: the audit log also appears in the log. Of several processes, only one at a
        time does the periodic duties, redraws cards and copies the audit log (`peers.lead`).
        "moved" and "forgotten" are notifications from other processes: a change has another state,
        data was forgotten."""

        async def on_change_moved(_: str) -> None:
            # Its card is drawn again.
            self._note_card_change()

        peers = self.stores.peers
        peers.on("moved", on_change_moved)
        peers.on("forgotten", self.upkeep.request_round)
        handled = self.conversations.inbox.run(self.manager.handle, tuple(self.platforms.replies))
        self._tasks = [
            asyncio.create_task(handled),
            asyncio.create_task(peers.lead("upkeep", self.upkeep.run)),
            asyncio.create_task(peers.lead("redraw", self.redraw.run), name="redraw"),
            # Every process looks for due runs; each is stored once, whoever finds it.
            asyncio.create_task(self.schedules.run(), name="schedules"),
        ]
        if logs_audit:
            copying = peers.lead("audit-log", self.people.audit.copy_to_log)
            self._tasks.append(asyncio.create_task(copying, name="audit-log"))

    def _note_card_change(self) -> None:
        self._redraw_due.set()
        for listener in self.card_listeners:
            listener()

    @property
    def at_work(self) -> frozenset[str] | None:
        """The platforms whose turns may be running here; None means any, since other processes run
        turns too."""
        return self.stores.peers.at_work(self.platforms.replies)

    async def drain(self, grace: float) -> None:
        """Let turns finish for `grace` seconds and return the rest to the queue without counting an
        attempt. Then end all other tasks.

        Batches stop first: from then on, no change begins another write, while turns may still end
        by themselves. A write under way ends with its record, so that it is known what was written;
        these are waited for after the turns.
        """
        self.changes.lifecycle.runner.stop_batches()
        await self.conversations.inbox.drain(grace)
        await self.changes.lifecycle.runner.wait_for_records()
        await self.manager.background_tasks.close()
        await self.schedules.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.conversations.votes.places.close()
        await self.stores.close()


async def load_parsers() -> None:
    """Load what the first turn would wait for: the decoders of stored JSON and the Markdown
    parser."""
    await asyncio.gather(
        asyncio.to_thread(prepare_codecs, Message, Answer, Item, Outcome, Thread),
        asyncio.to_thread(commonmark.parser),
    )


ORIGINS: dict[str, Callable[[Engine], Origin]] = {
    "person": lambda engine: PEOPLE,
    "program": lambda engine: PEOPLE,
    CHOICE.name: lambda engine: PEOPLE,
}
"""The origins of turns, by `MessageOrigin.name`. Each is asked for with a turn of its own."""
for _feature in find_features():
    ORIGINS |= _feature.origins
