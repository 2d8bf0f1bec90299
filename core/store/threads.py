"""The SQL of threads: which is current, what was said in it, what servers keep for it.

To forget blanks what a person said, and lists what only servers hold.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.domain.errors import NotFound
from core.domain.messages import (
    CONTEXT_NAME,
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
    Provenance,
    Remote,
    Thread,
    TranscriptEntry,
)
from core.store import changes
from core.store.database import SqlConnection, SqlRow, area_condition, lock_key
from core.text.text import fold_case

MAX_LISTED_CONVERSATIONS = 500
"""Conversations in a list."""
_HAS_CONTENT = (
    "(EXISTS (SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
    " AND state != 'withdrawn') OR EXISTS (SELECT 1 FROM threads JOIN items"
    " ON items.thread = threads.id WHERE threads.conversation = c.conversation))"
)
"""Of a conversation `c`: something is in it."""
MAX_SEARCHED_MESSAGES = 20_000
"""Messages that a search looks into, the newest."""
MAX_ERASURE_TRIES = 20
"""Tries to erase one thing on a server before it is listed as not erasable."""


def current_thread(connection: SqlConnection, conversation: str) -> Thread:
    """The conversation's thread, made if there is none; counts as a use of it."""
    lock_key(connection, conversation)
    row = connection.execute(
        "UPDATE conversations SET used_at = ? WHERE conversation = ?"
        " RETURNING thread, generation, used_at",
        (time.time(), conversation),
    ).fetchone()
    if row is None:
        return start_thread(connection, conversation)
    return Thread(conversation, row["thread"], row["generation"], used_at=row["used_at"])


def start_thread(connection: SqlConnection, conversation: str) -> Thread:
    """A new thread becomes the current one; the old one stays readable."""
    now, thread = time.time(), secrets.token_hex(8)
    row = connection.execute(
        "INSERT INTO conversations (conversation, thread, used_at) VALUES (?, ?, ?)"
        " ON CONFLICT (conversation) DO UPDATE SET thread = excluded.thread,"
        " used_at = excluded.used_at RETURNING generation",
        (conversation, thread, now),
    ).fetchone()
    connection.execute(
        "INSERT INTO threads (id, conversation, generation, started) VALUES (?, ?, ?, ?)",
        (thread, conversation, row["generation"], now),
    )
    return Thread(conversation, thread, row["generation"], used_at=now)


def list_threads(connection: SqlConnection) -> Sequence[Thread]:
    """Without those of which all was forgotten."""
    rows = connection.execute(
        f"SELECT * FROM conversations AS c WHERE {_HAS_CONTENT} ORDER BY used_at DESC"  # noqa: S608
    )
    return [
        Thread(row["conversation"], row["thread"], row["generation"], used_at=row["used_at"])
        for row in rows
    ]


def record_remote(connection: SqlConnection, thread: str, remote: Remote, owner: str = "") -> None:
    """Remember a server's id; one that comes for a forgotten thread goes onto the erase list. What
    is kept for no thread (SPARE), by `owner`, becomes that of the first one that takes it."""
    if not remote.id:
        return
    connection.execute(
        "INSERT INTO remotes (kind, id, thread, at, owner, erase)"
        " VALUES (:kind, :id, :thread, :at, :owner,"
        " CASE WHEN :thread != '' AND NOT EXISTS (SELECT 1 FROM threads WHERE id = :thread)"
        " THEN 1 ELSE 0 END) ON CONFLICT (kind, id) DO UPDATE SET thread = excluded.thread,"
        " erase = excluded.erase WHERE remotes.thread = ''",
        {"kind": remote.kind, "id": remote.id, "thread": thread, "at": time.time(), "owner": owner},
    )


def erase_spare_remotes(connection: SqlConnection) -> None:
    """Those of a former process: nobody knows whether one was about to be used."""
    connection.execute("UPDATE remotes SET erase = 1 WHERE thread = '' AND erase = 0")


def read_transcript(
    connection: SqlConnection, thread: str, before: int | None
) -> Sequence[TranscriptEntry]:
    rows = connection.execute(
        "SELECT seq, item, person, at FROM items WHERE thread = ? AND seq < ? AND replaced = 0"
        " ORDER BY id",
        (thread, before if before is not None else 1 << 62),
    )
    return [
        TranscriptEntry(row["seq"], decode_json(Item, row["item"]), row["person"], row["at"])
        for row in rows
    ]


def list_entries(
    connection: SqlConnection, conversation: str, thread: str
) -> Sequence[HistoryEntry]:
    """Exchanges of one thread; a message that no turn took up yet belongs to the current one.

    Of decisions, those whose answer says more than the card does.
    """
    row = connection.execute(
        "SELECT thread FROM conversations WHERE conversation = ?", (conversation,)
    ).fetchone()
    current = row["thread"] if row else ""
    rows = connection.execute(
        "SELECT * FROM inbox WHERE conversation = :conversation"
        " AND (decision = 0 OR answer IS NOT NULL)"
        " AND state != 'withdrawn' AND replaced = ''"
        " AND coalesce(nullif(thread, ''), :current) = :thread ORDER BY seq",
        {"conversation": conversation, "current": current, "thread": thread or current},
    )
    told = ((row["decision"], _history_entry_of(row)) for row in rows)
    return [said for decision, said in told if not decision or (said.answer and said.answer.aloud)]


def list_conversations(
    connection: SqlConnection, platform: str, person: str = ""
) -> Sequence[ConversationSummary]:
    theirs, values = _owner_condition("c.conversation", platform, person)
    rows = connection.execute(
        "SELECT c.conversation, c.title, c.pinned, c.used_at, first.message FROM conversations c"  # noqa: S608
        " JOIN inbox first ON first.seq = (SELECT min(seq) FROM inbox"
        "  WHERE inbox.conversation = c.conversation AND decision = 0 AND state != 'withdrawn'"
        "  AND replaced = '' AND coalesce(nullif(inbox.thread, ''), c.thread) = c.thread)"
        f" WHERE {theirs} AND replace(c.conversation, ?, '') = c.conversation"
        " ORDER BY c.pinned DESC, c.used_at DESC LIMIT ?",
        (*values, f":{ONE_REQUEST_PREFIX}", MAX_LISTED_CONVERSATIONS),
    )
    return [
        ConversationSummary(row["conversation"], decode_json(Message, row["message"]), row["title"],
               bool(row["pinned"]), row["used_at"])
        for row in rows
    ]  # fmt: skip


def search(
    connection: SqlConnection, platform: str, words: str, person: str = ""
) -> Mapping[str, str]:
    theirs, values = _owner_condition("conversation", platform, person)
    rows = connection.execute(
        f"SELECT conversation, turn, message, answer FROM inbox WHERE {theirs}"  # noqa: S608
        " AND decision = 0 AND state != 'withdrawn' AND replaced = '' ORDER BY seq DESC LIMIT ?",
        (*values, MAX_SEARCHED_MESSAGES),
    )
    wanted, hits = fold_case(words), dict[str, str]()
    for row in rows:
        if row["conversation"] in hits:
            continue
        said = decode_json(Message, row["message"]).text
        told = decode_json(Answer, row["answer"]).text if row["answer"] else ""
        if wanted in fold_case(f"{said}\n{told}"):
            hits[row["conversation"]] = row["turn"]
    return hits


def set_listing(
    connection: SqlConnection, conversation: str, title: str | None, pinned: bool | None
) -> None:
    changed = connection.execute(
        "UPDATE conversations SET title = coalesce(?, title), pinned = coalesce(?, pinned)"
        " WHERE conversation = ?",
        (title, None if pinned is None else int(pinned), conversation),
    )
    if not changed.rowcount:
        raise NotFound(what="conversation")


def _owner_condition(key: str, platform: str, person: str) -> tuple[str, tuple[object, ...]]:
    """What is to be so of a conversation's `key`, and its values: it is of that platform, and
    `person`'s own, or ("") no one person's."""
    begins, values = f"substr({key}, 1, ?) = ?", (len(platform) + 1, f"{platform}:")
    if not person:
        return f"{begins} AND {key} NOT LIKE '%:@%'", values
    own = f":@{person}"
    ends = f"substr({key}, length({key}) - ? + 1) = ?"
    return f"{begins} AND {ends}", (*values, len(own), own)


def read_history_entry(connection: SqlConnection, turn: str) -> HistoryEntry:
    row = connection.execute("SELECT * FROM inbox WHERE turn = ?", (turn,)).fetchone()
    if row is None:
        raise NotFound(what="turn")
    return _history_entry_of(row)


def mark_outside_text(connection: SqlConnection, thread: str) -> None:
    """Something that its people did not write is in the thread now, and stays in it."""
    connection.execute("UPDATE threads SET outside = 1 WHERE id = ?", (thread,))


def read_provenance(connection: SqlConnection, thread: str, person: str, before: int) -> Provenance:
    row = connection.execute(
        "SELECT outside = 1 OR EXISTS (SELECT 1 FROM items WHERE thread = :thread"
        " AND person NOT IN ('', :person)) AS outside, (SELECT max(seq) FROM items"
        " WHERE thread = :thread AND seq < :before AND replaced = 0) AS since"
        " FROM threads WHERE id = :thread",
        {"thread": thread, "person": person, "before": before},
    ).fetchone()
    written = connection.execute(
        "SELECT item FROM items WHERE thread = ? AND person = ? AND replaced = 0"
        " AND item LIKE '%.%'",
        (thread, person),
    )
    items = (decode_json(Item, one["item"]) for one in written)
    texts = tuple(item.text for item in items if item.name != CONTEXT_NAME)
    if row is None:
        return Provenance(True, texts)
    return Provenance(bool(row["outside"]), texts, row["since"] or 0)


def find_author(connection: SqlConnection, seq: int) -> str:
    row = connection.execute("SELECT person FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row["person"] if row else ""


def find_owner(connection: SqlConnection, conversation: str) -> str:
    """Who began the current thread."""
    row = connection.execute(
        "SELECT items.person FROM items JOIN conversations USING (thread)"
        " WHERE conversation = ? AND items.person != '' ORDER BY items.id LIMIT 1",
        (conversation,),
    ).fetchone()
    return row["person"] if row else ""


def forget_idle(connection: SqlConnection, conversation: str, since: float) -> ForgetResult | None:
    """Forget it unless somebody has used it since then: None, and nothing is done."""
    lock_key(connection, conversation)
    if not list_idle_conversations(connection, since, conversation=conversation):
        return None
    return forget_conversation(connection, conversation)


def forget_conversation(connection: SqlConnection, conversation: str) -> ForgetResult:
    """Raise the generation (older turns can commit nothing more) and blank every body."""
    lock_key(connection, conversation)
    rows = connection.execute(
        "SELECT seq, state, message FROM inbox WHERE conversation = ?"
        " AND (decision = 0 OR state NOT IN ('new', 'running', 'answered', 'posting'))",
        (conversation,),
    ).fetchall()
    for row in rows:
        _erase_message(connection, row["seq"], decode_json(Message, row["message"]))
    connection.execute(
        "DELETE FROM items WHERE thread IN (SELECT id FROM threads WHERE conversation = ?)",
        (conversation,),
    )  # also of turns whose row was purged
    changes.forget_changes(connection, conversation)
    threads = connection.execute(
        "SELECT id FROM threads WHERE conversation = ?", (conversation,)
    ).fetchall()
    generation = _raise_generation(connection, conversation)
    files = connection.execute(
        "DELETE FROM files WHERE conversation = ? RETURNING id", (conversation,)
    ).fetchall()
    return ForgetResult(
        generation=generation,
        messages=sum(row["state"] != "withdrawn" for row in rows),
        running=tuple(r["seq"] for r in rows if r["state"] in ("running", "answered", "posting")),
        files=tuple(row["id"] for row in files),
        threads=tuple(row["id"] for row in threads),
    )


def list_idle_conversations(
    connection: SqlConnection,
    since: float,
    area: ConversationArea = ALL_CONVERSATIONS,
    conversation: str = "",
) -> Sequence[str]:
    """Not used since then, with something to forget and nothing that waits for an answer; with
    `conversation`, that one or none."""
    there, values = area_condition(area)
    if conversation:
        there, values = f"{there} AND conversation = ?", [*values, conversation]
    rows = connection.execute(
        "SELECT conversation FROM conversations AS c WHERE used_at < ? AND NOT EXISTS ("  # noqa: S608
        " SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
        f" AND state IN ('new', 'running', 'answered', 'posting')) AND {_HAS_CONTENT} AND {there}",
        (since, *values),
    )
    return [row["conversation"] for row in rows]


def list_conversations_of(connection: SqlConnection, person: str) -> Sequence[str]:
    rows = connection.execute(
        "SELECT conversation FROM inbox WHERE person = :person AND state != 'withdrawn'"
        " UNION SELECT conversation FROM items JOIN threads ON threads.id = items.thread"
        " WHERE person = :person UNION SELECT conversation FROM files WHERE person = :person"
        " ORDER BY conversation",
        {"person": person},
    )
    return [row["conversation"] for row in rows]


def list_remotes_to_erase(connection: SqlConnection) -> Sequence[Remote]:
    rows = connection.execute("SELECT kind, id FROM remotes WHERE erase = 1 ORDER BY tries, at")
    return [Remote(row["kind"], row["id"]) for row in rows]


def list_unerasable_remotes(connection: SqlConnection) -> Sequence[Remote]:
    rows = connection.execute("SELECT kind, id FROM remotes WHERE erase = 2 ORDER BY at")
    return [Remote(row["kind"], row["id"]) for row in rows]


def record_erasure(connection: SqlConnection, remote: Remote, done: bool) -> None:
    """Done rows go; others are tried again, and after MAX_TRIES only listed (erase = 2)."""
    key = (remote.kind, remote.id)
    if done:
        connection.execute("DELETE FROM remotes WHERE kind = ? AND id = ?", key)
        return
    connection.execute(
        "UPDATE remotes SET tries = tries + 1, erase = CASE WHEN tries + 1 >= ? THEN 2 ELSE 1 END"
        " WHERE kind = ? AND id = ?",
        (MAX_ERASURE_TRIES, *key),
    )


def _history_entry_of(row: SqlRow) -> HistoryEntry:
    answer = decode_json(Answer, row["answer"]) if row["answer"] else None
    message = decode_json(Message, row["message"])
    return HistoryEntry(
        row["seq"], row["turn"], row["state"], message, answer, row["created"], row["refused"]
    )


def _erase_message(connection: SqlConnection, seq: int, message: Message) -> None:
    """The row stays, so that its event is still known; nothing that was said does."""
    bare = replace(message, text="", attachments=(), context=(), brought=(),
                   author=replace(message.author, name=""),
                   reply_to=replace(message.reply_to, token=""))  # fmt: skip
    answer = encode_json(Answer(text="", code="forgotten"))
    connection.execute(
        "UPDATE inbox SET message = ?, reason = '', thread = '',"
        " answer = CASE WHEN answer IS NULL THEN NULL ELSE ? END,"
        " state = 'withdrawn', updated = ? WHERE seq = ?",
        (encode_json(bare), answer, time.time(), seq),
    )
    connection.execute("DELETE FROM calls WHERE seq = ?", (seq,))


def _raise_generation(connection: SqlConnection, conversation: str) -> int:
    old = connection.execute(
        "SELECT id FROM threads WHERE conversation = ?", (conversation,)
    ).fetchall()
    for row in old:
        connection.execute("UPDATE remotes SET erase = 1 WHERE thread = ?", (row["id"],))
    connection.execute("DELETE FROM threads WHERE conversation = ?", (conversation,))
    row = connection.execute(
        "UPDATE conversations SET generation = generation + 1, thread = ?, used_at = ?,"
        " title = '', pinned = 0 WHERE conversation = ? RETURNING generation, thread",
        (secrets.token_hex(8), time.time(), conversation),
    ).fetchone()
    if row is None:
        return 0
    connection.execute(
        "INSERT INTO threads (id, conversation, generation, started) VALUES (?, ?, ?, ?)",
        (row["thread"], conversation, row["generation"], time.time()),
    )
    return int(row["generation"])
