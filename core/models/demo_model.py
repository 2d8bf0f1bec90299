"""The demo model: a small parser without key, network or intelligence, and its guided tour. It says
what it is.

A person may type near those sentences: a step is found by keywords of three languages, with or
without accents. A change needs more: every word of its sentence must be known.

It runs the same rounds and tools as a real model. It stores nothing: each round depends only on the
thread, so a turn continues after a crash.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Literal

from core.base.i18n import say
from core.base.text import fold_to_letters
from core.commands.grammar import NEXT_LINE
from core.commands.quick_commands import COMMAND_TOOL
from core.domain.messages import Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.ports import Model
from core.domain.records import Health, Remote
from core.models.demo_turn import (
    BRIDGE_TOOL,
    MAX_ROWS,
    PYTHON_TOOL,
    QUERY_TOOL,
    REFERENCE,
    Decision,
    DemoTurn,
    PlannedCall,
    ToolReply,
    describe_failure,
    escape_inline,
    format_reply,
    format_rows,
    run_python,
)

TourStep = Literal[
    "overdue", "pay", "undo", "export", "import", "file", "draw", "quick", "tables", "tour",
    "schedule",
]  # fmt: skip

OVERDUE_SENTENCE = "Which invoices are overdue?"
PAY_SENTENCE = "Mark the oldest overdue invoice as paid"
NUMBERED_SENTENCE = "Mark INV-2024 as paid"
UNDO_SENTENCE = "Undo the last change"
EXPORT_SENTENCE = "Export the invoices"
IMPORT_SENTENCE = "Add these customers"
FILE_SENTENCE = "Summarize the attached file"
CHART_SENTENCE = "Draw the sales by month"
QUICK_SENTENCE = "Run a quick command"
TOUR: dict[TourStep, tuple[str, str]] = {
    "overdue": (OVERDUE_SENTENCE, "ask about a table"),
    "pay": (PAY_SENTENCE, "propose a change, which waits for your approval"),
    "undo": (UNDO_SENTENCE, "undo the change"),
    "export": (EXPORT_SENTENCE, "get a table as a CSV file"),
    "file": (FILE_SENTENCE, "run Python on a file that you attach"),
    "draw": (CHART_SENTENCE, "get a chart of a table"),
    "quick": (QUICK_SENTENCE, "run a command in another system"),
}

_CHANGE_VERB = r"(?:mark|set|chang|marc|marqu|mud|alter|pass|mett|mets|modif)\w*"
_WEEKDAYS = (
    r"(?:\w*day|\w+-feira|segunda|terca|quarta|quinta|sexta|sabado|domingo|dia|semana|week|"
    r"month|mes|mois|jour|semaine|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)s?"
)
_PATTERNS: tuple[tuple[TourStep, str], ...] = (
    ("schedule", rf"(?:every|each|tod[oa]s?(?: [oa]s?)?|tou(?:te)?s les|chaque) {_WEEKDAYS}|"
                 r"remind\w*|lembr\w*|rappel\w*|alert\w*"),
    ("undo", r"undo|undone|revert\w*|desfa\w*|desfe\w*|annul\w*|defai\w*"),
    ("pay", rf"{_CHANGE_VERB} .*\b(?:inv-\d+|invoices?|faturas?|factures?|overdue|paid|pag[ao]s?|"
            r"payee?s?|reglee?s?)"),
    ("export", r"export\w* .*\b(?:invoices?|faturas?|factures?)"),
    ("overdue", r"overdue|unpaid|vencid\w*|atrasad\w*|retards?|impaye\w*"),
    ("quick", r"quick commands?|comandos? rapidos?|commandes? rapides?"),
    ("import", r"(?:add|import|adicion|inclu|acrescent|ajout)\w* .*\w"),
    ("file", r"files?|csv|spreadsheet|arquivos?|planilhas?|fichiers?|tableur|attached|anex\w*"),
    ("draw", r"draw|plot|chart|graph|desenh\w*|grafico|trace[rz]?|dessin\w*|graphique"),
    ("tables", r"(?:which|what|quais|quelles?) .*\b(?:tables|tabelas)|liste[rz]? .*\btables|"
               r"list\w* .*\btabelas"),
    ("tour", r"tour|demo|next|proxim\w*|suivant\w*|comec\w*|commenc\w*|start"),
)  # fmt: skip
"""A schedule comes before what it would do, and a change before its question."""
_MAX_SENTENCE_CHARACTERS = 200
_PAYMENT_WORDS = re.compile(
    "mark|set|change|the|invoice|number|as|to"
    "|marque|marca|mude|altere|a|fatura|numero|como|para"
    "|marquez|passe|passez|mets|mettez|la|facture|comme|en"
)
_PAID = frozenset(("paid", "paga", "payee", "reglee"))
_POLITE = frozenset(("please", "por", "favor", "stp", "svp"))
_OLDEST_OVERDUE = (
    {"oldest", "overdue"}, {"mais", "antiga", "vencida"}, {"mais", "antiga", "atrasada"},
    {"plus", "ancienne", "retard"}, {"plus", "ancienne", "impayee"},
)  # fmt: skip
OLDEST_OVERDUE = "oldest overdue"

_IMPORTED_FIELDS = {
    "Customers": (
        "Name", "Email", "City", "Country", "Status", "Newsletter", "Since", "Notes",
    ),
    "Products": ("Name", "Category", "Price", "Stock", "Active"),
}  # fmt: skip
"""The fields of the sample tables that a file can fill."""
IMPORT_TOOL = "nocodb_import"
UPDATE_TOOL = "nocodb_update"
SUMMARY_TOOL, CHART_TOOL = "nocodb_summarize", "chart"
_CHANGE_NOTE = re.compile(r"Proposal (\w{6}) \([^)]*\([^)]*\)[^)]*\): (.*)", re.DOTALL)
_REAL_MODEL = (
    "To use a real model, open Setup on the page, or add `{line}` to `.env` and restart Ponte."
)
_NO_INVOICE = "Invoice {number} not found. To see the first ones, type `show Invoices`."
KEY_LINE = "OPENAI_API_KEY=sk-…"
_NONE_OVERDUE = "No invoices are overdue anymore. `ponte sample reset` restores the sample tables."
_UNCLEAR_CHANGE = (
    "I didn't understand which change you mean. I can mark one invoice as paid: type `{oldest}`, "
    "or its number, as in `{numbered}`."
)
_NO_UNDO = (
    "No change has been approved in this conversation yet. Propose one, click **Approve** on its "
    "card, and ask again. To propose one: `{message}`"
)
_UNDO = "Only a person can undo a change. Click **Undo** on its card, or type `undo {id}`."
_ONE_CHART = "This is the only chart that I can draw. A real model can draw any chart you ask for."
_NO_CHART = "I can only chart the sales in the sample tables. A real model can chart your own rows."
_NO_SCHEDULE = (
    "I can't schedule anything: schedules and reminders need a real model. To watch rows, click "
    "**Alert…** below an answer that shows them."
)
_NO_COLUMNS = (
    "`{name}` has too few columns of the sample tables. For customers I know these: {fields}."
)
_NO_FILE = (
    "Attach a file to your message, for example a CSV file: on the page with the **+** button, "
    "in the terminal as `@path`. Then write `{message}`. If you have no file, type `{export}` "
    "first."
)
_HOW_TO_QUICK_COMMANDS = (
    "No quick command is set up yet. Connect StackSpot in Setup on the page, and list your "
    "commands in `ponte.toml` under `[quick_commands]`. Then type `quick-command NAME` and "
    "some text."
)
_QUICK_COMMANDS_READY = (
    "Type `quick-command NAME` and some text. `help` lists the commands that you can run."
)

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
    """Return None for another or a long message."""
    if len(text) > _MAX_SENTENCE_CHARACTERS:
        return None
    plain = fold_to_letters(text)
    steps = (step for step, pattern in _PATTERNS if re.search(rf"\b(?:{pattern})\b", plain))
    return next(steps, None)


def find_invoice(text: str) -> str:
    """Return the number of the only invoice that a sentence asks to mark as paid, or
    `OLDEST_OVERDUE`; "" if any word is unknown, because it may name another row or change."""
    text_words: list[str] = re.findall(r"[^\W_]+(?:-[^\W_]+)*", fold_to_letters(text))
    # The last word must be "paid"; what no other word explains is the invoice's name.
    *text_words, last = [word for word in text_words if word not in _POLITE] or [""]
    names = [word for word in text_words if not _PAYMENT_WORDS.fullmatch(word)]
    if last in _PAID and len(names) == 1 and re.search(r"\d", names[0]):
        return names[0].upper()
    return OLDEST_OVERDUE if last in _PAID and set(names) in _OLDEST_OVERDUE else ""


def list_steps(turn: DemoTurn) -> list[TourStep]:
    """The steps of the guided tour that work with this turn's tools."""
    reads, runs = turn.is_sample and QUERY_TOOL in turn.tools, PYTHON_TOOL in turn.tools
    steps: list[TourStep] = ["overdue"] if reads else []
    steps += ["pay", "undo"] if reads and UPDATE_TOOL in turn.tools else []
    steps += ["export"] if reads and runs else []
    steps += ["draw"] if reads and CHART_TOOL in turn.tools else []
    steps += ["file"] if runs else []
    return steps + (["quick"] if COMMAND_TOOL in turn.tools else [])


def answer_step(step: TourStep, turn: DemoTurn) -> Decision | None:
    """Return the answer, or the calls of tools that it needs first; None if the step does not exist
    here, for example without sample tables."""
    # The first round reads the invoices; the next one, which has the reply, answers.
    match step:
        case "overdue" | "export" if turn.is_sample:
            filters = (
                [] if step == "export" else [_equals(turn, "Status", turn.translate("Overdue"))]
            )
            if (reply := turn.find_reply(QUERY_TOOL)) is None:
                export = "csv" if step == "export" else None
                return [_query_invoices(turn, filters, MAX_ROWS, export)]
            if not reply.error and not reply.rows:
                return say(_NONE_OVERDUE)
            answer = format_rows(turn.translate("Invoices"), reply)
            if step == "export" and reply.total:
                answer += "\n\n" + say("The file has all {count} rows.", count=reply.total)
            return answer if reply.error else _with_next(turn, step, answer)
        case "pay" if turn.is_sample:
            return _propose_payment(turn)
        case "import" if turn.is_sample and turn.now.files and IMPORT_TOOL in turn.tools:
            return _import_file(turn)
        case "undo":
            # By the id of a change: the outcome that Ponte's note tells.
            outcomes = {m[1]: m[2] for note in turn.notes if (m := _CHANGE_NOTE.search(note))}
            # The note about a change that is an undo itself begins so; it is left out.
            outcomes = {id: o for id, o in outcomes.items() if not o.startswith("Requested by")}
            applied = [id for id, outcome in outcomes.items() if "Done." in outcome]
            if not applied:
                return say(_NO_UNDO, message=say(PAY_SENTENCE))
            return _with_next(turn, "undo", say(_UNDO, id=applied[-1]))
        case "file":
            # The newest file of the thread: attached to a message, or exported by a query.
            exchanges = (*turn.earlier, turn.now)
            names = [name for exchange in exchanges for name in exchange.files]
            queries = [call for exchange in exchanges for call in exchange.calls_of(QUERY_TOOL)]
            has_file = names or any(call.args.get("export") for call in queries)
            if PYTHON_TOOL in turn.tools and not has_file:
                return say(_NO_FILE, message=say(FILE_SENTENCE), export=say(EXPORT_SENTENCE))
            name = turn.now.files[-1] if turn.now.files else (names or [""])[-1]
            return _with_next(turn, "file", run_python(turn, make_file_code(name)))
        case "draw" if turn.is_sample and CHART_TOOL in turn.tools:
            return _with_next(turn, "draw", _draw_sales(turn))
        case "draw":
            return say(_NO_CHART)
        case "schedule":
            return f"{say(_NO_SCHEDULE)} {say(_REAL_MODEL, line=KEY_LINE)}"
        case "quick":
            is_ready = COMMAND_TOOL in turn.tools
            sentence = _QUICK_COMMANDS_READY if is_ready else _HOW_TO_QUICK_COMMANDS
            return _with_next(turn, "quick", say(sentence))
    return None


def _with_next(turn: DemoTurn, step: TourStep, decision: Decision) -> Decision:
    steps = list_steps(turn)
    if isinstance(decision, list) or step not in steps:
        return decision  # calls stay as they are: the answer follows them
    if step == steps[-1]:
        return f"{decision}\n\n{say('That was the last step.')} {say(_REAL_MODEL, line=KEY_LINE)}"
    following, _ = TOUR[steps[steps.index(step) + 1]]
    return f"{decision}\n\n{say(NEXT_LINE, message=say(following))}".strip()


def _draw_sales(turn: DemoTurn) -> Decision:
    """Return the answer with the chart of the sales by month. Before that, in one round each,
    return the call that sums up the invoices by month, and the call that draws these rows."""
    if (summary := turn.find_reply(SUMMARY_TOOL)) is None:
        args = {
            "table": turn.translate("Invoices"),
            "filters": [],
            "match": "all",
            "aggregates": [{"field": turn.translate("Amount"), "fn": "sum"}],
            "group_by": turn.translate("Issued"),
            "bucket": "month",
        }
        return [PlannedCall(SUMMARY_TOOL, args)]
    if summary.error or not summary.rows:
        return format_rows(turn.translate("Invoices"), summary)
    if (chart := turn.find_reply(CHART_TOOL)) is None:
        # The columns of the first row: the month, the number of rows, and the sum.
        month, *_, amount = summary.rows[0]
        args = {
            "result": summary.result_id,
            "kind": "bar",
            "title": say("Sales by month"),
            "x": month,
        }
        return [PlannedCall(CHART_TOOL, {**args, "y": [amount]})]
    if chart.error:
        return describe_failure(chart)
    # The chart is shown in place of this reference.
    return f"[chart: {chart.result_id}]\n\n{say(_ONE_CHART)}"


def _propose_payment(turn: DemoTurn) -> Decision:
    """Return the call that proposes to mark the named invoice as paid; in the round before it, the
    call that reads this invoice. A proposal ends the turn, so there is an answer here only if
    nothing could be proposed. A message can also ask for the oldest overdue invoice without its
    number: `find_invoice` then returns OLDEST_OVERDUE."""
    if UPDATE_TOOL not in turn.tools:
        return say("You don't have permission to change rows here.")
    if not (number := find_invoice(turn.now.text)):
        return say(_UNCLEAR_CHANGE, oldest=say(PAY_SENTENCE), numbered=say(NUMBERED_SENTENCE))
    is_oldest = number == OLDEST_OVERDUE
    # The sample tables may be in another language than English, so their words are translated.
    wanted = ("Status", turn.translate("Overdue")) if is_oldest else ("Number", number)
    if (query_reply := turn.find_reply(QUERY_TOOL)) is None:
        return [_query_invoices(turn, [_equals(turn, *wanted)], 1)]
    if query_reply.error:
        return describe_failure(query_reply)
    if not query_reply.rows:
        return say(_NONE_OVERDUE) if is_oldest else say(_NO_INVOICE, number=number)
    row = query_reply.rows[0]
    status, paid = turn.translate("Status"), turn.translate("Paid")
    if row.get(status) == paid:
        return say("{number} is already paid.", number=number)
    # A reply in this turn means that the proposal failed.
    if reply := turn.find_reply(UPDATE_TOOL):
        return format_reply(UPDATE_TOOL, reply)
    # Without a known date (`today` is ""), the day of the payment is left out.
    fields = {status: paid, **({turn.translate("Paid on"): turn.today} if turn.today else {})}
    change = {"id": str(row.get("id", "")), "fields": fields}
    args = {"table": turn.translate("Invoices"), "changes": [change]}
    return [PlannedCall(UPDATE_TOOL, args)]


def _import_file(turn: DemoTurn) -> Decision:
    """Return the call that proposes the rows of the attached file for the sample table that has
    most of its columns; in the round before it, the call that reads the file's titles. An answer
    says why nothing could be proposed."""
    name, id = turn.now.files[-1], turn.now.file_ids[-1]
    reply = turn.find_reply(IMPORT_TOOL)
    if reply is None:
        return [PlannedCall(IMPORT_TOOL, {"file": id})]
    sheets = reply.value.get("sheets") if isinstance(reply.value, dict) else None
    if reply.error or not sheets:
        return describe_failure(reply)
    titles = {fold_to_letters(title): title for title in sheets[0]["columns"]}

    def map_columns(table: str) -> dict[str, str]:
        """The file may be in the language of the tables, or in English."""
        columns = {}
        for field in _IMPORTED_FIELDS[table]:
            for title in (field, turn.translate(field)):
                if fold_to_letters(title) in titles:
                    columns[turn.translate(field)] = titles[fold_to_letters(title)]
        return columns

    table = max(_IMPORTED_FIELDS, key=lambda table: len(map_columns(table)))
    if len(columns := map_columns(table)) < 2:
        fields = ", ".join(map(turn.translate, _IMPORTED_FIELDS["Customers"]))
        return say(_NO_COLUMNS, name=escape_inline(name), fields=fields)
    args = {"file": id, "table": turn.translate(table), "columns": columns}
    return [PlannedCall(IMPORT_TOOL, {**args, "sheet": sheets[0]["sheet"]})]


def _equals(turn: DemoTurn, field: str, value: str) -> Mapping[str, str]:
    return {"field": turn.translate(field), "op": "eq", "value": value}


def _query_invoices(
    turn: DemoTurn, filters: Sequence[Mapping[str, str]], limit: int, export: str | None = None
) -> PlannedCall:
    """Return the call of a tool that reads invoices of the sample tables, the one that is due first
    on top. `export`: the format of a file that the tool makes of the rows, such as "csv"."""
    names = ("Number", "Customer", "Amount", "Status", "Due")
    # `translate` returns a title in the language of the sample tables.
    args = {
        "table": turn.translate("Invoices"),
        "filters": filters,
        "match": "all",
        "fields": [turn.translate(name) for name in names],
        "sort": [{"field": turn.translate("Due"), "direction": "asc"}],
        "limit": limit,
        "page": 1,
    }
    return PlannedCall(QUERY_TOOL, args | ({"export": export} if export else {}))


def make_file_code(name: str) -> str:
    labels = (name, say("lines"), say("rows"), say("filled"), say("sum"))
    return _FILE_CODE.format(words=labels)


TABLES_TOOL, NOCODB_PREFIX = "nocodb_tables", "nocodb_"
_MAX_RECALLED = 20
_MAX_BASES = 8
_QUOTES = " \"'`“”"
_TABLE_ID = re.compile(r"(?=\w*\d)m[a-z0-9]{10,30}")

_OUTLINE = re.compile(r"^(.+) \[(\w+)\](?: \([a-z ]+\))*(?:: (.*))?$", re.MULTILINE)
_OUTLINED_FIELD = re.compile(
    r"(?:^|, )((?!and \d+ more$).+?)\*?(?::[^():,]+(?:\([^)]*\))?|->[^,]+)(?=, |$)"
)
_OUTLINE_REST = re.compile(r"and (\d+) more$")
"""A line of `nocodb_tables`, a field in it, and the number of fields that did not fit
(`core.tools.nocodb.schema.format_outline`)."""

Kind = Literal["history", "show", "python", "nocodb", "other"] | TourStep
_MESSAGE_PATTERNS: dict[Kind, str] = {
    "python": r"run python\b[\s:]*(?P<rest>.*)",
    "nocodb": r"nocodb\b\s*(?P<rest>.*)",
}
_LINE_PATTERNS: dict[Kind, str] = {
    "history": r"history(?P<rest>)",
    "tables": r"(?:(?:list|show)(?: me)?(?: the| all)? tables|tables)(?P<rest>)",
    "show": r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
}

_WHO = "I'm Ponte's demo model. I work without a key or a network, and understand only this:"
_TOUR = (
    "I'm Ponte's demo model, not a real one. I work without a key or a network, cost nothing, and "
    "understand only a few sentences. Try these, from the top:"
)
_UNDERSTOOD = (
    ("history", "show the earlier messages in this conversation"),
    ("list tables", "list the NocoDB tables"),
    ("show TABLE", "show the first rows of a table"),
    (IMPORT_SENTENCE, "add the rows of a CSV or Excel file that you attach"),
    ("run python …", "run Python in the sandbox"),
    ("/nocodb TOOL {json}", "call a NocoDB tool"),
    ("help", "show the commands that work with every model"),
)
_NEEDED_TOOLS = {
    "list tables": {TABLES_TOOL, BRIDGE_TOOL},
    "show TABLE": {QUERY_TOOL, BRIDGE_TOOL},
    IMPORT_SENTENCE: {IMPORT_TOOL},
    "run python …": {PYTHON_TOOL},
    "/nocodb TOOL {json}": {QUERY_TOOL, BRIDGE_TOOL},
}
"""By phrase. One of them must be offered."""
_NO_NOCODB = (
    "That NocoDB tool isn't available here. You might not have permission, or NocoDB isn't "
    "connected. To connect it, open Setup on the page. The sample tables are only for the "
    "owner and, with `PONTE_SAMPLE=on`, for people who are invited."
)
_NO_TABLES = (
    "No tables are available here. Either NocoDB isn't connected (open Setup on the page), "
    "or you don't have permission to read them. The sample tables are only for the owner "
    "and, with `PONTE_SAMPLE=on`, for people who are invited."
)
_IN_BASE = "I couldn't read the base {base}: {problem}"


class DemoModel(Model):
    """A language model (the port `Model`) for trying Ponte: a small parser that needs no key and no
    network."""

    name = "demo"
    level = "demo"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield the events of this round: the answer in pieces, as a real model streams it, or the
        calls of tools. A title is the first line of the message.

        Calls are planned with all arguments that a tool can have. Those that the offered tool does
        not have are left out, unless its schema names none: then it may take any."""
        if ask.for_title:
            title = ask.input[0].text.strip().partition("\n")[0].rstrip("?!.… ")
            yield RoundCompleted((Item(kind="message", role="assistant", text=title),))
            return
        decision = _decide(await DemoTurn.read(ask))
        if isinstance(decision, list):
            properties = {tool.name: tool.parameters.get("properties", {}) for tool in ask.tools}
            items = []
            for number, call in enumerate(decision, 1):
                names = properties[call.tool]
                args = {key: value for key, value in call.args.items() if key in names or not names}
                # The ids are the same if the same round is asked again.
                id = f"demo-{ask.turn}-{ask.number}-{number}"
                arguments_json = json.dumps(args, ensure_ascii=False)
                items.append(Item("call", call_id=id, name=call.tool, arguments=arguments_json))
            yield RoundCompleted(tuple(items))
            return
        for piece in re.findall(r"\s*\S+\s*", decision):
            yield TextDelta(piece)
            await asyncio.sleep(0)  # other tasks run between two pieces
        yield RoundCompleted((Item(kind="message", role="assistant", text=decision),))

    async def health(self) -> Health:
        sentence = say(
            "the demo model (to use a real one, open Setup on the page, or set "
            "OPENAI_API_KEY in .env)"
        )
        return Health("model", "on", sentence)

    async def erase(self, remote: Remote) -> bool:
        return False

    async def close(self) -> None:
        """Do nothing: the demo model holds nothing open."""


def _decide(turn: DemoTurn) -> Decision:
    """Return the answer's text, or the calls for this round if their outcomes are needed first. A
    step of the tour that does not exist here is answered like any other message."""
    kind, rest = _parse_message(turn)
    # The author's name is "" if the platform gave none.
    match kind:
        case "history":
            if not turn.earlier:
                return say("This conversation has no earlier messages.")
            lines = [say("Earlier messages in this conversation:"), ""]
            for exchange in turn.earlier[-_MAX_RECALLED:]:
                name = escape_inline(exchange.name) or say("You")
                lines.append(f"- **{name}**: {escape_inline(exchange.text)}")
                if exchange.answer:
                    # `[table: r1]` marked where a table stood in that answer. Here it would be
                    # shown as text, because "r1" names no result of this turn.
                    answer = REFERENCE.sub("", exchange.answer)
                    lines.append(f"- **{say('I')}**: {escape_inline(answer)}")
            return "\n".join(lines)
        case "tables":
            return _decide_on_tables(turn)
        case "show":
            return _show_table(turn, rest)
        case "python":
            return run_python(turn, rest)
        case "nocodb":
            return _call_nocodb(turn, rest)
        case "other":
            return _introduce(turn)
    return answer_step(kind, turn) or _introduce(turn)


def _parse_message(turn: DemoTurn) -> tuple[Kind, str]:
    """Return what the message asks for (the first pattern that matches, else a step of the tour),
    and the rest of it: the table, the code, or the tool and its arguments. Commands may begin with
    / or !. Code and arguments may have several lines, so their patterns match the whole message,
    and the others its first line.

    Over sample tables, "show me the overdue invoices" is a step of the tour and not the name of a
    table.
    """
    text = turn.now.text.strip()
    step = find_tour_step(text)
    for kind, pattern in _MESSAGE_PATTERNS.items():
        if match := re.fullmatch(f"[/!]?{pattern}", text, re.IGNORECASE | re.DOTALL):
            return kind, match["rest"].strip()
    for kind, pattern in _LINE_PATTERNS.items():
        line = text.split("\n", 1)[0].rstrip(" .?!")
        if match := re.fullmatch(f"[/!]?{pattern}", line, re.IGNORECASE):
            if kind == "show" and turn.is_sample and step == "overdue":
                break
            return kind, match["rest"].strip(_QUOTES)
    return step or "other", ""


def _introduce(turn: DemoTurn) -> str:
    """The answer to anything that the demo model does not understand."""
    steps = list_steps(turn)
    parts = [say(_WHO)]
    if len(steps) > 1:  # a tour
        lines = [
            f"{number}. `{say(TOUR[step][0])}` – {say(TOUR[step][1])}"
            for number, step in enumerate(steps, 1)
        ]
        parts = [say(_TOUR), "\n".join(lines), say("I also understand:")]
    phrases = [
        f"- `{say(IMPORT_SENTENCE) if phrase == IMPORT_SENTENCE else phrase}`: {say(meaning)}"
        for phrase, meaning in _UNDERSTOOD
        if phrase not in _NEEDED_TOOLS or turn.tools & _NEEDED_TOOLS[phrase]
    ]
    return "\n\n".join([*parts, "\n".join(phrases), say(_REAL_MODEL, line=KEY_LINE)])


def _call_nocodb(turn: DemoTurn, rest: str) -> Decision:
    """Return the call of the NocoDB tool that the person named, with or without `nocodb_`, or of
    one of the bridge's tools; its outcome once that is there. `rest` is the name and the arguments
    as JSON.

    A bridge is a server in front of NocoDB. Models reach all of its tools by a single one,
    BRIDGE_TOOL."""
    tool, _, text = rest.partition(" ")
    name = f"{NOCODB_PREFIX}{tool.removeprefix(NOCODB_PREFIX)}"
    if name not in turn.tools and BRIDGE_TOOL not in turn.tools:
        tools = [
            f"`{tool_name.removeprefix(NOCODB_PREFIX)}`"
            for tool_name in sorted(turn.tools)
            if tool_name.startswith(NOCODB_PREFIX)
        ]
        near = say("Available tools: {tools}.", tools=", ".join(tools)) if tools else ""
        return f"{say(_NO_NOCODB)} {near}".strip()
    try:
        args = json.loads(text or "{}")
    except (ValueError, RecursionError):
        args = None  # answered below, like JSON that is no object
    if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
        return say("Type `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON.")
    # BRIDGE_TOOL itself is called only by `_bridge_call`.
    if name in turn.tools and name != BRIDGE_TOOL:
        call = PlannedCall(name, args)
    else:
        call, name = _bridge_call(tool, **args), f"{BRIDGE_TOOL}:{tool}"
    reply = turn.find_reply(name)
    return [call] if reply is None else format_reply(tool, reply)


def _decide_on_tables(turn: DemoTurn) -> Decision:
    """Return the answer to "list tables", or the calls of tools that find them first."""
    if TABLES_TOOL in turn.tools:
        if (reply := turn.find_reply(TABLES_TOOL)) is None:
            return [PlannedCall(TABLES_TOOL, {})]
        # In words for people; an answer in another form, such as an error, as it is.
        answer = _describe_outlines(str(reply.value)) or format_reply("NocoDB", reply)
        return f"{say('These are sample tables:')}\n\n{answer}" if turn.is_sample else answer
    # Without NocoDB's own tools, a bridge may be there: a server in front of NocoDB.
    if BRIDGE_TOOL not in turn.tools:
        return say(_NO_TABLES)
    tables = _find_bridge_tables(turn)
    # A sentence for the person, or calls to make first.
    if not isinstance(tables, tuple):
        return tables
    titles, problems = tables
    lines = [f"- **{escape_inline(title)}** (`{id}`)" for id, title in titles.items()]
    listed = "\n".join([say("Tables: {count}", count=len(lines)), "", *lines]).strip()
    return "\n\n".join([*([listed] if lines or not problems else []), *problems])


def _describe_outlines(text: str) -> str:
    # `text` is what the tool `nocodb_tables` tells a model.
    lines = []
    # A line is "Customers [m…]: Name*:text, Status:select(…), and 3 more"; the `*` marks the field
    # that names a row.
    for title, _, outline in _OUTLINE.findall(text):
        columns = [match[1] for match in _OUTLINED_FIELD.finditer(outline)]
        if rest := _OUTLINE_REST.search(outline):
            columns.append(say("{count} more", count=int(rest[1])))
        line = f"- **{escape_inline(title)}**"
        lines.append(f"{line}: {escape_inline(', '.join(columns), 500)}" if columns else line)
    return "\n".join(lines)


def _show_table(turn: DemoTurn, name: str) -> Decision:
    """Return the table's first rows, or the calls that read them. A bridge takes ids of tables
    only, so its tables are listed first, unless the name is an id."""
    # NocoDB itself or the sample tables; else a bridge, which is a server in front of NocoDB.
    if QUERY_TOOL in turn.tools:
        if (reply := turn.find_reply(QUERY_TOOL)) is None:
            # All arguments, because the tool's strict schema requires each of them.
            args = {
                "table": name,
                "filters": [],
                "match": "all",
                "fields": [],
                "sort": [],
                "limit": MAX_ROWS,
                "page": 1,
            }
            return [PlannedCall(QUERY_TOOL, args)]
        value = reply.value if isinstance(reply.value, dict) else {}
        return format_rows(str(value.get("table") or name), reply)
    if BRIDGE_TOOL not in turn.tools:
        return say(_NO_TABLES)
    if _TABLE_ID.fullmatch(name):
        id = title = name
    else:
        tables = _find_bridge_tables(turn)
        # A sentence for the person, or calls to make first.
        if not isinstance(tables, tuple):
            return tables
        titles, problems = tables
        named = {title.casefold(): id for id, title in titles.items()}
        # By title in any case, else by id.
        if (id := named.get(name.casefold(), name)) not in titles:
            # There may be many tables, so at most as many are named as an answer shows rows.
            missing = say(
                "Table {name} not found. Available tables: {names}.",
                name=escape_inline(name),
                names=", ".join(
                    escape_inline(table_title) for table_title in [*titles.values()][:MAX_ROWS]
                )
                or "–",
            )
            return "\n\n".join([missing, *problems])
        title = titles[id]
    # Only this step reads rows, so the turn has at most one such reply.
    reply = turn.find_reply(f"{BRIDGE_TOOL}:list_records")
    if reply is None:
        return [_bridge_call("list_records", table_id=id, limit=MAX_ROWS)]
    return format_rows(title, reply)


def _find_bridge_tables(turn: DemoTurn) -> tuple[Mapping[str, str], Sequence[str]] | Decision:
    """Return the titles of tables by their ids, and what could not be read. Before that, return the
    calls that are still needed, or why there are no tables.

    The bridge, a server in front of NocoDB, lists tables by base, so the bases are listed first.
    """
    if (listed := turn.find_reply(f"{BRIDGE_TOOL}:list_bases")) is None:
        return [_bridge_call("list_bases")]
    if listed.error:
        return describe_failure(listed)
    if not (every_base := _titles_by_id(listed)):
        return say("No NocoDB base found. Check which bases the token can access.")
    # Each base takes a call of its own, so only the first ones are read.
    bases = dict(list(every_base.items())[:_MAX_BASES])
    calls = turn.now.calls_of(f"{BRIDGE_TOOL}:list_tables")
    # The replies that this turn has already, by base.
    replies = {str(call.args.get("base_id")): call.reply for call in calls}
    if missing := [id for id in bases if id not in replies]:
        return [_bridge_call("list_tables", base_id=id) for id in missing]
    titles, problems = dict[str, str](), list[str]()
    for id, base in bases.items():
        titles |= _titles_by_id(replies[id])
        if error := replies[id].error:
            problem = escape_inline(error, 500)
            problems.append(say(_IN_BASE, base=escape_inline(base), problem=problem))
    if len(every_base) > len(bases):
        problems.append(say("I read only the first {count} bases.", count=len(bases)))
    return titles, problems


def _titles_by_id(reply: ToolReply) -> dict[str, str]:
    # Other characters than letters, digits, _ and - are removed from ids, because an answer shows
    # them in backticks.
    titles = {}
    for row in reply.rows:
        if id := re.sub(r"[^\w-]", "", str(row.get("id") or "")):
            titles[id] = str(row.get("title") or row.get("table_name") or id)
    return titles


def _bridge_call(tool: str, /, **args: object) -> PlannedCall:
    return PlannedCall(BRIDGE_TOOL, {"tool": tool, "args": args})
