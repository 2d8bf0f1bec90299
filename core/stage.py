"""All that one turn plays on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from core.change_ports import Proposals
from core.ports import Reply, Tool
from core.records import Effect, Thread, Turn, Verdict
from core.scenes import Scenes


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Tool calls of one turn: those that cost (quick commands, agents, code), and all of them."""

    costly: int = 20
    total: int = 60


@dataclass(frozen=True, slots=True)
class Stage:
    """What the turn may use was decided before."""

    turn: Turn
    thread: Thread
    reply: Reply
    locale: str
    instructions: str
    preface: str
    scenes: Scenes
    tools: Mapping[str, Tool] = field(default_factory=dict)
    may: Callable[[Effect], Awaitable[Verdict]] | None = None
    proposals: Proposals | None = None
    keep: Callable[[Thread], Awaitable[None]] | None = None
    since: int = 0
    """See `Ask.since`."""
    hosts: Collection[str] = ()
    """Where links may lead in text that comes after a tool's outcome."""
    limits: CallLimits = field(default_factory=CallLimits)
