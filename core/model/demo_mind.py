"""What the demo model makes of a message: one decision a round, from the thread alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from core.model.demo_story import Exchange, Intent, understand
from core.model.demo_tables import (
    BRIDGE,
    PREFIX,
    Decision,
    Use,
    counted,
    list_tables,
    rows_or_block,
    show_table,
)
from core.model.demo_words import block, inline
from core.records import Ask
from core.words import say

PYTHON = "run_python"
_LINES = 20

_WHO = (
    "I am Ponte's demo model: a small parser, without a key and without a network. "
    "I understand only this:"
)
_UNDERSTOOD = (
    ("history", "what was said in this thread"),
    ("what did I say", "your own words, and what I was to remember"),
    ("remember …", "keeps a note in this thread"),
    ("list tables", "the tables of NocoDB"),
    ("show TABLE", "the first rows of a table"),
    ("show TABLE where …", "the rows that fit, as in `where Status is Lead and Amount > 10`"),
    ("run python …", "runs Python in the sandbox"),
    ("/nocodb TOOL {json}", "one call of a NocoDB tool"),
    ("again", "does the last of these once more"),
    ("how many?", "how many rows or tables that were"),
    ("help", "the commands that work with every model"),
)
_ONE_LINE = "For a real model, put this one line into `.env` and start Ponte again:"
_KEY_LINE = "OPENAI_API_KEY=your key"

_NOTHING_BEFORE = "Nothing was said in this thread before."
_SAID_BEFORE = "This was said in this thread before:"
_ME = "I"
_YOU = "You"
_YOU_SAID = "You said in this thread:"
_YOU_NOTED = "You asked me to remember:"
_NOTED = "Noted: {note}. It stays in this thread; ask me `what did I say`."
_NO_AGAIN = "There is nothing in this thread that I could do again."
_NO_COUNT = "I have counted nothing in this thread yet. Try `list tables` or `show TABLE` first."
_NO_PYTHON = (
    "I cannot run Python here. Either there is no sandbox (the operator sets `PONTE_CODE`; "
    "`ponte doctor` says what it lacks), or you may not use it."
)
_NO_CODE = "Write the code after it, as in `run python print(2 + 2)`."
_NO_NOCODB = (
    "I have no such NocoDB tool here{near}. Either `NOCODB_URL` and `NOCODB_TOKEN` are not set "
    "(a bridge's address ends in /execute; the operator does that), or you may not use it."
)
_THESE = "; these are there: {tools}"
_NO_TOOL = "Write it as `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON."


class Mind:
    """One decision: what to say, or which tools to call first."""

    def __init__(self, ask: Ask, earlier: Sequence[Exchange], now: Exchange) -> None:
        self._earlier = earlier
        self._now = now
        self._asker = ask.asker
        self._locale = ask.locale
        self._offered = frozenset(tool.name for tool in ask.tools)

    def decide(self) -> Decision:
        intent = understand(self._now.said)
        if intent.kind == "again":
            before = [understand(exchange.said) for exchange in self._earlier if exchange.used]
            able = [each for each in before if each.kind not in ("again", "other")]
            if not able:
                return self._say(_NO_AGAIN)
            intent = able[-1]
        return self._do(intent)

    def _do(self, intent: Intent) -> Decision:
        match intent.kind:
            case "tables":
                return list_tables(self._now, self._offered, self._locale)
            case "show":
                return show_table(intent.rest, self._now, self._offered, self._locale)
            case "python":
                return self._python(intent.rest)
            case "nocodb":
                return self._nocodb(intent.rest)
            case "history":
                return self._history()
            case "memory":
                return self._memory()
            case "remember":
                return self._say(_NOTED, note=inline(intent.rest))
            case "count":
                return self._count()
            case _:
                return self._about()

    def _python(self, code: str) -> Decision:
        code = re.sub(r"\A(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\Z", r"\2", code, flags=re.DOTALL)
        if PYTHON not in self._offered:
            return self._say(_NO_PYTHON)
        if not code.strip():
            return self._say(_NO_CODE)
        if not (ran := self._now.outcomes(PYTHON)):
            return [Use(PYTHON, {"code": code})]
        read = ran[-1].read
        return rows_or_block(PYTHON, read, self._locale) if read.error else block(read.value)

    def _nocodb(self, rest: str) -> Decision:
        """One of NocoDB's own tools, with or without `nocodb_`, or one of the bridge's."""
        tool, _, text = rest.partition(" ")
        named = f"{PREFIX}{tool.removeprefix(PREFIX)}"
        if named not in self._offered and BRIDGE not in self._offered:
            return self._no_nocodb()
        try:
            args = json.loads(text or "{}")
        except (ValueError, RecursionError):
            args = None
        if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
            return self._say(_NO_TOOL)
        if named in self._offered and named != BRIDGE:
            used, use = self._now.outcomes(named), Use(named, args)
        else:
            used = self._now.outcomes(f"{BRIDGE}:{tool}")
            use = Use(BRIDGE, {"tool": tool, "args": args})
        return rows_or_block(tool, used[-1].read, self._locale) if used else [use]

    def _no_nocodb(self) -> str:
        tools = [f"`{name.removeprefix(PREFIX)}`" for name in sorted(self._offered)
                 if name.startswith(PREFIX)]  # fmt: skip
        near = self._say(_THESE, tools=", ".join(tools)) if tools else ""
        return self._say(_NO_NOCODB, near=near)

    def _history(self) -> str:
        if not self._earlier:
            return self._say(_NOTHING_BEFORE)
        lines = []
        for exchange in self._earlier[-_LINES:]:
            lines.append(
                f"- **{inline(exchange.name) or self._say(_YOU)}**: {inline(exchange.said)}"
            )
            if exchange.answer:
                lines.append(f"- **{self._say(_ME)}**: {inline(exchange.answer)}")
        return "\n".join([self._say(_SAID_BEFORE), "", *lines])

    def _memory(self) -> str:
        mine = [e.said for e in self._earlier if e.name in ("", self._asker.name)]
        intents = [understand(said) for said in mine]
        notes = [intent.rest for intent in intents if intent.kind == "remember"]
        parts = [(_YOU_NOTED, notes), (_YOU_SAID, mine)]
        told = [
            "\n".join([self._say(head), "", *(f"- {inline(said)}" for said in words[-_LINES:])])
            for head, words in parts
            if words
        ]
        return "\n\n".join(told) or self._say(_NOTHING_BEFORE)

    def _count(self) -> str:
        counts = (counted(exchange, self._locale) for exchange in reversed(self._earlier))
        return next((count for count in counts if count), self._say(_NO_COUNT))

    def _about(self) -> str:
        lines = [f"- `{words}`: {self._say(meaning)}" for words, meaning in _UNDERSTOOD]
        parts = [self._say(_WHO), "\n".join(lines), self._say(_ONE_LINE), block(_KEY_LINE)]
        return "\n\n".join(parts)

    def _say(self, sentence: str, **values: object) -> str:
        return say(sentence, self._locale, **values)
