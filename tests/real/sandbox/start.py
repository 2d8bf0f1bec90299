"""Runs a module of this folder without what `core.tools.code` itself imports: it starts sooner.

start.py MODULE ARGUMENTS
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[3] / "core" / "tools" / "code"

if __name__ == "__main__":
    package = ModuleType("core.tools.code")
    package.__path__ = [str(FOLDER)]
    sys.modules[package.__name__] = package
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
