"""Texts with accents apart from their letters, as programs on a Mac write them, are found, grouped
and linked like composed ones."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

import pytest

from core.domain.rights import Viewer
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.filters import build_clause, build_condition
from tests.nocodb.places import Place, without_nocodb
from tests.nocodb.reader import Reader
from tests.nocodb.tables import NOW

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


MIXED = ("Jose\u0301 Conceição", "José Conceic\u0327a\u0303o", "José Conceição")
VIETNAMESE = ("Việt", "Vi\u00ea\u0323t", "Vi\u1eb9\u0302t", unicodedata.normalize("NFD", "Việt"))
MANY = ("áéíóúýâ", "a\u0301éíóúýâ")


@pytest.mark.parametrize("names", [MIXED, VIETNAMESE, MANY])
async def test_some_accents_of_a_text_are_apart(
    own_table_place: Place, names: Sequence[str]
) -> None:
    """As programs on Windows write Vietnamese, or where two texts were joined."""
    api, schemas = own_table_place.tables, own_table_place.schemas()
    table = await schemas.describe_table(Viewer(), "Customers")
    await api.create_rows(table.at, [{"Name": name, "Value": 2} for name in (*names, "Joana")])
    reader = Reader(api, schemas)
    for name in (names[0], names[-1]):
        assert await count(reader, ("Name", "eq", name)) == len(names)
        assert await count(reader, ("Name", "in", [name])) == len(names)
        assert await count(reader, ("Name", "contains", name)) == len(names)
        assert await count(reader, ("Name", "neq", name)) == 1
        assert await count(reader, ("Name", "not_contains", name)) == 1


@without_nocodb
async def test_a_letter_with_a_second_sign_is_found_as_it_was_read(own_table_place: Place) -> None:
    api, schemas = own_table_place.tables, own_table_place.schemas()
    table = await schemas.describe_table(Viewer(), "Customers")
    await api.create_rows(table.at, [{"Name": "5 \N{OHM SIGN}", "Value": 2}])
    assert await count(Reader(api, schemas), ("Name", "eq", "5 \N{OHM SIGN}")) == 1


@pytest.mark.parametrize("value", ["Perdu\u00e9", "Perdue\u0301", "perdué"])
def test_an_option_with_its_accents_apart(value: str) -> None:
    """NocoDB gets it as it is; of rows that Ponte checks itself, the same are found."""
    field = Field("c1", "Stage", "SingleSelect", options=("Perdue\u0301", "Won"))
    condition = build_condition(field, "eq", value, NOW)
    assert condition.where == build_clause("c1", "eq", "Perdue\u0301")
    assert condition.matches("Perdue\u0301")
    assert not condition.matches("Won")


async def test_nocodb_adds_up_both_forms_itself(own_table_place: Place) -> None:
    """Of more rows than are read."""
    reader = await fill(own_table_place, most=1)
    if not own_table_place.sample:
        where = (("Value", "eq", 2), ("Name", "in", ["José", "한글"]))
        summary = await reader.summary("Customers", ("Value", "sum"), where=where)
        assert summary["all"] == {"sum of Value": 8}
        assert "read" not in summary
