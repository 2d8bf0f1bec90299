"""Which sandbox this machine gets: bubblewrap, else Landlock, else none; never a weaker one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from core.tools.code.local.sandbox.bwrap import Bubblewrap
from core.tools.code.local.sandbox.ground import Ground
from core.tools.code.local.sandbox.inside import ruleset
from core.tools.code.local.sandbox.inside.syscalls import ARCHITECTURES
from core.tools.code.local.sandbox.landlock import Landlock
from core.tools.code.local.sandbox.probe import prove
from core.tools.code.local.sandbox.reasons import NO_LANDLOCK, NO_TABLE, NOT_LINUX
from core.tools.code.local.sandbox.sandbox import Limits, Sandbox
from core.words import say

BUBBLEWRAP = "bubblewrap: every check held"
LANDLOCK = "Landlock {version}: every check held (no bubblewrap: {reason})"
NEITHER = "no safe place to run code in. bubblewrap: {bubblewrap}. Landlock: {landlock}"


@dataclass(frozen=True, slots=True)
class Choice:
    """`sandbox` is None where none holds; `words` say which and why, for `status` and doctor."""

    sandbox: Sandbox | None
    words: str


async def choose(python: Path, ground: Ground, limits: Limits | None = None) -> Choice:
    """Prove them in turn, each by starting it. Tens of milliseconds; not remembered."""
    if reason := _unfit():
        return Choice(None, reason)
    bubblewrap = Bubblewrap(ground)
    proof = await prove(bubblewrap, python, limits)
    if proof.holds:
        return Choice(bubblewrap, say(BUBBLEWRAP))
    version = ruleset.version()
    landlock = Landlock(ground)
    reason = (await prove(landlock, python, limits)).reason if version else say(NO_LANDLOCK)
    if not reason:
        return Choice(landlock, say(LANDLOCK, "en", version=version, reason=proof.reason))
    return Choice(None, say(NEITHER, "en", bubblewrap=proof.reason, landlock=reason))


def _unfit() -> str:
    """Why this machine cannot have one at all, or ""."""
    if sys.platform != "linux":
        return say(NOT_LINUX, "en", system=sys.platform)
    machine = os.uname().machine
    return "" if machine in ARCHITECTURES else say(NO_TABLE, "en", machine=machine)
