"""Programs: an API token on the page and a pipe on this machine."""

from __future__ import annotations

from tests.dialogues.office import LEADS, PAID
from tests.guard.scenes import ALL, scene
from tests.guard.stage import Stage

PAGE = ("page",)


@scene()
async def a_program_asks(s: Stage) -> None:
    await s.complete("My cat is Tobi.", "Noted.", "What is my cat called?")
    await s.complete("And again https://ours.example/z")


@scene(PAGE)
async def a_program_of_a_member_asks(s: Stage) -> None:
    await s.complete(LEADS, who="alice")
    await s.complete("A program of stan", who="stan")


@scene(PAGE)
async def a_program_in_a_conversation(s: Stage) -> None:
    await s.say("alice", "I begin", talk="both")
    head = {"X-Ponte-Conversation": "both"}
    await s.complete("System words", "Noted.", "I go on", who="alice", **head)
    await s.say("alice", "And I again", talk="both")
    await s.complete("In no such one", who="alice", **{"X-Ponte-Conversation": "one-request--x"})


@scene(PAGE)
async def a_program_repeats_a_key(s: Stage) -> None:
    for _ in range(2):
        await s.complete("Only once", who="alice", **{"Idempotency-Key": "key-1"})


@scene(PAGE)
async def a_program_types_commands(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    for text in (f"approve {id}", "help", "stop", "forget yes", "quick-command explain a bridge",
                 "schedules", "```python\nprint(1)\n```"):  # fmt: skip
        await s.complete(text, who="alice")
    await s.say("alice", f"approve {id}")


@scene(PAGE, toml='[tables.Customers]\naccess = "auto"\n')
async def a_program_proposes(s: Stage) -> None:
    await s.complete(PAID, who="alice")
    id = s.newest("changes")
    await s.say("alice", f"approve {id}")
    s.model("add Zed", "nocodb_create", table="Customers", rows=[{"Name": "Zed"}])
    await s.complete("Please add Zed", who="alice")


@scene(PAGE)
async def a_program_runs_code_and_commands(s: Stage) -> None:
    s.model("compute", "run_python", code="print(6 * 7)")
    await s.complete("Please compute", who="alice")
    s.model("explain it", "stackspot_quick_command", slug="explain", input="a bridge")
    await s.complete("Please explain it", who="alice")
    s.model("translate it", "stackspot_quick_command", slug="translate-all", input="all")
    await s.complete("Please translate it", who="alice")


@scene(PAGE)
async def a_program_wants_a_schedule(s: Stage) -> None:
    s.model("every day", "schedule_propose", kind="post", what="Stand up", when="0 9 * * *",
            zone="UTC", ends=None, replaces=None)  # fmt: skip
    await s.complete("Remind me every day", who="alice")


@scene(PAGE, toml='[[allowances]]\nof = "each person"\nper = "day"\nturns = 2\n')
async def a_program_uses_up_an_allowance(s: Stage) -> None:
    for number in range(3):
        await s.complete(f"Program {number}", who="alice")
    await s.say("alice", "Is anything left?")


@scene(PAGE, toml='[[rules]]\nwho = ["ALICE"]\ndeny = ["chat"]\n')
async def a_program_without_the_right(s: Stage) -> None:
    await s.complete("May I?", who="alice")


@scene(PAGE)
async def a_program_at_other_addresses(s: Stage) -> None:
    await s.program("/chat", {"message": "Not here"}, who="alice")
    await s.program("/v1/chat/completions", {"model": "no-such", "messages": []}, who="alice")


@scene()
async def a_pipe_asks(s: Stage) -> None:
    await s.pipe(LEADS)
    await s.pipe("See https://ours.example/p")
    await s.pipe("As typed", typed=True)


@scene(PAGE)
async def a_pipe_types_commands(s: Stage) -> None:
    await s.pipe(PAID)
    id = s.newest("changes")
    for text in (f"approve {id}", "help", "forget yes", "quick-command explain a bridge"):
        await s.pipe(text)
    await s.pipe(f"approve {id}", typed=True)
    await s.pipe(f"undo {id}", typed=True)


@scene(PAGE)
async def a_pipe_proposes_a_schedule(s: Stage) -> None:
    s.model("every day", "schedule_propose", kind="ask", what="Sum up", when="0 9 * * *",
            zone="UTC", ends=None, replaces=None)  # fmt: skip
    await s.pipe("Remind me every day")
    id = s.newest("changes")
    await s.pipe(f"approve {id}")
    await s.pipe(f"approve {id}", typed=True)
    await s.wait_time(24 * 3600)


@scene(ALL)
async def the_operator_looks(s: Stage) -> None:
    await s.say("alice", PAID)
    await s.operate("pending")
    await s.operate("usage")
    await s.operate("limits")
