"""A bell: an operation in one file. Importing it puts the operation into the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from bot.operations import ShellArgument, ShellOption, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person


@operation("bell list", admin_page=True)
async def list_bells(ponte: Ponte) -> Sequence[Mapping[str, Any]]:
    """List the bells."""
    return [{"bell": "front", "tone": 440}, {"bell": "back", "tone": 220}]


@operation("bell ring", admin_page=True, confirm="Ring the {bell} bell?", example="front --times 2")
async def ring(
    ponte: Ponte,
    bell: Annotated[str, ShellArgument("Which bell.", ("bell list", "bell"))],
    times: Annotated[int, ShellOption("How many times.")] = 1,
    *,
    actor: Person,
) -> Mapping[str, Any]:
    """Ring a bell."""
    ponte.engine.people.audit.note("bell-rung", actor)
    return {"bell": bell, "sound": "ding " * times, "by": actor.key}


@operation("bell secret", is_secret=True)
async def tell_secret(ponte: Ponte) -> Mapping[str, Any]:
    """Print where the key of the bell is."""
    return {"key": "under the mat"}
