"""Periodic duties: forget idle conversations, remove files and old data, erase objects on
servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from core.base.errors import PonteError
from core.changes.service import ChangeService
from core.chat.people import Conversations, People
from core.domain.changes import UNDO_LIFETIME_SECONDS
from core.domain.messages import Address, Person
from core.domain.ports import NO_STEP
from core.domain.records import ForgetResult
from core.journal.jobs import Peers
from core.journal.threads import erase_readings
from core.people.audit import audit_step
from core.store.database import Database
from core.turn.preparation import Assistant
from core.turn.run import TurnConfigs

log = structlog.get_logger("upkeep")
ROUND_INTERVAL_SECONDS = 3600.0
ORPHAN_AGE_SECONDS = 3600.0
"""Seconds after which a file is removed if its event was never accepted."""
DAY_SECONDS = 86_400.0
DIRECTORY_DAYS = 30
"""Days after which the row of a person is deleted if their platform has not confirmed it since."""


@dataclass
class Upkeep:
    """Forgets conversations, and does what an installation needs every hour, such as deleting old
    data."""

    conversations: Conversations
    people: People
    changes: ChangeService
    assistant: Assistant
    database: Database
    peers: Peers
    config: TurnConfigs
    _due: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def remains_notice(self) -> str:
        return self.database.remains_notice

    async def forget(
        self, conversation: str, by: Person | None = None, at: Address | None = None
    ) -> int:
        """Return how many messages it had. Without `by`, the audit log gets no line. `forgot` is
        what else must go: running turns, files and threads."""
        line = audit_step("conversation-forgotten", by, at) if by else NO_STEP
        forgot = await self.conversations.journal.forget(conversation, line)
        return await self._clean_up(conversation, forgot)

    async def _clean_up(self, conversation: str, forgot: ForgetResult) -> int:
        """Delete what is left of a conversation that the journal has forgotten: its running turns,
        files, sandbox states and threads, and then (`erase`) its objects on the model's server.
        Return its number of messages."""
        stores = self.conversations
        for seq in forgot.running:
            await stores.inbox.cancel(seq)
        for file in forgot.files:
            await stores.files.discard(file)
        for thread in forgot.threads:
            await self.assistant.forget(thread)  # the state and the files of its sandbox
        await stores.threads.delete(conversation)
        await self.announce_forgotten()  # has its objects on the models' servers erased
        return forgot.messages

    async def announce_forgotten(self) -> None:
        """Have the objects on servers of forgotten conversations erased now, in the process that
        does the periodic duties, which may be another one."""
        await self.request_round()
        await self.peers.notify("forgotten", "")

    async def request_round(self, _: str = "") -> None:
        self._due.set()

    async def run(self) -> None:
        """Do all duties every hour, or once something was forgotten (`_due`). `Peers.lead` runs
        this in one process at a time. After something was forgotten, deleted data is also removed
        from the database's files."""
        while True:
            forgotten = self._due.is_set()
            self._due.clear()
            await self.once()
            if forgotten:
                await self._run_duty(self.database.scrub)
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_INTERVAL_SECONDS):
                    await self._due.wait()

    async def once(self) -> None:
        """A duty that fails does not stop the others; the next round repeats it."""
        for duty in (
            self._settle_reservations,
            self._forget_all_idle,
            self._erase_old_texts,
            self._sweep_files,
            self._purge_logs_and_people,
            self.erase,
        ):
            await self._run_duty(duty)

    async def _run_duty(self, duty: Callable[[], Awaitable[None]]) -> None:
        try:
            await duty()
        # The other duties run all the same.
        except PonteError as error:
            log.warning("maintenance postponed", error=str(error))
        except Exception:
            log.exception("maintenance failed unexpectedly")

    async def _forget_all_idle(self) -> None:
        """Forget the conversations that nobody has used for the days that apply to their place.
        Then delete finished messages and changes of these places that are as old."""
        stores = self.conversations
        # An area is a place without the places in it that have their own number of days. The
        # first area has the conversations of single requests to the API (`is_one_request`).
        for area, days in self.config.retention.areas():
            since = time.time() - days * DAY_SECONDS
            for conversation in await stores.journal.list_idle_conversations(since, area):
                # None: it was used meanwhile.
                if forgot := await stores.journal.forget_idle(conversation, since):
                    messages = await self._clean_up(conversation, forgot)
                    log.info("deleted idle conversations", messages=messages)
            await stores.inbox.purge(since, area)
            await self.changes.ledger.purge(since, area)

    async def _settle_reservations(self) -> None:
        if settled := await self.people.budget.settle_ended_turns():
            log.info("settled open reservations at their maximum", count=settled)

    async def _erase_old_texts(self) -> None:
        before = time.time() - DAY_SECONDS + ROUND_INTERVAL_SECONDS
        while await self.database.write(lambda c: erase_readings(c, before)):
            pass
        await self.changes.ledger.erase_old_rows(time.time() - UNDO_LIFETIME_SECONDS)

    async def _sweep_files(self) -> None:
        await self.conversations.files.sweep(time.time() - ORPHAN_AGE_SECONDS)
        await self.database.remove_old_copies()

    async def _purge_logs_and_people(self) -> None:
        await self.people.directory.purge(time.time() - DIRECTORY_DAYS * DAY_SECONDS)
        days = self.config.retention.audit
        before = (datetime.now(UTC) - timedelta(days=days)).isoformat() if days else ""
        if line_count := await self.people.audit.purge(before):
            log.info("deleted old audit lines", count=line_count)

    async def erase(self) -> None:
        """An object that cannot be erased now is tried again in later rounds. After many failures
        it is given up, and each round logs that."""
        for remote in await self.conversations.journal.list_remotes_to_erase():
            try:
                is_erased = await self.assistant.model.erase(remote)
            except Exception as error:
                log.info(
                    "could not delete data on the model server; retrying",
                    kind=remote.kind,
                    error=repr(error),
                )
                is_erased = False
            await self.conversations.journal.record_erasure(remote, is_erased)
        for remote in await self.conversations.journal.list_unerasable_remotes():
            log.warning(
                "gave up deleting data on the model server", kind=remote.kind, remote_id=remote.id
            )
