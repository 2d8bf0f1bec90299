"""Values of ponte.toml: the types of its numbers, the section of a webhook, and the line of each
key for error messages.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic_core.core_schema import ValidationInfo

from bot.integrations import FACES, Faces
from core.integrations.integration import ChatIntegration, must_match
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR
from core.webhooks.hook import HOOK_PLATFORM, Hook, HookKind

MAX_CALLS_OF_TURN = 1000
"""Largest limit of tool calls in a turn."""
MAX_DAYS = 36_500
MAX_AMOUNT = 10**9
"""Largest number of dollars, tokens or turns."""
STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
"""Unknown keys are errors, and errors do not repeat values."""


def _check_positive(value: int) -> int:
    if value < 1:
        raise ValueError("write a number that is at least 1")
    return value


def _parse_duration(value: object) -> float:
    """Return the seconds of `4h`, `30m` or `0`."""
    found = re.fullmatch(r"(\d{1,4})([mh])|0", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write minutes or hours in quotes, as in "30m" or "4h"; "0" turns it off')
    return float(found[1] or 0) * {"m": 60, "h": 3600}.get(found[2], 0)


Dollars = Annotated[float, Field(strict=True, ge=0, le=MAX_AMOUNT, allow_inf_nan=False)]
"""US dollars, a number that is not negative."""
Count = Annotated[StrictInt, Field(ge=0, le=MAX_CALLS_OF_TURN)]
"""A whole number, 0 to 1,000."""
Many = Annotated[StrictInt, Field(ge=0, le=MAX_AMOUNT)]
"""A whole number that is not negative."""
Positive = Annotated[StrictInt, AfterValidator(_check_positive), Field(le=MAX_CALLS_OF_TURN)]
"""A whole number, 1 to 1,000."""
Days = Annotated[StrictInt, Field(ge=0, le=MAX_DAYS)]
"""A whole number of days."""
Duration = Annotated[float, BeforeValidator(_parse_duration)]
"""Minutes or hours, as in `"30m"` or `"4h"`; `"0"` turns it off."""


_AT = re.compile(r"^(.*) \(at line (\d+), column \d+\)$")
KeyPath = tuple[str, ...]


class TomlLines:
    """The line, from 1, of each table and key of a text that tomllib accepts.

    A statement is the shortest run of lines that tomllib parses on its own, so that quotes,
    multi-line strings and arrays need no second parser. All keys of one statement have its first
    line. The tables of an array are counted from 0, as in `rules`, `0`, `who`.
    """

    def __init__(self, text: str = "") -> None:
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        counted: Counter[KeyPath] = Counter()
        for number, parsed in _statements(text.splitlines()):
            if parsed.is_header:
                table = next(_deepest(parsed.values))
                if parsed.is_array:
                    counted[table] += 1
                    table = (*table, str(counted[table] - 1))
                self._note(table, number)
            else:
                for path in _paths(parsed.values):
                    self._note(table + path, number)

    def of(self, path: Sequence[object]) -> int:
        """Return the line of that key, or of the nearest one around it; 1 if there is none."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def _note(self, path: KeyPath, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def describe_toml_error(name: str, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return tomllib's message with its line."""
    found = _AT.match(str(error))
    line = int(found[2]) if found else max(1, len(text.splitlines()))
    words = found[1] if found else str(error).removesuffix(" (at end of document)")
    return f"{name}:{line}: not TOML: {words}."


class _Statement:
    def __init__(self, text: str) -> None:
        self.values = tomllib.loads(text)
        self.is_header = text.lstrip().startswith("[")
        self.is_array = text.lstrip().startswith("[[")


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, _Statement]]:
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            statement = _Statement("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue  # a string or array that goes on in the next line
        if statement.values:
            yield start + 1, statement
        start = end


def _paths(values: Mapping[str, object]) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            for path in _paths(value):
                yield (key, *path)


def _deepest(values: object) -> Iterator[KeyPath]:
    """Yield the path of a table's header, as tomllib nests it: [[a.b]] is {"a": {"b": [{}]}}."""
    if isinstance(values, dict) and values:
        key, inner = next(iter(values.items()))
        for path in _deepest(inner):
            yield (key, *path)
    else:
        yield ()


def _check_hook_place(value: str, info: ValidationInfo) -> str:
    faces: Faces = (info.context or {}).get("faces", FACES)
    chats = [face.name for face in faces if isinstance(face, ChatIntegration)]
    if not re.fullmatch(rf"({'|'.join(chats)})(:[A-Za-z0-9]+){{1,2}}", value):
        raise ValueError(f"write {chats[0]}:WORKSPACE:CHANNEL, or {chats[0]}:ID for a person")
    return value


VariableName = Annotated[
    str, must_match("[A-Z][A-Z0-9_]{2,99}", "the name of an environment variable, as HOOK_SECRET")
]
"""The name of an environment variable, as in `HOOK_SECRET`."""
HookName = Annotated[
    str, must_match("[a-z0-9][a-z0-9-]{0,39}", "up to 40 lowercase letters, digits and hyphens")
]
"""Up to 40 lowercase letters, digits and hyphens."""
HookPlace = Annotated[str, AfterValidator(_check_hook_place)]
"""A channel (`slack:T1:C1`) or a person (`slack:U1`) of a chat platform."""
GroupName = Annotated[str, Field(alias="as")]
"""The name of a group in `[groups]`."""
HeaderName = Annotated[str, must_match("[A-Za-z][A-Za-z0-9-]{0,99}", "the name of a header")]
"""The name of an HTTP header."""
FieldPath = Annotated[str, must_match(r"[^{}\n]{1,200}", "the path of a field, as in data.id")]
"""The path of a field in the body, as in `data.id`."""


@dataclass(frozen=True, slots=True)
class HookConfig:
    """A webhook: another program sends `POST /hooks/NAME`, and Ponte posts in one place.

    Either `template` or `instruction` is set.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: HookKind
    """how the sender proves who it is: `github`, `stripe`, `standard` (Standard Webhooks) or
    `secret` (a header with the secret)"""
    secret: VariableName
    """the name of the environment variable that holds the secret"""
    post_to: HookPlace
    """a channel (`slack:T1:C1`), or a person who gets a direct message (`slack:U1`)"""
    as_: GroupName
    """the group whose rights the webhook has"""
    template: str = ""
    """a post with fields of the body, as in `{data.rows.0.Name}`; no model is asked"""
    instruction: str = ""
    """what the model does with the body"""
    header: HeaderName = "X-Hook-Secret"
    """the header that holds the secret, with `kind = "secret"`"""
    id_field: FieldPath = "id"
    """the field of the body with the delivery's ID, with `kind = "secret"`; without one,
    equal bodies are one delivery"""
    repeats_after: Duration = 0.0
    """when an equal body without an ID is another delivery, as in `"1h"`; left out: never.
    Somebody who recorded a request can then send it again"""
    per_minute: Positive = 60
    """deliveries a minute, over all processes; more are refused"""
    turns_per_day: Many = 500
    """answers of the model a day; further deliveries are stored and not answered"""
    money_per_day: Dollars | None = None
    """US dollars a day for its answers; left out: only `allowances` limit them"""

    def __post_init__(self) -> None:
        if bool(self.template.strip()) == bool(self.instruction.strip()):
            raise ValueError("write template or instruction, and not both")

    def allowance(self, name: str, location: str) -> Allowance:
        """Return what the webhook of this name may spend. `location` is its place in the file."""
        money = self.money_per_day
        nanodollars = None if money is None else round(money * NANODOLLARS_PER_DOLLAR)
        who = frozenset({f"{HOOK_PLATFORM}:{name}"})
        return Allowance(
            "each person", money=nanodollars, turns=self.turns_per_day, who=who, source=location
        )

    def hook(self, name: str, variable: Callable[[str], str]) -> Hook:
        """Return the webhook. `variable` returns the value of an environment variable."""
        platform, *place = self.post_to.split(":")
        workspace, channel = place if len(place) == 2 else ("", "")
        person = "" if channel else place[0]
        return Hook(
            name, self.kind, variable(self.secret), platform, workspace, channel, person,
            self.template, self.instruction, self.header, self.id_field, self.per_minute,
            self.repeats_after,
        )  # fmt: skip
