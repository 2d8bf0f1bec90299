"""What a field takes, and how what NocoDB holds is told from what it was given."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.tools.nocodb.fieldtypes import (
    Field,
    in_time_zone,
    is_same_entry,
    is_same_value,
    linked_ids,
    normalise_cell,
    parse_value,
)

ZONE = ZoneInfo("America/Sao_Paulo")
OPTIONS = ("Lead", "Won", "won")


def field(type: str) -> Field:
    return Field("c1", "Field", type, options=OPTIONS)


@pytest.mark.parametrize(
    ("type", "value", "kept"),
    [
        ("SingleLineText", 79, "79"),
        ("PhoneNumber", "+55 11", "+55 11"),
        ("SomethingNew", "text", "text"),
        ("Number", "-79", -79),
        ("Number", 79.0, 79),
        ("Decimal", " 1.50 ", 1.5),
        ("Percent", "50 %", 50),
        ("Duration", "1:30", 5400),
        ("Duration", "0:01:05", 65),
        ("Rating", 10, 10),
        ("Year", "2026", 2026),
        ("Checkbox", None, False),
        ("Checkbox", 1, True),
        ("Date", " 2028-02-29 ", "2028-02-29"),
        ("DateTime", "2026-11-20", "2026-11-20 00:00:00-03:00"),
        ("DateTime", "2026-11-20T14:30Z", "2026-11-20 14:30:00+00:00"),
        ("DateTime", "2026-11-20T14:30:15.75Z", "2026-11-20 14:30:15+00:00"),
        ("DateTime", "1800-01-01", "1800-01-01 03:06:28+00:00"),
        ("Time", "14:30", "14:30:00"),
        ("Email", " ana@example.com ", "ana@example.com"),
        ("URL", "http://localhost:8080/a", "http://localhost:8080/a"),
        ("SingleSelect", "won", "won"),
        ("MultiSelect", "Lead, Won,Lead", ["Lead", "Won"]),
        ("User", [{"email": "Ana@Example.com"}], ["ana@example.com"]),
        ("JSON", '{"b":1,"a":[]}', '{"a": [], "b": 1}'),
        ("Attachment", [], None),
        ("Date", "", None),
    ],
)
def test_values_that_a_field_accepts(type: str, value: object, kept: object) -> None:
    assert parse_value(field(type), value, ZONE) == kept


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("SingleLineText", True),
        ("SingleLineText", ["a"]),
        ("LongText", "x" * 100_001),
        ("Number", 7.5),
        ("Number", 2**53),
        ("Number", "1e3"),
        ("Decimal", "1,5"),
        ("Decimal", "NaN"),
        ("Currency", "R$ 5"),
        ("Duration", "1:75"),
        ("Duration", -60),
        ("Rating", 11),
        ("Year", 26),
        ("Checkbox", "maybe"),
        ("Date", "2026-11-31"),
        ("Date", "2026-11-20T10:00"),
        ("Date", 20261120),
        ("Date", "0026-11-20"),
        ("DateTime", "0026-11-20 10:00"),
        ("DateTime", "9999-12-31 23:59"),
        ("DateTime", "today"),
        ("DateTime", "2026-11-20 25:00"),
        ("Time", "25:99"),
        ("Time", "2 pm"),
        ("Email", "ana@localhost, bob@example.com"),
        ("URL", "javascript:alert(1)"),
        ("URL", "two words"),
        ("SingleSelect", "WON"),
        ("MultiSelect", ["Lead", "lost"]),
        ("User", ["ana"]),
        ("JSON", "nope"),
        ("JSON", '{"a": 1e999}'),
        ("JSON", "NaN"),
        ("Attachment", "file.txt"),
    ],
)
def test_values_that_a_field_refuses(type: str, value: object) -> None:
    with pytest.raises(ToolError) as error:
        parse_value(field(type), value, ZONE)
    assert "Field" in str(error.value)


@pytest.mark.parametrize(
    ("type", "cell", "kept"),
    [
        ("Checkbox", None, False),
        ("Checkbox", "0", False),
        ("Checkbox", 1, True),
        ("MultiSelect", "Lead,Won", ["Lead", "Won"]),
        ("MultiSelect", "", None),
        ("Time", "1999-01-01 14:30:00+00:00", "14:30:00"),
        ("JSON", '{"b":1, "a":2}', '{"a": 2, "b": 1}'),
        ("JSON", "no json", "no json"),
        ("User", [{"id": "u1", "email": "Ana@x.org", "display_name": None}], ["ana@x.org"]),
        ("Attachment", [{"id": "a1", "title": "a.txt", "path": "p", "signedPath": "secret"}],
         [{"path": "p", "title": "a.txt"}]),
    ],
)  # fmt: skip
def test_cells_as_they_are_compared(type: str, cell: object, kept: object) -> None:
    assert normalise_cell(field(type), cell) == kept


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("079", "79", False),
        ("2026-11-20 11:30:00-03:00", "2026-11-20 14:30:00+00:00", True),
        ("2026-11-20", "2026-11-20 00:00:00+00:00", False),
        (12.5, "12.50", True),
        (0, None, False),
        (False, None, False),
        (None, "", True),
        (None, [], True),
        (["a", "b"], ["b", "a"], True),
        (["a"], ["A"], False),
        ([{"id": "1", "title": "x"}], [{"id": "1", "title": "renamed"}], True),
        ([{"id": "1", "title": "x"}], [], False),
    ],
)
def test_entries_that_count_as_the_same(one: Any, other: Any, same: bool) -> None:
    assert is_same_entry(one, other) == is_same_entry(other, one) == same


def test_entries_are_converted_for_nocodb_and_for_people() -> None:
    assert field("User").field_type.to_nocodb(["a@x.org", "b@x.org"]) == "a@x.org,b@x.org"
    assert field("MultiSelect").field_type.to_nocodb(["Lead"]) == ["Lead"]
    assert (
        in_time_zone(field("DateTime"), "2026-11-20 14:30:00+00:00", ZONE)
        == "2026-11-20 11:30:00-03:00"
    )
    for last in ("9999-12-31 23:59:59+00:00", "0001-01-01 00:00:00+00:00"):
        zones = (ZONE, ZoneInfo("Asia/Tokyo"))
        assert last in [in_time_zone(field("DateTime"), last, zone) for zone in zones]
    assert in_time_zone(field("DateTime"), None, ZONE) is None
    assert in_time_zone(field("Date"), "2026-11-20", ZONE) == "2026-11-20"
    assert linked_ids([{"id": 1}, {"id": "2"}]) == {"1", "2"}
    assert linked_ids(None) == frozenset()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", "a"), (1, 1), ("79", 79), (79, "79.0"), (" 7 ", 7), (1e3, "1000"),
        (None, ""), ("", None), ([], None), (True, 1), ("true", True), (False, "false"),
        ("2026-11-20", "2026-11-20 00:00:00+00:00"), ("2026-11-20", "2026-11-20"),
        ("2026-11-20T10:00:00Z", "2026-11-20 11:00:00+01:00"),
        ("2026-11-20T10:00", "2026-11-20 10:00:00+00:00"),
        ([1, 2], [1, 2]), ({"a": [1]}, {"a": [1]}),
    ],
)  # fmt: skip
def test_values_that_count_as_the_same(wanted: Any, found: Any) -> None:
    assert is_same_value(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", "A"), ("a", None), (0, None), (False, None), (0, ""), (79, 78), ("nan", "nan1"),
        (True, "yes it is"), (True, 2), ("2026-11-20", "2026-11-21"), ("2026-11-20", "20 Nov"),
        ([1], [2]), ({"a": 1}, {}), ({"a": 1}, "a"), (1, [1]), ("1e400", "2e400"),
    ],
)  # fmt: skip
def test_values_that_count_as_different(wanted: Any, found: Any) -> None:
    assert not is_same_value(wanted, found)
