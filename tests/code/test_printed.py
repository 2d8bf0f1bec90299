"""Output up to its mark, whatever the pieces are that it comes in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.tools.code.session import KEPT, Printed

MARK = b"\0abc\0"
CUTS = st.lists(st.integers(0, 60), max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.text("\0abcé", max_size=20), st.binary(max_size=20), CUTS)
def test_all_before_the_mark_and_the_rest_for_the_next(
    text: str, rest: bytes, cuts: list[int]
) -> None:
    data = text.encode()
    if MARK in data + MARK[:-1]:
        return
    printed, ended, after = Printed(MARK), False, b""
    for piece in pieces(data + MARK + rest, cuts):
        if ended:
            after += piece
        else:
            ended = printed.feed(piece)
    assert (ended, printed.text, printed.cut) == (True, text, 0)
    assert printed.rest + after == rest


@given(st.binary(max_size=40), CUTS)
def test_what_came_before_an_early_end_is_there(data: bytes, cuts: list[int]) -> None:
    printed = Printed(b"\0never\0")
    for piece in pieces(data, cuts):
        assert not printed.feed(piece)
    assert printed.text == data.decode(errors="replace")


def test_what_is_over_the_cap_is_counted() -> None:
    printed = Printed(MARK, b"before ")
    printed.feed(b"x" * (KEPT + 10) + MARK)
    assert (len(printed.text), printed.cut, printed.total) == (KEPT, 17, KEPT + 17)
