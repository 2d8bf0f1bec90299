"""What a spreadsheet is given to open."""

from __future__ import annotations

import pytest

from core.base.text import encode_csv, escape_formula


def test_accents_are_read_and_cells_are_quoted() -> None:
    assert encode_csv([["né", "a,b"]]) == b'\xef\xbb\xbfn\xc3\xa9,"a,b"\r\n'


def test_no_cell_is_a_formula() -> None:
    assert encode_csv([["=1", "-5"], ["@x"]]).decode("utf-8-sig") == "'=1,-5\r\n'@x\r\n"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        (" =1", "' =1"),
        ("\t=1", "'\t=1"),
        ("-5.20", "-5.20"),
        ("+33", "+33"),
        ("-1,200%", "-1,200%"),
        ("a=b", "a=b"),
    ],
)
def test_a_spreadsheet_computes_nothing_of_it(cell: str, written: str) -> None:
    assert escape_formula(cell) == written
