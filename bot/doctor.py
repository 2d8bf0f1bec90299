"""`ponte doctor`: each part of the settings, tried against the live service; and its safety."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

from bot.app import Start, dependencies, model_client
from bot.safety import findings
from bot.telemetry import Redaction
from core.errors import PonteError
from core.http import HttpClient, HttpError
from core.records import Health

_MARKS = {"on": "ok", "off": "off", "failing": "FAIL"}
_LEVELS = {"ok": "ok", "note": "note", "unsafe": "FAIL"}


async def examine(start: Start, write: Callable[[str], None]) -> int:
    """Write one line a part; returns 1 when one fails or is unsafe, else 0."""
    settings, failing = start.settings, False
    redaction = Redaction(settings.secrets)

    async def tell(name: str, check: Awaitable[Sequence[Health]]) -> None:
        nonlocal failing
        try:
            told = await check
        except PonteError as error:
            told = [Health(name, "failing", str(error))]
        except HttpError as error:
            told = [Health(name, "failing", f"the server does not answer ({error.reason})")]
        except OSError as error:
            told = [Health(name, "failing", error.strerror or type(error).__name__)]
        for health in told:
            failing = failing or health.state == "failing"
            write(redaction.of(f"{_MARKS[health.state]:<4}  {health.name}: {health.words}"))

    await tell("home", _home(start))
    async with HttpClient(proxies=settings.proxies) as http:
        parts = dependencies(settings, start.config, start.home, http, model_client(settings))
        for face in settings.faces:
            part = face.summary(settings, settings)
            if part is not None:
                await tell(part.name, face.check(parts) if part.state == "on" else _as_is(part))
    for found in findings(settings, start.config, start.home):
        failing = failing or found.level == "unsafe"
        write(redaction.of(f"{_LEVELS[found.level]:<4}  safety {found.topic}: {found.words}"))
    return int(failing)


async def _as_is(part: Health) -> Sequence[Health]:
    return [part]


async def _home(start: Start) -> Sequence[Health]:
    path = start.home.path
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise PonteError("{path} cannot be written; set PONTE_HOME to another folder", path=path)
    return [Health("home", "on", f"{path}" if nearest == path else f"{path} (will be made)")]
