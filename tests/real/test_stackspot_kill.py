"""kill -9 while a quick command is waited for: it is not started again, and its answer comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.messages import Answer, Message
from tests.dialogues.stackspot import asks
from tests.fakes.choices import message
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.real.conftest import Scene


@pytest.fixture
async def stackspot() -> AsyncIterator[FakeStackSpot]:
    async with FakeStackSpot() as fake:
        yield fake
        assert fake.refused == []


async def start(scene: Scene, stackspot: FakeStackSpot) -> None:
    await scene.victim.start("--stackspot", stackspot.url)


async def killed_while_waiting(
    scene: Scene, stackspot: FakeStackSpot, text: str, kills: int = 2
) -> Answer:
    """It is asked, begins, dies in the middle of its polling each time, and ends in the end."""
    asked = message(text, "asked")
    stackspot.held = True
    await scene.people.say(asked)
    for _ in range(kills):
        await stackspot.seen("status", stackspot.count("status") + 3)
        await scene.victim.kill()
        await start(scene, stackspot)
    stackspot.held = False
    return await scene.people.answer(asked)


async def test_a_typed_command(scene: Scene, stackspot: FakeStackSpot) -> None:
    await start(scene, stackspot)
    answer = await killed_while_waiting(scene, stackspot, "quick-command explain a bridge")
    assert answer.text == "explain: a bridge"
    assert stackspot.count("create") == 1
    assert scene.recorder.visible("asked") == ["explain: a bridge"]


async def test_a_models_call(scene: Scene, stackspot: FakeStackSpot) -> None:
    await start(scene, stackspot)
    answer = await killed_while_waiting(scene, stackspot, asks("explain", "a bridge"))
    assert answer.text == "You said: explain: a bridge"
    assert stackspot.count("create") == 1


async def test_an_approved_proposal(scene: Scene, stackspot: FakeStackSpot) -> None:
    await start(scene, stackspot)
    (card,) = (await answered(scene, message(asks("translate-all", "it"), "k1"))).cards
    answer = await killed_while_waiting(scene, stackspot, f"approve {card.id}")
    assert answer.text == "Approved by Ana. Done.\n\ntranslate-all: it"
    assert stackspot.count("create") == 1


@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a"), "approve"])
async def test_one_whose_beginning_was_not_recorded(
    scene: Scene, stackspot: FakeStackSpot, text: str
) -> None:
    """StackSpot has begun it, but its answer was never read: nobody can tell, so nobody repeats."""
    await start(scene, stackspot)
    if text == "approve":
        (card,) = (await answered(scene, message(asks("translate-all", "a"), "k1"))).cards
        text = f"approve {card.id}"
    stackspot.fail("create", Trouble("hang", after=True))
    asked = message(text, "asked")
    await scene.people.say(asked)
    await stackspot.seen("create")
    await scene.victim.kill()
    stackspot.release.set()
    await start(scene, stackspot)
    answer = await scene.people.answer(asked)
    assert "not known" in answer.text or "unknown" in answer.text, answer.text
    assert stackspot.count("create") == 1


async def answered(scene: Scene, said: Message) -> Answer:
    await scene.people.say(said)
    return await scene.people.answer(said)
