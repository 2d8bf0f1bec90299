"""Runs code against the pipe that its results go over, through the kernel that Ponte runs.

Started like `driver.py`, and like it attacks nothing before the harmless probe has held.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from core.tools.code import session as sessions
from core.tools.code.port import RunResult
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import MiB, RuntimeFolder
from core.tools.code.session import KernelSession
from tests.real.sandbox.attacks import talk
from tests.real.sandbox.driver import OUTSIDE, attacks, find_leftovers, main
from tests.real.sandbox.scenery import Scenery, scenery
from tests.real.sandbox.session import HANG_SECONDS, LIMITS

WALL, GRACE = 1.5, 0.5
FOLLOWING_RUNS = 40
"""Runs that a busy machine may need until one of them ends within `WALL`."""
PARALLEL_TALKS = 4
FILES, BYTES = 20, 32 * MiB


async def one(sandbox: Sandbox, python: Path, name: str, ctx: Scenery) -> str:
    """Return what of it did not hold, or ""."""
    session = await KernelSession.start(sandbox, python, LIMITS)
    try:
        fixtures = {**ctx.what, "secret": ""}
        async with asyncio.timeout(HANG_SECONDS):
            attack = f"EXPRESSIONS[{name!r}]" if name in talk.EXPRESSIONS else name
            runs = [await session.run(f"{inspect.getsource(talk)}\n{attack}({fixtures!r})", ())]
            if not runs[-1].is_state_lost:
                runs += await _run_until_it_ends(session, "1 + 1")
        return _wrong(runs, ctx, session.alive)
    except TimeoutError:
        return "a run did not end"
    finally:
        await session.kill()


async def _run_until_it_ends(session: KernelSession, code: str) -> list[RunResult]:
    """Run short code again where the machine was too busy to end it within `WALL`."""
    runs = list[RunResult]()
    while len(runs) < FOLLOWING_RUNS:
        runs.append(await session.run(code, ()))
        if runs[-1].fault != "timeout" or runs[-1].is_state_lost:
            break
    return runs


def _wrong(runs: Sequence[RunResult], ctx: Scenery, alive: bool) -> str:
    ran, last = runs[0], runs[-1]
    if any(ctx.what["secret"] in repr(each) for each in runs):
        return "it showed the secret"
    if len(ran.output_files) > FILES or sum(len(file.data) for file in ran.output_files) > BYTES:
        return f"it made {len(ran.output_files)} files"
    if not last.is_state_lost and (last.value, last.error) != ("2", ""):
        return f"the next run came to {last!r}"[:300]
    return "" if alive is not last.is_state_lost else f"alive: {alive}, lost: {last.is_state_lost}"


async def every(sandbox: Sandbox, python: Path, runtime: RuntimeFolder) -> dict[str, str]:
    results: dict[str, str] = {}
    turns = asyncio.Semaphore(PARALLEL_TALKS)

    async def ran(name: str, ctx: Scenery) -> None:
        async with turns:
            results[name] = await one(sandbox, python, name, ctx)

    async with scenery(python, LIMITS) as ctx:
        other = await KernelSession.start(sandbox, python, LIMITS)
        secret = ctx.what["secret"]
        await other.run(f"secret = 'MARK{secret}'\nopen('secret.txt', 'w').write(secret)", ())
        with patch.multiple(sessions, RUN_SECONDS=WALL, INTERRUPT_GRACE_SECONDS=GRACE):
            async with asyncio.TaskGroup() as group:
                for name in attacks(talk):
                    group.create_task(ran(name, ctx))
        still = await other.run("open('secret.txt').read() == secret", ())
        await other.kill()
        results["the other conversation"] = "" if still.value == "True" else repr(still)
        results[OUTSIDE] = ctx.harm() or find_leftovers(runtime)
    return results


if __name__ == "__main__":
    asyncio.run(main(every))
