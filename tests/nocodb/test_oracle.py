"""Random questions over random rows, each answered a second time by a few lines of plain Python."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoRecord
from tests.fakes.nocodb import filled
from tests.nocodb.places import Place
from tests.nocodb.reader import Reader

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NEW_YEAR = datetime(2026, 12, 31, 22, 30, tzinfo=SAO_PAULO)
"""In UTC it is 2027."""
Row = dict[str, Any]
Chosen = dict[int, list[tuple[int, Row]]]
"""Rows by id, each with its linked rows."""

NAMES = (
    "Ana", "Zoé", "ana", "x,y", 'say "no"', "it's", "(a)", "~and", "null", "007", "7", "100%",
    "a_b", "🙂 ok", "שלום", "=1+1", "A" * 90, "A" * 90 + "b", None,
)  # fmt: skip
KINDS: dict[str, dict[str, str]] = {
    "Customers": {
        "Name": "text",
        "Status": "select",
        "Tags": "tags",
        "Value": "number",
        "Active": "check",
        "Since": "day",
        "Seen": "moment",
    },
    "Orders": {"Title": "text", "Amount": "number", "Paid": "check", "Due": "day"},
}
LINKS = {"Customers": ("Orders", "Orders"), "Orders": ("Customers", "Customers")}
DAY = date(2026, 12, 31)


@dataclass(slots=True)
class World:
    """`owners`: the customer of each order that has one."""

    rows: dict[str, dict[int, Row]]
    owners: dict[int, int] = field(default_factory=dict)

    def linked_rows(self, table: str, id: int) -> list[tuple[int, Row]]:
        if table == "Orders":
            match = [self.owners[id]] if id in self.owners else []
        else:
            match = [order for order, owner in self.owners.items() if owner == id]
        return [(each, self.rows[LINKS[table][1]][each]) for each in match]


def random_cell(random: Random, kind: str) -> Any:
    if kind == "check":
        return random.random() < 0.5
    if random.random() < 0.2:
        return None
    days = timedelta(random.choice((-400, -31, -1, 0, 0, 1, 40)))
    match kind:
        case "select":
            return random.choice(("Lead", "Active", "Lost"))
        case "tags":
            return random.sample(("vip", "late payer", "new"), random.randint(1, 3))
        case "number":
            return random.choice((0, 0.1, 0.2, -0.3, 7, 19.99, 1234567.89, -5))
        case "day":
            return (DAY + days).isoformat()
        case "moment":
            at = datetime(2026, 12, 31, 3, 0, tzinfo=UTC) + days
            at += timedelta(seconds=random.choice((-1, 0, 1, 43_200, 86_399)))
            return at.isoformat(sep=" ")
    return random.choice(NAMES)


async def fill(place: Place, random: Random) -> World:
    api, schemas = place.tables, place.schemas()
    world = World({"Customers": {}, "Orders": {}})
    tables = {name: await schemas.describe_table(Viewer(), name) for name in KINDS}
    for name, kinds in KINDS.items():
        ids = range(1, 31 if name == "Customers" else 61)
        rows = {id: {f: random_cell(random, kind) for f, kind in kinds.items()} for id in ids}
        world.rows[name] = rows
        for start in range(0, len(rows), 10):
            batch = [NocoRecord(str(id), rows[id]) for id in ids[start : start + 10]]
            await api.update_rows(tables[name].at, batch)
    links = tables["Customers"].field("Orders")
    await api.write_links(tables["Customers"].at, links.id, "1", ["1", "2"], remove=True)
    for customer, count in ((1, 30), (2, 1), (3, 4), (7, 5)):
        orders = [o for o in range(1, 61) if o not in world.owners]
        sample = random.sample(orders, count)
        world.owners |= dict.fromkeys(sample, customer)
        await api.write_links(
            tables["Customers"].at, links.id, str(customer), list(map(str, sample)), remove=False
        )
    return world


def random_filter(random: Random, kind: str) -> tuple[str, Any]:
    if kind == "check":
        return random.choice(("eq", "neq")), random.random() < 0.5
    if random.random() < 0.15:
        return random.choice(("blank", "notblank")), None
    if kind == "number":
        op = random.choice(("eq", "neq", "gt", "gte", "lt", "lte", "between", "in"))
        value = random.choice((0, 0.1, "7", -0.3, 19.99))
        return op, {"between": [-0.3, 7], "in": [0.1, "7"]}.get(op, value)
    if kind in ("day", "moment"):
        op = random.choice(("eq", "neq", "gt", "gte", "lt", "lte"))
        return op, random.choice(("2026-12-31", "2026-12", "this_year", "next_year", "tomorrow"))
    if kind in ("select", "tags"):
        options = ("Lead", "Lost") if kind == "select" else ("vip", "new")
        return random.choice(("eq", "neq")), random.choice(options)
    op = random.choice(("eq", "neq", "contains", "not_contains", "in"))
    texts = [each for each in NAMES if each]
    return op, random.sample(texts, 3) if op == "in" else random.choice((*texts, "a", "%", "é"))


SPANS = {
    "2026-12-31": (date(2026, 12, 31), date(2027, 1, 1)),
    "2026-12": (date(2026, 12, 1), date(2027, 1, 1)),
    "this_year": (date(2026, 1, 1), date(2027, 1, 1)),
    "next_year": (date(2027, 1, 1), date(2028, 1, 1)),
    "tomorrow": (date(2027, 1, 1), date(2027, 1, 2)),
}


def local_day(kind: str, cell: str) -> date:
    if kind == "day":
        return date.fromisoformat(cell)
    return datetime.fromisoformat(cell).astimezone(SAO_PAULO).date()


def fits(kind: str, cell: Any, op: str, value: Any) -> bool:
    if kind == "check":
        return bool((bool(cell) == value) == (op == "eq"))
    if op in ("blank", "notblank"):
        return (cell in (None, [])) == (op == "blank")
    if cell is None:
        return op in ("neq", "not_contains")
    if kind == "number":
        number = Decimal(str(cell))
        values = [Decimal(str(each)) for each in (value if isinstance(value, list) else [value])]
        first = values[0]
        return {
            "eq": number == first,
            "neq": number != first,
            "gt": number > first,
            "gte": number >= first,
            "lt": number < first,
            "lte": number <= first,
            "between": first <= number <= values[-1],
            "in": number in values,
        }[op]
    if kind in ("day", "moment"):
        day, (start, end) = local_day(kind, cell), SPANS[value]
        return {
            "eq": start <= day < end,
            "neq": not start <= day < end,
            "gt": day >= end,
            "gte": day >= start,
            "lt": day < start,
            "lte": day < end,
        }[op]
    if kind == "tags":
        return (value in cell) == (op == "eq")
    if op in ("contains", "not_contains"):
        return (value.casefold() in cell.casefold()) == (op == "contains")
    return (cell in value) if op == "in" else (cell == value) == (op == "eq")


OPPOSITE = {"neq": "eq", "not_contains": "contains", "blank": "notblank"}


def choose(world: World, table: str, where: Sequence[tuple[str, str, Any]]) -> Chosen:
    """Return the ids of the rows that fit, with the linked rows that do."""
    data = {}
    other = LINKS[table][1]
    for id, row in world.rows[table].items():
        own = [each for each in where if "." not in each[0]]
        if not all(fits(KINDS[table][name], row[name], op, value) for name, op, value in own):
            continue
        links = [(n.partition(".")[2], op, value) for n, op, value in where if "." in n]
        rows = world.linked_rows(table, id)
        if table == "Orders":
            cells = rows[0][1] if rows else {}
            if not all(fits(KINDS[other][n], cells.get(n), op, v) for n, op, v in links):
                continue
        elif links:
            (name, op, value) = links[0]
            rows = [
                r for r in rows if fits(KINDS[other][name], r[1][name], OPPOSITE.get(op, op), value)
            ]
            if bool(rows) == (op in OPPOSITE):
                continue
        data[id] = rows
    return data


def compute(kind: str, fn: str, cells: Sequence[Any]) -> Any:
    filled = [cell for cell in cells if cell not in (None, [])]
    match fn:
        case "count":
            return len(cells)
        case "filled":
            return len(filled)
        case "empty":
            return len(cells) - len(filled)
        case "unique":
            return len({frozenset(c) if isinstance(c, list) else c for c in filled})
    if kind == "day":
        return (min if fn == "min" else max)(filled, default=None)
    numbers = [Decimal(str(cell)) for cell in filled]
    if fn == "sum":
        return sum(numbers, Decimal())
    if not numbers:
        return None
    functions: dict[str, Callable[[list[Decimal]], Decimal]] = {
        "avg": lambda all: sum(all, Decimal()) / len(all),
        "median": statistics.median,
        "min": min,
        "max": max,
    }
    return functions[fn](numbers)


def is_equal(told: Any, expected: Any) -> bool:
    if isinstance(expected, Decimal):
        return abs(Decimal(str(told)) - expected) <= Decimal("0.005")
    return bool(told == expected)


def cells_of(world: World, table: str, name: str, chosen: Chosen) -> list[Any]:
    """Return a field's cell of each row, or of each of their linked rows once."""
    if "." not in name:
        return [world.rows[table][id][name] for id in chosen]
    links = {id: row for rows in chosen.values() for id, row in rows}
    return [row[name.partition(".")[2]] for row in links.values()]


def group_values(kind: str, cell: Any) -> list[Any]:
    if kind == "check":
        return ["checked" if cell else "not checked"]
    if cell is None:
        return ["(empty)"]
    if kind in ("day", "moment"):
        return [f"{local_day(kind, cell):%Y-%m}"]
    if kind == "number":
        return [format(Decimal(str(cell)).normalize(), "f")]
    return list(cell) if isinstance(cell, list) else [cell]


async def test_every_figure_is_what_plain_python_computes(own_table_place: Place) -> None:
    random = Random(1)
    world = await fill(own_table_place, random)
    is_real = not own_table_place.sample and own_table_place.token != filled.OWNER
    reader = Reader(own_table_place.tables, own_table_place.schemas(), now=NEW_YEAR)
    for _ in range(8 if is_real else 25):  # a real NocoDB takes a second for each
        table = random.choice(("Customers", "Orders"))
        link, other = LINKS[table]
        paths = {**KINDS[table], **{f"{link}.{name}": kind for name, kind in KINDS[other].items()}}
        names = random.sample(sorted(paths), random.randint(0, 2))
        if sum("." in each for each in names) > 1 and table == "Customers":
            names = names[:1]
        where = tuple((name, *random_filter(random, paths[name])) for name in names)
        is_absent = table == "Customers" and any("." in n and op in OPPOSITE for n, op, _ in where)
        choice = choose(world, table, where)
        question = f"{table} {where}"
        if len(choice) <= 50:
            assert await reader.ids(table, *where) == sorted(choice), question
        if is_absent:
            continue

        questions = []
        for name in random.sample(sorted(paths), 3):
            fns = ["count", "filled", "empty", "unique"]
            if paths[name] == "check":
                fns = ["count"]
            fns += ["sum", "avg", "min", "max", "median"] if paths[name] == "number" else []
            fns += ["min", "max"] if paths[name] == "day" else []
            questions.append((name, random.choice(fns)))
        summary = await reader.summary(table, *questions, where=where)
        question += f" {questions}"
        assert summary["total"] == len(choice), question
        for name, fn in questions:
            expected = compute(paths[name], fn, cells_of(world, table, name, choice))
            assert is_equal(summary["all"][f"{fn} of {name}"], expected), (
                f"{question} {expected} {summary}"
            )
        group = random.choice(sorted(paths))
        groups: dict[Any, Chosen] = {}
        for id, links in choice.items():
            if "." not in group:
                for value in group_values(paths[group], world.rows[table][id][group]):
                    groups.setdefault(value, {})[id] = links
            for each in links if "." in group else ():  # a group has its own linked rows alone
                for value in group_values(paths[group], each[1][group.partition(".")[2]]):
                    groups.setdefault(value, {}).setdefault(id, []).append(each)
            if "." in group and not links:
                groups.setdefault("(empty)", {})[id] = []
        bucket = "month" if paths[group] in ("day", "moment") else None
        summary = await reader.summary(
            table, *questions, where=where, group_by=group, bucket=bucket
        )
        question += f" by {group}"
        assert sorted(row["rows"] for row in summary["rows"]) == sorted(
            map(len, groups.values())
        ), question
        for row in summary["rows"]:
            ids = groups.get(row[group])
            for name, fn in questions if ids else ():
                expected = compute(paths[name], fn, cells_of(world, table, name, ids or {}))
                assert is_equal(row[f"{fn} of {name}"], expected), f"{question} {expected} {row}"
