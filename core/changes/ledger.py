"""Proposals and changes in the database. Each has one row, with one step for each table row that it
writes.

Each method is one transaction. A function that takes a connection is part of its caller's
transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from core.base.errors import NotFound, Superseded, TakenOver
from core.changes.change_rows import (
    add_note,
    erase_contents,
    erase_rows,
    find_of_call,
    get_change,
    get_locked,
    insert_change,
    put_reason,
    put_steps,
    set_state,
)
from core.changes.columns import FORGOTTEN, LAPSED, decision_columns, select_changes, to_columns
from core.domain.changes import (
    MAX_AUTO_UPDATES,
    NO_PROPOSAL_SENTENCE,
    PROPOSAL_LIFETIME_SECONDS,
    SHOWS_CHANGES_SQL,
    UNDO_LIFETIME_SECONDS,
    Change,
    ChangeState,
    ChangeStep,
    Consent,
    Draft,
    Proposal,
    find_possible_changes,
    find_shown_changes,
    new_change_id,
)
from core.domain.messages import NOTE_NAME, Answer, Item, Person, decode_json, encode_json
from core.domain.records import ALL_CONVERSATIONS, ConversationArea
from core.people import notices as outbox
from core.people.audit import add_change_line
from core.store.database import (
    ROWS_PER_TRANSACTION,
    Database,
    SqlConnection,
    SqlStore,
    area_condition,
    in_batches,
    query,
    select_value,
    select_values,
    transaction,
)

AUTO_UPDATES_SECONDS = 3600.0
_RUNNING_TURNS = "SELECT seq FROM inbox WHERE state IN ('new', 'running', 'answered', 'posting')"


def take_notes(connection: SqlConnection, thread: str) -> Sequence[Item]:
    # Notes about changes, each of which the model reads once.
    rows = connection.execute(
        "DELETE FROM notes WHERE thread = ? RETURNING id, text", (thread,)
    ).fetchall()
    texts = [row["text"] for row in sorted(rows, key=lambda row: row["id"])]
    return [Item(kind="message", role="user", text=text, name=NOTE_NAME) for text in texts]


def forget_changes(connection: SqlConnection, conversation: str) -> None:
    """Withdraw the conversation's open proposals, and erase the stored values of the rows of all
    its changes, also where answers of other conversations show them. A change that is being applied
    keeps them until it has finished."""
    rows = connection.execute(
        "SELECT id, state, seq FROM changes WHERE conversation = ?", (conversation,)
    ).fetchall()
    ids, first_seq = {str(row["id"]) for row in rows}, min((row["seq"] for row in rows), default=0)
    # Answers of other conversations can show these changes: `approvals` listed them there, or
    # somebody decided on them there. No such answer is older than the first change.
    sql = (
        "SELECT seq, answer FROM inbox WHERE seq > ? AND conversation <> ?"  # noqa: S608
        f" AND {SHOWS_CHANGES_SQL}"
    )
    answers = connection.execute(sql, (first_seq, conversation)) if rows else ()
    # The quick search in the JSON text avoids decoding answers that show none of these changes.
    for row in [row for row in answers if ids & find_possible_changes(row["answer"])]:
        answer = decode_json(Answer, row["answer"])
        on_cards, read_out = find_shown_changes(answer)
        if ids.isdisjoint(on_cards | read_out):
            continue
        if ids & read_out:
            # Read out: the text of the answer itself has the values, so all of it goes.
            answer = Answer("", code="forgotten")
        cards = tuple(
            replace(card, text="", rows=(), actions=()) if card.id in ids else card
            for card in answer.cards
        )
        connection.execute(
            "UPDATE inbox SET answer = ? WHERE seq = ?",
            (encode_json(replace(answer, cards=cards)), row["seq"]),
        )
    for row in rows:
        if row["state"] == "open":
            _withdraw(connection, row["id"])
        outbox.forget_notices(connection, row["id"])
        connection.execute(
            "UPDATE changes SET erasure_reason = ? WHERE id = ?", (FORGOTTEN, row["id"])
        )
        if row["state"] != "applying":
            erase_contents(connection, row["id"])
    connection.execute(
        "DELETE FROM notes WHERE thread IN (SELECT id FROM threads WHERE conversation = ?)",
        (conversation,),
    )


def has_irrevocable_work(connection: SqlConnection, seq: int) -> bool:
    """A turn with such work stays in the transcript if its message is asked again."""
    return bool(
        connection.execute(
            "SELECT 1 FROM changes WHERE seq = :seq AND state NOT IN ('open', 'expired',"
            " 'withdrawn') UNION ALL SELECT 1 FROM calls WHERE seq = :seq"
            " AND effect IN ('spend', 'code') LIMIT 1",
            {"seq": seq},
        ).fetchone()
    )


def withdraw_proposals(connection: SqlConnection, seq: int) -> None:
    for id in select_values(
        connection, "SELECT id FROM changes WHERE seq = ? AND state = 'open'", seq
    ):
        _withdraw(connection, id)


def _withdraw(connection: SqlConnection, id: str) -> None:
    set_state(connection, id, "withdrawn", ended_at=time.time())
    add_change_line(connection, "withdrawn", get_change(connection, id))


class SqlLedger(SqlStore):
    """The stored proposals, their decisions, and the result of each row. Each method is one
    transaction, which also writes the line of the audit log. `rule` is the rule that allowed it.

    Methods with an `id` raise NotFound. Methods with a `seq` act only for the event with that
    `seq`.
    """

    def __init__(
        self, database: Database, owner: str = "", is_alive: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__(database)
        self._owner = owner  # the process's id, if several share the database
        self._is_alive = is_alive  # False once others may count this process as dead

    @transaction
    def propose(
        self,
        connection: SqlConnection,
        proposal: Proposal,
        *,
        asks_nobody: bool = False,
        updates_per_hour: int | None = None,
        rule: str = "",
    ) -> Change:
        """With `asks_nobody`, approvers get no first notice of it, because its asker decides. An
        update that the operator's policy would approve is left to a person if the policy has
        updated MAX_AUTO_UPDATES rows in this turn, or `updates_per_hour` rows of its table in the
        last hour (None: neither limit applies). Raise Superseded if the conversation was forgotten
        meanwhile."""
        connection.lock_key(proposal.address.conversation)
        # A call of a tool that is repeated after a crash proposes nothing a second time.
        if earlier := find_of_call(connection, proposal):
            return earlier
        generation = select_value(
            connection,
            "SELECT generation FROM conversations WHERE conversation = ?",
            proposal.address.conversation,
        )
        # `forget` raises the conversation's generation, so that turns which began before it store
        # nothing more. The conversation gets its row with its first turn.
        if generation not in (None, proposal.generation):
            raise Superseded
        is_update = proposal.is_decided_by_policy and proposal.draft.kind == "update"
        if is_update and updates_per_hour is not None:
            allowed = _may_update_alone(connection, proposal, updates_per_hour)
            proposal = replace(proposal, is_decided_by_policy=allowed)
        # 'never' suppresses all notices, 'asked' only the first one (core/people/notices.py).
        last_notice = "never" if proposal.is_decided_by_policy else "asked" if asks_nobody else ""
        change = insert_change(connection, Change(proposal), last_notice)
        add_change_line(connection, "proposed", change, rule)
        return change

    async def get(self, id: str, part_of: str = "") -> Change:
        """A part is found only with the id of its whole, so that nobody decides on it alone."""
        change = await self._database.read(lambda c: get_change(c, id))
        if change.proposal.part_of != part_of:
            raise NotFound(NO_PROPOSAL_SENTENCE, id=id)
        return change

    @transaction
    def claim(
        self,
        connection: SqlConnection,
        id: str,
        seq: int,
        decider: Person,
        now: float,
        revision: int = 1,
        rule: str = "",
    ) -> Change:
        """Begin to apply this revision of an open proposal for the event `seq`, the person's
        message or click; or expire the proposal if it is too old. Return the change.

        Only one event can claim it. A second caller gets the change as the first one left it, with
        another `decision_seq` than its own.
        """
        change = get_locked(connection, id)
        if change.state != "open" or change.proposal.revision != revision:
            return change
        if change.proposal.expires_at <= now:  # it expired while the person looked at it
            set_state(connection, id, "expired", ended_at=now)
            # No rule decides about an expiry.
            event, rule = "expired", ""
        else:
            by = decision_columns(decider, now)
            set_state(connection, id, "applying", decision_seq=seq, **by)
            event = "approved"
        change = get_change(connection, id)
        add_change_line(connection, event, change, rule)
        return change

    @transaction
    def consent(
        self,
        connection: SqlConnection,
        id: str,
        consent: Consent,
        revision: int = 1,
        rule: str = "",
    ) -> Change:
        """Store that a person approves this revision of an open proposal that several people must
        approve, in place of their earlier approval. One that was decided, has expired, or has
        another revision by now stays as it is."""
        change = get_locked(connection, id)
        is_current = change.state == "open" and change.proposal.revision == revision
        if is_current and change.proposal.expires_at > consent.approved_at:
            connection.execute(
                "INSERT INTO consents (change, person, approver, address, approved_at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (change, person) DO UPDATE SET"
                " approver = excluded.approver, address = excluded.address,"
                " approved_at = excluded.approved_at",
                (
                    id,
                    consent.person.key,
                    encode_json(consent.person),
                    encode_json(consent.address),
                    consent.approved_at,
                ),
            )
            # Raises the version, so that cards show who has approved.
            set_state(connection, id, "open")
            # An approval that only repeats an earlier one gets no second line in the audit log.
            if consent.person.key not in change.approver_keys:
                by_them = replace(change, decider=consent.person)
                add_change_line(connection, "consent-added", by_them, rule)
        return get_change(connection, id)

    @transaction
    def withdraw_consents(
        self, connection: SqlConnection, id: str, people: Collection[str]
    ) -> None:
        """`people`: the keys of those whose approvals no longer count."""
        get_locked(connection, id)  # no other transaction applies it meanwhile
        for person in people:
            connection.execute("DELETE FROM consents WHERE change = ? AND person = ?", (id, person))

    async def list_waiting_for_people(self) -> Sequence[Change]:
        # Here and below, `state IN (...)` repeats the condition of the index `changes_open`: SQLite
        # uses it only for a query that contains it (sqlite.org/partialindex.html).
        return await self._select_changes(
            "SELECT * FROM changes WHERE state IN ('open', 'applying') AND state = 'open'"
            " ORDER BY created_at"
        )

    async def count_unfinished(self) -> Mapping[str, int]:
        """Return the numbers of changes by state, `open` and `applying`."""
        rows = await self._database.read(
            lambda c: c.execute(
                "SELECT state, count(*) AS n FROM changes WHERE state IN ('open', 'applying')"
                " GROUP BY state"
            ).fetchall()
        )
        return {"open": 0, "applying": 0} | {row["state"]: int(row["n"]) for row in rows}

    @transaction
    def close(
        self,
        connection: SqlConnection,
        id: str,
        state: ChangeState,
        decider: Person | None,
        note: str,
        now: float,
        revision: int = 1,
        reason: str = "",
        rule: str = "",
    ) -> Change:
        """End this revision of an open proposal with the state `state` (denied, expired,
        withdrawn), and store `note` for the model's next turn. `reason` is that of a denial.
        `decider` is None if nobody decided. Raise Superseded if another event closed, claimed or
        changed it first."""
        change = get_locked(connection, id)
        if change.state != "open" or change.proposal.revision != revision:
            raise Superseded
        by = decision_columns(decider, now) if decider else {}
        set_state(connection, id, state, ended_at=now, **by)
        add_note(connection, change, note)
        put_reason(connection, change, decider, reason)
        change = get_change(connection, id)
        add_change_line(connection, state, change, rule)
        return change

    @transaction
    def add_reason(self, connection: SqlConnection, id: str, reason: str, note: str) -> Change:
        """`note` replaces an earlier note about the change that the model has not read. A change
        that is not denied, or has a reason or no contents any more, stays as it is."""
        change = get_locked(connection, id)
        if change.state == "denied" and not change.denial_reason and not change.is_erased:
            connection.execute("DELETE FROM notes WHERE change = ?", (id,))
            add_note(connection, change, note)
            put_reason(connection, change, change.decider, reason)
        return get_change(connection, id)

    @transaction
    def revise(
        self,
        connection: SqlConnection,
        proposal: Proposal,
        note: str,
        *,
        asks_nobody: bool,
        rule: str = "",
    ) -> Change:
        """Store `proposal` as the next revision of an open proposal whose values a person changed,
        and `note` for the model's next turn. Approvals of the former revision are deleted. Return
        the change: as it was if it has expired, or if another event changed or decided it first.
        `asks_nobody`: see `propose`."""
        change = get_locked(connection, proposal.id)
        former = change.proposal
        # If it is not the next one, another event has revised the proposal first.
        is_next = former.revision + 1 == proposal.revision
        if change.state != "open" or not is_next or former.expires_at <= proposal.created_at:
            return change
        revised = replace(change, proposal=proposal)
        # The last notice that counts as sent: after "asked", approvers get only later ones.
        values = to_columns(revised, "asked" if asks_nobody else "")
        columns = ", ".join(f"{name} = :{name}" for name in values if name != "id")
        connection.execute(f"UPDATE changes SET {columns} WHERE id = :id", values)  # noqa: S608
        for table in ("steps", "consents"):
            connection.execute(f"DELETE FROM {table} WHERE change = ?", (change.id,))  # noqa: S608
        put_steps(connection, revised, proposal.draft.steps)
        # The new version makes its cards be drawn again.
        set_state(connection, change.id, "open")
        add_note(connection, change, note)
        change = get_change(connection, change.id)
        add_change_line(connection, "revised", change, rule)
        return change

    @transaction
    def propose_again(
        self,
        connection: SqlConnection,
        proposal: Proposal,
        former_id: str,
        *,
        asks_nobody: bool,  # its asker decides
        rule: str = "",
    ) -> Change:
        """Store an open proposal that repeats the denied, expired or failed one with `former_id`.
        Raise Superseded if the rows of the former one were erased meanwhile."""
        former = get_locked(connection, former_id)
        # A second delivery or somebody else has repeated it already.
        if former.repeated_by:
            return get_change(connection, former.repeated_by)
        if former.is_erased:
            raise Superseded
        change = insert_change(connection, Change(proposal), "asked" if asks_nobody else "")
        # The higher version makes the card of the former one be drawn again, without its button.
        connection.execute(
            "UPDATE changes SET repeated_by = ?, version = version + 1 WHERE id = ?",
            (change.id, former_id),
        )
        add_change_line(connection, "proposed", change, rule)
        return change

    @transaction
    def release(self, connection: SqlConnection, id: str, seq: int) -> None:
        """Nothing of the change was begun, and the person may not approve it any more. Raise what
        `_check_claim` raises."""
        self._get_claimed(connection, id, seq)
        set_state(connection, id, "open", decision_seq=0, **decision_columns(None, 0.0))

    @transaction
    def undo(
        self,
        connection: SqlConnection,
        proposal: Proposal,
        decider: Person,
        now: float,
        rule: str = "",
    ) -> Change:
        """Begin to undo the change `proposal.undone_change`. Return the new change that takes it
        back, in the state "applying", or the one that an earlier call began: a change is undone at
        most once at a time."""
        original = get_locked(connection, proposal.undone_change)
        if original.undone_by:
            return get_change(connection, original.undone_by)
        # This event began an undo that failed (so `undone_by` is empty again), and its process
        # ended before its answer.
        if earlier := find_of_call(connection, proposal):
            return earlier
        # One event asks for the undo and decides it, so both have its `seq`.
        begun = Change(
            proposal, "applying", decider=decider, decided_at=now, decision_seq=proposal.seq
        )
        new_change = insert_change(connection, begun)
        set_state(connection, original.id, original.state, undone_by=new_change.id)
        add_change_line(connection, "undo-started", original, rule, decider)
        return new_change

    @transaction
    def begin_part(
        self, connection: SqlConnection, whole: Change, number: int, draft: Draft, undone: str = ""
    ) -> Change:
        """Begin to apply some of the rows of a change that is being applied, and return that part;
        or return the one that an earlier process began under this `number`. `undone` is the part
        that it takes back. Raise Superseded or TakenOver if nothing may be written for `whole` any
        more: its message was deleted, or its conversation forgotten."""
        claimed = self._get_claimed(connection, whole.id, whole.decision_seq)
        is_running = f"SELECT 1 FROM inbox WHERE seq = ? AND seq IN ({_RUNNING_TURNS})"  # noqa: S608
        is_event = select_value(connection, is_running, whole.decision_seq) is not None
        if claimed.is_erased or not is_event:
            raise Superseded
        proposal = replace(
            whole.proposal,
            id=new_change_id(),
            draft=draft,
            call_id=f"{whole.id} {number}",
            part_of=whole.id,
            undone_change=undone,
        )
        if earlier := find_of_call(connection, proposal):
            return earlier
        part = insert_change(
            connection, replace(whole, proposal=proposal, state="applying"), "never"
        )
        if undone:
            set_state(connection, undone, get_change(connection, undone).state, undone_by=part.id)
        return part

    @query
    def list_parts(self, connection: SqlConnection, id: str) -> Sequence[str]:
        """Return the ids of the parts of a change, in the order in which they were begun."""
        sql = "SELECT id FROM changes WHERE part_of = ? ORDER BY length(call_id), call_id"
        return select_values(connection, sql, id)

    @query
    def count_part_rows(self, connection: SqlConnection, id: str) -> Mapping[str, int]:
        """Return how many rows of the parts of a change are in each state. A row that is written in
        several steps counts once for each of its states."""
        rows = connection.execute(
            "SELECT steps.state, count(DISTINCT CASE WHEN row = '' THEN change || ' ' || number"
            " ELSE row END) AS n FROM steps JOIN changes ON change = id WHERE part_of = ?"
            " GROUP BY steps.state",
            (id,),
        )
        return {row["state"]: int(row["n"]) for row in rows}

    @transaction
    def record_progress(
        self, connection: SqlConnection, change: Change, steps: Sequence[ChangeStep]
    ) -> None:
        """Store steps of a change that goes on, and have its card drawn again."""
        put_steps(connection, self._get_claimed(connection, change.id, change.decision_seq), steps)
        set_state(connection, change.id, "applying")

    async def record(self, id: str, seq: int, steps: Sequence[ChangeStep]) -> None:
        """Raise Superseded if the event `seq` does not have the claim, and TakenOver if another
        process has the event, so that the caller must not write."""
        await self._database.write(lambda c: put_steps(c, self._get_claimed(c, id, seq), steps))
        if not self._is_alive():  # others may count this process as dead, and have the event
            raise TakenOver

    @transaction
    def finish(
        self,
        connection: SqlConnection,
        id: str,
        seq: int,
        state: ChangeState,
        note: str,
        now: float,
        steps: Sequence[ChangeStep] = (),
    ) -> Change:
        """Store the last steps and the final state of a change that the event `seq` claims, and
        return the change. `note` is stored for the model's next turn. For the undo of a change, the
        state of the undone one changes, too. With steps, raise Superseded or TakenOver if `seq` has
        no claim here (`_check_claim`).

        A second call without steps, as after a crash, changes nothing. Setting the state of the
        undone change raises its version, so that its card is drawn again.
        """
        change = get_locked(connection, id)
        is_claimed = change.state == "applying" and change.decision_seq == seq
        # Without steps and claim, an earlier call has finished it: only return its present state.
        if steps or is_claimed:
            self._check_claim(connection, change, seq)
        put_steps(connection, change, steps)
        if is_claimed:
            set_state(connection, id, state, ended_at=now)
            add_note(connection, change, note)
            if change.proposal.undone_change:
                original = get_change(connection, change.proposal.undone_change)
                if state == "failed":  # nothing is undone: the original can be undone again
                    set_state(connection, original.id, original.state, undone_by="")
                else:
                    # Undone in part only: its state stays.
                    new_state = "undone" if state == "done" else original.state
                    set_state(connection, original.id, new_state)
            add_change_line(connection, state, get_change(connection, id))
            # It kept its contents only until it had ended (`forget_changes`).
            if change.is_forgotten:
                erase_contents(connection, id)
        return get_change(connection, id)

    def _get_claimed(self, connection: SqlConnection, id: str, seq: int) -> Change:
        change = get_locked(connection, id)
        self._check_claim(connection, change, seq)
        return change

    def _check_claim(self, connection: SqlConnection, change: Change, seq: int) -> None:
        """Raise Superseded if the change is not being applied for the event `seq`, and TakenOver if
        another process handles that event now. `_owner` is the id of this process, "" if no other
        one shares the database."""
        if change.state != "applying" or change.decision_seq != seq:
            raise Superseded
        # An event that no process has taken has the owner "".
        elsewhere = connection.execute(
            "SELECT 1 FROM inbox WHERE seq = ? AND owner NOT IN ('', ?)"
            " AND state IN ('new', 'running', 'answered', 'posting')",
            (seq, self._owner),
        ).fetchone()
        if self._owner and elsewhere:  # only another process can take the event over
            raise TakenOver

    @query
    def has_open(self, connection: SqlConnection, conversation: str) -> bool:
        """True if a proposed change of that conversation waits for a person's decision."""
        return bool(
            select_value(
                connection,
                "SELECT 1 FROM changes WHERE conversation = ?"
                " AND state IN ('open', 'applying') AND state = 'open' LIMIT 1",
                conversation,
            )
        )

    @query
    def list_events_awaiting_change(
        self, connection: SqlConnection, conversation: str, kinds: Collection[str]
    ) -> Sequence[int]:
        """Return the `seq` of each unfinished message or click that approved a change and now waits
        until it is applied, the latest first. The command `stop` ends the waiting."""
        rows = connection.execute(
            "SELECT decision_seq, kind FROM changes WHERE conversation = ?"
            # An undo goes to its end: nobody could take back the rows that it left.
            " AND state IN ('open', 'applying') AND state = 'applying' AND undone_change = ''"
            " AND decision_seq IN (SELECT seq FROM inbox WHERE state IN ('new', 'running',"
            " 'answered', 'posting')) ORDER BY decision_seq DESC",
            (conversation,),
        )
        return [row["decision_seq"] for row in rows if row["kind"] in kinds]

    @query
    def find_place_of_decision(self, connection: SqlConnection, change: Change) -> str:
        sql = "SELECT conversation FROM inbox WHERE seq = ?"
        return select_value(connection, sql, change.decision_seq) or ""

    async def list_of_conversation(self, conversation: str, limit: int) -> Sequence[Change]:
        """The newest first; "" stands for all conversations."""
        return await self._select_changes(
            "SELECT * FROM changes WHERE (:conversation = '' OR conversation = :conversation)"
            " AND part_of = ''"
            " ORDER BY created_at DESC, seq DESC, call_id DESC LIMIT :limit",
            conversation=conversation,
            limit=limit,
        )

    async def list_of_person(self, person: str, limit: int) -> Sequence[Change]:
        """The newest comes first. Somebody else may have revised them since."""
        return await self._select_changes(
            "SELECT * FROM changes WHERE undone_change = '' AND part_of = ''"
            " AND seq IN (SELECT seq FROM inbox WHERE person = :person)"
            " ORDER BY created_at DESC, seq DESC, call_id DESC LIMIT :limit",
            person=person,
            limit=limit,
        )

    async def list_of_row(self, table: str, row: str) -> Sequence[Change]:
        """Return the latest changes that wrote this row of the table (an id), the last first,
        without those of a forgotten conversation."""
        return await self._select_changes(
            "SELECT * FROM changes WHERE target LIKE :table AND erasure_reason <> :forgotten"
            " AND id IN (SELECT change FROM steps WHERE row = :row AND state IN"
            " ('done', 'differs')) ORDER BY decided_at DESC, seq DESC LIMIT 20",
            table=f'%"table_id": "{table}"%',
            row=row,
            forgotten=FORGOTTEN,
        )

    @query
    def find_first_post(self, connection: SqlConnection, seq: int) -> str:
        sql = "SELECT post FROM posts WHERE seq = ? AND state = 'posted' ORDER BY number LIMIT 1"
        return select_value(connection, sql, seq) or ""

    @query
    def find_changed_rows(self, connection: SqlConnection, table: str) -> Sequence[str]:
        """Return the ids of the table's rows that were changed and can be undone."""
        return select_values(
            connection,
            "SELECT DISTINCT steps.row FROM changes JOIN steps ON change = id"
            # The first condition, which has an index, excludes no further row.
            " WHERE created_at > ? AND erasure_reason = 0 AND target LIKE ?"
            " AND steps.state IN ('done', 'differs')",
            time.time() - UNDO_LIFETIME_SECONDS - PROPOSAL_LIFETIME_SECONDS,
            f'%"table_id": "{table}"%',
        )

    async def list_undrawn(self) -> Sequence[Change]:
        """While a turn runs, its changes are left out: the end of the turn stores their newest
        cards, and a card drawn before that would then replace a newer one."""
        changes = await self._select_changes(
            "SELECT * FROM changes WHERE drawn_version < version"  # noqa: S608
            f" AND seq NOT IN ({_RUNNING_TURNS})"
        )
        return sorted(changes, key=lambda change: change.proposal.created_at)

    async def record_drawn(self, change: Change) -> None:
        """Record that the card shows this version of the change, or that nobody can see it any
        more. A newer version that another process has drawn stays."""
        await self._database.write(
            lambda c: c.execute(
                "UPDATE changes SET drawn_version = ? WHERE id = ? AND drawn_version < ?",
                (change.version, change.id, change.version),
            ).close()
        )

    async def list_overdue(self, now: float) -> Sequence[Change]:
        return await self._select_changes(
            "SELECT * FROM changes WHERE state IN ('open', 'applying') AND state = 'open'"
            " AND expires_at <= :now",
            now=now,
        )

    async def list_abandoned(self) -> Sequence[Change]:
        # Nothing continues these: the message or click that approved them has ended or was deleted.
        # A whole counts what its parts have written, so they come first.
        return await self._select_changes(
            "SELECT * FROM changes"  # noqa: S608
            " WHERE state IN ('open', 'applying') AND state = 'applying'"
            f" AND decision_seq NOT IN ({_RUNNING_TURNS}) ORDER BY part_of DESC"
        )

    @in_batches
    def erase_old_rows(self, connection: SqlConnection, before: float) -> int:
        """Erase the stored values of the rows of changes that ended before `before` (seconds since
        1970): they cannot be undone any more. A card that still offers it is drawn again."""
        ids = select_values(
            connection,
            "UPDATE changes SET erasure_reason = ?, version = version + CASE WHEN undone_by = ''"
            " AND state IN ('done', 'partial') THEN 1 ELSE 0 END WHERE id IN (SELECT id"
            " FROM changes WHERE ended_at > 0 AND ended_at < ? AND erasure_reason = 0 LIMIT ?)"
            " RETURNING id",
            LAPSED,  # they became too old
            before,
            ROWS_PER_TRANSACTION,
        )
        for id in ids:
            erase_rows(connection, id)
        return len(ids)

    @in_batches
    def purge(
        self, connection: SqlConnection, before: float, area: ConversationArea = ALL_CONVERSATIONS
    ) -> int:
        """Delete the area's changes that ended before `before` (seconds since 1970), with the rows
        of other tables that belong to them. One transaction deletes at most ROWS_PER_TRANSACTION
        changes, and the decorator repeats it."""
        there, values = area_condition(area)
        # Each statement selects the changes again. They are deleted last, so all find these ones.
        is_old = f"ended_at > 0 AND ended_at < ? AND {there}"
        old = f"SELECT id FROM changes WHERE {is_old} ORDER BY id LIMIT ?"  # noqa: S608
        limited = (before, *values, ROWS_PER_TRANSACTION)
        for table in self._database.schema.purged_with("changes"):
            connection.execute(f"DELETE FROM {table} WHERE change IN ({old})", limited)  # noqa: S608
        sql = f"DELETE FROM changes WHERE id IN ({old})"  # noqa: S608
        return connection.execute(sql, limited).rowcount

    @query
    def _select_changes(
        self, connection: SqlConnection, /, statement: str, **values: str | float
    ) -> Sequence[Change]:
        return select_changes(connection, statement, values)


def _may_update_alone(connection: SqlConnection, proposal: Proposal, per_hour: int) -> bool:
    """The policy updates at most MAX_AUTO_UPDATES rows in one turn, and `per_hour` of the table in
    an hour. Rows count also if their update failed or was undone."""
    draft = proposal.draft
    # Conversations share the limit of a table (`applier` is its system, `title` its name), so its
    # proposals are stored one after the other.
    connection.lock_key(f"auto {draft.applier} {draft.title}")
    hour_ago = proposal.created_at - AUTO_UPDATES_SECONDS
    # A turn may have begun long ago, as one that continues after a restart.
    rows = connection.execute(
        "SELECT c.seq, c.applier, c.title, c.created_at, s.change, s.row FROM changes c"
        " JOIN steps s ON s.change = c.id WHERE (c.seq = ? OR c.created_at > ?)"
        # Those that the policy decided.
        " AND c.kind = 'update' AND c.last_notice = 'never' AND c.part_of = ''",
        (proposal.seq, hour_ago),
    ).fetchall()
    turn = {(row["change"], row["row"]) for row in rows if row["seq"] == proposal.seq}
    hour = {
        (row["change"], row["row"])
        for row in rows
        if (row["applier"], row["title"]) == (draft.applier, draft.title)
        if row["created_at"] > hour_ago
    }
    count = draft.row_count
    return len(turn) + count <= MAX_AUTO_UPDATES and len(hour) + count <= per_hour
