"""Names of conversations: always the same for one thread, and real ULIDs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.tools.stackspot.api import ulid_of
from tests.fakes.stackspot.ids import is_ulid

KEYS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=3
)


@given(KEYS)
def test_each_is_a_ulid_of_new_year_2026(key: list[str]) -> None:
    ulid = ulid_of(*key)
    assert is_ulid(ulid)
    assert ulid.startswith("01KDVDNA00")
    assert ulid == ulid_of(*key)


@given(KEYS, KEYS)
def test_two_keys_have_two(one: list[str], other: list[str]) -> None:
    assert (ulid_of(*one) == ulid_of(*other)) == (one == other)


def test_a_thread_keeps_its_name_over_versions() -> None:
    assert ulid_of("stackspot", "t1", "") == "01KDVDNA00R353F3J2HP2ECTWY"
