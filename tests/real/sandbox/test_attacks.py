"""Every attack, on both sandboxes, by a bot that is root and by one that is somebody else."""

from __future__ import annotations

import pytest

from tests.real.sandbox.attacks import endings
from tests.real.sandbox.driver import BATCHES, LEFT, MUTE, OUTSIDE, attacks, title
from tests.real.sandbox.runs import results, run_without_sandbox
from tests.real.sandbox.unfenced import HARMLESS

TITLES = {
    *(title(module, name) for module in BATCHES for name in attacks(module)),
    *(title(endings, name) for name in endings.ENDS),
    OUTSIDE,
    LEFT,
}
BITING = {title(module, name) for module, names in HARMLESS.items() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "somebody"])
@pytest.mark.parametrize("backend", ["bubblewrap", "landlock"])
def test_every_attack_is_held(backend: str, who: str) -> None:
    match = results(backend, who)
    assert {attack: harm for attack, harm in match.items() if harm} == {}
    assert match.keys() == TITLES


def test_there_are_enough_attacks() -> None:
    assert len(TITLES) >= 200


@pytest.mark.slow
def test_attacks_do_harm_where_nothing_holds_them() -> None:
    match = run_without_sandbox()
    assert {attack: harm for attack, harm in match.items() if not harm or MUTE in harm} == {}
    assert match.keys() == BITING
