"""Find, count, export and erase what the tables hold of a person, by the person's key.

Which tables and columns these are is declared in `core/store/tables.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.domain.errors import BadInput, NotFound, PonteError
from core.domain.messages import (
    CONTEXT_NAME,
    NOTE_NAME,
    Answer,
    Item,
    Message,
    Person,
    decode_json,
    encode_json,
)
from core.domain.quotes import remove_quotes_of
from core.domain.records import FINAL_STATES
from core.store import budget
from core.store.database import Database, SqlConnection, SqlRow, lock_key
from core.store.remembered import FORGOTTEN_ID, remove_ids
from core.store.tables import DECLARED_TABLES, EXPORTED, Column, Link, TableDeclaration, Whose

FORGOTTEN_PERSON = Person(FORGOTTEN_ID, "", name="–")
"""The person who replaces people who were forgotten where a row stays: money, and decisions on
others' changes."""
EXPORT_PAGE_ROWS = 200
"""Most rows of an export in one response."""
_SECRETS = frozenset({"token", "reference"})
"""Fields of stored messages that hold a platform's short-lived token."""
_FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)

_TURNS = (
    "SELECT seq FROM inbox WHERE person = :person UNION SELECT seq FROM items"
    " WHERE person = :person UNION SELECT seq FROM calls WHERE person = :person"
    " UNION SELECT seq FROM posts WHERE person = :person"
)
_CONDITIONS: Mapping[Whose, str] = {
    "person": "person = :person",
    "turn": f"seq IN ({_TURNS})",
    "change": "change IN (SELECT id FROM changes WHERE person = :person)",
    "money": "person = :one",
}
"""By `Table.whose`: the SQL condition for a person's rows."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person in the tables. `one`: the key that their money is counted under. `ids`: the
    platform's ids of the person and of their direct channels."""

    key: str
    money_key: str
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self.key.rpartition(":")[2]

    @property
    def values(self) -> Mapping[str, str]:
        return {"person": self.key, "one": self.money_key}


@dataclass(frozen=True, slots=True)
class PersonConversations:
    """The conversations that a person takes part in: those of theirs alone, and shared ones.
    `threads` are the ids of the others' threads that hold something of theirs; `told` of those
    in which the model read what they decided."""

    alone: Sequence[str] = ()
    shared: Sequence[str] = ()
    threads: Sequence[str] = ()
    decided_threads: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Erasure:
    """The outcome of an erasure. `decided` are others' changes whose cards named the person."""

    rows: int
    decided: Sequence[str] = ()


class UnknownPerson(NotFound):
    sentence = "Nobody is known here as {person}. `ponte person list` shows who is."


class AmbiguousPerson(BadInput):
    sentence = "{person} may be any of these: {what}. Write the whole key."


class StillApplying(PonteError):
    code = "still_applying"
    sentence = (
        "A change that they asked for or approved is being applied just now. Forget them again in "
        "a moment: what is left goes then."
    )


class SqlPersonalData:
    """Personal data in one database. `one` returns the key that a person's money is counted under.
    `shared`: the database is Postgres, with the tables that only Postgres has."""

    def __init__(
        self, database: Database, money_key: Callable[[str], str] = str, *, shared: bool = False
    ) -> None:
        self._database = database
        self._money_key = money_key
        self._shared = shared

    async def list_people(self) -> Sequence[Mapping[str, Any]]:
        """Return who did something here, the latest first: `person`, `platform`, `name`, `first`
        and `last` (seconds since 1970, 0 where nothing tells), and how many there are of each kind.
        People whom a platform merely lists are not among them; `find` finds them."""
        return await self._database.read(_list_people)

    async def find(self, written: str) -> KnownPerson:
        """Return the person written as `slack:T1:U1`, `slack:T1/U1`, or `slack:U1` if that is one
        person. Raises UnknownPerson, Ambiguous."""

        def read(connection: SqlConnection) -> KnownPerson:
            wanted = written.strip().replace("/", ":")
            known = _find_keys(connection)
            if wanted not in known:
                found = sorted(key for key in known if _without_workspace(key) == wanted)
                if not found:
                    raise UnknownPerson(person=repr(written[:80]))
                if len(found) > 1:
                    raise AmbiguousPerson(person=repr(written[:80]), what=", ".join(found[:10]))
                (wanted,) = found
            return _read_person(connection, wanted, self._money_key(wanted))

        return await self._database.read(read)

    def by_key(self, key: str) -> KnownPerson:
        """Return a person with that key and no names, which suffices to read their rows."""
        return KnownPerson(key, self._money_key(key))

    async def find_conversations(self, who: KnownPerson) -> PersonConversations:
        return await self._database.read(lambda c: _find_conversations(c, who))

    async def count_rows(self, who: KnownPerson) -> Mapping[str, int]:
        """Return how many rows each section of an export has, without empty sections."""

        def read(connection: SqlConnection) -> Mapping[str, int]:
            found = {table.section: _count_rows(connection, table, who) for table in EXPORTED} | {
                "decisions": _select_count(
                    connection, f"SELECT count(*) AS n {_DECIDED}", who.values
                )
            }
            return {section: count for section, count in found.items() if count}

        return await self._database.read(read)

    async def read_rows(
        self, who: KnownPerson, section: str, begin: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Return at most ROWS_AT_ONCE rows of a section, oldest first, after the first `begin`."""

        def read(connection: SqlConnection) -> Sequence[Mapping[str, Any]]:
            columns: Sequence[Column] = ()
            if section == "decisions":
                sql = f"SELECT id, kind, title, state, decided {_DECIDED} ORDER BY decided, id"
            else:
                table = next(each for each in EXPORTED if each.section == section)
                columns = table.columns
                sql = f"SELECT * FROM {table.name} WHERE {_condition(table)} ORDER BY 1, 2"  # noqa: S608
            rows = connection.execute(
                f"{sql} LIMIT {EXPORT_PAGE_ROWS} OFFSET :begin", {**who.values, "begin": begin}
            )
            return [_export_row(columns, dict(row)) for row in rows]

        return await self._database.read(read)

    async def read_remembered(self, who: KnownPerson) -> Mapping[str, Any]:
        """Return what platforms remember about anybody, by the row's name."""

        def read(connection: SqlConnection) -> Mapping[str, Any]:
            rows = connection.execute("SELECT name, data FROM remembered")
            return {row["name"]: json.loads(row["data"]) for row in rows}

        return await self._database.read(read)

    async def owns_file(self, who: KnownPerson, file: str) -> bool:
        """Return whether that file is theirs."""
        sql = "SELECT 1 FROM files WHERE id = ? AND person = ?"
        return await self._database.read(
            lambda c: c.execute(sql, (file, who.key)).fetchone() is not None
        )

    async def list_files(self, who: KnownPerson) -> Sequence[str]:
        sql = "SELECT id FROM files WHERE person = ?"
        return await self._database.read(
            lambda c: [row["id"] for row in c.execute(sql, (who.key,))]
        )

    async def list_unfinished_turns(self, who: KnownPerson) -> Sequence[int]:
        """Return their turns that have not ended, the latest first."""
        sql = (
            f"SELECT seq FROM inbox WHERE person = ? AND state NOT IN ({_FINAL})"  # noqa: S608
            " ORDER BY seq DESC"
        )
        return await self._database.read(
            lambda c: [row["seq"] for row in c.execute(sql, (who.key,))]
        )

    async def erase(self, who: KnownPerson, at_work: Collection[str] | None = None) -> Erasure:
        """Delete their rows, and remove their name from the rows of others, in one transaction.

        Delete files and thread records before: they are found by these rows. `at_work`: the
        platforms whose changes may be under way, None for all. Raises StillApplying while a change
        of theirs is applied on one of them.
        """
        return await self._database.write(
            lambda c: _erase_rows(c, who, at_work, shared=self._shared)
        )


_DECIDED = "FROM changes WHERE decider = :person AND person <> :person"


def _list_people(connection: SqlConnection) -> Sequence[Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def get_entry(key: str) -> dict[str, Any]:
        blank = {"person": key, "platform": key.partition(":")[0], "name": "", "first": 0.0,
                 "last": 0.0, "messages": 0, "files": 0, "changes": 0, "decisions": 0}  # fmt: skip
        return found.setdefault(key, blank)

    def note_activity(row: SqlRow) -> dict[str, Any]:
        each = get_entry(str(row["person"]))
        first, last = float(row["first"] or 0), float(row["last"] or 0)
        each["first"] = min(filter(None, (each["first"], first)), default=0.0)
        each["last"] = max(each["last"], last)
        return each

    for row in connection.execute(
        "SELECT person, count(*) AS n, min(created) AS first, max(created) AS last,"
        " max(seq) AS seq FROM inbox GROUP BY person"
    ).fetchall():
        each = note_activity(row)
        each["messages"] = row["n"]
        stored = connection.execute("SELECT message FROM inbox WHERE seq = ?", (row["seq"],))
        each["name"] = decode_json(Message, stored.fetchone()["message"]).author.name
    for table in DECLARED_TABLES:
        if not table.seen_at or table.name == "inbox":
            continue
        for row in connection.execute(
            f"SELECT person, count(*) AS n, min({table.seen_at}) AS first,"  # noqa: S608 - ours
            f" max({table.seen_at}) AS last FROM {table.name}"
            " WHERE person <> '' GROUP BY person"
        ).fetchall():
            each = note_activity(row)
            if table.name in each:
                each[table.name] = row["n"]
    for row in connection.execute(
        "SELECT decider AS person, count(*) AS n, min(decided) AS first, max(decided) AS last"
        " FROM changes WHERE decider <> '' AND decider <> person GROUP BY decider"
    ).fetchall():
        note_activity(row)["decisions"] = row["n"]
    for key in _find_keys(connection, but=("directory",)):
        get_entry(key)
    people = [each for key, each in found.items() if _is_person(key)]
    return sorted(people, key=lambda each: (-each["last"], each["person"]))


def _find_keys(connection: SqlConnection, but: Collection[str] = ()) -> set[str]:
    """Return the keys of all people in the tables, leaving out the tables `but`."""
    tables = [table.name for table in DECLARED_TABLES if table.has_person and table.name not in but]
    selects = [f"SELECT person FROM {name}" for name in tables]  # noqa: S608 - ours
    rows = connection.execute(" UNION ".join([*selects, "SELECT decider AS person FROM changes"]))
    return {str(row["person"]) for row in rows if _is_person(str(row["person"]))}


def _is_person(key: str) -> bool:
    return ":" in key


def _without_workspace(key: str) -> str:
    """Return the key without its workspace."""
    parts = key.split(":")
    return f"{parts[0]}:{parts[-1]}"


def _read_person(connection: SqlConnection, key: str, one: str) -> KnownPerson:
    names = set[str]()
    sql = "SELECT message FROM inbox WHERE person = ?"
    for row in connection.execute(sql, (key,)):
        names.add(decode_json(Message, row["message"]).author.name)
    for row in connection.execute(
        "SELECT person, asker, decider, decided_by FROM changes"
        " WHERE person = :person OR decider = :person",
        {"person": key},
    ):
        for person, text in ((row["person"], row["asker"]), (row["decider"], row["decided_by"])):
            if person == key and text:
                names.add(decode_json(Person, text).name)
    for row in connection.execute("SELECT name FROM directory WHERE person = ?", (key,)):
        names.add(row["name"])
    who = KnownPerson(key, one, frozenset(filter(None, names)))
    platform, own = key.partition(":")[0], {who.id}
    for conversation in _find_conversations(connection, who).alone:
        row = connection.execute(
            "SELECT message FROM inbox WHERE conversation = ? LIMIT 1", (conversation,)
        ).fetchone()
        address = decode_json(Message, row["message"]).address if row else None
        if address and not address.shared and address.platform == platform:
            own.add(address.channel)
    return replace(who, ids=frozenset(own))


def _find_conversations(connection: SqlConnection, who: KnownPerson) -> PersonConversations:
    platform = who.key.partition(":")[0]
    rows = connection.execute(
        "SELECT conversation FROM inbox WHERE person = :person"
        " UNION SELECT threads.conversation FROM items JOIN threads ON threads.id = items.thread"
        " WHERE items.person = :person"
        " UNION SELECT conversation FROM files WHERE person = :person"
        " UNION SELECT conversation FROM changes WHERE person = :person"
        " UNION SELECT conversation FROM conversations"
        " WHERE substr(conversation, length(conversation) - :long + 1) = :own"
        " AND substr(conversation, 1, :wide) = :platform ORDER BY conversation",
        {"person": who.key, "own": f":@{who.id}", "long": len(who.id) + 2,
         "platform": f"{platform}:", "wide": len(platform) + 1},
    ).fetchall()  # fmt: skip
    alone, shared = list[str](), list[str]()
    for conversation in (str(row["conversation"]) for row in rows):
        (alone if _has_nobody_else(connection, conversation, who) else shared).append(conversation)
    threads = connection.execute(
        "SELECT DISTINCT items.thread, threads.conversation FROM items"
        " JOIN threads ON threads.id = items.thread WHERE items.person = ? ORDER BY items.thread",
        (who.key,),
    ).fetchall()
    told = connection.execute(
        "SELECT DISTINCT thread FROM changes WHERE decider = :person AND person <> :person"
        " UNION SELECT thread FROM changes JOIN consents ON consents.change = changes.id"
        " WHERE consents.person = :person AND changes.person <> :person",
        who.values,
    ).fetchall()
    return PersonConversations(
        alone, shared,
        [row["thread"] for row in threads if row["conversation"] in shared],
        [row["thread"] for row in told],
    )  # fmt: skip


def _has_own_key(conversation: str, who: KnownPerson) -> bool:
    """Return whether the conversation's key names them (`Address.conversation`)."""
    platform = who.key.partition(":")[0]
    return conversation.startswith(f"{platform}:") and conversation.endswith(f":@{who.id}")


def _has_nobody_else(connection: SqlConnection, conversation: str, who: KnownPerson) -> bool:
    """Return whether its key names them, or nobody else ever wrote there."""
    return _has_own_key(conversation, who) or (
        connection.execute(
            "SELECT 1 FROM inbox WHERE conversation = :conversation AND person <> :person"
            " UNION ALL SELECT 1 FROM items JOIN threads ON threads.id = items.thread"
            " WHERE threads.conversation = :conversation AND items.person NOT IN ('', :person)"
            " UNION ALL SELECT 1 FROM files WHERE conversation = :conversation"
            " AND person <> :person"
            " UNION ALL SELECT 1 FROM changes WHERE conversation = :conversation"
            " AND person <> :person LIMIT 1",
            {"conversation": conversation, "person": who.key},
        ).fetchone()
        is None
    )


def _count_rows(connection: SqlConnection, table: TableDeclaration, who: KnownPerson) -> int:
    sql = f"SELECT count(*) AS n FROM {table.name} WHERE {_condition(table)}"  # noqa: S608
    return _select_count(connection, sql, who.values)


def _condition(table: TableDeclaration) -> str:
    """Return the SQL condition for a person's rows."""
    return table.rows or _CONDITIONS[table.whose]


def _select_count(connection: SqlConnection, sql: str, values: Mapping[str, str]) -> int:
    return int(connection.execute(sql, values).fetchone()["n"])


def _export_row(columns: Sequence[Column], row: dict[str, Any]) -> Mapping[str, Any]:
    """Return the row for an export: JSON parsed, and of secrets only whether they are set."""
    for column in columns:
        if column.secret:
            row[column.name] = bool(row[column.name])
        elif column.json and row[column.name]:
            row[column.name] = _parse_json(row[column.name])
    return row


def _parse_json(text: str) -> Any:
    try:
        return _hide_secrets(json.loads(text))
    except ValueError:
        return text  # arguments are as the model wrote them


def _hide_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: bool(v) if k in _SECRETS else _hide_secrets(v) for k, v in value.items()}
    return [_hide_secrets(each) for each in value] if isinstance(value, list) else value


@dataclass(slots=True)
class _ErasureWork:
    """The state of one erasure. `gone` are the ids of their changes, `decided` those of others'
    changes that they decided on or approved."""

    connection: SqlConnection
    who: KnownPerson
    shared: bool
    places: PersonConversations = field(default_factory=PersonConversations)
    seqs: Sequence[int] = ()
    gone: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    rows: int = 0

    def select_ids(self, sql: str) -> frozenset[Any]:
        """Return the first column."""
        rows = self.connection.execute(sql, self.who.values).fetchall()
        return frozenset(row[next(iter(dict(row)))] for row in rows)

    def run_for_each(self, sql: str, values: Iterable[Any]) -> None:
        for value in values:
            self.rows += max(0, self.connection.execute(sql, (value,)).rowcount)

    def run(self, sql: str) -> None:
        self.rows += max(0, self.connection.execute(sql, self.who.values).rowcount)


def _erase_rows(
    connection: SqlConnection, who: KnownPerson, at_work: Collection[str] | None, *, shared: bool
) -> Erasure:
    places = _find_conversations(connection, who)
    for conversation in sorted((*places.alone, *places.shared)):
        lock_key(connection, conversation)
    work = _ErasureWork(connection, who, shared, places)
    work.seqs = sorted(work.select_ids(_TURNS))
    work.gone = work.select_ids("SELECT id FROM changes WHERE person = :person")
    work.decided = work.select_ids(f"SELECT id {_DECIDED}") | (
        work.select_ids("SELECT change FROM consents WHERE person = :person") - work.gone
    )
    applying = work.select_ids(
        "SELECT conversation FROM changes WHERE state = 'applying' AND :person IN (person, decider)"
    )
    if any(at_work is None or str(one).partition(":")[0] in at_work for one in applying):
        raise StillApplying
    for seq in sorted(work.select_ids("SELECT seq FROM holds WHERE person = :one")):
        budget.settle_holds(connection, seq)
    _remove_from_answers(work)
    _remove_from_notes(work)
    _remove_quotes(work)
    _mark_remotes(work)
    _anonymise_decisions(work)
    _delete_rows(work)
    _anonymise_usage(work)
    return Erasure(work.rows, sorted(work.decided))


def _delete_rows(work: _ErasureWork) -> None:
    """Delete their rows by the links that each table declares (`Table.deleted_by`)."""
    _remove_from_remembered(work)
    alone = work.places.alone
    threads = "SELECT id FROM threads WHERE conversation = ?"
    found: Mapping[Link, Collection[Any]] = {
        "person": [work.who.key],
        "seq": work.seqs,
        "turn": work.select_ids("SELECT turn FROM inbox WHERE person = :person"),
        "change": work.gone,
        "file": work.select_ids("SELECT id FROM files WHERE person = :person"),
        "thread": [
            row["id"]
            for conversation in alone
            for row in work.connection.execute(threads, (conversation,)).fetchall()
        ],
        "conversation": alone,
    }
    for table in DECLARED_TABLES:
        if work.shared or not table.shared:
            for link in table.deleted_by:
                work.run_for_each(f"DELETE FROM {table.name} WHERE {link} = ?", found[link])  # noqa: S608
    if work.shared:
        work.run_for_each(
            "DELETE FROM procrastinate_jobs WHERE lock = ? AND status <> 'doing'", alone
        )


def _anonymise_decisions(work: _ErasureWork) -> None:
    """Keep their decisions on others' changes without their name, and have the cards redrawn."""
    for id in sorted(work.decided):
        work.connection.execute(
            "UPDATE changes SET version = version + 1,"
            " decided_by = CASE WHEN decider = :person THEN :nobody ELSE decided_by END,"
            " decider = CASE WHEN decider = :person THEN :key ELSE decider END WHERE id = :id",
            {
                "person": work.who.key,
                "nobody": encode_json(FORGOTTEN_PERSON),
                "key": FORGOTTEN_PERSON.key,
                "id": id,
            },
        ).close()
    work.run_for_each("DELETE FROM notes WHERE change = ?", work.decided)


def _mark_remotes(work: _ErasureWork) -> None:
    """List conversations on the model's server for erasure; shared ones continue in a new one."""
    sql = "UPDATE remotes SET erase = 1 WHERE erase = 0 AND thread = ?"
    work.run_for_each(sql, work.places.threads)
    work.run_for_each(f"{sql} AND kind <> 'container'", work.places.decided_threads)
    for conversation in work.places.alone:
        work.connection.execute(
            "UPDATE remotes SET erase = 1 WHERE erase = 0 AND thread IN"
            " (SELECT id FROM threads WHERE conversation = ?)",
            (conversation,),
        ).close()


def _remove_from_answers(work: _ErasureWork) -> None:
    """Blank others' answers about their changes, and remove their name where they decided."""
    rows = work.connection.execute(
        "SELECT seq, answer FROM inbox WHERE person <> :person AND answer LIKE '%\"cards\":%'",
        work.who.values,
    ).fetchall()
    for row in rows:
        answer = decode_json(Answer, row["answer"])
        ids = {card.id for card in answer.cards}
        if ids & work.gone:
            answer = Answer("", code="forgotten")
        elif ids & work.decided:
            answer = replace(
                answer, text=_without_names(answer.text, work.who),
                parts=tuple(_without_names(part, work.who) for part in answer.parts),
                cards=tuple(
                    replace(c, text=_without_names(c.text, work.who)) for c in answer.cards
                ),
            )  # fmt: skip
        else:
            continue
        _update(work, "UPDATE inbox SET answer = ? WHERE seq = ?", encode_json(answer), row["seq"])


def _remove_from_notes(work: _ErasureWork) -> None:
    """Delete notes for the model about their changes, and their name where they decided."""
    ids = work.gone | work.decided
    threads = set[str]()
    for id in ids:
        row = work.connection.execute("SELECT thread FROM changes WHERE id = ?", (id,)).fetchone()
        threads.add(row["thread"] if row else "")
    for number, item in _find_items(work, threads, NOTE_NAME):
        named = {each for each in ids if each in item.text}
        if named & work.gone:
            work.run_for_each("DELETE FROM items WHERE id = ?", [number])
        elif named:
            bare = replace(item, text=_without_names(item.text, work.who))
            _update(work, "UPDATE items SET item = ? WHERE id = ?", encode_json(bare), number)


def _remove_quotes(work: _ErasureWork) -> None:
    """Remove quotes of their messages from others' messages in shared conversations."""
    names = work.who.names | {work.who.id}
    for conversation in work.places.shared:
        rows = work.connection.execute(
            "SELECT seq, message FROM inbox WHERE conversation = :conversation"
            " AND person <> :person AND message LIKE '%\"context\":%'",
            {"conversation": conversation, "person": work.who.key},
        ).fetchall()
        for row in rows:
            message = decode_json(Message, row["message"])
            kept = tuple(quote for quote in message.context if quote.name not in names)
            if kept != message.context:
                bare = encode_json(replace(message, context=kept))
                _update(work, "UPDATE inbox SET message = ? WHERE seq = ?", bare, row["seq"])
    for id, item in _find_items(work, set(work.places.threads), CONTEXT_NAME):
        text = remove_quotes_of(item.text, names)
        if text != item.text:
            bare = encode_json(replace(item, text=text))
            _update(work, "UPDATE items SET item = ? WHERE id = ?", bare, id)


def _find_items(
    work: _ErasureWork, threads: Iterable[str], name: str
) -> Iterator[tuple[int, Item]]:
    """Yield the id and item of each transcript item in these threads that has that name."""
    for thread in sorted(threads):
        rows = work.connection.execute(
            "SELECT id, item FROM items WHERE thread = ? AND item LIKE ?",
            (thread, f'%"name":"{name}"%'),
        ).fetchall()
        for row in rows:
            item = decode_json(Item, row["item"])
            if item.name == name:
                yield row["id"], item


def _update(work: _ErasureWork, sql: str, *values: object) -> None:
    work.rows += work.connection.execute(sql, values).rowcount


def _without_names(text: str, who: KnownPerson) -> str:
    """Return the text with their names and id replaced; code wrote them there."""
    names = sorted(who.names | {who.id}, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    return re.sub(pattern, FORGOTTEN_PERSON.name, text)


def _remove_from_remembered(work: _ErasureWork) -> None:
    rows = work.connection.execute("SELECT name, data FROM remembered").fetchall()
    for row in rows:
        lock_key(work.connection, row["name"])
        known = json.loads(row["data"])
        left = remove_ids(known, work.who.ids)
        if left != known:
            _update(work, "UPDATE remembered SET data = ? WHERE name = ?", json.dumps(left),
                 row["name"])  # fmt: skip


def _anonymise_usage(work: _ErasureWork) -> None:
    """Move their usage to NOBODY, so that sums stay; remove places where nobody else ever was."""
    who, connection = work.who, work.connection
    values = {**who.values, "nobody": FORGOTTEN_PERSON.key}
    own = work.select_ids("SELECT DISTINCT place FROM usage WHERE person = :one")
    others = work.select_ids(
        "SELECT DISTINCT place FROM usage WHERE person <> :one AND place IN"
        " (SELECT place FROM usage WHERE person = :one)"
    )
    for place in sorted(own - others):
        parts = str(place).split(":")
        connection.execute(
            "UPDATE usage SET place = :direct WHERE person = :one AND place = :place",
            {**values, "place": place,
             "direct": ":".join((*parts[:2], "direct")) if len(parts) > 2 else place},
        ).close()  # fmt: skip
        if len(parts) > 2:
            end = f":{place}"
            work.connection.execute(
                "DELETE FROM counters WHERE substr(scope, length(scope) - ? + 1) = ?",
                (len(end), end),
            ).close()
    for conversation in work.select_ids(
        "SELECT DISTINCT conversation FROM usage WHERE person = :one"
    ):
        if conversation not in work.places.shared:
            connection.execute(
                "UPDATE usage SET conversation = '' WHERE person = :one"
                " AND conversation = :conversation",
                {**values, "conversation": conversation},
            ).close()
    connection.execute(
        "INSERT INTO days (day, person, turns) SELECT day, :nobody, turns FROM days"
        " WHERE person = :one ON CONFLICT (day, person) DO UPDATE SET"
        " turns = days.turns + excluded.turns",
        values,
    ).close()
    work.run("DELETE FROM days WHERE person = :one")
    work.run("DELETE FROM counters WHERE person IN (:person, :one)")
    for table in ("usage", "spendings", "holds"):
        work.rows += connection.execute(
            f"UPDATE {table} SET person = :nobody WHERE person = :one",  # noqa: S608 - ours
            values,
        ).rowcount
