"""Opens the stores, in a home or in a database that several processes share, and runs the turns."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bot.config import Config
from bot.integrations import ADMINS
from bot.schedules import ScheduleParts
from core.changes.apply import ChangeRunner
from core.changes.approval import Approval
from core.changes.cards import CardBuilder
from core.changes.decide import Decisions
from core.changes.lifecycle import ChangeLifecycle
from core.changes.ports import Applier
from core.changes.propose import Proposals
from core.changes.service import ChangeService
from core.changes.undo import Undo
from core.changes.views import ChangeViews
from core.chat.approval_notices import ApprovalNotices, PersonNoticeService
from core.chat.card_redraw import CardRedraw
from core.chat.elsewhere import PlacePosts
from core.chat.platform import ChatPlatform, Messenger
from core.conversation.admission import Admission
from core.conversation.commands import CodeCommand, CommandService, QuickCommandHandler
from core.conversation.context import ToolContexts
from core.conversation.manager import ConversationManager, Profile
from core.conversation.origins import PEOPLE, Origin
from core.conversation.run import TurnServices
from core.conversation.upkeep import Maintenance, Retention, Upkeep
from core.domain.changes import DisplayName
from core.domain.errors import PonteError
from core.domain.messages import Address, Answer, Item, Message, Person, prepare_codecs
from core.domain.records import Health, Outcome, Thread, Verdict
from core.domain.schedules import ScheduleLimits
from core.integrations.integration import Alone, Peers
from core.ports.conversations import (
    FetchAttachment,
    LoadContext,
    ReplyFactory,
    StatusBoard,
)
from core.ports.tools import Model, QuickCommands
from core.rights.allowances import SpendingConfig
from core.rights.audit import Audit
from core.rights.policy import Policy
from core.rights.rules import OWNER_ID
from core.schedules.applier import ScheduleApplier
from core.store import snapshot
from core.store.audit import FileAuditLines, SqlPseudonyms, TableAuditLines
from core.store.budget import (
    Budget,
    DailyCapLookup,
    IsMeant,
    means_everybody,
    no_daily_caps,
)
from core.store.changes import SqlLedger
from core.store.database import Database, SqlConnection, SqliteDatabase
from core.store.directory import SqlDirectory
from core.store.files import FileBytes, FolderBytes, PieceBytes, SqlFiles
from core.store.inbox import SenderLimits, SqlInbox
from core.store.outbox import Outbox
from core.store.page_accounts import SqlPageAccounts
from core.store.personal_data import SqlPersonalData
from core.store.schema import SCHEMA
from core.store.thread_map import FileThreadMap, SqlThreadMap
from core.store.threads import erase_spare_remotes
from core.store.turns import Journal
from core.text import commonmark
from core.tools.code.source import CodeRunner
from core.tools.tool import Toolbox
from core.webhooks.origin import WebhookOrigin

if TYPE_CHECKING:
    from core.store.jobs import Jobs


_LABELS_TIMEOUT_SECONDS = 2.0
_OWNER_KEYS = frozenset(f"{platform}:{OWNER_ID}" for platform in ADMINS)
"""The keys of the owner on the page and in the terminal."""


def _hash_without_key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Spending:
    """The limits of what people may use. The callables return the present values of ponte.toml.

    `canonical_person` returns the key under which all use of a person is counted, so that nobody
    has two budgets. `is_meant`: see `Budget`.
    """

    config: SpendingConfig = field(default_factory=Config)
    caps: DailyCapLookup = no_daily_caps
    is_meant: IsMeant = means_everybody
    canonical_person: Callable[[str], str] = str
    intake: Callable[[], SenderLimits] = SenderLimits
    """Returns how much one person may send."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The parts that `bot.compose` chose for the turns, each behind its port."""

    model: Model
    toolbox: Toolbox
    policy: Policy
    approval: Approval
    board: StatusBoard
    quick: QuickCommands
    spending: Spending = field(default_factory=Spending)
    profile: Profile = field(default_factory=Profile)
    retention: Retention = field(default_factory=Retention)
    code: CodeRunner | None = None
    """Runs Python that a person types; None if code cannot run."""
    appliers: Sequence[Applier] = ()
    pseudonym: Callable[[str], str] = _hash_without_key
    """Returns the keyed hash of a name."""
    clock: Callable[[], float] = time.time
    """The clock by which proposals expire."""
    owner_name: Callable[[], str] = str
    """Returns the name of the owner of the page and the terminal."""
    schedule_limits: Callable[[], ScheduleLimits] = ScheduleLimits
    """Returns the limits of schedules."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The storage of one Ponte. `jobs` runs the turns of a shared database; None means that this
    process runs all."""

    database: Database
    threads: FileThreadMap | SqlThreadMap
    file_bytes: FileBytes
    audit: Audit
    health: Callable[[], Awaitable[Health]]
    jobs: Jobs | None = None

    @classmethod
    async def open_in_home(cls, home: Path, *, keeps: bool = True) -> Stores:
        """Open the stores in a home.

        With `keeps`, the database of an older Ponte is copied before it is migrated. The caller
        holds the home's lock. Raise NotStored, DifferentSchema, NoRoom.
        """
        if keeps:
            await asyncio.to_thread(snapshot.snapshot_before_migration, home / "ponte.db", SCHEMA)
        database, threads = await asyncio.gather(
            SqliteDatabase.open(home / "ponte.db", SCHEMA), FileThreadMap.open(home / "threads.db")
        )
        await database.write(erase_spare_remotes)
        lines, keys = FileAuditLines(home / "audit.log"), SqlPseudonyms(database)
        return cls(
            database, threads, FolderBytes(home / "files"), Audit(lines, keys), database.health
        )

    @classmethod
    async def open_shared(cls, url: str, *, takes: bool = True, works: bool = True) -> Stores:
        """Open the stores in a database that several processes share. Raise NotStored,
        DifferentSchema."""
        from core.store.jobs import Jobs
        from core.store.postgres import PostgresDatabase

        database = await PostgresDatabase.open(url, SCHEMA)
        jobs = Jobs(url, database, takes=takes, works=works)
        await jobs.start()
        lines, keys = TableAuditLines(database), SqlPseudonyms(database)
        threads, audit = SqlThreadMap(database), Audit(lines, keys)
        return cls(database, threads, PieceBytes(database), audit, jobs.health, jobs)

    @property
    def claims(self) -> tuple[()] | tuple[str, Callable[[], bool]]:
        """The values that mark rows of this process on a shared database: its id, and whether it
        surely counts as alive."""
        return (self.jobs.process, self.jobs.is_alive) if self.jobs else ()

    @property
    def peers(self) -> Peers:
        """The processes that share this database."""
        return self.jobs or Alone(self.database)

    async def secret(self, name: str, own: bytes) -> bytes:
        """Return the secret of this name that all processes share: the one that the first process
        brought."""

        def write(connection: SqlConnection) -> bytes:
            connection.execute(
                "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (name, own),
            )
            row = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,))
            return bytes(row.fetchone()["value"])

        return await self.database.write(write)

    async def close(self) -> None:
        """Close all stores."""
        await self.audit.close()
        await self.threads.close()
        await self.database.close()


class Records:
    """The stores of rows and files over one opened database."""

    def __init__(self, stores: Stores, choices: Choices) -> None:
        database, jobs, spending = stores.database, stores.jobs, choices.spending
        self.threads = stores.threads
        self.audit = stores.audit
        self.inbox = SqlInbox(database, jobs, spending.intake)
        self.journal = Journal(database, *stores.claims)
        if jobs:
            self.journal.on_end, self.journal.take_begun = jobs.note_end, jobs.take_begun
        self.files = SqlFiles(database, stores.file_bytes)
        self.outbox = Outbox(database)
        self.page_accounts = SqlPageAccounts(database)
        self.directory = SqlDirectory(database, choices.pseudonym)
        self.personal_data = SqlPersonalData(
            database, spending.canonical_person, shared=jobs is not None
        )
        self.budget = Budget(
            database, spending.config, spending.caps, ZoneInfo(choices.profile.zone),
            spending.canonical_person, is_meant=spending.is_meant,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlatformPorts:
    """The functions of each platform that turns use, by the platform's name. All are added before
    `start`."""

    replies: dict[str, ReplyFactory] = field(default_factory=dict)
    fetch: dict[str, FetchAttachment] = field(default_factory=dict)
    look_up: dict[str, LoadContext] = field(default_factory=dict)
    messengers: dict[str, Messenger] = field(default_factory=dict)

    def add(self, chat: ChatPlatform) -> None:
        """FetchAttachment files, look up context and send cards through this platform."""
        self.fetch[chat.name] = chat.fetch
        self.look_up[chat.name] = chat.look_up
        self.messengers[chat.name] = chat

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return display names for cards. A platform that does not answer in time delays
        no card."""
        found: dict[str, DisplayName] = {}
        for platform, messenger in self.messengers.items():
            if own := [name for name in names if name.startswith(f"{platform}:")]:
                with suppress(TimeoutError, PonteError):
                    async with asyncio.timeout(_LABELS_TIMEOUT_SECONDS):
                        found |= await messenger.labels(own)
        return found


class Engine:
    """Runs the turns of one process, over its opened stores."""

    def __init__(self, stores: Stores, choices: Choices) -> None:
        self.stores = stores
        self.records = records = Records(stores, choices)
        self.platforms = platforms = PlatformPorts()
        self._redraw_due = asyncio.Event()
        self._card_listeners: list[Callable[[], None]] = []
        ledger = SqlLedger(stores.database, *stores.claims)
        posts = PlacePosts(lambda: platforms.messengers)
        schedules = ScheduleApplier(lambda: self.schedules.service)
        appliers = {applier.name: applier for applier in (*choices.appliers, posts, schedules)}
        builder = CardBuilder(choices.approval.kinds)
        runner = ChangeRunner(ledger, appliers, builder, choices.clock)
        lifecycle = ChangeLifecycle(
            ledger, runner, builder, records.audit, self._note_card_change, choices.clock,
            records.budget,
        )  # fmt: skip
        views = ChangeViews(
            ledger, choices.approval, builder, choices.clock, records.outbox,
            platforms.labels, choices.owner_name,
        )  # fmt: skip
        undo = Undo(views, lifecycle, appliers)
        self.changes = ChangeService(
            ledger, choices.approval, views, lifecycle, Proposals(choices.approval, lifecycle),
            Decisions(ledger, choices.approval, views, lifecycle, appliers, undo),
        )  # fmt: skip
        requests = ApprovalNotices(
            records.outbox, self.changes, records.journal, platforms.replies, platforms.messengers,
            choices.profile.locale,
        )  # fmt: skip
        self.notices = PersonNoticeService(
            records.outbox, choices.spending.canonical_person, self._redraw_due.set
        )
        self.redraw = CardRedraw(
            self._redraw_due,
            self.changes,
            records.journal,
            platforms.replies,
            requests,
            records.outbox,
        )
        services = TurnServices(
            inbox=records.inbox, journal=records.journal, threads=records.threads,
            files=records.files, model=choices.model, toolbox=choices.toolbox,
            policy=choices.policy, budget=records.budget, changes=self.changes, audit=records.audit,
        )  # fmt: skip
        tool_contexts = ToolContexts(
            records.journal, records.files, records.threads, platforms.fetch, choices.profile.zone,
            records.inbox.is_stopped, choices.approval.config,
        )  # fmt: skip
        self._owner_name = choices.owner_name
        self.commands = CommandService(
            services, choices.board,
            quick=QuickCommandHandler(services, choices.quick, tool_contexts),
            code=CodeCommand(services, tool_contexts, choices.code),
            answer_about_schedules=lambda turn, command: self.schedules.commands.answer(
                turn, command
            ),
            forgotten=self._on_forgotten,
            kept_days=choices.retention.of,
            remains=lambda: stores.database.remains_notice,
            names=self.find_names,
            record_listed=records.outbox.put,
        )  # fmt: skip
        self.manager = ConversationManager(
            services, self.commands, tool_contexts, platforms.replies, choices.profile,
            {name: cache(partial(find, self)) for name, find in ORIGINS.items()}, platforms.look_up,
        )  # fmt: skip
        self.schedules = ScheduleParts(
            stores.database, records.inbox, choices.policy, records.budget, records.audit,
            platforms.messengers, stores.peers, choices.schedule_limits,
            lambda: choices.policy.admins, self.notices, self.changes, choices.clock,
            is_demo=choices.model.level == "demo", is_shared=stores.jobs is not None,
        )  # fmt: skip
        maintenance = Maintenance(
            stores.database.scrub,
            records.budget.settle_ended_turns,
            stores.database.remove_old_copies,
        )
        self.upkeep = Upkeep(
            services, self.commands.forget_idle, choices.retention, maintenance, records.audit,
            records.directory,
        )  # fmt: skip
        records.inbox.set_admission(Admission(records.inbox.find_unstarted, choices.policy).admit)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, home: Path, choices: Choices, stores: Stores | None = None) -> Engine:
        """Open the stores, or use `stores`, and compose the services. Raise NotStored,
        DifferentSchema.

        Without `stores` the caller holds the home's lock.
        """
        stores = stores or await Stores.open_in_home(home)
        await load_parsers()
        return cls(stores, choices)

    def start(self) -> None:
        """Resume turns that an earlier process left, and run every message from now on."""

        async def on_change_moved(_: str) -> None:
            self._note_card_change()

        self.stores.peers.on("moved", on_change_moved)
        self.stores.peers.on("forgotten", self.upkeep.request_round)
        self._tasks = [
            asyncio.create_task(
                self.records.inbox.run(self.manager.handle, tuple(self.platforms.replies))
            ),
            asyncio.create_task(self.stores.peers.lead("upkeep", self.upkeep.run)),
            asyncio.create_task(self.stores.peers.lead("redraw", self.redraw.run), name="redraw"),
            asyncio.create_task(self.schedules.run(), name="schedules"),
        ]

    def on_cards_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a card no longer shows the state of its change."""
        self._card_listeners.append(listener)

    def _note_card_change(self) -> None:
        self._redraw_due.set()
        for listener in self._card_listeners:
            listener()

    @property
    def at_work(self) -> frozenset[str] | None:
        """The platforms whose turns may be running; None means any, since other processes run turns
        too."""
        return None if self.stores.jobs else frozenset(self.platforms.replies)

    async def find_names(self, keys: Collection[str]) -> Mapping[str, str]:
        """Return the names of people by key; unknown ones are left out. Raise NotStored."""
        found = dict(await self.records.personal_data.find_names(keys))
        if owner := self._owner_name():
            found |= {key: owner for key in keys if key in _OWNER_KEYS}
        return found

    async def scrub(self, *, whole: bool = False) -> None:
        """Overwrite erased data in the database files. Raise NotStored."""
        if whole:
            await self.records.threads.scrub()
        await self.stores.database.scrub(whole=whole)

    async def drain(self, grace: float) -> None:
        """Let turns finish for `grace` seconds and return the rest to the queue without counting an
        attempt.

        A write under way ends with its record; no further batch begins.
        """
        self.changes.lifecycle.runner.stop_batches()
        await self.records.inbox.drain(grace)
        await self.changes.lifecycle.runner.wait_for_records()
        await self.manager.background_tasks.close()
        await self.schedules.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the stores."""
        await self.stores.close()

    def audit_refusal(self, person: Person, address: Address, verdict: Verdict) -> None:
        """Write a refusal into the audit log."""
        self.records.audit.note(
            "action-refused", person, address, right=verdict.right, rule=verdict.rule
        )

    async def _on_forgotten(self) -> None:
        await self.upkeep.request_round()
        await self.stores.peers.notify("forgotten", "")


async def load_parsers() -> None:
    """Load what the first turn would wait for: the decoders of stored JSON and the
    Markdown parser."""
    await asyncio.gather(
        asyncio.to_thread(prepare_codecs, Message, Answer, Item, Outcome, Thread),
        asyncio.to_thread(commonmark.parser),
    )


ORIGINS: dict[str, Callable[[Engine], Origin]] = {
    "person": lambda engine: PEOPLE,
    "program": lambda engine: PEOPLE,
    "schedule": lambda engine: engine.schedules.origin,
    "webhook": lambda engine: WebhookOrigin(engine.records.budget, engine.records.audit),
}
"""The origins of turns, by `MessageOrigin.name`. Each is asked for with a turn of its own."""
