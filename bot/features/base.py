"""What a feature can add to Ponte.

Modules such as `bot/stores.py` and `bot/settings.py` collect it while they are imported. So a
`feature.py` imports none of them at its top: only `core`, `adapters`, `bot/config/toml_values.py`
and this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bot.config.toml_values import KeyPath
from bot.features import load_modules
from core.changes.kinds import Kind
from core.integrations import FindHook, HttpHandler, Integration
from core.money.allowances import Allowance
from core.people.rules import StandIns
from core.store.tables import TableDeclaration
from core.turn.origins import Origin
from core.turn.preparation import Listen

EndFeature = Callable[[float], Awaitable[None]]
"""Ends what a feature began, within so many seconds."""


@dataclass(frozen=True, slots=True)
class SetupField:
    """A setting on a card of the setup page. `choices` are its values if it has only a few. A
    secret is never shown again."""

    setting: str
    words: str
    is_secret: bool = False
    choices: Sequence[str] = ()
    example: str = ""


@dataclass(frozen=True, slots=True)
class SetupCard:
    """A row of the setup page: one service that can be connected there. `icon` is the path of an
    SVG of 24 by 24. `purpose` says what the service is for, `steps` what it takes to connect it,
    with links as in Markdown."""

    name: str
    title: str
    icon: str
    purpose: str
    steps: Sequence[str]
    fields: Sequence[SetupField]

    @property
    def names(self) -> frozenset[str]:
        """The settings of the card's fields, as environment variables: in capitals."""
        return frozenset(field.setting.upper() for field in self.fields)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature, by what it adds. One whose parts depend on settings or ponte.toml is a subclass.

    Methods get the `Config`, the `Settings` or the `Ponte`: they are called when these exist.
    """

    integration: Integration[Any] | None = None
    """Its settings, rights, checks, and how it is built; None if it talks with no service."""
    tables: Sequence[TableDeclaration] = ()
    tables_after: str = ""
    """The table after which a new database creates its tables; "" for the end."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Its kinds of change, by `Draft.kind`."""
    origins: Mapping[str, Callable[[Any], Origin]] = field(default_factory=dict)
    """Its origins of turns, by `MessageOrigin.name`: functions of the engine."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Its sections of ponte.toml: each a dataclass, or a mapping of names to one."""
    card: SetupCard | None = None
    """Its card on the setup page."""
    audit_sentences: Mapping[str, str] = field(default_factory=dict)
    """What its lines of the audit log say, by event."""

    def list_extras(self, config: Any, settings: Any) -> Iterable[str]:
        """Return the optional dependencies that it needs with these settings."""
        return ()

    def stand_ins(self, config: Any) -> Mapping[str, StandIns]:
        """Return the programs that ponte.toml gives rights of a group, by their platform."""
        return {}

    def allowances(self, config: Any) -> Iterable[Allowance]:
        """Return limits of spending besides `[[allowances]]`."""
        return ()

    def call_prices(self, config: Any) -> Mapping[str, float]:
        """Return the US dollars of a call, by the tool's name for models."""
        return {}

    def check_file(self, config: Any) -> Iterator[tuple[KeyPath, str]]:
        """Yield faults between parts of the file, each with the path of its key."""
        yield from ()

    def list_secrets(self, config: Any) -> Iterable[tuple[str, bool]]:
        """Return the variables with its secrets, which logs mask, and whether each is sent in an
        HTTP header."""
        return ()

    def check_secrets(self, config: Any, settings: Any) -> Iterator[str]:
        """Yield faults that Ponte does not start with, each with its line of the file."""
        yield from ()

    def find_faults(self, config: Any, settings: Any) -> Iterator[str]:
        """Yield sentences on what cannot work as configured, or has a risk."""
        yield from ()

    def build_listener(self, settings: Any, client: Any, budget: Any) -> Listen | None:
        """Return what hears recordings, if it is turned on."""

    def begin(self, settings: Any) -> EndFeature | None:
        """Begin what must exist before any part is built, in a thread. Return the function that
        ends it as the last of all. Raises SettingsError."""

    def mount(self, ponte: Any) -> Mapping[str, HttpHandler]:
        """Return handlers of POST routes on the page's server, by path."""
        return {}

    def find_hook(self, ponte: Any) -> FindHook | None:
        """Return the function that finds the handler of `POST /hooks/NAME`, if it has one."""


@cache
def find_features() -> Sequence[Feature]:
    """Return all features in the order of FEATURES."""
    return [module.FEATURE for module in load_modules("feature")]
