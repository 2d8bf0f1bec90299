"""A person runs a quick command by its name."""

from __future__ import annotations

from dataclasses import replace

from core.domain.messages import MAX_ATTACHMENT_BYTES, Attachment, File, Person
from core.domain.records import Outcome, ToolCall
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import RIGHTS, STRANGER, on_slack, says
from tests.fakes.choices import allow_list, fixed_caps
from tests.fakes.quick_commands import RegisteredCommands

OUTSIDER = Person("slack", "U7", "T7", "Olga")


async def test_inputs_by_name_or_as_text(bot_home: BotHome) -> None:
    quick = RegisteredCommands()
    async with bot_home.open(quick=quick) as ponte:
        answer = await ponte.ask('quick-command daily-summary day="20 May" tone=dry')
        assert answer.text == "daily-summary ran with {'day': '20 May', 'tone': 'dry'}"
        await ponte.ask("/quick-command daily-summary the day of May")
        await ponte.ask('!quick-command echo "as it is"')
        await ponte.ask("quick-command echo")
    assert quick.ran == [
        ("daily-summary", {"day": "20 May", "tone": "dry"}),
        ("daily-summary", {"day": "the day of May"}),
        ("echo", "as it is"),
        ("echo", ""),
    ]


async def test_what_is_wrong_is_told_before_anything_runs(bot_home: BotHome) -> None:
    quick = RegisteredCommands(elsewhere=frozenset({"close-day"}))
    async with bot_home.open(quick=quick) as ponte:
        for message, text in (
            ("quick-command daily-sumary May", "Did you mean `daily-summary`?"),
            ("quick-command daily-summary", "also needs day"),
            ("quick-command daily-summary day=x tone=loud", "one of these values: dry, warm"),
            ("quick-command daily-summary day=x size=3", "has no input `size`"),
            ('quick-command daily-summary day="x', "isn't closed"),
            ("quick-command", "Specify a quick command"),
            ("quick-command close-day", "can't be run in this channel"),
        ):
            answer = await ponte.ask(message)
            assert (answer.status, text in answer.text) == ("failed", True), answer.text
    assert quick.ran == []


async def test_an_attached_file_that_is_too_large_is_refused_before_anything_runs(
    bot_home: BotHome,
) -> None:
    quick = RegisteredCommands()
    large = Attachment("all.csv", "text/csv", MAX_ATTACHMENT_BYTES + 1)
    async with bot_home.open(quick=quick) as ponte:
        variant = replace(on_slack("quick-command echo", "k1"), attachments=(large,))
        answer = await ponte.ask_message(variant)
        assert (answer.status, answer.code) == ("failed", "too_large")
        assert "all.csv" in answer.text
    assert quick.ran == []


async def test_rights_to_spend_and_for_marked_ones_to_write(bot_home: BotHome) -> None:
    quick = RegisteredCommands()
    async with bot_home.open(quick=quick, policy=RIGHTS) as ponte:
        run = await says(ponte, "quick-command echo hi", "k1", STRANGER)
        assert run.text == "echo ran with 'hi'"
        reply = await says(ponte, "quick-command close-day", "k2", STRANGER)
        assert (reply.code, "change data" in reply.text) == ("forbidden", True)
        await says(ponte, "quick-command close-day", "k3")
    assert [slug for slug, _ in quick.ran] == ["echo", "close-day"]
    everybody = allow_list(frozenset(), frozenset())
    async with bot_home.open(quick=quick, policy=everybody) as ponte:
        refusal = await says(ponte, "quick-command echo hi", "k4", OUTSIDER)
        assert refusal.code == "forbidden"


async def test_its_result_may_hold_files_or_be_a_failure(bot_home: BotHome) -> None:
    quick = RegisteredCommands(outcome=Outcome("ok", "Here.", (File("f1", "a.txt", "text", 3),)))
    async with bot_home.open(quick=quick) as ponte:
        assert [f.name for f in (await ponte.ask("quick-command echo")).files] == ["a.txt"]
        quick.outcome = Outcome("error", "The agent is asleep.")
        answer = await ponte.ask("quick-command echo")
        assert answer.text == "The quick command `echo` failed: The agent is asleep."
        assert (answer.status, answer.code) == ("failed", "tool")


async def test_it_counts_as_a_turn_of_the_day(bot_home: BotHome) -> None:
    async with bot_home.open(quick=RegisteredCommands(), caps=fixed_caps(1)) as ponte:
        assert (await ponte.ask("quick-command echo")).status == "done"
        assert (await ponte.ask("quick-command echo")).code == "too_many"


async def test_one_that_was_interrupted_is_not_run_again(bot_home: BotHome) -> None:
    quick = RegisteredCommands()
    async with bot_home.open(quick=quick) as ponte:
        await ponte.engine.drain(0)
        _, receipt = await ponte.send("quick-command echo hi")
        turn = await ponte.engine.conversations.journal.begin(receipt.seq)
        assert turn
        call = ToolCall("quick-command", "echo", "hi", "spend")
        await ponte.engine.conversations.journal.record_call_start(turn, call)
    async with bot_home.open(quick=quick) as ponte:
        answer = await ponte.wait_for_answer(receipt)
        assert (answer.status, "I don't know whether it finished" in answer.text) == (
            "failed",
            True,
        )
    assert quick.ran == []
