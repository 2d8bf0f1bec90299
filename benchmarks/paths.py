"""How many functions of Ponte run for a message, once everything is warm.

`python -m benchmarks.paths [--list]`

Each function counts once. Lambdas, comprehensions and generators are counted in the source of the
functions that run: from Python 3.12 on, a comprehension is no call.

The speed of the machine changes nothing: timers of the loop take longer, periodic duties are
cancelled, and the other limits in seconds are a day.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import logging
import os
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import structlog

from adapters.slack.surface import SlackSurface
from core.chat import reply
from core.commands.grammar import _parse
from core.tools.nocodb import schema
from tests.dialogues import office
from tests.dialogues.test_nocodb_slack import Channel, channel
from tests.fakes.slack import Post
from tests.sources import PRODUCT, ROOT, parse, walk_nodes

WARM_UPS = 2
SLOWNESS = 20
DAY_SECONDS = 24 * 3600.0
FOLDERS = tuple(f"{ROOT / name}{os.sep}" for name in PRODUCT)
PERIODIC_DUTIES = ("Alone.lead", "Scheduling.run")
"""Upkeep, redraws and schedules. A redraw is a step of the conversation instead."""
INLINE = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Step = Callable[[Channel, Post | None], Awaitable[Post | None]]


async def ask(here: Channel, _: Post | None) -> Post:
    return await here.asks(office.LEADS)


async def propose(here: Channel, _: Post | None) -> Post:
    return await here.asks(office.PAID)


async def approve(here: Channel, card: Post | None) -> Post | None:
    assert card
    await here.decides(here.alice, card, "Approve", "✓ done")
    return card


async def undo(here: Channel, card: Post | None) -> Post | None:
    assert card
    await here.decides(here.alice, card, "Undo", "Undone by Alice.")
    return card


async def redraw(here: Channel, card: Post | None) -> Post | None:
    await here.ponte.engine.redraw.once()
    return card


def lengthen_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer takes so long that it grows, and no description of a table becomes old."""
    monkeypatch.setattr(SlackSurface, "interval", DAY_SECONDS)
    monkeypatch.setattr(reply, "WHOLE_ANSWER_SECONDS", DAY_SECONDS)
    monkeypatch.setattr(schema, "RECENT_DESCRIPTION_SECONDS", DAY_SECONDS)


async def record_codes(home: Path, *steps: Step) -> set[CodeType]:
    """Return the code that runs for the steps of a conversation, each with the tasks that Ponte
    begins for it."""
    codes: set[CodeType] = set()
    with watch_calls(codes):
        async with channel(home) as here:
            for task, name in list_tasks().items():
                if name in PERIODIC_DUTIES:
                    task.cancel()
            await asyncio.sleep(0)
            with slow_clock():
                lasting_tasks = list_tasks().keys()
                for _ in range(WARM_UPS + 1):
                    codes.clear()
                    _parse.cache_clear()  # else the text of the warm-up is known
                    card: Post | None = None
                    for step in steps:
                        card = await step(here, card)
                        while tasks := list_tasks().keys() - lasting_tasks:
                            await asyncio.wait(tasks)
                return codes.copy()


@contextmanager
def watch_calls(codes: set[CodeType]) -> Iterator[None]:
    """Add the code that runs in this thread, and in all that begin from now on."""

    def on_event(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    threading.setprofile(on_event)
    sys.setprofile(on_event)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def slow_clock() -> Iterator[None]:
    """Let the loop's timers and timeouts take `SLOWNESS` times as long."""
    loop = asyncio.get_running_loop()
    now, real = loop.time(), loop.time
    loop.time = lambda: now + (real() - now) / SLOWNESS  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.time = real  # type: ignore[method-assign]


def list_tasks() -> Mapping[asyncio.Task[Any], str]:
    """Return the tasks that run a coroutine of Ponte, with its name."""
    coroutines: dict[asyncio.Task[Any], Any] = {t: t.get_coro() for t in asyncio.all_tasks()}
    return {
        task: coroutine.__qualname__
        for task, coroutine in coroutines.items()
        if coroutine.cr_code.co_filename.startswith(FOLDERS)
    }


def group_by_folder(codes: set[CodeType]) -> tuple[Mapping[str, list[str]], str]:
    """Return the functions of Ponte by their folder, and their number in words."""
    folders: dict[str, list[str]] = defaultdict(list)
    short = 0
    inline: set[ast.AST] = set()
    for code in codes:
        if (node := find_function(code)) is None:
            continue
        path = Path(code.co_filename).relative_to(ROOT)
        folders["/".join(path.parts[:2])].append(f"{path}:{code.co_qualname}")
        short += is_short(node)
        inline.update(child for child in walk_nodes(node) if isinstance(child, INLINE))
    total = sum(map(len, folders.values()))
    return folders, f"{total} ({short} of one line; {len(inline)} inline)"


def find_function(code: CodeType) -> FunctionNode | None:
    """Return the function of Ponte with this code; None for others, lambdas and comprehensions."""
    if not code.co_filename.startswith(FOLDERS):
        return None
    for node in walk_nodes(parse(Path(code.co_filename))):
        if isinstance(node, FunctionNode):
            first_line = min(part.lineno for part in (node, *node.decorator_list))
            if (node.name, first_line) == (code.co_name, code.co_firstlineno):
                return node
    return None


def is_short(node: FunctionNode) -> bool:
    """Tell whether the body is one line, beside a docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return len(body) == 1 and body[0].lineno == body[0].end_lineno


DIALOGUES: Mapping[str, tuple[Step, ...]] = {
    "a question about a table": (ask,),
    "a change up to its undo": (propose, redraw, approve, redraw, undo, redraw),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="print the functions, too")
    is_listed = parser.parse_args().list
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    for name, steps in DIALOGUES.items():
        with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as monkeypatch:
            lengthen_limits(monkeypatch)
            folders, total = group_by_folder(asyncio.run(record_codes(Path(home), *steps)))
        print(f"functions that run for {name}: {total}")
        for folder, functions in sorted(folders.items()) if is_listed else ():
            print(f"  {folder}: {len(functions)}", *sorted(functions), sep="\n    ")


if __name__ == "__main__":
    main()
