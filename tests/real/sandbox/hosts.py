"""Which sandbox is chosen on a machine of a certain kind.

Prints {"name": …, "words": …}, and why each sandbox does not hold, by its name.

hosts.py PYTHON like-docker     where nobody may make namespaces, as Docker's filter has it
hosts.py PYTHON as-it-is
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
from pathlib import Path

from core.tools.code.sandbox.barriers import Bubblewrap, Landlock, choose_sandbox, prove_sandbox
from core.tools.code.sandbox.inside.seccomp import (
    ALLOW,
    AND,
    ARCHITECTURES,
    CHECKED_CALLS,
    ERRNO,
    JUMP_EQUAL,
    LOAD,
    NEW_NAMESPACES,
    NUMBER,
    REFUSED_CALLS,
    RETURN,
    FilterStep,
    load,
    parse_numbers,
)
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import RuntimeFolder

CLONE3 = 435


def forbid_namespaces() -> None:
    """For this process and all that it starts."""
    machine = os.uname().machine
    column, _ = ARCHITECTURES[machine]
    clone = parse_numbers(CHECKED_CALLS, column)["clone"]
    unshare = parse_numbers(REFUSED_CALLS, column)["unshare"]
    filter_step, unknown = (
        FilterStep(RETURN, 0, 0, ERRNO | errno.EPERM),
        FilterStep(RETURN, 0, 0, ERRNO | errno.ENOSYS),
    )
    load(
        machine,
        [
            FilterStep(LOAD, 0, 0, NUMBER),
            *(FilterStep(JUMP_EQUAL, 0, 1, CLONE3), unknown),
            *(FilterStep(JUMP_EQUAL, 0, 1, unshare), filter_step),
            *(
                FilterStep(JUMP_EQUAL, 0, 4, clone),
                FilterStep(LOAD, 0, 0, 16),
                FilterStep(AND, 0, 0, NEW_NAMESPACES),
            ),
            *(FilterStep(JUMP_EQUAL, 1, 0, 0), filter_step),
            FilterStep(RETURN, 0, 0, ALLOW),
        ],
    )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python", type=Path)
    parser.add_argument("kind", choices=("like-docker", "as-it-is"))
    arguments = parser.parse_args()
    if arguments.kind == "like-docker":
        forbid_namespaces()
    runtime = RuntimeFolder()
    try:
        choice = await choose_sandbox(arguments.python, runtime)
        both: tuple[Sandbox, ...] = (Bubblewrap(runtime), Landlock(runtime))
        reasons = {each.name: await prove_sandbox(each, arguments.python) for each in both}
    finally:
        runtime.close()
    name = choice.sandbox.name if choice.sandbox else ""
    print(json.dumps({"name": name, "words": str(choice.reason), **reasons}))


if __name__ == "__main__":
    asyncio.run(main())
