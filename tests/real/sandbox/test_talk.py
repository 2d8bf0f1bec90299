"""What code writes over the pipe of its results, believed by nobody, on both sandboxes."""

from __future__ import annotations

import os

import pytest

from tests.real.sandbox.attacks import talk
from tests.real.sandbox.driver import OUTSIDE, attacks
from tests.real.sandbox.pythons import sandbox_python
from tests.real.sandbox.runs import drive

pytestmark = pytest.mark.slow

TITLES = {*attacks(talk), "the other conversation", OUTSIDE}


# Each is held by what reads the pipe, whoever the bot is: both kinds of bot, one for each sandbox.
ROOT = "root" if os.geteuid() == 0 else "somebody"


@pytest.mark.parametrize(("backend", "who"), [("bubblewrap", ROOT), ("landlock", "somebody")])
def test_every_attack_is_held(backend: str, who: str) -> None:
    result = drive("tests.real.sandbox.talks", who, backend, str(sandbox_python()))
    assert {attack: harm for attack, harm in result.items() if harm} == {}
    assert result.keys() == TITLES
