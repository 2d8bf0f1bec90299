"""CSV files as programs and people leave them: one reading, and what it decides is told."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from core.base.errors import ToolError
from core.domain.messages import decode_file_text
from core.imports.sheets import Corrections, ImportSheet, read_sheets

pytestmark = pytest.mark.slow


async def read(data: bytes | str, titles: int | None = None, encoding: str = "") -> ImportSheet:
    data = data.encode() if isinstance(data, str) else data
    (sheet,) = await read_sheets("a.csv", data, Corrections(titles, encoding))
    return sheet


def cells(sheet: ImportSheet) -> list[Sequence[object]]:
    return [row.cells for row in sheet.rows]


@pytest.mark.parametrize("gap", ["\r\n", "\r\n;\r\n", " ; \r\n\r\n"], ids=repr)
async def test_rows_are_counted_without_empty_ones(gap: str) -> None:
    """Python's csv module on Windows writes an empty line after each row."""
    text = "Name;Since\r\n" + gap + "".join(f"n{n};1\r\n{gap}" for n in range(6_000))
    sheet = await read(text)
    assert len(sheet.rows) == 6_000
    assert any("empty rows left out." in note for note in sheet.notes)
    with pytest.raises(ToolError, match="more than 10,000 rows"):
        await read("Name;Since\n" + "".join(f"n{n};1\n\n" for n in range(10_001)))


@pytest.mark.parametrize(
    ("stray", "letter"), [(b"\x96", "–"), (b"\x93x\x94", "“x”"), (b"caf\xe9", "café")]
)
async def test_what_the_model_sees_is_what_is_written(stray: bytes, letter: str) -> None:
    data = "".join(f"Ana {n};São Paulo\n" for n in range(20)).encode()
    data = b"Nome;Cidade\n" + data + b"Bob;A " + stray + b"\n"
    sheet = await read(data)
    assert [row[1] for row in cells(sheet)] == ["São Paulo"] * 20 + [f"A {letter}"]
    assert f"Bob;A {letter}" in decode_file_text(data)
    assert "São Paulo" in decode_file_text(data)
    assert any("in another encoding (line" in note and "22" in note for note in sheet.notes)


async def test_a_short_text_with_a_stray_byte_is_no_other_encoding() -> None:
    data = "Nome;Cidade\nJosé;São Paulo\n".encode() + b"Bob;A \x96 B\n"
    assert cells(await read(data)) == [("José", "São Paulo"), ("Bob", "A – B")]


async def test_the_encoding_is_told_and_can_be_corrected() -> None:
    data = "Nome;Cidade\nJosé;São Paulo\n".encode("cp850")
    sheet = await read(data)
    assert "Read as Windows-1252." in sheet.notes
    assert "letters are wrong: the file is in another encoding." in sheet.question
    sheet = await read(data, encoding="cp850")
    assert cells(sheet) == [("José", "São Paulo")]
    for name in ("klingon", "punycode", "base64", "\0"):
        with pytest.raises(ToolError, match="I don't know the encoding"):
            await read(data, encoding=name)
    assert (
        len((await read("Name;City\nAna;Rio\n".encode("utf-16-le"), encoding="utf-16-le")).rows)
        == 1
    )


@pytest.mark.parametrize("text", ["José;São Paulo", "Ação – “x” l’eau… 5 € Œuvre™ 10‰", "Zoë;Å"])
async def test_windows_text_is_clear(text: str) -> None:
    sheet = await read(f"Name;City\n{text}\n".encode("cp1252"))
    assert (sheet.question, "Read as Windows-1252." in sheet.notes) == ("", True)
    mac = await read(f"Name;City\n{text}\nAção;São\n".encode("mac-roman", "replace"))
    assert "another encoding" in mac.question


async def test_single_zero_bytes_are_none_of_the_text() -> None:
    data = b"Name;Since\n" + b"Ana;1\n" * 100 + b"B\0ob;2\n"
    assert cells(await read(data))[-1] == ("Bob", "2")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Name,N\na,1\nb,2\n" + '"Toys R Us,2\n' + "c,3\n" * 37, 4),
        ('Name,N\na,1\n"Toys,2\nb,3\n"Ana",4\n', 3),
        ('Name,N\n"first\nsecond",1\n"Toys,2\nb,"3"\n', 4),
        ('Name,N\na,"12" pipe"\n', 2),
        ('Name,N\na,1\n"' + "x" * 1_100_000 + "\n", 3),
    ],
    ids=["no other", "closed by another", "after a line break", "within a text", "longer than any"],
)
async def test_a_quotation_mark_that_is_not_closed(text: str, line: int) -> None:
    with pytest.raises(ToolError, match=rf"a\.csv, line {line}: a quotation mark isn't closed"):
        await read(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('Name,Text\nAna,"He said \\"hi, you\\" twice"\n', 'He said "hi, you" twice'),
        ('Name,Text\nAna,"say \\"a\\", C:\\\\dir"\n', 'say "a", C:\\dir'),
        ('Name,Text\nAna,"C:\\dir\\"\nBob,"x"\n', "C:\\dir\\"),
        ('Name,Text\nAna,5" pipe\n', '5" pipe'),
        ('Name,Text\nAna,"a ""b"" c"\n', 'a "b" c'),
        ('Name,Text\nAna,"first\nsecond"\n', "first\nsecond"),
        ("Name,Text\nAna,=1+1\n", "=1+1"),
        ('Name,Text\nAna,"=""00123"""\n', "00123"),
        ('Name,Text\nAna,="00123"\n', "00123"),
        ("Name,Text\nAna,'+55 11 98\n", "+55 11 98"),
        ("Name,Text\nAna,'- first point\n", "- first point"),
        ("Name,Text\nAna,''=x\n", "'=x"),
        ("Name,Text\nAna,'tis\n", "'tis"),
        ("Name,Text\nAna,-5\n", "-5"),
        ('Name, Text\nAna, "a, b"\n', "a, b"),
        ('Name,Text\nAna,"He said, ""x"""\n', 'He said, "x"'),
    ],
)
async def test_a_text_as_its_program_shows_it(text: str, first: str) -> None:
    sheet = await read(text)
    assert cells(sheet)[0] == ("Ana", first)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Name\nSouza, Ana\nLima, Bob\n", ("Name",)),
        ("Address\nRua A,12\nRua B,15\nRua C,3\n", ("Address",)),
        ("Notes\nfirst; second\nthird; fourth\n", ("Notes",)),
        ("Name;Notes\nAna;a, b, c\nBob;d, e, f\n", ("Name", "Notes")),
        ("Name|City\nAna|Rio\n", ("Name", "City")),
        ("Report of May\nName,Amount\nAna,5\nBob,6\n", ("Name", "Amount")),
        ("Report of May\nName;City\nAna;Rio\n", ("Name", "City")),
        ("Valor;Data\n1,5;a\n2,5;b\n3,5;c\n", ("Valor", "Data")),
        ("Tags\nA;B\nC;D;E\nF\nB;C\n", ("Tags",)),
        ("Tags\nA|B\nB|C\nA|C\n", ("Tags",)),
        (
            "Extrato Conta Corrente \nConta ;12345\nSaldo ;1.234,50\n\nData;Texto;Valor;Saldo\n"
            "05/01/2026;Pix;-12,50;1.222,00\n06/01/2026;Pix;2,50;1.224,50\nFim\n",
            ("Data", "Texto", "Valor", "Saldo"),
        ),
        (
            "Livret;A;***1234;02/01/2026;;-94 771,94\n02/01/2026;;;PRLV;-10,00\n"
            "03/01/2026;;;VIR;20,00\n",
            ("Livret", "A", "***1234", "02/01/2026", "E", "-94 771,94"),
        ),
    ],
)
async def test_a_separator_that_the_titles_lack_is_none(
    text: str, columns: tuple[str, ...]
) -> None:
    assert (await read(text)).columns == columns


async def test_rows_of_another_width_are_rejected() -> None:
    text = (
        "Name,Note,City\nAna,first line\nsecond line,Rio\nBob,x,SP\nEva,y,Rio,extra\n"
        "Leo,z,SP,,\nTotal of rows: 4\nMax,last\nof all\n"
    )
    faults = {row.number: row.fault for row in (await read(text)).rows if row.fault}
    assert faults.keys() == {2, 3, 5, 7, 9}
    assert "Rows 2, 3 look like one row" in faults[2]
    assert "4 cells, more than the 3 titles" in faults[5]
    assert "one cell" in faults[7]


async def test_empty_cells_that_are_left_out_at_the_end() -> None:
    """Excel does so in blocks of 16 rows (support.microsoft.com, Q77295)."""
    rows = "".join(f"n{n},c{n}\n" for n in range(16)) + "x,y,z\n"
    sheet = await read("Name,City,Notes\n" + rows)
    assert not any(row.fault for row in sheet.rows)
    assert cells(sheet)[0] == ("n0", "c0", None)


async def test_a_file_that_ends_within_its_last_row() -> None:
    rows = (await read("Name,City,Notes\nAna,Rio,x\nBob,S")).rows
    assert [row.fault for row in rows] == ["", "The file ends within this row."]
    assert not any(row.fault for row in (await read("Name,City,Notes\nAna,Rio,x\nBob,S\n")).rows)
    assert not any(row.fault for row in (await read("Name,City\nAna,Rio\nBob,SP")).rows)


BANK = (
    '"Konto:";"Girokonto DE12"\n"Von:";"01.01.2026"\n"Bis:";"31.01.2026"\n'
    '"Saldo:";"1.234,50 EUR"\n\n"Tag";"Wert";"Art";"Text";"Von";"An";"IBAN";"Betrag"\n'
    '"05.01.2026";"";"";"Miete";"";"";"";"-12,50"\n"06.01.2026";"";"";"Gas";"";"";"";"-2,50"\n'
)


@pytest.mark.parametrize(
    ("text", "row", "first"),
    [
        (BANK, 6, "Tag"),
        (BANK.replace("\n\n", "\n"), 5, "Tag"),
        ("Konto:;DE12\nDatum;Text;Betrag\n05.01.2026;a;1,5\n06.01.2026;b;2,5\n", 2, "Datum"),
        ("Statement;2026\n\nDate;Text;Amount\n05.01.2026;a;1,5\n", 3, "Date"),
        ("Sep=;\n".lower() + "Name;City\nAna;Rio\n", 2, "Name"),
        (",Name,Age\n0,Ana,3\n1,Bob,4\n", 1, "A"),
        (",Name\n0,Ana\n1,Bob\n", 1, "A"),
        ("Name,,Name,\nAna,1,Lima,2\nBob,2,Silva,3\n", 1, "Name"),
        ("Name,2024,2025\nAna,3,4\nBob,5,6\n", 1, "Name"),
        ("Id,Name\n1,Ana\n2,Bob\n", 1, "Id"),
        ("Email\nana@example.com\nbob@example.com\n", 1, "Email"),
        ("Name,Name\nAna,Souza\n", 1, "Name"),
    ],
)
async def test_the_row_of_the_titles_is_named(text: str, row: int, first: str) -> None:
    sheet = await read(text)
    assert sheet.question == ""
    assert sheet.columns[0] == first
    assert sheet.notes[0].startswith(f"Titles from row {row}: {first}")


@pytest.mark.parametrize(
    "text",
    [
        "Ana;3;2026-01-01\nBob;4;2026-01-02\n",
        "Ana;ana@example.com\nBob;bob@example.com\n",
        "Ana;Lead\nBob;Lead\nEva;Active\n",
        "5;Ana\n6;Bob\n",
        "Ana;+55 11 98765-4321\nBob;(11) 3333-4444\n",
    ],
)
async def test_a_file_without_titles_is_asked_about(text: str) -> None:
    sheet = await read(text)
    assert "may hold titles, or values." in sheet.question
    whole = await read(text, titles=0)
    assert (whole.question, whole.columns[:2]) == ("", ("A", "B"))
    assert len(whole.rows) == len(sheet.rows) + 1
    assert "No row has titles." in whole.notes
    assert (await read(text, titles=1)).question == ""


async def test_a_row_that_is_said_to_have_the_titles() -> None:
    text = "Customers; of May\nall;of them\nName;City\nAna;Rio\n"
    sheet = await read(text, titles=3)
    assert (sheet.columns, cells(sheet)) == (("Name", "City"), [("Ana", "Rio")])
    assert "Titles from row 3: Name, City." in sheet.notes
    with pytest.raises(ToolError, match="has no row 9"):
        await read(text, titles=9)


async def test_titles_that_are_repeated_and_totals() -> None:
    sheet = await read("Name;N\nAna;1\nName;N\nBob;2\nTotal;3\n")
    assert [row.number for row in sheet.rows] == [2, 4, 5]
    assert "1 row that repeats the titles left out." in sheet.notes
    assert "Row 5 looks like a total." in sheet.notes


@pytest.mark.parametrize(
    ("word", "is_total"),
    [
        ("TOTAL", True),
        ("Total geral:", True),
        ("Totaux", True),
        ("Sub-total", True),
        ("Soma", True),
        ("Somme", True),
        ("Total (EUR)", True),
        ("Totally new", False),
        ("Sumatra", False),
    ],
)
async def test_a_total_at_the_end(word: str, is_total: bool) -> None:
    sheet = await read(f"Name;N;M\nAna;1;1\n{word};3;3\nas of May;1;1\n")
    assert ("Row 3 looks like a total." in sheet.notes) is is_total


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.4\n%...", "PDF"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (json.dumps([{"Name": "Ana"}]).encode(), "JSON"),
        (b'{"Name": "Ana"}\n{"Name": "Bob"}\n', "JSON"),
        (b"<?xml version='1.0'?><rows><row/></rows>", "XML"),
        (b"<html><body>Sign in</body></html>", "HTML"),
        (b"{\\rtf1 x}", "RTF"),
        (b"PAR1\0\0", "Parquet"),
        (b"BEGIN:VCARD\nFN:Ana\n", "vCard"),
        (b"\x1f\x8b\x08\0", "GZIP"),
        (b"OFXHEADER:100\r\nDATA:OFXSGML\r\n\r\n<OFX></OFX>\r\n", "OFX"),
        (b'<?xml version="1.0"?>\n<?OFX OFXHEADER="200"?>\n<OFX></OFX>\n', "XML"),
        (b"!Type:Bank\nD01/02/2026\nT-10.00\n^\n", "QIF"),
        (b'ID;PWXL;N;E\nC;Y1;X1;K"Name"\nE\n', "SYLK"),
        (b"\xef\xbb\xbf\r\n%PDF-1.4\nx\n", "PDF"),
        (b"<div>Error 500</div>\n<p>Try again</p>\n", "HTML"),
        (b"<!-- a -->\n<svg>\n<g/>\n</svg>\n", "HTML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_spreadsheet_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(ToolError, match=f"isn't a spreadsheet: it's a file of type {kind}"):
        await read(data)


async def test_other_bytes() -> None:
    with pytest.raises(ToolError, match="isn't a spreadsheet, and no text"):
        await read(bytes(range(256)) * 20)


async def test_marks_of_files_that_were_joined_and_of_their_end() -> None:
    """MS-DOS ends a text with Ctrl+Z."""
    sheet = await read("Name;City\nAna;Rio\n\ufeffName;City\nBob;SP\n\x1a")
    assert [(row.cells, row.fault) for row in sheet.rows] == [
        (("Ana", "Rio"), ""),
        (("Bob", "SP"), ""),
    ]


async def test_lines_that_a_program_draws() -> None:
    """Markdown and psql draw a table."""
    for text in (
        "| Name | City |\n|------|:----:|\n| Ana | Rio |\n| Bob | SP |\n",
        " name | city \n------+------\n Ana  | Rio\n Bob  | SP\n",
    ):
        sheet = await read(text)
        assert [row.cells[-2:] for row in sheet.rows if not row.fault] == [
            ("Ana", "Rio"),
            ("Bob", "SP"),
        ]
        assert [row.fault for row in sheet.rows if row.fault] == ["The row is only a line."]


@pytest.mark.parametrize(
    "text", ["<Name>;<City>\n<Ana>;<Rio>\n", "<b>Name</b>,City\nAna,<i>Rio</i>\n"]
)
async def test_text_that_begins_like_html_is_a_table(text: str) -> None:
    assert len((await read(text)).columns) == 2


async def test_a_cell_of_letters_that_nobody_sees_is_empty() -> None:
    sheet = await read("Name;N\n\u200b;1\nAna; \u2060 \n\u00a0;\u00ad\nBob;2\n")
    assert cells(sheet) == [(None, "1"), ("Ana", None), ("Bob", "2")]


async def test_text_that_begins_like_json_is_a_table() -> None:
    assert (await read("[Name];[City]\nAna;Rio\n")).columns == ("[Name]", "[City]")
