"""The inbox: it stores each message and runs its turn.

A conversation has one turn at a time, in the order of its messages. Conversations run side by side.
Decisions (`stop`, `approve` and others) run at once.

`SqlInbox` stores messages, and `core.journal.turn_runner` runs their turns.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from core.base.errors import Forgotten, NotStored, TooManyDeliveries
from core.base.tasks import BoundedDict
from core.commands import grammar
from core.domain.messages import Answer, Item, Message, decode_json, encode_json
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import (
    ALL_CONVERSATIONS,
    FINAL_STATES,
    AmendResult,
    ConversationArea,
    Receipt,
    Turn,
)
from core.journal.jobs import Jobs
from core.journal.turn_queue import Sender
from core.journal.turn_runner import Admit, LocalRunner, get_row
from core.observability import metrics
from core.store.database import (
    Database,
    SqlConnection,
    SqlStore,
    area_condition,
    select_value,
    transaction,
)

T = TypeVar("T")
Queued = tuple[Message, Receipt, bool]
PURGED_MESSAGES_PER_TRANSACTION = 500
MAX_CHARACTERS_IN_MEMORY = 4_000
DELETED_MESSAGE_TEXT = "[deleted by its author]"


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """Messages of one person in a minute, and turns that may wait. 0 is no limit. Decisions, such
    as `stop` and `approve`, are never limited."""

    per_minute: int = 0
    waiting: int = 0

    @property
    def has_any(self) -> bool:
        return bool(self.per_minute or self.waiting)

    def exceeded_limit(self, connection: SqlConnection, person: str, now: float) -> str:
        """Return the limit that the message just stored exceeds, as in "fast:20" (more than 20 in
        this minute) or "waiting:5". Return "" if it exceeds none. `person` is the sender's key, and
        both counts include the new message."""
        if self.per_minute and _is_too_fast(connection, person, self.per_minute, now):
            return f"fast:{self.per_minute}"
        if self.waiting:
            # On Postgres, messages that are stored at the same moment do not see each other. So
            # this waits until an earlier one of the person is committed, and counts it, too.
            connection.lock_key(f"waiting:{person}")
            sql = (  # neither decisions nor runs of the person's schedules count
                "SELECT count(*) FROM inbox WHERE person = ? AND is_decision = 0 AND state = 'new'"
                " AND event_key NOT LIKE 'schedule:%'"
            )
            if select_value(connection, sql, person) > self.waiting:
                return f"waiting:{self.waiting}"
        return ""


class SenderConfig(Protocol):
    """The limits are read for each message, because an operator can reload the configuration while
    Ponte runs."""

    @property
    def sender_limits(self) -> SenderLimits: ...


class SqlInbox(SqlStore):
    """Stores each message that people send to Ponte in the table `inbox`, and queues its turn (the
    `Inbox` port). A message over its sender's limit is stored as refused and answered at once."""

    def __init__(
        self,
        database: Database,
        runner: LocalRunner | Jobs | None = None,  # `Jobs` if processes share the database
        config: SenderConfig | None = None,  # None: no limits
    ) -> None:
        super().__init__(database)
        self._config = config
        self._new_messages: BoundedDict[int, tuple[Message, float]] = BoundedDict(1000)
        """A cache that saves a read at the turn's beginning. The database has all messages, so a
        bound is harmless."""
        self._runner = runner = runner or LocalRunner(database)
        # The other parts of Ponte know the inbox, and not which runner it has.
        self.run, self.drain, self.running_turn = runner.run, runner.drain, runner.running_turn
        # The number of working turns is limited. One that only waits leaves its place to another.
        self.leave_place, self.take_place = runner.leave_place, runner.take_place
        # Whether a person stopped a turn, and whether another process has it now.
        self.is_stopped, self.is_taken_over = runner.is_stopped, runner.is_taken_over

    @property
    def _limits(self) -> SenderLimits:
        return self._config.sender_limits if self._config else SenderLimits()

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        """The message is durable on return, so the caller can acknowledge it to the platform. A
        message that is stored already is not queued again.

        `also` runs in the same transaction, if the message is new. Raise NotStored if the database
        fails, and TooManyDeliveries if a webhook sent more than it may in a minute. Then nothing is
        stored.
        """
        decides = grammar.is_decision(message)  # commands such as `approve` run at once
        limits, waiting = self._limits, 0

        def take(receipt_and_decision: tuple[Receipt, bool]) -> None:
            # `write` calls this after the commit, even if the caller was cancelled meanwhile.
            nonlocal waiting
            waiting = self.enqueue(message, *receipt_and_decision)

        # With limits or `also`, `store` runs several statements, which need a transaction.
        single = not limits.has_any and not message.origin.per_minute and also is NO_STEP

        def store(connection: SqlConnection) -> tuple[Receipt, bool]:
            # `decides_now` is also True for a message over its sender's limits, so that the person
            # gets the refusal at once.
            receipt, decides_now = self.store_message(connection, message, decides, limits)
            if receipt.is_new:
                also(connection)
            return receipt, decides_now

        with metrics.store_seconds.labels(message.address.platform).time():
            try:
                receipt, _ = await self._database.write(store, take, single=single)
            except NotStored:
                metrics.store_failures.inc()
                raise
        # Only one of both numbers is not 0: processes that share a database count while they store
        # the message, and a single process counts while it queues the message.
        return replace(receipt, turns_ahead=receipt.turns_ahead + waiting)

    def store_message(
        self,
        connection: SqlConnection,
        message: Message,
        runs_at_once: bool = False,
        limits: SenderLimits | None = None,
    ) -> tuple[Receipt, bool]:
        """Store a message, unless it is stored already, as a part of the caller's transaction.
        `runs_at_once`: it is a decision (`stop`, `approve ID`), which does not wait for the turns
        before it. A message over its sender's `limits` is stored as refused, and runs at once too:
        then the person gets the refusal immediately. Return the receipt, and whether the message
        runs at once. Call `enqueue` with both once the transaction is committed."""
        now, refusal = time.time(), ""
        is_limited = limits is not None and limits.has_any and not runs_at_once
        values: dict[str, object] = _sender_of(message)._asdict()
        turn, key = message.turn, message.event_key
        values |= {"turn": turn, "event_key": key, "message": encode_json(message)}
        values |= {"is_decision": runs_at_once, "now": now}
        # The statement first locks the conversation, in FROM, which runs before a row is made:
        # without that, on Postgres, a message with a higher `seq` could be committed first.
        # `WHERE 1 = 1` is for SQLite, which would read ON as the condition of a join. A stored
        # message with the same key leaves no row (`event_key` is unique). `queue_sql` is an
        # expression over the new row: its value is how many turns come first, and where processes
        # share the queue it also queues the message (else `enqueue` does). One with a limit is
        # queued below, when it is known whether it is refused.
        queue_sql = "0" if is_limited else self._runner.queue_sql(runs_at_once)
        row = connection.execute(
            "INSERT INTO inbox (event_key, turn, conversation, channel, person, is_decision,"  # noqa: S608
            " message, created_at, updated_at) SELECT :event_key, :turn, :conversation, :channel,"
            " :person, :is_decision, :message, :now, :now"
            f" FROM {connection.lock_source} AS lock WHERE 1 = 1"
            f" ON CONFLICT DO NOTHING RETURNING seq, {queue_sql} AS turns_ahead",
            values,
        ).fetchone()
        if row is not None:
            seq, turns_ahead = row["seq"], row["turns_ahead"]
            most = message.origin.per_minute
            if most and _is_too_fast(connection, message.author.key, most, now):
                raise TooManyDeliveries  # this rolls the transaction back, with the new row
            if limits is not None and is_limited:
                if refusal := limits.exceeded_limit(connection, message.author.key, now):
                    runs_at_once = True  # the refusal must not wait behind the person's turns
                    connection.execute(
                        "UPDATE inbox SET is_decision = 1, refusal = ? WHERE seq = ?",
                        (refusal, seq),
                    )
                sql = f"SELECT {self._runner.queue_sql(runs_at_once)} FROM inbox WHERE seq = ?"  # noqa: S608
                turns_ahead = select_value(connection, sql, seq)
            return Receipt(seq, turn, True, int(turns_ahead), refusal), runs_at_once
        # The platform delivered the message a second time: return the receipt of the first time.
        # The turn follows from the key, so it is the same.
        row = connection.execute(
            "SELECT seq, refusal FROM inbox WHERE event_key = ?", (message.event_key,)
        ).fetchone()
        receipt = Receipt(row["seq"], turn, is_new=False, refusal=row["refusal"])
        return receipt, runs_at_once

    def enqueue(self, message: Message, receipt: Receipt, decision: bool) -> int:
        """Queue a message that `store_message` stored, after its transaction. Return how many turns
        of its conversation come first in this process's queue; 0 if processes share the queue,
        because the receipt has the number then.

        `decision`: it runs at once. A message that was stored before is queued already: return 0.
        """
        if not receipt.is_new:
            return 0
        quotes = (*message.context, *message.program_context)
        length = len(message.text) + sum(len(quote.text) for quote in quotes)
        # `recheck` is None if all turns run in this process. Then a short message waits in memory,
        # so that its turn need not read it. Long ones could fill the memory while they wait.
        if self._runner.recheck is None and length <= MAX_CHARACTERS_IN_MEMORY:
            self._new_messages[receipt.seq] = message, time.time()
        return self._runner.enqueue(receipt.seq, _sender_of(message), decision)

    async def find_times(self, event_keys: Collection[str]) -> Mapping[str, float]:
        marks, keys = ", ".join("?" * len(event_keys)), tuple(event_keys)
        sql = f"SELECT event_key, created_at FROM inbox WHERE event_key IN ({marks})"  # noqa: S608
        rows = await self._database.read(lambda c: c.execute(sql, keys).fetchall(), single=True)
        return {row["event_key"]: row["created_at"] for row in rows}

    async def amend(self, event_key: str, message: Message | None) -> AmendResult:
        """`message` is None if it was deleted. Return "unstarted" or "started", as its turn is, or
        "unknown" if the edit changes nothing. An edit before the turn begins can turn a message
        into a decision (such as `approve ID`), or a decision into a message. Such a message counts
        as typed now."""

        def wake(amended: tuple[int, AmendResult, Queued | None]) -> None:
            seq, _, retyped = amended
            self._new_messages.pop(seq, None)  # it has the text before the edit
            # The row was withdrawn or deleted. Who waits for its answer reads that now.
            if message is None or retyped:
                self._runner.wake(seq)
            if retyped:
                self.enqueue(*retyped)

        return (
            await self._database.write(lambda c: self._amend_message(c, event_key, message), wake)
        )[1]

    def _amend_message(
        self, connection: SqlConnection, event_key: str, message: Message | None
    ) -> tuple[int, AmendResult, Queued | None]:
        """Store an edited message, or withdraw a deleted one (`message` is None). An edit older
        than what is stored is ignored ("unknown"), as is an edit of a withdrawn message.

        Return the `seq`; the result for the caller of `amend` ("unstarted" or "started": whether
        the message's turn had begun; "unknown": there is nothing to change); and, if the message
        was stored once more at the end of the queue, what `enqueue` needs for it, else None.
        """
        # `read_locked_message` needs the `seq`: it locks the conversation and then reads the row.
        seq = select_value(connection, "SELECT seq FROM inbox WHERE event_key = ?", event_key)
        row = connection.read_locked_message(seq) if seq else None
        if row is None:
            return 0, "unknown", None
        seq, state, before = row["seq"], row["state"], decode_json(Message, row["message"])
        # A turn that never began has no thread and no records. One that was put back into the queue
        # is "new" again and has a thread. A turn that has ended works with no text any more, so
        # its message can be replaced.
        is_first_attempt = state == "new" and not row["thread"]
        if not (is_first_attempt or state in FINAL_STATES) and _is_too_late(
            connection, seq, before, message
        ):
            # The turn has recorded something, or it is a decision, which may be half carried out.
            return seq, "started", None
        if message is None:
            _withdraw_message(connection, seq, before, state)
            return seq, "unstarted" if state in ("new", "withdrawn") else "started", None
        # `_withdraw_message` leaves the state of a turn that has begun, but empties its message. A
        # message that waits can be empty without that: a mention alone, or what an edit left of it.
        is_withdrawn = state == "withdrawn" or (
            state != "new" and not (before.text or before.attachments)
        )
        if is_withdrawn or message.sent_at < before.sent_at:
            return seq, "unknown", None
        files, at = message.attachments, message.sent_at
        edited = replace(
            before, text=message.text, attachments=files, mentions=message.mentions, sent_at=at
        )
        # Decisions run before other messages, so an edit from one to the other needs a new place in
        # the queue.
        if is_first_attempt and grammar.is_decision(before) != grammar.is_decision(edited):
            return seq, "unstarted", self._store_again(connection, seq, edited)
        _rewrite_message(connection, seq, edited)
        return seq, "unstarted" if state == "new" else "started", None

    def _store_again(self, connection: SqlConnection, seq: int, message: Message) -> Queued:
        """Replace a stored message whose turn has done nothing yet by `message`, and store it as if
        it was sent now: it gets a new `seq`, at the end of the queue. Return what `enqueue` needs
        after the commit."""
        # Before the row goes, its turn must end: on a shared database, a trigger then deletes the
        # turn's job and starts the next turn of the conversation.
        connection.execute("UPDATE inbox SET state = 'withdrawn' WHERE seq = ?", (seq,))
        connection.execute("DELETE FROM inbox WHERE seq = ?", (seq,))
        decides = grammar.is_decision(message)
        return message, *self.store_message(connection, message, decides, self._limits)

    async def allow_again(self, event_key: str) -> None:
        """Delete a message that was withdrawn and not answered, so that it is accepted again: an
        edit of a Discord message can first remove the mention of Ponte and later restore it.

        A message whose turn wrote something or called a tool stays, so that nothing is done twice.
        """
        # "withdrawn": before its turn began. "removed": the turn ended because the message or its
        # answer's post was deleted.
        await self._execute(
            "DELETE FROM inbox WHERE event_key = ? AND state IN ('withdrawn', 'removed')"
            " AND answer IS NULL AND NOT EXISTS (SELECT 1 FROM items WHERE items.seq = inbox.seq)"
            " AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.seq = inbox.seq)",
            event_key,
        )

    async def requeue(self, turn: Turn, message: Message) -> bool:
        """Give a turn that has begun, but done nothing yet, the text of `message`, and queue it
        again. Return False if its message was deleted, or its turn was begun again, meanwhile.

        The person has edited the message, and only one of the two texts is a decision (such as
        `approve ID`). Decisions do not wait for other turns, so the turn belongs into another
        queue.
        """

        def replace_turn(connection: SqlConnection) -> Queued | None:
            row = connection.read_locked_message(turn.seq)
            # Deleted, or begun again by another process.
            if row is None or (row["state"], row["attempt"]) != ("running", turn.attempt):
                return None
            before = decode_json(Message, row["message"])
            # The attachments of `message` include those of its context. Its own ones are read from
            # the platform again when the next attempt begins.
            edited = replace(before, text=message.text, mentions=message.mentions)
            # The text is empty if the person has deleted the message since the turn began.
            return self._store_again(connection, turn.seq, edited) if before.text else None

        def enqueue(queued: Queued | None) -> None:
            if queued:
                self.enqueue(*queued)

        return await self._database.write(replace_turn, enqueue) is not None

    async def wait_for_answer(self, seq: int) -> Answer:
        """Raise Forgotten if the message was withdrawn or erased."""
        return await self._runner.wait_until_ended(
            seq, lambda: self._database.read(lambda c: _read_answer(c, seq), single=True)
        )

    async def cancel(self, seq: int) -> bool:
        """Return whether the turn will stop; False if it had ended or does not exist."""
        self._new_messages.pop(seq, None)
        if self._runner.cancel(seq):
            return True
        if await self._withdraw(seq):
            self._runner.wake(seq)  # callers that wait for its answer learn that none will come
            return True
        # The turn began in this process between the two looks, or it has ended.
        return self._runner.cancel(seq)

    @transaction
    def _withdraw(self, connection: SqlConnection, seq: int) -> bool:
        """Withdraw a message that waits, or ask another process that runs its turn to stop. Return
        whether one of both was done; False if the turn has ended, or runs in this process."""
        row = connection.read_locked_message(seq)
        if row is None or row["state"] in FINAL_STATES:
            return False
        if row["state"] != "new":
            return self._runner.request_stop(connection, row)
        _withdraw_message(connection, seq, decode_json(Message, row["message"]), "new")
        return True

    def set_admission(self, admit: Admit) -> None:
        self._runner.admit = admit

    async def find_unstarted(self, seq: int) -> tuple[Message, float] | None:
        """Return the message of a turn without a stored answer, and when it was stored (seconds
        since 1970). Return None for any other turn.

        Messages that are still in memory are tried first, because that saves a read of the
        database. They leave the memory, since the turn asks only once.
        """
        if new := self._new_messages.pop(seq, None):
            return new
        # With a shared database, a message (JSON) comes with the job that this process fetched.
        if fetched := self._runner.fetched_message(seq):
            return decode_json(Message, fetched[0]), fetched[1]
        row = await self._database.read(lambda c: get_row(c, seq), single=True)
        if row is None or row["state"] not in ("new", "running"):
            return None
        return decode_json(Message, row["message"]), row["created_at"]

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Delete the area's finished messages that changed last before `before` (seconds since
        1970), with the rows that belong to them.

        Each transaction deletes one batch, so that other writes need not wait long. Nobody returns
        to the conversation of a single request to the API (`is_one_request`), so in an area of
        those the conversations are deleted, too.
        """
        last = total = 0  # `last`: the `seq` up to which everything is deleted; 0 begins and ends
        while True:
            last, deleted = await self._purge_oldest(before, area, last)
            total += deleted
            if not last:
                break
        if area.is_one_request:
            await self._database.write(lambda c: _drop_conversations(c, before, area))
        return total

    @transaction
    def _purge_oldest(
        self, connection: SqlConnection, before: float, area: ConversationArea, after: int
    ) -> tuple[int, int]:
        """Return the last `seq` and how many were deleted.

        The caller passes that `seq` as `after` to the next call, and 0 to the first one. A result
        of 0 tells that none is left.
        """
        there, values = area_condition(area)  # an SQL condition on `conversation`
        old = "SELECT seq FROM inbox_finished WHERE updated_at < ?"  # a view of ended turns
        if area != ALL_CONVERSATIONS:
            old += f" AND seq IN (SELECT seq FROM inbox WHERE {there})"  # noqa: S608
        sql = f"SELECT max(seq) FROM ({old} AND seq > ? ORDER BY seq LIMIT ?) AS oldest"  # noqa: S608
        limit = PURGED_MESSAGES_PER_TRANSACTION
        last = select_value(connection, sql, before, *values, after, limit)
        if last is None:
            return 0, 0
        # The condition reads only `inbox`, so it holds until `inbox` itself comes, last. The other
        # tables have rows of the same `seq`: the turn's model rounds, tool calls and posts.
        for table in (*self._database.schema.purged_with("inbox"), "inbox"):
            deletion = connection.execute(
                f"DELETE FROM {table} WHERE seq <= ? AND seq IN ({old} AND seq > ?)",  # noqa: S608
                (last, before, *values, after),
            )
        return last, deletion.rowcount  # that of `inbox`, which comes last


def _sender_of(message: Message) -> Sender:
    address = message.address
    return Sender(address.conversation, address.channel_key, message.author.key)


def _drop_conversations(connection: SqlConnection, before: float, area: ConversationArea) -> None:
    """Delete the conversations of `area` that nobody used since `before` (seconds since 1970) and
    that have neither messages nor transcript items. Each is of a single request (API, MCP), to
    which nobody returns, so the empty rows would pile up."""
    there, values = area_condition(area)
    unused = (
        f"SELECT conversation FROM conversations WHERE used_at < ? AND {there}"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM inbox"
        "  WHERE inbox.conversation = conversations.conversation)"
        " AND NOT EXISTS (SELECT 1 FROM items JOIN threads ON threads.id = items.thread"
        "  WHERE threads.conversation = conversations.conversation)"
    )
    for table in ("threads", "conversations"):  # `unused` reads `conversations`, so it comes last
        connection.execute(
            f"DELETE FROM {table} WHERE conversation IN ({unused})",  # noqa: S608
            (before, *values),
        )


def _is_too_fast(connection: SqlConnection, person: str, limit: int, now: float) -> bool:
    """Return whether the person (a key) has sent `limit` messages in the last minute; if not,
    count one more."""
    # Each second has a counter. Without the lock (on Postgres), transactions at the same moment
    # would not see each other's.
    scope, second = f"minute:{person}", int(now)
    connection.lock_key(scope)
    sql = "DELETE FROM counters WHERE scope = ? AND period NOT BETWEEN ? AND ?"
    connection.execute(sql, (scope, str(second - 60), str(second)))
    sql = "SELECT coalesce(sum(turns), 0) FROM counters WHERE scope = ?"
    if is_below := select_value(connection, sql, scope) < limit:
        sql = (
            "INSERT INTO counters (scope, period, person, turns) VALUES (?, ?, ?, 1)"
            " ON CONFLICT (scope, period) DO UPDATE SET turns = counters.turns + 1"
        )
        connection.execute(sql, (scope, str(second), person))
    return not is_below


def _read_answer(connection: SqlConnection, seq: int) -> Answer | None:
    """Return the answer of a turn, None if it has not ended. Raise Forgotten if the message was
    withdrawn or erased."""
    row = get_row(connection, seq)
    if row is None or row["state"] == "withdrawn":
        raise Forgotten
    if row["state"] not in FINAL_STATES:
        return None
    if row["answer"]:
        return decode_json(Answer, row["answer"])
    return Answer("", status="stopped")  # ended before there was an answer


def _is_too_late(
    connection: SqlConnection, seq: int, before: Message, message: Message | None
) -> bool:
    """Return whether an edit or deletion comes too late for a turn that has begun, so that the turn
    goes on with its message `before`. `message` is the edited one, None if it was deleted.

    That is so for a decision (such as `approve ID`), which may be half carried out, and for an edit
    if the turn has recorded items or tool calls. The deletion of any other message than a decision
    is never too late: it removes the text.
    """
    if message is None or grammar.is_decision(before):
        return grammar.is_decision(before)
    sql = (
        "SELECT EXISTS (SELECT 1 FROM items WHERE seq = ?)"
        " OR EXISTS (SELECT 1 FROM calls WHERE seq = ?)"
    )
    return bool(select_value(connection, sql, seq, seq))


def _withdraw_message(connection: SqlConnection, seq: int, message: Message, state: str) -> None:
    """`state` is that of its turn: one that is "new" never runs; one that has begun goes on, and
    the text is replaced in the transcript, too."""
    # A turn that has begun still needs the token (a secret of the platform) to answer; its end
    # erases the token.
    to = message.reply_to if state != "new" else replace(message.reply_to, token="")
    bare = replace(
        message, text="", attachments=(), context=(), program_context=(), mentions=(), reply_to=to
    )
    _rewrite_message(connection, seq, bare)
    connection.execute(
        "UPDATE inbox SET state = 'withdrawn' WHERE seq = ? AND state = 'new'", (seq,)
    )
    for row in connection.execute("SELECT id, item FROM items WHERE seq = ?", (seq,)).fetchall():
        item = decode_json(Item, row["item"])
        if item.role == "user":
            blank = encode_json(replace(item, text=DELETED_MESSAGE_TEXT, files=()))
            connection.execute("UPDATE items SET item = ? WHERE id = ?", (blank, row["id"]))


def _rewrite_message(connection: SqlConnection, seq: int, message: Message) -> None:
    sql = "UPDATE inbox SET message = ?, updated_at = ? WHERE seq = ?"
    connection.execute(sql, (encode_json(message), time.time(), seq))
