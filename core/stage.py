"""All that one turn plays on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from core.change_ports import Proposals
from core.links import Trust
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
    trust: Trust = field(default_factory=Trust)
    """Where links may lead once something from outside is in the thread; `outside`: it is."""
    outside: bool = False
    limits: CallLimits = field(default_factory=CallLimits)
