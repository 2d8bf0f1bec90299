"""What the program inside is told of its fence, and how it is started."""

from __future__ import annotations

import json
import os
from pathlib import Path

from core.tools.code.local.sandbox.ground import KERNEL
from core.tools.code.local.sandbox.inside import START
from core.tools.code.local.sandbox.inside.enter import Configuration, Landlocked
from core.tools.code.local.sandbox.inside.limits import Amounts
from core.tools.code.local.sandbox.pipes import Ends
from core.tools.code.local.sandbox.sandbox import Limits


def amounts(limits: Limits, beside: int = 0) -> Amounts:
    """`beside`: the threads that its user runs elsewhere, as the kernel counts them together."""
    return {
        "memory": limits.memory,
        "cpu": limits.cpu,
        "file": limits.file,
        "descriptors": limits.descriptors,
        "threads": limits.threads + beside,
    }


def command(
    python: Path, program: Path, ends: Ends, imposed: Amounts, landlock: Landlocked | None = None
) -> list[str]:
    """Run `program / KERNEL`; `-I` keeps the environment and the folder out of its modules.

    Under Landlock the program watches over its parent, the bot; elsewhere bubblewrap does.
    """
    configuration: Configuration = {
        "kernel": str(program / KERNEL),
        "frames": ends.frames,
        "life": ends.life,
        "parent": os.getpid() if landlock else 0,
        "limits": imposed,
        "landlock": landlock,
    }
    return [str(python), "-I", "-B", "-u", "-c", START, str(program), json.dumps(configuration)]
