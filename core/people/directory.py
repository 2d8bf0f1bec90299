"""The people of a platform: cached in memory, stored as rows, looked up on the platform if unknown.

Code that needs a person waits until the platform has described them. The description comes as the
response to a lookup, in a list of all people, or in an event. Callers limit the wait. There is one
lookup for each person, in the order of the requests and within the platform's rate limits.

A change of a person's data writes one row. A keyed hash of the id recognises people who were
forgotten, so that no platform's list brings their rows back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from core.base.errors import NotStored, PlatformBusy
from core.base.tasks import BackgroundTasks, BoundedDict
from core.domain.messages import Message, decode_json
from core.domain.rights import MemberKey, PlatformMember
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
from core.store.tables import Index, TableDeclaration, integer, real, text

DIRECTORY_TABLE = TableDeclaration(
    name="directory",
    whose="person",
    section="platform_profile",
    contents="what Slack and Discord report about a person: id, names, e-mail address, language, "
    "time zone, "
    "whether they are a guest or a bot, their workspaces, user groups, or roles. For "
    "Slack: every member of the workspace, even if they never wrote to Ponte",
    kept="until 30 days after the platform last confirmed it, or they leave the Slack workspace",
    columns=(
        text("platform"),
        text("scope"),
        text("id"),
        text("person"),
        text("name"),
        text("locale"),
        text("time_zone"),
        integer("is_guest"),
        integer("is_bot"),
        text("belongs_to"),
        real("confirmed_at"),
        text("aliases", default=""),
    ),
    key=("platform", "scope", "id"),
    indexes=(
        Index("directory_id", "platform, id"),
        Index("directory_person", "person"),
        Index("directory_confirmed", "confirmed_at"),
    ),
    deleted_by=("person",),
    copied=False,  # each platform lists its people again
)
ERASED_PEOPLE_TABLE = TableDeclaration(
    name="erased_people",
    whose="nobody",
    not_exported="keyed hashes of people who were forgotten, which name nobody",
    contents="a keyed hash of each forgotten Slack person's id, so that the list of members "
    "does not bring them back",
    kept="for ever",
    columns=(text("pseudonym"),),
    key=("pseudonym",),
)


log = structlog.get_logger("directory")
MAX_MEMBERS_IN_MEMORY = 10_000
WRITE_AGAIN_SECONDS = 60.0
"""Seconds after which the row of an unchanged person is written again, to update `confirmed_at`."""
ASK_AGAIN_SECONDS = 2.0
EVENT_WRITE_SECONDS = 3600.0
READ_AGAIN_SECONDS = 1.0


class NoMember(Exception):
    """The platform does not reveal this person, or knows nobody with that id."""


class Lookup(Protocol):
    """Asks a platform about one person at a time, for the directory of people."""

    async def wait_for_place(self) -> None: ...

    async def ask(self, place: MemberKey) -> PlatformMember:
        """Raise NoMember; any other exception means that it must be tried later."""


@dataclass(slots=True)
class _Known:
    """`written_at` is 0.0 if the row must be written with the next report."""

    member: PlatformMember
    written_at: float


@dataclass(slots=True)
class _MemberLookup:
    """A lookup of one person, which several callers may wait for.

    - `finished`: set when the person was described, or the lookup was given up.
    - `waiter_count`: the number of callers that wait for it.
    - `refused`: the platform gives no information, and repeating the lookup would not help.
    """

    finished: asyncio.Event = field(default_factory=asyncio.Event)
    waiter_count: int = 0
    refused: bool = False


class MemberDirectory:
    """The people of one platform, as far as Ponte knows them: a cache in memory over rows in the
    database, filled by lookups on the platform.

    `shared`: other processes of Ponte write the same rows, so that a person who is not in memory
    may have a row by now. Errors of the platform and the store are logged and never raised.
    """

    def __init__(
        self,
        platform: str,
        rows: SqlDirectory,
        lookup: Lookup,
        *,
        shared: bool = False,  # other processes write the same rows
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._platform = platform
        self._rows = rows
        # Asks the platform about one person.
        self._platform_lookup = lookup
        self._shared = shared
        self._clock = clock
        # A key is a person's scope (such as a server) and id.
        self._known: BoundedDict[MemberKey, _Known] = BoundedDict(MAX_MEMBERS_IN_MEMORY)
        self._lookups: dict[MemberKey, _MemberLookup] = {}
        self._wanted: dict[MemberKey, None] = {}
        self._asked: set[MemberKey] = set()
        """People whom the platform is asked about, or is asked again after a pause. Nobody else
        asks about them meanwhile."""
        self._asking: asyncio.Task[object] | None = None
        self._reading: asyncio.Task[object] | None = None
        self.resolved_count = 0
        """The adapter for Slack finds out by it whether a list of all members was of use."""
        self._tasks = BackgroundTasks("directory")

    async def open(self, *scopes: str) -> None:
        for scope in scopes:
            for member in await self.newest(scope):
                self._known[member.key] = _Known(member, member.confirmed_at)

    async def newest(self, scope: str) -> Sequence[PlatformMember]:
        """Return as many members as the memory takes, those confirmed last, the oldest of them
        first."""
        try:
            return await self._rows.list_newest(self._platform, scope, MAX_MEMBERS_IN_MEMORY)
        except NotStored as error:
            log.warning("could not load users", error=str(error))
            return ()

    async def close(self) -> None:
        await self._tasks.close()

    @property
    def waiting(self) -> int:
        return len(self._lookups)

    def cached_member(self, id: str, scope: str = "") -> PlatformMember | None:
        """Return the person from memory, however old the data is."""
        entry = self._known.get((scope, id))
        return entry.member if entry else None

    async def find(self, id: str, max_age: float, scope: str = "") -> PlatformMember | None:
        """Return the person if the platform confirmed their data within `max_age` seconds, in
        memory or in a row of the database. If no other process writes rows, a person in memory has
        no newer row, so the database is not read for them."""
        place = (scope, id)
        entry = self._known.get(place)
        if entry and self._is_fresh(entry.member, max_age):
            return entry.member
        if entry is None or self._shared:
            await self._read([place])
        entry = self._known.get(place)
        return entry.member if entry and self._is_fresh(entry.member, max_age) else None

    async def resolve(self, id: str, max_age: float, scope: str = "") -> PlatformMember | None:
        """Return the person with data that the platform confirmed within `max_age` seconds. If it
        is not stored, look the person up, and wait for the answer as long as it takes; callers
        limit the wait. Return None if the platform refuses. `scope` is where the person is a
        member, such as a server of Discord."""
        place = (scope, id)
        while (member := await self.find(id, max_age, scope)) is None:
            self.want(id, scope)  # begins a look-up, or joins the one under way
            lookup = self._lookups[place]
            # A look-up that failed is repeated only while somebody waits for it.
            lookup.waiter_count += 1
            try:
                await lookup.finished.wait()
            finally:
                lookup.waiter_count -= 1
            if lookup.refused:
                return None
        return member

    def want(self, id: str, scope: str = "") -> None:
        """Begin to look a person up, without waiting. Start the task that asks the platform, and
        the one that reads rows of other processes, unless they run already."""
        place = (scope, id)
        self._lookups.setdefault(place, _MemberLookup())
        if place not in self._asked:  # no request about them is under way
            self._wanted[place] = None
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.start(self._ask_all())
        if self._shared and (self._reading is None or self._reading.done()):
            self._reading = self._tasks.start(self._follow_rows())

    async def take(
        self,
        members: Sequence[PlatformMember],
        *,
        unasked: bool = False,
        write_again: float = WRITE_AGAIN_SECONDS,
    ) -> None:
        """`unasked`: the data is a list of everybody or an event, and nobody asked for these
        people, so those who were forgotten are left out. Only the rows tell who that is, so they
        are written first. Otherwise memory is updated before the rows, so that those who wait for a
        lookup do not wait for the store. A row without changes is written again only after
        `write_again` seconds."""
        now = self._clock()
        fresh = [replace(member, confirmed_at=now) for member in members]
        changed = []
        for member in fresh:
            entry = self._known.get(member.key)
            if (
                entry is None
                or now - entry.written_at > write_again
                or replace(entry.member, confirmed_at=now) != member
            ):
                # An entry that did not change is written only now and then, to show that it is
                # confirmed.
                changed.append(member)
        if not unasked:
            self._remember_all(fresh, changed)
        erased = await self.write(changed) if changed else frozenset[str]()
        if unasked:
            # A list of everybody must not displace the people who use Ponte.
            members_to_keep = (
                member
                for member in fresh
                if member.id not in (erased or ())
                and (
                    member.key in self._known
                    or member.key in self._lookups
                    or len(self._known) < MAX_MEMBERS_IN_MEMORY
                )
            )
            self._remember_all(members_to_keep, changed)
        if erased is None:
            # Nothing could be stored: the next report of these people is written again.
            for member in changed:
                if entry := self._known.get(member.key):
                    entry.written_at = 0.0

    async def write(self, members: Sequence[PlatformMember]) -> frozenset[str] | None:
        """Return the ids of people whose rows are not written because they were forgotten, or None
        if nothing could be written. The caller updates memory."""
        try:
            return await self._rows.put(self._platform, members)
        except NotStored as error:
            log.warning("could not save users", error=str(error))
            return None

    async def remove(self, ids: Collection[str]) -> None:
        self.forget(ids)
        try:
            await self._rows.remove(self._platform, ids)
        except NotStored as error:
            log.warning("could not save users", error=str(error))

    def forget(self, ids: Collection[str]) -> None:
        """Remove these people from memory, in all scopes, because they left or are being erased.
        Their rows are deleted elsewhere."""
        for place in [place for place in self._known if place[1] in ids]:
            del self._known[place]

    def _is_fresh(self, member: PlatformMember, max_age: float) -> bool:
        return self._clock() - member.confirmed_at <= max_age

    def _remember_all(
        self, members: Iterable[PlatformMember], written: Collection[PlatformMember]
    ) -> None:
        """The rows of people not in `written` were written at an earlier time, which their entries
        in memory keep."""
        places = {member.key for member in written}
        for member in members:
            entry = None if member.key in places else self._known.get(member.key)
            self._remember(_Known(member, entry.written_at if entry else member.confirmed_at))

    def _remember(self, known: _Known) -> None:
        place = known.member.key
        self._known[place] = known
        self._wanted.pop(place, None)
        if lookup := self._lookups.pop(place, None):
            self.resolved_count += 1
            lookup.finished.set()

    async def _read(self, places: Iterable[MemberKey]) -> None:
        try:
            members = await self._rows.find(self._platform, frozenset(places))
        except NotStored as error:
            log.warning("could not load users", error=str(error))
            return
        for member in members:
            entry = self._known.get(member.key)
            if entry is None or entry.member.confirmed_at < member.confirmed_at:
                self._remember(_Known(member, member.confirmed_at))

    async def _ask_all(self) -> None:
        while self._wanted:
            await self._platform_lookup.wait_for_place()  # of the rate limits
            if self._wanted:
                place = next(iter(self._wanted))
                del self._wanted[place]
                self._asked.add(place)
                self._tasks.start(self._ask(place))

    async def _ask(self, place: MemberKey) -> None:
        """Look one person up (`place`: their scope and id) and store the result. After a failure,
        look them up again after a pause, if anybody still waits for them then. The pause is as long
        as the platform asks for (PlatformBusy, its rate limit), else ASK_AGAIN_SECONDS."""
        try:
            member = await self._platform_lookup.ask(place)
        except NoMember:
            self._asked.discard(place)
            if lookup := self._lookups.pop(place, None):
                lookup.refused = True
                lookup.finished.set()
            return
        except Exception as error:
            seconds = error.seconds if isinstance(error, PlatformBusy) else ASK_AGAIN_SECONDS
            log.info("could not look up a user; retrying", error=repr(error), delay_seconds=seconds)
        else:
            # The platform knows nobody of that id, or does not tell: waiting longer would not help.
            self._asked.discard(place)
            await self.take([member])  # also ends the lookup, for those who wait
            return
        # The person stays in `_asked` during the pause, so that nobody else looks them up.
        if lookup := self._lookups.get(place):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    # Ends the pause early: the person can also come in a list or an event.
                    await lookup.finished.wait()
        self._asked.discard(place)
        lookup = self._lookups.get(place)  # None: the person came during the pause
        if lookup is not None and lookup.waiter_count:
            self.want(place[1], place[0])
        else:
            self._lookups.pop(place, None)

    async def _follow_rows(self) -> None:
        while self._lookups:
            await asyncio.sleep(READ_AGAIN_SECONDS)
            await self._read(self._lookups)


_LOCK_KEY = "directory"
_IDS_PER_STATEMENT = 500
"""Ids in one statement. Before version 3.32, SQLite allowed 999 values
(https://sqlite.org/limits.html)."""
_COLUMNS = (
    "scope, id, person, name, locale, time_zone, is_guest, is_bot, belongs_to, confirmed_at, "
    "aliases"
)
_UPSERT = (
    f"INSERT INTO directory (platform, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (platform, scope, id) DO UPDATE SET person = excluded.person,"
    " name = excluded.name, locale = excluded.locale, time_zone = excluded.time_zone,"
    " is_guest = excluded.is_guest, is_bot = excluded.is_bot, belongs_to = excluded.belongs_to,"
    " confirmed_at = excluded.confirmed_at, aliases = excluded.aliases"
    " WHERE directory.confirmed_at <= excluded.confirmed_at"
)


class SqlDirectory(SqlStore):
    """Stores the people of platforms in the table `directory`, one row for each person and scope.
    `pseudonym` returns the keyed hash of a name."""

    def __init__(self, database: Database, pseudonym: Callable[[str], str]) -> None:
        super().__init__(database)
        self._pseudonym = pseudonym

    @query
    def list_newest(
        self, connection: SqlConnection, platform: str, scope: str, most: int
    ) -> Sequence[PlatformMember]:
        """The oldest confirmation first: the caller puts them into a dict that drops its first
        entries when it is full."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM directory WHERE platform = ? AND scope = ?"  # noqa: S608
            " ORDER BY confirmed_at DESC LIMIT ?",
            (platform, scope, most),
        ).fetchall()
        return [_member(row) for row in reversed(rows)]

    @query
    def find(
        self, connection: SqlConnection, platform: str, places: Collection[MemberKey]
    ) -> Sequence[PlatformMember]:
        """The query selects by id alone, so rows of other scopes are removed from the result."""
        ids = sorted({id for _, id in places})
        members = list[PlatformMember]()
        for begin in range(0, len(ids), _IDS_PER_STATEMENT):
            some = ids[begin : begin + _IDS_PER_STATEMENT]
            marks = ", ".join("?" * len(some))
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM directory WHERE platform = ? AND id IN ({marks})",  # noqa: S608
                (platform, *some),
            )
            members += map(_member, rows)
        return [member for member in members if member.key in places]

    @query
    def list_people(self, connection: SqlConnection, platform: str) -> Mapping[str, PlatformMember]:
        """Names come from the platform's list of members, or from people's latest messages. Bots
        and guests are left out."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM directory WHERE platform = ?",  # noqa: S608
            (platform,),
        )
        members = list(map(_member, rows))
        people = {member.id: member for member in members if member.name}
        writers = connection.execute(
            "SELECT message FROM inbox WHERE seq IN (SELECT MAX(seq) FROM inbox"
            " WHERE person >= ? AND person < ? GROUP BY person)",
            (f"{platform}:", f"{platform};"),  # the character after the colon
        )
        for row in writers:
            author = decode_json(Message, row["message"]).author
            if author.name and not author.is_bot:
                people.setdefault(author.id, PlatformMember(author.id, name=author.name))
        left_out = {member.id for member in members if member.is_bot or member.is_guest}
        return {id: member for id, member in people.items() if id not in left_out}

    @query
    def find_names(self, connection: SqlConnection, keys: Collection[str]) -> Mapping[str, str]:
        """People without a known name are left out."""
        names = {}
        for key in sorted(set(keys)):
            row = connection.execute(
                "SELECT message FROM inbox WHERE person = ? ORDER BY seq DESC LIMIT 1", (key,)
            ).fetchone()
            name = decode_json(Message, row["message"]).author.name if row else ""
            if not name:
                name = select_value(connection, "SELECT name FROM directory WHERE person = ?", key)
            if name:
                names[key] = name
        return names

    @transaction
    def put(
        self, connection: SqlConnection, platform: str, members: Sequence[PlatformMember]
    ) -> frozenset[str]:
        """Return the ids of the forgotten people. A row that was confirmed later than the member is
        not changed."""
        # `forget` takes this lock, too. So it cannot come between the look for forgotten people and
        # the writing, which would bring a row back.
        connection.lock_key(_LOCK_KEY)
        hashes = set(select_values(connection, "SELECT pseudonym FROM erased_people"))
        # Without forgotten people, no id need be hashed.
        ids = {member.id for member in members} if hashes else set[str]()
        erased = frozenset(id for id in ids if self._pseudonym_of(platform, id) in hashes)
        rows = [_row(platform, member) for member in members if member.id not in erased]
        if rows:
            connection.executemany(_UPSERT, rows)
        return erased

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        await self._database.write(lambda c: _delete(c, platform, ids))

    @transaction
    def forget(self, connection: SqlConnection, platform: str, ids: Collection[str]) -> None:
        """A hash of each id is stored, by which no later `put` brings the people back."""
        # No `put` may be between its look for forgotten people and its writing.
        connection.lock_key(_LOCK_KEY)
        for id in ids:
            connection.execute(
                "INSERT INTO erased_people (pseudonym) VALUES (?) ON CONFLICT DO NOTHING",
                (self._pseudonym_of(platform, id),),
            ).close()
        _delete(connection, platform, ids)

    async def purge(self, before: float) -> int:
        return await self._execute("DELETE FROM directory WHERE confirmed_at < ?", before)

    def _pseudonym_of(self, platform: str, id: str) -> str:
        return self._pseudonym(f"directory:{platform}:{id}")


def _delete(connection: SqlConnection, platform: str, ids: Collection[str]) -> None:
    connection.executemany(
        "DELETE FROM directory WHERE platform = ? AND id = ?", [(platform, id) for id in ids]
    )


def _row(platform: str, member: PlatformMember) -> tuple[str | int | float, ...]:
    """Return a member as the values of a row of the table `directory`, in the order of its
    columns. The ids of the member's groups or roles (`belongs_to`) become one text."""
    return (
        platform,
        member.scope,
        member.id,
        member.person,
        member.name,
        member.locale,
        member.time_zone,
        member.is_guest,
        member.is_bot,
        " ".join(sorted(member.belongs_to)),
        member.confirmed_at,
        member.aliases,
    )


def _member(row: SqlRow) -> PlatformMember:
    """Return the member in a row of the table `directory`, in which spaces separate the ids of the
    member's groups or roles (`belongs_to`)."""
    return PlatformMember(
        id=row["id"],
        scope=row["scope"],
        person=row["person"],
        name=row["name"],
        locale=row["locale"],
        time_zone=row["time_zone"],
        is_guest=bool(row["is_guest"]),
        is_bot=bool(row["is_bot"]),
        belongs_to=frozenset(row["belongs_to"].split()),
        confirmed_at=row["confirmed_at"],
        aliases=row["aliases"],
    )
