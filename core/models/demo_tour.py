"""The demo model's guided tour: its steps, the sentences that begin them, and their answers.

A person may type near those sentences: a step is found by keywords of three languages, with or
without accents. A change needs more: every word of its sentence must be known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from core.base.i18n import say
from core.base.text import fold_to_letters
from core.models.demo_turn import (
    MAX_ROWS,
    PYTHON_TOOL,
    QUERY_TOOL,
    Decision,
    DemoTurn,
    PlannedCall,
    describe_failure,
    format_code_block,
    format_reply,
    format_rows,
    run_python,
)

TourStep = Literal["overdue", "pay", "undo", "export", "file", "draw", "quick", "tables", "tour"]

OVERDUE_SENTENCE = "Which invoices are overdue?"
PAY_SENTENCE = "Mark the oldest overdue invoice as paid"
NUMBERED_SENTENCE = "Mark INV-2024 as paid"
UNDO_SENTENCE = "Undo the last change"
EXPORT_SENTENCE = "Export the invoices"
FILE_SENTENCE = "Summarise the attached file"
DRAW_SENTENCE = "Draw y = sin(x) with Python."
QUICK_SENTENCE = "Run a quick command"
TOUR: dict[TourStep, tuple[str, str]] = {
    "overdue": (OVERDUE_SENTENCE, "ask about a table"),
    "pay": (PAY_SENTENCE, "propose a change, which waits for your approval"),
    "undo": (UNDO_SENTENCE, "take the change back"),
    "export": (EXPORT_SENTENCE, "get a table as a CSV file"),
    "file": (FILE_SENTENCE, "run Python on a file that you attach"),
    "draw": (DRAW_SENTENCE, "run Python that draws"),
    "quick": (QUICK_SENTENCE, "run a command of another system"),
}
"""The sentence that begins each step, and its meaning. The page and the terminal suggest these
sentences too."""

_CHANGE_VERB = r"(?:mark|set|chang|marc|marqu|mud|alter|pass|mett|mets|modif)\w*"
_PATTERNS: tuple[tuple[TourStep, str], ...] = (
    ("undo", r"undo|undone|revert\w*|desfa\w*|desfe\w*|annul\w*|defai\w*"),
    ("pay", rf"{_CHANGE_VERB} .*\b(?:inv-\d+|invoices?|faturas?|factures?|overdue|paid|pag[ao]s?|"
            r"payee?s?|reglee?s?)"),
    ("export", r"export\w* .*\b(?:invoices?|faturas?|factures?)"),
    ("overdue", r"overdue|unpaid|vencid\w*|atrasad\w*|retards?|impaye\w*"),
    ("quick", r"quick commands?|comandos? rapidos?|commandes? rapides?"),
    ("file", r"files?|csv|spreadsheet|arquivos?|planilhas?|fichiers?|tableur|attached|anex\w*"),
    ("draw", r"draw|plot|chart|graph|desenh\w*|grafico|trace[rz]?|dessin\w*|graphique"),
    ("tables", r"(?:which|what|quais|quelles?) .*\b(?:tables|tabelas)|liste[rz]? .*\btables|"
               r"list\w* .*\btabelas"),
    ("tour", r"tour|demo|next|proxim\w*|suivant\w*|comec\w*|commenc\w*|start"),
)  # fmt: skip
"""The first pattern that occurs in a message names its step. A change comes before its question."""
_MAX_SENTENCE_CHARACTERS = 200
"""Characters of a message that may begin a step. A longer one is about something else."""
_PAYMENT_WORDS = re.compile(
    "mark|set|change|the|invoice|number|as|to"
    "|marque|marca|mude|altere|a|fatura|numero|como|para"
    "|marquez|passe|passez|mets|mettez|la|facture|comme|en"
)
"""The words of a sentence that asks to mark an invoice as paid, without the invoice's name."""
_PAID = frozenset(("paid", "paga", "payee", "reglee"))
_POLITE = frozenset(("please", "por", "favor", "stp", "svp"))
_OLDEST_OVERDUE = (
    {"oldest", "overdue"}, {"mais", "antiga", "vencida"}, {"mais", "antiga", "atrasada"},
    {"plus", "ancienne", "retard"}, {"plus", "ancienne", "impayee"},
)  # fmt: skip
"""The words that name the oldest overdue invoice, in addition to `_PAYMENT_WORDS`."""
OLDEST_OVERDUE = "oldest overdue"

UPDATE_TOOL, COMMAND_TOOL = "nocodb_update", "stackspot_quick_command"
_CHANGE_NOTE = re.compile(r"Proposal (\w{6}) \([^)]*\([^)]*\)[^)]*\): (.*)", re.DOTALL)
"""A note about a decided change: its id and its outcome."""
_INVOICES: Mapping[str, Any] = {
    "table": "Invoices", "match": "all", "page": 1,
    "fields": ["Number", "Customer", "Amount", "Status", "Due"],
    "sort": [{"field": "Due", "direction": "asc"}],
}  # fmt: skip
"""The question about the sample tables' invoices, the one that is due first on top."""

_LAST = "That was the last step. To use a real model, add `{line}` to `.env` and restart Ponte."
_NO_INVOICE = "There is no invoice {number}. To see the first ones, type `show Invoices`."
KEY_LINE = "OPENAI_API_KEY=your key"
_NONE_OVERDUE = "No invoice is overdue any more. `ponte sample reset` restores the sample tables."
_UNCLEAR_CHANGE = (
    "I did not understand which change you mean. I can mark one invoice as paid: type `{oldest}`, "
    "or its number, as in `{numbered}`."
)
_NO_UNDO = (
    "There is no approved change in this conversation yet. Propose one, click **Approve** on its "
    "card, and ask again. To propose one: `{message}`"
)
_UNDO = "Only a person can undo a change. Click **Undo** on its card, or type `undo {id}`."
_NO_FILE = (
    "Attach a file to your message, for example a CSV file: on the page with the paperclip, in "
    "the terminal as `@path`. Then write `{message}`. If you have no file, type `{export}` first."
)
_HOW_TO_QUICK_COMMANDS = (
    "No quick command is set up yet. Set `STACKSPOT_CLIENT_ID` and `STACKSPOT_CLIENT_SECRET` in "
    "`.env`, list your commands in `ponte.toml` under `[quick_commands]`, and restart Ponte. Then "
    "type `quick-command NAME` and a text."
)
_QUICK_COMMANDS_READY = (
    "Type `quick-command NAME` and a text. `help` lists the commands that you can run."
)

_DRAW_CODE = """\
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


def find_invoice(text: str) -> str:
    """Return the number of the only invoice that a sentence asks to mark as paid, or
    `OLDEST_OVERDUE`. Return "" if any word is unknown, because it may name another row or change.
    """
    words: list[str] = re.findall(r"[^\W_]+(?:-[^\W_]+)*", fold_to_letters(text))
    *words, last = [word for word in words if word not in _POLITE] or [""]
    names = [word for word in words if not _PAYMENT_WORDS.fullmatch(word)]
    if last in _PAID and len(names) == 1 and re.search(r"\d", names[0]):
        return names[0].upper()
    return OLDEST_OVERDUE if last in _PAID and set(names) in _OLDEST_OVERDUE else ""


def list_steps(turn: DemoTurn) -> list[TourStep]:
    """Return the steps of the tour that work here, in order."""
    reads, runs = turn.is_sample and QUERY_TOOL in turn.tools, PYTHON_TOOL in turn.tools
    steps: list[TourStep] = ["overdue"] if reads else []
    steps += ["pay", "undo"] if reads and UPDATE_TOOL in turn.tools else []
    steps += ["export"] if reads and runs else []
    steps += ["file", "draw"] if runs else []
    return [*steps, "quick"]


def answer_step(step: TourStep, turn: DemoTurn) -> Decision | None:
    """Return the answer of a step or the calls to make first, None if the step does not exist
    here."""
    match step:
        case "overdue" | "export" if turn.is_sample:
            filters = [] if step == "export" else [_equals("Status", "Overdue")]
            if (reply := turn.find_reply(QUERY_TOOL)) is None:
                more = {"filters": filters, "limit": MAX_ROWS, "export": step == "export"}
                return [PlannedCall(QUERY_TOOL, {**_INVOICES, **more})]
            if not reply.error and not reply.rows:
                return say(_NONE_OVERDUE)
            answer = format_rows("Invoices", reply)
            return answer if reply.error else _with_next(turn, step, answer)
        case "pay" if turn.is_sample:
            return _propose_payment(turn)
        case "undo":
            outcomes = {m[1]: m[2] for note in turn.notes if (m := _CHANGE_NOTE.search(note))}
            outcomes = {id: o for id, o in outcomes.items() if not o.startswith("Requested by")}
            applied = [id for id, outcome in outcomes.items() if "Done." in outcome]
            if not applied:
                return say(_NO_UNDO, message=say(PAY_SENTENCE))
            return _with_next(turn, "undo", say(_UNDO, id=applied[-1]))
        case "file":
            # The newest file of the thread.
            exchanges = (*turn.earlier, turn.now)
            names = [name for exchange in exchanges for name in exchange.files]
            queries = [call for each in exchanges for call in each.calls_of(QUERY_TOOL)]
            has_file = names or any(call.args.get("export") for call in queries)
            if PYTHON_TOOL in turn.tools and not has_file:
                return say(_NO_FILE, message=say(FILE_SENTENCE), export=say(EXPORT_SENTENCE))
            name = turn.now.files[-1] if turn.now.files else (names or [""])[-1]
            return _with_next(turn, "file", run_python(turn, make_file_code(name)))
        case "draw":
            output = run_python(turn, _DRAW_CODE)
            return _with_next(turn, "draw", "" if output == format_code_block("") else output)
        case "quick":
            is_ready = COMMAND_TOOL in turn.tools
            words = say(_QUICK_COMMANDS_READY if is_ready else _HOW_TO_QUICK_COMMANDS)
            return f"{words}\n\n{say(_LAST, line=KEY_LINE)}"
    return None


def _with_next(turn: DemoTurn, step: TourStep, decision: Decision) -> Decision:
    """Return an answer with the step that comes after `step`; calls unchanged."""
    steps = list_steps(turn)
    if isinstance(decision, list) or step not in steps[:-1]:
        return decision
    following, _ = TOUR[steps[steps.index(step) + 1]]
    return f"{decision}\n\n{say('Next, try: `{message}`', message=say(following))}".strip()


def _propose_payment(turn: DemoTurn) -> Decision:
    """Propose to mark the named invoice as paid. A proposal ends the turn, so there is an answer
    here only if nothing could be proposed."""
    if UPDATE_TOOL not in turn.tools:
        return say("Rows can't be changed here, because you don't have permission.")
    if not (number := find_invoice(turn.now.text)):
        return say(_UNCLEAR_CHANGE, oldest=say(PAY_SENTENCE), numbered=say(NUMBERED_SENTENCE))
    is_oldest = number == OLDEST_OVERDUE
    named = _equals("Status", "Overdue") if is_oldest else _equals("Number", number)
    if (found := turn.find_reply(QUERY_TOOL)) is None:
        return [PlannedCall(QUERY_TOOL, {**_INVOICES, "filters": [named], "limit": 1})]
    if found.error:
        return describe_failure(found)
    if not found.rows:
        return say(_NONE_OVERDUE) if is_oldest else say(_NO_INVOICE, number=number)
    row = found.rows[0]
    if row.get("Status") == "Paid":
        return say("{number} is paid already.", number=number)
    if reply := turn.find_reply(UPDATE_TOOL):
        return format_reply(UPDATE_TOOL, reply)
    fields = {"Status": "Paid", **({"Paid on": turn.today} if turn.today else {})}
    change = {"id": str(row.get("id", "")), "fields": fields}
    return [PlannedCall(UPDATE_TOOL, {"table": "Invoices", "changes": [change]})]


def _equals(field: str, value: str) -> Mapping[str, str]:
    return {"field": field, "op": "eq", "value": value}


def make_file_code(name: str) -> str:
    """Return Python that describes the file of that name, or the newest one, in the reader's
    language."""
    words = (name, say("lines"), say("rows"), say("filled"), say("sum"))
    return _FILE_CODE.format(words=words)
