"""kill -9 where it hurts: nothing lost, nothing answered twice, finished calls not repeated."""

from __future__ import annotations

import asyncio

from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import message
from tests.real.conftest import Scene

READ = 'call nocodb_execute {"tool": "list_records", "args": {"table_id": "%s", "limit": 1}}'


async def test_just_after_accept_before_the_acknowledgement(scene: Scene) -> None:
    await scene.victim.start("--die-after-accept", "1")
    hello = message("hello", "k1")
    assert not await scene.people.deliver(hello), "it died before it could acknowledge"
    await scene.victim.died()

    await scene.victim.start()
    await scene.people.say(hello)  # the platform redelivers
    assert (await scene.people.answer(hello)).text == "You said: hello"
    assert scene.recorder.visible("k1") == ["You said: hello"]


async def test_between_a_tools_start_and_its_end(scene: Scene) -> None:
    ask = message(READ % CUSTOMERS, "k1")
    await scene.victim.start()
    scene.bridge.hang()
    await scene.people.say(ask)
    await scene.bridge.reached()
    await scene.victim.kill()
    scene.bridge.release()

    await scene.victim.start()
    answer = await scene.people.answer(ask)
    assert "Almeida" in answer.text or "Bernard" in answer.text
    assert scene.recorder.visible("k1") == list(answer.parts)


async def test_a_finished_call_is_not_repeated(scene: Scene) -> None:
    """It dies in the round after the tool's; the resumed turn asks that round alone again."""
    ask = message(READ % CUSTOMERS, "k1")
    rounds: list[int] = []
    second = asyncio.Event()

    async def gate(turn: str, number: int) -> None:
        rounds.append(number)
        if number == 2 and not second.is_set():
            second.set()
            await asyncio.Event().wait()

    scene.gate.append(gate)
    await scene.victim.start()
    await scene.people.say(ask)
    await second.wait()
    await scene.victim.kill()

    await scene.victim.start()
    answer = await scene.people.answer(ask)
    assert "Almeida" in answer.text or "Bernard" in answer.text
    assert rounds == [1, 2, 2]
    assert len(scene.bridge.calls) == 1


async def test_between_a_posts_effect_and_its_record(scene: Scene) -> None:
    hello = message("hello", "k1")
    effect = scene.recorder.after_effect = asyncio.Event()
    await scene.victim.start()
    await scene.people.say(hello)
    await effect.wait()
    await scene.victim.kill()

    await scene.victim.start()
    await scene.people.answer(hello)
    assert scene.recorder.visible("k1") == ["You said: hello"]
    assert len(scene.recorder.posts) == 1


async def test_in_the_middle_of_a_long_answer(scene: Scene) -> None:
    long = message("\n\n".join(f"paragraph {n} " + "x" * 150 for n in range(6)), "k1")
    await scene.victim.start()
    scene.recorder.after_effect = first = asyncio.Event()
    await scene.people.say(long)
    await first.wait()
    await scene.victim.kill()
    scene.recorder.after_effect = later = asyncio.Event()
    await scene.victim.start()
    await later.wait()
    await scene.victim.kill()

    await scene.victim.start()
    answer = await scene.people.answer(long)
    assert len(answer.parts) > 3
    assert scene.recorder.visible("k1") == list(answer.parts)
    keys = [post.key for post in scene.recorder.posts]
    assert len(keys) == len(set(keys))


async def test_a_turn_that_kills_its_process_three_times_ends_in_one_apology(scene: Scene) -> None:
    bomb, next_ = message("bomb", "k1"), message("hello", "k2")
    fell = asyncio.Event()

    async def gate(turn: str, number: int) -> None:
        if turn == bomb.turn:
            fell.set()
            await asyncio.Event().wait()

    scene.gate.append(gate)
    for _ in range(3):
        await scene.victim.start()
        await scene.people.say(bomb)
        await fell.wait()
        fell.clear()
        await scene.victim.kill()

    await scene.victim.start()
    answer = await scene.people.answer(bomb)
    assert answer.code == "interrupted"
    assert len(scene.recorder.visible("k1")) == 1
    await scene.people.say(next_)
    assert (await scene.people.answer(next_)).text == "You said: hello"


async def test_sigterm_puts_back_what_does_not_finish_in_time(scene: Scene) -> None:
    """Four drains in mid-turn are no crashes: the fifth process answers."""
    slow = message("slow", "k1")
    reached = asyncio.Event()
    patient = True

    async def gate(turn: str, number: int) -> None:
        reached.set()
        if patient:
            await asyncio.Event().wait()

    scene.gate.append(gate)
    for _ in range(4):
        reached.clear()
        await scene.victim.start("--grace", "0")
        await scene.people.say(slow)
        await reached.wait()
        assert await scene.victim.terminate() == 0
    patient = False
    await scene.victim.start()
    assert (await scene.people.answer(slow)).text == "You said: slow"
    assert scene.recorder.visible("k1") == ["You said: slow"]
