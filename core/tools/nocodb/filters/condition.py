"""One filter on one field: what NocoDB is asked for it, and how a cell is checked here.

NocoDB cannot be asked for everything exactly: no value may hold both quotes or a backslash, `like`
takes % and _ for wildcards, and É and é are two letters to some databases. Then it is asked for
more, and the cells are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from core.errors import ToolError
from core.tools.nocodb.filters.spans import Span
from core.tools.nocodb.filters.where import Where
from core.tools.nocodb.schema import Field

Op = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "between",
    "contains", "not_contains", "in", "blank", "notblank",
]  # fmt: skip
Value = str | int | float | bool | list[str | int | float] | None
Operand = str | bool | Decimal | Span


@dataclass(frozen=True, slots=True)
class Condition:
    """`where` asks for every row that fits, and where it is not `exact` for more; None: for all.

    `holds` says of a cell what NocoDB would.
    """

    field: Field
    op: Op
    operands: tuple[Operand, ...]
    where: Where | None
    exact: bool
    holds: Callable[[object], bool]


def misfit(why: str) -> ToolError:
    return ToolError("That filter does not fit: {why}.", code="bad_filter", why=why)
