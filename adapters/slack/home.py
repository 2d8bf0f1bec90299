"""The App Home tab: what is connected, what Ponte may do here, what was changed of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.slack.lengths import SECTION, cut, fit
from adapters.slack.markup import escaped
from core.messages import Address, Card, Person
from core.ports import Policy, StatusBoard
from core.records import Action, Health
from core.words import say

Json = dict[str, Any]

_HEADER = 150
"""docs.slack.dev/reference/block-kit/blocks/header-block."""
_MARKS = {"on": "🟢", "off": "⚪", "failing": "🔴"}
_MAY: tuple[tuple[Action, str], ...] = (
    ("chat", "talk with me"),
    ("read", "read tables"),
    ("write", "change data, after a person approved it"),
    ("spend", "run quick commands"),
    ("code", "run code"),
    ("admin", "decide as an admin"),
)


async def view(board: StatusBoard, policy: Policy, person: Person, where: Address,
               locale: str) -> Json:  # fmt: skip
    """For views.publish; `where` is the person's direct message with us."""
    blocks = [_header(say("Ponte", locale))]
    verdict = await policy.may(person, where, "chat")
    if not verdict.allowed:
        return {"type": "home", "blocks": [*blocks, _section(escaped(say(verdict.reason, locale)))]}
    hello = "Mention me in a channel, or write to me here. `help` says what else I know."
    blocks.append(_section(say(hello, locale)))
    blocks += [_header(say("What is connected", locale)), _section(_health(await board.health()))]
    blocks += [_header(say("What you may do here", locale))]
    may = [(await policy.may(person, where, action)).allowed for action, _ in _MAY]
    lines = [
        f"{'✅' if allowed else '🚫'} {say(words, locale)}"
        for allowed, (_, words) in zip(may, _MAY, strict=True)
    ]
    blocks.append(_section("\n".join(lines)))
    blocks.append(_header(say("Recent changes", locale)))
    blocks.append(_section(_changes(await board.changes(where.conversation), locale)))
    return {"type": "home", "blocks": blocks}


def _health(parts: Sequence[Health]) -> str:
    return "\n".join(
        f"{_MARKS[part.state]} *{escaped(part.name)}* {escaped(part.words)}" for part in parts
    )


def _changes(cards: Sequence[Card], locale: str) -> str:
    if not cards:
        return say("Nothing was changed here yet.", locale)
    return "\n".join(f"• `{c.id}` {escaped(c.title)} ({escaped(c.state)})" for c in cards[:10])


def _header(text: str) -> Json:
    return {"type": "header", "text": {"type": "plain_text", "text": fit(text, _HEADER)}}


def _section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION) or "–"}}
