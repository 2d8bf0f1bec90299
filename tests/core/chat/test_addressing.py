"""Whether a message is for Ponte: one rule for all platforms, over plain facts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from core.chat.incoming import Addressing, is_for_ponte


@dataclass(frozen=True)
class PlaceSettings:
    strict_mention: bool | None = None
    answer_everything: bool | None = None
    threads: bool | None = None


DEFAULT, STRICT, ALL = (
    PlaceSettings(),
    PlaceSettings(strict_mention=True),
    PlaceSettings(answer_everything=True),
)
OURS = {"is_our_thread": True}


@pytest.mark.parametrize(
    ("facts", "by_default", "strict", "everything"),
    [
        ({}, False, False, True),
        ({"is_direct": True}, True, True, True),
        ({"is_direct": True, "is_late_edit": True}, True, True, True),
        ({"mentions_us": True}, True, True, True),
        ({"mentions_us": True, "names_others": True}, True, True, True),
        ({"mentions_us": True, "is_late_edit": True}, False, False, False),
        ({"mentions_us": True, "is_thread_of_others": True}, True, True, True),
        ({"names_others": True}, False, False, False),
        ({"is_thread_of_others": True}, False, False, False),
        ({"answers_us": True}, True, False, True),
        ({"answers_us": True, "names_others": True}, True, False, False),
        (OURS, True, False, True),
        ({**OURS, "names_others": True}, True, False, False),
        ({**OURS, "has_several_people": True}, False, False, True),
        ({**OURS, "has_several_people": True, "mentions_us": True}, True, True, True),
    ],
)
def test_a_message_is_for_ponte(
    facts: dict[str, bool], by_default: bool, strict: bool, everything: bool
) -> None:
    verdicts = [is_for_ponte(Addressing(**facts), each) for each in (DEFAULT, STRICT, ALL)]
    assert verdicts == [by_default, strict, everything]
