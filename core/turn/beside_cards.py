"""What an answer shows beside cards that wait for a person: results that the model could not show,
and calls that failed.

The model's own words are left out there, because they could talk a person into approving.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.base.i18n import say
from core.base.markdown import escape_markdown, make_inert
from core.base.text import clip_line, make_code_block, parse_json, truncate
from core.domain.messages import Item
from core.domain.records import Effect, Outcome
from core.turn.context import TABLE_TOOLS_PREFIX

MAX_SHOWN_RESULTS = 5
MAX_SHOWN_RESULT_CHARACTERS = 1_000
"""Characters of a result that is text."""
MAX_CAUSE_CHARACTERS = 300
_CHANGES_FAILED = "{failed} of {count} changes couldn't be prepared: {why}"
_ASK_AGAIN = "Not answered here: {count}. Ask again for: {names}"


NO_OUTCOME = Outcome("unknown", "")
"""The outcome of a call that has not ended yet."""


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call of the model. `round` is 0 for the round with the turn's first card, 1 for the one
    after it, in which the model may repair what failed, and less for those before. The line
    `[table: ID]` of an answer places the rows of a call."""

    round: int
    id: str
    item: Item
    effect: Effect
    outcome: Outcome

    @property
    def has_failed(self) -> bool:
        """True without a result. The card of a change that a rule approved tells how it ended."""
        return self.outcome.status in ("error", "unknown") and not self.outcome.proposal

    @property
    def is_repairable(self) -> bool:
        """True if the call failed. One that may have happened ("unknown") must not happen twice."""
        return self.has_failed and self.outcome.status == "error"

    @property
    def wish(self) -> tuple[str, object]:
        """The tool and its arguments, which a model may write in another order the next time."""
        with suppress(ValueError):
            return self.item.name, parse_json(self.item.arguments)
        return self.item.name, self.item.arguments

    def describe(self) -> str:
        """Return the call as code, after the cause if it failed."""
        name = clip_line(f"{self.item.name} {self.item.arguments}".replace("`", "'"))
        cause = clip_line(self.outcome.problem or self.outcome.text, MAX_CAUSE_CHARACTERS)
        cause = escape_markdown(make_inert(cause))
        return f"{cause} (`{name}`)" if self.has_failed else f"`{name}`"


def can_be_repaired(calls: Sequence[MadeCall]) -> bool:
    """Return whether the model gets one more round."""
    return max(call.round for call in calls) == 0 and any(
        call.round == 0 and call.is_repairable for call in calls
    )


def is_repeated(call: MadeCall, calls: Sequence[MadeCall]) -> bool:
    """Return whether a call of the round for repairs repeats one that happened, or may have."""
    return call.round == 1 and any(
        each.round == 0 and each.wish == call.wish and not each.is_repairable for each in calls
    )


def describe_calls(calls: Sequence[MadeCall]) -> Sequence[str]:
    """Return the paragraphs for the answer, before its rows and charts are placed."""
    results = [call for call in calls if _has_wanted_result(call, calls)]
    # Messages, lists of schedules and files for the model need its words, and code prints them.
    hidden = ("chat", "code")
    shown = [c for c in results if c.effect not in hidden and not c.outcome.shows_files]
    shown = shown[:MAX_SHOWN_RESULTS]
    paragraphs = list[str]()
    for call in shown:
        if call.outcome.data:
            paragraphs.append(f"[table: {call.id}]")
        elif call.outcome.row_keys is None:
            paragraphs.append(
                make_code_block(truncate(call.outcome.text, MAX_SHOWN_RESULT_CHARACTERS))
            )
        paragraphs += call.outcome.sources
    failed = _list_failed(calls)
    # A schedule is a change, although its tool needs only the right to chat.
    if changes := [call for call in failed if call.effect in ("write", "chat")]:
        count = len(changes) + sum(call.outcome.status == "proposed" for call in calls)
        why = " ".join(map(MadeCall.describe, changes))
        paragraphs.append(say(_CHANGES_FAILED, failed=len(changes), count=count, why=why))
    if open_calls := [call for call in (*failed, *results) if call not in (*changes, *shown)]:
        names = ", ".join(map(MadeCall.describe, open_calls))
        paragraphs.append(say(_ASK_AGAIN, count=len(open_calls), names=names))
    return paragraphs


def _has_wanted_result(call: MadeCall, calls: Sequence[MadeCall]) -> bool:
    """Return whether a call has a result that the person may have asked for. That of a round before
    the card's is only preparation if the cards have all its rows, or if it is text that the model
    worked with: a description of tables, a list of schedules, the output of code."""
    outcome = call.outcome
    if outcome.status != "ok" or outcome.proposal:
        return False
    if outcome.row_keys:
        on_cards = {key for c in calls if c.outcome.proposal for key in c.outcome.row_keys or ()}
        return call.round >= 0 or not on_cards.issuperset(outcome.row_keys)
    is_text = call.effect in ("chat", "code") or call.item.name.startswith(TABLE_TOOLS_PREFIX)
    return call.round >= 0 or bool(outcome.data or outcome.sources) or not is_text


def _list_failed(calls: Sequence[MadeCall]) -> Sequence[MadeCall]:
    """Return the calls that still fail. A call of the round for repairs takes the place of the
    first failed one of its tool, and before the cards, any later call of the tool does."""
    repairs = [call for call in calls if call.round == 1 and not is_repeated(call, calls)]
    failed = list[MadeCall]()
    # "error" before "unknown": what may have happened is told, whatever is made again.
    for call in sorted(calls, key=lambda each: each.outcome.status):
        if call.round == 0 and call.has_failed:
            again = next((each for each in repairs if each.item.name == call.item.name), call)
            failed.append(again)
            repairs = [each for each in repairs if each is not again]
        elif call.round < 0 and call.has_failed:
            later = (each for each in calls if each.round > call.round)
            failed += [] if call.item.name in {each.item.name for each in later} else [call]
    return [call for call in (*failed, *repairs) if call.has_failed]
