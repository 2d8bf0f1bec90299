"""Parses the inputs of quick commands and formats their results, for every platform.

After the slug, a person writes one of these:

- free text;
- `key=value key2="two words"`;
- a JSON object.

Inside quotes, a backslash escapes a quote or a backslash. Free text that looks like one of the
other two forms must be in "double quotes" as a whole.

Without typed text, the input is the attached text file, or else the message that was replied to.
With typed inputs by name, an attached file is the value of the only required input that is missing.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from core.base.errors import BadInput, GivenTwice, TooLarge
from core.base.i18n import format_number, say
from core.base.markdown import escape_markdown
from core.base.redaction import pretty_json, withhold_in_text
from core.base.splitting import make_code_block, split_text
from core.base.text import clean_text, run_off_loop
from core.base.value_formats import (
    format_value,
    parse_number,
    parse_typed_number,
    parse_typed_truth,
)
from core.domain.messages import File, Message, too_large
from core.domain.records import QuickCommand

COMMAND_TOOL = "stackspot_quick_command"
"""The tool with which a model runs a quick command."""
MAX_INPUT_FILE_BYTES = 256_000
"""Bytes of a file that may be an input: about 64,000 tokens of English. StackSpot does not document
its own limit."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The byte order marks at the beginning of a text file (Unicode 16, section 23.8), and the encoding
that each of them indicates."""
MAX_RESULT_CHARACTERS = 8_000
"""Characters of a result that are shown as text: one post on Slack, a few on Discord."""
RESULT_EXCERPT_CHARACTERS = 1_500
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # phones write the curly ones
_QUOTED = "|".join(
    rf"{opening}(?:[^{closing}\\]|\\.)*{closing}" for opening, closing in _QUOTES.items()
)
_KEY = re.compile(r"([^\W\d][\w.-]*)=")
_VALUE = re.compile(rf"(?:{_QUOTED}|(?![\"'“‘])\S*)(?=\s|$)", re.DOTALL)
_WHOLE = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S{1,40}")
_DEEPEST = 32

_NO_OBJECT = (
    "This looks like JSON but isn't valid (line {line}, column {column}). Fix it, use key=value, "
    'or put the whole text in "double quotes".'
)
_UNCLOSED = (
    "The quote after {key}= isn't closed, or has text right after it. Close it and add a space. "
    "Put a backslash before quotes inside."
)
_STRAY = (
    "`{word}` isn't in the form key=value. Put values with spaces in quotes, for example "
    'key="two words". To send plain text, put all of it in "double quotes".'
)
_TAKES = "`{slug}` has these inputs: {names}. Example: {example}."
_MISSING = "`{slug}` also needs {names}. Example: {example}."
_UNKNOWN = "`{slug}` has no input `{name}`. Its inputs are: {names}."
_WRONG = {
    "number": "{name} must be a number, for example {name}={number}.",
    "boolean": "{name} must be true or false, for example {name}=true.",
    "choice": "{name} must have one of these values: {choices}.",
    "text": '{name} must be text, for example {name}="some words".',
}
_SEVERAL = (
    "A quick command accepts only one file, but you sent {count}. Send the one you want to use."
)
_BINARY = "`{name}` isn't a text file. Quick commands accept text files such as TXT, CSV and JSON."
_LARGE = "`{name}` is too large: it has {size} bytes, and the limit is {limit}."
_UNFETCHED = "I couldn't download the file `{name}`. Send it again."
_SPARE = (
    "You sent both text and the file `{name}`, so I can't tell which is the input. Leave out "
    "the text, or write every other required input as key=value."
)
_EMPTY = "The quick command finished without a result."
_LONG = "The result has {count} characters. The full text is in the file `{name}`. It begins:"

Inputs = str | dict[str, Any]
"""Values written as key=value are texts; JSON values have any type."""
Attached = tuple[Sequence[File], Sequence[str]]
Read = Callable[[File], Awaitable[bytes]]
Keep = Callable[[str, str, bytes], Awaitable[File]]


def parse_input(text: str) -> Inputs:
    """Return free text unchanged, or the inputs by name, if the text has the form `key=value …` or
    is a JSON object. A text that is all in double quotes is free text. The BadInput that this
    raises explains what to correct."""
    text = clean_text(text).strip()
    if text.startswith("{"):
        try:
            values: dict[str, Any] = json.loads(
                text,
                object_pairs_hook=check_unique_names,  # raises BadInput for a name that is twice
                parse_float=_parse_finite,
                parse_constant=_parse_finite,
            )
            return {name: _clean_json(value) for name, value in values.items()}
        except json.JSONDecodeError as error:
            raise BadInput(_NO_OBJECT, line=error.lineno, column=error.colno) from None
        except (ValueError, RecursionError):  # infinity, NaN, or nested too deeply
            raise BadInput(_NO_OBJECT, line=1, column=1) from None
    # All of it is one quoted text.
    if _WHOLE.fullmatch(text):
        return _unquote(text)
    if not _KEY.match(text):
        return text
    pairs: dict[str, Any] = {}
    place = 0  # everything before this index is parsed
    while place < len(text):
        key = _KEY.match(text, place)
        if key is None:
            word = _WORD.match(text, place)
            raise BadInput(_STRAY, word=word[0] if word else "")
        value = _VALUE.match(text, key.end())
        if value is None:
            raise BadInput(_UNCLOSED, key=key[1][:40])
        _add(pairs, key[1], _unquote(value[0]) if value[0][:1] in _QUOTES else value[0])
        # It always matches, also no space at all: None is for the type checker.
        space = _SPACE.match(text, value.end())
        place = space.end() if space else len(text)
    return pairs


def render_input(inputs: Inputs) -> str:
    """`parse_input` parses the text as these inputs again, in a message that stands for a form or a
    schedule."""
    if isinstance(inputs, str):
        # A text that would be read as one of the other forms is put in quotes.
        plain = inputs == inputs.strip() and inputs[:1] not in ("{", '"') and not _KEY.match(inputs)
        return inputs if plain else _quote(inputs)
    # Only texts under simple names can be written as key=value; all else is JSON.
    texts = all(isinstance(value, str) for value in inputs.values())
    if inputs and texts and all(_KEY.fullmatch(f"{key}=") for key in inputs):
        return " ".join(f"{key}={_quote(value)}" for key, value in inputs.items())
    return json.dumps(inputs, ensure_ascii=False)


def check_unique_names(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Raise BadInput if a name occurs twice, because then the person made a mistake."""
    inputs: dict[str, Any] = {}
    for name, value in pairs:
        _add(inputs, clean_text(name), value)
    return inputs


def check_inputs(command: QuickCommand, inputs: Inputs, *, is_typed: bool = False) -> Inputs:
    """The registry's types are text, number, boolean and choice (with `choices`). Values from
    key=value are text, so "12.5" becomes a number and "yes" a boolean here. With `is_typed`, a
    person wrote them, so the text of a number is in the form of their language. A command without
    declared inputs accepts anything. Raise BadInput, which explains what to correct."""
    if not command.inputs:
        return inputs
    slug, names, required = command.slug, list(command.inputs), _required_names(command)
    all_names = ", ".join(names)
    if isinstance(inputs, str):
        # Free text is the only input, or the only required one of several.
        only = names if len(names) == 1 else required
        if inputs.strip() and len(only) != 1:
            raise BadInput(
                _TAKES, slug=slug, names=all_names, example=_example(slug, required or names)
            )
        inputs = {only[0]: inputs} if inputs.strip() else {}
    for name in inputs:
        if name not in command.inputs:
            raise BadInput(_UNKNOWN, slug=slug, name=name[:40], names=all_names)
    if missing := [name for name in required if inputs.get(name) in (None, "")]:
        example = _example(slug, missing)
        raise BadInput(_MISSING, slug=slug, names=", ".join(missing), example=example)
    checked_inputs: dict[str, Any] = {}
    for name, value in inputs.items():
        kind = str(command.inputs[name].get("type", "text"))
        choices = [str(choice) for choice in command.inputs[name].get("choices", ())]
        checked: Any = None  # None: the value does not fit its type
        if kind == "choice":
            checked = value if value in choices else None
        elif kind == "number":
            checked = _number(value, is_typed)
        elif kind == "boolean":
            checked = value if isinstance(value, bool) else parse_typed_truth(str(value))
        elif isinstance(value, str):
            checked = value
        if checked is None:
            raise BadInput(
                _WRONG.get(kind, _WRONG["text"]),
                name=name,
                choices=", ".join(choices),
                number=format_value(12.5, ""),
            )
        checked_inputs[name] = checked
    return checked_inputs


async def collect_inputs(
    command: QuickCommand, typed: Inputs, message: Message, attached: Attached, read_file: Read
) -> Inputs:
    """Return the inputs of a quick command before they are checked: typed text, else the attached
    file, else the text of the message that was replied to. A file beside typed inputs is the one
    required input that was not typed.

    Raise BadInput or TooLarge if the file cannot be the input, so that the command does not run
    without it. Raise NotFound if the file is not stored any more.
    """
    files, missing = attached
    for large in filter(None, map(too_large, message.attachments)):  # raise the first, if any
        raise large
    if missing:
        raise BadInput(_UNFETCHED, name=missing[0])
    if len(files) > 1:
        raise BadInput(_SEVERAL, count=len(files))
    if not files:
        replied_to = next((quote.text for quote in message.context if quote.is_replied_to), "")
        return replied_to if typed == "" else typed
    (file,) = files
    # A file that is too large is not read: `_decode_file` rejects it by its size.
    content = _decode_file(
        file, await read_file(file) if file.size <= MAX_INPUT_FILE_BYTES else b""
    )
    if typed == "":
        # A JSON object in the file holds the inputs if the command declares all its names, or
        # declares no inputs and so accepts anything. Anything else is free text.
        from_file: Inputs = content
        if content.lstrip().startswith("{"):
            with suppress(BadInput):
                from_file = parse_input(content)
        has_its_names = isinstance(from_file, dict) and from_file.keys() <= command.inputs.keys()
        return from_file if has_its_names or not command.inputs else content
    # With typed inputs, the file is the one required input that was not typed.
    lacking = [name for name in _required_names(command) if name not in typed]
    if isinstance(typed, str) or len(lacking) != 1:
        raise BadInput(_SPARE, name=file.name)
    return {**typed, lacking[0]: content}


async def render_result(result: str, name: str, keep: Keep) -> tuple[str, Sequence[File]]:
    """Return the result of a quick command as a person sees it: its text, and, if it is long, its
    beginning and a file called `name` with all of it. A JSON object or list becomes a code block.
    `keep` stores the file; its errors are raised.

    Links are checked later, with the whole answer, because the rules depend on the platform.
    """
    # Long texts are processed in a thread. `pretty` is cleaned, and "" unless the result is JSON.
    pretty = await run_off_loop(pretty_json, result)
    cleaned = await run_off_loop(withhold_in_text, pretty or clean_text(result))
    body = make_code_block(cleaned, "json") if pretty else cleaned.strip()
    if len(body) <= MAX_RESULT_CHARACTERS:
        return body or say(_EMPTY), ()
    suffix, type = ("json", "application/json") if pretty else ("md", "text/markdown")
    file = await keep(f"{name}.{suffix}", type, cleaned.encode())
    head = say(_LONG, count=len(cleaned), name=file.name)
    return f"{head}\n\n{split_text(body, RESULT_EXCERPT_CHARACTERS)[0]}", (file,)


def _add(inputs: dict[str, Any], name: str, value: Any) -> None:
    if name in inputs:
        raise GivenTwice(key=escape_markdown(name[:40]))
    inputs[name] = value


def _parse_finite(text: str) -> float:
    # Raise ValueError for infinity and NaN: JSON has neither (RFC 8259, section 6), but Python's
    # parser accepts them.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _clean_json(value: Any, depth: int = 1) -> Any:
    """Return a JSON value with all its texts cleaned of invisible characters. Raise ValueError if
    it is nested deeper than _DEEPEST. `depth` is the level of `value`; the first one is 1."""
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean_json(element, depth + 1) for element in value]
    # `check_unique_names` has cleaned the names.
    if isinstance(value, dict):
        return {name: _clean_json(element, depth + 1) for name, element in value.items()}
    return value


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquote(text: str) -> str:
    closing = re.escape(text[-1])
    return re.sub(rf"\\([\\{closing}])", r"\1", text[1:-1])


def _required_names(command: QuickCommand) -> list[str]:
    return [name for name, declared in command.inputs.items() if declared.get("required")]


def _example(slug: str, names: list[str]) -> str:
    pairs = " ".join(f'{name}="…"' for name in names)
    return f"`quick-command {slug} {pairs}`"


def _number(value: Any, is_typed: bool) -> int | float | None:
    """Return the number that an input is, or that its text means, for an input of the type number;
    None if it is none, or is infinite. With `is_typed`, a person wrote the text in the form of
    their language, as in "12,5"."""
    if isinstance(value, str):
        number = parse_typed_number(value) if is_typed else parse_number(value)
        if number is not None:
            # A number without decimal places stays exact.
            value = float(number) if number.as_tuple().exponent else int(number)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _decode_file(file: File, data: bytes) -> str:
    """Return the text of a file that is the input of a quick command. Raise TooLarge, or BadInput
    if it is not text. A byte order mark tells the encoding; without one it is UTF-8.

    `file.size` is what the platform stated before the download; `data` may be longer. It is empty
    if the file was not downloaded, because the stated size exceeds the limit.
    """
    if max(file.size, len(data)) > MAX_INPUT_FILE_BYTES:
        size = format_number(max(file.size, len(data)))
        raise TooLarge(_LARGE, name=file.name, size=size, limit=format_number(MAX_INPUT_FILE_BYTES))
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise BadInput(_BINARY, name=file.name) from None
    if "\0" in text:  # binary data that happens to be valid UTF-8
        raise BadInput(_BINARY, name=file.name)
    return clean_text(text)
