"""The plan of an import: what happens with each row of a file. A person approves its very bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from core.base.value_formats import parse_number
from core.domain.changes import Row, RowWrite

PlanKind = Literal["new", "changed", "unchanged", "refused"]
PLAN_TYPE = "application/x-ponte-plan"
"""The media type of a plan among Ponte's files. It is offered to nobody as it is: it has values
that its readers may not see."""
MAX_SAMPLES = 8
MAX_SAMPLED_FIELDS = 4
ROWS_PER_PART = 100
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class PlanRow:
    """`number` is that of the row in the file. A new row has no `before`; an unchanged or a refused
    one has neither side, and a refused one its `reasons` and its `cells` as the file has them."""

    number: int
    kind: PlanKind
    id: str = ""
    before: Row | None = None
    after: Row | None = None
    reasons: tuple[str, ...] = ()
    cells: tuple[Any, ...] = ()

    @property
    def write(self) -> RowWrite:
        return RowWrite(self.id, self.before, self.after)


@dataclass(frozen=True)
class Plan:
    """`columns` are those of the file, `rows` in its order."""

    columns: tuple[str, ...]
    rows: tuple[PlanRow, ...]

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        head, *lines = data.decode().splitlines()
        rows = (
            PlanRow(**{**row, "reasons": tuple(row["reasons"])}) for row in map(json.loads, lines)
        )
        return cls(tuple(json.loads(head)), tuple(rows))

    @cached_property
    def data(self) -> bytes:
        lines = [json.dumps(self.columns), *(json.dumps(asdict(row)) for row in self.rows)]
        return "\n".join(lines).encode()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def counts(self) -> Mapping[PlanKind, int]:
        """It has all kinds of rows."""
        return {
            "new": 0,
            "changed": 0,
            "unchanged": 0,
            "refused": 0,
            **Counter(row.kind for row in self.rows),
        }

    def parts(self) -> Iterator[tuple[str, tuple[RowWrite, ...]]]:
        """Yield what is written, in pieces of at most `ROWS_PER_PART` rows: the kind of change
        ("update", "create") and its rows."""
        for kind, change in (("changed", "update"), ("new", "create")):
            writes = [row.write for row in self.rows if row.kind == kind]
            for start in range(0, len(writes), ROWS_PER_PART):
                yield change, tuple(writes[start : start + ROWS_PER_PART])


@dataclass(frozen=True, slots=True)
class FieldTotals:
    """One field of all rows that are written. Least, greatest and sum are those of numbers, before
    and after; least and greatest also of days. "" where there are none."""

    title: str
    rows: int
    distinct: int
    before: tuple[str, str, str]
    after: tuple[str, str, str]


def summarize_fields(plan: Plan) -> list[FieldTotals]:
    """Only of rows that are written."""
    writes = [row for row in plan.rows if row.after is not None]
    titles = dict.fromkeys(title for row in writes for title in row.after or ())
    totals = []
    for title in titles:
        rows = [row for row in writes if title in (row.after or {})]
        after = [(row.after or {})[title] for row in rows]
        before = [row.before[title] for row in rows if row.before and title in row.before]
        distinct = len({json.dumps(value, sort_keys=True) for value in after})
        totals.append(FieldTotals(title, len(rows), distinct, _measure(before), _measure(after)))
    return totals


def _measure(values: Sequence[Any]) -> tuple[str, str, str]:
    filled = [value for value in values if value not in (None, "", [])]
    numbers = [
        parse_number(v) for v in filled if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    exact = [number for number in numbers if number is not None]
    if exact and len(exact) == len(filled):
        return str(min(exact)), str(max(exact)), str(sum(exact, Decimal()))
    days = [value for value in filled if isinstance(value, str) and _DAY.match(value)]
    return (min(days), max(days), "") if days and len(days) == len(filled) else ("", "", "")


def choose_samples(plan: Plan) -> list[PlanRow]:
    """Return rows for people to look at: for each field the largest change or the rarest new value,
    then others by the plan's digest, which no author of a file can choose."""
    writes = [row for row in plan.rows if row.after is not None]
    chosen: dict[int, PlanRow] = {}
    titles = dict.fromkeys(title for row in writes for title in row.after or ())
    for title in [*titles][:MAX_SAMPLED_FIELDS]:
        rows = [row for row in writes if title in (row.after or {})]
        count = Counter(json.dumps((row.after or {})[title], sort_keys=True) for row in rows)

        def weigh(
            row: PlanRow, title: str = title, count: Counter[str] = count
        ) -> tuple[Decimal, int]:
            after, before = (row.after or {})[title], (row.before or {}).get(title)
            numbers = [
                parse_number(side) if isinstance(side, int | float) else None
                for side in (after, before)
            ]
            change = abs((numbers[0] or Decimal()) - (numbers[1] or Decimal()))
            return change, -count[json.dumps(after, sort_keys=True)]

        row = max(rows, key=weigh)
        chosen.setdefault(row.number, row)
    by_digest = sorted(
        writes, key=lambda row: hashlib.sha256(f"{plan.digest} {row.number}".encode()).digest()
    )
    for row in by_digest:
        if len(chosen) >= MAX_SAMPLES:
            break
        chosen.setdefault(row.number, row)
    return sorted(chosen.values(), key=lambda row: row.number)


def count_reasons(plan: Plan, most: int = 5) -> list[tuple[str, int]]:
    return Counter(reason for row in plan.rows for reason in row.reasons).most_common(most)
