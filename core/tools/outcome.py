"""What a model reads of a tool call: compact JSON, capped with a sentence on what was cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import pydantic_core

from core.errors import ToolError
from core.records import Outcome
from core.text import in_whole_characters

CAP = 16_000
"""Characters of one outcome, some 4,000 tokens of English."""


def outcome_of(value: object) -> Outcome:
    """An Outcome as it is, text as text, all else as compact JSON."""
    if isinstance(value, Outcome):
        return value
    if value is None:
        return Outcome("ok", "Done.")
    return Outcome("ok", value if isinstance(value, str) else compact(value))


def outcome_of_error(error: ToolError) -> Outcome:
    """The one line that the model is told when a tool could not do it."""
    told = {"code": error.code, "message": str(error), "hint": error.hint}
    return Outcome("error", compact({"error": {key: text for key, text in told.items() if text}}))


def capped(outcome: Outcome, cap: int = CAP) -> Outcome:
    """`outcome` with at most `cap` characters of text, all of which can be stored."""
    outcome = dataclasses.replace(outcome, text=in_whole_characters(outcome.text))
    if len(outcome.text) <= cap:
        return outcome
    cut = (
        f"\n[Cut: this is the beginning, {cap:,} of {len(outcome.text):,} characters. "
        "Ask for less at a time.]"
    )
    return dataclasses.replace(outcome, text=outcome.text[: max(0, cap - len(cut))] + cut)


def fitting(rows: list[Any], cap: int) -> list[Any]:
    """As many of the first rows as fit whole into `cap` characters of JSON."""
    room = cap - len("[]")
    for number, row in enumerate(rows):
        room -= len(compact(row)) + len(",")
        if room < 0:
            return rows[:number]
    return rows


def compact(value: object) -> str:
    """JSON without blanks; takes whatever pydantic knows (dates, dataclasses, models)."""
    return pydantic_core.to_json(value, inf_nan_mode="null").decode()
