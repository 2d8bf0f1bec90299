"""The tables of conversations, and turns as the journal reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from core.domain.changes import SHOWS_CHANGES_SQL
from core.domain.messages import Answer, Item, Message, Post, decode_json
from core.domain.records import Outcome, Round, Thread, ToolCall, Turn
from core.store.database import SqlConnection, SqlRow
from core.store.tables import Index, TableDeclaration, count, integer, real, text

OPEN_STATE_LIST = "('new', 'running', 'answered', 'posting')"
"""Queries must use this text, or a condition that implies it, to match the partial indexes
below."""
IS_OPEN = f"state IN {OPEN_STATE_LIST}"
IS_OPEN_TURN = f"is_decision = 0 AND {IS_OPEN}"
"""Decisions are not turns: they do not wait in the queue."""
SENDER_KEY = "(channel || ' ' || person)"
EXPORTED_ELSEWHERE = "its rows of theirs are in the sections above"

INBOX_TABLE = TableDeclaration(
    name="inbox",
    whose="person",
    section="messages",
    seen_at="created_at",
    contents="each message: text, name, place, language, time zone, names of files, what it "
    "quotes; the answer",
    kept="`PONTE_RETENTION_DAYS`, `retention_days` of a place; 0, the default, is for ever",
    columns=(
        integer("seq"),
        text("event_key", unique=True),
        text("turn", unique=True),
        text("conversation"),
        text("person"),
        integer("is_decision"),
        text("state", default="new"),
        count("attempt"),
        count("generation"),
        text("thread", default=""),
        text("message", json=True),
        text("answer", null=True, json=True),
        text("reason", default=""),
        count("is_notified"),
        real("created_at"),
        real("updated_at"),
        text("owner", default=""),
        # The id of the turn that replaces this one; the model no longer reads its items.
        text("replaced_by", default=""),
        text("refusal", default=""),
        text("channel", default=""),
        count("solo_crashes"),  # how many times the process crashed while it ran only this turn
        count("job", shared=True),
        count("is_stop_requested", shared=True),
        count("position", shared=True),
    ),
    key=("seq",),
    generates_key=True,
    never_reuses_keys=True,
    indexes=(
        Index("inbox_open", "is_decision, conversation, seq", IS_OPEN),
        Index("inbox_conversation", "conversation, seq"),
        Index("inbox_person", "person"),
        Index(
            "inbox_unnotified",
            "conversation, is_notified, seq",
            "state = 'undeliverable' AND is_notified = 0",
        ),
        Index("inbox_waiting", "person", "is_decision = 0 AND state = 'new'"),
        # Few answers show changes. Erasure looks through all of them in one transaction.
        Index("inbox_shows_changes", "seq", SHOWS_CHANGES_SQL),
        Index("inbox_owner", "owner", "is_stop_requested = 1", shared=True),
        # Each lookup of the queue (core/journal/shared_functions.py) needs one of these indexes.
        # It is the only one in the order of the lookup. So the query plan does
        # not depend on statistics, which Postgres lacks when a burst of messages arrives.
        Index("inbox_flow", f"{SENDER_KEY}, position", IS_OPEN_TURN, shared=True),
        Index(
            "inbox_conversation_position", "conversation, position, seq", IS_OPEN_TURN, shared=True
        ),
        Index("inbox_person_position", "person, position", IS_OPEN_TURN, shared=True),
        Index("inbox_channel_position", "channel, position", IS_OPEN_TURN, shared=True),
        Index(
            "inbox_begun_position",
            "position",
            "is_decision = 0 AND state IN ('running', 'answered', 'posting')",
            shared=True,
        ),
        Index("inbox_ready", "job", "is_decision = 0 AND state = 'new' AND job > 0", shared=True),
        Index(
            "inbox_without_job", f"{SENDER_KEY}, position", "state = 'new' AND job = 0", shared=True
        ),
    ),
    deleted_by=("person", "conversation"),
)
HAS_READING_SQL = "item LIKE '%\"reading\":{%'"
"""The condition for items that may have texts of other people (`Reading`)."""
ITEMS_TABLE = TableDeclaration(
    name="items",
    whose="turn",
    section="transcript",
    seen_at="created_at",
    contents="the transcript for the model, with thoughts that its server wants back",
    kept="as `inbox`; other people's messages that were read by a link or to catch up, and who"
    " changed a row, a day",
    columns=(
        integer("id"),
        integer("seq"),
        text("thread"),
        text("person"),
        text("item", json=True),
        real("created_at"),
        count("is_replaced"),
        text("needs", default=""),
    ),
    key=("id",),
    generates_key=True,
    indexes=(
        Index("items_thread", "thread, id"),
        Index("items_seq", "seq"),
        Index("items_read", "created_at", HAS_READING_SQL),
        Index("items_person", "person, thread"),
    ),
    deleted_by=("seq", "thread"),
)
ROUNDS_TABLE = TableDeclaration(
    name="rounds",
    whose="turn",
    section="model_calls",
    contents="ids and name of the model's answers",
    kept="as `inbox`",
    columns=(
        integer("seq"),
        integer("number"),
        text("response", default=""),
        count("is_complete"),
        text("model", default=""),
    ),
    key=("seq", "number"),
    deleted_by=("seq",),
    purged_with="inbox",
)
CALLS_TABLE = TableDeclaration(
    name="calls",
    whose="person",
    section="tool_calls",
    contents="what tools were asked and said",
    kept="as `items`",
    columns=(
        integer("seq"),
        text("call_id"),
        text("person"),
        text("name"),
        text("arguments", json=True),
        text("effect"),
        text("outcome", null=True, json=True),
        real("started_at"),
        real("ended_at", null=True),
        text("handle", default=""),
    ),
    key=("seq", "call_id"),
    indexes=(Index("calls_person", "person"),),
    deleted_by=("person", "seq"),
    purged_with="inbox",
)
POSTS_TABLE = TableDeclaration(
    name="posts",
    whose="person",
    section="posts",
    contents="ids of Ponte's posts on the platform",
    kept="as `inbox`",
    columns=(
        integer("seq"),
        integer("number"),
        text("person"),
        text("key"),
        text("post", default=""),
        text("state"),
        real("updated_at"),
    ),
    key=("seq", "number"),
    indexes=(Index("posts_post", "post"), Index("posts_person", "person")),
    deleted_by=("person", "seq"),
    purged_with="inbox",
)
CONVERSATIONS_TABLE = TableDeclaration(
    name="conversations",
    whose="conversation",
    not_exported=EXPORTED_ELSEWHERE,
    contents="a conversation's key, title and last use; in direct messages the key names the "
    "person",
    kept="as `inbox`",
    columns=(
        text("conversation"),
        count("generation"),
        text("thread"),
        real("used_at"),
        text("title", default=""),
        count("is_pinned"),
    ),
    key=("conversation",),
    deleted_by=("conversation",),
    indexes=(Index("conversations_used", "is_pinned, used_at"),),
)
THREADS_TABLE = TableDeclaration(
    name="threads",
    whose="conversation",
    not_exported=EXPORTED_ELSEWHERE,
    contents="ids of threads, the model's title, who takes part, ids on the model's server",
    kept="as `inbox`",
    columns=(
        text("id"),
        text("conversation"),
        integer("generation"),
        real("started_at"),
        count("has_outside_text"),  # 1: it contains text that its people did not write
        # The model's title; NULL until it is asked for one, which happens once.
        text("title", null=True),
        text("record", default=""),  # a `Thread`, "" if there is none
    ),
    key=("id",),
    indexes=(Index("threads_conversation", "conversation"),),
    deleted_by=("conversation",),
)
REMOTES_TABLE = TableDeclaration(
    name="remotes",
    whose="conversation",
    not_exported="ids on the model's server; what stands there is in the sections above",
    erased="deleted once the model's server has erased it",
    contents="ids of what the model's server holds",
    kept="until it is erased there",
    columns=(
        text("kind"),
        text("id"),
        text("thread"),
        real("created_at"),
        count("erasure"),  # 0: keep it, 1: erase it, 2: it could not be erased
        count("attempts"),
        text("owner", default=""),
    ),
    key=("kind", "id"),
    indexes=(Index("remotes_thread", "thread"), Index("remotes_erasure", "erasure", "erasure = 1")),
)
PROGRESS_TABLE = TableDeclaration(
    name="progress",
    whose="turn",
    shared=True,
    unlogged=True,
    not_exported="what shows while a turn runs",
    contents="Postgres: what a turn shows while it runs",
    kept="until it ends",
    columns=(text("turn"), text("progress"), real("updated_at")),
    key=("turn",),
    deleted_by=("turn",),
)
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


def read_turn(connection: SqlConnection, row: SqlRow, *, has_records: bool = True) -> Turn:
    """`has_records` is False for a turn that never began: then only the answer (a refusal) can
    exist, and the other tables need not be read."""
    seq = row["seq"]
    rounds, calls, posts = (
        connection.execute(sql, (seq,)).fetchall() if has_records else ()
        for sql in (
            "SELECT number, response, is_complete FROM rounds WHERE seq = ? ORDER BY number",
            "SELECT * FROM calls WHERE seq = ? ORDER BY started_at",
            "SELECT * FROM posts WHERE seq = ? ORDER BY number",
        )
    )
    # Why an earlier answer in the conversation could not be posted, if nobody told the person yet.
    # The condition is that of the partial index `inbox_unnotified`.
    untold = connection.execute(
        "SELECT reason FROM inbox WHERE conversation = ? AND state = 'undeliverable'"
        " AND is_notified = 0 ORDER BY seq DESC LIMIT 1",
        (row["conversation"],),
    ).fetchone()
    return Turn(
        seq=seq,
        attempt=row["attempt"],
        generation=row["generation"],
        thread=row["thread"],
        state=row["state"],
        message=decode_json(Message, row["message"]),
        rounds=tuple(Round(r["number"], r["response"], bool(r["is_complete"])) for r in rounds),
        items=read_items(connection, seq) if has_records else (),
        calls=tuple(
            ToolCall(
                call_id=call["call_id"],
                name=call["name"],
                arguments=call["arguments"],
                effect=call["effect"],
                handle=call["handle"],
                outcome=decode_json(Outcome, call["outcome"]) if call["outcome"] else None,
            )
            for call in calls
        ),
        posts=tuple(Post(p["number"], p["key"], p["post"], p["state"]) for p in posts),
        answer=decode_json(Answer, row["answer"]) if row["answer"] else None,
        refusal=row["refusal"].partition(":")[0],  # of "fast:20"; "" if not refused
        limit=int(row["refusal"].partition(":")[2] or 0),
        accepted_at=row["created_at"],
        undelivered_reason=str(untold["reason"]) if untold else "",
    )


def turn_begun_by_fetch(seq: int, facts: Mapping[str, Any]) -> Turn:
    """On a shared database, the SQL function `ponte_begin` begins a turn when a worker fetches its
    job, which saves a transaction. `facts` are its result.

    It is the turn's first attempt (`is_untouched`), so that there are no records of it yet. Its
    later writes are refused if its conversation was forgotten meanwhile, which raises the
    conversation's `generation`.
    """
    # A refusal by a rate limit, "" for none: "fast:20" for more than 20 messages in a minute, or
    # "waiting:5" for more than 5 that wait.
    refusal, _, limit = facts["refusal"].partition(":")
    # What Ponte has stored about the thread; "" for nothing.
    record = facts["record"]
    return Turn(
        seq=seq,
        attempt=1,
        generation=facts["generation"],
        thread=facts["thread"],
        state="running",
        message=decode_json(Message, facts["message"]),
        accepted_at=facts["accepted_at"],
        refusal=refusal,
        limit=int(limit or 0),
        undelivered_reason=facts["undelivered_reason"] or "",  # of an earlier answer
        is_untouched=True,
        is_thread_new=facts["is_thread_new"],
        thread_record=decode_json(Thread, record) if record else None,
    )


def read_items(connection: SqlConnection, seq: int) -> tuple[Item, ...]:
    rows = connection.execute("SELECT item FROM items WHERE seq = ? ORDER BY id", (seq,))
    return tuple(decode_json(Item, row["item"]) for row in rows)


WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin. Returns False if the worker must fetch no more."""


class FetchedTurns:
    """The turns that a process has fetched from the shared queue, with what it knows of each. The
    job manager writes this (core/journal/queue_manager.py), and `Jobs` reads it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner  # the process, which becomes the owner of the turns that it fetches
        self.ids: list[int] = []
        self.ended: set[int] = set()
        """The transaction that ended a turn also deleted its job, so Procrastinate need not end
        it."""
        self.messages: dict[int, tuple[str, float]] = {}
        """The messages of fetched turns that had not begun, as JSON, and when they were stored
        (seconds since 1970), by `seq`."""
        self.begun: dict[int, dict[str, Any]] = {}
        """What `ponte_begin` returned of turns that began with the fetch, by `seq`, until a handler
        takes it."""
        self.has_kernels = False
        """Whether any process may have had a kernel (which runs the Python of one conversation) at
        the last fetch. If so, a turn may have to go to the process that has its kernel."""
