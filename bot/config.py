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
from bot.toml import KeyPath, TomlLines, not_toml
from core.allowances import Allowance, Of, Per
from core.changes.approval import (
    ASKER,
    REMIND_AFTER,
    Access,
    Approvers,
    TableRule,
    TableRules,
)
from core.changes.model import MOST_ROWS
from core.conversation.grammar import SLUG
from core.errors import SettingsError
from core.i18n import LOCALES, nearest
from core.integration import ChatIntegration, OwnerIntegration
from core.messages import Address
from core.policy import DECIDES, KINDS, MEANT, Rule, RuleBook, is_right, places
from core.settings import cause, matching
from core.usage import CONTAINER, NANO, Price, Prices

MOST_CALLS = 1000
"""A turn may be given no more."""
MOST_DAYS = 36_500
MOST = 10**9
"""Of dollars, tokens or turns."""
NAME = "[a-z][a-z0-9_-]{0,49}"
"""Of a set of people."""
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
_WORDED = {
    "missing": "is missing",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "greater_than_equal": "must not be negative",
    "less_than_equal": "must be at most {le}",
    "tuple_type": 'must be a list, as in ["a", "b"]',
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
}


def _per_language(value: object) -> object:
    return {"en": value} if isinstance(value, str) else value


def _faces(info: ValidationInfo) -> tuple[list[str], list[str], list[str]]:
    """The names of the chat platforms, the forms of people's keys, the owner's surfaces."""
    faces: Faces = (info.context or {}).get("faces", FACES)
    chats = [face for face in faces if isinstance(face, ChatIntegration)]
    owners = [face for face in faces if isinstance(face, OwnerIntegration)]
    forms = [f"{face.name}:({face.ids})" for face in chats]
    forms += [f"{face.name}:({face.ids})" for face in owners]
    return [face.name for face in chats], forms, [face.name for face in owners]


def _place(value: str, info: ValidationInfo) -> str:
    chats, _, owners = _faces(info)
    if not re.fullmatch(rf"{'|'.join(owners)}|({'|'.join(chats)})(:[A-Za-z0-9]+){{0,2}}", value):
        form = f"{chats[0]}:WORKSPACE or {chats[0]}:WORKSPACE:CHANNEL"
        raise ValueError(f"write {', '.join(owners)}, {form} (so for {', '.join(chats[1:])})")
    return value


def _person(value: str, info: ValidationInfo) -> str:
    chats, forms, owners = _faces(info)
    if value not in owners and not re.fullmatch("|".join(forms), value):
        ids = " or ".join(f"{chat}:ID" for chat in chats)
        own = f"{', '.join(owners)}, {owners[0]}:NAME (of `ponte people`)"
        raise ValueError(f"write {own}, {ids} (a person, user group or role)")
    return value


def _who(value: str, info: ValidationInfo) -> str:
    chats, _, _ = _faces(info)
    if value in (*MEANT, *chats) or re.fullmatch(NAME, value):
        return value
    try:
        return _person(value, info)
    except ValueError:
        words = ", ".join(MEANT)
        raise ValueError(f"write {words}, {chats[0]}:ID, or the name of a group") from None


def _approver(value: str, info: ValidationInfo) -> str:
    if value == ASKER or (re.fullmatch(NAME, value) and value not in MEANT):
        return value
    try:
        return _person(value, info)
    except ValueError as error:
        raise ValueError(f"{error}, the name of a group, or {ASKER}") from None


def _duration(value: object) -> float:
    """Seconds, of `4h`, `30m` or `0`."""
    found = re.fullmatch(r"(\d{1,4})([mh])|0", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write minutes or hours in quotes, as in "30m" or "4h"; "0" is never')
    return float(found[1] or 0) * {"m": 60, "h": 3600}.get(found[2], 0)


def _where(value: str, info: ValidationInfo) -> str:
    return value if value in ("direct", "shared") else _place(value, info)


def _right(value: str) -> str:
    if not is_right(value):
        raise ValueError(
            f"write {', '.join(KINDS[:7])}, one of them for one table as in read:Orders, or "
            "tool:NAME, command:SLUG, agent:NAME, model:NAME"
        )
    return value


def _set(value: str, info: ValidationInfo) -> str:
    chats, _, owners = _faces(info)
    if value in (*MEANT, ASKER, *chats, *owners) or not re.fullmatch(NAME, value):
        raise ValueError("write a name of small letters, digits and hyphens that means nothing yet")
    return value


Place = Annotated[str, AfterValidator(_place)]
PersonKey = Annotated[str, AfterValidator(_person)]
Approver = Annotated[str, AfterValidator(_approver)]
Duration = Annotated[float, BeforeValidator(_duration)]
Approvals = Literal[1, 2]
Who = Annotated[str, AfterValidator(_who)]
Where = Annotated[str, AfterValidator(_where)]
Right = Annotated[str, AfterValidator(_right)]
SetName = Annotated[str, AfterValidator(_set)]
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
PricedName = Annotated[
    str, matching(rf"\*|{SLUG}|[A-Za-z0-9][A-Za-z0-9_-]{{0,99}}", "a name, or * for all others")
]
Dollars = Annotated[float, Field(strict=True, ge=0, le=MOST, allow_inf_nan=False)]
Host = Annotated[str, matching(r"[a-z0-9-]+(\.[a-z0-9-]+)*", "a host's name in small letters")]
Language = Annotated[str, matching("|".join(LOCALES), "a language: " + ", ".join(LOCALES))]
Texts = Annotated[Mapping[Language, str], BeforeValidator(_per_language)]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Whom it means, where, and what they may and may not do there (`core.policy`)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    who: tuple[Who, ...] = ()
    where: tuple[Where, ...] = ()
    allow: tuple[Right, ...] = ()
    deny: tuple[Right, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    """A place's own way. `allow` and `deny`: what can be done there, by whomever. `strict_mention`:
    answer only where mentioned; `answer_everything`: also where not. `threads` False: answers stand
    in the channel itself, which is one conversation. What is None is as everywhere. `instructions`
    add to the assistant's own. `approvers`: who decides there
    besides admins, instead of whoever asked. `retention_days` 0: as everywhere."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    strict_mention: StrictBool | None = None
    instructions: str = ""
    answer_everything: StrictBool | None = None
    threads: StrictBool | None = None
    model: str = ""
    effort: Literal["", "low", "medium", "high"] = ""
    language: Language | None = None
    allow: tuple[Right, ...] = ()
    deny: tuple[Right, ...] = ()
    approvers: tuple[Approver, ...] = ()
    retention_days: Annotated[StrictInt, Field(ge=0, le=MOST_DAYS)] = 0

    def __post_init__(self) -> None:
        if self.strict_mention and self.answer_everything:
            raise ValueError("write strict_mention or answer_everything, not both")
        if any(right.partition(":")[0] in DECIDES for right in self.allow):
            raise ValueError("approve and administer are given to people and groups, in [[rules]]")


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
    """`auto_create_rows`: creates of up to so many rows that need no person's approval. Whoever is
    asked to approve is reminded after `remind_after`, once; "0": not at all."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    auto_create_rows: Annotated[StrictInt, Field(ge=0, le=MOST_ROWS)] = 0
    remind_after: Duration = REMIND_AFTER


@dataclass(frozen=True, slots=True)
class Table:
    """A team's table, by its title or id.

    `access`: "hidden" (not even read), "read" (never changed), "ask" (a person approves each
    change) or "auto" (as "ask", but one new row at a time needs nobody). `approvers`: who approves
    besides admins, instead of whoever asked: people, groups, "asker". `approvals`: how many
    different people must.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    access: Access = "ask"
    approvers: tuple[Approver, ...] = ()
    approvals: Approvals = 1


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, by the name that models call it: who approves what it proposes, as of a table."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    approvers: tuple[Approver, ...] = ()
    approvals: Approvals = 1


@dataclass(frozen=True, slots=True)
class Links:
    """`hosts`: where links may lead, with what is under them, once something from outside is in a
    thread; other addresses can be read and not clicked there."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    hosts: tuple[Host, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one turn may use. `costly_calls`: tool calls that cost (quick commands, agents, code);
    `tool_calls`: all of them. What one person may send: `messages_per_minute`, and messages whose
    turn has not begun (`waiting_per_person`); 0 is any number."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    costly_calls: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 20
    tool_calls: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 60
    messages_per_minute: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 0
    waiting_per_person: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] = 0


@dataclass(frozen=True, slots=True)
class AllowanceRule:
    """What may be spent, counted for each of `of`, by `who` and `where` (empty: everybody,
    everywhere), in US dollars, tokens and turns (`core.allowances`)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    of: Of
    per: Per = "day"
    who: tuple[Who, ...] = ()
    where: tuple[Place, ...] = ()
    money: Dollars | None = None
    tokens: Annotated[StrictInt, Field(ge=0, le=MOST)] | None = None
    turns: Annotated[StrictInt, Field(ge=0, le=MOST)] | None = None

    def __post_init__(self) -> None:
        if self.money is None and self.tokens is None and self.turns is None:
            raise ValueError("write money, tokens or turns")
        if self.of == "together" and not self.who:
            raise ValueError('write who shares it, or of = "everybody"')

    def allowance(self, told: str) -> Allowance:
        money = None if self.money is None else round(self.money * NANO)
        who, where = frozenset(self.who), frozenset(self.where)
        return Allowance(self.of, self.per, money, self.tokens, self.turns, who, where, told)


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """US dollars for a million tokens; `cached` and `written` cost what `input` does where they
    are left out."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    written: Dollars | None = None

    @property
    def price(self) -> Price:
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.written is None else self.written
        return Price(self.input, cached, written, self.output)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """What things cost, before the list that Ponte has: models, a session of a code container, a
    run of a quick command or an agent (`*`: of any other)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    container: Dollars = CONTAINER
    models: Mapping[str, ModelPrice] = field(default_factory=dict)
    quick_commands: Mapping[PricedName, Dollars] = field(default_factory=dict)
    agents: Mapping[PricedName, Dollars] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file. Without a file everything has its default. Integrations add sections."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    changes: Changes = field(default_factory=Changes)
    tables: Mapping[str, Table] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    groups: Mapping[SetName, tuple[PersonKey, ...]] = field(default_factory=dict)
    rules: tuple[AccessRule, ...] = ()
    channels: Mapping[Place, Channel] = field(default_factory=dict)
    quick_commands: Mapping[Slug, Command] = field(default_factory=dict)
    agents: Mapping[Slug, Agent] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    limits: Limits = field(default_factory=Limits)
    allowances: tuple[AllowanceRule, ...] = ()
    prices: PriceTable = field(default_factory=PriceTable)
    name: str = field(default="ponte.toml", init=False, compare=False)
    lines: Any = field(default_factory=TomlLines, init=False, compare=False)

    @property
    def table_rules(self) -> TableRules:
        tables = {
            name: TableRule(table.access, frozenset(table.approvers), table.approvals)
            for name, table in self.tables.items()
        }
        tools = {
            name: Approvers(frozenset(tool.approvers), tool.approvals)
            for name, tool in self.tools.items()
        }
        said = [(r.allow, r.deny) for r in self.rules]
        said += [(own.allow, own.deny) for own in self.channels.values()]
        rights = (right for allow, deny in said for right in (*allow, *deny))
        about = (right.partition(":") for right in rights if "*" not in right)
        named = {name for kind, _, name in about if name and kind in ("read", "propose", "approve")}
        changes = self.changes
        return TableRules(
            tables, changes.auto_create_rows, sorted(named), tools, changes.remind_after
        )

    @property
    def rule_book(self) -> RuleBook:
        """For the `Policy`: rules are told by their lines."""
        return RuleBook(
            tuple(
                Rule(self._told("rules", n), frozenset(r.who), frozenset(r.where), r.allow, r.deny)
                for n, r in enumerate(self.rules)
            ),
            {
                place: Rule(self._told("channels", place), allow=own.allow, deny=own.deny)
                for place, own in self.channels.items()
            },
            {name: frozenset(people) for name, people in self.groups.items()},
        )

    @property
    def allowed(self) -> tuple[Allowance, ...]:
        """For the `Budget`: allowances are told by their lines."""
        return tuple(
            each.allowance(self._told("allowances", n)) for n, each in enumerate(self.allowances)
        )

    @property
    def price_list(self) -> Prices:
        own = self.prices
        models = {name: each.price for name, each in own.models.items()}
        return Prices(models, own.container, own.quick_commands, own.agents)

    def _told(self, *path: object) -> str:
        return f"{self.name}:{self.lines.of(path)}"

    def channel(self, address: Address) -> Channel:
        """A place's own way: each key as the narrowest of its channel, workspace and platform
        writes it."""
        found = [self.channels[place] for place in places(address) if place in self.channels]
        own: dict[str, Any] = {}
        for each in found:
            own |= {f.name: v for f in fields(each) if (v := getattr(each, f.name)) != f.default}
            if each.strict_mention or each.answer_everything:  # one of them, the narrower
                own.pop("answer_everything" if each.strict_mention else "strict_mention", None)
        return Channel(**own)

    @property
    def retention(self) -> Mapping[str, int]:
        """The days of the places that have their own."""
        return {place: n for place, own in self.channels.items() if (n := own.retention_days)}

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


class LiveConfig:
    """The file as it is now: the `OperatorFile` port. What it gives follows it, or is asked for
    each time; `section` and `links` are read when Ponte starts."""

    def __init__(self, config: Config) -> None:
        self.now = config
        self.table_rules = config.table_rules
        self.price_list = config.price_list

    def take(self, config: Config) -> None:
        """Another one counts from here on."""
        self.now = config
        rules = config.table_rules
        self.table_rules.tables = rules.tables
        self.table_rules.auto_create_rows = rules.auto_create_rows
        self.price_list.take(config.price_list)
        self.table_rules.named = rules.named
        self.table_rules.tools = rules.tools
        self.table_rules.remind_after = rules.remind_after

    @property
    def quick_commands(self) -> Mapping[str, Command]:
        return self.now.quick_commands

    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        return self.now.known_agents

    def channel(self, address: Address) -> Channel:
        return self.now.channel(address)

    @property
    def channels(self) -> Mapping[str, Channel]:
        return self.now.channels

    def section(self, name: str) -> Any:
        return self.now.section(name)


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
        config = adapter.validate_python(tomllib.loads(text), context={"faces": faces})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError("{lines}", lines=not_toml(path.name, text, error)) from None
    except ValidationError as error:
        found = [(_path(each["loc"]), _words(each, faces)) for each in error.errors()]
        raise _wrong(path, TomlLines(text), found) from None
    lines = TomlLines(text)
    if found := [*_across(config, faces)]:
        raise _wrong(path, lines, found)
    for name, value in (("name", path.name), ("lines", lines)):
        object.__setattr__(config, name, value)  # it is made, and frozen for who reads it
    return config


def _wrong(path: Path, lines: TomlLines, found: Sequence[tuple[KeyPath, str]]) -> SettingsError:
    told = sorted((lines.of(keys), words) for keys, words in found)
    all = "\n".join(f"{path.name}:{line}: {words}." for line, words in told)
    return SettingsError("{lines}", lines=all)


def _across(config: Config, faces: Faces) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong between one part of the file and another."""
    surfaces = {face.name for face in faces}
    there = ", ".join(config.groups) or "none is"
    for section in ("tables", "tools", "channels"):
        for key, own in getattr(config, section).items():
            for name in own.approvers:
                if ":" not in name and name not in {ASKER, *surfaces, *config.groups}:
                    words = f"no group is called {name!r}; in [groups]: {there}"
                    yield (section, key, "approvers"), f"'approvers': {words}"
    named = [(("rules", str(n)), rule.who) for n, rule in enumerate(config.rules)]
    named += [(("allowances", str(n)), each.who) for n, each in enumerate(config.allowances)]
    for where, who in named:
        for name in who:
            if ":" not in name and name not in {*MEANT, *surfaces, *config.groups}:
                known = ", ".join(config.groups) or "none is"
                yield (*where, "who"), f"'who': no group is called {name!r}; in [groups]: {known}"
    for number, rule in enumerate(config.rules):
        at = ("rules", str(number))
        if not rule.allow and not rule.deny:
            yield at, '\'rules\': write allow = ["…"] or deny = ["…"]'
        decides = [right for right in rule.allow if right.partition(":")[0] in DECIDES]
        if decides and (not rule.who or not {*MEANT, *surfaces}.isdisjoint(rule.who)):
            yield (
                (*at, "allow"),
                f"'allow': {decides[0]} is given to people and groups alone, so name them in 'who'",
            )


def _composed(faces: Faces) -> TypeAdapter[Config]:
    """The file with the sections of these integrations."""
    sections = [
        (face.name, face.section, field(default_factory=face.section))
        for face in faces
        if face.section
    ]
    whole = make_dataclass("File", sections, bases=(Config,), frozen=True, slots=True)
    return TypeAdapter(whole)


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


def _path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The path in the file: pydantic adds "[key]"."""
    return tuple(str(part) for part in loc if part != "[key]")


def _plain(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The same without the indexes of lists."""
    return tuple(part for part in loc if isinstance(part, str) and part != "[key]")


def _known(path: tuple[str, ...], faces: Faces) -> list[str]:
    kinds = {0: Config, 2: Command, 4: Input}
    sections: dict[str, type[Any]] = {
        "channels": Channel, "changes": Changes, "tables": Table, "agents": Agent, "limits": Limits,
        "rules": AccessRule, "tools": Tool, "allowances": AllowanceRule, "prices": PriceTable,
    }  # fmt: skip
    own = {face.name: face.section for face in faces if face.section}
    if path[:2] == ("prices", "models"):
        return [f.name for f in fields(ModelPrice)]
    kind = (sections | own).get(path[0] if path else "") or kinds.get(len(path), Config)
    return [f.name for f in fields(kind) if f.init] + ([] if path else [*own])
