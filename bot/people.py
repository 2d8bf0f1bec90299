"""People of this Ponte: who may sign in to the page, the owner's name, and what is stored of a
person.

Forgetting deletes in an order that keeps the person findable after a crash, so that the same
command finishes it: first what the rows lead to (running turns, files, kernels, thread records),
then the rows in one transaction, and last the key of their lines in the audit log.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from adapters.web import WEB
from bot.operation_results import ForgottenPerson, PersonCounts
from bot.stores import SCHEMA
from core.base.errors import NotFound, PonteError
from core.base.i18n import say, use_locale
from core.domain.messages import Person
from core.domain.ports import ChatPlatform
from core.people.rules import OIDC_PLATFORM
from core.people.sign_ins import is_provider_key
from core.store.remembered import select_ids

if TYPE_CHECKING:
    from bot.engine import Engine
    from bot.features.sign_in.accounts import PageAccountService
    from core.erasure import KnownPerson, SqlPersonalData


def system_user_name() -> str:
    """Return the full name of the system user of this process, else the login name; "" if the
    system has no entry for it, as in some containers."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return ""
    # The first field of GECOS is the full name; "&" in it stands for the login name (passwd(5)).
    full = user.pw_gecos.partition(",")[0].replace("&", user.pw_name.capitalize())
    return full.strip() or user.pw_name


log = structlog.get_logger("personal_data")
Json = Mapping[str, Any]
STEP_TIMEOUT_SECONDS = 10.0
"""The timeout for stopped turns, for the model's server and for cards to be drawn."""
TURN_POLL_SECONDS = 0.05
"""The pause between two looks for the end of a stopped turn, which may run in another process."""
ERASE_ROUNDS = 3
"""How often rows that arrived meanwhile are erased again."""


@dataclass(frozen=True, slots=True)
class PersonalDataService:
    """Exports and erases what is stored about a person. `chats` are the platforms of this process.
    `listing` are the platforms that list people who never wrote to us."""

    engine: Engine
    data: SqlPersonalData
    accounts: PageAccountService
    chats: Sequence[ChatPlatform]
    listing: Collection[str] = ()

    async def count_rows(self, person: str) -> PersonCounts:
        """Return who a key means, how many rows each section of an export has, and which
        conversations the person shares with others. The section `decisions` has no table of its
        own. `remembered` is what platform adapters store of the person."""
        who = await self.data.find(person)
        places = await self.data.find_conversations(who)
        counts = await self.data.count_rows(who)
        sections = [*(table.section for table in SCHEMA.export_tables), "decisions"]
        rows = await self.data.read_remembered()
        # A row is an adapter's JSON about many people.
        ids_by_name = {name: select_ids(data, who.ids) for name, data in rows.items()}
        remembered = {name: data for name, data in ids_by_name.items() if data}
        names = sorted(who.names)
        return PersonCounts(who.key, names, places.shared, counts, sections, remembered)

    async def read_file(self, person: str, file: str) -> bytes:
        """Return the bytes of a file of the person. Raises NotFound, also for a file of somebody
        else."""
        if not await self.data.owns_file(self.data.by_key(person), file):
            raise NotFound(what="file")
        _, data = await self.engine.conversations.files.get(file)
        return data

    async def remove_account(self, person: str, by: Person | None = None) -> None:
        """Delete the page account of a person (a key), stop their turns and withdraw their
        proposals. Raises NotFound."""
        await self._stop_work(person, await self.accounts.remove(person, by))

    async def remove(self, name: str, by: Person) -> str:
        """End a person's access to the page, by the name of an account or the key of a person of a
        provider. Return their key. Raises NotFound.

        Their running turns are stopped, and their requests denied. People who sign in with Slack go
        on to use Ponte in Slack, so only those on the page are.
        """
        if not is_provider_key(name):
            person = self.accounts.person(name).key
            await self.remove_account(person, by)
            return person
        await self.accounts.remove_sign_in(name, time.time(), by)
        platform = "" if name.startswith(f"{OIDC_PLATFORM}:") else WEB.name
        turns = await self.data.list_unfinished_turns(self.data.by_key(name), platform)
        await self._stop_work(name, turns, platform)
        return name

    async def _stop_work(self, person: str, turns: Iterable[int], platform: str = "") -> None:
        for seq in turns:
            await self.engine.conversations.inbox.cancel(seq)
        await self.engine.changes.proposals.withdraw_of(person, platform)

    async def forget(self, person: str, actor: Person) -> ForgottenPerson:
        """Erase a person everywhere. The order keeps them findable after a crash, so that the same
        command finishes the erasure: the audit log's key goes last.

        Raises UnknownPerson or AmbiguousPerson before anything is erased, and StillApplying (a
        change of theirs is being written) before rows are.
        """
        who = await self.data.find(person)
        counts = await self.data.count_rows(who)
        shared = (await self.data.find_conversations(who)).shared
        await self.engine.people.audit.write_note("person-forgotten", actor, person=who.key)
        # The page account goes first, so that they cannot write meanwhile. That also stops their
        # turns and withdraws their proposals. Without one, `_clear_outside_tables` stops the turns.
        if await self.accounts.find(who.key):
            await self.remove_account(who.key)
        else:
            await self.engine.changes.proposals.withdraw_of(who.key)
        # The cards of the withdrawn proposals, while the rows that say where they are exist.
        await self._try_now(self.engine.redraw.once)
        platform = who.key.partition(":")[0]
        if platform in self.listing:  # before the rows go, so that no list brings them back
            await self.engine.people.directory.forget(platform, [who.id])
        # Rows may arrive meanwhile, so a few rounds are made if something is left.
        remaining_rows: Json = {}
        for _ in range(ERASE_ROUNDS):
            await self._clear_outside_tables(who)
            # StillApplying if a change of theirs is being written where a turn may run (`at_work`).
            erased = await self.data.erase(who, self.engine.at_work)
            # The cards that named them are stored without their name, and drawn again.
            changes = self.engine.changes
            for id in erased.decided:
                with suppress(NotFound):
                    change = await changes.ledger.get(id)
                    with use_locale(change.proposal.locale):
                        card = await changes.views.card(change)
                    journal = self.engine.conversations.journal
                    await journal.replace_cards(change.proposal.seq, [card])
            changes.lifecycle.on_change()
            if not (remaining_rows := await self.data.count_rows(who)):
                break

        # Platforms remember people in memory: here, or in the processes that serve the platform,
        # which read the rows again, now without the person.
        for chat in self.chats:
            if chat.name == platform:
                await chat.forget(who.ids)
        if platform not in {chat.name for chat in self.chats}:
            for name in await self.data.read_remembered():
                await self.engine.stores.peers.notify("remembered", name)
        # Another process may have the duty to erase the objects on the model's server. This one
        # tries now, too, so that the counts below have only what the server did not erase.
        await self.engine.upkeep.announce_forgotten()
        await self._try_now(self.engine.upkeep.erase)
        # Databases keep the bytes of deleted rows in their files until they are overwritten.
        await self.engine.stores.scrub(whole=True)
        if not remaining_rows:
            await self.engine.people.audit.forget(who.key)
            await self.engine.stores.scrub()
        # `remains_notice` tells where deleted data may still exist, such as in backups.
        journal, remains = self.engine.conversations.journal, self.engine.upkeep.remains_notice
        waiting = [*await journal.list_remotes_to_erase(), *await journal.list_unerasable_remotes()]
        remains = say(remains) if remains else ""
        return ForgottenPerson(who.key, counts, shared, remaining_rows, len(waiting), remains)

    async def _clear_outside_tables(self, who: KnownPerson) -> None:
        """Stop the person's turns, and delete what their rows lead to, while the rows exist:
        conversations in which nobody else took part, bytes of files, sandbox states, thread
        records. Wait a short time for running turns, which could write more; the caller's next
        round erases that."""
        engine = self.engine
        for seq in await self.data.list_unfinished_turns(who):
            await engine.conversations.inbox.cancel(seq)
        places = await self.data.find_conversations(who)
        for conversation in places.alone:
            await engine.upkeep.forget(conversation)
        with suppress(TimeoutError):
            running_turn = engine.conversations.inbox.running_turn
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                for conversation in (*places.alone, *places.shared):
                    while await running_turn(conversation) is not None:  # noqa: ASYNC110
                        await asyncio.sleep(TURN_POLL_SECONDS)
        for file in await self.data.list_files(who):
            await engine.conversations.files.discard(file)
        for thread in places.threads:
            await engine.assistant.forget(thread)

    async def _try_now(self, work: Callable[[], Awaitable[object]]) -> None:
        """A failure, also after STEP_TIMEOUT_SECONDS, is only logged: other parts of Ponte do the
        same work later, and the erasure goes on."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                await work()
        except (TimeoutError, PonteError) as error:
            log.info("could not erase a person; retrying", error=repr(error))
