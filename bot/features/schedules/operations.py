"""Lists, shows and changes the schedules of everyone."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Json, Rows
from bot.operations import OPERATIONS, ShellArgument, add_command_group, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person

add_command_group(
    "schedules", "List, show, pause, resume, run and delete schedules.", after="changes"
)
add_command_group("alerts", "List, show, pause, resume, run and delete alerts.", after="schedules")


ScheduleId = Annotated[
    str, ShellArgument("The schedule's ID (six characters).", ("schedules list", "id"))
]


@operation("schedules list", admin_page=True, example="--json")
async def list_schedules(ponte: Ponte, actor: Person) -> Rows:
    """List everyone's schedules."""
    return await ponte.engine.schedules.list_all(actor)


@operation("alerts list", example="--json")
async def list_alerts(ponte: Ponte, actor: Person) -> Rows:
    """List everyone's alerts."""
    return [row for row in await list_schedules(ponte, actor) if row["kind"] == "alert"]


@operation("schedules show", example="abc234")
async def show_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Show a schedule or alert and its last runs."""
    return await ponte.engine.schedules.show(id.lower(), actor)


_ON_SCHEDULE: Json = {"admin_page": True, "example": "abc234", "shown_by": "schedules show {id}"}


@operation("schedules pause", sentence="Paused {id}.", **_ON_SCHEDULE)
async def pause_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Pause a schedule or alert until someone resumes it."""
    schedules = ponte.engine.schedules
    return await schedules.to_json(await schedules.store.pause(id.lower(), "person", actor), actor)


@operation("schedules resume", **_ON_SCHEDULE)
async def resume_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Resume a paused schedule or alert. Runs that were due in the meantime are skipped."""
    schedules = ponte.engine.schedules
    return await schedules.to_json(await schedules.store.resume(id.lower(), actor), actor)


@operation(
    "schedules run",
    sentence="Started a run of {id}. The answer will be posted in its own conversation.",
    **_ON_SCHEDULE,
)
async def run_schedule(ponte: Ponte, id: ScheduleId, actor: Person, once: str = "") -> Json:
    """Run a schedule or alert now, with its owner's permissions. Its times don't change."""
    schedules = ponte.engine.schedules
    # The same event, such as a form that is sent twice, starts one run.
    await schedules.store.run_now(id.lower(), once or secrets.token_hex(8), actor)
    return await schedules.to_json(await schedules.store.get(id.lower()), actor)


@operation(
    "schedules delete",
    confirm="Delete {id}?",
    sentence="Deleted {id}.",
    **_ON_SCHEDULE,
)
async def delete_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Delete a schedule or alert."""
    schedules = ponte.engine.schedules
    return await schedules.to_json(await schedules.store.delete(id.lower(), by=actor), actor)


for _verb in ("show", "pause", "resume", "run", "delete"):
    _name = f"alerts {_verb}"
    OPERATIONS[_name] = replace(OPERATIONS[f"schedules {_verb}"], name=_name, admin_page=False)
