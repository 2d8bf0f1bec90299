"""A bot that is killed leaves nothing behind that runs, and the next one cleans up."""

from __future__ import annotations

import pytest

from tests.code.sandboxed import require
from tests.real.sandbox.pythons import sandbox_python
from tests.real.sandbox.runs import drive

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("who", ["root", "somebody"])
@pytest.mark.parametrize("backend", ["bubblewrap", "landlock"])
def test_a_killed_bot_takes_its_kernels_along(backend: str, who: str) -> None:
    require(backend)
    result = drive("tests.real.sandbox.orphans", who, backend, str(sandbox_python()))
    assert int(result["ran"]) >= 2
    assert result["processes"] == ""
    assert result["swept"] != ""
    assert result["folders"] == ""
