"""Every attack, on both sandboxes, by a bot that is root and by one that is somebody else."""

from __future__ import annotations

import pytest

from tests.real.sandbox.attacks import endings
from tests.real.sandbox.driver import BATCHES, LEFT, MUTE, OUTSIDE, attacks, title
from tests.real.sandbox.runs import results, unfenced
from tests.real.sandbox.unfenced import HARMLESS

TITLES = [
    *(title(module, name) for module in BATCHES for name in attacks(module)),
    *(title(endings, name) for name in endings.ENDS),
    OUTSIDE,
    LEFT,
]
BITING = [title(module, name) for module, names in HARMLESS.items() for name in names]


@pytest.mark.parametrize("attack", TITLES)
@pytest.mark.parametrize("who", ["root", "somebody"])
@pytest.mark.parametrize("backend", ["bubblewrap", "landlock"])
def test_it_is_held(backend: str, who: str, attack: str) -> None:
    assert results(backend, who)[attack] == ""


def test_there_are_enough_of_them() -> None:
    assert len(TITLES) >= 200


@pytest.mark.parametrize("attack", BITING)
def test_the_attack_bites_where_nothing_holds_it(attack: str) -> None:
    assert unfenced()[attack] != ""
    assert MUTE not in unfenced()[attack]
