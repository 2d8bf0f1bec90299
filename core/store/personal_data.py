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
from core.domain.messages import CONTEXT, NOTE, Answer, Item, Message, Person, decode, encode
from core.domain.quotes import without_quotes
from core.domain.records import FINAL_STATES
from core.store import budget
from core.store.database import Connection, Database, Row, lock
from core.store.remembered import FORGOTTEN, without
from core.store.tables import EXPORTED, TABLES, Column, Link, Table, Whose

NOBODY = Person(FORGOTTEN, "", name="–")
"""In whose name stands what is kept of people who were forgotten: money, and decisions on what
others asked for."""
PAGE = 200
"""Rows of an export that are read at once."""
_SECRETS = frozenset({"token", "reference"})
"""In stored messages: what opens a platform's door for a while."""
_FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)

_TURNS = (
    "SELECT seq FROM inbox WHERE person = :person UNION SELECT seq FROM items"
    " WHERE person = :person UNION SELECT seq FROM calls WHERE person = :person"
    " UNION SELECT seq FROM posts WHERE person = :person"
)
_ROWS: Mapping[Whose, str] = {
    "person": "person = :person",
    "turn": f"seq IN ({_TURNS})",
    "change": "change IN (SELECT id FROM changes WHERE person = :person)",
    "money": "person = :one",
}
"""By whose the rows of a table are: the condition for a person's."""


@dataclass(frozen=True, slots=True)
class Who:
    """A person as the tables know them. `one`: the key that their money is counted under. `ids`:
    their id and those of places that are theirs alone, as platforms have them."""

    key: str
    one: str
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self.key.rpartition(":")[2]

    @property
    def values(self) -> Mapping[str, str]:
        return {"person": self.key, "one": self.one}


@dataclass(frozen=True, slots=True)
class Places:
    """The conversations that somebody takes part in: those that are theirs alone, and the others.
    `threads` are the ids of the others' threads that hold something of theirs; `told` of those
    where the model was told what they decided."""

    alone: Sequence[str] = ()
    shared: Sequence[str] = ()
    threads: Sequence[str] = ()
    told: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done. `decided` are others' changes whose cards named them."""

    rows: int
    decided: Sequence[str] = ()


class UnknownPerson(NotFound):
    sentence = "Nobody is known here as {person}. `ponte person list` shows who is."


class Ambiguous(BadInput):
    sentence = "{person} may be any of these: {what}. Write the whole key."


class StillApplying(PonteError):
    code = "still_applying"
    sentence = (
        "A change that they asked for or approved is being applied just now. Forget them again in "
        "a moment: what is left goes then."
    )


class SqlPersonalData:
    """`one`: the key that a person's money is counted under. `shared`: many processes work in that
    database."""

    def __init__(
        self, database: Database, one: Callable[[str], str] = str, *, shared: bool = False
    ) -> None:
        self._database = database
        self._one = one
        self._shared = shared

    async def all(self) -> Sequence[Mapping[str, Any]]:
        """Return who did something here, the latest first: `person`, `platform`, `name`, `first`
        and `last` (seconds since 1970, 0 where nothing tells), and how many there are of each kind.
        People whom a platform merely lists are not among them; `find` finds them."""
        return await self._database.read(_everybody)

    async def find(self, written: str) -> Who:
        """Whom an operator means by `slack:T1:U1`, `slack:T1/U1`, or `slack:U1` where that is one
        person. Raises UnknownPerson, Ambiguous."""

        def read(connection: Connection) -> Who:
            wanted = written.strip().replace("/", ":")
            known = _keys(connection)
            if wanted not in known:
                found = sorted(key for key in known if _short(key) == wanted)
                if not found:
                    raise UnknownPerson(person=repr(written[:80]))
                if len(found) > 1:
                    raise Ambiguous(person=repr(written[:80]), what=", ".join(found[:10]))
                (wanted,) = found
            return _who(connection, wanted, self._one(wanted))

        return await self._database.read(read)

    def bare(self, key: str) -> Who:
        """Whoever has that key, which suffices to read their rows."""
        return Who(key, self._one(key))

    async def places(self, who: Who) -> Places:
        return await self._database.read(lambda c: _places(c, who))

    async def counts(self, who: Who) -> Mapping[str, int]:
        """How many rows there are in each section of an export, without those that have none."""

        def read(connection: Connection) -> Mapping[str, int]:
            found = {table.section: _count(connection, table, who) for table in EXPORTED} | {
                "decisions": _number(connection, f"SELECT count(*) AS n {_DECIDED}", who.values)
            }
            return {section: count for section, count in found.items() if count}

        return await self._database.read(read)

    async def rows(self, who: Who, section: str, begin: int = 0) -> Sequence[Mapping[str, Any]]:
        """PAGE rows of a section, from that one on, oldest first."""

        def read(connection: Connection) -> Sequence[Mapping[str, Any]]:
            columns: Sequence[Column] = ()
            if section == "decisions":
                sql = f"SELECT id, kind, title, state, decided {_DECIDED} ORDER BY decided, id"
            else:
                table = next(each for each in EXPORTED if each.section == section)
                columns = table.columns
                sql = f"SELECT * FROM {table.name} WHERE {_condition(table)} ORDER BY 1, 2"  # noqa: S608
            rows = connection.execute(
                f"{sql} LIMIT {PAGE} OFFSET :begin", {**who.values, "begin": begin}
            )
            return [_exported(columns, dict(row)) for row in rows]

        return await self._database.read(read)

    async def remembered(self, who: Who) -> Mapping[str, Any]:
        """What platforms' sides remember of them in the shared database, by its name."""

        def read(connection: Connection) -> Mapping[str, Any]:
            rows = connection.execute("SELECT name, data FROM remembered")
            return {row["name"]: json.loads(row["data"]) for row in rows}

        return await self._database.read(read)

    async def file(self, who: Who, file: str) -> bool:
        """Whether that file is theirs."""
        sql = "SELECT 1 FROM files WHERE id = ? AND person = ?"
        return await self._database.read(
            lambda c: c.execute(sql, (file, who.key)).fetchone() is not None
        )

    async def files(self, who: Who) -> Sequence[str]:
        sql = "SELECT id FROM files WHERE person = ?"
        return await self._database.read(
            lambda c: [row["id"] for row in c.execute(sql, (who.key,))]
        )

    async def unfinished(self, who: Who) -> Sequence[int]:
        """Their turns that have not ended, the latest first."""
        sql = (
            f"SELECT seq FROM inbox WHERE person = ? AND state NOT IN ({_FINAL})"  # noqa: S608
            " ORDER BY seq DESC"
        )
        return await self._database.read(
            lambda c: [row["seq"] for row in c.execute(sql, (who.key,))]
        )

    async def erase(self, who: Who, at_work: Collection[str] | None = None) -> Erased:
        """In one transaction. What stands beside the tables, files and records of threads, goes
        before: it is found by these rows. A change of theirs that is being applied keeps it from
        being done, on these platforms (None: on any); elsewhere nobody is at it. Raises
        StillApplying."""
        return await self._database.write(lambda c: _erase(c, who, at_work, shared=self._shared))


_DECIDED = "FROM changes WHERE decider = :person AND person <> :person"


def _everybody(connection: Connection) -> Sequence[Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def one(key: str) -> dict[str, Any]:
        blank = {"person": key, "platform": key.partition(":")[0], "name": "", "first": 0.0,
                 "last": 0.0, "messages": 0, "files": 0, "changes": 0, "decisions": 0}  # fmt: skip
        return found.setdefault(key, blank)

    def seen(row: Row) -> dict[str, Any]:
        each = one(str(row["person"]))
        first, last = float(row["first"] or 0), float(row["last"] or 0)
        each["first"] = min(filter(None, (each["first"], first)), default=0.0)
        each["last"] = max(each["last"], last)
        return each

    for row in connection.execute(
        "SELECT person, count(*) AS n, min(created) AS first, max(created) AS last,"
        " max(seq) AS seq FROM inbox GROUP BY person"
    ).fetchall():
        each = seen(row)
        each["messages"] = row["n"]
        stored = connection.execute("SELECT message FROM inbox WHERE seq = ?", (row["seq"],))
        each["name"] = decode(Message, stored.fetchone()["message"]).author.name
    for table in TABLES:
        if not table.seen_at or table.name == "inbox":
            continue
        for row in connection.execute(
            f"SELECT person, count(*) AS n, min({table.seen_at}) AS first,"  # noqa: S608 - ours
            f" max({table.seen_at}) AS last FROM {table.name}"
            " WHERE person <> '' GROUP BY person"
        ).fetchall():
            each = seen(row)
            if table.name in each:
                each[table.name] = row["n"]
    for row in connection.execute(
        "SELECT decider AS person, count(*) AS n, min(decided) AS first, max(decided) AS last"
        " FROM changes WHERE decider <> '' AND decider <> person GROUP BY decider"
    ).fetchall():
        seen(row)["decisions"] = row["n"]
    for key in _keys(connection, but=("directory",)):
        one(key)
    people = [each for key, each in found.items() if _is_person(key)]
    return sorted(people, key=lambda each: (-each["last"], each["person"]))


def _keys(connection: Connection, but: Collection[str] = ()) -> set[str]:
    """Of everybody of whom something is kept, leaving out these tables."""
    tables = [table.name for table in TABLES if table.has_person and table.name not in but]
    selects = [f"SELECT person FROM {name}" for name in tables]  # noqa: S608 - ours
    rows = connection.execute(" UNION ".join([*selects, "SELECT decider AS person FROM changes"]))
    return {str(row["person"]) for row in rows if _is_person(str(row["person"]))}


def _is_person(key: str) -> bool:
    return ":" in key


def _short(key: str) -> str:
    """Without the workspace."""
    parts = key.split(":")
    return f"{parts[0]}:{parts[-1]}"


def _who(connection: Connection, key: str, one: str) -> Who:
    names = set[str]()
    sql = "SELECT message FROM inbox WHERE person = ?"
    for row in connection.execute(sql, (key,)):
        names.add(decode(Message, row["message"]).author.name)
    for row in connection.execute(
        "SELECT person, asker, decider, decided_by FROM changes"
        " WHERE person = :person OR decider = :person",
        {"person": key},
    ):
        for person, text in ((row["person"], row["asker"]), (row["decider"], row["decided_by"])):
            if person == key and text:
                names.add(decode(Person, text).name)
    for row in connection.execute("SELECT name FROM directory WHERE person = ?", (key,)):
        names.add(row["name"])
    who = Who(key, one, frozenset(filter(None, names)))
    platform, own = key.partition(":")[0], {who.id}
    for conversation in _places(connection, who).alone:
        row = connection.execute(
            "SELECT message FROM inbox WHERE conversation = ? LIMIT 1", (conversation,)
        ).fetchone()
        address = decode(Message, row["message"]).address if row else None
        if address and not address.shared and address.platform == platform:
            own.add(address.channel)
    return replace(who, ids=frozenset(own))


def _places(connection: Connection, who: Who) -> Places:
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
        (alone if _is_alone(connection, conversation, who) else shared).append(conversation)
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
    return Places(
        alone, shared,
        [row["thread"] for row in threads if row["conversation"] in shared],
        [row["thread"] for row in told],
    )  # fmt: skip


def _is_own(conversation: str, who: Who) -> bool:
    """Whether its key says that it is theirs (`Address.conversation`)."""
    platform = who.key.partition(":")[0]
    return conversation.startswith(f"{platform}:") and conversation.endswith(f":@{who.id}")


def _is_alone(connection: Connection, conversation: str, who: Who) -> bool:
    """Whether it is theirs by its key, or nobody else ever spoke there."""
    return _is_own(conversation, who) or (
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


def _count(connection: Connection, table: Table, who: Who) -> int:
    sql = f"SELECT count(*) AS n FROM {table.name} WHERE {_condition(table)}"  # noqa: S608
    return _number(connection, sql, who.values)


def _condition(table: Table) -> str:
    """Return the SQL condition for a person's rows."""
    return table.rows or _ROWS[table.whose]


def _number(connection: Connection, sql: str, values: Mapping[str, str]) -> int:
    return int(connection.execute(sql, values).fetchone()["n"])


def _exported(columns: Sequence[Column], row: dict[str, Any]) -> Mapping[str, Any]:
    """Return the row for an export: JSON parsed, and of secrets only whether they are set."""
    for column in columns:
        if column.secret:
            row[column.name] = bool(row[column.name])
        elif column.json and row[column.name]:
            row[column.name] = _open(row[column.name])
    return row


def _open(text: str) -> Any:
    try:
        return _bare(json.loads(text))
    except ValueError:
        return text  # arguments are as the model wrote them


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: bool(v) if k in _SECRETS else _bare(v) for k, v in value.items()}
    return [_bare(each) for each in value] if isinstance(value, list) else value


@dataclass(slots=True)
class _Erasing:
    """One transaction's work. `gone` are the ids of their changes, `decided` of others' that they
    decided on or approved."""

    connection: Connection
    who: Who
    shared: bool
    places: Places = field(default_factory=Places)
    seqs: Sequence[int] = ()
    gone: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    rows: int = 0

    def ids(self, sql: str) -> frozenset[Any]:
        """The first column."""
        rows = self.connection.execute(sql, self.who.values).fetchall()
        return frozenset(row[next(iter(dict(row)))] for row in rows)

    def each(self, sql: str, values: Iterable[Any]) -> None:
        for value in values:
            self.rows += max(0, self.connection.execute(sql, (value,)).rowcount)

    def all(self, sql: str) -> None:
        self.rows += max(0, self.connection.execute(sql, self.who.values).rowcount)


def _erase(
    connection: Connection, who: Who, at_work: Collection[str] | None, *, shared: bool
) -> Erased:
    places = _places(connection, who)
    for conversation in sorted((*places.alone, *places.shared)):
        lock(connection, conversation)
    work = _Erasing(connection, who, shared, places)
    work.seqs = sorted(work.ids(_TURNS))
    work.gone = work.ids("SELECT id FROM changes WHERE person = :person")
    work.decided = work.ids(f"SELECT id {_DECIDED}") | (
        work.ids("SELECT change FROM consents WHERE person = :person") - work.gone
    )
    applying = work.ids(
        "SELECT conversation FROM changes WHERE state = 'applying' AND :person IN (person, decider)"
    )
    if any(at_work is None or str(one).partition(":")[0] in at_work for one in applying):
        raise StillApplying
    for seq in sorted(work.ids("SELECT seq FROM holds WHERE person = :one")):
        budget.close(connection, seq)
    _in_answers(work)
    _in_notes(work)
    _in_quotes(work)
    _on_servers(work)
    _decisions(work)
    _delete_rows(work)
    _money(work)
    return Erased(work.rows, sorted(work.decided))


def _delete_rows(work: _Erasing) -> None:
    """Delete what they said, did and sent, and conversations that nobody else takes part in."""
    _remembered(work)
    alone = work.places.alone
    threads = "SELECT id FROM threads WHERE conversation = ?"
    found: Mapping[Link, Collection[Any]] = {
        "person": [work.who.key],
        "seq": work.seqs,
        "turn": work.ids("SELECT turn FROM inbox WHERE person = :person"),
        "change": work.gone,
        "file": work.ids("SELECT id FROM files WHERE person = :person"),
        "thread": [
            row["id"]
            for conversation in alone
            for row in work.connection.execute(threads, (conversation,)).fetchall()
        ],
        "conversation": alone,
    }
    for table in TABLES:
        if work.shared or not table.shared:
            for link in table.deleted_by:
                work.each(f"DELETE FROM {table.name} WHERE {link} = ?", found[link])  # noqa: S608
    if work.shared:
        work.each("DELETE FROM procrastinate_jobs WHERE lock = ? AND status <> 'doing'", alone)


def _decisions(work: _Erasing) -> None:
    """On what others asked for: it stands, and names nobody; their cards are drawn anew."""
    for id in sorted(work.decided):
        work.connection.execute(
            "UPDATE changes SET version = version + 1,"
            " decided_by = CASE WHEN decider = :person THEN :nobody ELSE decided_by END,"
            " decider = CASE WHEN decider = :person THEN :key ELSE decider END WHERE id = :id",
            {"person": work.who.key, "nobody": encode(NOBODY), "key": NOBODY.key, "id": id},
        ).close()
    work.each("DELETE FROM notes WHERE change = ?", work.decided)


def _on_servers(work: _Erasing) -> None:
    """Others' conversations with a model go on in a new one, made from what is left."""
    sql = "UPDATE remotes SET erase = 1 WHERE erase = 0 AND thread = ?"
    work.each(sql, work.places.threads)
    work.each(f"{sql} AND kind <> 'container'", work.places.told)
    for conversation in work.places.alone:
        work.connection.execute(
            "UPDATE remotes SET erase = 1 WHERE erase = 0 AND thread IN"
            " (SELECT id FROM threads WHERE conversation = ?)",
            (conversation,),
        ).close()


def _in_answers(work: _Erasing) -> None:
    """What others were told of their changes goes; where they decided, their name does."""
    rows = work.connection.execute(
        "SELECT seq, answer FROM inbox WHERE person <> :person AND answer LIKE '%\"cards\":%'",
        work.who.values,
    ).fetchall()
    for row in rows:
        answer = decode(Answer, row["answer"])
        ids = {card.id for card in answer.cards}
        if ids & work.gone:
            answer = Answer("", code="forgotten")
        elif ids & work.decided:
            answer = replace(
                answer, text=_nameless(answer.text, work.who),
                parts=tuple(_nameless(part, work.who) for part in answer.parts),
                cards=tuple(replace(c, text=_nameless(c.text, work.who)) for c in answer.cards),
            )  # fmt: skip
        else:
            continue
        _put(work, "UPDATE inbox SET answer = ? WHERE seq = ?", encode(answer), row["seq"])


def _in_notes(work: _Erasing) -> None:
    """The same for what the model was told of changes."""
    ids = work.gone | work.decided
    threads = set[str]()
    for id in ids:
        row = work.connection.execute("SELECT thread FROM changes WHERE id = ?", (id,)).fetchone()
        threads.add(row["thread"] if row else "")
    for number, item in _items(work, threads, NOTE):
        named = {each for each in ids if each in item.text}
        if named & work.gone:
            work.each("DELETE FROM items WHERE id = ?", [number])
        elif named:
            bare = replace(item, text=_nameless(item.text, work.who))
            _put(work, "UPDATE items SET item = ? WHERE id = ?", encode(bare), number)


def _in_quotes(work: _Erasing) -> None:
    """What others' messages quote of them, where they took part."""
    names = work.who.names | {work.who.id}
    for conversation in work.places.shared:
        rows = work.connection.execute(
            "SELECT seq, message FROM inbox WHERE conversation = :conversation"
            " AND person <> :person AND message LIKE '%\"context\":%'",
            {"conversation": conversation, "person": work.who.key},
        ).fetchall()
        for row in rows:
            message = decode(Message, row["message"])
            kept = tuple(quote for quote in message.context if quote.name not in names)
            if kept != message.context:
                bare = encode(replace(message, context=kept))
                _put(work, "UPDATE inbox SET message = ? WHERE seq = ?", bare, row["seq"])
    for id, item in _items(work, set(work.places.threads), CONTEXT):
        text = without_quotes(item.text, names)
        if text != item.text:
            bare = encode(replace(item, text=text))
            _put(work, "UPDATE items SET item = ? WHERE id = ?", bare, id)


def _items(work: _Erasing, threads: Iterable[str], name: str) -> Iterator[tuple[int, Item]]:
    """Of these threads, those under that name."""
    for thread in sorted(threads):
        rows = work.connection.execute(
            "SELECT id, item FROM items WHERE thread = ? AND item LIKE ?",
            (thread, f'%"name":"{name}"%'),
        ).fetchall()
        for row in rows:
            item = decode(Item, row["item"])
            if item.name == name:
                yield row["id"], item


def _put(work: _Erasing, sql: str, *values: object) -> None:
    work.rows += work.connection.execute(sql, values).rowcount


def _nameless(text: str, who: Who) -> str:
    """Without their names and ids, which code wrote there."""
    names = sorted(who.names | {who.id}, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    return re.sub(pattern, NOBODY.name, text)


def _remembered(work: _Erasing) -> None:
    rows = work.connection.execute("SELECT name, data FROM remembered").fetchall()
    for row in rows:
        lock(work.connection, row["name"])
        known = json.loads(row["data"])
        left = without(known, work.who.ids)
        if left != known:
            _put(work, "UPDATE remembered SET data = ? WHERE name = ?", json.dumps(left),
                 row["name"])  # fmt: skip


def _money(work: _Erasing) -> None:
    """It goes on under nobody's key, so that sums stay; where nobody else ever was, the place
    goes too."""
    who, connection = work.who, work.connection
    values = {**who.values, "nobody": NOBODY.key}
    own = work.ids("SELECT DISTINCT place FROM usage WHERE person = :one")
    others = work.ids(
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
    for conversation in work.ids("SELECT DISTINCT conversation FROM usage WHERE person = :one"):
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
    work.all("DELETE FROM days WHERE person = :one")
    work.all("DELETE FROM counters WHERE person IN (:person, :one)")
    for table in ("usage", "spendings", "holds"):
        work.rows += connection.execute(
            f"UPDATE {table} SET person = :nobody WHERE person = :one",  # noqa: S608 - ours
            values,
        ).rowcount
