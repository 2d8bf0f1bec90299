"""Which sandbox a machine gets, and what its operator reads where it gets another or none."""

from __future__ import annotations

import pytest

from core.tools.code.sandbox.inside import ruleset
from tests.real.sandbox.pythons import sandbox_python
from tests.real.sandbox.runs import drive, results

HOSTS = "tests.real.sandbox.hosts"


@pytest.mark.parametrize("who", ["root", "somebody"])
def test_bubblewrap_where_it_holds(who: str) -> None:
    results("bubblewrap", who)
    found = drive(HOSTS, who, str(sandbox_python()), "as-it-is")
    assert found == {"name": "bubblewrap", "words": "bubblewrap: every check held"}


@pytest.mark.parametrize("who", ["root", "somebody"])
def test_landlock_where_nobody_may_make_namespaces(who: str) -> None:
    results("landlock", who)
    found = drive(HOSTS, who, str(sandbox_python()), "like-docker")
    assert found["name"] == "landlock"
    assert found["words"].startswith(
        f"Landlock {ruleset.version()}: every check held (no bubblewrap"
    )
    assert "this machine lets no ordinary user make namespaces: `sysctl" in found["words"]


def test_nothing_for_a_root_that_cannot_become_somebody_else() -> None:
    results("landlock", "root")
    without = ("setpriv", "--bounding-set", "-setuid,-setgid", "--inh-caps", "-setuid,-setgid")
    found = drive(HOSTS, "root", str(sandbox_python()), "as-it-is", under=without)
    assert found["name"] == ""
    assert found["words"].count("this bot is root and may not become another user") == 2
