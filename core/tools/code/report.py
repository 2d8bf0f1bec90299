"""What came of a run, in words: for the model, and for a person who ran it without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core import text
from core.fences import fenced
from core.messages import File
from core.tools.code.port import Fault, Ran
from core.tools.outcome import CAP
from core.words import say

SHOWN = 3_000
"""Characters of output that a person reads in the answer; all of it comes as a file."""
_OTHERS = 1_000
"""Characters that are kept for everything but the output."""

RESET = (
    "Python began anew, because {why}: variables from before are gone, and the files of this "
    "conversation were put back."
)
CHANGED = "The code that ran is not the code that was asked for; what ran is attached."
NOTHING = "It ran, and printed nothing."
STOPPED_BY: dict[Fault, str] = {
    "timeout": "It was stopped, because it took too long.",
    "memory": "It was stopped, because it took too much memory.",
    "flooded": "It was stopped, because it printed without end.",
    "died": "Its process ended before it was done.",
}
LOST = "Variables are gone now."


def for_model(ran: Ran, files: Sequence[File]) -> str:
    """Plain text; what was printed is cut in its middle so that all of the rest is read."""
    parts = [f"[{RESET.format(why=ran.why_reset)}]" if ran.reset else ""]
    parts.append(f"[Not your code ran, but this:]\n{ran.changed}" if ran.changed else "")
    after = [ran.value, ran.error, *(f"[{note}]" for note in _notes(ran, "en"))]
    if files:
        after.append(f"[The person has: {', '.join(file.name for file in files)}]")
    room = CAP - _OTHERS - sum(len(part) for part in (*parts, *after))
    told = [*parts, middle_cut(ran.printed.strip("\n"), max(_OTHERS, room)), *after]
    return _joined(told) or NOTHING


def for_person(ran: Ran, files: Sequence[File], locale: str) -> str:
    """Markdown; all that code wrote stands in blocks, where nothing of it is markup."""
    printed = text.clean(ran.printed).strip("\n")
    blocks = [middle_cut(printed, SHOWN), text.clip(text.clean(ran.value), SHOWN)]
    blocks.append(text.clip(text.clean(ran.error), SHOWN))
    parts = [*notices(ran, locale), *(fenced(block) for block in blocks if block.strip())]
    parts += [f"_{note}_" for note in _notes(ran, locale)]
    return _joined(parts) or ("" if files else say(NOTHING, locale))


def notices(ran: Ran, locale: str) -> tuple[str, ...]:
    """What a person must know of a run even where a model tells of it."""
    told = []
    if ran.reset:
        why = say(ran.why_reset, locale)
        told.append(f"_{say(RESET, locale, why=why)}_")
    if ran.changed:
        told.append(f"_{say(CHANGED, locale)}_")
    return tuple(told)


def middle_cut(printed: str, longest: int) -> str:
    """The beginning and the end of what is too long."""
    if len(printed) <= longest:
        return printed
    head, tail = longest * 2 // 3, longest // 4
    return f"{printed[:head]}\n[… {len(printed) - head - tail:,} characters …]\n{printed[-tail:]}"


def _notes(ran: Ran, locale: str) -> list[str]:
    notes = []
    if ran.fault:
        notes.append(say(STOPPED_BY[ran.fault], locale))
    if ran.lost:
        notes.append(say(LOST, locale))
    return [*notes, *(text.clean(note) for note in ran.left_out)]


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part.strip())
