"""The face of an integration: all that the bot knows of a platform, a tool source, the model.

A package's `__init__` exports one object made of these classes, and `bot.integrations` lists it.
Importing a face loads no SDK and no more than its settings need: what is heavy is imported where it
is built or checked.
"""

from __future__ import annotations

import socket
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import SecretStr

from core.changes.approval import TableRules
from core.changes.ports import Applier
from core.chat.platform import ChatPlatform, Platform
from core.clients.http import HttpClient, Proxies
from core.clients.openai import ModelServerClient
from core.domain.messages import Address, File, Person, Progress
from core.domain.records import Health, Outcome, Remote, ToolContext, Verdict
from core.integrations.settings import SettingsPart, Switch
from core.ports.conversations import Files, Inbox, Journal, StatusBoard, ThreadMap
from core.ports.rights import MemberStore, PageAccounts, Policy
from core.ports.tools import Model, QuickCommands, ToolSource
from core.rights.policy import OWNER_ID, DailyTurns, PlatformRights
from core.rights.usage import Prices

if TYPE_CHECKING:
    from core.store.database import Database
    from core.store.remembered import RememberedState

S = TypeVar("S", bound=SettingsPart)
T = TypeVar("T")
CHECK_TIMEOUT_SECONDS = 10.0
"""Seconds that a service may take to answer `ponte doctor`."""
DAILY_TURNS_ADVICE = "set PONTE_DAILY_TURNS, as in 100/2000 (per person / in all)"
HttpHandler = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]]
"""Header names in lower case and the body, to status, headers and body."""
ReadFile = Callable[[str], Awaitable[tuple[File, bytes]]]
"""A file that is kept, by its id, and its bytes."""
RecordLateRemote = Callable[[str, Remote], Awaitable[None]]
"""A thread's id, and what a server came to hold for it after its turn."""


@dataclass(frozen=True, slots=True)
class SafetyFinding:
    """What is said of safety. `unsafe` is what docs/security.md calls so; a `note` is a choice that
    an operator should know of."""

    topic: Literal["home", "settings", "token", "page", "rights", "caps"]
    words: str
    level: Literal["ok", "note", "unsafe"] = "ok"


class SharedSettings(Protocol):
    """The settings that several integrations read."""

    @property
    def openai_base_url(self) -> str | None: ...
    @property
    def openai_api_key(self) -> SecretStr | None: ...
    @property
    def ponte_model(self) -> str: ...
    @property
    def ponte_model_effort(self) -> str | None: ...
    @property
    def ponte_model_api(self) -> str: ...
    @property
    def ponte_allow(self) -> frozenset[str]: ...
    @property
    def ponte_daily_turns(self) -> DailyTurns | None: ...
    @property
    def ponte_timezone(self) -> str: ...
    @property
    def ponte_locale(self) -> str: ...
    @property
    def ponte_config(self) -> Path: ...
    @property
    def ponte_web(self) -> Switch: ...
    @property
    def proxies(self) -> Proxies: ...


class OperatorConfig(Protocol):
    """What `ponte.toml` says."""

    @property
    def table_rules(self) -> TableRules: ...
    @property
    def quick_commands(self) -> Mapping[str, Any]: ...
    @property
    def known_agents(self) -> Mapping[str, tuple[str, str, str]]:
        """Id, title and description by name."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """The places that have a way of their own, by what the file calls them."""

    @property
    def price_list(self) -> Prices:
        """What things cost; it follows the file."""

    def channel(self, address: Address) -> Any:
        """A place's own way."""

    def section(self, name: str) -> Any:
        """What an integration's `section` was read as."""


class HomeFolder(Protocol):
    """Where all is kept; what makes something is for who has taken it."""

    @property
    def path(self) -> Path: ...
    def is_served(self) -> bool: ...
    def pseudonyms(self) -> bytes: ...
    def web_token(self) -> str: ...
    def kept_web_token(self) -> str: ...
    def listen(self) -> socket.socket: ...


@dataclass(frozen=True, slots=True)
class IntegrationDependencies(Generic[S]):
    """What an integration is built and checked with. `own` are its settings."""

    own: S
    shared: SharedSettings
    config: OperatorConfig
    home: HomeFolder
    http: HttpClient
    client: ModelServerClient
    """The model's server."""
    pseudonym: Callable[[str], str]
    """The name under which servers know a person."""
    peers: Peers = field(default_factory=lambda: Alone())


class Integration(Generic[S]):
    """`settings` are its own; `sent_to` the addresses among them that get secrets, with those;
    `section` is the dataclass of its part of ponte.toml, under its name."""

    name: str
    settings: type[S]
    rights: PlatformRights | None = None
    """Of who comes by it; None where nobody does."""
    sent_to: ClassVar[Mapping[str, Sequence[str]]] = {}
    section: type[Any] | None = None

    def summary(self, own: S, shared: SharedSettings) -> Health | None:
        """On or off, and why, in a line; None for what is always there. Asks no service."""
        raise NotImplementedError

    async def check(self, deps: IntegrationDependencies[S]) -> Sequence[Health]:
        """For `ponte doctor`, where it is on: tried against the live service. Raises PonteError,
        HttpError, OSError for what is not well."""
        found = self.summary(deps.own, deps.shared)
        return [found] if found else []

    def safety(self, own: S, shared: SharedSettings, home: HomeFolder) -> Iterator[SafetyFinding]:
        """Who can reach what by it, each with its mend. Asks no service, changes nothing."""
        yield from ()

    def is_used(self, own: S, shared: SharedSettings) -> bool:
        """Whether it is built."""
        found = self.summary(own, shared)
        return found is None or found.state == "on"


class KernelPlaces(Protocol):
    """Which threads have a kernel (the process that runs their Python), or had one, and where.

    What cannot be kept is a loss that is not told: never a reason to run nothing.
    """

    why: str
    """Why one is gone of which the asked process knows nothing."""

    async def is_here(self, thread: str) -> bool:
        """Whether the kernel that this process has is still the thread's own."""

    async def record_start(self, thread: str) -> bool:
        """It has a new one, here; whether it ever had one before."""

    async def record_end(self, thread: str) -> None: ...

    async def forget(self, thread: str) -> None: ...


class Pace(Protocol):
    """When calls of each kind are due, of all processes together."""

    async def run(
        self,
        names: Sequence[str],
        work: Callable[[Sequence[float], float], tuple[Sequence[float], T]],
    ) -> T:
        """Give `work` when these kinds are due and the present time, in seconds by one clock for
        all; keep the due times that it returns, and return its result. No other process does so
        meanwhile; `work` may be run again. Raises NotStored."""


class Peers(Protocol):
    """The processes that share what is kept."""

    @property
    def pace(self) -> Pace | None:
        """None: a process alone keeps its own pace."""

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        """Return what a platform's side remembers under that name; `data` returns it as JSON."""

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` while no other process does; it is cancelled where another one may."""

    async def notify(self, word: str, id: str) -> None:
        """Tell the others."""

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        """Have `heard` told the id of each such telling."""

    async def save_progress(self, turn: str, progress: Progress) -> None:
        """Keep how far a turn is, and tell of it as "progress"."""

    async def read_progress(self, turn: str) -> Progress | None: ...

    def kernel_places(self) -> KernelPlaces:
        """Return where the kernels of threads are."""


class Alone:
    """Of one process there are no peers."""

    pace: Pace | None = None

    def __init__(self, database: Database | None = None) -> None:
        """`database`: where things are remembered over restarts; None: nowhere."""
        self._database = database

    def kernel_places(self) -> KernelPlaces:
        from core.store.kernels import KernelRows

        return KernelRows(self._database)

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        from core.store.remembered import RememberedState

        return RememberedState(self._database, name, data)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await work()

    async def notify(self, word: str, id: str) -> None:
        return None

    def on(self, word: str, handler: Callable[[str], Awaitable[None]]) -> None:
        return None

    async def save_progress(self, turn: str, progress: Progress) -> None:
        return None

    async def read_progress(self, turn: str) -> Progress | None:
        return None


OnRefused = Callable[[Person, Address, Verdict], None]


def _ignore_refusal(person: Person, address: Address, verdict: Verdict) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ChatPorts:
    """What a platform works with. `removed` is told the id of a post that a person deleted,
    `refused` whom a right kept from a click or command before that became a message."""

    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    board: StatusBoard
    policy: Policy
    on_post_removed: Callable[[str], Awaitable[None]]
    peers: Peers = field(default_factory=Alone)
    on_refused: OnRefused = _ignore_refusal
    directory: MemberStore | None = None
    """Where people are kept over restarts."""


class ChatIntegration(Integration[S]):
    """A company's platform. `ids` is the form of its ids, as PONTE_ALLOW has them after its name
    and a colon, `place_ids` that of the ids of workspaces and channels, where they can be told from
    those of people and groups: regular expressions. `lists_people`: also those who never wrote to
    us."""

    ids: str = ""
    place_ids: str = ""
    lists_people: ClassVar[bool] = False

    async def build(self, deps: IntegrationDependencies[S], ports: ChatPorts) -> ChatPlatform:
        """Not started yet."""
        raise NotImplementedError

    remembers: ClassVar[str] = ""
    """The name of what it remembers over restarts. Earlier versions kept it in a file of the home
    with that name."""
    obsolete_files: ClassVar[Sequence[str]] = ()
    """Files of the home that earlier versions wrote, and nothing reads any more."""

    async def prepare_restored(self, database: Database) -> None:
        """Prepare what is remembered there for going on from a backup: messages that were sent
        since then, while nobody listened, are not to be answered as if they were new."""


OperatorAction = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""What an operator's command has done: JSON in, JSON out. Raises PonteError."""


UsageReport = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]
"""What was used by day since that one (ISO), as `Budget.report` has it."""


class Operator(Protocol):
    """What only the home's Unix socket may ask; all JSON."""

    @property
    def acts(self) -> Mapping[str, OperatorAction]:
        """By the path under /operator/."""

    async def threads(self) -> Sequence[Mapping[str, Any]]: ...
    async def thread(self, conversation: str) -> Mapping[str, Any]: ...
    def link(self) -> str: ...
    async def forget(self, *, conversation: str = "", person: str = "") -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class PagePorts:
    """What an owner's surface shows beside the chat. `routes`: other platforms' own, by path;
    `people`: who has a name there."""

    routes: Mapping[str, HttpHandler]
    readiness: Callable[[], Awaitable[Sequence[Health]]]
    metrics: Callable[[], Awaitable[str]]
    operator: Operator
    people: PageAccounts | None = None
    usage: UsageReport | None = None


class OwnerIntegration(Integration[S]):
    """A surface of whoever runs Ponte: its owner may do everything, others have names there.

    `always`: also where a command holds the home for a moment. `ids`: the form of its people's
    ids, a regular expression.
    """

    always = False
    ids: str = OWNER_ID

    async def build(
        self, deps: IntegrationDependencies[S], ports: ChatPorts, page: PagePorts
    ) -> Platform:
        """Not started yet."""
        raise NotImplementedError

    def secrets(self, own: S, home: HomeFolder) -> Mapping[str, str]:
        """What it makes for itself at its first start, by the setting that it stands for."""
        return {}

    def link(self, own: S, platform: Platform, home: HomeFolder) -> tuple[str, str]:
        """Where a person opens it, and the same with what lets them in; "" where nowhere."""
        return "", ""


class QuickRegistry(QuickCommands, Protocol):
    """The quick commands of ponte.toml, for the integration that runs them."""

    @property
    def everybodys(self) -> Sequence[Any]: ...
    def asks_first(self, slug: str) -> bool: ...
    def connect(
        self,
        run: Callable[[ToolContext, str, str | Mapping[str, Any]], Awaitable[Outcome]] | None,
        *,
        any_slug: bool,
    ) -> None:
        """They are run so; `any_slug`: also those that ponte.toml does not name."""


def start_nothing() -> None:
    """Nothing to start."""


async def close_nothing() -> None:
    """The source itself closes all."""


@dataclass(frozen=True, slots=True)
class ToolBundle:
    """What a system brings. `runner` runs the code blocks that people type."""

    source: ToolSource
    appliers: Sequence[Applier] = ()
    runner: Any = None
    start: Callable[[], None] = start_nothing
    """Begin to prove what must be proved before it is offered."""
    close: Callable[[], Awaitable[None]] = field(default=close_nothing)


RuleNames = Mapping[str, Collection[str] | None]
"""Names by their kind (`tool`, `command`, `agent`). None: any name may be one of that kind."""


class ToolIntegration(Integration[S]):
    """A system that brings tools."""

    def build(self, deps: IntegrationDependencies[S], quick: QuickRegistry) -> ToolBundle | None:
        """None where it is off. Connects to nothing yet."""
        raise NotImplementedError

    def rule_names(self, own: S, config: OperatorConfig) -> RuleNames:
        """What rules of ponte.toml can name of it. Asks no service."""
        return {}


class ModelIntegration(Integration[S]):
    def build(
        self, deps: IntegrationDependencies[S], read: ReadFile, late: RecordLateRemote
    ) -> tuple[Model, Callable[[], None]]:
        """With what begins to look at its server. `read` gets a file's bytes; `late` is told what
        must one day be erased."""
        raise NotImplementedError


def has_daily_turns(shared: SharedSettings) -> bool:
    """Whether PONTE_DAILY_TURNS caps anything."""
    chosen = shared.ponte_daily_turns
    return chosen is not None and bool(chosen.person or chosen.everybody)


def list_answer_all_places(config: OperatorConfig, platform: str) -> Sequence[str]:
    """The platform's places in which every message is for Ponte, as ponte.toml names them."""
    return [
        place
        for place, own in config.channels.items()
        if own.answer_everything and place.partition(":")[0] == platform
    ]


def describe_allowed(allow: frozenset[str], platform: str) -> str:
    """Those of `allow` that are of this platform, in words; "" for nobody."""
    return ", ".join(sorted(name for name in allow if name.startswith(f"{platform}:")))
