"""The demo model's guided tour: its steps, the sentences that begin them, and its programs.

A person may type near those sentences: a step is found by keywords of three languages, with or
without accents.
"""

from __future__ import annotations

import re
from typing import Literal

from core.text.i18n import say
from core.text.text import fold_to_letters

TourStep = Literal["overdue", "pay", "undo", "export", "file", "draw", "quick", "tables", "tour"]

OVERDUE_SENTENCE = "Which invoices are overdue?"
PAY_SENTENCE = "Mark the oldest overdue invoice as paid"
UNDO_SENTENCE = "Undo the last change"
EXPORT_SENTENCE = "Export the invoices"
FILE_SENTENCE = "Summarise the attached file"
DRAW_SENTENCE = "Draw y = sin(x) with Python."
QUICK_SENTENCE = "Run a quick command"
TOUR_SENTENCES: dict[TourStep, str] = {
    "overdue": OVERDUE_SENTENCE,
    "pay": PAY_SENTENCE,
    "undo": UNDO_SENTENCE,
    "export": EXPORT_SENTENCE,
    "file": FILE_SENTENCE,
    "draw": DRAW_SENTENCE,
    "quick": QUICK_SENTENCE,
}
"""What begins each step. The page and the terminal suggest these too."""
TOUR_MEANINGS: dict[TourStep, str] = {
    "overdue": "ask about a table",
    "pay": "propose a change, which waits for your approval",
    "undo": "take the change back",
    "export": "get a table as a CSV file",
    "file": "run Python on a file that you attach",
    "draw": "run Python that draws",
    "quick": "run a command of another system",
}

_PATTERNS: tuple[tuple[TourStep, str], ...] = (
    ("undo", r"undo|undone|revert\w*|desfa\w*|desfe\w*|annul\w*|defai\w*"),
    ("pay", r"(?:mark|set|chang|marc|marqu|mud|alter|pass|mett|mets|modif)\w* .*"
            r"\b(?:paid|pag[ao]s?|payee?s?|reglee?s?)"),
    ("export", r"export\w*"),
    ("overdue", r"overdue|unpaid|vencid\w*|atrasad\w*|retards?|impaye\w*"),
    ("quick", r"quick commands?|comandos? rapidos?|commandes? rapides?"),
    ("file", r"files?|csv|spreadsheet|arquivos?|planilhas?|fichiers?|tableur|attached|anex\w*"),
    ("draw", r"draw|plot|chart|graph|python|desenh\w*|grafico|trace[rz]?|dessin\w*|graphique"),
    ("tables", r"(?:which|what|quais|quelles?) .*\b(?:tables|tabelas)|liste[rz]? .*\btables|"
               r"list\w* .*\btabelas"),
    ("tour", r"tour|demo|next|proxim\w*|suivant\w*|comec\w*|commenc\w*|start"),
)  # fmt: skip
"""The first pattern that occurs in a message names its step. A change comes before its question."""
_MAX_SENTENCE_CHARACTERS = 200
"""Characters of a message that may begin a step. A longer one is about something else."""

DRAW_CODE = """\
import matplotlib.pyplot as plt
xs = [n / 50 for n in range(315)]
import math
plt.plot(xs, [math.sin(x) for x in xs])
plt.title("y = sin(x)")
plt.show()
"""
_FILE_CODE = """\
import csv, pathlib
name, lines, rows, filled, total = {words!r}
files = [p for p in pathlib.Path(".").iterdir() if p.is_file() and not p.name.startswith(".")]
path = pathlib.Path(name) if pathlib.Path(name).is_file() else max(
    files, key=lambda p: p.stat().st_mtime)
text = path.read_text(encoding="utf-8-sig", errors="replace")
print(f"{{path.name}}: {{len(text.splitlines())}} {{lines}}")
if path.suffix.lower() in (".csv", ".tsv"):
    first = text.partition("\\n")[0]
    table = list(csv.DictReader(text.splitlines(), delimiter=max(",;\\t", key=first.count)))
    print(f"{{len(table)}} {{rows}}")
    for column in table[0] if table else ():
        cells = [row[column] for row in table if row[column]]
        try:
            more = f", {{total}} {{sum(map(float, cells)):.2f}}" if cells else ""
        except ValueError:
            more = ""
        print(f"- {{column}}: {{len(cells)}} {{filled}}{{more}}")
"""


def find_tour_step(text: str) -> TourStep | None:
    """Return the step that a message asks for, or None."""
    if len(text) > _MAX_SENTENCE_CHARACTERS:
        return None
    plain = fold_to_letters(text)
    return next(
        (step for step, pattern in _PATTERNS if re.search(rf"\b(?:{pattern})\b", plain)), None
    )


def make_file_code(name: str) -> str:
    """Return Python that describes the file of that name, or the newest one, in the reader's
    language."""
    words = (name, say("lines"), say("rows"), say("filled"), say("sum"))
    return _FILE_CODE.format(words=words)
