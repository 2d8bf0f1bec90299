"""The state of the fake: conversations, responses, received requests, and its switches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.fakes.openai.call_ids import CallIds, write_markup
from tests.fakes.openai.context import EXCEEDED, LOST, Refused, count_tokens
from tests.fakes.openai.errors import (
    GatewayError,
    OpenAIErrorResponse,
    too_long,
    unknown_conversation,
)
from tests.fakes.openai.hostile import Hostile
from tests.fakes.openai.items import has_lone_surrogate, new_id, tokens
from tests.fakes.openai.script import Script, Scripts

if TYPE_CHECKING:
    from tests.fakes.openai.containers import Containers

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: Json


@dataclass(slots=True)
class Conversation:
    id: str
    metadata: dict[str, str]
    items: list[Json] = field(default_factory=list)
    created_at: int = field(default_factory=lambda: int(time.time()))

    def to_json(self) -> Json:
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }


@dataclass
class State:
    """`without` names what this server lacks: conversations, responses, models.

    `forgets`: takes `conversation` and ignores it, as llama.cpp does. `no_retention`: creates
    conversations, and refuses requests that use one. `rejects`: top-level
    fields that it does not know. `odd`: kinds of `tests.fakes.openai.odd`, or "all".
    `call_ids`: gives the ids of calls, and refuses others.
    `blind`: refuses images. `taboo`: words that are against its
    policies, wherever they stand. `context`: the tokens of a request, with its instructions and
    tools, of `characters` each; `kind`: whose server tells and exceeds it
    (`tests.fakes.openai.context`); `loads`: the model is in memory.
    `gone`: the HTTP status for an unknown conversation. `ill`: answers everything with that
    status. `hostile`: how it answers at the paths `hostile_at`. `slow`: answers nothing until its
    release. `refuses`: returns an error for some bodies, at the paths `hostile_at` and where items
    are added. `code`: scripts of requests that offer the code interpreter. `later`: seconds by
    which its clock is ahead.
    """

    key: str = ""
    models: list[str] = field(default_factory=lambda: ["gpt-6-luna", "gpt-6-sol", "gpt-4.1-mini"])
    without: set[str] = field(default_factory=set)
    rejects: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    call_ids: CallIds | None = None
    forgets: bool = False
    no_retention: bool = False
    blind: bool = False
    taboo: str = ""
    ill: int = 0
    hostile: Hostile | None = None
    hostile_at: set[str] = field(default_factory=lambda: {"/responses", "/chat/completions"})
    refuses: Callable[[Json], GatewayError | None] | None = None
    slow: bool = False
    context: int = 900_000
    characters: float = 4
    kind: str = ""
    loads: bool = True
    dropped: list[int] = field(default_factory=list)
    """Tokens that were dropped silently, of each request that did not fit."""
    gone: int = 404
    locked: dict[str, int] = field(default_factory=dict)
    scripts: Scripts = field(default_factory=Scripts)
    conversations: dict[str, Conversation] = field(default_factory=dict)
    responses: dict[str, Json] = field(default_factory=dict)
    orphans: list[Json] = field(default_factory=list)
    code: Scripts = field(default_factory=Scripts)
    containers: Containers = field(init=False)
    speech: str = ""
    """How it answers a recording (`tests.fakes.openai.audio`)."""
    speech_models: set[str] = field(default_factory=lambda: {"gpt-transcribe", "whisper-1"})
    speech_seconds: float = 0.0
    """The seconds of a recording that it reports; 0 for none."""
    upload_limit: int = 512 * 2**20
    later: float = 0.0
    requests: list[Request] = field(default_factory=list)
    emitted: list[tuple[str, Json]] = field(default_factory=list)
    used: list[tuple[int, int]] = field(default_factory=list)
    """Tokens in and out of each answer that was begun, whoever came to hear it."""
    keep: bool = True
    busy: set[str] = field(default_factory=set)
    running: int = 0
    most: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    failures: int = 0

    def __post_init__(self) -> None:
        from tests.fakes.openai.containers import Containers

        self.containers = Containers(self)

    def now(self) -> float:
        return time.time() + self.later

    def conversation(self, id: str) -> Conversation:
        if id not in self.conversations:
            raise unknown_conversation(id, self.gone)
        return self.conversations[id]

    def new_conversation(self, metadata: dict[str, str]) -> Conversation:
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            raise OpenAIErrorResponse(400, "Invalid 'metadata'.", param="metadata")
        conversation = Conversation(new_id("conv"), metadata)
        self.conversations[conversation.id] = conversation
        return conversation

    def check_words(self, items: object) -> None:
        if self.taboo and self.taboo in json.dumps(items):
            raise OpenAIErrorResponse(
                400, "Your prompt was flagged.", code="invalid_prompt", param="input"
            )

    def check_call_ids(self, body: Json) -> None:
        if self.call_ids and (refusal := self.call_ids.check(body)):
            raise OpenAIErrorResponse(400, refusal)

    def check_size(self, *parts: object, most: object = None) -> int:
        """Return how many tokens an answer can have. Raise if the request does not fit."""
        count = count_tokens(list(parts), self.characters)
        over = count + (most if isinstance(most, int) and self.kind else 0) - self.context
        if over > 0 and self.kind.startswith("Ollama"):
            self.dropped.append(over)
        elif over > 0:
            raise Refused(EXCEEDED[self.kind](count, self.context)) if self.kind else too_long()
        return self.context - count

    def script_within(self, script: Script, most: object, room: int, body: Json) -> Script:
        """Return what of a script is said, where `room` tokens are left for the answer. A model
        whose tools were dropped or are not there calls none."""
        script = script.within(most)
        if self.call_ids and script.calls and self.call_ids.loses_way(body):
            script = replace(script, text=write_markup(script.calls), calls=())
        if not self.kind:
            return script
        count = self.context - room
        names = {(tool.get("function") or tool)["name"] for tool in body.get("tools") or ()}
        if room < 0 or any(name not in names for name, _ in script.calls):
            limit = self.context // 2 if room < 0 else count
            return replace(script, text=LOST, calls=(), usage={"input": limit})
        message = tokens([script.text, script.calls])
        if message > room and self.kind.startswith("Ollama"):
            self.dropped.append(message - room)
        return replace(script.within(max(room, 16)), usage={"input": count, **script.usage})

    def emit(self, kind: str, value: Json) -> Json:
        if self.keep and not has_lone_surrogate(value):
            self.emitted.append((kind, value))
        return value

    async def change(self) -> None:
        """Tests wait for what happens, not for a time."""
        async with self.changed:
            self.changed.notify_all()

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(reached)

    async def count_failure(self) -> None:
        """Count a script that reached its failure."""
        self.failures += 1
        await self.change()

    async def wait_for_failures(self, times: int = 1) -> None:
        await self.wait_until(lambda: self.failures >= times)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """An answer is under way."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.change()
        try:
            yield
        finally:
            self.running -= 1
            await self.change()

    def say(self, *scripts: Script | str) -> None:
        self.scripts.add(*(Script(text=s) if isinstance(s, str) else s for s in scripts))

    def runs(self, *scripts: Script) -> None:
        """What comes of code, request by request; without one the fake's Python runs it."""
        self.code.add(*scripts)

    def request_bodies(self, path: str, method: str = "POST") -> list[Json]:
        """Return the bodies of the requests to that path, in order."""
        return [r.body for r in self.requests if r.path == path and r.method == method]
