"""Threads: the SQL for the current thread, its transcript, and objects on servers.

A conversation has one current thread and may have older ones. Forgetting a conversation blanks its
messages here, and lists the objects on the model's server (`remotes`) for later erasure.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from core.base.errors import NotFound
from core.base.text import fold_case, to_one_line, truncate
from core.changes import ledger as changes
from core.domain.messages import (
    ONE_REQUEST_PREFIX,
    Answer,
    Item,
    Message,
    decode_json,
    encode_json,
)
from core.domain.records import (
    ALL_CONVERSATIONS,
    ConversationArea,
    ConversationSummary,
    ForgetResult,
    HistoryEntry,
    Outcome,
    Provenance,
    Remote,
    SearchHit,
    Thread,
    TranscriptEntry,
    Turn,
)
from core.domain.rights import Need
from core.journal.thread_map import find_record, store_record
from core.journal.turn_rows import HAS_READING_SQL, read_turn
from core.store.database import (
    SqlConnection,
    SqlRow,
    SqlStore,
    area_condition,
    query,
    select_value,
    select_values,
    transaction,
)

MAX_LISTED_CONVERSATIONS = 500
_HAS_CONTENT = (
    "(EXISTS (SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
    " AND state != 'withdrawn') OR EXISTS (SELECT 1 FROM threads JOIN items"
    " ON items.thread = threads.id WHERE threads.conversation = c.conversation))"
)
MAX_SEARCHED_MESSAGES = 20_000
MAX_SEARCHED_CHARS, EXCERPT_CHARS = 20_000, 90
READING_LINE = (
    "[On {1} UTC, {0.asker!r} had changes or other people's messages read ({0.count}). Their text"
    " was deleted. If it matters, read them again, or ask for the link again.]"
)
_ERASE_READING_SQL = (
    "UPDATE items SET item = :line WHERE id = :id",
    # A linked message has no call. The handle stays: a schedule's next run continues there.
    "UPDATE calls SET outcome = :outcome WHERE seq = :seq AND call_id = :call",
    # The model's encrypted thoughts and summaries may repeat the text.
    'DELETE FROM items WHERE thread = :thread AND id > :id AND item LIKE \'{"kind":"opaque"%\'',
    "UPDATE remotes SET erasure = 1 WHERE erasure = 0 AND thread = :thread"
    " AND kind IN ('conversation', 'response')",
)
READINGS_PER_TRANSACTION = 100
"""Other writes wait for the transaction, and a text can have 16,000 characters."""
MAX_SEQ = 1 << 62
MAX_ERASURE_TRIES = 20


_RUNS_AGAIN = "conversation = ? AND answer LIKE ?"
_RUNS_AGAIN_PATTERN = '%"can_run_again":true%'
"""A value, because `:true` in SQL would be a placeholder (`core/store/postgres.py`)."""


class SqlThreads(SqlStore):
    """Conversations, their threads and titles, and the list of objects on the model's server that
    are to be erased."""

    @transaction
    def new_thread(self, connection: SqlConnection, conversation: str) -> Thread:
        """Older threads stay readable."""
        return _upsert_thread(connection, conversation, ", thread = excluded.thread")[0]

    @query
    def list_threads(self, connection: SqlConnection) -> Sequence[Thread]:
        """Conversations that were forgotten and not used again are left out."""
        rows = connection.execute(
            f"SELECT * FROM conversations AS c WHERE {_HAS_CONTENT} ORDER BY used_at DESC"  # noqa: S608
        )
        return [
            Thread(row["conversation"], row["thread"], row["generation"], used_at=row["used_at"])
            for row in rows
        ]

    @query
    def transcript(
        self, connection: SqlConnection, thread: str, before: int = MAX_SEQ
    ) -> Sequence[TranscriptEntry]:
        """Items of replaced turns, which the person asked once more, are left out.

        `needs` of an item are the rights without which nobody may read it.

        With `before`, return only items of turns with a smaller `seq`.
        """
        rows = connection.execute(
            "SELECT seq, item, person, created_at, needs FROM items"
            " WHERE thread = ? AND seq < ? AND is_replaced = 0 ORDER BY id",
            (thread, before),
        )
        return [
            TranscriptEntry(
                row["seq"],
                decode_json(Item, row["item"]),
                row["person"],
                row["created_at"],
                decode_needs(row["needs"]),
            )
            for row in rows
        ]

    @query
    def find_thread_id(self, connection: SqlConnection, conversation: str) -> str:
        sql = "SELECT thread FROM conversations WHERE conversation = ?"
        return select_value(connection, sql, conversation) or ""

    @query
    def list_entries(
        self, connection: SqlConnection, conversation: str, thread: str = ""
    ) -> Sequence[HistoryEntry]:
        """A message whose turn has not begun counts as part of the current thread. A message that
        the person asked once more (`replaced_by`: the newer turn) is left out. A decision is
        included only if its answer has a text of its own (`Answer.has_own_post`) besides the
        redrawn card."""
        sql = "SELECT thread FROM conversations WHERE conversation = ?"
        current = select_value(connection, sql, conversation) or ""  # "": there is none yet
        rows = connection.execute(
            "SELECT * FROM inbox WHERE conversation = :conversation"
            " AND (is_decision = 0 OR answer IS NOT NULL)"
            " AND state != 'withdrawn' AND replaced_by = ''"
            # `thread` is '' until the turn begins.
            " AND coalesce(nullif(thread, ''), :current) = :thread ORDER BY seq",
            {"conversation": conversation, "current": current, "thread": thread or current},
        )
        entries = ((row["is_decision"], _history_entry_of(row)) for row in rows)
        return [
            entry
            for decision, entry in entries
            if not decision or (entry.answer and entry.answer.has_own_post)
        ]

    @query
    def list_conversations(
        self, connection: SqlConnection, platform: str, person: str = ""
    ) -> Sequence[ConversationSummary]:
        """With `person` (a key), return only that person's own conversations; without, only those
        that are not one person's. Conversations of a single request (API, MCP) are left out: nobody
        returns to one. A title that a person gave comes before the one that the model made."""
        theirs, values = _owner_condition("c.conversation", platform, person)
        # `first` is the oldest message of the current thread, whose `thread` is '' until its turn
        # begins. The condition with `replace` excludes keys that contain the prefix.
        rows = connection.execute(
            "SELECT c.conversation, coalesce(nullif(c.title, ''), t.title, '') AS title,"  # noqa: S608
            " c.is_pinned, c.used_at, first.message FROM conversations c"
            " LEFT JOIN threads t ON t.id = c.thread"
            " JOIN inbox first ON first.seq = (SELECT min(seq) FROM inbox"
            # Not a decision such as `approve`, and not a message that the person asked once more.
            "  WHERE inbox.conversation = c.conversation AND is_decision = 0"
            "  AND state != 'withdrawn' AND replaced_by = ''"
            "  AND coalesce(nullif(inbox.thread, ''), c.thread) = c.thread)"
            f" WHERE {theirs} AND replace(c.conversation, ?, '') = c.conversation"
            " ORDER BY c.is_pinned DESC, c.used_at DESC LIMIT ?",
            (*values, f":{ONE_REQUEST_PREFIX}", MAX_LISTED_CONVERSATIONS),
        )
        return [
            ConversationSummary(
                row["conversation"],
                decode_json(Message, row["message"]),
                row["title"],
                bool(row["is_pinned"]),
                row["used_at"],
            )
            for row in rows
        ]

    @query
    def search(
        self, connection: SqlConnection, platform: str, search_text: str, person: str = ""
    ) -> Mapping[str, SearchHit]:
        """Find conversations of which one message, with its answer, contains all words, in any
        case. Reads only the newest MAX_SEARCHED_MESSAGES messages, without decisions such as
        `approve`, and without those that were asked once more (`replaced_by`).

        Each key of a conversation maps to its newest turn that contains the words.
        """
        theirs, values = _owner_condition("conversation", platform, person)
        rows = connection.execute(
            f"SELECT conversation, turn, message, answer FROM inbox WHERE {theirs}"  # noqa: S608
            " AND is_decision = 0 AND state != 'withdrawn' AND replaced_by = '' ORDER BY seq DESC"
            " LIMIT ?",
            (*values, MAX_SEARCHED_MESSAGES),
        )
        search_words, hits = fold_case(search_text).split(), dict[str, SearchHit]()
        for row in rows:
            # Rows come newest first, so the first hit is the one to show.
            if row["conversation"] in hits:
                continue
            message_text = decode_json(Message, row["message"]).text
            answer = decode_json(Answer, row["answer"]).text if row["answer"] else ""
            text = fold_case(f"{message_text}\n{answer}")
            if search_words and all(word in text for word in search_words):
                # The excerpt comes from the text that has the first word.
                source = message_text if search_words[0] in fold_case(message_text) else answer
                hits[row["conversation"]] = find_excerpt(row["turn"], source, search_words[0])
        return hits

    @transaction
    def set_listing(
        self, connection: SqlConnection, conversation: str, title: str | None, pinned: bool | None
    ) -> None:
        """Set a conversation's title, and whether it is pinned to the top of the list; None leaves
        a value unchanged.

        Raises NotFound if the conversation is unknown.
        """
        changed = connection.execute(
            "UPDATE conversations SET title = coalesce(?, title),"
            " is_pinned = coalesce(?, is_pinned) WHERE conversation = ?",
            (title, None if pinned is None else int(pinned), conversation),
        )
        if not changed.rowcount:
            raise NotFound(what="conversation")

    @transaction
    def claim_title(self, connection: SqlConnection, thread: str) -> bool:
        """Return whether the caller must make the title of this thread: only the first caller, and
        only if no person gave the conversation a title. A second request to the model would cost
        money."""
        # The title is NULL until somebody claims it. The UPDATE tests the title itself, so only one
        # of several callers changes the row.
        claimed = connection.execute(
            "UPDATE threads SET title = '' WHERE id = ? AND title IS NULL AND NOT EXISTS ("
            "SELECT 1 FROM conversations AS c WHERE c.conversation = threads.conversation"
            " AND c.title <> '')",
            (thread,),
        )
        return bool(claimed.rowcount)

    @transaction
    def set_title(self, connection: SqlConnection, thread: str, title: str) -> None:
        """A thread that was forgotten meanwhile has no row, so that nothing is stored."""
        connection.execute("UPDATE threads SET title = ? WHERE id = ?", (title, thread))

    @query
    def history_entry(self, connection: SqlConnection, turn: str) -> HistoryEntry:
        row = connection.execute("SELECT * FROM inbox WHERE turn = ?", (turn,)).fetchone()
        if row is None:
            raise NotFound(what="turn")
        return _history_entry_of(row)

    @query
    def is_thread_current(self, connection: SqlConnection, turn: str) -> bool:
        """Return whether the turn's conversation still goes on in its thread: `new` ends it."""
        sql = (
            "SELECT 1 FROM inbox JOIN conversations USING (conversation, thread)"
            " WHERE inbox.turn = ?"
        )
        return connection.execute(sql, (turn,)).fetchone() is not None

    @query
    def find_ended_turn(
        self, connection: SqlConnection, turn: str, conversation: str = ""
    ) -> Turn | None:
        """Return the turn with the id `turn` if it has ended; without an id, the newest one of the
        conversation whose answer can run again."""
        sql, key = "SELECT * FROM inbox WHERE state = 'done' AND ", "turn = ?"
        values: tuple[str, ...] = (turn,)
        if not turn:
            key, values = _RUNS_AGAIN, (conversation, _RUNS_AGAIN_PATTERN)
        row = connection.execute(f"{sql}{key} ORDER BY seq DESC LIMIT 1", values).fetchone()
        return read_turn(connection, row) if row else None

    @query
    def find_message_time(
        self, connection: SqlConnection, conversation: str, text: str, since: float
    ) -> float:
        """Return when the newest message with this text whose answer can run again was stored after
        `since`, or 0."""
        rows = connection.execute(
            f"SELECT message, created_at FROM inbox WHERE state = 'done' AND {_RUNS_AGAIN}"  # noqa: S608
            " AND created_at > ?",
            (conversation, _RUNS_AGAIN_PATTERN, since),
        ).fetchall()
        times = (r["created_at"] for r in rows if decode_json(Message, r["message"]).text == text)
        return max(times, default=0.0)

    @query
    def message_of(self, connection: SqlConnection, seq: int) -> Message | None:
        message = select_value(connection, "SELECT message FROM inbox WHERE seq = ?", seq)
        return decode_json(Message, message) if message else None

    @query
    def owner(self, connection: SqlConnection, conversation: str) -> str:
        """Return the key of the person who began the current thread, "" if it has no messages."""
        sql = (
            "SELECT items.person FROM items JOIN conversations USING (thread)"
            " WHERE conversation = ? AND items.person != '' ORDER BY items.id LIMIT 1"
        )
        return select_value(connection, sql, conversation) or ""

    @transaction
    def forget_idle(
        self, connection: SqlConnection, conversation: str, since: float
    ) -> ForgetResult | None:
        """Return None and do nothing if somebody used it, if it has nothing to forget, or if a turn
        in it has not ended."""
        # The lock comes first, so that nobody can use the conversation after the check.
        connection.lock_key(conversation)
        if not list_idle_conversations(connection, since, conversation=conversation):
            return None
        return forget_conversation(connection, conversation)

    @query
    def list_conversations_of(self, connection: SqlConnection, person: str) -> Sequence[str]:
        """The conversations in which a person (a key) wrote or has a file."""
        rows = connection.execute(
            "SELECT conversation FROM inbox WHERE person = :person AND state != 'withdrawn'"
            " UNION SELECT conversation FROM items JOIN threads ON threads.id = items.thread"
            " WHERE person = :person UNION SELECT conversation FROM files WHERE person = :person"
            " ORDER BY conversation",
            {"person": person},
        )
        return [row["conversation"] for row in rows]

    @query
    def list_remotes_to_erase(self, connection: SqlConnection) -> Sequence[Remote]:
        rows = connection.execute(
            "SELECT kind, id FROM remotes WHERE erasure = 1 ORDER BY attempts, created_at"
        )
        return [Remote(row["kind"], row["id"]) for row in rows]

    @query
    def list_unerasable_remotes(self, connection: SqlConnection) -> Sequence[Remote]:
        rows = connection.execute(
            "SELECT kind, id FROM remotes WHERE erasure = 2 ORDER BY created_at"
        )
        return [Remote(row["kind"], row["id"]) for row in rows]

    @transaction
    def record_erasure(self, connection: SqlConnection, remote: Remote, is_erased: bool) -> None:
        """Record an attempt to erase an object on the model's server.

        If `is_erased`, its row is deleted. Otherwise Ponte will try again. After MAX_ERASURE_TRIES
        failed attempts, the object is only listed for the operator (`erasure` = 2).
        """
        key = (remote.kind, remote.id)
        if is_erased:
            connection.execute("DELETE FROM remotes WHERE kind = ? AND id = ?", key)
            return
        connection.execute(
            "UPDATE remotes SET attempts = attempts + 1,"
            " erasure = CASE WHEN attempts + 1 >= ? THEN 2 ELSE 1 END WHERE kind = ? AND id = ?",
            (MAX_ERASURE_TRIES, *key),
        )


def use_thread(connection: SqlConnection, conversation: str) -> tuple[Thread, bool]:
    """Sets the conversation's `used_at` to now. The caller has locked the conversation."""
    return _upsert_thread(connection, conversation, "")


def _upsert_thread(
    connection: SqlConnection, conversation: str, change: str
) -> tuple[Thread, bool]:
    """If the conversation exists, mark it as used now, and apply `change`, the rest of an SQL SET
    clause: "", or the part that makes the new thread the current one. Return the current thread,
    and whether it is the new one. The thread also gets the conversation's generation, which rises
    each time the conversation is forgotten."""
    now, thread = time.time(), secrets.token_hex(8)
    row = connection.execute(
        "INSERT INTO conversations (conversation, thread, used_at) VALUES (?, ?, ?)"  # noqa: S608
        f" ON CONFLICT (conversation) DO UPDATE SET used_at = excluded.used_at{change}"
        " RETURNING thread, generation",
        (conversation, thread, now),
    ).fetchone()
    is_new = row["thread"] == thread  # else the row has the id of the thread that it had before
    if is_new:
        connection.execute(
            "INSERT INTO threads (id, conversation, generation, started_at) VALUES (?, ?, ?, ?)",
            (thread, conversation, row["generation"], now),
        )
    return Thread(conversation, row["thread"], row["generation"], used_at=now), is_new


def record_objects_to_erase(
    connection: SqlConnection, thread: str, remotes: Sequence[Remote], owner: str = ""
) -> None:
    """If the thread was forgotten meanwhile, mark the object for erasure. An object made in advance
    has no thread (""), and `owner` is the id of the process that made it. It becomes the object of
    the first thread that uses it; an object that has a thread keeps it."""
    sql, values = insert_remotes(thread, remotes, owner)
    if sql:
        connection.execute(sql, values)


def insert_remotes(
    thread: str,
    remotes: Sequence[Remote],
    owner: str = "",
    forgotten: str = "NOT EXISTS (SELECT 1 FROM threads WHERE id = :thread)",
) -> tuple[str, dict[str, object]]:
    """Return the SQL statement that stores the ids of objects on the model's server, and its
    values; "" if there is nothing to store. Objects that the process `owner` made in advance have
    no thread (""); they belong to the first one that uses them.

    `forgotten` is the SQL condition that the thread was forgotten meanwhile. Then the objects are
    marked for erasure (`erasure` = 1) at once.
    """
    # One INSERT cannot change one row twice, so each object must occur once. Without an id, Ponte
    # could not erase an object later.
    unique_remotes = list(dict.fromkeys(remote for remote in remotes if remote.id))
    values: dict[str, object] = {"thread": thread, "at": time.time(), "owner": owner}
    rows = []
    for number, remote in enumerate(unique_remotes):
        values |= {f"kind{number}": remote.kind, f"id{number}": remote.id}
        rows.append(
            f"(:kind{number}, :id{number}, :thread, :at, :owner, CASE WHEN :thread != ''"
            f" AND {forgotten} THEN 1 ELSE 0 END)"
        )
    sql = (
        "INSERT INTO remotes (kind, id, thread, created_at, owner, erasure)"  # noqa: S608
        f" VALUES {', '.join(rows)} ON CONFLICT (kind, id) DO UPDATE SET thread = excluded.thread,"
        # An object that has a thread keeps it.
        " erasure = excluded.erasure WHERE remotes.thread = ''"
    )
    return sql if rows else "", values


def erase_spare_remotes(connection: SqlConnection) -> None:
    """An earlier process made these objects in advance. Nobody knows whether it was about to use
    one, so they are not used again."""
    connection.execute("UPDATE remotes SET erasure = 1 WHERE thread = '' AND erasure = 0")


def find_excerpt(turn: str, text: str, word: str) -> SearchHit:
    """`word` is in folded case (`fold_case`). If it is not found, return the beginning of the
    text."""
    line = to_one_line(text, MAX_SEARCHED_CHARS)
    folded = fold_case(line)
    at = folded.find(word)
    # Folding can change the number of letters ("ß" → "ss"), so that `at` would be no index of
    # `line`: then search for the word as it is written.
    if at < 0 or len(folded) != len(line):
        match = re.search(re.escape(word), line, re.IGNORECASE)
        at = match.start() if match else -1
    if at < 0:
        return SearchHit(turn, "", "", truncate(line, EXCERPT_CHARS))
    end, begin = at + len(word), max(0, at - EXCERPT_CHARS // 3)
    before = line[begin:at]
    if begin:  # the first word may be cut, so it is left out
        before = f"…{before.partition(' ')[2] or before}"
    return SearchHit(turn, before, line[at:end], truncate(line[end:], EXCERPT_CHARS))


def _owner_condition(key: str, platform: str, person: str) -> tuple[str, tuple[object, ...]]:
    """Return an SQL condition on conversation keys, and the values for its placeholders.

    `key` is the column or expression with the key. The conversation must be of `platform`, and
    must be `person`'s own, or no one person's if `person` is "". The key of a personal conversation
    ends in `:@` and the person (`Address.conversation`).
    """
    # Not LIKE, because `_` and `%` in an id would match other characters.
    begins, values = f"substr({key}, 1, ?) = ?", (len(platform) + 1, f"{platform}:")
    if not person:
        return f"{begins} AND {key} NOT LIKE '%:@%'", values
    suffix = f":@{person}"
    ends = f"substr({key}, length({key}) - ? + 1) = ?"
    return f"{begins} AND {ends}", (*values, len(suffix), suffix)


def mark_outside_text(connection: SqlConnection, thread: str) -> None:
    """The mark is never removed."""
    connection.execute("UPDATE threads SET has_outside_text = 1 WHERE id = ?", (thread,))


def read_provenance(connection: SqlConnection, thread: str, person: str, before: int) -> Provenance:
    """`before` is the `seq` of the turn that asks: `previous_seq` is the latest turn before it.

    Text of another person counts as text from outside, and so does an unknown thread. Links in
    answers may lead only to addresses that the person wrote, so `asker_texts` has the texts in
    which one may be. A turn that the person asked once more (`is_replaced`) counts for neither
    `previous_seq` nor `asker_texts`.
    """
    # The LIKE conditions leave out texts that cannot contain an address. The person '' is Ponte.
    # Patterns are literals: SQLite compiles a statement again whenever a bound one is set.
    # `needs` are the rights to read an item; those of all items are returned. What a person typed
    # needs none, so CASE returns only the text of such items.
    is_reading = f"written.{HAS_READING_SQL}"
    rows = connection.execute(
        "SELECT has_outside_text = 1 OR EXISTS (SELECT 1 FROM items WHERE thread = :thread"  # noqa: S608
        " AND person NOT IN ('', :person)) AS has_outside_text, (SELECT max(seq) FROM items"
        " WHERE thread = :thread AND seq < :before AND is_replaced = 0) AS since,"
        " CASE WHEN written.needs = '' THEN written.item END AS item, written.needs,"
        f" CASE WHEN written.seq < :before AND {is_reading} THEN written.item END AS reading,"
        " asked.seq AS asked_seq, asked.answer AS asked"
        " FROM threads LEFT JOIN inbox AS asked ON asked.answer LIKE '%\"question\":{%'"
        " AND asked.seq = (SELECT max(seq) FROM items WHERE thread = :thread AND person = :person"
        " AND seq < :before AND is_replaced = 0)"
        f" LEFT JOIN items AS written ON written.thread = threads.id AND (written.needs <> ''"
        f" OR {is_reading}"
        " OR (written.person = :person AND written.is_replaced = 0"
        " AND (written.item LIKE '%.%' OR written.item LIKE '%://%'"
        " OR written.item LIKE '%mailto:%' OR written.item LIKE '%tel:%')))"
        " WHERE threads.id = :thread ORDER BY written.id",
        {"thread": thread, "person": person, "before": before},
    ).fetchall()
    if not rows:
        return Provenance(True)
    asked = decode_json(Answer, rows[0]["asked"]).question if rows[0]["asked"] else None
    items = [decode_json(Item, row["item"]) for row in rows if row["item"]]
    texts = tuple(item.text for item in items if item.is_authored)  # typed by the person
    readings = [decode_json(Item, row["reading"]) for row in rows if row["reading"]]
    needs = frozenset(
        decode_needs(needs_text) for needs_text in {row["needs"] for row in rows} if needs_text
    )
    return Provenance(
        bool(rows[0]["has_outside_text"]),
        texts,
        rows[0]["since"] or 0,
        needs,
        (rows[0]["asked_seq"], asked) if asked else None,
        frozenset(item.reading.place for item in readings if item.reading),
    )


def encode_needs(needs: Collection[Need]) -> str:
    """Without needs, return ""."""
    return json.dumps(sorted(needs)) if needs else ""


def decode_needs(text: str) -> frozenset[Need]:
    return frozenset(map(tuple, json.loads(text))) if text else frozenset()


def forget_conversation(connection: SqlConnection, conversation: str) -> ForgetResult:
    """Erase a conversation: blank its messages and answers, delete its transcript, tool calls and
    files, and mark what the model's server stores of it for erasure. Return what was forgotten.

    The conversation's generation rises, so that turns that still run can store nothing more. The
    caller cancels these (`ForgetResult.running`) and removes the bytes of the files.
    """
    connection.lock_key(conversation)
    # An unfinished decision is left out: it may be the `forget` that is being carried out.
    rows = connection.execute(
        "SELECT seq, state, message FROM inbox WHERE conversation = ?"
        " AND (is_decision = 0 OR state NOT IN ('new', 'running', 'answered', 'posting'))",
        (conversation,),
    ).fetchall()
    forgotten_answer = encode_json(Answer(text="", code="forgotten"))
    for row in rows:
        message = decode_json(Message, row["message"])
        bare = replace(
            message,
            text="",
            attachments=(),
            context=(),
            program_context=(),
            mentions=(),
            author=replace(message.author, name=""),
            reply_to=replace(message.reply_to, token=""),
        )
        # The row itself stays, so that a repeated delivery of the same event is still recognised.
        connection.execute(
            "UPDATE inbox SET message = ?, reason = '', thread = '',"
            " answer = CASE WHEN answer IS NULL THEN NULL ELSE ? END,"
            " state = 'withdrawn', updated_at = ? WHERE seq = ?",
            (encode_json(bare), forgotten_answer, time.time(), row["seq"]),
        )
        connection.execute("DELETE FROM calls WHERE seq = ?", (row["seq"],))
        connection.execute("DELETE FROM votes WHERE seq = ?", (row["seq"],))
    connection.execute(
        "DELETE FROM items WHERE thread IN (SELECT id FROM threads WHERE conversation = ?)",
        (conversation,),
    )  # also of turns whose row was purged
    changes.forget_changes(connection, conversation)
    threads = select_values(
        connection, "SELECT id FROM threads WHERE conversation = ?", conversation
    )
    # Objects of the old threads on the model's server are erased later, by a request to it.
    for thread in threads:
        connection.execute("UPDATE remotes SET erasure = 1 WHERE thread = ?", (thread,))
    connection.execute("DELETE FROM threads WHERE conversation = ?", (conversation,))
    # An empty thread of the next generation takes their place: the conversation can go on.
    now = time.time()
    conversation_row = connection.execute(
        "UPDATE conversations SET generation = generation + 1, thread = ?, used_at = ?,"
        " title = '', is_pinned = 0 WHERE conversation = ? RETURNING generation, thread",
        (secrets.token_hex(8), now, conversation),
    ).fetchone()
    if conversation_row is not None:
        new_thread, generation = conversation_row["thread"], conversation_row["generation"]
        connection.execute(
            "INSERT INTO threads (id, conversation, generation, started_at) VALUES (?, ?, ?, ?)",
            (new_thread, conversation, generation, now),
        )
    files = select_values(
        connection, "DELETE FROM files WHERE conversation = ? RETURNING id", conversation
    )
    return ForgetResult(
        generation=int(conversation_row["generation"]) if conversation_row is not None else 0,
        # Messages that were withdrawn before do not count.
        messages=sum(row["state"] != "withdrawn" for row in rows),
        running=tuple(r["seq"] for r in rows if r["state"] in ("running", "answered", "posting")),
        files=tuple(files),
        threads=tuple(threads),
    )


def erase_readings(
    connection: SqlConnection,
    before: float = math.inf,
    names: Collection[str] = (),
    limit: int = READINGS_PER_TRANSACTION,
) -> int:
    """Put a line in place of each text with messages of other people (`Reading`) that was read
    before then (in Unix seconds), and have what the model's server stores of its thread erased.
    With `names`, only the texts that have one of them."""
    pattern = "|".join(rf"(?<!\w){re.escape(_without_quoting(name))}(?!\w)" for name in names)
    sql = (
        "SELECT items.*, conversation FROM items JOIN threads ON threads.id = thread"  # noqa: S608
        f" WHERE {HAS_READING_SQL} AND created_at < ? ORDER BY conversation, items.id LIMIT ?"
    )
    count = 0
    for row in connection.execute(sql, (before, limit)).fetchall():
        item = decode_json(Item, row["item"])
        if item.reading and re.search(pattern, _without_quoting(item.text)):
            count += 1
            connection.lock_key(row["conversation"])
            when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["created_at"]))
            line = READING_LINE.format(item.reading, when)
            values = {
                **row,
                "line": encode_json(replace(item, text=line, reading=None)),
                "call": item.call_id,
                "outcome": encode_json(Outcome("ok", line)),
            }
            for sql in _ERASE_READING_SQL:
                connection.execute(sql, values)
            if record := find_record(connection, row["thread"]):
                store_record(connection, record)
    return count


def _without_quoting(text: str) -> str:
    # JSON and Python's `repr` write `\` before some characters of a name.
    return re.sub(r"[\\\"']", "", to_one_line(text))


def list_idle_conversations(
    connection: SqlConnection,
    since: float,
    area: ConversationArea = ALL_CONVERSATIONS,
    conversation: str = "",
) -> Sequence[str]:
    """Return the keys of conversations in `area` that nobody used since `since`, to be forgotten.

    `since` is in seconds since the epoch. Only conversations with content and without unfinished
    turns are returned. With `conversation`, only that one is considered.
    """
    there, values = area_condition(area)  # an SQL condition on `conversation`, and its values
    if conversation:
        there, values = f"{there} AND conversation = ?", [*values, conversation]
    return select_values(
        connection,
        "SELECT conversation FROM conversations AS c WHERE used_at < ? AND NOT EXISTS ("  # noqa: S608
        " SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
        f" AND state IN ('new', 'running', 'answered', 'posting')) AND {_HAS_CONTENT} AND {there}",
        since,
        *values,
    )


def _history_entry_of(row: SqlRow) -> HistoryEntry:
    answer = decode_json(Answer, row["answer"]) if row["answer"] else None
    message = decode_json(Message, row["message"])
    return HistoryEntry(
        row["seq"], row["turn"], row["state"], message, answer, row["created_at"], row["refusal"]
    )
