"""Periodic duties: forget idle conversations, remove files and old data, erase objects on
servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from core.conversation.run import TurnServices
from core.domain.changes import UNDO_LIFETIME_SECONDS
from core.domain.errors import PonteError
from core.domain.messages import ONE_REQUEST_PREFIX, Address
from core.domain.records import ConversationArea
from core.ports.rights import MemberStore
from core.rights.audit import Audit
from core.rights.rules import place_names

log = structlog.get_logger("upkeep")
ROUND_INTERVAL_SECONDS = 3600.0
"""Seconds between two rounds of all duties."""
ORPHAN_AGE_SECONDS = 3600.0
"""Seconds after which a file is removed if its event was never accepted."""
DAY_SECONDS = 86_400.0
DIRECTORY_DAYS = 30
"""Days after which the row of a person is deleted if their platform has not confirmed it since."""
ONCE_DAYS = 1
"""Days after its last use until the conversation of a single request is forgotten."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Days after which unused conversations are forgotten; 0 for never.

    `places` returns the places with a value of their own, by `platform`, `platform:WORKSPACE` or
    `platform:WORKSPACE:CHANNEL`; the narrowest applies. It is called each time, because the
    configuration can be reloaded. `audit`: days after which lines of the audit log are removed.
    """

    everywhere: int = 0
    places: Callable[[], Mapping[str, int]] = dict
    audit: int = 0

    def of(self, address: Address) -> int:
        """Return the number of days for the conversations of this place."""
        if address.channel.startswith(ONE_REQUEST_PREFIX):
            return ONCE_DAYS
        own = self.places()
        return next((own[p] for p in reversed(place_names(address)) if p in own), self.everywhere)

    def areas(self) -> Iterator[tuple[ConversationArea, int]]:
        """Yield areas of conversations, each with the number of days after which it is
        forgotten."""
        yield ConversationArea(is_one_request=True), ONCE_DAYS
        own = self.places()
        for place, days in {"": self.everywhere, **own}.items():
            if days:
                wide = place and f"{place}:"
                inner = (each for each in own if each != place and f"{each}:".startswith(wide))
                yield ConversationArea(place, tuple(inner)), days


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Duties of the store. `scrub` removes deleted data from the store's files for good. `settle`
    ends the reservations of turns that are over, and returns their number. `tidy` removes old
    copies of the database."""

    scrub: Callable[[], Awaitable[None]]
    settle: Callable[[], Awaitable[int]]
    tidy: Callable[[], Awaitable[None]]


class Upkeep:
    """Runs the periodic duties of an installation.

    `forget_idle` erases a conversation unless it was used since a time (seconds since the epoch),
    and returns the number of its messages. With `audit` and `directory`, old audit lines and people
    that platforms no longer confirm are removed, too.
    """

    def __init__(
        self,
        services: TurnServices,
        forget_idle: Callable[[str, float], Awaitable[int]],
        retention: Retention,
        maintenance: Maintenance | None = None,
        audit: Audit | None = None,
        directory: MemberStore | None = None,
    ) -> None:
        self._services = services
        self._forget_idle = forget_idle
        self._retention = retention
        self._maintenance = maintenance
        self._audit = audit
        self._directory = directory
        self._due = asyncio.Event()

    async def request_round(self, _: str = "") -> None:
        """Start a round now, because something was forgotten."""
        self._due.set()

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            forgotten = self._due.is_set()
            self._due.clear()
            await self.once()
            if forgotten and self._maintenance:
                await self._run_duty(self._maintenance.scrub)
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_INTERVAL_SECONDS):
                    await self._due.wait()

    async def once(self) -> None:
        """Run each duty once. A duty that fails does not stop the others; the next round repeats
        it."""
        for duty in (
            self._settle_reservations, self._forget_all_idle, self._drop_undo_images,
            self._sweep_files, self._purge_logs_and_people, self.erase,
        ):  # fmt: skip
            await self._run_duty(duty)

    async def _run_duty(self, duty: Callable[[], Awaitable[None]]) -> None:
        """Run one duty and log its errors."""
        try:
            await duty()
        except PonteError as error:
            log.warning("maintenance postponed", error=str(error))
        except Exception:
            log.exception("maintenance failed unexpectedly")

    async def _forget_all_idle(self) -> None:
        """Forget the conversations that nobody has used for the days that apply to their place."""
        services = self._services
        for area, days in self._retention.areas():
            since = time.time() - days * DAY_SECONDS
            for conversation in await services.journal.list_idle_conversations(since, area):
                if messages := await self._forget_idle(conversation, since):
                    log.info("deleted idle conversations", messages=messages)
            await services.inbox.purge(since, area)
            await services.changes.ledger.purge(since, area)

    async def _settle_reservations(self) -> None:
        """Settle reservations of turns that are over; their upper bounds are charged."""
        if self._maintenance and (settled := await self._maintenance.settle()):
            log.info("settled open reservations at their maximum", count=settled)

    async def _drop_undo_images(self) -> None:
        """Erase the stored rows of changes that can no longer be undone."""
        await self._services.changes.ledger.erase_old_rows(time.time() - UNDO_LIFETIME_SECONDS)

    async def _sweep_files(self) -> None:
        """Remove files of messages that were never accepted, and old copies of the database."""
        await self._services.files.sweep(time.time() - ORPHAN_AGE_SECONDS)
        if self._maintenance:
            await self._maintenance.tidy()

    async def _purge_logs_and_people(self) -> None:
        """Remove old rows of people and old audit lines. Audit lines are removed by whole days
        (UTC), so that a file is rewritten at most once a day."""
        if self._directory:
            await self._directory.purge(time.time() - DIRECTORY_DAYS * DAY_SECONDS)
        if self._audit and self._retention.audit:
            today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            gone = await self._audit.purge(today - timedelta(days=self._retention.audit))
            if gone:
                log.info("deleted old audit lines", count=gone)

    async def erase(self) -> None:
        """Erase objects that servers still store for forgotten conversations. Log those that cannot
        be erased."""
        for remote in await self._services.journal.list_remotes_to_erase():
            try:
                done = await self._services.model.erase(remote)
            except Exception as error:
                log.info(
                    "could not delete data on the model server; retrying",
                    kind=remote.kind,
                    error=repr(error),
                )
                done = False
            await self._services.journal.record_erasure(remote, done)
        for remote in await self._services.journal.list_unerasable_remotes():
            log.warning(
                "gave up deleting data on the model server", kind=remote.kind, remote_id=remote.id
            )
