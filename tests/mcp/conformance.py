"""The conformance suite of the Model Context Protocol (npm `@modelcontextprotocol/conformance`), as
a process of its own. It needs Node.js 22, which comes with it from npm."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci/conformance"
MODULES = CACHE / "node_modules"
NODE = MODULES / ".bin" / "node"
PROGRAM = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSTALL = f"cp -r .ci/conformance/. {CACHE} && npm ci --ignore-scripts --prefix {CACHE}"


def missing() -> str:
    """Why it cannot run here, or ""."""
    return (
        "" if PROGRAM.exists() and NODE.exists() else f"needs the MCP conformance suite ({INSTALL})"
    )


async def check_server(url: str, version: str, folder: Path) -> dict[str, set[str]]:
    """Return the names of the suite's checks of a server, by their result, such as "SUCCESS" and
    "FAILURE"."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(PROGRAM), "server", "--url", url),
        *("--suite", "all", "--spec-version", version, "--output-dir", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.wait()
    return await asyncio.to_thread(_read_results, folder)


def _read_results(folder: Path) -> dict[str, set[str]]:
    results = dict[str, set[str]]()
    for file in folder.glob("*/checks.json"):
        for check in json.loads(file.read_text()):
            results.setdefault(check["status"], set()).add(check["id"])
    return results
