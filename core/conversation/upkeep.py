"""What must be done now and then: forgetting idle threads, sweeping files, erasing on servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from core.changes.model import UNDO_LIFETIME
from core.changes.ports import Ledger
from core.errors import PonteError
from core.ports import Files, Inbox, Journal, Model

log = structlog.get_logger("upkeep")
EVERY = 3600.0
"""Seconds between two rounds."""
ORPHAN_AGE = 3600.0
"""Seconds after which a file whose event was never accepted is removed."""
DAY = 86_400.0


class Upkeep:
    """`forget` erases one conversation; `retention_days` of 0 keeps all."""

    def __init__(
        self,
        inbox: Inbox,
        journal: Journal,
        files: Files,
        model: Model,
        forget: Callable[[str], Awaitable[int]],
        retention_days: int,
        ledger: Ledger | None = None,
    ) -> None:
        self._inbox = inbox
        self._journal = journal
        self._files = files
        self._model = model
        self._forget = forget
        self._retention = retention_days * DAY
        self._ledger = ledger
        self._due = asyncio.Event()

    def soon(self) -> None:
        """Ask for a round now: something was forgotten."""
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._due.clear()
            await self.once()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._due.wait()

    async def once(self) -> None:
        """Each duty, whatever becomes of the others; what fails is tried again next time."""
        for duty in (self._forget_idle, self._lapse, self._sweep, self._erase):
            try:
                await duty()
            except PonteError as error:
                log.warning("upkeep put off", why=str(error))
            except Exception:
                log.exception("upkeep broke")

    async def _forget_idle(self) -> None:
        if not self._retention:
            return
        since = time.time() - self._retention
        for conversation in await self._journal.forgettable(since):
            log.info("forgotten, idle for long", messages=await self._forget(conversation))
        await self._inbox.purge(since)
        if self._ledger:
            await self._ledger.purge(since)

    async def _lapse(self) -> None:
        """What can no longer be undone needs no images of rows."""
        if self._ledger:
            await self._ledger.lapse(time.time() - UNDO_LIFETIME)

    async def _sweep(self) -> None:
        await self._files.sweep(time.time() - ORPHAN_AGE)

    async def _erase(self) -> None:
        for remote in await self._journal.to_erase():
            try:
                done = await self._model.erase(remote)
            except Exception as error:
                log.info("not erased yet", kind=remote.kind, why=repr(error))
                done = False
            await self._journal.erased(remote, done)
        for remote in await self._journal.unerasable():
            log.warning("the server still holds it", kind=remote.kind, id=remote.id)
