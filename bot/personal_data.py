"""The people whom Ponte knows: what `ponte person` has done by whoever holds the home.

To forget somebody is done in an order in which a crash at any moment leaves them findable, so that
doing it again ends it: what hangs on the tables' rows first (runs, files, kernels, records), then
the rows in one transaction, last the key of their lines in the audit log.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from bot.page_accounts import PageAccountService
from core.chat.platform import ChatPlatform
from core.domain.errors import NotFound, PonteError
from core.integrations.integration import Act
from core.rights.audit import OPERATOR
from core.store.personal_data import Erased, Who
from core.store.remembered import FORGOTTEN, of_ids
from core.store.tables import EXPORTED
from core.text.i18n import say

if TYPE_CHECKING:
    from bot.engine import Engine

log = structlog.get_logger("privacy")
Json = Mapping[str, Any]
PIECE = 3_000_000
"""Bytes of a file in one answer."""
PATIENCE = 10.0
"""Seconds that a turn which is stopped, the model's server and other platforms are waited for."""
POLL = 0.05
"""Seconds between two looks whether a turn that was stopped has ended: it may be another
process's."""
TIMES = 3
"""How often what came meanwhile is erased, too."""


class PersonalDataService:
    """`chats` are the platforms that this process serves. `listing` are the names of platforms that
    list people who never wrote to us."""

    def __init__(
        self, engine: Engine, people: PageAccountService, chats: Sequence[ChatPlatform],
        listing: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._listing = listing
        self._engine = engine
        self._data = engine.personal_data
        self._accounts = people
        self._chats = chats

    def acts(self) -> Mapping[str, Act]:
        return {
            "person": self._listed, "person/counts": self._counts, "person/rows": self._rows,
            "person/file": self._piece, "person/forget": self._forget,
        }  # fmt: skip

    async def _listed(self, arguments: Json) -> Json:
        return {"people": await self._data.all()}

    async def _counts(self, arguments: Json) -> Json:
        """Whom a key means, what there is of them by section, and where others speak, too."""
        who = await self._who(arguments)
        places = await self._data.places(who)
        return {
            "person": who.key, "names": sorted(who.names), "shared": places.shared,
            "counts": await self._data.counts(who),
            "sections": [*(table.section for table in EXPORTED), "decisions"],
            "remembered": await self._of_platforms(who),
        }  # fmt: skip

    async def _rows(self, arguments: Json) -> Json:
        """Rows of a section from `begin` on; an empty list where it ends."""
        who, section = self._bare(arguments), str(arguments.get("section", ""))
        begin = int(arguments.get("begin", 0))
        return {"rows": await self._data.rows(who, section, begin)}

    async def _piece(self, arguments: Json) -> Json:
        """A piece of one of their files in base64, "" where it ends. Raises NotFound."""
        who, file = self._bare(arguments), str(arguments.get("file", ""))
        if not await self._data.file(who, file):
            raise NotFound(what="file")
        begin = int(arguments.get("begin", 0))
        _, data = await self._engine.files.get(file)
        return {"data": base64.b64encode(data[begin : begin + PIECE]).decode()}

    async def _forget(self, arguments: Json) -> Json:
        """Raises UnknownPerson, Ambiguous, AuditRefused before anything is gone, and StillApplying
        before rows are."""
        who = await self._who(arguments)
        counts = await self._data.counts(who)
        shared = (await self._data.places(who)).shared
        await self._engine.audit.tell("person-forgotten", OPERATOR, person=who.key)
        if await self._accounts.find(who.key):
            await self._accounts.remove(who.key)
        else:
            await self._engine.changes.leave(who.key)
        await self._tried(self._engine.redraw.once)
        platform = who.key.partition(":")[0]
        if platform in self._listing:  # before the rows go, so that no list brings them back
            await self._engine.directory.forget(platform, [who.id])
        left = await self._erase_all(who)
        await self._forget_at_platforms(who)
        await self._engine.commands.forgotten()
        await self._tried(self._engine.upkeep.erase)
        await self._engine.scrub(whole=True)
        if not left:
            await self._engine.audit.forget(who.key)
            await self._engine.scrub()
        journal, remains = self._engine.journal, self._engine.commands.remains()
        waiting = [*await journal.to_erase(), *await journal.unerasable()]
        return {
            "person": who.key, "counts": counts, "shared": shared, "left": left,
            "waiting": len(waiting), "remains": say(remains) if remains else "",
        }  # fmt: skip

    async def _erase_all(self, who: Who) -> Json:
        """What came while it was done goes as well; gives what is left in the end, by section."""
        left: Json = {}
        for _ in range(TIMES):
            await self._clear(who)
            erased = await self._data.erase(who, self._engine.at_work)
            await self._show_nameless(erased)
            if not (left := await self._data.counts(who)):
                break
        return left

    async def _clear(self, who: Who) -> None:
        """What hangs on their rows: turns under way, conversations of theirs alone, files, what
        their threads left in kernels and records."""
        engine = self._engine
        for seq in await self._data.unfinished(who):
            await engine.inbox.cancel(seq)
        places = await self._data.places(who)
        for conversation in places.alone:
            await engine.commands.forget(conversation)
        await self._until_quiet([*places.alone, *places.shared])
        for file in await self._data.files(who):
            await engine.files.discard(file)
        for thread in places.threads:
            await engine.commands.code.forget(thread)
        for conversation in places.shared:
            if record := await engine.threads.get(conversation):
                people = (FORGOTTEN if one == who.key else one for one in record.participants)
                bare = replace(record, remote="", container="", remote_upto=0)
                await engine.threads.put(replace(bare, participants=tuple(people)))
        for record in await engine.threads.items():
            if record.id in places.told:
                await engine.threads.put(replace(record, remote="", remote_upto=0))

    async def _until_quiet(self, conversations: Sequence[str]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for conversation in conversations:
                    while await self._engine.inbox.running(conversation) is not None:  # noqa: ASYNC110
                        await asyncio.sleep(POLL)

    async def _show_nameless(self, erased: Erased) -> None:
        """In what is kept now, and where people see it as soon as that can be drawn."""
        changes = self._engine.changes
        for id in erased.decided:
            with suppress(NotFound):
                change = await changes.ledger.get(id)
                card = await changes.card(change)
                await self._engine.journal.stands(change.proposal.seq, [card])
        changes.moved()

    async def _forget_at_platforms(self, who: Who) -> None:
        """Forget them in what platforms remember: in memory here, and in the processes that hold
        it. The rows are without them already."""
        platform = who.key.partition(":")[0]
        for chat in self._chats:
            if chat.name == platform:
                await chat.forget(who.ids)
        if platform not in {chat.name for chat in self._chats}:
            for name in await self._data.remembered(who):
                await self._engine.peers.tell("remembered", name)

    async def _of_platforms(self, who: Who) -> Json:
        rows = await self._data.remembered(who)
        found = {name: of_ids(data, who.ids) for name, data in rows.items()}
        return {name: data for name, data in found.items() if data}

    async def _tried(self, work: Callable[[], Awaitable[object]]) -> None:
        """What may be put off: it is tried again by itself."""
        try:
            async with asyncio.timeout(PATIENCE):
                await work()
        except (TimeoutError, PonteError) as error:
            log.info("put off", why=repr(error))

    def _bare(self, arguments: Json) -> Who:
        return self._data.bare(str(arguments.get("person", "")))

    async def _who(self, arguments: Json) -> Who:
        return await self._data.find(str(arguments.get("person", "")))
