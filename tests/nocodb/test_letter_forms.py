"""Texts with accents apart from their letters, as programs on a Mac write them, are found, grouped
and linked like composed ones."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest

from core.domain.records import Viewer
from tests.nocodb.places import Place
from tests.nocodb.reader import Reader

NAMES = ("José", "Jose\u0301", "Joana", "한글", unicodedata.normalize("NFD", "한글"))


async def fill(place: Place, most: int = 5_000) -> Reader:
    api, schemas = place.tables, place.schemas()
    table = await schemas.describe_table(Viewer(), "Customers")
    await api.create_rows(table.at, [{"Name": name, "Value": 2} for name in NAMES])
    return Reader(api, schemas, most=most)


async def count(reader: Reader, *filters: tuple[str, str, object]) -> int:
    summary = await reader.summary(
        "Customers", ("Value", "sum"), where=(("Value", "eq", 2), *filters)
    )
    assert summary["all"]["sum of Value"] == 2 * summary["total"]
    result = await reader.query("Customers", ("Value", "eq", 2), *filters)
    assert result["total"] == summary["total"]
    return int(result["total"])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_either_form_finds_both(own_table_place: Place, form: Literal["NFC", "NFD"]) -> None:
    reader = await fill(own_table_place)

    def spell(text: str) -> str:
        return unicodedata.normalize(form, text)

    assert await count(reader, ("Name", "eq", spell("José"))) == 2
    assert await count(reader, ("Name", "in", [spell("José"), "Joana"])) == 3
    assert await count(reader, ("Name", "neq", spell("José"))) == 3
    assert await count(reader, ("Name", "contains", spell("é"))) == 2
    assert await count(reader, ("Name", "contains", spell("한"))) == 2
    assert await count(reader, ("Name", "not_contains", spell("한"))) == 3
    groups = await reader.summary("Customers", where=(("Value", "eq", 2),), group_by="Name")
    assert {row["Name"]: row["rows"] for row in groups["rows"]} == {
        "José": 2,
        "한글": 2,
        "Joana": 1,
    }


async def test_nocodb_adds_up_both_forms_itself(own_table_place: Place) -> None:
    """Of more rows than are read."""
    reader = await fill(own_table_place, most=1)
    if not own_table_place.sample:
        where = (("Value", "eq", 2), ("Name", "in", ["José", "한글"]))
        summary = await reader.summary("Customers", ("Value", "sum"), where=where)
        assert summary["all"] == {"sum of Value": 8}
        assert "read" not in summary
