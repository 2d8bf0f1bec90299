"""Each button in each state of its message: Discord shows no "This interaction failed"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.base.errors import NotStored
from core.chat.buttons import BUTTONS
from core.journal.journal import Journal
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import COMPONENT
from tests.slack.test_every_press import subject_of
from tests.toys.clap import SAVE


@contextmanager
def unreadable() -> Iterator[None]:
    async def fail(*_: object) -> None:
        raise NotStored

    with pytest.MonkeyPatch.context() as patch:
        for name in ("find_answer", "find_ended_turn", "history_entry"):
            patch.setattr(Journal, name, fail)
        yield


@pytest.mark.parametrize("state", ["there", "twice", "forgotten", "stopping", "unreadable"])
async def test_every_press_gets_a_response(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    await ponte.open()
    await ponte.ready()
    await ana.say("hello")
    await ana.wait_for_messages(lambda seen: "Save…" in str([m["components"] for m in seen][-1:]))
    post = await ana.wait_for_text("You said: hello")
    turn = post["components"][0]["components"][-1]["custom_id"].rpartition(":")[2]
    if state == "forgotten":
        await ana.say("forget yes")
        await ana.wait_for_text("Deleted")

    async def press_all() -> None:
        for name in BUTTONS:
            subject = ana.user.id if name == "stop" else subject_of(name, turn)
            made = {"custom_id": f"ponte:{name}:{subject}", "component_type": 2}
            begin = discord.interactions.begin(
                COMPONENT, ana.user, ana.dm, made, "en-US", message=post
            )
            await (await begin).wait_for_ack()

    if state == "unreadable":
        with unreadable():
            await press_all()
        return
    if state == "stopping":
        ponte.adapter._interactions.is_open = False
    await press_all()
    if state == "twice":
        await press_all()
