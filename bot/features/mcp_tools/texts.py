"""The texts of MCP servers' tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from bot.operation_texts import TEXTS, ResultText, Row, View
from core.base.i18n import say, translate_word
from core.base.text import clean_text, to_one_line


def format_mcp_tools(rows: Sequence[Row], view: View) -> Iterator[str]:
    """Yield what changed of each tool that is not as the owner accepted it, and the lines of its
    description and inputs before (-) and now (+)."""
    if not rows:
        yield say("All tools match what was accepted.")
    for row in rows:
        yield f"{to_one_line(row['tool'])}: {translate_word(row['change'])}"
        for sign, definition in (("-", row["before"]), ("+", row["now"])):
            own = json.loads(definition) if definition else {}
            for text in own.values():
                words = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
                yield from (f"  {sign} {line}" for line in clean_text(words).splitlines())


TEXTS.update({"mcp show": ResultText(format_mcp_tools, json_values=lambda rows: rows)})
TEXTS.update(
    {
        "mcp accept": ResultText(
            lambda result, view: [
                say("Accepted: {names}", names=", ".join(result["tools"]))
                if result["tools"]
                else say("All tools match what was accepted.")
            ]
        )
    }
)
