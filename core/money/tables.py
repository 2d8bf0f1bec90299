"""The tables of usage, and of what it costs."""

from __future__ import annotations

from core.store.tables import Index, TableDeclaration, count, integer, real, text

USAGE_TABLE = TableDeclaration(
    name="usage", whose="money", section="usage",
    contents="money, tokens, place and day of each turn",
    kept="for ever; nobody's once the person is forgotten",
    columns=(
        integer("seq"), text("day"), text("person"), text("conversation"), count("input"),
        count("cached"), count("output"), count("reasoning"), real("cost", null=True),
        text("place", default=""), count("is_counted", default=1),
    ),
    key=("seq",), indexes=(Index("usage_day", "day, person"), Index("usage_person", "person")),
)  # fmt: skip
SPENDINGS_TABLE = TableDeclaration(
    name="spendings", whose="money", section="spendings",
    contents="what each call cost", kept="as `usage`",
    columns=(
        integer("seq"), text("part"), text("person"), text("kind"), text("name"),
        count("input"), count("cached"), count("output"), count("reasoning"),
        real("cost", null=True),
        count("is_upper_bound"),  # 1: the real cost is unknown, and `cost` is its upper bound
    ),
    key=("seq", "part"), indexes=(Index("spendings_person", "person"),),
)  # fmt: skip
COUNTERS_TABLE = TableDeclaration(
    name="counters", whose="money", section="allowances", rows="person IN (:person, :one)",
    contents="what is used of an allowance", kept="as `usage`",
    columns=(
        text("scope"), text("period"), text("person"), count("turns"), count("tokens"),
        count("money"), count("notices"),
    ),
    key=("scope", "period"), indexes=(Index("counters_person", "person"),),
)  # fmt: skip
HOLDS_TABLE = TableDeclaration(
    name="holds", whose="money", section="reserved",
    contents="what is reserved for a call under way", kept="until it ends",
    columns=(
        integer("seq"), text("part"), text("person"), text("kind"), text("name"),
        text("scopes", json=True), integer("tokens"), integer("money"), real("created_at"),
    ),
    key=("seq", "part"), indexes=(Index("holds_person", "person"),),
)  # fmt: skip
