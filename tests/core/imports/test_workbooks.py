"""Workbooks as Excel, LibreOffice and others show them."""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
import pytest

from core.base.errors import ToolError
from core.base.spreadsheets import ExportColumn, encode_workbook
from core.imports.cells import CellError, SheetCell, ShownNumber
from core.imports.formats.cells import show_number
from core.imports.sheets import ImportSheet, read_sheets

pytestmark = pytest.mark.slow


MORNING = datetime.fromisoformat("2026-01-02 09:05")


async def read(data: bytes) -> ImportSheet:
    (sheet,) = await read_sheets("book", data)
    return sheet


def column(sheet: ImportSheet, title: str) -> list[SheetCell]:
    return [row.cells[sheet.columns.index(title)] for row in sheet.rows]


def save(book: openpyxl.Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def build_book() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    rows: list[list[Any]] = [
        ["Group", "Rate", "Zip", "Day", "Clock", "Length", "Error", "Sum"],
        [
            "North",
            0.125,
            123,
            date(2026, 1, 2),
            time(9, 30),
            timedelta(hours=30),
            "#N/A",
            0.1 + 0.2,
        ],
        ["South", 0.07, 45, MORNING, time(9), timedelta(1), "#DIV/0!", 1e14],
        ["hidden", 1, 1, None, None, None, None, None],
        [None, 0.5, 7, None, None, None, "=1/0", None],
        ["=text", 1, 2, None, None, None, None, None],
    ]
    for row in rows:
        sheet.append(row)
    for number in range(2, 7):
        sheet.cell(number, 2).number_format = "0.0%"
        sheet.cell(number, 3).number_format = "00000"
        sheet.cell(number, 6).number_format = "[h]:mm"
    sheet.row_dimensions[4].hidden = True
    sheet.merge_cells("A3:A5")
    sheet["A6"].value, sheet["A6"].data_type = "=text", "s"
    return save(book)


async def test_what_excel_shows() -> None:
    sheet = await read(build_book())
    assert [row.number for row in sheet.rows] == [2, 3, 5, 6]
    assert "1 hidden row left out." in sheet.notes
    assert column(sheet, "Group") == ["North", "South", "South", "=text"]
    assert [str(cell) for cell in column(sheet, "Rate")] == ["12.5%", "7.0%", "50.0%", "100.0%"]
    assert column(sheet, "Rate")[0] == ShownNumber(12.5, "12.5%")
    assert [str(cell) for cell in column(sheet, "Zip")] == ["00123", "00045", "00007", "00002"]
    assert column(sheet, "Day")[:2] == [date(2026, 1, 2), MORNING]
    assert column(sheet, "Clock")[:2] == [time(9, 30), time(9)]
    assert column(sheet, "Length")[0] == ShownNumber(108_000, "30:00:00")
    errors = [CellError("#N/A"), CellError("#DIV/0!"), CellError("=1/0"), None]
    assert column(sheet, "Error") == errors
    assert column(sheet, "Sum")[:2] == [0.3, 100_000_000_000_000]


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (12345678, "00000-000", "12345-678"),
        (11987654321, "(00) 00000-0000", "(11) 98765-4321"),
        (12345678901, '000"."000"."000"-"00', "123.456.789-01"),
        (42, '"INV-"00000', "INV-00042"),
        (5551234, "[<=9999999]###-####;(###) ###-####", "555-1234"),
        (2125551234, "[<=9999999]###-####;(###) ###-####", "(212) 555-1234"),
        (7, "000;-000", "007"),
        (-7, "000;-000", "-007"),
        (0.07, "0%", "7%"),
        (0.125, "0%", "13%"),
        (-0.145, "0%", "-15%"),
        (-0.5, "0.00%;[Red]-0.00%", "-50.00%"),
        (1.25, "[hh]:mm:ss", "30:00:00"),
        (1, '"Sim";;"Não"', "Sim"),
        (0, '"Sim";;"Não"', "Não"),
    ],
)
def test_a_number_by_its_format(value: float, code: str, shown: str) -> None:
    assert show_number(value, code)["shown"][0] == shown


@pytest.mark.parametrize(
    "code",
    ["", "General", "0", "0.00", "#,##0.00", '"R$" #,##0.00', "[$R$-416] #,##0.00", "@",
     '0" kg"', "_-* #,##0.00_-;-* #,##0.00_-", "0.00E+00", "# ?/?", "#", '#,##0.00 "€"',
     '0.00" s"', "[Red]0", "0.0 \"days\""],
)  # fmt: skip
def test_a_number_that_is_one(code: str) -> None:
    assert show_number(1234.0, code) == 1234


def test_a_format_that_shows_nothing() -> None:
    assert show_number(5, ";;;") is None
    assert show_number(0, "0;-0;;@") is None


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("dd/mm/yyyy", {"date": "2025-12-09"}),
        ("[$-409]d-mmm-yy;@", {"date": "2025-12-09"}),
        ("[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", {"date": "2025-12-09"}),
        ('d" de "mmmm" de "yyyy', {"date": "2025-12-09"}),
        ("mmm/yy", {"date": "2025-12-09"}),
        ("dd/mm/yyyy hh:mm", {"datetime": "2025-12-09T00:00:00"}),
    ],
)
def test_a_day_by_its_format(code: str, shown: object) -> None:
    assert show_number(46_000, code) == shown


def rewrite(
    change: Callable[[str, bytes], bytes] = lambda _, data: data,
    name: Callable[[str], str] = str,
    without: Sequence[str] = (),
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(build_book())) as parts, zipfile.ZipFile(out, "w") as written:
        for part in parts.namelist():
            if part not in without:
                written.writestr(name(part), change(part, parts.read(part)))
    return out.getvalue()


def leave_references_out(part: str, data: bytes) -> bytes:
    """Some programs write neither references nor empty cells; here each cell is written."""
    if "sheet1" not in part:
        return data
    rows = re.sub(rb'(<row) r="[^"]*"', rb"\1", data)
    return re.sub(rb'(<c) r="[^"]*"', rb"\1", rows)


def use_strict_names(part: str, data: bytes) -> bytes:
    """The namespaces of "Strict Open XML Spreadsheet", as Excel saves it."""
    main = b"http://schemas.openxmlformats.org/"
    data = data.replace(main + b"spreadsheetml/2006/main", b"http://purl.oclc.org/ooxml/s/main")
    return data.replace(
        main + b"officeDocument/2006/", b"http://purl.oclc.org/ooxml/officeDocument/"
    )


def add_prefixes(part: str, data: bytes) -> bytes:
    """The Open XML SDK writes `x:` before each name."""
    if not part.startswith("xl/") or part.endswith(".rels") or "theme" in part:
        return data
    named = re.sub(rb"<(/?)(?=[A-Za-z])", rb"<\1x:", data)
    return named.replace(b"xmlns=", b"xmlns:x=", 1)


@pytest.mark.parametrize(
    "data",
    [
        rewrite(leave_references_out),
        rewrite(use_strict_names),
        rewrite(add_prefixes),
        rewrite(name=lambda part: part.replace("/", "\\")),
        rewrite(name=lambda part: part.replace("xl/worksheets", "xl/Worksheets")),
        rewrite(without=["[Content_Types].xml", "_rels/.rels", "docProps/core.xml"]),
        rewrite(lambda _, data: data.replace(b'Target="/xl/', b'Target="')),
    ],
    ids=["no references", "strict", "prefixes", "backslashes", "case", "few parts", "relative"],
)
async def test_workbooks_that_are_written_loosely(data: bytes) -> None:
    sheet = await read(data)
    assert column(sheet, "Group")[:2] == ["North", "South"]
    assert str(column(sheet, "Rate")[0]) == "12.5%"
    assert column(sheet, "Day")[0] == date(2026, 1, 2)


async def test_a_workbook_without_styles_has_its_texts_and_numbers() -> None:
    sheet = await read(rewrite(without=["xl/styles.xml"]))
    assert column(sheet, "Group")[:2] == ["North", "South"]
    assert column(sheet, "Day")[0] == 46_024


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "type Word"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 no more of it", "can't be read"),
        (
            rewrite(
                name=lambda part: part.replace("xl/workbook", "word/x").replace("xl/", "word/")
            ),
            "type Word",
        ),
        (rewrite(name=lambda part: part.replace("workbook.xml", "workbook.bin")), "xlsb"),
        (rewrite(name=lambda part: f"x/{part}".replace("xl/workbook.xml", "a")), "type ZIP"),
        (build_book()[:3000], "can't be read"),
    ],
)
async def test_what_is_refused_and_why(data: bytes, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        await read(data)


_OFFICE = "urn:oasis:names:tc:opendocument:xmlns"
_CONTENT = f"""<?xml version="1.0"?>
<o:document-content xmlns:o="{_OFFICE}:office:1.0" xmlns:t="{_OFFICE}:table:1.0"
  xmlns:x="{_OFFICE}:text:1.0" xmlns:c="urn:calcext" xmlns:s="{_OFFICE}:style:1.0">
<o:automatic-styles><s:style s:name="ta2"><s:table-properties t:display="false"/></s:style>
</o:automatic-styles>
<o:body><o:spreadsheet><t:table t:name="Folha1">
<t:table-row><t:table-cell o:value-type="string"><x:p>Nome</x:p></t:table-cell>
<t:table-cell o:value-type="string"><x:p>Taxa</x:p></t:table-cell>
<t:table-cell o:value-type="string"><x:p>CEP</x:p></t:table-cell>
<t:table-cell o:value-type="string"><x:p>Dia</x:p></t:table-cell></t:table-row>
<t:table-row><t:table-cell o:value-type="string" t:number-rows-spanned="2"><x:p>Ana<x:s x:c="2"/>B
</x:p></t:table-cell><t:table-cell o:value-type="percentage" o:value="0.125"><x:p>12,5%</x:p>
</t:table-cell><t:table-cell o:value-type="float" o:value="123"><x:p>00123</x:p></t:table-cell>
<t:table-cell o:value-type="date" o:date-value="2026-01-02"><x:p>02/01/26</x:p></t:table-cell>
</t:table-row>
<t:table-row><t:covered-table-cell/><t:table-cell o:value-type="percentage" o:value="0.07"><x:p>7%
</x:p></t:table-cell><t:table-cell o:value-type="float" o:value="1234.5"><x:p>1.234,50</x:p>
</t:table-cell><t:table-cell t:formula="of:=NA()" o:value-type="string" c:value-type="error">
<x:p>#N/D</x:p></t:table-cell></t:table-row>
<t:table-row t:visibility="filter"><t:table-cell o:value-type="string"><x:p>x</x:p></t:table-cell>
</t:table-row><t:table-row t:number-rows-repeated="1048000"><t:table-cell
t:number-columns-repeated="16384"/></t:table-row></t:table>
<t:table t:name="hidden" t:style-name="ta2"><t:table-row><t:table-cell o:value-type="string"><x:p>a
</x:p></t:table-cell></t:table-row></t:table></o:spreadsheet></o:body></o:document-content>"""


def build_ods(manifest: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as parts:
        parts.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        parts.writestr("content.xml", _CONTENT)
        parts.writestr("META-INF/manifest.xml", f"<manifest>{manifest}</manifest>")
    return out.getvalue()


async def test_what_libreoffice_shows() -> None:
    sheet = await read(build_ods())
    assert [str(cell).strip() for cell in column(sheet, "Nome")] == ["Ana  B", "Ana  B"]
    assert [str(cell).strip() for cell in column(sheet, "Taxa")] == ["12,5%", "7%"]
    assert column(sheet, "Taxa")[0] == ShownNumber(12.5, "12,5%")
    assert [str(cell) for cell in column(sheet, "CEP")] == ["00123", "1234.5"]
    assert column(sheet, "Dia") == [date(2026, 1, 2), CellError("#N/D")]
    assert "1 hidden row left out." in sheet.notes
    with pytest.raises(ToolError, match="protected with a password"):
        await read(build_ods("<encryption-data/>"))


XLS = (
    "c-rk)O-NKx6#njeZ=4_eneivkU>F9pGD)QtZR}-Kwo%L$g#<M=Lx?%b;KmkZnadyuf})LJMH{P4KlDTGf&!x!K_F<+"
    "DhPst7V7Jq^X@CP2^=UPdEeund+)jDo^#$k_wT(|Q?Z%xJ2kUdh8-}m;Dk}Mh^Hupy-F0+?l@fZ@(?A*$A5)zhyqy@"
    "z{8T4L5?BEdlm+6ThE9B?<pO|AUX!JnZzn$m-vuU>_ZDtg{#CVMYVWUF7%kt3Zb_|@{!P;!Z|Org=A+`H>T{4`t5oa"
    "A2O2CRtna8Px`zQPBW_ToM-Xr3(A!Zpf%T<I<e*(;#M&xKvSSClg;F~9>z6TK+~3{+PD?Lb&^CABW{)91|mQ@-PqsX"
    "I82y9CC!`(d~*`OS8t1Wn(+Cn%U2-&_oe*cANV1PZ$5sQLY<Evp`b74Uo>cjjKDc6D|C!xE?L}S;6U>nw()$DM9hv<"
    "e}=NI)KJC*x_bwS?oJI8ZOx{L?(0nxZO`N)e9FkK6kW0_mB?x>CYnZ>lw-1Hqx2?oH^01Y@9DIU2xml2BKN$iWe?%t"
    "4ELbUrP2}*$}RQMW3$k+qIJELYlK#kB;|FTRl2ZuRAkOcYaQ9yDtKdWSXACf<*`ru@5jeJ*qf+4**1H!a`LS`jwFq4"
    "n)>rIiU!r7u3Tn3u)SRAy=_`(^>6!J$cSp+9epU5VV)NwAtuzV@#v_ZHA9b;TQjL<YF#RiE+x8nbW9pA_O;xLxc!*Q"
    "igZ=rv*PhdP8p<&H5p>n)s)bh4AB(OwoLJ4sV!3^IKHP0uCc8bTHabF|AfZU((lRAmPj9`+DGx)lvcXC80EOjrs*X3"
    "g$R83@ZrOU4<9~!xOZej?u71rIG}IaLH%E6p3;K<n`F(R3j_2F(RbY*WGT;KxS;v74guxqQY-A^{V!x3B<nf!p-24a"
    "D|r6W*OFTNJ}d4R{d-HOQ2Pso`1z0R{{S?g^l<"
)
"""Made with xlwt 1.3: a percentage, leading zeros, a day, a hidden row, and cells that are merged.
"""


async def test_what_excel_97_shows() -> None:
    sheet = await read(zlib.decompress(base64.b85decode(XLS)))
    assert column(sheet, "Name") == ["Ana", "Mer", "Mer"]
    assert [str(cell) for cell in column(sheet, "Rate")] == ["12.5%", "50.0%", "25.0%"]
    assert str(column(sheet, "Zip")[0]) == "00123"
    assert column(sheet, "Day")[0] == date(2026, 1, 2)
    assert "1 hidden row left out." in sheet.notes


async def test_a_report_in_html_that_is_named_xls() -> None:
    report = (
        b"<html><head><style>td {}</style></head><body><table><tr><th>Name</th><th>N</th></tr>"
        b"<tr><td rowspan=2>Ana &amp; co<br>Rio</td><td>1</td></tr><tr><td>2</td></tr></table>"
    )
    sheet = await read(report)
    assert [row.cells for row in sheet.rows] == [("Ana & co\nRio", "1"), ("Ana & co\nRio", "2")]


async def test_a_workbook_in_xml() -> None:
    report = b"""<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>
    <Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"
     xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet"><Styles><Style ss:ID="s1"><NumberFormat
     ss:Format="0.0%"/></Style></Styles><Worksheet ss:Name="R"><Table><Row><Cell><Data
     ss:Type="String">Name</Data></Cell><Cell ss:Index="3"><Data ss:Type="String">Rate</Data></Cell>
     </Row><Row ss:Hidden="1"><Cell><Data ss:Type="String">x</Data></Cell></Row><Row ss:Index="5">
     <Cell><Data ss:Type="String">Ana</Data></Cell><Cell ss:Index="3" ss:StyleID="s1"><Data
     ss:Type="Number">0.125</Data></Cell></Row></Table></Worksheet></Workbook>"""
    sheet = await read(report)
    assert (sheet.title, sheet.columns) == ("R", ("Name", "B", "Rate"))
    assert [(row.number, *map(str, row.cells)) for row in sheet.rows] == [
        (5, "Ana", "None", "12.5%")
    ]


async def test_ponte_s_own_percentages_come_back() -> None:
    columns = [ExportColumn("Name"), ExportColumn("Rate", "percent 1")]
    data, _ = encode_workbook([("T", columns, [["Ana", 12.5], ["Bob", 0.07]])])
    assert [cell.value for cell in column(await read(data), "Rate")] == [12.5, 0.07]  # type: ignore[union-attr]
