"""The stores and services that every turn uses, each behind its port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.changes.service import ChangeService
from core.ports.conversations import Files, Inbox, Journal, ThreadMap
from core.ports.rights import Audit, Budget, Policy
from core.ports.tools import Model
from core.tools.tool import Toolbox

if TYPE_CHECKING:
    from core.conversation.schedule_commands import ScheduleCommands


@dataclass(frozen=True, slots=True)
class TurnServices:
    """The stores and services that the conversation manager, the typed commands and the upkeep
    share."""

    inbox: Inbox
    journal: Journal
    threads: ThreadMap
    files: Files
    model: Model
    toolbox: Toolbox
    policy: Policy
    budget: Budget
    changes: ChangeService
    audit: Audit
    schedules: Callable[[], ScheduleCommands]
    """Returns the schedules as turns use them; their modules are loaded with the first call."""
