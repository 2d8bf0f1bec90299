"""The commands `schedules` and `schedule ID …`, which people type."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.base.i18n import plural, say
from core.commands.grammar import TypedCommand
from core.domain.messages import Answer
from core.domain.records import Turn
from core.schedules.rule_words import describe_date, describe_result, local_time
from core.schedules.schedule import Schedule, ScheduleRun
from core.schedules.service import ScheduleService
from core.schedules.words import build_inert_title, describe_schedule, describe_whole


@dataclass(frozen=True, slots=True)
class ScheduleCommands:
    """Answers the commands about schedules. `is_demo`: the demo model answers."""

    service: ScheduleService
    is_demo: bool
    clock: Callable[[], float] = time.time

    async def answer(self, turn: Turn, command: TypedCommand) -> Answer:
        """Carry out the command and return the answer. Raise NotFound, NotAllowed, StatusUnknown,
        BadSchedule."""
        message, service, id = turn.message, self.service, command.id
        who = message.author, message.address
        if command.name == "schedules":
            return await self._list(turn, int(id or 1))
        match command.slug:
            case "show":
                schedule, runs = await service.get(id, *who), await service.list_runs(id, *who)
                lines = "\n".join(f"- {_describe_run(schedule, run)}" for run in runs)
                words = f"{describe_whole(schedule, self.clock())}\n\n{lines}".strip()
                return Answer(words, is_private=message.address.is_shared)
            case "delete":
                schedule = await service.delete(id, *who)
                words = f"**{build_inert_title(schedule.draft)}**\n\n{say('Deleted.')}"
            case "run":
                await service.run_now(id, *who, once=message.event_key)
                return Answer(say("It runs now."), is_private=message.address.is_shared)
            case "pause":
                schedule = await service.pause(id, *who)
                words = describe_whole(schedule, self.clock())
            case _:
                schedule = await service.resume(id, *who)
                words = describe_whole(schedule, self.clock())
        # Other people may read this place, so schedules of private places stay out.
        is_elsewhere = not schedule.address.is_same_channel(message.address)
        return Answer(words, is_private=message.address.is_shared and is_elsewhere)

    async def _list(self, turn: Turn, page: int) -> Answer:
        """Return a page of the author's schedules and those of this place."""
        found, pages = await self.service.list_page(turn.message.author, turn.message.address, page)
        if found:
            lines = [say("Schedules:"), "", *(f"- {describe_schedule(one)}" for one in found)]
            if pages > 1:
                lines += ["", say("Page {page} of {pages}.", page=page, pages=pages)]
            if page < pages:
                lines[-1] += " " + say("For the next one, type `schedules {page}`.", page=page + 1)
            words = "\n".join(lines)
        elif pages:
            words = plural(
                "There is only {count} page of schedules.",
                "There are only {count} pages of schedules.",
                pages,
            )
        elif self.is_demo:
            words = say("There are no schedules. The demo model can't make one: connect a model.")
        else:
            words = say(
                "There are no schedules. To make one, ask me, for example: remind me tomorrow "
                "at 14:00 to call Ana."
            )
        return Answer(words, is_private=turn.message.address.is_shared)


def _describe_run(schedule: Schedule, run: ScheduleRun) -> str:
    """Return one line about a run."""
    when = local_time(run.due_at, schedule.draft.time_zone)
    result = describe_result(run.state, run.missed_count, is_late=run.is_late)
    return f"{describe_date(when)}: {result}"
