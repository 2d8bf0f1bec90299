"""The state of the fake: tokens, executions, conversations, received requests, and faults."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.fakes.stackspot.script import Json, Look, Run

Kind = Literal["token", "create", "status", "agent"]
How = Literal["status", "reset", "hang", "truncated", "html", "malformed"]

CLIENT, SECRET = "client-of-the-tests", "s3cret-of-the-tests"
REALM = "acme"
DAILY = {
    "type": "TooManyRequests",
    "code": "CODEBUDDY_1044_QUICK_COMMAND_RATE_LIMIT_EXCEEDED",
    "details": "Maximum number of requests reached. "
    "Your limit is 100 requests in the last 1440 minutes",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Goes wrong once, with the next request of its kind.

    `status`: an answer with it. `reset` breaks the connection, `hang` waits for the release, and
    with 200 `truncated` sends half of the answer, `html` a page, `malformed` half a JSON text.
    `after`: the request has had its effect by then.
    """

    how: How
    status: int = 200
    body: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False


@dataclass(slots=True)
class Execution:
    id: str
    slug: str
    input: str | Json
    conversation: str
    run: Run
    looks: int = 0
    cached: Json | None = None

    def look(self, held: bool) -> Look:
        """The next look; while it is held it does not come to its end."""
        look = self.run.looks[min(self.looks, len(self.run.looks) - 1)]
        ends = look.status in ("COMPLETED", "FAILURE", "FAILED")
        if ends and held:
            return Look("RUNNING", 0.9, "Waits")
        self.looks += 1
        return look


@dataclass(frozen=True, slots=True)
class Request:
    kind: Kind
    path: str
    body: Json
    query: dict[str, str]


@dataclass
class State:
    """`commands` None: it knows every slug. `held`: runs do not end. `bare`: ids come as bare
    strings, else in an object. `follows`: agents go on with the conversation that they are given.
    """

    clock: Callable[[], float] = time.monotonic
    realms: set[str] = field(default_factory=lambda: {REALM})
    lifetime: int | None = 1199
    commands: set[str] | None = None
    agents: set[str] = field(default_factory=lambda: {"01AGENT"})
    held: bool = False
    bare: bool = True
    follows: bool = True
    runs: deque[Run] = field(default_factory=deque)
    troubles: dict[Kind, deque[Trouble]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    conversations: dict[str, list[str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def go(self, *runs: Run) -> None:
        """Scripts of the next executions; after them each goes its usual way."""
        self.runs.extend(runs)

    def fail(self, kind: Kind, *troubles: Trouble) -> None:
        self.troubles.setdefault(kind, deque()).extend(troubles)

    def answer(self, kind: Kind, *statuses: int, body: Json | None = None, **headers: str) -> None:
        """Answer the next requests of that kind with these statuses."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.fail(kind, *(Trouble("status", status, body, names) for status in statuses))

    def trouble(self, kind: Kind) -> Trouble | None:
        waiting = self.troubles.get(kind)
        return waiting.popleft() if waiting else None

    def new_token(self) -> str:
        token = f"eyJ.{secrets.token_hex(24)}.tests"
        self.tokens[token] = self.clock() + (self.lifetime or 1199)
        return token

    def revoke(self) -> None:
        """Every token that was given is refused from now on."""
        self.tokens.clear()

    def count(self, kind: str) -> int:
        return sum(request.kind == kind for request in self.requests)

    def count_executions(self, input: str | Json) -> int:
        """Return how many executions had that input."""
        return sum(value.input == input for value in self.executions.values())

    async def wait_for_requests(self, kind: str, times: int = 1) -> None:
        """Wait until that many requests of that kind have arrived."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.count(kind) >= times)

    async def change(self) -> None:
        async with self.changed:
            self.changed.notify_all()


def callback_body(execution: Execution, look: Look) -> Json:
    """Return the callback's body in the form that public clients expect."""
    run, is_ended = execution.run, look.status == "COMPLETED"
    progress: Json = {"status": look.status}
    if look.status != "CREATED":
        progress |= {"start": "2026-11-20T10:00:00Z", "end": None, "duration": None}
    if look.share is not None:
        progress["execution_percentage"] = look.share
    steps = [{"step_name": look.step, "execution_order": 1, "type": "LLM"}] if look.step else []
    usual = f"{execution.slug}: {_text(execution.input)}"
    return {
        "execution_id": execution.id,
        "quick_command_slug": execution.slug,
        "conversation_id": execution.conversation,
        "progress": progress,
        "steps": list(run.steps) if run.steps is not None and is_ended else steps,
        "result": (usual if run.result is None else run.result) if is_ended else None,
    }


def _text(input: str | Json) -> str:
    return input if isinstance(input, str) else json.dumps(input, ensure_ascii=False)
