"""Schedules: proposed, approved, edited, deleted, and their runs."""

from __future__ import annotations

from typing import Any

from tests.dialogues.office import LEADS, PAID
from tests.fakes.openai import Script
from tests.guard.scenes import ALL, CHATS, scene
from tests.guard.stage import Stage

DAY = 24 * 3600.0
NO_COMMAND = "forget yes, or not"
"""A text that no schedule of the kind `command` can have."""
TO_NINE = 21 * 3600.0
"""Until nine o'clock of the next day (UTC), and some seconds."""


async def propose(s: Stage, who: str = "alice", **values: Any) -> str:
    """Let the model propose a schedule of every day at nine; return its id."""
    draft = {"kind": "post", "what": "Stand **up** https://ours.example/s", "when": "0 9 * * *",
             "zone": "UTC", "ends": None, "replaces": None} | values  # fmt: skip
    match = f"schedule number {len(s.steps)}"
    s.model(match, "schedule_propose", **draft)
    await s.say(who, f"Make {match}, with https://ours.example/s")
    return s.newest("changes") if draft["what"] != NO_COMMAND else ""


async def start(s: Stage, **values: Any) -> str:
    """Propose a schedule and approve it."""
    id = await propose(s, **values)
    await s.press("alice", "Approve")
    return id


@scene()
async def a_schedule_posts(s: Stage) -> None:
    await start(s)
    await s.wait_time(TO_NINE)
    await s.wait_time(DAY)
    await s.say("alice", f"schedule {s.newest('schedules')} show")
    await s.say("bob", "What stands here?")


@scene()
async def a_schedule_asks(s: Stage) -> None:
    await start(s, kind="ask", what=LEADS)
    await s.say("alice", "I write before it")
    await s.wait_time(TO_NINE)
    await s.say("alice", "I write after it")
    await s.wait_time(DAY)


@scene()
async def a_schedule_with_links(s: Stage) -> None:
    await start(s, kind="ask", what="Say https://ours.example/s and https://evil.example/s")
    await s.wait_time(TO_NINE)


@scene()
async def a_schedule_runs_a_command(s: Stage) -> None:
    await start(s, kind="command", what="quick-command explain a bridge")
    await s.wait_time(TO_NINE)
    await start(s, kind="command", what="quick-command close-month May")
    await s.wait_time(DAY)


@scene()
async def a_schedule_is_no_command(s: Stage) -> None:
    await propose(s, kind="command", what=NO_COMMAND)
    await start(s, kind="ask", what="forget yes")
    await s.wait_time(TO_NINE)
    await start(s, kind="post", what="stop")
    await s.wait_time(DAY)


@scene()
async def a_schedule_proposes_and_waits(s: Stage) -> None:
    await start(s, kind="ask", what=PAID)
    await s.wait_time(TO_NINE)
    await s.wait_time(DAY)
    await s.say("alice", f"approve {s.newest('changes')}")


@scene(toml='[tables.Customers]\naccess = "auto"\n')
async def a_schedule_is_approved_by_nobody(s: Stage) -> None:
    s.model("add Zed", "nocodb_create", table="Customers", rows=[{"Name": "Zed"}])
    await start(s, kind="ask", what="Please add Zed")
    await s.wait_time(TO_NINE)


@scene()
async def a_schedule_wants_another_schedule(s: Stage) -> None:
    s.model("again and again", "schedule_propose", kind="post", what="x", when="0 9 * * *",
            zone="UTC", ends=None, replaces=None)  # fmt: skip
    await start(s, kind="ask", what="Plan it again and again")
    await s.wait_time(TO_NINE)


@scene(CHATS)
async def a_schedule_wants_to_post_elsewhere(s: Stage) -> None:
    s.model("Tell sales", "post_message", to="#sales", text="We are ready")
    await start(s, kind="ask", what="Tell sales that we are ready")
    await s.wait_time(TO_NINE)


@scene()
async def a_schedule_runs_code(s: Stage) -> None:
    s.model("compute", "run_python", code="print(6 * 7)")
    await start(s, kind="ask", what="Please compute")
    await s.wait_time(TO_NINE)


@scene()
async def a_schedule_is_late(s: Stage) -> None:
    await start(s)
    await s.close()
    s.clock.shift(TO_NINE + 2 * 3600)
    await s.open_again()
    await s.step("late")


@scene()
async def a_schedule_missed_its_runs(s: Stage) -> None:
    await start(s, kind="ask", what="Sum up")
    await s.close()
    s.clock.shift(3 * DAY + 18 * 3600)
    await s.open_again()
    await s.step("missed")


@scene()
async def a_schedule_is_paused_and_resumed(s: Stage) -> None:
    id = await start(s)
    await s.say("alice", f"schedule {id} pause")
    await s.wait_time(TO_NINE)
    await s.say("alice", f"schedule {id} run")
    await s.say("alice", f"schedule {id} resume")
    await s.wait_time(DAY)
    await s.say("alice", "schedules")


@scene()
async def a_schedule_is_deleted(s: Stage) -> None:
    id = await start(s)
    await s.say("bob", f"schedule {id} delete")
    await s.say("alice", f"schedule {id} delete")
    await s.wait_time(TO_NINE)


@scene()
async def a_schedule_is_edited(s: Stage) -> None:
    id = await start(s)
    edit = await propose(s, what="Sit down", replaces=id)
    await s.wait_time(TO_NINE)
    await s.press("alice", "Approve")
    await s.wait_time(DAY)
    await s.say("alice", f"undo {edit}")
    await s.wait_time(DAY)


@scene()
async def a_schedule_is_denied(s: Stage) -> None:
    id = await propose(s)
    await s.say("bob", f"approve {id}")
    await s.press("alice", "Deny")
    await s.say("alice", f"approve {id}")
    await s.wait_time(TO_NINE)


@scene()
async def the_deletion_of_a_schedule_is_undone(s: Stage) -> None:
    id = await start(s)
    deletion = await propose(s, kind="delete", what="", replaces=id)
    await s.press("alice", "Approve")
    await s.wait_time(TO_NINE)
    await s.say("alice", f"undo {deletion}")
    await s.wait_time(DAY)


@scene()
async def a_reminder_runs_once(s: Stage) -> None:
    await start(s, what="Call Ada", when="2026-03-03T10:00")
    await s.wait_time(TO_NINE + 3600)
    await s.wait_time(DAY)
    await s.say("alice", "schedules")


@scene()
async def a_schedule_ends_after_two_runs(s: Stage) -> None:
    await start(s, ends="2")
    for _ in range(3):
        await s.wait_time(DAY)
    await s.say("alice", "schedules")


@scene(ALL, toml='[[allowances]]\nof = "each schedule"\nper = "month"\nturns = 1\n')
async def a_schedule_uses_up_its_allowance(s: Stage) -> None:
    await start(s, kind="ask", what="Sum up")
    await s.wait_time(TO_NINE)
    await s.wait_time(DAY)
    await s.say("alice", "I still may")


@scene()
async def the_owner_of_a_schedule_lost_the_right(s: Stage) -> None:
    await start(s)
    await s.close()
    s.toml += '[[rules]]\nwho = ["ALICE"]\ndeny = ["chat"]\n'
    await s.open_again()
    await s.wait_time(TO_NINE)
    await s.operate("schedules/list")


@scene(("slack",))
async def the_owner_of_a_schedule_left_the_channel(s: Stage) -> None:
    await start(s)
    surface: Any = s.surface
    surface.general.members.discard(surface.people["alice"].id)
    await s.wait_time(TO_NINE)


@scene(("slack",))
async def the_owner_of_a_schedule_was_deactivated(s: Stage) -> None:
    await start(s)
    surface: Any = s.surface
    s.services.slack.change_person(surface.people["alice"], deactivated=True)  # type: ignore[union-attr]
    await s.step("deactivated")
    await s.wait_time(TO_NINE)


@scene()
async def a_run_of_a_schedule_is_stopped(s: Stage) -> None:
    s.office.openai.say(Script("never", match="Think for ever", held=True))
    await start(s, kind="ask", what="Think for ever")
    s.clock.shift(TO_NINE)
    s.app.engine.schedules.wake()
    await s.until_asked("Think for ever")
    await s.say("alice", "stop")


@scene()
async def the_operator_manages_a_schedule(s: Stage) -> None:
    id = await start(s)
    for action in ("pause", "resume", "run", "show", "delete"):
        await s.operate(f"schedules/{action}", id=id)


@scene()
async def a_run_fails_again_and_again(s: Stage) -> None:
    s.office.openai.say(Script(status=400, code="invalid_prompt", match="Break", times=0))
    await start(s, kind="ask", what="Break down")
    for _ in range(4):
        await s.wait_time(DAY)
