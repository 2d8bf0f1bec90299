"""The hosted backend on the fake OpenAI, with a clock of its own and journals in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.records import Remote, ToolContext
from core.tools.code.hosted import HostedBackend, HostedOptions
from core.tools.code.port import InputFile, RunResult
from tests.core.tools.scene import ctx, with_controls
from tests.fakes.openai import FakeOpenAI
from tests.fakes.openai.types import check, fits

PNG = b"\x89PNG\r\n\x1a\n a picture"


class Official(ModelEndpoint):
    """A place that passes for OpenAI's own, so that all of its fields are sent."""

    is_official = True


class Bench:
    """One process: `kept` and `handles` are what it journalled, `stopped` what a person said."""

    def __init__(self, fake: FakeOpenAI, *, official: bool = False, **choice: object) -> None:
        self.fake = fake
        self.waits: list[float] = []
        self.kept: list[Remote] = []
        self.handles: list[str] = []
        self._handle_event = asyncio.Event()
        self.stopped = True
        self.read: list[str] = []
        kind = Official if official else ModelEndpoint
        self.client = ModelServerClient(kind("sk-test", fake.base_url), sleep=self._wait)
        self.backend = HostedBackend(
            self.client,
            replace(HostedOptions(), **choice),  # type: ignore[arg-type]  # test's own keywords
            pseudonym=lambda name: f"pseudonym of {len(name)}",
            clock=fake.now,
        )
        self._numbers = itertools.count(1)

    def ctx(self, thread: str = "t1", *, container: str = "", handle: str = "") -> ToolContext:
        bare = with_controls(
            ctx(),
            record_object_to_erase=self._keep,
            record_handle=self._known_as,
            is_stopped=lambda: self.stopped,
        )
        return replace(
            bare,
            thread=replace(bare.thread, id=thread, container=container),
            call=replace(bare.call, handle=handle),
        )

    async def run(
        self, code: str, given: Sequence[InputFile] = (), thread: str = "t1"
    ) -> RunResult:
        return await self.backend.run(self.ctx(thread), code, given)

    def file(self, name: str, data: bytes, type: str = "") -> InputFile:
        async def read() -> bytes:
            self.read.append(name)
            return data

        return InputFile(f"file{next(self._numbers)}", name, type, len(data), read)

    @property
    def containers(self) -> list[str]:
        return [remote.id for remote in self.kept if remote.kind == "container"]

    @property
    def uploads(self) -> list[str]:
        return [
            str(request.body["file"])
            for request in self.fake.requests
            if request.method == "POST" and request.path.endswith("/files")
        ]

    async def close(self) -> None:
        await self.backend.close()
        await self.client.close()

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def _keep(self, remote: Remote) -> None:
        self.kept.append(remote)

    async def wait_for_handles(self, count: int) -> None:
        """The server answers before this process has read it."""
        while len(self.handles) < count:
            self._handle_event.clear()
            await self._handle_event.wait()

    async def _known_as(self, handle: str) -> None:
        self.handles.append(handle)
        self._handle_event.set()


@asynccontextmanager
async def benches(fake: FakeOpenAI) -> AsyncIterator[list[Bench]]:
    """Benches to be closed at the end; all that was sent and said fits the openai package."""
    results: list[Bench] = []
    try:
        yield results
    finally:
        for bench in results:
            await bench.close()
    for request in fake.requests:
        fits(request.path, request.body)
    for kind, value in fake.emitted:
        check(kind, value)
