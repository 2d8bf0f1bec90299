"""Answers as models write them, with the results that they are about, and wrong figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.base.i18n import use_locale
from core.base.value_formats import format_value
from core.domain.rows import RowColumn, RowsResult
from core.figures.check import FigureCheck, check_figures

Case = dict[str, Any]


def load(half: str) -> list[Case]:
    lines = (Path(__file__).parent / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def check(case: Case, answer: str = "") -> FigureCheck:
    with use_locale(case["locale"]):
        tables = [r for r in (*case["results"], *case["quoted"]) if "columns" in r]
        runs = [r["text"] for r in case["results"] if "text" in r]
        results, texts = [build_rows(table) for table in tables], [dump(table) for table in tables]
        return check_figures(answer or case["answer"], case["asked"], results, texts, runs)


def plant_faults(case: Case) -> Iterator[tuple[str, FigureCheck]]:
    for fault in case["wrong"]:
        assert fault["right"] in case["answer"]
        wrong = case["answer"].replace(fault["right"], fault["wrong"], 1)
        yield fault["kind"], check(case, wrong)


def build_rows(table: Case) -> RowsResult:
    columns = tuple(RowColumn(**column) for column in table["columns"])
    table = dict(table, rows=list(table["rows"]))
    total: tuple[str, ...] = ()
    if table["rows"] and str(table["rows"][-1][0]).lower() == "total":
        row = table["rows"].pop()
        total = tuple(format_cell(v, c) for v, c in zip(row, columns, strict=True))
    return RowsResult(
        table["table"],
        columns,
        tuple(
            tuple(format_cell(v, c) for v, c in zip(row, columns, strict=True))
            for row in table["rows"]
        ),
        tuple(
            tuple(
                v if c.kind == "number" or c.format else None
                for v, c in zip(row, columns, strict=True)
            )
            for row in table["rows"]
        ),
        total,
    )


def format_cell(value: Any, column: RowColumn) -> str:
    if value is None or isinstance(value, str | bool):
        return "" if value is None else str(value)
    return format_value(value, column.format)


def dump(table: Case) -> str:
    return json.dumps({"total": table["total"], "rows": table["rows"]}, ensure_ascii=False)
