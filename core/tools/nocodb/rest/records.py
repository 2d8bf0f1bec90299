"""What NocoDB's calls take and give: plain frozen data, and how it is read from its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.tools.nocodb.rest.error import unreadable

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class At:
    """A table, by the ids of its base and its own."""

    base: str
    table: str


@dataclass(frozen=True, slots=True)
class Named:
    """A table as the list of them tells it."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Base:
    """`foreign` are the ids of its databases that NocoDB did not make."""

    id: str
    title: str
    foreign: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Record:
    """A row: `fields` by title. The rows in a link cell are cut at 25: `NocoApi.links` has all."""

    id: str
    fields: Json


@dataclass(frozen=True, slots=True)
class Page:
    """`more`: another page follows. How many rows there are in all, `NocoApi.count` tells."""

    records: tuple[Record, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """`field` is an id or a title."""

    field: str
    direction: Literal["asc", "desc"] = "asc"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`field` is an id (a title gives nothing, without a word); `type` as sum, avg, min, max."""

    field: str
    type: str


def json_object(told: object) -> Json:
    """Raises NocoError where it is none."""
    if not isinstance(told, Mapping):
        raise unreadable()
    return told


def named(told: object) -> Sequence[Named]:
    """{"list": [{"id", "title"}]}."""
    each = [json_object(one) for one in _list(json_object(told), "list")]
    return [Named(str(one.get("id") or ""), str(one.get("title") or "")) for one in each]


def bases(told: object) -> Sequence[Base]:
    """{"list": [{"id", "title", "sources": [{"id", "is_meta", "is_local"}]}]}."""
    each = [json_object(one) for one in _list(json_object(told), "list")]
    return [
        Base(str(one.get("id") or ""), str(one.get("title") or ""), _foreign(one.get("sources")))
        for one in each
    ]


def _foreign(sources: object) -> frozenset[str]:
    listed = sources if isinstance(sources, list) else []
    return frozenset(
        str(source.get("id"))
        for source in listed
        if isinstance(source, Mapping) and not (source.get("is_meta") or source.get("is_local"))
    )


def record(told: object) -> Record:
    """{"id", "fields"}."""
    one = json_object(told)
    fields = one.get("fields")
    if one.get("id") is None:
        raise unreadable()
    return Record(str(one["id"]), fields if isinstance(fields, Mapping) else {})


def page(told: object) -> Page:
    """{"records": […], "next": address or null}."""
    answer = json_object(told)
    rows = _list(answer, "records")
    return Page(tuple(record(one) for one in rows), more=bool(answer.get("next")))


def linked(told: object) -> Page:
    """As `page`; a link to one row at most has {"record": row or null}."""
    answer = json_object(told)
    if "record" in answer:
        only = answer["record"]
        return Page((record(only),) if only else ())
    return page(answer)


def _list(told: Json, name: str) -> Sequence[object]:
    rows = told.get(name)
    if not isinstance(rows, list):
        raise unreadable()
    return rows
