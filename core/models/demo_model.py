"""The demo model: a small parser without key, network or intelligence. It says what it is.

It runs the same rounds and tools as a real model. It stores nothing: each round depends only on the
thread, so a turn continues after a crash.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.domain.messages import NOTE_NAME, Item
from core.domain.records import (
    Health,
    ModelEvent,
    Remote,
    RoundCompleted,
    RoundRequest,
    TextDelta,
)
from core.models.demo_exchange import Decision, DemoExchange, PlannedCall, split_exchanges
from core.models.demo_schedules import SCHEDULE_TOOL, parse_schedule
from core.models.demo_tables import (
    BRIDGE_TOOL,
    MAX_DEMO_ROWS,
    QUERY_TOOL,
    QUOTE_CHARACTERS,
    Filter,
    describe_count,
    describe_failure,
    escape_inline,
    format_code_block,
    format_reply,
    format_rows,
    list_tables,
    show_table,
)
from core.models.demo_tour import (
    DRAW_CODE,
    EXPORT_SENTENCE,
    FILE_SENTENCE,
    PAY_SENTENCE,
    TOUR_MEANINGS,
    TOUR_SENTENCES,
    TourStep,
    find_tour_step,
    make_file_code,
)
from core.ports.tools import SAMPLE_TABLES_PHRASE
from core.text.i18n import say

Kind = Literal["history", "memory", "remember", "tables", "show", "python", "nocodb",
               "again", "count", "more", "post", "other"] | TourStep  # fmt: skip

PYTHON_TOOL = "run_python"
NOCODB_PREFIX = "nocodb_"
UPDATE_TOOL, COMMAND_TOOL = "nocodb_update", "stackspot_quick_command"
POST_TOOL = "post_message"
_MAX_RECALLED = 20
"""Exchanges or messages of the thread that one answer lists."""

_MESSAGE_PATTERNS: dict[Kind, str] = {
    "python": r"run python\b[\s:]*(?P<rest>.*)",
    "nocodb": r"nocodb\b\s*(?P<rest>.*)",
    "remember": r"remember (?:that )?(?P<rest>.+)",
    "post": r"(?:post (?:in|to)|publique (?:em|para)|publiez? (?:dans|à)) (?P<rest>[#@].+)",
}
"""Patterns for a whole message, with all its lines."""
_LINE_PATTERNS: dict[Kind, str] = {
    "history": r"history",
    "memory": r"what did i say(?: before)?|what do you remember",
    "tables": r"(?:list|show)(?: me)?(?: the| all)? tables|tables",
    "show": r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
    "again": r"again|once more",
    "more": r"more|mais|plus",
    "count": r"how many(?: rows| tables| of them)?(?: are there| is that)?",
}
"""Patterns for the first line of a message."""
_DAY_IN_PREFACE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b", re.ASCII)
_CHANGE_NOTE = re.compile(r"Proposal (\w{6}) \([^)]*\([^)]*\)[^)]*\): (.*)", re.DOTALL)
"""A note about a decided change: its id and its outcome."""
_OVERDUE_FILTERS: list[Filter] = [{"field": "Status", "op": "eq", "value": "Overdue"}]
_INVOICES: Mapping[str, Any] = {
    "table": "Invoices", "match": "all", "page": 1,
    "fields": ["Number", "Customer", "Amount", "Status", "Due"],
    "sort": [{"field": "Due", "direction": "asc"}],
}  # fmt: skip
"""The question about the sample tables' invoices, the one that is due first on top."""

_WHO = "I'm Ponte's demo model. I work without a key or a network, and understand only this:"
_TOUR = (
    "I'm Ponte's demo model, not a real one. I work without a key or a network, cost nothing, and "
    "understand only a few sentences. Try these, from the top:"
)
_MORE = "To see what else I understand, type `more`."
_NEXT = "Next, try: `{message}`"
_LAST = "That was the last step. To use a real model, add `{line}` to `.env` and restart Ponte."
_NONE_OVERDUE = "No invoice is overdue any more. `ponte sample reset` restores the sample tables."
_MAY_NOT_CHANGE = "Rows can't be changed here, because you don't have permission."
_UNDO = "Only a person can undo a change. Click **Undo** on its card, or type `undo {id}`."
_NO_UNDO = (
    "There is no approved change in this conversation yet. Propose one, click **Approve** on its "
    "card, and ask again. To propose one: `{message}`"
)
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
_UNDERSTOOD = (
    ("history", "show the messages of this thread"),
    ("what did I say", "show your own messages and your notes"),
    ("remember …", "keep a note in this thread"),
    ("list tables", "list the tables of NocoDB"),
    ("show TABLE", "show the first rows of a table"),
    (
        "show TABLE where …",
        "show matching rows, for example `where Status is Lead and Amount > 10`",
    ),
    ("run python …", "run Python in the sandbox"),
    ("/nocodb TOOL {json}", "call a NocoDB tool"),
    ("remind me tomorrow at 14:00 to …", "prepare a reminder"),
    ("every Monday at 9:00 post …", "prepare a text that is posted again and again"),
    ("change schedule ID to 10:00", "prepare another time for a schedule"),
    ("post in #sales: …", "prepare a post for another channel or person"),
    ("again", "repeat the last one of these"),
    ("how many?", "say how many rows or tables there were"),
    ("help", "show the commands that work with every model"),
)
_ONE_LINE = "To use a real model, add this line to `.env` and restart Ponte:"
_KEY_LINE = "OPENAI_API_KEY=your key"

_NOTHING_BEFORE = "There are no earlier messages in this thread."
_SAID_BEFORE = "Earlier messages in this thread:"
_ME = "I"
_YOU = "You"
_YOU_SAID = "You said in this thread:"
_YOU_NOTED = "You asked me to remember:"
_NOTED = "Noted: {note}. I keep it in this thread. To see it, type `what did I say`."
_NO_AGAIN = "There is nothing to repeat in this thread."
_NO_COUNT = (
    "I haven't counted anything in this thread yet. Try `list tables` or `show TABLE` first."
)
_NO_PYTHON = (
    "I can't run Python here. Either no sandbox is available (see `PONTE_CODE` and `ponte "
    "doctor`), or you don't have permission."
)
_NO_POST = (
    "I can't post in another place from here. Ask for it on Slack or Discord, if you have "
    "permission to propose changes."
)
_NO_POST_TEXT = "Add the text, for example `post in #sales: Good morning`."
_NO_CODE = "Add the code, for example `run python print(2 + 2)`."
_NO_NOCODB = (
    "That NocoDB tool is not available here{near}. Either NocoDB is not connected "
    "(`NOCODB_URL`, `NOCODB_TOKEN`; a bridge's URL ends in /execute), or you don't have "
    "permission."
)
_THESE = ". Available tools: {tools}"
_NO_TOOL = "Type `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON."


@dataclass(frozen=True, slots=True)
class Intent:
    """The request that a message contains. `rest` is the table, the code, or the tool with its
    arguments."""

    kind: Kind
    rest: str = ""


def parse_intent(said: str) -> Intent:
    """Return what a message asks for: the first pattern that matches, else a step of the tour."""
    text = said.strip()
    line = text.split("\n", 1)[0].rstrip(" .?!")
    for kind, pattern in _MESSAGE_PATTERNS.items():
        if match := _match_command(pattern, text, re.DOTALL):
            return Intent(kind, match["rest"].strip())
    for kind, pattern in _LINE_PATTERNS.items():
        if match := _match_command(pattern, line):
            return Intent(kind, (match.groupdict().get("rest") or "").strip(QUOTE_CHARACTERS))
    return Intent(find_tour_step(text) or "other")


class DemoParser:
    """Decides what to answer, or which tools to call first."""

    def __init__(
        self,
        ask: RoundRequest,
        earlier: Sequence[DemoExchange],
        now: DemoExchange,
        notes: Sequence[str] = (),
    ) -> None:
        """`notes` are Ponte's own notes in the thread, about decided changes."""
        self._earlier = earlier
        self._now = now
        self._notes = notes
        self._asker = ask.asker
        self._offered = frozenset(tool.name for tool in ask.tools)
        self._is_sample = any(SAMPLE_TABLES_PHRASE in tool.description for tool in ask.tools)
        day = _DAY_IN_PREFACE.search(ask.preface)
        self._today = day[0] if day else None
        self._preface = ask.preface

    def decide(self) -> Decision:
        """Return the answer's text or the calls for this round."""
        if SCHEDULE_TOOL in self._offered and (
            asked := parse_schedule(self._now.text, self._preface)
        ):
            return self._propose_schedule(asked)
        intent = self._parse_intent(self._now.text)
        if intent.kind == "again":
            before = [
                self._parse_intent(exchange.text) for exchange in self._earlier if exchange.calls
            ]
            able = [each for each in before if each.kind not in ("again", "other")]
            if not able:
                return self._say(_NO_AGAIN)
            intent = able[-1]
        return self._decide_intent(intent)

    def _propose_schedule(self, arguments: Mapping[str, Any]) -> Decision:
        """Return the call that prepares a schedule. A prepared one ends the turn with its card."""
        if not (used := self._now.calls_of(SCHEDULE_TOOL)):
            return [PlannedCall(SCHEDULE_TOOL, arguments)]
        return describe_failure(used[-1].reply)

    def _parse_intent(self, said: str) -> Intent:
        """Return what a message asks for. With sample tables, "show me the overdue invoices" is a
        step of the tour and not the name of a table."""
        intent = parse_intent(said)
        if intent.kind == "show" and self._is_sample and " where " not in said.casefold():
            step = find_tour_step(said)
            return Intent(step) if step in ("overdue", "pay") else intent
        return intent

    def _decide_intent(self, intent: Intent) -> Decision:
        match intent.kind:
            case "tables":
                return list_tables(self._now, self._offered, is_sample=self._is_sample)
            case "show":
                return show_table(intent.rest, self._now, self._offered)
            case "python":
                return self._run_python(intent.rest)
            case "nocodb":
                return self._call_nocodb(intent.rest)
            case "history":
                return self._list_history()
            case "memory":
                return self._recall_messages()
            case "remember":
                return self._say(_NOTED, note=escape_inline(intent.rest))
            case "count":
                return self._describe_last_count()
            case "overdue" | "export" if self._is_sample:
                return self._ask_for_overdue(export=intent.kind == "export")
            case "pay" if self._is_sample:
                return self._propose_payment()
            case "undo":
                return self._explain_undo()
            case "file":
                return self._describe_file()
            case "draw":
                drawn = self._run_python(DRAW_CODE)
                is_silent = drawn == format_code_block("")
                return self._with_next("draw", "" if is_silent else drawn)
            case "post":
                return self._propose_post(intent.rest)
            case "quick":
                known = COMMAND_TOOL in self._offered
                told = self._say(_QUICK_COMMANDS_READY if known else _HOW_TO_QUICK_COMMANDS)
                return f"{told}\n\n{self._say(_LAST, line=_KEY_LINE)}"
            case "more":
                return self._list_sentences()
            case _:
                return self._introduce()

    def _propose_post(self, rest: str) -> Decision:
        """Return the call that prepares a post. `rest` is the place and the text, as in
        `#sales: Good morning`."""
        if POST_TOOL not in self._offered:
            return self._say(_NO_POST)
        place, _, text = rest.partition(":")
        if not text.strip():
            return self._say(_NO_POST_TEXT)
        if not (used := self._now.calls_of(POST_TOOL)):
            return [PlannedCall(POST_TOOL, {"to": place.strip(), "text": text.strip()})]
        return describe_failure(used[-1].reply)

    def _steps(self) -> list[TourStep]:
        """Return the steps of the tour that work here, in order."""
        reads, runs = self._is_sample and QUERY_TOOL in self._offered, PYTHON_TOOL in self._offered
        changes = reads and UPDATE_TOOL in self._offered
        found: list[TourStep] = ["overdue"] if reads else []
        found += ["pay", "undo"] if changes else []
        found += ["export"] if reads and runs else []
        found += ["file", "draw"] if runs else []
        return [*found, "quick"]

    def _with_next(self, step: TourStep, decision: Decision) -> Decision:
        """Return an answer with the step that comes after `step`; calls unchanged."""
        steps = self._steps()
        if isinstance(decision, list) or step not in steps[:-1]:
            return decision
        following = TOUR_SENTENCES[steps[steps.index(step) + 1]]
        return f"{decision}\n\n{self._say(_NEXT, message=self._say(following))}".strip()

    def _ask_for_overdue(self, *, export: bool) -> Decision:
        filters = [] if export else _OVERDUE_FILTERS
        args = {**_INVOICES, "filters": filters, "limit": MAX_DEMO_ROWS, "export": export}
        if not (used := self._now.calls_of(QUERY_TOOL)):
            return [PlannedCall(QUERY_TOOL, args)]
        if used[-1].reply.error:
            return describe_failure(used[-1].reply)
        if not used[-1].reply.rows:
            return self._say(_NONE_OVERDUE)
        told = format_rows("Invoices", used[-1].reply)
        return self._with_next("export" if export else "overdue", told)

    def _propose_payment(self) -> Decision:
        """Find the oldest overdue invoice and propose to mark it as paid. A proposal ends the
        turn, so there is an answer here only if nothing could be proposed."""
        if UPDATE_TOOL not in self._offered:
            return self._say(_MAY_NOT_CHANGE)
        args = {**_INVOICES, "filters": _OVERDUE_FILTERS, "limit": 1}
        if not (found := self._now.calls_of(QUERY_TOOL)):
            return [PlannedCall(QUERY_TOOL, args)]
        if found[-1].reply.error:
            return describe_failure(found[-1].reply)
        if not (rows := found[-1].reply.rows):
            return self._say(_NONE_OVERDUE)
        if used := self._now.calls_of(UPDATE_TOOL):
            return format_reply(UPDATE_TOOL, used[-1].reply)
        fields = {"Status": "Paid", **({"Paid on": self._today} if self._today else {})}
        change = {"id": str(rows[0].get("id", "")), "fields": fields}
        return [PlannedCall(UPDATE_TOOL, {"table": "Invoices", "changes": [change]})]

    def _explain_undo(self) -> Decision:
        """Name the command that undoes the newest approved change of this thread."""
        outcomes = {m[1]: m[2] for note in self._notes if (m := _CHANGE_NOTE.search(note))}
        done = [
            id
            for id, told in outcomes.items()
            if "Done." in told and not told.startswith("Requested by")
        ]
        if not done:
            return self._say(_NO_UNDO, message=self._say(PAY_SENTENCE))
        return self._with_next("undo", self._say(_UNDO, id=done[-1]))

    def _describe_file(self) -> Decision:
        """Run Python on the newest file of the thread."""
        if PYTHON_TOOL not in self._offered:
            return self._say(_NO_PYTHON)
        exchanges = (*self._earlier, self._now)
        names = [name for exchange in exchanges for name in exchange.files]
        has_export = any(
            used.args.get("export") for each in exchanges for used in each.calls_of(QUERY_TOOL)
        )
        if not names and not has_export:
            return self._say(
                _NO_FILE, message=self._say(FILE_SENTENCE), export=self._say(EXPORT_SENTENCE)
            )
        code = make_file_code(self._now.files[-1] if self._now.files else (names or [""])[-1])
        return self._with_next("file", self._run_python(code))

    def _run_python(self, code: str) -> Decision:
        code = re.sub(r"\A(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\Z", r"\2", code, flags=re.DOTALL)
        if PYTHON_TOOL not in self._offered:
            return self._say(_NO_PYTHON)
        if not code.strip():
            return self._say(_NO_CODE)
        if not (ran := self._now.calls_of(PYTHON_TOOL)):
            return [PlannedCall(PYTHON_TOOL, {"code": code})]
        read = ran[-1].reply
        return format_reply(PYTHON_TOOL, read) if read.error else format_code_block(read.value)

    def _call_nocodb(self, rest: str) -> Decision:
        """Call a NocoDB tool, named with or without `nocodb_`, or one of the bridge's tools."""
        tool, _, text = rest.partition(" ")
        named = f"{NOCODB_PREFIX}{tool.removeprefix(NOCODB_PREFIX)}"
        if named not in self._offered and BRIDGE_TOOL not in self._offered:
            return self._no_nocodb()
        try:
            args = json.loads(text or "{}")
        except (ValueError, RecursionError):
            args = None
        if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
            return self._say(_NO_TOOL)
        if named in self._offered and named != BRIDGE_TOOL:
            used, use = self._now.calls_of(named), PlannedCall(named, args)
        else:
            used = self._now.calls_of(f"{BRIDGE_TOOL}:{tool}")
            use = PlannedCall(BRIDGE_TOOL, {"tool": tool, "args": args})
        return format_reply(tool, used[-1].reply) if used else [use]

    def _no_nocodb(self) -> str:
        tools = [f"`{name.removeprefix(NOCODB_PREFIX)}`" for name in sorted(self._offered)
                 if name.startswith(NOCODB_PREFIX)]  # fmt: skip
        near = self._say(_THESE, tools=", ".join(tools)) if tools else ""
        return self._say(_NO_NOCODB, near=near)

    def _list_history(self) -> str:
        if not self._earlier:
            return self._say(_NOTHING_BEFORE)
        lines = []
        for exchange in self._earlier[-_MAX_RECALLED:]:
            name = escape_inline(exchange.name) or self._say(_YOU)
            lines.append(f"- **{name}**: {escape_inline(exchange.text)}")
            if exchange.answer:
                lines.append(f"- **{self._say(_ME)}**: {escape_inline(exchange.answer)}")
        return "\n".join([self._say(_SAID_BEFORE), "", *lines])

    def _recall_messages(self) -> str:
        mine = [e.text for e in self._earlier if e.name in ("", self._asker.name)]
        intents = [parse_intent(said) for said in mine]
        notes = [intent.rest for intent in intents if intent.kind == "remember"]
        told = []
        for head, words in ((_YOU_NOTED, notes), (_YOU_SAID, mine)):
            if words:
                lines = [f"- {escape_inline(said)}" for said in words[-_MAX_RECALLED:]]
                told.append("\n".join([self._say(head), "", *lines]))
        return "\n\n".join(told) or self._say(_NOTHING_BEFORE)

    def _describe_last_count(self) -> str:
        counts = (describe_count(exchange) for exchange in reversed(self._earlier))
        return next((count for count in counts if count), self._say(_NO_COUNT))

    def _introduce(self) -> str:
        """Return the tour's steps, or everything that is understood if the tour would be short."""
        steps = self._steps()
        if len(steps) == 1:
            return self._list_sentences()
        lines = [
            f"{number}. `{self._say(TOUR_SENTENCES[step])}` – {self._say(TOUR_MEANINGS[step])}"
            for number, step in enumerate(steps, 1)
        ]
        key = [f"{self._say(_ONE_LINE)}\n\n{format_code_block(_KEY_LINE)}"]
        return "\n\n".join([self._say(_TOUR), "\n".join(lines), self._say(_MORE), *key])

    def _list_sentences(self) -> str:
        lines = [f"- `{words}`: {self._say(meaning)}" for words, meaning in _UNDERSTOOD]
        parts = [
            self._say(_WHO),
            "\n".join(lines),
            self._say(_ONE_LINE),
            format_code_block(_KEY_LINE),
        ]
        return "\n\n".join(parts)

    def _say(self, sentence: str, **values: object) -> str:
        return say(sentence, **values)


class DemoModel:
    """A `Model` that needs no key and no network."""

    name = "demo"
    level = "demo"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield the answer, or the calls of this round."""
        if ask.for_title:
            words = ask.input[0].text.strip().partition("\n")[0].rstrip("?!.… ")
            yield RoundCompleted((Item(kind="message", role="assistant", text=words),))
            return
        items = [*await ask.history(), *ask.input]
        *earlier, now = split_exchanges(items) or [DemoExchange("", "")]
        notes = [item.text for item in items if item.name == NOTE_NAME]
        decision = DemoParser(ask, earlier, now, notes).decide()
        if isinstance(decision, list):
            yield RoundCompleted(tuple(_call_items(ask, decision)))
            return
        for piece in re.findall(r"\s*\S+\s*", decision):
            yield TextDelta(piece)
            await asyncio.sleep(0)
        yield RoundCompleted((Item(kind="message", role="assistant", text=decision),))

    async def health(self) -> Health:
        """Return the demo model's state, which is always "on"."""
        return Health(
            "model", "on", say("the demo model; add OPENAI_API_KEY to .env to use a real one")
        )

    async def erase(self, remote: Remote) -> bool:
        """Return False: the demo model stores nothing, and it cannot erase what another model
        stored."""
        return False

    async def close(self) -> None:
        """Do nothing: the demo model holds nothing open."""
        return


def _match_command(
    pattern: str, text: str, flags: re.RegexFlag = re.NOFLAG
) -> re.Match[str] | None:
    """Match a command, which may begin with / or ! as typed commands do."""
    return re.fullmatch(rf"[/!]?(?:{pattern})", text, re.IGNORECASE | flags)


def _call_items(ask: RoundRequest, uses: Sequence[PlannedCall]) -> list[Item]:
    """Return calls as items. Their ids are the same if the same round is asked again."""
    properties = {tool.name: tool.parameters.get("properties", {}) for tool in ask.tools}
    items = []
    for number, use in enumerate(uses, 1):
        known = properties[use.tool]
        args = {name: value for name, value in use.args.items() if name in known or not known}
        items.append(
            Item(
                kind="call",
                call_id=f"demo-{ask.turn}-{ask.number}-{number}",
                name=use.tool,
                arguments=json.dumps(args, ensure_ascii=False),
            )
        )
    return items
