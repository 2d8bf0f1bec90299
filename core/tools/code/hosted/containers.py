"""Containers at OpenAI: made, found again, deleted, and the files that go in and come out."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from core import metrics
from core.errors import NotFound
from core.openai import Client, Fault, Json
from core.prices import CONTAINER, CONTAINER_SESSION
from core.text import file_name
from core.tools.code.hosted.execution import Execution
from core.tools.code.hosted.taken import Taken
from core.tools.code.port import MADE_BYTES, Given

log = structlog.get_logger("code")
PATH = "/containers"
IDLE_MINUTES = 20
"""After so long without use OpenAI ends one (its guide to the code interpreter)."""
PAGE = 100
_CODE = "assistant"
"""The `source` of a file that code made."""


@dataclass(slots=True)
class Container:
    """One that is there. `used`, and until when it is `paid`, are seconds of our own clock.

    `put` holds ids and names of files that we put there, `made` names and digests of those that
    came from there, `seen` the server's ids of all that are known. `ran`: something lives in it.
    """

    id: str
    used: float
    paid: float = 0.0
    ran: bool = False
    put: set[tuple[str, str]] = field(default_factory=set)
    made: set[tuple[str, bytes]] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def charged(self, now: float) -> float:
        """US dollars that using it now adds: a session, when the last one is over."""
        if now < self.paid:
            return 0.0
        self.paid = now + CONTAINER_SESSION
        return CONTAINER


class Containers:
    """The client belongs to whoever gave it. `clock` counts seconds."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._leaving: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        return self._clock()

    async def make(self) -> Container:
        """A new one, empty; its code reaches no network. Raises Fault."""
        body: Json = {
            "name": "ponte",
            "expires_after": {"anchor": "last_active_at", "minutes": IDLE_MINUTES},
            "memory_limit": "1g",
            "network_policy": {"type": "disabled"},
        }
        made = await self._client.patiently(lambda: self._client.post(PATH, body))
        metrics.code_containers.inc()
        log.info("container made", container=str(made.get("id")))
        return Container(str(made["id"]), self.now(), paid=self.now())

    def known(self, id: str) -> Container:
        """One that an earlier process used; it may have expired since."""
        return Container(id, self.now(), self.now() + CONTAINER_SESSION, ran=True)

    async def found(self, id: str) -> Container | None:
        """The one that an earlier process made; None where it is gone. Raises Fault."""
        container = self.known(id)
        try:
            told = await self._client.get(f"{PATH}/{id}")
            if told.get("status") in ("expired", "deleted"):
                return None
            await self._files(container)
        except Fault as fault:
            if not fault.container_gone:
                raise
            return None
        return container

    async def put(self, container: Container, given: Sequence[Given]) -> Sequence[str]:
        """Upload what is not there yet, once for a container; words for what is gone.

        Raises Fault.
        """
        left_out = []
        for file in given:
            if (file.id, file.name) in container.put:
                continue
            try:
                data = await file.read()
            except NotFound:
                left_out.append(f"{file.name!r} is gone and was not put into the work folder")
                continue
            if (file.name, await _digest(data)) not in container.made:
                kind = file.type or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                await self._client.upload(container.id, file.name, kind, data)
            container.put.add((file.id, file.name))
        return left_out

    async def taken(self, container: Container, execution: Execution, *, since: int = 0) -> Taken:
        """Every file and picture that the run left.

        `since`, in the server's seconds: only files made then or later are this run's.
        """
        taken = Taken()
        new = {each.file: each.name for each in execution.cited if each.file}
        try:
            before = set(container.seen)
            for file in await self._files(container):
                fresh = str(file["id"]) not in before and int(file.get("created_at") or 0) >= since
                if fresh and file.get("source") == _CODE:
                    new.setdefault(str(file["id"]), _name(file))
        except Fault as fault:
            log.warning("files not listed", fault=str(fault), container=container.id)
        for id, name in new.items():
            if taken.room(name):
                await self._fetch(container, id, name, taken)
        for made in taken.made:
            container.made.add((file_name(made.name), await _digest(made.data)))
        for number, url in enumerate(execution.pictures, 1):
            taken.picture(number, url)
        return taken

    async def delete(self, id: str) -> None:
        """What cannot be deleted now expires by itself, and is erased with its thread."""
        try:
            await self._client.delete(f"{PATH}/{id}")
        except Fault as fault:
            if not fault.container_gone:
                log.warning("container not deleted", fault=str(fault), container=id)

    def discard(self, id: str) -> asyncio.Task[None]:
        """Delete it in the background: nothing in it goes on."""
        task = asyncio.create_task(self.delete(id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def close(self) -> None:
        """Wait for what is being deleted; the others stay for the next process."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _fetch(self, container: Container, id: str, name: str, taken: Taken) -> None:
        """openai-python issue 2466: a file may be listed and yet not be had."""
        try:
            taken.take(name, await self._client.download(container.id, id, MADE_BYTES))
        except Fault as fault:
            log.warning("file not fetched", fault=str(fault), container=container.id)
            taken.lost(name)

    async def _files(self, container: Container) -> Sequence[Json]:
        """All that lie in it; from then on they are known. Raises Fault."""
        files: list[Json] = []
        query: dict[str, object] = {"limit": PAGE, "order": "asc"}
        while True:
            page = await self._client.get(f"{PATH}/{container.id}/files", query)
            files += (file for file in page.get("data") or () if file.get("id"))
            if not page.get("has_more") or not files:
                break
            query["after"] = files[-1]["id"]
        container.seen.update(str(file["id"]) for file in files)
        return files


async def _digest(data: bytes) -> bytes:
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()


def _name(file: Json) -> str:
    return posixpath.basename(str(file.get("path") or "").rstrip("/")) or "file"
