"""The interface between the bot and an integration: a platform, a tool source or the model.

The text of an error completes a line that begins with the setting's name.

A package's `__init__` exports one object of these classes, and its feature has it.
Importing that object loads no SDK and only what its settings need. Large packages are imported
where the integration is built or checked.
"""

from __future__ import annotations

import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from core.base.errors import NotFound
from core.base.http import HttpClient
from core.base.i18n import say
from core.base.openai import ModelServerClient
from core.base.proxies import Proxies
from core.changes.approval import ApprovalConfig
from core.changes.kinds import Applier
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.changes import PendingRequests
from core.domain.messages import Address, Person
from core.domain.ports import (
    ChatPlatform,
    ListTools,
    Model,
    Platform,
    QuickCommands,
    ReadFile,
    StatusBoard,
    ToolSource,
    read_no_file,
)
from core.domain.records import Health, ListTable, Remote
from core.domain.rights import PlaceRights, Viewer
from core.journal.jobs import Alone, Peers
from core.money.allowances import SpendingConfig
from core.people.audit import OPERATOR
from core.people.rules import OWNER_ID, DailyTurns, PlatformRights
from core.store.database import Database

MIN_TOKEN_CHARACTERS = 20


_UNSEEN = " \t\r\n\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES = (("“", "”"), ("„", "“"), ("„", "”"), ("‘", "’"), ("«", "»"), ('"', '"'), ("'", "'"))
_BARE_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(/.*)?")
"""A loopback address without `http://`."""


class SettingsPart(BaseModel):
    """The settings of one integration.

    A field has the name of its environment variable in lower case. The bot's settings combine all
    parts, and only they read the environment.
    """

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, validate_default=True, str_strip_whitespace=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_typed(cls, value: object) -> object:
        """Remove typographic quotes and invisible spaces around the value: word processors and
        browsers add them to copied text."""
        if not isinstance(value, str):
            return value
        value = value.strip(_UNSEEN)
        for opening, closing in _QUOTES:
            if len(value) > 1 and value.startswith(opening) and value.endswith(closing):
                return value[1:-1].strip(_UNSEEN)
        return value

    @field_validator("*")
    @classmethod
    def _check_secret(cls, value: object) -> object:
        # Addresses with a password are secret, too, and may have any character.
        secret = plain_value(value) if isinstance(value, SecretStr) else ""
        if "://" not in secret and (fault := find_key_fault(secret)):
            raise ValueError(fault)
        return value


def setting(default: object, meaning: str, write: str = "write a text", **limits: Any) -> Any:
    """Return the declaration of a setting, a field of a `SettingsPart`. `meaning` describes it in
    one line. `write` says what an operator should write there, for the message about a wrong value.
    `limits` are further arguments of pydantic's `Field`.
    """
    return Field(default, description=meaning, json_schema_extra={"write": write}, **limits)


def plain_value(value: str | SecretStr | None) -> str:
    """Return the text of a setting, including a secret one; "" if it is not set."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value or ""


def find_key_fault(key: str) -> str:
    """Return which character of a key or token no HTTP header can hold; "" if there is none."""
    odd = re.search(r"[^ -~]", key)
    words = "it contains {letter}, which can't be part of a key; enter the whole key again"
    return say(words, letter=repr(odd[0])) if odd else ""


def describe_read_error(error: Exception) -> str:
    """Return in a few words why a file could not be read, as the operating system says it. The text
    of an exception would repeat the path."""
    if isinstance(error, UnicodeDecodeError):
        return error.reason
    return (isinstance(error, OSError) and error.strerror) or "unreadable"


def token_fault(token: str) -> str:
    """Return what the operator should write in place of this token for the web page, if it is too
    short or has odd characters; "" if it is valid."""
    if re.fullmatch(rf"[!-~]{{{MIN_TOKEN_CHARACTERS},500}}", token):
        return ""
    return say("write at least 20 random letters and digits, as `openssl rand -hex 16` gives them")


def has_generated_form(token: str) -> bool:
    """Return True if the token has the form of Ponte's generated tokens: 256 random bits in
    base64url, which are 43 characters. A token that a person chose, which others could guess,
    rarely has it.

    It must have small and capital letters. One in three billion generated tokens lacks either.
    """
    return (
        bool(re.fullmatch(r"[A-Za-z0-9_-]{43}", token))
        and not token.islower()
        and not token.isupper()
        and any(map(str.isalpha, token))
    )


def must_match(pattern: str, write: str) -> AfterValidator:
    """Return a pydantic validator that accepts only text which matches the whole pattern. For any
    other text, its error tells the operator what to `write`.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(write)
        return value

    return AfterValidator(check)


def parse_url(text: str, *schemes: str) -> SplitResult:
    """Parse a URL from the settings. Raise ValueError, with what to write, unless it has one of
    these schemes and a host."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        words = "write a URL that starts with {scheme}:// and contains a host"
        raise ValueError(say(words, scheme=schemes[0]))
    return parts


def add_scheme(value: str) -> str:
    """Return the address with `http://` before it if it is one of this machine without a scheme,
    such as `localhost:8080`: only http can be meant there.

    Raises ValueError for another host without a scheme, because it could be http or https; the
    error names both. Any other text is returned as it is.
    """
    if _BARE_LOOPBACK.fullmatch(value):
        return f"http://{value}"
    if "://" not in value and re.fullmatch(r"[\w.-]+\.[a-z]{2,}(:\d+)?(/.*)?", value):
        words = "write https://{value}, or http:// if the server has no certificate"
        raise ValueError(say(words, value=value))
    return value


def _check_http_url(value: str) -> str:
    value = add_scheme(value)
    parse_url(value, "https", "http")
    return value


def _add_v1_path(value: str) -> str:
    """Return the base URL of a model's server from the address that an operator wrote. People copy
    addresses with a route of the API, such as `/chat/completions`, which is removed. An address
    without a path gets `/v1`, where servers have the API."""
    value = value.rstrip("/")
    for route in ("/chat/completions", "/completions", "/responses", "/models"):
        value = value.removesuffix(route)
    return f"{value.rstrip('/')}/v1" if not urlsplit(value).path.strip("/") else value


def _check_socket_url(value: str) -> str:
    parse_url(value, "wss", "ws")
    return value


def _check_proxy_url(value: SecretStr) -> SecretStr:
    parse_url(plain_value(value), "http", "https")
    return value


def _check_origin(value: str) -> str:
    parts = parse_url(value, "https", "http")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("write an origin without a path, as in https://ponte.example.com")
    return value.rstrip("/")


def _read_text_or_file(value: str) -> str:
    """Return the text of a setting; a value `@path` stands for the text of that file. Raise
    ValueError if the file cannot be read or is empty: pydantic puts its text into the message for
    the operator."""
    if not value.startswith("@"):
        return value
    try:
        text = Path(value[1:]).expanduser().read_text(encoding="utf-8").strip()
    # RuntimeError: `expanduser` finds no home folder for `~`.
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        words = "the file {path} can't be read ({why})"
        raise ValueError(say(words, path=repr(value[1:]), why=describe_read_error(error))) from None
    if not text:
        raise ValueError(say("the file {path} is empty", path=repr(value[1:])))
    return text


Switch = Literal["on", "off"]
Url = Annotated[str, AfterValidator(_check_http_url)]
BaseUrl = Annotated[str, AfterValidator(_check_http_url), AfterValidator(_add_v1_path)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_check_proxy_url)]
SocketUrl = Annotated[str, AfterValidator(_check_socket_url)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Instructions = Annotated[str, AfterValidator(_read_text_or_file)]


S = TypeVar("S", bound=SettingsPart)
T = TypeVar("T")
CHECK_TIMEOUT_SECONDS = 10.0
DAILY_TURNS_ADVICE = (
    "set PONTE_DAILY_TURNS, for example to 100/2000 (per person / in total), or a limit of "
    "`turns` for `each person` in ponte.toml"
)
"""The advice of safety findings about platforms without a daily cap."""
HttpHandler = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]]
"""Handle a request: headers (lower-case names) and body in; status, headers and body out."""
FindHook = Callable[[str], HttpHandler | None]
"""Return the handler of `POST /hooks/NAME`, by name; None while no webhook is configured."""
RecordLateRemote = Callable[[str, Remote], Awaitable[None]]
"""Record an object that a server stored for a thread (given by its id) after the turn had ended."""


@dataclass(frozen=True, slots=True)
class SafetyFinding:
    """One finding of the safety check, which tells an operator who can access what.

    `unsafe` is a setup that docs/explanation/security.md calls unsafe. A `note` is a choice that an
    operator should know about. `is_uncapped`: it says that people have no daily limit of turns, so
    it is left out if ponte.toml has one.
    """

    topic: Literal["home", "settings", "token", "page", "rights", "limits"]
    words: str
    level: Literal["ok", "note", "unsafe"] = "ok"
    is_uncapped: bool = False


class SharedSettings(Protocol):
    """The settings that more than one integration reads."""

    openai_base_url: str | None
    """The base URL of the model's server. None means OpenAI's."""
    openai_api_key: SecretStr | None
    ponte_model: str
    ponte_model_effort: str | None
    """The default reasoning effort. None means the model's default."""
    ponte_allow: frozenset[str]
    """The people who have all rights of members everywhere. `*` means everybody."""
    ponte_daily_turns: DailyTurns | None
    """The limits of turns for a person and day. None means no limit."""
    ponte_timezone: str
    """The time zone of the installation, by its IANA name."""
    ponte_config: Path
    ponte_web: Switch
    ponte_web_url: str | None
    slack_api_url: str
    database_url: SecretStr | None
    """The Postgres database. None means the SQLite file of the data folder."""

    @property
    def slack(self) -> str:
        """Return how Slack delivers events to Ponte ("socket" or "http"), or "off"."""

    @property
    def ponte_model_api(self) -> str:
        """The API by which the model is asked, as configured (PONTE_MODEL_API)."""

    @property
    def transcribe_model(self) -> str:
        """Return the name of the model that writes down voice messages; "" for none."""

    @property
    def ponte_locale(self) -> str:
        """Return the language in which Ponte writes to people whose language is not known."""

    @property
    def proxies(self) -> Proxies:
        """The HTTP proxies that the environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."""

    @property
    def is_personal(self) -> bool:
        """Return True if neither a chat platform nor Postgres is configured, not even partly."""

    def variable(self, name: str) -> str:
        """Return the value of an environment variable, or of a line in `.env`, that ponte.toml
        names; "" if there is none. So ponte.toml itself holds no secrets."""


class OperatorConfig(ApprovalConfig, SpendingConfig, Protocol):
    """The contents of the configuration file `ponte.toml`, which can be reloaded while Ponte
    runs."""

    @property
    def quick_commands(self) -> Mapping[str, Any]:
        """The quick commands that ponte.toml describes, by their names (slugs)."""

    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        """The agents that ponte.toml names: id, title and description, by the agent's name."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """The places with their own settings, by the places' names in ponte.toml."""

    def section(self, name: str) -> Any:
        """Return the section of ponte.toml that a feature or an integration declares under this
        name."""


class HomeFolder(Protocol):
    """The folder in which Ponte stores all its data (PONTE_HOME).

    Only one process uses the folder at a time, and only that one may call methods that create
    something.
    """

    @property
    def path(self) -> Path:
        """The path of the folder with all data."""

    def is_served(self) -> bool:
        """Return True if a running Ponte accepts connections on the Unix socket in the folder."""

    def pseudonyms(self) -> bytes:
        """Return the key by which people's names for external servers are made: 32 random bytes,
        created once."""

    def page_key(self) -> bytes:
        """Return the key of the page's cookies: 32 random bytes, created once."""

    def web_token(self) -> str:
        """Return the page's stored token; create it if there is none."""

    def kept_web_token(self) -> str:
        """Return the page's stored token, "" if there is none. It is not created."""

    def listen(self) -> socket.socket:
        """Return a listening Unix socket that only our user can open."""

    def write_secret(self, name: str, secret: bytes) -> None:
        """Write a file that only our user can read, completely or not at all. Raises
        HomeUnusable."""


async def read_nothing(name: str) -> str:
    """Return "", as if nothing was remembered."""
    return ""


@dataclass(frozen=True, slots=True)
class IntegrationDependencies(Generic[S]):
    """The objects that an integration gets to be built or checked. `own` are its own settings,
    `shared` those that several integrations read, `config` the contents of ponte.toml."""

    own: S
    shared: SharedSettings
    config: OperatorConfig
    home: HomeFolder
    http: HttpClient
    client: ModelServerClient
    pseudonym: Callable[[str], str]
    """Return the name under which external servers know a person."""
    peers: Peers = field(default_factory=lambda: Alone())
    read_file: ReadFile = read_no_file
    """Return a stored file of a conversation."""
    read_remembered: Callable[[str], Awaitable[str]] = read_nothing
    """Return a text of the table `remembered`, for checks: those of a running Ponte or of none."""


class Integration(ABC, Generic[S]):
    """The base class of all integrations: chat platforms, surfaces of the owner, tool sources and
    the model. An object of it describes an integration, and builds it if it is on.

    `settings` is the class of its own settings. `sent_to` maps each setting that holds an address
    to the secrets that are sent there. `section` is the dataclass of its section in ponte.toml,
    which has the integration's name.
    """

    name: str
    settings: type[S]
    rights: PlatformRights | None = None
    """The default rights of people on this platform. None: it is not a platform."""
    ids: str = ""
    """A regular expression for the ids of its people and groups, as PONTE_ALLOW has them after the
    platform's name and a colon."""
    sent_to: ClassVar[Mapping[str, Sequence[str]]] = {}
    section: type[Any] | None = None

    @abstractmethod
    def summary(self, own: S, shared: SharedSettings) -> Health | None:
        """Return whether the integration is on or off by its settings, with a reason in one line.
        No request is sent to its service.

        None: it has no such line, because it is always on.
        """

    async def check(self, deps: IntegrationDependencies[S]) -> Sequence[Health]:
        """Check an enabled integration against its live service, for `ponte doctor`.

        Raises PonteError, HttpError or OSError for a failed check.
        """
        part = self.summary(deps.own, deps.shared)
        return [part] if part else []

    async def update_app(self, deps: IntegrationDependencies[S], shown: Sequence[str]) -> Health:
        """Add to Ponte's app at the service what it lacks, and return what to do next. `shown` are
        the findings of the check that a person saw. Raise BadInput if the app differs from them,
        NotFound if there is no such app, and as `check`."""
        raise NotFound(what="app")

    def creation_link(self, shared: SharedSettings) -> str:
        """Return the address that creates Ponte's app at the service; "" if there is none."""
        return ""

    async def list_choices(self, deps: IntegrationDependencies[S]) -> Mapping[str, Sequence[str]]:
        """Ask the integration's service which values its settings can have, such as the models of
        the model's server. Return them by the setting's name, for menus of the setup page. Raises
        PonteError, HttpError or OSError."""
        return {}

    def safety(self, own: S, shared: SharedSettings, home: HomeFolder) -> Iterator[SafetyFinding]:
        """Yield findings of the safety check: who can access what through this integration, each
        with a remedy. No request is sent, and nothing is changed.
        """
        yield from ()

    def is_used(self, own: S, shared: SharedSettings) -> bool:
        """Return True if the integration is on, so that it is built."""
        part = self.summary(own, shared)
        return part is None or part.state == "on"


class ChatIntegration(Integration[S]):
    """A chat platform of a company.

    `place_ids` is a regular expression for ids of workspaces and channels, if they differ in form
    from those of people and groups, and `workspace_ids` one for those of workspaces.
    `lists_people`: the directory also lists people who never wrote to Ponte.
    """

    place_ids: str = ""
    workspace_ids: str = ""
    lists_people: ClassVar[bool] = False

    @abstractmethod
    async def build(
        self,
        deps: IntegrationDependencies[S],
        conversations: Conversations,
        people: People,
        board: StatusBoard,
    ) -> ChatPlatform:
        """Return the platform's adapter for these settings, not connected yet; `Platform.start`
        connects it. `board` has what the platform shows besides answers."""

    async def prepare_restored(self, database: Database) -> None:
        """Adjust the stored state after a restore from a backup.

        Messages sent since the backup must not be answered as if they were new.
        """


class Operator(Protocol):
    """Runs operations by name, for the Unix socket of the home folder or for the operator's page.

    Callers check that the person may administer; the operations of the owner are checked here.
    """

    async def run(self, name: str, arguments: Mapping[str, Any], actor: Person = OPERATOR) -> Any:
        """Run the operation with this name and return its result as JSON. `actor` is the person in
        the audit log. Raises PonteError."""

    async def describe(
        self,
        name: str,
        arguments: Mapping[str, Any],
        actor: Person = OPERATOR,
        *,
        as_json: bool = False,
    ) -> Mapping[str, Any]:
        """Run the operator's operation `name` and return its result as words for a person: `lines`,
        `notes`, `failed` (the exit status is not 0) and `next` (what to do next).
        """

    async def tabulate(
        self, name: str, rows: Sequence[Mapping[str, Any]], reader: Person
    ) -> ListTable:
        """Return these rows of a list (`name`) as a table of texts, as the operator's page shows
        them to its reader."""

    def list_forms(self) -> Sequence[Mapping[str, Any]]:
        """Return `name`, `help` and `fields` of each operation that the operator's page shows as a
        form. A field has a `name` and a `help`, and is `required` or `long`."""


class OperatorBoard(StatusBoard, Protocol):
    """Reads what the page and the terminal show to the owner about the state of Ponte."""

    async def readiness(self) -> Sequence[Health]:
        """Return the state of the parts that must work so that Ponte is ready to handle messages,
        for `/readyz`."""

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""

    async def requests(self, person: Person, address: Address, id: str = "") -> PendingRequests:
        """Return the requests that wait for this person's decision, as they see them at the
        address, or the one with this `id`. Raise what `ChangeViews.list_requests` raises."""

    def on_requests_change(self, listener: Callable[[], None]) -> None:
        """From now on, call `listener` whenever the requests that wait for somebody's decision may
        have changed, so that the page shows the present ones."""


class OwnerIntegration(Integration[S]):
    """A surface of the person who runs Ponte.

    Its owner has every right. Other people can have accounts there. `always`: it is also built when
    a command holds the home folder for a moment.
    """

    always = False
    ids: str = OWNER_ID

    @abstractmethod
    async def build(
        self,
        deps: IntegrationDependencies[S],
        conversations: Conversations,
        people: People,
        board: OperatorBoard,
        operator: Operator,
        notices: PersonNoticeService,
        routes: Mapping[str, HttpHandler],
        find_hook: FindHook,
    ) -> Platform:
        """Build the platform without starting it.

        `conversations` has the stores of messages and turns, `people` the rights, accounts and
        usage of people. `board` reads the state of Ponte that the owner sees. `operator` runs the
        operations that the surface offers. `notices` lists and deletes a person's notices. `routes`
        are HTTP handlers of chats and of MCP, by path, and `find_hook` returns the handler of a
        webhook by its name. A surface with a web server for the network serves them, too.
        """

    def secrets(self, own: S, home: HomeFolder) -> Mapping[str, str]:
        """Return the secrets that the surface generated at its first start, by the settings that
        they replace, such as a token for the page.
        """
        return {}

    def link(self, own: S, platform: Platform, home: HomeFolder) -> tuple[str, str]:
        """Return the address of the surface, and the address with a sign-in token, which signs the
        owner in. Each is "" if there is none.
        """
        return "", ""


def start_nothing() -> None:
    """Do nothing. The default of `ToolBundle.start`, for tool sources that need no check before
    they are offered."""


async def close_nothing() -> None:
    """Do nothing. The default of `ToolBundle.close`, for tool sources whose own `close` closes
    everything.
    """


ListTitles = Callable[[Viewer, bool], Awaitable[Sequence[str]]]
ListStates = Callable[[], Awaitable[Sequence[Health]]]


@dataclass(frozen=True, slots=True)
class ToolBundle:
    """The parts that a tool integration builds: the `source` of its tools, and the `appliers` that
    make approved changes in its system. `runner` runs the code blocks that people type; None for
    other integrations than Python's."""

    source: ToolSource
    appliers: Sequence[Applier] = ()
    runner: Any = None
    titles: ListTitles | None = None
    """Returns the titles of the tables that a person may see, or with True may propose changes
    of."""
    tables: Any = None
    """The `TableSource` into whose tables spreadsheets can be imported."""
    admits: Callable[[PlaceRights], bool] | None = None
    """Returns whether somebody may use the source at all (`Policy.sources`). None: the rules alone
    decide."""
    list_states: ListStates | None = None
    """Returns parts of the source with a line of their own on the start screen."""
    start: Callable[[], None] = start_nothing
    """Begin the checks that must succeed before the tools are offered."""
    close: Callable[[], Awaitable[None]] = field(default=close_nothing)


RuleNames = Mapping[str, Collection[str]]
"""Names by kind (`tool`, `command`, `agent`)."""


class ToolIntegration(Integration[S]):
    """The base class of integrations that provide tools, such as NocoDB."""

    @abstractmethod
    def build(self, deps: IntegrationDependencies[S], quick: QuickCommands) -> ToolBundle:
        """Return the tools of an integration that is on, without connecting to its system yet.
        `quick` are the quick commands, which a source may run or provide."""

    def rule_names(self, own: S, config: OperatorConfig) -> RuleNames:
        """Return the names of its tools, commands and agents that rules in ponte.toml can use, by
        kind, so that an unknown name there is reported. No request is sent.
        """
        return {}


class ModelIntegration(Integration[S]):
    """The base class of the integration of the language model."""

    @abstractmethod
    def build(
        self, deps: IntegrationDependencies[S], late: RecordLateRemote, list_tools: ListTools
    ) -> tuple[Model, Callable[[], None]]:
        """Return the model, and a function that starts to check its server.

        `late` records objects on the server that must be erased later. `list_tools` returns all
        tools, so that the model's health tells whether they fit.
        """


def has_daily_turns(shared: SharedSettings) -> bool:
    """Return True if PONTE_DAILY_TURNS limits the turns of a day, for each person or for all."""
    chosen = shared.ponte_daily_turns
    return chosen is not None and bool(chosen.person or chosen.everybody)


def describe_allowed(allow: frozenset[str], platform: str) -> str:
    """Return the people and groups of one platform that PONTE_ALLOW names, joined by commas; "" if
    none."""
    return ", ".join(sorted(name for name in allow if name.startswith(f"{platform}:")))


def is_place(name: str, faces: Sequence[Integration[Any]]) -> bool:
    """Return True if `name` has the form of a workspace or a channel of a chat platform, as in
    `slack:T1`, and not that of a person."""
    platform, _, id = name.partition(":")
    chats = [integration for integration in faces if isinstance(integration, ChatIntegration)]
    forms = (integration.place_ids for integration in chats if integration.name == platform)
    return any(form and re.fullmatch(form, id) for form in forms)


def list_person_forms(faces: Sequence[Integration[Any]]) -> tuple[list[str], list[str], list[str]]:
    """Return three lists: the names of chat platforms, the patterns of keys of people and groups on
    all platforms, and the names of the surfaces that belong to the owner (page, terminal)."""
    chats = [integration.name for integration in faces if isinstance(integration, ChatIntegration)]
    owners = [
        integration.name for integration in faces if isinstance(integration, OwnerIntegration)
    ]
    return (
        chats,
        [f"{integration.name}:({integration.ids})" for integration in faces if integration.ids],
        owners,
    )
