"""`ponte.toml`: what an operator writes about channels, changes and quick commands.

Unknown keys and wrong values are refused, one line each with file and line number.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo

from bot.integrations import FACES, Faces
from core.changes.approval import Access, TableRule, TableRules
from core.changes.model import MOST_ROWS
from core.conversation.grammar import SLUG
from core.errors import SettingsError
from core.i18n import LOCALES, nearest
from core.integration import ChatIntegration, OwnerIntegration
from core.messages import Address
from core.settings import cause, matching

MOST_CALLS = 1000
"""A turn may be given no more."""
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
_WORDED = {
    "missing": "is missing",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "greater_than_equal": "must not be negative",
    "less_than_equal": "must be at most {le}",
    "tuple_type": 'must be a list, as in ["a", "b"]',
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
}
_AT = re.compile(r"^(.*) \(at line (\d+), column \d+\)$")
KeyPath = tuple[str, ...]


class TomlLines:
    """The line, from 1, of each table and key of a text that tomllib accepts.

    A statement is the shortest run of lines that tomllib takes by itself, so quoting, several-line
    strings and arrays need no second parser. All keys of one statement share its first line.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        for number, parsed in _statements(text.splitlines()):
            if parsed.is_header:
                table = next(_deepest(parsed.values))
                self._note(table, number)
            else:
                for path in _paths(parsed.values):
                    self._note(table + path, number)

    def of(self, path: Sequence[object]) -> int:
        """The line of that key, or of the nearest one around it; 1 for none."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def _note(self, path: KeyPath, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def _per_language(value: object) -> object:
    return {"en": value} if isinstance(value, str) else value


def _faces(info: ValidationInfo) -> tuple[list[str], list[str], list[str]]:
    """The names of the chat platforms, the forms of their people's keys, the owner's surfaces."""
    faces: Faces = (info.context or {}).get("faces", FACES)
    chats = [face for face in faces if isinstance(face, ChatIntegration)]
    owners = [face.name for face in faces if isinstance(face, OwnerIntegration)]
    return [face.name for face in chats], [f"{face.name}:{face.ids}" for face in chats], owners


def _channel(value: str, info: ValidationInfo) -> str:
    chats, _, _ = _faces(info)
    if not re.fullmatch(rf"({'|'.join(chats)})(:[A-Za-z0-9]+){{2}}", value):
        others = "".join(f" or {chat}:…" for chat in chats[1:])
        raise ValueError(f"write {chats[0]}:WORKSPACE:CHANNEL{others}")
    return value


def _place(value: str, info: ValidationInfo) -> str:
    chats, _, owners = _faces(info)
    if not re.fullmatch(rf"{'|'.join(owners)}|({'|'.join(chats)})(:[A-Za-z0-9]+){{0,2}}", value):
        form = f"{chats[0]}:WORKSPACE or {chats[0]}:WORKSPACE:CHANNEL"
        raise ValueError(f"write {', '.join(owners)}, {form} (so for {', '.join(chats[1:])})")
    return value


def _person(value: str, info: ValidationInfo) -> str:
    chats, forms, owners = _faces(info)
    if not re.fullmatch("|".join([*owners, *forms]), value):
        ids = " or ".join(f"{chat}:ID" for chat in chats)
        raise ValueError(f"write {', '.join(owners)}, {ids} (a person, user group or role)")
    return value


ChannelKey = Annotated[str, AfterValidator(_channel)]
Place = Annotated[str, AfterValidator(_place)]
PersonKey = Annotated[str, AfterValidator(_person)]
Slug = Annotated[
    str,
    matching(
        SLUG,
        "a slug of up to 100 lower-case letters, digits, hyphens, underscores",
    ),
]
AgentId = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", "the agent's id, as the portal shows it")
]
Host = Annotated[str, matching(r"[a-z0-9-]+(\.[a-z0-9-]+)*", "a host's name in small letters")]
Language = Annotated[str, matching("|".join(LOCALES), "a language: " + ", ".join(LOCALES))]
Texts = Annotated[Mapping[Language, str], BeforeValidator(_per_language)]


@dataclass(frozen=True, slots=True)
class Channel:
    """`strict_mention`: answer only where mentioned. `instructions` add to the assistant's own."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    strict_mention: StrictBool = False
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """What a quick command asks for."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    type: Literal["text", "number", "boolean", "choice"] = "text"
    required: StrictBool = False
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.choices) != (self.type == "choice"):
            raise ValueError('write choices = ["…"] with type = "choice", and only with it')


@dataclass(frozen=True, slots=True)
class Command:
    """A quick command of the registry: `where` and `by` empty mean everywhere and everybody; one
    without a title is called by its slug.

    `effect`: the model runs one that is said to read; for one that spends (the default) or writes
    it asks a person first.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    title: Texts = field(default_factory=dict)
    description: Texts = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    where: tuple[Place, ...] = ()
    by: tuple[PersonKey, ...] = ()
    effect: Literal["read", "spend", "write"] = "spend"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent at StackSpot, under the name that models call it; `id` is the portal's."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    id: AgentId
    title: Texts = field(default_factory=dict)
    description: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """`auto_create_rows`: creates of up to so many rows that need no person's approval."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    auto_create_rows: Annotated[StrictInt, Field(ge=0, le=MOST_ROWS)] = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A team's table, by its title or id.

    `access`: "hidden" (not even read), "read" (never changed), "ask" (a person approves each
    change) or "auto" (as "ask", but one new row at a time needs nobody). `approvers`: who approves
    besides admins, instead of whoever asked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    access: Access = "ask"
    approvers: tuple[PersonKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Links:
    """`hosts`: where links may lead, with what is under them, once something from outside is in a
    thread; other addresses can be read and not clicked there."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    hosts: tuple[Host, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one turn may use. `costly_calls`: tool calls that cost (quick commands, agents, code);
    `tool_calls`: all of them."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    costly_calls: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 20
    tool_calls: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 60


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file. Without a file everything has its default. Integrations add sections."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    changes: Changes = field(default_factory=Changes)
    tables: Mapping[str, Table] = field(default_factory=dict)
    channels: Mapping[ChannelKey, Channel] = field(default_factory=dict)
    quick_commands: Mapping[Slug, Command] = field(default_factory=dict)
    agents: Mapping[Slug, Agent] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    limits: Limits = field(default_factory=Limits)

    @property
    def table_rules(self) -> TableRules:
        return TableRules(
            {n: TableRule(t.access, frozenset(t.approvers)) for n, t in self.tables.items()}
        )

    def channel(self, address: Address) -> Channel:
        """What is written about the channel of `address`."""
        key = f"{address.platform}:{address.workspace}:{address.channel}"
        return self.channels.get(key, Channel())

    def strict_mention(self, address: Address) -> bool:
        return self.channel(address).strict_mention

    def section(self, name: str) -> Any:
        """What an integration's section was read as; its defaults where no file was read."""
        default = next((face.section for face in FACES if face.name == name), None)
        return getattr(self, name, None) or (default and default())

    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        """Id, title and description by name, in English or in the one language that there is."""
        return {
            name: (one.id, in_language(one.title, "en"), in_language(one.description, "en"))
            for name, one in self.agents.items()
        }


def in_language(texts: Texts, locale: str) -> str:
    """The text in `locale`, else in English, else the first that there is, else ""."""
    return texts.get(nearest(locale)) or texts.get("en") or next(iter(texts.values()), "")


def read_config(path: Path, *, required: bool = False, faces: Faces = FACES) -> Config:
    """Read the file; one that is not there is an empty one unless `required`.

    Raises SettingsError, one line for each thing that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if not required:
            return Config()
        raise SettingsError("PONTE_CONFIG: there is no file {path}.", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "PONTE_CONFIG: {path} cannot be read ({cause}).", path=path, cause=cause(error)
        ) from None
    adapter = _composed(faces)
    try:
        return adapter.validate_python(tomllib.loads(text), context={"faces": faces})
    except tomllib.TOMLDecodeError as error:
        lines = _syntax(path.name, text, error)
    except ValidationError as error:
        at = TomlLines(text)
        told = [(at.of(_plain(found["loc"])), _words(found, faces)) for found in error.errors()]
        lines = "\n".join(f"{path.name}:{line}: {words}." for line, words in sorted(told))
    raise SettingsError("{lines}", lines=lines)


class _Statement:
    def __init__(self, text: str) -> None:
        self.values = tomllib.loads(text)
        self.is_header = text.lstrip().startswith("[")


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
    """The one path of a table's header, as tomllib nests it: [[a.b]] is {"a": {"b": [{}]}}."""
    if isinstance(values, dict) and values:
        key, inner = next(iter(values.items()))
        for path in _deepest(inner):
            yield (key, *path)
    else:
        yield ()


def _composed(faces: Faces) -> TypeAdapter[Config]:
    """The file with the sections of these integrations."""
    sections = [
        (face.name, face.section, field(default_factory=face.section))
        for face in faces
        if face.section
    ]
    whole = make_dataclass("File", sections, bases=(Config,), frozen=True, slots=True)
    return TypeAdapter(whole)


def _syntax(name: str, text: str, error: tomllib.TOMLDecodeError) -> str:
    found = _AT.match(str(error))
    line = int(found[2]) if found else max(1, len(text.splitlines()))
    words = found[1] if found else str(error).removesuffix(" (at end of document)")
    return f"{name}:{line}: not TOML: {words}."


def _words(error: ErrorDetails, faces: Faces) -> str:
    path = _plain(error["loc"])
    key = path[-1]
    if error["type"] == "unexpected_keyword_argument":
        return f"{key!r} is not known here; known are {', '.join(_known(path[:-1], faces))}"
    if error["type"] == "value_error":
        return f"{key!r}: {error['ctx']['error']}"
    if error["type"] == "literal_error":
        return f"{key!r} must be one of {error['ctx']['expected']}"
    words = _WORDED.get(error["type"], "has a wrong value").format_map(error.get("ctx", {}))
    return f"{key!r} {words}"


def _plain(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The path in the file: pydantic adds "[key]" and indexes."""
    return tuple(part for part in loc if isinstance(part, str) and part != "[key]")


def _known(path: tuple[str, ...], faces: Faces) -> list[str]:
    kinds = {0: Config, 2: Command, 4: Input}
    sections: dict[str, type[Any]] = {
        "channels": Channel, "changes": Changes, "tables": Table, "agents": Agent, "limits": Limits
    }  # fmt: skip
    own = {face.name: face.section for face in faces if face.section}
    kind = (sections | own).get(path[0] if path else "") or kinds.get(len(path), Config)
    return [f.name for f in fields(kind)] + ([] if path else [*own])
