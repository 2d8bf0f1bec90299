"""Lists votes on answers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Rows
from bot.operations import ShellOption, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte


@operation("feedback", admin_page=True, example="--since yesterday --down")
async def list_feedback(
    ponte: Ponte,
    since: Annotated[
        str,
        ShellOption(
            "Start of the period: a date or a date and time, for example 2026-11-01 or yesterday."
        ),
    ] = "",
    down: Annotated[bool, ShellOption("Only thumbs down.")] = False,
) -> Rows:
    """List the latest votes on answers, newest first. Questions and answers are shown only if the
    voter shared them or they're in a public channel."""
    # `ponte --help` imports this module, so it loads little.
    from bot.reports import parse_moment

    engine, first = ponte.engine, parse_moment(since, ponte.zone)
    first_at = datetime.fromisoformat(first).timestamp() if first else 0.0
    messengers = engine.platforms.messengers
    return await engine.conversations.votes.report(first_at, down, messengers)
