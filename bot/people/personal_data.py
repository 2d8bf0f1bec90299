"""List, export and forget people, for the commands `ponte person …`.

Forgetting deletes in an order that keeps the person findable after a crash, so that the same
command finishes it: first what the rows lead to (running turns, files, kernels, thread records),
then the rows in one transaction, and last the key of their lines in the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from bot.operation_results import ForgottenPerson, PersonCounts
from bot.people.page_accounts import PageAccountService
from bot.tables import SCHEMA
from core.base.errors import NotFound, PonteError
from core.base.i18n import say, use_locale
from core.domain.messages import Person
from core.domain.platform import ChatPlatform
from core.erasure.personal_data import Erasure, KnownPerson, SqlPersonalData
from core.store.remembered import FORGOTTEN_ID, select_ids

if TYPE_CHECKING:
    from bot.engine import Engine

log = structlog.get_logger("personal_data")
Json = Mapping[str, Any]
STEP_TIMEOUT_SECONDS = 10.0
"""How long to wait for stopped turns, for the model's server and for cards to be drawn."""
TURN_POLL_SECONDS = 0.05
"""How often to check whether a stopped turn has ended. It may run in another process."""
ERASE_ROUNDS = 3
"""How often to erase rows again that arrived while a person was erased."""


class PersonalDataService:
    """The work of `ponte person`.

    `chats` are the platforms that this process serves. `listing` are the names of platforms that
    list people who never wrote to us.
    """

    def __init__(
        self, engine: Engine, data: SqlPersonalData, people: PageAccountService,
        chats: Sequence[ChatPlatform], listing: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._listing = listing
        self._engine = engine
        self.data = data
        self._accounts = people
        self._chats = chats

    async def count_rows(self, person: str) -> PersonCounts:
        """Return who a key means, how many rows each section has, and which conversations they
        share with others."""
        who = await self.data.find(person)
        places = await self.data.find_conversations(who)
        return PersonCounts(
            who.key, sorted(who.names), places.shared, await self.data.count_rows(who),
            [*(table.section for table in SCHEMA.exported), "decisions"],
            await self._read_remembered(who),
        )  # fmt: skip

    async def read_file(self, person: str, file: str) -> bytes:
        """Return the bytes of one of their files. Raise NotFound."""
        if not await self.data.owns_file(self.data.by_key(person), file):
            raise NotFound(what="file")
        _, data = await self._engine.conversations.files.get(file)
        return data

    async def forget(self, person: str, actor: Person) -> ForgottenPerson:
        """Erase a person everywhere.

        Raise UnknownPerson, AmbiguousPerson or AuditRefused before anything is erased, and
        StillApplying before rows are.
        """
        who = await self.data.find(person)
        counts = await self.data.count_rows(who)
        shared = (await self.data.find_conversations(who)).shared
        await self._engine.people.audit.write_note("person-forgotten", actor, person=who.key)
        if await self._accounts.find(who.key):
            await self._accounts.remove(who.key)
        else:
            await self._engine.changes.proposals.withdraw_of(who.key)
        await self._try_now(self._engine.redraw.once)
        platform = who.key.partition(":")[0]
        if platform in self._listing:  # before the rows go, so that no list brings them back
            await self._engine.people.directory.forget(platform, [who.id])
        left = await self._erase_all(who)
        await self._forget_at_platforms(who)
        await self._engine.upkeep.announce_forgotten()
        await self._try_now(self._engine.upkeep.erase)
        await self._engine.stores.scrub(whole=True)
        if not left:
            await self._engine.people.audit.forget(who.key)
            await self._engine.stores.scrub()
        journal, remains = self._engine.conversations.journal, self._engine.upkeep.remains_notice
        waiting = [*await journal.list_remotes_to_erase(), *await journal.list_unerasable_remotes()]
        remains = say(remains) if remains else ""
        return ForgottenPerson(who.key, counts, shared, left, len(waiting), remains)

    async def _erase_all(self, who: KnownPerson) -> Json:
        """Erase until nothing is left, at most ERASE_ROUNDS times, since rows may arrive meanwhile.
        Return how many rows are left by section."""
        left: Json = {}
        for _ in range(ERASE_ROUNDS):
            await self._clear_outside_tables(who)
            erased = await self.data.erase(who, self._engine.at_work)
            await self._redraw_cards(erased)
            if not (left := await self.data.count_rows(who)):
                break
        return left

    async def _clear_outside_tables(self, who: KnownPerson) -> None:
        """Stop their turns, and delete what their rows lead to: conversations of theirs alone,
        bytes of files, kernels, thread records."""
        engine = self._engine
        for seq in await self.data.list_unfinished_turns(who):
            await engine.conversations.inbox.cancel(seq)
        places = await self.data.find_conversations(who)
        for conversation in places.alone:
            await engine.upkeep.forget(conversation)
        await self._until_quiet([*places.alone, *places.shared])
        for file in await self.data.list_files(who):
            await engine.conversations.files.discard(file)
        for thread in places.threads:
            await engine.assistant.forget(thread)
        for conversation in places.shared:
            if record := await engine.conversations.threads.get(conversation):
                people = (FORGOTTEN_ID if one == who.key else one for one in record.participants)
                bare = replace(record, remote="", container="", remote_upto=0)
                await engine.conversations.threads.put(replace(bare, participants=tuple(people)))
        for record in await engine.conversations.threads.items():
            if record.id in places.decided_threads:
                await engine.conversations.threads.put(replace(record, remote="", remote_upto=0))

    async def _until_quiet(self, conversations: Sequence[str]) -> None:
        with suppress(TimeoutError):
            running_turn = self._engine.conversations.inbox.running_turn
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                for conversation in conversations:
                    while await running_turn(conversation) is not None:  # noqa: ASYNC110
                        await asyncio.sleep(TURN_POLL_SECONDS)

    async def _redraw_cards(self, erased: Erasure) -> None:
        """Store the cards that named them without their name, and have them drawn again."""
        changes = self._engine.changes
        for id in erased.decided:
            with suppress(NotFound):
                change = await changes.ledger.get(id)
                with use_locale(change.proposal.locale):
                    card = await changes.views.card(change)
                await self._engine.conversations.journal.replace_cards(change.proposal.seq, [card])
        changes.lifecycle.on_change()

    async def _forget_at_platforms(self, who: KnownPerson) -> None:
        """Forget them in what platforms remember: in memory here, and in the processes that hold
        it. The rows are without them already."""
        platform = who.key.partition(":")[0]
        for chat in self._chats:
            if chat.name == platform:
                await chat.forget(who.ids)
        if platform not in {chat.name for chat in self._chats}:
            for name in await self.data.read_remembered():
                await self._engine.stores.peers.notify("remembered", name)

    async def _read_remembered(self, who: KnownPerson) -> Json:
        rows = await self.data.read_remembered()
        found = {name: select_ids(data, who.ids) for name, data in rows.items()}
        return {name: data for name, data in found.items() if data}

    async def _try_now(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work`, which is tried again later if it fails now."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                await work()
        except (TimeoutError, PonteError) as error:
            log.info("could not erase a person; retrying", error=repr(error))
