"""What the model is told in each kind of place, as `told.md`, so that a change shows in a review.

`python -m tests.evals.told` writes the file. A size in tokens is an estimate: a quarter of the
characters of the request's JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from core.domain.model_rounds import RoundRequest, ToolSpec
from tests.evals.case import Case, Step
from tests.evals.models import choose_model
from tests.evals.world import open_world

FILE = Path(__file__).with_name("told.md")
CHARACTERS_PER_TOKEN = 4
CONFIG = """
[quick_commands.digest]
title = "Digest"
description = "What happened on a day"
effect = "read"
[quick_commands.digest.inputs.day]
type = "text"
required = true

[quick_commands.close-month]
title = "Close the month"
effect = "write"

[channels."slack:T1:C1"]
instructions = "Amounts are in euros."
"""
SAID = "How many orders do we have?"
BUDGETS: Mapping[str, tuple[Step, bool, int]] = {
    "Slack channel": (Step(SAID), True, 3_260),
    "Slack channel, reader": (Step(SAID, who="stan"), True, 2_560),
    "Slack channel, no tools": (Step(SAID), False, 860),
    "Slack DM": (Step(SAID, where="slack-dm"), True, 3_160),
    "Discord DM": (Step(SAID, who="dora", where="discord-dm"), True, 3_160),
    "Discord DM, stranger": (Step(SAID, who="zoe", where="discord-dm"), True, 660),
    "page": (Step(SAID, who="owner", where="page"), True, 3_060),
    "terminal": (Step(SAID, who="typist", where="terminal"), True, 3_060),
    "/v1": (Step(SAID, who="owner", where="v1"), True, 3_060),
}
"""For each kind of place: the message there, whether there are tools, and the most tokens that the
instructions, the preface and the tools may have."""


async def read_requests(places: Sequence[str] = tuple(BUDGETS)) -> Mapping[str, RoundRequest]:
    """Return the model's first request in each kind of place."""
    table = {}
    for place in places:
        step, has_tools, _ = BUDGETS[place]
        case = Case("told", "told", (step,), config=CONFIG, has_tools=has_tools)
        with tempfile.TemporaryDirectory() as folder:
            async with open_world(case, choose_model("ideal", case), Path(folder)) as world:
                await world.send(0, step)
                table[place] = world.model.rounds[0].request
    return table


def count_tokens(*texts: str) -> int:
    return -(-sum(map(len, texts)) // CHARACTERS_PER_TOKEN)


def tool_json(tool: ToolSpec) -> str:
    """Return a tool as the request has it."""
    about = {"type": "function", "name": tool.name, "description": tool.description}
    return json.dumps({**about, "parameters": dict(tool.parameters), "strict": tool.strict})


def size(request: RoundRequest) -> int:
    """Return the tokens of a request without the conversation."""
    tools = (tool_json(tool) for tool in request.tools)
    return count_tokens(request.instructions, request.preface, *tools)


def render(requests: Mapping[str, RoundRequest]) -> str:
    """Return the snapshot as Markdown. Texts that are equal in several places are there once."""
    lines = ["# What the model is told", "", "`python -m tests.evals.told` writes this file.", ""]
    lines += ["| place | tokens | budget | tools |", "| --- | --- | --- | --- |"]
    for place, request in requests.items():
        names = ", ".join(tool.name for tool in request.tools) or "none"
        lines.append(f"| {place} | {size(request)} | {BUDGETS[place][2]} | {names} |")
    texts: dict[tuple[str, str], list[str]] = {}
    for place, request in requests.items():
        texts.setdefault(("Instructions", request.instructions), []).append(place)
        texts.setdefault(("Preface", request.preface), []).append(place)
        for tool in request.tools:
            texts.setdefault((tool.name, _describe_tool(tool)), []).append(place)
    for (name, text), places in texts.items():
        new_text = "everywhere" if len(places) == len(requests) else ", ".join(places)
        lines += ["", f"## {name} ({new_text})", "", text]
    return "\n".join(lines) + "\n"


def _describe_tool(tool: ToolSpec) -> str:
    schema = json.dumps(dict(tool.parameters), indent=1, ensure_ascii=False)
    tokens = count_tokens(tool_json(tool))
    strict = "strict" if tool.strict else "not strict"
    return f"{tokens} tokens, {strict}\n\n{tool.description}\n\n```json\n{schema}\n```"


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    FILE.write_text(render(asyncio.run(read_requests())), encoding="utf-8")
