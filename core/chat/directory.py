"""Who the people of a platform are: known in memory and in rows, asked for where they are not.

Whoever needs to know a person waits until the platform has told of them: in answer to a question of
ours, in a list of all people, or in an event. Callers bound the wait. Questions are asked one for
each person, in the order in which they were needed, and leave at the platform's pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from core.domain.errors import NotStored, PlatformBusy
from core.domain.records import MemberKey, PlatformMember
from core.ports.rights import MemberStore
from core.runtime.tasks import BackgroundTasks, BoundedDict

log = structlog.get_logger("directory")
MAX_MEMBERS_IN_MEMORY = 10_000
WRITE_AGAIN_SECONDS = 60.0
"""A row whose person did not change is written again after so long, for its `confirmed_at`."""
ASK_AGAIN_SECONDS = 2.0
"""Before the platform is asked again where it did not answer."""
EVENT_WRITE_SECONDS = 3600.0
"""After this time a row is written again for an event that tells nothing new of its person."""
READ_AGAIN_SECONDS = 1.0
"""Between two looks at the rows that another process may have written."""


class NoMember(Exception):
    """The platform refuses to tell who this is, or knows nobody by that id."""


class Lookup(Protocol):
    """How one platform is asked for a person."""

    async def wait_for_place(self) -> None:
        """Wait until one more question may leave."""

    async def ask(self, place: MemberKey) -> PlatformMember:
        """Ask for one person. Raises NoMember; any other exception means: not now."""


class NoRows:
    """The port `Directory` without a store: nothing outlives the process."""

    async def list_newest(self, platform: str, scope: str, most: int) -> Sequence[PlatformMember]:
        return ()

    async def find(self, platform: str, places: Collection[MemberKey]) -> Sequence[PlatformMember]:
        return ()

    async def put(self, platform: str, members: Sequence[PlatformMember]) -> frozenset[str]:
        return frozenset()

    async def remove(self, platform: str, ids: Collection[str]) -> None: ...

    async def forget(self, platform: str, ids: Collection[str]) -> None: ...

    async def purge(self, before: float) -> int:
        return 0


@dataclass(slots=True)
class _Known:
    member: PlatformMember
    written_at: float


@dataclass(slots=True)
class _Wait:
    """Those who wait for one person. `told` is set when there is news of them; `refused`: there is
    none, and asking again would not help."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    refused: bool = False


class MemberDirectory:
    """One platform's people. `shared`: other processes write the same rows.

    Nothing here raises what the platform or the store does.
    """

    def __init__(
        self, platform: str, rows: MemberStore, lookup: Lookup, *, shared: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._platform = platform
        self._rows = rows
        self._lookup = lookup
        self._shared = shared
        self._clock = clock
        self._known: BoundedDict[MemberKey, _Known] = BoundedDict(MAX_MEMBERS_IN_MEMORY)
        self._waits: dict[MemberKey, _Wait] = {}
        self._wanted: dict[MemberKey, None] = {}
        """Whom to ask for, in order."""
        self._asked: set[MemberKey] = set()
        """Of whom an answer is under way."""
        self._asking: asyncio.Task[object] | None = None
        self._reading: asyncio.Task[object] | None = None
        self.resolved_count = 0
        """How many were waited for, and then told of."""
        self._tasks = BackgroundTasks("directory")

    async def open(self, *scopes: str) -> None:
        """Read the rows of these scopes that were confirmed last into memory."""
        for scope in scopes:
            for member in await self.newest(scope):
                self._known[member.key] = _Known(member, member.confirmed_at)

    async def newest(self, scope: str) -> Sequence[PlatformMember]:
        """Return the members whose rows were confirmed last, the oldest of them first."""
        try:
            return await self._rows.list_newest(self._platform, scope, MAX_MEMBERS_IN_MEMORY)
        except NotStored as error:
            log.warning("directory not read", why=str(error))
            return ()

    async def close(self) -> None:
        await self._tasks.close()

    @property
    def waiting(self) -> int:
        """How many people are waited for."""
        return len(self._waits)

    def cached_member(self, id: str, scope: str = "") -> PlatformMember | None:
        """Return what is in memory, however old."""
        known = self._known.get((scope, id))
        return known.member if known else None

    async def find(self, id: str, max_age: float, scope: str = "") -> PlatformMember | None:
        """Return what was confirmed within `max_age` seconds, in memory or in a row."""
        place = (scope, id)
        known = self._known.get(place)
        if known and self._is_fresh(known.member, max_age):
            return known.member
        if known is None or self._shared:
            await self._read([place])
        known = self._known.get(place)
        return known.member if known and self._is_fresh(known.member, max_age) else None

    async def resolve(self, id: str, max_age: float, scope: str = "") -> PlatformMember | None:
        """Return what the platform confirmed within `max_age` seconds. Wait for it as long as it
        takes; None where the platform refuses to tell."""
        place = (scope, id)
        while (member := await self.find(id, max_age, scope)) is None:
            if not await self._wait_for_news(place):
                return None
        return member

    def want(self, id: str, scope: str = "") -> None:
        """Ask for that person, without waiting."""
        place = (scope, id)
        self._waits.setdefault(place, _Wait())
        if place not in self._asked:
            self._wanted[place] = None
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.start(self._ask_all())
        if self._shared and (self._reading is None or self._reading.done()):
            self._reading = self._tasks.start(self._follow_rows())

    async def take(
        self, members: Sequence[PlatformMember], *, unasked: bool = False,
        write_again: float = WRITE_AGAIN_SECONDS,
    ) -> None:  # fmt: skip
        """Take what the platform told just now. `unasked`: it tells of everybody, so that nothing
        of it is kept of people who were forgotten. Whoever waits for somebody who was asked for
        does not wait for the store."""
        now = self._clock()
        fresh = [replace(member, confirmed_at=now) for member in members]
        changed = [member for member in fresh if self._is_to_be_written(member, now, write_again)]
        if not unasked:
            self._remember_all(fresh, changed)
        erased: frozenset[str] = frozenset()
        is_written = True
        if changed:
            try:
                erased = await self._rows.put(self._platform, changed)
            except NotStored as error:
                log.warning("directory not written", why=str(error))
                is_written = False
        if unasked:
            kept = (m for m in fresh if m.id not in erased and self._has_room_for(m.key))
            self._remember_all(kept, changed)
        if not is_written:
            for member in changed:
                if known := self._known.get(member.key):
                    known.written_at = 0.0

    async def write(self, members: Sequence[PlatformMember]) -> None:
        """Write rows alone: the caller has them in memory."""
        try:
            await self._rows.put(self._platform, members)
        except NotStored as error:
            log.warning("directory not written", why=str(error))

    async def remove(self, ids: Collection[str]) -> None:
        """These people left the platform."""
        self._drop(ids)
        try:
            await self._rows.remove(self._platform, ids)
        except NotStored as error:
            log.warning("directory not written", why=str(error))

    def forget(self, ids: Collection[str]) -> None:
        """Remember nothing more of these people; their rows are the store's to delete."""
        self._drop(ids)

    def _drop(self, ids: Collection[str]) -> None:
        for place in [place for place in self._known if place[1] in ids]:
            del self._known[place]

    def _is_fresh(self, member: PlatformMember, max_age: float) -> bool:
        return self._clock() - member.confirmed_at <= max_age

    def _is_to_be_written(self, member: PlatformMember, now: float, write_again: float) -> bool:
        known = self._known.get(member.key)
        if known is None or now - known.written_at > write_again:
            return True
        return replace(known.member, confirmed_at=member.confirmed_at) != member

    def _has_room_for(self, place: MemberKey) -> bool:
        """A list of everybody must not push those out of memory who talk with us."""
        if place in self._known or place in self._waits:
            return True
        return len(self._known) < MAX_MEMBERS_IN_MEMORY

    def _remember_all(
        self, members: Iterable[PlatformMember], written: Collection[PlatformMember]
    ) -> None:
        """Remember them; those in `written` have a row that says the same, or will have it soon."""
        places = {member.key for member in written}
        for member in members:
            known = self._known.get(member.key)
            if known is None or member.key in places:
                self._remember(_Known(member, member.confirmed_at))
            else:
                self._remember(_Known(member, known.written_at))

    def _remember(self, known: _Known) -> None:
        place = known.member.key
        self._known[place] = known
        self._wanted.pop(place, None)
        if wait := self._waits.pop(place, None):
            self.resolved_count += 1
            wait.told.set()

    async def _read(self, places: Iterable[MemberKey]) -> None:
        try:
            members = await self._rows.find(self._platform, frozenset(places))
        except NotStored as error:
            log.warning("directory not read", why=str(error))
            return
        for member in members:
            known = self._known.get(member.key)
            if known is None or known.member.confirmed_at < member.confirmed_at:
                self._remember(_Known(member, member.confirmed_at))

    async def _wait_for_news(self, place: MemberKey) -> bool:
        """Return whether there is any; False where the platform refuses to tell."""
        self.want(place[1], place[0])
        wait = self._waits[place]
        wait.waiting += 1
        try:
            await wait.told.wait()
        finally:
            wait.waiting -= 1
        return not wait.refused

    async def _ask_all(self) -> None:
        """Ask for those who are wanted, each once a place is free for the question."""
        while self._wanted:
            await self._lookup.wait_for_place()
            if self._wanted:
                place = next(iter(self._wanted))
                del self._wanted[place]
                self._asked.add(place)
                self._tasks.start(self._ask(place))

    async def _ask(self, place: MemberKey) -> None:
        try:
            member = await self._lookup.ask(place)
        except NoMember:
            self._asked.discard(place)
            if wait := self._waits.pop(place, None):
                wait.refused = True
                wait.told.set()
        except Exception as error:
            seconds = error.seconds if isinstance(error, PlatformBusy) else ASK_AGAIN_SECONDS
            log.info("person not told of", why=repr(error), again_in=seconds)
            await self._ask_again(place, seconds)
        else:
            self._asked.discard(place)
            await self.take([member])

    async def _ask_again(self, place: MemberKey, seconds: float) -> None:
        """In so many seconds, if anybody waits for that person then, and no list has told."""
        if wait := self._waits.get(place):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wait.told.wait()
        self._asked.discard(place)
        wait = self._waits.get(place)
        if wait is not None and wait.waiting:
            self.want(place[1], place[0])
        else:
            self._waits.pop(place, None)

    async def _follow_rows(self) -> None:
        """While somebody waits, read what another process was told."""
        while self._waits:
            await asyncio.sleep(READ_AGAIN_SECONDS)
            await self._read(self._waits)
