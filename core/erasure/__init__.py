"""Find, count, export and erase the rows of a person in all tables, by the person's key.

`core/store/tables.py` declares which tables and columns contain personal data. A key looks like
`slack:T1:U1`: the platform, for Slack the workspace, and the platform's id of the person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core.base.errors import BadInput, NotFound, PonteError
from core.base.markdown import escape_markdown
from core.base.redaction import NO_SECRET, is_secret_name
from core.base.text import clip_line
from core.base.trust import show_reason
from core.domain.changes import SHOWS_CHANGES_SQL, find_possible_changes, find_shown_changes
from core.domain.messages import (
    CONTEXT_NAME,
    NOTE_NAME,
    Answer,
    Item,
    Message,
    Person,
    decode_json,
    encode_json,
    remove_quotes_of,
)
from core.domain.records import FINAL_STATES
from core.journal.thread_map import find_record, store_record
from core.journal.threads import MAX_SEQ, erase_readings
from core.money import settlement
from core.people.rules import OIDC_PLATFORM
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)
from core.store.remembered import FORGOTTEN_ID, read_text, remove_ids
from core.store.tables import Column, Link, Whose

FORGOTTEN_PERSON = Person(FORGOTTEN_ID, "", name="–")
"""Replaces a forgotten person in rows that stay: usage, and decisions on other people's changes."""
EXPORT_PAGE_ROWS = 200
_SECRETS = frozenset({"token", "reference"})
"""An export only says whether they are set."""
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


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person of whom the tables hold personal data, by their `key`. `names` are all names under
    which they occur, so that texts can be searched for them.

    `money_key` is the key under which their usage is counted. `ids` are the platform's ids of the
    person and of their direct channels.
    """

    key: str
    money_key: str
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """A person who signs in with a provider (OIDC) has an id that may contain colons itself."""
        platform, _, id = self.key.partition(":")
        return id if platform == OIDC_PLATFORM else id.rpartition(":")[2]

    @property
    def values(self) -> Mapping[str, str]:
        return {"person": self.key, "one": self.money_key}


@dataclass(frozen=True, slots=True)
class PersonConversations:
    """The conversations in which a person took part, by key. An erasure deletes the first kind, and
    removes only the person from the others.

    `alone` are conversations without anybody else, `shared` those with other people. `threads` are
    the ids of threads in shared conversations with items of the person. `decided_threads` are the
    ids of threads in which the model read what they decided about another person's change.
    """

    alone: Sequence[str] = ()
    shared: Sequence[str] = ()
    threads: Sequence[str] = ()
    decided_threads: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Erasure:
    """`decided` are the ids of other people's changes that the person decided on; their cards must
    be redrawn without the name."""

    rows: int  # that were deleted or changed
    decided: Sequence[str] = ()


class UnknownPerson(NotFound):
    """The operator named a person of whom no table has data."""

    sentence = "Person `{person}` not found. `ponte person list` shows everyone."


class AmbiguousPerson(BadInput):
    """The operator named a person by a key without workspace, which fits several people."""

    sentence = "`{person}` matches several people: {what}. Write the full key."


class StillApplying(PonteError):
    """A person cannot be erased while a change that they asked for or decided is being applied."""

    code = "still_applying"
    sentence = (
        "A change that this person requested or approved is being applied. Delete their data "
        "again in a moment to remove the rest."
    )


class SqlPersonalData(SqlStore):
    """The personal data in one database."""

    def __init__(self, database: Database, money_key: Callable[[str], str] = str) -> None:
        # A person with several accounts has one allowance.
        super().__init__(database)
        self._money_key = money_key

    @query
    def list_people(self, connection: SqlConnection) -> Sequence[Mapping[str, Any]]:
        """Each entry has `person`, `platform`, `name`, `first` and `last` (seconds since 1970, 0 if
        unknown), and the numbers of `messages`, `files`, `changes` and `decisions`. People who only
        appear in a platform's list of members are left out; `find` finds them too. The most
        recently active come first."""
        people: dict[str, dict[str, Any]] = {}

        def get_entry(key: str) -> dict[str, Any]:
            blank = {
                "person": key,
                "platform": key.partition(":")[0],
                "name": "",
                "first": 0.0,
                "last": 0.0,
                "messages": 0,
                "files": 0,
                "changes": 0,
                "decisions": 0,
            }
            return people.setdefault(key, blank)

        def note_activity(row: SqlRow) -> dict[str, Any]:
            summary = get_entry(str(row["person"]))
            # 0 is an unknown time, which must not count as the earliest.
            first, last = float(row["first"] or 0), float(row["last"] or 0)
            summary["first"] = min(filter(None, (summary["first"], first)), default=0.0)
            summary["last"] = max(summary["last"], last)
            return summary

        for row in connection.execute(
            "SELECT person, count(*) AS n, min(created_at) AS first, max(created_at) AS last,"
            " max(seq) AS seq FROM inbox GROUP BY person"
        ).fetchall():
            summary = note_activity(row)
            summary["messages"] = row["n"]
            # The newest message has the present name.
            message_row = connection.execute(
                "SELECT message FROM inbox WHERE seq = ?", (row["seq"],)
            )
            summary["name"] = decode_json(Message, message_row.fetchone()["message"]).author.name
        # The other tables that record what a person did and when (`seen_at` is the column).
        for table in self._database.tables:
            if not table.seen_at or table.name == "inbox":
                continue
            for row in connection.execute(
                f"SELECT person, count(*) AS n, min({table.seen_at}) AS first,"  # noqa: S608 - ours
                f" max({table.seen_at}) AS last FROM {table.name}"
                " WHERE person <> '' GROUP BY person"
            ).fetchall():
                summary = note_activity(row)
                if table.name in summary:  # `files` and `changes` are counted
                    summary[table.name] = row["n"]
        for row in connection.execute(
            "SELECT decider AS person, count(*) AS n, min(decided_at) AS first,"
            " max(decided_at) AS last FROM changes WHERE decider <> ''"
            " AND decider <> person GROUP BY decider"
        ).fetchall():
            note_activity(row)["decisions"] = row["n"]
        for key in _find_keys(connection, self._database, but=("directory",)):
            get_entry(key)
        # A key has a colon; rows of nobody, and those of a forgotten person, have none.
        entries = [summary for key, summary in people.items() if ":" in key]
        return sorted(entries, key=lambda summary: (-summary["last"], summary["person"]))

    @query
    def find(self, connection: SqlConnection, typed_name: str) -> KnownPerson:
        """Return the person whom the operator names by a key such as `slack:T1:U1`, also written
        `slack:T1/U1`, with all names and ids under which they occur in the tables. An erasure and
        an export search for these.

        `slack:U1` suffices if it fits one person only. Raises UnknownPerson, AmbiguousPerson.
        """
        key = typed_name.strip().replace("/", ":")
        keys = _find_keys(connection, self._database)
        if key not in keys:
            parts = ((candidate, candidate.split(":")) for candidate in keys)
            matches = sorted(
                candidate for candidate, names in parts if f"{names[0]}:{names[-1]}" == key
            )
            if not matches:
                raise UnknownPerson(person=typed_name[:80])
            if len(matches) > 1:
                raise AmbiguousPerson(person=typed_name[:80], what=", ".join(matches[:10]))
            (key,) = matches
        person_names = set[str]()
        sql = "SELECT message FROM inbox WHERE person = ?"
        for row in connection.execute(sql, (key,)):
            person_names.add(decode_json(Message, row["message"]).author.name)
        # A person can appear in a change as its asker and as its decider, each with a name.
        for row in connection.execute(
            "SELECT person, asker, decider, decided_by FROM changes"
            " WHERE person = :person OR decider = :person",
            {"person": key},
        ):
            for person, text in (
                (row["person"], row["asker"]),
                (row["decider"], row["decided_by"]),
            ):
                if person == key and text:
                    person_names.add(decode_json(Person, text).name)
        for row in connection.execute("SELECT name FROM directory WHERE person = ?", (key,)):
            person_names.add(row["name"])
        who = KnownPerson(key, self._money_key(key), frozenset(filter(None, person_names)))
        platform, ids = key.partition(":")[0], {who.id}
        for conversation in _find_conversations(connection, who).alone:
            row = connection.execute(
                "SELECT message FROM inbox WHERE conversation = ? LIMIT 1", (conversation,)
            ).fetchone()
            address = decode_json(Message, row["message"]).address if row else None
            # On some platforms a direct message has a channel id of its own, which identifies the
            # person too.
            if address and not address.is_shared and address.platform == platform:
                ids.add(address.channel)
        return replace(who, ids=frozenset(ids))

    def by_key(self, key: str) -> KnownPerson:
        """Names and ids, which would have to be read from the database, are left out. The key
        suffices to read the person's rows."""
        return KnownPerson(key, self._money_key(key))

    async def find_conversations(self, who: KnownPerson) -> PersonConversations:
        return await self._database.read(lambda c: _find_conversations(c, who))

    @query
    def count_rows(self, connection: SqlConnection, who: KnownPerson) -> Mapping[str, int]:
        """A section is a table; "decisions" are other people's changes that they decided.

        A table tells how to find a person's rows by an SQL condition of its own (`rows`), or by the
        name of a usual one (`whose`).
        """
        origins = {
            t.section: f"FROM {t.name} WHERE {t.rows or _CONDITIONS[t.whose]}"
            for t in self._database.schema.export_tables
        }
        counts = {
            section: int(
                connection.execute(f"SELECT count(*) AS n {origin}", who.values).fetchone()["n"]
            )
            for section, origin in {**origins, "decisions": _DECIDED}.items()
        }
        return {section: count for section, count in counts.items() if count}

    @query
    def read_rows(
        self, connection: SqlConnection, who: KnownPerson, section: str, begin: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Return at most EXPORT_PAGE_ROWS rows, without the first `begin`. Rows are in the order of
        the table's first two columns."""
        columns: Sequence[Column] = ()
        # Other people's changes that the person decided on (`_DECIDED`): without their values.
        if section == "decisions":
            sql = (
                f"SELECT id, kind, title, state, decided_at, denial_reason {_DECIDED}"
                " ORDER BY decided_at, id"
            )
        else:
            table = {
                export_table.section: export_table
                for export_table in self._database.schema.export_tables
            }.get(section)
            if table is None:
                raise NotFound(what=section)
            columns = table.columns
            # The table's own condition, or the usual one for the owner of its rows.
            condition = table.rows or _CONDITIONS[table.whose]
            sql = f"SELECT * FROM {table.name} WHERE {condition} ORDER BY 1, 2"  # noqa: S608
        sql += f" LIMIT {EXPORT_PAGE_ROWS} OFFSET :begin"
        rows = [dict(row) for row in connection.execute(sql, {**who.values, "begin": begin})]
        for row in rows:
            for column in columns:
                if column.secret:
                    # Only whether a secret is set: the file with the export should hold none.
                    row[column.name] = bool(row[column.name])
                elif column.json and row[column.name]:
                    # The arguments of a tool call are text of the model, possibly invalid JSON.
                    with suppress(ValueError):
                        row[column.name] = _hide_secrets(json.loads(row[column.name]))
        return rows

    @query
    def read_remembered(self, connection: SqlConnection) -> Mapping[str, Any]:
        """The table `remembered` has entries of all people, which the caller separates."""
        rows = connection.execute("SELECT name, data FROM remembered")
        return {row["name"]: json.loads(row["data"]) for row in rows}

    async def owns_file(self, who: KnownPerson, file: str) -> bool:
        sql = "SELECT 1 FROM files WHERE id = ? AND person = ?"
        return bool(await self._select(sql, file, who.key))

    async def list_files(self, who: KnownPerson) -> Sequence[str]:
        return await self._select("SELECT id FROM files WHERE person = ?", who.key)

    async def list_unfinished_turns(self, who: KnownPerson, platform: str = "") -> Sequence[int]:
        """With `platform`, return only turns in its conversations."""
        sql = (
            f"SELECT seq FROM inbox WHERE person = ? AND state NOT IN ({_FINAL})"  # noqa: S608
            " AND conversation LIKE ? ORDER BY seq DESC"
        )
        return await self._select(sql, who.key, f"{platform}:%" if platform else "%")

    @transaction
    def erase(
        self, connection: SqlConnection, who: KnownPerson, at_work: Collection[str] | None = None
    ) -> Erasure:
        """Delete the person's rows, remove their name from other people's rows, and mark objects on
        the model's server with their data for erasure.

        This is one transaction. Delete the person's files and thread records first, because these
        rows are needed to find them. `at_work` names the platforms on which a change may be under
        way, None for all. Raises StillApplying if a change that the person asked for or decided is
        being applied on one of them.
        """
        places = _find_conversations(connection, who)
        # All locks are taken in one order, so that two erasures cannot deadlock.
        for conversation in sorted((*places.alone, *places.shared)):
            connection.lock_key(conversation)
        # `seqs` are the person's turns, `gone` the changes that they asked for, `decided` and
        # `revised` other people's changes that they decided on or changed the values of, `reasons`
        # why they denied some. `_DECIDED` is the end of a query for other people's changes that the
        # person decided on, from FROM on.
        work = _ErasureWork(connection, self._database, who, places)
        work.seqs = sorted(work.select_ids(_TURNS))
        work.gone = work.select_ids("SELECT id FROM changes WHERE person = :person")
        work.decided = work.select_ids(f"SELECT id {_DECIDED}") | (
            work.select_ids("SELECT change FROM consents WHERE person = :person") - work.gone
        )
        work.revised = work.select_ids(_REVISED)
        work.reasons = work.select_ids(f"SELECT denial_reason {_DECIDED} AND denial_reason <> ''")
        # A change that is being applied still needs its rows.
        applying = work.select_ids(
            "SELECT conversation FROM changes WHERE state = 'applying'"
            " AND :person IN (person, decider)"
        )
        if any(
            at_work is None or str(change_key).partition(":")[0] in at_work
            for change_key in applying
        ):
            raise StillApplying
        # Money that is reserved for turns of theirs would otherwise stay reserved.
        for seq in sorted(work.select_ids("SELECT seq FROM holds WHERE person = :one")):
            settlement.settle_holds(connection, seq)
        _remove_from_other_texts(work)
        _clear_records(work)
        # Objects on the model's server with the person's data are erased later. A shared
        # conversation continues in a new object on the server. A thread of another conversation
        # with a decision of theirs keeps its code container: no file of theirs is in it.
        sql = "UPDATE remotes SET erasure = 1 WHERE erasure = 0 AND thread = ?"
        work.run_for_each(sql, work.places.threads)
        work.run_for_each(f"{sql} AND kind <> 'container'", work.places.decided_threads)
        for conversation in work.places.alone:
            work.connection.execute(
                "UPDATE remotes SET erasure = 1 WHERE erasure = 0 AND thread IN"
                " (SELECT id FROM threads WHERE conversation = ?)",
                (conversation,),
            ).close()
        # The version of a change that they decided on rises, so that its card is redrawn without
        # the name.
        for id in sorted(work.decided):
            work.connection.execute(
                "UPDATE changes SET version = version + 1,"
                " denial_reason = CASE WHEN decider = :person THEN '' ELSE denial_reason END,"
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
        _delete_rows(work)
        _anonymise_usage(work)
        return Erasure(work.rows, sorted(work.decided))


_DECIDED = "FROM changes WHERE decider = :person AND person <> :person"
_REVISED = (
    "SELECT id FROM changes JOIN inbox ON inbox.person = :person AND (inbox.seq = changes.seq OR"
    " revision_seqs LIKE '% ' || inbox.seq || ' %')"
    " WHERE changes.revision > 1 AND changes.person <> :person"
)
"""Who changes the values of a proposal counts as its asker from then on."""


def _find_keys(
    connection: SqlConnection, database: Database, but: Collection[str] = ()
) -> set[str]:
    # The mark of nobody, or of a forgotten person, has no colon.
    tables = [table.name for table in database.tables if table.has_person]
    selects = [f"SELECT person FROM {name}" for name in tables if name not in but]  # noqa: S608 - ours
    rows = connection.execute(" UNION ".join([*selects, "SELECT decider AS person FROM changes"]))
    return {str(row["person"]) for row in rows if ":" in str(row["person"])}


def _find_conversations(connection: SqlConnection, who: KnownPerson) -> PersonConversations:
    """Return the conversations in which the person wrote, has a file or asked for a change, and
    those whose key names them. A key that ends in `:@` and the person's id is their own
    conversation on their platform; one with their whole key is that on the page.

    What is theirs alone is deleted; in shared ones, what others wrote stays.
    """
    platform = who.key.partition(":")[0]
    rows = connection.execute(
        "SELECT conversation FROM inbox WHERE person = :person"
        " UNION SELECT threads.conversation FROM items JOIN threads ON threads.id = items.thread"
        " WHERE items.person = :person UNION SELECT conversation FROM files WHERE person = :person"
        " UNION SELECT conversation FROM changes WHERE person = :person"
        " UNION SELECT conversation FROM conversations"
        " WHERE substr(conversation, length(conversation) - :long + 1) = :own"
        " AND substr(conversation, 1, :wide) = :platform"
        " OR substr(conversation, length(conversation) - :key_long + 1) = :own_on_page"
        " ORDER BY conversation",
        {
            "person": who.key,
            "own_on_page": f":@{who.key}",
            "key_long": len(who.key) + 2,
            "own": f":@{who.id}",
            "long": len(who.id) + 2,
            "platform": f"{platform}:",
            "wide": len(platform) + 1,
        },
    ).fetchall()
    alone, shared = list[str](), list[str]()
    for conversation in (str(row["conversation"]) for row in rows):
        # A conversation is the person's alone if its key names them, or if nobody else has a
        # message, an item, a file or a change there.
        is_direct = conversation.startswith(f"{platform}:") and conversation.endswith(f":@{who.id}")
        is_direct = is_direct or conversation.endswith(f":@{who.key}")  # on the page
        sql = (
            "SELECT 1 FROM inbox WHERE conversation = :conversation AND person <> :person"
            " UNION ALL SELECT 1 FROM items JOIN threads ON threads.id = items.thread"
            " WHERE threads.conversation = :conversation AND items.person NOT IN ('', :person)"
            " UNION ALL SELECT 1 FROM files WHERE conversation = :conversation"
            " AND person <> :person"
            " UNION ALL SELECT 1 FROM changes WHERE conversation = :conversation"
            " AND person <> :person LIMIT 1"
        )
        values = {"conversation": conversation, "person": who.key}
        is_alone = is_direct or connection.execute(sql, values).fetchone() is None
        (alone if is_alone else shared).append(conversation)
    # Threads in which the model has read their texts, or what they decided.
    threads = connection.execute(
        "SELECT DISTINCT items.thread, threads.conversation FROM items"
        " JOIN threads ON threads.id = items.thread WHERE items.person = ? ORDER BY items.thread",
        (who.key,),
    ).fetchall()
    decided_threads = connection.execute(
        "SELECT DISTINCT thread FROM changes WHERE decider = :person AND person <> :person"
        " UNION SELECT thread FROM changes JOIN consents ON consents.change = changes.id"
        " WHERE consents.person = :person AND changes.person <> :person",
        who.values,
    ).fetchall()
    return PersonConversations(
        alone,
        shared,
        [row["thread"] for row in threads if row["conversation"] in shared],
        [row["thread"] for row in decided_threads],
    )


def _hide_secrets(value: Any) -> Any:
    """Return parsed JSON of an export in which the value of each secret field is replaced by True
    or False for whether it is set: the file with the export should hold no secrets. Such fields are
    platforms' tokens, and fields of table rows with names such as "password"."""
    if isinstance(value, dict):
        return {
            name: element not in NO_SECRET
            if name in _SECRETS or is_secret_name(name)
            else _hide_secrets(element)
            for name, element in value.items()
        }
    return [_hide_secrets(element) for element in value] if isinstance(value, list) else value


@dataclass(slots=True)
class _ErasureWork:
    """`seqs` are the person's turns. `gone` are the ids of changes that the person asked for,
    `decided` those of other people's changes that they decided on or approved, `revised` those of
    which they wrote a former version. `rows` counts the rows that were deleted or changed."""

    connection: SqlConnection
    database: Database
    who: KnownPerson
    places: PersonConversations = field(default_factory=PersonConversations)
    seqs: Sequence[int] = ()
    gone: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    revised: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    rows: int = 0

    def select_ids(self, sql: str) -> frozenset[Any]:
        # A row is read by the names of its columns only (`SqlRow`).
        rows = self.connection.execute(sql, self.who.values).fetchall()
        return frozenset(row[next(iter(dict(row)))] for row in rows)

    def run_for_each(self, sql: str, values: Iterable[Any]) -> None:
        for value in values:
            self.rows += max(0, self.connection.execute(sql, (value,)).rowcount)

    def run(self, sql: str) -> None:
        self.rows += max(0, self.connection.execute(sql, self.who.values).rowcount)


def _delete_rows(work: _ErasureWork) -> None:
    """Each table declares by which columns its rows belong to a person
    (`TableDeclaration.deleted_by`), such as their key or one of their turns.

    What platforms remember of channels and people is JSON, from which only their ids are removed.
    """
    for name in sorted(select_values(work.connection, "SELECT name FROM remembered")):
        # Platforms write these rows (what they remember of channels and people) meanwhile.
        work.connection.lock_key(name)
        data = json.loads(read_text(work.connection, name))
        remainder = remove_ids(data, work.who.ids)
        if remainder != data:
            sql = "UPDATE remembered SET data = ? WHERE name = ?"
            _update(work, sql, json.dumps(remainder), name)
    work.run(  # notices to admins about the person's schedules
        "DELETE FROM outbox WHERE kind = 'person' AND change IN"
        " (SELECT event_key FROM schedule_runs WHERE person = :person)"
    )
    alone = work.places.alone
    threads = "SELECT id FROM threads WHERE conversation = ?"
    # For each column by which a table's rows belong to a person, the values that are this person's.
    values_by_link: Mapping[Link, Collection[Any]] = {
        "person": [work.who.key],
        "seq": work.seqs,
        "turn": work.select_ids("SELECT turn FROM inbox WHERE person = :person"),
        "change": work.gone,
        "file": work.select_ids("SELECT id FROM files WHERE person = :person"),
        "thread": [
            id
            for conversation in alone
            for id in select_values(work.connection, threads, conversation)
        ],
        "conversation": alone,
    }
    for table in work.database.tables:
        for link in table.deleted_by:
            work.run_for_each(f"DELETE FROM {table.name} WHERE {link} = ?", values_by_link[link])  # noqa: S608
    for sql in work.database.queue_deletes:  # jobs of the queue on Postgres name conversations
        work.run_for_each(sql, alone)


def _remove_from_other_texts(work: _ErasureWork) -> None:
    """Answers that show the person's own changes are blanked, and the model's notes about these are
    deleted. Where an answer only lists them, or the person only decided on a change, their name is
    replaced."""
    # Ids of changes that they decided on, asked for, or once changed the values of.
    ids_of_theirs = work.decided | work.gone | work.revised
    answers = work.connection.execute(
        f"SELECT seq, answer FROM inbox WHERE person <> :person AND {SHOWS_CHANGES_SQL}",  # noqa: S608
        work.who.values,
    )
    # The quick search in the JSON text avoids decoding answers that show none of these changes.
    for row in [row for row in answers if ids_of_theirs & find_possible_changes(row["answer"])]:
        answer = decode_json(Answer, row["answer"])
        on_cards, read_out = find_shown_changes(answer)
        ids = on_cards | read_out
        # Lists of changes have lines such as "- `abc234`: done", without the values.
        listed = set(re.findall("^- `(.{6})`", answer.text, re.MULTILINE))
        # The values of a change that they asked for, or wrote, are theirs: the answer goes. Of a
        # change that somebody else revised since, the card shows the new values. A text that was
        # read out may still have theirs.
        if ids & work.gone or read_out & work.revised:
            answer = Answer("", code="forgotten")
        elif (ids | listed) & ids_of_theirs:
            answer = replace(
                answer,
                text=_without_person(answer.text, work),
                parts=tuple(_without_person(part, work) for part in answer.parts),
                placed=(),  # their Markdown in the text may have changed
                cards=tuple(replace(c, text=_without_person(c.text, work)) for c in answer.cards),
            )
        else:
            continue
        _update(work, "UPDATE inbox SET answer = ? WHERE seq = ?", encode_json(answer), row["seq"])
    # The text above an approver's copy of a card names who asked first. It names no decider,
    # the copies of `gone` changes are deleted, and other notices of changes keep no text. A higher
    # version of the change makes Ponte edit the copies that are posted.
    for id in sorted(work.revised):
        sql = "SELECT kind, person, text FROM outbox WHERE change = ? AND text <> ''"
        for row in work.connection.execute(sql, (id,)).fetchall():
            sql = "UPDATE outbox SET text = ? WHERE change = ? AND kind = ? AND person = ?"
            _update(work, sql, _without_person(row["text"], work), id, row["kind"], row["person"])
        work.run_for_each("UPDATE changes SET version = version + 1 WHERE id = ?", [id])
    # Notes of the model about changes.
    changes = work.gone | work.decided
    threads = set[str]()
    for id in changes:
        sql = "SELECT thread FROM changes WHERE id = ?"
        threads.add(select_value(work.connection, sql, id) or "")
    for number, item in _find_items(work, threads, NOTE_NAME):
        named = {change_id for change_id in changes if change_id in item.text}
        if named & work.gone:
            work.run_for_each("DELETE FROM items WHERE id = ?", [number])
        elif named:
            bare = encode_json(replace(item, text=_without_person(item.text, work)))
            _update(work, "UPDATE items SET item = ? WHERE id = ?", bare, number)
    # Quotes of the person's messages.
    names = work.who.names | {work.who.id}
    erase_readings(work.connection, names=names, limit=MAX_SEQ)
    for conversation in work.places.shared:
        rows = work.connection.execute(
            "SELECT seq, message FROM inbox WHERE conversation = :conversation"
            " AND person <> :person AND message LIKE '%\"context\":%'",
            {"conversation": conversation, "person": work.who.key},
        ).fetchall()
        for row in rows:
            message = decode_json(Message, row["message"])
            quotes = tuple(quote for quote in message.context if quote.name not in names)
            if quotes != message.context:
                bare = encode_json(replace(message, context=quotes))
                _update(work, "UPDATE inbox SET message = ? WHERE seq = ?", bare, row["seq"])
    for number, item in _find_items(work, set(work.places.threads), CONTEXT_NAME):
        text = remove_quotes_of(item.text, names)
        if text != item.text:
            bare = encode_json(replace(item, text=text))
            _update(work, "UPDATE items SET item = ? WHERE id = ?", bare, number)


def _clear_records(work: _ErasureWork) -> None:
    """Remove the person from the records of threads that stay: those of shared conversations, and
    those in which the model read what the person decided about a change (`decided_threads`).

    The conversation on the model's server may hold what they wrote or decided, so it is erased
    there. Its id goes here, and the thread's next turn begins a new one. The code container goes
    only with a shared thread, where it may hold files of theirs. In a thread where they only
    decided, no file is theirs, so it stays."""
    sql = "SELECT id FROM threads WHERE conversation = ?"
    shared = {
        id
        for conversation in work.places.shared
        for id in select_values(work.connection, sql, conversation)
    }
    for id in sorted(shared.union(work.places.decided_threads)):
        if record := find_record(work.connection, id):
            people = (FORGOTTEN_ID if p == work.who.key else p for p in record.participants)
            container = "" if id in shared else record.container
            # `remote_upto` is the last turn that the server's conversation contains.
            bare = replace(record, remote="", remote_upto=0, container=container)
            store_record(work.connection, replace(bare, participants=tuple(people)))


def _find_items(
    work: _ErasureWork, threads: Iterable[str], name: str
) -> Iterator[tuple[int, Item]]:
    for thread in sorted(threads):
        # LIKE finds candidates without parsing every item; the name is compared after parsing.
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


def _without_person(text: str, work: _ErasureWork) -> str:
    """Replace the person's names, id and reasons. This works only for texts that Ponte wrote,
    because they contain these verbatim or, on cards and in notes, as `clip_line` returns them."""
    # On cards the reason is in quotation marks (in French with a no-break space, \xa0, inside
    # them), in notes on a line of its own.
    for reason in work.reasons:
        for form in {reason, show_reason(reason)}:
            text = re.sub(rf"(?<=[“\xa0\n]){re.escape(form)}(?=[”\xa0\n])", "–", text)
    who = work.who
    # The longest name first, so that a name that begins with a shorter one is replaced whole.
    own_names = who.names | {who.id} | {escape_markdown(clip_line(name)) for name in who.names}
    # Only whole words are replaced: "Ana" is no part of "Banana".
    names = sorted(filter(None, own_names.union(map(clip_line, own_names))), key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    return re.sub(pattern, FORGOTTEN_PERSON.name, text)


def _anonymise_usage(work: _ErasureWork) -> None:
    """Give the person's usage (turns, tokens, money) to FORGOTTEN_PERSON, so that sums stay right.

    Remove the names of places and conversations that nobody else used, because these identify the
    person: a direct message becomes `platform:WORKSPACE:direct`.
    """
    who, connection = work.who, work.connection
    values = {**who.values, "nobody": FORGOTTEN_PERSON.key}
    # Places that only this person used; `:one` is the key of their usage. Two conditions (`<`, `>`)
    # can use an index; `<>` cannot.
    places = work.select_ids(
        "SELECT DISTINCT place FROM usage AS own WHERE person = :one AND NOT EXISTS"
        " (SELECT 1 FROM usage WHERE place = own.place AND person < :one) AND NOT EXISTS"
        " (SELECT 1 FROM usage WHERE place = own.place AND person > :one)"
    )
    for place in sorted(places):
        parts = str(place).split(":")
        connection.execute(
            "UPDATE usage SET place = :direct WHERE person = :one AND place = :place",
            {
                **values,
                "place": place,
                "direct": ":".join((*parts[:2], "direct")) if len(parts) > 2 else place,
            },
        ).close()
        # Counters of limits have the place at the end of their scope.
        if len(parts) > 2:
            end = f":{place}"
            work.connection.execute(
                "DELETE FROM counters WHERE substr(scope, length(scope) - ? + 1) = ?",
                (len(end), end),
            ).close()
    for conversation in work.select_ids(
        "SELECT DISTINCT conversation FROM usage WHERE person = :one"
    ):
        # Others' usage in a shared conversation names it anyway.
        if conversation not in work.places.shared:
            connection.execute(
                "UPDATE usage SET conversation = '' WHERE person = :one"
                " AND conversation = :conversation",
                {**values, "conversation": conversation},
            ).close()
    work.run("DELETE FROM counters WHERE person IN (:person, :one)")
    for table in ("usage", "spendings", "holds"):
        work.rows += connection.execute(
            f"UPDATE {table} SET person = :nobody WHERE person = :one",  # noqa: S608 - ours
            values,
        ).rowcount
