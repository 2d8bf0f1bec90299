"""Runs every attack on one sandbox and prints, as JSON, what each could do.

It is started by `runs.py` as process of a PID namespace of its own, as root or as somebody else,
and attacks nothing before the harmless probe has shown that the sandbox holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType

from core.tools.code.sandbox.barriers import Bubblewrap, Landlock, prove_sandbox
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import RuntimeFolder
from tests.real.sandbox.attacks import endings, files, memory, network, processes, secrets, system
from tests.real.sandbox.ends import end
from tests.real.sandbox.scenery import Scenery, scenery
from tests.real.sandbox.session import LIMITS, Stub

BATCHES = (secrets, files, processes, network, memory, system)
PARALLEL_ATTACKS = 3
MUTE = "the kernel did not answer"
OUTSIDE = "the outside afterwards"
LEFT = "processes and folders left"


def attacks(module: ModuleType) -> list[str]:
    """Return the names of its attacks: its functions, and the entries of its two tables."""
    functions = [
        name
        for name, each in vars(module).items()
        if isinstance(each, FunctionType) and each.__module__ == module.__name__ and name[0] != "_"
    ]
    return [*functions, *getattr(module, "EXPRESSIONS", ()), *getattr(module, "CALLS", ())]


def title(module: ModuleType, name: str) -> str:
    return f"{module.__name__.rpartition('.')[2]}: {name}"


async def batch(
    sandbox: Sandbox, python: Path, module: ModuleType, names: Sequence[str], ctx: Scenery
) -> dict[str, str]:
    """Some of a module in one kernel; a new one where an attack ended it."""
    results: dict[str, str] = {}
    stub = await Stub.start(sandbox, python, module)
    for name in names:
        try:
            results[title(module, name)] = await stub.attack(name, ctx.what)
        except (EOFError, TimeoutError, ValueError) as error:
            overran = stub.process.overran
            results[title(module, name)] = "" if overran else f"{MUTE}: {error!r}"
            await stub.process.kill()
            stub = await Stub.start(sandbox, python, module)
    await stub.process.kill()
    return results


async def every(sandbox: Sandbox, python: Path, runtime: RuntimeFolder) -> dict[str, str]:
    results: dict[str, str] = {}
    turns = asyncio.Semaphore(PARALLEL_ATTACKS)

    async def end_session(name: str, ctx: Scenery) -> None:
        async with turns:
            results[title(endings, name)] = await end(sandbox, python, name, ctx)

    async with scenery(python, LIMITS) as ctx:
        for module in BATCHES:
            results |= await batch(sandbox, python, module, attacks(module), ctx)
        async with asyncio.TaskGroup() as group:
            for name in endings.ENDS:
                group.create_task(end_session(name, ctx))
        results[OUTSIDE] = ctx.harm()
    results[LEFT] = find_leftovers(runtime)
    return results


def find_leftovers(runtime: RuntimeFolder) -> str:
    """Whoever is still in this PID namespace and is neither this process nor its parents."""
    spared = {1, os.getpid(), os.getppid()}
    matches = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in spared]
    folders = runtime.sessions()
    return f"{matches} {folders}" if matches or folders else ""


async def prove(backend: str, python: Path, runtime: RuntimeFolder) -> tuple[Sandbox, str]:
    """Return the sandbox, and why it does not hold here, or ""."""
    sandbox: Sandbox = (Bubblewrap if backend == "bubblewrap" else Landlock)(runtime)
    return sandbox, await prove_sandbox(sandbox, python)


async def main(
    attack_all: Callable[[Sandbox, Path, RuntimeFolder], Awaitable[dict[str, str]]],
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=("bubblewrap", "landlock"))
    parser.add_argument("python", type=Path)
    arguments = parser.parse_args()
    runtime = RuntimeFolder()
    try:
        sandbox, failure = await prove(arguments.backend, arguments.python, runtime)
        outcome = {} if failure else await attack_all(sandbox, arguments.python, runtime)
        print(json.dumps(outcome or {"blocked": failure}))
    finally:
        runtime.close()


if __name__ == "__main__":
    asyncio.run(main(every))
