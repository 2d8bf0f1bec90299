"""All tables of the database, the schema that they make, and the storage of one Ponte: in a home,
or in a database that several processes share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bot.features.base import find_features
from bot.home import Home
from core.changes.tables import (
    CHANGES_TABLE,
    CONSENTS_TABLE,
    NOTES_TABLE,
    OUTBOX_TABLE,
    STEPS_TABLE,
)
from core.domain.records import Health
from core.journal.jobs import Alone, Jobs, Peers
from core.journal.journal import Journal
from core.journal.kernels import KERNELS_TABLE
from core.journal.shared_functions import QUEUE_FUNCTIONS, TURN_FUNCTIONS
from core.journal.thread_map import FileThreadMap, SqlThreadMap
from core.journal.threads import erase_spare_remotes
from core.journal.turn_rows import (
    CALLS_TABLE,
    CONVERSATIONS_TABLE,
    CURRENT_TURNS_VIEW,
    FINISHED_VIEW,
    INBOX_TABLE,
    ITEMS_TABLE,
    POSTS_TABLE,
    PROGRESS_TABLE,
    REMOTES_TABLE,
    ROUNDS_TABLE,
    THREADS_TABLE,
)
from core.money.budget import COUNTERS_TABLE, HOLDS_TABLE, SPENDINGS_TABLE, USAGE_TABLE
from core.people.audit import AUDIT_KEYS_TABLE, AUDIT_TABLE, Audit, import_audit_files
from core.people.directory import DIRECTORY_TABLE, ERASED_PEOPLE_TABLE
from core.people.page_accounts import API_TOKENS_TABLE, ENDED_SESSIONS_TABLE, PEOPLE_TABLE
from core.store import schema as snapshot
from core.store.database import Database, SqlConnection, SqliteDatabase
from core.store.files import FileBytes, FolderBytes, PieceBytes, SqlFiles
from core.store.postgres import PostgresDatabase
from core.store.schema import Migration, Schema
from core.store.tables import (
    FILES_TABLE,
    LEASES_TABLE,
    PACES_TABLE,
    PIECES_TABLE,
    PROCESSES_TABLE,
    REMEMBERED_TABLE,
    SECRETS_TABLE,
    TableDeclaration,
)

OWN_TABLES = (
    INBOX_TABLE, ITEMS_TABLE, ROUNDS_TABLE, CALLS_TABLE, POSTS_TABLE, FILES_TABLE, CHANGES_TABLE,
    STEPS_TABLE, NOTES_TABLE, CONSENTS_TABLE, OUTBOX_TABLE, PEOPLE_TABLE, API_TOKENS_TABLE,
    DIRECTORY_TABLE, ERASED_PEOPLE_TABLE, USAGE_TABLE,
    SPENDINGS_TABLE, COUNTERS_TABLE, HOLDS_TABLE, CONVERSATIONS_TABLE, THREADS_TABLE, REMOTES_TABLE,
    AUDIT_KEYS_TABLE, KERNELS_TABLE, PROGRESS_TABLE, PIECES_TABLE,
    REMEMBERED_TABLE, AUDIT_TABLE, ENDED_SESSIONS_TABLE, PROCESSES_TABLE, LEASES_TABLE, PACES_TABLE,
    SECRETS_TABLE,
)  # fmt: skip


def collect_tables() -> list[TableDeclaration]:
    """Return all tables in the order in which a new database creates them."""
    tables = [*OWN_TABLES]
    for feature in find_features():
        places = (n for n, table in enumerate(tables, 1) if table.name == feature.tables_after)
        at = next(places, len(tables))
        tables[at:at] = feature.tables
    return tables


TABLES = collect_tables()


VIEWS = (FINISHED_VIEW, CURRENT_TURNS_VIEW)
MIGRATIONS = (
    Migration(  # indexes, so that an erasure does not read all turns
        "fda411cccfdc2f15.dce535032bb70fb0",
        "CREATE INDEX inbox_shows_changes ON inbox (seq) WHERE (answer LIKE '%\"cards\":%'"
        " OR answer LIKE '% ______-____`%' OR answer LIKE '%- `______`%');"
        "CREATE INDEX usage_place ON usage (place, person)",
    ),
    Migration(  # the audit log in a table on SQLite, too; Postgres has had the table
        "e931e94a8039fdd7.dce535032bb70fb0",
        "CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " line TEXT NOT NULL);"
        "ALTER TABLE audit ADD COLUMN size INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE audit ADD COLUMN is_logged INTEGER NOT NULL DEFAULT 0;"
        "UPDATE audit SET is_logged = 1;"
        "CREATE INDEX audit_unlogged ON audit (id) WHERE is_logged = 0",
    ),
    Migration(  # a thread's record in its row; `FileThreadMap.open` moves those of `threads.db`
        "db60c01b7d776897.9856e987058087f1",
        "ALTER TABLE threads ADD COLUMN record TEXT NOT NULL DEFAULT ''",
        "UPDATE threads SET record = thread_map.record FROM thread_map"
        " WHERE threads.id = thread_map.record::json ->> 'id';"
        "DROP TABLE thread_map;"
        "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('ponte_begin'::regproc),"
        " 'thread_map WHERE conversation = of_conversation', 'threads WHERE id = one.thread');"
        " END $$",
    ),
    Migration(  # tokens of several kinds, and people who sign in with Slack or an OIDC provider
        "4adbaf0549845dfe.94fa2f2bd80ec9d7",
        "ALTER TABLE api_tokens ADD COLUMN kind TEXT NOT NULL DEFAULT 'api';"
        "CREATE TABLE sign_ins (person TEXT PRIMARY KEY, provider TEXT NOT NULL,"
        " name TEXT NOT NULL, group_names TEXT NOT NULL, session_key TEXT NOT NULL,"
        " first_at REAL NOT NULL, last_at REAL NOT NULL, confirmed_at REAL NOT NULL,"
        " removed_at REAL NOT NULL DEFAULT 0)",
    ),
    Migration(  # votes on answers
        "ac7f09d33a4e4197.94fa2f2bd80ec9d7",
        "CREATE TABLE votes (seq INTEGER NOT NULL, person TEXT NOT NULL, vote TEXT NOT NULL,"
        " reason TEXT NOT NULL DEFAULT '', is_shared INTEGER NOT NULL DEFAULT 0,"
        " pressed_at REAL NOT NULL, PRIMARY KEY (seq, person)) WITHOUT ROWID;"
        "CREATE INDEX votes_person ON votes (person);"
        "CREATE INDEX votes_pressed ON votes (pressed_at)",
    ),
    Migration(  # a person's full name, handle and e-mail address, to tell namesakes apart
        "962034cb4375f58c.94fa2f2bd80ec9d7",
        "ALTER TABLE directory ADD COLUMN aliases TEXT NOT NULL DEFAULT ''",
    ),
    Migration(  # texts of other people that were read, to erase them after a day
        "37e2585783181e4d.94fa2f2bd80ec9d7",
        "CREATE INDEX items_read ON items (created_at) WHERE item LIKE '%\"reading\":{%'",
    ),
    Migration(  # saved questions
        "636ff56b36cb7c97.94fa2f2bd80ec9d7",
        "CREATE TABLE saved_questions (id TEXT PRIMARY KEY, person TEXT NOT NULL,"
        " scope TEXT NOT NULL, name TEXT NOT NULL, folded TEXT NOT NULL, calls TEXT NOT NULL,"
        " created_at REAL NOT NULL, UNIQUE (scope, folded));"
        "CREATE INDEX saved_questions_person ON saved_questions (person);"
        "ALTER TABLE schedules ADD COLUMN queries TEXT NOT NULL DEFAULT ''",
    ),
    Migration(  # alerts
        "91352f015edb1bad.94fa2f2bd80ec9d7",
        "ALTER TABLE schedules ADD COLUMN condition TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE schedules ADD COLUMN watch TEXT NOT NULL DEFAULT ''",
    ),
    Migration(  # parts of imports
        "515bc7c370106b8b.94fa2f2bd80ec9d7",
        "ALTER TABLE changes ADD COLUMN part_of TEXT NOT NULL DEFAULT '';"
        "CREATE INDEX changes_part ON changes (part_of) WHERE part_of <> ''",
    ),
)
"""The changes of the schema since version 1."""
SCHEMA = Schema.of(TABLES, VIEWS, (QUEUE_FUNCTIONS, TURN_FUNCTIONS), MIGRATIONS)


def name_engine(url: object) -> Literal["SQLite", "Postgres"]:
    """An empty `url` means the SQLite file of the data folder."""
    return "Postgres" if url else "SQLite"


@dataclass(slots=True)
class Stores:
    """The opened storage of one Ponte: its database, conversations on servers (`threads`), bytes of
    files, and the `peers` that share it (other processes; none for a data folder)."""

    database: Database
    threads: FileThreadMap | SqlThreadMap
    file_bytes: FileBytes
    health: Callable[[], Awaitable[Health]]
    peers: Peers
    audit: Audit = field(init=False)
    files: SqlFiles = field(init=False)
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.audit = Audit(self.database)
        self.files = SqlFiles(self.database, self.file_bytes)
        self.journal = Journal(self.database, *self.peers.claims)
        self.journal.on_end, self.journal.take_begun = self.peers.note_end, self.peers.take_begun

    @classmethod
    async def open(cls, url: str, home: Home, *, takes: bool, works: bool) -> Stores:
        """Open the database at `url`, which several processes share, or that of the data folder if
        `url` is empty. On a shared one, `takes`: this process receives the platforms' events, and
        `works`: it runs turns.

        The secrets of a shared database replace those of the folder, so that all processes have
        the same. Raises ModuleNotFoundError if Postgres' packages are missing, and what
        `open_in_home` and `open_shared` raise.
        """
        if not url:
            return await cls.open_in_home(home.path)
        stores = await cls.open_shared(url, takes=takes, works=works)
        for name, secret in home.secrets().items():
            home.share(name, await stores.secret(name, secret))
        return stores

    @classmethod
    async def open_in_home(cls, home: Path, *, keeps: bool = True) -> Stores:
        """Open the stores in a data folder, and migrate them to the newest schema.

        With `keeps`, the database of an older Ponte is copied before. Objects on servers of
        conversations that are gone are noted for erasure, and the audit log of Ponte 0.1.0 is moved
        into the database. The caller holds the folder's lock. Raises NotStored, DifferentSchema,
        NoRoom.
        """
        if keeps:
            await asyncio.to_thread(snapshot.snapshot_before_migration, home / "ponte.db", SCHEMA)
        database = await SqliteDatabase.open(home / "ponte.db", SCHEMA)
        # `threads.db` maps conversations to thread ids. The records are in the database.
        threads = await FileThreadMap.open(home / "threads.db", database)
        await database.write(erase_spare_remotes)
        await import_audit_files(database, home)
        files = FolderBytes(home / "files")
        return cls(database, threads, files, database.health, Alone(database))

    @classmethod
    async def open_shared(cls, url: str, *, takes: bool = True, works: bool = True) -> Stores:
        """Open the stores in a shared Postgres database, and register this process there. Raises
        NotStored, DifferentSchema."""
        database = await PostgresDatabase.open(url, SCHEMA)
        jobs = Jobs(url, database, takes=takes, works=works)
        await jobs.start()
        return cls(database, SqlThreadMap(database), PieceBytes(database), jobs.health, jobs)

    async def secret(self, name: str, own: bytes) -> bytes:
        """Return a secret that all processes of a shared database use. If there is none yet, `own`
        becomes it: of several processes that start together, the first one's."""

        def write(connection: SqlConnection) -> bytes:
            connection.execute(
                "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (name, own),
            )
            row = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,))
            return bytes(row.fetchone()["value"])

        return await self.database.write(write)

    async def close(self) -> None:
        await self.audit.close()
        await self.threads.close()
        await self.database.close()

    async def scrub(self, *, whole: bool = False) -> None:
        """Overwrite erased data in the database files; with `whole`, also what a row left when it
        moved within its file, which takes longer. Raises NotStored."""
        if whole:
            await self.threads.scrub()
        await self.database.scrub(whole=whole)
