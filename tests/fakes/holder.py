"""A process that holds a home, as commands see it: HTTP on a Unix socket with fixed answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from bot.app import start
from bot.home import Start
from bot.operation_service import describe_result
from bot.operation_texts import View, find_text
from bot.operations import OPERATIONS


@dataclass
class FakeHolder:
    """`answers` by "METHOD path": (status, JSON). `results` are those of operations by name, and
    `names` the people in them. `asked` lists the requests, with their bodies as text."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    typed: list[bool] = field(default_factory=list)
    """Whether each request says that a person typed its text."""
    silent: bool = False
    dies: bool = False
    """Whether the process ends after it received a request, before it answers."""

    def as_app(self) -> ModuleType:
        """Return a module that replaces `bot.app`."""
        module = ModuleType("bot.app")
        vars(module).update(local=self.local, serve=self.serve)
        return module

    def serve(self, **_: bool) -> int:
        starts = start()
        with starts.home.take():
            self.asked.append(("run", starts.settings.ponte_model))
        return 0

    @asynccontextmanager
    async def local(self, begun: Start, *, prepares: bool = False) -> AsyncIterator[str]:
        home = begun.home
        with home.take(), home.address() as address:
            if self.silent:
                yield address
                return
            server = await asyncio.start_unix_server(self._serve, sock=home.listen())
            async with server:
                yield address

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:  # it only found out that this socket is served
            writer.close()
            return
        route = head.split(" HTTP/")[0]
        length = 0
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                length = int(line.split(":")[1])
        body = (await reader.readexactly(length)).decode()
        self.asked.append((route, body))
        self.typed.append("x-ponte-typed: true" in head.lower())
        if self.dies:
            writer.close()
            return
        status, answer = self.answers.get(route, (404, {}))
        if (name := route.removeprefix("POST /operator/").replace("/", " ")) in self.results:
            status, answer = 200, self._run_operation(name, json.loads(body))
        data, kind = json.dumps(answer).encode(), "application/json"
        if status == 200 and "accept: text/event-stream" in head.lower():
            data, kind = b"event: done\ndata: %b\n\n" % data, "text/event-stream"
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n"
            f"content-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def _run_operation(self, name: str, sent: Any) -> Any:
        result = self.results[name]
        if not sent.get("output"):
            return result
        view = View(
            ZoneInfo(os.environ.get("PONTE_TIMEZONE", "UTC")), self.names, sent["arguments"]
        )
        text = find_text(OPERATIONS[name])
        return describe_result(text, result, view, as_json=sent["output"] == "json")


def chat_answer(text: str, status: str = "done") -> tuple[int, Any]:
    answer = {"response": text, "status": status, "conversation": "c", "turn": "t"}
    return 200, {**answer, "cards": [], "files": []}
