"""The demo model: a small parser without key, network or intelligence. It says what it is.

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
from core.domain.messages import Item
from core.domain.records import Health, ModelEvent, Remote, RoundCompleted, RoundRequest, TextDelta
from core.models.demo_tour import KEY_LINE, TOUR, TourStep, answer_step, find_tour_step, list_steps
from core.models.demo_turn import (
    BRIDGE_TOOL,
    MAX_ROWS,
    QUERY_TOOL,
    Decision,
    DemoTurn,
    PlannedCall,
    ToolReply,
    describe_failure,
    escape_inline,
    format_code_block,
    format_reply,
    format_rows,
    run_python,
)

TABLES_TOOL, NOCODB_PREFIX = "nocodb_tables", "nocodb_"
_MAX_RECALLED = 20
"""Exchanges of the thread that `history` lists."""
_MAX_BASES = 8
"""Bases in which the bridge looks for tables."""
_QUOTES = " \"'`“”"
_TABLE_ID = re.compile(r"(?=\w*\d)m[a-z0-9]{10,30}")

Kind = Literal["history", "show", "python", "nocodb", "other"] | TourStep
_MESSAGE_PATTERNS: dict[Kind, str] = {
    "python": r"run python\b[\s:]*(?P<rest>.*)",
    "nocodb": r"nocodb\b\s*(?P<rest>.*)",
}
"""Patterns for a whole message, with all its lines."""
_LINE_PATTERNS: dict[Kind, str] = {
    "history": r"history(?P<rest>)",
    "tables": r"(?:(?:list|show)(?: me)?(?: the| all)? tables|tables)(?P<rest>)",
    "show": r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
}
"""Patterns for the first line of a message."""

_WHO = "I'm Ponte's demo model. I work without a key or a network, and understand only this:"
_TOUR = (
    "I'm Ponte's demo model, not a real one. I work without a key or a network, cost nothing, and "
    "understand only a few sentences. Try these, from the top:"
)
_UNDERSTOOD = (
    ("history", "show the messages of this thread"),
    ("list tables", "list the tables of NocoDB"),
    ("show TABLE", "show the first rows of a table"),
    ("run python …", "run Python in the sandbox"),
    ("/nocodb TOOL {json}", "call a NocoDB tool"),
    ("help", "show the commands that work with every model"),
)
_NO_NOCODB = (
    "That NocoDB tool is not available here{near}. Either NocoDB is not connected "
    "(`NOCODB_URL`, `NOCODB_TOKEN`; a bridge's URL ends in /execute), or you don't have "
    "permission."
)
_NO_TABLES = (
    "No tables are available here. Either NocoDB is not connected (`NOCODB_URL`, "
    "`NOCODB_TOKEN`), or you don't have permission to read them."
)
_IN_BASE = "I couldn't read the base {base}: {problem}"


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
        decision = _decide(await DemoTurn.read(ask))
        if isinstance(decision, list):
            properties = {tool.name: tool.parameters.get("properties", {}) for tool in ask.tools}
            items = []
            for number, call in enumerate(decision, 1):
                known = properties[call.tool]
                args = {key: value for key, value in call.args.items() if key in known or not known}
                # The ids are the same if the same round is asked again.
                id = f"demo-{ask.turn}-{ask.number}-{number}"
                words = json.dumps(args, ensure_ascii=False)
                items.append(Item("call", call_id=id, name=call.tool, arguments=words))
            yield RoundCompleted(tuple(items))
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


def _decide(turn: DemoTurn) -> Decision:
    """Return the answer's text or the calls for this round."""
    kind, rest = _parse_message(turn)
    match kind:
        case "history":
            if not turn.earlier:
                return say("There are no earlier messages in this thread.")
            lines = [say("Earlier messages in this thread:"), ""]
            for exchange in turn.earlier[-_MAX_RECALLED:]:
                name = escape_inline(exchange.name) or say("You")
                lines.append(f"- **{name}**: {escape_inline(exchange.text)}")
                if exchange.answer:
                    lines.append(f"- **{say('I')}**: {escape_inline(exchange.answer)}")
            return "\n".join(lines)
        case "tables":
            return _list_tables(turn)
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
    """Return what the message asks for, with the table, the code, or the tool and its arguments:
    the first pattern that matches, else a step of the tour. Commands may begin with / or !.

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
    """Return the tour's steps, if it has several, and the sentences that are understood."""
    steps = list_steps(turn)
    parts = [say(_WHO)]
    if len(steps) > 1:
        lines = [
            f"{number}. `{say(TOUR[step][0])}` – {say(TOUR[step][1])}"
            for number, step in enumerate(steps, 1)
        ]
        parts = [say(_TOUR), "\n".join(lines), say("I also understand:")]
    parts.append("\n".join(f"- `{words}`: {say(meaning)}" for words, meaning in _UNDERSTOOD))
    parts.append(say("To use a real model, add this line to `.env` and restart Ponte:"))
    return "\n\n".join([*parts, format_code_block(KEY_LINE)])


def _call_nocodb(turn: DemoTurn, rest: str) -> Decision:
    """Call a NocoDB tool, named with or without `nocodb_`, or one of the bridge's tools."""
    tool, _, text = rest.partition(" ")
    name = f"{NOCODB_PREFIX}{tool.removeprefix(NOCODB_PREFIX)}"
    if name not in turn.tools and BRIDGE_TOOL not in turn.tools:
        tools = [f"`{each.removeprefix(NOCODB_PREFIX)}`" for each in sorted(turn.tools)
                 if each.startswith(NOCODB_PREFIX)]  # fmt: skip
        near = say(". Available tools: {tools}", tools=", ".join(tools)) if tools else ""
        return say(_NO_NOCODB, near=near)
    try:
        args = json.loads(text or "{}")
    except (ValueError, RecursionError):
        args = None
    if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
        return say("Type `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON.")
    if name in turn.tools and name != BRIDGE_TOOL:
        call = PlannedCall(name, args)
    else:
        call, name = _bridge_call(tool, **args), f"{BRIDGE_TOOL}:{tool}"
    reply = turn.find_reply(name)
    return [call] if reply is None else format_reply(tool, reply)


def _list_tables(turn: DemoTurn) -> Decision:
    """Return the list of tables, or the calls that find them."""
    if TABLES_TOOL in turn.tools:
        # `nocodb_tables` describes them in its own compact text.
        if (reply := turn.find_reply(TABLES_TOOL)) is None:
            return [PlannedCall(TABLES_TOOL, {})]
        answer = format_reply("NocoDB", reply)
        return f"{say('These are sample tables:')}\n\n{answer}" if turn.is_sample else answer
    if BRIDGE_TOOL not in turn.tools:
        return say(_NO_TABLES)
    found = _find_bridge_tables(turn)
    if not isinstance(found, tuple):
        return found
    titles, problems = found
    lines = [f"- **{escape_inline(title)}** (`{id}`)" for id, title in titles.items()]
    listed = "\n".join([say("Tables: {count}", count=len(lines)), "", *lines]).strip()
    return "\n\n".join([*([listed] if lines or not problems else []), *problems])


def _show_table(turn: DemoTurn, name: str) -> Decision:
    """Return the first rows of a table, or the calls that read them."""
    if QUERY_TOOL in turn.tools:
        if (reply := turn.find_reply(QUERY_TOOL)) is None:
            args = {"table": name, "filters": [], "match": "all", "fields": [], "sort": [],
                    "limit": MAX_ROWS, "page": 1}  # fmt: skip
            return [PlannedCall(QUERY_TOOL, args)]
        value = reply.value if isinstance(reply.value, dict) else {}
        return format_rows(str(value.get("table") or name), reply)
    if BRIDGE_TOOL not in turn.tools:
        return say(_NO_TABLES)
    if _TABLE_ID.fullmatch(name):
        id = title = name
    else:
        found = _find_bridge_tables(turn)
        if not isinstance(found, tuple):
            return found
        titles, problems = found
        named = {title.casefold(): id for id, title in titles.items()}
        if (id := named.get(name.casefold(), name)) not in titles:
            names = ", ".join(escape_inline(each) for each in [*titles.values()][:MAX_ROWS]) or "–"
            missing = say("Table {name} not found. Available tables: {names}.",
                          name=escape_inline(name), names=names)  # fmt: skip
            return "\n\n".join([missing, *problems])
        title = titles[id]
    reply = turn.find_reply(f"{BRIDGE_TOOL}:list_records")
    if reply is None:
        return [_bridge_call("list_records", table_id=id, limit=MAX_ROWS)]
    return format_rows(title, reply)


def _find_bridge_tables(turn: DemoTurn) -> tuple[Mapping[str, str], Sequence[str]] | Decision:
    """Return the titles of tables by their ids, and what could not be read. Before that, return the
    calls that are still needed, or why there are no tables.

    The bridge lists tables by base, so the bases are listed first.
    """
    if (listed := turn.find_reply(f"{BRIDGE_TOOL}:list_bases")) is None:
        return [_bridge_call("list_bases")]
    if listed.error:
        return describe_failure(listed)
    if not (every_base := _titles_by_id(listed)):
        return say("NocoDB shows no base. Check which bases its token can see.")
    bases = dict(list(every_base.items())[:_MAX_BASES])
    calls = turn.now.calls_of(f"{BRIDGE_TOOL}:list_tables")
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
    """Return the titles of bases or tables. Ids are without other characters, because they are
    shown in backticks."""
    titles = {}
    for row in reply.rows:
        if id := re.sub(r"[^\w-]", "", str(row.get("id") or "")):
            titles[id] = str(row.get("title") or row.get("table_name") or id)
    return titles


def _bridge_call(tool: str, **args: object) -> PlannedCall:
    return PlannedCall(BRIDGE_TOOL, {"tool": tool, "args": args})
