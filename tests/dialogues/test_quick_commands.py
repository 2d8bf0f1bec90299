"""A person runs a quick command by its name."""

from __future__ import annotations

from core.domain.messages import File, Person
from core.domain.records import Outcome, ToolCall
from tests.dialogues.decisions import RIGHTS, STRANGER, on_slack
from tests.dialogues.stage import BotHome
from tests.fakes.choices import allow_list, fixed_caps
from tests.fakes.quick_commands import RegisteredCommands

OUTSIDER = Person("slack", "U7", "T7", "Olga")


async def test_inputs_by_name_or_as_text(theatre: BotHome) -> None:
    quick = RegisteredCommands()
    async with theatre.open(quick=quick) as stage:
        answer = await stage.ask('quick-command daily-summary day="20 May" tone=dry')
        assert answer.text == "daily-summary ran with {'day': '20 May', 'tone': 'dry'}"
        await stage.ask("/quick-command daily-summary the day of May")
        await stage.ask('!quick-command echo "as it is"')
        await stage.ask("quick-command echo")
    assert quick.ran == [
        ("daily-summary", {"day": "20 May", "tone": "dry"}),
        ("daily-summary", {"day": "the day of May"}),
        ("echo", "as it is"),
        ("echo", ""),
    ]


async def test_what_is_wrong_is_told_before_anything_runs(theatre: BotHome) -> None:
    quick = RegisteredCommands(elsewhere=frozenset({"close-day"}))
    async with theatre.open(quick=quick) as stage:
        for said, told in (
            ("quick-command daily-sumary May", "Did you mean `daily-summary`?"),
            ("quick-command daily-summary", "also needs day"),
            ("quick-command daily-summary day=x tone=loud", "must be one of: dry, warm"),
            ("quick-command daily-summary day=x size=3", "has no input 'size'"),
            ('quick-command daily-summary day="x', "not closed"),
            ("quick-command", "Name a quick command"),
            ("quick-command close-day", "can't be run here"),
        ):
            answer = await stage.ask(said)
            assert (answer.status, told in answer.text) == ("failed", True), answer.text
    assert quick.ran == []


async def test_rights_to_spend_and_for_marked_ones_to_write(theatre: BotHome) -> None:
    quick = RegisteredCommands()
    async with theatre.open(quick=quick, policy=RIGHTS) as stage:
        run = await stage.ask_message(on_slack("quick-command echo hi", "k1", STRANGER))
        assert run.text == "echo ran with 'hi'"
        marked = await stage.ask_message(on_slack("quick-command close-day", "k2", STRANGER))
        assert (marked.code, "change data" in marked.text) == ("forbidden", True)
        await stage.ask_message(on_slack("quick-command close-day", "k3"))
    assert [slug for slug, _ in quick.ran] == ["echo", "close-day"]
    everybody = allow_list(frozenset(), frozenset())
    async with theatre.open(quick=quick, policy=everybody) as stage:
        refused = await stage.ask_message(on_slack("quick-command echo hi", "k4", OUTSIDER))
        assert refused.code == "forbidden"


async def test_its_result_may_hold_files_or_be_a_failure(theatre: BotHome) -> None:
    quick = RegisteredCommands(outcome=Outcome("ok", "Here.", (File("f1", "a.txt", "text", 3),)))
    async with theatre.open(quick=quick) as stage:
        assert [f.name for f in (await stage.ask("quick-command echo")).files] == ["a.txt"]
        quick.outcome = Outcome("error", "The agent is asleep.")
        failed = await stage.ask("quick-command echo")
        assert failed.text == "The quick command `echo` failed: The agent is asleep."
        assert (failed.status, failed.code) == ("failed", "tool")


async def test_it_counts_as_a_turn_of_the_day(theatre: BotHome) -> None:
    async with theatre.open(quick=RegisteredCommands(), caps=fixed_caps(1)) as stage:
        assert (await stage.ask("quick-command echo")).status == "done"
        assert (await stage.ask("quick-command echo")).code == "too_many"


async def test_one_that_was_interrupted_is_not_run_again(theatre: BotHome) -> None:
    quick = RegisteredCommands()
    async with theatre.open(quick=quick) as stage:
        await stage.engine.drain(0)
        _, receipt = await stage.send("quick-command echo hi")
        turn = await stage.engine.records.journal.begin(receipt.seq)
        assert turn
        call = ToolCall("quick-command", "echo", "hi", "spend")
        await stage.engine.records.journal.record_call_start(turn, call)
    async with theatre.open(quick=quick) as stage:
        answer = await stage.wait_for_answer(receipt)
        assert (answer.status, "I don't know whether it finished" in answer.text) == (
            "failed",
            True,
        )
    assert quick.ran == []
