"""kill -9 where it hurts: nothing lost, nothing answered twice, finished calls not repeated."""

from __future__ import annotations

import asyncio

from core.journal.turn_runner import CRASHES_BEFORE_ALONE, MAX_CRASHES_ALONE
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import make_message
from tests.real.conftest import ToolContext

READ = 'call nocodb_execute {"tool": "list_records", "args": {"table_id": "%s", "limit": 1}}'


async def test_just_after_accept_before_the_acknowledgement(ctx: ToolContext) -> None:
    await ctx.victim.start("--die-after-accept", "1")
    hello = make_message("hello", "k1")
    assert not await ctx.people.deliver(hello), "it died before it could acknowledge"
    await ctx.victim.wait_for_exit()

    await ctx.victim.start()
    await ctx.people.say(hello)  # the platform redelivers
    assert (await ctx.people.answer(hello)).text == "You said: hello"
    assert ctx.recorder.visible("k1") == ["You said: hello"]


async def test_between_a_tools_start_and_its_end(ctx: ToolContext) -> None:
    ask = make_message(READ % CUSTOMERS, "k1")
    await ctx.victim.start()
    ctx.bridge.hang()
    await ctx.people.say(ask)
    await ctx.bridge.wait_for_held_call()
    await ctx.victim.kill()
    ctx.bridge.release()

    await ctx.victim.start()
    answer = await ctx.people.answer(ask)
    assert "Almeida" in answer.text or "Bernard" in answer.text
    assert ctx.recorder.visible("k1") == list(answer.parts)


async def test_a_finished_call_is_not_repeated(ctx: ToolContext) -> None:
    """It dies in the round after the tool's; the resumed turn asks that round alone again."""
    ask = make_message(READ % CUSTOMERS, "k1")
    rounds: list[int] = []
    second = asyncio.Event()

    async def gate(turn: str, number: int) -> None:
        rounds.append(number)
        if number == 2 and not second.is_set():
            second.set()
            await asyncio.Event().wait()

    ctx.gate.append(gate)
    await ctx.victim.start()
    await ctx.people.say(ask)
    await second.wait()
    await ctx.victim.kill()

    await ctx.victim.start()
    answer = await ctx.people.answer(ask)
    assert "Almeida" in answer.text or "Bernard" in answer.text
    assert rounds == [1, 2, 2]
    assert len(ctx.bridge.calls) == 1


async def test_between_a_posts_effect_and_its_record(ctx: ToolContext) -> None:
    hello = make_message("hello", "k1")
    effect = ctx.recorder.after_effect = asyncio.Event()
    await ctx.victim.start()
    await ctx.people.say(hello)
    await effect.wait()
    await ctx.victim.kill()

    await ctx.victim.start()
    await ctx.people.answer(hello)
    assert ctx.recorder.visible("k1") == ["You said: hello"]
    assert len(ctx.recorder.posts) == 1


async def test_in_the_middle_of_a_long_answer(ctx: ToolContext) -> None:
    long = make_message("\n\n".join(f"paragraph {n} " + "x" * 150 for n in range(6)), "k1")
    await ctx.victim.start()
    ctx.recorder.after_effect = first = asyncio.Event()
    await ctx.people.say(long)
    await first.wait()
    await ctx.victim.kill()
    ctx.recorder.after_effect = later = asyncio.Event()
    await ctx.victim.start()
    await later.wait()
    await ctx.victim.kill()

    await ctx.victim.start()
    answer = await ctx.people.answer(long)
    assert len(answer.parts) > 3
    assert ctx.recorder.visible("k1") == list(answer.parts)
    keys = [post.key for post in ctx.recorder.posts]
    assert len(keys) == len(set(keys))


async def test_a_turn_that_kills_its_process_again_and_again_ends_in_one_apology(
    ctx: ToolContext,
) -> None:
    bomb, next_ = make_message("bomb", "k1"), make_message("hello", "k2")
    fell = asyncio.Event()

    async def gate(turn: str, number: int) -> None:
        if turn == bomb.turn:
            fell.set()
            await asyncio.Event().wait()

    ctx.gate.append(gate)
    for _ in range(CRASHES_BEFORE_ALONE + MAX_CRASHES_ALONE):
        await ctx.victim.start()
        await ctx.people.say(bomb)
        await fell.wait()
        fell.clear()
        await ctx.victim.kill()

    await ctx.victim.start()
    answer = await ctx.people.answer(bomb)
    assert answer.code == "interrupted"
    assert len(ctx.recorder.visible("k1")) == 1
    assert (await ctx.people.ask(next_)).text == "You said: hello"


async def test_sigterm_puts_back_what_does_not_finish_in_time(ctx: ToolContext) -> None:
    """Four drains in mid-turn are no crashes: the fifth process answers."""
    slow = make_message("slow", "k1")
    event = asyncio.Event()
    patient = True

    async def gate(turn: str, number: int) -> None:
        event.set()
        if patient:
            await asyncio.Event().wait()

    ctx.gate.append(gate)
    for _ in range(4):
        event.clear()
        await ctx.victim.start("--grace", "0")
        await ctx.people.say(slow)
        await event.wait()
        assert await ctx.victim.terminate() == 0
    patient = False
    await ctx.victim.start()
    assert (await ctx.people.answer(slow)).text == "You said: slow"
    assert ctx.recorder.visible("k1") == ["You said: slow"]
