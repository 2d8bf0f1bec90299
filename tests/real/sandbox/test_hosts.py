"""Which sandbox a machine gets, and what its operator reads where it gets another or none."""

from __future__ import annotations

import pytest

from core.tools.code.sandbox.inside import ruleset
from tests.code.sandboxed import BUBBLEWRAP, require, skip_blocked
from tests.real.sandbox.pythons import sandbox_python
from tests.real.sandbox.runs import drive

pytestmark = pytest.mark.slow

HOSTS = "tests.real.sandbox.hosts"


def choose_on(kind: str, who: str, under: tuple[str, ...] = ()) -> dict[str, str]:
    return drive(HOSTS, who, str(sandbox_python()), kind, under=under)


@pytest.mark.parametrize("who", ["root", "somebody"])
def test_bubblewrap_where_it_holds(who: str) -> None:
    require("bubblewrap")
    choice = choose_on("as-it-is", who)
    if choice["bubblewrap"]:
        skip_blocked(choice["bubblewrap"])
    assert (choice["name"], choice["words"]) == ("bubblewrap", "bubblewrap: all checks passed")


@pytest.mark.parametrize("who", ["root", "somebody"])
def test_landlock_where_nobody_may_make_namespaces(who: str) -> None:
    """Also where bubblewrap is not installed at all."""
    choice = choose_on("like-docker", who)
    if choice["landlock"]:
        skip_blocked(choice["landlock"])
    reason = choice["bubblewrap"]
    words = f"Landlock {ruleset.version()}: all checks passed. bubblewrap isn't used: {reason}"
    assert (choice["name"], choice["words"]) == ("landlock", words)
    if BUBBLEWRAP:
        assert "users can't create namespaces on this machine" in reason


def test_nothing_for_a_root_that_cannot_become_somebody_else() -> None:
    without = ("setpriv", "--bounding-set", "-setuid,-setgid", "--inh-caps", "-setuid,-setgid")
    choice = choose_on("as-it-is", "root", without)
    assert choice["name"] == ""
    both = (choice["bubblewrap"], choice["landlock"]) if BUBBLEWRAP else (choice["landlock"],)
    why = "Ponte runs as root and isn't allowed to switch to another user:"
    assert [reason for reason in both if why not in reason] == []
    assert choice["words"].count(why) >= len(both)
