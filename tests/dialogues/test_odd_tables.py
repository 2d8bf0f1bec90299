"""Odd tables on every surface and in every file: the answer arrives, and no value changes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import openpyxl
import pytest

from adapters.discord.render import LIMIT, paginate
from adapters.slack.render import PostContent, split_answer
from adapters.terminal.screen import Screen
from adapters.web.page.render import find_tables, to_html
from core.base.i18n import use_locale
from core.base.spreadsheets import MAX_XLSX_CELL_UNITS, encode_table
from core.domain.messages import Answer, decode_json, encode_json
from core.domain.rows import Placed, RowColumn, RowsResult, Value
from tests.fakes.slack import blocks

Cells = list[list[Any]]


def make_table(columns: Sequence[RowColumn], *rows: Sequence[tuple[str, Value]]) -> RowsResult:
    """Rows of cells, each with its text and its value."""
    return RowsResult(
        "Odd things: 1 of 1 rows",
        tuple(columns),
        tuple(tuple(text for text, _ in row) for row in rows),
        tuple(tuple(value for _, value in row) for row in rows),
    )


def texts(*cells: str) -> RowsResult:
    return make_table(
        [RowColumn("Name"), RowColumn("Next")], *([(one, None), ("b", None)] for one in cells)
    )


def numbers(*values: Value, format: str = "") -> RowsResult:
    columns = [RowColumn("Name"), RowColumn("Size", "number", format=format)]
    return make_table(
        columns, *([("a", None), ("" if one is None else str(one), one)] for one in values)
    )


def times(format: str, *values: str) -> RowsResult:
    columns = [RowColumn("Name"), RowColumn("When", format=format)]
    return make_table(columns, *([("a", None), (one, one)] for one in values))


TABLES: dict[str, RowsResult] = {
    "empty": make_table([RowColumn("Name"), RowColumn("Size", "number")]),
    "one cell": make_table([RowColumn("Name")], [("a", None)]),
    "200 columns": make_table(
        [RowColumn(f"C{n}") for n in range(200)], [(f"v{n}", None) for n in range(200)]
    ),
    "emoji": texts("👩‍👩‍👧 🇧🇷 ✅", "😀" * 50),
    "right to left": texts("עברית 12 عربي", "‏abc"),
    "line breaks": texts("a\nb", "a\r\nb\n\nc", "a\u2028b"),
    "HTML": texts("<b>x</b><script>alert(1)</script>", "&lt;b&gt; &amp; &#65;", "<!-- x -->"),
    "pipes": texts("a|b||c", r"a\|b", "|", "| --- |"),
    "markup": texts("*a* _b_ ~~c~~ #d", "1. e", "- f", "[table: r1]", "g\tb", "'h"),
    "dollars and fences": texts(
        "–", "$x^2$ and $y$", "R$ 1.234,56 US$ 3", "https://a.example/b|c?d=e_f", "@everyone",
        "null", "<!channel>", "x" * 5000, "```", "``a``", "\\ \\| \\`",
    ),
    "formulas": texts("=1+1", "@SUM(1)", "+cmd", "-2+3"),
    "ids": texts("12345678901234567890", "007", "1e5", "1234567890123456"),
    "null": make_table([RowColumn("Name"), RowColumn("Size", "number")], [("", None), ("", None)]),
    "huge numbers": numbers(
        10**30, -(10**15), 2**53 + 1, "1" * 60 + ".5", 1e300, 5e-324, 0.1 + 0.2
    ),
    "not a number": numbers(float("nan"), float("inf"), float("-inf"), "NaN"),
    "amounts": numbers("1234.50", -3, 0, "0.005", format="currency BRL 2"),
    "days": times("date", "2026-11-20", "1899-12-31", "1000-01-01", "9999-12-31"),
    "moments": times(
        "moment", "2026-11-20T09:30:00-03:00", "1899-01-01T00:00:00", "1900-02-28T12:00:05"
    ),
    "300 kB": texts("x" * 300_000),
    "5,000 rows": make_table(
        [RowColumn("Name"), RowColumn("Size", "number")],
        *([(f"row {n}", None), (str(n), n)] for n in range(5_000)),
    ),
}  # fmt: skip
LARGE = {"300 kB", "5,000 rows"}


class TableParser(HTMLParser):
    """Collects the cells of a page's tables, or the whole text."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.text, self.is_in_cell = list[list[str]](), "", False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")
            self.is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.is_in_cell = self.is_in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.is_in_cell:
            self.cells[-1][-1] += data


def make_answer(name: str) -> Answer:
    rows = TABLES[name]
    text = f"{rows.to_markdown()}\n\nThe end."
    answer = Answer(text, parts=(text,), placed=(Placed(rows.to_markdown(), rows),))
    return decode_json(Answer, encode_json(answer))  # as it is stored


def show_on_slack(answer: Answer) -> Cells | str:
    parts = split_answer(answer.text)
    contents = [PostContent(part, placed=answer.placed).build_whole() for part in parts]
    every = [block for content in contents for block in content["blocks"]]
    if any(block["type"] == "data_table" for block in every):
        blocks.check_message(every, "chat.postMessage")
        cells = [[cell["text"] for cell in row] for row in every[0]["rows"]]
        return [
            [re.sub(r"\u2060|\[(?=[.:])|(?<=[.:])\]", "", each) for each in row] for row in cells
        ]
    for content in contents[:20]:
        blocks.check_message(content["blocks"], "chat.postMessage")
    return "".join(parts)


def show_on_discord(answer: Answer) -> str:
    pages = paginate(answer.text)
    assert all(len(part) <= LIMIT for part in pages.parts)
    return "\n".join([*pages.parts, *(sheet.data.decode("utf-8-sig") for sheet in pages.sheets)])


def show_on_page(answer: Answer) -> Cells | str:
    parser = TableParser()
    parser.feed(to_html(answer.text, answer.placed))
    tables = find_tables(answer.text, answer.placed)
    assert len(tables) == bool(parser.cells), "a file is offered for each table that is shown"
    return parser.cells or parser.text


def show_in_terminal(answer: Answer) -> str:
    output = io.StringIO()
    body = {"response": answer.text, "status": "done", "cards": [], "files": []}
    Screen(output).show_answer(body)
    return output.getvalue()


def show_as_markdown(answer: Answer) -> Cells | str:
    """The text is what `/v1` returns. Its table is read by a parser of Markdown."""
    tables = find_tables(answer.text)
    if not tables:
        return answer.text
    (columns, rows, _) = tables[0]
    return [[each.title for each in columns], *([str(cell) for cell in row] for row in rows)]


SURFACES: dict[str, Callable[[Answer], Cells | str]] = {
    "slack": show_on_slack,
    "discord": show_on_discord,
    "page": show_on_page,
    "terminal": show_in_terminal,
    "/v1": show_as_markdown,
}


def flatten(text: str) -> str:
    """The text without spaces, marks of Markdown and what keeps Discord and Slack from acting on
    it: in cells that are read from running text, only these may differ."""
    return re.sub(r"[\s\\`'\u200b\u2060]|\*\*", "", text)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_arrives_with_all_its_values(name: str) -> None:
    answer = make_answer(name)
    expected = [[" ".join(cell.split()) for cell in row] for row in TABLES[name].rows]
    for surface, show in SURFACES.items():
        view = show(answer)
        if isinstance(view, list):
            empty = "–" if surface == "slack" else ""
            assert view[1:] == [[cell or empty for cell in row] for row in expected], surface
            continue
        text = flatten(view)
        assert "Theend." in text, surface
        for row in expected[:: 250 if name in LARGE else 1]:
            for cell in row:
                assert flatten(cell) in text, (surface, cell[:100])


def read_file(rows: RowsResult, form: Any) -> Cells:
    """Write the rows to a file and read its cells."""
    columns, cells = rows.to_export()
    data = encode_table(columns, cells, form, "Odd").data
    if form == "csv":
        csv.field_size_limit(2_000_000)
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        return [[cell.rstrip("\t") for cell in line] for line in csv.reader(text, delimiter=";")][
            1:
        ]
    if form == "json":
        match = json.loads(data, parse_float=Decimal, parse_constant=pytest.fail)
        return [list(row.values()) for row in match]
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    assert book.active is not None
    return [list(row) for row in book.active.iter_rows(min_row=2, values_only=True)]


def normalise(cell: object, form: str) -> str:
    """A value as text, without what may differ in a file: how a number is written, line breaks, a
    float that Excel rounds to 15 digits, numbers that JSON does not have."""
    if isinstance(cell, float):
        cell = f"{cell:.15g}" if form == "xlsx" else str(cell)
    if isinstance(cell, date):
        cell = str(cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell)
    text = re.sub(r"\r\n?", "\n", "" if cell is None else str(cell)).removesuffix(" 00:00:00")
    text = text.removeprefix("'") if re.match(r"'[=+\-@]", text) else text
    try:
        number = Decimal(text.replace(",", "."))
    except ArithmeticError:
        return text
    if not number.is_finite():
        return "" if form == "json" else text
    return f"{number.normalize():f}" if text.strip() == text else text


@pytest.mark.parametrize("form", ["csv", "xlsx", "json"])
@pytest.mark.parametrize("name", TABLES)
def test_a_file_holds_all_values(name: str, form: str) -> None:
    _, cells = TABLES[name].to_export()
    with use_locale("pt-BR"):
        file = read_file(TABLES[name], form)
    if (name, form) == ("300 kB", "xlsx"):
        assert str(file[0][0]).startswith("x" * 32_000)
        assert len(str(file[0][0])) == MAX_XLSX_CELL_UNITS
        return
    if (name, form) == ("null", "xlsx"):
        assert file == []  # openpyxl skips rows without cells
        return
    assert [[normalise(each, form) for each in line] for line in file] == [
        [normalise(each, form) for each in line] for line in cells
    ]
