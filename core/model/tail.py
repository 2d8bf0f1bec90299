"""What a conversation holds, set beside our transcript: what it lacks, and whether it will do.

The transcript is the truth. A conversation that lacks its end is told the rest; one with calls
that nobody will answer gets them answered as interrupted; with anything else in it that our
transcript does not have, it is given up and a new one is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.messages import Item
from core.model.input import words
from core.model.pairs import lost
from core.model.said import items_of
from core.openai import Json


@dataclass(frozen=True, slots=True)
class Plan:
    """`send` is what the conversation must still be told; or it was `answered` already."""

    send: tuple[Item, ...] = ()
    answered: tuple[Item, ...] = ()


def reconcile(
    transcript: Sequence[Item], tail: Sequence[Json], *, asked: bool, whole: bool
) -> Plan | None:
    """`tail` is the conversation's newest items, oldest first; `whole`: it has no others.

    `asked`: this very question was sent before, so what stands after it may be its answer.
    None: make a new conversation.
    """
    wanted = [item for item in transcript if item.kind != "opaque" and (item.text or item.call_id
              or item.role == "user")]  # fmt: skip
    held = [item for item in tail if _counts(item)]
    for end in range(len(held), -1, -1):
        for upto in _meetings(wanted, held[:end], whole):
            plan = _plan(wanted[upto:], held[end:], asked)
            if plan is not None:
                return plan
    return None


def _meetings(wanted: Sequence[Item], held: Sequence[Json], whole: bool) -> Iterator[int]:
    """Where in `wanted` the last of `held` may stand; the likeliest place first."""
    if not held:
        if whole:
            yield 0
        return
    likely = [len(held)] if whole and len(held) <= len(wanted) else []
    for upto in likely + list(range(len(wanted), 0, -1)):
        pairs = zip(reversed(wanted[:upto]), reversed(held), strict=False)
        if len(held) <= upto and all(_same(item, known) for item, known in pairs):
            yield upto


def _plan(missing: Sequence[Item], extra: Sequence[Json], asked: bool) -> Plan | None:
    if not extra:
        return Plan(send=tuple(missing)) if missing else None
    if not missing:
        return Plan(answered=items_of(extra)) if asked else None
    if all(item["type"] == "function_call" for item in extra):
        return Plan(send=(*lost(str(item["call_id"]) for item in extra), *missing))
    return None


def _counts(item: Json) -> bool:
    kind = item.get("type", "message")
    if kind == "message":
        return item.get("role") in ("user", "assistant")
    return kind in ("function_call", "function_call_output")


def _same(item: Item, known: Json) -> bool:
    kind = known.get("type", "message")
    if kind == "function_call":
        return item.kind == "call" and item.call_id == known.get("call_id")
    if kind == "function_call_output":
        return item.kind == "output" and item.call_id == known.get("call_id")
    if item.kind != "message" or item.role != known.get("role"):
        return False
    if item.role == "assistant":
        return item.text == "".join(_texts(known))
    return (_texts(known) or [""])[-1] in (words(item, False), words(item, True))


def _texts(known: Json) -> list[str]:
    """What a person said is the last part: what comes before it is the turn's preface and files."""
    content = known.get("content")
    if isinstance(content, str):
        return [content]
    return [str(p.get("text") or p.get("refusal") or "") for p in content or ()
            if p.get("type") in ("input_text", "output_text", "text", "refusal")]  # fmt: skip
