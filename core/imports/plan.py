"""The plan of an import: what happens with each row of a file. A person approves its very bytes."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from core.base.redaction import is_secret_name
from core.base.value_formats import parse_number
from core.domain.changes import Row, RowWrite

PlanKind = Literal["new", "changed", "unchanged", "refused"]
Weight = tuple[Decimal, int]
PLAN_TYPE = "application/x-ponte-plan"
"""The media type of a plan among Ponte's files. It is offered to nobody as it is: it has values
that its readers may not see."""
MAX_EXAMPLES = 8
MAX_EXAMPLE_FIELDS = 4
ROWS_PER_PART = 100
MAX_NAMED_ROWS = 5
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
    reasons: Sequence[str] = ()
    cells: Sequence[Any] = ()

    @classmethod
    def decode(cls, line: bytes) -> PlanRow:
        return cls(**json.loads(line))

    @property
    def write(self) -> RowWrite:
        return RowWrite(self.id, self.before, self.after)


Part = tuple[str, tuple[RowWrite, ...]]
"""A kind of change ("update", "create") and its rows, at most `ROWS_PER_PART`."""


def split_rows(read: Callable[[], Iterable[PlanRow]]) -> Iterator[Part]:
    """Yield what is written of the rows, which are read twice: a run holds few of them at once."""
    for kind, change in (("changed", "update"), ("new", "create")):
        writes = (row.write for row in read() if row.kind == kind)
        while part := tuple(islice(writes, ROWS_PER_PART)):
            yield change, part


@dataclass(frozen=True)
class Plan:
    """`columns` are those of the file, `rows` in its order. `notes`: what was decided about the
    file, for the card alone. `salt` is random where rows have a secret, so that nobody can find out
    its value from the digest, which the card shows."""

    columns: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()
    salt: str = ""

    @classmethod
    def decode(cls, data: Sequence[bytes]) -> Plan:
        head, *lines = data
        columns, *_ = head.split(b"\t")
        return cls(tuple(json.loads(columns)), tuple(map(PlanRow.decode, lines)))

    @cached_property
    def data(self) -> bytes:
        lines = [
            f"{json.dumps(self.columns)}\t{self.salt}".rstrip(),
            *(json.dumps(asdict(row)) for row in self.rows),
        ]
        return "\n".join(lines).encode()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def counts(self) -> Counter[PlanKind]:
        return Counter(row.kind for row in self.rows)

    @property
    def written_rows(self) -> Sequence[PlanRow]:
        return [row for row in self.rows if row.after is not None]

    def with_writes(self, writes: Sequence[RowWrite]) -> Plan:
        """Return the plan with these in place of `written_rows`. Its salt keeps a reader of its
        digest from guessing what they add."""
        befores = iter([write.before for write in writes])
        rows = tuple(
            row if row.after is None else replace(row, before=next(befores)) for row in self.rows
        )
        return replace(self, rows=rows, salt=self.salt or secrets.token_hex(16))

    def parts(self) -> Iterator[Part]:
        return split_rows(lambda: self.rows)


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
    """The fields are in the order of the plan."""
    totals = []
    for title, rows in _group_by_field(plan).items():
        after = [(row.after or {})[title] for row in rows]
        before = [row.before[title] for row in rows if row.before and title in row.before]
        distinct = len({json.dumps(value, sort_keys=True) for value in after})
        sides = [[], []] if is_secret_name(title) else [before, after]
        totals.append(FieldTotals(title, len(rows), distinct, *map(_measure, sides)))
    return totals


def _group_by_field(plan: Plan) -> Mapping[str, Sequence[PlanRow]]:
    rows: dict[str, list[PlanRow]] = {}
    for row in plan.written_rows:
        for title in row.after or ():
            rows.setdefault(title, []).append(row)
    return rows


def _measure(values: Sequence[Any]) -> tuple[str, str, str]:
    filled = [value for value in values if value not in (None, "", [])]
    numbers = [number for value in filled if (number := _number(value)) is not None]
    days = [value for value in filled if isinstance(value, str) and _DAY.match(value)]
    if numbers and len(numbers) == len(filled):
        return str(min(numbers)), str(max(numbers)), str(sum(numbers, Decimal()))
    return (min(days), max(days), "") if days and len(days) == len(filled) else ("", "", "")


def _number(value: Any) -> Decimal | None:
    """A text of digits, such as a telephone number, is none."""
    return None if isinstance(value, str) else parse_number(value)


def choose_examples(plan: Plan) -> list[PlanRow]:
    """Return rows for people to look at: for each field the largest change or the rarest new value,
    then others by the plan's digest, which no author of a file can choose."""
    chosen = []
    fields = [field for field in _group_by_field(plan).items() if not is_secret_name(field[0])]
    for title, rows in fields[:MAX_EXAMPLE_FIELDS]:
        count = Counter(repr((row.after or {})[title]) for row in rows)

        def weigh(row: PlanRow, title: str = title, count: Counter[str] = count) -> Weight:
            after, before = ((side or {}).get(title) for side in (row.after, row.before))
            change = abs((_number(after) or Decimal()) - (_number(before) or Decimal()))
            return change, -count[repr(after)]

        chosen.append(max(rows, key=weigh))
    others = sorted(
        plan.written_rows,
        key=lambda row: hashlib.sha256(f"{plan.digest} {row.number}".encode()).digest(),
    )
    samples = {row.number: row for row in [*chosen, *others[:MAX_EXAMPLES]]}
    return sorted([*samples.values()][:MAX_EXAMPLES], key=lambda row: row.number)


def count_reasons(plan: Plan, most: int = 8) -> list[tuple[str, int, list[int]]]:
    """Return the most common reasons, each with its number of rows and the first of them."""
    rows: dict[str, list[int]] = {}
    for row in plan.rows:
        for reason in row.reasons:
            rows.setdefault(reason, []).append(row.number)
    common = sorted(rows.items(), key=lambda reason: -len(reason[1]))[:most]
    return [(reason, len(numbers), numbers[:MAX_NAMED_ROWS]) for reason, numbers in common]


def summarize_rows(plan: Plan) -> dict[str, Any]:
    """Return what the card of an import says of its file (`describe_file_rows`)."""
    reasons = count_reasons(plan)
    named = {reason for reason, _, _ in reasons}
    named_rows = [row for row in plan.rows if not named.isdisjoint(row.reasons)]
    return {
        "counts": dict(plan.counts),
        "reasons": reasons,
        "named": len(named_rows),
        "notes": list(plan.notes),
    }
