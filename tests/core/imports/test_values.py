"""Cells as fields take them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.imports.cells import CellError, SheetCell, ShownNumber
from core.imports.notation import Notation, find_notations, parse_notation
from core.imports.values import read_value
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
    ("cell", "value"),
    [
        ("1.234,56-", -1234.56),
        ("12,50 -", -12.5),
        ("–12,50", -12.5),
        ("(R$ 1.234,56)", -1234.56),
        ("+12,50", 12.5),
        ("BRL1.234,56", 1234.56),
        (" R$ -   ", 0),
        (",5", 0.5),
        ("-,125", -0.125),
        ("1 234 567,5", 1234567.5),
        ("12'345,5", 12345.5),
    ],
)
def test_numbers_as_programs_write_them(cell: str, value: float) -> None:
    notations, questions = find_notations([(PRICE, [cell, "1,5"])], Notation(), {})
    assert questions == []
    assert read_value(PRICE, cell, notations[PRICE.title], ZONE) == value


@pytest.mark.parametrize("cell", ["5€50", "10 20", "2026 123", "12 345 67", "1%5", "-", "--5"])
def test_texts_that_are_no_number(cell: str) -> None:
    with pytest.raises(ToolError):
        read_value(PRICE, cell, BRAZIL, ZONE)


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        (PRICE, "1,23,4"),
        (PRICE, "twelve"),
        (PRICE, "#N/A"),
        (PRICE, "=A1*2"),
        (PRICE, "ABC 12"),
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


LINES = Field("l", "Lines", "LongText")
CODE, PHONE = Field("c", "Code", "SingleLineText"), Field("p", "Phone", "PhoneNumber")
CLOCK = Field("h", "Clock", "Time")
COMPANIES = Field("x", "Companies", "MultiSelect", ("Acme, Inc.", "B", "Ação; já"))
PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        (DONE, "checked", True),
        (DONE, "Unchecked", False),
        (DONE, "✓", True),
        (DONE, "VERDADEIRO", True),
        (DONE, "Faux", False),
        (MOMENT, "12/31/2026 2:30pm", "2026-12-31 14:30:00-03:00"),
        (MOMENT, "31/12/2026 14h30", "2026-12-31 14:30:00-03:00"),
        (MOMENT, "December 31, 2026 12:05 AM", "2026-12-31 00:05:00-03:00"),
        (MOMENT, "2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05+00:00"),
        (MOMENT, "2026-01-02T03:04:05+0000", "2026-01-02 03:04:05+00:00"),
        (DAY, "2026-01-02T00:00:00.000Z", "2026-01-02"),
        (DAY, "2026-01-02T03:00:00.000Z", "2026-01-02"),
        (DAY, "2026-01-02 09:30:00", "2026-01-02"),
        (DAY, "31 de dezembro de 2026", "2026-12-31"),
        (DAY, "1 févr. 2026", "2026-02-01"),
        (DAY, "Dec 31, 2026", "2026-12-31"),
        (DAY, "2026/3/4", "2026-03-04"),
        (DAY, "Thursday, December 31, 2026", "2026-12-31"),
        (MOMENT, "2026/12/31 2:30:00 PM GMT-3", "2026-12-31 14:30:00-03:00"),
        (MOMENT, "31/12/2026 14:30 UTC+1", "2026-12-31 14:30:00+01:00"),
        (CLOCK, "2:30 PM", "14:30:00"),
        (CLOCK, "9h05", "09:05:00"),
        (COMPANIES, "Acme, Inc.", ["Acme, Inc."]),
        (COMPANIES, "acme, inc., B", ["Acme, Inc.", "B"]),
        (COMPANIES, '"Acme, Inc.",B', ["Acme, Inc.", "B"]),
        (COMPANIES, "B;Acme, Inc.", ["B", "Acme, Inc."]),
        (COMPANIES, "B\nAção; já", ["B", "Ação; já"]),
        (PRICE, "US$ 1,234.50", 1234.5),
        (PRICE, "USD 5", 5),
        (PRICE, ShownNumber(12.5, "12.5%"), 12.5),
        (CODE, ShownNumber(123, "00123"), "00123"),
        (CODE, 5511987654321, "5511987654321"),
        (CODE, 0.00001, "0.00001"),
        (CODE, "12E5", "12E5"),
        (CODE, datetime.fromisoformat("2026-04-03"), "2026-04-03"),
        (LINES, "=no formula", "=no formula"),
    ],
)
def test_forms_of_other_programs(field: Field, cell: SheetCell, value: Any) -> None:
    assert read_value(field, cell, Notation(), ZONE) == value


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        (MOMENT, "2026-01-02 14:30:00 UTC", "2026-01-02 14:30:00+00:00"),
        (MOMENT, "2026-01-02 02:30 PM", "2026-01-02 14:30:00-03:00"),
        (DAY, "2026-01-03 02:30:00 UTC", "2026-01-02"),
        (DAY, "2026-01-02 02:30 PM", "2026-01-02"),
        (DAY, "terça-feira, 6 de janeiro de 2026", "2026-01-06"),
        (DAY, "mar. 6 janv. 2026", "2026-01-06"),
        (DAY, "mar. 3 mars 2026", "2026-03-03"),
        (DAY, "3 mar 2026", "2026-03-03"),
        (DAY, "jeu. 1er oct. 2026", "2026-10-01"),
        (DAY, "Thurs, 5th Sept. 2026", "2026-09-05"),
        (DAY, "not before 5 March 2026", None),
        (DAY, "Room 3, March 2026", None),
        (MOMENT, "2026-01-02 14:30 EST", None),
        (MOMENT, "2026-01-02 14:30 – 15:00", None),
        (CLOCK, "09:00 – 10:00", None),
        (CLOCK, "14h-15h", None),
    ],
)
def test_days_and_times_with_something_beside_them(field: Field, cell: str, value: Any) -> None:
    """None: the cell is rejected."""
    if value is None:
        with pytest.raises(ToolError):
            read_value(field, cell, Notation(), ZONE)
    else:
        assert read_value(field, cell, Notation(), ZONE) == value


def test_a_moment_as_a_day_is_that_of_the_person() -> None:
    """JavaScript writes the midnight of Paris so."""
    assert read_value(DAY, "2026-01-01T23:00:00.000Z", Notation(), PARIS) == "2026-01-02"


@pytest.mark.parametrize("field", [CODE, PHONE, LINES])
@pytest.mark.parametrize("cell", ["7.89E+12", "7,89E+12", "-1E+100", 10**15, 1.5e300])
def test_a_code_that_excel_shortened(field: Field, cell: SheetCell) -> None:
    with pytest.raises(ToolError, match="Excel shortened the number"):
        read_value(field, cell, Notation(), ZONE)


@pytest.mark.parametrize("field", [CODE, PRICE, DAY, DONE])
@pytest.mark.parametrize(
    "cell",
    [CellError("#N/A"), CellError("=A1*2"), "#N/D", "#REF!", "#VALEUR!", "#NOME?", "Err:502",
     "#NV", "#¡VALOR!", "#BUSY!", "########", "S\ufffdo", "token: [withheld]", "[oculto]"],
)  # fmt: skip
def test_a_cell_without_a_value(field: Field, cell: SheetCell) -> None:
    with pytest.raises(ToolError):
        read_value(field, cell, Notation(), ZONE)


@pytest.mark.parametrize(
    ("cells", "refused"),
    [
        (["A1", "B-2", "1-Mar", "C3"], ["1-Mar"]),
        (["A1", "B-2", date(2026, 3, 4), "C3"], [date(2026, 3, 4)]),
        (["A1", "B2", "04/mar", "mars-26"], []),
        (["A1", "B2", "C3", "04/mar", "mars-26"], ["04/mar", "mars-26"]),
        (["1-Mar", "2-Apr", "May-26"], []),
        (["2-may x", "12-abc", "3-4"], []),
    ],
)
def test_a_code_of_which_excel_made_a_day(cells: list[SheetCell], refused: list[SheetCell]) -> None:
    notations, _ = find_notations([(CODE, cells)], Notation(), {})
    errors = []
    for cell in cells:
        try:
            read_value(CODE, cell, notations[CODE.title], ZONE)
        except ToolError:
            errors.append(cell)
    assert errors == refused


def ask(*columns: tuple[Field, list[SheetCell]], usual: Notation | None = None) -> list[str]:
    return find_notations(columns, usual or Notation(), {})[1]


def test_each_column_shows_its_own_notation() -> None:
    """What one of them shows decides for no other."""
    weight, start = Field("w", "Weight", "Decimal"), Field("s", "Start", "Date")
    columns: list[tuple[Field, list[SheetCell]]] = [
        (PRICE, ["1.234", "2,5", None]),
        (weight, ["1.5", "0.25", "1,000.5"]),
        (DAY, ["3/4/2026", "31/1/2026"]),
        (start, ["3/4/2026", "1/31/2026"]),
    ]
    notations, questions = find_notations(columns, Notation(), {})
    assert questions == []
    marks = [notations[f.title].decimal_sign or notations[f.title].date_order for f, _ in columns]
    assert marks == [",", ".", "dmy", "mdy"]
    columns += [
        (Field("o", "Other", "Currency"), ["1.234"]),
        (Field("e", "End", "Date"), ["1/2/26"]),
    ]
    _, questions = find_notations(columns, Notation(), {})
    assert questions == [
        "Other: “1.234” can be read in two ways.",
        "End: “1/2/26” can be read in two ways.",
    ]


@pytest.mark.parametrize(
    "days",
    [
        ["26/03/04"],
        ["26-Mar-04"],
        ["26-03-04", "26-03-05", "26-04-01"],
        ["26.03.04", "26.03.05"],
        ["25/12/24", "26/01/02"],
        ["03/04/2026", "12/31/2026", "31/12/2026"],
    ],
    ids=repr,
)
def test_days_that_are_asked(days: list[SheetCell]) -> None:
    assert len(ask((DAY, days))) == 1
    assert ask((DAY, days), usual=Notation(date_order="ymd")) == []


@pytest.mark.parametrize(
    ("days", "order"),
    [
        (["31/12/26", "15/01/26", "01/02/26"], "dmy"),
        (["12/31/26", "01/15/26"], "mdy"),
        (["31-Dec-26", "1-Jan-26", "2-Jan-26"], "dmy"),
        (["31/dez/26", "1 fev. 26"], "dmy"),
        (["31-déc.-26", "15-juil.-26"], "dmy"),
        (["99-12-31", "98-01-02"], "ymd"),
        (["05.01.2026"], "dmy"),
        (["5/5/2026"], ""),
        (["2026-01-02"], ""),
    ],
    ids=repr,
)
def test_days_that_are_clear(days: list[SheetCell], order: str) -> None:
    notations, questions = find_notations([(DAY, days)], Notation(), {})
    assert (questions, notations[DAY.title].date_order) == ([], order)
    for day in days:
        assert read_value(DAY, day, notations[DAY.title], ZONE)


def test_a_correction_of_one_column_holds_for_it() -> None:
    given = {PRICE.title: parse_notation(","), DAY.title: parse_notation("ymd")}
    columns: list[tuple[Field, list[SheetCell]]] = [(PRICE, ["1.234"]), (DAY, ["26-03-04"])]
    notations, questions = find_notations(columns, Notation(), given)
    assert questions == []
    assert read_value(PRICE, "1.234", notations[PRICE.title], ZONE) == 1234
    assert read_value(DAY, "26-03-04", notations[DAY.title], ZONE) == "2026-03-04"
    with pytest.raises(ToolError):
        read_value(DAY, "31/12/2026", parse_notation("mdy"), ZONE)
