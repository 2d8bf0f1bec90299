"""One attempt at a turn, and what was decided for it when it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from core.chat.turn_posts import TurnPosts
from core.commands import grammar
from core.commands.grammar import TypedCommand
from core.domain.errors import PonteError
from core.domain.messages import Card, Message
from core.domain.records import RoundOutput, Thread, Turn
from core.ports.conversations import Reply
from core.ports.tools import Tool
from core.rights.allowances import AllowanceCount
from core.rights.policy import PlaceRights
from core.text import text
from core.text.i18n import LANGUAGE, nearest_locale
from core.text.markdown import Trust

if TYPE_CHECKING:
    from core.conversation.paying import TurnPayment


class ChannelSettings(Protocol):
    """What the operator set for a channel; "" and None: as everywhere."""

    @property
    def instructions(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def effort(self) -> str: ...
    @property
    def language(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Tool calls of one turn: those that cost (quick commands, agents, code), and all of them."""

    costly: int = 20
    total: int = 60


class ModelRounds(Protocol):
    """What the model has said and done in this turn so far (`core.conversation.rounds.Rounds`)."""

    @property
    def visible_text(self) -> str:
        """The text that a person sees."""

    @property
    def last(self) -> RoundOutput | None:
        """The round that called no tool; it is stored together with the answer."""

    @property
    def provenance(self) -> tuple[bool, Trust]:
        """Whether text from outside is in the thread, and where links may lead then."""

    @property
    def own_links(self) -> frozenset[str]:
        """The links that code wrote under the answer."""

    @property
    def may_finish_elsewhere(self) -> bool:
        """Whether another system may still finish what was called, though nobody waits."""

    @property
    def known_thread(self) -> Thread:
        """The thread's record as it was before the turn."""

    @property
    def thread(self) -> Thread:
        """The thread's record as it is now."""

    async def cards(self) -> tuple[Card, ...]:
        """Return what the turn proposed, as it stands now."""


@dataclass(slots=True)
class TurnRun:
    """One attempt at a turn. The command, the rights, the channel's settings and the language are
    decided once; rights alone are checked again, at each tool call."""

    turn: Turn
    reply: Reply
    posts: TurnPosts
    settings: ChannelSettings
    default_language: str
    command: TypedCommand | None = None
    command_error: PonteError | None = None
    """Why the message is a command that cannot be read."""
    rights: PlaceRights | None = None
    rounds: ModelRounds | None = None
    """None until the model is asked."""
    _parsed_in: str = field(default="", init=False)
    """The language in which the command was read."""

    @property
    def message(self) -> Message:
        return self.turn.message

    @property
    def is_for_model(self) -> bool:
        return self.command is None and self.command_error is None

    @property
    def visible_text(self) -> str:
        """What a person sees of the answer so far."""
        return self.rounds.visible_text if self.rounds else ""

    async def set_message(self, message: Message) -> None:
        """Take the message as it is known now. Set the language of the task that calls this, and
        read the command in that language."""
        self.turn = replace(self.turn, message=message)
        language = (
            nearest_locale(message.locale)
            if message.locale
            else self.settings.language or self.default_language
        )
        LANGUAGE.set(language)
        if language == self._parsed_in:
            return
        self._parsed_in = language
        self.command = self.command_error = None
        try:
            self.command = await text.run_off_loop(grammar.parse_command, self.message.text)
        except PonteError as error:
            self.command_error = error


@dataclass(frozen=True, slots=True)
class ModelBriefing:
    """What the model is told in a turn beside the items, and which tools it may call.

    `model` and `effort`: "" for the defaults. `since`: see `Ask`. `trust`: where links may lead
    once something from outside is in the thread; `has_outside_text`: it is already. `paying`: None
    where no allowance limits the cost. `counts`: of each allowance, with this turn in it.
    """

    thread: Thread
    instructions: str
    preface: str
    tools: Sequence[Tool]
    model: str = ""
    effort: str = ""
    since: int = 0
    trust: Trust = field(default_factory=Trust)
    has_outside_text: bool = False
    limits: CallLimits = field(default_factory=CallLimits)
    paying: TurnPayment | None = None
    counts: Sequence[AllowanceCount] = ()
