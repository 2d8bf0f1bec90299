"""The tables of schedules."""

from __future__ import annotations

from core.store.tables import Column, Index, TableDeclaration, count, real, text

SCHEDULES_TABLE = TableDeclaration(
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
)  # fmt: skip
SCHEDULE_RUNS_TABLE = TableDeclaration(
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
)  # fmt: skip
