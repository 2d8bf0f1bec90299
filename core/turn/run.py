"""The state of one attempt at a turn, and the decisions and the configuration of its beginning."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from core.base import text
from core.base.errors import PonteError
from core.base.i18n import LANGUAGE, READER_IS_OWNER, nearest_locale
from core.base.markdown import Trust
from core.changes.approval import TableRules
from core.chat.turn_posts import TurnPosts
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.conversation_ports import Reply
from core.domain.messages import Address, Card, Message
from core.domain.records import PlaceRights, RoundOutput, Thread, Turn
from core.domain.tool_ports import Model, QuickCommands, Tool
from core.money.allowances import AllowanceCount
from core.people.rules import OWNER_ID
from core.tools.code.source import CodeRunner
from core.tools.tool import Toolbox
from core.turn import prompt
from core.turn.context import ReadableThread, ToolContexts
from core.turn.origins import Origin
from core.turn.retention import Retention

if TYPE_CHECKING:
    from core.turn.paying import TurnPayment


class ChannelSettings(Protocol):
    """The settings of a channel. The default of the installation applies where a value is "" or
    None."""

    @property
    def instructions(self) -> str:
        """Return the additional instructions for the model in this channel."""

    @property
    def model(self) -> str:
        """Return the name of the model that answers in this channel."""

    @property
    def language(self) -> str | None:
        """Return the language of replies in this channel, as a locale."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The largest numbers of tool calls in one turn: those that cost money (quick commands, agents,
    code), and all of them."""

    costly: int = 20
    total: int = 60


@dataclass(frozen=True, slots=True)
class DefaultSettings:
    """The settings of a channel for which the owner of the installation configured nothing."""

    instructions: str = ""
    model: str = ""
    language: str | None = None


def _no_settings(address: Address) -> ChannelSettings:
    return DefaultSettings()


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """The configuration of turns. A turn keeps the one that it began with."""

    instructions: str = prompt.INSTRUCTIONS
    locale: str = "en"
    zone: str = "UTC"
    titles: bool = False
    """The model makes titles of conversations that are listed with one."""
    limits: CallLimits = CallLimits()
    link_hosts: frozenset[str] = frozenset()
    """The hosts that links may lead to in a thread that contains text from outside."""
    links_code: frozenset[str] = frozenset()
    """Platforms that turn addresses into links even inside code."""
    links_schemes: frozenset[str] = frozenset()
    """Platforms that turn an address into a link only if it has a scheme."""
    own_addresses: frozenset[str] = frozenset()
    """The addresses that Ponte itself writes, such as that of its page. They are never disabled."""
    channel: Callable[[Address], ChannelSettings] = _no_settings
    """Returns the settings of a place."""
    now: Callable[[], float] = time.time
    """Returns the time that the model is told, in seconds since the epoch."""


class TurnConfigs(Protocol):
    """The configuration, which can be reloaded."""

    @property
    def turn(self) -> TurnConfig:
        """Return the configuration of the turns that begin now."""

    @property
    def table_rules(self) -> TableRules:
        """Return the rules about tables that apply now."""

    @property
    def retention(self) -> Retention:
        """Return how long conversations are stored now."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """The model, its tools, quick commands and the sandbox. `contexts` builds the
    context of each call. `code` is None if no sandbox is configured."""

    model: Model
    toolbox: Toolbox
    contexts: ToolContexts
    quick: QuickCommands
    code: CodeRunner | None = None

    async def forget(self, thread: str) -> None:
        """Delete the sandbox state and the files of the thread with this id."""
        if self.code:
            await self.code.backend.forget(thread)


class ModelRounds(Protocol):
    """The model's side of a turn so far (`core.turn.rounds.Rounds`)."""

    visible_text: str
    """The text that the person sees so far."""
    last: RoundOutput | None
    """The output of the round that called no tool. It is stored together with the answer."""
    known_thread: Thread
    """The thread's record before the turn."""
    thread: Thread
    """The thread's record now."""

    @property
    def provenance(self) -> tuple[bool, Trust]:
        """A pair: whether the thread contains text from outside, and which links are allowed in
        that case."""

    @property
    def own_links(self) -> frozenset[str]:
        """The links that Ponte's code wrote under the answer."""

    @property
    def may_finish_elsewhere(self) -> bool:
        """True if a run in another system may still finish, although nothing waits for it."""

    async def cards(self) -> tuple[Card, ...]:
        """Return the cards of the turn's proposals in their current state."""


@dataclass(slots=True)
class TurnRun:
    """One attempt at a turn. Command, rights, channel settings and language are decided once. Only
    the rights are checked again, at each tool call."""

    turn: Turn
    reply: Reply
    posts: TurnPosts
    config: TurnConfig
    settings: ChannelSettings
    origin: Origin
    command: TypedCommand | None = None
    command_error: PonteError | None = None
    """The error if the message is a command that cannot be parsed; else None."""
    rights: PlaceRights | None = None
    earlier_proposal: str = ""
    """An undecided proposal of an earlier turn of the same origin. While there is one, this turn
    can propose nothing."""
    readable: ReadableThread | None = None
    """What the asker may read of the thread; None for all of it."""
    rounds: ModelRounds | None = None
    """The model's side of the turn; None until the model is asked."""
    needs_title: bool = False
    """True if this is the first exchange of a conversation that is listed with a title."""
    _parsed_in: str = field(default="", init=False)
    """The language in which the command was parsed last."""

    @property
    def is_apart(self) -> bool:
        """True if the turn has a remote conversation of its own, which no later turn continues."""
        return not self.turn.message.origin.reads_history or self.readable is not None

    @property
    def is_for_model(self) -> bool:
        """True if the message goes to the model, because it is not a command."""
        return self.command is None and self.command_error is None

    @property
    def visible_text(self) -> str:
        """The text of the answer that the person sees so far."""
        return self.rounds.visible_text if self.rounds else ""

    async def set_message(self, message: Message) -> None:
        """Replace the turn's message by this version of it. Set `LANGUAGE` for the calling task,
        and parse the command again if the language differs from that of the last parsing."""
        self.turn = replace(self.turn, message=message)
        language = (
            nearest_locale(message.locale)
            if message.locale
            else self.settings.language or self.config.locale
        )
        LANGUAGE.set(language)
        READER_IS_OWNER.set(message.author.id == OWNER_ID and not message.address.is_shared)
        if language == self._parsed_in:
            return
        self._parsed_in = language
        self.command = self.command_error = None
        try:
            self.command = await text.run_off_loop(
                lambda _: grammar.parse_message(message), message.text
            )
        except PonteError as error:
            self.command_error = error


@dataclass(frozen=True, slots=True)
class ModelBriefing:
    """The model's input beside the items, and the tools that it may call.

    `model`: "" for the default. `since`: the last earlier turn with items in the
    thread (`RoundRequest.previous_seq`). `trust`: the links that are allowed if the thread contains
    text from outside; `has_outside_text`: it does already. `paying`: None if no allowance limits
    the cost. `counts`: the state of each allowance, including this turn.
    """

    thread: Thread
    instructions: str
    preface: str
    tools: Sequence[Tool]
    model: str = ""
    since: int = 0
    trust: Trust = field(default_factory=Trust)
    has_outside_text: bool = False
    limits: CallLimits = field(default_factory=CallLimits)
    paying: TurnPayment | None = None
    counts: Sequence[AllowanceCount] = ()
