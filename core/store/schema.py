"""Numbered migrations of the database schema, for databases that earlier versions created.

Migrations run forward only, and a released migration is never edited. A new database does not run
them: it is created at once from the declarations in `core/store/tables.py`, plus the functions and
triggers that only Postgres has. tests/contract/test_tables.py checks that both ways give the same
schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.store.queue_functions import (
    QUEUE_FUNCTIONS,
    QUEUE_SCHEMA,
    TURN_FUNCTIONS,
    TURN_FUNCTIONS_SINCE,
)
from core.store.rolling_upgrade import BESIDE_SCHEMA_7
from core.store.shared_statements import FEWER_STATEMENTS_FUNCTIONS, FEWER_STATEMENTS_SINCE
from core.store.tables import NEWEST_MIGRATION, create_script, migration_script

MIGRATION_1 = """
CREATE TABLE conversations (
    conversation TEXT PRIMARY KEY,
    generation INTEGER NOT NULL DEFAULT 0,
    thread TEXT NOT NULL,
    used_at REAL NOT NULL
);
CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    conversation TEXT NOT NULL,
    generation INTEGER NOT NULL,
    started REAL NOT NULL
);
CREATE INDEX threads_conversation ON threads (conversation);

CREATE TABLE remotes (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    thread TEXT NOT NULL,
    at REAL NOT NULL,
    erase INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX remotes_thread ON remotes (thread);
CREATE INDEX remotes_erase ON remotes (erase) WHERE erase = 1;

CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_key TEXT NOT NULL UNIQUE,
    turn TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL,
    person TEXT NOT NULL,
    decision INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'new',
    attempt INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    thread TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL,
    answer TEXT,
    reason TEXT NOT NULL DEFAULT '',
    told INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX inbox_open ON inbox (decision, conversation, seq)
    WHERE state IN ('new', 'running', 'answered', 'posting');
CREATE VIEW inbox_finished AS SELECT seq, updated FROM inbox
    WHERE state NOT IN ('new', 'running', 'answered', 'posting');
CREATE INDEX inbox_untold ON inbox (conversation, seq) WHERE state = 'undeliverable' AND told = 0;
CREATE INDEX inbox_conversation ON inbox (conversation, seq);
CREATE INDEX inbox_person ON inbox (person);

CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    thread TEXT NOT NULL,
    person TEXT NOT NULL,
    item TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX items_thread ON items (thread, id);
CREATE INDEX items_seq ON items (seq);
CREATE INDEX items_person ON items (person);

CREATE TABLE rounds (
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    response TEXT NOT NULL DEFAULT '',
    complete INTEGER NOT NULL DEFAULT 0,
    model TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (seq, number)
) WITHOUT ROWID;

CREATE TABLE calls (
    seq INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,
    effect TEXT NOT NULL,
    outcome TEXT,
    started REAL NOT NULL,
    ended REAL,
    PRIMARY KEY (seq, call_id)
) WITHOUT ROWID;
CREATE INDEX calls_person ON calls (person);

CREATE TABLE posts (
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    person TEXT NOT NULL,
    key TEXT NOT NULL,
    post TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (seq, number)
) WITHOUT ROWID;
CREATE INDEX posts_post ON posts (post);
CREATE INDEX posts_person ON posts (person);

CREATE TABLE usage (
    seq INTEGER PRIMARY KEY,
    day TEXT NOT NULL,
    person TEXT NOT NULL,
    conversation TEXT NOT NULL,
    input INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0,
    output INTEGER NOT NULL DEFAULT 0,
    reasoning INTEGER NOT NULL DEFAULT 0,
    cost REAL,
    settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX usage_day ON usage (day, person);
CREATE INDEX usage_person ON usage (person);

CREATE TABLE files (
    id TEXT PRIMARY KEY,
    event_key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    size INTEGER NOT NULL,
    person TEXT NOT NULL,
    conversation TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX files_event ON files (event_key);
CREATE INDEX files_conversation ON files (conversation);
CREATE INDEX files_person ON files (person)
"""

MIGRATION_2 = """
CREATE TABLE changes (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    person TEXT NOT NULL,
    asker TEXT NOT NULL,
    conversation TEXT NOT NULL,
    address TEXT NOT NULL,
    thread TEXT NOT NULL,
    generation INTEGER NOT NULL,
    locale TEXT NOT NULL,
    applier TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    title TEXT NOT NULL,
    note TEXT NOT NULL,
    undoes TEXT NOT NULL DEFAULT '',
    undone_by TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    claim INTEGER NOT NULL DEFAULT 0,
    decider TEXT NOT NULL DEFAULT '',
    decided_by TEXT NOT NULL DEFAULT '',
    decided REAL NOT NULL DEFAULT 0,
    ended REAL NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0,
    drawn INTEGER NOT NULL DEFAULT 0,
    UNIQUE (seq, call_id)
);
CREATE INDEX changes_conversation ON changes (conversation, created);
CREATE INDEX changes_created ON changes (created);
CREATE INDEX changes_open ON changes (state, expires) WHERE state IN ('open', 'applying');
CREATE INDEX changes_undrawn ON changes (id) WHERE drawn < version;
CREATE INDEX changes_person ON changes (person);
CREATE INDEX changes_decider ON changes (decider);

CREATE TABLE steps (
    change TEXT NOT NULL,
    number INTEGER NOT NULL,
    person TEXT NOT NULL,
    row TEXT NOT NULL,
    before TEXT,
    after TEXT,
    mark TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    now TEXT,
    words TEXT NOT NULL DEFAULT '',
    at REAL NOT NULL,
    PRIMARY KEY (change, number)
) WITHOUT ROWID;
CREATE INDEX steps_person ON steps (person);

CREATE TABLE notes (
    id INTEGER PRIMARY KEY,
    thread TEXT NOT NULL,
    change TEXT NOT NULL,
    person TEXT NOT NULL,
    text TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX notes_thread ON notes (thread, id);
CREATE INDEX notes_person ON notes (person)
"""

MIGRATION_3 = """
ALTER TABLE calls ADD COLUMN handle TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN named INTEGER NOT NULL DEFAULT 0
"""

MIGRATION_4 = "ALTER TABLE threads ADD COLUMN outside INTEGER NOT NULL DEFAULT 0"
MIGRATION_4_MOVES = """
UPDATE threads SET outside = 1 WHERE EXISTS (
    SELECT 1 FROM items WHERE items.thread = threads.id AND (
        json_extract(item, '$.kind') = 'output' OR json_extract(item, '$.name') = 'context'
        OR json_extract(item, '$.files') IS NOT NULL
    )
) OR EXISTS (
    SELECT 1 FROM calls JOIN inbox USING (seq) WHERE inbox.thread = threads.id
)
"""

MIGRATION_5 = """
ALTER TABLE inbox ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE remotes ADD COLUMN owner TEXT NOT NULL DEFAULT '';

CREATE TABLE days (
    day TEXT NOT NULL,
    person TEXT NOT NULL,
    turns INTEGER NOT NULL,
    PRIMARY KEY (day, person)
) WITHOUT ROWID;
CREATE INDEX days_person ON days (person);
INSERT INTO days SELECT day, person, count(*) FROM usage GROUP BY day, person;
INSERT INTO days SELECT day, '', count(*) FROM usage GROUP BY day;

DROP INDEX items_person;
CREATE INDEX items_person ON items (person, thread);
DROP INDEX inbox_untold;
CREATE INDEX inbox_untold ON inbox (conversation, told, seq)
    WHERE state = 'undeliverable' AND told = 0
"""

MIGRATION_6 = """
ALTER TABLE inbox ADD COLUMN replaced TEXT NOT NULL DEFAULT '';
ALTER TABLE items ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0
"""
"""`inbox.replaced` is the id of the turn that replaces this one, "" for none. The model no longer
reads items whose `items.replaced` is 1."""

MIGRATION_7 = """
ALTER TABLE changes ADD COLUMN tool TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN told TEXT NOT NULL DEFAULT '';
UPDATE changes SET told = 'never';
CREATE INDEX changes_untold ON changes (id)
    WHERE state = 'expired' AND told <> 'expired' AND told <> 'never';

CREATE TABLE consents (
    change TEXT NOT NULL,
    person TEXT NOT NULL,
    approver TEXT NOT NULL,
    address TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (change, person)
) WITHOUT ROWID;
CREATE INDEX consents_person ON consents (person);

CREATE TABLE outbox (
    change TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    recipient TEXT NOT NULL,
    reply_to TEXT NOT NULL DEFAULT '',
    locale TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    post TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    drawn INTEGER NOT NULL DEFAULT 0,
    at REAL NOT NULL,
    PRIMARY KEY (change, kind, person)
) WITHOUT ROWID;
CREATE INDEX outbox_open ON outbox (change) WHERE state IN ('new', 'posting');
CREATE INDEX outbox_person ON outbox (person);

CREATE TABLE audit_keys (
    pseudonym TEXT PRIMARY KEY,
    person TEXT NOT NULL
);
CREATE INDEX audit_keys_person ON audit_keys (person);
CREATE TABLE people (
    person TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    added REAL NOT NULL,
    seen TEXT NOT NULL DEFAULT ''
);

ALTER TABLE usage ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE usage ADD COLUMN counted INTEGER NOT NULL DEFAULT 1;
ALTER TABLE inbox ADD COLUMN refused TEXT NOT NULL DEFAULT '';
CREATE INDEX inbox_waiting ON inbox (person) WHERE decision = 0 AND state = 'new';

CREATE TABLE spendings (
    seq INTEGER NOT NULL,
    part TEXT NOT NULL,
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    input INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0,
    output INTEGER NOT NULL DEFAULT 0,
    reasoning INTEGER NOT NULL DEFAULT 0,
    cost REAL,
    lost INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (seq, part)
) WITHOUT ROWID;
CREATE INDEX spendings_person ON spendings (person);

CREATE TABLE counters (
    scope TEXT NOT NULL,
    period TEXT NOT NULL,
    person TEXT NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    money INTEGER NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, period)
) WITHOUT ROWID;
CREATE INDEX counters_person ON counters (person);

CREATE TABLE holds (
    seq INTEGER NOT NULL,
    part TEXT NOT NULL,
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    money INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (seq, part)
) WITHOUT ROWID;
CREATE INDEX holds_person ON holds (person)
"""
"""Approvals by several people, notifications, accounts of the page, and allowances.

- `changes.told`: the last notification about the change: 'asked', 'reminded' or 'expired', in this
  order. 'never': Ponte sends none, as for all changes older than this migration.
- `outbox`: messages that Ponte sends on its own. `state` is new, posting, posted, removed or
  refused.
- `people`: `token` is the SHA-256 of the person's token, `seen` the last day of a visit (UTC).
- `spendings`: one row for each call that cost something. `lost` is 1 if the real cost is unknown
  and the row has its upper bound.
- `counters`: the part of an allowance that is used or reserved.
- `holds`: the amount that is reserved for a call under way.

In `counters` and `holds`, `tokens` are tokens and `money` is in billionths of a dollar.
"""

ENDED_SESSIONS_TABLE = """
CREATE TABLE ended_sessions (
    session TEXT PRIMARY KEY,
    until REAL NOT NULL
)
"""
"""Sessions of the page that a person ended by signing out. `session` is the SHA-256 of the cookie's
contents, `until` the time at which the session would have expired."""

DIRECTORY_TABLES = """
CREATE TABLE directory (
    platform TEXT NOT NULL,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    locale TEXT NOT NULL,
    zone TEXT NOT NULL,
    guest INTEGER NOT NULL,
    robot INTEGER NOT NULL,
    belongs_to TEXT NOT NULL,
    confirmed_at REAL NOT NULL,
    PRIMARY KEY (platform, scope, id)
) WITHOUT ROWID;
CREATE INDEX directory_id ON directory (platform, id);
CREATE INDEX directory_person ON directory (person);
CREATE INDEX directory_confirmed ON directory (confirmed_at);
CREATE TABLE erased_people (
    pseudonym TEXT PRIMARY KEY
)
"""
"""`directory` stores what a platform reports about a person (`PlatformMember` in
core/domain/records.py). `erased_people` stores keyed hashes of forgotten people, so that a
platform's list of members does not add them again."""

PACES_TABLE = """
CREATE UNLOGGED TABLE paces (
    name TEXT PRIMARY KEY,
    due REAL NOT NULL
)
"""
"""The time at which the next call of each kind may be sent, by the database's clock. The table is
unlogged: Postgres empties it after a crash."""

# The triggers below send notifications to the processes that share a database. A notification is
# only a hint: its receiver reads the row, and also checks rows without one.
ASKED_TRIGGER = """
CREATE TRIGGER changes_asked AFTER INSERT ON changes FOR EACH ROW
    WHEN (NEW.state = 'open' AND NEW.told = '')
    EXECUTE FUNCTION ponte_moved()
"""

FIRST_ENDED_FUNCTION = """
CREATE FUNCTION ponte_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ponte', 'ended ' || NEW.seq);
    RETURN NULL;
END $$;
"""
NOTIFY_TRIGGERS = """
CREATE TRIGGER inbox_ended AFTER UPDATE OF state ON inbox FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM OLD.state
          AND NEW.state NOT IN ('new', 'running', 'answered', 'posting'))
    EXECUTE FUNCTION ponte_ended();

CREATE FUNCTION ponte_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ponte', 'moved ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER changes_moved AFTER INSERT OR UPDATE OF version ON changes FOR EACH ROW
    WHEN (NEW.version > NEW.drawn) EXECUTE FUNCTION ponte_moved()
"""

SHARED_TABLES = f"""
CREATE TABLE thread_map (
    conversation TEXT PRIMARY KEY,
    record TEXT NOT NULL
);
CREATE TABLE pieces (
    file TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (file, number)
);
CREATE TABLE processes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    takes INTEGER NOT NULL,
    works INTEGER NOT NULL,
    started REAL NOT NULL,
    seen REAL NOT NULL
);
CREATE TABLE leases (
    role TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    until REAL NOT NULL
);
CREATE TABLE kernels (
    thread TEXT PRIMARY KEY,
    process TEXT NOT NULL
);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
CREATE TABLE remembered (
    name TEXT PRIMARY KEY,
    data TEXT NOT NULL
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    line TEXT NOT NULL
);
CREATE UNLOGGED TABLE progress (
    turn TEXT PRIMARY KEY,
    progress TEXT NOT NULL,
    at REAL NOT NULL
);
ALTER TABLE inbox ADD COLUMN job INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbox ADD COLUMN stop INTEGER NOT NULL DEFAULT 0;
CREATE INDEX inbox_owner ON inbox (owner) WHERE stop = 1;

{FIRST_ENDED_FUNCTION}{NOTIFY_TRIGGERS}"""

INBOX_CHANNEL_COLUMNS = """
ALTER TABLE inbox ADD COLUMN channel TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN alone INTEGER NOT NULL DEFAULT 0
"""
"""`alone` counts how many times the process crashed while it ran only this turn. While such a run
is under way, it is one higher."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: the SQL that changes a schema into the next one.

    - `script` runs on SQLite and Postgres.
    - `moves` converts older rows. It runs only on SQLite, which alone has such rows.
    - `shared` runs only on Postgres, after `script`.
    - `whole` and `whole_shared` create a new database with the schema after this migration, without
      any earlier one.
    - `oldest` is the oldest schema whose processes may still run beside this one on a shared
      database. Because of it, a migration only adds. What is no longer used is removed a version
      later.
    - `late` lists what was added to `script` while the migration was a day old. It maps an index or
      a `table.column` to the SQL that adds it to a database that ran the first form.
    """

    script: str
    moves: str = ""
    shared: str = ""
    oldest: int = 0
    late: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""
    whole_shared: str = ""


WRITTEN_MIGRATIONS = (
    Migration(MIGRATION_1, late={
        "inbox_untold": "CREATE INDEX inbox_untold ON inbox (conversation, seq)",
    }),
    Migration(MIGRATION_2, late={
        "notes_person": "ALTER TABLE notes ADD COLUMN person TEXT NOT NULL DEFAULT '';"
                        "CREATE INDEX notes_person ON notes (person)",
    }),
    Migration(MIGRATION_3, late={
        "changes.named": "ALTER TABLE changes ADD COLUMN named INTEGER NOT NULL DEFAULT 0",
    }),
    Migration(MIGRATION_4, MIGRATION_4_MOVES),
    Migration(MIGRATION_5, shared=SHARED_TABLES, late={
        "inbox.owner": "ALTER TABLE inbox ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
        "remotes.owner": "ALTER TABLE remotes ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    }),
    Migration(MIGRATION_6),
    Migration(MIGRATION_7, shared=ASKED_TRIGGER),
    Migration(f"{ENDED_SESSIONS_TABLE};{INBOX_CHANNEL_COLUMNS};{DIRECTORY_TABLES}",
              shared=f"{QUEUE_SCHEMA};{PACES_TABLE};{BESIDE_SCHEMA_7}"),
)  # fmt: skip
"""Migrations 1 to 8, written out. Each later one adds what `core/store/tables.py` declares with its
number."""


def _declared_migration(number: int) -> Migration:
    """Return the migration made of the declarations with this number. The newest one can also
    create a whole database."""
    script, shared = migration_script(number, shared=False), migration_script(number, shared=True)
    if number == TURN_FUNCTIONS_SINCE:
        shared = f"{shared};{TURN_FUNCTIONS}"
    if number == FEWER_STATEMENTS_SINCE:
        shared = f"{shared};{FEWER_STATEMENTS_FUNCTIONS}"
    if number < NEWEST_MIGRATION:
        return Migration(script, shared=shared)
    functions = (
        f"{QUEUE_FUNCTIONS};{NOTIFY_TRIGGERS};{ASKED_TRIGGER};{BESIDE_SCHEMA_7};{TURN_FUNCTIONS};"
        f"{FEWER_STATEMENTS_FUNCTIONS}"
    )
    return Migration(
        script, shared=shared, whole=create_script(shared=False),
        whole_shared=f"{create_script(shared=True)};{functions}",
    )  # fmt: skip


MIGRATIONS = (
    *WRITTEN_MIGRATIONS,
    *map(_declared_migration, range(len(WRITTEN_MIGRATIONS) + 1, NEWEST_MIGRATION + 1)),
)


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """The SQL that brings a database from the version before to `version`.

    `moves` runs only on SQLite, `shared` only on Postgres.
    """

    version: int
    script: str
    moves: str
    shared: str


def migration_steps(version: int, migrations: Sequence[Migration]) -> Iterator[MigrationStep]:
    """Yield the steps that a database of this version still needs, in order.

    A new database (version 0) starts with the newest migration that can create a whole database.
    """
    if not version:
        for number, one in reversed(list(enumerate(migrations, 1))):
            if one.whole:
                version = number
                yield MigrationStep(version, one.whole, "", one.whole_shared)
                break
    for number, one in enumerate(migrations[version:], version + 1):
        yield MigrationStep(number, one.script, one.moves, one.shared)
