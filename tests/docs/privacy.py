"""`make reference`: the table of tables in docs/explanation/privacy.md."""

from __future__ import annotations

from bot.stores import SCHEMA
from tests.docs.reference import ROOT

PAGE = ROOT / "docs" / "explanation" / "privacy.md"
BEGIN = "| table | personal data in it | how long |\n"


def with_tables(page: str) -> str:
    """Return that page with its table of tables made anew."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition("\n\n")[2]
    rows = "\n".join(
        f"| `{table.name}` | {table.contents} | {table.kept} |"
        for table in SCHEMA.declarations
        if table.contents != "–"
    )
    return f"{before}{BEGIN}| --- | --- | --- |\n{rows}\n\n{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), encoding="utf-8")
