"""What Ponte exports, Ponte imports unchanged: for every type of field that can be written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.base.i18n import use_locale
from core.base.spreadsheets import MEDIA_TYPES, ExportFormat
from core.base.text import clean_text
from core.domain.rights import Viewer
from core.imports.dry_run import check_columns
from core.tools.nocodb.api import NocoRecord
from core.tools.nocodb.fieldtypes import FIELD_TYPES, Field
from core.tools.nocodb.read import export_rows
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, PacedNocoDB, importer
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.tables import FakeField, FakeTable, fresh, link_tables

pytestmark = pytest.mark.slow
ZONE = ZoneInfo("UTC")
PEOPLE = [
    {"id": "u1", "email": "ana@example.com", "display_name": "Ana Souza"},
    {"id": "u2", "email": "bob@example.com", "display_name": "Bob"},
]
CHOICES = {"choices": [{"title": t} for t in ("Acme, Inc.", "Novo", "Ação; já")]}
CELLS: dict[str, tuple[dict[str, Any] | None, list[Any]]] = {
    "LongText": (None, ["first\nsecond ", "'- quoted", "=SUM(A1)", "  \u200bspaced"]),
    "PhoneNumber": (None, ["+55 11 98765-4321", "0011", "-1", "+1"]),
    "Email": (None, ["ana@example.com", None, "a+b@example.com", "x@example.com"]),
    "URL": (None, ["https://example.com/?a=1", None, "example.com", "http://x.y"]),
    "JSON": (None, ['{"b": 1, "a": [1, 2]}', "[1]", '"text"', "12"]),
    "SingleSelect": (CHOICES, ["Acme, Inc.", "Novo", None, "Ação; já"]),
    "MultiSelect": (CHOICES, [["Novo", "Acme, Inc."], ["Ação; já"], None, ["Novo"]]),
    "User": (None, [PEOPLE, PEOPLE[:1], None, PEOPLE[1:]]),
    "Checkbox": (None, [True, False, True, False]),
    "Number": (None, [12, -5, 1_234_567, None]),
    "Rating": (None, [3, 0, 5, None]),
    "Year": (None, [2026, 1999, None, 2000]),
    "Duration": ({"duration_format": "h:mm:ss"}, [5_400, 90_061, 0, 59]),
    "Decimal": ({"precision": 3}, [1.5, 1234.567, -0.125, 0.1 + 0.2]),
    "Currency": ({"currency_code": "BRL"}, [1234.5, -5.25, 0, 1_234_567.89]),
    "Percent": (None, [12.5, 7, 0.07, None]),
    "Date": (None, ["2026-03-04", "1899-12-31", None, "2026-12-31"]),
    "DateTime": (
        None,
        [
            "2026-03-04 12:30:15+00:00",
            "2026-03-04 23:59:00+00:00",
            None,
            "1999-01-01 00:00:00+00:00",
        ],
    ),
    "Time": (None, ["14:30:00", "00:00:00", None, "23:59:59"]),
    "GeoData": (None, ["52.5;13.4", None, "-1.5;2", None]),
    "Geometry": (None, ["POINT(1 2)", None, "x", "y"]),
}
"""Four cells of each type of field, with the options of the field."""
OTHERS = {"SingleLineText", "Attachment", "LinkToAnotherRecord", "Links", "Collaborator"}


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


def add_tables(nocodb: PacedNocoDB) -> FakeTable:
    """A table with a field of each type, and a company that has some of its rows."""
    fields = [FakeField(fresh("c"), "Id", "ID"), FakeField(fresh("c"), "Name", "SingleLineText")]
    fields += [FakeField(fresh("c"), f"A {t}", t, options) for t, (options, _) in CELLS.items()]
    table = FakeTable(fresh("m"), "Everything", fields)
    company = FakeTable(
        fresh("m"),
        "Companies",
        [FakeField(fresh("c"), "Id", "ID"), FakeField(fresh("c"), "Name", "SingleLineText")],
    )
    for name in ("Acme, Inc.", "B", "B, C"):
        company.create({"Name": name})
    relation = link_tables(company, table)
    base = nocodb.world.bases[filled.CRM]
    base.tables |= {table.id: table, company.id: company}
    for at, name in enumerate(("=text", "'00123", "00123", "Ana")):
        id = table.create({"Name": name})
        table.rows[id] |= {f"A {type}": cells[at] for type, (_, cells) in CELLS.items()}
    relation.pairs.extend([(1, 1), (2, 2), (3, 3)])
    return table


def find_table(nocodb: PacedNocoDB) -> FakeTable:
    tables = nocodb.world.bases[filled.CRM].tables.values()
    return next(table for table in tables if table.title == "Everything")


async def describe(here: Importer, nocodb: PacedNocoDB) -> tuple[list[Field], list[NocoRecord]]:
    table = find_table(nocodb)
    layout = await here.source.schemas.describe_table(Viewer(), table.title)
    records = [NocoRecord(str(id), table.row_json(id)["fields"]) for id in table.rows]
    return list(layout.fields), records


def test_each_type_is_tried() -> None:
    writable = {name for name, type in FIELD_TYPES.items() if not type.is_computed}
    assert writable == CELLS.keys() | OTHERS


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("locale", ["en", "pt-BR", "fr"])
async def test_an_export_comes_back_unchanged(
    bot_home: BotHome, nocodb: PacedNocoDB, form: ExportFormat, locale: str
) -> None:
    add_tables(nocodb)
    async with importer(bot_home, nocodb.origin) as here:
        fields, records = await describe(here, nocodb)
        with use_locale(locale):
            data = export_rows(records, fields, ZONE, form, "Everything").data
        for key in ("Id", "Name"):
            columns = {f.title: f.title for f in fields if not f.is_computed or f.title == key}
            answer = await here.send_file(
                f"{key}.{form}", data, columns, type=MEDIA_TYPES[form], table="Everything", key=key
            )
            assert [card.rows for card in answer.cards] == []
            assert '"unchanged":4' in answer.text.replace("\\", ""), answer.text


@pytest.mark.parametrize("form", ["csv", "xlsx"])
async def test_an_export_makes_the_same_rows_anew(
    bot_home: BotHome, nocodb: PacedNocoDB, form: ExportFormat
) -> None:
    """Spaces around a text and letters that nobody sees are left out."""
    table = add_tables(nocodb)
    async with importer(bot_home, nocodb.origin) as here:
        fields, records = await describe(here, nocodb)
        before = [dict(row) for row in table.rows.values()]
        with use_locale("pt-BR"):
            data = export_rows(records, fields, ZONE, form, "Everything").data
        table.rows.clear()
        columns = {f.title: f.title for f in fields if not f.is_computed and not f.is_link}
        del columns["A User"]  # the fake keeps no people
        answer = await here.send_file(
            f"a.{form}", data, columns, type=MEDIA_TYPES[form], table="Everything"
        )
        (card,) = answer.cards
        assert "4 rows in the file: 4 new." in card.text
        await here.bot.ask(f"approve {card.id}")
        for old, new in zip(before, table.rows.values(), strict=True):
            for title in columns:
                assert show(new[title]) == show(old[title]), title


def show(cell: object) -> object:
    if isinstance(cell, float):
        return round(cell, 12)
    if isinstance(cell, str) and cell[:1] in ("{", "[", '"'):
        return json.loads(cell)
    return clean_text(cell).strip() if isinstance(cell, str) else cell


async def test_fields_that_no_file_fills_are_named(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    add_tables(nocodb)
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Id;CreatedAt;Name;File\n1;2026-01-01;x;y\n"
        for field in ("CreatedAt", "Id"):
            columns = {field: field, "Name": "Name"}
            answer = await here.send_file(f"{field}.csv", data, columns, table="Everything")
            assert f"{field} is filled in automatically" in answer.text
            assert not answer.cards
        answer = await here.send_file("f.csv", data, {"Contract": "File", "Name": "Name"})
        assert "Contract can't be imported" in answer.text


def test_an_id_may_be_the_key_alone() -> None:
    id = Field("i", "Id", "ID")
    check_columns({id: 0}, id)
    with pytest.raises(ToolError, match="filled in automatically"):
        check_columns({id: 0})


async def test_rows_by_their_id(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """An empty id is a new row; an id that the table lacks is none."""
    add_tables(nocodb)
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Id,Name\n1,changed\n,new\n99,odd\n"
        columns = {"Id": "Id", "Name": "Name"}
        (card,) = (
            await here.send_file("ids.csv", data, columns, table="Everything", key="Id")
        ).cards
        assert "3 rows in the file: 1 new, 1 changed, 1 rejected." in card.text
        assert "The table has no row with the key 99." in card.text
        await here.bot.ask(f"approve {card.id}")
        names = [row["Name"] for row in find_table(nocodb).rows.values()]
        assert names == ["changed", "'00123", "00123", "Ana", "new"]
