"""Types of values in ponte.toml, and the line of each key for error messages."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic_core.core_schema import ValidationInfo

from core.base.errors import BadInput
from core.base.i18n import LOCALES, say
from core.changes.approval import ASKER
from core.commands.grammar import SLUG_PATTERN
from core.integrations import ChatIntegration, list_person_forms, must_match
from core.people.rules import PEOPLE_SETS, check_right_name, is_right

MAX_CALLS_OF_TURN = 1000
"""Largest limit of tool calls in a turn."""
MAX_DAYS = 36_500
MAX_AMOUNT = 10**9
"""Largest number of dollars, tokens or turns."""
GROUP_NAME_PATTERN = "[a-z][a-z0-9_-]{0,49}"
"""The form of a group's name."""


class StrictSection:
    """The base of all sections of ponte.toml: an unknown key is an error, and error messages do not
    repeat values, which may be secret."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", hide_input_in_errors=True
    )


def _check_positive(value: int) -> int:
    if value < 1:
        raise ValueError("write a number that is at least 1")
    return value


def _parse_duration(value: object) -> float:
    match = re.fullmatch(r"(\d{1,4})([mh])|0", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write minutes or hours in quotes, as in "30m" or "4h"; "0" turns it off')
    return float(match[1] or 0) * {"m": 60, "h": 3600}.get(match[2], 0)


def _platform_forms(info: ValidationInfo) -> tuple[list[str], list[str], list[str]]:
    return list_person_forms((info.context or {})["faces"])


def _check_place(value: str, info: ValidationInfo) -> str:
    """Return a place if it is a surface of the owner, or a platform with up to two ids (workspace,
    channel). pydantic turns the ValueError into a line for the operator.

    `owners` are the surfaces of the owner (page, terminal). The context of the validation has the
    integrations (`faces`).
    """
    _, _, owners = _platform_forms(info)
    faces = (info.context or {})["faces"]
    forms = [
        rf"{integration.name}(:{integration.workspace_ids or '[A-Za-z0-9]+'}(:[A-Za-z0-9]+)?)?"
        for integration in faces
        if isinstance(integration, ChatIntegration)
    ]
    if not re.fullmatch("|".join((*owners, *forms)), value):
        raise ValueError(
            "write a place, as in `web`, `slack`, `slack:T1`, `slack:T1:C1` or "
            "`discord:SERVER:CHANNEL`"
        )
    return value


def _check_person(value: str, info: ValidationInfo) -> str:
    _, forms, owners = _platform_forms(info)
    if value not in owners and not re.fullmatch("|".join(forms), value):
        raise ValueError(
            "write a person, user group or role, as in `slack:ID`, `discord:ID`, `web`, "
            "`terminal` or `web:NAME` (from `ponte people list`)"
        )
    return value


def _check_who(value: str, info: ValidationInfo) -> str:
    """Return a value of `who` if it can name people: a set such as `guests`, a platform, a group,
    or one person. Raises ValueError."""
    chats, _, _ = _platform_forms(info)
    if value in (*PEOPLE_SETS, *chats) or re.fullmatch(GROUP_NAME_PATTERN, value):
        return value
    try:
        return _check_person(value, info)
    except ValueError:
        words = "write a person, as in slack:ID, the name of a group, or one of {names}"
        raise ValueError(say(words, names=", ".join(PEOPLE_SETS))) from None


def _check_approver(value: str, info: ValidationInfo) -> str:
    if value == ASKER or (re.fullmatch(GROUP_NAME_PATTERN, value) and value not in PEOPLE_SETS):
        return value
    try:
        return _check_person(value, info)
    except ValueError:
        raise ValueError("write a person, as in slack:ID, the name of a group, or asker") from None


def _check_where(value: str, info: ValidationInfo) -> str:
    return value if value in ("direct", "shared") else _check_place(value, info)


def _check_right(value: str) -> str:
    # A name after a right that takes none, as in `code:Orders`, has an error of its own. No error
    # here has a full stop.
    try:
        check_right_name(value)
    except BadInput as error:
        raise ValueError(error.words().removesuffix(".")) from None
    if not is_right(value):
        raise ValueError(
            "write `chat`, `read`, `propose`, `approve`, `spend`, `code` or `administer`; "
            "`read`, `propose` or `approve` for one table, as in `read:Orders`; or "
            "`tool:NAME`, `command:SLUG`, `agent:NAME`, `model:NAME`, `post:PLACE`"
        )
    return value


def _check_group_name(value: str, info: ValidationInfo) -> str:
    """Return the name of a group unless a rule would read it as something else, such as a platform.
    pydantic turns the ValueError into a line for the operator. `chats` are the names of all chat
    platforms, `owners` those of the surfaces of the owner (page, terminal)."""
    chats, _, owners = _platform_forms(info)
    if value in (*PEOPLE_SETS, ASKER, *chats, *owners) or not re.fullmatch(
        GROUP_NAME_PATTERN, value
    ):
        raise ValueError(
            "choose another name: lowercase letters, digits, hyphens and underscores, and not a "
            "reserved word"
        )
    return value


def _check_hook_place(value: str, info: ValidationInfo) -> str:
    chats, _, _ = _platform_forms(info)
    if not re.fullmatch(rf"({'|'.join(chats)})(:[A-Za-z0-9]+){{1,2}}", value):
        raise ValueError("write a channel, as in slack:T1:C1, or a person, as in slack:U1")
    return value


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
Place = Annotated[str, AfterValidator(_check_place)]
"""`web`, `terminal`, a platform (`slack`), its workspace or server (`slack:T1`) or a channel of it
(`slack:T1:C1`)."""
PersonKey = Annotated[str, AfterValidator(_check_person)]
"""A person, user group or role, as in `slack:U1`, `discord:42`, `web:ana`, `oidc:acme:SUB`; `web`,
`terminal`: the owner."""
Approver = Annotated[str, AfterValidator(_check_approver)]
"""A person, the name of a group, or `asker`."""
Approvals = Literal[1, 2]
Who = Annotated[str, AfterValidator(_check_who)]
"""A person, the name of a group, a platform or its workspace, or one of `everybody`, `members`,
`guests`, `outsiders`, `admins`."""
Where = Annotated[str, AfterValidator(_check_where)]
"""A place, `direct` or `shared`."""
Right = Annotated[str, AfterValidator(_check_right)]
"""`chat`, `read`, `propose`, `approve`, `spend`, `code`, `administer`; `read`, `propose` or
`approve` for one table (`read:Orders`); or `tool:NAME`, `command:SLUG`, `agent:NAME`,
`model:NAME`, `post:PLACE`; `*` in a name is any text."""
SetName = Annotated[str, AfterValidator(_check_group_name)]
"""Lowercase letters, digits, hyphens and underscores; not a reserved word such as `members`."""
Slug = Annotated[
    str,
    must_match(
        SLUG_PATTERN, "write a slug of up to 100 lowercase letters, digits, hyphens and underscores"
    ),
]
"""Up to 100 lowercase letters, digits, hyphens and underscores."""
AgentId = Annotated[
    str,
    must_match(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", "write the agent's ID as shown in the StackSpot portal"
    ),
]
"""The ID that StackSpot's portal shows."""
PricedName = Annotated[
    str,
    must_match(
        rf"\*|{SLUG_PATTERN}|[A-Za-z0-9][A-Za-z0-9_-]{{0,99}}", "write a name, or * for all others"
    ),
]
"""A slug or an agent's name; `*` is any other."""
Host = Annotated[
    str, must_match(r"[a-z0-9-]+(\.[a-z0-9-]+)*", "write a host name in lowercase letters")
]
"""A host name in lowercase letters."""
Language = Annotated[str, must_match("|".join(LOCALES), "write a language: en, pt-BR or fr")]
"""A language of Ponte, such as `en` or `pt-BR`."""
Texts = Annotated[
    Mapping[Language, str],
    BeforeValidator(lambda value: {"en": value} if isinstance(value, str) else value),
]
"""A text, or a table of texts by language, as in `{ en = "…", fr = "…" }`."""
VariableName = Annotated[
    str,
    must_match("[A-Z][A-Z0-9_]{2,99}", "write a variable's name, such as HOOK_SECRET"),
]
"""The name of an environment variable, as in `HOOK_SECRET`."""
HookPlace = Annotated[str, AfterValidator(_check_hook_place)]
"""A channel (`slack:T1:C1`) or a person (`slack:U1`) of a chat platform."""


_AT = re.compile(r"^(.*) \(at line (\d+), column \d+\)$")
KeyPath = tuple[str, ...]


def describe_missing_group(
    groups: Collection[str], path: KeyPath, name: str
) -> tuple[KeyPath, str]:
    """The key names a group which `[groups]` does not have."""
    words = "there is no group called {name}; [groups] contains {names}"
    fault = say(words, name=repr(name), names=", ".join(groups) or "–")
    near = difflib.get_close_matches(name, groups, 1)
    return path, say("{fault}. Did you mean {name}?", fault=fault, name=near[0]) if near else fault


class TomlLines:
    """The line, counted from 1, of each table and key of ponte.toml, for error messages.

    A statement is the shortest run of lines that tomllib parses on its own, so that quotes,
    multi-line strings and arrays need no second parser. All its keys have its first line. The
    tables of an array are counted from 0, as in `rules`, `0`, `who`.
    """

    def __init__(self, text: str = "") -> None:
        # `tomllib` does not tell lines, so the text is parsed statement by statement: one ends with
        # the first line with which it is valid TOML.
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()  # of the header above the statement
        counted: Counter[KeyPath] = Counter()  # tables in each array (`[[rules]]`)
        lines, begin = text.splitlines(), 0
        for end in range(1, len(lines) + 1):
            statement = "\n".join(lines[begin:end])
            try:
                values = tomllib.loads(statement)
            except tomllib.TOMLDecodeError:
                continue  # a string or array that goes on in the next line
            number, begin = begin + 1, end
            if statement.lstrip().startswith("["):
                table = next(_list_header_path(values))
                if statement.lstrip().startswith("[["):
                    counted[table] += 1
                    table = (*table, str(counted[table] - 1))
                self._note_line(table, number)  # also for the tables around it
            else:
                for path in _list_paths(values):
                    self._note_line(table + path, number)

    def of(self, path: Sequence[object]) -> int:
        """Return the line of the nearest key around it if it has none; 1 without any."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def _note_line(self, path: KeyPath, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def describe_toml_error(name: str, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return a line for the operator, as in `ponte.toml:3: not TOML: …`. The message of an error at
    the end of the text has no line, so the last one is named."""
    match = _AT.match(str(error))
    line = int(match[2]) if match else max(1, len(text.splitlines()))
    words = match[1] if match else str(error).removesuffix(" (at end of document)")
    return f"{name}:{line}: {say('not TOML: {why}', why=words)}."


def _list_paths(values: Mapping[str, object]) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            for path in _list_paths(value):
                yield (key, *path)


def _list_header_path(values: object) -> Iterator[KeyPath]:
    """Yield the path of a table's header, ("a", "b"), from what tomllib makes of the header alone:
    [[a.b]] is {"a": {"b": [{}]}}, [a.b] is {"a": {"b": {}}}."""
    if isinstance(values, dict) and values:
        key, inner = next(iter(values.items()))
        for path in _list_header_path(inner):
            yield (key, *path)
    else:
        yield ()
