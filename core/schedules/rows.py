"""Schedules and their runs, as rows.

A due schedule becomes a message of the inbox in one transaction, which also moves its due time on
(`Schedules.advance`). The key of that message contains the due time, so no due time can be
stored twice, whatever crashes. From there on, the run is a turn like any other.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from core.base.errors import NotFound, OverBudget
from core.domain.messages import Answer, Message, Person, ReplyTo, decode_json, encode_json
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import FINAL_STATES, Receipt
from core.journal.inbox import SqlInbox
from core.journal.jobs import Alone, Peers
from core.journal.turn_rows import OPEN_STATE_LIST
from core.people.audit import audit_step
from core.people.notices import PersonNotice, put_person_notice
from core.schedules.alerts import read_condition, read_state
from core.schedules.schedule import (
    KEPT_RUNS,
    MAX_FAILED_RUNS,
    SCHEDULE_CHANGED,
    BadSchedule,
    DuePlan,
    RunState,
    Schedule,
    ScheduleFilter,
    ScheduleKind,
    ScheduleRun,
    make_columns,
    make_run_message,
    next_after,
    read_run,
    read_schedule,
)
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    transaction,
)
from core.turn.origins import PauseReason, SkipReason

T = TypeVar("T")
P = ParamSpec("P")
_RUN_STATES: dict[str, RunState] = {
    "done": "done", "failed": "failed", "undeliverable": "failed", "stopped": "stopped",
    "removed": "stopped", "withdrawn": "stopped",
}  # fmt: skip
assert _RUN_STATES.keys() == set(FINAL_STATES)  # noqa: S101

_CURRENT_SQL = (
    "SELECT * FROM schedules WHERE id = ? AND state = 'active' AND revision = ? AND next_due_at = ?"
)
_ENDED_RUNS_SQL = (
    "SELECT runs.seq, runs.schedule, inbox.state, inbox.answer FROM schedule_runs AS runs"  # noqa: S608
    " LEFT JOIN inbox ON inbox.seq = runs.seq WHERE runs.state = 'queued'"
    f" AND (inbox.state IS NULL OR NOT inbox.state IN {OPEN_STATE_LIST}) ORDER BY runs.seq"
)
_LAST_RUNS_SQL = (
    "SELECT * FROM (SELECT runs.*, row_number() OVER"
    " (PARTITION BY schedule ORDER BY started_at DESC, due_at DESC) AS place"
    " FROM schedule_runs AS runs) AS ranked WHERE place = 1"
)
_READ_UNTIL_SQL = (
    "SELECT calls.handle FROM schedule_runs AS runs JOIN inbox USING (seq) JOIN calls USING (seq)"
    " WHERE runs.schedule = ? AND inbox.state = 'done' AND calls.name = 'read_messages'"
    " AND calls.handle <> '' ORDER BY seq DESC, calls.started_at DESC LIMIT 1"
)
_OLD_SQL = "schedules WHERE state = 'ended' AND updated_at < ?"
_RUNNING_SQL = (
    "SELECT 1 FROM schedule_runs AS runs JOIN inbox ON inbox.seq = runs.seq"  # noqa: S608
    f" WHERE runs.schedule = ? AND runs.state = 'queued' AND inbox.state IN {OPEN_STATE_LIST}"
    " LIMIT 1"
)


def _schedule_transaction(
    method: Callable[Concatenate[Schedules, SqlConnection, P], T],
) -> Callable[Concatenate[Schedules, P], Coroutine[Any, Any, T]]:
    """The method runs in a transaction; callers await it without the connection. `on_change` is
    called after the commit, which wakes the timer: due times may be others now."""

    @functools.wraps(method)
    async def write(schedules: Schedules, /, *args: P.args, **options: P.kwargs) -> T:
        return await schedules._database.write(
            lambda c: method(schedules, c, *args, **options), lambda _: schedules.on_change()
        )

    return write


class Schedules(SqlStore):
    """Each method is one transaction, durable on return. Methods that change a schedule raise
    NotFound, and BadSchedule if its state does not allow the change. They check no rights. If
    something changes, a line of the audit log says that the person `by` did it. Without `by`, Ponte
    itself does it, without a line.

    `clock` returns the time in seconds since the epoch. Due times are compared with the clock that
    all `peers` share. `destination` returns where a post that answers no message goes in the place
    of a schedule.
    """

    def __init__(
        self,
        database: Database,
        inbox: SqlInbox,
        clock: Callable[[], float] = time.time,
        *,
        peers: Peers | None = None,
        destination: Callable[[ReplyTo], ReplyTo] = lambda to: to,
    ) -> None:
        super().__init__(database)
        self._inbox = inbox
        self._clock = clock
        # Other processes on this database; schedules are due by their common clock.
        self._peers = peers or Alone()
        self._find_destination = destination  # of runs, from a schedule's `reply_to`
        self.on_change: Callable[[], None] = lambda: None
        """Called after due times may have changed. The owner of this store sets it, to wake the
        timers of all processes."""

    @query
    def get(self, connection: SqlConnection, id: str) -> Schedule:
        return read_schedule(_find_row(connection, id))

    @query
    def list_matching(
        self, connection: SqlConnection, filter: ScheduleFilter
    ) -> Sequence[Schedule]:
        """Active schedules come by their due time, then the others by their age."""
        marks = ", ".join("?" for _ in filter.states)
        where, values = f"state IN ({marks})", list[str](filter.states)
        for column in ("person", "conversation"):
            if value := getattr(filter, column):
                where += f" AND {column} = ?"
                values.append(value)
        sql = (
            f"SELECT * FROM schedules WHERE {where}"  # noqa: S608
            " ORDER BY CASE state WHEN 'active' THEN 0 ELSE 1 END, next_due_at, created_at, id"
        )
        return [read_schedule(row) for row in connection.execute(sql, values).fetchall()]

    @_schedule_transaction
    def put(
        self,
        connection: SqlConnection,
        schedule: Schedule,
        former: str,
        people: Collection[str] = (),
        most: int = 0,
    ) -> Schedule:
        """`former` is the revision that is replaced, "" for a new schedule. An active schedule is
        due from now on. One that exists and is stored as "paused" keeps its state. Its count of
        runs goes on, unless it had ended or gets another `max_runs`: then it is `schedule.runs`.

        Raise BadSchedule if the schedule has another revision (somebody changed it), if it is never
        due again, or if these `people` (all keys of the owner) have `most` active and paused
        schedules; without people, nothing is counted. Alerts are counted apart.
        """
        id, draft, now = schedule.id, schedule.draft, self._clock()
        before = _lock_schedule(connection, id) if former else None
        if before and before.revision != former:
            raise BadSchedule(SCHEDULE_CHANGED)
        # An edit of a schedule that is not ended adds none to the number of the person's schedules.
        # One that becomes an alert is counted among the alerts.
        is_added = (
            before is None
            or before.state == "ended"
            or (before.draft.kind == "alert") is not (draft.kind == "alert")
        )
        if people and schedule.state != "ended" and is_added:
            _check_count(connection, people, most, draft.kind)
        values = {
            "revision": schedule.revision,
            "runs": schedule.runs,
            "watch": "",
            **make_columns(draft),
        }
        if before:
            if before.state != "ended" and before.draft.max_runs == draft.max_runs:
                values["runs"] = before.runs
            same = (before.draft.condition, before.draft.queries)
            if same == (draft.condition, draft.queries):
                values["watch"] = before.watch
            _update(connection, id, now, **values)
        else:
            values |= {
                "id": id,
                "person": schedule.owner.key,
                "owner": encode_json(schedule.owner),
                "conversation": schedule.address.conversation,
                "reply_to": encode_json(schedule.reply_to),
                "locale": schedule.locale,
                # It starts below if it is to be active: only `_activate_schedule` computes the due
                # time.
                "state": "paused",
                "reason": "person",
                "created_at": now,
                "updated_at": now,
            }
            _insert(connection, "schedules", values)
        if schedule.state == "ended":
            _update(connection, id, now, state="ended", reason="", next_due_at=0)
        elif schedule.state == "active" or (before and before.state == "active"):
            _activate_schedule(connection, replace(schedule, watch=str(values["watch"])), now)
        owner = schedule.owner
        _add_audit_line(connection, "schedule-written", schedule, owner, schedule.revision)
        return read_schedule(_find_row(connection, id))

    @transaction
    def check_count(
        self, connection: SqlConnection, people: Collection[str], most: int, kind: ScheduleKind
    ) -> None:
        _check_count(connection, people, most, kind)

    @_schedule_transaction
    def pause(
        self, connection: SqlConnection, id: str, reason: PauseReason, by: Person | None = None
    ) -> Schedule:
        schedule = _lock_live_schedule(connection, id)
        if schedule.state == "active":
            _pause_schedule(connection, id, reason, self._clock())
            _add_audit_line(connection, "schedule-paused", schedule, by)
        return read_schedule(_find_row(connection, id))

    @_schedule_transaction
    def resume(self, connection: SqlConnection, id: str, by: Person | None = None) -> Schedule:
        """Due times during the pause are not caught up."""
        schedule = _lock_live_schedule(connection, id)
        if schedule.state == "paused":
            _activate_schedule(connection, schedule, self._clock())
            _add_audit_line(connection, "schedule-resumed", schedule, by)
        return read_schedule(_find_row(connection, id))

    @_schedule_transaction
    def delete(
        self,
        connection: SqlConnection,
        id: str,
        revision: str = "",
        by: Person | None = None,
        change: str = "",
    ) -> Schedule:
        """Delete a schedule with its runs and the notices about them, and return it as it was. A
        run that has not begun is then not carried out.

        Raise BadSchedule if it has another revision than `revision`, if that is set. `change` is
        the change that deletes it, for the audit log.
        """
        schedule = _lock_schedule(connection, id)
        if revision not in ("", schedule.revision):
            raise BadSchedule(SCHEDULE_CHANGED)
        _delete_runs(connection, "schedule = ?", (id,))
        connection.execute("DELETE FROM schedules WHERE id = ?", (id,))
        _add_audit_line(connection, "schedule-deleted", schedule, by, change)
        return schedule

    async def run_now(self, id: str, once: str, by: Person | None = None) -> ScheduleRun:
        """Queue a run now, once for each event that asks for it (`once` is the event's key). The
        run's own key contains `:now:`, by which `is_current` knows runs that a person asked for."""
        now = self._clock()
        event_key = f"schedule:{id}:now:{hashlib.sha256(once.encode()).hexdigest()[:16]}"

        def write(connection: SqlConnection) -> tuple[ScheduleRun, _Queued | None]:
            schedule = _lock_live_schedule(connection, id)
            sql = "SELECT * FROM schedule_runs WHERE event_key = ?"
            if row := connection.execute(sql, (event_key,)).fetchone():
                return read_run(row), None
            if schedule.draft.kind == "alert":
                return self._ask_for_look(connection, schedule, event_key, by), None
            if _is_running(connection, id):
                raise BadSchedule("A run of this schedule hasn't ended yet. Try again later.")
            _add_audit_line(connection, "schedule-run-requested", schedule, by)
            # False: the run is not late, because it is due now.
            return self._queue_run(connection, schedule, now, event_key, False)

        run, _ = await self._database.write(write, then=self._enqueue)
        self.on_change()
        return run

    def _ask_for_look(
        self, connection: SqlConnection, alert: Schedule, event_key: str, by: Person | None
    ) -> ScheduleRun:
        """The next look is due now, and posts what it finds. One under way stores nothing any more
        (`end_look`), so it does not lose that."""
        if alert.state == "paused":
            raise BadSchedule("This alert is paused. Resume it first.")
        now, state = self._clock(), read_state(alert)
        if state.asked_by != event_key:
            state = replace(state, is_asked=True, asked_by=event_key, refused_at=0.0)
            _update(connection, alert.id, now, watch=encode_json(state), next_due_at=now)
            _add_audit_line(connection, "schedule-run-requested", alert, by)
        return ScheduleRun("", alert.id, now, "queued")

    async def read_clock(self) -> float:
        """On Postgres, the database's clock, which all processes share."""
        return await self._peers.read_clock(self._clock())

    async def realign(self) -> int:
        """Due times differ after the clock was set back, or after an update of the data of time
        zones. Return how many did."""
        now, moved = await self.read_clock(), 0
        for schedule in await self.list_matching(ScheduleFilter(states=("active",))):
            try:
                due = next_after(schedule.draft.rule, schedule.draft.time_zone, now)
            except BadSchedule:
                continue  # for example an unknown time zone; the scheduler pauses it when it is due
            # None: the rule has no due time after now, so the stored one stays.
            if due is None or schedule.next_due_at <= now or due == schedule.next_due_at:
                continue
            # Only if nobody has changed it since it was read.
            sql = (
                "UPDATE schedules SET next_due_at = ?"
                " WHERE id = ? AND revision = ? AND next_due_at = ?"
            )
            values = (due, schedule.id, schedule.revision, schedule.next_due_at)
            moved += await self._execute(sql, *values)
        return moved

    @query
    def list_due(
        self, connection: SqlConnection, now: float, most: int = 1000
    ) -> Sequence[Schedule]:
        """The longest due first."""
        rows = connection.execute(
            "SELECT * FROM schedules WHERE state = 'active' AND next_due_at <= ?"
            " ORDER BY next_due_at LIMIT ?",
            (now, most),
        )
        return [read_schedule(row) for row in rows.fetchall()]

    async def earliest_due(self) -> float | None:
        sql = "SELECT min(next_due_at) FROM schedules WHERE state = 'active'"
        due: float | None = await self._database.read(lambda c: select_value(c, sql), single=True)
        return due

    async def advance(self, schedule: Schedule, plan: DuePlan) -> ScheduleRun | None:
        """Set the next due time, record missed runs, and queue the run of `plan`, in one
        transaction. Return the run, or None if there is none or another process did this.

        The condition on `next_due_at` lets only one process succeed. On Postgres, a row that
        another process works on is skipped instead of waited for.
        """

        def write(connection: SqlConnection) -> tuple[ScheduleRun | None, _Queued | None]:
            row = connection.execute(
                _CURRENT_SQL + connection.free_row_lock,
                (schedule.id, schedule.revision, schedule.next_due_at),
            ).fetchone()
            if row is None:
                return None, None
            now, current = self._clock(), read_schedule(row)
            if plan.missed_count:
                _insert_run(
                    connection,
                    current,
                    f"schedule:{current.id}:missed:{plan.first_missed_at:.0f}",
                    plan.first_missed_at,
                    now,
                    "missed",
                    missed_count=plan.missed_count,
                )
            run, queued = None, None
            key = f"schedule:{current.id}:{plan.due_at:.0f}"
            # The key exists only if the machine's clock was set back. The run may be deleted
            # already, and its message still be there.
            if current.draft.kind == "alert":  # a look, which has no run of its own
                run = ScheduleRun("", current.id, plan.due_at, "queued")
            elif plan.due_at and not any(
                connection.execute(f"SELECT 1 FROM {table} WHERE event_key = ?", (key,)).fetchone()  # noqa: S608
                for table in ("schedule_runs", "inbox")
            ):
                if _is_running(connection, current.id):
                    run = _insert_run(
                        connection, current, key, plan.due_at, now, "skipped", reason="busy"
                    )
                else:
                    run, queued = self._queue_run(
                        connection, current, plan.due_at, key, plan.is_late
                    )
            runs = current.runs + (run is not None and run.state == "queued")
            is_over = not plan.next_due_at or (
                current.draft.max_runs and runs >= current.draft.max_runs
            )
            _update(
                connection,
                current.id,
                now,
                next_due_at=0 if is_over else plan.next_due_at,
                state="ended" if is_over else "active",
                runs=runs,
                last_due_at=plan.due_at or current.last_due_at,
            )
            _delete_old_runs(connection, current.id)
            return run, queued

        run, _ = await self._database.write(write, then=self._enqueue)
        return run

    async def begin_look(self, alert: Schedule, next_due_at: float) -> bool:
        """Return True in only one process. A look that does not end is not made up."""
        plan = DuePlan(alert.next_due_at, next_due_at)
        return await self.advance(alert, plan) is not None

    async def end_look(
        self, alert: Schedule, watch: str, text: str = "", *, may_look: bool = True
    ) -> None:
        """Store in one transaction what a look found, and the post about it if there is a `text`;
        or pause the alert, whose owner lost the rights. Nothing if it was changed, paused or asked
        to look meanwhile, or another look ended first."""
        due = alert.next_due_at

        def write(connection: SqlConnection) -> tuple[ScheduleRun | None, _Queued | None]:
            sql = (
                "SELECT 1 FROM schedules WHERE id = ? AND state <> 'paused' AND revision = ?"
                " AND watch = ?"
            )
            values = alert.id, alert.revision, alert.watch
            if not connection.execute(sql + connection.row_lock, values).fetchone():
                return None, None
            # A due time comes twice if the clock is set back.
            state = hashlib.sha256(watch.encode()).hexdigest()[:16]
            now, key = self._clock(), f"schedule:{alert.id}:{due:.0f}:{state}"
            _update(connection, alert.id, now, watch=watch)
            _delete_old_runs(connection, alert.id)
            if not may_look:
                _insert_run(connection, alert, key, due, now, "skipped", reason="rights")
                _pause_schedule(connection, alert.id, "rights", now)
                facts = {"schedule": alert.id, "reason": "rights"}
                audit_step("schedule-run-skipped", alert.owner, alert.address, **facts)(connection)
            if not text:
                return None, None
            draft = replace(alert.draft, kind="post", text=text, queries="")
            return self._queue_run(connection, replace(alert, draft=draft), due, key, False)

        await self._database.write(write, then=self._enqueue)

    @_schedule_transaction
    def skip(
        self,
        connection: SqlConnection,
        seq: int,
        reason: SkipReason,
        pause: PauseReason = "",
        line: TransactionStep = NO_STEP,
    ) -> None:
        """With `pause`, pause its schedule. `line` writes into the audit log in the same
        transaction, unless the run was skipped before. What an alert could not post, a later look
        posts."""
        now = self._clock()
        row = connection.execute(
            "UPDATE schedule_runs SET state = 'skipped', reason = ?, ended_at = ?"
            " WHERE seq = ? AND state = 'queued' RETURNING schedule",
            (reason, now, seq),
        ).fetchone()
        if row is None:
            return
        if pause:
            _pause_schedule(connection, row["schedule"], pause, now)
        line(connection)
        schedule = _lock_schedule(connection, row["schedule"])
        sql = "SELECT message FROM inbox WHERE seq = ?"
        run = decode_json(Message, select_value(connection, sql, seq)).origin.data
        # Since then, it may have become another alert.
        if schedule.draft.condition and schedule.draft.condition == run["condition"]:
            state = replace(read_state(replace(schedule, watch=run["watch"])), refused_at=now)
            _update(connection, schedule.id, now, watch=encode_json(state))

    @query
    def is_current(self, connection: SqlConnection, seq: int) -> bool:
        """Return whether the run of the turn `seq` may still begin: the schedule was not edited,
        paused or deleted after the run was queued."""
        row = connection.execute(
            "SELECT runs.event_key, runs.state AS run_state, schedules.state, revision,"
            " message FROM schedule_runs AS runs JOIN schedules ON schedules.id = schedule"
            " JOIN inbox ON inbox.seq = runs.seq WHERE runs.seq = ?",
            (seq,),
        ).fetchone()
        if row is None or row["run_state"] != "queued":
            return False
        # A schedule ends when its last run is queued (`advance`). A person may run one that is
        # paused (`run_now`).
        is_manual = ":now:" in row["event_key"]
        states = ("active", "paused") if is_manual else ("active", "ended")
        # The revision is the id of the change that wrote the draft; the run has that of its time.
        run = decode_json(Message, row["message"]).origin.data
        return run["revision"] == row["revision"] and row["state"] in states

    @query
    def find_open_card(self, connection: SqlConnection, id: str, before: int) -> str:
        """Return the id of the oldest undecided proposal of another run than `before` (a `seq`); ""
        if there is none."""
        row = connection.execute(
            "SELECT changes.id FROM schedule_runs AS runs JOIN changes USING (seq)"
            " WHERE runs.schedule = ? AND runs.seq <> ? AND changes.state IN ('open',"
            " 'applying') ORDER BY changes.created_at LIMIT 1",
            (id, before),
        ).fetchone()
        return row["id"] if row else ""

    async def settle_runs(self) -> int:
        """Pause schedules that failed MAX_FAILED_RUNS times in a row."""
        ended = await self._database.read(lambda c: c.execute(_ENDED_RUNS_SQL).fetchall())
        return await self._settle(ended) if ended else 0

    @_schedule_transaction
    def _settle(self, connection: SqlConnection, rows: Sequence[SqlRow]) -> int:
        """Record the results of runs whose turns have ended; `rows` have the states and the answers
        of these turns. Return for how many runs that was not done before."""
        count = 0
        for row in rows:
            # The turn's state decides; the code of its answer says why it failed.
            now, state = self._clock(), _RUN_STATES.get(row["state"] or "", "stopped")
            code = decode_json(Answer, row["answer"]).code if row["answer"] else ""
            # Without a row in the inbox, the turn was erased. A turn that an allowance refused ends
            # as failed, but as a run it was skipped, which does not count as a failure.
            reason = "" if state == "done" else code or (row["state"] or "erased")
            if code == OverBudget.code:
                state, reason = "skipped", "allowance"
            # Nobody is notified of a run that went well, or that a person stopped or erased.
            needs_no_report = int(state in ("done", "stopped"))
            if not connection.execute(
                "UPDATE schedule_runs SET state = ?, reason = ?, ended_at = ?, is_notified = ?"
                " WHERE seq = ? AND state = 'queued'",
                (state, reason, now, needs_no_report, row["seq"]),
            ).rowcount:
                continue  # another process recorded it
            count += 1
            if state == "done":
                connection.execute(
                    "UPDATE schedules SET failures = 0 WHERE id = ?", (row["schedule"],)
                )
            elif state == "failed":
                failed = connection.execute(
                    "UPDATE schedules SET failures = failures + 1 WHERE id = ?"
                    " RETURNING failures, state",
                    (row["schedule"],),
                ).fetchone()
                if failed and failed["failures"] >= MAX_FAILED_RUNS and failed["state"] == "active":
                    _pause_schedule(connection, row["schedule"], "failures", now)
        return count

    @query
    def list_runs(
        self, connection: SqlConnection, id: str, most: int = 10
    ) -> Sequence[ScheduleRun]:
        """The newest run comes first."""
        rows = connection.execute(
            "SELECT * FROM schedule_runs WHERE schedule = ?"
            " ORDER BY started_at DESC, due_at DESC LIMIT ?",
            (id, most),
        )
        return [read_run(row) for row in rows.fetchall()]

    @query
    def find_last_runs(self, connection: SqlConnection) -> Mapping[str, ScheduleRun]:
        return {row["schedule"]: read_run(row) for row in connection.execute(_LAST_RUNS_SQL)}

    @query
    def list_unreported(
        self, connection: SqlConnection, most: int = 50
    ) -> Sequence[tuple[Schedule, ScheduleRun]]:
        """Runs that were skipped, missed or failed, the oldest first."""
        # The first two conditions are those of the index `schedule_runs_unnotified`.
        rows = connection.execute(
            "SELECT * FROM schedule_runs WHERE is_notified = 0 AND state <> 'queued'"
            " AND state IN ('skipped', 'missed', 'failed') ORDER BY started_at, due_at LIMIT ?",
            (most,),
        ).fetchall()
        return [(read_schedule(_find_row(connection, r["schedule"])), read_run(r)) for r in rows]

    @transaction
    def record_reported(
        self,
        connection: SqlConnection,
        event_key: str,
        notices: Sequence[tuple[Person, PersonNotice]] = (),
    ) -> None:
        """Store the notices about a run, once."""
        if connection.execute(
            "UPDATE schedule_runs SET is_notified = 1 WHERE event_key = ? AND is_notified = 0",
            (event_key,),
        ).rowcount:
            for person, notice in notices:
                put_person_notice(connection, person, notice)

    @transaction
    def purge(self, connection: SqlConnection, before: float) -> int:
        _delete_runs(connection, f"schedule IN (SELECT id FROM {_OLD_SQL})", (before,))  # noqa: S608
        return connection.execute(f"DELETE FROM {_OLD_SQL}", (before,)).rowcount  # noqa: S608

    def _queue_run(
        self, connection: SqlConnection, schedule: Schedule, due: float, key: str, is_late: bool
    ) -> tuple[ScheduleRun, _Queued]:
        """Store the message of a run and its row, in the caller's transaction, and return the run
        and what `_enqueue` needs. `key` is the event key, by which the message and the row are
        stored once."""
        to = self._find_destination(schedule.reply_to)
        row = connection.execute(_READ_UNTIL_SQL, (schedule.id,)).fetchone()
        read_until = row["handle"] if row else ""
        message = make_run_message(schedule, to, due, key, is_late, read_until)
        # `_`: whether the message runs at once. That of a run never does.
        receipt, _ = self._inbox.store_message(connection, message)
        run = _insert_run(
            connection, schedule, key, due, self._clock(), "queued", receipt.seq, is_late=is_late
        )
        return run, (message, receipt)

    def _enqueue(self, written: tuple[ScheduleRun | None, _Queued | None]) -> None:
        if written[1]:
            self._inbox.enqueue(*written[1], False)


_Queued = tuple[Message, Receipt]


def _check_count(
    connection: SqlConnection, people: Collection[str], most: int, kind: ScheduleKind
) -> None:
    """Other transactions that start a schedule of these people wait until this one ends."""
    sign = "=" if kind == "alert" else "<>"
    marks = ", ".join("?" for _ in people)
    # All accounts of one person lock the same key: the first one in alphabetical order.
    connection.lock_key(f"schedules:{min(people)}")
    counts = connection.execute(
        f"SELECT count(*) AS n FROM schedules WHERE person IN ({marks})"  # noqa: S608
        f" AND state IN ('active', 'paused') AND kind {sign} 'alert'",
        [*people],
    ).fetchone()
    if counts["n"] >= most:
        raise BadSchedule(
            "You have {count} alerts, the limit for each person. Delete one first."
            if kind == "alert"
            else "You have {count} schedules, the limit for each person. Delete one first.",
            count=most,
        )


def _activate_schedule(connection: SqlConnection, schedule: Schedule, now: float) -> None:
    due = next_after(schedule.draft.rule, schedule.draft.time_zone, now)
    if due is None or (schedule.draft.ends_at and due > schedule.draft.ends_at):
        raise BadSchedule(
            "All of this schedule's times have passed. Edit the schedule and choose a later time."
        )
    if schedule.draft.condition and read_condition(schedule.draft).tells_now and not schedule.watch:
        due = now  # what is true already is posted right away
    _update(connection, schedule.id, now, state="active", reason="", next_due_at=due, failures=0)


def _pause_schedule(connection: SqlConnection, id: str, reason: PauseReason, now: float) -> None:
    connection.execute(
        "UPDATE schedules SET state = 'paused', reason = ?, next_due_at = 0, updated_at = ?"
        " WHERE id = ? AND state IN ('active', 'paused')",
        (reason, now, id),
    )


def _is_running(connection: SqlConnection, id: str) -> bool:
    return connection.execute(_RUNNING_SQL, (id,)).fetchone() is not None


def _insert_run(
    connection: SqlConnection,
    schedule: Schedule,
    key: str,
    due: float,
    now: float,
    state: RunState,
    seq: int = 0,
    **facts: Any,
) -> ScheduleRun:
    """A row with this key, which can exist if the clock was set back, stays as it is. `now` is
    stored as `started_at`, which orders the runs, also for one that never begins. `facts` are other
    fields of the run."""
    ended = 0.0 if state == "queued" else now
    run = ScheduleRun(key, schedule.id, due, state, seq, **facts, started_at=now, ended_at=ended)
    values = {**asdict(run), "is_late": int(run.is_late), "person": schedule.owner.key}
    _insert(connection, "schedule_runs", values, " ON CONFLICT DO NOTHING")
    return run


def _insert(
    connection: SqlConnection, table: str, values: Mapping[str, object], end: str = ""
) -> None:
    names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks}){end}"  # noqa: S608
    connection.execute(sql, values)


def _delete_runs(connection: SqlConnection, where: str, values: Sequence[object]) -> None:
    """Nothing else says whose runs those were, so the erasure of a person could not find the
    notices later."""
    connection.execute(
        "DELETE FROM outbox WHERE kind = 'person' AND change IN"  # noqa: S608
        f" (SELECT event_key FROM schedule_runs WHERE {where})",
        values,
    )
    connection.execute(f"DELETE FROM schedule_runs WHERE {where}", values)  # noqa: S608


def _delete_old_runs(connection: SqlConnection, id: str) -> None:
    """Delete all but the newest that have ended, and the last one that was posted: a digest
    continues where it ended (`_READ_UNTIL_SQL`)."""
    _delete_runs(
        connection,
        "schedule = ? AND state <> 'queued' AND event_key NOT IN (SELECT event_key FROM"
        " schedule_runs WHERE schedule = ? ORDER BY started_at DESC, due_at DESC LIMIT ?)"
        " AND (state <> 'done' OR seq < (SELECT max(seq) FROM schedule_runs"
        " WHERE schedule = ? AND state = 'done'))",
        (id, id, KEPT_RUNS, id),
    )


def _find_row(connection: SqlConnection, id: str, lock: bool = False) -> SqlRow:
    end = connection.row_lock if lock else ""
    row: SqlRow | None = connection.execute(
        f"SELECT * FROM schedules WHERE id = ?{end}",  # noqa: S608
        (id,),
    ).fetchone()
    if row is None:
        raise NotFound("Schedule {id} not found.", id=id)
    return row


def _add_audit_line(
    connection: SqlConnection, event: str, schedule: Schedule, by: Person | None, change: str = ""
) -> None:
    """`change` is the id of the approved change by which they did it, if any."""
    if by is not None:
        # `person` is whose schedule it is; the line names `by` as the asker.
        facts = {"person": schedule.owner.key, "schedule": schedule.id, "change": change}
        audit_step(event, by, schedule.address, **facts)(connection)


def _lock_schedule(connection: SqlConnection, id: str) -> Schedule:
    return read_schedule(_find_row(connection, id, lock=True))


def _update(connection: SqlConnection, id: str, now: float, **values: object) -> None:
    columns = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(
        f"UPDATE schedules SET {columns}, updated_at = :now WHERE id = :id",  # noqa: S608
        {**values, "now": now, "id": id},
    )


def _lock_live_schedule(connection: SqlConnection, id: str) -> Schedule:
    schedule = _lock_schedule(connection, id)
    if schedule.state == "ended":
        raise BadSchedule("This schedule has ended.")
    return schedule
