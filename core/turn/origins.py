"""What differs between turns by where their message comes from: a person, a program, a schedule, a
webhook.

`MessageOrigin` says what holds wherever a message is handled. An `Origin` decides about its turn.
The manager asks the origin at each step, and knows none by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from core.commands.grammar import TypedCommand
from core.domain.messages import Answer, Message
from core.domain.records import Turn
from core.domain.tool_ports import Tool

PauseReason = Literal["", "person", "rights", "failures", "restored"]
"""Why a schedule is paused: a person paused it, its owner lost their rights or membership, it
failed too often in a row, or a backup was restored."""


SkipReason = Literal["rights", "allowance", "changed", "busy", "unknown"]
"""Why a run was skipped: its owner may not do this there any more, an allowance is used up, the
schedule was changed before the run began, its previous run had not ended, or the platform did not
report the owner's status."""


class RunSkipped(Exception):
    """Ends the turn of a run that must not be carried out. Nothing is posted."""

    def __init__(self, reason: SkipReason, pause: PauseReason = "") -> None:
        self.reason: SkipReason = reason
        self.pause: PauseReason = pause
        super().__init__(reason)


class Origin:
    """A message that a person or their program sent just now. Other origins derive from this class
    and override what differs."""

    preface = ""
    """A sentence for the model about where the message comes from."""
    has_profile = True
    """The author has a profile on the platform, and the message may refer to others there."""
    refers_to_others = True
    """The message may answer or quote other messages, or stand in a thread."""
    is_refusal_private = True
    """Only the author reads why something is refused; False if the readers of the place do."""

    async def check_start(self, turn: Turn) -> str:
        """Raise RunSkipped if the turn must not begin. Return the id of an earlier proposal that
        must be decided before this turn can propose anything; "" for none. It is cancelled if a
        person stops the turn or the process ends."""
        return ""

    def answer_directly(self, message: Message, command: TypedCommand | None) -> Answer | None:
        """Return the answer if neither a command nor the model makes it. Raise PonteError for a
        message that cannot be answered."""
        return None

    def offer(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Return those of the tools that the turn may use."""
        return tools

    def addresses(self, message: Message) -> frozenset[str]:
        """Return the addresses of the message's text that a person wrote, if the author did not
        write the text for this message."""
        return frozenset()

    def notes(self, message: Message) -> Sequence[str]:
        """Return sentences that stand under the answer."""
        return ()

    async def on_skip(self, turn: Turn, skipped: RunSkipped) -> None:
        """Record that the turn does not begin."""

    def on_end(self) -> None:
        """Called when a turn has ended."""


PEOPLE = Origin()
"""The origin of messages that people and their programs send. What differs between these two is in
`MessageOrigin`."""
