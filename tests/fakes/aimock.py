"""aimock (npm `@copilotkit/aimock`): a server that is not ours, as a process of its own.

It serves `/v1/responses` and `/v1/chat/completions`, has no conversations, and on
`/v1/responses` takes `conversation` and forgets it, as some real servers do.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci" / "aimock"
PROGRAM = CACHE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
INSTALL = f"cp -r .ci/aimock/. {CACHE} && npm ci --ignore-scripts --prefix {CACHE}"


def missing() -> str:
    """Why it cannot run here, or ""."""
    if shutil.which("node") is None:
        return "needs Node.js (apt install nodejs)"
    return "" if PROGRAM.exists() else f"needs aimock ({INSTALL})"


@asynccontextmanager
async def aimock(
    fixtures: Sequence[Mapping[str, Any]], folder: Path, *options: str
) -> AsyncIterator[str]:
    """Serves the fixtures; yields its base URL."""
    text = folder / "fixtures.json"
    text.write_text(json.dumps({"fixtures": list(fixtures)}))
    process = await asyncio.create_subprocess_exec(
        *("node", str(PROGRAM), "-p", "0", "-c", "8", "-f", str(text), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield f"{await _address(process.stdout)}/v1"
    finally:
        process.kill()
        await process.communicate()


async def _address(output: asyncio.StreamReader) -> str:
    lines = []
    async for line in output:
        lines.append(line.decode())
        if match := re.search(r"listening on (http://\S+)", lines[-1]):
            return match[1]
    raise AssertionError("".join(lines))
