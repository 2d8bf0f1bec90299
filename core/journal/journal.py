"""The journal of turns: the SQL that records every step of a turn, so that it survives a crash.

A write that continues a turn checks its attempt and generation in the same transaction. So a
process that has lost a turn cannot continue it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from core.base.errors import BadInput, Superseded, TakenOver
from core.changes import ledger as changes
from core.domain.messages import Answer, Card, Item, Message, Post, Usage, decode_json, encode_json
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import (
    ALL_CONVERSATIONS,
    FINAL_STATES,
    ConversationArea,
    ForgetResult,
    Outcome,
    Provenance,
    RecordedMessage,
    Remote,
    RoundOutput,
    Thread,
    ToolCall,
    Turn,
    TurnState,
    TurnSummary,
)
from core.domain.rights import Need
from core.journal import threads
from core.journal.thread_map import STORE_RECORD_SQL, find_record, record_values
from core.journal.threads import SqlThreads
from core.journal.turn_rows import IS_OPEN, read_items, read_turn, turn_begun_by_fetch
from core.money import settlement
from core.money.budget import ADD_USAGE_SQL, SqlReservation
from core.store.database import Database, SqlConnection, SqlRow, query, select_value, transaction

T = TypeVar("T")
P = ParamSpec("P")
MAX_LISTED_TURNS = 50
MAX_SEARCHED_TURNS = 5_000
"""How many of the newest messages are searched for failed turns, because no index finds them."""
_SUMMARY_COLUMNS = ("turn", "person", "conversation", "state", "reason", "created_at", "updated_at")
LOST_CALL_TEXT = "error: interrupted, result unknown"
_IS_CURRENT = (
    "now.attempt = :attempt AND (now.is_decision = 1 OR now.generation = :generation)"
    f" AND now.state NOT IN ({', '.join(repr(state) for state in sorted(FINAL_STATES))})"
)
_ADD_RESPONSE_SQL = (
    "INSERT INTO rounds (seq, number, response) SELECT :seq, :number, :response FROM now"  # noqa: S608
    f" WHERE {_IS_CURRENT} ON CONFLICT (seq, number) DO UPDATE SET response = excluded.response"
)
_ADD_KEY_SQL = (
    "INSERT INTO posts (seq, number, person, key, state, updated_at) SELECT :seq, :post_number,"
    " :author, :key, 'posting', :at FROM now WHERE {condition} ON CONFLICT (seq, number) DO UPDATE"
    " SET key = excluded.key, updated_at = excluded.updated_at WHERE posts.state = 'posting'"
)
"""After a crash, Ponte looks for this post on the platform (`Surface.find`) before it posts again.
A part that was posted or removed already does not change. One that an earlier attempt only began
gets the new key."""
_ADD_ITEMS_SQL = (
    "INSERT INTO items (seq, thread, person, item, created_at, needs)"
    " SELECT :seq, :thread, :person, new.column2, :at, :needs FROM (VALUES {rows}) AS new,"
    " {source} ORDER BY new.column1"
)
_ADD_ROUND_SQL = (
    "INSERT INTO rounds (seq, number, is_complete, model) SELECT :seq, :number, 1, :spender"
    " FROM now WHERE {condition} ON CONFLICT (seq, number) DO UPDATE SET is_complete = 1,"
    " model = excluded.model WHERE rounds.is_complete = 0"
)
"""Changes no row if the round is complete. One that is not has only the id of the response
(`record_response`)."""
_START_CALL_STEPS = (
    "INSERT INTO calls (seq, call_id, person, name, arguments, effect, started_at)"  # noqa: S608
    " SELECT :seq, :call_id, :author, :name, :arguments, :effect, :at FROM now"
    f" WHERE {_IS_CURRENT} ON CONFLICT (seq, call_id) DO UPDATE SET started_at"
    " = excluded.started_at",
    "UPDATE threads SET has_outside_text = 1 FROM previous WHERE id = :thread",
)
"""Record that a tool call started, and that its thread contains text from outside: what the tool
returns may try to mislead the model. A call that only reads or proposes starts once more if the
turn is resumed."""
_PUT_BACK_SQL = (
    "UPDATE inbox SET attempt = inbox.attempt - 1, owner = '', state = CASE inbox.state WHEN"  # noqa: S608
    f" 'running' THEN 'new' ELSE inbox.state END FROM now WHERE inbox.seq = :seq AND {_IS_CURRENT}"
)
_SET_HANDLE_SQL = (
    "UPDATE calls SET handle = :handle FROM now"  # noqa: S608
    f" WHERE calls.seq = :seq AND call_id = :call_id AND {_IS_CURRENT}"
)
_IS_UNANSWERED = f"{_IS_CURRENT} AND now.state = 'running' AND (:settles = 1 OR NOT now.has_holds)"
_ADD_ANSWER_SQL = (
    "UPDATE inbox SET state = :state, answer = :answer, updated_at = :at FROM now"  # noqa: S608
    f" WHERE inbox.seq = :seq AND {_IS_UNANSWERED}"
)
_BEGIN_POSTING_SQL = (
    "UPDATE inbox SET state = 'posting' FROM now WHERE inbox.seq = :seq"  # noqa: S608
    f" AND now.state = 'answered' AND {_IS_CURRENT}"
)
_ADD_POST_SQL = (
    "UPDATE posts SET post = :post, state = 'posted', updated_at = :at FROM now"
    " WHERE posts.seq = :seq AND posts.number = :number AND posts.state <> 'removed'"
    " AND now.attempt <= :attempt"
)
"""An older generation may do so, too. A post that a person has deleted stays removed, so that it is
not made again."""
_END_TURN_SQL = (
    "UPDATE inbox SET state = :state, reason = :reason, updated_at = :at FROM now"  # noqa: S608
    f" WHERE inbox.seq = :seq AND {_IS_CURRENT}"
)


class Journal(SqlThreads):
    """The durable record of turns and threads. Each method is one transaction, durable on return;
    but a power failure may undo `begin`, `end_turn` and a `record_user_message` that reserved no
    money. The next start then repeats them.

    A Turn with an outdated attempt or generation raises Superseded. TakenOver means that the turn
    belongs to another process now. A full disk raises NotStored.
    """

    def __init__(
        self, database: Database, owner: str = "", is_alive: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(database)
        self.on_end: Callable[[int], None] | None = None
        self.take_begun: Callable[[int], Mapping[str, Any] | None] | None = None
        """Returns what is known of the turn if the query that fetched its job also began it (the
        SQL function `ponte_begin`), otherwise None."""
        # False once other processes may take over its turns. None: no other shares the database.
        self._is_alive = is_alive
        self._owner = owner or secrets.token_hex(8)
        """`begin` counts another attempt only if a different process has the turn."""

    def check_ownership(self) -> None:
        """Raise TakenOver if other processes may count this one as dead: then one of them may
        already run this process's turns, and this process must not post or write any more."""
        if self._is_alive and not self._is_alive():
            raise TakenOver

    async def begin(self, seq: int) -> Turn | None:
        """Start an attempt of a turn and return the turn. Return None if the turn has ended.

        On a shared database, the query that fetched the turn's job usually began the turn, too, to
        save a transaction; `take_begun` then returns its facts once. `take_begun` is None where one
        process is alone with its database. The attempt counts even if the process is killed at
        once. After a power failure, it may not count.
        """
        if self.take_begun and (turn_facts := self.take_begun(seq)):
            turn = turn_begun_by_fetch(seq, turn_facts)
            if not turn.message.replaced_turn:
                return turn
            # The fetch does not mark the turn that this one replaces. `_begin_turn` does so, and
            # counts no second attempt, because this process has the turn already.
        # `repeatable`: a power failure may undo it, since the next start then begins the turn.
        return await self._database.write(
            lambda c: _begin_turn(c, seq, self._owner), repeatable=True
        )

    async def _write_if_current(
        self,
        turn: Turn,
        work: Callable[[SqlConnection, SqlRow], T],
        steps: Sequence[str] = (),
        values: Mapping[str, object] = MappingProxyType({}),
        *,
        single: bool = False,
        repeatable: bool = False,
    ) -> T:
        """Run `work` in a transaction if this is the turn's current attempt, and return its result.
        `work` gets the turn's row of the view `current_turns`, and runs after `steps`
        (`_read_current`). `single`: it runs no statement. `repeatable`: a power failure may undo
        it, because the next start does it again."""

        def write(connection: SqlConnection) -> T:
            current = _read_current(connection, turn, steps, values)
            if current is None:
                raise Superseded
            return work(connection, current)

        result = await self._database.write(write, single=single, repeatable=repeatable)
        # The write may have taken so long that other processes count this one as dead by now.
        self.check_ownership()
        return result

    async def _write_steps(
        self, turn: Turn, steps: Sequence[str], values: Mapping[str, object]
    ) -> None:
        """Run `steps`, which each test `_IS_CURRENT`, as one statement without BEGIN and COMMIT."""
        await self._write_if_current(turn, lambda *_: None, steps, values, single=True)

    async def record_user_message(
        self,
        turn: Turn,
        items: Sequence[Item],
        reserve: SqlReservation | None = None,
        *,
        pays: bool = True,
    ) -> RecordedMessage:
        """Add the message to the transcript, once. Return the turn's items, and the origin of the
        thread's texts. Notes about changes that the thread has not received yet come first.
        `reserve` reserves the cost of the turn in the same transaction; if it raises, nothing is
        stored. `pays`: it may reserve money, so the transaction must survive a power failure;
        otherwise the next start may repeat it. Raises Superseded if the turn has ended or its
        conversation was forgotten."""
        message, person = turn.message, turn.message.author.key
        # Text from outside: an attached file, a quote of somebody else (a note is Ponte's own), an
        # answer that the asker's program sends back, or a message that the asker did not type.
        # Somebody else may try to mislead the model by it, so links are then allowed less.
        quoted = any(not quote.is_note for quote in message.context)
        quoted = quoted or any(
            context_text.name == "assistant" for context_text in message.program_context
        )
        is_outside = bool(message.attachments or quoted or not message.origin.is_authored)
        # A turn that begins again has its items already. Notes come before the items.
        source = f"now WHERE {_IS_CURRENT} AND NOT (now.has_items OR now.has_notes)"
        step, values = _plan_items(items, person, source=source)
        steps = [step] if items else []
        if reserve:
            steps.insert(0, ADD_USAGE_SQL.format(condition=_IS_CURRENT))
            values |= reserve.values

        def work(connection: SqlConnection, current: SqlRow) -> RecordedMessage:
            is_first = not current["has_items"]
            if current["has_notes"] and is_first:
                # "": Ponte is their author
                _add_items(connection, turn, changes.take_notes(connection, turn.thread), "")
                _add_items(connection, turn, items, person)
            # From now on, links in all answers of this thread are allowed less.
            if is_outside and is_first:
                threads.mark_outside_text(connection, turn.thread)
            # Read back, so that this attempt works with the same items as one after a crash.
            if is_first and not current["has_notes"]:  # saves a query in most turns
                stored_items = tuple(decode_json(Item, encode_json(item)) for item in items)
            else:
                stored_items = read_items(connection, turn.seq)
            # `program_context` adds texts to the thread that the person did not type now.
            if turn.is_thread_new and not (is_outside or message.program_context):
                provenance = Provenance(False)  # no text from outside: only this message is there
            else:
                provenance = threads.read_provenance(connection, turn.thread, person, turn.seq)
            # Last, because other transactions wait for the counter that everybody shares.
            if reserve is not None:
                reserve(connection, bool(current["changed"]))
            return RecordedMessage(stored_items, provenance)

        return await self._write_if_current(turn, work, steps, values, repeatable=not pays)

    async def record_response(
        self, turn: Turn, number: int, response: str, others: Sequence[Remote] = ()
    ) -> None:
        """Record the id of a round's response on the model's server, and the ids of `others`,
        objects that the server made with it. Ponte needs them to erase the objects, and to find the
        response after a crash.

        Raises Superseded, or TakenOver if a later attempt exists. The ids are recorded all the
        same, because the objects exist.
        """
        remotes = (*others, Remote("response", response))

        # If the conversation was forgotten meanwhile, its generation is higher than that of the
        # turn: the new rows are then marked for erasure.
        insert, values = threads.insert_remotes(
            turn.thread,
            remotes,
            forgotten="NOT EXISTS (SELECT 1 FROM now WHERE now.generation = :generation)",
        )
        # `insert` is "" if no object has an id.
        steps = [step for step in (insert, _ADD_RESPONSE_SQL) if step]
        values |= {"response": response, "number": number}
        try:
            # `single`: one statement, which saves the round trips of BEGIN and COMMIT.
            is_current = await self._database.write(
                lambda c: _read_current(c, turn, steps, values) is not None, single=True
            )
        except TakenOver:  # it rolled the transaction back, with the ids
            for remote in remotes:
                await self.record_object_to_erase(turn.thread, remote)
            raise
        if not is_current:
            raise Superseded

    async def record_round(
        self, turn: Turn, output: RoundOutput, started: ToolCall | None = None
    ) -> None:
        """`started` is the round's tool call that starts now, if the round has only one: this saves
        a transaction."""

        def work(connection: SqlConnection, current: SqlRow) -> None:
            if current["has_holds"] and current["changed"]:
                settlement.settle_round(connection, turn.seq, output)

        steps, values = _plan_round(turn, output, _IS_CURRENT)
        if started:
            steps += _START_CALL_STEPS
            values |= _call_values(started)
        await self._write_if_current(turn, work, steps, values)

    async def record_call_start(self, turn: Turn, call: ToolCall) -> None:
        """Record that a tool call started, so that it is known after a crash that it may have had
        an effect."""
        await self._write_steps(turn, _START_CALL_STEPS, _call_values(call))

    async def record_call_handle(self, turn: Turn, call_id: str, handle: str) -> None:
        # After a crash, the run in the other system is continued by its handle.
        await self._write_steps(turn, [_SET_HANDLE_SQL], {"call_id": call_id, "handle": handle})

    async def record_call_end(
        self,
        turn: Turn,
        call_id: str,
        outcome: Outcome,
        also: TransactionStep = NO_STEP,
    ) -> None:
        """Record the outcome of a tool call, and replace its reserved cost by the real one, unless
        that was done before. `also` runs in the same transaction.

        If the transcript contains the call, append its output there.
        """

        def work(connection: SqlConnection, current: SqlRow) -> None:
            changed = connection.execute(
                "UPDATE calls SET outcome = ?, ended_at = ?"
                " WHERE seq = ? AND call_id = ? AND outcome IS NULL RETURNING name",
                (encode_json(outcome), time.time(), turn.seq, call_id),
            ).fetchone()
            # Recorded by an earlier attempt of this write.
            if changed is None:
                return
            also(connection)
            name = outcome.paid or changed["name"]  # what reports of costs call it
            settlement.settle_call(connection, turn.seq, call_id, name, outcome.usage)
            # A command that a person typed has no call in the transcript.
            items = read_items(connection, turn.seq)
            if any(item.kind == "call" and item.call_id == call_id for item in items):
                output = outcome.to_item(call_id)
                # Only people who may see all that the model has read in this turn may read it.
                _add_items(connection, turn, [output], "", turn.needs | outcome.needs)

        await self._write_if_current(turn, work)

    async def record_answer(
        self,
        turn: Turn,
        answer: Answer,
        last: RoundOutput | None = None,
        key: str = "",
        record: Thread | None = None,
    ) -> None:
        """Store the answer and the thread's `record`, record open tool calls as interrupted, and
        settle reserved costs.

        `last` is the model's last round, if it is not recorded yet. `key` is the key of the
        answer's first post, if the platform is about to make that post; else "". Do nothing if the
        turn has an answer already.
        """
        steps, values = _plan_round(turn, last, _IS_UNANSWERED) if last else ([], {})
        if record:
            steps.append(
                f"{STORE_RECORD_SQL} AND EXISTS (SELECT 1 FROM now WHERE {_IS_UNANSWERED})"  # noqa: S608
            )
            values |= record_values(record)
        if key:
            steps.append(_ADD_KEY_SQL.format(condition=_IS_UNANSWERED))
        # Last, because the turn is unanswered only until then.
        steps.append(_ADD_ANSWER_SQL)
        # With `key`, the first post of the answer is on its way.
        values |= {"state": "posting" if key else "answered", "answer": encode_json(answer)}
        values |= {"post_number": 1, "key": key}
        # The first round has no calls before it, and most turns end with it.
        has_calls = last is None or last.number > 1 or any(i.kind == "call" for i in last.items)
        must_read = has_calls or answer.status == "stopped"

        # Where processes share the database, most answers need one statement (`single`).
        is_single = bool(self._is_alive) and not (must_read or turn.undelivered_reason)

        def work(connection: SqlConnection, current: SqlRow) -> bool:
            """Return False if nothing was stored, because reserved costs must be settled too."""
            # Otherwise an earlier call has stored the answer, but the database's reply was lost.
            if current["state"] == "running":
                if is_single:
                    return not current["has_holds"]
                if current["has_holds"]:
                    if last and current["changed"]:
                        settlement.settle_round(connection, turn.seq, last)
                    settlement.settle_holds(connection, turn.seq)  # was reserved and not spent
                _end_transcript(connection, turn, answer, must_read)
            return True

        while not await self._write_if_current(
            turn, work, steps, {**values, "settles": not is_single}, single=is_single
        ):
            is_single = False

    async def record_posting(self, turn: Turn, number: int, key: str) -> None:
        """After a crash, Ponte looks on the platform for a post with this key before it posts
        again."""
        steps = [_ADD_KEY_SQL.format(condition=_IS_CURRENT), _BEGIN_POSTING_SQL]
        await self._write_steps(turn, steps, {"post_number": number, "key": key})

    async def record_posted(self, turn: Turn, number: int, post: str) -> None:
        """Record the platform's id of a post of this turn's answer.

        Raise TakenOver if another process has begun the turn again (a later attempt). A turn whose
        thread was forgotten meanwhile (a later generation) still records it, because the post
        exists on the platform and must be found to delete it.
        """
        values = {"number": number, "post": post}
        await self._database.write(
            lambda c: _read_current(c, turn, [_ADD_POST_SQL], values), single=True
        )

    async def record_removed(self, turn: Turn, number: int) -> None:
        """A person deleted the post, so it is not made again."""
        await self._execute(
            "UPDATE posts SET state = 'removed', updated_at = ? WHERE seq = ? AND number = ?",
            time.time(),
            turn.seq,
            number,
        )

    async def end_turn(
        self, turn: Turn, state: TurnState, reason: str = "", posted: Post | None = None
    ) -> None:
        """`posted` is the answer's last post; it is stored with the end, which saves a transaction.
        If the turn is superseded, raises Superseded, but stores `posted`. If a later attempt
        exists, raises TakenOver and stores nothing. `reason` is the code of a failure."""
        # A token lets anybody who has it answer in this place (Slack's `response_url`), so it is
        # not kept longer than needed.
        has_token = bool(turn.message.reply_to.token)
        steps = [_END_TURN_SQL]
        values: dict[str, object] = {"state": state, "reason": reason}
        if posted is not None:
            steps.insert(0, _ADD_POST_SQL)  # first: the turn is current only until it has ended
            values |= {"number": posted.number, "post": posted.id}

        def write(connection: SqlConnection) -> bool:
            # Only the current attempt may change the message.
            if has_token and _read_current(connection, turn) is not None:
                sql = "SELECT message FROM inbox WHERE seq = ?"
                # Read again, because the person may have edited the message since the turn began.
                present = decode_json(Message, select_value(connection, sql, turn.seq))
                bare = replace(present, reply_to=replace(turn.message.reply_to, token=""))
                sql = "UPDATE inbox SET message = ? WHERE seq = ?"
                connection.execute(sql, (encode_json(bare), turn.seq))
            # This runs the steps, too: they store the post and end the turn.
            return _read_current(connection, turn, steps, values) is not None

        def note(is_current: bool) -> None:
            if is_current and self.on_end:
                self.on_end(turn.seq)

        # If a power failure undoes this, the next start finds the post and ends the turn again.
        # Without a token, `write` is one statement, which needs no BEGIN and COMMIT (`single`).
        if not await self._database.write(write, note, single=not has_token, repeatable=True):
            raise Superseded

    @transaction
    def abandon(self, connection: SqlConnection, seq: int, reason: str) -> None:
        """The turn can be neither read nor answered. The person learns of it in the conversation's
        next turn."""
        row = connection.read_locked_message(seq)
        if row is not None and row["state"] not in FINAL_STATES:
            connection.execute(
                "UPDATE inbox SET state = 'undeliverable', reason = ?, updated_at = ?"
                " WHERE seq = ?",
                (reason, time.time(), seq),
            )

    async def put_back(self, turn: Turn) -> None:
        """This process stops: the attempt does not count, as it would after a crash."""
        await self._write_if_current(turn, lambda *_: None, [_PUT_BACK_SQL])

    async def record_object_to_erase(self, thread: str, remote: Remote) -> None:
        await self._database.write(
            lambda c: threads.record_objects_to_erase(c, thread, [remote], self._owner), single=True
        )

    @transaction
    def current_thread(self, connection: SqlConnection, conversation: str) -> Thread:
        """Return the current thread of a conversation; create it if there is none."""
        connection.lock_key(conversation)
        return threads.use_thread(connection, conversation)[0]

    async def provenance(self, thread: str, person: str, before: int) -> Provenance:
        """`before` is the `seq` of the turn that asks: the `previous_seq` of the result is the
        latest turn before it."""
        return await self._database.read(
            lambda c: threads.read_provenance(c, thread, person, before)
        )

    @query
    def usage_of(self, connection: SqlConnection, seq: int) -> Usage:
        row = connection.execute(
            "SELECT input, cached, output, reasoning, cost FROM usage WHERE seq = ?", (seq,)
        ).fetchone()
        return Usage(**dict(row)) if row else Usage()

    @transaction
    def replace_cards(
        self, connection: SqlConnection, seq: int, cards: Sequence[Card] = ()
    ) -> Turn | None:
        """Replace the cards in a turn's answer by those of `cards` with the same ids, and return
        the turn with all its records. Without `cards`, only return the turn.

        Return None if the turn does not exist or was withdrawn (its author deleted the message, or
        it was forgotten): then there is no card to redraw.
        """
        row = connection.read_locked_message(seq)
        if row is None or row["state"] == "withdrawn":
            return None
        turn = read_turn(connection, row)
        if turn.answer is None or not cards:
            return turn
        newer = {card.id: card for card in cards}
        cards_now = tuple(newer.get(card.id, card) for card in turn.answer.cards)
        answer = replace(turn.answer, cards=cards_now)
        connection.execute("UPDATE inbox SET answer = ? WHERE seq = ?", (encode_json(answer), seq))
        return replace(turn, answer=answer)

    @query
    def seq_of_post(self, connection: SqlConnection, post: str) -> int | None:
        """`post` is the platform's id of the post."""
        seq: int | None = select_value(connection, "SELECT seq FROM posts WHERE post = ?", post)
        return seq

    @query
    def find_answer(self, connection: SqlConnection, turn: str, post: str) -> Answer | None:
        """Return the answer of the turn with the id `turn` if `post`, the platform's id, is one of
        its posts, or may be: people see a post before its id is recorded. Else return None, also if
        it was forgotten."""
        sql = (
            "SELECT answer FROM inbox WHERE turn = ? AND answer IS NOT NULL AND EXISTS (SELECT 1"
            " FROM posts WHERE seq = inbox.seq AND (post = ? OR posts.state = 'posting'))"
        )
        content = select_value(connection, sql, turn, post)
        answer = decode_json(Answer, content) if content else None
        return answer if answer and answer.code != "forgotten" else None

    @transaction
    def change_answer(
        self, connection: SqlConnection, seq: int, change: Callable[[Answer], Answer]
    ) -> Turn | None:
        """Return the turn with the answer that `change` returns; None if it was deleted."""
        row = connection.read_locked_message(seq)
        turn = read_turn(connection, row) if row else None
        if turn is None or turn.answer is None:
            return None
        answer = change(turn.answer)
        connection.execute("UPDATE inbox SET answer = ? WHERE seq = ?", (encode_json(answer), seq))
        return replace(turn, answer=answer)

    async def record_post_removal(self, post: str) -> None:
        """`post` is the platform's id of it."""
        await self._execute(
            "UPDATE posts SET state = 'removed', updated_at = ? WHERE post = ?", time.time(), post
        )

    @transaction
    def forget(
        self, connection: SqlConnection, conversation: str, also: TransactionStep = NO_STEP
    ) -> ForgetResult:
        """Erase the conversation's texts, and mark what the model's server stores of it for
        erasure. The conversation's generation rises, so that running turns store nothing more.

        `also` runs in the same transaction. Return what was forgotten: the caller cancels the
        running turns and deletes the files.
        """
        forgot = threads.forget_conversation(connection, conversation)
        also(connection)
        return forgot

    @query
    def list_recent_turns(self, connection: SqlConnection) -> Sequence[TurnSummary]:
        """Return the turns that an operator sees: the unfinished ones, the oldest first, then those
        of the newest messages that failed, the latest first. Their texts are left out.

        Requests to webhooks that filled no field of their template are listed with the failed ones:
        nothing was posted for them. What its sender can correct is none: they read how.
        """
        rows = connection.execute(
            f"SELECT * FROM inbox WHERE {IS_OPEN} ORDER BY seq LIMIT ?",  # noqa: S608
            (MAX_LISTED_TURNS,),
        ).fetchall()
        rows += connection.execute(
            "SELECT * FROM (SELECT * FROM inbox ORDER BY seq DESC LIMIT ?) AS newest"
            " WHERE state IN ('failed', 'undeliverable') OR reason = ?"
            " ORDER BY created_at DESC LIMIT ?",
            (MAX_SEARCHED_TURNS, "skipped:no_fields", MAX_LISTED_TURNS),
        ).fetchall()
        summaries = []
        for row in rows:
            is_failed = row["state"] in ("failed", "undeliverable")
            summary = TurnSummary(*[*(row[name] for name in _SUMMARY_COLUMNS), is_failed])
            if summary.state == "failed" and not summary.reason and row["answer"]:
                # A model's failure is an answer, which has the code of the error.
                summary = replace(summary, reason=decode_json(Answer, row["answer"]).code)
            if summary.reason != BadInput.code:  # its sender read how to correct it
                summaries.append(summary)
        return summaries

    async def list_idle_conversations(
        self, idle_since: float, area: ConversationArea = ALL_CONVERSATIONS
    ) -> Sequence[str]:
        return await self._database.read(
            lambda c: threads.list_idle_conversations(c, idle_since, area)
        )


def _begin_turn(connection: SqlConnection, seq: int, owner: str) -> Turn | None:
    """Start an attempt of a turn and return the turn with all its records. A turn that is already
    answered goes on where it was: only "new" becomes "running".

    Return None if the turn does not exist or has ended. The attempt number rises unless `owner`, a
    process's id, has the turn already. A turn keeps the generation and thread of its first attempt:
    if the conversation was forgotten since then, its writes are refused. If the message asks an
    earlier turn again (`replaced_turn`), the model no longer reads that one.
    """
    row = connection.read_locked_message(seq)
    if row is None or row["state"] in FINAL_STATES:
        return None
    again = row["owner"] == owner
    # This also marks the conversation as used, so that it is not forgotten as an idle one.
    thread, is_thread_new = threads.use_thread(connection, row["conversation"])
    # The same process goes on with its attempt, as after it waited. (A first attempt is 1.)
    attempt = max(1, row["attempt"] + (0 if again else 1))
    state: TurnState = "running" if row["state"] == "new" else row["state"]
    first = row["attempt"] == 0 and row["state"] == "new"
    # Without a thread, the turn has recorded nothing, so the present generation is right for it.
    generation = thread.generation if first or not row["thread"] else row["generation"]
    own_thread = row["thread"] or thread.id
    connection.execute(
        "UPDATE inbox SET state = ?, attempt = ?, generation = ?, thread = ?, owner = ?,"
        " updated_at = ? WHERE seq = ?",
        (state, attempt, generation, own_thread, owner, time.time(), seq),
    )
    # A turn that never began has no thread and no records. One that was put back has both.
    turn = read_turn(connection, row, has_records=bool(row["thread"]))
    message = turn.message
    if message.replaced_turn:
        # The earlier turn must have ended, and must be of the same person in the same conversation.
        old = connection.execute(
            "SELECT seq FROM inbox WHERE turn = ? AND conversation = ? AND person = ? AND seq < ?"
            " AND replaced_by = '' AND state NOT IN ('new', 'running', 'answered', 'posting')",
            (message.replaced_turn, message.address.conversation, message.author.key, seq),
        ).fetchone()
        # It stays visible to the model if somebody decided on one of its proposals, or if it has
        # paid for something.
        if old is not None and not changes.has_irrevocable_work(connection, old["seq"]):
            changes.withdraw_proposals(connection, old["seq"])
            sql = "UPDATE inbox SET replaced_by = ? WHERE seq = ?"
            connection.execute(sql, (turn.id, old["seq"]))
            connection.execute("UPDATE items SET is_replaced = 1 WHERE seq = ?", (old["seq"],))
    return replace(
        turn,
        attempt=attempt,
        generation=generation,
        thread=own_thread,
        state=state,
        is_untouched=not row["thread"],
        is_thread_new=is_thread_new and own_thread == thread.id,
        thread_record=find_record(connection, own_thread),
    )


def _end_transcript(connection: SqlConnection, turn: Turn, answer: Answer, must_read: bool) -> None:
    """Record open tool calls of an answered turn as interrupted, and that the person learns of an
    earlier answer that was not delivered. Without `must_read`, the turn has no calls."""
    items = read_items(connection, turn.seq) if must_read else ()
    calls = {item.call_id for item in items if item.kind == "call"}
    open_calls = calls - {item.call_id for item in items if item.kind == "output"}
    # The model's server rejects a transcript in which a call has no output.
    items_of_end = [
        Item(kind="output", call_id=id, text=LOST_CALL_TEXT) for id in sorted(open_calls)
    ]
    # A stopped round was not recorded, so the transcript lacks the text that people saw of it.
    # Without items, the turn was stopped before its message reached the transcript.
    if answer.status == "stopped" and items and answer.text:
        items_of_end.append(Item(kind="message", role="assistant", text=answer.text))
    _add_items(connection, turn, items_of_end, "", turn.needs)
    if turn.undelivered_reason:
        # This answer tells the person that an earlier one could not be posted. Tell it once.
        connection.execute(
            "UPDATE inbox SET is_notified = 1"
            " WHERE conversation = ? AND state = 'undeliverable' AND is_notified = 0",
            (turn.message.address.conversation,),
        )


def _turn_values(turn: Turn) -> dict[str, object]:
    return {
        "seq": turn.seq,
        "conversation": turn.message.address.conversation,
        "attempt": turn.attempt,
        "generation": turn.generation,
        "thread": turn.thread,
        "author": turn.message.author.key,
        "at": time.time(),
    }


def _call_values(call: ToolCall) -> dict[str, object]:
    return {field: getattr(call, field) for field in ToolCall.__slots__}


def _read_current(
    connection: SqlConnection,
    turn: Turn,
    steps: Sequence[str] = (),
    values: Mapping[str, object] = MappingProxyType({}),
) -> SqlRow | None:
    """Return the turn's row if this is the current attempt of an unfinished turn, else None.
    `steps` are SQL statements that run with `values` in either case; each has its own condition on
    the turn. The generation must be the present one of the conversation: it rises when somebody
    forgets the conversation. The lock keeps the result valid until the transaction ends. Raises
    TakenOver if a later attempt exists."""
    row = connection.run_steps(connection.current_turn, steps, {**_turn_values(turn), **values})
    if row is not None and row["attempt"] > turn.attempt:
        raise TakenOver
    # None: the message was erased. A lower attempt: the turn was put back into the queue.
    if row is None or row["attempt"] != turn.attempt:
        return None
    # A statement that runs alone is repeated if its connection broke. The first run may have ended
    # the turn: then the turn has the state that this call sets, which is no failure.
    if row["state"] in FINAL_STATES and row["state"] != values.get("state"):
        return None
    # A decision is a command that runs beside the turns of its conversation, such as `stop`. It
    # may itself be the `forget` that raised the generation.
    return row if row["is_decision"] or row["generation"] == turn.generation else None


def _plan_items(
    items: Sequence[Item],
    person: str,
    needs: Collection[Need] = (),
    source: str = "previous",
) -> tuple[str, dict[str, object]]:
    """Return the step that adds items (at least one) to the transcript, and its values. `person` is
    their author's key, "" for Ponte; `needs` are the rights without which nobody may read them."""
    rows = ", ".join(f"({number}, :item{number})" for number in range(len(items)))
    values: dict[str, object] = {"person": person, "needs": threads.encode_needs(needs)}
    values |= {f"item{number}": encode_json(item) for number, item in enumerate(items)}
    return _ADD_ITEMS_SQL.format(rows=rows, source=source), values


def _add_items(
    connection: SqlConnection,
    turn: Turn,
    items: Sequence[Item],
    person: str,
    needs: Collection[Need] = (),
) -> None:
    if items:
        step, values = _plan_items(items, person, needs)
        connection.run_steps("SELECT 1 AS one", [step], {**_turn_values(turn), **values})


def _plan_round(
    turn: Turn, output: RoundOutput, condition: str
) -> tuple[list[str], dict[str, object]]:
    """Return the steps that record the model's output of a round, and charge what it cost if the
    turn has reserved nothing, unless that was done before; and their values. `turn.needs` are the
    rights without which nobody may read what the model wrote in this turn."""
    part = f"r{output.number}.0"
    values = settlement.spending_values(part, "model", output.model, output.usage)
    values["number"] = output.number
    steps = [_ADD_ROUND_SQL.format(condition=condition)]
    if output.items:
        items_step, items_values = _plan_items(output.items, "", turn.needs)
        steps.append(items_step)
        values |= items_values
    return [*steps, *settlement.SPENDING_STEPS], values
