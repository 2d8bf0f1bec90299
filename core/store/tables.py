"""Declarations of all tables: columns, indexes, the people they are about, export and erasure.

Each table is declared once. The declarations generate:

- the schema of a new database (`core/store/schema.py`),
- the export and erasure of a person (`core/store/personal_data.py`),
- the deletion of old rows, and the tables that `ponte migrate` copies,
- the list of tables that Postgres vacuums after an erasure,
- the table in `docs/explanation/privacy.md` (`make reference`).

After a release, a change of a declaration also needs a migration (`core/store/schema.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

Whose = Literal["person", "turn", "change", "conversation", "money", "nobody"]
"""The owner of a table's rows.

- person: the person in the column `person`.
- turn: the author of the turn.
- change: the person who asked for the change.
- conversation: everyone in the conversation.
- money: the person in the column `person`, for whom usage is counted. Forgetting them keeps the row
  without their name, so that sums stay right.
- nobody: the row says nothing about a person.
"""
Link = Literal["person", "seq", "turn", "change", "file", "thread", "conversation"]
"""A column by which forgetting a person finds rows to delete.

- person: the person's key.
- seq, turn: the number or the id of one of their turns.
- change, file: the id of one of their changes or files.
- thread, conversation: the thread id or key of a conversation in which nobody else took part.
"""


@dataclass(frozen=True, slots=True)
class Column:
    """The declaration of a column. `type` is SQLite's; `core/store/postgres.py` translates it.

    `json`: an export parses the value. `secret`: an export only says whether a value is set.
    `shared`: the column exists only on Postgres.
    """

    name: str
    type: Literal["TEXT", "INTEGER", "REAL", "BLOB"]
    default: str | int | None = None
    null: bool = False
    unique: bool = False
    json: bool = False
    secret: bool = False
    shared: bool = False

    @property
    def definition(self) -> str:
        """Return the column's SQL definition, without PRIMARY KEY."""
        default = f"'{self.default}'" if isinstance(self.default, str) else self.default
        parts = (
            self.name, self.type, "" if self.null else "NOT NULL", "UNIQUE" if self.unique else "",
            "" if default is None else f"DEFAULT {default}",
        )  # fmt: skip
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Index:
    """The declaration of an index.

    `columns` is a comma-separated list of columns or expressions. `where` makes it a partial index:
    a query uses it only if its own condition implies that one. `shared` is as in `Column`.
    """

    name: str
    columns: str
    where: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDeclaration:
    """The declaration of a table. `key` names the columns of the primary key.

    Privacy:

    - `contents` and `kept` form the table's row in `docs/explanation/privacy.md`: the data about
      a person, and how long Ponte keeps it.
    - `section` is the table's name in an export. A table without one gives the reason in
      `not_exported`.
    - `rows` is an SQL condition that finds a person's rows where `whose` does not suffice.
      `:person` is the person's key, `:one` the key under which their usage is counted.
    - `deleted_by` lists the links by which forgetting a person deletes rows. A table of personal
      data without links describes in `erased` how its rows are erased.
    - `seen_at` is the column with the time of the person's action.

    Storage:

    - `purged_with`: deleting old rows of that table deletes the matching rows of this one.
    - `generates_key`: the database generates the key. `never_reuses_keys`: it never generates a
      number twice, not even one of a deleted row.
    - `shared`: the table exists only on Postgres.
    - `unlogged`: Postgres does not write the table to its log, and empties it after a crash.
    - `copied`: `ponte migrate` copies the rows to Postgres.
    """

    name: str
    whose: Whose
    contents: str
    kept: str
    columns: Sequence[Column]
    key: Sequence[str] = ()
    indexes: Sequence[Index] = ()
    unique: Sequence[str] = ()
    section: str = ""
    not_exported: str = ""
    rows: str = ""
    deleted_by: Sequence[Link] = ()
    erased: str = ""
    seen_at: str = ""
    purged_with: Literal["", "inbox", "changes"] = ""
    generates_key: bool = False
    never_reuses_keys: bool = False
    shared: bool = False
    unlogged: bool = False
    copied: bool = True

    @property
    def has_person(self) -> bool:
        """Return whether the table has a column `person`."""
        return any(column.name == "person" for column in self.columns)


text = partial(Column, type="TEXT")
integer = partial(Column, type="INTEGER")
real = partial(Column, type="REAL")
blob = partial(Column, type="BLOB")
count = partial(Column, type="INTEGER", default=0)
OPEN_STATE_LIST = "('new', 'running', 'answered', 'posting')"
"""The states of turns that have not ended, as an SQL list. Queries must use this text, or a
condition that implies it, to match the partial indexes below."""
IS_OPEN = f"state IN {OPEN_STATE_LIST}"
IS_OPEN_TURN = f"is_decision = 0 AND {IS_OPEN}"
"""An SQL condition for rows of `inbox` that are unfinished turns. Decisions are not turns: they do
not wait in the queue."""
SENDER_KEY = "(channel || ' ' || person)"
"""An SQL expression for the sender of a message: the key of a channel and a person."""
EXPORTED_ELSEWHERE = "its rows of theirs are in the sections above"

DECLARED_TABLES = (
    TableDeclaration(
        name="inbox", whose="person", section="messages", seen_at="created_at",
        contents="each message: text, name, place, language, time zone, names of files, what it "
                 "quotes; the answer",
        kept="`PONTE_RETENTION_DAYS`, `retention_days` of a place; 0, the default, is for ever",
        columns=(
            integer("seq"), text("event_key", unique=True), text("turn", unique=True),
            text("conversation"), text("person"), integer("is_decision"),
            text("state", default="new"),
            count("attempt"), count("generation"), text("thread", default=""),
            text("message", json=True), text("answer", null=True, json=True),
            text("reason", default=""), count("is_notified"), real("created_at"),
            real("updated_at"),
            text("owner", default=""),
            # The id of the turn that replaces this one; the model no longer reads its items.
            text("replaced_by", default=""),
            text("refusal", default=""), text("channel", default=""),
            count("solo_crashes"),  # how many times the process crashed while it ran only this turn
            count("job", shared=True), count("is_stop_requested", shared=True),
            count("position", shared=True),
        ),
        key=("seq",), generates_key=True, never_reuses_keys=True,
        indexes=(
            Index("inbox_open", "is_decision, conversation, seq", IS_OPEN),
            Index("inbox_conversation", "conversation, seq"),
            Index("inbox_person", "person"),
            Index("inbox_unnotified", "conversation, is_notified, seq",
                  "state = 'undeliverable' AND is_notified = 0"),
            Index("inbox_waiting", "person", "is_decision = 0 AND state = 'new'"),
            Index("inbox_owner", "owner", "is_stop_requested = 1", shared=True),
            # Each lookup of the queue (core/store/queue_functions.py) needs one of these indexes.
            # It is the only one in the order of the lookup. So the query plan does
            # not depend on statistics, which Postgres lacks when a burst of messages arrives.
            Index("inbox_flow", f"{SENDER_KEY}, position", IS_OPEN_TURN, shared=True),
            Index("inbox_conversation_position", "conversation, position, seq", IS_OPEN_TURN,
                  shared=True),
            Index("inbox_person_position", "person, position", IS_OPEN_TURN, shared=True),
            Index("inbox_channel_position", "channel, position", IS_OPEN_TURN, shared=True),
            Index("inbox_begun_position", "position",
                  "is_decision = 0 AND state IN ('running', 'answered', 'posting')", shared=True),
            Index("inbox_ready", "job", "is_decision = 0 AND state = 'new' AND job > 0",
                  shared=True),
            Index("inbox_without_job", f"{SENDER_KEY}, position", "state = 'new' AND job = 0",
                  shared=True),
        ),
        deleted_by=("person", "conversation"),
    ),
    TableDeclaration(
        name="items", whose="turn", section="transcript", seen_at="created_at",
        contents="the transcript that the model gets, with thoughts that its server wants back",
        kept="as `inbox`",
        columns=(
            integer("id"), integer("seq"), text("thread"), text("person"), text("item", json=True),
            real("created_at"), count("is_replaced"), text("needs", default=""),
        ),
        key=("id",), generates_key=True,
        indexes=(
            Index("items_thread", "thread, id"), Index("items_seq", "seq"),
            Index("items_person", "person, thread"),
        ),
        deleted_by=("seq", "thread"),
    ),
    TableDeclaration(
        name="rounds", whose="turn", section="model_calls",
        contents="ids and name of the model's answers", kept="as `inbox`",
        columns=(
            integer("seq"), integer("number"), text("response", default=""), count("is_complete"),
            text("model", default=""),
        ),
        key=("seq", "number"), deleted_by=("seq",), purged_with="inbox",
    ),
    TableDeclaration(
        name="calls", whose="person", section="tool_calls",
        contents="what tools were asked and said", kept="as `inbox`",
        columns=(
            integer("seq"), text("call_id"), text("person"), text("name"),
            text("arguments", json=True), text("effect"), text("outcome", null=True, json=True),
            real("started_at"), real("ended_at", null=True), text("handle", default=""),
        ),
        key=("seq", "call_id"), indexes=(Index("calls_person", "person"),),
        deleted_by=("person", "seq"), purged_with="inbox",
    ),
    TableDeclaration(
        name="posts", whose="person", section="posts",
        contents="ids of Ponte's posts on the platform", kept="as `inbox`",
        columns=(
            integer("seq"), integer("number"), text("person"), text("key"),
            text("post", default=""), text("state"), real("updated_at"),
        ),
        key=("seq", "number"),
        indexes=(Index("posts_post", "post"), Index("posts_person", "person")),
        deleted_by=("person", "seq"), purged_with="inbox",
    ),
    TableDeclaration(
        name="files", whose="person", section="files", seen_at="created_at",
        contents="names, sizes and hashes of files; the bytes are in `files/` of the data "
                 "folder, or in `pieces`",
        kept="as `inbox`",
        columns=(
            text("id"), text("event_key"), text("sha256"), text("name"), text("type"),
            integer("size"), text("person"), text("conversation"), real("created_at"),
        ),
        key=("id",),
        indexes=(
            Index("files_event", "event_key"), Index("files_conversation", "conversation"),
            Index("files_person", "person"),
        ),
        deleted_by=("person",),
    ),
    TableDeclaration(
        name="changes", whose="person", section="changes", seen_at="created_at",
        contents="what somebody asked to have changed, who decided", kept="as `inbox`",
        columns=(
            text("id"), integer("seq"), text("call_id"), text("person"), text("asker", json=True),
            text("conversation"), text("address", json=True), text("thread"), integer("generation"),
            text("locale"), text("applier"), text("kind"), text("target", json=True), text("title"),
            text("note"), text("undone_change", default=""), text("undone_by", default=""),
            text("state"), real("created_at"), real("expires_at"), count("decision_seq"),
            text("decider", default=""),
            text("decided_by", default="", json=True), Column("decided_at", "REAL", 0),
            Column("ended_at", "REAL", 0), count("erasure_reason"), count("version"),
            count("drawn_version"), count("has_named_approvers"), text("tool", default=""),
            text("origin", json=True),  # a `MessageOrigin` without its `data`
            Column("revision", "INTEGER", 1),
            # The last notification that Ponte sent about the change: 'asked', 'reminded' or
            # 'expired', in this order. 'never': Ponte sends none about this change.
            text("last_notice", default=""),
        ),
        key=("id",), unique=("seq", "call_id"),
        indexes=(
            Index("changes_conversation", "conversation, created_at"),
            Index("changes_created", "created_at"),
            Index("changes_open", "state, expires_at", "state IN ('open', 'applying')"),
            Index("changes_undrawn", "id", "drawn_version < version"),
            Index("changes_person", "person"), Index("changes_decider", "decider"),
            Index("changes_unnotified", "id",
                  "state = 'expired' AND last_notice <> 'expired' AND last_notice <> 'never'"),
        ),
        deleted_by=("person",),
    ),
    TableDeclaration(
        name="steps", whose="change", section="changed_rows",
        contents="the rows before and after",
        kept="their contents 7 days after the change, when it can no longer be undone, else as "
             "`inbox`",
        columns=(
            text("change"), integer("number"), text("person"), text("row"),
            text("before", null=True, json=True), text("after", null=True, json=True),
            text("applier_data", default=""), text("state"), text("current", null=True, json=True),
            text("explanation", default=""), real("updated_at"),
        ),
        key=("change", "number"), indexes=(Index("steps_person", "person"),),
        deleted_by=("change",), purged_with="changes",
    ),
    TableDeclaration(
        name="notes", whose="person", section="notes",
        contents="notes to the model about a change", kept="until the model got them",
        columns=(
            integer("id"), text("thread"), text("change"), text("person"), text("text"),
            real("created_at"),
        ),
        key=("id",), generates_key=True,
        indexes=(Index("notes_thread", "thread, id"), Index("notes_person", "person")),
        deleted_by=("person", "change", "thread"),
    ),
    TableDeclaration(
        name="consents", whose="person", section="approvals", seen_at="approved_at",
        contents="who approved as one of several", kept="as `changes`",
        columns=(
            text("change"), text("person"), text("approver", json=True), text("address", json=True),
            real("approved_at"),
        ),
        key=("change", "person"), indexes=(Index("consents_person", "person"),),
        deleted_by=("person", "change"), purged_with="changes",
    ),
    TableDeclaration(
        name="outbox", whose="person", section="cards_sent", seen_at="created_at",
        contents="copies of cards that approvers were sent; notices to a person, for example that "
                 "their sign-in link was replaced",
        kept="as `changes`; a notice until the first one after 90 days, or until its reader closes "
             "it on the page",
        columns=(
            text("change"), text("kind"), text("person"), text("recipient", json=True),
            text("reply_to", default="", json=True), text("locale", default=""),
            text("text", default=""), text("post", default=""),
            text("state"),  # new, posting, posted, removed or refused
            count("drawn_version"), real("created_at"),
        ),
        key=("change", "kind", "person"),
        indexes=(
            Index("outbox_open", "change", "state IN ('new', 'posting')"),
            Index("outbox_person", "person"),
        ),
        deleted_by=("person", "change"), purged_with="changes",
    ),
    TableDeclaration(
        name="schedules", whose="person", section="schedules", seen_at="created_at",
        contents="each schedule: what it does and where, when it is due, the time zone, who owns "
                 "it",
        kept="until its owner deletes it",
        columns=(
            text("id"),
            text("person"), text("owner", json=True), text("conversation"),
            text("reply_to", json=True), text("kind"), text("text"), text("cron", default=""),
            Column("run_at", "REAL", 0), text("time_zone"), text("locale", default=""),
            text("state"),  # active, paused or ended
            text("reason", default=""), Column("next_due_at", "REAL", 0),
            Column("last_due_at", "REAL", 0), real("catch_up_seconds"),
            Column("ends_at", "REAL", 0), text("addresses", default=""), count("max_runs"),
            count("runs"), count("failures"),
            text("revision"),  # the change that wrote the draft
            real("created_at"), real("updated_at"),
        ),
        key=("id",),
        indexes=(
            Index("schedules_due", "next_due_at", "state = 'active'"),
            Index("schedules_person", "person"),
            Index("schedules_conversation", "conversation"),
        ),
        deleted_by=("person",),
    ),
    TableDeclaration(
        name="schedule_runs", whose="person", section="schedule_runs", seen_at="started_at",
        contents="when a schedule ran or should have run, and how that ended",
        kept="the newest 50 of each schedule",
        columns=(
            text("event_key"), text("schedule"), text("person"), real("due_at"), count("seq"),
            text("state"),  # queued, done, failed, stopped, skipped or missed
            text("reason", default=""), count("is_late"),
            count("missed_count", default=1),  # how many due times a row of missed runs stands for
            real("started_at"), Column("ended_at", "REAL", 0), count("is_notified"),
        ),
        key=("event_key",),
        indexes=(
            Index("schedule_runs_schedule", "schedule, due_at"),
            Index("schedule_runs_person", "person"), Index("schedule_runs_seq", "seq"),
            Index("schedule_runs_open", "schedule", "state = 'queued'"),
            Index("schedule_runs_unnotified", "schedule", "is_notified = 0 AND state <> 'queued'"),
        ),
        deleted_by=("person",),
    ),
    TableDeclaration(
        name="people", whose="person", section="page_account", seen_at="added_at",
        contents="page: name, SHA-256 of the token, when they were added, the last day that they "
                 "came",
        kept="until `ponte people remove`",
        columns=(
            text("person"), text("token", secret=True), real("added_at"),
            text("last_visit", default=""),
        ),
        key=("person",), deleted_by=("person",),
    ),
    TableDeclaration(
        name="api_tokens", whose="person", section="api_tokens", seen_at="added_at",
        contents="page: name and SHA-256 of each token for programs, when it was made, when it "
                 "expires, the last day that it was used",
        kept="until it is revoked, or `ponte people remove`",
        columns=(
            text("id"), text("person"), text("token", secret=True, unique=True), text("name"),
            real("added_at"), real("expires_at"), text("last_use", default=""),
        ),
        key=("id",), indexes=(Index("api_tokens_person", "person"),), deleted_by=("person",),
    ),
    TableDeclaration(
        name="directory", whose="person", section="platform_profile",
        contents="what Slack and Discord report about a person: id, name, language, time zone, "
                 "whether they are a guest or a bot, their workspaces, user groups, or roles. For "
                 "Slack: of every member of the workspace, also of those who never wrote to Ponte",
        kept="until 30 days after the platform confirmed it last, or until they leave the Slack "
             "workspace",
        columns=(
            text("platform"), text("scope"), text("id"), text("person"), text("name"),
            text("locale"), text("time_zone"), integer("is_guest"), integer("is_bot"),
            text("belongs_to"),
            real("confirmed_at"),
        ),
        key=("platform", "scope", "id"),
        indexes=(
            Index("directory_id", "platform, id"), Index("directory_person", "person"),
            Index("directory_confirmed", "confirmed_at"),
        ),
        deleted_by=("person",),
        copied=False,  # each platform lists its people again
    ),
    TableDeclaration(
        name="erased_people", whose="nobody",
        not_exported="keyed hashes of people who were forgotten, which name nobody",
        contents="a keyed hash of the id of each Slack person who was forgotten, so that the list "
                 "of members does not bring them back",
        kept="for ever",
        columns=(text("pseudonym"),), key=("pseudonym",),
    ),
    TableDeclaration(
        name="usage", whose="money", section="usage",
        contents="money, tokens, place and day of each turn",
        kept="for ever; nobody's once the person is forgotten",
        columns=(
            integer("seq"), text("day"), text("person"), text("conversation"), count("input"),
            count("cached"), count("output"), count("reasoning"), real("cost", null=True),
            text("place", default=""), count("is_counted", default=1),
        ),
        key=("seq",), indexes=(Index("usage_day", "day, person"), Index("usage_person", "person")),
    ),
    TableDeclaration(
        name="spendings", whose="money", section="spendings",
        contents="what each call cost", kept="as `usage`",
        columns=(
            integer("seq"), text("part"), text("person"), text("kind"), text("name"),
            count("input"), count("cached"), count("output"), count("reasoning"),
            real("cost", null=True),
            count("is_upper_bound"),  # 1: the real cost is unknown, and `cost` is its upper bound
        ),
        key=("seq", "part"), indexes=(Index("spendings_person", "person"),),
    ),
    # In `counters` and `holds`, `money` is in billionths of a dollar.
    TableDeclaration(
        name="counters", whose="money", section="allowances", rows="person IN (:person, :one)",
        contents="what is used of an allowance", kept="as `usage`",
        columns=(
            text("scope"), text("period"), text("person"), count("turns"), count("tokens"),
            count("money"), count("notices"),
        ),
        key=("scope", "period"), indexes=(Index("counters_person", "person"),),
    ),
    TableDeclaration(
        name="holds", whose="money", section="reserved",
        contents="what is reserved for a call under way", kept="until it ends",
        columns=(
            integer("seq"), text("part"), text("person"), text("kind"), text("name"),
            text("scopes", json=True), integer("tokens"), integer("money"), real("created_at"),
        ),
        key=("seq", "part"), indexes=(Index("holds_person", "person"),),
    ),
    TableDeclaration(
        name="conversations", whose="conversation", not_exported=EXPORTED_ELSEWHERE,
        contents="a conversation's key, title and last use; in direct messages the key names its "
                 "person",
        kept="as `inbox`",
        columns=(
            text("conversation"), count("generation"), text("thread"), real("used_at"),
            text("title", default=""), count("is_pinned"),
        ),
        key=("conversation",), deleted_by=("conversation",),
        indexes=(Index("conversations_used", "is_pinned, used_at"),),
    ),
    TableDeclaration(
        name="threads", whose="conversation", not_exported=EXPORTED_ELSEWHERE,
        contents="ids of threads, and the title that the model made", kept="as `inbox`",
        columns=(
            text("id"), text("conversation"), integer("generation"), real("started_at"),
            count("has_outside_text"),  # 1: it contains text that its people did not write
            # The model's title; NULL until it is asked for one, which happens once.
            text("title", null=True),
        ),
        key=("id",), indexes=(Index("threads_conversation", "conversation"),),
        deleted_by=("conversation",),
    ),
    TableDeclaration(
        name="remotes", whose="conversation",
        not_exported="ids on the model's server; what stands there is in the sections above",
        erased="deleted once the model's server has erased it",
        contents="ids of what the model's server holds", kept="until it is erased there",
        columns=(
            text("kind"), text("id"), text("thread"), real("created_at"),
            count("erasure"),  # 0: keep it, 1: erase it, 2: it could not be erased
            count("attempts"),
            text("owner", default=""),
        ),
        key=("kind", "id"),
        indexes=(
            Index("remotes_thread", "thread"), Index("remotes_erasure", "erasure", "erasure = 1"),
        ),
    ),
    TableDeclaration(
        name="audit_keys", whose="person",
        not_exported="the section `audit` has the lines that it leads to",
        erased="deleted last: until then the person can be found again",
        contents="whose lines of the audit log are whose", kept="until the person is forgotten",
        columns=(text("pseudonym"), text("person")),
        key=("pseudonym",), indexes=(Index("audit_keys_person", "person"),),
    ),
    TableDeclaration(
        name="thread_map", whose="conversation", shared=True,
        not_exported="a cache of the transcript",
        contents="Postgres: a cache of each thread, with its participants", kept="as `inbox`",
        columns=(text("conversation"), text("record")),
        key=("conversation",), deleted_by=("conversation",),
    ),
    TableDeclaration(
        name="kernels", whose="conversation",
        not_exported="which process runs a thread's Python",
        contents="which threads had a kernel; Postgres: which process runs a thread's Python",
        kept="until the thread is forgotten",
        columns=(text("thread"), text("process")), key=("thread",), deleted_by=("thread",),
    ),
    TableDeclaration(
        name="progress", whose="turn", shared=True, unlogged=True,
        not_exported="what shows while a turn runs",
        contents="Postgres: what a turn shows while it runs", kept="until it ends",
        columns=(text("turn"), text("progress"), real("updated_at")), key=("turn",),
        deleted_by=("turn",),
    ),
    TableDeclaration(
        name="pieces", whose="person", shared=True,
        not_exported="the bytes of the files: `--files`",
        contents="Postgres: the bytes of files", kept="as `files`",
        columns=(text("file"), integer("number"), real("created_at"), blob("data")),
        key=("file", "number"), deleted_by=("file",),
    ),
    TableDeclaration(
        name="remembered", whose="person",
        not_exported="the section `remembered` has it", erased="the person's entries are removed",
        contents="what is remembered of Discord: a person's language, threads that they take part "
                 "in, direct channels, by ids; the name that the owner wrote on the page",
        kept="the newest 2,000 of each; the owner's name until they change it",
        columns=(text("name"), text("data")), key=("name",),
    ),
    TableDeclaration(
        name="audit", whose="person", shared=True,
        not_exported="the section `audit` has the lines",
        erased="its lines name nobody once their `audit_keys` are deleted",
        contents="Postgres: as `audit.log` below",
        kept="`PONTE_AUDIT_DAYS`; 0, the default, is for ever",
        columns=(integer("id"), text("line")), key=("id",), generates_key=True,
    ),
    TableDeclaration(
        name="ended_sessions", whose="nobody",
        not_exported="hashes of sessions that were signed out of, which lead to nobody",
        contents="page: the SHA-256 of each session that somebody signed out of, and when it would "
                 "have ended",
        kept="until then, at most 30 days",
        columns=(text("session"), real("expires_at")), key=("session",),
    ),
    TableDeclaration(
        name="processes", whose="nobody", shared=True, not_exported="which processes there are",
        contents="–", kept="–",
        columns=(
            text("id"), text("name"), integer("has_intake"), integer("has_workers"),
            real("started_at"), real("seen_at"),
        ),
        key=("id",),
    ),
    TableDeclaration(
        name="leases", whose="nobody", shared=True, not_exported="who leads a role",
        contents="–", kept="–",
        columns=(text("role"), text("process"), real("expires_at")), key=("role",),
    ),
    TableDeclaration(
        name="paces", whose="nobody", shared=True, unlogged=True,
        not_exported="when calls of a kind are due",
        contents="Postgres: ids of Slack channels in which much was posted", kept="an hour",
        columns=(text("name"), real("due_at")), key=("name",),
    ),
    TableDeclaration(
        name="secrets", whose="nobody", shared=True, not_exported="keys of the Ponte itself",
        contents="–", kept="–",
        columns=(text("name"), blob("value")), key=("name",),
    ),
)  # fmt: skip
EXPORTED = tuple(table for table in DECLARED_TABLES if table.section)
"""The tables that an export of a person contains."""
COPIED = tuple(table for table in DECLARED_TABLES if table.copied and not table.shared)
"""The tables that `ponte migrate` copies from SQLite to Postgres."""
PERSONAL_TABLES = tuple(table for table in DECLARED_TABLES if table.whose != "nobody")
"""The tables with personal data. Postgres vacuums them after an erasure."""


def purged_with(name: Literal["inbox", "changes"]) -> Sequence[str]:
    """Return the names of tables whose rows are deleted together with old rows of table `name`."""
    return [table.name for table in DECLARED_TABLES if table.purged_with == name]


FINISHED_VIEW = (
    "CREATE VIEW inbox_finished AS SELECT seq, updated_at FROM inbox"  # noqa: S608 - ours
    f" WHERE state NOT IN {OPEN_STATE_LIST}"
)
CURRENT_TURNS_VIEW = (
    "CREATE VIEW current_turns AS SELECT inbox.seq, inbox.attempt, inbox.state, inbox.is_decision,"
    " conversations.generation,"
    " EXISTS (SELECT 1 FROM items WHERE items.seq = inbox.seq) AS has_items,"
    " EXISTS (SELECT 1 FROM notes WHERE notes.thread = inbox.thread) AS has_notes,"
    " EXISTS (SELECT 1 FROM holds WHERE holds.seq = inbox.seq) AS has_holds"
    " FROM inbox JOIN conversations ON conversations.conversation = inbox.conversation"
)
"""What each write of a turn checks first, and whether there are rows that it would read next."""


def create_script(*, shared: bool) -> str:
    """Return the SQL that creates the tables, indexes and views of a new database.

    With `shared`, return only what Postgres has in addition to what both databases have.
    """
    views = () if shared else (FINISHED_VIEW, CURRENT_TURNS_VIEW)
    return ";\n".join((*_statements(shared), *views))


def _statements(shared: bool) -> Iterator[str]:
    """Yield the CREATE statements of all tables and indexes, and on Postgres the ALTER statements
    that add its own columns."""
    for table in DECLARED_TABLES:
        if table.shared == shared:
            yield _create_table(table)
        for column in table.columns:
            if column.shared and shared and not table.shared:
                yield f"ALTER TABLE {table.name} ADD COLUMN {column.definition}"
        for index in table.indexes:
            if shared == (table.shared or index.shared):
                where = f" WHERE {index.where}" if index.where else ""
                yield f"CREATE INDEX {index.name} ON {table.name} ({index.columns}){where}"


def _create_table(table: TableDeclaration) -> str:
    """Return the CREATE TABLE statement."""
    single = table.key[0] if len(table.key) == 1 else ""
    parts = [
        f"{column.name} {column.type} PRIMARY KEY" if column.name == single else column.definition
        for column in table.columns
        if not column.shared
    ]
    if table.never_reuses_keys:
        parts[0] += " AUTOINCREMENT"
    if table.unique:
        parts.append(f"UNIQUE ({', '.join(table.unique)})")
    if not single:
        parts.append(f"PRIMARY KEY ({', '.join(table.key)})")
    # WITHOUT ROWID makes SQLite store a table with a composite key in the order of that key.
    # Postgres has no such clause; `translate_schema` removes it.
    end = ")" if single else ") WITHOUT ROWID"
    kind = "UNLOGGED TABLE" if table.unlogged else "TABLE"
    return f"CREATE {kind} {table.name} (\n    " + ",\n    ".join(parts) + f"\n{end}"
