"""`ponte.toml`: an operator's settings for channels, changes, rights, quick commands and costs.

Unknown keys and wrong values are refused, with a line for each that names file and line number.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import structlog
from pydantic import StrictBool, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bot.config.table_names import TableName, describe_unknown_tables, find_near_tables
from bot.config.toml_values import (
    AgentId,
    Approvals,
    Approver,
    Count,
    Days,
    Dollars,
    Duration,
    Host,
    KeyPath,
    Language,
    Many,
    PersonKey,
    Place,
    Positive,
    PricedName,
    Right,
    SetName,
    Slug,
    StrictSection,
    Texts,
    TomlLines,
    Where,
    Who,
    describe_missing_group,
    describe_toml_error,
)
from bot.features.base import find_features
from bot.integrations import FACES, Faces
from core.base.errors import SettingsError
from core.base.i18n import nearest_locale, say, translate_word, use_locale
from core.changes.approval import ASKER, AUTO_PER_HOUR, Access, Approvers, TableRule, TableRules
from core.domain.changes import MAX_IDENTIFYING_FIELDS
from core.domain.messages import Address
from core.integrations import ChatIntegration, describe_read_error, is_place
from core.journal.inbox import SenderLimits
from core.money.allowances import Allowance, CountedBy, PeriodLength
from core.money.usage import NANODOLLARS_PER_DOLLAR, Price, Prices
from core.people.rules import DECISION_RIGHTS, PEOPLE_SETS, Rule, RuleBook, StandIns, place_names
from core.turn.run import CallLimits, Retention, TurnConfig

NEWER_FILE_SENTENCE = "{file} is newer than the version in use. Run `ponte reload` to apply it."
_ERROR_WORDS = {
    "missing": "this key is missing",
    "string_type": "write text in quotes",
    "bool_type": "write true or false",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "greater_than_equal": "write a number that isn't negative",
    "less_than_equal": "write a number of at most {le}",
    "tuple_type": 'write a list, as in ["a", "b"]',
    "dict_type": "write it as a section, [{name}]",
    "dataclass_type": "write it as a section, [{name}]",
}


@dataclass(frozen=True, slots=True)
class AccessRule(StrictSection):
    """A rule that allows or denies people rights in places (`core.people.rules`).

    The first rule that covers person, place and right decides.
    """

    who: tuple[Who, ...] = ()
    """people; default: everybody"""
    where: tuple[Where, ...] = ()
    """places; default: everywhere"""
    allow: tuple[Right, ...] = ()
    """rights that they have; `approve` and `administer` only for people and groups"""
    deny: tuple[Right, ...] = ()
    """rights that they do not have"""


@dataclass(frozen=True, slots=True)
class ChannelConfig(StrictSection):
    """The settings of a place: a channel, workspace, server or platform. The narrowest place that
    sets a key decides."""

    strict_mention: StrictBool | None = None
    """answer only where mentioned, even in threads"""
    instructions: str = ""
    """added to Ponte's own for the model"""
    answer_everything: StrictBool | None = None
    """answer messages without a mention, too; not with `strict_mention`"""
    threads: StrictBool | None = None
    """false: the channel is one conversation, without threads"""
    model: str = ""
    """name of the model; default: PONTE_MODEL"""
    language: Language | None = None
    """language of Ponte there; default: each reader's own"""
    allow: tuple[Right, ...] = ()
    """the only rights there; default: all"""
    deny: tuple[Right, ...] = ()
    """rights that nobody has there"""
    approvers: tuple[Approver, ...] = ()
    """who decides there besides admins, instead of whoever asked"""
    retention_days: Days = 0
    """days without activity until conversations there are forgotten; 0: as everywhere"""

    def __post_init__(self) -> None:
        if self.strict_mention and self.answer_everything:
            raise ValueError("write either `strict_mention` or `answer_everything`, not both")


@dataclass(frozen=True, slots=True)
class QuickCommandInput(StrictSection):
    """An input of a quick command."""

    type: Literal["text", "number", "boolean", "choice"] = "text"
    """kind of value"""
    required: StrictBool = False
    """refuse the command without it"""
    choices: tuple[str, ...] = ()
    """the values of `type = "choice"`"""

    def __post_init__(self) -> None:
        if bool(self.choices) != (self.type == "choice"):
            raise ValueError(
                'write choices = ["…"] and type = "choice" together, or leave out both'
            )


@dataclass(frozen=True, slots=True)
class QuickCommandConfig(StrictSection):
    """A quick command of the registry."""

    title: Texts = field(default_factory=dict)
    """name for people; default: the slug"""
    description: Texts = field(default_factory=dict)
    """what it does, for people and the model"""
    inputs: Mapping[str, QuickCommandInput] = field(default_factory=dict)
    """its inputs by name; default: a text, or any inputs"""
    where: tuple[Place, ...] = ()
    """places for it; default: everywhere"""
    by: tuple[PersonKey, ...] = ()
    """who of those with `spend` can run it, admins too; default: all of them"""
    effect: Literal["read", "spend", "write"] = "spend"
    """the model runs `read` by itself, and asks a person before the others"""


@dataclass(frozen=True, slots=True)
class AgentConfig(StrictSection):
    """An agent at StackSpot, under the name that models use for it."""

    id: AgentId
    """ID in StackSpot's portal"""
    title: Texts = field(default_factory=dict)
    """name for people; default: its name"""
    description: Texts = field(default_factory=dict)
    """what it is for, for the model"""


@dataclass(frozen=True, slots=True)
class ChangesConfig(StrictSection):
    """Settings for all proposals."""

    remind_after: Duration = 0.0
    """remind approvers once after this time; default: never"""
    escalate_after: Duration = 0.0
    """send what approvers have not decided by then to all others who can, and admins; default:
    never"""


@dataclass(frozen=True, slots=True)
class TableConfig(StrictSection):
    """A team's table, by its title or id."""

    access: Access = "ask"
    """`hidden`: cannot be read; `read`: cannot be changed; `ask`: a person approves each change;
    `auto`: as `ask`, but one new row at a time, without files, needs no approval; a schedule's or
    webhook's does"""
    approvers: tuple[Approver, ...] = ()
    """who approves besides admins, instead of whoever asked"""
    approvals: Approvals = 1
    """number of different people who must approve"""
    approvers_only: StrictBool = False
    """only `approvers` decide and undo, no other admins"""
    auto_fields: tuple[str, ...] = ()
    """with `auto`: select, checkbox and date fields that `auto_people` update without an approval,
    at most five rows in a turn"""
    auto_people: tuple[Approver, ...] = ()
    """who can do that; default: nobody. Never guests, programs, schedules or webhooks"""
    auto_per_hour: Positive = AUTO_PER_HOUR
    """rows that all of them can update so in an hour; more get a card"""
    about: str = ""
    """what the table holds, for the model"""
    fields: Mapping[str, str] = field(default_factory=dict)
    """what fields mean, by title"""
    card_fields: tuple[str, ...] = ()
    """up to four fields that identify a row on the card of its change; default: linked rows,
    amounts, dates and status"""

    def __post_init__(self) -> None:
        if len(self.card_fields) > MAX_IDENTIFYING_FIELDS:
            raise ValueError("write at most four names in `card_fields`")
        if self.approvers_only and (not self.approvers or self.access == "auto"):
            raise ValueError(
                '`approvers_only` needs `approvers`, and can\'t be used with `access = "auto"`'
            )
        if (self.auto_fields or self.auto_people) and self.access != "auto":
            raise ValueError('`auto_fields` and `auto_people` need `access = "auto"`')
        if ASKER in self.auto_people:
            raise ValueError("`auto_people` names people and groups, not `asker`")


@dataclass(frozen=True, slots=True)
class ToolConfig(StrictSection):
    """A tool, by the name that models use for it: who approves its proposals."""

    approvers: tuple[Approver, ...] = ()
    """who approves besides admins, instead of whoever asked"""
    approvals: Approvals = 1
    """number of different people who must approve"""


@dataclass(frozen=True, slots=True)
class LinksConfig(StrictSection):
    """Hosts of links in a thread that contains text from outside."""

    hosts: tuple[Host, ...] = ()
    """hosts, with their subdomains, that links may lead to; others cannot be clicked there"""


@dataclass(frozen=True, slots=True)
class LimitsConfig(StrictSection):
    """Limits of a turn, and of a person's messages."""

    costly_calls: Count = 20
    """tool calls of a turn for quick commands, agents and code"""
    tool_calls: Count = 60
    """all tool calls of a turn"""
    messages_per_minute: Count = 0
    """messages of one person; 0: any number"""
    waiting_per_person: Count = 0
    """messages of one person whose turn has not begun; 0: any number"""


@dataclass(frozen=True, slots=True)
class AllowanceRule(StrictSection):
    """A limit of what people may spend (`core.money.allowances`).

    Set at least one of `money`, `tokens`, `turns`.
    """

    of: CountedBy
    """who shares it: counted for each of them, or once for all"""
    per: PeriodLength = "day"
    """the period after which it starts again, in PONTE_TIMEZONE"""
    who: tuple[Who, ...] = ()
    """people that it is for; default: everybody"""
    where: tuple[Place, ...] = ()
    """places; default: everywhere"""
    money: Dollars | None = None
    """US dollars"""
    tokens: Many | None = None
    """tokens in and out"""
    turns: Many | None = None
    """turns"""

    def __post_init__(self) -> None:
        if self.money is None and self.tokens is None and self.turns is None:
            raise ValueError("write `money`, `tokens` or `turns`")
        if self.of == "together" and not self.who:
            raise ValueError(
                'add `who`, the people who share this limit, or write `of = "everybody"`'
            )

    def allowance(self, location: str) -> Allowance:
        """Return the rule as an `Allowance`. `location` is its place in the file."""
        money = None if self.money is None else round(self.money * NANODOLLARS_PER_DOLLAR)
        who, where = frozenset(self.who), frozenset(self.where)
        return Allowance(self.of, self.per, money, self.tokens, self.turns, who, where, location)


@dataclass(frozen=True, slots=True)
class ModelPrice(StrictSection):
    """A model's prices in US dollars for a million tokens."""

    input: Dollars
    """tokens read"""
    output: Dollars
    """tokens written"""
    cached: Dollars | None = None
    """tokens read from the server's cache; default: as `input`"""
    written: Dollars | None = None
    """tokens written to the server's cache; default: as `input`"""

    @property
    def price(self) -> Price:
        """Return the price for `core.money`. Missing cache prices equal the input price."""
        cached = self.input if self.cached is None else self.cached
        cache_write = self.input if self.written is None else self.written
        return Price(self.input, cached, cache_write, self.output)


@dataclass(frozen=True, slots=True)
class PriceTable(StrictSection):
    """Prices that take precedence over Ponte's own list."""

    container: Dollars | None = None
    """a session of hosted Python; default: OpenAI's price, where the server is OpenAI's"""
    transcription: Dollars | None = None
    """a minute of speech; default: OpenAI's price, where the server is OpenAI's"""
    models: Mapping[str, ModelPrice] = field(default_factory=dict)
    """by the model's name"""
    quick_commands: Mapping[PricedName, Dollars] = field(default_factory=dict)
    """a run, by slug; `*`: any other"""
    agents: Mapping[PricedName, Dollars] = field(default_factory=dict)
    """a run, by name; `*`: any other"""


@dataclass(frozen=True)
class _FirstSections(StrictSection):
    changes: ChangesConfig = field(default_factory=ChangesConfig)
    """settings for all proposals"""
    tables: Mapping[str, TableConfig] = field(default_factory=dict)
    """a team's table, by its title or id"""
    terms: Mapping[str, str] = field(default_factory=dict)
    """what words of the team mean, for the model where a message has them"""
    tools: Mapping[str, ToolConfig] = field(default_factory=dict)
    """who approves the proposals of a tool, by the name that models use for it"""
    groups: Mapping[SetName, tuple[PersonKey, ...]] = field(default_factory=dict)
    """groups of people, by a name for rules and approvers"""
    rules: tuple[AccessRule, ...] = ()
    """who may do what, where; the first rule that applies decides"""
    channels: Mapping[Place, ChannelConfig] = field(default_factory=dict)
    """settings of a place, by channel, workspace or platform"""
    quick_commands: Mapping[Slug, QuickCommandConfig] = field(default_factory=dict)
    """the registry of quick commands, by slug"""
    agents: Mapping[Slug, AgentConfig] = field(default_factory=dict)
    """StackSpot's agents, by the name that models use for them"""
    links: LinksConfig = field(default_factory=LinksConfig)
    """hosts of links"""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """limits of a turn and of a person's messages"""


if TYPE_CHECKING:
    _FeatureSections = _FirstSections
else:
    _FeatureSections = make_dataclass(
        "_FeatureSections",
        [
            (name, kind, field(default_factory=kind if isinstance(kind, type) else dict))
            for feature in find_features()
            for name, kind in feature.sections.items()
        ],
        bases=(_FirstSections,),
        frozen=True,
    )


@dataclass(frozen=True)
class Config(_FeatureSections):
    """The whole file. Without a file everything has its default. Features and integrations add
    sections, which `section` returns."""

    allowances: tuple[AllowanceRule, ...] = ()
    """limits of what may be spent"""
    prices: PriceTable = field(default_factory=PriceTable)
    """prices"""
    name: str = field(default="ponte.toml", init=False, compare=False)
    path: Path | None = field(default=None, init=False, compare=False)
    """The file that was read; None for none."""
    lines: Any = field(default_factory=TomlLines, init=False, compare=False)
    written_at: float = field(default=0.0, init=False, compare=False)
    """When the file was changed last, as of its reading, in seconds since the epoch."""

    @cached_property
    def table_rules(self) -> TableRules:
        """The rules of tables and tools, for proposals and approvals. They also contain the names
        of tables in rights, so that misspelt ones can be reported."""
        tables = {
            name: TableRule(
                table.access,
                frozenset(table.approvers),
                table.approvals,
                table.approvers_only,
                frozenset(table.auto_fields),
                frozenset(table.auto_people),
                table.auto_per_hour,
                table.about,
                table.fields,
                table.card_fields,
            )
            for name, table in self.tables.items()
        }
        tools = {
            name: Approvers(frozenset(tool.approvers), tool.approvals)
            for name, tool in self.tools.items()
        }
        # A wrong name in a right such as "read:Orders" would be a rule for nothing, so it is looked
        # for among the tables that exist.
        named = {written.name for written in self.table_names} - tables.keys()
        return TableRules(
            tables, sorted(named), tools, self.changes.remind_after, self.changes.escalate_after
        )

    @cached_property
    def rule_book(self) -> RuleBook:
        """The rules about rights, for the `Policy`. Each has its line in the file as its name,
        which people see as the reason of a denial."""
        at = self.location  # returns the line of a key, as in `ponte.toml:12`
        # By platform, the programs that the file configures, such as webhooks, with their rights.
        stand_ins: dict[str, StandIns] = {}
        for feature in find_features():
            stand_ins |= feature.stand_ins(self)
        return RuleBook(
            tuple(
                Rule(at("rules", n), frozenset(r.who), frozenset(r.where), r.allow, r.deny)
                for n, r in enumerate(self.rules)
            ),
            {
                place: Rule(at("channels", place), allow=channel.allow, deny=channel.deny)
                for place, channel in self.channels.items()
            },
            {name: frozenset(people) for name, people in self.groups.items()},
            stand_ins,
        )

    @cached_property
    def turn_allowances(self) -> tuple[Allowance, ...]:
        """The allowances, for the `Budget`. Each has its line in the file as its source."""
        allowances = [
            allowance.allowance(self.location("allowances", n))
            for n, allowance in enumerate(self.allowances)
        ]
        # A webhook has one of its own, for example: no person pays for its turns.
        for feature in find_features():
            allowances += feature.allowances(self)
        return tuple(allowances)

    @cached_property
    def price_list(self) -> Prices:
        """The operator's prices, for the `Budget`."""
        own = self.prices
        models = {name: model.price for name, model in own.models.items()}
        calls: dict[str, float] = {}  # such as those of MCP tools, which are written at the tools
        for feature in find_features():
            calls |= feature.call_prices(self)
        return Prices(
            models,
            own.container,
            own.quick_commands,
            own.agents,
            mcp=calls,
            transcription=own.transcription,
        )

    @cached_property
    def table_names(self) -> Sequence[TableName]:
        """The names of tables in sections and rights, each with its place. Patterns with `*` name
        none."""
        names = [
            TableName(self.location("tables", name), name, restricts=True) for name in self.tables
        ]
        parts = [(("rules", str(n)), rule.allow, rule.deny) for n, rule in enumerate(self.rules)]
        parts += [(("channels", p), place.allow, place.deny) for p, place in self.channels.items()]
        for path, allow, deny in parts:
            for key, rights in (("allow", allow), ("deny", deny)):
                for right, _, name in (text.partition(":") for text in rights):
                    if right in ("read", "propose", "approve") and name and "*" not in name:
                        where = self.location(*path, key)
                        names.append(TableName(where, name, restricts=key == "deny"))
        return names

    def location(self, *path: object) -> str:
        """Return where a key is, as in `ponte.toml:12`."""
        return f"{self.name}:{self.lines.of(path)}"

    def note_tables(self, tables: Mapping[str, str]) -> None:
        """Only the live configuration depends on them."""

    async def learn_tables(self) -> None:
        """Only the live configuration does."""

    def describe_newer_file(self) -> str:
        """Return a sentence if the file was written again since it was read."""
        with suppress(OSError):
            if self.path and self.path.stat().st_mtime != self.written_at:
                return say(NEWER_FILE_SENTENCE, file=self.name)
        return ""

    def channel(self, address: Address) -> ChannelConfig:
        """Return the settings of a place. Each key comes from the narrowest of channel, workspace
        and platform that sets it."""
        place_keys = tuple(place for place in place_names(address) if place in self.channels)
        if place_keys not in self._merged_channels:
            self._merged_channels[place_keys] = self._merge_channels(place_keys)
        return self._merged_channels[place_keys]

    def _merge_channels(self, written: Sequence[str]) -> ChannelConfig:
        """Merge the sections of these places, the widest first. A value that is not the default
        replaces that of a wider place."""
        own: dict[str, Any] = {}
        for each in (self.channels[place] for place in written):
            own |= {f.name: v for f in fields(each) if (v := getattr(each, f.name)) != f.default}
            if each.strict_mention or each.answer_everything:  # one of them, the narrower
                own.pop("answer_everything" if each.strict_mention else "strict_mention", None)
        return ChannelConfig(**own)

    @cached_property
    def _merged_channels(self) -> dict[tuple[str, ...], ChannelConfig]:
        """A cache for `channel`."""
        return {}

    @property
    def retention(self) -> Mapping[str, int]:
        """Days until conversations are forgotten, of places with their own value."""
        return {
            place: n for place, channel in self.channels.items() if (n := channel.retention_days)
        }

    def section(self, name: str) -> Any:
        """Return the section of a feature or an integration; an integration's has its defaults if
        no file was read."""
        value = getattr(self, name, None)
        default = next(
            (integration.section for integration in FACES if integration.name == name), None
        )
        return default() if value is None and default else value

    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        """Id, title and description of each agent by name, in English or in the only language
        given."""
        return {
            name: (agent.id, in_language(agent.title, "en"), in_language(agent.description, "en"))
            for name, agent in self.agents.items()
        }


log = structlog.get_logger("config")
_LOOK_UP_SECONDS = 5.0


class LiveConfig:
    """The configuration that applies now: ponte.toml as it was last read (`current`), over what the
    settings say. A reload replaces `current`; nothing else of the configuration changes while Ponte
    runs. Sections of integrations are read only when Ponte starts, those of features at each use.
    """

    def __init__(
        self,
        config: Config,
        turn: TurnConfig | None = None,
        retention: Retention | None = None,
        *,
        has_official_prices: bool = True,
    ) -> None:
        # `turn` and `retention` apply where ponte.toml says nothing. Prices are official if the
        # model's server is OpenAI's.
        self._turn = turn or TurnConfig()
        self._retention = retention or Retention()
        self._has_official_prices = has_official_prices
        self.tables: Mapping[str, str] | None = None
        """Titles of the tables by id, as they were looked up last; None: not yet."""
        self.look_up: Callable[[Config], Awaitable[None]] | None = None
        """Looks up names, the tables among them (`note_tables`)."""
        self.current = config

    @property
    def current(self) -> Config:
        """The file as it was last read. It is set at the start and after each reload. Its parts are
        copied into attributes, because each turn reads them often."""
        return self._current

    @current.setter
    def current(self, config: Config) -> None:
        self._current = config
        self.channel, self.channels, self.section = config.channel, config.channels, config.section
        self._apply_names()
        self.turn_allowances, self.quick_commands = config.turn_allowances, config.quick_commands
        # No reload changes these two: they come from the settings.
        self.price_list = replace(config.price_list, official=self._has_official_prices)
        self.retention = replace(self._retention, places=config.retention)
        limits = config.limits
        self.sender_limits = SenderLimits(limits.messages_per_minute, limits.waiting_per_person)
        self._turn = replace(
            self._turn,
            channel=config.channel,
            links=replace(self._turn.links, hosts=frozenset(config.links.hosts)),
            limits=CallLimits(limits.costly_calls, limits.tool_calls),
            terms=config.terms,
        )

    def note_tables(self, tables: Mapping[str, str]) -> None:
        """Log the names in rules that no table has, and hold their restrictions for the table that
        is surely meant (`find_near_tables`), from now on. `tables` are titles by id."""
        if tables != self.tables:
            self.tables = tables
            self._apply_names()

    async def learn_tables(self) -> None:
        """Look up the tables, for a few seconds, if rules name some and no look-up has worked
        yet."""
        if self.tables is None and self.table_rules.names_tables and self.look_up:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_UP_SECONDS):
                    await self.look_up(self.current)

    def _apply_names(self) -> None:
        config = self._current
        near = find_near_tables(config.table_names, self.tables)
        self.rule_book = config.rule_book.deny_also(near) if near else config.rule_book
        rules = config.table_rules.restrict_also(near) if near else config.table_rules
        self.table_rules = replace(rules, titles=self.tables)
        with use_locale("en"):  # the log is in English
            if unknown := describe_unknown_tables(config.table_names, self.tables):
                log.warning("config contains unknown names", problems=unknown)

    @property
    def turn(self) -> TurnConfig:
        notice = self.current.describe_newer_file()
        return replace(self._turn, config_notice=notice) if notice else self._turn

    def add_own_addresses(self, *addresses: str) -> None:
        """Allow links to addresses in answers that Ponte itself writes, such as its page's."""
        links = self._turn.links
        all_addresses = links.own_addresses.union(filter(None, addresses))
        self._turn = replace(self._turn, links=replace(links, own_addresses=all_addresses))

    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        return self.current.known_agents


def in_language(texts: Texts, locale: str) -> str:
    """Return the text in `locale`, else in English, else the first one, else ""."""
    return texts.get(nearest_locale(locale)) or texts.get("en") or next(iter(texts.values()), "")


def read_config(path: Path, *, required: bool = False, faces: Faces = FACES) -> Config:
    """Read and check ponte.toml. A missing file is empty unless `required`. `faces` are the
    integrations, which add sections.

    Three checks follow one another: whether the text is TOML, each value by itself, and values that
    do not fit together. Raises SettingsError, with one line for each fault.
    """
    try:
        # Before the text is read: if the file changes meanwhile, `describe_newer_file` says so.
        written_at = path.stat().st_mtime
        # "-sig": editors on Windows write a mark at the beginning of a file.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if not required:
            return Config()
        raise SettingsError("PONTE_CONFIG: file {path} not found.", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "PONTE_CONFIG: can't read {path} ({cause}).",
            path=path,
            cause=describe_read_error(error),
        ) from None
    adapter = _file_adapter(_list_sections(faces))
    try:
        config = adapter.validate_python(tomllib.loads(text), context={"faces": faces})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError("{lines}", lines=describe_toml_error(path.name, text, error)) from None
    except RecursionError:
        raise SettingsError("{file}:1: too many levels; use fewer.", file=path.name) from None
    except ValidationError as error:
        faults = []
        for each in error.errors():
            # pydantic adds "[key]" to the path of a key that is wrong itself.
            key_path = tuple(str(part) for part in each["loc"] if part != "[key]")
            faults.append((key_path, _describe_error(each, faces)))
        raise _settings_error(path, TomlLines(text), faults) from None
    lines = TomlLines(text)
    if faults := [*_cross_check(config, faces)]:
        raise _settings_error(path, lines, faults)
    own = {"name": path.name, "path": path, "lines": lines, "written_at": written_at}
    for name, value in own.items():
        # These fields are no part of the file, for whose readers the class is frozen.
        object.__setattr__(config, name, value)
    return config


def _settings_error(
    path: Path, lines: TomlLines, found: Sequence[tuple[KeyPath, str]]
) -> SettingsError:
    # Positions in lists are numbers.
    located = sorted(
        (lines.of(keys), [key for key in keys if not key.isdigit()][-1], words)
        for keys, words in found
    )
    all = "\n".join(
        f"{path.name}:{line}: {key!r}: {words if words.endswith('?') else f'{words}.'}"
        for line, key, words in located
    )
    return SettingsError("{lines}", lines=all)


def _cross_check(config: Config, faces: Faces) -> Iterator[tuple[KeyPath, str]]:
    """Yield faults between parts of the file, each with the path of its key: groups that
    `[groups]` does not have, and rights to decide that are given to a place or to all people of a
    platform. Only people and groups can decide on changes: whoever can join a channel would
    otherwise be an approver."""
    surfaces = {integration.name for integration in faces}
    chats = {integration.name for integration in faces if isinstance(integration, ChatIntegration)}
    # On Discord an id alone does not say whether it is a place or a person, so what the file uses
    # as places counts.
    used = [*config.channels, *(place for rule in config.rules for place in rule.where)]
    used += [place for allowance in config.allowances for place in allowance.where]
    used += [place for command in config.quick_commands.values() for place in command.where]
    parts = (place.split(":") for place in used)
    known_places = frozenset(f"{platform}:{id}" for platform, *ids in parts for id in ids)

    def first_place(names: Iterable[str]) -> str:
        """Return the first of these names that is a place's. A group stands for its members."""
        members = (one for name in names for one in config.groups.get(name, (name,)))
        return next(
            (member for member in members if member in known_places or is_place(member, faces)), ""
        )

    # All lists of people who decide, or who change rows without approval.
    lists = [
        ((section, key, field), getattr(own, field))
        for section in ("tables", "tools", "channels")
        for key, own in getattr(config, section).items()
        for field in ("approvers", *(("auto_people",) if section == "tables" else ()))
    ]
    for path, names in lists:
        for name in names:
            if ":" not in name and name not in {ASKER, *surfaces, *config.groups}:
                yield describe_missing_group(config.groups, path, name)
        if place := first_place(names):
            yield (
                path,
                say(
                    "only people and groups can approve, and {name} is a workspace, server "
                    "or channel",
                    name=place,
                ),
            )
        for name in sorted(chats.intersection(names)):
            yield path, say("only people and groups can approve, not all of {name}", name=name)
    for feature in find_features():
        yield from feature.check_file(config)
    for section in ("rules", "allowances"):
        for number, rule in enumerate(getattr(config, section)):
            for name in rule.who:
                if ":" not in name and name not in {*PEOPLE_SETS, *surfaces, *config.groups}:
                    path = (section, str(number), "who")
                    yield describe_missing_group(config.groups, path, name)
    for number, rule in enumerate(config.rules):
        at = ("rules", str(number))
        if not rule.allow and not rule.deny:
            yield at, say('write allow = ["…"] or deny = ["…"]')
        decides = [right for right in rule.allow if right.partition(":")[0] in DECISION_RIGHTS]
        if decides and (not rule.who or not {*PEOPLE_SETS, *surfaces}.isdisjoint(rule.who)):
            words = "{right} is only for people and groups; name them in `who`"
            yield (*at, "allow"), say(words, right=decides[0])
        elif decides and (place := first_place(rule.who)):
            words = (
                "{right} is only for people and groups; {place} is a workspace, server or channel"
            )
            yield (*at, "allow"), say(words, right=decides[0], place=place)


def _list_sections(faces: Faces) -> tuple[tuple[str, type[Any]], ...]:
    return tuple(
        (integration.name, integration.section) for integration in faces if integration.section
    )


@cache
def _file_adapter(sections: tuple[tuple[str, type[Any]], ...]) -> TypeAdapter[Config]:
    return TypeAdapter(_file_class(sections))


def _file_class(sections: tuple[tuple[str, type[Any]], ...]) -> type[Config]:
    fields = [(name, section, field(default_factory=section)) for name, section in sections]
    return make_dataclass("File", fields, bases=(Config,), frozen=True, slots=True)


def _describe_error(error: ErrorDetails, faces: Faces) -> str:
    """Return what is wrong with a key, for the operator's line. For an unknown key, name the keys
    of its section."""
    # Without positions in lists, which are numbers, and the "[key]" of a wrong key.
    path = tuple(part for part in error["loc"] if isinstance(part, str) and part != "[key]")
    key = path[-1]
    if error["type"] == "unexpected_keyword_argument":
        # The class of the section, also if its type is a mapping or a tuple of it.
        kind: Any = _file_class(_list_sections(faces))
        for name in path[:-1]:
            kind = get_type_hints(kind)[name] if is_dataclass(kind) else get_args(kind)[-1]
            kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
        if hint := getattr(kind, "hints", {}).get(key):
            return translate_word(hint)
        # `as` is a keyword of Python, so that key's field is `as_`. Fields that the file does not
        # set, such as its own path, have `init=False`.
        known = [field.name.rstrip("_") for field in fields(kind) if field.init]
        return say("unknown key; use one of {names}", names=", ".join(known))
    if error["type"] == "value_error":
        return translate_word(str(error["ctx"]["error"]))
    if error["type"] == "literal_error":
        return say("write one of {choices}", choices=error["ctx"]["expected"].replace(" or ", ", "))
    words = _ERROR_WORDS.get(error["type"], "write another value")
    if words == _ERROR_WORDS["tuple_type"] and len(path) == 1:
        words = "write each one as [[{name}]], with two brackets"
    name = ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in path)
    return say(words, name=name, **error.get("ctx", {}))
