"""Faults on the wire: error responses, lost answers, rate limits, held answers."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from tests.fakes.discord.limits import REQUEST
from tests.fakes.gate import Gate

Kind = Literal["refuse", "lose", "break", "hold"]


@dataclass
class Fault:
    """`refuse` comes before the effect; `lose` (no answer) and `break` (502) after it."""

    kind: Kind
    method: str
    path: str
    times: int = 1
    status: int = 500
    code: int = 0
    gate: Gate = field(default_factory=Gate)

    def meets(self, request: web.Request) -> bool:
        path = request.path.removeprefix("/api/v10")
        return (
            self.times > 0
            and request.method == self.method
            and fnmatch.fnmatchcase(path, self.path)
        )


@dataclass
class Window:
    """One bucket: `limit` calls in `per` seconds."""

    limit: int
    per: float
    since: float = 0.0
    used: int = 0

    def take(self, now: float) -> float:
        """0 when the call may pass, else the seconds to wait."""
        if now - self.since >= self.per:
            self.since, self.used = now, 0
        if self.used >= self.limit:
            return self.per - (now - self.since)
        self.used += 1
        return 0.0

    def headers(self, now: float, name: str) -> dict[str, str]:
        remaining_seconds = max(0.0, self.per - (now - self.since))
        return {
            "X-RateLimit-Bucket": name,
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self.used),
            "X-RateLimit-Reset": f"{now + remaining_seconds:.3f}",
            "X-RateLimit-Reset-After": f"{remaining_seconds:.3f}",
        }


class Faults:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.rate: tuple[int, float] | None = None
        self.announced = True
        """Whether answers carry the limits' headers."""
        self.largest = REQUEST
        """Bytes of one file, where that is less than a place takes by its rules."""
        self.refused: list[tuple[str, str]] = []
        self._members: tuple[int, float] | None = None
        self._windows: dict[str, Window] = {}
        self._until_hold = 0
        self._call_gate = Gate()

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    @property
    def waiting(self) -> list[Fault]:
        """Faults that no call has met yet."""
        return [fault for fault in self._faults if fault.times > 0]

    def clear(self) -> None:
        self._faults.clear()

    def hold_call(self, number: int) -> Gate:
        """Hold the answer of the `number`th call from now on, whatever it is."""
        self._until_hold, self._call_gate = number, Gate()
        return self._call_gate

    async def passing(self) -> None:
        """Count a call that had its effect."""
        self._until_hold -= 1
        if self._until_hold == 0:
            await self._call_gate.wait()

    def take(self, request: web.Request, *kinds: Kind) -> Fault | None:
        for fault in self._faults:
            if fault.kind in kinds and fault.meets(request):
                fault.times -= 1
                return fault
        return None

    def limit_members(self, calls: int, seconds: float) -> None:
        """From now on a server tells of so many members in that time. Discord publishes no number
        for this route; its answers say it (topics/rate-limits.mdx)."""
        self._members = (calls, seconds)
        self._windows = {k: v for k, v in self._windows.items() if not k.startswith("members:")}

    def window(self, request: web.Request) -> tuple[str, Window] | None:
        """The bucket of a call that makes or changes a channel's messages, or that reads a member,
        where limits are on."""
        guild, user = request.match_info.get("guild"), request.match_info.get("user")
        if self._members and guild and user and request.method == "GET":
            return "members", self._windows.setdefault(f"members:{guild}", Window(*self._members))
        channel = request.match_info.get("channel")
        if self.rate is None or channel is None or request.method not in ("POST", "PATCH"):
            return None
        name = f"{request.method.lower()}messages"
        key = f"{name}:{channel}"
        return name, self._windows.setdefault(key, Window(*self.rate))
