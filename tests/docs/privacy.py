"""`make reference`: the list of tables in docs/explanation/privacy.md."""

from __future__ import annotations

from bot.stores import SCHEMA
from tests.docs.reference import ROOT, with_section

PAGE = ROOT / "docs" / "explanation" / "privacy.md"


def with_tables(page: str) -> str:
    """Return that page with its list of tables as the code declares them."""
    lines = (
        f"- `{table.name}`: {table.contents}" + f" ({table.kept})" * (table.kept != "as `inbox`")
        for table in SCHEMA.declarations
        if table.contents != "–"
    )
    return with_section(page, "tables", "\n".join(lines))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), encoding="utf-8")
