"""Who is a member of a channel: known, not answered now, or never listed by Slack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from adapters.slack.setup import DEPARTURE_TOPIC
from core.base.errors import PlatformBusy
from core.base.tasks import Backoff
from core.domain.messages import Address, Person
from tests.fakes.slack import BOT_USER, TEAM
from tests.slack.bot import Workplace, workplace
from tests.time_limits import Limits


def place(w: Workplace, kind: str = "channel", *members: str) -> Address:
    """A channel with the bot and these people."""
    channel = w.slack.channel("many", w.alice)
    channel.kind = kind  # type: ignore[assignment]
    channel.members = {BOT_USER, *members}
    return Address("slack", channel.id, TEAM, is_shared=True)


@pytest.mark.parametrize("fault", ["429", "503", "403", "fetch_members_failed", "cut"])
async def test_what_slack_does_not_answer_now_is_asked_again(
    tmp_path: Path, fault: str, limits: Limits
) -> None:
    limits(CALL_BACKOFF=Backoff(0.0))
    async with workplace(tmp_path) as w:
        former_member = Person("slack", w.bob.id, TEAM)
        here = place(w, "channel", w.alice.id)
        w.slack.api.faults.add("conversations.members", fault, 0, retry_after=100)
        for question in (w.bot.slack.can_read, w.bot.slack.can_write):
            with pytest.raises(PlatformBusy):
                await question(former_member, here)
        with pytest.raises(PlatformBusy):
            await w.bot.slack.can_write(None, here)


async def test_a_refusal_of_slack_is_no_answer_that_comes_later(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        alice, here = Person("slack", w.alice.id, TEAM), place(w)
        w.slack.api.without.add("channels:read")
        assert await w.bot.slack.can_read(alice, here) is None
        assert await w.bot.slack.can_write(alice, here) is None


async def test_a_place_is_asked_for_its_members_once_a_minute(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        alice, bob = (Person("slack", someone.id, TEAM) for someone in (w.alice, w.bob))
        here, slack = place(w, "channel", w.alice.id, w.bob.id), w.bot.slack
        questions = [slack.can_write(None, here), slack.can_read(alice, here)]
        questions += [slack.can_write(None, here) for _ in range(9)]
        assert await asyncio.gather(*questions) == [True] * 11
        assert await slack.can_write(bob, here) is True
        assert len(w.calls("conversations.members")) == 1
        departure = w.slack.leave(w.bob.id, w.slack.workspace.places[here.channel])
        await departure.acked.wait()
        assert await slack.can_write(bob, here) is False, "an event ends what was known"
        w.slack.workspace.places[here.channel].members.add(w.bob.id)
        assert await slack.can_write(bob, here) is True, "who was not there may have joined"


async def test_a_post_asks_afresh(tmp_path: Path) -> None:
    """Without the event, as with an older manifest, reading may take a minute."""
    async with workplace(tmp_path) as w:
        bob, slack = Person("slack", w.bob.id, TEAM), w.bot.slack
        here = place(w, "channel", w.alice.id, w.bob.id)
        assert await slack.can_write(bob, here) is True
        w.slack.workspace.places[here.channel].members.discard(w.bob.id)
        assert await slack.can_read(bob, here) is True, "up to a minute old"
        assert await slack.can_write(bob, here, afresh=True) is False
        assert await slack.can_read(bob, here) is False, "and all others know it now"


async def test_all_processes_hear_who_left(tmp_path: Path) -> None:
    """One process takes Slack's events (`serve`), another one runs the turns (`work`)."""
    async with workplace(tmp_path) as w:
        handlers, notify = dict[str, Any](), AsyncMock()
        peers: Any = Mock(on=handlers.__setitem__, notify=notify, pace=None)
        peers.claims = ()
        alice, here = Person("slack", w.alice.id, TEAM), place(w, "channel", w.alice.id)
        slack = w.bot.slack
        slack._peers = peers
        departure = w.slack.leave(w.alice.id, w.slack.workspace.places[here.channel])
        await departure.acked.wait()
        notify.assert_awaited_once_with(DEPARTURE_TOPIC, "")
        w.slack.workspace.places[here.channel].members.add(w.alice.id)
        assert await slack.can_read(alice, here) is True
        w.slack.workspace.places[here.channel].members.discard(w.alice.id)
        await slack._forget_members("")  # as another process notifies it
        assert await slack.can_read(alice, here) is False


async def test_a_direct_message_is_not_asked_for_its_members(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        await w.ask("hello", w.dm)
        slack, of_others = w.bot.slack, w.slack.dm(w.bob)
        assert await slack.can_write(None, Address("slack", w.dm.id, TEAM)) is True
        alice = Person("slack", w.alice.id, TEAM)
        assert await slack.can_read(alice, Address("slack", w.dm.id, TEAM)) is False
        assert w.calls("conversations.members") == []
        mentioned = Address("slack", w.dm.id, TEAM, is_shared=True)
        assert await slack.can_write(Person("slack", w.bob.id, TEAM), mentioned) is False
        of_others.members = {w.alice.id, w.bob.id}
        assert await slack.can_write(None, Address("slack", of_others.id, TEAM)) is False


@pytest.mark.parametrize("kind", ["channel", "group"])
async def test_a_person_of_a_channel_that_cannot_be_listed_is_looked_up_by_themselves(
    tmp_path: Path, kind: str, limits: Limits
) -> None:
    limits(_PAGES=2)
    async with workplace(tmp_path) as w:
        crowd = [f"U-{number}" for number in range(2_000)]
        members = (*crowd, w.alice.id)
        alice, bob = (Person("slack", someone.id, TEAM) for someone in (w.alice, w.bob))
        guest = Person("slack", w.slack.person("Gus", guest="multi").id, TEAM)
        here, slack = place(w, kind, *members), w.bot.slack
        for question in (slack.can_read, slack.can_write):
            assert await question(alice, here) is True
            assert await question(bob, here) is False
        assert await slack.can_write(None, here) is True
        w.slack.api.without.add("groups:read")  # without it, Slack lists no private channels
        assert await slack.can_read(bob, here) is None
        assert await slack.can_write(bob, here) is True, "a member of the workspace counts"
        assert await slack.can_write(guest, here) is False
