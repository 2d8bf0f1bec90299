"""Cells as fields take them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.imports.sheets import SheetCell
from core.imports.values import Notation, find_notation, read_value
from core.tools.nocodb.fieldtypes import Field

ZONE = ZoneInfo("America/Sao_Paulo")
PRICE, DAY, MOMENT = (Field(t, t, t) for t in ("Currency", "Date", "DateTime"))
STATUS = Field("s", "Status", "SingleSelect", ("Novo", "Ativo"))
TAGS = Field("t", "Tags", "MultiSelect", ("Novo", "Ativo"))
DONE, NAME = Field("d", "Done", "Checkbox"), Field("n", "Name", "SingleLineText")
BRAZIL, USA = Notation(",", "dmy"), Notation(".", "mdy")


@pytest.mark.parametrize(
    ("field", "cell", "notation", "value"),
    [
        (PRICE, "R$ 1.234,50", BRAZIL, 1234.5),
        (PRICE, "1.234", BRAZIL, 1234),
        (PRICE, "1.234", USA, 1.234),
        (PRICE, "1\u202f234,5\u00a0€", BRAZIL, 1234.5),
        (PRICE, "(12)", USA, -12),
        (PRICE, 12.5, USA, 12.5),
        (DAY, "3/4/2026", BRAZIL, "2026-04-03"),
        (DAY, "3/4/2026", USA, "2026-03-04"),
        (DAY, "1.2.26", USA, "2026-02-01"),
        (DAY, datetime.fromisoformat("2026-04-03"), USA, "2026-04-03"),
        (MOMENT, "3/4/2026 9:05", BRAZIL, "2026-04-03 09:05:00-03:00"),
        (MOMENT, date(2026, 4, 3), USA, "2026-04-03 00:00:00-03:00"),
        (STATUS, "novo", USA, "Novo"),
        (TAGS, "ATIVO, Novo", USA, ["Ativo", "Novo"]),
        (DONE, "Sim", USA, True),
        (DONE, "não", USA, False),
        (NAME, 12, USA, "12"),
        (NAME, True, USA, "true"),
        (NAME, None, USA, None),
    ],
)
def test_a_cell(field: Field, cell: SheetCell, notation: Notation, value: Any) -> None:
    assert read_value(field, cell, notation, ZONE) == value


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        (PRICE, "1,23,4"),
        (PRICE, "twelve"),
        (PRICE, "#N/A"),
        (PRICE, "=A1*2"),
        (DAY, 45_000),
        (DAY, "31/2/2026"),
        (STATUS, "Velho"),
        (DONE, "perhaps"),
        (NAME, "x" * 32_768),
    ],
)
def test_a_cell_that_is_refused(field: Field, cell: SheetCell) -> None:
    with pytest.raises(ToolError):
        read_value(field, cell, BRAZIL, ZONE)


def test_how_a_file_writes_numbers_and_days() -> None:
    columns: list[tuple[Field, list[SheetCell]]] = [
        (PRICE, ["1.234", "2,5", None]),
        (DAY, ["3/4/2026", "31/1/2026"]),
    ]
    assert find_notation(columns, Notation()) == BRAZIL
    with pytest.raises(ToolError, match=r"“1\.234” can be read in two ways") as raised:
        find_notation([(PRICE, ["1.234", "5"])], Notation())
    assert "decimal_sign" in (raised.value.hint or "")
    assert find_notation([(PRICE, ["1.234"])], USA).decimal_sign == "."
    assert find_notation([(PRICE, ["5"]), (DAY, ["5/5/2026"])], Notation()) == Notation()
