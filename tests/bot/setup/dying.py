"""`ponte` whose process is killed at one step of a new start: `python -m tests.bot.setup.dying`.

`DIE_AT` names the step. Its model answers nothing, so that all turns are under way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import bot.engine
import bot.ponte
import bot.setup.restart
from adapters.web import LISTENER_VARIABLE, server
from bot.cli.main import main
from bot.home import Home
from bot.setup.stored import StoredSettings
from core.models.demo_model import DemoModel

STEPS: dict[str, tuple[Any, str]] = {
    "probe": (bot.setup.restart.Restart, "probe"),
    "hand-over": (server.HttpServer, "hand_over"),
    "intake": (bot.ponte.Surfaces, "stop_intake"),
    "drain": (bot.engine.Engine, "drain"),
    "execute": (bot.setup.restart.Restart, "execute"),
    "bind": (server, "bind_socket"),
    "confirm": (StoredSettings, "confirm"),
}
"""The function of each step besides the files."""
FILES = {
    "last": "settings.env.last",
    "saved": "settings.env.trial",
    "stored": "settings.env",
    "starting": "settings.env.trial",
}
"""The files that are written in this order: three by a save, the last by the new start."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_around(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    """Return the function with a death before or after it."""
    if when == "before":
        return lambda *_, **__: die()

    def call(*words: Any, **more: Any) -> Any:
        result = function(*words, **more)
        if asyncio.iscoroutine(result):
            return _await_and_die(result)
        return die()

    return call


async def _await_and_die(result: Any) -> None:
    await result
    die()


async def hang(*_: object) -> AsyncIterator[None]:
    """The model that answers nothing."""
    await asyncio.Event().wait()
    yield


def prepare(step: str) -> None:
    """Let this process die at the step."""
    when, _, name = step.partition(" ")
    if name in FILES:
        write = Home.write_secret

        def write_and_die(self: Home, file: str, secret: bytes) -> None:
            is_step = file == FILES[name] and (file[-5:] != "trial" or name.encode() in secret)
            (die_around(write, when) if is_step else write)(self, file, secret)

        setattr(Home, "write_secret", write_and_die)  # noqa: B010 - mypy knows no patches
    elif name not in ("bind", "confirm") or LISTENER_VARIABLE in os.environ:
        owner, attribute = STEPS[name]
        setattr(owner, attribute, die_around(getattr(owner, attribute), when))


if __name__ == "__main__":
    DemoModel.ask = hang  # type: ignore[assignment, method-assign]
    prepare(os.environ["DIE_AT"])
    sys.exit(main())
