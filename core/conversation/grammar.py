"""The grammar of what a person can type instead of a message for the model.

One parser and one set of errors, on every platform. A message is a command when its first word,
bare or after `/` or `!`, is one of the names and the rest fits that command; "stop doing that" and
"help me with X" are for the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.errors import BadInput, UnknownCommand
from core.quick_commands import Inputs, parse_input, render_input
from core.text import after, clean, fenced

DECISIONS = frozenset(
    {"stop", "approve", "deny", "undo", "forget", "help", "status", "usage", "changes"}
)
"""They act as soon as they are stored; everything else keeps its place in the queue."""

NAMES = DECISIONS | {"new", "quick-command"}

RUN_PYTHON = "run-python"
"""The name of a message that is only one ```python block."""

_WITH_ID = frozenset({"approve", "deny", "undo"})
_HEAD = re.compile(r"[/!]?([a-z]+(?:-command)?)(?=\s|$)", re.IGNORECASE)
_ID = re.compile(r"(?=[a-z]*[2-7])[a-z2-7]{6}")
"""Every id holds a digit, so that "approve please" stays a sentence."""
SLUG = r"[a-z0-9][a-z0-9_-]{0,99}"
"""What a quick command can be named."""
_LONGEST_DECISION = 64

_NO_SLUG = "Say which quick command: `quick-command SLUG`, then its text or key=value."
_WRONG_SLUG = (
    "{word} is no name of a quick command: a name has up to 100 lower-case letters, digits, "
    "- and _. Write `quick-command SLUG`, then its text or key=value."
)


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed: `id` for approve, deny and undo; `slug` and `input` for quick-command.

    `confirmed` is `forget yes`; `code` is the Python of a message that is only a code block.
    """

    name: str
    id: str = ""
    slug: str = ""
    input: Inputs = ""
    confirmed: bool = False
    code: str = ""


def parse(text: str) -> Command | None:
    """The command, or None when the message is for the model.

    Raises UnknownCommand (a slug that is none) or BadInput (inputs that cannot be read).
    """
    text = text.strip()
    if text.startswith(("```", "~~~")):
        return _code_block(clean(text))
    head = _HEAD.match(clean(text[:_LONGEST_DECISION]))
    name = head[1].lower() if head else ""
    if name not in NAMES:
        return None
    rest = clean(text).strip()[head.end() if head else 0 :].strip()
    return _quick_command(rest) if name == "quick-command" else _plain(name, rest)


def is_decision(text: str) -> bool:
    """Whether this must act at once, ahead of what waits in its conversation."""
    text = text.strip()
    if len(text) > _LONGEST_DECISION:
        return False
    try:
        command = parse(text)
    except BadInput:
        return False
    return command is not None and command.name in DECISIONS


def check_slug(slug: str) -> None:
    """Raises UnknownCommand for what no quick command can be named."""
    if not re.fullmatch(SLUG, slug):
        raise UnknownCommand(_WRONG_SLUG, word=repr(slug[:40]))


def typed(command: Command) -> str:
    """The text that `parse` reads as `command`."""
    if command.name == RUN_PYTHON:
        return fenced(command.code, "python")
    words = [command.name, command.id, "yes" if command.confirmed else "", command.slug]
    words.append(render_input(command.input) if command.input != "" else "")
    return " ".join(word for word in words if word)


def _plain(name: str, rest: str) -> Command | None:
    if name in _WITH_ID:
        word = rest.lower()
        return Command(name, id=word) if _ID.fullmatch(word) else None
    if name == "forget" and rest.lower() == "yes":
        return Command(name, confirmed=True)
    return None if rest else Command(name)


def _quick_command(rest: str) -> Command:
    slug, *more = rest.split(maxsplit=1)[:2] if rest else ("",)
    if not slug:
        raise UnknownCommand(_NO_SLUG)
    check_slug(slug)
    return Command("quick-command", slug=slug, input=parse_input(more[0]) if more else "")


def _code_block(text: str) -> Command | None:
    opening, *lines = text.split("\n")
    fence = after(opening, None, len(opening))
    if fence is None or fence.info.strip().lower() not in ("python", "py") or len(lines) < 2:
        return None
    *code, closing = lines
    if after(closing, fence, 0) or any(after(line, fence, 0) is None for line in code):
        return None
    source = "\n".join(code)
    return Command(RUN_PYTHON, code=source) if source.strip() else None
