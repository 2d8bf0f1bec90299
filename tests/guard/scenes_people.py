"""What people write: plain turns, commands, files, and what they take back."""

from __future__ import annotations

from tests.dialogues.office import ATTACHED, CSV, EVERYTHING, LEADS
from tests.fakes.openai import Script
from tests.guard.scenes import ALL, CHATS, scene
from tests.guard.stage import Stage


@scene()
async def plain_turn(s: Stage) -> None:
    await s.say("alice", "Hello Ponte")
    await s.say("alice", "And again, see https://ours.example/x")


@scene()
async def two_people_in_one_place(s: Stage) -> None:
    await s.say("alice", "I write first")
    await s.say("bob", "I write second")
    await s.say("alice", "I write third")


@scene()
async def plain_turn_in_a_direct_message(s: Stage) -> None:
    await s.say("alice", "Hello in private", dm=True)
    await s.say("alice", "help", dm=True)


@scene()
async def typed_commands(s: Stage) -> None:
    for text in ("help", "status", "usage", "changes", "schedules", "approvals", "why chat"):
        await s.say("alice", text)


@scene()
async def wrong_commands(s: Stage) -> None:
    for text in ("approve abcde2", "quick-command", "quick-command NO", "undo zzzzz2",
                 "schedule abcde2 show", "approve please"):  # fmt: skip
        await s.say("alice", text)


@scene()
async def forget_a_conversation(s: Stage) -> None:
    await s.say("alice", "Remember 42")
    await s.say("alice", "forget")
    await s.say("alice", "forget yes")
    await s.say("alice", "What did I say?")


@scene()
async def somebody_else_forgets(s: Stage) -> None:
    await s.say("alice", "Remember 43")
    await s.say("bob", "forget yes")
    await s.say("bea", "forget yes")


@scene(toml='[[rules]]\nwho = ["STAN"]\ndeny = ["chat"]\n')
async def rights_refused(s: Stage) -> None:
    await s.say("stan", "May I?")
    await s.say("stan", "help")
    await s.say("stan", "approve abcde2")


@scene(toml='[[rules]]\nwho = ["ALICE"]\ndeny = ["read:Customers", "model:gpt-6-luna"]\n')
async def a_rule_denies_the_model(s: Stage) -> None:
    await s.say("alice", LEADS)
    await s.say("bob", LEADS)


@scene(toml='[[rules]]\nwho = ["ALICE"]\ndeny = ["read:Customers", "code"]\n')
async def a_rule_denies_a_table_and_code(s: Stage) -> None:
    await s.say("alice", LEADS)
    await s.say("alice", "```python\nprint(1)\n```")


@scene(("slack",))
async def a_guest_of_slack(s: Stage) -> None:
    await s.say("gus", "I am a guest")
    await s.say("gus", "help")


@scene(("slack",))
async def a_status_is_not_known(s: Stage) -> None:
    slack = s.services.slack
    assert slack
    slack.workspace.hears_of_people = False
    zoe = slack.person("Zoe")
    s.surface.people["zoe"] = zoe  # type: ignore[union-attr, assignment]
    slack.workspace.places[s.surface.place.rpartition(":")[2]].members.add(zoe.id)
    slack.api.faults.add("users.info", "500", 0)
    slack.api.faults.add("users.list", "500", 0)
    await s.say("zoe", "Who am I?")
    await s.say("zoe", "approve abcde2")


@scene(toml='[[allowances]]\nof = "each person"\nper = "day"\nturns = 2\n')
async def an_allowance_is_used_up(s: Stage) -> None:
    for number in range(4):
        await s.say("alice", f"Message {number}")
    await s.say("alice", "usage")
    await s.say("bob", "My own count")


@scene(toml='[[allowances]]\nof = "each person"\nwho = ["ALICE"]\nper = "day"\ntokens = 20_000\n')
async def tokens_run_out(s: Stage) -> None:
    await s.say("alice", "One " * 40)
    await s.say("alice", "Two " * 40)


@scene(toml="[limits]\nmessages_per_minute = 2\n")
async def too_many_in_a_minute(s: Stage) -> None:
    for number in range(4):
        await s.say("alice", f"Fast {number}")


@scene()
async def rows_are_read(s: Stage) -> None:
    await s.say("alice", LEADS)
    await s.say("bob", "What did she find? https://evil.example/a")


@scene()
async def a_table_goes_out_as_a_file(s: Stage) -> None:
    await s.say("alice", EVERYTHING)


@scene()
async def a_file_comes_in(s: Stage) -> None:
    await s.say("alice", ATTACHED, files=[("new.csv", CSV)])
    await s.press("alice", "Approve")


@scene()
async def links_of_a_model_in_outside_text(s: Stage) -> None:
    s.model("and the link", then="See [this](https://evil.example/b) and https://ours.example/y")
    await s.say("alice", LEADS)
    await s.say("alice", "Look at https://ours.example/y, and the link")


@scene()
async def a_model_that_fails(s: Stage) -> None:
    s.office.openai.say(Script(status=400, code="invalid_prompt", match="Break"))
    await s.say("alice", "Break down")
    s.model("wrong tool", "no_such_tool", a=1)
    await s.say("alice", "Use the wrong tool")


@scene()
async def code_runs(s: Stage) -> None:
    s.model("compute", "run_python", code="print(6 * 7)")
    s.office.openai.runs(Script(text="42"))
    await s.say("alice", "Please compute")
    s.office.openai.runs(Script(text="5"))
    await s.say("alice", "```python\nprint(2 + 3)\n```")


@scene()
async def a_turn_is_stopped(s: Stage) -> None:
    s.office.openai.say(Script("never", match="Think for ever", held=True))
    await s.say("alice", "Think for ever", settles=False)
    await s.until_asked("Think for ever")
    await s.say("bob", "stop", settles=False)
    await s.step("bob: stop", open_turns=1)
    await s.say("alice", "stop")
    await s.say("alice", "And now?")


async def _wait_behind(s: Stage, text: str) -> None:
    """Write while the model thinks about an earlier message."""
    s.office.openai.say(Script("At last.", match="Think long", held=True))
    await s.say("alice", "Think long", settles=False)
    await s.until_asked("Think long")
    await s.say("alice", text, settles=False)
    await s.until(lambda: len(s.rows("SELECT 1 FROM inbox")) == 3)


async def _think(s: Stage) -> None:
    s.office.openai.release.set()
    await s.step("it has thought")


@scene()
async def a_second_message_waits(s: Stage) -> None:
    await _wait_behind(s, "I wait")
    await s.say("alice", "help", settles=False)
    await s.step("while it thinks", open_turns=2)
    await _think(s)


@scene(CHATS)
async def a_waiting_message_is_edited(s: Stage) -> None:
    await _wait_behind(s, "Do it wrongly")
    await s.edit("Do it rightly")
    await s.step("edited", open_turns=2)
    await _think(s)


@scene(CHATS)
async def an_edit_makes_a_command(s: Stage) -> None:
    await _wait_behind(s, "hulp")
    await s.edit("help")
    await s.step("edited", open_turns=2)
    await _think(s)


@scene(CHATS)
async def a_waiting_message_is_withdrawn(s: Stage) -> None:
    await _wait_behind(s, "Never mind")
    await s.surface.delete()
    await s.step("deleted", open_turns=1)
    await _think(s)


@scene(CHATS)
async def an_answered_message_is_deleted(s: Stage) -> None:
    await s.say("alice", "My secret is swordfish", dm=True)
    await s.surface.delete()
    await s.step("deleted")
    await s.say("alice", "What was it?", dm=True)


@scene(("page",))
async def a_message_is_asked_again(s: Stage) -> None:
    await s.say("alice", "Say it once")
    turn = s.rows("SELECT turn FROM inbox ORDER BY seq")[-1][0]
    body = {"message": "Say it better", "conversation": "work", "replaces": turn}
    await s.surface.post("alice", "/chat", json=body)  # type: ignore[union-attr]
    await s.step("asked again")


@scene(("page",), ponte_titles="on")
async def a_conversation_gets_a_title(s: Stage) -> None:
    await s.say("alice", "Tell me of bridges", talk="bridges")
    await s.say("alice", "And of tunnels", talk="bridges")


@scene(ALL, ponte_locale="pt-BR")
async def another_language(s: Stage) -> None:
    await s.say("alice", "ajuda")
    await s.say("stan", "Posso?")
    await s.say("alice", "aprovar zzzzz2")
