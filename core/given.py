"""What a quick command is given besides what was typed: a file, or the message replied to.

With no text typed, the one attached text file is the input, else the message that was replied to.
With inputs by name typed, a file is the one required input that is still missing.
"""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Sequence

from core.errors import BadInput, TooLarge
from core.inputs import Inputs, parse_input
from core.messages import File, Message
from core.records import QuickCommand
from core.text import clean
from core.unread import too_large

LONGEST = 256_000
"""Bytes of a file that may be an input. StackSpot's own limit is not documented; this is some
64,000 tokens of English."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""How a text file may begin (Unicode 16, section 23.8), and its encoding then."""

_SEVERAL = "A quick command takes one file, and you sent {count}. Send the one that it is for."
_BINARY = (
    "`{name}` is not a text file, so it cannot be an input: I take text, CSV, JSON and the like."
)
_LARGE = "`{name}` is too large to be an input: it has {size} bytes, and at most {limit} fit."
_MISSING = "The file `{name}` could not be fetched from the platform. Please send it again."
_SPARE = (
    "I do not know what `{name}` is for, because the input was typed as well. "
    "Leave the text out, or name every input but the one that the file is for."
)

Attached = tuple[Sequence[File], Sequence[str]]
"""The files of a message, and the names of those that could not be fetched."""
Read = Callable[[File], Awaitable[bytes]]


async def given(
    command: QuickCommand, typed: Inputs, message: Message, attached: Attached, read: Read
) -> Inputs:
    """The inputs, before they are checked. Raises BadInput, TooLarge, NotFound."""
    files, missing = attached
    for large in filter(None, map(too_large, message.attachments)):
        raise large
    if missing:
        raise BadInput(_MISSING, name=missing[0])
    if len(files) > 1:
        raise BadInput(_SEVERAL, count=len(files))
    if not files:
        return _replied_to(message) if typed == "" else typed
    (file,) = files
    content = _text(file, await read(file) if file.size <= LONGEST else b"")
    if typed == "":
        return _named(command, content)
    lacking = _lacking(command, typed)
    if isinstance(typed, str) or len(lacking) != 1:
        raise BadInput(_SPARE, name=file.name)
    return {**typed, lacking[0]: content}


def _lacking(command: QuickCommand, typed: Inputs) -> list[str]:
    required = [name for name, about in command.inputs.items() if about.get("required")]
    return [name for name in required if name not in typed]


def _replied_to(message: Message) -> str:
    """ "" where it was no reply."""
    return next((quote.text for quote in message.context if quote.replied), "")


def _text(file: File, data: bytes) -> str:
    """Raises TooLarge, and BadInput for what is no text."""
    if max(file.size, len(data)) > LONGEST:
        size = f"{max(file.size, len(data)):,}"
        raise TooLarge(_LARGE, name=file.name, size=size, limit=f"{LONGEST:,}")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise BadInput(_BINARY, name=file.name) from None
    if "\0" in text:
        raise BadInput(_BINARY, name=file.name)
    return clean(text)


def _named(command: QuickCommand, content: str) -> Inputs:
    """A JSON object with no other names than the command's holds its inputs; all else is text."""
    if not content.lstrip().startswith("{"):
        return content
    try:
        named = parse_input(content)
    except BadInput:
        return content
    known = isinstance(named, dict) and named.keys() <= command.inputs.keys()
    return named if known or not command.inputs else content
