"""A test that needs a missing program says which, and how to install it, in one fixed form."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes import aimock
from tests.mcp import conformance
from tests.real import nginx, postgres
from tests.real.llama import server as llama
from tests.real.nocodb import server
from tests.watching import promtool

REASON = re.compile(r"needs (?P<program>[^()]+) \((?P<install>[^()]+)\)")
"""The summary of a test run counts the skipped tests by program, and prints the command."""


@pytest.mark.parametrize("module", [aimock, conformance, llama, nginx, postgres, promtool, server])
def test_the_reason_names_the_program_and_its_command(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(postgres, "programs", lambda: None)
    for name in {"CACHE", "PROGRAM"} & set(vars(module)):
        monkeypatch.setattr(module, name, tmp_path / "nothing")
    assert REASON.fullmatch(module.missing())
