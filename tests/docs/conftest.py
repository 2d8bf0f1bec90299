"""A running Ponte with nothing set, for what the documents show."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
_PONTE = """\
#!/bin/sh
exec {python} -c 'import sys; sys.path.insert(0, "{root}"); from bot.cli import main; sys.exit(main())' "$@"
"""  # noqa: E501
_CURL = '#!/bin/sh\nexec /usr/bin/curl --silent --show-error --fail-with-body "$@"\n'


@dataclass(frozen=True, slots=True)
class Machine:
    """A user's home folder with a Ponte that runs; `port` is the page's."""

    folder: Path
    port: int
    environment: Mapping[str, str]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """As from a shell of that user, where any command that fails ends it."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("8080", str(self.port))],
            cwd=self.folder, env=dict(self.environment), capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("ponte", _PONTE.format(python=sys.executable, root=ROOT)), ("curl", _CURL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    environment = {
        "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}", "LANG": "C.UTF-8",
        "PONTE_WEB_PORT": str(port), "PONTE_CODE": "off",
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [programs / "ponte", "run"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        asyncio.run(_ready(folder / ".local/share/ponte/ponte.sock", process))
        yield Machine(folder, port, environment)
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def _ready(path: Path, process: subprocess.Popen[bytes]) -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(transport=transport) as client:
        while process.poll() is None:
            try:
                if (await client.get("http://ponte/readyz")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)  # another process: nothing here can be awaited
    raise RuntimeError(f"ponte run ended: {(path.parents[3] / 'log').read_text()[-2000:]}")
