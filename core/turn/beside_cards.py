"""What an answer shows beside cards that wait for a person: results that the model could not show,
and calls that failed.

The model's own words are left out there, because they could talk a person into approving.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.base.i18n import say
from core.base.json_text import parse_json
from core.base.markdown import escape_markdown
from core.base.splitting import make_code_block
from core.base.text import clip_line, truncate
from core.base.trust import make_inert
from core.domain.messages import Item
from core.domain.ports import Tool
from core.domain.records import Outcome
from core.domain.rows import RowsResult
from core.tools.tool import TABLE_TOOLS_PREFIX, read_text_argument

MAX_LISTED_CALLS = 5
MAX_SHOWN_RESULT_CHARACTERS = 1_000
MAX_CAUSE_CHARACTERS = 300
_CHANGES_FAILED = "{failed} of {count} changes couldn't be prepared: {why}"
_ASK_AGAIN = "Not answered here: {count}. Ask again for: {names}"


NO_OUTCOME = Outcome("unknown", "")


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call of the model. `round` is 0 for the round with the turn's first card, 1 for the one
    after it, in which the model may repair what failed, and less for those before. The line
    `[table: ID]` of an answer places the rows of a call. `tool` is None if no tool has its name."""

    round: int
    id: str
    item: Item
    tool: Tool | None
    outcome: Outcome

    @property
    def has_failed(self) -> bool:
        """The card of a change that a rule approved tells how it ended."""
        return self.outcome.status in ("error", "unknown") and not self.outcome.proposal

    @property
    def is_repairable(self) -> bool:
        """A call that may have happened ("unknown") must not happen twice."""
        return self.has_failed and self.outcome.status == "error"

    @property
    def needs_model(self) -> bool:
        """True for a text that a model must word for people: messages, lists of schedules,
        descriptions of tables, files for the model. Code prints what the model wrote."""
        if self.outcome.data or self.outcome.row_keys is not None:
            return False
        return (
            self.outcome.shows_files
            or not self.tool
            or self.item.name.startswith(TABLE_TOOLS_PREFIX)
            or self.tool.effect_of(self.item.arguments) in ("chat", "code")
        )

    @property
    def wish(self) -> tuple[str, str]:
        """The tool and its arguments, which a model may write in another order the next time."""
        arguments = self.item.arguments
        with suppress(ValueError, RecursionError):
            arguments = json.dumps(parse_json(arguments), sort_keys=True)
        return self.item.name, arguments

    def describe(self) -> str:
        """Return what the call was for, after the cause if it failed: the caption of its rows, its
        table, or what people saw while it ran. Only Ponte's errors have a `problem`: the text of
        others is of the model's code, or for the model."""
        data, cause = self.outcome.data, clip_line(self.outcome.problem, MAX_CAUSE_CHARACTERS)
        subject = data.caption if isinstance(data, RowsResult) else ""
        subject = clip_line(subject or read_text_argument(self.item.arguments, "table"))
        cause, subject = (
            escape_markdown(make_inert(part)) for part in (cause.rstrip("."), subject)
        )
        if not subject and self.tool:
            subject = f"_{say(self.tool.progress_text)}_"
        return f"{cause} ({subject})" if cause and subject not in cause else cause or subject


def can_be_repaired(calls: Sequence[MadeCall]) -> bool:
    return max(call.round for call in calls) == 0 and any(
        call.round == 0 and call.is_repairable for call in calls
    )


def is_repeated(id: str, calls: Sequence[MadeCall]) -> bool:
    wishes = [call.wish for call in calls if call.round == 0 and not call.is_repairable]
    return any(c.round == 1 and c.item.call_id == id and c.wish in wishes for c in calls)


def describe_calls(calls: Sequence[MadeCall]) -> Sequence[str]:
    """Return the paragraphs before rows and charts are placed. Of equal calls the newest counts,
    but none that failed if another did not, or may have happened."""
    errors_first = sorted(calls, key=lambda call: call.outcome.status != "error")
    newest = list({call.wish: call for call in errors_first}.values())
    results = [call for call in newest if _has_wanted_result(call, newest)]
    shown = [call for call in results if not call.needs_model][:MAX_LISTED_CALLS]
    paragraphs = list[str]()
    for call in shown:
        if call.outcome.data:
            paragraphs.append(f"[table: {call.id}]")
        elif call.outcome.row_keys is None:
            paragraphs.append(
                make_code_block(truncate(call.outcome.text, MAX_SHOWN_RESULT_CHARACTERS))
            )
        paragraphs += call.outcome.sources
    failed = _list_failed(newest)
    if changes := [c for c in failed if c.tool and c.tool.only_proposes(c.item.arguments)]:
        count = len(changes) + sum(call.outcome.status == "proposed" for call in calls)
        why = _name_calls(changes)
        paragraphs.append(say(_CHANGES_FAILED, failed=len(changes), count=count, why=why))
    if open_calls := [call for call in (*failed, *results) if call not in (*changes, *shown)]:
        paragraphs.append(say(_ASK_AGAIN, count=len(open_calls), names=_name_calls(open_calls)))
    return paragraphs


def _name_calls(calls: Sequence[MadeCall]) -> str:
    names = list(dict.fromkeys(map(MadeCall.describe, calls)))
    unnamed = len(names) - MAX_LISTED_CALLS
    names[MAX_LISTED_CALLS:] = [say("{count} more", count=unnamed)] if unnamed > 0 else []
    return ", ".join(names)


def _has_wanted_result(call: MadeCall, calls: Sequence[MadeCall]) -> bool:
    """The result of a round before the card's is only preparation if the cards have all its rows,
    or if it is a text that the model worked with."""
    outcome = call.outcome
    if outcome.status != "ok" or outcome.proposal:
        return False
    on_cards = {key for c in calls if c.outcome.proposal for key in c.outcome.row_keys or ()}
    keys = outcome.row_keys
    is_preparation = on_cards.issuperset(keys) if keys else call.needs_model
    return call.round >= 0 or not is_preparation


def _list_failed(calls: Sequence[MadeCall]) -> Sequence[MadeCall]:
    """A call of a later round takes the place of a failed one of its tool, those with errors first:
    what may have happened is told."""
    failed = defaultdict[tuple[str, int], list[MadeCall]](list)
    for call in calls:
        if call.has_failed:
            failed[call.item.name, call.round].append(call)
    still_failed = list[MadeCall]()
    for (name, round), group in failed.items():
        later_count = sum(c.item.name == name and c.round > round for c in calls)
        still_failed += group[later_count:]
    return still_failed
